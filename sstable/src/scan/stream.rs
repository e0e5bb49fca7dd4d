//! The uncompressed bytes of `Data.db` from any position on, each proven by its checksum, in one contiguous buffer.
//!
//! ```text
//!          start            end
//!   read  |  unread        |  room for the next chunks
//! ```
//!
//! Chunks are decompressed, or read, to where they are used. What is unread is moved to the front before more is
//! loaded, once per some hundred kilobytes.

use std::ops::Range;

use crate::checksum::crc32;
use crate::chunks::Chunks;
use crate::component::Component;
use crate::compression_info::{CHECKSUM_LENGTH, CompressionInfo, Offsets};
use crate::compressor::Decompressor;
use crate::crc::Checksums;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::window::ReadError;

/// What is loaded at once: small beside the caches of a processor, large beside the cost of a read.
const LOAD_LENGTH: usize = 256 << 10;
/// What is loaded first at a new position: a lookup wants one partition.
const FIRST_LOAD_LENGTH: usize = 16 << 10;
/// Where the checksums of an uncompressed file are unknown, it is read in parts of this length.
const UNPROVEN_CHUNK_LENGTH: u64 = 64 << 10;
/// Largest part of an uncompressed file that is held for its checksum's sake. Cassandra's is 64 KiB.
const PLAIN_CHUNK_LENGTH_MAX: u64 = 64 << 20;

/// The bytes that rows are made of.
#[derive(Debug)]
pub(super) struct Stream<S> {
    data: S,
    map: Map<S>,
    /// Of the file, uncompressed.
    length: u64,
    chunk_length: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Of the byte at `start` in the uncompressed file.
    position: u64,
    /// The chunk that follows what is in the buffer.
    next_chunk: u64,
    /// Bytes of it that lie before `position`.
    lead: usize,
    load_length: usize,
    ahead: ReadAhead,
    decompressor: Decompressor,
}

/// Where chunks lie and what proves them.
#[derive(Debug)]
enum Map<S> {
    Compressed(CompressionInfo, Offsets<S>),
    Plain(Checksums<S>),
    Unproven,
}

impl<S: Source> Stream<S> {
    pub(super) fn new(data: S, chunks: Chunks<S>) -> Result<Self> {
        let (length, chunk_length, map) = match chunks {
            Chunks::Compressed(info, source) => {
                let offsets = info.offsets(source);
                (info.data_length, u64::from(info.chunk_length), Map::Compressed(info, offsets))
            }
            Chunks::Plain(file, source) => {
                let chunk_length = u64::from(file.chunk_length);
                if chunk_length > PLAIN_CHUNK_LENGTH_MAX {
                    let expected = format_args!("at most {PLAIN_CHUNK_LENGTH_MAX}");
                    let error = Error::unsupported(0, "chunk length", expected, chunk_length);
                    return Err(error.in_component(Component::Crc));
                }
                (data.len(), chunk_length, Map::Plain(file.checksums(source)))
            }
            Chunks::Unknown => (data.len(), UNPROVEN_CHUNK_LENGTH, Map::Unproven),
        };
        Ok(Self {
            data,
            map,
            length,
            chunk_length,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            position: 0,
            next_chunk: 0,
            lead: 0,
            load_length: FIRST_LOAD_LENGTH,
            ahead: ReadAhead::default(),
            decompressor: Decompressor::default(),
        })
    }

