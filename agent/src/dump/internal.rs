//! Partitions in the form of Cassandra's own `toString`, one row on a line: `sstabledump -d`.

use std::sync::Arc;

use helenus_sstable::cql::moment;
use helenus_sstable::cql::row::{
    BoundKind, Cell, Clustering, DeletionTime, Lifetime, Liveness, Part, SerializationHeader, Value,
};
use helenus_sstable::cql::types::{Native, Type};
use helenus_sstable::cql::value;
use helenus_sstable::scan::{MarkerAt, Partition, Row, Unfiltered};

use super::output::{Output, Stop};
use crate::sstable::{Bytes, Rows};

/// Of a long value so many bytes are shown.
const VALUE_BYTES_SHOWN_MAX: usize = 1 << 20;

/// Formats the partitions of one SSTable.
#[derive(Debug)]
pub struct Internal {
    header: Arc<SerializationHeader>,
}

impl Internal {
    /// For the SSTable of these rows.
    pub fn new(rows: &Rows) -> Self {
        Self { header: Arc::clone(&rows.header) }
    }

    /// Appends a partition; where it cannot be read further, a line that says so.
    pub fn partition<T>(&self, mut partition: Partition<'_, Bytes>, out: &mut Output<T>) -> Result<(), Stop> {
        let mut key = vec![b'['];
        value::text(&mut key, &self.header.partition_key, partition.key());
        key.extend_from_slice(b"]@");
        if !partition.deletion().is_live() {
            out.text.extend_from_slice(&key);
            out.text.extend_from_slice(format!("{} ", partition.position()).as_bytes());
            deletion(&mut out.text, partition.deletion());
            out.text.push(b'\n');
        }
        let result = self.unfiltereds(&mut partition, &key, out);
        if let Err(Stop::Unreadable(error)) = &result {
            out.text.extend_from_slice(&key);
            out.text.extend_from_slice(format!("{} damage: {error}\n", partition.next_position()).as_bytes());
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
            let start = out.text.len();
            out.text.extend_from_slice(key);
            match unfiltered {
                Unfiltered::Row(row) => {
                    let position = if row.is_static() { row.end() } else { row.position() };
                    out.text.extend_from_slice(format!("{position} ").as_bytes());
                    if !self.row(row, out)? {
                        out.text.truncate(start);
                    }
                }
                Unfiltered::Marker(at) => {
                    out.text.extend_from_slice(format!("{} ", at.position).as_bytes());
                    marker(&mut out.text, &at);
                    out.text.push(b'\n');
                }
            }
            out.relieve()?;
        }
        Ok(())
    }

    /// False if it is a static row in which there is nothing. A row is one line, and is held until it is whole.
    fn row<T>(&self, mut row: Row<'_, Bytes>, out: &mut Output<T>) -> Result<bool, Stop> {
        let text = &mut out.text;
        text.extend_from_slice(b"Row[info=");
        info(text, row.liveness());
        if let Some(row_deletion) = row.deletion() {
            text.extend_from_slice(b" del=");
            deletion(text, row_deletion.time);
            if row_deletion.is_shadowable {
                text.extend_from_slice(b"(shadowable)");
            }
        }
        text.extend_from_slice(b" ]: ");
        let is_static = row.is_static();
        if is_static {
            text.extend_from_slice(b"STATIC");
        } else {
            clustering(text, row.clustering());
        }
        text.extend_from_slice(b" | ");
        let mut is_first = true;
        let mut is_empty = row.liveness().is_none() && row.deletion().is_none();
        while let Some(part) = row.next_part()? {
            let text = &mut out.text;
            let cell = match part {
                Part::Complex(complex) => {
                    if !complex.deletion.is_live() {
                        separate(text, &mut is_first);
                        text.extend_from_slice(b"del(");
                        text.extend_from_slice(&complex.column.name);
                        text.extend_from_slice(b")=");
                        deletion(text, complex.deletion);
                        is_empty = false;
                    }
                    continue;
                }
                Part::Cell(cell) => cell,
            };
            is_empty = false;
            separate(text, &mut is_first);
            let Cell { timestamp, lifetime, value, .. } = cell;
            let kind = name(text, &cell);
            match (lifetime, value) {
                (Lifetime::Deleted { .. }, _) => text.extend_from_slice(b"<tombstone>"),
                (_, Value::Bytes(bytes)) => write_value(text, &kind, bytes),
                (_, Value::Long { length }) => {
                    let mut bytes = Vec::new();
                    while let Some(piece) = row.next_piece()? {
                        let room = VALUE_BYTES_SHOWN_MAX.saturating_sub(bytes.len());
                        bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
                    }
                    value::hex(&mut out.text, &bytes);
                    out.text.extend_from_slice(format!("... ({length} bytes)").as_bytes());
                }
            }
            life(&mut out.text, timestamp, lifetime);
            out.relieve()?;
        }
        out.text.push(b'\n');
        Ok(!(is_static && is_empty))
    }
}

fn separate(text: &mut Vec<u8>, is_first: &mut bool) {
    if !std::mem::replace(is_first, false) {
        text.extend_from_slice(b", ");
    }
}

fn write_value(text: &mut Vec<u8>, kind: &Type, bytes: &[u8]) {
    match kind {
        Type::Native(Native::Counter) => value::json(text, kind, bytes),
        _ => value::text(text, kind, bytes),
    }
}

