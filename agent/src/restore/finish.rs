//! Removes what was there before a restore, when the restore is proven.
//!
//! Each file that the backup has is read where it was placed, and compared. Once Cassandra has run it rewrites some
//! components, and compacts SSTables into others: then the components that it may rewrite may differ, and an SSTable may
//! be gone if its table has others that the backup does not have. Whatever else differs leaves the old files alone.
//! Statistics that the restore itself has rewritten are expected as it wrote them.
//!
//! Files prove bytes. Whether Cassandra can use them only Cassandra can tell: where it may be asked, it reads a row of
//! each restored table. Tables of Cassandra's own are left out, for not everybody may read them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use helenus_sstable::component::Component;
use helenus_sstable::descriptor::FileName;
use serde::Serialize;
use tokio::task::JoinSet;

use super::in_place::lost_of;
use super::journal::{JournalTable, Shelf, Stage, Workspace};
use super::judge::Tally;
use super::request::Request;
use super::reuse;
use crate::cql;
use crate::manifest::model::{Amount, Hex, StoredSSTable, is_index_directory};
use crate::node::lock::NodeLock;
use crate::node::running::{self, Running};
use crate::node::tables;
use crate::schema;

/// What was seen and done.
#[derive(Debug, Serialize)]
pub struct Finished {
    /// The restore.
    #[serde(flatten)]
    pub request: Request,
    /// SSTables whose files are as the backup has them.
    pub proven: Amount,
    /// SSTables that Cassandra has compacted since.
    pub compacted: u64,
    /// Files that Cassandra has rewritten since.
    pub rewritten: u64,
    /// What is not as it should be: with any of these, nothing was removed.
    pub problems: Vec<String>,
    /// Whether Cassandra was asked for rows.
    pub rows: Rows,
    /// Old files that were removed, or would have been.
    pub old: Tally,
}

/// Whether Cassandra can read what was restored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// So many tables were read; those that could not be are problems.
    Read(u64),
    /// It was not asked, and why.
    NotRead(String),
}

/// What is there of one SSTable.
#[derive(Debug)]
enum State {
    /// All files, so many of them rewritten by Cassandra.
    There { amount: Amount, rewritten: u64 },
    /// No file.
    Gone,
    /// Something is not as it should be.
    Wrong(Vec<String>),
}

/// Proves a restore; without a problem, and unless only a look was wanted, removes the old files.
pub async fn finish(
    mut workspace: Workspace,
    parallel: usize,
    accept_loss: bool,
    dry_run: bool,
    cql: Option<cql::Asked>,
) -> anyhow::Result<Finished> {
    let _lock = NodeLock::take(&workspace.journal.data_directories)?;
    Workspace::refuse_changed(&workspace.journal.data_directories, Some(&workspace))?;
    let mut finished = Finished {
        request: workspace.journal.request.clone(),
        proven: Amount::default(),
        compacted: 0,
        rewritten: 0,
        problems: Vec::new(),
        rows: Rows::NotRead("the restore was proven before".to_owned()),
        old: Tally::default(),
    };
    match workspace.journal.stage {
        Stage::Placed => {
            workspace.refuse_unmounted()?;
            prove(&workspace, parallel, &mut finished).await?;
            finished.rows = if accept_loss {
                Rows::NotRead("--accept-loss was given".to_owned())
            } else {
                read_rows(&workspace, cql, &mut finished.problems).await
            };
            if !accept_loss {
                finished.problems.extend(workspace.journal.done.lost.iter().map(|lost| {
                    format!("{lost} could not be restored (--accept-loss lets go of the old files all the same)")
                }));
            }
            finished.old = old_files(&workspace)?;
            if dry_run || !finished.problems.is_empty() {
                return Ok(finished);
            }
            workspace.enter(Stage::Finishing)?;
        }
        Stage::Finishing => finished.old = old_files(&workspace)?,
        Stage::Fetching | Stage::Resetting | Stage::Aside | Stage::Placing => bail!(
            "{}: the restore of {} is not complete: run it again with the same options first",
            workspace.root().display(),
            workspace.journal.request
        ),
        Stage::Clearing | Stage::Returning | Stage::Removing => bail!(
            "{}: the restore of {} is being aborted: run `helenus restore --abort` again",
            workspace.root().display(),
            workspace.journal.request
        ),
    }
    if !dry_run {
        workspace.remove()?;
    }
    Ok(finished)
}

