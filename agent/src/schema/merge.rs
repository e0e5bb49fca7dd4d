//! What a small table holds, merged over its SSTables as a read of Cassandra would: the newest value of each cell, less
//! what was deleted.
//!
//! All of it is held in memory, so this is for the system's own tables. Their clustering columns are text in ascending
//! order: clusterings are compared as bytes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use helenus_sstable::cql::row::{Clustering, DeletionTime, Lifetime, Part, RowDeletion, Value};
use helenus_sstable::scan::{Row, Scan, Unfiltered};
use helenus_sstable::source::Source;
use helenus_sstable::window::ReadError;

/// The values of a clustering; `None` is null.
type Key = Vec<Option<Vec<u8>>>;
/// Column, and the path of a cell in a collection.
type CellName = (Vec<u8>, Option<Vec<u8>>);

/// Collects what the SSTables say.
#[derive(Debug, Default)]
pub struct Merge {
    partitions: BTreeMap<Vec<u8>, Partition>,
}

#[derive(Debug)]
struct Partition {
    deleted: i64,
    ranges: Vec<Range>,
    rows: BTreeMap<Key, RowState>,
}

impl Default for Partition {
    fn default() -> Self {
        Self { deleted: i64::MIN, ranges: Vec::new(), rows: BTreeMap::new() }
    }
}

/// A range tombstone; a missing end is open.
#[derive(Debug)]
struct Range {
    start: Option<Bound>,
    end: Option<Bound>,
    deleted: i64,
}

/// The first values of a clustering, and the side of it on which the bound lies.
#[derive(Debug, Clone)]
struct Bound {
    values: Key,
    side: i8,
}

impl Bound {
    /// Where a row lies relative to the bound; never on it.
    fn cmp_row(&self, row: &Key) -> Ordering {
        let prefix = row.get(..self.values.len()).unwrap_or(row);
        prefix.cmp(&self.values).then(if self.side < 0 { Ordering::Greater } else { Ordering::Less })
    }
}

#[derive(Debug)]
struct RowState {
    /// Timestamp of its primary key.
    alive: i64,
    deleted: i64,
    cells: BTreeMap<CellName, CellState>,
    /// When collections were overwritten.
    complex_deleted: BTreeMap<Vec<u8>, i64>,
}

impl Default for RowState {
    fn default() -> Self {
        Self { alive: i64::MIN, deleted: i64::MIN, cells: BTreeMap::new(), complex_deleted: BTreeMap::new() }
    }
}

/// At the same timestamp a tombstone wins, then the greater value: the order of the fields.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CellState {
    timestamp: i64,
    is_deleted: bool,
    value: Vec<u8>,
    /// When it is gone, in seconds since 1970.
    expires: Option<i64>,
}

/// A row that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveRow {
    /// Partition key as stored.
    pub key: Vec<u8>,
    /// Clustering; `None` is null.
    pub clustering: Vec<Option<Vec<u8>>>,
    /// Values of simple columns, by name.
    pub values: BTreeMap<String, Vec<u8>>,
}

impl Merge {
    /// Takes all rows of one SSTable. A value that is too long for this is left out.
    pub fn add<S: Source>(&mut self, scan: &mut Scan<S>) -> Result<(), ReadError> {
        while let Some(mut stored) = scan.next_partition()? {
            let partition = self.partitions.entry(stored.key().to_vec()).or_default();
            partition.deleted = partition.deleted.max(stored.deletion().marked_for_delete_at);
            let mut open: Option<(Option<Bound>, i64)> = None;
            while let Some(unfiltered) = stored.next_unfiltered()? {
                match unfiltered {
                    Unfiltered::Row(row) => partition.add_row(row)?,
                    Unfiltered::Marker(at) => {
                        let marker = at.marker;
                        let bound = Bound { values: values(marker.clustering), side: marker.kind.side() };
                        if let (Some(_), Some((start, deleted))) = (marker.end, open.take()) {
                            partition.ranges.push(Range { start, end: Some(bound.clone()), deleted });
                        }
                        let starts = |time: DeletionTime| (Some(bound), time.marked_for_delete_at);
                        open = marker.start.map(starts);
                    }
                }
            }
            if let Some((start, deleted)) = open {
                partition.ranges.push(Range { start, end: None, deleted });
            }
        }
        Ok(())
    }

    /// The rows that exist at `now_s` seconds since 1970, by key and clustering.
    pub fn rows(&self, now_s: i64) -> impl Iterator<Item = LiveRow> {
        self.partitions.iter().flat_map(move |(key, partition)| {
            partition.rows.iter().filter_map(move |(clustering, row)| {
                let deleted = partition.deleted.max(partition.range_deletion(clustering)).max(row.deleted);
                row.live(deleted, now_s).map(|row| LiveRow { key: key.clone(), clustering: clustering.clone(), ..row })
            })
        })
    }
}

