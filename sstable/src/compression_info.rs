//! `CompressionInfo.db`: how `Data.db` is compressed, and where its chunks start.
//!
//! ```text
//! compressor  utf
//! option count  i32 | key  utf | value  utf | ...
//! chunk length  i32            uncompressed, a power of two
//! max compressed length  i32   only since `na`
//! data length  i64             uncompressed
//! chunk count  i32
//! offset of chunk 0  i64 | offset of chunk 1  i64 | ...
//! ```
//!
//! `utf` is a u16 length and that many bytes. A chunk in `Data.db` goes up to the next one or to the end of the file;
//! its last four bytes are the CRC32 of those before. Compaction ends most files with an empty chunk beyond the data.
//!
//! Only the header is kept; the offsets are read through a window, in order.

use crate::compressor::{Compressor, Decompressor};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::version::Version;
use crate::window::{ReadError, Window};

/// Everything before the offsets. The largest one seen takes 200 bytes.
const HEADER_LENGTH_MAX: u64 = 64 << 10;
/// An option takes at least two lengths.
const OPTION_COUNT_MAX: u32 = 1024;
const OFFSET_LENGTH: u64 = 8;
/// Bytes of the checksum that ends a chunk in `Data.db`.
pub const CHECKSUM_LENGTH: u64 = 4;
/// Largest chunk that is decompressed. Cassandra's default is 16 KiB, and nobody is known to go beyond some MiB.
const CHUNK_LENGTH_MAX: u32 = 64 << 20;
/// `Integer.MAX_VALUE`: every chunk is stored compressed.
const NO_MAXIMUM: u32 = i32::MAX as u32;

/// The header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionInfo {
    /// Class name, without its package for Cassandra's own.
    pub compressor: String,
    /// What the compressor was configured with. Reading does not depend on it.
    pub options: Vec<(String, String)>,
    /// Uncompressed bytes per chunk; a power of two. The last one with data may be shorter.
    pub chunk_length: u32,
    /// A chunk of at least so many stored bytes is stored as it is. `i32::MAX` if none is, as before `na`.
    pub max_compressed_length: u32,
    /// Uncompressed length of `Data.db`.
    pub data_length: u64,
    /// Number of offsets: as many as the data needs, or one more.
    pub chunk_count: u32,
    /// Where the offsets start in the file.
    pub offsets_at: u64,
}

impl CompressionInfo {
    /// Reads the header and checks its numbers against each other and against the length of the file.
    pub fn parse(version: Version, source: &(impl Source + ?Sized)) -> Result<Self, ReadError> {
        let length = source.len();
        let mut header = vec![0; usize::try_from(length.min(HEADER_LENGTH_MAX)).unwrap_or_default()];
        source.read_at(0, &mut header)?;
        let info = Self::parse_header(version, Header { bytes: &header, at: 0, file_length: length })?;
        let end = info.offsets_at + u64::from(info.chunk_count) * OFFSET_LENGTH;
        if length < end {
            let available = length - info.offsets_at;
            return Err(Error::truncated(info.offsets_at, "chunk offsets", end - info.offsets_at, available).into());
        }
        if length > end {
            return Err(Error::corrupt(end, "end of file", end, length).into());
        }
        Ok(info)
    }

    fn parse_header(version: Version, mut header: Header<'_>) -> Result<Self> {
        let compressor = header.utf("compressor")?;
        let at = header.at;
        let option_count = header.u31("option count")?;
        if option_count > OPTION_COUNT_MAX {
            return Err(Error::corrupt(at, "option count", format_args!("at most {OPTION_COUNT_MAX}"), option_count));
        }
        let options = (0..option_count)
            .map(|_| Ok((header.utf("option name")?, header.utf("option value")?)))
            .collect::<Result<Vec<_>>>()?;
        let at = header.at;
        let chunk_length = header.u31("chunk length")?;
        if !chunk_length.is_power_of_two() {
            return Err(Error::corrupt(at, "chunk length", "a power of two", chunk_length));
        }
        let max_compressed_length =
            if version.has_max_compressed_length() { header.u31("max compressed length")? } else { NO_MAXIMUM };
        let at = header.at;
        let data_length = i64::from_be_bytes(header.array("data length")?);
        let Ok(data_length) = u64::try_from(data_length) else {
            return Err(Error::corrupt(at, "data length", "at least 0", data_length));
        };
        let at = header.at;
        let chunk_count = header.u31("chunk count")?;
        let needed = data_length.div_ceil(u64::from(chunk_length));
        let allowed = needed.max(1)..=needed.saturating_add(1);
        if !allowed.contains(&u64::from(chunk_count)) {
            let expected = format_args!("{} to {}", allowed.start(), allowed.end()).to_string();
            return Err(Error::corrupt(at, "chunk count", expected, chunk_count));
        }
        Ok(Self {
            compressor,
            options,
            chunk_length,
            max_compressed_length,
            data_length,
            chunk_count,
            offsets_at: header.at,
        })
    }

