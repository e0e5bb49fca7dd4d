//! `helenus sstable dump` against `sstabledump`: on odd SSTables of every version that today's releases write, on the system
//! tables that each server writes, and on samples of versions that no release of today writes.
//!
//! Without Java 17, Maven or the jars the tests are shown as ignored, with the reason; with
//! `HELENUS_REQUIRE_CASSANDRA=1` that is a failure. The samples are not part of the project: without them, their tests are
//! ignored.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use helenus_tests::agent::Agent;
use helenus_tests::cassandra::{self, Node, Version};
use helenus_tests::cql::Cql;
use helenus_tests::dump_diff::{self, Defects};
use helenus_tests::odd::{self, Flavour};
use helenus_tests::tools::{Judgement, Tool, Tools};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;
use walkdir::WalkDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_helenus_faulty");
/// Test data of Cassandra's own, versions `ma` to `da`.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/legacy/cassandra-legacy-samples.tar.zst");
/// How many differences are worth reading.
const SHOWN: usize = 12;

/// Options of `sstabledump`, and the tables that are dumped with them.
const OPTIONS: &[(&[&str], &[&str])] = &[
    (
        &["-l"],
        &["odd/deletions", "odd/wide_reversed", "odd/in_collections", "odd/statics", "odd/counters", "odd/liveness"],
    ),
    (&["-t"], &["odd/deletions", "odd/write_times", "odd/times_to_live"]),
    (&["-t", "-l"], &["odd/deletions_reversed"]),
    (&["-e"], &["odd/many", "odd/all_in_one_key", "odd/t_decimal", "odd/long_keys"]),
    (&["-k", "1", "2", "7", "99"], &["odd/deletions", "odd/statics", "odd/wide"]),
    (&["-k", "a common head, 0 0", "not there"], &["odd/many_sampled", "odd/many_unfiltered"]),
    (&["-x", "1", "2", "99"], &["odd/deletions", "odd/statics"]),
];

