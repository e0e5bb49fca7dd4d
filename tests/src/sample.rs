//! The sample node that lies in the repository: a node directory with SSTables of three versions, made by
//! `make_sample` and embedded in `helenus demo`. Tests use it where no Cassandra needs to run.
//!
//!     data/d1, data/d2       data directories, with `nb`, `oa` and `da` SSTables side by side in each table
//!     conf/cassandra.yaml    names them, relative to the node's folder

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The archive: a tar, compressed with zstd.
pub const ARCHIVE: &[u8] = include_bytes!("../../agent/sample/node.tar.zst");

/// The sample node unpacked somewhere.
#[derive(Debug)]
pub struct Sample {
    /// The folder of the node.
    pub dir: PathBuf,
}

impl Sample {
    /// Unpacks the archive into `dir`, which is created.
    pub fn unpack(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let plain = zstd::stream::read::Decoder::new(ARCHIVE)?;
        tar::Archive::new(plain).unpack(dir).with_context(|| format!("unpacking the sample into {}", dir.display()))?;
        Ok(Self { dir: dir.canonicalize()? })
    }

    /// The two data directories.
    pub fn data_dirs(&self) -> [PathBuf; 2] {
        [self.dir.join("data/d1"), self.dir.join("data/d2")]
    }

    /// Directories of a table, one in each data directory that has it.
    pub fn table_dirs(&self, keyspace: &str, table: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for data_dir in self.data_dirs() {
            let Ok(entries) = std::fs::read_dir(data_dir.join(keyspace)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if name.to_str().and_then(|name| name.rsplit_once('-')).is_some_and(|(name, _)| name == table) {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}
