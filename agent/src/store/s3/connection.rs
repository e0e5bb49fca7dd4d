//! From settings to a client: credentials, region, certificates, proxy.
//!
//! Credentials come from where the AWS tools look for them: environment, profile (with assumed roles and
//! `credential_process`), web identity, container, instance. The proxy comes from `HTTPS_PROXY`, `HTTP_PROXY` and
//! `NO_PROXY`. The SDK makes one attempt at each request, and neither counts nor guards bytes: our layers do.

use std::path::Path;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::failure::{Failure, Kind};
use super::layers::Layers;
use super::settings::{Encryption, Settings};

const CONNECT_SECONDS: u64 = 10;
/// Servers close idle connections after this or more; one that is closed under a request costs a retry.
const IDLE_SECONDS: u64 = 15;
/// Where buckets are asked for their region, and the only region of most other servers.
const FIRST_REGION: &str = "us-east-1";

/// A client, and what it found out on the way.
#[derive(Debug)]
pub struct Connection {
    /// The SDK's client.
    pub client: Client,
    /// The region in force.
    pub region: String,
    /// Another server than Amazon's.
    pub endpoint: Option<String>,
    /// Headers for a customer's key.
    pub customer_key: Option<CustomerKey>,
}

/// SSE-C: the key that goes along with every request.
#[derive(Clone)]
pub struct CustomerKey {
    /// The key as base64.
    pub key: String,
    /// The MD5 of the key as base64: S3 wants it against typing errors.
    pub md5: String,
}

impl std::fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomerKey")
    }
}

impl CustomerKey {
    fn read(path: &Path) -> Result<Self, String> {
        let place = || format!("sse_customer_key_file {}", path.display());
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", place()))?;
        let key = match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(raw) => raw.to_vec(),
            Err(_) => BASE64_STANDARD.decode(bytes.trim_ascii()).unwrap_or_default(),
        };
        if key.len() != 32 {
            return Err(format!(
                "{}: expected 32 bytes, raw or as base64, got {} bytes; `openssl rand -base64 32` makes a key",
                place(),
                bytes.len()
            ));
        }
        Ok(Self { md5: BASE64_STANDARD.encode(Md5::digest(&key)), key: BASE64_STANDARD.encode(&key) })
    }
}

/// Why there is no connection: the settings are wrong, or the bucket did not answer.
#[derive(Debug)]
pub enum NoConnection {
    /// What is wrong with the settings.
    Settings(String),
    /// What the bucket, at this endpoint, said to the question for its region.
    Request(Failure, Option<String>),
}

impl From<String> for NoConnection {
    fn from(reason: String) -> Self {
        Self::Settings(reason)
    }
}

/// Makes a client. The network is only used when no region is known.
pub async fn connect(settings: &Settings, layers: &Layers) -> Result<Connection, NoConnection> {
    let http = http_client(settings.ca_file.as_deref())?;
    let customer_key = match &settings.encryption {
        Encryption::Customer { key_file } => Some(CustomerKey::read(key_file)?),
        _ => None,
    };
    let region = match &settings.region {
        Some(region) => Some(region.clone()),
        None => configured_region(settings.profile.as_deref()).await,
    };
    let shared = shared_config(settings, http, region.as_deref().unwrap_or(FIRST_REGION)).await;
    let endpoint = settings.endpoint.clone().or_else(|| {
        let of_s3 = std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty());
        of_s3.or_else(|| shared.endpoint_url().map(str::to_owned))
    });
    if let Some(endpoint) = &endpoint
        && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
    {
        return Err(format!("the endpoint `{endpoint}` must begin with https:// or http://").into());
    }
    if let (Some(endpoint), Some(_)) = (&endpoint, &customer_key)
        && is_plain_network(endpoint)
    {
        return Err(format!(
            "sse = \"customer\" sends the key along with every request, and {endpoint} is not encrypted: use https (plain \
             http is only taken to this machine itself)"
        )
        .into());
    }
    let client = client(settings, &shared, endpoint.as_deref(), None);
    let Some(region) = region else {
        let asked = ask_bucket(&client, &settings.bucket, layers).await;
        let asked = asked.map_err(|failure| NoConnection::Request(failure, endpoint.clone()))?;
        let client = match asked.as_deref() {
            None | Some(FIRST_REGION) => client,
            Some(region) => self::client(settings, &shared, endpoint.as_deref(), Some(region)),
        };
        let region = asked.unwrap_or_else(|| FIRST_REGION.to_owned());
        return Ok(Connection { client, region, endpoint, customer_key });
    };
    Ok(Connection { client, region, endpoint, customer_key })
}

