//! `helenus sstable dump`: what `sstabledump` prints, without a JVM.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use clap::{Args, ValueEnum};
use helenus_sstable::cql::literal;
use helenus_sstable::window::ReadError;

use super::super::{Global, output};
use super::place::Backup;
use crate::config::Config;
use crate::dump::{self, Dumped, Form, Request, Times};
use crate::error::{Outcome, usage};
use crate::sstable::{Rows, SSTable};

#[derive(Debug, Args)]
pub struct Options {
    /// Data.db files, other components or directories. With --repository, or a URL as the first: BACKUP
    /// KEYSPACE.TABLE [SSTABLE]…
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    show: Show,
    /// Print only the partitions with these keys; components of a key are joined by colons
    #[arg(short = 'k', long = "key", value_name = "KEY", num_args = 1.., allow_negative_numbers = true)]
    keys: Vec<String>,
    /// Leave out the partitions with these keys
    #[arg(short = 'x', long = "exclude-key", value_name = "KEY", num_args = 1.., allow_negative_numbers = true)]
    excluded: Vec<String>,
    /// Print the partition keys alone
    #[arg(short = 'e', long)]
    keys_only: bool,
    /// Print Cassandra's internal form, one row on a line
    #[arg(short = 'd', long, conflicts_with_all = ["format", "lines", "keys_only"])]
    internal: bool,
    /// One partition on a line; the same as --format jsonl
    #[arg(short = 'l', long, conflicts_with = "format")]
    lines: bool,
    /// Go on behind damage with the next partition that the index knows
    #[arg(long)]
    skip_damaged: bool,
    #[command(flatten)]
    backup: Backup,
}

/// How rows are shown.
#[derive(Debug, Args)]
pub struct Show {
    /// Form of the rows
    #[arg(long, value_enum, default_value = "json")]
    pub format: FormatName,
    /// Print times as numbers: microseconds and seconds since 1970
    #[arg(short = 't', long)]
    pub raw_times: bool,
}

/// Forms with a name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FormatName {
    /// An array of partitions, as sstabledump prints it
    Json,
    /// One partition on a line
    Jsonl,
    /// One cell, deletion or row on a line
    Csv,
}

impl Show {
    pub fn form(&self) -> Form {
        match self.format {
            FormatName::Json => Form::Json,
            FormatName::Jsonl => Form::JsonLines,
            FormatName::Csv => Form::Csv,
        }
    }

    pub fn times(&self) -> Times {
        Times { raw: self.raw_times, now: crate::time::now().as_second() }
    }
}

/// What is asked of every SSTable, before their types are known.
#[derive(Debug)]
pub struct Wish {
    pub form: Form,
    pub times: Times,
    pub keys: Vec<String>,
    pub excluded: Vec<String>,
    pub keys_only: bool,
    pub skip_damaged: bool,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { paths, show, keys, excluded, keys_only, internal, lines, skip_damaged, backup } = options;
    let (sstables, _) = backup.find(config, paths, true).await?;
    let form = match show.form() {
        _ if internal => Form::Internal,
        _ if lines => Form::JsonLines,
        form => form,
    };
    let wish = Wish { form, times: show.times(), keys, excluded, keys_only, skip_damaged };
    let outcome = tokio::task::block_in_place(|| print(global, &sstables, &wish))?;
    Ok(outcome.0)
}

/// Prints the rows of SSTables on standard output, one after the other; also how many partitions there were.
pub fn print(global: &Global, sstables: &[SSTable], wish: &Wish) -> anyhow::Result<(Outcome, u64)> {
    // The pieces are large: no need for the lines of the standard library.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut outcome = Outcome::Done;
    let mut partitions = 0;
    let request = request(wish, sstables);
    if !write(&mut out, dump::head(&request))? {
        return Ok((outcome, partitions));
    }
    for sstable in sstables {
        let dumped = sstable.rows().map_err(anyhow::Error::from).and_then(|rows| {
            let request = Request { keys: keys(&rows, &wish.keys)?, ..request.clone() };
            let name = (sstables.len() > 1).then(|| sstable.to_string());
            dump::dump(&rows, &Request { name, ..request }, partitions == 0, &mut out)
        });
        match dumped {
            Ok(dumped) => {
                partitions += dumped.partitions;
                if report(global, sstable, &dumped) {
                    outcome = Outcome::Findings;
                }
                if dumped.is_closed {
                    return Ok((outcome, partitions));
                }
            }
            // What is wrong with one SSTable does not keep the others from being shown.
            Err(error) if is_finding(&error) => {
                eprintln!("helenus: {sstable}: {error:#}");
                outcome = Outcome::Findings;
            }
            Err(error) => return Err(error.context(sstable.to_string())),
        }
    }
    write(&mut out, dump::tail(&request, partitions))?;
    Ok((outcome, partitions))
}

fn is_finding(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ReadError::Format(_))) || error.is::<helenus_sstable::Error>()
}

fn request(wish: &Wish, sstables: &[SSTable]) -> Request {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    Request {
        form: wish.form,
        keys_only: wish.keys_only,
        keys: Vec::new(),
        excluded: wish.excluded.iter().map(|key| key.clone().into_bytes()).collect::<BTreeSet<_>>(),
        times: wish.times,
        name: (sstables.len() > 1).then(String::new),
        skip_damaged: wish.skip_damaged,
        threads,
    }
}

fn keys(rows: &Rows, texts: &[String]) -> anyhow::Result<Vec<Vec<u8>>> {
    texts.iter().map(|text| literal::parse(&rows.header.partition_key, text).map_err(usage)).collect()
}

/// True if something needs a look.
fn report(global: &Global, sstable: &SSTable, dumped: &Dumped) -> bool {
    for (error, next) in &dumped.damage {
        match next {
            Some(next) => eprintln!("helenus: {sstable}-{error}; reading went on at {next}"),
            None => eprintln!(
                "helenus: {sstable}-{error}; nothing behind it was read (--skip-damaged goes on with the next \
                 partition that the index knows)"
            ),
        }
    }
    if let Some(error) = &dumped.index {
        eprintln!("helenus: {sstable}: the index was of no use: {error}");
    }
    for position in &dumped.misread_deletions {
        let text = format!(
            "{sstable}-Data.db at {position}: the partition's deletion has a negative timestamp, which Cassandra 5.0 \
             writes and takes for damage when it reads it; it was read as it was meant"
        );
        output::note(global, &text);
    }
    !dumped.damage.is_empty() || dumped.index.is_some()
}

/// False if nobody reads any more.
fn write(out: &mut File, text: &[u8]) -> anyhow::Result<bool> {
    match out.write_all(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}
