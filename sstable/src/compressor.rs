//! The algorithms with which the chunks of a `Data.db` are compressed.
//!
//! | compressor | a stored chunk                                                   |
//! |------------|------------------------------------------------------------------|
//! | LZ4        | u32 **little-endian** length of the contents, then one LZ4 block |
//! | Snappy     | one Snappy block, which starts with its own length               |
//! | Deflate    | one zlib stream                                                  |
//! | Zstd       | one Zstandard frame                                              |
//! | Noop       | the bytes as they are                                            |
//!
//! The reader always knows how long the contents must be, so nothing here allocates by a length from the file.

use std::fmt;

use crate::error::{Error, Result};

/// A compressor of Cassandra's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compressor {
    /// The default.
    Lz4,
    /// The default of long ago.
    Snappy,
    /// zlib.
    Deflate,
    /// Zstandard.
    Zstd,
    /// No compression, though chunks and checksums: `flush_compression: none`.
    Noop,
}

/// Where Cassandra's own compressors live; names without a dot are relative to it.
const PACKAGE: &str = "org.apache.cassandra.io.compress.";

impl Compressor {
    /// By the class name in `CompressionInfo.db`; `None` for a plugin.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.strip_prefix(PACKAGE).unwrap_or(name) {
            "LZ4Compressor" => Some(Self::Lz4),
            "SnappyCompressor" => Some(Self::Snappy),
            "DeflateCompressor" => Some(Self::Deflate),
            "ZstdCompressor" => Some(Self::Zstd),
            "NoopCompressor" => Some(Self::Noop),
            _ => None,
        }
    }

    /// The simple class name, as in `CompressionInfo.db`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "LZ4Compressor",
            Self::Snappy => "SnappyCompressor",
            Self::Deflate => "DeflateCompressor",
            Self::Zstd => "ZstdCompressor",
            Self::Noop => "NoopCompressor",
        }
    }

    /// Decompresses the stored bytes of a chunk, without its checksum, into exactly `out`. Offsets in errors count from
    /// the start of the chunk.
    pub fn decompress(&self, stored: &[u8], out: &mut [u8]) -> Result<()> {
        Decompressor::default().decompress(*self, stored, out)
    }
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decompresses chunk after chunk, and keeps what an algorithm needs beside the bytes: to make it anew takes Zstandard
/// as long as half a chunk.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    zlib: Option<flate2::Decompress>,
}

impl Decompressor {
    /// As [`Compressor::decompress`].
    pub fn decompress(&mut self, compressor: Compressor, stored: &[u8], out: &mut [u8]) -> Result<()> {
        let expected = out.len() as u64;
        let got = match compressor {
            Compressor::Lz4 => {
                let Some((length, block)) = stored.split_first_chunk() else {
                    return Err(Error::truncated(0, "length of the LZ4 block", 4, stored.len() as u64));
                };
                check_length(expected, u64::from(u32::from_le_bytes(*length)))?;
                lz4_flex::block::decompress_into(block, out).map_err(|error| invalid("LZ4 block", error))?
            }
            Compressor::Snappy => {
                let length = snap::raw::decompress_len(stored).map_err(|error| invalid("Snappy block", error))?;
                check_length(expected, length as u64)?;
                snap::raw::Decoder::new().decompress(stored, out).map_err(|error| invalid("Snappy block", error))?
            }
            Compressor::Deflate => self.inflate(stored, out)?,
            Compressor::Zstd => self.unzstd(stored, out).map_err(|error| invalid("Zstandard frame", error))?,
            Compressor::Noop => {
                check_length(expected, stored.len() as u64)?;
                out.copy_from_slice(stored);
                stored.len()
            }
        };
        check_length(expected, got as u64)
    }

