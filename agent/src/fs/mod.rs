//! Every call that changes what a disk remembers: link, rename, unlink, create, write, sync. The only such place.
//!
//! Durable means: file synced, renamed, directory synced. [`publish`] does the last two, and refuses to replace
//! anything. A directory entry is durable when its directory is synced, so a new file in a new directory needs one
//! sync per new level.
//!
//! All calls block, and go through a [`Dir`] (an open directory) wherever one is at hand: no path is walked twice, no
//! symbolic link is followed, and what was checked is what is used.
//!
//! With the feature `failpoints` each call first passes [`failpoint`]; without it that compiles to nothing.

#[cfg(feature = "failpoints")]
mod failpoints;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

#[cfg(feature = "failpoints")]
pub use self::failpoints::failpoint;

/// A file operation that failed: what was being done, to which path, and what the system said.
#[derive(Debug, thiserror::Error)]
#[error("{}: {action} failed: {cause}", .path.display())]
pub struct Error {
    /// What was being done: `linking`.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system said. Its text is part of this error's, so it is not offered as `source` for a second print.
    pub cause: io::Error,
}

impl Error {
    /// Names the operation and the path of a system error.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, cause: impl Into<io::Error>) -> Self {
        Self { action, path: path.into(), cause: cause.into() }
    }

    /// The system's kind of error, to decide by.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

/// Outcome of a file operation.
pub type Result<T> = std::result::Result<T, Error>;

/// One operation: its fail point, the call, and the noun for its error, which costs nothing until it fails.
#[inline]
fn step<T>(
    point: &'static str,
    action: &'static str,
    path: impl FnOnce() -> PathBuf,
    call: impl FnOnce() -> rustix::io::Result<T>,
) -> Result<T> {
    failpoint(point).and_then(|()| call().map_err(io::Error::from)).map_err(|cause| Error {
        action,
        path: path(),
        cause,
    })
}

/// What `stat` tells about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStat {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Inode number; with `device`, the file's identity while it exists.
    pub inode: u64,
    /// Device number of the file system.
    pub device: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Permission bits, without the file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that the inode has.
    pub links: u64,
}

impl FileStat {
    /// The stat of an open file.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(rustix::fs::fstat(file)?.into())
    }
}

impl From<rustix::fs::Stat> for FileStat {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the fields' types differ between architectures"
    )]
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode.into()).into(),
            size: stat.st_size as u64,
            inode: stat.st_ino as u64,
            device: stat.st_dev as u64,
            mtime_ns: (stat.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: stat.st_nlink as u64,
        }
    }
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, never followed here.
    Symlink,
    /// A pipe, socket or device.
    Other,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
    /// Its inode number.
    pub inode: u64,
}

