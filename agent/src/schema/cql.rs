//! The statements that make a table anew, as Cassandra writes them into `schema.cql` of its snapshots.
//!
//! Source: `SchemaCQLHelper.reCreateStatementsForSchemaCql`, `TableMetadata.appendCqlTo`, `TableParams.appendCqlTo` of
//! 4.0, 4.1 and 5.0. The tests hold our text against the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use helenus_sstable::cql::types::quote_identifier;

use super::model::{Column, ColumnKind, Index, Keyspace, Options, Schema, Table};

/// A release, by the options that its tables have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 4.0, and what is older.
    #[default]
    V4_0,
    /// 4.1: `memtable`.
    V4_1,
    /// 5.0, and what is newer: `allow_auto_snapshot`, `incremental_backups`.
    V5_0,
}

impl Release {
    /// From the text of `system.local`: `4.1.10`, `5.0-beta1`.
    pub fn of(text: &str) -> Self {
        let mut numbers = text.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
        match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
            (5.., _) => Self::V5_0,
            (4, 1..) => Self::V4_1,
            _ => Self::V4_0,
        }
    }
}

/// The text of `schema.cql`: the user types that the table needs, the table or view, its indexes. `None` if the schema
/// has no such table.
pub fn create_statements(schema: &Schema, keyspace: &str, name: &str) -> Option<String> {
    let release = schema.release;
    let definition = schema.keyspaces.get(keyspace)?;
    let table = definition.tables.get(name)?;
    let mut cql = String::new();
    for needed in needed_types(definition, table) {
        let fields: Vec<String> = definition.types[needed]
            .fields
            .iter()
            .map(|(field, class)| format!("    {} {class}", quote_identifier(field)))
            .collect();
        let _ =
            writeln!(cql, "CREATE TYPE IF NOT EXISTS {} (\n{}\n);", full_name(keyspace, needed), fields.join(",\n"));
    }
    let body = match &table.view {
        Some(_) => view(keyspace, name, table, release),
        None => create_table(keyspace, name, table, release),
    };
    // What was made through Thrift cannot be made through CQL.
    if table.view.is_none() && table.is_compact() {
        let name = format!("{keyspace}.{name}");
        let _ = write!(
            cql,
            "/*\nWarning: Table {name} omitted because it has constructs not compatible with CQL (was created via legacy \
             API).\nApproximate structure, for reference:\n(this should not be used to reproduce this schema)\n\n{body}*/\n"
        );
    } else {
        cql.push_str(&body);
    }
    for index in &table.indexes {
        cql.push_str(&create_index(keyspace, name, index));
    }
    Some(cql)
}

/// The names of the user types that the table's columns need, each after those that it needs itself.
fn needed_types<'a>(definition: &'a Keyspace, table: &'a Table) -> Vec<&'a String> {
    fn need<'a>(definition: &'a Keyspace, class: &str, seen: &mut BTreeSet<&'a String>, needed: &mut Vec<&'a String>) {
        for word in words(class) {
            let Some((name, user_type)) = definition.types.get_key_value(&word) else { continue };
            // Cassandra lets no type contain itself; whoever wrote this file may have.
            if seen.insert(name) {
                user_type.fields.iter().for_each(|(_, field)| need(definition, field, seen, needed));
                needed.push(name);
            }
        }
    }
    let mut seen = BTreeSet::new();
    let mut needed = Vec::new();
    let dropped = table.dropped.iter().map(|column| &column.cql_type);
    for class in table.columns.iter().map(|column| &column.cql_type).chain(dropped) {
        need(definition, class, &mut seen, &mut needed);
    }
    needed
}

/// The names in a CQL type: `frozen<"Odd Type">` has `frozen` and `Odd Type`.
fn words(class: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = class;
    while let Some(start) = rest.find(|c: char| c.is_alphanumeric() || c == '_' || c == '"') {
        rest = &rest[start..];
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut word = String::new();
            let mut characters = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, c)) = characters.next() {
                if c != '"' {
                    word.push(c);
                } else if characters.next_if(|(_, next)| *next == '"').is_some() {
                    word.push('"');
                } else {
                    end = at + 1;
                    break;
                }
            }
            words.push(word);
            rest = &quoted[end..];
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    words
}

