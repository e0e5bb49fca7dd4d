//! `Statistics.db` of an SSTable that forgets its repairs: `repaired at` is 0, there is no pending repair, and if wanted
//! it is at level 0.
//!
//! Cassandra does the same with `sstablerepairedset --is-unrepaired` and `sstablelevelreset`
//! (`MetadataSerializer.mutate`). The file keeps its length and its table of contents: sixteen zeros at the end of STATS
//! stand in for the id of a pending repair, as readers take zeros there for padding.

use super::stats::Stats;
use super::{Statistics, checked, checksum_name, parts};
use crate::cql::wire::Reader;
use crate::error::{Error, Result};
use crate::version::Version;

const STATS: i32 = 2;
const UUID_BYTES: usize = 16;

/// The whole file without repairs; `to_level_0` takes its level, too. A file that does not parse is an error, and so is
/// one without STATS.
pub fn unrepaired(bytes: &[u8], version: Version, to_level_0: bool) -> Result<Vec<u8>> {
    Statistics::parse(bytes, version)?;
    let has_checksums = version.has_metadata_checksums();
    let part = parts(bytes, has_checksums)?.into_iter().find(|part| part.kind == STATS);
    let Some(part) = part else { return Err(Error::corrupt(0, "parts", "STATS among them", "none")) };
    let mut reader = Reader::new(bytes.get(part.start..part.end).unwrap_or_default(), part.start as u64);
    if has_checksums {
        reader = checked(reader, checksum_name(STATS))?;
    }
    let body = rewrite(reader, version, to_level_0)?;
    let sum = has_checksums.then(|| crc32fast::hash(&body).to_be_bytes());
    let mut file = bytes.get(..part.start).unwrap_or_default().to_vec();
    file.extend_from_slice(&body);
    file.extend(sum.into_iter().flatten());
    file.extend_from_slice(bytes.get(part.end..).unwrap_or_default());
    Ok(file)
}

fn rewrite(body: Reader<'_>, version: Version, to_level_0: bool) -> Result<Vec<u8>> {
    let (_, mutable) = Stats::read(&mut body.clone(), version)?;
    let mut rest = body.clone();
    let mut to = |offset: u64| rest.bytes(offset.saturating_sub(rest.offset()) as usize, "STATS");
    let mut rewritten = to(mutable.level)?.to_vec();
    let level = to(mutable.level + 4)?;
    rewritten.extend_from_slice(if to_level_0 { &[0; 4] } else { level });
    to(mutable.level + 12)?;
    rewritten.extend_from_slice(&[0; 8]);
    let mut padding = 0;
    if let Some((at_pending, at_transient)) = mutable.pending_repair {
        rewritten.extend_from_slice(to(at_pending)?);
        if to(at_pending + 1)? == [1] {
            to(at_pending + 1 + UUID_BYTES as u64)?;
            padding = UUID_BYTES;
        }
        rewritten.push(0);
        if let Some(at_transient) = at_transient {
            to(at_transient + 1)?;
            rewritten.push(0);
        }
    }
    rewritten.extend_from_slice(rest.rest());
    rewritten.resize(rewritten.len() + padding, 0);
    Ok(rewritten)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;
    use crate::statistics::stats::RepairGroup;
    use crate::statistics::tests::{VERSIONS, file, version};

    #[test]
    fn nothing_else_changes() {
        for text in VERSIONS {
            let (bytes, version) = (file(text), version(text));
            let mut expected = Statistics::parse(&bytes, version).unwrap();
            for to_level_0 in [false, true] {
                let rewritten = unrepaired(&bytes, version, to_level_0).unwrap();
                assert_eq!(rewritten.len(), bytes.len(), "{text}");
                let stats = expected.stats.as_mut().unwrap();
                assert_ne!(stats.repair_group(), RepairGroup::Unrepaired, "{text} {to_level_0}");
                (stats.repaired_at, stats.pending_repair, stats.is_transient) = (None, None, false);
                if to_level_0 {
                    stats.level = 0;
                }
                assert_eq!(Statistics::parse(&rewritten, version).unwrap(), expected, "{text} {to_level_0}");
                assert_eq!(unrepaired(&rewritten, version, to_level_0).unwrap(), rewritten, "{text}: once more");
                expected = Statistics::parse(&bytes, version).unwrap();
            }
        }
    }

    #[test]
    fn what_does_not_parse_is_not_rewritten() {
        let bytes = file("oa");
        for cut in 0..bytes.len() {
            assert!(unrepaired(&bytes[..cut], version("oa"), true).is_err(), "cut at {cut}");
        }
        assert!(unrepaired(&0_i32.to_be_bytes(), version("me"), true).unwrap_err().to_string().contains("STATS"));
    }
}
