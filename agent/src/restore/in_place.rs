//! Restores into a stopped node: fetches or reuses, resets repairs, moves the old files aside, puts the new ones in their
//! place.
//!
//! What was there waits below `old/` until [`finish`](super::finish) or [`abort`](super::abort) decides. The stages, and
//! what is done after a crash in each, are in [`journal`](super::journal).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use tokio::task::JoinSet;

use super::aside;
use super::columns;
use super::disks::refuse_full;
use super::fetch::{Fetcher, Target};
use super::journal::{Journal, JournalTable, Shelf, Stage, Workspace};
use super::judge::{Done, judge, refuse_hopeless};
use super::node_plan::NodePlan;
use super::place::joined;
use super::request::Request;
use super::reset::{self, Reset};
use super::reuse::{self, Local};
use crate::catalog::Catalog;
use crate::fs::{self, Dir, FileStat};
use crate::manifest::model::Amount;
use crate::node::lock::NodeLock;
use crate::node::running::{self, Running};
use crate::pack::unpack::Wrong;
use crate::store::Store;

const HALF_WAY: &str = "the tables are half way between the old files and the new ones: do not start Cassandra; run the same \
                        command again, or `helenus restore --abort`";

/// A restore into a node that may begin, or go on.
#[derive(Debug)]
pub struct InPlace {
    workspace: Workspace,
    resumes: bool,
}

impl InPlace {
    /// A restore that begins. Nothing is written.
    pub fn begin(plan: &NodePlan, request: Request) -> anyhow::Result<Self> {
        plan.refuse_full()?;
        let journal = Journal {
            request,
            data_directories: plan.disks.iter().map(|disk| disk.path.clone()).collect(),
            tables: plan.tables.iter().map(|planned| planned.table.clone()).collect(),
            needed: plan.disks.iter().map(|disk| disk.needed).collect(),
            made: Vec::new(),
            total: plan.total,
            stage: Stage::Fetching,
            done: Done { lost: plan.lost_tables.clone(), ..Done::default() },
            resets: Vec::new(),
            left_out: plan.left_out.clone(),
            notes: plan.notes.clone(),
        };
        Ok(Self { workspace: Workspace::new(journal), resumes: false })
    }

    /// The restore that an earlier run has begun, if it is the same. Another one is in the way.
    pub fn resume(workspace: Workspace, request: &Request) -> anyhow::Result<Self> {
        let journal = &workspace.journal;
        if journal.request != *request {
            let what = match journal.stage {
                Stage::Placed => "a restore that waits for a decision",
                Stage::Finishing | Stage::Clearing | Stage::Returning | Stage::Removing => {
                    "a restore that is being ended"
                }
                Stage::Fetching | Stage::Resetting | Stage::Aside | Stage::Placing => "an unfinished restore",
            };
            bail!(
                "{} is of {what}, of {}: end it with `helenus restore --finish` or `helenus restore --abort`{}",
                workspace.root().display(),
                journal.request,
                if journal.stage < Stage::Placed {
                    format!(", or go on with `helenus restore {} …` and the same options", journal.request.backup_id)
                } else {
                    String::new()
                }
            );
        }
        match journal.stage {
            Stage::Finishing => bail!(
                "{}: the restore is being finished: run `helenus restore --finish` again",
                workspace.root().display()
            ),
            Stage::Clearing | Stage::Returning | Stage::Removing => bail!(
                "{}: the restore is being aborted: run `helenus restore --abort` again",
                workspace.root().display()
            ),
            Stage::Fetching | Stage::Resetting | Stage::Aside | Stage::Placing | Stage::Placed => {
                Ok(Self { workspace, resumes: true })
            }
        }
    }

    /// What is to be proven, for those who watch.
    pub fn total(&self) -> Amount {
        self.workspace.journal.total
    }

    /// Does what is left to be done.
    pub async fn run(
        mut self,
        store: Arc<dyn Store>,
        fetcher: &Fetcher,
        parallel: usize,
        cassandra_is_stopped: bool,
    ) -> anyhow::Result<Journal> {
        let directories = self.workspace.journal.data_directories.clone();
        let _lock = NodeLock::take(&directories)?;
        Workspace::refuse_changed(&directories, self.resumes.then_some(&self.workspace))?;
        if self.workspace.journal.stage != Stage::Fetching {
            self.workspace.refuse_unmounted()?;
        }
        loop {
            if self.workspace.journal.stage != Stage::Placed {
                refuse_running(&directories, cassandra_is_stopped)?;
            }
            match self.workspace.journal.stage {
                Stage::Fetching => {
                    let fetched = self.fetch_all(&store, fetcher, parallel).await;
                    fetched.map_err(|error| self.explain(error))?;
                }
                Stage::Resetting => self.reset().map_err(|error| self.explain(error))?,
                Stage::Aside => self.move_aside().context(HALF_WAY)?,
                Stage::Placing => self.place().context(HALF_WAY)?,
                _ => {
                    self.workspace.remove_shelf(Shelf::New)?;
                    return Ok(self.workspace.journal);
                }
            }
        }
    }

