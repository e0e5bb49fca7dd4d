//! Object keys, and the only place where they are built: repository format 1.
//!
//!     repository.json
//!     manifest/<cluster>/<host id>/<backup id>.<facts>.json.zst
//!     part/<cluster>/<host id>/<keyspace>/<table>-<table id>/<hash>.json.zst
//!     data/<epoch>/<cluster>/<host id>/<keyspace>/<table>-<table id>[/.<index>]/<descriptor>-<digest>-<length>/<object>
//!     damaged/…                                                  the same below another root
//!
//! A key is a relative path that every store can hold: a local directory, S3, and whoever unpacks it by hand. Names
//! that come from a node (keyspace, table, cluster) are untrusted: they are encoded or refused, never passed through.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest key in bytes: S3's limit.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest segment in bytes: what Linux file systems take as a name.
pub const SEGMENT_BYTES_MAX: usize = 255;

/// Directory that the local store keeps its temporary files in; no key may begin with it, in any store.
pub(in crate::store) const TEMPORARY: &str = ".helenus-tmp";

const CLUSTER_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-');

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not an object key: {reason}", .text.escape_debug())]
pub struct KeyError {
    text: String,
    reason: &'static str,
}

impl KeyError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.to_owned(), reason }
    }
}

/// Name of one object: a relative path of plain segments. Keys order as their bytes do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks that `text` is a path no store, shell or `tar` could misread.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        match check_path(&text) {
            Ok(()) => Ok(Self(text)),
            Err(reason) => Err(KeyError::new(&text, reason)),
        }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Everything before the last segment, with the `/`; empty for a key of one segment.
    pub fn directory(&self) -> KeyPrefix {
        KeyPrefix(self.0.rfind('/').map_or_else(String::new, |slash| self.0[..=slash].to_owned()))
    }

    /// The path cut at each `/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

/// Beginning of keys: empty, a directory with its `/`, or cut anywhere inside a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Checks that `text` could begin a key.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let path = text.strip_suffix('/').unwrap_or(&text);
        if path.is_empty() && text.is_empty() {
            return Ok(Self(text));
        }
        match check_path(path) {
            // `a/.` and `a/..` are no segments, but `a/.x` begins like them.
            Err(RELATIVE) if !text.ends_with('/') && check_path(&format!("{text}...")).is_ok() => Ok(Self(text)),
            Err(reason) => Err(KeyError::new(&text, reason)),
            Ok(()) => Ok(Self(text)),
        }
    }

    /// The prefix of every key.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The whole prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `length` bytes of a key, which end with a `/`.
    pub(in crate::store) fn below(key: &ObjectKey, length: usize) -> Self {
        Self(key.0[..length].to_owned())
    }

    /// The last segment of a directory, without its `/`: `1b9d…` of `manifest/Test/1b9d…/`.
    pub fn name(&self) -> &str {
        let path = self.0.strip_suffix('/').unwrap_or(&self.0);
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// Whether `key` begins so.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        key.0.starts_with(&self.0)
    }

    /// The object called `name` in this directory.
    pub fn object(&self, name: &str) -> Result<ObjectKey, KeyError> {
        if !(self.0.is_empty() || self.0.ends_with('/')) {
            return Err(KeyError::new(&self.0, "an object needs a directory, and this prefix does not end with `/`"));
        }
        ObjectKey::new(format!("{}{}", self.0, segment(name)?))
    }

    /// The directory called `name` in this one.
    pub fn directory(&self, name: &str) -> Result<KeyPrefix, KeyError> {
        Ok(Self(self.object(name)?.0 + "/"))
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for KeyPrefix {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl From<KeyPrefix> for String {
    fn from(prefix: KeyPrefix) -> Self {
        prefix.0
    }
}

impl From<&ObjectKey> for KeyPrefix {
    fn from(key: &ObjectKey) -> Self {
        Self(key.0.clone())
    }
}

/// A node as the repository knows it: it keeps its host id when its addresses change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeName {
    /// Cassandra's `cluster_name`, as configured.
    pub cluster: String,
    /// The node's id in the ring.
    pub host_id: Uuid,
}

impl NodeName {
    /// Two path segments: `<cluster, percent-encoded>/<host id>`.
    pub fn path(&self) -> String {
        format!("{}/{}", encode_cluster(&self.cluster), self.host_id)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.host_id)
    }
}