    /// Uncompressed length of the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity() + self.ahead.bytes.capacity()
    }

    /// Of the next unread byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The unread bytes at hand.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes bytes off the front of [`Self::rest`].
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.unread());
        self.start += count;
        self.position += count as u64;
    }

    /// Goes to a position; nothing is read yet.
    pub(super) fn seek(&mut self, position: u64) {
        let forward = position.checked_sub(self.position).and_then(|forward| usize::try_from(forward).ok());
        if let Some(forward) = forward.filter(|&forward| forward < self.unread()) {
            self.consume(forward);
            return;
        }
        self.start = 0;
        self.end = 0;
        self.position = position;
        self.next_chunk = position / self.chunk_length;
        self.lead = usize::try_from(position % self.chunk_length).unwrap_or_default();
        self.load_length = FIRST_LOAD_LENGTH;
    }

    /// Steps over bytes, which are proven like all others; false if the file ends before.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<bool, ReadError> {
        loop {
            let taken = usize::try_from(count).unwrap_or(usize::MAX).min(self.unread());
            self.consume(taken);
            count -= taken as u64;
            if count == 0 {
                return Ok(true);
            }
            if !self.fill(1)? {
                return Ok(false);
            }
        }
    }

    /// Sees to it that `needed` bytes are at hand; false if the file has no more. Damage further on is none yet.
    pub(super) fn fill(&mut self, needed: usize) -> Result<bool, ReadError> {
        if self.unread() >= needed {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end = self.unread();
        self.start = 0;
        let target = needed.max(self.load_length);
        self.load_length = (2 * self.load_length).min(LOAD_LENGTH);
        while self.unread() < target {
            match self.load(target) {
                Ok(true) => {}
                Ok(false) => break,
                // It comes up again when its bytes are needed.
                Err(_) if self.unread() >= needed => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.unread() >= needed)
    }

    fn unread(&self) -> usize {
        self.end - self.start
    }

    /// Appends at least one chunk; false if there is none.
    fn load(&mut self, target: usize) -> Result<bool, ReadError> {
        let chunk_start = self.next_chunk.saturating_mul(self.chunk_length);
        if chunk_start >= self.length {
            return Ok(false);
        }
        let loaded = match &mut self.map {
            Map::Compressed(info, offsets) => {
                let chunk = self.next_chunk;
                let size = info.chunk_size(chunk).map_err(in_compression_info)?;
                let stored = stored_range(info, offsets, chunk, self.data.len())?;
                let stored = self.ahead.get(&self.data, stored, self.load_length)?;
                let out = room(&mut self.buffer, self.end, size);
                decompress(info, &mut self.decompressor, stored, out)?;
                out.len()
            }
            Map::Plain(checksums) => {
                let left = self.length - chunk_start;
                let chunk_count = (target as u64 / self.chunk_length).max(1);
                let length = chunk_count.saturating_mul(self.chunk_length).min(left);
                let out = room(&mut self.buffer, self.end, usize::try_from(length).unwrap_or_default());
                self.data.read_at(chunk_start, out)?;
                checksums.seek(self.next_chunk);
                let chunk_length = usize::try_from(self.chunk_length).unwrap_or(usize::MAX);
                proven_length(chunk_start, out.chunks(chunk_length), checksums)?
            }
            Map::Unproven => {
                let length = (self.length - chunk_start).min(self.chunk_length);
                let out = room(&mut self.buffer, self.end, usize::try_from(length).unwrap_or_default());
                self.data.read_at(chunk_start, out)?;
                out.len()
            }
        };
        self.next_chunk += (loaded as u64).div_ceil(self.chunk_length);
        self.end += loaded;
        self.start = (self.start + std::mem::take(&mut self.lead)).min(self.end);
        Ok(true)
    }
}

/// Where a chunk is stored, with its checksum.
fn stored_range<S: Source>(
    info: &CompressionInfo,
    offsets: &mut Offsets<S>,
    chunk: u64,
    file_length: u64,
) -> Result<Range<u64>, ReadError> {
    offsets.seek(chunk);
    let mut next = || match offsets.next() {
        Some(Err(ReadError::Format(error))) => Err(ReadError::Format(in_compression_info(error))),
        other => other.transpose(),
    };
    // There are as many offsets as chunks with data, or parsing would have failed.
    let start = next()?.unwrap_or(file_length);
    let end = next()?.unwrap_or(file_length);
    let needed = end.max(start.saturating_add(CHECKSUM_LENGTH));
    if needed > file_length {
        let expected = format_args!("a file of at least {needed} bytes");
        return Err(in_data(Error::corrupt(start, "chunk past the end", expected, file_length)));
    }
    let length_max = info.stored_length_max() + CHECKSUM_LENGTH;
    if end - start > length_max {
        let expected = format_args!("at most {length_max}");
        return Err(in_data(Error::corrupt(start, "length of a chunk", expected, end - start)));
    }
    Ok(start..end)
}

fn decompress(
    info: &CompressionInfo,
    decompressor: &mut Decompressor,
    stored: StoredChunk<'_>,
    out: &mut [u8],
) -> Result<(), ReadError> {
    let StoredChunk { offset, bytes } = stored;
    let Some((body, checksum)) = bytes.split_last_chunk() else {
        return Err(in_data(Error::truncated(offset, "chunk checksum", CHECKSUM_LENGTH, bytes.len() as u64)));
    };
    check_crc(offset, u32::from_be_bytes(*checksum), body)?;
    info.decompress_into(decompressor, body, out)
        .map_err(|error| in_data(Error { offset: offset + error.offset, ..error }))
}

/// Length of the chunks up to the first one that is damaged; an error if that is the very first.
fn proven_length<'a, S: Source>(
    mut offset: u64,
    chunks: impl Iterator<Item = &'a [u8]>,
    checksums: &mut Checksums<S>,
) -> Result<usize, ReadError> {
    let mut proven = 0;
    for chunk in chunks {
        let checked = match checksums.next().transpose()? {
            Some(checksum) => check_crc(offset, checksum, chunk),
            None => {
                let expected = format_args!("one for the chunk at {offset} of Data.db");
                Err(Error::corrupt(0, "number of checksums", expected, "none").in_component(Component::Crc).into())
            }
        };
        match checked {
            Ok(()) => proven += chunk.len(),
            Err(_) if proven > 0 => break,
            Err(error) => return Err(error),
        }
        offset += chunk.len() as u64;
    }
    Ok(proven)
}

