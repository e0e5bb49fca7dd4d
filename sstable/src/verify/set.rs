//! Whether the files of one SSTable agree with each other.
//!
//! No file proves itself whole by its own bytes, and `Index.db` and `Partitions.db` have no checksum at all. But the
//! number of partitions, the first and the last key, and the length of the data are each written down in several of
//! them, by different code at different moments; a file of another SSTable, or half of one, contradicts the others.
//!
//! The caller fills [`SetFacts`] with what it has read, and leaves out what it could not. Files that fail to decode are
//! the caller's findings, not ours.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::big::index::IndexFacts;
use crate::big::summary::Summary;
use crate::bti::partitions::PartitionsFooter;
use crate::component::Component;
use crate::compression_info::CompressionInfo;
use crate::compressor::Compressor;
use crate::cql::wire::hex;
use crate::descriptor::Descriptor;
use crate::error::Kind;
use crate::statistics::Statistics;
use crate::statistics::stats::Stats;
use crate::toc::Toc;
use crate::verify::report::Finding;
use crate::version::{Format, Version};

/// What is known of the files of one SSTable.
#[derive(Debug, Clone)]
pub struct SetFacts<'a> {
    /// Version, id and format, from the file names.
    pub descriptor: Descriptor,
    /// The files that are there, with their lengths in bytes.
    pub lengths: BTreeMap<Component, u64>,
    /// `TOC.txt`.
    pub toc: Option<&'a Toc>,
    /// `Statistics.db`.
    pub statistics: Option<&'a Statistics>,
    /// `CompressionInfo.db`.
    pub compression_info: Option<&'a CompressionInfo>,
    /// `CRC.db`.
    pub crc: Option<CrcFacts>,
    /// A walk over `Index.db`.
    pub index: Option<&'a IndexFacts>,
    /// `Summary.db`.
    pub summary: Option<&'a Summary>,
    /// The end of `Partitions.db`.
    pub partitions: Option<&'a PartitionsFooter>,
    /// The first chunk of `Data.db` as stored: with its checksum if compressed. Any number of bytes from the start of
    /// the file will do if not.
    pub first_chunk: Option<&'a [u8]>,
}

/// The shape of a `CRC.db`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrcFacts {
    /// Bytes of `Data.db` per checksum.
    pub chunk_length: u64,
    /// Checksums.
    pub chunk_count: u64,
}

impl SetFacts<'_> {
    /// Facts of which only names and lengths are known yet.
    pub fn new(descriptor: Descriptor, lengths: BTreeMap<Component, u64>) -> Self {
        Self {
            descriptor,
            lengths,
            toc: None,
            statistics: None,
            compression_info: None,
            crc: None,
            index: None,
            summary: None,
            partitions: None,
            first_chunk: None,
        }
    }

    fn stats(&self) -> Option<&Stats> {
        self.statistics?.stats.as_ref()
    }

    fn has(&self, component: &Component) -> bool {
        self.lengths.contains_key(component)
    }

    fn length(&self, component: &Component) -> Option<u64> {
        self.lengths.get(component).copied()
    }

    /// Uncompressed length of `Data.db`, in which all positions are.
    fn data_length(&self) -> Option<u64> {
        match self.compression_info {
            Some(info) => Some(info.data_length),
            None if self.has(&Component::CompressionInfo) => None,
            None => self.length(&Component::Data),
        }
    }

    /// The index whose word on keys and counts is compared with that of the others.
    fn primary_index(&self) -> Option<PrimaryIndex<'_>> {
        match (self.descriptor.format, self.index, self.partitions) {
            (Format::Big, Some(index), _) if index.is_sound() => Some(PrimaryIndex {
                component: Component::Index,
                partition_count: index.entries,
                first_key: &index.first_key,
                last_key: &index.last_key,
            }),
            (Format::Bti, _, Some(partitions)) => Some(PrimaryIndex {
                component: Component::Partitions,
                partition_count: partitions.partition_count,
                first_key: &partitions.first_key,
                last_key: &partitions.last_key,
            }),
            _ => None,
        }
    }
}

struct PrimaryIndex<'a> {
    component: Component,
    partition_count: u64,
    first_key: &'a [u8],
    last_key: &'a [u8],
}

