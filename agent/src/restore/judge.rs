//! What becomes of an SSTable whose files were to be fetched: restored, lost, or the end of the run.
//!
//! An object that is missing or changed loses its SSTable, and the others go on. A disk that is full or a store that
//! does not answer ends the run: it goes on where it was when that is mended.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::fetch::{self, How, Outcome};
use super::plan::Source;
use super::reuse;
use crate::catalog::repository::Repository;
use crate::manifest::model::{Amount, StoredSSTable};
use crate::pack::unpack::Wrong;
use crate::store::{self, Store};

/// Files and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Their plain bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// An SSTable that the repository could not give, or a whole table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// `keyspace.table`, as in the backup.
    pub table: String,
    /// `nb-1-big`, with the directory of the index before it if it belongs to one. None: nobody knows the table's
    /// SSTables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sstable: Option<String>,
    /// What is wrong with which component, with the object's name.
    pub problems: Vec<String>,
}

impl Lost {
    /// A table of which the list of its SSTables is missing or damaged.
    pub fn table(table: &Source, error: &anyhow::Error) -> Self {
        Self { table: table.to_string(), sstable: None, problems: vec![format!("{error:#}")] }
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.table, self.sstable.as_deref().unwrap_or("(all of it)"))
    }
}

/// Ends the run if too much is missing to go on: the repository itself, or what makes the node that one.
pub async fn refuse_hopeless(store: &dyn Store, lost: &[Lost]) -> anyhow::Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    // A mount that went away looks as if every object were missing.
    Repository::open(store).await.context("objects were missing, and now the repository itself is")?;
    let is_vital = |lost: &&Lost| lost.table == "system.local" || lost.table.starts_with("system_schema.");
    if let Some(vital) = lost.iter().find(is_vital) {
        bail!(
            "{vital} is lost: {}. A node without it would start with another identity or another schema: select tables \
             (--keyspace, --table), or take another backup",
            vital.problems.join("; ")
        );
    }
    Ok(())
}

/// What was done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// SSTables whose files are all there.
    pub restored: Amount,
    /// Files read from the store, by this run or one before it.
    pub fetched: Tally,
    /// Files that the node had.
    pub reused: Tally,
    /// SSTables that were repaired, or claimed by a repair, and are not any more.
    #[serde(default)]
    pub reset: u64,
    /// SSTables that could not be restored.
    pub lost: Vec<Lost>,
}

impl Done {
    /// Adds what came of one SSTable.
    pub fn add(&mut self, sstable: Judged) {
        match sstable {
            Judged::Restored { amount, fetched, reused } => {
                self.restored.add(amount);
                for (sum, more) in [(&mut self.fetched, fetched), (&mut self.reused, reused)] {
                    sum.files += more.files;
                    sum.bytes += more.bytes;
                }
            }
            Judged::Lost(lost) => self.lost.push(lost),
        }
    }
}

/// What came of one SSTable.
#[derive(Debug)]
pub enum Judged {
    /// All files are there.
    Restored {
        /// What it is.
        amount: Amount,
        /// What of it was read from the store.
        fetched: Tally,
        /// What of it the node had.
        reused: Tally,
    },
    /// Some are missing or changed in the repository.
    Lost(Lost),
}

/// Judges an SSTable by its files. If it is lost, what was written of it to `directory` is removed.
pub fn judge(
    table: &str,
    sstable: &StoredSSTable,
    outcomes: Vec<Outcome<'_>>,
    directory: &Path,
) -> anyhow::Result<Judged> {
    let (mut fetched, mut reused, mut problems) = (Tally::default(), Tally::default(), Vec::new());
    for Outcome { file, result } in outcomes {
        match result {
            Ok(How::Fetched | How::Kept) => fetched.add(file.length),
            Ok(How::Reused) => reused.add(file.length),
            Err(wrong) if is_lost(&wrong) => problems.push(format!("{}: {wrong} ({})", file.component, file.object)),
            Err(wrong) => {
                return Err(wrong).with_context(|| {
                    format!("{table}: {} from {}", reuse::name(sstable, &file.component), file.object)
                });
            }
        }
    }
    if problems.is_empty() {
        return Ok(Judged::Restored { amount: sstable.amount(), fetched, reused });
    }
    for file in &sstable.files {
        fetch::remove(sstable, file, directory)?;
    }
    let name = reuse::name(sstable, "");
    Ok(Judged::Lost(Lost { table: table.to_owned(), sstable: Some(name.trim_end_matches('-').to_owned()), problems }))
}

/// True if the repository does not have the bytes, which no second try will change.
fn is_lost(wrong: &Wrong) -> bool {
    match wrong {
        Wrong::Bytes { .. } | Wrong::SameObject(_) => true,
        Wrong::Store(error) => matches!(
            error,
            store::Error::NotFound { .. } | store::Error::Truncated { .. } | store::Error::TooLong { .. }
        ),
        // What a decoder says of bytes that it cannot read.
        Wrong::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        Wrong::Name(_) => false,
    }
}
