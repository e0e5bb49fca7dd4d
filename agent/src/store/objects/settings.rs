//! What is told about a bucket of Google's or a container of Azure's: its URL, and what the configuration adds.

use std::fmt;
use std::path::PathBuf;

use crate::store::key::KeyPrefix;
use crate::store::s3::Patience;
use crate::store::s3::settings::CONCURRENCY;

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Google Cloud Storage: `gs://bucket/prefix`.
    Google,
    /// Azure Blob Storage: `az://container/prefix`.
    Azure,
}

impl Service {
    /// What its URLs begin with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Google => "gs://",
            Self::Azure => "az://",
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Google => "Google Cloud Storage",
            Self::Azure => "Azure Blob Storage",
        }
    }

    /// What objects lie in.
    pub fn bucket(self) -> &'static str {
        match self {
            Self::Google => "bucket",
            Self::Azure => "container",
        }
    }

    fn of(url: &str) -> Option<Self> {
        [Self::Google, Self::Azure].into_iter().find(|service| url.starts_with(service.scheme()))
    }
}

/// Everything that decides how a service is spoken to. Credentials come from where its own tools look for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose service it is.
    pub service: Service,
    /// Name of the bucket or container.
    pub bucket: String,
    /// What every key in it begins with: empty, or a path with a `/` at its end.
    pub prefix: KeyPrefix,
    /// Azure: the storage account. Without one here, `AZURE_STORAGE_ACCOUNT_NAME` or `AZURE_STORAGE_ACCOUNT`.
    pub account: Option<String>,
    /// Google: the file of a service account, instead of what the environment or the machine offers.
    pub credentials_file: Option<PathBuf>,
    /// Another server than the service's own.
    pub endpoint: Option<String>,
    /// The account's key (Azure) or an access token (Google), and no search for others. No configuration sets it:
    /// secrets do not belong into it.
    pub secret: Option<Secret>,
    /// Certificates to trust, as PEM, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Bytes per second, up and down together.
    pub rate_limit: Option<u64>,
    /// Requests on their way at a time.
    pub concurrency: usize,
    /// How failed requests are tried again.
    pub patience: Patience,
}

/// What is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Settings {
    /// What a URL says, and defaults for all else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let service = Service::of(url).ok_or("it begins neither with gs:// nor with az://")?;
        let (scheme, bucket_is) = (service.scheme(), service.bucket());
        let rest = &url[scheme.len()..];
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(format!("it names no {bucket_is}: {scheme}{bucket_is} or {scheme}{bucket_is}/prefix"));
        }
        let is_name = match service {
            Service::Google => {
                bucket.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
                    && (3..=222).contains(&bucket.len())
            }
            Service::Azure => {
                bucket.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                    && ((3..=63).contains(&bucket.len()))
            }
        };
        if !is_name {
            return Err(format!(
                "what stands before the first `/` is no name of a {bucket_is}: 3 or more small letters, digits and \
                 hyphens; accounts, endpoints and credentials do not belong into the URL"
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self {
            service,
            bucket: bucket.to_owned(),
            prefix: KeyPrefix::new(prefix).map_err(|error| error.to_string())?,
            account: None,
            credentials_file: None,
            endpoint: None,
            secret: None,
            ca_file: None,
            rate_limit: None,
            concurrency: CONCURRENCY,
            patience: Patience::default(),
        })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = format!("{}{}/{}", self.service.scheme(), self.bucket, self.prefix);
        f.write_str(path.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, service, bucket: &str, prefix: &str, shown: &str| {
            let settings = Settings::parse(url).expect(url);
            assert_eq!((settings.service, settings.bucket.as_str()), (service, bucket), "{url}");
            assert_eq!((settings.prefix.as_str(), settings.to_string().as_str()), (prefix, shown));
        };
        check("gs://bucket", Service::Google, "bucket", "", "gs://bucket");
        check(
            "gs://my_bucket.example.com/a/b/",
            Service::Google,
            "my_bucket.example.com",
            "a/b/",
            "gs://my_bucket.example.com/a/b",
        );
        check("az://backups/node", Service::Azure, "backups", "node/", "az://backups/node");
        for wrong in [
            "gs://",
            "gs:///a",
            "gs://Bucket",
            "gs://a@b/c",
            "az://my_container",
            "az://ab",
            "az://x:y/z",
            "gs://bucket//a",
            "az://backups/../a",
        ] {
            Settings::parse(wrong).expect_err(wrong);
        }
    }
}
