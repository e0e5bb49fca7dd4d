//! Helenus: backup and restore for Apache Cassandra, beside every node.
//!
//! The stages of a backup and a restore, each a module that takes what the one before it returns; `ARCHITECTURE.md` has
//! the map. The command line ([`main`]) is one caller of them.

pub mod backup;
pub mod catalog;
mod cli;
pub mod config;
pub mod cql;
pub mod dump;
pub mod error;
pub mod fs;
pub mod inspect;
pub mod manifest;
pub mod node;
pub mod pack;
pub mod pool;
pub mod progress;
pub mod restore;
pub mod schema;
pub mod selection;
pub mod snapshot;
pub mod sstable;
pub mod state;
pub mod store;
pub mod threads;
pub mod time;
pub mod upload;

pub use cli::main;
