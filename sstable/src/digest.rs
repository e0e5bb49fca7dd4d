//! `Digest.crc32`: the CRC32 of all bytes of `Data.db`, as a decimal number in ASCII.
//!
//! The digests of versions before 3.0 (`Digest.adler32`, `Digest.sha1`) are other files and not read here.

use std::fmt;

use crate::error::{Error, Result};

/// Ten digits and room for some white space.
const LENGTH_MAX: usize = 64;

/// The checksum that `Data.db` should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u32);

impl Digest {
    /// Reads the whole file. White space may follow the number.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LENGTH_MAX {
            return Err(Error::corrupt(0, "digest", format_args!("at most {LENGTH_MAX} bytes"), bytes.len()));
        }
        let digits = bytes.trim_ascii_end();
        if digits.is_empty() {
            return Err(Error::truncated(0, "digest", 1, 0));
        }
        if let Some(at) = digits.iter().position(|byte| !byte.is_ascii_digit()) {
            let got = digits.get(at..).unwrap_or_default().escape_ascii();
            return Err(Error::corrupt(at as u64, "digest", "decimal digits", got));
        }
        let text = std::str::from_utf8(digits).unwrap_or_default();
        text.parse().map(Self).map_err(|_| Error::corrupt(0, "digest", "at most 4294967295", text))
    }
}

impl fmt::Display for Digest {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        #[track_caller]
        fn check(bytes: &[u8], expected: Result<u32, &str>) {
            let got = Digest::parse(bytes).map(|digest| digest.0).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned));
        }
        check(b"0", Ok(0));
        check(b"4294967295", Ok(u32::MAX));
        check(b"0000000012", Ok(12));
        check(b"12\n", Ok(12));
        check(b"12 \r\n", Ok(12));
        check(b"", Err("at 0: the file ends within digest: expected 1 more bytes, got 0"));
        check(b"\n", Err("at 0: the file ends within digest: expected 1 more bytes, got 0"));
        check(b"4294967296", Err("at 0: digest: expected at most 4294967295, got 4294967296"));
        check(b"12x", Err("at 2: digest: expected decimal digits, got x"));
        check(b" 12", Err("at 0: digest: expected decimal digits, got  12"));
        check(b"-1", Err("at 0: digest: expected decimal digits, got -1"));
        check(b"1\xff", Err("at 1: digest: expected decimal digits, got \\xff"));
        check(&[b'1'; 65], Err("at 0: digest: expected at most 64 bytes, got 65"));
    }

    #[test]
    fn round_trip() {
        for value in [0, 1, 2_613_697_770, u32::MAX] {
            assert_eq!(Digest::parse(Digest(value).to_string().as_bytes()), Ok(Digest(value)));
        }
    }
}
