//! What every [`Store`] promises, as one suite. It runs over memory, a local directory, and whatever comes next.
//!
//! Each story gets an empty store of its own from `make`, so a failure in one does not colour the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use helenus::store::{Bytes, Depth, Error, KeyPrefix, Listed, ObjectKey, Span, Store, TryStreamExt, read_small};

/// Runs every story over stores that `make` creates.
pub async fn conforms(make: impl AsyncFn() -> Arc<dyn Store>) {
    what_was_created_is_read_back(&*make().await).await;
    ranges(&*make().await).await;
    a_taken_key_keeps_its_first_body(&*make().await).await;
    of_many_creators_one_wins(make().await).await;
    an_unfinished_upload_is_invisible(&*make().await).await;
    listings_are_in_key_order(&*make().await).await;
    listings_stop_at_a_level(&*make().await).await;
    listings_are_paged(&*make().await).await;
    a_prefix_need_not_end_at_a_directory(&*make().await).await;
    deleting_is_idempotent(&*make().await).await;
    creating_and_deleting_do_not_disturb_each_other(make().await).await;
    odd_characters_are_part_of_the_key(&*make().await).await;
    large_objects_come_back(&*make().await).await;
    length_hints_may_lie(&*make().await).await;
    small_reads_are_bounded(&*make().await).await;
    wrong_keys_are_refused();
}

/// A key from a text that is one.
pub fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).expect(text)
}

/// A prefix from a text that is one.
pub fn prefix(text: &str) -> KeyPrefix {
    KeyPrefix::new(text).expect(text)
}

/// A listing as texts, to compare: `key length` for an object, the prefix for a prefix.
pub async fn listing(store: &dyn Store, under: &str, after: Option<&str>, depth: Depth) -> Vec<String> {
    let after = after.map(key);
    let listed: Vec<Listed> =
        store.list(&prefix(under), after.as_ref(), depth).try_collect().await.expect("the store can be listed");
    listed
        .into_iter()
        .map(|listed| match listed {
            Listed::Object(object) => format!("{} {}", object.key(), object.length()),
            Listed::Prefix(prefix) => prefix.to_string(),
        })
        .collect()
}

/// Everything that a store holds.
pub async fn everything(store: &dyn Store) -> Vec<String> {
    listing(store, "", None, Depth::All).await
}

/// Reproducible bytes that do not compress and differ at every offset.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

async fn create(store: &dyn Store, name: &str, body: impl Into<Bytes>) {
    let body = body.into();
    let length = body.len() as u64;
    let stored = store.create(&key(name), body).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((stored.key(), stored.length()), (&key(name), length));
}

async fn upload(store: &dyn Store, name: &str, hint: Option<u64>, body: &[u8], piece: usize) -> Result<u64, Error> {
    let mut upload = store.begin(&key(name), hint).await?;
    for bytes in body.chunks(piece) {
        upload.write(Bytes::copy_from_slice(bytes)).await?;
    }
    upload.finish().await.map(|stored| stored.length())
}

async fn read(store: &dyn Store, name: &str, span: Span) -> Result<Vec<u8>, Error> {
    let pieces: Vec<Bytes> = store.read(&key(name), span).await?.try_collect().await?;
    Ok(pieces.concat())
}

