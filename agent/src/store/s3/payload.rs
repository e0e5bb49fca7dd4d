//! What a request sends: bytes that are held until they are confirmed, or, where that would be too many, bytes that are
//! read again for each attempt.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::failure::{Failure, Kind};
use super::throttle::Throttle;
use crate::store::Reread;

/// What is sent in one go when a rate is set: pauses stay short, and no server takes them for a stall.
const STRIDE_BYTES: usize = 64 << 10;

/// The bytes of a request, and their sum.
#[derive(Debug, Clone)]
pub struct Payload {
    source: Source,
    length: u64,
    crc32: u32,
}

#[derive(Debug, Clone)]
enum Source {
    /// In the pieces in which they came: they are never copied together.
    Held(Arc<Vec<Bytes>>),
    /// To be read again, from this offset on.
    Reread { from: Arc<dyn Reread>, start: u64, broken: Arc<OnceLock<String>> },
}

impl Payload {
    /// Bytes in memory.
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        pieces.iter().for_each(|piece| hasher.update(piece));
        Self::held(pieces, hasher.finalize())
    }

    /// Bytes in memory whose sum is known.
    pub fn held(pieces: Vec<Bytes>, crc32: u32) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { source: Source::Held(Arc::new(pieces)), length, crc32 }
    }

    /// `length` bytes of an object from offset `start` on, which had this sum when they came.
    pub fn reread(from: Arc<dyn Reread>, start: u64, length: u64, crc32: u32) -> Self {
        Self { source: Source::Reread { from, start, broken: Arc::default() }, length, crc32 }
    }

    /// All of them.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// CRC-32 of all.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// A request's body. Each attempt needs its own.
    pub fn body(&self, throttle: Option<&Arc<Throttle>>) -> ByteStream {
        let (rest, more) = match &self.source {
            Source::Held(pieces) => (pieces.iter().cloned().collect(), None),
            Source::Reread { .. } => (VecDeque::new(), Some(self.read_again())),
        };
        let body = PayloadBody { rest, more, left: self.length, throttle: throttle.cloned(), pause: None };
        ByteStream::new(SdkBody::from_body_1_x(body))
    }

    /// The failure of a request that has sent this: if the bytes could not be read again, that is the reason, and
    /// trying again is no use.
    pub fn blame(&self, failure: Failure) -> Failure {
        match &self.source {
            Source::Reread { broken, .. } => match broken.get() {
                Some(why) => Failure::new(Kind::Refused, why),
                None => failure,
            },
            Source::Held(_) => failure,
        }
    }

    /// Reads on another thread, one piece ahead. The last piece only comes if all were the same as the first time:
    /// until then no server can take the request for complete.
    fn read_again(&self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (pieces, receiver) = mpsc::channel(1);
        let Source::Reread { from, start, broken } = self.source.clone() else { return receiver };
        let (range, crc32) = (start..start + self.length, self.crc32);
        tokio::task::spawn_blocking(move || {
            let mut hasher = crc32fast::Hasher::new();
            let mut last: Option<Bytes> = None;
            let read = from.read(range, &mut |piece| {
                hasher.update(&piece);
                last.replace(piece).is_none_or(|before| pieces.blocking_send(Ok(before)).is_ok())
            });
            let whole = read.and_then(|()| match hasher.finalize() == crc32 {
                true => Ok(last.unwrap_or_default()),
                false => Err(io::Error::other("the bytes are others than when they were first read")),
            });
            // Who wants no more (the attempt has failed) has not read to the end, and that is nobody's fault.
            if let Err(error) = &whole
                && !pieces.is_closed()
            {
                let _ = broken.set(format!("reading the file again: {error}"));
            }
            let _ = pieces.blocking_send(whole);
        });
        receiver
    }
}

struct PayloadBody {
    rest: VecDeque<Bytes>,
    more: Option<mpsc::Receiver<io::Result<Bytes>>>,
    left: u64,
    throttle: Option<Arc<Throttle>>,
    /// The next stride is booked, and may go when this is over.
    pause: Option<Pin<Box<Sleep>>>,
}

