//! Cassandra's primitives on disk ([`wire`]), the types of its columns ([`types`]) and the order of their values
//! ([`compare`]).

pub mod compare;
pub mod types;
pub mod wire;
