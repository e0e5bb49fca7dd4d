//! S3, against a server in this process that can do anything wrong.

mod faulted;
mod large;
mod program;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use helenus::progress::StopSignal;
use helenus::store::s3::{Encryption, Keys, Settings};
use helenus::store::trial::{self, Verdict};
use helenus::store::{Bytes, Depth, Error, Location, S3, Span, Store, TryStreamExt, read_small};
use helenus_tests::s3_server::{Ask, Fault, Oddities, S3Server};
use helenus_tests::store_suite::{conforms, everything, key, listing, noise};

const MIB: usize = 1 << 20;

/// Not as Amazon, one by one and all at once.
const ODD: [(&str, Oddities); 6] = [
    ("as Amazon", ODDITIES),
    ("short pages", Oddities { page_keys_max: 3, has_empty_pages: true, ..ODDITIES }),
    ("conditions ignored", Oddities { ignores_conditions: true, ignores_conditions_of_large: true, ..ODDITIES }),
    ("conditions of large objects ignored", Oddities { ignores_conditions_of_large: true, ..ODDITIES }),
    ("no sum of parts", Oddities { knows_no_full_sum: true, ..ODDITIES }),
    ("neither sums nor metadata", Oddities { knows_no_sums: true, keeps_no_metadata: true, ..ODDITIES }),
];

const ODDITIES: Oddities = Oddities {
    ignores_conditions: false,
    ignores_conditions_of_large: false,
    knows_no_full_sum: false,
    knows_no_sums: false,
    alters: false,
    keeps_no_metadata: false,
    page_keys_max: 0,
    has_empty_pages: false,
};

async fn open(settings: Settings) -> Arc<S3> {
    Arc::new(S3::open(settings).await.unwrap())
}

