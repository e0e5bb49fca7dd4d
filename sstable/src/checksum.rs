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
        match shifted(self.value(), next.length) {
            Some(shifted) => self.hasher = crc32fast::Hasher::new_with_initial(shifted ^ next.value()),
            None => self.hasher.combine(&next.hasher),
        }
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

/// The polynomial, bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// `POWERS[level][n]` is x to the power of 8 · n · 256^level, modulo the polynomial: what a checksum is multiplied with
/// when that many zero bytes follow. An SSTable has a chunk every few kilobytes, and the general algorithm takes longer
/// for one of them than the checksum itself.
static POWERS: [[u32; 256]; 3] = powers();

const fn powers() -> [[u32; 256]; 3] {
    let mut powers = [[0; 256]; 3];
    let mut level = 0;
    // x to the power of 8.
    let mut step = 0x0080_0000;
    while level < powers.len() {
        // 1, bits reversed.
        let mut power = 0x8000_0000;
        let mut n = 0;
        while n < 256 {
            #[expect(clippy::indexing_slicing, reason = "computed by the compiler, within the bounds of the loops")]
            {
                powers[level][n] = power;
            }
            power = multiplied_slowly(power, step);
            n += 1;
        }
        // 256 steps.
        step = power;
        level += 1;
    }
    powers
}

/// The product of two polynomials, modulo [`POLYNOMIAL`], bit by bit.
const fn multiplied_slowly(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product ^= b & ((a >> bit) & 1).wrapping_neg();
        b = (b >> 1) ^ ((b & 1).wrapping_neg() & POLYNOMIAL);
    }
    product
}

/// `REDUCED[n][byte]` is what the byte, followed by n zero bytes, leaves of itself.
static REDUCED: [[u32; 256]; 4] = reduced();

const fn reduced() -> [[u32; 256]; 4] {
    let mut reduced = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut zeros = 0;
        while zeros < reduced.len() {
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ ((value & 1).wrapping_neg() & POLYNOMIAL);
                bit += 1;
            }
            #[expect(clippy::indexing_slicing, reason = "computed by the compiler, within the bounds of the loops")]
            {
                reduced[zeros][byte] = value;
            }
            zeros += 1;
        }
        byte += 1;
    }
    reduced
}

/// The product of two polynomials, modulo [`POLYNOMIAL`].
fn multiplied(a: u32, b: u32) -> u32 {
    // Bits are reversed: the product's highest powers are in its lowest bits.
    let product = product(a, b) << 1;
    let [b0, b1, b2, b3, h0, h1, h2, h3] = product.to_le_bytes();
    let [after0, after1, after2, after3] = &REDUCED;
    [(after3, b0), (after2, b1), (after1, b2), (after0, b3)]
        .into_iter()
        .fold(u32::from_le_bytes([h0, h1, h2, h3]), |sum, (table, byte)| {
            sum ^ table.get(usize::from(byte)).copied().unwrap_or_default()
        })
}

/// The product of two polynomials. Every fourth bit at a time: the at most 8 products that meet in one place leave
/// their carries in the three bits above it, so the processor's multiplication of numbers serves.
const fn product(a: u32, b: u32) -> u64 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    /// Of numbers of 32 bits, so that nothing is lost.
    const fn times(a: u64, b: u64) -> u64 {
        a.wrapping_mul(b)
    }
    let (a, b) = (a as u64, b as u64);
    let [a0, a1, a2, a3] =
        [a & EVERY_FOURTH, a & (EVERY_FOURTH << 1), a & (EVERY_FOURTH << 2), a & (EVERY_FOURTH << 3)];
    let [b0, b1, b2, b3] =
        [b & EVERY_FOURTH, b & (EVERY_FOURTH << 1), b & (EVERY_FOURTH << 2), b & (EVERY_FOURTH << 3)];
    let c0 = times(a0, b0) ^ times(a1, b3) ^ times(a2, b2) ^ times(a3, b1);
    let c1 = times(a0, b1) ^ times(a1, b0) ^ times(a2, b3) ^ times(a3, b2);
    let c2 = times(a0, b2) ^ times(a1, b1) ^ times(a2, b0) ^ times(a3, b3);
    let c3 = times(a0, b3) ^ times(a1, b2) ^ times(a2, b1) ^ times(a3, b0);
    (c0 & EVERY_FOURTH) | (c1 & (EVERY_FOURTH << 1)) | (c2 & (EVERY_FOURTH << 2)) | (c3 & (EVERY_FOURTH << 3))
}

/// The checksum after `zeros` zero bytes, for numbers that the tables have.
fn shifted(checksum: u32, zeros: u64) -> Option<u32> {
    let [0, 0, 0, 0, 0, high, middle, low] = zeros.to_be_bytes() else { return None };
    let [lows, middles, highs] = &POWERS;
    let mut factor = *lows.get(usize::from(low))?;
    for (powers, digit) in [(middles, middle), (highs, high)] {
        if digit != 0 {
            factor = multiplied(factor, *powers.get(usize::from(digit))?);
        }
    }
    Some(multiplied(factor, checksum))
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

    #[test]
    fn combining_agrees_with_the_library() {
        let first = crc32(b"something before");
        for length in [1_u64, 255, 256, 257, 12_345, 65_535, 65_536, 1 << 23, (1 << 24) - 1, 1 << 24, 1 << 40] {
            let next = Crc32::with_value(0x1234_5678, length);
            let mut ours = Crc32::with_value(first, 16);
            ours.combine(&next);
            let mut library = crc32fast::Hasher::new_with_initial_len(first, 16);
            library.combine(&crc32fast::Hasher::new_with_initial_len(0x1234_5678, length));
            assert_eq!(ours.value(), library.finalize(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn both_products_agree(a: u32, b: u32) {
            prop_assert_eq!(multiplied(a, b), multiplied_slowly(a, b));
        }

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
