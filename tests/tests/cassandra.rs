//! Against real Cassandra servers: what was written comes back, whatever the release and the format of its SSTables.
//!
//! Without Java 17, Maven or the jars the tests are shown as ignored, with the reason; with
//! `HELENUS_REQUIRE_CASSANDRA=1` that is a failure. One node runs at a time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use helenus_tests::agent::{Agent, transient_links};
use helenus_tests::args;
use helenus_tests::cassandra::{self, Node, Options, Version};
use helenus_tests::cql::Cql;
use helenus_tests::repository::{Repository, files_below};
use helenus_tests::schema;
use helenus_tests::versitygw::{self, KEY_ID, SECRET, Versitygw};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_helenus_faulty");

/// A release, and how it is set up.
#[derive(Debug, Clone, Copy)]
struct Flavour {
    name: &'static str,
    version: Version,
    yaml: &'static str,
    /// Version and format of the SSTables that it writes.
    writes: &'static str,
}

const FLAVOURS: &[Flavour] = &[
    Flavour { name: "4.0", version: Version::V4_0, yaml: "", writes: "nb" },
    // Flushes through the NoopCompressor; what compaction writes is compressed as the table says.
    Flavour { name: "4.1", version: Version::V4_1, yaml: "flush_compression: none", writes: "nb" },
    Flavour { name: "4.1_uuid", version: Version::V4_1, yaml: "uuid_sstable_identifiers_enabled: true", writes: "nb" },
    Flavour { name: "5.0_compatible", version: Version::V5_0, yaml: "", writes: "nb" },
    Flavour { name: "5.0_big", version: Version::V5_0, yaml: "storage_compatibility_mode: NONE", writes: "oa" },
    Flavour {
        name: "5.0_bti",
        version: Version::V5_0,
        yaml: "storage_compatibility_mode: NONE\nsstable:\n  selected_format: bti\nuuid_sstable_identifiers_enabled: true",
        writes: "da",
    },
];

/// Backups under load, over the flavours named here: 200 in total.
const UNDER_LOAD: &[(&str, u64)] = &[("4.0", 60), ("4.1", 40), ("5.0_big", 40), ("5.0_bti", 60)];

/// Restores into the node itself, over the flavours named here.
const IN_PLACE: &[&str] = &["4.0", "4.1_uuid", "5.0_compatible", "5.0_bti"];

/// The same with the repository in a bucket.
const IN_PLACE_FROM_S3: &[&str] = &["4.0", "4.1_uuid", "5.0_bti"];

