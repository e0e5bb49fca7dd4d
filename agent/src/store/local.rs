//! A directory as a store: an object is a file below it.
//!
//!     <root>/.helenus-tmp/<uuid>      being written; locked by its writer, invisible to listings
//!          │ sync the file, then rename, refusing to replace
//!          ▼
//!     <root>/<key>                    complete and durable; then its directory is synced, and each new one above
//!
//! Several nodes may share one root. Nothing is read before it is written: `RENAME_NOREPLACE` decides who was first.
//!
//! **Page cache.** A backup is written once and, with luck, never read: it must not push Cassandra's hot pages out.
//! Large objects are written with `O_DIRECT` in aligned slices of 1 MiB, so they never enter the cache; where the file
//! system refuses, they are written through the cache, synced and dropped from it every 32 MiB. Reads of large objects
//! drop what they read. Measured on ext4 on a shared two-core machine, source in the page cache, 2.4 GB of 838 SSTables
//! by eight writers: direct 2.6 to 3.3 s, through the cache 2.8 to 4.2 s (one writer: 10.8 s, 12.8 s); `cp -r` of the
//! same, which makes four times as many files, and `sync`: 10.6 to 12.8 s. One object of 2 GB: 1.7 s, 2.0 s, 6.3 s.
//! Allocating ahead took a tenth to a quarter off direct writing.
//!
//! **Directories.** One that this process has made durable is kept open: an entry made through that descriptor is in
//! the very directory whose own entry is known to be durable, or fails with `NotFound` because somebody removed it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream;
use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::key::{KEY_BYTES_MAX, TEMPORARY};
use super::{
    BoxStream, ByteStream, Bytes, Depth, Error, KeyPrefix, Listed, ObjectKey, Span, Store, Stored, StreamExt, Upload,
};
use crate::fs::{self, Dir, FileStat, Kind};
use crate::pool::{ALIGNMENT, Buffer, Pool};
use crate::time;

const MIB: usize = 1 << 20;
/// Written through the cache, this much may be dirty before it is synced and dropped.
const BUFFERED_DIRTY_BYTES_MAX: u64 = 32 << 20;
/// Reads of at least this much leave nothing in the page cache.
const DROPPED_READ_BYTES_MIN: u64 = 8 << 20;
/// Read at once, not through a stream of pieces.
const SMALL_READ_BYTES_MAX: u64 = 64 << 10;
const OPEN_DIRECTORIES_MAX: usize = 128;
/// How often an object's directory may be removed under us before we call it an error.
const PUBLISH_ATTEMPTS_MAX: usize = 100;
const STALE_SECONDS: i64 = 24 * 60 * 60;
/// A repository holds all of a database: not for everyone's eyes.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// A store below one directory of a mounted file system.
#[derive(Debug, Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

impl Local {
    /// The store below `root`, which is created with the first object. What crashed writers left there more than a day
    /// ago is removed.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, Error> {
        let place = || root.as_ref().display().to_string();
        let root = std::path::absolute(root.as_ref())
            .map_err(|cause| Error::io("finding the repository's directory", place(), cause))?;
        match std::fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(Error::Location { location: place(), reason: "it is not a directory".to_owned() });
            }
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("opening the repository's directory", root.display(), cause));
            }
            _ => {}
        }
        remove_stale(&root.join(TEMPORARY));
        Ok(Self { shared: Arc::new(Shared { root, buffers: Pool::new(MIB), directories: Mutex::default() }) })
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.root.display().fmt(f)
    }
}

#[async_trait]
impl Store for Local {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<Stored, Error> {
        let (shared, key) = (self.shared.clone(), key.clone());
        blocking(move || {
            let temporary = Temporary::new(&shared)?;
            Writer::new(temporary, None).finish(&body, &shared, key)
        })
        .await
    }

    async fn begin(&self, key: &ObjectKey, length_hint: Option<u64>) -> Result<Box<dyn Upload>, Error> {
        let (shared, key) = (self.shared.clone(), key.clone());
        let temporary = blocking({
            let shared = shared.clone();
            move || Temporary::new(&shared)
        })
        .await?;
        Ok(Box::new(LocalUpload { shared, key, gathered: None, writer: Some(Writer::new(temporary, length_hint)) }))
    }

