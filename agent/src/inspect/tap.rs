//! `Data.db` for who decodes it, with every byte checked on its way: one read for both.
//!
//! The decoder asks for bytes from the start to the end. Each slice that is read for it goes to the verifier first. What
//! the decoder steps over is read and verified all the same; what it asks for once more, behind damage, is read apart.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use helenus_sstable::source::Source;
use helenus_sstable::verify::data::{DataReport, DataVerifier};

use super::reader::{Buffers, Reader};

/// A `Data.db` that is decoded and verified in one.
pub(super) struct Tap<C> {
    length: u64,
    file: File,
    state: RefCell<State<C>>,
}

struct State<C> {
    reader: Reader,
    verifier: DataVerifier<C>,
    /// The slice read last, and where it starts.
    slice: Bytes,
    start: u64,
}

impl<C: Source> Tap<C> {
    pub(super) fn open(path: &Path, buffers: &Buffers, verifier: DataVerifier<C>) -> io::Result<Self> {
        let reader = Reader::open(path, buffers)?;
        let file = reader.file().try_clone()?;
        let state = State { reader, verifier, slice: Bytes::new(), start: 0 };
        Ok(Self { length: state.reader.length(), file, state: RefCell::new(state) })
    }

    /// Reads what is left, and says what the verifier has found.
    pub(super) fn finish(self) -> io::Result<DataReport> {
        let mut state = self.state.into_inner();
        while state.advance()? {}
        state.verifier.finish()
    }
}

impl<C: Source> State<C> {
    /// The next slice; false if there is none.
    fn advance(&mut self) -> io::Result<bool> {
        self.start += self.slice.len() as u64;
        // Free for the next slice.
        self.slice = Bytes::new();
        let Some(slice) = self.reader.next_slice()? else { return Ok(false) };
        self.verifier.push(&slice)?;
        self.slice = slice;
        Ok(true)
    }
}

impl<C: Source> Source for Tap<C> {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let (mut offset, mut room) = (offset, buffer);
        while !room.is_empty() {
            let Some(skipped) = offset.checked_sub(state.start) else {
                let before = room.len().min(usize::try_from(state.start - offset).unwrap_or(usize::MAX));
                let (early, rest) = room.split_at_mut(before);
                self.file.read_exact_at(early, offset)?;
                offset += before as u64;
                room = rest;
                continue;
            };
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            if skipped >= state.slice.len() {
                if !state.advance()? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let held = &state.slice[skipped..];
            let count = held.len().min(room.len());
            let (now, rest) = room.split_at_mut(count);
            now.copy_from_slice(&held[..count]);
            offset += count as u64;
            room = rest;
        }
        Ok(())
    }
}
