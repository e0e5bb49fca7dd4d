//! `Summary.db`: every 128th entry of `Index.db`, to be kept in memory.
//!
//! ```text
//! i32 min index interval | i32 entries | i64 size | i32 sampling level | i32 entries at full sampling
//! u32 offset, little-endian, per entry, counted from here
//! ( key | u64 position in Index.db, little-endian ) per entry
//! ibytes first key | ibytes last key
//! ```
//!
//! The size is that of offsets and entries. Offsets and positions are written in the order of the writer's machine,
//! which has been little-endian wherever Cassandra runs. Cassandra rebuilds the file from `Index.db` at will: nothing
//! that is wrong with it is damage.

use crate::component::Component;
use crate::cql::wire::{Reader, hex};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::window::ReadError;

/// Sampling levels go down from here.
const SAMPLING_LEVEL_MAX: i32 = 128;

/// A decoded and consistent `Summary.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Partitions per entry at full sampling (`min_index_interval` of the table when this was built).
    pub min_index_interval: u32,
    /// Entries in the file.
    pub entry_count: u32,
    /// Of 128 entries at full sampling so many are in the file.
    pub sampling_level: u32,
    /// Entries there would be at full sampling: partitions by interval, rounded up.
    pub size_at_full_sampling: u32,
    /// First partition key.
    pub first_key: Vec<u8>,
    /// Last partition key.
    pub last_key: Vec<u8>,
    /// Where in `Index.db` the last entry of the summary points.
    pub last_index_position: u64,
}

impl Summary {
    /// Decodes a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, 0);
        let min_index_interval = in_range(&mut reader, i32::MAX, "min index interval")?;
        let at_count = reader.clone();
        let entry_count = in_range(&mut reader, i32::MAX, "number of entries")?;
        let at_size = reader.clone();
        let size = reader.i64("size of the entries")?;
        let sampling_level = in_range(&mut reader, SAMPLING_LEVEL_MAX, "sampling level")?;
        let at_full_size = reader.clone();
        let size_at_full_sampling = in_range(&mut reader, i32::MAX, "entries at full sampling")?;
        if entry_count > size_at_full_sampling {
            return Err(at_full_size.corrupt(
                "entries at full sampling",
                format_args!("{entry_count} or more"),
                size_at_full_sampling,
            ));
        }

        let table_start = reader.offset();
        let table = usize::try_from(size).ok().filter(|&size| size <= reader.remaining()).ok_or_else(|| {
            at_size.corrupt("size of the entries", format_args!("at most {}", reader.remaining()), size)
        })?;
        let table = reader.bytes(table, "entries")?;
        let offsets = usize::try_from(entry_count)
            .ok()
            .and_then(|count| table.get(..count.checked_mul(4)?))
            .ok_or_else(|| at_count.corrupt("number of entries", format_args!("at most {}", size / 4), entry_count))?;
        let (offsets, _) = offsets.as_chunks::<4>();

        let mut expected_start = offsets.len() * 4;
        let mut last_position = None;
        let mut first_entry_key: &[u8] = &[];
        for (index, offset) in offsets.iter().enumerate() {
            let at_offset = Reader::new(offset, table_start + index as u64 * 4);
            let start = u32::from_le_bytes(*offset) as usize;
            if start != expected_start {
                return Err(at_offset.corrupt("offset of an entry", expected_start, start));
            }
            let end = match offsets.get(index + 1) {
                Some(next) => u32::from_le_bytes(*next) as usize,
                None => table.len(),
            };
            let Some((key, position)) = table.get(start..end).and_then(|entry| entry.split_last_chunk::<8>()) else {
                let expected = format_args!("{} to {}", start + 8, table.len());
                return Err(at_offset.corrupt("end of an entry", expected, end));
            };
            let position = u64::from_le_bytes(*position);
            let at_entry = Reader::new(key, table_start + start as u64);
            match last_position {
                None if position != 0 => return Err(at_entry.corrupt("position of the first entry", 0, position)),
                Some(last) if position <= last => {
                    return Err(at_entry.corrupt("position in Index.db", format_args!("more than {last}"), position));
                }
                None => first_entry_key = key,
                Some(_) => {}
            }
            last_position = Some(position);
            expected_start = end;
        }

        let at_first_key = reader.clone();
        let first_key = reader.ibytes("first key")?.to_vec();
        let last_key = reader.ibytes("last key")?.to_vec();
        if !reader.is_empty() {
            return Err(reader.corrupt("end of the file", format_args!("offset {}", reader.offset()), bytes.len()));
        }
        // Sampling never removes the first entry.
        if first_entry_key != first_key {
            return Err(at_first_key.corrupt("first key", hex(first_entry_key), hex(&first_key)));
        }
        Ok(Self {
            min_index_interval,
            entry_count,
            sampling_level,
            size_at_full_sampling,
            first_key,
            last_key,
            last_index_position: last_position.unwrap_or_default(),
        })
    }
}

