//! Buffers of one size, used again and again: what is taken and returned a thousand times a second is neither asked of
//! the system each time nor left in pieces all over the heap, and memory is bounded by the number in use at a time.
//!
//! They begin where `O_DIRECT` wants it, so that readers fill them and stores write them without a copy in between.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// What `O_DIRECT` asks of addresses, offsets and lengths on every device that is likely to be met.
pub const ALIGNMENT: usize = 4096;

/// Buffers that are not in use.
#[derive(Debug, Clone)]
pub struct Pool {
    length: usize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pool {
    /// A pool of buffers of `length` bytes, empty.
    pub fn new(length: usize) -> Self {
        Self { length, free: Arc::default() }
    }

    /// A buffer; its bytes are whatever they were.
    pub fn take(&self) -> Buffer {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = free.unwrap_or_else(|| vec![0; self.length + ALIGNMENT]);
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Buffer { bytes, start, home: self.clone() }
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A buffer on loan; dropping it returns it.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    home: Pool,
}

impl Buffer {
    /// Its first bytes, to be shared; the buffer goes back when the last of those who share drops it.
    pub fn share(self, length: usize) -> Bytes {
        Bytes::from_owner(Front { buffer: self, length })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.home.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.home.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.free.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

struct Front {
    buffer: Buffer,
    length: usize,
}

impl AsRef<[u8]> for Front {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_buffer_returns_with_its_last_part() {
        let pool = Pool::new(8);
        let mut buffer = pool.take();
        buffer.copy_from_slice(b"12345678");
        assert_eq!(buffer.as_ptr().align_offset(ALIGNMENT), 0);
        let shared = buffer.share(6);
        let part = shared.slice(3..5);
        drop(shared);
        assert_eq!((&part[..], pool.free()), (&b"45"[..], 0));
        drop(part);
        assert_eq!(pool.free(), 1);
        let again = pool.take();
        assert_eq!((again.len(), pool.free()), (8, 0));
    }
}