    async fn fetch_all(&mut self, store: &Arc<dyn Store>, fetcher: &Fetcher, parallel: usize) -> anyhow::Result<()> {
        self.workspace.create()?;
        self.refuse_full()?;
        self.workspace.journal.done = self.fetch(Arc::clone(store), fetcher, parallel).await?;
        refuse_hopeless(store.as_ref(), &self.workspace.journal.done.lost).await?;
        self.workspace.journal.made = self.missing()?;
        self.workspace.journal.resets = self.resets()?;
        self.workspace.journal.done.reset = self.workspace.journal.resets.len() as u64;
        self.workspace.enter(if self.workspace.journal.resets.is_empty() { Stage::Aside } else { Stage::Resetting })
    }

    fn resets(&self) -> anyhow::Result<Vec<Reset>> {
        if self.workspace.journal.request.keep_repaired {
            return Ok(Vec::new());
        }
        let roots = self.workspace.new_roots();
        let mut resets = Vec::new();
        for table in self.workspace.journal.tables.iter().filter(|table| table.part.is_some()) {
            resets.extend(reset::plan(&roots, &table.below(Path::new("")))?);
        }
        Ok(resets)
    }

    fn reset(&mut self) -> anyhow::Result<()> {
        reset::apply(&self.workspace.new_roots(), &self.workspace.journal.resets, || self.workspace.sync())?;
        self.workspace.enter(Stage::Aside)
    }

    fn move_aside(&mut self) -> anyhow::Result<()> {
        self.workspace.take_all(Shelf::Old)?;
        self.workspace.enter(Stage::Placing)
    }

    fn place(&mut self) -> anyhow::Result<()> {
        self.workspace.place_all(Shelf::New)?;
        self.check_placed()?;
        self.workspace.enter(Stage::Placed)
    }

    async fn fetch(&self, store: Arc<dyn Store>, fetcher: &Fetcher, parallel: usize) -> anyhow::Result<Done> {
        let workspace = &self.workspace;
        let Journal { request, tables, .. } = &workspace.journal;
        let catalog = Catalog::of(store.as_ref());
        let mut running = JoinSet::new();
        let mut done = workspace.journal.done.clone();
        for (number, table) in tables.iter().enumerate() {
            let Some(hash) = &table.part else { continue };
            // What an earlier run kept may be half of it; the backup has it for sure.
            let part = match workspace.part(number) {
                Ok(part) => part,
                Err(_) => {
                    let from = &table.from;
                    let part = catalog.part(&request.node, &from.keyspace, &from.directory, hash).await?;
                    workspace.keep_part(number, &part)?;
                    part
                }
            };
            let local = workspace.places().map(|place| (place, workspace.live(place, table)));
            let local = Arc::new(Local::list(local)?);
            let like = workspace.places().map(|place| self.like(place, table)).collect::<anyhow::Result<Vec<_>>>()?;
            let mut made = BTreeSet::new();
            for (sstable, place) in part.sstables.into_iter().zip(&table.places) {
                let Some(place) = *place else { continue };
                let directory = workspace.shelf(Shelf::New, place, table);
                let index = sstable.index.as_ref().map_or(directory.clone(), |index| directory.join(index));
                if made.insert(index.clone()) {
                    fs::create_dirs(&index)?;
                }
                while running.len() >= parallel {
                    joined(&mut done, running.join_next().await)?;
                }
                let (fetcher, local, name) = (fetcher.clone(), Arc::clone(&local), table.from.to_string());
                let like = like.get(place).copied();
                running.spawn_blocking(move || {
                    let to = Target { table: &directory, local: Some(&local), like: like.as_ref() };
                    judge(&name, &sstable, fetcher.fetch(&sstable, Some(to)), &directory)
                });
            }
            // The columns are in the files that are there when all of the table are.
            if table.from.keyspace != table.keyspace || table.from.directory != table.directory {
                while !running.is_empty() {
                    joined(&mut done, running.join_next().await)?;
                }
                columns::check(workspace, table)?;
            }
        }
        while !running.is_empty() {
            joined(&mut done, running.join_next().await)?;
        }
        Ok(done)
    }

