//! zstd in independent frames of 1 MiB plain bytes: any range of the plain bytes can be had by reading the frames that
//! cover it, and `zstd -d` reads the whole.

use std::io;

use bytes::Bytes;

use crate::inspect::reader::SLICE_BYTES;

/// Fast enough to keep up with a disk; higher levels gain little on SSTables.
const LEVEL: i32 = 1;

/// Compresses slices, one frame each.
pub struct Frames(zstd::bulk::Compressor<'static>);

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frames")
    }
}

impl Frames {
    /// A compressor, to be used for many slices.
    pub fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self(compressor))
    }

    /// One slice of at most [`SLICE_BYTES`] as one frame.
    pub fn frame(&mut self, slice: &[u8]) -> io::Result<Bytes> {
        debug_assert!(slice.len() <= SLICE_BYTES);
        Ok(self.0.compress(slice)?.into())
    }

    /// A whole file, which is not empty, as frames.
    pub fn whole(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut frames = Vec::new();
        for slice in plain.chunks(SLICE_BYTES) {
            frames.extend_from_slice(&self.0.compress(slice)?);
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn any_decoder_reads_the_frames_as_one_stream() {
        for length in [1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES] {
            let plain: Vec<u8> = (0..length).map(|n| u8::try_from(n / 1000 % 251).unwrap_or(0)).collect();
            let stored = Frames::new().and_then(|mut frames| frames.whole(&plain)).expect("compressed");
            let mut read = Vec::new();
            zstd::Decoder::new(stored.as_slice()).and_then(|mut d| d.read_to_end(&mut read)).expect("decompressed");
            assert_eq!(read, plain, "{length}");
        }
    }
}
