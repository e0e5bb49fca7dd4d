//! Extended verification and lookups on SSTables that Cassandra has written, sound and damaged.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use helenus_sstable::checksum;
use helenus_sstable::chunks::Chunks;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::cql::row::SerializationHeader;
use helenus_sstable::crc::CrcFile;
use helenus_sstable::descriptor::{Descriptor, FileName};
use helenus_sstable::lookup::PrimaryIndex;
use helenus_sstable::scan::{Scan, Unfiltered};
use helenus_sstable::source::Source;
use helenus_sstable::statistics::Statistics;
use helenus_sstable::verify::report::{Finding, Severity};
use helenus_sstable::verify::rows::{self, Primary, RowsReport};
use helenus_sstable::version::Format;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/sample/node.tar.zst");
const OLD_SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/legacy/cassandra-legacy-samples.tar.zst");

/// The components of one SSTable.
#[derive(Clone)]
struct SSTable {
    path: String,
    descriptor: Descriptor,
    files: BTreeMap<Component, Vec<u8>>,
}

/// The SSTables of an archive whose rows can be read.
fn unpack(archive: &str) -> Vec<SSTable> {
    let mut tar = tar::Archive::new(zstd::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap());
    let mut sstables = BTreeMap::<String, SSTable>::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let name = path.rsplit('/').next().unwrap();
        let Ok(FileName { descriptor, component }) = FileName::parse(name) else { continue };
        if !descriptor.version.is_parsable() {
            continue;
        }
        let path = path.strip_suffix(&format!("-{component}")).unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let sstable =
            sstables.entry(path.clone()).or_insert_with(|| SSTable { path, descriptor, files: BTreeMap::new() });
        sstable.files.insert(component, bytes);
    }
    sstables.into_values().collect()
}

/// Counts the reads of a component.
struct Counted<'a> {
    bytes: &'a [u8],
    reads: Cell<u32>,
}

impl Source for Counted<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.read_at(offset, buffer)
    }
}

impl SSTable {
    fn file(&self, component: &Component) -> Option<&[u8]> {
        self.files.get(component).map(Vec::as_slice)
    }

    fn statistics(&self) -> Statistics {
        Statistics::parse(self.file(&Component::Statistics).unwrap(), self.descriptor.version).unwrap()
    }

    fn verify(&self) -> RowsReport {
        self.verify_with(&self.statistics())
    }

    fn verify_with(&self, statistics: &Statistics) -> RowsReport {
        let sources: BTreeMap<&Component, &[u8]> =
            self.files.iter().map(|(component, bytes)| (component, bytes.as_slice())).collect();
        let source = |component| sources.get(&component).map(|bytes| bytes as &dyn Source);
        let version = self.descriptor.version;
        let chunks = match (source(Component::CompressionInfo), source(Component::Crc)) {
            (Some(info), _) => Chunks::Compressed(CompressionInfo::parse(version, info).unwrap(), info),
            (None, Some(crc)) => Chunks::Plain(CrcFile::parse(crc).unwrap(), crc),
            (None, None) => Chunks::Unknown,
        };
        let primary = match (source(Component::Index), source(Component::Partitions), source(Component::Rows)) {
            (Some(index), ..) => Primary::Big(index),
            (None, Some(partitions), Some(rows)) => Primary::Bti(partitions, rows),
            _ => Primary::Missing,
        };
        let files = rows::Files {
            version,
            statistics,
            data: source(Component::Data).unwrap(),
            chunks,
            primary,
            filter: source(Component::Filter),
            summary: source(Component::Summary),
        };
        rows::verify(files).unwrap()
    }

    /// The same SSTable without compression and checksums: what was damaged in it passes every one of them.
    fn uncompressed(&self) -> Self {
        let mut plain = self.clone();
        if let Some(info) = plain.files.remove(&Component::CompressionInfo) {
            let parsed = CompressionInfo::parse(self.descriptor.version, info.as_slice()).unwrap();
            let data = self.file(&Component::Data).unwrap();
            let mut starts: Vec<usize> =
                parsed.offsets(info.as_slice()).map(|offset| usize::try_from(offset.unwrap()).unwrap()).collect();
            starts.push(data.len());
            let (mut bytes, mut chunk) = (Vec::new(), Vec::new());
            for (number, range) in starts.windows(2).enumerate() {
                parsed.decompress(number as u64, &data[range[0]..range[1] - 4], &mut chunk).unwrap();
                bytes.extend_from_slice(&chunk);
            }
            plain.files.insert(Component::Data, bytes);
        }
        plain.files.remove(&Component::Crc);
        plain
    }

