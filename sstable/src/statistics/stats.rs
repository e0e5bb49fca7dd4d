//! STATS: what Cassandra has counted about an SSTable, and what compaction and repair have noted on it.
//!
//! The fields follow one another without tags; which of them are there depends on the version:
//!
//! ```text
//! histogram partition sizes | histogram cells per partition | position commit log upper bound
//! i64 min timestamp | i64 max | i32 min local deletion time | i32 max | i32 min TTL | i32 max
//! f64 compression ratio | tombstone histogram | i32 level | i64 repaired at
//! ma ... nc: min and max clustering: 2 x ( i32 n | n x sbytes )
//! oa, da:    covered clustering: uvint n | n x vbytes type | bound | bound
//! u8 has legacy counter shards | i64 columns set | i64 rows
//! mb on: position commit log lower bound     mc on: i32 n | n x ( position | position )
//! na on: u8 + 16 pending repair | u8 transient
//! me, nb on: u8 + 16 originating host id
//! oa, da: u8 has partition deletions | vbytes first key | vbytes last key | f64 token coverage
//! nc: u8 has partition deletions | covered clustering | vbytes first key | vbytes last key
//! ```
//!
//! Zeros may follow: 5.0 overestimates the size of the tombstone histogram by four bytes per bin.

use super::header;
use super::histogram::{EstimatedHistogram, TombstoneHistogram};
use crate::cql::types::Type;
use crate::cql::wire::Reader;
use crate::error::{Error, Result};
use crate::version::Version;

/// A place in a node's commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Id in the name of the segment; -1 if there is no position.
    pub segment_id: i64,
    /// Offset in the segment.
    pub position: i32,
}

impl Position {
    /// How Cassandra writes that there is no position: nothing of the SSTable went through the commit log.
    pub const NONE: Self = Self { segment_id: -1, position: 0 };

    fn read(reader: &mut Reader<'_>, what: &'static str) -> Result<Self> {
        Ok(Self { segment_id: reader.i64(what)?, position: reader.i32(what)? })
    }
}

/// One end of a range of clusterings: a prefix of a clustering, and on which side of it the end lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Ordinal of `ClusteringPrefix.Kind`: 1 from the prefix on, 7 from after it; 6 up to and with it, 0 up to before.
    pub kind: u8,
    /// Values of the first columns; `None` is null, which is not the same as empty.
    pub values: Vec<Option<Vec<u8>>>,
}

/// Extremes of each clustering column by itself; columns may be missing at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyClustering {
    /// Lowest value per column.
    pub min: Vec<Vec<u8>>,
    /// Highest value per column.
    pub max: Vec<Vec<u8>>,
}

/// The range in which all clusterings of the SSTable lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredClustering {
    /// Types of the clustering columns, as Java class names.
    pub types: Vec<String>,
    /// Lower end.
    pub start: Bound,
    /// Upper end.
    pub end: Bound,
}

/// The STATS part of `Statistics.db`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Bytes per partition; its count is the number of partitions.
    pub partition_sizes: EstimatedHistogram,
    /// Cells per partition; its count is the number of partitions.
    pub cells_per_partition: EstimatedHistogram,
    /// Where the commit log stood when the last write was flushed; [`Position::NONE`] if unknown.
    pub commit_log_upper_bound: Position,
    /// Lowest write time of anything in the SSTable, in microseconds since 1970.
    pub min_timestamp: i64,
    /// Highest write time, in microseconds since 1970.
    pub max_timestamp: i64,
    /// First second since 1970 in which something was deleted or expires; `None` if nothing ever does. `0xFFFF_FFFE`
    /// is how 5.0 marks an invalid time, a negative number how its predecessors did.
    pub min_local_deletion_time: Option<i64>,
    /// The last such second; `None` if something in the SSTable stays for good.
    pub max_local_deletion_time: Option<i64>,
    /// Seconds; 0 if something has no TTL.
    pub min_ttl: i32,
    /// Seconds; 0 if nothing has a TTL.
    pub max_ttl: i32,
    /// Compressed size by uncompressed size; `None` if not compressed. Advisory.
    pub compression_ratio: Option<f64>,
    /// When tombstones may be dropped.
    pub tombstone_drop_times: TombstoneHistogram,
    /// Level of leveled compaction.
    pub level: i32,
    /// Milliseconds since 1970 of the repair that covers the SSTable; `None` if unrepaired.
    pub repaired_at: Option<i64>,
    /// Lowest and highest clustering values (`ma` ... `nc`; not to be trusted before `md`).
    pub legacy_clustering: Option<LegacyClustering>,
    /// Range of the clusterings (`nc`, `oa`, `da`).
    pub covered_clustering: Option<CoveredClustering>,
    /// Whether counters of before 2.1 are in it. Advisory.
    pub has_legacy_counter_shards: bool,
    /// Cells and deletions of columns.
    pub total_columns_set: i64,
    /// Rows, static ones included.
    pub total_rows: i64,
    /// Which writes of the commit log are in the SSTable. Before `mc` the one range between the two bounds, as
    /// Cassandra itself takes it; before `mb` that range starts with [`Position::NONE`].
    pub commit_log_intervals: Vec<(Position, Position)>,
    /// Time UUID of the incremental repair that has claimed the SSTable.
    pub pending_repair: Option<[u8; 16]>,
    /// Whether it holds data of a transient replica.
    pub is_transient: bool,
    /// Node whose commit log the positions are of (`me`, `nb` and later).
    pub originating_host_id: Option<[u8; 16]>,
    /// Whether any partition was deleted as a whole (`nc`, `oa`, `da`).
    pub has_partition_level_deletions: Option<bool>,
    /// First partition key (`nc`, `oa`, `da`).
    pub first_key: Option<Vec<u8>>,
    /// Last partition key (`nc`, `oa`, `da`).
    pub last_key: Option<Vec<u8>>,
    /// Fraction of the ring that the SSTable covers, where unified compaction has noted it (`oa`, `da`).
    pub token_space_coverage: Option<f64>,
}

