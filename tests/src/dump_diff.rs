//! Are two dumps of an SSTable equal? Token by token, so that a dump that breaks off can be compared up to there.
//!
//! Strings are compared as decoded, numbers as numbers, blanks not at all; the order of members is compared, as both
//! programs promise it. `sstabledump`'s known defects are let pass, each under its own condition:
//!
//! * `position` of a partition: 5.0 prints where its first row is;
//! * a write timestamp before 1970 that is no whole second: printed a second late; one that does not fit 64 bits as
//!   nanoseconds (from 2262 on): printed with the fraction of the last one that does;
//! * `table kind`: only 5.0 prints it;
//! * a counter: the first eight bytes of its context instead of its value.
//!
//! Those that end the program are the caller's: it knows the exit code.

use std::fmt;

use anyhow::{Context, bail, ensure};

/// What the judge is known to get wrong here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defects {
    /// Positions of partitions are those of their first row: 5.0.
    pub positions: bool,
    /// There is no `table kind`: before 5.0.
    pub no_table_kind: bool,
    /// The table has counters, which are printed as garbage.
    pub counters: bool,
    /// The judge broke off: what it has printed before is compared.
    pub breaks_off: bool,
}

/// The first place where two dumps differ.
#[derive(Debug)]
pub struct Difference {
    place: String,
    ours: String,
    theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  ours:   {}\n  theirs: {}", self.place, self.ours, self.theirs)
    }
}

/// The first difference; `None` if the dumps are equal but for the defects. An error if ours is no JSON, or theirs is none
/// before its end.
pub fn difference(ours: &str, theirs: &str, defects: Defects) -> anyhow::Result<Option<Difference>> {
    let (mut left, mut right) = (Tokens::new(ours), Tokens::new(theirs));
    loop {
        let expected = right.next().with_context(|| format!("theirs, {}", right.place()))?;
        let mut got = left.next().with_context(|| format!("ours, {}", left.place()))?;
        if defects.no_table_kind && matches!(&got, Token::Text(name) if name == "table kind") {
            // The name, a colon, the kind, a comma.
            for _ in 0..4 {
                got = left.next().with_context(|| format!("ours, {}", left.place()))?;
            }
        }
        if got == Token::End && expected == Token::End {
            return Ok(None);
        }
        if got == expected || is_forgiven(&got, &expected, &left, defects) {
            continue;
        }
        if defects.breaks_off && right.is_over(&expected) {
            break;
        }
        return Ok(Some(Difference { place: left.place(), ours: got.to_string(), theirs: expected.to_string() }));
    }
    // Ours has to go on to its end.
    while left.next().with_context(|| format!("ours, {}", left.place()))? != Token::End {}
    Ok(None)
}

fn is_forgiven(ours: &Token, theirs: &Token, at: &Tokens<'_>, defects: Defects) -> bool {
    match (at.name(), ours, theirs) {
        (Some("position"), Token::Number(_), Token::Number(_)) => defects.positions && at.parent() == Some("partition"),
        (Some("value"), Token::Number(_), Token::Number(_)) => defects.counters,
        (Some("tstamp" | "marked_deleted"), Token::Text(ours), Token::Text(theirs)) => {
            nanos(ours).map(as_they_print) == nanos(theirs)
        }
        _ => false,
    }
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// What `sstabledump` makes of a time: the seconds are cut towards 1970, the fraction counts forwards, and is taken from a
/// number of 64 bits that stops at its end.
fn as_they_print(nanos: i128) -> i128 {
    let fraction = nanos.clamp(i64::MIN.into(), i64::MAX.into()).rem_euclid(NANOS_PER_SECOND);
    nanos / NANOS_PER_SECOND * NANOS_PER_SECOND + fraction
}

/// Nanoseconds since 1970 of `2024-01-02T03:04:05.678901Z`, with years of any length and sign.
fn nanos(instant: &str) -> Option<i128> {
    let (date, time) = instant.strip_suffix('Z')?.split_once('T')?;
    let (year_month, day) = date.rsplit_once('-')?;
    let (year, month) = year_month.rsplit_once('-')?;
    let (hours, rest) = time.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let (year, month, day): (i128, i128, i128) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let clock: i128 =
        hours.parse::<i128>().ok()? * 3600 + minutes.parse::<i128>().ok()? * 60 + seconds.parse::<i128>().ok()?;
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    // Years that begin in March end with the leap day.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day
            - 719_469;
    Some((days * 86_400 + clock) * NANOS_PER_SECOND + fraction)
}

#[derive(Debug, Clone)]
enum Token {
    Mark(char),
    Text(String),
    Number(String),
    Word(String),
    End,
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mark(ours), Self::Mark(theirs)) => ours == theirs,
            (Self::Text(ours), Self::Text(theirs)) | (Self::Word(ours), Self::Word(theirs)) => ours == theirs,
            (Self::Number(ours), Self::Number(theirs)) => ours == theirs || Decimal::of(ours) == Decimal::of(theirs),
            (Self::End, Self::End) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Mark(mark) => mark.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Number(text) | Self::Word(text) => text.clone(),
            Self::End => "the end".to_owned(),
        };
        let short: String = text.chars().take(400).collect();
        write!(f, "{short}{}", if short.len() < text.len() { " …" } else { "" })
    }
}

