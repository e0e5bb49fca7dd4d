//! From the SSTables of the system's tables to the schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use helenus_sstable::chunks::Chunks;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::cql::row::SerializationHeader;
use helenus_sstable::crc::CrcFile;
use helenus_sstable::scan::Scan;
use helenus_sstable::statistics::Statistics;
use uuid::Uuid;

use super::cql::Release;
use super::merge::{LiveRow, Merge};
use super::model::{Column, ColumnKind, DroppedColumn, Index, Keyspace, Options, Schema, Table, UserType, View};
use super::values::text;
use crate::inspect::SSTableFiles;
use crate::node::live;
use crate::node::tables::Table as NodeTable;
use crate::time;

/// Far more than the schema of ten thousand tables takes.
const BYTES_MAX: u64 = 256 << 20;

/// The schema, or `None` if it cannot be read: then everything is taken for live.
pub fn known(tables: &[NodeTable]) -> Option<Schema> {
    of_node(tables).unwrap_or_else(|error| {
        tracing::warn!("the schema's SSTables cannot be read, so no table is known to be dropped: {error:#}");
        None
    })
}

/// The schema that the SSTables of `system_schema` tell; `None` if they are not there or not all of them: these may be
/// data directories without the one for the system's tables.
pub fn of_node(tables: &[NodeTable]) -> anyhow::Result<Option<Schema>> {
    let rows = |name: &str| rows(tables, "system_schema", name);
    let keyspace_rows = rows("keyspaces")?;
    if keyspace_rows.is_empty() {
        return Ok(None);
    }
    let mut schema = Schema::default();
    for row in keyspace_rows {
        let keyspace = Keyspace {
            durable_writes: row.boolean("durable_writes").unwrap_or(true),
            replication: row.text_map("replication"),
            ..Keyspace::default()
        };
        schema.keyspaces.insert(name_of(&row)?, keyspace);
    }
    for row in rows("types")? {
        let fields = row.texts("field_names").into_iter().zip(row.texts("field_types")).collect();
        let name = row.clustering_text(0).context("a type without a name")?;
        if let Some(keyspace) = schema.keyspaces.get_mut(&name_of(&row)?) {
            keyspace.types.insert(name, UserType { fields });
        }
    }
    for row in rows("tables")?.into_iter().chain(rows("views")?) {
        let name = row.clustering_text(0).context("a table without a name")?;
        let (keyspace_name, table) = (name_of(&row)?, table(&row)?);
        // The row of a keyspace and those of its tables are in files of their own, flushed one after the other.
        schema.keyspaces.entry(keyspace_name).or_default().tables.insert(name, table);
    }
    // Cassandra writes its own schema at each start. Without that row these are not all of the SSTables, and every table
    // would look dropped.
    if schema.table("system_schema", "tables").is_none() {
        return Ok(None);
    }
    let mut masks = BTreeMap::new();
    for row in rows("column_masks")? {
        if let (Some(table), Some(column)) = (row.clustering_text(0), row.clustering_text(1)) {
            masks.insert((name_of(&row)?, table, column), mask(&row));
        }
    }
    let mut of_table = |row: &LiveRow, add: &mut dyn FnMut(&mut Table, String)| -> anyhow::Result<()> {
        let (Some(table), Some(name)) = (row.clustering_text(0), row.clustering_text(1)) else { return Ok(()) };
        let keyspace = schema.keyspaces.get_mut(&name_of(row)?);
        if let Some(table) = keyspace.and_then(|keyspace| keyspace.tables.get_mut(&table)) {
            add(table, name);
        }
        Ok(())
    };
    for row in rows("columns")? {
        let place = (name_of(&row)?, row.clustering_text(0).unwrap_or_default());
        of_table(&row, &mut |table, name| {
            let mask = masks.remove(&(place.0.clone(), place.1.clone(), name.clone()));
            table.columns.push(column(&row, name, mask));
        })?;
    }
    for row in rows("dropped_columns")? {
        of_table(&row, &mut |table, name| {
            table.dropped.push(DroppedColumn {
                name,
                cql_type: row.text("type").unwrap_or_default(),
                is_static: row.text("kind").as_deref() == Some("static"),
                dropped_ms: row.timestamp_ms("dropped_time").unwrap_or(0),
            });
        })?;
    }
    for row in rows("indexes")? {
        of_table(&row, &mut |table, name| {
            let is_custom = row.text("kind").as_deref() == Some("CUSTOM");
            table.indexes.push(Index { name, is_custom, options: row.text_map("options") });
        })?;
    }
    for table in schema.keyspaces.values_mut().flat_map(|keyspace| keyspace.tables.values_mut()) {
        // Cassandra's own order: of equal kind and place the simple ones first, then by name.
        table.columns.sort_by_cached_key(|c| (c.kind, c.position, is_complex(&c.cql_type), c.name.clone()));
    }
    schema.release = release(tables)?;
    Ok(Some(schema))
}

/// The release that ran on these data directories last, from `system.local`; the oldest if nothing tells.
fn release(tables: &[NodeTable]) -> anyhow::Result<Release> {
    let rows = rows(tables, "system", "local")?;
    let text = rows.iter().find_map(|row| row.text("release_version")).unwrap_or_default();
    Ok(Release::of(&text))
}

/// The node that these data directories are of, as it calls itself in `system.local`.
pub fn host_id(tables: &[NodeTable]) -> anyhow::Result<Option<Uuid>> {
    Ok(rows(tables, "system", "local")?.iter().find_map(|row| row.uuid("host_id")))
}

