//! Manifests and parts as bytes: JSON under zstd.

use std::io::{self, Read};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::model::PART_HASH_DIGITS;

/// The largest document, plain: a part of this size names some 300,000 SSTables.
pub const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

/// What repeats in a document does so within one SSTable; a larger window costs megabytes of memory, and gains little.
const WINDOW_LOG: u32 = 17;

/// A document ready to be stored.
#[derive(Debug)]
pub struct Encoded {
    /// The bytes of the object.
    pub body: Bytes,
    /// First hex digits of the BLAKE3 of the plain JSON: equal documents have equal hashes whatever compressed them.
    pub hash: String,
}

/// Writes a document as JSON under zstd.
pub fn encode(document: &impl Serialize) -> io::Result<Encoded> {
    let mut hasher = blake3::Hasher::new();
    let mut compressed = zstd::Encoder::new(Vec::new(), 1)?;
    compressed.window_log(WINDOW_LOG)?;
    compressed.include_checksum(true)?;
    serde_json::to_writer(Tee(&mut hasher, &mut compressed), document)?;
    let mut hash = hasher.finalize().to_hex().to_string();
    hash.truncate(PART_HASH_DIGITS);
    Ok(Encoded { body: compressed.finish()?.into(), hash })
}

struct Tee<'a, W>(&'a mut blake3::Hasher, &'a mut W);

impl<W: io::Write> io::Write for Tee<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.1.write(bytes)?;
        self.0.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

/// Reads a document; more than [`MAX_DOCUMENT_BYTES`] of plain JSON is refused.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    let mut plain = Vec::new();
    // To the end, so that the frame's checksum is seen; JSON is parsed several times faster from memory than from a stream.
    let read = zstd::Decoder::with_buffer(body)?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut plain)?;
    if read as u64 > MAX_DOCUMENT_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("more than {MAX_DOCUMENT_BYTES} bytes of JSON"),
        ));
    }
    Ok(serde_json::from_slice(&plain)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_byte_is_noticed() {
        let document: Vec<String> = (0..100).map(|n| format!("table {n}")).collect();
        let encoded = encode(&document).expect("encodes");
        assert_eq!(decode::<Vec<String>>(&encoded.body).expect("decodes"), document);
        for position in 0..encoded.body.len() {
            let mut flipped = encoded.body.to_vec();
            flipped[position] ^= 1;
            // A flip in the frame header may leave the content as it was; it must never change it.
            if let Ok(read) = decode::<Vec<String>>(&flipped) {
                assert_eq!(read, document, "byte {position}");
            }
        }
    }

    #[test]
    fn equal_documents_have_equal_hashes() {
        let hash = |text: &str| encode(&text).expect("encodes").hash;
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(hash("a").len(), PART_HASH_DIGITS);
    }
}