/// SSTables that were repaired, over the flavours named here.
const REPAIRED: &[&str] = &["4.0", "4.1_uuid", "5.0_bti"];

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let missing = if cassandra::required() { None } else { cassandra::available().err() };
    let mut trials = Vec::new();
    for flavour in FLAVOURS {
        trials.push(trial(format!("what_was_written_comes_back::{}", flavour.name), missing.as_deref(), move || {
            what_was_written_comes_back(flavour)
        }));
    }
    for name in IN_PLACE {
        trials.push(trial(format!("restored_in_place::{name}"), missing.as_deref(), move || {
            let flavour = FLAVOURS.iter().find(|flavour| flavour.name == *name).context("a flavour")?;
            restored_in_place(Story::begin(flavour)?)
        }));
    }
    let no_server = if arguments.list || missing.is_some() { None } else { versitygw::program().err() };
    let no_server = no_server.filter(|_| !versitygw::required()).map(|error| format!("{error:#}"));
    for name in IN_PLACE_FROM_S3 {
        let missing = missing.as_deref().or(no_server.as_deref());
        trials.push(trial(format!("restored_in_place_from_s3::{name}"), missing, move || {
            let flavour = FLAVOURS.iter().find(|flavour| flavour.name == *name).context("a flavour")?;
            let server = Versitygw::start(&versitygw::program()?)?;
            restored_in_place(Story::begin(flavour)?.with_bucket(&server))
        }));
    }
    for name in REPAIRED {
        trials.push(trial(format!("repairs_are_forgotten::{name}"), missing.as_deref(), move || {
            repairs_are_forgotten(FLAVOURS.iter().find(|flavour| flavour.name == *name).context("a flavour")?)
        }));
    }
    trials.push(trial("asked_with_a_password".to_owned(), missing.as_deref(), asked_with_a_password));
    for (name, backups) in UNDER_LOAD {
        trials.push(trial(format!("backups_under_load::{name}"), missing.as_deref(), move || {
            let flavour = FLAVOURS.iter().find(|flavour| flavour.name == *name).context("a flavour")?;
            backups_under_load(flavour, *backups)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, missing: Option<&str>, test: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    match missing.map(str::to_owned) {
        Some(reason) => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
        None => Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}")))),
    }
}

/// One node's life: a folder, the program, a repository.
struct Story {
    flavour: &'static Flavour,
    work: TempDir,
    agent: Agent,
    repository: Repository,
}

impl Story {
    fn begin(flavour: &'static Flavour) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("helenus-cassandra-").tempdir()?;
        let agent = Agent::new(PROGRAM, work.path())?;
        let repository = Repository::at(work.path().join("repository"));
        Ok(Self { flavour, work, agent, repository })
    }

    /// The same with its repository in the bucket of a server.
    fn with_bucket(mut self, server: &Versitygw) -> Self {
        self.repository = Repository::at(PathBuf::from("s3://backups/node"));
        self.agent = self
            .agent
            .with("AWS_ACCESS_KEY_ID", KEY_ID)
            .with("AWS_SECRET_ACCESS_KEY", SECRET)
            .with("AWS_ENDPOINT_URL", &server.endpoint)
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .with("AWS_CONFIG_FILE", "/dev/null")
            .with("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        self
    }

    fn start(&self) -> anyhow::Result<(Node, Cql)> {
        let node = Node::start(self.flavour.version, &self.work.path().join("node"), self.options())?;
        let cql = Cql::connect(&node)?;
        Ok((node, cql))
    }

    fn options(&self) -> Options {
        Options { extra_yaml: self.flavour.yaml.to_owned(), ..Options::default() }
    }

    /// Stops the node and destroys all that it had; restores the latest backup and starts a node on that alone.
    fn start_over(&self, node: Node) -> anyhow::Result<(Node, Cql)> {
        let address = node.address();
        let dir = node.dir().to_owned();
        node.stop()?;
        fs::remove_dir_all(&dir)?;
        let restored = self.work.path().join("restored");
        self.agent
            .expect(0, &args!["restore", "latest", "--repository", self.repository.root, "--to-dir", restored])?;
        let options = Options { address: Some(address), data_dirs: vec![restored.canonicalize()?], ..self.options() };
        let node = Node::start(self.flavour.version, &self.work.path().join("second"), options)?;
        let cql = Cql::connect(&node)?;
        Ok((node, cql))
    }
}

/// Without this the product is nothing: a row that was flushed before a backup is there after the restore, in every
/// shape that CQL can give it.
fn what_was_written_comes_back(flavour: &'static Flavour) -> anyhow::Result<()> {
    let story = Story::begin(flavour)?;
    let (agent, repository) = (&story.agent, &story.repository.root);
    let (node, cql) = story.start()?;
    schema::fill(&node, &cql)?;
    let before = schema::dump(&cql, flavour.version)?;
    let versions = versions_in(node.data_dirs());
    ensure!(versions == BTreeSet::from([flavour.writes.to_owned()]), "SSTables are {versions:?}");

    agent.expect(0, &args!["doctor", "--cassandra-yaml", node.yaml(), "--repository", repository])?;
    let backup = args!["backup", "--cassandra-yaml", node.yaml(), "--repository", repository];
    let id = agent.backup(&backup)?;
    ensure!(transient_links(node.dir()).is_empty(), "links were left: {:?}", transient_links(node.dir()));
    ensure!(story.repository.check_complete()? == 1);
    agent.expect(0, &args!["verify", "latest", "--repository", repository])?;
    let list = agent.json(&args!["list", "--repository", repository])?;
    ensure!(list.to_string().contains(&id), "{id} is not listed: {list}");
    let shown = agent.json(&args!["show", "latest", "--repository", repository])?;
    ensure!(shown.to_string().contains(&id), "{id} is not shown: {shown}");
    for table in ["orders", "empty", "CamelTable"] {
        ensure!(shown.to_string().contains(&format!("\"{table}\"")), "{table} is not shown: {shown}");
    }
    for data_dir in node.data_dirs() {
        agent.expect(0, &args!["sstable", "verify", data_dir.join("shop")])?;
    }

    kept_snapshot(&story, &node)?;

    drop(cql);
    let (node, cql) = story.start_over(node)?;
    let after = schema::dump(&cql, flavour.version)?;
    if let Some(difference) = schema::difference(&before, &after) {
        bail!("{difference}");
    }
    // The restored node is a node: it takes writes, flushes and compacts what it was given.
    schema::write_round(&cql, flavour.version, 4)?;
    node.nodetool(&["flush", "shop"])?;
    node.nodetool(&["compact", "shop", "orders", "readings"])?;
    let errors = errors_in_log(node.dir())?;
    ensure!(errors.is_empty(), "the restored node complains:\n{}", errors.join("\n"));
    node.stop()
}

/// A restore into a node that has gone on: its rows are those of the backup again, and after an abort those of before; a
/// table comes back under another name beside what it has become.
fn restored_in_place(story: Story) -> anyhow::Result<()> {
    let flavour = story.flavour;
    let (agent, repository) = (&story.agent, &story.repository.root);
    let (node, cql) = story.start()?;
    schema::fill(&node, &cql)?;
    cql.execute("CREATE KEYSPACE place WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")?;
    cql.execute("CREATE TYPE place.size (width int, height int)")?;
    for table in ["kept", "copy", "other"] {
        let id = if table == "other" { "text" } else { "int" };
        let columns = format!("id {id} PRIMARY KEY, note text, sizes list<frozen<size>>");
        cql.execute(&format!("CREATE TABLE place.{table} ({columns})"))?;
    }
    let insert = |from: i32, to: i32, note: &str| {
        cql.execute_all((from..to).map(|id| {
            format!(
                "INSERT INTO place.kept (id, note, sizes) VALUES ({id}, '{note} {id}', [{{width: {id}, height: 1}}])"
            )
        }))
    };
    insert(0, 500, "first")?;
    cql.execute("INSERT INTO place.other (id, note) VALUES ('x', 'y')")?;
    node.nodetool(&["flush"])?;
    let before = (schema::dump(&cql, flavour.version)?, cql.dump("place.kept")?);
    agent.backup(&args!["backup", "--cassandra-yaml", node.yaml(), "--repository", repository])?;

    insert(400, 900, "second")?;
    cql.execute("DELETE FROM place.kept WHERE id = 5")?;
    cql.execute("TRUNCATE shop.orders")?;
    cql.execute("CREATE TABLE place.later (id int PRIMARY KEY)")?;
    cql.execute("INSERT INTO place.later (id) VALUES (1)")?;
    node.nodetool(&["flush"])?;
    node.nodetool(&["compact", "place"])?;
    let changed = (schema::dump(&cql, flavour.version)?, cql.dump("place.kept")?, cql.dump("place.later")?);
    let restore = args!["restore", "latest", "--in-place", "--cassandra-yaml", node.yaml(), "--repository", repository];
    let abort = args!["restore", "--abort", "--cassandra-yaml", node.yaml()];
    let running = agent.expect(1, &restore)?;
    ensure!(running.stderr.contains("stop it first"), "a running node: {running}");
    let restart = |cql: Cql, node: Node, between: &dyn Fn() -> anyhow::Result<()>| {
        drop(cql);
        let (dir, address) = (node.dir().to_owned(), node.address());
        node.stop()?;
        between()?;
        let node = Node::start(flavour.version, &dir, Options { address: Some(address), ..story.options() })?;
        let cql = Cql::connect(&node)?;
        let errors = errors_in_log(node.dir())?;
        ensure!(errors.is_empty(), "the node complains:\n{}", errors.join("\n"));
        anyhow::Ok((node, cql))
    };

    let (node, cql) = restart(cql, node, &|| {
        // Killed while it fetches, while the old files go and while the new ones come.
        for step in ["settle:3", "rename:5", "sync_file_system:2"] {
            let killed = agent.with("HELENUS_FAIL_AT", step).run(&restore)?;
            ensure!(killed.was_killed(), "{step}: {killed}");
        }
        let done = agent.json(&restore)?;
        ensure!(done["reused"]["files"].as_u64() > Some(0), "nothing was reused: {done}");
        ensure!(done["notes"].to_string().contains("place.later"), "place.later is not named: {done}");
        ensure!(
            done["notes"].to_string().contains(" of the node's SSTables, which are moved aside"),
            "no word of deletions: {done}"
        );
        Ok(())
    })?;
    let after = (schema::dump(&cql, flavour.version)?, cql.dump("place.kept")?);
    if let Some(difference) = schema::difference(&before.0, &after.0) {
        bail!("{difference}");
    }
    ensure!(after.1 == before.1, "place.kept is not what it was");
    ensure!(cql.rows("SELECT * FROM place.later").is_err(), "a table that the backup has not is there");
    cql.execute("INSERT INTO place.kept (id, note) VALUES (1000, 'after the restore')")?;

    let (node, cql) = restart(cql, node, &|| agent.expect(0, &abort).map(drop))?;
    let after = (schema::dump(&cql, flavour.version)?, cql.dump("place.kept")?, cql.dump("place.later")?);
    if let Some(difference) = schema::difference(&changed.0, &after.0) {
        bail!("after the abort: {difference}");
    }
    ensure!(after.1 == changed.1 && after.2 == changed.2, "place is not what it was before the restore");

    let rename = |to: &str| [restore.as_slice(), &args!["--rename", format!("place.kept=place.{to}")]].concat();
    let (node, cql) = restart(cql, node, &|| {
        let refused = agent.expect(1, &rename("other"))?;
        ensure!(refused.stderr.contains("place.kept cannot become place.other: the partition key"), "{refused}");
        agent.expect(0, &abort)?;
        agent.expect(0, &rename("copy")).map(drop)
    })?;
    ensure!(cql.dump("place.copy")? == before.1, "place.copy is not what place.kept was");
    ensure!(cql.dump("place.kept")? == changed.1, "place.kept is not what it has become");
    node.nodetool(&["compact", "place", "copy"])?;
    let finish = args!["restore", "--finish", "--cassandra-yaml", node.yaml()];
    cql.execute("INSERT INTO place.copy (id, note) VALUES (1001, 'after the restore')")?;
    node.nodetool(&["flush", "place"])?;
    let not_asked = agent.json(&[&finish[..], &args!["--dry-run"]].concat())?;
    ensure!(not_asked["rows"]["not_read"] == "the configuration has no [cql]", "{not_asked}");
    agent.configure("[cql]")?;
    let finished = agent.json(&finish)?;
    ensure!(finished["rows"]["read"] == 1, "{finished}");
    ensure!(finished["problems"].as_array().is_some_and(Vec::is_empty), "{finished}");
    for data_dir in node.data_dirs() {
        for entry in fs::read_dir(data_dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(!name.starts_with(".helenus-restore"), "{name} is left");
        }
    }
    node.stop()
}

/// What was marked as repaired, or claimed by a repair, is neither when it is restored; Cassandra reads what was rewritten.
fn repairs_are_forgotten(flavour: &'static Flavour) -> anyhow::Result<()> {
    let story = Story::begin(flavour)?;
    let (agent, repository) = (&story.agent, &story.repository.root);
    let (node, cql) = story.start()?;
    cql.execute("CREATE KEYSPACE place WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")?;
    cql.execute(
        "CREATE TABLE place.kept (id int, at int, note text, PRIMARY KEY (id, at)) WITH gc_grace_seconds = 1 AND \
         compaction = {'class': 'LeveledCompactionStrategy', 'enabled': false}",
    )?;
    for round in 0..4 {
        cql.execute_all((0..200).map(|id| {
            format!("INSERT INTO place.kept (id, at, note) VALUES ({id}, {round}, 'note {id} of {round}')")
        }))?;
        cql.execute(&format!("DELETE FROM place.kept WHERE id = {round}"))?;
        node.nodetool(&["flush", "place"])?;
    }
    let before = cql.dump("place.kept")?;
    let (dir, address, data_dirs) = (node.dir().to_owned(), node.address(), node.data_dirs().to_vec());
    let yaml = node.yaml();
    drop(cql);
    node.stop()?;
    let ending = |ending: &str| -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for data_dir in &data_dirs {
            found.extend(files_below(&data_dir.join("place"))?);
        }
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found.sort();
        Ok(found)
    };
    let metadata = |path: &Path| cassandra::tool(flavour.version, &dir, "SSTableMetadataViewer", [path.as_os_str()]);
    let sstables = ending("-Data.db")?;
    ensure!(sstables.len() >= 4, "few SSTables: {sstables:?}");
    let mark = ["--really-set", "--is-repaired"].map(std::ffi::OsStr::new).into_iter();
    let marked = sstables.iter().take(2).map(|path| path.as_os_str());
    cassandra::tool(flavour.version, &dir, "SSTableRepairedAtSetter", mark.chain(marked))?;
    let is_repaired = |text: &str| text.contains("Repaired at: ") && !text.contains("Repaired at: 0");
    ensure!(is_repaired(&metadata(&sstables[0])?), "the tool has not marked it: {}", metadata(&sstables[0])?);
    let mut resets = 2;
    if flavour.writes == "nb" {
        let statistics = ending("-Statistics.db")?.pop().context("statistics")?;
        fs::write(&statistics, claimed(&fs::read(&statistics)?))?;
        let read = metadata(&sstables[sstables.len() - 1])?;
        ensure!(read.contains("Pending repair: 66616b65-0000-1000-8000-000000000001"), "not as wanted: {read}");
        resets += 1;
    }
    let node_args = args!["--cassandra-yaml", yaml];
    let backup = [args!["backup", "--repository", repository].as_slice(), &node_args].concat();
    agent.backup(&backup)?;
    for path in sstables.iter().take(3) {
        fs::remove_file(path)?;
    }
    // A backup that is older than the table remembers deletions.
    std::thread::sleep(Duration::from_secs(2));
    let restore = args!["restore", "latest", "--in-place", "--table", "place.kept", "--repository", repository];
    let done = agent.json(&[restore.as_slice(), &node_args].concat())?;
    ensure!(done["reset"] == resets, "{done}");
    ensure!(done["notes"].to_string().contains("repaired: place.kept (1)"), "no word of gc_grace_seconds: {done}");
    for path in &sstables {
        let read = metadata(path)?;
        ensure!(read.contains("Repaired at: 0") && read.contains("Pending repair: --"), "{}: {read}", path.display());
        ensure!(read.contains("SSTable Level: 0"), "{}: {read}", path.display());
    }
    let look = agent.json(&[args!["restore", "--finish", "--dry-run"].as_slice(), &node_args].concat())?;
    ensure!(look["rewritten"] == 0 && look["problems"].as_array().is_some_and(Vec::is_empty), "{look}");

    let node = Node::start(flavour.version, &dir, Options { address: Some(address), ..story.options() })?;
    let cql = Cql::connect(&node)?;
    ensure!(cql.dump("place.kept")? == before, "place.kept is not what it was");
    cql.execute("ALTER TABLE place.kept WITH compaction = {'class': 'LeveledCompactionStrategy', 'enabled': true}")?;
    node.nodetool(&["compact", "place", "kept"])?;
    ensure!(cql.dump("place.kept")? == before, "place.kept is not what it was when it is compacted");
    let errors = errors_in_log(node.dir())?;
    ensure!(errors.is_empty(), "the node complains:\n{}", errors.join("\n"));
    let finished = agent.json(&[args!["restore", "--finish"].as_slice(), &node_args].concat())?;
    ensure!(finished["problems"].as_array().is_some_and(Vec::is_empty), "{finished}");
    node.stop()
}

/// `Statistics.db` of version `nb` that a repair has claimed; by the layout of the format, and not by the decoder.
fn claimed(statistics: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_be_bytes(statistics[at..at + 4].try_into().expect("four bytes")) as usize;
    let (start, end) = (number(28), number(36) - 4);
    let mut at = start;
    for _ in 0..2 {
        at += 4 + 16 * number(at);
    }
    at += 12 + 16 + 8 + 8 + 8;
    at += 8 + 16 * number(at + 4);
    at += 12;
    for _ in 0..2 {
        let count = number(at);
        at += 4;
        for _ in 0..count {
            at += 2 + usize::from(u16::from_be_bytes([statistics[at], statistics[at + 1]]));
        }
    }
    at += 1 + 16 + 12;
    at += 4 + 24 * number(at);
    assert_eq!(statistics[at], 0, "it is claimed already");
    let mut body = statistics[start..at].to_vec();
    body.push(1);
    body.extend(0x66616b65_0000_1000_8000_000000000001_u128.to_be_bytes());
    body.extend(&statistics[at + 1..end]);
    let mut claimed = statistics[..start].to_vec();
    let header = u32::try_from(start + body.len() + 4).expect("a small file");
    claimed[36..40].copy_from_slice(&header.to_be_bytes());
    let table = crc32fast::hash(&[&claimed[..4], &claimed[8..40]].concat());
    claimed[40..44].copy_from_slice(&table.to_be_bytes());
    claimed.extend(&body);
    claimed.extend(crc32fast::hash(&body).to_be_bytes());
    claimed.extend(&statistics[end + 4..]);
    claimed
}

/// A node that wants a password is asked with it, and what is wrong with it is said.
fn asked_with_a_password() -> anyhow::Result<()> {
    let flavour = FLAVOURS.iter().find(|flavour| flavour.name == "5.0_compatible").context("a flavour")?;
    let story = Story::begin(flavour)?;
    let extra_yaml = "authenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer".to_owned();
    let node =
        Node::start(flavour.version, &story.work.path().join("node"), Options { extra_yaml, ..Options::default() })?;
    story.agent.configure("[cql]\nuser = \"cassandra\"")?;
    let doctor = |password: &str| {
        let agent = story.agent.with("HELENUS_CQL_PASSWORD", password);
        agent.run(&args!["doctor", "--cassandra-yaml", node.yaml()])
    };
    // The role is made some moments after the port has opened.
    let asked = (0..20).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        doctor("cassandra").ok().filter(|asked| asked.stdout.contains("ok   cql: "))
    });
    let asked = asked.context("the node never answered")?;
    ensure!(asked.stdout.contains("of Helenus Test, Cassandra 5.0."), "{asked}");
    let refused = doctor("wrong")?;
    ensure!(refused.stdout.contains("BAD  cql: CQL at 127.0."), "{refused}");
    ensure!(refused.stdout.contains("username") && !refused.stdout.contains("wrong"), "{refused}");
    node.stop()
}

