//! HEADER: the columns in `Data.db` and the numbers that its rows are relative to.
//!
//! ```text
//! uvint min timestamp - epoch | uvint min local deletion time - epoch | uvint min TTL
//! vbytes partition key type
//! uvint n | n x vbytes clustering type
//! uvint n | n x ( vbytes name | vbytes type )    static columns
//! uvint n | n x ( vbytes name | vbytes type )    regular columns
//! ```
//!
//! Types stay strings here: [`crate::cql::types::Type::parse`] is for who needs more. Names of key columns are not in
//! an SSTable at all.

use crate::cql::wire::Reader;
use crate::error::Result;

/// 2015-09-22T00:00:00Z: Cassandra counts from there to save bytes.
const EPOCH_SECONDS: i64 = 1_442_880_000;

/// Most columns of a sort: Cassandra bounds a table to fewer.
const COLUMNS_MAX: usize = u16::MAX as usize;

/// A column as the SSTable knows it, which may be older than the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// UTF-8 for tables made with CQL, any bytes for those of Thrift's days.
    pub name: Vec<u8>,
    /// Java class name with parameters.
    pub class: String,
}

/// The serialisation header: what it takes to decode `Data.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Microseconds since 1970; timestamps in rows are relative to it. May be lower than that of STATS.
    pub min_timestamp: i64,
    /// Seconds since 1970, truncated to 32 bits as Cassandra does; negative where a TTL overflowed.
    pub min_local_deletion_time: i32,
    /// Seconds.
    pub min_ttl: i32,
    /// Type of the partition key; a `CompositeType` if it has several columns.
    pub partition_key_type: String,
    /// Types of the clustering columns, in order.
    pub clustering_types: Vec<String>,
    /// Static columns in the order of their cells.
    pub static_columns: Vec<Column>,
    /// Regular columns in the order of their cells.
    pub regular_columns: Vec<Column>,
}

impl Header {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let timestamp_delta = reader.uvint("min timestamp")?.cast_signed();
        let local_deletion_time_delta = reader.uvint("min local deletion time")?.cast_signed();
        let ttl_delta = reader.uvint("min TTL")?.cast_signed();
        // Cassandra's own arithmetic: 64 bits that wrap for the first, 32 bits for the others.
        Ok(Self {
            min_timestamp: (EPOCH_SECONDS * 1_000_000).wrapping_add(timestamp_delta),
            min_local_deletion_time: EPOCH_SECONDS.wrapping_add(local_deletion_time_delta) as i32,
            min_ttl: ttl_delta as i32,
            partition_key_type: reader.string("partition key type")?,
            clustering_types: types(reader, "clustering types")?,
            static_columns: columns(reader, "static columns")?,
            regular_columns: columns(reader, "regular columns")?,
        })
    }
}

/// A list of type strings, as HEADER and STATS have them.
pub(super) fn types(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<String>> {
    let count = reader.count_uvint(1, what)?;
    (0..count).map(|_| reader.string(what)).collect()
}

fn columns(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<Column>> {
    let before = reader.clone();
    let count = reader.count_uvint(2, what)?;
    if count > COLUMNS_MAX {
        return Err(before.corrupt(what, format_args!("at most {COLUMNS_MAX}"), count));
    }
    (0..count).map(|_| Ok(Column { name: reader.vbytes(what)?.to_vec(), class: reader.string(what)? })).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;

    #[test]
    fn deltas_wrap() {
        fn check(deltas: &[u8], expected: (i64, i32, i32)) {
            let bytes = [deltas, &[0, 0, 0, 0]].concat();
            let header = Header::read(&mut Reader::new(&bytes, 0)).unwrap();
            assert_eq!((header.min_timestamp, header.min_local_deletion_time, header.min_ttl), expected);
        }
        check(&[0, 0, 0], (1_442_880_000_000_000, 1_442_880_000, 0));
        check(&[1, 1, 60], (1_442_880_000_000_001, 1_442_880_001, 60));
        // All ones: -1, in nine bytes.
        let minus_one = [0xff; 9];
        check(&[&minus_one[..], &minus_one, &[0]].concat(), (1_442_879_999_999_999, 1_442_879_999, 0));
        // D7: an expiration beyond 2038, whose 32 bits turned negative.
        let overflowed = [&[0xff][..], &(-2_147_483_648_i64 - EPOCH_SECONDS).to_be_bytes()].concat();
        check(&[&[0][..], &overflowed, &[0]].concat(), (1_442_880_000_000_000, i32::MIN, 0));
    }

    #[test]
    fn too_many_columns() {
        let columns = |count: u32| {
            let count_bytes = [0xe0 | (count >> 24) as u8, (count >> 16) as u8, (count >> 8) as u8, count as u8];
            [&[0, 0, 0, 0, 0][..], &count_bytes, &vec![0; 2 * count as usize], &[0]].concat()
        };
        assert_eq!(Header::read(&mut Reader::new(&columns(65_535), 0)).unwrap().static_columns.len(), 65_535);
        let error = Header::read(&mut Reader::new(&columns(65_536), 0)).unwrap_err();
        assert_eq!((error.offset, error.what), (5, "static columns"));
    }

    #[test]
    fn columns_in_order() {
        let mut bytes = vec![0, 0, 0];
        bytes
            .extend_from_slice(b"\x09Int32Type\x01\x08UTF8Type\x01\x01s\x09Int32Type\x02\x01\xff\x00\x01b\x08UTF8Type");
        let mut reader = Reader::new(&bytes, 0);
        let header = Header::read(&mut reader).unwrap();
        assert!(reader.is_empty());
        assert_eq!(header.partition_key_type, "Int32Type");
        assert_eq!(header.clustering_types, ["UTF8Type"]);
        assert_eq!(header.static_columns, [Column { name: b"s".to_vec(), class: "Int32Type".into() }]);
        assert_eq!(header.regular_columns[0], Column { name: vec![0xff], class: String::new() });
        for cut in 0..bytes.len() {
            assert!(Header::read(&mut Reader::new(&bytes[..cut], 0)).is_err(), "cut at {cut}");
        }
    }
}
