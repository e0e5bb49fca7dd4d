//! The primitives that every Cassandra file is made of, read from a slice that knows its place in the file.
//!
//! ```text
//! utf     u16 length | modified UTF-8
//! sbytes  u16 length | bytes
//! ibytes  i32 length | bytes
//! vbytes  uvint length | bytes
//! uvint   leading ones of the first byte = number of further bytes; the other bits are the value, big-endian
//! svint   uvint of the zigzag image
//! ```
//!
//! Integers are big-endian. A length is compared with what is left before anything is taken, so a reader never
//! allocates more than the file has bytes.

use crate::error::{Error, Result};

/// Reads big-endian values off a slice; every error carries the offset in the file that the slice came from.
///
/// The `what` of each method is the field's name, for the error message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Reader<'a> {
    /// `base_offset` is the place of `bytes[0]` in the file.
    #[inline]
    pub fn new(bytes: &'a [u8], base_offset: u64) -> Self {
        Self { rest: bytes, offset: base_offset }
    }

    /// Offset in the file of the next byte.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True once every byte has been read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, without taking it.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error at the next byte.
    pub fn corrupt(&self, what: &'static str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Error {
        Error::corrupt(self.offset, what, expected, got)
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Error::truncated(self.offset, what, count as u64, self.rest.len() as u64));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Error::truncated(self.offset, what, N as u64, self.rest.len() as u64));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(N as u64);
        Ok(*taken)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    /// A Java boolean: a byte that is 0 or 1.
    pub fn bool(&mut self, what: &'static str) -> Result<bool> {
        let before = self.clone();
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(before.corrupt(what, "0 or 1", other)),
        }
    }

    /// Two bytes.
    #[inline]
    pub fn u16(&mut self, what: &'static str) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// Four bytes, unsigned.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Four bytes, two's complement.
    #[inline]
    pub fn i32(&mut self, what: &'static str) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    /// Eight bytes, unsigned.
    pub fn u64(&mut self, what: &'static str) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// Eight bytes, two's complement.
    #[inline]
    pub fn i64(&mut self, what: &'static str) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// Eight bytes of IEEE 754.
    pub fn f64(&mut self, what: &'static str) -> Result<f64> {
        Ok(f64::from_be_bytes(self.array(what)?))
    }

    /// Sixteen bytes, as a UUID is stored.
    pub fn uuid(&mut self, what: &'static str) -> Result<[u8; 16]> {
        self.array(what)
    }

    /// An unsigned variable-length integer, of any length from one to nine bytes, shortest or not.
    #[inline]
    pub fn uvint(&mut self, what: &'static str) -> Result<u64> {
        match *self.rest {
            [first @ 0..0x80, ref rest @ ..] => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(1);
                Ok(u64::from(first))
            }
            [first, ref extra @ ..] => self.long_uvint(first, extra, what),
            [] => Err(Error::truncated(self.offset, what, 1, 0)),
        }
    }

    fn long_uvint(&mut self, first: u8, extra: &'a [u8], what: &'static str) -> Result<u64> {
        let extra_count = first.leading_ones();
        let high_bits = u64::from(u32::from(first) & (0xff >> extra_count));
        let Some((stored, rest)) = extra.split_at_checked(extra_count as usize) else {
            let needed = u64::from(extra_count) + 1;
            return Err(Error::truncated(self.offset, what, needed, self.rest.len() as u64));
        };
        // Eight bytes at once, where there are so many, and of these what belongs to the number.
        let value = match extra.first_chunk() {
            Some(eight) if extra_count < 8 => {
                let low_bits = u64::from_be_bytes(*eight) >> (64 - 8 * extra_count);
                (high_bits << (8 * extra_count)) | low_bits
            }
            _ => stored.iter().fold(high_bits, |value, &byte| (value << 8) | u64::from(byte)),
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(u64::from(extra_count) + 1);
        Ok(value)
    }

    /// A signed variable-length integer.
    pub fn svint(&mut self, what: &'static str) -> Result<i64> {
        let image = self.uvint(what)?;
        Ok((image >> 1).cast_signed() ^ -(image & 1).cast_signed())
    }

    /// A count of things that take at least `size_min` bytes each, stored as `i32`. More of them than fit into the rest
    /// of the file are corruption, so the result may be used as a capacity.
    pub fn count_i32(&mut self, size_min: usize, what: &'static str) -> Result<usize> {
        let before = self.clone();
        let count = self.i32(what)?;
        self.bounded(&before, i64::from(count).try_into().ok(), count, size_min, what)
    }

    /// The same for a count stored as `uvint`.
    pub fn count_uvint(&mut self, size_min: usize, what: &'static str) -> Result<usize> {
        let before = self.clone();
        let count = self.uvint(what)?;
        self.bounded(&before, Some(count), count, size_min, what)
    }

    fn bounded(
        &self,
        before: &Self,
        count: Option<u64>,
        got: impl std::fmt::Display,
        size_min: usize,
        what: &'static str,
    ) -> Result<usize> {
        let count_max = self.remaining() / size_min.max(1);
        count
            .and_then(|count| usize::try_from(count).ok())
            .filter(|&count| count <= count_max)
            .ok_or_else(|| before.corrupt(what, format_args!("at most {count_max}, for the bytes that are left"), got))
    }

    /// Bytes after their `u16` length.
    pub fn sbytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let length = self.u16(what)?;
        self.bytes(usize::from(length), what)
    }

    /// Bytes after their `i32` length.
    pub fn ibytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let length = self.count_i32(1, what)?;
        self.bytes(length, what)
    }

    /// Bytes after their `uvint` length.
    pub fn vbytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let length = self.count_uvint(1, what)?;
        self.bytes(length, what)
    }

    /// A string as `java.io.DataOutput.writeUTF` stores it.
    pub fn utf(&mut self, what: &'static str) -> Result<String> {
        let before = self.clone();
        let bytes = self.sbytes(what)?;
        modified_utf8(bytes).ok_or_else(|| before.corrupt(what, "modified UTF-8", hex(bytes)))
    }

    /// UTF-8 text after its `uvint` length.
    pub fn string(&mut self, what: &'static str) -> Result<String> {
        let before = self.clone();
        let bytes = self.vbytes(what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(before.corrupt(what, "UTF-8", hex(bytes))),
        }
    }
}

