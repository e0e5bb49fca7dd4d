//! Cassandra's primitives on disk ([`wire`]), the types of its columns ([`types`]), the order of their values
//! ([`compare`]), and rows ([`row`]).

pub mod compare;
pub mod row;
pub mod types;
pub mod wire;
