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
    /// The files before the restore.
    pub before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Changed {
    pub fn new() -> Self {
        let small = Small::new().expect("a node");
        small.agent.expect(0, &small.backup()).expect("a backup");
        let backed_up = files(&small);
        let visits = small.table_dir("visits");
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
        Self { small, backed_up, before }
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
    let mut arguments = args!["restore", "--data-dir", first, "--data-dir", second].to_vec();
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
    assert_same(&live(&changed.backed_up), &live(&placed), "restored");
    assert_eq!(placed.len(), changed.backed_up.len() + 1, "the snapshot stayed: {:?}", placed.keys());
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
    assert_same(&live(&changed.backed_up), &live(&files(&changed.small)), "finished");
    assert_eq!(hidden(&changed.small), Vec::<PathBuf>::new());
    // All is there: nothing is fetched, and nothing is copied.
    let delta = agent.json(&changed.restore()).expect("restored once more");
    assert_eq!(number(&delta, "fetched", "files"), 0, "{delta}");
    expect(agent, 0, &changed.command(&["--abort"]));
    assert_same(&live(&changed.backed_up), &live(&files(&changed.small)), "aborted once more");
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
    assert!(placed.len() < live(&changed.backed_up).len());
    for (path, bytes) in &placed {
        assert_eq!(changed.backed_up.get(path), Some(bytes), "{}", path.display());
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
            live(&changed.backed_up).into_iter().map(|(path, bytes)| (path.iter().skip(1).collect(), bytes)).collect();
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
        .backed_up
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
    assert_eq!(found.len(), live(&changed.backed_up).len());
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
    let output = small.agent.run(&args!["export", "latest", "--repository", small.repository.root]).expect("it ends");
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(output.stderr.contains("no such object"), "{output}");
}
