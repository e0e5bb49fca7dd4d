//! Puts the old files back, as if there had been no restore.
//!
//! What Cassandra wrote since is nobody's copy of anything, so it is kept: `<data directory>/.helenus-aborted-<id>/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use helenus_sstable::descriptor::FileName;
use serde::Serialize;

use super::in_place::{lost_of, refuse_running};
use super::journal::{JournalTable, Shelf, Stage, Workspace};
use super::request::Request;
use super::reuse;
use crate::fs::{self, Dir, Kind};
use crate::manifest::Part;
use crate::node::lock::NodeLock;

const KEPT: &str = ".helenus-aborted-";

/// What an abort has done.
#[derive(Debug, Serialize)]
pub struct Aborted {
    /// The restore that is no more.
    #[serde(flatten)]
    pub request: Request,
    /// Where files lie that Cassandra wrote after the restore.
    pub written_since: Vec<PathBuf>,
}

/// Ends a restore and brings back what was there before it.
pub fn abort(mut workspace: Workspace, cassandra_is_stopped: bool) -> anyhow::Result<Aborted> {
    let _lock = NodeLock::take(&workspace.journal.data_directories)?;
    Workspace::refuse_changed(&workspace.journal.data_directories, Some(&workspace))?;
    if !matches!(workspace.journal.stage, Stage::Fetching | Stage::Resetting | Stage::Removing) {
        workspace.refuse_unmounted()?;
    }
    if workspace.journal.stage == Stage::Finishing {
        bail!(
            "{}: the restore is being finished, and some of the old files are removed already: run `helenus restore \
             --finish` again",
            workspace.root().display()
        );
    }
    loop {
        if !matches!(workspace.journal.stage, Stage::Fetching | Stage::Resetting | Stage::Removing) {
            refuse_running(&workspace.journal.data_directories, cassandra_is_stopped)?;
        }
        match workspace.journal.stage {
            Stage::Fetching | Stage::Resetting => workspace.enter(Stage::Removing)?,
            Stage::Aside => workspace.enter(Stage::Returning)?,
            Stage::Placing | Stage::Placed => workspace.enter(Stage::Clearing)?,
            Stage::Clearing => {
                workspace.take_all(Shelf::Undone)?;
                workspace.enter(Stage::Returning)?;
            }
            Stage::Returning => {
                workspace.place_all(Shelf::Old)?;
                for made in workspace.journal.made.iter().rev() {
                    match fs::remove_dir(made) {
                        // Cassandra has put something there, or it was never made.
                        Err(error) if is_left(&error) => {}
                        removed => removed?,
                    }
                }
                workspace.enter(Stage::Removing)?;
            }
            Stage::Removing | Stage::Finishing => {
                let written_since = keep_written_since(&workspace)?;
                workspace.remove()?;
                return Ok(Aborted { request: workspace.journal.request, written_since });
            }
        }
    }
}

fn is_left(error: &fs::Error) -> bool {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    matches!(error.kind(), DirectoryNotEmpty | NotFound)
}

/// Sorts what was taken away: the restore's own files are in the backup, the others are moved to a directory that stays.
fn keep_written_since(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for place in workspace.places() {
        let undone = workspace.at(place).join(Shelf::Undone.name());
        if !undone.is_dir() {
            continue;
        }
        for (number, table) in workspace.journal.tables.iter().enumerate() {
            let part = table.part.as_ref().map(|_| workspace.part(number)).transpose()?;
            let shelf = workspace.shelf(Shelf::Undone, place, table);
            let lost = lost_of(&workspace.journal, table);
            remove_own(&shelf, &own_names(part.as_ref(), table, &lost))?;
        }
        if remove_if_empty(&undone)? {
            continue;
        }
        let name = |number: u32| {
            let id = &workspace.journal.request.backup_id;
            let suffix = if number == 0 { String::new() } else { format!("-{number}") };
            workspace.data_directory(place).join(format!("{KEPT}{id}{suffix}"))
        };
        let to = (0..).map(name).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| name(0));
        fs::rename_noreplace(&undone, &to)?;
        kept.push(to);
    }
    // A run before this one may have got so far.
    if kept.is_empty() {
        let id = &workspace.journal.request.backup_id;
        kept.extend(
            workspace
                .places()
                .map(|place| workspace.data_directory(place).join(format!("{KEPT}{id}")))
                .filter(|path| path.is_dir()),
        );
    }
    Ok(kept)
}

/// What the names of the restore's own files begin with. One that could not be restored left its name to Cassandra.
fn own_names(part: Option<&Part>, table: &JournalTable, lost: &[&str]) -> BTreeSet<(Option<String>, String)> {
    let placed = part.into_iter().flat_map(|part| part.sstables.iter().zip(&table.places));
    placed
        .filter(|(sstable, place)| place.is_some() && !lost.contains(&reuse::name(sstable, "").trim_end_matches('-')))
        .map(|(sstable, _)| (sstable.index.clone(), sstable.sstable.clone()))
        .collect()
}

fn remove_own(shelf: &Path, own: &BTreeSet<(Option<String>, String)>) -> anyhow::Result<()> {
    let remove = |directory: &Path, index: Option<&str>| -> anyhow::Result<Vec<std::ffi::OsString>> {
        let mut inside = Vec::new();
        let dir = match Dir::open(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(inside),
            dir => dir?,
        };
        for entry in dir.list()? {
            if entry.kind == Kind::Directory {
                inside.push(entry.name);
                continue;
            }
            let sstable = entry.name.to_str().and_then(|name| FileName::parse(name).ok());
            let sstable = sstable.map(|file| (index.map(str::to_owned), file.descriptor.to_string()));
            if sstable.is_some_and(|sstable| own.contains(&sstable)) {
                dir.unlink_child(&entry.name)?;
            }
        }
        Ok(inside)
    };
    for index in remove(shelf, None)? {
        remove(&shelf.join(&index), index.to_str())?;
    }
    Ok(())
}

/// Removes a directory and those in it if there is no file anywhere; true if it is gone.
fn remove_if_empty(path: &Path) -> anyhow::Result<bool> {
    let mut is_empty = true;
    for entry in Dir::open(path)?.list()? {
        is_empty &= entry.kind == Kind::Directory && remove_if_empty(&path.join(&entry.name))?;
    }
    if is_empty {
        fs::remove_dir(path)?;
    }
    Ok(is_empty)
}
