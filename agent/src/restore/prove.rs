//! Proves a whole backup where it lies: nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use futures::TryStreamExt;
use helenus_sstable::component::Component;
use helenus_sstable::descriptor::FileName;
use helenus_sstable::verify::report::{Dropped, Severity};
use helenus_sstable::verify::rows::RowsReport;
use serde::Serialize;
use tokio::task::JoinSet;

use super::fetch::Fetcher;
use crate::catalog::Catalog;
use crate::manifest::Manifest;
use crate::manifest::model::{Amount, StoredSSTable};
use crate::sstable::SSTable;
use crate::sstable::stored::Stored;
use crate::store::key::{self, ObjectKey, Root};
use crate::store::{Depth, Listed, Store};

/// How far a proof goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every object is there.
    Present,
    /// And is as long as it should be.
    Size,
    /// And every byte of every file is as it was stored.
    Checksum,
    /// And every partition and row makes sense, and the indexes and statistics tell the truth of them.
    Rows,
}

/// What is wrong with one file of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// `keyspace.table`.
    pub table: String,
    /// `nb-1-big-Data.db`, or the part itself.
    pub file: String,
    /// The object.
    pub object: String,
    /// What is the matter.
    pub problem: String,
}

/// What a proof has seen.
#[derive(Debug, Default, Serialize)]
pub struct Proof {
    /// What was proven.
    pub amount: Amount,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is odd and no damage, and what could not be checked; only of the level `rows`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Problem>,
    /// Partitions that were read; only of the level `rows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u64>,
    /// Rows in them; only of the level `rows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// What a proof of one SSTable has seen.
#[derive(Default)]
struct Seen {
    problems: Vec<Problem>,
    notes: Vec<Problem>,
    partitions: u64,
    rows: u64,
}

/// Proves every object that the backup names.
pub async fn prove(
    store: Arc<dyn Store>,
    manifest: &Manifest,
    level: Level,
    fetcher: &Fetcher,
    parallel: usize,
) -> anyhow::Result<Proof> {
    let node = manifest.node_name();
    let catalog = Catalog::of(store.as_ref());
    let listed = if level < Level::Checksum { Some(Arc::new(listing(store.as_ref(), manifest).await?)) } else { None };
    let mut proof = Proof::default();
    if level == Level::Rows {
        (proof.partitions, proof.rows) = (Some(0), Some(0));
    }
    let mut running = JoinSet::new();
    for table in &manifest.tables {
        let Some(hash) = &table.part else { continue };
        let name = format!("{}.{}", table.keyspace, table.table);
        let part = match catalog.part(&node, &table.keyspace, &table.directory, hash).await {
            Ok(part) => part,
            Err(error) => {
                let object = key::part(&node, &table.keyspace, &table.directory, hash)?.to_string();
                proof.problems.push(Problem {
                    table: name,
                    file: "part".to_owned(),
                    object,
                    problem: format!("{error:#}"),
                });
                continue;
            }
        };
        for sstable in part.sstables {
            while running.len() >= parallel {
                collect(&mut proof, running.join_next().await)?;
            }
            let (name, fetcher, listed) = (name.clone(), fetcher.clone(), listed.clone());
            let store = store.clone();
            running.spawn_blocking(move || {
                let mut seen = Seen {
                    problems: match listed {
                        Some(listed) => look_up(&sstable, &name, &listed, level),
                        None => read(&sstable, &name, &fetcher),
                    },
                    ..Seen::default()
                };
                // Of bytes that are not those that were stored the rows tell nothing.
                if level == Level::Rows && seen.problems.is_empty() && !sstable.damaged {
                    walk(&sstable, &name, store, &mut seen)?;
                }
                Ok((sstable.amount(), seen))
            });
        }
    }
    while !running.is_empty() {
        collect(&mut proof, running.join_next().await)?;
    }
    proof.problems.sort_by(|a, b| (&a.table, &a.file).cmp(&(&b.table, &b.file)));
    Ok(proof)
}

type Joined = Option<Result<anyhow::Result<(Amount, Seen)>, tokio::task::JoinError>>;

fn collect(proof: &mut Proof, joined: Joined) -> anyhow::Result<()> {
    if let Some(joined) = joined {
        let (amount, seen) = joined.context("a reader failed")??;
        proof.amount.add(amount);
        proof.problems.extend(seen.problems);
        proof.notes.extend(seen.notes);
        proof.partitions = proof.partitions.map(|partitions| partitions + seen.partitions);
        proof.rows = proof.rows.map(|rows| rows + seen.rows);
    }
    Ok(())
}

/// Lengths of all objects of the node in all epochs that the backup may use.
async fn listing(store: &dyn Store, manifest: &Manifest) -> anyhow::Result<BTreeMap<ObjectKey, u64>> {
    let mut objects = BTreeMap::new();
    for root in [Root::Data, Root::Damaged] {
        let prefix = key::sstables(root, manifest.epoch, &manifest.node_name())?;
        let mut listing = store.list(&prefix, None, Depth::All);
        while let Some(listed) = listing.try_next().await? {
            if let Listed::Object(object) = listed {
                objects.insert(object.key().clone(), object.length());
            }
        }
    }
    Ok(objects)
}

fn look_up(sstable: &StoredSSTable, table: &str, listed: &BTreeMap<ObjectKey, u64>, level: Level) -> Vec<Problem> {
    let problem = |file: &crate::manifest::model::StoredFile| {
        let Some(length) = listed.get(&file.object) else { return Some("the object is missing".to_owned()) };
        let end = file.offset + file.stored;
        let is_short = level >= Level::Size && *length < end;
        is_short.then(|| format!("length: expected at least {end}, got {length}"))
    };
    sstable.files.iter().filter_map(|file| Some(report(sstable, table, file, problem(file)?))).collect()
}

fn read(sstable: &StoredSSTable, table: &str, fetcher: &Fetcher) -> Vec<Problem> {
    let outcomes = fetcher.fetch(sstable, None).into_iter();
    outcomes
        .filter_map(|outcome| Some(report(sstable, table, outcome.file, outcome.result.err()?.to_string())))
        .collect()
}

/// Walks the rows of an SSTable whose bytes have been proven, by ranges of its objects.
fn walk(sstable: &StoredSSTable, table: &str, store: Arc<dyn Store>, seen: &mut Seen) -> anyhow::Result<()> {
    let name = FileName::parse(&format!("{}-Data.db", sstable.sstable))
        .map_err(|error| anyhow::anyhow!("{}: {error}", sstable.sstable))?;
    let stored = Stored::new(store, table.to_owned(), sstable);
    let opened = SSTable::stored(name.descriptor, stored);
    let RowsReport { partitions, rows, findings, findings_dropped, not_checked, .. } =
        opened.verify_rows().with_context(|| opened.to_string())?;
    (seen.partitions, seen.rows) = (partitions, rows);
    let of = |component: &Component, problem| {
        let stored = sstable.files.iter().find(|file| file.component == component.name()).or(sstable.files.first());
        stored.map(|file| report(sstable, table, file, problem))
    };
    for finding in &findings {
        let problem = of(&finding.component, finding.to_string());
        match finding.severity {
            Severity::Damage => seen.problems.extend(problem),
            Severity::Warning => seen.notes.extend(problem),
        }
    }
    let Dropped { damage, warnings } = findings_dropped;
    if damage > 0 {
        seen.problems.extend(of(&Component::Data, format!("and {damage} more findings")));
    }
    if warnings > 0 {
        seen.notes.extend(of(&Component::Data, format!("and {warnings} more warnings")));
    }
    seen.notes.extend(not_checked.into_iter().filter_map(|what| of(&Component::Data, format!("not checked: {what}"))));
    Ok(())
}

fn report(sstable: &StoredSSTable, table: &str, file: &crate::manifest::model::StoredFile, problem: String) -> Problem {
    let index = sstable.index.as_ref().map_or(String::new(), |index| format!("{index}/"));
    Problem {
        table: table.to_owned(),
        file: format!("{index}{}-{}", sstable.sstable, file.component),
        object: file.object.to_string(),
        problem,
    }
}
