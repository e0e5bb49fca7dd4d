mod damage;
mod file;

use self::file::{File, Files, header, open, show, uvint};
use super::{DECODED_LENGTH_MAX, Scan, Unfiltered, VALUE_LENGTH_MAX};
use crate::chunks::Chunks;
use crate::compressor::Compressor;
use crate::cql::row::{Part, SerializationHeader, Value};
use crate::source::Source;
use crate::version::Version;

const LIST: &str = "ListType(Int32Type)";

/// A partition with one of everything.
fn everything() -> (SerializationHeader, File) {
    let header = header(&["Int32Type", "ReversedType(UTF8Type)"], &["UTF8Type"], &["Int32Type", "UTF8Type", LIST]);
    let one_x = [0, 0, 0, 0, 1, 1, b'x'];
    let row = |flags: u8| [&[flags][..], &one_x].concat();
    let file = File::nb()
        .partition(b"everything")
        // The static row: a cell with a timestamp of its own.
        .add(&[0xa0, 1], &[0, 9, 1, b's'])
        // Timestamp; a cell with the row's and one with another.
        .add(&row(0x24), &[7, 8, 0, 0, 0, 5, 0, 9, 2, b'a', b'b', 0])
        // TTL; cells with the row's, their own and none; a complex column without deletion.
        .add(
            &row(0x2c),
            &[&[7, 60, 100, 0x1a, 0, 0, 0, 6, 0x0a, 110, 70, 0, 2, 0x08, 2][..], b"p1\x01a\x00\x05\x02p2\x00"].concat(),
        )
        // Deleted, with a column subset: only the complex column, with a deletion.
        .add(&row(0x50), &[8, 50, 0b011, 7, 49, 1, 0x01, 9, 51, 1, b'q', 0])
        // A shadowable deletion, without any column.
        .add(&[&[0x90, 2][..], &one_x].concat(), &[8, 50, 0b111])
        // Null and empty clustering values.
        .add(&[0x04, 0b1000, 0, 0, 0, 1], &[7, 0b111])
        .add(&[0x04, 0b0110], &[7, 0b111])
        // Tombstone and empty value.
        .add(&row(0x24), &[7, 0x0d, 55, 0x0c, 0])
        // All kinds of markers.
        .add(&[2, 1, 0, 1, 0, 0, 0, 0, 2], &[5, 6])
        .add(&[2, 2, 0, 1, 0, 0, 0, 0, 3], &[5, 6, 7, 8])
        .add(&[2, 5, 0, 2, 0, 0, 0, 0, 3, 1, b'y'], &[7, 8, 9, 10])
        .add(&[2, 0, 0, 1, 0, 0, 0, 0, 4], &[9, 10])
        .add(&[2, 7, 0, 1, 0, 0, 0, 0, 4], &[1, 2])
        .add(&[2, 6, 0, 0], &[1, 2])
        .end()
        .partition_deleted(b"gone", &[0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 88])
        .add(&[0xa0, 1], &[0x04, 9])
        .end();
    (header, file)
}

const EVERYTHING: &str = r#"0 partition "everything" live
24 static ()
  0 at 9 = "s"
32 row ("\x00\x00\x00\x01", "x") at 7
  0 at 7 = "\x00\x00\x00\x05"
  1 at 9 = "ab"
  2 0 cells live
54 row ("\x00\x00\x00\x01", "x") at 7 for 60 to 100
  0 at 7 for 60 to 100 = "\x00\x00\x00\x06"
  1 at 7 for 70 to 110 = ""
  2 2 cells live
  2 ["p1"] at 7 = "a"
  2 ["p2"] at 5 = ""
89 row ("\x00\x00\x00\x01", "x") deleted 8/50
  2 1 cells 7/49
  2 ["q"] at 9 deleted 51 = ""
111 row ("\x00\x00\x00\x01", "x") shadowable 8/50
125 row ("\x00\x00\x00\x01", null) at 7
135 row (null, "") at 7
141 row ("\x00\x00\x00\x01", "x") at 7
  0 at 7 deleted 55 = ""
  1 at 7 = ""
  2 0 cells live