/// Everything in which the files disagree. Of a version that this crate does not decode only names and lengths are
/// looked at.
pub fn check(facts: &SetFacts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let missing = check_presence(facts, &mut findings);
    check_toc(facts, &missing, &mut findings);
    if !facts.descriptor.version.is_parsable() {
        return findings;
    }
    check_statistics(facts, &mut findings);
    check_data_length(facts, &mut findings);
    check_summary(facts, &mut findings);
    if let Some(index) = facts.primary_index() {
        check_counts(facts, &index, &mut findings);
        check_keys(facts, &index, &mut findings);
        check_first_chunk(facts, &index, &mut findings);
    }
    findings
}

/// Components that should be there and are not.
fn check_presence(facts: &SetFacts<'_>, findings: &mut Vec<Finding>) -> BTreeSet<Component> {
    let Descriptor { version, format, .. } = facts.descriptor;
    // Nobody knows which files a later version will do without.
    let certain = version.is_parsable() || version.is_legacy();
    let mut missing = BTreeSet::new();
    let mut add = |component: Component, is_damage: bool| {
        let finding = Finding::damage(component.clone(), None, "component", "present", "missing");
        findings.push(if is_damage { finding } else { finding.as_warning() });
        missing.insert(component);
    };

    let primary_index = match format {
        Format::Big => vec![Component::Index],
        Format::Bti => vec![Component::Partitions, Component::Rows],
    };
    for component in [Component::Data, Component::Statistics].into_iter().chain(primary_index) {
        if !facts.has(&component) {
            let is_damage = certain || component == Component::Data;
            add(component, is_damage);
        }
    }
    let (is_compressed, has_crc) = (facts.has(&Component::CompressionInfo), facts.has(&Component::Crc));
    if !is_compressed && !has_crc {
        add(Component::CompressionInfo, certain);
    }

    let has_other_digest = facts
        .lengths
        .keys()
        .any(|component| matches!(component, Component::Other(name) if name.starts_with("Digest.")));
    if !facts.has(&Component::Digest) && !has_other_digest {
        add(Component::Digest, false);
    }
    if !facts.has(&Component::Filter) && !wants_no_filter(facts) {
        add(Component::Filter, false);
    }
    if format == Format::Big && !facts.has(&Component::Summary) {
        add(Component::Summary, false);
    }
    if !facts.has(&Component::Toc) {
        add(Component::Toc, false);
    }

    if is_compressed && has_crc {
        let expected = "CompressionInfo.db or CRC.db";
        let finding = Finding::damage(Component::Crc, None, "kind of Data.db", expected, "both");
        findings.push(if certain { finding } else { finding.as_warning() });
    }
    for (component, _) in facts.lengths.iter().filter(|(_, length)| **length == 0) {
        let finding = Finding::damage(component.clone(), None, "length of the file", "1 byte or more", 0);
        match component {
            // Without wide partitions there are no rows to index.
            Component::Rows => {}
            // The empty filter is one that lets every key pass; the others are found again in the rest.
            Component::Filter | Component::Summary | Component::Digest | Component::Toc => {
                findings.push(finding.as_warning());
            }
            Component::Data => findings.push(finding),
            Component::Index
            | Component::Partitions
            | Component::Statistics
            | Component::CompressionInfo
            | Component::Crc
                if certain =>
            {
                findings.push(finding);
            }
            // Of the files of plugins and of later versions nobody knows.
            _ => {}
        }
    }
    missing
}

/// A table may go without a filter, and then a chance of 1 says so.
fn wants_no_filter(facts: &SetFacts<'_>) -> bool {
    facts
        .statistics
        .and_then(|statistics| statistics.validation.as_ref())
        .is_some_and(|validation| validation.bloom_filter_fp_chance >= 1.0)
}

/// The table of contents is a hint: dropping an index leaves entries without files, building one files without entries.
fn check_toc(facts: &SetFacts<'_>, missing: &BTreeSet<Component>, findings: &mut Vec<Finding>) {
    let Some(toc) = facts.toc else { return };
    // Cassandra itself lists index components that it does not write, and writes some that it does not list.
    for component in toc.components.iter().filter(|component| !component.is_index_data()) {
        if facts.has(component) || missing.contains(component) {
            continue;
        }
        let finding = Finding::damage(
            Component::Toc,
            None,
            "listed component",
            format_args!("{component} to be there"),
            "no such file",
        );
        let is_needed = component.is_required(facts.descriptor.format) || component.is_chunk_map();
        findings.push(if is_needed { finding } else { finding.as_warning() });
    }
    for component in facts.lengths.keys().filter(|component| !component.is_index_data()) {
        // Whether the list names itself is of no interest.
        if !toc.contains(component) && *component != Component::Toc {
            let expected = format_args!("{component}, which is there");
            let finding = Finding::damage(Component::Toc, None, "listed component", expected, "no such line");
            findings.push(finding.as_warning());
        }
    }
}

