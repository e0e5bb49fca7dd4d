//! The way of one SSTable's components into objects: small ones into one tar, large ones into objects of their own.

use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::TryStreamExt;
use helenus_sstable::component::Component;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Context, Item};
use crate::config::Compress;
use crate::fs::Dir;
use crate::inspect::reader::Reader;
use crate::inspect::{Inspection, Sink};
use crate::manifest::model::{Amount, Codec, Hex, StoredFile};
use crate::pack::frames::Frames;
use crate::pack::tar::Pack;
use crate::pack::unpack;
use crate::store::key::{KeyPrefix, ObjectKey, Root, SstableIdentity};
use crate::store::{self, Depth, Listed, Upload, key};

/// Below this a frame rarely saves a tar block.
const COMPRESS_BYTES_MIN: usize = 1024;

/// Bytes in a tar that compression has to save: less, and plain is better for whoever restores by hand.
const TAR_BLOCK: usize = 512;

/// Objects of one SSTable being made. Nothing exists in the store before [`Outgoing::finish`].
pub struct Outgoing<'a> {
    context: &'a Arc<Context>,
    item: &'a Item,
    directory: KeyPrefix,
    /// On loan from the context.
    frames: Option<Frames>,
    pack: Pack,
    sent: Vec<Sent>,
    open: Option<Streaming>,
}

/// All objects of an SSTable exist.
pub struct Finished {
    /// Its files.
    pub files: Vec<StoredFile>,
    /// What of them was not in the store before.
    pub added: Amount,
}

/// A component whose bytes are on their way.
struct Sent {
    component: Component,
    length: u64,
    codec: Codec,
    /// Absent for a streamed Data.db: the inspection has it.
    crc32: Option<u32>,
    blake3: blake3::Hash,
    at: At,
}

enum At {
    Pack { offset: u64, stored: u64 },
    Object(Stream),
}

/// A large component while its slices come.
struct Streaming {
    component: Component,
    length: u64,
    codec: Codec,
    crc32: Option<crc32fast::Hasher>,
    blake3: blake3::Hasher,
    stored: u64,
    stream: Stream,
}

/// A large object that lies in the store.
struct Placed {
    key: ObjectKey,
    /// Its length there.
    stored: u64,
    /// It was not there before.
    is_new: bool,
}

/// A large object.
struct Stream {
    key: ObjectKey,
    /// Bytes that were sent, once all were, or that lie there already.
    stored: u64,
    to: Destination,
}

enum Destination {
    /// To the store, through a task that writes while we read.
    Store { slices: Option<mpsc::Sender<Bytes>>, task: JoinHandle<Result<Box<dyn Upload>, store::Error>> },
    /// Nowhere: the object lies there already.
    Existing,
}

impl<'a> Outgoing<'a> {
    /// Objects for `item` under `root`, named by the sum of its Data.db.
    pub fn new(context: &'a Arc<Context>, item: &'a Item, root: Root, digest: Option<u32>) -> anyhow::Result<Self> {
        let identity = SstableIdentity {
            descriptor: &item.files.descriptor.to_string(),
            digest,
            length: item.files.lengths.get(&Component::Data).copied().unwrap_or(0),
        };
        let directory = key::sstable_directory(
            root,
            context.epoch,
            &context.node,
            &item.keyspace,
            &item.table_directory,
            item.index.as_deref(),
            identity,
        )?;
        let spare = context.frames.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let frames = match spare {
            Some(frames) => frames,
            None => Frames::new()?,
        };
        Ok(Self { context, item, directory, frames: Some(frames), pack: Pack::default(), sent: Vec::new(), open: None })
    }

    fn codec(&self, component: &Component) -> Codec {
        let is_compressed =
            *component == Component::Data && self.item.files.lengths.contains_key(&Component::CompressionInfo);
        match self.context.compress {
            Compress::None => Codec::None,
            Compress::Auto if is_compressed => Codec::None,
            Compress::Auto | Compress::All => Codec::Zstd,
        }
    }

    fn stream(&self, name: &str, length: Option<u64>) -> anyhow::Result<Stream> {
        let key = self.directory.object(name)?;
        if let Some(stored) = self.context.existing.get(&key).or_else(|| self.item.in_base.get(&key)) {
            return Ok(Stream { key, stored: *stored, to: Destination::Existing });
        }
        let (slices, mut waiting) = mpsc::channel::<Bytes>(1);
        let (store, object) = (self.context.store.clone(), key.clone());
        let task = self.context.runtime.spawn(async move {
            let mut upload = store.begin(&object, length).await?;
            while let Some(slice) = waiting.recv().await {
                if let Err(error) = upload.write(slice).await {
                    upload.abort().await;
                    return Err(error);
                }
            }
            Ok(upload)
        });
        Ok(Stream { key, stored: 0, to: Destination::Store { slices: Some(slices), task } })
    }

