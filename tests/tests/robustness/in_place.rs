//! Restores into a node that has data: what was there comes back or goes, and nothing is fetched twice.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use helenus_tests::agent::Agent;
use helenus_tests::args;
use helenus_tests::repository::files_below;
use serde_json::Value;

use crate::node::{Small, assert_same, contents, copy_tree};

/// A node that was backed up, and what became of it since: one file is damaged, one SSTable is gone, one is new, and a
/// table has files that the backup has not.
pub struct Changed {
    pub small: Small,
    /// The files when they were backed up.
    pub backed_up: BTreeMap<PathBuf, Vec<u8>>,
    /// The same when they are restored: no SSTable is marked as repaired.
    pub restored: BTreeMap<PathBuf, Vec<u8>>,
    /// The files before the restore.
    pub before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Changed {
    pub fn new() -> Self {
        let small = Small::new().expect("a node");
        let restored = files(&small);
        let visits = small.table_dir("visits");
        for path in files_below(&visits).expect("files") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with("da-") && name.ends_with("-Statistics.db") {
                let marked = marked(&fs::read(&path).expect("statistics"), 3, 1_700_000_000_000);
                fs::write(&path, marked).expect("written");
            }
        }
        small.agent.expect(0, &small.backup()).expect("a backup");
        let backed_up = files(&small);
        assert_ne!(backed_up, restored, "no SSTable is repaired");
        let statistics = visits.join("nb-1-big-Statistics.db");
        fs::write(&statistics, b"not what it was").expect("written");
        for path in files_below(&visits).expect("files") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with("oa-") && name.contains("-big-") {
                fs::remove_file(&path).expect("removed");
            } else if let Some(rest) = name.strip_prefix("nb-1-") {
                fs::write(visits.join(format!("nb-99-{rest}")), b"newer").expect("written");
            }
        }
        let snapshot = visits.join("snapshots/mine");
        fs::create_dir_all(&snapshot).expect("made");
        fs::write(snapshot.join("nb-1-big-Data.db"), "kept").expect("written");
        let before = files(&small);
        Self { small, backed_up, restored, before }
    }

    /// `restore latest --in-place`, `--finish` or `--abort`, with the data directories.
    pub fn command(&self, words: &[&str]) -> Vec<OsString> {
        in_place(&self.small, words)
    }

    pub fn restore(&self) -> Vec<OsString> {
        let mut arguments = self.command(&["latest", "--in-place", "--replace", "--repository"]);
        arguments.push(self.small.repository.root.clone().into());
        arguments
    }
}

pub fn in_place(small: &Small, words: &[&str]) -> Vec<OsString> {
    let [first, second] = &small.data_dirs;
    // A Cassandra of others, which is just starting on this machine, is nobody's concern here.
    let mut arguments = args!["restore", "--cassandra-is-stopped", "--data-dir", first, "--data-dir", second].to_vec();
    arguments.extend(words.iter().map(OsString::from));
    arguments
}

/// Every file of the node by data directory, without what tools keep there.
pub fn files(small: &Small) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for data_dir in &small.data_dirs {
        let name = data_dir.file_name().expect("a name");
        all.extend(
            contents(data_dir).expect("files").into_iter().map(|(path, bytes)| (Path::new(name).join(path), bytes)),
        );
    }
    all
}

/// The same without snapshots, which no restore touches.
pub fn live(files: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    files
        .iter()
        .filter(|(path, _)| !path.iter().any(|part| part == "snapshots"))
        .map(|(p, b)| (p.clone(), b.clone()))
        .collect()
}

/// Hidden directories that tools have left in the data directories.
pub fn hidden(small: &Small) -> Vec<PathBuf> {
    let entries = small.data_dirs.iter().flat_map(|dir| fs::read_dir(dir).expect("a data directory").flatten());
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect()
}

