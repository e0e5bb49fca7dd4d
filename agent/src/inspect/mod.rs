//! Reads the files of one SSTable, each byte once, and checks them on the way to wherever they go.
//!
//! `verify` lets the bytes fall ([`Nowhere`]); `backup` sends them on ([`Sink`]). Both run the same loop, so what a
//! backup stores is what a verification has seen.

pub mod reader;
mod sstable;
mod tap;

pub use sstable::{Inspection, RowsSeen, SSTableFiles, inspect, inspect_rows};

use bytes::Bytes;
use helenus_sstable::component::Component;

/// Components up to this length are held in memory while their SSTable is inspected.
pub const HELD_BYTES_MAX: u64 = 4 << 20;

/// All held components of one SSTable together; beyond it the larger ones are streamed.
pub const HELD_TOTAL_BYTES_MAX: u64 = 8 << 20;

/// Where the bytes of an inspected SSTable go.
pub trait Sink {
    /// A component that is held whole.
    fn whole(&mut self, component: &Component, bytes: &Bytes) -> anyhow::Result<()>;

    /// A component too large for that begins; its slices follow, then the next component or the end.
    fn begin(&mut self, component: &Component, length: u64) -> anyhow::Result<()>;

    /// The next bytes of the component that was begun.
    fn slice(&mut self, bytes: Bytes) -> anyhow::Result<()>;
}

/// A sink for those who only want to know.
#[derive(Debug, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn whole(&mut self, _: &Component, _: &Bytes) -> anyhow::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: &Component, _: u64) -> anyhow::Result<()> {
        Ok(())
    }

    fn slice(&mut self, _: Bytes) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::reader::Buffers;
    use super::*;

    /// The compressed SSTables below a directory.
    fn find(directory: &Path, found: &mut Vec<SSTableFiles>) -> anyhow::Result<()> {
        let listed = SSTableFiles::list(directory)?;
        found.extend(listed.into_iter().filter(|files| files.lengths.contains_key(&Component::CompressionInfo)));
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                find(&entry.path(), found)?;
            }
        }
        Ok(())
    }

    /// Compressed bytes are not taken for rows, whether what tells of the chunks is damaged or missing.
    #[test]
    fn no_rows_without_chunks() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let sample = include_bytes!("../../sample/node.tar.zst");
        tar::Archive::new(zstd::Decoder::new(&sample[..])?).unpack(directory.path())?;
        let mut all = Vec::new();
        find(directory.path(), &mut all)?;
        assert!(all.len() > 5, "{}", all.len());
        for mut files in all.into_iter().take(20) {
            let check = |files: &SSTableFiles| {
                let inspection = inspect_rows(files, &Buffers::default())?;
                let rows = inspection.rows.as_ref();
                assert!(inspection.is_damaged(), "{:?}", inspection.findings);
                assert!(inspection.findings.iter().all(|finding| finding.partition.is_none()));
                assert_eq!(rows.map(|rows| (rows.partitions, rows.not_checked.len())), Some((0, 1)));
                anyhow::Ok(())
            };
            let path = files.path(&Component::CompressionInfo);
            std::fs::write(&path, b"\0\x0dLZ")?;
            files.lengths.insert(Component::CompressionInfo, 4);
            check(&files)?;
            std::fs::remove_file(path)?;
            files.lengths.remove(&Component::CompressionInfo);
            check(&files)?;
        }
        Ok(())
    }
}