/// Tables that are dumped with `-d`, in 5.0's form: before, texts have no quotes and positions are others.
const INTERNAL: &[&str] = &["odd/deletions", "odd/liveness", "odd/statics", "odd/t_text", "odd/in_collections"];

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let missing = if cassandra::required() { None } else { cassandra::available().err() };
    let mut trials = Vec::new();
    for flavour in &Flavour::ALL {
        trials.push(trial(format!("dumps_like_sstabledump::{}", flavour.name), missing.clone(), move || {
            odd_tables(flavour)
        }));
    }
    let no_samples = (!Path::new(SAMPLES).exists()).then(|| format!("no samples of old versions at {SAMPLES}"));
    for version in [Version::V4_1, Version::V5_0] {
        let missing = missing.clone().or_else(|| no_samples.clone());
        trials.push(trial(format!("dumps_old_samples_like_sstabledump::{version}"), missing, move || {
            old_samples(version)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, missing: Option<String>, test: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    match missing {
        Some(reason) => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
        None => Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}")))),
    }
}

/// An SSTable: where it is, where the judge's copy is, and its table as `odd/deletions` or `odd/indexed.indexed_v`.
#[derive(Debug)]
struct Set {
    data: PathBuf,
    copy: PathBuf,
    name: String,
    table: String,
}

/// What the judge may say when it gives up on an SSTable; nothing if it must not.
type GivesUp = fn(Version, &Set) -> &'static [&'static str];

/// The comparison of many SSTables with what one release says of them.
struct Court {
    version: Version,
    agent: Agent,
    tools: Tools,
    sets: Vec<Set>,
    gives_up: GivesUp,
    differences: Vec<String>,
    compared: usize,
    _work: TempDir,
}

impl Court {
    /// All SSTables below `data`.
    fn convene(
        version: Version,
        work: TempDir,
        data: &Path,
        node: Option<&Path>,
        gives_up: GivesUp,
    ) -> anyhow::Result<Self> {
        let agent = Agent::new(PROGRAM, work.path())?;
        let tools = Tools::new(version, &work.path().join("tools"), node)?;
        let mut sets = Vec::new();
        let copies = work.path().join("copies");
        for entry in WalkDir::new(data).sort_by_file_name() {
            let entry = entry?;
            let inside = entry.path().strip_prefix(data)?;
            let copy = copies.join(inside);
            if entry.file_type().is_dir() {
                fs::create_dir_all(&copy)?;
                continue;
            }
            fs::hard_link(entry.path(), &copy)?;
            if entry.file_name().to_string_lossy().ends_with("-Data.db") {
                let name = inside.display().to_string();
                sets.push(Set { data: entry.path().to_owned(), copy, table: table_of(inside), name });
            }
        }
        ensure!(!sets.is_empty(), "no SSTables below {}", data.display());
        Ok(Self { version, agent, tools, sets, gives_up, differences: Vec::new(), compared: 0, _work: work })
    }

    /// Compares the dumps of all SSTables of some tables; of all if none is named.
    fn compare(&mut self, options: &[&str], tables: &[&str]) -> anyhow::Result<()> {
        let chosen: Vec<&Set> =
            self.sets.iter().filter(|set| tables.is_empty() || tables.contains(&set.table.as_str())).collect();
        ensure!(!chosen.is_empty(), "no SSTables of {tables:?}");
        let command_lines: Vec<Vec<OsString>> = chosen
            .iter()
            .map(|set| std::iter::once(set.copy.clone().into()).chain(options.iter().map(OsString::from)).collect())
            .collect();
        // Ours first: the judge takes `Summary.db` away, if only from its copy.
        let mut found = Vec::new();
        for (set, theirs) in chosen.iter().zip(self.tools.run(Tool::Dump, &command_lines)?) {
            if let Err(difference) = self.judge(set, &theirs, options) {
                found.push(format!("{} {}\n{difference:#}", set.name, options.join(" ")));
            }
        }
        self.compared += chosen.len();
        self.differences.extend(found);
        Ok(())
    }

    fn judge(&self, set: &Set, theirs: &Judgement, options: &[&str]) -> anyhow::Result<()> {
        let mut arguments: Vec<OsString> = ["sstable", "dump"].map(OsString::from).to_vec();
        arguments.push(set.data.clone().into());
        arguments.extend(options.iter().map(OsString::from));
        let ours = self.agent.expect(0, &arguments)?;
        // Some failures are printed and not in the exit code.
        let fails = theirs.code != 0 || theirs.stderr.contains("Exception");
        let known = (self.gives_up)(self.version, set);
        let is_known = known.iter().any(|complaint| theirs.stderr.contains(complaint));
        ensure!(!fails || is_known, "sstabledump fails: {}", first_line(&theirs.stderr));
        let defects = Defects {
            // And with `-x`, each release prints for what follows a partition left out where that one is.
            positions: self.version == Version::V5_0 || options.contains(&"-x"),
            no_table_kind: self.version != Version::V5_0,
            counters: set.table.contains("counter"),
            breaks_off: fails,
        };
        if options.contains(&"-d") {
            for (ours, theirs) in ours.stdout.lines().zip(theirs.stdout.lines()) {
                ensure!(ours == theirs, "ours:   {ours}\ntheirs: {theirs}");
            }
            ensure!(ours.stdout.lines().count() == theirs.stdout.lines().count(), "not as many lines");
            return Ok(());
        }
        match dump_diff::difference(&ours.stdout, &theirs.stdout, defects)? {
            Some(difference) => Err(anyhow::anyhow!("{difference}")),
            None => Ok(()),
        }
    }

    fn verdict(self) -> anyhow::Result<()> {
        eprintln!("{} dumps compared with those of {}", self.compared, self.version);
        let count = self.differences.len();
        let shown: Vec<_> = self.differences.into_iter().take(SHOWN).collect();
        ensure!(count == 0, "{count} of {} dumps differ:\n{}", self.compared, shown.join("\n"));
        Ok(())
    }
}

/// What a stack trace begins with.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// `d1/odd/indexed-8d3…/.indexed_v/nb-1-big-Data.db` is of `odd/indexed.indexed_v`.
fn table_of(inside: &Path) -> String {
    let mut folders: Vec<_> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    folders.pop();
    let index = folders.pop_if(|name| name.starts_with('.')).unwrap_or_default();
    let table = folders.pop().unwrap_or_default();
    let keyspace = folders.pop().unwrap_or_default();
    let name = table.rsplit_once('-').map_or(table.as_str(), |(name, _)| name);
    format!("{keyspace}/{name}{index}")
}

/// Everything that CQL can write, and everything that the server wrote on its own.
fn odd_tables(flavour: &'static Flavour) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("helenus-dump-").tempdir()?;
    let dir = work.path().join("node");
    let node = Node::start(flavour.version, &dir, flavour.options())?;
    let cql = Cql::connect(&node)?;
    odd::fill(flavour, &node, &cql)?;
    drop(cql);
    node.stop()?;
    let mut court = Court::convene(flavour.version, work, &dir.join("data"), Some(&dir), gives_up_on_odd)?;
    let written = |set: &Set| {
        let name = set.data.file_name().unwrap_or_default().to_string_lossy();
        name.split_once('-').is_some_and(|(version, _)| version == flavour.writes)
    };
    ensure!(court.sets.iter().all(written), "not only {}", flavour.writes);
    court.compare(&[], &[])?;
    for (options, tables) in OPTIONS {
        court.compare(options, tables)?;
    }
    if flavour.version == Version::V5_0 {
        court.compare(&["-d"], INTERNAL)?;
    }
    court.verdict()
}

fn old_samples(version: Version) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("helenus-dump-").tempdir()?;
    let samples = work.path().join("samples");
    let plain = zstd::stream::read::Decoder::new(fs::File::open(SAMPLES)?)?;
    tar::Archive::new(plain).unpack(&samples).with_context(|| format!("unpacking {SAMPLES}"))?;
    let mut court = Court::convene(version, work, &samples.join("legacy-sstables"), None, gives_up_on_samples)?;
    court.compare(&[], &[])?;
    court.verdict()
}

/// What `sstabledump` cannot print, in the odd tables.
fn gives_up_on_odd(version: Version, set: &Set) -> &'static [&'static str] {
    match set.table.as_str() {
        // Parts of a clustering that are null.
        "odd/compact_short" | "odd/empty_boolean" => &["NullPointerException"],
        // Index tables: parts that are null, partition keys as a clustering, keys of collections.
        table if table.starts_with("odd/") && table.contains('.') => &[
            "NullPointerException",
            "UnsupportedOperationException",
            "IndexOutOfBoundsException",
            "newLimit > capacity",
        ],
        // Written by 5.0, and not readable by it.
        "odd_unreadable/partitions" if version == Version::V5_0 => &["Invalid flags found deserializing DeletionTime"],
        _ => &[],
    }
}

/// What `sstabledump` cannot read of the old samples.
fn gives_up_on_samples(version: Version, set: &Set) -> &'static [&'static str] {
    match (set.name.get(..3), version) {
        // Written by a build before 4.0, without the last byte of their statistics.
        (Some("na/"), _) if set.name.contains("_compact/") => &["EOFException"],
        (Some("oa/" | "da/"), Version::V4_0 | Version::V4_1) => &["Invalid sstable file"],
        _ => &[],
    }
}
