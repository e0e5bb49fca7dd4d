//! An SSTable whose components are read at will: on this machine, or in a backup ([`stored`]).
//!
//! This is for those who look into one (`dump`, `get`, `metadata`). Those who read each byte once have
//! [`crate::inspect`].

pub mod stored;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use helenus_sstable::chunks::Chunks;
use helenus_sstable::component::Component;
use helenus_sstable::compression_info::CompressionInfo;
use helenus_sstable::cql::row::SerializationHeader;
use helenus_sstable::crc::CrcFile;
use helenus_sstable::descriptor::Descriptor;
use helenus_sstable::lookup::PrimaryIndex;
use helenus_sstable::partitioner::Partitioner;
use helenus_sstable::scan::Scan;
use helenus_sstable::source::Source;
use helenus_sstable::statistics::Statistics;
use helenus_sstable::verify::report::Finding;
use helenus_sstable::verify::rows::{self as verify, Primary, RowsReport};
use helenus_sstable::version::Format;
use helenus_sstable::window::ReadError;
use helenus_sstable::{Error, error};

use crate::inspect::SSTableFiles;
use crate::inspect::reader::ComponentSource;

/// Components that are read whole: statistics, digests, lists. Those that we know take kilobytes.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// The bytes of a component.
pub type Bytes = Box<dyn Source + Send + Sync>;

/// An SSTable and where it lies.
#[derive(Debug, Clone)]
pub struct SSTable {
    /// What its files' names begin with.
    pub descriptor: Descriptor,
    /// Components and their lengths.
    pub lengths: BTreeMap<Component, u64>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Directory(PathBuf),
    Backup(Arc<stored::Stored>),
}

impl From<SSTableFiles> for SSTable {
    fn from(files: SSTableFiles) -> Self {
        let SSTableFiles { directory, descriptor, lengths } = files;
        Self { descriptor, lengths, place: Place::Directory(directory) }
    }
}

impl std::fmt::Display for SSTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Directory(directory) => write!(f, "{}", directory.join(self.descriptor.to_string()).display()),
            Place::Backup(stored) => write!(f, "{}/{}", stored.table(), self.descriptor),
        }
    }
}

impl SSTable {
    /// One of a backup.
    pub fn stored(descriptor: Descriptor, stored: stored::Stored) -> Self {
        Self { descriptor, lengths: stored.lengths(), place: Place::Backup(Arc::new(stored)) }
    }

    /// Name of a component's file, with all that tells where it lies.
    pub fn file(&self, component: &Component) -> String {
        format!("{self}-{component}")
    }

    /// True if it belongs to a built-in secondary index, whose directory is named `.<index>`.
    pub fn is_of_index(&self) -> bool {
        match &self.place {
            Place::Directory(directory) => {
                directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.') && name.len() > 2)
            }
            Place::Backup(stored) => stored.is_of_index(),
        }
    }

    /// Opens a component; every call gives a source of its own.
    pub fn open(&self, component: &Component) -> io::Result<Bytes> {
        let opened = match &self.place {
            Place::Directory(directory) => {
                let path = directory.join(self.descriptor.file_name(component));
                open_file(&path).map(|source| Box::new(source) as Bytes)
            }
            Place::Backup(stored) => stored.open(component).map(|source| Box::new(source) as Bytes),
        };
        opened.map_err(|error| io::Error::new(error.kind(), format!("{component}: {error}")))
    }

