//! `helenus sstable get`: partitions by their keys, through the index.

use clap::Args;

use super::super::Global;
use super::dump::{Show, Wish, print};
use super::place::Backup;
use crate::config::Config;
use crate::error::{Outcome, usage};

#[derive(Debug, Args)]
pub struct Options {
    /// An SSTable or a directory, then keys; components of a key are joined by colons. With --repository, or a URL as
    /// the first: BACKUP KEYSPACE.TABLE KEY…
    #[arg(required = true, value_name = "PATH> <KEY", num_args = 1.., allow_negative_numbers = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    backup: Backup,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { arguments, show, backup } = options;
    let (sstables, keys) = backup.find(config, arguments, false).await?;
    if keys.is_empty() {
        return Err(usage("which partition? Pass its key after the path"));
    }
    let wish = Wish {
        form: show.form(),
        times: show.times(),
        keys,
        excluded: Vec::new(),
        keys_only: false,
        skip_damaged: false,
    };
    let (outcome, partitions) = tokio::task::block_in_place(|| print(global, &sstables, &wish))?;
    if partitions == 0 && matches!(outcome, Outcome::Done) {
        anyhow::bail!("no partition with {}", if wish.keys.len() == 1 { "this key" } else { "one of these keys" });
    }
    Ok(outcome)
}
