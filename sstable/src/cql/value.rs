//! Values of every CQL type as text: as JSON ([`json`]), as what keys and cell paths are printed with ([`text`]), and
//! back from text for keys ([`parse`]).
//!
//! ```text
//! list, set   i32 n | n x ( i32 length | bytes )         length < 0: null
//! map         i32 n | n x ( i32 length | key | i32 length | value )
//! tuple, UDT  ( i32 length | bytes ) per field           trailing fields may be missing
//! vector      elements of fixed length as they are, others as vbytes
//! composite   [ 0xffff if static ] ( u16 length | bytes | u8 end of component ) per part
//! counter     i16 n | n x i16 | ( counter id 16 | i64 clock | i64 count ) per shard
//! duration    svint months | svint days | svint nanoseconds
//! ```
//!
//! The notation is that of Cassandra's `sstabledump`. A value that is none of its type, which only damage can make, is
//! written as a blob of the same bytes would be: `"0x…"`. So there is no error, and nothing is hidden.

use super::float::{double, float};
use super::moment;
use super::number::{decimal, integer, signed, varint};
use super::types::{Native, Type, UserType};
use super::wire::Reader;

/// Nanoseconds of a day.
const DAY_NANOSECONDS: i64 = 86_400_000_000_000;

/// Appends a value as JSON.
pub fn json(out: &mut Vec<u8>, kind: &Type, bytes: &[u8]) {
    let start = out.len();
    if write_json(out, kind, bytes).is_none() {
        out.truncate(start);
        blob(out, bytes);
    }
}

/// Appends a value as bare text, as partition keys and cell paths are printed. Not quoted, not escaped.
pub fn text(out: &mut Vec<u8>, kind: &Type, bytes: &[u8]) {
    let start = out.len();
    if write_text(out, kind, bytes).is_none() {
        out.truncate(start);
        out.extend_from_slice(b"0x");
        hex(out, bytes);
    }
}

/// Appends what [`text`] does as a JSON string.
pub fn text_as_json(out: &mut Vec<u8>, kind: &Type, bytes: &[u8]) {
    match kind {
        Type::Native(Native::Text | Native::Ascii) => json(out, kind, bytes),
        // Nothing in these wants to be escaped.
        Type::Native(_) => {
            out.push(b'"');
            text(out, kind, bytes);
            out.push(b'"');
        }
        _ => {
            let mut plain = Vec::new();
            text(&mut plain, kind, bytes);
            json_string(out, &plain);
        }
    }
}

/// Appends a JSON string of UTF-8 text; what is not UTF-8 is replaced by U+FFFD.
pub fn json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    match std::str::from_utf8(text) {
        Ok(_) => escape(out, text),
        Err(_) => escape(out, String::from_utf8_lossy(text).as_bytes()),
    }
    out.push(b'"');
}

/// Appends bytes in hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?');
    out.reserve(bytes.len() * 2);
    out.extend(bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]));
}

fn blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"\"0x");
    hex(out, bytes);
    out.push(b'"');
}

/// Appends UTF-8 text as it stands within the quotes of a JSON string: only quotes, backslashes and control characters
/// are escaped.
pub fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        let (copied, special) = rest.split_at(plain);
        out.extend_from_slice(copied);
        let Some((&byte, after)) = special.split_first() else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(b"\\u00");
                out.push(b'0' + (byte >> 4));
                out.push(DIGITS.get(usize::from(byte & 15)).copied().unwrap_or(b'?'));
            }
        }
        rest = after;
    }
}

