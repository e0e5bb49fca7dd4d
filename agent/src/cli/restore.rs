//! `helenus restore`: into a directory, into a stopped node, and what ends the latter.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::follow::{Follow, until_stopped, write_document};
use super::restore_report as report;
use super::{Global, IdentityArgs, NodeArgs, SelectionArgs, output};
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Entry, Wanted};
use crate::config::Config;
use crate::error::{Outcome, usage};
use crate::manifest::Manifest;
use crate::manifest::id::Kind;
use crate::manifest::model::Amount;
use crate::restore::Plan;
use crate::restore::abort::abort;
use crate::restore::fetch::Fetcher;
use crate::restore::finish::finish;
use crate::restore::in_place::InPlace;
use crate::restore::journal::Workspace;
use crate::restore::judge::{Done, Lost};
use crate::restore::node_plan::{self, NodePlan};
use crate::restore::place::Restore;
use crate::restore::plan::Scope;
use crate::restore::release::Release;
use crate::restore::rename::Renames;
use crate::restore::request::Request;
use crate::selection::{Selection, SelectionText};
use crate::store::{self, Store};
use crate::time::Stopwatch;

#[derive(Debug, Args)]
pub struct Options {
    /// Id of the backup, or `latest`
    #[arg(required_unless_present_any = ["before", "abort", "finish"])]
    backup: Option<String>,
    /// The newest backup that began at or before this moment: RFC 3339, or YYYYmmddHHMMSS in UTC
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse, conflicts_with = "backup")]
    before: Option<Timestamp>,
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL", required_unless_present_any = ["abort", "finish"])]
    repository: Option<String>,
    /// Directory to restore into: it becomes a data directory for Cassandra
    #[arg(long, value_name = "DIR", required_unless_present_any = ["in_place", "abort", "finish"])]
    to_dir: Option<PathBuf>,
    /// Restore into the data directories of a stopped node; what was there waits for --finish or --abort
    #[arg(long, conflicts_with = "to_dir")]
    in_place: bool,
    /// Remove what was there before a restore in place, once each file is proven to be as in the backup
    #[arg(long, conflicts_with_all = ["backup", "before", "repository", "to_dir", "in_place", "abort"])]
    finish: bool,
    /// Put back what was there before a restore in place
    #[arg(long, conflicts_with_all = ["backup", "before", "repository", "to_dir", "in_place"])]
    abort: bool,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Restore under another name, KEYSPACE=NEW or KEYSPACE.TABLE=NEW.TABLE; may be repeated. Without --keyspace and
    /// --table, nothing else is restored
    #[arg(long, value_name = "FROM=TO")]
    rename: Vec<String>,
    /// In place: this node takes the place of the backup's, which is dead; it gets its host id and its tokens
    #[arg(long, requires = "in_place")]
    replace: bool,
    /// Leave SSTables marked as repaired: all replicas are restored to the same moment
    #[arg(long)]
    keep_repaired: bool,
    /// Also restore SSTables that were damaged when they were backed up
    #[arg(long)]
    include_damaged: bool,
    /// Release of the Cassandra that will read the files [default: in place, what its files tell]
    #[arg(long, value_name = "RELEASE")]
    cassandra_version: Option<Release>,
    /// No Cassandra uses the directories, though that cannot be seen from here
    #[arg(long)]
    cassandra_is_stopped: bool,
    /// Write how far the restore is to this file, every two seconds, as JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["finish", "abort", "dry_run"])]
    heartbeat_file: Option<PathBuf>,
    /// Write how the restore ended to this file, as JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["finish", "abort", "dry_run"])]
    done_file: Option<PathBuf>,
    /// Shell command to run after a restore that did not fail; it knows $HELENUS_BACKUP_ID and $HELENUS_OUTCOME
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["finish", "abort", "dry_run"])]
    hook: Option<String>,
    /// With --finish: let go of the old files although some SSTables could not be restored
    #[arg(long, requires = "finish")]
    accept_loss: bool,
    /// Show the plan; change nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    if options.abort || options.finish {
        return end(global, config, options).await;
    }
    let ended = restore(global, config, &options).await;
    let ended = ended.and_then(|ended| {
        options.hook.as_ref().map_or(Ok(()), |hook| tokio::task::block_in_place(|| run_hook(hook, &ended)))?;
        Ok(ended)
    });
    if let Some(path) = &options.done_file {
        let document = DoneFile {
            time: crate::time::rfc3339(crate::time::now()),
            outcome: ended.as_ref().map_or("failed", |ended| word(ended.outcome)),
            backup_id: ended.as_ref().ok().map(|ended| ended.backup_id.as_str()),
            error: ended.as_ref().err().map(|error| format!("{error:#}")),
        };
        write_document(path, &document)?;
    }
    Ok(ended?.outcome)
}