/// A number as it is, whatever its length: `1.50E3` is `15` × 10².
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative, digits: String::new(), exponent: 0 });
        }
        let dropped = all.len() - all.trim_end_matches('0').len();
        let exponent: i64 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
        let exponent = exponent + i64::try_from(dropped).ok()? - i64::try_from(fraction.len()).ok()?;
        Some(Self { negative, digits: digits.to_owned(), exponent })
    }
}

/// An open object or array.
#[derive(Debug)]
enum Open {
    /// The member that is being read, and whether its value comes next.
    Object {
        name: String,
        is_value: bool,
    },
    Array {
        index: usize,
    },
}

struct Tokens<'a> {
    rest: &'a str,
    open: Vec<Open>,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, open: Vec::new() }
    }

    /// `[3].rows[0].cells[2].value`
    fn place(&self) -> String {
        let steps = self.open.iter().map(|open| match open {
            Open::Object { name, .. } => format!(".{name}"),
            Open::Array { index } => format!("[{index}]"),
        });
        steps.collect::<String>().trim_start_matches('.').to_owned()
    }

    /// True if nothing follows but what closes all that is open: so does a writer of JSON that dies.
    fn is_over(&self, last: &Token) -> bool {
        let closes = |c: char| "]} \n".contains(c);
        matches!(last, Token::End | Token::Mark(']' | '}')) && self.rest.chars().all(closes)
    }

    /// The member whose value is being read.
    fn name(&self) -> Option<&str> {
        match self.open.last() {
            Some(Open::Object { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// The member whose value is the object that is being read.
    fn parent(&self) -> Option<&str> {
        let (_, rest) = self.open.split_last()?;
        match rest.last() {
            Some(Open::Object { name, .. }) => Some(name),
            _ => None,
        }
    }

    fn next(&mut self) -> anyhow::Result<Token> {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
        let Some(first) = self.rest.chars().next() else {
            ensure!(self.open.is_empty(), "the text ends within a value");
            return Ok(Token::End);
        };
        let token = match first {
            '{' | '[' | '}' | ']' | ',' | ':' => {
                self.rest = self.rest.get(1..).unwrap_or_default();
                Token::Mark(first)
            }
            '"' => Token::Text(self.string()?),
            _ => {
                let end = self.rest.find(|c: char| " \n\r\t,:{}[]\"".contains(c)).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                match word {
                    "true" | "false" | "null" => Token::Word(word.to_owned()),
                    _ => {
                        ensure!(is_number(word), "`{word}` is no value");
                        Token::Number(word.to_owned())
                    }
                }
            }
        };
        self.step(&token)?;
        Ok(token)
    }

    fn step(&mut self, token: &Token) -> anyhow::Result<()> {
        match (token, self.open.last_mut()) {
            (Token::Mark('{'), _) => self.open.push(Open::Object { name: String::new(), is_value: false }),
            (Token::Mark('['), _) => self.open.push(Open::Array { index: 0 }),
            (Token::Mark('}'), Some(Open::Object { .. })) | (Token::Mark(']'), Some(Open::Array { .. })) => {
                self.open.pop();
            }
            (Token::Mark(','), Some(Open::Array { index })) => *index += 1,
            (Token::Mark(','), Some(Open::Object { is_value, .. })) => *is_value = false,
            (Token::Mark(':'), Some(Open::Object { is_value, .. })) if !*is_value => *is_value = true,
            (Token::Text(text), Some(Open::Object { name, is_value: false })) => name.clone_from(text),
            (
                Token::Text(_) | Token::Number(_) | Token::Word(_),
                Some(Open::Array { .. } | Open::Object { is_value: true, .. }),
            ) => {}
            // `sstabledump -l` prints one document per line.
            (Token::End, None) => {}
            _ => bail!("unexpected {token}"),
        }
        Ok(())
    }

    fn string(&mut self) -> anyhow::Result<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            is_end
        });
        let (end, _) = end.context("a string without an end")?;
        let (quoted, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        serde_json::from_str(quoted).with_context(|| quoted.chars().take(200).collect::<String>())
    }
}

/// The grammar of JSON's numbers.
fn is_number(word: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = word.split_once(['e', 'E']).unwrap_or((word, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_whole = is_digits(whole) && (whole == "0" || !whole.starts_with('0'));
    is_whole && is_digits(fraction) && is_digits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn compare(ours: &str, theirs: &str, defects: Defects, expected: Option<&str>) {
        let found = difference(ours, theirs, defects).expect("JSON").map(|difference| difference.place);
        assert_eq!(found.as_deref(), expected, "{ours} and {theirs}");
    }

    #[test]
    fn what_is_equal() {
        let none = Defects::default();
        compare("[ ]", "[]", none, None);
        compare(r#"{"a": 1.50}"#, r#"{"a" : 15e-1}"#, none, None);
        compare(r#"{"a": [1, 2]}"#, r#"{"a": [1, 3]}"#, none, Some("a[1]"));
        compare(r#"{"a": "\u00e4"}"#, r#"{"a": "ä"}"#, none, None);
        compare(r#"{"a": 0.0}"#, r#"{"a": -0.0}"#, none, Some("a"));
        compare(r#"[1]"#, r#"[1, 2]"#, none, Some(""));
        compare(r#"[18446744073709551616]"#, r#"[18446744073709551617]"#, none, Some("[0]"));
        assert!(difference("[", "[]", none).is_err());
        assert!(difference("[01]", "[01]", none).is_err());
    }

    #[test]
    fn defects() {
        let all = Defects { positions: true, no_table_kind: true, counters: true, breaks_off: true };
        let partition = |position: u32| format!(r#"[{{"partition": {{"position": {position}}}}}]"#);
        compare(&partition(1), &partition(2), all, None);
        compare(&partition(1), &partition(2), Defects::default(), Some("[0].partition.position"));
        compare(r#"[{"position": 1}]"#, r#"[{"position": 2}]"#, all, Some("[0].position"));
        compare(r#"[{"table kind": "REGULAR", "a": 1}]"#, r#"[{"a": 1}]"#, all, None);
        compare(r#"[{"table kind": "REGULAR", "a": 1}]"#, r#"[{"a": 2}]"#, all, Some("[0].a"));
        compare("[[1, 2]]", "[[1] ]", all, None);
        compare("[[1, 2]]", "", all, None);
        compare("[[1, 2]]", "[[1]]", Defects::default(), Some("[0][1]"));
        compare("[[1, 2], 3]", "[[2] ]", all, Some("[0][0]"));
        let time = |text: &str| format!(r#"{{"tstamp": "{text}"}}"#);
        let (ours, theirs) = (time("1969-12-31T23:59:59.999995Z"), time("1970-01-01T00:00:00.999995Z"));
        compare(&ours, &theirs, Defects::default(), None);
        compare(&theirs, &ours, Defects::default(), Some("tstamp"));
        compare(&time("+10000-01-01T00:00:00Z"), &time("+10000-01-01T00:00:00.854775807Z"), Defects::default(), None);
        compare(&time("1969-12-31T23:59:59Z"), &time("1970-01-01T00:00:00Z"), Defects::default(), Some("tstamp"));
    }

    #[test]
    fn instants() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00Z", 951_825_600),
            ("-0001-01-01T00:00:00Z", -62_198_755_200),
        ] {
            assert_eq!(nanos(text), Some(seconds * NANOS_PER_SECOND), "{text}");
        }
    }
}
