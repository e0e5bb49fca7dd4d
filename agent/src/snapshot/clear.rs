//! Removes links: a transient snapshot at the end of its run, and what a killed run left behind at the next start.

use std::path::PathBuf;

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
                fs::remove_tree(&path)?;
                cleared.push(path);
            }
        }
    }
    Ok(cleared)
}
