//! Removes links: a transient snapshot at the end of its run, and what a killed run left behind at the next start.

use std::path::{Path, PathBuf};

use crate::fs::{self, Dir, Kind};
use crate::node::Table;

use super::{SNAPSHOTS, TRANSIENT_PREFIX};

/// Removes the transient snapshots of earlier runs; returns their directories. The caller holds the node lock.
pub fn clear_leftovers(tables: &[Table]) -> fs::Result<Vec<PathBuf>> {
    let mut cleared = Vec::new();
    for place in tables.iter().flat_map(|table| &table.places) {
        let path = place.path.join(SNAPSHOTS);
        let snapshots = match Dir::open(&path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in snapshots.list()? {
            let is_ours = entry.name.to_str().is_some_and(|name| name.starts_with(TRANSIENT_PREFIX));
            if is_ours && entry.kind == Kind::Directory {
                let path = path.join(&entry.name);
                remove(&path)?;
                cleared.push(path);
            }
        }
    }
    Ok(cleared)
}

/// Removes a directory of links and the index directories in it. What is gone already, Cassandra has cleared.
pub fn remove(path: &Path) -> fs::Result<()> {
    let gone = |result: fs::Result<()>| match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let dir = match Dir::open(path) {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in dir.list()? {
        if entry.kind == Kind::Directory {
            remove(&path.join(&entry.name))?;
        } else {
            gone(dir.unlink_child(&entry.name))?;
        }
    }
    gone(fs::remove_dir(path))
}
