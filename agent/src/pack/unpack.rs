//! Stored bytes back into plain ones, proven on the way: length, CRC-32, BLAKE3.

use std::io::{self, Write};

use bytes::Bytes;
use futures::TryStreamExt;

use crate::manifest::model::{Codec, StoredFile};
use crate::store::{self, ByteStream};

/// Why stored bytes are not those of the file.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The store could not give them.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The object cannot be had, for the reason that another file in it was given.
    #[error("{0}")]
    SameObject(String),
    /// They were given and are not what was stored.
    #[error("{what}: expected {expected}, got {got}")]
    Bytes {
        /// What was compared.
        what: &'static str,
        /// What the part says.
        expected: String,
        /// What was read.
        got: String,
    },
    /// The target could not take them.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The target's names could not be made.
    #[error(transparent)]
    Name(#[from] crate::fs::Error),
}

fn wrong(what: &'static str, expected: impl ToString, got: impl ToString) -> Wrong {
    Wrong::Bytes { what, expected: expected.to_string(), got: got.to_string() }
}

/// Takes plain bytes, and never more than it expects.
struct Plain<W> {
    to: W,
    length: u64,
    length_max: u64,
    crc32: crc32fast::Hasher,
    blake3: blake3::Hasher,
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        if self.length > self.length_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than the file has"));
        }
        self.crc32.update(bytes);
        self.blake3.update(bytes);
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Takes the stored bytes of one file in any pieces and hands on the plain ones.
pub struct Decoder<'a, W: Write> {
    file: &'a StoredFile,
    state: State<W>,
}

enum State<W: Write> {
    Plain(Plain<W>),
    Zstd(zstd::stream::write::Decoder<'static, Plain<W>>),
}

impl<'a, W: Write> Decoder<'a, W> {
    /// A decoder for `file` that writes to `to`.
    pub fn new(file: &'a StoredFile, to: W) -> io::Result<Self> {
        let plain = Plain {
            to,
            length: 0,
            length_max: file.length,
            crc32: crc32fast::Hasher::new(),
            blake3: blake3::Hasher::new(),
        };
        let state = match file.codec {
            Codec::None => State::Plain(plain),
            Codec::Zstd => State::Zstd(zstd::stream::write::Decoder::new(plain)?),
        };
        Ok(Self { file, state })
    }

    /// The next stored bytes.
    pub fn push(&mut self, stored: &[u8]) -> Result<(), Wrong> {
        let pushed = match &mut self.state {
            State::Plain(plain) => plain.write_all(stored),
            State::Zstd(decoder) => decoder.write_all(stored),
        };
        pushed.map_err(|error| match error.kind() {
            // What zstd cannot read is the stored bytes' fault, whatever kind its binding gives the error.
            io::ErrorKind::InvalidData | io::ErrorKind::Other => wrong("stored bytes", "as they were stored", error),
            _ => Wrong::Io(error),
        })
    }

    /// All stored bytes were pushed: are the plain ones the file's?
    pub fn finish(self) -> Result<W, Wrong> {
        let mut plain = match self.state {
            State::Plain(plain) => plain,
            State::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        plain.flush()?;
        let file = self.file;
        if plain.length != file.length {
            return Err(wrong("length", file.length, plain.length));
        }
        let crc32 = format!("{:08x}", plain.crc32.finalize());
        if crc32 != file.crc32.to_string() {
            return Err(wrong("CRC-32", file.crc32, crc32));
        }
        let blake3 = plain.blake3.finalize();
        if *blake3.as_bytes() != file.blake3.0 {
            return Err(wrong("BLAKE3", file.blake3, blake3.to_hex()));
        }
        Ok(plain.to)
    }
}

/// BLAKE3 of the plain bytes of a stored object.
pub async fn hash(mut stored: ByteStream, codec: Codec) -> anyhow::Result<blake3::Hash> {
    let mut hasher = match codec {
        Codec::None => {
            let mut hasher = blake3::Hasher::new();
            while let Some(bytes) = stored.try_next().await? {
                hasher.update(&bytes);
            }
            return Ok(hasher.finalize());
        }
        Codec::Zstd => zstd::stream::write::Decoder::new(blake3::Hasher::new())?,
    };
    while let Some(bytes) = stored.try_next().await? {
        hasher.write_all(&bytes)?;
    }
    hasher.flush()?;
    Ok(hasher.into_inner().finalize())
}

/// The plain bytes of a file that is a member of a tar held in memory.
pub fn member<W: Write>(tar: &Bytes, file: &StoredFile, to: W) -> Result<W, Wrong> {
    let expected = match file.codec {
        Codec::None => file.component.clone(),
        Codec::Zstd => format!("{}.zst", file.component),
    };
    // The part says where the bytes are; the tar has to agree that they are that file's.
    let found =
        super::tar::member_at(tar, file.offset).map_err(|error| wrong("tar", "a tar as it was stored", error))?;
    match &found {
        Some((name, length)) if *name == expected && *length == file.stored => {}
        Some((name, length)) => {
            return Err(wrong(
                "tar member",
                format!("{expected}, {} bytes", file.stored),
                format!("{name}, {length} bytes"),
            ));
        }
        None => return Err(wrong("tar member", format!("{expected} at {}", file.offset), "none there")),
    }
    let start = usize::try_from(file.offset).map_err(|_| wrong("offset", "within memory", file.offset))?;
    let stored = usize::try_from(file.stored).map_err(|_| wrong("stored", "within memory", file.stored))?;
    let bytes = start.checked_add(stored).and_then(|end| tar.get(start..end));
    let bytes = bytes.ok_or_else(|| wrong("tar", format!("{} bytes", file.offset + file.stored), tar.len()))?;
    let mut decoder = Decoder::new(file, to)?;
    decoder.push(bytes)?;
    decoder.finish()
}
