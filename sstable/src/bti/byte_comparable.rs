//! Keys whose bytes compare as the values do, by which the tries of BTI are sorted: Cassandra's `ByteComparable` in its
//! version OSS50.
//!
//! ```text
//! partition key   40 token 40 key 38
//! token           Murmur3: 8 bytes, sign bit flipped | Random: as a varint | others: the key
//! key             escaped
//! ```
//!
//! *Escaped* are bytes of any length: k zeros become `00 FE^(k-1) FF`; at the end `00 FE^k`; an end without zeros
//! gets `00`.

use crate::partitioner::{Partitioner, Token};

const NEXT: u8 = 0x40;
const END: u8 = 0x38;
/// -1 as a varint.
const MINUS_ONE: u8 = 0x7f;

/// A partition key as `Partitions.db` sorts it; `None` where the partitioner's order is that of a type.
pub fn partition_key(partitioner: &Partitioner, token: Token, key: &[u8]) -> Option<Vec<u8>> {
    if matches!(partitioner, Partitioner::Local(_)) {
        return None;
    }
    let mut out = token_prefix(token, key);
    out.push(NEXT);
    escaped(&mut out, key);
    out.push(END);
    Some(out)
}

/// What all partition keys of a token begin with; of `key` only where it is its own token.
pub fn token_prefix(token: Token, key: &[u8]) -> Vec<u8> {
    let mut out = vec![NEXT];
    match token {
        Token::Murmur3(token) => out.extend((token ^ i64::MIN).to_be_bytes()),
        Token::Random(Some(token)) => natural(&mut out, token),
        Token::Random(None) => out.push(MINUS_ONE),
        Token::Key => escaped(&mut out, key),
    }
    out
}

/// A natural number as a varint.
fn natural(out: &mut Vec<u8>, number: u128) {
    let bytes = number.to_be_bytes();
    let significant = bytes.get(number.leading_zeros() as usize / 8..).unwrap_or_default();
    match u64::try_from(number) {
        Ok(small) if significant.len() <= 6 => {
            // A one for the sign and one more per further byte, a zero, and the number.
            let bits = 64 - small.leading_zeros();
            let length = ((bits + 1).div_ceil(7)).max(1);
            let marks = (u64::MAX << (64 - length)) >> (64 - 8 * length);
            let image = (small | marks).to_be_bytes();
            out.extend_from_slice(image.get(8 - length as usize..).unwrap_or_default());
        }
        _ => {
            // At most 16 bytes, so the length takes one.
            out.push(0xff);
            out.push(u8::try_from(significant.len().saturating_sub(7)).unwrap_or_default());
            out.extend_from_slice(significant);
        }
    }
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == 0) {
        let (plain, zeros) = rest.split_at_checked(at).unwrap_or_default();
        let count = zeros.iter().take_while(|&&byte| byte == 0).count();
        rest = zeros.get(count..).unwrap_or_default();
        out.extend_from_slice(plain);
        out.push(0);
        let fillers = if rest.is_empty() { count } else { count - 1 };
        out.extend(std::iter::repeat_n(0xfe, fillers));
        if rest.is_empty() {
            return;
        }
        out.push(0xff);
    }
    out.extend_from_slice(rest);
    out.push(0);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escape(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escaped(&mut out, bytes);
        out
    }

    #[test]
    fn zeros_are_escaped() {
        let check = |bytes: &[u8], expected: &[u8]| assert_eq!(escape(bytes), expected, "{bytes:02x?}");
        check(&[0x22, 0, 0, 0x33], &[0x22, 0, 0xfe, 0xff, 0x33, 0]);
        check(&[0x22, 0], &[0x22, 0, 0xfe]);
        check(&[0, 0], &[0, 0xfe, 0xfe]);
        check(&[0, 1, 0], &[0, 0xff, 1, 0, 0xfe]);
        check(&[], &[0]);
        check(&[7], &[7, 0]);
    }

    #[test]
    fn naturals() {
        let check = |number: u128, expected: &[u8]| {
            let mut out = Vec::new();
            natural(&mut out, number);
            assert_eq!(out, expected, "{number}");
        };
        check(0, &[0x80]);
        check(63, &[0xbf]);
        check(64, &[0xc0, 0x40]);
        check((1 << 13) - 1, &[0xdf, 0xff]);
        check(1 << 13, &[0xe0, 0x20, 0]);
        check((1 << 48) - 1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        check(1 << 48, &[0xff, 0, 1, 0, 0, 0, 0, 0, 0]);
        check(1 << 56, &[0xff, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
        check(1 << 64, &[0xff, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn keys() {
        let key =
            |partitioner: &Partitioner, key: &[u8]| partition_key(partitioner, partitioner.token(key), key).unwrap();
        assert_eq!(key(&Partitioner::ByteOrdered, b"0"), [0x40, b'0', 0, 0x40, b'0', 0, 0x38]);
        let murmur = key(&Partitioner::Murmur3, b"test");
        assert_eq!(
            murmur,
            [&[0x40][..], &(-6_017_608_668_500_074_083_i64 ^ i64::MIN).to_be_bytes(), b"\x40test\0\x38"].concat()
        );
    }

    proptest! {
        #[test]
        fn bytes_compare_as_values_do(a in any::<Vec<u8>>(), b in any::<Vec<u8>>(), zeros in 0..4_usize) {
            let b = [&a[..], &vec![0; zeros], &b].concat();
            prop_assert_eq!(escape(&a).cmp(&escape(&b)), a.cmp(&b));
            for partitioner in [Partitioner::Murmur3, Partitioner::Random, Partitioner::ByteOrdered] {
                let [x, y] = [&a, &b].map(|key| partition_key(&partitioner, partitioner.token(key), key).unwrap());
                let by_value = partitioner.compare((partitioner.token(&a), &a), (partitioner.token(&b), &b));
                prop_assert_eq!(x.cmp(&y), by_value);
            }
        }

        #[test]
        fn naturals_compare(a in any::<u128>(), b in any::<u128>(), x in 0..128_u32, y in 0..128_u32) {
            let [image_a, image_b] = [a >> x, b >> y].map(|number| {
                let mut out = Vec::new();
                natural(&mut out, number);
                out
            });
            prop_assert_eq!(image_a.cmp(&image_b), (a >> x).cmp(&(b >> y)));
        }
    }
}
