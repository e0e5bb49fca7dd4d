//! Which directory of a node is that of a table. A table that was created anew has another id, and so another directory;
//! those of its dropped namesakes may lie beside it.

use anyhow::bail;

use crate::node::dropped::SchemaIds;
use crate::node::tables::Table;

/// The directory of `keyspace.table` on the node, or `None` if it has no such table. `preferred` is the one that the
/// backup names.
pub fn directory(
    tables: &[Table],
    schema: &SchemaIds,
    keyspace: &str,
    table: &str,
    preferred: &str,
) -> anyhow::Result<Option<String>> {
    let namesakes: Vec<&Table> = tables
        .iter()
        .filter(|found| found.keyspace == keyspace && found.directory.table == table)
        .filter(|found| schema.dropped(found).is_none())
        .collect();
    let created = |table: &Table| Some(uuid::Uuid::from_bytes(table.directory.id?.0).get_timestamp()?.to_unix());
    match namesakes.as_slice() {
        [] => return Ok(None),
        [one] => return Ok(Some(one.directory_name())),
        _ => {}
    }
    // Only the newest of them can exist: the others were dropped before it was created.
    if namesakes.iter().all(|table| created(table).is_some()) {
        return Ok(namesakes.into_iter().max_by_key(|table| created(table)).map(Table::directory_name));
    }
    if let Some(same) = namesakes.iter().find(|table| table.directory_name() == preferred) {
        return Ok(Some(same.directory_name()));
    }
    let names: Vec<String> = namesakes.iter().map(|table| table.directory_name()).collect();
    bail!(
        "{keyspace}.{table}: the node has several directories of that name ({}), and nothing tells which one exists: \
         move away those of dropped tables",
        names.join(", ")
    )
}
