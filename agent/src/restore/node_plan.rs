//! What a restore into a node will do, as a value: which tables, into which directories, onto which disks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::cautions;
use super::disks::{Disk, Disks, refuse_full};
use super::journal::JournalTable;
use super::judge::{Lost, Tally, refuse_hopeless};
use super::plan::{Scope, Source, refuse_same_place, with_overhead};
use super::release::Release;
use super::resolve;
use super::reuse::{self, Local};
use super::rules::{self, Onto, is_system};
use crate::catalog::{Catalog, Wanted, is_damage};
use crate::error::usage;
use crate::manifest::Manifest;
use crate::manifest::model::{Amount, Part, TableEntry, is_index_directory};
use crate::node;
use crate::node::tables::{self, Table};
use crate::schema::{self, Schema};
use crate::selection::Selection;
use crate::time;

/// A restore of selected tables into a node that is stopped.
#[derive(Debug, Serialize)]
pub struct NodePlan {
    /// Id of the backup.
    pub backup_id: String,
    /// Data directories of the node, with what is written to each.
    pub disks: Vec<Disk>,
    /// Tables whose files are replaced.
    #[serde(skip)]
    pub tables: Vec<PlannedTable>,
    /// Sum over all tables.
    pub total: Amount,
    /// Tables that cannot be restored, for the repository has lost the list of their SSTables: the node's own files stay.
    pub lost_tables: Vec<Lost>,
    /// What of it the node seems to have already.
    pub reusable: Tally,
    /// Damaged SSTables that are left out, as `keyspace.table/sstable`.
    pub left_out: Vec<String>,
    /// What else is left out, and what is left to do.
    pub notes: Vec<String>,
}

/// One table of a plan.
#[derive(Debug)]
pub struct PlannedTable {
    /// What the journal will say.
    pub table: JournalTable,
    /// What is restored of it.
    pub amount: Amount,
}

/// The node that is restored into.
#[derive(Debug)]
pub struct Target {
    /// Data directories, canonical.
    pub data_directories: Vec<PathBuf>,
    /// Its host id, if its files name one.
    pub host_id: Option<Uuid>,
    /// Name of its cluster, if its configuration is known.
    cluster: Option<String>,
    /// The data directory in which Cassandra looks for local system tables, and for no others.
    local_system: Option<usize>,
    tables: Vec<Table>,
    schema: Option<Schema>,
}

impl Target {
    /// Looks at a node. `cluster` and `local_system` are known from its configuration.
    pub fn look(
        data_directories: Vec<PathBuf>,
        cluster: Option<String>,
        local_system: Option<usize>,
    ) -> anyhow::Result<Self> {
        let host_id = node::identity::host_id(&data_directories).ok().map(|(host_id, _)| host_id);
        let tables = tables::scan(&data_directories)?.tables;
        let schema = schema::known(&tables);
        Ok(Self { data_directories, host_id, cluster, local_system, tables, schema })
    }

    /// Refuses the backup of another cluster or another node, unless it was `named`.
    pub fn refuse_foreign(&self, manifest: &Manifest, named: &Wanted, replace: bool) -> anyhow::Result<()> {
        let Manifest { backup_id, cluster, host_id, .. } = manifest;
        if let Some(own) = self.cluster.as_ref().filter(|own| *own != cluster)
            && named.cluster.as_ref() != Some(cluster)
        {
            return Err(usage(format!(
                "{backup_id} is a backup of the cluster {cluster}, and this node is of the cluster {own}: pass --cluster \
                 {cluster:?} if it is meant all the same"
            )));
        }
        if let Some(own) = self.host_id.filter(|own| own != host_id)
            && named.host_id != Some(*host_id)
            && !replace
        {
            return Err(usage(format!(
                "{backup_id} is a backup of the node {host_id}, and this node is {own}: pass --host-id {host_id} to take \
                 the tables of that node, or --replace if it is dead and this one takes its place"
            )));
        }
        Ok(())
    }

    /// The release of its Cassandra, as far as its files tell.
    pub fn release(&self) -> Option<Release> {
        Release::of_node(&self.tables)
    }

