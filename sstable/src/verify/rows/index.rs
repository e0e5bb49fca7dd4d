//! The primary index beside the data: an entry for each partition, a partition for each entry, in step.

use std::io;
use std::sync::Arc;

use crate::big::index::{Entries, IndexEntry};
use crate::big::row_index::Blocks;
use crate::big::summary::Samples;
use crate::bti::byte_comparable;
use crate::bti::partitions::{PartitionEntries, PartitionEntry, PartitionIndex, Target};
use crate::bti::rows::{BlockStarts, RowsEntry};
use crate::component::Component;
use crate::cql::row::{DeletionTime, SerializationHeader};
use crate::cql::wire::hex;
use crate::lookup::RowIndexAt;
use crate::partitioner::{KeyHash, Partitioner};
use crate::source::Source;
use crate::verify::report::{Finding, Findings};
use crate::version::Version;
use crate::window::ReadError;

use super::Primary;
use super::blocks::BlockWalk;

/// The files of the primary index, open.
pub(super) enum Opened<'a> {
    Big(&'a dyn Source),
    Bti(PartitionIndex<&'a dyn Source>, &'a dyn Source),
    Missing,
}

impl<'a> Opened<'a> {
    pub(super) fn open(primary: Primary<'a>, findings: &mut Findings) -> io::Result<Self> {
        Ok(match primary {
            Primary::Missing => Self::Missing,
            Primary::Big(index) => Self::Big(index),
            Primary::Bti(partitions, rows) => match PartitionIndex::open(partitions) {
                Ok(partitions) => Self::Bti(partitions, rows),
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::Format(error)) => {
                    findings.add(Finding::from_error(Component::Partitions, error));
                    Self::Missing
                }
            },
        })
    }
}

/// An entry of the primary index, of either format.
struct Entry {
    /// Where it is in its file.
    offset: u64,
    position: u64,
    key: Option<Vec<u8>>,
    /// What a trie knows of the key.
    prefix: Option<(Vec<u8>, Option<u8>)>,
    row_index: RowIndexAt,
}

/// Goes through the primary index, and through the summary beside it.
pub(super) struct IndexWalk<'a> {
    files: Walked<'a>,
    version: Version,
    /// Which file the entries are in.
    component: Component,
    next: Option<Entry>,
    /// Position in `Data.db` of the entry that was read last.
    previous: Option<u64>,
    samples: Option<SampleWalk<'a>>,
}

enum Walked<'a> {
    Big(Entries<&'a dyn Source>, &'a dyn Source),
    Bti(PartitionEntries<'a, &'a dyn Source>, &'a dyn Source, u64),
    Missing,
}

struct SampleWalk<'a> {
    samples: Samples<&'a dyn Source>,
    number: u64,
}

