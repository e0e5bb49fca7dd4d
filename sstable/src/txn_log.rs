//! Transaction logs: which of the SSTables in a directory count.
//!
//! Cassandra notes every SSTable that it creates or replaces in a log before it touches a file, one record per line:
//!
//! ```text
//! ADD:[/var/lib/cassandra/data/ks/t-5a1c…/nb-7-big-,0,8][2913617466]
//! REMOVE:[/var/lib/cassandra/data/ks/t-5a1c…/nb-3-big-,1653302272704,8][1372047471]
//! COMMIT:[,0,0][2613697770]
//! ```
//!
//! In brackets: what the names of the files start with, the newest modification time of the files in milliseconds, the
//! number of files; then the CRC32 of the record. Every directory that holds one of the files has a replica of the log.
//!
//! Three steps, in this order: list the files, read the logs ([`Transaction::read`], once per name, with the replicas
//! of all directories), then tell what to ignore ([`classify`]). The order matters, as a log is the last thing
//! deleted. Files are matched by name within the directories that have a replica, never by the paths in the records:
//! a volume may be mounted elsewhere today.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::checksum::Crc32;
use crate::descriptor::Descriptor;

/// Longest log that is read; a record takes some 150 bytes.
pub const LOG_LENGTH_MAX: usize = 64 << 20;

/// Most records that are read. A transaction has two per SSTable at most.
pub const RECORD_COUNT_MAX: usize = 1 << 20;

/// The file name of a transaction log, the same for all its replicas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnLogName {
    /// The newest version that the node can write (`nb`, `bti-da`), not that of the SSTables. Empty in some of 5.0.
    pub prefix: String,
    /// What the node was doing (`flush`, `compaction`): a label, of which the set is open.
    pub operation: String,
    /// The time UUID of the transaction, as text.
    pub id: String,
}

impl TxnLogName {
    /// Reads `[[<format>-]<version>_]txn_<operation>_<id>.log`; `None` for anything else.
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() > 255 || name.chars().any(|c| c == '/' || c.is_control()) {
            return None;
        }
        let stem = name.strip_suffix(".log")?;
        let (prefix, rest) = match stem.strip_prefix("txn_") {
            Some(rest) => ("", rest),
            None => stem.split_once("_txn_").filter(|(prefix, _)| is_log_prefix(prefix))?,
        };
        let (operation, id) = rest.rsplit_once('_')?;
        Some(Self { prefix: prefix.to_owned(), operation: operation.to_owned(), id: id.to_owned() })
    }
}

/// `(?:[a-z]+-)?.{2}`
fn is_log_prefix(prefix: &str) -> bool {
    let version = match prefix.split_once('-') {
        Some((format, version)) if !format.is_empty() && format.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            version
        }
        _ => prefix,
    };
    version.chars().count() == 2
}

impl fmt::Display for TxnLogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, operation, id } = self;
        let underscore = if prefix.is_empty() { "" } else { "_" };
        write!(f, "{prefix}{underscore}txn_{operation}_{id}.log")
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The SSTable is about to be written.
    Add,
    /// The SSTable is replaced.
    Remove,
    /// The new SSTables count and the replaced ones do not.
    Commit,
    /// The replaced SSTables count and the new ones do not.
    Abort,
}

impl RecordKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Remove => "REMOVE",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
        }
    }

    /// True for the records that end a log.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Commit | Self::Abort)
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: RecordKind,
    /// What the paths of the files start with, as written; empty in the final records. 3.x leaves out the last dash.
    pub path: String,
    /// Of a `REMOVE`: newest modification time of the files, milliseconds since 1970.
    pub update_time_ms: i64,
    /// Of a `REMOVE`: number of the files. In an `ADD` not reliable.
    pub num_files: i32,
    /// CRC32 as stored, which need not be right.
    pub checksum: u32,
}

