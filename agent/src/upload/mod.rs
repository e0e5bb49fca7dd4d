//! Stores what a snapshot links: one read of each byte verifies, hashes, compresses and sends it.
//!
//! SSTables are independent of each other, so several are under way at a time; memory is bounded by a budget of bytes,
//! not by their number. A transient link goes away as soon as its SSTable is stored.

mod one;
mod outgoing;
mod table;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use futures::TryStreamExt;
use helenus_sstable::component::Component;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::catalog::Catalog;
use crate::config::Compress;
use crate::inspect::SSTableFiles;
use crate::inspect::reader::Buffers;
use crate::manifest::model::{DamagedSSTable, StoredSSTable, TableEntry};
use crate::pack::frames::Frames;
use crate::progress::Progress;
use crate::snapshot::{Snapshot, TableSnapshot};
use crate::store::key::{self, NodeName, ObjectKey, Root};
use crate::store::{Depth, Listed, Store};

/// Memory for held components and streams of all SSTables under way.
const BUDGET_KIB: u32 = 16 << 10;

/// SSTables in the parts that are being written: each takes some kilobytes there.
const PARTS_SSTABLES_MAX: usize = 1000;

/// Parts that are written at a time: each is a small object that waits for a disk or a network.
const PARTS_AT_A_TIME: usize = 8;

/// What all uploads of a run share.
#[derive(Debug)]
pub struct Context {
    /// Where to.
    pub store: Arc<dyn Store>,
    /// Whose.
    pub node: NodeName,
    /// Epoch of the objects.
    pub epoch: u32,
    /// What is compressed.
    pub compress: Compress,
    /// SSTables under way at a time.
    pub parallel: usize,
    /// Objects that lie in the store though no manifest may name them: a run was killed.
    pub existing: BTreeMap<ObjectKey, u64>,
    /// Progress.
    pub progress: Arc<Progress>,
    /// One SSTable has failed: the others need not go on. Not a stop of the run, which may try again.
    has_failed: AtomicBool,
    runtime: Handle,
    buffers: Buffers,
    budget: Arc<Semaphore>,
    /// Compressors between two SSTables: making one costs a megabyte each time.
    frames: Mutex<Vec<Frames>>,
}

impl Context {
    /// A context on the present runtime.
    pub fn new(
        store: Arc<dyn Store>,
        node: NodeName,
        epoch: u32,
        compress: Compress,
        parallel: usize,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            store,
            node,
            epoch,
            compress,
            parallel,
            existing: BTreeMap::new(),
            progress,
            has_failed: AtomicBool::new(false),
            runtime: Handle::current(),
            buffers: Buffers::default(),
            budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)),
            frames: Mutex::default(),
        }
    }

    /// An error if there is no use in going on.
    fn check(&self) -> anyhow::Result<()> {
        if self.has_failed.load(Ordering::Relaxed) {
            bail!("another SSTable failed");
        }
        self.progress.check()
    }

    /// Lists what lies in the store of this node and epoch, after a run that was killed.
    pub async fn list_existing(&mut self) -> anyhow::Result<()> {
        for root in [Root::Data, Root::Damaged] {
            let prefix = key::sstables(root, self.epoch, &self.node)?;
            let mut listing = self.store.list(&prefix, None, Depth::All);
            while let Some(listed) = listing.try_next().await? {
                if let Listed::Object(object) = listed {
                    self.existing.insert(object.key().clone(), object.length());
                }
            }
        }
        Ok(())
    }
}

/// One SSTable to store.
#[derive(Debug)]
struct Item {
    keyspace: String,
    table_directory: String,
    index: Option<String>,
    data_directory: usize,
    /// Why nobody can tell whether the SSTable counts.
    doubt: Option<String>,
    /// True if the links are to be removed when the files are stored.
    is_transient: bool,
    files: SSTableFiles,
    /// Large objects that the base names for an SSTable of this name, with their lengths: keys name content, so one of
    /// these that is needed is there.
    in_base: BTreeMap<ObjectKey, u64>,
}

/// The tables of a snapshot, all of it stored. Only [`upload`] makes one.
#[derive(Debug)]
pub struct Uploaded {
    tables: Vec<TableEntry>,
    damaged: Vec<DamagedSSTable>,
}

impl Uploaded {
    /// Takes it apart for the manifest.
    pub fn into_parts(self) -> (Vec<TableEntry>, Vec<DamagedSSTable>) {
        (self.tables, self.damaged)
    }
}

/// Stores every SSTable that the snapshot links, and a part for every table.
pub async fn upload(snapshot: &Snapshot, context: Arc<Context>) -> anyhow::Result<Uploaded> {
    let mut run = Run {
        snapshot,
        context: context.clone(),
        sstables: JoinSet::new(),
        parts: JoinSet::new(),
        parts_sstables: 0,
        results: BTreeMap::new(),
        entries: BTreeMap::new(),
        damaged: Vec::new(),
    };
    let outcome = run.all().await;
    if outcome.is_err() {
        // Readers check between two slices whether they should go on.
        context.has_failed.store(true, Ordering::Relaxed);
        while run.sstables.join_next().await.is_some() {}
        run.parts.shutdown().await;
    }
    outcome?;
    run.damaged.sort_by(|a, b| (&a.keyspace, &a.directory, &a.sstable).cmp(&(&b.keyspace, &b.directory, &b.sstable)));
    Ok(Uploaded { tables: run.entries.into_values().collect(), damaged: run.damaged })
}

