//! What the library's errors mean, and what to do about them.

use object_store::client::HttpError;

use super::settings::{Service, Settings};
use super::wire::Refusal;
use crate::store::Error;
use crate::store::s3::failure::{Action, Failure, Kind, chain};

/// From what the library says. What a server refused was understood below it; else it is the way there, or the library.
pub fn failure(error: &object_store::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut is_network = false;
    while let Some(found) = cause {
        if let Some(Refusal(failure)) = found.downcast_ref() {
            return failure.clone();
        }
        is_network |= found.is::<HttpError>();
        cause = found.source();
    }
    let text = chain(error);
    let is_certificate = is_network && ["certificate", "UnknownIssuer"].iter().any(|word| text.contains(word));
    let kind = match () {
        () if is_certificate => Kind::Certificate,
        () if is_network => Kind::Transient,
        () => Kind::Refused,
    };
    Failure::new(kind, text)
}

/// A failure as the store's error, with advice.
pub fn error(settings: &Settings, endpoint: &str, action: Action, place: String, failure: Failure) -> Error {
    let advice = advice(settings, endpoint, action, &failure);
    let (action, kind) = (action.text(), failure.kind);
    if kind == Kind::Full {
        return Error::Full { action, place, cause: std::io::Error::other(failure.text) };
    }
    Error::Remote {
        action,
        place,
        got: failure.text,
        advice,
        is_transient: kind.is_transient(),
        is_denied: kind == Kind::Denied,
    }
}

fn advice(settings: &Settings, endpoint: &str, action: Action, failure: &Failure) -> String {
    let bucket = format!("{} `{}`", settings.service.bucket(), settings.bucket);
    match failure.kind {
        Kind::Denied => match settings.service {
            Service::Google => format!("allow these credentials {} on the {bucket}", google_right(action)),
            Service::Azure => format!(
                "allow these credentials to do it in the {bucket}: the role Storage Blob Data Contributor has all that a \
                 repository needs"
            ),
        },
        Kind::Credentials => match settings.service {
            Service::Google => "check the credentials: `credentials_file`, GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth \
                                application-default login`, or the service account of this machine"
                .to_owned(),
            Service::Azure => "check the credentials: AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY, a service \
                               principal (AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID), or the managed identity \
                               of this machine"
                .to_owned(),
        },
        Kind::Expired => "the token has expired: get a new one, then run the same command again".to_owned(),
        Kind::NoBucket => format!("there is no {bucket} at {endpoint}: create it, or correct the URL"),
        Kind::Clock => "the clock of this machine and that of the server differ: set the clock".to_owned(),
        Kind::Archived => {
            "the object lies in an archive tier: bring it back to the hot or cool tier first".to_owned()
        }
        Kind::Certificate => {
            format!("the certificate of {endpoint} is not trusted here: set `ca_file` to the PEM file of its authority")
        }
        Kind::Busy => "the server asks for fewer requests: lower `concurrency` or set `rate_limit`, and run the same \
                       command again"
            .to_owned(),
        Kind::Garbled => {
            "bytes were changed on their way, more than once: look for a bad proxy, cable or memory".to_owned()
        }
        Kind::Conflict => "another writer was at work on the same object: run the same command again".to_owned(),
        Kind::Transient => format!("is {endpoint} up, and reachable from here? Run the same command again"),
        Kind::NoUpload => "its parts are gone: another writer of the same object, or a lifecycle rule; run the same \
                           command again"
            .to_owned(),
        Kind::Precondition => {
            "somebody changed the object meanwhile, and objects of a repository never change".to_owned()
        }
        Kind::Region | Kind::Unsupported => {
            format!("{endpoint} does not know this request: is it {}?", settings.service.name())
        }
        Kind::Provider => "who gives out the credentials does not answer; run the same command again".to_owned(),
        Kind::NotFound | Kind::Range | Kind::Refused | Kind::Altered | Kind::Full | Kind::Stopped => String::new(),
    }
}

/// What a role must have.
fn google_right(action: Action) -> &'static str {
    match action {
        Action::Write | Action::WriteLarge => "storage.objects.create",
        Action::Abort => "storage.multipartUploads.abort",
        Action::Read | Action::Look => "storage.objects.get and storage.objects.list",
        Action::List | Action::AskBucket => "storage.objects.list",
        Action::ListUploads => "storage.multipartUploads.list",
        Action::Delete => "storage.objects.delete",
    }
}