/// Bytes before the offsets.
const HEAD_LENGTH: u64 = 24;
/// Bytes at the end of an entry: its position.
const POSITION_LENGTH: u64 = 8;

/// An entry of the summary, as it is read for a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Partition key.
    pub key: Vec<u8>,
    /// Of its entry in `Index.db`.
    pub index_position: u64,
}

/// Longest file that is read in one go, that of 15 million partitions. A longer one is read entry by entry.
const HELD_LENGTH_MAX: u64 = 4 << 20;

/// The entries of a `Summary.db`, in any order.
///
/// Nothing vouches for this file. What a sample says is a hint, to be compared with the entry of `Index.db` it leads to.
#[derive(Debug)]
pub struct Samples<S> {
    source: S,
    /// The whole file, unless it is too long for that.
    held: Option<Vec<u8>>,
    count: u64,
    /// Of offsets and entries.
    size: u64,
}

impl<S: Source> Samples<S> {
    /// Reads the file, or of a long one the number of entries.
    pub fn open(source: S) -> std::result::Result<Self, ReadError> {
        let file_length = source.len();
        if file_length < HEAD_LENGTH {
            let error = Error::truncated(0, "head", HEAD_LENGTH, file_length);
            return Err(error.in_component(Component::Summary).into());
        }
        let is_held = file_length <= HELD_LENGTH_MAX;
        let wanted = if is_held { file_length } else { HEAD_LENGTH };
        let mut start = vec![0; usize::try_from(wanted).unwrap_or_default()];
        source.read_at(0, &mut start)?;
        let (count, size) = Self::sizes(&start, file_length).map_err(|error| error.in_component(Component::Summary))?;
        Ok(Self { source, held: is_held.then_some(start), count, size })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        match &self.held {
            Some(held) => held.as_slice().read_at(offset, buffer),
            None => self.source.read_at(offset, buffer),
        }
    }

    fn sizes(head: &[u8], file_length: u64) -> Result<(u64, u64)> {
        let mut reader = Reader::new(head, 0);
        in_range(&mut reader, i32::MAX, "min index interval")?;
        let count = u64::from(in_range(&mut reader, i32::MAX, "number of entries")?);
        let at = reader.clone();
        let size = reader.i64("size of the entries")?;
        let allowed = count * (4 + POSITION_LENGTH)..=file_length - HEAD_LENGTH;
        let size = u64::try_from(size).ok().filter(|size| allowed.contains(size)).ok_or_else(|| {
            let expected = format_args!("{} to {}", allowed.start(), allowed.end());
            at.corrupt("size of the entries", expected, size)
        })?;
        Ok((count, size))
    }

    /// Entries.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// An entry by its number, which is less than [`Self::count`].
    pub fn get(&self, number: u64) -> std::result::Result<Sample, ReadError> {
        let is_last = number + 1 >= self.count;
        let mut offsets = [0; 8];
        let wanted = offsets.get_mut(..if is_last { 4 } else { 8 }).unwrap_or_default();
        self.read_at(HEAD_LENGTH + number * 4, wanted)?;
        let [start, next] = [0, 4].map(|at| {
            let bytes = offsets.get(at..).and_then(|offset| offset.first_chunk().copied());
            u64::from(u32::from_le_bytes(bytes.unwrap_or_default()))
        });
        let end = if is_last { self.size } else { next };
        let allowed = POSITION_LENGTH..=POSITION_LENGTH + u64::from(u16::MAX);
        let length = end.checked_sub(start).filter(|length| end <= self.size && allowed.contains(length));
        let Some(length) = length else {
            let expected = format_args!("up to {} within {}", allowed.end(), self.size);
            let got = format_args!("{start} to {end}");
            let error = Error::corrupt(HEAD_LENGTH + number * 4, "entry", expected, got);
            return Err(error.in_component(Component::Summary).into());
        };
        let mut key = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read_at(HEAD_LENGTH + start, &mut key)?;
        let position = key.split_last_chunk().map_or(0, |(_, position)| u64::from_le_bytes(*position));
        key.truncate(key.len().saturating_sub(POSITION_LENGTH as usize));
        Ok(Sample { key, index_position: position })
    }

    /// The last entry that is not greater than what is looked for, and the position of the one behind it. `is_greater`
    /// says so of a key.
    pub fn floor(
        &self,
        is_greater: impl Fn(&[u8]) -> bool,
    ) -> std::result::Result<Option<(Sample, Option<u64>)>, ReadError> {
        let (mut low, mut high) = (0, self.count);
        let (mut found, mut next) = (None, None);
        while low < high {
            let middle = low + (high - low) / 2;
            let sample = self.get(middle)?;
            if is_greater(&sample.key) {
                next = Some(sample.index_position);
                high = middle;
            } else {
                found = Some(sample);
                low = middle + 1;
            }
        }
        Ok(found.map(|sample| (sample, next)))
    }
}