    fn directories<'a>(&'a self, keyspace: &'a str, directory: &'a str) -> impl Iterator<Item = (usize, PathBuf)> + 'a {
        self.data_directories.iter().enumerate().map(move |(place, path)| (place, path.join(keyspace).join(directory)))
    }
}

impl NodePlan {
    /// Plans the restore of the selected tables of a backup into a node. With `replace`, the node becomes that of the
    /// backup.
    pub async fn make(catalog: Catalog<'_>, scope: &Scope<'_>, target: &Target, replace: bool) -> anyhow::Result<Self> {
        let manifest = scope.manifest;
        let onto = Onto::Node { host_id: target.host_id, replace };
        let chosen = rules::choose(manifest, scope.selection, scope.renames, onto)?;
        scope.refuse_nothing(chosen.tables.is_empty())?;
        let mut plan = Self {
            backup_id: manifest.backup_id.to_string(),
            disks: Vec::new(),
            tables: Vec::new(),
            total: Amount::default(),
            lost_tables: Vec::new(),
            reusable: Tally::default(),
            left_out: Vec::new(),
            notes: chosen.notes,
        };
        let mut disks =
            Disks::look(&target.data_directories, manifest.node.data_directories.len(), target.local_system)?;
        let mut spared = BTreeSet::new();
        for entry in chosen.tables {
            let (keyspace, directory) = plan.destination(scope, target, chosen.with_schema, entry)?;
            let mut planned = PlannedTable {
                table: JournalTable {
                    keyspace,
                    directory,
                    from: Source::of(entry),
                    part: entry.part.clone(),
                    places: vec![],
                },
                amount: Amount::default(),
            };
            if let Some(hash) = &entry.part {
                let part = catalog.part(&manifest.node_name(), &entry.keyspace, &entry.directory, hash).await;
                let part = match part {
                    Err(error) if is_damage(&error) => {
                        plan.lost_tables.push(Lost::table(&planned.table.from, &error));
                        spared.insert((planned.table.keyspace, planned.table.directory));
                        continue;
                    }
                    part => part?,
                };
                plan.spread(scope, target, entry, &part, &mut planned, &mut disks)?;
            }
            plan.total.add(planned.amount);
            plan.tables.push(planned);
        }
        refuse_hopeless(catalog.store(), &plan.lost_tables).await?;
        for entry in chosen.emptied {
            plan.empty(&entry.keyspace, &entry.directory);
        }
        if chosen.with_schema {
            plan.empty_others(scope, target, spared)?;
        }
        refuse_same_place(
            plan.tables.iter().map(|planned| (&planned.table.keyspace, &planned.table.directory, &planned.table.from)),
        )?;
        for planned in &plan.tables {
            for (place, path) in target.directories(&planned.table.keyspace, &planned.table.directory) {
                refuse_elsewhere(&target.data_directories[place], &path)?;
            }
        }
        plan.disks = disks.into_disks();
        plan.caution(target, manifest.started)?;
        Ok(plan)
    }

    /// What is to be known of rows that come back.
    fn caution(&mut self, target: &Target, started: Timestamp) -> anyhow::Result<()> {
        let tables = self.tables.iter().map(|planned| &planned.table);
        let of_users: Vec<_> = tables.filter(|table| !is_system(&table.keyspace) && table.part.is_some()).collect();
        let schema = target.schema.as_ref();
        let with_limits = of_users.iter().map(|table| {
            let name = table.directory.split('-').next().unwrap_or_default();
            let known = schema.and_then(|schema| schema.table(&table.keyspace, name));
            (table.to_string(), known.and_then(|table| table.options.gc_grace_seconds))
        });
        self.notes.extend(cautions::forgotten(with_limits, started, time::now()));
        for table in of_users {
            let directories = target.directories(&table.keyspace, &table.directory).map(|(_, path)| path);
            self.notes.extend(cautions::remembered(&table.to_string(), directories, started)?);
        }
        Ok(())
    }