/// Which SSTables compaction never merges with which others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepairGroup {
    /// No repair covers it.
    Unrepaired,
    /// A repair covers it, whichever one.
    Repaired,
    /// This repair has claimed it, and keeps apart what is of a transient replica.
    Pending([u8; 16], bool),
}

/// Where the fields lie that change after an SSTable was written: offsets in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mutable {
    /// Four bytes; the eight of `repaired at` follow.
    pub level: u64,
    /// The flag of the pending repair, 1 if its 16 bytes follow; and the transient flag, where there is one.
    pub pending_repair: Option<(u64, Option<u64>)>,
}

impl Stats {
    pub(super) fn read(reader: &mut Reader<'_>, version: Version) -> Result<(Self, Mutable)> {
        let is_oa = version.is_oa_or_later();
        let partition_sizes = EstimatedHistogram::read(reader)?;
        let cells_per_partition = EstimatedHistogram::read(reader)?;
        let commit_log_upper_bound = Position::read(reader, "commit log upper bound")?;
        let min_timestamp = reader.i64("min timestamp")?;
        let max_timestamp = reader.i64("max timestamp")?;
        let min_local_deletion_time = local_deletion_time(reader, is_oa, "min local deletion time")?;
        let max_local_deletion_time = local_deletion_time(reader, is_oa, "max local deletion time")?;
        let min_ttl = reader.i32("min TTL")?;
        let max_ttl = reader.i32("max TTL")?;
        let compression_ratio = Some(reader.f64("compression ratio")?).filter(|&ratio| ratio != -1.0);
        let tombstone_drop_times = TombstoneHistogram::read(reader, is_oa)?;
        let mut mutable = Mutable { level: reader.offset(), pending_repair: None };
        let level = reader.i32("level")?;
        let repaired_at = Some(reader.i64("repaired at")?).filter(|&time| time != 0);
        let (mut covered_clustering, legacy_clustering) = if is_oa {
            (Some(CoveredClustering::read(reader)?), None)
        } else {
            let min = clustering_values(reader, "min clustering")?;
            (None, Some(LegacyClustering { min, max: clustering_values(reader, "max clustering")? }))
        };
        let has_legacy_counter_shards = reader.bool("has legacy counter shards")?;
        let total_columns_set = reader.i64("total columns set")?;
        let total_rows = reader.i64("total rows")?;
        let commit_log_lower_bound = if version.has_commit_log_lower_bound() {
            Position::read(reader, "commit log lower bound")?
        } else {
            Position::NONE
        };
        let commit_log_intervals = if version.has_commit_log_intervals() {
            let count = reader.count_i32(24, "commit log interval count")?;
            let mut intervals = Vec::with_capacity(count);
            for _ in 0..count {
                let start = Position::read(reader, "commit log interval")?;
                intervals.push((start, Position::read(reader, "commit log interval")?));
            }
            intervals
        } else {
            vec![(commit_log_lower_bound, commit_log_upper_bound)]
        };
        let at_pending_repair = reader.offset();
        let pending_repair = if version.has_pending_repair() { optional_uuid(reader, "pending repair")? } else { None };
        // Snapshots of 4.0 from before its first release candidate called themselves na and had no such field.
        let may_lack_transient = version == Version::NA && reader.is_empty();
        let at_transient = reader.offset();
        let is_transient = version.has_pending_repair() && !may_lack_transient && reader.bool("is transient")?;
        if version.has_pending_repair() {
            mutable.pending_repair = Some((at_pending_repair, (!may_lack_transient).then_some(at_transient)));
        }
        let originating_host_id =
            if version.has_originating_host_id() { optional_uuid(reader, "originating host id")? } else { None };

        let is_nc = version == Version::NC;
        let (mut has_partition_level_deletions, mut keys, mut token_space_coverage) = (None, None, None);
        if is_oa || is_nc {
            has_partition_level_deletions = Some(reader.bool("has partition level deletions")?);
            if is_nc {
                covered_clustering = Some(CoveredClustering::read(reader)?);
            }
            keys = Some((reader.vbytes("first key")?.to_vec(), reader.vbytes("last key")?.to_vec()));
        }
        if is_oa {
            token_space_coverage = Some(reader.f64("token space coverage")?).filter(|coverage| !coverage.is_nan());
        }
        let (first_key, last_key) = keys.unzip();
        let stats = Self {
            partition_sizes,
            cells_per_partition,
            commit_log_upper_bound,
            min_timestamp,
            max_timestamp,
            min_local_deletion_time,
            max_local_deletion_time,
            min_ttl,
            max_ttl,
            compression_ratio,
            tombstone_drop_times,
            level,
            repaired_at,
            legacy_clustering,
            covered_clustering,
            has_legacy_counter_shards,
            total_columns_set,
            total_rows,
            commit_log_intervals,
            pending_repair,
            is_transient,
            originating_host_id,
            has_partition_level_deletions,
            first_key,
            last_key,
            token_space_coverage,
        };
        Ok((stats, mutable))
    }

