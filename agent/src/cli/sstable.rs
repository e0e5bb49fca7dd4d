//! `helenus sstable verify` and `helenus sstable metadata`: single SSTables, wherever they lie.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use helenus_sstable::component::Component;
use helenus_sstable::descriptor::FileName;
use helenus_sstable::statistics::Statistics;
use helenus_sstable::verify::report::Severity;
use serde::Serialize;
use serde_json::json;

use super::{Global, output};
use crate::error::{Outcome, usage};
use crate::inspect::reader::Buffers;
use crate::inspect::{Nowhere, SSTableFiles, inspect};
use crate::manifest::model::Notice;
use crate::time::Stopwatch;

#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every byte of the SSTables against their checksums, and their components against each other
    Verify(Paths),
    /// Show what Statistics.db says
    Metadata(Paths),
}

#[derive(Debug, Args)]
struct Paths {
    /// A component file, or a directory: of a table, a snapshot, a keyspace, a whole data directory
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub fn run(global: &Global, options: Options) -> anyhow::Result<Outcome> {
    match options.action {
        Action::Verify(Paths { paths }) => verify(global, &find_all(&paths)?, "", &[]),
        Action::Metadata(Paths { paths }) => metadata(global, &find_all(&paths)?),
    }
}

/// The SSTables that the paths name; a directory is searched to its bottom.
fn find_all(paths: &[PathBuf]) -> anyhow::Result<Vec<SSTableFiles>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
                let entry = entry.map_err(|error| usage(error.to_string()))?;
                if entry.file_type().is_dir() {
                    found.extend(SSTableFiles::list(entry.path())?);
                }
            }
        } else {
            let metadata = path.symlink_metadata().map_err(|error| usage(format!("{}: {error}", path.display())))?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let file = FileName::parse(name).map_err(|error| usage(format!("{}: {error}", path.display())))?;
            anyhow::ensure!(metadata.is_file(), "{}: not a regular file", path.display());
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            found
                .extend(SSTableFiles::list(directory)?.into_iter().filter(|files| files.descriptor == file.descriptor));
        }
        if found.len() == before {
            return Err(usage(format!("{}: no SSTables here", path.display())));
        }
    }
    Ok(found)
}

/// The verdict on one SSTable.
#[derive(Debug, Serialize)]
struct Verdict {
    sstable: String,
    directory: String,
    files: usize,
    bytes: u64,
    damaged: bool,
    checked: bool,
    findings: Vec<Row>,
    findings_dropped: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    component: String,
    offset: Option<u64>,
    severity: &'static str,
    what: String,
    expected: String,
    got: String,
    text: String,
}

#[derive(Serialize)]
struct Document<'a> {
    level: &'static str,
    sstables: usize,
    bytes: u64,
    damaged: usize,
    not_checked: usize,
    vanished: usize,
    seconds: f64,
    notices: &'a [Notice],
    results: &'a [Verdict],
}

/// Verifies SSTables on all cores and reports on them. `what` says what was looked at, `notices` what was met besides.
pub fn verify(global: &Global, all: &[SSTableFiles], what: &str, notices: &[Notice]) -> anyhow::Result<Outcome> {
    let watch = Stopwatch::start();
    let buffers = Buffers::default();
    let bar = output::progress(global, "verify");
    bar.set_length(all.iter().map(SSTableFiles::bytes).sum());
    let (next, vanished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(all.len().max(1));
    let work = || -> anyhow::Result<Vec<(usize, Verdict)>> {
        let mut verdicts = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(files) = all.get(number) else { return Ok(verdicts) };
            match verdict(files, &buffers) {
                Ok(verdict) => verdicts.push((number, verdict)),
                // On a running node SSTables are compacted away under our eyes; what replaced them is proven next time.
                Err(_) if !files.path(&Component::Data).exists() => {
                    vanished.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
            bar.inc(files.bytes());
        }
    };
    let mut verdicts = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let verified = worker.join().map_err(|_| anyhow::anyhow!("a reader failed"))??;
            verdicts.extend(verified);
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    let results: Vec<Verdict> = verdicts.into_values().collect();
    let damaged = results.iter().filter(|verdict| verdict.damaged).count();
    let not_checked = results.iter().filter(|verdict| !verdict.checked).count();
    let document = Document {
        level: "checksum",
        sstables: results.len(),
        bytes: results.iter().map(|verdict| verdict.bytes).sum(),
        damaged,
        not_checked,
        vanished: vanished.into_inner(),
        seconds: watch.seconds(),
        notices,
        results: &results,
    };
    output::result(global, &document, || text(&document, what))?;
    let needs_look = damaged > 0 || not_checked > 0 || notices.iter().any(|notice| notice.needs_look);
    Ok(if needs_look { Outcome::Findings } else { Outcome::Done })
}

fn verdict(files: &SSTableFiles, buffers: &Buffers) -> anyhow::Result<Verdict> {
    let inspection = inspect(files, buffers, &mut Nowhere)?;
    let rows = inspection.findings.iter().map(|finding| Row {
        component: finding.component.to_string(),
        offset: finding.offset,
        severity: match finding.severity {
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        },
        what: finding.what.clone(),
        expected: finding.expected.clone(),
        got: finding.got.clone(),
        text: finding.to_string(),
    });
    Ok(Verdict {
        sstable: files.descriptor.to_string(),
        directory: files.directory.display().to_string(),
        files: files.lengths.len(),
        bytes: inspection.bytes,
        damaged: inspection.is_damaged(),
        checked: files.descriptor.version.is_parsable(),
        findings: rows.collect(),
        findings_dropped: inspection.findings_dropped,
    })
}

fn text(document: &Document<'_>, what: &str) -> String {
    let mut text = String::new();
    for verdict in document.results {
        for finding in &verdict.findings {
            let path = Path::new(&verdict.directory).join(format!("{}-{}", verdict.sstable, finding.text));
            let _ = writeln!(text, "{}: {}", finding.severity, path.display());
        }
        if verdict.findings_dropped > 0 {
            let _ = writeln!(text, "  and {} more of {}", verdict.findings_dropped, verdict.sstable);
        }
        if !verdict.checked {
            let _ = writeln!(text, "not checked (unknown version): {}/{}", verdict.directory, verdict.sstable);
        }
    }
    for notice in document.notices {
        let _ = writeln!(text, "note: {}: {}", notice.path, notice.message);
    }
    if document.vanished > 0 {
        let _ = writeln!(text, "{} compacted away meanwhile", output::count(document.vanished as u64, "SSTable"));
    }
    let _ = writeln!(
        text,
        "{}{what}, {} read in {}: {} (level: checksum)",
        output::count(document.sstables as u64, "SSTable"),
        output::bytes(document.bytes),
        output::duration(document.seconds),
        match document.damaged {
            0 => "no damage".to_owned(),
            damaged => format!("{damaged} damaged"),
        }
    );
    text
}

fn metadata(global: &Global, all: &[SSTableFiles]) -> anyhow::Result<Outcome> {
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
