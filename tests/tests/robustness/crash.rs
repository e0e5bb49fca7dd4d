//! The power goes at each durability step of a backup and of a restore. Afterwards no manifest names what is not
//! there, no file has a final name without its proven bytes, and the same command, run again, finishes the work and
//! leaves nothing behind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use helenus_tests::agent::{Agent, transient_links};
use helenus_tests::repository::Repository;

use crate::in_place::{Changed, files, hidden, live};
use crate::node::{Small, assert_same, contents, copy_tree};

/// Up to this number of passings of one step, the power goes at each of them; beyond, at the first and the last ones
/// and at some between.
const PASSINGS_EACH: usize = 16;

/// All `name:n` at which a run can be stopped.
fn steps(agent: &Agent, arguments: &[OsString], list: &Path) -> Vec<String> {
    agent.with("HELENUS_FAIL_LIST", list).expect(0, arguments).expect("the run without a failure");
    let mut passings = BTreeMap::<String, usize>::new();
    for line in fs::read_to_string(list).expect("the list of steps").lines() {
        *passings.entry(line.to_owned()).or_default() += 1;
    }
    let mut steps = Vec::new();
    for (name, count) in passings {
        for passing in 1..=count {
            let is_edge = passing <= 4 || passing + 4 > count;
            if count <= PASSINGS_EACH || is_edge || passing % (count / 8) == 0 {
                steps.push(format!("{name}:{passing}"));
            }
        }
    }
    steps
}

/// Runs `story` for each step, two at a time; returns how many of them did kill the process. Fails with the list of
/// all steps whose story failed, for the pattern in it says more than the first of them.
fn at_each(steps: &[String], story: impl Fn(&str) -> bool + Sync) -> usize {
    let (next, killed, failed) = (Mutex::new(steps.iter()), Mutex::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(step) = next.lock().expect("not poisoned").next() else { break };
                    match catch_unwind(AssertUnwindSafe(|| story(step))) {
                        Ok(true) => *killed.lock().expect("not poisoned") += 1,
                        Ok(false) => {}
                        Err(_) => failed.lock().expect("not poisoned").push(step),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("not poisoned");
    assert!(failed.is_empty(), "{} of {} steps: {failed:?}", failed.len(), steps.len());
    killed.into_inner().expect("not poisoned")
}

/// Backups into so many repositories at once, with these arguments.
fn backup_dies_at_each_step(repositories: usize, more: &[&str]) {
    let all = |small: &Small| -> Vec<Repository> {
        let others = (1..repositories).map(|number| Repository::at(small.work.path().join(format!("other {number}"))));
        std::iter::once(small.repository.clone()).chain(others).collect()
    };
    let backup = |small: &Small| {
        let mut arguments = small.backup();
        all(small)[1..].iter().for_each(|other| arguments.extend(["--repository".into(), other.root.clone().into()]));
        arguments
    };
    let dying = |small: &Small| backup(small).into_iter().chain(more.iter().map(OsString::from)).collect::<Vec<_>>();
    let first = Small::new().expect("a node");
    let steps = steps(&first.agent, &dying(&first), &first.work.path().join("steps"));
    assert!(steps.len() > 20, "few steps: {steps:?}");
    let killed = at_each(&steps, |step| {
        let small = Small::new().expect("a node");
        let output = small.agent.with("HELENUS_FAIL_AT", step).run(&dying(&small)).expect("the run ends");
        assert!(output.was_killed() || output.success(), "{step}: {output}");
        for repository in all(&small) {
            repository.check_complete().unwrap_or_else(|error| panic!("{step}: {error:#}"));
        }
        small.agent.expect(0, &backup(&small)).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
        let left = transient_links(&small.data());
        assert!(left.is_empty(), "{step}: {left:?} is left behind");
        for (number, repository) in all(&small).iter().enumerate() {
            let manifests = repository.check_complete().unwrap_or_else(|error| panic!("{step}: {error:#}"));
            assert!(manifests >= 1, "{step}: no manifest");
            let to = small.work.path().join(format!("restored {number}"));
            let restore = helenus_tests::args!["restore", "latest", "--repository", repository.root, "--to-dir", to];
            small.agent.expect(0, &restore).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
            assert_same(&small.expected().expect("files"), &contents(&to).expect("files"), step);
        }
        output.was_killed()
    });
    assert!(killed * 10 > steps.len() * 8, "{killed} of {} steps were reached", steps.len());
}

#[test]
fn a_backup_dies_at_each_step() {
    backup_dies_at_each_step(1, &[]);
}

#[test]
fn a_backup_to_two_repositories_dies_at_each_step() {
    backup_dies_at_each_step(2, &[]);
}

#[test]
fn a_backup_that_keeps_a_snapshot_dies_at_each_step() {
    backup_dies_at_each_step(1, &["--keep-snapshot", "kept"]);
}

#[test]
fn a_second_backup_dies_at_each_step() {
    let prepare = || {
        let small = Small::new().expect("a node");
        let held_back = small.work.path().join("held-back");
        let visits = small.table_dir("visits");
        // The second backup has something to add, and something is gone.
        copy_tree(&visits, &held_back, &|name| name.starts_with("oa-")).expect("a copy");
        for path in helenus_tests::repository::files_below(&visits).expect("files") {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("oa-")) {
                fs::remove_file(path).expect("removed");
            }
        }
        small.agent.expect(0, &small.backup()).expect("the first backup");
        copy_tree(&held_back, &visits, &|_| true).expect("a copy");
        for path in helenus_tests::repository::files_below(&visits).expect("files") {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nb-")) {
                fs::remove_file(path).expect("removed");
            }
        }
        small
    };
    let first = prepare();
    let steps = steps(&first.agent, &first.backup(), &first.work.path().join("steps"));
    let killed = at_each(&steps, |step| {
        let small = prepare();
        let before = small.repository.objects().expect("objects");
        let output = small.agent.with("HELENUS_FAIL_AT", step).run(&small.backup()).expect("the run ends");
        assert!(output.was_killed() || output.success(), "{step}: {output}");
        let manifests = small.repository.check_complete().unwrap_or_else(|error| panic!("{step}: {error:#}"));
        assert!(manifests >= 1, "{step}: the first backup is gone");
        let after = small.repository.objects().expect("objects");
        for (key, hash) in &before {
            assert_eq!(after.get(key), Some(hash), "{step}: {} was changed", key.display());
        }
        small.agent.expect(0, &small.backup()).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
        assert!(transient_links(&small.data()).is_empty(), "{step}: links are left behind");
        let restored = small.work.path().join("restored");
        small.agent.expect(0, &small.restore(&restored)).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
        assert_same(&small.expected().expect("files"), &contents(&restored).expect("files"), step);
        output.was_killed()
    });
    assert!(killed * 10 > steps.len() * 8, "{killed} of {} steps were reached", steps.len());
}

