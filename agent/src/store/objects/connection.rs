//! From settings to a client of the library: account, credentials, certificates, endpoint.
//!
//! Credentials come from where the services' own tools look for them: environment, files, workload identity, the
//! machine. The proxy comes from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. The library makes one attempt at each
//! request and sets no limit of time: our layers do both.

use std::sync::Arc;
use std::time::Duration;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::HttpConnector;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::list::PaginatedListStore;
use object_store::multipart::MultipartStore;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};

use super::azure::{AccountKey, Deleter};
use super::settings::{Service, Settings};
use super::wire::Wire;
use crate::store::s3::failure::chain;
use crate::store::s3::throttle::Throttle;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Servers close idle connections after this or more; one that is closed under a request costs a retry.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// What we use of the library.
pub trait Client: ObjectStore + MultipartStore + PaginatedListStore {}

impl<C: ObjectStore + MultipartStore + PaginatedListStore> Client for C {}

/// A client, and the server that it speaks to.
#[derive(Debug)]
pub struct Connection {
    /// The library's client.
    pub client: Arc<dyn Client>,
    /// URL of the server.
    pub endpoint: String,
    /// What deletes instead of the client.
    pub deleter: Option<Deleter>,
}

/// Makes a client. The network is not used.
pub fn connect(settings: &Settings, throttle: Option<Arc<Throttle>>) -> Result<Connection, String> {
    let said = |error: object_store::Error| chain(&error);
    let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let wire = |endpoint: &str| -> Result<Wire, String> {
        let uri: http::Uri = endpoint.parse().map_err(|error| format!("the endpoint `{endpoint}`: {error}"))?;
        if uri.host().is_none() {
            return Err(format!("the endpoint `{endpoint}` names no host"));
        }
        Ok(Wire { service: settings.service, endpoint: uri, throttle: throttle.clone() })
    };
    let is_plain_http = |endpoint: &str| endpoint.starts_with("http://");
    match settings.service {
        Service::Google => {
            let mut builder = GoogleCloudStorageBuilder::from_env();
            if let Some(file) = &settings.credentials_file {
                builder = builder.with_service_account_path(file.display().to_string());
            }
            if let Some(token) = &settings.secret {
                let token = GcpCredential { bearer: token.0.clone() };
                builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(token)));
            }
            let endpoint = settings.endpoint.as_deref().unwrap_or("https://storage.googleapis.com");
            let client = builder
                .with_base_url(endpoint)
                .with_bucket_name(&settings.bucket)
                .with_retry(retries)
                .with_client_options(options(settings, is_plain_http(endpoint))?)
                .with_http_connector(wire(endpoint)?)
                .build()
                .map_err(said)?;
            Ok(Connection { client: Arc::new(client), endpoint: endpoint.to_owned(), deleter: None })
        }
        Service::Azure => {
            let environment = MicrosoftAzureBuilder::from_env();
            let told = |key: AzureConfigKey, names: &[&str]| {
                // The names that Azure's own command line reads, beside those of the library.
                let found = names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
                environment.get_config_value(&key).or(found)
            };
            let account =
                settings.account.clone().or_else(|| told(AzureConfigKey::AccountName, &["AZURE_STORAGE_ACCOUNT"]));
            let account = account.ok_or(
                "which storage account is it? Set `account` in the configuration, or AZURE_STORAGE_ACCOUNT_NAME",
            )?;
            let endpoint = settings.endpoint.clone().or_else(|| told(AzureConfigKey::Endpoint, &[]));
            let endpoint = endpoint.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
            let key = settings.secret.as_ref().map(|secret| secret.0.clone());
            let key = key.or_else(|| told(AzureConfigKey::AccessKey, &["AZURE_STORAGE_KEY"]));
            let mut builder = environment.with_account(&account);
            if let Some(key) = key {
                builder =
                    builder.with_credentials(Arc::new(AccountKey::new(&account, &key, is_plain_http(&endpoint))?));
            }
            let (options, wire) = (options(settings, is_plain_http(&endpoint))?, wire(&endpoint)?);
            let http = wire.connect(&options).map_err(said)?;
            let client = builder
                .with_endpoint(endpoint.clone())
                .with_container_name(&settings.bucket)
                .with_retry(retries)
                .with_client_options(options)
                .with_http_connector(wire)
                .build()
                .map_err(said)?;
            let deleter = Deleter::new(http, &client, &endpoint, &settings.bucket);
            Ok(Connection { client: Arc::new(client), endpoint, deleter: Some(deleter) })
        }
    }
}

fn options(settings: &Settings, is_plain_http: bool) -> Result<ClientOptions, String> {
    let mut options = ClientOptions::new()
        .with_allow_http(is_plain_http)
        .with_connect_timeout(CONNECT_LIMIT)
        .with_timeout_disabled()
        .with_read_timeout_disabled()
        .with_pool_idle_timeout(IDLE_LIMIT);
    if let Some(path) = &settings.ca_file {
        let place = || format!("ca_file {}", path.display());
        let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", place()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{}: {error}", place()))?;
        if certificates.is_empty() {
            return Err(format!("{}: expected certificates as PEM, found none", place()));
        }
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}
