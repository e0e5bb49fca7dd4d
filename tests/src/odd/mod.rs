//! Deliberately odd SSTables: what CQL can write and no sane application does, one table for each oddity.
//!
//! [`fill`] writes them with a real server. Their content is always the same, but for the clock: write timestamps are given,
//! deletion times are the server's own.
//!
//! Three rounds, each flushed, with a compaction between the second and the third: flushed and compacted SSTables lie side
//! by side. Between the first and the second, columns are dropped and added.

mod deletions;
mod shapes;
mod types;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cassandra::{Node, Options, Version};
use crate::cql::Cql;

/// Write timestamps start here: 2023-11-14, in µs.
const EPOCH_MICROS: i64 = 1_700_000_000_000_000;
/// The longest TTL that Cassandra takes: 20 years.
const TTL_SECONDS_MAX: u64 = 630_720_000;
/// What a deletion time of `nb` can hold ends in 2038. Ten minutes before that: writing takes its time.
const LAST_SECOND: u64 = 2_147_483_000;

/// How a server is set up to write odd SSTables.
#[derive(Debug, Clone, Copy)]
pub struct Flavour {
    /// What the tests call it.
    pub name: &'static str,
    /// The release.
    pub version: Version,
    /// Version of the SSTables that it writes.
    pub writes: &'static str,
    /// Class of the partitioner, without its package.
    pub partitioner: &'static str,
    /// More lines of cassandra.yaml.
    pub yaml: &'static str,
}

impl Flavour {
    /// Every version that these releases write, and each partitioner once.
    pub const ALL: [Self; 5] = [
        Self { name: "4.0_nb", version: Version::V4_0, writes: "nb", partitioner: "Murmur3Partitioner", yaml: "" },
        Self {
            name: "4.1_nb",
            version: Version::V4_1,
            writes: "nb",
            partitioner: "ByteOrderedPartitioner",
            yaml: "uuid_sstable_identifiers_enabled: true",
        },
        Self { name: "5.0_nb", version: Version::V5_0, writes: "nb", partitioner: "RandomPartitioner", yaml: "" },
        Self {
            name: "5.0_oa",
            version: Version::V5_0,
            writes: "oa",
            partitioner: "Murmur3Partitioner",
            yaml: "storage_compatibility_mode: NONE",
        },
        Self {
            name: "5.0_da",
            version: Version::V5_0,
            writes: "da",
            partitioner: "Murmur3Partitioner",
            yaml: "storage_compatibility_mode: NONE\nsstable:\n  selected_format: bti\nuuid_sstable_identifiers_enabled: true",
        },
    ];

    /// The node's options.
    pub fn options(&self) -> Options {
        let spelled = match self.version {
            Version::V4_0 => "enable_materialized_views: true\ncommitlog_segment_size_in_mb: 32",
            Version::V4_1 | Version::V5_0 => "materialized_views_enabled: true\ncommitlog_segment_size: 32MiB",
        };
        let partitioner = format!("partitioner: org.apache.cassandra.dht.{}", self.partitioner);
        // A key that is there twice counts as it stands last.
        let extra_yaml = format!("flush_compression: table\n{spelled}\n{partitioner}\n{}", self.yaml);
        Options { extra_yaml, ..Options::default() }
    }

    /// True if deletion times beyond 2038 can be written.
    fn is_unsigned(&self) -> bool {
        self.writes != "nb"
    }

    /// The longest TTL that can be written now.
    fn ttl_seconds_max(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.is_unsigned() { TTL_SECONDS_MAX } else { TTL_SECONDS_MAX.min(LAST_SECOND.saturating_sub(now)) }
    }
}

/// Statements in the order in which they make sense.
#[derive(Debug, Default)]
struct Script {
    /// One after the other.
    schema: Vec<String>,
    /// In any order within a round: what counts is the timestamps.
    rounds: [Vec<String>; 3],
    /// Between the first and the second round, one after the other.
    changes: Vec<String>,
}

impl Script {
    fn of(flavour: &Flavour) -> Self {
        let mut script = Self::default();
        for keyspace in ["odd", "odd_unreadable", "\"OddNames\""] {
            script.schema.push(format!(
                "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
            ));
        }
        types::add(&mut script, flavour);
        deletions::add(&mut script);
        shapes::add(&mut script, flavour);
        script
    }

    fn table(&mut self, definition: &str) {
        self.schema.push(format!("CREATE TABLE {definition}"));
    }

    fn write(&mut self, round: usize, statement: impl Into<String>) {
        if let Some(round) = self.rounds.get_mut(round) {
            round.push(statement.into());
        }
    }
}

/// `USING TIMESTAMP`, so many µs after the epoch of these tables.
fn at(micros: i64) -> String {
    format!("USING TIMESTAMP {}", EPOCH_MICROS + micros)
}

/// Creates everything and writes it. At the end all tables of all keyspaces are flushed, the server's own too.
pub fn fill(flavour: &Flavour, node: &Node, cql: &Cql) -> anyhow::Result<()> {
    node.nodetool(&["disableautocompaction"])?;
    let Script { schema, rounds: [first, second, third], changes } = Script::of(flavour);
    for statement in &schema {
        cql.execute(statement)?;
    }
    node.nodetool(&["disableautocompaction"])?;
    cql.execute_all(first)?;
    node.nodetool(&["flush"])?;
    for statement in &changes {
        cql.execute(statement)?;
    }
    cql.execute_all(second)?;
    node.nodetool(&["flush"])?;
    node.nodetool(&["compact", "odd"])?;
    cql.execute_all(third)?;
    // The shortest TTL is over when somebody looks.
    std::thread::sleep(Duration::from_secs(2));
    node.nodetool(&["flush"])?;
    Ok(())
}
