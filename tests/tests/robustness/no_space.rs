//! The directory of the repository is full, or read-only: a clear message, exit code 1, and no half backup.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use helenus_tests::agent::transient_links;
use helenus_tests::process;

use crate::node::{PROGRAM, Small};

/// The system refuses each kind of step in turn, at its first passing and at a later one.
#[test]
fn each_step_can_be_refused() {
    let counted = Small::new().expect("a node");
    let list = counted.work.path().join("steps");
    counted.agent.with("HELENUS_FAIL_LIST", &list).expect(0, &counted.backup()).expect("a backup");
    let list = fs::read_to_string(&list).expect("the list of steps");
    let names: BTreeSet<&str> = list.lines().collect();
    let mut refused = 0;
    for name in &names {
        for passing in ["1", "4", "*"] {
            for (error, text) in [("ENOSPC", "No space left"), ("EROFS", "Read-only file system")] {
                let when = format!("{name}:{passing}={error}");
                let small = Small::new().expect("a node");
                let output = small.agent.with("HELENUS_FAIL_ERROR", &when).run(&small.backup()).expect("the run ends");
                let manifests = small.repository.check_complete().unwrap_or_else(|error| panic!("{when}: {error:#}"));
                match output.code() {
                    // A step that a backup can do without, or in another way.
                    Some(0 | 3) => assert_eq!(manifests, 1, "{when}: {output}"),
                    Some(1) => {
                        refused += 1;
                        assert_eq!(manifests, 0, "{when}: failed, and there is a manifest");
                        assert!(output.stderr.contains(text), "{when}: the message does not say so: {output}");
                        assert!(output.stderr.contains('/'), "{when}: the message names no path: {output}");
                        if passing != "*" {
                            let left = transient_links(&small.data());
                            assert!(left.is_empty(), "{when}: {left:?} is left behind");
                        }
                    }
                    _ => panic!("{when}: {output}"),
                }
                small.agent.expect(0, &small.backup()).unwrap_or_else(|error| panic!("after {when}: {error:#}"));
                assert!(transient_links(&small.data()).is_empty(), "after {when}: links are left behind");
            }
        }
    }
    assert!(refused >= 12, "only {refused} refusals made a backup fail; steps are {names:?}");
}

/// The same with file systems that are really full and really read-only, where this machine lets us mount them.
#[test]
fn real_file_systems() {
    let mount = |script: &str, small: &Small| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash", "-c", script, "bash"]);
        command.arg(&small.repository.root).arg(small.work.path().join("agent/helenus.toml")).arg(PROGRAM);
        command.args(small.backup());
        process::run(&mut command, Duration::from_secs(60))
    };
    let probe = Small::new().expect("a node");
    fs::create_dir_all(&probe.repository.root).expect("created");
    if !mount("mount -t tmpfs none \"$1\"", &probe).is_ok_and(|output| output.success()) {
        eprintln!("skipped: no right to mount here; the fail points above stand for it");
        return;
    }
    for (what, options, text) in
        [("full", "size=64k", "No space left on device"), ("read-only", "ro", "Read-only file system")]
    {
        let small = Small::new().expect("a node");
        fs::create_dir_all(&small.repository.root).expect("created");
        let script = format!(
            "mount -t tmpfs -o {options} none \"$1\" || exit 99; repository=$1; config=$2; shift 2
             \"$@\" --config \"$config\"; code=$?
             find \"$repository\" -name '*.json.zst' -path '*/manifest/*' >&2
             exit $code"
        );
        let output = mount(&script, &small).expect("the script ends");
        assert_eq!(output.code(), Some(1), "{what}: {output}");
        assert!(output.stderr.contains(text), "{what}: {output}");
        assert!(!output.stderr.contains(".json.zst"), "{what}: there is a manifest: {output}");
        assert!(transient_links(&small.data()).is_empty(), "{what}: links are left behind");
    }
}
