//! Where in `Data.db` a partition is: one of a key, those of a range of tokens, or the next one after a place.
//!
//! | to find one, cold      | `big`                                  | `bti`                                      |
//! |------------------------|----------------------------------------|--------------------------------------------|
//! | read whole or the end  | `Summary.db`                           | the last 512 KiB of `Partitions.db`        |
//! | a part                 | `Index.db` from one sample to the next | a page of `Partitions.db`, if need be two  |
//! | of a wide partition    | (the same)                             | its entry in `Rows.db`                     |
//! | then                   | `CompressionInfo.db`, `Data.db`        | `CompressionInfo.db`, `Data.db`            |
//!
//! The filter is not asked: for a single key it would cost a read to save one.

use std::cmp::Ordering;
use std::ops::Range;

use crate::big::index::{Entries, IndexEntry};
use crate::big::summary::Samples;
use crate::bti::partitions::{PartitionEntries, PartitionEntry, PartitionIndex, Target};
use crate::bti::rows::RowsEntry;
use crate::partitioner::{Partitioner, Token};
use crate::source::Source;
use crate::window::ReadError;

/// Longest part of `Index.db` that is read at once between two samples.
const PART_LENGTH_MAX: u64 = 1 << 20;

/// The components that know where partitions are.
#[derive(Debug)]
pub struct PrimaryIndex<S> {
    partitioner: Partitioner,
    files: Files<S>,
}

#[derive(Debug)]
enum Files<S> {
    Big { index: S, samples: Option<Samples<S>> },
    Bti { partitions: PartitionIndex<S>, rows: S },
}

/// A partition as its index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The partition key. `None` for a partition of `bti` without row index: its key is in `Data.db` only.
    pub key: Option<Vec<u8>>,
    /// In the uncompressed `Data.db`.
    pub position: u64,
    /// Where the rows within it are to be looked up.
    pub row_index: RowIndexAt,
}

/// The row index of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowIndexAt {
    /// The partition is too small to have one.
    None,
    /// A part of `Index.db`.
    Big(Range<u64>),
    /// A trie in `Rows.db`.
    Bti(RowsEntry),
}

/// Tokens from one, not included, to another, included: as Cassandra splits the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRange {
    /// `None`: from the first.
    pub after: Option<Token>,
    /// `None`: to the last.
    pub up_to: Option<Token>,
}

impl TokenRange {
    /// True if a token lies in the range.
    pub fn contains(&self, token: Token) -> bool {
        self.after.is_none_or(|after| token > after) && !self.is_behind(token)
    }

    /// True if nothing from this token on lies in the range.
    pub fn is_behind(&self, token: Token) -> bool {
        self.up_to.is_some_and(|up_to| token > up_to)
    }
}

impl<S: Source> PrimaryIndex<S> {
    /// Of an SSTable in the `big` format. Without a summary, or with one that cannot be read, lookups go through the
    /// index from its start.
    pub fn big(partitioner: Partitioner, index: S, summary: Option<S>) -> Result<Self, ReadError> {
        let samples = match summary.map(Samples::open).transpose() {
            Err(ReadError::Format(_)) => None,
            samples => samples?,
        };
        Ok(Self { partitioner, files: Files::Big { index, samples } })
    }

    /// Of an SSTable in the `bti` format.
    pub fn bti(partitioner: Partitioner, partitions: S, rows: S) -> Result<Self, ReadError> {
        Ok(Self { partitioner, files: Files::Bti { partitions: PartitionIndex::open(partitions)?, rows } })
    }

    /// The order of the partitions.
    pub fn partitioner(&self) -> &Partitioner {
        &self.partitioner
    }

    /// The partition with this key. If [`Located::key`] is `None`, it is there only if `Data.db` has that key at the
    /// position: a `bti` index knows no more of it than a few bits.
    pub fn find(&self, key: &[u8]) -> Result<Option<Located>, ReadError> {
        match &self.files {
            Files::Big { .. } => {
                let wanted = (self.partitioner.token(key), key);
                for located in self.partitions_from_place(wanted.0, key)? {
                    let located = located?;
                    let found = located.key.as_deref().unwrap_or_default();
                    match self.partitioner.compare((self.partitioner.token(found), found), wanted) {
                        Ordering::Less => {}
                        Ordering::Equal => return Ok(Some(located)),
                        Ordering::Greater => break,
                    }
                }
                Ok(None)
            }
            Files::Bti { partitions, rows } => {
                let Some(target) = partitions.find(&self.partitioner, key)? else { return Ok(None) };
                let located = resolve(rows, target)?;
                Ok(Some(located).filter(|located| located.key.as_deref().is_none_or(|found| found == key)))
            }
        }
    }

