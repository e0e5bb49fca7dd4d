//! The Cassandra beside us: its directories, its tables, who it is, which SSTables are live, whether it runs.
//!
//! Nothing else in the program knows what a live node's directories look like.

pub mod dropped;
pub mod identity;
pub mod live;
pub mod lock;
pub mod running;
pub mod tables;

use std::path::PathBuf;

use anyhow::Context;
use uuid::Uuid;

pub use tables::{Place, Table};

use crate::error::usage;
use crate::store::key::NodeName;

/// A node found on this machine.
#[derive(Debug, Clone)]
pub struct Node {
    /// Cluster name and host id.
    pub name: NodeName,
    /// Where the host id is known from.
    pub host_id_evidence: String,
    /// Data directories, canonical, in the order of the configuration.
    pub data_directories: Vec<PathBuf>,
}

impl Node {
    /// Finds the node that has its data in these directories.
    pub fn find(data_directories: Vec<PathBuf>, cluster: String, host_id: Option<Uuid>) -> anyhow::Result<Self> {
        let data_directories = canonical(data_directories)?;
        let (host_id, host_id_evidence) = match host_id {
            Some(host_id) => (host_id, "given".to_owned()),
            None => identity::host_id(&data_directories)?,
        };
        Ok(Self { name: NodeName { cluster, host_id }, host_id_evidence, data_directories })
    }
}

/// The directories without symbolic links and repetitions; all have to exist.
pub fn canonical(directories: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let mut canonical = Vec::new();
    for directory in directories {
        let path = std::fs::canonicalize(&directory)
            .map_err(|error| usage(format!("data directory {}: {error}", directory.display())))?;
        if !path.is_dir() {
            return Err(usage(format!("data directory {}: not a directory", directory.display())));
        }
        if !canonical.contains(&path) {
            canonical.push(path);
        }
    }
    Ok(canonical)
}

/// The machine's name, for people.
pub fn hostname() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("/proc/sys/kernel/hostname")?;
    Ok(name.trim_end().to_owned())
}