/// `Statistics.db` of version `oa` or `da` with another level and another time of repair; by the layout of the format,
/// and not by the decoder.
fn marked(statistics: &[u8], level: i32, repaired_at: i64) -> Vec<u8> {
    let number = |at: usize| u32::from_be_bytes(statistics[at..at + 4].try_into().expect("four bytes")) as usize;
    // Count, checksum, four parts of type and offset, checksum: the third is STATS, the fourth comes after it.
    let (start, end) = (number(28), number(36) - 4);
    let mut at = start;
    for _ in 0..2 {
        at += 4 + 16 * number(at);
    }
    // A position, two timestamps, two deletion times, two TTLs, the ratio; then the bins of the tombstones.
    at += 12 + 16 + 8 + 8 + 8;
    at += 8 + 12 * number(at + 4);
    let mut marked = statistics.to_vec();
    marked[at..at + 4].copy_from_slice(&level.to_be_bytes());
    marked[at + 4..at + 12].copy_from_slice(&repaired_at.to_be_bytes());
    let sum = crc32fast::hash(&marked[start..end]);
    marked[end..end + 4].copy_from_slice(&sum.to_be_bytes());
    marked
}

fn number(document: &Value, field: &str, of: &str) -> u64 {
    document[field][of].as_u64().unwrap_or_else(|| panic!("no {field}.{of} in {document}"))
}

fn expect(agent: &Agent, code: i32, arguments: &[OsString]) -> helenus_tests::process::Output {
    agent.expect(code, arguments).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn what_was_there_is_replaced_and_comes_back() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    let mut dry = changed.restore();
    dry.push("--dry-run".into());
    expect(agent, 0, &dry);
    assert_same(&changed.before, &files(&changed.small), "after --dry-run");

    let done = agent.json(&changed.restore()).expect("restored");
    let placed = files(&changed.small);
    assert_same(&live(&changed.restored), &live(&placed), "restored");
    assert_eq!(placed.len(), changed.restored.len() + 1, "the snapshot stayed: {:?}", placed.keys());
    assert!(number(&done, "reused", "files") > number(&done, "fetched", "files"), "{done}");
    assert!(number(&done, "fetched", "files") > 1, "{done}");
    expect(agent, 0, &changed.restore());
    let again = agent.json(&changed.restore()).expect("restored already");
    assert_eq!(again["resumes"], true, "{again}");
    assert_eq!((&again["fetched"], &again["reused"]), (&done["fetched"], &done["reused"]));

    expect(agent, 0, &changed.command(&["--abort"]));
    assert_same(&changed.before, &files(&changed.small), "aborted");
    assert_eq!(hidden(&changed.small), Vec::<PathBuf>::new());
    expect(agent, 1, &changed.command(&["--abort"]));
    expect(agent, 1, &changed.command(&["--finish"]));

    expect(agent, 0, &changed.restore());
    expect(agent, 0, &changed.command(&["--finish", "--dry-run"]));
    expect(agent, 0, &changed.command(&["--finish"]));
    assert_same(&live(&changed.restored), &live(&files(&changed.small)), "finished");
    assert_eq!(hidden(&changed.small), Vec::<PathBuf>::new());
    // All is there: nothing is fetched, and nothing is copied.
    let delta = agent.json(&changed.restore()).expect("restored once more");
    assert_eq!(number(&delta, "fetched", "files"), 1, "what the restore has rewritten: {delta}");
    assert_eq!(delta["reset"], 1, "{delta}");
    expect(agent, 0, &changed.command(&["--abort"]));
    assert_same(&live(&changed.restored), &live(&files(&changed.small)), "aborted once more");
}

