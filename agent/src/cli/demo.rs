//! `helenus demo`: the main job, on a sample node that the program brings along.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use helenus_sstable::descriptor::FileName;
use serde::Serialize;

use super::{Global, output};
use crate::backup::Job;
use crate::catalog::{Catalog, Wanted};
use crate::config::cassandra_yaml::CassandraYaml;
use crate::config::{Compress, MinFree};
use crate::error::Outcome;
use crate::inspect::reader::Buffers;
use crate::inspect::{Nowhere, SSTableFiles, inspect};
use crate::manifest::Manifest;
use crate::node::{Node, tables};
use crate::restore::Plan;
use crate::restore::fetch::Fetcher;
use crate::restore::place::Restore;
use crate::restore::plan::Scope;
use crate::restore::prove::{Level, prove};
use crate::restore::rename::Renames;
use crate::restore::request::Request;
use crate::selection::Selection;
use crate::store;
use crate::time::Stopwatch;

/// A real node's directory: Cassandra 4.1 upgraded to 5.0, SSTables `nb`, `oa` and `da`. `sample/README.md` says more.
const SAMPLE: &[u8] = include_bytes!("../../sample/node.tar.zst");

#[derive(Debug, Args)]
pub struct Options {
    /// Work in this directory, which must not exist, and leave everything there to look at
    /// [default: a temporary directory, removed in the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    steps: Vec<Step>,
    seconds: f64,
}

#[derive(Serialize)]
struct Step {
    step: &'static str,
    outcome: String,
}

struct Demo<'a> {
    global: &'a Global,
    steps: Vec<Step>,
}

impl Demo<'_> {
    fn say(&mut self, step: &'static str, outcome: String) {
        if !self.global.json && !self.global.quiet {
            // The demo goes on though nobody reads it.
            let _ = output::print(format!(
                "{:>2}. {step}\n      {}\n",
                self.steps.len() + 1,
                outcome.replace('\n', "\n      ")
            ));
        }
        self.steps.push(Step { step, outcome });
    }
}

pub async fn run(global: &Global, options: Options) -> anyhow::Result<Outcome> {
    let watch = Stopwatch::start();
    let temporary = tempfile::tempdir()?;
    let dir = match &options.dir {
        Some(dir) => {
            std::fs::create_dir(dir).with_context(|| dir.display().to_string())?;
            std::path::absolute(dir)?
        }
        None => temporary.path().to_owned(),
    };
    let mut demo = Demo { global, steps: Vec::new() };
    demo.run(&dir).await?;
    let seconds = watch.seconds();
    let document = Document { steps: demo.steps, seconds };
    output::result(global, &document, || {
        let where_to_look = match &options.dir {
            Some(dir) => format!("Everything lies in {}: node/ repository/ restored/.", dir.display()),
            None => "Everything lay in a temporary directory; `helenus demo --dir DIR` leaves it for you to look at."
                .to_owned(),
        };
        format!(
            "\nDone in {}. {where_to_look}\nYour own node: `helenus doctor --cassandra-yaml FILE --repository DIR`, then \
             `helenus backup` with the same\noptions. README.md has the tour, docs/ the rest.\n",
            output::duration(seconds)
        )
    })?;
    Ok(Outcome::Done)
}