    /// All partitions in their order.
    pub fn partitions(&self) -> Result<Partitions<'_, S>, ReadError> {
        Ok(Partitions(match &self.files {
            Files::Big { index, .. } => Walk::Big(Entries::new(index, 0)),
            Files::Bti { partitions, rows } => Walk::Bti(partitions.entries()?, rows),
        }))
    }

    /// The partitions from a token on, preceded by some that lie before it: what they are has to be looked at. `None`
    /// of a token is the start of the ring.
    ///
    /// For a partitioner whose tokens are keys ([`Token::Key`]) use [`Self::partitions_from_key`].
    pub fn partitions_from(&self, token: Option<Token>) -> Result<Partitions<'_, S>, ReadError> {
        match token {
            None | Some(Token::Key) => self.partitions(),
            Some(token) => self.partitions_from_place(token, &[]),
        }
    }

    /// The same from a key on.
    pub fn partitions_from_key(&self, key: &[u8]) -> Result<Partitions<'_, S>, ReadError> {
        self.partitions_from_place(self.partitioner.token(key), key)
    }

    fn partitions_from_place(&self, token: Token, key: &[u8]) -> Result<Partitions<'_, S>, ReadError> {
        Ok(Partitions(match &self.files {
            Files::Big { index, samples } => Walk::Big(self.entries_from(index, samples.as_ref(), token, key)?),
            Files::Bti { partitions, rows } => match self.partitioner {
                Partitioner::Local(_) => Walk::Bti(partitions.entries()?, rows),
                _ => Walk::Bti(partitions.entries_from(token, key)?, rows),
            },
        }))
    }

    /// The entries of `Index.db` from the last sample on that is not greater, or from the first if the summary does not
    /// agree with the index: nothing vouches for a summary, and a wrong one must not hide a partition.
    fn entries_from<'i>(
        &self,
        index: &'i S,
        samples: Option<&Samples<S>>,
        token: Token,
        key: &[u8],
    ) -> Result<Entries<&'i S>, ReadError> {
        let is_greater = |sample: &[u8]| {
            let place = (self.partitioner.token(sample), sample);
            self.partitioner.compare(place, (token, key)) == Ordering::Greater
        };
        let floor = match samples.map(|samples| samples.floor(is_greater)).transpose() {
            Err(ReadError::Format(_)) => None,
            floor => floor?.flatten(),
        };
        let Some((sample, next)) = floor else { return Ok(Entries::new(index, 0)) };
        let part = next.map_or(PART_LENGTH_MAX, |next| next.saturating_sub(sample.index_position)).min(PART_LENGTH_MAX);
        let read_length = usize::try_from(part).unwrap_or_default();
        let mut entries = Entries::with_read_length(index, sample.index_position, read_length);
        match entries.peek() {
            Ok(Some(entry)) if entry.key == sample.key => Ok(entries),
            Err(ReadError::Io(error)) => Err(error.into()),
            _ => Ok(Entries::new(index, 0)),
        }
    }

    /// The first partition that starts after a place in `Data.db`, to go on behind damage. Walks through the index:
    /// whoever asks again and again keeps [`Self::partitions`] and goes on there.
    pub fn next_after(&self, position: u64) -> Result<Option<Located>, ReadError> {
        self.partitions()?
            .find(|located| located.as_ref().map_or(true, |located| located.position > position))
            .transpose()
    }
}

fn resolve<S: Source>(rows: &S, target: Target) -> Result<Located, ReadError> {
    Ok(match target {
        Target::Data(position) => Located { key: None, position, row_index: RowIndexAt::None },
        Target::Rows(offset) => {
            let entry = RowsEntry::read(rows, offset)?;
            Located { key: Some(entry.key.clone()), position: entry.position, row_index: RowIndexAt::Bti(entry) }
        }
    })
}

/// Iterates over partitions as the index has them. After an error there is nothing more.
#[derive(Debug)]
pub struct Partitions<'i, S>(Walk<'i, S>);

#[derive(Debug)]
enum Walk<'i, S> {
    Big(Entries<&'i S>),
    Bti(PartitionEntries<'i, S>, &'i S),
    Over,
}

impl<S: Source> Partitions<'_, S> {
    fn read(&mut self) -> Result<Option<Located>, ReadError> {
        Ok(match &mut self.0 {
            Walk::Over => None,
            Walk::Big(entries) => {
                entries.next().transpose()?.map(|IndexEntry { key, position, row_index, .. }| Located {
                    key: Some(key),
                    position,
                    row_index: if row_index.is_empty() { RowIndexAt::None } else { RowIndexAt::Big(row_index) },
                })
            }
            Walk::Bti(entries, rows) => match entries.next().transpose()? {
                Some(PartitionEntry { target, .. }) => Some(resolve(*rows, target)?),
                None => None,
            },
        })
    }
}

impl<S: Source> Iterator for Partitions<'_, S> {
    type Item = Result<Located, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.0 = Walk::Over;
        }
        read.transpose()
    }
}
