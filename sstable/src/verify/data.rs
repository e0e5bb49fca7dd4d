//! Checks `Data.db` while its bytes go past: every chunk against its checksum, the whole against the digest.
//!
//! The bytes are pushed in, in slices of any size, by whoever reads them anyway. They are gone through once: the
//! checksum of the whole file is put together from those of the chunks. Nothing is decompressed. What is read beside
//! is the list of chunks, through a window.

use std::io;

use crate::checksum::Crc32;
use crate::chunks::Chunks;
use crate::component::Component;
use crate::compression_info::{CHECKSUM_LENGTH, Offsets};
use crate::crc::{Checksums, CrcFile};
use crate::digest::Digest;
use crate::source::Source;
use crate::verify::report::Finding;
use crate::window::ReadError;

/// Number of findings kept of one file: beyond that it is the disk, not a chunk.
const FINDINGS_MAX: usize = 64;
/// Longest first chunk that is kept.
const FIRST_CHUNK_LENGTH_MAX: u64 = 1 << 20;

/// What became of a `Data.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataReport {
    /// Number of bytes pushed.
    pub length: u64,
    /// CRC32 of all of them.
    pub crc: u32,
    /// The damage, in the order of the file; not all, if there is much.
    pub findings: Vec<Finding>,
    /// Number of findings beyond those kept.
    pub findings_dropped: u64,
    /// The stored bytes of the first chunk without its checksum, so that the first key can be looked at. `None` if the
    /// chunk is damaged or longer than 1 MiB.
    pub first_chunk: Option<Vec<u8>>,
}

/// Takes the bytes of one `Data.db` from the first to the last.
#[derive(Debug)]
pub struct DataVerifier<S> {
    map: Map<S>,
    digest: Option<Digest>,
    /// Of the file, as its directory says.
    length: u64,
    /// Number of bytes pushed.
    position: u64,
    chunk: Option<Chunk>,
    /// Of the file up to the current chunk.
    file: Crc32,
    /// Of the current chunk.
    part: Crc32,
    first_chunk: Option<Vec<u8>>,
    findings: Vec<Finding>,
    findings_dropped: u64,
}

/// Where the next chunk is to be learnt from.
#[derive(Debug)]
enum Map<S> {
    Compressed {
        offsets: Offsets<S>,
        has_begun: bool,
        /// No other chunk follows the current one.
        is_last: bool,
    },
    Plain {
        file: CrcFile,
        checksums: Checksums<S>,
    },
    /// Nowhere, or no more: what remains belongs to no chunk.
    Lost,
}

/// The chunk that the next byte belongs to.
#[derive(Debug)]
struct Chunk {
    start: u64,
    /// End of the bytes that the checksum covers.
    body_end: u64,
    end: u64,
    checksum: Expected,
}

#[derive(Debug)]
enum Expected {
    /// Known from `CRC.db`.
    Known(u32),
    /// In the last bytes of the chunk, of which some may have come.
    Inline { bytes: [u8; CHECKSUM_LENGTH as usize], filled: usize },
}

impl<S: Source> DataVerifier<S> {
    /// For a file of `length` bytes. A digest that could not be read is `None`, like one that is not there.
    pub fn new(chunks: Chunks<S>, length: u64, digest: Option<Digest>) -> Self {
        let mut findings = Vec::new();
        let map = match chunks {
            Chunks::Compressed(info, source) => {
                Map::Compressed { offsets: info.offsets(source), has_begun: false, is_last: false }
            }
            Chunks::Plain(file, source) => {
                let (needed, got) = (file.chunk_count(length), file.checksum_count);
                // One more is the checksum of nothing, see `finish`.
                if got < needed || got > needed.saturating_add(1) {
                    findings.push(Finding::damage(Component::Crc, None, "number of checksums", needed, got));
                }
                Map::Plain { file, checksums: file.checksums(source) }
            }
            Chunks::Unknown => Map::Lost,
        };
        Self {
            map,
            digest,
            length,
            position: 0,
            chunk: None,
            file: Crc32::new(),
            part: Crc32::new(),
            first_chunk: None,
            findings,
            findings_dropped: 0,
        }
    }