fn check_statistics(facts: &SetFacts<'_>, findings: &mut Vec<Finding>) {
    let Some(statistics) = facts.statistics else { return };
    let parts = [
        ("VALIDATION", statistics.validation.is_some()),
        ("STATS", statistics.stats.is_some()),
        ("HEADER", statistics.header.is_some()),
    ];
    for (name, _) in parts.iter().filter(|(_, is_there)| !is_there) {
        findings.push(Finding::damage(Component::Statistics, None, "part", name, "missing"));
    }
    let Some(stats) = &statistics.stats else { return };
    // Cassandra itself does not rely on the ratio, so neither may a verdict on the data.
    match (stats.compression_ratio, facts.has(&Component::CompressionInfo), facts.has(&Component::Crc)) {
        (Some(ratio), false, true) => {
            let finding =
                Finding::damage(Component::Statistics, None, "compression ratio", "-1, not compressed", ratio);
            findings.push(finding.as_warning());
        }
        // 3.0 did not always note the ratio when it wrote `ma`.
        (None, true, false) if facts.descriptor.version > Version::MA || facts.descriptor.format == Format::Bti => {
            let finding = Finding::damage(Component::Statistics, None, "compression ratio", "that of Data.db", -1);
            findings.push(finding.as_warning());
        }
        _ => {}
    }
}

fn check_data_length(facts: &SetFacts<'_>, findings: &mut Vec<Finding>) {
    if let (Some(index), Some(data_length)) = (facts.index, facts.data_length())
        && index.is_sound()
        && index.last_position >= data_length
    {
        let expected = format_args!("less than {data_length}");
        let what = "position of the last partition in Data.db";
        findings.push(Finding::damage(Component::Index, None, what, expected, index.last_position));
    }
    // A name without a dot is one of Cassandra's own.
    if let Some(info) = facts.compression_info
        && !info.compressor.contains('.')
        && Compressor::from_name(&info.compressor).is_none()
    {
        let expected = "one of Cassandra's own, or a full class name";
        findings.push(Finding::damage(Component::CompressionInfo, 2, "compressor", expected, &info.compressor));
    }
    if let (Some(crc), Some(length), false) =
        (facts.crc, facts.length(&Component::Data), facts.has(&Component::CompressionInfo))
        && crc.chunk_length > 0
    {
        let chunk_count = length.div_ceil(crc.chunk_length);
        // Compaction closes with the checksum of nothing, whose value the pass over Data.db has compared.
        let has_empty_chunk = crc.chunk_count == chunk_count + 1;
        if crc.chunk_count != chunk_count && !has_empty_chunk {
            findings.push(Finding::damage(Component::Crc, None, "number of checksums", chunk_count, crc.chunk_count));
        }
    }
}

/// Never damage: Cassandra rebuilds the summary from the index.
fn check_summary(facts: &SetFacts<'_>, findings: &mut Vec<Finding>) {
    let Some(summary) = facts.summary else { return };
    let mut warn = |what: &str, expected: String, got: u64| {
        findings.push(Finding::damage(Component::Summary, None, what, expected, got).as_warning());
    };
    if let Some(index_length) = facts.length(&Component::Index)
        && summary.last_index_position >= index_length
    {
        warn("position in Index.db", format!("less than {index_length}"), summary.last_index_position);
    }
    let full = u64::from(summary.size_at_full_sampling);
    if let Some(index) = facts.index.filter(|index| index.is_sound()) {
        let expected = index.entries.div_ceil(u64::from(summary.min_index_interval).max(1));
        if full != expected {
            warn("entries at full sampling", expected.to_string(), full);
        }
    }
    if summary.sampling_level == 128 && u64::from(summary.entry_count) != full {
        warn("number of entries", full.to_string(), u64::from(summary.entry_count));
    }
}

fn check_counts(facts: &SetFacts<'_>, index: &PrimaryIndex<'_>, findings: &mut Vec<Finding>) {
    let Some(stats) = facts.stats() else { return };
    if stats.partition_count() != index.partition_count {
        findings.push(Finding::damage(
            index.component.clone(),
            None,
            "number of partitions",
            format_args!("{} as in Statistics.db", stats.partition_count()),
            index.partition_count,
        ));
    }
}

