//! Can the files of one table be those of another? As far as SSTables tell: each has the types of its keys and of the
//! columns that it has values of, in `Statistics.db`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use helenus_sstable::statistics::Statistics;
use helenus_sstable::statistics::header::Header;

use super::journal::{JournalTable, Shelf, Workspace};
use super::statistics;

/// What the SSTables of a table say of its columns.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    partition_key: Option<String>,
    clustering: Option<Vec<String>>,
    /// Type by name, and whether the column is static.
    columns: BTreeMap<String, (String, bool)>,
}

/// Refuses if the fetched files of a table cannot be those of the table that they are to become. Tables without SSTables
/// tell nothing.
pub fn check(workspace: &Workspace, table: &JournalTable) -> anyhow::Result<()> {
    let (mut new, mut live) = (Shape::default(), Shape::default());
    for place in workspace.places() {
        new.read(&workspace.shelf(Shelf::New, place, table))?;
        live.read(&workspace.live(place, table))?;
    }
    if let Some(difference) = difference(&new, &live) {
        bail!(
            "{} cannot become {table}: {difference}. No table was changed; `helenus restore --abort` removes what was \
             fetched",
            table.from
        );
    }
    Ok(())
}

impl Shape {
    fn read(&mut self, directory: &Path) -> anyhow::Result<()> {
        for (path, version) in statistics::files(directory)? {
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            // One that is damaged tells nothing; it is met again where its SSTable is read.
            if let Some(header) = Statistics::parse(&bytes, version).ok().and_then(|found| found.header) {
                self.add(header);
            }
        }
        Ok(())
    }

    fn add(&mut self, header: Header) {
        self.partition_key = Some(structure(&header.partition_key_type));
        self.clustering = Some(header.clustering_types.iter().map(|class| structure(class)).collect());
        for (columns, is_static) in [(header.static_columns, true), (header.regular_columns, false)] {
            for column in columns {
                let name = String::from_utf8_lossy(&column.name).into_owned();
                self.columns.insert(name, (structure(&column.class), is_static));
            }
        }
    }
}

/// The first thing in which the two cannot be the same table.
fn difference(new: &Shape, live: &Shape) -> Option<String> {
    let (Some(live_key), Some(new_key)) = (&live.partition_key, &new.partition_key) else { return None };
    if live_key != new_key {
        return Some(format!("the partition key is expected to be {live_key}, and the backup has {new_key}"));
    }
    if live.clustering != new.clustering {
        return Some(format!(
            "the clustering columns are expected to be [{}], and the backup has [{}]",
            live.clustering.iter().flatten().cloned().collect::<Vec<_>>().join(", "),
            new.clustering.iter().flatten().cloned().collect::<Vec<_>>().join(", ")
        ));
    }
    for (name, (class, is_static)) in &new.columns {
        match live.columns.get(name) {
            Some((expected, was_static)) if expected != class || was_static != is_static => {
                let kind = |is_static: bool| if is_static { " static" } else { "" };
                return Some(format!(
                    "column `{name}` is expected to be {expected}{}, and the backup has {class}{}",
                    kind(*was_static),
                    kind(*is_static)
                ));
            }
            // No SSTable of the node has a value of it: the table may have it all the same.
            _ => {}
        }
    }
    None
}

/// A type without the package of its classes, and without the keyspace of its user types.
fn structure(class: &str) -> String {
    const USER_TYPE: &str = "UserType(";
    let mut rest = class.replace("org.apache.cassandra.db.marshal.", "");
    let mut structure = String::new();
    while let Some(at) = rest.find(USER_TYPE) {
        let after = rest.split_off(at + USER_TYPE.len());
        structure += &rest;
        rest = after.split_once(',').map_or(after.clone(), |(_, fields)| format!(",{fields}"));
    }
    structure + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(key: &str, columns: &[(&str, &str)]) -> Shape {
        Shape {
            partition_key: Some(key.to_owned()),
            clustering: Some(vec![]),
            columns: columns.iter().map(|(name, class)| ((*name).to_owned(), ((*class).to_owned(), false))).collect(),
        }
    }

    #[test]
    fn what_cannot_be_the_same_table() {
        let check = |new: &Shape, live: &Shape, expected: Option<&str>| {
            let found = difference(new, live);
            match expected {
                None => assert_eq!(found, None),
                Some(word) => assert!(found.as_ref().is_some_and(|found| found.contains(word)), "{found:?}"),
            }
        };
        let orders = shape("UUIDType", &[("amount", "Int32Type"), ("note", "UTF8Type")]);
        check(&orders, &orders, None);
        check(&orders, &Shape::default(), None);
        check(&orders, &shape("UUIDType", &[("amount", "Int32Type")]), None);
        check(&orders, &shape("UTF8Type", &[]), Some("partition key"));
        check(&orders, &shape("UUIDType", &[("amount", "LongType")]), Some("`amount`"));
        let clustered = Shape { clustering: Some(vec!["UTF8Type".to_owned()]), ..shape("UUIDType", &[]) };
        check(&orders, &clustered, Some("clustering"));
    }

    #[test]
    fn user_types_of_two_keyspaces() {
        let class = |keyspace: &str| {
            format!(
                "org.apache.cassandra.db.marshal.FrozenType(org.apache.cassandra.db.marshal.UserType({keyspace},61,\
                 62:org.apache.cassandra.db.marshal.UserType({keyspace},63,64:Int32Type)))"
            )
        };
        assert_eq!(structure(&class("shop")), structure(&class("other")));
        assert_eq!(structure(&class("shop")), "FrozenType(UserType(,61,62:UserType(,63,64:Int32Type)))");
        assert_ne!(structure("UserType(a,61,62:Int32Type)"), structure("UserType(a,61,62:LongType)"));
    }
}
