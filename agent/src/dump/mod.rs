//! The rows of an SSTable as text, on all cores and in order.
//!
//! ```text
//! index ─► ranges of partitions ─┬─► thread: read, decode, format ─► pieces ─┐
//!                                └─► thread: read, decode, format ─► pieces ─┴─► in the order of the ranges ─► out
//! ```
//!
//! The index has no checksum, so it is trusted for nothing but speed: a range whose first partition does not start where
//! the one before has ended is thrown away, and all from there on is read in one go. A range is some hundred kilobytes
//! of rows; one that holds a single huge partition passes through in pieces, so memory does not grow with it.

mod csv;
mod internal;
mod json;
mod long_value;
mod lookup;
mod output;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use helenus_sstable::Error;
use helenus_sstable::cql::value;
use helenus_sstable::scan::{Partition, Scan};
use helenus_sstable::window::ReadError;

pub use json::Times;
use output::{Output, Stop};

use crate::sstable::{Bytes, Rows};

/// Uncompressed bytes of rows in a range.
const RANGE_BYTES: u64 = 128 << 10;
/// Pieces of a range that wait to be written, before its thread waits too.
const PIECES_MAX: usize = 6;

/// The form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An array of partitions, laid out in lines.
    Json,
    /// One partition on a line.
    JsonLines,
    /// One thing that was written or deleted on a line.
    Csv,
    /// Cassandra's own `toString`, one row on a line.
    Internal,
}

/// What to show of an SSTable.
#[derive(Debug, Clone)]
pub struct Request {
    /// In which form.
    pub form: Form,
    /// The keys alone.
    pub keys_only: bool,
    /// Partitions to show, as stored; all if empty. Those that are not there are no error.
    pub keys: Vec<Vec<u8>>,
    /// Partitions to leave out, as they are printed.
    pub excluded: BTreeSet<Vec<u8>>,
    /// How times are written.
    pub times: Times,
    /// Names the SSTable in what is printed, where there are several.
    pub name: Option<String>,
    /// Go on behind damage, where the index knows the next partition.
    pub skip_damaged: bool,
    /// Threads to format with.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Dumped {
    /// Partitions that were printed, those with damage among them.
    pub partitions: u64,
    /// What could not be read: each with where reading went on, if it did.
    pub damage: Vec<(ReadError, Option<u64>)>,
    /// Why the index was of no use.
    pub index: Option<ReadError>,
    /// Positions of partitions whose deletion Cassandra cannot read.
    pub misread_deletions: Vec<u64>,
    /// True if the reader of the text has gone.
    pub is_closed: bool,
}

/// Partitions that are read one after the other.
#[derive(Debug)]
struct Range {
    /// Where partitions start, as the index has it; at least one.
    starts: Vec<u64>,
    /// Where the next range starts.
    end: u64,
}

enum Message {
    Text(Vec<u8>),
    Damage(ReadError, Option<u64>),
    /// The end of a range: where reading ended, unless that was because of damage.
    End {
        position: Option<u64>,
        partitions: u64,
        misread_deletions: Vec<u64>,
    },
}

/// The beginning of a document of this form.
pub fn head(request: &Request) -> &'static [u8] {
    match request.form {
        _ if request.keys_only => b"[",
        Form::Json => b"[",
        Form::Csv => csv::HEADER,
        Form::JsonLines | Form::Internal => b"",
    }
}

/// Its end.
pub fn tail(request: &Request, partitions: u64) -> &'static [u8] {
    match request.form {
        Form::Json if partitions == 0 => b" ]\n",
        _ if request.keys_only && partitions == 0 => b" ]\n",
        Form::Json => b"\n]\n",
        _ if request.keys_only => b"\n]\n",
        Form::JsonLines | Form::Internal | Form::Csv => b"",
    }
}