#[test]
fn a_restore_dies_at_each_step() {
    let small = Small::new().expect("a node");
    small.agent.expect(0, &small.backup()).expect("a backup");
    let expected = small.expected().expect("files");
    let count_in = small.work.path().join("counted");
    let steps = steps(&small.agent, &small.restore(&count_in), &small.work.path().join("steps"));
    assert!(steps.len() > 10, "few steps: {steps:?}");
    let killed = at_each(&steps, |step| {
        let target = small.work.path().join(format!("restored at {}", step.replace(':', " ")));
        let output = small.agent.with("HELENUS_FAIL_AT", step).run(&small.restore(&target)).expect("the run ends");
        assert!(output.was_killed() || output.success(), "{step}: {output}");
        // What has its final name has its final bytes.
        for (path, bytes) in contents(&target).expect("files") {
            assert!(expected.get(&path) == Some(&bytes), "{step}: {} is not what it should be", path.display());
        }
        small.agent.expect(0, &small.restore(&target)).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
        assert_same(&expected, &contents(&target).expect("files"), step);
        let hidden: Vec<_> = fs::read_dir(&target)
            .expect("the target")
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().starts_with('.'))
            .collect();
        assert!(hidden.is_empty(), "{step}: {hidden:?} is left behind");
        fs::remove_dir_all(&target).expect("removed");
        output.was_killed()
    });
    assert!(killed * 10 > steps.len() * 8, "{killed} of {} steps were reached", steps.len());
}

/// A changed node again and again, over one repository.
struct Copies {
    first: Changed,
}

impl Copies {
    fn new() -> Self {
        Self { first: Changed::new() }
    }

    /// The node as it was before the restore, elsewhere.
    fn make(&self) -> Small {
        let work = tempfile::Builder::new().prefix("helenus-copy-").tempdir().expect("a directory");
        let from = &self.first.small;
        let data_dirs = ["d1", "d2"].map(|name| work.path().join("data").join(name));
        for (from, to) in from.data_dirs.iter().zip(&data_dirs) {
            copy_tree(from, to, &|_| true).expect("copied");
        }
        Small { work, data_dirs, repository: from.repository.clone(), agent: from.agent.clone() }
    }
}

