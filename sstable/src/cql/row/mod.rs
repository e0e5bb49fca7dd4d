//! Rows: what SSTables and the mutations of the commit log have in common.
//!
//! ```text
//! partition   key | deletion | [static row] | ( row | range tombstone marker )* | 01
//! row         flags | clustering | (1) | [liveness] | [deletion] | [column subset] | cells
//! marker      02 | kind | u16 number of values | values | (1) | deletion, of a boundary two
//! (1)         only in SSTables: uvint size of what follows | uvint distance from the previous one
//! ```
//!
//! Everything is decoded from a [`Reader`] over bytes that the caller holds, and borrows from them: no value is copied
//! and nothing is allocated per row or cell. What an SSTable has in addition at (1), and how the key and the deletion
//! of a partition are framed, is left to who knows the file ([`crate::scan`]). A mutation is decoded with the
//! same parts in the same order: make a [`SerializationHeader`] from the numbers and column names in the update and the
//! types in the schema, then for each unfiltered
//!
//! 1. [`Flags::read`]; [`Flags::is_end`] ends the partition;
//! 2. a marker ([`Flags::is_marker`]): [`Marker::read_bound`], then [`Marker::read_deletions`];
//! 3. a row: [`Clustering::read`] unless it is static, then [`RowHead::read`], then [`Cells::next`] until there are no
//!    more.
//!
//! A value is bytes; its type is that of its column. Text is made of it elsewhere.

mod cells;
mod clustering;
mod header;
mod unfiltered;

pub(crate) use cells::ValueLimits;
pub use cells::{Cell, Cells, Complex, Lifetime, Part, Value};
pub use clustering::{BoundKind, Clustering, ClusteringValues};
pub use header::{Column, SerializationHeader};
pub use unfiltered::{Expiration, Flags, Liveness, Marker, RowDeletion, RowHead};

use crate::cql::wire::Reader;
use crate::error::Result;

/// When something was deleted: everything older than `marked_for_delete_at` is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeletionTime {
    /// Microseconds since 1970, by the clock of who wrote: covers what has this timestamp or a lower one.
    pub marked_for_delete_at: i64,
    /// Seconds since 1970, by the clock of the node: when the tombstone begins to age. Before `oa` a signed number of
    /// 32 bits, negative if invalid; since then unsigned, `0xFFFF_FFFE` if invalid.
    pub local_deletion_time: i64,
}

impl DeletionTime {
    /// Nothing was deleted.
    pub const LIVE: Self = Self { marked_for_delete_at: i64::MIN, local_deletion_time: i64::MAX };

    /// True if nothing was deleted, whatever the local time says.
    pub fn is_live(self) -> bool {
        self.marked_for_delete_at == i64::MIN
    }

    /// As all deletions below the partition are stored: two numbers relative to the header. Every representation of
    /// "nothing was deleted" becomes [`Self::LIVE`].
    fn read(reader: &mut Reader<'_>, header: &SerializationHeader, what: &'static str) -> Result<Self> {
        let marked_for_delete_at = header.timestamp(reader.uvint(what)?);
        let local_deletion_time = header.local_deletion_time(reader.uvint(what)?);
        Ok(if marked_for_delete_at == i64::MIN {
            Self::LIVE
        } else {
            Self { marked_for_delete_at, local_deletion_time }
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;
    use crate::cql::types::Type;

    /// The unfiltereds of a partition update, from a segment that 4.0.11 has written.
    #[test]
    fn a_mutation() {
        let bytes = b"\x24\x00\x05name0\x00\x08\x0267\x01";
        let header = SerializationHeader {
            partition_key: Type::parse("UTF8Type").unwrap(),
            clustering: vec![Type::parse("AsciiType").unwrap()],
            static_columns: Vec::new(),
            regular_columns: vec![Column::new(b"val".to_vec(), Type::parse("UTF8Type").unwrap())],
            min_timestamp: 1_699_285_480_066_000,
            min_local_deletion_time: 1_442_880_000,
            min_ttl: 0,
            has_unsigned_deletion_times: false,
        };
        let reader = &mut Reader::new(bytes, 0);
        let flags = Flags::read(reader).unwrap();
        assert!(!flags.is_end() && !flags.is_marker() && !flags.is_static());
        let clustering = Clustering::read(reader, &header.clustering).unwrap();
        assert!(clustering.values().map(|(_, value)| value).eq([Some(&b"name0"[..])]));
        let mut head = RowHead::default();
        head.read(reader, flags, &header).unwrap();
        let timestamp = 1_699_285_480_066_000;
        assert_eq!((head.liveness, head.deletion), (Some(Liveness { timestamp, expiration: None }), None));
        let mut cells = Cells::default();
        let Some(Part::Cell(cell)) = cells.next(reader, &head, &header).unwrap() else { panic!("a cell") };
        assert_eq!((cell.column.name.as_slice(), cell.timestamp), (&b"val"[..], timestamp));
        assert_eq!((cell.lifetime, cell.path, cell.value), (Lifetime::Forever, None, Value::Bytes(b"67")));
        assert_eq!(cells.next(reader, &head, &header), Ok(None));
        assert!(Flags::read(reader).unwrap().is_end() && reader.is_empty());
    }
}