/// A snapshot of ours is one of Cassandra's: its own nodetool lists the same tables as for its own, with the same
/// files in it, and clears it.
fn kept_snapshot(story: &Story, node: &Node) -> anyhow::Result<()> {
    node.nodetool(&["snapshot", "-sf", "-t", "theirs"])?;
    let kept = args![
        "backup",
        "--cassandra-yaml",
        node.yaml(),
        "--repository",
        story.repository.root,
        "--keep-snapshot",
        "ours",
    ];
    story.agent.expect(0, &kept)?;
    let listed = node.nodetool(&["listsnapshots"])?;
    let (ours, theirs) = (tables_listed(&listed, "ours"), tables_listed(&listed, "theirs"));
    if ours != theirs {
        bail!(
            "tables only in ours: {:?}, only in theirs: {:?}",
            ours.difference(&theirs).collect::<Vec<_>>(),
            theirs.difference(&ours).collect::<Vec<_>>()
        );
    }
    let (mut ours, theirs) = (snapshot_files(node, "ours", true), snapshot_files(node, "theirs", true));
    ours.retain(|path| {
        let text = path.to_string_lossy();
        // 5.0 writes the second for a table without clustering columns and then forgets that it did.
        let is_forgotten = text.ends_with("+PartitionToSize.db") && !theirs.contains(path);
        !is_forgotten
    });
    if ours != theirs {
        bail!(
            "only ours: {:#?}\nonly theirs: {:#?}",
            ours.difference(&theirs).collect::<Vec<_>>(),
            theirs.difference(&ours).collect::<Vec<_>>()
        );
    }
    for path in theirs.iter().filter(|path| path.ends_with("schema.cql")) {
        let statements = |tag: &str| -> anyhow::Result<BTreeSet<String>> {
            let mut found = BTreeSet::new();
            for data_directory in node.data_dirs() {
                let table: PathBuf = path.iter().take(2).collect();
                if let Ok(cql) =
                    std::fs::read_to_string(data_directory.join(table).join("snapshots").join(tag).join("schema.cql"))
                {
                    found.extend(cql.split_inclusive(";\n").map(str::to_owned));
                }
            }
            Ok(found)
        };
        // In a set: Cassandra lists types and indexes in the order of a hash map.
        let (ours, theirs) = (statements("ours")?, statements("theirs")?);
        ensure!(ours == theirs, "{}: ours\n{ours:#?}\ntheirs\n{theirs:#?}", path.display());
    }
    story.agent.expect(2, &kept).or_else(|_| story.agent.expect(1, &kept)).context("a tag that is taken")?;
    node.nodetool(&["clearsnapshot", "-t", "ours"])?;
    let left = snapshot_files(node, "ours", false);
    ensure!(left.is_empty(), "nodetool clearsnapshot left {left:?}");
    let listed = node.nodetool(&["listsnapshots"])?;
    ensure!(tables_listed(&listed, "ours").is_empty(), "{listed}");
    ensure!(!tables_listed(&listed, "theirs").is_empty(), "{listed}");
    Ok(())
}

