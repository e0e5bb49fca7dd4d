//! The components of an SSTable in a backup, read by ranges of their objects.
//!
//! ```text
//! short (up to 4 MiB)    one read, then proven by CRC-32 and BLAKE3 and held
//! plain                  spans of the object, longer and longer while reading goes forwards
//! zstd                   whole frames of 1 MiB; where a frame starts is known once those before it have been read
//! ```
//!
//! What is read of a long component cannot be proven by its hash, which is over all of it. `Data.db` has checksums of
//! its own.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;
use helenus_sstable::component::Component;
use helenus_sstable::source::Source;
use tokio::runtime::Handle;

use crate::inspect::HELD_BYTES_MAX;
use crate::inspect::reader::SLICE_BYTES;
use crate::manifest::model::{Codec, StoredFile, StoredSSTable};
use crate::pack::unpack::Decoder;
use crate::store::{Span, Store};

/// First read at a new place of a plain object.
const SPAN_BYTES_MIN: u64 = 64 << 10;
/// Longest read of a plain object, and what is read at once to find the end of a frame.
const SPAN_BYTES_MAX: u64 = 1 << 20;
/// Spans, or frames, that are held: places between which a reader goes back and forth.
const HELD_MAX: usize = 3;
/// No frame of 1 MiB that zstd makes is longer.
const FRAME_BYTES_MAX: usize = SLICE_BYTES + (SLICE_BYTES >> 4);

/// The files of an SSTable in a repository.
#[derive(Debug)]
pub struct Stored {
    store: Arc<dyn Store>,
    runtime: Handle,
    table: String,
    is_of_index: bool,
    files: BTreeMap<Component, StoredFile>,
}

impl Stored {
    /// Of a part that has been checked. `table` is `<keyspace>.<table>`. Must be called within a runtime.
    pub fn new(store: Arc<dyn Store>, table: String, sstable: &StoredSSTable) -> Self {
        let files = sstable.files.iter().map(|file| (Component::parse(&file.component), file.clone()));
        let table = match &sstable.index {
            Some(index) => format!("{table}/{index}"),
            None => table,
        };
        let is_of_index = sstable.index.is_some();
        Self { store, runtime: Handle::current(), table, is_of_index, files: files.collect() }
    }

    /// `<keyspace>.<table>`, and the directory of the index.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// True if it belongs to a built-in secondary index.
    pub fn is_of_index(&self) -> bool {
        self.is_of_index
    }

    /// Plain lengths of the components.
    pub fn lengths(&self) -> BTreeMap<Component, u64> {
        self.files.iter().map(|(component, file)| (component.clone(), file.length)).collect()
    }

    /// Opens a component. Its bytes must not be asked for by a thread that drives the runtime.
    pub fn open(&self, component: &Component) -> io::Result<StoredSource> {
        let file = self.files.get(component).ok_or(io::ErrorKind::NotFound)?;
        let object = Object { store: Arc::clone(&self.store), runtime: self.runtime.clone(), file: file.clone() };
        let kind = if file.length <= HELD_BYTES_MAX && file.stored <= HELD_BYTES_MAX + SPAN_BYTES_MAX {
            Kind::Held(object.proven()?)
        } else {
            match file.codec {
                Codec::None => Kind::Plain(Mutex::default()),
                Codec::Zstd => Kind::Frames(Mutex::new(Frames { starts: vec![0], held: VecDeque::new() })),
            }
        };
        Ok(StoredSource { object, kind })
    }
}

/// A component in a store.
#[derive(Debug)]
pub struct StoredSource {
    object: Object,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Held(Vec<u8>),
    Plain(Mutex<VecDeque<(u64, Bytes)>>),
    Frames(Mutex<Frames>),
}

#[derive(Debug)]
struct Object {
    store: Arc<dyn Store>,
    runtime: Handle,
    file: StoredFile,
}

