//! `helenus list`.

use clap::Args;
use serde::Serialize;

use super::{Global, IdentityArgs, output};
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Wanted};
use crate::config::Config;
use crate::error::Outcome;
use crate::store;

#[derive(Debug, Args)]
pub struct Options {
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL")]
    repository: String,
    #[command(flatten)]
    identity: IdentityArgs,
}

#[derive(Serialize)]
struct Document {
    repository: String,
    repository_id: uuid::Uuid,
    backups: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    backup_id: String,
    cluster: String,
    host_id: uuid::Uuid,
    kind: &'static str,
    sstables: u64,
    bytes: u64,
    new_bytes: u64,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { repository, identity } = options;
    let store = store::open(&config.repository(&repository)?).await?;
    let opened = Repository::open(store.as_ref()).await?;
    let wanted = Wanted { cluster: identity.cluster, host_id: identity.host_id };
    let backups = Catalog::of(store.as_ref())
        .backups()
        .await?
        .into_iter()
        .filter(|entry| wanted.matches(&entry.node))
        .map(|entry| Row {
            backup_id: entry.id.to_string(),
            cluster: entry.node.cluster,
            host_id: entry.node.host_id,
            kind: entry.facts.kind.as_str(),
            sstables: entry.facts.sstables,
            bytes: entry.facts.bytes,
            new_bytes: entry.facts.new_bytes,
        })
        .collect();
    let document = Document { repository: store.to_string(), repository_id: opened.repository_id, backups };
    output::result(global, &document, || text(&document))?;
    Ok(Outcome::Done)
}

fn text(document: &Document) -> String {
    if document.backups.is_empty() {
        return format!("{}: no backups\n", document.repository);
    }
    let rows = document.backups.iter().map(|row| {
        vec![
            row.backup_id.clone(),
            row.cluster.clone(),
            row.host_id.to_string(),
            row.kind.to_owned(),
            row.sstables.to_string(),
            output::bytes(row.bytes),
            output::bytes(row.new_bytes),
        ]
    });
    output::table(&["BACKUP", "CLUSTER", "HOST ID", "KIND", ">SSTABLES", ">SIZE", ">NEW"], rows)
}
