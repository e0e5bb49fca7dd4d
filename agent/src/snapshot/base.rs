//! What is stored of a table already, and which live SSTables that are.

use std::collections::HashMap;

use helenus_sstable::component::Component;

use super::link::Group;
use crate::manifest::model::{Part, TableEntry};
use crate::node::live::LiveSSTable;

/// The part of a table in the backup that is built upon.
#[derive(Debug, Clone)]
pub struct Base {
    /// The table in that backup's manifest.
    pub entry: TableEntry,
    /// Its part.
    pub part: Part,
}

/// Finds live SSTables in the part that is built upon.
pub(super) struct BaseIndex<'a> {
    base: Option<&'a Base>,
    by_name: HashMap<(Option<&'a str>, &'a str), usize>,
}

impl<'a> BaseIndex<'a> {
    pub fn new(base: Option<&'a Base>) -> Self {
        let sstables = base.map(|base| base.part.sstables.as_slice()).unwrap_or_default();
        let by_name = sstables
            .iter()
            .enumerate()
            .map(|(position, sstable)| ((sstable.index.as_deref(), sstable.sstable.as_str()), position))
            .collect();
        Self { base, by_name }
    }

    /// The SSTable of the same name.
    pub fn named(&self, group: &Group, live: &LiveSSTable) -> Option<usize> {
        let name = live.descriptor.to_string();
        self.by_name.get(&(group.index.as_deref(), name.as_str())).copied()
    }

    /// The same files with the same lengths and times: a file name is never used again with all of these equal. What
    /// was damaged or doubtful then is looked at again.
    pub fn find(&self, group: &Group, live: &LiveSSTable) -> Option<usize> {
        let position = self.named(group, live)?;
        let stored = &self.base?.part.sstables[position];
        let same = live.doubt.is_none()
            && !stored.damaged
            && stored.files.len() == live.files.len()
            && stored.files.iter().all(|file| {
                live.files
                    .get(&Component::parse(&file.component))
                    .is_some_and(|stat| stat.size == file.length && stat.mtime_ns == file.mtime_ns)
            });
        same.then_some(position)
    }
}
