//! Partitions as the JSON of Cassandra's `sstabledump`, laid out in lines or each partition on one.

use std::sync::Arc;

use helenus_sstable::cql::moment;
use helenus_sstable::cql::number::{integer, signed};
use helenus_sstable::cql::row::{
    BoundKind, Cell, Clustering, Column, Complex, DeletionTime, Expiration, Lifetime, Liveness, Part,
    SerializationHeader, Value,
};
use helenus_sstable::cql::types::{Native, Type, quote_identifier};
use helenus_sstable::cql::value::{self, json_string, key_parts, text_as_json};
use helenus_sstable::scan::{MarkerAt, Partition, Row, Unfiltered};

use super::long_value;
use super::output::{Output, Stop};
use crate::sstable::{Bytes, Rows};

/// How times are written, and what the present is.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Numbers instead of dates; still JSON strings.
    pub raw: bool,
    /// Seconds since 1970, by which it is told what has expired.
    pub now: i64,
}

impl Times {
    /// A write time in microseconds.
    pub fn micros(self, out: &mut Vec<u8>, time: i64) {
        if self.raw { signed(out, time) } else { moment::microseconds(out, time) }
    }

    /// A local time in seconds.
    pub fn seconds(self, out: &mut Vec<u8>, time: i64) {
        if self.raw { signed(out, time) } else { moment::seconds(out, time) }
    }
}

/// What is known of a column before its cells.
#[derive(Debug)]
struct ColumnText {
    /// The beginning of each of its cells.
    cell: Vec<u8>,
    kind: ColumnKind,
}

#[derive(Debug)]
enum ColumnKind {
    Simple(Type),
    /// Of the path, and of the value.
    Collection(Type, Type),
    /// Name as JSON, and type.
    User(Vec<(Vec<u8>, Type)>),
}

/// Formats the partitions of one SSTable.
#[derive(Debug)]
pub struct Json<const PRETTY: bool> {
    header: Arc<SerializationHeader>,
    times: Times,
    /// What comes before the key.
    partition: Vec<u8>,
    static_columns: Vec<ColumnText>,
    regular_columns: Vec<ColumnText>,
}

impl<const PRETTY: bool> Json<PRETTY> {
    /// With the name of the SSTable in each partition, if there is one.
    pub fn new(rows: &Rows, times: Times, name: Option<&str>) -> Self {
        let mut partition = Vec::new();
        partition.extend_from_slice(if PRETTY { b",\n  {\n    " } else { b"{" });
        if let Some(name) = name {
            partition.extend_from_slice(if PRETTY { b"\"sstable\" : " } else { b"\"sstable\":" });
            json_string(&mut partition, name.as_bytes());
            partition.extend_from_slice(if PRETTY { b",\n    " } else { b"," });
        }
        let kind = if rows.sstable.is_of_index() { "INDEX" } else { "REGULAR" };
        partition.extend_from_slice(
            match PRETTY {
                true => format!("\"table kind\" : \"{kind}\",\n    \"partition\" : {{\n      \"key\" : [ "),
                false => format!("\"table kind\":\"{kind}\",\"partition\":{{\"key\":["),
            }
            .as_bytes(),
        );
        let texts = |columns: &[Column]| columns.iter().map(ColumnText::new::<PRETTY>).collect();
        let header = Arc::clone(&rows.header);
        Self {
            times,
            partition,
            static_columns: texts(&header.static_columns),
            regular_columns: texts(&header.regular_columns),
            header,
        }
    }

