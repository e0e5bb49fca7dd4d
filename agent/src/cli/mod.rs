//! The command line: one file per command, and the only code that prints.

mod backup;
mod config;
mod demo;
mod doctor;
mod export;
mod follow;
mod list;
mod output;
mod repository;
mod restore;
mod restore_report;
mod several;
mod show;
mod sstable;
mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::config::Config;
use crate::config::cassandra_yaml::{self, CassandraYaml};
use crate::cql;
use crate::error::{Outcome, exit_code, usage};
use crate::node::Node;
use crate::selection::{Selection, SelectionText};

/// Backup and restore for Apache Cassandra.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 done and something was found that needs a look.
#[derive(Debug, Parser)]
#[command(name = "helenus", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: /etc/helenus/helenus.toml if it exists]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Print the result as one JSON document on standard output
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Print no progress and no summary; errors and warnings only
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up this node: only what is not yet stored is read and sent
    Backup(backup::Options),
    /// List the backups of a repository
    List(list::Options),
    /// Show one backup: tables, sizes, what it built upon, what was found
    Show(show::Options),
    /// Prove a backup in a repository, or SSTables on this machine, byte by byte
    Verify(verify::Options),
    /// Restore a backup: into a directory from which Cassandra starts, or into a stopped node
    Restore(restore::Options),
    /// Write a backup as a tar to standard output
    Export(export::Options),
    /// Look into SSTables, on this machine or in a backup: rows, metadata, checksums
    Sstable(sstable::Options),
    /// Try everything that a backup needs on this node, and say what is missing
    Doctor(doctor::Options),
    /// Look at a repository: try what its store honours
    Repository(repository::Options),
    /// Check the configuration
    Config(config::Options),
    /// Show what helenus does, on a sample node that it brings along
    Demo(demo::Options),
}

/// Where the node is and who it is.
#[derive(Debug, Args)]
struct NodeArgs {
    /// Data directory; may be repeated [default: those of cassandra.yaml]
    #[arg(long = "data-dir", value_name = "DIR")]
    data_dirs: Vec<PathBuf>,
    /// Cassandra's configuration [default: from helenus.toml, $CASSANDRA_CONF, /etc/cassandra]
    #[arg(long, value_name = "FILE")]
    cassandra_yaml: Option<PathBuf>,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// Whose backups.
#[derive(Debug, Clone, Args)]
struct IdentityArgs {
    /// Cluster name [default: of cassandra.yaml, or the only one in the repository]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Host id [default: the one that the SSTables name, or the only one in the repository]
    #[arg(long, value_name = "UUID")]
    host_id: Option<Uuid>,
}

/// Which tables.
#[derive(Debug, Clone, Args)]
struct SelectionArgs {
    /// Keyspaces to include, as a glob; may be repeated [default: all]
    #[arg(long = "keyspace", value_name = "GLOB")]
    keyspaces: Vec<String>,
    /// Tables to include, as KEYSPACE.TABLE globs; may be repeated
    #[arg(long = "table", value_name = "KEYSPACE.TABLE-GLOB")]
    tables: Vec<String>,
    /// Keyspaces or tables to leave out, as globs; wins over the other two
    #[arg(long = "exclude", value_name = "GLOB")]
    exclude: Vec<String>,
}

impl SelectionArgs {
    /// The flags, or `default` if there are none.
    fn parse(&self, default: &SelectionText) -> anyhow::Result<Selection> {
        let Self { keyspaces, tables, exclude } = self.clone();
        let text = SelectionText { keyspaces, tables, exclude };
        Selection::parse(if text == SelectionText::default() { default.clone() } else { text })
    }
}

impl NodeArgs {
    /// Finds the node: flags first, then the configuration, then the usual places.
    fn find(self, config: &Config) -> anyhow::Result<Node> {
        let (data_directories, yaml) = self.directories(config)?;
        let cluster = self.identity.cluster.or_else(|| config.node.cluster.clone());
        let Some(cluster) = cluster.or(yaml.map(|yaml| yaml.cluster_name)) else {
            return Err(usage("which cluster is it? Pass --cluster NAME, or --cassandra-yaml FILE, which names it"));
        };
        Node::find(data_directories, cluster, self.identity.host_id.or(config.node.host_id))
    }

