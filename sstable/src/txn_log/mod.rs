//! Transaction logs: which of the SSTables in a directory count.
//!
//! Cassandra notes every SSTable that it creates or replaces in a log before it touches a file, one record per line:
//!
//! ```text
//! ADD:[/var/lib/cassandra/data/ks/t-5a1c…/nb-7-big-,0,8][2913617466]
//! REMOVE:[/var/lib/cassandra/data/ks/t-5a1c…/nb-3-big-,1653302272704,8][1372047471]
//! COMMIT:[,0,0][2613697770]
//! ```
//!
//! In brackets: what the names of the files start with, the newest modification time of the files in milliseconds, the
//! number of files; then the CRC32 of the record. Every directory that holds one of the files has a replica of the log.
//!
//! Three steps, in this order: list the files, read the logs ([`Transaction::read`], once per name, with the replicas
//! of all directories), then tell what to ignore ([`classify`]). The order matters, as a log is the last thing
//! deleted. Files are matched by name within the directories that have a replica, never by the paths in the records:
//! a volume may be mounted elsewhere today.

mod classify;
mod record;
mod transaction;

#[cfg(test)]
mod tests;

pub use self::classify::{Classification, ClassifyError, ListedFile, Reason, Temporary, classify};
pub use self::record::{Record, RecordKind, TxnLogName};
pub use self::transaction::{
    LOG_LENGTH_MAX, RECORD_COUNT_MAX, Replica, State, Transaction, TxnLogError, TxnLogErrorKind,
};
