//! What is told about a bucket: its URL, and what the configuration adds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::key::KeyPrefix;

/// Requests on their way at a time, when nothing else is configured.
pub const CONCURRENCY: usize = 16;

/// Everything that decides how a bucket is spoken to. Credentials come from where the AWS tools look for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// What every key in the bucket begins with: empty, or a path with a `/` at its end.
    pub prefix: KeyPrefix,
    /// Another server than Amazon's.
    pub endpoint: Option<String>,
    /// Region of the bucket. Without one here, in the environment or in the profile, the bucket is asked.
    pub region: Option<String>,
    /// The bucket in the path (`host/bucket`) or in the host name (`bucket.host`); the former with an endpoint.
    pub path_style: Option<bool>,
    /// Profile of the AWS configuration files.
    pub profile: Option<String>,
    /// These keys, and no search for others. No configuration sets them: keys do not belong into it.
    pub keys: Option<Keys>,
    /// Certificates to trust, as PEM, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How the server encrypts what it stores.
    pub encryption: Encryption,
    /// Storage class of objects below `data/` and `damaged/`.
    pub storage_class: Option<String>,
    /// Tags of every object.
    pub tags: BTreeMap<String, String>,
    /// Bytes per second, up and down together.
    pub rate_limit: Option<u64>,
    /// Requests on their way at a time.
    pub concurrency: usize,
    /// How failed requests are tried again.
    pub patience: Patience,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// How the server encrypts what it stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket is configured.
    Bucket,
    /// With a key of the server: SSE-S3.
    Aes256,
    /// With a key of the key management service: SSE-KMS.
    Kms {
        /// Id or ARN of the key; without one the account's default key.
        key_id: Option<String>,
    },
    /// With a key that goes along with every request, and that the server forgets: SSE-C.
    Customer {
        /// File with the 32 bytes of the key, raw or as base64.
        key_file: PathBuf,
    },
}

/// How often a request is tried, and how long the pauses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts at one request.
    pub attempts: u32,
    /// Upper bound of the first pause; it doubles with each attempt.
    pub first_pause: Duration,
    /// No pause is longer, unless the server asks for it.
    pub longest_pause: Duration,
}

impl Default for Patience {
    /// Gives up after about 50 seconds, if the server refuses at once.
    fn default() -> Self {
        Self { attempts: 10, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(20) }
    }
}

impl Settings {
    /// What `s3://bucket/prefix` says, and defaults for all else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("s3://").ok_or("it does not begin with s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err("it names no bucket: s3://bucket or s3://bucket/prefix".to_owned());
        }
        if rest.contains('@') {
            // What stands before it may be a secret, and is not repeated.
            return Err("credentials do not belong into the URL: s3://bucket/prefix".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !bucket.chars().all(is_name) || !(3..=63).contains(&bucket.len()) {
            return Err(format!(
                "`{}` is no name of a bucket: 3 to 63 letters, digits, dots and hyphens; an endpoint and credentials \
                 do not belong into the URL",
                bucket.escape_debug()
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: KeyPrefix::new(prefix).map_err(|error| error.to_string())?,
            endpoint: None,
            region: None,
            path_style: None,
            profile: None,
            keys: None,
            ca_file: None,
            encryption: Encryption::Bucket,
            storage_class: None,
            tags: BTreeMap::new(),
            rate_limit: None,
            concurrency: CONCURRENCY,
            patience: Patience::default(),
        })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.prefix.as_str().trim_end_matches('/');
        match path {
            "" => write!(f, "s3://{}", self.bucket),
            path => write!(f, "s3://{}/{path}", self.bucket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, bucket: &str, prefix: &str, shown: &str| {
            let settings = Settings::parse(url).expect(url);
            assert_eq!((settings.bucket.as_str(), settings.prefix.as_str()), (bucket, prefix), "{url}");
            assert_eq!(settings.to_string(), shown);
        };
        check("s3://bucket", "bucket", "", "s3://bucket");
        check("s3://bucket/", "bucket", "", "s3://bucket");
        check("s3://my.bucket-1/a/b", "my.bucket-1", "a/b/", "s3://my.bucket-1/a/b");
        check("s3://bucket/a/", "bucket", "a/", "s3://bucket/a");
        for wrong in [
            "s3://",
            "s3:bucket",
            "s3:///prefix",
            "s3://bu",
            "s3://user:password@host/x",
            "s3://host:9000/bucket",
            "s3://bucket//a",
            "s3://bucket/../a",
            "s3://bucket/a//",
            "s3://bucket/.helenus-tmp",
        ] {
            Settings::parse(wrong).expect_err(wrong);
        }
    }
}
