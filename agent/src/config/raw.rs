//! The configuration file as written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use uuid::Uuid;

/// The whole file; every table may be left out. `deploy/helenus.toml` shows each key with its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What is remembered between runs.
    pub state_dir: Option<PathBuf>,
    /// The Cassandra beside us.
    #[serde(default)]
    pub node: Node,
    /// How backups are made.
    #[serde(default)]
    pub backup: Backup,
    /// How Cassandra itself is asked; without it, it is not.
    pub cql: Option<Cql>,
    /// Named repositories.
    #[serde(default)]
    pub repository: BTreeMap<String, Repository>,
}

/// Where the node's files are and who it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Path of `cassandra.yaml`.
    pub cassandra_yaml: Option<PathBuf>,
    /// Data directories, instead of those of `cassandra.yaml`.
    #[serde(default)]
    pub data_directories: Vec<PathBuf>,
    /// Cluster name, instead of that of `cassandra.yaml`.
    pub cluster: Option<String>,
    /// Host id, instead of the one that the SSTables name.
    pub host_id: Option<Uuid>,
}

/// How Cassandra itself is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cql {
    /// Name or IP address, instead of the `rpc_address` of `cassandra.yaml`.
    pub address: Option<String>,
    /// Port, instead of the `native_transport_port` of `cassandra.yaml`.
    pub port: Option<u16>,
    /// Who asks.
    pub user: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Certificates of the node's authority; with it, the connection is encrypted.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Name in the node's certificate, instead of its address.
    pub server_name: Option<String>,
}

/// How backups are made.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// `auto`, `all` or `none`.
    pub compress: Option<String>,
    /// SSTables read at a time.
    pub parallel: Option<usize>,
    /// Bytes, or a percentage of the file system.
    pub min_free: Option<String>,
    /// `10 min`.
    pub lock_wait: Option<String>,
    /// Default `--keyspace` globs.
    #[serde(default)]
    pub keyspaces: Vec<String>,
    /// Default `--table` globs.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Default `--exclude` globs.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A place for backups. All but `url` is for buckets only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// `file:///backups`, a path, `s3://bucket/prefix`, `gs://bucket/prefix`, or `az://container/prefix`.
    pub url: String,
    /// Another server than the service's own.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// The bucket in the path instead of the host name.
    pub path_style: Option<bool>,
    /// Storage account, for Azure.
    pub account: Option<String>,
    /// File of a service account, for Google.
    pub credentials_file: Option<PathBuf>,
    /// Profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// `aes256`, `kms` or `customer`.
    pub sse: Option<String>,
    /// Key for `sse = "kms"`.
    pub sse_kms_key_id: Option<String>,
    /// File with the key for `sse = "customer"`.
    pub sse_customer_key_file: Option<PathBuf>,
    /// Storage class of SSTables.
    pub storage_class: Option<String>,
    /// Tags of every object.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// `50 MiB/s`.
    pub rate_limit: Option<String>,
    /// Requests at a time.
    pub concurrency: Option<usize>,
}
