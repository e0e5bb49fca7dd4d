//! The last write of a backup: its manifest. Before it, there is no backup.

use jiff::Timestamp;

use super::codec;
use super::id::{BackupId, Facts, Kind};
use super::model::{Amount, DroppedTable, FORMAT, Manifest, NodeFacts, Notice};
use crate::selection::Selection;
use crate::store::key::{self, NodeName};
use crate::store::{Store, Stored};
use crate::upload::Uploaded;

/// What a manifest says besides what was stored.
#[derive(Debug)]
pub struct Heading<'a> {
    /// Name of the backup.
    pub id: BackupId,
    /// The node.
    pub name: NodeName,
    /// Epoch of the objects.
    pub epoch: u32,
    /// What the node looked like.
    pub node: NodeFacts,
    /// T0.
    pub started: Timestamp,
    /// What was asked for.
    pub selection: &'a Selection,
    /// The backup that is built upon.
    pub based_on: Option<BackupId>,
    /// Directories of dropped tables that were left out.
    pub dropped: Vec<DroppedTable>,
    /// What needs a look.
    pub notices: Vec<Notice>,
    /// What a reader might expect and will not find.
    pub not_covered: Vec<String>,
}

/// Writes the manifest of what was stored: from now on the backup exists.
pub async fn commit(store: &dyn Store, heading: Heading<'_>, uploaded: Uploaded) -> anyhow::Result<(Manifest, Stored)> {
    let (tables, damaged) = uploaded.into_parts();
    let (mut total, mut added) = (Amount::default(), Amount::default());
    for table in &tables {
        total.add(table.amount);
        added.add(table.added);
    }
    let kind = if heading.selection.is_everything() { Kind::Full } else { Kind::Selected };
    let manifest = Manifest {
        format: FORMAT,
        backup_id: heading.id,
        facts: Facts { kind, sstables: total.sstables, bytes: total.bytes, new_bytes: added.bytes },
        epoch: heading.epoch,
        cluster: heading.name.cluster.clone(),
        host_id: heading.name.host_id,
        node: heading.node,
        helenus_version: env!("CARGO_PKG_VERSION").to_owned(),
        started: heading.started,
        finished: crate::time::now(),
        selection: heading.selection.text().clone(),
        based_on: heading.based_on,
        added,
        total,
        tables,
        dropped: heading.dropped,
        damaged,
        notices: heading.notices,
        not_covered: heading.not_covered,
    };
    // What cannot be read back must not be written.
    manifest.check()?;
    let key = key::manifest(&heading.name, manifest.backup_id.as_str(), &manifest.facts.to_string())?;
    let body = codec::encode(&manifest)?.body;
    let stored = store.create(&key, body).await?;
    Ok((manifest, stored))
}
