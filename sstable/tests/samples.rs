//! Rows of SSTables that Cassandra has written: those of the sample node (4.0, 4.1 and 5.0), and Apache Cassandra's own
//! test data of every version since 3.0, where it lies beside the project.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use helenus_sstable::chunks::Chunks;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::cql::row::{Part, SerializationHeader, Value};
use helenus_sstable::crc::CrcFile;
use helenus_sstable::scan::{Scan, Unfiltered};
use helenus_sstable::statistics::Statistics;
use helenus_sstable::version::Version;
use helenus_sstable::window::ReadError;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/sample/node.tar.zst");
const OLD_SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/legacy/cassandra-legacy-samples.tar.zst");

type Files = BTreeMap<String, Vec<u8>>;

/// The files of an archive, by path.
fn unpack(archive: &str) -> Files {
    let file = std::fs::File::open(archive).unwrap();
    let mut tar = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut files = Files::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path, bytes);
    }
    files
}

struct SSTable<'a> {
    version: Version,
    header: Arc<SerializationHeader>,
    statistics: Statistics,
    data: &'a [u8],
    compression_info: Option<&'a [u8]>,
    crc: Option<&'a [u8]>,
}

impl<'a> SSTable<'a> {
    /// By the path of `Data.db`; `None` for versions before 3.0.
    fn open(files: &'a Files, path: &str) -> Option<Self> {
        let prefix = path.strip_suffix("Data.db").unwrap();
        let version: Version = prefix.rsplit('/').next().unwrap().split('-').next().unwrap().parse().unwrap();
        if !version.is_parsable() {
            return None;
        }
        let component = |name: &str| files.get(&format!("{prefix}{name}")).map(Vec::as_slice);
        let statistics = Statistics::parse(component("Statistics.db").unwrap(), version).unwrap();
        let header = Arc::new(SerializationHeader::new(statistics.header.as_ref().unwrap(), version).unwrap());
        let data = component("Data.db").unwrap();
        let (compression_info, crc) = (component("CompressionInfo.db"), component("CRC.db"));
        Some(Self { version, header, statistics, data, compression_info, crc })
    }

    fn chunks(&self) -> Chunks<&'a [u8]> {
        if let Some(info) = self.compression_info {
            Chunks::Compressed(CompressionInfo::parse(self.version, info).unwrap(), info)
        } else if let Some(crc) = self.crc {
            Chunks::Plain(CrcFile::parse(crc).unwrap(), crc)
        } else {
            Chunks::Unknown
        }
    }

    fn scan<'b>(&self, data: &'b [u8], chunks: Chunks<&'b [u8]>) -> Scan<&'b [u8]> {
        Scan::new(Arc::clone(&self.header), self.version, data, chunks).unwrap()
    }

    /// The rows' bytes as they are without compression.
    fn uncompressed(&self) -> Vec<u8> {
        let Some(info) = self.compression_info else { return self.data.to_vec() };
        let parsed = CompressionInfo::parse(self.version, info).unwrap();
        let mut starts: Vec<usize> = parsed.offsets(info).map(|offset| offset.unwrap() as usize).collect();
        starts.push(self.data.len());
        let (mut bytes, mut chunk) = (Vec::new(), Vec::new());
        for (index, range) in starts.windows(2).enumerate() {
            parsed.decompress(index as u64, &self.data[range[0]..range[1] - 4], &mut chunk).unwrap();
            bytes.extend_from_slice(&chunk);
        }
        bytes
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    partitions: u64,
    rows: i64,
    cells: u64,
    end: u64,
}

fn count(scan: &mut Scan<&[u8]>) -> Result<Counted, ReadError> {
    let mut counted = Counted::default();
    while let Some(mut partition) = scan.next_partition()? {
        assert_eq!(partition.position(), counted.end, "partitions follow one another");
        counted.partitions += 1;
        while let Some(unfiltered) = partition.next_unfiltered()? {
            match unfiltered {
                Unfiltered::Marker(at) => assert_eq!(at.distance, at.stored_distance),
                Unfiltered::Row(mut row) => {
                    assert_eq!(row.distance(), row.stored_distance());
                    assert_eq!(row.clustering().values().count(), row.clustering().len());
                    let mut is_empty = true;
                    while let Some(part) = row.next_part()? {
                        is_empty = false;
                        if let Part::Cell(cell) = part {
                            counted.cells += 1;
                            assert!(matches!(cell.value, Value::Bytes(_)));
                        }
                    }
                    // Where there are static columns each partition has a static row; Cassandra counts it if it says
                    // something.
                    counted.rows += i64::from(!row.is_static() || !is_empty);
                }
            }
        }
        counted.end = partition.next_position();
    }
    assert_eq!(counted.end, scan.length());
    Ok(counted)
}

/// Every SSTable to its last byte; returns their versions.
fn check_all(files: &Files) -> Vec<String> {
    let mut versions = Vec::new();
    for path in files.keys().filter(|path| path.ends_with("-Data.db")) {
        let Some(sstable) = SSTable::open(files, path) else { continue };
        let counted =
            count(&mut sstable.scan(sstable.data, sstable.chunks())).unwrap_or_else(|error| panic!("{path}: {error}"));
        let stats = sstable.statistics.stats.as_ref().unwrap();
        assert_eq!((counted.partitions, counted.rows), (stats.partition_count(), stats.total_rows), "{path}");
        versions.push(sstable.version.to_string());
    }
    versions
}

#[test]
fn the_sample_node() {
    let mut versions = check_all(&unpack(SAMPLE));
    let count = versions.len();
    versions.sort();
    versions.dedup();
    assert!(count > 100, "{count} SSTables");
    assert_eq!(versions, ["da", "nb", "oa"]);
}

#[test]
fn every_version_since_3_0() {
    if !std::path::Path::new(OLD_SAMPLES).exists() {
        eprintln!("ignored: Apache Cassandra's own test data is not at {OLD_SAMPLES}");
        return;
    }
    let mut versions = check_all(&unpack(OLD_SAMPLES));
    versions.sort();
    versions.dedup();
    assert_eq!(versions, ["da", "ma", "mb", "mc", "md", "me", "na", "nb", "nc", "oa"]);
}

/// Real rows without the checksums that would find everything: whatever is changed or cut off, reading ends.
#[test]
fn every_flip_and_every_prefix_of_real_rows_ends() {
    let files = unpack(SAMPLE);
    let mut tried = 0;
    for path in files.keys().filter(|path| path.ends_with("-Data.db")) {
        let sstable = SSTable::open(&files, path).unwrap();
        let whole = sstable.uncompressed();
        if whole.len() > 3000 {
            continue;
        }
        tried += 1;
        let run = |bytes: &[u8]| {
            let mut scan = sstable.scan(bytes, Chunks::Unknown);
            let mut partitions = 0;
            while let Ok(Some(mut partition)) = scan.next_partition() {
                partitions += 1;
                while let Ok(Some(unfiltered)) = partition.next_unfiltered() {
                    let Unfiltered::Row(mut row) = unfiltered else { continue };
                    while let Ok(Some(_)) = row.next_part() {}
                    // An error in a row stays; the next loop would not end.
                    if row.next_part().is_err() {
                        return partitions;
                    }
                }
                if partition.next_unfiltered().is_err() {
                    return partitions;
                }
            }
            partitions
        };
        for position in 0..whole.len() {
            run(&whole[..position]);
            let mut bytes = whole.clone();
            bytes[position] ^= 1 << (position % 8);
            run(&bytes);
            bytes[position] = !whole[position];
            run(&bytes);
        }
    }
    assert!(tried > 20, "only {tried} SSTables are small");
}
