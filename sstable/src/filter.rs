//! `Filter.db`: the Bloom filter of the partition keys.
//!
//! ```text
//! i32 hash count | i32 word count | word count x 8 bytes
//! ```
//!
//! Bit `m` of the filter is bit `m % 8` of byte `m / 8`. Up to `me` the bytes of each word are in the opposite order. A
//! key has one bit per hash; it is in the SSTable only if all of them are set.

use std::io;

use crate::cql::wire::Reader;
use crate::error::Result;
use crate::partitioner::KeyHash;
use crate::source::Source;
use crate::version::Version;
use crate::window::ReadError;

/// Bytes before the bits.
pub const HEADER_BYTES: usize = 8;

/// Most bits per key: for the lowest chance of a false answer that can be asked of it, Cassandra takes 20 or so.
const HASH_COUNT_MAX: u32 = 64;

/// What the first eight bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterHeader {
    /// Bits tested per key.
    pub hash_count: u32,
    /// 64-bit words that follow.
    pub word_count: u32,
}

impl FilterHeader {
    /// Reads the header off the start of the file, which must be exactly as long as the header says.
    pub fn parse(start: &[u8], file_length: u64) -> Result<Self> {
        let mut reader = Reader::new(start, 0);
        let before = reader.clone();
        let hash_count = positive(&mut reader, "hash count")?;
        if hash_count > HASH_COUNT_MAX {
            return Err(before.corrupt("hash count", format_args!("at most {HASH_COUNT_MAX}"), hash_count));
        }
        let word_count = positive(&mut reader, "word count")?;
        let expected = HEADER_BYTES as u64 + u64::from(word_count) * 8;
        if file_length != expected {
            return Err(reader.corrupt("length of the file", format_args!("{expected} bytes"), file_length));
        }
        Ok(Self { hash_count, word_count })
    }
}

/// The bits, or as many of the first ones as one wants to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    header: FilterHeader,
    bits: Vec<u8>,
    /// In which order the bytes of a word are.
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Forward,
    Backward,
    /// Releases from before 4.0 was out wrote files named `na` in the old order: the first key tells.
    Unknown,
}

impl Filter {
    /// Reads at most `bytes_max` of the bits. What lies beyond answers "may be there", so that a filter too large for
    /// memory still finds most keys that are missing in it: each has many bits, all over the filter. `None` for the
    /// empty file, which lets every key pass.
    pub fn read(
        source: &(impl Source + ?Sized),
        version: Version,
        bytes_max: usize,
    ) -> std::result::Result<Option<Self>, ReadError> {
        let length = source.len();
        if length == 0 {
            return Ok(None);
        }
        let mut start = vec![0; HEADER_BYTES.min(usize::try_from(length).map_err(io::Error::other)?)];
        source.read_at(0, &mut start)?;
        let header = FilterHeader::parse(&start, length)?;
        let held = usize::try_from(length - HEADER_BYTES as u64).unwrap_or(usize::MAX).min(bytes_max / 8 * 8);
        let mut bits = vec![0; held];
        source.read_at(HEADER_BYTES as u64, &mut bits)?;
        let layout = match version {
            Version::NA => Layout::Unknown,
            version if version.has_new_filter_layout() => Layout::Forward,
            _ => Layout::Backward,
        };
        Ok(Some(Self { header, bits, layout }))
    }

    /// The header.
    pub fn header(&self) -> FilterHeader {
        self.header
    }

    /// True if all bits are held, so that a key that may be there may be there.
    pub fn is_whole(&self) -> bool {
        self.bits.len() as u64 == u64::from(self.header.word_count) * 8
    }

    /// False if the key is not in the SSTable.
    pub fn may_contain(&mut self, hash: KeyHash) -> bool {
        if self.layout == Layout::Unknown {
            self.layout = Layout::Forward;
            if !self.may_contain(hash) {
                self.layout = Layout::Backward;
            }
        }
        let flip = if self.layout == Layout::Backward { 7 } else { 0 };
        let capacity = i64::from(self.header.word_count) * 64;
        let mut base = hash.h2.cast_signed();
        (0..self.header.hash_count).all(|_| {
            // The capacity is not 0, nor is a word count so large that this could overflow.
            let bit = base.checked_rem(capacity).unwrap_or_default().unsigned_abs();
            base = base.wrapping_add(hash.h1.cast_signed());
            let byte = usize::try_from(bit / 8).ok().and_then(|byte| self.bits.get(byte ^ flip));
            byte.is_none_or(|byte| byte & (1 << (bit % 8)) != 0)
        })
    }
}