    /// Its group of compaction.
    pub fn repair_group(&self) -> RepairGroup {
        match (self.pending_repair, self.repaired_at) {
            (Some(session), _) => RepairGroup::Pending(session, self.is_transient),
            (None, Some(_)) => RepairGroup::Repaired,
            (None, None) => RepairGroup::Unrepaired,
        }
    }

    /// About which share of the cells are tombstones, or expired, that may be dropped if all deleted before that second
    /// may be.
    pub fn droppable_tombstones(&self, before: i64) -> f64 {
        let cells = self.cells_per_partition.mean().unwrap_or(0) as f64 * self.cells_per_partition.count() as f64;
        if cells > 0.0 { self.tombstone_drop_times.sum(before as f64) / cells } else { 0.0 }
    }

    /// How many partitions the SSTable has.
    pub fn partition_count(&self) -> u64 {
        self.partition_sizes.count()
    }
}

fn local_deletion_time(reader: &mut Reader<'_>, unsigned: bool, what: &'static str) -> Result<Option<i64>> {
    let (time, none) = if unsigned {
        (i64::from(reader.u32(what)?), i64::from(u32::MAX))
    } else {
        (i64::from(reader.i32(what)?), i64::from(i32::MAX))
    };
    Ok(Some(time).filter(|&time| time != none))
}

fn optional_uuid(reader: &mut Reader<'_>, what: &'static str) -> Result<Option<[u8; 16]>> {
    if reader.bool(what)? { reader.uuid(what).map(Some) } else { Ok(None) }
}

fn clustering_values(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<Vec<u8>>> {
    let count = reader.count_i32(2, what)?;
    (0..count).map(|_| Ok(reader.sbytes(what)?.to_vec())).collect()
}

impl CoveredClustering {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at_types = reader.offset();
        let types = header::types(reader, "clustering types")?;
        let lengths: Vec<Option<usize>> = types
            .iter()
            .map(|class| match Type::parse(class) {
                Ok(parsed) => Ok(parsed.value_length()),
                // The offset is in the string; the file's is of more use.
                Err(error) => Err(Error::corrupt(at_types, "clustering type", error.expected, class)),
            })
            .collect::<Result<_>>()?;
        let start = Bound::read(reader, &lengths)?;
        Ok(Self { types, start, end: Bound::read(reader, &lengths)? })
    }
}

impl Bound {
    /// `lengths` are those of the clustering columns' values, where fixed.
    fn read(reader: &mut Reader<'_>, lengths: &[Option<usize>]) -> Result<Self> {
        const KIND_MAX: u8 = 9;
        const BATCH: usize = 32;
        let before = reader.clone();
        let kind = reader.u8("clustering bound kind")?;
        if kind > KIND_MAX {
            return Err(before.corrupt("clustering bound kind", format_args!("at most {KIND_MAX}"), kind));
        }
        let before = reader.clone();
        let size = usize::from(reader.u16("clustering bound size")?);
        let Some(lengths) = lengths.get(..size) else {
            let expected = format_args!("at most {}, the number of clustering columns", lengths.len());
            return Err(before.corrupt("clustering bound size", expected, size));
        };
        let mut values = Vec::with_capacity(size);
        for batch in lengths.chunks(BATCH) {
            // Two bits per value: the lower if it is empty, the upper if it is null.
            let mut flags = reader.uvint("clustering value flags")?;
            for length in batch {
                values.push(match (flags & 0b11, length) {
                    (0b00, Some(length)) => Some(reader.bytes(*length, "clustering value")?.to_vec()),
                    (0b00, None) => Some(reader.vbytes("clustering value")?.to_vec()),
                    (0b01, _) => Some(Vec::new()),
                    _ => None,
                });
                flags >>= 2;
            }
        }
        Ok(Self { kind, values })
    }
}
