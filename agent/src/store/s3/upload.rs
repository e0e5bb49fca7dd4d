//! Large objects: parts, as they come, few at a time.
//!
//! A part is 8 MiB, or so much that 10,000 of them are enough for the expected length. If that is not known, or was
//! wrong, parts double every 1,250: 10 GiB fit into the first ones, 2.5 TiB into all. What does not fill one part is one
//! PUT.
//!
//! The bytes of a part are held until it is confirmed, in the pieces in which they came, and sent again from there. Those
//! of a larger part are not held at all, if their source can give them again: they are summed up as they come, and read
//! a second time when the part is sent, and for each further attempt. Sending them as they come would need their sum to
//! follow them, which not every server knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use tokio::task::JoinSet;

use super::budget::Held;
use super::conditions::Large;
use super::create::{Created, Mark, check_sum, encode};
use super::failure::{Action, Failure, Kind};
use super::keeping::{Keep, Unlock};
use super::payload::Payload;
use super::unfinished::{PartThere, Resumed};
use super::{Bytes, Error, ObjectKey, Reread, Shared, Stored, Upload};

/// Usual size of a part.
const PART_BYTES: u64 = 8 << 20;
/// What S3 takes.
pub(super) const PARTS_MAX: u64 = 10_000;
/// The largest object that S3 takes; whoever hints at more is wrong.
const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// Of unhinted objects: so many parts of one size.
const PARTS_OF_ONE_SIZE: u64 = 1_250;
/// Parts of one object on their way, while the next one fills.
pub const FLYING_MAX: usize = 2;
/// Memory of a part that is being read again: pieces on their way.
const REREAD_BYTES: u64 = 4 << 20;

/// An object that is being written.
pub struct S3Upload {
    shared: Arc<Shared>,
    key: ObjectKey,
    hint: Option<u64>,
    source: Option<Arc<dyn Reread>>,
    /// Of the parts that were filled.
    length: u64,
    crc32: crc32fast::Hasher,
    filling: Filling,
    large: Option<InParts>,
}

/// The next part.
struct Filling {
    length: u64,
    crc32: crc32fast::Hasher,
    /// None of them, if the source gives them again.
    pieces: Vec<Bytes>,
    held: Held,
}

impl Filling {
    fn new(held: Held) -> Self {
        Self { length: 0, crc32: crc32fast::Hasher::new(), pieces: Vec::new(), held }
    }
}

/// From the first full part on.
struct InParts {
    id: Arc<str>,
    /// Parts that an earlier run has sent.
    there: BTreeMap<i32, PartThere>,
    writer: Option<String>,
    heeded: Large,
    number: i32,
    flying: JoinSet<Result<CompletedPart, Failure>>,
    confirmed: Vec<CompletedPart>,
}

/// Size of the part with this number, from 0.
pub fn part_bytes(hint: Option<u64>, length: u64, number: u64) -> u64 {
    match hint {
        Some(hint) if length < hint => {
            hint.min(OBJECT_BYTES_MAX).div_ceil(PARTS_MAX).next_multiple_of(1 << 20).max(PART_BYTES)
        }
        _ => PART_BYTES << (number / PARTS_OF_ONE_SIZE).min(9),
    }
}

impl S3Upload {
    /// Nothing is sent before a part is full.
    pub fn new(shared: Arc<Shared>, key: ObjectKey, hint: Option<u64>) -> Self {
        let filling = Filling::new(shared.budget.part());
        let crc32 = crc32fast::Hasher::new();
        Self { shared, key, hint, source: None, length: 0, crc32, filling, large: None }
    }

    fn error(&self, failure: Failure) -> Error {
        self.shared.error_at(Action::WriteLarge, self.shared.place(self.key.as_str()), failure)
    }

    /// Size of the part that is being filled.
    fn part_bytes(&self) -> u64 {
        let number = self.large.as_ref().map_or(0, |large| u64::try_from(large.number).unwrap_or(0));
        part_bytes(self.hint, self.length, number)
    }

