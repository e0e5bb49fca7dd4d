//! Where single partitions start, by the index: what it says is proven before it is believed.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;

use helenus_sstable::cql::wire::hex;
use helenus_sstable::lookup::Located;
use helenus_sstable::scan::Scan;
use helenus_sstable::window::ReadError;
use helenus_sstable::{Error, Kind};

use super::{Dumped, Request};
use crate::sstable::{Bytes, Rows};

/// Where the wanted partitions start; `None` if the index cannot tell, so that all have to be looked at.
pub fn starts(rows: &Rows, request: &Request, dumped: &mut Dumped) -> io::Result<Option<Vec<u64>>> {
    let found = rows.index().and_then(|index| {
        let mut scan = rows.scan()?;
        let mut starts = BTreeSet::new();
        for key in &request.keys {
            if let Some(located) = index.find(key)? {
                prove(&mut scan, &located)?;
                starts.insert(located.position);
            }
        }
        Ok(starts)
    });
    match found {
        Ok(starts) => Ok(Some(starts.into_iter().collect())),
        Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // An index that cannot be asked for keys is none that lies.
        Err(ReadError::Format(error)) if error.kind == Kind::Unsupported => Ok(None),
        Err(error) => {
            dumped.index = Some(error);
            Ok(None)
        }
    }
}

/// The partition that the index tells of is there. Without a key, it tells of one that may be there or not.
fn prove(scan: &mut Scan<Bytes>, located: &Located) -> Result<(), ReadError> {
    let position = located.position;
    let wrong = |expected: &dyn Display, got: &dyn Display| {
        let error = Error::corrupt(position, "position of a partition", expected, got);
        ReadError::from(error.in_component("primary index"))
    };
    let length = scan.length();
    if position >= length {
        return Err(wrong(&format_args!("less than {length}"), &position));
    }
    let Some(key) = &located.key else { return Ok(()) };
    scan.seek(position);
    match scan.next_partition() {
        Ok(Some(partition)) if partition.key() == key => Ok(()),
        Ok(Some(partition)) => Err(wrong(&hex(key), &hex(partition.key()))),
        Ok(None) => Err(wrong(&hex(key), &"the end")),
        Err(ReadError::Format(error)) => Err(wrong(&hex(key), &error)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use helenus_sstable::component::Component;
    use helenus_sstable::partitioner::Partitioner;
    use helenus_sstable::version::Format;

    use super::*;
    use crate::dump::{Form, Times, dump};
    use crate::inspect::SSTableFiles;
    use crate::sstable::SSTable;

    /// The SSTables of the `big` format below a directory.
    fn find(directory: &Path, found: &mut Vec<SSTableFiles>) -> anyhow::Result<()> {
        let listed = SSTableFiles::list(directory)?;
        found.extend(listed.into_iter().filter(|files| files.descriptor.format == Format::Big));
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                find(&entry.path(), found)?;
            }
        }
        Ok(())
    }

    fn index_of(entries: &[(Vec<u8>, u64)]) -> Vec<u8> {
        let entry = |(key, position): &(Vec<u8>, u64)| {
            let length = u16::try_from(key.len()).unwrap_or_default();
            [&length.to_be_bytes()[..], key, &[0xff], &position.to_be_bytes(), &[0]].concat()
        };
        entries.iter().flat_map(entry).collect()
    }

    /// An index that has the key and another position costs no partition, and is named.
    #[test]
    fn wrong_positions() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let sample = include_bytes!("../../sample/node.tar.zst");
        tar::Archive::new(zstd::Decoder::new(&sample[..])?).unpack(directory.path())?;
        let mut all = Vec::new();
        find(directory.path(), &mut all)?;
        let mut checked = 0;
        for mut files in all {
            files.lengths.remove(&Component::Summary);
            let path = files.path(&Component::Index);
            let Ok(rows) = SSTable::from(files).rows() else { continue };
            if matches!(rows.partitioner(), None | Some(Partitioner::Local(_))) {
                continue;
            }
            let entries: Vec<(Vec<u8>, u64)> = rows
                .index()?
                .partitions()?
                .map(|located| located.map(|located| (located.key.unwrap_or_default(), located.position)))
                .collect::<Result<_, _>>()?;
            let [_, (_, second), .., (key, last)] = &entries[..] else { continue };
            let request = Request {
                form: Form::JsonLines,
                keys_only: false,
                keys: vec![key.clone()],
                excluded: BTreeSet::new(),
                times: Times { raw: false, now: 0 },
                name: None,
                skip_damaged: false,
                threads: 2,
            };
            let dumped = |position: u64| {
                let mut entries = entries.clone();
                if let Some(entry) = entries.last_mut() {
                    entry.1 = position;
                }
                std::fs::write(&path, index_of(&entries))?;
                let mut out = Vec::new();
                let dumped = dump(&rows, &request, true, &mut out)?;
                anyhow::Ok((dumped.partitions, dumped.damage.len(), dumped.index.is_some(), out))
            };
            let (partitions, damage, is_named, expected) = dumped(*last)?;
            assert_eq!((partitions, damage, is_named), (1, 0, false), "{}", path.display());
            for wrong in [0, *second, last - 1, last + 1, rows.scan()?.length(), u64::MAX] {
                if wrong == *last {
                    continue;
                }
                let (partitions, damage, is_named, out) = dumped(wrong)?;
                assert_eq!((partitions, damage, is_named), (1, 0, true), "{} at {wrong}", path.display());
                assert_eq!(out, expected, "{} at {wrong}", path.display());
            }
            checked += 1;
        }
        assert!(checked > 5, "{checked}");
        Ok(())
    }
}
