//! The row index of one partition beside its rows.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use crate::big::row_index::{Block, Blocks};
use crate::bti::rows::{BlockStart, BlockStarts, RowsEntry};
use crate::component::Component;
use crate::cql::order::Place;
use crate::cql::row::{DeletionTime, SerializationHeader};
use crate::cql::wire::hex;
use crate::error::Error;
use crate::source::Source;
use crate::verify::report::{Finding, Findings};
use crate::window::ReadError;

use super::partition::Progress;

/// Goes through the blocks of a partition as its rows go past.
pub(super) struct BlockWalk<'a> {
    files: Walked<'a>,
    /// Of the partition, as the index has it.
    deletion: DeletionTime,
    /// Where the index starts, for findings about all of it.
    offset: u64,
    /// The block that the rows are in.
    current: Option<Current>,
    /// The block that comes next.
    next: Option<Current>,
    /// Blocks that have been read.
    count: u64,
    has_begun: bool,
    header: Arc<SerializationHeader>,
}

enum Walked<'a> {
    Big(Blocks<&'a dyn Source>),
    Bti(BlockStarts<&'a dyn Source>, u64),
    /// An error was found: nothing more is compared.
    Lost,
}

/// What is known of one block.
struct Current {
    /// In the index.
    at: u64,
    /// In the partition.
    offset: u64,
    big: Option<Block>,
    /// The deletion that is open at its start, where the index says so.
    open_at_start: Option<DeletionTime>,
}

impl<'a> BlockWalk<'a> {
    pub(super) fn big(blocks: Blocks<&'a dyn Source>, header: Arc<SerializationHeader>) -> Self {
        let (deletion, offset) = (blocks.head().deletion, blocks.position());
        Self::new(Walked::Big(blocks), deletion, offset, header)
    }

    pub(super) fn bti(
        starts: BlockStarts<&'a dyn Source>,
        entry: &RowsEntry,
        header: Arc<SerializationHeader>,
    ) -> Self {
        Self::new(Walked::Bti(starts, entry.block_count), entry.deletion, entry.offset, header)
    }

    fn new(files: Walked<'a>, deletion: DeletionTime, offset: u64, header: Arc<SerializationHeader>) -> Self {
        Self { files, deletion, offset, current: None, next: None, count: 0, has_begun: false, header }
    }

    fn component(&self) -> Component {
        if matches!(self.files, Walked::Bti(..)) { Component::Rows } else { Component::Index }
    }

    /// The index repeats the deletion of the partition.
    pub(super) fn check_deletion(&self, deletion: DeletionTime, findings: &mut Findings) {
        if deletion != self.deletion {
            let [expected, got] = [deletion, self.deletion].map(|deletion| show(Some(deletion)));
            self.damage(self.offset, "deletion of a partition", expected, got, findings);
        }
    }

    /// Reads the next block; the end of a `bti` partition is one, too.
    fn advance(&mut self, findings: &mut Findings) -> io::Result<()> {
        self.current = self.next.take();
        let read = match &mut self.files {
            Walked::Lost => Ok(None),
            Walked::Big(blocks) => {
                let at = blocks.position();
                blocks.next(&self.header.clustering).map(|block| {
                    block.map(|block| Current { at, offset: block.offset, open_at_start: None, big: Some(block) })
                })
            }
            Walked::Bti(starts, block_count) => match starts.next().transpose() {
                // The end of the partition is the last one.
                Ok(Some(start)) if self.count > *block_count => {
                    let error = Error::corrupt(start.node, "number of blocks", *block_count, "more");
                    Err(error.in_component(Component::Rows).into())
                }
                Ok(start) => Ok(start.map(|start| {
                    let BlockStart { node, offset, open, .. } = start;
                    Current { at: node, offset, big: None, open_at_start: open }
                })),
                Err(error) => Err(error),
            },
        };
        match read {
            Ok(next) => {
                self.count += u64::from(next.is_some());
                self.next = next;
                Ok(())
            }
            Err(ReadError::Io(error)) => Err(error),
            Err(ReadError::Format(error)) => {
                findings.add_here(Finding::from_error(Component::parse(&error.component), error));
                self.files = Walked::Lost;
                Ok(())
            }
        }
    }

    #[cold]
    fn damage(&self, at: u64, what: &str, expected: impl Display, got: impl Display, findings: &mut Findings) {
        findings.add_here(Finding::damage(self.component(), at, what, expected, got));
    }

    /// A row or a marker starts at `offset` in the partition, after what `progress` says.
    pub(super) fn meet(
        &mut self,
        offset: u64,
        place: Place<'_>,
        progress: &Progress,
        findings: &mut Findings,
    ) -> io::Result<()> {
        if !self.has_begun {
            self.has_begun = true;
            self.advance(findings)?;
            if let Some(first) = &self.next
                && first.offset != offset
            {
                let (at, got) = (first.at, first.offset);
                self.damage(at, "offset of the first block", offset, got, findings);
            }
            if let Walked::Big(blocks) = &self.files
                && blocks.head().header_length != offset
            {
                let got = blocks.head().header_length;
                self.damage(self.offset, "length of a partition's head", offset, got, findings);
            }
        }
        let Some(next) = &self.next else { return Ok(()) };
        if offset < next.offset {
            return Ok(());
        }
        if offset > next.offset {
            let (at, got) = (next.at, next.offset);
            self.damage(at, "offset of a block", "the start of a row", got, findings);
            self.files = Walked::Lost;
            self.next = None;
            self.current = None;
            return Ok(());
        }
        self.end_block(offset, progress, findings);
        self.advance(findings)?;
        let Some(begun) = &self.current else { return Ok(()) };
        let at = begun.at;
        if let Some(block) = &begun.big {
            let is_first = block.first.bound == place.bound && block.first.stored == place.clustering.stored();
            if !is_first {
                let got = hex(&block.first.stored);
                self.damage(at, "first clustering of a block", hex(place.clustering.stored()), got, findings);
            }
        } else if begun.open_at_start != progress.open {
            let got = begun.open_at_start;
            self.damage(at, "range open at the start of a block", show(progress.open), show(got), findings);
        }
        Ok(())
    }

    /// The rows of the current block are over at `end`.
    fn end_block(&mut self, end: u64, progress: &Progress, findings: &mut Findings) {
        let Some(Current { at, big: Some(block), .. }) = self.current.take() else { return };
        if block.offset.saturating_add(block.width) != end {
            self.damage(at, "width of a block", end.saturating_sub(block.offset), block.width, findings);
        }
        if progress.last.as_ref() != Some(&block.last) {
            let expected = progress.last.as_ref().map(|last| hex(&last.stored)).unwrap_or_default();
            self.damage(at, "last clustering of a block", expected, hex(&block.last.stored), findings);
        }
        if block.open != progress.open {
            self.damage(at, "range open at the end of a block", show(progress.open), show(block.open), findings);
        }
    }

    /// The partition ended at `end`, with its end marker.
    pub(super) fn finish(mut self, end: u64, progress: &Progress, findings: &mut Findings) -> io::Result<()> {
        let end_marker = end.saturating_sub(1);
        match &self.files {
            Walked::Lost => return Ok(()),
            Walked::Big(_) => {
                // The end marker belongs to the last block, unless the last row had filled it.
                let is_without_marker = self
                    .current
                    .as_ref()
                    .and_then(|current| current.big.as_ref())
                    .is_some_and(|block| block.offset.saturating_add(block.width) == end_marker);
                let block_end = if is_without_marker { end_marker } else { end };
                self.end_block(block_end, progress, findings);
            }
            Walked::Bti(_, block_count) => {
                let block_count = *block_count;
                if let Some(next) = &self.next
                    && next.offset == end_marker
                {
                    self.advance(findings)?;
                } else {
                    let got = self.next.as_ref().map_or("none".to_owned(), |next| next.offset.to_string());
                    self.damage(self.offset, "end of a partition", end_marker, got, findings);
                    return Ok(());
                }
                if self.count.checked_sub(1) != Some(block_count) {
                    self.damage(self.offset, "number of blocks", block_count, self.count.saturating_sub(1), findings);
                }
            }
        }
        if let Some(next) = self.next.take() {
            self.damage(next.at, "offset of a block", "the start of a row", next.offset, findings);
        }
        Ok(())
    }
}

fn show(open: Option<DeletionTime>) -> String {
    open.map_or("none".to_owned(), |open| format!("one of {}", open.marked_for_delete_at))
}
