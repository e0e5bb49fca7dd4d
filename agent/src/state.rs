//! What the agent remembers between runs, in `state_dir`: nothing that a listing of the repository could not tell again.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::fs;
use crate::store::key::NodeName;

/// The note that a backup is under way. If it is found at a start, an earlier run was killed, and what it had stored is
/// found by one listing instead of being sent again.
#[derive(Debug)]
pub struct UnfinishedNote {
    path: PathBuf,
    was_there: bool,
}

impl UnfinishedNote {
    /// Leaves the note for a node's backups to a repository. Where nothing can be written, the repository is listed.
    pub fn leave(state_dir: &Path, repository: Uuid, node: &NodeName) -> Self {
        let directory = state_dir.join(repository.to_string()).join(node.path());
        let path = directory.join("unfinished");
        let was_there = path.exists();
        let written = fs::create_dir_durable(&directory, 0o755).and_then(|()| fs::replace(&path, b""));
        if let Err(error) = &written {
            tracing::warn!("{error}; without a state directory the repository is listed at each run");
        }
        Self { path, was_there: was_there || written.is_err() }
    }

    /// True if the last run may have stored objects that no manifest names.
    pub fn was_there(&self) -> bool {
        self.was_there
    }

    /// Takes the note away: the manifest is stored.
    pub fn clear(self) {
        if let Err(error) = fs::unlink(&self.path) {
            tracing::warn!("{error}; the next run will list the repository");
        }
    }
}