/// Which root an SSTable's objects lie under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// `data/`: proven.
    Data,
    /// `damaged/`: stored as it was found, left out of a restore unless asked for.
    Damaged,
}

impl Root {
    fn name(self) -> &'static str {
        match self {
            Root::Data => "data",
            Root::Damaged => "damaged",
        }
    }
}

/// A manifest key taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestName {
    /// The node that was backed up.
    pub node: NodeName,
    /// Name of the backup.
    pub backup_id: String,
    /// What the key repeats from the manifest, so that a listing needs no read.
    pub facts: String,
}

const MANIFEST: &str = "manifest";
const PART: &str = "part";
const JSON_ZST: &str = ".json.zst";

/// `repository.json`: format and id of the repository.
pub fn repository_root() -> ObjectKey {
    ObjectKey("repository.json".to_owned())
}

/// `doctor/<id>`: a trial of the store's rights, removed at once.
pub fn trial() -> ObjectKey {
    ObjectKey(format!("doctor/{}", Uuid::new_v4()))
}

/// `doctor/<id>/`: for a trial of all that a store should do.
pub fn trials() -> KeyPrefix {
    KeyPrefix(format!("doctor/{}/", Uuid::new_v4()))
}

/// `.helenus-tmp/probe`: what a store heeds is tried on it. No key of an object, and never listed.
pub(in crate::store) fn probe() -> String {
    format!("{TEMPORARY}/probe")
}

/// True for what lies below `data/` or `damaged/`: the bulk of a repository.
pub(in crate::store) fn holds_sstables(key: &str) -> bool {
    let root = key.split('/').next();
    [Root::Data, Root::Damaged].iter().any(|known| root == Some(known.name()))
}

/// `manifest/`: below it lie the clusters, below them the nodes.
pub fn manifests_root() -> KeyPrefix {
    KeyPrefix(format!("{MANIFEST}/"))
}

/// `manifest/<node>/`: every backup of one node, oldest first.
pub fn manifests(node: &NodeName) -> Result<KeyPrefix, KeyError> {
    KeyPrefix::new(format!("{MANIFEST}/{}/", node.path()))
}

/// `manifest/<node>/<backup id>.<facts>.json.zst`: the root of a backup.
pub fn manifest(node: &NodeName, backup_id: &str, facts: &str) -> Result<ObjectKey, KeyError> {
    if backup_id.is_empty() || facts.is_empty() {
        return Err(KeyError::new(&format!("{backup_id}.{facts}"), "backup id and facts must not be empty"));
    }
    if facts.contains('.') {
        return Err(KeyError::new(facts, "facts are read back from behind the last dot, so they hold none"));
    }
    manifests(node)?.object(&format!("{backup_id}.{facts}{JSON_ZST}"))
}

/// Takes a manifest key apart; `None` for any other key.
pub fn parse_manifest(key: &ObjectKey) -> Option<ManifestName> {
    let mut segments = key.segments();
    let (MANIFEST, cluster, host_id, name, None) =
        (segments.next()?, segments.next()?, segments.next()?, segments.next()?, segments.next())
    else {
        return None;
    };
    let (backup_id, facts) = name.strip_suffix(JSON_ZST)?.rsplit_once('.')?;
    let cluster = percent_decode_str(cluster).decode_utf8().ok()?.into_owned();
    let node = NodeName { cluster, host_id: host_id.parse().ok()? };
    // Only the one spelling we write: two keys must not name the same backup.
    (manifest(&node, backup_id, facts).as_ref() == Ok(key)).then(|| ManifestName {
        backup_id: backup_id.to_owned(),
        facts: facts.to_owned(),
        node,
    })
}

