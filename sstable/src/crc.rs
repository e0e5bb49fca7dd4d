//! `CRC.db`: checksums of an uncompressed `Data.db`, one per chunk.
//!
//! ```text
//! chunk length  i32 | crc of chunk 0  u32 | crc of chunk 1  u32 | ...
//! ```
//!
//! The last chunk may be short. If it is not, a checksum of nothing, zero, may follow: the writer closed the file
//! with an empty chunk. Compressed SSTables have no such file; their checksums follow each chunk in `Data.db`.

use crate::error::Error;
use crate::source::Source;
use crate::window::{ReadError, Window};

const HEADER_LENGTH: u64 = 4;
const CHECKSUM_LENGTH: u64 = 4;

/// The header, and how many checksums follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrcFile {
    /// Bytes of `Data.db` per checksum; 65536 in practice.
    pub chunk_length: u32,
    /// Number of checksums in the file.
    pub checksum_count: u64,
}

impl CrcFile {
    /// Reads the header and holds the length of the file against it.
    pub fn parse(source: &(impl Source + ?Sized)) -> Result<Self, ReadError> {
        let length = source.len();
        if length < HEADER_LENGTH {
            return Err(Error::truncated(0, "chunk length", HEADER_LENGTH, length).into());
        }
        let mut header = [0; 4];
        source.read_at(0, &mut header)?;
        let chunk_length = i32::from_be_bytes(header);
        let Some(chunk_length) = u32::try_from(chunk_length).ok().filter(|&length| length > 0) else {
            return Err(Error::corrupt(0, "chunk length", "more than 0", chunk_length).into());
        };
        let checksums = length - HEADER_LENGTH;
        let over = checksums % CHECKSUM_LENGTH;
        if over != 0 {
            return Err(Error::truncated(length - over, "checksum", CHECKSUM_LENGTH, over).into());
        }
        Ok(Self { chunk_length, checksum_count: checksums / CHECKSUM_LENGTH })
    }

    /// The checksums in order, through a window.
    pub fn checksums<S: Source>(&self, source: S) -> Checksums<S> {
        let end = HEADER_LENGTH + self.checksum_count * CHECKSUM_LENGTH;
        let count = self.checksum_count;
        Checksums { window: Window::new(source, HEADER_LENGTH, end), count, remaining: count }
    }

    /// Number of chunks, hence of checksums, of a `Data.db` of this length.
    pub fn chunk_count(&self, data_length: u64) -> u64 {
        data_length.div_ceil(u64::from(self.chunk_length))
    }
}

/// Iterates over the checksums; only the source can fail.
#[derive(Debug)]
pub struct Checksums<S> {
    window: Window<S>,
    count: u64,
    remaining: u64,
}

impl<S: Source> Checksums<S> {
    /// Goes to a chunk; beyond the last there is nothing.
    pub(crate) fn seek(&mut self, chunk: u64) {
        let chunk = chunk.min(self.count);
        self.remaining = self.count - chunk;
        self.window.seek(HEADER_LENGTH + chunk * CHECKSUM_LENGTH);
    }
}

impl<S: Source> Iterator for Checksums<S> {
    type Item = std::io::Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        self.window.next().transpose().map(|bytes| bytes.map(u32::from_be_bytes))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        #[track_caller]
        fn check(bytes: &[u8], expected: Result<(u32, u64), &str>) {
            let got = CrcFile::parse(bytes).map(|file| (file.chunk_length, file.checksum_count));
            assert_eq!(got.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
        check(&[0, 1, 0, 0], Ok((65536, 0)));
        check(&[0, 1, 0, 0, 1, 2, 3, 4], Ok((65536, 1)));
        check(&[0, 0, 0, 1, 1, 2, 3, 4], Ok((1, 1)));
        check(&[0, 1, 0], Err("at 0: the file ends within chunk length: expected 4 more bytes, got 3"));
        check(&[0, 1, 0, 0, 1, 2], Err("at 4: the file ends within checksum: expected 4 more bytes, got 2"));
        check(&[0, 0, 0, 0], Err("at 0: chunk length: expected more than 0, got 0"));
        check(&[255, 255, 255, 255], Err("at 0: chunk length: expected more than 0, got -1"));
    }

    #[test]
    fn round_trip_over_windows() {
        let checksums: Vec<u32> = (0..40_000).map(|index: u32| index.wrapping_mul(2_654_435_761)).collect();
        let mut bytes = 65536_u32.to_be_bytes().to_vec();
        bytes.extend(checksums.iter().flat_map(|checksum| checksum.to_be_bytes()));
        let file = CrcFile::parse(bytes.as_slice()).unwrap();
        let got: Vec<u32> = file.checksums(bytes.as_slice()).map(Result::unwrap).collect();
        assert_eq!(got, checksums);
        assert_eq!((file.chunk_count(0), file.chunk_count(1), file.chunk_count(65536)), (0, 1, 1));
        for length in 0..64 {
            let _ = CrcFile::parse(&bytes[..length]);
        }
    }
}
