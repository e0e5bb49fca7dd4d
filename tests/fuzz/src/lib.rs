//! What a fuzzer feeds: one function per decoder, any bytes in, nothing out. Right is what neither panics nor hangs.
//!
//! Also a module of `tests/tests/fuzz.rs`, which runs all of them for a short time with a plain `cargo test`.

use std::sync::Arc;

use helenus_sstable::big::index::{Entries, IndexWalker};
use helenus_sstable::big::row_index::Blocks;
use helenus_sstable::big::summary::{Samples, Summary};
use helenus_sstable::bti::rows::{BlockStarts, RowsEntry};
use helenus_sstable::chunks::Chunks;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::compressor::Compressor;
use helenus_sstable::cql::row::SerializationHeader;
use helenus_sstable::cql::types::Type;
use helenus_sstable::cql::{literal, value as shown};
use helenus_sstable::crc::CrcFile;
use helenus_sstable::descriptor::FileName;
use helenus_sstable::digest::Digest;
use helenus_sstable::filter::Filter;
use helenus_sstable::lookup::PrimaryIndex;
use helenus_sstable::partitioner::{KeyHash, Partitioner};
use helenus_sstable::sai::FooterCheck;
use helenus_sstable::scan::{Scan, Unfiltered};
use helenus_sstable::statistics::Statistics;
use helenus_sstable::toc::Toc;
use helenus_sstable::txn_log::{Replica, Transaction, TxnLogName};
use helenus_sstable::version::Version;

/// A target: its name, what it does, and the ending of the files that make good first inputs, if there are any.
pub struct Target {
    /// Also of the function, and of the fuzzer's program.
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: Option<&'static str>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: Option<&'static str>) -> Target {
    Target { name, run, seeds }
}

pub const TARGETS: &[Target] = &[
    target("statistics", statistics, Some("-Statistics.db")),
    target("compression_info", compression_info, Some("-CompressionInfo.db")),
    target("compressor", compressor, Some("-CRC.db")),
    target("small_files", small_files, Some("-TOC.txt")),
    target("filter", filter, Some("-Filter.db")),
    target("summary", summary, Some("-Summary.db")),
    target("index", index, Some("-Index.db")),
    target("partitions", partitions, Some("-Partitions.db")),
    target("rows", rows, Some("-Rows.db")),
    target("names", names, None),
    target("txn_log", txn_log, None),
    target("types", types, None),
    target("data", data, Some("-Statistics.db")),
];

/// Many times what a real file of the length of these inputs has: an iterator that gives more goes round in circles.
const ITEMS_MAX: usize = 1 << 20;

/// Versions with different layouts; the first byte of most inputs chooses one.
const VERSIONS: &[Version] =
    &[Version::NB, Version::OA, Version::DA, Version::MA, Version::MC, Version::ME, Version::NA, Version::NC];

fn split_version(bytes: &[u8]) -> (Version, &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    (VERSIONS[usize::from(*first) % VERSIONS.len()], rest)
}

/// `u16` length, that many bytes; and the rest.
fn split_part(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return (&[], bytes) };
    rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()))
}

fn count<T, E>(items: impl Iterator<Item = Result<T, E>>) {
    assert!(items.take_while(Result::is_ok).take(ITEMS_MAX).count() < ITEMS_MAX, "no end");
}

pub fn statistics(bytes: &[u8]) {
    let (version, bytes) = split_version(bytes);
    if let Ok(Statistics { header: Some(header), .. }) = Statistics::parse(bytes, version) {
        let _ = SerializationHeader::new(&header, version);
    }
}

pub fn compression_info(bytes: &[u8]) {
    let (version, bytes) = split_version(bytes);
    if let Ok(info) = CompressionInfo::parse(version, bytes) {
        count(info.offsets(bytes));
    }
}

pub fn compressor(bytes: &[u8]) {
    let Some((&[which, size], stored)) = bytes.split_first_chunk::<2>() else { return };
    let names = ["LZ4Compressor", "SnappyCompressor", "DeflateCompressor", "ZstdCompressor", "NoopCompressor"];
    if let Some(compressor) = Compressor::from_name(names[usize::from(which) % names.len()]) {
        let _ = compressor.decompress(stored, &mut vec![0; usize::from(size) * 64]);
    }
}

pub fn small_files(bytes: &[u8]) {
    let _ = Toc::parse(bytes);
    let _ = Digest::parse(bytes);
    let _ = CrcFile::parse(bytes);
    let mut footer = FooterCheck::default();
    bytes.chunks(7).for_each(|part| footer.push(part));
    let _ = footer.finish();
}

pub fn filter(bytes: &[u8]) {
    let (version, bytes) = split_version(bytes);
    if let Ok(Some(mut filter)) = Filter::read(bytes, version, 1 << 20) {
        for key in [&b""[..], b"key", bytes] {
            let _ = filter.may_contain(KeyHash::of(key));
        }
    }
}

