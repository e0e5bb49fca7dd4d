//! Which files a transaction makes count for nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::record::RecordKind;
use super::transaction::{State, Tracked, Transaction, TxnLogError, TxnLogErrorKind};
use crate::descriptor::Descriptor;

/// A file as it was listed **before** the logs were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedFile<'a> {
    /// Number of the directory, the same as in [`Replica::directory`].
    pub directory: usize,
    /// The file name.
    pub name: &'a str,
    /// Modification time in milliseconds since 1970.
    pub mtime_ms: i64,
}

/// Why the files of an SSTable do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Replaced by a committed transaction, about to be deleted.
    Replaced,
    /// New in a transaction that is not committed: possibly still being written.
    Unfinished,
    /// New in an aborted transaction, about to be deleted.
    Aborted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "replaced by a committed transaction",
            Self::Unfinished => "new in a transaction that is not committed",
            Self::Aborted => "new in an aborted transaction",
        })
    }
}

/// A set of files to be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporary {
    /// Index of the transaction that says so.
    pub transaction: usize,
    /// Why.
    pub reason: Reason,
}

/// Which of the listed files do not count. Those that no log mentions do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classification {
    temporary: BTreeMap<(usize, String), Temporary>,
    /// What is odd about the logs without putting a doubt on the result.
    pub warnings: Vec<TxnLogError>,
}

impl Classification {
    /// Why the SSTable does not count in the directory; `None` if it does.
    pub fn temporary(&self, directory: usize, descriptor: &Descriptor) -> Option<Temporary> {
        self.temporary.get(&(directory, descriptor.prefix())).copied()
    }

    /// All that does not count: directory, what the file names start with (`nb-7-big-`), why. Only where there are
    /// files.
    pub fn all_temporary(&self) -> impl Iterator<Item = (usize, &str, Temporary)> {
        self.temporary.iter().map(|((directory, prefix), temporary)| (*directory, prefix.as_str(), *temporary))
    }
}

/// Why no classification is possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassifyError {
    /// Some of the old files are gone though the log is not completed. Between two looks at a running node that is
    /// normal: list and read again. With the same files and the same log a second time, it is an error.
    #[error("{log} is not completed, and files of {prefix} are missing: expected {expected}, got {got}")]
    Inconsistent {
        /// Index of the transaction.
        transaction: usize,
        /// File name of the log.
        log: String,
        /// What the names of the files start with.
        prefix: String,
        /// The recorded number of files.
        expected: i32,
        /// The listed number.
        got: usize,
    },
    /// The log contradicts the files. A running node may still be the reason: list and read again once.
    #[error(transparent)]
    Corrupt(#[from] TxnLogError),
}

/// Tells which of the files do not count, as Cassandra itself does when it lists a table. `files` are all files of all
/// directories of the table, listed before the logs were read; more than those that the logs mention do no harm.
pub fn classify(transactions: &[Transaction], files: &[ListedFile<'_>]) -> Result<Classification, ClassifyError> {
    let mut sorted: Vec<ListedFile<'_>> = files.to_vec();
    sorted.sort_unstable();
    let mut classification = Classification::default();
    for (index, transaction) in transactions.iter().enumerate() {
        classify_one(index, transaction, &sorted, &mut classification)?;
    }
    Ok(classification)
}

fn classify_one(
    index: usize,
    transaction: &Transaction,
    sorted: &[ListedFile<'_>],
    classification: &mut Classification,
) -> Result<(), ClassifyError> {
    let count = transaction.records.len();
    // A doubt about the last line is settled by the files: if all old ones are there, nothing was deleted yet.
    let mut is_torn = transaction.is_torn;
    for (position, Tracked { record, file_prefix }) in transaction.records.iter().enumerate() {
        if record.kind != RecordKind::Remove {
            continue;
        }
        let Some(error) = update_time_error(transaction, position, sorted) else { continue };
        let is_last_line = position + 1 == count && transaction.state == State::Unfinished && !transaction.is_torn;
        // Data.db goes first, and then the newest of the remaining files may be older: CASSANDRA-21649.
        let is_being_deleted =
            transaction.state == State::Committed && !has_data_file(transaction, file_prefix, sorted);
        if is_last_line {
            is_torn = true;
        } else if is_being_deleted {
            classification.warnings.push(error);
        } else {
            return Err(error.into());
        }
    }

    if transaction.state == State::Unfinished {
        for (position, Tracked { record, file_prefix }) in transaction.records.iter().enumerate() {
            let (expected, got) = (record.num_files, found(transaction, file_prefix, sorted).count());
            let is_missing = usize::try_from(expected).is_ok_and(|expected| got < expected);
            if record.kind != RecordKind::Remove || !is_missing {
                continue;
            }
            if is_torn {
                let kind = TxnLogErrorKind::FilesMissing { prefix: file_prefix.clone(), expected, got };
                return Err(TxnLogError { replica: transaction.label.clone(), line: position + 1, kind }.into());
            }
            let (log, prefix) = (transaction.name().to_owned(), file_prefix.clone());
            return Err(ClassifyError::Inconsistent { transaction: index, log, prefix, expected, got });
        }
    }

    let (kind, reason) = match transaction.state {
        State::Committed => (RecordKind::Remove, Reason::Replaced),
        State::Aborted => (RecordKind::Add, Reason::Aborted),
        State::Unfinished => (RecordKind::Add, Reason::Unfinished),
    };
    for prefix in transaction.prefixes(kind) {
        for file in found(transaction, prefix, sorted) {
            let temporary = Temporary { transaction: index, reason };
            classification.temporary.entry((file.directory, prefix.to_owned())).or_insert(temporary);
        }
    }
    Ok(())
}

/// The listed files of an SSTable in the directories that have a replica of the log.
fn found<'a>(
    transaction: &'a Transaction,
    prefix: &'a str,
    sorted: &'a [ListedFile<'a>],
) -> impl Iterator<Item = &'a ListedFile<'a>> {
    transaction.directories.iter().flat_map(move |&directory| {
        let start = sorted.partition_point(|file| (file.directory, file.name) < (directory, prefix));
        let from_start = sorted.get(start..).unwrap_or_default();
        from_start.iter().take_while(move |file| file.directory == directory && file.name.starts_with(prefix))
    })
}

fn has_data_file(transaction: &Transaction, prefix: &str, sorted: &[ListedFile<'_>]) -> bool {
    found(transaction, prefix, sorted).any(|file| file.name.strip_prefix(prefix) == Some("Data.db"))
}

/// Protects files that somebody put back beside an old log: theirs is another modification time. Whole seconds are
/// compared, as some versions of Java know no more of it.
fn update_time_error(transaction: &Transaction, position: usize, sorted: &[ListedFile<'_>]) -> Option<TxnLogError> {
    let Tracked { record, file_prefix } = transaction.records.get(position)?;
    let got_ms = found(transaction, file_prefix, sorted).map(|file| file.mtime_ms).max()?;
    let expected_ms = record.update_time_ms;
    if got_ms <= 0 || got_ms / 1000 == expected_ms / 1000 {
        return None;
    }
    let kind = TxnLogErrorKind::UpdateTime { prefix: file_prefix.clone(), expected_ms, got_ms };
    Some(TxnLogError { replica: transaction.label.clone(), line: position + 1, kind })
}
