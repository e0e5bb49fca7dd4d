//! The documents of repository format 1: [`Manifest`] (root of a backup) and [`Part`] (one table's files).
//!
//! Both are JSON under zstd; `docs/repository.md` describes every field. What is read from a store is foreign: it is
//! checked once, in [`Manifest::check`] and [`Part::check`], and every name in it that becomes a path or a key is
//! proven to be a plain name there.

use std::collections::BTreeSet;

use helenus_sstable::descriptor::FileName;
use helenus_sstable::directory::{TableDirectory, is_valid_keyspace_name};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::id::{BackupId, Facts};
use crate::selection::SelectionText;
use crate::store::key::{NodeName, ObjectKey};

/// The repository format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Root of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Repository format, 1.
    pub format: u32,
    /// Name of the backup.
    pub backup_id: BackupId,
    /// Facts that the key repeats.
    pub facts: Facts,
    /// Epoch whose objects this backup shares.
    pub epoch: u32,
    /// Cluster name.
    pub cluster: String,
    /// Host id of the node.
    pub host_id: Uuid,
    /// What the node looked like.
    pub node: NodeFacts,
    /// Version of the program that made the backup.
    pub helenus_version: String,
    /// When the first directory was read: what was flushed before it is in the backup.
    pub started: Timestamp,
    /// When the manifest was written.
    pub finished: Timestamp,
    /// What was asked for.
    pub selection: SelectionText,
    /// The backup whose objects were reused, if any.
    pub based_on: Option<BackupId>,
    /// What this backup added to the repository.
    pub added: Amount,
    /// All that it contains.
    pub total: Amount,
    /// Tables, sorted by keyspace and directory name; empty ones included.
    pub tables: Vec<TableEntry>,
    /// Directories of dropped tables that were left out.
    pub dropped: Vec<DroppedTable>,
    /// Damaged SSTables, stored apart and left out of a restore.
    pub damaged: Vec<DamagedSSTable>,
    /// Files that are no part of an SSTable, SSTables of unknown versions, and similar: named, and why.
    pub notices: Vec<Notice>,
    /// What a reader might expect in the backup and will not find.
    pub not_covered: Vec<String>,
}

/// What the node looked like when it was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Host name, for people.
    pub hostname: String,
    /// Where the host id is known from.
    pub host_id_evidence: String,
    /// Data directories; a file names its own by index.
    pub data_directories: Vec<String>,
    /// SSTable versions found, sorted.
    pub sstable_versions: BTreeSet<String>,
}

/// A count of SSTables, files and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// SSTables.
    pub sstables: u64,
    /// Component files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of them in the store, after compression.
    pub stored_bytes: u64,
}

impl Amount {
    /// Adds another amount.
    pub fn add(&mut self, other: Self) {
        // A hostile document may claim any numbers.
        self.sstables = self.sstables.saturating_add(other.sstables);
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
    }
}

/// One table of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Keyspace.
    pub keyspace: String,
    /// Table name.
    pub table: String,
    /// Name of the table's directory: `<table>-<table id>`.
    pub directory: String,
    /// Hash in the key of the table's part; absent if the table has no SSTable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What the table contains.
    pub amount: Amount,
    /// What of it is new.
    pub added: Amount,
}

/// A directory whose table no longer exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedTable {
    /// Keyspace.
    pub keyspace: String,
    /// Name of the directory.
    pub directory: String,
    /// How it is known that the table was dropped.
    pub evidence: String,
    /// Live SSTables that still lie there.
    pub sstables: u64,
}

/// A damaged SSTable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedSSTable {
    /// Keyspace.
    pub keyspace: String,
    /// Name of the table's directory.
    pub directory: String,
    /// Built-in secondary index whose SSTable it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// `nb-1-big`.
    pub sstable: String,
    /// What was found.
    pub findings: Vec<String>,
}

/// Something that needs a look but damages nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The file or directory.
    pub path: String,
    /// What is the matter.
    pub message: String,
    /// False if it is only worth knowing.
    pub needs_look: bool,
}

/// One table's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Repository format, 1.
    pub format: u32,
    /// Keyspace.
    pub keyspace: String,
    /// Name of the table's directory.
    pub directory: String,
    /// Random, in a part that was written again because the stored one with the same content is damaged: it gives the
    /// part another hash, and so another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<uuid::Uuid>,
    /// SSTables, sorted by index, then descriptor.
    pub sstables: Vec<StoredSSTable>,
}

/// One SSTable of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSSTable {
    /// `nb-1-big`.
    pub sstable: String,
    /// Directory of the built-in secondary index that it belongs to, with its leading dot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Index into the manifest's `data_directories`.
    pub data_directory: usize,
    /// True if it was found damaged: its objects lie under `damaged/`, and a restore leaves it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// What was found wrong with it, in sentences; warnings included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// Its component files.
    pub files: Vec<StoredFile>,
}

