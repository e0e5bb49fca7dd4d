//! Takes a snapshot: finds the SSTables that count, links them, and makes sure that all links belong to one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use helenus_sstable::component::Component;
use helenus_sstable::descriptor::Descriptor;
use jiff::Timestamp;
use nix::errno::Errno;

use super::schema_cql::Columns;
use super::{SNAPSHOTS, clear};
use crate::fs::{self, Dir};
use crate::inspect::reader::{Buffers, Reader};
use crate::manifest::model::{DroppedTable, Notice, Part, TableEntry};
use crate::node::dropped::{self, SchemaIds};
use crate::node::live::{self, LiveSSTable, OpenPlace};
use crate::node::tables::{self, notice, remark};
use crate::node::{Node, Table};
use crate::progress::Progress;
use crate::selection::Selection;

/// What a snapshot is to contain.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The node.
    pub node: &'a Node,
    /// Which tables.
    pub selection: &'a Selection,
    /// Also the directories of dropped tables.
    pub include_dropped: bool,
    /// Name of the transient snapshot.
    pub transient: &'a str,
    /// Tag of a complete snapshot to be kept.
    pub keep: Option<&'a str>,
    /// T0, the time that a kept snapshot bears.
    pub started: Timestamp,
    /// Only look; link nothing.
    pub dry_run: bool,
    /// Asked between two tables whether to go on.
    pub progress: &'a Progress,
}

/// The part of a table in the backup that is built upon.
#[derive(Debug, Clone)]
pub struct Base {
    /// The table in that backup's manifest.
    pub entry: TableEntry,
    /// Its part.
    pub part: Part,
}

/// The linked SSTables of a node. Dropping it removes the links that are left of a transient snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// Tables in order, empty ones included.
    pub tables: Vec<TableSnapshot>,
    /// Directories of dropped tables that were left out.
    pub dropped: Vec<DroppedTable>,
    /// What else was met.
    pub notices: Vec<Notice>,
    /// SSTable versions met.
    pub versions: BTreeSet<String>,
    /// Directories of links to be removed in the end.
    transient: Vec<PathBuf>,
    /// Directories of the kept snapshot, to be removed as well unless the run succeeds.
    kept: Vec<PathBuf>,
}

impl Snapshot {
    /// The run has succeeded: the kept snapshot is the operator's from now on.
    pub fn release_kept(&mut self) {
        self.kept.clear();
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        for directory in self.transient.iter().chain(&self.kept) {
            if let Err(error) = fs::remove_tree(directory) {
                tracing::warn!("{error}; the next run will try again");
            }
        }
    }
}

/// One table of a snapshot. Small: what the files look like is read again from the links.
#[derive(Debug)]
pub struct TableSnapshot {
    /// The table.
    pub table: Table,
    /// The table in the backup that is built upon.
    pub base: Option<TableEntry>,
    /// SSTables that are stored already.
    pub known: Vec<Known>,
    /// SSTables that are not.
    pub fresh: Vec<Fresh>,
    /// True if the base has exactly these SSTables, where they were.
    pub is_unchanged: bool,
    /// Directories of links, by place and index.
    pub links: Vec<Links>,
    /// Plain bytes of the fresh ones.
    pub fresh_bytes: u64,
}

/// An SSTable that the base has.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its place in the base part.
    pub in_base: usize,
    /// Where it lies now.
    pub data_directory: usize,
}

/// An SSTable that is not stored yet.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// What the names of its files begin with.
    pub descriptor: Descriptor,
    /// Its directory among [`TableSnapshot::links`].
    pub links: usize,
    /// Why nobody can tell whether it counts.
    pub doubt: Option<String>,
    /// The SSTable of that name in the base part: some of its objects may serve.
    pub in_base: Option<usize>,
}

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

