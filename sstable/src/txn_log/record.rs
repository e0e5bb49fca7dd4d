//! A line of a transaction log, and the log's name.

use std::fmt;

use crate::checksum::Crc32;

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
