//! Cassandra's primitives on disk ([`wire`]), the types of its columns ([`types`]) and its rows ([`row`]).

pub mod row;
pub mod types;
pub mod wire;
