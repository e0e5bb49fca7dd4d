//! `Partitions.db`: a trie of the partition keys, and at its end what is needed to find the root.
//!
//! ```text
//! trie nodes, children before parents, none across a boundary of 4096 bytes
//! sbytes first key | sbytes last key          at the key position
//! i64 key position | i64 partition count | i64 root position
//! ```
//!
//! A key in the trie is the shortest prefix of a byte-comparable partition key that tells it from its neighbours; what
//! it leads to is, in order,
//!
//! ```text
//! payload bits 8 to 15: u8 hash | signed number of (bits - 7) bytes
//! payload bits 1 to 7:  signed number of so many bytes
//! ```
//!
//! A number n of at least 0 is a position in `Rows.db`; a negative one is that of a partition without row index, at
//! `!n` in `Data.db`. The hash is the low byte of the key's: it turns most keys away that are not there.

use std::io;

use super::byte_comparable;
use super::trie::{Node, Trie, Walk};
use crate::component::Component;
use crate::cql::wire::{Reader, hex};
use crate::error::{Error, Result};
use crate::partitioner::{KeyHash, Partitioner, Token};
use crate::source::Source;
use crate::window::ReadError;

/// Bytes of the three numbers at the end.
const FOOTER_BYTES: u64 = 24;

/// Two keys of the longest possible kind, with their lengths.
const KEYS_BYTES_MAX: u64 = 2 * (2 + u16::MAX as u64);

/// The end of a `Partitions.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionsFooter {
    /// Partition key at the start of `Data.db`.
    pub first_key: Vec<u8>,
    /// Partition key at the end of `Data.db`.
    pub last_key: Vec<u8>,
    /// Partitions in the SSTable, at least 1.
    pub partition_count: u64,
    /// Where the root node of the trie starts.
    pub root_position: u64,
}

impl PartitionsFooter {
    /// Reads the end of the file.
    pub fn read(source: &(impl Source + ?Sized)) -> std::result::Result<Self, ReadError> {
        let file_length = source.len();
        // In one read, so that nobody needs a second trip to an object store.
        let tail_length = file_length.min(FOOTER_BYTES + KEYS_BYTES_MAX);
        let tail_start = file_length - tail_length;
        let mut tail = vec![0; usize::try_from(tail_length).map_err(io::Error::other)?];
        source.read_at(tail_start, &mut tail)?;
        Ok(parse(&tail, tail_start)?)
    }
}

/// Read with the footer when a file is opened. The upper nodes of the trie are there, so that what is left of a lookup
/// is one page in most files.
const TAIL_LENGTH: u64 = 512 << 10;

/// Where a partition is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An entry in `Rows.db`, which has the partition's key and position.
    Rows(u64),
    /// The partition in the uncompressed `Data.db`; it has no row index.
    Data(u64),
}

/// A `Partitions.db`, open for lookups.
#[derive(Debug)]
pub struct PartitionIndex<S> {
    footer: PartitionsFooter,
    trie: Trie<S>,
}

/// What the trie says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionEntry {
    /// Prefix of the byte-comparable key.
    pub prefix: Vec<u8>,
    /// Where the node is.
    pub offset: u64,
    /// Low byte of the key's hash, if it is noted.
    pub hash: Option<u8>,
    /// Where it leads.
    pub target: Target,
}

impl<S: Source> PartitionIndex<S> {
    /// Reads the end of the file, in one go.
    pub fn open(source: S) -> std::result::Result<Self, ReadError> {
        let file_length = source.len();
        let tail_start = file_length.saturating_sub(TAIL_LENGTH);
        let mut tail = vec![0; usize::try_from(file_length - tail_start).map_err(io::Error::other)?];
        source.read_at(tail_start, &mut tail)?;
        let footer = parse(&tail, tail_start).map_err(in_partitions)?;
        let keys_length = footer.first_key.len() + footer.last_key.len() + 4;
        let end = file_length.saturating_sub(FOOTER_BYTES + keys_length as u64);
        let trie = Trie::new(source, end, (tail_start, tail));
        Ok(Self { footer, trie })
    }

    /// Keys, count and root.
    pub fn footer(&self) -> &PartitionsFooter {
        &self.footer
    }

    /// Where the partition is if it is there at all: the key there is to be compared. `None` if it is not. An error of
    /// the kind `Unsupported` where the order of partitions is that of a type ([`Partitioner::Local`]).
    pub fn find(&self, partitioner: &Partitioner, key: &[u8]) -> std::result::Result<Option<Target>, ReadError> {
        let hash = KeyHash::of(key);
        let wanted = byte_comparable::partition_key(partitioner, partitioner.token_of(key, hash), key)
            .ok_or_else(|| Error::unsupported(0, "lookup", "a partitioner of keys", "an order of values"))?;
        let mut node = self.trie.node(self.footer.root_position).map_err(at_partitions)?;
        let mut is_whole = true;
        for character in wanted {
            let Some(child) = node.transition(character) else {
                is_whole = false;
                break;
            };
            node = self.trie.node(child).map_err(at_partitions)?;
        }
        // A prefix ends in a leaf; what goes on from here belongs to other keys.
        if node.payload_bits() == 0 || (!is_whole && node.child_count() > 0) {
            return Ok(None);
        }
        let (noted, target) = payload(&node).map_err(in_partitions)?;
        Ok(noted.is_none_or(|noted| noted == hash.low_byte()).then_some(target))
    }