/// One component file and where its bytes lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Component name: `Data.db`.
    pub component: String,
    /// Object that holds it.
    pub object: ObjectKey,
    /// Offset of its first stored byte in the object.
    pub offset: u64,
    /// Stored bytes.
    pub stored: u64,
    /// Plain bytes.
    pub length: u64,
    /// How the stored bytes make the plain ones.
    pub codec: Codec,
    /// CRC-32 of the plain bytes, 8 hex digits.
    pub crc32: Hex<4>,
    /// BLAKE3 of the plain bytes, 64 hex digits.
    pub blake3: Hex<32>,
    /// Permission bits.
    pub mode: u32,
    /// Owner on the node.
    pub uid: u32,
    /// Group on the node.
    pub gid: u32,
    /// Modification time on the node, nanoseconds since 1970; with the length it tells the next backup that the file
    /// is the same.
    pub mtime_ns: i64,
}

/// How stored bytes make plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// They are the same.
    None,
    /// Independent zstd frames of 1 MiB plain bytes each, the last one shorter.
    Zstd,
}

/// Bytes that are written as lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> std::fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> std::fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> serde::de::Visitor<'_> for Visitor<N> {
            type Value = Hex<N>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} lower-case hex digits", N * 2)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hex<N>, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                let digit = |byte: u8| match byte {
                    b'0'..=b'9' => Some(byte - b'0'),
                    b'a'..=b'f' => Some(byte - b'a' + 10),
                    _ => None,
                };
                let mut bytes = [0; N];
                if text.len() != N * 2 {
                    return Err(wrong());
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(wrong()) };
                    *byte = high << 4 | low;
                }
                Ok(Hex(bytes))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// A document of a store that contradicts the format: which field, what was expected and what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, got `{got}`")]
pub struct BadDocument {
    /// Where in the document.
    pub field: String,
    /// The rule.
    pub expected: String,
    /// What the document says.
    pub got: String,
}

fn bad(field: impl Into<String>, expected: impl Into<String>, got: impl std::fmt::Display) -> BadDocument {
    BadDocument { field: field.into(), expected: expected.into(), got: got.to_string() }
}

fn check_format(format: u32) -> Result<(), BadDocument> {
    if format == FORMAT { Ok(()) } else { Err(bad("format", format!("{FORMAT}; update helenus"), format)) }
}

fn check_table(keyspace: &str, directory: &str) -> Result<TableDirectory, BadDocument> {
    if !is_valid_keyspace_name(keyspace) {
        return Err(bad("keyspace", "letters, digits and underscores", keyspace));
    }
    TableDirectory::parse(directory).map_err(|_| bad("directory", "<table>-<table id>", directory))
}

fn check_index(index: Option<&str>) -> Result<(), BadDocument> {
    match index {
        Some(name) if !is_index_directory(name) => Err(bad("index", "a dot and an index name", name)),
        _ => Ok(()),
    }
}

/// True for the directory name of a built-in index: a dot and a name of letters, digits and underscores.
pub fn is_index_directory(name: &str) -> bool {
    name.strip_prefix('.').is_some_and(is_valid_keyspace_name)
}

impl Manifest {
    /// The node that was backed up.
    pub fn node_name(&self) -> NodeName {
        NodeName { cluster: self.cluster.clone(), host_id: self.host_id }
    }

    /// Proves that every name in a manifest from a store is what it claims to be.
    pub fn check(&self) -> Result<(), BadDocument> {
        check_format(self.format)?;
        for table in &self.tables {
            let directory = check_table(&table.keyspace, &table.directory)?;
            if directory.table != table.table {
                return Err(bad("table", format!("{}, as its directory says", directory.table), &table.table));
            }
            if let Some(part) = &table.part
                && !(part.len() == PART_HASH_DIGITS && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
            {
                return Err(bad("part", format!("{PART_HASH_DIGITS} hex digits"), part));
            }
        }
        Ok(())
    }
}

/// Length of the hash in a part's key: the first 128 bits of the BLAKE3 of its JSON.
pub const PART_HASH_DIGITS: usize = 32;

impl Part {
    /// Proves that a part from a store belongs to the table that asked for it, and that its names are plain.
    pub fn check(&self, keyspace: &str, directory: &str) -> Result<(), BadDocument> {
        check_format(self.format)?;
        if self.keyspace != keyspace {
            return Err(bad("keyspace", keyspace, &self.keyspace));
        }
        if self.directory != directory {
            return Err(bad("directory", directory, &self.directory));
        }
        check_table(&self.keyspace, &self.directory)?;
        self.sstables.iter().try_for_each(StoredSSTable::check)
    }

