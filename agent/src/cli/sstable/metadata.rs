//! `helenus sstable metadata`: what `sstablemetadata` shows, and the facts of the other small components.

use std::fmt::Write;

use clap::Args;
use helenus_sstable::big::summary::Summary;
use helenus_sstable::bti::partitions::PartitionsFooter;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::cql::moment;
use helenus_sstable::cql::types::Type;
use helenus_sstable::cql::value;
use helenus_sstable::digest::Digest;
use helenus_sstable::partitioner::Partitioner;
use helenus_sstable::statistics::Statistics;
use helenus_sstable::statistics::header::{Column, Header};
use helenus_sstable::statistics::histogram::EstimatedHistogram;
use helenus_sstable::statistics::stats::{Bound, Position, Stats};
use helenus_sstable::toc::Toc;
use helenus_sstable::window::ReadError;
use serde_json::{Value, json};

use super::super::{Global, output};
use super::place::Backup;
use crate::config::Config;
use crate::error::Outcome;
use crate::sstable::SSTable;

#[derive(Debug, Args)]
pub struct Options {
    /// Component files or directories. With --repository, or a URL as the first: BACKUP KEYSPACE.TABLE [SSTABLE]…
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Seconds that tombstones are kept, for the share of them that could be dropped now
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    gc_grace: i64,
    #[command(flatten)]
    backup: Backup,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let (sstables, _) = options.backup.find(config, options.paths, true).await?;
    let droppable_before = crate::time::now().as_second().saturating_sub(options.gc_grace);
    tokio::task::block_in_place(|| show(global, &sstables, droppable_before))
}

fn show(global: &Global, sstables: &[SSTable], droppable_before: i64) -> anyhow::Result<Outcome> {
    let mut documents = Vec::new();
    let mut outcome = Outcome::Done;
    for sstable in sstables {
        let mut document = match sstable.statistics() {
            Ok(statistics) => describe(sstable, &statistics, droppable_before),
            Err(error) => {
                outcome = Outcome::Findings;
                json!({ "error": format!("{sstable}-{error}") })
            }
        };
        document["sstable"] = json!(sstable.to_string());
        documents.push(document);
    }
    output::result(global, &json!({ "sstables": documents }), || documents.iter().map(text).collect())?;
    Ok(outcome)
}

fn uuid(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).to_string()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    value::hex(&mut text, bytes);
    String::from_utf8(text).unwrap_or_default()
}

