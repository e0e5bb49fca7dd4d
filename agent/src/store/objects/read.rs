//! Reading: one GET, taken up again where it broke.
//!
//! The first answer fixes the object (its ETag) and what is to come (its length). A body that breaks off, stalls or ends
//! early is asked for again from the offset reached, with `If-Match`, so bytes of two objects never mix. A whole object
//! is also held against the checksum that Google tells of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::stream;
use object_store::{GetOptions, GetRange, GetResult};

use super::create::Sum;
use super::failure::failure;
use super::wire::Told;
use super::{Action, BoxStream, ByteStream, Bytes, Error, Failure, Kind, ObjectKey, Shared, Span};
use crate::store::s3::layers;
use crate::store::{StreamExt, TryStreamExt};

/// What the network brings is handed on in pieces of about this size: each costs its receiver a wake-up.
const PIECE_BYTES: usize = 256 << 10;
/// A body that brings nothing for so long has broken off.
const STALL: Duration = Duration::from_secs(30);

type Body = BoxStream<'static, object_store::Result<Bytes>>;

/// A body on its way.
struct Reading {
    shared: Arc<Shared>,
    key: ObjectKey,
    body: Option<Body>,
    e_tag: Option<String>,
    /// Where the next byte lies.
    offset: u64,
    end: u64,
    /// Failures since the last byte.
    failures: u32,
    /// Of a whole object whose sum the service tells: of what came so far, and the one told.
    sum: Option<(Sum, u32)>,
}

/// Bytes of an object.
pub async fn read(shared: Arc<Shared>, key: ObjectKey, span: Span) -> Result<ByteStream, Error> {
    let range = match &span {
        Span::Whole => None,
        // No range of HTTP is empty, and these exist nowhere: the object's length says what is wrong with them.
        Span::Range(range) if range.start >= range.end || range.end > i64::MAX as u64 => {
            shared.length(&key, &span).await?;
            return Ok(stream::empty().boxed());
        }
        Span::Range(range) => Some((range.start, range.end)),
    };
    let answer = match shared.layers.run(0, |_| shared.get(key.as_str(), range, None, false)).await {
        Ok(answer) => answer,
        // Azurite answers a range behind the end with an impossible one, which the library refuses.
        Err(failure) if range.is_some() && matches!(failure.kind, Kind::Range | Kind::Refused) => {
            shared.length(&key, &span).await?;
            return Err(shared.error(Action::Read, &key, failure));
        }
        Err(failure) => return Err(shared.error(Action::Read, &key, failure)),
    };
    let range = span.within(&key, answer.meta.size)?;
    if answer.range != range {
        let failure = Failure::new(Kind::Refused, "the answer is another range than the one asked for");
        return Err(shared.error(Action::Read, &key, failure));
    }
    let told = answer.extensions.get::<Told>().and_then(|told| told.crc32c);
    let sum = told.filter(|_| span == Span::Whole).map(|crc32c| (Sum::default(), crc32c));
    let e_tag = answer.meta.e_tag.clone();
    let body = Some(answer.into_stream());
    let reading = Reading { shared, key, body, e_tag, offset: range.start, end: range.end, failures: 0, sum };
    Ok(stream::try_unfold(
        reading,
        |mut reading| async move { Ok(reading.next().await?.map(|piece| (piece, reading))) },
    )
    .boxed())
}

impl Reading {
    /// The next piece, unless the run ends before it comes.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let shared = self.shared.clone();
        match shared.layers.unless_stopped(async { Ok(self.next_piece().await) }).await {
            Ok(next) => next,
            Err(failure) => Err(shared.error(Action::Read, &self.key, failure)),
        }
    }

    /// The next piece, however often it takes to get it.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.offset == self.end {
                return self.check_sum().map(|()| None);
            }
            let body = match self.body.take() {
                Some(body) => body,
                // This has its own patience, and is the end of it.
                None => self.resume().await.map_err(|failure| self.shared.error(Action::Read, &self.key, failure))?,
            };
            let (piece, broke) = self.gather(body).await;
            if !piece.is_empty() {
                self.offset += piece.len() as u64;
                self.failures = 0;
                if let Some((sum, _)) = &mut self.sum {
                    sum.add(&piece);
                }
            }
            if let Some(why) = broke {
                self.failures += 1;
                let patience = self.shared.layers.patience();
                if self.failures >= patience.attempts {
                    let text = format!("{} at byte {} ({} attempts)", why, self.offset, self.failures);
                    return Err(self.shared.error(Action::Read, &self.key, Failure::new(Kind::Transient, text)));
                }
                tracing::debug!("{}: broke off at {}: {why}", self.key, self.offset);
                if piece.is_empty() {
                    tokio::time::sleep(layers::pause(patience, self.failures, None)).await;
                }
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Some bytes, and why there are no more.
    async fn gather(&mut self, mut body: Body) -> (Bytes, Option<String>) {
        let left = self.end - self.offset;
        let mut gathered = BytesMut::new();
        let broke = loop {
            let piece = match tokio::time::timeout(STALL, body.try_next()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break Some("the body ended early".to_owned()),
                Ok(Err(error)) => break Some(failure(&error).text),
                Err(_) => break Some(format!("no byte within {} s", STALL.as_secs())),
            };
            if let Some(throttle) = &self.shared.layers.throttle {
                tokio::time::sleep(throttle.book(piece.len())).await;
            }
            let reached = (gathered.len() + piece.len()) as u64;
            if reached > left {
                break Some("the body is longer than it should be".to_owned());
            }
            if gathered.is_empty() && (piece.len() >= PIECE_BYTES || reached == left) {
                self.body = Some(body);
                return (piece, None);
            }
            gathered.extend_from_slice(&piece);
            if reached == left || gathered.len() >= PIECE_BYTES {
                self.body = Some(body);
                break None;
            }
        };
        (gathered.freeze(), broke)
    }

    /// Asks for the rest, of the same object.
    async fn resume(&mut self) -> Result<Body, Failure> {
        let range = (self.offset, self.end);
        let get = |_| self.shared.get(self.key.as_str(), Some(range), self.e_tag.clone(), false);
        let answer = self.shared.layers.run(0, get).await?;
        if answer.range != (self.offset..self.end) {
            return Err(Failure::new(Kind::Refused, "the store sends another range than the one asked for"));
        }
        Ok(answer.into_stream())
    }

    /// At the end of a whole object.
    fn check_sum(&mut self) -> Result<(), Error> {
        match self.sum.take() {
            Some((read, told)) if read.crc32c != told => {
                let text = format!(
                    "the bytes are not those that were stored: CRC-32C expected {told:08x}, got {:08x}",
                    read.crc32c
                );
                Err(self.shared.error(Action::Read, &self.key, Failure::new(Kind::Garbled, text)))
            }
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// One GET, up to the beginning of its body, or one HEAD.
    pub async fn get(
        &self,
        key: &str,
        range: Option<(u64, u64)>,
        if_match: Option<String>,
        head: bool,
    ) -> Result<GetResult, Failure> {
        let range = range.map(|(start, end)| GetRange::Bounded(start..end));
        let options = GetOptions { range, if_match, head, ..GetOptions::default() };
        self.client().get_opts(&self.path(key)?, options).await.map_err(|error| failure(&error))
    }
}
