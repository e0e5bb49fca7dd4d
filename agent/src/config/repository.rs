//! A `[repository.<name>]` of the configuration, checked.

use super::raw;
use crate::error::usage;
use crate::store::Location;
use crate::store::s3::{Encryption, Settings};

/// S3's own limit.
const TAGS_MAX: usize = 10;

/// Where a named repository lies, with everything that its section says.
pub fn check(name: &str, raw: raw::Repository) -> anyhow::Result<Location> {
    let wrong = |(key, reason): Wrong| usage(format!("repository.{name}.{key}: {reason}"));
    let location = Location::parse(&raw.url).map_err(|error| wrong(("url", error.to_string())))?;
    only_keys_of(&location, &raw).map_err(wrong)?;
    match location {
        Location::Directory(path) => Ok(Location::Directory(path)),
        Location::S3(settings) => s3(*settings, raw).map(|settings| Location::S3(Box::new(settings))),
        #[cfg(feature = "objects")]
        Location::Objects(settings) => objects(*settings, raw).map(|settings| Location::Objects(Box::new(settings))),
    }
    .map_err(wrong)
}

/// A key, and what is wrong with it.
type Wrong = (&'static str, String);

fn s3(settings: Settings, raw: raw::Repository) -> Result<Settings, Wrong> {
    let (encryption, line) = (encryption(&raw)?, Line::check(&raw)?);
    let raw::Repository { region, path_style, profile, ca_file, storage_class, tags, .. } = raw;
    if let Some(class) = &storage_class {
        if matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE") {
            return Err((
                "storage_class",
                format!("{class} cannot be read at once, and a restore reads at once; GLACIER_IR can"),
            ));
        }
        if class.is_empty() || !class.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            return Err(("storage_class", format!("`{class}` is no class (for example STANDARD_IA)")));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(("tags", format!("expected at most {TAGS_MAX}, got {}", tags.len())));
    }
    let Settings { bucket, prefix, keys, concurrency, patience, .. } = settings;
    Ok(Settings {
        bucket,
        prefix,
        endpoint: line.endpoint,
        region,
        path_style,
        profile,
        keys,
        ca_file,
        encryption,
        storage_class,
        tags,
        rate_limit: line.rate_limit,
        concurrency: line.concurrency.unwrap_or(concurrency),
        patience,
    })
}

#[cfg(feature = "objects")]
fn objects(
    settings: crate::store::objects::Settings,
    raw: raw::Repository,
) -> Result<crate::store::objects::Settings, Wrong> {
    let line = Line::check(&raw)?;
    let raw::Repository { account, credentials_file, ca_file, .. } = raw;
    Ok(crate::store::objects::Settings {
        account,
        credentials_file,
        ca_file,
        endpoint: line.endpoint,
        rate_limit: line.rate_limit,
        concurrency: line.concurrency.unwrap_or(settings.concurrency),
        ..settings
    })
}

/// What every service has: where it is, and how much of the line to it may be used.
struct Line {
    endpoint: Option<String>,
    rate_limit: Option<u64>,
    concurrency: Option<usize>,
}

impl Line {
    fn check(raw: &raw::Repository) -> Result<Self, Wrong> {
        if let Some(endpoint) = &raw.endpoint
            && !(endpoint.starts_with("https://") || endpoint.starts_with("http://"))
        {
            return Err(("endpoint", format!("`{endpoint}` must begin with https:// or http://")));
        }
        let rate_limit = raw.rate_limit.as_deref().map(rate).transpose().map_err(|reason| ("rate_limit", reason))?;
        if let Some(concurrency) = raw.concurrency
            && !(1..=256).contains(&concurrency)
        {
            return Err(("concurrency", format!("expected 1 to 256, got {concurrency}")));
        }
        Ok(Self { endpoint: raw.endpoint.clone(), rate_limit, concurrency: raw.concurrency })
    }
}

