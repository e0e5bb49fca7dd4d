//! `helenus backup`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use helenus_sstable::directory::is_valid_snapshot_tag;
use serde::Serialize;

use super::{Global, NodeArgs, SelectionArgs, output, show};
use crate::backup::{Forecast, Job};
use crate::config::Config;
use crate::error::{Outcome, Reported, usage};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::snapshot::{Snapshot, TRANSIENT_PREFIX};
use crate::store;
use crate::time::Stopwatch;

#[derive(Debug, Args)]
pub struct Options {
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL")]
    repository: String,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Send everything again, under new keys: this backup and the next ones share nothing with the earlier ones
    #[arg(long)]
    new: bool,
    /// Also keep a complete snapshot under this tag, which nodetool lists and clears
    #[arg(long, value_name = "TAG")]
    keep_snapshot: Option<String>,
    /// Also back up the directories of dropped tables
    #[arg(long)]
    include_dropped: bool,
    /// Say what would be stored; change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    repository: String,
    seconds: f64,
    kept_snapshot: Option<&'a str>,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { repository, node, selection, new, keep_snapshot, include_dropped, dry_run } = options;
    if let Some(tag) = &keep_snapshot
        && (!is_valid_snapshot_tag(tag) || tag.starts_with(TRANSIENT_PREFIX))
    {
        return Err(usage(format!("`{tag}` is no tag for a snapshot: no slash, and not `{TRANSIENT_PREFIX}…`")));
    }
    let kept = keep_snapshot.clone();
    let job = Job {
        node: node.find(config)?,
        selection: selection.parse(&config.selection)?,
        include_dropped,
        new_epoch: new,
        keep_snapshot,
        compress: config.compress,
        parallel: config.parallel,
        min_free: config.min_free,
        state_dir: config.state_dir.clone(),
    };
    let location = config.repository(&repository)?;
    if let Some(directory) = location.directory() {
        refuse_inside(directory, &job.node.data_directories)?;
    }
    let store = store::open(&location).await?;
    if dry_run {
        let forecast = job.forecast(store.clone()).await?;
        return forecasted(global, &store.to_string(), &forecast);
    }
    let watch_clock = Stopwatch::start();
    let manifest = job.run(store.clone(), |snapshot, progress| watch(global, snapshot, progress)).await?;
    let document = Document {
        repository: store.to_string(),
        seconds: watch_clock.seconds(),
        kept_snapshot: kept.as_deref(),
        manifest: &manifest,
    };
    output::result(global, &document, || text(&document))?;
    let lost: Vec<String> = manifest
        .tables
        .iter()
        .filter(|table| table.amount.sstables > 0)
        .filter(|table| {
            let damaged = manifest.damaged.iter();
            let damaged = damaged.filter(|d| d.keyspace == table.keyspace && d.directory == table.directory).count();
            damaged as u64 == table.amount.sstables
        })
        .map(|table| format!("{}.{}", table.keyspace, table.table))
        .collect();
    if !lost.is_empty() {
        let message =
            format!("all SSTables of {} are damaged: a restore would bring nothing of it back", lost.join(", "));
        return Err(Reported(message).into());
    }
    let needs_look = !manifest.damaged.is_empty() || manifest.notices.iter().any(|notice| notice.needs_look);
    Ok(if needs_look { Outcome::Findings } else { Outcome::Done })
}

/// A repository within a data directory would be taken for a keyspace, and fill the disk that it should save.
fn refuse_inside(repository: &Path, data_directories: &[PathBuf]) -> anyhow::Result<()> {
    let path = std::path::absolute(repository)?;
    let path = path.ancestors().find_map(|above| std::fs::canonicalize(above).ok()).unwrap_or(path);
    match data_directories.iter().find(|directory| path.starts_with(directory)) {
        None => Ok(()),
        Some(directory) => Err(usage(format!(
            "the repository {} lies within the data directory {}: keep it elsewhere",
            repository.display(),
            directory.display()
        ))),
    }
}