/// What is not proven keeps the old files; what Cassandra does to files of its own does not.
#[test]
fn finish_wants_a_proof() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    expect(agent, 0, &changed.restore());
    let visits = changed.small.table_dir("visits");
    let data = visits.join("nb-1-big-Data.db");
    let good = fs::read(&data).expect("the data");
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    fs::remove_file(&data).expect("removed");
    fs::write(&data, &flipped).expect("written");
    let output = expect(agent, 3, &changed.command(&["--finish"]));
    assert!(output.stdout.contains("nb-1-big-Data.db: other bytes than in the backup"), "{output}");
    assert!(!hidden(&changed.small).is_empty());
    fs::remove_file(&data).expect("removed");
    let output = expect(agent, 3, &changed.command(&["--finish"]));
    assert!(output.stdout.contains("there, without its Data.db"), "{output}");
    // Compacted: gone altogether, and there is another one.
    for path in files_below(&visits).expect("files") {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nb-1-")) {
            fs::remove_file(&path).expect("removed");
        }
    }
    let output = expect(agent, 3, &changed.command(&["--finish"]));
    assert!(output.stdout.contains("nb-1-big is missing, and the table has no newer SSTable"), "{output}");
    for component in ["Data.db", "Index.db"] {
        fs::write(visits.join(format!("nb-100-big-{component}")), "written since").expect("written");
    }
    fs::write(visits.join("oa-1-big-Statistics.db"), "rewritten").ok();
    let finished = agent.json(&changed.command(&["--finish"])).expect("finished");
    assert_eq!(finished["compacted"], 1, "{finished}");
    assert_eq!(hidden(&changed.small), Vec::<PathBuf>::new());
}

/// An abort after Cassandra has run: the old files are back, and what it wrote is kept.
#[test]
fn what_was_written_since_is_kept() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    expect(agent, 0, &changed.restore());
    let visits = changed.small.table_dir("visits");
    fs::write(visits.join("nb-100-big-Data.db"), "written since").expect("written");
    expect(agent, 0, &changed.command(&["--abort"]));
    assert_same(&changed.before, &files(&changed.small), "aborted");
    let [kept] = hidden(&changed.small).try_into().expect("one directory");
    let kept = contents(&kept).expect("files");
    assert_eq!(kept.values().collect::<Vec<_>>(), [&b"written since".to_vec()], "{:?}", kept.keys());
}

/// An object is missing: its SSTable is named and left out, the others are restored, and what the node has is no loss.
#[test]
fn an_object_is_missing() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    let objects = files_below(&changed.small.repository.root.join("data")).expect("objects");
    let of = |prefix: &str| -> Vec<&PathBuf> {
        let is_of =
            |path: &&PathBuf| path.to_string_lossy().contains("/visits-") && path.to_string_lossy().contains(prefix);
        objects.iter().filter(is_of).collect()
    };
    // The node has it, and the repository not any more.
    let there = of("/da-");
    assert!(!there.is_empty());
    there.iter().for_each(|path| fs::remove_file(path).expect("removed"));
    let output = agent.json(&changed.restore());
    let done = output.expect("nothing is lost");
    assert_eq!(done["lost"].as_array().map(Vec::len), Some(0), "{done}");
    expect(agent, 0, &changed.command(&["--abort"]));
    // Nobody has it.
    let missing = of("/oa-");
    assert!(!missing.is_empty());
    missing.iter().for_each(|path| fs::remove_file(path).expect("removed"));
    let output = expect(agent, 3, &changed.restore());
    assert!(output.stdout.contains("NOT restored from 2") && output.stdout.contains("shop.visits oa-"), "{output}");
    assert!(output.stdout.contains("Data.db: ") && output.stdout.contains("no such object"), "{output}");
    let placed = live(&files(&changed.small));
    assert!(placed.len() < live(&changed.restored).len());
    for (path, bytes) in &placed {
        assert_eq!(changed.restored.get(path), Some(bytes), "{}", path.display());
    }
    // The old files may be the only ones that have those rows.
    let output = expect(agent, 3, &changed.command(&["--finish"]));
    assert!(output.stdout.contains("could not be restored"), "{output}");
    expect(agent, 0, &changed.command(&["--finish", "--accept-loss"]));
    let elsewhere = changed.small.work.path().join("elsewhere");
    let output = expect(agent, 3, &changed.small.restore(&elsewhere));
    assert!(output.stdout.contains("shop.visits oa-"), "{output}");
    assert!(!contents(&elsewhere).expect("files").is_empty());
}

