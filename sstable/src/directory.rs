//! What lies in the directory of a table, and which table a directory belongs to.
//!
//! ```text
//! <data directory>/<keyspace>/<table>-<table id, 32 hex digits>/
//!     nb-1-big-Data.db ...           SSTables, complete or not
//!     nb_txn_compaction_<uuid>.log   what tells complete from not
//!     .<index>/                      SSTables and logs of a built-in secondary index
//!     backups/                       incremental backups, with .<index>/ below
//!     snapshots/<tag>/               hard links, manifest.json, schema.cql, with .<index>/ below
//!     tmp/                           scratch
//! ```
//!
//! Names only: nothing here looks at a disk.

use std::fmt;
use std::str::FromStr;

use crate::descriptor::{FileName, NameErrorKind};
use crate::txn_log::TxnLogName;

/// Longest keyspace or table name: 48 characters by CQL, 222 where 5.0 is configured so that the rest fits a file name.
const NAME_LENGTH_MAX: usize = 222;

/// The sixteen bytes of the UUID of a table, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub [u8; 16]);

impl TableId {
    /// Reads 32 hex digits without dashes, of either case.
    pub fn parse(text: &str) -> Result<Self, InvalidTableId> {
        // The length and the digits first: `from_str_radix` also takes a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidTableId);
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| InvalidTableId)
    }

    /// The form with dashes, as in `system_schema.tables` and `WITH ID =`.
    pub fn dashed(&self) -> String {
        let number = u128::from_be_bytes(self.0);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            number >> 96,
            number >> 80 & 0xffff,
            number >> 64 & 0xffff,
            number >> 48 & 0xffff,
            number & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Display for TableId {
    /// As in directory names: 32 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TableId {
    type Err = InvalidTableId;

    fn from_str(text: &str) -> Result<Self, InvalidTableId> {
        Self::parse(text)
    }
}

/// A table id that is not 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a table id: expected 32 hex digits")]
pub struct InvalidTableId;

/// The name of the directory of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableDirectory {
    /// The table.
    pub table: String,
    /// Tells a table from a dropped one of the same name. `None` in directories made before 2.1.
    pub id: Option<TableId>,
}

/// A directory name that is not that of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a table directory: expected <table>-<32 lower-case hex digits>")]
pub struct InvalidTableDirectory;

impl TableDirectory {
    /// Reads the last segment of the path of a table.
    pub fn parse(name: &str) -> Result<Self, InvalidTableDirectory> {
        let (table, id) = match name.split_once('-') {
            None => (name, None),
            // Cassandra looks for the lower-case name, so another one is not a directory of the table.
            Some((_, id)) if id.bytes().any(|byte| byte.is_ascii_uppercase()) => return Err(InvalidTableDirectory),
            Some((table, id)) => (table, Some(TableId::parse(id).map_err(|_| InvalidTableDirectory)?)),
        };
        if !is_word(table) {
            return Err(InvalidTableDirectory);
        }
        Ok(Self { table: table.to_owned(), id })
    }
}

impl fmt::Display for TableDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, id } = self;
        match id {
            Some(id) => write!(f, "{table}-{id}"),
            None => f.write_str(table),
        }
    }
}

impl FromStr for TableDirectory {
    type Err = InvalidTableDirectory;

    fn from_str(text: &str) -> Result<Self, InvalidTableDirectory> {
        Self::parse(text)
    }
}

/// Letters, digits and underscores: what names of keyspaces, tables and indexes consist of. Capitals are possible,
/// where the name was quoted in CQL.
fn is_word(name: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// True if a keyspace can have this name.
pub fn is_valid_keyspace_name(name: &str) -> bool {
    is_word(name)
}

/// True if a table can have this name.
pub fn is_valid_table_name(name: &str) -> bool {
    is_word(name)
}

/// True if the tag is one segment of a path. Cassandra puts no other bounds on tags.
pub fn is_valid_snapshot_tag(tag: &str) -> bool {
    (1..=255).contains(&tag.len()) && tag != "." && tag != ".." && !tag.contains(['/', '\0'])
}

/// What Cassandra itself adds to the links of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotFile {
    /// `manifest.json`: written when the links of the table are complete, into one of the data directories.
    Manifest,
    /// `schema.cql`: written last, into one of the data directories.
    Schema,
    /// `ephemeral.snapshot`: the snapshot belongs to a repair session and goes away by itself.
    Ephemeral,
}

