//! CRC32 as in zlib and `java.util.zip.CRC32`: the only checksum that SSTables since 3.0 use.

/// The CRC32 of a slice.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// A CRC32 that is fed in pieces and knows how many bytes it has seen.
#[derive(Debug, Clone, Default)]
pub struct Crc32 {
    hasher: crc32fast::Hasher,
    length: u64,
}

impl Crc32 {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state after `length` bytes whose checksum is known.
    pub fn with_value(value: u32, length: u64) -> Self {
        Self { hasher: crc32fast::Hasher::new_with_initial_len(value, length), length }
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// Appends bytes of which only the checksum is at hand, as if they had been fed, so that the parts of a file and
    /// the whole of it take one pass.
    pub fn combine(&mut self, next: &Self) {
        self.hasher.combine(&next.hasher);
        self.length = self.length.saturating_add(next.length);
    }

    /// The checksum so far.
    pub fn value(&self) -> u32 {
        self.hasher.clone().finalize()
    }

    /// Back to no bytes.
    pub fn reset(&mut self) {
        self.hasher.reset();
        self.length = 0;
    }

    /// Number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn constants() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        // The number of parts that starts most Statistics.db.
        assert_eq!(crc32(&[0, 0, 0, 4]), 0x2629_1b05);
    }

    proptest! {
        #[test]
        fn parts_combine_to_the_whole(a: Vec<u8>, b: Vec<u8>) {
            let whole = crc32(&[a.as_slice(), b.as_slice()].concat());
            let (mut first, mut second) = (Crc32::new(), Crc32::new());
            first.update(&a);
            second.update(&b);
            first.combine(&second);
            prop_assert_eq!((first.value(), first.length()), (whole, (a.len() + b.len()) as u64));
            let mut resumed = Crc32::with_value(crc32(&a), a.len() as u64);
            resumed.update(&b);
            prop_assert_eq!(resumed.value(), whole);
        }
    }
}