async fn prove(workspace: &Workspace, parallel: usize, finished: &mut Finished) -> anyhow::Result<()> {
    let resets = workspace.journal.resets.iter().map(|reset| ((reset.place, reset.path.as_path()), reset.blake3));
    let resets: Resets<'_> = resets.collect();
    for (number, table) in workspace.journal.tables.iter().enumerate().filter(|(_, table)| table.part.is_some()) {
        let lost = lost_of(&workspace.journal, table);
        let part = workspace.part(number)?;
        let known: BTreeSet<String> = part.sstables.iter().map(|sstable| reuse::name(sstable, "")).collect();
        let live: Vec<PathBuf> = workspace.places().map(|place| workspace.live(place, table)).collect();
        let taken: BTreeSet<(String, usize)> = part
            .sstables
            .iter()
            .zip(&table.places)
            .filter_map(|(sstable, place)| Some((reuse::name(sstable, ""), (*place)?)))
            .collect();
        let mut running = JoinSet::new();
        let mut gone = Vec::new();
        for (mut sstable, place) in part.sstables.into_iter().zip(&table.places) {
            let (Some(place), name) = (*place, reuse::name(&sstable, "")) else { continue };
            if lost.contains(&name.trim_end_matches('-')) {
                continue;
            }
            expect_reset(&mut sstable, &resets, place, table);
            // Cassandra may have moved it to another disk, but not to where another one of its name was.
            let elsewhere = workspace.places().filter(|other| !taken.contains(&(name.clone(), *other)));
            let live: Vec<PathBuf> =
                std::iter::once(place).chain(elsewhere).filter_map(|place| live.get(place).cloned()).collect();
            while running.len() >= parallel {
                count(running.join_next().await, finished, &mut gone)?;
            }
            running.spawn_blocking(move || (name, look(&sstable, &live)));
        }
        while !running.is_empty() {
            count(running.join_next().await, finished, &mut gone)?;
        }
        if gone.is_empty() {
            continue;
        }
        if has_others(&live, &known)? {
            finished.compacted += gone.len() as u64;
        } else {
            let table = table.to_string();
            finished.problems.extend(gone.into_iter().map(|name| {
                format!("{table}: {} is missing, and the table has no newer SSTable", name.trim_end_matches('-'))
            }));
        }
    }
    Ok(())
}

/// BLAKE3 of rewritten files by data directory and path.
type Resets<'a> = HashMap<(usize, &'a Path), Hex<32>>;

/// Puts what the restore has written in the place of what the backup has.
fn expect_reset(sstable: &mut StoredSSTable, resets: &Resets<'_>, place: usize, table: &JournalTable) {
    let path = table.below(Path::new("")).join(reuse::name(sstable, Component::Statistics.name()));
    let Some(blake3) = resets.get(&(place, path.as_path())) else { return };
    for file in &mut sstable.files {
        if file.component == Component::Statistics.name() {
            file.blake3 = *blake3;
        }
    }
}

/// One row of each table, if the node is up and may be asked.
async fn read_rows(workspace: &Workspace, cql: Option<cql::Asked>, problems: &mut Vec<String>) -> Rows {
    let Some(cql::Asked { settings, target }) = cql else {
        return Rows::NotRead("the configuration has no [cql]".to_owned());
    };
    let directories = &workspace.journal.data_directories;
    let is_up = match running::uses(directories) {
        Running::No { evidence } => return Rows::NotRead(format!("Cassandra is not running: {evidence}")),
        Running::Yes { .. } => true,
        Running::Unknown { .. } => false,
    };
    let opened: anyhow::Result<cql::Session> = async {
        let session = cql::Session::open(&settings, &target?).await?;
        // Several nodes may run on one machine.
        let (got, expected) = (session.who().await?.host_id, schema::host_id(&tables::scan(directories)?.tables)?);
        if let Some(expected) = expected {
            ensure!(
                got == expected,
                "CQL is answered by node {got}, and these are the directories of node {expected}: set [cql] address"
            );
        }
        Ok(session)
    }
    .await;
    let session = match opened {
        Ok(session) => session,
        // A node that is up must answer; of one that nobody knows to be up this is the only sign.
        Err(error) => {
            let reason = format!("{error:#}");
            problems.extend(is_up.then(|| reason.clone()));
            return Rows::NotRead(reason);
        }
    };
    let mut read = 0;
    for table in workspace.journal.tables.iter().filter(|table| table.part.is_some()) {
        if table.keyspace.starts_with("system") {
            continue;
        }
        // `<table>-<table id>`
        let name = table.directory.rsplit_once('-').map_or(table.directory.as_str(), |(name, _)| name);
        match session.read_one(&table.keyspace, name).await {
            Ok(()) => read += 1,
            Err(error) => problems.push(format!("{error:#} (--accept-loss ends the restore without asking)")),
        }
    }
    Rows::Read(read)
}

