//! To which data directory each SSTable goes, and whether the file systems have the room.
//!
//! Where the node has some of its files already: there. Where it has as many data directories as the node of the backup:
//! to the same one. Otherwise to the one with most room left. A directory for local system tables gets those and nothing
//! else: Cassandra does not look for others there.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;

use super::plan::free_bytes;
use crate::fs::Dir;

/// One data directory.
#[derive(Debug, Clone, Serialize)]
pub struct Disk {
    /// The directory.
    pub path: PathBuf,
    /// Bytes that are written to it.
    pub needed: u64,
    /// Bytes free on its file system.
    pub free: u64,
    #[serde(skip)]
    device: u64,
}

/// The data directories of a node.
#[derive(Debug)]
pub struct Disks {
    disks: Vec<Disk>,
    /// True if the backup has as many.
    by_index: bool,
    /// The one for local system tables.
    local_system: Option<usize>,
}

impl Disks {
    /// Looks at the data directories; `backup_count` is how many the node of the backup had, and `local_system` the
    /// number of the one for local system tables.
    pub fn look(
        data_directories: &[PathBuf],
        backup_count: usize,
        local_system: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut disks = Vec::<Disk>::new();
        for path in data_directories {
            let device = Dir::open(path)?.stat()?.device;
            // One look at each file system: others write to it, and two looks would make one directory seem better.
            let known = disks.iter().find(|disk| disk.device == device).map(|disk| disk.free);
            let free = known.map_or_else(|| free_bytes(path), Ok)?;
            disks.push(Disk { path: path.clone(), needed: 0, free, device });
        }
        Ok(Self { by_index: disks.len() == backup_count, disks, local_system })
    }

    /// The data directories in the order of preference for an SSTable that was in number `index` of the backup's.
    /// Local system tables belong into the one for them, or into the first one.
    pub fn preference(&self, there_already: Option<usize>, index: usize, is_local_system: bool) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.disks.len()).collect();
        order.sort_by_key(|place| std::cmp::Reverse(self.room(*place)));
        if !is_local_system {
            order.retain(|place| Some(*place) != self.local_system);
        }
        let first = match there_already {
            Some(place) => Some(place),
            None if is_local_system && self.local_system.is_some() => self.local_system,
            None if self.by_index => Some(index),
            None if is_local_system => Some(0),
            None => None,
        };
        if let Some(at) = first.and_then(|first| order.iter().position(|place| *place == first)) {
            let place = order.remove(at);
            order.insert(0, place);
        }
        order
    }

    /// What is left on the file system, and, between directories of one file system, how little was given to each.
    fn room(&self, place: usize) -> (u64, std::cmp::Reverse<u64>) {
        let disk = &self.disks[place];
        let given: u64 = self.on_device(disk.device).map(|disk| disk.needed).sum();
        (disk.free.saturating_sub(given), std::cmp::Reverse(disk.needed))
    }

    fn on_device(&self, device: u64) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(move |disk| disk.device == device)
    }

    /// Notes that so many bytes are written to a data directory.
    pub fn give(&mut self, place: usize, bytes: u64) {
        let needed = &mut self.disks[place].needed;
        *needed = needed.saturating_add(bytes);
    }

    /// The data directories, with what each needs.
    pub fn into_disks(self) -> Vec<Disk> {
        self.disks
    }
}

/// Refuses if a file system has less room than is `needed` of it.
pub fn refuse_full(data_directories: &[PathBuf], needed: &[u64]) -> anyhow::Result<()> {
    let mut seen = Vec::<(u64, u64, &Path)>::new();
    for (path, needed) in data_directories.iter().zip(needed) {
        let device = Dir::open(path)?.stat()?.device;
        match seen.iter_mut().find(|(known, ..)| *known == device) {
            Some((_, sum, _)) => *sum = sum.saturating_add(*needed),
            None => seen.push((device, *needed, path)),
        }
    }
    for (_, needed, path) in seen {
        let free = free_bytes(path)?;
        if needed > free {
            bail!(
                "{}: {needed} bytes are needed on this file system and {free} are free: {} are missing. Make room, and \
                 run the same command again",
                path.display(),
                needed - free
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(free: &[u64], by_index: bool) -> Disks {
        let disk = |(number, free): (usize, &u64)| Disk {
            path: format!("/d{number}").into(),
            needed: 0,
            free: *free,
            device: number as u64,
        };
        Disks { disks: free.iter().enumerate().map(disk).collect(), by_index, local_system: None }
    }

    #[test]
    fn a_directory_for_local_system_tables() {
        let disks = Disks { local_system: Some(1), ..disks(&[10, 30, 20], true) };
        assert_eq!(disks.preference(None, 0, true), [1, 2, 0]);
        assert_eq!(disks.preference(None, 1, false), [2, 0]);
        assert_eq!(disks.preference(Some(1), 0, false), [2, 0]);
        assert_eq!(disks.preference(None, 0, false), [0, 2]);
    }

    #[test]
    fn where_it_was_or_where_room_is() {
        assert_eq!(disks(&[10, 30, 20], true).preference(None, 2, false), [2, 1, 0]);
        assert_eq!(disks(&[10, 30, 20], true).preference(Some(0), 2, false), [0, 1, 2]);
        assert_eq!(disks(&[10, 30, 20], false).preference(None, 0, true), [0, 1, 2]);
        let mut given = disks(&[10, 30, 20], false);
        assert_eq!(given.preference(None, 0, false), [1, 2, 0]);
        given.give(1, 25);
        assert_eq!(given.preference(None, 0, false), [2, 0, 1]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let root = tempfile::tempdir().expect("a directory");
        let paths = ["a", "b"].map(|name| root.path().join(name));
        paths.iter().for_each(|path| std::fs::create_dir(path).expect("made"));
        refuse_full(&paths, &[1, 1]).expect("enough");
        let half = u64::MAX / 4;
        let error = refuse_full(&paths, &[half, half]).expect_err("one file system").to_string();
        assert!(error.contains(&format!("{} bytes are needed", half * 2)) && error.contains("are missing"), "{error}");
    }
}
