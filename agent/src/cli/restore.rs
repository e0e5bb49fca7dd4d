//! `helenus restore`.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{Global, IdentityArgs, SelectionArgs, output};
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Wanted};
use crate::config::Config;
use crate::error::Outcome;
use crate::manifest::id::Kind;
use crate::restore::Plan;
use crate::restore::fetch::Fetcher;
use crate::restore::place::{Journal, Restore};
use crate::selection::SelectionText;
use crate::store;
use crate::time::Stopwatch;

#[derive(Debug, Args)]
pub struct Options {
    /// Id of the backup, or `latest`
    backup: String,
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL")]
    repository: String,
    /// Directory to restore into: it becomes a data directory for Cassandra
    #[arg(long, value_name = "DIR")]
    to_dir: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Also restore SSTables that were damaged when they were backed up
    #[arg(long)]
    include_damaged: bool,
    /// No Cassandra uses the directory, though that cannot be seen from here
    #[arg(long)]
    cassandra_is_stopped: bool,
    /// Show the plan; change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    resumes: bool,
    repository: String,
    disk_needed: u64,
    steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { backup, repository, to_dir, identity, selection, include_damaged, cassandra_is_stopped, dry_run } =
        options;
    let store = store::open(&config.repository(&repository)?).await?;
    Repository::open(store.as_ref()).await?;
    let selection = selection.parse(&SelectionText::default())?;
    let catalog = Catalog::of(store.as_ref());
    let wanted = Wanted { cluster: identity.cluster, host_id: identity.host_id };
    let found = catalog.find(&backup, &wanted).await?;
    if backup == "latest" && found.facts.kind == Kind::Selected {
        let newest_full =
            catalog.backups_of(&found.node).await?.into_iter().rfind(|entry| entry.facts.kind == Kind::Full);
        let newest_full = newest_full.map_or("there is none of all tables".to_owned(), |full| {
            format!("the newest of all tables is {}", full.id)
        });
        output::note(global, &format!("the latest backup, {}, has only selected tables; {newest_full}", found.id));
    }
    let manifest = catalog
        .manifest(&found)
        .await
        .with_context(|| format!("backup {} cannot be read; `helenus list` shows the others", found.id))?;
    let target = std::path::absolute(&to_dir)?;
    let plan = Plan::make(catalog, &manifest, &selection, include_damaged, &target).await?;
    let journal = Journal {
        backup_id: plan.backup_id.clone(),
        node: manifest.node_name(),
        selection: selection.text().clone(),
        include_damaged,
    };
    let restore = Restore::prepare(plan, journal, cassandra_is_stopped)?;
    let resumes = restore.resumes();
    let watch = Stopwatch::start();
    let (plan, seconds) = if dry_run {
        (restore.into_plan(), None)
    } else {
        let fetcher = Fetcher::new(store.clone());
        let bar = output::progress(global, "restore");
        bar.set_length(restore.plan().total.bytes);
        let progress = fetcher.progress.clone();
        let shown = bar.clone();
        let show = tokio::spawn(async move {
            loop {
                shown.set_position(progress.load(Ordering::Relaxed));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let outcome = restore.run(Arc::clone(&store), &fetcher, config.parallel).await;
        show.abort();
        bar.finish_and_clear();
        (outcome?, Some(watch.seconds()))
    };
    let steps = steps(&plan, &manifest.node_name().to_string());
    let document = Document {
        dry_run,
        resumes,
        repository: store.to_string(),
        disk_needed: plan.disk_needed(),
        steps,
        seconds,
        plan: &plan,
    };
    output::result(global, &document, || text(&document))?;
    Ok(Outcome::Done)
}

fn steps(plan: &Plan, node: &str) -> Vec<String> {
    let target = plan.target.display();
    let mut steps = vec![
        format!("fetch {} and prove every byte", output::count(plan.total.files, "file")),
        format!("place {} below {target}", output::count(plan.tables.len() as u64, "table")),
    ];
    if plan.tables.iter().any(|table| table.keyspace == "system") {
        steps.push(format!(
            "then, by you: start a Cassandra whose data_file_directories is {target}; it will be {node}, so the old \
             node must never run again beside it"
        ));
    } else {
        steps.push("then, by you: create the schema on the target cluster and load the tables".to_owned());
    }
    steps
}

fn text(document: &Document<'_>) -> String {
    let plan = document.plan;
    let mut text = String::new();
    if document.dry_run {
        let rows = plan.tables.iter().map(|table| {
            let amount = &table.amount;
            let name = format!("{}/{}", table.keyspace, table.directory);
            vec![name, amount.sstables.to_string(), amount.files.to_string(), output::bytes(amount.bytes)]
        });
        text += &output::table(&["TABLE", ">SSTABLES", ">FILES", ">SIZE"], rows);
        let _ = writeln!(
            text,
            "disk: {} needed, {} free",
            output::bytes(document.disk_needed),
            output::bytes(plan.free_bytes)
        );
        for (number, step) in document.steps.iter().enumerate() {
            let _ = writeln!(text, "{}. {step}", number + 1);
        }
        let _ = writeln!(text, "nothing was changed");
    } else {
        let _ = writeln!(
            text,
            "restored {}: {}, {} into {} in {}; every byte proven",
            plan.backup_id,
            output::count(plan.total.sstables, "SSTable"),
            output::bytes(plan.total.bytes),
            plan.target.display(),
            output::duration(document.seconds.unwrap_or(0.0))
        );
        for step in document.steps.iter().skip(2) {
            let _ = writeln!(text, "{step}");
        }
    }
    for sstable in &plan.left_out {
        let _ = writeln!(
            text,
            "left out, damaged when it was backed up: {sstable} (--include-damaged restores it as it was)"
        );
    }
    text
}
