//! Makes the links of one table, proves them, and makes a kept snapshot of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use helenus_sstable::component::Component;
use helenus_sstable::descriptor::Descriptor;
use nix::errno::Errno;

use super::{Request, SNAPSHOTS};
use crate::fs::{self, Dir};
use crate::manifest::model::Notice;
use crate::node::live::{LiveSSTable, OpenPlace};
use crate::node::tables::remark;
use crate::threads;

/// Directories that are synced at a time.
const SYNCS_AT_A_TIME: usize = 4;

/// A directory of links.
#[derive(Debug, Clone)]
pub struct Links {
    /// The directory.
    pub path: PathBuf,
    /// Index of its data directory.
    pub data_directory: usize,
    /// The built-in secondary index that the SSTables belong to.
    pub index: Option<String>,
    /// True if each link is to be removed when its file is stored.
    pub is_transient: bool,
}

impl Links {
    /// Removes the links to one SSTable.
    pub fn release(&self, descriptor: Descriptor) -> fs::Result<()> {
        match Dir::open(&self.path) {
            Ok(dir) => unlink_sstable(&dir, descriptor),
            // Somebody has cleared them all.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The SSTables of one directory of a table: the table's own, or those of an index.
pub(super) struct Group {
    pub index: Option<String>,
    pub places: Vec<OpenPlace>,
    pub live: Vec<LiveSSTable>,
}

/// Makes the links of one table.
pub(super) struct Linker<'a> {
    request: Request<'a>,
    /// Directory of links by place of the table and index.
    dirs: BTreeMap<(PathBuf, Option<String>), Dir>,
    /// SSTables that are linked, to be compared with what counts in the end, and how many links each has.
    held: BTreeMap<(Option<String>, PathBuf, Descriptor), u32>,
    copies: bool,
}

impl<'a> Linker<'a> {
    pub fn new(request: Request<'a>) -> Self {
        Self { request, dirs: BTreeMap::new(), held: BTreeMap::new(), copies: false }
    }

    /// Links what is wanted; false if something of it vanished meanwhile, so that the caller has to look again.
    pub fn link_all(
        &mut self,
        groups: &[Group],
        wanted: impl Fn(usize, usize) -> bool,
        notices: &mut Vec<Notice>,
    ) -> anyhow::Result<bool> {
        let mut counted = BTreeSet::new();
        for (g, group) in groups.iter().enumerate() {
            for (s, sstable) in group.live.iter().enumerate() {
                if !wanted(g, s) {
                    continue;
                }
                let place = &group.places[sstable.place].dir;
                let key = (group.index.clone(), place.path().to_owned(), sstable.descriptor);
                if !self.held.contains_key(&key) {
                    let Some(links) = self.link(group, sstable, notices)? else { return Ok(false) };
                    self.held.insert(key.clone(), links);
                }
                counted.insert(key);
            }
        }
        if !self.all_are_those_seen(groups, &counted)? {
            return Ok(false);
        }
        // Inputs of a compaction that ended meanwhile: beside its outputs they could bring deleted rows back.
        for (index, path, descriptor) in self.held.keys().filter(|key| !counted.contains(*key)) {
            let dir = self.dirs.get(&(table_directory(path, index.as_deref()), index.clone()));
            if let Some(dir) = dir {
                unlink_sstable(dir, *descriptor)?;
            }
        }
        self.held.retain(|key, _| counted.contains(key));
        Ok(true)
    }

    /// How many links an SSTable has; none if it is not linked.
    pub fn links_made(&self, group: &Group, sstable: &LiveSSTable) -> u32 {
        let place = group.places[sstable.place].dir.path().to_owned();
        self.held.get(&(group.index.clone(), place, sstable.descriptor)).copied().unwrap_or(0)
    }

    /// True if every link to an immutable component leads to the inode that was seen when the SSTable counted, and every
    /// copy has the length that was. What does not is unlinked, for another look.
    fn all_are_those_seen(
        &mut self,
        groups: &[Group],
        counted: &BTreeSet<(Option<String>, PathBuf, Descriptor)>,
    ) -> anyhow::Result<bool> {
        let mut inodes = BTreeMap::new();
        for (key, dir) in &self.dirs {
            let entries = dir.list()?.into_iter();
            inodes.insert(key, entries.map(|entry| (entry.name, entry.inode)).collect::<HashMap<_, _>>());
        }
        let mut strangers = Vec::new();
        for group in groups {
            for sstable in &group.live {
                let path = group.places[sstable.place].dir.path();
                let held = (group.index.clone(), path.to_owned(), sstable.descriptor);
                let dir = (table_directory(path, group.index.as_deref()), group.index.clone());
                let (true, Some(inodes)) = (counted.contains(&held), inodes.get(&dir)) else { continue };
                let is_seen =
                    sstable.files.iter().filter(|(component, _)| !component.is_mutable()).all(|(component, stat)| {
                        let name = sstable.descriptor.file_name(component);
                        inodes.get(OsStr::new(&name)) == Some(&stat.inode)
                            || (self.copies
                                && self.dirs[&dir].stat_child(&name).is_ok_and(|copy| copy.size == stat.size))
                    });
                if !is_seen {
                    strangers.push((dir, held));
                }
            }
        }
        for (dir, held) in &strangers {
            unlink_sstable(&self.dirs[dir], held.2)?;
            self.held.remove(held);
        }
        Ok(strangers.is_empty())
    }

    /// Links one SSTable and says how many links it has; `None` if the caller has to look again.
    fn link(&mut self, group: &Group, sstable: &LiveSSTable, notices: &mut Vec<Notice>) -> anyhow::Result<Option<u32>> {
        let mut made = 0;
        let from = &group.places[sstable.place].dir;
        let key = (table_directory(from.path(), group.index.as_deref()), group.index.clone());
        if !self.dirs.contains_key(&key) {
            let dir = make_dir(&key.0, self.request.transient, key.1.as_deref()).map_err(refused)?;
            self.dirs.insert(key.clone(), dir);
        }
        let to = &self.dirs[&key];
        // Data.db last: a set without it is no SSTable to anybody who looks.
        let others = sstable.files.iter().filter(|(component, _)| **component != Component::Data);
        for (component, _) in others.chain(sstable.files.get_key_value(&Component::Data)) {
            let name = sstable.descriptor.file_name(component);
            match link_one(from, to, &name, component, &mut self.copies) {
                Ok(()) => made += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // The directory of links itself, cleared by somebody: it and all that was in it are made anew.
                    if to.is_removed() {
                        self.held.retain(|(index, path, _), _| table_directory(path, index.as_deref()) != key.0);
                        self.dirs.retain(|(table, _), _| *table != key.0);
                        return Ok(None);
                    }
                    // A derived file may be between its old and its new version; the SSTable is there without it.
                    if component.is_mutable() && *component != Component::Statistics {
                        continue;
                    }
                    unlink_sstable(to, sstable.descriptor)?;
                    return Ok(None);
                }
                // Left over in a directory that somebody was clearing while we began anew.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    unlink_sstable(to, sstable.descriptor)?;
                    return Ok(None);
                }
                Err(error) => return Err(refused(error)),
            }
            if self.copies && !notices.iter().any(|notice| notice.message.starts_with("links")) {
                notices.push(remark(from.path(), "links are impossible here; the files are copied, which takes space"));
            }
        }
        Ok(Some(made))
    }

