//! One job at a time per node.
//!
//! The lock is a `flock` on the data directories themselves: it holds against every other Helenus of the node, however
//! it is configured, it writes nothing, and it ends with the process. A lock in `state_dir` would not protect the links
//! of a run from the clean-up of another run that was given another `state_dir`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held while a job runs; dropping it ends the lock.
#[derive(Debug)]
pub struct NodeLock {
    _directories: Vec<Flock<File>>,
}

/// How often a lock that is waited for is tried: `flock` knows no time limit.
const RETRY_PERIOD: Duration = Duration::from_millis(200);

/// Another run has the lock.
#[derive(Debug, thiserror::Error)]
#[error(
    "another helenus is at work on this node: {} is locked{}. Wait for it to end, or end it",
    .directory.display(),
    .holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
)]
struct Busy {
    directory: PathBuf,
    holder: Option<i32>,
}

impl NodeLock {
    /// Takes the lock, or says which process has it.
    pub fn take(data_directories: &[PathBuf]) -> anyhow::Result<Self> {
        let mut locked = Vec::new();
        // Sorted, so that two runs with the directories in different order cannot each hold half of them.
        let mut directories = data_directories.to_vec();
        directories.sort();
        directories.dedup();
        for path in directories {
            let directory = File::open(&path).with_context(|| format!("data directory {}", path.display()))?;
            let inode = directory.metadata().with_context(|| format!("data directory {}", path.display()))?.ino();
            match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => locked.push(lock),
                Err((_, Errno::EWOULDBLOCK)) => return Err(Busy { directory: path, holder: holder(inode) }.into()),
                Err((_, error)) => bail!("locking {}: {error}", path.display()),
            }
        }
        Ok(Self { _directories: locked })
    }

    /// The same, after another run has ended, if that takes no longer than `wait`.
    pub async fn take_within(data_directories: &[PathBuf], wait: Duration) -> anyhow::Result<Self> {
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        loop {
            match Self::take(data_directories) {
                Err(error) if error.is::<Busy>() && !end.is_elapsed() => {}
                outcome => return outcome,
            }
            tokio::select! {
                () = &mut end => {}
                () = tokio::time::sleep(RETRY_PERIOD) => {}
            }
        }
    }
}

/// The process that holds a lock on the inode, as the kernel lists it.
fn holder(inode: u64) -> Option<i32> {
    // 1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let ending = format!(":{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, _, pid, file, ..] if file.ends_with(&ending) => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_told_who_works() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = [directory.path().to_owned()];
        let first = NodeLock::take(&paths).expect("free");
        let error = NodeLock::take(&paths).expect_err("taken").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        NodeLock::take(&paths).expect("free again");
    }
    #[tokio::test]
    async fn a_second_run_waits_as_long_as_it_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = [directory.path().to_owned()];
        let first = NodeLock::take(&paths).expect("free");
        for wait in [Duration::ZERO, RETRY_PERIOD * 2] {
            NodeLock::take_within(&paths, wait).await.expect_err("taken");
        }
        let (second, ()) = tokio::join!(NodeLock::take_within(&paths, Duration::from_secs(60)), async {
            tokio::time::sleep(RETRY_PERIOD).await;
            drop(first);
        });
        second.expect("free again");
    }
}