/// Finds and links the SSTables of the selected tables. `base` tells what is stored of a table already.
pub fn take(
    request: Request<'_>,
    base: &mut dyn FnMut(&Table) -> anyhow::Result<Option<Base>>,
) -> anyhow::Result<Snapshot> {
    let scan = tables::scan(&request.node.data_directories)?;
    let mut snapshot = Snapshot {
        tables: Vec::new(),
        dropped: Vec::new(),
        notices: scan.notices,
        versions: BTreeSet::new(),
        transient: Vec::new(),
        kept: Vec::new(),
    };
    if !request.dry_run {
        for path in clear::clear_leftovers(&scan.tables)? {
            snapshot.notices.push(remark(&path, "links of a run that was killed; removed"));
        }
    }
    let selected: Vec<&Table> = scan
        .tables
        .iter()
        .filter(|table| request.selection.includes(&table.keyspace, &table.directory.table))
        .collect();
    if let Some(tag) = request.keep {
        refuse_taken_tag(&selected, tag)?;
    }
    let schema = SchemaIds::read(&scan.tables);
    for table in selected {
        request.progress.check()?;
        if !request.include_dropped
            && let Some(evidence) = schema.dropped(table)
        {
            let places = live::open(&table.places, None)?;
            snapshot.dropped.push(dropped_table(table, evidence, live::collect(&places)?.sstables.len()));
            continue;
        }
        let taken = TableRun { request, table, base: base(table)?, snapshot: &mut snapshot }.run()?;
        let is_empty = taken.known.is_empty() && taken.fresh.is_empty();
        match is_empty.then(|| dropped::leftover(table, &scan.tables)).flatten() {
            Some(evidence) if !request.include_dropped => {
                snapshot.dropped.push(dropped_table(table, evidence, 0));
            }
            _ => snapshot.tables.push(taken),
        }
    }
    Ok(snapshot)
}

fn dropped_table(table: &Table, evidence: String, sstables: usize) -> DroppedTable {
    DroppedTable {
        keyspace: table.keyspace.clone(),
        directory: table.directory_name(),
        evidence,
        sstables: sstables as u64,
    }
}

fn refuse_taken_tag(tables: &[&Table], tag: &str) -> anyhow::Result<()> {
    for place in tables.iter().flat_map(|table| &table.places) {
        let path = place.path.join(SNAPSHOTS).join(tag);
        if path.symlink_metadata().is_ok() {
            bail!("snapshot {tag} exists already: {}; choose another tag or clear it", path.display());
        }
    }
    Ok(())
}

/// The SSTables of one directory of a table: the table's own, or those of an index.
struct Group {
    index: Option<String>,
    places: Vec<OpenPlace>,
    live: Vec<LiveSSTable>,
}

/// Work on one table.
struct TableRun<'a, 's> {
    request: Request<'a>,
    table: &'a Table,
    base: Option<Base>,
    snapshot: &'s mut Snapshot,
}

impl TableRun<'_, '_> {
    fn run(mut self) -> anyhow::Result<TableSnapshot> {
        let mut linker = Linker::new(self.request, self.table);
        let taken = self.take(&mut linker);
        // Whatever the outcome: a kept snapshot has another name by now, so only what is left of it is removed.
        let made = linker.made();
        if let Some(tag) = self.request.keep {
            self.snapshot.kept.extend(made.iter().map(|path| path.with_file_name(tag)));
        }
        self.snapshot.transient.extend(made);
        taken
    }

    fn take(&mut self, linker: &mut Linker<'_>) -> anyhow::Result<TableSnapshot> {
        let base = self.base.take();
        let in_base = BaseIndex::new(base.as_ref());
        let (groups, fresh) = loop {
            let groups = self.collect()?;
            let fresh: BTreeSet<(usize, usize)> = groups
                .iter()
                .enumerate()
                .flat_map(|(g, group)| group.live.iter().enumerate().map(move |(s, sstable)| (g, s, group, sstable)))
                .filter(|(_, _, group, sstable)| in_base.find(group, sstable).is_none())
                .map(|(g, s, ..)| (g, s))
                .collect();
            if self.request.dry_run {
                break (groups, fresh);
            }
            let wanted = |g, s| self.request.keep.is_some() || fresh.contains(&(g, s));
            if linker.link_all(&groups, wanted, &mut self.snapshot.notices)? {
                break (groups, fresh);
            }
        };
        let mut taken = TableSnapshot {
            table: self.table.clone(),
            base: base.as_ref().map(|base| base.entry.clone()),
            known: Vec::new(),
            fresh: Vec::new(),
            is_unchanged: false,
            links: Vec::new(),
            fresh_bytes: 0,
        };
        let mut moved = false;
        for (g, group) in groups.iter().enumerate() {
            for (s, sstable) in group.live.iter().enumerate() {
                self.meet_version(group, sstable);
                let data_directory = group.places[sstable.place].data_directory;
                if !fresh.contains(&(g, s)) {
                    let in_base = in_base.find(group, sstable).context("a known SSTable is in the base")?;
                    let was = base.as_ref().map(|base| base.part.sstables[in_base].data_directory);
                    moved |= was != Some(data_directory);
                    taken.known.push(Known { in_base, data_directory });
                    continue;
                }
                taken.fresh_bytes += sstable.files.values().map(|stat| stat.size).sum::<u64>();
                let links = linker.links_of(group, sstable.place, &mut taken.links);
                let in_base = in_base.named(group, sstable);
                let doubt = sstable.doubt.clone();
                taken.fresh.push(Fresh { descriptor: sstable.descriptor, links, doubt, in_base });
            }
        }
        let base_count = base.as_ref().map(|base| base.part.sstables.len());
        taken.is_unchanged = taken.fresh.is_empty() && !moved && base_count == Some(taken.known.len());
        if let (Some(tag), false) = (self.request.keep, self.request.dry_run) {
            linker.keep(tag, &groups, &mut taken.links)?;
        }
        Ok(taken)
    }