/// An open directory. It stays the same directory whatever is renamed around it; one that was removed refuses every
/// new entry with `NotFound`.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens `path`, following symbolic links: the operator may have made them.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(Error::new("opening the directory", path, errno)),
        }
    }

    /// Opens a directory in this one; a symbolic link is refused.
    pub fn open_child(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = name.as_ref();
        match rustix::fs::openat(self, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: self.path.join(name) }),
            Err(errno) => Err(self.error("opening the directory", name, errno)),
        }
    }

    /// Where it was when it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its entries, without `.` and `..`, in no order.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let list = || -> std::result::Result<Vec<Entry>, Errno> {
            let mut entries = Vec::new();
            for entry in rustix::fs::Dir::read_from(self)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let kind = match entry.file_type() {
                    // Some file systems do not say.
                    FileType::Unknown => match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => FileStat::from(stat).kind,
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(errno),
                    },
                    known => known.into(),
                };
                entries.push(Entry { name: OsString::from_vec(name.to_bytes().to_vec()), kind, inode: entry.ino() });
            }
            Ok(entries)
        };
        list().map_err(|errno| Error::new("listing the directory", &self.path, errno))
    }

    /// True if somebody has removed it: nothing can be made in it any more.
    pub fn is_removed(&self) -> bool {
        self.stat().is_ok_and(|stat| stat.links == 0)
    }

    /// The stat of the directory itself.
    pub fn stat(&self) -> Result<FileStat> {
        FileStat::of(self).map_err(|cause| Error::new("reading the attributes", &self.path, cause))
    }

    /// The stat of a name in it; a symbolic link is not followed.
    pub fn stat_child(&self, name: impl AsRef<OsStr>) -> Result<FileStat> {
        let name = name.as_ref();
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(stat.into()),
            Err(errno) => Err(self.error("reading the attributes", name, errno)),
        }
    }

    /// Opens a file in it for reading; a symbolic link is refused. A pipe does not block.
    pub fn open_child_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(self, name, flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(errno) => Err(self.error("opening", name, errno)),
        }
    }

    /// Opens a file anywhere below for reading, through no symbolic link and never outside.
    pub fn open_below(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        loop {
            match rustix::fs::openat2(self, path, flags, Mode::empty(), resolve) {
                Ok(fd) => return Ok(File::from(fd)),
                // A rename somewhere made the kernel unsure; it asks to try again.
                Err(Errno::AGAIN) => {}
                // An old kernel, or a sandbox that knows no openat2.
                Err(Errno::NOSYS | Errno::PERM) => return self.open_below_by_steps(path),
                Err(errno) => return Err(self.error("opening", path, errno)),
            }
        }
    }

    fn open_below_by_steps(&self, path: &Path) -> Result<File> {
        let name = path.file_name().ok_or_else(|| self.error("opening", path, Errno::INVAL))?;
        let mut at: Option<Dir> = None;
        for segment in path.parent().into_iter().flat_map(Path::iter) {
            at = Some(at.as_ref().unwrap_or(self).open_child(segment)?);
        }
        at.as_ref().unwrap_or(self).open_child_file(name)
    }

    /// Creates a file for writing; the name must be free.
    pub fn create_child(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<File> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        step(
            "create",
            "creating",
            || self.path.join(name),
            || rustix::fs::openat(self, name, flags, Mode::from_raw_mode(mode)),
        )
        .map(File::from)
    }

    /// Gives a file in it the same name in `to`. Not durable until `to` is synced.
    pub fn link_child_to(&self, name: impl AsRef<OsStr>, to: &Dir) -> Result<()> {
        let name = name.as_ref();
        self.link_child_as(name, to, name)
    }

    /// Gives a file in it another name in `to`. Not durable until `to` is synced.
    pub fn link_child_as(&self, name: impl AsRef<OsStr>, to: &Dir, new_name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        step(
            "link",
            "linking",
            || self.path.join(name),
            || rustix::fs::linkat(self, name, to, new_name.as_ref(), AtFlags::empty()),
        )
    }

    /// Copies a file in it to a new file of the same name, mode, owner and modification time in `to`. Not durable: a
    /// snapshot is as durable as the links in it, and a copy stands in for one.
    pub fn copy_child_to(&self, name: impl AsRef<OsStr>, to: &Dir) -> Result<u64> {
        let name = name.as_ref();
        let mut source = self.open_child_file(name)?;
        let stat = FileStat::of(&source).map_err(|error| self.error("reading the attributes", name, error))?;
        let mut target = to.create_child(name, stat.mode)?;
        failpoint("copy")
            .and_then(|()| {
                let copied = copy_bytes(&mut source, stat.size, &mut target)?;
                dress(&target, stat.mode, stat.mtime_ns)?;
                give(&target, &stat)?;
                Ok(copied)
            })
            .map_err(|error| to.error("copying", name, error))
    }

    /// Writes a new small file in it, owned like the directory. Not durable until the file system is synced.
    pub fn write_child(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<()> {
        let name = name.as_ref();
        let file = self.create_child(name, 0o644)?;
        write_all_at(&file, bytes, 0, &self.path.join(name))?;
        give(&file, &self.stat()?).map_err(|error| self.error("changing the owner", name, error))
    }

    /// Gives the directory the owner of another one, where this process may: whoever is root works for others.
    pub fn give_to(&self, owner: &FileStat) -> Result<()> {
        give(self, owner).map_err(|error| Error::new("changing the owner", &self.path, error))
    }

    /// Removes a name of a file.
    pub fn unlink_child(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        step("unlink", "removing", || self.path.join(name), || rustix::fs::unlinkat(self, name, AtFlags::empty()))
    }

    /// Creates a directory in it; `AlreadyExists` if the name is taken. Not durable until this one is synced.
    pub fn mkdir_child(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = name.as_ref();
        step(
            "mkdir",
            "creating the directory",
            || self.path.join(name),
            || rustix::fs::mkdirat(self, name, Mode::from_raw_mode(mode)),
        )
    }

    /// Removes an empty directory in it.
    pub fn rmdir_child(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        step(
            "rmdir",
            "removing the directory",
            || self.path.join(name),
            || rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR),
        )
    }

    /// Moves a file or directory to a name that must be free, in one step where the file system can.
    pub fn rename_child_to(&self, name: impl AsRef<OsStr>, to: &Dir, new_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, new_name) = (name.as_ref(), new_name.as_ref());
        step("rename", "renaming to", || to.path.join(new_name), || rename_noreplace_at(self, name, to, new_name))
    }

    /// Makes its entries durable.
    pub fn sync(&self) -> Result<()> {
        step("sync_dir", "syncing the directory", || self.path.clone(), || rustix::fs::fsync(self))
    }

    fn error(&self, action: &'static str, name: impl AsRef<Path>, cause: impl Into<io::Error>) -> Error {
        Error::new(action, self.path.join(name), cause)
    }
}

