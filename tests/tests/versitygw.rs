//! Against a real S3 server: the suite of all stores, and the program from end to end.
//!
//! Without the server and without Go to build it the tests are shown as ignored, with the reason; with
//! `HELENUS_REQUIRE_S3=1` that is a failure.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use helenus::store::trial::{self, Verdict};
use helenus::store::{Location, S3, Store};
use helenus_tests::agent::{Agent, transient_links};
use helenus_tests::repository::hashes;
use helenus_tests::sample::Sample;
use helenus_tests::store_suite::noise;
use helenus_tests::versitygw::{self, BUCKET, KEY_ID, SECRET, Versitygw};
use helenus_tests::{args, store_suite};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_helenus_faulty");

type Test = fn(&Path) -> anyhow::Result<()>;

fn main() {
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 5] = [
        ("it_conforms", it_conforms),
        ("a_trial", a_trial),
        ("from_end_to_end", from_end_to_end),
        ("what_can_go_wrong_at_night", what_can_go_wrong_at_night),
        ("a_killed_run_goes_on_where_it_was", a_killed_run_goes_on_where_it_was),
    ];
    let program = if arguments.list { Err(anyhow::anyhow!("only listed")) } else { versitygw::program() };
    let trials = tests.into_iter().map(|(name, test)| match &program {
        Ok(program) => {
            let program = program.clone();
            Trial::test(name, move || test(&program).map_err(|error| Failed::from(format!("{error:#}"))))
        }
        Err(error) => {
            let reason = format!("{error:#}");
            match versitygw::required() {
                true => Trial::test(name, move || Err(Failed::from(reason))),
                false => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
            }
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn it_conforms(program: &Path) -> anyhow::Result<()> {
    let server = Versitygw::start(program)?;
    let number = AtomicU32::new(0);
    tokio::runtime::Runtime::new()?.block_on(store_suite::conforms(async || {
        let settings = server.settings(&format!("suite/{}", number.fetch_add(1, Ordering::Relaxed)));
        Arc::new(S3::open(settings).await.expect("a store")) as Arc<dyn Store>
    }));
    Ok(())
}

fn a_trial(program: &Path) -> anyhow::Result<()> {
    let server = Versitygw::start(program)?;
    let location = Location::S3(Box::new(server.settings("tried")));
    let (_, trials) = tokio::runtime::Runtime::new()?.block_on(trial::run(&location))?;
    ensure!(trials.worst() == Verdict::Good, "{trials:?}");
    ensure!(files(&server.bucket().join("tried"))? == [".helenus-tmp/probe"], "{:?}", files(&server.bucket())?);
    Ok(())
}

/// Paths of all files below a directory.
fn files(directory: &Path) -> anyhow::Result<Vec<String>> {
    Ok(hashes(directory)?.into_keys().map(|path| path.display().to_string()).collect())
}

/// The sample node, and the program with the server's keys in its environment.
struct Story {
    work: TempDir,
    server: Versitygw,
    sample: Sample,
    agent: Agent,
}

impl Story {
    fn new(program: &Path) -> anyhow::Result<Self> {
        let (work, server) = (TempDir::new()?, Versitygw::start(program)?);
        let sample = Sample::unpack(&work.path().join("node"))?;
        let agent = Agent::new(PROGRAM, work.path())?
            .with("AWS_ACCESS_KEY_ID", KEY_ID)
            .with("AWS_SECRET_ACCESS_KEY", SECRET)
            .with("AWS_ENDPOINT_URL", &server.endpoint)
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .with("AWS_CONFIG_FILE", "/dev/null")
            .with("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        Ok(Self { work, server, sample, agent })
    }

    fn node(&self) -> Vec<OsString> {
        let [first, second] = self.sample.data_dirs();
        args!["--data-dir", first, "--data-dir", second, "--cluster", "Greenhouse"].to_vec()
    }

    fn backup(&self, url: &str) -> Vec<OsString> {
        let mut arguments = args!["backup", "--repository", url].to_vec();
        arguments.extend(self.node());
        arguments
    }
}

fn from_end_to_end(program: &Path) -> anyhow::Result<()> {
    let story = Story::new(program)?;
    let agent = &story.agent;
    let url = format!("s3://{BUCKET}/cassandra");
    let directory = format!("file://{}", story.work.path().join("directory").display());

    let check = agent.json(&args!["repository", "check", "--repository", &url])?;
    ensure!(check["verdict"] == "good", "{check}");

    // The same node into a bucket and into a directory: what comes back is the same.
    let id = agent.backup(&story.backup(&url))?;
    agent.backup(&story.backup(&directory))?;
    ensure!(transient_links(&story.sample.dir).is_empty(), "links are left");
    for (repository, to) in [(&url, "from s3"), (&directory, "from directory")] {
        let to = story.work.path().join(to);
        agent.expect(0, &args!["restore", "latest", "--repository", repository, "--to-dir", &to])?;
    }
    let [from_s3, from_directory] =
        ["from s3", "from directory"].map(|directory| hashes(&story.work.path().join(directory)));
    let (from_s3, from_directory) = (from_s3?, from_directory?);
    ensure!(from_s3 == from_directory, "other files came back from S3");
    ensure!(from_s3.len() > 20, "only {} files", from_s3.len());

    let list = agent.json(&args!["list", "--repository", &url])?;
    let backups = list["backups"].as_array().context("backups")?;
    ensure!(backups.len() == 1 && backups[0]["backup_id"] == id.as_str(), "{list}");
    ensure!(list["repository"] == url.as_str(), "{list}");
    let show = agent.json(&args!["show", &id, "--repository", &url])?;
    ensure!(show["backup_id"] == id.as_str(), "{show}");
    for level in ["present", "size", "checksum"] {
        agent.expect(0, &args!["verify", "latest", "--repository", &url, "--level", level])?;
    }
    // Nothing new: nothing is sent.
    let again = agent.json(&story.backup(&url))?;
    ensure!(again["added"]["files"] == 0, "{again}");
    let mut doctor = args!["doctor", "--repository", &url].to_vec();
    doctor.extend(story.node());
    agent.expect(0, &doctor)?;

    // A byte that rots in the bucket is found, and named.
    let victim = files(&story.server.bucket())?;
    let victim = victim.iter().find(|path| path.ends_with(".tar")).context("a tar")?;
    let path = story.server.bucket().join(victim);
    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes)?;
    let verified = agent.expect(3, &args!["verify", "latest", "--repository", &url])?;
    let object = victim.strip_prefix("cassandra/").context("the prefix")?;
    ensure!(verified.stdout.contains(object), "{object} is not named: {verified}");
    Ok(())
}

fn what_can_go_wrong_at_night(program: &Path) -> anyhow::Result<()> {
    let story = Story::new(program)?;
    let url = format!("s3://{BUCKET}/cassandra");
    let check = |agent: &Agent, url: &str, expected: &[&str]| -> anyhow::Result<()> {
        let output = agent.expect(1, &story.backup(url))?;
        for text in expected {
            ensure!(output.stderr.contains(text), "`{text}` is not in: {output}");
        }
        ensure!(transient_links(&story.sample.dir).is_empty(), "links are left");
        Ok(())
    };
    check(&story.agent, "s3://nobucket/x", &["NoSuchBucket", "there is no bucket `nobucket` at http://127.0.0.1:"])?;
    let wrong = story.agent.with("AWS_SECRET_ACCESS_KEY", "wrong");
    check(&wrong, &url, &["SignatureDoesNotMatch", "check the credentials: AWS_ACCESS_KEY_ID"])?;
    let wrong = story.agent.with("AWS_ACCESS_KEY_ID", "nobody");
    check(&wrong, &url, &["No user exists", "check the credentials"])?;
    let none = story.agent.with("AWS_ACCESS_KEY_ID", "").with("AWS_SECRET_ACCESS_KEY", "");
    check(&none, &url, &["check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile"])?;
    let output = story.agent.expect(2, &story.backup("s3://x"))?;
    ensure!(output.stderr.contains("is no name of a bucket"), "{output}");
    Ok(())
}

/// kill -9 in the middle of a large object, and the same command again.
fn a_killed_run_goes_on_where_it_was(program: &Path) -> anyhow::Result<()> {
    let story = Story::new(program)?;
    let url = format!("s3://{BUCKET}/cassandra");
    // Of a version that nobody knows: it is stored, and not judged.
    let table = story.sample.table_dirs("shop", "orders").remove(0);
    fs::write(table.join("zz-77-big-Data.db"), noise(77, 160 << 20))?;
    let agent = story.agent.with("HELENUS_LOG", "info");
    // A part is a file that bears its number.
    let parts = || -> usize {
        let all = walkdir::WalkDir::new(story.server.bucket().join(".sgwtmp/multipart")).into_iter().flatten();
        all.filter(|entry| entry.file_type().is_file() && entry.file_name().to_string_lossy().parse::<u32>().is_ok())
            .count()
    };
    let mut child = agent.command(&story.backup(&url)).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    while parts() < 4 {
        ensure!(child.try_wait()?.is_none(), "the backup was faster than this test");
        ensure!(start.elapsed() < Duration::from_secs(60), "no parts came");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    let left = parts();
    ensure!(left >= 3, "{left} parts are left");
    let output = agent.expect(3, &story.backup(&url))?;
    ensure!(output.stderr.contains("going on with what an earlier run has sent, "), "{output}");
    ensure!(parts() == 0, "{} parts are left", parts());
    agent.expect(0, &args!["verify", "latest", "--repository", &url, "--level", "checksum"])?;
    Ok(())
}
