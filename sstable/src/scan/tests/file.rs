//! Writes `Data.db` as Cassandra does, down to what surrounds the cells of a row, and shows as text what is read back.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::checksum::crc32;
use crate::chunks::Chunks;
use crate::compression_info::CompressionInfo;
use crate::compressor::Compressor;
use crate::cql::row::{Column, DeletionTime, Lifetime, Part, SerializationHeader, Value};
use crate::cql::types::Type;
use crate::crc::CrcFile;
use crate::scan::{Scan, Unfiltered};
use crate::source::Source;
use crate::version::Version;
use crate::window::ReadError;

/// Types, all minima zero.
pub(super) fn header(clustering: &[&str], statics: &[&str], regulars: &[&str]) -> SerializationHeader {
    let parse = |class: &&str| Type::parse(class).unwrap();
    let columns = |classes: &[&str]| {
        classes.iter().enumerate().map(|(index, class)| Column::new(vec![index as u8], parse(class))).collect()
    };
    SerializationHeader {
        partition_key: Type::parse("BytesType").unwrap(),
        clustering: clustering.iter().map(parse).collect(),
        static_columns: columns(statics),
        regular_columns: columns(regulars),
        min_timestamp: 0,
        min_local_deletion_time: 0,
        min_ttl: 0,
        has_unsigned_deletion_times: false,
    }
}

/// A file under construction.
#[derive(Default, Clone)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    previous: usize,
    is_oa: bool,
}

impl File {
    pub(super) fn nb() -> Self {
        Self::default()
    }

    pub(super) fn oa() -> Self {
        Self { is_oa: true, ..Self::default() }
    }

    /// Begins a partition that is not deleted.
    pub(super) fn partition(self, key: &[u8]) -> Self {
        let live: &[u8] = if self.is_oa { &[0x80] } else { &[0x7f, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0] };
        self.partition_deleted(key, live)
    }

    pub(super) fn partition_deleted(mut self, key: &[u8], deletion: &[u8]) -> Self {
        self.previous = self.bytes.len();
        self.bytes.extend((key.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(deletion);
        self
    }

    /// A row or marker: what stands before the sizes, and what after them.
    pub(super) fn add(mut self, front: &[u8], body: &[u8]) -> Self {
        let start = self.bytes.len();
        let is_static = front.first().is_some_and(|flags| flags & 0x80 != 0) && front[1] & 1 != 0;
        self.bytes.extend_from_slice(front);
        let distance = uvint(if is_static { 0 } else { (start - self.previous) as u64 });
        if !is_static {
            self.previous = start;
        }
        self.bytes.extend(uvint((distance.len() + body.len()) as u64));
        self.bytes.extend(distance);
        self.bytes.extend_from_slice(body);
        self
    }

    pub(super) fn end(mut self) -> Self {
        self.bytes.push(1);
        self
    }
}

pub(super) fn uvint(value: u64) -> Vec<u8> {
    for extra in 0..8_u32 {
        if value < 1 << (7 * (extra + 1)) {
            let mut bytes = value.to_be_bytes()[7 - extra as usize..].to_vec();
            bytes[0] |= !(0xff_u32 >> extra) as u8;
            return bytes;
        }
    }
    [&[0xff][..], &value.to_be_bytes()].concat()
}

/// A `Data.db` with the file that tells its chunks.
pub(super) struct Files {
    pub(super) data: Vec<u8>,
    map: Vec<u8>,
    is_compressed: bool,
}

impl Files {
    pub(super) fn compressed(bytes: &[u8], compressor: Compressor, chunk_length: usize) -> Self {
        let (mut data, mut offsets) = (Vec::new(), Vec::new());
        // Compaction adds an empty chunk.
        for chunk in bytes.chunks(chunk_length).chain([&[][..]]) {
            offsets.extend((data.len() as u64).to_be_bytes());
            let stored = compressor.compress(chunk);
            data.extend_from_slice(&stored);
            data.extend(crc32(&stored).to_be_bytes());
        }
        let name = compressor.name();
        let mut map = (name.len() as u16).to_be_bytes().to_vec();
        map.extend(name.bytes());
        map.extend([0; 4]);
        map.extend((chunk_length as u32).to_be_bytes());
        map.extend(i32::MAX.to_be_bytes());
        map.extend((bytes.len() as u64).to_be_bytes());
        map.extend(((offsets.len() / 8) as u32).to_be_bytes());
        map.extend(offsets);
        Self { data, map, is_compressed: true }
    }

    pub(super) fn plain(bytes: &[u8], chunk_length: usize) -> Self {
        let mut map = (chunk_length as u32).to_be_bytes().to_vec();
        map.extend(bytes.chunks(chunk_length).flat_map(|chunk| crc32(chunk).to_be_bytes()));
        Self { data: bytes.to_vec(), map, is_compressed: false }
    }

    pub(super) fn chunks(&self) -> Result<Chunks<&[u8]>, ReadError> {
        let map = self.map.as_slice();
        Ok(if self.is_compressed {
            Chunks::Compressed(CompressionInfo::parse(Version::NB, map)?, map)
        } else {
            Chunks::Plain(CrcFile::parse(map)?, map)
        })
    }

    pub(super) fn scan(&self, header: &SerializationHeader, version: Version) -> Scan<&[u8]> {
        open(header, version, &self.data, self.chunks().unwrap())
    }
}

pub(super) fn open<'a>(
    header: &SerializationHeader,
    version: Version,
    data: &'a [u8],
    chunks: Chunks<&'a [u8]>,
) -> Scan<&'a [u8]> {
    let mut header = header.clone();
    header.has_unsigned_deletion_times = version.has_uint_deletion_time();
    Scan::new(Arc::new(header), version, data, chunks).unwrap()
}

