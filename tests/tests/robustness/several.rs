//! Several repositories in one run: each byte is read once, each repository is complete by itself, and one that fails
//! takes nobody with it.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use helenus::backup::Job;
use helenus::config::{Compress, MinFree};
use helenus::manifest::Manifest;
use helenus::node::Node;
use helenus::restore::fetch::Fetcher;
use helenus::restore::prove::{Level, prove};
use helenus::selection::Selection;
use helenus::store::s3::Settings;
use helenus::store::{Local, S3, Store};
use helenus_tests::agent::transient_links;
use helenus_tests::process::{self, Output};
use helenus_tests::repository::{Repository, array, files_below, number, text};
use helenus_tests::s3_server::{Ask, Fault, S3Server};
use serde_json::Value;
use uuid::Uuid;

use crate::node::{PROGRAM, Small, assert_same, contents};

/// Of a component that is sent in slices, and to a bucket in two parts.
const LARGE_BYTES: usize = 10 << 20;

/// A node, one of whose SSTables has a large component, and two repositories.
struct Two {
    small: Small,
    other: Repository,
}

impl Two {
    fn new() -> Self {
        let small = Small::new().expect("a node");
        let other = Repository::at(small.work.path().join("other"));
        add_large(&small, 0);
        Self { small, other }
    }

    fn backup(&self) -> Vec<OsString> {
        let mut arguments = self.small.backup();
        arguments.extend(["--repository".into(), self.other.root.clone().into()]);
        arguments
    }

    fn repositories(&self) -> [&Repository; 2] {
        [&self.small.repository, &self.other]
    }

    /// Fails unless the newest backup of this repository is all of the node.
    fn assert_restorable(&self, repository: &Repository, when: &str) {
        let to = self.small.work.path().join(format!("restored {}", Uuid::new_v4()));
        let arguments = helenus_tests::args!["restore", "latest", "--repository", repository.root, "--to-dir", to];
        self.small.agent.expect(0, &arguments).unwrap_or_else(|error| panic!("{when}: {error:#}"));
        assert_same(&self.small.expected().expect("files"), &contents(&to).expect("files"), when);
        fs::remove_dir_all(&to).expect("removed");
    }
}

/// Adds a component, noise and some zeroes, to one of a table's SSTables; returns the bytes of that SSTable.
fn add_large(small: &Small, number: usize) -> u64 {
    let files = files_below(&small.table_dir("visits")).expect("files");
    let mut prefixes = files.iter().filter_map(|path| path.to_str()?.strip_suffix("Data.db"));
    let prefix = prefixes.nth(number).expect("an SSTable");
    let mut bytes = helenus_tests::store_suite::noise(7, LARGE_BYTES - (1 << 20));
    bytes.resize(LARGE_BYTES, 0);
    fs::write(format!("{prefix}Large.db"), bytes).expect("written");
    let of_it = files.iter().filter(|path| path.to_string_lossy().starts_with(prefix));
    of_it.map(|path| fs::metadata(path).expect("a file").len()).sum::<u64>() + LARGE_BYTES as u64
}

fn with_json(arguments: &[OsString]) -> Vec<OsString> {
    arguments.iter().cloned().chain(["--json".into()]).collect()
}

fn ids(document: &Value) -> Vec<Option<&str>> {
    let entries = array(document, "repositories").expect("the repositories");
    entries.iter().map(|entry| entry.get("backup_id").and_then(Value::as_str)).collect()
}