fn create_table(keyspace: &str, name: &str, table: &Table, release: Release) -> String {
    let mut cql = format!("CREATE TABLE IF NOT EXISTS {} (\n", full_name(keyspace, name));
    let keys: Vec<&Column> = table.columns_of(ColumnKind::PartitionKey).collect();
    let clustering: Vec<&Column> = table.columns_of(ColumnKind::Clustering).collect();
    let is_single = keys.len() == 1 && clustering.is_empty();
    let mut lines = Vec::new();
    for column in shown(table) {
        let mut line = format!("    {} {}", quote_identifier(&column.name), column.cql_type);
        if column.kind == ColumnKind::Static && !table.is_static_compact() {
            line.push_str(" static");
        }
        if let Some(mask) = &column.mask {
            let _ = write!(line, " MASKED WITH {mask}");
        }
        if is_single && column.kind == ColumnKind::PartitionKey {
            line.push_str(" PRIMARY KEY");
        }
        lines.push(line);
    }
    for dropped in &table.dropped {
        let is_static = if dropped.is_static { " static" } else { "" };
        lines.push(format!("    {} {}{is_static}", quote_identifier(&dropped.name), dropped.cql_type));
    }
    if !is_single {
        lines.push(format!("    {}", primary_key(table)));
    }
    cql.push_str(&lines.join(",\n"));
    cql.push_str("\n) WITH ");
    if table.is_compact() {
        cql.push_str("COMPACT STORAGE\n    AND ");
    }
    write_options(&mut cql, table, release);
    for dropped in &table.dropped {
        let (table_name, column) = (full_name(keyspace, name), quote_identifier(&dropped.name));
        let micros = dropped.dropped_ms.saturating_mul(1000);
        let _ = writeln!(cql, "ALTER TABLE {table_name} DROP {column} USING TIMESTAMP {micros};");
        if let Some(again) = table.columns.iter().find(|column| column.name == dropped.name) {
            let is_static = if again.kind == ColumnKind::Static { " static" } else { "" };
            let _ = writeln!(cql, "ALTER TABLE {table_name} ADD {column} {}{is_static};", again.cql_type);
        }
    }
    cql
}

/// The columns that a table's statement lists: not those that compact storage invents, nor those that come back below.
fn shown(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| {
        let is_dropped = table.dropped.iter().any(|dropped| dropped.name == column.name);
        let is_invented = column.cql_type == "empty"
            || table.is_static_compact() && matches!(column.kind, ColumnKind::Clustering | ColumnKind::Regular);
        !is_dropped && !is_invented
    })
}

fn view(keyspace: &str, name: &str, table: &Table, release: Release) -> String {
    let Some(view) = &table.view else { return String::new() };
    let columns = if view.has_all_columns {
        "*".to_owned()
    } else {
        table.columns.iter().map(|column| quote_identifier(&column.name)).collect::<Vec<_>>().join(", ")
    };
    let mut cql = format!(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {} AS\n    SELECT {columns}\n    FROM {}\n    WHERE {}\n    {}\n WITH ",
        full_name(keyspace, name),
        full_name(keyspace, &view.base),
        view.condition,
        primary_key(table),
    );
    write_options(&mut cql, table, release);
    cql
}

fn primary_key(table: &Table) -> String {
    let keys: Vec<String> = table.columns_of(ColumnKind::PartitionKey).map(|c| quote_identifier(&c.name)).collect();
    let clustering = table.columns_of(ColumnKind::Clustering).filter(|_| !table.is_static_compact());
    let clustering: String = clustering.fold(String::new(), |all, c| all + ", " + &quote_identifier(&c.name));
    match keys.as_slice() {
        [single] => format!("PRIMARY KEY ({single}{clustering})"),
        several => format!("PRIMARY KEY (({}){clustering})", several.join(", ")),
    }
}

