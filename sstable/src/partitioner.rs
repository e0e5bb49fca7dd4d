//! Where a partition key lies on the ring: the order of the partitions in `Data.db`.
//!
//! | partitioner     | token of a key                                                 |
//! |-----------------|----------------------------------------------------------------|
//! | Murmur3         | first half of MurmurHash3 in Cassandra's variant, signed       |
//! | Random          | absolute value of the key's MD5, taken for signed              |
//! | ByteOrdered     | the key                                                        |
//! | OrderPreserving | the key, as text                                               |
//! | Local           | the key, in the order of its type: tables of indexes           |
//!
//! Partitions are in the order of their tokens, and of their keys' bytes where the tokens are the same.

use std::cmp::Ordering;

use md5::{Digest as _, Md5};

use crate::cql::compare::Comparator;
use crate::cql::types::Type;

/// The package of Cassandra's own partitioners.
const PACKAGE: &str = "org.apache.cassandra.dht.";

/// How keys become tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitioner {
    /// The default since 1.2.
    Murmur3,
    /// The default before that.
    Random,
    /// Tokens are keys.
    ByteOrdered,
    /// Tokens are keys, taken for text.
    OrderPreserving,
    /// Keys are in the order of their type.
    Local(Comparator),
}

impl Partitioner {
    /// By the class name in `Statistics.db`; `None` for a plugin, and where the order of `key`, the
    /// type of the partition key, is needed and not known.
    pub fn from_class(class: &str, key: &Type) -> Option<Self> {
        match class.strip_prefix(PACKAGE)? {
            "Murmur3Partitioner" => Some(Self::Murmur3),
            "RandomPartitioner" => Some(Self::Random),
            "ByteOrderedPartitioner" => Some(Self::ByteOrdered),
            "OrderPreservingPartitioner" => Some(Self::OrderPreserving),
            "LocalPartitioner" => Comparator::of(key).map(Self::Local),
            _ => None,
        }
    }

    /// Token of a partition key.
    pub fn token(&self, key: &[u8]) -> Token {
        self.token_of(key, KeyHash::of(key))
    }

    /// The same, for who has the hash already.
    pub fn token_of(&self, key: &[u8], hash: KeyHash) -> Token {
        match self {
            Self::Murmur3 => Token::Murmur3(hash.murmur3_token(key)),
            Self::Random if key.is_empty() => Token::Random(None),
            Self::Random => Token::Random(Some(i128::from_be_bytes(Md5::digest(key).into()).unsigned_abs())),
            Self::ByteOrdered | Self::OrderPreserving | Self::Local(_) => Token::Key,
        }
    }

    /// Order of two partitions, given their tokens and keys.
    pub fn compare(&self, (token, key): (Token, &[u8]), (other_token, other_key): (Token, &[u8])) -> Ordering {
        match self {
            Self::Local(comparator) => comparator.compare(key, other_key),
            // Java compares its strings by UTF-16 unit.
            Self::OrderPreserving => {
                let [text, other_text] = [key, other_key].map(String::from_utf8_lossy);
                text.encode_utf16().cmp(other_text.encode_utf16()).then_with(|| key.cmp(other_key))
            }
            _ => token.cmp(&other_token).then_with(|| key.cmp(other_key)),
        }
    }
}

/// A place on the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// Of the Murmur3 partitioner; the lowest is before the ring.
    Murmur3(i64),
    /// Of the Random partitioner; the empty key, which Cassandra gives the token -1, has none.
    Random(Option<u128>),
    /// The key itself is its token.
    Key,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Murmur3(token) => token.fmt(f),
            Self::Random(Some(token)) => token.fmt(f),
            Self::Random(None) => f.write_str("-1"),
            Self::Key => f.write_str("the key"),
        }
    }
}

/// Both halves of a key's MurmurHash3, from which its Murmur3 token, its bits in the Bloom filter and its hash byte in
/// `Partitions.db` are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash {
    /// The first half, of which the token is made.
    pub h1: u64,
    /// The second half; its low byte is the hash byte.
    pub h2: u64,
}

impl KeyHash {
    /// Hashes a partition key.
    pub fn of(key: &[u8]) -> Self {
        let (h1, h2) = murmur3_x64_128(key);
        Self { h1, h2 }
    }

    /// The byte by which `Partitions.db` tells keys apart that share a prefix.
    pub fn low_byte(self) -> u8 {
        self.h2.to_be_bytes()[7]
    }

    fn murmur3_token(self, key: &[u8]) -> i64 {
        match self.h1.cast_signed() {
            _ if key.is_empty() => i64::MIN,
            // The lowest token means "before the ring" to Cassandra, and no key may have it.
            i64::MIN => i64::MAX,
            token => token,
        }
    }
}