fn rename_noreplace_at(from: impl AsFd, name: &OsStr, to: impl AsFd, new_name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(&from, name, &to, new_name, RenameFlags::NOREPLACE) {
        // NFS and some others know no RENAME_NOREPLACE.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_then_unlink_at(&from, name, &to, new_name),
        done => done,
    }
}

/// A link refuses to replace as well. Between the two calls the file has both names, and a crash there leaves only the
/// old one too many.
fn link_then_unlink_at(from: impl AsFd, name: &OsStr, to: impl AsFd, new_name: &OsStr) -> rustix::io::Result<()> {
    rustix::fs::linkat(&from, name, &to, new_name, AtFlags::empty())?;
    rustix::fs::unlinkat(&from, name, AtFlags::empty())
}

/// Gives `from` the second name `to`, which must be free. Not durable until `to`'s directory is synced.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    step("link", "linking to", || to.to_owned(), || rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()))
}

/// Moves `from` to `to`, which must be free. Not durable until `to`'s directory is synced.
pub fn rename_noreplace(from: &Path, to: &Path) -> Result<()> {
    step("rename", "renaming to", || to.to_owned(), || rename_noreplace_at(CWD, from.as_os_str(), CWD, to.as_os_str()))
}

/// Gives a file that is not durable yet its final name, in place of whatever has that name. For files that are synced
/// together later: a crash before that leaves either of them, or none.
pub fn settle(temporary: &Path, to: &Path) -> Result<()> {
    step("settle", "renaming to", || to.to_owned(), || rustix::fs::rename(temporary, to))
}

/// Removes a name of a file.
pub fn unlink(path: &Path) -> Result<()> {
    step("unlink", "removing", || path.to_owned(), || rustix::fs::unlink(path))
}

/// Removes an empty directory.
pub fn remove_dir(path: &Path) -> Result<()> {
    step("rmdir", "removing the directory", || path.to_owned(), || rustix::fs::rmdir(path))
}

/// Removes a directory of files and what is below it. What is gone already, somebody else has removed.
pub fn remove_tree(path: &Path) -> Result<()> {
    let gone = |result: Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let dir = match Dir::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        dir => dir?,
    };
    for entry in dir.list()? {
        if entry.kind == Kind::Directory {
            remove_tree(&path.join(&entry.name))?;
        } else {
            gone(dir.unlink_child(&entry.name))?;
        }
    }
    gone(remove_dir(path))
}

/// Copies all bytes. The system copies large files without showing them to us; for small ones that costs more than it
/// saves.
fn copy_bytes(source: &mut File, size: u64, target: &mut File) -> io::Result<u64> {
    const SMALL: u64 = 64 << 10;
    if size > SMALL {
        return io::copy(source, target);
    }
    let mut bytes = Vec::with_capacity(size as usize + 1);
    // It may have grown since.
    source.read_to_end(&mut bytes)?;
    target.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

/// Makes a file's bytes and its length durable. `path` is for the message.
pub fn sync_file(file: &File, path: &Path) -> Result<()> {
    step("sync_file", "syncing", || path.to_owned(), || rustix::fs::fdatasync(file))
}

/// Makes everything on the file system of `path` durable: one call for many small files.
pub fn sync_file_system(path: &Path) -> Result<()> {
    let dir = Dir::open(path)?;
    step("sync_file_system", "syncing the file system", || path.to_owned(), || rustix::fs::syncfs(&dir))
}

/// Gives a file its permission bits and its modification time.
pub fn dress(file: &File, mode: u32, mtime_ns: i64) -> io::Result<()> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o777))?;
    let time = rustix::fs::Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    Ok(rustix::fs::futimens(file, &rustix::fs::Timestamps { last_access: now, last_modification: time })?)
}