async fn whole(store: &dyn Store, name: &str) -> Vec<u8> {
    read(store, name, Span::Whole).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn what_was_created_is_read_back(store: &dyn Store) {
    assert_eq!(everything(store).await, [""; 0], "a new store is empty");
    let error = read(store, "nothing/here", Span::Whole).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");

    create(store, "repository.json", "{}").await;
    create(store, "a/b/c/d/e", "deep").await;
    create(store, "a/empty", "").await;
    assert_eq!(whole(store, "repository.json").await, b"{}");
    assert_eq!(whole(store, "a/b/c/d/e").await, b"deep");
    assert_eq!(whole(store, "a/empty").await, b"");
    assert_eq!(everything(store).await, ["a/b/c/d/e 4", "a/empty 0", "repository.json 2"]);

    for directory in ["a", "a/b", "repository.json/x"] {
        let error = read(store, directory, Span::Whole).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{directory}: {error:?}");
    }
}

async fn ranges(store: &dyn Store) {
    create(store, "ten", "0123456789").await;
    let check = async |start, end, expected: &str| {
        assert_eq!(read(store, "ten", (start..end).into()).await.unwrap(), expected.as_bytes(), "{start}..{end}");
    };
    check(0, 10, "0123456789").await;
    check(0, 1, "0").await;
    check(3, 7, "3456").await;
    check(9, 10, "9").await;
    check(4, 4, "").await;
    check(10, 10, "").await;
    let reversed = std::ops::Range { start: 7, end: 3 };
    for wrong in [0..11, 10..11, 11..11, 5..u64::MAX, u64::MAX - 1..u64::MAX, reversed] {
        let error = read(store, "ten", wrong.clone().into()).await.unwrap_err();
        assert!(matches!(error, Error::Truncated { length: 10, .. }), "{wrong:?}: {error:?}");
        assert!(error.to_string().contains("ten: ") && error.to_string().contains("has 10"), "{error}");
    }
}

async fn a_taken_key_keeps_its_first_body(store: &dyn Store) {
    create(store, "k/small", "first").await;
    assert_eq!(upload(store, "k/large", None, b"first", 2).await.unwrap(), 5);
    for name in ["k/small", "k/large"] {
        let error = store.create(&key(name), "second!".into()).await.unwrap_err();
        assert!(matches!(&error, Error::AlreadyExists { key } if key.as_str() == name), "{error:?}");
        assert!(!error.is_transient());
        let error = upload(store, name, Some(7), b"second!", 3).await.unwrap_err();
        assert!(matches!(&error, Error::AlreadyExists { key } if key.as_str() == name), "{error:?}");
        assert_eq!(whole(store, name).await, b"first");
    }
    assert_eq!(everything(store).await, ["k/large 5", "k/small 5"]);
}

/// Two agents on one repository, or one that retries while its first attempt still runs.
async fn of_many_creators_one_wins(store: Arc<dyn Store>) {
    const CREATORS: usize = 40;
    let barrier = Arc::new(tokio::sync::Barrier::new(CREATORS));
    let mut creators = tokio::task::JoinSet::new();
    for creator in 0..CREATORS {
        let (store, barrier) = (store.clone(), barrier.clone());
        creators.spawn(async move {
            let body = vec![creator as u8; 1000 + creator];
            barrier.wait().await;
            let created = match creator % 2 {
                0 => store.create(&key("new/race"), body.into()).await.map(|stored| stored.length()),
                _ => upload(&*store, "new/race", None, &body, 100).await,
            };
            (creator, created)
        });
    }
    let mut winners = Vec::new();
    for (creator, created) in creators.join_all().await {
        match created {
            Ok(length) => winners.push((creator, length)),
            Err(Error::AlreadyExists { .. }) => {}
            Err(error) => panic!("creator {creator}: {error}"),
        }
    }
    let [(winner, length)] = winners[..] else { panic!("not one winner: {winners:?}") };
    assert_eq!(length, 1000 + winner as u64);
    assert_eq!(whole(&*store, "new/race").await, vec![winner as u8; 1000 + winner]);
    assert_eq!(everything(&*store).await, [format!("new/race {length}")]);
}

async fn an_unfinished_upload_is_invisible(store: &dyn Store) {
    let big = noise(1, 3 << 20);
    for (end, after) in [("finished", 1), ("aborted", 0), ("dropped", 0), ("never written", 0)] {
        let mut upload = store.begin(&key("u/object"), Some(big.len() as u64)).await.unwrap();
        if end != "never written" {
            for piece in big.chunks(1_000_000) {
                upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
                assert_eq!(everything(store).await, [""; 0], "{end}: still being written");
                let error = read(store, "u/object", Span::Whole).await.unwrap_err();
                assert!(matches!(error, Error::NotFound { .. }), "{end}: {error:?}");
            }
        }
        match end {
            "finished" => assert_eq!(upload.finish().await.unwrap().length(), big.len() as u64),
            "aborted" => upload.abort().await,
            _ => drop(upload),
        }
        assert_eq!(everything(store).await.len(), after, "{end}");
        store.delete(&[key("u/object")]).await.unwrap();
    }
    // The key was not used up by any of them.
    create(store, "u/object", "at last").await;
    assert_eq!(whole(store, "u/object").await, b"at last");
    // An upload without a byte is an empty object.
    let nothing = store.begin(&key("u/nothing"), Some(0)).await.unwrap();
    assert_eq!(nothing.finish().await.unwrap().length(), 0);
    assert_eq!(whole(store, "u/nothing").await, b"");
}

const TREE: [&str; 9] = ["a+b", "a-b/x", "a.b", "a/b", "a/b-c/d", "a/b0", "a0", "b/c/d/e", "é/ü"];

async fn plant(store: &dyn Store) {
    // Not in order: the store has to make it.
    for name in TREE.iter().rev() {
        create(store, name, name.as_bytes()).await;
    }
}

fn lines<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(|name| format!("{name} {}", name.len())).collect()
}

