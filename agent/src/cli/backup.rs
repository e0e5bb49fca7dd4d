//! `helenus backup`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use helenus_sstable::directory::is_valid_snapshot_tag;
use serde::Serialize;

use super::several::{self, Repositories};
use super::{Global, NodeArgs, SelectionArgs, output, show};
use crate::backup::{Forecast, Foundation, Job};
use crate::config::Config;
use crate::error::{Outcome, Reported, usage};
use crate::manifest::model::{DroppedTable, Notice, TableEntry};
use crate::manifest::{BackupId, Manifest};
use crate::progress::Progress;
use crate::snapshot::{Snapshot, TRANSIENT_PREFIX};
use crate::store::Location;
use crate::time::Stopwatch;

#[derive(Debug, Args)]
pub struct Options {
    /// Repository: a name from the configuration, a path, or a URL; may be repeated: what is read is stored in each
    #[arg(long = "repository", value_name = "NAME-OR-URL", required = true)]
    repositories: Vec<String>,
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

/// What a backup is in one repository. With one `--repository` it is the result.
#[derive(Serialize)]
struct Document {
    repository: String,
    seconds: f64,
    kept_snapshot: Option<String>,
    #[serde(flatten)]
    manifest: Manifest,
}

/// What is told before the repositories, if there are several.
#[derive(Serialize)]
struct Head {
    backup_id: Option<BackupId>,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { repositories, node, selection, new, keep_snapshot, include_dropped, dry_run } = options;
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
        lock_wait: config.lock_wait,
        state_dir: config.state_dir.clone(),
    };
    let locations = repositories.iter().map(|name| config.repository(name));
    let locations: Vec<Location> = locations.collect::<anyhow::Result<_>>()?;
    for directory in locations.iter().filter_map(Location::directory) {
        refuse_inside(directory, &job.node.data_directories)?;
    }
    let repositories = Repositories::open(&locations).await?;
    if dry_run {
        let forecast = job.forecast(repositories.stores()).await?;
        return forecasted(global, repositories, forecast);
    }
    let clock = Stopwatch::start();
    let manifests = job.run(repositories.stores(), |snapshot, progress| watch(global, snapshot, progress)).await?;
    let seconds = clock.seconds();
    let document = |repository: &str, manifest| Document {
        repository: repository.to_owned(),
        seconds,
        kept_snapshot: kept.clone(),
        manifest,
    };
    let done = repositories.with(manifests).into_iter().map(|(name, manifest)| {
        let done = manifest.map(|manifest| document(&name, manifest));
        (name, done)
    });
    let done: Vec<_> = done.collect();
    let id = done.iter().find_map(|(_, done)| Some(done.as_ref().ok()?.manifest.backup_id.clone()));
    let done = several::print(global, Head { backup_id: id }, done, text)?;
    let lost: BTreeSet<String> = done.iter().flat_map(|done| lost_tables(&done.manifest)).collect();
    if !lost.is_empty() {
        let lost = lost.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("all SSTables of {lost} are damaged: a restore would bring nothing of it back");
        return Err(Reported(message).into());
    }
    let needs_look =
        |manifest: &Manifest| !manifest.damaged.is_empty() || manifest.notices.iter().any(|notice| notice.needs_look);
    Ok(if done.iter().any(|done| needs_look(&done.manifest)) { Outcome::Findings } else { Outcome::Done })
}

/// Tables of which every SSTable is damaged.
fn lost_tables(manifest: &Manifest) -> Vec<String> {
    let damaged = |table: &TableEntry| {
        let damaged = manifest.damaged.iter();
        damaged.filter(|d| d.keyspace == table.keyspace && d.directory == table.directory).count() as u64
    };
    let tables = manifest.tables.iter();
    let lost = tables.filter(|table| table.amount.sstables > 0 && damaged(table) == table.amount.sstables);
    lost.map(|table| format!("{}.{}", table.keyspace, table.table)).collect()
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

fn text(document: &Document) -> String {
    let manifest = &document.manifest;
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
    if let Some(tag) = &document.kept_snapshot {
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
    dropped: Vec<DroppedTable>,
    notices: Vec<Notice>,
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

/// What is told before the repositories, if there are several.
#[derive(Serialize)]
struct ForecastHead {
    dry_run: bool,
}

fn forecasted(global: &Global, repositories: Repositories, forecast: Forecast) -> anyhow::Result<Outcome> {
    let Forecast { snapshot, repositories: foundations } = forecast;
    if snapshot.tables.is_empty() && snapshot.dropped.is_empty() {
        anyhow::bail!("the selection matches no table of this node");
    }
    let numbered = foundations.into_iter().enumerate();
    let foundations = numbered.map(|(number, foundation)| Ok((number, foundation?))).collect();
    let documents = repositories.with(foundations).into_iter().map(|(name, foundation)| {
        let document = foundation.map(|(number, foundation)| forecast_document(&name, number, foundation, &snapshot));
        (name, document)
    });
    several::print(global, ForecastHead { dry_run: true }, documents.collect(), forecast_text)?;
    Ok(Outcome::Done)
}

/// The forecast for the repository of this number.
fn forecast_document(name: &str, number: usize, foundation: Foundation, snapshot: &Snapshot) -> ForecastDocument {
    let rows = snapshot.tables.iter().map(|table| {
        let has = &table.repositories[number];
        ForecastRow {
            keyspace: table.table.keyspace.clone(),
            table: table.table.directory.table.clone(),
            directory: table.table.directory_name(),
            sstables: has.known.len() + has.lacking.len(),
            new_sstables: has.lacking.len(),
            new_bytes: has.lacking_bytes,
        }
    });
    let tables: Vec<ForecastRow> = rows.collect();
    ForecastDocument {
        dry_run: true,
        repository: name.to_owned(),
        based_on: foundation.based_on.as_ref().map(ToString::to_string),
        new_sstables: tables.iter().map(|row| row.new_sstables as u64).sum(),
        new_bytes: tables.iter().map(|row| row.new_bytes).sum(),
        tables,
        dropped: snapshot.dropped.clone(),
        notices: [snapshot.notices.clone(), foundation.notices].concat(),
    }
}

fn forecast_text(document: &ForecastDocument) -> String {
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
}