    async fn read(&self, key: &ObjectKey, span: Span) -> Result<ByteStream, Error> {
        let (shared, key) = (self.shared.clone(), key.clone());
        let place = self.shared.root.join(key.as_str());
        let (file, range, small) = {
            let (key, place) = (key.clone(), place.clone());
            blocking(move || {
                let (file, range) = shared.open_object(&key, &span)?;
                // A document: not worth another change of threads.
                let small = (range.end - range.start <= SMALL_READ_BYTES_MAX)
                    .then(|| read_piece(&file, &range, range.start, &key, &place));
                Ok::<_, Error>((file, range, small.transpose()?))
            })
            .await?
        };
        if let Some(small) = small {
            return Ok(stream::iter((!small.is_empty()).then_some(Ok(small))).boxed());
        }
        let (sender, receiver) = mpsc::channel(2);
        // One task reads ahead of its consumer by two pieces, and ends when nobody listens.
        if !range.is_empty() {
            spawn_blocking(move || read_pieces(&file, range, &key, &place, &sender));
        }
        Ok(receiver_stream(receiver))
    }

    fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        depth: Depth,
    ) -> BoxStream<'_, Result<Listed, Error>> {
        let listing = Listing { root: self.shared.root.clone(), prefix: prefix.clone(), after: after.cloned(), depth };
        // Starts with the first poll: a listing that nobody reads costs nothing.
        stream::once(async move {
            let (sender, receiver) = mpsc::channel(256);
            spawn_blocking(move || {
                let ended = listing.run(&mut |listed| match sender.blocking_send(Ok(listed)) {
                    Ok(()) => Walk::On,
                    Err(_) => Walk::Stop,
                });
                if let Err(error) = ended {
                    let _ = sender.blocking_send(Err(error.into()));
                }
            });
            receiver_stream(receiver)
        })
        .flatten()
        .boxed()
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        let (shared, keys) = (self.shared.clone(), keys.to_vec());
        blocking(move || shared.delete(&keys)).await
    }
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// For what does not come in aligned slices.
    buffers: Pool,
    directories: Mutex<Directories>,
}

/// Directories whose entries, up to the root, this process has made durable.
#[derive(Debug, Default)]
struct Directories {
    open: HashMap<String, (Arc<Dir>, u64)>,
    uses: u64,
}

impl Directories {
    fn get(&mut self, path: &str) -> Option<Arc<Dir>> {
        self.uses += 1;
        let (directory, used) = self.open.get_mut(path)?;
        *used = self.uses;
        Some(directory.clone())
    }

    fn insert(&mut self, path: String, directory: Arc<Dir>) {
        if self.open.len() >= OPEN_DIRECTORIES_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone())
        {
            self.open.remove(&oldest);
        }
        self.uses += 1;
        self.open.insert(path, (directory, self.uses));
    }
}

/// A directory to put an entry in, and what must be synced before that entry is durable.
struct Place {
    directory: Arc<Dir>,
    /// Path and directory of each level that may not be durable, top first, with the parent whose sync makes it so.
    unproven: Vec<(String, Arc<Dir>, Arc<Dir>)>,
}