/// A directory walk gets this wrong: `a-b/x` sorts before `a/b`, because `-` sorts before `/`.
async fn listings_are_in_key_order(store: &dyn Store) {
    plant(store).await;
    let mut sorted = TREE;
    sorted.sort_unstable();
    assert_eq!(everything(store).await, lines(sorted));
    assert_eq!(listing(store, "a/", None, Depth::All).await, lines(["a/b", "a/b-c/d", "a/b0"]));
    assert_eq!(listing(store, "b/c/d/", None, Depth::All).await, lines(["b/c/d/e"]));
    assert_eq!(listing(store, "é/", None, Depth::All).await, lines(["é/ü"]));
    for nothing in ["c", "c/", "a/b/", "a/b/c", "b/c/d/e/", "b/x/y/"] {
        assert_eq!(listing(store, nothing, None, Depth::All).await, [""; 0], "{nothing}");
        assert_eq!(listing(store, nothing, None, Depth::Level).await, [""; 0], "{nothing}");
    }
}

async fn listings_stop_at_a_level(store: &dyn Store) {
    plant(store).await;
    let check = async |under: &str, after: Option<&str>, expected: &[&str]| {
        assert_eq!(listing(store, under, after, Depth::Level).await, expected, "{under} after {after:?}");
    };
    check("", None, &["a+b 3", "a-b/", "a.b 3", "a/", "a0 2", "b/", "é/"]).await;
    check("a/", None, &["a/b 3", "a/b-c/", "a/b0 4"]).await;
    check("b/", None, &["b/c/"]).await;
    check("b/c/d/", None, &["b/c/d/e 7"]).await;
    check("a/b", None, &["a/b 3", "a/b-c/", "a/b0 4"]).await;
    check("b", None, &["b/"]).await;
    // A prefix is listed while something below it is still to come.
    check("", Some("a.b"), &["a/", "a0 2", "b/", "é/"]).await;
    check("", Some("a/b"), &["a/", "a0 2", "b/", "é/"]).await;
    check("", Some("a/b0"), &["a0 2", "b/", "é/"]).await;
    check("", Some("b/c/d/e"), &["é/"]).await;
    check("", Some("é/ü"), &[]).await;
}

async fn listings_are_paged(store: &dyn Store) {
    plant(store).await;
    let all = everything(store).await;
    let mut sorted = TREE;
    sorted.sort_unstable();
    for (index, after) in sorted.iter().enumerate() {
        assert_eq!(listing(store, "", Some(after), Depth::All).await, all[index + 1..], "after {after}");
    }
    // `after` need not exist, and need not begin with the prefix.
    assert_eq!(listing(store, "", Some("a"), Depth::All).await, all);
    assert_eq!(listing(store, "a/", Some("a/a"), Depth::All).await, lines(["a/b", "a/b-c/d", "a/b0"]));
    assert_eq!(listing(store, "a/", Some("a/b-c"), Depth::All).await, lines(["a/b-c/d", "a/b0"]));
    assert_eq!(listing(store, "a/", Some("Z"), Depth::All).await, lines(["a/b", "a/b-c/d", "a/b0"]));
    assert_eq!(listing(store, "a/", Some("b"), Depth::All).await, [""; 0]);
}

async fn a_prefix_need_not_end_at_a_directory(store: &dyn Store) {
    plant(store).await;
    assert_eq!(listing(store, "a", None, Depth::All).await.len(), 7);
    assert_eq!(listing(store, "a/b", None, Depth::All).await, lines(["a/b", "a/b-c/d", "a/b0"]));
    assert_eq!(listing(store, "a/b-", None, Depth::All).await, lines(["a/b-c/d"]));
    assert_eq!(listing(store, "b/c", None, Depth::All).await, lines(["b/c/d/e"]));
}

async fn deleting_is_idempotent(store: &dyn Store) {
    plant(store).await;
    store.delete(&[]).await.unwrap();
    store.delete(&[key("never/was"), key("b/c/d"), key("a/b/under an object")]).await.unwrap();
    assert_eq!(everything(store).await.len(), TREE.len());
    for _ in 0..2 {
        store.delete(&[key("a/b-c/d"), key("b/c/d/e"), key("a0"), key("a0")]).await.unwrap();
        assert_eq!(everything(store).await, lines(["a+b", "a-b/x", "a.b", "a/b", "a/b0", "é/ü"]));
        let level = listing(store, "", None, Depth::Level).await;
        assert_eq!(level, ["a+b 3", "a-b/", "a.b 3", "a/", "é/"], "no empty directory is listed");
    }
    let error = read(store, "a0", Span::Whole).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    create(store, "b/c/d/e", "again").await;

    // More than one request's worth on S3 (1,000).
    let many: Vec<ObjectKey> = (0..1100).map(|number| key(&format!("many/{}/{number:04}", number % 7))).collect();
    for key in &many {
        store.create(key, Bytes::new()).await.unwrap();
    }
    assert_eq!(listing(store, "many/", None, Depth::All).await.len(), 1100);
    assert_eq!(listing(store, "many/", None, Depth::Level).await.len(), 7);
    store.delete(&many).await.unwrap();
    assert_eq!(listing(store, "many/", None, Depth::All).await, [""; 0]);
}

