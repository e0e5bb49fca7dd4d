//! One SSTable: read, checked, handed on.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use helenus_sstable::big::index::{IndexFacts, IndexWalker};
use helenus_sstable::big::summary::Summary;
use helenus_sstable::bti::partitions::PartitionsFooter;
use helenus_sstable::chunks::Chunks;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::crc::CrcFile;
use helenus_sstable::descriptor::{Descriptor, FileName};
use helenus_sstable::digest::Digest;
use helenus_sstable::filter::{self, FilterHeader};
use helenus_sstable::sai::FooterCheck;
use helenus_sstable::source::Source;
use helenus_sstable::statistics::Statistics;
use helenus_sstable::toc::Toc;
use helenus_sstable::verify::data::{DataReport, DataVerifier};
use helenus_sstable::verify::report::{Finding, Severity};
use helenus_sstable::verify::rows::{self, Primary, RowsReport};
use helenus_sstable::verify::set::{self, CrcFacts, SetFacts};
use helenus_sstable::version::Format;
use helenus_sstable::window::ReadError;
use serde::Serialize;

use super::reader::{Buffers, ComponentSource, Reader};
use super::tap::Tap;
use super::{HELD_BYTES_MAX, HELD_TOTAL_BYTES_MAX, Nowhere, Sink};

/// The files of one SSTable in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SSTableFiles {
    /// Where they lie.
    pub directory: PathBuf,
    /// What their names begin with.
    pub descriptor: Descriptor,
    /// Components and their lengths when they were listed.
    pub lengths: BTreeMap<Component, u64>,
}

impl SSTableFiles {
    /// The SSTables of a directory, by descriptor; other files are left alone.
    pub fn list(directory: &Path) -> anyhow::Result<Vec<Self>> {
        let mut found = BTreeMap::<Descriptor, BTreeMap<Component, u64>>::new();
        for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
            let entry = entry.with_context(|| directory.display().to_string())?;
            let name = entry.file_name();
            let Some(Ok(FileName { descriptor, component })) = name.to_str().map(FileName::parse) else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| entry.path().display().to_string()),
            };
            if metadata.is_file() {
                found.entry(descriptor).or_default().insert(component, metadata.len());
            }
        }
        let directory = directory.to_owned();
        Ok(found
            .into_iter()
            .map(|(descriptor, lengths)| Self { directory: directory.clone(), descriptor, lengths })
            .collect())
    }

    /// Path of a component.
    pub fn path(&self, component: &Component) -> PathBuf {
        self.directory.join(self.descriptor.file_name(component))
    }

    /// Sum of the lengths.
    pub fn bytes(&self) -> u64 {
        self.lengths.values().sum()
    }

    /// Components that are held in memory, smallest first until there are enough of them.
    fn held(&self) -> Vec<&Component> {
        let mut by_length: Vec<(&Component, u64)> =
            self.lengths.iter().map(|(component, length)| (component, *length)).collect();
        by_length.sort_by_key(|(_, length)| *length);
        let mut total = 0;
        by_length
            .into_iter()
            .take_while(|(_, length)| {
                total += length;
                *length <= HELD_BYTES_MAX && total <= HELD_TOTAL_BYTES_MAX
            })
            .map(|(component, _)| component)
            .collect()
    }

    /// Bytes of memory that inspecting it takes, for the budget of those who inspect several at a time.
    pub fn held_bytes(&self) -> u64 {
        self.held().into_iter().map(|component| self.lengths[component]).sum()
    }
}

/// What an inspection found.
#[derive(Debug)]
pub struct Inspection {
    /// Damage and warnings.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub findings_dropped: u64,
    /// CRC-32 of `Data.db`.
    pub data_crc: Option<u32>,
    /// Bytes read.
    pub bytes: u64,
    /// `Statistics.db`, if it could be read.
    pub statistics: Option<Statistics>,
    /// What was seen of its rows, if they were looked at.
    pub rows: Option<RowsSeen>,
}

/// What a walk over every row has seen.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct RowsSeen {
    /// Partitions that were read to their end.
    pub partitions: u64,
    /// Rows in them.
    pub rows: u64,
    /// Cells in them.
    pub cells: u64,
    /// What could not be checked, and why.
    pub not_checked: Vec<String>,
}

