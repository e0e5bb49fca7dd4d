//! The same bucket as Google's XML API shows it.
//!
//! It is S3's, with other headers: a token instead of a signature, `x-goog-if-generation-match: 0` instead of
//! `If-None-Match: *` (and none for objects in parts: what is there is overwritten), `x-goog-hash` instead of
//! `x-amz-checksum-crc32`, one object per deletion. Built from Google's documents; no server of theirs was asked.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::S3Service;

use super::{Ask, Bucket, classify};

/// The only token that the server knows.
pub const TOKEN: &str = "test-token";

/// As `x-goog-hash` writes it.
fn hash(body: &[u8]) -> String {
    format!("crc32c={}", BASE64_STANDARD.encode(crc32c::crc32c(body).to_be_bytes()))
}

fn refuse(status: StatusCode, code: &str) -> Response<Bytes> {
    let mut refusal =
        Response::new(format!("<Error><Code>{code}</Code><Message>As Google says.</Message></Error>").into());
    *refusal.status_mut() = status;
    refusal
}

/// Answers one request.
pub async fn answer(
    service: &S3Service,
    bucket: &Bucket,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, std::io::Error> {
    let other = |error: String| std::io::Error::other(error);
    let (ask, _) = classify(&request);
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| other(error.to_string()))?.to_bytes();
    let key = head.uri.path().trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
    let token = head.headers.remove("authorization");
    if token.as_ref().and_then(|token| token.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
        return Ok(refuse(StatusCode::UNAUTHORIZED, "AuthenticationRequired"));
    }
    if let Some(told) = head.headers.remove("x-goog-hash")
        && told.to_str().ok() != Some(&hash(&body))
    {
        return Ok(refuse(StatusCode::BAD_REQUEST, "BadDigest"));
    }
    if let Some(generation) = head.headers.remove("x-goog-if-generation-match") {
        // Google's documents: the completion of an upload in parts overwrites.
        assert_eq!((ask, generation.to_str().ok()), (Ask::Put, Some("0")), "no other condition is known");
        head.headers.insert("if-none-match", HeaderValue::from_static("*"));
    }
    if ask == Ask::Delete {
        return Ok(match bucket.remove(&key) {
            true => Response::builder()
                .status(StatusCode::NO_CONTENT)
                .body(Bytes::new())
                .map_err(|e| other(e.to_string()))?,
            false => refuse(StatusCode::NOT_FOUND, "NoSuchKey"),
        });
    }
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let answer = service
        .call(Request::from_parts(head, s3s::Body::from(body)))
        .await
        .map_err(|error| other(format!("{error:?}")))?;
    let (mut head, body) = answer.into_parts();
    if is_read
        && head.status.is_success()
        && let Some(object) = bucket.objects().get(&key)
    {
        let hash = HeaderValue::from_str(&hash(&object.body)).map_err(|error| other(error.to_string()))?;
        head.headers.insert("x-goog-hash", hash);
        head.headers.insert("last-modified", HeaderValue::from_static("Sat, 21 Nov 2026 01:02:03 GMT"));
    }
    let mut body = body.collect().await.map_err(|error| other(error.to_string()))?.to_bytes();
    if ask == Ask::List {
        let when = "<LastModified>2026-11-21T01:02:03.000Z</LastModified></Contents>";
        body = String::from_utf8_lossy(&body).replace("</Contents>", when).into();
        head.headers.remove("content-length");
    }
    Ok(Response::from_parts(head, body))
}
