//! Which directory of a node is that of a table. A table that was created anew has another id, and so another directory;
//! those of its dropped namesakes may lie beside it.

use anyhow::bail;

use crate::node::dropped;
use crate::node::tables::Table;
use crate::schema::Schema;

/// The directory of `keyspace.table` on the node, or `None` if it has no such table. `preferred` is the one that the
/// backup names.
pub fn directory(
    tables: &[Table],
    schema: Option<&Schema>,
    keyspace: &str,
    table: &str,
    preferred: &str,
) -> anyhow::Result<Option<String>> {
    let namesakes: Vec<&Table> = tables
        .iter()
        .filter(|found| found.keyspace == keyspace && found.directory.table == table)
        .filter(|found| schema.is_none_or(|schema| dropped::evidence(schema, found).is_none()))
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

#[cfg(test)]
mod tests {
    use helenus_sstable::directory::TableDirectory;

    use super::*;

    /// Ids of tables that were created one after the other, and one that somebody chose.
    const OLD: &str = "orders-5a1c395e0b0e11ee8c990242ac120002";
    const NEW: &str = "orders-5a1c395e0b0e11ef8c990242ac120002";
    const CHOSEN: &str = "orders-0f0f0f0f00000000000000000000000a";

    #[track_caller]
    fn check(directories: &[&str], preferred: &str, expected: Result<Option<&str>, &str>) {
        let table = |name: &&str| Table {
            keyspace: "shop".to_owned(),
            directory: TableDirectory::parse(name).expect("a directory"),
            places: Vec::new(),
        };
        let tables: Vec<Table> = directories.iter().map(table).collect();
        let found = directory(&tables, None, "shop", "orders", preferred);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
            (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
            (found, expected) => panic!("expected {expected:?}, got {found:?}"),
        }
    }

    #[test]
    fn the_newest_is_the_one_that_exists() {
        check(&[], OLD, Ok(None));
        check(&[OLD], OLD, Ok(Some(OLD)));
        check(&[NEW], OLD, Ok(Some(NEW)));
        check(&[OLD, NEW], OLD, Ok(Some(NEW)));
        check(&[OLD, CHOSEN], CHOSEN, Ok(Some(CHOSEN)));
        check(&[OLD, CHOSEN], NEW, Err("move away those of dropped tables"));
        check(&["items-5a1c395e0b0e11ee8c990242ac120002"], OLD, Ok(None));
    }
}