#[test]
fn both_are_complete_and_have_the_same_backup() {
    let two = Two::new();
    let document = two.small.agent.json(&two.backup()).expect("a backup");
    let id = text(&document, "backup_id").expect("an id");
    assert_eq!(ids(&document), [Some(id), Some(id)]);
    for (entry, repository) in array(&document, "repositories").expect("two").iter().zip(two.repositories()) {
        assert_eq!(text(entry, "repository").expect("a name"), repository.root.to_str().expect("a path"));
        assert_eq!(repository.check_complete().expect("complete"), 1);
        two.assert_restorable(repository, "both");
    }
    assert!(transient_links(&two.small.data()).is_empty());

    // One that is behind is given what it lacks, and nobody else is given anything.
    two.small.agent.expect(0, &two.small.backup()).expect("a backup of the first alone");
    let third = Repository::at(two.small.work.path().join("third"));
    let mut arguments = two.backup();
    arguments.extend(["--repository".into(), third.root.clone().into()]);
    let document = two.small.agent.json(&arguments).expect("a backup");
    let added = |entry: &Value| number(entry.get("added").expect("added"), "files").expect("a number");
    let entries = array(&document, "repositories").expect("three");
    assert_eq!(entries.iter().map(|entry| added(entry) == 0).collect::<Vec<_>>(), [true, true, false]);
    for repository in [&two.small.repository, &two.other, &third] {
        repository.check_complete().expect("complete");
        two.assert_restorable(repository, "three");
    }

    // A forecast tells each its own.
    add_large(&two.small, 1);
    two.small.agent.expect(0, &two.small.backup()).expect("a backup of the first alone");
    let mut arguments = two.backup();
    arguments.push("--dry-run".into());
    let document = two.small.agent.json(&arguments).expect("a forecast");
    let entries = array(&document, "repositories").expect("two");
    let new: Vec<u64> = entries.iter().map(|entry| number(entry, "new_sstables").expect("a number")).collect();
    assert_eq!(new, [0, 1], "{document}");
}

/// What the processes that a shell waited for have read, by the kernel's count of read calls.
fn bytes_read(two: &Two, arguments: &[OsString]) -> u64 {
    let mut command = Command::new("bash");
    command.args(["-c", "\"$@\" >&2 || exit; while read -r line; do echo \"$line\"; done < /proc/$$/io", "bash"]);
    command.arg(PROGRAM).args(arguments).arg("--config").arg(two.small.work.path().join("agent/helenus.toml"));
    let output = process::run(&mut command, Duration::from_secs(60)).expect("it ends");
    assert!(output.success(), "{output}");
    let read = output.stdout.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|read| read.trim().parse().ok()).unwrap_or_else(|| panic!("no rchar: {output}"))
}

/// By the kernel's count of what read calls returned (`rchar`), which knows nothing of the program's own idea.
#[test]
fn each_byte_is_read_once() {
    let two = Two::new();
    let nothing_new = {
        two.small.agent.expect(0, &two.backup()).expect("a backup");
        bytes_read(&two, &two.backup())
    };
    let data: u64 = two.small.expected().expect("files").values().map(|bytes| bytes.len() as u64).sum();
    assert!(nothing_new < data / 4, "{nothing_new} bytes were read of {data}, and nothing was new");
    let (one, both) = (Two::new(), Two::new());
    for (read, repositories) in [(bytes_read(&one, &one.small.backup()), 1), (bytes_read(&both, &both.backup()), 2)] {
        assert!((data..data + data / 4).contains(&read), "{repositories}: {read} bytes were read of {data}");
    }
    // One has all but a component of 9 MiB, and the other lacks everything.
    let behind = Two::new();
    behind.small.agent.expect(0, &behind.small.backup()).expect("a backup of the first alone");
    add_large(&behind.small, 1);
    let data = data + LARGE_BYTES as u64;
    let read = bytes_read(&behind, &behind.backup());
    assert!((data..data + data / 4).contains(&read), "{read} bytes were read of {data}");
    for repository in behind.repositories() {
        behind.assert_restorable(repository, "behind");
    }
}

