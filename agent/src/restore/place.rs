//! Restores into a directory: stages, proves, places.
//!
//!     <dir>/.helenus-restore/journal.json        which restore this is
//!     <dir>/.helenus-restore/<keyspace>/<table>-<id>/…   proven files
//!     <dir>/.helenus-restore/fetched             all files are proven and on disk: only moves are left; what was lost
//!     <dir>/.helenus-restored-<hash of the journal>/   all is in its place: only this is left to be removed
//!
//! Killed before `fetched`: proven files are kept, the rest is fetched. Killed after it: the moves go on. Killed after
//! the last of them: the directory's name tells that this very restore is complete.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::fetch::{Fetcher, Target};
use super::judge::{Done, Judged, Lost, judge, refuse_hopeless};
use super::plan::{Plan, PlannedTable};
use super::request::Request;
use super::reset;
use crate::catalog::Catalog;
use crate::fs::{self, Dir};
use crate::node::lock::NodeLock;
use crate::node::running::{self, Running};
use crate::store::Store;

const STAGING: &str = ".helenus-restore";
const JOURNAL: &str = "journal.json";
const FETCHED: &str = "fetched";
const DONE_PREFIX: &str = ".helenus-restored-";

/// A restore that may begin: nothing is in its way.
#[derive(Debug)]
pub struct Restore {
    plan: Plan,
    request: Request,
    staging: PathBuf,
    /// Name of the staging directory when all is in its place.
    done: PathBuf,
    resumes: bool,
}

fn target_of(plan: &Plan, table: &PlannedTable) -> PathBuf {
    plan.target.join(&table.keyspace).join(&table.directory)
}

impl Restore {
    /// Checks that the target can take the plan. Nothing is written.
    pub fn prepare(plan: Plan, request: Request, cassandra_is_stopped: bool) -> anyhow::Result<Self> {
        let staging = plan.target.join(STAGING);
        let hash = blake3::hash(&serde_json::to_vec(&request)?).to_hex();
        let done = plan.target.join(format!("{DONE_PREFIX}{}", &hash[..16]));
        if done.is_dir() {
            if let Some(table) = plan.tables.iter().find(|table| !target_of(&plan, table).is_dir()) {
                bail!(
                    "{} says that this restore was done, and {} is not there: remove the former, and run the command again",
                    done.display(),
                    target_of(&plan, table).display()
                );
            }
            return Ok(Self { plan, request, staging, done, resumes: true });
        }
        let resumes = match std::fs::read(staging.join(JOURNAL)) {
            Ok(bytes) => {
                let found: Request = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{}: not a journal", staging.join(JOURNAL).display()))?;
                if found != request {
                    bail!(
                        "{} holds an unfinished restore of {found}: finish it with `helenus restore {} …` and the same \
                         selection, or remove that directory",
                        staging.display(),
                        found.backup_id
                    );
                }
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| staging.join(JOURNAL).display().to_string()),
        };
        if !resumes {
            for table in &plan.tables {
                refuse_link(&plan.target.join(&table.keyspace))?;
                refuse_taken(&plan.target.join(&table.keyspace).join(&table.directory))?;
            }
            if plan.disk_needed() > plan.free_bytes {
                bail!(
                    "{}: {} bytes are needed and {} are free: {} are missing",
                    plan.target.display(),
                    plan.disk_needed(),
                    plan.free_bytes,
                    plan.disk_needed() - plan.free_bytes
                );
            }
        }
        refuse_running(&plan.target, cassandra_is_stopped)?;
        Ok(Self { plan, request, staging, done, resumes })
    }

    /// True if an earlier run of the same restore left something to go on with.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan, when it was all that was asked for.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// Fetches, proves and places everything.
    pub async fn run(self, store: Arc<dyn Store>, fetcher: &Fetcher, parallel: usize) -> anyhow::Result<(Plan, Done)> {
        fs::create_dir_durable(&self.plan.target, 0o755)?;
        let _lock = NodeLock::take(std::slice::from_ref(&self.plan.target))?;
        if self.done.is_dir() {
            let done = read_done(&self.done.join(FETCHED));
            self.clear()?;
            return Ok((self.plan, done));
        }
        fs::create_dir_durable(&self.staging, 0o700)?;
        fs::replace(&self.staging.join(JOURNAL), &serde_json::to_vec_pretty(&self.request)?)?;
        let fetched = self.staging.join(FETCHED);
        if !fetched.exists() {
            let mut done = self.fetch(Arc::clone(&store), fetcher, parallel).await?;
            refuse_hopeless(store.as_ref(), &done.lost).await?;
            if !self.request.keep_repaired {
                done.reset = self.reset()?;
            }
            fs::sync_file_system(&self.staging)?;
            fs::replace(&fetched, &serde_json::to_vec_pretty(&done)?)?;
        }
        let done = read_done(&fetched);
        // What is placed below is what can be planned now; clearing up would remove the rest.
        let is_known = |lost: &&Lost| done.lost.iter().any(|was| was.table == lost.table);
        if let Some(gone) = self.plan.lost_tables.iter().find(|lost| !is_known(lost)) {
            bail!(
                "{gone} was fetched by an earlier run, and has left the repository since: its proven files are in {}; \
                 move them to their place by hand, or give the repository its objects back",
                self.staging.display()
            );
        }
        let owner = Dir::open(&self.plan.target)?.stat()?;
        for table in &self.plan.tables {
            place(&self.staging, &self.plan.target, table, &owner)?;
        }
        fs::rename_noreplace(&self.staging, &self.done)?;
        fs::sync_dir(&self.plan.target)?;
        self.clear()?;
        Ok((self.plan, done))
    }

