//! `helenus doctor`: tries what a backup needs, and says what is missing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Global, NodeArgs, output};
use crate::catalog::repository::Repository;
use crate::config::Config;
use crate::cql;
use crate::error::{Outcome, Reported};
use crate::fs::Dir;
use crate::node::lock::NodeLock;
use crate::node::running::{self, Running};
use crate::node::{Table, tables};
use crate::snapshot::{SNAPSHOTS, TRANSIENT_PREFIX, advice};
use crate::store;

#[derive(Debug, Args)]
pub struct Options {
    /// Also try this repository; may be repeated [default: all of the configuration]
    #[arg(long = "repository", value_name = "NAME-OR-URL")]
    repositories: Vec<String>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Note,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    check: String,
    verdict: Verdict,
    message: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, check: impl Into<String>, verdict: Verdict, message: impl Into<String>) {
        self.checks.push(Check { check: check.into(), verdict, message: message.into() });
    }

    fn tried(&mut self, check: impl Into<String>, outcome: anyhow::Result<String>) {
        match outcome {
            Ok(message) => self.add(check, Verdict::Good, message),
            Err(error) => self.add(check, Verdict::Bad, format!("{error:#}")),
        }
    }
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { mut repositories, node } = options;
    let mut report = Report::default();
    if repositories.is_empty() {
        repositories = config.repositories.keys().cloned().collect();
    }
    let cql = node.cql(config);
    match node.data_directories(config) {
        Ok(directories) => {
            directories_of_node(&mut report, &directories, config);
            report.tried(
                "identity",
                node.find(config).map(|node| format!("{} (host id: {})", node.name, node.host_id_evidence)),
            );
        }
        Err(error) => report.add("node", Verdict::Bad, format!("{error:#}")),
    }
    if let Some(asked) = cql {
        report.tried("cql", ask(asked).await);
    }
    report.tried("state_dir", state_dir(&config.state_dir));
    for repository in repositories {
        let outcome = match config.repository(&repository) {
            Ok(location) => try_repository(&location).await,
            Err(error) => Err(error),
        };
        report.tried(format!("repository {repository}"), outcome);
    }
    output::result(global, &report, || text(&report))?;
    let bad = report.checks.iter().filter(|check| check.verdict == Verdict::Bad).count();
    if bad > 0 {
        return Err(Reported(output::count(bad as u64, "check") + " failed; see above").into());
    }
    Ok(Outcome::Done)
}

fn directories_of_node(report: &mut Report, directories: &[PathBuf], config: &Config) {
    for directory in directories {
        let name = directory.display().to_string();
        let space = rustix::fs::statvfs(directory).map(|stat| {
            let (free, size) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
            (free, config.min_free.bytes(size))
        });
        match space {
            Ok((free, least)) if free < least => report.add(
                format!("space on {name}"),
                Verdict::Bad,
                format!("{} free, less than backup.min_free ({})", output::bytes(free), output::bytes(least)),
            ),
            Ok((free, _)) => {
                report.add(format!("space on {name}"), Verdict::Good, format!("{} free", output::bytes(free)))
            }
            Err(error) => report.add(format!("space on {name}"), Verdict::Bad, error.to_string()),
        }
    }
    match tables::scan(directories) {
        Ok(scan) => {
            report.add("tables", Verdict::Good, output::count(scan.tables.len() as u64, "table directory"));
            for notice in &scan.notices {
                report.add("tables", Verdict::Note, format!("{}: {}", notice.path, notice.message));
            }
            // Another run's transient links look like ours.
            match NodeLock::take(directories) {
                Ok(_lock) => links(report, &scan.tables),
                Err(error) => report.add("hard links", Verdict::Note, format!("not tried: {error:#}")),
            }
        }
        Err(error) => report.add("tables", Verdict::Bad, format!("{error:#}")),
    }
    match running::uses(directories) {
        Running::Yes { evidence, .. } => report.add("cassandra", Verdict::Good, evidence),
        Running::No { evidence } => report.add("cassandra", Verdict::Note, format!("not running: {evidence}")),
        Running::Unknown { evidence, .. } => report.add("cassandra", Verdict::Note, evidence),
    }
}

