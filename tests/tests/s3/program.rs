//! The program itself, as its own process, against a server that can do anything wrong.

use std::ffi::OsString;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use helenus_tests::agent::{Agent, transient_links};
use helenus_tests::args;
use helenus_tests::process::Output;
use helenus_tests::repository::hashes;
use helenus_tests::s3_server::{Ask, Fault, KEY_ID, S3Server, SECRET, Seen};
use helenus_tests::sample::Sample;
use helenus_tests::store_suite::noise;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::MIB;
use crate::faulted::{Random, any_fault};

const URL: &str = "s3://bucket/cassandra";

struct Story {
    work: TempDir,
    server: S3Server,
    sample: Sample,
    agent: Agent,
}

impl Story {
    async fn new() -> Self {
        let (work, server) = (TempDir::new().unwrap(), S3Server::start().await);
        let sample = Sample::unpack(&work.path().join("node")).unwrap();
        let agent = Agent::new(env!("CARGO_BIN_EXE_helenus_faulty"), work.path())
            .unwrap()
            .with("AWS_ACCESS_KEY_ID", KEY_ID)
            .with("AWS_SECRET_ACCESS_KEY", SECRET)
            .with("AWS_REGION", "eu-test-1")
            .with("AWS_ENDPOINT_URL", format!("http://{}", server.address))
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .with("AWS_CONFIG_FILE", "/dev/null")
            .with("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        Self { work, server, sample, agent }
    }

    fn backup(&self) -> Vec<OsString> {
        let [first, second] = self.sample.data_dirs();
        let mut arguments = args!["backup", "--repository", URL, "--data-dir", first, "--data-dir", second].to_vec();
        arguments.extend(args!["--cluster", "Greenhouse", "--json"]);
        arguments
    }

    async fn run(&self, arguments: Vec<OsString>) -> Output {
        let agent = self.agent.clone();
        tokio::task::spawn_blocking(move || agent.run(&arguments)).await.unwrap().unwrap()
    }

    fn start(&self, arguments: &[OsString]) -> Child {
        self.agent.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// An SSTable of a version that nobody knows: it is stored, and not judged.
    fn add_large(&self, bytes: usize) {
        let table = walkdir::WalkDir::new(&self.sample.data_dirs()[0]).into_iter().flatten();
        let mut data = table.filter(|entry| entry.file_name().to_string_lossy().ends_with("-Data.db"));
        let data = data.find(|entry| !entry.path().to_string_lossy().contains("/system")).unwrap();
        fs::write(data.path().with_file_name("zz-77-big-Data.db"), noise(77, bytes)).unwrap();
    }

    /// Everything that is restored from the newest backup.
    async fn restored(&self, name: &str) -> std::collections::BTreeMap<std::path::PathBuf, String> {
        let to = self.work.path().join(name);
        let restored = self.run(args!["restore", "latest", "--repository", URL, "--to-dir", &to].to_vec()).await;
        assert_eq!(restored.code(), Some(0), "{restored}");
        hashes(&to).unwrap().into_iter().map(|(path, hash)| (path, format!("{hash:?}"))).collect()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The server swallows packets. A run that is stopped then must not keep its links for as long as it is patient.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_heard_while_the_server_is_silent() {
    let story = Story::new().await;
    for (signals, code) in [(&[Signal::SIGTERM][..], 1), (&[Signal::SIGINT, Signal::SIGINT], 130)] {
        let silent = Arc::new(AtomicUsize::new(0));
        let count = silent.clone();
        story.server.script(move |seen| {
            let is_bulk = seen.key.contains("/data/") || count.load(Ordering::SeqCst) > 0;
            is_bulk.then(|| {
                count.fetch_add(1, Ordering::SeqCst);
                Fault::Silence
            })
        });
        let mut child = story.start(&story.backup());
        until("the first silence", || silent.load(Ordering::SeqCst) > 0).await;
        assert_ne!(transient_links(&story.sample.dir).len(), 0, "links are what this is about");
        let start = Instant::now();
        for signal in signals {
            kill(Pid::from_raw(child.id().try_into().unwrap()), *signal).unwrap();
            // Two of the same kind at once are one.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let output = tokio::task::spawn_blocking(move || {
            let status = child.wait().unwrap();
            let mut said = String::new();
            std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
            (status, said)
        });
        let (status, said) = output.await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        if signals.len() == 1 {
            assert_eq!(status.code(), Some(code), "{said}");
            assert!(said.contains("SIGTERM: the backup was ended, and its links were removed"), "{said}");
            assert_eq!(transient_links(&story.sample.dir).len(), 0);
        } else {
            // It may have been faster than the second one.
            assert!([Some(code), Some(1)].contains(&status.code()), "{status} {said}");
        }
        story.server.heal();
    }
    let output = story.run(story.backup()).await;
    assert_eq!(output.code(), Some(0), "{output}");
    assert_eq!(transient_links(&story.sample.dir).len(), 0);
}

/// kill -9 in the middle of a large object, and the same command again.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_goes_on_where_it_was() {
    let story = Story::new().await;
    story.add_large(60 * MIB);
    let parts = |seen: &[Seen]| -> (usize, u64) {
        let parts: Vec<u64> =
            seen.iter().filter(|seen| seen.ask == Ask::Part && !seen.is_probe()).map(|seen| seen.length).collect();
        (parts.len(), parts.iter().sum())
    };
    let mut begun = 0;
    story.server.script(move |seen| {
        begun += usize::from(seen.ask == Ask::Part && !seen.is_probe());
        (begun > 4).then_some(Fault::Silence)
    });
    let mut child = story.start(&story.backup());
    until("four parts", || story.server.bucket.parts_there() == 4).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(story.server.bucket.unfinished(), 1);
    story.server.heal();
    story.server.take_seen();
    let output = story.run(story.backup()).await;
    // The version that nobody knows needs a look.
    assert!([Some(0), Some(3)].contains(&output.code()), "{output}");
    let (count, bytes) = parts(&story.server.take_seen());
    assert!(count <= 4 && bytes < 29 << 20, "{count} parts with {bytes} bytes were sent again");
    assert_eq!(story.server.bucket.unfinished(), 0);
    assert_eq!(story.server.bucket.overwritten(), [""; 0]);
    let verified = story.run(args!["verify", "latest", "--repository", URL, "--level", "checksum"].to_vec()).await;
    assert!([Some(0), Some(3)].contains(&verified.code()), "{verified}");
    assert!(!verified.stdout.contains("expected"), "{verified}");
}

/// Who gives out credentials may fail now and then.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_come_at_the_third_time() {
    let story = Story::new().await;
    let dir = story.work.path().display().to_string();
    let program = story.work.path().join("credentials.sh");
    let good = format!(r#"{{"Version":1,"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{SECRET}"}}"#);
    fs::write(&program, format!("echo x >> {dir}/asked\n[ $(wc -l < {dir}/asked) -gt 2 ] || exit 7\necho '{good}'\n"))
        .unwrap();
    let config = story.work.path().join("aws");
    fs::write(&config, format!("[profile late]\ncredential_process = sh {}\n", program.display())).unwrap();
    let story = Story {
        agent: Agent::new(env!("CARGO_BIN_EXE_helenus_faulty"), story.work.path())
            .unwrap()
            .with("AWS_REGION", "eu-test-1")
            .with("AWS_ENDPOINT_URL", format!("http://{}", story.server.address))
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .with("AWS_PROFILE", "late")
            .with("AWS_CONFIG_FILE", &config)
            .with("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ..story
    };
    let output = story.run(story.backup()).await;
    assert_eq!(output.code(), Some(0), "{output}");
    // One that never works is told as such, and soon.
    fs::write(&program, "exit 7\n").unwrap();
    let start = Instant::now();
    let output = story.run(story.backup()).await;
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(output.stderr.contains("check the credentials"), "{output}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// What a backup asks for is what it costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_asks_for_little() {
    let story = Story::new().await;
    let of_data =
        |seen: &[Seen], ask: Ask| seen.iter().filter(|seen| seen.ask == ask && seen.key.contains("/data/")).count();
    let lists = |seen: &[Seen]| -> Vec<String> {
        seen.iter().filter(|seen| seen.ask == Ask::List).map(|seen| seen.query.replace("%2F", "/")).collect()
    };
    let document = story.run(story.backup()).await.json().unwrap();
    let sstables = document["total"]["sstables"].as_u64().unwrap() as usize;
    let seen = story.server.take_seen();
    // All of them are small: one PUT each.
    assert_eq!((of_data(&seen, Ask::Put), of_data(&seen, Ask::Begin)), (sstables, 0), "{sstables} SSTables");
    assert!(!lists(&seen).iter().any(|query| query.contains("/data/")), "{:?}", lists(&seen));
    // A large one: parts, and nothing else.
    story.add_large(20 * MIB);
    story.run(story.backup()).await;
    let seen = story.server.take_seen();
    let counts = [Ask::Put, Ask::Begin, Ask::Part, Ask::Complete].map(|ask| of_data(&seen, ask));
    assert_eq!(counts, [0, 1, 3, 1], "{document}");
    // Nothing changed: nothing below data/ is asked for.
    let output = story.run(story.backup()).await;
    let seen = story.server.take_seen();
    let asked: Vec<&Seen> =
        seen.iter().filter(|seen| seen.key.contains("/data/") || seen.query.contains("data")).collect();
    assert!(asked.is_empty(), "{asked:?}");
    // One GET for the part of each table, and a handful for the backup.
    let tables = output.json().unwrap()["tables"].as_array().unwrap().len();
    assert_eq!(lists(&seen).len(), 1, "{:?}", lists(&seen));
    assert!(seen.len() <= tables + 6, "{} requests for {tables} tables: {seen:?}", seen.len());
    // After a run that was killed: one page for up to 1,000 objects of each kind.
    let notes = walkdir::WalkDir::new(story.work.path().join("agent/state")).into_iter().flatten();
    let note = notes.filter(|entry| entry.file_type().is_dir()).last().unwrap();
    fs::write(note.path().join("unfinished"), "").unwrap();
    story.add_large(10 * MIB);
    fs::rename(
        found(&story, "zz-77-big-Data.db"),
        found(&story, "zz-77-big-Data.db").with_file_name("zz-78-big-Data.db"),
    )
    .unwrap();
    story.run(story.backup()).await;
    let seen = story.server.take_seen();
    let of_data = lists(&seen).iter().filter(|query| query.contains("/data/")).count();
    assert_eq!(of_data, 1, "{:?}", lists(&seen));
}

fn found(story: &Story, name: &str) -> std::path::PathBuf {
    let all = walkdir::WalkDir::new(&story.sample.dir).into_iter().flatten();
    all.filter(|entry| entry.file_name() == name).map(walkdir::DirEntry::into_path).next().unwrap()
}

/// The whole program through faults: what it says was stored is there, and what it does not say can be stored again.
#[tokio::test(flavor = "multi_thread")]
async fn faulted_runs_lie_never() {
    let count = std::env::var("HELENUS_S3_FAULTED_RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    let first = std::env::var("HELENUS_S3_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let story = Story::new().await;
    story.add_large(12 * MIB);
    let clean = story.run(story.backup()).await;
    assert!([Some(0), Some(3)].contains(&clean.code()), "{clean}");
    let expected = story.restored("clean").await;
    let mut good = 0;
    for seed in first..first + count {
        story.server.bucket.clear();
        let mut dice = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let percent = [4, 10][dice.next(2)];
        story.server.script(move |seen| (dice.next(100) < percent).then(|| any_fault(&mut dice, seen.ask)));
        let output = story.run(story.backup()).await;
        story.server.heal();
        let is_good = [Some(0), Some(3)].contains(&output.code());
        let manifests = story.server.bucket.objects().into_keys().filter(|key| key.contains("/manifest/")).count();
        assert!(is_good || output.code() == Some(1), "seed {seed}: {output}");
        if is_good {
            good += 1;
            assert_eq!(manifests, 1, "seed {seed}: {output}");
        } else {
            let output = story.run(story.backup()).await;
            assert!([Some(0), Some(3)].contains(&output.code()), "seed {seed}: {output}");
        }
        assert!(story.restored(&format!("seed {seed}")).await == expected, "seed {seed}: other files came back");
        assert_eq!(story.server.bucket.overwritten(), [""; 0], "seed {seed}");
        assert_eq!(transient_links(&story.sample.dir).len(), 0, "seed {seed}");
    }
    assert!(good > 0, "not one of {count} ended well");
}
