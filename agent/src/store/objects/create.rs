//! Small objects: one PUT, and the question whose object is there.

use object_store::{PutMode, PutOptions, PutPayload};

use super::failure::failure;
use super::wire::{Told, WrongSum};
use super::{Action, Bytes, Error, Failure, Kind, ObjectKey, Shared, Span, Stored};
use crate::store::TryStreamExt;
use crate::store::s3::create::Created;

/// What an object should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// In bytes.
    pub length: u64,
    /// Of all bytes.
    pub crc32c: u32,
}

impl Sum {
    /// With these bytes behind the others.
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
    }

    /// Of all pieces.
    pub fn of(pieces: &[Bytes]) -> Self {
        let mut sum = Self::default();
        pieces.iter().for_each(|piece| sum.add(piece));
        sum
    }
}

impl Shared {
    /// Creates a small object.
    pub async fn create(&self, key: &ObjectKey, body: &[Bytes]) -> Result<Stored, Error> {
        let sum = Sum::of(body);
        let payload: PutPayload = body.iter().cloned().collect();
        let created = self
            .layers
            .run(sum.length, |attempt| {
                let payload = payload.clone();
                async move {
                    match self.put(key.as_str(), payload, PutOptions::from(PutMode::Create)).await {
                        Ok(()) => Ok(Created::New),
                        Err(failure) if failure.kind == Kind::Precondition => self.refused(key, sum, attempt).await,
                        Err(failure) => Err(failure),
                    }
                }
            })
            .await;
        match created {
            Ok(Created::New) => Ok(Stored::new(key.clone(), sum.length)),
            Ok(Created::Taken) => Err(Error::AlreadyExists { key: key.clone() }),
            Err(failure) => Err(self.error_at(Action::Write, self.place(key.as_str()), failure)),
        }
    }

    /// One PUT.
    pub async fn put(&self, key: &str, payload: PutPayload, options: PutOptions) -> Result<(), Failure> {
        let put = self.client().put_opts(&self.path(key)?, payload, options).await;
        put.map(drop).map_err(|error| failure(&error))
    }

    /// One PUT that overwrites, with a checksum of other bytes: no service may take it.
    pub async fn put_with_wrong_sum(&self, key: &str, payload: PutPayload) -> Result<(), Failure> {
        let mut options = PutOptions::default();
        options.extensions.insert(WrongSum);
        self.put(key, payload, options).await
    }

    /// Something is there: after a lost attempt it may be our own object.
    pub async fn refused(&self, key: &ObjectKey, sum: Sum, attempt: u32) -> Result<Created, Failure> {
        if attempt == 1 {
            return Ok(Created::Taken);
        }
        let gone = || Failure::new(Kind::Conflict, "the object was there, and is not any more");
        self.whose(key, sum).await?.ok_or_else(gone)
    }

    /// What lies under `key`, if something does: the same bytes are as good as ours.
    pub async fn whose(&self, key: &ObjectKey, sum: Sum) -> Result<Option<Created>, Failure> {
        let Some((length, told)) = self.look(key.as_str()).await? else { return Ok(None) };
        if length != sum.length {
            return Ok(Some(Created::Taken));
        }
        let crc32c = match told.crc32c {
            Some(crc32c) => crc32c,
            None => match self.read_sum(key).await? {
                Some(read) => read.crc32c,
                None => return Ok(None),
            },
        };
        Ok(Some(if crc32c == sum.crc32c { Created::New } else { Created::Taken }))
    }

    /// One HEAD: length and checksum of an object that is there.
    pub async fn look(&self, key: &str) -> Result<Option<(u64, Told)>, Failure> {
        match self.get(key, None, None, true).await {
            Ok(found) => {
                let told = found.extensions.get::<Told>().copied().unwrap_or(Told { crc32c: None });
                Ok(Some((found.meta.size, told)))
            }
            Err(failure) if failure.kind == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The sum of what lies under `key`, read for it.
    async fn read_sum(&self, key: &ObjectKey) -> Result<Option<Sum>, Failure> {
        let mut body = match self.get(key.as_str(), None, None, false).await {
            Ok(found) => found.into_stream(),
            Err(failure) if failure.kind == Kind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let mut sum = Sum::default();
        while let Some(piece) = body.try_next().await.map_err(|error| failure(&error))? {
            sum.add(&piece);
        }
        Ok(Some(sum))
    }

    /// The object's length, if the span lies within.
    pub async fn length(&self, key: &ObjectKey, span: &Span) -> Result<u64, Error> {
        let found = self.layers.run(0, |_| self.look(key.as_str())).await;
        let found = found.map_err(|failure| self.error(Action::Look, key, failure))?;
        let (length, _) = found.ok_or_else(|| Error::NotFound { key: key.clone() })?;
        span.within(key, length).map(|_| length)
    }
}