    /// Keyspace and directory of the node that the table is restored into.
    fn destination(
        &mut self,
        scope: &Scope<'_>,
        target: &Target,
        with_schema: bool,
        entry: &TableEntry,
    ) -> anyhow::Result<(String, String)> {
        let renamed = scope.renames.of(&entry.keyspace, &entry.table);
        // The restored schema says which id the table has; and Cassandra's own tables have the same everywhere.
        if renamed.is_none() && (with_schema || is_system(&entry.keyspace)) {
            return Ok((entry.keyspace.clone(), entry.directory.clone()));
        }
        let is_renamed = renamed.is_some();
        let (keyspace, table) = renamed.unwrap_or_else(|| (entry.keyspace.clone(), entry.table.clone()));
        let found = resolve::directory(&target.tables, target.schema.as_ref(), &keyspace, &table, &entry.directory)?;
        match found {
            Some(directory) => Ok((keyspace, directory)),
            None if is_renamed => bail!(
                "{keyspace}.{table}: the node has no such table, so there is no place for {}.{}: create it first, with \
                 the same columns",
                entry.keyspace,
                entry.table
            ),
            None => {
                self.notes.push(format!(
                    "{keyspace}.{table}: the node has no such table; Cassandra sees the files when it is created WITH ID = \
                     {}",
                    entry.directory.rsplit('-').next().unwrap_or_default()
                ));
                Ok((keyspace, entry.directory.clone()))
            }
        }
    }

    /// Gives each SSTable of a table its data directory.
    fn spread(
        &mut self,
        scope: &Scope<'_>,
        target: &Target,
        entry: &TableEntry,
        part: &Part,
        planned: &mut PlannedTable,
        disks: &mut Disks,
    ) -> anyhow::Result<()> {
        let PlannedTable { table, amount } = planned;
        let is_same = table.keyspace == entry.keyspace && table.directory == entry.directory;
        let is_local_system = is_local_system(&table.keyspace, &entry.table);
        let local = Local::list(target.directories(&table.keyspace, &table.directory))?;
        let mut taken = BTreeSet::new();
        let mut indexes = BTreeSet::new();
        let mut placed = BTreeSet::new();
        for sstable in &part.sstables {
            // Another table has indexes of its own, and one of that name only if it is there.
            let has_index = |index: &String| {
                target.directories(&table.keyspace, &table.directory).any(|(_, path)| path.join(index).is_dir())
            };
            if let Some(index) = sstable.index.as_ref().filter(|index| !is_same && !has_index(index)) {
                indexes.insert(index.clone());
                table.places.push(None);
                continue;
            }
            if !scope.takes(entry, sstable, &mut self.left_out)? {
                table.places.push(None);
                continue;
            }
            let preference = disks.preference(local.place(sstable), sstable.data_directory, is_local_system);
            let name = reuse::name(sstable, "");
            let place = preference.into_iter().find(|place| taken.insert((*place, name.clone()))).with_context(|| {
                format!(
                    "{}: more SSTables are called {} than the node has data directories, and one directory holds one of a \
                     name",
                    table.from,
                    name.trim_end_matches('-')
                )
            })?;
            table.places.push(Some(place));
            placed.extend(sstable.index.as_deref());
            amount.add(sstable.amount());
            for file in &sstable.files {
                if local.looks_equal(sstable, file, place) {
                    self.reusable.files += 1;
                    self.reusable.bytes += file.length;
                } else {
                    disks.give(place, with_overhead(file.length, 1));
                }
            }
        }
        let emptied = live_indexes(target.directories(&table.keyspace, &table.directory))
            .filter(|index| !indexes.contains(index) && !placed.contains(index.as_str()))
            .collect::<BTreeSet<String>>();
        if amount.sstables > 0 && !emptied.is_empty() {
            let names: Vec<&str> = emptied.iter().map(|index| index.trim_start_matches('.')).collect();
            self.notes.push(format!(
                "{table}: the backup has no files of {}, and Cassandra takes the index for built: `nodetool rebuild_index` \
                 builds it anew",
                names.join(", ")
            ));
        }
        if !indexes.is_empty() {
            let indexes: Vec<&str> = indexes.iter().map(|index| index.trim_start_matches('.')).collect();
            self.notes.push(format!(
                "{table}: the files of {} are left out, for the table has no such index: rebuild its own with `nodetool \
                 rebuild_index`",
                indexes.join(", ")
            ));
        }
        Ok(())
    }

