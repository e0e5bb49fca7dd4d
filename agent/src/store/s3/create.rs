//! Small objects: one PUT, and the question whose object is there.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use aws_sdk_s3::types::ChecksumType;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use super::failure::{Action, Failure, Kind};
use super::keeping::{Keep, Unlock};
use super::payload::Payload;
use super::{Error, ObjectKey, Shared, Stored};

/// Metadata of each object: who wrote it, a new id for each create.
const WRITER: &str = "helenus-writer";

/// What a create is known by, whatever happens to its answers.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Random. Absent if an earlier run began the object, under an id that nobody knows any more.
    pub writer: Option<String>,
    /// Of the object.
    pub length: u64,
    /// Of the object.
    pub crc32: u32,
}

impl Mark {
    /// A new writer.
    pub fn new(length: u64, crc32: u32) -> Self {
        Self { writer: Some(Uuid::new_v4().simple().to_string()), length, crc32 }
    }

    /// As the object's metadata.
    pub fn metadata(&self) -> Option<HashMap<String, String>> {
        self.writer.as_ref().map(|writer| HashMap::from([(WRITER.to_owned(), writer.clone())]))
    }
}

/// How a create ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is ours.
    New,
    /// Somebody was faster.
    Taken,
}

/// Where a server does not decide who is first, this process at least does not race with itself.
#[derive(Debug)]
pub struct Locks {
    stripes: [Mutex<()>; 64],
    hasher: RandomState,
}

impl Default for Locks {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::new(())), hasher: RandomState::new() }
    }
}

impl Locks {
    /// Waits for all others who write this key, and some who write others.
    pub async fn lock(&self, key: &str) -> MutexGuard<'_, ()> {
        let stripe = self.hasher.hash_one(key) % self.stripes.len() as u64;
        // Within the array, so it fits.
        self.stripes[stripe as usize].lock().await
    }
}

/// A CRC-32 as S3 writes it.
pub fn encode(crc32: u32) -> String {
    BASE64_STANDARD.encode(crc32.to_be_bytes())
}

impl Shared {
    /// Creates a small object.
    pub async fn create(&self, key: &ObjectKey, body: Payload) -> Result<Stored, Error> {
        let is_conditional = self.put_is_conditional().await?;
        let mark = Mark::new(body.length(), body.crc32());
        let key_text = key.as_str();
        let _alone = if is_conditional { None } else { Some(self.locks.lock(key_text).await) };
        let created = self
            .layers
            .run(body.length(), |attempt| {
                let (mark, body) = (&mark, &body);
                async move {
                    if !is_conditional && let Some(created) = self.whose(key_text, mark).await? {
                        return Ok(created);
                    }
                    match self.put(key_text, body, mark, is_conditional).await {
                        Ok(()) => Ok(Created::New),
                        Err(failure) if failure.kind == Kind::Precondition => {
                            self.refused(key_text, mark, attempt).await
                        }
                        Err(failure) => Err(failure),
                    }
                }
            })
            .await;
        match created {
            Ok(Created::New) => Ok(Stored::new(key.clone(), mark.length)),
            Ok(Created::Taken) => Err(Error::AlreadyExists { key: key.clone() }),
            Err(failure) => {
                let failure = self.clear_altered(key_text, failure).await;
                Err(self.error_at(Action::Write, self.place(key_text), failure))
            }
        }
    }

    /// A 412: after a lost attempt it may be our own object that is in the way.
    pub async fn refused(&self, key: &str, mark: &Mark, attempt: u32) -> Result<Created, Failure> {
        if attempt == 1 {
            return Ok(Created::Taken);
        }
        let gone = || Failure::new(Kind::Conflict, "the object was there, and is not any more");
        self.whose(key, mark).await?.ok_or_else(gone)
    }

    /// One PUT.
    pub async fn put(&self, key: &str, body: &Payload, mark: &Mark, is_conditional: bool) -> Result<(), Failure> {
        let answer = self
            .client()
            .put_object()
            .bucket(self.bucket())
            .key(self.full(key))
            .set_if_none_match(is_conditional.then(|| "*".to_owned()))
            .body(body.body(self.layers.throttle.as_ref()))
            .content_length(i64::try_from(body.length()).unwrap_or(i64::MAX))
            .checksum_crc32(encode(mark.crc32))
            .set_metadata(mark.metadata())
            .keep(self.keeping(key))
            .unlock(self)
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| body.blame(Failure::from_sdk(error)))?;
        check_sum(answer.checksum_crc32(), answer.checksum_type(), mark.crc32)
    }

    /// Whose object lies under `key`, if one does.
    pub async fn whose(&self, key: &str, mark: &Mark) -> Result<Option<Created>, Failure> {
        let found = match self.head(key).await {
            Ok(found) => found,
            Err(failure) if failure.kind == Kind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let length = found.content_length().and_then(|length| u64::try_from(length).ok());
        let writer = found.metadata().and_then(|metadata| metadata.get(WRITER));
        if length != Some(mark.length) {
            return Ok(Some(Created::Taken));
        }
        if let (Some(writer), Some(ours)) = (writer, &mark.writer) {
            if writer != ours {
                return Ok(Some(Created::Taken));
            }
            check_sum(found.checksum_crc32(), found.checksum_type(), mark.crc32)?;
            return Ok(Some(Created::New));
        }
        // A store that keeps no metadata, or a writer that is forgotten: what lies there tells. The same bytes are as
        // good as ours.
        let crc32 = match found.checksum_crc32() {
            Some(sum) if found.checksum_type() != Some(&ChecksumType::Composite) => Some(sum.to_owned()),
            _ => self.crc32(key).await?.map(encode),
        };
        Ok(crc32.map(|crc32| if crc32 == encode(mark.crc32) { Created::New } else { Created::Taken }))
    }

    /// CRC-32 of what lies under `key`, read for it.
    async fn crc32(&self, key: &str) -> Result<Option<u32>, Failure> {
        let mut answer = match self.get(key, None, None).await {
            Ok(answer) => answer,
            Err(failure) if failure.kind == Kind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let mut hasher = crc32fast::Hasher::new();
        let cut = |error| Failure::new(Kind::Transient, super::failure::chain(&error));
        while let Some(piece) = answer.body.try_next().await.map_err(cut)? {
            hasher.update(&piece);
        }
        Ok(Some(hasher.finalize()))
    }
}

/// Compares the sum that the store tells with ours. Only one of the whole object counts.
pub fn check_sum(told: Option<&str>, kind: Option<&ChecksumType>, crc32: u32) -> Result<(), Failure> {
    let sent = encode(crc32);
    match told {
        Some(told) if kind != Some(&ChecksumType::Composite) && !told.contains('-') && told != sent => {
            let text = format!("the store says that it holds other bytes: CRC-32 expected {sent}, got {told}");
            Err(Failure::new(Kind::Altered, text))
        }
        _ => Ok(()),
    }
}