    /// The next bytes of the file. Damage goes into the report; an error is one of the source of the chunks.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.chunk.is_none() {
                self.chunk = self.next_chunk()?;
            }
            let Some(chunk) = &mut self.chunk else {
                self.file.update(bytes);
                self.position += bytes.len() as u64;
                return Ok(());
            };
            if let Some(body) = split_to(&mut bytes, chunk.body_end.saturating_sub(self.position)) {
                self.part.update(body);
                self.position += body.len() as u64;
                // Allocated once, for the first chunk; no other starts at 0.
                if chunk.start == 0 && chunk.body_end <= FIRST_CHUNK_LENGTH_MAX {
                    self.first_chunk.get_or_insert_default().extend_from_slice(body);
                }
            }
            if let Expected::Inline { bytes: checksum, filled } = &mut chunk.checksum
                && self.position >= chunk.body_end
                && let Some(tail) = split_to(&mut bytes, chunk.end.saturating_sub(self.position))
            {
                for (to, from) in checksum.iter_mut().skip(*filled).zip(tail) {
                    *to = *from;
                }
                *filled += tail.len();
                self.position += tail.len() as u64;
            }
            if self.position == chunk.end {
                self.finish_chunk();
            }
        }
        Ok(())
    }

    /// After the last byte: what was found.
    pub fn finish(mut self) -> io::Result<DataReport> {
        if let Some(Chunk { start, .. }) = self.chunk {
            if start == 0 {
                self.first_chunk = None;
            }
            self.close_part();
        }
        if self.position == self.length {
            self.check_end_of_map()?;
        } else {
            self.report(Finding::damage(Component::Data, None, "length", self.length, self.position));
        }
        let crc = self.file.value();
        if let Some(Digest(expected)) = self.digest.filter(|digest| digest.0 != crc) {
            self.report(Finding::damage(Component::Data, None, "digest", expected, crc));
        }
        let Self { position: length, findings, findings_dropped, first_chunk, .. } = self;
        Ok(DataReport { length, crc, findings, findings_dropped, first_chunk })
    }

    /// The chunk that starts here; `None` if there is none, or if that cannot be told.
    fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let start = self.position;
        if start >= self.length {
            return Ok(None);
        }
        match &mut self.map {
            Map::Lost => Ok(None),
            Map::Plain { file, checksums } => {
                let Some(checksum) = checksums.next().transpose()? else {
                    self.map = Map::Lost;
                    return Ok(None);
                };
                let end = start.saturating_add(u64::from(file.chunk_length)).min(self.length);
                Ok(Some(Chunk { start, body_end: end, end, checksum: Expected::Known(checksum) }))
            }
            Map::Compressed { offsets, has_begun, is_last } => {
                // The first offset is 0 or an error, and after an error there are no more.
                let first = if *has_begun { Ok(None) } else { offsets.next().transpose() };
                *has_begun = true;
                let end = match first.and_then(|_| offsets.next().transpose()) {
                    Ok(Some(offset)) => offset,
                    Ok(None) => {
                        *is_last = true;
                        self.length
                    }
                    Err(ReadError::Io(error)) => return Err(error),
                    Err(ReadError::Format(error)) => {
                        self.lose(Finding::from_error(Component::CompressionInfo, error));
                        return Ok(None);
                    }
                };
                let body_end = end.saturating_sub(CHECKSUM_LENGTH);
                if end > self.length || body_end < start {
                    let needed = end.max(start.saturating_add(CHECKSUM_LENGTH));
                    self.lose(chunk_past_the_end(start, needed, self.length));
                    return Ok(None);
                }
                let checksum = Expected::Inline { bytes: [0; CHECKSUM_LENGTH as usize], filled: 0 };
                Ok(Some(Chunk { start, body_end, end, checksum }))
            }
        }
    }

    /// What follows cannot be assigned to chunks any more.
    fn lose(&mut self, finding: Finding) {
        self.report(finding);
        self.map = Map::Lost;
    }

    fn finish_chunk(&mut self) {
        let Some(chunk) = &self.chunk else { return };
        let (start, got) = (chunk.start, self.part.value());
        let expected = match chunk.checksum {
            Expected::Known(checksum) => checksum,
            Expected::Inline { bytes, .. } => u32::from_be_bytes(bytes),
        };
        if expected != got {
            if start == 0 {
                self.first_chunk = None;
            }
            let [expected, got] = [expected, got].map(|crc| format!("{crc:08x}"));
            self.report(Finding::damage(Component::Data, start, "chunk checksum", expected, got));
        }
        self.close_part();
    }

    /// Appends the checksum of the chunk, complete or not, to that of the file.
    fn close_part(&mut self) {
        if let Some(Chunk { checksum: Expected::Inline { bytes, filled }, .. }) = self.chunk.take() {
            self.part.update(bytes.get(..filled).unwrap_or_default());
        }
        self.file.combine(&self.part);
        self.part.reset();
    }

    /// The file has ended where it should; so must the list of its chunks.
    fn check_end_of_map(&mut self) -> io::Result<()> {
        match &mut self.map {
            Map::Lost => {}
            Map::Plain { file, checksums } => {
                let needed = file.chunk_count(self.length);
                let extra = if file.checksum_count > needed { checksums.next().transpose()? } else { None };
                if let Some(extra) = extra.filter(|&extra| extra != 0) {
                    let offset = needed.saturating_mul(4).saturating_add(4);
                    self.report(Finding::damage(Component::Crc, offset, "checksum after the last", 0, extra));
                }
            }
            Map::Compressed { is_last: true, .. } => {}
            Map::Compressed { .. } => {
                let expected = self.length.saturating_add(CHECKSUM_LENGTH);
                self.lose(chunk_past_the_end(self.length, expected, self.length));
            }
        }
        Ok(())
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_dropped += 1;
        }
    }
}