/// `keyspace.table` of the lines of `nodetool listsnapshots` about a tag.
fn tables_listed(listing: &str, tag: &str) -> BTreeSet<String> {
    let mut tables = BTreeSet::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(keyspace), Some(table)) = (words.next(), words.next(), words.next())
            && name == tag
        {
            tables.insert(format!("{keyspace}.{table}"));
        }
    }
    tables
}

/// Files of a snapshot: data directory, table directory and name within the snapshot. `manifest.json` and `schema.cql`
/// may lie in any of the data directories, so they are compared without that.
fn snapshot_files(node: &Node, tag: &str, of_users: bool) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for data_dir in node.data_dirs() {
        for entry in walkdir::WalkDir::new(data_dir).into_iter().flatten() {
            let path = entry.path().strip_prefix(data_dir).unwrap_or(entry.path());
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            let [keyspace, table, snapshots, found, rest @ ..] = parts.as_slice() else { continue };
            // Cassandra keeps writing its own tables between the two snapshots.
            if snapshots != "snapshots" || found != tag || (of_users && keyspace.starts_with("system")) {
                continue;
            }
            let rest: PathBuf = rest.iter().map(|part| part.as_ref()).collect();
            if !entry.file_type().is_file() {
                continue;
            }
            let at_top = rest == Path::new("manifest.json") || rest == Path::new("schema.cql");
            let disk = if at_top { Path::new("") } else { Path::new(data_dir.file_name().unwrap_or_default()) };
            files.insert(disk.join(keyspace.as_ref()).join(table.as_ref()).join(rest));
        }
    }
    files
}