    /// The entry for a directory of links in `all`, made when it is first needed.
    pub fn links_of(&self, group: &Group, place: usize, all: &mut Vec<Links>) -> usize {
        let open = &group.places[place];
        let mut path = table_directory(open.dir.path(), group.index.as_deref());
        path.extend([SNAPSHOTS, self.request.transient]);
        path.extend(group.index.as_deref());
        if let Some(found) = all.iter().position(|links| links.path == path) {
            return found;
        }
        all.push(Links {
            path,
            data_directory: open.data_directory,
            index: group.index.clone(),
            is_transient: self.request.keep.is_none(),
        });
        all.len() - 1
    }

    /// The directories that were made, to be removed in the end.
    pub fn made(&self) -> Vec<PathBuf> {
        let tables: BTreeSet<&PathBuf> = self.dirs.keys().map(|(table, _)| table).collect();
        tables.into_iter().map(|table| table.join(SNAPSHOTS).join(self.request.transient)).collect()
    }

    /// Makes the links a complete snapshot: Cassandra's own two files, the second if the schema is known. [`keep_all`]
    /// gives it its tag.
    pub fn keep(
        &mut self,
        tag: &str,
        groups: &[Group],
        schema_cql: Option<&str>,
        links: &mut [Links],
    ) -> anyhow::Result<()> {
        let Some(home) = groups[0].places.first().map(|place| place.dir.path().to_owned()) else { return Ok(()) };
        // An empty table has a snapshot, too.
        let key = (home.clone(), None);
        if !self.dirs.contains_key(&key) {
            let dir = make_dir(&home, self.request.transient, None).map_err(refused)?;
            self.dirs.insert(key.clone(), dir);
        }
        let mut files = Vec::new();
        for group in groups {
            for sstable in &group.live {
                let name = sstable.descriptor.file_name(&Component::Data);
                files.push(group.index.as_ref().map_or(name.clone(), |index| format!("{index}/{name}")));
            }
        }
        let manifest = serde_json::json!({
            "files": files,
            "created_at": crate::time::rfc3339(self.request.started),
            "expires_at": null,
            "ephemeral": false,
        });
        self.dirs[&key].write_child("manifest.json", serde_json::to_string(&manifest)?.as_bytes())?;
        if let Some(cql) = schema_cql {
            self.dirs[&key].write_child("schema.cql", cql.as_bytes())?;
        }
        for links in links {
            let moved: PathBuf = links
                .path
                .iter()
                .map(|segment| if segment == self.request.transient { tag.as_ref() } else { segment })
                .collect();
            links.path = moved;
        }
        Ok(())
    }
}

