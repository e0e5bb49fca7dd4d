//! Stores what a snapshot links: one read of each byte verifies, hashes, compresses and sends it.
//!
//! SSTables are independent of each other, so several are under way at a time; memory is bounded by a budget of bytes,
//! not by their number. There may be several repositories ([`Destinations`]): an SSTable that some have and some lack
//! is read once and sent to those that lack it ([`fan_out`]). A transient link goes away as soon as its SSTable is stored
//! wherever it was lacking, and also when all that lacked it have failed.

mod again;
mod destination;
mod fan_out;
mod one;
mod outgoing;
mod table;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt;
use helenus_sstable::component::Component;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use self::destination::{Destination, Destinations};
use crate::catalog::Catalog;
use crate::config::Compress;
use crate::inspect::SSTableFiles;
use crate::inspect::reader::Buffers;
use crate::manifest::model::{DamagedSSTable, Part, StoredSSTable, TableEntry};
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
    pub destinations: Destinations,
    /// Whose.
    pub node: NodeName,
    /// The epoch in each repository, by its number.
    pub epochs: Vec<Epoch>,
    /// What is compressed.
    pub compress: Compress,
    /// SSTables under way at a time.
    pub parallel: usize,
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

/// The epoch of one repository that a run adds to.
#[derive(Debug, Default)]
pub struct Epoch {
    /// Its number.
    pub number: u32,
    /// Objects that lie there though no manifest may name them: a run was killed, or failed in this repository.
    pub existing: BTreeMap<ObjectKey, u64>,
}

impl Epoch {
    /// Lists what lies in a store of this node and epoch.
    pub async fn list(number: u32, store: &dyn Store, node: &NodeName) -> anyhow::Result<Self> {
        let mut existing = BTreeMap::new();
        for root in [Root::Data, Root::Damaged] {
            // Of the epoch before, too: what was begun there is of no use any more.
            for epoch in number.saturating_sub(1)..=number {
                store.find_unfinished(&key::sstables(root, epoch, node)?).await?;
            }
            let prefix = key::sstables(root, number, node)?;
            let mut listing = store.list(&prefix, None, Depth::All);
            while let Some(listed) = listing.try_next().await? {
                if let Listed::Object(object) = listed {
                    existing.insert(object.key().clone(), object.length());
                }
            }
        }
        Ok(Self { number, existing })
    }
}

impl Context {
    /// A context on the present runtime.
    pub fn new(
        destinations: Destinations,
        node: NodeName,
        epochs: Vec<Epoch>,
        compress: Compress,
        parallel: usize,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            destinations,
            node,
            epochs,
            compress,
            parallel,
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
        self.destinations.check()?;
        self.progress.check()
    }

    /// A compressor, on loan if one is free.
    fn take_frames(&self) -> anyhow::Result<Frames> {
        let spare = self.frames.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.map_or_else(|| Ok(Frames::new()?), Ok)
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
    /// The repositories that lack it.
    to: Vec<Receiver>,
}

/// A repository that lacks an SSTable.
#[derive(Debug)]
struct Receiver {
    /// Its number.
    number: usize,
    /// Large objects that its base names for an SSTable of this name, with their lengths: keys name content, so one of
    /// these that is needed is there.
    in_base: BTreeMap<ObjectKey, u64>,
}

impl Item {
    /// True as long as one that lacks it has not failed.
    fn is_wanted(&self, context: &Context) -> bool {
        self.to.iter().any(|to| context.destinations.all()[to.number].is_live())
    }
}

/// The tables of a snapshot, all of it stored in one repository. Only [`upload`] makes one.
#[derive(Debug, Default)]
pub struct Uploaded {
    entries: BTreeMap<usize, TableEntry>,
    damaged: Vec<DamagedSSTable>,
}

impl Uploaded {
    /// Takes it apart for the manifest.
    pub fn into_parts(self) -> (Vec<TableEntry>, Vec<DamagedSSTable>) {
        (self.entries.into_values().collect(), self.damaged)
    }
}

/// Stores every SSTable that the snapshot links, and a part for every table, in each repository that lacks it. By number
/// of the repository; one that failed has `None`. An error is none of a repository's own: it ends the run.
pub async fn upload(snapshot: &Snapshot, context: Arc<Context>) -> anyhow::Result<Vec<Option<Uploaded>>> {
    let mut run = Run {
        snapshot,
        context: context.clone(),
        sstables: JoinSet::new(),
        parts: JoinSet::new(),
        parts_sstables: 0,
        results: BTreeMap::new(),
        uploaded: context.destinations.all().iter().map(|_| Uploaded::default()).collect(),
        begun: 0,
        live: context.destinations.all().len(),
    };
    let outcome = run.all().await;
    if outcome.is_err() {
        // Readers check between two slices whether they should go on.
        context.has_failed.store(true, Ordering::Relaxed);
        while run.sstables.join_next().await.is_some() {}
        run.parts.shutdown().await;
    }
    outcome?;
    let done = run.uploaded.into_iter().zip(context.destinations.all()).map(|(mut uploaded, destination)| {
        uploaded
            .damaged
            .sort_by(|a, b| (&a.keyspace, &a.directory, &a.sstable).cmp(&(&b.keyspace, &b.directory, &b.sstable)));
        destination.is_live().then_some(uploaded)
    });
    Ok(done.collect())
}

struct Run<'a> {
    snapshot: &'a Snapshot,
    context: Arc<Context>,
    sstables: JoinSet<anyhow::Result<(usize, Vec<one::Outcome>)>>,
    parts: JoinSet<PartDone>,
    /// SSTables in those parts.
    parts_sstables: usize,
    /// Tables that are not complete yet.
    results: BTreeMap<usize, Results>,
    /// By repository.
    uploaded: Vec<Uploaded>,
    /// Tables whose SSTables are under way or done.
    begun: usize,
    /// Repositories that had not failed when that was looked at last.
    live: usize,
}

