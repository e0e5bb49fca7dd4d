//! Hard links to the SSTables that count, below Cassandra's own `snapshots/` directories.
//!
//! A transient snapshot (`helenus-<backup id>`) has only what is not stored yet, and goes away piece by piece as the
//! pieces are stored. A kept one is complete, has Cassandra's `manifest.json` and `schema.cql`, and is the operator's
//! from then on: `nodetool` lists and clears it.

mod base;
pub mod clear;
mod link;
mod take;

pub use base::Base;
pub use link::{Links, advice};
pub use take::{Bases, Fresh, InRepository, Known, Lacking, Request, Snapshot, TableSnapshot, take};

/// What the names of transient snapshots begin with: whatever has this prefix at the start of a run is a leftover.
pub const TRANSIENT_PREFIX: &str = "helenus-";

/// Directory of snapshots in a table's directory.
pub const SNAPSHOTS: &str = "snapshots";
