//! A backup from its first look to its manifests: the stages in their order.
//!
//!     node ─ snapshot::take ─► Snapshot ─ upload ─► Uploaded ─ manifest::commit ─► the backup exists
//!
//! A run has one snapshot and one backup id. Of repositories it may have several: each has earlier backups of its own to
//! build upon, an epoch and a manifest of its own, and fails for itself.

mod bases;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use tokio::runtime::Handle;

use self::bases::Bases;
use crate::catalog::repository::Repository;
use crate::config::{Compress, MinFree};
use crate::error::usage;
use crate::manifest::BackupId;
use crate::manifest::commit::{Heading, commit};
use crate::manifest::model::{Manifest, NodeFacts, Notice};
use crate::node::lock::NodeLock;
use crate::node::{self, Node, Table};
use crate::progress::{self, Progress};
use crate::selection::Selection;
use crate::snapshot::{self, Base, Snapshot, TRANSIENT_PREFIX};
use crate::state::UnfinishedNote;
use crate::store::Store;
use crate::time;
use crate::upload::{self, Destinations, Epoch};

/// How often a run begins anew because Cassandra cleared its links (`nodetool clearsnapshot --all`).
const ATTEMPTS_MAX: usize = 3;

/// How often the free space of Cassandra's disks is looked at.
const SPACE_CHECK_PERIOD: Duration = Duration::from_millis(500);

/// A backup to be made.
#[derive(Debug)]
pub struct Job {
    /// The node.
    pub node: Node,
    /// Which tables.
    pub selection: Selection,
    /// Also directories of dropped tables.
    pub include_dropped: bool,
    /// Open a new epoch: share nothing with earlier backups.
    pub new_epoch: bool,
    /// Keep a complete snapshot under this tag.
    pub keep_snapshot: Option<String>,
    /// What is compressed.
    pub compress: Compress,
    /// SSTables read at a time.
    pub parallel: usize,
    /// Space to leave on Cassandra's disks.
    pub min_free: MinFree,
    /// How long to wait for another run on this node to end.
    pub lock_wait: Duration,
    /// Caches and notes.
    pub state_dir: PathBuf,
}

/// What a backup would do.
#[derive(Debug)]
pub struct Forecast {
    /// The snapshot, without links.
    pub snapshot: Snapshot,
    /// What it would be built upon, for each repository.
    pub repositories: Vec<anyhow::Result<Foundation>>,
}

/// What a backup would be built upon in one repository.
#[derive(Debug)]
pub struct Foundation {
    /// The earlier backup.
    pub based_on: Option<BackupId>,
    /// Documents that cannot be built upon.
    pub notices: Vec<Notice>,
}

impl Job {
    /// Says what the backup would store; nothing is written.
    pub async fn forecast(self, stores: Vec<Arc<dyn Store>>) -> anyhow::Result<Forecast> {
        let destinations = Destinations::new(stores);
        let roots = destinations.each(async |_, to| Repository::read(to.store.as_ref()).await).await;
        refuse_twice(&destinations, roots.iter().map(|root| root.as_ref().and_then(Option::as_ref)))?;
        let bases = destinations.each(async |number, to| match roots[number] {
            Some(Some(_)) => Bases::find(to.store.clone(), &self.node).await,
            _ => Ok(Bases::none(to.store.clone(), &self.node)),
        });
        let bases = bases.await;
        let (bases, snapshot) = self.take(&destinations, bases, "dry-run", true, Arc::default()).await?;
        let foundation = |bases: Bases| Foundation {
            based_on: if self.new_epoch { None } else { bases.newest_read() },
            notices: bases.notices(),
        };
        let foundations = bases.into_iter().map(|bases| bases.map(foundation)).collect();
        Ok(Forecast { snapshot, repositories: destinations.outcomes(foundations) })
    }

