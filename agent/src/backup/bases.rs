//! Earlier backups of the node in one repository, of which each table's part is built upon.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::TryStreamExt;
use tokio::sync::Semaphore;

use crate::catalog::{self, Catalog, Entry};
use crate::manifest::BackupId;
use crate::manifest::id::Kind;
use crate::manifest::model::{Manifest, Notice, TableEntry};
use crate::node::tables::notice;
use crate::node::{Node, Table};
use crate::snapshot::Base;
use crate::store::key::NodeName;
use crate::store::{Depth, Listed, Store, key};

/// A part of more SSTables takes megabytes while it is read, so one such part is read at a time.
const LARGE_PART_SSTABLES: u64 = 100;

/// The backups that a new one may build upon. Several tables ask at a time.
pub(super) struct Bases {
    store: Arc<dyn Store>,
    node: NodeName,
    /// Newest first, down to the newest of all tables: what that one does not have, did not exist then.
    entries: Vec<Entry>,
    read: Mutex<Read>,
    /// The turn to read a large part.
    large_parts: Semaphore,
}

/// What has been read of them.
#[derive(Default)]
struct Read {
    /// By number among the entries; `None` for a damaged one.
    manifests: BTreeMap<usize, Option<Arc<Manifest>>>,
    /// Documents that cannot be read: damaged, and of no use to build upon.
    notices: Vec<Notice>,
}

impl Bases {
    /// The backups of `node`.
    pub async fn find(store: Arc<dyn Store>, node: &Node) -> anyhow::Result<Self> {
        let mut entries = Catalog::of(store.as_ref()).backups_of(&node.name).await?;
        entries.reverse();
        Ok(Self { entries, ..Self::none(store, node) })
    }

    /// Nothing to build upon.
    pub fn none(store: Arc<dyn Store>, node: &Node) -> Self {
        Self {
            store,
            node: node.name.clone(),
            entries: Vec::new(),
            read: Mutex::default(),
            large_parts: Semaphore::new(1),
        }
    }

    /// The epoch that a backup goes on with, or, for a new one, the highest that was ever used; `None` before the first.
    pub async fn epoch(&self, highest: bool) -> anyhow::Result<Option<u32>> {
        let mut newest = self.newest().await?.map(|newest| newest.epoch);
        if self.entries.is_empty() || (newest.is_some() && !highest) {
            return Ok(newest);
        }
        // A damaged manifest may have been of a later epoch: the objects themselves tell.
        let mut listing = self.store.list(&key::epochs(), None, Depth::Level);
        while let Some(listed) = listing.try_next().await? {
            if let Listed::Prefix(prefix) = listed {
                newest = newest.max(prefix.name().parse().ok());
            }
        }
        Ok(newest)
    }

    /// The newest backup that was built upon, if any manifest could be read.
    pub fn newest_read(&self) -> Option<BackupId> {
        self.lock().manifests.values().flatten().next().map(|manifest| manifest.backup_id.clone())
    }

    /// What could not be read.
    pub fn notices(&self) -> Vec<Notice> {
        self.lock().notices.clone()
    }

    /// The table's part in the newest backup that has the table, within the epoch of the newest.
    pub async fn of(&self, table: &Table) -> anyhow::Result<Base> {
        let directory = table.directory_name();
        let Some((entry, backup)) = self.entry_of(table, &directory).await? else { return Ok(Base::default()) };
        let Some(hash) = &entry.part else { return Ok(Base::default()) };
        let is_large = entry.amount.sstables > LARGE_PART_SSTABLES;
        let _turn = if is_large { Some(self.large_parts.acquire().await?) } else { None };
        let part = Catalog::of(self.store.as_ref()).part(&self.node, &table.keyspace, &directory, hash).await;
        let part = self.unless_damaged(&format!("the part of {table} in backup {backup}"), part)?;
        Ok(part.map(|part| Base::new(entry, part)).unwrap_or_default())
    }

    async fn entry_of(&self, table: &Table, directory: &str) -> anyhow::Result<Option<(TableEntry, BackupId)>> {
        let Some(epoch) = self.newest().await?.map(|newest| newest.epoch) else { return Ok(None) };
        for number in 0..self.entries.len() {
            let Some(manifest) = self.manifest(number).await? else { continue };
            if manifest.epoch != epoch {
                break;
            }
            let entry =
                manifest.tables.iter().find(|entry| entry.keyspace == table.keyspace && entry.directory == directory);
            if let Some(entry) = entry {
                return Ok(Some((entry.clone(), manifest.backup_id.clone())));
            }
            if manifest.facts.kind == Kind::Full {
                break;
            }
        }
        Ok(None)
    }

    /// The newest manifest that can be read.
    async fn newest(&self) -> anyhow::Result<Option<Arc<Manifest>>> {
        for number in 0..self.entries.len() {
            if let Some(manifest) = self.manifest(number).await? {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    /// A manifest by its number, newest first; `None` if it is damaged or there are no more.
    async fn manifest(&self, number: usize) -> anyhow::Result<Option<Arc<Manifest>>> {
        let Some(entry) = self.entries.get(number) else { return Ok(None) };
        if let Some(read) = self.lock().manifests.get(&number) {
            return Ok(read.clone());
        }
        let manifest = Catalog::of(self.store.as_ref()).manifest(entry).await;
        let manifest = self.unless_damaged(entry.key.as_ref(), manifest)?.map(Arc::new);
        self.lock().manifests.insert(number, manifest.clone());
        Ok(manifest)
    }

    /// A store that fails ends the run; a document that it gives and that is damaged is named and done without.
    fn unless_damaged<T>(&self, document: &str, read: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if !catalog::is_damage(&error) => Err(error),
            Err(error) => {
                let notice = notice(Path::new(document), format!("cannot be built upon: {}", error.root_cause()));
                let notices = &mut self.lock().notices;
                if !notices.contains(&notice) {
                    notices.push(notice);
                }
                Ok(None)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