    /// Removes what is left when all is in its place; last of all the note of what could not be restored.
    fn clear(&self) -> anyhow::Result<()> {
        for entry in Dir::open(&self.done)?.list()?.into_iter().filter(|entry| entry.name != FETCHED) {
            match entry.kind {
                fs::Kind::Directory => fs::remove_tree(&self.done.join(entry.name))?,
                _ => fs::unlink(&self.done.join(entry.name))?,
            }
        }
        Ok(fs::remove_tree(&self.done)?)
    }

    /// Rewrites the statistics of repaired SSTables. Killed in between, the rewritten ones are fetched again.
    fn reset(&self) -> anyhow::Result<u64> {
        let roots = [self.staging.clone()];
        let mut resets = Vec::new();
        for table in self.plan.tables.iter().filter(|table| table.part.is_some()) {
            resets.extend(reset::plan(&roots, &Path::new(&table.keyspace).join(&table.directory))?);
        }
        if !resets.is_empty() {
            reset::apply(&roots, &resets, || Ok(fs::sync_file_system(&self.staging)?))?;
        }
        Ok(resets.len() as u64)
    }

    async fn fetch(&self, store: Arc<dyn Store>, fetcher: &Fetcher, parallel: usize) -> anyhow::Result<Done> {
        let catalog = Catalog::of(store.as_ref());
        let mut running = JoinSet::new();
        let mut done = Done { lost: self.plan.lost_tables.clone(), ..Done::default() };
        for table in &self.plan.tables {
            let directory = self.staging.join(&table.keyspace).join(&table.directory);
            fs::create_dirs(&directory)?;
            let Some(hash) = &table.part else { continue };
            let part = catalog.part(&self.request.node, &table.from.keyspace, &table.from.directory, hash).await?;
            for sstable in part.sstables {
                if sstable.damaged && !self.request.include_damaged {
                    continue;
                }
                if let Some(index) = &sstable.index {
                    fs::create_dirs(&directory.join(index))?;
                }
                while running.len() >= parallel {
                    joined(&mut done, running.join_next().await)?;
                }
                let (fetcher, directory, name) = (fetcher.clone(), directory.clone(), table.from.to_string());
                running.spawn_blocking(move || {
                    let to = Target { table: &directory, local: None, like: None };
                    judge(&name, &sstable, fetcher.fetch(&sstable, Some(to)), &directory)
                });
            }
        }
        while !running.is_empty() {
            joined(&mut done, running.join_next().await)?;
        }
        Ok(done)
    }
}

fn read_done(path: &Path) -> Done {
    // Killed in the middle of the clearing up: all is in its place, and no number is known any more.
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

type Joined = Option<Result<anyhow::Result<Judged>, tokio::task::JoinError>>;

/// Counts what a reader has done.
pub fn joined(done: &mut Done, outcome: Joined) -> anyhow::Result<()> {
    if let Some(outcome) = outcome {
        done.add(outcome.context("a reader failed")??);
    }
    Ok(())
}

/// A table's directory must be absent or empty: what lies there is not ours to touch.
fn refuse_taken(path: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!(
                "{}: the directory is not empty, and a restore overwrites nothing: choose another --to-dir, or exclude \
                 the table",
                path.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A restore stays below the directory that it was given.
fn refuse_link(path: &Path) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            bail!("{}: a symbolic link, and a restore follows none: remove it, or restore elsewhere", path.display())
        }
        _ => Ok(()),
    }
}

/// A node that runs in the target would not see the files, or see half of them.
fn refuse_running(target: &Path, cassandra_is_stopped: bool) -> anyhow::Result<()> {
    let is_used = std::fs::read_dir(target).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| !entry.file_name().to_string_lossy().starts_with('.')))
    });
    if !is_used {
        return Ok(());
    }
    match running::uses(&[target.to_owned()]) {
        Running::Yes { evidence, .. } => bail!("{evidence}: stop it first, or restore into another directory"),
        Running::Unknown { evidence, .. } if !cassandra_is_stopped => {
            bail!("{evidence}: if no Cassandra uses {}, say so with --cassandra-is-stopped", target.display())
        }
        _ => Ok(()),
    }
}

/// Moves one table from the staging directory to its place, in one step.
fn place(staging: &Path, target: &Path, table: &PlannedTable, owner: &fs::FileStat) -> anyhow::Result<()> {
    let from = staging.join(&table.keyspace).join(&table.directory);
    let keyspace = target.join(&table.keyspace);
    let to = keyspace.join(&table.directory);
    if !from.exists() {
        // A run before this one has moved it.
        if to.is_dir() {
            return Ok(());
        }
        bail!("{}: neither here nor at its place: remove {} and restore again", from.display(), staging.display());
    }
    refuse_link(&keyspace)?;
    fs::give_tree(&from, owner)?;
    fs::create_dir_durable(&keyspace, 0o755)?;
    Dir::open(&keyspace)?.give_to(owner)?;
    match fs::remove_dir(&to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => other?,
    }
    fs::rename_noreplace(&from, &to)?;
    fs::sync_dir(&keyspace)?;
    Ok(())
}
