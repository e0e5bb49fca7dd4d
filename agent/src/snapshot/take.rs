//! Takes a snapshot: finds the SSTables that count, links them, and makes sure that all links belong to one moment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use helenus_sstable::descriptor::Descriptor;
use jiff::Timestamp;

use super::base::{Base, Stored};
use super::link::{Group, Linker, Links, keep_all};
use super::{SNAPSHOTS, clear};
use crate::fs;
use crate::manifest::model::{DroppedTable, Notice, TableEntry};
use crate::node::dropped;
use crate::node::live::{self, LiveSSTable};
use crate::node::tables::{self, notice, remark};
use crate::node::{Node, Table};
use crate::progress::Progress;
use crate::schema::{self, Schema};
use crate::selection::Selection;
use crate::threads;

/// How often a table is looked at anew because an SSTable was compacted away while it was linked. Each time a compaction
/// has ended; two or three are usual on a busy node.
const LOOKS_MAX: u32 = 200;

/// Tables that are looked at and linked at a time: enough to use a few cores, and to let one sync or one answer of a
/// store be waited for while others work. Each holds the part that its table builds upon.
const TABLES_AT_A_TIME: usize = 4;

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
    /// SSTables that at least one repository lacks.
    pub fresh: Vec<Fresh>,
    /// Directories of links, by place and index.
    pub links: Vec<Links>,
    /// Plain bytes of the fresh ones.
    pub fresh_bytes: u64,
    /// What each repository has of the table.
    pub repositories: Vec<InRepository>,
}

/// A table as one repository knows it. One that is out of the run has nothing and lacks nothing.
#[derive(Debug, Default)]
pub struct InRepository {
    /// The table in the backup that is built upon.
    pub base: Option<TableEntry>,
    /// SSTables that are stored already.
    pub known: Vec<Known>,
    /// SSTables that are not, in the order of [`TableSnapshot::fresh`].
    pub lacking: Vec<Lacking>,
    /// Plain bytes of these.
    pub lacking_bytes: u64,
    /// True if the base has exactly the SSTables of the snapshot, where they were.
    pub is_unchanged: bool,
}

/// An SSTable that the base lacks.
#[derive(Debug, Clone, Copy)]
pub struct Lacking {
    /// Its place in [`TableSnapshot::fresh`].
    pub fresh: u32,
    /// The SSTable of that name in the base part: some of its objects may serve.
    pub in_base: Option<u32>,
}

/// An SSTable that the base has.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its place in the base part.
    pub in_base: u32,
    /// Where it lies now.
    pub data_directory: u32,
}

/// An SSTable that is not stored everywhere yet.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// What the names of its files begin with.
    pub descriptor: Descriptor,
    /// Its directory among [`TableSnapshot::links`].
    pub links: u32,
    /// How many links it has there: with fewer, somebody is removing them.
    pub components: u32,
    /// Why nobody can tell whether it counts.
    pub doubt: Option<Box<str>>,
}

/// What was done for one table, also if it failed in the end.
#[derive(Default)]
struct Traces {
    notices: Vec<Notice>,
    versions: BTreeSet<String>,
    /// Directories of links that were made.
    made: Vec<PathBuf>,
}

/// What one table turned out to be.
enum Taken {
    Table(Box<TableSnapshot>),
    Dropped(DroppedTable),
}

/// Tells for each repository what it has of a table; `None` for one that is out of the run.
pub type Bases<'a> = &'a (dyn Fn(&Table) -> Vec<Option<Base>> + Sync);

