//! The cells of a row, one after the other.
//!
//! ```text
//! simple column   cell
//! complex column  [deletion] | uvint number of cells | cell *
//! cell            flags | [timestamp] | [local deletion time] | [TTL] | [vbytes path] | [value]
//! ```

use super::unfiltered::Expiration;
use super::{Column, DeletionTime, RowHead, SerializationHeader};
use crate::cql::wire::Reader;
use crate::error::{Error, Result};

const IS_DELETED: u8 = 0x01;
const IS_EXPIRING: u8 = 0x02;
const HAS_EMPTY_VALUE: u8 = 0x04;
const USE_ROW_TIMESTAMP: u8 = 0x08;
const USE_ROW_TTL: u8 = 0x10;

/// How long a cell lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is overwritten.
    Forever,
    /// It was written with a TTL.
    Expiring(Expiration),
    /// It is a tombstone since that second; numbers as in [`DeletionTime::local_deletion_time`].
    Deleted {
        /// Seconds since 1970.
        local_deletion_time: i64,
    },
}

/// The bytes of a value, or how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// All of them.
    Bytes(&'a [u8]),
    /// More than are given at once: they follow in pieces.
    Long {
        /// Number of bytes.
        length: u64,
    },
}

/// A value with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// What it belongs to.
    pub column: &'a Column,
    /// Index of the column in the header.
    pub column_index: usize,
    /// Microseconds since 1970.
    pub timestamp: i64,
    /// Until when it counts.
    pub lifetime: Lifetime,
    /// The cell of a complex column: time UUID of a list's element, the element of a set, the key of a map, the index
    /// of a field in two bytes. `None` in a simple column.
    pub path: Option<&'a [u8]>,
    /// In a complex column that of the element; of a set always empty.
    pub value: Value<'a>,
}

/// A complex column begins; its cells follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complex<'a> {
    /// Whose cells follow.
    pub column: &'a Column,
    /// Index of the column in the header.
    pub column_index: usize,
    /// Everything in the column that is older is gone: the collection was overwritten. [`DeletionTime::LIVE`] if not.
    pub deletion: DeletionTime,
    /// Number of cells that follow.
    pub cell_count: u64,
}

/// What a row consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A simple column's only cell, or the next one of the complex column that has begun.
    Cell(Cell<'a>),
    /// A complex column begins.
    Complex(Complex<'a>),
}

/// A place among the cells of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cells {
    column_index: usize,
    /// Of the complex column that has begun.
    cells_left: u64,
}

/// Where a value's bytes may end, and from which length on they are not given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueLimits {
    /// Position behind the row, in the terms of [`Reader::offset`].
    pub(crate) row_end: u64,
    /// Longest value that is given whole.
    pub(crate) length_max: u64,
}

impl Cells {
    /// The next part of a row whose bytes all lie in `reader`; `None` after the last. Nothing is [`Value::Long`] here.
    ///
    /// After an error the place is the one before.
    pub fn next<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        head: &RowHead,
        header: &'a SerializationHeader,
    ) -> Result<Option<Part<'a>>> {
        let row_end = reader.offset().saturating_add(reader.remaining() as u64);
        self.next_within(reader, head, header, ValueLimits { row_end, length_max: u64::MAX })
    }

    /// The same for a row whose end may lie beyond the reader's: then [`crate::Kind::Truncated`] means to come again
    /// with more bytes. The bytes of a [`Value::Long`] are left in the reader.
    #[inline(always)]
    pub(crate) fn next_within<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        head: &RowHead,
        header: &'a SerializationHeader,
        limits: ValueLimits,
    ) -> Result<Option<Part<'a>>> {
        let mut place = *self;
        while place.cells_left == 0 && head.is_missing(place.column_index) {
            place.column_index += 1;
        }
        let column_index = place.column_index;
        let Some(column) = header.columns(head.is_static).get(column_index) else {
            *self = place;
            return Ok(None);
        };
        let part = if column.is_complex && place.cells_left == 0 {
            let deletion = if head.has_complex_deletion {
                DeletionTime::read(reader, header, "deletion of a column")?
            } else {
                DeletionTime::LIVE
            };
            let at_count = reader.clone();
            place.cells_left = reader.uvint("number of cells of a column")?;
            check_within_row(&at_count, place.cells_left, limits, "number of cells of a column")?;
            Part::Complex(Complex { column, column_index, deletion, cell_count: place.cells_left })
        } else {
            place.cells_left = place.cells_left.saturating_sub(1);
            Part::Cell(read_cell(reader, (column_index, column), head, header, limits)?)
        };
        if place.cells_left == 0 {
            place.column_index += 1;
        }
        *self = place;
        Ok(Some(part))
    }
}

