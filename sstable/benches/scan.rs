//! How fast rows are read: proven, decompressed and decoded to the last cell, on one core and from memory.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use helenus_sstable::checksum::crc32;
use helenus_sstable::chunks::Chunks;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::cql::row::{Column, Part, SerializationHeader, Value};
use helenus_sstable::cql::types::Type;
use helenus_sstable::scan::{Scan, Unfiltered};
use helenus_sstable::version::Version;

const DATA_LENGTH: usize = 32 << 20;
const CHUNK_LENGTH: usize = 16 << 10;
const ROWS_PER_PARTITION: u32 = 20;

/// `(pk text, c bigint, a int, b text, t text)`, with a clustering and values that compress as names and numbers do.
fn header() -> SerializationHeader {
    let column = |name: &str, class: &str| Some(Column::new(name.into(), Type::parse(class).ok()?));
    SerializationHeader {
        partition_key: Type::Custom(String::new()),
        clustering: Type::parse("LongType").into_iter().collect(),
        static_columns: Vec::new(),
        regular_columns: [column("a", "Int32Type"), column("b", "UTF8Type"), column("t", "UTF8Type")]
            .into_iter()
            .flatten()
            .collect(),
        min_timestamp: 0,
        min_local_deletion_time: 0,
        min_ttl: 0,
        has_unsigned_deletion_times: false,
    }
}

/// Rows of about `row_length` bytes.
fn data(row_length: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(DATA_LENGTH + (1 << 20));
    let mut random = 1_u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 8
    };
    let mut partition = 0_u32;
    while data.len() < DATA_LENGTH {
        let mut last = data.len();
        data.extend([0, 8]);
        data.extend(format!("{partition:08}").bytes());
        data.extend([0x7f, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        for clustering in 0..ROWS_PER_PARTITION {
            let start = data.len();
            let mut body = vec![0xe0 | 0x01, 0x20, next() as u8, next() as u8];
            body.push(0x08);
            body.extend(next().to_be_bytes());
            body.extend([0x08, 12]);
            body.extend(format!("name{:08}", next() % 100_000_000).bytes());
            let text_length = row_length.saturating_sub(50);
            body.push(0x08);
            uvint(&mut body, text_length);
            for _ in 0..text_length {
                body.push(b'a' + (next() % 26) as u8);
            }
            data.extend([0x24, 0]);
            data.extend(u64::from(clustering).to_be_bytes());
            let distance = start - last;
            let mut sized = Vec::new();
            uvint(&mut sized, distance);
            uvint(&mut data, sized.len() + body.len());
            data.extend(sized);
            data.extend(body);
            last = start;
        }
        data.push(1);
        partition += 1;
    }
    data
}

fn uvint(bytes: &mut Vec<u8>, value: usize) {
    if value < 0x80 {
        bytes.push(value as u8);
    } else {
        bytes.extend([0x80 | (value >> 8) as u8, value as u8]);
    }
}

/// LZ4 in chunks of 16 KiB, and its `CompressionInfo.db`.
fn compressed(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut stored, mut offsets) = (Vec::new(), Vec::new());
    for chunk in data.chunks(CHUNK_LENGTH) {
        offsets.extend((stored.len() as u64).to_be_bytes());
        let chunk = lz4_flex::block::compress_prepend_size(chunk);
        stored.extend_from_slice(&chunk);
        stored.extend(crc32(&chunk).to_be_bytes());
    }
    let mut info = b"\0\x0dLZ4Compressor\0\0\0\0\0\0\x40\0\x7f\xff\xff\xff".to_vec();
    info.extend((data.len() as u64).to_be_bytes());
    info.extend(((offsets.len() / 8) as u32).to_be_bytes());
    info.extend(offsets);
    (stored, info)
}

/// Every row and cell; returns their number, so that nothing can be left out.
fn scan(
    header: &Arc<SerializationHeader>,
    data: &[u8],
    chunks: Chunks<&[u8]>,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut scan = Scan::new(Arc::clone(header), Version::NB, data, chunks)?;
    let mut cells = 0;
    while let Some(mut partition) = scan.next_partition()? {
        while let Some(unfiltered) = partition.next_unfiltered()? {
            let Unfiltered::Row(mut row) = unfiltered else { continue };
            black_box(row.clustering());
            while let Some(part) = row.next_part()? {
                if let Part::Cell(cell) = part
                    && let Value::Bytes(bytes) = cell.value
                {
                    black_box(bytes);
                    cells += 1;
                }
            }
        }
    }
    Ok(cells)
}

fn scans(c: &mut Criterion) {
    let header = Arc::new(header());
    let mut group = c.benchmark_group("scan");
    group.sample_size(10);
    for row_length in [60, 110, 2000] {
        let data = data(row_length);
        let (stored, info) = compressed(&data);
        let info = info.as_slice();
        let parsed = CompressionInfo::parse(Version::NB, info).ok();
        let expected = scan(&header, &data, Chunks::Unknown).ok();
        assert!(expected.is_some_and(|cells| cells > 0), "the file is not what it should be");
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(format!("rows of {row_length} bytes, uncompressed and unproven"), |b| {
            b.iter(|| assert_eq!(scan(&header, black_box(&data), Chunks::Unknown).ok(), expected));
        });
        group.bench_function(format!("rows of {row_length} bytes, LZ4"), |b| {
            b.iter(|| {
                let chunks = parsed.clone().map_or(Chunks::Unknown, |parsed| Chunks::Compressed(parsed, info));
                assert_eq!(scan(&header, black_box(&stored), chunks).ok(), expected);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scans);
criterion_main!(benches);