    /// The offsets of the chunks in `Data.db`, in order, through a window: the first is 0, and each is greater than the
    /// one before by at least a checksum.
    pub fn offsets<S: Source>(&self, source: S) -> Offsets<S> {
        let end = self.offsets_at + u64::from(self.chunk_count) * OFFSET_LENGTH;
        Offsets {
            window: Window::new(source, self.offsets_at, end),
            start: self.offsets_at,
            count: self.chunk_count,
            at: self.offsets_at,
            remaining: self.chunk_count,
            previous: None,
        }
    }

    /// How many bytes of the uncompressed data a chunk holds: none, if it is the empty one at the end.
    pub fn uncompressed_length(&self, chunk: u64) -> u32 {
        let chunk_length = u64::from(self.chunk_length);
        let start = chunk.saturating_mul(chunk_length);
        // At most the chunk length, hence within 32 bits.
        self.data_length.saturating_sub(start).min(chunk_length).try_into().unwrap_or_default()
    }

    /// Decompresses the stored bytes of a chunk, without its checksum, into `out`, whatever that held. A chunk that
    /// would not become smaller is stored as it is; if it is the last one, with zeros at its end.
    pub fn decompress(&self, chunk: u64, stored: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.resize(self.chunk_size(chunk)?, 0);
        self.decompress_into(&mut Decompressor::default(), stored, out)
    }

    /// Bytes that [`Self::decompress_into`] wants room for: [`Self::uncompressed_length`], unless that is absurd.
    pub fn chunk_size(&self, chunk: u64) -> Result<usize> {
        let length = self.uncompressed_length(chunk);
        if length > CHUNK_LENGTH_MAX {
            return Err(Error::unsupported(0, "chunk length", format_args!("at most {CHUNK_LENGTH_MAX}"), length));
        }
        Ok(usize::try_from(length).unwrap_or_default())
    }

    /// Decompresses the stored bytes of a chunk, without its checksum, into all of `out`.
    pub fn decompress_into(&self, decompressor: &mut Decompressor, stored: &[u8], out: &mut [u8]) -> Result<()> {
        // The chunk beyond the data. Deflate stores no byte for it, which is no zlib stream.
        if out.is_empty() {
            return Ok(());
        }
        if stored.len() as u64 >= u64::from(self.max_compressed_length) {
            let Some(raw) = stored.get(..out.len()) else {
                return Err(Error::truncated(0, "chunk stored as it is", out.len() as u64, stored.len() as u64));
            };
            out.copy_from_slice(raw);
            return Ok(());
        }
        let Some(compressor) = Compressor::from_name(&self.compressor) else {
            return Err(Error::unsupported(0, "compressor", "one of Cassandra's own", &self.compressor));
        };
        decompressor.decompress(compressor, stored, out)
    }

    /// Most bytes that a chunk can take in `Data.db`, its checksum left out: compressors add a little to what they
    /// cannot compress. For who must bound what a damaged list of offsets asks for.
    pub fn stored_length_max(&self) -> u64 {
        2 * u64::from(self.chunk_length.min(CHUNK_LENGTH_MAX)) + 1024
    }
}

/// The first bytes of the file, and how far they are read.
struct Header<'a> {
    bytes: &'a [u8],
    at: u64,
    file_length: u64,
}

