#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

const COMMIT: &str = "COMMIT:[,0,0][2613697770]";
const ABORT: &str = "ABORT:[,0,0][737437348]";
const MTIME_MS: i64 = 1_653_302_272_704;

fn record(kind: RecordKind, prefix: &str, update_time_ms: i64, num_files: i32) -> String {
    let path = format!("/var/lib/cassandra/data/ks/t-5a1c395e0b0e11ee8c990242ac120002/{prefix}");
    let mut record = Record { kind, path, update_time_ms, num_files, checksum: 0 };
    record.checksum = record.computed_checksum();
    record.to_string()
}

fn add(prefix: &str) -> String {
    record(RecordKind::Add, prefix, 0, 8)
}

fn remove(prefix: &str, num_files: i32) -> String {
    record(RecordKind::Remove, prefix, MTIME_MS, num_files)
}

fn name() -> TxnLogName {
    TxnLogName::parse("nb_txn_compaction_6636ac00-da84-11ec-9aba-f56e1443def0.log").unwrap()
}

/// One replica per directory.
fn read(replicas: &[&str]) -> Result<Transaction, TxnLogError> {
    let replicas: Vec<Replica> = replicas
        .iter()
        .enumerate()
        .map(|(directory, content)| Replica {
            directory,
            label: format!("d{directory}"),
            content: content.as_bytes().to_vec(),
        })
        .collect();
    Transaction::read(&name(), &replicas)
}

#[test]
fn log_names() {
    fn check(name: &str, expected: Option<(&str, &str, &str)>) {
        let got = TxnLogName::parse(name);
        let parts = got.as_ref().map(|got| (got.prefix.as_str(), got.operation.as_str(), got.id.as_str()));
        assert_eq!(parts, expected, "{name}");
        if let Some(got) = got {
            assert_eq!(got.to_string(), name);
        }
    }
    check("mc_txn_compaction_1-2.log", Some(("mc", "compaction", "1-2")));
    check("bti-da_txn_compaction_1-2.log", Some(("bti-da", "compaction", "1-2")));
    check("txn_flush_1-2.log", Some(("", "flush", "1-2")));
    check("nb_txn_a_b_1-2.log", Some(("nb", "a_b", "1-2")));
    check("nb_txn__.log", Some(("nb", "", "")));
    check("nb_txn_flush.log", None);
    check("nbx_txn_flush_1.log", None);
    check("-da_txn_flush_1.log", None);
    check("BTI-da_txn_flush_1.log", None);
    check("nb_txn_flush_1.log.tmp", None);
    check("nb_txn_flush_/.log", None);
    check("system.log", None);
    check("", None);
}

#[test]
fn record_lines() {
    let commit = Record::parse(COMMIT).unwrap();
    assert_eq!((commit.kind, commit.computed_checksum()), (RecordKind::Commit, commit.checksum));
    let abort = Record::parse(ABORT).unwrap();
    assert_eq!((abort.kind, abort.computed_checksum()), (RecordKind::Abort, abort.checksum));
    assert_eq!(Record::parse("Add:[/x/nb-1-big-,0,8][1]").unwrap().kind, RecordKind::Add);
    for line in [
        "",
        "ADD",
        "ADD:[]",
        "ADD:[/x,0,8]",
        "ADD:[/x,0,8][]",
        "ADD:[/x,0,8][+1]",
        "ADD:[/x,0,8][4294967296]",
        "ADD:[/x,0,8][1",
        "ADD:[/x,0][1]",
        "ADD:[/x,y,0,8][1]",
        "ADD:[/x,a,8][1]",
        "ADD:[/x,0,99999999999][1]",
        "DROP:[/x,0,8][1]",
        " ADD:[/x,0,8][1]",
    ] {
        assert_eq!(Record::parse(line), None, "{line}");
    }
}

#[test]
fn prefixes_end_in_a_dash() {
    for (path, expected) in [("/d/nb-1-big-", "nb-1-big-"), ("/d/mc-1-big", "mc-1-big-"), ("nb-1", "nb-1-"), ("", "")] {
        let record = Record { kind: RecordKind::Add, path: path.into(), update_time_ms: 0, num_files: 0, checksum: 0 };
        assert_eq!(record.file_prefix(), expected);
    }
}

