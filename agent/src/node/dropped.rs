//! Directories whose table no longer exists.
//!
//! Cassandra leaves the directory of a dropped table behind, and nothing in it says so. The schema does: a table that
//! exists is a row of `system_schema.tables` or `views`, with its id among the values. Cassandra flushes these tables
//! whenever the schema changes, so an id whose 16 bytes occur in none of their SSTables belongs to no table. (The
//! reverse proves nothing: the row may be deleted in a newer SSTable. A directory without SSTables is then judged by
//! what else is known of it; one with SSTables is taken for a live table's, which costs space and loses nothing.)

use std::collections::HashSet;

use anyhow::Context as _;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;

use super::live;
use super::tables::Table;
use crate::inspect::SSTableFiles;

/// Far more than a schema of ten thousand tables takes.
const SCHEMA_BYTES_MAX: u64 = 256 << 20;

/// The ids that occur in the schema's SSTables, or `None` if they cannot tell.
#[derive(Debug)]
pub struct SchemaIds(Option<HashSet<[u8; 16]>>);

impl SchemaIds {
    /// Looks for the ids of `tables` in the schema's SSTables, which are among them.
    pub fn read(tables: &[Table]) -> Self {
        Self(read(tables).unwrap_or_else(|error| {
            tracing::warn!("the schema's SSTables cannot tell which tables were dropped: {error:#}");
            None
        }))
    }

    /// How it is known that the table was dropped, or `None` if it exists or nobody can tell.
    pub fn dropped(&self, table: &Table) -> Option<String> {
        let ids = self.0.as_ref()?;
        let id = table.directory.id?;
        // The tables of the system's own keyspaces are built into Cassandra, whatever the schema says.
        let is_system = table.keyspace == "system" || table.keyspace.starts_with("system_");
        (!is_system && !ids.contains(&id.0)).then(|| format!("id {} is not in system_schema", id.dashed()))
    }
}

/// How it is known that a directory without live SSTables is a dropped table's, or `None` if it may be an empty table.
pub fn leftover(table: &Table, tables: &[Table]) -> Option<String> {
    for place in &table.places {
        for entry in std::fs::read_dir(place.path.join("snapshots")).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with("dropped-")) {
                return Some(format!("no SSTables, and Cassandra made the snapshot {name}"));
            }
        }
    }
    let created = |table: &Table| uuid::Uuid::from_bytes(table.directory.id?.0).get_timestamp();
    let created_here = created(table)?.to_unix();
    let newer = tables.iter().find(|other| {
        other.keyspace == table.keyspace
            && other.directory.table == table.directory.table
            && created(other).is_some_and(|created| created.to_unix() > created_here)
    })?;
    Some(format!("no SSTables, and {} was created later", newer.directory))
}

fn read(tables: &[Table]) -> anyhow::Result<Option<HashSet<[u8; 16]>>> {
    let wanted: HashSet<[u8; 16]> = tables.iter().filter_map(|table| Some(table.directory.id?.0)).collect();
    let mut found = HashSet::new();
    let mut schema_tables = 0;
    for table in tables.iter().filter(|table| table.keyspace == "system_schema") {
        if !matches!(table.directory.table.as_str(), "tables" | "views") {
            continue;
        }
        let places = live::open(&table.places, None)?;
        let live = live::collect(&places)?;
        if table.directory.table == "tables" {
            schema_tables += live.sstables.len();
        }
        for sstable in live.sstables {
            let files = SSTableFiles {
                directory: places[sstable.place].dir.path().to_owned(),
                descriptor: sstable.descriptor,
                lengths: sstable.files.iter().map(|(component, stat)| (component.clone(), stat.size)).collect(),
            };
            let Some(plain) = plain_data(&files)? else { return Ok(None) };
            for window in plain.windows(16) {
                if let Some(id) = wanted.get(window) {
                    found.insert(*id);
                }
            }
        }
    }
    // No schema, no judgement: these may be the data directories without the one for system tables.
    Ok((schema_tables > 0).then_some(found))
}

/// The uncompressed bytes of a small Data.db; `None` if it is too large or of an unknown kind.
fn plain_data(files: &SSTableFiles) -> anyhow::Result<Option<Vec<u8>>> {
    if files.lengths.get(&Component::Data).copied().unwrap_or(0) > SCHEMA_BYTES_MAX
        || !files.descriptor.version.is_parsable()
    {
        return Ok(None);
    }
    let data = std::fs::read(files.path(&Component::Data))?;
    if !files.lengths.contains_key(&Component::CompressionInfo) {
        return Ok(Some(data));
    }
    let info = std::fs::read(files.path(&Component::CompressionInfo))?;
    let parsed = CompressionInfo::parse(files.descriptor.version, info.as_slice())?;
    if parsed.data_length > SCHEMA_BYTES_MAX {
        return Ok(None);
    }
    let starts = parsed.offsets(info.as_slice()).map(|offset| Ok(usize::try_from(offset?)?));
    let mut starts = starts.collect::<anyhow::Result<Vec<usize>>>()?;
    starts.push(data.len());
    let (mut plain, mut chunk) = (Vec::new(), Vec::new());
    for (number, bounds) in starts.windows(2).enumerate() {
        let stored = data.get(bounds[0]..bounds[1].saturating_sub(4)).context("a chunk is cut short")?;
        parsed.decompress(number as u64, stored, &mut chunk)?;
        plain.extend_from_slice(&chunk);
    }
    Ok(Some(plain))
}