    /// What has gathered, with its sum. The next part begins.
    fn take_filling(&mut self) -> (Payload, Held) {
        let next = Filling::new(self.shared.budget.part());
        let Filling { length, crc32, pieces, held } = std::mem::replace(&mut self.filling, next);
        let start = self.length;
        self.length += length;
        self.crc32.combine(&crc32);
        let crc32 = crc32.finalize();
        let payload = match self.source.clone().filter(|_| pieces.is_empty() && length > 0) {
            Some(source) => Payload::reread(source, start, length, crc32),
            None => Payload::held(pieces, crc32),
        };
        (payload, held)
    }

    /// Sends what has gathered as the next part.
    async fn send(&mut self) -> Result<(), Error> {
        if self.large.is_none() {
            self.large = Some(self.begin().await?);
        }
        self.land(FLYING_MAX - 1).await?;
        let is_reread = self.filling.pieces.is_empty();
        if is_reread {
            self.filling.held.grow(REREAD_BYTES).await;
        }
        let (body, mut held) = self.take_filling();
        let Some(large) = &mut self.large else { return Ok(()) };
        large.number += 1;
        if let Some(there) = large.there.remove(&large.number)
            && let Some(part) = there.confirm(large.number, body.length(), encode(body.crc32()))
        {
            large.confirmed.push(part);
            return Ok(());
        }
        held.fly();
        let (shared, key, id, number) = (self.shared.clone(), self.key.clone(), large.id.clone(), large.number);
        large.flying.spawn(async move {
            let sent = shared.layers.run(body.length(), |_| shared.send_part(key.as_str(), &id, number, &body)).await;
            drop(held);
            sent
        });
        Ok(())
    }

    /// An upload in parts.
    async fn begin(&self) -> Result<InParts, Error> {
        let heeded = self.shared.large().await?;
        let (flying, confirmed) = (JoinSet::new(), Vec::new());
        if let Some(Resumed { id, parts: there }) = self.shared.take_unfinished(self.key.as_str(), heeded).await {
            // Under whose id the earlier run began it, the store only tells of finished objects.
            return Ok(InParts { id: id.into(), there, writer: None, heeded, number: 0, flying, confirmed });
        }
        let mark = Mark::new(0, 0);
        let begun =
            self.shared.layers.run(0, |_| self.shared.begin_large(self.key.as_str(), &mark, heeded.has_full_sum));
        let id = begun.await.map_err(|failure| self.error(failure))?.into();
        Ok(InParts { id, there: BTreeMap::new(), writer: mark.writer, heeded, number: 0, flying, confirmed })
    }

    /// Ends an upload in parts that was not put together.
    async fn end(&mut self) {
        if let Some(mut large) = self.large.take() {
            // A part that arrives later than the end of its upload would stay, and cost.
            large.flying.shutdown().await;
            self.shared.give_up(self.key.as_str(), &large.id).await;
        }
    }

    /// Waits until no more than `left` parts are on their way.
    async fn land(&mut self, left: usize) -> Result<(), Error> {
        let Some(large) = &mut self.large else { return Ok(()) };
        while large.flying.len() > left {
            let landed = match large.flying.join_next().await {
                Some(Ok(landed)) => landed,
                Some(Err(panic)) => Err(Failure::new(Kind::Refused, panic.to_string())),
                None => break,
            };
            match landed {
                Ok(part) => large.confirmed.push(part),
                Err(failure) => return Err(self.error(failure)),
            }
        }
        Ok(())
    }

