//! Large objects: the memory of their parts, and what an earlier run has left of them.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use helenus::store::s3::{Encryption, Settings};
use helenus::store::{Bytes, Error, KeyPrefix, Reread, S3, Store, read_small};
use helenus_tests::s3_server::{Ask, Fault, Oddities, S3Server};
use helenus_tests::store_suite::{everything, key, noise};

use crate::{MIB, ODD, ODDITIES, open, upload};

/// More uploads than the memory for parts, all of which want to fill theirs at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_uploads_do_not_wait_for_each_other_for_ever() {
    let server = S3Server::start().await;
    let store = open(server.settings("many")).await;
    let bodies: Vec<Vec<u8>> = (0..12).map(|seed| noise(seed, 9 * MIB + 1)).collect();
    let mut open_uploads = Vec::new();
    for number in 0..bodies.len() {
        open_uploads.push(store.begin(&key(&number.to_string()), None).await.unwrap());
    }
    let done = async {
        // In turn, as slowly as can be, and finished only when all are written.
        for at in (0..bodies[0].len()).step_by(MIB) {
            for (upload, body) in open_uploads.iter_mut().zip(&bodies) {
                upload.write(Bytes::copy_from_slice(&body[at..body.len().min(at + MIB)])).await.unwrap();
            }
        }
        for upload in open_uploads {
            upload.finish().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("they end");
    for (number, body) in bodies.iter().enumerate() {
        assert!(server.bucket.objects()[&format!("many/{number}")].body == body[..], "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_leaves_nothing() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    for end in ["aborted", "dropped", "failed"] {
        let mut upload = store.begin(&key("k"), None).await.unwrap();
        if end == "failed" {
            server.script(|seen| (seen.ask == Ask::Part).then_some(Fault::Refused(403, "AccessDenied", "no")));
        }
        let mut written = Ok(());
        for piece in noise(14, 30 * MIB).chunks(MIB) {
            written = upload.write(Bytes::copy_from_slice(piece)).await;
            if written.is_err() {
                break;
            }
        }
        assert_eq!(written.is_err(), end == "failed", "{written:?}");
        match end {
            "aborted" => upload.abort().await,
            _ => drop(upload),
        }
        server.heal();
        for _ in 0..6000 {
            if server.bucket.unfinished() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(server.bucket.unfinished(), 0, "{end}");
    }
    assert_eq!(everything(&*store).await, [""; 0]);
}

/// Hint of an object whose parts are 48 MiB.
const HALF_A_TERABYTE: u64 = 500_000_000_000;

/// A file that can be read again, and how many pieces of it are in somebody's hands.
#[derive(Debug)]
struct File {
    body: Vec<u8>,
    out: Arc<AtomicUsize>,
    out_max: Arc<AtomicUsize>,
    reads: AtomicUsize,
}

struct Piece(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl File {
    fn new(body: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { body, out: Arc::default(), out_max: Arc::default(), reads: AtomicUsize::new(0) })
    }

    fn piece(&self, range: Range<usize>) -> Bytes {
        let out = self.out.fetch_add(1, Ordering::SeqCst) + 1;
        self.out_max.fetch_max(out, Ordering::SeqCst);
        Bytes::from_owner(Piece(self.body[range].to_vec(), self.out.clone()))
    }

    fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = Bytes> + '_ {
        range.clone().step_by(MIB).map(move |at| self.piece(at..range.end.min(at + MIB)))
    }

    async fn send(self: &Arc<Self>, store: &dyn Store, name: &str) -> Result<u64, Error> {
        let mut upload = store.begin(&key(name), Some(HALF_A_TERABYTE)).await?;
        upload.reread_from(self.clone());
        for piece in self.pieces(0..self.body.len()) {
            upload.write(piece).await?;
        }
        upload.seal().await?;
        Ok(upload.finish().await?.length())
    }
}

impl Reread for File {
    fn read(&self, range: Range<u64>, take: &mut dyn FnMut(Bytes) -> bool) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let _ = self.pieces(range.start as usize..range.end as usize).all(take);
        Ok(())
    }
}

/// Half a terabyte comes in parts of 48 MiB, and nobody has room for them.
#[tokio::test(flavor = "multi_thread")]
async fn large_parts_are_read_again_and_not_held() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    let file = File::new(noise(1, 100 * MIB + 77));
    file.send(&*store, "huge").await.unwrap();
    let stored = server.bucket.objects()["x/huge"].clone();
    assert!(stored.body == file.body[..]);
    assert_eq!((stored.parts, file.reads.load(Ordering::SeqCst)), (3, 3));
    let held = file.out_max.load(Ordering::SeqCst);
    assert!(held <= 12, "{held} pieces of a MiB were held at a time");

    // What was lost is read once more.
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::ErrorAfter, Fault::Busy(None)] {
        let file = File::new(noise(2, 50 * MIB));
        server.fail_once(Ask::Part, fault.clone());
        file.send(&*store, "again").await.unwrap();
        assert!(server.bucket.objects()["x/again"].body == file.body[..], "{fault:?}");
        assert_eq!(file.reads.load(Ordering::SeqCst), 3, "{fault:?}");
        store.delete(&[key("again")]).await.unwrap();
    }
    // Less than a part is one PUT, and not held either.
    let file = File::new(noise(3, 20 * MIB));
    server.take_seen();
    file.send(&*store, "small").await.unwrap();
    assert_eq!(server.count(Ask::Put), 1);
    assert!(server.bucket.objects()["x/small"].body == file.body[..]);
    let held = file.out_max.load(Ordering::SeqCst);
    assert!(held <= 6, "{held} pieces of a MiB were held at a time");
}

