//! `Index.db`: where in `Data.db` each partition starts, in file order and without gaps.
//!
//! ```text
//! sbytes key | uvint position in Data.db | uvint size of the row index | row index      per partition
//! ```
//!
//! Nothing but its structure protects this file: an index that is walked to its exact end, with positions that only
//! grow, is all the proof there is. Row indexes are stepped over by their size; [`super::row_index`] decodes them.

use std::ops::Range;

use crate::component::Component;
use crate::cql::wire::{Reader, hex};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::verify::report::Finding;
use crate::window::ReadError;

/// A broken index can be wrong in every entry; the first few tell as much.
const FINDINGS_MAX: usize = 16;

/// What a walk over the whole file has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFacts {
    /// Partitions.
    pub entries: u64,
    /// Key of the first entry; empty if there is none.
    pub first_key: Vec<u8>,
    /// Key of the last entry; empty if there is none.
    pub last_key: Vec<u8>,
    /// Where in the uncompressed `Data.db` the last partition starts.
    pub last_position: u64,
    /// At most 16, the first ones.
    pub findings: Vec<Finding>,
}

impl IndexFacts {
    /// True if the walk came to the end and found nothing wrong, so that the other fields are worth comparing.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Walks an `Index.db` that is pushed to it piece by piece. Keeps two keys and the head of one entry, however big the
/// file is.
#[derive(Debug)]
pub struct IndexWalker {
    file_length: u64,
    data_length: Option<u64>,
    /// Offset in the file of the next byte that will be pushed.
    offset: u64,
    /// Start of an entry whose head has not been pushed completely: less than 64 KiB and 20 bytes.
    head: Vec<u8>,
    /// Bytes of a row index yet to come.
    skip: u64,
    /// The structure is lost: nothing that follows means anything.
    is_lost: bool,
    facts: IndexFacts,
}

impl IndexWalker {
    /// `file_length` is that of `Index.db`, `data_length` the uncompressed length of `Data.db` where it is known.
    pub fn new(file_length: u64, data_length: Option<u64>) -> Self {
        let facts = IndexFacts {
            entries: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
            last_position: 0,
            findings: Vec::new(),
        };
        Self { file_length, data_length, offset: 0, head: Vec::new(), skip: 0, is_lost: false, facts }
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.is_lost {
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                return;
            }
            if self.skip > 0 {
                let count = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
                self.skip -= count as u64;
                self.advance(&mut bytes, count);
                continue;
            }
            match head_length(&self.head, bytes) {
                Ok(length) => {
                    let start = self.offset - self.head.len() as u64;
                    let count = length - self.head.len();
                    let Some(rest_of_head) = bytes.get(..count) else { return };
                    let kept = std::mem::take(&mut self.head);
                    self.advance(&mut bytes, count);
                    if kept.is_empty() {
                        self.entry(rest_of_head, start);
                        self.head = kept;
                    } else {
                        let mut head = kept;
                        head.extend_from_slice(rest_of_head);
                        self.entry(&head, start);
                        // Its memory serves the next head that arrives in two pieces.
                        head.clear();
                        self.head = head;
                    }
                }
                Err(Incomplete) => {
                    self.head.extend_from_slice(bytes);
                    let count = bytes.len();
                    self.advance(&mut bytes, count);
                }
            }
        }
    }

    /// Ends the walk, once the whole file was pushed.
    pub fn finish(mut self) -> IndexFacts {
        if self.offset != self.file_length {
            let expected = format_args!("{} bytes", self.file_length);
            self.add(Finding::damage(Component::Index, self.offset, "length of the file", expected, self.offset));
        } else if !self.head.is_empty() {
            let start = self.offset - self.head.len() as u64;
            let got = format_args!("the end of the file after {} bytes", self.head.len());
            self.add(Finding::damage(Component::Index, start, "index entry", "a complete one", got));
        } else if self.facts.entries == 0 && !self.is_lost {
            self.add(Finding::damage(Component::Index, 0, "number of entries", "1 or more", 0));
        }
        self.facts
    }

    fn advance(&mut self, bytes: &mut &[u8], count: usize) {
        *bytes = bytes.get(count..).unwrap_or_default();
        self.offset = self.offset.saturating_add(count as u64);
    }

    fn add(&mut self, finding: Finding) {
        if self.facts.findings.len() < FINDINGS_MAX {
            self.facts.findings.push(finding);
        }
    }

