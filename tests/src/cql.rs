//! CQL to one node, blocking: statements, rows as text, and a dump of a table that can be compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::unprepared::Statement;
use scylla::value::Row;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cassandra::Node;

/// Statements that are under way at the same time in [`Cql::execute_all`].
const CONCURRENCY: usize = 48;
/// The longest wait for a first answer after the port has opened.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a node.
pub struct Cql {
    // Dropped in this order: the session's tasks run on the runtime.
    session: Arc<Session>,
    runtime: Runtime,
}

impl Cql {
    /// Connects to a node that is up.
    pub fn connect(node: &Node) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let start = Instant::now();
        let session = loop {
            match runtime.block_on(session(node.address().cql())) {
                Ok(session) => break session,
                Err(error) if start.elapsed() > CONNECT_LIMIT => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        };
        Ok(Self { session: Arc::new(session), runtime })
    }

    /// Runs a statement that returns no rows.
    pub fn execute(&self, statement: &str) -> anyhow::Result<()> {
        self.runtime
            .block_on(self.session.query_unpaged(statement, ()))
            .with_context(|| format!("CQL: {statement}"))?;
        Ok(())
    }

    /// Runs many statements that return no rows, some at the same time: order between them is not kept.
    pub fn execute_all(&self, statements: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for statement in statements {
                if running.len() >= CONCURRENCY {
                    finish_one(&mut running).await?;
                }
                let session = Arc::clone(&self.session);
                running.spawn(async move {
                    let answer = session.query_unpaged(statement.as_str(), ()).await;
                    answer.map(|_| ()).with_context(|| format!("CQL: {statement}"))
                });
            }
            while !running.is_empty() {
                finish_one(&mut running).await?;
            }
            Ok(())
        })
    }

    /// The rows of a query, each as `name=value` for every column, in the order of the answer.
    pub fn rows(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let answer =
            self.runtime.block_on(self.session.query_unpaged(query, ())).with_context(|| format!("CQL: {query}"))?;
        let answer = answer.into_rows_result()?;
        let names: Vec<String> = answer.column_specs().iter().map(|column| column.name().to_owned()).collect();
        let mut rows = Vec::with_capacity(answer.rows_num());
        for row in answer.rows::<Row>()? {
            let cells = names.iter().zip(row?.columns).map(|(name, value)| match value {
                Some(value) => format!("{name}={value:?}"),
                None => format!("{name}=null"),
            });
            rows.push(cells.collect::<Vec<_>>().join(" "));
        }
        Ok(rows)
    }

    /// Every row of a table, sorted. `table` as CQL writes it: `shop.orders`, `"Mixed"."Case"`.
    pub fn dump(&self, table: &str) -> anyhow::Result<Vec<String>> {
        let mut rows = self.rows(&format!("SELECT * FROM {table}"))?;
        rows.sort();
        Ok(rows)
    }
}

async fn finish_one(running: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    match running.join_next().await {
        Some(answer) => answer?,
        None => Ok(()),
    }
}

async fn session(address: SocketAddr) -> anyhow::Result<Session> {
    let profile = ExecutionProfile::builder()
        .retry_policy(Arc::new(FallthroughRetryPolicy))
        .request_timeout(Some(Duration::from_secs(60)))
        .build();
    let session = SessionBuilder::new()
        .known_node_addr(address)
        .pool_size(PoolSize::PerHost(std::num::NonZeroUsize::MIN))
        .disallow_shard_aware_port(true)
        .fetch_schema_metadata(false)
        .driver_config_reporting(false)
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await?;
    session.query_unpaged(Statement::new("SELECT key FROM system.local"), ()).await?;
    Ok(session)
}