/// `part/<node>/`: the parts of every table of one node.
pub fn parts(node: &NodeName) -> Result<KeyPrefix, KeyError> {
    KeyPrefix::new(format!("{PART}/{}/", node.path()))
}

/// `part/<node>/<keyspace>/<table>-<table id>/<hash>.json.zst`: the files of one table.
pub fn part(node: &NodeName, keyspace: &str, table_directory: &str, hash: &str) -> Result<ObjectKey, KeyError> {
    let directory = parts(node)?.directory(keyspace)?.directory(table_directory)?;
    directory.object(&format!("{}{JSON_ZST}", segment(hash)?))
}

/// `data/`: below it lie the epochs.
pub fn epochs() -> KeyPrefix {
    KeyPrefix(format!("{}/", Root::Data.name()))
}

/// `data/<epoch>/<node>/`: every SSTable object of one node in one epoch.
pub fn sstables(root: Root, epoch: u32, node: &NodeName) -> Result<KeyPrefix, KeyError> {
    KeyPrefix::new(format!("{}/{epoch}/{}/", root.name(), node.path()))
}

/// What names an SSTable's bytes: its descriptor, the checksum that Cassandra wrote for its `Data.db`, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SstableIdentity<'a> {
    /// `nb-1-big`.
    pub descriptor: &'a str,
    /// From `Digest.crc32`, or computed when there is none; `None` only for one that could not be read.
    pub digest: Option<u32>,
    /// Length of `Data.db` in bytes.
    pub length: u64,
}

/// `<root>/<epoch>/<node>/<keyspace>/<table>-<table id>[/.<index>]/<descriptor>-<digest>-<length>/`: one SSTable's
/// objects. `index` is the directory of a built-in secondary index, with its dot.
pub fn sstable_directory(
    root: Root,
    epoch: u32,
    node: &NodeName,
    keyspace: &str,
    table_directory: &str,
    index: Option<&str>,
    sstable: SstableIdentity<'_>,
) -> Result<KeyPrefix, KeyError> {
    let mut directory = sstables(root, epoch, node)?.directory(keyspace)?.directory(table_directory)?;
    if let Some(index) = index {
        if !index.starts_with('.') {
            return Err(KeyError::new(index, "the directory of a secondary index begins with a dot"));
        }
        directory = directory.directory(index)?;
    }
    let SstableIdentity { descriptor, digest, length } = sstable;
    let digest = digest.map_or_else(|| "none".to_owned(), |digest| format!("{digest:08x}"));
    directory.directory(&format!("{}-{digest}-{length}", segment(descriptor)?))
}

