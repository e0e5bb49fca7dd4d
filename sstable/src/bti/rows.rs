//! `Rows.db`: the row indexes of the partitions that have one, each a trie and behind it an entry.
//!
//! ```text
//! trie nodes, children before parents
//! sbytes key | uvint position in Data.db | svint root - here | uvint blocks | deletion of the partition
//! ```
//!
//! *Here* is the position behind the key. The keys in the trie separate blocks: each is greater than every clustering
//! of the block before and not greater than the first of its own, the first one is empty, and a last one leads to the
//! end of the partition. What they lead to is a signed number of (payload bits & 7) bytes, the block's offset in the
//! partition, and if payload bit 8 is set the deletion of the range that is open at its start.

use super::partitions::signed;
use super::trie::{Trie, Walk};
use crate::component::Component;
use crate::cql::row::DeletionTime;
use crate::cql::wire::Reader;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::scan::read_deletion;
use crate::source::Source;
use crate::window::ReadError;

/// Longest entry: a key, three numbers, a deletion.
const ENTRY_LENGTH_MAX: usize = 2 + u16::MAX as usize + 3 * 9 + 12;
const HAS_OPEN_DELETION: u8 = 8;

/// The entry of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsEntry {
    /// Where it starts in `Rows.db`.
    pub offset: u64,
    /// As stored.
    pub key: Vec<u8>,
    /// Of the partition, in the uncompressed `Data.db`.
    pub position: u64,
    /// Of the trie's root, in `Rows.db`.
    pub root: u64,
    /// Blocks, without the end of the partition.
    pub block_count: u64,
    /// Of the partition.
    pub deletion: DeletionTime,
}

impl RowsEntry {
    /// Reads the entry at a position that `Partitions.db` leads to.
    pub fn read(rows: impl Source, offset: u64) -> Result<Self, ReadError> {
        let length = rows.len();
        let mut cursor = Cursor::new(rows, offset, length);
        let entry = cursor.decode(ENTRY_LENGTH_MAX, |reader| {
            let key = reader.sbytes("key")?.to_vec();
            let here = reader.offset();
            let position = reader.uvint("position in Data.db")?;
            let at = reader.offset();
            let root_distance = reader.svint("root of a row index")?;
            let root = here.checked_add_signed(root_distance).filter(|&root| root < offset).ok_or_else(|| {
                Error::corrupt(at, "root of a row index", format_args!("before {offset}"), root_distance)
            })?;
            let at = reader.offset();
            let block_count = reader.uvint("number of blocks")?;
            if block_count < 2 {
                return Err(Error::corrupt(at, "number of blocks", "2 or more", block_count));
            }
            let (deletion, _) = read_deletion(reader, true)?;
            Ok(Self { offset, key, position, root, block_count, deletion })
        });
        entry.map_err(in_rows)
    }
}

/// A separator and the block behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStart {
    /// Byte-comparable.
    pub separator: Vec<u8>,
    /// Of the node, in `Rows.db`.
    pub node: u64,
    /// From the partition's start.
    pub offset: u64,
    /// The range deletion that is open there.
    pub open: Option<DeletionTime>,
}

/// The blocks of a partition in their order, and as the last one its end. After an error there is nothing more.
#[derive(Debug)]
pub struct BlockStarts<S> {
    trie: Trie<S>,
    walk: Option<Walk>,
}

impl<S: Source> BlockStarts<S> {
    /// Of the partition with this entry.
    pub fn open(rows: S, entry: &RowsEntry) -> Result<Self, ReadError> {
        let trie = Trie::new(rows, entry.offset, (0, Vec::new()));
        let walk = Some(Walk::new(&trie, entry.root).map_err(in_rows)?);
        Ok(Self { trie, walk })
    }

    fn read(&mut self) -> Result<Option<BlockStart>, ReadError> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let Some((separator, node)) = walk.next(&self.trie)? else { return Ok(None) };
        let mut reader = Reader::new(node.payload(), node.payload_position());
        let at = reader.offset();
        let bytes = reader.bytes(usize::from(node.payload_bits() & !HAS_OPEN_DELETION), "offset of a block")?;
        let offset = signed(bytes).and_then(|offset| u64::try_from(offset).ok());
        let offset =
            offset.ok_or_else(|| Error::corrupt(at, "offset of a block", "a number", format_args!("{bytes:02x?}")))?;
        let open =
            if node.payload_bits() & HAS_OPEN_DELETION != 0 { Some(read_deletion(&mut reader, true)?.0) } else { None };
        Ok(Some(BlockStart { separator: separator.to_vec(), node: node.position(), offset, open }))
    }
}

impl<S: Source> Iterator for BlockStarts<S> {
    type Item = Result<BlockStart, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if !matches!(read, Ok(Some(_))) {
            self.walk = None;
        }
        read.map_err(in_rows).transpose()
    }
}

fn in_rows(error: ReadError) -> ReadError {
    error.in_component(Component::Rows)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Separators "" at 4, "b" at 300 within a range tombstone, "d" at 700; then the entry.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0x0a, 0x01, 0x2c];
        bytes[0] = 0x0a;
        bytes.extend(5_i64.to_be_bytes());
        bytes.extend(7_u32.to_be_bytes());
        let second = bytes.len() as u8;
        bytes.extend([0x02, 0x02, 0xbc]);
        let root = bytes.len() as u8;
        bytes.extend([0x51, 2, b'b', b'd', root, root - second, 4]);
        let entry = bytes.len() as u8;
        bytes.extend([0, 1, b'k', 93]);
        let here = entry + 3;
        bytes.extend([2 * (here - root) - 1, 2, 0x80]);
        bytes
    }

    fn read(file: &[u8], entry: u64) -> Result<(RowsEntry, Vec<BlockStart>), ReadError> {
        let entry = RowsEntry::read(file, entry)?;
        let starts = BlockStarts::open(file, &entry)?.take(100).collect::<Result<_, _>>()?;
        Ok((entry, starts))
    }

    #[test]
    fn blocks() {
        let file = file();
        let (entry, starts) = read(&file, 25).unwrap();
        assert_eq!((entry.key.as_slice(), entry.position, entry.root, entry.block_count), (&b"k"[..], 93, 18, 2));
        let open = Some(DeletionTime { marked_for_delete_at: 5, local_deletion_time: 7 });
        let start =
            |separator: &[u8], node, offset, open| BlockStart { separator: separator.to_vec(), node, offset, open };
        assert_eq!(starts, [start(b"", 18, 4, None), start(b"b", 0, 300, open), start(b"d", 15, 700, None)]);
    }

    #[test]
    fn every_prefix_and_every_flip_is_harmless() {
        let file = file();
        for cut in 0..file.len() {
            assert!(read(&file[..cut], 25).is_err(), "cut at {cut}");
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[cut] ^= 1 << bit;
                let _ = read(&flipped, 25);
            }
        }
    }
}
