//! What `Statistics.db` claims of the rows: Cassandra skips an SSTable, or drops its tombstones, by these numbers.

use std::cmp::Ordering;

use crate::component::Component;
use crate::cql::order::{ClusteringOrder, Place};
use crate::cql::row::{BoundKind, DeletionTime, Expiration};
use crate::statistics::Statistics;
use crate::statistics::stats::{self, Stats};
use crate::verify::report::{Finding, Findings};
use crate::version::Version;

use super::RowsReport;

/// How 5.0 marks a time that cannot be; its predecessors have negative numbers.
const INVALID_DELETION_TIME: i64 = 0xffff_fffe;

/// The claims, in numbers that are cheap to compare with. Without STATS everything is within them.
#[derive(Debug)]
pub(super) struct Bounds {
    timestamps: (i64, i64),
    local_deletion_times: (i64, i64),
    ttls: (i32, i32),
    /// Both ends of the clusterings, as they are stored in a bound.
    clusterings: Option<(Edge, Edge)>,
    may_have_partition_deletions: bool,
    /// Simple cells and complex columns with cells.
    columns: i64,
}

#[derive(Debug)]
struct Edge {
    kind: BoundKind,
    values: Vec<Option<Vec<u8>>>,
}

impl Bounds {
    pub(super) fn new(version: Version, statistics: &Statistics) -> Self {
        let Some(stats) = &statistics.stats else {
            return Self {
                timestamps: (i64::MIN, i64::MAX),
                local_deletion_times: (i64::MIN, i64::MAX),
                ttls: (i32::MIN, i32::MAX),
                clusterings: None,
                may_have_partition_deletions: true,
                columns: 0,
            };
        };
        Self {
            timestamps: (stats.min_timestamp, stats.max_timestamp),
            local_deletion_times: (
                stats.min_local_deletion_time.unwrap_or(i64::MAX),
                stats.max_local_deletion_time.unwrap_or(i64::MAX),
            ),
            ttls: (stats.min_ttl, stats.max_ttl),
            clusterings: clusterings(version, stats),
            may_have_partition_deletions: stats.has_partition_level_deletions.unwrap_or(true),
            columns: 0,
        }
    }

    /// What a write time breaks.
    #[inline]
    pub(super) fn timestamp(&self, timestamp: i64) -> Option<Broken> {
        let (min, max) = self.timestamps;
        (timestamp < min || timestamp > max).then(|| Broken::new("timestamp", (min, max), timestamp))
    }

    #[inline]
    pub(super) fn local_deletion_time(&self, time: i64) -> Option<Broken> {
        let (min, max) = self.local_deletion_times;
        let is_valid = time >= 0 && time != INVALID_DELETION_TIME;
        (is_valid && (time < min || time > max)).then(|| Broken::new("local deletion time", (min, max), time))
    }

    #[inline]
    pub(super) fn expiration(&self, expiration: Expiration) -> Option<Broken> {
        let (min, max) = self.ttls;
        let Expiration { ttl, local_expiration_time } = expiration;
        if ttl != Expiration::EXPIRED_TTL && (ttl < min || ttl > max) {
            return Some(Broken::new("TTL", (min.into(), max.into()), ttl.into()));
        }
        self.local_deletion_time(local_expiration_time)
    }

    pub(super) fn deletion(&self, deletion: DeletionTime) -> Option<Broken> {
        if deletion.is_live() {
            return None;
        }
        self.timestamp(deletion.marked_for_delete_at).or_else(|| self.local_deletion_time(deletion.local_deletion_time))
    }

    pub(super) fn partition_deletion(&self, deletion: DeletionTime) -> Option<Broken> {
        if !self.may_have_partition_deletions && !deletion.is_live() {
            let got = deletion.marked_for_delete_at.to_string();
            return Some(Broken { what: "deletion of a partition", expected: "none in this SSTable".to_owned(), got });
        }
        self.deletion(deletion)
    }

    pub(super) fn clustering(&self, order: &ClusteringOrder, place: Place<'_>) -> Option<Broken> {
        let (start, end) = self.clusterings.as_ref()?;
        let compare = |edge: &Edge| order.compare_to_bound(place, &edge.values, edge.kind);
        let is_outside = compare(start) == Ordering::Less || compare(end) == Ordering::Greater;
        is_outside.then(|| Broken {
            what: "clustering",
            expected: "within the clusterings that Statistics.db claims".to_owned(),
            got: "outside".to_owned(),
        })
    }

    #[inline]
    pub(super) fn count_column(&mut self) {
        self.columns += 1;
    }

    /// After everything was read: the numbers that Statistics.db counts.
    pub(super) fn check_numbers(&self, statistics: &Statistics, report: &RowsReport, findings: &mut Findings) {
        let Some(stats) = &statistics.stats else { return };
        let mut compare = |what, expected: i128, got: i128| {
            if expected != got {
                findings.add(Finding::damage(Component::Statistics, None, what, got, expected));
            }
        };
        compare("number of partitions", stats.partition_count().into(), report.partitions.into());
        compare("number of rows", stats.total_rows.into(), report.rows.into());
        compare("number of columns set", stats.total_columns_set.into(), self.columns.into());
    }
}

/// The claimed range of clusterings; `None` if there is none, or none to be trusted.
fn clusterings(version: Version, stats: &Stats) -> Option<(Edge, Edge)> {
    if let Some(covered) = &stats.covered_clustering {
        let edge = |bound: &stats::Bound| {
            Some(Edge { kind: BoundKind::from_ordinal(bound.kind)?, values: bound.values.clone() })
        };
        return Some((edge(&covered.start)?, edge(&covered.end)?));
    }
    let legacy = stats.legacy_clustering.as_ref().filter(|_| version.has_accurate_min_max())?;
    let edge = |kind, values: &[Vec<u8>]| {
        // Null is stored as an empty value here, so an empty one may be either.
        let values = values.iter().take_while(|value| !value.is_empty()).cloned().map(Some).collect();
        Edge { kind, values }
    };
    Some((edge(BoundKind::InclStart, &legacy.min), edge(BoundKind::InclEnd, &legacy.max)))
}

/// A claim of `Statistics.db` that the data breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) what: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Broken {
    #[cold]
    fn new(what: &'static str, (min, max): (i64, i64), got: i64) -> Self {
        let expected = match (min, max) {
            (min, i64::MAX) if min < i64::MAX => format!("{min} or more, as Statistics.db claims"),
            (i64::MAX, _) => "none in this SSTable, as Statistics.db claims".to_owned(),
            _ => format!("{min} to {max}, as Statistics.db claims"),
        };
        Self { what, expected, got: got.to_string() }
    }
}