/// MurmurHash3 with seed 0 in Cassandra's variant, which takes each byte of the tail for a signed one.
fn murmur3_x64_128(key: &[u8]) -> (u64, u64) {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);

    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = key.as_chunks::<16>();
    for block in blocks {
        // The low half of the 128 bits is the first one.
        let both = u128::from_le_bytes(*block);
        h1 ^= mix1(both as u64);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2((both >> 64) as u64);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (mut k1, mut k2) = (0_u64, 0_u64);
    for (index, &byte) in tail.iter().enumerate() {
        let extended = i64::from(byte.cast_signed()).cast_unsigned();
        if index < 8 {
            k1 ^= extended << (8 * index);
        } else {
            k2 ^= extended << (8 * (index - 8));
        }
    }
    h2 ^= mix2(k2);
    h1 ^= mix1(k1);
    h1 ^= key.len() as u64;
    h2 ^= key.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    (h1, h2.wrapping_add(h1))
}

fn finish(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        fn check(key: &[u8], token: i64) {
            assert_eq!(Partitioner::Murmur3.token(key), Token::Murmur3(token), "{key:02x?}");
        }
        // As Cassandra answers `SELECT token(pk)`; the last one has bytes above 0x7f in its tail.
        check(b"test", -6_017_608_668_500_074_083);
        check(b"xd", 4_507_812_186_440_344_727);
        check(b"primary_key", -1_632_642_444_691_073_360);
        check("krem\u{f3}wki".as_bytes(), 4_354_931_215_268_080_151);
        check(b"", i64::MIN);
    }

    #[test]
    fn tokens_of_the_random_partitioner() {
        fn check(key: &[u8], token: Option<u128>) {
            assert_eq!(Partitioner::Random.token(key), Token::Random(token), "{key:02x?}");
        }
        // MD5 of "a" is 0cc175b9..., which is positive; that of "abc" is 90015098..., which is negative.
        check(b"a", Some(0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661));
        check(b"abc", Some(0x6ffe_af67_c32d_b04f_2969_c082_d71e_808e));
        check(b"", None);
        assert!(Token::Random(None) < Token::Random(Some(0)));
    }

    #[test]
    fn whole_blocks_and_tails_differ_from_one_another() {
        let key: Vec<u8> = (100..=164).collect();
        let tokens: std::collections::BTreeSet<Token> =
            (0..=key.len()).map(|end| Partitioner::Murmur3.token(&key[..end])).collect();
        assert_eq!(tokens.len(), 66);
    }

    /// The hash bytes in a `Partitions.db` of Cassandra's own test data.
    #[test]
    fn second_half() {
        let bytes = [b"0", b"1", b"2", b"3", b"4"].map(|key| KeyHash::of(key).low_byte());
        assert_eq!(bytes, [0x09, 0x37, 0xdd, 0x02, 0x2f]);
    }

    #[test]
    fn classes_and_their_orders() {
        fn check(class: &str, key: &str, lower: &[u8], higher: &[u8]) {
            let partitioner = Partitioner::from_class(class, &Type::parse(key).unwrap()).unwrap();
            let [lower, higher] = [lower, higher].map(|key| (partitioner.token(key), key));
            assert_eq!(partitioner.compare(lower, higher), Ordering::Less, "{class}");
            assert_eq!(partitioner.compare(higher, lower), Ordering::Greater, "{class}");
            assert_eq!(partitioner.compare(lower, lower), Ordering::Equal, "{class}");
        }
        check("org.apache.cassandra.dht.Murmur3Partitioner", "UTF8Type", b"test", b"xd");
        check("org.apache.cassandra.dht.RandomPartitioner", "UTF8Type", b"a", b"abc");
        check("org.apache.cassandra.dht.ByteOrderedPartitioner", "Int32Type", b"\x01", b"\xff");
        check("org.apache.cassandra.dht.OrderPreservingPartitioner", "UTF8Type", b"a", b"b");
        // By the type: -1 is less than 1.
        check("org.apache.cassandra.dht.LocalPartitioner", "Int32Type", b"\xff\xff\xff\xff", b"\0\0\0\x01");
        let blob = Type::parse("BytesType").unwrap();
        for plugin in ["com.example.Mine", "org.apache.cassandra.dht.Mine", "Murmur3Partitioner"] {
            assert_eq!(Partitioner::from_class(plugin, &blob), None);
        }
        let custom = Type::parse("com.example.Mine").unwrap();
        assert_eq!(Partitioner::from_class("org.apache.cassandra.dht.LocalPartitioner", &custom), None);
    }
}
