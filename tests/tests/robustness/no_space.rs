//! The directory of the repository is full, or read-only: a clear message, exit code 1, and no half backup.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use helenus_tests::agent::transient_links;
use helenus_tests::process;

use crate::in_place::{Changed, files, live};
use crate::node::{PROGRAM, Small, assert_same};

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

/// A disk that is full in the middle of a restore in place: it stops, says so, and goes on when there is room again.
#[test]
fn a_restore_in_place_can_be_refused() {
    let counted = Changed::new();
    let list = counted.small.work.path().join("steps in place");
    counted.small.agent.with("HELENUS_FAIL_LIST", &list).expect(0, &counted.restore()).expect("a restore");
    let list = fs::read_to_string(&list).expect("the list of steps");
    let names: BTreeSet<&str> = list.lines().collect();
    let mut refused = 0;
    for name in &names {
        for passing in ["1", "5"] {
            let when = format!("{name}:{passing}=ENOSPC");
            let changed = Changed::new();
            let agent = &changed.small.agent;
            let output = agent.with("HELENUS_FAIL_ERROR", &when).run(&changed.restore()).expect("the run ends");
            if output.code() == Some(1) {
                refused += 1;
                assert!(output.stderr.contains("No space left"), "{when}: the message does not say so: {output}");
                assert!(output.stderr.contains('/'), "{when}: the message names no path: {output}");
                if matches!(*name, "create" | "settle") {
                    let says =
                        output.stderr.contains("the disk is full; what was fetched is kept, and no table was changed");
                    assert!(says, "{when}: {output}");
                    assert_same(&changed.before, &files(&changed.small), &when);
                }
            } else {
                assert_eq!(output.code(), Some(0), "{when}: {output}");
            }
            agent.expect(0, &changed.restore()).unwrap_or_else(|error| panic!("after {when}: {error:#}"));
            assert_same(&live(&changed.restored), &live(&files(&changed.small)), &when);
            agent.expect(0, &changed.command(&["--abort"])).unwrap_or_else(|error| panic!("after {when}: {error:#}"));
            assert_same(&changed.before, &files(&changed.small), &when);
        }
    }
    assert!(refused >= 10, "only {refused} refusals made a restore fail; steps are {names:?}");
}

/// What does not fit is refused before anything is changed, with the bytes that are missing.
#[test]
fn a_restore_that_does_not_fit() {
    let changed = Changed::new();
    let small = &changed.small;
    let script = "mkdir -p \"$1/a\" && mount -t tmpfs -o size=64k none \"$1/a\" || exit 99; config=$2; shift 2
        \"$@\" --config \"$config\"; code=$?; ls -A \"${0}/a\" >&2; exit $code";
    let disks = small.work.path().join("disks");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c", script]).arg(&disks).arg(&disks);
    command.arg(small.work.path().join("agent/helenus.toml")).arg(PROGRAM);
    command.args(["restore", "latest", "--in-place", "--replace", "--data-dir"]).arg(disks.join("a"));
    command.arg("--repository").arg(&small.repository.root);
    let Ok(output) = process::run(&mut command, Duration::from_secs(60)) else { return };
    if !matches!(output.code(), Some(0..=3)) {
        eprintln!("skipped: no right to mount here");
        return;
    }
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(output.stderr.contains("bytes are needed on this file system and 65536 are free: "), "{output}");
    assert!(output.stderr.contains("are missing") && !output.stderr.contains(".helenus"), "{output}");
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
