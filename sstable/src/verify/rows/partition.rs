//! One partition: its rows, markers and cells.

use std::cmp::Ordering;
use std::io;

use crate::big::row_index::Prefix;
use crate::component::Component;
use crate::cql::compare::Comparator;
use crate::cql::order::Place;
use crate::cql::row::{Cell, Complex, DeletionTime, Lifetime, Part, SerializationHeader, Value};
use crate::cql::types::{Native, Type};
use crate::cql::wire::hex;
use crate::lookup::RowIndexAt;
use crate::scan::{MarkerAt, Partition, Row, Unfiltered};
use crate::source::Source;
use crate::verify::report::Finding;
use crate::window::ReadError;

use super::Verifier;
use super::blocks::BlockWalk;
use super::bounds::Broken;

/// How the cells of each complex column are sorted.
#[derive(Debug)]
pub(super) struct PathOrders {
    static_columns: Vec<Option<Comparator>>,
    regular_columns: Vec<Option<Comparator>>,
}

impl PathOrders {
    pub(super) fn of(header: &SerializationHeader) -> Self {
        let orders = |columns: &[crate::cql::row::Column]| {
            columns.iter().map(|column| Comparator::of(&path_type(&column.value_type)?)).collect()
        };
        Self { static_columns: orders(&header.static_columns), regular_columns: orders(&header.regular_columns) }
    }

    fn get(&self, is_static: bool, column: usize) -> Option<&Comparator> {
        let orders = if is_static { &self.static_columns } else { &self.regular_columns };
        orders.get(column)?.as_ref()
    }
}

/// Type of the paths in a complex column.
fn path_type(column: &Type) -> Option<Type> {
    match column {
        Type::List(_) => Some(Type::Native(Native::TimeUuid)),
        Type::Set(element) => Some(element.as_ref().clone()),
        Type::Map(key, _) => Some(key.as_ref().clone()),
        Type::User(_) => Some(Type::Native(Native::SmallInt)),
        _ => None,
    }
}

/// How far the walk of a partition has come.
pub(super) struct Progress {
    /// The row or marker before; `None` before the first.
    pub(super) last: Option<Prefix>,
    /// The range tombstone that is open.
    pub(super) open: Option<DeletionTime>,
}

/// What rows and markers have in common.
struct Here<'a> {
    place: Place<'a>,
    position: u64,
    distance: u64,
    stored_distance: u64,
}