async fn restore(global: &Global, config: &Config, options: &Options) -> anyhow::Result<Ended> {
    let repository = options.repository.as_deref().unwrap_or_default();
    let store = store::open(&config.repository(repository)?).await?;
    Repository::open(store.as_ref()).await?;
    let job = Job { global, config, store, options };
    match &options.to_dir {
        Some(to_dir) => job.restore_directory(std::path::absolute(to_dir)?).await,
        None => job.restore_node().await,
    }
}

/// What both kinds of restore need.
struct Job<'a> {
    global: &'a Global,
    config: &'a Config,
    store: Arc<dyn Store>,
    options: &'a Options,
}

/// The backup and what of it is wanted.
struct Chosen {
    manifest: Manifest,
    selection: Selection,
    renames: Renames,
    request: Request,
}

impl Job<'_> {
    /// Finds the backup. The newest one, in place, is that of the node itself unless another node is named.
    async fn choose(&self, own: Option<uuid::Uuid>) -> anyhow::Result<Chosen> {
        let Options { backup, before, node, selection, rename, include_damaged, replace, keep_repaired, .. } =
            self.options;
        let selection = selection.parse(&SelectionText::default())?;
        let renames = Renames::parse(rename)?;
        let catalog = Catalog::of(self.store.as_ref());
        let mut wanted = Wanted { cluster: node.identity.cluster.clone(), host_id: node.identity.host_id };
        let is_newest = before.is_some() || backup.as_deref() == Some("latest");
        if is_newest && wanted.cluster.is_none() && wanted.host_id.is_none() && !replace {
            let has_own = catalog.backups().await?.iter().any(|entry| Some(entry.node.host_id) == own);
            wanted.host_id = own.filter(|_| has_own);
        }
        let found = match (before, backup) {
            (Some(moment), _) => catalog.find_before(*moment, &wanted).await?,
            (None, Some(backup)) => catalog.find(backup, &wanted).await?,
            (None, None) => return Err(usage("name a backup, or a moment with --before")),
        };
        if is_newest {
            self.note_selected(catalog, &found).await?;
        }
        let manifest = catalog
            .manifest(&found)
            .await
            .with_context(|| format!("backup {} cannot be read; `helenus list` shows the others", found.id))?;
        let request = Request {
            backup_id: manifest.backup_id.to_string(),
            node: manifest.node_name(),
            selection: selection.text().clone(),
            include_damaged: *include_damaged,
            renames: renames.texts(),
            replace: *replace,
            keep_repaired: *keep_repaired,
        };
        Ok(Chosen { manifest, selection, renames, request })
    }

    /// Says so if the newest backup has not all tables, and which one has.
    async fn note_selected(&self, catalog: Catalog<'_>, found: &Entry) -> anyhow::Result<()> {
        if found.facts.kind != Kind::Selected {
            return Ok(());
        }
        let newest_full = catalog
            .backups_of(&found.node)
            .await?
            .into_iter()
            .rfind(|entry| entry.facts.kind == Kind::Full && entry.id <= found.id);
        let newest_full = newest_full.map_or("there is none of all tables".to_owned(), |full| {
            format!("the newest of all tables is {}", full.id)
        });
        output::note(self.global, &format!("the latest backup, {}, has only selected tables; {newest_full}", found.id));
        Ok(())
    }

    async fn restore_directory(&self, target: PathBuf) -> anyhow::Result<Ended> {
        let Chosen { manifest, selection, renames, request } = self.choose(None).await?;
        let catalog = Catalog::of(self.store.as_ref());
        let scope = Scope {
            manifest: &manifest,
            selection: &selection,
            renames: &renames,
            include_damaged: self.options.include_damaged,
            release: self.options.cassandra_version,
        };
        let plan = Plan::make(catalog, &scope, &target).await?;
        let restore = Restore::prepare(plan, request, self.options.cassandra_is_stopped)?;
        let resumes = restore.resumes();
        let watch = Stopwatch::start();
        let (plan, done) = if self.options.dry_run {
            (restore.into_plan(), None)
        } else {
            let (fetcher, follow) = self.follow(restore.plan().total)?;
            let run = restore.run(Arc::clone(&self.store), &fetcher, self.config.parallel);
            let outcome = until_stopped(run).await;
            follow.end();
            let (plan, done) = outcome?;
            (plan, Some(done))
        };
        let document = report::Document {
            dry_run: self.options.dry_run,
            resumes,
            repository: self.store.to_string(),
            disk_needed: plan.disk_needed(),
            steps: report::steps(&plan, &manifest.node_name().to_string()),
            seconds: done.as_ref().map(|_| watch.seconds()),
            plan: &plan,
            done: done.as_ref(),
        };
        output::result(self.global, &document, || report::text(&document))?;
        let lost = done.as_ref().map_or(&plan.lost_tables, |done: &Done| &done.lost);
        Ok(Ended { backup_id: plan.backup_id.clone(), outcome: outcome(lost) })
    }

    async fn restore_node(&self) -> anyhow::Result<Ended> {
        let options = self.options;
        let directories = options.node.data_directories(self.config)?;
        let begun = Workspace::find(&directories)?;
        let watch = Stopwatch::start();
        let (restore, resumes) = match begun {
            Some(workspace) => {
                // What the files of the node say now is half one node and half the other.
                let own = workspace.journal.request.node.host_id;
                let request = self.choose(Some(own)).await?.request;
                (InPlace::resume(workspace, &request)?, true)
            }
            None => {
                let (cluster, local_system) = options.node.own(self.config, &directories)?;
                let target = node_plan::Target::look(directories, cluster, local_system)?;
                let Chosen { manifest, selection, renames, request } = self.choose(target.host_id).await?;
                let IdentityArgs { cluster, host_id } = options.node.identity.clone();
                target.refuse_foreign(&manifest, &Wanted { cluster, host_id }, options.replace)?;
                let scope = Scope {
                    manifest: &manifest,
                    selection: &selection,
                    renames: &renames,
                    include_damaged: options.include_damaged,
                    release: options.cassandra_version.or(target.release()),
                };
                let catalog = Catalog::of(self.store.as_ref());
                let plan = NodePlan::make(catalog, &scope, &target, options.replace).await?;
                if options.dry_run {
                    return self.show(&plan);
                }
                (InPlace::begin(&plan, request)?, false)
            }
        };
        if options.dry_run {
            return Err(usage("a restore of this backup was begun here: there is no other plan than to go on with it"));
        }
        let total = restore.total();
        let (fetcher, follow) = self.follow(total)?;
        let run = restore.run(Arc::clone(&self.store), &fetcher, self.config.parallel, options.cassandra_is_stopped);
        let outcome = until_stopped(run).await;
        follow.end();
        let journal = outcome?;
        let document = report::PlacedDocument::of(&journal, resumes, self.store.to_string(), watch.seconds());
        output::result(self.global, &document, || report::placed(&document))?;
        Ok(Ended { backup_id: journal.request.backup_id.clone(), outcome: self::outcome(&journal.done.lost) })
    }

    fn show(&self, plan: &NodePlan) -> anyhow::Result<Ended> {
        let document = report::PlanDocument {
            dry_run: true,
            repository: self.store.to_string(),
            tables: plan
                .tables
                .iter()
                .map(|planned| report::TableRow {
                    keyspace: &planned.table.keyspace,
                    directory: &planned.table.directory,
                    from: &planned.table.from,
                    amount: planned.amount,
                })
                .collect(),
            steps: report::node_steps(plan),
            plan,
        };
        output::result(self.global, &document, || report::planned(&document))?;
        plan.refuse_full()?;
        Ok(Ended { backup_id: plan.backup_id.clone(), outcome: self::outcome(&plan.lost_tables) })
    }

    /// A fetcher, and somebody who shows how far it is.
    fn follow(&self, total: Amount) -> anyhow::Result<(Fetcher, Follow)> {
        let fetcher = Fetcher::new(Arc::clone(&self.store));
        let follow = Follow::start(self.global, &fetcher, total, self.options.heartbeat_file.clone())?;
        Ok((fetcher, follow))
    }
}