156 InclStart ("\x00\x00\x00\x02") start 5/6
169 ExclEndInclStart ("\x00\x00\x00\x03") end 5/6 start 7/8
184 InclEndExclStart ("\x00\x00\x00\x03", "y") end 7/8 start 9/10
201 ExclEnd ("\x00\x00\x00\x04") end 9/10
214 ExclStart ("\x00\x00\x00\x04") start 1/2
227 InclEnd () end 1/2
236 partition "gone" 88/77
254 static ()
  0 at 9 = ""
"#;

#[test]
fn one_of_everything() {
    let (header, file) = everything();
    let text = show(&mut open(&header, Version::NB, &file.bytes, Chunks::Unknown));
    assert_eq!(text, EVERYTHING);
}

#[test]
fn chunks_of_any_kind_and_length() {
    let (header, file) = everything();
    for compressor in [Compressor::Lz4, Compressor::Snappy, Compressor::Deflate, Compressor::Zstd, Compressor::Noop] {
        for chunk_length in [1, 8, 64, 16 << 10] {
            let files = Files::compressed(&file.bytes, compressor, chunk_length);
            assert_eq!(show(&mut files.scan(&header, Version::NB)), EVERYTHING, "{compressor} {chunk_length}");
        }
    }
    for chunk_length in [1, 7, 64, 1 << 16] {
        let files = Files::plain(&file.bytes, chunk_length);
        assert_eq!(show(&mut files.scan(&header, Version::NB)), EVERYTHING, "{chunk_length}");
    }
}

/// What the caller does not take makes no difference to what comes after.
#[test]
fn left_early() {
    let (header, file) = everything();
    let mut scan = open(&header, Version::NB, &file.bytes, Chunks::Unknown);
    let mut positions = Vec::new();
    while let Some(partition) = scan.next_partition().unwrap() {
        positions.push(partition.position());
    }
    assert_eq!(positions, [0, 236]);
    for parts in 0..4 {
        let mut scan = open(&header, Version::NB, &file.bytes, Chunks::Unknown);
        let mut partition = scan.next_partition().unwrap().unwrap();
        let mut count = 0;
        while let Some(unfiltered) = partition.next_unfiltered().unwrap() {
            count += 1;
            if let Unfiltered::Row(mut row) = unfiltered {
                for _ in 0..parts {
                    row.next_part().unwrap();
                }
            }
        }
        assert_eq!((count, partition.next_position()), (14, 236));
        assert!(partition.next_unfiltered().unwrap().is_none());
    }
}

#[test]
fn from_any_partition() {
    let (header, file) = everything();
    let second = &EVERYTHING[EVERYTHING.find("236 ").unwrap()..];
    for chunk_length in [16, 128, 1024] {
        let files = Files::compressed(&file.bytes, Compressor::Lz4, chunk_length);
        let mut scan = files.scan(&header, Version::NB);
        for _ in 0..2 {
            scan.seek(236);
            assert_eq!(show(&mut scan), second);
            scan.seek(0);
            assert_eq!(show(&mut scan), EVERYTHING);
        }
        // Out of the middle of a row.
        scan.seek(0);
        let mut partition = scan.next_partition().unwrap().unwrap();
        let Some(Unfiltered::Row(mut row)) = partition.next_unfiltered().unwrap() else { panic!("a static row") };
        row.next_part().unwrap();
        scan.seek(236);
        assert_eq!(show(&mut scan), second);
        scan.seek(file.bytes.len() as u64);
        assert_eq!(show(&mut scan), "");
        scan.seek(1000);
        assert_eq!(show(&mut scan), "Data.db at 1000: position of a partition: expected at most 261, got 1000\n");
    }
}

