//! `Partitions.db`: a trie of the partition keys, and at its end what is needed to find the root.
//!
//! ```text
//! trie nodes, children before parents, none across a boundary of 4096 bytes
//! sbytes first key | sbytes last key          at the key position
//! i64 key position | i64 partition count | i64 root position
//! ```
//!
//! Only the end is read here; the trie is not walked.

use std::io;

use crate::cql::wire::Reader;
use crate::error::{Error, Result};
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
    fn every_prefix_and_every_flip_is_harmless() {
        for cut in 0..FILE.len() {
            assert!(read(&FILE[..cut]).is_err(), "cut at {cut}");
            for bit in 0..8 {
                let mut flipped = FILE;
                flipped[cut] ^= 1 << bit;
                let _ = read(&flipped);
            }
        }
    }
}
