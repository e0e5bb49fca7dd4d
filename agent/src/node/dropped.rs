//! Directories whose table no longer exists.
//!
//! Cassandra leaves the directory of a dropped table behind, and nothing in it says so. The schema does: a table that
//! exists is a row of `system_schema.tables` or `views`, with its id. Cassandra flushes these tables whenever the schema
//! changes and before it makes a directory, so a directory that was listed before the schema was read, and whose id the
//! schema does not have, belongs to no table.

use super::tables::Table;
use crate::schema::Schema;

/// How it is known that the table was dropped, or `None` if it exists.
pub fn evidence(schema: &Schema, table: &Table) -> Option<String> {
    let id = table.directory.id?;
    // The tables of the system's own keyspaces are built into Cassandra, whatever the schema says.
    let is_system = table.keyspace == "system" || table.keyspace.starts_with("system_");
    let exists = schema.has_id(uuid::Uuid::from_bytes(id.0));
    (!is_system && !exists).then(|| format!("id {} is not in system_schema", id.dashed()))
}