    fn empty(&mut self, keyspace: &str, directory: &str) {
        let from = Source { keyspace: keyspace.to_owned(), directory: directory.to_owned() };
        let table = JournalTable {
            keyspace: keyspace.to_owned(),
            directory: directory.to_owned(),
            from,
            part: None,
            places: Vec::new(),
        };
        self.tables.push(PlannedTable { table, amount: Amount::default() });
    }

    /// Tables of the node that the backup does not have, though it was asked for them, did not exist when it was made.
    fn empty_others(
        &mut self,
        scope: &Scope<'_>,
        target: &Target,
        mut known: BTreeSet<(String, String)>,
    ) -> anyhow::Result<()> {
        let backed_up = Selection::parse(scope.manifest.selection.clone())?;
        known.extend(
            self.tables.iter().map(|planned| (planned.table.keyspace.clone(), planned.table.directory.clone())),
        );
        for table in &target.tables {
            let directory = table.directory_name();
            let is_meant = !is_system(&table.keyspace)
                && scope.selection.includes(&table.keyspace, &table.directory.table)
                && !known.contains(&(table.keyspace.clone(), directory.clone()));
            if !is_meant || !has_files(table) {
                continue;
            }
            if backed_up.includes(&table.keyspace, &table.directory.table) {
                self.notes.push(format!("{table} ({directory}) is not in the backup: its files are moved aside"));
                self.empty(&table.keyspace, &directory);
            } else {
                self.notes.push(format!("{table} ({directory}) was left out of the backup: it stays as it is"));
            }
        }
        Ok(())
    }

    /// Refuses if a file system has not the room for it.
    pub fn refuse_full(&self) -> anyhow::Result<()> {
        let (paths, needed): (Vec<PathBuf>, Vec<u64>) =
            self.disks.iter().map(|disk| (disk.path.clone(), disk.needed)).unzip();
        refuse_full(&paths, &needed)
    }
}

/// Names of the index directories of a table that have files.
fn live_indexes(directories: impl Iterator<Item = (usize, PathBuf)>) -> impl Iterator<Item = String> {
    directories.flat_map(|(_, path)| std::fs::read_dir(path)).flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| is_index_directory(name))?;
        std::fs::read_dir(entry.path()).ok()?.next().map(|_| name)
    })
}

/// True if there is something to be moved aside.
fn has_files(table: &Table) -> bool {
    let mut entries = table.places.iter().flat_map(|place| std::fs::read_dir(&place.path)).flatten().flatten();
    entries.any(|entry| {
        let is_index = entry.file_name().to_str().is_some_and(is_index_directory);
        is_index || entry.file_type().is_ok_and(|kind| !kind.is_dir())
    })
}

/// Files are moved by renaming them, which ends at the border of a file system; and a link leads nobody knows where.
fn refuse_elsewhere(base: &Path, table: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let device = base.metadata().with_context(|| base.display().to_string())?.dev();
    let mut levels: Vec<PathBuf> = table.ancestors().take_while(|level| *level != base).map(Path::to_owned).collect();
    for entry in std::fs::read_dir(table).into_iter().flatten() {
        let entry = entry.with_context(|| table.display().to_string())?;
        if entry.file_name().to_str().is_some_and(is_index_directory) {
            levels.push(entry.path());
        }
    }
    for level in levels {
        match level.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => bail!(
                "{}: a symbolic link, and a restore follows none: exclude the table, or put the directory in the place of \
                 the link",
                level.display()
            ),
            Ok(metadata) if metadata.dev() != device => bail!(
                "{}: a file system of its own, and files cannot be moved aside across file systems: exclude the table, or \
                 restore it with --to-dir",
                level.display()
            ),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| level.display().to_string()),
        }
    }
    Ok(())
}

/// True for the tables that Cassandra looks for in its `local_system_data_file_directory` alone
/// (`SystemKeyspace.TABLES_SPLIT_ACROSS_MULTIPLE_DISKS` has those of which it does not).
fn is_local_system(keyspace: &str, table: &str) -> bool {
    const SPLIT: &[&str] = &["batches", "paxos", "compaction_history", "prepared_statements", "repairs"];
    keyspace == "system_schema" || (keyspace == "system" && !SPLIT.contains(&table))
}
