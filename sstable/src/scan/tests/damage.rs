//! What is broken, cut, or made to harm: an error at its place, within bounded memory.

use proptest::prelude::*;

use super::file::{File, Files, header, open, show, uvint};
use super::{EVERYTHING, LIST, everything};
use crate::chunks::Chunks;
use crate::compressor::Compressor;
use crate::scan::{DECODED_LENGTH_MAX, Scan};
use crate::source::Source;
use crate::version::Version;
use crate::window::ReadError;

/// Memory is bounded by what is decoded at once, not by what a file claims.
#[test]
fn hostile_lengths() {
    let header = header(&["BytesType"], &[], &["BytesType", LIST]);
    let huge = uvint(1 << 60);
    let check = |file: File, expected: &str| {
        let mut bytes = file.bytes;
        bytes.resize(bytes.len().max(12 << 20), 0);
        let mut scan = open(&header, Version::NB, &bytes, Chunks::Unknown);
        let text = show(&mut scan);
        assert!(text.lines().any(|line| line.contains(expected)), "{expected}: {text}");
        assert!(scan.stream.capacity() < 2 * DECODED_LENGTH_MAX, "{expected}: {}", scan.stream.capacity());
    };
    let start = || File::nb().partition(b"k");
    check(start().add(&[&[0x24, 0][..], &huge].concat(), &[1]), "unfiltered: expected at most 6291456 bytes, got more");
    check(start().add(&[0x24, 1], &[&[1, 8][..], &huge].concat()), "length of a value: expected at most 0, to the end");
    check(
        start().add(&[0x20, 1], &[&[0x04, 1][..], &huge].concat()),
        "number of cells of a column: expected at most 9, to the end of the row, got 1152921504606846976",
    );
    check(
        start().add(&[0x20, 1], &[&[0x04, 1, 1, 0, 0][..], &huge].concat()),
        "length of a cell path: expected at most 0, to the end of the row, got 1152921504606846976",
    );
    let mut size = start();
    size.bytes.extend([&[0x24, 1][..], &huge].concat());
    check(size, "size of a row: expected at most 12582886, to the end of the file, got 1152921504606846976");
    // A path may be long, but it is held.
    let path = [&[0x04, 1, 1, 4, 1][..], &uvint(7 << 20), &vec![0; 7 << 20]].concat();
    check(start().add(&[0x20, 1], &path), "cell: expected at most 6291456 bytes, got more");
}

/// Before a damaged chunk all is read; an error stays one however often it is asked for; behind it, all is read again.
#[test]
fn damage_in_the_middle() {
    let header = header(&[], &[], &["Int32Type"]);
    let mut file = File::nb();
    for key in 0..4000_u16 {
        file = file.partition(&key.to_be_bytes()).add(&[0x24], &[1, 8, 0, 0, 0, 1]).end();
    }
    // 26 bytes each: the last row before the damage ends in the chunk before it.
    let length = (file.bytes.len() / 4000) as u64;
    for mut files in [Files::plain(&file.bytes, 1024), Files::compressed(&file.bytes, Compressor::Noop, 1024)] {
        let chunk = if files.data.len() == file.bytes.len() { 1024 } else { 1028 };
        files.data[20 * chunk + 9] ^= 1;
        let mut scan = files.scan(&header, Version::NB);
        let text = show(&mut scan);
        let error = text.lines().last().unwrap().to_owned();
        assert!(error.starts_with(&format!("Data.db at {}: chunk checksum: expected ", 20 * chunk)), "{error}");
        assert_eq!(text.matches("row").count() as u64, 20 * 1024 / length);
        for _ in 0..2 {
            assert_eq!(show(&mut scan), format!("{error}\n"));
        }
        let next = (21_u64 * 1024).next_multiple_of(length);
        scan.seek(next);
        let text = show(&mut scan);
        assert_eq!(text.matches("row").count() as u64, 4000 - next / length);
        assert!(text.starts_with(&format!("{next} partition ")), "{text}");
    }
}

/// A source that fails is no damage, and may succeed the next time.
#[test]
fn failing_reads() {
    struct Failing<'a>(&'a [u8], std::cell::Cell<u32>);
    impl Source for Failing<'_> {
        fn len(&self) -> u64 {
            Source::len(self.0)
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.1.set(self.1.get() + 1);
            if self.1.get() % 2 == 1 {
                return Err(std::io::Error::other("the disk"));
            }
            self.0.read_at(offset, buffer)
        }
    }
    let (header, file) = everything();
    let mut scan = Scan::new(
        std::sync::Arc::new(header),
        Version::NB,
        Failing(&file.bytes, std::cell::Cell::new(0)),
        Chunks::Unknown,
    )
    .unwrap();
    let error = scan.next_partition().map(drop).unwrap_err();
    assert!(matches!(error, ReadError::Io(_)), "{error}");
    assert_eq!(show(&mut scan), EVERYTHING);
}

#[test]
fn every_prefix_and_every_flip_ends() {
    let (header, file) = everything();
    for version in [Version::NB, Version::OA] {
        for cut in 0..file.bytes.len() {
            let text = show(&mut open(&header, version, &file.bytes[..cut], Chunks::Unknown));
            let at_partition = cut == 0 || cut == 236;
            assert_eq!(text.lines().last().is_some_and(|line| line.starts_with("Data.db")), !at_partition, "{cut}");
            for bit in 0..8 {
                let mut bytes = file.bytes.clone();
                bytes[cut] ^= 1 << bit;
                // Without a checksum another value, key or time is as good as the one before.
                let _ = show(&mut open(&header, version, &bytes, Chunks::Unknown));
            }
        }
    }
}

/// With checksums nothing passes.
#[test]
fn every_flip_is_found() {
    let (header, file) = everything();
    for files in [Files::plain(&file.bytes, 64), Files::compressed(&file.bytes, Compressor::Lz4, 64)] {
        // The empty chunk at the end has nothing that rows are made of.
        let end = files.data.len() - if files.data.len() == file.bytes.len() { 0 } else { 9 };
        for position in 0..end {
            let mut data = files.data.clone();
            data[position] ^= 0x10;
            let text = show(&mut open(&header, Version::NB, &data, files.chunks().unwrap()));
            assert!(text.lines().last().unwrap().contains("chunk checksum"), "{position}: {text}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_an_error(bytes: Vec<u8>, is_oa: bool) {
        let (header, _) = everything();
        let version = if is_oa { Version::OA } else { Version::NB };
        let _ = show(&mut open(&header, version, &bytes, Chunks::Unknown));
    }

    /// The first row is well-formed up to its cells.
    #[test]
    fn any_cells_are_parts_or_an_error(flags: u8, body: Vec<u8>) {
        let (header, _) = everything();
        let file = File::nb().partition(b"k").add(&[0xa0, 1], &[4, 0]).add(&[flags, 0b1010], &body).end();
        let _ = show(&mut open(&header, Version::NB, &file.bytes, Chunks::Unknown));
    }
}
