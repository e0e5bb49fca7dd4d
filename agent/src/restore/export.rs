//! A restore as one tar stream: `<keyspace>/<table>-<id>/<file>`, with the modes, owners and times of the old node.
//!
//! A file's bytes are proven as they pass, so a wrong one is known when it has gone out: then the stream ends in the
//! middle of a member, and the run fails. (Without the two empty blocks alone, `tar` takes an archive for complete.)

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context as _;
use futures::TryStreamExt;

use super::fetch::TAR_BYTES_MAX;
use super::judge::Tally;
use super::plan::Plan;
use super::reuse;
use crate::catalog::Catalog;
use crate::manifest::model::{StoredFile, StoredSSTable};
use crate::pack::unpack::{Decoder, Wrong, member};
use crate::store::key::NodeName;
use crate::store::{self, ObjectKey, Span, Store};

const BLOCK: u64 = 512;
/// What a tar header has room for; a longer name gets an entry of its own before.
const NAME_BYTES_MAX: usize = 100;
/// Header of an entry whose content is the name of the next one, as GNU tar writes it.
const LONG_NAME: &str = "././@LongLink";

/// Name of the member that ends an archive that could not be completed.
const BROKEN: &str = "INCOMPLETE: helenus export failed here";

/// Writes the tables of a plan to `out`. Returns what was written, without what a tar adds.
pub async fn export<W: Write>(
    store: Arc<dyn Store>,
    node: &NodeName,
    plan: &Plan,
    include_damaged: bool,
    out: &mut W,
) -> anyhow::Result<Tally> {
    let mut tar = Tar { out, written: Tally::default(), member: None };
    if let Err(error) = tar.tables(store, node, plan, include_damaged).await {
        // The error that matters is the first one.
        let _ = tar.cut();
        return Err(error);
    }
    tar.out.write_all(&[0; BLOCK as usize * 2])?;
    tar.out.flush()?;
    Ok(tar.written)
}

struct Tar<'a, W> {
    out: &'a mut W,
    written: Tally,
    /// The member under way: its length, and what is missing of its content.
    member: Option<(u64, u64)>,
}

/// Content of a member.
struct Content<'a, W> {
    out: &'a mut W,
    missing: &'a mut u64,
}

impl<W: Write> Write for Content<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        *self.missing = self.missing.saturating_sub(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Tar<'_, W> {
    async fn tables(
        &mut self,
        store: Arc<dyn Store>,
        node: &NodeName,
        plan: &Plan,
        include_damaged: bool,
    ) -> anyhow::Result<()> {
        let catalog = Catalog::of(store.as_ref());
        for table in &plan.tables {
            let Some(hash) = &table.part else { continue };
            let part = catalog.part(node, &table.from.keyspace, &table.from.directory, hash).await?;
            let folder = format!("{}/{}", table.keyspace, table.directory);
            for sstable in part.sstables.iter().filter(|sstable| include_damaged || !sstable.damaged) {
                self.sstable(store.as_ref(), &folder, sstable).await?;
            }
        }
        Ok(())
    }

    /// Begins a member that has no content, unless the one under way lacks some: whoever reads the archive meets its end
    /// there.
    fn cut(&mut self) -> io::Result<()> {
        match self.member {
            Some((_, 1..)) => return self.out.flush(),
            Some((length, 0)) => self.pad(length)?,
            None => {}
        }
        let mut header = tar::Header::new_gnu();
        header.set_path(BROKEN)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(BLOCK);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.flush()
    }

    async fn sstable(&mut self, store: &dyn Store, folder: &str, sstable: &StoredSSTable) -> anyhow::Result<()> {
        let mut by_object = BTreeMap::<&ObjectKey, Vec<&StoredFile>>::new();
        for file in &sstable.files {
            by_object.entry(&file.object).or_default().push(file);
        }
        for (key, files) in by_object {
            let packed = if key.name().ends_with(".tar") {
                Some(store::read_small(store, key, TAR_BYTES_MAX).await?)
            } else {
                None
            };
            for file in files {
                let name = format!("{folder}/{}", reuse::name(sstable, &file.component));
                let written = match &packed {
                    Some(packed) => self.small(&name, file, packed),
                    None => self.large(&name, file, store).await,
                };
                written.with_context(|| format!("{name} from {key}: the tar ends here, incomplete"))?;
                self.written.files += 1;
                self.written.bytes += file.length;
            }
        }
        Ok(())
    }

    fn small(&mut self, name: &str, file: &StoredFile, packed: &bytes::Bytes) -> Result<(), Wrong> {
        let bytes = member(packed, file, Vec::new())?;
        self.header(name, file)?;
        self.out.write_all(&bytes)?;
        Ok(self.pad(file.length)?)
    }

    async fn large(&mut self, name: &str, file: &StoredFile, store: &dyn Store) -> Result<(), Wrong> {
        let mut stream = store.read(&file.object, Span::Range(file.offset..file.offset + file.stored)).await?;
        self.header(name, file)?;
        let (_, missing) = self.member.insert((file.length, file.length));
        let mut decoder = Decoder::new(file, Content { out: &mut *self.out, missing })?;
        while let Some(bytes) = stream.try_next().await? {
            decoder.push(&bytes)?;
        }
        decoder.finish()?;
        self.pad(file.length)?;
        self.member = None;
        Ok(())
    }

    fn header(&mut self, name: &str, file: &StoredFile) -> io::Result<()> {
        if name.len() > NAME_BYTES_MAX {
            let mut header = tar::Header::new_gnu();
            header.set_path(LONG_NAME)?;
            header.set_entry_type(tar::EntryType::GNULongName);
            header.set_size(name.len() as u64 + 1);
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(name.as_bytes())?;
            self.out.write_all(&[0])?;
            self.pad(name.len() as u64 + 1)?;
        }
        let mut header = tar::Header::new_gnu();
        let cut = name.char_indices().map(|(at, _)| at).take_while(|at| *at < NAME_BYTES_MAX).last().unwrap_or(0);
        header.set_path(if name.len() > NAME_BYTES_MAX { &name[..cut] } else { name })?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.length);
        header.set_mode(file.mode & 0o7777);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        header.set_mtime(u64::try_from(file.mtime_ns / 1_000_000_000).unwrap_or(0));
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let missing = length.next_multiple_of(BLOCK) - length;
        io::copy(&mut io::Read::take(io::repeat(0), missing), self.out).map(drop)
    }
}