    /// Makes the backup in each of these repositories, and says for each how that ended. An error is one of the whole
    /// run: there is no new backup anywhere. `watch` is given the snapshot, and how far the run is.
    pub async fn run(
        self,
        stores: Vec<Arc<dyn Store>>,
        watch: impl Fn(&Snapshot, Arc<Progress>),
    ) -> anyhow::Result<Vec<anyhow::Result<Manifest>>> {
        let _lock = NodeLock::take_within(&self.node.data_directories, self.lock_wait).await?;
        let destinations = Destinations::new(stores);
        let roots = destinations.each(async |_, to| Repository::open_or_create(&to.store).await).await;
        refuse_twice(&destinations, roots.iter().map(Option::as_ref))?;
        let note = |root: &Repository| UnfinishedNote::leave(&self.state_dir, root.repository_id, &self.node.name);
        let notes: Vec<_> = roots.iter().map(|root| root.as_ref().map(note)).collect();
        let progress = Arc::<Progress>::default();
        let signals = progress::stop_on_signals(progress.clone())?;
        let stops = destinations.heed(progress.stop_signal());
        let mut attempt = 1;
        let outcome = loop {
            let list_existing = |number: usize| {
                let note: Option<&UnfinishedNote> = notes[number].as_ref();
                attempt > 1 || note.is_some_and(UnfinishedNote::was_there)
            };
            match self.attempt(&destinations, &list_existing, progress.clone(), &watch).await {
                Err(error) if attempt < ATTEMPTS_MAX && self.keep_snapshot.is_none() && links_vanished(&error) => {
                    tracing::warn!("somebody removed our links ({error:#}); looking again");
                    attempt += 1;
                }
                // Each repository has its own error, which says more.
                Err(_) if destinations.check().is_err() => break Ok(notes.iter().map(|_| None).collect()),
                outcome => break outcome,
            }
        };
        signals.abort();
        stops.abort();
        let manifests: Vec<Option<Manifest>> = outcome?;
        for (note, _) in notes.into_iter().zip(&manifests).filter(|(_, manifest)| manifest.is_some()) {
            note.into_iter().for_each(UnfinishedNote::clear);
        }
        Ok(destinations.outcomes(manifests))
    }

    async fn attempt(
        &self,
        destinations: &Destinations,
        list_existing: &impl Fn(usize) -> bool,
        progress: Arc<Progress>,
        watch: &impl Fn(&Snapshot, Arc<Progress>),
    ) -> anyhow::Result<Vec<Option<Manifest>>> {
        let started = time::now();
        let id = BackupId::new(started);
        let found = destinations.each(async |_, to| {
            let bases = Bases::find(to.store.clone(), &self.node).await?;
            let last = bases.epoch(self.new_epoch).await?;
            Ok((bases, last.map_or(0, |last| if self.new_epoch { last + 1 } else { last })))
        });
        let (bases, epochs): (Vec<_>, Vec<_>) = found.await.into_iter().map(Option::unzip).unzip();
        destinations.check()?;
        let transient = format!("{TRANSIENT_PREFIX}{id}");
        let (bases, mut snapshot) = self.take(destinations, bases, &transient, false, progress.clone()).await?;
        destinations.check()?;
        if snapshot.tables.is_empty() && snapshot.dropped.is_empty() {
            bail!("the selection ({}) matches no table of this node; nothing was stored", self.selection.text());
        }
        let epochs = destinations.each(async |number, to| {
            let epoch = epochs[number].unwrap_or_default();
            let is_adding = snapshot.tables.iter().any(|table| !table.repositories[number].lacking.is_empty());
            if is_adding && list_existing(number) {
                return Epoch::list(epoch, to.store.as_ref(), &self.node.name).await;
            }
            Ok(Epoch { number: epoch, ..Epoch::default() })
        });
        let epochs: Vec<Epoch> = epochs.await.into_iter().map(Option::unwrap_or_default).collect();
        let numbers: Vec<u32> = epochs.iter().map(|epoch| epoch.number).collect();
        let context = upload::Context::new(
            destinations.clone(),
            self.node.name.clone(),
            epochs,
            self.compress,
            self.parallel,
            progress.clone(),
        );
        watch(&snapshot, progress.clone());
        let guard = watch_space(&self.node.data_directories, self.min_free, progress)?;
        let uploaded = upload::upload(&snapshot, Arc::new(context)).await;
        guard.abort();
        let uploaded = uploaded?;
        let node = NodeFacts {
            hostname: node::hostname()?,
            host_id_evidence: self.node.host_id_evidence.clone(),
            data_directories: self.node.data_directories.iter().map(|path| path.display().to_string()).collect(),
            sstable_versions: std::mem::take(&mut snapshot.versions),
        };
        let dropped = std::mem::take(&mut snapshot.dropped);
        let notices = std::mem::take(&mut snapshot.notices);
        let commits = uploaded.into_iter().enumerate().map(|(number, uploaded)| {
            let heading = |bases: &Bases| Heading {
                id: id.clone(),
                name: self.node.name.clone(),
                epoch: numbers[number],
                node: node.clone(),
                started,
                selection: &self.selection,
                based_on: if self.new_epoch { None } else { bases.newest_read() },
                dropped: dropped.clone(),
                notices: [notices.clone(), bases.notices()].concat(),
                not_covered: vec![
                    "writes that Cassandra had not flushed to SSTables when the backup started (memtables): run \
                     `nodetool flush` before, if they matter"
                        .to_owned(),
                ],
            };
            let ready = uploaded.zip(bases[number].as_ref().map(heading));
            let to = &destinations.all()[number];
            async move {
                let (uploaded, heading) = ready?;
                let (manifest, _) = to.keep(commit(to.store.as_ref(), heading, uploaded).await)?;
                // Not before: it may take as long as the server likes.
                to.store.give_up_unfinished().await;
                Some(manifest)
            }
        });
        let manifests = join_all(commits).await;
        if manifests.iter().any(Option::is_some) {
            snapshot.release_kept();
        }
        Ok(manifests)
    }

