//! What lies in a table directory and is not as it should be: reported by name, the rest is backed up, the exit code
//! says so, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};

use helenus_tests::process::Output;
use helenus_tests::repository::files_below;

use crate::node::{Small, assert_same, contents};

/// The file of the first SSTable of a version in `visits` that has this component.
fn component(small: &Small, version: &str, component: &str) -> PathBuf {
    let files = files_below(&small.table_dir("visits")).expect("files");
    let found = files.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(version) && name.ends_with(&format!("-{component}"))
    });
    found.unwrap_or_else(|| panic!("no {component} of {version}"))
}

/// `nb-3-big` of a component's path.
fn sstable(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map(|(sstable, _)| sstable.to_owned()).unwrap_or_default()
}

/// Spoils a node and backs it up: exit code 3, and both kinds of output contain `named`.
fn report(small: &Small, named: &str) -> Output {
    let output = small.agent.expect(3, &small.backup()).unwrap_or_else(|error| panic!("{named}: {error:#}"));
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.contains(named), "`{named}` is not named: {output}");
    // What was found once is not forgotten by the next run.
    let mut arguments = small.backup();
    arguments.push("--json".into());
    let output = small.agent.expect(3, &arguments).expect("the second backup");
    assert!(output.stdout.contains(named), "`{named}` is not named the second time: {output}");
    assert_eq!(small.repository.check_complete().expect("complete"), 2);
    output
}

/// Restores and compares with the node as it was, without the files that `lost` names.
fn restores_all_but(small: &Small, expected: &std::collections::BTreeMap<PathBuf, Vec<u8>>, lost: &str) {
    let restored = small.work.path().join("restored");
    small.agent.expect(0, &small.restore(&restored)).expect("a restore");
    let mut expected = expected.clone();
    expected.retain(|path, _| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(lost)));
    assert_same(&expected, &contents(&restored).expect("files"), lost);
}

/// A damaged SSTable is stored as it is, left out of a restore, and comes back when it is asked for.
#[track_caller]
fn damaged(version: &str, spoiled: &str, spoil: impl FnOnce(&Path)) {
    let small = Small::new().expect("a node");
    let path = component(&small, version, spoiled);
    let whole = small.expected().expect("files");
    spoil(&path);
    let spoiled = small.expected().expect("files");
    report(&small, &sstable(&path));
    restores_all_but(&small, &whole, &format!("{}-", sstable(&path)));
    let as_it_was = small.work.path().join("as it was");
    let mut arguments = small.restore(&as_it_was);
    arguments.push("--include-damaged".into());
    small.agent.expect(0, &arguments).expect("a restore with damage");
    assert_same(&spoiled, &contents(&as_it_was).expect("files"), "with damage");
}

#[test]
fn truncated_components() {
    for version in ["nb", "oa", "da"] {
        for component in ["Data.db", "Statistics.db", "CompressionInfo.db"] {
            damaged(version, component, |path| {
                let bytes = fs::read(path).expect("read");
                fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
            });
        }
    }
}

#[test]
fn zero_length_components() {
    for (version, component) in
        [("nb", "Data.db"), ("oa", "Statistics.db"), ("da", "Partitions.db"), ("nb", "Index.db")]
    {
        damaged(version, component, |path| fs::write(path, "").expect("written"));
    }
}

#[test]
fn one_flipped_byte() {
    damaged("oa", "Data.db", |path| {
        let mut bytes = fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("written");
    });
}

#[test]
fn missing_components() {
    for (version, component) in
        [("nb", "Statistics.db"), ("oa", "Index.db"), ("da", "Partitions.db"), ("oa", "Data.db")]
    {
        damaged(version, component, |path| fs::remove_file(path).expect("removed"));
    }
}

#[test]
fn a_version_that_nobody_knows_is_kept_as_bytes() {
    let small = Small::new().expect("a node");
    for path in files_below(&small.table_dir("visits")).expect("files") {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(rest) = name.strip_prefix("oa-") {
            fs::copy(&path, path.with_file_name(format!("zz-{rest}"))).expect("copied");
        }
    }
    let expected = small.expected().expect("files");
    report(&small, "zz-");
    restores_all_but(&small, &expected, "nothing");
}

