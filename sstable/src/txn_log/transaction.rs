//! A transaction, merged from the replicas of its log.

use std::collections::HashSet;

use super::record::{Record, RecordKind, TxnLogName};

/// Longest log that is read; a record takes some 150 bytes.
pub const LOG_LENGTH_MAX: usize = 64 << 20;

/// Most records that are read. A transaction has two per SSTable at most.
pub const RECORD_COUNT_MAX: usize = 1 << 20;

/// The copy of a log in one directory.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Number of the directory, as in [`ListedFile::directory`].
    pub directory: usize,
    /// What to call the replica in errors: its path.
    pub label: String,
    /// The whole file.
    pub content: Vec<u8>,
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The new SSTables count.
    Committed,
    /// The old SSTables count.
    Aborted,
    /// Still running, or the node died: the old SSTables count, as long as all of them are there.
    Unfinished,
}

/// A transaction log, merged from its replicas and free of contradictions.
#[derive(Debug, Clone)]
pub struct Transaction {
    name: String,
    pub(super) directories: Vec<usize>,
    pub(super) label: String,
    pub(super) records: Vec<Tracked>,
    pub(super) state: State,
    /// The last line is cut short or has a wrong checksum, so what it was meant to say is not known.
    pub(super) is_torn: bool,
}

/// A valid record, with its file name prefix at hand.
#[derive(Debug, Clone)]
pub(super) struct Tracked {
    pub record: Record,
    pub file_prefix: String,
}

/// A log that contradicts itself. Cassandra refuses to start with it, and nobody may guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{replica} line {line}: {kind}")]
pub struct TxnLogError {
    /// Label of the replica.
    pub replica: String,
    /// Line number, counted from 1; 0 where the whole file is concerned.
    pub line: usize,
    /// The broken rule.
    pub kind: TxnLogErrorKind,
}

/// The rules of transaction logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxnLogErrorKind {
    /// Far more than a transaction can write.
    #[error("a log of more than {LOG_LENGTH_MAX} bytes")]
    TooLong,
    /// Likewise.
    #[error("a log of more than {RECORD_COUNT_MAX} records")]
    TooManyRecords,
    /// The same line differs from another replica.
    #[error("the line differs from that of {other}")]
    ReplicasDiffer {
        /// Label of the other replica.
        other: String,
    },
    /// The same record a second time.
    #[error("the record is there twice")]
    Duplicate,
    /// A record after `COMMIT` or `ABORT`.
    #[error("records follow the final one")]
    FinalNotLast,
    /// A line that is not a record, before the last line.
    #[error("not a record")]
    NotARecord,
    /// A checksum is wrong before the last line.
    #[error("checksum: expected {expected}, got {got}")]
    Checksum {
        /// The checksum in the log.
        expected: u32,
        /// The checksum of the record.
        got: u32,
    },
    /// A line was torn in one replica and goes on in another, which has more lines.
    #[error("the line is cut short in a replica and others follow it")]
    Torn,
    /// The files of a `REMOVE` are not those that the transaction saw.
    #[error("newest file of {prefix}: expected a modification time of {expected_ms} ms, got {got_ms} ms")]
    UpdateTime {
        /// What the names of the files start with.
        prefix: String,
        /// The recorded time.
        expected_ms: i64,
        /// The time on disk.
        got_ms: i64,
    },
    /// The last line is torn, and files of a `REMOVE` are gone.
    #[error("the last record is torn and files of {prefix} are missing: expected {expected}, got {got}")]
    FilesMissing {
        /// What the names of the files start with.
        prefix: String,
        /// The recorded number.
        expected: i32,
        /// The number on disk.
        got: usize,
    },
}