/// Fails unless each repository is as the document says: a backup that can be restored, or none and the reason.
/// Returns how many have one.
fn assert_as_told(two: &Two, output: &Output, before: usize, when: &str) -> usize {
    let document = output.json().unwrap_or_else(|error| panic!("{when}: {error:#}"));
    let mut committed = 0;
    for (entry, repository) in array(&document, "repositories").expect("two").iter().zip(two.repositories()) {
        let manifests = repository.check_complete().unwrap_or_else(|error| panic!("{when}: {error:#}"));
        if entry.get("backup_id").is_some() {
            assert_eq!(manifests, before + 1, "{when}: {}", repository.root.display());
            two.assert_restorable(repository, when);
            committed += 1;
        } else {
            assert_eq!(manifests, before, "{when}: {}", repository.root.display());
            let error = text(entry, "error").expect("an error");
            assert!(output.stderr.contains(error), "{when}: {output}");
        }
    }
    assert_eq!(output.code(), Some(if committed == 2 { 0 } else { 1 }), "{when}: {output}");
    // A directory of links that cannot be removed is no failure; the next run removes it.
    let left = transient_links(&two.small.data());
    assert!(committed == 2 || left.is_empty(), "{when}: {left:?} is left behind");
    committed
}

/// The system refuses a call at each kind of step; most of these are calls of one of the two stores.
#[test]
fn one_fails_and_the_other_does_not() {
    let counted = Two::new();
    let list = counted.small.work.path().join("steps");
    counted.small.agent.with("HELENUS_FAIL_LIST", &list).expect(0, &counted.backup()).expect("a backup");
    let list = fs::read_to_string(&list).expect("the list of steps");
    let names: std::collections::BTreeSet<&str> = list.lines().collect();
    let mut halves = 0;
    for name in names {
        for passing in [1, 2, 6] {
            let when = format!("{name}:{passing}=ENOSPC");
            let two = Two::new();
            let agent = two.small.agent.with("HELENUS_FAIL_ERROR", &when);
            let output = agent.run(&with_json(&two.backup())).expect("the run ends");
            // Links are the whole run's affair.
            let is_whole = output.json().is_ok_and(|document| document.get("repositories").is_none());
            if is_whole {
                assert_eq!(output.code(), Some(1), "{when}: {output}");
                let manifests = two.repositories().map(|repository| repository.manifests().expect("a look").len());
                assert_eq!(manifests, [0, 0], "{when}: {output}");
            } else {
                halves += usize::from(assert_as_told(&two, &output, 0, &when) == 1);
            }
            let output = two.small.agent.run(&with_json(&two.backup())).expect("the run ends");
            assert_eq!(output.code(), Some(0), "after {when}: {output}");
            for repository in two.repositories() {
                repository.check_complete().unwrap_or_else(|error| panic!("after {when}: {error:#}"));
            }
            assert!(transient_links(&two.small.data()).is_empty(), "after {when}: links are left behind");
        }
    }
    assert!(halves >= 8, "only {halves} runs failed in one repository alone");
}

/// One is full in the middle. The next run brings it what it lacks, and reads no more than that.
#[test]
fn the_one_that_failed_is_caught_up() {
    let two = Two::new();
    fs::create_dir_all(&two.other.root).expect("created");
    two.small.agent.expect(0, &two.backup()).expect("a backup");
    let lacking = add_large(&two.small, 1);
    // Room for less than the new component.
    let script =
        "mkdir \"$1.lower\" && cp -a \"$1/.\" \"$1.lower\" && mount -t tmpfs -o size=14m none \"$1\" || exit 99
        cp -a \"$1.lower/.\" \"$1\" && rm -r \"$1.lower\"; repository=$1; shift
        \"$@\"; code=$?
        find \"$repository\" -name '*.json.zst' -path '*/manifest/*' | wc -l >&2
        exit $code";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c", script, "bash"]).arg(&two.other.root).arg(PROGRAM);
    command.args(with_json(&two.backup())).arg("--config").arg(two.small.work.path().join("agent/helenus.toml"));
    let Ok(output) = process::run(&mut command, Duration::from_secs(60)) else { return };
    if !matches!(output.code(), Some(0..=3)) {
        eprintln!("skipped: no right to mount here");
        return;
    }
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(
        output.stderr.contains("1 of 2 repositories failed") && output.stderr.contains("No space left"),
        "{output}"
    );
    assert!(output.stderr.ends_with("1\n"), "there is a new manifest in the full one: {output}");
    assert_eq!(two.small.repository.check_complete().expect("complete"), 2);
    assert!(transient_links(&two.small.data()).is_empty());
    // Behind the mount the other lies as it was before: it lacks one SSTable.
    let read = bytes_read(&two, &two.backup());
    assert!((lacking..lacking + (4 << 20)).contains(&read), "{read} bytes were read of {lacking}");
    for repository in two.repositories() {
        repository.check_complete().expect("complete");
        two.assert_restorable(repository, "caught up");
    }
}