/// The list of a table's SSTables is missing: the table is named and stays as it is, the others are restored.
#[test]
fn a_part_is_missing() {
    let changed = Changed::new();
    let (small, agent) = (&changed.small, &changed.small.agent);
    let parts = files_below(&small.repository.root.join("part")).expect("parts");
    let of_visits = parts.iter().find(|path| path.to_string_lossy().contains("/visits-")).expect("a part");
    fs::remove_file(of_visits).expect("removed");
    let orders = small.table_dir("orders");
    let gone = files_below(&orders).expect("files").pop().expect("a file");
    fs::remove_file(&gone).expect("removed");
    expect(agent, 3, &[changed.restore(), args!["--dry-run"].to_vec()].concat());
    let output = expect(agent, 3, &changed.restore());
    assert!(
        output.stdout.contains("shop.visits (all of it), ") && output.stdout.contains("no such object"),
        "{output}"
    );
    let placed = files(small);
    for (path, bytes) in &placed {
        let expected = if path.to_string_lossy().contains("/visits-") { &changed.before } else { &changed.restored };
        assert_eq!(expected.get(path), Some(bytes), "{}", path.display());
    }
    assert!(gone.exists(), "the other tables are restored");
    expect(agent, 3, &changed.command(&["--finish"]));
    expect(agent, 0, &changed.command(&["--finish", "--accept-loss"]));
    let elsewhere = small.work.path().join("elsewhere");
    let output = expect(agent, 3, &small.restore(&elsewhere));
    assert!(output.stdout.contains("shop.visits (all of it), "), "{output}");
    assert!(!contents(&elsewhere).expect("files").is_empty());
    let output = expect(agent, 1, &args!["export", "latest", "--repository", small.repository.root]);
    assert!(output.stderr.contains("shop.visits (all of it) of 2"), "{output}");
}

/// Two SSTables of one name, in two data directories.
#[test]
fn twins() {
    let small = Small::new().expect("a node");
    let agent = &small.agent;
    let visits = small.table_dir("visits");
    let other = small.data_dirs[1].join("shop").join(visits.file_name().expect("a name"));
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a table").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let of = names(&other).into_iter().find(|name| name.starts_with("nb-")).expect("an SSTable");
    let of = of.rsplit_once('-').expect("a name").0.to_owned();
    for name in names(&visits).into_iter().filter(|name| name.starts_with(&format!("{of}-"))) {
        fs::remove_file(visits.join(name)).expect("removed");
    }
    let first = names(&visits).into_iter().find(|name| name.starts_with("nb-")).expect("an SSTable");
    let first = first.rsplit_once('-').expect("a name").0.to_owned();
    for name in names(&visits) {
        if let Some(component) = name.strip_prefix(&format!("{first}-")) {
            fs::rename(visits.join(&name), visits.join(format!("{of}-{component}"))).expect("renamed");
        }
    }
    let before = files(&small);
    expect(agent, 0, &small.backup());
    let again = agent.json(&small.backup()).expect("a backup");
    assert_eq!(again["added"]["sstables"], 0, "{again}");
    let mut restore = in_place(&small, &["latest", "--in-place", "--replace", "--repository"]);
    restore.push(small.repository.root.clone().into());
    expect(agent, 0, &restore);
    assert_same(&live(&before), &live(&files(&small)), "restored");
    let finished = agent.json(&in_place(&small, &["--finish"])).expect("finished");
    assert_eq!((&finished["rewritten"], &finished["compacted"]), (&0.into(), &0.into()), "{finished}");
}

