//! The program under test as an operator starts it: a command line, an exit code, one JSON document.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::process::{self, Output};

/// No command of these tests works on more than some MB.
const LIMIT: Duration = Duration::from_secs(120);

/// The program, with a state directory and a configuration of its own.
#[derive(Debug, Clone)]
pub struct Agent {
    program: PathBuf,
    config: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Agent {
    /// `program` as built by cargo; `dir` gets its configuration and state.
    pub fn new(program: impl Into<PathBuf>, dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("agent");
        fs::create_dir_all(dir.join("state"))?;
        let config = dir.join("helenus.toml");
        fs::write(&config, format!("state_dir = \"{}\"\n", dir.join("state").display()))?;
        Ok(Self { program: program.into(), config, environment: Vec::new() })
    }

    /// Adds to its configuration.
    pub fn configure(&self, lines: &str) -> anyhow::Result<()> {
        let before = fs::read_to_string(&self.config)?;
        Ok(fs::write(&self.config, format!("{before}{lines}\n"))?)
    }

    /// The same with one more environment variable, such as a fail point.
    pub fn with(&self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut agent = self.clone();
        agent.environment.push((name.into(), value.as_ref().to_owned()));
        agent
    }

    /// How it is started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(&self.config);
        command.env_remove("CASSANDRA_CONF").env_remove("HELENUS_LOG");
        // Nothing of this machine's own buckets and proxies takes part.
        let of_machine = |name: &OsStr| {
            let services = ["AWS_", "AZURE_", "GOOGLE_"];
            name.to_str().is_some_and(|name| {
                services.iter().any(|service| name.starts_with(service)) || name.to_lowercase().ends_with("_proxy")
            })
        };
        std::env::vars_os().filter(|(name, _)| of_machine(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end, however that looks.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<Output> {
        process::run(&mut self.command(arguments), LIMIT)
    }

    /// Runs it and expects this exit code.
    pub fn expect<S: AsRef<OsStr>>(&self, code: i32, arguments: &[S]) -> anyhow::Result<Output> {
        let output = self.run(arguments)?;
        ensure!(output.code() == Some(code), "expected exit code {code}: {output}");
        Ok(output)
    }

    /// Runs it with `--json`, expects exit code 0 and returns the document.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<Value> {
        let mut arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        arguments.push(OsStr::new("--json"));
        self.expect(0, &arguments)?.json()
    }

    /// The same, and the `backup_id` in it.
    pub fn backup<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<String> {
        let document = self.json(arguments)?;
        let id = document.get("backup_id").and_then(Value::as_str);
        Ok(id.with_context(|| format!("no backup_id in {document}"))?.to_owned())
    }
}

/// Command line arguments from anything that is one.
#[macro_export]
macro_rules! args {
    ($($argument:expr),* $(,)?) => {
        [$(::std::ffi::OsString::from(&$argument)),*]
    };
}

/// Directories of transient links below `dir`: there must be none when no backup runs.
pub fn transient_links(dir: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten() // Cassandra may be deleting files while we look.
        .filter(|entry| {
            entry.file_type().is_dir()
                && entry.file_name().to_string_lossy().starts_with("helenus-")
                && entry.path().parent().is_some_and(|parent| parent.ends_with("snapshots"))
        })
        .map(walkdir::DirEntry::into_path)
        .collect()
}
