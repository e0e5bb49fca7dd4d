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
    if let Some(lost) = plan.lost_tables.first() {
        anyhow::bail!(
            "{lost} of {} cannot be exported: {}; --exclude leaves the table out",
            manifest.backup_id,
            lost.problems.join("; ")
        );
    }
    let node = manifest.node_name();
    let mut counted = Counted { out: BufWriter::with_capacity(BUFFER_BYTES, stdout.lock()), bytes: 0, is_cut: false };
    let store = Arc::clone(&store);
    let written = match format {
        Format::Tar => export(store, &node, &plan, include_damaged, &mut counted).await?,
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut counted, flate2::Compression::default());
            let exported = export(store, &node, &plan, include_damaged, &mut encoder).await;
            if exported.is_err() {
                // Dropped, the encoder would end the stream as if nothing had happened.
                let _ = encoder.flush();
                encoder.get_mut().is_cut = true;
            }
            let written = exported?;
            encoder.finish().context("standard output")?;
            written
        }
        Format::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut counted, 1)?;
            encoder.include_checksum(true)?;
            let exported = export(store, &node, &plan, include_damaged, &mut encoder).await;
            if exported.is_err() {
                let _ = encoder.flush();
            }
            let written = exported?;
            encoder.finish().context("standard output")?;
            written
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
    /// Nothing goes out any more: what did is incomplete, and must not look complete.
    is_cut: bool,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
