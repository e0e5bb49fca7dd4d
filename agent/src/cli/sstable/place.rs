//! Which SSTables are meant: paths on this machine, or a table of a backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use helenus_sstable::descriptor::{Descriptor, FileName};

use super::super::IdentityArgs;
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Wanted};
use crate::config::Config;
use crate::error::usage;
use crate::inspect::SSTableFiles;
use crate::sstable::SSTable;
use crate::sstable::stored::Stored;
use crate::store;

#[derive(Debug, Args)]
pub struct Paths {
    /// A component file, or a directory: of a table, a snapshot, a keyspace, a whole data directory
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Paths {
    /// The SSTables that the paths name; a directory is searched to its bottom.
    pub fn find(&self) -> anyhow::Result<Vec<SSTableFiles>> {
        find(&self.paths)
    }
}

/// The backup that arguments speak of, if they do.
#[derive(Debug, Args)]
pub struct Backup {
    /// Read from a backup instead: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL")]
    repository: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
}

impl Backup {
    /// The SSTables that the arguments name, and the arguments behind them. With a repository these are
    /// `BACKUP KEYSPACE.TABLE`, without one it is one path; `takes_all` takes further paths, or names of SSTables.
    pub async fn find(
        self,
        config: &Config,
        mut arguments: Vec<String>,
        takes_all: bool,
    ) -> anyhow::Result<(Vec<SSTable>, Vec<String>)> {
        let repository = match self.repository {
            Some(repository) => Some(repository),
            // A URL can be nothing else.
            None if arguments.first().is_some_and(|first| first.contains("://")) => Some(arguments.remove(0)),
            None => None,
        };
        let Some(repository) = repository else {
            let rest = if takes_all { Vec::new() } else { arguments.split_off(1.min(arguments.len())) };
            let paths: Vec<PathBuf> = arguments.into_iter().map(PathBuf::from).collect();
            let found = tokio::task::block_in_place(|| find(&paths))?;
            return Ok((found.into_iter().map(SSTable::from).collect(), rest));
        };
        if arguments.len() < 2 {
            return Err(usage("which table of which backup? Pass BACKUP KEYSPACE.TABLE"));
        }
        let rest = arguments.split_off(2);
        let table = arguments.pop().unwrap_or_default();
        let backup = arguments.pop().unwrap_or_default();
        let (names, rest) = if takes_all { (rest, Vec::new()) } else { (Vec::new(), rest) };
        let wanted = Wanted { cluster: self.identity.cluster, host_id: self.identity.host_id };
        let found = in_backup(config, &repository, &backup, &table, &wanted, &names).await?;
        Ok((found, rest))
    }
}

fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<SSTableFiles>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
                let entry = entry.map_err(|error| usage(error.to_string()))?;
                if entry.file_type().is_dir() {
                    found.extend(SSTableFiles::list(entry.path())?);
                }
            }
        } else {
            let metadata = path.symlink_metadata().map_err(|error| usage(format!("{}: {error}", path.display())))?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let file = FileName::parse(name).map_err(|error| usage(format!("{}: {error}", path.display())))?;
            anyhow::ensure!(metadata.is_file(), "{}: not a regular file", path.display());
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            found
                .extend(SSTableFiles::list(directory)?.into_iter().filter(|files| files.descriptor == file.descriptor));
        }
        if found.len() == before {
            return Err(usage(format!("{}: no SSTables here", path.display())));
        }
    }
    Ok(found)
}

/// The SSTables of a table in a backup, or those of them that are named.
async fn in_backup(
    config: &Config,
    repository: &str,
    backup: &str,
    table: &str,
    wanted: &Wanted,
    names: &[String],
) -> anyhow::Result<Vec<SSTable>> {
    let Some((keyspace, table)) = table.split_once('.') else {
        return Err(usage(format!("`{table}` is no table: expected KEYSPACE.TABLE")));
    };
    let store = store::open(&config.repository(repository)?).await?;
    Repository::open(store.as_ref()).await?;
    let catalog = Catalog::of(store.as_ref());
    let entry = catalog.find(backup, wanted).await?;
    let manifest = catalog.manifest(&entry).await?;
    let tables: Vec<_> =
        manifest.tables.iter().filter(|entry| entry.keyspace == keyspace && entry.table == table).collect();
    if tables.is_empty() {
        return Err(usage(format!("{keyspace}.{table} is not in backup {}", entry.id)));
    }
    let mut found = Vec::new();
    for of_table in tables {
        let Some(hash) = &of_table.part else { continue };
        let part = catalog.part(&entry.node, keyspace, &of_table.directory, hash).await?;
        for sstable in &part.sstables {
            if !names.is_empty() && !names.contains(&sstable.sstable) {
                continue;
            }
            let Ok(descriptor) = sstable.sstable.parse::<Descriptor>() else { continue };
            found.push(SSTable::stored(
                descriptor,
                Stored::new(Arc::clone(&store), format!("{keyspace}.{table}"), sstable),
            ));
        }
    }
    for name in names {
        if !found.iter().any(|sstable| sstable.descriptor.to_string() == *name) {
            return Err(usage(format!("{keyspace}.{table} of backup {} has no SSTable `{name}`", entry.id)));
        }
    }
    Ok(found)
}
