//! Files of the target that may be what the backup has, so that they need not be fetched.
//!
//! Name and length are a hint, the modification time a strong one; the proof is the BLAKE3 of the bytes.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::fs::{Dir, FileStat, Kind};
use crate::manifest::model::{StoredFile, StoredSSTable, is_index_directory};

/// The component that Cassandra appends to in place: a link to the old file would change with the new one.
pub const APPENDED: &str = "TOC.txt";

/// One file that lies there.
#[derive(Debug)]
struct Candidate {
    place: usize,
    path: PathBuf,
    stat: FileStat,
}

/// The files of one table in all data directories.
#[derive(Debug, Default)]
pub struct Local(HashMap<String, Vec<Candidate>>);

impl Local {
    /// Lists the table's directories: index of the data directory, and path.
    pub fn list(directories: impl IntoIterator<Item = (usize, PathBuf)>) -> anyhow::Result<Self> {
        let mut local = Self::default();
        for (place, directory) in directories {
            local.add(place, &directory, "")?;
        }
        Ok(local)
    }

    fn add(&mut self, place: usize, directory: &Path, index: &str) -> anyhow::Result<()> {
        let dir = match Dir::open(directory) {
            Ok(dir) => dir,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in dir.list()? {
            let Some(name) = entry.name.to_str() else { continue };
            let path = directory.join(name);
            match entry.kind {
                Kind::Directory if index.is_empty() && is_index_directory(name) => {
                    self.add(place, &path, &format!("{name}/"))?;
                }
                Kind::File => {
                    let stat = dir.stat_child(name)?;
                    self.0.entry(format!("{index}{name}")).or_default().push(Candidate { place, path, stat });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn candidates(&self, sstable: &StoredSSTable, file: &StoredFile) -> impl Iterator<Item = &Candidate> {
        let found = self.0.get(&name(sstable, &file.component));
        found.into_iter().flatten().filter(|candidate| candidate.stat.size == file.length)
    }

    /// The data directory that has the SSTable's data already, as far as a look from outside tells.
    pub fn place(&self, sstable: &StoredSSTable) -> Option<usize> {
        let data = sstable.files.iter().find(|file| file.component == "Data.db")?;
        Some(self.candidates(sstable, data).next()?.place)
    }

    /// True if the file looks as if it needed no room on the disk of `place`.
    pub fn looks_equal(&self, sstable: &StoredSSTable, file: &StoredFile, place: usize) -> bool {
        file.component != APPENDED
            && self
                .candidates(sstable, file)
                .any(|candidate| candidate.place == place && candidate.stat.mtime_ns == file.mtime_ns)
    }

    /// A file with the very bytes, on the file system `device`. Reads all of it.
    pub fn find(&self, sstable: &StoredSSTable, file: &StoredFile, device: u64) -> Option<&Path> {
        self.candidates(sstable, file)
            .filter(|candidate| candidate.stat.device == device)
            .find(|candidate| is_equal(&candidate.path, file).unwrap_or(false))
            .map(|candidate| candidate.path.as_path())
    }
}

/// `nb-1-big-Data.db`, with the directory of the index before it if it belongs to one.
pub fn name(sstable: &StoredSSTable, component: &str) -> String {
    let index = sstable.index.as_ref().map_or(String::new(), |index| format!("{index}/"));
    format!("{index}{}-{component}", sstable.sstable)
}

/// True if the file at `path` has the bytes that were stored. Most often there is none, so the error has no noun.
pub fn is_equal(path: &Path, file: &StoredFile) -> std::io::Result<bool> {
    let found = File::open(path)?;
    if found.metadata()?.len() != file.length {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(found)?;
    Ok(*hasher.finalize().as_bytes() == file.blake3.0)
}