impl Object {
    /// Stored bytes of the file.
    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let start = self.file.offset.saturating_add(range.start);
        let end = self.file.offset.saturating_add(range.end);
        let read = async {
            let mut stream = self.store.read(&self.file.object, Span::Range(start..end)).await?;
            let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or_default());
            while let Some(piece) = stream.try_next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok(Bytes::from(bytes))
        };
        let bytes = self.runtime.block_on(read).map_err(|error: crate::store::Error| io::Error::other(error))?;
        if bytes.len() as u64 != end - start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    /// The whole file, held against its checksums.
    fn proven(&self) -> io::Result<Vec<u8>> {
        let stored = self.read(0..self.file.stored)?;
        let of_object = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", self.file.object));
        let mut decoder = Decoder::new(&self.file, Vec::new())?;
        decoder.push(&stored).map_err(of_object)?;
        decoder.finish().map_err(of_object)
    }
}

impl Source for StoredSource {
    fn len(&self) -> u64 {
        self.object.file.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.len());
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let room = &mut buffer[filled..];
            let at = offset + filled as u64;
            filled += match &self.kind {
                Kind::Held(bytes) => {
                    bytes.as_slice().read_at(at, room)?;
                    room.len()
                }
                Kind::Plain(spans) => self.read_spans(&mut lock(spans), at, room)?,
                Kind::Frames(frames) => self.read_frames(&mut lock(frames), at, room)?,
            };
        }
        Ok(())
    }
}

/// What is held is whole at any moment: a reader that panicked leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy(from: &[u8], room: &mut [u8]) -> usize {
    let count = from.len().min(room.len());
    room[..count].copy_from_slice(&from[..count]);
    count
}

impl StoredSource {
    /// Fills as much of `room` as one span has.
    fn read_spans(&self, spans: &mut VecDeque<(u64, Bytes)>, at: u64, room: &mut [u8]) -> io::Result<usize> {
        for (start, span) in spans.iter() {
            let within = at.checked_sub(*start).and_then(|within| usize::try_from(within).ok());
            if let Some(rest) = within.and_then(|within| span.get(within..)).filter(|rest| !rest.is_empty()) {
                return Ok(copy(rest, room));
            }
        }
        // Who goes forwards wants more soon; who jumps wants little.
        let before = spans.iter().find(|(start, span)| start + span.len() as u64 == at);
        let length = before.map_or(SPAN_BYTES_MIN, |(_, span)| (2 * span.len() as u64).min(SPAN_BYTES_MAX));
        let length = length.max((room.len() as u64).min(SPAN_BYTES_MAX)).min(self.len() - at);
        let span = self.object.read(at..at + length)?;
        let count = copy(&span, room);
        if spans.len() == HELD_MAX {
            spans.pop_front();
        }
        spans.push_back((at, span));
        Ok(count)
    }

