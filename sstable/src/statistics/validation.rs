//! VALIDATION: what an SSTable must have in common with the node that opens it.
//!
//! ```text
//! utf partitioner class | f64 false positive chance of the Bloom filter
//! ```

use crate::cql::wire::Reader;
use crate::error::Result;

/// The partitioner decides the order of the partitions; an SSTable of another one is of no use to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Full class name (`org.apache.cassandra.dht.Murmur3Partitioner`).
    pub partitioner: String,
    /// `bloom_filter_fp_chance` of the table at the time; 1.0 means that there is no `Filter.db`.
    pub bloom_filter_fp_chance: f64,
}

impl Validation {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            partitioner: reader.utf("partitioner")?,
            bloom_filter_fp_chance: reader.f64("bloom filter false positive chance")?,
        })
    }
}
