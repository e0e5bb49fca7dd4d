//! The partitions and rows of a `Data.db`, one after the other, in memory that does not grow with them.
//!
//! ```text
//! let mut scan = Scan::new(header, version, data, chunks)?;
//! while let Some(mut partition) = scan.next_partition()? {
//!     partition.key();
//!     while let Some(unfiltered) = partition.next_unfiltered()? {
//!         match unfiltered {
//!             Unfiltered::Row(mut row) => while let Some(part) = row.next_part()? { … },
//!             Unfiltered::Marker(marker) => …,
//!         }
//!     }
//! }
//! ```
//!
//! What is not taken is stepped over, so each loop may be left at any time. Every byte is proven by the checksum of its
//! chunk before it is decoded. Positions are those in the uncompressed file, as in the indexes; only errors about
//! chunks (`chunk checksum`, a compressor's) have the offset in the file itself.
//!
//! [`Scan::seek`] goes to any position where a partition starts: an index knows them. After an error the same call
//! gives the same error; to go on behind damage, seek.
//!
//! Whether all this is in order is not judged here: that keys and clusterings ascend, that ranges are closed, that
//! numbers are plausible. [`crate::verify`] does that.

mod partition;
mod row;
mod stream;

use std::sync::Arc;

pub(crate) use partition::read_deletion;
pub use partition::{MarkerAt, Partition, Unfiltered};
pub use row::Row;

use crate::chunks::Chunks;
use crate::component::Component;
use crate::cql::row::{Cells, DeletionTime, RowHead, SerializationHeader};
use crate::cql::wire::Reader;
use crate::error::{Error, Kind, Result};
use crate::source::Source;
use crate::version::Version;
use crate::window::ReadError;
use stream::Stream;

/// Longest value that is given whole. Longer ones come in pieces ([`Row::next_piece`]).
pub const VALUE_LENGTH_MAX: usize = 4 << 20;
/// Most bytes that are held to decode one thing: a value with its path, or the clustering of a row. Cassandra bounds
/// both keys and paths to 64 KiB.
const DECODED_LENGTH_MAX: usize = VALUE_LENGTH_MAX + (2 << 20);

/// Reads a `Data.db` forwards.
#[derive(Debug)]
pub struct Scan<S> {
    header: Arc<SerializationHeader>,
    has_short_deletion: bool,
    stream: Stream<S>,
    state: State,
    /// Of the partition.
    key: Vec<u8>,
    partition: PartitionState,
    /// Of the row or marker, as stored.
    clustering: Vec<u8>,
    row: RowState,
}

/// What comes next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A partition, or the end of the file.
    Partition,
    /// The static row of the partition.
    StaticRow,
    /// A row or marker, or the end of the partition.
    Unfiltered,
    /// The cells of a row.
    Cells,
}

#[derive(Debug, Clone, Copy)]
struct PartitionState {
    position: u64,
    deletion: DeletionTime,
    is_deletion_misread: bool,
    /// Where the last unfiltered began, or the partition.
    previous: u64,
}

#[derive(Debug, Default)]
struct RowState {
    position: u64,
    end: u64,
    stored_distance: u64,
    distance: u64,
    head: RowHead,
    cells: Cells,
    /// Bytes of a long value that have not been taken.
    value_left: u64,
    /// Bytes at the front of the stream that were given away: they are consumed with the next call.
    given: usize,
}

impl<S: Source> Scan<S> {
    /// Starts at the first partition. Nothing is read yet.
    pub fn new(header: Arc<SerializationHeader>, version: Version, data: S, chunks: Chunks<S>) -> Result<Self> {
        if !version.is_parsable() {
            return Err(Error::unsupported(0, "version", "ma to me, na to nc, oa or da", version));
        }
        Ok(Self {
            header,
            has_short_deletion: version.has_uint_deletion_time(),
            stream: Stream::new(data, chunks)?,
            state: State::Partition,
            key: Vec::new(),
            partition: PartitionState {
                position: 0,
                deletion: DeletionTime::LIVE,
                is_deletion_misread: false,
                previous: 0,
            },
            clustering: Vec::new(),
            row: RowState::default(),
        })
    }

