//! Cassandra asked in its own language, where its files cannot answer: can a table be read?
//!
//!     Settings ─► Target (which address) ─► Session ─► who are you?   one row of a table
//!
//! One session to one node. The driver would like to know the whole cluster: it is kept from it by a filter, and from
//! telling the server its configuration. Nothing is written, and no schema is fetched.

mod address;
mod tls;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use uuid::Uuid;

pub use self::address::{Address, Target};
pub use self::tls::Tls;

/// The environment's password, for those who have no file.
pub const PASSWORD_VARIABLE: &str = "HELENUS_CQL_PASSWORD";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A node answers a local question within this, or something is wrong with it.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Connecting, logging in, and the driver's own first questions.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// `[cql]` of the configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the node listens, instead of what `cassandra.yaml` says.
    pub address: Address,
    /// Who asks.
    pub login: Option<Login>,
    /// How the connection is protected.
    pub tls: Option<Tls>,
}

/// A user with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// File whose first line is the password; without one the environment has it.
    pub password_file: Option<PathBuf>,
}

impl Login {
    fn password(&self) -> anyhow::Result<String> {
        let Some(path) = &self.password_file else {
            return std::env::var(PASSWORD_VARIABLE).with_context(|| {
                format!("cql.user `{}` has no password: set cql.password_file or {PASSWORD_VARIABLE}", self.user)
            });
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("cql.password_file {}", path.display()))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answerer {
    /// Host id of the node.
    pub host_id: Uuid,
    /// Name of its cluster.
    pub cluster: String,
    /// Cassandra's release.
    pub release: String,
}

/// Whom to ask, and how.
#[derive(Debug)]
pub struct Asked {
    /// From the configuration.
    pub settings: Settings,
    /// Where the node is, if that could be told.
    pub target: anyhow::Result<Target>,
}

/// A connection to one node.
pub struct Session {
    session: scylla::client::session::Session,
    target: Target,
}

impl Session {
    /// Connects and logs in.
    pub async fn open(settings: &Settings, target: &Target) -> anyhow::Result<Self> {
        let Target { dialed, named } = *target;
        let profile = ExecutionProfile::builder()
            .load_balancing_policy(DefaultPolicy::builder().token_aware(false).build())
            .retry_policy(Arc::new(FallthroughRetryPolicy))
            .consistency(Consistency::LocalOne)
            .request_timeout(Some(ANSWER_LIMIT))
            .build();
        let mut builder = SessionBuilder::new()
            .known_node_addr(dialed)
            .address_translator(Arc::new(HashMap::from([(named, dialed)])))
            .host_filter(Arc::new(AllowListHostFilter::new([named])?))
            .pool_size(PoolSize::PerHost(NonZeroUsize::MIN))
            .connection_timeout(CONNECT_LIMIT)
            .disallow_shard_aware_port(true)
            .fetch_schema_metadata(false)
            .fetch_full_schema_metadata(false)
            .driver_config_reporting(false)
            .default_execution_profile_handle(profile.into_handle());
        if let Some(login) = &settings.login {
            builder = builder.user(&login.user, login.password()?);
        }
        if let Some(tls) = &settings.tls {
            builder = builder.tls_context(Some(tls.client_config()?));
        }
        let opened = tokio::time::timeout(OPEN_LIMIT, builder.build()).await;
        let opened =
            opened.with_context(|| format!("CQL at {dialed}: no session within {} s", OPEN_LIMIT.as_secs()))?;
        let session = opened.with_context(|| format!("CQL at {dialed}"))?;
        Ok(Self { session, target: *target })
    }

    /// Asks the node for its name. A node that is not the one meant shows here.
    pub async fn who(&self) -> anyhow::Result<Answerer> {
        let question = "SELECT host_id, cluster_name, release_version FROM system.local WHERE key='local'";
        let answer = self.session.query_unpaged(question, ()).await.with_context(|| self.why())?;
        let rows = answer.into_rows_result()?;
        let (host_id, cluster, release) = rows.single_row::<(Uuid, String, String)>().with_context(|| self.why())?;
        Ok(Answerer { host_id, cluster, release })
    }

    /// Reads one row of a table, if it has one: whoever holds it, the node found the table and could answer.
    pub async fn read_one(&self, keyspace: &str, table: &str) -> anyhow::Result<()> {
        let statement = Statement::new(format!("SELECT * FROM {}.{} LIMIT 1", quote(keyspace), quote(table)));
        let read = self.session.query_unpaged(statement, ()).await;
        read.map(drop).with_context(|| format!("{keyspace}.{table} cannot be read"))
    }

    /// The driver's own words for this trap do not lead to it.
    fn why(&self) -> String {
        let Target { dialed, named } = self.target;
        format!(
            "CQL at {dialed}: the node was asked under the address {named}; if it calls itself otherwise, correct \
             broadcast_rpc_address or rpc_address in the cassandra.yaml that helenus reads"
        )
    }
}

/// A name as CQL takes any.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("Events"), "\"Events\"");
        assert_eq!(quote("a\"; DROP"), "\"a\"\"; DROP\"");
    }
}