#[test]
fn one_that_cannot_be_opened() {
    let two = Two::new();
    fs::write(&two.other.root, "no directory").expect("written");
    let output = two.small.agent.run(&with_json(&two.backup())).expect("the run ends");
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(output.stderr.contains("1 of 2 repositories failed"), "{output}");
    let document = output.json().expect("a document");
    assert!(matches!(ids(&document)[..], [Some(_), None]), "{document}");
    assert_eq!(two.small.repository.check_complete().expect("complete"), 1);
    two.assert_restorable(&two.small.repository, "the good one");
    let told = two.small.agent.expect(1, &two.backup()).expect("the text");
    assert!(told.stdout.contains("  failed: ") && told.stdout.contains("  nothing new since"), "{told}");
}

#[test]
fn one_repository_is_named_once() {
    let two = Two::new();
    let refused = |path: &Path, expected: &str| {
        let mut arguments = two.small.backup();
        arguments.extend(["--repository".into(), path.into()]);
        let output = two.small.agent.expect(2, &arguments).expect("refused");
        assert!(output.stderr.contains(expected), "{output}");
    };
    refused(&two.small.repository.root, "is named twice");
    // Another name of the same place is known by what lies there.
    let link = two.small.work.path().join("link");
    std::os::unix::fs::symlink(&two.small.repository.root, &link).expect("a link");
    fs::create_dir_all(&two.small.repository.root).expect("created");
    refused(&link, "are one repository, or a copy of it");
    assert_eq!(two.small.repository.manifests().expect("a look").len(), 0);
}

/// A run in this process, with stores that only a test has.
async fn run_here(small: &Small, host_id: Option<Uuid>, stores: Vec<Arc<dyn Store>>) -> Vec<anyhow::Result<Manifest>> {
    try_here(small, host_id, stores).await.expect("a run")
}

/// The same, of a run that may fail as a whole.
async fn try_here(
    small: &Small,
    host_id: Option<Uuid>,
    stores: Vec<Arc<dyn Store>>,
) -> anyhow::Result<Vec<anyhow::Result<Manifest>>> {
    let job = Job {
        node: Node::find(small.data_dirs.to_vec(), "Greenhouse".to_owned(), host_id).expect("a node"),
        selection: Selection::default(),
        include_dropped: false,
        new_epoch: false,
        keep_snapshot: None,
        compress: Compress::Auto,
        parallel: 4,
        min_free: MinFree::Bytes(0),
        lock_wait: Duration::ZERO,
        state_dir: small.work.path().join("state here"),
    };
    let run = tokio::time::timeout(Duration::from_secs(100), job.run(stores, |_, _| {}));
    run.await.expect("it ends")
}

async fn local(repository: &Repository) -> Arc<dyn Store> {
    Arc::new(Local::open(&repository.root).expect("a store"))
}

async fn bucket(server: &S3Server, prefix: &str) -> Arc<dyn Store> {
    Arc::new(S3::open(server.settings(prefix)).await.expect("a store"))
}

async fn assert_proven(store: &Arc<dyn Store>, manifest: &Manifest) {
    let fetcher = Fetcher::new(store.clone());
    let proof = prove(store.clone(), manifest, Level::Checksum, &fetcher, 4).await.expect("a proof");
    assert!(proof.problems.is_empty(), "{:?}", proof.problems);
}

