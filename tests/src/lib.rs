//! The harness: real Cassandra servers, a schema with everything in it, the sample node, and the program under test.
//!
//! The tests themselves are in `tests/tests`.

pub mod agent;
#[cfg(feature = "objects")]
pub mod azurite;
pub mod cassandra;
pub mod cql;
pub mod dump_diff;
pub mod odd;
pub mod process;
pub mod repository;
pub mod s3_server;
pub mod sample;
pub mod schema;
pub mod store_suite;
pub mod tools;
pub mod versitygw;
