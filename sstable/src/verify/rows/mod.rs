//! Extended verification: every partition and every row, and whether the indexes and the statistics tell the truth of
//! them.
//!
//! ```text
//! Data.db      decoded to its last byte; partitions, rows, markers and cells in their order; ranges closed    partition
//! Index.db, Partitions.db, Rows.db   an entry per partition, at its place, and a partition per entry         index
//! row indexes  each block begins and ends where it says, with the clusterings and the deletion it says       blocks
//! Filter.db    every key is in it                                                                             here
//! Summary.db   every sample is an entry of Index.db                                                           index
//! Statistics.db  numbers of partitions and rows; times, TTLs and clusterings within what it claims            bounds
//! ```
//!
//! All of it is one pass: the index is read beside the data, in step with it, and nothing is held but the partition key
//! and clustering before. Where the data is damaged, the pass goes on at the next partition that the index knows of.
//!
//! A checksum proves that bytes are those that were written. This shows that what was written makes sense: an SSTable
//! that was cut, joined, edited or written by a program with a bug has checksums like any other.

mod blocks;
mod bounds;
mod index;
mod partition;

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use crate::chunks::Chunks;
use crate::component::Component;
use crate::cql::order::ClusteringOrder;
use crate::cql::row::SerializationHeader;
use crate::cql::wire::hex;
use crate::error::{Error, Kind};
use crate::filter::Filter;
use crate::partitioner::{KeyHash, Partitioner, Token};
use crate::scan::Scan;
use crate::source::Source;
use crate::statistics::Statistics;
use crate::version::Version;
use crate::window::ReadError;
use bounds::Bounds;
use index::{IndexWalk, Opened};
use partition::PathOrders;

use super::report::{Dropped, Finding, Findings};

/// Bits of the filter that are held: enough for 13 million partitions at Cassandra's default. Of a larger filter the
/// first ones are looked at, which is enough to find most keys that are missing in it.
const FILTER_BYTES_MAX: usize = 16 << 20;

/// The files of an SSTable, as far as they are there and can be read.
pub struct Files<'a> {
    /// From the file names.
    pub version: Version,
    /// `Statistics.db`.
    pub statistics: &'a Statistics,
    /// `Data.db`. It is read from its start to its end, each byte once, unless damage makes the pass skip some.
    pub data: &'a dyn Source,
    /// How it is cut into chunks.
    pub chunks: Chunks<&'a dyn Source>,
    /// What knows where partitions are.
    pub primary: Primary<'a>,
    /// `Filter.db`.
    pub filter: Option<&'a dyn Source>,
    /// `Summary.db`.
    pub summary: Option<&'a dyn Source>,
}

/// The primary index.
#[derive(Clone, Copy)]
pub enum Primary<'a> {
    /// `Index.db`.
    Big(&'a dyn Source),
    /// `Partitions.db` and `Rows.db`.
    Bti(&'a dyn Source, &'a dyn Source),
    /// It is not there. The data is walked without it, up to the first damage.
    Missing,
}

/// What a walk has seen and found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RowsReport {
    /// Partitions decoded to their end.
    pub partitions: u64,
    /// Rows in them, with the static ones that are not empty: as Statistics.db counts.
    pub rows: u64,
    /// Cells in them.
    pub cells: u64,
    /// Range tombstone markers in them.
    pub markers: u64,
    /// At most 64 of each severity, in the order of the walk.
    pub findings: Vec<Finding>,
    /// Findings beyond those kept. Where damage was dropped, damage was kept.
    pub findings_dropped: Dropped,
    /// What could not be checked, and why: sentences.
    pub not_checked: Vec<String>,
}

/// Walks an SSTable. An error is one of a source: whether there is damage is not known then.
pub fn verify(files: Files<'_>) -> io::Result<RowsReport> {
    let Files { version, statistics, data, chunks, primary, filter, summary } = files;
    let mut report = RowsReport::default();
    let mut findings = Findings::default();
    let scan = match open(version, statistics, data, chunks) {
        Ok(scan) => scan,
        Err(error) => {
            // Most of all a type or a compressor that we do not know: nothing that is wrong with the SSTable.
            match error.kind {
                Kind::Unsupported => report.not_checked.push(format!("rows: {error}")),
                _ => findings.add(Finding::from_error(Component::Statistics, error)),
            }
            (report.findings, report.findings_dropped) = findings.into_parts();
            return Ok(report);
        }
    };
    let filter = match filter.map(|filter| Filter::read(filter, version, FILTER_BYTES_MAX)).transpose() {
        Ok(filter) => filter.flatten(),
        Err(ReadError::Io(error)) => return Err(error),
        // Found by who looks at the file itself, too.
        Err(ReadError::Format(error)) => {
            findings.add(Finding::from_error(Component::Filter, error));
            None
        }
    };
    let opened = Opened::open(primary, &mut findings)?;
    let header = scan.header().clone();
    let mut verifier = Verifier {
        partitioner: statistics.partitioner(),
        order: ClusteringOrder::of(&header.clustering),
        paths: PathOrders::of(&header),
        bounds: Bounds::new(version, statistics),
        filter,
        index: IndexWalk::new(&opened, summary, version, &mut findings)?,
        header,
        findings,
        report,
        previous: None,
        is_complete: true,
    };
    verifier.note_what_is_missing(statistics);
    verifier.walk(scan)?;
    verifier.finish(statistics)
}

fn open<'a>(
    version: Version,
    statistics: &Statistics,
    data: &'a dyn Source,
    chunks: Chunks<&'a dyn Source>,
) -> crate::Result<Scan<&'a dyn Source>> {
    let header = statistics
        .header
        .as_ref()
        .ok_or_else(|| Error::corrupt(0, "part", "HEADER", "missing").in_component(Component::Statistics))?;
    let header = SerializationHeader::new(header, version)?;
    Scan::new(Arc::new(header), version, data, chunks)
}