fn in_range(reader: &mut Reader<'_>, max: i32, what: &'static str) -> Result<u32> {
    let before = reader.clone();
    let value = reader.i32(what)?;
    u32::try_from(value)
        .ok()
        .filter(|_| (1..=max).contains(&value))
        .ok_or_else(|| before.corrupt(what, format_args!("1 to {max}"), value))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;

    /// Appendix A5: the keys "0" to "4".
    const FILE: [u8; 47] = [
        0, 0, 0, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0, 0, 0, 0x80, 0, 0, 0, 1, 4, 0, 0, 0, b'0', 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 1, b'0', 0, 0, 0, 1, b'4',
    ];

    fn encode(entries: &[(&[u8], u64)]) -> Vec<u8> {
        let (mut offsets, mut body) = (Vec::new(), Vec::new());
        for (key, position) in entries {
            offsets.extend_from_slice(&((entries.len() * 4 + body.len()) as u32).to_le_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(&position.to_le_bytes());
        }
        let count = (entries.len() as i32).to_be_bytes();
        let mut bytes = [128_i32.to_be_bytes(), count].concat();
        bytes.extend_from_slice(&((offsets.len() + body.len()) as i64).to_be_bytes());
        bytes.extend_from_slice(&128_i32.to_be_bytes());
        bytes.extend_from_slice(&count);
        bytes.extend_from_slice(&offsets);
        bytes.extend_from_slice(&body);
        for key in [entries[0].0, b"z"] {
            bytes.extend_from_slice(&(key.len() as i32).to_be_bytes());
            bytes.extend_from_slice(key);
        }
        bytes
    }

    #[test]
    fn file_of_appendix_a5() {
        let expected = Summary {
            min_index_interval: 128,
            entry_count: 1,
            sampling_level: 128,
            size_at_full_sampling: 1,
            first_key: b"0".to_vec(),
            last_key: b"4".to_vec(),
            last_index_position: 0,
        };
        assert_eq!(Summary::parse(&FILE), Ok(expected));
    }

    #[test]
    fn several_entries() {
        let summary = Summary::parse(&encode(&[(b"a", 0), (b"", 500), (b"ccc", 900)])).unwrap();
        assert_eq!((summary.entry_count, summary.last_index_position), (3, 900));
    }

    #[test]
    fn damaged() {
        fn check(position: usize, byte: u8, expected: (&str, u64)) {
            let mut bytes = encode(&[(b"a", 0), (b"b", 500), (b"c", 900)]);
            bytes[position] = byte;
            let error = Summary::parse(&bytes).unwrap_err();
            assert_eq!((error.what, error.offset), expected, "{byte} at {position}");
        }
        check(0, 0x80, ("min index interval", 0));
        check(4, 0xff, ("number of entries", 4));
        check(7, 0, ("number of entries", 4));
        check(8, 0xff, ("size of the entries", 8));
        check(15, 0xff, ("size of the entries", 8));
        check(19, 0x81, ("sampling level", 16));
        check(23, 2, ("entries at full sampling", 20));
        check(24, 13, ("offset of an entry", 24));
        check(28, 13, ("end of an entry", 24));
        check(28, 22, ("position of the first entry", 36));
        check(36, b'x', ("first key", 63));
        check(37, 1, ("position of the first entry", 36));
        check(47, 0xff, ("position in Index.db", 54));
    }

    #[test]
    fn samples() {
        let bytes = encode(&[(b"a", 0), (b"bb", 500), (b"c", 900)]);
        let samples = Samples::open(&bytes[..]).unwrap();
        let floor = |key: &[u8]| {
            let found = samples.floor(|sample| sample > key).unwrap();
            found.map(|(sample, next)| (sample.key, sample.index_position, next))
        };
        assert_eq!(floor(b"A"), None);
        assert_eq!(floor(b"a"), Some((b"a".to_vec(), 0, Some(500))));
        assert_eq!(floor(b"b"), Some((b"a".to_vec(), 0, Some(500))));
        assert_eq!(floor(b"bc"), Some((b"bb".to_vec(), 500, Some(900))));
        assert_eq!(floor(b"d"), Some((b"c".to_vec(), 900, None)));
    }

    #[test]
    fn every_prefix_and_every_flip_is_harmless() {
        let bytes = encode(&[(b"a", 0), (b"b", 500), (b"c", 900)]);
        let floor = |bytes: &[u8]| Samples::open(bytes).and_then(|samples| samples.floor(|sample| sample > &b"b"[..]));
        for cut in 0..bytes.len() {
            assert!(Summary::parse(&bytes[..cut]).is_err(), "cut at {cut}");
            let _ = floor(&bytes[..cut]);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[cut] ^= 1 << bit;
                let _ = Summary::parse(&flipped);
                let _ = floor(&flipped);
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Summary::parse(&longer).unwrap_err().what, "end of the file");
    }
}
