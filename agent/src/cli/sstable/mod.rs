//! `helenus sstable`: single SSTables, wherever they lie.

mod dump;
mod get;
mod metadata;
mod place;
mod verify;

use clap::Subcommand;

use super::Global;
use crate::config::Config;
use crate::error::Outcome;

pub use verify::{Depth, verify};

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the rows of SSTables: as JSON, JSON lines or CSV
    Dump(dump::Options),
    /// Print the partitions with these keys
    Get(get::Options),
    /// Show what Statistics.db and the other small components say
    Metadata(metadata::Options),
    /// Check every byte of the SSTables against their checksums, and their components against each other
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// Look at every partition and row, too: their order, the indexes, the filter, what Statistics.db claims
    #[arg(long)]
    extended: bool,
    #[command(flatten)]
    paths: place::Paths,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    match options.action {
        Action::Dump(options) => dump::run(global, config, options).await,
        Action::Get(options) => get::run(global, config, options).await,
        Action::Metadata(options) => metadata::run(global, config, options).await,
        Action::Verify(Verify { extended, paths }) => {
            tokio::task::block_in_place(|| verify(global, &paths.find()?, Depth::of(extended), "", &[]))
        }
    }
}