fn check_keys(facts: &SetFacts<'_>, index: &PrimaryIndex<'_>, findings: &mut Vec<Finding>) {
    let mut compare = |component: Component, what: &str, expected: &[u8], got: &[u8], is_damage: bool| {
        if expected != got {
            let expected = format_args!("{} as in {}", hex(expected), index.component);
            let finding = Finding::damage(component, None, what, expected, hex(got));
            findings.push(if is_damage { finding } else { finding.as_warning() });
        }
    };
    if let Some(stats) = facts.stats()
        && let (Some(first_key), Some(last_key)) = (&stats.first_key, &stats.last_key)
    {
        compare(Component::Statistics, "first key", index.first_key, first_key, true);
        compare(Component::Statistics, "last key", index.last_key, last_key, true);
    }
    if let Some(summary) = facts.summary {
        compare(Component::Summary, "first key", index.first_key, &summary.first_key, false);
        compare(Component::Summary, "last key", index.last_key, &summary.last_key, false);
    }
    let Some(partitioner) = facts.statistics.and_then(Statistics::partitioner) else { return };
    let [first, last] = [index.first_key, index.last_key].map(|key| (partitioner.token(key), key));
    let order = partitioner.compare(first, last);
    if order == Ordering::Greater || (order == Ordering::Equal && index.partition_count > 1) {
        findings.push(Finding::damage(
            index.component.clone(),
            None,
            "token of the last key",
            format_args!("more than {} of the first key", first.0),
            last.0,
        ));
    }
}

