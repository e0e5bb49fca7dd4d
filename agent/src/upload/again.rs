//! The stored bytes of a large component once more, from its file: a store that does not want to hold a large part asks
//! for it again.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::inspect::reader::{Reader, SLICE_BYTES};
use crate::pack::frames::Frames;
use crate::store::Reread;

/// Lengths of the frames that were made so far: four bytes for each MiB of the file. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FrameLengths(Arc<Mutex<Vec<u32>>>);

impl FrameLengths {
    /// The next frame.
    pub fn push(&self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(length);
        Ok(())
    }
}

/// A component as it is stored.
#[derive(Debug)]
pub struct Again {
    /// Kept open: the link may be gone when it is needed.
    file: Reader,
    /// Of a component that is compressed on its way.
    frames: Option<FrameLengths>,
}

impl Again {
    /// The bytes of `file`, or its frames.
    pub fn new(file: Reader, frames: Option<FrameLengths>) -> Self {
        Self { file, frames }
    }

    /// The slice in which stored byte `start` lies, and where in the stored slice.
    fn find(&self, start: u64) -> (u64, u64) {
        let Some(frames) = &self.frames else {
            return (start / SLICE_BYTES as u64, start % SLICE_BYTES as u64);
        };
        let mut within = start;
        let lengths = frames.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (slice, length) in lengths.iter().enumerate() {
            match within.checked_sub((*length).into()) {
                Some(rest) => within = rest,
                None => return (slice as u64, within),
            }
        }
        (lengths.len() as u64, within)
    }
}

impl Reread for Again {
    fn read(&self, range: Range<u64>, take: &mut dyn FnMut(Bytes) -> bool) -> io::Result<()> {
        let (slice, skipped) = self.find(range.start);
        let mut reader = self.file.again(slice * SLICE_BYTES as u64)?;
        let mut frames = self.frames.as_ref().map(|_| Frames::new()).transpose()?;
        let (mut skipped, mut left) = (skipped, range.end - range.start);
        while left > 0 {
            let plain = reader.next_slice()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut stored = match &mut frames {
                Some(frames) => frames.frame(&plain)?,
                None => plain,
            };
            let front = usize::try_from(skipped).unwrap_or(usize::MAX).min(stored.len());
            stored = stored.slice(front..);
            skipped = 0;
            stored.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= stored.len() as u64;
            if !take(stored) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::reader::Buffers;

    #[test]
    fn any_range_comes_again_as_it_was_stored() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut random = 1_u32;
        let plain: Vec<u8> = (0..3 * SLICE_BYTES + 77)
            .map(|at| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at < SLICE_BYTES { 7 } else { (random >> 24) as u8 }
            })
            .collect();
        std::fs::write(&path, &plain).expect("written");
        let buffers = Buffers::default();
        for is_compressed in [false, true] {
            let mut stored = Vec::new();
            let lengths = FrameLengths::default();
            let mut frames = Frames::new().expect("a compressor");
            for slice in plain.chunks(SLICE_BYTES) {
                match is_compressed {
                    false => stored.extend_from_slice(slice),
                    true => {
                        let frame = frames.frame(slice).expect("compressed");
                        lengths.push(&frame).expect("small");
                        stored.extend_from_slice(&frame);
                    }
                }
            }
            let file = Reader::open(&path, &buffers).expect("opened");
            let again = Again::new(file, is_compressed.then_some(lengths));
            let end = stored.len() as u64;
            for range in [0..end, 0..1, 5..5, end - 1..end, 10..end / 2, end / 2..end, end / 3..end - 3] {
                let mut read = Vec::new();
                let take = &mut |piece: Bytes| {
                    read.extend_from_slice(&piece);
                    true
                };
                again.read(range.clone(), take).expect("read");
                let expected = &stored[range.start as usize..range.end as usize];
                assert!(read == expected, "{is_compressed} {range:?}: {} bytes", read.len());
            }
            let mut pieces = 0;
            let take = &mut |_| {
                pieces += 1;
                false
            };
            again.read(0..end, take).expect("read");
            assert_eq!(pieces, 1);
            assert!(again.read(0..end + 1, &mut |_| true).is_err(), "behind the end");
        }
    }
}