/// Retention empties a directory while a backup fills it.
async fn creating_and_deleting_do_not_disturb_each_other(store: Arc<dyn Store>) {
    let tasks = (0..4).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                let name = format!("shared/directory/{task}-{round}");
                create(&*store, &name, name.clone()).await;
                assert_eq!(whole(&*store, &name).await, name.as_bytes());
                store.delete(&[key(&name)]).await.unwrap();
            }
            create(&*store, &format!("shared/directory/{task}"), "").await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(everything(&*store).await.len(), 4);
}

async fn odd_characters_are_part_of_the_key(store: &dyn Store) {
    let odd = [
        "%",
        "%2F",
        "%41",
        "+",
        " ",
        "a b",
        "a+b",
        "a%20b",
        "=",
        "k=v&w",
        "?",
        "#",
        "~",
        "*",
        "'\"",
        "<>",
        "日本",
        "😀",
        "é",
        "e\u{301}",
        "..x",
        "x..",
        ".hidden",
        "-",
        "A",
        "a",
        "x.tmp",
        "x:y@z!$,;",
    ];
    for name in odd {
        create(store, &format!("odd/{name}/{name}"), name.as_bytes()).await;
    }
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for name in odd {
        let path = format!("odd/{name}/{name}");
        assert_eq!(whole(store, &path).await, name.as_bytes(), "{path}");
        expected.insert(path, name.len());
    }
    let expected: Vec<String> = expected.into_iter().map(|(path, length)| format!("{path} {length}")).collect();
    assert_eq!(everything(store).await, expected);
    let longest = format!("long/{}/{}", "d".repeat(255), "f".repeat(255));
    create(store, &longest, "long").await;
    assert_eq!(whole(store, &longest).await, b"long");
}

async fn large_objects_come_back(store: &dyn Store) {
    const LENGTH: usize = (20 << 20) + 4097;
    let body = noise(20, LENGTH);
    for (name, piece, hint) in
        [("large/odd", 777_777, Some(LENGTH as u64)), ("large/big", 9 << 20, None), ("large/even", 1 << 20, None)]
    {
        assert_eq!(upload(store, name, hint, &body, piece).await.unwrap(), LENGTH as u64);
        assert!(whole(store, name).await == body, "{name}: other bytes");
        for range in [0..1, 1 << 20..(1 << 20) + 1, 1_048_575..3_145_729, 4095..4097, LENGTH - 4098..LENGTH, 0..LENGTH]
        {
            let read = read(store, name, (range.start as u64..range.end as u64).into()).await.unwrap();
            assert!(read == body[range.clone()], "{name} {range:?}: other bytes");
        }
    }
    create(store, "large/at once", body.clone()).await;
    assert!(whole(store, "large/at once").await == body);
    // Lengths around every boundary between blocks and slices.
    for length in
        [1, 4095, 4096, 4097, 65_535, 65_537, 1 << 20, (1 << 20) + 1, (2 << 20) - 1, 2 << 20, (2 << 20) + 4096]
    {
        let name = format!("edge/{length}");
        upload(store, &name, None, &body[..length], 100_000).await.unwrap();
        assert!(whole(store, &name).await == body[..length], "{length}: other bytes");
    }
    // A reader that loses interest harms nobody.
    drop(store.read(&key("large/odd"), Span::Whole).await.unwrap());
}

async fn length_hints_may_lie(store: &dyn Store) {
    let body = noise(3, 3_000_001);
    for (name, hint) in [("too little", 10), ("too much", 50 << 20), ("absurd", u64::MAX), ("nothing", 0)] {
        assert_eq!(upload(store, name, Some(hint), &body, 99_999).await.unwrap(), body.len() as u64, "{name}");
        assert!(whole(store, name).await == body, "{name}");
    }
}

async fn small_reads_are_bounded(store: &dyn Store) {
    let body = noise(4, 3 << 20);
    create(store, "body", body.clone()).await;
    assert!(read_small(store, &key("body"), 3 << 20).await.unwrap() == body);
    let error = read_small(store, &key("body"), (3 << 20) - 1).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error:?}");
    assert!(error.to_string().contains("3145727"), "{error}");
    create(store, "empty", "").await;
    assert_eq!(read_small(store, &key("empty"), 0).await.unwrap(), "");
    let error = read_small(store, &key("none"), 0).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

fn wrong_keys_are_refused() {
    for wrong in ["", "/etc/passwd", "a/", "a//b", "../a", "a/..", ".", "a\\b", "a\n", ".helenus-tmp/x"] {
        ObjectKey::new(wrong).expect_err(wrong);
    }
}

/// Waits until `check` holds: what a dropped upload leaves is removed in the background.
pub async fn eventually(what: &str, check: impl Fn() -> bool) {
    for _ in 0..6000 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still not so after five seconds: {what}");
}
