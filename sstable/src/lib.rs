//! What an Apache Cassandra SSTable is: names, components, checksums.
//!
//! Bytes in, values and findings out. This crate opens no file, reads no clock and logs nothing, so a failing disk
//! can never look like corruption. `docs/sstable.md` describes the files byte by byte.

pub mod big;
pub mod bti;
pub mod checksum;
pub mod chunks;
pub mod component;
pub mod compression_info;
pub mod compressor;
pub mod cql;
pub mod crc;
mod cursor;
pub mod descriptor;
pub mod digest;
pub mod directory;
pub mod error;
pub mod filter;
pub mod lookup;
pub mod partitioner;
pub mod sai;
pub mod scan;
pub mod source;
pub mod statistics;
pub mod toc;
pub mod txn_log;
pub mod verify;
pub mod version;
pub mod window;

pub use error::{Error, Kind, Result};
