//! What a partition consists of, up to the cells: rows and the ends of range tombstones.

use super::{BoundKind, Clustering, DeletionTime, SerializationHeader};
use crate::cql::wire::Reader;
use crate::error::{Error, Result};

const END_OF_PARTITION: u8 = 0x01;
const IS_MARKER: u8 = 0x02;
const HAS_TIMESTAMP: u8 = 0x04;
const HAS_TTL: u8 = 0x08;
const HAS_DELETION: u8 = 0x10;
const HAS_ALL_COLUMNS: u8 = 0x20;
const HAS_COMPLEX_DELETION: u8 = 0x40;
const HAS_EXTENDED_FLAGS: u8 = 0x80;
const IS_STATIC: u8 = 0x01;
const HAS_SHADOWABLE_DELETION: u8 = 0x02;

/// The first byte or two of an unfiltered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    basic: u8,
    extended: u8,
}

impl Flags {
    /// Refuses combinations that Cassandra never writes.
    #[inline]
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at = reader.offset();
        let basic = reader.u8("flags")?;
        if basic & END_OF_PARTITION != 0 && basic != END_OF_PARTITION {
            return Err(Error::corrupt(
                at,
                "flags",
                "01, alone, at the end of a partition",
                format_args!("{basic:02x}"),
            ));
        }
        if basic & IS_MARKER != 0 && basic != IS_MARKER {
            return Err(Error::corrupt(at, "flags", "02, alone, for a marker", format_args!("{basic:02x}")));
        }
        if basic & (HAS_TIMESTAMP | HAS_TTL) == HAS_TTL {
            return Err(Error::corrupt(at, "flags", "a TTL only with a timestamp", format_args!("{basic:02x}")));
        }
        let extended = if basic & HAS_EXTENDED_FLAGS != 0 { reader.u8("extended flags")? } else { 0 };
        if extended & !(IS_STATIC | HAS_SHADOWABLE_DELETION) != 0 {
            return Err(Error::corrupt(at + 1, "extended flags", "at most 03", format_args!("{extended:02x}")));
        }
        Ok(Self { basic, extended })
    }

    /// The partition ends here; no more is stored of it.
    #[inline]
    pub fn is_end(self) -> bool {
        self.basic == END_OF_PARTITION
    }

    /// A range tombstone marker follows.
    #[inline]
    pub fn is_marker(self) -> bool {
        self.basic == IS_MARKER
    }

    /// A static row follows, which has no clustering.
    #[inline]
    pub fn is_static(self) -> bool {
        self.extended & IS_STATIC != 0
    }

    #[inline]
    fn has(self, flag: u8) -> bool {
        self.basic & flag != 0
    }
}

/// The life of a row's primary key: an inserted row exists even without cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Microseconds since 1970.
    pub timestamp: i64,
    /// TTL and expiration, if it has one.
    pub expiration: Option<Expiration>,
}

/// When something that was written with a TTL is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    /// Seconds. [`Self::EXPIRED_TTL`] is none.
    pub ttl: i32,
    /// Seconds since 1970; signs and invalid ones as in [`DeletionTime::local_deletion_time`].
    pub local_expiration_time: i64,
}

impl Expiration {
    /// `LivenessInfo.EXPIRED_LIVENESS_TTL`: the row of a view, gone already.
    pub const EXPIRED_TTL: i32 = i32::MAX;
}

/// A whole row was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDeletion {
    /// When.
    pub time: DeletionTime,
    /// Of a view, as old releases wrote it: a newer liveness takes the deletion back.
    pub is_shadowable: bool,
}

/// What is said of a row before its cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowHead {
    /// The row of the static columns, which has no clustering.
    pub is_static: bool,
    /// `None` if only its cells make the row exist.
    pub liveness: Option<Liveness>,
    /// Deletion of the row as a whole.
    pub deletion: Option<RowDeletion>,
    /// Every complex column begins with a deletion.
    pub(super) has_complex_deletion: bool,
    /// One bit per column, set if the row does not have it; none at all if it has all of them. Kept from row to row.
    missing: Vec<u64>,
}

