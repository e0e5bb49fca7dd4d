//! `helenus show`.

use std::fmt::Write;

use clap::Args;

use super::{Global, IdentityArgs, output};
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Wanted};
use crate::config::Config;
use crate::error::Outcome;
use crate::manifest::Manifest;
use crate::manifest::model::{DroppedTable, Notice};
use crate::store;
use crate::time;

#[derive(Debug, Args)]
pub struct Options {
    /// Id of the backup, or `latest`
    backup: String,
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL")]
    repository: String,
    #[command(flatten)]
    identity: IdentityArgs,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { backup, repository, identity } = options;
    let store = store::open(&config.repository(&repository)?).await?;
    Repository::open(store.as_ref()).await?;
    let catalog = Catalog::of(store.as_ref());
    let wanted = Wanted { cluster: identity.cluster, host_id: identity.host_id };
    let manifest = catalog.manifest(&catalog.find(&backup, &wanted).await?).await?;
    output::result(global, &manifest, || text(&manifest))?;
    Ok(Outcome::Done)
}

/// The manifest in a form for people.
pub fn text(manifest: &Manifest) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("backup", manifest.backup_id.to_string());
    line("node", format!("{} ({})", manifest.node_name(), manifest.node.hostname));
    line("started", time::rfc3339(manifest.started));
    line("finished", time::rfc3339(manifest.finished));
    line("selection", manifest.selection.to_string());
    line("built upon", manifest.based_on.as_ref().map_or("nothing".to_owned(), ToString::to_string));
    line("epoch", manifest.epoch.to_string());
    let total = &manifest.total;
    line(
        "contains",
        format!(
            "{}, {}, {}",
            output::count(total.sstables, "SSTable"),
            output::count(total.files, "file"),
            output::bytes(total.bytes)
        ),
    );
    let added = &manifest.added;
    line(
        "added",
        format!(
            "{}, {} ({} stored)",
            output::count(added.sstables, "SSTable"),
            output::bytes(added.bytes),
            output::bytes(added.stored_bytes)
        ),
    );
    line("versions", manifest.node.sstable_versions.iter().cloned().collect::<Vec<_>>().join(", "));
    text.push('\n');
    let rows = manifest.tables.iter().map(|table| {
        vec![
            format!("{}.{}", table.keyspace, table.table),
            table.amount.sstables.to_string(),
            output::bytes(table.amount.bytes),
            output::bytes(table.added.bytes),
        ]
    });
    text += &output::table(&["TABLE", ">SSTABLES", ">SIZE", ">NEW"], rows);
    text += &remarks(manifest);
    text
}

/// What an operator should know of a backup besides its size: damage, what was left out, what is never covered.
pub fn remarks(manifest: &Manifest) -> String {
    let mut text = String::new();
    for sstable in &manifest.damaged {
        let index = sstable.index.as_ref().map_or(String::new(), |index| format!("/{index}"));
        let _ = writeln!(
            text,
            "damaged: {}.{}{index}/{}: {}",
            sstable.keyspace,
            sstable.directory,
            sstable.sstable,
            sstable.findings.join("; ")
        );
    }
    text += &left_out(&manifest.dropped, &manifest.notices);
    for missing in &manifest.not_covered {
        let _ = writeln!(text, "not covered: {missing}");
    }
    text
}

/// Directories and files that a backup leaves out, or stores unchecked.
pub fn left_out(dropped: &[DroppedTable], notices: &[Notice]) -> String {
    let mut text = String::new();
    for dropped in dropped {
        let _ = writeln!(
            text,
            "dropped table left out: {}/{} ({}; {} there)",
            dropped.keyspace,
            dropped.directory,
            dropped.evidence,
            output::count(dropped.sstables, "SSTable")
        );
    }
    for notice in notices {
        let _ = writeln!(text, "note: {}: {}", notice.path, notice.message);
    }
    text
}