fn in_place(small: &Small) -> Vec<OsString> {
    let mut arguments = crate::in_place::in_place(small, &["latest", "--in-place", "--replace", "--repository"]);
    arguments.push(small.repository.root.clone().into());
    arguments
}

fn end(small: &Small, how: &str) -> Vec<OsString> {
    crate::in_place::in_place(small, &[how])
}

/// Fails unless a file that is in its place has old bytes or new ones, whatever step was the last.
fn assert_old_or_new(copies: &Copies, small: &Small, step: &str) {
    for (path, bytes) in files(small) {
        let known = [&copies.first.before, &copies.first.restored].iter().any(|all| all.get(&path) == Some(&bytes));
        assert!(known, "{step}: {} is neither what it was nor what it should be", path.display());
    }
}

/// Killed at any step, the same command goes on, and the end is the same; or an abort brings back what was there.
#[test]
fn a_restore_in_place_dies_at_each_step() {
    let copies = Copies::new();
    let counted = copies.make();
    let list = copies.first.small.work.path().join("steps in place");
    let steps = steps(&counted.agent, &in_place(&counted), &list);
    assert!(steps.len() > 50, "few steps: {steps:?}");
    let killed = at_each(&steps, |step| {
        let mut was_killed = true;
        for aborts in [false, true] {
            let small = copies.make();
            let agent = &small.agent;
            let output = agent.with("HELENUS_FAIL_AT", step).run(&in_place(&small)).expect("the run ends");
            assert!(output.was_killed() || output.success(), "{step}: {output}");
            was_killed &= output.was_killed();
            assert_old_or_new(&copies, &small, step);
            if aborts {
                // Before the journal is there, there is nothing to abort.
                let aborted = agent.run(&end(&small, "--abort")).expect("the run ends");
                let nothing = aborted.stderr.contains("no restore in place was begun here");
                assert!(aborted.success() || nothing, "abort after {step}: {aborted}");
                assert_same(&copies.first.before, &files(&small), step);
                if !nothing {
                    assert!(hidden(&small).is_empty(), "{step}: {:?} is left behind", hidden(&small));
                }
            }
            agent.expect(0, &in_place(&small)).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
            assert_same(&live(&copies.first.restored), &live(&files(&small)), step);
            agent.expect(0, &end(&small, "--finish")).unwrap_or_else(|error| panic!("after {step}: {error:#}"));
            assert_same(&live(&copies.first.restored), &live(&files(&small)), step);
            assert!(hidden(&small).is_empty(), "{step}: {:?} is left behind", hidden(&small));
        }
        was_killed
    });
    assert!(killed * 10 > steps.len() * 8, "{killed} of {} steps were reached", steps.len());
}

/// An abort that is killed goes on when it is run again, and so does a finish.
#[test]
fn abort_and_finish_die_at_each_step() {
    let copies = Copies::new();
    for (how, expected) in [("--abort", copies.first.before.clone()), ("--finish", live(&copies.first.restored))] {
        let as_wanted = |small: &Small| if how == "--abort" { files(small) } else { live(&files(small)) };
        let prepare = || {
            let small = copies.make();
            small.agent.expect(0, &in_place(&small)).expect("a restore");
            small
        };
        let counted = prepare();
        let list = copies.first.small.work.path().join(format!("steps of {how}"));
        let steps = steps(&counted.agent, &end(&counted, how), &list);
        assert!(steps.len() > 20, "few steps: {steps:?}");
        let killed = at_each(&steps, |step| {
            let small = prepare();
            let output = small.agent.with("HELENUS_FAIL_AT", step).run(&end(&small, how)).expect("the run ends");
            assert!(output.was_killed() || output.success(), "{step}: {output}");
            assert_old_or_new(&copies, &small, step);
            let again = small.agent.run(&end(&small, how)).expect("the run ends");
            let nothing = again.stderr.contains("no restore in place was begun here");
            assert!(again.success() || nothing, "after {step}: {again}");
            assert_same(&expected, &as_wanted(&small), step);
            let left = hidden(&small).iter().map(|dir| contents(dir).expect("files").len()).sum::<usize>();
            assert_eq!(left, 0, "{step}: {:?} is left behind", hidden(&small));
            output.was_killed()
        });
        assert!(killed * 10 > steps.len() * 8, "{how}: {killed} of {} steps were reached", steps.len());
    }
}
