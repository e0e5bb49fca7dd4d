//! The schema as values: what `system_schema` says, parsed.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::cql::Release;

/// What a node knew, those keyspaces of the system included that are stored as rows (`system_auth`, …).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// What wrote it.
    pub release: Release,
    /// By name.
    pub keyspaces: BTreeMap<String, Keyspace>,
}

impl Schema {
    /// The table or view of that name.
    pub fn table(&self, keyspace: &str, table: &str) -> Option<&Table> {
        self.keyspaces.get(keyspace)?.tables.get(table)
    }

    /// True if a table or view has that id.
    pub fn has_id(&self, id: Uuid) -> bool {
        self.keyspaces.values().flat_map(|keyspace| keyspace.tables.values()).any(|table| table.id == id)
    }
}

/// A keyspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyspace {
    /// False if writes skip the commit log: they are in no backup until they are flushed.
    pub durable_writes: bool,
    /// Options of the replication, `class` among them.
    pub replication: BTreeMap<String, String>,
    /// User types by name.
    pub types: BTreeMap<String, UserType>,
    /// Tables and materialized views by name.
    pub tables: BTreeMap<String, Table>,
}

/// A user type: its fields in order, name and CQL type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserType {
    /// Name and type.
    pub fields: Vec<(String, String)>,
}

/// A table or a materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its id, which is part of its directory's name.
    pub id: Uuid,
    /// `compound`, `dense`, `super`, `counter`.
    pub flags: BTreeSet<String>,
    /// By kind and place: partition key, clustering, static, regular.
    pub columns: Vec<Column>,
    /// Dropped columns by name.
    pub dropped: Vec<DroppedColumn>,
    /// Secondary indexes by name.
    pub indexes: Vec<Index>,
    /// What makes it a view.
    pub view: Option<View>,
    /// Its options.
    pub options: Options,
}

impl Table {
    /// True for tables of `COMPACT STORAGE`.
    pub fn is_compact(&self) -> bool {
        self.flags.contains("super") || self.flags.contains("dense") || !self.flags.contains("compound")
    }

    /// True for compact tables without clustering: their columns are stored as static ones.
    pub fn is_static_compact(&self) -> bool {
        !["super", "dense", "compound"].iter().any(|flag| self.flags.contains(*flag))
    }

    /// The columns of a kind, in order.
    pub fn columns_of(&self, kind: ColumnKind) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |column| column.kind == kind)
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ColumnKind,
    /// Its place in the partition key or the clustering.
    pub position: i32,
    /// Its CQL type.
    pub cql_type: String,
    /// True for a clustering column in descending order.
    pub is_reversed: bool,
    /// The function that masks its values (5.0), as CQL.
    pub mask: Option<String>,
}

/// What a column is, in the order in which they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnKind {
    /// Of the partition key.
    PartitionKey,
    /// Of the clustering.
    Clustering,
    /// One value for the whole partition.
    Static,
    /// One value for each row.
    Regular,
}

/// A column that was dropped: its older values are no longer shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedColumn {
    /// Its name.
    pub name: String,
    /// Its CQL type.
    pub cql_type: String,
    /// True if it was static.
    pub is_static: bool,
    /// When, in milliseconds since 1970.
    pub dropped_ms: i64,
}

/// A secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// True for those that name a class.
    pub is_custom: bool,
    /// Options, `target` and `class_name` among them.
    pub options: BTreeMap<String, String>,
}

/// What makes a table a materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The table that it shows.
    pub base: String,
    /// The condition, as CQL.
    pub condition: String,
    /// True for `SELECT *`.
    pub has_all_columns: bool,
}

/// The options of a table, as `system_schema` has them; `None` where this release knows no such option or it is the
/// default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// When a coordinator writes to another replica for a slow one.
    pub additional_write_policy: Option<String>,
    /// Whether truncate and drop take a snapshot (5.0).
    pub allow_auto_snapshot: Option<bool>,
    /// Wanted share of false positives.
    pub bloom_filter_fp_chance: Option<f64>,
    /// What is cached.
    pub caching: BTreeMap<String, String>,
    /// Change data capture.
    pub cdc: Option<bool>,
    /// A comment.
    pub comment: Option<String>,
    /// Compaction strategy and its options.
    pub compaction: BTreeMap<String, String>,
    /// Compressor and its options.
    pub compression: BTreeMap<String, String>,
    /// Kind of memtable (4.1 and later).
    pub memtable: Option<String>,
    /// How often checksums are checked while reading.
    pub crc_check_chance: Option<f64>,
    /// Seconds that a value lives.
    pub default_time_to_live: Option<i32>,
    /// Options of extensions.
    pub extensions: BTreeMap<String, Vec<u8>>,
    /// Seconds after which tombstones may go. A backup older than that may bring deleted rows back.
    pub gc_grace_seconds: Option<i32>,
    /// Whether Cassandra's incremental backups take it along (5.0).
    pub incremental_backups: Option<bool>,
    /// Most partitions between two entries of the index summary.
    pub max_index_interval: Option<i32>,
    /// Milliseconds after which a memtable is flushed.
    pub memtable_flush_period_in_ms: Option<i32>,
    /// Fewest partitions between two entries of the index summary.
    pub min_index_interval: Option<i32>,
    /// What a read does about replicas that differ.
    pub read_repair: Option<String>,
    /// When a coordinator asks another replica for a slow one.
    pub speculative_retry: Option<String>,
}

impl Eq for Options {}