    /// Appends a partition, with a comma before it if it is one of several lines. If its end cannot be read, all that
    /// was begun is closed, and `damage` says what is missing.
    pub fn partition<T>(&self, mut partition: Partition<'_, Bytes>, out: &mut Output<T>) -> Result<(), Stop> {
        let text = &mut out.text;
        text.extend_from_slice(&self.partition);
        for (index, (kind, bytes)) in key_parts(&self.header.partition_key, partition.key()).into_iter().enumerate() {
            if index > 0 {
                put::<PRETTY>(text, b", ", b",");
            }
            text_as_json(text, kind, bytes);
        }
        put::<PRETTY>(text, b" ],\n      \"position\" : ", b"],\"position\":");
        integer(text, partition.position());
        if !partition.deletion().is_live() {
            put::<PRETTY>(text, b",\n      \"deletion_info\" : ", b",\"deletion_info\":");
            self.deletion(text, partition.deletion());
        }
        put::<PRETTY>(text, b"\n    },\n    \"rows\" : [", b"},\"rows\":[");
        let mut is_empty = true;
        let result = self.unfiltereds(&mut partition, out, &mut is_empty);
        let text = &mut out.text;
        put::<PRETTY>(text, if is_empty { b" ]" } else { b"\n    ]" }, b"]");
        if let Err(Stop::Unreadable(error)) = &result {
            put::<PRETTY>(text, b",\n    \"damage\" : ", b",\"damage\":");
            json_string(text, error.to_string().as_bytes());
        }
        put::<PRETTY>(text, b"\n  }", b"}\n");
        result?;
        out.relieve()
    }

    fn unfiltereds<T>(
        &self,
        partition: &mut Partition<'_, Bytes>,
        out: &mut Output<T>,
        is_empty: &mut bool,
    ) -> Result<(), Stop> {
        while let Some(unfiltered) = partition.next_unfiltered()? {
            match unfiltered {
                Unfiltered::Row(row) if row.is_static() => self.static_row(row, out, is_empty)?,
                Unfiltered::Row(row) => {
                    begin::<PRETTY>(&mut out.text, is_empty);
                    self.row(row, out)?;
                }
                Unfiltered::Marker(marker) => {
                    begin::<PRETTY>(&mut out.text, is_empty);
                    self.marker(&marker, &mut out.text);
                }
            }
            out.relieve()?;
        }
        Ok(())
    }

    /// A static row without a cell is in the file, and is none.
    fn static_row<T>(&self, row: Row<'_, Bytes>, out: &mut Output<T>, is_empty: &mut bool) -> Result<(), Stop> {
        let end = row.end();
        let is_first = *is_empty;
        let mut head = Vec::new();
        begin::<PRETTY>(&mut head, is_empty);
        put::<PRETTY>(
            &mut head,
            b"\n      {\n        \"type\" : \"static_block\",\n        \"position\" : ",
            b"{\"type\":\"static_block\",\"position\":",
        );
        integer(&mut head, end);
        let has_head = row.liveness().is_some() || row.deletion().is_some();
        if has_head {
            out.text.extend_from_slice(&head);
            head.clear();
        }
        let result = self.cells(row, out, head);
        if let Ok(true) = result {
            return Ok(());
        }
        // Nothing was written.
        *is_empty = is_first;
        result.map(drop)
    }

    fn row<T>(&self, row: Row<'_, Bytes>, out: &mut Output<T>) -> Result<(), Stop> {
        let text = &mut out.text;
        put::<PRETTY>(
            text,
            b"\n      {\n        \"type\" : \"row\",\n        \"position\" : ",
            b"{\"type\":\"row\",\"position\":",
        );
        integer(text, row.position());
        self.clustering(text, row.clustering(), b",\n        \"clustering\" : [ ");
        self.cells(row, out, Vec::new()).map(drop)
    }

