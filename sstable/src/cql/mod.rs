//! Cassandra's primitives on disk ([`wire`]) and the types of its columns ([`types`]).

pub mod types;
pub mod wire;