    fn has_row_index(&self) -> bool {
        match self.descriptor.format {
            Format::Bti => self.file(&Component::Rows).is_some_and(|rows| !rows.is_empty()),
            Format::Big => self.file(&Component::Index).is_some_and(|index| index.len() > 3000),
        }
    }
}

fn damage(report: &RowsReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity == Severity::Damage).collect()
}

fn check_all(sstables: &[SSTable]) {
    for sstable in sstables {
        let report = sstable.verify();
        assert_eq!(report.findings, [], "{}", sstable.path);
        let odd: Vec<_> = report.not_checked.iter().filter(|what| !what.starts_with("the filter")).collect();
        assert!(odd.is_empty(), "{}: {odd:?}", sstable.path);
    }
}

#[test]
fn nothing_is_wrong_with_what_cassandra_writes() {
    let sstables = unpack(SAMPLE);
    assert!(sstables.len() > 100, "{}", sstables.len());
    check_all(&sstables);
}

#[test]
fn nothing_is_wrong_with_old_files() {
    if !std::path::Path::new(OLD_SAMPLES).exists() {
        eprintln!("skipped: {OLD_SAMPLES} is not there");
        return;
    }
    let sstables = unpack(OLD_SAMPLES);
    assert!(sstables.len() >= 60, "{}", sstables.len());
    check_all(&sstables);
}

/// What is missing is said, and the rest is checked.
#[test]
fn missing_files() {
    for sstable in unpack(SAMPLE) {
        let mut less = sstable.clone();
        for component in
            [Component::Index, Component::Partitions, Component::Rows, Component::Filter, Component::Summary]
        {
            less.files.remove(&component);
        }
        let report = less.verify();
        assert_eq!(report.findings, [], "{}", sstable.path);
        assert!(report.not_checked.iter().any(|what| what.starts_with("the index")), "{:?}", report.not_checked);
        assert_eq!(report.rows, sstable.verify().rows);
    }
}

/// Every key of every SSTable is found where it is, in few reads; others are not found.
#[test]
fn lookups() {
    let (mut found, mut reads_max) = (0, 0);
    for sstable in unpack(SAMPLE) {
        let statistics = sstable.statistics();
        let Some(partitioner) = statistics.partitioner() else { continue };
        if matches!(partitioner, helenus_sstable::partitioner::Partitioner::Local(_)) {
            continue;
        }
        let version = sstable.descriptor.version;
        let sources: BTreeMap<&Component, Counted<'_>> = sstable
            .files
            .iter()
            .map(|(component, bytes)| (component, Counted { bytes: bytes.as_slice(), reads: Cell::new(0) }))
            .collect();
        let source = |component| sources.get(&component).map(|counted| counted as &dyn Source);
        let open = || match sstable.descriptor.format {
            Format::Big => {
                PrimaryIndex::big(partitioner.clone(), source(Component::Index).unwrap(), source(Component::Summary))
            }
            Format::Bti => PrimaryIndex::bti(
                partitioner.clone(),
                source(Component::Partitions).unwrap(),
                source(Component::Rows).unwrap(),
            ),
        };
        let header = SerializationHeader::new(statistics.header.as_ref().unwrap(), version).unwrap();
        let plain = sstable.uncompressed();
        let data = plain.file(&Component::Data).unwrap();
        let mut scan = Scan::new(Arc::new(header), version, data, Chunks::Unknown).unwrap();
        let all: Vec<_> = open().unwrap().partitions().unwrap().map(|located| located.unwrap()).collect();
        let mut number = 0;
        let mut previous = None;
        while let Some(partition) = scan.next_partition().unwrap() {
            let (key, position) = (partition.key().to_vec(), partition.position());
            assert_eq!(all[number].position, position);
            assert!(all[number].key.as_ref().is_none_or(|found| *found == key));
            sources.values().for_each(|counted| counted.reads.set(0));
            let index = open().unwrap();
            let located = index.find(&key).unwrap().unwrap_or_else(|| panic!("{}: {key:02x?}", sstable.path));
            assert_eq!(located, all[number]);
            reads_max = reads_max.max(sources.values().map(|counted| counted.reads.get()).sum());
            let absent = index.find(&[&key[..], b"\x01"].concat()).unwrap();
            assert!(absent.is_none_or(|located| located.key.is_none()), "{}", sstable.path);
            let mut from = index.partitions_from_key(&key).unwrap().map(|located| located.unwrap().position);
            assert!(from.any(|found| found == position));
            if let Some(previous) = previous {
                assert_eq!(index.next_after(previous).unwrap().unwrap().position, position);
            }
            previous = Some(position);
            number += 1;
            found += 1;
        }
        assert_eq!(number, all.len());
        assert_eq!(open().unwrap().next_after(previous.unwrap()).unwrap(), None);
    }
    assert!(found > 1000, "{found}");
    // The summary and a part of the index, or the end of the trie and an entry in Rows.db; two are left for
    // CompressionInfo.db and Data.db.
    assert!(reads_max <= 2, "{reads_max} reads");
}

