//! What to know before old rows come back: other replicas may have forgotten that they were deleted, or remember it.
//!
//! A deletion hides what is older than itself, for as long as somebody remembers it: the table's `gc_grace_seconds`, by
//! default ten days. So
//!
//! - from a backup that is older than that, rows may come back for good that were deleted since;
//! - from a younger one, rows that were deleted since are there until the next repair (or read of several replicas), and
//!   then gone again. The node's own files are moved aside, deletions included; that they had any tells what the other
//!   replicas have.

use std::path::PathBuf;

use helenus_sstable::statistics::Statistics;
use helenus_sstable::statistics::stats::Stats;
use jiff::Timestamp;

use super::statistics;
use crate::schema::GC_GRACE_SECONDS;

/// More tables than this are counted, and not named.
const NAMED_MAX: usize = 5;

/// Said of a backup that began at `started`, if it is older than deletions of some `tables` are remembered: their names
/// and their `gc_grace_seconds`, where the schema of the target has them.
pub fn forgotten(
    tables: impl Iterator<Item = (String, Option<i32>)>,
    started: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let age_seconds = now.as_second() - started.as_second();
    let limit = |seconds: Option<i32>| i64::from(seconds.unwrap_or(GC_GRACE_SECONDS));
    let forgotten: Vec<String> = tables
        .filter(|(_, seconds)| age_seconds > limit(*seconds))
        .map(|(table, seconds)| format!("{table} ({})", limit(seconds)))
        .collect();
    let more = forgotten.len().saturating_sub(NAMED_MAX);
    (!forgotten.is_empty()).then(|| {
        format!(
            "the backup is {age_seconds} seconds old, and replicas forget deletions after gc_grace_seconds: rows that were \
             deleted since may come back for good, on all replicas once they are repaired: {}{}",
            forgotten[..forgotten.len() - more].join(", "),
            if more > 0 { format!(" and {more} more") } else { String::new() }
        )
    })
}

/// Said of a table if the SSTables in its `directories` have deletions of after `started`.
pub fn remembered(
    table: &str,
    directories: impl Iterator<Item = PathBuf>,
    started: Timestamp,
) -> anyhow::Result<Option<String>> {
    let mut sstables = 0;
    for directory in directories {
        for (path, version) in statistics::files(&directory)? {
            // What is damaged says nothing; it goes aside like the others.
            let Ok(bytes) = std::fs::read(path) else { continue };
            let stats = Statistics::parse(&bytes, version).ok().and_then(|statistics| statistics.stats);
            sstables += u64::from(stats.is_some_and(|stats| has_deletions_after(&stats, started)));
        }
    }
    Ok((sstables > 0).then(|| {
        format!(
            "{table}: {sstables} of the node's SSTables, which are moved aside, have deletions or expiring rows and were \
             written to after the backup began: other replicas, if there are any, have the same, and hide again what they delete"
        )
    }))
}

/// Times of single deletions are in the rows; `Statistics.db` has the newest write and whether there are deletions.
fn has_deletions_after(stats: &Stats, started: Timestamp) -> bool {
    let has_deletions = stats.tombstone_drop_times.count() > 0 || stats.has_partition_level_deletions == Some(true);
    has_deletions && stats.max_timestamp > started.as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_than_deletions_are_remembered() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a moment");
        let check = |tables: &[(&str, Option<i32>)], started: &str, expected: Option<&str>| {
            let tables = tables.iter().map(|(table, seconds)| ((*table).to_owned(), *seconds));
            let found = forgotten(tables, started.parse().expect("a moment"), now);
            assert_eq!(found.is_some(), expected.is_some(), "{started}: {found:?}");
            assert!(found.as_ref().is_none_or(|found| found.ends_with(expected.unwrap_or_default())), "{found:?}");
        };
        let unknown = [("shop.a", None)];
        check(&unknown, "2026-11-21T11:00:00Z", None);
        check(&unknown, "2026-11-11T12:00:00Z", None);
        check(&unknown, "2026-11-11T11:59:59Z", Some("repaired: shop.a (864000)"));
        check(&unknown, "2027-01-01T00:00:00Z", None);
        let known = [("shop.a", Some(3600)), ("shop.b", Some(60)), ("shop.c", None)];
        check(&known, "2026-11-21T11:00:00Z", Some("repaired: shop.b (60)"));
        check(&known, "2026-11-21T10:59:59Z", Some("repaired: shop.a (3600), shop.b (60)"));
        check(&[unknown[0]; 7], "2026-01-01T00:00:00Z", Some("shop.a (864000) and 2 more"));
    }
}