/// Writes the rows of an SSTable to `out`. `is_first` is false if partitions of another SSTable came before in the same
/// document. An error is one of `out` or of the disk; what is wrong with the SSTable is in the result.
pub fn dump(rows: &Rows, request: &Request, is_first: bool, out: &mut dyn Write) -> anyhow::Result<Dumped> {
    let scan = rows.scan()?;
    let format = Format::new(rows, request);
    let length = scan.length();
    drop(scan);
    let mut dumped = Dumped::default();
    let mut writer = Writer { out, strips_comma: is_first, dumped: &mut dumped };
    if !request.keys.is_empty()
        && let Some(starts) = lookup::starts(rows, request, writer.dumped)?
    {
        let ranges = |take: &mut dyn FnMut(Range) -> bool| {
            starts.iter().all(|&start| take(Range { starts: vec![start], end: start + 1 }));
            Ok(())
        };
        run(rows, request, &format, ranges, &mut |_| true, &mut writer)?;
        return Ok(dumped);
    }
    let by_index = |take: &mut dyn FnMut(Range) -> bool| plan(rows, length, take);
    // Where the last range has ended; the next one has to start there.
    let ended = Cell::new(Some(0));
    let mut fits = |judged: Judged| match judged {
        Judged::Start(position) => ended.get() == Some(position),
        Judged::End(position) => {
            ended.set(position);
            true
        }
    };
    run(rows, request, &format, by_index, &mut fits, &mut writer)?;
    let Some(position) = ended.get().filter(|&position| position < length && !writer.dumped.is_closed) else {
        return Ok(dumped);
    };
    // The index is wrong, or does not go on: from here it is one range.
    writer.dumped.index.get_or_insert_with(|| {
        Error::corrupt(0, "position of a partition", position, "none, or another").in_component("primary index").into()
    });
    let rest = |take: &mut dyn FnMut(Range) -> bool| {
        take(Range { starts: vec![position], end: length });
        Ok(())
    };
    run(rows, request, &format, rest, &mut |_| true, &mut writer)?;
    Ok(dumped)
}

/// Ranges of partitions by the index, from the first byte of the file to its last.
fn plan(rows: &Rows, length: u64, take: &mut dyn FnMut(Range) -> bool) -> Result<(), ReadError> {
    let mut starts: Vec<u64> = Vec::new();
    let index = rows.index()?;
    for located in index.partitions()? {
        let position = located?.position;
        if starts.last().is_some_and(|&last| position <= last) || position >= length {
            // Nothing behind it can be believed.
            return Ok(());
        }
        let is_full = starts.first().is_some_and(|&first| position - first >= RANGE_BYTES);
        if is_full && !take(Range { starts: std::mem::take(&mut starts), end: position }) {
            return Ok(());
        }
        starts.push(position);
    }
    if !starts.is_empty() {
        take(Range { starts, end: length });
    }
    Ok(())
}

/// The writing end.
struct Writer<'a> {
    out: &'a mut dyn Write,
    /// The first partition of a document has no comma before it.
    strips_comma: bool,
    dumped: &'a mut Dumped,
}

impl Writer<'_> {
    /// False if nobody reads any more.
    fn write(&mut self, text: &[u8]) -> io::Result<bool> {
        let is_first = std::mem::replace(&mut self.strips_comma, false);
        let text = if is_first { text.strip_prefix(b",").unwrap_or(text) } else { text };
        match self.out.write_all(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.dumped.is_closed = true;
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }
}

/// What is asked about a range.
enum Judged {
    /// It starts there: may it be written? If not, it and all later ones are thrown away.
    Start(u64),
    /// It has ended there, or with damage.
    End(Option<u64>),
}

