//! A backup from its first look to its manifest: the stages in their order.
//!
//!     node ─ snapshot::take ─► Snapshot ─ upload ─► Uploaded ─ manifest::commit ─► the backup exists

mod bases;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::runtime::Handle;

use self::bases::Bases;
use crate::catalog::repository::Repository;
use crate::config::{Compress, MinFree};
use crate::manifest::BackupId;
use crate::manifest::commit::{Heading, commit};
use crate::manifest::model::{Manifest, NodeFacts};
use crate::node::lock::NodeLock;
use crate::node::{self, Node, Table};
use crate::progress::{self, Progress};
use crate::selection::Selection;
use crate::snapshot::{self, Snapshot, TRANSIENT_PREFIX};
use crate::state::UnfinishedNote;
use crate::store::Store;
use crate::time;
use crate::upload;

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
    /// Caches and notes.
    pub state_dir: PathBuf,
}

/// What a backup would do.
#[derive(Debug)]
pub struct Forecast {
    /// The snapshot, without links.
    pub snapshot: Snapshot,
    /// The backup that would be built upon.
    pub based_on: Option<BackupId>,
}

impl Job {
    /// Says what the backup would store; nothing is written.
    pub async fn forecast(self, store: Arc<dyn Store>) -> anyhow::Result<Forecast> {
        let bases = match Repository::read(store.as_ref()).await? {
            Some(_) => Bases::find(store.clone(), &self.node).await?,
            None => Bases::none(store, &self.node),
        };
        let (bases, mut snapshot) = self.take(bases, "dry-run", true, Arc::default()).await?;
        snapshot.notices.extend(bases.notices());
        let based_on = if self.new_epoch { None } else { bases.newest_read() };
        Ok(Forecast { snapshot, based_on })
    }

    /// Makes the backup. `progress` is told of bytes, and may end the run.
    pub async fn run(
        self,
        store: Arc<dyn Store>,
        watch: impl Fn(&Snapshot, Arc<Progress>),
    ) -> anyhow::Result<Manifest> {
        let _lock = NodeLock::take(&self.node.data_directories)?;
        let repository = Repository::open_or_create(&store).await?;
        let note = UnfinishedNote::leave(&self.state_dir, repository.repository_id, &self.node.name);
        let progress = Arc::<Progress>::default();
        let signals = progress::stop_on_signals(progress.clone())?;
        let mut attempt = 1;
        let outcome = loop {
            let list_existing = note.was_there() || attempt > 1;
            match self.attempt(store.clone(), list_existing, progress.clone(), &watch).await {
                Err(error) if attempt < ATTEMPTS_MAX && self.keep_snapshot.is_none() && links_vanished(&error) => {
                    tracing::warn!("somebody removed our links ({error:#}); looking again");
                    attempt += 1;
                }
                outcome => break outcome,
            }
        };
        signals.abort();
        let manifest = outcome?;
        note.clear();
        Ok(manifest)
    }

    async fn attempt(
        &self,
        store: Arc<dyn Store>,
        list_existing: bool,
        progress: Arc<Progress>,
        watch: &impl Fn(&Snapshot, Arc<Progress>),
    ) -> anyhow::Result<Manifest> {
        let started = time::now();
        let id = BackupId::new(started);
        let bases = Bases::find(store.clone(), &self.node).await?;
        let epoch =
            bases.epoch(self.new_epoch).await?.map_or(0, |epoch| if self.new_epoch { epoch + 1 } else { epoch });
        let (bases, mut snapshot) =
            self.take(bases, &format!("{TRANSIENT_PREFIX}{id}"), false, progress.clone()).await?;
        if snapshot.tables.is_empty() && snapshot.dropped.is_empty() {
            bail!("the selection ({}) matches no table of this node; nothing was stored", self.selection.text());
        }
        let name = self.node.name.clone();
        let mut context =
            upload::Context::new(store.clone(), name, epoch, self.compress, self.parallel, progress.clone());
        if list_existing && snapshot.tables.iter().any(|table| !table.fresh.is_empty()) {
            context.list_existing().await?;
        }
        let context = Arc::new(context);
        watch(&snapshot, progress.clone());
        let guard = watch_space(&self.node.data_directories, self.min_free, progress)?;
        let based_on = if self.new_epoch { None } else { bases.newest_read() };
        let uploaded = upload::upload(&snapshot, context).await;
        guard.abort();
        let uploaded = uploaded?;
        let heading = Heading {
            id,
            name: self.node.name.clone(),
            epoch,
            node: NodeFacts {
                hostname: node::hostname()?,
                host_id_evidence: self.node.host_id_evidence.clone(),
                data_directories: self.node.data_directories.iter().map(|path| path.display().to_string()).collect(),
                sstable_versions: std::mem::take(&mut snapshot.versions),
            },
            started,
            selection: &self.selection,
            based_on,
            dropped: std::mem::take(&mut snapshot.dropped),
            notices: [std::mem::take(&mut snapshot.notices), bases.notices()].concat(),
            not_covered: vec![
                "writes that Cassandra had not flushed to SSTables when the backup started (memtables): run `nodetool \
                 flush` before, if they matter"
                    .to_owned(),
            ],
        };
        let (manifest, _) = commit(store.as_ref(), heading, uploaded).await?;
        snapshot.release_kept();
        Ok(manifest)
    }

    /// Takes the snapshot on a thread that may block.
    async fn take(
        &self,
        bases: Bases,
        transient: &str,
        dry_run: bool,
        progress: Arc<Progress>,
    ) -> anyhow::Result<(Bases, Snapshot)> {
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
            let base = |table: &Table| if new_epoch { Ok(None) } else { runtime.block_on(bases.of(table)) };
            let snapshot = snapshot::take(request, &base)?;
            Ok((bases, snapshot))
        })
        .await
        .context("taking the snapshot failed")?
    }
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
