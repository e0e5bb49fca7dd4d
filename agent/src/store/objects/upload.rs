//! Large objects: parts, as they come, few at a time.
//!
//! Bytes are held until their part is confirmed, in the pieces in which they came, and sent again from there. What does
//! not fill one part is one PUT. Sizes of parts are those of S3; Google has the same limits, Azure has wider ones.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::PutMultipartOptions;
use object_store::PutPayload;
use object_store::multipart::PartId;
use tokio::task::JoinSet;

use super::create::Sum;
use super::failure::failure;
use super::settings::Service;
use super::{Action, Bytes, Error, Failure, Kind, ObjectKey, Shared, Stored, Upload};
use crate::store::s3::budget::Held;
use crate::store::s3::create::Created;
use crate::store::s3::upload::{FLYING_MAX, part_bytes};

/// An object that is being written.
pub struct ObjectUpload {
    shared: Arc<Shared>,
    key: ObjectKey,
    hint: Option<u64>,
    /// Of what came so far.
    sum: Sum,
    filling: Vec<Bytes>,
    filling_bytes: u64,
    held: Held,
    large: Option<InParts>,
}

/// From the first full part on.
struct InParts {
    id: Arc<String>,
    /// Parts that were begun.
    number: usize,
    flying: JoinSet<Result<(usize, PartId), Failure>>,
    confirmed: Vec<(usize, PartId)>,
}

impl ObjectUpload {
    /// Nothing is sent before a part is full.
    pub fn new(shared: Arc<Shared>, key: ObjectKey, hint: Option<u64>) -> Self {
        let held = shared.budget.part();
        Self { shared, key, hint, sum: Sum::default(), filling: Vec::new(), filling_bytes: 0, held, large: None }
    }

    fn error(&self, failure: Failure) -> Error {
        self.shared.error_at(Action::WriteLarge, self.shared.place(self.key.as_str()), failure)
    }

    fn room(&self) -> u64 {
        let number = self.large.as_ref().map_or(0, |large| large.number as u64);
        // The hint counts as long as no more than it has gone into parts.
        part_bytes(self.hint, self.sum.length - self.filling_bytes, number).saturating_sub(self.filling_bytes)
    }

    /// Sends what has gathered as the next part.
    async fn send(&mut self) -> Result<(), Error> {
        if self.large.is_none() {
            let begun = self.shared.layers.run(0, |_| self.shared.begin_large(self.key.as_str())).await;
            let id = Arc::new(begun.map_err(|failure| self.error(failure))?);
            self.large = Some(InParts { id, number: 0, flying: JoinSet::new(), confirmed: Vec::new() });
        }
        self.land(FLYING_MAX - 1).await?;
        let Some(large) = &mut self.large else { return Ok(()) };
        let index = large.number;
        large.number += 1;
        let length = std::mem::take(&mut self.filling_bytes);
        let payload: PutPayload = std::mem::take(&mut self.filling).into_iter().collect();
        let mut held = std::mem::replace(&mut self.held, self.shared.budget.part());
        held.fly();
        let (shared, key, id) = (self.shared.clone(), self.key.clone(), large.id.clone());
        large.flying.spawn(async move {
            let send = |_| shared.send_part(key.as_str(), &id, index, payload.clone());
            let sent = shared.layers.run(length, send).await;
            drop(held);
            Ok((index, sent?))
        });
        Ok(())
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
        if self.large.is_some() && self.filling_bytes > 0 {
            self.send().await?;
        }
        self.land(0).await?;
        let Some(large) = &mut self.large else {
            return self.shared.create(&self.key, &std::mem::take(&mut self.filling)).await;
        };
        large.confirmed.sort_unstable_by_key(|(index, _)| *index);
        let parts: Vec<PartId> = large.confirmed.drain(..).map(|(_, part)| part).collect();
        let (shared, key, id, sum) = (&self.shared, &self.key, &large.id, self.sum);
        let is_conditional = shared.settings.service == Service::Azure;
        let _alone = if is_conditional { None } else { Some(shared.locks.lock(key.as_str()).await) };
        let put_together = |attempt| {
            let parts = parts.clone();
            async move {
                if !is_conditional && shared.look(key.as_str()).await?.is_some() {
                    return shared.refused(key, sum, attempt).await;
                }
                let done = shared.put_together(key.as_str(), id, parts).await;
                match done.map_err(|failure| (failure.kind, failure)) {
                    Ok(()) => Ok(Created::New),
                    Err((Kind::Precondition, _)) => shared.refused(key, sum, attempt).await,
                    // An attempt whose answer was lost has used them up, or another writer's object did.
                    Err((Kind::NoUpload, failure)) => match shared.look(key.as_str()).await? {
                        Some(_) => shared.refused(key, sum, attempt).await,
                        None => Err(failure),
                    },
                    Err((_, failure)) => Err(failure),
                }
            }
        };
        let created = shared.layers.run(sum.length, put_together).await;
        match created.map_err(|failure| self.error(failure))? {
            Created::Taken => Err(Error::AlreadyExists { key: self.key.clone() }),
            Created::New => {
                // Complete: nothing is left to give up.
                self.large = None;
                self.check().await?;
                Ok(Stored::new(self.key.clone(), sum.length))
            }
        }
    }