/// Refuses a key that is set and that this kind of store does not have.
fn only_keys_of(location: &Location, raw: &raw::Repository) -> Result<(), Wrong> {
    const EVERY_SERVICE: &[&str] = &["endpoint", "ca_file", "rate_limit", "concurrency"];
    const S3: &[&str] =
        &["region", "path_style", "profile", "sse", "sse_kms_key_id", "sse_customer_key_file", "storage_class", "tags"];
    let (of_all, own, whose): (&[&str], &[&str], &str) = match location {
        Location::Directory(_) => (&[], &[], "a directory"),
        Location::S3(_) => (EVERY_SERVICE, S3, "a bucket of S3"),
        #[cfg(feature = "objects")]
        Location::Objects(settings) => match settings.service {
            crate::store::objects::Service::Google => (EVERY_SERVICE, &["credentials_file"], "a bucket of Google's"),
            crate::store::objects::Service::Azure => (EVERY_SERVICE, &["account"], "a container of Azure's"),
        },
    };
    match set_keys(raw).find(|key| !of_all.contains(key) && !own.contains(key)) {
        None => Ok(()),
        Some(key) => Err((key, format!("`{}` is {whose}, which has no such setting", raw.url))),
    }
}

/// The keys that are set, but for the URL.
fn set_keys(raw: &raw::Repository) -> impl Iterator<Item = &'static str> {
    let set = [
        ("endpoint", raw.endpoint.is_some()),
        ("region", raw.region.is_some()),
        ("path_style", raw.path_style.is_some()),
        ("account", raw.account.is_some()),
        ("credentials_file", raw.credentials_file.is_some()),
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
    set.into_iter().filter_map(|(key, is_set)| is_set.then_some(key))
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
            other => Err(format!("another store: {other}")),
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
        check(
            "url = '/backups'\nregion = 'x'",
            "repository.main.region: `/backups` is a directory, which has no such setting",
        );
        check("url = 's3://bucket'\nregio = 'x'", "unknown field `regio`");
        check("url = 's3://bucket'\nendpoint = 'host:9000'", "main.endpoint: `host:9000` must begin with https://");
        check("url = 's3://bucket'\nsse = 'aes'", "main.sse: `aes` is no encryption (aes256, kms or customer)");
        check("url = 's3://bucket'\nsse = 'customer'", "needs sse_customer_key_file");
        check("url = 's3://bucket'\nsse_kms_key_id = 'x'", "main.sse_kms_key_id: it needs sse = \"kms\"");
        check("url = 's3://bucket'\nstorage_class = 'DEEP_ARCHIVE'", "GLACIER_IR can");
        check("url = 's3://bucket'\nrate_limit = '50 MB/s'", "`50 MB/s` is no rate (for example `50 MiB/s`)");
        check("url = 's3://bucket'\nrate_limit = '50 MiB'", "is no rate");
        check("url = 's3://bucket'\nconcurrency = 0", "expected 1 to 256, got 0");
        check("url = 's3://bucket'\naccount = 'x'", "main.account: `s3://bucket` is a bucket of S3, which has no such");
    }

    #[test]
    #[cfg(all(feature = "gcs", feature = "azure"))]
    fn google_and_azure() {
        let parse = |keys: &str| {
            let config = Config::parse(&format!("[repository.main]\n{keys}\n"), None);
            let config = config.map_err(|error| format!("{error:#}"))?;
            match config.repository("main").expect("it is there") {
                Location::Objects(settings) => Ok(*settings),
                other => Err(format!("another store: {other}")),
            }
        };
        let google =
            parse("url = 'gs://bucket/a'\ncredentials_file = '/etc/key.json'\nrate_limit = '1 MiB/s'\nconcurrency = 4");
        let google = google.expect("parses");
        assert_eq!(google.credentials_file.as_deref(), Some(std::path::Path::new("/etc/key.json")));
        assert_eq!((google.rate_limit, google.concurrency), (Some(1 << 20), 4));
        let azure =
            parse("url = 'az://container'\naccount = 'backups'\nendpoint = 'https://a.example.com'").expect("parses");
        assert_eq!((azure.account.as_deref(), azure.endpoint.is_some()), (Some("backups"), true));
        let check = |keys: &str, expected: &str| {
            let error = parse(keys).expect_err(keys);
            assert!(error.contains(expected), "{keys}: {error}");
        };
        check(
            "url = 'gs://bucket'\naccount = 'x'",
            "main.account: `gs://bucket` is a bucket of Google's, which has no such",
        );
        check("url = 'az://container'\nregion = 'x'", "main.region: `az://container` is a container of Azure's");
        check("url = 'az://container'\nendpoint = 'x'", "main.endpoint: `x` must begin with https://");
    }
}
