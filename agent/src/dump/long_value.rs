//! Values too long to be given whole: text and bytes pass through in pieces, others are collected first.

use helenus_sstable::cql::types::{Native, Type};
use helenus_sstable::cql::value;
use helenus_sstable::scan::Row;

use super::output::{Output, Stop};
use crate::sstable::Bytes;

/// Values of other types up to this length are formatted as what they are, longer ones as blobs.
const COLLECTED_BYTES_MAX: u64 = 8 << 20;

/// Appends the long value that was the last part of `row`, as JSON.
pub fn json<T>(row: &mut Row<'_, Bytes>, kind: &Type, length: u64, out: &mut Output<T>) -> Result<(), Stop> {
    match kind {
        Type::Native(Native::Text | Native::Ascii) => text(row, out),
        Type::Native(Native::Blob) | Type::Custom(_) => blob(row, out),
        _ if length > COLLECTED_BYTES_MAX => blob(row, out),
        _ => {
            let mut bytes = Vec::new();
            while let Some(piece) = row.next_piece()? {
                bytes.extend_from_slice(piece);
            }
            value::json(&mut out.text, kind, &bytes);
            out.relieve()
        }
    }
}

fn blob<T>(row: &mut Row<'_, Bytes>, out: &mut Output<T>) -> Result<(), Stop> {
    out.text.extend_from_slice(b"\"0x");
    let mut result = Ok(());
    loop {
        match row.next_piece() {
            Ok(Some(piece)) => {
                // A piece may be a whole megabyte, and its digits two.
                for part in piece.chunks(32 << 10) {
                    value::hex(&mut out.text, part);
                    out.relieve()?;
                }
            }
            Ok(None) => break,
            Err(error) => {
                result = Err(Stop::from(error));
                break;
            }
        }
    }
    out.text.push(b'"');
    result
}

/// UTF-8 that is cut anywhere between pieces; what is none becomes U+FFFD, for the quotes have been opened already.
fn text<T>(row: &mut Row<'_, Bytes>, out: &mut Output<T>) -> Result<(), Stop> {
    out.text.push(b'"');
    let mut result = Ok(());
    let mut held: Vec<u8> = Vec::new();
    loop {
        let piece = match row.next_piece() {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => {
                result = Err(Stop::from(error));
                break;
            }
        };
        for part in piece.chunks(32 << 10) {
            held.extend_from_slice(part);
            let mut rest = held.as_slice();
            loop {
                match std::str::from_utf8(rest) {
                    Ok(_) => {
                        value::escape(&mut out.text, rest);
                        rest = &[];
                        break;
                    }
                    Err(error) => {
                        let (valid, after) = rest.split_at(error.valid_up_to());
                        value::escape(&mut out.text, valid);
                        let Some(bad) = error.error_len() else {
                            rest = after;
                            break;
                        };
                        out.text.extend_from_slice("\u{fffd}".as_bytes());
                        rest = &after[bad..];
                    }
                }
            }
            let kept = rest.len();
            held.drain(..held.len() - kept);
            out.relieve()?;
        }
    }
    if !held.is_empty() {
        out.text.extend_from_slice("\u{fffd}".as_bytes());
    }
    out.text.push(b'"');
    result
}