    fn unzstd(&mut self, stored: &[u8], out: &mut [u8]) -> std::io::Result<usize> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        zstd.decompress_to_buffer(stored, out)
    }

    fn inflate(&mut self, stored: &[u8], out: &mut [u8]) -> Result<usize> {
        let stream = self.zlib.get_or_insert_with(|| flate2::Decompress::new(true));
        stream.reset(true);
        let status = stream
            .decompress(stored, out, flate2::FlushDecompress::Finish)
            .map_err(|error| invalid("zlib stream", error))?;
        if status != flate2::Status::StreamEnd {
            return Err(Error::corrupt(stream.total_in(), "zlib stream", "its end", "more of it"));
        }
        if stream.total_in() != stored.len() as u64 {
            return Err(Error::corrupt(stream.total_in(), "zlib stream", "the end of the chunk", "more bytes"));
        }
        // It cannot have written more than fits.
        Ok(usize::try_from(stream.total_out()).unwrap_or_default())
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

fn check_length(expected: u64, got: u64) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::corrupt(0, "uncompressed length", expected, got)) }
}

fn invalid(what: &'static str, error: impl fmt::Display) -> Error {
    Error::corrupt(0, what, "a valid one", error)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const ALL: [Compressor; 5] =
        [Compressor::Lz4, Compressor::Snappy, Compressor::Deflate, Compressor::Zstd, Compressor::Noop];

    impl Compressor {
        /// As Cassandra does.
        pub(crate) fn compress(self, bytes: &[u8]) -> Vec<u8> {
            match self {
                Self::Lz4 => lz4_flex::block::compress_prepend_size(bytes),
                Self::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
                Self::Deflate => {
                    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                    encoder.write_all(bytes).unwrap();
                    encoder.finish().unwrap()
                }
                Self::Zstd => {
                    let mut encoder = zstd::bulk::Compressor::new(3).unwrap();
                    encoder.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
                    encoder.compress(bytes).unwrap()
                }
                Self::Noop => bytes.to_vec(),
            }
        }
    }

    #[test]
    fn names() {
        for compressor in ALL {
            assert_eq!(Compressor::from_name(compressor.name()), Some(compressor));
            assert_eq!(Compressor::from_name(&format!("{PACKAGE}{compressor}")), Some(compressor));
        }
        for name in ["", "LZ4", "lz4compressor", "com.example.LZ4Compressor", "DictionaryCompressor"] {
            assert_eq!(Compressor::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn round_trips() {
        let mut kept = Decompressor::default();
        for compressor in ALL {
            for contents in [&b""[..], b"a", b"hello hello hello hello", &[7; 65536]] {
                let stored = compressor.compress(contents);
                let mut out = vec![0; contents.len()];
                compressor.decompress(&stored, &mut out).unwrap_or_else(|error| panic!("{compressor}: {error}"));
                assert_eq!(out, contents, "{compressor}");
                out.fill(0xff);
                kept.decompress(compressor, &stored, &mut out).unwrap();
                assert_eq!(out, contents, "{compressor}");

                // Neither a shorter nor a longer chunk passes for it.
                for other in [contents.len().wrapping_sub(1), contents.len() + 1] {
                    if other != usize::MAX {
                        assert!(
                            kept.decompress(compressor, &stored, &mut vec![0; other]).is_err(),
                            "{compressor} {other}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn cut_and_flipped_chunks_do_no_harm() {
        let contents = b"hello hello hello hello, and something else".as_slice();
        for compressor in ALL {
            let stored = compressor.compress(contents);
            let mut out = vec![0; contents.len()];
            for length in 0..stored.len() {
                let got = compressor.decompress(&stored[..length], &mut out);
                assert!(got.is_err(), "{compressor} cut to {length}");
            }
            for position in 0..stored.len() {
                for bit in 0..8 {
                    let mut stored = stored.clone();
                    stored[position] ^= 1 << bit;
                    // Without a checksum of its own a block may decode to something else; the chunk has one.
                    let _ = compressor.decompress(&stored, &mut out);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_chunk_or_an_error(stored: Vec<u8>, length in 0..2000_usize) {
            for compressor in ALL {
                let _ = compressor.decompress(&stored, &mut vec![0; length]);
            }
        }
    }
}
