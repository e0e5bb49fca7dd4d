//! What a restore will do, as a value: computed, shown, then done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;

use crate::catalog::Catalog;
use crate::manifest::Manifest;
use crate::manifest::model::{Amount, Part};
use crate::selection::Selection;

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
    /// Bytes free on the target's file system.
    pub free_bytes: u64,
    /// Damaged SSTables that are left out, as `keyspace.table/sstable`.
    pub left_out: Vec<String>,
}

/// One table of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTable {
    /// Keyspace.
    pub keyspace: String,
    /// `<table>-<table id>`.
    pub directory: String,
    /// Hash of the part.
    pub part: Option<String>,
    /// What is restored of it.
    pub amount: Amount,
}

/// Room that a file system needs besides the bytes of the files: blocks begun, directories.
fn with_overhead(bytes: u64, files: u64) -> u64 {
    bytes + files * 4096
}

impl Plan {
    /// Plans the restore of the selected tables of a backup.
    pub async fn make(
        catalog: Catalog<'_>,
        manifest: &Manifest,
        selection: &Selection,
        include_damaged: bool,
        target: &Path,
    ) -> anyhow::Result<Self> {
        let node = manifest.node_name();
        let mut tables = Vec::new();
        let mut total = Amount::default();
        let mut left_out = Vec::new();
        for entry in manifest.tables.iter().filter(|entry| selection.includes(&entry.keyspace, &entry.table)) {
            let mut amount = entry.amount;
            if let Some(hash) = &entry.part {
                let part = catalog.part(&node, &entry.keyspace, &entry.directory, hash).await?;
                refuse_twins(&part)?;
                amount = Amount::default();
                for sstable in &part.sstables {
                    if sstable.damaged && !include_damaged {
                        left_out.push(format!("{}.{}/{}", entry.keyspace, entry.table, sstable.sstable));
                    } else {
                        amount.add(sstable.amount());
                    }
                }
            }
            total.add(amount);
            let (keyspace, directory, part) = (entry.keyspace.clone(), entry.directory.clone(), entry.part.clone());
            tables.push(PlannedTable { keyspace, directory, part, amount });
        }
        if tables.is_empty() {
            bail!("the selection ({}) matches no table of backup {}", selection.text(), manifest.backup_id);
        }
        let free_bytes = free_bytes(target)?;
        let (backup_id, target) = (manifest.backup_id.to_string(), target.to_owned());
        Ok(Self { backup_id, target, tables, total, free_bytes, left_out })
    }

    /// Bytes that the target's file system must have free.
    pub fn disk_needed(&self) -> u64 {
        with_overhead(self.total.bytes, self.total.files)
    }
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