    /// Liveness, deletion and cells; `head` is written before them if there is anything. False if there was nothing to
    /// write.
    fn cells<T>(&self, mut row: Row<'_, Bytes>, out: &mut Output<T>, mut head: Vec<u8>) -> Result<bool, Stop> {
        let is_lazy = !head.is_empty();
        let liveness = row.liveness();
        let columns = if row.is_static() { &self.static_columns } else { &self.regular_columns };
        if let Some(liveness) = liveness {
            self.liveness(&mut out.text, liveness);
        }
        if let Some(deletion) = row.deletion().filter(|deletion| !deletion.time.is_live()) {
            put::<PRETTY>(&mut out.text, b",\n        \"deletion_info\" : ", b",\"deletion_info\":");
            self.deletion(&mut out.text, deletion.time);
        }
        let mut is_empty = true;
        let mut open = |text: &mut Vec<u8>, is_empty: &mut bool| {
            if std::mem::replace(is_empty, false) {
                text.append(&mut head);
                put::<PRETTY>(text, b",\n        \"cells\" : [", b",\"cells\":[");
            } else {
                text.push(b',');
            }
        };
        let result = loop {
            let (length, kind, cell) = match row.next_part() {
                Ok(None) => break Ok(()),
                Err(error) => break Err(Stop::from(error)),
                Ok(Some(Part::Complex(complex))) => {
                    if !complex.deletion.is_live() {
                        open(&mut out.text, &mut is_empty);
                        self.complex(&mut out.text, &complex, columns);
                    }
                    continue;
                }
                Ok(Some(Part::Cell(cell))) => {
                    open(&mut out.text, &mut is_empty);
                    let Some(column) = columns.get(cell.column_index) else { continue };
                    let kind = column.begin_cell::<PRETTY>(&mut out.text, &cell);
                    let Cell { timestamp, lifetime, value, .. } = cell;
                    if let Lifetime::Deleted { local_deletion_time } = lifetime {
                        let text = &mut out.text;
                        put::<PRETTY>(
                            text,
                            b", \"deletion_info\" : { \"local_delete_time\" : \"",
                            b",\"deletion_info\":{\"local_delete_time\":\"",
                        );
                        self.times.seconds(text, local_deletion_time);
                        put::<PRETTY>(text, b"\" }", b"\"}");
                    } else {
                        put::<PRETTY>(&mut out.text, b", \"value\" : ", b",\"value\":");
                    }
                    match value {
                        Value::Bytes(_) if matches!(lifetime, Lifetime::Deleted { .. }) => {}
                        Value::Bytes(bytes) => value::json(&mut out.text, kind, bytes),
                        Value::Long { .. } => {}
                    }
                    let length = match value {
                        Value::Long { length } if !matches!(lifetime, Lifetime::Deleted { .. }) => length,
                        _ => 0,
                    };
                    (length, kind, (timestamp, lifetime))
                }
            };
            let written = if length > 0 { long_value::json(&mut row, kind, length, out) } else { Ok(()) };
            self.end_cell(&mut out.text, cell, liveness);
            if let Err(stop) = written.and_then(|()| out.relieve()) {
                break Err(stop);
            }
        };
        if is_empty && is_lazy {
            return result.map(|()| false);
        }
        let text = &mut out.text;
        match is_empty {
            true => put::<PRETTY>(text, b",\n        \"cells\" : [ ]\n      }", b",\"cells\":[]}"),
            false => put::<PRETTY>(text, b"\n        ]\n      }", b"]}"),
        }
        result.map(|()| true)
    }

    /// What a cell has of its own beside its value.
    fn end_cell(&self, text: &mut Vec<u8>, (timestamp, lifetime): (i64, Lifetime), liveness: Option<Liveness>) {
        if liveness.is_none_or(|liveness| liveness.timestamp != timestamp) {
            put::<PRETTY>(text, b", \"tstamp\" : \"", b",\"tstamp\":\"");
            self.times.micros(text, timestamp);
            text.push(b'"');
        }
        if let Lifetime::Expiring(expiration) = lifetime {
            let of_row = liveness.map(|liveness| liveness.expiration.map_or(0, |expiration| expiration.ttl));
            if of_row.is_none_or(|ttl| ttl != expiration.ttl) {
                // A cell has expired in the very second, a row in the one after.
                self.expiration(text, expiration, expiration.local_expiration_time <= self.times.now);
            }
        }
        put::<PRETTY>(text, b" }", b"}");
    }