    /// Each part was checked when it arrived; this is about the whole.
    async fn check(&self) -> Result<(), Error> {
        let found = self.shared.layers.run(0, |_| self.shared.look(self.key.as_str())).await;
        let found = found.map_err(|failure| self.error(failure))?;
        let (length, told) = found.ok_or_else(|| {
            self.error(Failure::new(Kind::Refused, "the store says that it is done, and then that there is no object"))
        })?;
        let Sum { length: sent, crc32c } = self.sum;
        if length == sent && told.crc32c.is_none_or(|told| told == crc32c) {
            return Ok(());
        }
        let text = format!(
            "the store holds other bytes: expected {sent} with CRC-32C {crc32c:08x}, got {length}{}",
            told.crc32c.map_or(String::new(), |told| format!(" with {told:08x}"))
        );
        Err(self.error(self.shared.clear_altered(&self.key, Failure::new(Kind::Altered, text)).await))
    }

    /// Ends an upload in parts that was not put together.
    async fn end(&mut self) {
        if let Some(large) = self.large.take() {
            give_up(&self.shared, &self.key, large).await;
        }
    }
}

async fn give_up(shared: &Shared, key: &ObjectKey, mut large: InParts) {
    // A part that arrives later than the end of its upload would stay, and cost.
    large.flying.shutdown().await;
    shared.give_up(key.as_str(), &large.id).await;
}

#[async_trait]
impl Upload for ObjectUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            // A full part goes only when more comes: an object of exactly one part is one PUT.
            let mut room = self.room();
            if room == 0 {
                self.send().await?;
                room = self.room();
            }
            let taken = bytes.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            let length = taken.len() as u64;
            self.held.grow(length).await;
            self.sum.add(&taken);
            self.filling_bytes += length;
            self.filling.push(taken);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Stored, Error> {
        self.held.fly();
        let completed = self.complete().await;
        self.end().await;
        completed
    }

    async fn abort(mut self: Box<Self>) {
        self.end().await;
    }
}

impl Drop for ObjectUpload {
    fn drop(&mut self) {
        if let Some(large) = self.large.take() {
            let (shared, key) = (self.shared.clone(), self.key.clone());
            self.shared.runtime.spawn(async move { give_up(&shared, &key, large).await });
        }
    }
}

impl Shared {
    /// The id of a new upload in parts. Azure needs none: parts belong to the name.
    async fn begin_large(&self, key: &str) -> Result<String, Failure> {
        let begun = self.client().create_multipart_opts(&self.path(key)?, PutMultipartOptions::default()).await;
        begun.map_err(|error| failure(&error))
    }

    async fn send_part(&self, key: &str, id: &String, index: usize, payload: PutPayload) -> Result<PartId, Failure> {
        self.client().put_part(&self.path(key)?, id, index, payload).await.map_err(|error| failure(&error))
    }

    async fn put_together(&self, key: &str, id: &String, parts: Vec<PartId>) -> Result<(), Failure> {
        let done = self.client().complete_multipart(&self.path(key)?, id, parts).await;
        done.map(drop).map_err(|error| failure(&error))
    }

    /// Ends an upload without an object. Azure forgets parts that nobody put together after a week.
    async fn give_up(&self, key: &str, id: &String) {
        let given_up = self
            .layers
            .clear_up(|_| async {
                let given_up = self.client().abort_multipart(&self.path(key)?, id).await;
                given_up.map_err(|error| failure(&error))
            })
            .await;
        match given_up {
            Ok(()) => {}
            Err(failure) if matches!(failure.kind, Kind::NoUpload | Kind::NotFound) => {}
            Err(failure) => {
                let error = self.error_at(Action::Abort, self.place(key), failure);
                tracing::warn!("{error}; its parts stay until a lifecycle rule of the bucket removes them");
            }
        }
    }
}
