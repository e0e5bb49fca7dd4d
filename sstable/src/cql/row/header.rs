//! What it takes to decode rows: the types of their values and the numbers that they are relative to.

use crate::cql::types::Type;
use crate::error::{Error, Result};
use crate::statistics::header::{Column as RawColumn, Header};
use crate::version::Version;

/// A column of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// UTF-8 for tables made with CQL, any bytes for those of Thrift's days.
    pub name: Vec<u8>,
    /// Of the whole column: of a multi-cell one the collection or user type.
    pub value_type: Type,
    /// True for a cell per element.
    pub is_complex: bool,
    /// Bytes of a value that is not empty, if it is stored without its length. Never of a complex column.
    pub value_length: Option<usize>,
}

impl Column {
    /// A column whose type decides whether it is multi-cell, as in every schema.
    pub fn new(name: Vec<u8>, value_type: Type) -> Self {
        let is_complex = value_type.is_multi_cell();
        Self { name, is_complex, value_length: value_type.value_length(), value_type }
    }
}

/// Cassandra's `SerializationHeader`, its types parsed.
///
/// An SSTable has one in `Statistics.db` ([`Self::new`]); each partition update in the commit log has one of its own,
/// whose column names get their types from the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerializationHeader {
    /// A [`Type::Composite`] if the key has several columns.
    pub partition_key: Type,
    /// One per clustering column, in order.
    pub clustering: Vec<Type>,
    /// In the order of their cells: simple ones first.
    pub static_columns: Vec<Column>,
    /// In the order of their cells: simple ones first.
    pub regular_columns: Vec<Column>,
    /// Microseconds since 1970.
    pub min_timestamp: i64,
    /// Seconds since 1970, cut to 32 bits.
    pub min_local_deletion_time: i32,
    /// Seconds.
    pub min_ttl: i32,
    /// Local deletion times are unsigned: `oa`, `da`, and commit logs of version 8 on.
    pub has_unsigned_deletion_times: bool,
}

impl SerializationHeader {
    /// Parses the types in HEADER of a `Statistics.db`. A type string that is none is an error at no place: it names
    /// the string.
    pub fn new(header: &Header, version: Version) -> Result<Self> {
        Ok(Self {
            partition_key: parse(&header.partition_key_type)?,
            clustering: header.clustering_types.iter().map(|class| parse(class)).collect::<Result<_>>()?,
            static_columns: columns(&header.static_columns, version)?,
            regular_columns: columns(&header.regular_columns, version)?,
            min_timestamp: header.min_timestamp,
            min_local_deletion_time: header.min_local_deletion_time,
            min_ttl: header.min_ttl,
            has_unsigned_deletion_times: version.has_uint_deletion_time(),
        })
    }

    /// The columns that a row of this kind may have.
    #[inline]
    pub fn columns(&self, is_static: bool) -> &[Column] {
        if is_static { &self.static_columns } else { &self.regular_columns }
    }

    // Cassandra's own arithmetic: 64 bits that wrap for timestamps, 32 for the others.

    #[inline]
    pub(super) fn timestamp(&self, delta: u64) -> i64 {
        self.min_timestamp.wrapping_add(delta.cast_signed())
    }

    #[inline]
    pub(super) fn ttl(&self, delta: u64) -> i32 {
        self.min_ttl.wrapping_add(delta as i32)
    }

    #[inline]
    pub(super) fn local_deletion_time(&self, delta: u64) -> i64 {
        let time = self.min_local_deletion_time.wrapping_add(delta as i32);
        if self.has_unsigned_deletion_times { i64::from(time.cast_unsigned()) } else { i64::from(time) }
    }
}

fn parse(class: &str) -> Result<Type> {
    Type::parse(class).map_err(|error| {
        Error::corrupt(0, "type in the serialization header", error.expected, format_args!("{} in {class}", error.got))
    })
}

/// Simple columns come before complex ones, so what stands before a simple one is simple too: 3.0 forgot to write that
/// a user type is frozen (CASSANDRA-15035). Both sorts ascend by name, so one that stands before a lower name is the
/// last of the simple ones. A forgotten one of which neither is true cannot be told.
fn columns(raw: &[RawColumn], version: Version) -> Result<Vec<Column>> {
    let mut columns = raw
        .iter()
        .map(|column| Ok(Column::new(column.name.clone(), parse(&column.class)?)))
        .collect::<Result<Vec<_>>>()?;
    let simple_count = columns.iter().rposition(|column| !column.is_complex).map_or(0, |last| last + 1);
    for column in columns.iter_mut().take(simple_count) {
        column.is_complex = false;
    }
    if version < Version::NA {
        let descent = raw.windows(2).rposition(|pair| matches!(pair, [one, next] if next.name < one.name));
        let before = columns.iter_mut().take(descent.map_or(0, |last| last + 1));
        for column in before.filter(|column| matches!(column.value_type, Type::User(_))) {
            column.is_complex = false;
        }
    }
    Ok(columns)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;

    fn header(columns: &[&str]) -> Header {
        Header {
            min_timestamp: 0,
            min_local_deletion_time: 0,
            min_ttl: 0,
            partition_key_type: "Int32Type".into(),
            clustering_types: Vec::new(),
            static_columns: Vec::new(),
            regular_columns: columns
                .iter()
                .map(|class| RawColumn { name: b"c".to_vec(), class: (*class).to_owned() })
                .collect(),
        }
    }

    #[test]
    fn what_stands_before_a_simple_column_is_simple() {
        let check = |columns: &[&str], expected: &[bool]| {
            let parsed = SerializationHeader::new(&header(columns), Version::MA).unwrap();
            let got: Vec<bool> = parsed.regular_columns.iter().map(|column| column.is_complex).collect();
            assert_eq!(got, expected, "{columns:?}");
        };
        const UDT: &str = "UserType(ks,61,62:Int32Type)";
        check(&["Int32Type", "ListType(Int32Type)"], &[false, true]);
        check(&["Int32Type", UDT], &[false, true]);
        // As 3.0 wrote a frozen type.
        check(&[UDT, "Int32Type", "SetType(Int32Type)", UDT], &[false, false, true, true]);
        check(&["FrozenType(ListType(Int32Type))", "TupleType(Int32Type)", "VectorType(FloatType , 3)"], &[false; 3]);
    }

    #[test]
    fn what_stands_before_a_lower_name_is_simple() {
        const UDT: &str = "UserType(ks,61,62:Int32Type)";
        let check = |version, columns: &[(&str, &str)], expected: &[bool]| {
            let mut header = header(&[]);
            let column = |(name, class): &(&str, &str)| RawColumn { name: (*name).into(), class: (*class).into() };
            header.regular_columns = columns.iter().map(column).collect();
            let parsed = SerializationHeader::new(&header, version).unwrap();
            let got: Vec<bool> = parsed.regular_columns.iter().map(|column| column.is_complex).collect();
            assert_eq!(got, expected, "{columns:?}");
        };
        let udts = [("d", UDT), ("e", UDT), ("b", "SetType(Int32Type)"), ("c", UDT)];
        check(Version::MA, &udts, &[false, false, true, true]);
        // From `na` on it would be written that they are frozen.
        check(Version::NB, &udts, &[true; 4]);
        check(Version::MA, &[("b", UDT), ("c", "SetType(Int32Type)")], &[true; 2]);
    }

    #[test]
    fn types_that_are_none() {
        let error = SerializationHeader::new(&header(&["ListType("]), Version::NB).unwrap_err();
        assert_eq!(error.to_string(), "at 0: type in the serialization header: expected ), got the end in ListType(");
    }
}
