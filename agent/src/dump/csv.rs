//! Partitions as CSV: one line for each thing that was written or deleted, so that nothing is left out.
//!
//! ```text
//! type,key,clustering,column,path,value,tstamp,ttl,expires_at,marked_deleted,local_delete_time
//! ```

use std::sync::Arc;

use helenus_sstable::cql::number::signed;
use helenus_sstable::cql::row::{
    BoundKind, Clustering, Column, DeletionTime, Lifetime, Part, SerializationHeader, Value,
};
use helenus_sstable::cql::types::{Native, Type};
use helenus_sstable::cql::value;
use helenus_sstable::scan::{Partition, Row, Unfiltered};

use super::json::Times;
use super::output::{Output, Stop};
use crate::sstable::{Bytes, Rows};

/// The first line.
pub const HEADER: &[u8] =
    b"type,key,clustering,column,path,value,tstamp,ttl,expires_at,marked_deleted,local_delete_time\n";

/// Longer values are written as bytes would be, in pieces.
const VALUE_BYTES_MAX: u64 = 8 << 20;

/// Formats the partitions of one SSTable.
#[derive(Debug)]
pub struct Csv {
    header: Arc<SerializationHeader>,
    times: Times,
}

/// The fields at the end of a line.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    timestamp: Option<i64>,
    lifetime: Option<Lifetime>,
    deletion: Option<DeletionTime>,
}

impl Csv {
    /// For the SSTable of these rows.
    pub fn new(rows: &Rows, times: Times) -> Self {
        Self { header: Arc::clone(&rows.header), times }
    }

    /// Appends a partition; where it cannot be read further, a line of type `damage`.
    pub fn partition<T>(&self, mut partition: Partition<'_, Bytes>, out: &mut Output<T>) -> Result<(), Stop> {
        let mut key = Vec::new();
        let mut plain = Vec::new();
        value::text(&mut plain, &self.header.partition_key, partition.key());
        field(&mut key, &plain);
        if !partition.deletion().is_live() {
            let tail = Tail { deletion: Some(partition.deletion()), ..Tail::default() };
            self.line(&mut out.text, "partition_deletion", &[&key, b"", b"", b"", b""], tail);
        }
        let result = self.unfiltereds(&mut partition, &key, out);
        if let Err(Stop::Unreadable(error)) = &result {
            let mut what = Vec::new();
            field(&mut what, error.to_string().as_bytes());
            self.line(&mut out.text, "damage", &[&key, b"", b"", b"", &what], Tail::default());
        }
        result?;
        out.relieve()
    }

    fn unfiltereds<T>(
        &self,
        partition: &mut Partition<'_, Bytes>,
        key: &[u8],
        out: &mut Output<T>,
    ) -> Result<(), Stop> {
        while let Some(unfiltered) = partition.next_unfiltered()? {
            match unfiltered {
                Unfiltered::Row(row) => self.row(row, key, out)?,
                Unfiltered::Marker(at) => {
                    let marker = at.marker;
                    let clustering = clustering(marker.clustering);
                    let (end, start): (&[u8], &[u8]) = match marker.kind {
                        BoundKind::ExclEnd | BoundKind::InclStart => (b"exclusive", b"inclusive"),
                        BoundKind::InclEnd | BoundKind::ExclStart => (b"inclusive", b"exclusive"),
                        BoundKind::ExclEndInclStart => (b"exclusive", b"inclusive"),
                        BoundKind::InclEndExclStart => (b"inclusive", b"exclusive"),
                    };
                    for (kind, side, deletion) in [("range_end", end, marker.end), ("range_start", start, marker.start)]
                    {
                        if deletion.is_some() {
                            let tail = Tail { deletion, ..Tail::default() };
                            self.line(&mut out.text, kind, &[key, &clustering, b"", b"", side], tail);
                        }
                    }
                }
            }
            out.relieve()?;
        }
        Ok(())
    }