impl Shared {
    fn cached<T>(&self, use_them: impl FnOnce(&mut Directories) -> T) -> T {
        use_them(&mut self.directories.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn root(&self) -> fs::Result<Arc<Dir>> {
        if let Some(root) = self.cached(|directories| directories.get("")) {
            return Ok(root);
        }
        fs::create_dir_durable(&self.root, DIRECTORY_MODE)?;
        let root = Arc::new(Dir::open(&self.root)?);
        self.cached(|directories| directories.insert(String::new(), root.clone()));
        Ok(root)
    }

    /// Opens the directory `path` (without a `/` at its end), creating what is missing.
    fn place(&self, path: &str) -> fs::Result<Place> {
        if path.is_empty() {
            return Ok(Place { directory: self.root()?, unproven: Vec::new() });
        }
        if let Some(directory) = self.cached(|directories| directories.get(path)) {
            return Ok(Place { directory, unproven: Vec::new() });
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Place { directory: parent, mut unproven } = self.place(above)?;
        match parent.mkdir_child(name, DIRECTORY_MODE) {
            // Perhaps made just now by somebody who has not synced it yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let directory = Arc::new(parent.open_child(name)?);
        unproven.push((path.to_owned(), directory.clone(), parent));
        Ok(Place { directory, unproven })
    }

    fn settle(&self, place: Place) -> fs::Result<()> {
        place.directory.sync()?;
        // Bottom up: on a journaling file system the first sync has committed the others too, and they cost little.
        for (_, _, parent) in place.unproven.iter().rev() {
            parent.sync()?;
        }
        self.cached(|directories| {
            place.unproven.into_iter().for_each(|(path, directory, _)| directories.insert(path, directory));
        });
        Ok(())
    }

    /// Gives a temporary, whose bytes are synced, the name `key`, durably.
    fn publish_synced(&self, mut temporary: Temporary, key: ObjectKey, length: u64) -> Result<Stored, Error> {
        let path = key.directory();
        let path = path.as_str().strip_suffix('/').unwrap_or_default();
        for attempt in 1.. {
            let renamed = self.place(path).and_then(|place| {
                temporary.directory.rename_child_to(&temporary.name, &place.directory, key.name()).map(|()| place)
            });
            match renamed {
                Ok(place) => {
                    temporary.gone = true;
                    self.settle(place)?;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // "Already there" promises as much as "stored": whoever created it may not have synced yet.
                    self.settle(self.place(path)?)?;
                    return Err(Error::AlreadyExists { key });
                }
                // A retention run removed a directory that had become empty. It is ours to make again.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < PUBLISH_ATTEMPTS_MAX => {
                    self.cached(|directories| directories.open.clear());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Stored::new(key, length))
    }

    fn open_object(&self, key: &ObjectKey, span: &Span) -> Result<(File, Range<u64>), Error> {
        let opened = Dir::open(&self.root).and_then(|root| root.open_below(key.as_str()));
        let file = match opened {
            Err(error) if is_absent(error.kind()) => return Err(Error::NotFound { key: key.clone() }),
            Err(error) if error.cause.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(Error::Io {
                    action: "opening",
                    place: error.path.display().to_string(),
                    cause: io::Error::other("a symbolic link, which is never followed inside a repository"),
                });
            }
            opened => opened?,
        };
        let stat = FileStat::of(&file).map_err(|cause| Error::io("reading the attributes", key, cause))?;
        if stat.kind != Kind::File {
            return Err(Error::NotFound { key: key.clone() });
        }
        let range = span.within(key, stat.size)?;
        // Advice: nothing depends on it.
        let _ = rustix::fs::fadvise(&file, range.start, None, Advice::Sequential);
        Ok((file, range))
    }

    fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        let mut by_directory: BTreeMap<KeyPrefix, Vec<&ObjectKey>> = BTreeMap::new();
        for key in keys {
            by_directory.entry(key.directory()).or_default().push(key);
        }
        let open = |path: &str| match Dir::open(&self.root).and_then(|root| open_directory(root, path)) {
            Err(error) if is_absent(error.kind()) => Ok(None),
            Err(error) => Err(error),
            Ok(directory) => Ok(Some(directory)),
        };
        let mut changed = BTreeSet::new();
        for (prefix, keys) in by_directory {
            let Some(mut directory) = open(prefix.as_str())? else { continue };
            for key in keys {
                match directory.unlink_child(key.name()) {
                    Err(error) if is_absent(error.kind()) || error.kind() == io::ErrorKind::IsADirectory => {}
                    done => done?,
                }
            }
            // Directories that became empty go too, or a repository would drown in them.
            let mut path = prefix.as_str().trim_end_matches('/');
            while !path.is_empty() {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                let Some(parent) = open(above)? else { break };
                if let Err(error) = parent.rmdir_child(name)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    break;
                }
                (path, directory) = (above, parent);
            }
            drop(directory);
            changed.insert(path.to_owned());
        }
        // One sync for all that went from a directory.
        for path in changed {
            if let Some(directory) = open(&path)? {
                directory.sync()?;
            }
        }
        Ok(())
    }
}

/// No object, because there is no such name or because a name on the way is a file.
fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn open_directory(root: Dir, path: &str) -> fs::Result<Dir> {
    path.split('/').filter(|segment| !segment.is_empty()).try_fold(root, |at, segment| at.open_child(segment))
}

/// A file that is no object yet. Dropped, its name goes.
#[derive(Debug)]
struct Temporary {
    directory: Arc<Dir>,
    name: String,
    file: File,
    gone: bool,
}

impl Temporary {
    fn new(shared: &Shared) -> fs::Result<Self> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        for attempt in 1.. {
            let place = shared.place(TEMPORARY)?;
            match place.directory.create_child(&name, FILE_MODE) {
                Ok(file) => {
                    // Tells `remove_stale` of other processes that somebody still writes. NFS may refuse; age decides.
                    let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
                    // This directory need not be durable, only what leaves it.
                    shared.cached(|directories| {
                        place.unproven.into_iter().for_each(|(path, dir, _)| directories.insert(path, dir));
                    });
                    return Ok(Self { directory: place.directory, name, file, gone: false });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < 3 => {
                    shared.cached(|directories| directories.open.clear());
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> fs::Result<()> {
        fs::write_all_at(&self.file, bytes, offset, self.directory.path())
    }

    fn sync(&self) -> fs::Result<()> {
        fs::sync_file(&self.file, self.directory.path())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.gone
            && let Err(error) = self.directory.unlink_child(&self.name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path().display(), %error, "an unfinished object could not be removed");
        }
    }
}

/// Removes what writers left that no longer run. Best effort: it is only space.
fn remove_stale(directory: &Path) {
    let Ok(directory) = Dir::open(directory) else { return };
    let Ok(entries) = directory.list() else { return };
    let oldest_ns = i128::from(time::now().as_second() - STALE_SECONDS) * 1_000_000_000;
    for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
        let Ok(stat) = directory.stat_child(&entry.name) else { continue };
        if i128::from(stat.mtime_ns) >= oldest_ns {
            continue;
        }
        let Ok(file) = directory.open_child_file(&entry.name) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let removed = directory.unlink_child(&entry.name);
            tracing::info!(path = %directory.path().join(&entry.name).display(), ?removed, "unfinished object of a crashed writer");
        }
    }
}

/// Bytes that are gathered into a buffer.
#[derive(Debug)]
struct Slice {
    buffer: Buffer,
    length: usize,
}

impl Slice {
    /// Takes as much of `bytes` as fits.
    fn take(&mut self, bytes: &mut Bytes) {
        let taken = bytes.split_to(bytes.len().min(MIB - self.length));
        self.buffer[self.length..self.length + taken.len()].copy_from_slice(&taken);
        self.length += taken.len();
    }

    fn is_full(&self) -> bool {
        self.length == MIB
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// How bytes get to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Undecided,
    Direct,
    Cached,
}

/// The file behind a large object, and how to write it without filling the page cache.
#[derive(Debug)]
struct Writer {
    temporary: Temporary,
    length_hint: Option<u64>,
    way: Way,
    offset: u64,
    dirty: u64,
}

impl Writer {
    fn new(temporary: Temporary, length_hint: Option<u64>) -> Self {
        Self { temporary, length_hint, way: Way::Undecided, offset: 0, dirty: 0 }
    }

    /// Appends whole slices; all but the last call must be multiples of [`ALIGNMENT`].
    fn write(&mut self, bytes: &[u8]) -> fs::Result<()> {
        let (aligned, tail) = bytes.split_at(bytes.len() - bytes.len() % ALIGNMENT);
        // Not worth it for what is one slice altogether.
        if self.way == Way::Undecided && bytes.len() >= MIB {
            self.way = self.try_direct();
        }
        if self.way == Way::Direct {
            match self.temporary.write_all_at(aligned, self.offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.leave_direct()?,
                written => {
                    written?;
                    self.offset += aligned.len() as u64;
                    if tail.is_empty() {
                        return Ok(());
                    }
                    // The tail is shorter than a block and goes through the cache.
                    self.leave_direct()?;
                    return self.write_cached(tail);
                }
            }
        }
        self.write_cached(bytes)
    }

    fn try_direct(&mut self) -> Way {
        if let Some(length) = self.length_hint {
            // One extent instead of many. What is too much is cut off at the end; what fails only costs speed.
            let _ = rustix::fs::fallocate(&self.temporary.file, FallocateFlags::KEEP_SIZE, 0, length);
        }
        match set_direct(&self.temporary.file, true) {
            Ok(()) => Way::Direct,
            Err(_) => Way::Cached,
        }
    }

    fn leave_direct(&mut self) -> fs::Result<()> {
        self.way = Way::Cached;
        set_direct(&self.temporary.file, false)
            .map_err(|errno| fs::Error::new("leaving direct writing", self.temporary.path(), errno))
    }

    fn write_cached(&mut self, bytes: &[u8]) -> fs::Result<()> {
        self.temporary.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.dirty += bytes.len() as u64;
        if self.dirty >= BUFFERED_DIRTY_BYTES_MAX {
            self.temporary.sync()?;
            self.drop_cached();
        }
        Ok(())
    }

    /// What is synced leaves the page cache. The file is ours alone, so nobody's pages go with it.
    fn drop_cached(&mut self) {
        let _ = rustix::fs::fadvise(&self.temporary.file, 0, None, Advice::DontNeed);
        self.dirty = 0;
    }

    /// Writes the rest and publishes the object.
    fn finish(mut self, rest: &[u8], shared: &Shared, key: ObjectKey) -> Result<Stored, Error> {
        self.write(rest)?;
        if self.length_hint.is_some_and(|hint| hint > self.offset) {
            // Gives back what was allocated too much.
            rustix::fs::ftruncate(&self.temporary.file, self.offset)
                .map_err(|errno| fs::Error::new("truncating", self.temporary.path(), errno))?;
        }
        self.temporary.sync()?;
        self.drop_cached();
        shared.publish_synced(self.temporary, key, self.offset)
    }
}

fn set_direct(file: &File, direct: bool) -> rustix::io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    rustix::fs::fcntl_setfl(file, flags)
}

struct LocalUpload {
    shared: Arc<Shared>,
    key: ObjectKey,
    /// Bytes that do not lie as the disk wants them, gathered.
    gathered: Option<Slice>,
    /// `None` after a write failed or was cancelled: what lies in the file is unknown.
    writer: Option<Writer>,
}

impl LocalUpload {
    /// The writer; until it is put back, the upload counts as broken.
    fn writer(&mut self) -> Result<Writer, Error> {
        self.writer.take().ok_or_else(|| {
            Error::io(
                "continuing",
                self.shared.root.join(self.key.as_str()).display(),
                io::Error::other("an earlier write of this object failed or was cancelled"),
            )
        })
    }

    async fn send(&mut self, slice: impl AsRef<[u8]> + Send + 'static) -> Result<(), Error> {
        let mut writer = self.writer()?;
        let written = blocking(move || {
            writer.write(slice.as_ref())?;
            Ok::<_, fs::Error>(writer)
        });
        self.writer = Some(written.await?);
        Ok(())
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            // Whole aligned slices, as readers give them, are written from where they are.
            if self.gathered.is_none() && bytes.len() >= MIB && bytes.as_ptr().align_offset(ALIGNMENT) == 0 {
                let slice = bytes.split_to(bytes.len() - bytes.len() % ALIGNMENT);
                self.send(slice).await?;
                continue;
            }
            let gathered = self.gathered.get_or_insert_with(|| Slice { buffer: self.shared.buffers.take(), length: 0 });
            gathered.take(&mut bytes);
            if gathered.is_full()
                && let Some(full) = self.gathered.take()
            {
                self.send(full).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Stored, Error> {
        let writer = self.writer()?;
        let Self { shared, key, gathered, .. } = *self;
        blocking(move || {
            let rest = gathered.as_ref().map(AsRef::as_ref).unwrap_or_default();
            writer.finish(rest, &shared, key)
        })
        .await
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(writer) = self.writer.take() {
            let _ = spawn_blocking(move || drop(writer)).await;
        }
    }
}

fn read_pieces(
    file: &File,
    range: Range<u64>,
    key: &ObjectKey,
    place: &Path,
    sender: &mpsc::Sender<Result<Bytes, Error>>,
) {
    let drop_read = range.end - range.start >= DROPPED_READ_BYTES_MIN;
    let mut at = range.start;
    while at < range.end {
        let read = read_piece(file, &range, at, key, place);
        if let Ok(piece) = &read {
            if drop_read {
                let _ = rustix::fs::fadvise(file, at, (piece.len() as u64).try_into().ok(), Advice::DontNeed);
            }
            at += piece.len() as u64;
        }
        let failed = read.is_err();
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

/// The next piece of `range`, from `at`.
fn read_piece(file: &File, range: &Range<u64>, at: u64, key: &ObjectKey, place: &Path) -> Result<Bytes, Error> {
    let mut piece = vec![0; usize::try_from(range.end - at).unwrap_or(MIB).min(MIB)];
    match file.read_exact_at(&mut piece, at) {
        Ok(()) => Ok(piece.into()),
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            let length = file.metadata().map_or(at, |metadata| metadata.len());
            Err(Error::Truncated { key: key.clone(), wanted: range.end, length })
        }
        Err(cause) => Err(Error::io("reading", place.display(), cause)),
    }
}

fn receiver_stream<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> BoxStream<'static, T> {
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}

/// Whether a listing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    On,
    Stop,
}

struct Listing {
    root: PathBuf,
    prefix: KeyPrefix,
    after: Option<ObjectKey>,
    depth: Depth,
}

impl Listing {
    fn run(&self, emit: &mut dyn FnMut(Listed) -> Walk) -> fs::Result<()> {
        let prefix = self.prefix.as_str();
        let path = &prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)];
        match Dir::open(&self.root).and_then(|root| open_directory(root, path)) {
            Err(error) if is_absent(error.kind()) => Ok(()),
            Err(error) => Err(error),
            Ok(directory) => self.walk(&directory, path, self.depth, emit).map(|_| ()),
        }
    }

    /// Lists `directory`, whose path is `path`, which is empty or ends with `/`.
    fn walk(
        &self,
        directory: &Dir,
        path: &str,
        depth: Depth,
        emit: &mut dyn FnMut(Listed) -> Walk,
    ) -> fs::Result<Walk> {
        let mut paths = Vec::new();
        for entry in directory.list()? {
            // No key of ours: whoever put it there, it is no object.
            let Ok(name) = entry.name.into_string() else { continue };
            let mut child = format!("{path}{name}");
            match entry.kind {
                Kind::File => {}
                // With its `/`, a directory sorts where the keys below it do: `a-b` comes before `a/b`.
                Kind::Directory if path.len() + name.len() < KEY_BYTES_MAX && child != TEMPORARY => child.push('/'),
                _ => continue,
            }
            if child.starts_with(self.prefix.as_str()) && self.may_follow(&child) {
                paths.push(child);
            }
        }
        paths.sort_unstable();
        for child in paths {
            let name = &child[path.len()..];
            let walked = match (name.strip_suffix('/'), depth) {
                (None, _) => self.object(directory, name, child.clone(), emit)?,
                (Some(name), Depth::All) => self.below(directory, name, &child, emit)?,
                (Some(name), Depth::Level) => {
                    let mut first = None;
                    self.below(directory, name, &child, &mut |listed| {
                        first = Some(listed);
                        Walk::Stop
                    })?;
                    match first {
                        Some(Listed::Object(object)) => {
                            emit(Listed::Prefix(KeyPrefix::below(object.key(), child.len())))
                        }
                        // Nothing lies below, or nothing after `after`.
                        _ => Walk::On,
                    }
                }
            };
            if walked == Walk::Stop {
                return Ok(Walk::Stop);
            }
        }
        Ok(Walk::On)
    }

    fn below(&self, directory: &Dir, name: &str, path: &str, emit: &mut dyn FnMut(Listed) -> Walk) -> fs::Result<Walk> {
        match directory.open_child(name) {
            // Removed since it was listed.
            Err(error) if is_absent(error.kind()) => Ok(Walk::On),
            child => self.walk(&child?, path, Depth::All, emit),
        }
    }

    fn object(
        &self,
        directory: &Dir,
        name: &str,
        path: String,
        emit: &mut dyn FnMut(Listed) -> Walk,
    ) -> fs::Result<Walk> {
        let Ok(key) = ObjectKey::new(path) else { return Ok(Walk::On) };
        match directory.stat_child(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Walk::On),
            stat => Ok(emit(Listed::Object(Stored::new(key, stat?.size)))),
        }
    }

    /// Whether the object `path`, or anything below the directory `path`, can come after `after`.
    fn may_follow(&self, path: &str) -> bool {
        self.after
            .as_ref()
            .is_none_or(|after| path > after.as_str() || path.ends_with('/') && after.as_str().starts_with(path))
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static, E: Into<Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Error> {
    joined(spawn_blocking(work).await)?.map_err(Into::into)
}

fn joined<T>(task: Result<T, tokio::task::JoinError>) -> Result<T, Error> {
    task.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Error::io("working on files", "the runtime", io::Error::other(error)),
    })
}