impl Record {
    /// Reads a line without its end; `None` if it does not have the shape of a record.
    pub fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(":[")?;
        let kinds = [RecordKind::Add, RecordKind::Remove, RecordKind::Commit, RecordKind::Abort];
        let kind = kinds.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(kind))?;
        let (fields, checksum) = rest.strip_suffix(']')?.rsplit_once("][")?;
        let mut fields = fields.split(',');
        let (Some(path), Some(update_time), Some(num_files), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return None;
        };
        if !checksum.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            kind,
            path: path.to_owned(),
            update_time_ms: update_time.parse().ok()?,
            num_files: num_files.parse().ok()?,
            checksum: checksum.parse().ok()?,
        })
    }

    /// The checksum that the record should have.
    pub fn computed_checksum(&self) -> u32 {
        let mut crc = Crc32::new();
        crc.update(self.path.as_bytes());
        crc.update(self.kind.as_str().as_bytes());
        // As two ints, the low one first.
        let [a, b, c, d, low @ ..] = self.update_time_ms.to_be_bytes();
        crc.update(&low);
        crc.update(&[a, b, c, d]);
        crc.update(&self.num_files.to_be_bytes());
        crc.value()
    }

    /// What the names of the files start with: the last segment of the path, always with the dash at its end, so that
    /// `nb-1-big` is not taken for the start of `nb-1-bigger`. Empty in the final records.
    pub fn file_prefix(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let dash = if name.is_empty() || name.ends_with('-') { "" } else { "-" };
        format!("{name}{dash}")
    }
}

impl fmt::Display for Record {
    /// As in the file, without the end of the line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, path, update_time_ms, num_files, checksum } = self;
        write!(f, "{}:[{path},{update_time_ms},{num_files}][{checksum}]", kind.as_str())
    }
}

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
    directories: Vec<usize>,
    label: String,
    records: Vec<Tracked>,
    state: State,
    /// The last line is cut short or has a wrong checksum, so what it was meant to say is not known.
    is_torn: bool,
}

/// A valid record, with its file name prefix at hand.
#[derive(Debug, Clone)]
struct Tracked {
    record: Record,
    file_prefix: String,
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