/// A write, flush and compaction load, and a backup every moment. Each must be complete and proven; nothing may stay
/// behind; and the last one must hold every row of each flush that was over before it began, and no row that was
/// deleted before.
fn backups_under_load(flavour: &'static Flavour, backups: u64) -> anyhow::Result<()> {
    const TABLES: u64 = 3;
    let story = Story::begin(flavour)?;
    let (agent, repository) = (&story.agent, &story.repository.root);
    let (node, cql) = story.start()?;
    cql.execute("CREATE KEYSPACE load WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")?;
    for table in 0..TABLES {
        // Cassandra itself flushes each table several times a second, and compacts any two SSTables.
        cql.execute(&format!(
            "CREATE TABLE load.steady_{table} (bucket int, id bigint, body text, PRIMARY KEY (bucket, id)) \
             WITH memtable_flush_period_in_ms = {} AND gc_grace_seconds = 0 \
             AND compaction = {{'class': 'SizeTieredCompactionStrategy', 'min_threshold': 2}}",
            150 + table * 70
        ))?;
    }
    cql.execute("CREATE INDEX steady_body ON load.steady_0 (body)")?;

    let stop = AtomicBool::new(false);
    let (written, flushed) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    let expected = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&cql, TABLES, &stop, &written));
        let flusher = scope.spawn(|| {
            let mut compact = false;
            while !stop.load(Ordering::Relaxed) {
                let before = written.load(Ordering::SeqCst);
                node.nodetool(&["flush", "load"])?;
                flushed.store(before, Ordering::SeqCst);
                if compact {
                    node.nodetool(&["compact", "load"])?;
                }
                compact = !compact;
                std::thread::sleep(Duration::from_millis(300));
            }
            anyhow::Ok(())
        });
        let run = || {
            let mut expected = 0;
            for number in 0..backups {
                // At the start, so that there is something; at the end, so that the last backup has something to prove.
                if number == 0 || number + 1 == backups {
                    wait_for_more(&flushed)?;
                }
                expected = flushed.load(Ordering::SeqCst);
                let backup = args![
                    "backup",
                    "--cassandra-yaml",
                    node.yaml(),
                    "--repository",
                    repository,
                    // All tables now and then: the last one is restored.
                    "--keyspace",
                    if number % 20 == 0 || number + 1 == backups { "*" } else { "load" },
                ];
                let id = agent.backup(&backup).with_context(|| format!("backup {number}"))?;
                let left = transient_links(node.dir());
                ensure!(left.is_empty(), "backup {number} left links behind: {left:?}");
                agent
                    .expect(0, &args!["verify", id, "--repository", repository])
                    .with_context(|| format!("backup {number}"))?;
            }
            Ok(expected)
        };
        let expected = run();
        stop.store(true, Ordering::Relaxed);
        let threads = [writer.join(), flusher.join()];
        for thread in threads {
            thread.map_err(|_| anyhow::anyhow!("a thread of the load panicked"))??;
        }
        expected
    })?;
    let total = story.repository.check_complete()?;
    ensure!(total == usize::try_from(backups)?, "{total} manifests after {backups} backups");
    ensure!(expected > 0, "no flush was over before the last backup");
    let history = cql.rows("SELECT keyspace_name FROM system.compaction_history")?;
    let compactions = history.iter().filter(|row| row.contains("\"load\"")).count();
    eprintln!(
        "{}: {backups} backups in {:.0?}, {compactions} compactions, {} rows written, {expected} to be found",
        flavour.name,
        started.elapsed(),
        written.load(Ordering::SeqCst),
    );
    ensure!(compactions > 20, "only {compactions} compactions: that was no load");

    drop(cql);
    let (node, cql) = story.start_over(node)?;
    for table in 0..TABLES {
        let mut found = BTreeSet::new();
        for row in cql.rows(&format!("SELECT id FROM load.steady_{table}"))? {
            found.insert(row);
        }
        for id in 0..expected {
            let there = found.contains(&format!("id=BigInt({id})"));
            let deleted = is_deleted(id, expected);
            ensure!(there || is_deleted(id, u64::MAX), "steady_{table}: row {id} of a flushed write is missing");
            ensure!(!there || !deleted, "steady_{table}: row {id} was deleted and is back");
        }
    }
    node.stop()
}

