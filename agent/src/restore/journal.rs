//! The journal of a restore into a node, and the directories that it works in.
//!
//!     <data directory>/.helenus-restore-<backup id>/
//!         journal.json          in the first data directory only: made first, removed last
//!         parts/<n>.json.zst    there, too: what the backup says of table n of the journal
//!         backups/new/<keyspace>/<table>-<id>/…      proven files
//!         backups/old/<keyspace>/<table>-<id>/…      what was there before
//!         backups/undone/<keyspace>/<table>-<id>/…   what an abort took away again
//!
//! Cassandra looks at every file below its data directories when it starts, and refuses SSTables of another release,
//! except below a directory called `backups`. So that is what it is called, and the owner of the data directory can
//! look into it.
//!
//! Each stage can be done again from its beginning: it moves or rewrites what is not yet. The journal goes to the next stage
//! when all moves of the one before are durable, so a name in a table's directory is never in doubt: up to `Aside` it is
//! an old file, from `Placing` on a new one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::judge::Done;
use super::plan::Source;
use super::request::Request;
use super::reset::Reset;
use crate::fs::{self, Dir, Kind};
use crate::manifest::Part;
use crate::manifest::codec;
use crate::manifest::model::Amount;

const PREFIX: &str = ".helenus-restore-";
const JOURNAL: &str = "journal.json";

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Files are fetched or linked below `new/`; the tables are as they were.
    Fetching,
    /// Statistics of new files are rewritten; all is proven and durable below `new/`.
    Resetting,
    /// Old files go from the tables to `old/`.
    Aside,
    /// New files go from `new/` to the tables.
    Placing,
    /// All is in its place; `old/` waits for a decision.
    Placed,
    /// Finish: what lies below `old/` is removed.
    Finishing,
    /// Abort: new files go from the tables to `undone/`.
    Clearing,
    /// Abort: old files go from `old/` to the tables.
    Returning,
    /// Abort: the old files are back; what was fetched is removed.
    Removing,
}

/// What is to be known to go on, to finish and to abort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// What was asked for.
    pub request: Request,
    /// Data directories of the node, canonical.
    pub data_directories: Vec<PathBuf>,
    /// Tables whose files are replaced.
    pub tables: Vec<JournalTable>,
    /// Bytes to be written to each data directory.
    pub needed: Vec<u64>,
    /// Directories that the restore makes, the outer ones first.
    pub made: Vec<PathBuf>,
    /// What is to be restored.
    pub total: Amount,
    /// How far it is.
    pub stage: Stage,
    /// What was done; known from [`Stage::Resetting`] on. Before, only what cannot be restored, as the plan knows it.
    pub done: Done,
    /// New files that are rewritten before they are placed; known from [`Stage::Resetting`] on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resets: Vec<Reset>,
    /// Damaged SSTables that are left out, as `keyspace.table/sstable`.
    pub left_out: Vec<String>,
    /// What else is left out, and what is left to do.
    pub notes: Vec<String>,
}

/// One table of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalTable {
    /// Keyspace on the node.
    pub keyspace: String,
    /// Directory on the node, `<table>-<table id>`.
    pub directory: String,
    /// Where it is in the backup.
    pub from: Source,
    /// Hash of the part; without one, nothing is placed.
    pub part: Option<String>,
    /// For each SSTable of the part, the data directory that it goes to; none if it is left out.
    pub places: Vec<Option<usize>>,
}

impl JournalTable {
    /// Its directory below a data directory, or below `new/` and its like.
    pub fn below(&self, directory: &Path) -> PathBuf {
        directory.join(&self.keyspace).join(&self.directory)
    }
}

impl std::fmt::Display for JournalTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.directory.split('-').next().unwrap_or(&self.directory);
        write!(f, "{}.{table}", self.keyspace)
    }
}

/// A restore on disk: its journal and where its directories are.
#[derive(Debug)]
pub struct Workspace {
    name: String,
    /// What is known of it.
    pub journal: Journal,
}

impl Workspace {
    /// The workspace of a restore that begins. Nothing is written.
    pub fn new(journal: Journal) -> Self {
        Self { name: format!("{PREFIX}{}", journal.request.backup_id), journal }
    }