    /// Takes the snapshot on a thread that may block. `bases` go by the number of the repository.
    async fn take(
        &self,
        destinations: &Destinations,
        bases: Vec<Option<Bases>>,
        transient: &str,
        dry_run: bool,
        progress: Arc<Progress>,
    ) -> anyhow::Result<(Vec<Option<Bases>>, Snapshot)> {
        let destinations = destinations.clone();
        let runtime = Handle::current();
        let started = time::now();
        let (node, selection) = (self.node.clone(), self.selection.clone());
        let (include_dropped, new_epoch) = (self.include_dropped, self.new_epoch);
        let (transient, keep) = (transient.to_owned(), self.keep_snapshot.clone());
        tokio::task::spawn_blocking(move || {
            let request = snapshot::Request {
                node: &node,
                selection: &selection,
                include_dropped,
                transient: &transient,
                keep: keep.as_deref(),
                started,
                dry_run,
                progress: &progress,
            };
            let of_table = |table: &Table| {
                runtime.block_on(destinations.each(async |number, _| match &bases[number] {
                    Some(bases) if !new_epoch => bases.of(table).await,
                    _ => Ok(Base::default()),
                }))
            };
            let snapshot = snapshot::take(request, &of_table)?;
            Ok((bases, snapshot))
        })
        .await
        .context("taking the snapshot failed")?
    }
}

/// Two names of one repository would each wait for what the other writes.
fn refuse_twice<'a>(
    destinations: &Destinations,
    roots: impl Iterator<Item = Option<&'a Repository>>,
) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for (to, root) in destinations.all().iter().zip(roots) {
        let Some(root) = root else { continue };
        if let Some(other) = seen.insert(root.repository_id, &to.store) {
            let (store, id) = (&to.store, root.repository_id);
            return Err(usage(format!("{other} and {store} are one repository, or a copy of it ({id}): name it once")));
        }
    }
    Ok(())
}

fn links_vanished(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let fs = cause.downcast_ref::<crate::fs::Error>().map(|error| &error.cause);
        io.or(fs).is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    })
}

/// Ends the run when Cassandra's disks fill up: links pin what Cassandra deletes, and its writes come first.
fn watch_space(
    directories: &[PathBuf],
    min_free: MinFree,
    progress: Arc<Progress>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let directories = directories.to_vec();
    if let Some(short) = short_of_space(&directories, min_free)? {
        bail!("{short}; nothing was stored");
    }
    Ok(tokio::spawn(async move {
        loop {
            tokio::time::sleep(SPACE_CHECK_PERIOD).await;
            if let Ok(Some(short)) = short_of_space(&directories, min_free) {
                progress.stop(format!("{short}; the links were released and the backup ended"));
                return;
            }
        }
    }))
}

fn short_of_space(directories: &[PathBuf], min_free: MinFree) -> anyhow::Result<Option<String>> {
    for directory in directories {
        let stat = rustix::fs::statvfs(directory).with_context(|| directory.display().to_string())?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let least = min_free.bytes(stat.f_blocks.saturating_mul(stat.f_frsize));
        if free < least {
            return Ok(Some(format!(
                "{}: {free} bytes are free, and backup.min_free asks for {least}",
                directory.display()
            )));
        }
    }
    Ok(None)
}
