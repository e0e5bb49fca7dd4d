//! What can go wrong in a store, by what the caller can do about it.

use std::io;

use super::key::{KeyError, ObjectKey};
use crate::fs;

/// A store's failure. The variant says what it means; the text says what, where, and what to do. The text holds the
/// system's own words, so these are not offered as `source` for a second print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No object has this key.
    #[error("{key}: no such object")]
    NotFound {
        /// The key that was asked for.
        key: ObjectKey,
    },
    /// The key is taken, and what it holds is durable. Nothing was written.
    #[error("{key}: exists already, and stored objects are never overwritten")]
    AlreadyExists {
        /// The key that was to be created.
        key: ObjectKey,
    },
    /// The object is shorter than it should be: damaged after it was stored, or the range is wrong.
    #[error("{key}: bytes up to {wanted} were asked for, but the object has {length}")]
    Truncated {
        /// The object.
        key: ObjectKey,
        /// End of the range that was asked for.
        wanted: u64,
        /// The object's length.
        length: u64,
    },
    /// The object is longer than the reader is prepared to hold in memory.
    #[error("{key}: more than {limit} bytes, which is too long for what it should hold")]
    TooLong {
        /// The object.
        key: ObjectKey,
        /// The reader's limit in bytes.
        limit: u64,
    },
    /// No space is left, or a quota is used up. Nothing half-written stays behind.
    #[error("{place}: {action} failed: {cause}; free space or raise the quota there, then run the same command again")]
    Full {
        /// What was being done.
        action: &'static str,
        /// Where.
        place: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The store may be read but not written, or not even read.
    #[error("{place}: {action} failed: {cause}; {}", advice(.cause))]
    Denied {
        /// What was being done.
        action: &'static str,
        /// Where.
        place: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The text does not name a store that this program can open.
    #[error("`{location}` cannot be opened as a repository: {reason}")]
    Location {
        /// The URL or path as given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store holds a name, or was given one, that is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A server, or the way to it, refused.
    #[error("{place}: {action} failed: {got}{}{advice}", if .advice.is_empty() { "" } else { "; " })]
    Remote {
        /// What was being done.
        action: &'static str,
        /// Where.
        place: String,
        /// What was answered, in the server's words.
        got: String,
        /// What to do, if we know.
        advice: String,
        /// Whether the same may well succeed a little later.
        is_transient: bool,
        /// Whether it is these credentials that may not.
        is_denied: bool,
    },
    /// The run was stopped, and this was not waited for.
    #[error("{reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// Anything else that the system refused.
    #[error("{place}: {action} failed: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Where.
        place: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl Error {
    /// Whether the same call may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        use io::ErrorKind::*;
        match self {
            Error::Io { cause, .. } => matches!(
                cause.kind(),
                Interrupted
                    | WouldBlock
                    | TimedOut
                    | ConnectionReset
                    | ConnectionAborted
                    | ConnectionRefused
                    | BrokenPipe
                    | NotConnected
                    | NetworkDown
                    | NetworkUnreachable
                    | HostUnreachable
                    | StaleNetworkFileHandle
                    | ResourceBusy
            ),
            Error::Remote { is_transient, .. } => *is_transient,
            _ => false,
        }
    }

    /// Whether others, or the same ones with more rights, could do it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Denied { .. } | Error::Remote { is_denied: true, .. })
    }

    pub(in crate::store) fn io(action: &'static str, place: impl ToString, cause: io::Error) -> Self {
        use io::ErrorKind::*;
        let place = place.to_string();
        match cause.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Error::Full { action, place, cause },
            PermissionDenied | ReadOnlyFilesystem => Error::Denied { action, place, cause },
            _ => Error::Io { action, place, cause },
        }
    }
}

impl From<fs::Error> for Error {
    fn from(error: fs::Error) -> Self {
        Self::io(error.action, error.path.display(), error.cause)
    }
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only: mount it for writing",
        _ => "give this program's user read and write access there",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(errno: i32, text: &str, transient: bool) {
        let error = Error::io("writing an object", "/backups", io::Error::from_raw_os_error(errno));
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.is_transient(), transient, "{error}");
    }

    #[test]
    fn meanings() {
        use nix::libc::*;
        check(ENOSPC, "/backups: writing an object failed: No space left on device (os error 28); free space", false);
        check(EDQUOT, "raise the quota", false);
        check(EROFS, "mounted read-only", false);
        check(EACCES, "read and write access", false);
        check(EIO, "Input/output error", false);
        check(ESTALE, "Stale", true);
        check(EINTR, "Interrupted", true);
    }
}