impl<'a> Header<'a> {
    fn take(&mut self, what: &'static str, length: u64) -> Result<&'a [u8]> {
        let start = usize::try_from(self.at).unwrap_or(usize::MAX);
        let end = usize::try_from(self.at.saturating_add(length)).unwrap_or(usize::MAX);
        let Some(bytes) = self.bytes.get(start..end) else {
            let available = self.file_length.saturating_sub(self.at);
            return Err(if available < length {
                Error::truncated(self.at, what, length, available)
            } else {
                Error::corrupt(self.at, what, format_args!("an end before {HEADER_LENGTH_MAX}"), end)
            });
        };
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let at = self.at;
        let bytes = self.take(what, N as u64)?;
        bytes.first_chunk().copied().ok_or_else(|| Error::truncated(at, what, N as u64, bytes.len() as u64))
    }

    /// An `i32` that must not be negative.
    fn u31(&mut self, what: &'static str) -> Result<u32> {
        let at = self.at;
        let number = i32::from_be_bytes(self.array(what)?);
        u32::try_from(number).map_err(|_| Error::corrupt(at, what, "at least 0", number))
    }

    fn utf(&mut self, what: &'static str) -> Result<String> {
        let length = u16::from_be_bytes(self.array(what)?);
        let at = self.at;
        let bytes = self.take(what, u64::from(length))?;
        // Java's modified UTF-8 differs in zero bytes and beyond the basic plane: not in names of classes and options.
        let text = std::str::from_utf8(bytes).map_err(|_| Error::corrupt(at, what, "UTF-8", bytes.escape_ascii()))?;
        Ok(text.to_owned())
    }
}

/// Iterates over the offsets and checks their order. After an error there is nothing more.
#[derive(Debug)]
pub struct Offsets<S> {
    window: Window<S>,
    /// Where the first offset is in the file, and how many there are.
    start: u64,
    count: u32,
    /// Where the next offset is in the file.
    at: u64,
    remaining: u32,
    previous: Option<u64>,
}

impl<S: Source> Offsets<S> {
    /// Goes to a chunk; beyond the last there is nothing. The first offset from there has none to be compared with.
    pub(crate) fn seek(&mut self, chunk: u64) {
        let chunk = u32::try_from(chunk).unwrap_or(u32::MAX).min(self.count);
        self.at = self.start + u64::from(chunk) * OFFSET_LENGTH;
        self.remaining = self.count - chunk;
        self.previous = None;
        self.window.seek(self.at);
    }