fn manifests(server: &S3Server) -> usize {
    server.bucket.objects().keys().filter(|key| key.contains("/manifest/")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_and_a_bucket() {
    let two = Two::new();
    let server = S3Server::start().await;
    let stores = vec![local(&two.other).await, bucket(&server, "b").await];
    let made = run_here(&two.small, None, stores.clone()).await;
    for (store, made) in stores.iter().zip(&made) {
        assert_proven(store, made.as_ref().expect("a backup")).await;
    }
    two.assert_restorable(&two.other, "the directory");
    // The directory lacks one SSTable, the bucket two.
    add_large(&two.small, 1);
    run_here(&two.small, None, vec![stores[0].clone()]).await.pop().expect("one").expect("a backup");
    add_large(&two.small, 2);
    let made = run_here(&two.small, None, stores.clone()).await;
    let added: Vec<u64> = made.iter().map(|made| made.as_ref().expect("a backup").added.bytes).collect();
    // The small components are in a tar that both have.
    assert_eq!(added, [LARGE_BYTES as u64, 2 * LARGE_BYTES as u64]);
    assert_eq!((server.bucket.unfinished(), server.bucket.overwritten()), (0, Vec::new()));
}

/// A server that answers nobody, from its first request on, from a later one, or when it is asked for the last.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies() {
    let whole = S3Server::start().await;
    run_here(&Two::new().small, None, vec![bucket(&whole, "b").await]).await[0].as_ref().expect("a backup");
    let requests = whole.take_seen().len();
    for alive_for in [0, 3, requests / 3, requests / 2, requests * 2 / 3, usize::MAX] {
        let two = Two::new();
        let server = S3Server::start().await;
        let (good, bad) = (local(&two.other).await, bucket(&server, "b").await);
        server.script(move |seen| {
            let is_last = seen.ask == Ask::Put && seen.key.contains("/manifest/");
            (seen.number >= alive_for || is_last).then_some(Fault::LostRequest)
        });
        let made = run_here(&two.small, None, vec![bad.clone(), good.clone()]).await;
        let [from_bad, from_good] = &made[..] else { panic!("two outcomes") };
        let error = format!("{:#}", from_bad.as_ref().expect_err("a dead server"));
        assert!(error.starts_with("s3://bucket/b") && error.contains("(6 attempts)"), "{alive_for}: {error}");
        assert_eq!(manifests(&server), 0, "{alive_for}");
        assert_proven(&good, from_good.as_ref().expect("a backup")).await;
        two.assert_restorable(&two.other, &format!("alive for {alive_for}"));
        assert!(transient_links(&two.small.data()).is_empty(), "{alive_for}: links are left behind");

        // Alive again: it is given what it lacks, and what it has already is not sent again.
        server.heal();
        let had = server.bucket.objects();
        server.take_seen();
        let made = run_here(&two.small, None, vec![bad.clone(), good.clone()]).await;
        assert_proven(&bad, made[0].as_ref().expect("a backup")).await;
        assert_eq!(made[1].as_ref().expect("a backup").added.files, 0, "{alive_for}");
        let seen = server.take_seen();
        let again = seen.iter().filter(|seen| matches!(seen.ask, Ask::Put | Ask::Complete) && !seen.is_probe());
        let again = again.filter(|seen| seen.key.contains("/data/") && had.contains_key(&seen.key)).count();
        assert_eq!(again, 0, "{alive_for}: objects were sent again");
        assert_eq!((manifests(&server), server.bucket.overwritten()), (1, Vec::new()), "{alive_for}");
    }
}

/// A component whose name is taken by other bytes is read a second time. By then its links may be gone, or its bytes may
/// be others: that is not the repository's failure, and nothing is stored under the sums of other bytes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_a_second_time() {
    for case in ["the same", "gone", "other bytes"] {
        let two = Two::new();
        let server = S3Server::start().await;
        let (good, other) = (local(&two.other).await, bucket(&server, "b").await);
        run_here(&two.small, None, vec![other.clone()]).await.pop().expect("one").expect("a backup");
        // Nobody knows any more what lies there.
        for key in server.bucket.objects().keys().filter(|key| key.contains("/manifest/")) {
            server.bucket.remove(key);
        }
        let files = files_below(&two.small.table_dir("visits")).expect("files");
        let large = files.into_iter().find(|path| path.to_string_lossy().ends_with("Large.db")).expect("a component");
        let noise = |seed| helenus_tests::store_suite::noise(seed, LARGE_BYTES);
        fs::write(&large, noise(8)).expect("written");
        let (data, mut is_first) = (two.small.data(), true);
        server.script(move |seen| {
            // When the store is asked what it has.
            if seen.ask == Ask::Get && seen.key.contains("Large.db") && std::mem::take(&mut is_first) {
                match case {
                    "gone" => transient_links(&data).iter().for_each(|links| fs::remove_dir_all(links).expect("gone")),
                    "other bytes" => fs::write(&large, noise(9)).expect("written"),
                    _ => {}
                }
            }
            None
        });
        let made = try_here(&two.small, None, vec![other.clone(), good.clone()]).await;
        assert!(transient_links(&two.small.data()).is_empty(), "{case}");
        assert_eq!(server.bucket.unfinished(), 0, "{case}");
        let of_its_own = |key: &String| key.contains("Large.db-") || key.contains("Large.db.zst-");
        let is_there = server.bucket.objects().keys().any(of_its_own);
        if case == "other bytes" {
            let error = format!("{:#}", made.expect_err(case));
            assert!(error.contains("Large.db: the first time it was read"), "{error}");
            assert!(!is_there && manifests(&server) == 0, "{case}");
            continue;
        }
        assert!(is_there, "{case}");
        for (store, made) in [&other, &good].into_iter().zip(made.expect(case)) {
            assert_proven(store, &made.expect(case)).await;
        }
        two.assert_restorable(&two.other, case);
    }
}

