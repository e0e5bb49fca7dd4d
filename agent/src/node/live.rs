//! Which SSTables of a table count, at one moment of a running node.
//!
//! Files appear and vanish while a directory is listed, and only the transaction logs tell which of them count. So the
//! directories are listed, the logs read, and both once more; if nothing of importance changed, every file seen was
//! there at the moment between the two passes, and the logs say what counted then. (`docs/snapshot.md` has the proof.)

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail};
use helenus_sstable::component::Component;
use helenus_sstable::descriptor::Descriptor;
use helenus_sstable::directory::{self, Entry};
use helenus_sstable::txn_log::{self, LOG_LENGTH_MAX, ListedFile, Record, Replica, Transaction, TxnLogName};

use super::tables::{Place, notice};
use crate::fs::{Dir, FileStat, Kind};
use crate::manifest::model::Notice;
use crate::time::Stopwatch;

/// A directory changes under our eyes only while something ends there; one that never settles is a fault of its own.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a log that contradicts the files is looked at before it is believed to be broken.
const CONTRADICTIONS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The directories of a table or of one of its indexes, open.
#[derive(Debug)]
pub struct OpenPlace {
    /// Index of the data directory.
    pub data_directory: usize,
    /// The directory.
    pub dir: Dir,
}

/// Opens the directories that are still there, or, with `index`, those of the index in them.
pub fn open(places: &[Place], index: Option<&str>) -> anyhow::Result<Vec<OpenPlace>> {
    let mut open = Vec::new();
    for place in places {
        let dir = match index {
            None => Dir::open(&place.path),
            Some(index) => Dir::open(place.path.join(index)),
        };
        match dir {
            Ok(dir) => open.push(OpenPlace { data_directory: place.data_directory, dir }),
            // The table or the index was dropped, or has no files on this disk.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(open)
}

/// The SSTables that counted at one moment.
#[derive(Debug, Default)]
pub struct LiveSet {
    /// SSTables, by place and descriptor.
    pub sstables: Vec<LiveSSTable>,
    /// Directories of built-in secondary indexes, with their dots.
    pub indexes: BTreeSet<String>,
    /// What else lies there.
    pub notices: Vec<Notice>,
}

/// One SSTable that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSSTable {
    /// Index into the places that were looked at.
    pub place: usize,
    /// What the names of its files begin with.
    pub descriptor: Descriptor,
    /// Its components.
    pub files: BTreeMap<Component, FileStat>,
    /// Why nobody can tell whether it counts: its transaction log is broken.
    pub doubt: Option<String>,
}

impl LiveSSTable {
    /// Sum of the lengths of its files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|stat| stat.size).sum()
    }
}

type Files = BTreeMap<(usize, Descriptor), BTreeMap<Component, FileStat>>;
type Logs = BTreeMap<String, BTreeMap<usize, Vec<u8>>>;

/// One pass over the directories.
#[derive(Default)]
struct Listing {
    files: Files,
    indexes: BTreeSet<String>,
    notices: Vec<Notice>,
}

/// Finds the SSTables that count.
pub fn collect(places: &[OpenPlace]) -> anyhow::Result<LiveSet> {
    let watch = Stopwatch::start();
    let mut contradictions = 0;
    loop {
        let first = list(places, None)?;
        let logs = read_logs(places)?;
        let second = list(places, Some(&first))?;
        if read_logs(places)? == logs {
            let transactions = Transactions::parse(places, &logs);
            let unfinished = transactions.unfinished();
            if settled(&first.files, &unfinished).eq(settled(&second.files, &unfinished)) {
                let doubts = transactions.classify(&second.files);
                contradictions += u32::from(!doubts.broken.is_empty());
                if doubts.broken.is_empty() || contradictions >= CONTRADICTIONS_MAX {
                    return Ok(doubts.live_set(second));
                }
            }
        }
        if watch.seconds() > SETTLE_TIME_MAX.as_secs_f64() {
            let path = places.first().map(|place| place.dir.path().display().to_string()).unwrap_or_default();
            bail!("{path}: the files keep changing: no two looks in {SETTLE_TIME_MAX:?} saw the same");
        }
        std::thread::sleep(if contradictions > 0 { PAUSE } else { Duration::ZERO });
    }
}

/// Lists files and their attributes. A name that led to the same inode in the `previous` pass has the attributes that it
/// had then: a directory entry is cheap to read, an inode is not.
fn list(places: &[OpenPlace], previous: Option<&Listing>) -> anyhow::Result<Listing> {
    let mut listing = Listing::default();
    for (place, open) in places.iter().enumerate() {
        for entry in open.dir.list()? {
            let path = open.dir.path().join(&entry.name);
            let Some(name) = entry.name.to_str() else {
                listing.notices.push(notice(&path, "the name is not UTF-8; left out"));
                continue;
            };
            match directory::classify(name, entry.kind == Kind::Directory) {
                Entry::SSTable(file) if entry.kind == Kind::File => {
                    let key = (place, file.descriptor);
                    let known = previous.and_then(|previous| previous.files.get(&key)?.get(&file.component));
                    if let Some(stat) = known.filter(|stat| stat.inode == entry.inode) {
                        listing.files.entry(key).or_default().insert(file.component, *stat);
                        continue;
                    }
                    let stat = match open.dir.stat_child(name) {
                        Ok(stat) => stat,
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error.into()),
                    };
                    listing.files.entry(key).or_default().insert(file.component, stat);
                }
                Entry::SSTable(_) => listing.notices.push(notice(&path, "not a regular file; left out")),
                Entry::IndexDirectory(index) => {
                    listing.indexes.insert(format!(".{index}"));
                }
                Entry::Foreign(why) => listing.notices.push(notice(&path, format!("{why}; left out"))),
                Entry::SnapshotFile(_) => {
                    listing.notices.push(notice(&path, "a file of a snapshot, outside of snapshots; left out"));
                }
                Entry::TxnLog(_) | Entry::Backups | Entry::Snapshots | Entry::Scratch => {}
            }
        }
    }
    Ok(listing)
}

