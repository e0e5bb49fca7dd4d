//! An S3 server in this process: real HTTP on the loopback address, real signatures, a bucket in memory, and faults.
//!
//! **What may go wrong.** Each request may be answered as the script says, by its number and kind: refused before it is
//! done (`Busy`, `Conflict`, `Garbled`, `Refused`), lost on the way there (`LostRequest`) or back (`LostAnswer`), done
//! and then denied to have been done (`ErrorAfter`), or answered with a body that breaks off (`Cut`) or was changed
//! (`Flipped`), or never answered (`Silence`). What the bucket itself does not do as Amazon does is in [`Oddities`].
//!
//! Not modelled: two servers that disagree, bytes that rot in the bucket (tests change them there), slowness.

mod bucket;
#[cfg(feature = "objects")]
pub mod google;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use helenus::store::s3::{Keys, Patience, Settings};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use bucket::{BUCKET, Bucket, Object, Oddities, crc32};

/// The only access key that the server knows.
pub const KEY_ID: &str = "TESTKEY";
/// Its secret.
pub const SECRET: &str = "testsecret";

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// PutObject.
    Put,
    /// UploadPart.
    Part,
    /// CreateMultipartUpload.
    Begin,
    /// CompleteMultipartUpload.
    Complete,
    /// AbortMultipartUpload.
    Abort,
    /// GetObject.
    Get,
    /// HeadObject.
    Head,
    /// ListObjectsV2.
    List,
    /// ListMultipartUploads.
    ListUploads,
    /// ListParts.
    ListParts,
    /// DeleteObjects.
    Delete,
    /// Anything about the bucket.
    Bucket,
}

/// One request, as the script sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it asks for.
    pub ask: Ask,
    /// The key, without the bucket.
    pub key: String,
    /// What follows the path in its URL.
    pub query: String,
    /// How many requests came before it.
    pub number: usize,
    /// Length of its body.
    pub length: u64,
}

impl Seen {
    /// True for the client's own trial of what the server heeds.
    pub fn is_probe(&self) -> bool {
        self.key.contains(".helenus-tmp/")
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 503 SlowDown, not done; perhaps with Retry-After.
    Busy(Option<u32>),
    /// 409 ConditionalRequestConflict, not done.
    Conflict,
    /// 400 BadDigest, not done.
    Garbled,
    /// Any other answer, not done: status, code, message.
    Refused(u16, &'static str, &'static str),
    /// 301 with the region of the bucket, not done.
    OtherRegion(&'static str),
    /// The connection ends, and nothing was done.
    LostRequest,
    /// The connection ends, and everything was done.
    LostAnswer,
    /// Done, and then 500 InternalError.
    ErrorAfter,
    /// The answer's body ends after so many bytes.
    Cut(usize),
    /// A bit of the answer's body is another one.
    Flipped(usize),
    /// Nothing is answered, and the connection stays.
    Silence,
}

/// How a bucket is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Amazon,
    #[cfg(feature = "objects")]
    Google,
}

type Script = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

#[derive(Default)]
struct Control {
    script: Option<Script>,
    seen: Vec<Seen>,
}

/// A running server. It ends when dropped.
pub struct S3Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it keeps.
    pub bucket: Bucket,
    control: Arc<Mutex<Control>>,
    _connections: JoinSet<()>,
}

impl S3Server {
    /// Starts a server on a free port of the loopback address.
    pub async fn start() -> Self {
        Self::start_as(Dialect::Amazon).await
    }

    /// The same, for those who speak as Google wants it.
    #[cfg(feature = "objects")]
    pub async fn start_google() -> Self {
        Self::start_as(Dialect::Google).await
    }

