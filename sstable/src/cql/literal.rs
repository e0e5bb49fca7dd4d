//! Values from text, as one types keys on a command line: the inverse of [`super::value::text`].

use super::moment::{parse_days, parse_time, parse_timestamp};
use super::number::{parse_decimal, parse_varint};
use super::types::{Native, Type};

/// The bytes of a value of type `kind`; an error says what the type is and what was given.
pub fn parse(kind: &Type, text: &str) -> Result<Vec<u8>, String> {
    value(kind, text).ok_or_else(|| format!("`{text}` is not a value of type {}", name(kind)))
}

fn name(kind: &Type) -> String {
    match kind {
        Type::Composite { parts, .. } => parts.iter().map(name).collect::<Vec<_>>().join(":"),
        other => other.to_cql(),
    }
}

fn value(kind: &Type, text: &str) -> Option<Vec<u8>> {
    match kind {
        Type::Native(native) => native_value(*native, text),
        Type::Reversed(inner) | Type::Frozen(inner) => value(inner, text),
        Type::Composite { parts, .. } => {
            let texts = split(text);
            if texts.len() != parts.len() {
                return None;
            }
            let mut bytes = Vec::new();
            for (kind, text) in parts.iter().zip(texts) {
                let unescaped = text.replace("\\:", ":");
                let part = value(kind, unescaped.strip_suffix('!').unwrap_or(&unescaped))?;
                bytes.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
                bytes.extend_from_slice(&part);
                bytes.push(0);
            }
            Some(bytes)
        }
        Type::Tuple(types) => fields(types.iter(), text),
        Type::User(user) => fields(user.fields.iter().map(|(_, kind)| kind), text),
        _ => hex(text),
    }
}

/// At colons without a backslash before them.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        match parts.last_mut() {
            Some(last) if c != ':' || before == '\\' => last.push(c),
            _ => parts.push(String::new()),
        }
        before = c;
    }
    parts
}

fn fields<'t>(types: impl Iterator<Item = &'t Type>, text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut texts = split(text).into_iter();
    for (kind, text) in types.zip(&mut texts) {
        if text == "@" {
            bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        } else {
            let field = value(kind, &text.replace("\\:", ":").replace("\\@", "@"))?;
            bytes.extend_from_slice(&i32::try_from(field.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(&field);
        }
    }
    texts.next().is_none().then_some(bytes)
}

fn native_value(native: Native, text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    Some(match native {
        Native::Text => text.as_bytes().to_vec(),
        Native::Ascii => text.is_ascii().then(|| text.as_bytes().to_vec())?,
        Native::Blob | Native::Counter => return hex(text),
        Native::BigInt => text.parse::<i64>().ok()?.to_be_bytes().to_vec(),
        Native::Int => text.parse::<i32>().ok()?.to_be_bytes().to_vec(),
        Native::SmallInt => text.parse::<i16>().ok()?.to_be_bytes().to_vec(),
        Native::TinyInt => text.parse::<i8>().ok()?.to_be_bytes().to_vec(),
        Native::Boolean => vec![u8::from(text.to_ascii_lowercase().parse::<bool>().ok()?)],
        Native::VarInt => parse_varint(text)?,
        Native::Decimal => parse_decimal(text)?,
        Native::Double => text.parse::<f64>().ok()?.to_be_bytes().to_vec(),
        Native::Float => text.parse::<f32>().ok()?.to_be_bytes().to_vec(),
        Native::Timestamp | Native::LegacyTimestamp => parse_timestamp(text)?.to_be_bytes().to_vec(),
        Native::Date => u32::try_from(parse_days(text)?.checked_add(1 << 31)?).ok()?.to_be_bytes().to_vec(),
        Native::Time => parse_time(text)?.to_be_bytes().to_vec(),
        Native::Uuid | Native::TimeUuid | Native::LexicalUuid => {
            let groups: Vec<usize> = text.split('-').map(str::len).collect();
            (groups == [8, 4, 4, 4, 12]).then_some(())?;
            hex(&text.replace('-', ""))?
        }
        Native::Inet => match text.parse().ok()? {
            core::net::IpAddr::V4(address) => address.octets().to_vec(),
            core::net::IpAddr::V6(address) => address.octets().to_vec(),
        },
        // No key can be of these types.
        Native::Duration | Native::Empty => return None,
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    digits.as_chunks::<2>().0.iter().map(|[high, low]| Some((nibble(*high)? << 4 | nibble(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::value;
    use super::*;

    #[test]
    fn keys_come_back() {
        fn check(class: &str, text: &str) {
            let kind = Type::parse(class).unwrap_or_else(|error| panic!("{class}: {error}"));
            let bytes = parse(&kind, text).unwrap_or_else(|error| panic!("{error}"));
            let mut out = Vec::new();
            value::text(&mut out, &kind, &bytes);
            assert_eq!(String::from_utf8_lossy(&out), text, "{class}");
        }
        check("UTF8Type", "k\u{e4}:1");
        check("Int32Type", "-5");
        check("TimestampType", "2024-01-02T03:04:05.678Z");
        check("SimpleDateType", "-0084-07-27");
        check("TimeType", "03:04:05.000000678");
        check("UUIDType", "9abaf56e-1443-def0-9aba-f56e1443def0");
        check("InetAddressType", "2001:db8:0:0:0:0:0:1");
        check("InetAddressType", "1.2.3.4");
        check("DecimalType", "-1.50");
        check("BytesType", "00ff");
        check("BooleanType", "true");
        check("DoubleType", "1.0E10");
        check("CompositeType(UTF8Type,Int32Type)", "a\\:b:7");
        check("CompositeType(UTF8Type,UTF8Type)", "a\\!:!!");
        check("TupleType(Int32Type,UTF8Type)", "1:a\\:\\@");
        check("TupleType(Int32Type,UTF8Type)", "@:x");
        check("ReversedType(LongType)", "9223372036854775807");
    }

    #[test]
    fn what_is_no_value_is_named() {
        let check = |class: &str, text: &str, expected: &str| {
            let kind = Type::parse(class).unwrap_or_else(|error| panic!("{class}: {error}"));
            assert_eq!(parse(&kind, text).err().as_deref(), Some(expected));
        };
        check("Int32Type", "x", "`x` is not a value of type int");
        check("CompositeType(UTF8Type,Int32Type)", "a", "`a` is not a value of type text:int");
        check("BytesType", "abc", "`abc` is not a value of type blob");
        check("UUIDType", "9abaf56e-1443", "`9abaf56e-1443` is not a value of type uuid");
    }
}
