//! Rows on the command line: of whole and of damaged SSTables, of those on disk and of those in a backup. Whether the
//! rows are right is for `tests/tests/dump.rs` to judge, which asks Cassandra.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use helenus_tests::agent::Agent;
use helenus_tests::args;
use helenus_tests::process::Output;
use helenus_tests::repository::files_below;
use serde_json::Value;

use crate::node::{PROGRAM, Small, copy_tree, sample};

fn data_files(below: &Path) -> Vec<PathBuf> {
    let mut files = files_below(below).expect("files");
    files
        .retain(|path| path.to_string_lossy().ends_with("-Data.db") && !path.to_string_lossy().contains("/snapshots/"));
    assert!(!files.is_empty(), "no Data.db below {}", below.display());
    files
}

fn agent() -> (tempfile::TempDir, Agent) {
    let work = tempfile::tempdir().expect("a directory");
    let agent = Agent::new(PROGRAM, work.path()).expect("the program");
    (work, agent)
}

fn partitions(output: &Output) -> Vec<Value> {
    let document = output.json().unwrap_or_else(|error| panic!("{error:#}"));
    document.as_array().unwrap_or_else(|| panic!("no array: {output}")).clone()
}

/// `partition.key` as the command line takes it.
fn key(partition: &Value) -> String {
    let parts = partition["partition"]["key"].as_array().expect("a key");
    let escaped = parts.iter().map(|part| part.as_str().expect("text").replace(':', "\\:"));
    escaped.collect::<Vec<_>>().join(":")
}

/// All forms agree on what is in an SSTable, and with its metadata.
#[test]
fn every_sstable_of_the_sample_in_every_form() {
    let (_work, agent) = agent();
    for path in data_files(&sample().data_dirs()[0]) {
        let whole = partitions(&agent.expect(0, &args!["sstable", "dump", path]).expect("a dump"));
        let metadata = agent.json(&args!["sstable", "metadata", path]).expect("metadata");
        assert_eq!(metadata["sstables"][0]["partitions"], whole.len(), "{}", path.display());
        let lines = agent.expect(0, &args!["sstable", "dump", path, "-l"]).expect("lines");
        let lines: Vec<Value> =
            lines.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert_eq!(lines, whole, "{}", path.display());
        let keys = agent.expect(0, &args!["sstable", "dump", path, "-e"]).expect("keys");
        let expected: Vec<Value> = whole.iter().map(|partition| partition["partition"]["key"].clone()).collect();
        assert_eq!(partitions(&keys), expected, "{}", path.display());
        let csv = agent.expect(0, &args!["sstable", "dump", path, "--format", "csv"]).expect("CSV");
        assert!(csv.stdout.starts_with("type,key,clustering,column,path,value,"), "{csv}");
        agent.expect(0, &args!["sstable", "dump", path, "-d"]).expect("the internal form");
        agent.expect(0, &args!["sstable", "metadata", path]).expect("metadata as text");
    }
}

/// A partition is found by the text of its key, by `get` and by `-k`, and left out by `-x`.
#[test]
fn partitions_by_key() {
    let (_work, agent) = agent();
    for path in data_files(&sample().data_dirs()[0].join("shop")) {
        let whole = partitions(&agent.expect(0, &args!["sstable", "dump", path]).expect("a dump"));
        for partition in whole.iter().step_by(whole.len() / 3 + 1) {
            let key = key(partition);
            let one = agent.expect(0, &args!["sstable", "get", path, key]).expect("a partition");
            assert_eq!(partitions(&one), std::slice::from_ref(partition), "{}: {key}", path.display());
            let same = agent.expect(0, &args!["sstable", "dump", path, "-k", key]).expect("a partition");
            assert_eq!(same.stdout, one.stdout);
            let others = agent.expect(0, &args!["sstable", "dump", path, "-x", key]).expect("the others");
            assert_eq!(partitions(&others).len(), whole.len() - 1, "{}: -x {key}", path.display());
        }
    }
    let path = &data_files(&sample().table_dirs("shop", "packed_lz4")[0])[0];
    let none = agent.run(&args!["sstable", "get", path, "-77"]).expect("an answer");
    assert_ne!(none.code(), Some(0), "{none}");
}

/// Damage in the middle: what lies before it is printed, the document is whole, and says where it ends.
#[test]
fn damage_in_the_middle() {
    let (work, agent) = agent();
    for table in ["packed_noop", "packed_not"] {
        let copy = work.path().join(table);
        copy_tree(&sample().table_dirs("shop", table)[0], &copy, &|_| true).expect("a copy");
        for path in data_files(&copy) {
            let whole = partitions(&agent.expect(0, &args!["sstable", "dump", path]).expect("a dump"));
            let bytes = fs::read(&path).expect("read");
            if bytes.len() < 20_000 {
                continue;
            }
            // The second of two chunks.
            let mut spoiled = bytes.clone();
            spoiled[17_000] ^= 0x10;
            fs::write(&path, &spoiled).expect("written");
            let output = agent.expect(3, &args!["sstable", "dump", path]).expect("a dump with damage");
            assert!(output.stderr.contains("Data.db at ") && output.stderr.contains("checksum"), "{output}");
            let before = partitions(&output);
            assert!(before.len() < whole.len(), "{output}");
            let damaged = before.iter().filter(|partition| partition.get("damage").is_some()).count();
            assert_eq!(before[..before.len() - damaged], whole[..before.len() - damaged]);
            let skipping = agent.expect(3, &args!["sstable", "dump", path, "--skip-damaged"]).expect("the rest");
            assert!(skipping.stderr.contains("went on at"), "{skipping}");
            let skipped = partitions(&skipping);
            assert!(skipped.len() >= before.len(), "{skipping}");
            fs::write(&path, &bytes).expect("written");
        }
    }
}

