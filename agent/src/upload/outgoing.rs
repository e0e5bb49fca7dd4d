//! The objects of one SSTable on their way to one repository: a tar of its small components, and each large component
//! by itself. Whatever fails here is the repository's failure, and nobody else's.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::TryStreamExt;
use helenus_sstable::component::Component;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::again::{Again, FrameLengths};
use super::destination::Destination;
use super::fan_out::{Proven, Sent};
use super::{Context, Item, Receiver};
use crate::inspect::reader::Reader;
use crate::manifest::model::{Amount, Codec, Hex, StoredFile};
use crate::pack::{frames, unpack};
use crate::store::key::{KeyPrefix, ObjectKey, Root, SstableIdentity};
use crate::store::{self, Depth, Listed, Upload, key};

/// One SSTable on its way to one repository.
pub struct Outgoing<'a> {
    context: &'a Arc<Context>,
    item: &'a Item,
    to: &'a Receiver,
    destination: &'a Destination,
    directory: KeyPrefix,
    /// Large objects that are not placed yet, in the order in which they were begun.
    streams: VecDeque<Stream>,
}

/// The small components of an SSTable.
pub struct Tar {
    pub body: Bytes,
    pub hash: String,
}

/// All objects of an SSTable exist in a repository.
pub struct Finished {
    /// Number of the repository.
    pub destination: usize,
    /// Its files.
    pub files: Vec<StoredFile>,
    /// What of them was not there before.
    pub added: Amount,
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
    /// Bytes that were sent so far, or that lie there already.
    stored: u64,
    /// The task that writes while we read; `None` if the object lies there already.
    writer: Option<Writer>,
}

struct Writer {
    /// `None` once all slices were sent.
    slices: Option<mpsc::Sender<Bytes>>,
    task: JoinHandle<Result<Box<dyn Upload>, store::Error>>,
}

impl<'a> Outgoing<'a> {
    /// Objects for `item` under `root`, named by the sum of its Data.db.
    pub fn new(
        context: &'a Arc<Context>,
        item: &'a Item,
        to: &'a Receiver,
        root: Root,
        digest: Option<u32>,
    ) -> anyhow::Result<Self> {
        let identity = SstableIdentity {
            descriptor: &item.files.descriptor.to_string(),
            digest,
            length: item.files.lengths.get(&Component::Data).copied().unwrap_or(0),
        };
        let directory = key::sstable_directory(
            root,
            context.epochs[to.number].number,
            &context.node,
            &item.keyspace,
            &item.table_directory,
            item.index.as_deref(),
            identity,
        )?;
        let destination = &context.destinations.all()[to.number];
        Ok(Self { context, item, to, destination, directory, streams: VecDeque::new() })
    }

    /// A large object begins; its slices follow.
    pub fn begin(
        &mut self,
        name: &str,
        component: &Component,
        length: u64,
        frames: Option<FrameLengths>,
    ) -> anyhow::Result<()> {
        if self.destination.is_live() {
            self.streams.push_back(self.stream(name, component, length, frames)?);
        }
        Ok(())
    }

    /// True if the repository takes slices of the object that was begun: it lives, and has not got the object.
    pub fn takes(&self) -> bool {
        self.destination.is_live() && self.streams.back().is_some_and(|stream| stream.writer.is_some())
    }

    /// The next bytes of the object that was begun.
    pub async fn slice(&mut self, stored: Bytes) {
        if let Some(stream) = self.streams.back_mut() {
            self.destination.keep(stream.write(stored).await);
        }
    }

    /// The object that was begun has all its slices.
    pub fn close(&mut self) {
        if let Some(stream) = self.streams.back_mut() {
            stream.close();
        }
    }