type Joined = Option<Result<(String, anyhow::Result<State>), tokio::task::JoinError>>;

fn count(joined: Joined, finished: &mut Finished, gone: &mut Vec<String>) -> anyhow::Result<()> {
    let Some(joined) = joined else { return Ok(()) };
    let (name, state) = joined.context("a reader failed")?;
    match state? {
        State::There { amount, rewritten } => {
            finished.proven.add(amount);
            finished.rewritten += rewritten;
        }
        State::Gone => gone.push(name),
        State::Wrong(problems) => finished.problems.extend(problems),
    }
    Ok(())
}

fn look(sstable: &StoredSSTable, live: &[PathBuf]) -> anyhow::Result<State> {
    let data = reuse::name(sstable, "Data.db");
    let directory = live.iter().find(|directory| directory.join(&data).is_file());
    let (mut rewritten, mut problems) = (0, Vec::new());
    for file in &sstable.files {
        let Some(directory) = directory else {
            let name = reuse::name(sstable, &file.component);
            if let Some(path) = live.iter().map(|directory| directory.join(&name)).find(|path| path.exists()) {
                problems.push(format!("{}: there, without its Data.db", path.display()));
            }
            continue;
        };
        let path = directory.join(reuse::name(sstable, &file.component));
        let is_mutable = Component::parse(&file.component).is_mutable();
        match reuse::is_equal(&path, file) {
            Ok(true) => {}
            Ok(false) if is_mutable => rewritten += 1,
            // Without its statistics an SSTable cannot be opened; the others Cassandra makes anew.
            Err(_) if is_mutable && file.component != Component::Statistics.name() => rewritten += 1,
            Ok(false) => problems.push(format!("{}: other bytes than in the backup", path.display())),
            // Compacted while we looked.
            Err(_) if !path.exists() && !directory.join(&data).exists() => return Ok(State::Gone),
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    Ok(match (directory, problems.is_empty()) {
        (_, false) => State::Wrong(problems),
        (Some(_), true) => State::There { amount: sstable.amount(), rewritten },
        (None, true) => State::Gone,
    })
}

/// True if the table or one of its indexes has SSTables that the backup does not have.
fn has_others(live: &[PathBuf], known: &BTreeSet<String>) -> anyhow::Result<bool> {
    for directory in live {
        if has_other(directory, "", known)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_other(directory: &Path, index: &str, known: &BTreeSet<String>) -> anyhow::Result<bool> {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let name = entry.with_context(|| directory.display().to_string())?.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_other = match FileName::parse(name) {
            Ok(FileName { descriptor, component: Component::Data }) => {
                !known.contains(&format!("{index}{descriptor}-"))
            }
            _ if is_index_directory(name) => has_other(&directory.join(name), &format!("{name}/"), known)?,
            _ => false,
        };
        if is_other {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What removing the old files gives back: files that nothing else shares.
fn old_files(workspace: &Workspace) -> anyhow::Result<Tally> {
    use std::os::unix::fs::MetadataExt as _;
    let mut old = Tally::default();
    for place in workspace.places() {
        for entry in walkdir::WalkDir::new(workspace.at(place).join(Shelf::Old.name())).into_iter().flatten() {
            let metadata = entry.metadata().with_context(|| entry.path().display().to_string())?;
            if metadata.is_file() {
                old.files += 1;
                old.bytes += if metadata.nlink() == 1 { metadata.len() } else { 0 };
            }
        }
    }
    Ok(old)
}
