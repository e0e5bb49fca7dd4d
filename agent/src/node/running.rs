//! Is a Cassandra using these directories? With the evidence, for people have to trust the answer.
//!
//! The proof is in `/proc`: a process that has files open below a data directory, or a Cassandra whose open files we
//! may not see. Other pid namespaces (containers) are out of sight, which the evidence says.

use std::fs;
use std::path::{Path, PathBuf};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Running {
    /// This process uses the directories.
    Yes {
        /// Its id.
        pid: i32,
        /// What was seen.
        evidence: String,
    },
    /// No process that we can see does.
    No {
        /// What was looked at.
        evidence: String,
    },
    /// There is a Cassandra whose open files we may not look at.
    Unknown {
        /// Its id.
        pid: i32,
        /// Why we cannot tell.
        evidence: String,
    },
}

const MAIN_CLASS: &str = "org.apache.cassandra.service.CassandraDaemon";

/// Looks for a process that uses one of `directories`.
pub fn uses(directories: &[PathBuf]) -> Running {
    let directories: Vec<PathBuf> =
        directories.iter().map(|directory| fs::canonicalize(directory).unwrap_or_else(|_| directory.clone())).collect();
    let mut unknown = None;
    let mut looked_at = 0;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let is_cassandra = is_cassandra(&process.path());
        if is_cassandra {
            looked_at += 1;
        }
        match open_file_below(&process.path(), &directories) {
            Ok(Some(file)) if is_cassandra => {
                return Running::Yes {
                    pid,
                    evidence: format!("Cassandra (process {pid}) has {} open", file.display()),
                };
            }
            Ok(None) if is_cassandra && !has_sstable_open(&process.path()) => {
                unknown = Some(Running::Unknown {
                    pid,
                    evidence: format!(
                        "Cassandra (process {pid}) has no SSTable open yet: it may be starting on these directories"
                    ),
                });
            }
            Ok(_) => {}
            Err(error) if is_cassandra => {
                unknown = Some(Running::Unknown {
                    pid,
                    evidence: format!("the open files of Cassandra (process {pid}) cannot be read: {error}"),
                });
            }
            Err(_) => {}
        }
    }
    unknown.unwrap_or_else(|| Running::No {
        evidence: match looked_at {
            0 => "no Cassandra process is visible here (other containers are out of sight)".to_owned(),
            n => format!("{n} Cassandra process(es) visible here, none with a file open in these directories"),
        },
    })
}

fn is_cassandra(process: &Path) -> bool {
    let command = fs::read(process.join("cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|argument| argument == MAIN_CLASS.as_bytes())
}

fn open_file_below(process: &Path, directories: &[PathBuf]) -> std::io::Result<Option<PathBuf>> {
    for file in fs::read_dir(process.join("fd"))? {
        // A descriptor may be closed between the listing and the look at it.
        let Ok(target) = file.and_then(|file| fs::read_link(file.path())) else { continue };
        if directories.iter().any(|directory| target.starts_with(directory)) {
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// False for a Cassandra that is starting: once it runs, it has those of its system tables open.
fn has_sstable_open(process: &Path) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.extension().is_some_and(|end| end == "db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_nobody_uses() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!matches!(uses(&[directory.path().to_owned()]), Running::Yes { .. }));
    }
}