fn positive(reader: &mut Reader<'_>, what: &'static str) -> Result<u32> {
    let before = reader.clone();
    let value = reader.i32(what)?;
    u32::try_from(value).ok().filter(|&value| value > 0).ok_or_else(|| before.corrupt(what, "1 or more", value))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Appendix A6: the keys "0" to "4" in the new layout and in the old one.
    const NEW: [u8; 24] = [0, 0, 0, 5, 0, 0, 0, 2, 0x84, 0x42, 0x21, 6, 0, 1, 4, 0, 0, 0xa6, 2, 0x20, 4, 0, 0xc0, 8];
    const OLD: [u8; 24] = [0, 0, 0, 5, 0, 0, 0, 2, 0, 4, 1, 0, 6, 0x21, 0x42, 0x84, 8, 0xc0, 0, 4, 0x20, 2, 0xa6, 0];

    #[test]
    fn keys() {
        for (file, version) in [(NEW, Version::NB), (NEW, Version::NA), (OLD, Version::NA), (OLD, Version::ME)] {
            let mut filter = Filter::read(&file[..], version, 1 << 20).unwrap().unwrap();
            assert!(filter.is_whole());
            for key in [b"0", b"1", b"2", b"3", b"4"] {
                assert!(filter.may_contain(KeyHash::of(key)), "{key:?} in {version}");
            }
            let others = (0..1000_u32).filter(|key| filter.may_contain(KeyHash::of(&key.to_be_bytes()))).count();
            assert!(others < 50, "{others} of 1000 other keys pass in {version}");
            // A filter of which half is held lets more keys pass, and those that are there all the same.
            let mut half = Filter::read(&file[..], version, 15).unwrap().unwrap();
            assert!(!half.is_whole() && half.bits.len() == 8);
            assert!([b"0", b"1", b"2", b"3", b"4"].iter().all(|key| half.may_contain(KeyHash::of(*key))));
            let passed = (0..1000_u32).filter(|key| half.may_contain(KeyHash::of(&key.to_be_bytes()))).count();
            assert!(passed > others && passed < 300, "{passed}");
        }
        assert_eq!(Filter::read(&[][..], Version::NB, 100).unwrap(), None);
        assert!(Filter::read(&NEW[..23], Version::NB, 100).is_err());
    }

    #[test]
    fn a_flipped_bit_misses_a_key_or_none() {
        let missed = (64..192).filter(|bit| {
            let mut file = NEW;
            file[bit / 8] ^= 1 << (bit % 8);
            let mut filter = Filter::read(&file[..], Version::NB, 1 << 20).unwrap().unwrap();
            ![b"0", b"1", b"2", b"3", b"4"].iter().all(|key| filter.may_contain(KeyHash::of(*key)))
        });
        let set: u32 = NEW[8..].iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(missed.count(), set as usize);
    }

    #[test]
    fn headers() {
        fn check(bytes: &[u8], file_length: u64, expected: Result<(u32, u32), (u64, &str)>) {
            let found = FilterHeader::parse(bytes, file_length)
                .map(|header| (header.hash_count, header.word_count))
                .map_err(|error| (error.offset, error.what));
            assert_eq!(found, expected);
        }
        check(&[0, 0, 0, 5, 0, 0, 0, 2], 24, Ok((5, 2)));
        check(&[0, 0, 0, 5, 0, 0, 0, 2, 0x84, 0x42], 24, Ok((5, 2)));
        check(&[0, 0, 0, 5, 0, 0, 0, 2], 23, Err((8, "length of the file")));
        check(&[0, 0, 0, 5, 0, 0, 0, 2], 25, Err((8, "length of the file")));
        check(&[0, 0, 0, 0, 0, 0, 0, 2], 24, Err((0, "hash count")));
        check(&[0, 0, 0, 64, 0, 0, 0, 2], 24, Ok((64, 2)));
        check(&[0, 0, 0, 65, 0, 0, 0, 2], 24, Err((0, "hash count")));
        check(&[0, 0, 0, 5, 0xff, 0, 0, 2], 24, Err((4, "word count")));
        check(&[0, 0, 0, 5, 0, 0, 0], 7, Err((4, "word count")));
        check(&[], 0, Err((0, "hash count")));
    }
}
