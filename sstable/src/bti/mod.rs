//! The index files of the BTI format (5.0, `da`).

pub mod partitions;