    /// The restore that was begun on the node with these data directories, if there is one.
    pub fn find(data_directories: &[PathBuf]) -> anyhow::Result<Option<Self>> {
        let mut found: Option<Self> = None;
        let mut orphan = None;
        for data_directory in data_directories {
            for entry in Dir::open(data_directory)?.list()? {
                let Some(name) = entry.name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
                let path = data_directory.join(name);
                if entry.kind != Kind::Directory {
                    bail!("{}: expected a directory of a restore, got something else: move it away", path.display());
                }
                let journal = match std::fs::read(path.join(JOURNAL)) {
                    Ok(bytes) => serde_json::from_slice::<Journal>(&bytes)
                        .with_context(|| format!("{}: not a journal", path.join(JOURNAL).display()))?,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        // Nothing in it but a journal that was not finished: killed at the very beginning, or the end.
                        if Dir::open(&path)?.list()?.iter().any(|entry| entry.kind == Kind::Directory) {
                            orphan = Some(path);
                        }
                        continue;
                    }
                    Err(error) => return Err(error).with_context(|| path.join(JOURNAL).display().to_string()),
                };
                if let Some(other) = &found {
                    bail!(
                        "{} and {} are two restores that were begun on one node: end one of them with --abort and only \
                         its data directories",
                        path.display(),
                        other.root().display()
                    );
                }
                found = Some(Self { name: name.to_owned(), journal });
            }
        }
        match (&found, orphan) {
            (None, Some(path)) => bail!(
                "{} belongs to a restore whose journal lies in another data directory: name all data directories of the \
                 node",
                path.display()
            ),
            _ => Ok(found),
        }
    }

    /// Where the journal is.
    pub fn root(&self) -> PathBuf {
        self.at(0)
    }

    /// Its directory in a data directory.
    pub fn at(&self, place: usize) -> PathBuf {
        self.data_directory(place).join(&self.name)
    }

    /// A data directory.
    pub fn data_directory(&self, place: usize) -> &Path {
        self.journal.data_directories.get(place).map_or(Path::new(""), PathBuf::as_path)
    }

    /// Numbers of all data directories.
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.journal.data_directories.len()
    }

    /// The directories below which new files are, by data directory.
    pub fn new_roots(&self) -> Vec<PathBuf> {
        self.places().map(|place| self.at(place).join(Shelf::New.name())).collect()
    }

    /// A table's directory below `new`, `old` or `undone` in a data directory.
    pub fn shelf(&self, shelf: Shelf, place: usize, table: &JournalTable) -> PathBuf {
        table.below(&self.at(place).join(shelf.name()))
    }

    /// A table's own directory in a data directory.
    pub fn live(&self, place: usize, table: &JournalTable) -> PathBuf {
        table.below(self.data_directory(place))
    }

    /// Makes the directories of the workspace, the one of the journal and the journal first.
    pub fn create(&self) -> anyhow::Result<()> {
        self.create_at(0)?;
        self.save()?;
        fs::create_dirs(&self.root().join("parts"))?;
        self.places().try_for_each(|place| self.create_at(place))
    }

    fn create_at(&self, place: usize) -> anyhow::Result<()> {
        fs::create_dir_durable(&self.at(place), 0o700)?;
        let owner = Dir::open(self.data_directory(place))?.stat()?;
        Ok(Dir::open(self.at(place))?.give_to(&owner)?)
    }

    /// Looks once more, now that nobody else can change it: an error if somebody has done something since `found`.
    pub fn refuse_changed(data_directories: &[PathBuf], found: Option<&Self>) -> anyhow::Result<()> {
        let now = Self::find(data_directories)?;
        if now.as_ref().map(|now| &now.journal) == found.map(|found| &found.journal) {
            return Ok(());
        }
        bail!("another run has begun, gone on with or ended a restore here meanwhile: look, and run the command again")
    }

    /// An error if a data directory has no part in the restore any more: its disk may not be mounted.
    pub fn refuse_unmounted(&self) -> anyhow::Result<()> {
        for place in self.places() {
            if !self.at(place).is_dir() {
                bail!(
                    "{}: not there, and it was made when the restore began: is the disk mounted?",
                    self.at(place).display()
                );
            }
        }
        Ok(())
    }

    /// Writes the journal, durably.
    pub fn save(&self) -> anyhow::Result<()> {
        Ok(fs::replace(&self.root().join(JOURNAL), &serde_json::to_vec(&self.journal)?)?)
    }

    /// Goes to the next stage: all that was done before is durable first.
    pub fn enter(&mut self, stage: Stage) -> anyhow::Result<()> {
        self.sync()?;
        self.journal.stage = stage;
        self.save()
    }

    /// Makes everything on the file systems of the node durable.
    pub fn sync(&self) -> anyhow::Result<()> {
        let mut synced = Vec::new();
        for place in self.places() {
            let path = self.data_directory(place);
            let device = Dir::open(path)?.stat()?.device;
            if !synced.contains(&device) {
                fs::sync_file_system(path)?;
                synced.push(device);
            }
        }
        Ok(())
    }

    /// What the backup says of a table.
    pub fn part(&self, number: usize) -> anyhow::Result<Part> {
        let path = self.part_path(number);
        let body = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let part: Part = codec::decode(&body).with_context(|| path.display().to_string())?;
        if let Some(table) = self.journal.tables.get(number) {
            part.check(&table.from.keyspace, &table.from.directory).with_context(|| path.display().to_string())?;
            if part.sstables.len() != table.places.len() {
                bail!(
                    "{}: expected {} SSTables, as the journal says, got {}",
                    path.display(),
                    table.places.len(),
                    part.sstables.len()
                );
            }
        }
        Ok(part)
    }

    /// Keeps what the backup says of a table. Durable when the file system is synced.
    pub fn keep_part(&self, number: usize, part: &Part) -> anyhow::Result<()> {
        Ok(fs::put(&self.part_path(number), &codec::encode(part)?.body)?)
    }

    fn part_path(&self, number: usize) -> PathBuf {
        self.root().join("parts").join(format!("{number}.json.zst"))
    }

    /// Removes the workspace, the journal last.
    pub fn remove(&self) -> anyhow::Result<()> {
        for place in self.places().skip(1) {
            fs::remove_tree(&self.at(place))?;
        }
        for directory in ["parts", "backups"] {
            fs::remove_tree(&self.root().join(directory))?;
        }
        self.sync()?;
        fs::unlink(&self.root().join(JOURNAL))?;
        fs::remove_tree(&self.root())?;
        Ok(fs::sync_dir(self.data_directory(0))?)
    }

    /// Removes a shelf in all data directories.
    pub fn remove_shelf(&self, shelf: Shelf) -> anyhow::Result<()> {
        self.places().try_for_each(|place| Ok(fs::remove_tree(&self.at(place).join(shelf.name()))?))
    }
}

/// Where files of a workspace wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Proven files.
    New,
    /// What was there before.
    Old,
    /// What an abort took away again.
    Undone,
}

impl Shelf {
    /// Path of the directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "backups/new",
            Self::Old => "backups/old",
            Self::Undone => "backups/undone",
        }
    }
}