fn plain(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Every field of Statistics.db that people ask for, in the order of the file, and what the other components add.
fn describe(sstable: &SSTable, statistics: &Statistics, droppable_before: i64) -> Value {
    let mut document = json!({
        "version": sstable.descriptor.version.to_string(),
        "format": sstable.descriptor.format.to_string(),
        "bytes": sstable.lengths.values().sum::<u64>(),
    });
    if let Some(validation) = &statistics.validation {
        document["partitioner"] = json!(validation.partitioner);
        document["bloom_filter_fp_chance"] = json!(validation.bloom_filter_fp_chance);
    }
    let key_type = statistics.header.as_ref().and_then(|header| Type::parse(&header.partition_key_type).ok());
    if let Some(stats) = &statistics.stats {
        of_stats(&mut document, stats, statistics.header.as_ref(), droppable_before);
        let keys = stats.first_key.clone().zip(stats.last_key.clone()).or_else(|| keys(sstable));
        let (first, last) = keys.unzip();
        document["first_key"] = json!(first.as_deref().map(hex));
        document["last_key"] = json!(last.as_deref().map(hex));
        if let Some(kind) = &key_type {
            let class = statistics.validation.as_ref().map_or("", |validation| &validation.partitioner);
            let partitioner = Partitioner::from_class(class, kind);
            for (name, key) in [("first", &first), ("last", &last)] {
                let text = |key: &Vec<u8>| plain(|out| value::text(out, kind, key));
                let token = |key: &Vec<u8>| Some(partitioner.as_ref()?.token(key).to_string());
                document[format!("{name}_key_text")] = json!(key.as_ref().map(text));
                document[format!("{name}_token")] = json!(key.as_ref().and_then(token));
            }
        }
        document["token_space_coverage"] = json!(stats.token_space_coverage);
        document["commit_log_intervals"] =
            stats.commit_log_intervals.iter().map(|(from, to)| json!({ "from": at(*from), "to": at(*to) })).collect();
    }
    if let Some(header) = &statistics.header {
        document["partition_key_type"] = json!(header.partition_key_type);
        document["clustering_types"] = json!(header.clustering_types);
        document["static_columns"] = columns(&header.static_columns);
        document["regular_columns"] = columns(&header.regular_columns);
        document["encoding_min_timestamp_us"] = json!(header.min_timestamp);
        document["encoding_min_local_deletion_time_s"] = json!(header.min_local_deletion_time);
        document["encoding_min_ttl_s"] = json!(header.min_ttl);
    }
    of_components(&mut document, sstable);
    document
}

fn at(position: Position) -> Value {
    json!({ "segment_id": position.segment_id, "position": position.position })
}

fn columns(columns: &[Column]) -> Value {
    let column = |column: &Column| json!({ "name": String::from_utf8_lossy(&column.name), "type": column.class });
    columns.iter().map(column).collect()
}

fn of_stats(document: &mut Value, stats: &Stats, header: Option<&Header>, droppable_before: i64) {
    document["partitions"] = json!(stats.partition_count());
    document["rows"] = json!(stats.total_rows);
    document["columns_set"] = json!(stats.total_columns_set);
    document["min_timestamp_us"] = json!(stats.min_timestamp);
    document["max_timestamp_us"] = json!(stats.max_timestamp);
    document["min_local_deletion_time_s"] = json!(stats.min_local_deletion_time);
    document["max_local_deletion_time_s"] = json!(stats.max_local_deletion_time);
    document["min_ttl_s"] = json!(stats.min_ttl);
    document["max_ttl_s"] = json!(stats.max_ttl);
    document["compression_ratio"] = json!(stats.compression_ratio);
    document["partition_size_median"] = json!(stats.partition_sizes.percentile(0.5));
    document["partition_size_max"] = json!(stats.partition_sizes.percentile(1.0));
    document["tombstones"] = json!(stats.tombstone_drop_times.count());
    document["droppable_tombstones"] = json!(stats.droppable_tombstones(droppable_before));
    document["level"] = json!(stats.level);
    document["repaired_at_ms"] = json!(stats.repaired_at);
    document["pending_repair"] = json!(stats.pending_repair.map(uuid));
    document["is_transient"] = json!(stats.is_transient);
    document["originating_host_id"] = json!(stats.originating_host_id.map(uuid));
    document["has_partition_level_deletions"] = json!(stats.has_partition_level_deletions);
    document["has_legacy_counter_shards"] = json!(stats.has_legacy_counter_shards);
    document["partition_sizes"] = histogram(&stats.partition_sizes);
    document["cells_per_partition"] = histogram(&stats.cells_per_partition);
    let bins = stats.tombstone_drop_times.bins.iter();
    document["tombstone_drop_times"] = bins.map(|(at, count)| json!({ "at_s": at, "count": count })).collect();
    // The types of the header, not those that STATS repeats: they are the same, and always there.
    let types: Vec<Type> = header
        .map(|header| header.clustering_types.iter().filter_map(|class| Type::parse(class).ok()).collect())
        .unwrap_or_default();
    let text = |kind: Option<&Type>, bytes: &[u8]| match kind {
        Some(kind) => plain(|out| value::text(out, kind, bytes)),
        None => hex(bytes),
    };
    if let Some(legacy) = &stats.legacy_clustering {
        let values = |values: &[Vec<u8>]| -> Value {
            values.iter().enumerate().map(|(index, bytes)| text(types.get(index), bytes)).collect()
        };
        document["min_clustering"] = values(&legacy.min);
        document["max_clustering"] = values(&legacy.max);
    }
    if let Some(covered) = &stats.covered_clustering {
        let bound = |bound: &Bound| {
            let value = |(index, bytes): (usize, &Option<Vec<u8>>)| match bytes {
                Some(bytes) => json!(text(types.get(index), bytes)),
                None => Value::Null,
            };
            let values: Value = bound.values.iter().enumerate().map(value).collect();
            json!({ "inclusive": matches!(bound.kind, 1 | 6), "values": values })
        };
        document["covered_clustering"] = json!({ "from": bound(&covered.start), "to": bound(&covered.end) });
    }
}

fn histogram(histogram: &EstimatedHistogram) -> Value {
    let percentile = |fraction| json!(histogram.percentile(fraction));
    let buckets: Vec<Value> = histogram
        .counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(index, count)| json!({ "up_to": histogram.offsets.get(index), "count": count }))
        .collect();
    json!({
        "min": histogram.min(), "p50": percentile(0.5), "p75": percentile(0.75), "p95": percentile(0.95),
        "p98": percentile(0.98), "p99": percentile(0.99), "max": percentile(1.0), "mean": histogram.mean(),
        "buckets": buckets,
    })
}

/// First and last key, which the statistics have from `oa` on only.
fn keys(sstable: &SSTable) -> Option<(Vec<u8>, Vec<u8>)> {
    let has = |component| sstable.lengths.contains_key(component);
    if has(&Component::Summary) {
        let summary = Summary::parse(&sstable.read(&Component::Summary).ok()?).ok()?;
        return Some((summary.first_key, summary.last_key));
    }
    if has(&Component::Partitions) {
        let footer = PartitionsFooter::read(sstable.open(&Component::Partitions).ok()?.as_ref()).ok()?;
        return Some((footer.first_key, footer.last_key));
    }
    let index = sstable.rows().ok()?.index().ok()?;
    let mut keys = index.partitions().ok()?.map_while(|located| located.ok()?.key);
    let first = keys.next()?;
    Some((first.clone(), keys.last().unwrap_or(first)))
}

