//! `helenus verify`: a backup where it lies, or what is on this node.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Global, NodeArgs, SelectionArgs, output, sstable};
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Wanted};
use crate::config::Config;
use crate::error::{Outcome, usage};
use crate::inspect::SSTableFiles;
use crate::manifest::model::Notice;
use crate::node::{live, tables};
use crate::restore::fetch::Fetcher;
use crate::restore::prove::{Level, Proof, prove};
use crate::selection::{Selection, SelectionText};
use crate::snapshot::SNAPSHOTS;
use crate::store;
use crate::time::Stopwatch;

#[derive(Debug, Args)]
pub struct Options {
    /// Id of the backup, or `latest`; without it, the live SSTables of this node are verified
    #[arg(requires = "repository")]
    backup: Option<String>,
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL", requires = "backup")]
    repository: Option<String>,
    /// How far to go with a backup: every object is there, has its size, has its bytes, has rows that make sense
    #[arg(long, value_enum, default_value = "checksum")]
    level: Level,
    /// Look at every partition and row, too: their order, the indexes, the filter, what Statistics.db claims
    #[arg(long, conflicts_with = "level")]
    extended: bool,
    /// Verify a snapshot of this node instead of its live SSTables
    #[arg(long, value_name = "TAG", conflicts_with = "backup")]
    snapshot: Option<String>,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    selection: SelectionArgs,
}

#[derive(Serialize)]
struct Document {
    backup_id: String,
    level: Level,
    seconds: f64,
    damaged_when_stored: usize,
    #[serde(flatten)]
    proof: Proof,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { backup, repository, level, extended, snapshot, node, selection } = options;
    let selection = selection.parse(&SelectionText::default())?;
    let (Some(backup), Some(repository)) = (backup, repository) else {
        let directories = node.data_directories(config)?;
        let found =
            tokio::task::spawn_blocking(move || on_node(&directories, &selection, snapshot.as_deref())).await??;
        let OnNode { files, what, notices } = found;
        let depth = sstable::Depth::of(extended);
        return tokio::task::block_in_place(|| {
            sstable::verify(global, &files, depth, &format!(" of {what}"), &notices)
        });
    };
    let level = if extended { Level::Rows } else { level };
    let store = store::open(&config.repository(&repository)?).await?;
    Repository::open(store.as_ref()).await?;
    let catalog = Catalog::of(store.as_ref());
    let wanted = Wanted { cluster: node.identity.cluster, host_id: node.identity.host_id };
    let mut manifest = catalog.manifest(&catalog.find(&backup, &wanted).await?).await?;
    manifest.tables.retain(|table| selection.includes(&table.keyspace, &table.table));
    let watch = Stopwatch::start();
    let fetcher = Fetcher::new(store.clone());
    let bar = output::progress(global, "verify");
    bar.set_length(manifest.total.bytes);
    let (progress, shown) = (fetcher.progress.clone(), bar.clone());
    let show = tokio::spawn(async move {
        loop {
            shown.set_position(progress.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let proof = prove(store.clone(), &manifest, level, &fetcher, config.parallel).await;
    show.abort();
    bar.finish_and_clear();
    let document = Document {
        backup_id: manifest.backup_id.to_string(),
        level,
        seconds: watch.seconds(),
        damaged_when_stored: manifest.damaged.len(),
        proof: proof?,
    };
    output::result(global, &document, || text(&document))?;
    Ok(if document.proof.problems.is_empty() { Outcome::Done } else { Outcome::Findings })
}

/// SSTables to be verified on this node.
struct OnNode {
    files: Vec<SSTableFiles>,
    /// What they are, in words.
    what: String,
    /// What else lies there, and SSTables of which nobody can tell whether they count.
    notices: Vec<Notice>,
}

/// The SSTables of this node that count, or those of a snapshot.
fn on_node(
    directories: &[std::path::PathBuf],
    selection: &Selection,
    snapshot: Option<&str>,
) -> anyhow::Result<OnNode> {
    let scan = tables::scan(directories)?;
    let mut found = Vec::new();
    let mut notices = if selection.is_everything() && snapshot.is_none() { scan.notices } else { Vec::new() };
    let selected = scan.tables.iter().filter(|table| selection.includes(&table.keyspace, &table.directory.table));
    for table in selected {
        if let Some(tag) = snapshot {
            for place in &table.places {
                let path = place.path.join(SNAPSHOTS).join(tag);
                for entry in walkdir::WalkDir::new(&path).into_iter().flatten() {
                    if entry.file_type().is_dir() {
                        found.extend(SSTableFiles::list(entry.path())?);
                    }
                }
            }
            continue;
        }
        let places = live::open(&table.places, None)?;
        let live = live::collect(&places)?;
        let mut groups = vec![(places, live.sstables, live.notices)];
        for index in live.indexes {
            let places = live::open(&table.places, Some(&index))?;
            let live = live::collect(&places)?;
            groups.push((places, live.sstables, live.notices));
        }
        for (places, sstables, mut noticed) in groups {
            notices.append(&mut noticed);
            for sstable in sstables {
                let directory = places[sstable.place].dir.path().to_owned();
                if let Some(doubt) = &sstable.doubt {
                    let path = directory.join(sstable.descriptor.to_string());
                    notices.push(tables::notice(&path, format!("it may not count: {doubt}")));
                }
                let lengths = sstable.files.iter().map(|(component, stat)| (component.clone(), stat.size)).collect();
                found.push(SSTableFiles { directory, descriptor: sstable.descriptor, lengths });
            }
        }
    }
    if found.is_empty() {
        return Err(match snapshot {
            Some(tag) => usage(format!("no SSTables in a snapshot {tag} of {}", selection.text())),
            None => usage(format!("no SSTables of {} on this node", selection.text())),
        });
    }
    let what = snapshot.map_or_else(|| "the live tables".to_owned(), |tag| format!("snapshot {tag}"));
    Ok(OnNode { files: found, what, notices })
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let Document { backup_id, proof, .. } = document;
    for problem in &proof.problems {
        let _ = writeln!(text, "damage: {} {}: {} ({})", problem.table, problem.file, problem.problem, problem.object);
    }
    for note in &proof.notes {
        let _ = writeln!(text, "note: {} {}: {}", note.table, note.file, note.problem);
    }
    let level = serde_json::to_value(document.level).ok().and_then(|level| Some(level.as_str()?.to_owned()));
    let _ = writeln!(
        text,
        "backup {backup_id}: {}, {}{}, {} in {}: {} (level: {})",
        output::count(proof.amount.sstables, "SSTable"),
        output::count(proof.amount.files, "file"),
        match (proof.partitions, proof.rows) {
            (Some(partitions), Some(rows)) => {
                format!(", {}, {}", output::count(partitions, "partition"), output::count(rows, "row"))
            }
            _ => String::new(),
        },
        output::bytes(proof.amount.bytes),
        output::duration(document.seconds),
        match proof.problems.len() {
            0 => "as they were stored".to_owned(),
            problems => output::count(problems as u64, "problem"),
        },
        level.unwrap_or_default()
    );
    if document.damaged_when_stored > 0 {
        let _ = writeln!(
            text,
            "{} damaged on the node already when stored; `helenus show` names them",
            output::count(document.damaged_when_stored as u64, "SSTable")
        );
    }
    text
}