    fn expiration(&self, text: &mut Vec<u8>, expiration: Expiration, has_expired: bool) {
        put::<PRETTY>(text, b", \"ttl\" : ", b",\"ttl\":");
        signed(text, expiration.ttl.into());
        put::<PRETTY>(text, b", \"expires_at\" : \"", b",\"expires_at\":\"");
        self.times.seconds(text, expiration.local_expiration_time);
        put::<PRETTY>(text, b"\", \"expired\" : ", b"\",\"expired\":");
        text.extend_from_slice(if has_expired { b"true" } else { b"false" });
    }

    fn liveness(&self, text: &mut Vec<u8>, liveness: Liveness) {
        put::<PRETTY>(text, b",\n        \"liveness_info\" : { \"tstamp\" : \"", b",\"liveness_info\":{\"tstamp\":\"");
        self.times.micros(text, liveness.timestamp);
        text.push(b'"');
        if let Some(expiration) = liveness.expiration {
            self.expiration(text, expiration, expiration.local_expiration_time < self.times.now);
        }
        put::<PRETTY>(text, b" }", b"}");
    }

    /// The deletion of everything older in a collection.
    fn complex(&self, text: &mut Vec<u8>, complex: &Complex<'_>, columns: &[ColumnText]) {
        if let Some(column) = columns.get(complex.column_index) {
            text.extend_from_slice(&column.cell);
        }
        put::<PRETTY>(text, b", \"deletion_info\" : ", b",\"deletion_info\":");
        self.deletion(text, complex.deletion);
        put::<PRETTY>(text, b" }", b"}");
    }

    fn deletion(&self, text: &mut Vec<u8>, deletion: DeletionTime) {
        put::<PRETTY>(text, b"{ \"marked_deleted\" : \"", b"{\"marked_deleted\":\"");
        self.times.micros(text, deletion.marked_for_delete_at);
        put::<PRETTY>(text, b"\", \"local_delete_time\" : \"", b"\",\"local_delete_time\":\"");
        self.times.seconds(text, deletion.local_deletion_time);
        put::<PRETTY>(text, b"\" }", b"\"}");
    }

    /// The values, and a star for each that a bound does not name.
    fn clustering(&self, text: &mut Vec<u8>, clustering: Clustering<'_>, pretty_open: &[u8]) {
        if clustering.is_empty() {
            return;
        }
        put::<PRETTY>(text, pretty_open, b",\"clustering\":[");
        for (index, (kind, bytes)) in clustering.values().enumerate() {
            if index > 0 {
                put::<PRETTY>(text, b", ", b",");
            }
            match bytes {
                Some(bytes) => value::json(text, kind, bytes),
                None => text.extend_from_slice(b"null"),
            }
        }
        for _ in clustering.len()..self.header.clustering.len() {
            put::<PRETTY>(text, b", \"*\"", b",\"*\"");
        }
        put::<PRETTY>(text, b" ]", b"]");
    }

    fn marker(&self, at: &MarkerAt<'_>, text: &mut Vec<u8>) {
        let marker = &at.marker;
        let (end, start) = match marker.kind {
            BoundKind::ExclEnd => (Some("exclusive"), None),
            BoundKind::InclEnd => (Some("inclusive"), None),
            BoundKind::InclStart => (None, Some("inclusive")),
            BoundKind::ExclStart => (None, Some("exclusive")),
            BoundKind::ExclEndInclStart => (Some("exclusive"), Some("inclusive")),
            BoundKind::InclEndExclStart => (Some("inclusive"), Some("exclusive")),
        };
        put::<PRETTY>(text, b"\n      {\n        \"type\" : \"", b"{\"type\":\"");
        let kind = if end.is_some() && start.is_some() { "range_tombstone_boundary" } else { "range_tombstone_bound" };
        text.extend_from_slice(kind.as_bytes());
        text.push(b'"');
        for (name, side, deletion) in [("start", start, marker.start), ("end", end, marker.end)] {
            let Some(side) = side else { continue };
            put::<PRETTY>(text, b",\n        \"", b",\"");
            text.extend_from_slice(name.as_bytes());
            put::<PRETTY>(text, b"\" : {\n          \"type\" : \"", b"\":{\"type\":\"");
            text.extend_from_slice(side.as_bytes());
            text.push(b'"');
            self.clustering(text, marker.clustering, b",\n          \"clustering\" : [ ");
            put::<PRETTY>(text, b",\n          \"deletion_info\" : ", b",\"deletion_info\":");
            self.deletion(text, deletion.unwrap_or(DeletionTime::LIVE));
            put::<PRETTY>(text, b"\n        }", b"}");
        }
        put::<PRETTY>(text, b"\n      }", b"}");
    }
}