    async fn start_as(dialect: Dialect) -> Self {
        let bucket = Bucket::default();
        let mut builder = S3ServiceBuilder::new(bucket.clone());
        if dialect == Dialect::Amazon {
            builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        }
        let service = Service { dialect, service: builder.build(), bucket: bucket.clone() };
        let control = Arc::new(Mutex::new(Control::default()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on the loopback address");
        let address = listener.local_addr().expect("an address");
        let mut connections = JoinSet::new();
        let shared = control.clone();
        connections.spawn(async move {
            let mut running = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (service, control) = (service.clone(), shared.clone());
                running.spawn(async move {
                    let answer = service_fn(move |request| answer(service.clone(), control.clone(), request));
                    // A connection that ends in the middle is what half of the faults are.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
                while running.try_join_next().is_some() {}
            }
        });
        Self { address, bucket, control, _connections: connections }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong from now on.
    pub fn script(&self, script: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        self.control().script = Some(Box::new(script));
    }

    /// The first request of this kind fails so, the client's trials apart.
    pub fn fail_once(&self, ask: Ask, fault: Fault) {
        let mut fault = Some(fault);
        self.script(move |seen| if seen.ask == ask && !seen.is_probe() { fault.take() } else { None });
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.control().script = None;
    }

    /// The requests so far; they are counted anew.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.control().seen)
    }

    /// How many requests of this kind came, the client's trials apart; they are counted anew.
    pub fn count(&self, ask: Ask) -> usize {
        self.take_seen().iter().filter(|seen| seen.ask == ask && !seen.is_probe()).count()
    }

    /// Settings for a client with this prefix in the bucket, in a hurry.
    pub fn settings(&self, prefix: &str) -> Settings {
        Settings {
            endpoint: Some(format!("http://{}", self.address)),
            region: Some("us-east-1".to_owned()),
            keys: Some(Keys { id: KEY_ID.to_owned(), secret: SECRET.to_owned() }),
            patience: Patience {
                attempts: 6,
                first_pause: Duration::from_millis(1),
                longest_pause: Duration::from_millis(5),
            },
            ..Settings::parse(&format!("s3://{BUCKET}/{prefix}")).expect("a URL")
        }
    }
}

fn classify(request: &Request<Incoming>) -> (Ask, String) {
    let path = request.uri().path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_, key)| key);
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair == name || pair.starts_with(&format!("{name}=")));
    let ask = match *request.method() {
        Method::PUT if has("partNumber") => Ask::Part,
        Method::PUT => Ask::Put,
        Method::POST if has("uploads") => Ask::Begin,
        Method::POST if has("uploadId") => Ask::Complete,
        Method::POST => Ask::Delete,
        Method::DELETE if has("uploadId") => Ask::Abort,
        Method::DELETE => Ask::Delete,
        Method::GET if has("list-type") => Ask::List,
        Method::GET if has("uploads") => Ask::ListUploads,
        Method::GET if has("uploadId") => Ask::ListParts,
        Method::GET => Ask::Get,
        _ if key.is_empty() => Ask::Bucket,
        _ => Ask::Head,
    };
    (ask, key.to_owned())
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

fn plain(status: u16, code: &str, message: &str) -> http_builder::Builder {
    http_builder::Builder {
        status,
        text: format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
        headers: Vec::new(),
    }
}

mod http_builder {
    use super::*;

    /// An answer that the bucket has not given.
    pub struct Builder {
        pub status: u16,
        pub text: String,
        pub headers: Vec<(&'static str, String)>,
    }

    impl Builder {
        pub fn build(self, is_head: bool) -> Answer {
            let mut answer = Response::builder().status(StatusCode::from_u16(self.status).expect("a status"));
            for (name, value) in self.headers {
                answer = answer.header(name, value);
            }
            let body = if is_head { Bytes::new() } else { self.text.into() };
            answer.body(whole(body)).expect("an answer")
        }
    }
}

fn whole(body: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed()
}

/// The end of a connection.
fn lost() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "as the script says")
}