    /// `head` is a whole one, so decoding cannot fail; `self.offset` is its end already.
    fn entry(&mut self, head: &[u8], start: u64) {
        let Ok(Head { key, position, row_index_size }) = Head::read(head, start) else {
            self.is_lost = true;
            return;
        };
        let end = self.offset;
        let damage = |what, expected: String, got: u64| Finding::damage(Component::Index, start, what, expected, got);
        let follows = self.facts.entries > 0;
        if follows && position <= self.facts.last_position {
            let expected = format!("more than {}", self.facts.last_position);
            self.add(damage("position in Data.db", expected, position));
        } else if !follows && position != 0 {
            self.add(damage("position of the first partition in Data.db", "0".to_owned(), position));
        } else if let Some(data_length) = self.data_length
            && position >= data_length
        {
            self.add(damage("position in Data.db", format!("less than {data_length}"), position));
        }
        if follows && key == self.facts.last_key {
            let expected = "another one than the entry before has";
            self.add(Finding::damage(Component::Index, start, "key", expected, hex(key)));
        }
        let left = self.file_length.saturating_sub(end);
        if row_index_size > left {
            self.add(damage("size of the row index", format!("at most {left}, what is left"), row_index_size));
            self.is_lost = true;
        }
        self.skip = row_index_size;
        if !follows {
            self.facts.first_key = key.to_vec();
        }
        self.facts.last_key.clear();
        self.facts.last_key.extend_from_slice(key);
        self.facts.last_position = position;
        self.facts.entries += 1;
    }
}

struct Head<'a> {
    key: &'a [u8],
    position: u64,
    row_index_size: u64,
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8], offset: u64) -> Result<Self, Error> {
        Self::read_from(&mut Reader::new(bytes, offset))
    }

    fn read_from(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            key: reader.sbytes("key")?,
            position: reader.uvint("position in Data.db")?,
            row_index_size: reader.uvint("size of the row index")?,
        })
    }
}

/// Longest head of an entry: a key and two numbers.
const HEAD_LENGTH_MAX: usize = 2 + u16::MAX as usize + 2 * 9;

/// One partition in an `Index.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Where the entry starts.
    pub offset: u64,
    /// As stored.
    pub key: Vec<u8>,
    /// Of the partition, in the uncompressed `Data.db`.
    pub position: u64,
    /// Of the row index, in `Index.db`; empty if the partition has none.
    pub row_index: Range<u64>,
}

/// The entries of an `Index.db` from one of them on, as they are pulled. After an error there is nothing more.
#[derive(Debug)]
pub struct Entries<S> {
    cursor: Cursor<S>,
    peeked: Option<Option<IndexEntry>>,
}

impl<S: Source> Entries<S> {
    /// From `start`, where an entry must start, up to the end of the file.
    pub fn new(source: S, start: u64) -> Self {
        Self::with_read_length(source, start, 0)
    }

    /// The same, with so many bytes or more read at once.
    pub fn with_read_length(source: S, start: u64, read_length: usize) -> Self {
        let end = source.len();
        Self { cursor: Cursor::new(source, start, end).with_read_length(read_length), peeked: None }
    }

    /// The next entry, which stays the next.
    pub fn peek(&mut self) -> Result<Option<&IndexEntry>, ReadError> {
        let peeked = match self.peeked.take() {
            Some(peeked) => peeked,
            None => self.read()?,
        };
        Ok(self.peeked.insert(peeked).as_ref())
    }

    fn read(&mut self) -> Result<Option<IndexEntry>, ReadError> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let offset = self.cursor.position();
        let (key, position, size) = self.cursor.decode(HEAD_LENGTH_MAX, |reader| {
            let Head { key, position, row_index_size } = Head::read_from(reader)?;
            Ok((key.to_vec(), position, row_index_size))
        })?;
        let start = self.cursor.position();
        let left = self.cursor.end().saturating_sub(start);
        if size > left {
            let expected = format_args!("at most {left}, what is left");
            return Err(Error::corrupt(offset, "size of the row index", expected, size).into());
        }
        self.cursor.seek(start + size);
        Ok(Some(IndexEntry { offset, key, position, row_index: start..start + size }))
    }
}

impl<S: Source> Iterator for Entries<S> {
    type Item = Result<IndexEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.peeked.take() {
            Some(peeked) => Ok(peeked),
            None => self.read(),
        };
        if entry.is_err() {
            self.cursor.seek(u64::MAX);
        }
        entry.map_err(|error| error.in_component(Component::Index)).transpose()
    }
}

struct Incomplete;

