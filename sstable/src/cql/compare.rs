//! The order of values of a type: what `AbstractType.compare` says. Clusterings are stored in it.
//!
//! | order        | types                                                                                     |
//! |--------------|-------------------------------------------------------------------------------------------|
//! | bytes        | text, ascii, blob, inet, date, time, duration, counter, `DateType`                        |
//! | signed       | tinyint, smallint, int, bigint, timestamp                                                 |
//! | numbers      | varint, decimal, float, double (-0 before 0, NaN last)                                    |
//! | uuid         | version, then time (version 1) or bytes                                                   |
//! | timeuuid     | time, then signed bytes                                                                   |
//! | part by part | collections, tuples, user types, vectors, composites                                      |
//! | tokens       | `PartitionerDefinedOrder`: keys of another table, in the tables of indexes                |
//!
//! An empty value comes before all others, whatever the type. Values that are not of their type have some order and
//! never an error: that they are wrong is for others to find.

use std::cmp::Ordering;

use super::types::{Native, Type};
use super::wire::Reader;
use crate::partitioner::Partitioner;

/// Compares two values of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparator(Order);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Bytes,
    Boolean,
    /// Two's complement of any fixed width.
    Signed,
    Float,
    Double,
    VarInt,
    Decimal,
    Uuid,
    TimeUuid,
    LexicalUuid,
    /// The elements of a list or a set.
    Elements(Box<Order>),
    /// The keys and values of a map.
    Pairs(Box<Order>, Box<Order>),
    /// The fields of a tuple or a user type; null before every value.
    Fields(Vec<Order>),
    /// So many elements; their length, if they have one, is not stored.
    Vector(Box<Order>, u32, Option<usize>),
    Composite(Vec<Order>),
    Partitions(Box<Partitioner>),
    Reversed(Box<Order>),
}

impl Comparator {
    /// `None` if the type or a part of it is no type of Cassandra's own.
    pub fn of(kind: &Type) -> Option<Self> {
        Order::of(kind).map(Self)
    }

    /// Order of two values.
    pub fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        self.0.compare(a, b)
    }
}

impl Order {
    fn of(kind: &Type) -> Option<Self> {
        let boxed = |kind: &Type| Self::of(kind).map(Box::new);
        let all = |kinds: &[Type]| kinds.iter().map(Self::of).collect::<Option<Vec<_>>>();
        Some(match kind {
            Type::Native(native) => match native {
                Native::Boolean => Self::Boolean,
                Native::TinyInt | Native::SmallInt | Native::Int | Native::BigInt | Native::Timestamp => Self::Signed,
                Native::Float => Self::Float,
                Native::Double => Self::Double,
                Native::VarInt => Self::VarInt,
                Native::Decimal => Self::Decimal,
                Native::Uuid => Self::Uuid,
                Native::TimeUuid => Self::TimeUuid,
                Native::LexicalUuid => Self::LexicalUuid,
                Native::Ascii
                | Native::Blob
                | Native::Counter
                | Native::Date
                | Native::Duration
                | Native::Empty
                | Native::Inet
                | Native::LegacyTimestamp
                | Native::Text
                | Native::Time => Self::Bytes,
            },
            Type::List(element) | Type::Set(element) => Self::Elements(boxed(element)?),
            Type::Map(key, value) => Self::Pairs(boxed(key)?, boxed(value)?),
            Type::Tuple(fields) => Self::Fields(all(fields)?),
            Type::User(user) => {
                Self::Fields(user.fields.iter().map(|(_, kind)| Self::of(kind)).collect::<Option<_>>()?)
            }
            Type::Vector(element, dimensions) => Self::Vector(boxed(element)?, *dimensions, element.value_length()),
            Type::Reversed(inner) => Self::Reversed(boxed(inner)?),
            Type::Frozen(inner) => return Self::of(inner),
            Type::Composite { parts, .. } => Self::Composite(all(parts)?),
            Type::DynamicComposite { .. } => return None,
            Type::Custom(class) => Self::Partitions(Box::new(partitioner_of_order(class)?)),
        })
    }

    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        if let Self::Reversed(inner) = self {
            return inner.compare(b, a);
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        match self {
            Self::Bytes => a.cmp(b),
            Self::Boolean => is_true(a).cmp(&is_true(b)),
            Self::Signed => signed(a, b),
            Self::Float => floats(a, b),
            Self::Double => doubles(a, b),
            Self::VarInt => varints(a, b),
            Self::Decimal => decimals(a, b),
            Self::Uuid => uuids(a, b),
            Self::TimeUuid => time_uuids(a, b),
            Self::LexicalUuid => lexical_uuids(a, b),
            Self::Elements(element) => elements(a, b, |_| element),
            Self::Pairs(key, value) => elements(a, b, |number| if number % 2 == 0 { key } else { value }),
            Self::Fields(fields) => tuples(fields, a, b),
            Self::Vector(element, dimensions, length) => vectors(element, *dimensions, *length, a, b),
            Self::Composite(parts) => composites(parts, a, b),
            Self::Partitions(partitioner) => partitioner.compare((partitioner.token(a), a), (partitioner.token(b), b)),
            Self::Reversed(_) => Ordering::Equal,
        }
    }
}

