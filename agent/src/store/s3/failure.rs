//! What a server or the way to it answered, by what can be done about it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// What was being done: for the text of an error, and for the right that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// PutObject.
    Write,
    /// CreateMultipartUpload, UploadPart, CompleteMultipartUpload: parts of a large object.
    WriteLarge,
    /// AbortMultipartUpload.
    Abort,
    /// ListMultipartUploads.
    ListUploads,
    /// GetObject.
    Read,
    /// HeadObject.
    Look,
    /// ListObjectsV2.
    List,
    /// DeleteObjects.
    Delete,
    /// HeadBucket.
    AskBucket,
}

impl Action {
    /// `writing an object`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Write => "writing an object",
            Self::WriteLarge => "writing a large object",
            Self::Abort => "giving up a large object",
            Self::ListUploads => "looking for unfinished uploads",
            Self::Read => "reading an object",
            Self::Look => "looking at an object",
            Self::List => "listing",
            Self::Delete => "deleting",
            Self::AskBucket => "asking the bucket for its region",
        }
    }

    /// The IAM action.
    pub fn right(self) -> &'static str {
        match self {
            Self::Write | Self::WriteLarge => "s3:PutObject",
            Self::Abort => "s3:AbortMultipartUpload",
            Self::ListUploads => "s3:ListBucketMultipartUploads",
            Self::Read | Self::Look => "s3:GetObject",
            Self::List | Self::AskBucket => "s3:ListBucket",
            Self::Delete => "s3:DeleteObject",
        }
    }
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody knows whether it was done; trying again may help.
    Transient,
    /// The server wants to be asked less often.
    Busy,
    /// The bytes did not arrive as they were sent.
    Garbled,
    /// Two writers at the same moment (409): neither of them may be there.
    Conflict,
    /// A condition did not hold (412).
    Precondition,
    /// No such object.
    NotFound,
    /// No such upload in parts: completed, aborted, or never begun.
    NoUpload,
    /// No such bucket.
    NoBucket,
    /// The range begins behind the object's end.
    Range,
    /// The credentials are good, and do not allow this.
    Denied,
    /// No credentials, or wrong ones.
    Credentials,
    /// Who gives out credentials (the instance, a token service, a program) failed, or did not answer.
    Provider,
    /// Credentials that were good once.
    Expired,
    /// Another region's bucket.
    Region,
    /// The clocks disagree.
    Clock,
    /// The store knows no such request or header.
    Unsupported,
    /// The object lies in an archive and must be brought back first.
    Archived,
    /// No space is left.
    Full,
    /// The server's certificate is not trusted.
    Certificate,
    /// What was stored came to be, with other bytes than those that were sent.
    Altered,
    /// The run is to end.
    Stopped,
    /// Anything else that the server refused.
    Refused,
}

impl Kind {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Transient | Self::Busy | Self::Garbled | Self::Conflict | Self::Provider)
    }
}

/// One failed request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What it means.
    pub kind: Kind,
    /// What was answered, in the server's words.
    pub text: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Region of the bucket, if the server told.
    pub region: Option<String>,
    /// Length of the object, if the server told, with [`Kind::Range`].
    pub length: Option<u64>,
    /// A status, and no reason: the answer to a HEAD has no body to tell one.
    pub is_mute: bool,
}