impl<'a> IndexWalk<'a> {
    pub(super) fn new(
        opened: &'a Opened<'a>,
        summary: Option<&'a dyn Source>,
        version: Version,
        findings: &mut Findings,
    ) -> io::Result<Self> {
        let (files, component) = match opened {
            Opened::Missing => (Walked::Missing, Component::Index),
            Opened::Big(index) => (Walked::Big(Entries::new(*index, 0), *index), Component::Index),
            Opened::Bti(partitions, rows) => match partitions.entries() {
                Ok(entries) => {
                    (Walked::Bti(entries, *rows, partitions.footer().partition_count), Component::Partitions)
                }
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::Format(error)) => {
                    findings.add(Finding::from_error(Component::Partitions, error));
                    (Walked::Missing, Component::Partitions)
                }
            },
        };
        let samples = match summary.map(Samples::open).transpose() {
            Ok(samples) => samples.map(|samples| SampleWalk { samples, number: 0 }),
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Format(error)) => {
                findings.add(Finding::from_error(Component::Summary, error).as_warning());
                None
            }
        };
        let mut walk = Self { files, version, component, next: None, previous: None, samples };
        walk.advance(findings)?;
        Ok(walk)
    }

    /// True as long as it can be read.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.files, Walked::Missing)
    }

    /// Reads the next entry.
    fn advance(&mut self, findings: &mut Findings) -> io::Result<()> {
        self.next = match self.read() {
            Ok(entry) => entry,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Format(error)) => {
                let component = Component::parse(&error.component);
                findings.add(Finding::from_error(component, error));
                self.files = Walked::Missing;
                None
            }
        };
        if let Some(entry) = &self.next {
            self.check_sample(entry.offset, entry.key.clone().unwrap_or_default(), findings)?;
        }
        Ok(())
    }

    /// The next entry. Positions ascend: the nodes of a trie that is damaged may be shared by more entries than could
    /// ever be walked.
    fn read(&mut self) -> Result<Option<Entry>, ReadError> {
        let Some(entry) = self.read_any()? else { return Ok(None) };
        if let Some(previous) = self.previous.replace(entry.position)
            && entry.position <= previous
        {
            let expected = format_args!("more than {previous}");
            let error = crate::Error::corrupt(entry.offset, "position of an index entry", expected, entry.position);
            return Err(error.in_component(self.component.clone()).into());
        }
        Ok(Some(entry))
    }

    fn read_any(&mut self) -> Result<Option<Entry>, ReadError> {
        Ok(match &mut self.files {
            Walked::Missing => None,
            Walked::Big(entries, _) => entries.next().transpose()?.map(|entry| {
                let IndexEntry { offset, key, position, row_index } = entry;
                let row_index = if row_index.is_empty() { RowIndexAt::None } else { RowIndexAt::Big(row_index) };
                Entry { offset, position, key: Some(key), prefix: None, row_index }
            }),
            Walked::Bti(entries, rows, left) => {
                if *left == 0 {
                    return match entries.next().transpose()? {
                        None => Ok(None),
                        Some(entry) => {
                            let error =
                                crate::Error::corrupt(entry.offset, "number of partitions", "the end", "more of them");
                            Err(error.in_component(Component::Partitions).into())
                        }
                    };
                }
                match entries.next().transpose()? {
                    None => None,
                    Some(PartitionEntry { prefix, offset, hash, target }) => {
                        *left -= 1;
                        let (position, key, row_index) = match target {
                            Target::Data(position) => (position, None, RowIndexAt::None),
                            Target::Rows(at) => {
                                let entry = RowsEntry::read(*rows, at)?;
                                (entry.position, Some(entry.key.clone()), RowIndexAt::Bti(entry))
                            }
                        };
                        Some(Entry { offset, position, key, prefix: Some((prefix, hash)), row_index })
                    }
                }
            }
        })
    }

    /// Samples lead to entries with their key. Whatever is wrong with them, Cassandra makes them anew.
    fn check_sample(&mut self, offset: u64, key: Vec<u8>, findings: &mut Findings) -> io::Result<()> {
        let Some(walk) = &mut self.samples else { return Ok(()) };
        if walk.number >= walk.samples.count() {
            return Ok(());
        }
        let sample = match walk.samples.get(walk.number) {
            Ok(sample) => sample,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Format(error)) => {
                findings.add(Finding::from_error(Component::Summary, error).as_warning());
                self.samples = None;
                return Ok(());
            }
        };
        if sample.index_position > offset {
            return Ok(());
        }
        walk.number += 1;
        if sample.index_position < offset || sample.key != key {
            let expected = format_args!("{} at {offset} as in Index.db", hex(&key));
            let got = format_args!("{} at {}", hex(&sample.key), sample.index_position);
            findings.add(Finding::damage(Component::Summary, None, "sample of the index", expected, got).as_warning());
            self.samples = None;
        }
        Ok(())
    }

    /// A partition was found in the data. Its entry should be the next one; where that says its row index is.
    pub(super) fn meet(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        position: u64,
        partitioner: Option<&Partitioner>,
        findings: &mut Findings,
    ) -> io::Result<RowIndexAt> {
        while let Some(entry) = &self.next
            && entry.position < position
        {
            self.report_stray(findings);
            self.advance(findings)?;
        }
        let Some(entry) = self.next.take_if(|entry| entry.position == position) else {
            if self.is_there() {
                let got = self
                    .next
                    .as_ref()
                    .map_or("none".to_owned(), |entry| format!("the next one is of {}", entry.position));
                let expected = format!("one of the partition at {position}");
                findings
                    .add(Finding::damage(self.component.clone(), None, "index entry", expected, got).in_partition(key));
            }
            return Ok(RowIndexAt::None);
        };
        self.check_key(&entry, key, hash, partitioner, findings);
        self.advance(findings)?;
        Ok(entry.row_index)
    }

    fn check_key(
        &self,
        entry: &Entry,
        key: &[u8],
        hash: KeyHash,
        partitioner: Option<&Partitioner>,
        findings: &mut Findings,
    ) {
        let mut damage = |what, expected: String, got: &[u8]| {
            findings.add_here(Finding::damage(self.component.clone(), entry.offset, what, expected, hex(got)));
        };
        if let Some(found) = entry.key.as_deref().filter(|found| *found != key) {
            damage("key of an index entry", format!("{} as in Data.db", hex(key)), found);
        }
        let Some((prefix, noted)) = &entry.prefix else { return };
        if let Some(noted) = noted.filter(|noted| *noted != hash.low_byte()) {
            damage("hash of a key", hex(&[hash.low_byte()]), &[noted]);
        }
        let whole = partitioner
            .and_then(|partitioner| byte_comparable::partition_key(partitioner, partitioner.token_of(key, hash), key));
        if let Some(whole) = whole.filter(|whole| !whole.starts_with(prefix)) {
            damage("key in the trie", format!("the start of {}", hex(&whole)), prefix);
        }
    }

    #[cold]
    fn report_stray(&self, findings: &mut Findings) {
        let Some(entry) = &self.next else { return };
        let what = "position of an index entry";
        let expected = "the start of a partition in Data.db";
        let finding = Finding::damage(self.component.clone(), entry.offset, what, expected, entry.position);
        findings.add(match &entry.key {
            Some(key) => finding.in_partition(key),
            None => finding,
        });
    }

    /// Where the first partition behind a place starts, for a walk that has to skip damage.
    pub(super) fn next_position_after(&mut self, position: u64, findings: &mut Findings) -> io::Result<Option<u64>> {
        while let Some(entry) = &self.next
            && entry.position <= position
        {
            self.advance(findings)?;
        }
        Ok(self.next.as_ref().map(|entry| entry.position))
    }

    /// The blocks of a partition, whose deletion the index knows, too.
    pub(super) fn blocks(
        &self,
        row_index: RowIndexAt,
        deletion: DeletionTime,
        header: &Arc<SerializationHeader>,
        findings: &mut Findings,
    ) -> io::Result<Option<BlockWalk<'a>>> {
        let opened = match (row_index, &self.files) {
            (RowIndexAt::Big(range), Walked::Big(_, index)) => {
                Blocks::open(*index, range, self.version).map(|blocks| BlockWalk::big(blocks, header.clone()))
            }
            (RowIndexAt::Bti(entry), Walked::Bti(_, rows, _)) => {
                BlockStarts::open(*rows, &entry).map(|starts| BlockWalk::bti(starts, &entry, header.clone()))
            }
            _ => return Ok(None),
        };
        match opened {
            Ok(blocks) => {
                blocks.check_deletion(deletion, findings);
                Ok(Some(blocks))
            }
            Err(ReadError::Io(error)) => Err(error),
            Err(ReadError::Format(error)) => {
                findings.add_here(Finding::from_error(Component::parse(&error.component), error));
                Ok(None)
            }
        }
    }

    /// All partitions were met: there are no entries left.
    pub(super) fn finish(&mut self, findings: &mut Findings) -> io::Result<()> {
        while self.next.is_some() {
            self.report_stray(findings);
            self.advance(findings)?;
        }
        if let Walked::Bti(_, _, left @ 1..) = self.files {
            let expected = "as many as the end of the file says";
            findings.add(Finding::damage(
                Component::Partitions,
                None,
                "number of partitions",
                expected,
                format_args!("{left} fewer"),
            ));
        }
        if let Some(walk) = self.samples.as_ref().filter(|walk| self.is_there() && walk.number < walk.samples.count()) {
            let got = walk.samples.count();
            findings.add(Finding::damage(Component::Summary, None, "samples", walk.number, got).as_warning());
        }
        Ok(())
    }
}
