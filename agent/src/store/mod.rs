//! Where backups live. Objects are written once and never change, so there is no verb to overwrite one.
//!
//!     create ── small object, one call ──────────────┐
//!     begin ─► Upload::write … ─► Upload::finish ────┴─► Stored ─► named in a part or a manifest
//!
//! Only this module makes a [`Stored`]: a manifest that names what is not stored cannot be written down.
//! [`local`] is a directory, [`s3`] a bucket, `objects` a bucket of Google's or a container of Azure's in a build that
//! has it, [`memory`] is for tests. Deliberately absent: encryption, which will wrap a store, and a way to ask for one
//! object's existence, because a listing answers for thousands at once.

mod error;
pub mod key;
pub mod local;
pub mod memory;
#[cfg(feature = "objects")]
pub mod objects;
pub mod s3;
pub mod trial;

use std::fmt::{Debug, Display};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
pub use bytes::Bytes;
pub use futures::stream::BoxStream;
pub use futures::{StreamExt, TryStreamExt};

pub use error::Error;
pub use key::{KeyError, KeyPrefix, NodeName, ObjectKey};
pub use local::Local;
pub use memory::Memory;
#[cfg(feature = "objects")]
pub use objects::Objects;
pub use s3::S3;

use crate::progress::StopSignal;

/// Bytes of an object, in order, in pieces of at most a few MiB.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// Where backups live.
#[async_trait]
pub trait Store: Debug + Display + Send + Sync {
    /// Creates `key`, durably. Readers see all of `body` or nothing. [`Error::AlreadyExists`] if the key is taken.
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<Stored, Error>;

    /// Starts a large object. It does not exist until [`Upload::finish`] returns, and never if that is not called.
    /// `length_hint` saves work when it is right and changes nothing when it is wrong.
    async fn begin(&self, key: &ObjectKey, length_hint: Option<u64>) -> Result<Box<dyn Upload>, Error>;

    /// The bytes in `span`. One that ends behind the object's end is [`Error::Truncated`], before the first byte.
    async fn read(&self, key: &ObjectKey, span: Span) -> Result<ByteStream, Error>;

    /// What begins with `prefix` and comes after `after`, in key order; `depth` says whether to stop at the next `/`.
    fn list(&self, prefix: &KeyPrefix, after: Option<&ObjectKey>, depth: Depth)
    -> BoxStream<'_, Result<Listed, Error>>;

    /// Deletes, durably. Deleting what is not there succeeds.
    async fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error>;

    /// Looks for large objects below `prefix` that an earlier run began and did not end. [`Store::begin`] of the same key
    /// goes on with one of them. Nobody else may be writing below `prefix`.
    async fn find_unfinished(&self, _prefix: &KeyPrefix) -> Result<(), Error> {
        Ok(())
    }

    /// Ends what was found and not gone on with.
    async fn give_up_unfinished(&self) {}

    /// Whatever takes long ends soon after this signal, with [`Error::Stopped`].
    fn heed(&self, _stop: &StopSignal) {}
}

/// An object that is being written and that nobody can see. Dropped unfinished, it leaves nothing behind.
#[async_trait]
pub trait Upload: Send {
    /// Appends `bytes`. After an error only dropping or aborting makes sense.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Before the first byte: where the same bytes can be had again. A store that may have to send them twice then need
    /// not hold them.
    fn reread_from(&mut self, _source: Arc<dyn Reread>) {}

    /// No byte will follow, and [`Upload::finish`] may take a while to come: what is held can be sent.
    async fn seal(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Makes the object durable, then visible under its key, unless somebody was faster ([`Error::AlreadyExists`]).
    async fn finish(self: Box<Self>) -> Result<Stored, Error>;

    /// Gives up and waits until nothing is left.
    async fn abort(self: Box<Self>);
}

/// The bytes of an object, once more.
pub trait Reread: Debug + Send + Sync {
    /// Hands those in `range` to `take`, in order, in pieces of at most a few MiB, until it wants no more. Blocks.
    fn read(&self, range: Range<u64>, take: &mut dyn FnMut(Bytes) -> bool) -> std::io::Result<()>;
}

/// Which bytes of an object to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// All of them, however many.
    Whole,
    /// From the first offset up to, not including, the second.
    Range(Range<u64>),
}

impl From<Range<u64>> for Span {
    fn from(range: Range<u64>) -> Self {
        Span::Range(range)
    }
}

impl Span {
    /// The offsets to read from an object of `length` bytes, or why there are none.
    fn within(&self, key: &ObjectKey, length: u64) -> Result<Range<u64>, Error> {
        match self {
            Span::Whole => Ok(0..length),
            Span::Range(range) if range.start <= range.end && range.end <= length => Ok(range.clone()),
            Span::Range(range) => {
                Err(Error::Truncated { key: key.clone(), wanted: range.end.max(range.start), length })
            }
        }
    }
}

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every object.
    All,
    /// Up to the next `/` after the prefix: what goes on behind it is one [`Listed::Prefix`].
    Level,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object. Being listed proves that it is stored.
    Object(Stored),
    /// A directory that holds at least one object after the listing's `after`; it ends with `/`.
    Prefix(KeyPrefix),
}

/// Proof that an object lies durably in a store. Only a store can make one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    key: ObjectKey,
    length: u64,
}

impl Stored {
    fn new(key: ObjectKey, length: u64) -> Self {
        Self { key, length }
    }

