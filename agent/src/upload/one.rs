//! One SSTable on its way to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use helenus_sstable::component::Component;
use helenus_sstable::digest::Digest;

use super::fan_out::FanOut;
use super::outgoing::Finished;
use super::{Context, Item};
use crate::fs::Dir;
use crate::inspect::{Inspection, Nowhere, inspect};
use crate::manifest::model::{Amount, StoredSSTable};
use crate::store::key::Root;

/// Memory of a component that is not held: slices on their way, and the store's own buffers.
const STREAM_BYTES: u64 = 4 << 20;

/// Memory of an SSTable that is held whole, besides its components and their tar: a slice and a compressor.
const HELD_BYTES: u64 = 2 << 20;

/// The buffers of each further store. The slices are the same for all.
const STORE_BYTES: u64 = 1 << 20;

/// An SSTable that is stored in one repository, and what of it was not there before.
#[derive(Debug)]
pub struct Outcome {
    /// Number of the repository.
    pub destination: usize,
    pub stored: StoredSSTable,
    pub added: Amount,
}

/// Reads, checks and stores one SSTable wherever it is lacking; repositories that failed are not among the outcomes.
/// What is damaged is stored as such. When all have confirmed, the links go.
pub fn store(context: &Arc<Context>, item: &Item) -> anyhow::Result<Vec<Outcome>> {
    let held = item.files.held_bytes();
    let besides = if held < item.files.bytes() { STREAM_BYTES } else { HELD_BYTES };
    let others = item.to.len().saturating_sub(1) as u64;
    let need = (held * 2 + besides + others * STORE_BYTES).div_ceil(1 << 10);
    let need = u32::try_from(need).unwrap_or(u32::MAX).min(super::BUDGET_KIB);
    let _budget = context.runtime.block_on(context.budget.clone().acquire_many_owned(need))?;
    let (finished, inspection, damaged) = match send(context, item) {
        // Whoever lacks it has failed: there is nothing to be told here, and its links go.
        Err(_) if !item.is_wanted(context) => (Vec::new(), None, false),
        other => {
            let (finished, inspection, damaged) = other?;
            (finished, Some(inspection), damaged)
        }
    };
    let findings = inspection.map_or_else(Vec::new, |inspection| findings(item, &inspection));
    let outcome = |Finished { destination, files, added }| {
        let stored = StoredSSTable {
            sstable: item.files.descriptor.to_string(),
            index: item.index.clone(),
            data_directory: item.data_directory,
            damaged,
            findings: findings.clone(),
            files,
        };
        Outcome { destination, stored, added }
    };
    let outcomes = finished.into_iter().map(outcome).collect();
    if item.is_transient {
        unlink(item)?;
    }
    context.progress.bytes.fetch_add(item.files.bytes(), Ordering::Relaxed);
    Ok(outcomes)
}

fn send(context: &Arc<Context>, item: &Item) -> anyhow::Result<(Vec<Finished>, Inspection, bool)> {
    let look = || anyhow::Ok(inspect(&item.files, &context.buffers, &mut Nowhere)?.data_crc);
    let crc = if item.doubt.is_some() {
        look()?
    } else {
        // The key is claimed from what Cassandra wrote, and proven before the object comes to be.
        // Nobody knows what the digest of an unknown version covers.
        let digest = if item.files.descriptor.version.is_parsable() { digest(item)? } else { None };
        let claimed = digest.map_or_else(look, Ok)?;
        let mut fan_out = FanOut::new(context, item, Root::Data, claimed)?;
        let inspection = inspect(&item.files, &context.buffers, &mut fan_out)?;
        if !inspection.is_damaged() && inspection.data_crc == claimed {
            return Ok((fan_out.finish(&inspection)?, inspection, false));
        }
        drop(fan_out);
        inspection.data_crc
    };
    // Under another root, and under the sum that its bytes really have.
    let mut fan_out = FanOut::new(context, item, Root::Damaged, crc)?;
    let inspection = inspect(&item.files, &context.buffers, &mut fan_out)?;
    Ok((fan_out.finish(&inspection)?, inspection, true))
}

/// What Digest.crc32 says: outer `None` if there is no such file or no number in it.
fn digest(item: &Item) -> anyhow::Result<Option<Option<u32>>> {
    if !item.files.lengths.contains_key(&Component::Digest) {
        return Ok(None);
    }
    let path = item.files.path(&Component::Digest);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(Digest::parse(&bytes).ok().map(|digest| Some(digest.0)))
}

fn findings(item: &Item, inspection: &Inspection) -> Vec<String> {
    let mut findings: Vec<String> = item.doubt.iter().map(|doubt| format!("it may not count: {doubt}")).collect();
    findings.extend(inspection.findings.iter().map(ToString::to_string));
    if inspection.findings_dropped > 0 {
        findings.push(format!("and {} more", inspection.findings_dropped));
    }
    findings
}

fn unlink(item: &Item) -> anyhow::Result<()> {
    let dir = Dir::open(&item.files.directory)?;
    for component in item.files.lengths.keys() {
        match dir.unlink_child(item.files.descriptor.file_name(component)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}
