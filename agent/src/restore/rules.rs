//! What of a backup is taken onto which target. A node's own tables are not like others: they say who the node is.

use uuid::Uuid;

use super::rename::Renames;
use crate::error::usage;
use crate::manifest::Manifest;
use crate::manifest::model::TableEntry;
use crate::selection::Selection;

/// Tables of `system` that say who the node is and whom it knows.
const IDENTITY: [&str; 5] = ["local", "peers", "peers_v2", "peer_events", "peer_events_v2"];
/// Writes that the node had promised to repeat when it was backed up. Repeated long after, they would undo what came
/// later.
const BATCHES: &str = "batches";

/// True for the keyspaces that Cassandra makes itself.
pub fn is_system(keyspace: &str) -> bool {
    keyspace == "system" || keyspace.starts_with("system_")
}

/// Where the tables go.
#[derive(Debug, Clone, Copy)]
pub enum Onto {
    /// Into a directory that is no node yet.
    Directory,
    /// Onto a node.
    Node {
        /// Its host id, if it has one.
        host_id: Option<Uuid>,
        /// Whether it takes the place of the node of the backup.
        replace: bool,
    },
}

/// What is taken.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// Tables with their files.
    pub tables: Vec<&'a TableEntry>,
    /// Tables of which nothing is taken and nothing may stay.
    pub emptied: Vec<&'a TableEntry>,
    /// True if the schema is among the tables, so that the backup says which tables exist.
    pub with_schema: bool,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Applies the rules.