    /// Its key.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// What a user names as a repository. Nothing is opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of a mounted file system.
    Directory(PathBuf),
    /// A bucket.
    S3(Box<s3::Settings>),
    /// A bucket of Google's or a container of Azure's.
    #[cfg(feature = "objects")]
    Objects(Box<objects::Settings>),
}

/// What not every build knows: the scheme, the feature that brings it, and whether it is here.
const BY_FEATURE: [(&str, &str, bool); 2] =
    [("gs://", "gcs", cfg!(feature = "gcs")), ("az://", "azure", cfg!(feature = "azure"))];

impl Location {
    /// A path, `file://` and an absolute path, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub fn parse(url_or_path: &str) -> Result<Self, Error> {
        Self::parse_text(url_or_path).map_err(|reason| {
            let scheme = url_or_path.split_once("://").map_or("", |(scheme, _)| scheme);
            // What stands before an `@` may be a secret.
            let location = match scheme {
                "s3" | "gs" | "az" if url_or_path.contains('@') => format!("{scheme}://…"),
                _ => url_or_path.to_owned(),
            };
            Error::Location { location, reason }
        })
    }

    fn parse_text(url_or_path: &str) -> Result<Self, String> {
        if url_or_path.starts_with("s3://") {
            return s3::Settings::parse(url_or_path).map(|settings| Self::S3(Box::new(settings)));
        }
        match BY_FEATURE.iter().find(|(scheme, _, _)| url_or_path.starts_with(scheme)) {
            None => local_path(url_or_path).map(Self::Directory),
            #[cfg(feature = "objects")]
            Some((_, _, true)) => {
                objects::Settings::parse(url_or_path).map(|settings| Self::Objects(Box::new(settings)))
            }
            Some((_, feature, _)) => {
                Err(format!("this helenus was built without {feature}: build it with `--features {feature}`"))
            }
        }
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::S3(_) => None,
            #[cfg(feature = "objects")]
            Self::Objects(_) => None,
        }
    }
}

impl Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => Display::fmt(&path.display(), f),
            Self::S3(settings) => Display::fmt(settings, f),
            #[cfg(feature = "objects")]
            Self::Objects(settings) => Display::fmt(settings, f),
        }
    }
}

/// Opens the store at a location.
pub async fn open(location: &Location) -> Result<Arc<dyn Store>, Error> {
    Ok(match location {
        Location::Directory(path) => Arc::new(Local::open(path)?),
        Location::S3(settings) => Arc::new(S3::open(settings.as_ref().clone()).await?),
        #[cfg(feature = "objects")]
        Location::Objects(settings) => Arc::new(Objects::open(settings.as_ref().clone())?),
    })
}

fn local_path(location: &str) -> Result<PathBuf, String> {
    if location.is_empty() {
        return Err("it is empty: give a directory, file:///directory, or s3://bucket/prefix".to_owned());
    }
    if let Some(rest) = location.strip_prefix("file://") {
        if !rest.starts_with('/') {
            return Err("file:// needs three slashes and an absolute path, like file:///backups".to_owned());
        }
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(rest).collect();
        if bytes.contains(&0) {
            return Err("a path cannot hold a NUL".to_owned());
        }
        return Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
    }
    let scheme = location.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    match scheme {
        Some(scheme) => Err(format!(
            "`{scheme}:` is no kind of store that this version knows; it knows directories (/path, ./path or \
             file:///path) and buckets (s3://bucket/prefix, gs://bucket/prefix, az://container/prefix)"
        )),
        None if location.contains('\0') => Err("a path cannot hold a NUL".to_owned()),
        None => Ok(PathBuf::from(location)),
    }
}

/// The whole object, which must not be longer than `bytes_max`.
pub async fn read_small(store: &dyn Store, key: &ObjectKey, bytes_max: u64) -> Result<Bytes, Error> {
    let mut stream = store.read(key, Span::Whole).await?;
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(piece) = stream.try_next().await? {
        if (first.len() + all.len() + piece.len()) as u64 > bytes_max {
            return Err(Error::TooLong { key: key.clone(), limit: bytes_max });
        }
        // Most small objects come in one piece, and that is not copied.
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&piece);
        }
    }
    Ok(if all.is_empty() { first } else { Bytes::from(all) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let check = |location: &str, path: &str| assert_eq!(local_path(location), Ok(PathBuf::from(path)));
        check("/backups", "/backups");
        check("backups", "backups");
        check("./s3:backups", "./s3:backups");
        check("file:///back%20ups", "/back ups");
        for bad in ["", "file://host/x", "file:x", "s3://bucket", "memory:", "http://x/y", "a\0b", "file:///a%00"] {
            local_path(bad).expect_err(bad);
        }
        let error = Location::parse("gcs://bucket").unwrap_err().to_string();
        assert!(error.contains("`gcs:`") && error.contains("file:///path"), "{error}");
        for (scheme, feature, is_here) in BY_FEATURE {
            let url = format!("{scheme}bucket/a");
            match Location::parse(&url) {
                Ok(location) => assert_eq!((location.to_string(), is_here), (url, true)),
                Err(error) => {
                    let expected = format!("this helenus was built without {feature}");
                    assert!(!is_here && error.to_string().contains(&expected), "{error}");
                }
            }
        }
        let error = Location::parse("s3://key:secret@host/x").unwrap_err().to_string();
        assert!(!error.contains("secret@"), "{error}");
        let Ok(Location::S3(settings)) = Location::parse("s3://bucket/a") else { panic!("a bucket is a location") };
        assert_eq!(settings.to_string(), "s3://bucket/a");
    }
}
