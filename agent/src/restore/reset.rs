//! Restored SSTables forget their repairs.
//!
//! "Repaired" says that all replicas have what is in an SSTable. That was true when it was backed up; of replicas that
//! were restored to other moments it is not, and an incremental repair would never look at it again. So `Statistics.db`
//! is rewritten: not repaired, not claimed by a repair, as `nodetool import` does it.
//!
//! Compaction keeps repaired and unrepaired SSTables apart, and the levels of the ones may overlap those of the others.
//! Where the reset makes one group of several, who comes to it starts at level 0.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use helenus_sstable::component::Component;
use helenus_sstable::descriptor::FileName;
use helenus_sstable::statistics::Statistics;
use helenus_sstable::statistics::stats::RepairGroup;
use helenus_sstable::statistics::unrepaired::unrepaired;
use helenus_sstable::version::Version;
use serde::{Deserialize, Serialize};

use super::fetch::temporary;
use crate::fs::{self, Dir, FileStat, Kind};
use crate::inspect::HELD_TOTAL_BYTES_MAX;
use crate::manifest::model::{Hex, is_index_directory};
use crate::time;

/// A `Statistics.db` that is rewritten; its length stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Number of the data directory.
    pub place: usize,
    /// `<keyspace>/<table>-<table id>/<file>`.
    pub path: PathBuf,
    /// Whether it loses its level, too.
    to_level_0: bool,
    /// Of the rewritten file.
    pub blake3: Hex<32>,
}

/// A `Statistics.db` as it was restored.
struct Found {
    place: usize,
    path: PathBuf,
    version: Version,
    group: RepairGroup,
}

/// Which files of a table are to be rewritten. `roots` are the directories, one for each data directory, in which
/// `table`, `<keyspace>/<table>-<table id>`, has its new files. Nothing is written.
pub fn plan(roots: &[PathBuf], table: &Path) -> anyhow::Result<Vec<Reset>> {
    let mut by_index = BTreeMap::new();
    for (place, root) in roots.iter().enumerate() {
        list(place, root, table, None, &mut by_index)?;
    }
    let mut resets = Vec::new();
    for found in by_index.into_values() {
        let groups: BTreeSet<RepairGroup> = found.iter().map(|found| found.group).collect();
        let to_level_0 = groups.len() > 1;
        for Found { place, path, version, .. } in
            found.into_iter().filter(|found| found.group != RepairGroup::Unrepaired)
        {
            let full = roots[place].join(&path);
            let bytes = std::fs::read(&full).with_context(|| full.display().to_string())?;
            let rewritten = unrepaired(&bytes, version, to_level_0).with_context(|| full.display().to_string())?;
            resets.push(Reset { place, path, to_level_0, blake3: Hex(*blake3::hash(&rewritten).as_bytes()) });
        }
    }
    Ok(resets)
}

type ByIndex = BTreeMap<Option<String>, Vec<Found>>;

fn list(place: usize, root: &Path, below: &Path, index: Option<&str>, found: &mut ByIndex) -> anyhow::Result<()> {
    let dir = match Dir::open(root.join(below)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        dir => dir?,
    };
    for entry in dir.list()? {
        let Some(name) = entry.name.to_str() else { continue };
        let path = below.join(name);
        match entry.kind {
            Kind::Directory if index.is_none() && is_index_directory(name) => {
                list(place, root, &path, Some(name), found)?;
            }
            Kind::File => {
                let Ok(FileName { descriptor, component: Component::Statistics }) = FileName::parse(name) else {
                    continue;
                };
                let full = root.join(&path);
                // One that was damaged when it was backed up is restored as it was.
                if dir.stat_child(name)?.size > HELD_TOTAL_BYTES_MAX {
                    continue;
                }
                let bytes = std::fs::read(&full).with_context(|| full.display().to_string())?;
                let statistics = Statistics::parse(&bytes, descriptor.version).ok();
                if let Some(stats) = statistics.and_then(|statistics| statistics.stats) {
                    let group = stats.repair_group();
                    let found = found.entry(index.map(str::to_owned)).or_default();
                    found.push(Found { place, path, version: descriptor.version, group });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Rewrites the files; those that are rewritten already are left as they are. `sync` makes everything durable: a new file
/// is on disk before it takes the place of the proven one, which cannot be made from anything else here.
pub fn apply(roots: &[PathBuf], resets: &[Reset], sync: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut written = Vec::new();
    for reset in resets {
        let path = roots[reset.place].join(&reset.path);
        if write(reset, &path).with_context(|| path.display().to_string())? {
            written.push(path);
        }
    }
    sync()?;
    for path in written {
        fs::settle(&temporary(&path), &path)?;
    }
    Ok(())
}

/// Writes the new file beside the old one; false if that is the new one.
fn write(reset: &Reset, path: &Path) -> anyhow::Result<bool> {
    let bytes = std::fs::read(path)?;
    if *blake3::hash(&bytes).as_bytes() == reset.blake3.0 {
        return Ok(false);
    }
    let name = path.file_name().and_then(|name| name.to_str()).context("no name of a file")?;
    let rewritten = unrepaired(&bytes, FileName::parse(name)?.descriptor.version, reset.to_level_0)?;
    let old = FileStat::of(std::fs::File::open(path)?)?;
    let mut file = fs::create(&temporary(path))?;
    file.write_all(&rewritten)?;
    // The next backup goes by the time: these are other bytes than the last one stored.
    fs::dress(&file, old.mode, i64::try_from(time::now().as_nanosecond())?)?;
    fs::give_file(&file, &old, path)?;
    Ok(true)
}