fn text(document: &Document<'_>) -> String {
    let manifest = document.manifest;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "backup {} of {}: {}, {} in {}",
        manifest.backup_id,
        manifest.node_name(),
        output::count(manifest.total.sstables, "SSTable"),
        output::bytes(manifest.total.bytes),
        output::duration(document.seconds)
    );
    let _ = match (&manifest.based_on, manifest.added.files) {
        (Some(base), 0) => writeln!(text, "nothing new since {base}: nothing was read or sent"),
        (Some(base), _) => writeln!(
            text,
            "new since {base}: {}, {} ({} stored)",
            output::count(manifest.added.sstables, "SSTable"),
            output::bytes(manifest.added.bytes),
            output::bytes(manifest.added.stored_bytes)
        ),
        (None, _) => writeln!(text, "first of its epoch: {} stored", output::bytes(manifest.added.stored_bytes)),
    };
    if let Some(tag) = document.kept_snapshot {
        let _ = writeln!(
            text,
            "snapshot {tag} of these tables is kept on the node; `nodetool clearsnapshot -t {tag}` removes it"
        );
    }
    text += &show::remarks(manifest);
    text
}

/// Shows the bytes as they are read.
fn watch(global: &Global, snapshot: &Snapshot, progress: Arc<Progress>) {
    let bar = output::progress(global, "backup");
    bar.set_length(snapshot.tables.iter().map(|table| table.fresh_bytes).sum());
    tokio::spawn(async move {
        while Arc::strong_count(&progress) > 1 {
            bar.set_position(progress.bytes.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bar.finish_and_clear();
    });
}

#[derive(Serialize)]
struct ForecastDocument {
    dry_run: bool,
    repository: String,
    based_on: Option<String>,
    new_sstables: u64,
    new_bytes: u64,
    tables: Vec<ForecastRow>,
    dropped: Vec<crate::manifest::model::DroppedTable>,
    notices: Vec<crate::manifest::model::Notice>,
}

#[derive(Serialize)]
struct ForecastRow {
    keyspace: String,
    table: String,
    directory: String,
    sstables: usize,
    new_sstables: usize,
    new_bytes: u64,
}

fn forecasted(global: &Global, repository: &str, forecast: &Forecast) -> anyhow::Result<Outcome> {
    let snapshot = &forecast.snapshot;
    let rows = snapshot.tables.iter().map(|table| ForecastRow {
        keyspace: table.table.keyspace.clone(),
        table: table.table.directory.table.clone(),
        directory: table.table.directory_name(),
        sstables: table.known.len() + table.fresh.len(),
        new_sstables: table.fresh.len(),
        new_bytes: table.fresh_bytes,
    });
    let tables: Vec<ForecastRow> = rows.collect();
    if tables.is_empty() && snapshot.dropped.is_empty() {
        anyhow::bail!("the selection matches no table of this node");
    }
    let document = ForecastDocument {
        dry_run: true,
        repository: repository.to_owned(),
        based_on: forecast.based_on.as_ref().map(ToString::to_string),
        new_sstables: tables.iter().map(|row| row.new_sstables as u64).sum(),
        new_bytes: tables.iter().map(|row| row.new_bytes).sum(),
        tables,
        dropped: snapshot.dropped.clone(),
        notices: snapshot.notices.clone(),
    };
    output::result(global, &document, || {
        let rows = document.tables.iter().map(|row| {
            let name = format!("{}.{}", row.keyspace, row.table);
            vec![name, row.sstables.to_string(), row.new_sstables.to_string(), output::bytes(row.new_bytes)]
        });
        let mut text = output::table(&["TABLE", ">SSTABLES", ">NEW", ">BYTES"], rows);
        let _ = writeln!(
            text,
            "would build upon {} and store {}, {}; nothing was changed",
            document.based_on.as_deref().unwrap_or("nothing"),
            output::count(document.new_sstables, "SSTable"),
            output::bytes(document.new_bytes)
        );
        text + &show::left_out(&document.dropped, &document.notices)
    })?;
    Ok(Outcome::Done)
}
