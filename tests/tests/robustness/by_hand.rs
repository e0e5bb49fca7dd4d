//! A repository outlives the program: `cp`, `tar`, `zstd` and `jq` restore a backup, as `docs/repository.md` says. What
//! runs here is the text of that page.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use helenus_tests::{cassandra, process};

use crate::node::{Small, assert_same, contents};

/// The script under the heading "Restore by hand".
fn script() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/repository.md");
    let page = fs::read_to_string(&path).expect("docs/repository.md");
    let section = page.split_once("\n## Restore by hand\n").expect("a section about it").1;
    let script = section.split_once("```sh\n").expect("a script").1;
    script.split_once("```").expect("the end of the script").0.to_owned()
}

#[test]
fn a_restore_by_hand() {
    for tool in ["jq", "tar", "zstd"] {
        let found = process::run(Command::new(tool).arg("--version"), Duration::from_secs(10));
        if found.is_err() && !cassandra::required() {
            eprintln!("skipped: {tool} is not installed");
            return;
        }
    }
    let small = Small::new().expect("a node");
    small.agent.expect(0, &small.backup()).expect("a backup");
    let restored = small.work.path().join("by hand");
    let mut command = Command::new("sh");
    command.args(["-c", &script()]).env("REPO", &small.repository.root).env("TO", &restored).env_remove("BACKUP");
    let output = process::run(&mut command, Duration::from_secs(60)).expect("the script ends");
    assert!(output.success(), "{output}");
    assert_same(&small.expected().expect("files"), &contents(&restored).expect("files"), "by hand");
}
