//! Reading: one GET, taken up again where it broke.
//!
//! The first answer fixes the object (its ETag) and what is to come (its length). A body that breaks off, stalls or
//! ends early is asked for again from the offset reached, with `If-Match`, so bytes of two objects never mix. A whole
//! object is also held against the checksum that the store keeps of it.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream as Body;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use bytes::BytesMut;
use futures::{StreamExt, stream};

use super::create::encode;
use super::failure::{Action, Failure, Kind, chain};
use super::keeping::Unlock;
use super::{ByteStream, Bytes, Error, ObjectKey, Shared, Span, layers};

/// What the network brings is handed on in pieces of about this size: each costs its receiver a wake-up.
const PIECE_BYTES: usize = 256 << 10;
/// A body that brings nothing for so long has broken off.
const STALL: Duration = Duration::from_secs(30);

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
    /// Of a whole object whose sum the store tells.
    sum: Option<(crc32fast::Hasher, String)>,
}

/// Bytes of an object.
pub async fn read(shared: Arc<Shared>, key: ObjectKey, span: Span) -> Result<ByteStream, Error> {
    let range = match &span {
        Span::Whole => None,
        // No range of HTTP is empty, and these exist nowhere: the object's length says what is wrong with them.
        Span::Range(range) if range.start >= range.end || range.end > i64::MAX as u64 => {
            let length = shared.length(&key).await?;
            span.within(&key, length)?;
            return Ok(stream::empty().boxed());
        }
        Span::Range(range) => Some(range.clone()),
    };
    let start = range.as_ref().map_or(0, |range| range.start);
    let asked = range.as_ref().map(|range| (range.start, range.end));
    let answer = shared.layers.run(0, |_| shared.get(key.as_str(), asked, None)).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) if failure.kind == Kind::Range => {
            let length = match failure.length {
                Some(length) => length,
                None => shared.length(&key).await?,
            };
            let wanted = range.map_or(0, |range| range.end);
            return Err(Error::Truncated { key, wanted, length });
        }
        Err(failure) => return Err(shared.error(Action::Read, &key, failure)),
    };
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let unclear = |what: &str| {
        let failure = Failure::new(Kind::Refused, format!("the answer {what}"));
        shared.error(Action::Read, &key, failure)
    };
    let length = length.ok_or_else(|| unclear("names no length"))?;
    let mut sum = None;
    let end = match &range {
        None => {
            let told = answer.checksum_crc32().filter(|told| !told.contains('-'));
            sum = told
                .filter(|_| answer.checksum_type() != Some(&ChecksumType::Composite))
                .map(|told| (crc32fast::Hasher::new(), told.to_owned()));
            length
        }
        Some(range) => {
            let total = answer.content_range().and_then(total).ok_or_else(|| unclear("is no range of the object"))?;
            span.within(&key, total)?;
            if length != range.end - range.start {
                return Err(unclear("is another range than the one asked for"));
            }
            range.end
        }
    };
    let e_tag = answer.e_tag;
    let reading = Reading { shared, key, body: Some(answer.body), e_tag, offset: start, end, failures: 0, sum };
    Ok(stream::try_unfold(
        reading,
        |mut reading| async move { Ok(reading.next().await?.map(|piece| (piece, reading))) },
    )
    .boxed())
}

/// The object's length: `bytes 0-9/1000`.
fn total(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
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
                if let Some((hasher, _)) = &mut self.sum {
                    hasher.update(&piece);
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
                Ok(Err(error)) => break Some(chain(&error)),
                Err(_) => break Some(format!("no byte within {} s", STALL.as_secs())),
            };
            if let Some(throttle) = &self.shared.layers.throttle {
                tokio::time::sleep(throttle.book(piece.len())).await;
            }
            if (gathered.len() + piece.len()) as u64 > left {
                break Some("the body is longer than it should be".to_owned());
            }
            let is_all = (gathered.len() + piece.len()) as u64 == left;
            if gathered.is_empty() && (piece.len() >= PIECE_BYTES || is_all) {
                self.body = Some(body);
                return (piece, None);
            }
            gathered.extend_from_slice(&piece);
            if is_all || gathered.len() >= PIECE_BYTES {
                self.body = Some(body);
                break None;
            }
        };
        (gathered.freeze(), broke)
    }

    /// Asks for the rest, of the same object.
    async fn resume(&self) -> Result<Body, Failure> {
        let range = Some((self.offset, self.end));
        let answer =
            self.shared.layers.run(0, |_| self.shared.get(self.key.as_str(), range, self.e_tag.clone())).await?;
        if answer.content_length().and_then(|length| u64::try_from(length).ok()) != Some(self.end - self.offset) {
            return Err(Failure::new(Kind::Refused, "the store sends another range than the one asked for"));
        }
        Ok(answer.body)
    }

    /// At the end of a whole object.
    fn check_sum(&mut self) -> Result<(), Error> {
        let Some((hasher, told)) = self.sum.take() else { return Ok(()) };
        let read = encode(hasher.finalize());
        if read == told {
            return Ok(());
        }
        let text = format!("the bytes are not those that were stored: CRC-32 expected {told}, got {read}");
        Err(self.shared.error(Action::Read, &self.key, Failure::new(Kind::Garbled, text)))
    }
}

impl Shared {
    /// One GET, up to the beginning of its body.
    pub async fn get(
        &self,
        key: &str,
        range: Option<(u64, u64)>,
        e_tag: Option<String>,
    ) -> Result<GetObjectOutput, Failure> {
        let request = self
            .client()
            .get_object()
            .bucket(self.bucket())
            .key(self.full(key))
            .set_range(range.map(|(start, end)| format!("bytes={start}-{}", end.saturating_sub(1))))
            .set_checksum_mode(range.is_none().then_some(ChecksumMode::Enabled))
            .set_if_match(e_tag)
            .unlock(self);
        request.send().await.map_err(Failure::from_sdk)
    }

    /// One HEAD, unless it is refused.
    pub async fn head(&self, key: &str) -> Result<HeadObjectOutput, Failure> {
        let request = self
            .client()
            .head_object()
            .bucket(self.bucket())
            .key(self.full(key))
            .checksum_mode(ChecksumMode::Enabled)
            .unlock(self);
        match request.send().await.map_err(Failure::from_sdk) {
            // What is wrong is said to a GET.
            Err(mute) if mute.is_mute && matches!(mute.kind, Kind::Refused | Kind::Denied) => {
                match self.get(key, Some((0, 1)), None).await {
                    Err(failure) if failure.kind != Kind::Range => Err(failure),
                    _ => Err(mute),
                }
            }
            answer => answer,
        }
    }

    async fn length(&self, key: &ObjectKey) -> Result<u64, Error> {
        let found = self.layers.run(0, |_| self.head(key.as_str())).await;
        let found = found.map_err(|failure| self.error(Action::Look, key, failure))?;
        let length = found.content_length().and_then(|length| u64::try_from(length).ok());
        let unknown = || self.error(Action::Look, key, Failure::new(Kind::Refused, "the store names no length"));
        length.ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_name_the_length() {
        assert_eq!(total("bytes 0-9/1000"), Some(1000));
        assert_eq!(total("bytes */10"), Some(10));
        assert_eq!(total("bytes 0-9/*"), None);
        assert_eq!(total(""), None);
    }
}