/// `Data.db` starts with the key of its first partition.
fn check_first_chunk(facts: &SetFacts<'_>, index: &PrimaryIndex<'_>, findings: &mut Vec<Finding>) {
    let Some(stored) = facts.first_chunk else { return };
    let mut decompressed = Vec::new();
    let start = match facts.compression_info {
        Some(info) => {
            match info.decompress(0, stored, &mut decompressed) {
                Ok(()) => &decompressed,
                // A compressor of the user's own: what it has written may well be sound.
                Err(error) if error.kind == Kind::Unsupported => return,
                Err(error) => {
                    findings.push(Finding::from_error(Component::Data, error));
                    return;
                }
            }
        }
        None if facts.has(&Component::CompressionInfo) => return,
        None => stored,
    };
    let Ok(key_length) = u16::try_from(index.first_key.len()) else { return };
    let expected = [&key_length.to_be_bytes()[..], index.first_key].concat();
    // A long key may go on in the second chunk.
    let compared = expected.len().min(start.len());
    if start.get(..compared) != expected.get(..compared) || compared < 2 {
        let got = start.get(..expected.len()).unwrap_or(start);
        let expected = format_args!("{} as in {}", hex(&expected), index.component);
        findings.push(Finding::damage(Component::Data, 0, "length and bytes of the first key", expected, hex(got)));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;
    use crate::descriptor::FileName;
    use crate::verify::report::Severity::{self, Damage, Warning};

    /// What [`SetFacts`] refers to, owned, so that a case can change any of it.
    struct Fixture {
        name: &'static str,
        lengths: BTreeMap<Component, u64>,
        toc: Option<Toc>,
        compression_info: Option<CompressionInfo>,
        statistics: Statistics,
        crc: CrcFacts,
        index: IndexFacts,
        summary: Summary,
        partitions: PartitionsFooter,
        data: Vec<u8>,
    }

    impl Fixture {
        /// An SSTable without fault: three partitions, not compressed.
        fn new(name: &'static str) -> Self {
            let FileName { descriptor, .. } = FileName::parse(name).unwrap();
            let version =
                if descriptor.version.is_parsable() { descriptor.version.to_string() } else { "nb".to_owned() };
            let names: &[&str] = match descriptor.format {
                Format::Big => &["Index.db", "Summary.db"],
                Format::Bti => &["Partitions.db", "Rows.db"],
            };
            let common = ["Data.db", "Statistics.db", "CRC.db", "Digest.crc32", "Filter.db", "TOC.txt"];
            let lengths = common.iter().chain(names).map(|name| (Component::parse(name), 100)).collect();
            let (first_key, last_key) = (b"start".to_vec(), b"last".to_vec());
            Self {
                name,
                lengths,
                toc: None,
                compression_info: None,
                statistics: Statistics::parse(
                    &crate::statistics::tests::file(&version),
                    Version::parse(&version).unwrap(),
                )
                .unwrap(),
                crc: CrcFacts { chunk_length: 65536, chunk_count: 1 },
                index: IndexFacts {
                    entries: 3,
                    first_key: first_key.clone(),
                    last_key: last_key.clone(),
                    last_position: 99,
                    findings: Vec::new(),
                },
                summary: Summary {
                    min_index_interval: 2,
                    entry_count: 2,
                    sampling_level: 128,
                    size_at_full_sampling: 2,
                    first_key: first_key.clone(),
                    last_key: last_key.clone(),
                    last_index_position: 99,
                },
                partitions: PartitionsFooter { first_key, last_key, partition_count: 3, root_position: 0 },
                data: b"\x00\x05start and so on".to_vec(),
            }
        }

        fn check(&self) -> Vec<Finding> {
            let descriptor = FileName::parse(self.name).unwrap().descriptor;
            let is_big = descriptor.format == Format::Big;
            check(&SetFacts {
                toc: self.toc.as_ref(),
                compression_info: self.compression_info.as_ref(),
                statistics: Some(&self.statistics),
                crc: Some(self.crc),
                index: is_big.then_some(&self.index),
                summary: is_big.then_some(&self.summary),
                partitions: (!is_big).then_some(&self.partitions),
                first_chunk: Some(&self.data),
                ..SetFacts::new(descriptor, self.lengths.clone())
            })
        }
    }

    const BIG: &str = "oa-1-big-Data.db";
    const BTI: &str = "da-1-bti-Data.db";

    fn case(name: &'static str, change: impl Fn(&mut Fixture), expected: &[(&str, Severity, &str)]) {
        let mut fixture = Fixture::new(name);
        change(&mut fixture);
        let findings = fixture.check();
        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.component.name(), finding.severity, finding.what.as_str()))
            .collect();
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn without_fault() {
        for name in [BIG, BTI, "ma-1-big-Data.db", "me-1-big-Data.db", "na-1-big-Data.db", "nb-1-big-Data.db"] {
            case(name, |_| {}, &[]);
        }
        // Nothing but names and lengths read yet.
        let fixture = Fixture::new(BIG);
        let descriptor = FileName::parse(BIG).unwrap().descriptor;
        assert_eq!(check(&SetFacts::new(descriptor, fixture.lengths)), []);
    }

    fn without(component: Component) -> impl Fn(&mut Fixture) {
        move |fixture| {
            fixture.lengths.remove(&component).unwrap();
        }
    }

    fn with_length(component: Component, length: u64) -> impl Fn(&mut Fixture) {
        move |fixture| {
            fixture.lengths.insert(component.clone(), length);
        }
    }

    #[test]
    fn missing_files() {
        case(BIG, without(Component::Data), &[("Data.db", Damage, "component")]);
        case(BIG, without(Component::Index), &[("Index.db", Damage, "component")]);
        case(BTI, without(Component::Partitions), &[("Partitions.db", Damage, "component")]);
        case(BTI, without(Component::Rows), &[("Rows.db", Damage, "component")]);
        case(BIG, without(Component::Statistics), &[("Statistics.db", Damage, "component")]);
        case(BIG, without(Component::Crc), &[("CompressionInfo.db", Damage, "component")]);
        case(BIG, without(Component::Digest), &[("Digest.crc32", Warning, "component")]);
        case(BIG, without(Component::Filter), &[("Filter.db", Warning, "component")]);
        case(BIG, without(Component::Summary), &[("Summary.db", Warning, "component")]);
        case(BIG, without(Component::Toc), &[("TOC.txt", Warning, "component")]);
        case(BIG, with_length(Component::CompressionInfo, 50), &[("CRC.db", Damage, "kind of Data.db")]);
        let without_filter = |fixture: &mut Fixture| {
            fixture.lengths.remove(&Component::Filter);
            fixture.statistics.validation.as_mut().unwrap().bloom_filter_fp_chance = 1.0;
        };
        case(BIG, without_filter, &[]);
    }

    #[test]
    fn versions_that_we_do_not_decode() {
        // Their files may mean anything; only that there is data at all is sure.
        case("zz-1-big-Data.db", |fixture| fixture.index.entries = 99, &[]);
        case("zz-1-big-Data.db", without(Component::Statistics), &[("Statistics.db", Warning, "component")]);
        case("zz-1-big-Data.db", without(Component::Data), &[("Data.db", Damage, "component")]);
        let digest = Component::parse("Digest.adler32");
        let old_digest = |fixture: &mut Fixture| {
            fixture.lengths.remove(&Component::Digest);
            fixture.lengths.insert(digest.clone(), 10);
        };
        case("la-1-big-Data.db", old_digest, &[]);
        case("la-1-big-Data.db", without(Component::Index), &[("Index.db", Damage, "component")]);
    }

    #[test]
    fn empty_files() {
        let what = "length of the file";
        case(BTI, with_length(Component::Rows, 0), &[]);
        case(BTI, with_length(Component::Partitions, 0), &[("Partitions.db", Damage, what)]);
        case(BIG, with_length(Component::Filter, 0), &[("Filter.db", Warning, what)]);
        case(BIG, with_length(Component::parse("SAI+aa+ColumnComplete.db"), 0), &[]);
        let no_data = |fixture: &mut Fixture| {
            fixture.lengths.insert(Component::Data, 0);
            fixture.crc.chunk_count = 0;
        };
        let position = "position of the last partition in Data.db";
        case(BIG, no_data, &[("Data.db", Damage, what), ("Index.db", Damage, position)]);
    }

    #[test]
    fn numbers_that_disagree() {
        let what = "number of partitions";
        case("nb-1-big-Data.db", |fixture| fixture.index.entries = 4, &[("Index.db", Damage, what)]);
        case(BTI, |fixture| fixture.partitions.partition_count = 2, &[("Partitions.db", Damage, what)]);
        let what = "position of the last partition in Data.db";
        case(BIG, |fixture| fixture.index.last_position = 100, &[("Index.db", Damage, what)]);
        let what = "number of checksums";
        case(BIG, |fixture| fixture.crc.chunk_count = 3, &[("CRC.db", Damage, what)]);
        case(BIG, |fixture| fixture.crc.chunk_count = 0, &[("CRC.db", Damage, what)]);
        case(BIG, |fixture| fixture.crc.chunk_count = 2, &[]);
        let ratio = |fixture: &mut Fixture| {
            fixture.statistics.stats.as_mut().unwrap().compression_ratio = Some(0.5);
        };
        case(BIG, ratio, &[("Statistics.db", Warning, "compression ratio")]);
        case(BIG, |fixture| fixture.statistics.header = None, &[("Statistics.db", Damage, "part")]);
    }

    #[test]
    fn keys_that_disagree() {
        let first = |fixture: &mut Fixture| fixture.statistics.stats.as_mut().unwrap().first_key = Some(b"x".to_vec());
        case(BIG, first, &[("Statistics.db", Damage, "first key")]);
        case(BTI, first, &[("Statistics.db", Damage, "first key")]);
        case(BIG, |fixture| fixture.summary.last_key.push(0), &[("Summary.db", Warning, "last key")]);
        case(BIG, |fixture| fixture.data[2] = b'S', &[("Data.db", Damage, "length and bytes of the first key")]);
        // A key that reaches beyond the first chunk, and no data at all.
        case(BIG, |fixture| fixture.data.truncate(4), &[]);
        case(BIG, |fixture| fixture.data.clear(), &[("Data.db", Damage, "length and bytes of the first key")]);
        let swapped = |fixture: &mut Fixture| std::mem::swap(&mut fixture.index.first_key, &mut fixture.index.last_key);
        let findings = [
            ("Summary.db", Warning, "first key"),
            ("Summary.db", Warning, "last key"),
            ("Index.db", Damage, "token of the last key"),
            ("Data.db", Damage, "length and bytes of the first key"),
        ];
        case("nb-1-big-Data.db", swapped, &findings);
        let other_order = |fixture: &mut Fixture| {
            fixture.statistics.validation.as_mut().unwrap().partitioner = "com.example.Mine".to_owned();
            std::mem::swap(&mut fixture.index.first_key, &mut fixture.index.last_key);
        };
        let [summary_first, summary_last, _, data] = findings;
        case("nb-1-big-Data.db", other_order, &[summary_first, summary_last, data]);
    }

    #[test]
    fn summaries_are_never_damage() {
        let what = "position in Index.db";
        case(BIG, |fixture| fixture.summary.last_index_position = 100, &[("Summary.db", Warning, what)]);
        let of_another_table = |fixture: &mut Fixture| fixture.summary.min_index_interval = 1;
        case(BIG, of_another_table, &[("Summary.db", Warning, "entries at full sampling")]);
        case(BIG, |fixture| fixture.summary.entry_count = 1, &[("Summary.db", Warning, "number of entries")]);
        let downsampled = |fixture: &mut Fixture| {
            fixture.summary.entry_count = 1;
            fixture.summary.sampling_level = 64;
        };
        case(BIG, downsampled, &[]);
    }

    #[test]
    fn tables_of_contents() {
        let with_toc = |names: &'static str| {
            move |fixture: &mut Fixture| fixture.toc = Some(Toc::parse(names.as_bytes()).unwrap())
        };
        const ALL: &str = "Data.db\nIndex.db\nSummary.db\nStatistics.db\nCRC.db\nDigest.crc32\nFilter.db\n";
        case(BIG, with_toc(ALL), &[]);
        let (what, toc) = ("listed component", "TOC.txt");
        let add = |fixture: &mut Fixture, name| {
            fixture.toc.as_mut().unwrap().components.insert(Component::parse(name));
        };
        for (name, severity) in [("Mine.db", Warning), ("CompressionInfo.db", Damage)] {
            let listed = |fixture: &mut Fixture| {
                with_toc(ALL)(fixture);
                add(fixture, name);
            };
            case(BIG, listed, &[(toc, severity, what)]);
        }
        let without_filter = |fixture: &mut Fixture| {
            with_toc(ALL)(fixture);
            fixture.toc.as_mut().unwrap().components.remove(&Component::Filter);
        };
        case(BIG, without_filter, &[(toc, Warning, what)]);
        // What is missing is said once.
        let neither = |fixture: &mut Fixture| {
            with_toc(ALL)(fixture);
            fixture.lengths.remove(&Component::Statistics);
        };
        case(BIG, neither, &[("Statistics.db", Damage, "component")]);
    }

    /// Stored as it is, which spares the test a compressor; the checksum is not ours to check.
    fn compressed(fixture: &mut Fixture) {
        fixture.lengths.remove(&Component::Crc);
        fixture.lengths.insert(Component::CompressionInfo, 60);
        fixture.statistics.stats.as_mut().unwrap().compression_ratio = Some(1.5);
        fixture.compression_info = Some(CompressionInfo {
            compressor: "NoopCompressor".to_owned(),
            options: Vec::new(),
            chunk_length: 16,
            max_compressed_length: 16,
            data_length: 100,
            chunk_count: 7,
            offsets_at: 0,
        });
        fixture.data = b"\x00\x05start and so..".to_vec();
    }

    #[test]
    fn compressed_data() {
        case(BIG, compressed, &[]);
        let change = |change: fn(&mut Fixture)| {
            move |fixture: &mut Fixture| {
                compressed(fixture);
                change(fixture);
            }
        };
        let first_key = "length and bytes of the first key";
        case(BIG, change(|fixture| fixture.data[3] = b'x'), &[("Data.db", Damage, first_key)]);
        case(BIG, change(|fixture| fixture.data.truncate(14)), &[("Data.db", Damage, "uncompressed length")]);
        let of_the_users_own = change(|fixture| {
            let info = fixture.compression_info.as_mut().unwrap();
            info.compressor = "com.example.Mine".to_owned();
            info.max_compressed_length = 1000;
        });
        case(BIG, of_the_users_own, &[]);
        let shorter = change(|fixture| fixture.compression_info.as_mut().unwrap().data_length = 99);
        case(BIG, shorter, &[("Index.db", Damage, "position of the last partition in Data.db")]);
        let ratio = |fixture: &mut Fixture| fixture.statistics.stats.as_mut().unwrap().compression_ratio = None;
        let without_ratio = move |fixture: &mut Fixture| {
            compressed(fixture);
            ratio(fixture);
        };
        case(BIG, without_ratio, &[("Statistics.db", Warning, "compression ratio")]);
        case("ma-1-big-Data.db", without_ratio, &[]);
    }

    #[test]
    fn an_index_with_faults_is_not_compared() {
        let broken = |fixture: &mut Fixture| {
            fixture.index.entries = 1;
            fixture.index.findings.push(Finding::damage(Component::Index, 0, "key", "a", "b"));
        };
        case(BIG, broken, &[]);
    }
}