/// Onto a node with other data directories.
#[test]
fn onto_other_data_directories() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    for count in [1, 3] {
        let dirs: Vec<PathBuf> =
            (0..count).map(|number| changed.small.work.path().join(format!("{count} disks/{number}"))).collect();
        let mut arguments =
            args!["restore", "latest", "--in-place", "--replace", "--repository", changed.small.repository.root]
                .to_vec();
        arguments.push("--cassandra-is-stopped".into());
        let mut end = args!["restore", "--finish"].to_vec();
        for dir in &dirs {
            fs::create_dir_all(dir).expect("made");
            arguments.extend(args!["--data-dir", dir]);
            end.extend(args!["--data-dir", dir]);
        }
        expect(agent, 0, &arguments);
        expect(agent, 0, &end);
        let mut found = BTreeMap::new();
        for dir in &dirs {
            let inside = contents(dir).expect("files");
            assert!(!inside.is_empty(), "{} has nothing", dir.display());
            found.extend(inside);
        }
        let expected: BTreeMap<PathBuf, Vec<u8>> =
            live(&changed.restored).into_iter().map(|(path, bytes)| (path.iter().skip(1).collect(), bytes)).collect();
        assert_same(&expected, &found, &format!("{count} data directories"));
    }
}

/// Another name, and a table that cannot be the same.
#[test]
fn under_another_name() {
    let changed = Changed::new();
    let (small, agent) = (&changed.small, &changed.small.agent);
    let shop = small.data_dirs[0].join("shop");
    let (id, other) = ("0f0f0f0f00000000000000000000000a", "0f0f0f0f00000000000000000000000b");
    fs::create_dir_all(shop.join(format!("visits_old-{id}"))).expect("made");
    let orders = small.table_dir("orders");
    copy_tree(&orders, &shop.join(format!("orders_old-{other}")), &|_| true).expect("copied");
    let before = files(small);
    let rename = |rename: &str| {
        let mut arguments = in_place(small, &["latest", "--in-place", "--rename", rename, "--repository"]);
        arguments.push(small.repository.root.clone().into());
        arguments
    };
    let output = expect(agent, 1, &rename("shop.visits=shop.nowhere"));
    assert!(output.stderr.contains("shop.nowhere: the node has no such table"), "{output}");
    expect(agent, 2, &rename("shop.missing=shop.visits_old"));
    let output = expect(agent, 1, &rename("shop.visits=shop.orders_old"));
    assert!(output.stderr.contains("shop.visits cannot become shop.orders_old: "), "{output}");
    expect(agent, 0, &in_place(small, &["--abort"]));
    assert_same(&before, &files(small), "refused");

    expect(agent, 0, &rename("shop.visits=shop.visits_old"));
    let placed = files(small);
    for (path, bytes) in &before {
        assert_eq!(placed.get(path), Some(bytes), "{}", path.display());
    }
    let renamed: Vec<&Vec<u8>> = placed
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains("visits_old-"))
        .map(|(_, bytes)| bytes)
        .collect();
    let visits: Vec<&Vec<u8>> = changed
        .restored
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains("/visits-"))
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(renamed, visits);
    expect(agent, 0, &in_place(small, &["--abort"]));
    assert_same(&before, &files(small), "aborted");

    let elsewhere = small.work.path().join("elsewhere");
    let mut arguments = small.restore(&elsewhere);
    arguments.extend(args!["--rename", "shop=kiosk", "--cassandra-version", "5.0"]);
    expect(agent, 0, &arguments);
    let found = contents(&elsewhere).expect("files");
    assert!(found.keys().all(|path| path.starts_with("kiosk")), "{:?}", found.keys());
    assert_eq!(found.len(), live(&changed.restored).len());
}