    /// All partitions in their order.
    pub fn entries(&self) -> std::result::Result<PartitionEntries<'_, S>, ReadError> {
        let walk = Walk::new(&self.trie, self.footer.root_position).map_err(at_partitions)?;
        Ok(PartitionEntries { trie: &self.trie, walk: Some(walk) })
    }

    /// The partitions with this token and those after it. The first one may be the last one before: its prefix does
    /// not always tell.
    pub fn entries_from(&self, token: Token, key: &[u8]) -> std::result::Result<PartitionEntries<'_, S>, ReadError> {
        let wanted = byte_comparable::token_prefix(token, key);
        let walk = Walk::from(&self.trie, self.footer.root_position, &wanted).map_err(at_partitions)?;
        Ok(PartitionEntries { trie: &self.trie, walk: Some(walk) })
    }
}

/// Iterates over a `Partitions.db`. After an error there is nothing more.
#[derive(Debug)]
pub struct PartitionEntries<'i, S> {
    trie: &'i Trie<S>,
    walk: Option<Walk>,
}

impl<S: Source> Iterator for PartitionEntries<'_, S> {
    type Item = std::result::Result<PartitionEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        let entry = match walk.next(self.trie) {
            Ok(Some((prefix, node))) => payload(node)
                .map(|(hash, target)| PartitionEntry { prefix: prefix.to_vec(), offset: node.position(), hash, target })
                .map_err(ReadError::from),
            Ok(None) => {
                self.walk = None;
                return None;
            }
            Err(error) => Err(error),
        };
        if entry.is_err() {
            self.walk = None;
        }
        Some(entry.map_err(at_partitions))
    }
}

fn payload(node: &Node) -> Result<(Option<u8>, Target)> {
    let mut reader = Reader::new(node.payload(), node.payload_position());
    let (hash, length) = match node.payload_bits() {
        bits @ 8.. => (Some(reader.u8("hash of a key")?), usize::from(bits) - 7),
        bits => (None, usize::from(bits)),
    };
    let at = reader.clone();
    let bytes = reader.bytes(length, "position of a partition")?;
    let number = signed(bytes).ok_or_else(|| at.corrupt("position of a partition", "at most 8 bytes", hex(bytes)))?;
    let target = match u64::try_from(number) {
        Ok(position) => Target::Rows(position),
        Err(_) => Target::Data((!number).cast_unsigned()),
    };
    Ok((hash, target))
}

/// A two's complement number of one to eight bytes.
pub(super) fn signed(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first().filter(|(_, rest)| rest.len() < 8)?;
    Some(rest.iter().fold(i64::from(first.cast_signed()), |number, byte| (number << 8) | i64::from(*byte)))
}

fn in_partitions(error: Error) -> Error {
    error.in_component(Component::Partitions)
}

fn at_partitions(error: ReadError) -> ReadError {
    error.in_component(Component::Partitions)
}

