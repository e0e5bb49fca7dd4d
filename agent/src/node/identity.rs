//! Who the node is, told by its own SSTables: each names the host that wrote it.
//!
//! `system.local` is asked first, which says who the node is: nothing but this node writes it, it is never streamed, and
//! no restore of another node's backup brings it along. Such a restore may bring the other local system tables. Where
//! several tables are asked, the majority decides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use helenus_sstable::component::Component;
use helenus_sstable::descriptor::FileName;
use helenus_sstable::statistics::Statistics;
use uuid::Uuid;

use super::tables;
use crate::error::usage;

/// Enough to be sure, few enough to be quick.
const ASKED_MAX: usize = 64;
const STATISTICS_BYTES_MAX: u64 = 16 << 20;

/// The host id and how it is known.
pub fn host_id(data_directories: &[PathBuf]) -> anyhow::Result<(Uuid, String)> {
    let found = tables::scan(data_directories)?;
    let (system, others): (Vec<_>, Vec<_>) = found.tables.iter().partition(|table| table.keyspace == "system");
    let (local, system): (Vec<_>, Vec<_>) = system.into_iter().partition(|table| table.directory.table == "local");
    for (tables, what) in [(local, "system.local"), (system, "the other local system tables"), (others, "the tables")] {
        let mut votes = BTreeMap::<Uuid, usize>::new();
        for table in tables {
            for place in &table.places {
                vote(&place.path, &mut votes);
            }
            if votes.values().sum::<usize>() >= ASKED_MAX {
                break;
            }
        }
        let asked: usize = votes.values().sum();
        if let Some((host_id, count)) = votes.iter().max_by_key(|(_, count)| **count)
            && count * 2 > asked
        {
            return Ok((*host_id, format!("{count} of {asked} SSTables of {what}")));
        }
    }
    Err(usage(
        "the SSTables do not tell the host id (none names one, or they disagree): pass --host-id UUID; \
         `nodetool info` shows it, and so does `SELECT host_id FROM system.local`",
    ))
}

fn vote(directory: &Path, votes: &mut BTreeMap<Uuid, usize>) {
    // Damage and disappearance are met again, and reported, where the SSTables themselves are read.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(Ok(FileName { descriptor, component: Component::Statistics })) = name.to_str().map(FileName::parse)
        else {
            continue;
        };
        if entry.metadata().is_ok_and(|metadata| metadata.len() > STATISTICS_BYTES_MAX) {
            continue;
        }
        let Ok(bytes) = std::fs::read(entry.path()) else { continue };
        let statistics = Statistics::parse(&bytes, descriptor.version).ok();
        if let Some(host_id) = statistics.and_then(|statistics| statistics.stats?.originating_host_id) {
            *votes.entry(Uuid::from_bytes(host_id)).or_default() += 1;
        }
    }
}
