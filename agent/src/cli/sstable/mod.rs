//! `helenus sstable`: single SSTables, wherever they lie.

mod metadata;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use helenus_sstable::descriptor::FileName;

use super::Global;
use crate::error::{Outcome, usage};
use crate::inspect::SSTableFiles;

pub use verify::{Depth, verify};

#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every byte of the SSTables against their checksums, and their components against each other
    Verify(Verify),
    /// Show what Statistics.db says
    Metadata(Paths),
}

#[derive(Debug, Args)]
struct Verify {
    /// Look at every partition and row, too: their order, the indexes, the filter, what Statistics.db claims
    #[arg(long)]
    extended: bool,
    #[command(flatten)]
    paths: Paths,
}

#[derive(Debug, Args)]
struct Paths {
    /// A component file, or a directory: of a table, a snapshot, a keyspace, a whole data directory
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub fn run(global: &Global, options: Options) -> anyhow::Result<Outcome> {
    match options.action {
        Action::Verify(Verify { extended, paths }) => {
            verify(global, &find_all(&paths.paths)?, Depth::of(extended), "", &[])
        }
        Action::Metadata(Paths { paths }) => metadata::run(global, &find_all(&paths)?),
    }
}

/// The SSTables that the paths name; a directory is searched to its bottom.
fn find_all(paths: &[PathBuf]) -> anyhow::Result<Vec<SSTableFiles>> {
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
