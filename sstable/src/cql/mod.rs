//! Cassandra's primitives on disk ([`wire`]), the types of its columns ([`types`]), the order of their values
//! ([`compare`]), and rows ([`row`]) in theirs ([`order`]).

pub mod compare;
pub mod order;
pub mod row;
pub mod types;
pub mod wire;