pub fn choose<'a>(
    manifest: &'a Manifest,
    selection: &Selection,
    renames: &Renames,
    onto: Onto,
) -> anyhow::Result<Chosen<'a>> {
    let is_full = !selection.has_inclusions() && renames.is_empty();
    let foreign = match onto {
        Onto::Directory => false,
        Onto::Node { host_id, replace } => !replace && host_id != Some(manifest.host_id),
    };
    let mut chosen = Chosen { tables: Vec::new(), emptied: Vec::new(), with_schema: false, notes: Vec::new() };
    let (mut identity, mut unnamed) = (false, false);
    for entry in &manifest.tables {
        let renamed = renames.of(&entry.keyspace, &entry.table).is_some();
        let is_meant = is_full || selection.has_inclusions() || renamed;
        if !is_meant || !selection.includes(&entry.keyspace, &entry.table) {
            continue;
        }
        if !is_full && is_system(&entry.keyspace) && !selection.names(&entry.keyspace) {
            unnamed = true;
            continue;
        }
        let is_own = |names: &[&str]| entry.keyspace == "system" && names.contains(&entry.table.as_str());
        if foreign && is_own(&IDENTITY) {
            identity = true;
        } else if is_full && is_own(&[BATCHES]) {
            chosen.emptied.push(entry);
        } else {
            chosen.with_schema |= entry.keyspace == "system_schema" && entry.table == "tables" && entry.part.is_some();
            chosen.tables.push(entry);
        }
    }
    renames.check_used(chosen.tables.iter().map(|entry| (entry.keyspace.as_str(), entry.table.as_str())))?;
    if identity {
        let Onto::Node { host_id: Some(host_id), .. } = onto else {
            return Err(usage(format!(
                "the data directories have no host id, and the backup has that of node {}: pass --replace if that node \
                 is dead and this one takes its place, or select tables",
                manifest.host_id
            )));
        };
        chosen.notes.push(format!(
            "this node stays {host_id}: system.local and system.peers of {} are left out (--replace takes them, if that \
             node is dead)",
            manifest.host_id
        ));
    }
    let takes_identity = chosen.tables.iter().any(|entry| entry.keyspace == "system" && entry.table == "local");
    if let Onto::Node { host_id, replace: true } = onto
        && host_id != Some(manifest.host_id)
        && takes_identity
    {
        chosen
            .notes
            .push(format!("this node becomes {}: the old one must never run again beside it", manifest.node_name()));
    }
    if unnamed {
        chosen.notes.push("Cassandra's own keyspaces (system*) are left out: they are restored if named".to_owned());
    }
    if chosen.emptied.iter().any(|entry| entry.part.is_some()) {
        chosen.notes.push("system.batches is left out: old batches would be written again".to_owned());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::SelectionText;

    const HOST: Uuid = Uuid::from_u128(7);

    fn manifest() -> Manifest {
        let amount = serde_json::json!({"sstables": 1, "files": 1, "bytes": 1, "stored_bytes": 1});
        let tables: Vec<_> = [
            ("shop", "orders"),
            ("system", "batches"),
            ("system", "local"),
            ("system", "paxos"),
            ("system", "peers_v2"),
            ("system_auth", "roles"),
            ("system_schema", "tables"),
        ]
        .map(|(keyspace, table)| {
            let directory = format!("{table}-{}", "0".repeat(32));
            serde_json::json!({
                "keyspace": keyspace, "table": table, "directory": directory, "part": "0".repeat(32),
                "amount": amount, "added": amount
            })
        })
        .to_vec();
        serde_json::from_value(serde_json::json!({
            "format": 1, "backup_id": "20261121T010203.456Z-1a2b3c4d",
            "facts": {"kind": "full", "sstables": 7, "bytes": 7, "new_bytes": 7},
            "epoch": 0, "cluster": "c", "host_id": HOST,
            "node": {"hostname": "h", "host_id_evidence": "given", "data_directories": [], "sstable_versions": []},
            "helenus_version": "0", "started": "2026-11-21T01:02:03Z", "finished": "2026-11-21T01:02:03Z",
            "selection": {"keyspaces": [], "tables": [], "exclude": []}, "based_on": null,
            "added": amount, "total": amount, "tables": tables, "dropped": [], "damaged": [], "notices": [],
            "not_covered": []
        }))
        .expect("a manifest")
    }

    /// What is taken with these `--keyspace` and `--rename`, `!` before what is emptied; or a word of the refusal.
    #[track_caller]
    fn check(keyspaces: &[&str], renames: &[&str], onto: Onto, expected: Result<&[&str], &str>) {
        let owned = |list: &[&str]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
        let text = SelectionText { keyspaces: owned(keyspaces), ..SelectionText::default() };
        let selection = Selection::parse(text).expect("a selection");
        let renames = Renames::parse(&owned(renames)).expect("renames");
        let manifest = manifest();
        let found = choose(&manifest, &selection, &renames, onto).map(|chosen| {
            let name = |entry: &&TableEntry| format!("{}.{}", entry.keyspace, entry.table);
            let emptied = chosen.emptied.iter().map(|entry| format!("!{}", name(entry)));
            chosen.tables.iter().map(name).chain(emptied).collect::<Vec<_>>()
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
            (found, expected) => panic!("expected {expected:?}, got {found:?}"),
        }
    }

    #[test]
    fn who_the_node_is() {
        let node = |host_id, replace| Onto::Node { host_id, replace };
        let all = [
            "shop.orders",
            "system.local",
            "system.paxos",
            "system.peers_v2",
            "system_auth.roles",
            "system_schema.tables",
            "!system.batches",
        ];
        let foreign = ["shop.orders", "system.paxos", "system_auth.roles", "system_schema.tables", "!system.batches"];
        check(&[], &[], Onto::Directory, Ok(&all));
        check(&[], &[], node(Some(HOST), false), Ok(&all));
        check(&[], &[], node(Some(Uuid::from_u128(8)), true), Ok(&all));
        check(&[], &[], node(None, true), Ok(&all));
        check(&[], &[], node(Some(Uuid::from_u128(8)), false), Ok(&foreign));
        check(&[], &[], node(None, false), Err("pass --replace if that node"));
    }

    #[test]
    fn system_keyspaces_are_taken_if_named() {
        let node = Onto::Node { host_id: None, replace: false };
        check(&["shop"], &[], node, Ok(&["shop.orders"]));
        check(&["*"], &[], node, Ok(&["shop.orders"]));
        check(&["system_auth"], &[], node, Ok(&["system_auth.roles"]));
        check(
            &["system"],
            &[],
            Onto::Directory,
            Ok(&["system.batches", "system.local", "system.paxos", "system.peers_v2"]),
        );
        check(&[], &["shop=kiosk"], node, Ok(&["shop.orders"]));
        check(&["system_auth"], &["shop=kiosk"], node, Err("no such table is restored"));
    }
}