/// The index has no checksum: a wrong one costs time, and no row.
#[test]
fn a_wrong_index_hides_nothing() {
    let (work, agent) = agent();
    let copy = work.path().join("table");
    copy_tree(&sample().table_dirs("shop", "packed_noop")[0], &copy, &|_| true).expect("a copy");
    for path in data_files(&copy) {
        let whole = partitions(&agent.expect(0, &args!["sstable", "dump", path]).expect("a dump"));
        for component in ["Index.db", "Partitions.db"] {
            let index = path.to_string_lossy().replace("Data.db", component);
            let Ok(bytes) = fs::read(&index) else { continue };
            for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                fs::write(&index, &bytes[..cut]).expect("written");
                let output = agent.run(&args!["sstable", "dump", path]).expect("a dump");
                assert_eq!(partitions(&output), whole, "{index} cut at {cut}");
            }
            fs::write(&index, &bytes).expect("written");
        }
    }
}

/// Whatever byte is wrong: JSON comes out, and no panic.
#[test]
fn a_flipped_byte_anywhere() {
    let (work, agent) = agent();
    let copy = work.path().join("table");
    copy_tree(&sample().table_dirs("shop", "everything")[0], &copy, &|name| name.starts_with("nb-1-")).expect("a copy");
    let path = data_files(&copy).remove(0);
    for component in ["Data.db", "CompressionInfo.db", "Index.db", "Statistics.db"] {
        let file = path.to_string_lossy().replace("Data.db", component);
        let Ok(bytes) = fs::read(&file) else { continue };
        for at in (0..bytes.len()).step_by(bytes.len() / 12 + 1) {
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 0xff;
            fs::write(&file, &spoiled).expect("written");
            let output = agent.run(&args!["sstable", "dump", path]).expect("an end");
            assert!(matches!(output.code(), Some(0 | 1 | 3)), "{file} at {at}: {output}");
            assert!(!output.stderr.contains("panicked"), "{file} at {at}: {output}");
            assert!(!output.success() || component != "Data.db", "{file} at {at}: {output}");
        }
        fs::write(&file, &bytes).expect("written");
    }
}

/// A version that nobody knows is named, and the others are shown.
#[test]
fn an_unknown_version_beside_known_ones() {
    let (work, agent) = agent();
    let copy = work.path().join("table");
    copy_tree(&sample().table_dirs("shop", "packed_lz4")[0], &copy, &|_| true).expect("a copy");
    let known = partitions(&agent.expect(0, &args!["sstable", "dump", copy]).expect("a dump"));
    for component in ["Data.db", "Statistics.db"] {
        let from = data_files(&copy)[0].to_string_lossy().replace("Data.db", component);
        fs::copy(from, copy.join(format!("zz-99-big-{component}"))).expect("copied");
    }
    let output = agent.expect(3, &args!["sstable", "dump", copy]).expect("a dump");
    assert!(output.stderr.contains("zz-99-big") && output.stderr.contains("version"), "{output}");
    assert_eq!(partitions(&output), known);
}

/// `helenus sstable dump … | head` is no failure and says nothing.
#[test]
fn a_reader_that_leaves() {
    let path = &data_files(&sample().table_dirs("shop", "packed_noop")[0])[0];
    let line = format!("'{PROGRAM}' sstable dump '{}' | head -c 100", path.display());
    let output = Command::new("bash").args(["-o", "pipefail", "-c", &line]).output().expect("a shell");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(output.stdout.len(), 100);
}

/// A backup is read where it lies, and says what the node said.
#[test]
fn rows_of_a_backup() {
    let small = Small::new().expect("a node");
    small.agent.backup(&small.backup()).expect("a backup");
    let strip = |mut partitions: Vec<Value>| {
        for partition in &mut partitions {
            partition.as_object_mut().expect("an object").remove("sstable");
        }
        partitions.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    for table in ["visits", "orders"] {
        let directories: Vec<PathBuf> = small
            .data_dirs
            .iter()
            .flat_map(|data_dir| fs::read_dir(data_dir.join("shop")).expect("a keyspace").flatten())
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(table)))
            .collect();
        let mut arguments = args!["sstable", "dump"].to_vec();
        arguments.extend(directories.into_iter().map(Into::into));
        let local = partitions(&small.agent.expect(0, &arguments).expect("a dump"));
        let name = format!("shop.{table}");
        let root = &small.repository.root;
        let stored = small.agent.expect(0, &args!["sstable", "dump", "--repository", root, "latest", name]);
        let stored = partitions(&stored.expect("a dump"));
        assert_eq!(stored.len(), local.len(), "{table}");
        assert_eq!(strip(stored.clone()), strip(local), "{table}");
        let url = format!("file://{}", root.display());
        let key = key(&stored[0]);
        let one = small.agent.expect(0, &args!["sstable", "get", url, "latest", name, key]).expect("a partition");
        assert!(partitions(&one).iter().any(|partition| partition["rows"] == stored[0]["rows"]), "{one}");
        let metadata =
            small.agent.json(&args!["sstable", "metadata", "--repository", root, "latest", name]).expect("metadata");
        assert!(metadata["sstables"].as_array().is_some_and(|list| !list.is_empty()), "{metadata}");
    }
    let root = &small.repository.root;
    small.agent.expect(2, &args!["sstable", "dump", "--repository", root, "latest", "shop.nothing"]).expect("usage");
}
