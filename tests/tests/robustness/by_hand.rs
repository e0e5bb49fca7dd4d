//! A repository outlives the program: `cp`, `tar`, `zstd` and `jq` restore a backup, as `docs/repository.md` says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use helenus_tests::{cassandra, process};

use crate::node::{Small, assert_same, contents};

/// What the document tells people to do.
const SCRIPT: &str = include_str!("by_hand.sh");

#[test]
fn a_restore_by_hand() {
    for tool in ["bash", "jq", "tar", "zstd"] {
        let found = process::run(Command::new(tool).arg("--version"), Duration::from_secs(10));
        if found.is_err() && !cassandra::required() {
            eprintln!("skipped: {tool} is not installed");
            return;
        }
    }
    let small = Small::new().expect("a node");
    small.agent.expect(0, &small.backup()).expect("a backup");
    let script = small.work.path().join("by_hand.sh");
    fs::write(&script, SCRIPT).expect("written");
    let restored = small.work.path().join("by hand");
    let mut command = Command::new("bash");
    command.arg(&script).arg(&small.repository.root).arg(&restored);
    let output = process::run(&mut command, Duration::from_secs(60)).expect("the script ends");
    assert!(output.success(), "{output}");
    assert_same(&small.expected().expect("files"), &contents(&restored).expect("files"), "by hand");
}

#[test]
fn the_document_tells_what_was_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/repository.md");
    let document = fs::read_to_string(&path).expect("docs/repository.md");
    assert!(document.contains(SCRIPT.trim()), "docs/repository.md does not contain tests/tests/robustness/by_hand.sh");
}
