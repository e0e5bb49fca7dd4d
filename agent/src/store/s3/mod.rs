//! A bucket of Amazon S3, or of a server that speaks its language, as a store.
//!
//!     create ─► one PUT, If-None-Match: *, our CRC-32 ─────────────────────────┐
//!     begin ─► 8 MiB or less: the same ────────────────────────────────────────┤
//!            └► more: CreateMultipartUpload ─► parts, few at a time ─► Complete┴─► Stored
//!            ╰► one that an earlier run began: only the parts that are missing
//!     read ─► GET, ranged; a body that breaks off is taken up where it broke, of the same ETag
//!     list ─► pages of 1,000, put into one order      delete ─► batches of 1,000
//!
//! **A key is created once.** `If-None-Match: *` decides, where the server heeds it. Some accept the header and ignore
//! it, so it is tried out ([`conditions`]); where it does nothing, we look before we write: two writers on two machines
//! at the same moment could then both believe to be the first. Keys name their content, so even then the bytes are
//! right; only `repository.json` and manifests, whose keys are unique by themselves, rely on it.
//!
//! **A lost answer is no answer.** The request may have been done. So each create carries a random id of its writer; a
//! 412 after a lost attempt is compared with what lies there, and our own id means that we were the first.
//!
//! Deliberately absent: ETags as hashes (they are none for parts and for encrypted objects), signatures over bodies
//! (2 GB/s at best, and our CRC-32 is a signed header), versions, object lock.

pub(in crate::store) mod budget;
mod conditions;
mod connection;
pub(in crate::store) mod create;
mod delete;
pub(in crate::store) mod failure;
mod keeping;
pub(in crate::store) mod layers;
mod list;
mod payload;
mod read;
pub mod settings;
pub(in crate::store) mod throttle;
pub mod trial;
mod unfinished;
pub(in crate::store) mod upload;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::budget::Budget;
use self::conditions::Conditions;
use self::connection::{Connection, NoConnection};
use self::create::Locks;
use self::failure::{Action, Failure, Kind};
use self::layers::Layers;
use self::payload::Payload;
pub use self::settings::{Encryption, Keys, Patience, Settings};
use self::unfinished::Unfinished;
use super::{
    BoxStream, ByteStream, Bytes, Depth, Error, KeyPrefix, Listed, ObjectKey, Reread, Span, Store, Stored, Upload,
};
use crate::progress::StopSignal;

/// Memory for the parts of all uploads together: two of the usual size. Measured with 862 SSTables of 2 GB against a
/// server on the same machine: 12 MiB cost a fifth of the speed, 24 MiB bring nothing.
const BUDGET_BYTES: u64 = 16 << 20;

/// A bucket, below a prefix. Clones share the connections and the limits.
#[derive(Debug, Clone)]
pub struct S3 {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(in crate::store) struct Shared {
    settings: Settings,
    connection: Connection,
    layers: Layers,
    conditions: Conditions,
    locks: Locks,
    budget: Arc<Budget>,
    unfinished: Unfinished,
    runtime: Handle,
}

impl S3 {
    /// A client for the bucket. Nothing is written; the bucket is only asked for its region, if nothing else tells it.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let layers = Layers::new(settings.concurrency, settings.patience, settings.rate_limit);
        let connection = match connection::connect(&settings, &layers).await {
            Ok(connection) => connection,
            Err(NoConnection::Settings(reason)) => {
                return Err(Error::Location { location: settings.to_string(), reason });
            }
            Err(NoConnection::Request(failure, endpoint)) => {
                let place = settings.to_string();
                let known = Known { settings: &settings, region: None, endpoint: endpoint.as_deref() };
                return Err(known.error(Action::AskBucket, place, failure));
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                connection,
                layers,
                conditions: Conditions::default(),
                locks: Locks::default(),
                budget: Budget::new(BUDGET_BYTES),
                unfinished: Unfinished::default(),
                runtime: Handle::current(),
            }),
        })
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.settings.fmt(f)
    }
}

#[async_trait]
impl Store for S3 {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<Stored, Error> {
        self.shared.create(key, Payload::new(vec![body])).await
    }

    async fn begin(&self, key: &ObjectKey, length_hint: Option<u64>) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(upload::S3Upload::new(self.shared.clone(), key.clone(), length_hint)))
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

    async fn find_unfinished(&self, prefix: &KeyPrefix) -> Result<(), Error> {
        self.shared.find_unfinished(prefix).await
    }

    async fn give_up_unfinished(&self) {
        self.shared.give_up_unfinished().await;
    }

    fn heed(&self, stop: &StopSignal) {
        self.shared.layers.heed(stop.clone());
    }
}

impl Shared {
    fn client(&self) -> &aws_sdk_s3::Client {
        &self.connection.client
    }