/// Makes a link in every table directory: mounts, owners and modes may differ from one to the next.
fn links(report: &mut Report, tables: &[Table]) {
    let (mut good, mut bad) = (0, 0);
    for table in tables {
        for place in &table.places {
            match try_link(&place.path) {
                Ok(made) => good += u64::from(made),
                Err(error) => {
                    bad += 1;
                    if bad <= 5 {
                        report.add(
                            format!("hard link in {}", place.path.display()),
                            Verdict::Bad,
                            format!("{error:#}"),
                        );
                    }
                }
            }
        }
    }
    if bad > 5 {
        report.add("hard links", Verdict::Bad, format!("and in {} more", output::count(bad - 5, "directory")));
    }
    report.add("hard links", Verdict::Good, format!("made and removed in {}", output::count(good, "directory")));
}

/// False if there is no file to link.
fn try_link(table: &Path) -> anyhow::Result<bool> {
    let dir = Dir::open(table)?;
    let files = dir.list()?.into_iter().filter(|entry| entry.kind == crate::fs::Kind::File);
    let Some(file) = files.map(|entry| entry.name).min() else { return Ok(false) };
    let name = format!("{TRANSIENT_PREFIX}doctor");
    let had_snapshots = table.join(SNAPSHOTS).exists();
    let tried = (|| -> crate::fs::Result<()> {
        if !had_snapshots {
            dir.mkdir_child(SNAPSHOTS, 0o755)?;
        }
        let snapshots = dir.open_child(SNAPSHOTS)?;
        snapshots.mkdir_child(&name, 0o755)?;
        dir.link_child_to(&file, &snapshots.open_child(&name)?)?;
        Ok(())
    })();
    crate::fs::remove_tree(&table.join(SNAPSHOTS).join(&name))?;
    if !had_snapshots {
        crate::fs::remove_dir(&table.join(SNAPSHOTS))?;
    }
    match tried {
        Ok(()) => Ok(true),
        Err(error) => Err(anyhow::Error::msg(advice(&error)).context(error.to_string())),
    }
}

/// Asks the node who it is.
async fn ask(asked: cql::Asked) -> anyhow::Result<String> {
    let target = asked.target?;
    let cql::Answerer { host_id, cluster, release } = cql::Session::open(&asked.settings, &target).await?.who().await?;
    Ok(format!("{}: {host_id} of {cluster}, Cassandra {release}", target.dialed))
}

fn state_dir(path: &Path) -> anyhow::Result<String> {
    crate::fs::create_dir_durable(path, 0o755)?;
    let probe = path.join(".doctor");
    crate::fs::replace(&probe, b"")?;
    crate::fs::unlink(&probe)?;
    Ok(format!("{} can be written", path.display()))
}

/// Writes an object, sees that it cannot be overwritten, reads it back, removes it.
async fn try_repository(location: &store::Location) -> anyhow::Result<String> {
    let store = store::open(location).await?;
    let known = Repository::read(store.as_ref()).await?;
    let key = store::key::trial();
    store.create(&key, b"doctor".as_slice().into()).await?;
    let again = store.create(&key, b"again".as_slice().into()).await;
    let read = store::read_small(store.as_ref(), &key, 64).await;
    let removed = match store.delete(std::slice::from_ref(&key)).await {
        Ok(()) => String::new(),
        // A backup deletes nothing, so it need not be allowed to.
        Err(error) if error.is_denied() => format!("; {key} stays, for deleting is not allowed"),
        Err(error) => return Err(error.into()),
    };
    anyhow::ensure!(matches!(again, Err(store::Error::AlreadyExists { .. })), "{store}: objects can be overwritten");
    anyhow::ensure!(read? == b"doctor".as_slice(), "{store}: what was read is not what was written");
    Ok(match known {
        Some(repository) => format!("{store}: format {}, id {}{removed}", repository.format, repository.repository_id),
        None => format!("{store}: can be written; the first backup makes a repository of it{removed}"),
    })
}

fn text(report: &Report) -> String {
    report.checks.iter().fold(String::new(), |mut text, Check { check, verdict, message }| {
        let mark = match verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Bad => "BAD ",
        };
        let _ = writeln!(text, "{mark} {check}: {message}");
        text
    })
}