/// Formats the ranges that `plan` gives, and writes them in order, as `judge` allows.
fn run(
    rows: &Rows,
    request: &Request,
    format: &Format,
    plan: impl FnOnce(&mut dyn FnMut(Range) -> bool) -> Result<(), ReadError> + Send,
    judge: &mut dyn FnMut(Judged) -> bool,
    writer: &mut Writer<'_>,
) -> anyhow::Result<()> {
    let threads = request.threads.max(1);
    let (order, in_order) = sync_channel::<(u64, Receiver<Message>)>(threads);
    let (jobs, queue) = sync_channel::<(Range, SyncSender<Message>)>(threads);
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        let planner = scope.spawn(move || {
            plan(&mut |range| {
                let (sender, receiver) = sync_channel(PIECES_MAX);
                let start = range.starts.first().copied().unwrap_or_default();
                order.send((start, receiver)).is_ok() && jobs.send((range, sender)).is_ok()
            })
        });
        // The queue goes with the last thread, so that the planner does not wait for ever if they all fail.
        let queue = std::sync::Arc::new(queue);
        for _ in 0..threads {
            let queue = std::sync::Arc::clone(&queue);
            scope.spawn(move || work(rows, request, format, &queue));
        }
        drop(queue);
        let written = write_in_order(&in_order, judge, writer);
        // Whoever is still at work finds nobody to give it to.
        drop(in_order);
        match planner.join() {
            Ok(Ok(())) => {}
            Ok(Err(ReadError::Io(error))) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(Err(error)) => {
                writer.dumped.index.get_or_insert(error);
            }
            Err(_) => anyhow::bail!("the reader of the index failed"),
        }
        written
    })
}

fn write_in_order(
    in_order: &Receiver<(u64, Receiver<Message>)>,
    judge: &mut dyn FnMut(Judged) -> bool,
    writer: &mut Writer<'_>,
) -> anyhow::Result<()> {
    while let Ok((start, messages)) = in_order.recv() {
        if !judge(Judged::Start(start)) {
            return Ok(());
        }
        let mut has_ended = false;
        while let Ok(message) = messages.recv() {
            match message {
                Message::Text(text) => {
                    if !writer.write(&text)? {
                        return Ok(());
                    }
                }
                Message::Damage(ReadError::Io(error), _) => return Err(error.into()),
                Message::Damage(error, next) => writer.dumped.damage.push((error, next)),
                Message::End { position, partitions, misread_deletions } => {
                    writer.dumped.partitions += partitions;
                    writer.dumped.misread_deletions.extend(misread_deletions);
                    judge(Judged::End(position));
                    if position.is_none() {
                        return Ok(());
                    }
                    has_ended = true;
                }
            }
        }
        anyhow::ensure!(has_ended, "a reader failed");
    }
    Ok(())
}

/// Reads and formats one range after the other, until there are no more.
fn work(rows: &Rows, request: &Request, format: &Format, queue: &Mutex<Receiver<(Range, SyncSender<Message>)>>) {
    let mut scan = None;
    let mut walked = 0;
    loop {
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok((range, to)) = next else { return };
        let scan = match &mut scan {
            Some(scan) => scan,
            None => match rows.scan() {
                Ok(opened) => scan.insert(opened),
                Err(error) => {
                    let _ = to.send(Message::Damage(error, None));
                    let _ = to.send(Message::End { position: None, partitions: 0, misread_deletions: Vec::new() });
                    continue;
                }
            },
        };
        // What cannot be sent is not wanted any more.
        let _ = read(scan, &range, request, format, &mut walked, Output::new(to, Message::Text));
    }
}

