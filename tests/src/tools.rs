//! Cassandra's own offline tools, as judges: `sstabledump` and its like, on many files in one JVM.
//!
//! `tests/java/Tools.java` runs the `main` of each tool. It is compiled with the compiler that is among Cassandra's jars, so
//! that a Java without one is enough.
//!
//! The tools are not read-only: `sstabledump` deletes `Summary.db` beside some files. Give them copies; hard links will do.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::cassandra::{self, Version};
use crate::process;

/// Compiling takes a second, the tools a few seconds for some hundred files.
const LIMIT: Duration = Duration::from_secs(240);

/// A tool, by its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `sstabledump`
    Dump,
    /// `sstablemetadata`
    Metadata,
    /// `sstableverify`: wants the schema, so the configuration of a node.
    Verify,
}

impl Tool {
    fn class(self) -> &'static str {
        match self {
            Self::Dump => "org.apache.cassandra.tools.SSTableExport",
            Self::Metadata => "org.apache.cassandra.tools.SSTableMetadataViewer",
            Self::Verify => "org.apache.cassandra.tools.StandaloneVerifier",
        }
    }
}

/// What one run has left.
#[derive(Debug)]
pub struct Judgement {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// The tools of one release.
#[derive(Debug)]
pub struct Tools {
    version: Version,
    dir: PathBuf,
    /// Where `conf/cassandra.yaml` is.
    home: PathBuf,
}

impl Tools {
    /// Compiles what runs them. `dir` takes all their files; `node` is the folder of a stopped node, for those tools that
    /// want its schema.
    pub fn new(version: Version, dir: &Path, node: Option<&Path>) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("classes"))?;
        let dir = dir.canonicalize()?;
        let compilers = fs::read_dir(cassandra::jars(Version::V5_0)?)?;
        let compiler = compilers
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ecj-")))
            .context("no ecj-*.jar among the jars of Cassandra")?;
        let mut command = Command::new(cassandra::java()?);
        command
            .arg("-cp")
            .arg(compiler)
            .args(["org.eclipse.jdt.internal.compiler.batch.Main", "-17", "-nowarn", "-d"])
            .arg(dir.join("classes"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/java/Tools.java"));
        let output = process::run(&mut command, LIMIT)?;
        ensure!(output.success(), "{output}");
        let home = match node {
            Some(node) => node.canonicalize()?,
            None => {
                fs::create_dir_all(dir.join("conf"))?;
                // Without it 5.0 reads nothing that 4.x could not.
                let extra = if version == Version::V5_0 { "storage_compatibility_mode: NONE" } else { "" };
                let yaml = cassandra::yaml(version, &dir, &[dir.join("data")], Ipv4Addr::LOCALHOST, "Tools", extra);
                fs::write(dir.join("conf/cassandra.yaml"), yaml)?;
                dir.clone()
            }
        };
        fs::write(dir.join("logback.xml"), "<configuration><root level=\"OFF\"/></configuration>\n")?;
        Ok(Self { version, dir, home })
    }

    /// Runs one tool many times, one command line after the other.
    pub fn run(&self, tool: Tool, command_lines: &[Vec<OsString>]) -> anyhow::Result<Vec<Judgement>> {
        let output = |number: usize, what: &str| self.dir.join(format!("{number}.{what}"));
        let mut runs = String::new();
        for (number, arguments) in command_lines.iter().enumerate() {
            let files = [output(number, "out"), output(number, "err")];
            let words = files.iter().map(|path| path.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
            runs.push_str(tool.class());
            for word in words {
                runs.push('\t');
                runs.push_str(word.to_str().context("a path that is no UTF-8")?);
            }
            runs.push('\n');
        }
        let list = self.dir.join("runs");
        fs::write(&list, runs)?;
        let ran = process::run(self.java()?.arg("Tools").arg(&list), LIMIT)?;
        let codes: Vec<&str> = ran.stdout.lines().collect();
        ensure!(
            ran.success() && codes.len() == command_lines.len(),
            "{} of {}: {ran}",
            codes.len(),
            command_lines.len()
        );
        let judgements = codes.iter().enumerate().map(|(number, code)| {
            let read = |what| fs::read(output(number, what)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Ok(Judgement { code: code.parse()?, stdout: read("out")?, stderr: read("err")? })
        });
        judgements.collect()
    }

    fn java(&self) -> anyhow::Result<Command> {
        let lib = cassandra::jars(self.version)?;
        let (dir, home) = (self.dir.display(), self.home.display());
        let mut command = Command::new(cassandra::java()?);
        command
            .args(["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
            .arg(format!("-javaagent:{}", cassandra::jamm(&lib)?.display()))
            .args(cassandra::module_flags())
            .arg("-Djava.security.manager=allow")
            // Else each second tool would find the beans of the first.
            .arg("-Dorg.apache.cassandra.disable_mbean_registration=true")
            .args([format!("-Djava.io.tmpdir={dir}"), format!("-Djna.tmpdir={dir}")])
            .arg(format!("-Dcassandra.config=file://{home}/conf/cassandra.yaml"))
            .args([
                format!("-Dcassandra.storagedir={home}"),
                format!("-Dlogback.configurationFile=file://{dir}/logback.xml"),
            ])
            .arg("-cp")
            .arg(format!("{home}/conf:{dir}/classes:{}/*", lib.display()));
        Ok(command)
    }
}
