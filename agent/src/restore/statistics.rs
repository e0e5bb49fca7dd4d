//! The `Statistics.db` of the SSTables in a directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use helenus_sstable::component::Component;
use helenus_sstable::version::Version;

use crate::inspect::{HELD_TOTAL_BYTES_MAX, SSTableFiles};

/// Paths, and the versions to read them by. Of a directory that is not there none; and none that is too long to be one.
pub fn files(directory: &Path) -> anyhow::Result<Vec<(PathBuf, Version)>> {
    if directory.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(Vec::new());
    }
    let sstables = SSTableFiles::list(directory)?.into_iter();
    let is_readable = |files: &SSTableFiles| {
        files.lengths.get(&Component::Statistics).is_some_and(|length| *length <= HELD_TOTAL_BYTES_MAX)
    };
    Ok(sstables
        .filter(is_readable)
        .map(|files| (files.path(&Component::Statistics), files.descriptor.version))
        .collect())
}