/// Reads and formats a range. `walked` counts the bytes of partitions that could not be read to their end.
fn read(
    scan: &mut Scan<Bytes>,
    range: &Range,
    request: &Request,
    format: &Format,
    walked: &mut u64,
    mut out: Output<Message>,
) -> Result<(), Stop> {
    let mut partitions = 0;
    let mut misread_deletions = Vec::new();
    let start = range.starts.first().copied().unwrap_or_default();
    // Ranges that follow each other are read on without another look.
    if !scan.is_between_partitions() || scan.position() != start {
        scan.seek(start);
    }
    let mut at = start;
    let position = loop {
        let next = match scan.next_partition() {
            Ok(Some(partition)) if partition.position() < range.end => {
                at = partition.position();
                if !is_wanted(&partition, request, format) {
                    continue;
                }
                partitions += 1;
                if partition.is_deletion_misread_by_cassandra() {
                    misread_deletions.push(at);
                }
                format.partition(partition, &mut out)
            }
            // The first partition of the range that follows: it is read again there.
            Ok(Some(partition)) => break Some(partition.position()),
            Ok(None) => break Some(scan.length()),
            Err(error) => {
                at = at.max(scan.position().min(range.end.saturating_sub(1)));
                Err(Stop::Unreadable(error))
            }
        };
        match next {
            // Within a partition, the end of the range is none that the next one may start at.
            Ok(()) if scan.is_between_partitions() && scan.position() >= range.end => break Some(scan.position()),
            Ok(()) => {}
            Err(Stop::Closed) => return Err(Stop::Closed),
            Err(Stop::Unreadable(error)) => {
                out.send()?;
                let next = if request.skip_damaged && !matches!(error, ReadError::Io(_)) {
                    *walked = walked.saturating_add(scan.position().saturating_sub(at));
                    // An index that claims a partition every few bytes would have all that follows read for each.
                    let is_behind = *walked > scan.length().saturating_mul(2);
                    let place = if is_behind { at.max(scan.position()) } else { at };
                    Some(range.starts.iter().copied().find(|&start| start > place).unwrap_or(range.end))
                } else {
                    None
                };
                out.also(Message::Damage(error, next))?;
                let Some(next) = next else { break None };
                scan.seek(next);
                if next >= range.end {
                    break Some(next);
                }
            }
        }
    };
    out.finish(Message::End { position, partitions, misread_deletions })
}

fn is_wanted(partition: &Partition<'_, Bytes>, request: &Request, format: &Format) -> bool {
    if !request.keys.is_empty() && !request.keys.iter().any(|key| key == partition.key()) {
        return false;
    }
    if request.excluded.is_empty() {
        return true;
    }
    let mut key = Vec::new();
    value::text(&mut key, &format.header.partition_key, partition.key());
    !request.excluded.contains(&key)
}

/// One of the forms.
struct Format {
    header: std::sync::Arc<helenus_sstable::cql::row::SerializationHeader>,
    kind: Kind,
}

enum Kind {
    Json(json::Json<true>),
    JsonLines(json::Json<false>),
    Csv(csv::Csv),
    Internal(internal::Internal),
    Keys,
}

impl Format {
    fn new(rows: &Rows, request: &Request) -> Self {
        let name = request.name.as_deref();
        let kind = match request.form {
            _ if request.keys_only => Kind::Keys,
            Form::Json => Kind::Json(json::Json::new(rows, request.times, name)),
            Form::JsonLines => Kind::JsonLines(json::Json::new(rows, request.times, name)),
            Form::Csv => Kind::Csv(csv::Csv::new(rows, request.times)),
            Form::Internal => Kind::Internal(internal::Internal::new(rows)),
        };
        Self { header: std::sync::Arc::clone(&rows.header), kind }
    }

    fn partition(&self, partition: Partition<'_, Bytes>, out: &mut Output<Message>) -> Result<(), Stop> {
        match &self.kind {
            Kind::Json(json) => json.partition(partition, out),
            Kind::JsonLines(json) => json.partition(partition, out),
            Kind::Csv(csv) => csv.partition(partition, out),
            Kind::Internal(internal) => internal.partition(partition, out),
            Kind::Keys => {
                let parts = value::key_parts(&self.header.partition_key, partition.key());
                out.text.extend_from_slice(b",\n  [ ");
                for (index, (kind, bytes)) in parts.into_iter().enumerate() {
                    if index > 0 {
                        out.text.extend_from_slice(b", ");
                    }
                    value::text_as_json(&mut out.text, kind, bytes);
                }
                out.text.extend_from_slice(b" ]");
                out.relieve()
            }
        }
    }
}