/// Java writes each UTF-16 unit by itself: U+0000 as two bytes, and a supplementary character as two surrogates of
/// three bytes each. Plain UTF-8 allows neither.
fn modified_utf8(bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match *rest {
            [] => break,
            [a @ 0..=0x7f, ref tail @ ..] => {
                units.push(u16::from(a));
                rest = tail;
            }
            [a @ 0xc0..=0xdf, b @ 0x80..=0xbf, ref tail @ ..] => {
                units.push((u16::from(a & 0x1f) << 6) | u16::from(b & 0x3f));
                rest = tail;
            }
            [a @ 0xe0..=0xef, b @ 0x80..=0xbf, c @ 0x80..=0xbf, ref tail @ ..] => {
                units.push((u16::from(a & 0x0f) << 12) | (u16::from(b & 0x3f) << 6) | u16::from(c & 0x3f));
                rest = tail;
            }
            _ => return None,
        }
    }
    String::from_utf16(&units).ok()
}

/// The first bytes of a key or value for a message: a name of 64 KiB would drown the rest of it.
pub fn hex(bytes: &[u8]) -> String {
    const BYTES_SHOWN_MAX: usize = 32;
    let mut text: String = bytes.iter().take(BYTES_SHOWN_MAX).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > BYTES_SHOWN_MAX {
        text.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    format!("0x{text}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Kind;

    #[test]
    fn variable_length_integers() {
        fn check(bytes: &[u8], unsigned: u64, signed: i64) {
            let mut reader = Reader::new(bytes, 0);
            assert_eq!(reader.uvint("n"), Ok(unsigned), "{bytes:02x?}");
            assert!(reader.is_empty());
            assert_eq!(Reader::new(bytes, 0).svint("n"), Ok(signed), "{bytes:02x?}");
            for cut in 0..bytes.len() {
                let error = Reader::new(&bytes[..cut], 0).uvint("n").unwrap_err();
                assert_eq!(error.kind, Kind::Truncated);
            }
        }
        check(&[0x00], 0, 0);
        check(&[0x01], 1, -1);
        check(&[0x02], 2, 1);
        check(&[0x7f], 127, -64);
        check(&[0x80, 0x80], 128, 64);
        check(&[0xc0, 0x40, 0x00], 16384, 8192);
        check(&[0xf0, 0x7f, 0xff, 0xff, 0xff], 2_147_483_647, -1_073_741_824);
        check(&[0xfe, 0, 0, 0, 0, 0, 0, 1], 1, -1);
        check(&[0xff; 9], u64::MAX, i64::MIN);
        // Not the shortest form, and still legal.
        check(&[0x80, 0x05], 5, -3);
    }

    fn encode_uvint(value: u64) -> Vec<u8> {
        for extra in 0..8_u32 {
            if value < 1 << (7 * (extra + 1)) {
                let mut bytes = value.to_be_bytes()[7 - extra as usize..].to_vec();
                bytes[0] |= !(0xff_u32 >> extra) as u8;
                return bytes;
            }
        }
        [&[0xff][..], &value.to_be_bytes()].concat()
    }

    proptest! {
        #[test]
        fn uvint_round_trip(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            prop_assert_eq!(Reader::new(&encode_uvint(value), 0).uvint("n"), Ok(value));
        }

        #[test]
        fn any_bytes_are_harmless(bytes: Vec<u8>) {
            let reader = Reader::new(&bytes, 7);
            let _ = reader.clone().utf("text");
            let _ = reader.clone().string("text");
            let _ = reader.clone().ibytes("bytes");
            let _ = reader.clone().vbytes("bytes");
            let _ = reader.clone().count_i32(8, "count");
        }
    }

    #[test]
    fn strings() {
        fn check(bytes: &[u8], expected: Option<&str>) {
            let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(bytes);
            assert_eq!(Reader::new(&framed, 0).utf("text").ok().as_deref(), expected, "{bytes:02x?}");
        }
        check(b"", Some(""));
        check(b"LZ4Compressor", Some("LZ4Compressor"));
        check(&[0xc0, 0x80], Some("\0"));
        check("\u{e4}\u{20ac}".as_bytes(), Some("\u{e4}\u{20ac}"));
        check(&[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80], Some("\u{1f600}"));
        check(&[0xed, 0xa0, 0xbd], None);
        check(&[0xf0, 0x9f, 0x98, 0x80], None);
        check(&[0xc3], None);
    }

    #[test]
    fn lengths_beyond_the_end() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff], 40);
        let error = reader.ibytes("histogram").unwrap_err();
        assert_eq!((error.offset, error.kind), (40, Kind::Corrupt));
        assert_eq!(Reader::new(&[0, 0, 0, 3, 0], 0).count_i32(1, "count").unwrap_err().got, "3");
        let error = Reader::new(&[0, 2, 0], 5).sbytes("key").unwrap_err();
        assert_eq!((error.offset, error.kind), (7, Kind::Truncated));
    }
}
