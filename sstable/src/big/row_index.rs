//! The row index of a partition, in its entry of `Index.db`: where in the partition each block of rows lies.
//!
//! ```text
//! uvint length of what precedes the first row | deletion of the partition | uvint blocks, 2 or more
//! ( prefix first | prefix last | uvint offset in the partition | svint width - 65536
//!   | u8 has open marker [deletion] )                                                    per block
//! i32 offset of the block from the first one                                             per block
//!
//! prefix  u8 kind (4, a row) | values of all clustering columns
//!         u8 kind (others)   | u16 number of values | values
//! ```
//!
//! The deletion in a block is that of the range tombstone that is open at its end. A partition of 2 GB has tens of
//! thousands of blocks: they are read one by one.

use std::ops::Range;

use crate::component::Component;
use crate::cql::order::{CLUSTERING, Place};
use crate::cql::row::{BoundKind, Clustering, DeletionTime};
use crate::cql::types::Type;
use crate::cql::wire::Reader;
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::scan::read_deletion;
use crate::source::Source;
use crate::version::Version;
use crate::window::{ReadError, Window};

/// Longest block that is decoded: two clusterings, which Cassandra bounds to 64 KiB each.
const BLOCK_LENGTH_MAX: usize = 4 << 20;
/// Added to a width to be stored, for most blocks are of that size.
const WIDTH_BASE: i64 = 64 << 10;
const OFFSET_LENGTH: u64 = 4;

/// What stands before the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowIndexHead {
    /// From the partition's start to its first row or marker that is not static.
    pub header_length: u64,
    /// Of the partition.
    pub deletion: DeletionTime,
    /// Blocks, 2 or more.
    pub block_count: u64,
}

/// The clustering of a row or a bound, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// `None` for a row.
    pub bound: Option<BoundKind>,
    /// Number of values.
    pub value_count: usize,
    /// The values as they are stored.
    pub stored: Vec<u8>,
}

impl Prefix {
    fn read(reader: &mut Reader<'_>, types: &[Type]) -> Result<Self> {
        let at = reader.offset();
        let kind = reader.u8("kind of a clustering")?;
        let (bound, types) = if kind == CLUSTERING {
            (None, types)
        } else {
            let bound = BoundKind::from_ordinal(kind)
                .ok_or_else(|| Error::corrupt(at, "kind of a clustering", "0, 1, 2, 4, 5, 6 or 7", kind))?;
            let count = usize::from(reader.u16("number of values of a bound")?);
            let types = types.get(..count).ok_or_else(|| {
                Error::corrupt(at, "number of values of a bound", format_args!("at most {}", types.len()), count)
            })?;
            (Some(bound), types)
        };
        let stored = Clustering::read(reader, types)?.stored().to_vec();
        Ok(Self { bound, value_count: types.len(), stored })
    }

    /// As a place among those of a table with these clustering columns.
    pub fn place<'a>(&'a self, types: &'a [Type]) -> Place<'a> {
        let types = types.get(..self.value_count).unwrap_or_default();
        Place { clustering: Clustering::from_stored(types, &self.stored), bound: self.bound }
    }
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Of its first row or marker.
    pub first: Prefix,
    /// Of its last row or marker.
    pub last: Prefix,
    /// From the partition's start.
    pub offset: u64,
    /// Bytes of the block. Those of the last one may include the end of the partition.
    pub width: u64,
    /// The range deletion that is open at its end.
    pub open: Option<DeletionTime>,
}

/// The blocks of a row index, one after the other. After an error there is nothing more.
#[derive(Debug)]
pub struct Blocks<S> {
    head: RowIndexHead,
    cursor: Cursor<S>,
    offsets: Window<S>,
    blocks_at: u64,
    left: u64,
    has_short_deletion: bool,
}

impl<S: Source + Clone> Blocks<S> {
    /// Opens the row index that takes `range` of `Index.db`.
    pub fn open(index: S, range: Range<u64>, version: Version) -> Result<Self, ReadError> {
        let mut cursor = Cursor::new(index.clone(), range.start, range.end);
        let has_short_deletion = version.has_uint_deletion_time();
        let head = cursor.decode(BLOCK_LENGTH_MAX, |reader| {
            let header_length = reader.uvint("length of a partition's head")?;
            let (deletion, _) = read_deletion(reader, has_short_deletion)?;
            Ok(RowIndexHead { header_length, deletion, block_count: reader.uvint("number of blocks")? })
        });
        let head = head.map_err(in_index)?;
        let blocks_at = cursor.position();
        let left = range.end.saturating_sub(blocks_at);
        // A block takes eight bytes at the very least, and four more for its offset.
        let count_max = left / (8 + OFFSET_LENGTH);
        if head.block_count < 2 || head.block_count > count_max {
            let expected = format_args!("2 to {count_max}");
            return Err(in_index(Error::corrupt(blocks_at, "number of blocks", expected, head.block_count).into()));
        }
        let offsets_at = range.end - head.block_count * OFFSET_LENGTH;
        let cursor = Cursor::new(index.clone(), blocks_at, offsets_at);
        let offsets = Window::new(index, offsets_at, range.end);
        Ok(Self { head, cursor, offsets, blocks_at, left: head.block_count, has_short_deletion })
    }
}

