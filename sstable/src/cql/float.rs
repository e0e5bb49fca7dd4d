//! Floating-point numbers as `Double.toString` and `Float.toString` of Java up to 18 write them, which is how
//! Cassandra's tools print them.
//!
//! Java's digits are those of Steele and White's algorithm with an older stopping rule: they lead back to the same
//! number, but are not always the fewest that do (`8.409999999999999E21` for 8.41E21). What other tools have printed is
//! compared as text, so the rule is kept to the digit.

use super::number::integer;

/// Bits behind the leading one of a double.
const EXPONENT_SHIFT: i32 = 52;
const LEADING_ONE: u64 = 1 << EXPONENT_SHIFT;

/// Appends a double; what is no number as `NaN`, `Infinity` or `-Infinity`.
pub fn double(out: &mut Vec<u8>, value: f64) {
    let bits = value.to_bits();
    let fraction = bits & (LEADING_ONE - 1);
    let exponent = ((bits >> EXPONENT_SHIFT) & 0x7ff) as i32;
    if !value.is_finite() || value == 0.0 {
        return special(out, value);
    }
    let (fraction, exponent, significant_bits) = if exponent == 0 {
        let leading_zeros = fraction.leading_zeros() as i32;
        let shift = leading_zeros - (63 - EXPONENT_SHIFT);
        (fraction << shift, 1 - shift, 64 - leading_zeros)
    } else {
        (fraction | LEADING_ONE, exponent, EXPONENT_SHIFT + 1)
    };
    sign(out, value);
    Digits::of(exponent - 1023, fraction, significant_bits).write(out);
}

/// Appends a float, with the digits that a float needs.
pub fn float(out: &mut Vec<u8>, value: f32) {
    const SHIFT: i32 = 23;
    let bits = value.to_bits();
    let fraction = bits & ((1 << SHIFT) - 1);
    let exponent = ((bits >> SHIFT) & 0xff) as i32;
    if !value.is_finite() || value == 0.0 {
        return special(out, value.into());
    }
    let (fraction, exponent, significant_bits) = if exponent == 0 {
        let leading_zeros = fraction.leading_zeros() as i32;
        let shift = leading_zeros - (31 - SHIFT);
        (fraction << shift, 1 - shift, 32 - leading_zeros)
    } else {
        (fraction | 1 << SHIFT, exponent, SHIFT + 1)
    };
    sign(out, value.into());
    Digits::of(exponent - 127, u64::from(fraction) << (EXPONENT_SHIFT - SHIFT), significant_bits).write(out);
}

fn sign(out: &mut Vec<u8>, value: f64) {
    if value.is_sign_negative() {
        out.push(b'-');
    }
}

fn special(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    sign(out, value);
    out.extend_from_slice(if value == 0.0 { b"0.0" } else { b"Infinity" });
}

/// Digits `d` and an exponent `e`: the number is 0.ddd * 10^e.
struct Digits {
    digits: [u8; 24],
    count: usize,
    exponent: i32,
}

impl Digits {
    /// Of `fraction * 2^(exponent - 52)`, whose bit 52 is set, and of which `significant_bits` are known.
    fn of(exponent: i32, fraction: u64, significant_bits: i32) -> Self {
        let trailing_zeros = fraction.trailing_zeros() as i32;
        let fraction_bits = EXPONENT_SHIFT + 1 - trailing_zeros;
        let tiny_bits = (fraction_bits - exponent - 1).max(0);
        if tiny_bits == 0 && exponent <= 62 {
            let unknown = if exponent > significant_bits { exponent - significant_bits - 1 } else { 0 };
            let whole = if exponent >= EXPONENT_SHIFT {
                fraction << (exponent - EXPONENT_SHIFT)
            } else {
                fraction >> (EXPONENT_SHIFT - exponent)
            };
            return Self::of_whole(whole, unknown);
        }
        let mut decimal_exponent = estimate(fraction, exponent);
        let fraction = fraction >> trailing_zeros;
        // The number is B / S * 10^exponent, and half the distance to the next one M / S; each is kept as powers of two
        // and five.
        let b5 = (-decimal_exponent).max(0);
        let s5 = decimal_exponent.max(0);
        let (mut b2, mut s2) = (b5 + tiny_bits + exponent, s5 + tiny_bits);
        let mut m2 = b2 - significant_bits;
        b2 -= fraction_bits - 1;
        let common = b2.min(s2);
        b2 -= common;
        s2 -= common;
        m2 -= common;
        if fraction_bits == 1 {
            m2 -= 1;
        }
        if m2 < 0 {
            b2 -= m2;
            s2 -= m2;
            m2 = 0;
        }
        let b_bits = fraction_bits + b2 + bits_of_five_to(b5);
        let ten_s_bits = s2 + 1 + bits_of_five_to(s5 + 1);
        // Java's two ways of computing differ in what they do with a tie.
        let ties_are_high = b_bits >= 64 || ten_s_bits >= 64;
        let mut digits = Self { digits: [0; 24], count: 0, exponent: 0 };
        let round_up = if b_bits.max(ten_s_bits) < 120 && m2 + bits_of_five_to(b5) < 120 {
            let number = |five: i32, two: i32| 5_u128.pow(five.cast_unsigned()) << two.cast_unsigned();
            let b = u128::from(fraction) * number(b5, b2);
            digits.develop(&mut decimal_exponent, b, number(s5, s2), number(b5, m2), ties_are_high)
        } else {
            let number = |factor: u64, five: i32, two: i32| Big::new(factor).times_five_to(five).shifted(two);
            let b = number(fraction, b5, b2);
            digits.develop(&mut decimal_exponent, b, number(1, s5, s2), number(1, b5, m2), ties_are_high)
        };
        digits.exponent = decimal_exponent + 1;
        if round_up {
            digits.round_up();
        }
        digits
    }

