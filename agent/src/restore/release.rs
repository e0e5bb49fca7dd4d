//! Which SSTables a Cassandra reads. The first letter of a version is not forward-compatible: `oa` and `da` came with
//! 5.0, `na` with 4.0.

use std::str::FromStr;

use anyhow::bail;
use helenus_sstable::directory::{Entry, classify};
use helenus_sstable::version::Version;

use crate::node::tables::Table;

/// The first number of a release of Cassandra.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u32);

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first = text.split('.').next().unwrap_or_default();
        match first.parse() {
            Ok(number @ 3..=9) => Ok(Self(number)),
            _ => Err(format!("`{text}` is not a release of Cassandra (for example 4.1)")),
        }
    }
}

impl Release {
    /// The release that writes `version`, or the first that reads it.
    fn needed_for(version: Version) -> Self {
        Self(match version.as_str().as_bytes().first() {
            Some(b'n') => 4,
            Some(b'o' | b'd') => 5,
            _ => 3,
        })
    }

    /// What the node's files tell; `None` if there are none. A 5.0 that is set to be compatible writes the SSTables of
    /// 4.0, but it has tables that 4.1 has not.
    pub fn of_node(tables: &[Table]) -> Option<Self> {
        let has = |keyspace: &str, name: &str| {
            tables.iter().any(|table| table.keyspace == keyspace && table.directory.table == name)
        };
        if has("system_schema", "column_masks") {
            return Some(Self(5));
        }
        let mut newest = has("system", "peers_v2").then_some(Self(4));
        for place in tables.iter().flat_map(|table| &table.places) {
            for entry in std::fs::read_dir(&place.path).into_iter().flatten().flatten() {
                if let Some(name) = entry.file_name().to_str()
                    && let Entry::SSTable(file) = classify(name, false)
                {
                    newest = newest.max(Some(Self::needed_for(file.descriptor.version)));
                }
            }
        }
        newest
    }

    /// Refuses an SSTable that the release cannot read.
    pub fn check(self, version: Version, file: &str) -> anyhow::Result<()> {
        let needed = Self::needed_for(version);
        if needed > self {
            bail!(
                "{file}: SSTables of version {version} need Cassandra {}.0 or newer, and the target is a {}.x: start it \
                 once with the newer release, or say what it is with --cassandra-version",
                needed.0,
                self.0
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_what() {
        for (release, version, reads) in [
            ("3.11.19", "me", true),
            ("3.11.19", "nb", false),
            ("4.0", "nb", true),
            ("4.1.10", "oa", false),
            ("4.1", "da", false),
            ("5.0.6", "oa", true),
            ("5.0", "da", true),
            ("5.0", "ma", true),
        ] {
            let release: Release = release.parse().expect("a release");
            let version = Version::parse(version).expect("a version");
            let error = release.check(version, "shop.orders/x-1-big-Data.db").err().map(|error| error.to_string());
            assert_eq!(error.is_none(), reads, "{error:?}");
            assert!(error.is_none_or(|error| error.starts_with("shop.orders/x-1-big-Data.db: ")));
        }
        for wrong in ["", "x", "2.2", "40", "-4"] {
            wrong.parse::<Release>().expect_err(wrong);
        }
    }
}