impl Verifier<'_> {
    /// Walks to the end of a partition, beside its row index if it has one.
    pub(super) fn partition(
        &mut self,
        partition: &mut Partition<'_, &dyn Source>,
        row_index: RowIndexAt,
    ) -> Result<(), ReadError> {
        let start = partition.position();
        let deletion = partition.deletion();
        if partition.is_deletion_misread_by_cassandra() {
            let expected = "0 or more, or Cassandra 5.0 takes the partition for damage";
            let finding = Finding::damage(
                Component::Data,
                start,
                "timestamp of a partition's deletion",
                expected,
                deletion.marked_for_delete_at,
            );
            self.findings.add_here(finding.as_warning());
        }
        self.broken(start, self.bounds.partition_deletion(deletion));
        let mut blocks = self.index.blocks(row_index, deletion, &self.header, &mut self.findings)?;
        let mut progress = Progress { last: None, open: None };
        while let Some(unfiltered) = partition.next_unfiltered()? {
            match unfiltered {
                Unfiltered::Row(row) if row.is_static() => self.row(row)?,
                Unfiltered::Row(row) => {
                    let here = Here {
                        place: Place { clustering: row.clustering(), bound: None },
                        position: row.position(),
                        distance: row.distance(),
                        stored_distance: row.stored_distance(),
                    };
                    self.place(start, here, &mut progress, blocks.as_mut())?;
                    self.row(row)?;
                }
                Unfiltered::Marker(at) => {
                    let MarkerAt { marker, position, distance, stored_distance, .. } = at;
                    let place = Place { clustering: marker.clustering, bound: Some(marker.kind) };
                    let here = Here { place, position, distance, stored_distance };
                    self.place(start, here, &mut progress, blocks.as_mut())?;
                    self.marker(at, &mut progress);
                }
            }
        }
        let end = partition.next_position();
        if let Some(open) = progress.open {
            self.damage(
                end,
                "range tombstone at the end of a partition",
                "none open",
                format_args!("one of {}", open.marked_for_delete_at),
            );
        }
        if let Some(blocks) = blocks {
            blocks.finish(end - start, &progress, &mut self.findings)?;
        }
        Ok(())
    }

    /// A row or marker is where it says, behind the one before, and where the row index says.
    fn place(
        &mut self,
        start: u64,
        here: Here<'_>,
        progress: &mut Progress,
        blocks: Option<&mut BlockWalk<'_>>,
    ) -> io::Result<()> {
        let Here { place, position, distance, stored_distance } = here;
        if stored_distance != distance {
            self.damage(position, "distance from the row before", distance, stored_distance);
        }
        if let Some(blocks) = blocks {
            blocks.meet(position - start, place, progress, &mut self.findings)?;
        }
        if let Some(order) = &self.order {
            let last = progress.last.as_ref();
            // Two ranges may meet in a bound.
            let may_be_equal = place.bound.is_some() && last.is_some_and(|last| last.bound.is_some());
            let compared = last.map(|last| order.compare(last.place(&self.header.clustering), place));
            let broken = self.bounds.clustering(order, place);
            if compared == Some(Ordering::Greater) || (compared == Some(Ordering::Equal) && !may_be_equal) {
                let expected = format!("behind {}", last.map(|last| hex(&last.stored)).unwrap_or_default());
                self.damage(position, "order of the rows", expected, hex(place.clustering.stored()));
            }
            self.broken(position, broken);
        }
        let last = progress.last.get_or_insert_with(|| Prefix { bound: None, value_count: 0, stored: Vec::new() });
        last.bound = place.bound;
        last.value_count = place.clustering.len();
        last.stored.clear();
        last.stored.extend_from_slice(place.clustering.stored());
        Ok(())
    }

    fn marker(&mut self, at: MarkerAt<'_>, progress: &mut Progress) {
        let MarkerAt { marker, position, .. } = at;
        self.report.markers += 1;
        match (marker.end, progress.open) {
            (Some(end), Some(open)) if end != open => {
                let [expected, got] = [open, end].map(|deletion| deletion.marked_for_delete_at);
                self.damage(position, "deletion of the range that ends", expected, got);
            }
            (Some(_), None) => self.damage(position, "end of a range", "a range that is open", "none"),
            (None, Some(open)) => {
                self.damage(
                    position,
                    "start of a range",
                    "none open",
                    format_args!("one of {}", open.marked_for_delete_at),
                );
            }
            _ => {}
        }
        progress.open = marker.start;
        for deletion in [marker.end, marker.start].into_iter().flatten() {
            self.broken(position, self.bounds.deletion(deletion));
        }
    }

    fn row(&mut self, mut row: Row<'_, &dyn Source>) -> Result<(), ReadError> {
        let position = row.position();
        let is_static = row.is_static();
        let mut is_empty = is_static;
        if is_static && row.stored_distance() != 0 {
            self.damage(position, "distance from the row before", 0, row.stored_distance());
        }
        if let Some(liveness) = row.liveness() {
            is_empty = false;
            let broken = self.bounds.timestamp(liveness.timestamp);
            self.broken(position, broken.or_else(|| self.bounds.expiration(liveness.expiration?)));
        }
        if let Some(deletion) = row.deletion() {
            is_empty = false;
            self.broken(position, self.bounds.deletion(deletion.time));
        }
        let mut path: Option<Vec<u8>> = None;
        while let Some(part) = row.next_part()? {
            is_empty = false;
            match part {
                Part::Cell(cell) => {
                    if let Some(cell_path) = cell.path {
                        self.path(position, is_static, &cell, cell_path, &mut path);
                    } else {
                        self.bounds.count_column();
                    }
                    self.cell(position, &cell);
                }
                Part::Complex(Complex { deletion, cell_count, .. }) => {
                    path = None;
                    if cell_count > 0 {
                        self.bounds.count_column();
                    }
                    self.broken(position, self.bounds.deletion(deletion));
                }
            }
        }
        if !is_empty {
            self.report.rows += 1;
        }
        Ok(())
    }

    #[inline]
    fn cell(&mut self, position: u64, cell: &Cell<'_>) {
        self.report.cells += 1;
        let mut broken = self.bounds.timestamp(cell.timestamp);
        match cell.lifetime {
            Lifetime::Forever => {}
            Lifetime::Expiring(expiration) => broken = broken.or_else(|| self.bounds.expiration(expiration)),
            Lifetime::Deleted { local_deletion_time } => {
                broken = broken.or_else(|| self.bounds.local_deletion_time(local_deletion_time));
                if cell.value != Value::Bytes(&[]) {
                    self.damage(position, "value of a deleted cell", "none", "one");
                }
            }
        }
        self.broken(position, broken);
    }

    /// The cells of a collection ascend.
    fn path(&mut self, position: u64, is_static: bool, cell: &Cell<'_>, path: &[u8], previous: &mut Option<Vec<u8>>) {
        if let (Some(comparator), Some(before)) = (self.paths.get(is_static, cell.column_index), previous.as_deref())
            && comparator.compare(before, path) != Ordering::Less
        {
            let name = String::from_utf8_lossy(&cell.column.name);
            let expected = format!("behind {} in column {name}", hex(before));
            self.damage(position, "order of the cells", expected, hex(path));
        }
        let kept = previous.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(path);
    }

    #[inline]
    fn broken(&mut self, position: u64, broken: Option<Broken>) {
        if let Some(Broken { what, expected, got }) = broken {
            self.damage(position, what, expected, got);
        }
    }

    #[cold]
    fn damage(&mut self, position: u64, what: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) {
        let finding = Finding::damage(Component::Data, position, what, expected, got);
        self.findings.add_here(finding);
    }
}
