//! Every byte of every component of small SSTables, flipped, one at a time: the verification finds it, or the byte lies
//! in a range of [`UNCOVERED`], which says why nobody can find it.
//!
//! Both directions are checked: a byte that is not found and not listed fails, and so does a row of the list that
//! stands for no byte any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use helenus::inspect::reader::Buffers;
use helenus::inspect::{Nowhere, SSTableFiles, inspect};
use helenus_tests::repository::files_below;

use crate::node::{copy_tree, sample};

/// Bytes that no checksum covers and no other component repeats.
struct Uncovered {
    component: &'static str,
    /// Where in the component.
    range: &'static str,
    /// True for a byte of the range.
    holds: fn(&Place<'_>) -> bool,
    reason: &'static str,
}

/// One byte of a component.
struct Place<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Place<'_> {
    fn u16_at(&self, at: usize) -> usize {
        self.bytes.get(at..at + 2).map_or(0, |bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }

    fn u64_at(&self, at: usize) -> usize {
        self.bytes
            .get(at..at + 8)
            .map_or(0, |bytes| bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    /// Bytes from the end of the file to this one; 1 for the last.
    fn bytes_left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Which part of an entry of `Index.db` the byte lies in.
    fn index_part(&self) -> IndexPart {
        let mut at = 0;
        while at < self.bytes.len() {
            let key = at + 2..at + 2 + self.u16_at(at);
            let position = key.end..key.end + vint_length(self.bytes, key.end);
            let promoted = position.end..position.end + vint_length(self.bytes, position.end);
            at = promoted.end + vint(self.bytes, promoted.start);
            if self.offset < at {
                return if key.contains(&self.offset) {
                    IndexPart::Key
                } else if position.contains(&self.offset) {
                    IndexPart::Position
                } else {
                    IndexPart::Other
                };
            }
        }
        IndexPart::Other
    }

    /// The line of a text file that the byte lies in, line break included.
    fn line(&self) -> &[u8] {
        let start = self.bytes[..self.offset].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = self.bytes[self.offset..].iter().position(|byte| *byte == b'\n').unwrap_or(self.bytes_left());
        &self.bytes[start..self.offset + end]
    }
}

#[derive(PartialEq)]
enum IndexPart {
    Key,
    Position,
    Other,
}

fn vint_length(bytes: &[u8], at: usize) -> usize {
    bytes.get(at).map_or(1, |first| 1 + usize::try_from(first.leading_ones()).unwrap_or(0))
}

fn vint(bytes: &[u8], at: usize) -> usize {
    let length = vint_length(bytes, at);
    let first = usize::from(bytes.get(at).copied().unwrap_or(0)) & (0xff >> length);
    bytes.get(at + 1..at + length).unwrap_or_default().iter().fold(first, |value, byte| value << 8 | usize::from(*byte))
}

const UNCOVERED: &[Uncovered] = &[
    Uncovered {
        component: "CompressionInfo.db",
        range: "largest compressed length",
        holds: |place| (10 + place.u16_at(0)..14 + place.u16_at(0)).contains(&place.offset),
        reason: "a threshold for the writer: another one above the lengths of the chunks contradicts nothing",
    },
    Uncovered {
        component: "CRC.db",
        range: "chunk length",
        holds: |place| place.offset < 4,
        reason: "each length that is not less than that of Data.db gives one chunk with the same checksum",
    },
    Uncovered {
        component: "Filter.db",
        range: "number of hashes",
        holds: |place| place.offset < 4,
        reason: "no checksum; any small number is plausible",
    },
    Uncovered {
        component: "Filter.db",
        range: "bits",
        holds: |place| place.offset >= 8,
        reason: "no checksum; only hashing every key again could tell",
    },
    Uncovered {
        component: "Index.db",
        range: "keys between the first and the last",
        holds: |place| place.index_part() == IndexPart::Key,
        reason: "no checksum; only reading the partitions of Data.db could tell (level rows)",
    },
    Uncovered {
        component: "Index.db",
        range: "positions that stay in order",
        holds: |place| place.index_part() == IndexPart::Position,
        reason: "no checksum; only reading the partitions of Data.db could tell (level rows)",
    },
    Uncovered {
        component: "Partitions.db",
        range: "nodes of the trie",
        holds: |place| place.offset < place.u64_at(place.bytes.len() - 24),
        reason: "no checksum; only walking the trie beside Data.db could tell (level rows)",
    },
    Uncovered {
        component: "Partitions.db",
        range: "position of the root",
        holds: |place| place.bytes_left() <= 8,
        reason: "another position within the trie is plausible until the trie is walked (level rows)",
    },
    Uncovered {
        component: "Summary.db",
        range: "smallest index interval",
        holds: |place| place.offset < 4,
        reason: "no checksum; a parameter of a cache that Cassandra builds anew when it does not fit the table",
    },
    Uncovered {
        component: "Summary.db",
        range: "sampling level",
        holds: |place| (16..20).contains(&place.offset),
        reason: "no checksum; a parameter of a cache that Cassandra builds anew when it does not fit the table",
    },
    Uncovered {
        component: "TOC.txt",
        range: "names of storage-attached index components",
        holds: |place| place.line().starts_with(b"SAI+") || place.line().is_empty(),
        reason: "no checksum; Cassandra adds and removes such components without keeping the list",
    },
];

/// Offsets and values of bytes, by case and component.
type Undetected = BTreeMap<(String, String), Vec<(usize, u8)>>;

/// One SSTable of each kind: version, table, what is special.
const CASES: &[(&str, &str)] = &[
    ("nb", "visits"),
    ("oa", "visits"),
    ("da", "visits"),
    ("nb", "packed_not"),
    ("oa", "packed_not"),
    ("da", "packed_not"),
    ("oa", "products"),
    ("da", "products"),
];

#[test]
fn every_flipped_byte_is_found_or_listed() {
    let undetected = Mutex::new(Undetected::new());
    let used = Mutex::new(BTreeSet::new());
    let next = Mutex::new(CASES.iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((version, table)) = next.lock().expect("not poisoned").next() else { break };
                    flip_all(version, table, &undetected, &used);
                }
            });
        }
    });
    let undetected = undetected.into_inner().expect("not poisoned");
    for ((case, component), places) in &undetected {
        eprintln!("{case} {component}: {} bytes: {}", places.len(), ranges(places));
    }
    assert!(undetected.is_empty(), "bytes that are neither found nor listed");
    let used = used.into_inner().expect("not poisoned");
    for (number, row) in UNCOVERED.iter().enumerate() {
        assert!(used.contains(&number), "no undetected byte in {} {}: {}", row.component, row.range, row.reason);
    }
}

