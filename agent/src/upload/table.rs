//! One table's part: what is known joined with what is fresh.

use anyhow::Context as _;

use super::Context;
use super::one::Outcome;
use crate::catalog::Catalog;
use crate::manifest::codec;
use crate::manifest::model::{Amount, FORMAT, Part, StoredSSTable, TableEntry};
use crate::snapshot::{Known, TableSnapshot};
use crate::store::{self, key};

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
    /// The part of a table whose fresh SSTables are stored.
    pub fn new(table: &TableSnapshot, fresh: Vec<Outcome>) -> Self {
        Self {
            keyspace: table.table.keyspace.clone(),
            table: table.table.directory.table.clone(),
            directory: table.table.directory_name(),
            base: table.base.as_ref().and_then(|base| base.part.clone()),
            known: table.known.clone(),
            fresh,
        }
    }

    /// Writes the part; a table without SSTables has none.
    pub async fn store(self, context: &Context) -> anyhow::Result<TableEntry> {
        let Self { keyspace, table, directory, base, known, fresh } = self;
        let mut added = Amount::default();
        fresh.iter().for_each(|outcome| added.add(outcome.added));
        let mut sstables: Vec<StoredSSTable> = fresh.into_iter().map(|outcome| outcome.stored).collect();
        if let (Some(base), false) = (&base, known.is_empty()) {
            let catalog = Catalog::of(context.store.as_ref());
            let part = catalog.part(&context.node, &keyspace, &directory, base).await?;
            for Known { in_base, data_directory } in known {
                let stored = part.sstables.get(in_base).context("the part that is built upon has changed")?;
                sstables.push(StoredSSTable { data_directory, ..stored.clone() });
            }
        }
        sstables
            .sort_by(|a, b| (&a.index, &a.sstable, a.data_directory).cmp(&(&b.index, &b.sstable, b.data_directory)));
        let mut amount = Amount::default();
        sstables.iter().for_each(|sstable| amount.add(sstable.amount()));
        let part = if sstables.is_empty() {
            None
        } else {
            let part = Part { format: FORMAT, keyspace: keyspace.clone(), directory: directory.clone(), sstables };
            let encoded = tokio::task::spawn_blocking(move || codec::encode(&part)).await??;
            let key = key::part(&context.node, &keyspace, &directory, &encoded.hash)?;
            match context.store.create(&key, encoded.body).await {
                // The key is the hash of the content: what is there is what we have.
                Ok(_) | Err(store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            Some(encoded.hash)
        };
        Ok(TableEntry { keyspace, table, directory, part, amount, added })
    }
}
