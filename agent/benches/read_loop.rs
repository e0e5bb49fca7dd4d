//! The read loop of verification and backup over one large uncompressed SSTable in the page cache, against reading the
//! same file and computing its CRC-32.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use helenus::inspect::reader::{Buffers, SLICE_BYTES};
use helenus::inspect::{Nowhere, SSTableFiles, inspect};

const DATA_BYTES: usize = 256 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// A Data.db of noise with the CRC.db and the Digest.crc32 that belong to it.
fn write_sstable(directory: &Path) -> std::io::Result<()> {
    let mut state = 1_u64;
    let mut data = vec![0; DATA_BYTES];
    for word in data.chunks_exact_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&state.to_be_bytes());
    }
    let mut crc = u32::try_from(CHUNK_BYTES).unwrap_or(0).to_be_bytes().to_vec();
    for chunk in data.chunks(CHUNK_BYTES) {
        crc.extend_from_slice(&crc32fast::hash(chunk).to_be_bytes());
    }
    std::fs::write(directory.join("nb-1-big-CRC.db"), crc)?;
    std::fs::write(directory.join("nb-1-big-Digest.crc32"), crc32fast::hash(&data).to_string())?;
    std::fs::write(directory.join("nb-1-big-Data.db"), data)
}

fn read_loop(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    write_sstable(directory.path()).expect("written");
    let files = SSTableFiles::list(directory.path()).expect("listed").remove(0);
    let buffers = Buffers::default();
    let mut group = criterion.benchmark_group("read loop");
    group.throughput(Throughput::Bytes(DATA_BYTES as u64)).sample_size(10);
    group.bench_function("inspect", |bencher| {
        bencher.iter(|| inspect(&files, &buffers, &mut Nowhere).expect("inspected").data_crc);
    });
    group.bench_function("read and CRC-32", |bencher| {
        let mut buffer = vec![0; SLICE_BYTES];
        bencher.iter(|| {
            let mut file = File::open(directory.path().join("nb-1-big-Data.db")).expect("opened");
            let mut crc = crc32fast::Hasher::new();
            loop {
                match file.read(&mut buffer).expect("read") {
                    0 => return crc.finalize(),
                    read => crc.update(&buffer[..read]),
                }
            }
        });
    });
    group.finish();
}

criterion_group!(benches, read_loop);
criterion_main!(benches);