/// Waits until the number grows.
fn wait_for_more(number: &AtomicU64) -> anyhow::Result<()> {
    let (start, before) = (Instant::now(), number.load(Ordering::SeqCst));
    while number.load(Ordering::SeqCst) <= before {
        ensure!(start.elapsed() < Duration::from_secs(120), "no flush was over within two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Rows are deleted this long after they were written.
const DELETED_AFTER: u64 = 60;

/// True if row `id` has been deleted when rows up to `end` have been written.
fn is_deleted(id: u64, end: u64) -> bool {
    id.is_multiple_of(10) && id.saturating_add(DELETED_AFTER) < end
}

fn write_until(cql: &Cql, tables: u64, stop: &AtomicBool, written: &AtomicU64) -> anyhow::Result<()> {
    let mut id = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for table in 0..tables {
            let body = schema::prose(schema::scramble(id), 20);
            insist(
                cql,
                &format!("INSERT INTO load.steady_{table} (bucket, id, body) VALUES ({}, {id}, '{body}')", id % 16),
            )?;
            if let Some(old) = id.checked_sub(DELETED_AFTER).filter(|old| old.is_multiple_of(10)) {
                insist(cql, &format!("DELETE FROM load.steady_{table} WHERE bucket = {} AND id = {old}", old % 16))?;
            }
        }
        id += 1;
        written.store(id, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(4));
    }
    Ok(())
}

/// Writes until the server has taken it: on a busy machine a flush can hold up a write for longer than the server's own
/// time limit. Writing twice what is idempotent changes nothing.
fn insist(cql: &Cql, statement: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match cql.execute(statement) {
            Err(error) if format!("{error:#}").contains("timed out") && began.elapsed() < Duration::from_secs(240) => {}
            other => return other.map(drop),
        }
    }
}

/// Versions of all SSTables below the data directories, outside of snapshots.
fn versions_in(data_dirs: &[PathBuf]) -> BTreeSet<String> {
    let mut versions = BTreeSet::new();
    for data_dir in data_dirs {
        for entry in walkdir::WalkDir::new(data_dir).into_iter().flatten() {
            let name = entry.file_name().to_string_lossy();
            if let Some((version, _)) = name.split_once('-').filter(|_| name.ends_with("-Data.db")) {
                versions.insert(version.to_owned());
            }
        }
    }
    versions
}

fn errors_in_log(dir: &Path) -> anyhow::Result<Vec<String>> {
    let log = fs::read_to_string(dir.join("log/system.log"))?;
    let is_bad = |line: &&str| line.starts_with("ERROR") || line.contains("CorruptSSTableException");
    Ok(log.lines().filter(is_bad).map(str::to_owned).collect())
}
