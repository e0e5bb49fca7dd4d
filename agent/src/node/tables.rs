//! The tables of a node as its directories show them.
//!
//!     <data directory>/<keyspace>/<table>-<table id>/
//!
//! A table has one such directory in each data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use helenus_sstable::directory::{TableDirectory, is_valid_keyspace_name};

use crate::manifest::model::Notice;

/// One table and where its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Keyspace.
    pub keyspace: String,
    /// Name of its directories, taken apart.
    pub directory: TableDirectory,
    /// Its directories, at most one in each data directory.
    pub places: Vec<Place>,
}

impl Table {
    /// `<table>-<table id>`.
    pub fn directory_name(&self) -> String {
        self.directory.to_string()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.directory.table)
    }
}

/// A directory of a table, or of one of its built-in indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Index of the data directory it lies in.
    pub data_directory: usize,
    /// The directory.
    pub path: PathBuf,
}

/// Where Cassandra 4.1 and later keep what Paxos repairs of this node remember. No snapshot has it, and a restored node
/// starts without.
const PAXOS_STATE: (&str, &str) = ("system", "_paxos_repair_state");

/// What the data directories hold.
#[derive(Debug, Default)]
pub struct Scan {
    /// Tables, sorted by keyspace and directory name.
    pub tables: Vec<Table>,
    /// Files and directories that are no table's.
    pub notices: Vec<Notice>,
}

/// Lists the tables of a node.
pub fn scan(data_directories: &[PathBuf]) -> anyhow::Result<Scan> {
    let mut tables = BTreeMap::<(String, String), Table>::new();
    let mut notices = Vec::new();
    for (data_directory, root) in data_directories.iter().enumerate() {
        for (keyspace, path) in subdirectories(root, &mut notices)? {
            if !is_valid_keyspace_name(&keyspace) {
                // Hidden directories are tools' own (`.snapshot` of a filer, our own staging).
                if !keyspace.starts_with('.') && keyspace != "lost+found" {
                    notices.push(notice(&path, "not a keyspace directory; left out"));
                }
                continue;
            }
            for (name, path) in subdirectories(&path, &mut notices)? {
                if (keyspace.as_str(), name.as_str()) == PAXOS_STATE {
                    continue;
                }
                let Ok(directory) = TableDirectory::parse(&name) else {
                    notices.push(notice(&path, "not a table directory (<table>-<table id>); left out"));
                    continue;
                };
                let table = tables.entry((keyspace.clone(), name)).or_insert_with(|| Table {
                    keyspace: keyspace.clone(),
                    directory,
                    places: Vec::new(),
                });
                table.places.push(Place { data_directory, path });
            }
        }
    }
    Ok(Scan { tables: tables.into_values().collect(), notices })
}

/// A notice of something that needs a look.
pub fn notice(path: &Path, message: impl Into<String>) -> Notice {
    Notice { path: path.display().to_string(), message: message.into(), needs_look: true }
}

/// A notice of something that is only worth knowing.
pub fn remark(path: &Path, message: impl Into<String>) -> Notice {
    Notice { needs_look: false, ..notice(path, message) }
}

fn subdirectories(path: &Path, notices: &mut Vec<Notice>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        // A keyspace may be dropped between two looks.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be listed", path.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| path.display().to_string())?;
        let Ok(name) = entry.file_name().into_string() else {
            notices.push(notice(&entry.path(), "the name is not UTF-8; left out"));
            continue;
        };
        // Operators do replace a table's directory by a link to another disk, and Cassandra follows it.
        if std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir()) {
            found.push((name, entry.path()));
        } else if !name.starts_with('.') {
            notices.push(notice(&entry.path(), "not a directory; left out"));
        }
    }
    found.sort();
    Ok(found)
}
