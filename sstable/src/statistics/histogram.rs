//! The two kinds of histogram in STATS: of sizes ([`EstimatedHistogram`]) and of times ([`TombstoneHistogram`]).
//!
//! ```text
//! estimated   i32 buckets | ( i64 offset | i64 count ) per bucket
//! tombstone   i32 bins at most | i32 bins | ( f64 seconds | i64 count ) per bin, ma ... nc
//!                                         | ( i64 seconds | i32 count ) per bin, oa, da
//! ```
//!
//! The stored offsets of an estimated histogram are shifted: pair 0 holds the first one, pair 1 holds it again, and
//! every later pair holds the one before its own. The last bucket therefore has no offset: it counts what was too big.

use crate::cql::wire::Reader;
use crate::error::Result;

/// Counts of values in ranges that grow by a fifth each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EstimatedHistogram {
    /// Upper ends of the ranges, each included, ascending.
    pub offsets: Vec<i64>,
    /// Values per range, and in one more place than there are offsets, those above the last.
    pub counts: Vec<u64>,
}

impl EstimatedHistogram {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at_count = reader.clone();
        let bucket_count = reader.count_i32(16, "histogram bucket count")?;
        if bucket_count < 2 {
            return Err(at_count.corrupt("histogram bucket count", "at least 2", bucket_count));
        }
        let mut offsets: Vec<i64> = Vec::with_capacity(bucket_count - 1);
        let mut counts = Vec::with_capacity(bucket_count);
        for bucket in 0..bucket_count {
            let before = reader.clone();
            let offset = reader.i64("histogram offset")?;
            match (bucket, offsets.last()) {
                (1, Some(&first)) if offset != first => {
                    return Err(before.corrupt("histogram offset", format_args!("{first} again"), offset));
                }
                (1, _) => {}
                (_, Some(&last)) if offset <= last => {
                    return Err(before.corrupt("histogram offset", format_args!("more than {last}"), offset));
                }
                _ => offsets.push(offset),
            }
            let before = reader.clone();
            let count = reader.i64("histogram count")?;
            counts.push(u64::try_from(count).map_err(|_| before.corrupt("histogram count", "0 or more", count))?);
        }
        Ok(Self { offsets, counts })
    }

    /// How many values were counted: partitions, in both histograms of STATS.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum: u64, &count| sum.saturating_add(count))
    }

    /// The upper end of the range in which `fraction` (0 to 1) of the values are reached; `None` if there are none, or
    /// if that range is the one without an end.
    pub fn percentile(&self, fraction: f64) -> Option<i64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // A histogram for the eye: what f64 rounds off a count does not show.
        let wanted = (count as f64 * fraction.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut sum: u64 = 0;
        for (index, &here) in self.counts.iter().enumerate() {
            sum = sum.saturating_add(here);
            if sum as f64 >= wanted {
                return self.offsets.get(index).copied();
            }
        }
        None
    }
}

impl EstimatedHistogram {
    /// The least that the lowest value can have been; 0 if there is none.
    pub fn min(&self) -> i64 {
        match self.counts.iter().position(|&count| count > 0) {
            Some(index) if index > 0 => self.offsets.get(index - 1).map_or(0, |&before| before.saturating_add(1)),
            _ => 0,
        }
    }

    /// Mean of the values, each taken for the upper end of its range, rounded up as Cassandra does. `None` if there are
    /// none, or some too large for any range.
    pub fn mean(&self) -> Option<i64> {
        let (overflow, counts) = self.counts.split_last()?;
        let count = self.count();
        if *overflow > 0 || count == 0 {
            return None;
        }
        let sum: f64 = counts.iter().zip(&self.offsets).map(|(&count, &offset)| count as f64 * offset as f64).sum();
        Some((sum / count as f64).ceil() as i64)
    }
}

/// When tombstones and expiring cells may be dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct TombstoneHistogram {
    /// How many bins the writer allowed itself.
    pub bins_max: i32,
    /// Time in seconds since 1970, rounded by the writer, and how many tombstones.
    pub bins: Vec<(f64, i64)>,
}