/// The rows of one of the system's tables.
fn rows(tables: &[NodeTable], keyspace: &str, name: &str) -> anyhow::Result<Vec<LiveRow>> {
    let mut merge = Merge::default();
    for table in tables.iter().filter(|table| table.keyspace == keyspace && table.directory.table == name) {
        let places = live::open(&table.places, None)?;
        for sstable in live::collect(&places)?.sstables {
            let files = SSTableFiles {
                directory: places[sstable.place].dir.path().to_owned(),
                descriptor: sstable.descriptor,
                lengths: sstable.files.iter().map(|(component, stat)| (component.clone(), stat.size)).collect(),
            };
            add(&files, &mut merge).with_context(|| files.path(&Component::Data).display().to_string())?;
        }
    }
    Ok(merge.rows(time::now().as_second()).collect())
}

fn add(files: &SSTableFiles, merge: &mut Merge) -> anyhow::Result<()> {
    let version = files.descriptor.version;
    let read = |component: Component| -> anyhow::Result<Vec<u8>> {
        let length = files.lengths.get(&component).copied().unwrap_or(0);
        ensure!(length <= BYTES_MAX, "{length} bytes are too many for a table of the system");
        Ok(std::fs::read(files.path(&component))?)
    };
    let statistics = Statistics::parse(&read(Component::Statistics)?, version)?;
    let header = statistics.header.context("Statistics.db has no serialization header")?;
    let header = Arc::new(SerializationHeader::new(&header, version)?);
    let data = read(Component::Data)?;
    let sums;
    let chunks = if files.lengths.contains_key(&Component::CompressionInfo) {
        sums = read(Component::CompressionInfo)?;
        Chunks::Compressed(CompressionInfo::parse(version, sums.as_slice())?, sums.as_slice())
    } else if files.lengths.contains_key(&Component::Crc) {
        sums = read(Component::Crc)?;
        Chunks::Plain(CrcFile::parse(sums.as_slice())?, sums.as_slice())
    } else {
        Chunks::Unknown
    };
    let mut scan = Scan::new(header, version, data.as_slice(), chunks)?;
    Ok(merge.add(&mut scan)?)
}

fn name_of(row: &LiveRow) -> anyhow::Result<String> {
    text(&row.key).context("the name of a keyspace is not UTF-8")
}

fn table(row: &LiveRow) -> anyhow::Result<Table> {
    let view = row.text("base_table_name").map(|base| View {
        base,
        condition: row.text("where_clause").unwrap_or_default(),
        has_all_columns: row.boolean("include_all_columns").unwrap_or(false),
    });
    let mut flags = row.text_set("flags");
    if view.is_some() {
        flags.insert("compound".to_owned());
    }
    Ok(Table {
        id: row.uuid("id").context("a table without an id")?,
        flags,
        columns: Vec::new(),
        dropped: Vec::new(),
        indexes: Vec::new(),
        view,
        options: options(row),
    })
}

fn options(row: &LiveRow) -> Options {
    Options {
        additional_write_policy: row.text("additional_write_policy"),
        allow_auto_snapshot: row.boolean("allow_auto_snapshot"),
        bloom_filter_fp_chance: row.double("bloom_filter_fp_chance"),
        caching: row.text_map("caching"),
        cdc: row.boolean("cdc"),
        comment: row.text("comment"),
        compaction: row.text_map("compaction"),
        compression: row.text_map("compression"),
        memtable: row.text("memtable"),
        crc_check_chance: row.double("crc_check_chance"),
        default_time_to_live: row.int("default_time_to_live"),
        extensions: row.blob_map("extensions"),
        gc_grace_seconds: row.int("gc_grace_seconds"),
        incremental_backups: row.boolean("incremental_backups"),
        max_index_interval: row.int("max_index_interval"),
        memtable_flush_period_in_ms: row.int("memtable_flush_period_in_ms"),
        min_index_interval: row.int("min_index_interval"),
        read_repair: row.text("read_repair"),
        speculative_retry: row.text("speculative_retry"),
    }
}

fn column(row: &LiveRow, name: String, mask: Option<String>) -> Column {
    let kind = match row.text("kind").as_deref() {
        Some("partition_key") => ColumnKind::PartitionKey,
        Some("clustering") => ColumnKind::Clustering,
        Some("static") => ColumnKind::Static,
        _ => ColumnKind::Regular,
    };
    Column {
        name,
        kind,
        position: row.int("position").unwrap_or(-1),
        cql_type: row.text("type").unwrap_or_default(),
        is_reversed: row.text("clustering_order").as_deref() == Some("desc"),
        mask,
    }
}

/// A mask as it is written in a statement; its arguments are stored as literals.
fn mask(row: &LiveRow) -> String {
    let function = [row.text("function_keyspace"), row.text("function_name")];
    let [keyspace, name] = function.map(Option::unwrap_or_default);
    format!("{keyspace}.{name}({})", row.texts("function_argument_values").join(", "))
}

/// Collections and user types that are not frozen are stored as several cells.
fn is_complex(cql_type: &str) -> bool {
    const SIMPLE: &[&str] = &[
        "ascii",
        "bigint",
        "blob",
        "boolean",
        "counter",
        "date",
        "decimal",
        "double",
        "duration",
        "empty",
        "float",
        "inet",
        "int",
        "smallint",
        "text",
        "time",
        "timestamp",
        "timeuuid",
        "tinyint",
        "uuid",
        "varchar",
        "varint",
    ];
    // Quoted: a custom class.
    !(SIMPLE.contains(&cql_type)
        || ["frozen<", "tuple<", "vector<", "'"].iter().any(|start| cql_type.starts_with(start)))
}