/// Two buckets that are slow in different ways, and SSTables whose parts fill the memory of both.
#[tokio::test(flavor = "multi_thread")]
async fn slow_ones_do_not_wait_for_each_other_for_ever() {
    let two = Two::new();
    for number in 1..3 {
        add_large(&two.small, number);
    }
    let servers = [S3Server::start().await, S3Server::start().await];
    let mut stores = vec![local(&two.other).await];
    for (server, rate_limit) in servers.iter().zip([10 << 20, 25 << 20]) {
        let settings = Settings { rate_limit: Some(rate_limit), concurrency: 2, ..server.settings("slow") };
        stores.push(Arc::new(S3::open(settings).await.expect("a store")));
    }
    for (store, made) in stores.iter().zip(run_here(&two.small, None, stores.clone()).await) {
        let manifest = made.expect("a backup");
        assert!(manifest.added.stored_bytes > 27 << 20);
        assert_proven(store, &manifest).await;
    }
}

/// Links that only the failed one needed hold Cassandra's disk for nothing: they go while the other is still served.
#[tokio::test(flavor = "multi_thread")]
async fn links_for_the_one_that_failed_go_at_once() {
    let two = Two::new();
    let servers = [S3Server::start().await, S3Server::start().await];
    run_here(&two.small, None, vec![bucket(&servers[0], "b").await]).await.pop().expect("one").expect("a backup");
    add_large(&two.small, 1);
    let slow = Settings { rate_limit: Some(5 << 20), ..servers[0].settings("b") };
    let slow: Arc<dyn Store> = Arc::new(S3::open(slow).await.expect("a store"));
    servers[1].script(|seen| seen.key.contains("/data/").then_some(Fault::Refused(403, "AccessDenied", "no")));
    let stores = vec![slow.clone(), bucket(&servers[1], "b").await];
    let is_done = Cell::new(false);
    let run = async {
        let made = run_here(&two.small, None, stores).await;
        is_done.set(true);
        made
    };
    let watch = async {
        let mut counts = Vec::new();
        while !is_done.get() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let links = transient_links(&two.small.data());
            counts.push(links.iter().map(|dir| files_below(dir).unwrap_or_default().len()).sum::<usize>());
        }
        counts
    };
    let (made, counts) = tokio::join!(run, watch);
    assert_proven(&slow, made[0].as_ref().expect("a backup")).await;
    made[1].as_ref().expect_err("refused");
    // One SSTable has at most a dozen files, and takes two seconds.
    let alone = counts.iter().filter(|count| (1..=12).contains(*count)).count();
    assert!(alone >= 10, "links that were there, every 50 ms: {counts:?}");
}

