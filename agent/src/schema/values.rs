//! Values of the types that the system's tables have, from their bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::merge::LiveRow;

impl LiveRow {
    /// Text; empty bytes are an empty text.
    pub fn text(&self, column: &str) -> Option<String> {
        text(self.values.get(column)?)
    }

    /// `boolean`.
    pub fn boolean(&self, column: &str) -> Option<bool> {
        self.array::<1>(column).map(|[byte]| byte != 0)
    }

    /// `int`.
    pub fn int(&self, column: &str) -> Option<i32> {
        self.array(column).map(i32::from_be_bytes)
    }

    /// `double`.
    pub fn double(&self, column: &str) -> Option<f64> {
        self.array(column).map(f64::from_be_bytes)
    }

    /// `timestamp`, in milliseconds since 1970.
    pub fn timestamp_ms(&self, column: &str) -> Option<i64> {
        self.array(column).map(i64::from_be_bytes)
    }

    /// `uuid`.
    pub fn uuid(&self, column: &str) -> Option<uuid::Uuid> {
        self.array(column).map(uuid::Uuid::from_bytes)
    }

    /// `frozen<map<text, text>>`; empty if there is none.
    pub fn text_map(&self, column: &str) -> BTreeMap<String, String> {
        self.map(column).filter_map(|(name, value)| Some((name, text(&value)?))).collect()
    }

    /// `frozen<map<text, blob>>`; empty if there is none.
    pub fn blob_map(&self, column: &str) -> BTreeMap<String, Vec<u8>> {
        self.map(column).collect()
    }

    /// `frozen<list<text>>` or `frozen<set<text>>`, in order; empty if there is none.
    pub fn texts(&self, column: &str) -> Vec<String> {
        let elements = self.values.get(column).map(|bytes| elements(bytes, 1)).unwrap_or_default();
        elements.iter().filter_map(|element| text(element.as_deref()?)).collect()
    }

    /// `frozen<set<text>>`.
    pub fn text_set(&self, column: &str) -> BTreeSet<String> {
        self.texts(column).into_iter().collect()
    }

    /// A value of the clustering.
    pub fn clustering_text(&self, place: usize) -> Option<String> {
        text(self.clustering.get(place)?.as_deref()?)
    }

    fn map(&self, column: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
        let elements = self.values.get(column).map(|bytes| elements(bytes, 2)).unwrap_or_default();
        let pairs: Vec<_> = elements
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [Some(name), Some(value)] => Some((text(name)?, value.clone())),
                _ => None,
            })
            .collect();
        pairs.into_iter()
    }

    fn array<const N: usize>(&self, column: &str) -> Option<[u8; N]> {
        self.values.get(column)?.as_slice().try_into().ok()
    }
}

/// UTF-8, or nothing: Cassandra stores no other text.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// A frozen collection: count, then each element with its length (negative: null). Cut short, it ends there.
fn elements(bytes: &[u8], per_entry: usize) -> Vec<Option<Vec<u8>>> {
    let mut rest = bytes;
    let mut next = |length: usize| -> Option<&[u8]> {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    let int = |bytes: &[u8]| bytes.try_into().ok().map(i32::from_be_bytes);
    let count = next(4).and_then(int).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let mut elements = Vec::new();
    for _ in 0..count.saturating_mul(per_entry) {
        let Some(length) = next(4).and_then(int) else { break };
        match usize::try_from(length) {
            Err(_) => elements.push(None),
            Ok(length) => match next(length) {
                Some(element) => elements.push(Some(element.to_vec())),
                None => break,
            },
        }
    }
    elements
}