fn ranges(places: &[(usize, u8)]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(&(first, value)) = places.get(at) {
        let mut last = first;
        while places.get(at + 1).is_some_and(|(offset, _)| *offset == last + 1) {
            at += 1;
            last += 1;
        }
        at += 1;
        text.push_str(&if first == last { format!(" {first}(={value:02x})") } else { format!(" {first}-{last}") });
    }
    text
}

/// The smallest SSTable of a version in a table of the sample, copied to a directory of its own.
fn smallest(version: &str, table: &str, to: &Path) -> SSTableFiles {
    let all =
        sample().table_dirs("shop", table).into_iter().flat_map(|dir| SSTableFiles::list(&dir).expect("a listing"));
    let smallest = all
        .filter(|files| files.descriptor.to_string().starts_with(version))
        .min_by_key(SSTableFiles::bytes)
        .expect("an SSTable of this version");
    let prefix = format!("{}-", smallest.descriptor);
    copy_tree(&smallest.directory, to, &|name| name.starts_with(&prefix)).expect("a copy");
    SSTableFiles { directory: to.to_owned(), ..smallest }
}

fn flip_all(version: &str, table: &str, undetected: &Mutex<Undetected>, used: &Mutex<BTreeSet<usize>>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = smallest(version, table, dir.path());
    let buffers = Buffers::default();
    let findings = |files: &SSTableFiles| inspect(files, &buffers, &mut Nowhere).expect("an inspection").findings;
    let clean = findings(&files);
    assert!(clean.is_empty(), "{version} {table} is sound, but: {clean:#?}");
    let paths: Vec<PathBuf> = files_below(dir.path()).expect("files");
    assert_eq!(paths.len(), files.lengths.len(), "{version} {table}");
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let component = name.splitn(4, '-').nth(3).unwrap_or_default().to_owned();
        let good = fs::read(&path).expect("read");
        let mut bytes = good.clone();
        for offset in 0..good.len() {
            // One bit, and all of them: the one may turn a letter into its other case, the other may not.
            for mask in [1_u8 << (offset % 8), 0xff] {
                bytes[offset] ^= mask;
                overwrite(&path, offset, bytes[offset]);
                let found = !findings(&files).is_empty();
                bytes[offset] = good[offset];
                overwrite(&path, offset, good[offset]);
                if found {
                    continue;
                }
                let place = Place { bytes: &good, offset };
                let row = UNCOVERED.iter().position(|row| row.component == component && (row.holds)(&place));
                match row {
                    Some(row) => {
                        used.lock().expect("not poisoned").insert(row);
                    }
                    None => {
                        let mut undetected = undetected.lock().expect("not poisoned");
                        let key = (format!("{version} {table}"), component.clone());
                        let places = undetected.entry(key).or_default();
                        if places.last() != Some(&(offset, good[offset])) {
                            places.push((offset, good[offset]));
                        }
                    }
                }
            }
        }
        assert_eq!(fs::read(&path).expect("read"), good, "{name} was not put back");
    }
}

fn overwrite(path: &Path, offset: usize, byte: u8) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.write_all_at(&[byte], offset as u64).expect("written");
}

/// Compaction closes an uncompressed `Data.db` twice, so `CRC.db` ends with the checksum of nothing, whatever the
/// length of the last chunk. Seen in 4.0, 4.1 and 5.0. One more is nothing that Cassandra writes.
#[test]
fn the_checksum_of_nothing_is_no_damage() {
    for version in ["nb", "oa", "da"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        smallest(version, "packed_not", dir.path());
        let path =
            files_below(dir.path()).expect("files").into_iter().find(|path| path.to_string_lossy().ends_with("CRC.db"));
        let path = path.expect("a CRC.db");
        let plain = fs::read(&path).expect("read");
        for (more, is_sound) in [(&[0_u8; 4][..], true), (&[0, 0, 0, 1], false), (&[0; 8], false)] {
            fs::write(&path, [plain.as_slice(), more].concat()).expect("written");
            let [files] = &SSTableFiles::list(dir.path()).expect("a listing")[..] else { panic!("one SSTable") };
            let found = inspect(files, &Buffers::default(), &mut Nowhere).expect("an inspection").findings;
            assert_eq!(found.is_empty(), is_sound, "{version} with {more:?}: {found:?}");
        }
    }
}
