//! `Statistics.db`: a container of four parts, each of which knows something else about the SSTable.
//!
//! ```text
//! i32 parts
//! [na on] u32 CRC-32 of that
//! parts x ( i32 type | i32 offset )
//! [na on] u32 CRC-32 of the number of parts and of all types and offsets
//! bodies, each [na on] followed by u32 CRC-32 of it
//! ```
//!
//! A part reaches to where the next one starts. Cassandra rewrites the whole file when level or repair state change; it
//! is the only component apart from `TOC.txt` and `Summary.db` that ever differs between two snapshots of an SSTable.
//!
//! Parts that are missing, of a type that we do not know, or (where a checksum vouches for them) longer than we know
//! are accepted, as Cassandra accepts them.

pub mod compaction;
pub mod header;
pub mod histogram;
pub mod stats;
pub mod unrepaired;
pub mod validation;

use compaction::Compaction;
use header::Header;
use stats::Stats;
use validation::Validation;

use crate::cql::types::Type;
use crate::cql::wire::Reader;
use crate::error::{Error, Result};
use crate::partitioner::Partitioner;
use crate::version::Version;

/// Cassandra writes four parts; more than this is no file of its.
const PARTS_MAX: usize = 64;

/// The decoded parts of a `Statistics.db`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Partitioner and Bloom filter setting.
    pub validation: Option<Validation>,
    /// Cardinality estimator.
    pub compaction: Option<Compaction>,
    /// What was counted.
    pub stats: Option<Stats>,
    /// Columns and their types.
    pub header: Option<Header>,
    /// Types of parts that a later Cassandra must have added.
    pub unknown_parts: Vec<i32>,
}

struct Part {
    kind: i32,
    start: usize,
    end: usize,
}

impl Statistics {
    /// Decodes a whole file. A checksum that does not match is an error that names the part and the place of its CRC.
    pub fn parse(bytes: &[u8], version: Version) -> Result<Self> {
        if !version.is_parsable() {
            return Err(Error::unsupported(0, "version", "ma to me, na to nc, oa or da", version));
        }
        let has_checksums = version.has_metadata_checksums();
        let mut parsed =
            Self { validation: None, compaction: None, stats: None, header: None, unknown_parts: Vec::new() };
        for Part { kind, start, end } in parts(bytes, has_checksums)? {
            let mut body = Reader::new(bytes.get(start..end).unwrap_or_default(), start as u64);
            if has_checksums {
                body = checked(body, checksum_name(kind))?;
            }
            let body = &mut body;
            match kind {
                0 => parsed.validation = Some(Validation::read(body)?),
                1 => parsed.compaction = Some(Compaction::read(body)?),
                2 => parsed.stats = Some(Stats::read(body, version)?.0),
                3 => parsed.header = Some(Header::read(body)?),
                unknown => {
                    parsed.unknown_parts.push(unknown);
                    continue;
                }
            }
            let is_padding = kind == 2 && body.rest().iter().all(|&byte| byte == 0);
            if !has_checksums && !body.is_empty() && !is_padding {
                return Err(body.corrupt("end of a part", format_args!("offset {end}"), body.offset()));
            }
        }
        Ok(parsed)
    }

    /// The partitioner that gives the partitions their order; `None` if it is not Cassandra's own, or if its order
    /// depends on a key type that we do not know.
    pub fn partitioner(&self) -> Option<Partitioner> {
        let key_type = Type::parse(&self.header.as_ref()?.partition_key_type).ok()?;
        Partitioner::from_class(&self.validation.as_ref()?.partitioner, &key_type)
    }
}

fn checksum_name(kind: i32) -> &'static str {
    match kind {
        0 => "checksum of VALIDATION",
        1 => "checksum of COMPACTION",
        2 => "checksum of STATS",
        3 => "checksum of HEADER",
        _ => "checksum of an unknown part",
    }
}