fn write_options(cql: &mut String, table: &Table, release: Release) {
    let options = &table.options;
    let mut lines = vec![format!("ID = {}", table.id)];
    let order: Vec<String> = table
        .columns_of(ColumnKind::Clustering)
        .map(|column| format!("{} {}", quote_identifier(&column.name), if column.is_reversed { "DESC" } else { "ASC" }))
        .collect();
    if !order.is_empty() {
        lines.push(format!("CLUSTERING ORDER BY ({})", order.join(", ")));
    }
    lines.extend(option_lines(options, table.view.is_some(), release));
    cql.push_str(&lines.join("\n    AND "));
    cql.push_str(";\n");
}

/// What is not in the rows has the default of the release.
fn option_lines(options: &Options, is_view: bool, release: Release) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name} = {value}"));
    let text = |value: &Option<String>, default: &str| quoted(value.as_deref().unwrap_or(default));
    let number = |value: Option<i32>, default: i32| value.unwrap_or(default).to_string();
    line("additional_write_policy", text(&options.additional_write_policy, "99p"));
    if release >= Release::V5_0 {
        line("allow_auto_snapshot", options.allow_auto_snapshot.unwrap_or(true).to_string());
    }
    line("bloom_filter_fp_chance", double(options.bloom_filter_fp_chance.unwrap_or(0.01)));
    line("caching", map(&options.caching));
    line("cdc", options.cdc.unwrap_or(false).to_string());
    line("comment", text(&options.comment, ""));
    line("compaction", map(&options.compaction));
    line("compression", map(&options.compression));
    if release >= Release::V4_1 {
        line("memtable", text(&options.memtable, "default"));
    }
    line("crc_check_chance", double(options.crc_check_chance.unwrap_or(1.0)));
    if !is_view {
        line("default_time_to_live", number(options.default_time_to_live, 0));
    }
    let extensions = options.extensions.iter().map(|(name, bytes)| format!("{}: {}", quoted(name), hex_literal(bytes)));
    line("extensions", format!("{{{}}}", extensions.collect::<Vec<_>>().join(", ")));
    line("gc_grace_seconds", number(options.gc_grace_seconds, super::GC_GRACE_SECONDS));
    if release >= Release::V5_0 {
        line("incremental_backups", options.incremental_backups.unwrap_or(true).to_string());
    }
    line("max_index_interval", number(options.max_index_interval, 2048));
    line("memtable_flush_period_in_ms", number(options.memtable_flush_period_in_ms, 0));
    line("min_index_interval", number(options.min_index_interval, 128));
    line("read_repair", text(&options.read_repair, "BLOCKING"));
    line("speculative_retry", text(&options.speculative_retry, "99p"));
    lines
}

fn create_index(keyspace: &str, table: &str, index: &Index) -> String {
    let target = index.options.get("target").map_or("", String::as_str);
    let custom = if index.is_custom { "CUSTOM " } else { "" };
    let mut cql = format!(
        "CREATE {custom}INDEX IF NOT EXISTS {} ON {} ({target})",
        quote_identifier(&index.name),
        full_name(keyspace, table)
    );
    if index.is_custom {
        let class = index.options.get("class_name").map_or("", String::as_str);
        let _ = write!(cql, " USING {}", quoted(class));
        let others: BTreeMap<String, String> = index
            .options
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "target" | "class_name"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !others.is_empty() {
            let _ = write!(cql, " WITH OPTIONS = {}", map(&others));
        }
    }
    cql.push_str(";\n");
    cql
}

fn full_name(keyspace: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(keyspace), quote_identifier(name))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn hex_literal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// As Java writes it, between a thousandth and ten millions.
fn double(value: f64) -> String {
    format!("{value:?}")
}

fn map<V: Display>(map: &BTreeMap<String, V>) -> String {
    let entries: Vec<String> =
        map.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(&value.to_string()))).collect();
    format!("{{{}}}", entries.join(", "))
}
