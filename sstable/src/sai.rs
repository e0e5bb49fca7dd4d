//! `SAI+….db`: files of storage-attached indexes, of which only the frame is read here.
//!
//! ```text
//! contents | 0xc02893e8 u32 | 0 u32 | CRC-32C of everything before it u64
//! ```
//!
//! The checksum is the Castagnoli one, where all other files of an SSTable have the one of zlib. Completion markers may
//! be empty. The index is derived data: Cassandra builds it anew when it is missing.

use crate::error::{Error, Result};

const FOOTER_LENGTH: usize = 16;
const CHECKSUM_LENGTH: usize = 8;
const FOOTER_MAGIC: u32 = 0xc028_93e8;

/// Checks a file that is pushed through it, holding back only what may be the footer.
#[derive(Debug, Clone, Default)]
pub struct FooterCheck {
    /// CRC-32C of what is certainly before the footer's checksum.
    crc: u32,
    /// The last bytes so far.
    tail: Vec<u8>,
    length: u64,
}

impl FooterCheck {
    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(FOOTER_LENGTH);
        let certain = self.tail.get(..surplus).unwrap_or_default();
        self.crc = crc32c::crc32c_append(self.crc, certain);
        self.tail.drain(..surplus);
    }

    /// After the last byte: does the footer fit the file?
    pub fn finish(self) -> Result<()> {
        if self.length == 0 {
            return Ok(());
        }
        let start = self.length - self.tail.len() as u64;
        let Some((before, checksum)) = self.tail.split_last_chunk::<CHECKSUM_LENGTH>() else {
            return Err(Error::truncated(start, "footer", FOOTER_LENGTH as u64, self.length));
        };
        let Some((magic, _)) = before.split_first_chunk::<4>() else {
            return Err(Error::truncated(start, "footer", FOOTER_LENGTH as u64, self.length));
        };
        let magic = u32::from_be_bytes(*magic);
        if magic != FOOTER_MAGIC {
            let (expected, got) = (format_args!("{FOOTER_MAGIC:08x}"), format_args!("{magic:08x}"));
            return Err(Error::corrupt(start, "footer", expected, got));
        }
        let expected = u64::from_be_bytes(*checksum);
        let got = u64::from(crc32c::crc32c_append(self.crc, before));
        if got != expected {
            let (expected, got) = (format_args!("{expected:08x}"), format_args!("{got:08x}"));
            return Err(Error::corrupt(self.length - CHECKSUM_LENGTH as u64, "checksum", expected, got));
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn file(contents: &[u8]) -> Vec<u8> {
        let mut file = contents.to_vec();
        file.extend_from_slice(&FOOTER_MAGIC.to_be_bytes());
        file.extend_from_slice(&[0; 4]);
        let crc = u64::from(crc32c::crc32c(&file));
        file.extend_from_slice(&crc.to_be_bytes());
        file
    }

    fn check(pieces: &[&[u8]]) -> Result<()> {
        let mut check = FooterCheck::default();
        pieces.iter().for_each(|piece| check.push(piece));
        check.finish()
    }

    #[test]
    fn in_any_pieces() {
        assert_eq!(check(&[]), Ok(()));
        for length in [0, 1, 100] {
            let file = file(&vec![7; length]);
            for cut in 0..=file.len() {
                assert_eq!(check(&[&file[..cut], &file[cut..]]), Ok(()), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_found() {
        let file = file(b"some contents");
        for position in 0..file.len() {
            let mut flipped = file.clone();
            flipped[position] ^= 0x10;
            assert!(check(&[&flipped]).is_err(), "flipped at {position}");
            assert!(position == 0 || check(&[&file[..position]]).is_err(), "cut at {position}");
        }
    }
}
