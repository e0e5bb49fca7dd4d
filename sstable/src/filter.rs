//! `Filter.db`: the Bloom filter of the partition keys.
//!
//! ```text
//! i32 hash count | i32 word count | word count x 8 bytes
//! ```
//!
//! Only the frame is checked. Asking the filter for keys (and with it the order of the bytes within a word, which
//! changed with `na`) is not done here.

use crate::cql::wire::Reader;
use crate::error::Result;

/// Bytes before the bits.
pub const HEADER_BYTES: usize = 8;

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
        let hash_count = positive(&mut reader, "hash count")?;
        let word_count = positive(&mut reader, "word count")?;
        let expected = HEADER_BYTES as u64 + u64::from(word_count) * 8;
        if file_length != expected {
            return Err(reader.corrupt("length of the file", format_args!("{expected} bytes"), file_length));
        }
        Ok(Self { hash_count, word_count })
    }
}

fn positive(reader: &mut Reader<'_>, what: &'static str) -> Result<u32> {
    let before = reader.clone();
    let value = reader.i32(what)?;
    u32::try_from(value).ok().filter(|&value| value > 0).ok_or_else(|| before.corrupt(what, "1 or more", value))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        check(&[0, 0, 0, 5, 0xff, 0, 0, 2], 24, Err((4, "word count")));
        check(&[0, 0, 0, 5, 0, 0, 0], 7, Err((4, "word count")));
        check(&[], 0, Err((0, "hash count")));
    }
}
