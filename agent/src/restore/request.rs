//! What a restore was asked for. Two runs with the same request are one restore: the second goes on where the first was.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::selection::SelectionText;
use crate::store::key::NodeName;

/// What was asked for, as a journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The backup.
    pub backup_id: String,
    /// Its node.
    pub node: NodeName,
    /// What of it.
    pub selection: SelectionText,
    /// Whether damaged SSTables are restored, too.
    pub include_damaged: bool,
    /// `--rename`, as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renames: Vec<String>,
    /// Whether the target becomes the node of the backup.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Whether SSTables stay repaired.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_repaired: bool,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.backup_id, self.selection)?;
        self.renames.iter().try_for_each(|rename| write!(f, " --rename {rename}"))?;
        if self.replace {
            f.write_str(" --replace")?;
        }
        if self.keep_repaired {
            f.write_str(" --keep-repaired")?;
        }
        f.write_str(")")
    }
}