fn of_components(document: &mut Value, sstable: &SSTable) {
    let has = |component: &Component| sstable.lengths.contains_key(component);
    if has(&Component::CompressionInfo) {
        let info = sstable
            .open(&Component::CompressionInfo)
            .map_err(ReadError::from)
            .and_then(|source| CompressionInfo::parse(sstable.descriptor.version, source.as_ref()));
        document["compressor"] = match info {
            Ok(info) => {
                document["uncompressed_bytes"] = json!(info.data_length);
                document["chunk_bytes"] = json!(info.chunk_length);
                document["chunks"] = json!(info.chunk_count);
                let options = info.options.iter().map(|(name, value)| (name.clone(), json!(value)));
                document["compressor_options"] = Value::Object(options.collect());
                json!(info.compressor)
            }
            Err(error) => json!({ "error": error.to_string() }),
        };
    } else {
        document["compressor"] = Value::Null;
    }
    if has(&Component::Digest) {
        let digest = sstable.read(&Component::Digest).ok().and_then(|bytes| Digest::parse(&bytes).ok());
        document["digest"] = json!(digest.map(|digest| digest.to_string()));
    }
    if has(&Component::Toc) {
        let toc = sstable.read(&Component::Toc).ok().and_then(|bytes| Toc::parse(&bytes).ok());
        document["toc"] = json!(toc.map(|toc| toc.components.iter().map(ToString::to_string).collect::<Vec<_>>()));
    }
    let lengths = sstable.lengths.iter().map(|(component, length)| (component.to_string(), json!(length)));
    document["components"] = Value::Object(lengths.collect());
}

/// A document as indented lines, with what its numbers mean.
fn text(document: &Value) -> String {
    let mut text = format!("{}\n", document["sstable"].as_str().unwrap_or_default());
    for (name, value) in document.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("sstable", _) => {}
            ("partition_sizes" | "cells_per_partition", Value::Object(_)) => histogram_text(&mut text, name, value),
            ("tombstone_drop_times" | "commit_log_intervals" | "static_columns" | "regular_columns", list)
                if list.as_array().is_some_and(|list| !list.is_empty()) =>
            {
                let _ = writeln!(text, "  {name}");
                for item in list.as_array().into_iter().flatten() {
                    let _ = writeln!(text, "    {}", item_text(name, item));
                }
            }
            ("components", Value::Object(lengths)) => {
                let _ = writeln!(text, "  {name}");
                for (component, length) in lengths {
                    let bytes = output::bytes(length.as_u64().unwrap_or_default());
                    let length = scalar(length);
                    let _ = writeln!(text, "    {component:<28}{length:>14}  {bytes}");
                }
            }
            _ => {
                let _ = writeln!(text, "  {name:<36}{}{}", scalar(value), meaning(name, value));
            }
        }
    }
    text + "\n"
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(value) => value.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn meaning(name: &str, value: &Value) -> String {
    let Some(number) = value.as_i64() else { return String::new() };
    if name.ends_with("timestamp_us") {
        format!("  {}", plain(|out| moment::microseconds(out, number)))
    } else if name.ends_with("_time_s") {
        format!("  {}", plain(|out| moment::seconds(out, number)))
    } else if name.ends_with("_at_ms") {
        format!("  {}", plain(|out| moment::microseconds(out, number.saturating_mul(1000))))
    } else if name.ends_with("bytes") || name.starts_with("partition_size") {
        format!("  {}", output::bytes(number.unsigned_abs()))
    } else {
        String::new()
    }
}

fn item_text(name: &str, item: &Value) -> String {
    match name {
        "tombstone_drop_times" => {
            #[expect(clippy::cast_possible_truncation, reason = "seconds, for the eye")]
            let seconds = item["at_s"].as_f64().unwrap_or_default() as i64;
            format!("{:<28}{:>14}", plain(|out| moment::seconds(out, seconds)), scalar(&item["count"]))
        }
        "commit_log_intervals" => {
            let position = |at: &Value| format!("{}:{}", at["segment_id"], at["position"]);
            format!("{} to {}", position(&item["from"]), position(&item["to"]))
        }
        _ => format!("{:<28}{}", scalar(&item["name"]), scalar(&item["type"])),
    }
}

fn histogram_text(text: &mut String, name: &str, histogram: &Value) {
    let _ = writeln!(text, "  {name}");
    let facts = histogram.as_object().into_iter().flatten().filter(|(name, _)| *name != "buckets");
    let line = facts.map(|(name, value)| format!("{name} {}", scalar(value))).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "    {line}");
    let buckets = histogram["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    let most = buckets.iter().filter_map(|bucket| bucket["count"].as_u64()).max().unwrap_or(1).max(1);
    for bucket in buckets {
        let count = bucket["count"].as_u64().unwrap_or_default();
        let bar = usize::try_from(count.saturating_mul(30).div_ceil(most)).unwrap_or_default().min(30);
        let up_to = scalar(&bucket["up_to"]);
        let _ = writeln!(text, "    up to {up_to:>14} {count:>14} {}", "#".repeat(bar));
    }
}