/// All that is read, a line per thing; an error, if there is one, is the last line.
pub(super) fn show<S: Source>(scan: &mut Scan<S>) -> String {
    let mut text = String::new();
    if let Err(error) = show_until_error(scan, &mut text) {
        writeln!(text, "{error}").unwrap();
    }
    text
}

fn show_until_error<S: Source>(scan: &mut Scan<S>, text: &mut String) -> Result<(), ReadError> {
    while let Some(mut partition) = scan.next_partition()? {
        let (position, key, deletion) = (partition.position(), show_bytes(partition.key()), partition.deletion());
        let misread = if partition.is_deletion_misread_by_cassandra() { " misread" } else { "" };
        writeln!(text, "{position} partition {key} {}{misread}", show_deletion(deletion)).unwrap();
        while let Some(unfiltered) = partition.next_unfiltered()? {
            match unfiltered {
                Unfiltered::Marker(at) => {
                    assert!(at.end > at.position);
                    let marker = at.marker;
                    write!(text, "{} {:?} {}", at.position, marker.kind, show_values(marker.clustering)).unwrap();
                    marker.end.into_iter().for_each(|time| write!(text, " end {}", show_deletion(time)).unwrap());
                    marker.start.into_iter().for_each(|time| write!(text, " start {}", show_deletion(time)).unwrap());
                    show_distance(at.distance, at.stored_distance, text);
                    text.push('\n');
                }
                Unfiltered::Row(mut row) => {
                    let kind = if row.is_static() { "static" } else { "row" };
                    write!(text, "{} {kind} {}", row.position(), show_values(row.clustering())).unwrap();
                    show_distance(row.distance(), row.stored_distance(), text);
                    if let Some(liveness) = row.liveness() {
                        write!(text, " at {}", liveness.timestamp).unwrap();
                        if let Some(expiration) = liveness.expiration {
                            write!(text, " for {} to {}", expiration.ttl, expiration.local_expiration_time).unwrap();
                        }
                    }
                    if let Some(deletion) = row.deletion() {
                        let kind = if deletion.is_shadowable { "shadowable" } else { "deleted" };
                        write!(text, " {kind} {}", show_deletion(deletion.time)).unwrap();
                    }
                    text.push('\n');
                    while let Some(part) = row.next_part()? {
                        let is_long = show_part(part, text);
                        if is_long {
                            let (mut length, mut hasher) = (0, crc32fast::Hasher::new());
                            while let Some(piece) = row.next_piece()? {
                                length += piece.len();
                                hasher.update(piece);
                            }
                            writeln!(text, "    {length} bytes in pieces, crc {:08x}", hasher.finalize()).unwrap();
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn show_distance(measured: u64, stored: u64, text: &mut String) {
    if measured != stored {
        write!(text, " distance {measured} not {stored}").unwrap();
    }
}

fn show_part(part: Part<'_>, text: &mut String) -> bool {
    match part {
        Part::Complex(complex) => {
            let deletion = show_deletion(complex.deletion);
            writeln!(text, "  {} {} cells {deletion}", complex.column_index, complex.cell_count).unwrap();
            false
        }
        Part::Cell(cell) => {
            write!(text, "  {}", cell.column_index).unwrap();
            cell.path.into_iter().for_each(|path| write!(text, " [{}]", show_bytes(path)).unwrap());
            write!(text, " at {}", cell.timestamp).unwrap();
            match cell.lifetime {
                Lifetime::Forever => {}
                Lifetime::Deleted { local_deletion_time } => write!(text, " deleted {local_deletion_time}").unwrap(),
                Lifetime::Expiring(expiration) => {
                    write!(text, " for {} to {}", expiration.ttl, expiration.local_expiration_time).unwrap();
                }
            }
            match cell.value {
                Value::Bytes(bytes) => writeln!(text, " = {}", show_bytes(bytes)).unwrap(),
                Value::Long { length } => writeln!(text, " = {length} bytes").unwrap(),
            }
            matches!(cell.value, Value::Long { .. })
        }
    }
}

fn show_values(clustering: crate::cql::row::Clustering<'_>) -> String {
    let values: Vec<String> =
        clustering.values().map(|(_, value)| value.map_or_else(|| "null".to_owned(), show_bytes)).collect();
    assert_eq!(values.len(), clustering.len());
    format!("({})", values.join(", "))
}

fn show_deletion(time: DeletionTime) -> String {
    if time.is_live() {
        return "live".to_owned();
    }
    format!("{}/{}", time.marked_for_delete_at, time.local_deletion_time)
}

fn show_bytes(bytes: &[u8]) -> String {
    if bytes.len() > 40 {
        return format!("{} bytes, crc {:08x}", bytes.len(), crc32(bytes));
    }
    format!("\"{}\"", bytes.escape_ascii())
}