/// Gives an open file or directory to another owner if this process is root; everybody else owns what they make.
fn give(file: impl AsFd, owner: &FileStat) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

/// Gives an open file to `owner`, as [`Dir::give_to`] does. `path` is for the message.
pub fn give_file(file: &File, owner: &FileStat, path: &Path) -> Result<()> {
    give(file, owner).map_err(|error| Error::new("changing the owner", path, error))
}

/// Gives a directory and all that is below it to `owner`, as [`Dir::give_to`] does.
pub fn give_tree(path: &Path, owner: &FileStat) -> Result<()> {
    let dir = Dir::open(path)?;
    for entry in dir.list()? {
        match entry.kind {
            Kind::Directory => give_tree(&path.join(&entry.name), owner)?,
            Kind::File => {
                let file = dir.open_child_file(&entry.name)?;
                give(&file, owner).map_err(|error| dir.error("changing the owner", &entry.name, error))?;
            }
            Kind::Symlink | Kind::Other => {}
        }
    }
    dir.give_to(owner)
}

/// Makes a directory's entries durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    Dir::open(path)?.sync()
}

/// Writes all of `bytes` at `offset`. `path` is for the message.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64, path: &Path) -> Result<()> {
    failpoint("write")
        .and_then(|()| file.write_all_at(bytes, offset))
        .map_err(|cause| Error::new("writing", path, cause))
}

/// Gives a file, whose bytes are synced, its final name, durably. `AlreadyExists` leaves both names as they are.
pub fn publish(temporary: &Path, to: &Path) -> Result<()> {
    rename_noreplace(temporary, to)?;
    sync_dir(parent(to))
}

/// Writes a small file under a temporary name beside `path`, then replaces `path` by it, durably: readers see the old
/// or the new bytes. For our own records in `state_dir`; nothing in a store is ever replaced.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = Dir::open(parent(path))?;
    let name = path.file_name().ok_or_else(|| Error::new("replacing", path, io::ErrorKind::InvalidInput))?;
    let temporary = OsString::from(format!(".{}.tmp", uuid::Uuid::new_v4().simple()));
    let file = directory.create_child(&temporary, 0o640)?;
    let written = write_all_at(&file, bytes, 0, path).and_then(|()| sync_file(&file, path)).and_then(|()| {
        step(
            "replace",
            "replacing",
            || path.to_owned(),
            || rustix::fs::renameat(&directory, &temporary, &directory, name),
        )
    });
    if written.is_err() {
        // The error that matters is the first one.
        let _ = directory.unlink_child(&temporary);
    }
    written?;
    directory.sync()
}

/// Writes a small file in place of whatever has its name, for files that are synced together later: a crash before that
/// leaves the old or the new one, or none.
pub fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("helenus-part");
    let file = create(&temporary)?;
    write_all_at(&file, bytes, 0, path)?;
    settle(&temporary, path)
}