#[test]
fn replicas() {
    #[track_caller]
    fn check(replicas: &[&str], expected: Result<(State, bool, usize), &str>) {
        match (read(replicas), expected) {
            (Ok(got), Ok(expected)) => assert_eq!((got.state, got.is_torn, got.records.len()), expected),
            (Err(got), Err(expected)) => assert_eq!(got.to_string(), expected),
            (got, expected) => panic!("expected {expected:?}, got {got:?}"),
        }
    }
    let (a, b) = (add("nb-1-big-"), add("nb-2-big-"));
    let torn = &b[..b.len() - 5];
    let wrong = b.replace(",0,8]", ",0,9]");

    // Appends reach one replica after the other, the first ones even while the other is still empty.
    check(&[], Ok((State::Unfinished, false, 0)));
    check(&["", ""], Ok((State::Unfinished, false, 0)));
    check(&[&format!("{a}\n{b}\n"), "", &format!("{a}\n")], Ok((State::Unfinished, false, 2)));
    check(&[&format!("{a}\n"), &format!("{a}\n{COMMIT}\n")], Ok((State::Committed, false, 1)));
    check(&[&format!("{a}\n{ABORT}")], Ok((State::Aborted, false, 1)));

    // Torn at the end.
    check(&[&format!("{a}\n{torn}")], Ok((State::Unfinished, true, 1)));
    check(&[&format!("{a}\n{torn}"), &format!("{a}\n{b}\n")], Ok((State::Unfinished, true, 2)));
    check(&[&format!("{a}\n{b}\n"), &format!("{a}\n{torn}")], Ok((State::Unfinished, true, 2)));
    check(&[&format!("{a}\nCOM"), &format!("{a}\n{COMMIT}\n")], Ok((State::Committed, false, 1)));
    check(&[&format!("{a}\nCOM"), &format!("{a}\n{COMMIT}")], Ok((State::Committed, false, 1)));
    check(&[&format!("{a}\n{wrong}\n")], Ok((State::Unfinished, true, 1)));

    // Contradictions.
    check(&[&format!("{a}\n"), &format!("{b}\n")], Err("d1 line 1: the line differs from that of d0"));
    check(
        &[&format!("{a}\n{b}\n{COMMIT}\n"), &format!("{a}\n{torn}")],
        Err("d0 line 2: the line is cut short in a replica and others follow it"),
    );
    check(
        &[&format!("{a}\n{torn}"), &format!("{a}\n{b}\n{COMMIT}\n")],
        Err("d1 line 2: the line is cut short in a replica and others follow it"),
    );
    check(
        &[&format!("{a}\n{b}\n"), &format!("{a}\n{torn}\n{a}\n")],
        Err("d1 line 2: the line differs from that of d0"),
    );
    check(&[&format!("{a}\n{a}\n")], Err("d0 line 2: the record is there twice"));
    check(&[&format!("{COMMIT}\n{a}\n")], Err("d0 line 1: records follow the final one"));
    check(&[&format!("{a}\n{COMMIT}\n{COMMIT}\n")], Err("d0 line 2: records follow the final one"));
    check(&[&format!("{a}\n\n{b}\n")], Err("d0 line 2: not a record"));
    check(&[&format!("{torn}\n{a}\n")], Err("d0 line 1: not a record"));
    let crc = Record::parse(&wrong).unwrap();
    check(
        &[&format!("{wrong}\n{a}\n")],
        Err(&format!("d0 line 1: checksum: expected {}, got {}", crc.checksum, crc.computed_checksum())),
    );
    for prefix in ["", "nb", "nb-"] {
        let broad = record(RecordKind::Remove, prefix, MTIME_MS, 0);
        check(&[&format!("{broad}\n{COMMIT}\n")], Err("d0 line 1: not a record"));
    }
}