impl Inspection {
    /// True if data is at risk.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// Reads and checks every component; each goes to `sink` as it is read, `Data.db` last. An error means that the check
/// could not be done: the disk failed, or the sink.
pub fn inspect(files: &SSTableFiles, buffers: &Buffers, sink: &mut dyn Sink) -> anyhow::Result<Inspection> {
    let mut state = State::new(files, buffers);
    let held = files.held();
    // Data.db is checked with what the others say of it, so they come first.
    let others = files.lengths.iter().filter(|(component, _)| **component != Component::Data);
    for (component, length) in others {
        let context = || files.path(component).display().to_string();
        if held.contains(&component) {
            let bytes = state.read_whole(component).with_context(context)?;
            state.look_at(component, &bytes).with_context(context)?;
            sink.whole(component, &bytes)?;
        } else {
            state.stream(component, *length, sink).with_context(context)?;
        }
    }
    if let Some(length) = files.lengths.get(&Component::Data) {
        let context = || files.path(&Component::Data).display().to_string();
        state.data(*length, held.contains(&&Component::Data), sink).with_context(context)?;
    }
    Ok(state.finish())
}

/// The same for who only wants to know, and with every partition and row looked at, in the same one read of `Data.db`.
pub fn inspect_rows(files: &SSTableFiles, buffers: &Buffers) -> anyhow::Result<Inspection> {
    let mut state = State::new(files, buffers);
    let held = files.held();
    let mut sources = BTreeMap::new();
    for (component, length) in files.lengths.iter().filter(|(component, _)| **component != Component::Data) {
        let context = || files.path(component).display().to_string();
        let source = if held.contains(&component) {
            let bytes = state.read_whole(component).with_context(context)?;
            state.look_at(component, &bytes).with_context(context)?;
            ComponentSource::Held(bytes)
        } else {
            state.stream(component, *length, &mut Nowhere).with_context(context)?;
            ComponentSource::File(File::open(files.path(component)).with_context(context)?, *length)
        };
        sources.insert(component.clone(), source);
    }
    if let Some(length) = files.lengths.get(&Component::Data) {
        let context = || files.path(&Component::Data).display().to_string();
        state.rows(*length, &sources).with_context(context)?;
    }
    Ok(state.finish())
}

struct State<'a> {
    files: &'a SSTableFiles,
    buffers: &'a Buffers,
    findings: Vec<Finding>,
    findings_dropped: u64,
    bytes: u64,
    toc: Option<Toc>,
    digest: Option<Digest>,
    statistics: Option<Statistics>,
    summary: Option<Summary>,
    index: Option<IndexFacts>,
    partitions: Option<PartitionsFooter>,
    compression_info: Option<(CompressionInfo, ComponentSource)>,
    crc: Option<(CrcFile, ComponentSource)>,
    data_crc: Option<u32>,
    first_chunk: Option<Vec<u8>>,
    rows: Option<RowsSeen>,
}

impl<'a> State<'a> {
    fn new(files: &'a SSTableFiles, buffers: &'a Buffers) -> Self {
        Self {
            files,
            buffers,
            findings: Vec::new(),
            findings_dropped: 0,
            bytes: 0,
            toc: None,
            digest: None,
            statistics: None,
            summary: None,
            index: None,
            partitions: None,
            compression_info: None,
            crc: None,
            data_crc: None,
            first_chunk: None,
            rows: None,
        }
    }

    /// Files of versions that we do not know are kept, not judged.
    fn can_judge(&self) -> bool {
        self.files.descriptor.version.is_parsable()
    }

    fn read_whole(&mut self, component: &Component) -> std::io::Result<Bytes> {
        let bytes = Reader::open(&self.files.path(component), self.buffers)?.read_whole()?;
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }

    fn found(&mut self, component: &Component, error: helenus_sstable::Error, is_derived: bool) {
        let finding = Finding::from_error(component.clone(), error);
        self.findings.push(if is_derived { finding.as_warning() } else { finding });
    }