/// `None`: the bytes are no value of the type.
fn write_json(out: &mut Vec<u8>, kind: &Type, bytes: &[u8]) -> Option<()> {
    match kind {
        Type::Native(native) => native_json(out, *native, bytes),
        Type::Reversed(inner) | Type::Frozen(inner) => write_json(out, inner, bytes),
        Type::Tuple(types) => {
            let mut fields = Fields(bytes);
            out.push(b'[');
            for (index, kind) in types.iter().enumerate() {
                separate(out, index);
                nullable_json(out, kind, fields.next()?)?;
            }
            out.push(b']');
            Some(())
        }
        Type::User(user) => user_json(out, user, bytes),
        Type::Custom(class) => match defined_order(class) {
            Some(key) => write_json(out, &key, bytes),
            None => {
                blob(out, bytes);
                Some(())
            }
        },
        Type::Composite { .. } | Type::DynamicComposite { .. } => {
            let mut plain = Vec::new();
            write_text(&mut plain, kind, bytes)?;
            json_string(out, &plain);
            Some(())
        }
        Type::List(_) | Type::Set(_) | Type::Map(..) | Type::Vector(..) if bytes.is_empty() => {
            out.extend_from_slice(b"\"\"");
            Some(())
        }
        Type::List(element) | Type::Set(element) => {
            let mut elements = Elements::new(bytes)?;
            out.push(b'[');
            for index in 0..elements.count {
                separate(out, index);
                nullable_json(out, element, elements.next()?)?;
            }
            out.push(b']');
            Some(())
        }
        Type::Map(key, value) => {
            let mut elements = Elements::new(bytes)?;
            out.push(b'{');
            let mut name = Vec::new();
            for index in 0..elements.count {
                separate(out, index);
                name.clear();
                nullable_json(&mut name, key, elements.next()?)?;
                // What is no string becomes one: JSON has no other names.
                if name.first() == Some(&b'"') {
                    out.extend_from_slice(&name);
                } else {
                    json_string(out, &name);
                }
                out.extend_from_slice(b": ");
                nullable_json(out, value, elements.next()?)?;
            }
            out.push(b'}');
            Some(())
        }
        Type::Vector(element, dimensions) => {
            out.push(b'[');
            let mut reader = Reader::new(bytes, 0);
            for index in 0..*dimensions as usize {
                separate(out, index);
                let bytes = match element.value_length() {
                    Some(0) => return None,
                    Some(length) => reader.bytes(length, "element").ok()?,
                    None => reader.vbytes("element").ok()?,
                };
                write_json(out, element, bytes)?;
            }
            out.push(b']');
            reader.is_empty().then_some(())
        }
    }
}

fn nullable_json(out: &mut Vec<u8>, kind: &Type, bytes: Option<&[u8]>) -> Option<()> {
    match bytes {
        Some(bytes) => write_json(out, kind, bytes),
        None => {
            out.extend_from_slice(b"null");
            Some(())
        }
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.extend_from_slice(b", ");
    }
}

fn user_json(out: &mut Vec<u8>, user: &UserType, bytes: &[u8]) -> Option<()> {
    let mut fields = Fields(bytes);
    out.push(b'{');
    for (index, (name, kind)) in user.fields.iter().enumerate() {
        separate(out, index);
        // Names that CQL would quote are quoted within the JSON string, too.
        if name.chars().any(char::is_uppercase) {
            json_string(out, format!("\"{name}\"").as_bytes());
        } else {
            json_string(out, name.as_bytes());
        }
        out.extend_from_slice(b": ");
        nullable_json(out, kind, fields.next()?)?;
    }
    out.push(b'}');
    Some(())
}

fn native_json(out: &mut Vec<u8>, native: Native, bytes: &[u8]) -> Option<()> {
    let is_quoted = match native {
        Native::Text | Native::Ascii => {
            if std::str::from_utf8(bytes).is_err() {
                return None;
            }
            out.push(b'"');
            escape(out, bytes);
            out.push(b'"');
            return Some(());
        }
        Native::Blob => {
            blob(out, bytes);
            return Some(());
        }
        Native::Counter => return counter(out, bytes),
        Native::Float | Native::Double => {
            let start = out.len();
            native_text(out, native, bytes)?;
            let written = out.get(start..).unwrap_or(&[]);
            if written.is_empty() {
                out.extend_from_slice(b"\"\"");
            } else if written.iter().any(|&c| c == b'N' || c == b'I') {
                out.truncate(start);
                out.extend_from_slice(b"null");
            }
            return Some(());
        }
        Native::BigInt
        | Native::Boolean
        | Native::Decimal
        | Native::Int
        | Native::SmallInt
        | Native::TinyInt
        | Native::VarInt => bytes.is_empty(),
        Native::Timestamp | Native::LegacyTimestamp if bytes.len() == 8 => {
            out.push(b'"');
            moment::timestamp(out, i64::from_be_bytes(*bytes.first_chunk()?), b' ');
            out.push(b'"');
            return Some(());
        }
        _ => true,
    };
    if is_quoted {
        out.push(b'"');
        native_text(out, native, bytes)?;
        out.push(b'"');
        Some(())
    } else {
        native_text(out, native, bytes)
    }
}

/// The sum of the shards. (`sstabledump` prints the first eight bytes as a number, which mean nothing.)
fn counter(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    signed(out, counter_value(bytes)?);
    Some(())
}