impl PayloadBody {
    /// Sees to it that the next piece is there, if there is one.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.rest.front().is_some_and(Bytes::is_empty) {
                self.rest.pop_front();
            }
            let Some(more) = self.more.as_mut().filter(|_| self.rest.is_empty()) else { return Poll::Ready(Ok(())) };
            match ready!(more.poll_recv(context)) {
                Some(piece) => self.rest.push_back(piece?),
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        match &self.throttle {
            Some(_) => {
                let piece = self.rest.front_mut()?;
                Some(piece.split_to(piece.len().min(STRIDE_BYTES)))
            }
            None => self.rest.pop_front(),
        }
    }
}

impl Body for PayloadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        ready!(this.poll_piece(context))?;
        if let Some(throttle) = &this.throttle {
            let next = this.rest.front().map_or(0, Bytes::len).min(STRIDE_BYTES);
            let pause = this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(throttle.book(next))));
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        let Some(piece) = this.next() else { return Poll::Ready(None) };
        // More than was announced would be taken for the next request.
        let Some(left) = this.left.checked_sub(piece.len() as u64) else {
            return Poll::Ready(Some(Err(io::Error::other("there are more bytes than before"))));
        };
        this.left = left;
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
    use std::ops::Range;

    use super::*;
    use crate::time::Stopwatch;

    #[tokio::test]
    async fn a_body_is_its_pieces() {
        let payload = Payload::new(vec!["ab".into(), Bytes::new(), "cde".into(), vec![b'x'; 200_000].into()]);
        assert_eq!(payload.length(), 200_005);
        for throttle in [None, Some(Arc::new(Throttle::new(1 << 30)))] {
            let sent = payload.body(throttle.as_ref()).collect().await.expect("no failure").into_bytes();
            assert_eq!(sent.len(), 200_005);
            assert_eq!(&sent[..6], b"abcdex");
            assert_eq!(crc32fast::hash(&sent), payload.crc32());
        }
    }

    #[tokio::test]
    async fn a_rate_is_kept() {
        let throttle = Arc::new(Throttle::new(1 << 20));
        let payload = Payload::new(vec![vec![0; 256 << 10].into()]);
        let watch = Stopwatch::start();
        // Two bodies at a time share the rate: half a MiB in half a second, less the stride that goes at once.
        let (one, two) = tokio::join!(payload.body(Some(&throttle)).collect(), payload.body(Some(&throttle)).collect());
        one.and(two).expect("no failure");
        let seconds = watch.seconds();
        assert!(seconds >= 0.4, "{seconds}");
    }

    /// Bytes that count up, in pieces of ten.
    #[derive(Debug)]
    struct Counting {
        length: u64,
    }

    impl Reread for Counting {
        fn read(&self, range: Range<u64>, take: &mut dyn FnMut(Bytes) -> bool) -> io::Result<()> {
            let bytes: Vec<u8> = (range.start..range.end.min(self.length)).map(|at| at as u8).collect();
            let _ = bytes.chunks(10).all(|piece| take(Bytes::copy_from_slice(piece)));
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_read_again_must_be_the_same() {
        let expected: Vec<u8> = (5..100).collect();
        let check = async |length: u64, crc32: u32| {
            let payload = Payload::reread(Arc::new(Counting { length }), 5, 95, crc32);
            let mut outcomes = Vec::new();
            for throttle in [None, Some(Arc::new(Throttle::new(1 << 30)))] {
                let sent = payload.body(throttle.as_ref()).collect().await.ok().map(|sent| sent.into_bytes());
                assert!(sent.as_ref().is_none_or(|sent| *sent == expected));
                outcomes.push(sent.is_some());
            }
            assert_eq!(outcomes[0], outcomes[1]);
            let blamed = payload.blame(Failure::new(Kind::Transient, "a body that broke off"));
            assert_eq!(blamed.kind, if outcomes[0] { Kind::Transient } else { Kind::Refused }, "{blamed}");
            outcomes[0]
        };
        let crc32 = crc32fast::hash(&expected);
        assert!(check(1000, crc32).await);
        assert!(!check(1000, !crc32).await, "other bytes");
        assert!(!check(50, crc32).await, "a file that was cut");
        // Whoever stops listening does no harm to the next attempt.
        let payload = Payload::reread(Arc::new(Counting { length: 1000 }), 5, 95, crc32);
        drop(payload.body(None));
        assert_eq!(payload.body(None).collect().await.expect("sent").into_bytes(), expected);
    }
}