impl TombstoneHistogram {
    pub(super) fn read(reader: &mut Reader<'_>, integer_points: bool) -> Result<Self> {
        let bins_max = reader.i32("tombstone histogram size")?;
        let bin_size = if integer_points { 12 } else { 16 };
        let bin_count = reader.count_i32(bin_size, "tombstone histogram bin count")?;
        let mut bins = Vec::with_capacity(bin_count);
        for _ in 0..bin_count {
            bins.push(if integer_points {
                // Seconds fit into f64 for as long as there will be Cassandra.
                let point = reader.i64("tombstone histogram point")? as f64;
                (point, i64::from(reader.i32("tombstone histogram count")?))
            } else {
                (reader.f64("tombstone histogram point")?, reader.i64("tombstone histogram count")?)
            });
        }
        Ok(Self { bins_max, bins })
    }

    /// About how many of them may be dropped at a time in seconds, by the rule of Cassandra's `TombstoneHistogram.sum`:
    /// between two bins the density changes evenly.
    pub fn sum(&self, time: f64) -> f64 {
        let Some(next) = self.bins.iter().position(|&(point, _)| point > time) else {
            return self.bins.iter().fold(0.0, |sum, &(_, count)| sum + count as f64);
        };
        let (before, after) = self.bins.split_at(next);
        let (Some((&(low, low_count), whole)), Some(&(high, high_count))) = (before.split_last(), after.first()) else {
            return 0.0;
        };
        let (low_count, high_count) = (low_count as f64, high_count as f64);
        let weight = (time - low) / (high - low);
        let here = low_count + (high_count - low_count) * weight;
        let whole = whole.iter().fold(0.0, |sum, &(_, count)| sum + count as f64);
        whole + (low_count + here) * weight / 2.0 + low_count / 2.0
    }

    /// How many tombstones were counted.
    pub fn count(&self) -> u64 {
        self.bins.iter().fold(0, |sum: u64, &(_, count)| sum.saturating_add(count.max(0).unsigned_abs()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
pub(super) mod tests {
    use super::*;

    /// A histogram as Cassandra writes it.
    pub(in crate::statistics) fn encode(offsets: &[i64], counts: &[i64]) -> Vec<u8> {
        assert_eq!(counts.len(), offsets.len() + 1);
        let mut bytes = (counts.len() as i32).to_be_bytes().to_vec();
        for (index, count) in counts.iter().enumerate() {
            bytes.extend_from_slice(&offsets[index.saturating_sub(1)].to_be_bytes());
            bytes.extend_from_slice(&count.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn estimated() {
        let bytes = encode(&[1, 2, 3, 10], &[0, 5, 0, 4, 1]);
        let mut reader = Reader::new(&bytes, 0);
        let histogram = EstimatedHistogram::read(&mut reader).unwrap();
        assert!(reader.is_empty());
        assert_eq!(histogram.offsets, [1, 2, 3, 10]);
        assert_eq!(histogram.count(), 10);
        let percentiles = [0.0, 0.5, 0.51, 0.9, 1.0].map(|fraction| histogram.percentile(fraction));
        assert_eq!(percentiles, [Some(2), Some(2), Some(10), Some(10), None]);
    }

    #[test]
    fn estimated_damaged() {
        fn check(bytes: &[u8], what: &str, offset: u64) {
            let error = EstimatedHistogram::read(&mut Reader::new(bytes, 100)).unwrap_err();
            assert_eq!((error.what, error.offset), (what, offset));
        }
        check(&[&[0, 0, 0, 1][..], &[0; 16]].concat(), "histogram bucket count", 100);
        check(&[0xff; 40], "histogram bucket count", 100);
        check(&encode(&[1, 1], &[1, 1, 1]), "histogram offset", 100 + 4 + 32);
        check(&encode(&[1, 2], &[1, -1, 1]), "histogram count", 100 + 4 + 16 + 8);
        let mut shifted = encode(&[1, 2], &[1, 1, 1]);
        shifted[4 + 16 + 7] = 9;
        check(&shifted, "histogram offset", 100 + 4 + 16);
    }

    #[test]
    fn tombstones() {
        let mut old = [100_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
        old.extend_from_slice(&1_600_000_020_f64.to_be_bytes());
        old.extend_from_slice(&7_i64.to_be_bytes());
        let mut new = [100_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
        new.extend_from_slice(&1_600_000_020_i64.to_be_bytes());
        new.extend_from_slice(&7_i32.to_be_bytes());
        let from_old = TombstoneHistogram::read(&mut Reader::new(&old, 0), false).unwrap();
        assert_eq!(from_old, TombstoneHistogram::read(&mut Reader::new(&new, 0), true).unwrap());
        assert_eq!(from_old.count(), 7);
        assert!(TombstoneHistogram::read(&mut Reader::new(&old[..23], 0), false).is_err());
    }
}