#[test]
fn a_log_has_a_bound() {
    let content = vec![b'\n'; LOG_LENGTH_MAX + 1];
    let replica = Replica { directory: 0, label: "d0".into(), content };
    assert_eq!(Transaction::read(&name(), &[replica]).unwrap_err().kind, TxnLogErrorKind::TooLong);
    let lines = "\n".repeat(RECORD_COUNT_MAX + 2);
    assert_eq!(read(&[&lines]).unwrap_err().kind, TxnLogErrorKind::TooManyRecords);
}

fn files<'a>(names: &[&'a str]) -> Vec<ListedFile<'a>> {
    names.iter().map(|name| ListedFile { directory: 0, name, mtime_ms: MTIME_MS }).collect()
}

fn summary(classification: &Classification) -> Vec<String> {
    let all = classification.all_temporary();
    all.map(|(directory, prefix, Temporary { reason, .. })| format!("{directory} {prefix} {reason:?}")).collect()
}

#[test]
fn classification() {
    let files =
        files(&["nb-1-big-Data.db", "nb-1-big-Index.db", "nb-11-big-Data.db", "nb-2-big-Data.db", "nb-3-big-Data.db"]);
    #[track_caller]
    fn check(log: &str, files: &[ListedFile<'_>], expected: Result<&[&str], &str>) {
        match (classify(&[read(&[log]).unwrap()], files), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(summary(&got), expected),
            (Err(got), Err(expected)) => assert_eq!(got.to_string(), expected),
            (got, expected) => panic!("expected {expected:?}, got {got:?}"),
        }
    }
    let (old, new) = (remove("nb-1-big-", 2), add("nb-2-big-"));
    check("", &files, Ok(&[]));
    check(&format!("{new}\n{old}\n{COMMIT}\n"), &files, Ok(&["0 nb-1-big- Replaced"]));
    check(&format!("{new}\n{old}\n{ABORT}\n"), &files, Ok(&["0 nb-2-big- Aborted"]));
    check(&format!("{new}\n{old}\n"), &files, Ok(&["0 nb-2-big- Unfinished"]));
    check(&format!("{new}\n{old}\nCOM"), &files, Ok(&["0 nb-2-big- Unfinished"]));
    // 3.x leaves out the dash; nb-11 is not nb-1.
    check(&format!("{}\n{COMMIT}\n", remove("nb-1", 2)), &files, Ok(&["0 nb-1- Replaced"]));
    // An ADD without files is normal.
    check(&format!("{}\n", add("nb-9-big-")), &files, Ok(&[]));

    // Old files missing: whether a completed log just went away, or the log is broken, only another look tells.
    let log = name();
    let many = remove("nb-1-big-", 3);
    check(
        &format!("{new}\n{many}\n"),
        &files,
        Err(&format!("{log} is not completed, and files of nb-1-big- are missing: expected 3, got 2")),
    );
    check(
        &format!("{new}\n{many}\nCOM"),
        &files,
        Err("d0 line 2: the last record is torn and files of nb-1-big- are missing: expected 3, got 2"),
    );
    check(&format!("{new}\n{many}\n{COMMIT}\n"), &files, Ok(&["0 nb-1-big- Replaced"]));
}

#[test]
fn files_put_back_beside_an_old_log_are_not_taken_for_replaced_ones() {
    let log = format!("{}\n{COMMIT}\n", remove("nb-1-big-", 2));
    let transactions = [read(&[&log]).unwrap()];
    let mut files = files(&["nb-1-big-Data.db", "nb-1-big-Index.db"]);
    // Within the second.
    files[0].mtime_ms = MTIME_MS + 200;
    assert_eq!(summary(&classify(&transactions, &files).unwrap()), ["0 nb-1-big- Replaced"]);
    files[0].mtime_ms = MTIME_MS + 1000;
    let error = classify(&transactions, &files).unwrap_err();
    assert!(matches!(error, ClassifyError::Corrupt(TxnLogError { line: 1, .. })), "{error}");

    // Without Data.db it is a deletion under way.
    files[1].mtime_ms = MTIME_MS - 5000;
    let classification = classify(&transactions, &files[1..]).unwrap();
    assert_eq!(summary(&classification), ["0 nb-1-big- Replaced"]);
    assert_eq!(classification.warnings.len(), 1);
}

#[test]
fn a_last_record_that_does_not_fit_its_files_leaves_the_old_ones_in_force() {
    let log = format!("{}\n{}\n", add("nb-2-big-"), remove("nb-1-big-", 1));
    let mut files = files(&["nb-1-big-Data.db", "nb-2-big-Data.db"]);
    files[0].mtime_ms += 5000;
    let classification = classify(&[read(&[&log]).unwrap()], &files).unwrap();
    assert_eq!(summary(&classification), ["0 nb-2-big- Unfinished"]);
}

#[test]
fn a_log_speaks_for_the_directories_that_have_a_replica() {
    let log = format!("{}\n{COMMIT}\n", remove("nb-1-big-", 1));
    let files: Vec<ListedFile<'_>> =
        (0..3).map(|directory| ListedFile { directory, name: "nb-1-big-Data.db", mtime_ms: MTIME_MS }).collect();
    let transaction = read(&[&log, &log]).unwrap();
    assert_eq!(transaction.directories(), [0, 1]);
    let classification = classify(&[transaction], &files).unwrap();
    assert_eq!(summary(&classification), ["0 nb-1-big- Replaced", "1 nb-1-big- Replaced"]);
    let descriptor = "nb-1-big".parse().unwrap();
    assert_eq!(classification.temporary(1, &descriptor).unwrap().reason, Reason::Replaced);
    assert_eq!(classification.temporary(2, &descriptor), None);
}

/// The example of a committed flush.
#[test]
fn a_committed_flush_keeps_its_file() {
    let log = format!("{}\n{COMMIT}\n", add("nb-7-big-"));
    let transaction = read(&[&log]).unwrap();
    assert!(transaction.is_completed());
    assert_eq!(transaction.added().collect::<Vec<_>>(), ["nb-7-big-"]);
    assert_eq!(transaction.removed().count(), 0);
    let classification = classify(&[transaction], &files(&["nb-7-big-Data.db"])).unwrap();
    assert_eq!(classification, Classification::default());
}

/// No flipped byte may turn an uncommitted log into a committed one or the other way round unnoticed.
#[test]
fn every_flipped_byte_is_noticed() {
    let log = format!("{}\n{}\n{COMMIT}\n", add("nb-2-big-"), remove("nb-1-big-", 1)).into_bytes();
    // The case of a type is free, as in Cassandra; the last line may be lost, which leaves the log uncommitted.
    for position in 0..log.len() - 1 {
        for bit in 0..8 {
            let mut content = log.clone();
            content[position] ^= 1 << bit;
            let replica = Replica { directory: 0, label: "d0".into(), content };
            let Ok(transaction) = Transaction::read(&name(), &[replica]) else { continue };
            let is_case = bit == 5 && log[position].is_ascii_uppercase();
            assert!(transaction.is_torn || is_case, "byte {position} bit {bit}");
        }
    }
}

#[test]
fn every_prefix_is_a_log_that_is_not_committed_yet() {
    let log = format!("{}\n{}\n{COMMIT}\n", add("nb-2-big-"), remove("nb-1-big-", 1));
    for length in 0..log.len() - 1 {
        let transaction = read(&[&log[..length]]).unwrap();
        let is_whole = log[..length].ends_with(COMMIT);
        assert_eq!(transaction.is_completed(), is_whole, "{length}");
        // The same with the other replica complete: a torn line counts as the whole one.
        let merged = read(&[&log[..length], &log]);
        assert!(merged.is_err() || merged.unwrap().is_completed(), "{length}");
    }
}

const LINES: &str = "(ADD:\\[/a-1-,0,1\\]\\[1\\]\n|COMMIT:\\[,0,0\\]\\[2613697770\\]\n?|\\PC{0,5}\n?){0,4}";

proptest! {
    #[test]
    fn any_bytes_are_a_log_or_an_error(contents in prop::collection::vec(LINES, 0..4)) {
        let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
        let _ = read(&contents);
    }
}
