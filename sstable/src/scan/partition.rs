//! A partition while it is read.

use super::{Row, RowState, Scan, State, decode};
use crate::cql::row::{Cells, Clustering, DeletionTime, Flags, Marker};
use crate::cql::wire::Reader;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::window::ReadError;

/// The byte that stands for "not deleted" in `oa` and `da`.
const LIVE: u8 = 0x80;

/// The partition that a [`Scan`] has come to.
#[derive(Debug)]
pub struct Partition<'s, S> {
    scan: &'s mut Scan<S>,
}

/// A row, whose cells are still to be read, or the end of a range tombstone.
#[derive(Debug)]
pub enum Unfiltered<'s, S> {
    /// Static or not.
    Row(Row<'s, S>),
    /// A range tombstone starts, ends, or both.
    Marker(MarkerAt<'s>),
}

/// A range tombstone marker and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerAt<'s> {
    /// What it says.
    pub marker: Marker<'s>,
    /// Where it starts.
    pub position: u64,
    /// Where the next thing starts.
    pub end: u64,
    /// Distance from the unfiltered before (from the partition, if it is the first), as the file says.
    pub stored_distance: u64,
    /// That distance, measured.
    pub distance: u64,
}

/// What was found at an unfiltered's place.
pub(super) enum Head {
    Row,
    Marker {
        kind: crate::cql::row::BoundKind,
        value_count: usize,
        end: Option<DeletionTime>,
        start: Option<DeletionTime>,
    },
    End,
}

impl<'s, S: Source> Partition<'s, S> {
    pub(super) fn new(scan: &'s mut Scan<S>) -> Self {
        Self { scan }
    }

    /// As stored: of several columns a composite.
    pub fn key(&self) -> &[u8] {
        &self.scan.key
    }

    /// Where it starts: at the length of its key.
    pub fn position(&self) -> u64 {
        self.scan.partition.position
    }

    /// Deletion of the partition as a whole; [`DeletionTime::LIVE`] if there is none.
    pub fn deletion(&self) -> DeletionTime {
        self.scan.partition.deletion
    }

    /// True for a deletion with a negative timestamp in `oa` or `da`, which Cassandra 5.0 writes and takes for damage
    /// when it reads it back. Here it is read as it was meant.
    pub fn is_deletion_misread_by_cassandra(&self) -> bool {
        self.scan.partition.is_deletion_misread
    }

    /// Where the next unfiltered starts, or the place in a row that has not been read to its end. After the last one
    /// the end of the partition.
    pub fn next_position(&self) -> u64 {
        self.scan.position()
    }

    /// The next row or marker, the static row first; `None` at the end of the partition. What is left of the row before
    /// is stepped over.
    pub fn next_unfiltered(&mut self) -> Result<Option<Unfiltered<'_, S>>, ReadError> {
        if self.scan.state == State::Partition {
            return Ok(None);
        }
        if self.scan.state == State::Cells {
            self.scan.skip_row()?;
        }
        Ok(match self.scan.next_head()? {
            Head::End => None,
            Head::Row => Some(Unfiltered::Row(Row::new(self.scan))),
            Head::Marker { kind, value_count, end, start } => {
                let scan = &*self.scan;
                let types = scan.header.clustering.get(..value_count).unwrap_or_default();
                let clustering = Clustering::from_stored(types, &scan.clustering);
                let RowState { position, end: marker_end, stored_distance, distance, .. } = scan.row;
                Some(Unfiltered::Marker(MarkerAt {
                    marker: Marker { kind, clustering, end, start },
                    position,
                    end: marker_end,
                    stored_distance,
                    distance,
                }))
            }
        })
    }
}

impl<S: Source> Scan<S> {
    /// Reads what stands before the cells of a row, or all of a marker.
    pub(super) fn next_head(&mut self) -> Result<Head, ReadError> {
        let is_static_expected = self.state == State::StaticRow;
        let position = self.stream.position();
        let Self { header, stream, clustering, row, .. } = self;
        let file_end = stream.length();
        let head = decode(stream, "unfiltered", |reader| {
            let flags = Flags::read(reader)?;
            if flags.is_static() != is_static_expected {
                let [expected, got] = if is_static_expected { ["a", "none"] } else { ["none", "one"] };
                return Err(Error::corrupt(position, "static row", expected, got));
            }
            if flags.is_end() {
                return Ok(Head::End);
            }
            clustering.clear();
            if flags.is_marker() {
                let (kind, bound) = Marker::read_bound(reader, header)?;
                clustering.extend_from_slice(bound.stored());
                read_sizes(reader, file_end, row)?;
                let (end, start) = Marker::read_deletions(reader, kind, header)?;
                if reader.offset() != row.end {
                    return Err(reader.corrupt("end of a marker", row.end, reader.offset()));
                }
                return Ok(Head::Marker { kind, value_count: bound.len(), end, start });
            }
            if !flags.is_static() {
                clustering.extend_from_slice(Clustering::read(reader, &header.clustering)?.stored());
            }
            read_sizes(reader, file_end, row)?;
            row.head.read(reader, flags, header)?;
            if reader.offset() > row.end {
                return Err(reader.corrupt("end of a row", row.end, reader.offset()));
            }
            Ok(Head::Row)
        })?;
        if matches!(head, Head::End) {
            self.state = State::Partition;
            return Ok(head);
        }
        self.row.position = position;
        self.row.distance = if is_static_expected { 0 } else { position - self.partition.previous };
        if !is_static_expected {
            self.partition.previous = position;
        }
        self.state = State::Unfiltered;
        if matches!(head, Head::Row) {
            self.row.cells = Cells::default();
            self.row.value_left = 0;
            self.state = State::Cells;
        }
        Ok(head)
    }
}

/// The numbers that only SSTables have: how long what follows is, and how far away the previous unfiltered.
fn read_sizes(reader: &mut Reader<'_>, file_end: u64, row: &mut RowState) -> Result<()> {
    let at = reader.offset();
    let size = reader.uvint("size of a row")?;
    let start = reader.offset();
    row.end = start.saturating_add(size);
    if row.end > file_end {
        let expected = format_args!("at most {}, to the end of the file", file_end.saturating_sub(start));
        return Err(Error::corrupt(at, "size of a row", expected, size));
    }
    row.stored_distance = reader.uvint("distance from the previous row")?;
    Ok(())
}

/// The deletion of a partition, and whether Cassandra cannot read it.
pub(crate) fn read_deletion(reader: &mut Reader<'_>, is_short: bool) -> Result<(DeletionTime, bool)> {
    const WHAT: &str = "deletion of a partition";
    if !is_short {
        let local_deletion_time = i64::from(reader.i32(WHAT)?);
        let marked_for_delete_at = reader.i64(WHAT)?;
        return Ok((deletion(marked_for_delete_at, local_deletion_time), false));
    }
    let at_flags = reader.clone();
    let flags = reader.u8(WHAT)?;
    if flags == LIVE {
        return Ok((DeletionTime::LIVE, false));
    }
    *reader = at_flags;
    let marked_for_delete_at = reader.i64(WHAT)?;
    let local_deletion_time = i64::from(reader.u32(WHAT)?);
    Ok((deletion(marked_for_delete_at, local_deletion_time), marked_for_delete_at < 0))
}

fn deletion(marked_for_delete_at: i64, local_deletion_time: i64) -> DeletionTime {
    if marked_for_delete_at == i64::MIN {
        return DeletionTime::LIVE;
    }
    DeletionTime { marked_for_delete_at, local_deletion_time }
}
