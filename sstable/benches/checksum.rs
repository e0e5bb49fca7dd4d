//! How fast `Data.db` is verified, against nothing but the checksum of the same bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use helenus_sstable::checksum::crc32;
use helenus_sstable::chunks::Chunks;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::crc::CrcFile;
use helenus_sstable::digest::Digest;
use helenus_sstable::verify::data::DataVerifier;
use helenus_sstable::version::Version;

/// Fits the cache of the second level, so that the memory is not what is measured.
const DATA_LENGTH: usize = 1 << 20;
const SLICE_LENGTH: usize = 256 << 10;

/// Stored chunks of about `chunk_length` bytes and of varying length, as from a compressor; or whole ones.
fn compressed(chunk_length: usize, varying: bool) -> (Vec<u8>, Vec<u8>) {
    let mut data = Vec::new();
    let mut offsets = Vec::new();
    let mut random = 1_u32;
    while data.len() < DATA_LENGTH {
        offsets.push(data.len() as u64);
        let start = data.len();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let less = if varying { (random >> 16) as usize % (chunk_length / 4) } else { 0 };
        data.extend((start..start + chunk_length - less).map(|index| (index * 31) as u8));
        let crc = crc32(data.get(start..).unwrap_or_default());
        data.extend(crc.to_be_bytes());
    }
    let mut info = b"\0\x0eNoopCompressor\0\0\0\0\0\0\x40\0\x7f\xff\xff\xff".to_vec();
    info.extend((offsets.len() as u64 * 0x4000).to_be_bytes());
    info.extend((offsets.len() as u32).to_be_bytes());
    info.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
    (data, info)
}

fn verify(chunks: Chunks<&[u8]>, data: &[u8]) {
    let mut verifier = DataVerifier::new(chunks, data.len() as u64, Some(Digest(0)));
    for slice in data.chunks(SLICE_LENGTH) {
        verifier.push(slice).ok();
    }
    let report = verifier.finish().ok();
    // The digest, and nothing else.
    assert_eq!(report.map(|report| report.findings.len()), Some(1));
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for (name, chunk_length, varying) in
        [("16 KiB", 16 << 10, false), ("12 to 16 KiB", 16 << 10, true), ("3 to 4 KiB", 4 << 10, true)]
    {
        let (data, info) = compressed(chunk_length, varying);
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(format!("plain crc32, chunks of {name}"), |b| {
            b.iter(|| data.chunks(chunk_length).fold(0, |sum, chunk| sum ^ crc32(black_box(chunk))));
        });
        group.bench_function(format!("compressed, chunks of {name}"), |b| {
            b.iter(|| {
                let info = info.as_slice();
                if let Ok(parsed) = CompressionInfo::parse(Version::NB, info) {
                    verify(Chunks::Compressed(parsed, info), black_box(&data));
                }
            });
        });
    }
    let (data, _) = compressed(16 << 10, false);
    let mut crc = 65536_u32.to_be_bytes().to_vec();
    crc.extend(data.chunks(65536).flat_map(|chunk| crc32(chunk).to_be_bytes()));
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("uncompressed, chunks of 64 KiB", |b| {
        b.iter(|| {
            let crc = crc.as_slice();
            if let Ok(parsed) = CrcFile::parse(crc) {
                verify(Chunks::Plain(parsed, crc), black_box(&data));
            }
        });
    });
    group.bench_function("digest only", |b| b.iter(|| verify(Chunks::Unknown, black_box(&data))));
    group.finish();
}

criterion_group!(benches, checksum);
criterion_main!(benches);
