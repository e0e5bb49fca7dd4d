//! Cassandra's primitives on disk ([`wire`]), the types of its columns ([`types`]) and their values ([`value`]).

pub mod float;
pub mod literal;
pub mod moment;
pub mod number;
pub mod types;
pub mod value;
pub mod wire;