/// A file that changes while it is sent is not stored.
#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_those_that_were_proven_are_not_sent() {
    #[derive(Debug)]
    struct Changed;
    impl Reread for Changed {
        fn read(&self, range: Range<u64>, take: &mut dyn FnMut(Bytes) -> bool) -> io::Result<()> {
            take(Bytes::from(vec![1; (range.end - range.start) as usize]));
            Ok(())
        }
    }
    for (name, oddities) in ODD {
        let server = S3Server::start().await;
        server.bucket.set_oddities(oddities);
        let store = open(server.settings("x")).await;
        let mut upload = store.begin(&key("k"), Some(HALF_A_TERABYTE)).await.unwrap();
        upload.reread_from(Arc::new(Changed));
        upload.write(Bytes::from(vec![0; MIB])).await.unwrap();
        let error = upload.finish().await.unwrap_err();
        assert!(error.to_string().contains("the bytes are others than when they were first read"), "{name}: {error}");
        assert_eq!(everything(&*store).await, [""; 0], "{name}");
    }
}

/// Objects of less than a part that wait for their end must not keep others from memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_gives_its_memory_back() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    let mut waiting = Vec::new();
    for number in 0..8 {
        let mut upload = store.begin(&key(&number.to_string()), None).await.unwrap();
        upload.write(noise(number, 6 * MIB).into()).await.unwrap();
        upload.seal().await.unwrap();
        waiting.push(upload);
    }
    // The first ones fit, and stay one PUT each. None exists before its time.
    assert_eq!(server.count(Ask::Put), 0);
    assert_eq!(everything(&*store).await, [""; 0]);
    for upload in waiting {
        upload.finish().await.unwrap();
    }
    let objects = server.bucket.objects();
    let in_parts = objects.values().filter(|object| object.parts > 0).count();
    assert!((5..=7).contains(&in_parts), "{in_parts} of 8 were sent before their end");
    for number in 0..8 {
        assert!(objects[&format!("x/{number}")].body == noise(number, 6 * MIB)[..], "{number}");
    }
}

