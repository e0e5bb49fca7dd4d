//! The index files of the BTI format (5.0, `da`).

pub mod byte_comparable;
pub mod partitions;
pub mod rows;
pub mod trie;
