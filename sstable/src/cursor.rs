//! Reads a file forwards in things of any size, through a buffer: `Index.db`, whose entries are from four bytes to
//! hundreds of megabytes long.

use std::io;

use crate::cql::wire::Reader;
use crate::error::{Error, Kind, Result};
use crate::source::Source;
use crate::window::ReadError;

/// What is read at once.
const READ_LENGTH: usize = 64 << 10;

/// A place in a source, and what comes next.
#[derive(Debug)]
pub(crate) struct Cursor<S> {
    source: S,
    /// Where reading ends.
    end: u64,
    buffer: Vec<u8>,
    /// Of the first byte of the buffer.
    buffer_at: u64,
    /// Of the next byte in the buffer.
    at: usize,
    read_length: usize,
}

impl<S: Source> Cursor<S> {
    /// From `start` to `end`, which is cut to the length of the source.
    pub(crate) fn new(source: S, start: u64, end: u64) -> Self {
        let end = end.min(source.len());
        Self { source, end, buffer: Vec::new(), buffer_at: start.min(end), at: 0, read_length: READ_LENGTH }
    }

    /// Reads at least so many bytes at once.
    pub(crate) fn with_read_length(self, read_length: usize) -> Self {
        Self { read_length: read_length.max(READ_LENGTH), ..self }
    }

    /// Of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.buffer_at + self.at as u64
    }

    /// Where reading ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// True if nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.position() >= self.end
    }

    /// Goes to a position, within what is held if it is there.
    pub(crate) fn seek(&mut self, position: u64) {
        let position = position.min(self.end);
        let held = position.checked_sub(self.buffer_at).and_then(|at| usize::try_from(at).ok());
        match held.filter(|&at| at <= self.buffer.len()) {
            Some(at) => self.at = at,
            None => {
                self.buffer.clear();
                self.buffer_at = position;
                self.at = 0;
            }
        }
    }

    /// Decodes one thing of at most `length_max` bytes and steps behind it.
    pub(crate) fn decode<T>(
        &mut self,
        length_max: usize,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T>,
    ) -> std::result::Result<T, ReadError> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let mut reader = Reader::new(rest, self.position());
            match read(&mut reader) {
                Ok(value) => {
                    self.at = self.buffer.len() - reader.remaining();
                    return Ok(value);
                }
                Err(error) if error.kind == Kind::Truncated => {
                    let held = rest.len();
                    if held >= length_max {
                        let Error { offset, what, .. } = error;
                        return Err(
                            Error::corrupt(offset, what, format_args!("at most {length_max} bytes"), "more").into()
                        );
                    }
                    if !self.fill(held.saturating_mul(2).min(length_max))? {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Holds at least `wanted` bytes, or all that are left; false if nothing was added.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        let position = self.position();
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.buffer_at = position;
        self.at = 0;
        let held = self.buffer.len();
        let left = usize::try_from(self.end - self.buffer_at).unwrap_or(usize::MAX);
        let length = wanted.max(self.read_length).min(left);
        if length <= held {
            return Ok(false);
        }
        self.buffer.resize(length, 0);
        let missing = self.buffer.get_mut(held..).unwrap_or_default();
        if let Err(error) = self.source.read_at(position + held as u64, missing) {
            self.buffer.truncate(held);
            return Err(error);
        }
        Ok(true)
    }
}