/// `PartitionerDefinedOrder(org.apache.cassandra.dht.Murmur3Partitioner[:key type])`.
fn partitioner_of_order(class: &str) -> Option<Partitioner> {
    let (_, arguments) = class.split_once("PartitionerDefinedOrder(")?;
    let arguments = arguments.strip_suffix(')')?;
    let (class, key) = arguments.split_once(':').unwrap_or((arguments, ""));
    // The keys of a table are in no order of yet another one's; a chain of them would be followed on the stack.
    if key.contains("PartitionerDefinedOrder") {
        return None;
    }
    Partitioner::from_class(class.trim(), &Type::parse(key.trim()).ok()?)
}

fn is_true(value: &[u8]) -> bool {
    value.first().is_some_and(|&byte| byte != 0)
}

/// The sign is in the first byte, and the others count as they are.
fn signed(a: &[u8], b: &[u8]) -> Ordering {
    match (a, b) {
        ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) => {
            first_a.cast_signed().cmp(&first_b.cast_signed()).then_with(|| rest_a.cmp(rest_b))
        }
        _ => a.len().cmp(&b.len()),
    }
}

/// Every NaN is the same to Java, and greater than all else.
fn java_order<F: Copy + PartialOrd>(a: F, b: F, total: impl Fn(&F, &F) -> Ordering) -> Ordering {
    let is_nan = |f: F| f.partial_cmp(&f).is_none();
    match (is_nan(a), is_nan(b)) {
        (false, false) => total(&a, &b),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    }
}

fn floats(a: &[u8], b: &[u8]) -> Ordering {
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => java_order(f32::from_be_bytes(*a), f32::from_be_bytes(*b), f32::total_cmp),
        _ => a.cmp(b),
    }
}

fn doubles(a: &[u8], b: &[u8]) -> Ordering {
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => java_order(f64::from_be_bytes(*a), f64::from_be_bytes(*b), f64::total_cmp),
        _ => a.cmp(b),
    }
}

/// Sign and magnitude of a two's complement number: its bytes without those that only repeat the sign.
fn significant(value: &[u8]) -> (bool, &[u8]) {
    let is_negative = value.first().is_some_and(|&byte| byte & 0x80 != 0);
    let filler = if is_negative { 0xff } else { 0 };
    let start = value.iter().position(|&byte| byte != filler).unwrap_or(value.len());
    (is_negative, value.get(start..).unwrap_or_default())
}