impl<S: Source> Blocks<S> {
    /// What stands before the blocks.
    pub fn head(&self) -> RowIndexHead {
        self.head
    }

    /// Offset in `Index.db` of the next block.
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// The next block of a table with these clustering columns.
    pub fn next(&mut self, types: &[Type]) -> Result<Option<Block>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let block = self.read(types);
        if block.is_err() {
            self.left = 0;
        }
        block.map(Some).map_err(in_index)
    }

    fn read(&mut self, types: &[Type]) -> Result<Block, ReadError> {
        let start = self.cursor.position();
        let offset = self.offsets.next()?.map_or(-1, i32::from_be_bytes);
        if u64::try_from(offset).ok() != Some(start - self.blocks_at) {
            return Err(
                Error::corrupt(start, "offset of a block in the row index", start - self.blocks_at, offset).into()
            );
        }
        let has_short_deletion = self.has_short_deletion;
        let block = self.cursor.decode(BLOCK_LENGTH_MAX, |reader| {
            let (first, last) = (Prefix::read(reader, types)?, Prefix::read(reader, types)?);
            let offset = reader.uvint("offset of a block in the partition")?;
            let at = reader.offset();
            let stored = reader.svint("width of a block")?;
            let width = stored
                .checked_add(WIDTH_BASE)
                .and_then(|width| u64::try_from(width).ok())
                .ok_or_else(|| Error::corrupt(at, "width of a block", "not negative", stored))?;
            let open = if reader.bool("whether a range is open")? {
                Some(read_deletion(reader, has_short_deletion)?.0)
            } else {
                None
            };
            Ok(Block { first, last, offset, width, open })
        })?;
        if self.left == 0 && !self.cursor.is_at_end() {
            let (end, got) = (self.cursor.end(), self.cursor.position());
            return Err(Error::corrupt(got, "end of the last block", end, got).into());
        }
        Ok(block)
    }
}

fn in_index(error: ReadError) -> ReadError {
    error.in_component(Component::Index)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Two blocks of a table with one text column; the first ends within a range tombstone.
    fn file(version: Version) -> Vec<u8> {
        let deletion = |deletion: Option<DeletionTime>| match (deletion, version.has_uint_deletion_time()) {
            (None, true) => vec![0x80],
            (None, false) => [&i32::MAX.to_be_bytes()[..], &i64::MIN.to_be_bytes()].concat(),
            (Some(_), true) => [&5_i64.to_be_bytes()[..], &7_u32.to_be_bytes()].concat(),
            (Some(_), false) => [&7_i32.to_be_bytes()[..], &5_i64.to_be_bytes()].concat(),
        };
        let first = [b"\x04\0\x01a\x01\0\x01\0\x01c".as_slice(), &[20, 0, 1], &deletion(Some(OPEN))].concat();
        // 70000 - 65536 = 4464, zigzag 8928.
        let second = b"\x04\0\x01d\x04\0\x01e\xc1\x00\x14\xa2\xe0\0".as_slice();
        let offsets = [0_i32.to_be_bytes(), i32::try_from(first.len()).unwrap().to_be_bytes()].concat();
        [&[20][..], &deletion(None), &[2], &first, second, &offsets].concat()
    }

    const OPEN: DeletionTime = DeletionTime { marked_for_delete_at: 5, local_deletion_time: 7 };

    fn read(file: &[u8], version: Version) -> Result<(RowIndexHead, Vec<Block>), ReadError> {
        let types = [Type::parse("UTF8Type").unwrap()];
        let mut blocks = Blocks::open(file, 0..file.len() as u64, version)?;
        let mut all = Vec::new();
        while let Some(block) = blocks.next(&types)? {
            all.push(block);
        }
        Ok((blocks.head(), all))
    }

    #[test]
    fn blocks() {
        for version in [Version::NB, Version::OA] {
            let (head, blocks) = read(&file(version), version).unwrap();
            assert_eq!(head, RowIndexHead { header_length: 20, deletion: DeletionTime::LIVE, block_count: 2 });
            let prefix = |bound, stored: &[u8]| Prefix { bound, value_count: 1, stored: stored.to_vec() };
            let first = prefix(None, b"\0\x01a");
            let last = prefix(Some(BoundKind::InclStart), b"\0\x01c");
            assert_eq!(blocks[0], Block { first, last, offset: 20, width: 65536, open: Some(OPEN) });
            let (first, last) = (prefix(None, b"\0\x01d"), prefix(None, b"\0\x01e"));
            assert_eq!(blocks[1], Block { first, last, offset: 65556, width: 70000, open: None });
        }
    }

    #[test]
    fn every_prefix_and_every_flip_is_harmless() {
        for version in [Version::NB, Version::OA] {
            let file = file(version);
            for cut in 0..file.len() {
                assert!(read(&file[..cut], version).is_err(), "cut at {cut}");
                for bit in 0..8 {
                    let mut flipped = file.clone();
                    flipped[cut] ^= 1 << bit;
                    let _ = read(&flipped, version);
                }
            }
        }
    }
}