/// What has come of a table so far.
struct Results {
    /// SSTables that are not stored yet.
    left: usize,
    stored: Vec<one::Outcome>,
}

/// A part that was written, or not.
struct PartDone {
    destination: usize,
    table: usize,
    sstables: usize,
    entry: anyhow::Result<TableEntry>,
}

impl Run<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        self.release()?;
        for (number, table) in self.snapshot.tables.iter().enumerate() {
            self.begun = number + 1;
            let items = self.items(table).await?;
            self.results.insert(number, Results { left: items.len(), stored: Vec::new() });
            for item in items {
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
        let (number, outcomes) = joined.context("a reader failed")??;
        self.release()?;
        let table = &self.snapshot.tables[number].table;
        for one::Outcome { destination, stored, .. } in outcomes.iter().filter(|outcome| outcome.stored.damaged) {
            self.uploaded[*destination].damaged.push(DamagedSSTable {
                keyspace: table.keyspace.clone(),
                directory: table.directory_name(),
                index: stored.index.clone(),
                sstable: stored.sstable.clone(),
                findings: stored.findings.clone(),
            });
        }
        if let Some(results) = self.results.get_mut(&number) {
            results.left -= 1;
            results.stored.extend(outcomes);
        }
        self.finish_if_complete(number).await
    }

    async fn finish_if_complete(&mut self, number: usize) -> anyhow::Result<()> {
        if self.results.get(&number).is_none_or(|results| results.left > 0) {
            return Ok(());
        }
        let Some(Results { mut stored, .. }) = self.results.remove(&number) else { return Ok(()) };
        let table = &self.snapshot.tables[number];
        let destinations = self.context.destinations.clone();
        for (destination, _) in destinations.live() {
            let has = &table.repositories[destination];
            let fresh: Vec<_> = stored.extract_if(.., |outcome| outcome.destination == destination).collect();
            if let (true, Some(base)) = (has.is_unchanged, &has.base) {
                let entry = TableEntry { added: Default::default(), ..base.clone() };
                self.uploaded[destination].entries.insert(number, entry);
                continue;
            }
            let (got, expected) = (fresh.len(), has.lacking.len());
            ensure!(got == expected, "{}: {got} SSTables were stored, {expected} were lacking", table.table);
            let sstables = has.known.len() + fresh.len();
            while self.parts.len() >= PARTS_AT_A_TIME
                || (!self.parts.is_empty() && self.parts_sstables + sstables > PARTS_SSTABLES_MAX)
            {
                self.one_part().await?;
            }
            self.parts_sstables += sstables;
            let work = table::TablePart::new(table, has, fresh);
            let (store, node) = (destinations.all()[destination].store.clone(), self.context.node.clone());
            self.parts.spawn(async move {
                let entry = work.store(store.as_ref(), &node).await;
                PartDone { destination, table: number, sstables, entry }
            });
        }
        Ok(())
    }

    async fn one_part(&mut self) -> anyhow::Result<()> {
        if let Some(joined) = self.parts.join_next().await {
            let PartDone { destination, table, sstables, entry } = joined.context("writing a part failed")?;
            self.parts_sstables -= sstables;
            if let Some(entry) = self.context.destinations.all()[destination].keep(entry) {
                self.uploaded[destination].entries.insert(table, entry);
            }
            self.release()?;
        }
        Ok(())
    }

    /// After a repository has failed: the links that only it needed hold space on Cassandra's disks for nothing. Those of
    /// tables that are begun go with their SSTables.
    fn release(&mut self) -> anyhow::Result<()> {
        let live = self.context.destinations.live().count();
        if std::mem::replace(&mut self.live, live) == live {
            return Ok(());
        }
        self.context.destinations.check()?;
        for table in &self.snapshot.tables[self.begun..] {
            let wanted = self.wanted(table);
            for (number, fresh) in (0..).zip(&table.fresh) {
                let links = &table.links[fresh.links as usize];
                if links.is_transient && !wanted.contains_key(&number) {
                    links.release(fresh.descriptor)?;
                }
            }
        }
        Ok(())
    }

    /// Which fresh SSTables of a table are lacking, by their place among the fresh ones, and who lacks them, with the
    /// place in the base part of one of the same name.
    fn wanted(&self, table: &TableSnapshot) -> BTreeMap<u32, Vec<(usize, Option<u32>)>> {
        let mut wanted = BTreeMap::<u32, Vec<_>>::new();
        for (number, _) in self.context.destinations.live() {
            for lacking in &table.repositories[number].lacking {
                wanted.entry(lacking.fresh).or_default().push((number, lacking.in_base));
            }
        }
        wanted
    }

    /// The SSTables of a table that are lacking somewhere, as their links show them now.
    async fn items(&self, table: &TableSnapshot) -> anyhow::Result<Vec<Item>> {
        let (keyspace, directory) = (&table.table.keyspace, table.table.directory_name());
        let bases = self.context.destinations.each(async |number, destination| {
            let has = &table.repositories[number];
            let hash = has.base.as_ref().and_then(|base| base.part.as_ref());
            let hash = hash.filter(|_| has.lacking.iter().any(|lacking| lacking.in_base.is_some()));
            let Some(hash) = hash else { return Ok(None) };
            let catalog = Catalog::of(destination.store.as_ref());
            Ok(Some(catalog.part(&self.context.node, keyspace, &directory, hash).await?))
        });
        let bases: Vec<Option<Part>> = bases.await.into_iter().map(Option::flatten).collect();
        self.context.destinations.check()?;
        let receiver = |(number, in_base): (usize, Option<u32>)| {
            let in_base = in_base.and_then(|position| bases[number].as_ref()?.sstables.get(position as usize));
            Receiver { number, in_base: in_base.map(large_objects).unwrap_or_default() }
        };
        let mut wanted = self.wanted(table);
        let mut items = Vec::with_capacity(wanted.len());
        for (number, links) in table.links.iter().enumerate() {
            let mut listed: BTreeMap<String, SSTableFiles> = SSTableFiles::list(&links.path)?
                .into_iter()
                .map(|files| (files.descriptor.to_string(), files))
                .collect();
            for (place, fresh) in (0..).zip(&table.fresh).filter(|(_, fresh)| fresh.links as usize == number) {
                let Some(to) = wanted.remove(&place) else {
                    if links.is_transient {
                        links.release(fresh.descriptor)?;
                    }
                    continue;
                };
                let files = listed.remove(&fresh.descriptor.to_string());
                // A part of them would look like damage.
                let files = files.filter(|files| files.lengths.len() >= fresh.components as usize);
                let files = files.ok_or_else(|| {
                    std::io::Error::new(
                        std::io::ErrorKind::NotFound,
                        format!("{}: the links to {} were removed", links.path.display(), fresh.descriptor),
                    )
                })?;
                items.push(Item {
                    keyspace: keyspace.clone(),
                    table_directory: directory.clone(),
                    index: links.index.clone(),
                    data_directory: links.data_directory,
                    doubt: fresh.doubt.clone().map(String::from),
                    is_transient: links.is_transient,
                    files,
                    to: to.into_iter().map(receiver).collect(),
                });
            }
        }
        ensure!(wanted.is_empty(), "{}: {} SSTables are lacking, and have no links", table.table, wanted.len());
        Ok(items)
    }
}

fn large_objects(sstable: &StoredSSTable) -> BTreeMap<ObjectKey, u64> {
    let large = sstable.files.iter().filter(|file| file.component == Component::Data.name() && file.offset == 0);
    large.filter(|file| !file.object.name().ends_with(".tar")).map(|file| (file.object.clone(), file.stored)).collect()
}