/// What a name in the directory of a table, of an index, of a snapshot or of the incremental backups stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A component; whether its SSTable is live only the transaction logs tell.
    SSTable(FileName),
    /// A replica of a transaction log.
    TxnLog(TxnLogName),
    /// The directory of a built-in secondary index. The name of the index, that is without the leading dot.
    IndexDirectory(String),
    /// The directory of incremental backups.
    Backups,
    /// The directory of snapshots.
    Snapshots,
    /// A file of a snapshot that belongs to no SSTable.
    SnapshotFile(SnapshotFile),
    /// Left over from writing: the directory `tmp` and files `*.tmp`. Cassandra removes them at startup.
    Scratch,
    /// Nothing of Cassandra's, or of a version too old; and why it is thought so.
    Foreign(String),
}

/// Tells what an entry of a table directory is, by name and by whether it is a directory.
pub fn classify(name: &str, is_dir: bool) -> Entry {
    if is_dir { classify_directory(name) } else { classify_file(name) }
}

fn classify_directory(name: &str) -> Entry {
    match name {
        "backups" => Entry::Backups,
        "snapshots" => Entry::Snapshots,
        "tmp" => Entry::Scratch,
        _ => match name.strip_prefix('.') {
            Some(index) if is_word(index) => Entry::IndexDirectory(index.to_owned()),
            _ => Entry::Foreign("a directory that Cassandra does not make".to_owned()),
        },
    }
}

fn classify_file(name: &str) -> Entry {
    match name {
        "manifest.json" => return Entry::SnapshotFile(SnapshotFile::Manifest),
        "schema.cql" => return Entry::SnapshotFile(SnapshotFile::Schema),
        "ephemeral.snapshot" => return Entry::SnapshotFile(SnapshotFile::Ephemeral),
        _ => {}
    }
    if name.ends_with(".tmp") {
        return Entry::Scratch;
    }
    if let Some(log) = TxnLogName::parse(name) {
        return Entry::TxnLog(log);
    }
    match FileName::parse(name) {
        Ok(file) => Entry::SSTable(file),
        Err(error) if error.kind == NameErrorKind::Shape => {
            Entry::Foreign("not the name of an SSTable file".to_owned())
        }
        Err(error) => Entry::Foreign(error.kind.to_string()),
    }
}

/// Which of the sets of files of a table a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The directory that Cassandra works in.
    Live,
    /// `backups/`.
    Backups,
    /// `snapshots/<tag>/`.
    Snapshot(String),
}

/// What a path says about the files in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The keyspace.
    pub keyspace: String,
    /// The table. Without an id the location is a guess: any two words in a row look like it.
    pub table: TableDirectory,
    /// Live, backup or snapshot.
    pub place: Place,
    /// The built-in secondary index whose own files these are.
    pub index: Option<String>,
    /// The last segment, where it is a file in such a directory.
    pub file: Option<String>,
}

/// Infers keyspace, table and the rest from the segments of a path to a table directory, to a directory below it or to
/// a file in one. `None` if the path does not have the shape, as for a copy that lies elsewhere.
pub fn locate(segments: &[&str]) -> Option<Location> {
    // Not the first match but the best: an id proves the shape, a plain table name does not.
    let as_directory = locate_directory(segments);
    if as_directory.as_ref().is_some_and(|location| location.table.id.is_some()) {
        return as_directory;
    }
    let as_file = match segments {
        [directory @ .., file] if is_file(file) => {
            locate_directory(directory).map(|location| Location { file: Some((*file).to_owned()), ..location })
        }
        _ => None,
    };
    as_file.or(as_directory)
}

fn is_file(name: &str) -> bool {
    !matches!(classify(name, false), Entry::Foreign(_))
}