/// Deletions of partitions as 5.0 writes them, among them one that it cannot read.
#[test]
fn partition_deletions() {
    let header = header(&[], &[], &["Int32Type"]);
    let file = File::oa()
        .partition(b"live")
        .end()
        .partition_deleted(b"dead", &[0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xfd])
        .end()
        .partition_deleted(b"-100", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x9c, 0, 0, 0, 7])
        .add(&[0x24], &[1, 8, 0, 0, 0, 1])
        .end();
    let expected = "0 partition \"live\" live\n8 partition \"dead\" 5/4294967293\n27 partition \"-100\" -100/7 misread\n\
                    45 row () at 1\n  0 at 1 = \"\\x00\\x00\\x00\\x01\"\n";
    for version in [Version::OA, Version::DA] {
        assert_eq!(show(&mut open(&header, version, &file.bytes, Chunks::Unknown)), expected);
    }
    let file =
        File::nb().partition_deleted(b"-1", &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).end();
    for version in [Version::MA, Version::ME, Version::NB] {
        let text = show(&mut open(&header, version, &file.bytes, Chunks::Unknown));
        assert_eq!(text, "0 partition \"-1\" -1/-2147483648\n");
    }
}

/// Numbers are relative to the header, and wrap as in Java.
#[test]
fn deltas_wrap() {
    let mut header = header(&[], &[], &["Int32Type"]);
    (header.min_timestamp, header.min_local_deletion_time, header.min_ttl) = (1000, 1_442_880_000, 10);
    // A local deletion time of 2^32 - 3 in oa, of -3 in nb: a difference below zero, in nine bytes.
    let wrapped = uvint((-3_i64 - 1_442_880_000).cast_unsigned());
    let body = [&uvint((-7_i64).cast_unsigned())[..], &[20], &wrapped, &[0x06, 3, 4, 5]].concat();
    let text = |version, file: File| {
        let file = file.partition(b"k").add(&[0x2c], &body).end();
        show(&mut open(&header, version, &file.bytes, Chunks::Unknown)).lines().skip(1).collect::<Vec<_>>().join("|")
    };
    let cell = "  0 at 1003 for 15 to 1442880004 = \"\"";
    assert_eq!(text(Version::NB, File::nb()), format!("15 row () at 993 for 30 to -3|{cell}"));
    assert_eq!(text(Version::OA, File::oa()), format!("4 row () at 993 for 30 to 4294967293|{cell}"));
}