    fn row<T>(&self, mut row: Row<'_, Bytes>, key: &[u8], out: &mut Output<T>) -> Result<(), Stop> {
        let clustering = clustering(row.clustering());
        let columns = self.header.columns(row.is_static());
        if let Some(liveness) = row.liveness() {
            let lifetime = liveness.expiration.map(Lifetime::Expiring);
            let tail = Tail { timestamp: Some(liveness.timestamp), lifetime, deletion: None };
            self.line(&mut out.text, "row", &[key, &clustering, b"", b"", b""], tail);
        }
        if let Some(deletion) = row.deletion().filter(|deletion| !deletion.time.is_live()) {
            let tail = Tail { deletion: Some(deletion.time), ..Tail::default() };
            self.line(&mut out.text, "row_deletion", &[key, &clustering, b"", b"", b""], tail);
        }
        let mut text = Vec::new();
        let mut path = Vec::new();
        while let Some(part) = row.next_part()? {
            let cell = match part {
                Part::Complex(complex) => {
                    if !complex.deletion.is_live() {
                        let mut name = Vec::new();
                        field(&mut name, &complex.column.name);
                        let tail = Tail { deletion: Some(complex.deletion), ..Tail::default() };
                        self.line(&mut out.text, "column_deletion", &[key, &clustering, &name, b"", b""], tail);
                    }
                    continue;
                }
                Part::Cell(cell) => cell,
            };
            path.clear();
            text.clear();
            let Some(column) = columns.get(cell.column_index) else { continue };
            let kind = element(column, cell.path, &mut path);
            let tail = Tail { timestamp: Some(cell.timestamp), lifetime: Some(cell.lifetime), deletion: None };
            let is_deleted = matches!(cell.lifetime, Lifetime::Deleted { .. });
            let given = cell.value;
            match given {
                Value::Bytes(_) if is_deleted => {}
                Value::Bytes(bytes) => write_value(&mut text, &kind, bytes),
                Value::Long { length } => {
                    let mut bytes = Vec::new();
                    let is_long = length > VALUE_BYTES_MAX;
                    if is_long {
                        text.extend_from_slice(b"0x");
                    }
                    while let Some(piece) = row.next_piece()? {
                        if is_long {
                            // As many digits as are held at once; what a spreadsheet does with more is no use.
                            if text.len() < 2 * VALUE_BYTES_MAX as usize {
                                value::hex(&mut text, piece);
                            }
                        } else {
                            bytes.extend_from_slice(piece);
                        }
                    }
                    if is_long && 2 * length + 2 > text.len() as u64 {
                        text.extend_from_slice(format!("... ({length} bytes)").as_bytes());
                    }
                    if !is_long {
                        write_value(&mut text, &kind, &bytes);
                    }
                }
            }
            let mut name = Vec::new();
            field(&mut name, &column.name);
            let mut quoted = Vec::new();
            field(&mut quoted, &text);
            let what = if is_deleted { "cell_deletion" } else { "cell" };
            self.line(&mut out.text, what, &[key, &clustering, &name, &path, &quoted], tail);
            out.relieve()?;
        }
        Ok(())
    }

    /// `fields` are written as they are.
    fn line(&self, text: &mut Vec<u8>, kind: &str, fields: &[&[u8]; 5], tail: Tail) {
        text.extend_from_slice(kind.as_bytes());
        for field in fields {
            text.push(b',');
            text.extend_from_slice(field);
        }
        text.push(b',');
        if let Some(timestamp) = tail.timestamp {
            self.times.micros(text, timestamp);
        }
        text.push(b',');
        let local_delete_time = match tail.lifetime {
            Some(Lifetime::Expiring(expiration)) => {
                signed(text, expiration.ttl.into());
                text.push(b',');
                self.times.seconds(text, expiration.local_expiration_time);
                None
            }
            Some(Lifetime::Deleted { local_deletion_time }) => {
                text.push(b',');
                Some(local_deletion_time)
            }
            _ => {
                text.push(b',');
                tail.deletion.map(|deletion| deletion.local_deletion_time)
            }
        };
        text.push(b',');
        if let Some(deletion) = tail.deletion {
            self.times.micros(text, deletion.marked_for_delete_at);
        }
        text.push(b',');
        if let Some(time) = local_delete_time {
            self.times.seconds(text, time);
        }
        text.push(b'\n');
    }
}

/// The values as `tuple` would print them: joined by colons, `@` for null.
fn clustering(clustering: Clustering<'_>) -> Vec<u8> {
    let mut plain = Vec::new();
    for (index, (kind, bytes)) in clustering.values().enumerate() {
        if index > 0 {
            plain.push(b':');
        }
        match bytes {
            Some(bytes) => value::text(&mut plain, kind, bytes),
            None => plain.push(b'@'),
        }
    }
    let mut quoted = Vec::new();
    field(&mut quoted, &plain);
    quoted
}

/// Type of a cell's value; its path as a field.
fn element(column: &Column, bytes: Option<&[u8]>, path: &mut Vec<u8>) -> Type {
    let (Some(bytes), true) = (bytes, column.is_complex) else { return column.value_type.clone() };
    let mut plain = Vec::new();
    let kind = match &column.value_type {
        Type::List(element) => {
            value::text(&mut plain, &Type::Native(Native::TimeUuid), bytes);
            element.as_ref().clone()
        }
        Type::Set(element) => {
            value::text(&mut plain, element, bytes);
            Type::Native(Native::Empty)
        }
        Type::Map(key, value_type) => {
            value::text(&mut plain, key, bytes);
            value_type.as_ref().clone()
        }
        Type::User(user) => {
            let index = <[u8; 2]>::try_from(bytes).map_or(usize::MAX, |bytes| u16::from_be_bytes(bytes).into());
            match user.fields.get(index) {
                Some((name, kind)) => {
                    plain.extend_from_slice(name.as_bytes());
                    kind.clone()
                }
                None => Type::Native(Native::Blob),
            }
        }
        other => other.clone(),
    };
    field(path, &plain);
    kind
}

/// Bare for what is one value, JSON for what has parts.
fn write_value(text: &mut Vec<u8>, kind: &Type, bytes: &[u8]) {
    match kind {
        Type::Native(Native::Counter) => value::json(text, kind, bytes),
        Type::Native(Native::Blob) => {
            text.extend_from_slice(b"0x");
            value::hex(text, bytes);
        }
        Type::Native(_) => value::text(text, kind, bytes),
        _ => value::json(text, kind, bytes),
    }
}

/// In quotes where CSV wants them.
fn field(text: &mut Vec<u8>, plain: &[u8]) {
    if !plain.iter().any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r')) {
        return text.extend_from_slice(plain);
    }
    text.push(b'"');
    for &byte in plain {
        if byte == b'"' {
            text.push(b'"');
        }
        text.push(byte);
    }
    text.push(b'"');
}