    fn read(&mut self) -> Result<u64, ReadError> {
        let at = self.at;
        let Some(bytes) = self.window.next()? else {
            return Err(Error::truncated(at, "chunk offset", OFFSET_LENGTH, 0).into());
        };
        let offset = i64::from_be_bytes(bytes);
        let corrupt = |expected: String| ReadError::from(Error::corrupt(at, "chunk offset", expected, offset));
        let Ok(valid) = u64::try_from(offset) else { return Err(corrupt("at least 0".to_owned())) };
        match self.previous {
            None if at == self.start && valid != 0 => return Err(corrupt("0".to_owned())),
            Some(previous) if valid <= previous => return Err(corrupt(format!("more than {previous}"))),
            Some(previous) if valid - previous < CHECKSUM_LENGTH => {
                return Err(corrupt(format!("at least {}", previous.saturating_add(CHECKSUM_LENGTH))));
            }
            _ => {}
        }
        self.previous = Some(valid);
        self.at += OFFSET_LENGTH;
        Ok(valid)
    }
}

impl<S: Source> Iterator for Offsets<S> {
    type Item = Result<u64, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let offset = self.read();
        if offset.is_err() {
            self.remaining = 0;
        }
        Some(offset)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utf(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    /// Writes as Cassandra does.
    fn encode(version: Version, info: &CompressionInfo, offsets: &[u64]) -> Vec<u8> {
        let mut bytes = utf(&info.compressor);
        bytes.extend(u32::try_from(info.options.len()).unwrap().to_be_bytes());
        for (key, value) in &info.options {
            bytes.extend([utf(key), utf(value)].concat());
        }
        bytes.extend(info.chunk_length.to_be_bytes());
        if version.has_max_compressed_length() {
            bytes.extend(info.max_compressed_length.to_be_bytes());
        }
        bytes.extend(info.data_length.to_be_bytes());
        bytes.extend(info.chunk_count.to_be_bytes());
        bytes.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
        bytes
    }

    /// One chunk with 173 bytes of data.
    fn example() -> CompressionInfo {
        CompressionInfo {
            compressor: "LZ4Compressor".into(),
            options: vec![],
            chunk_length: 0x4000,
            max_compressed_length: NO_MAXIMUM,
            data_length: 0xad,
            chunk_count: 1,
            offsets_at: 39,
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    }

    #[test]
    fn the_example_of_the_format_description() {
        let nb = [utf("LZ4Compressor"), hex("00000000 00004000 7fffffff 00000000000000ad 00000001 0000000000000000")];
        assert_eq!(CompressionInfo::parse(Version::NB, nb.concat().as_slice()).unwrap(), example());
        assert_eq!(encode(Version::NB, &example(), &[0]), nb.concat());
        let me = [utf("LZ4Compressor"), hex("00000000 00010000 00000000000000ad 00000001 0000000000000000")];
        let expected = CompressionInfo { chunk_length: 0x10000, offsets_at: 35, ..example() };
        assert_eq!(CompressionInfo::parse(Version::ME, me.concat().as_slice()).unwrap(), expected);
    }

    #[test]
    fn round_trip_over_windows() {
        let info = CompressionInfo {
            compressor: "com.example.Fast".into(),
            options: vec![("compression_level".into(), "3".into()), ("é".into(), String::new())],
            data_length: 30_000 * 0x4000 - 7,
            chunk_count: 30_001,
            offsets_at: 16 + 2 + 4 + 22 + 6 + 20,
            ..example()
        };
        let offsets: Vec<u64> = (0..30_001).map(|index| index * 9).collect();
        let bytes = encode(Version::OA, &info, &offsets);
        let mut got = CompressionInfo::parse(Version::OA, bytes.as_slice()).unwrap();
        assert_eq!(got.offsets(bytes.as_slice()).map(Result::unwrap).collect::<Vec<_>>(), offsets);
        assert_eq!(got.uncompressed_length(0), 0x4000);
        assert_eq!(got.uncompressed_length(29_999), 0x4000 - 7);
        assert_eq!(got.uncompressed_length(30_000), 0);
        got.offsets_at = info.offsets_at;
        assert_eq!(got, info);
    }

    #[test]
    fn headers() {
        #[track_caller]
        fn check(change: impl Fn(&mut CompressionInfo), expected: Result<(), &str>) {
            let mut info = example();
            change(&mut info);
            let bytes = encode(Version::NB, &info, &[0, 9][..(info.chunk_count as usize).min(2)]);
            let got = CompressionInfo::parse(Version::NB, bytes.as_slice());
            assert_eq!(got.map(drop).map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
        check(|info| info.chunk_count = 2, Ok(()));
        check(|info| info.data_length = 0, Ok(()));
        check(|info| info.chunk_count = 3, Err("at 35: chunk count: expected 1 to 2, got 3"));
        check(|info| info.chunk_count = 0, Err("at 35: chunk count: expected 1 to 2, got 0"));
        check(|info| info.chunk_count = u32::MAX, Err("at 35: chunk count: expected at least 0, got -1"));
        check(|info| info.chunk_length = 0, Err("at 19: chunk length: expected a power of two, got 0"));
        check(|info| info.chunk_length = 0x4001, Err("at 19: chunk length: expected a power of two, got 16385"));
        check(
            |info| info.max_compressed_length = 1 << 31,
            Err("at 23: max compressed length: expected at least 0, got -2147483648"),
        );
        check(|info| info.data_length = u64::MAX, Err("at 27: data length: expected at least 0, got -1"));
        check(
            |info| info.data_length = i64::MAX as u64,
            Err("at 35: chunk count: expected 562949953421312 to 562949953421313, got 1"),
        );
        let mut many = utf("LZ4Compressor");
        many.extend([0x7f, 0, 0, 0]);
        let error = CompressionInfo::parse(Version::NB, many.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "at 15: option count: expected at most 1024, got 2130706432");
    }

    #[test]
    fn the_file_ends_with_the_last_offset() {
        let bytes = encode(Version::NB, &example(), &[0]);
        for length in 0..bytes.len() {
            let error = CompressionInfo::parse(Version::NB, &bytes[..length]).unwrap_err();
            assert!(
                matches!(error, ReadError::Format(Error { kind: crate::Kind::Truncated, .. })),
                "{length}: {error}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        let error = CompressionInfo::parse(Version::NB, longer.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "at 47: end of file: expected 47, got 48");
    }

    #[test]
    fn a_header_has_a_bound() {
        let info = CompressionInfo { options: vec![("x".repeat(40_000), "y".repeat(40_000))], ..example() };
        let error = CompressionInfo::parse(Version::NB, encode(Version::NB, &info, &[0]).as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "at 40023: option value: expected an end before 65536, got 80023");
    }

    #[test]
    fn every_flipped_byte_is_refused_or_harmless() {
        let bytes = encode(Version::NB, &CompressionInfo { chunk_count: 2, ..example() }, &[0, 100]);
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[position] ^= 1 << bit;
                if let Ok(info) = CompressionInfo::parse(Version::NB, bytes.as_slice()) {
                    assert_eq!(info.offsets_at + u64::from(info.chunk_count) * 8, bytes.len() as u64);
                    let _ = info.offsets(bytes.as_slice()).count();
                }
            }
        }
    }

    #[test]
    fn offsets_ascend() {
        #[track_caller]
        fn check(offsets: &[u64], expected: Result<(), &str>) {
            let chunk_count = u32::try_from(offsets.len()).unwrap();
            let info = CompressionInfo { chunk_count, data_length: u64::from(chunk_count) * 0x4000, ..example() };
            let bytes = encode(Version::NB, &info, offsets);
            let info = CompressionInfo::parse(Version::NB, bytes.as_slice()).unwrap();
            let got = info.offsets(bytes.as_slice()).collect::<Result<Vec<_>, _>>();
            assert_eq!(got.map(drop).map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
        check(&[0, 4, 100], Ok(()));
        check(&[1], Err("at 39: chunk offset: expected 0, got 1"));
        check(&[0, 131_072, 65540], Err("at 55: chunk offset: expected more than 131072, got 65540"));
        check(&[0, 0], Err("at 47: chunk offset: expected more than 0, got 0"));
        check(&[0, 3], Err("at 47: chunk offset: expected at least 4, got 3"));
        check(&[0, 1 << 63], Err("at 47: chunk offset: expected at least 0, got -9223372036854775808"));
    }

    #[test]
    fn chunks() {
        let info = CompressionInfo { max_compressed_length: 200, ..example() };
        let contents = [b'x'; 173];
        let mut out = vec![1, 2, 3];
        info.decompress(0, &lz4_flex::block::compress_prepend_size(&contents), &mut out).unwrap();
        assert_eq!(out, contents);

        // Stored as it is, with zeros up to the limit.
        let mut raw = contents.to_vec();
        raw.resize(200, 0);
        info.decompress(0, &raw, &mut out).unwrap();
        assert_eq!(out, contents);

        // The empty chunk at the end of compacted files.
        let empty = hex("00000000 00");
        info.decompress(1, &empty, &mut out).unwrap();
        assert!(out.is_empty());
        assert_eq!(crate::checksum::crc32(&empty), 0xc622_f71d);
        let deflate = CompressionInfo { compressor: "DeflateCompressor".into(), ..example() };
        deflate.decompress(1, &[], &mut out).unwrap();

        let cut = CompressionInfo { max_compressed_length: 100, ..example() };
        assert!(cut.decompress(0, &raw[..150], &mut out).is_err());
        let plugin = CompressionInfo { compressor: "com.example.Fast".into(), ..example() };
        assert_eq!(plugin.decompress(0, &raw, &mut out).unwrap_err().kind, crate::Kind::Unsupported);
        let huge = CompressionInfo { chunk_length: 1 << 30, data_length: 1 << 30, ..example() };
        assert_eq!(huge.decompress(0, &raw, &mut out).unwrap_err().kind, crate::Kind::Unsupported);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_an_error(bytes: Vec<u8>) {
            let _ = CompressionInfo::parse(Version::NB, bytes.as_slice());
            let _ = CompressionInfo::parse(Version::MA, [utf("LZ4Compressor"), bytes].concat().as_slice());
        }
    }
}