impl RowHead {
    /// Reads what stands between the clustering (in an SSTable: the sizes) and the first cell, into a head that may
    /// have been used before.
    #[inline]
    pub fn read(&mut self, reader: &mut Reader<'_>, flags: Flags, header: &SerializationHeader) -> Result<()> {
        self.is_static = flags.is_static();
        self.liveness = None;
        if flags.has(HAS_TIMESTAMP) {
            let timestamp = header.timestamp(reader.uvint("timestamp of a row")?);
            let expiration = if flags.has(HAS_TTL) {
                let ttl = header.ttl(reader.uvint("TTL of a row")?);
                let local_expiration_time = header.local_deletion_time(reader.uvint("expiration of a row")?);
                Some(Expiration { ttl, local_expiration_time })
            } else {
                None
            };
            self.liveness = Some(Liveness { timestamp, expiration });
        }
        self.deletion = None;
        if flags.has(HAS_DELETION) {
            let time = DeletionTime::read(reader, header, "deletion of a row")?;
            self.deletion = Some(RowDeletion { time, is_shadowable: flags.extended & HAS_SHADOWABLE_DELETION != 0 });
        }
        self.has_complex_deletion = flags.has(HAS_COMPLEX_DELETION);
        self.missing.clear();
        if !flags.has(HAS_ALL_COLUMNS) {
            self.read_missing(reader, header.columns(self.is_static).len())?;
        }
        Ok(())
    }

    /// True if the row has nothing in that column, by its index in the header.
    #[inline]
    pub fn is_missing(&self, column: usize) -> bool {
        self.missing.get(column / 64).is_some_and(|word| (word >> (column % 64)) & 1 == 1)
    }

    /// Up to 63 columns are a bitmap. Of more, the number of missing ones, then the indexes of those that are there or
    /// of those that are not, whichever are fewer.
    fn read_missing(&mut self, reader: &mut Reader<'_>, column_count: usize) -> Result<()> {
        const WHAT: &str = "columns of a row";
        let at = reader.offset();
        let first = reader.uvint(WHAT)?;
        if column_count < 64 {
            if first >> column_count != 0 {
                return Err(Error::corrupt(at, WHAT, format_args!("{column_count} bits"), format_args!("{first:x}")));
            }
            self.missing.push(first);
            return Ok(());
        }
        let missing_count = usize::try_from(first).ok().filter(|&count| count <= column_count);
        let Some(missing_count) = missing_count else {
            return Err(Error::corrupt(at, WHAT, format_args!("at most {column_count} missing"), first));
        };
        if missing_count == 0 {
            return Ok(());
        }
        let present_count = column_count - missing_count;
        let lists_present = present_count < column_count / 2;
        let filling = if lists_present { u64::MAX } else { 0 };
        self.missing.resize(column_count.div_ceil(64), filling);
        let listed_count = if lists_present { present_count } else { missing_count };
        let mut index_min = 0;
        for _ in 0..listed_count {
            let at = reader.offset();
            let stored = reader.uvint(WHAT)?;
            let index = usize::try_from(stored).unwrap_or(usize::MAX);
            let word = self.missing.get_mut(index / 64).filter(|_| (index_min..column_count).contains(&index));
            let Some(word) = word else {
                let expected = format_args!("an index from {index_min} to {}", column_count - 1).to_string();
                return Err(Error::corrupt(at, WHAT, expected, stored));
            };
            *word ^= 1 << (index % 64);
            index_min = index + 1;
        }
        Ok(())
    }
}

/// One end of a range tombstone, or where one range goes over into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker<'a> {
    /// Where it lies relative to the clustering.
    pub kind: BoundKind,
    /// The first clustering columns' values; those that are missing stand for every value.
    pub clustering: Clustering<'a>,
    /// Of the range that ends here.
    pub end: Option<DeletionTime>,
    /// Of the range that starts here.
    pub start: Option<DeletionTime>,
}

impl<'a> Marker<'a> {
    /// Reads what stands before the sizes of an SSTable: kind and clustering.
    pub fn read_bound<'r: 'a>(
        reader: &mut Reader<'r>,
        header: &'a SerializationHeader,
    ) -> Result<(BoundKind, Clustering<'a>)> {
        let kind = BoundKind::read(reader)?;
        let at = reader.offset();
        let count = usize::from(reader.u16("number of values of a bound")?);
        let Some(types) = header.clustering.get(..count) else {
            let expected = format_args!("at most {}", header.clustering.len());
            return Err(Error::corrupt(at, "number of values of a bound", expected, count));
        };
        Ok((kind, Clustering::read(reader, types)?))
    }

    /// Reads what follows: the deletion of the range that ends, then that of the one that starts.
    pub fn read_deletions(
        reader: &mut Reader<'_>,
        kind: BoundKind,
        header: &SerializationHeader,
    ) -> Result<(Option<DeletionTime>, Option<DeletionTime>)> {
        let mut read =
            |is_there: bool| is_there.then(|| DeletionTime::read(reader, header, "deletion of a range")).transpose();
        Ok((read(kind.is_end())?, read(kind.is_start())?))
    }
}
