//! Fetches SSTables: every byte proven before a file gets its name, several SSTables at a time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::runtime::Handle;

use crate::fs;
use crate::inspect::HELD_TOTAL_BYTES_MAX;
use crate::manifest::model::{StoredFile, StoredSSTable};
use crate::pack::unpack::{Decoder, Wrong, member};
use crate::store::{self, ObjectKey, Span, Store};

/// A tar holds what an inspection may hold, and headers; nothing that we wrote is longer.
const TAR_BYTES_MAX: u64 = HELD_TOTAL_BYTES_MAX + (4 << 20);

/// Reads the objects of SSTables.
#[derive(Debug, Clone)]
pub struct Fetcher {
    store: Arc<dyn Store>,
    runtime: Handle,
    /// Plain bytes proven so far.
    pub progress: Arc<AtomicU64>,
}

/// One file and what came of it.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The file.
    pub file: &'a StoredFile,
    /// Proven, or why not.
    pub result: Result<(), Wrong>,
}

impl Fetcher {
    /// A fetcher on the present runtime.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, runtime: Handle::current(), progress: Arc::default() }
    }

    /// Proves the stored bytes of an SSTable; with `to`, writes its files there. Blocks.
    pub fn fetch<'a>(&self, sstable: &'a StoredSSTable, to: Option<&Path>) -> Vec<Outcome<'a>> {
        let mut by_object = BTreeMap::<&ObjectKey, Vec<&StoredFile>>::new();
        for file in &sstable.files {
            by_object.entry(&file.object).or_default().push(file);
        }
        let mut outcomes = Vec::new();
        for (key, files) in by_object {
            if key.name().ends_with(".tar") {
                outcomes.extend(self.tar(sstable, key, files, to));
            } else {
                outcomes.extend(files.into_iter().map(|file| Outcome { file, result: self.large(sstable, file, to) }));
            }
        }
        outcomes
    }

    fn tar<'a>(
        &self,
        sstable: &StoredSSTable,
        key: &ObjectKey,
        files: Vec<&'a StoredFile>,
        to: Option<&Path>,
    ) -> Vec<Outcome<'a>> {
        let wanted: Vec<&StoredFile> = files.iter().copied().filter(|file| !is_there(sstable, file, to)).collect();
        if wanted.is_empty() {
            files.iter().for_each(|file| self.proven(file));
            return files.into_iter().map(|file| Outcome { file, result: Ok(()) }).collect();
        }
        let tar = self.runtime.block_on(store::read_small(self.store.as_ref(), key, TAR_BYTES_MAX));
        match tar {
            Ok(tar) => {
                files.into_iter().map(|file| Outcome { file, result: self.member(sstable, &tar, file, to) }).collect()
            }
            Err(error) => {
                // One object, one error; the other members have the same.
                let text = error.to_string();
                let mut first = Some(Wrong::from(error));
                files
                    .into_iter()
                    .map(|file| {
                        let again = || Wrong::SameObject(text.clone());
                        Outcome { file, result: Err(first.take().unwrap_or_else(again)) }
                    })
                    .collect()
            }
        }
    }

    fn member(&self, sstable: &StoredSSTable, tar: &Bytes, file: &StoredFile, to: Option<&Path>) -> Result<(), Wrong> {
        write(sstable, file, to, |target| member(tar, file, target).map(drop))?;
        self.proven(file);
        Ok(())
    }

    fn large(&self, sstable: &StoredSSTable, file: &StoredFile, to: Option<&Path>) -> Result<(), Wrong> {
        if is_there(sstable, file, to) {
            self.proven(file);
            return Ok(());
        }
        let span = Span::Range(file.offset..file.offset + file.stored);
        let mut stream = self.runtime.block_on(self.store.read(&file.object, span))?;
        let mut reported = 0;
        write(sstable, file, to, |target| {
            let mut decoder = Decoder::new(file, target)?;
            while let Some(bytes) = self.runtime.block_on(stream.try_next())? {
                decoder.push(&bytes)?;
                let step = (bytes.len() as u64).min(file.length - reported);
                reported += step;
                self.progress.fetch_add(step, Ordering::Relaxed);
            }
            decoder.finish().map(drop)
        })?;
        self.progress.fetch_add(file.length - reported, Ordering::Relaxed);
        Ok(())
    }

    fn proven(&self, file: &StoredFile) {
        self.progress.fetch_add(file.length, Ordering::Relaxed);
    }
}

/// Where a file of the SSTable goes below the table's directory.
pub fn target(sstable: &StoredSSTable, file: &StoredFile, table: &Path) -> PathBuf {
    let name = format!("{}-{}", sstable.sstable, file.component);
    match &sstable.index {
        Some(index) => table.join(index).join(name),
        None => table.join(name),
    }
}

/// True if an earlier run fetched the file: it has its name, which it got when it was proven, and is proven again, for
/// a power cut may have come between its bytes and the disk.
fn is_there(sstable: &StoredSSTable, file: &StoredFile, to: Option<&Path>) -> bool {
    let Some(table) = to else { return false };
    let prove = || -> anyhow::Result<bool> {
        let path = target(sstable, file, table);
        let found = std::fs::File::open(&path)?;
        if found.metadata()?.len() != file.length {
            return Ok(false);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(found)?;
        Ok(*hasher.finalize().as_bytes() == file.blake3.0)
    };
    prove().unwrap_or(false)
}

/// Runs `fill` on the file under a temporary name, and gives it its own when that has succeeded.
fn write(
    sstable: &StoredSSTable,
    file: &StoredFile,
    to: Option<&Path>,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let Some(table) = to else { return fill(&mut std::io::sink()) };
    let path = target(sstable, file, table);
    let temporary = path.with_extension("helenus-part");
    let mut target = fs::create(&temporary)?;
    fill(&mut target)?;
    fs::dress(&target, file.mode, file.mtime_ns)?;
    fs::settle(&temporary, &path)?;
    Ok(())
}

/// The first failure of an SSTable, as an error that names everything.
pub fn all_proven(sstable: &StoredSSTable, outcomes: Vec<Outcome<'_>>) -> anyhow::Result<()> {
    for Outcome { file, result } in outcomes {
        result.with_context(|| format!("{}-{} in {}", sstable.sstable, file.component, file.object))?;
    }
    Ok(())
}
