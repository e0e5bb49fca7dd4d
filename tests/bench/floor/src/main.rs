//! The least work that a job of Helenus can be, as one thread without checks, reports or names.
//!
//!     floor crc FILE...              reads each file once and prints its CRC-32
//!     floor snapshot TAG TABLE...    links each file of the table directories into <table>/snapshots/TAG, copies
//!                                    TOC.txt, which Cassandra rewrites in place, and syncs each new directory once

use std::env;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fsync, linkat, mkdirat, openat};

const READ_BYTES: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((job, files)) if job == "crc" => files.iter().try_for_each(|file| crc(file)),
        Some((job, [tag, tables @ ..])) if job == "snapshot" => {
            tables.iter().try_for_each(|table| snapshot(tag, table))
        }
        _ => Err(io::Error::other("usage: floor crc FILE... | floor snapshot TAG TABLE...")),
    }
}

fn crc(path: &OsStr) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut crc = crc32fast::Hasher::new();
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => crc.update(&buffer[..read]),
        }
    }
    writeln!(io::stdout(), "{}", crc.finalize())
}

fn snapshot(tag: &OsStr, table: &OsStr) -> io::Result<()> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let live = openat(CWD, table, directory, Mode::empty())?;
    match mkdirat(&live, "snapshots", Mode::from(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let snapshots = openat(&live, "snapshots", directory, Mode::empty())?;
    mkdirat(&snapshots, tag, Mode::from(0o755))?;
    let links = openat(&snapshots, tag, directory, Mode::empty())?;
    for entry in Dir::read_from(&live)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if entry.file_type() != FileType::RegularFile {
            continue;
        }
        if name.to_bytes().ends_with(b"-TOC.txt") {
            let path = OsStr::from_bytes(name.to_bytes());
            let mut bytes = Vec::new();
            File::from(openat(&live, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?).read_to_end(&mut bytes)?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            File::from(openat(&links, path, create, Mode::from(0o644))?).write_all(&bytes)?;
        } else {
            linkat(&live, name, &links, name, AtFlags::empty())?;
        }
    }
    // One sync for each new directory; `snapshots` was made in the live one.
    fsync(&links)?;
    Ok(())
}