/// All are dead: there is an error for each, and no link is left.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_left() {
    let two = Two::new();
    let servers = [S3Server::start().await, S3Server::start().await];
    let mut stores = Vec::new();
    for (server, alive_for) in servers.iter().zip([12, 16]) {
        stores.push(bucket(server, "b").await);
        let mut seen = 0;
        server.script(move |_| {
            seen += 1;
            (seen > alive_for).then_some(Fault::Refused(403, "ExpiredToken", "The provided token has expired."))
        });
    }
    for made in run_here(&two.small, None, stores).await {
        let error = format!("{:#}", made.expect_err("dead"));
        assert!(error.contains("ExpiredToken"), "{error}");
    }
    assert_eq!(servers.each_ref().map(manifests), [0, 0]);
    assert!(transient_links(&two.small.data()).is_empty());
}

/// Each has its own place in the bucket, and neither waits for the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_one_bucket() {
    let nodes = [Two::new(), Two::new()];
    let server = S3Server::start().await;
    let hosts = [Uuid::from_u128(1), Uuid::from_u128(2)];
    for round in 1..=3 {
        let one = async |number: usize| {
            let store = bucket(&server, "shared").await;
            let made = run_here(&nodes[number].small, Some(hosts[number]), vec![store.clone()]).await;
            let manifest = made.into_iter().next().expect("one").expect("a backup");
            assert_eq!(manifest.host_id, hosts[number]);
            assert_proven(&store, &manifest).await;
        };
        tokio::join!(one(0), one(1));
        assert_eq!((manifests(&server), server.bucket.overwritten()), (2 * round, Vec::new()));
        for node in &nodes {
            add_large(&node.small, round % 2);
        }
    }
}

/// The second one waits if it is told to, and is refused if not.
#[test]
fn two_backups_at_once_on_one_node() {
    let two = Two::new();
    let run = || two.small.agent.run(&two.small.backup()).expect("the run ends");
    let lock = nix::fcntl::Flock::lock(
        fs::File::open(&two.small.data_dirs[0]).expect("a data directory"),
        nix::fcntl::FlockArg::LockExclusive,
    );
    let lock = lock.expect("locked");
    let refused = run();
    let pid = format!("is locked by process {}", std::process::id());
    assert!(refused.code() == Some(1) && refused.stderr.contains(&pid), "{refused}");
    let config = two.small.work.path().join("agent/helenus.toml");
    let waits = fs::read_to_string(&config).expect("a configuration") + "[backup]\nlock_wait = \"60 s\"\n";
    fs::write(&config, waits).expect("written");
    let outputs = std::thread::scope(|scope| {
        let runs = [scope.spawn(run), scope.spawn(run)];
        std::thread::sleep(Duration::from_millis(500));
        assert!(runs.iter().all(|run| !run.is_finished()), "nobody has waited");
        drop(lock);
        runs.map(|run| run.join().expect("a run"))
    });
    for output in outputs {
        assert!(output.success(), "{output}");
    }
    assert_eq!(two.small.repository.check_complete().expect("complete"), 2);
    assert!(transient_links(&two.small.data()).is_empty());
}
