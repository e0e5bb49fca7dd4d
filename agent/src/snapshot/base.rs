//! What is stored of a table already, and which live SSTables that are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::link::Group;
use crate::manifest::model::{Part, TableEntry};
use crate::node::live::LiveSSTable;

/// What one repository has of a table: its part in the backup that is built upon, as far as SSTables are found again by
/// it, for a part itself takes kilobytes for each of them. The default is a repository that has nothing.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// The table in that backup's manifest.
    pub entry: Option<TableEntry>,
    /// By index, the SSTables by name.
    stored: HashMap<Option<String>, HashMap<String, Stored>>,
    /// Index, name and SSTable of those whose name another one has, in another data directory: there are hardly any.
    twins: Vec<(Option<String>, String, Stored)>,
}

/// An SSTable of the part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// Its place in the part.
    pub position: u32,
    /// Where it lay.
    pub data_directory: usize,
    /// Of its files; `None` if it is to be looked at again whatever they are: it was damaged or doubtful.
    files: Option<Fingerprint>,
}

/// Sum over names, lengths and times of an SSTable's files. A file name is never used again with all of these equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint(blake3::Hash);

impl Fingerprint {
    /// Of files in any order.
    fn of<'a>(files: impl Iterator<Item = (&'a str, u64, i64)>) -> Self {
        let mut files: Vec<_> = files.collect();
        files.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (component, length, mtime_ns) in files {
            // No name has a NUL in it.
            hasher.update(component.as_bytes()).update(&[0]);
            hasher.update(&length.to_le_bytes()).update(&mtime_ns.to_le_bytes());
        }
        Self(hasher.finalize())
    }
}

impl Base {
    /// What `part` of the table with this `entry` says.
    pub fn new(entry: TableEntry, part: Part) -> Self {
        let mut stored = HashMap::<_, HashMap<_, _>>::new();
        let mut twins = Vec::new();
        for (position, sstable) in (0..).zip(part.sstables) {
            let files = sstable.files.iter().map(|file| (file.component.as_str(), file.length, file.mtime_ns));
            let files = (!sstable.damaged).then(|| Fingerprint::of(files));
            let found = Stored { position, data_directory: sstable.data_directory, files };
            match stored.entry(sstable.index.clone()).or_default().entry(sstable.sstable) {
                Entry::Vacant(free) => {
                    free.insert(found);
                }
                Entry::Occupied(taken) => twins.push((sstable.index, taken.key().clone(), found)),
            }
        }
        Self { entry: Some(entry), stored, twins }
    }

    /// Number of SSTables.
    pub(super) fn count(&self) -> usize {
        self.stored.values().map(HashMap::len).sum::<usize>() + self.twins.len()
    }

    /// The SSTable of the same name; of several, the one that lay in the same data directory.
    pub(super) fn named(&self, group: &Group, live: &LiveSSTable) -> Option<Stored> {
        let named = self.all_named(group, live);
        named.iter().find(|stored| lies_there(stored, group, live)).or(named.first()).copied()
    }

    fn all_named(&self, group: &Group, live: &LiveSSTable) -> Vec<Stored> {
        let name = live.descriptor.to_string();
        let first = self.stored.get(&group.index).and_then(|stored| stored.get(&name)).copied();
        let twins = self.twins.iter().filter(|(index, twin, _)| *index == group.index && *twin == name);
        first.into_iter().chain(twins.map(|(.., stored)| *stored)).collect()
    }

    /// The same SSTable: the same files with the same lengths and times.
    pub(super) fn find(&self, group: &Group, live: &LiveSSTable) -> Option<Stored> {
        let mut named = self.all_named(group, live);
        if live.doubt.is_some() || named.is_empty() {
            return None;
        }
        let files = live.files.iter().map(|(component, stat)| (component.name(), stat.size, stat.mtime_ns));
        let files = Some(Fingerprint::of(files));
        named.retain(|stored| stored.files == files);
        named.iter().find(|stored| lies_there(stored, group, live)).or(named.first()).copied()
    }
}

fn lies_there(stored: &Stored, group: &Group, live: &LiveSSTable) -> bool {
    stored.data_directory == group.places[live.place].data_directory
}
