//! Google Cloud Storage and Azure Blob Storage: the suite of all stores, faults, and the program from end to end.
//!
//! Azure is played by Microsoft's own emulator. Without it, and without Node.js to install it, those tests are shown as
//! ignored, with the reason; with `HELENUS_REQUIRE_AZURITE=1` that is a failure. Google is played by our S3 server with
//! Google's headers: the emulators that there are know neither conditions nor objects in parts.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use helenus::store::objects::{Objects, Secret, Settings};
use helenus::store::s3::Patience;
use helenus::store::trial::{self, Verdict};
use helenus::store::{Bytes, Error, Location, Span, Store, TryStreamExt, read_small};
use helenus_tests::agent::{Agent, transient_links};
use helenus_tests::args;
use helenus_tests::azurite::{self, ACCOUNT, Azurite, CONTAINER, KEY};
use helenus_tests::repository::hashes;
use helenus_tests::s3_server::google::TOKEN;
use helenus_tests::s3_server::{Ask, BUCKET, Fault, S3Server};
use helenus_tests::sample::Sample;
use helenus_tests::store_suite::{self, everything, key, noise};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_helenus_faulty");

/// A test on its own, and one that is given the script of Azurite.
type Alone = fn() -> anyhow::Result<()>;
type Test = fn(&Path) -> anyhow::Result<()>;