struct Run<'a> {
    snapshot: &'a Snapshot,
    context: Arc<Context>,
    sstables: JoinSet<anyhow::Result<(usize, one::Outcome)>>,
    parts: JoinSet<anyhow::Result<(usize, usize, TableEntry)>>,
    /// SSTables in those parts.
    parts_sstables: usize,
    /// Stored SSTables of tables that are not complete yet.
    results: BTreeMap<usize, Vec<one::Outcome>>,
    entries: BTreeMap<usize, TableEntry>,
    damaged: Vec<DamagedSSTable>,
}

impl Run<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        for (number, table) in self.snapshot.tables.iter().enumerate() {
            self.results.insert(number, Vec::new());
            for item in self.items(table).await? {
                while self.sstables.len() >= self.context.parallel {
                    self.one_sstable().await?;
                }
                let context = self.context.clone();
                self.sstables.spawn_blocking(move || Ok((number, one::store(&context, &item)?)));
            }
            self.finish_if_complete(number).await?;
        }
        while !self.sstables.is_empty() {
            self.one_sstable().await?;
        }
        while !self.parts.is_empty() {
            self.one_part().await?;
        }
        Ok(())
    }

    async fn one_sstable(&mut self) -> anyhow::Result<()> {
        let Some(joined) = self.sstables.join_next().await else { return Ok(()) };
        let (number, outcome) = joined.context("a reader failed")??;
        let stored = &outcome.stored;
        let table = &self.snapshot.tables[number].table;
        if stored.damaged {
            self.damaged.push(DamagedSSTable {
                keyspace: table.keyspace.clone(),
                directory: table.directory_name(),
                index: stored.index.clone(),
                sstable: stored.sstable.clone(),
                findings: stored.findings.clone(),
            });
        }
        self.results.entry(number).or_default().push(outcome);
        self.finish_if_complete(number).await
    }

    async fn finish_if_complete(&mut self, number: usize) -> anyhow::Result<()> {
        let table = &self.snapshot.tables[number];
        if self.results.get(&number).is_none_or(|stored| stored.len() < table.fresh.len()) {
            return Ok(());
        }
        let Some(fresh) = self.results.remove(&number) else { return Ok(()) };
        if let (true, Some(base)) = (table.is_unchanged, &table.base) {
            self.entries.insert(number, TableEntry { added: Default::default(), ..base.clone() });
            return Ok(());
        }
        let sstables = table.known.len() + table.fresh.len();
        while self.parts.len() >= PARTS_AT_A_TIME
            || (!self.parts.is_empty() && self.parts_sstables + sstables > PARTS_SSTABLES_MAX)
        {
            self.one_part().await?;
        }
        self.parts_sstables += sstables;
        let work = table::TablePart::new(table, fresh);
        let context = self.context.clone();
        self.parts.spawn(async move { Ok((number, sstables, work.store(&context).await?)) });
        Ok(())
    }

    async fn one_part(&mut self) -> anyhow::Result<()> {
        if let Some(joined) = self.parts.join_next().await {
            let (number, sstables, entry) = joined.context("writing a part failed")??;
            self.parts_sstables -= sstables;
            self.entries.insert(number, entry);
        }
        Ok(())
    }

    /// The fresh SSTables of a table, as their links show them now.
    async fn items(&self, table: &TableSnapshot) -> anyhow::Result<Vec<Item>> {
        let hash = table.base.as_ref().and_then(|base| base.part.as_ref());
        let base = match hash.filter(|_| table.fresh.iter().any(|fresh| fresh.in_base.is_some())) {
            None => None,
            Some(hash) => {
                let (keyspace, directory) = (&table.table.keyspace, table.table.directory_name());
                Some(
                    Catalog::of(self.context.store.as_ref())
                        .part(&self.context.node, keyspace, &directory, hash)
                        .await?,
                )
            }
        };
        let mut items = Vec::with_capacity(table.fresh.len());
        for (number, links) in table.links.iter().enumerate() {
            let mut listed: BTreeMap<String, SSTableFiles> = SSTableFiles::list(&links.path)?
                .into_iter()
                .map(|files| (files.descriptor.to_string(), files))
                .collect();
            for fresh in table.fresh.iter().filter(|fresh| fresh.links as usize == number) {
                let files = listed.remove(&fresh.descriptor.to_string());
                // A part of them would look like damage.
                let files = files.filter(|files| files.lengths.len() >= fresh.components as usize);
                let files = files.ok_or_else(|| {
                    std::io::Error::new(
                        std::io::ErrorKind::NotFound,
                        format!("{}: the links to {} were removed", links.path.display(), fresh.descriptor),
                    )
                })?;
                let in_base = fresh.in_base.and_then(|position| base.as_ref()?.sstables.get(position as usize));
                items.push(Item {
                    keyspace: table.table.keyspace.clone(),
                    table_directory: table.table.directory_name(),
                    index: links.index.clone(),
                    data_directory: links.data_directory,
                    doubt: fresh.doubt.clone().map(String::from),
                    is_transient: links.is_transient,
                    files,
                    in_base: in_base.map(large_objects).unwrap_or_default(),
                });
            }
        }
        Ok(items)
    }
}

fn large_objects(sstable: &StoredSSTable) -> BTreeMap<ObjectKey, u64> {
    let large = sstable.files.iter().filter(|file| file.component == Component::Data.name() && file.offset == 0);
    large.filter(|file| !file.object.name().ends_with(".tar")).map(|file| (file.object.clone(), file.stored)).collect()
}