/// Gives the directories of links of all tables their tag, durably. In passes: on a file system with a journal the first
/// sync of a pass carries the changes of all, and the others cost next to nothing; on one without, several are under way
/// at a time. Those that have their tag are added to `kept`, also when another one fails.
pub(super) fn keep_all(directories: &[PathBuf], tag: &str, kept: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    pass(directories, |path| {
        let dir = Dir::open(path)?;
        for entry in dir.list()?.into_iter().filter(|entry| entry.kind == fs::Kind::Directory) {
            dir.open_child(&entry.name)?.sync()?;
        }
        dir.sync()
    })?;
    let renamed = threads::map(directories, SYNCS_AT_A_TIME, |path| {
        let snapshots = Dir::open(path.parent().unwrap_or(path))?;
        snapshots.rename_child_to(path.file_name().unwrap_or_default(), &snapshots, tag)?;
        Ok(snapshots)
    });
    let mut failure = None;
    let mut parents = Vec::with_capacity(renamed.len());
    for result in renamed {
        match result {
            Ok(snapshots) => {
                kept.push(snapshots.path().join(tag));
                parents.push(snapshots);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), |error: fs::Error| Err(error))?;
    pass(&parents, Dir::sync)?;
    Ok(())
}

fn pass<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> fs::Result<R> + Sync) -> fs::Result<Vec<R>> {
    threads::map(items, SYNCS_AT_A_TIME, work).into_iter().collect()
}

/// The table's directory, from the directory of the table or of one of its indexes.
fn table_directory(path: &Path, index: Option<&str>) -> PathBuf {
    match index {
        None => path.to_owned(),
        Some(_) => path.parent().unwrap_or(path).to_owned(),
    }
}

fn make_dir(table: &Path, name: &str, index: Option<&str>) -> fs::Result<Dir> {
    let mut dir = Dir::open(table)?;
    let owner = dir.stat()?;
    for level in [Some(SNAPSHOTS), Some(name), index].into_iter().flatten() {
        match dir.mkdir_child(level, owner.mode) {
            Ok(()) => {
                let made = dir.open_child(level)?;
                // Cassandra has to be able to clear it.
                made.give_to(&owner)?;
                dir = made;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => dir = dir.open_child(level)?,
            Err(error) => return Err(error),
        }
    }
    Ok(dir)
}

/// Links or copies one file.
fn link_one(from: &Dir, to: &Dir, name: &str, component: &Component, copies: &mut bool) -> fs::Result<()> {
    // TOC.txt is appended in place by index builds: a link would change under our eyes.
    if *component == Component::Toc || *copies {
        from.copy_child_to(name, to)?;
    } else {
        match from.link_child_to(name, to) {
            Err(error) if is_impossible(&error) => {
                from.copy_child_to(name, to)?;
                *copies = true;
            }
            other => other?,
        }
    }
    Ok(())
}

/// Errors that say that links cannot be had here at all.
fn is_impossible(error: &fs::Error) -> bool {
    let code = error.cause.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EXDEV | Errno::EMLINK | Errno::EOPNOTSUPP | Errno::ENOSYS))
}

/// Which rule of Linux refused a link, and what to do.
pub fn advice(error: &fs::Error) -> &'static str {
    match error.cause.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => {
            "fs.protected_hardlinks forbids links to files of another owner that one may not read and write: \
             run helenus as Cassandra's user"
        }
        Some(Errno::EACCES) => "the directory may not be written by this user: run helenus as Cassandra's user",
        Some(Errno::EROFS) => "the file system is mounted read-only",
        Some(Errno::ENOSPC | Errno::EDQUOT) => "no space is left for the names of the links",
        Some(Errno::EXDEV) => "the files and their snapshots lie on different mounts: a backup copies them instead",
        _ => "see `helenus doctor`",
    }
}

fn refused(error: fs::Error) -> anyhow::Error {
    let advice = advice(&error);
    anyhow::Error::new(error).context(advice)
}

fn unlink_sstable(dir: &Dir, descriptor: Descriptor) -> fs::Result<()> {
    let prefix = descriptor.prefix();
    for entry in dir.list()? {
        if entry.name.to_str().is_some_and(|name| name.starts_with(&prefix)) {
            match dir.unlink_child(&entry.name) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}