    fn bucket(&self) -> &str {
        &self.settings.bucket
    }

    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    /// `s3://bucket/prefix/key`.
    fn place(&self, key: &str) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.full(key))
    }

    /// A failure about `key` as the store's error.
    fn error(&self, action: Action, key: &ObjectKey, failure: Failure) -> Error {
        if failure.kind == Kind::NotFound {
            return Error::NotFound { key: key.clone() };
        }
        self.error_at(action, self.place(key.as_str()), failure)
    }

    fn error_at(&self, action: Action, place: String, failure: Failure) -> Error {
        let Connection { region, endpoint, .. } = &self.connection;
        let known = Known { settings: &self.settings, region: Some(region), endpoint: endpoint.as_deref() };
        known.error(action, place, failure)
    }
}

/// What is known of the bucket when an error has to say what to do.
struct Known<'a> {
    settings: &'a Settings,
    region: Option<&'a str>,
    endpoint: Option<&'a str>,
}

impl Known<'_> {
    fn error(&self, action: Action, place: String, failure: Failure) -> Error {
        let kind = failure.kind;
        let advice = self.advice(action, &failure);
        let action = action.text();
        if kind == Kind::Stopped {
            return Error::Stopped { reason: failure.text };
        }
        if kind == Kind::Full {
            return Error::Full { action, place, cause: std::io::Error::other(failure.text) };
        }
        Error::Remote {
            action,
            place,
            got: failure.text,
            advice,
            is_transient: kind.is_transient(),
            is_denied: kind == Kind::Denied,
        }
    }

    fn advice(&self, action: Action, failure: &Failure) -> String {
        let bucket = &self.settings.bucket;
        let server = self.endpoint.unwrap_or("Amazon S3");
        match failure.kind {
            Kind::Denied if failure.text.contains("kms:") || failure.text.contains("KMS") => {
                "allow these credentials kms:GenerateDataKey and kms:Decrypt on the key that encrypts the bucket"
                    .to_owned()
            }
            Kind::Denied => {
                let resource = match action {
                    Action::List | Action::ListUploads | Action::AskBucket => format!("arn:aws:s3:::{bucket}"),
                    _ => format!("arn:aws:s3:::{bucket}/{}*", self.settings.prefix),
                };
                let listing = match action {
                    Action::Read | Action::Look => {
                        format!(
                            ", and s3:ListBucket on arn:aws:s3:::{bucket}: without it a missing object looks forbidden"
                        )
                    }
                    _ => String::new(),
                };
                format!("allow these credentials {} on {resource}{listing}", action.right())
            }
            Kind::Credentials | Kind::Provider => {
                let profile = self.settings.profile.as_deref();
                let profile = profile.map_or(String::new(), |profile| format!(" (profile `{profile}`)"));
                format!(
                    "check the credentials{profile}: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the \
                     role of this machine; `aws sts get-caller-identity` shows what is in force"
                )
            }
            Kind::Expired => {
                "the session has expired: get new credentials (log in again, or renew AWS_SESSION_TOKEN), then run the \
                 same command again"
                    .to_owned()
            }
            Kind::NoBucket => format!("there is no bucket `{bucket}` at {server}: create it, or correct the URL"),
            Kind::Region => match (&failure.region, self.region) {
                (Some(is), Some(set)) => {
                    format!(
                        "the bucket `{bucket}` lies in {is}, and the region in force is {set}: set region = \"{is}\""
                    )
                }
                _ => format!("the bucket `{bucket}` lies in another region: set `region` to the one of the bucket"),
            },
            Kind::Clock => "the clock of this machine and that of the server differ: set the clock".to_owned(),
            Kind::Unsupported => {
                format!("{server} does not know this request; `helenus repository check` shows what it knows")
            }
            Kind::Archived => {
                "the object lies in an archive class: restore it there first (`aws s3api restore-object`)".to_owned()
            }
            Kind::Certificate => {
                format!(
                    "the certificate of {server} is not trusted here: set `ca_file` to the PEM file of its authority"
                )
            }
            Kind::Busy => {
                "the server asks for fewer requests: lower `concurrency` or set `rate_limit`, and run the same \
                           command again"
                    .to_owned()
            }
            Kind::Garbled => {
                "bytes were changed on their way, more than once: look for a bad proxy, cable or memory".to_owned()
            }
            Kind::Conflict => "another writer was at work on the same object: run the same command again".to_owned(),
            Kind::Transient => match self.endpoint {
                Some(endpoint) => format!("is {endpoint} up, and reachable from here? Run the same command again"),
                None => "is the network up, and the proxy right (HTTPS_PROXY)? Run the same command again".to_owned(),
            },
            Kind::NoUpload => {
                "somebody gave the upload up, a lifecycle rule for instance: run the same command again".to_owned()
            }
            Kind::Precondition => {
                "somebody changed the object meanwhile, and objects of a repository never change".to_owned()
            }
            Kind::NotFound | Kind::Range | Kind::Refused | Kind::Altered | Kind::Full | Kind::Stopped => String::new(),
        }
    }
}
