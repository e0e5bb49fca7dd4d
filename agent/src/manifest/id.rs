//! A backup's name, and the facts that its key repeats so that a listing needs no download.
//!
//!     manifest/<cluster>/<host id>/20261121T010203.456Z-1a2b3c4d.full-812-2264924160-1048576.json.zst
//!                                  └── time ──────────┘ └ random ┘ └kind┘ │   │           └ new bytes
//!                                  └── backup id ──────────────────┘      │   └ bytes
//!                                                                         └ SSTables
//!
//! The facts are a cache: the manifest repeats them, and they are compared when it is read.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// UTC time to the millisecond and 8 random hex digits: sorts by time, never repeats.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

impl BackupId {
    /// A new id for a backup that begins at `started`.
    pub fn new(started: Timestamp) -> Self {
        let random = uuid::Uuid::new_v4().as_fields().0;
        Self(format!("{}-{random:08x}", time_text(started)))
    }

    /// True if the backup began at or before the moment.
    pub fn began_by(&self, moment: Timestamp) -> bool {
        let text = time_text(moment);
        self.0.get(..text.len()).is_some_and(|began| began <= text.as_str())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn time_text(moment: Timestamp) -> String {
    moment.strftime("%Y%m%dT%H%M%S.%3fZ").to_string()
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BackupId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "00000000T000000.000Z-xxxxxxxx";
        let fits = text.len() == SHAPE.len()
            && text.bytes().zip(SHAPE.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                _ => byte == shape,
            });
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a backup id (expected the shape 20261121T010203.456Z-1a2b3c4d)"))
        }
    }
}

impl TryFrom<String> for BackupId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

/// Whether a backup holds every table of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All tables.
    Full,
    /// Those of a selection.
    Selected,
}

impl Kind {
    /// The word in keys and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Selected => "selected",
        }
    }
}

/// What `list` shows of a backup without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whether all tables are in it.
    pub kind: Kind,
    /// Number of SSTables, damaged ones included.
    pub sstables: u64,
    /// Plain bytes of all files.
    pub bytes: u64,
    /// Plain bytes of the files that this backup sent.
    pub new_bytes: u64,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.kind.as_str(), self.sstables, self.bytes, self.new_bytes)
    }
}

impl FromStr for Facts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` are not the facts of a backup (expected KIND-SSTABLES-BYTES-NEWBYTES)");
        let mut fields = text.split('-');
        let kind = match fields.next() {
            Some("full") => Kind::Full,
            Some("selected") => Kind::Selected,
            _ => return Err(wrong()),
        };
        let mut number = || fields.next().and_then(|field| field.parse().ok()).ok_or_else(wrong);
        let facts = Self { kind, sstables: number()?, bytes: number()?, new_bytes: number()? };
        if fields.next().is_some() { Err(wrong()) } else { Ok(facts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_sort_by_time() {
        let early = BackupId::new(Timestamp::from_millisecond(1_000).expect("in range"));
        let late = BackupId::new(Timestamp::from_millisecond(2_000).expect("in range"));
        assert!(early < late);
        assert_eq!(early.as_str().parse::<BackupId>().as_ref(), Ok(&early));
        assert!(early.as_str().starts_with("19700101T000001.000Z-"));
        for (milliseconds, expected) in [(999, false), (1_000, true), (1_001, true)] {
            assert_eq!(early.began_by(Timestamp::from_millisecond(milliseconds).expect("in range")), expected);
        }
    }

    #[test]
    fn refuses_other_shapes() {
        for wrong in ["", "latest", "../../etc", "20261121T010203.456Z-1A2B3C4D", "20261121T010203.456Z-1a2b3c4d5"] {
            assert!(wrong.parse::<BackupId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn facts_round_trip() {
        let facts = Facts { kind: Kind::Full, sstables: 812, bytes: 2_264_924_160, new_bytes: 7 };
        assert_eq!(facts.to_string(), "full-812-2264924160-7");
        assert_eq!(facts.to_string().parse(), Ok(facts));
        for wrong in ["", "full", "full-1-2", "full-1-2-3-4", "half-1-2-3", "full-1-2-x"] {
            assert!(wrong.parse::<Facts>().is_err(), "{wrong}");
        }
    }
}