/// Leaves an unfinished upload with some parts: what a process that was killed leaves.
async fn die_in_the_middle(server: &S3Server, settings: Settings, name: &str, body: &[u8], parts: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
    let (name, body) = (name.to_owned(), body.to_vec());
    // Of the parts that come after, two are on their way at a time.
    let (mut sent, silent) = (0, Arc::new(AtomicUsize::new(0)));
    let count = silent.clone();
    server.script(move |seen| {
        sent += usize::from(seen.ask == Ask::Part && !seen.is_probe());
        (sent > parts).then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            Fault::Silence
        })
    });
    let died = runtime.spawn(async move {
        let store = S3::open(settings).await.unwrap();
        upload(&store, &name, None, &body).await
    });
    while server.bucket.parts_there() < parts || silent.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Nothing runs any more, and nothing is given up.
    runtime.shutdown_background();
    drop(died);
    server.heal();
    server.take_seen();
}

fn root() -> KeyPrefix {
    "data/".to_owned().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_upload_is_gone_on_with() {
    let server = S3Server::start().await;
    for (page, name) in [(0, "data/one"), (2, "data/two")] {
        server.bucket.set_oddities(Oddities { page_keys_max: page, ..ODDITIES });
        let body = noise(5, 42 * MIB);
        die_in_the_middle(&server, server.settings("x"), name, &body, 3).await;
        assert_eq!(server.bucket.unfinished(), 1);
        let store = open(server.settings("x")).await;
        store.find_unfinished(&root()).await.unwrap();
        assert_eq!(upload(&*store, name, None, &body).await.unwrap(), body.len() as u64);
        let sent: u64 = server
            .take_seen()
            .iter()
            .filter(|seen| seen.ask == Ask::Part && !seen.is_probe())
            .map(|seen| seen.length)
            .sum();
        assert_eq!(sent, body.len() as u64 - 3 * (8 << 20), "three parts are not sent again");
        assert!(server.bucket.objects()[&format!("x/{name}")].body == body[..]);
        store.give_up_unfinished().await;
        assert_eq!(server.bucket.unfinished(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_no_use_is_given_up() {
    let server = S3Server::start().await;
    let (body, other) = (noise(6, 30 * MIB), noise(7, 30 * MIB));
    die_in_the_middle(&server, server.settings("x"), "data/k", &body, 2).await;
    // Of nobody any more; of another node; of another repository.
    server.bucket.plant_unfinished("x/data/gone", noise(1, 8 * MIB));
    server.bucket.plant_unfinished("x/elsewhere/k", noise(1, 8 * MIB));
    server.bucket.plant_unfinished("y/data/k", noise(1, 8 * MIB));
    let store = open(server.settings("x")).await;
    store.find_unfinished(&root()).await.unwrap();
    // Other bytes under the same key: every part is sent again.
    upload(&*store, "data/k", None, &other).await.unwrap();
    assert_eq!(server.count(Ask::Part), 4);
    assert!(server.bucket.objects()["x/data/k"].body == other[..]);
    store.give_up_unfinished().await;
    assert_eq!(server.bucket.unfinished(), 2, "those of others stay");
}

/// The store tells the sum of what was sent, and holds something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_rots_is_found() {
    let server = S3Server::start().await;
    let body = noise(8, 30 * MIB);
    die_in_the_middle(&server, server.settings("x"), "data/k", &body, 2).await;
    server.bucket.spoil_part(1);
    let store = open(server.settings("x")).await;
    store.find_unfinished(&root()).await.unwrap();
    let error = upload(&*store, "data/k", None, &body).await.unwrap_err().to_string();
    assert!(error.contains("BadDigest"), "{error}");
    assert_eq!(everything(&*store).await, [""; 0]);
    // It was given up, so the next run is rid of it.
    assert_eq!(server.bucket.unfinished(), 0);
    upload(&*store, "data/k", None, &body).await.unwrap();
    assert!(server.bucket.objects()["x/data/k"].body == body[..]);
}

/// The store says in the end that it holds other bytes. Under the key of the right ones they may not stay.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_altered_is_deleted() {
    let server = S3Server::start().await;
    let store = open(server.settings("x")).await;
    // By then it is known what the server heeds.
    upload(&*store, "data/first", None, &noise(1, 10 * MIB)).await.unwrap();
    server.bucket.set_oddities(Oddities { alters: true, ..ODDITIES });
    let expected = ["data/first 10485760"];
    for length in [1000, 10 * MIB] {
        let error = upload(&*store, "data/k", None, &noise(2, length)).await.unwrap_err().to_string();
        assert!(error.contains("other bytes") && error.ends_with("; it was deleted"), "{error}");
        assert_eq!(everything(&*store).await, expected);
        assert_eq!(server.bucket.unfinished(), 0);
    }
    server.script(|seen| (seen.ask == Ask::Delete).then_some(Fault::Refused(403, "AccessDenied", "Access Denied")));
    let error = upload(&*store, "data/k", None, &noise(2, 10 * MIB)).await.unwrap_err().to_string();
    assert!(error.ends_with("; delete that object"), "{error}");
}

/// Settings, rights and servers that do not allow to go on.
#[tokio::test(flavor = "multi_thread")]
async fn where_going_on_is_not_possible_all_is_sent_again() {
    let body = noise(9, 30 * MIB);
    let no_list = |case: &str| match case {
        "no right to list" => Some(Fault::Refused(403, "AccessDenied", "Access Denied")),
        "bad request" => Some(Fault::Refused(400, "InvalidArgument", "What is ?uploads")),
        "not known" => Some(Fault::Refused(404, "NoSuchSomething", "No such thing")),
        "always broken" => Some(Fault::Refused(500, "InternalError", "We encountered an internal error")),
        _ => None,
    };
    let cases = ["tags", "kms", "class", "no right to list", "bad request", "not known", "always broken", "no sums"];
    for case in cases {
        let server = S3Server::start().await;
        let oddities = if case == "no sums" { ODD[4].1 } else { ODDITIES };
        server.bucket.set_oddities(oddities);
        die_in_the_middle(&server, server.settings("x"), "data/k", &body, 2).await;
        let mut settings = server.settings("x");
        match case {
            "tags" => settings.tags = [("a".to_owned(), "b".to_owned())].into(),
            "kms" => settings.encryption = Encryption::Kms { key_id: None },
            "class" => settings.storage_class = Some("STANDARD_IA".to_owned()),
            _ => {
                let fault = no_list(case);
                server.script(move |seen| fault.clone().filter(|_| seen.ask == Ask::ListUploads));
            }
        }
        let store = open(settings).await;
        store.find_unfinished(&root()).await.unwrap();
        server.take_seen();
        // A second time, as a run that begins anew does.
        store.find_unfinished(&root()).await.unwrap();
        assert_eq!(server.count(Ask::ListUploads) > 0, no_list(case).is_none(), "{case}");
        upload(&*store, "data/k", None, &body).await.unwrap();
        assert_eq!(server.count(Ask::Part), 4, "{case}");
        assert!(read_small(&*store, &key("data/k"), 1 << 30).await.unwrap() == body, "{case}");
        store.give_up_unfinished().await;
        assert_eq!(server.bucket.unfinished(), usize::from(no_list(case).is_some()), "{case}");
    }
}

/// The answer to the end of a continued upload is lost: whose it was nobody knows, but what it holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_at_the_end_of_a_continued_upload() {
    let server = S3Server::start().await;
    let body = noise(10, 30 * MIB);
    die_in_the_middle(&server, server.settings("x"), "data/k", &body, 2).await;
    let store = open(server.settings("x")).await;
    store.find_unfinished(&root()).await.unwrap();
    server.fail_once(Ask::Complete, Fault::LostAnswer);
    assert_eq!(upload(&*store, "data/k", None, &body).await.unwrap(), body.len() as u64);
    assert!(server.bucket.objects()["x/data/k"].body == body[..]);
}
