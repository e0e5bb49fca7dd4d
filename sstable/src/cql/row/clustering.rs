//! Clusterings: the place of a row in its partition, and the bounds of ranges.
//!
//! ```text
//! ( uvint two bits per value | value * ) per 32 values
//! ```
//!
//! Bit 2i says that value i is empty, bit 2i + 1 that it is null; neither is stored. Others are bytes of the type's
//! length, or `vbytes`.

use crate::cql::types::Type;
use crate::cql::wire::Reader;
use crate::error::{Error, Result};

/// Values that share one header.
const BATCH: usize = 32;

/// Values of all clustering columns, of a bound those of the first ones; borrowed as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clustering<'a> {
    types: &'a [Type],
    stored: &'a [u8],
}

impl<'a> Clustering<'a> {
    /// Of a static row or a table without clustering columns.
    pub const EMPTY: Self = Self { types: &[], stored: &[] };

    /// Steps over the values of as many columns as there are types, and so proves that they are there.
    #[inline]
    pub fn read<'r: 'a>(reader: &mut Reader<'r>, types: &'a [Type]) -> Result<Self> {
        let before = reader.rest();
        if types.is_empty() {
            return Ok(Self::EMPTY);
        }
        for batch in types.chunks(BATCH) {
            let mut header = reader.uvint("header of a clustering")?;
            for value_type in batch {
                let bits = header & 3;
                header >>= 2;
                match bits {
                    0 => match value_type.value_length() {
                        Some(length) => reader.bytes(length, "clustering value")?,
                        None => {
                            let length = reader.uvint("length of a clustering value")?;
                            reader.bytes(usize::try_from(length).unwrap_or(usize::MAX), "clustering value")?
                        }
                    },
                    3 => return Err(reader.corrupt("header of a clustering", "empty or null", "both")),
                    _ => &[],
                };
            }
            if header != 0 {
                return Err(reader.corrupt("header of a clustering", "no bits beyond the last value", header));
            }
        }
        let length = before.len() - reader.remaining();
        Ok(Self { types, stored: before.get(..length).unwrap_or_default() })
    }

    /// What was read before and copied: `stored` is what [`Self::stored`] gave, for the same types.
    #[inline]
    pub fn from_stored(types: &'a [Type], stored: &'a [u8]) -> Self {
        Self { types, stored }
    }

    /// The bytes that the values take in the file, for who keeps them.
    #[inline]
    pub fn stored(&self) -> &'a [u8] {
        self.stored
    }

    /// Types of the values that are there.
    pub fn types(&self) -> &'a [Type] {
        self.types
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// True if there is no value.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Each value with its type; `None` is null, which is not the same as empty.
    #[inline]
    pub fn values(&self) -> ClusteringValues<'a> {
        ClusteringValues { types: self.types, at: 0, header: 0, reader: Reader::new(self.stored, 0) }
    }
}

/// Iterates over the values of a [`Clustering`].
#[derive(Debug, Clone)]
pub struct ClusteringValues<'a> {
    types: &'a [Type],
    at: usize,
    header: u64,
    reader: Reader<'a>,
}

impl<'a> Iterator for ClusteringValues<'a> {
    type Item = (&'a Type, Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let value_type = self.types.get(self.at)?;
        // `Clustering::read` has been through all of it: nothing here fails.
        if self.at.is_multiple_of(BATCH) {
            self.header = self.reader.uvint("header of a clustering").ok()?;
        }
        self.at += 1;
        let bits = self.header & 3;
        self.header >>= 2;
        let value = match (bits, value_type.value_length()) {
            (0, Some(length)) => Some(self.reader.bytes(length, "clustering value").ok()?),
            (0, None) => Some(self.reader.vbytes("clustering value").ok()?),
            (1, _) => Some(&[][..]),
            _ => None,
        };
        Some((value_type, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.types.len() - self.at;
        (left, Some(left))
    }
}

/// On which side of its clustering a range tombstone's end lies, and whether another range begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoundKind {
    /// A range ends before the clustering.
    ExclEnd,
    /// A range starts with the clustering.
    InclStart,
    /// A range ends before the clustering, another starts with it.
    ExclEndInclStart,
    /// A range ends with the clustering, another starts after it.
    InclEndExclStart,
    /// A range ends with the clustering.
    InclEnd,
    /// A range starts after the clustering.
    ExclStart,
}

impl BoundKind {
    /// By the ordinal in `ClusteringPrefix.Kind`; others than these are no bounds in `Data.db`.
    pub fn from_ordinal(ordinal: u8) -> Option<Self> {
        Some(match ordinal {
            0 => Self::ExclEnd,
            1 => Self::InclStart,
            2 => Self::ExclEndInclStart,
            5 => Self::InclEndExclStart,
            6 => Self::InclEnd,
            7 => Self::ExclStart,
            _ => return None,
        })
    }

    /// The ordinal in `ClusteringPrefix.Kind`.
    pub fn ordinal(self) -> u8 {
        match self {
            Self::ExclEnd => 0,
            Self::InclStart => 1,
            Self::ExclEndInclStart => 2,
            Self::InclEndExclStart => 5,
            Self::InclEnd => 6,
            Self::ExclStart => 7,
        }
    }

    /// A range ends here, and another one starts.
    pub fn is_boundary(self) -> bool {
        matches!(self, Self::ExclEndInclStart | Self::InclEndExclStart)
    }

    /// A range starts here.
    pub fn is_start(self) -> bool {
        self.is_boundary() || matches!(self, Self::InclStart | Self::ExclStart)
    }

    /// A range ends here.
    pub fn is_end(self) -> bool {
        self.is_boundary() || matches!(self, Self::InclEnd | Self::ExclEnd)
    }

    /// The clustering itself belongs to the range that starts here.
    pub fn is_start_inclusive(self) -> bool {
        matches!(self, Self::InclStart | Self::ExclEndInclStart)
    }

    /// The clustering itself belongs to the range that ends here.
    pub fn is_end_inclusive(self) -> bool {
        matches!(self, Self::InclEnd | Self::InclEndExclStart)
    }

    /// Where the bound lies among clusterings with its prefix: -1 before all of them, 1 after.
    pub fn side(self) -> i8 {
        match self {
            Self::ExclEnd | Self::InclStart | Self::ExclEndInclStart => -1,
            Self::InclEndExclStart | Self::InclEnd | Self::ExclStart => 1,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at = reader.offset();
        let ordinal = reader.u8("kind of a bound")?;
        Self::from_ordinal(ordinal).ok_or_else(|| Error::corrupt(at, "kind of a bound", "0, 1, 2, 5, 6 or 7", ordinal))
    }
}
