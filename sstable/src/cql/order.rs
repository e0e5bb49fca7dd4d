//! The order of rows and range tombstone markers within a partition.
//!
//! A row has a clustering. A bound has the first values of one and lies before or after everything that begins with
//! them; a bound without values lies before or after everything.

use std::cmp::Ordering;

use super::compare::Comparator;
use super::row::{BoundKind, Clustering};
use super::types::Type;

/// Where a row or a bound lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Values, of a bound the first ones.
    pub clustering: Clustering<'a>,
    /// `None` for a row.
    pub bound: Option<BoundKind>,
}

impl Place<'_> {
    /// Among what has the same values: -1 before the row, 1 after it.
    fn side(self) -> i8 {
        self.bound.map_or(0, BoundKind::side)
    }

    /// As `ClusteringPrefix.Kind` numbers it.
    pub fn kind(self) -> u8 {
        self.bound.map_or(CLUSTERING, BoundKind::ordinal)
    }
}

/// The ordinal of a row's clustering in `ClusteringPrefix.Kind`.
pub const CLUSTERING: u8 = 4;

/// Compares places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusteringOrder(Vec<Comparator>);

impl ClusteringOrder {
    /// For clustering columns of these types; `None` if the order of one is not known.
    pub fn of(types: &[Type]) -> Option<Self> {
        types.iter().map(Comparator::of).collect::<Option<_>>().map(Self)
    }

    /// Order of two places in a partition, as `ClusteringComparator` has it. Null comes before every value, also in a
    /// column of descending order.
    pub fn compare(&self, a: Place<'_>, b: Place<'_>) -> Ordering {
        let values = b.clustering.values().map(|(_, value)| value);
        self.compare_with(a, values, b.clustering.len(), b.side())
    }

    /// Order of a place and a bound whose values are held one by one, as those in `Statistics.db`.
    pub fn compare_to_bound(&self, place: Place<'_>, values: &[Option<Vec<u8>>], kind: BoundKind) -> Ordering {
        self.compare_with(place, values.iter().map(Option::as_deref), values.len(), kind.side())
    }

    fn compare_with<'v>(
        &self,
        a: Place<'_>,
        values: impl Iterator<Item = Option<&'v [u8]>>,
        value_count: usize,
        side: i8,
    ) -> Ordering {
        for (comparator, ((_, value_a), value_b)) in self.0.iter().zip(a.clustering.values().zip(values)) {
            let compared = match (value_a, value_b) {
                (Some(value_a), Some(value_b)) => comparator.compare(value_a, value_b),
                (value_a, value_b) => value_a.is_some().cmp(&value_b.is_some()),
            };
            if compared != Ordering::Equal {
                return compared;
            }
        }
        match a.clustering.len().cmp(&value_count) {
            Ordering::Equal => a.side().cmp(&side),
            // The longer one begins with the values of the shorter one.
            Ordering::Less => a.side().cmp(&0).then(Ordering::Less),
            Ordering::Greater => 0.cmp(&side).then(Ordering::Greater),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// `None` is null.
    fn stored(values: &[Option<&str>]) -> Vec<u8> {
        let mut header = 0_u8;
        let mut bytes = Vec::new();
        for (number, value) in values.iter().enumerate() {
            match value {
                None => header |= 2 << (2 * number),
                Some("") => header |= 1 << (2 * number),
                Some(value) => bytes.extend([&[u8::try_from(value.len()).unwrap()][..], value.as_bytes()].concat()),
            }
        }
        if values.is_empty() { bytes } else { [&[header][..], &bytes].concat() }
    }

    #[test]
    fn rows_and_bounds() {
        use BoundKind::{ExclEnd, ExclEndInclStart, ExclStart, InclEnd, InclEndExclStart, InclStart};
        type Case<'a> = (&'a [Option<&'a str>], Option<BoundKind>);
        let ascending: [&[Case<'_>]; 13] = [
            &[(&[], Some(InclStart))],
            &[(&[None, Some("x")], None)],
            &[(&[Some(""), Some("x")], None)],
            &[(&[Some("a")], Some(InclStart)), (&[Some("a")], Some(ExclEnd)), (&[Some("a")], Some(ExclEndInclStart))],
            &[(&[Some("a"), None], None)],
            &[(&[Some("a"), Some("z")], Some(InclStart)), (&[Some("a"), Some("z")], Some(ExclEnd))],
            &[(&[Some("a"), Some("z")], None)],
            &[(&[Some("a"), Some("z")], Some(InclEnd)), (&[Some("a"), Some("z")], Some(ExclStart))],
            // The second column descends.
            &[(&[Some("a"), Some("y")], None)],
            &[(&[Some("a"), Some("")], None)],
            &[(&[Some("a")], Some(InclEnd)), (&[Some("a")], Some(ExclStart)), (&[Some("a")], Some(InclEndExclStart))],
            &[(&[Some("b"), Some("y")], None)],
            &[(&[], Some(InclEnd))],
        ];
        let types = ["UTF8Type", "ReversedType(UTF8Type)"].map(|class| Type::parse(class).unwrap());
        let order = ClusteringOrder::of(&types).unwrap();
        for (i, group) in ascending.iter().enumerate() {
            for (j, other) in ascending.iter().enumerate() {
                for (a, b) in group.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                    let [stored_a, stored_b] = [a, b].map(|case| stored(case.0));
                    let [place_a, place_b] = [(a, &stored_a), (b, &stored_b)].map(|(case, stored)| Place {
                        clustering: Clustering::from_stored(&types[..case.0.len()], stored),
                        bound: case.1,
                    });
                    assert_eq!(order.compare(place_a, place_b), i.cmp(&j), "{a:?} {b:?}");
                }
            }
        }
        assert_eq!(ClusteringOrder::of(&[Type::parse("com.example.Mine").unwrap()]), None);
    }
}