    /// Puts the parts together.
    async fn complete(&mut self) -> Result<Stored, Error> {
        if self.large.is_some() && self.filling.length > 0 {
            self.send().await?;
        }
        self.land(0).await?;
        let shared = self.shared.clone();
        let Some(InParts { id, writer, heeded, mut confirmed, .. }) = self.large.take() else {
            let (whole, mut held) = self.take_filling();
            held.fly();
            return shared.create(&self.key, whole).await;
        };
        confirmed.sort_by_key(CompletedPart::part_number);
        let crc32 = std::mem::take(&mut self.crc32).finalize();
        let mark = Mark { writer, length: self.length, crc32 };
        let key = self.key.as_str();
        let _alone = if heeded.is_conditional { None } else { Some(shared.locks.lock(key).await) };
        // Some servers copy the parts together, which takes as long as the object is.
        let created = shared
            .layers
            .run(mark.length, |attempt| {
                let (shared, mark, id, parts) = (&shared, &mark, &id, confirmed.clone());
                async move {
                    if !heeded.is_conditional
                        && let Some(created) = shared.whose(key, mark).await?
                    {
                        return Ok(created);
                    }
                    let put_together = shared.put_together(key, id, parts, mark, heeded).await;
                    match put_together.map_err(|failure| (failure.kind, failure)) {
                        Ok(()) => Ok(Created::New),
                        Err((Kind::Precondition, _)) => shared.refused(key, mark, attempt).await,
                        // Done already, by an attempt whose answer was lost.
                        Err((Kind::NoUpload, failure)) if attempt > 1 => shared.whose(key, mark).await?.ok_or(failure),
                        Err((_, failure)) => Err(failure),
                    }
                }
            })
            .await;
        match created {
            Ok(Created::New) => Ok(Stored::new(self.key.clone(), mark.length)),
            Ok(Created::Taken) => {
                shared.give_up(key, &id).await;
                Err(Error::AlreadyExists { key: self.key.clone() })
            }
            Err(failure) => {
                // If it was done after all, there is nothing left to give up, and the object stays.
                shared.give_up(key, &id).await;
                Err(self.error(shared.clear_altered(key, failure).await))
            }
        }
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            // A full part goes only when more comes: an object of exactly one part is one PUT.
            if self.filling.length >= self.part_bytes() {
                self.send().await?;
            }
            let size = self.part_bytes();
            let room = usize::try_from(size - self.filling.length).unwrap_or(usize::MAX);
            let taken = bytes.split_to(room.min(bytes.len()));
            let length = taken.len() as u64;
            if size <= PART_BYTES || self.source.is_none() {
                self.filling.held.grow(length).await;
                self.filling.pieces.push(taken.clone());
            }
            self.filling.length += length;
            self.filling.crc32.update(&taken);
        }
        Ok(())
    }

    fn reread_from(&mut self, source: Arc<dyn Reread>) {
        self.source = Some(source);
    }

    async fn seal(&mut self) -> Result<(), Error> {
        // A small object cannot be sent before its time, but it can be the only part of one.
        let is_worth_it = self.large.is_some() || self.shared.budget.is_tight();
        if is_worth_it && !self.filling.pieces.is_empty() {
            self.send().await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Stored, Error> {
        let completed = self.complete().await;
        self.end().await;
        completed
    }

    async fn abort(mut self: Box<Self>) {
        self.end().await;
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        if let Some(mut large) = self.large.take() {
            let (shared, key) = (self.shared.clone(), self.key.clone());
            self.shared.runtime.spawn(async move {
                large.flying.shutdown().await;
                shared.give_up(key.as_str(), &large.id).await;
            });
        }
    }
}

impl Shared {
    /// One CreateMultipartUpload.
    pub async fn begin_large(&self, key: &str, mark: &Mark, has_full_sum: bool) -> Result<String, Failure> {
        let mut request = self
            .client()
            .create_multipart_upload()
            .bucket(self.bucket())
            .key(self.full(key))
            .set_metadata(mark.metadata())
            .keep(self.keeping(key))
            .unlock(self);
        if has_full_sum {
            request = request.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_type(ChecksumType::FullObject);
        }
        let begun = request.send().await.map_err(Failure::from_sdk)?;
        begun.upload_id.ok_or_else(|| Failure::new(Kind::Refused, "the store began an upload and gave it no id"))
    }

    /// One UploadPart.
    pub async fn send_part(&self, key: &str, id: &str, number: i32, body: &Payload) -> Result<CompletedPart, Failure> {
        let crc32 = body.crc32();
        let sent = self
            .client()
            .upload_part()
            .bucket(self.bucket())
            .key(self.full(key))
            .upload_id(id)
            .part_number(number)
            .body(body.body(self.layers.throttle.as_ref()))
            .content_length(i64::try_from(body.length()).unwrap_or(i64::MAX))
            .checksum_crc32(encode(crc32))
            .unlock(self)
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| body.blame(Failure::from_sdk(error)))?;
        check_sum(sent.checksum_crc32(), None, crc32)?;
        let e_tag =
            sent.e_tag.ok_or_else(|| Failure::new(Kind::Refused, "the store took a part and gave it no ETag"))?;
        Ok(CompletedPart::builder().part_number(number).e_tag(e_tag).checksum_crc32(encode(crc32)).build())
    }

    /// One CompleteMultipartUpload.
    pub async fn put_together(
        &self,
        key: &str,
        id: &str,
        parts: Vec<CompletedPart>,
        mark: &Mark,
        heeded: Large,
    ) -> Result<(), Failure> {
        let mut request = self
            .client()
            .complete_multipart_upload()
            .bucket(self.bucket())
            .key(self.full(key))
            .upload_id(id)
            .set_if_none_match(heeded.is_conditional.then(|| "*".to_owned()))
            .unlock(self);
        let mut parts = parts;
        if heeded.has_full_sum {
            request = request.checksum_type(ChecksumType::FullObject).checksum_crc32(encode(mark.crc32));
        } else {
            // A store that was told of no sums wants to hear of none now.
            parts.iter_mut().for_each(|part| part.checksum_crc32 = None);
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let done = request.multipart_upload(parts).send().await.map_err(Failure::from_sdk)?;
        let kind = done.checksum_type().cloned();
        if heeded.has_full_sum { check_sum(done.checksum_crc32(), kind.as_ref(), mark.crc32) } else { Ok(()) }
    }

    /// Ends an upload without an object. What cannot be removed is named in the log: it costs until somebody does.
    pub async fn give_up(&self, key: &str, id: &str) {
        let given_up = self
            .layers
            .clear_up(|_| async {
                let request = self.client().abort_multipart_upload().bucket(self.bucket()).key(self.full(key));
                request.upload_id(id).send().await.map_err(Failure::from_sdk)
            })
            .await;
        match given_up {
            Ok(_) => {}
            Err(failure) if matches!(failure.kind, Kind::NoUpload | Kind::NotFound) => {}
            Err(failure) => {
                let error = self.error_at(Action::Abort, self.place(key), failure);
                tracing::warn!("{error}; its parts stay until a lifecycle rule of the bucket removes them");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_are_enough() {
        const MIB: u64 = 1 << 20;
        assert_eq!(part_bytes(Some(1), 0, 0), 8 * MIB);
        assert_eq!(part_bytes(Some(80 << 30), 0, 0), 9 * MIB);
        assert_eq!(part_bytes(Some(500_000_000_000), 0, 9_999), 48 * MIB);
        assert_eq!(part_bytes(Some(u64::MAX), 0, 0), 525 * MIB);
        for hint in [1, PART_BYTES, 100 << 30, 500_000_000_000, 5 << 40] {
            let part = part_bytes(Some(hint), 0, 0);
            assert!(hint.div_ceil(part) <= PARTS_MAX, "{hint}");
        }
        // Unhinted, or beyond the hint.
        let unhinted: u64 = (0..PARTS_MAX).map(|number| part_bytes(None, 0, number)).sum();
        assert!(unhinted > 2 << 40, "{unhinted}");
        assert_eq!(part_bytes(Some(10), 10, 0), 8 * MIB);
        assert_eq!(part_bytes(None, 0, 1_249), 8 * MIB);
        assert_eq!(part_bytes(None, 0, 1_250), 16 * MIB);
    }
}