fn check_crc(offset: u64, expected: u32, bytes: &[u8]) -> Result<(), ReadError> {
    let got = crc32(bytes);
    if expected == got {
        return Ok(());
    }
    let [expected, got] = [expected, got].map(|crc| format!("{crc:08x}"));
    Err(in_data(Error::corrupt(offset, "chunk checksum", expected, got)))
}

fn in_data(error: Error) -> ReadError {
    ReadError::Format(error.in_component(Component::Data))
}

fn in_compression_info(error: Error) -> Error {
    error.in_component(Component::CompressionInfo)
}

/// The part of a buffer behind `end`, made long enough.
fn room(buffer: &mut Vec<u8>, end: usize, length: usize) -> &mut [u8] {
    let needed = end + length;
    if buffer.len() < needed {
        buffer.resize(needed, 0);
    }
    buffer.get_mut(end..needed).unwrap_or_default()
}

/// Stored bytes of a compressed file, more than one chunk per read.
#[derive(Debug, Default)]
struct ReadAhead {
    bytes: Vec<u8>,
    /// Of the first of them in the file.
    offset: u64,
}

/// A chunk as it lies in the file, with its checksum.
struct StoredChunk<'a> {
    offset: u64,
    bytes: &'a [u8],
}

impl ReadAhead {
    /// The bytes of a range within the file; what is read for it goes beyond, up to `length_wanted` in all.
    fn get(
        &mut self,
        source: &impl Source,
        range: Range<u64>,
        length_wanted: usize,
    ) -> Result<StoredChunk<'_>, ReadError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let held = range.start.checked_sub(self.offset).and_then(|skipped| usize::try_from(skipped).ok());
        let at = match held.filter(|&at| at < self.bytes.len()) {
            Some(at) if length <= self.bytes.len() - at => at,
            held => {
                // What is there of the chunk stays.
                let kept_from = held.unwrap_or(self.bytes.len());
                let kept = self.bytes.len() - kept_from;
                self.bytes.copy_within(kept_from.., 0);
                let left = usize::try_from(source.len() - range.start).unwrap_or(usize::MAX);
                self.bytes.resize(length_wanted.min(left).max(length), 0);
                self.offset = range.start;
                let missing = self.bytes.get_mut(kept..).unwrap_or_default();
                if let Err(error) = source.read_at(range.start + kept as u64, missing) {
                    self.bytes.clear();
                    return Err(error.into());
                }
                0
            }
        };
        let bytes = self.bytes.get(at..).and_then(|rest| rest.get(..length)).unwrap_or_default();
        Ok(StoredChunk { offset: range.start, bytes })
    }
}