/// What answers when nothing goes wrong.
#[derive(Clone)]
struct Service {
    dialect: Dialect,
    service: S3Service,
    // Google's deletions and hashes are answered from it.
    #[cfg_attr(not(feature = "objects"), expect(dead_code, reason = "only Google's dialect looks into it"))]
    bucket: Bucket,
}

impl Service {
    async fn call(&self, request: Request<Incoming>) -> Result<Response<Bytes>, std::io::Error> {
        match self.dialect {
            #[cfg(feature = "objects")]
            Dialect::Google => google::answer(&self.service, &self.bucket, request).await,
            Dialect::Amazon => {
                let done = self.service.call(request.map(s3s::Body::from)).await;
                let (head, body) = done.map_err(|error| std::io::Error::other(format!("{error:?}")))?.into_parts();
                let body = body.collect().await.map_err(|error| std::io::Error::other(error.to_string()))?;
                Ok(Response::from_parts(head, body.to_bytes()))
            }
        }
    }
}

async fn answer(
    service: Service,
    control: Arc<Mutex<Control>>,
    request: Request<Incoming>,
) -> Result<Answer, std::io::Error> {
    let (ask, key) = classify(&request);
    let is_head = request.method() == Method::HEAD;
    let fault = {
        let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
        let query = request.uri().query().unwrap_or_default().to_owned();
        let length = request.body().size_hint().lower();
        let seen = Seen { ask, key, query, number: control.seen.len(), length };
        control.seen.push(seen.clone());
        control.script.as_mut().and_then(|script| script(&seen))
    };
    // What is refused without being done is still received, as most servers do: the client reads the answer then.
    let refuse = async |request: Request<Incoming>, builder: http_builder::Builder| {
        let _ = request.into_body().collect().await;
        Ok(builder.build(is_head))
    };
    match &fault {
        Some(Fault::Busy(retry_after)) => {
            let mut busy = plain(503, "SlowDown", "Please reduce your request rate.");
            busy.headers.extend(retry_after.map(|seconds| ("retry-after", seconds.to_string())));
            return refuse(request, busy).await;
        }
        Some(Fault::Conflict) => {
            return refuse(request, plain(409, "ConditionalRequestConflict", "A conflicting operation occurred")).await;
        }
        Some(Fault::Garbled) => {
            return refuse(request, plain(400, "BadDigest", "The CRC32 you specified did not match")).await;
        }
        Some(Fault::Refused(status, code, message)) => return refuse(request, plain(*status, code, message)).await,
        Some(Fault::OtherRegion(region)) => {
            let mut other = plain(301, "PermanentRedirect", "Another endpoint has to be used");
            other.headers.push(("x-amz-bucket-region", (*region).to_owned()));
            return refuse(request, other).await;
        }
        Some(Fault::LostRequest) => return Err(lost()),
        Some(Fault::Silence) => {
            let _ = request.into_body().collect().await;
            return std::future::pending().await;
        }
        _ => {}
    }
    let (head, body) = service.call(request).await?.into_parts();
    match fault {
        Some(Fault::LostAnswer) => Err(lost()),
        Some(Fault::ErrorAfter) => {
            let error = "We encountered an internal error. Please try again.";
            Ok(plain(500, "InternalError", error).build(is_head))
        }
        Some(Fault::Cut(bytes)) if bytes < body.len() => {
            let start = stream::iter([Ok(Frame::data(body.slice(..bytes)))]);
            // The server forgets what it has not sent yet when a body fails.
            let end = stream::once(async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Err(lost())
            });
            Ok(Response::from_parts(head, BodyExt::boxed(StreamBody::new(futures::StreamExt::chain(start, end)))))
        }
        Some(Fault::Flipped(at)) if !body.is_empty() => {
            let mut flipped = body.to_vec();
            let at = at % flipped.len();
            flipped[at] ^= 1;
            Ok(Response::from_parts(head, whole(flipped.into())))
        }
        _ => Ok(Response::from_parts(head, whole(body))),
    }
}