    /// Fills as much of `room` as one frame has.
    fn read_frames(&self, frames: &mut Frames, at: u64, room: &mut [u8]) -> io::Result<usize> {
        let slice = SLICE_BYTES as u64;
        let wanted = usize::try_from(at / slice).map_err(io::Error::other)?;
        let within = usize::try_from(at % slice).map_err(io::Error::other)?;
        let position = frames.held.iter().position(|(number, _)| *number == wanted);
        let position = match position {
            Some(position) => position,
            None => {
                // Frames of which it is not known yet where they start are found by reading those before.
                let from = wanted.min(frames.starts.len() - 1);
                for number in from..=wanted {
                    let plain = self.frame(frames, number)?;
                    if number == wanted {
                        if frames.held.len() == HELD_MAX {
                            frames.held.pop_front();
                        }
                        frames.held.push_back((number, plain));
                    }
                }
                frames.held.len() - 1
            }
        };
        let (_, plain) = &frames.held[position];
        let rest = plain.get(within..).filter(|rest| !rest.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(copy(rest, room))
    }

    /// Reads a frame whose start is known, and notes the start of the next one.
    fn frame(&self, frames: &mut Frames, number: usize) -> io::Result<Vec<u8>> {
        let start = frames.starts[number];
        let left = self.object.file.stored.saturating_sub(start);
        let end = match frames.starts.get(number + 1) {
            Some(next) => *next,
            None => start + left.min(FRAME_BYTES_MAX as u64),
        };
        let stored = self.object.read(start..end)?;
        let bad = |text: String| {
            let object = &self.object.file.object;
            io::Error::new(io::ErrorKind::InvalidData, format!("{object}: frame {number} at {start}: {text}"))
        };
        let length = zstd::zstd_safe::find_frame_compressed_size(&stored)
            .map_err(|code| bad(zstd::zstd_safe::get_error_name(code).to_owned()))?;
        let plain = zstd::bulk::decompress(&stored[..length], SLICE_BYTES).map_err(|error| bad(error.to_string()))?;
        let expected = (self.len() - number as u64 * SLICE_BYTES as u64).min(SLICE_BYTES as u64);
        if plain.len() as u64 != expected {
            return Err(bad(format!("expected {expected} plain bytes, got {}", plain.len())));
        }
        if number + 1 == frames.starts.len() {
            frames.starts.push(start + length as u64);
        }
        Ok(plain)
    }
}

/// What is known of a component in frames.
#[derive(Debug)]
struct Frames {
    /// Where each frame starts among the stored bytes, of those that are known, and of one more.
    starts: Vec<u64>,
    held: VecDeque<(usize, Vec<u8>)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::Hex;
    use crate::store::{Memory, NodeName, ObjectKey, key};

    fn stored_file(object: ObjectKey, offset: u64, plain: &[u8], stored: usize, codec: Codec) -> StoredFile {
        StoredFile {
            component: "Data.db".to_owned(),
            object,
            offset,
            stored: stored as u64,
            length: plain.len() as u64,
            codec,
            crc32: Hex(crc32fast::hash(plain).to_be_bytes()),
            blake3: Hex(*blake3::hash(plain).as_bytes()),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime_ns: 0,
        }
    }

    /// Every codec and length gives the bytes that were stored, from anywhere.
    #[test]
    fn any_range_comes_back() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
        let node = NodeName { cluster: "c".to_owned(), host_id: uuid::Uuid::nil() };
        for (number, length) in [0_usize, 1, 4 << 20, (4 << 20) + 1, 11 << 20].into_iter().enumerate() {
            for codec in [Codec::None, Codec::Zstd] {
                let plain: Vec<u8> = (0..length).map(|n| (n / 777 % 251) as u8 ^ (n >> 16) as u8).collect();
                let mut object = vec![7; 512];
                match codec {
                    Codec::None => object.extend_from_slice(&plain),
                    Codec::Zstd if plain.is_empty() => {}
                    Codec::Zstd => {
                        let mut frames = crate::pack::frames::Frames::new().expect("a compressor");
                        object.extend_from_slice(frames.whole(&plain).expect("compressed"));
                    }
                }
                let stored = object.len() - 512;
                object.extend_from_slice(&[9; 100]);
                let store: Arc<dyn Store> = Arc::new(Memory::new());
                let key = key::part(&node, "ks", "t-00000000000000000000000000000000", &format!("{number:032x}"))
                    .expect("a key");
                runtime.block_on(store.create(&key, object.into())).expect("stored");
                let file = stored_file(key, 512, &plain, stored, codec);
                let files = BTreeMap::from([(Component::Data, file)]);
                let runtime = runtime.handle().clone();
                let of = Stored { store, runtime, table: "ks.t".to_owned(), is_of_index: false, files };
                let source = of.open(&Component::Data).expect("opened");
                assert_eq!(source.len(), length as u64);
                let mut seed = 12345_usize;
                for _ in 0..60 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let start = (seed >> 16) % (length + 1);
                    let count = ((seed >> 40) % 300_000).min(length - start);
                    let mut buffer = vec![0; count];
                    source.read_at(start as u64, &mut buffer).expect("read");
                    assert_eq!(buffer, plain[start..start + count], "{length} {codec:?} {start} {count}");
                }
                assert!(source.read_at(length as u64, &mut [0]).is_err());
            }
        }
    }
}
