//! Which SSTable a file belongs to: `nb-1-big-Data.db` is the component `Data.db` of the SSTable `nb-1-big`.
//!
//! ```text
//! <version> - <id> - <format> - <component>
//! ```
//!
//! The id is a number counted up per table, or a time UUID in 28 base-36 digits:
//!
//! ```text
//! days 4 | _ | second of the day 4 | _ | tick of the second 5, low half of the UUID 13
//! ```
//!
//! Names that would not be written back as they were read (`nb-007-big-Data.db`) are refused: a descriptor is used to
//! build the names of the other components. The five-token names of 2.1 and before are not SSTables to this program.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::component::Component;
use crate::version::{Format, Version};

/// Ticks of 100 ns from 1582-10-15, where time UUIDs begin, to 1970-01-01.
const UNIX_EPOCH_TICKS: i64 = 0x01b2_1dd2_1381_4000;
const TICKS_PER_SECOND: u64 = 10_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// A time UUID has 60 bits of time.
const TICKS_MAX: u64 = (1 << 60) - 1;
/// What a file name can be on the file systems that Cassandra runs on.
const NAME_LENGTH_MAX: usize = 255;

/// A version-1 UUID, kept as its time and the rest, which is how SSTable ids are written and ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeUuid {
    ticks: u64,
    low: u64,
}

impl TimeUuid {
    /// From ticks of 100 ns since 1582-10-15 and the low 64 bits; `None` if the ticks exceed 60 bits.
    pub fn new(ticks: u64, low: u64) -> Option<Self> {
        (ticks <= TICKS_MAX).then_some(Self { ticks, low })
    }

    /// When the id was drawn, in ticks of 100 ns since 1970-01-01 UTC.
    pub fn unix_ticks(self) -> i64 {
        // 60 bits and a constant of 57: no overflow is possible.
        (self.ticks as i64).wrapping_sub(UNIX_EPOCH_TICKS)
    }

    /// The sixteen bytes in the standard order.
    pub fn as_bytes(self) -> [u8; 16] {
        let Self { ticks, low } = self;
        let high = (ticks & 0xffff_ffff) << 32 | (ticks >> 32 & 0xffff) << 16 | 0x1000 | ticks >> 48;
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

impl fmt::Display for TimeUuid {
    /// The usual form with dashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.as_bytes());
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            number >> 96,
            number >> 80 & 0xffff,
            number >> 64 & 0xffff,
            number >> 48 & 0xffff,
            number & 0xffff_ffff_ffff
        )
    }
}

/// What tells the SSTables of a table apart. Ordered by age: every UUID is newer than every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SSTableId {
    /// Counted up per table and node. May be used again when the node restarts after its highest SSTable is gone.
    Sequence(u64),
    /// Unique everywhere; since 4.1, where configured.
    Uuid(TimeUuid),
}

impl SSTableId {
    /// When the SSTable was begun, in ticks of 100 ns since 1970-01-01 UTC; numbers do not tell.
    pub fn unix_ticks(&self) -> Option<i64> {
        match self {
            Self::Sequence(_) => None,
            Self::Uuid(uuid) => Some(uuid.unix_ticks()),
        }
    }

    /// The UUID in its usual form with dashes.
    pub fn uuid(&self) -> Option<String> {
        match self {
            Self::Sequence(_) => None,
            Self::Uuid(uuid) => Some(uuid.to_string()),
        }
    }
}

impl fmt::Display for SSTableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(number) => write!(f, "{number}"),
            Self::Uuid(TimeUuid { ticks, low }) => {
                let (seconds, tick) = (ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
                base36(f, seconds / SECONDS_PER_DAY, 4)?;
                f.write_str("_")?;
                base36(f, seconds % SECONDS_PER_DAY, 4)?;
                f.write_str("_")?;
                base36(f, tick, 5)?;
                base36(f, *low, 13)
            }
        }
    }
}

fn base36(f: &mut fmt::Formatter<'_>, number: u64, digits: u32) -> fmt::Result {
    for place in (0..digits).rev() {
        let digit = u32::try_from(number / 36_u64.pow(place) % 36).unwrap_or_default();
        fmt::Write::write_char(f, char::from_digit(digit, 36).unwrap_or('0'))?;
    }
    Ok(())
}