#[test]
fn foreign_files() {
    for name in ["notes of last summer.txt", "core.1234", "nb-7-big", ".hidden"] {
        let small = Small::new().expect("a node");
        let expected = small.expected().expect("files");
        fs::write(small.table_dir("visits").join(name), "Not ours.").expect("written");
        report(&small, name);
        // Whether it comes back is not promised; that everything else does, is.
        let restored = small.work.path().join("restored");
        small.agent.expect(0, &small.restore(&restored)).expect("a restore");
        let mut found = contents(&restored).expect("files");
        found.retain(|path, _| path.file_name().is_none_or(|found| found != name));
        assert_same(&expected, &found, name);
    }
}

#[test]
fn the_rest_of_an_sstable() {
    let small = Small::new().expect("a node");
    let expected = small.expected().expect("files");
    fs::write(small.table_dir("visits").join("nb-99-big-Filter.db"), "What a deletion has left.").expect("written");
    report(&small, "nb-99-big");
    restores_all_but(&small, &expected, "nothing");
}

/// Plugins put components of their own beside an SSTable: they belong to it, whatever is in them.
#[test]
fn components_that_only_a_plugin_knows() {
    let small = Small::new().expect("a node");
    let data = component(&small, "nb", "Data.db");
    fs::write(data.with_file_name(format!("{}-Custom.db", sstable(&data))), "Whatever.").expect("written");
    small.agent.expect(0, &small.backup()).expect("a backup");
    restores_all_but(&small, &small.expected().expect("files"), "nothing");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let small = Small::new().expect("a node");
    let expected = small.expected().expect("files");
    let secret = small.work.path().join("secret");
    fs::write(&secret, "a secret of somebody else").expect("written");
    let link = small.table_dir("visits").join("nb-77-big-Data.db");
    std::os::unix::fs::symlink(&secret, &link).expect("linked");
    report(&small, "nb-77-big");
    let restored = small.work.path().join("restored");
    small.agent.expect(0, &small.restore(&restored)).expect("a restore");
    assert_same(&expected, &contents(&restored).expect("files"), "without the link");
    for path in files_below(&small.repository.root).expect("objects") {
        let bytes = fs::read(path).expect("read");
        assert!(!bytes.windows(8).any(|window| window == b"a secret"), "what the link points to was stored");
    }
}

/// Nobody can tell which of the table's SSTables are live, so nobody may guess; the other tables are not concerned.
#[test]
fn a_transaction_log_with_a_bad_checksum() {
    let small = Small::new().expect("a node");
    let name = "nb_txn_compaction_0d3e5c80-c5d1-11f0-9a4e-3b7b1f1d2c4a.log";
    let data = component(&small, "nb", "Data.db");
    let prefix = data.with_file_name(format!("{}-", sstable(&data)));
    // The middle line's checksum is wrong, and a line follows: no torn write looks like that.
    let lines = format!(
        "ADD:[{0},0,8][1234567890]\nREMOVE:[{0},1763683200000,8][987654321]\nCOMMIT:[,0,0][2613697770]\n",
        prefix.display()
    );
    fs::write(small.table_dir("visits").join(name), lines).expect("written");
    let mut arguments = small.backup();
    arguments.push("--json".into());
    let output = small.agent.run(&arguments).expect("the run ends");
    assert!(matches!(output.code(), Some(1 | 3)), "{output}");
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.contains("nb_txn_compaction_0d3e5c80"), "the log is not named: {output}");
    assert_eq!(small.repository.check_complete().expect("complete"), 1, "the rest was not backed up: {output}");
    let restored = small.work.path().join("restored");
    small.agent.expect(0, &small.restore(&restored)).expect("a restore");
    let of_orders = |mut files: std::collections::BTreeMap<PathBuf, Vec<u8>>| {
        files.retain(|path, _| path.to_string_lossy().contains("/orders-"));
        files
    };
    let expected = of_orders(small.expected().expect("files"));
    assert_same(&expected, &of_orders(contents(&restored).expect("files")), "the other table");
}

#[test]
fn nothing_selected_is_no_success() {
    let small = Small::new().expect("a node");
    for selection in [["--keyspace", "no_such"], ["--table", "shop.no_such"], ["--exclude", "*"]] {
        let mut arguments = small.backup();
        arguments.extend(selection.map(Into::into));
        let output = small.agent.expect(1, &arguments).expect("a refusal");
        assert!(!output.stderr.is_empty(), "{output}");
    }
    assert_eq!(small.repository.check_complete().expect("complete"), 0);
}
