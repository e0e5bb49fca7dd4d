//! A `[repository.<name>]` of the configuration, checked.

use super::raw;
use crate::error::usage;
use crate::store::Location;
use crate::store::s3::{Encryption, Settings};

/// S3's own limit.
const TAGS_MAX: usize = 10;

/// Where a named repository lies, with everything that its section says.
pub fn check(name: &str, raw: raw::Repository) -> anyhow::Result<Location> {
    let wrong = |key: &str, reason: String| usage(format!("repository.{name}.{key}: {reason}"));
    let location = Location::parse(&raw.url).map_err(|error| wrong("url", error.to_string()))?;
    let Location::S3(mut settings) = location else {
        return match for_buckets(&raw) {
            None => Ok(location),
            Some(key) => Err(wrong(key, format!("only a bucket has it, and `{}` is a directory", raw.url))),
        };
    };
    let encryption = encryption(&raw).map_err(|(key, reason)| wrong(key, reason))?;
    let raw::Repository { endpoint, region, path_style, profile, ca_file, storage_class, tags, .. } = raw;
    if let Some(endpoint) = &endpoint
        && !(endpoint.starts_with("https://") || endpoint.starts_with("http://"))
    {
        return Err(wrong("endpoint", format!("`{endpoint}` must begin with https:// or http://")));
    }
    if let Some(class) = &storage_class {
        if matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE") {
            return Err(wrong(
                "storage_class",
                format!("{class} cannot be read at once, and a restore reads at once; GLACIER_IR can"),
            ));
        }
        if class.is_empty() || !class.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            return Err(wrong("storage_class", format!("`{class}` is no class (for example STANDARD_IA)")));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(wrong("tags", format!("expected at most {TAGS_MAX}, got {}", tags.len())));
    }
    let rate_limit = raw.rate_limit.as_deref().map(rate).transpose().map_err(|reason| wrong("rate_limit", reason))?;
    if let Some(concurrency) = raw.concurrency {
        if !(1..=256).contains(&concurrency) {
            return Err(wrong("concurrency", format!("expected 1 to 256, got {concurrency}")));
        }
        settings.concurrency = concurrency;
    }
    let Settings { bucket, prefix, keys, concurrency, patience, .. } = *settings;
    Ok(Location::S3(Box::new(Settings {
        bucket,
        prefix,
        endpoint,
        region,
        path_style,
        profile,
        keys,
        ca_file,
        encryption,
        storage_class,
        tags,
        rate_limit,
        concurrency,
        patience,
    })))
}

/// A key that only buckets have, if one is set.
fn for_buckets(raw: &raw::Repository) -> Option<&'static str> {
    let set = [
        ("endpoint", raw.endpoint.is_some()),
        ("region", raw.region.is_some()),
        ("path_style", raw.path_style.is_some()),
        ("profile", raw.profile.is_some()),
        ("ca_file", raw.ca_file.is_some()),
        ("sse", raw.sse.is_some()),
        ("sse_kms_key_id", raw.sse_kms_key_id.is_some()),
        ("sse_customer_key_file", raw.sse_customer_key_file.is_some()),
        ("storage_class", raw.storage_class.is_some()),
        ("tags", !raw.tags.is_empty()),
        ("rate_limit", raw.rate_limit.is_some()),
        ("concurrency", raw.concurrency.is_some()),
    ];
    set.into_iter().find_map(|(key, is_set)| is_set.then_some(key))
}

fn encryption(raw: &raw::Repository) -> Result<Encryption, (&'static str, String)> {
    let (kms, customer) = (&raw.sse_kms_key_id, &raw.sse_customer_key_file);
    let sse = raw.sse.as_deref();
    if kms.is_some() && sse != Some("kms") {
        return Err(("sse_kms_key_id", "it needs sse = \"kms\"".to_owned()));
    }
    if customer.is_some() && sse != Some("customer") {
        return Err(("sse_customer_key_file", "it needs sse = \"customer\"".to_owned()));
    }
    match (sse, customer) {
        (None, _) => Ok(Encryption::Bucket),
        (Some("aes256"), _) => Ok(Encryption::Aes256),
        (Some("kms"), _) => Ok(Encryption::Kms { key_id: kms.clone() }),
        (Some("customer"), Some(key_file)) => Ok(Encryption::Customer { key_file: key_file.clone() }),
        (Some("customer"), None) => Err(("sse", "\"customer\" needs sse_customer_key_file".to_owned())),
        (Some(other), _) => Err(("sse", format!("`{other}` is no encryption (aes256, kms or customer)"))),
    }
}

/// `50 MiB/s` in bytes.
fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate (for example `50 MiB/s`)");
    let bytes = text.strip_suffix("/s").and_then(|size| super::check::bytes(size.trim_end())).ok_or_else(wrong)?;
    if bytes < 64 << 10 {
        return Err(format!("`{text}` is too slow for any backup: expected 64 KiB/s or more"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(keys: &str) -> Result<Settings, String> {
        let text = format!("[repository.main]\n{keys}\n");
        let config = Config::parse(&text, None).map_err(|error| format!("{error:#}"))?;
        match config.repository("main").expect("it is there") {
            Location::S3(settings) => Ok(*settings),
            Location::Directory(path) => Err(format!("directory {}", path.display())),
        }
    }

    #[test]
    fn everything_set() {
        let settings = parse(
            "url = 's3://bucket/a/b'\nendpoint = 'https://s3.example.com'\nregion = 'eu-west-1'\npath_style = false\n\
             profile = 'backup'\nca_file = '/etc/ca.pem'\nsse = 'kms'\nsse_kms_key_id = 'alias/x'\n\
             storage_class = 'STANDARD_IA'\ntags = { team = 'db' }\nrate_limit = '50 MiB/s'\nconcurrency = 4",
        )
        .expect("parses");
        assert_eq!(settings.to_string(), "s3://bucket/a/b");
        assert_eq!(settings.encryption, Encryption::Kms { key_id: Some("alias/x".to_owned()) });
        assert_eq!((settings.rate_limit, settings.concurrency), (Some(50 << 20), 4));
        assert_eq!(settings.path_style, Some(false));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let check = |keys: &str, expected: &str| {
            let error = parse(keys).expect_err(keys);
            assert!(error.contains(expected), "{keys}: {error}");
        };
        check("url = 's3://x'", "repository.main.url: ");
        check("url = '/backups'\nregion = 'x'", "repository.main.region: only a bucket has it");
        check("url = 's3://bucket'\nregio = 'x'", "unknown field `regio`");
        check("url = 's3://bucket'\nendpoint = 'host:9000'", "main.endpoint: `host:9000` must begin with https://");
        check("url = 's3://bucket'\nsse = 'aes'", "main.sse: `aes` is no encryption (aes256, kms or customer)");
        check("url = 's3://bucket'\nsse = 'customer'", "needs sse_customer_key_file");
        check("url = 's3://bucket'\nsse_kms_key_id = 'x'", "main.sse_kms_key_id: it needs sse = \"kms\"");
        check("url = 's3://bucket'\nstorage_class = 'DEEP_ARCHIVE'", "GLACIER_IR can");
        check("url = 's3://bucket'\nrate_limit = '50 MB/s'", "`50 MB/s` is no rate (for example `50 MiB/s`)");
        check("url = 's3://bucket'\nrate_limit = '50 MiB'", "is no rate");
        check("url = 's3://bucket'\nconcurrency = 0", "expected 1 to 256, got 0");
    }
}