/// What must be refused before anything is changed.
#[test]
fn refused_before_anything_is_changed() {
    let changed = Changed::new();
    let (small, agent) = (&changed.small, &changed.small.agent);
    let mut arguments = changed.restore();
    arguments.extend(args!["--cassandra-version", "4.1"]);
    let output = expect(agent, 1, &arguments);
    assert!(output.stderr.contains("need Cassandra 5.0 or newer, and the target is a 4.x"), "{output}");
    assert!(output.stderr.contains("-Data.db: "), "the first file is not named: {output}");
    assert_same(&changed.before, &files(small), "another release");

    let moved = small.work.path().join("moved");
    let visits = small.table_dir("visits");
    fs::rename(&visits, &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, &visits).expect("linked");
    let output = expect(agent, 1, &changed.restore());
    assert!(output.stderr.contains("a symbolic link, and a restore follows none"), "{output}");
    fs::remove_file(&visits).expect("removed");
    fs::rename(&moved, &visits).expect("moved back");
    std::os::unix::fs::symlink(&moved, visits.join(".by_day")).expect("linked");
    let output = expect(agent, 1, &changed.restore());
    assert!(output.stderr.contains(".by_day: a symbolic link, and a restore follows none"), "{output}");
    fs::remove_file(visits.join(".by_day")).expect("removed");

    expect(agent, 2, &[changed.restore(), args!["--before", "20200101000000"].to_vec()].concat());
    let mut early = changed.command(&["--before", "20200101000000", "--in-place", "--replace", "--repository"]);
    early.push(small.repository.root.clone().into());
    let output = expect(agent, 1, &early);
    assert!(
        output.stderr.contains("no backup of any node at or before 2020-01-01T00:00:00.000Z; the oldest is "),
        "{output}"
    );
    assert_same(&changed.before, &files(small), "refused");
}

/// An SSTable that was repaired is not any more, unless that is wanted; the proof of the restore knows it.
#[test]
fn repairs_are_forgotten() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    let done = agent.json(&changed.restore()).expect("restored");
    assert_eq!(done["reset"], 1, "{done}");
    let finished = agent.json(&changed.command(&["--finish", "--dry-run"])).expect("a look");
    assert_eq!((&finished["rewritten"], &finished["problems"]), (&0.into(), &Value::Array(vec![])), "{finished}");
    // The next backup takes it for what it is.
    let again = agent.json(&changed.small.backup()).expect("a backup");
    assert_eq!(again["added"]["sstables"], 1, "{again}");
    expect(agent, 0, &changed.command(&["--abort"]));
    assert_same(&changed.before, &files(&changed.small), "aborted");

    let id = agent.json(&args!["list", "--repository", changed.small.repository.root]).expect("a list");
    let id = id["backups"][0]["backup_id"].as_str().expect("an id").to_owned();
    let mut kept = changed.command(&[&id, "--in-place", "--replace", "--keep-repaired", "--repository"]);
    kept.push(changed.small.repository.root.clone().into());
    let done = agent.json(&kept).expect("restored");
    assert_eq!(done["reset"], 0, "{done}");
    assert_same(&live(&changed.backed_up), &live(&files(&changed.small)), "kept");
    let output = expect(agent, 1, &changed.restore());
    assert!(output.stderr.contains("--keep-repaired"), "{output}");
    expect(agent, 0, &changed.command(&["--abort"]));
    for (more, expected) in [(None, &changed.restored), (Some("--keep-repaired"), &changed.backed_up)] {
        let target = changed.small.work.path().join(format!("elsewhere {}", more.is_some()));
        let mut arguments =
            args!["restore", id, "--repository", changed.small.repository.root, "--to-dir", target].to_vec();
        arguments.extend(more.map(OsString::from));
        expect(agent, 0, &arguments);
        let expected: BTreeMap<PathBuf, Vec<u8>> =
            live(expected).into_iter().map(|(path, bytes)| (path.iter().skip(1).collect(), bytes)).collect();
        assert_same(&expected, &contents(&target).expect("files"), "into a directory");
    }
}