/// The comma between elements, where one is due.
fn begin<const PRETTY: bool>(text: &mut Vec<u8>, is_empty: &mut bool) {
    if !std::mem::replace(is_empty, false) {
        text.push(b',');
    }
}

#[inline]
fn put<const PRETTY: bool>(text: &mut Vec<u8>, pretty: &[u8], compact: &[u8]) {
    text.extend_from_slice(if PRETTY { pretty } else { compact });
}

/// What a cell in a set has for a value.
const NOTHING: Type = Type::Native(Native::Empty);
/// What is of no type that is known.
const BYTES: Type = Type::Native(Native::Blob);

impl ColumnText {
    fn new<const PRETTY: bool>(column: &Column) -> Self {
        let mut cell = Vec::new();
        put::<PRETTY>(&mut cell, b"\n          { \"name\" : ", b"{\"name\":");
        json_string(&mut cell, quote_identifier(&String::from_utf8_lossy(&column.name)).as_bytes());
        let kind = match &column.value_type {
            Type::List(element) if column.is_complex => {
                ColumnKind::Collection(Type::Native(Native::TimeUuid), element.as_ref().clone())
            }
            Type::Set(element) if column.is_complex => ColumnKind::Collection(element.as_ref().clone(), NOTHING),
            Type::Map(key, value) if column.is_complex => {
                ColumnKind::Collection(key.as_ref().clone(), value.as_ref().clone())
            }
            Type::User(user) if column.is_complex => {
                let name = |name: &String| {
                    let mut text = Vec::new();
                    json_string(&mut text, name.as_bytes());
                    text
                };
                ColumnKind::User(user.fields.iter().map(|(field, kind)| (name(field), kind.clone())).collect())
            }
            other => ColumnKind::Simple(other.clone()),
        };
        Self { cell, kind }
    }

    /// Appends what comes before the value, and gives the value's type.
    fn begin_cell<const PRETTY: bool>(&self, text: &mut Vec<u8>, cell: &Cell<'_>) -> &Type {
        text.extend_from_slice(&self.cell);
        let (path, value) = match (&self.kind, cell.path) {
            (ColumnKind::Simple(kind), _) => return kind,
            (ColumnKind::Collection(path, value), Some(bytes)) => {
                put::<PRETTY>(text, b", \"path\" : [ ", b",\"path\":[");
                text_as_json(text, path, bytes);
                put::<PRETTY>(text, b" ]", b"]");
                return value;
            }
            (ColumnKind::Collection(_, value), None) => return value,
            (ColumnKind::User(fields), path) => {
                let bytes = path.unwrap_or_default();
                let index = <[u8; 2]>::try_from(bytes).map_or(usize::MAX, |bytes| u16::from_be_bytes(bytes).into());
                match fields.get(index) {
                    Some((name, kind)) => (name.clone(), kind),
                    None => {
                        let mut name = Vec::new();
                        value::json(&mut name, &BYTES, bytes);
                        (name, &BYTES)
                    }
                }
            }
        };
        put::<PRETTY>(text, b", \"path\" : [ ", b",\"path\":[");
        text.extend_from_slice(&path);
        put::<PRETTY>(text, b" ]", b"]");
        value
    }
}
