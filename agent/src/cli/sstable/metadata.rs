//! `helenus sstable metadata`: what `Statistics.db` says.

use std::fmt::Write;

use anyhow::Context as _;
use helenus_sstable::component::Component;
use helenus_sstable::statistics::Statistics;
use serde_json::json;

use super::super::{Global, output};
use crate::error::Outcome;
use crate::inspect::SSTableFiles;

pub fn run(global: &Global, all: &[SSTableFiles]) -> anyhow::Result<Outcome> {
    let mut documents = Vec::new();
    let mut outcome = Outcome::Done;
    for files in all {
        let path = files.path(&Component::Statistics);
        let name = files.directory.join(files.descriptor.to_string()).display().to_string();
        let parsed = std::fs::read(&path).with_context(|| path.display().to_string()).and_then(|bytes| {
            Ok(Statistics::parse(&bytes, files.descriptor.version)
                .map_err(|error| error.in_component(path.display()))?)
        });
        documents.push(match parsed {
            Ok(statistics) => (name, describe(files, &statistics)),
            Err(error) => {
                outcome = Outcome::Findings;
                (name, json!({ "error": format!("{error:#}") }))
            }
        });
    }
    let list: Vec<_> = documents
        .iter()
        .map(|(name, document)| {
            let mut document = document.clone();
            document["sstable"] = json!(name);
            document
        })
        .collect();
    output::result(global, &json!({ "sstables": list }), || {
        documents.iter().fold(String::new(), |text, (name, document)| text + name + "\n" + &fields(document, 1) + "\n")
    })?;
    Ok(outcome)
}

/// Every field of Statistics.db that people ask for, in the order of the file.
fn describe(files: &SSTableFiles, statistics: &Statistics) -> serde_json::Value {
    let uuid = |bytes: [u8; 16]| uuid::Uuid::from_bytes(bytes).to_string();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let mut document = json!({
        "version": files.descriptor.version.to_string(),
        "format": files.descriptor.format.to_string(),
        "bytes": files.bytes(),
    });
    if let Some(validation) = &statistics.validation {
        document["partitioner"] = json!(validation.partitioner);
        document["bloom_filter_fp_chance"] = json!(validation.bloom_filter_fp_chance);
    }
    if let Some(stats) = &statistics.stats {
        let position = |position: helenus_sstable::statistics::stats::Position| json!({ "segment_id": position.segment_id, "position": position.position });
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
        document["level"] = json!(stats.level);
        document["repaired_at_ms"] = json!(stats.repaired_at);
        document["pending_repair"] = json!(stats.pending_repair.map(uuid));
        document["is_transient"] = json!(stats.is_transient);
        document["originating_host_id"] = json!(stats.originating_host_id.map(uuid));
        document["has_partition_level_deletions"] = json!(stats.has_partition_level_deletions);
        document["first_key"] = json!(stats.first_key.as_deref().map(hex));
        document["last_key"] = json!(stats.last_key.as_deref().map(hex));
        document["token_space_coverage"] = json!(stats.token_space_coverage);
        document["commit_log_intervals"] = stats
            .commit_log_intervals
            .iter()
            .map(|(from, to)| json!({ "from": position(*from), "to": position(*to) }))
            .collect();
    }
    if let Some(header) = &statistics.header {
        let columns = |columns: &[helenus_sstable::statistics::header::Column]| -> serde_json::Value {
            let column = |column: &helenus_sstable::statistics::header::Column| json!({ "name": String::from_utf8_lossy(&column.name), "type": column.class });
            columns.iter().map(column).collect()
        };
        document["partition_key_type"] = json!(header.partition_key_type);
        document["clustering_types"] = json!(header.clustering_types);
        document["static_columns"] = columns(&header.static_columns);
        document["regular_columns"] = columns(&header.regular_columns);
    }
    document
}

/// A document as indented lines.
fn fields(document: &serde_json::Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let Some(object) = document.as_object() else { return String::new() };
    object.iter().fold(String::new(), |mut text, (name, value)| {
        let value = match value {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(value) => value.clone(),
            serde_json::Value::Array(items) if items.is_empty() => "none".to_owned(),
            other => other.to_string(),
        };
        let _ = writeln!(text, "{indent}{name:<30}{value}");
        text
    })
}