impl FromStr for SSTableId {
    type Err = NameErrorKind;

    fn from_str(text: &str) -> Result<Self, NameErrorKind> {
        if text.is_empty() {
            return Err(NameErrorKind::EmptyId);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let canonical = text.len() <= 10 && (text == "0" || !text.starts_with('0'));
            return match text.parse() {
                Ok(number) if canonical => Ok(Self::Sequence(number)),
                _ => Err(NameErrorKind::InvalidId),
            };
        }
        uuid_id(text).map(Self::Uuid).ok_or(NameErrorKind::InvalidId)
    }
}

fn uuid_id(text: &str) -> Option<TimeUuid> {
    let (days, rest) = text.split_once('_')?;
    let (seconds, rest) = rest.split_once('_')?;
    let (ticks, low) = rest.split_at_checked(5)?;
    let days = from_base36(days, 4)?;
    let seconds = from_base36(seconds, 4)?;
    let ticks = from_base36(ticks, 5)?;
    let low = from_base36(low, 13)?;
    if seconds >= SECONDS_PER_DAY || ticks >= TICKS_PER_SECOND {
        return None;
    }
    // At most 36^4 days: far from an overflow.
    TimeUuid::new((days * SECONDS_PER_DAY + seconds) * TICKS_PER_SECOND + ticks, low)
}

fn from_base36(text: &str, digits: usize) -> Option<u64> {
    // `from_str_radix` also takes signs and capitals, which would be written back differently.
    let canonical = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'));
    if canonical { u64::from_str_radix(text, 36).ok() } else { None }
}

/// One SSTable of a table: what its file names start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Version of the files.
    pub version: Version,
    /// Unique within a table.
    pub id: SSTableId,
    /// Format of the files.
    pub format: Format,
}

impl Descriptor {
    /// What all file names of the SSTable start with, including the dash: `nb-1-big-`.
    pub fn prefix(&self) -> String {
        format!("{self}-")
    }

    /// The name of one of its files.
    pub fn file_name(&self, component: &Component) -> String {
        format!("{self}-{component}")
    }
}

impl Ord for Descriptor {
    /// Oldest first: by id, whatever the version.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.id, self.version, self.format).cmp(&(other.id, other.version, other.format))
    }
}

impl PartialOrd for Descriptor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, id, format } = self;
        write!(f, "{version}-{id}-{format}")
    }
}

impl FromStr for Descriptor {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut tokens = text.split('-');
        let (Some(version), Some(id), Some(format), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(NameError::new(text, NameErrorKind::Shape));
        };
        descriptor(version, id, format).map_err(|kind| NameError::new(text, kind))
    }
}

fn descriptor(version: &str, id: &str, format: &str) -> Result<Descriptor, NameErrorKind> {
    let version = Version::parse(version).map_err(|_| NameErrorKind::InvalidVersion)?;
    let id = id.parse()?;
    let format = format.parse().map_err(|_| NameErrorKind::InvalidFormat)?;
    match version.format() {
        Some(expected) if expected != format => Err(NameErrorKind::VersionOfOtherFormat),
        _ => Ok(Descriptor { version, id, format }),
    }
}

/// A file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The SSTable that the file belongs to.
    pub descriptor: Descriptor,
    /// Which of its files it is.
    pub component: Component,
}

impl FileName {
    /// Takes apart the last segment of a path. Temporary files (`….tmp`) and names of before 2.2 are errors.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let error = |kind| NameError::new(name, kind);
        if name.len() > NAME_LENGTH_MAX {
            return Err(error(NameErrorKind::TooLong));
        }
        if name.contains(['/', '\0']) {
            return Err(error(NameErrorKind::NotAFileName));
        }
        let mut tokens = name.split('-');
        let (Some(version), Some(id), Some(format), Some(component), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(error(NameErrorKind::Shape));
        };
        let descriptor = descriptor(version, id, format).map_err(error)?;
        if component.is_empty() {
            return Err(error(NameErrorKind::EmptyComponent));
        }
        if component.ends_with(".tmp") {
            return Err(error(NameErrorKind::Temporary));
        }
        Ok(Self { descriptor, component: Component::parse(component) })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptor, component } = self;
        write!(f, "{descriptor}-{component}")
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// A name that is not the name of an SSTable, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {kind}")]
pub struct NameError {
    /// The name, cut if it is longer than a file name can be, with control characters escaped.
    pub name: String,
    /// The broken rule.
    pub kind: NameErrorKind,
}