// In line, because what it returns is as large as a cell: to copy that costs more than to read it.
#[inline(always)]
fn read_cell<'a>(
    reader: &mut Reader<'a>,
    (column_index, column): (usize, &'a Column),
    head: &RowHead,
    header: &SerializationHeader,
    limits: ValueLimits,
) -> Result<Cell<'a>> {
    let at = reader.offset();
    let flags = reader.u8("flags of a cell")?;
    let corrupt = |expected: &str| Err(Error::corrupt(at, "flags of a cell", expected, format_args!("{flags:02x}")));
    let (is_deleted, is_expiring) = (flags & IS_DELETED != 0, flags & IS_EXPIRING != 0);
    if flags >= USE_ROW_TTL << 1 {
        return corrupt("at most 1f");
    }
    if is_deleted && is_expiring {
        return corrupt("deleted or expiring");
    }
    let timestamp = if flags & USE_ROW_TIMESTAMP == 0 {
        header.timestamp(reader.uvint("timestamp of a cell")?)
    } else {
        let Some(liveness) = head.liveness else { return corrupt("a timestamp, as the row has none") };
        liveness.timestamp
    };
    let lifetime = if flags & USE_ROW_TTL != 0 {
        let expiration = head.liveness.and_then(|liveness| liveness.expiration).filter(|_| is_expiring);
        let Some(expiration) = expiration else { return corrupt("the row's TTL only in an expiring cell and row") };
        Lifetime::Expiring(expiration)
    } else if is_expiring {
        let local_expiration_time = header.local_deletion_time(reader.uvint("expiration of a cell")?);
        Lifetime::Expiring(Expiration { ttl: header.ttl(reader.uvint("TTL of a cell")?), local_expiration_time })
    } else if is_deleted {
        let local_deletion_time = header.local_deletion_time(reader.uvint("local deletion time of a cell")?);
        Lifetime::Deleted { local_deletion_time }
    } else {
        Lifetime::Forever
    };
    let path = if column.is_complex {
        let length = reader.uvint("length of a cell path")?;
        check_within_row(reader, length, limits, "length of a cell path")?;
        Some(reader.bytes(usize::try_from(length).unwrap_or(usize::MAX), "cell path")?)
    } else {
        None
    };
    let value = if flags & HAS_EMPTY_VALUE != 0 {
        Value::Bytes(&[])
    } else {
        let length = match column.value_length {
            Some(length) => length as u64,
            None => reader.uvint("length of a value")?,
        };
        check_within_row(reader, length, limits, "length of a value")?;
        if length > limits.length_max {
            Value::Long { length }
        } else {
            Value::Bytes(reader.bytes(usize::try_from(length).unwrap_or(usize::MAX), "value")?)
        }
    };
    Ok(Cell { column, column_index, timestamp, lifetime, path, value })
}

#[inline]
fn check_within_row(reader: &Reader<'_>, length: u64, limits: ValueLimits, what: &'static str) -> Result<()> {
    let length_max = limits.row_end.saturating_sub(reader.offset());
    if length <= length_max {
        return Ok(());
    }
    Err(reader.corrupt(what, format_args!("at most {length_max}, to the end of the row"), length))
}