    fn prefixes(&self, kind: RecordKind) -> impl Iterator<Item = &str> {
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
            let (log, prefix) = (transaction.name.clone(), file_prefix.clone());
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

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMIT: &str = "COMMIT:[,0,0][2613697770]";
    const ABORT: &str = "ABORT:[,0,0][737437348]";
    const MTIME_MS: i64 = 1_653_302_272_704;

    fn record(kind: RecordKind, prefix: &str, update_time_ms: i64, num_files: i32) -> String {
        let path = format!("/var/lib/cassandra/data/ks/t-5a1c395e0b0e11ee8c990242ac120002/{prefix}");
        let mut record = Record { kind, path, update_time_ms, num_files, checksum: 0 };
        record.checksum = record.computed_checksum();
        record.to_string()
    }

    fn add(prefix: &str) -> String {
        record(RecordKind::Add, prefix, 0, 8)
    }

    fn remove(prefix: &str, num_files: i32) -> String {
        record(RecordKind::Remove, prefix, MTIME_MS, num_files)
    }

    fn name() -> TxnLogName {
        TxnLogName::parse("nb_txn_compaction_6636ac00-da84-11ec-9aba-f56e1443def0.log").unwrap()
    }

    /// One replica per directory.
    fn read(replicas: &[&str]) -> Result<Transaction, TxnLogError> {
        let replicas: Vec<Replica> = replicas
            .iter()
            .enumerate()
            .map(|(directory, content)| Replica {
                directory,
                label: format!("d{directory}"),
                content: content.as_bytes().to_vec(),
            })
            .collect();
        Transaction::read(&name(), &replicas)
    }

    #[test]
    fn log_names() {
        fn check(name: &str, expected: Option<(&str, &str, &str)>) {
            let got = TxnLogName::parse(name);
            let parts = got.as_ref().map(|got| (got.prefix.as_str(), got.operation.as_str(), got.id.as_str()));
            assert_eq!(parts, expected, "{name}");
            if let Some(got) = got {
                assert_eq!(got.to_string(), name);
            }
        }
        check("mc_txn_compaction_1-2.log", Some(("mc", "compaction", "1-2")));
        check("bti-da_txn_compaction_1-2.log", Some(("bti-da", "compaction", "1-2")));
        check("txn_flush_1-2.log", Some(("", "flush", "1-2")));
        check("nb_txn_a_b_1-2.log", Some(("nb", "a_b", "1-2")));
        check("nb_txn__.log", Some(("nb", "", "")));
        check("nb_txn_flush.log", None);
        check("nbx_txn_flush_1.log", None);
        check("-da_txn_flush_1.log", None);
        check("BTI-da_txn_flush_1.log", None);
        check("nb_txn_flush_1.log.tmp", None);
        check("nb_txn_flush_/.log", None);
        check("system.log", None);
        check("", None);
    }

    #[test]
    fn record_lines() {
        let commit = Record::parse(COMMIT).unwrap();
        assert_eq!((commit.kind, commit.computed_checksum()), (RecordKind::Commit, commit.checksum));
        let abort = Record::parse(ABORT).unwrap();
        assert_eq!((abort.kind, abort.computed_checksum()), (RecordKind::Abort, abort.checksum));
        assert_eq!(Record::parse("Add:[/x/nb-1-big-,0,8][1]").unwrap().kind, RecordKind::Add);
        for line in [
            "",
            "ADD",
            "ADD:[]",
            "ADD:[/x,0,8]",
            "ADD:[/x,0,8][]",
            "ADD:[/x,0,8][+1]",
            "ADD:[/x,0,8][4294967296]",
            "ADD:[/x,0,8][1",
            "ADD:[/x,0][1]",
            "ADD:[/x,y,0,8][1]",
            "ADD:[/x,a,8][1]",
            "ADD:[/x,0,99999999999][1]",
            "DROP:[/x,0,8][1]",
            " ADD:[/x,0,8][1]",
        ] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
    }

    #[test]
    fn prefixes_end_in_a_dash() {
        for (path, expected) in
            [("/d/nb-1-big-", "nb-1-big-"), ("/d/mc-1-big", "mc-1-big-"), ("nb-1", "nb-1-"), ("", "")]
        {
            let record =
                Record { kind: RecordKind::Add, path: path.into(), update_time_ms: 0, num_files: 0, checksum: 0 };
            assert_eq!(record.file_prefix(), expected);
        }
    }

    #[test]
    fn replicas() {
        #[track_caller]
        fn check(replicas: &[&str], expected: Result<(State, bool, usize), &str>) {
            match (read(replicas), expected) {
                (Ok(got), Ok(expected)) => assert_eq!((got.state, got.is_torn, got.records.len()), expected),
                (Err(got), Err(expected)) => assert_eq!(got.to_string(), expected),
                (got, expected) => panic!("expected {expected:?}, got {got:?}"),
            }
        }
        let (a, b) = (add("nb-1-big-"), add("nb-2-big-"));
        let torn = &b[..b.len() - 5];
        let wrong = b.replace(",0,8]", ",0,9]");

        // Appends reach one replica after the other, the first ones even while the other is still empty.
        check(&[], Ok((State::Unfinished, false, 0)));
        check(&["", ""], Ok((State::Unfinished, false, 0)));
        check(&[&format!("{a}\n{b}\n"), "", &format!("{a}\n")], Ok((State::Unfinished, false, 2)));
        check(&[&format!("{a}\n"), &format!("{a}\n{COMMIT}\n")], Ok((State::Committed, false, 1)));
        check(&[&format!("{a}\n{ABORT}")], Ok((State::Aborted, false, 1)));

        // Torn at the end.
        check(&[&format!("{a}\n{torn}")], Ok((State::Unfinished, true, 1)));
        check(&[&format!("{a}\n{torn}"), &format!("{a}\n{b}\n")], Ok((State::Unfinished, true, 2)));
        check(&[&format!("{a}\n{b}\n"), &format!("{a}\n{torn}")], Ok((State::Unfinished, true, 2)));
        check(&[&format!("{a}\nCOM"), &format!("{a}\n{COMMIT}\n")], Ok((State::Committed, false, 1)));
        check(&[&format!("{a}\nCOM"), &format!("{a}\n{COMMIT}")], Ok((State::Committed, false, 1)));
        check(&[&format!("{a}\n{wrong}\n")], Ok((State::Unfinished, true, 1)));

        // Contradictions.
        check(&[&format!("{a}\n"), &format!("{b}\n")], Err("d1 line 1: the line differs from that of d0"));
        check(
            &[&format!("{a}\n{b}\n{COMMIT}\n"), &format!("{a}\n{torn}")],
            Err("d0 line 2: the line is cut short in a replica and others follow it"),
        );
        check(
            &[&format!("{a}\n{torn}"), &format!("{a}\n{b}\n{COMMIT}\n")],
            Err("d1 line 2: the line is cut short in a replica and others follow it"),
        );
        check(
            &[&format!("{a}\n{b}\n"), &format!("{a}\n{torn}\n{a}\n")],
            Err("d1 line 2: the line differs from that of d0"),
        );
        check(&[&format!("{a}\n{a}\n")], Err("d0 line 2: the record is there twice"));
        check(&[&format!("{COMMIT}\n{a}\n")], Err("d0 line 1: records follow the final one"));
        check(&[&format!("{a}\n{COMMIT}\n{COMMIT}\n")], Err("d0 line 2: records follow the final one"));
        check(&[&format!("{a}\n\n{b}\n")], Err("d0 line 2: not a record"));
        check(&[&format!("{torn}\n{a}\n")], Err("d0 line 1: not a record"));
        let crc = Record::parse(&wrong).unwrap();
        check(
            &[&format!("{wrong}\n{a}\n")],
            Err(&format!("d0 line 1: checksum: expected {}, got {}", crc.checksum, crc.computed_checksum())),
        );
        for prefix in ["", "nb", "nb-"] {
            let broad = record(RecordKind::Remove, prefix, MTIME_MS, 0);
            check(&[&format!("{broad}\n{COMMIT}\n")], Err("d0 line 1: not a record"));
        }
    }

    #[test]
    fn a_log_has_a_bound() {
        let content = vec![b'\n'; LOG_LENGTH_MAX + 1];
        let replica = Replica { directory: 0, label: "d0".into(), content };
        assert_eq!(Transaction::read(&name(), &[replica]).unwrap_err().kind, TxnLogErrorKind::TooLong);
        let lines = "\n".repeat(RECORD_COUNT_MAX + 2);
        assert_eq!(read(&[&lines]).unwrap_err().kind, TxnLogErrorKind::TooManyRecords);
    }

    fn files<'a>(names: &[&'a str]) -> Vec<ListedFile<'a>> {
        names.iter().map(|name| ListedFile { directory: 0, name, mtime_ms: MTIME_MS }).collect()
    }

    fn summary(classification: &Classification) -> Vec<String> {
        let all = classification.all_temporary();
        all.map(|(directory, prefix, Temporary { reason, .. })| format!("{directory} {prefix} {reason:?}")).collect()
    }

    #[test]
    fn classification() {
        let files = files(&[
            "nb-1-big-Data.db",
            "nb-1-big-Index.db",
            "nb-11-big-Data.db",
            "nb-2-big-Data.db",
            "nb-3-big-Data.db",
        ]);
        #[track_caller]
        fn check(log: &str, files: &[ListedFile<'_>], expected: Result<&[&str], &str>) {
            match (classify(&[read(&[log]).unwrap()], files), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(summary(&got), expected),
                (Err(got), Err(expected)) => assert_eq!(got.to_string(), expected),
                (got, expected) => panic!("expected {expected:?}, got {got:?}"),
            }
        }
        let (old, new) = (remove("nb-1-big-", 2), add("nb-2-big-"));
        check("", &files, Ok(&[]));
        check(&format!("{new}\n{old}\n{COMMIT}\n"), &files, Ok(&["0 nb-1-big- Replaced"]));
        check(&format!("{new}\n{old}\n{ABORT}\n"), &files, Ok(&["0 nb-2-big- Aborted"]));
        check(&format!("{new}\n{old}\n"), &files, Ok(&["0 nb-2-big- Unfinished"]));
        check(&format!("{new}\n{old}\nCOM"), &files, Ok(&["0 nb-2-big- Unfinished"]));
        // 3.x leaves out the dash; nb-11 is not nb-1.
        check(&format!("{}\n{COMMIT}\n", remove("nb-1", 2)), &files, Ok(&["0 nb-1- Replaced"]));
        // An ADD without files is normal.
        check(&format!("{}\n", add("nb-9-big-")), &files, Ok(&[]));

        // Old files missing: whether a completed log just went away, or the log is broken, only another look tells.
        let log = name();
        let many = remove("nb-1-big-", 3);
        check(
            &format!("{new}\n{many}\n"),
            &files,
            Err(&format!("{log} is not completed, and files of nb-1-big- are missing: expected 3, got 2")),
        );
        check(
            &format!("{new}\n{many}\nCOM"),
            &files,
            Err("d0 line 2: the last record is torn and files of nb-1-big- are missing: expected 3, got 2"),
        );
        check(&format!("{new}\n{many}\n{COMMIT}\n"), &files, Ok(&["0 nb-1-big- Replaced"]));
    }

    #[test]
    fn files_put_back_beside_an_old_log_are_not_taken_for_replaced_ones() {
        let log = format!("{}\n{COMMIT}\n", remove("nb-1-big-", 2));
        let transactions = [read(&[&log]).unwrap()];
        let mut files = files(&["nb-1-big-Data.db", "nb-1-big-Index.db"]);
        // Within the second.
        files[0].mtime_ms = MTIME_MS + 200;
        assert_eq!(summary(&classify(&transactions, &files).unwrap()), ["0 nb-1-big- Replaced"]);
        files[0].mtime_ms = MTIME_MS + 1000;
        let error = classify(&transactions, &files).unwrap_err();
        assert!(matches!(error, ClassifyError::Corrupt(TxnLogError { line: 1, .. })), "{error}");

        // Without Data.db it is a deletion under way.
        files[1].mtime_ms = MTIME_MS - 5000;
        let classification = classify(&transactions, &files[1..]).unwrap();
        assert_eq!(summary(&classification), ["0 nb-1-big- Replaced"]);
        assert_eq!(classification.warnings.len(), 1);
    }

    #[test]
    fn a_last_record_that_does_not_fit_its_files_leaves_the_old_ones_in_force() {
        let log = format!("{}\n{}\n", add("nb-2-big-"), remove("nb-1-big-", 1));
        let mut files = files(&["nb-1-big-Data.db", "nb-2-big-Data.db"]);
        files[0].mtime_ms += 5000;
        let classification = classify(&[read(&[&log]).unwrap()], &files).unwrap();
        assert_eq!(summary(&classification), ["0 nb-2-big- Unfinished"]);
    }

    #[test]
    fn a_log_speaks_for_the_directories_that_have_a_replica() {
        let log = format!("{}\n{COMMIT}\n", remove("nb-1-big-", 1));
        let files: Vec<ListedFile<'_>> =
            (0..3).map(|directory| ListedFile { directory, name: "nb-1-big-Data.db", mtime_ms: MTIME_MS }).collect();
        let transaction = read(&[&log, &log]).unwrap();
        assert_eq!(transaction.directories(), [0, 1]);
        let classification = classify(&[transaction], &files).unwrap();
        assert_eq!(summary(&classification), ["0 nb-1-big- Replaced", "1 nb-1-big- Replaced"]);
        let descriptor = "nb-1-big".parse().unwrap();
        assert_eq!(classification.temporary(1, &descriptor).unwrap().reason, Reason::Replaced);
        assert_eq!(classification.temporary(2, &descriptor), None);
    }

    /// The example of a committed flush.
    #[test]
    fn a_committed_flush_keeps_its_file() {
        let log = format!("{}\n{COMMIT}\n", add("nb-7-big-"));
        let transaction = read(&[&log]).unwrap();
        assert!(transaction.is_completed());
        assert_eq!(transaction.added().collect::<Vec<_>>(), ["nb-7-big-"]);
        assert_eq!(transaction.removed().count(), 0);
        let classification = classify(&[transaction], &files(&["nb-7-big-Data.db"])).unwrap();
        assert_eq!(classification, Classification::default());
    }

    /// No flipped byte may turn an uncommitted log into a committed one or the other way round unnoticed.
    #[test]
    fn every_flipped_byte_is_noticed() {
        let log = format!("{}\n{}\n{COMMIT}\n", add("nb-2-big-"), remove("nb-1-big-", 1)).into_bytes();
        // The case of a type is free, as in Cassandra; the last line may be lost, which leaves the log uncommitted.
        for position in 0..log.len() - 1 {
            for bit in 0..8 {
                let mut content = log.clone();
                content[position] ^= 1 << bit;
                let replica = Replica { directory: 0, label: "d0".into(), content };
                let Ok(transaction) = Transaction::read(&name(), &[replica]) else { continue };
                let is_case = bit == 5 && log[position].is_ascii_uppercase();
                assert!(transaction.is_torn || is_case, "byte {position} bit {bit}");
            }
        }
    }

    #[test]
    fn every_prefix_is_a_log_that_is_not_committed_yet() {
        let log = format!("{}\n{}\n{COMMIT}\n", add("nb-2-big-"), remove("nb-1-big-", 1));
        for length in 0..log.len() - 1 {
            let transaction = read(&[&log[..length]]).unwrap();
            let is_whole = log[..length].ends_with(COMMIT);
            assert_eq!(transaction.is_completed(), is_whole, "{length}");
            // The same with the other replica complete: a torn line counts as the whole one.
            let merged = read(&[&log[..length], &log]);
            assert!(merged.is_err() || merged.unwrap().is_completed(), "{length}");
        }
    }

    const LINES: &str = "(ADD:\\[/a-1-,0,1\\]\\[1\\]\n|COMMIT:\\[,0,0\\]\\[2613697770\\]\n?|\\PC{0,5}\n?){0,4}";

    proptest! {
        #[test]
        fn any_bytes_are_a_log_or_an_error(contents in prop::collection::vec(LINES, 0..4)) {
            let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
            let _ = read(&contents);
        }
    }
}