impl Partition {
    fn add_row<S: Source>(&mut self, mut stored: Row<'_, S>) -> Result<(), ReadError> {
        let clustering = if stored.is_static() { Key::new() } else { values(stored.clustering()) };
        let row = self.rows.entry(clustering).or_default();
        if let Some(liveness) = stored.liveness() {
            row.alive = row.alive.max(liveness.timestamp);
        }
        if let Some(RowDeletion { time, .. }) = stored.deletion() {
            row.deleted = row.deleted.max(time.marked_for_delete_at);
        }
        while let Some(part) = stored.next_part()? {
            match part {
                Part::Complex(complex) => {
                    let deleted = row.complex_deleted.entry(complex.column.name.clone()).or_insert(i64::MIN);
                    *deleted = (*deleted).max(complex.deletion.marked_for_delete_at);
                }
                Part::Cell(cell) => {
                    let Value::Bytes(value) = cell.value else { continue };
                    let (is_deleted, expires) = match cell.lifetime {
                        Lifetime::Forever => (false, None),
                        Lifetime::Expiring(expiration) => (false, Some(expiration.local_expiration_time)),
                        Lifetime::Deleted { .. } => (true, None),
                    };
                    let state = CellState { timestamp: cell.timestamp, is_deleted, value: value.to_vec(), expires };
                    let name = (cell.column.name.clone(), cell.path.map(<[u8]>::to_vec));
                    match row.cells.get_mut(&name) {
                        Some(known) if *known >= state => {}
                        Some(known) => *known = state,
                        None => {
                            row.cells.insert(name, state);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn range_deletion(&self, row: &Key) -> i64 {
        let covers = |range: &&Range| {
            range.start.as_ref().is_none_or(|start| start.cmp_row(row) == Ordering::Greater)
                && range.end.as_ref().is_none_or(|end| end.cmp_row(row) == Ordering::Less)
        };
        self.ranges.iter().filter(covers).map(|range| range.deleted).max().unwrap_or(i64::MIN)
    }
}

impl RowState {
    fn live(&self, deleted: i64, now_s: i64) -> Option<LiveRow> {
        let mut live = LiveRow::default();
        let mut has_cells = false;
        for ((column, path), cell) in &self.cells {
            let overwritten = self.complex_deleted.get(column).copied().unwrap_or(i64::MIN);
            let is_gone = cell.is_deleted
                || cell.timestamp <= deleted.max(overwritten)
                || cell.expires.is_some_and(|expires| expires <= now_s);
            if is_gone {
                continue;
            }
            has_cells = true;
            // Columns of the system's tables have ASCII names.
            if let (None, Ok(column)) = (path, String::from_utf8(column.clone())) {
                live.values.insert(column, cell.value.clone());
            }
        }
        (self.alive > deleted || has_cells).then_some(live)
    }
}

fn values(clustering: Clustering<'_>) -> Key {
    clustering.values().map(|(_, value)| value.map(<[u8]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(texts: &[&str]) -> Key {
        texts.iter().map(|text| Some(text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn ranges_cover_what_their_bounds_enclose() {
        let bound = |texts: &[&str], side| Some(Bound { values: key(texts), side });
        let mut partition = Partition::default();
        partition.ranges.push(Range { start: bound(&["b"], -1), end: bound(&["b"], 1), deleted: 7 });
        partition.ranges.push(Range { start: bound(&["b", "m"], 1), end: None, deleted: 9 });
        let deletion = |texts: &[&str]| partition.range_deletion(&key(texts));
        assert_eq!(deletion(&["a", "z"]), i64::MIN);
        assert_eq!(deletion(&["b", "a"]), 7);
        assert_eq!(deletion(&["b", "m"]), 7);
        assert_eq!(deletion(&["b", "n"]), 9);
        assert_eq!(deletion(&["c", "a"]), 9);
    }

    #[test]
    fn the_newest_cell_wins_and_deletions_count() {
        let cell = |timestamp, is_deleted, value: &str, expires| CellState {
            timestamp,
            is_deleted,
            value: value.into(),
            expires,
        };
        assert!(cell(2, false, "a", None) > cell(1, false, "b", None));
        assert!(cell(1, true, "", None) > cell(1, false, "b", None));
        assert!(cell(1, false, "b", None) > cell(1, false, "a", None));
        let mut row = RowState { alive: 5, ..RowState::default() };
        assert!(row.live(4, 0).is_some() && row.live(5, 0).is_none());
        row.cells.insert((b"name".to_vec(), None), cell(6, false, "x", Some(100)));
        assert_eq!(row.live(5, 99).expect("a live cell").values["name"], b"x");
        assert!(row.live(5, 100).is_none(), "it has expired, and the row was deleted");
        row.cells.insert((b"set".to_vec(), Some(b"e".to_vec())), cell(6, false, "", None));
        row.complex_deleted.insert(b"set".to_vec(), 6);
        assert!(row.live(5, 100).is_none(), "the collection was overwritten");
    }
}