    /// The component that was begun has all its slices.
    fn close(&mut self) {
        let Some(Streaming { component, length, codec, crc32, blake3, stored, mut stream }) = self.open.take() else {
            return;
        };
        if let Destination::Store { slices, .. } = &mut stream.to {
            *slices = None;
            stream.stored = stored;
        }
        let crc32 = crc32.map(crc32fast::Hasher::finalize);
        self.sent.push(Sent { component, length, codec, crc32, blake3: blake3.finalize(), at: At::Object(stream) });
    }

    /// Makes all objects exist; the inspection has proven their bytes.
    pub fn finish(mut self, inspection: &Inspection) -> anyhow::Result<Finished> {
        self.close();
        let pack = std::mem::take(&mut self.pack);
        let mut added = Amount::default();
        let (pack_key, pack_is_new) = if pack.is_empty() {
            (None, false)
        } else {
            let (tar, hash) = pack.finish()?;
            let key = self.directory.object(&format!("meta-{hash}.tar"))?;
            let is_new = !self.context.existing.contains_key(&key)
                && match self.context.runtime.block_on(self.context.store.create(&key, tar)) {
                    Ok(_) => true,
                    // The key is the hash of the content: what is there is what we have.
                    Err(store::Error::AlreadyExists { .. }) => false,
                    Err(error) => return Err(error.into()),
                };
            (Some(key), is_new)
        };
        let attributes = Dir::open(&self.item.files.directory)?;
        let mut files = Vec::new();
        // From the first on; what is left when one fails is given up.
        self.sent.reverse();
        while let Some(sent) = self.sent.pop() {
            let stat = attributes.stat_child(self.item.files.descriptor.file_name(&sent.component))?;
            let crc32 = sent.crc32.or(inspection.data_crc).context("every component has a sum")?;
            let (object, offset, stored, is_new) = match sent.at {
                At::Pack { offset, stored } => {
                    (pack_key.clone().context("a member has a tar")?, offset, stored, pack_is_new)
                }
                At::Object(stream) => {
                    let Placed { key, stored, is_new } =
                        self.finish_stream(stream, &sent.component, sent.codec, sent.blake3)?;
                    (key, 0, stored, is_new)
                }
            };
            if is_new {
                let is_data = sent.component == Component::Data;
                added.add(Amount { sstables: is_data.into(), files: 1, bytes: sent.length, stored_bytes: stored });
            }
            files.push(StoredFile {
                component: sent.component.name().to_owned(),
                object,
                offset,
                stored,
                length: sent.length,
                codec: sent.codec,
                crc32: Hex(crc32.to_be_bytes()),
                blake3: Hex(*sent.blake3.as_bytes()),
                mode: stat.mode,
                uid: stat.uid,
                gid: stat.gid,
                mtime_ns: stat.mtime_ns,
            });
        }
        files.sort_by(|a, b| a.component.cmp(&b.component));
        Ok(Finished { files, added })
    }

    /// Makes a large object exist, with these plain bytes.
    fn finish_stream(
        &self,
        stream: Stream,
        component: &Component,
        codec: Codec,
        hash: blake3::Hash,
    ) -> anyhow::Result<Placed> {
        let placed = self.place(stream)?;
        let length = self.item.files.lengths.get(component).copied().unwrap_or(0);
        if *component == Component::Data && codec == Codec::None && placed.stored != length {
            bail!(
                "{}: expected {length} bytes, the repository holds {}: delete that object, and run the backup again",
                placed.key,
                placed.stored
            );
        }
        // The directory names the bytes of Data.db, and nothing gets there unproven. What the other components hold it
        // does not say: one that differs gets a name that does.
        let is_right = placed.is_new
            || *component == Component::Data
            || self.context.runtime.block_on(self.holds(&placed.key, codec, hash))?;
        if is_right {
            return Ok(placed);
        }
        let name = format!("{}-{}", placed.key.name(), &hash.to_hex()[..16]);
        self.send_again(&name, component, codec)
    }