impl Demo<'_> {
    async fn run(&mut self, dir: &Path) -> anyhow::Result<()> {
        let node_dir = dir.join("node");
        tar::Archive::new(zstd::Decoder::new(SAMPLE)?).unpack(&node_dir)?;
        let yaml = CassandraYaml::load(&node_dir.join("conf/cassandra.yaml"))?;
        let directories: Vec<PathBuf> = yaml.data_directories.iter().map(|path| node_dir.join(path)).collect();
        let node = Node::find(directories, yaml.cluster_name, None)?;
        let scan = tables::scan(&node.data_directories)?;
        self.say(
            "Unpacked the sample: the directory of a real Cassandra node that went from 4.1 to 5.0",
            format!(
                "{} in {} data directories; cluster {}, host id {}, told by {}",
                output::count(scan.tables.len() as u64, "table"),
                node.data_directories.len(),
                node.name.cluster,
                node.name.host_id,
                node.host_id_evidence
            ),
        );

        let repository = dir.join("repository");
        let store = store::open(&store::Location::Directory(repository.clone())).await?;
        let first = self.backup(&node, dir, &store).await?;
        self.say(
            "Backed it up into a directory: every byte read once, checked, hashed, stored",
            format!(
                "backup {}: {} of versions {}, {} stored as {}",
                first.backup_id,
                output::count(first.total.sstables, "SSTable"),
                first.node.sstable_versions.iter().cloned().collect::<Vec<_>>().join(", "),
                output::bytes(first.total.bytes),
                output::bytes(first.total.stored_bytes)
            ),
        );

        let catalog = Catalog::of(store.as_ref());
        let entries = catalog.backups().await?;
        ensure!(entries.len() == 1, "one backup was made and {} are listed", entries.len());
        self.say("Listed the repository", format!("{} {} {}", entries[0].id, entries[0].node, entries[0].facts));

        let fetcher = Fetcher::new(store.clone());
        let proof = prove(store.clone(), &first, Level::Checksum, &fetcher, 8).await?;
        ensure!(proof.problems.is_empty(), "the fresh backup has problems: {:?}", proof.problems);
        self.say(
            "Proved the backup where it lies",
            format!("{} read back, each as it was stored", output::count(proof.amount.files, "file")),
        );

        let damaged = self.damage(&node)?;
        let findings = look(&damaged)?;
        ensure!(!findings.is_empty(), "the flipped byte was not found");
        self.say(
            "Flipped one byte of one SSTable on the node, as a failing disk would, and verified it",
            findings.join("\n"),
        );
        flip(&damaged)?;
        ensure!(look(&damaged)?.is_empty(), "the byte is back, and yet damage is found");

        let second = self.backup(&node, dir, &store).await?;
        ensure!(second.added.sstables == 0, "nothing had changed, and {} SSTables were sent", second.added.sstables);
        self.say(
            "Put the byte back and backed up again",
            format!("backup {}: nothing new, so nothing was linked, read or sent", second.backup_id),
        );

        let restored = dir.join("restored");
        let selection = Selection::default();
        let renames = Renames::default();
        let scope = Scope {
            manifest: &second,
            selection: &selection,
            renames: &renames,
            include_damaged: false,
            release: None,
        };
        let plan = Plan::make(catalog, &scope, &restored).await?;
        let found = catalog.find("latest", &Wanted::default()).await?;
        let request = Request {
            backup_id: found.id.to_string(),
            node: found.node,
            selection: selection.text().clone(),
            include_damaged: false,
            renames: Vec::new(),
            replace: false,
            keep_repaired: false,
        };
        let restore = Restore::prepare(plan, request, false)?;
        let (plan, done) = restore.run(store.clone(), &fetcher, 8).await?;
        ensure!(done.lost.is_empty(), "the fresh backup has lost SSTables: {:?}", done.lost);
        self.say(
            "Restored the backup into an empty directory",
            format!(
                "{} into {}; every byte proven before it got its name",
                output::bytes(plan.total.bytes),
                restored.display()
            ),
        );

        let (compared, dropped) = compare(&node, &second, &restored)?;
        self.say(
            "Compared the restored files with the node's, byte for byte",
            format!(
                "{} are equal; a Cassandra 5.0 with data_file_directories: [{}] starts from them{}",
                output::count(compared, "file"),
                restored.display(),
                if dropped == 0 {
                    String::new()
                } else {
                    format!(" ({} of dropped tables left out)", output::count(dropped as u64, "directory"))
                }
            ),
        );
        Ok(())
    }

    async fn backup(
        &self,
        node: &Node,
        dir: &Path,
        store: &std::sync::Arc<dyn store::Store>,
    ) -> anyhow::Result<Manifest> {
        let job = Job {
            node: node.clone(),
            selection: Selection::default(),
            include_dropped: false,
            new_epoch: false,
            keep_snapshot: None,
            compress: Compress::Auto,
            parallel: 8,
            min_free: MinFree::Bytes(0),
            lock_wait: Duration::ZERO,
            state_dir: dir.join("state"),
        };
        let manifests = job.run(vec![store.clone()], |_, _| {}).await?;
        manifests.into_iter().next().context("one repository, one outcome")?
    }

    /// Flips a byte in the middle of the largest Data.db.
    fn damage(&self, node: &Node) -> anyhow::Result<SSTableFiles> {
        let mut largest: Option<SSTableFiles> = None;
        for table in tables::scan(&node.data_directories)?.tables {
            for place in &table.places {
                for files in SSTableFiles::list(&place.path)? {
                    if largest.as_ref().is_none_or(|largest| files.bytes() > largest.bytes()) {
                        largest = Some(files);
                    }
                }
            }
        }
        let largest = largest.context("the sample has SSTables")?;
        flip(&largest)?;
        Ok(largest)
    }
}

fn look(files: &SSTableFiles) -> anyhow::Result<Vec<String>> {
    let inspection = inspect(files, &Buffers::default(), &mut Nowhere)?;
    let table = files.directory.file_name().unwrap_or_default().to_string_lossy();
    Ok(inspection.findings.iter().map(|finding| format!("{table}/{}-{finding}", files.descriptor)).collect())
}

/// Flips one bit in the middle of Data.db, and leaves its time as it was, as a failing disk does.
fn flip(files: &SSTableFiles) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt;
    let path = files.path(&helenus_sstable::component::Component::Data);
    let file = std::fs::File::options().read(true).write(true).open(&path)?;
    let metadata = file.metadata()?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, metadata.len() / 2)?;
    file.write_all_at(&[byte[0] ^ 1], metadata.len() / 2)?;
    file.set_modified(metadata.modified()?)?;
    Ok(())
}

/// Compares every restored file with the one that the node has; returns how many there are.
fn compare(node: &Node, manifest: &Manifest, restored: &Path) -> anyhow::Result<(u64, usize)> {
    let mut originals = BTreeMap::new();
    for root in &node.data_directories {
        for entry in walkdir::WalkDir::new(root) {
            let entry = entry?;
            let is_dropped = manifest
                .dropped
                .iter()
                .any(|dropped| entry.path().starts_with(root.join(&dropped.keyspace).join(&dropped.directory)));
            let is_component = entry.file_name().to_str().is_some_and(|name| FileName::parse(name).is_ok());
            if is_component && !is_dropped {
                originals.insert(entry.path().strip_prefix(root)?.to_owned(), entry.path().to_owned());
            }
        }
    }
    let mut compared = 0;
    for entry in walkdir::WalkDir::new(restored) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(restored)?;
            let original = originals.remove(name).with_context(|| format!("{}: not on the node", name.display()))?;
            ensure!(std::fs::read(entry.path())? == std::fs::read(&original)?, "{} differs", name.display());
            compared += 1;
        }
    }
    if let Some(missing) = originals.keys().next() {
        anyhow::bail!("{} was not restored", missing.display());
    }
    Ok((compared, manifest.dropped.len()))
}