    /// The directory that new files of a table are to be like.
    fn like(&self, place: usize, table: &JournalTable) -> anyhow::Result<FileStat> {
        let live = self.workspace.live(place, table);
        let existing = live.ancestors().find(|level| level.is_dir());
        Ok(Dir::open(existing.unwrap_or(self.workspace.data_directory(place)))?.stat()?)
    }

    /// The room that is needed, without what earlier runs have fetched.
    fn needed(&self) -> anyhow::Result<Vec<u64>> {
        let mut needed = self.workspace.journal.needed.clone();
        for (place, needed) in self.workspace.places().zip(&mut needed) {
            *needed = needed.saturating_sub(own_bytes(&self.workspace.at(place).join(Shelf::New.name()))?);
        }
        Ok(needed)
    }

    fn refuse_full(&self) -> anyhow::Result<()> {
        refuse_full(&self.workspace.journal.data_directories, &self.needed()?)
    }

    /// A full disk says how much is missing.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let is_full = error
            .chain()
            .filter_map(kind_of)
            .any(|kind| matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
        if !is_full {
            return error;
        }
        let missing = match self.refuse_full() {
            Err(missing) => format!("{missing:#}"),
            Ok(()) => "there is room again: run the same command again".to_owned(),
        };
        error.context(format!("the disk is full; what was fetched is kept, and no table was changed. {missing}"))
    }

    fn missing(&self) -> anyhow::Result<Vec<PathBuf>> {
        let workspace = &self.workspace;
        let mut missing = Vec::new();
        for table in &workspace.journal.tables {
            for place in workspace.places() {
                let (new, live) = (workspace.shelf(Shelf::New, place, table), workspace.live(place, table));
                for path in aside::missing(workspace.data_directory(place), &new, &live)? {
                    if !missing.contains(&path) {
                        missing.push(path);
                    }
                }
            }
        }
        Ok(missing)
    }

    /// The other side of the promise: every file has its place and its length.
    fn check_placed(&self) -> anyhow::Result<()> {
        for (number, table) in
            self.workspace.journal.tables.iter().enumerate().filter(|(_, table)| table.part.is_some())
        {
            let lost = lost_of(&self.workspace.journal, table);
            for (sstable, place) in self.workspace.part(number)?.sstables.iter().zip(&table.places) {
                let Some(place) = *place else { continue };
                if lost.contains(&reuse::name(sstable, "").trim_end_matches('-')) {
                    continue;
                }
                for file in &sstable.files {
                    let path = self.workspace.live(place, table).join(reuse::name(sstable, &file.component));
                    let length = path.metadata().with_context(|| {
                        format!(
                            "{}: not in its place: `helenus restore --abort` puts the old files back",
                            path.display()
                        )
                    })?;
                    ensure!(
                        length.len() == file.length,
                        "{}: expected {} bytes, got {}: `helenus restore --abort` puts the old files back",
                        path.display(),
                        file.length,
                        length.len()
                    );
                }
            }
        }
        Ok(())
    }
}

fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    if let Some(error) = cause.downcast_ref::<fs::Error>() {
        return Some(error.kind());
    }
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return Some(error.kind());
    }
    match cause.downcast_ref::<Wrong>() {
        Some(Wrong::Name(error)) => Some(error.kind()),
        Some(Wrong::Io(error)) => Some(error.kind()),
        _ => None,
    }
}

/// Names of the SSTables of a table that could not be restored.
pub fn lost_of<'a>(journal: &'a Journal, table: &JournalTable) -> Vec<&'a str> {
    let name = table.from.to_string();
    journal.done.lost.iter().filter(|lost| lost.table == name).filter_map(|lost| lost.sstable.as_deref()).collect()
}

/// Bytes of files below a directory that nothing else shares.
fn own_bytes(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(path) {
        match entry.map_err(anyhow::Error::from).and_then(|entry| Ok(entry.metadata()?)) {
            Ok(metadata) if metadata.is_file() && metadata.nlink() == 1 => bytes += metadata.len(),
            Ok(_) => {}
            Err(_) if !path.exists() => return Ok(0),
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Cassandra must not see its files go.
pub fn refuse_running(data_directories: &[PathBuf], cassandra_is_stopped: bool) -> anyhow::Result<()> {
    match running::uses(data_directories) {
        Running::Yes { evidence, .. } => bail!("{evidence}: stop it first (`nodetool drain`, then end the process)"),
        Running::Unknown { evidence, .. } if !cassandra_is_stopped => {
            bail!("{evidence}: if no Cassandra uses the data directories, say so with --cassandra-is-stopped")
        }
        _ => Ok(()),
    }
}
