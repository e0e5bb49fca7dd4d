//! The version of an SSTable (`nb`), the format that it belongs to, and what its files hold.
//!
//! The first letter is the major version, the rest the minor one. Within the BIG format a later version compares
//! greater, so a feature is a comparison. `da` of the BTI format sorts before all of them and has every feature of
//! `oa`.

use std::fmt;
use std::str::FromStr;

/// The family of files in which an SSTable is written, as in the third token of its file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `Index.db` and `Summary.db` lead into `Data.db`.
    Big,
    /// The tries `Partitions.db` and `Rows.db` lead into `Data.db`.
    Bti,
}

impl Format {
    /// The token in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Big => "big",
            Self::Bti => "bti",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A format token that is neither `big` nor `bti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an SSTable format: expected big or bti")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "big" => Ok(Self::Big),
            "bti" => Ok(Self::Bti),
            _ => Err(UnknownFormat),
        }
    }
}

/// Longest version that fits; every one released so far has two letters.
const LENGTH_MAX: usize = 8;

/// The version token of a file name: two to eight lower-case letters. Any such token is a version, known or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    // Zeros after the last letter, so that comparing the arrays compares the texts.
    letters: [u8; LENGTH_MAX],
}

/// A version token that is not two to eight lower-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an SSTable version: expected two to eight lower-case letters")]
pub struct InvalidVersion;

impl Version {
    /// Cassandra 3.0.0.
    pub const MA: Self = Self::two(*b"ma");
    /// Cassandra 3.0.7 and 3.7.
    pub const MB: Self = Self::two(*b"mb");
    /// Cassandra 3.0.8 and 3.9.
    pub const MC: Self = Self::two(*b"mc");
    /// Cassandra 3.0.18 and 3.11.4.
    pub const MD: Self = Self::two(*b"md");
    /// Cassandra 3.0.25 and 3.11.11.
    pub const ME: Self = Self::two(*b"me");
    /// Cassandra 4.0-rc1.
    pub const NA: Self = Self::two(*b"na");
    /// Cassandra 4.0 and 4.1; 5.0 in its default compatibility mode.
    pub const NB: Self = Self::two(*b"nb");
    /// Development builds of 5.0 only: `nb` with more fields at the end of its statistics.
    pub const NC: Self = Self::two(*b"nc");
    /// Cassandra 5.0.
    pub const OA: Self = Self::two(*b"oa");
    /// Cassandra 5.0, BTI format.
    pub const DA: Self = Self::two(*b"da");

    const fn two(letters: [u8; 2]) -> Self {
        let [a, b] = letters;
        Self { letters: [a, b, 0, 0, 0, 0, 0, 0] }
    }

    /// Reads a version token. An unknown version is one all the same: its files are backed up as bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidVersion> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 || !bytes.iter().all(u8::is_ascii_lowercase) {
            return Err(InvalidVersion);
        }
        let mut letters = [0; LENGTH_MAX];
        letters.get_mut(..bytes.len()).ok_or(InvalidVersion)?.copy_from_slice(bytes);
        Ok(Self { letters })
    }

    /// The token as it stands in file names.
    pub fn as_str(&self) -> &str {
        let length = self.letters.iter().position(|&letter| letter == 0).unwrap_or(LENGTH_MAX);
        self.letters.get(..length).and_then(|letters| std::str::from_utf8(letters).ok()).unwrap_or_default()
    }

    /// True for the versions that a release writes or wrote: `ma` to `me`, `na`, `nb`, `oa` and `da`.
    pub fn is_known(self) -> bool {
        matches!(self, Self::MA | Self::MB | Self::MC | Self::MD | Self::ME | Self::NA | Self::NB | Self::OA | Self::DA)
    }

    /// True if this crate decodes the files; of others only names and digests can be checked.
    pub fn is_parsable(self) -> bool {
        self.is_known() || self == Self::NC
    }

    /// True for what Cassandra wrote before 3.0 (`la`, `ka`, `jb`): Adler32 instead of CRC32, other rows.
    pub fn is_legacy(self) -> bool {
        matches!(self.as_str(), "jb" | "ka" | "la" | "lb")
    }

    /// The format that writes this version; `None` for a version that we do not know.
    pub fn format(self) -> Option<Format> {
        if self == Self::DA {
            Some(Format::Bti)
        } else if self.is_parsable() || self.is_legacy() {
            Some(Format::Big)
        } else {
            None
        }
    }

    /// True for `since` and what came after it. Versions of the BTI format count as `oa`, which they accompanied.
    fn has_since(self, since: Self) -> bool {
        self.is_bti() || self >= since
    }

    /// BTI versions start with `d`; no version of the BIG format does that can still be read.
    fn is_bti(self) -> bool {
        self.letters.first() == Some(&b'd')
    }

    /// CRC32 after the table of contents and after each part of `Statistics.db`.
    pub fn has_metadata_checksums(self) -> bool {
        self.has_since(Self::NA)
    }

    /// `maxCompressedLength` in `CompressionInfo.db`, from which on a chunk is stored as it is.
    pub fn has_max_compressed_length(self) -> bool {
        self.has_since(Self::NA)
    }

    /// Pending repair session and transient flag in the statistics.
    pub fn has_pending_repair(self) -> bool {
        self.has_since(Self::NA)
    }

    /// `Filter.db` with its words in the byte order of 4.0. Pre-release `na` files may still have the old one.
    pub fn has_new_filter_layout(self) -> bool {
        self.has_since(Self::NA)
    }

    /// The host id of the node that wrote the SSTable: not in `na`, though in the older `me`.
    pub fn has_originating_host_id(self) -> bool {
        self.has_since(Self::NB) || (Self::ME..Self::NA).contains(&self)
    }

    /// The commit log position from which on the SSTable holds mutations.
    pub fn has_commit_log_lower_bound(self) -> bool {
        self.has_since(Self::MB)
    }

    /// A set of commit log intervals instead of two positions.
    pub fn has_commit_log_intervals(self) -> bool {
        self.has_since(Self::MC)
    }

    /// The lists of minimum and maximum clustering values say what they mean.
    pub fn has_accurate_min_max(self) -> bool {
        self.has_since(Self::MD)
    }

    /// Minimum and maximum clustering values as two lists; replaced by a slice in `oa`.
    pub fn has_legacy_min_max(self) -> bool {
        !self.has_since(Self::OA)
    }

    /// The covered clusterings as a slice.
    pub fn has_improved_min_max(self) -> bool {
        self.has_since(Self::OA)
    }

    /// A flag in the statistics telling whether any whole partition is deleted.
    pub fn has_partition_level_deletions(self) -> bool {
        self.has_since(Self::OA)
    }

    /// First and last key in the statistics.
    pub fn has_key_range(self) -> bool {
        self.has_since(Self::OA)
    }

    /// The share of the token ring that the SSTable covers.
    pub fn has_token_space_coverage(self) -> bool {
        self.has_since(Self::OA)
    }

    /// Local deletion times as unsigned 32-bit seconds, and partition deletions of one byte or twelve.
    pub fn has_uint_deletion_time(self) -> bool {
        self.has_since(Self::OA)
    }

    /// Written by 5.0 in its own encoding: `oa`, `da` and later.
    pub fn is_oa_or_later(self) -> bool {
        self.has_since(Self::OA)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        Self::parse(text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for text in ["ma", "nb", "da", "zz", "pa", "abcdefgh"] {
            assert_eq!(Version::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "n", "Nb", "n1", "abcdefghi", "nb ", "né", "n\0"] {
            assert_eq!(Version::parse(text), Err(InvalidVersion), "{text:?}");
        }
        assert_eq!("big".parse(), Ok(Format::Big));
        assert_eq!("Big".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn order_is_lexicographic() {
        let versions = ["da", "jb", "la", "ma", "mc", "mca", "me", "na", "nb", "oa"];
        assert!(versions.is_sorted_by(|a, b| Version::parse(a).unwrap() < Version::parse(b).unwrap()));
    }

    /// The rows of the version matrix, with one letter per version that has the feature.
    #[test]
    fn features() {
        let versions = ["ma", "mb", "mc", "md", "me", "na", "nb", "nc", "oa", "da"];
        let check = |name: &str, feature: fn(Version) -> bool, expected: &str| {
            let got: String = versions
                .iter()
                .map(|version| if feature(Version::parse(version).unwrap()) { 'x' } else { '-' })
                .collect();
            assert_eq!(got, expected, "{name}");
        };
        check("known", Version::is_known, "xxxxxxx-xx");
        check("parsable", Version::is_parsable, "xxxxxxxxxx");
        check("lower bound", Version::has_commit_log_lower_bound, "-xxxxxxxxx");
        check("intervals", Version::has_commit_log_intervals, "--xxxxxxxx");
        check("accurate min max", Version::has_accurate_min_max, "---xxxxxxx");
        check("legacy min max", Version::has_legacy_min_max, "xxxxxxxx--");
        check("host id", Version::has_originating_host_id, "----x-xxxx");
        check("max compressed length", Version::has_max_compressed_length, "-----xxxxx");
        check("pending repair", Version::has_pending_repair, "-----xxxxx");
        check("metadata checksums", Version::has_metadata_checksums, "-----xxxxx");
        check("filter layout", Version::has_new_filter_layout, "-----xxxxx");
        check("improved min max", Version::has_improved_min_max, "--------xx");
        check("partition deletions", Version::has_partition_level_deletions, "--------xx");
        check("key range", Version::has_key_range, "--------xx");
        check("uint deletion time", Version::has_uint_deletion_time, "--------xx");
        check("token space coverage", Version::has_token_space_coverage, "--------xx");
        check("bti", |version| version.format() == Some(Format::Bti), "---------x");
        check("big", |version| version.format() == Some(Format::Big), "xxxxxxxxx-");
    }

    #[test]
    fn unknown_versions_have_no_format() {
        for text in ["pa", "zz", "db", "nd"] {
            let version = Version::parse(text).unwrap();
            assert!(!version.is_known() && !version.is_parsable(), "{text}");
            assert_eq!(version.format(), None, "{text}");
        }
        assert_eq!(Version::parse("la").unwrap().format(), Some(Format::Big));
    }
}
