//! A row while its cells are read.

use super::{Scan, State, VALUE_LENGTH_MAX, in_data, need_more};
use crate::cql::row::{Cell, Clustering, Liveness, Part, RowDeletion, Value, ValueLimits};
use crate::cql::wire::Reader;
use crate::error::{Error, Kind};
use crate::source::Source;
use crate::window::ReadError;

/// A row up to this length is brought to memory whole, which makes its cells the cheapest.
const WHOLE_LENGTH_MAX: u64 = 1 << 20;

/// The row that a [`Scan`] has come to. What stands before its cells is known; cells are read one by one.
#[derive(Debug)]
pub struct Row<'s, S> {
    scan: &'s mut Scan<S>,
}

impl<'s, S: Source> Row<'s, S> {
    pub(super) fn new(scan: &'s mut Scan<S>) -> Self {
        Self { scan }
    }

    /// Where it starts: at its flags.
    pub fn position(&self) -> u64 {
        self.scan.row.position
    }

    /// Where the next row or marker starts.
    pub fn end(&self) -> u64 {
        self.scan.row.end
    }

    /// Distance from the unfiltered before (from the partition, if it is the first; 0 of a static row), as the file
    /// says.
    pub fn stored_distance(&self) -> u64 {
        self.scan.row.stored_distance
    }

    /// That distance, measured.
    pub fn distance(&self) -> u64 {
        self.scan.row.distance
    }

    /// True for the row of the static columns.
    pub fn is_static(&self) -> bool {
        self.scan.row.head.is_static
    }

    /// Its place in the partition; empty if it is static.
    pub fn clustering(&self) -> Clustering<'_> {
        let types = if self.is_static() { &[] } else { self.scan.header.clustering.as_slice() };
        Clustering::from_stored(types, &self.scan.clustering)
    }

    /// Life of the primary key, if it was inserted.
    pub fn liveness(&self) -> Option<Liveness> {
        self.scan.row.head.liveness
    }

    /// Deletion of the row as a whole.
    pub fn deletion(&self) -> Option<RowDeletion> {
        self.scan.row.head.deletion
    }

    /// The next cell or the beginning of a complex column; `None` after the last.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, ReadError> {
        self.scan.next_part()
    }

    /// The next bytes of the long value that was the last part; `None` after its last. What is not taken is stepped
    /// over by [`Self::next_part`].
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.scan.next_piece()
    }
}

impl<S: Source> Scan<S> {
    fn next_part(&mut self) -> Result<Option<Part<'_>>, ReadError> {
        if self.state != State::Cells {
            return Ok(None);
        }
        self.take_given()?;
        let position = self.stream.position();
        let left = self.row.end.saturating_sub(position);
        let is_whole = left <= self.stream.rest().len() as u64 || self.bring_whole(left)?;
        if !is_whole {
            self.bring_part()?;
        }
        let Self { header, stream, row, .. } = self;
        let bytes = front(stream.rest(), left);
        let mut reader = Reader::new(bytes, position);
        let limits = ValueLimits { row_end: row.end, length_max: VALUE_LENGTH_MAX as u64 };
        let part = row
            .cells
            .next_within(&mut reader, &row.head, header, limits)
            .map_err(|error| within_row(error, row.end))?;
        row.given = bytes.len() - reader.remaining();
        match &part {
            None => {
                if reader.offset() != row.end {
                    return Err(in_data(reader.corrupt("end of a row", row.end, reader.offset())));
                }
                self.state = State::Unfiltered;
            }
            Some(Part::Cell(Cell { value: Value::Long { length }, .. })) => row.value_left = *length,
            Some(_) => {}
        }
        Ok(part)
    }

    fn next_piece(&mut self) -> Result<Option<&[u8]>, ReadError> {
        let given = std::mem::take(&mut self.row.given);
        self.stream.consume(given);
        if self.row.value_left == 0 {
            return Ok(None);
        }
        self.more(1)?;
        let piece = front(self.stream.rest(), self.row.value_left);
        self.row.given = piece.len();
        self.row.value_left -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// To behind the row, whatever of it has been read.
    pub(super) fn skip_row(&mut self) -> Result<(), ReadError> {
        self.take_given()?;
        let left = self.row.end.saturating_sub(self.stream.position());
        self.skip(left)?;
        self.state = State::Unfiltered;
        Ok(())
    }

    /// To behind what was given last, and what was not taken of a long value.
    #[inline]
    fn take_given(&mut self) -> Result<(), ReadError> {
        let given = std::mem::take(&mut self.row.given);
        self.stream.consume(given);
        let left = self.row.value_left;
        if left > 0 {
            self.skip(left)?;
            self.row.value_left = 0;
        }
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), ReadError> {
        let position = self.stream.position();
        if self.stream.skip(count)? {
            return Ok(());
        }
        let available = self.stream.length().saturating_sub(position);
        Err(in_data(Error::truncated(position, "row", count, available)))
    }

    fn more(&mut self, needed: usize) -> Result<(), ReadError> {
        if self.stream.fill(needed)? {
            return Ok(());
        }
        let available = self.stream.rest().len() as u64;
        Err(in_data(Error::truncated(self.stream.position(), "row", needed as u64, available)))
    }

    /// The rest of the row, unless it is long.
    fn bring_whole(&mut self, left: u64) -> Result<bool, ReadError> {
        match usize::try_from(left) {
            Ok(needed) if left <= WHOLE_LENGTH_MAX => self.more(needed).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Enough of a long row to decode its next part.
    fn bring_part(&mut self) -> Result<(), ReadError> {
        loop {
            let Self { header, stream, row, .. } = &mut *self;
            let left = row.end.saturating_sub(stream.position());
            let mut reader = Reader::new(front(stream.rest(), left), stream.position());
            let limits = ValueLimits { row_end: row.end, length_max: VALUE_LENGTH_MAX as u64 };
            let mut cells = row.cells;
            match cells.next_within(&mut reader, &row.head, header, limits) {
                Err(error) if error.kind == Kind::Truncated => {
                    if stream.rest().len() as u64 >= left {
                        return Ok(());
                    }
                    need_more(stream, "cell", error)?;
                }
                _ => return Ok(()),
            }
        }
    }
}

/// Up to `length` bytes off the front.
#[inline]
fn front(bytes: &[u8], length: u64) -> &[u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..length).unwrap_or_default()
}

/// The row ends before the value does, not the file.
fn within_row(error: Error, row_end: u64) -> ReadError {
    in_data(match error {
        Error { kind: Kind::Truncated, offset, what, expected, .. } => Error::corrupt(
            offset,
            what,
            format_args!("{expected} within the row"),
            format_args!("its end at {row_end}"),
        ),
        other => other,
    })
}
