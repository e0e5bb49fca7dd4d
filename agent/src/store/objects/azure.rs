//! What is particular to Azure Blob Storage: what its codes mean, how an account key becomes a token, and how one object
//! is deleted.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use jiff::{SignedDuration, Timestamp};
use object_store::CredentialProvider;
use object_store::azure::{AzureCredential, AzureCredentialProvider, MicrosoftAzure};
use object_store::client::{HttpClient, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::store::s3::failure::{Failure, Kind};

/// Version of the signature that is made here.
const SIGNED_VERSION: &str = "2021-06-08";
/// Version of the protocol in which objects are deleted: that of the library.
const DELETE_VERSION: &str = "2023-11-03";
/// What a key may hold of a path as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Each request gets a new token; this is for its retries in the network, and for clocks that differ.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// What a refusal means. Where the codes are those of S3, or there is none, the status decides.
pub fn failure(status: u16, code: Option<&str>, message: Option<&str>) -> Failure {
    let mut failure = Failure::answered(status, code, message);
    failure.kind = match code.unwrap_or_default() {
        "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet" => Kind::Precondition,
        "BlobNotFound" | "ResourceNotFound" => Kind::NotFound,
        "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled" => Kind::NoBucket,
        "InvalidBlockList" | "InvalidBlockId" => Kind::NoUpload,
        "ServerBusy" => Kind::Busy,
        "OperationTimedOut" | "InternalError" => Kind::Transient,
        "Md5Mismatch" | "Crc64Mismatch" => Kind::Garbled,
        "InvalidRange" => Kind::Range,
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => Kind::Credentials,
        "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationServiceMismatch"
        | "AuthorizationResourceTypeMismatch"
        | "AuthorizationSourceIPMismatch"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled" => Kind::Denied,
        "BlobArchived" | "BlobBeingRehydrated" => Kind::Archived,
        "AccountLimitExceeded" => Kind::Full,
        // A lease, a snapshot, an immutability policy: waiting does not help.
        _ if status == 409 => Kind::Refused,
        _ => failure.kind,
    };
    failure
}

/// An account's key. It signs a token for each request instead of the request itself, because a signed request could
/// not be given the condition and the checksums that `object_store` does not know.
#[derive(Debug)]
pub struct AccountKey {
    account: String,
    key: hmac::Key,
    protocols: &'static str,
}

impl AccountKey {
    /// From the key as the portal shows it.
    pub fn new(account: &str, key: &str, is_plain_http: bool) -> Result<Self, String> {
        let key =
            BASE64_STANDARD.decode(key.trim()).map_err(|error| format!("the account's key is no base64: {error}"))?;
        let protocols = if is_plain_http { "https,http" } else { "https" };
        Ok(Self { account: account.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &key), protocols })
    }

    /// An account SAS: read, write, delete, list, add and create, of containers and objects.
    fn token(&self, now: Timestamp) -> Vec<(String, String)> {
        const RIGHTS: &str = "rwdlac";
        let end = now.saturating_add(TOKEN_LIFE).unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let Self { account, key, protocols } = self;
        let text = format!("{account}\n{RIGHTS}\nb\nco\n\n{end}\n\n{protocols}\n{SIGNED_VERSION}\n\n");
        let signature = BASE64_STANDARD.encode(hmac::sign(key, text.as_bytes()));
        let pairs = [
            ("sv", SIGNED_VERSION),
            ("ss", "b"),
            ("srt", "co"),
            ("sp", RIGHTS),
            ("se", &end),
            ("spr", protocols),
            ("sig", &signature),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[async_trait]
impl CredentialProvider for AccountKey {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        Ok(Arc::new(AzureCredential::SASToken(self.token(crate::time::now()))))
    }
}

/// Deletes objects one by one. The library only knows batches, whose parts it refuses without saying why, and which an
/// emulator does not take with a token.
#[derive(Debug)]
pub struct Deleter {
    http: HttpClient,
    credentials: AzureCredentialProvider,
    /// `https://account.blob.core.windows.net/container`.
    container: String,
}

impl Deleter {
    /// With the credentials of the client.
    pub fn new(http: HttpClient, client: &MicrosoftAzure, endpoint: &str, container: &str) -> Self {
        let container = format!("{}/{container}", endpoint.trim_end_matches('/'));
        Self { http, credentials: client.credentials().clone(), container }
    }

    /// One Delete Blob of this key in the container.
    pub async fn delete(&self, key: &str) -> Result<(), Failure> {
        let understood = |error: object_store::Error| super::failure::failure(&error);
        let credential = self.credentials.get_credential().await.map_err(understood)?;
        let mut url = format!("{}/{}", self.container, utf8_percent_encode(key, IN_PATH));
        if let AzureCredential::SASToken(pairs) = credential.as_ref() {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let pairs: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            url = format!("{url}?{}", pairs.join("&"));
        }
        let date = crate::time::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut request = http::Request::delete(url)
            .header("x-ms-version", DELETE_VERSION)
            .header("x-ms-date", date)
            .header(CONTENT_LENGTH, 0);
        if let AzureCredential::BearerToken(token) = credential.as_ref() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(HttpRequestBody::empty());
        let request = request.map_err(|error| Failure::new(Kind::Refused, error.to_string()))?;
        let deleted = self.http.execute(request).await;
        deleted
            .map(drop)
            .map_err(|error| understood(object_store::Error::Generic { store: "Azure", source: error.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        let check = |status, code: &str, expected: Kind| {
            let code = (!code.is_empty()).then_some(code);
            assert_eq!(failure(status, code, None).kind, expected, "{status} {code:?}");
        };
        check(409, "BlobAlreadyExists", Kind::Precondition);
        check(412, "ConditionNotMet", Kind::Precondition);
        check(409, "BlobImmutableDueToPolicy", Kind::Refused);
        check(409, "LeaseAlreadyPresent", Kind::Refused);
        check(404, "BlobNotFound", Kind::NotFound);
        check(404, "", Kind::NotFound);
        check(404, "ContainerNotFound", Kind::NoBucket);
        check(400, "InvalidBlockList", Kind::NoUpload);
        check(400, "Md5Mismatch", Kind::Garbled);
        check(503, "ServerBusy", Kind::Busy);
        check(500, "OperationTimedOut", Kind::Transient);
        check(403, "AuthenticationFailed", Kind::Credentials);
        check(403, "AuthorizationPermissionMismatch", Kind::Denied);
        check(416, "InvalidRange", Kind::Range);
    }

    #[test]
    fn a_token_for_an_hour() {
        let key = AccountKey::new("account", "a2V5", false).expect("base64");
        let token = key.token("2026-11-21T01:02:03Z".parse().expect("a moment"));
        let get = |name: &str| token.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!((get("se"), get("spr"), get("sp")), (Some("2026-11-21T02:02:03Z"), Some("https"), Some("rwdlac")));
        assert_eq!(get("sig").map(str::len), Some(44));
        assert!(!format!("{key:?}").contains("a2V5"));
        AccountKey::new("account", "not base64!", false).expect_err("no base64");
    }
}
