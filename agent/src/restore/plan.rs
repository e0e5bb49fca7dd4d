//! What a restore will do, as a value: computed, shown, then done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::bail;
use helenus_sstable::descriptor::FileName;
use helenus_sstable::directory::TableDirectory;
use serde::{Deserialize, Serialize};

use super::cautions;
use super::judge::{Lost, refuse_hopeless};
use super::release::Release;
use super::rename::Renames;
use super::rules::{self, Onto};
use crate::catalog::{Catalog, is_damage};
use crate::error::usage;
use crate::manifest::Manifest;
use crate::manifest::model::{Amount, Part, StoredSSTable, TableEntry};
use crate::selection::Selection;
use crate::time;

/// A restore of selected tables into a directory.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Id of the backup.
    pub backup_id: String,
    /// The directory.
    pub target: PathBuf,
    /// Tables to restore, those without SSTables included.
    pub tables: Vec<PlannedTable>,
    /// Sum over all tables.
    pub total: Amount,
    /// Tables that cannot be restored, for the repository has lost the list of their SSTables.
    pub lost_tables: Vec<Lost>,
    /// Bytes free on the target's file system.
    pub free_bytes: u64,
    /// Damaged SSTables that are left out, as `keyspace.table/sstable`.
    pub left_out: Vec<String>,
    /// What else is left out, and why.
    pub notes: Vec<String>,
}

/// What is to be restored of a backup.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The backup.
    pub manifest: &'a Manifest,
    /// Which tables.
    pub selection: &'a Selection,
    /// Under which names.
    pub renames: &'a Renames,
    /// Whether damaged SSTables, too.
    pub include_damaged: bool,
    /// The release of the Cassandra that will read it, if it is known.
    pub release: Option<Release>,
}

/// A table's place in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Keyspace.
    pub keyspace: String,
    /// `<table>-<table id>`.
    pub directory: String,
}

impl Source {
    /// Where the entry's table is.
    pub fn of(entry: &TableEntry) -> Self {
        Self { keyspace: entry.keyspace.clone(), directory: entry.directory.clone() }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.directory.split('-').next().unwrap_or(&self.directory);
        write!(f, "{}.{table}", self.keyspace)
    }
}

/// One table of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTable {
    /// Keyspace.
    pub keyspace: String,
    /// `<table>-<table id>`.
    pub directory: String,
    /// Where it is in the backup: elsewhere if it is renamed.
    pub from: Source,
    /// Hash of the part.
    pub part: Option<String>,
    /// What is restored of it.
    pub amount: Amount,
}

/// Room that a file system needs besides the bytes of the files: blocks begun, directories.
pub fn with_overhead(bytes: u64, files: u64) -> u64 {
    bytes.saturating_add(files.saturating_mul(4096))
}

impl Plan {
    /// Plans the restore of the selected tables of a backup into a directory.
    pub async fn make(catalog: Catalog<'_>, scope: &Scope<'_>, target: &Path) -> anyhow::Result<Self> {
        let Scope { manifest, renames, .. } = *scope;
        let chosen = rules::choose(manifest, scope.selection, renames, Onto::Directory)?;
        let mut tables = Vec::new();
        let mut total = Amount::default();
        let (mut left_out, mut lost_tables) = (Vec::new(), Vec::new());
        for entry in &chosen.tables {
            let mut amount = entry.amount;
            if let Some(hash) = &entry.part {
                let part = catalog.part(&manifest.node_name(), &entry.keyspace, &entry.directory, hash).await;
                let part = match part {
                    Err(error) if is_damage(&error) => {
                        lost_tables.push(Lost::table(&Source::of(entry), &error));
                        continue;
                    }
                    part => part?,
                };
                refuse_twins(&part)?;
                amount = Amount::default();
                for sstable in &part.sstables {
                    if scope.takes(entry, sstable, &mut left_out)? {
                        amount.add(sstable.amount());
                    }
                }
            }
            total.add(amount);
            let (keyspace, directory) = match renames.of(&entry.keyspace, &entry.table) {
                None => (entry.keyspace.clone(), entry.directory.clone()),
                Some((keyspace, table)) => {
                    let id = TableDirectory::parse(&entry.directory).ok().and_then(|directory| directory.id);
                    (keyspace, TableDirectory { table, id }.to_string())
                }
            };
            tables.push(PlannedTable {
                keyspace,
                directory,
                from: Source::of(entry),
                part: entry.part.clone(),
                amount,
            });
        }
        refuse_hopeless(catalog.store(), &lost_tables).await?;
        scope.refuse_nothing(tables.is_empty() && lost_tables.is_empty())?;
        refuse_same_place(tables.iter().map(|table| (&table.keyspace, &table.directory, &table.from)))?;
        let free_bytes = free_bytes(target)?;
        let mut notes = chosen.notes;
        let of_users = tables.iter().filter(|table| table.part.is_some() && !rules::is_system(&table.keyspace));
        let with_default = of_users.map(|table| (table.from.to_string(), None));
        notes.extend(cautions::forgotten(with_default, manifest.started, time::now()));
        let (backup_id, target) = (manifest.backup_id.to_string(), target.to_owned());
        Ok(Self { backup_id, target, tables, total, lost_tables, free_bytes, left_out, notes })
    }

    /// Bytes that the target's file system must have free.
    pub fn disk_needed(&self) -> u64 {
        with_overhead(self.total.bytes, self.total.files)
    }
}

impl Scope<'_> {
    /// True if the SSTable is restored; `left_out` gets the name of one that is damaged.
    pub fn takes(
        &self,
        entry: &TableEntry,
        sstable: &StoredSSTable,
        left_out: &mut Vec<String>,
    ) -> anyhow::Result<bool> {
        let name = format!("{}.{}/{}", entry.keyspace, entry.table, sstable.sstable);
        if sstable.damaged && !self.include_damaged {
            left_out.push(name);
            return Ok(false);
        }
        if let Some(release) = self.release
            && let Ok(file) = FileName::parse(&format!("{}-Data.db", sstable.sstable))
        {
            release.check(file.descriptor.version, &format!("{name}-Data.db"))?;
        }
        Ok(true)
    }

    /// Refuses a selection that matches no table.
    pub fn refuse_nothing(&self, is_nothing: bool) -> anyhow::Result<()> {
        if is_nothing {
            bail!("the selection ({}) matches no table of backup {}", self.selection.text(), self.manifest.backup_id);
        }
        Ok(())
    }
}

/// Two tables under one name would be one table with the files of both.
pub fn refuse_same_place<'a>(tables: impl Iterator<Item = (&'a String, &'a String, &'a Source)>) -> anyhow::Result<()> {
    let mut taken = BTreeMap::new();
    for (keyspace, directory, from) in tables {
        if let Some(other) = taken.insert((keyspace, directory), from) {
            return Err(usage(format!("{other} and {from} would both be restored into {keyspace}/{directory}")));
        }
    }
    Ok(())
}

/// Two SSTables of one name, from two data directories, cannot lie in one directory.
fn refuse_twins(part: &Part) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for sstable in &part.sstables {
        if !names.insert((&sstable.index, &sstable.sstable)) {
            bail!(
                "{}/{}: two SSTables are called {} (they lay in different data directories) and cannot be restored into \
                 one directory",
                part.keyspace,
                part.directory,
                sstable.sstable
            );
        }
    }
    Ok(())
}

/// Free bytes on the file system of `path`, or of the nearest directory above that exists.
pub fn free_bytes(path: &Path) -> anyhow::Result<u64> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let stat = rustix::fs::statvfs(existing)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