/// `tail` reaches to the end of the file and has the keys and the footer.
fn parse(tail: &[u8], tail_start: u64) -> Result<PartitionsFooter> {
    let file_length = tail_start + tail.len() as u64;
    let Some((before_footer, footer)) = tail.split_last_chunk::<{ FOOTER_BYTES as usize }>() else {
        return Err(Error::truncated(tail_start, "footer", FOOTER_BYTES, tail.len() as u64));
    };
    let footer_position = file_length - FOOTER_BYTES;
    let mut reader = Reader::new(footer, footer_position);
    let at_keys = reader.clone();
    let keys_position = reader.i64("key position")?;
    let keys = u64::try_from(keys_position)
        .ok()
        .and_then(|position| position.checked_sub(tail_start))
        .and_then(|start| before_footer.get(usize::try_from(start).ok()?..))
        .ok_or_else(|| {
            at_keys.corrupt("key position", format_args!("{tail_start} to {footer_position}"), keys_position)
        })?;
    let keys_position = footer_position - keys.len() as u64;

    let at_count = reader.clone();
    let partition_count = reader.i64("partition count")?;
    let partition_count = u64::try_from(partition_count)
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| at_count.corrupt("partition count", "1 or more", partition_count))?;

    let at_root = reader.clone();
    let root_position = reader.i64("root position")?;
    let root_position = u64::try_from(root_position)
        .ok()
        .filter(|&root| root < keys_position)
        .ok_or_else(|| at_root.corrupt("root position", format_args!("less than {keys_position}"), root_position))?;

    let mut reader = Reader::new(keys, keys_position);
    let first_key = reader.sbytes("first key")?.to_vec();
    let last_key = reader.sbytes("last key")?.to_vec();
    if !reader.is_empty() {
        return Err(reader.corrupt("end of the keys", footer_position, reader.offset()));
    }
    Ok(PartitionsFooter { first_key, last_key, partition_count, root_position })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;

    /// A whole file of Cassandra 5.0: the keys "0" to "4" under ByteOrderedPartitioner.
    const FILE: [u8; 58] = [
        0x08, 0x09, 0xff, 0x08, 0x37, 0xe9, 0x08, 0xdd, 0xd1, 0x08, 0x02, 0xb9, 0x08, 0x2f, 0xa1, 0xa0, 0x30, 0x04,
        0x00, 0xf0, 0x0c, 0x00, 0x90, 0x06, 0x00, 0x30, 0x1b, 0x40, 0x00, 0x01, 0x30, 0x00, 0x01, 0x34, 0, 0, 0, 0, 0,
        0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 26,
    ];

    fn read(bytes: &[u8]) -> Result<PartitionsFooter> {
        PartitionsFooter::read(bytes).map_err(|error| match error {
            ReadError::Format(error) => error,
            ReadError::Io(error) => panic!("{error}"),
        })
    }

    #[test]
    fn footer() {
        let footer = read(&FILE).unwrap();
        let expected = PartitionsFooter {
            first_key: b"0".to_vec(),
            last_key: b"4".to_vec(),
            partition_count: 5,
            root_position: 26,
        };
        assert_eq!(footer, expected);
    }

    #[test]
    fn keys_of_the_greatest_length() {
        let mut file = vec![0; 5000];
        for byte in [1, 2] {
            file.extend_from_slice(&u16::MAX.to_be_bytes());
            file.resize(file.len() + usize::from(u16::MAX), byte);
        }
        for number in [5000_i64, 2, 4999] {
            file.extend_from_slice(&number.to_be_bytes());
        }
        let footer = read(&file).unwrap();
        assert_eq!((footer.first_key.len(), footer.last_key.len()), (65535, 65535));
    }

    #[test]
    fn damaged_numbers() {
        fn check(position: usize, value: i64, what: &str) {
            let mut file = FILE;
            file[position..position + 8].copy_from_slice(&value.to_be_bytes());
            assert_eq!(read(&file).unwrap_err().what, what, "{value} at {position}");
        }
        check(34, -1, "key position");
        check(34, 35, "key position");
        check(34, i64::MAX, "key position");
        check(34, 27, "first key");
        check(34, 31, "last key");
        check(42, 0, "partition count");
        check(42, -5, "partition count");
        check(50, 28, "root position");
        check(50, -1, "root position");
    }

    #[test]
    fn lookups() {
        let index = PartitionIndex::open(&FILE[..]).unwrap();
        let find = |key: &[u8]| index.find(&Partitioner::ByteOrdered, key).unwrap();
        let positions = [b"0", b"1", b"2", b"3", b"4"].map(|key| find(key));
        assert_eq!(positions, [0, 22, 46, 70, 94].map(|position| Some(Target::Data(position))));
        for absent in [&b""[..], b"/", b"5", b"00", b"\xff"] {
            assert_eq!(find(absent), None, "{absent:?}");
        }
        let entries: Vec<_> = index.entries().unwrap().map(|entry| entry.unwrap()).collect();
        let prefixes: Vec<_> = entries.iter().map(|entry| entry.prefix.clone()).collect();
        assert_eq!(prefixes, [b"\x400", b"\x401", b"\x402", b"\x403", b"\x404"]);
        assert_eq!(entries[1].hash, Some(0x37));
        assert_eq!(entries[4].target, Target::Data(94));
    }

    #[test]
    fn from_a_token_on() {
        let index = PartitionIndex::open(&FILE[..]).unwrap();
        let positions = |key: &[u8]| -> Vec<u64> {
            let entries = index.entries_from(Token::Key, key).unwrap();
            let positions = entries.map(|entry| match entry.unwrap().target {
                Target::Data(position) => position,
                Target::Rows(_) => panic!("there are none"),
            });
            positions.collect()
        };
        assert_eq!(positions(b""), [0, 22, 46, 70, 94]);
        assert_eq!(positions(b"/"), [0, 22, 46, 70, 94]);
        assert_eq!(positions(b"2"), [46, 70, 94]);
        // Whether the third key is "2" or "20" its prefix does not tell.
        assert_eq!(positions(b"25"), [46, 70, 94]);
        assert_eq!(positions(b"9"), [94]);
    }

    #[test]
    fn every_prefix_and_every_flip_is_harmless() {
        for cut in 0..FILE.len() {
            assert!(read(&FILE[..cut]).is_err(), "cut at {cut}");
            for bit in 0..8 {
                let mut flipped = FILE;
                flipped[cut] ^= 1 << bit;
                let _ = read(&flipped);
                let Ok(index) = PartitionIndex::open(&flipped[..]) else { continue };
                let _ = index.find(&Partitioner::ByteOrdered, b"3");
                assert!(index.entries().map_or(0, Iterator::count) < 100);
                assert!(index.entries_from(Token::Key, b"25").map_or(0, Iterator::count) < 100);
            }
        }
    }
}