fn chunk_past_the_end(start: u64, needed: u64, length: u64) -> Finding {
    let expected = format_args!("a file of at least {needed} bytes");
    Finding::damage(Component::Data, start, "chunk past the end", expected, length)
}

/// Takes up to `length` bytes off the front; `None` if that is none.
fn split_to<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    let (front, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    (!front.is_empty()).then_some(front)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::crc32;
    use crate::compression_info::CompressionInfo;
    use crate::version::Version;

    /// A compressed `Data.db` of chunks with these stored bytes, its `CompressionInfo.db` and its digest.
    fn compressed(chunks: &[&[u8]]) -> (Vec<u8>, Vec<u8>, Digest) {
        let mut data = Vec::new();
        let mut offsets = Vec::new();
        for chunk in chunks {
            offsets.extend((data.len() as u64).to_be_bytes());
            data.extend_from_slice(chunk);
            data.extend(crc32(chunk).to_be_bytes());
        }
        let count = u32::try_from(chunks.len()).unwrap();
        let mut info = b"\0\x0eNoopCompressor\0\0\0\0\0\0\x40\0\x7f\xff\xff\xff".to_vec();
        info.extend((u64::from(count) * 0x4000).to_be_bytes());
        info.extend(count.to_be_bytes());
        info.extend(offsets);
        let digest = Digest(crc32(&data));
        (data, info, digest)
    }

    /// An uncompressed `Data.db` in chunks of 16 bytes, its `CRC.db` and its digest.
    fn plain(data: &[u8]) -> (Vec<u8>, Digest) {
        let mut crc = 16_u32.to_be_bytes().to_vec();
        crc.extend(data.chunks(16).flat_map(|chunk| crc32(chunk).to_be_bytes()));
        (crc, Digest(crc32(data)))
    }

    fn compressed_map(info: &[u8]) -> Chunks<&[u8]> {
        Chunks::Compressed(CompressionInfo::parse(Version::NB, info).unwrap(), info)
    }

    fn plain_map(crc: &[u8]) -> Chunks<&[u8]> {
        Chunks::Plain(CrcFile::parse(crc).unwrap(), crc)
    }

    fn verify(chunks: Chunks<&[u8]>, data: &[u8], digest: Option<Digest>) -> DataReport {
        let mut reports = [1, 3, 7, 4096].map(|slice| {
            let chunks = match &chunks {
                Chunks::Compressed(info, source) => Chunks::Compressed(info.clone(), *source),
                Chunks::Plain(file, source) => Chunks::Plain(*file, *source),
                Chunks::Unknown => Chunks::Unknown,
            };
            let mut verifier = DataVerifier::new(chunks, data.len() as u64, digest);
            data.chunks(slice).for_each(|slice| verifier.push(slice).unwrap());
            verifier.finish().unwrap()
        });
        reports.rotate_left(1);
        let [report, others @ ..] = reports;
        assert!(others.iter().all(|other| *other == report), "the slices make a difference");
        assert_eq!((report.length, report.crc), (data.len() as u64, crc32(data)));
        report
    }

    #[track_caller]
    fn check(report: &DataReport, expected: &[&str]) {
        let got: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert_eq!(got, expected);
    }

    const PARTS: [&[u8]; 4] = [b"first chunk", b"second", b"the third chunk", b"\0\0\0\0\0"];

    #[test]
    fn sound_files() {
        let (data, info, digest) = compressed(&PARTS);
        let report = verify(compressed_map(&info), &data, Some(digest));
        check(&report, &[]);
        assert_eq!(report.first_chunk.as_deref(), Some(PARTS[0]));

        // An empty chunk without any stored byte: Noop at the end of a compaction.
        let (data, info, digest) = compressed(&[b"x", b""]);
        check(&verify(compressed_map(&info), &data, Some(digest)), &[]);

        for length in [0, 1, 15, 16, 17, 32, 100] {
            let data: Vec<u8> = (0..length).collect();
            let (mut crc, digest) = plain(&data);
            let report = verify(plain_map(&crc), &data, Some(digest));
            check(&report, &[]);
            assert_eq!(report.first_chunk.as_deref(), data.chunks(16).next());
            // The checksum of nothing.
            crc.extend([0; 4]);
            check(&verify(plain_map(&crc), &data, Some(digest)), &[]);
        }

        let report = verify(Chunks::Unknown, b"anything", Some(Digest(crc32(b"anything"))));
        check(&report, &[]);
        assert_eq!(report.first_chunk, None);
    }

    #[test]
    fn damaged_compressed_files() {
        let (data, info, digest) = compressed(&PARTS);
        let mut flipped = data.clone();
        flipped[20] ^= 1;
        let report = verify(compressed_map(&info), &flipped, Some(digest));
        let (stored, computed) = (crc32(PARTS[1]), crc32(&flipped[15..21]));
        check(
            &report,
            &[
                &format!("Data.db at 15: chunk checksum: expected {stored:08x}, got {computed:08x}"),
                &format!("Data.db: digest: expected {digest}, got {}", report.crc),
            ],
        );
        assert!(report.first_chunk.is_some());

        let mut first = data.clone();
        first[0] ^= 1;
        assert_eq!(verify(compressed_map(&info), &first, None).first_chunk, None);

        check(
            &verify(compressed_map(&info), &data[..24], None),
            &["Data.db at 15: chunk past the end: expected a file of at least 25 bytes, got 24"],
        );
        check(
            &verify(compressed_map(&info), &data[..25], None),
            &["Data.db at 25: chunk past the end: expected a file of at least 29 bytes, got 25"],
        );
        check(
            &verify(compressed_map(&info), &data[..44], None),
            &["Data.db at 44: chunk past the end: expected a file of at least 48 bytes, got 44"],
        );
        check(
            &verify(compressed_map(&info), &data[..46], None),
            &["Data.db at 44: chunk past the end: expected a file of at least 48 bytes, got 46"],
        );
        check(
            &verify(compressed_map(&info), b"", None),
            &["Data.db at 0: chunk past the end: expected a file of at least 4 bytes, got 0"],
        );

        let mut disordered = info.clone();
        let at = info.len() - 16;
        disordered[at..at + 8].copy_from_slice(&14_u64.to_be_bytes());
        check(
            &verify(compressed_map(&disordered), &data, None),
            &[&format!("CompressionInfo.db at {at}: chunk offset: expected more than 15, got 14")],
        );
    }

    #[test]
    fn damaged_plain_files() {
        let data: Vec<u8> = (0..40).collect();
        let (crc, digest) = plain(&data);
        let mut flipped = data.clone();
        flipped[39] ^= 0x80;
        let report = verify(plain_map(&crc), &flipped, Some(digest));
        let (stored, computed) = (crc32(&data[32..]), crc32(&flipped[32..]));
        check(
            &report,
            &[
                &format!("Data.db at 32: chunk checksum: expected {stored:08x}, got {computed:08x}"),
                &format!("Data.db: digest: expected {digest}, got {}", report.crc),
            ],
        );
        check(&verify(plain_map(&crc[..12]), &data, Some(digest)), &["CRC.db: number of checksums: expected 3, got 2"]);
        let longer = [crc.as_slice(), &[0; 8]].concat();
        check(&verify(plain_map(&longer), &data, Some(digest)), &["CRC.db: number of checksums: expected 3, got 5"]);
        let extra = [crc.as_slice(), &[0, 0, 0, 9]].concat();
        check(
            &verify(plain_map(&extra), &data, Some(digest)),
            &["CRC.db at 16: checksum after the last: expected 0, got 9"],
        );
    }

    #[test]
    fn other_lengths_than_announced() {
        let (data, info, digest) = compressed(&PARTS);
        for (pushed, announced) in [(data.len() - 1, data.len()), (15, data.len()), (0, data.len())] {
            let mut verifier = DataVerifier::new(compressed_map(&info), announced as u64, Some(digest));
            verifier.push(&data[..pushed]).unwrap();
            let report = verifier.finish().unwrap();
            assert_eq!((report.crc, report.length), (crc32(&data[..pushed]), pushed as u64));
            check(
                &report,
                &[
                    &format!("Data.db: length: expected {announced}, got {pushed}"),
                    &format!("Data.db: digest: expected {digest}, got {}", report.crc),
                ],
            );
        }
        let mut verifier = DataVerifier::new(compressed_map(&info), data.len() as u64, Some(digest));
        verifier.push(&[data.as_slice(), b"more"].concat()).unwrap();
        let report = verifier.finish().unwrap();
        assert_eq!(report.findings.len(), 2);
        assert_eq!(report.length, data.len() as u64 + 4);
    }

    #[test]
    fn findings_are_bounded() {
        let data = vec![7; 16 * 100];
        let (mut crc, _) = plain(&data);
        crc[4..].fill(1);
        let report = verify(plain_map(&crc), &data, None);
        assert_eq!((report.findings.len(), report.findings_dropped), (64, 36));
    }

    #[test]
    fn a_long_first_chunk_is_not_kept() {
        let long = vec![7; (1 << 20) + 1];
        for (length, is_kept) in [(1 << 20, true), ((1 << 20) + 1, false)] {
            let (data, info, _) = compressed(&[&long[..length]]);
            let mut verifier = DataVerifier::new(compressed_map(&info), data.len() as u64, None);
            verifier.push(&data).unwrap();
            assert_eq!(verifier.finish().unwrap().first_chunk.is_some(), is_kept);
        }
    }

    #[test]
    fn a_failing_source_is_no_finding() {
        struct Failing;
        impl Source for Failing {
            fn len(&self) -> u64 {
                8
            }
            fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
                Err(io::ErrorKind::Other.into())
            }
        }
        let chunks = Chunks::Plain(CrcFile { chunk_length: 16, checksum_count: 1 }, Failing);
        assert_eq!(DataVerifier::new(chunks, 1, None).push(b"x").unwrap_err().kind(), io::ErrorKind::Other);
    }

    #[test]
    fn every_flipped_byte_is_found_without_a_digest() {
        let (data, info, _) = compressed(&PARTS);
        let (crc, _) = plain(&data);
        for position in 0..data.len() {
            for bit in 0..8 {
                let mut data = data.clone();
                data[position] ^= 1 << bit;
                assert_eq!(verify(compressed_map(&info), &data, None).findings.len(), 1, "byte {position}");
                assert_eq!(verify(plain_map(&crc), &data, None).findings.len(), 1, "byte {position}");
            }
        }
    }

    #[test]
    fn every_cut_file_is_found_without_a_digest() {
        let (data, info, _) = compressed(&PARTS);
        let (crc, _) = plain(&data);
        for length in 0..data.len() {
            // The zeros of the empty chunk, cut to four, are the checksum of nothing: a sound chunk, and no data is
            // lost.
            let is_sound = length == 48;
            assert_eq!(verify(compressed_map(&info), &data[..length], None).findings.is_empty(), is_sound, "{length}");
            assert!(!verify(plain_map(&crc), &data[..length], None).findings.is_empty(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_chunks_verify(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let (data, info, digest) = compressed(&chunks);
            check(&verify(compressed_map(&info), &data, Some(digest)), &[]);
        }

        #[test]
        fn any_offsets_do_no_harm(offsets in prop::collection::vec(0..100_u64, 1..6), data: Vec<u8>) {
            let (_, mut info, _) = compressed(&vec![&b""[..]; offsets.len()]);
            let at = info.len() - offsets.len() * 8;
            info.truncate(at);
            info.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
            verify(compressed_map(&info), &data, None);
        }
    }
}