/// The table of contents: parts in file order, each within the file and none overlapping.
fn parts(bytes: &[u8], has_checksums: bool) -> Result<Vec<Part>> {
    let mut reader = Reader::new(bytes, 0);
    let at_count = reader.clone();
    let part_count = reader.count_i32(8, "number of parts")?;
    if part_count > PARTS_MAX {
        return Err(at_count.corrupt("number of parts", format_args!("at most {PARTS_MAX}"), part_count));
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(at_count.rest().get(..4).unwrap_or_default());
    if has_checksums {
        checksum(&mut reader, hasher.clone().finalize(), "checksum of the number of parts")?;
    }
    let mut table = Reader::new(reader.rest(), reader.offset());
    hasher.update(reader.bytes(part_count * 8, "table of contents")?);
    if has_checksums {
        checksum(&mut reader, hasher.finalize(), "checksum of the table of contents")?;
    }
    let mut parts: Vec<Part> = Vec::with_capacity(part_count);
    for _ in 0..part_count {
        let before = table.clone();
        let kind = table.i32("type of a part")?;
        if parts.iter().any(|part| part.kind == kind) {
            return Err(before.corrupt("type of a part", "each type once", kind));
        }
        let before = table.clone();
        let offset = table.i32("offset of a part")?;
        let start = usize::try_from(offset)
            .ok()
            .filter(|&start| start <= bytes.len())
            .ok_or_else(|| before.corrupt("offset of a part", format_args!("at most {}", bytes.len()), offset))?;
        parts.push(Part { kind, start, end: bytes.len() });
    }
    parts.sort_by_key(|part| part.start);
    let mut end = bytes.len();
    for part in parts.iter_mut().rev() {
        part.end = end;
        end = part.start;
    }
    // Nothing lies between the table of contents and the first part, so a wrong first offset shows here.
    if end as u64 != reader.offset() && part_count > 0 {
        return Err(reader.corrupt("offset of the first part", reader.offset(), end));
    }
    Ok(parts)
}

fn checksum(reader: &mut Reader<'_>, computed: u32, what: &'static str) -> Result<()> {
    let before = reader.clone();
    let stored = reader.u32(what)?;
    if stored == computed {
        Ok(())
    } else {
        Err(before.corrupt(what, format_args!("{computed:08x}"), format_args!("{stored:08x}")))
    }
}

/// Takes the CRC off the end of a part, or fails if it is another one than the body has.
fn checked<'a>(part: Reader<'a>, what: &'static str) -> Result<Reader<'a>> {
    let Some((body, stored)) = part.rest().split_last_chunk::<4>() else {
        return Err(Error::truncated(part.offset(), what, 4, part.remaining() as u64));
    };
    let mut at_checksum = Reader::new(stored, part.offset() + body.len() as u64);
    checksum(&mut at_checksum, crc32fast::hash(body), what)?;
    Ok(Reader::new(body, part.offset()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
pub(crate) mod tests {
    use super::*;
    use crate::Kind;
    use crate::statistics::histogram::tests::encode as histogram;
    use crate::statistics::stats::{Bound, Position};

    pub(super) const VERSIONS: [&str; 10] = ["ma", "mb", "mc", "md", "me", "na", "nb", "nc", "oa", "da"];
    const HOST: [u8; 16] = *b"0123456789abcdef";
    const SESSION: [u8; 16] = *b"fedcba9876543210";

    pub(super) fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    /// Four bounds and values: `[5, null) .. (5, "")]` of an int and a text.
    fn covered_clustering() -> Vec<u8> {
        let mut bytes = vec![2];
        for class in ["Int32Type", "UTF8Type"] {
            bytes.push(class.len() as u8);
            bytes.extend_from_slice(class.as_bytes());
        }
        bytes.extend_from_slice(&[1, 0, 2, 0b1000, 0, 0, 0, 5]);
        bytes.extend_from_slice(&[6, 0, 2, 0b0100, 0, 0, 0, 5]);
        bytes
    }

    /// STATS as Cassandra writes it, with every optional field set; written by the table of versions, not by the
    /// predicates that the decoder uses.
    fn stats_body(version: &str) -> Vec<u8> {
        let is_oa = version == "oa" || version == "da";
        let later_than = |other: &str| is_oa || version >= other;
        let mut bytes = histogram(&[10, 20], &[1, 1, 1]);
        bytes.extend(histogram(&[1], &[2, 1]));
        let position = |bytes: &mut Vec<u8>, segment: i64, at: i32| {
            bytes.extend(segment.to_be_bytes());
            bytes.extend(at.to_be_bytes());
        };
        position(&mut bytes, 7, 70);
        bytes.extend([100_i64.to_be_bytes(), 200_i64.to_be_bytes()].concat());
        bytes.extend(1000_i32.to_be_bytes());
        bytes.extend(if is_oa { u32::MAX.to_be_bytes() } else { i32::MAX.to_be_bytes() });
        bytes.extend([1_i32.to_be_bytes(), 2_i32.to_be_bytes()].concat());
        bytes.extend((-1.0_f64).to_be_bytes());
        bytes.extend([100_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat());
        if is_oa {
            bytes.extend(60_i64.to_be_bytes());
            bytes.extend(3_i32.to_be_bytes());
        } else {
            bytes.extend(60_f64.to_be_bytes());
            bytes.extend(3_i64.to_be_bytes());
        }
        bytes.extend(4_i32.to_be_bytes());
        bytes.extend(5_i64.to_be_bytes());
        if is_oa {
            bytes.extend(covered_clustering());
        } else {
            bytes.extend([0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 1, b'z']);
        }
        bytes.push(1);
        bytes.extend([6_i64.to_be_bytes(), 8_i64.to_be_bytes()].concat());
        if later_than("mb") {
            position(&mut bytes, 3, 30);
        }
        if later_than("mc") {
            bytes.extend(1_i32.to_be_bytes());
            position(&mut bytes, 4, 40);
            position(&mut bytes, 5, 50);
        }
        if later_than("na") {
            bytes.push(1);
            bytes.extend(SESSION);
            bytes.push(1);
        }
        if version == "me" || later_than("nb") {
            bytes.push(1);
            bytes.extend(HOST);
        }
        if is_oa || version == "nc" {
            bytes.push(1);
            if version == "nc" {
                bytes.extend(covered_clustering());
            }
            bytes.extend(b"\x05start\x04last");
        }
        if is_oa {
            bytes.extend(0.25_f64.to_be_bytes());
            // The padding of 5.0: four bytes per bin of the tombstone histogram.
            bytes.extend([0; 4]);
        }
        bytes
    }

    fn bodies(version: &str) -> Vec<(i32, Vec<u8>)> {
        let mut validation = b"\x00\x2borg.apache.cassandra.dht.Murmur3Partitioner".to_vec();
        validation.extend(0.01_f64.to_be_bytes());
        let header = b"\x00\x00\x00\x09Int32Type\x00\x00\x01\x01v\x08UTF8Type".to_vec();
        vec![(0, validation), (1, vec![0, 0, 0, 2, 9, 9]), (2, stats_body(version)), (3, header)]
    }

    fn container(parts: &[(i32, Vec<u8>)], has_checksums: bool) -> Vec<u8> {
        let count = (parts.len() as i32).to_be_bytes();
        let checksum_bytes = if has_checksums { 4 } else { 0 };
        let mut offset = 4 + parts.len() * 8 + 2 * checksum_bytes;
        let mut table = Vec::new();
        for (kind, body) in parts {
            table.extend(kind.to_be_bytes());
            table.extend((offset as i32).to_be_bytes());
            offset += body.len() + checksum_bytes;
        }
        let mut bytes = count.to_vec();
        let checksum = |bytes: &mut Vec<u8>, of: &[u8]| {
            if has_checksums {
                bytes.extend(crc32fast::hash(of).to_be_bytes());
            }
        };
        checksum(&mut bytes, &count);
        bytes.extend(&table);
        checksum(&mut bytes, &[&count[..], &table].concat());
        for (_, body) in parts {
            bytes.extend(body);
            checksum(&mut bytes, body);
        }
        bytes
    }

    /// A whole file: three partitions from "start" to "last", not compressed, Murmur3.
    pub(crate) fn file(text: &str) -> Vec<u8> {
        container(&bodies(text), version(text).has_metadata_checksums())
    }

    #[test]
    fn every_version() {
        for text in VERSIONS {
            let parsed = Statistics::parse(&file(text), version(text)).unwrap();
            assert_eq!(parsed.compaction.unwrap().cardinality_estimator_bytes, 2);
            assert_eq!(parsed.header.unwrap().regular_columns[0].name, b"v");
            let validation = parsed.validation.unwrap();
            assert_eq!(validation.partitioner, "org.apache.cassandra.dht.Murmur3Partitioner");
            let stats = parsed.stats.unwrap();
            let is_oa = text == "oa" || text == "da";
            assert_eq!(stats.partition_count(), 3, "{text}");
            assert_eq!((stats.min_timestamp, stats.max_timestamp), (100, 200), "{text}");
            assert_eq!((stats.min_local_deletion_time, stats.max_local_deletion_time), (Some(1000), None), "{text}");
            assert_eq!((stats.min_ttl, stats.max_ttl, stats.compression_ratio), (1, 2, None), "{text}");
            assert_eq!(stats.tombstone_drop_times.bins, [(60.0, 3)], "{text}");
            assert_eq!((stats.level, stats.repaired_at), (4, Some(5)), "{text}");
            assert_eq!((stats.total_columns_set, stats.total_rows), (6, 8), "{text}");
            let at = |segment_id, position| Position { segment_id, position };
            let intervals = match text {
                "ma" => (Position::NONE, at(7, 70)),
                "mb" => (at(3, 30), at(7, 70)),
                _ => (at(4, 40), at(5, 50)),
            };
            assert_eq!(stats.commit_log_intervals, [intervals], "{text}");
            let is_na_or_later = text >= "na" || is_oa;
            assert_eq!(stats.pending_repair, is_na_or_later.then_some(SESSION), "{text}");
            assert_eq!(stats.is_transient, is_na_or_later, "{text}");
            let has_host = text == "me" || (is_na_or_later && text != "na");
            assert_eq!(stats.originating_host_id, has_host.then_some(HOST), "{text}");
            assert_eq!(stats.legacy_clustering.is_none(), is_oa, "{text}");
            assert_eq!(stats.token_space_coverage, is_oa.then_some(0.25), "{text}");
            let is_nc_or_later = is_oa || text == "nc";
            assert_eq!(stats.last_key, is_nc_or_later.then(|| b"last".to_vec()), "{text}");
            assert_eq!(stats.has_partition_level_deletions, is_nc_or_later.then_some(true), "{text}");
            let five = Some(vec![0, 0, 0, 5]);
            let start = is_nc_or_later.then(|| Bound { kind: 1, values: vec![five.clone(), None] });
            let end = is_nc_or_later.then(|| Bound { kind: 6, values: vec![five, Some(Vec::new())] });
            assert_eq!(stats.covered_clustering.map(|covered| (covered.start, covered.end)), start.zip(end), "{text}");
        }
    }

    #[test]
    fn unknown_versions_are_not_guessed() {
        for text in ["la", "zz", "nd"] {
            assert_eq!(Statistics::parse(&file("nb"), version(text)).unwrap_err().kind, Kind::Unsupported);
        }
    }

    #[test]
    fn parts_may_be_missing_unknown_or_longer() {
        let parts: Vec<_> = bodies("nb").into_iter().filter(|(kind, _)| *kind != 1).chain([(9, vec![1])]).collect();
        let parsed = Statistics::parse(&container(&parts, true), version("nb")).unwrap();
        assert!(parsed.compaction.is_none() && parsed.stats.is_some());
        assert_eq!(parsed.unknown_parts, [9]);

        // D2: an nc file is an nb file with a tail.
        let parts: Vec<_> = bodies("nc");
        assert!(Statistics::parse(&container(&parts, true), version("nb")).is_ok());
        // Without checksums only zeros pass for a tail.
        for (tail, is_accepted) in [([0, 0], true), ([0, 1], false)] {
            let mut parts = bodies("me");
            parts[2].1.extend(tail);
            assert_eq!(Statistics::parse(&container(&parts, false), version("me")).is_ok(), is_accepted);
        }
    }

    /// D1: what called itself na before the release candidate.
    #[test]
    fn na_without_its_last_byte() {
        let mut parts = bodies("na");
        parts[2].1.pop();
        let parsed = Statistics::parse(&container(&parts, true), version("na")).unwrap();
        assert!(!parsed.stats.unwrap().is_transient);
    }

    #[test]
    fn checksums_name_their_part() {
        fn check(position: usize, what: &str, offset: u64) {
            let mut bytes = file("nb");
            bytes[position] ^= 1;
            let error = Statistics::parse(&bytes, version("nb")).unwrap_err();
            assert_eq!((error.what, error.offset, error.kind), (what, offset, Kind::Corrupt), "{position}");
        }
        let bytes = file("nb");
        assert_eq!(bytes[..8], [0, 0, 0, 4, 0x26, 0x29, 0x1b, 0x05]);
        check(5, "checksum of the number of parts", 4);
        check(42, "checksum of the table of contents", 40);
        check(11, "checksum of the table of contents", 40);
        check(44, "checksum of VALIDATION", 97);
        check(102, "checksum of COMPACTION", 107);
        let header = bodies("nb")[3].1.len();
        check(112, "checksum of STATS", (bytes.len() - header - 8) as u64);
        check(bytes.len() - 1, "checksum of HEADER", bytes.len() as u64 - 4);
    }

    #[test]
    fn every_prefix_and_every_flip() {
        for text in VERSIONS {
            let bytes = file(text);
            let version = version(text);
            for cut in 0..bytes.len() {
                assert!(Statistics::parse(&bytes[..cut], version).is_err(), "{text} cut at {cut}");
                let mut flipped = bytes.clone();
                for bit in 0..8 {
                    flipped[cut] = bytes[cut] ^ (1 << bit);
                    let parsed = Statistics::parse(&flipped, version);
                    assert!(parsed.is_err() || !version.has_metadata_checksums(), "{text} bit {bit} of {cut}");
                }
            }
            // The decoder of STATS by itself, where no checksum stands before it.
            let body = stats_body(text);
            for cut in 0..body.len() {
                let _ = Stats::read(&mut Reader::new(&body[..cut], 0), version);
                for bit in 0..8 {
                    let mut flipped = body.clone();
                    flipped[cut] ^= 1 << bit;
                    let _ = Stats::read(&mut Reader::new(&flipped, 0), version);
                }
            }
        }
    }
}