impl NameError {
    fn new(name: &str, kind: NameErrorKind) -> Self {
        // Names reach terminals and logs.
        let name = name.chars().take(NAME_LENGTH_MAX).flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!c.is_control()).then_some(c))
        });
        Self { name: name.collect(), kind }
    }
}

/// The rules of file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameErrorKind {
    /// Longer than a file name can be.
    #[error("longer than 255 bytes")]
    TooLong,
    /// It has a slash or a zero byte.
    #[error("not a file name")]
    NotAFileName,
    /// Too few or too many tokens.
    #[error("expected <version>-<id>-<format>-<component>")]
    Shape,
    /// The first token is not a version.
    #[error("invalid SSTable version")]
    InvalidVersion,
    /// Nothing between the first two dashes.
    #[error("empty SSTable id")]
    EmptyId,
    /// Neither a number of at most ten digits nor a UUID in base 36, or not as Cassandra writes it.
    #[error("invalid SSTable id")]
    InvalidId,
    /// The third token is neither `big` nor `bti`.
    #[error("unknown SSTable format")]
    InvalidFormat,
    /// `da-…-big` and the like.
    #[error("the version belongs to another format")]
    VersionOfOtherFormat,
    /// Nothing after the third dash.
    #[error("empty component")]
    EmptyComponent,
    /// Being written, and renamed when complete.
    #[error("a temporary file")]
    Temporary,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        fn check(name: &str, expected: Result<(Version, SSTableId, Format, Component), &str>) {
            match (FileName::parse(name), expected) {
                (Ok(got), Ok((version, id, format, component))) => {
                    assert_eq!(got, FileName { descriptor: Descriptor { version, id, format }, component });
                    assert_eq!(got.to_string(), name);
                }
                (Err(got), Err(expected)) => assert_eq!(got.kind.to_string(), expected, "{name}"),
                (got, expected) => panic!("{name}: expected {expected:?}, got {got:?}"),
            }
        }
        let uuid = SSTableId::Uuid(TimeUuid::new(0x1ec_da84_6636_ac00, 0x9aba_f56e_1443_def0).unwrap());
        let pa = Version::parse("pa").unwrap();
        let la = Version::parse("la").unwrap();
        let other = |name: &str| Component::Other(name.to_owned());
        check("nb-1-big-Data.db", Ok((Version::NB, SSTableId::Sequence(1), Format::Big, Component::Data)));
        check("ma-0-big-TOC.txt", Ok((Version::MA, SSTableId::Sequence(0), Format::Big, Component::Toc)));
        check(
            "da-9999999999-bti-Rows.db",
            Ok((Version::DA, SSTableId::Sequence(9_999_999_999), Format::Bti, Component::Rows)),
        );
        check("da-3fw2_0tj4_46w3k2cpidnirvjy7k-bti-Data.db", Ok((Version::DA, uuid, Format::Bti, Component::Data)));
        check("la-1-big-Digest.adler32", Ok((la, SSTableId::Sequence(1), Format::Big, other("Digest.adler32"))));
        check("pa-1-big-New.db", Ok((pa, SSTableId::Sequence(1), Format::Big, other("New.db"))));
        check("pa-1-bti-New.db", Ok((pa, SSTableId::Sequence(1), Format::Bti, other("New.db"))));

        check("", Err("expected <version>-<id>-<format>-<component>"));
        check("Data.db", Err("expected <version>-<id>-<format>-<component>"));
        check("nb-1-big", Err("expected <version>-<id>-<format>-<component>"));
        check("ks-t-ka-1-Data.db", Err("expected <version>-<id>-<format>-<component>"));
        check("nb-1-big-Data.db-x", Err("expected <version>-<id>-<format>-<component>"));
        check("nb--big-Data.db", Err("empty SSTable id"));
        check("-1-big-Data.db", Err("invalid SSTable version"));
        check("NB-1-big-Data.db", Err("invalid SSTable version"));
        check("n-1-big-Data.db", Err("invalid SSTable version"));
        check("nb-01-big-Data.db", Err("invalid SSTable id"));
        check("nb-+1-big-Data.db", Err("invalid SSTable id"));
        check("nb-12345678901-big-Data.db", Err("invalid SSTable id"));
        check("nb-one-big-Data.db", Err("invalid SSTable id"));
        check("nb-3FW2_0tj4_46w3k2cpidnirvjy7k-big-Data.db", Err("invalid SSTable id"));
        check("nb-3fw2_0tj4_46w3k2cpidnirvjy7-big-Data.db", Err("invalid SSTable id"));
        check("nb-3fw2_zzzz_46w3k2cpidnirvjy7k-big-Data.db", Err("invalid SSTable id"));
        check("nb-3fw2_0tj4_zzzzz2cpidnirvjy7k-big-Data.db", Err("invalid SSTable id"));
        check("nb-3fw2_0tj4_46w3kzzzzzzzzzzzzz-big-Data.db", Err("invalid SSTable id"));
        check("nb-zzzz_0tj4_46w3k2cpidnirvjy7k-big-Data.db", Err("invalid SSTable id"));
        check("nb-3fw2_0tj4_46wé3k2cpidnirvjy7-big-Data.db", Err("invalid SSTable id"));
        check("nb-1-BIG-Data.db", Err("unknown SSTable format"));
        check("nb-1--Data.db", Err("unknown SSTable format"));
        check("nb-1-bti-Data.db", Err("the version belongs to another format"));
        check("da-1-big-Data.db", Err("the version belongs to another format"));
        check("nb-1-big-", Err("empty component"));
        check("nb-1-big-Statistics.db.tmp", Err("a temporary file"));
        check("nb-1-big-Statistics.db.6636ac00.tmp", Err("a temporary file"));
        check("nb-1-big-../x", Err("not a file name"));
        check("nb-1-big-x\0", Err("not a file name"));
        check(&format!("nb-1-big-{}", "x".repeat(300)), Err("longer than 255 bytes"));
    }

    #[test]
    fn errors_name_the_file_and_keep_terminals_sane() {
        assert_eq!(FileName::parse("nb--big-Data.db").unwrap_err().to_string(), "nb--big-Data.db: empty SSTable id");
        let error = FileName::parse("\x1b[2J-x").unwrap_err().to_string();
        assert!(error.starts_with("\\u{1b}[2J-x: "), "{error}");
    }

    #[test]
    fn uuid_ids() {
        let id: SSTableId = "3fw2_0tj4_46w3k2cpidnirvjy7k".parse().unwrap();
        assert_eq!(id.uuid().unwrap(), "6636ac00-da84-11ec-9aba-f56e1443def0");
        // 2022-05-23T10:37:52.704Z
        assert_eq!(id.unix_ticks(), Some(1_653_302_272_704 * 10_000));
        assert_eq!(id.to_string(), "3fw2_0tj4_46w3k2cpidnirvjy7k");
        assert_eq!(SSTableId::Sequence(7).uuid(), None);
    }

    #[test]
    fn newer_is_greater() {
        let parse = |text: &str| text.parse::<Descriptor>().unwrap();
        let oldest_first = [
            "nb-1-big",
            "ma-2-big",
            "nb-10-big",
            "nb-3fw2_0tj4_46w3k2cpidnirvjy7k-big",
            "da-3fw2_0tj4_46w3l2cpidnirvjy7k-bti",
        ];
        assert!(oldest_first.is_sorted_by(|a, b| parse(a) < parse(b)));
    }

    proptest! {
        #[test]
        fn every_id_round_trips(ticks in 0..=TICKS_MAX, low: u64) {
            let id = SSTableId::Uuid(TimeUuid::new(ticks, low).unwrap());
            prop_assert_eq!(id.to_string().len(), 28);
            prop_assert_eq!(id.to_string().parse::<SSTableId>().unwrap(), id);
        }

        #[test]
        fn any_text_is_a_name_or_an_error(text in ".{0,60}|[a-z]{0,3}-[0-9a-z_]{0,30}-(big|bti)?-.{0,20}") {
            if let Ok(name) = FileName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
