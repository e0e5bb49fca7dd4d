//! A bucket of Google Cloud Storage or a container of Azure Blob Storage as a store, through `object_store`.
//!
//!     create ─► one PUT: If-None-Match: * (Azure), x-goog-if-generation-match: 0 (Google) ─────┐
//!     begin ─► 8 MiB or less: the same ────────────────────────────────────────────────────────┤
//!            └► more: parts, few at a time ─► Azure: Put Block List, If-None-Match: * ─────────┤
//!                                          └► Google: a look, then CompleteMultipartUpload ────┴─► Stored
//!     read ─► GET, ranged; a body that breaks off is taken up where it broke, of the same ETag
//!     list ─► pages, put into one order      delete ─► one by one, several at a time
//!
//! **A key is created once.** Both services decide who was first. Only Google's objects in parts know no condition: there
//! we look before the parts are put together, and two machines that send the same large object at the same moment may
//! both believe to be the first. The keys of large objects name their content, so the bytes are right even then.
//!
//! **A lost answer is no answer.** A refusal after a lost attempt is settled by what lies there: the bytes that were sent
//! are as good as ours.
//!
//! **Every body is checked where it arrives** ([`wire`]). A large object's length, and at Google its CRC-32C, are
//! compared once more when it is whole.
//!
//! Limits, retries, the throttle and the budget for parts are those of [`super::s3`]. Deliberately absent: storage
//! classes and tiers (a rule of the bucket has them), encryption with keys of ours, versions.

mod azure;
mod connection;
mod create;
mod delete;
mod failure;
mod list;
mod read;
pub mod settings;
pub mod trial;
mod upload;
mod wire;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use tokio::runtime::Handle;

use self::connection::{Client, Connection};
use self::failure::error;
pub use self::settings::{Secret, Service, Settings};
use super::s3::budget::Budget;
use super::s3::create::Locks;
use super::s3::failure::{Action, Failure, Kind};
use super::s3::layers::Layers;
use super::{BoxStream, ByteStream, Bytes, Depth, Error, KeyPrefix, Listed, ObjectKey, Span, Store, Stored, Upload};
use crate::progress::StopSignal;

/// Memory for the parts of all uploads together, as for S3.
const BUDGET_BYTES: u64 = 16 << 20;

/// A bucket or container, below a prefix. Clones share the connections and the limits.
#[derive(Debug, Clone)]
pub struct Objects {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    connection: Connection,
    layers: Layers,
    locks: Locks,
    budget: Arc<Budget>,
    runtime: Handle,
}

impl Objects {
    /// A client for the bucket. Nothing is asked and nothing written.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let layers = Layers::new(settings.concurrency, settings.patience, settings.rate_limit);
        let connected = connection::connect(&settings, layers.throttle.clone());
        let connection = connected.map_err(|reason| Error::Location { location: settings.to_string(), reason })?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                connection,
                layers,
                locks: Locks::default(),
                budget: Budget::new(BUDGET_BYTES),
                runtime: Handle::current(),
            }),
        })
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.settings.fmt(f)
    }
}

#[async_trait]
impl Store for Objects {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<Stored, Error> {
        self.shared.create(key, &[body]).await
    }

    async fn begin(&self, key: &ObjectKey, length_hint: Option<u64>) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(upload::ObjectUpload::new(self.shared.clone(), key.clone(), length_hint)))
    }

    async fn read(&self, key: &ObjectKey, span: Span) -> Result<ByteStream, Error> {
        read::read(self.shared.clone(), key.clone(), span).await
    }

    fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        depth: Depth,
    ) -> BoxStream<'_, Result<Listed, Error>> {
        list::list(self.shared.clone(), prefix.clone(), after.cloned(), depth)
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<(), Error> {
        self.shared.delete(keys).await
    }

    fn heed(&self, stop: &StopSignal) {
        self.shared.layers.heed(stop.clone());
    }
}

impl Shared {
    fn client(&self) -> &dyn Client {
        self.connection.client.as_ref()
    }

    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    /// The same for the library. Keys have no empty and no dotted segments, so it takes them as they are.
    fn path(&self, key: &str) -> Result<Path, Failure> {
        Path::parse(self.full(key)).map_err(|error| Failure::new(Kind::Refused, error.to_string()))
    }

    /// `gs://bucket/prefix/key`.
    fn place(&self, key: &str) -> String {
        format!("{}{}/{}", self.settings.service.scheme(), self.settings.bucket, self.full(key))
    }

    /// A failure about `key` as the store's error.
    fn error(&self, action: Action, key: &ObjectKey, failure: Failure) -> Error {
        if failure.kind == Kind::NotFound {
            return Error::NotFound { key: key.clone() };
        }
        self.error_at(action, self.place(key.as_str()), failure)
    }

    fn error_at(&self, action: Action, place: String, failure: Failure) -> Error {
        if failure.kind == Kind::Stopped {
            return Error::Stopped { reason: failure.text };
        }
        error(&self.settings, &self.connection.endpoint, action, place, failure)
    }
}
