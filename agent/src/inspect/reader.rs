//! The one way in which SSTable files are read: each byte once, and without disturbing Cassandra's page cache.
//!
//! A hard link shares its inode with Cassandra's own file, so neither reading through the cache (which evicts what
//! Cassandra needs) nor `POSIX_FADV_DONTNEED` (which evicts what Cassandra has) is neutral. What is cached is taken
//! from the cache with `RWF_NOWAIT`, which costs no I/O; what is not is read with `O_DIRECT`, which leaves no trace.
//! File systems that know neither are read in the ordinary way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use helenus_sstable::source::Source;
use rustix::io::{Errno, ReadWriteFlags};

use crate::pool::{ALIGNMENT, Pool};

/// Bytes read at a time: large enough that a device reaches its full rate, small enough to stay in the L2 cache while
/// it is checked, hashed and compressed.
pub const SLICE_BYTES: usize = 1 << 20;

/// Components longer than this, up to a slice, are held in a slice's buffer.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// Buffers for slices.
#[derive(Debug, Clone)]
pub struct Buffers(Pool);

impl Default for Buffers {
    fn default() -> Self {
        Self(Pool::new(SLICE_BYTES))
    }
}

/// An open file that is read once from start to end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    /// Opened when the first slice is not in the cache; `Some(None)` where the file system refuses.
    direct: Option<Option<File>>,
    length: u64,
    offset: u64,
    buffers: Buffers,
}

impl Reader {
    /// Opens a file; a symbolic link is refused.
    pub fn open(path: &Path, buffers: &Buffers) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
        let length = file.metadata()?.size();
        Ok(Self { path: path.to_owned(), file, direct: None, length, offset: 0, buffers: buffers.clone() })
    }

    /// The same open file, read from another offset on, which must be a multiple of [`SLICE_BYTES`].
    pub fn again(&self, offset: u64) -> io::Result<Self> {
        debug_assert!(offset.is_multiple_of(SLICE_BYTES as u64));
        let Self { path, file, length, buffers, .. } = self;
        let offset = offset.min(*length);
        let (path, file, buffers) = (path.clone(), file.try_clone()?, buffers.clone());
        Ok(Self { path, file, direct: None, length: *length, offset, buffers })
    }

    /// Length when the file was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next slice, at most [`SLICE_BYTES`] long; `None` at the end. Its first byte is aligned as `O_DIRECT` asks.
    pub fn next_slice(&mut self) -> io::Result<Option<Bytes>> {
        let want = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX).min(SLICE_BYTES);
        if want == 0 {
            return Ok(None);
        }
        let mut slice = self.buffers.0.take();
        self.fill(&mut slice, want)?;
        self.offset += want as u64;
        Ok(Some(slice.share(want)))
    }

    /// The whole file in memory; the caller has bounded its length.
    pub fn read_whole(mut self) -> io::Result<Bytes> {
        let length = usize::try_from(self.length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if length > SMALL_BYTES_MAX && length <= SLICE_BYTES {
            return Ok(self.next_slice()?.unwrap_or_default());
        }
        let mut whole = vec![0; length];
        let mut at = 0;
        while at < length {
            let want = (length - at).min(SLICE_BYTES);
            if !self.read_cached(&mut whole[at..at + want])? {
                let mut slice = self.buffers.0.take();
                self.read_device(&mut slice, want)?;
                whole[at..at + want].copy_from_slice(&slice[..want]);
            }
            at += want;
            self.offset += want as u64;
        }
        Ok(whole.into())
    }

    fn fill(&mut self, room: &mut [u8], want: usize) -> io::Result<()> {
        if self.read_cached(&mut room[..want])? { Ok(()) } else { self.read_device(room, want) }
    }

    /// Fills `room` if all of it is in the page cache.
    fn read_cached(&self, room: &mut [u8]) -> io::Result<bool> {
        let want = room.len();
        let buffers = &mut [io::IoSliceMut::new(room)];
        match rustix::io::preadv2(&self.file, buffers, self.offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == want),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::INTR | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Fills the first `want` bytes of `room`, which is aligned and has [`SLICE_BYTES`], past the page cache.
    fn read_device(&mut self, room: &mut [u8], want: usize) -> io::Result<()> {
        let direct = self.direct.get_or_insert_with(|| {
            OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_DIRECT | nix::libc::O_NOFOLLOW)
                .open(&self.path)
                .ok()
        });
        if let Some(file) = direct {
            // The path may lead to another file by now: only the inode that was opened first will do.
            let same = file.metadata()?.ino() == self.file.metadata()?.ino();
            let aligned = want.next_multiple_of(ALIGNMENT);
            if same && matches!(read_up_to(file, &mut room[..aligned], self.offset, want), Ok(read) if read >= want) {
                return Ok(());
            }
            self.direct = Some(None);
        }
        self.file.read_exact_at(&mut room[..want], self.offset)
    }
}

/// Reads until `enough` bytes are there or the file ends; a read of the device may stop short at any block.
fn read_up_to(file: &File, room: &mut [u8], offset: u64, enough: usize) -> io::Result<usize> {
    let mut filled = 0;
    while filled < enough {
        match file.read_at(&mut room[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A component that the verifier reads at will: held in memory, or in its file if it is too large for that.
#[derive(Debug)]
pub enum ComponentSource {
    /// The bytes themselves.
    Held(Bytes),
    /// A file and its length.
    File(File, u64),
}

impl Source for ComponentSource {
    fn len(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Held(bytes) => bytes.as_ref().read_at(offset, buffer),
            Self::File(file, _) => file.read_exact_at(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let buffers = Buffers::default();
        for length in [0, 1, 4095, 4096, 4097, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES + 77] {
            let path = directory.path().join("file");
            let content: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
            std::fs::write(&path, &content).expect("written");
            let whole = Reader::open(&path, &buffers).and_then(Reader::read_whole).expect("read");
            assert_eq!(whole, content, "{length}");
            let mut reader = Reader::open(&path, &buffers).expect("opened");
            let mut sliced = Vec::new();
            while let Some(slice) = reader.next_slice().expect("read") {
                sliced.extend_from_slice(&slice);
            }
            assert_eq!(sliced, content, "{length}");
        }
        let free = buffers.0.free();
        assert!(free <= 2, "{free} buffers were made for one slice at a time");
    }

    #[test]
    fn a_file_cut_short_while_it_is_read_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, vec![1; 3 * SLICE_BYTES]).expect("written");
        let mut reader = Reader::open(&path, &Buffers::default()).expect("opened");
        reader.next_slice().expect("read");
        File::options().write(true).open(&path).and_then(|file| file.set_len(SLICE_BYTES as u64 + 5)).expect("cut");
        assert_eq!(reader.next_slice().expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
    }
}