/// The state of a walk.
struct Verifier<'a> {
    header: Arc<SerializationHeader>,
    partitioner: Option<Partitioner>,
    order: Option<ClusteringOrder>,
    paths: PathOrders,
    bounds: Bounds,
    filter: Option<Filter>,
    index: IndexWalk<'a>,
    findings: Findings,
    report: RowsReport,
    /// The partition before.
    previous: Option<(Token, Vec<u8>)>,
    /// Nothing was skipped, so that the numbers can be compared with Statistics.db.
    is_complete: bool,
}

impl Verifier<'_> {
    fn note_what_is_missing(&mut self, statistics: &Statistics) {
        let mut note = |what: &str| self.report.not_checked.push(what.to_owned());
        if self.partitioner.is_none() {
            note("the order of the partitions: their partitioner, or the type of their key, is not known");
        }
        if self.order.is_none() {
            note("the order of the rows: a type of their clustering is not known");
        }
        // A table may go without one, and then a chance of 1 says so.
        let validation = statistics.validation.as_ref();
        if self.filter.is_none() && validation.is_none_or(|validation| validation.bloom_filter_fp_chance < 1.0) {
            note("the filter: there is none");
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.is_whole()) {
            note("the whole filter: it is larger than 16 MiB, and the bits up to there were compared");
        }
        if !self.index.is_there() {
            note("the index: it is missing or cannot be read");
        }
        if statistics.stats.is_none() {
            note("times and numbers: Statistics.db has no STATS");
        }
    }

    fn walk(&mut self, mut scan: Scan<&dyn Source>) -> io::Result<()> {
        // Read more than once: by a partition that is damaged, and then by those within it that the index claims.
        let mut walked = 0_u64;
        loop {
            let start = scan.position();
            let error = match self.next_partition(&mut scan) {
                Ok(true) => continue,
                Ok(false) => return Ok(()),
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::Format(error)) => error,
            };
            self.is_complete = false;
            // Most of all a compressor that is a plugin: nothing that is wrong with the SSTable.
            if error.kind == Kind::Unsupported {
                self.report.not_checked.push(format!("rows: {error}"));
                return Ok(());
            }
            self.add_error(&error);
            self.previous = None;
            walked = walked.saturating_add(scan.position().saturating_sub(start));
            // Damage may have hidden where the partition ends, so that the next one starts before the place of the
            // error. An index that claims one every few bytes would have all that follows read for each.
            let is_behind = walked > scan.length().saturating_mul(2);
            let place = if is_behind { start.max(scan.position()) } else { start };
            match self.index.next_position_after(place, &mut self.findings)? {
                Some(position) => scan.seek(position),
                None => {
                    if self.index.is_there() {
                        return Ok(());
                    }
                    let note = format!("rows behind the damage at {start}: no index tells where the next partition is");
                    self.report.not_checked.push(note);
                    return Ok(());
                }
            }
        }
    }

    /// A decoding error at a place in the data.
    fn add_error(&mut self, error: &Error) {
        let Error { component, offset, what, expected, got, .. } = error;
        let component = Component::parse(component);
        let finding = Finding::damage(component, *offset, *what, expected, got);
        // Damage of a chunk is at a place in the file, whatever partition is there.
        if what.contains("chunk") || finding.component != Component::Data {
            self.findings.add(finding);
        } else {
            self.findings.add_here(finding);
        }
    }

    /// Walks the next partition; false if there is none.
    fn next_partition(&mut self, scan: &mut Scan<&dyn Source>) -> Result<bool, ReadError> {
        let Some(mut partition) = scan.next_partition()? else { return Ok(false) };
        self.findings.enter(partition.key());
        let hash = KeyHash::of(partition.key());
        self.partition_key(partition.key(), hash, partition.position());
        let row_index = self.index.meet(
            partition.key(),
            hash,
            partition.position(),
            self.partitioner.as_ref(),
            &mut self.findings,
        )?;
        self.partition(&mut partition, row_index)?;
        self.report.partitions += 1;
        Ok(true)
    }

    /// The key is behind the one before, and in the filter.
    fn partition_key(&mut self, key: &[u8], hash: KeyHash, position: u64) {
        if let Some(filter) = &mut self.filter
            && !filter.may_contain(hash)
        {
            let finding = Finding::damage(Component::Filter, None, "key in the filter", "there", "missing");
            self.findings.add_here(finding);
        }
        let Some(partitioner) = &self.partitioner else { return };
        let token = partitioner.token_of(key, hash);
        if let Some((previous_token, previous)) = &self.previous
            && partitioner.compare((*previous_token, previous), (token, key)) != Ordering::Less
        {
            let expected = format!("behind {} with token {previous_token}", hex(previous));
            let finding = Finding::damage(Component::Data, position, "order of the partitions", expected, token);
            self.findings.add_here(finding);
        }
        match &mut self.previous {
            Some((previous_token, previous)) => {
                *previous_token = token;
                previous.clear();
                previous.extend_from_slice(key);
            }
            None => self.previous = Some((token, key.to_vec())),
        }
    }

    fn finish(mut self, statistics: &Statistics) -> io::Result<RowsReport> {
        if self.is_complete {
            self.index.finish(&mut self.findings)?;
            self.bounds.check_numbers(statistics, &self.report, &mut self.findings);
        }
        let mut report = self.report;
        (report.findings, report.findings_dropped) = self.findings.into_parts();
        Ok(report)
    }
}
