//! The innermost layer: bytes per second, and bodies that keep to it.
//!
//! The line is thought of as busy until some moment; who wants to send books the next free stretch and waits for it.
//! A retried request books again, so retried bytes are throttled too.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::time::Stopwatch;

/// What is sent in one go when a rate is set: pauses stay short, and no server takes them for a stall.
const STRIDE_BYTES: usize = 64 << 10;

/// A rate that all requests of a store share.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    watch: Stopwatch,
    /// Seconds on the watch at which the line is free.
    free_at: Mutex<f64>,
}

impl Throttle {
    /// A free line.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), watch: Stopwatch::start(), free_at: Mutex::new(0.0) }
    }

    /// Books the line for so many bytes; how long to wait until they may go.
    pub fn book(&self, bytes: usize) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.watch.seconds();
        let start = free_at.max(now);
        #[expect(clippy::cast_precision_loss, reason = "a duration")]
        let taken = bytes as f64 / self.bytes_per_second as f64;
        *free_at = start + taken;
        Duration::try_from_secs_f64(start - now).unwrap_or_default()
    }

    /// How long so many bytes take when `others` use the line as well.
    pub fn duration(&self, bytes: u64, others: usize) -> Duration {
        Duration::from_secs(bytes.saturating_mul(others.max(1) as u64) / self.bytes_per_second)
    }
}

/// Bytes to send, in the pieces in which they came: they are never copied together.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    pieces: Arc<Vec<Bytes>>,
    length: u64,
}

impl Pieces {
    /// In this order.
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: Arc::new(pieces), length }
    }

    /// All of them.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// CRC-32 of all.
    pub fn crc32(&self) -> crc32fast::Hasher {
        let mut hasher = crc32fast::Hasher::new();
        self.pieces.iter().for_each(|piece| hasher.update(piece));
        hasher
    }

    /// A request's body. Each attempt needs its own.
    pub fn body(&self, throttle: Option<&Arc<Throttle>>) -> ByteStream {
        let body = PiecesBody {
            rest: self.pieces.iter().cloned().collect::<std::collections::VecDeque<_>>(),
            left: self.length,
            throttle: throttle.cloned(),
            pause: None,
        };
        ByteStream::new(SdkBody::from_body_1_x(body))
    }
}

struct PiecesBody {
    rest: std::collections::VecDeque<Bytes>,
    left: u64,
    throttle: Option<Arc<Throttle>>,
    /// The next stride is booked, and may go when this is over.
    pause: Option<Pin<Box<Sleep>>>,
}

impl PiecesBody {
    fn next(&mut self) -> Option<Bytes> {
        while self.rest.front().is_some_and(Bytes::is_empty) {
            self.rest.pop_front();
        }
        match &self.throttle {
            Some(_) => {
                let piece = self.rest.front_mut()?;
                Some(piece.split_to(piece.len().min(STRIDE_BYTES)))
            }
            None => self.rest.pop_front(),
        }
    }
}

impl Body for PiecesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(throttle) = &this.throttle {
            if this.pause.is_none() {
                let next = this.rest.iter().find(|piece| !piece.is_empty()).map_or(0, Bytes::len);
                let wait = throttle.book(next.min(STRIDE_BYTES));
                this.pause = Some(Box::pin(tokio::time::sleep(wait)));
            }
            if let Some(pause) = &mut this.pause {
                std::task::ready!(pause.as_mut().poll(context));
            }
            this.pause = None;
        }
        let Some(piece) = this.next() else { return Poll::Ready(None) };
        this.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_its_pieces() {
        let pieces = Pieces::new(vec!["ab".into(), Bytes::new(), "cde".into(), vec![b'x'; 200_000].into()]);
        assert_eq!(pieces.length(), 200_005);
        for throttle in [None, Some(Arc::new(Throttle::new(1 << 30)))] {
            let sent = pieces.body(throttle.as_ref()).collect().await.expect("no failure").into_bytes();
            assert_eq!(sent.len(), 200_005);
            assert_eq!(&sent[..6], b"abcdex");
            assert_eq!(crc32fast::hash(&sent), pieces.crc32().finalize());
        }
    }

    #[tokio::test]
    async fn a_rate_is_kept() {
        let throttle = Arc::new(Throttle::new(1 << 20));
        let pieces = Pieces::new(vec![vec![0; 256 << 10].into()]);
        let watch = Stopwatch::start();
        // Two bodies at a time share the rate: half a MiB in half a second, less the stride that goes at once.
        let (one, two) = tokio::join!(pieces.body(Some(&throttle)).collect(), pieces.body(Some(&throttle)).collect());
        one.and(two).expect("no failure");
        let seconds = watch.seconds();
        assert!(seconds >= 0.4, "{seconds}");
    }
}
