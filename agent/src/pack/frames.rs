//! zstd in independent frames of 1 MiB plain bytes: any range of the plain bytes can be had by reading the frames that
//! cover it, and `zstd -d` reads the whole.

use std::io;

use bytes::Bytes;

use crate::inspect::reader::SLICE_BYTES;

/// Fast enough to keep up with a disk; higher levels gain little on SSTables.
const LEVEL: i32 = 1;

/// Room for a frame of any content.
const FRAME_BYTES_MAX: usize = SLICE_BYTES + (SLICE_BYTES >> 8) + 64;

/// As much as `length` plain bytes can become.
pub fn bytes_max(length: u64) -> u64 {
    length.saturating_add(length.div_ceil(SLICE_BYTES as u64).saturating_mul((FRAME_BYTES_MAX - SLICE_BYTES) as u64))
}

/// Compresses slices, one frame each.
pub struct Frames {
    compressor: zstd::bulk::Compressor<'static>,
    /// Room for one.
    frame: Vec<u8>,
    /// Frames of the last whole file.
    whole: Vec<u8>,
}

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
        Ok(Self { compressor, frame: vec![0; FRAME_BYTES_MAX], whole: Vec::new() })
    }

    /// One slice of at most [`SLICE_BYTES`] as one frame, in no more memory than it needs: a store may hold many.
    pub fn frame(&mut self, slice: &[u8]) -> io::Result<Bytes> {
        debug_assert!(slice.len() <= SLICE_BYTES);
        let length = self.compressor.compress_to_buffer(slice, &mut self.frame[..])?;
        Ok(Bytes::copy_from_slice(&self.frame[..length]))
    }

    /// A whole file, which is not empty, as frames.
    pub fn whole(&mut self, plain: &[u8]) -> io::Result<&[u8]> {
        self.whole.clear();
        for slice in plain.chunks(SLICE_BYTES) {
            let length = self.compressor.compress_to_buffer(slice, &mut self.frame[..])?;
            self.whole.extend_from_slice(&self.frame[..length]);
        }
        Ok(&self.whole)
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
            let mut frames = Frames::new().expect("a compressor");
            let stored = frames.whole(&plain).expect("compressed");
            assert!(stored.len() as u64 <= bytes_max(length as u64), "{length}");
            let mut read = Vec::new();
            zstd::Decoder::new(stored).and_then(|mut d| d.read_to_end(&mut read)).expect("decompressed");
            assert_eq!(read, plain, "{length}");
        }
    }
}