/// The value of a counter, the sum of its shards; `None` if the bytes are no counter.
pub fn counter_value(bytes: &[u8]) -> Option<i64> {
    const SHARD_BYTES: usize = 32;
    let mut reader = Reader::new(bytes, 0);
    let headers = usize::from(reader.u16("header count").ok()?.cast_signed().unsigned_abs());
    reader.bytes(headers * 2, "headers").ok()?;
    if !reader.remaining().is_multiple_of(SHARD_BYTES) {
        return None;
    }
    let mut sum = 0_i64;
    while !reader.is_empty() {
        reader.bytes(SHARD_BYTES - 8, "counter id and clock").ok()?;
        sum = sum.wrapping_add(reader.i64("count").ok()?);
    }
    Some(sum)
}

fn write_text(out: &mut Vec<u8>, kind: &Type, bytes: &[u8]) -> Option<()> {
    match kind {
        Type::Native(native) => native_text(out, *native, bytes),
        Type::Reversed(inner) | Type::Frozen(inner) => write_text(out, inner, bytes),
        Type::Tuple(types) => tuple_text(out, types.iter(), bytes),
        Type::User(user) => tuple_text(out, user.fields.iter().map(|(_, kind)| kind), bytes),
        Type::Composite { parts, .. } => composite_text(out, parts, bytes),
        Type::DynamicComposite { aliases, .. } => dynamic_text(out, aliases, bytes),
        Type::List(_) | Type::Set(_) | Type::Map(..) | Type::Vector(..) | Type::Custom(_) => {
            hex(out, bytes);
            Some(())
        }
    }
}

fn native_text(out: &mut Vec<u8>, native: Native, bytes: &[u8]) -> Option<()> {
    fn whole<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
    if bytes.is_empty() {
        return Some(());
    }
    match native {
        Native::Text | Native::Ascii => {
            std::str::from_utf8(bytes).ok()?;
            out.extend_from_slice(bytes);
        }
        Native::Blob | Native::Counter => hex(out, bytes),
        Native::BigInt => signed(out, i64::from_be_bytes(whole(bytes)?)),
        Native::Int => signed(out, i32::from_be_bytes(whole(bytes)?).into()),
        Native::SmallInt => signed(out, i16::from_be_bytes(whole(bytes)?).into()),
        Native::TinyInt => signed(out, i8::from_be_bytes(whole(bytes)?).into()),
        Native::Boolean => {
            let [byte] = whole(bytes)?;
            out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
        }
        Native::VarInt => return varint(out, bytes).then_some(()),
        Native::Decimal => return decimal(out, bytes).then_some(()),
        Native::Double => double(out, f64::from_be_bytes(whole(bytes)?)),
        Native::Float => float(out, f32::from_be_bytes(whole(bytes)?)),
        Native::Timestamp | Native::LegacyTimestamp => {
            moment::timestamp(out, i64::from_be_bytes(whole(bytes)?), b'T');
        }
        Native::Date => moment::date(out, u32::from_be_bytes(whole(bytes)?)),
        Native::Time => {
            let time = i64::from_be_bytes(whole(bytes)?);
            (0..DAY_NANOSECONDS).contains(&time).then_some(())?;
            moment::time(out, time.unsigned_abs());
        }
        Native::Duration => {
            let mut reader = Reader::new(bytes, 0);
            let months = i32::try_from(reader.svint("months").ok()?).ok()?;
            let days = i32::try_from(reader.svint("days").ok()?).ok()?;
            // Cassandra does not mind what follows.
            moment::duration(out, months, days, reader.svint("nanoseconds").ok()?);
        }
        Native::Uuid | Native::TimeUuid | Native::LexicalUuid => uuid(out, &whole(bytes)?),
        Native::Inet => return inet(out, bytes),
        Native::Empty => return None,
    }
    Some(())
}

/// Appends a UUID.
pub fn uuid(out: &mut Vec<u8>, bytes: &[u8; 16]) {
    let mut rest = bytes.as_slice();
    for (index, length) in [4, 2, 2, 2, 6].into_iter().enumerate() {
        if index > 0 {
            out.push(b'-');
        }
        let (group, after) = rest.split_at(length);
        hex(out, group);
        rest = after;
    }
}

/// IPv6 as Java writes it, without `::`; an IPv4 address in IPv6 becomes IPv4.
fn inet(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    let quad = bytes.strip_prefix(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]).unwrap_or(bytes);
    if quad.len() == 4 {
        for (index, byte) in quad.iter().enumerate() {
            if index > 0 {
                out.push(b'.');
            }
            integer(out, u64::from(*byte));
        }
        return Some(());
    }
    if bytes.len() != 16 {
        return None;
    }
    for (index, group) in bytes.as_chunks::<2>().0.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        out.extend_from_slice(format!("{:x}", u16::from_be_bytes(*group)).as_bytes());
    }
    Some(())
}