    /// Of a whole number, of which the last digits of about `unknown` bits mean nothing.
    fn of_whole(mut whole: u64, unknown: i32) -> Self {
        let mut exponent = 0;
        let insignificant = if unknown > 1 { (unknown.cast_unsigned() * 1233) >> 12 } else { 0 };
        if insignificant != 0 {
            let power = 10_u64.pow(insignificant.min(19));
            let rest = whole % power;
            whole /= power;
            exponent += insignificant as i32;
            if rest >= power >> 1 {
                whole += 1;
            }
        }
        while whole != 0 && whole.is_multiple_of(10) {
            whole /= 10;
            exponent += 1;
        }
        let mut text = Vec::with_capacity(20);
        integer(&mut text, whole);
        let mut digits = Self { digits: [0; 24], count: 0, exponent: exponent + text.len() as i32 };
        text.iter().for_each(|&digit| digits.push(digit - b'0'));
        digits
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.digits.get_mut(self.count) {
            *place = digit;
            self.count += 1;
        }
    }

    /// Divides digit by digit until what is left is less than half the distance to the next number. True if the last
    /// digit is to be rounded up.
    fn develop<N: Number>(&mut self, exponent: &mut i32, mut b: N, s: N, mut m: N, ties_are_high: bool) -> bool {
        let ten_s = s.clone().times_ten();
        let is_high = |b: &N, m: &N| match b.clone().plus(m).cmp(&ten_s) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => ties_are_high,
            std::cmp::Ordering::Less => false,
        };
        let first = b.divide(&s);
        b = b.times_ten();
        m = m.times_ten();
        let (mut low, mut high) = (b < m, is_high(&b, &m));
        if first == 0 && !high {
            *exponent -= 1;
        } else {
            self.push(first);
        }
        // One digit after the point is always there, so the form with an exponent needs two.
        if *exponent < -3 || *exponent >= 8 {
            (low, high) = (false, false);
        }
        while !low && !high && self.count < self.digits.len() {
            let digit = b.divide(&s);
            b = b.times_ten();
            m = m.times_ten();
            (low, high) = (b < m, is_high(&b, &m));
            self.push(digit);
        }
        if !(high && low) {
            return high;
        }
        match b.clone().plus(&b).cmp(&ten_s) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.last() & 1 != 0,
            std::cmp::Ordering::Less => false,
        }
    }

    fn last(&self) -> u8 {
        self.count.checked_sub(1).and_then(|last| self.digits.get(last)).copied().unwrap_or(0)
    }

    fn round_up(&mut self) {
        for digit in self.digits.iter_mut().take(self.count).rev() {
            if *digit == 9 {
                *digit = 0;
            } else {
                *digit += 1;
                return;
            }
        }
        self.exponent += 1;
        if let Some(first) = self.digits.first_mut() {
            *first = 1;
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let digits = self.digits.get(..self.count).unwrap_or(&[]);
        let append = |out: &mut Vec<u8>, digits: &[u8]| out.extend(digits.iter().map(|digit| digit + b'0'));
        let zeros = |out: &mut Vec<u8>, count: usize| out.extend(std::iter::repeat_n(b'0', count));
        let point = usize::try_from(self.exponent).unwrap_or(0);
        match self.exponent {
            1..8 => {
                let (whole, rest) = digits.split_at(point.min(digits.len()));
                append(out, whole);
                zeros(out, point - whole.len());
                out.push(b'.');
                append(out, if rest.is_empty() { &[0] } else { rest });
            }
            -2..=0 => {
                out.extend_from_slice(b"0.");
                zeros(out, self.exponent.unsigned_abs() as usize);
                append(out, digits);
            }
            exponent => {
                let (first, rest) = digits.split_at(1.min(digits.len()));
                append(out, first);
                out.push(b'.');
                append(out, if rest.is_empty() { &[0] } else { rest });
                out.push(b'E');
                if exponent <= 0 {
                    out.push(b'-');
                }
                integer(out, u64::from((exponent - 1).unsigned_abs()));
            }
        }
    }
}

