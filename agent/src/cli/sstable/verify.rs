//! `helenus sstable verify`, and what `helenus verify` does on a node: every byte against its checksums.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use helenus_sstable::component::Component;
use helenus_sstable::cql::wire::hex;
use helenus_sstable::verify::report::Severity;
use serde::Serialize;

use super::super::{Global, output};
use crate::error::Outcome;
use crate::inspect::reader::Buffers;
use crate::inspect::{Nowhere, RowsSeen, SSTableFiles, inspect, inspect_rows};
use crate::manifest::model::Notice;
use crate::time::Stopwatch;

/// How closely SSTables are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Every byte against its checksum, and the files against each other.
    Checksum,
    /// And every partition and row.
    Rows,
}

impl Depth {
    /// As `--extended` says.
    pub fn of(extended: bool) -> Self {
        if extended { Self::Rows } else { Self::Checksum }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Rows => "rows",
        }
    }
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
    /// Only of the level `rows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<RowsSeen>,
}

#[derive(Debug, Serialize)]
struct Row {
    component: String,
    offset: Option<u64>,
    /// Key of the partition, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    severity: &'static str,
    what: String,
    expected: String,
    got: String,
    text: String,
}

#[derive(Serialize)]
struct Document<'a> {
    level: Depth,
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
pub fn verify(
    global: &Global,
    all: &[SSTableFiles],
    depth: Depth,
    what: &str,
    notices: &[Notice],
) -> anyhow::Result<Outcome> {
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
            match verdict(files, depth, &buffers) {
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
        level: depth,
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

fn verdict(files: &SSTableFiles, depth: Depth, buffers: &Buffers) -> anyhow::Result<Verdict> {
    let inspection = match depth {
        Depth::Checksum => inspect(files, buffers, &mut Nowhere)?,
        Depth::Rows => inspect_rows(files, buffers)?,
    };
    let rows = inspection.findings.iter().map(|finding| Row {
        component: finding.component.to_string(),
        offset: finding.offset,
        partition: finding.partition.as_deref().map(hex),
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
        rows: inspection.rows,
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
        for what in verdict.rows.iter().flat_map(|rows| &rows.not_checked) {
            let _ = writeln!(text, "not checked: {}/{}: {what}", verdict.directory, verdict.sstable);
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
        "{}{what}, {}{} read in {}: {} (level: {})",
        output::count(document.sstables as u64, "SSTable"),
        rows_seen(document),
        output::bytes(document.bytes),
        output::duration(document.seconds),
        match document.damaged {
            0 => "no damage".to_owned(),
            damaged => format!("{damaged} damaged"),
        },
        document.level.name(),
    );
    text
}

fn rows_seen(document: &Document<'_>) -> String {
    if document.level == Depth::Checksum {
        return String::new();
    }
    let seen = document.results.iter().filter_map(|verdict| verdict.rows.as_ref());
    let (partitions, rows) = seen.fold((0, 0), |sum, rows| (sum.0 + rows.partitions, sum.1 + rows.rows));
    format!("{}, {}, ", output::count(partitions, "partition"), output::count(rows, "row"))
}
