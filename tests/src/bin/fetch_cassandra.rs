//! Fetches the jars of every Cassandra release that the tests run, so that no test waits for the network.
//!
//!     cargo run -p helenus-tests --bin fetch_cassandra

use helenus_tests::cassandra::{self, Version};

fn main() -> anyhow::Result<()> {
    for version in Version::ALL {
        println!("Cassandra {version}: {}", cassandra::jars(version)?.display());
    }
    cassandra::available().map_err(anyhow::Error::msg)
}
