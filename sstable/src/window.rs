//! Arrays of fixed-size numbers that are too long for memory: `CRC.db` and the offsets in `CompressionInfo.db` take
//! 25 MB each for an SSTable of 400 GB. They are read from front to back through a window.

use std::io;

use crate::error::Error;
use crate::source::Source;

/// Why bytes from a [`Source`] could not be decoded: because they could not be had, or because they are wrong.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed; nothing is known about the bytes.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes break a rule of the format.
    #[error(transparent)]
    Format(#[from] Error),
}

impl ReadError {
    /// Names the component whose bytes are wrong, once, where it is known.
    #[must_use]
    pub fn in_component(self, component: impl std::fmt::Display) -> Self {
        match self {
            Self::Io(error) => Self::Io(error),
            Self::Format(error) => Self::Format(error.in_component(component)),
        }
    }
}

/// Size of the window: small beside everything else, large beside the cost of a read.
const WINDOW_LENGTH: u64 = 64 << 10;

/// Reads forward from a position to an end, both fixed beforehand.
#[derive(Debug)]
pub(crate) struct Window<S> {
    source: S,
    /// Where the bytes after those in the buffer start.
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Source> Window<S> {
    /// From `start` to `end`, which must be within the source.
    pub(crate) fn new(source: S, start: u64, end: u64) -> Self {
        Self { source, position: start, end, buffer: Vec::new(), at: 0 }
    }

    /// Goes to a position up to the end, in either direction; what is in the buffer is kept for it.
    pub(crate) fn seek(&mut self, position: u64) {
        let behind = self.position.checked_sub(position).and_then(|behind| usize::try_from(behind).ok());
        match behind.and_then(|behind| self.buffer.len().checked_sub(behind)) {
            Some(at) => self.at = at,
            None => {
                self.buffer.clear();
                self.at = 0;
                self.position = position;
            }
        }
    }

    /// The next `N` bytes, `N` dividing the length of the window; `None` when fewer are left.
    pub(crate) fn next<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if let Some(array) = self.take() {
            return Ok(Some(array));
        }
        let length = (self.end.saturating_sub(self.position)).min(WINDOW_LENGTH);
        self.buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
        self.at = 0;
        self.source.read_at(self.position, &mut self.buffer).inspect_err(|_| self.buffer.clear())?;
        self.position += length;
        Ok(self.take())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.buffer.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(array)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_whole_and_in_order() {
        let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
        let mut window = Window::new(bytes.as_slice(), 4, bytes.len() as u64 - 4);
        for number in 1..49_999_u32 {
            assert_eq!(window.next().unwrap(), Some(number.to_be_bytes()));
        }
        assert_eq!(window.next::<4>().unwrap(), None);
        assert_eq!(window.next::<4>().unwrap(), None);
    }

    #[test]
    fn any_number_can_be_gone_to() {
        let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
        let mut window = Window::new(bytes.as_slice(), 0, bytes.len() as u64);
        for number in [0, 7, 3, 16_383, 16_384, 49_999, 20_000, 36_383, 36_384, 20_000, 0, 40_000] {
            window.seek(u64::from(number) * 4);
            assert_eq!(window.next().unwrap(), Some(u32::to_be_bytes(number)), "{number}");
            let after = (number < 49_999).then(|| u32::to_be_bytes(number + 1));
            assert_eq!(window.next().unwrap(), after, "{number}");
        }
        window.seek(bytes.len() as u64);
        assert_eq!(window.next::<4>().unwrap(), None);
    }

    #[test]
    fn an_end_beyond_the_source_is_an_io_error() {
        let mut window = Window::new([0_u8; 7].as_slice(), 0, 8);
        assert_eq!(window.next::<8>().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