/// Fields joined by colons, null as `@`, both escaped within the fields.
fn tuple_text<'t>(out: &mut Vec<u8>, types: impl Iterator<Item = &'t Type>, bytes: &[u8]) -> Option<()> {
    let mut fields = Fields(bytes);
    for (index, kind) in types.enumerate() {
        if fields.0.is_empty() {
            break;
        }
        if index > 0 {
            out.push(b':');
        }
        match fields.next()? {
            None => out.push(b'@'),
            Some(bytes) => {
                let start = out.len();
                write_text(out, kind, bytes)?;
                escape_with_backslash(out, start, b":@");
            }
        }
    }
    Some(())
}

fn escape_with_backslash(out: &mut Vec<u8>, start: usize, special: &[u8]) {
    let written = out.split_off(start);
    for byte in written {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// The parts of a composite value and whether each was the end of a slice, as old comparators had it.
fn composite_parts(bytes: &[u8]) -> impl Iterator<Item = Option<(&[u8], i8)>> {
    let mut reader = Reader::new(bytes.strip_prefix(&[0xff, 0xff]).unwrap_or(bytes), 0);
    std::iter::from_fn(move || {
        (!reader.is_empty()).then(|| {
            let part = reader.sbytes("part").ok()?;
            Some((part, reader.u8("end of component").ok()?.cast_signed()))
        })
    })
    // What cannot be read is met again and again.
    .scan(false, |failed, part| {
        let seen = *failed;
        *failed = part.is_none();
        (!seen).then_some(part)
    })
}

/// The values of the columns of a partition key; just the one if its type is no composite.
pub fn key_parts<'a>(kind: &'a Type, key: &'a [u8]) -> Vec<(&'a Type, &'a [u8])> {
    match kind {
        Type::Composite { parts, .. } => {
            let values = composite_parts(key).map_while(|part| part.map(|(bytes, _)| bytes));
            parts.iter().zip(values).collect()
        }
        Type::Reversed(inner) | Type::Frozen(inner) => key_parts(inner, key),
        other => vec![(other, key)],
    }
}

fn composite_text(out: &mut Vec<u8>, types: &[Type], bytes: &[u8]) -> Option<()> {
    for (index, part) in composite_parts(bytes).enumerate() {
        let (part, end) = part?;
        if index > 0 {
            out.push(b':');
        }
        let start = out.len();
        write_text(out, types.get(index)?, part)?;
        escape_part(out, start);
        if end != 0 {
            out.extend_from_slice(if end < 0 { b":_" } else { b":!" });
            break;
        }
    }
    Some(())
}

fn escape_part(out: &mut Vec<u8>, start: usize) {
    escape_with_backslash(out, start, b":");
    // A part must not seem to escape the colon after it.
    if out.len() > start && matches!(out.last(), Some(b'\\' | b'!')) {
        out.push(b'!');
    }
}

fn dynamic_text(out: &mut Vec<u8>, aliases: &[(char, Type)], bytes: &[u8]) -> Option<()> {
    let mut reader = Reader::new(bytes, 0);
    let mut index = 0;
    while !reader.is_empty() {
        if index > 0 {
            out.push(b':');
        }
        index += 1;
        let header = reader.u16("header").ok()?;
        let named;
        let kind = if header & 0x8000 != 0 {
            let alias = char::from(header as u8);
            out.extend_from_slice(alias.to_string().as_bytes());
            &aliases.iter().find(|(name, _)| *name == alias)?.1
        } else {
            let name = std::str::from_utf8(reader.bytes(header.into(), "type").ok()?).ok()?;
            // A value that names its own kind of type within itself could go on for ever.
            if name.contains("DynamicCompositeType") {
                return None;
            }
            out.extend_from_slice(name.as_bytes());
            named = Type::parse(name).ok()?;
            &named
        };
        out.push(b'@');
        let start = out.len();
        write_text(out, kind, reader.sbytes("part").ok()?)?;
        escape_part(out, start);
        let end = reader.u8("end of component").ok()?.cast_signed();
        if end != 0 {
            out.extend_from_slice(if end < 0 { b":_" } else { b":!" });
            break;
        }
    }
    Some(())
}

/// The type of the keys in the clustering of a secondary index:
/// `PartitionerDefinedOrder(<partitioner>:<type>)`. Before 5.0 there was no type in it.
fn defined_order(class: &str) -> Option<Type> {
    let (name, arguments) = class.split_once('(')?;
    if name.rsplit('.').next() != Some("PartitionerDefinedOrder") {
        return None;
    }
    let (_, kind) = arguments.strip_suffix(')')?.split_once(':')?;
    // As in `Comparator::of`: a chain of them would be followed on the stack.
    if kind.contains("PartitionerDefinedOrder") {
        return None;
    }
    Type::parse(kind).ok()
}

/// Fields of a tuple: those that are missing at the end are null.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// `None`: a length is wrong.
    #[expect(clippy::option_option, reason = "outer: readable; inner: not null")]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.0 = rest;
            return Some(None);
        };
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(field))
    }
}

