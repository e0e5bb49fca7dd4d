//! `helenus export`: a backup as a tar on standard output.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{Global, IdentityArgs, SelectionArgs, output};
use crate::catalog::repository::Repository;
use crate::catalog::{Catalog, Wanted};
use crate::config::Config;
use crate::error::{Outcome, usage};
use crate::restore::Plan;
use crate::restore::export::export;
use crate::restore::plan::Scope;
use crate::restore::rename::Renames;
use crate::selection::SelectionText;
use crate::store;

const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub struct Options {
    /// Id of the backup, or `latest`
    backup: String,
    /// Repository: a name from the configuration, a path, or a URL
    #[arg(long, value_name = "NAME-OR-URL")]
    repository: String,
    /// What to write
    #[arg(long, value_enum, default_value = "tar")]
    format: Format,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Also export SSTables that were damaged when they were backed up
    #[arg(long)]
    include_damaged: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A plain tar
    Tar,
    /// Compressed with gzip
    #[value(name = "tar.gz")]
    Gzip,
    /// Compressed with zstd
    #[value(name = "tar.zst")]
    Zstd,
}

pub async fn run(global: &Global, config: &Config, options: Options) -> anyhow::Result<Outcome> {
    let Options { backup, repository, format, identity, selection, include_damaged } = options;
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Err(usage("a tar is nothing for a terminal: write `helenus export … > FILE`, or pipe it"));
    }
    let store = store::open(&config.repository(&repository)?).await?;
    Repository::open(store.as_ref()).await?;
    let selection = selection.parse(&SelectionText::default())?;
    let catalog = Catalog::of(store.as_ref());
    let wanted = Wanted { cluster: identity.cluster, host_id: identity.host_id };
    let manifest = catalog.manifest(&catalog.find(&backup, &wanted).await?).await?;
    let renames = Renames::default();
    let scope = Scope { manifest: &manifest, selection: &selection, renames: &renames, include_damaged, release: None };
    let plan = Plan::make(catalog, &scope, Path::new(".")).await?;
    let node = manifest.node_name();
    let counted = Counted { out: BufWriter::with_capacity(BUFFER_BYTES, stdout.lock()), bytes: 0 };
    let store = Arc::clone(&store);
    let (written, mut counted) = match format {
        Format::Tar => export(store, &node, &plan, include_damaged, counted).await?,
        Format::Gzip => {
            let encoder = flate2::write::GzEncoder::new(counted, flate2::Compression::default());
            let (written, encoder) = export(store, &node, &plan, include_damaged, encoder).await?;
            (written, encoder.finish().context("standard output")?)
        }
        Format::Zstd => {
            let mut encoder = zstd::Encoder::new(counted, 1)?;
            encoder.include_checksum(true)?;
            let (written, encoder) = export(store, &node, &plan, include_damaged, encoder).await?;
            (written, encoder.finish().context("standard output")?)
        }
    };
    counted.flush().context("standard output")?;
    output::note(
        global,
        &format!(
            "exported {}: {}, {} bytes, as {} bytes on standard output; every byte proven",
            manifest.backup_id,
            output::count(written.files, "file"),
            written.bytes,
            counted.bytes
        ),
    );
    for sstable in &plan.left_out {
        output::note(global, &format!("left out, damaged when it was backed up: {sstable}"));
    }
    for note in &plan.notes {
        output::note(global, note);
    }
    Ok(Outcome::Done)
}

/// Counts what goes out.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