const RELATIVE: &str = "`.` and `..` are no names";

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > KEY_BYTES_MAX {
        return Err("longer than 1024 bytes");
    }
    if path.contains('\\') {
        return Err("holds a backslash");
    }
    if path.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    if path.split('/').next() == Some(TEMPORARY) {
        return Err("`.helenus-tmp` is where the local store keeps unfinished files");
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err("empty segment: a key neither begins nor ends with `/`, nor holds `//`"),
            "." | ".." => return Err(RELATIVE),
            segment if segment.len() > SEGMENT_BYTES_MAX => return Err("a segment is longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

fn segment(name: &str) -> Result<&str, KeyError> {
    if name.contains('/') {
        return Err(KeyError::new(name, "a single name must not hold `/`"));
    }
    check_path(name).map_err(|reason| KeyError::new(name, reason))?;
    Ok(name)
}

fn encode_cluster(cluster: &str) -> String {
    match cluster {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        cluster => utf8_percent_encode(cluster, CLUSTER_KEPT).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(cluster: &str) -> NodeName {
        NodeName { cluster: cluster.to_owned(), host_id: Uuid::from_u128(0x1b9d_6bcd) }
    }

    #[test]
    fn keys() {
        for good in ["a", "a/b", "a/.b", "a/..b", "a/...", "ä/ü=+% x", &"x".repeat(255), "b/.helenus-tmp"] {
            assert_eq!(ObjectKey::new(good).expect(good).as_str(), good);
            assert_eq!(KeyPrefix::new(format!("{good}/")).expect(good).as_str(), format!("{good}/"));
        }
        let long = "x/".repeat(512) + "x";
        for bad in
            ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "a\nb", "a\0", ".helenus-tmp/x", &long]
        {
            ObjectKey::new(bad).expect_err(bad);
            serde_json::from_value::<ObjectKey>(bad.into()).expect_err(bad);
        }
        ObjectKey::new("x".repeat(256)).expect_err("long segment");
    }

    #[test]
    fn prefixes() {
        for good in ["", "a", "a/", "a/b", "a/.", "a/..", ".", "a/.b/"] {
            assert_eq!(KeyPrefix::new(good).expect(good).as_str(), good);
        }
        for bad in ["/", "//", "a//", "/a", "./", "a/../", "../a", "a\\"] {
            KeyPrefix::new(bad).expect_err(bad);
        }
        KeyPrefix::new("a").unwrap().object("b").expect_err("not a directory");
        KeyPrefix::new("a/").unwrap().object("b/c").expect_err("two names");
        assert_eq!(KeyPrefix::everything().object("b").unwrap().as_str(), "b");
        assert_eq!(KeyPrefix::new("a/b/").unwrap().name(), "b");
    }

    #[test]
    fn manifests_are_taken_apart() {
        for cluster in ["Test Cluster", ".", "..", "a/b", "ä%2F", "prod_1.eu-west"] {
            let node = node(cluster);
            let key = manifest(&node, "20261121T010203.456Z-1a2b3c4d", "full-1-2-3").unwrap();
            assert_eq!(key.segments().count(), 4, "{key}");
            let name = parse_manifest(&key).expect(cluster);
            assert_eq!(name.node, node);
            assert_eq!((name.backup_id.as_str(), name.facts.as_str()), ("20261121T010203.456Z-1a2b3c4d", "full-1-2-3"));
        }
        manifest(&node(""), "b", "f").expect_err("no cluster");
        manifest(&node("c"), "b", "f.g").expect_err("dot in the facts");
        for other in [
            "repository.json",
            "manifest/c/nonsense/b.f.json.zst",
            "manifest/%63/00000000-0000-0000-0000-00001b9d6bcd/b.f.json.zst",
            "manifest/c/00000000-0000-0000-0000-00001b9d6bcd/b.json.zst",
        ] {
            assert_eq!(parse_manifest(&ObjectKey::new(other).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn sstables_are_named_by_their_content() {
        let sstable = |descriptor, digest| SstableIdentity { descriptor, digest, length: 9 };
        let check =
            |keyspace, index, sstable| sstable_directory(Root::Data, 3, &node("c"), keyspace, "t-1", index, sstable);
        assert_eq!(
            check("ks", Some(".by_name"), sstable("nb-1-big", Some(0xab))).unwrap().as_str(),
            "data/3/c/00000000-0000-0000-0000-00001b9d6bcd/ks/t-1/.by_name/nb-1-big-000000ab-9/"
        );
        assert!(check("ks", None, sstable("nb-1-big", None)).unwrap().as_str().ends_with("/t-1/nb-1-big-none-9/"));
        check("..", None, sstable("nb-1-big", None)).expect_err("keyspace");
        check("a/b", None, sstable("nb-1-big", None)).expect_err("keyspace");
        check("ks", Some("by_name"), sstable("nb-1-big", None)).expect_err("index");
        check("ks", None, sstable("../nb", None)).expect_err("descriptor");
    }
}