/// The suite, each story under a prefix of its own.
async fn a_server_conforms(oddities: Oddities, change: impl Fn(&mut Settings)) {
    let server = S3Server::start().await;
    server.bucket.set_oddities(oddities);
    let number = AtomicU32::new(0);
    conforms(async || {
        let mut settings = server.settings(&format!("a/b c/{}", number.fetch_add(1, Ordering::Relaxed)));
        change(&mut settings);
        open(settings).await as Arc<dyn Store>
    })
    .await;
    assert_eq!(server.bucket.unfinished(), 0);
    assert_eq!(server.bucket.overwritten(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_conforms() {
    a_server_conforms(ODDITIES, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_as_amazon_conform() {
    for (_, oddities) in &ODD[1..] {
        a_server_conforms(*oddities, |_| {}).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_at_a_time_and_a_rate_conform() {
    a_server_conforms(ODDITIES, |settings| settings.concurrency = 1).await;
    a_server_conforms(ODDITIES, |settings| settings.rate_limit = Some(200 << 20)).await;
}

/// The root of a bucket, too.
#[tokio::test]
async fn no_prefix_is_a_prefix() {
    let server = S3Server::start().await;
    let store = open(server.settings("")).await;
    store.create(&key("a/b"), "x".into()).await.unwrap();
    assert_eq!(everything(&*store).await, ["a/b 1"]);
    assert_eq!(server.bucket.objects().into_keys().collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(store.to_string(), "s3://bucket");
}

async fn upload(store: &dyn Store, name: &str, hint: Option<u64>, body: &[u8]) -> Result<u64, Error> {
    let mut upload = store.begin(&key(name), hint).await?;
    for piece in body.chunks(MIB) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    Ok(upload.finish().await?.length())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_few() {
    let server = S3Server::start().await;
    let store = open(server.settings("few")).await;
    let asks = || {
        let seen = server.take_seen();
        let mut asks: Vec<Ask> = seen.iter().filter(|seen| !seen.is_probe()).map(|seen| seen.ask).collect();
        asks.sort();
        asks
    };
    store.create(&key("small"), "small".into()).await.unwrap();
    assert_eq!(asks(), [Ask::Put]);
    upload(&*store, "one part", None, &noise(1, 8 * MIB)).await.unwrap();
    assert_eq!(asks(), [Ask::Put]);
    upload(&*store, "three parts", Some(17 << 20), &noise(2, 17 * MIB)).await.unwrap();
    assert_eq!(asks(), [Ask::Put, Ask::Part, Ask::Part, Ask::Part, Ask::Begin, Ask::Complete][1..]);
    assert_eq!(server.bucket.objects()["few/three parts"].parts, 3);
    read_small(&*store, &key("small"), 10).await.unwrap();
    assert_eq!(asks(), [Ask::Get]);
    assert_eq!(listing(&*store, "", None, Depth::All).await.len(), 3);
    assert_eq!(asks(), [Ask::List]);
    // A second run finds the probe, and is refused once.
    server.take_seen();
    open(server.settings("few")).await.create(&key("again"), Bytes::new()).await.unwrap();
    assert_eq!(server.take_seen().len(), 2);
    // Reading needs no right to write.
    let opened = open(server.settings("few")).await;
    drop(opened.read(&key("again"), Span::Whole).await.unwrap());
    assert_eq!(server.take_seen().len(), 1);
}

/// An answer that is lost says nothing. Neither "failed" nor "exists" would be true.
#[tokio::test(flavor = "multi_thread")]
async fn one_fault_does_no_harm() {
    let (small, large) = (noise(3, 5000), noise(4, 9 * MIB));
    let faults = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::ErrorAfter,
        Fault::Busy(None),
        Fault::Conflict,
        Fault::Garbled,
        Fault::Refused(502, "", ""),
    ];
    for (name, oddities) in ODD {
        let server = S3Server::start().await;
        server.bucket.set_oddities(oddities);
        let store = open(server.settings("x")).await;
        // Known from here on, so that the fault meets what it should.
        upload(&*store, "first", None, &large).await.unwrap();
        for fault in &faults {
            for ask in [Ask::Put, Ask::Begin, Ask::Part, Ask::Complete] {
                let context = format!("{name}, {ask:?}, {fault:?}");
                let is_small = ask == Ask::Put;
                let body = if is_small { &small } else { &large };
                server.fail_once(ask, fault.clone());
                let done = if is_small {
                    store.create(&key("k"), body.clone().into()).await.map(|stored| stored.length())
                } else {
                    upload(&*store, "k", None, body).await
                };
                assert_eq!(done.unwrap_or_else(|error| panic!("{context}: {error}")), body.len() as u64, "{context}");
                assert!(server.bucket.objects()["x/k"].body == body[..], "{context}: other bytes");
                store.delete(&[key("k")]).await.unwrap();
            }
        }
        assert_eq!(server.bucket.overwritten(), [""; 0], "{name}");
        // What began with a lost answer cannot be known to the client.
        let orphans = faults.iter().filter(|fault| matches!(fault, Fault::LostAnswer | Fault::ErrorAfter)).count();
        assert_eq!(server.bucket.unfinished(), orphans, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_lists_and_deletes_are_tried_again() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    for fault in [Fault::LostRequest, Fault::LostAnswer, Fault::ErrorAfter, Fault::Busy(None)] {
        store.create(&key("k"), "body".into()).await.unwrap();
        server.fail_once(Ask::Get, fault.clone());
        assert_eq!(read_small(&*store, &key("k"), 10).await.unwrap(), "body");
        server.fail_once(Ask::List, fault.clone());
        assert_eq!(everything(&*store).await, ["k 4"]);
        server.fail_once(Ask::Head, fault.clone());
        store.read(&key("k"), (1..1).into()).await.map(drop).unwrap();
        server.fail_once(Ask::Delete, fault.clone());
        store.delete(&[key("k")]).await.unwrap();
        assert_eq!(everything(&*store).await, [""; 0]);
    }
}

/// A lost request, and then somebody else is there: that is not ours, whatever its length.
#[tokio::test(flavor = "multi_thread")]
async fn another_writer_is_not_taken_for_us() {
    for (name, oddities) in ODD {
        let server = S3Server::start().await;
        server.bucket.set_oddities(oddities);
        let store = open(server.settings("x")).await;
        upload(&*store, "first", None, &noise(5, 9 * MIB)).await.unwrap();
        let bucket = server.bucket.clone();
        for ask in [Ask::Put, Ask::Complete] {
            let body = if ask == Ask::Put { noise(6, 1000) } else { noise(6, 9 * MIB) };
            let (bucket, theirs) = (bucket.clone(), noise(7, body.len()));
            let planted = theirs.clone();
            let plant = bucket.clone();
            let mut is_first = true;
            server.script(move |seen| {
                if seen.ask != ask || !is_first {
                    return None;
                }
                is_first = false;
                plant.plant("x/k", planted.clone());
                Some(Fault::LostRequest)
            });
            let done = upload(&*store, "k", None, &body).await;
            assert!(matches!(done, Err(Error::AlreadyExists { .. })), "{name}, {ask:?}: {done:?}");
            assert!(bucket.objects()["x/k"].body == theirs[..], "{name}, {ask:?}");
            store.delete(&[key("k")]).await.unwrap();
            assert_eq!(bucket.unfinished(), 0, "{name}, {ask:?}");
        }
        assert_eq!(bucket.overwritten(), [""; 0], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_left_alone_as_long_as_it_asks() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    store.create(&key("first"), Bytes::new()).await.unwrap();
    server.fail_once(Ask::Put, Fault::Busy(Some(1)));
    let start = Instant::now();
    store.create(&key("second"), Bytes::new()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_taken_up_again() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    let body = noise(8, 3 * MIB);
    store.create(&key("k"), body.clone().into()).await.unwrap();
    for (span, expected) in [(Span::Whole, &body[..]), ((1000..2_000_000).into(), &body[1000..2_000_000])] {
        for cut in [0, 1, 70_000, 1_500_000] {
            server.take_seen();
            server.fail_once(Ask::Get, Fault::Cut(cut));
            let pieces: Vec<Bytes> = store.read(&key("k"), span.clone()).await.unwrap().try_collect().await.unwrap();
            assert!(pieces.concat() == expected, "{span:?} cut at {cut}");
            assert_eq!(server.count(Ask::Get), 2, "{span:?} cut at {cut}");
        }
    }
    // Each time a little more.
    server.script(|seen| (seen.ask == Ask::Get).then_some(Fault::Cut(300_000)));
    let got = read_small(&*store, &key("k"), 1 << 30).await.unwrap();
    assert!(got == body);
    // And then never anything.
    let mut gets = 0;
    server.script(move |seen| {
        gets += u32::from(seen.ask == Ask::Get);
        Some(if gets == 1 { Fault::Cut(300_000) } else { Fault::LostRequest })
    });
    server.take_seen();
    let error = read_small(&*store, &key("k"), 1 << 30).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("(6 attempts)"), "{error}");
    assert_eq!(server.count(Ask::Get), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_two_objects_are_never_mixed() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    store.create(&key("k"), noise(9, MIB).into()).await.unwrap();
    let bucket = server.bucket.clone();
    server.script(move |seen| {
        let first = seen.ask == Ask::Get && bucket.objects()["x/k"].parts == 0;
        first.then_some(Fault::Cut(500_000))
    });
    let mut stream = store.read(&key("k"), Span::Whole).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    server.bucket.plant("x/k", noise(10, MIB));
    server.heal();
    let rest: Result<Vec<Bytes>, Error> = stream.try_collect().await;
    let error = rest.unwrap_err().to_string();
    assert!(error.contains("412"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_are_not_those_that_were_stored() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    store.create(&key("k"), noise(11, 100_000).into()).await.unwrap();
    server.script(|seen| (seen.ask == Ask::Get).then_some(Fault::Flipped(77_777)));
    let error = read_small(&*store, &key("k"), 1 << 20).await.unwrap_err().to_string();
    assert!(error.contains("the bytes are not those that were stored: CRC-32 expected "), "{error}");
}

/// An error says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let server = S3Server::start().await;
    let good = || server.settings("backups/cassandra");
    let create = async |settings: Settings| {
        let created = S3::open(settings).await.unwrap().create(&key("a/b"), "x".into()).await;
        created.expect_err("an error").to_string()
    };
    let check = |error: String, expected: &[&str]| {
        for text in expected {
            assert!(error.contains(text), "`{text}` is not in: {error}");
        }
        assert!(error.starts_with("s3://"), "{error}");
    };
    let wrong_secret = Settings { keys: Some(Keys { id: "TESTKEY".into(), secret: "other".into() }), ..good() };
    check(create(wrong_secret).await, &["403 SignatureDoesNotMatch", "check the credentials: AWS_ACCESS_KEY_ID"]);
    let wrong_id = Settings { keys: Some(Keys { id: "NOBODY".into(), secret: "other".into() }), ..good() };
    check(create(wrong_id).await, &["NotSignedUp", "check the credentials"]);
    let no_bucket = Settings { bucket: "nobucket".into(), ..good() };
    check(
        create(no_bucket.clone()).await,
        &["404 NoSuchBucket", "there is no bucket `nobucket` at http://127.0.0.1:", "create it, or correct the URL"],
    );
    let listed: Result<Vec<_>, Error> =
        open(no_bucket).await.list(&"".to_owned().try_into().unwrap(), None, Depth::All).try_collect().await;
    check(listed.unwrap_err().to_string(), &["there is no bucket `nobucket`"]);
    let nobody_there = Settings { endpoint: Some("http://127.0.0.1:1".into()), ..good() };
    check(
        create(nobody_there).await,
        &["refused", "(6 attempts)", "is http://127.0.0.1:1 up, and reachable from here?"],
    );

    let refuse = |status, code, message| {
        server.script(move |seen| (!seen.is_probe()).then_some(Fault::Refused(status, code, message)));
    };
    refuse(403, "AccessDenied", "Access Denied");
    let store = open(good()).await;
    check(
        store.create(&key("a/b"), "x".into()).await.unwrap_err().to_string(),
        &["s3://bucket/backups/cassandra/a/b: writing an object failed: 403 AccessDenied: Access Denied; allow these \
             credentials s3:PutObject on arn:aws:s3:::bucket/backups/cassandra/*"],
    );
    let read = store.read(&key("a/b"), Span::Whole).await.map(drop).unwrap_err();
    assert!(read.is_denied());
    check(
        read.to_string(),
        &["s3:GetObject on arn:aws:s3:::bucket/backups/cassandra/*, and s3:ListBucket on arn:aws:s3:::bucket"],
    );
    let deleted = store.delete(&[key("a/b")]).await.unwrap_err();
    check(deleted.to_string(), &["deleting failed", "s3:DeleteObject on arn:aws:s3:::bucket/backups/cassandra/*"]);
    let listed: Result<Vec<_>, Error> =
        store.list(&"".to_owned().try_into().unwrap(), None, Depth::All).try_collect().await;
    check(listed.unwrap_err().to_string(), &["listing failed", "s3:ListBucket on arn:aws:s3:::bucket"]);
    refuse(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey on this resource");
    check(create(good()).await, &["allow these credentials kms:GenerateDataKey and kms:Decrypt"]);
    refuse(400, "ExpiredToken", "The provided token has expired.");
    check(create(good()).await, &["400 ExpiredToken", "the session has expired: get new credentials"]);
    refuse(403, "RequestTimeTooSkewed", "The difference is too large.");
    check(create(good()).await, &["set the clock"]);
    refuse(403, "InvalidObjectState", "The operation is not valid for the object's storage class");
    let archived = open(good()).await.read(&key("a/b"), Span::Whole).await.map(drop).unwrap_err();
    check(archived.to_string(), &["restore it there first"]);
    refuse(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.");
    check(create(good()).await, &["free space or raise the quota there"]);
    refuse(503, "SlowDown", "Please reduce your request rate.");
    check(create(good()).await, &["503 SlowDown", "(6 attempts)", "lower `concurrency` or set `rate_limit`"]);
    server.script(|_| Some(Fault::OtherRegion("eu-west-1")));
    check(
        create(good()).await,
        &["the bucket `bucket` lies in eu-west-1, and the region in force is us-east-1: set region = \"eu-west-1\""],
    );
}

/// A server that swallows what it is sent must not hold a run that was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_what_waits_for_a_server() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    let stop = StopSignal::default();
    store.heed(&stop);
    store.create(&key("k"), noise(1, 3 * MIB).into()).await.unwrap();
    // What the server heeds is known from here on.
    upload(&*store, "first", None, &noise(2, 9 * MIB)).await.unwrap();
    let mut stream = store.read(&key("k"), Span::Whole).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    let mut large = store.begin(&key("large"), None).await.unwrap();
    server.script(|seen| (seen.ask != Ask::Begin).then_some(Fault::Silence));
    let writing = async {
        for piece in noise(2, 30 * MIB).chunks(MIB) {
            large.write(Bytes::copy_from_slice(piece)).await?;
        }
        Ok::<(), Error>(())
    };
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.give("the disk is full".to_owned());
        Instant::now()
    };
    let list = async { store.list(&"".to_owned().try_into().unwrap(), None, Depth::All).try_collect::<Vec<_>>().await };
    let other = key("other");
    let (written, created, listed, start) = tokio::join!(writing, store.create(&other, "x".into()), list, stopping);
    for error in [written.unwrap_err(), created.unwrap_err(), listed.unwrap_err()] {
        assert!(matches!(&error, Error::Stopped { reason } if reason == "the disk is full"), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // Giving up may be tried, shortly.
    large.abort().await;
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let rest: Result<Vec<Bytes>, Error> = stream.try_collect().await;
    assert!(matches!(rest, Err(Error::Stopped { .. })), "{rest:?}");
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_name() {
    let work = tempfile::TempDir::new().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = work.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let base = || Settings { region: Some("x".into()), ..Settings::parse("s3://bucket").unwrap() };
    let check = async |settings: Settings, expected: &str| {
        let error = S3::open(settings).await.map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    };
    let ca = |path| Settings { ca_file: Some(path), ..base() };
    check(ca(work.path().join("missing")), "missing: No such file").await;
    check(ca(file("empty.pem", b"")), "empty.pem: expected certificates as PEM, found none").await;
    check(ca(file("bad.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), "bad.pem: ").await;
    check(ca(file("worse.pem", b"-----BEGIN CERTIFICATE-----\n!")), "worse.pem: ").await;
    let customer = |key_file| Settings { encryption: Encryption::Customer { key_file }, ..base() };
    check(customer(file("short", b"secret")), "short: expected 32 bytes, raw or as base64, got 6 bytes").await;
    check(Settings { endpoint: Some("host:9000".into()), ..base() }, "must begin with https://").await;
    let plain = Settings { endpoint: Some("http://s3.example.com".into()), ..customer(file("key", &[7; 32])) };
    check(plain, "http://s3.example.com is not encrypted: use https").await;
}

/// What the configuration says of objects reaches the server.
#[tokio::test(flavor = "multi_thread")]
async fn objects_are_kept_as_configured() {
    let server = S3Server::start().await;
    let settings = Settings {
        encryption: Encryption::Kms { key_id: Some("alias/backup".into()) },
        storage_class: Some("STANDARD_IA".into()),
        tags: [("team".to_owned(), "db & more".to_owned()), ("x".to_owned(), "y".to_owned())].into(),
        ..server.settings("kept")
    };
    let store = open(settings).await;
    let large = noise(12, 9 * MIB);
    for name in ["data/0/small", "damaged/0/small", "manifest/small", "database/small"] {
        store.create(&key(name), "x".into()).await.unwrap();
    }
    upload(&*store, "data/0/large", None, &large).await.unwrap();
    for (name, object) in server.bucket.objects() {
        let is_bulk = name.starts_with("kept/data/") || name.starts_with("kept/damaged/");
        assert_eq!(object.storage_class.as_deref(), is_bulk.then_some("STANDARD_IA"), "{name}");
        assert_eq!(object.tagging.as_deref(), Some("team=db%20%26%20more&x=y"), "{name}");
        assert_eq!(object.encryption.as_deref(), Some("aws:kms"), "{name}");
        assert_eq!(object.kms_key_id.as_deref(), Some("alias/backup"), "{name}");
        let crc32 = helenus_tests::s3_server::crc32(&object.body);
        assert_eq!(object.crc32, Some(crc32), "{name}");
    }

    let work = tempfile::TempDir::new().unwrap();
    let key_file = work.path().join("key");
    std::fs::write(&key_file, [7; 32]).unwrap();
    let settings = Settings { encryption: Encryption::Customer { key_file }, ..server.settings("own") };
    let store = open(settings).await;
    store.create(&key("small"), "x".into()).await.unwrap();
    upload(&*store, "large", None, &large).await.unwrap();
    assert_eq!(read_small(&*store, &key("small"), 10).await.unwrap(), "x");
    assert!(read_small(&*store, &key("large"), 1 << 30).await.unwrap() == large);
    assert!(server.bucket.objects()["own/large"].customer_key_md5.is_some());
    let without = open(server.settings("own")).await.read(&key("small"), Span::Whole).await.map(drop);
    assert!(without.is_err(), "it is encrypted with a key that was not given");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept() {
    let server = S3Server::start().await;
    let settings = Settings { rate_limit: Some(4 << 20), ..server.settings("slow") };
    let store = open(settings).await;
    let start = Instant::now();
    upload(&*store, "k", None, &noise(13, 3 * MIB)).await.unwrap();
    let read = read_small(&*store, &key("k"), 1 << 30).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(read.len(), 3 * MIB);
    assert!(seconds >= 1.3, "6 MiB at 4 MiB/s took {seconds} s");
}

/// Consoles make objects that stand for directories; other programs put theirs beside ours.
#[tokio::test]
async fn markers_and_the_probe_are_not_listed() {
    let server = S3Server::start().await;
    let store = open(server.settings("a")).await;
    store.create(&key("x/y"), "1".into()).await.unwrap();
    for (planted, body) in [("a/", ""), ("a/x/", ""), ("b/other", "2"), ("a-b", "3")] {
        server.bucket.plant(planted, body);
    }
    assert_eq!(everything(&*store).await, ["x/y 1"]);
    assert_eq!(listing(&*store, "", None, Depth::Level).await, ["x/"]);
    assert_eq!(listing(&*store, "x/", None, Depth::Level).await, ["x/y 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_tells_what_a_server_heeds() {
    for (name, oddities) in ODD {
        let server = S3Server::start().await;
        server.bucket.set_oddities(oddities);
        let location = Location::S3(Box::new(server.settings("tried")));
        let (_, trials) = trial::run(&location).await.unwrap();
        let verdict = |what: &str| {
            let found = trials.trials.iter().find(|trial| trial.what == what);
            found.unwrap_or_else(|| panic!("{name}: no {what}: {trials:?}")).verdict
        };
        let weak_if = |weak| if weak { Verdict::Weak } else { Verdict::Good };
        assert_eq!(verdict("conditional writes"), weak_if(oddities.ignores_conditions), "{name}: {trials:?}");
        let weak = oddities.ignores_conditions_of_large || oddities.knows_no_full_sum;
        assert_eq!(verdict("objects in parts"), weak_if(weak), "{name}: {trials:?}");
        assert_eq!(verdict("checksums"), weak_if(oddities.knows_no_sums), "{name}: {trials:?}");
        for what in ["create", "create-only", "read", "list", "large objects", "delete"] {
            assert_eq!(verdict(what), Verdict::Good, "{name}: {trials:?}");
        }
        assert_eq!(server.bucket.objects().len(), 0, "{name}");
        assert_eq!(server.bucket.unfinished(), 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_without_rights() {
    let server = S3Server::start().await;
    let deny = |denied: Ask| {
        server.script(move |seen| (seen.ask == denied).then_some(Fault::Refused(403, "AccessDenied", "Access Denied")));
    };
    let location = Location::S3(Box::new(server.settings("tried")));
    deny(Ask::Delete);
    let (_, trials) = trial::run(&location).await.unwrap();
    assert_eq!(trials.worst(), Verdict::Note, "{trials:?}");
    let note = &trials.trials.last().unwrap().message;
    assert!(note.contains("not needed for backups") && note.contains("s3:DeleteObject"), "{note}");
    deny(Ask::Put);
    let (_, trials) = trial::run(&location).await.unwrap();
    assert_eq!(trials.worst(), Verdict::Bad, "{trials:?}");
    assert!(trials.trials[0].message.contains("s3:PutObject"), "{trials:?}");
    let directory = tempfile::TempDir::new().unwrap();
    let (_, trials) = trial::run(&Location::Directory(directory.path().to_owned())).await.unwrap();
    assert_eq!(trials.worst(), Verdict::Good, "{trials:?}");
}