impl Transaction {
    /// Merges the replicas of a log and checks all that can be checked without looking at the files. A replica may be
    /// empty or shorter than another: lines are appended to one after the other.
    pub fn read(name: &TxnLogName, replicas: &[Replica]) -> Result<Self, TxnLogError> {
        if let Some(replica) = replicas.iter().find(|replica| replica.content.len() > LOG_LENGTH_MAX) {
            return Err(TxnLogError { replica: replica.label.clone(), line: 0, kind: TxnLogErrorKind::TooLong });
        }
        let merged = merge(replicas)?;
        let mut records = Vec::with_capacity(merged.len());
        let mut seen = HashSet::with_capacity(merged.len());
        let mut state = State::Unfinished;
        let mut is_torn = false;
        let count = merged.len();
        for (index, line) in merged.into_iter().enumerate() {
            let error = |kind| TxnLogError { replica: line.replica.to_owned(), line: index + 1, kind };
            let is_last = index + 1 == count;
            let record = match parse_valid(line.text) {
                Ok(record) => record,
                Err(_) if is_last => {
                    is_torn = true;
                    break;
                }
                Err(kind) => return Err(error(kind)),
            };
            if record.kind.is_final() && !is_last {
                return Err(error(TxnLogErrorKind::FinalNotLast));
            }
            if line.is_partial && !is_last {
                return Err(error(TxnLogErrorKind::Torn));
            }
            // Records are the same if they say the same about the same SSTable, whatever the numbers.
            let file_prefix = record.file_prefix();
            if !seen.insert((record.kind, file_prefix.clone())) {
                return Err(error(TxnLogErrorKind::Duplicate));
            }
            // A final record that is whole in one replica counts, torn or not in another.
            is_torn = line.is_partial && !record.kind.is_final();
            match record.kind {
                RecordKind::Commit => state = State::Committed,
                RecordKind::Abort => state = State::Aborted,
                RecordKind::Add | RecordKind::Remove => records.push(Tracked { record, file_prefix }),
            }
        }
        let mut directories: Vec<usize> = replicas.iter().map(|replica| replica.directory).collect();
        directories.sort_unstable();
        directories.dedup();
        let label = replicas.first().map(|replica| replica.label.clone()).unwrap_or_default();
        Ok(Self { name: name.to_string(), directories, label, records, state, is_torn })
    }

    /// File name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far the transaction has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// True once committed or aborted: the new files are then no longer written to.
    pub fn is_completed(&self) -> bool {
        self.state != State::Unfinished
    }

    /// Numbers of the directories that hold a replica, ascending.
    pub fn directories(&self) -> &[usize] {
        &self.directories
    }

    /// The `ADD` and `REMOVE` records in the order of the log.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|tracked| &tracked.record)
    }

    /// What the file names of the new SSTables start with (`nb-7-big-`). There need not be any file.
    pub fn added(&self) -> impl Iterator<Item = &str> {
        self.prefixes(RecordKind::Add)
    }

    /// What the file names of the replaced SSTables start with. Files may be gone already, or all of them.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.prefixes(RecordKind::Remove)
    }

    pub(super) fn prefixes(&self, kind: RecordKind) -> impl Iterator<Item = &str> {
        let tracked = self.records.iter().filter(move |tracked| tracked.record.kind == kind);
        tracked.map(|tracked| tracked.file_prefix.as_str())
    }
}

struct MergedLine<'a> {
    text: &'a [u8],
    replica: &'a str,
    is_partial: bool,
}

/// Line by line over all replicas. Of a line that is torn in one replica the longer text is taken.
fn merge(replicas: &[Replica]) -> Result<Vec<MergedLine<'_>>, TxnLogError> {
    let mut merged: Vec<MergedLine<'_>> = Vec::new();
    for replica in replicas {
        let mut lines = lines(&replica.content).enumerate().peekable();
        while let Some((index, text)) = lines.next() {
            if index >= RECORD_COUNT_MAX {
                let kind = TxnLogErrorKind::TooManyRecords;
                return Err(TxnLogError { replica: replica.label.clone(), line: index + 1, kind });
            }
            let Some(known) = merged.get_mut(index) else {
                merged.push(MergedLine { text, replica: &replica.label, is_partial: false });
                continue;
            };
            if known.text == text {
                continue;
            }
            // A shorter line that is followed by others in its own replica was not torn. Whether the known line was the
            // last of its replica need not be asked: a partial line with others after it is refused later.
            let is_torn_here = known.text.starts_with(text) && lines.peek().is_none();
            let is_torn_there = text.starts_with(known.text);
            if !is_torn_here && !is_torn_there {
                let kind = TxnLogErrorKind::ReplicasDiffer { other: known.replica.to_owned() };
                return Err(TxnLogError { replica: replica.label.clone(), line: index + 1, kind });
            }
            if is_torn_there {
                known.text = text;
                known.replica = &replica.label;
            }
            known.is_partial = true;
        }
    }
    Ok(merged)
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    let is_empty = content.is_empty();
    content.split(|&byte| byte == b'\n').filter(move |_| !is_empty)
}

fn parse_valid(line: &[u8]) -> Result<Record, TxnLogErrorKind> {
    let record = std::str::from_utf8(line).ok().and_then(Record::parse).ok_or(TxnLogErrorKind::NotARecord)?;
    let got = record.computed_checksum();
    // A name of less than a version and an id would cover SSTables that are not meant.
    let prefix = record.file_prefix();
    let is_sound = if record.kind.is_final() { prefix.is_empty() } else { prefix.matches('-').count() >= 2 };
    if !is_sound {
        return Err(TxnLogErrorKind::NotARecord);
    }
    if got != record.checksum {
        return Err(TxnLogErrorKind::Checksum { expected: record.checksum, got });
    }
    Ok(record)
}
