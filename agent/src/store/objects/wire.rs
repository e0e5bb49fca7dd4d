//! Beneath `object_store`: what its requests lack is added, and what it hides of answers is kept.
//!
//!     request   + Content-MD5 (Azure) or x-goog-hash: crc32c (Google) of each body that is put
//!               + If-None-Match: * when Azure puts blocks together, so that nothing is overwritten
//!               throttled
//!     answer    a refusal becomes a [`Refusal`], which says what it means: the library tells 409 from 412 no more, and
//!               keeps statuses to itself
//!               [`Told`]: the checksum that Google has of the object
//!
//! Headers may be added after the request was signed, because nothing signs headers: Google wants a token, and from an
//! account key of Azure's a token is made ([`super::azure`]).

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use http::{Method, Response, StatusCode, Uri};
use http_body::Body;
use md5::{Digest, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

use super::azure;
use super::settings::Service;
use crate::store::s3::failure::{Failure, Kind, retry_after};
use crate::store::s3::throttle::Throttle;

/// No reason takes more.
const REASON_BYTES_MAX: usize = 64 << 10;

const GOOGLE_HASH: HeaderName = HeaderName::from_static("x-goog-hash");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// A refused or failed request, by its meaning. It travels through the library as the cause of its error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub Failure);

/// What an answer tells beside what the library understands.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// CRC-32C of the whole object.
    pub crc32c: Option<u32>,
}

/// Asks for a wrong checksum, to see whether the service looks.
#[derive(Debug, Clone, Copy)]
pub struct WrongSum;

/// Makes clients that speak as this store needs it.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Whose service it is.
    pub service: Service,
    /// The server of the service. Everybody else is asked for credentials.
    pub endpoint: Uri,
    /// The line, if a rate is set.
    pub throttle: Option<Arc<Throttle>>,
}

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Line { wire: self.clone(), client }))
    }
}

#[derive(Debug)]
struct Line {
    wire: Wire,
    client: HttpClient,
}

#[async_trait]
impl HttpService for Line {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !is_same_server(request.uri(), &self.wire.endpoint) {
            let place = request.uri().host().unwrap_or_default().to_owned();
            return self.ask_for_credentials(request, &place).await;
        }
        if request.method() == Method::PUT {
            self.add_sum(&mut request).await?;
            let query = request.uri().query().unwrap_or_default();
            if self.wire.service == Service::Azure && query.split('&').any(|pair| pair == "comp=blocklist") {
                request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
            if let Some(throttle) = &self.wire.throttle {
                tokio::time::sleep(throttle.book(request.body().content_length())).await;
            }
        }
        let answer = self.client.execute(request).await?;
        if !answer.status().is_success() {
            return Err(refusal(self.wire.service.failure(answer).await));
        }
        let (mut head, body) = answer.into_parts();
        head.extensions.insert(Told { crc32c: google_crc32c(&head.headers) });
        Ok(Response::from_parts(head, body))
    }
}

impl Line {
    /// Whoever does not know who we are leaves us without credentials; whoever cannot be reached may be so later.
    async fn ask_for_credentials(&self, request: HttpRequest, place: &str) -> Result<HttpResponse, HttpError> {
        let no =
            |text: String| refusal(Failure::new(Kind::Credentials, format!("no credentials from {place}: {text}")));
        let answer = match self.client.execute(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let text = format!("no credentials from {place}: {}", crate::store::s3::failure::chain(&error));
                return Err(refusal(Failure::new(Kind::Provider, text)));
            }
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            // These pass.
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(refusal(Failure::new(Kind::Transient, format!("{status} from {place}"))))
            }
            status => Err(no(format!("{status}: {}", text(answer.into_body()).await?.escape_debug()))),
        }
    }

    /// The checksum of the body, as the service checks it.
    async fn add_sum(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let wrong = u8::from(request.extensions().get::<WrongSum>().is_some());
        let (name, value) = match self.wire.service {
            Service::Google => {
                let mut crc32c = 0;
                pieces(request.body().clone(), |piece| crc32c = crc32c::crc32c_append(crc32c, piece)).await?;
                let sum = (crc32c ^ u32::from(wrong)).to_be_bytes();
                (GOOGLE_HASH, format!("crc32c={}", BASE64_STANDARD.encode(sum)))
            }
            Service::Azure => {
                let mut md5 = Md5::new();
                pieces(request.body().clone(), |piece| md5.update(piece)).await?;
                let mut sum: [u8; 16] = md5.finalize().into();
                sum[0] ^= wrong;
                (CONTENT_MD5, BASE64_STANDARD.encode(sum))
            }
        };
        if let Ok(value) = HeaderValue::from_str(&value) {
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }
}

