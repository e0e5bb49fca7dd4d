//! What exists in a repository: nodes and backups, derived from a listing of the manifests; parts on demand.

pub mod repository;

use anyhow::{Context, bail};
use futures::TryStreamExt;
use jiff::Timestamp;

use crate::error::usage;
use crate::manifest::codec::{self, MAX_DOCUMENT_BYTES};
use crate::manifest::model::{Manifest, Part};
use crate::manifest::{BackupId, Facts};
use crate::store::key::{self, NodeName, ObjectKey};
use crate::store::{self, Depth, Listed, Store};

/// Stored bytes of a document that is decoded faster than another thread would begin to.
const DECODED_AT_ONCE_BYTES_MAX: usize = 8 << 10;

/// One backup as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node that was backed up.
    pub node: NodeName,
    /// Name of the backup.
    pub id: BackupId,
    /// Facts from the key.
    pub facts: Facts,
    /// The manifest.
    pub key: ObjectKey,
}

/// Reads what is in a repository.
#[derive(Debug, Clone, Copy)]
pub struct Catalog<'a> {
    store: &'a dyn Store,
}

impl<'a> Catalog<'a> {
    /// The catalog of `store`.
    pub fn of(store: &'a dyn Store) -> Self {
        Self { store }
    }

    /// The store that it reads.
    pub fn store(&self) -> &'a dyn Store {
        self.store
    }

    /// Every backup, by node, oldest first.
    pub async fn backups(&self) -> anyhow::Result<Vec<Entry>> {
        self.entries(&key::manifests_root()).await
    }

    /// The backups of one node, oldest first.
    pub async fn backups_of(&self, node: &NodeName) -> anyhow::Result<Vec<Entry>> {
        self.entries(&key::manifests(node)?).await
    }

    async fn entries(&self, prefix: &key::KeyPrefix) -> anyhow::Result<Vec<Entry>> {
        let mut listing = self.store.list(prefix, None, Depth::All);
        let mut entries = Vec::new();
        while let Some(listed) = listing.try_next().await? {
            let Listed::Object(object) = listed else { continue };
            match entry(object.key()) {
                Some(entry) => entries.push(entry),
                None => tracing::warn!("{}: not a manifest of this format; left alone", object.key()),
            }
        }
        Ok(entries)
    }

    /// The backup that a user means by an id or `latest`; of all nodes if no node is named.
    pub async fn find(&self, backup: &str, wanted: &Wanted) -> anyhow::Result<Entry> {
        let entries = self.wanted(wanted).await?;
        if backup == "latest" {
            return self.newest("latest", entries);
        }
        let id: BackupId = backup.parse().map_err(|error| usage(format!("{error}, nor `latest`")))?;
        entries
            .into_iter()
            .find(|entry| entry.id == id)
            .with_context(|| format!("{}: no backup {id} of {wanted}; `helenus list` shows what there is", self.store))
    }

    /// The newest backup that began at or before a moment.
    pub async fn find_before(&self, moment: Timestamp, wanted: &Wanted) -> anyhow::Result<Entry> {
        let entries = self.wanted(wanted).await?;
        let oldest = entries.first().map(|entry| entry.id.to_string()).unwrap_or_default();
        let before: Vec<Entry> = entries.into_iter().filter(|entry| entry.id.began_by(moment)).collect();
        if before.is_empty() {
            bail!(
                "{}: no backup of {wanted} at or before {}; the oldest is {oldest}",
                self.store,
                crate::time::rfc3339(moment)
            );
        }
        self.newest("the newest", before)
    }

    async fn wanted(&self, wanted: &Wanted) -> anyhow::Result<Vec<Entry>> {
        let entries: Vec<Entry> =
            self.backups().await?.into_iter().filter(|entry| wanted.matches(&entry.node)).collect();
        if entries.is_empty() {
            bail!("{}: no backup of {wanted}", self.store);
        }
        Ok(entries)
    }

    fn newest(&self, what: &str, entries: Vec<Entry>) -> anyhow::Result<Entry> {
        let newest = entries.last().context("the list is not empty")?;
        if let Some(other) = entries.iter().find(|entry| entry.node != newest.node) {
            return Err(usage(format!(
                "{what} of which node? The repository has backups of {} and {}: pass --cluster and --host-id",
                other.node, newest.node
            )));
        }
        Ok(newest.clone())
    }

    /// Reads and checks the manifest behind an entry.
    pub async fn manifest(&self, entry: &Entry) -> anyhow::Result<Manifest> {
        let manifest: Manifest = self.document(&entry.key).await?;
        let read = || -> anyhow::Result<()> {
            manifest.check()?;
            if manifest.backup_id != entry.id || manifest.facts != entry.facts {
                bail!(
                    "expected the manifest of {} ({}), got that of {} ({})",
                    entry.id,
                    entry.facts,
                    manifest.backup_id,
                    manifest.facts
                );
            }
            let node = manifest.node_name();
            if node != entry.node {
                bail!("expected a backup of {}, got one of {node}", entry.node);
            }
            Ok(())
        };
        read().with_context(|| entry.key.to_string())?;
        Ok(manifest)
    }

    /// Reads and checks one table's part.
    pub async fn part(&self, node: &NodeName, keyspace: &str, directory: &str, hash: &str) -> anyhow::Result<Part> {
        let key = key::part(node, keyspace, directory, hash)?;
        let part: Part = self.document(&key).await?;
        part.check(keyspace, directory).with_context(|| key.to_string())?;
        Ok(part)
    }

    async fn document<T: serde::de::DeserializeOwned + Send + 'static>(&self, key: &ObjectKey) -> anyhow::Result<T> {
        let body = store::read_small(self.store, key, MAX_DOCUMENT_BYTES).await?;
        let decoded = if body.len() <= DECODED_AT_ONCE_BYTES_MAX {
            codec::decode(&body)
        } else {
            tokio::task::spawn_blocking(move || codec::decode(&body)).await?
        };
        decoded.with_context(|| key.to_string())
    }
}

/// True if a document is missing or is not what it should be; false if the store could not tell.
pub fn is_damage(error: &anyhow::Error) -> bool {
    use store::Error::{NotFound, TooLong, Truncated};
    let of_the_store = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<store::Error>()
            .is_some_and(|error| !matches!(error, NotFound { .. } | Truncated { .. } | TooLong { .. }))
    };
    !error.chain().any(of_the_store)
}

fn entry(key: &ObjectKey) -> Option<Entry> {
    let name = key::parse_manifest(key)?;
    // An id holds a dot (milliseconds), the facts hold none.
    Some(Entry { node: name.node, id: name.backup_id.parse().ok()?, facts: name.facts.parse().ok()?, key: key.clone() })
}

/// Whose backups a user wants: what is not given is not asked.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Cluster name.
    pub cluster: Option<String>,
    /// Host id.
    pub host_id: Option<uuid::Uuid>,
}

impl Wanted {
    /// True if the node is one of them.
    pub fn matches(&self, node: &NodeName) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| *cluster == node.cluster)
            && self.host_id.is_none_or(|host_id| host_id == node.host_id)
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.cluster, self.host_id) {
            (None, None) => f.write_str("any node"),
            (Some(cluster), None) => write!(f, "cluster {cluster}"),
            (None, Some(host_id)) => write!(f, "host {host_id}"),
            (Some(cluster), Some(host_id)) => write!(f, "{cluster}/{host_id}"),
        }
    }
}