fn main() {
    let arguments = Arguments::from_args();
    let google: [(&str, Alone); 4] = [
        ("google_conforms", google_conforms),
        ("google_after_any_fault", google_after_any_fault),
        ("google_reads", google_reads),
        ("google_trial_and_errors", google_trial_and_errors),
    ];
    let azure: [(&str, Test); 4] = [
        ("azure_conforms", azure_conforms),
        ("azure_keeps_what_was_first", azure_keeps_what_was_first),
        ("azure_trial_and_errors", azure_trial_and_errors),
        ("azure_from_end_to_end", azure_from_end_to_end),
    ];
    let mut trials: Vec<Trial> = Vec::new();
    for (name, test) in google {
        trials.push(Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}")))));
    }
    let script = if arguments.list { Err(anyhow::anyhow!("only listed")) } else { azurite::script() };
    for (name, test) in azure {
        trials.push(match &script {
            Ok(script) => {
                let script = script.clone();
                Trial::test(name, move || test(&script).map_err(|error| Failed::from(format!("{error:#}"))))
            }
            Err(error) => {
                let reason = format!("{error:#}");
                match azurite::required() {
                    true => Trial::test(name, move || Err(Failed::from(reason))),
                    false => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
                }
            }
        });
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(test: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(test)
}

/// Settings for a client of the server in Google's dialect, in a hurry.
fn google(server: &S3Server, prefix: &str) -> Settings {
    Settings {
        endpoint: Some(format!("http://{}", server.address)),
        secret: Some(Secret(TOKEN.to_owned())),
        patience: Patience {
            attempts: 6,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
        },
        ..Settings::parse(&format!("gs://{BUCKET}/{prefix}")).expect("a URL")
    }
}

fn google_conforms() -> anyhow::Result<()> {
    run(async {
        let server = S3Server::start_google().await;
        for prefix in ["", "some/prefix"] {
            store_suite::conforms(async || {
                server.bucket.clear();
                Arc::new(Objects::open(google(&server, prefix)).expect("a store")) as Arc<dyn Store>
            })
            .await;
        }
        store_suite::eventually("nothing is left of uploads that were dropped", || server.bucket.unfinished() == 0)
            .await;
        Ok(())
    })
}

async fn send(store: &dyn Store, name: &str, body: &[u8]) -> Result<u64, Error> {
    let mut upload = store.begin(&key(name), Some(body.len() as u64)).await?;
    for piece in body.chunks(1 << 20) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await.map(|stored| stored.length())
}

/// Whatever happens to one request: what is called stored is there, and nothing is there twice or half.
fn google_after_any_fault() -> anyhow::Result<()> {
    run(async {
        let server = S3Server::start_google().await;
        let store = Objects::open(google(&server, "p"))?;
        let small = noise(1, 10_000);
        let large = noise(2, (17 << 20) + 5);
        let faults = [
            Fault::Busy(None),
            Fault::Busy(Some(0)),
            // Two writers at the same moment: that is no answer to who was first.
            Fault::Conflict,
            Fault::Garbled,
            Fault::LostRequest,
            Fault::LostAnswer,
            Fault::ErrorAfter,
        ];
        for fault in &faults {
            server.bucket.clear();
            server.fail_once(Ask::Put, fault.clone());
            let stored = store.create(&key("small"), small.clone().into()).await;
            ensure!(stored.is_ok(), "{fault:?}: {stored:?}");
            for ask in [Ask::Begin, Ask::Part, Ask::Complete, Ask::Head] {
                if *fault == Fault::Garbled && ask != Ask::Part {
                    // Only bodies are summed up.
                    continue;
                }
                server.bucket.clear();
                server.fail_once(ask, fault.clone());
                let sent = send(&store, "large", &large).await;
                ensure!(sent.is_ok(), "{ask:?} {fault:?}: {sent:?}");
                server.heal();
                let read = read_small(&store, &key("large"), 1 << 30).await?;
                ensure!(read == large, "{ask:?} {fault:?}: other bytes");
                // Only a beginning whose answer was lost is known to nobody.
                let unknown = usize::from(ask == Ask::Begin && matches!(fault, Fault::LostAnswer | Fault::ErrorAfter));
                ensure!(server.bucket.unfinished() == unknown, "{ask:?} {fault:?}: parts are left");
                ensure!(server.bucket.overwritten().is_empty(), "{ask:?} {fault:?}: overwritten");
            }
        }
        // The same faults where somebody was first.
        for fault in &faults {
            server.bucket.clear();
            server.bucket.plant("p/small", "first");
            server.bucket.plant("p/large", "first");
            server.fail_once(Ask::Put, fault.clone());
            let taken = store.create(&key("small"), small.clone().into()).await;
            ensure!(matches!(taken, Err(Error::AlreadyExists { .. })), "{fault:?}: {taken:?}");
            if *fault == Fault::Garbled {
                server.heal();
            } else {
                server.fail_once(Ask::Head, fault.clone());
            }
            let taken = send(&store, "large", &large).await;
            ensure!(matches!(taken, Err(Error::AlreadyExists { .. })), "{fault:?}: {taken:?}");
            ensure!(server.bucket.overwritten().is_empty(), "{fault:?}: overwritten");
            ensure!(server.bucket.unfinished() == 0, "{fault:?}: parts are left");
        }
        // What never ends is told, with what to do.
        server.script(|seen| (seen.ask == Ask::Put).then_some(Fault::Busy(None)));
        let error = store.create(&key("never"), small.into()).await.expect_err("the server is busy");
        ensure!(error.is_transient() && error.to_string().contains("(6 attempts)"), "{error}");
        Ok(())
    })
}

/// A body that breaks off is taken up; one that was changed is not believed.
fn google_reads() -> anyhow::Result<()> {
    run(async {
        let server = S3Server::start_google().await;
        let store = Objects::open(google(&server, ""))?;
        let body = noise(3, 3 << 20);
        store.create(&key("body"), body.clone().into()).await?;
        for cut in [0, 1, 1 << 20, (3 << 20) - 1] {
            server.fail_once(Ask::Get, Fault::Cut(cut));
            ensure!(read_small(&store, &key("body"), 1 << 30).await? == body, "cut at {cut}");
        }
        server.fail_once(Ask::Get, Fault::Flipped(1000));
        let pieces: Result<Vec<Bytes>, Error> = store.read(&key("body"), Span::Whole).await?.try_collect().await;
        let error = pieces.expect_err("a bit was flipped").to_string();
        ensure!(error.contains("CRC-32C expected"), "{error}");
        Ok(())
    })
}

fn google_trial_and_errors() -> anyhow::Result<()> {
    run(async {
        let server = S3Server::start_google().await;
        let location = Location::Objects(Box::new(google(&server, "tried")));
        let (_, trials) = trial::run(&location).await?;
        ensure!(trials.worst() == Verdict::Note, "{trials:?}");
        ensure!(server.bucket.objects().is_empty(), "{:?}", server.bucket.objects().keys());
        let wrong = Settings { secret: Some(Secret("other".to_owned())), ..google(&server, "") };
        let error = Objects::open(wrong)?.create(&key("a"), Bytes::new()).await.expect_err("a wrong token").to_string();
        ensure!(error.contains("401") && error.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
        ensure!(!error.contains("other"), "{error}");
        let nowhere = Settings { bucket: "nowhere".to_owned(), ..google(&server, "") };
        let error = Objects::open(nowhere)?.create(&key("a"), Bytes::new()).await.expect_err("no bucket").to_string();
        ensure!(error.contains("there is no bucket `nowhere` at http://127.0.0.1:"), "{error}");
        server.script(|seen| (seen.ask == Ask::Delete).then_some(Fault::Refused(403, "AccessDenied", "no")));
        let store = Objects::open(google(&server, ""))?;
        store.create(&key("a"), Bytes::new()).await?;
        let error = store.delete(&[key("a")]).await.expect_err("forbidden");
        ensure!(error.is_denied() && error.to_string().contains("storage.objects.delete"), "{error}");
        Ok(())
    })
}

fn azure_conforms(script: &Path) -> anyhow::Result<()> {
    let azurite = Azurite::start(script)?;
    let number = AtomicU32::new(0);
    run(async {
        store_suite::conforms(async || {
            let settings = azurite.settings(&format!("suite/{}", number.fetch_add(1, Ordering::Relaxed)));
            Arc::new(Objects::open(settings).expect("a store")) as Arc<dyn Store>
        })
        .await;
        Ok(())
    })
}

/// Large objects are created once as well, whoever else has parts of the same name.
fn azure_keeps_what_was_first(script: &Path) -> anyhow::Result<()> {
    let azurite = Azurite::start(script)?;
    run(async {
        let store = Objects::open(azurite.settings("first"))?;
        let bodies = [noise(1, (9 << 20) + 1), noise(2, (9 << 20) + 2)];
        let mut uploads = Vec::new();
        for body in &bodies {
            let mut upload = store.begin(&key("large"), None).await?;
            for piece in body.chunks(1 << 20) {
                upload.write(Bytes::copy_from_slice(piece)).await?;
            }
            uploads.push(upload);
        }
        let [first, second] = <[_; 2]>::try_from(uploads).ok().context("two uploads")?;
        ensure!(second.finish().await?.length() == bodies[1].len() as u64, "the second one is the faster one");
        let taken = first.finish().await;
        ensure!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
        let taken = send(&store, "large", &bodies[0]).await;
        ensure!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
        ensure!(read_small(&store, &key("large"), 1 << 30).await? == bodies[1], "overwritten");
        ensure!(everything(&store).await.len() == 1, "more than one object");
        Ok(())
    })
}

fn azure_trial_and_errors(script: &Path) -> anyhow::Result<()> {
    let azurite = Azurite::start(script)?;
    run(async {
        let (_, trials) = trial::run(&Location::Objects(Box::new(azurite.settings("tried")))).await?;
        ensure!(trials.worst() == Verdict::Good, "{trials:?}");
        ensure!(everything(&Objects::open(azurite.settings(""))?).await.is_empty(), "something is left");
        let wrong = Settings { secret: Some(Secret("b3RoZXI=".to_owned())), ..azurite.settings("") };
        let error = Objects::open(wrong)?.create(&key("a"), Bytes::new()).await.expect_err("a wrong key").to_string();
        ensure!(error.contains("AuthorizationFailure") && !error.contains("sig="), "{error}");
        let nowhere = Settings { bucket: "nowhere".to_owned(), ..azurite.settings("") };
        let error =
            Objects::open(nowhere)?.create(&key("a"), Bytes::new()).await.expect_err("no container").to_string();
        ensure!(error.contains("there is no container `nowhere` at http://127.0.0.1:"), "{error}");
        let unnamed = Objects::open(Settings { account: None, ..azurite.settings("") });
        let error = unnamed.expect_err("no account").to_string();
        ensure!(error.contains("which storage account is it?"), "{error}");
        Ok(())
    })
}

/// The same node into a container and into a directory: what comes back is the same.
fn azure_from_end_to_end(script: &Path) -> anyhow::Result<()> {
    let (work, azurite) = (TempDir::new()?, Azurite::start(script)?);
    let sample = Sample::unpack(&work.path().join("node"))?;
    let agent = Agent::new(PROGRAM, work.path())?
        .with("AZURE_STORAGE_ACCOUNT", ACCOUNT)
        .with("AZURE_STORAGE_KEY", KEY)
        .with("AZURE_STORAGE_ENDPOINT", &azurite.endpoint);
    let url = format!("az://{CONTAINER}/cassandra");
    let directory = format!("file://{}", work.path().join("directory").display());
    let check = agent.json(&args!["repository", "check", "--repository", &url])?;
    ensure!(check["verdict"] == "good", "{check}");
    let [first, second] = sample.data_dirs();
    let backup = |url: &str| -> Vec<OsString> {
        let node = args!["--data-dir", &first, "--data-dir", &second, "--cluster", "Greenhouse"];
        [&args!["backup", "--repository", url][..], &node[..]].concat()
    };
    let id = agent.backup(&backup(&url))?;
    agent.backup(&backup(&directory))?;
    ensure!(transient_links(&sample.dir).is_empty(), "links are left");
    let mut restored = Vec::new();
    for (repository, to) in [(&url, "from azure"), (&directory, "from directory")] {
        let to = work.path().join(to);
        agent.expect(0, &args!["restore", "latest", "--repository", repository, "--to-dir", &to])?;
        restored.push(hashes(&to)?);
    }
    ensure!(restored[0] == restored[1] && restored[0].len() > 20, "other files came back from Azure");
    let list = agent.json(&args!["list", "--repository", &url])?;
    ensure!(list["backups"][0]["backup_id"] == id.as_str() && list["repository"] == url.as_str(), "{list}");
    agent.expect(0, &args!["verify", "latest", "--repository", &url])?;
    let again = agent.json(&backup(&url))?;
    ensure!(again["added"]["files"] == 0, "{again}");
    Ok(())
}