    fn meet_version(&mut self, group: &Group, sstable: &LiveSSTable) {
        let version = sstable.descriptor.version;
        if !self.snapshot.versions.contains(version.as_str()) {
            self.snapshot.versions.insert(version.to_string());
        }
        if !version.is_parsable() {
            let path = group.places[sstable.place].dir.path().join(sstable.descriptor.to_string());
            let message = format!("version {version} is unknown: stored as it is, and not checked");
            self.snapshot.notices.push(notice(&path, message));
        }
    }

    /// The live sets of the table and of its indexes.
    fn collect(&mut self) -> anyhow::Result<Vec<Group>> {
        let places = live::open(&self.table.places, None)?;
        let mut live = live::collect(&places)?;
        let mut groups = Vec::new();
        let mut notices = std::mem::take(&mut live.notices);
        for index in std::mem::take(&mut live.indexes) {
            let places = live::open(&self.table.places, Some(&index))?;
            let mut live = live::collect(&places)?;
            notices.append(&mut live.notices);
            groups.push(Group { index: Some(index), places, live: live.sstables });
        }
        groups.insert(0, Group { index: None, places, live: live.sstables });
        for notice in notices {
            // The loop may look several times.
            if !self.snapshot.notices.contains(&notice) {
                self.snapshot.notices.push(notice);
            }
        }
        Ok(groups)
    }
}

/// Finds live SSTables in the part that is built upon.
struct BaseIndex<'a> {
    base: Option<&'a Base>,
    by_name: HashMap<(Option<&'a str>, &'a str), usize>,
}

impl<'a> BaseIndex<'a> {
    fn new(base: Option<&'a Base>) -> Self {
        let sstables = base.map(|base| base.part.sstables.as_slice()).unwrap_or_default();
        let by_name = sstables
            .iter()
            .enumerate()
            .map(|(position, sstable)| ((sstable.index.as_deref(), sstable.sstable.as_str()), position))
            .collect();
        Self { base, by_name }
    }

    /// The SSTable of the same name.
    fn named(&self, group: &Group, live: &LiveSSTable) -> Option<usize> {
        let name = live.descriptor.to_string();
        self.by_name.get(&(group.index.as_deref(), name.as_str())).copied()
    }

    /// The same files with the same lengths and times: a file name is never used again with all of these equal. What
    /// was damaged or doubtful then is looked at again.
    fn find(&self, group: &Group, live: &LiveSSTable) -> Option<usize> {
        let position = self.named(group, live)?;
        let stored = &self.base?.part.sstables[position];
        let same = live.doubt.is_none()
            && !stored.damaged
            && stored.files.len() == live.files.len()
            && stored.files.iter().all(|file| {
                live.files
                    .get(&Component::parse(&file.component))
                    .is_some_and(|stat| stat.size == file.length && stat.mtime_ns == file.mtime_ns)
            });
        same.then_some(position)
    }
}

/// Makes the links of one table.
struct Linker<'a> {
    request: Request<'a>,
    table: &'a Table,
    /// Directory of links by place of the table and index.
    dirs: BTreeMap<(PathBuf, Option<String>), Dir>,
    /// Links that were made, to be compared with what counts in the end.
    held: BTreeSet<(Option<String>, PathBuf, Descriptor)>,
    copies: bool,
}

impl<'a> Linker<'a> {
    fn new(request: Request<'a>, table: &'a Table) -> Self {
        Self { request, table, dirs: BTreeMap::new(), held: BTreeSet::new(), copies: false }
    }