    /// Checks a component by its whole content.
    fn look_at(&mut self, component: &Component, bytes: &Bytes) -> std::io::Result<()> {
        if !self.can_judge() {
            return Ok(());
        }
        let version = self.files.descriptor.version;
        match component {
            Component::Toc => match Toc::parse(bytes) {
                Ok(toc) => self.toc = Some(toc),
                Err(error) => self.found(component, error, true),
            },
            Component::Digest => match Digest::parse(bytes) {
                Ok(digest) => self.digest = Some(digest),
                Err(error) => self.found(component, error, false),
            },
            Component::Statistics => match Statistics::parse(bytes, version) {
                Ok(statistics) => self.statistics = Some(statistics),
                Err(error) => self.found(component, error, false),
            },
            // Cassandra rebuilds a summary that it cannot read.
            Component::Summary => match Summary::parse(bytes) {
                Ok(summary) => self.summary = Some(summary),
                Err(error) => self.found(component, error, true),
            },
            Component::Filter if !bytes.is_empty() => {
                let start = bytes.get(..filter::HEADER_BYTES).unwrap_or(bytes);
                if let Err(error) = FilterHeader::parse(start, bytes.len() as u64) {
                    self.found(component, error, false);
                }
            }
            Component::Index => {
                let mut walker = self.index_walker(bytes.len() as u64);
                walker.push(bytes);
                self.index_walked(walker);
            }
            Component::Sai(_) => {
                let mut check = FooterCheck::default();
                check.push(bytes);
                if let Err(error) = check.finish() {
                    self.found(component, error, true);
                }
            }
            Component::Partitions | Component::CompressionInfo | Component::Crc => {
                return self.look_into(component, ComponentSource::Held(bytes.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks a component by reading parts of it at will.
    fn look_into(&mut self, component: &Component, source: ComponentSource) -> std::io::Result<()> {
        let version = self.files.descriptor.version;
        let looked = match component {
            Component::Partitions => PartitionsFooter::read(&source).map(|footer| self.partitions = Some(footer)),
            Component::CompressionInfo => {
                CompressionInfo::parse(version, &source).map(|info| self.compression_info = Some((info, source)))
            }
            Component::Crc => CrcFile::parse(&source).map(|crc| self.crc = Some((crc, source))),
            _ => Ok(()),
        };
        match looked {
            Ok(()) => Ok(()),
            Err(ReadError::Format(error)) => {
                self.found(component, error, false);
                Ok(())
            }
            Err(ReadError::Io(error)) => Err(error),
        }
    }

    /// `CompressionInfo.db` sorts before `Index.db`, so the uncompressed length is known by now.
    fn index_walker(&self, file_length: u64) -> IndexWalker {
        let data_length = match &self.compression_info {
            Some((info, _)) => Some(info.data_length),
            None if self.files.lengths.contains_key(&Component::CompressionInfo) => None,
            None => self.files.lengths.get(&Component::Data).copied(),
        };
        IndexWalker::new(file_length, data_length)
    }

    fn index_walked(&mut self, walker: IndexWalker) {
        let facts = walker.finish();
        self.findings.extend(facts.findings.iter().cloned());
        self.index = Some(facts);
    }

    /// A large component: handed on slice by slice, and checked as far as it can be in passing.
    fn stream(&mut self, component: &Component, length: u64, sink: &mut dyn Sink) -> anyhow::Result<()> {
        let mut reader = Reader::open(&self.files.path(component), self.buffers)?;
        let mut walker = (*component == Component::Index && self.can_judge()).then(|| self.index_walker(length));
        let mut footer = (matches!(component, Component::Sai(_)) && self.can_judge()).then(FooterCheck::default);
        sink.begin(component, reader.length())?;
        while let Some(slice) = reader.next_slice()? {
            self.bytes += slice.len() as u64;
            if let Some(footer) = &mut footer {
                footer.push(&slice);
            }
            if let Some(walker) = &mut walker {
                walker.push(&slice);
            }
            sink.slice(slice)?;
        }
        if let Some(walker) = walker {
            self.index_walked(walker);
        }
        if let Some(Err(error)) = footer.map(FooterCheck::finish) {
            self.found(component, error, true);
        }
        if self.can_judge() {
            let file = File::open(self.files.path(component))?;
            self.look_into(component, ComponentSource::File(file, length))?;
        }
        Ok(())
    }

    /// How `Data.db` is cut into chunks, by what is known of the other components.
    fn chunks(&self) -> Chunks<&ComponentSource> {
        match (&self.compression_info, &self.crc) {
            (Some((info, source)), _) => Chunks::Compressed(info.clone(), source),
            (None, Some((crc, source))) => Chunks::Plain(*crc, source),
            (None, None) => Chunks::Unknown,
        }
    }

    /// True if `Data.db` is compressed and what tells where its chunks are is missing or cannot be read.
    fn lacks_chunks(&self) -> bool {
        let is_listed = self.toc.as_ref().is_some_and(|toc| toc.contains(&Component::CompressionInfo));
        let is_compressed = is_listed || self.files.lengths.contains_key(&Component::CompressionInfo);
        is_compressed && self.compression_info.is_none()
    }

    fn verifier(&self, length: u64) -> DataVerifier<&ComponentSource> {
        let digest = if self.can_judge() { self.digest } else { None };
        DataVerifier::new(self.chunks(), length, digest)
    }

    fn data(&mut self, length: u64, held: bool, sink: &mut dyn Sink) -> anyhow::Result<()> {
        let mut verifier = self.verifier(length);
        if held {
            let bytes = Reader::open(&self.files.path(&Component::Data), self.buffers)?.read_whole()?;
            verifier.push(&bytes)?;
            sink.whole(&Component::Data, &bytes)?;
        } else {
            let mut reader = Reader::open(&self.files.path(&Component::Data), self.buffers)?;
            sink.begin(&Component::Data, reader.length())?;
            while let Some(slice) = reader.next_slice()? {
                verifier.push(&slice)?;
                sink.slice(slice)?;
            }
        }
        let report = verifier.finish()?;
        self.data_checked(report);
        Ok(())
    }

    fn data_checked(&mut self, report: DataReport) {
        self.bytes += report.length;
        self.data_crc = Some(report.crc);
        self.findings_dropped += report.findings_dropped;
        self.first_chunk = report.first_chunk;
        if self.can_judge() {
            self.findings.extend(report.findings);
        }
    }

    /// Checks `Data.db` while its rows are walked.
    fn rows(&mut self, length: u64, sources: &BTreeMap<Component, ComponentSource>) -> anyhow::Result<()> {
        let tap = Tap::open(&self.files.path(&Component::Data), self.buffers, self.verifier(length))?;
        let report = match &self.statistics {
            Some(_) if self.can_judge() && self.lacks_chunks() => RowsReport {
                not_checked: vec!["rows: without CompressionInfo.db nobody knows where their chunks are".to_owned()],
                ..RowsReport::default()
            },
            Some(statistics) if self.can_judge() => {
                let source = |component| sources.get(component).map(|source| source as &dyn Source);
                let primary = match self.files.descriptor.format {
                    Format::Big => source(&Component::Index).map(Primary::Big),
                    Format::Bti => source(&Component::Partitions)
                        .and_then(|partitions| Some(Primary::Bti(partitions, source(&Component::Rows)?))),
                };
                rows::verify(rows::Files {
                    version: self.files.descriptor.version,
                    statistics,
                    data: &tap,
                    chunks: match self.chunks() {
                        Chunks::Compressed(info, source) => Chunks::Compressed(info, source as &dyn Source),
                        Chunks::Plain(crc, source) => Chunks::Plain(crc, source),
                        // Without the file that says how it is cut, compressed data cannot be told from plain.
                        Chunks::Unknown => Chunks::Unknown,
                    },
                    primary: primary.unwrap_or(Primary::Missing),
                    filter: source(&Component::Filter),
                    summary: source(&Component::Summary),
                })?
            }
            Some(_) => {
                RowsReport { not_checked: vec!["rows: the version is not known".to_owned()], ..RowsReport::default() }
            }
            None => RowsReport {
                not_checked: vec!["rows: without Statistics.db nobody knows what they are made of".to_owned()],
                ..RowsReport::default()
            },
        };
        let data = tap.finish()?;
        self.data_checked(data);
        let RowsReport { partitions, rows, cells, findings, findings_dropped, not_checked, .. } = report;
        self.findings_dropped += findings_dropped.damage + findings_dropped.warnings;
        for finding in findings {
            // What is wrong with a chunk or with a whole file is met by both.
            let is_known = self.findings.iter().any(|known| {
                (&known.component, known.offset, &known.what) == (&finding.component, finding.offset, &finding.what)
            });
            if !is_known {
                self.findings.push(finding);
            }
        }
        self.rows = Some(RowsSeen { partitions, rows, cells, not_checked });
        Ok(())
    }

    fn finish(mut self) -> Inspection {
        let mut facts = SetFacts::new(self.files.descriptor, self.files.lengths.clone());
        facts.toc = self.toc.as_ref();
        facts.statistics = self.statistics.as_ref();
        facts.compression_info = self.compression_info.as_ref().map(|(info, _)| info);
        facts.crc = self
            .crc
            .as_ref()
            .map(|(crc, _)| CrcFacts { chunk_length: crc.chunk_length.into(), chunk_count: crc.checksum_count });
        facts.index = self.index.as_ref();
        facts.summary = self.summary.as_ref();
        facts.partitions = self.partitions.as_ref();
        facts.first_chunk = self.first_chunk.as_deref();
        for finding in set::check(&facts) {
            // The length of CRC.db is met from both sides.
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        let Self { findings, findings_dropped, data_crc, bytes, statistics, rows, .. } = self;
        Inspection { findings, findings_dropped, data_crc, bytes, statistics, rows }
    }
}
