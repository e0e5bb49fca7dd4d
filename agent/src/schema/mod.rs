//! The schema, from the SSTables of `system_schema`: Cassandra flushes them at each change, before it acts on it.
//!
//! So without asking a node, and of a node that does not run, it is known which tables there are, with which ids and
//! options, and how to make them anew.

mod cql;
mod merge;
mod model;
mod read;
mod values;

pub use cql::{Release, create_statements};
pub use merge::LiveRow;
pub use model::{Column, ColumnKind, DroppedColumn, Index, Keyspace, Options, Schema, Table, UserType, View};
pub use read::{host_id, known, of_node};

/// What `gc_grace_seconds` is unless a table says otherwise: ten days.
pub const GC_GRACE_SECONDS: i32 = 864_000;