/// Finds and links the SSTables of the selected tables that are not stored in every repository.
pub fn take(request: Request<'_>, bases: Bases<'_>) -> anyhow::Result<Snapshot> {
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
    let schema = schema::known(&scan.tables);
    let has_failed = AtomicBool::new(false);
    let outcomes = threads::map(&selected, TABLES_AT_A_TIME, |table| {
        let mut traces = Traces::default();
        if has_failed.load(Ordering::Relaxed) {
            return (traces, None);
        }
        let taken = take_table(request, table, schema.as_ref(), bases, &mut traces);
        has_failed.fetch_or(taken.is_err(), Ordering::Relaxed);
        (traces, Some(taken))
    });
    let mut failure = None;
    for (traces, taken) in outcomes {
        snapshot.transient.extend(traces.made);
        snapshot.notices.extend(traces.notices);
        snapshot.versions.extend(traces.versions);
        match taken {
            Some(Ok(Taken::Table(table))) => snapshot.tables.push(*table),
            Some(Ok(Taken::Dropped(dropped))) => snapshot.dropped.push(dropped),
            Some(Err(error)) => failure = failure.or(Some(error)),
            None => {}
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if let (Some(tag), false) = (request.keep, request.dry_run) {
        keep_all(&snapshot.transient, tag, &mut snapshot.kept)?;
    }
    Ok(snapshot)
}

fn take_table(
    request: Request<'_>,
    table: &Table,
    schema: Option<&Schema>,
    bases: Bases<'_>,
    traces: &mut Traces,
) -> anyhow::Result<Taken> {
    request.progress.check()?;
    if !request.include_dropped
        && let Some(evidence) = schema.and_then(|schema| dropped::evidence(schema, table))
    {
        let places = live::open(&table.places, None)?;
        return Ok(Taken::Dropped(dropped_table(table, evidence, live::collect(&places)?.sstables.len())));
    }
    let taken = TableRun { request, table, schema, bases: bases(table), traces }.run()?;
    Ok(Taken::Table(Box::new(taken)))
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

/// Work on one table.
struct TableRun<'a, 't> {
    request: Request<'a>,
    table: &'a Table,
    schema: Option<&'a Schema>,
    bases: Vec<Option<Base>>,
    traces: &'t mut Traces,
}

impl TableRun<'_, '_> {
    fn run(mut self) -> anyhow::Result<TableSnapshot> {
        let mut linker = Linker::new(self.request);
        let taken = self.take(&mut linker);
        self.traces.made = linker.made();
        taken
    }

    fn take(&mut self, linker: &mut Linker<'_>) -> anyhow::Result<TableSnapshot> {
        let bases = std::mem::take(&mut self.bases);
        let mut looks = 0;
        let (groups, found) = loop {
            looks += 1;
            if looks > LOOKS_MAX {
                bail!("{}: SSTables or their links vanish as fast as they are linked", self.table);
            }
            let groups = self.collect()?;
            let found: Vec<_> = bases.iter().map(|base| base.as_ref().map(|base| find_all(base, &groups))).collect();
            if self.request.dry_run {
                break (groups, found);
            }
            let is_lacking = |g: usize, s: usize| found.iter().flatten().any(|found| found[g][s].is_none());
            let wanted = |g, s| self.request.keep.is_some() || is_lacking(g, s);
            if linker.link_all(&groups, wanted, &mut self.traces.notices)? {
                break (groups, found);
            }
        };
        let mut taken = TableSnapshot {
            table: self.table.clone(),
            fresh: Vec::new(),
            links: Vec::new(),
            fresh_bytes: 0,
            repositories: Vec::new(),
        };
        // By group and SSTable, the place among the fresh ones.
        let mut fresh: Vec<Vec<Option<u32>>> = Vec::new();
        for (g, group) in groups.iter().enumerate() {
            let mut of_group = Vec::with_capacity(group.live.len());
            for (s, sstable) in group.live.iter().enumerate() {
                self.meet_version(group, sstable);
                if found.iter().flatten().all(|found| found[g][s].is_some()) {
                    of_group.push(None);
                    continue;
                }
                of_group.push(Some(u32::try_from(taken.fresh.len())?));
                taken.fresh_bytes += sstable.bytes();
                let links = u32::try_from(linker.links_of(group, sstable.place, &mut taken.links))?;
                let doubt = sstable.doubt.as_deref().map(Box::from);
                let components = linker.links_made(group, sstable);
                taken.fresh.push(Fresh { descriptor: sstable.descriptor, links, components, doubt });
            }
            fresh.push(of_group);
        }
        for (base, found) in bases.iter().zip(&found) {
            taken.repositories.push(match (base, found) {
                (Some(base), Some(found)) => in_repository(base, found, &groups, &fresh)?,
                _ => InRepository::default(),
            });
        }
        if let (Some(tag), false) = (self.request.keep, self.request.dry_run) {
            let cql = self.schema.and_then(|schema| self.create_statements(schema));
            linker.keep(tag, &groups, cql.as_deref(), &mut taken.links)?;
        }
        Ok(taken)
    }

    /// Cassandra writes none for the system's tables.
    fn create_statements(&self, schema: &Schema) -> Option<String> {
        let (keyspace, name) = (&self.table.keyspace, &self.table.directory.table);
        let is_system = keyspace.starts_with("system");
        (!is_system).then(|| schema::create_statements(schema, keyspace, name)).flatten()
    }

    fn meet_version(&mut self, group: &Group, sstable: &LiveSSTable) {
        let version = sstable.descriptor.version;
        if !self.traces.versions.contains(version.as_str()) {
            self.traces.versions.insert(version.to_string());
        }
        if !version.is_parsable() {
            let path = group.places[sstable.place].dir.path().join(sstable.descriptor.to_string());
            let message = format!("version {version} is unknown: stored as it is, and not checked");
            self.traces.notices.push(notice(&path, message));
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
            if !self.traces.notices.contains(&notice) {
                self.traces.notices.push(notice);
            }
        }
        Ok(groups)
    }
}

/// By group and SSTable, what `base` has of it.
fn find_all(base: &Base, groups: &[Group]) -> Vec<Vec<Option<Stored>>> {
    groups.iter().map(|group| group.live.iter().map(|sstable| base.find(group, sstable)).collect()).collect()
}

/// The table as the repository of `base` knows it. `found` and `fresh` go by group and SSTable.
fn in_repository(
    base: &Base,
    found: &[Vec<Option<Stored>>],
    groups: &[Group],
    fresh: &[Vec<Option<u32>>],
) -> anyhow::Result<InRepository> {
    let mut has = InRepository { base: base.entry.clone(), ..InRepository::default() };
    let mut moved = false;
    for ((group, found), fresh) in groups.iter().zip(found).zip(fresh) {
        for ((sstable, found), fresh) in group.live.iter().zip(found).zip(fresh) {
            match (found, fresh) {
                (Some(stored), _) => {
                    let data_directory = u32::try_from(group.places[sstable.place].data_directory)?;
                    moved |= stored.data_directory != data_directory as usize;
                    has.known.push(Known { in_base: stored.position, data_directory });
                }
                (None, Some(fresh)) => {
                    let in_base = base.named(group, sstable).map(|stored| stored.position);
                    has.lacking.push(Lacking { fresh: *fresh, in_base });
                    has.lacking_bytes += sstable.bytes();
                }
                (None, None) => bail!("{}: lacking, and not linked", sstable.descriptor),
            }
        }
    }
    let is_all = has.lacking.is_empty() && base.count() == has.known.len();
    has.is_unchanged = has.base.is_some() && is_all && !moved;
    Ok(has)
}