    /// Links what is wanted; false if something of it vanished meanwhile, so that the caller has to look again.
    fn link_all(
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
                if !self.held.contains(&key) {
                    if !self.link(group, sstable, notices)? {
                        return Ok(false);
                    }
                    self.held.insert(key.clone());
                }
                counted.insert(key);
            }
        }
        if !self.all_are_those_seen(groups, &counted)? {
            return Ok(false);
        }
        // Inputs of a compaction that ended meanwhile: beside its outputs they could bring deleted rows back.
        for (index, path, descriptor) in self.held.difference(&counted) {
            let dir = self.dirs.get(&(table_directory(path, index.as_deref()), index.clone()));
            if let Some(dir) = dir {
                unlink_sstable(dir, *descriptor)?;
            }
        }
        self.held = counted;
        Ok(true)
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

    fn link(&mut self, group: &Group, sstable: &LiveSSTable, notices: &mut Vec<Notice>) -> anyhow::Result<bool> {
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
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A derived file may be between its old and its new version; the SSTable is there without it.
                    if component.is_mutable() && *component != Component::Statistics {
                        continue;
                    }
                    unlink_sstable(to, sstable.descriptor)?;
                    return Ok(false);
                }
                Err(error) => return Err(refused(error)),
            }
            if self.copies && !notices.iter().any(|notice| notice.message.starts_with("links")) {
                notices.push(remark(from.path(), "links are impossible here; the files are copied, which takes space"));
            }
        }
        Ok(true)
    }

    /// The entry for a directory of links in `all`, made when it is first needed.
    fn links_of(&self, group: &Group, place: usize, all: &mut Vec<Links>) -> usize {
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
    fn made(&self) -> Vec<PathBuf> {
        let tables: BTreeSet<&PathBuf> = self.dirs.keys().map(|(table, _)| table).collect();
        tables.into_iter().map(|table| table.join(SNAPSHOTS).join(self.request.transient)).collect()
    }

    /// Makes a kept snapshot of the links: Cassandra's own two files, everything durable, then the tag.
    fn keep(&mut self, tag: &str, groups: &[Group], links: &mut [Links]) -> anyhow::Result<()> {
        let Some(home) = groups[0].places.first().map(|place| place.dir.path().to_owned()) else { return Ok(()) };
        // An empty table has a snapshot, too.
        let key = (home.clone(), None);
        if !self.dirs.contains_key(&key) {
            let dir = make_dir(&home, self.request.transient, None).map_err(refused)?;
            self.dirs.insert(key.clone(), dir);
        }
        let mut files = Vec::new();
        let mut columns = Columns::default();
        let buffers = Buffers::default();
        for group in groups {
            for sstable in &group.live {
                let name = sstable.descriptor.file_name(&Component::Data);
                files.push(group.index.as_ref().map_or(name.clone(), |index| format!("{index}/{name}")));
                if group.index.is_none() && !self.table.keyspace.starts_with("system") {
                    let path = group.places[sstable.place].dir.path();
                    let path = path.join(sstable.descriptor.file_name(&Component::Statistics));
                    let bytes = Reader::open(&path, &buffers).and_then(Reader::read_whole).ok();
                    let version = sstable.descriptor.version;
                    let statistics =
                        bytes.and_then(|b| helenus_sstable::statistics::Statistics::parse(&b, version).ok());
                    statistics.iter().for_each(|statistics| columns.add(statistics));
                }
            }
        }
        let manifest = serde_json::json!({
            "files": files,
            "created_at": crate::time::rfc3339(self.request.started),
            "expires_at": null,
            "ephemeral": false,
        });
        self.dirs[&key].write_child("manifest.json", serde_json::to_string(&manifest)?.as_bytes())?;
        if let Some(cql) = columns.to_cql(self.table) {
            self.dirs[&key].write_child("schema.cql", cql.as_bytes())?;
        }
        for dir in self.dirs.values() {
            dir.sync()?;
        }
        for table in self.dirs.keys().filter(|(_, index)| index.is_none()).map(|(table, _)| table) {
            let snapshots = Dir::open(table.join(SNAPSHOTS))?;
            snapshots.rename_child_to(self.request.transient, &snapshots, tag)?;
            snapshots.sync()?;
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

/// The table's directory, from the directory of the table or of one of its indexes.
fn table_directory(path: &std::path::Path, index: Option<&str>) -> PathBuf {
    match index {
        None => path.to_owned(),
        Some(_) => path.parent().unwrap_or(path).to_owned(),
    }
}

fn make_dir(table: &std::path::Path, name: &str, index: Option<&str>) -> fs::Result<Dir> {
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
