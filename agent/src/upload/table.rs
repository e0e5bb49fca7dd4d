//! One table's part: what is known joined with what is fresh.

use anyhow::Context as _;

use super::one::Outcome;
use crate::catalog::Catalog;
use crate::manifest::codec;
use crate::manifest::model::{Amount, FORMAT, Part, StoredSSTable, TableEntry};
use crate::snapshot::{InRepository, Known, TableSnapshot};
use crate::store::key::{self, NodeName};
use crate::store::{self, Store};

/// Stores a part under the hash of its content, and returns that hash.
async fn store_part(store: &dyn Store, node: &NodeName, mut part: Part) -> anyhow::Result<String> {
    let catalog = Catalog::of(store);
    loop {
        let (encoded, same) = tokio::task::spawn_blocking(move || (codec::encode(&part), part)).await?;
        let encoded = encoded?;
        part = same;
        let key = key::part(node, &part.keyspace, &part.directory, &encoded.hash)?;
        match store.create(&key, encoded.body).await {
            Ok(_) => return Ok(encoded.hash),
            Err(store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // What is there should be what we have. If it is damaged by now, nothing may replace it.
        let there = catalog.part(node, &part.keyspace, &part.directory, &encoded.hash).await;
        if there.is_ok_and(|there| there == part) {
            return Ok(encoded.hash);
        }
        part.rewritten = Some(uuid::Uuid::new_v4());
    }
}

/// A part to be written. It has nothing borrowed: it is written while the next table is read.
#[derive(Debug)]
pub struct TablePart {
    keyspace: String,
    table: String,
    directory: String,
    base: Option<String>,
    known: Vec<Known>,
    fresh: Vec<Outcome>,
}

impl TablePart {
    /// The part of a table in a repository that has all its SSTables now.
    pub fn new(table: &TableSnapshot, repository: &InRepository, fresh: Vec<Outcome>) -> Self {
        Self {
            keyspace: table.table.keyspace.clone(),
            table: table.table.directory.table.clone(),
            directory: table.table.directory_name(),
            base: repository.base.as_ref().and_then(|base| base.part.clone()),
            known: repository.known.clone(),
            fresh,
        }
    }

    /// Writes the part; a table without SSTables has none.
    pub async fn store(self, store: &dyn Store, node: &NodeName) -> anyhow::Result<TableEntry> {
        let Self { keyspace, table, directory, base, known, fresh } = self;
        let mut added = Amount::default();
        fresh.iter().for_each(|outcome| added.add(outcome.added));
        let mut sstables: Vec<StoredSSTable> = fresh.into_iter().map(|outcome| outcome.stored).collect();
        if let (Some(base), false) = (&base, known.is_empty()) {
            let part = Catalog::of(store).part(node, &keyspace, &directory, base).await?;
            for Known { in_base, data_directory } in known {
                let stored = part.sstables.get(in_base as usize).context("the part that is built upon has changed")?;
                sstables.push(StoredSSTable { data_directory: data_directory as usize, ..stored.clone() });
            }
        }
        sstables
            .sort_by(|a, b| (&a.index, &a.sstable, a.data_directory).cmp(&(&b.index, &b.sstable, b.data_directory)));
        let mut amount = Amount::default();
        sstables.iter().for_each(|sstable| amount.add(sstable.amount()));
        let part = if sstables.is_empty() {
            None
        } else {
            let (format, rewritten) = (FORMAT, None);
            let part = Part { format, keyspace: keyspace.clone(), directory: directory.clone(), rewritten, sstables };
            Some(store_part(store, node, part).await?)
        };
        Ok(TableEntry { keyspace, table, directory, part, amount, added })
    }
}
