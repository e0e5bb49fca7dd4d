//! One SSTable on its way to every repository that lacks it.
//!
//!     inspect ─► small components: one tar ────────────────────┐
//!            └─► large ones: hashed, compressed, slice by slice ┴─► Outgoing, one for each repository
//!
//! What is done with the bytes is done once, and the repositories share what comes of it. All are given a slice before
//! the next one is read, so the slowest sets the pace and no memory fills up with what it has not taken yet.

use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::future::join_all;
use helenus_sstable::component::Component;

use super::again::FrameLengths;
use super::outgoing::{Finished, Outgoing, Tar};
use super::{Context, Item};
use crate::config::Compress;
use crate::fs::{Dir, FileStat};
use crate::inspect::{Inspection, Sink};
use crate::manifest::model::Codec;
use crate::pack::frames::Frames;
use crate::pack::tar::Pack;
use crate::store::key::Root;

/// Below this a frame rarely saves a tar block.
const COMPRESS_BYTES_MIN: usize = 1024;

/// Bytes in a tar that compression has to save: less, and plain is better for whoever restores by hand.
const TAR_BLOCK: usize = 512;

/// Objects of one SSTable being made, in several repositories. None exists before [`FanOut::finish`].
pub struct FanOut<'a> {
    context: &'a Arc<Context>,
    item: &'a Item,
    /// On loan from the context.
    frames: Option<Frames>,
    pack: Pack,
    sent: Vec<Sent>,
    open: Option<Streaming>,
    outgoing: Vec<Outgoing<'a>>,
}

/// A component whose bytes are all on their way.
pub struct Sent {
    pub component: Component,
    /// Plain bytes.
    pub length: u64,
    pub codec: Codec,
    /// Absent for a streamed Data.db: the inspection has it.
    pub crc32: Option<u32>,
    pub blake3: blake3::Hash,
    /// Where in the tar; `None` for a large one, which has an object of its own.
    pub in_tar: Option<InTar>,
}

/// The place of a small component.
#[derive(Clone, Copy)]
pub struct InTar {
    pub offset: u64,
    pub stored: u64,
}

/// A component that was sent, and proven.
pub struct Proven {
    pub sent: Sent,
    pub crc32: u32,
    pub stat: FileStat,
}

/// A large component while its slices come.
struct Streaming {
    component: Component,
    length: u64,
    codec: Codec,
    crc32: Option<crc32fast::Hasher>,
    blake3: blake3::Hasher,
    /// Of what is compressed.
    frames: Option<FrameLengths>,
}

impl<'a> FanOut<'a> {
    /// Objects for `item` under `root`, named by the sum of its Data.db.
    pub fn new(context: &'a Arc<Context>, item: &'a Item, root: Root, digest: Option<u32>) -> anyhow::Result<Self> {
        let outgoing = item.to.iter().map(|to| Outgoing::new(context, item, to, root, digest));
        Ok(Self {
            context,
            item,
            frames: Some(context.take_frames()?),
            pack: Pack::default(),
            sent: Vec::new(),
            open: None,
            outgoing: outgoing.collect::<anyhow::Result<_>>()?,
        })
    }

    /// An error if there is no use in reading on.
    fn check(&self) -> anyhow::Result<()> {
        self.context.check()?;
        if !self.item.is_wanted(self.context) {
            bail!("no repository is left that lacks it");
        }
        Ok(())
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

    /// The component that was begun has all its slices.
    fn close(&mut self) {
        let Some(Streaming { component, length, codec, crc32, blake3, .. }) = self.open.take() else { return };
        self.outgoing.iter_mut().for_each(Outgoing::close);
        let crc32 = crc32.map(crc32fast::Hasher::finalize);
        self.sent.push(Sent { component, length, codec, crc32, blake3: blake3.finalize(), in_tar: None });
    }

    /// Makes all objects exist, in every repository at the same time; the inspection has proven their bytes. Returns
    /// what came to lie where, without the repositories that failed.
    pub fn finish(mut self, inspection: &Inspection) -> anyhow::Result<Vec<Finished>> {
        self.close();
        let pack = std::mem::take(&mut self.pack);
        let tar = if pack.is_empty() { None } else { Some(pack.finish().map(|(body, hash)| Tar { body, hash })?) };
        let attributes = Dir::open(&self.item.files.directory)?;
        let proven = std::mem::take(&mut self.sent).into_iter().map(|sent| {
            let crc32 = sent.crc32.or(inspection.data_crc).context("every component has a sum")?;
            let stat = attributes.stat_child(self.item.files.descriptor.file_name(&sent.component))?;
            Ok(Proven { sent, crc32, stat })
        });
        let proven: Vec<Proven> = proven.collect::<anyhow::Result<_>>()?;
        let finished = self.outgoing.iter_mut().map(|outgoing| outgoing.finish(&proven, tar.as_ref()));
        let finished = self.context.runtime.block_on(join_all(finished));
        finished.into_iter().filter_map(anyhow::Result::transpose).collect()
    }
}

impl Drop for FanOut<'_> {
    fn drop(&mut self) {
        self.context.frames.lock().unwrap_or_else(PoisonError::into_inner).extend(self.frames.take());
    }
}

fn stored_name(component: &Component, codec: Codec) -> String {
    match codec {
        Codec::None => component.name().to_owned(),
        Codec::Zstd => format!("{component}.zst"),
    }
}

impl Sink for FanOut<'_> {
    fn whole(&mut self, component: &Component, bytes: &Bytes) -> anyhow::Result<()> {
        self.check()?;
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
            in_tar: Some(InTar { offset, stored: stored.len() as u64 }),
        });
        Ok(())
    }

    fn begin(&mut self, component: &Component, length: u64) -> anyhow::Result<()> {
        self.close();
        let codec = self.codec(component);
        let name = stored_name(component, codec);
        let frames = (codec == Codec::Zstd).then(FrameLengths::default);
        for outgoing in &mut self.outgoing {
            outgoing.begin(&name, component, length, frames.clone())?;
        }
        // The inspection has the sum of Data.db already, from the pass that checks its chunks.
        let crc32 = (*component != Component::Data).then(crc32fast::Hasher::new);
        let (component, blake3) = (component.clone(), blake3::Hasher::new());
        self.open = Some(Streaming { component, length, codec, crc32, blake3, frames });
        Ok(())
    }

    fn slice(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.check()?;
        let Some(open) = &mut self.open else { bail!("a slice of no component") };
        open.blake3.update(&bytes);
        if let Some(crc32) = &mut open.crc32 {
            crc32.update(&bytes);
        }
        let taking: Vec<&mut Outgoing<'_>> = self.outgoing.iter_mut().filter(|outgoing| outgoing.takes()).collect();
        if taking.is_empty() {
            return Ok(());
        }
        let stored = match open.codec {
            Codec::None => bytes,
            Codec::Zstd => self.frames.as_mut().context("a compressor")?.frame(&bytes)?,
        };
        if let Some(frames) = &open.frames {
            frames.push(&stored)?;
        }
        let given = taking.into_iter().map(|outgoing| outgoing.slice(stored.clone()));
        self.context.runtime.block_on(join_all(given));
        Ok(())
    }
}