    /// The data directories alone, for commands that need no identity.
    fn data_directories(&self, config: &Config) -> anyhow::Result<Vec<PathBuf>> {
        crate::node::canonical(self.directories(config)?.0)
    }

    /// The name of the node's own cluster, and which of its data directories is for local system tables alone; as far as
    /// its configuration tells.
    fn own(&self, config: &Config, directories: &[PathBuf]) -> anyhow::Result<(Option<String>, Option<usize>)> {
        let (_, yaml) = self.directories(config)?;
        let local_system = yaml.as_ref().and_then(|yaml| yaml.local_system_directory.as_ref()?.canonicalize().ok());
        let local_system = local_system.and_then(|path| directories.iter().position(|directory| *directory == path));
        Ok((config.node.cluster.clone().or(yaml.map(|yaml| yaml.cluster_name)), local_system))
    }

    /// Where the node speaks CQL; nothing if the configuration does not say how to ask it.
    fn cql(&self, config: &Config) -> Option<cql::Asked> {
        let settings = config.cql.clone()?;
        let target = self.directories(config).and_then(|(_, yaml)| cql::Target::find(&settings.address, yaml.as_ref()));
        Some(cql::Asked { settings, target })
    }

    fn directories(&self, config: &Config) -> anyhow::Result<(Vec<PathBuf>, Option<CassandraYaml>)> {
        let from_flags = !self.data_dirs.is_empty();
        let yaml_path = self.cassandra_yaml.clone().or_else(|| {
            // Directories given by hand are some other node's: the yaml of this machine says nothing of them.
            let usual = || config.node.cassandra_yaml.clone().or_else(cassandra_yaml::usual_place);
            if from_flags { None } else { usual() }
        });
        let yaml = yaml_path.as_deref().map(CassandraYaml::load).transpose()?;
        let directories = if from_flags {
            self.data_dirs.clone()
        } else if !config.node.data_directories.is_empty() {
            config.node.data_directories.clone()
        } else if let Some(yaml) = &yaml {
            yaml.data_directories.clone()
        } else {
            return Err(usage(
                "where is the node? Pass --cassandra-yaml FILE or --data-dir DIR, or set node.cassandra_yaml in the \
                 configuration",
            ));
        };
        Ok((directories, yaml))
    }
}

/// Runs the program on the arguments of the process.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HELENUS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("helenus: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(&global, command));
    // Blocking readers may still be at work on a run that failed: their results are of no use any more.
    runtime.shutdown_background();
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            output::error(&global, &error);
            exit_code(&error)
        }
    }
}

async fn run(global: &Global, command: Command) -> anyhow::Result<Outcome> {
    // Whoever lets a restore pause may name the program, not the process: no other command is to die of that.
    let _heard = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    match command {
        Command::Config(options) => return config::run(global, &options),
        Command::Demo(options) => return demo::run(global, options).await,
        _ => {}
    }
    let config = Config::load(global.config.as_deref())?;
    match command {
        Command::Backup(options) => backup::run(global, &config, options).await,
        Command::List(options) => list::run(global, &config, options).await,
        Command::Show(options) => show::run(global, &config, options).await,
        Command::Verify(options) => verify::run(global, &config, options).await,
        Command::Restore(options) => restore::run(global, &config, options).await,
        Command::Export(options) => export::run(global, &config, options).await,
        Command::Sstable(options) => sstable::run(global, &config, options).await,
        Command::Doctor(options) => doctor::run(global, &config, options).await,
        Command::Repository(options) => repository::run(global, &config, options).await,
        Command::Config(_) | Command::Demo(_) => Ok(Outcome::Done),
    }
}