/// A backup of another cluster or another node is taken when it is named, and otherwise not.
#[test]
fn of_another_node() {
    let small = Small::new().expect("a node");
    let agent = &small.agent;
    let other = "11111111-2222-3333-4444-555555555555";
    expect(agent, 0, &[small.backup(), args!["--host-id", other].to_vec()].concat());
    let yaml = small.work.path().join("cassandra.yaml");
    fs::write(&yaml, "cluster_name: Orchard\n").expect("written");
    let restore = |more: &[&str]| {
        let words = [&["latest", "--in-place", "--table", "shop.visits", "--dry-run"], more].concat();
        let mut arguments = in_place(&small, &words);
        arguments.extend(args!["--repository", small.repository.root]);
        arguments
    };
    let yaml = yaml.to_str().expect("a path");
    let output = expect(agent, 2, &restore(&["--cassandra-yaml", yaml]));
    assert!(output.stderr.contains("this node is of the cluster Orchard: pass --cluster \"Greenhouse\""), "{output}");
    let output = expect(agent, 2, &restore(&["--cassandra-yaml", yaml, "--cluster", "Greenhouse"]));
    assert!(output.stderr.contains(&format!("pass --host-id {other}")), "{output}");
    expect(agent, 2, &restore(&[]));
    expect(agent, 0, &restore(&["--host-id", other]));
    expect(agent, 0, &restore(&["--replace"]));
    expect(agent, 0, &restore(&["--cassandra-yaml", yaml, "--cluster", "Greenhouse", "--host-id", other]));
}

/// Signals: it pauses, goes on, and ends with a word; the same command goes on with what is there.
#[test]
fn paused_and_stopped() {
    use nix::sys::signal::{Signal, kill};
    let small = Small::new().expect("a node");
    small.agent.expect(0, &small.backup()).expect("a backup");
    let heartbeat = small.work.path().join("heartbeat");
    let state = || serde_json::from_slice::<Value>(&fs::read(&heartbeat).ok()?).ok();
    let is_paused = |state: &Value| state["paused"] == true;
    // A restore of so little may be over before the signal comes.
    let mut caught = 0;
    for attempt in 0..50 {
        let target = small.work.path().join(format!("paused {attempt}"));
        let _ = fs::remove_file(&heartbeat);
        let mut command = std::process::Command::new(crate::node::PROGRAM);
        command.args(small.restore(&target)).arg("--heartbeat-file").arg(&heartbeat);
        command.arg("--config").arg(small.work.path().join("agent/helenus.toml"));
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let wait = |child: &mut std::process::Child, done: &dyn Fn(Option<Value>) -> bool| {
            for _ in 0..10_000 {
                if done(state()) {
                    return true;
                }
                if child.try_wait().expect("a child").is_some() {
                    return false;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            panic!("nothing happens");
        };
        if !wait(&mut child, &|state| state.is_some()) {
            continue;
        }
        kill(pid, Signal::SIGUSR1).expect("sent");
        if !wait(&mut child, &|state| state.as_ref().is_some_and(is_paused)) {
            continue;
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(child.try_wait().expect("a child").is_none(), "it does not pause");
        caught += 1;
        if caught == 1 {
            kill(pid, Signal::SIGUSR2).expect("sent");
            assert!(child.wait().expect("it ends").success());
        } else {
            kill(pid, Signal::SIGTERM).expect("sent");
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("SIGTERM: the restore was stopped"), "{said}");
            assert!(!target.join("shop").exists(), "a table was placed");
            small.agent.expect(0, &small.restore(&target)).expect("it goes on");
        }
        assert_same(&small.expected().expect("files"), &contents(&target).expect("files"), "paused");
        if caught == 2 {
            return;
        }
    }
    panic!("no restore was caught at work");
}

/// Another restore is not begun before the first one is ended.
#[test]
fn one_at_a_time() {
    let changed = Changed::new();
    let agent = &changed.small.agent;
    expect(agent, 0, &changed.restore());
    let mut other = changed.restore();
    other.extend(args!["--table", "shop.visits"]);
    let output = expect(agent, 1, &other);
    assert!(output.stderr.contains("waits for a decision") && output.stderr.contains("--abort"), "{output}");
    let first_only = args!["restore", "--finish", "--data-dir", changed.small.data_dirs[1]];
    let output = agent.expect(1, &first_only).expect("refused");
    assert!(output.stderr.contains("name all data directories"), "{output}");
    expect(agent, 0, &changed.command(&["--abort"]));
    assert_same(&changed.before, &files(&changed.small), "aborted");
}

/// Those who do not sit at the terminal: files that say how far it is and how it ended, and a command after it.
#[test]
fn who_waits_for_it() {
    let changed = Changed::new();
    let (small, agent) = (&changed.small, &changed.small.agent);
    let path = |name: &str| small.work.path().join(name);
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(path(name)).expect("the file")).expect("a document") };
    let watched = |hook: &str| {
        let files = args!["--heartbeat-file", path("heartbeat"), "--done-file", path("done"), "--hook", hook];
        [changed.restore(), files.to_vec()].concat()
    };
    let hook = format!("echo $HELENUS_OUTCOME $HELENUS_BACKUP_ID > {}", path("hook").display());
    expect(agent, 0, &watched(&hook));
    let heartbeat = read("heartbeat");
    assert!(heartbeat["bytes_total"].as_u64() > Some(0) && heartbeat["files_total"].as_u64() > Some(0), "{heartbeat}");
    let done = read("done");
    assert_eq!(done["outcome"], "done", "{done}");
    let told = fs::read_to_string(path("hook")).expect("the hook's file");
    assert_eq!(told.trim(), format!("done {}", done["backup_id"].as_str().expect("an id")));
    let output = expect(agent, 1, &watched("exit 7"));
    assert!(output.stderr.contains("exit 7") && output.stderr.contains("the restore itself is complete"), "{output}");
    assert_eq!(read("done")["outcome"], "failed");
}