/// Elements of a collection.
struct Elements<'a> {
    count: usize,
    rest: Fields<'a>,
}

impl<'a> Elements<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        Some(Self { count: usize::try_from(i32::from_be_bytes(*count)).ok()?, rest: Fields(rest) })
    }

    #[expect(clippy::option_option, reason = "as for fields")]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        if self.rest.0.is_empty() { None } else { self.rest.next() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Type, bytes in hex, JSON, text: printed by Cassandra 5.0.6. `!` where it fails.
    const CASES: &str = include_str!("value_cases.txt");

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect()
    }

    fn written(write: impl Fn(&mut Vec<u8>, &Type, &[u8]), kind: &Type, value: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, kind, value);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn as_cassandra_prints_them() {
        let mut count = 0;
        for line in CASES.lines() {
            let fields: Vec<&str> = line.splitn(4, '|').collect();
            let [class, hex, expected_json, expected_text] = fields.as_slice() else { panic!("{line}") };
            let kind = Type::parse(class).unwrap_or_else(|error| panic!("{class}: {error}"));
            let value = bytes(hex);
            if !expected_json.starts_with('!') && *class != "CounterColumnType" {
                assert_eq!(written(json, &kind, &value), *expected_json, "JSON of {class} {hex}");
            }
            if !expected_text.starts_with('!') {
                assert_eq!(written(text, &kind, &value), *expected_text, "text of {class} {hex}");
            }
            count += 1;
        }
        assert!(count > 200, "{count} cases");
    }

    #[test]
    fn what_cassandra_fails_on() {
        let check = |class: &str, hex: &str, expected: &str| {
            let kind = Type::parse(class).unwrap_or_else(|error| panic!("{class}: {error}"));
            assert_eq!(written(json, &kind, &bytes(hex)), expected, "{class} {hex}");
        };
        check("BooleanType", "", "\"\"");
        check("ByteType", "", "\"\"");
        check("ListType(UTF8Type)", "00000001ffffffff", "[null]");
        check("TupleType(Int32Type,UTF8Type)", "0000000400000001", "[1, null]");
        check("CompositeType(UTF8Type,Int32Type)", "0001410000040000000700", "\"A:7\"");
        check("CounterColumnType", "00018000f8474a0c8218494883971005c9147a260005c2476538e7c00000000000000001", "1");
        check("Int32Type", "000001", "\"0x000001\"");
        check("UTF8Type", "ff", "\"0xff\"");
        check("ListType(Int32Type)", "7fffffff00000001", "\"0x7fffffff00000001\"");
        check("ListType(Int32Type)", "ffffffff", "\"0xffffffff\"");
        check("TimeType", "ffffffffffffffff", "\"0xffffffffffffffff\"");
        check("com.example.Colour", "01ff", "\"0x01ff\"");
    }

    #[test]
    fn types_within_themselves() {
        let local = "PartitionerDefinedOrder(org.apache.cassandra.dht.LocalPartitioner:";
        let nested = Type::parse(&format!("{}Int32Type{}", local.repeat(20_000), ")".repeat(20_000)));
        assert_eq!(nested.map(|kind| written(json, &kind, &[1])), Ok("\"0x01\"".to_owned()));
        // A part that says of itself that it is a composite of parts, and so on.
        let name = b"DynamicCompositeType";
        let mut value = Vec::new();
        for _ in 0..2000 {
            let length = u16::try_from(value.len()).unwrap_or_default();
            value = [&[0, 20][..], name, &length.to_be_bytes(), &value, &[0]].concat();
            if value.len() > 65_000 {
                break;
            }
        }
        let expected = value.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"));
        let dynamic = Type::parse("DynamicCompositeType(s=>UTF8Type)");
        assert_eq!(dynamic.map(|kind| written(text, &kind, &value)), Ok(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_make_json(value: Vec<u8>, which in 0..40_usize) {
            let classes: std::collections::BTreeSet<&str> =
                CASES.lines().filter_map(|line| line.split('|').next()).collect();
            let Some(class) = classes.iter().nth(which) else { return Ok(()) };
            if let Ok(kind) = Type::parse(class) {
                let _ = written(text, &kind, &value);
                let _ = written(json, &kind, &value);
            }
        }
    }
}