impl Service {
    /// What a refusing answer means.
    async fn failure(self, answer: HttpResponse) -> Failure {
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = text(body).await.unwrap_or_default();
        let code = header("x-ms-error-code").or_else(|| between(&text, "<Code>", "</Code>"));
        // Azure adds two lines with the id of the request.
        let message = between(&text, "<Message>", "</Message>");
        let message = message.as_deref().and_then(|message| message.lines().next());
        let mut failure = match self {
            Service::Google => Failure::answered(status, code.as_deref(), message),
            Service::Azure => azure::failure(status, code.as_deref(), message),
        };
        failure.retry_after = header(RETRY_AFTER.as_str()).as_deref().and_then(retry_after);
        failure.length = header("content-range").and_then(|range| range.strip_prefix("bytes */")?.parse().ok());
        failure
    }
}

fn refusal(failure: Failure) -> HttpError {
    // The kind is for the library's own retries, which are off.
    HttpError::new(HttpErrorKind::Unknown, Refusal(failure))
}

/// Compares as clients do: names of hosts know no case, and a port may be left out.
fn is_same_server(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    host(one) == host(other) && port(one) == port(other)
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner.trim().to_owned())
}

/// `crc32c=…,md5=…`, in one header or in two.
fn google_crc32c(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all(GOOGLE_HASH).iter().filter_map(|value| value.to_str().ok());
    let told = values.flat_map(|value| value.split(',')).find_map(|sum| sum.trim().strip_prefix("crc32c="))?;
    let bytes = BASE64_STANDARD.decode(told).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Hands on a body piece by piece.
async fn pieces<B>(mut body: B, mut take: impl FnMut(&Bytes)) -> Result<(), HttpError>
where
    B: Body<Data = Bytes, Error = HttpError> + Unpin,
{
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(piece) = frame?.into_data() {
            take(&piece);
        }
    }
    Ok(())
}

/// The beginning of a body that gives a reason.
async fn text(body: HttpResponseBody) -> Result<String, HttpError> {
    let mut all = Vec::new();
    pieces(body, |piece| {
        let room = REASON_BYTES_MAX - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
    })
    .await?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let check = |one: &str, other: &str, expected| {
            let uri = |text: &str| text.parse::<Uri>().unwrap();
            assert_eq!(is_same_server(&uri(one), &uri(other)), expected, "{one} {other}");
        };
        check("https://a.example/b/c?d=e", "https://A.Example:443", true);
        check("https://A.example:443/b", "https://a.example/", true);
        check("http://127.0.0.1/b", "http://127.0.0.1:80", true);
        check("http://[::1]:9000/b", "http://[::1]:9000", true);
        check("https://a.example/b", "https://a.example:8443", false);
        check("http://a.example:443/b", "http://a.example", false);
        check("https://b.example/b", "https://a.example", false);
    }

    #[test]
    fn the_sum_that_google_tells() {
        let check = |values: &[&'static str], expected| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(GOOGLE_HASH, HeaderValue::from_static(value));
            }
            assert_eq!(google_crc32c(&headers), expected, "{values:?}");
        };
        check(&["crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ=="], Some(0x9f4d_f1e8));
        check(&["md5=Ojk9c3dhfxgoKVVHYwFbHQ==", "crc32c=n03x6A=="], Some(0x9f4d_f1e8));
        check(&["crc32c=n03x"], None);
        check(&[], None);
    }
}