/// Length of the head that starts with `first` and goes on in `second`, or that it goes on beyond both.
fn head_length(first: &[u8], second: &[u8]) -> std::result::Result<usize, Incomplete> {
    let at = |index: usize| first.get(index).or_else(|| second.get(index - first.len())).copied().ok_or(Incomplete);
    let mut length = 2 + usize::from(u16::from_be_bytes([at(0)?, at(1)?]));
    for _ in 0..2 {
        length += 1 + at(length)?.leading_ones() as usize;
    }
    if length <= first.len() + second.len() { Ok(length) } else { Err(Incomplete) }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;

    /// The file as written for `entries` of key, position and row index.
    fn encode(entries: &[(&[u8], u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, position, row_index) in entries {
            bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
            bytes.extend_from_slice(key);
            for number in [*position, row_index.len()] {
                bytes.push(0xff);
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            bytes.extend_from_slice(row_index);
        }
        bytes
    }

    fn walk(bytes: &[u8], piece: usize, data_length: Option<u64>) -> IndexFacts {
        let mut walker = IndexWalker::new(bytes.len() as u64, data_length);
        bytes.chunks(piece).for_each(|piece| walker.push(piece));
        walker.finish()
    }

    #[test]
    fn pieces_of_any_size() {
        let big_key = vec![7; 65535];
        let bytes =
            encode(&[(b"0", 0, b""), (&big_key, 22, &[0xff; 300]), (b"", 70_000, b"x"), (b"4", u64::MAX - 1, b"")]);
        for piece in [1, 2, 3, 7, 64, 65536, bytes.len()] {
            let facts = walk(&bytes, piece, Some(u64::MAX));
            assert_eq!(facts.findings, []);
            assert_eq!((facts.entries, facts.last_position), (4, u64::MAX - 1));
            assert_eq!((facts.first_key, facts.last_key), (b"0".to_vec(), b"4".to_vec()));
        }
    }

    #[test]
    fn entry_of_appendix_a4() {
        let facts = walk(&[0, 1, b'1', 0, 0, 0, 1, b'2', 0x21, 0], 100, Some(34));
        assert!(facts.is_sound());
        assert_eq!((facts.entries, facts.last_position), (2, 33));
    }

    #[test]
    fn damaged() {
        fn check(bytes: &[u8], data_length: u64, expected: &[(&str, u64)]) {
            for piece in [1, 1000] {
                let facts = walk(bytes, piece, Some(data_length));
                let found: Vec<_> = facts
                    .findings
                    .iter()
                    .map(|finding| (finding.what.as_str(), finding.offset.unwrap_or(999)))
                    .collect();
                assert_eq!(found, expected);
                assert_eq!(facts.is_sound(), expected.is_empty());
            }
        }
        check(&[], 10, &[("number of entries", 0)]);
        check(&encode(&[(b"a", 1, b"")]), 10, &[("position of the first partition in Data.db", 0)]);
        check(&encode(&[(b"a", 0, b""), (b"b", 0, b"")]), 10, &[("position in Data.db", 21)]);
        check(&encode(&[(b"a", 0, b""), (b"b", 10, b"")]), 10, &[("position in Data.db", 21)]);
        check(&encode(&[(b"a", 0, b""), (b"a", 9, b"")]), 10, &[("key", 21)]);
        check(&[0, 1, b'a', 0, 2, 1], 10, &[("size of the row index", 0)]);
        check(&[0, 1, b'a', 0, 0, 0, 1], 10, &[("index entry", 5)]);
        let mut endless = vec![0, 1, b'a', 0];
        endless.extend_from_slice(&[0xff; 9]);
        check(&endless, 10, &[("size of the row index", 0)]);
    }

    #[test]
    fn findings_are_bounded() {
        let entry: (&[u8], u64, &[u8]) = (b"a", 5, b"");
        assert_eq!(walk(&encode(&[entry; 1000]), 100, None).findings.len(), FINDINGS_MAX);
    }

    #[test]
    fn a_file_that_changes_its_length() {
        let bytes = encode(&[(b"a", 0, b"")]);
        let mut walker = IndexWalker::new(100, None);
        walker.push(&bytes);
        assert!(!walker.finish().is_sound());
    }

    #[test]
    fn every_prefix_and_every_flip_is_harmless() {
        let bytes = encode(&[(b"0", 0, b""), (b"abc", 22, b"xyz"), (b"4", 70, b"")]);
        for cut in 0..bytes.len() {
            // A cut between two entries leaves a sound, shorter index: only the other components can tell.
            let whole_entries = [21, 21 + 26].contains(&cut);
            assert_eq!(walk(&bytes[..cut], 5, None).is_sound(), whole_entries, "cut at {cut}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[cut] ^= 1 << bit;
                assert_eq!(walk(&flipped, 5, Some(71)), walk(&flipped, 1, Some(71)));
            }
        }
    }
}
