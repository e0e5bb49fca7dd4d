//! Where a partition key lies on the ring: the order of the partitions in `Data.db`.
//!
//! Only Murmur3 is here, the default since 1.2. The order of the others is not checked.

/// Full class name of the partitioner whose tokens [`murmur3_token`] computes.
pub const MURMUR3_PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

/// Token of a partition key. The empty key has the lowest of all.
pub fn murmur3_token(key: &[u8]) -> i64 {
    if key.is_empty() {
        return i64::MIN;
    }
    let (h1, _) = murmur3_x64_128(key);
    match h1.cast_signed() {
        // The lowest token means "before the ring" to Cassandra, and no key may have it.
        i64::MIN => i64::MAX,
        token => token,
    }
}

/// MurmurHash3 with seed 0 in Cassandra's variant, which takes each byte of the tail for a signed one. The Bloom filter
/// and the hash bytes of BTI are made from both halves.
pub fn murmur3_x64_128(key: &[u8]) -> (u64, u64) {
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
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        fn check(key: &[u8], token: i64) {
            assert_eq!(murmur3_token(key), token, "{key:02x?}");
        }
        // As Cassandra answers `SELECT token(pk)`; the last one has bytes above 0x7f in its tail.
        check(b"test", -6_017_608_668_500_074_083);
        check(b"xd", 4_507_812_186_440_344_727);
        check(b"primary_key", -1_632_642_444_691_073_360);
        check("krem\u{f3}wki".as_bytes(), 4_354_931_215_268_080_151);
        check(b"", i64::MIN);
    }

    #[test]
    fn whole_blocks_and_tails_differ_from_one_another() {
        let key: Vec<u8> = (100..=164).collect();
        let tokens: std::collections::BTreeSet<i64> =
            (0..=key.len()).map(|end| murmur3_token(key.get(..end).unwrap_or(&[]))).collect();
        assert_eq!(tokens.len(), 66);
    }

    /// The hash bytes in a `Partitions.db` of Cassandra's own test data, which are the low bytes of the second half.
    #[test]
    fn second_half() {
        let bytes = [b"0", b"1", b"2", b"3", b"4"].map(|key| murmur3_x64_128(key).1.to_be_bytes());
        assert_eq!(bytes.map(|[.., low]| low), [0x09, 0x37, 0xdd, 0x02, 0x2f]);
    }
}
