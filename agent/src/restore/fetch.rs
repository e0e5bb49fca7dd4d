//! Fetches SSTables: every byte proven before a file gets its name, several SSTables at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::runtime::Handle;

use super::reuse::{self, APPENDED, Local};
use crate::fs::{self, FileStat};
use crate::inspect::HELD_TOTAL_BYTES_MAX;
use crate::manifest::model::{StoredFile, StoredSSTable};
use crate::pack::unpack::{Decoder, Wrong, member};
use crate::store::{self, ObjectKey, Span, Store};

/// A tar holds what an inspection may hold, and headers; nothing that we wrote is longer.
pub const TAR_BYTES_MAX: u64 = HELD_TOTAL_BYTES_MAX + (4 << 20);

/// How often a paused reader looks whether it may go on.
const PAUSE_LOOK: Duration = Duration::from_millis(50);

/// Reads the objects of SSTables.
#[derive(Debug, Clone)]
pub struct Fetcher {
    store: Arc<dyn Store>,
    runtime: Handle,
    /// Plain bytes proven so far.
    pub progress: Arc<AtomicU64>,
    /// Files proven so far.
    pub files: Arc<AtomicU64>,
    /// While it is set, no more is read.
    pub paused: Arc<AtomicBool>,
}

/// Where an SSTable's files go.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The directory of its table, or what stands in for it until the files are moved.
    pub table: &'a Path,
    /// Files of a node that may be the same.
    pub local: Option<&'a Local>,
    /// The directory whose owner and permissions the files get, on the same file system; without it, they have those of
    /// the old node.
    pub like: Option<&'a FileStat>,
}

/// How a file came to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Read from the store.
    Fetched,
    /// An earlier run had fetched it.
    Kept,
    /// The node had it.
    Reused,
}

/// One file and what came of it.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The file.
    pub file: &'a StoredFile,
    /// Proven, or why not.
    pub result: Result<How, Wrong>,
}

impl Fetcher {
    /// A fetcher on the present runtime.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            runtime: Handle::current(),
            progress: Arc::default(),
            files: Arc::default(),
            paused: Arc::default(),
        }
    }

    /// Proves the stored bytes of an SSTable; with `to`, writes its files there. Blocks.
    pub fn fetch<'a>(&self, sstable: &'a StoredSSTable, to: Option<Target<'_>>) -> Vec<Outcome<'a>> {
        let mut by_object = BTreeMap::<&ObjectKey, Vec<&StoredFile>>::new();
        let mut outcomes = Vec::new();
        for file in &sstable.files {
            self.wait_while_paused();
            match to.map_or(Ok(None), |to| there(sstable, file, to)) {
                Ok(None) => by_object.entry(&file.object).or_default().push(file),
                Ok(Some(how)) => {
                    self.proven(file);
                    outcomes.push(Outcome { file, result: Ok(how) });
                }
                Err(error) => outcomes.push(Outcome { file, result: Err(error) }),
            }
        }
        for (key, files) in by_object {
            self.wait_while_paused();
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
        to: Option<Target<'_>>,
    ) -> Vec<Outcome<'a>> {
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

    fn member(
        &self,
        sstable: &StoredSSTable,
        tar: &Bytes,
        file: &StoredFile,
        to: Option<Target<'_>>,
    ) -> Result<How, Wrong> {
        write(sstable, file, to, |target| member(tar, file, target).map(drop))?;
        self.proven(file);
        Ok(How::Fetched)
    }

    fn large(&self, sstable: &StoredSSTable, file: &StoredFile, to: Option<Target<'_>>) -> Result<How, Wrong> {
        let span = Span::Range(file.offset..file.offset + file.stored);
        let mut stream = self.runtime.block_on(self.store.read(&file.object, span))?;
        let mut reported = 0;
        write(sstable, file, to, |target| {
            let mut decoder = Decoder::new(file, target)?;
            while let Some(bytes) = self.runtime.block_on(stream.try_next())? {
                self.wait_while_paused();
                decoder.push(&bytes)?;
                let step = (bytes.len() as u64).min(file.length - reported);
                reported += step;
                self.progress.fetch_add(step, Ordering::Relaxed);
            }
            decoder.finish().map(drop)
        })?;
        self.progress.fetch_add(file.length - reported, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(How::Fetched)
    }

    fn wait_while_paused(&self) {
        while self.paused.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE_LOOK);
        }
    }

    fn proven(&self, file: &StoredFile) {
        self.progress.fetch_add(file.length, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where a file of the SSTable goes below the table's directory.
pub fn target(sstable: &StoredSSTable, file: &StoredFile, table: &Path) -> PathBuf {
    table.join(reuse::name(sstable, &file.component))
}

/// How the file comes to be there without being fetched, if it does.
fn there(sstable: &StoredSSTable, file: &StoredFile, to: Target<'_>) -> Result<Option<How>, Wrong> {
    let path = target(sstable, file, to.table);
    // It got its name when it was proven, and is proven again: a power cut may have come between its bytes and the disk.
    if reuse::is_equal(&path, file).unwrap_or(false) {
        return Ok(Some(How::Kept));
    }
    let (Some(local), Some(like)) = (to.local, to.like) else { return Ok(None) };
    let Some(found) = local.find(sstable, file, like.device) else { return Ok(None) };
    if file.component == APPENDED {
        let mut bytes = Vec::new();
        std::fs::File::open(found)?.take(file.length).read_to_end(&mut bytes)?;
        write(sstable, file, Some(to), |target| Ok(target.write_all(&bytes)?))?;
        return Ok(Some(How::Reused));
    }
    let linked = match fs::link(found, &path) {
        // What an earlier run left there before the power went is not the file.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::unlink(&path)?;
            fs::link(found, &path)
        }
        linked => linked,
    };
    match linked {
        Ok(()) => Ok(Some(How::Reused)),
        // The kernel links only what one may write to, and a file has so many names at most. Then it is fetched.
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unlink_if_there(path: &Path) -> fs::Result<()> {
    match fs::unlink(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes what was written of a file, under either name.
pub fn remove(sstable: &StoredSSTable, file: &StoredFile, table: &Path) -> fs::Result<()> {
    let path = target(sstable, file, table);
    unlink_if_there(&temporary(&path))?;
    unlink_if_there(&path)
}

fn is_refused(error: &fs::Error) -> bool {
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks)
}

/// The name of a file that is being written.
pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("helenus-part")
}

/// Runs `fill` on the file under a temporary name, and gives it its own when that has succeeded.
fn write(
    sstable: &StoredSSTable,
    file: &StoredFile,
    to: Option<Target<'_>>,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let Some(to) = to else { return fill(&mut std::io::sink()) };
    let path = target(sstable, file, to.table);
    let temporary = temporary(&path);
    let mut target = fs::create(&temporary)?;
    fill(&mut target)?;
    match to.like {
        Some(like) => {
            fs::dress(&target, like.mode & 0o666, file.mtime_ns)?;
            fs::give_file(&target, like, &path)?;
        }
        None => fs::dress(&target, file.mode, file.mtime_ns)?,
    }
    fs::settle(&temporary, &path)?;
    Ok(())
}