impl Failure {
    /// One that no server answered.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None, region: None, length: None, is_mute: false }
    }

    /// From what the SDK says.
    pub fn from_sdk<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match &error {
            SdkError::ServiceError(service) => {
                let raw = service.raw();
                let header = |name: &str| raw.headers().get(name).map(str::to_owned);
                let (code, message) = (service.err().meta().code(), service.err().meta().message());
                let mut failure = Self::answered(raw.status().as_u16(), code, message);
                failure.retry_after = header("retry-after").as_deref().and_then(retry_after);
                failure.region = header("x-amz-bucket-region").or_else(|| region_in(message?));
                failure.length =
                    header("content-range").as_deref().and_then(|range| range.strip_prefix("bytes */")?.parse().ok());
                failure
            }
            // An answer that cannot be read: cut off, or a proxy's page.
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                let text = chain(&error);
                match status {
                    400..500 => Self::answered(status, None, Some(&text)),
                    _ => Self::new(Kind::Transient, format!("{status}: {text}")),
                }
            }
            SdkError::TimeoutError(_) => Self::new(Kind::Transient, chain(&error)),
            SdkError::DispatchFailure(_) => {
                let text = chain(&error);
                let is_certificate = ["certificate", "UnknownIssuer"].iter().any(|word| text.contains(word));
                let kind = match about_credentials(&error) {
                    _ if is_certificate => Kind::Certificate,
                    Some(kind) => kind,
                    None => Kind::Transient,
                };
                Self::new(kind, text)
            }
            // Not sent: nothing to sign with, or something that cannot be a request.
            _ => Self::new(about_credentials(&error).unwrap_or(Kind::Refused), chain(&error)),
        }
    }

    /// One key of a batch.
    pub fn of_key(code: Option<&str>, message: Option<&str>, key: Option<&str>) -> Self {
        let code = code.unwrap_or("no code");
        let text = format!("{}: {code}: {}", key.unwrap_or("?"), message.unwrap_or_default().escape_debug());
        Self::new(kind(500, code), text)
    }

    /// From a status, and the code and message of the body.
    pub fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let kind = kind(status, code.unwrap_or_default());
        let mut text = status.to_string();
        if let Some(code) = code {
            text = format!("{text} {code}");
        }
        match message.filter(|message| !message.is_empty()) {
            // A sentence of ours follows.
            Some(message) => text = format!("{text}: {}", message.trim_end_matches('.').escape_debug()),
            None if code.is_none() => text += " without a reason",
            None => {}
        }
        let is_mute = code.is_none() && message.is_none_or(str::is_empty);
        Self { is_mute, ..Self::new(kind, text) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The meaning of a status and a code. The code wins: stores agree on codes more than on statuses.
fn kind(status: u16, code: &str) -> Kind {
    match code {
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "ServiceUnavailable"
        | "Busy" => Kind::Busy,
        "InternalError" | "RequestTimeout" | "IncompleteBody" | "OperationAborted" if status != 409 => Kind::Transient,
        "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" => Kind::Garbled,
        "ConditionalRequestConflict" | "OperationAborted" => Kind::Conflict,
        "PreconditionFailed" => Kind::Precondition,
        "NoSuchKey" | "NotFound" => Kind::NotFound,
        "NoSuchUpload" => Kind::NoUpload,
        "NoSuchBucket" => Kind::NoBucket,
        "InvalidRange" => Kind::Range,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => Kind::Expired,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "XAdminUserNotFound" => Kind::Credentials,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "UnauthorizedAccess" => Kind::Denied,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "IncorrectEndpoint" => Kind::Region,
        "RequestTimeTooSkewed" => Kind::Clock,
        "NotImplemented" | "MethodNotAllowed" => Kind::Unsupported,
        "InvalidObjectState" => Kind::Archived,
        "XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage" | "EntityTooLarge" => Kind::Full,
        _ => match status {
            301 | 307 => Kind::Region,
            401 => Kind::Credentials,
            403 => Kind::Denied,
            // With a code that we do not know it is something else that is missing: a user, for instance.
            404 if code.is_empty() => Kind::NotFound,
            408 | 425 => Kind::Transient,
            409 => Kind::Conflict,
            412 => Kind::Precondition,
            416 => Kind::Range,
            429 | 503 => Kind::Busy,
            405 | 501 => Kind::Unsupported,
            507 => Kind::Full,
            500..600 => Kind::Transient,
            _ => Kind::Refused,
        },
    }
}

/// `Retry-After` in seconds. A date is not used by any store that we know.
pub fn retry_after(header: &str) -> Option<Duration> {
    header.trim().parse().ok().map(Duration::from_secs)
}

/// `…; the region 'us-east-1' is wrong; expecting 'eu-west-1'`.
fn region_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region.to_owned())
}

/// Every cause, outermost first, each said once, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What it means that there was nothing to sign with; `None` if it is something else that failed.
fn about_credentials<E, R>(error: &SdkError<E, R>) -> Option<Kind>
where
    E: std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let mut source = error.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<CredentialsError>() {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => {
                return Some(Kind::Provider);
            }
            Some(_) => return Some(Kind::Credentials),
            None => {}
        }
        // The SDK keeps the types of these to itself.
        let text = cause.to_string();
        if text.contains("identity resolver timed out") {
            return Some(Kind::Provider);
        }
        source = cause.source();
    }
    chain(error).contains("credential").then_some(Kind::Credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        let check = |status, code: &str, expected: Kind| assert_eq!(kind(status, code), expected, "{status} {code}");
        check(503, "SlowDown", Kind::Busy);
        check(503, "", Kind::Busy);
        check(429, "", Kind::Busy);
        check(500, "InternalError", Kind::Transient);
        check(502, "", Kind::Transient);
        check(409, "OperationAborted", Kind::Conflict);
        check(409, "ConditionalRequestConflict", Kind::Conflict);
        check(412, "PreconditionFailed", Kind::Precondition);
        check(412, "", Kind::Precondition);
        check(404, "NoSuchBucket", Kind::NoBucket);
        check(404, "", Kind::NotFound);
        check(404, "NoSuchSomething", Kind::Refused);
        check(404, "XAdminUserNotFound", Kind::Credentials);
        check(404, "NoSuchUpload", Kind::NoUpload);
        check(403, "AccessDenied", Kind::Denied);
        check(403, "", Kind::Denied);
        check(403, "SignatureDoesNotMatch", Kind::Credentials);
        check(400, "ExpiredToken", Kind::Expired);
        check(301, "PermanentRedirect", Kind::Region);
        check(400, "AuthorizationHeaderMalformed", Kind::Region);
        check(403, "RequestTimeTooSkewed", Kind::Clock);
        check(400, "BadDigest", Kind::Garbled);
        check(501, "NotImplemented", Kind::Unsupported);
        check(400, "InvalidRequest", Kind::Refused);
    }

    #[test]
    fn what_servers_tell_beside() {
        assert_eq!(retry_after(" 3"), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        let text = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'";
        assert_eq!(region_in(text).as_deref(), Some("eu-west-1"));
        assert_eq!(region_in("no"), None);
    }
}