    /// Types and columns, for who wants them while a partition is borrowed.
    pub fn header(&self) -> &Arc<SerializationHeader> {
        &self.header
    }

    /// Uncompressed length of `Data.db`.
    pub fn length(&self) -> u64 {
        self.stream.length()
    }

    /// Where the next partition is expected, or the place within a partition that has not been read to its end.
    pub fn position(&self) -> u64 {
        self.stream.position() + self.row.given as u64
    }

    /// True if the next thing is a partition or the end of the file.
    pub fn is_between_partitions(&self) -> bool {
        self.state == State::Partition
    }

    /// Goes to where a partition starts. That it does is for the caller to know: rows have no marks by which they could
    /// be recognised.
    pub fn seek(&mut self, position: u64) {
        self.row.given = 0;
        self.row.value_left = 0;
        self.state = State::Partition;
        self.stream.seek(position);
    }

    /// The next partition, or `None` at the end of the file. What is left of the one before is stepped over.
    pub fn next_partition(&mut self) -> Result<Option<Partition<'_, S>>, ReadError> {
        while self.state != State::Partition {
            self.step()?;
        }
        let position = self.stream.position();
        if position > self.stream.length() {
            let expected = format_args!("at most {}", self.stream.length());
            return Err(in_data(Error::corrupt(position, "position of a partition", expected, position)));
        }
        if !self.stream.fill(1)? {
            return Ok(None);
        }
        let (key, has_short_deletion) = (&mut self.key, self.has_short_deletion);
        let (deletion, is_deletion_misread) = decode(&mut self.stream, "partition", |reader| {
            key.clear();
            let length = reader.u16("length of a partition key")?;
            key.extend_from_slice(reader.bytes(usize::from(length), "partition key")?);
            partition::read_deletion(reader, has_short_deletion)
        })?;
        self.partition = PartitionState { position, deletion, is_deletion_misread, previous: position };
        let has_static_row = !self.header.static_columns.is_empty();
        self.state = if has_static_row { State::StaticRow } else { State::Unfiltered };
        Ok(Some(Partition::new(self)))
    }

    /// Goes on by one thing within a partition, without showing it.
    fn step(&mut self) -> Result<(), ReadError> {
        match self.state {
            State::Partition => {}
            State::StaticRow | State::Unfiltered => {
                self.next_head()?;
            }
            State::Cells => self.skip_row()?,
        }
        Ok(())
    }
}

/// Decodes one thing off the front of the stream, with as many bytes as it takes.
fn decode<S: Source, T>(
    stream: &mut Stream<S>,
    what: &'static str,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T>,
) -> Result<T, ReadError> {
    loop {
        let mut reader = Reader::new(stream.rest(), stream.position());
        let error = match read(&mut reader) {
            Ok(value) => {
                let length = stream.rest().len() - reader.remaining();
                stream.consume(length);
                return Ok(value);
            }
            Err(error) => error,
        };
        need_more(stream, what, error)?;
    }
}

/// More bytes, if it is for the want of them that decoding failed; its error otherwise.
fn need_more<S: Source>(stream: &mut Stream<S>, what: &'static str, error: Error) -> Result<(), ReadError> {
    if error.kind != Kind::Truncated {
        return Err(in_data(error));
    }
    let held = stream.rest().len();
    if held >= DECODED_LENGTH_MAX {
        let expected = format_args!("at most {DECODED_LENGTH_MAX} bytes");
        return Err(in_data(Error::corrupt(stream.position(), what, expected, "more")));
    }
    // As few as may do: damage further on is none of ours. What is loaded is more.
    if stream.fill(held + 1)? { Ok(()) } else { Err(in_data(error)) }
}

fn in_data(error: Error) -> ReadError {
    ReadError::Format(error.in_component(Component::Data))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests;