/// The decimal exponent, or one more.
#[expect(clippy::approx_constant, reason = "Java's own constant, whose last digits count")]
fn estimate(fraction: u64, exponent: i32) -> i32 {
    let mantissa = f64::from_bits(0x3ff0_0000_0000_0000 | (fraction & (LEADING_ONE - 1)));
    let logarithm = (mantissa - 1.5) * 0.289_529_654 + 0.176_091_259 + f64::from(exponent) * 0.301_029_995_663_981;
    logarithm.floor() as i32
}

/// How long 5^n is; for large n Java is content with an estimate.
fn bits_of_five_to(n: i32) -> i32 {
    match n {
        0 => 0,
        1..27 => ((n * 2_377_855) >> 10) / 1000 + 1,
        _ => n * 3,
    }
}

/// What the division of digits needs of a number.
trait Number: Clone + Ord {
    fn times_ten(self) -> Self;
    fn plus(self, other: &Self) -> Self;
    /// The quotient, which is less than ten; the rest stays.
    fn divide(&mut self, divisor: &Self) -> u8;
}

impl Number for u128 {
    fn times_ten(self) -> Self {
        self * 10
    }

    fn plus(self, other: &Self) -> Self {
        self + other
    }

    fn divide(&mut self, divisor: &Self) -> u8 {
        // Most numbers fit into 64 bits, whose division is much faster.
        if let (Ok(number), Ok(by)) = (u64::try_from(*self), u64::try_from(*divisor)) {
            *self = u128::from(number % by);
            return (number / by) as u8;
        }
        let quotient = *self / divisor;
        *self %= divisor;
        quotient as u8
    }
}

/// A whole number of up to some 2200 bits, lowest limb first, without zeros at the high end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Big(Vec<u32>);

impl Big {
    fn new(value: u64) -> Self {
        let mut number = Self(vec![value as u32, (value >> 32) as u32]);
        number.trim();
        number
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn times(mut self, factor: u32) -> Self {
        let mut carry = 0_u64;
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
        self
    }

    fn times_five_to(mut self, mut power: i32) -> Self {
        while power > 0 {
            let step = power.min(13);
            self = self.times(5_u32.pow(step.cast_unsigned()));
            power -= step;
        }
        self
    }

    fn shifted(self, bits: i32) -> Self {
        let bits = bits.max(0).cast_unsigned();
        let mut shifted = self.times(1 << (bits % 32));
        shifted.0.splice(0..0, std::iter::repeat_n(0, (bits / 32) as usize));
        shifted.trim();
        shifted
    }

    fn minus(&mut self, other: &Self) {
        let mut borrow = 0_i64;
        for (index, limb) in self.0.iter_mut().enumerate() {
            let difference = i64::from(*limb) - i64::from(other.0.get(index).copied().unwrap_or(0)) + borrow;
            *limb = difference as u32;
            borrow = difference >> 32;
        }
        self.trim();
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Big {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl Number for Big {
    fn times_ten(self) -> Self {
        self.times(10)
    }

    fn plus(mut self, other: &Self) -> Self {
        let length = self.0.len().max(other.0.len());
        self.0.resize(length, 0);
        let mut carry = 0_u64;
        for (index, limb) in self.0.iter_mut().enumerate() {
            carry += u64::from(*limb) + u64::from(other.0.get(index).copied().unwrap_or(0));
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
        self
    }

    fn divide(&mut self, divisor: &Self) -> u8 {
        let mut quotient = 0;
        while *self >= *divisor && quotient < 10 {
            self.minus(divisor);
            quotient += 1;
        }
        quotient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        double(&mut out, value);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn powers_of_five() {
        for n in 1..27_u32 {
            assert_eq!(bits_of_five_to(n as i32), 64 - 5_u64.pow(n).leading_zeros() as i32, "{n}");
        }
    }

    /// Wherever the digits stop, they lead back to the number.
    #[test]
    fn round_trip() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let value = f64::from_bits(seed);
            if value.is_finite() {
                assert_eq!(text(value).parse(), Ok(value), "{seed:016x}");
            }
        }
    }
}
