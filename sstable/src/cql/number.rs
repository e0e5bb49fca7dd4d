//! Whole and decimal numbers: as text, and back.
//!
//! ```text
//! varint    two's complement, big-endian
//! decimal   i32 scale | varint unscaled      the number is unscaled * 10^-scale
//! ```

/// A varint longer than this is shown as bytes: its digits would take the square of its length in time.
pub const VARINT_BYTES_MAX: usize = 8 << 10;

/// Appends a number in decimal digits.
pub fn integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut count = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        count += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - count..).unwrap_or(&[]));
}

/// The same with a sign.
pub fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    integer(out, value.unsigned_abs());
}

/// The last `count` digits of a number, with zeros before it.
pub fn padded(out: &mut Vec<u8>, mut value: u64, count: usize) {
    let start = out.len();
    out.resize(start + count, b'0');
    for place in out.iter_mut().rev().take(count) {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Appends a varint; false if it is empty or too long.
pub fn varint(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let Some((negative, digits)) = digits(bytes) else { return false };
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits);
    true
}

/// Appends a decimal as Java's `BigDecimal.toString`: plain while the exponent is small, else with `E`; false if the
/// bytes are none.
pub fn decimal(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let Some((scale, unscaled)) = bytes.split_first_chunk::<4>() else { return false };
    let scale = i64::from(i32::from_be_bytes(*scale));
    let Some((negative, digits)) = digits(unscaled) else { return false };
    if negative {
        out.push(b'-');
    }
    let exponent = digits.len() as i64 - 1 - scale;
    if scale == 0 {
        out.extend_from_slice(&digits);
    } else if scale > 0 && exponent >= -6 {
        let point = digits.len() as i64 - scale;
        if let Ok(point) = usize::try_from(point)
            && point > 0
        {
            let (whole, rest) = digits.split_at(point.min(digits.len()));
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(rest);
        } else {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
            out.extend_from_slice(&digits);
        }
    } else {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        if exponent != 0 {
            out.push(b'E');
            out.push(if exponent < 0 { b'-' } else { b'+' });
            integer(out, exponent.unsigned_abs());
        }
    }
    true
}

/// Sign and digits of a two's complement number.
fn digits(bytes: &[u8]) -> Option<(bool, Vec<u8>)> {
    let negative = *bytes.first()? >= 0x80;
    let mut out = Vec::new();
    if bytes.len() <= 8 {
        let start = if negative { u64::MAX } else { 0 };
        let value = bytes.iter().fold(start, |value, &byte| (value << 8) | u64::from(byte)).cast_signed();
        integer(&mut out, value.unsigned_abs());
        return Some((negative, out));
    }
    if bytes.len() > VARINT_BYTES_MAX {
        return None;
    }
    // Limbs of the absolute value, highest first.
    let mut limbs: Vec<u32> = Vec::with_capacity(bytes.len() / 4 + 1);
    let fill = if negative { u32::MAX } else { 0 };
    for chunk in bytes.rchunks(4) {
        limbs.push(chunk.iter().fold(fill, |limb, &byte| (limb << 8) | u32::from(byte)));
    }
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
        }
        if carry {
            limbs.push(1);
        }
    }
    limbs.reverse();
    const GROUP: u64 = 1_000_000_000;
    let mut groups: Vec<u64> = Vec::new();
    let mut start = 0;
    while let Some(rest) = limbs.get_mut(start..).filter(|rest| !rest.is_empty()) {
        let mut remainder = 0_u64;
        for limb in rest.iter_mut() {
            let value = (remainder << 32) | u64::from(*limb);
            *limb = (value / GROUP) as u32;
            remainder = value % GROUP;
        }
        groups.push(remainder);
        start += rest.iter().take_while(|&&limb| limb == 0).count();
    }
    while groups.len() > 1 && groups.last() == Some(&0) {
        groups.pop();
    }
    let mut groups = groups.into_iter().rev();
    integer(&mut out, groups.next().unwrap_or(0));
    groups.for_each(|group| padded(&mut out, group, 9));
    Some((negative, out))
}

/// The shortest varint of a number in decimal digits.
pub fn parse_varint(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || digits.len() > 2 * VARINT_BYTES_MAX || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // Lowest byte first.
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            bytes.push(carry as u8);
        }
    }
    bytes.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut bytes {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    bytes.reverse();
    let redundant = |bytes: &[u8]| {
        matches!(bytes, [0, next, ..] if *next < 0x80) || matches!(bytes, [0xff, next, ..] if *next >= 0x80)
    };
    while redundant(&bytes) {
        bytes.remove(0);
    }
    Some(bytes)
}

/// A decimal of its text, with the scale that Java's `BigDecimal` gives it.
pub fn parse_decimal(text: &str) -> Option<Vec<u8>> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if fraction.starts_with(['+', '-']) {
        return None;
    }
    let unscaled = parse_varint(&format!("{whole}{fraction}"))?;
    let scale = i32::try_from((fraction.len() as i64).checked_sub(exponent)?).ok()?;
    Some([&scale.to_be_bytes()[..], &unscaled].concat())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(value: i128) {
            let text = value.to_string();
            let bytes = parse_varint(&text).unwrap();
            let mut out = Vec::new();
            prop_assert!(varint(&mut out, &bytes));
            prop_assert_eq!(String::from_utf8(out).unwrap(), text);
        }

        #[test]
        fn decimals_come_back(scale in -40..40_i32, unscaled: i64) {
            let bytes = [&scale.to_be_bytes()[..], &parse_varint(&unscaled.to_string()).unwrap()].concat();
            let mut out = Vec::new();
            prop_assert!(decimal(&mut out, &bytes));
            prop_assert_eq!(parse_decimal(std::str::from_utf8(&out).unwrap()).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_harmless(text: String) {
            let _ = (parse_varint(&text), parse_decimal(&text));
        }
    }

    #[test]
    fn shortest_varints() {
        for (text, bytes) in
            [("0", &[0][..]), ("127", &[127]), ("128", &[0, 128]), ("-128", &[128]), ("-129", &[0xff, 0x7f])]
        {
            assert_eq!(parse_varint(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!((parse_varint(""), parse_varint("-"), parse_varint("1x")), (None, None, None));
    }
}