    /// A component as a whole.
    pub fn read(&self, component: &Component) -> io::Result<Vec<u8>> {
        let source = self.open(component)?;
        if source.len() > WHOLE_BYTES_MAX {
            let text = format!("{} bytes, expected at most {WHOLE_BYTES_MAX}", source.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = vec![0; usize::try_from(source.len()).unwrap_or_default()];
        source.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// `Statistics.db`.
    pub fn statistics(&self) -> Result<Statistics, ReadError> {
        let version = self.descriptor.version;
        if !version.is_parsable() {
            return Err(Error::unsupported(0, "version", "ma to me, na to nc, oa or da", version).into());
        }
        let parsed = Statistics::parse(&self.read(&Component::Statistics)?, version);
        parsed.map_err(|error| error.in_component(Component::Statistics).into())
    }

    /// Walks every partition and row, and compares the indexes, the filter and the statistics with them. The bytes
    /// themselves are taken to be proven.
    pub fn verify_rows(&self) -> io::Result<RowsReport> {
        let statistics = match self.statistics() {
            Ok(statistics) => statistics,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Format(error)) => {
                let not_checked = vec![format!("rows: {error}")];
                return Ok(RowsReport { not_checked, ..RowsReport::default() });
            }
        };
        let open =
            |component: Component| self.lengths.contains_key(&component).then(|| self.open(&component)).transpose();
        let [data, index, partitions, rows] =
            [Component::Data, Component::Index, Component::Partitions, Component::Rows].map(open);
        let [filter, summary, info, crc] =
            [Component::Filter, Component::Summary, Component::CompressionInfo, Component::Crc].map(open);
        let (data, index, partitions, rows) = (data?, index?, partitions?, rows?);
        let (filter, summary, info, crc) = (filter?, summary?, info?, crc?);
        fn source(bytes: &Option<Bytes>) -> Option<&dyn Source> {
            bytes.as_ref().map(|bytes| bytes.as_ref() as &dyn Source)
        }
        let Some(data) = source(&data) else { return Err(io::ErrorKind::NotFound.into()) };
        let chunks = match (source(&info), source(&crc)) {
            (Some(source), _) => match CompressionInfo::parse(self.descriptor.version, source) {
                Ok(info) => Ok(Chunks::Compressed(info, source)),
                Err(error) => Err(error.in_component(Component::CompressionInfo)),
            },
            (None, Some(source)) => match CrcFile::parse(source) {
                Ok(crc) => Ok(Chunks::Plain(crc, source)),
                Err(error) => Err(error.in_component(Component::Crc)),
            },
            (None, None) => Ok(Chunks::Unknown),
        };
        let chunks = match chunks {
            Ok(chunks) => chunks,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Format(error)) => {
                let findings = vec![Finding::from_error(Component::parse(&error.component), error)];
                return Ok(RowsReport { findings, ..RowsReport::default() });
            }
        };
        let primary = match (source(&index), source(&partitions), source(&rows)) {
            (Some(index), ..) => Primary::Big(index),
            (None, Some(partitions), Some(rows)) => Primary::Bti(partitions, rows),
            _ => Primary::Missing,
        };
        let version = self.descriptor.version;
        let (filter, summary) = (source(&filter), source(&summary));
        verify::verify(verify::Files { version, statistics: &statistics, data, chunks, primary, filter, summary })
    }

    /// Its rows.
    pub fn rows(&self) -> Result<Rows, ReadError> {
        let statistics = self.statistics()?;
        let missing = || Error::corrupt(0, "part HEADER", "one", "none").in_component(Component::Statistics);
        let header = statistics.header.as_ref().ok_or_else(missing)?;
        let in_statistics = |error: error::Error| error.in_component(Component::Statistics);
        let header = SerializationHeader::new(header, self.descriptor.version).map_err(in_statistics)?;
        Ok(Rows { sstable: self.clone(), header: Arc::new(header), statistics })
    }
}

fn open_file(path: &Path) -> io::Result<ComponentSource> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    let length = file.metadata()?.len();
    Ok(ComponentSource::File(file, length))
}

/// An SSTable whose rows can be read.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Where it is.
    pub sstable: SSTable,
    /// Types and columns.
    pub header: Arc<SerializationHeader>,
    /// `Statistics.db`.
    pub statistics: Statistics,
}

impl Rows {
    /// A reader of `Data.db`, at its start.
    pub fn scan(&self) -> Result<Scan<Bytes>, ReadError> {
        let sstable = &self.sstable;
        let version = sstable.descriptor.version;
        let has = |component| sstable.lengths.contains_key(component);
        let chunks = if has(&Component::CompressionInfo) {
            let source = sstable.open(&Component::CompressionInfo)?;
            let info = CompressionInfo::parse(version, source.as_ref())
                .map_err(|error| error.in_component(Component::CompressionInfo))?;
            Chunks::Compressed(info, source)
        } else if has(&Component::Crc) {
            let source = sstable.open(&Component::Crc)?;
            let crc = CrcFile::parse(source.as_ref()).map_err(|error| error.in_component(Component::Crc))?;
            Chunks::Plain(crc, source)
        } else {
            Chunks::Unknown
        };
        Ok(Scan::new(Arc::clone(&self.header), version, sstable.open(&Component::Data)?, chunks)?)
    }

    /// The partitioner, if it is known.
    pub fn partitioner(&self) -> Option<Partitioner> {
        let validation = self.statistics.validation.as_ref()?;
        Partitioner::from_class(&validation.partitioner, &self.header.partition_key)
    }

    /// The index of the partitions. It has no checksum: what it says is for the caller to doubt.
    pub fn index(&self) -> Result<PrimaryIndex<Bytes>, ReadError> {
        let sstable = &self.sstable;
        let unknown = || Error::unsupported(0, "partitioner", "one of Cassandra's own", self.partitioner_class());
        let partitioner = self.partitioner().ok_or_else(unknown)?;
        match sstable.descriptor.format {
            Format::Big => {
                let has_summary = sstable.lengths.contains_key(&Component::Summary);
                let summary = if has_summary { Some(sstable.open(&Component::Summary)?) } else { None };
                PrimaryIndex::big(partitioner, sstable.open(&Component::Index)?, summary)
            }
            Format::Bti => {
                PrimaryIndex::bti(partitioner, sstable.open(&Component::Partitions)?, sstable.open(&Component::Rows)?)
            }
        }
    }

    fn partitioner_class(&self) -> &str {
        self.statistics.validation.as_ref().map_or("none", |validation| &validation.partitioner)
    }
}
