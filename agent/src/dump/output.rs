//! Bytes on their way out: formatted into a buffer, handed on when there are enough of them.

use std::sync::mpsc::SyncSender;

use helenus_sstable::window::ReadError;

/// Handed on at once: large enough that a write costs nothing, small enough for the cache.
const PIECE_BYTES: usize = 128 << 10;

/// Why formatting a partition stopped before its end.
#[derive(Debug)]
pub enum Stop {
    /// What follows cannot be read.
    Unreadable(ReadError),
    /// Nobody wants the rest.
    Closed,
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

/// Collects text and sends it in pieces.
#[derive(Debug)]
pub struct Output<T> {
    /// What has been formatted and not been sent.
    pub text: Vec<u8>,
    to: SyncSender<T>,
    wrap: fn(Vec<u8>) -> T,
}

impl<T> Output<T> {
    /// Sends pieces to `to`, each wrapped.
    pub fn new(to: SyncSender<T>, wrap: fn(Vec<u8>) -> T) -> Self {
        Self { text: Vec::with_capacity(PIECE_BYTES + (16 << 10)), to, wrap }
    }

    /// Sends what there is if it is enough. To be called between any two things of bounded length.
    #[inline]
    pub fn relieve(&mut self) -> Result<(), Stop> {
        if self.text.len() < PIECE_BYTES { Ok(()) } else { self.send() }
    }

    /// Sends what there is.
    pub fn send(&mut self) -> Result<(), Stop> {
        if self.text.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(PIECE_BYTES + (16 << 10));
        let text = std::mem::replace(&mut self.text, next);
        self.to.send((self.wrap)(text)).map_err(|_| Stop::Closed)
    }

    /// Sends something else than text.
    pub fn also(&mut self, message: T) -> Result<(), Stop> {
        self.send()?;
        self.to.send(message).map_err(|_| Stop::Closed)
    }

    /// Sends the rest, and something after it.
    pub fn finish(mut self, last: T) -> Result<(), Stop> {
        self.also(last)
    }
}