/// How a restore ended.
struct Ended {
    backup_id: String,
    outcome: Outcome,
}

#[derive(Serialize)]
struct DoneFile<'a> {
    time: String,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Findings => "findings",
    }
}

/// The operator's own command after a restore.
fn run_hook(command: &str, ended: &Ended) -> anyhow::Result<()> {
    let status = std::process::Command::new("sh")
        .args(["-c", command])
        .env("HELENUS_BACKUP_ID", &ended.backup_id)
        .env("HELENUS_OUTCOME", word(ended.outcome))
        .status()
        .with_context(|| format!("--hook `{command}` cannot be started; the restore itself is complete"))?;
    anyhow::ensure!(status.success(), "--hook `{command}` ended with {status}; the restore itself is complete");
    Ok(())
}

/// `--finish` and `--abort`.
async fn end(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let directories = options.node.data_directories(config)?;
    let Some(workspace) = Workspace::find(&directories)? else {
        let directories: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
        anyhow::bail!("{}: no restore in place was begun here: there is nothing to end", directories.join(", "));
    };
    if options.abort {
        if options.dry_run {
            return Err(usage("--abort has nothing to plan: it puts back what was there"));
        }
        let stopped = options.cassandra_is_stopped;
        let aborted = tokio::task::spawn_blocking(move || abort(workspace, stopped)).await??;
        output::result(global, &aborted, || report::aborted_text(&aborted))?;
        return Ok(Outcome::Done);
    }
    let watch = Stopwatch::start();
    let cql = options.node.cql(config);
    let finished = finish(workspace, config.parallel, options.accept_loss, options.dry_run, cql).await?;
    let document = report::FinishedDocument { dry_run: options.dry_run, seconds: watch.seconds(), finished: &finished };
    output::result(global, &document, || report::finished_text(&document))?;
    Ok(if finished.problems.is_empty() { Outcome::Done } else { Outcome::Findings })
}

fn outcome(lost: &[Lost]) -> Outcome {
    if lost.is_empty() { Outcome::Done } else { Outcome::Findings }
}