    /// Makes all objects exist; `None` if the repository failed, now or before. An error is the node's or the run's.
    pub async fn finish(&mut self, proven: &[Proven], tar: Option<&Tar>) -> anyhow::Result<Option<Finished>> {
        if !self.destination.is_live() {
            return Ok(None);
        }
        let tar = match tar {
            Some(tar) => match self.destination.keep(self.create(tar).await) {
                None => return Ok(None),
                created => created,
            },
            None => None,
        };
        let (mut files, mut added) = (Vec::with_capacity(proven.len()), Amount::default());
        for Proven { sent, crc32, stat } in proven {
            let (object, offset, stored, is_new) = match sent.in_tar {
                Some(at) => {
                    let (key, is_new) = tar.clone().context("a member has a tar")?;
                    (key, at.offset, at.stored, is_new)
                }
                None => {
                    let Some(placed) = self.place_next(sent).await? else { return Ok(None) };
                    (placed.key, 0, placed.stored, placed.is_new)
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
        Ok(Some(Finished { destination: self.to.number, files, added }))
    }

    /// The tar's key, and whether it was not there before.
    async fn create(&self, tar: &Tar) -> anyhow::Result<(ObjectKey, bool)> {
        let key = self.directory.object(&format!("meta-{}.tar", tar.hash))?;
        if self.context.epochs[self.to.number].existing.contains_key(&key) {
            return Ok((key, false));
        }
        match self.destination.store.create(&key, tar.body.clone()).await {
            Ok(_) => Ok((key, true)),
            // The key is the hash of the content: what is there is what we have.
            Err(store::Error::AlreadyExists { .. }) => Ok((key, false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the next large object exist, with the plain bytes of `sent`; `None` if the repository failed.
    async fn place_next(&mut self, sent: &Sent) -> anyhow::Result<Option<Placed>> {
        let stream = self.streams.pop_front().context("a large component has an object")?;
        let name = format!("{}-{}", stream.key.name(), &sent.blake3.to_hex()[..16]);
        match self.destination.keep(self.place_right(stream, sent).await) {
            Some(None) => self.send_again(&name, sent).await,
            placed => Ok(placed.flatten()),
        }
    }

    /// The object, unless one with other bytes than those of `sent` has its name.
    async fn place_right(&self, stream: Stream, sent: &Sent) -> anyhow::Result<Option<Placed>> {
        let placed = self.place(stream).await?;
        if sent.component == Component::Data && sent.codec == Codec::None && placed.stored != sent.length {
            bail!(
                "{}: expected {} bytes, the repository holds {}: delete that object, and run the backup again",
                placed.key,
                sent.length,
                placed.stored
            );
        }
        // The directory names the bytes of Data.db, and nothing gets there unproven. What the other components hold it
        // does not say: one that differs gets a name that does.
        let is_right = placed.is_new
            || sent.component == Component::Data
            || self.holds(&placed.key, sent.codec, sent.blake3).await?;
        Ok(is_right.then_some(placed))
    }

    /// Waits until the object is there, ours or another's.
    async fn place(&self, stream: Stream) -> anyhow::Result<Placed> {
        let Stream { key, stored, writer } = stream;
        let Some(Writer { slices, task }) = writer else { return Ok(Placed { key, stored, is_new: false }) };
        drop(slices);
        let placed = match task.await.context("an upload failed")? {
            Ok(upload) => upload.finish().await,
            Err(error) => Err(error),
        };
        match placed {
            Ok(_) => Ok(Placed { key, stored, is_new: true }),
            Err(store::Error::AlreadyExists { .. }) => {
                let stored = self.stored_length(&key).await?;
                Ok(Placed { key, stored, is_new: false })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn stored_length(&self, key: &ObjectKey) -> anyhow::Result<u64> {
        let mut listing = self.destination.store.list(&KeyPrefix::from(key), None, Depth::Level);
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
        let stream = self.destination.store.read(key, store::Span::Whole).await?;
        Ok(unpack::hash(stream, codec).await.is_ok_and(|stored| stored == hash))
    }

    /// Reads a component once more, for this repository alone; `None` if that one failed.
    async fn send_again(&mut self, name: &str, sent: &Sent) -> anyhow::Result<Option<Placed>> {
        let path = self.item.files.path(&sent.component);
        let mut frames = self.context.take_frames()?;
        let mut reader = Reader::open(&path, &self.context.buffers)?;
        let lengths = (sent.codec == Codec::Zstd).then(FrameLengths::default);
        // Among the others it is given up with them, whatever ends this.
        self.streams.push_front(self.stream(name, &sent.component, reader.length(), lengths.clone())?);
        let mut hasher = blake3::Hasher::new();
        while let Some(slice) = reader.next_slice()? {
            self.context.check()?;
            hasher.update(&slice);
            let stored = match sent.codec {
                Codec::None => slice,
                Codec::Zstd => frames.frame(&slice)?,
            };
            if let Some(lengths) = &lengths {
                lengths.push(&stored)?;
            }
            let stream = self.streams.front_mut().context("the stream that was begun")?;
            if self.destination.keep(stream.write(stored).await).is_none() {
                return Ok(None);
            }
        }
        // The manifest will tell the sums of the first time.
        let again = hasher.finalize();
        if again != sent.blake3 {
            bail!(
                "{}: the first time it was read its BLAKE3 was {}, the second time {again}: somebody writes to it, or \
                 the disk or the memory is bad",
                path.display(),
                sent.blake3
            );
        }
        let stream = self.streams.pop_front().context("the stream that was begun")?;
        Ok(self.destination.keep(self.place(stream).await))
    }

    /// The stream of a component under `name`. `frames` is what it becomes, if it is compressed on its way.
    fn stream(
        &self,
        name: &str,
        component: &Component,
        length: u64,
        frames: Option<FrameLengths>,
    ) -> anyhow::Result<Stream> {
        let key = self.directory.object(name)?;
        let existing = &self.context.epochs[self.to.number].existing;
        if let Some(stored) = existing.get(&key).or_else(|| self.to.in_base.get(&key)) {
            return Ok(Stream { key, stored: *stored, writer: None });
        }
        let (slices, mut waiting) = mpsc::channel::<Bytes>(1);
        let (store, object) = (self.destination.store.clone(), key.clone());
        let hint = if frames.is_some() { frames::bytes_max(length) } else { length };
        let file = Reader::open(&self.item.files.path(component), &self.context.buffers)?;
        let again = Arc::new(Again::new(file, frames));
        // Data.db is the last to be read, and finished at once. What comes before it waits as long as that takes.
        let waits = *component != Component::Data;
        let task = self.context.runtime.spawn(async move {
            let mut upload = store.begin(&object, Some(hint)).await?;
            upload.reread_from(again);
            let written = async {
                while let Some(slice) = waiting.recv().await {
                    upload.write(slice).await?;
                }
                if waits { upload.seal().await } else { Ok(()) }
            };
            match written.await {
                Ok(()) => Ok(upload),
                Err(error) => {
                    upload.abort().await;
                    Err(error)
                }
            }
        });
        Ok(Stream { key, stored: 0, writer: Some(Writer { slices: Some(slices), task }) })
    }
}

impl Stream {
    /// Hands on a slice, and waits until another one may come.
    async fn write(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        let Some(Writer { slices: Some(slices), .. }) = &self.writer else { return Ok(()) };
        self.stored += bytes.len() as u64;
        // The next slice is read while this one is written, and not before: no third one waits in between.
        if slices.send(bytes).await.is_ok() && slices.reserve().await.is_ok() {
            return Ok(());
        }
        let Some(Writer { task, .. }) = self.writer.take() else { return Ok(()) };
        match task.await.with_context(|| format!("{}: the upload failed", self.key))? {
            Err(error) => Err(error.into()),
            Ok(_) => bail!("{}: the upload ended early", self.key),
        }
    }

    fn close(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.slices = None;
        }
    }
}

/// What is not finished is given up: nothing of it comes to exist.
impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
            if let Some(Writer { slices, task }) = stream.writer {
                drop(slices);
                self.context.runtime.block_on(async {
                    if let Ok(Ok(upload)) = task.await {
                        upload.abort().await;
                    }
                });
            }
        }
    }
}