fn locate_directory(segments: &[&str]) -> Option<Location> {
    // A tag may start with a dot, so the last segment is taken for an index only where it cannot be anything else.
    locate_table_or_below(segments).or_else(|| {
        let (last, above) = segments.split_last()?;
        let Entry::IndexDirectory(index) = classify(last, true) else { return None };
        Some(Location { index: Some(index), ..locate_table_or_below(above)? })
    })
}

fn locate_table_or_below(segments: &[&str]) -> Option<Location> {
    let below_table = match segments {
        [above @ .., "snapshots", tag] if is_valid_snapshot_tag(tag) => {
            Some((above, Place::Snapshot((*tag).to_owned())))
        }
        [above @ .., "backups"] => Some((above, Place::Backups)),
        _ => None,
    };
    let candidates = [below_table, Some((segments, Place::Live))];
    candidates.into_iter().flatten().find_map(|(above, place)| {
        let [.., keyspace, table] = above else { return None };
        if !is_valid_keyspace_name(keyspace) {
            return None;
        }
        let table = TableDirectory::parse(table).ok()?;
        Some(Location { keyspace: (*keyspace).to_owned(), table, place, index: None, file: None })
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "5a1c395e0b0e11ee8c990242ac120002";

    #[test]
    fn table_ids() {
        let id = TableId::parse(ID).unwrap();
        assert_eq!(id.to_string(), ID);
        assert_eq!(id.dashed(), "5a1c395e-0b0e-11ee-8c99-0242ac120002");
        assert_eq!(TableId::parse(&ID.to_uppercase()), Ok(id));
        assert_eq!(TableId::parse("00000000000000000000000000000001").unwrap().to_string().len(), 32);
        for text in ["", "5a1c", "+a1c395e0b0e11ee8c990242ac120002", "5a1c395e-0b0e-11ee-8c99-0242ac120002"] {
            assert_eq!(TableId::parse(text), Err(InvalidTableId), "{text}");
        }
    }

    #[test]
    fn table_directories() {
        fn check(name: &str, expected: Option<(&str, bool)>) {
            let got = TableDirectory::parse(name).ok();
            assert_eq!(got.as_ref().map(|got| (got.table.as_str(), got.id.is_some())), expected, "{name}");
            if let Some(got) = got {
                assert_eq!(got.to_string(), name);
            }
        }
        check(&format!("orders-{ID}"), Some(("orders", true)));
        check(&format!("Orders_2-{ID}"), Some(("Orders_2", true)));
        check("orders", Some(("orders", false)));
        check("", None);
        check(".orders", None);
        check("orders-", None);
        check(&format!("-{ID}"), None);
        check(&format!("a-b-{ID}"), None);
        check(&format!("orders-{}", ID.to_uppercase()), None);
        check(&format!("orders-{ID}0"), None);
        check("ördérs", None);
        check(&"x".repeat(223), None);
    }

    #[test]
    fn entries() {
        #[track_caller]
        fn check(name: &str, is_dir: bool, expected: &str) {
            let got = match classify(name, is_dir) {
                Entry::SSTable(file) => format!("sstable {file}"),
                Entry::TxnLog(log) => format!("log {log}"),
                Entry::IndexDirectory(index) => format!("index {index}"),
                Entry::Backups => "backups".into(),
                Entry::Snapshots => "snapshots".into(),
                Entry::SnapshotFile(file) => format!("{file:?}"),
                Entry::Scratch => "scratch".into(),
                Entry::Foreign(why) => format!("foreign: {why}"),
            };
            assert_eq!(got, expected, "{name}");
        }
        check("nb-1-big-Data.db", false, "sstable nb-1-big-Data.db");
        check("pa-1-big-Data.db", false, "sstable pa-1-big-Data.db");
        check(
            "nb_txn_flush_6636ac00-da84-11ec-9aba-f56e1443def0.log",
            false,
            "log nb_txn_flush_6636ac00-da84-11ec-9aba-f56e1443def0.log",
        );
        check(".by_name", true, "index by_name");
        check("backups", true, "backups");
        check("snapshots", true, "snapshots");
        check("tmp", true, "scratch");
        check("nb-1-big-Statistics.db.tmp", false, "scratch");
        check("manifest.json", false, "Manifest");
        check("schema.cql", false, "Schema");
        check("ephemeral.snapshot", false, "Ephemeral");
        check("backups", false, "foreign: not the name of an SSTable file");
        check("ks-t-ka-1-Data.db", false, "foreign: not the name of an SSTable file");
        check("da-1-big-Data.db", false, "foreign: the version belongs to another format");
        check("nb--big-Data.db", false, "foreign: empty SSTable id");
        check("nb-1-big-Data.db", true, "foreign: a directory that Cassandra does not make");
        check("..", true, "foreign: a directory that Cassandra does not make");
        check("lost+found", true, "foreign: a directory that Cassandra does not make");
    }

    #[test]
    fn tags() {
        for tag in ["a", "2024-01-02", "truncated-1-t", "a b", "…", ".x"] {
            assert!(is_valid_snapshot_tag(tag), "{tag}");
        }
        for tag in ["", ".", "..", "a/b", "a\0", &"x".repeat(256)] {
            assert!(!is_valid_snapshot_tag(tag), "{tag}");
        }
    }

    #[test]
    fn locations() {
        #[track_caller]
        fn check(path: &str, expected: &str) {
            let path = path.replace("ID", ID);
            let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            let got = match locate(&segments) {
                None => "-".to_owned(),
                Some(Location { keyspace, table, place, index, file }) => {
                    let id = if table.id.is_some() { "+" } else { "" };
                    let index = index.map(|index| format!(" .{index}")).unwrap_or_default();
                    let file = file.map(|file| format!(" {file}")).unwrap_or_default();
                    let place = match place {
                        Place::Live => "live".to_owned(),
                        Place::Backups => "backups".to_owned(),
                        Place::Snapshot(tag) => format!("snapshot {tag}"),
                    };
                    format!("{keyspace}.{}{id} {place}{index}{file}", table.table)
                }
            };
            assert_eq!(got, expected, "{path}");
        }
        check("/data/ks/t-ID", "ks.t+ live");
        check("ks/t-ID/nb-1-big-Data.db", "ks.t+ live nb-1-big-Data.db");
        check("/data/ks/t-ID/.idx", "ks.t+ live .idx");
        check("/data/ks/t-ID/backups/.idx/nb-1-big-Data.db", "ks.t+ backups .idx nb-1-big-Data.db");
        check("/data/ks/t-ID/snapshots/a b", "ks.t+ snapshot a b");
        check("/data/ks/t-ID/snapshots/.x", "ks.t+ snapshot .x");
        check("/data/ks/t-ID/snapshots/tag/manifest.json", "ks.t+ snapshot tag manifest.json");
        check(
            "/data/ks/t-ID/snapshots/nb-1-big-Data.db/nb-1-big-Data.db",
            "ks.t+ snapshot nb-1-big-Data.db nb-1-big-Data.db",
        );
        // Without an id it is a guess.
        check("/data/ks/backups/nb-1-big-Data.db", "data.ks backups nb-1-big-Data.db");
        check("/data/ks/t", "ks.t live");
        check("/data/ks/t/nb-1-big-Data.db", "ks.t live nb-1-big-Data.db");
        check("/data/ks/t/snapshots/tag", "ks.t snapshot tag");
        check("/data/ks/t-ID/snapshots", "-");
        check("/da-ta/t-ID", "-");
        check("t-ID", "-");
        check("", "-");
        check("nb-1-big-Data.db", "-");
    }

    proptest! {
        #[test]
        fn any_path_has_a_location_or_none(
            segments in prop::collection::vec("[a-z.]{0,3}|snapshots|backups|nb-1-big-Data.db", 0..8),
        ) {
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            let _ = locate(&segments);
        }

        #[test]
        fn any_name_is_an_entry(name in ".{0,40}", is_dir: bool) {
            let _ = classify(&name, is_dir);
        }
    }
}