/// True for plain http to another machine. What listens on this one may well be the end of a tunnel.
fn is_plain_network(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    !(is_loopback || host.eq_ignore_ascii_case("localhost"))
}

fn http_client(ca_file: Option<&Path>) -> Result<SharedHttpClient, String> {
    let trust = match ca_file {
        None => TrustStore::default(),
        Some(path) => {
            let place = || format!("ca_file {}", path.display());
            let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", place()))?;
            // Checked here: the client would panic.
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| format!("{}: {error}", place()))?;
                roots.add(certificate).map_err(|error| format!("{}: {error}", place()))?;
            }
            if roots.is_empty() {
                return Err(format!("{}: expected certificates as PEM, found none", place()));
            }
            TrustStore::default().with_pem_certificate(pem)
        }
    };
    let tls = TlsContext::builder().with_trust_store(trust).build().map_err(|error| format!("TLS: {error}"))?;
    // The builder's own way to HTTPS knows no proxy.
    let builder = Builder::new().pool_idle_timeout(Duration::from_secs(IDLE_SECONDS));
    Ok(builder.build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .pool_idle_timeout(Duration::from_secs(IDLE_SECONDS))
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    }))
}

/// The region of the environment or the profile. The instance's own is not asked: the bucket knows better.
async fn configured_region(profile: Option<&str>) -> Option<String> {
    let environment = EnvironmentVariableRegionProvider::new().region().await;
    let region = match environment {
        Some(region) => Some(region),
        None => {
            let mut provider = ProfileFileRegionProvider::builder();
            if let Some(profile) = profile {
                provider = provider.profile_name(profile);
            }
            provider.build().region().await
        }
    };
    region.map(|region| region.as_ref().to_owned()).filter(|region| !region.is_empty())
}

async fn shared_config(settings: &Settings, http: SharedHttpClient, region: &str) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(region.to_owned()))
        .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(CONNECT_SECONDS)).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(keys) = &settings.keys {
        loader = loader.credentials_provider(Credentials::new(&keys.id, &keys.secret, None, None, "settings"));
    }
    loader.load().await
}

fn client(settings: &Settings, shared: &SdkConfig, endpoint: Option<&str>, region: Option<&str>) -> Client {
    let mut config = aws_sdk_s3::config::Builder::from(shared)
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(settings.path_style.unwrap_or(endpoint.is_some()));
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    if let Some(region) = region {
        config = config.region(Region::new(region.to_owned()));
    }
    Client::from_conf(config.build())
}

/// The bucket's region. Amazon tells it even to those who may do nothing; other servers have one that nobody names.
async fn ask_bucket(client: &Client, bucket: &str, layers: &Layers) -> Result<Option<String>, Failure> {
    let asked =
        layers.run(0, |_| async { client.head_bucket().bucket(bucket).send().await.map_err(Failure::from_sdk) }).await;
    match asked {
        Ok(answer) => Ok(answer.bucket_region),
        Err(failure) if failure.region.is_some() => Ok(failure.region),
        // The answer to a HEAD gives no reasons, and some servers say 404 to an unknown key. The first real request says
        // what is wrong, with the right that it needs.
        Err(failure)
            if matches!(
                failure.kind,
                Kind::Denied | Kind::Unsupported | Kind::Refused | Kind::Region | Kind::NotFound | Kind::NoBucket
            ) =>
        {
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_on_this_machine_or_are_encrypted() {
        let check = |endpoint: &str, is_plain: bool| assert_eq!(is_plain_network(endpoint), is_plain, "{endpoint}");
        check("https://s3.example.com", false);
        check("http://s3.example.com:9000", true);
        check("http://10.0.0.1/", true);
        check("http://127.0.0.1.example.com", true);
        check("http://localhost@example.com", true);
        check("http://127.0.0.1:9000", false);
        check("http://[::1]:9000/", false);
        check("http://[fe80::1]:9000/", true);
        check("http://localhost:9000", false);
    }
}