pub fn summary(bytes: &[u8]) {
    let _ = Summary::parse(bytes);
    if let Ok(samples) = Samples::open(bytes) {
        let _ = samples.floor(|key| key > b"key".as_slice());
        let count = samples.count();
        for number in [0, 1, count / 2, count.saturating_sub(1), count] {
            let _ = samples.get(number);
        }
    }
}

pub fn index(bytes: &[u8]) {
    let (version, bytes) = split_version(bytes);
    let mut walker = IndexWalker::new(bytes.len() as u64, None);
    bytes.chunks(5).for_each(|part| walker.push(part));
    let _ = walker.finish();
    count(Entries::new(bytes, 0));
    let types = [Type::parse("Int32Type"), Type::parse("UTF8Type")].into_iter().flatten().collect::<Vec<_>>();
    for entry in Entries::new(bytes, 0).map_while(Result::ok).take(100) {
        if let Ok(mut blocks) = Blocks::open(bytes, entry.row_index, version) {
            while let Ok(Some(_)) = blocks.next(&types) {}
        }
    }
    if let Ok(index) = PrimaryIndex::big(Partitioner::Murmur3, bytes, None) {
        let _ = index.find(b"key");
    }
}

pub fn partitions(bytes: &[u8]) {
    let (trie, entries) = split_part(bytes);
    for bytes in [trie, bytes] {
        if let Ok(index) = PrimaryIndex::bti(Partitioner::Murmur3, bytes, entries) {
            let _ = index.find(b"key");
            if let Ok(partitions) = index.partitions() {
                count(partitions);
            }
        }
    }
}

pub fn rows(bytes: &[u8]) {
    let (place, bytes) = split_part(bytes);
    let place = place.iter().fold(0, |place, byte| place << 8 | u64::from(*byte));
    for place in [place, place % (bytes.len() as u64 + 1)] {
        if let Ok(blocks) = RowsEntry::read(bytes, place).and_then(|entry| BlockStarts::open(bytes, &entry)) {
            count(blocks);
        }
    }
}

pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = FileName::parse(text) {
        assert_eq!(name.descriptor.file_name(&name.component), text);
    }
    let _ = (Component::parse(text), Version::parse(text), TxnLogName::parse(text));
}

pub fn txn_log(bytes: &[u8]) {
    let Some(name) = TxnLogName::parse("nb_txn_compaction_6636ac00-da84-11ec-9aba-f56e1443def0.log") else { return };
    let (one, other) = split_part(bytes);
    let replica = |directory, content: &[u8]| Replica { directory, label: "log".to_owned(), content: content.to_vec() };
    let _ = Transaction::read(&name, &[replica(0, one), replica(1, other)]);
    let _ = Transaction::read(&name, &[replica(0, bytes)]);
}

pub fn types(bytes: &[u8]) {
    let (class, value) = split_part(bytes);
    let (Ok(class), Ok(text)) = (std::str::from_utf8(class), std::str::from_utf8(value)) else { return };
    let Ok(kind) = Type::parse(class) else { return };
    let _ = (kind.to_cql(), kind.value_length());
    let _ = literal::parse(&kind, text);
    let mut out = Vec::new();
    shown::json(&mut out, &kind, value);
    shown::text(&mut out, &kind, value);
    shown::text_as_json(&mut out, &kind, value);
    let _ = shown::key_parts(&kind, value);
}

/// Statistics, then the rows themselves: with right checksums, so that what is behind them is reached.
pub fn data(bytes: &[u8]) {
    let (version, bytes) = split_version(bytes);
    let (statistics, data) = split_part(bytes);
    let Ok(Statistics { header: Some(header), .. }) = Statistics::parse(statistics, version) else { return };
    let Ok(header) = SerializationHeader::new(&header, version) else { return };
    let chunk_length = 1_u32 << 12;
    let mut crc = chunk_length.to_be_bytes().to_vec();
    data.chunks(chunk_length as usize).for_each(|chunk| crc.extend(crc32fast::hash(chunk).to_be_bytes()));
    let Ok(file) = CrcFile::parse(crc.as_slice()) else { return };
    let Ok(mut scan) = Scan::new(Arc::new(header), version, data, Chunks::Plain(file, crc.as_slice())) else { return };
    let _ = walk(&mut scan);
}

fn walk<S: helenus_sstable::source::Source>(scan: &mut Scan<S>) -> Result<(), helenus_sstable::window::ReadError> {
    let mut left = ITEMS_MAX;
    let mut step = || {
        assert!(left > 0, "no end");
        left -= 1;
    };
    while let Some(mut partition) = scan.next_partition()? {
        step();
        while let Some(unfiltered) = partition.next_unfiltered()? {
            step();
            if let Unfiltered::Row(mut row) = unfiltered {
                while row.next_part()?.is_some() {
                    step();
                }
            }
        }
    }
    Ok(())
}