/// The two lists that replace the bitmap from 64 columns on.
#[test]
fn many_columns() {
    let header = header(&[], &[], &["EmptyType"; 70]);
    let columns = |subset: &[u8], count: usize| {
        let file = File::nb().partition(b"k").add(&[0x04], &[&[1], subset, &[0x0c].repeat(count)].concat()).end();
        let text = show(&mut open(&header, Version::NB, &file.bytes, Chunks::Unknown));
        text.lines().skip(2).map(|line| line.split(" at").next().unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(columns(&[0], 70).len(), 70);
    assert_eq!(columns(&[67, 0, 64, 69], 3), ["0", "64", "69"]);
    let but_two = columns(&[2, 3, 68], 68);
    assert_eq!(
        (but_two.len(), &but_two[2..4], &but_two[66..]),
        (68, &["2".into(), "4".into()][..], &["67".into(), "69".into()][..])
    );
    assert_eq!(columns(&[70], 0), [""; 0]);
    let file = |subset: &[u8]| {
        let file = File::nb().partition(b"k").add(&[0x04], &[&[1], subset].concat()).end();
        show(&mut open(&header, Version::NB, &file.bytes, Chunks::Unknown)).lines().last().unwrap().to_owned()
    };
    assert_eq!(file(&[71]), "Data.db at 19: columns of a row: expected at most 70 missing, got 71");
    assert_eq!(file(&[67, 5, 5, 6]), "Data.db at 21: columns of a row: expected an index from 6 to 69, got 5");
    assert_eq!(file(&[2, 69, 70]), "Data.db at 21: columns of a row: expected an index from 70 to 69, got 70");
}

/// A clustering of more columns than share a header.
#[test]
fn many_clustering_columns() {
    let header = header(&["EmptyType"; 33], &[], &[]);
    let file = File::nb().partition(b"k").add(&[&[0x24][..], &uvint(1 << 62), &[0b10]].concat(), &[1]).end();
    let text = show(&mut open(&header, Version::NB, &file.bytes, Chunks::Unknown));
    let expected = format!("({}\"\", null)", "\"\", ".repeat(31));
    assert!(text.contains(&expected), "{text}");
}

/// Values beyond what is given at once, in a row beyond what is held at once.
#[test]
fn long_values() {
    let header = header(&[], &[], &["BytesType", "Int32Type", "MapType(BytesType,BytesType)"]);
    let long: Vec<u8> = (0..VALUE_LENGTH_MAX as u32 + 1).map(|index| (index / 7) as u8).collect();
    let value = |bytes: &[u8]| [&uvint(bytes.len() as u64)[..], bytes].concat();
    let mut body = [&[1, 8][..], &value(&long), &[8, 0, 0, 0, 1], &[3]].concat();
    for part in [&long[..VALUE_LENGTH_MAX], b"short", &long] {
        body.extend([&[8, 1, b'p'][..], &value(part)].concat());
    }
    let file = File::nb().partition(b"k").add(&[0x24], &body).end().partition(b"l").end();
    let expected = format!(
        "0 partition \"k\" live\n15 row () at 1\n  0 at 1 = 4194305 bytes\n    4194305 bytes in pieces, crc {crc:08x}\n  \
         1 at 1 = \"\\x00\\x00\\x00\\x01\"\n  2 3 cells live\n  2 [\"p\"] at 1 = 4194304 bytes, crc {whole:08x}\n  \
         2 [\"p\"] at 1 = \"short\"\n  2 [\"p\"] at 1 = 4194305 bytes\n    4194305 bytes in pieces, crc {crc:08x}\n\
         {end} partition \"l\" live\n",
        crc = crc32fast::hash(&long),
        whole = crc32fast::hash(&long[..VALUE_LENGTH_MAX]),
        end = file.bytes.len() - 16,
    );
    for files in [Files::plain(&file.bytes, 1 << 16), Files::compressed(&file.bytes, Compressor::Lz4, 1 << 14)] {
        let mut scan = files.scan(&header, Version::NB);
        assert_eq!(show(&mut scan), expected);
        assert!(scan.stream.capacity() < 2 * DECODED_LENGTH_MAX, "{}", scan.stream.capacity());

        // Not asked for, it is stepped over.
        scan.seek(0);
        let mut partition = scan.next_partition().unwrap().unwrap();
        let Some(Unfiltered::Row(mut row)) = partition.next_unfiltered().unwrap() else { panic!("a row") };
        row.next_part().unwrap();
        row.next_piece().unwrap();
        let Some(Part::Cell(cell)) = row.next_part().unwrap() else { panic!("a cell") };
        assert_eq!(cell.value, Value::Bytes(&[0, 0, 0, 1]));
    }
}

/// A partition of 2 GiB, which is made while it is read.
#[test]
fn a_huge_partition() {
    struct Endless {
        front: Vec<u8>,
        row: Vec<u8>,
        length: u64,
    }
    impl Source for Endless {
        fn len(&self) -> u64 {
            self.length
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            let offset = offset as usize;
            let front = self.front.get(offset..).unwrap_or_default();
            let front = &front[..front.len().min(buffer.len())];
            let (start, mut rest) = buffer.split_at_mut(front.len());
            start.copy_from_slice(front);
            let mut at = (offset + front.len() - self.front.len()) % self.row.len();
            while !rest.is_empty() {
                let length = rest.len().min(self.row.len() - at);
                rest[..length].copy_from_slice(&self.row[at..at + length]);
                (rest, at) = (&mut rest[length..], 0);
            }
            // The end of the partition.
            if offset + buffer.len() == self.length as usize {
                buffer[front.len().max(buffer.len() - 1)] = 1;
            }
            Ok(())
        }
    }
    let header = header(&[], &[], &["BytesType"]);
    let value = [&[1, 8][..], &uvint(32_000), &vec![7; 32_000]].concat();
    // The distances of the first two rows are others; from the third on all are alike.
    let front = File::nb().partition(b"k").add(&[0x24], &value).add(&[0x24], &value);
    let row = front.clone().add(&[0x24], &value).bytes.split_off(front.bytes.len());
    let (front, row_length) = (front.bytes, row.len());
    let count = (2 << 30) / row_length as u64;
    let length = front.len() as u64 + count * row_length as u64 + 1;
    let mut scan =
        Scan::new(std::sync::Arc::new(header), Version::NB, Endless { front, row, length }, Chunks::Unknown).unwrap();
    let mut partition = scan.next_partition().unwrap().unwrap();
    let mut rows = 0;
    while let Some(unfiltered) = partition.next_unfiltered().unwrap() {
        let Unfiltered::Row(mut row) = unfiltered else { panic!("a row") };
        assert_eq!(row.distance(), row.stored_distance());
        let Some(Part::Cell(cell)) = row.next_part().unwrap() else { panic!("a cell") };
        assert!(matches!(cell.value, Value::Bytes(bytes) if bytes.len() == 32_000));
        rows += 1;
    }
    assert_eq!(rows, count + 2);
    assert!(scan.next_partition().unwrap().is_none());
    assert!(scan.stream.capacity() < 1 << 20, "{}", scan.stream.capacity());
}

#[test]
fn broken_rules() {
    let header = header(&["Int32Type"], &["Int32Type"], &["Int32Type"]);
    let check = |file: File, expected: &str| {
        let text = show(&mut open(&header, Version::NB, &file.bytes, Chunks::Unknown));
        assert_eq!(text.lines().last().unwrap(), expected);
    };
    let start = || File::nb().partition(b"k").add(&[0xa0, 1], &[4, 0]);
    let row = |front: &[u8], body: &[u8]| start().add(front, body).end();
    let clustered = |flags: u8| [flags, 0, 0, 0, 0, 1];
    check(
        File::nb().partition(b"k").add(&clustered(0x24), &[1, 12]).end(),
        "Data.db at 15: static row: expected a, got none",
    );
    check(row(&[0xa0, 1], &[4, 0]), "Data.db at 21: static row: expected none, got one");
    check(row(&clustered(0x03), &[]), "Data.db at 21: flags: expected 01, alone, at the end of a partition, got 03");
    check(row(&clustered(0x12), &[]), "Data.db at 21: flags: expected 02, alone, for a marker, got 12");
    check(row(&clustered(0x28), &[]), "Data.db at 21: flags: expected a TTL only with a timestamp, got 28");
    check(row(&[0xa4, 4], &[]), "Data.db at 22: extended flags: expected at most 03, got 04");
    check(row(&[0x24, 0b11], &[]), "Data.db at 23: header of a clustering: expected empty or null, got both");
    check(
        row(&[0x24, 0b101], &[]),
        "Data.db at 23: header of a clustering: expected no bits beyond the last value, got 1",
    );
    check(row(&clustered(0x24), &[1, 0x21, 0]), "Data.db at 30: flags of a cell: expected at most 1f, got 21");
    check(row(&clustered(0x24), &[1, 0x03]), "Data.db at 30: flags of a cell: expected deleted or expiring, got 03");
    check(
        row(&clustered(0x20), &[0x0c]),
        "Data.db at 29: flags of a cell: expected a timestamp, as the row has none, got 0c",
    );
    check(
        row(&clustered(0x24), &[1, 0x1e]),
        "Data.db at 30: flags of a cell: expected the row's TTL only in an expiring cell and row, got 1e",
    );
    check(row(&clustered(0x24), &[1, 12, 0]), "Data.db at 31: end of a row: expected 32, got 31");
    check(
        row(&clustered(0x24), &[1, 8, 0, 0]),
        "Data.db at 31: length of a value: expected at most 2, to the end of the row, got 4",
    );
    check(row(&clustered(0x04), &[1, 2]), "Data.db at 30: columns of a row: expected 1 bits, got 2");
    check(row(&[2, 3, 0, 0], &[1, 1]), "Data.db at 22: kind of a bound: expected 0, 1, 2, 5, 6 or 7, got 3");
    check(row(&[2, 1, 0, 2], &[1, 1]), "Data.db at 23: number of values of a bound: expected at most 1, got 2");
    check(row(&[2, 1, 0, 0], &[1, 1, 1]), "Data.db at 29: end of a marker: expected 30, got 29");
    let mut cut = start();
    cut.bytes.extend([0, 9, b'k']);
    check(cut, "Data.db at 23: header of a clustering: expected no bits beyond the last value, got 2");
}