    /// Waits until the object is there, ours or another's.
    fn place(&self, stream: Stream) -> anyhow::Result<Placed> {
        let runtime = &self.context.runtime;
        let Stream { key, stored, to } = stream;
        let Destination::Store { task, .. } = to else { return Ok(Placed { key, stored, is_new: false }) };
        let upload = runtime.block_on(task).context("an upload failed")?;
        match upload.and_then(|upload| runtime.block_on(upload.finish())) {
            Ok(_) => Ok(Placed { key, stored, is_new: true }),
            Err(store::Error::AlreadyExists { .. }) => {
                let stored = runtime.block_on(self.stored_length(&key))?;
                Ok(Placed { key, stored, is_new: false })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn stored_length(&self, key: &ObjectKey) -> anyhow::Result<u64> {
        let mut listing = self.context.store.list(&KeyPrefix::from(key), None, Depth::Level);
        while let Some(listed) = listing.try_next().await? {
            if let Listed::Object(object) = listed
                && object.key() == key
            {
                return Ok(object.length());
            }
        }
        bail!("{key}: the store said that it exists, and does not list it")
    }

    /// True if the stored object has these plain bytes.
    async fn holds(&self, key: &ObjectKey, codec: Codec, hash: blake3::Hash) -> anyhow::Result<bool> {
        let stream = self.context.store.read(key, store::Span::Whole).await?;
        Ok(unpack::hash(stream, codec).await.is_ok_and(|stored| stored == hash))
    }

    fn send_again(&self, name: &str, component: &Component, codec: Codec) -> anyhow::Result<Placed> {
        let mut again = Self::new(self.context, self.item, Root::Data, None)?;
        again.directory = self.directory.clone();
        let mut reader = Reader::open(&self.item.files.path(component), &self.context.buffers)?;
        again.begin_as(name, component, reader.length(), codec)?;
        while let Some(slice) = reader.next_slice()? {
            again.slice(slice)?;
        }
        again.close();
        let Some(Sent { at: At::Object(stream), .. }) = again.sent.pop() else { bail!("{name}: nothing was sent") };
        self.place(stream)
    }

    fn begin_as(&mut self, name: &str, component: &Component, length: u64, codec: Codec) -> anyhow::Result<()> {
        self.close();
        let hint = (codec == Codec::None).then_some(length);
        let stream = self.stream(name, hint)?;
        // The inspection has the sum of Data.db already, from the pass that checks its chunks.
        let crc32 = (*component != Component::Data).then(crc32fast::Hasher::new);
        let (component, blake3) = (component.clone(), blake3::Hasher::new());
        self.open = Some(Streaming { component, length, codec, crc32, blake3, stored: 0, stream });
        Ok(())
    }
}

/// What is not finished is given up: nothing of it comes to exist.
impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.close();
        for sent in std::mem::take(&mut self.sent) {
            if let At::Object(Stream { to: Destination::Store { task, .. }, .. }) = sent.at {
                self.context.runtime.block_on(async {
                    if let Ok(Ok(upload)) = task.await {
                        upload.abort().await;
                    }
                });
            }
        }
        self.context.frames.lock().unwrap_or_else(PoisonError::into_inner).extend(self.frames.take());
    }
}

fn stored_name(component: &Component, codec: Codec) -> String {
    match codec {
        Codec::None => component.name().to_owned(),
        Codec::Zstd => format!("{component}.zst"),
    }
}

impl Sink for Outgoing<'_> {
    fn whole(&mut self, component: &Component, bytes: &Bytes) -> anyhow::Result<()> {
        self.context.check()?;
        self.close();
        let (mut codec, mut stored) = (Codec::None, &bytes[..]);
        if self.codec(component) == Codec::Zstd && bytes.len() >= COMPRESS_BYTES_MIN {
            let frames = self.frames.as_mut().context("a compressor")?.whole(bytes)?;
            if frames.len() + TAR_BLOCK <= bytes.len() {
                (codec, stored) = (Codec::Zstd, frames);
            }
        }
        let offset = self.pack.append(&stored_name(component, codec), stored)?;
        self.sent.push(Sent {
            component: component.clone(),
            length: bytes.len() as u64,
            codec,
            crc32: Some(crc32fast::hash(bytes)),
            blake3: blake3::hash(bytes),
            at: At::Pack { offset, stored: stored.len() as u64 },
        });
        Ok(())
    }

    fn begin(&mut self, component: &Component, length: u64) -> anyhow::Result<()> {
        let codec = self.codec(component);
        self.begin_as(&stored_name(component, codec), component, length, codec)
    }

    fn slice(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.context.check()?;
        let Some(open) = &mut self.open else { bail!("a slice of no component") };
        open.blake3.update(&bytes);
        if let Some(crc32) = &mut open.crc32 {
            crc32.update(&bytes);
        }
        let Destination::Store { slices, .. } = &open.stream.to else { return Ok(()) };
        let stored = match open.codec {
            Codec::None => bytes,
            Codec::Zstd => self.frames.as_mut().context("a compressor")?.frame(&bytes)?,
        };
        open.stored += stored.len() as u64;
        // If the task has ended, it has an error, which `finish` or `abort` meets.
        let taken = slices.as_ref().is_some_and(|slices| {
            // The next slice is read while this one is written, and not before: no third one waits in between.
            slices.blocking_send(stored).is_ok() && self.context.runtime.block_on(slices.reserve()).is_ok()
        });
        if taken { Ok(()) } else { Err(self.failed_stream()) }
    }
}

impl Outgoing<'_> {
    /// Why the task of the open stream ended before its time.
    fn failed_stream(&mut self) -> anyhow::Error {
        let Some(Streaming { stream: Stream { key, to: Destination::Store { task, .. }, .. }, .. }) = self.open.take()
        else {
            return anyhow::anyhow!("no upload is open");
        };
        match self.context.runtime.block_on(task) {
            Ok(Err(error)) => error.into(),
            Ok(Ok(_)) => anyhow::anyhow!("{key}: the upload ended early"),
            Err(error) => anyhow::Error::new(error).context(format!("{key}: the upload failed")),
        }
    }
}