fn varints(a: &[u8], b: &[u8]) -> Ordering {
    let ((a_is_negative, a), (b_is_negative, b)) = (significant(a), significant(b));
    match (a_is_negative, b_is_negative) {
        (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        // The longer, the lower; of the same length the bytes still count upwards.
        (true, true) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
        _ => b_is_negative.cmp(&a_is_negative),
    }
}

/// `i32` scale, then the unscaled value as a varint: unscaled × 10^-scale.
fn decimals(a: &[u8], b: &[u8]) -> Ordering {
    let (Some((scale_a, a)), Some((scale_b, b))) = (a.split_first_chunk(), b.split_first_chunk()) else {
        return a.cmp(b);
    };
    // No clustering of Cassandra's is longer, and the time that numbers take grows with the square of their length.
    if a.len().max(b.len()) > usize::from(u16::MAX) {
        return a.cmp(b);
    }
    let [scale_a, scale_b] = [scale_a, scale_b].map(|scale| i64::from(i32::from_be_bytes(*scale)));
    let (mut a, mut b) = (Natural::magnitude(a), Natural::magnitude(b));
    let signs = a.sign.cmp(&b.sign);
    if signs != Ordering::Equal || a.sign == 0 {
        return signs;
    }
    // 10^n has between 3.32 n and 3.33 n bits: numbers whose sizes are further apart need no multiplication, and it
    // never makes one longer than about the other.
    let digits = scale_a - scale_b;
    let (bits_a, bits_b) = (a.bits(), b.bits());
    let tenths = |bits: i64, digits: i64| (bits * 100 + digits * 332, (bits + 1) * 100 + digits * 333);
    let magnitudes = if digits >= 0 {
        let (low, high) = tenths(bits_b, digits);
        match bits_a * 100 {
            bits if bits > high => Ordering::Greater,
            bits if bits + 100 < low => Ordering::Less,
            _ => {
                b.times_ten_to(digits);
                a.compare(&b)
            }
        }
    } else {
        let (low, high) = tenths(bits_a, -digits);
        match bits_b * 100 {
            bits if bits > high => Ordering::Less,
            bits if bits + 100 < low => Ordering::Greater,
            _ => {
                a.times_ten_to(-digits);
                a.compare(&b)
            }
        }
    };
    if a.sign < 0 { magnitudes.reverse() } else { magnitudes }
}

/// A natural number of any size with a sign beside it.
struct Natural {
    /// -1, 0 or 1.
    sign: i8,
    /// Least significant first, the last one not 0.
    limbs: Vec<u64>,
}

impl Natural {
    fn magnitude(value: &[u8]) -> Self {
        let (is_negative, bytes) = significant(value);
        let filler = if is_negative { u64::MAX } else { 0 };
        let mut limbs: Vec<u64> = bytes
            .rchunks(8)
            .map(|chunk| chunk.iter().fold(filler, |limb, &byte| (limb << 8) | u64::from(byte)))
            .collect();
        if is_negative {
            // Negated: all bits inverted, plus one. The inverted bits are all ones at most once more than there is room.
            let mut carry = true;
            for limb in &mut limbs {
                (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
            }
            if carry {
                limbs.push(1);
            }
        }
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        let sign = match (limbs.is_empty(), is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        Self { sign, limbs }
    }

    fn bits(&self) -> i64 {
        let top = self.limbs.last().map_or(0, |limb| 64 - i64::from(limb.leading_zeros()));
        (self.limbs.len() as i64 - 1) * 64 + top
    }

    fn times_ten_to(&mut self, digits: i64) {
        const STEP: i64 = 19;
        let mut left = digits;
        while left > 0 {
            let factor = 10_u128.pow(left.min(STEP).try_into().unwrap_or(0));
            left -= STEP;
            let mut carry = 0_u128;
            for limb in &mut self.limbs {
                let product = u128::from(*limb) * factor + carry;
                *limb = product as u64;
                carry = product >> 64;
            }
            if carry > 0 {
                self.limbs.push(carry as u64);
            }
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.limbs.len().cmp(&other.limbs.len()).then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }
}

/// Both halves of a UUID; `None` if the value is none.
fn halves(value: &[u8]) -> Option<(u64, u64)> {
    let both = u128::from_be_bytes(*value.as_array()?);
    Some(((both >> 64) as u64, both as u64))
}

/// The time of a UUID of version 1, its parts in the order of their weight; the version is on top.
fn time(high: u64) -> u64 {
    (high << 48) | ((high << 16) & 0xffff_0000_0000) | (high >> 32)
}

fn uuids(a: &[u8], b: &[u8]) -> Ordering {
    let (Some((high_a, low_a)), Some((high_b, low_b))) = (halves(a), halves(b)) else { return a.cmp(b) };
    let version = |high: u64| (high >> 12) & 0xf;
    let high = match (version(high_a), version(high_b)) {
        (1, 1) => time(high_a).cmp(&time(high_b)),
        (a, b) if a == b => high_a.cmp(&high_b),
        (a, b) => a.cmp(&b),
    };
    high.then_with(|| low_a.cmp(&low_b))
}

fn time_uuids(a: &[u8], b: &[u8]) -> Ordering {
    const SIGNS: u64 = 0x8080_8080_8080_8080;
    let (Some((high_a, low_a)), Some((high_b, low_b))) = (halves(a), halves(b)) else { return a.cmp(b) };
    let [time_a, time_b] = [high_a, high_b].map(|high| time(high).cast_signed());
    time_a.cmp(&time_b).then_with(|| (low_a ^ SIGNS).cmp(&(low_b ^ SIGNS)))
}

/// As `java.util.UUID` has it: both halves signed.
fn lexical_uuids(a: &[u8], b: &[u8]) -> Ordering {
    let (Some(a), Some(b)) = (halves(a), halves(b)) else { return a.cmp(b) };
    (a.0.cast_signed(), a.1.cast_signed()).cmp(&(b.0.cast_signed(), b.1.cast_signed()))
}

/// The next value of a collection or a tuple: `None` at the end, `Some(None)` for null.
fn next_value<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    let length = reader.i32("length").ok()?;
    match usize::try_from(length) {
        Ok(length) => Some(Some(reader.bytes(length.min(reader.remaining()), "value").ok()?)),
        Err(_) => Some(None),
    }
}

/// Collections: value by value, then the shorter one first.
fn elements<'o>(a: &[u8], b: &[u8], order: impl Fn(usize) -> &'o Order) -> Ordering {
    let (mut left, mut right) = (Reader::new(a, 0), Reader::new(b, 0));
    let (Ok(count_a), Ok(count_b)) = (left.i32("size"), right.i32("size")) else { return a.cmp(b) };
    for number in 0_usize.. {
        let (Some(a), Some(b)) = (next_value(&mut left), next_value(&mut right)) else { break };
        let compared = nullable(order(number), a, b);
        if compared != Ordering::Equal {
            return compared;
        }
    }
    count_a.cmp(&count_b)
}

fn nullable(order: &Order, a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order.compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Fields that are missing at the end are null.
fn tuples(fields: &[Order], a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (Reader::new(a, 0), Reader::new(b, 0));
    fields
        .iter()
        .map(|field| {
            let [a, b] = [next_value(&mut left).flatten(), next_value(&mut right).flatten()];
            nullable(field, a, b)
        })
        .find(|compared| compared.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn vectors(element: &Order, dimensions: u32, length: Option<usize>, a: &[u8], b: &[u8]) -> Ordering {
    // Elements without bytes are all the same, and there may be four billion of them.
    if length == Some(0) {
        return a.cmp(b);
    }
    let (mut left, mut right) = (Reader::new(a, 0), Reader::new(b, 0));
    let next = |reader: &mut Reader<'_>| -> Option<(usize, usize)> {
        let length = match length {
            Some(length) => length,
            None => usize::try_from(reader.uvint("length").ok()?).ok()?,
        };
        let start = reader.offset();
        reader.bytes(length, "element").ok()?;
        Some((usize::try_from(start).ok()?, length))
    };
    for _ in 0..dimensions {
        let (Some(in_a), Some(in_b)) = (next(&mut left), next(&mut right)) else { break };
        let [a, b] = [(a, in_a), (b, in_b)].map(|(all, (start, length))| all.get(start..start + length));
        let compared = nullable(element, a, b);
        if compared != Ordering::Equal {
            return compared;
        }
    }
    left.rest().cmp(right.rest())
}

/// Parts with a `u16` length and an end-of-component byte each; `FF FF` before them means static.
fn composites(parts: &[Order], a: &[u8], b: &[u8]) -> Ordering {
    const STATIC: &[u8] = &[0xff, 0xff];
    let (a_is_static, b_is_static) = (a.starts_with(STATIC), b.starts_with(STATIC));
    if a_is_static != b_is_static {
        return b_is_static.cmp(&a_is_static);
    }
    let skip = if a_is_static { STATIC.len() } else { 0 };
    let [mut left, mut right] = [a, b].map(|all| Reader::new(all.get(skip..).unwrap_or_default(), 0));
    for part in parts {
        if left.is_empty() || right.is_empty() {
            break;
        }
        let (Ok(a), Ok(b)) = (left.sbytes("part"), right.sbytes("part")) else { break };
        let (Ok(end_a), Ok(end_b)) = (left.u8("end of the part"), right.u8("end of the part")) else { break };
        let compared = part.compare(a, b).then_with(|| end_a.cast_signed().cmp(&end_b.cast_signed()));
        if compared != Ordering::Equal {
            return compared;
        }
    }
    left.rest().cmp(right.rest())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn comparator(class: &str) -> Comparator {
        Comparator::of(&Type::parse(class).unwrap()).unwrap()
    }

    /// The values are in ascending order.
    fn check<V: AsRef<[u8]>>(class: &str, ascending: &[V]) {
        let (up, down) = (comparator(class), comparator(&format!("ReversedType({class})")));
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                let (a, b) = (a.as_ref(), b.as_ref());
                assert_eq!(up.compare(a, b), i.cmp(&j), "{class}: {a:02x?} {b:02x?}");
                assert_eq!(down.compare(a, b), j.cmp(&i), "{class} reversed: {a:02x?} {b:02x?}");
            }
        }
    }

    #[test]
    fn bytes_and_numbers() {
        for class in ["AsciiType", "UTF8Type", "BytesType", "InetAddressType", "SimpleDateType", "DateType"] {
            check::<&[u8]>(class, &[b"", b"\0", b"\0a", b"a", b"\x80", b"\xff\xff"]);
        }
        check::<&[u8]>("BooleanType", &[b"", b"\0", b"\x01"]);
        check::<&[u8]>("ByteType", &[b"", b"\x80", b"\xff", b"\0", b"\x7f"]);
        check::<&[u8]>(
            "Int32Type",
            &[b"", b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80", b"\x7f\0\0\0"],
        );
        check("LongType", &[i64::MIN, -256, -1, 0, 1, i64::MAX].map(i64::to_be_bytes));
        check("TimestampType", &[i64::MIN, -1, 0, 1, i64::MAX].map(i64::to_be_bytes));
        check("FloatType", &[f32::NEG_INFINITY, -1.5, -0.0, 0.0, 1.5, f32::INFINITY, f32::NAN].map(f32::to_be_bytes));
        check("DoubleType", &[f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1.5, f64::INFINITY, f64::NAN].map(f64::to_be_bytes));
        check::<&[u8]>(
            "IntegerType",
            &[
                b"",
                b"\xfe\xff",
                b"\xff\x7f",
                b"\x80",
                b"\xff",
                b"\0",
                b"\x01",
                b"\x7f",
                b"\0\x80",
                b"\x01\0",
                b"\x7f\xff\xff",
            ],
        );
        assert_eq!(
            comparator("DoubleType").compare(&f64::NAN.to_be_bytes(), &(-f64::NAN).to_be_bytes()),
            Ordering::Equal
        );
        assert_eq!(comparator("IntegerType").compare(b"\0\0\x05", b"\x05"), Ordering::Equal);
        assert_eq!(comparator("IntegerType").compare(b"\xff\xff\x80", b"\x80"), Ordering::Equal);
    }

    fn decimal(unscaled: i64, scale: i32) -> Vec<u8> {
        [&scale.to_be_bytes()[..], &unscaled.to_be_bytes()].concat()
    }

    #[test]
    fn decimals_by_value() {
        let ascending = [
            decimal(-1, i32::MIN),
            decimal(-123, 0),
            decimal(-1229, 1),
            decimal(-1, i32::MAX),
            decimal(0, 7),
            decimal(1, i32::MAX),
            decimal(99, 2),
            decimal(1, 0),
            decimal(1_000_000_000_000_000_001, 18),
            decimal(i64::MAX, 0),
            decimal(i64::MAX, -1),
            decimal(1, i32::MIN),
        ];
        check("DecimalType", &ascending);
        let comparator = comparator("DecimalType");
        for (a, b) in [((10, 1), (1, 0)), ((0, 5), (0, -5)), ((-500, 2), (-5, 0)), ((7, -30), (70, -29))] {
            let compared = comparator.compare(&decimal(a.0, a.1), &decimal(b.0, b.1));
            assert_eq!(compared, Ordering::Equal, "{a:?} {b:?}");
        }
    }

    proptest! {
        #[test]
        fn decimals_like_integers(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000, x in 0_u32..30, y in 0_u32..30) {
            let exact = |n: i64, exponent: u32| i128::from(n) * 10_i128.pow(exponent);
            let exponent = |e: u32| -i32::try_from(e).unwrap();
            let got = decimals(&decimal(a, exponent(x)), &decimal(b, exponent(y)));
            prop_assert_eq!(got, exact(a, x).cmp(&exact(b, y)));
        }

        #[test]
        fn varints_like_integers(a in any::<i128>(), b in any::<i128>(), cut in 0_u32..120) {
            let (a, b) = (a >> cut, b >> cut);
            prop_assert_eq!(varints(&a.to_be_bytes(), &b.to_be_bytes()), a.cmp(&b));
        }

        #[test]
        fn anything_has_an_order(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            for class in ALL {
                let comparator = comparator(class);
                prop_assert_eq!(comparator.compare(&a, &b), comparator.compare(&b, &a).reverse());
                prop_assert_eq!(comparator.compare(&a, &a), Ordering::Equal);
            }
        }
    }

    const ALL: [&str; 14] = [
        "BooleanType",
        "LongType",
        "FloatType",
        "IntegerType",
        "DecimalType",
        "UUIDType",
        "TimeUUIDType",
        "LexicalUUIDType",
        "ListType(Int32Type)",
        "MapType(Int32Type,UTF8Type)",
        "TupleType(Int32Type,UTF8Type)",
        "VectorType(FloatType,3)",
        "VectorType(UTF8Type,3)",
        "CompositeType(Int32Type,UTF8Type)",
    ];

    fn uuid(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    }

    #[test]
    fn uuids_in_their_orders() {
        let early = uuid("ffffffff-0000-1000-8000-000000000000");
        let late = uuid("00000000-0001-1000-8000-000000000000");
        check("TimeUUIDType", &[early.clone(), late.clone()]);
        let random = uuid("00000000-0000-4000-8000-000000000000");
        let greater = uuid("00000000-0000-4000-8000-000000000001");
        check("UUIDType", &[early.clone(), late.clone(), random.clone(), greater]);
        check("LexicalUUIDType", &[early, random, late]);
        // The last eight bytes are signed ones.
        let bytes = [
            "00000000-0000-1000-8080-808080808080",
            "00000000-0000-1000-807f-7f7f7f7f7f7f",
            "00000000-0000-1000-7f80-000000000000",
        ];
        check("TimeUUIDType", &bytes.map(uuid));
    }

    fn fields(values: &[Option<&[u8]>]) -> Vec<u8> {
        let length = |value: &Option<&[u8]>| value.map_or(-1_i32, |value| i32::try_from(value.len()).unwrap());
        values.iter().flat_map(|value| [&length(value).to_be_bytes()[..], value.unwrap_or_default()].concat()).collect()
    }

    fn collection(values: &[&[u8]]) -> Vec<u8> {
        let values: Vec<_> = values.iter().copied().map(Some).collect();
        [&i32::try_from(values.len()).unwrap().to_be_bytes()[..], &fields(&values)].concat()
    }

    #[test]
    fn values_of_several_parts() {
        let (minus, plus): (&[u8], &[u8]) = (b"\xff\xff\xff\xff", b"\0\0\0\x01");
        let lists = [&[][..], &[minus], &[minus, plus], &[plus], &[plus, minus]].map(collection);
        check("FrozenType(ListType(Int32Type))", &lists);
        let pairs = |pairs: &[&[u8]]| {
            let mut bytes = collection(pairs);
            bytes[3] /= 2;
            bytes
        };
        let maps = [&[][..], &[minus, b"b"], &[plus, b"a"], &[plus, b"b"], &[plus, b"b", plus, b"b"]].map(pairs);
        check("FrozenType(MapType(Int32Type,UTF8Type))", &maps);
        let tuples =
            [&[None, Some(plus)][..], &[Some(minus)], &[Some(minus), Some(plus)], &[Some(plus), None]].map(fields);
        check("TupleType(Int32Type,Int32Type)", &tuples);
        check("UserType(ks,61,62:Int32Type,63:Int32Type)", &tuples);
        let compare = |a: &[_], b: &[_]| comparator("TupleType(Int32Type,Int32Type)").compare(&fields(a), &fields(b));
        assert_eq!(compare(&[Some(plus)], &[Some(plus), None]), Ordering::Equal, "a missing field is null");
        let vectors = [[-1.0_f32, 5.0], [1.0, -1.0], [1.0, 0.0]].map(|v| v.map(f32::to_be_bytes).concat());
        check("VectorType(FloatType , 2)", &vectors);
        check::<&[u8]>("VectorType(UTF8Type , 2)", &[b"\x01a\x02zz", b"\x02aa\x01a", b"\x01b\x00"]);
        check::<&[u8]>("VectorType(EmptyType , 4294967295)", &[b"", b"\x01", b"\x02"]);
        let composites: [&[u8]; 4] = [b"\xff\xff\0\x01a\0", b"\0\x01a\0", b"\0\x01a\0\0\x01b\0", b"\0\x01a\x01"];
        check("CompositeType(UTF8Type,UTF8Type)", &composites);
    }

    #[test]
    fn keys_of_another_table() {
        // Their tokens are -6017608668500074083 and 4507812186440344727.
        let class =
            "org.apache.cassandra.db.marshal.PartitionerDefinedOrder(org.apache.cassandra.dht.Murmur3Partitioner";
        check::<&[u8]>(&format!("{class})"), &[b"test", b"xd"]);
        check::<&[u8]>(&format!("{class}:org.apache.cassandra.db.marshal.UTF8Type)"), &[b"test", b"xd"]);
        let local = "PartitionerDefinedOrder(org.apache.cassandra.dht.LocalPartitioner:";
        let nested = format!("{}Int32Type{}", local.repeat(20_000), ")".repeat(20_000));
        for unknown in [nested.as_str(), "com.example.Mine", "TupleType(com.example.Mine)", "PartitionerDefinedOrder"] {
            assert_eq!(Comparator::of(&Type::parse(unknown).unwrap()), None, "{unknown}");
        }
    }
}
