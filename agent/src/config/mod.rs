//! What the program is told: the configuration file, and Cassandra's own.
//!
//! [`raw`] is the file as written, unknown keys refused with line and column; [`check`] makes a [`Config`] of it, in
//! which every limit has a value. Flags win over the file.

pub mod cassandra_yaml;
pub mod check;
pub mod raw;
mod repository;

pub use check::{Compress, Config, MinFree};