fn read_logs(places: &[OpenPlace]) -> anyhow::Result<Logs> {
    let mut logs = Logs::new();
    for (place, open) in places.iter().enumerate() {
        for entry in open.dir.list()? {
            let Some(name) = entry.name.to_str() else { continue };
            if entry.kind != Kind::File || TxnLogName::parse(name).is_none() {
                continue;
            }
            let file = match open.dir.open_child_file(name) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let mut content = Vec::new();
            file.take(LOG_LENGTH_MAX as u64 + 1)
                .read_to_end(&mut content)
                .with_context(|| open.dir.path().join(name).display().to_string())?;
            logs.entry(name.to_owned()).or_default().insert(place, content);
        }
    }
    Ok(logs)
}

/// What must not have changed between two looks: immutable components of SSTables that nobody is writing.
fn settled<'a>(
    files: &'a Files,
    unfinished: &'a BTreeSet<(usize, String)>,
) -> impl Iterator<Item = (usize, &'a Descriptor, &'a Component, u64, u64)> {
    files.iter().filter(|((place, descriptor), _)| !unfinished.contains(&(*place, descriptor.prefix()))).flat_map(
        |((place, descriptor), components)| {
            components
                .iter()
                .filter(|(component, _)| !component.is_mutable())
                .map(move |(component, stat)| (*place, descriptor, component, stat.inode, stat.size))
        },
    )
}

/// The logs of a table, those that can be read and those that cannot.
struct Transactions {
    sound: Vec<Transaction>,
    broken: Vec<Broken>,
}

/// A log of which Cassandra itself would refuse to start.
struct Broken {
    reason: String,
    /// What it names, by prefix; `None` if not even that can be read.
    named: Option<BTreeSet<String>>,
}

impl Transactions {
    fn parse(places: &[OpenPlace], logs: &Logs) -> Self {
        let mut parsed = Self { sound: Vec::new(), broken: Vec::new() };
        for (name, replicas) in logs {
            let Some(parsed_name) = TxnLogName::parse(name) else { continue };
            let replicas: Vec<Replica> = replicas
                .iter()
                .map(|(place, content)| Replica {
                    directory: *place,
                    label: places[*place].dir.path().join(name).display().to_string(),
                    content: content.clone(),
                })
                .collect();
            match Transaction::read(&parsed_name, &replicas) {
                Ok(transaction) => parsed.sound.push(transaction),
                Err(error) => parsed.broken.push(Broken { reason: error.to_string(), named: named(&replicas) }),
            }
        }
        parsed
    }

    fn unfinished(&self) -> BTreeSet<(usize, String)> {
        let unfinished = self.sound.iter().filter(|transaction| !transaction.is_completed());
        unfinished
            .flat_map(|transaction| {
                transaction
                    .added()
                    .flat_map(|prefix| transaction.directories().iter().map(move |place| (*place, prefix.to_owned())))
            })
            .collect()
    }

    fn classify(self, files: &Files) -> Verdict {
        let names: Vec<(usize, String, i64)> = files
            .iter()
            .flat_map(|((place, descriptor), components)| {
                components.iter().map(|(component, stat)| {
                    (*place, descriptor.file_name(component), stat.mtime_ns.div_euclid(1_000_000))
                })
            })
            .collect();
        let listed: Vec<ListedFile<'_>> = names
            .iter()
            .map(|(directory, name, mtime_ms)| ListedFile { directory: *directory, name, mtime_ms: *mtime_ms })
            .collect();
        let mut verdict = Verdict { temporary: BTreeSet::new(), broken: self.broken };
        for transaction in self.sound {
            match txn_log::classify(std::slice::from_ref(&transaction), &listed) {
                Ok(classification) => {
                    let temporary = classification.all_temporary();
                    verdict.temporary.extend(temporary.map(|(place, prefix, _)| (place, prefix.to_owned())));
                }
                Err(error) => {
                    let named = transaction.added().chain(transaction.removed()).map(str::to_owned).collect();
                    verdict.broken.push(Broken { reason: error.to_string(), named: Some(named) });
                }
            }
        }
        verdict
    }
}

/// What the file names in the replicas of a broken log begin with; `None` if a line is no record at all.
fn named(replicas: &[Replica]) -> Option<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for replica in replicas {
        for line in std::str::from_utf8(&replica.content).ok()?.lines() {
            let prefix = Record::parse(line)?.file_prefix();
            if !prefix.is_empty() {
                named.insert(prefix);
            }
        }
    }
    Some(named)
}

struct Verdict {
    temporary: BTreeSet<(usize, String)>,
    broken: Vec<Broken>,
}

impl Verdict {
    fn live_set(self, listing: Listing) -> LiveSet {
        let Listing { files, indexes, notices } = listing;
        let sstables = files
            .into_iter()
            .filter(|((place, descriptor), _)| !self.temporary.contains(&(*place, descriptor.prefix())))
            .map(|((place, descriptor), files)| {
                let prefix = descriptor.prefix();
                let doubt =
                    self.broken.iter().find(|broken| broken.named.as_ref().is_none_or(|named| named.contains(&prefix)));
                LiveSSTable { place, descriptor, files, doubt: doubt.map(|broken| broken.reason.clone()) }
            })
            .collect();
        LiveSet { sstables, indexes, notices }
    }
}