/// `[name=` or `[name[path]=`; the type of the value.
fn name(text: &mut Vec<u8>, cell: &Cell<'_>) -> Type {
    text.push(b'[');
    text.extend_from_slice(&cell.column.name);
    let kind = match (&cell.column.value_type, cell.path) {
        (Type::List(element), Some(path)) => Some((Type::Native(Native::TimeUuid), element.as_ref().clone(), path)),
        (Type::Set(element), Some(path)) => Some((element.as_ref().clone(), Type::Native(Native::Empty), path)),
        (Type::Map(key, value), Some(path)) => Some((key.as_ref().clone(), value.as_ref().clone(), path)),
        _ => None,
    };
    let kind = match (kind, &cell.column.value_type, cell.path) {
        (Some((path_kind, kind, path)), ..) => {
            text.push(b'[');
            value::text(text, &path_kind, path);
            text.push(b']');
            kind
        }
        (None, Type::User(user), Some(path)) => {
            let index = <[u8; 2]>::try_from(path).map_or(usize::MAX, |bytes| u16::from_be_bytes(bytes).into());
            text.push(b'[');
            let field = user.fields.get(index);
            text.extend_from_slice(field.map_or(b"?", |(name, _)| name.as_bytes()));
            text.push(b']');
            field.map_or(Type::Native(Native::Blob), |(_, kind)| kind.clone())
        }
        (None, other, _) => other.clone(),
    };
    text.push(b'=');
    kind
}

fn life(text: &mut Vec<u8>, timestamp: i64, lifetime: Lifetime) {
    text.extend_from_slice(format!(" ts={timestamp}").as_bytes());
    match lifetime {
        Lifetime::Forever => {}
        Lifetime::Expiring(expiration) => {
            let line = format!(" ttl={} ldt={}", expiration.ttl, expiration.local_expiration_time);
            text.extend_from_slice(line.as_bytes());
        }
        Lifetime::Deleted { local_deletion_time } => {
            text.extend_from_slice(format!(" ldt={local_deletion_time}").as_bytes());
        }
    }
    text.push(b']');
}

fn info(text: &mut Vec<u8>, liveness: Option<Liveness>) {
    let line = match liveness {
        None => format!("[ts={}]", i64::MIN),
        Some(Liveness { timestamp, expiration: None }) => format!("[ts={timestamp}]"),
        Some(Liveness { timestamp, expiration: Some(expiration) }) => {
            format!("[ts={timestamp} ttl={}, let={}]", expiration.ttl, expiration.local_expiration_time)
        }
    };
    text.extend_from_slice(line.as_bytes());
}

fn deletion(text: &mut Vec<u8>, time: DeletionTime) {
    let line = format!("deletedAt={}, localDeletion={}", time.marked_for_delete_at, time.local_deletion_time);
    text.extend_from_slice(line.as_bytes());
}

fn clustering(text: &mut Vec<u8>, values: Clustering<'_>) {
    for (index, (kind, bytes)) in values.values().enumerate() {
        if index > 0 {
            text.extend_from_slice(b", ");
        }
        match bytes {
            Some(bytes) => literal(text, kind, bytes),
            None => text.extend_from_slice(b"null"),
        }
    }
}

/// As in a CQL statement.
fn literal(text: &mut Vec<u8>, kind: &Type, bytes: &[u8]) {
    match kind {
        Type::Reversed(inner) | Type::Frozen(inner) => literal(text, inner, bytes),
        Type::Native(Native::Text | Native::Ascii) => {
            let mut plain = Vec::new();
            value::text(&mut plain, kind, bytes);
            text.push(b'\'');
            text.extend(plain.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b'\'' { 2 } else { 1 })));
            text.push(b'\'');
        }
        Type::Native(Native::Blob) => {
            text.extend_from_slice(b"0x");
            value::hex(text, bytes);
        }
        Type::Native(Native::Timestamp) if bytes.len() == 8 => {
            let time = bytes.try_into().map_or(0, i64::from_be_bytes);
            text.push(b'\'');
            moment::timestamp(text, time, b'T');
            text.push(b'\'');
        }
        Type::Native(Native::Date | Native::Time | Native::Inet) => {
            text.push(b'\'');
            value::text(text, kind, bytes);
            text.push(b'\'');
        }
        _ => value::text(text, kind, bytes),
    }
}

fn marker(text: &mut Vec<u8>, at: &MarkerAt<'_>) {
    let marker = &at.marker;
    text.extend_from_slice(b"Marker ");
    let name = match marker.kind {
        BoundKind::ExclEnd => "EXCL_END_BOUND",
        BoundKind::InclStart => "INCL_START_BOUND",
        BoundKind::ExclEndInclStart => "EXCL_END_INCL_START_BOUNDARY",
        BoundKind::InclEndExclStart => "INCL_END_EXCL_START_BOUNDARY",
        BoundKind::InclEnd => "INCL_END_BOUND",
        BoundKind::ExclStart => "EXCL_START_BOUND",
    };
    text.extend_from_slice(name.as_bytes());
    text.push(b'(');
    for (index, (kind, bytes)) in marker.clustering.values().enumerate() {
        if index > 0 {
            text.extend_from_slice(b", ");
        }
        match bytes {
            Some(bytes) => literal(text, kind, bytes),
            None => text.extend_from_slice(b"null"),
        }
    }
    text.push(b')');
    for time in [marker.end, marker.start].into_iter().flatten().enumerate() {
        text.extend_from_slice(if time.0 == 0 { b"@" } else { b"-" });
        text.extend_from_slice(format!("{}/{}", time.1.marked_for_delete_at, time.1.local_deletion_time).as_bytes());
    }
}
