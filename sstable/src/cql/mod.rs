//! Cassandra's primitives on disk ([`wire`]), the types of its columns ([`types`]), their values as text ([`value`]) and
//! the order of these ([`compare`]), and partitions, rows and cells ([`row`]) in theirs ([`order`]).

pub mod compare;
pub mod float;
pub mod literal;
pub mod moment;
pub mod number;
pub mod order;
pub mod row;
pub mod types;
pub mod value;
pub mod wire;