/// Flips a bit of every byte and cuts the file at every length; returns how many flips were found, and of how many.
fn spoil(sstable: &SSTable, component: &Component) -> (usize, usize) {
    let statistics = sstable.statistics();
    let bytes = sstable.file(component).unwrap();
    let mut found = 0;
    for position in 0..bytes.len() {
        let mut flipped = sstable.clone();
        flipped.files.get_mut(component).unwrap()[position] ^= 1 << (position % 8);
        let report = flipped.verify_with(&statistics);
        found += usize::from(!report.findings.is_empty());
    }
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 200) {
        let mut short = sstable.clone();
        short.files.get_mut(component).unwrap().truncate(cut);
        let report = short.verify_with(&statistics);
        // An empty filter lets every key pass; the last bytes of a summary are not samples.
        let may_pass = (*component == Component::Filter && cut == 0) || *component == Component::Summary;
        assert!(may_pass || !report.findings.is_empty(), "{} {component} cut at {cut}", sstable.path);
    }
    (found, bytes.len())
}

/// Small SSTables of each format, with row indexes and without.
fn small() -> Vec<SSTable> {
    let mut chosen = BTreeMap::new();
    for sstable in unpack(SAMPLE) {
        let plain = sstable.uncompressed();
        let size = plain.files.values().map(Vec::len).sum::<usize>();
        let kind = (sstable.descriptor.version.to_string(), sstable.has_row_index());
        let slot = chosen.entry(kind).or_insert_with(|| (size, plain.clone()));
        if size < slot.0 {
            *slot = (size, plain);
        }
    }
    chosen.into_values().map(|(_, sstable)| sstable).collect()
}

/// No checksum covers the indexes.
#[test]
fn every_flip_in_an_index_is_found() {
    let mut seen = BTreeMap::<String, (usize, usize)>::new();
    for sstable in small() {
        for component in
            [Component::Index, Component::Partitions, Component::Rows, Component::Filter, Component::Summary]
        {
            let Some(bytes) = sstable.file(&component) else { continue };
            if bytes.is_empty() || bytes.len() > 20_000 {
                continue;
            }
            let (found, of) = spoil(&sstable, &component);
            let sum = seen.entry(component.to_string()).or_default();
            (sum.0, sum.1) = (sum.0 + found, sum.1 + of);
        }
    }
    println!("{seen:?}");
    let (found, of) = seen["Index.db"];
    assert_eq!(found, of, "every byte of Index.db says something");
    // Tries have padding, and separators between blocks that may be any of several.
    let (found, of) = seen["Partitions.db"];
    assert!(found * 100 > of * 70, "{found} of {of} in Partitions.db");
}

/// Damage in the rows that no checksum shows: the bytes are what somebody has written.
#[test]
fn flips_in_the_rows_are_harmless_and_cuts_are_found() {
    let (mut found, mut of) = (0, 0);
    for sstable in small() {
        let length = sstable.file(&Component::Data).unwrap().len();
        let statistics = sstable.statistics();
        for position in (0..length).step_by(1 + length / 3000) {
            let mut flipped = sstable.clone();
            flipped.files.get_mut(&Component::Data).unwrap()[position] ^= 1 << (position % 8);
            found += usize::from(!flipped.verify_with(&statistics).findings.is_empty());
            of += 1;
        }
        for cut in (0..length).step_by(1 + length / 100) {
            let mut short = sstable.clone();
            short.files.get_mut(&Component::Data).unwrap().truncate(cut);
            assert!(!damage(&short.verify_with(&statistics)).is_empty(), "{} cut at {cut}", sstable.path);
        }
    }
    // The others are in values, where every byte is as good as another.
    assert!(found * 20 > of, "{found} of {of} flips found");
}

