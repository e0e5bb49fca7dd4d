//! COMPACTION: an estimator of how many distinct partition keys there are, which only compaction has a use for.
//!
//! ```text
//! ibytes HyperLogLog++ of stream-lib
//! ```
//!
//! Not decoded; the exact number of partitions is in STATS.

use crate::cql::wire::Reader;
use crate::error::Result;

/// That the estimator is there, and how big.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Size of the serialised estimator.
    pub cardinality_estimator_bytes: usize,
}

impl Compaction {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { cardinality_estimator_bytes: reader.ibytes("cardinality estimator")?.len() })
    }
}