/// Creates `path` and what is missing above it, and makes each new entry durable. One that exists is left as it is.
pub fn create_dir_durable(path: &Path, mode: u32) -> Result<()> {
    let mut missing = Vec::new();
    for level in path.ancestors().filter(|level| !level.as_os_str().is_empty()) {
        match rustix::fs::stat(level) {
            Ok(_) => break,
            Err(Errno::NOENT) => missing.push(level),
            Err(errno) => return Err(Error::new("reading the attributes", level, errno)),
        }
    }
    for level in missing.into_iter().rev() {
        let made = step(
            "mkdir",
            "creating the directory",
            || level.to_owned(),
            || rustix::fs::mkdir(level, Mode::from_raw_mode(mode)),
        );
        match made {
            // Somebody was faster, and perhaps has not synced yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync_dir(parent(level))?;
    }
    Ok(())
}

/// Creates `path` and what is missing above it. Durable when the file system is synced.
pub fn create_dirs(path: &Path) -> Result<()> {
    failpoint("mkdir")
        .and_then(|()| std::fs::create_dir_all(path))
        .map_err(|cause| Error::new("creating the directory", path, cause))
}

/// Creates or empties a file that is written and synced together with others.
pub fn create(path: &Path) -> Result<File> {
    failpoint("create").and_then(|()| File::create(path)).map_err(|cause| Error::new("creating", path, cause))
}

/// Copies `from` to the new file `to` with the same mode, and syncs the file. The name is durable when its directory
/// is synced.
pub fn copy(from: &Path, to: &Path) -> Result<u64> {
    let open = |path: &Path, flags: OFlags, mode| {
        rustix::fs::open(path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode).map(File::from)
    };
    let mut source = open(from, OFlags::RDONLY, Mode::empty()).map_err(|errno| Error::new("opening", from, errno))?;
    let stat = FileStat::of(&source).map_err(|error| Error::new("reading the attributes", from, error))?;
    let mut target = step(
        "create",
        "creating",
        || to.to_owned(),
        || open(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(stat.mode)),
    )?;
    let copied = failpoint("copy")
        .and_then(|()| io::copy(&mut source, &mut target))
        .map_err(|error| Error::new("copying to", to, error))?;
    sync_file(&target, to)?;
    Ok(copied)
}

/// The directory that holds `path`'s last name.
/// Nothing: fail points are a feature that only the tests turn on.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn failpoint(_name: &'static str) -> io::Result<()> {
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_file_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        std::fs::write(path("new"), "new").unwrap();
        publish(&path("new"), &path("final")).unwrap();
        std::fs::write(path("newer"), "newer").unwrap();
        let error = publish(&path("newer"), &path("final")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(path("final")).unwrap(), b"new");
        assert_eq!(std::fs::read(path("newer")).unwrap(), b"newer");
        replace(&path("final"), b"newest").unwrap();
        assert_eq!(std::fs::read(path("final")).unwrap(), b"newest");
        assert_eq!(Dir::open(directory.path()).unwrap().list().unwrap().len(), 2);
    }

    #[test]
    fn without_a_rename_that_refuses_to_replace() {
        let root = tempfile::tempdir().unwrap();
        let directory = Dir::open(root.path()).unwrap();
        let [new, newer, taken] = ["new", "newer", "final"].map(OsStr::new);
        std::fs::write(root.path().join(new), "new").unwrap();
        std::fs::write(root.path().join(newer), "newer").unwrap();
        link_then_unlink_at(&directory, new, &directory, taken).unwrap();
        assert_eq!(link_then_unlink_at(&directory, newer, &directory, taken), Err(Errno::EXIST));
        assert_eq!(std::fs::read(root.path().join(taken)).unwrap(), b"new");
        assert!(!root.path().join(new).exists() && root.path().join(newer).exists());
    }

    #[test]
    fn directories() {
        let root = tempfile::tempdir().unwrap();
        create_dir_durable(&root.path().join("a/b/c"), 0o750).unwrap();
        create_dir_durable(&root.path().join("a/b/c"), 0o750).unwrap();
        std::fs::write(root.path().join("a/file"), "12345").unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("a/etc")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("a/hostname")).unwrap();

        let a = Dir::open(root.path()).unwrap().open_child("a").unwrap();
        let b = a.open_child("b").unwrap();
        a.open_child("etc").expect_err("a symbolic link");
        a.open_child_file("hostname").expect_err("a symbolic link");
        for outside in ["etc/hostname", "hostname", "../../etc/hostname", "/etc/hostname"] {
            a.open_below(outside).expect_err(outside);
        }
        a.open_below_by_steps(Path::new("etc/hostname")).expect_err("a symbolic link");
        a.open_below("file").unwrap();
        a.open_below_by_steps(Path::new("file")).unwrap();

        a.link_child_to("file", &b).unwrap();
        let (one, other) = (a.stat_child("file").unwrap(), b.stat_child("file").unwrap());
        assert_eq!(one, other);
        assert_eq!((one.kind, one.size, one.links), (Kind::File, 5, 2));
        let mut names: Vec<_> = a.list().unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let expected =
            [("b", Kind::Directory), ("etc", Kind::Symlink), ("file", Kind::File), ("hostname", Kind::Symlink)];
        assert_eq!(names, expected.map(|(name, kind)| (OsString::from(name), kind)));

        b.unlink_child("file").unwrap();
        assert_eq!(a.copy_child_to("file", &b).unwrap(), 5);
        assert_ne!(b.stat_child("file").unwrap().inode, one.inode);
        b.rmdir_child("c").unwrap();
        let error = b.rmdir_child("c").unwrap_err().to_string();
        assert!(error.contains("a/b/c: removing the directory failed: No such file"), "{error}");
        a.rmdir_child("b").unwrap_err();
        b.unlink_child("file").unwrap();
        a.rmdir_child("b").unwrap();
        assert_eq!(b.mkdir_child("d", 0o750).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