/// A backup as a tar has the files that a restore has, and the tools of everybody read it.
#[test]
fn as_a_tar() {
    let changed = Changed::new();
    let small = &changed.small;
    let expected: BTreeMap<PathBuf, Vec<u8>> =
        live(&changed.backed_up).into_iter().map(|(path, bytes)| (path.iter().skip(1).collect(), bytes)).collect();
    for format in ["tar", "tar.gz", "tar.zst"] {
        let script = "set -o pipefail; mkdir \"$0\"; \"$@\" | tar x -C \"$0\" $DECODE";
        let target = small.work.path().join(format);
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script]).arg(&target).arg(crate::node::PROGRAM);
        command.args(["export", "latest", "--format", format, "--repository"]).arg(&small.repository.root);
        command.arg("--config").arg(small.work.path().join("agent/helenus.toml"));
        command.env(
            "DECODE",
            match format {
                "tar" => "",
                "tar.gz" => "--gzip",
                _ => "--zstd",
            },
        );
        let output = helenus_tests::process::run(&mut command, std::time::Duration::from_secs(60)).expect("it ends");
        assert!(output.success(), "{format}: {output}");
        assert!(output.stderr.contains("every byte proven"), "{format}: {output}");
        assert_same(&expected, &contents(&target).expect("files"), format);
    }
    let objects = files_below(&small.repository.root.join("data")).expect("objects");
    fs::remove_file(&objects[objects.len() / 2]).expect("removed");
    // What is incomplete looks so to whoever reads it, though the missing object lies between two members.
    for (format, list) in [("tar", "tar t"), ("tar.gz", "gzip -t"), ("tar.gz", "tar tz"), ("tar.zst", "zstd -tq")] {
        let script = "set -o pipefail; \"$@\" 2>&1 >\"$0\"; test $? = 1 || exit 9; $LIST <\"$0\"";
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script]).arg(small.work.path().join("cut")).arg(crate::node::PROGRAM);
        command.args(["export", "latest", "--format", format, "--repository"]).arg(&small.repository.root);
        command.arg("--config").arg(small.work.path().join("agent/helenus.toml")).env("LIST", list);
        let output = helenus_tests::process::run(&mut command, std::time::Duration::from_secs(60)).expect("it ends");
        assert!(output.code().is_some_and(|code| code != 0 && code != 9), "{list}: {output}");
        assert!(output.stdout.contains("no such object"), "{output}");
        assert!(!output.stderr.is_empty(), "{list}: {output}");
    }
}
