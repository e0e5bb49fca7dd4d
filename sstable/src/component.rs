//! The files of one SSTable: what is left of a file name when its descriptor is taken off.
//!
//! Names of components are a closed set plus whatever indexes and plugins add, so reading one never fails: a component
//! that we do not know is kept with its SSTable like any other, as Cassandra does.

use std::fmt;

use crate::version::Format;

/// One file of an SSTable, by role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// `Data.db`: the rows.
    Data,
    /// `Index.db` (BIG): every key with its position.
    Index,
    /// `Partitions.db` (BTI): the trie of keys.
    Partitions,
    /// `Rows.db` (BTI): the tries of clusterings; may be empty.
    Rows,
    /// `Statistics.db`: metadata and the serialization header.
    Statistics,
    /// `CompressionInfo.db`: where the chunks of a compressed `Data.db` are.
    CompressionInfo,
    /// `CRC.db`: checksums of an uncompressed `Data.db`.
    Crc,
    /// `Digest.crc32`: the checksum of the whole `Data.db`.
    Digest,
    /// `Filter.db`: the bloom filter of the keys.
    Filter,
    /// `Summary.db` (BIG): a cache of `Index.db`.
    Summary,
    /// `TOC.txt`: the names of the components.
    Toc,
    /// `SI_<index>.db`: a SASI index; the whole name.
    Sasi(String),
    /// `SAI+…+<part>.db`: a part of a storage-attached index; the whole name.
    Sai(String),
    /// Anything else, by its whole name: custom components, and the digests of versions before 3.0.
    Other(String),
}

impl Component {
    /// Tells the role from the name after the last dash. Never fails: what is not known is [`Component::Other`].
    pub fn parse(name: &str) -> Self {
        match name {
            "Data.db" => Self::Data,
            "Index.db" => Self::Index,
            "Partitions.db" => Self::Partitions,
            "Rows.db" => Self::Rows,
            "Statistics.db" => Self::Statistics,
            "CompressionInfo.db" => Self::CompressionInfo,
            "CRC.db" => Self::Crc,
            "Digest.crc32" => Self::Digest,
            "Filter.db" => Self::Filter,
            "Summary.db" => Self::Summary,
            "TOC.txt" => Self::Toc,
            _ => match name.strip_suffix(".db") {
                Some(stem) if stem.len() > "SI_".len() && stem.starts_with("SI_") => Self::Sasi(name.to_owned()),
                Some(stem) if stem.len() > "SAI+".len() && stem.starts_with("SAI+") => Self::Sai(name.to_owned()),
                _ => Self::Other(name.to_owned()),
            },
        }
    }

    /// The name after the last dash: `Data.db`.
    pub fn name(&self) -> &str {
        match self {
            Self::Data => "Data.db",
            Self::Index => "Index.db",
            Self::Partitions => "Partitions.db",
            Self::Rows => "Rows.db",
            Self::Statistics => "Statistics.db",
            Self::CompressionInfo => "CompressionInfo.db",
            Self::Crc => "CRC.db",
            Self::Digest => "Digest.crc32",
            Self::Filter => "Filter.db",
            Self::Summary => "Summary.db",
            Self::Toc => "TOC.txt",
            Self::Sasi(name) | Self::Sai(name) | Self::Other(name) => name,
        }
    }

    /// True if Cassandra may replace, append to or remove the file while the SSTable lives, so that neither its bytes
    /// nor its presence are fixed. What we do not know is taken to be immutable, as `Data.db` is.
    pub fn is_mutable(&self) -> bool {
        match self {
            Self::Statistics | Self::Summary | Self::Filter | Self::Toc | Self::Sasi(_) | Self::Sai(_) => true,
            Self::Data
            | Self::Index
            | Self::Partitions
            | Self::Rows
            | Self::CompressionInfo
            | Self::Crc
            | Self::Digest
            | Self::Other(_) => false,
        }
    }

    /// True if an SSTable of this format cannot be read without the file. Besides these one of `CompressionInfo.db` and
    /// `CRC.db` is there, see [`Component::is_chunk_map`].
    pub fn is_required(&self, format: Format) -> bool {
        match self {
            Self::Data | Self::Statistics => true,
            Self::Index => format == Format::Big,
            Self::Partitions | Self::Rows => format == Format::Bti,
            _ => false,
        }
    }

    /// True for the two files of which an SSTable has exactly one: how `Data.db` is cut into chunks.
    pub fn is_chunk_map(&self) -> bool {
        matches!(self, Self::CompressionInfo | Self::Crc)
    }

    /// True for the files of indexes, which Cassandra derives from the rows again.
    pub fn is_index_data(&self) -> bool {
        matches!(self, Self::Sasi(_) | Self::Sai(_))
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        fn check(name: &str, expected: Component) {
            assert_eq!(Component::parse(name), expected);
            assert_eq!(expected.to_string(), name);
        }
        check("Data.db", Component::Data);
        check("Index.db", Component::Index);
        check("Partitions.db", Component::Partitions);
        check("Rows.db", Component::Rows);
        check("Statistics.db", Component::Statistics);
        check("CompressionInfo.db", Component::CompressionInfo);
        check("CRC.db", Component::Crc);
        check("Digest.crc32", Component::Digest);
        check("Filter.db", Component::Filter);
        check("Summary.db", Component::Summary);
        check("TOC.txt", Component::Toc);
        check("SI_by_name.db", Component::Sasi("SI_by_name.db".into()));
        check("SAI+aa+GroupMeta.db", Component::Sai("SAI+aa+GroupMeta.db".into()));
        check("SAI+aa+by_name+TermsData.db", Component::Sai("SAI+aa+by_name+TermsData.db".into()));
        for other in ["Digest.adler32", "Digest.sha1", "data.db", "SI_.db", "SAI+.db", "SI_x", "Embedded.db", ""] {
            check(other, Component::Other(other.into()));
        }
    }

    #[test]
    fn roles() {
        assert!(Component::Index.is_required(Format::Big) && !Component::Index.is_required(Format::Bti));
        assert!(Component::Partitions.is_required(Format::Bti) && !Component::Partitions.is_required(Format::Big));
        assert!(!Component::Digest.is_required(Format::Big));
        assert!(Component::parse("SAI+aa+GroupMeta.db").is_index_data());
        assert!(Component::parse("SI_x.db").is_mutable() && !Component::Data.is_mutable());
    }
}