    /// Sum over all SSTables.
    pub fn amount(&self) -> Amount {
        let mut total = Amount::default();
        self.sstables.iter().for_each(|sstable| total.add(sstable.amount()));
        total
    }
}

impl StoredSSTable {
    fn check(&self) -> Result<(), BadDocument> {
        check_index(self.index.as_deref())?;
        let mut seen = BTreeSet::new();
        for file in &self.files {
            let name = format!("{}-{}", self.sstable, file.component);
            let parsed = FileName::parse(&name).map_err(|error| bad("component", "an SSTable component", error))?;
            if parsed.to_string() != name || name.contains(['/', '\0']) {
                return Err(bad("component", "a plain file name", name));
            }
            if !seen.insert(&file.component) {
                return Err(bad("component", "each component once", name));
            }
            let root = if self.damaged { "damaged/" } else { "data/" };
            if !file.object.as_ref().starts_with(root) {
                return Err(bad("object", format!("a key below {root}"), &file.object));
            }
            if file.offset.checked_add(file.stored).is_none() {
                return Err(bad("stored", "an end that fits 64 bits", file.stored));
            }
            if file.codec == Codec::None && file.stored != file.length {
                return Err(bad("stored", format!("{}, the plain length", file.length), file.stored));
            }
        }
        Ok(())
    }

    /// Its files and bytes, counted as one SSTable.
    pub fn amount(&self) -> Amount {
        Amount {
            sstables: 1,
            files: self.files.len() as u64,
            bytes: self.files.iter().fold(0, |sum, file| sum.saturating_add(file.length)),
            stored_bytes: self.files.iter().fold(0, |sum, file| sum.saturating_add(file.stored)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "orders-5a1c395e0b0e11ee8c990242ac120002";

    fn part() -> serde_json::Value {
        serde_json::json!({
            "format": 1,
            "keyspace": "shop",
            "directory": DIRECTORY,
            "sstables": [{
                "sstable": "nb-1-big",
                "data_directory": 0,
                "files": [{
                    "component": "Data.db",
                    "object": "data/0/c/h/shop/t/nb-1-big-00000000-3/Data.db",
                    "offset": 0, "stored": 3, "length": 3, "codec": "none",
                    "crc32": "00000000", "blake3": "00".repeat(32),
                    "mode": 420, "uid": 0, "gid": 0, "mtime_ns": 0
                }]
            }]
        })
    }

    /// What is wrong with a part after one change: the field that the error names, or `json` if it is no part at all.
    #[track_caller]
    fn check(change: impl FnOnce(&mut serde_json::Value), expected: Option<&str>) {
        let mut document = part();
        change(&mut document);
        let checked = match serde_json::from_value::<Part>(document.clone()) {
            Err(_) => Err("json".to_owned()),
            Ok(part) => part.check("shop", DIRECTORY).map_err(|error| error.field),
        };
        assert_eq!(checked.err().as_deref(), expected, "{document}");
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        check(|_| {}, None);
        check(|part| part["format"] = 2.into(), Some("format"));
        check(|part| part["keyspace"] = "other".into(), Some("keyspace"));
        check(|part| part["directory"] = "../../etc".into(), Some("directory"));
        let file = |field: &'static str, value: serde_json::Value| {
            move |part: &mut serde_json::Value| part["sstables"][0]["files"][0][field] = value
        };
        for component in ["../x", "x/../../y", "Data.db/..", "/etc/passwd", "", "a\0b", "Data.db.tmp"] {
            check(file("component", component.into()), Some("component"));
        }
        for object in ["../x", "/etc/passwd", "data/../../x", "data//x", "data/\u{0}", ""] {
            check(file("object", object.into()), Some("json"));
        }
        check(file("object", "manifest/x".into()), Some("object"));
        check(file("object", "damaged/x".into()), Some("object"));
        check(file("stored", u64::MAX.into()), Some("stored"));
        check(file("stored", 4.into()), Some("stored"));
        check(file("crc32", "0000000g".into()), Some("json"));
        check(file("blake3", "00".into()), Some("json"));
        let sstable = |field: &'static str, value: serde_json::Value| {
            move |part: &mut serde_json::Value| part["sstables"][0][field] = value
        };
        check(sstable("sstable", "../nb-1-big".into()), Some("component"));
        check(sstable("sstable", "nb-1".into()), Some("component"));
        check(sstable("index", "../x".into()), Some("index"));
        check(sstable("index", "..".into()), Some("index"));
        check(sstable("index", ".by_name".into()), None);
        check(
            |part| {
                let file = part["sstables"][0]["files"][0].clone();
                part["sstables"][0]["files"] = vec![file.clone(), file].into();
            },
            Some("component"),
        );
    }
}