/// Two rows of a partition have changed places, and every checksum was made anew: nothing but the rows shows it.
#[test]
fn rows_that_have_changed_places() {
    let mut edited = 0;
    for sstable in unpack(SAMPLE) {
        let mut plain = sstable.uncompressed();
        let statistics = plain.statistics();
        let header = SerializationHeader::new(statistics.header.as_ref().unwrap(), plain.descriptor.version).unwrap();
        if header.clustering.is_empty() {
            continue;
        }
        let data = plain.file(&Component::Data).unwrap();
        let mut scan = Scan::new(Arc::new(header), plain.descriptor.version, data, Chunks::Unknown).unwrap();
        let mut swapped = None;
        while let Some(mut partition) = scan.next_partition().unwrap() {
            let key = partition.key().to_vec();
            let mut before: Vec<std::ops::Range<u64>> = Vec::new();
            while let Some(unfiltered) = partition.next_unfiltered().unwrap() {
                let Unfiltered::Row(row) = unfiltered else {
                    before.clear();
                    continue;
                };
                before.push(row.position()..row.end());
                // The first one of a partition has another distance.
                let [_, .., a, b] = before.as_slice() else { continue };
                if before.len() > 3 && b.end - b.start == a.end - a.start && row.distance() == a.end - a.start {
                    swapped = Some((key.clone(), a.clone(), b.clone()));
                }
            }
        }
        let Some((key, a, b)) = swapped else { continue };
        let [a_start, b_start, b_end] = [a.start, b.start, b.end].map(|at| usize::try_from(at).unwrap());
        plain.files.get_mut(&Component::Data).unwrap()[a_start..b_end].rotate_left(b_start - a_start);
        // Every checksum is made anew.
        let data = plain.file(&Component::Data).unwrap();
        let sums = data.chunks(1 << 16).flat_map(|chunk| checksum::crc32(chunk).to_be_bytes());
        let crc = 65536_u32.to_be_bytes().into_iter().chain(sums).collect();
        plain.files.insert(Component::Crc, crc);
        let report = plain.verify();
        let found = report.findings.iter().find(|finding| finding.what == "order of the rows");
        let found = found.unwrap_or_else(|| panic!("{}: {:?}", plain.path, report.findings));
        assert_eq!((found.offset, found.partition.as_ref()), (Some(b.start), Some(&key)), "{found}");
        edited += 1;
    }
    assert!(edited > 5, "{edited}");
}

/// The walk goes on behind damage, at the next partition that the index knows.
#[test]
fn damage_ends_with_its_partition() {
    let sstable = small().into_iter().find(|sstable| sstable.verify().partitions > 3).unwrap();
    let whole = sstable.verify();
    let statistics = sstable.statistics();
    let mut damaged = sstable.clone();
    let located: Vec<_> = match damaged.descriptor.format {
        Format::Big => {
            PrimaryIndex::big(statistics.partitioner().unwrap(), damaged.file(&Component::Index).unwrap(), None)
                .unwrap()
        }
        Format::Bti => PrimaryIndex::bti(
            statistics.partitioner().unwrap(),
            damaged.file(&Component::Partitions).unwrap(),
            damaged.file(&Component::Rows).unwrap(),
        )
        .unwrap(),
    }
    .partitions()
    .unwrap()
    .map(|located| located.unwrap().position)
    .collect();
    // The flags of what follows the second partition's key and deletion become those of nothing.
    let start = usize::try_from(located[1]).unwrap();
    let data = damaged.files.get_mut(&Component::Data).unwrap();
    let end = usize::try_from(located[2]).unwrap();
    data[end - 1] = 0x7f;
    let report = damaged.verify_with(&statistics);
    assert_eq!(report.partitions, whole.partitions - 1, "{:?}", report.findings);
    let finding = damage(&report)[0];
    assert_eq!(finding.component, Component::Data);
    assert!(finding.offset.is_some_and(|offset| (start as u64..end as u64 + 300).contains(&offset)), "{finding}");
    assert!(finding.partition.is_some(), "{finding}");
}

/// A compressor that is a plugin: its rows cannot be read, and nothing is wrong with them.
#[test]
fn an_unknown_compressor_is_no_damage() {
    let name = b"LZ4Compressor";
    let place = |bytes: &[u8]| bytes.windows(name.len()).position(|window| window == name);
    let mut checked = 0;
    for mut sstable in unpack(SAMPLE) {
        let Some(info) = sstable.files.get_mut(&Component::CompressionInfo) else { continue };
        let Some(at) = place(info) else { continue };
        info[at] = b'X';
        let report = sstable.verify();
        assert_eq!(report.findings, [], "{}", sstable.path);
        assert!(report.not_checked.iter().any(|what| what.starts_with("rows: ")), "{:?}", report.not_checked);
        checked += 1;
    }
    assert!(checked > 5, "{checked}");
}

/// Entries of a damaged index may be met for ever.
#[test]
fn an_index_that_does_not_ascend_ends_there() {
    let mut checked = 0;
    for mut sstable in small() {
        let Some(index) = sstable.files.get_mut(&Component::Index) else { continue };
        let length = index.len() as u64;
        index.extend_from_within(..);
        let report = sstable.verify();
        let [found] = damage(&report)[..] else { panic!("{:?}", report.findings) };
        assert_eq!((found.what.as_str(), found.offset), ("position of an index entry", Some(length)), "{found}");
        checked += 1;
    }
    assert!(checked >= 2, "{checked}");
}
