//! What can be wrong with the bytes of a file: cut short, contradictory, or of a kind that we do not know.
//!
//! Every error names the component and the offset, and says what was expected and what was found there, so that an
//! operator can look at the very byte. The component is added by whoever opened the file
//! ([`Error::in_component`]); a decoder knows only its offset.

use std::fmt;

/// The result of decoding.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place in a component file and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// File name of the component (`Statistics.db`), empty while only the decoder has seen the error.
    pub component: String,
    /// Byte offset from the start of the component.
    pub offset: u64,
    /// What kind of trouble it is.
    pub kind: Kind,
    /// The field or rule concerned.
    pub what: &'static str,
    /// What the format asks for.
    pub expected: String,
    /// What the file has.
    pub got: String,
}

/// The three ways in which bytes can fail us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The file ends before the value does.
    Truncated,
    /// The bytes contradict the format or each other.
    Corrupt,
    /// A version, type or algorithm that this program does not know.
    Unsupported,
}

impl Error {
    /// The file ends before `needed` more bytes at `offset`; only `available` are there.
    pub fn truncated(offset: u64, what: &'static str, needed: u64, available: u64) -> Self {
        Self::new(Kind::Truncated, offset, what, format!("{needed} more bytes"), available.to_string())
    }

    /// The bytes at `offset` contradict the format.
    pub fn corrupt(offset: u64, what: &'static str, expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self::new(Kind::Corrupt, offset, what, expected.to_string(), got.to_string())
    }

    /// The bytes at `offset` are of a kind that this program cannot read.
    pub fn unsupported(offset: u64, what: &'static str, expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self::new(Kind::Unsupported, offset, what, expected.to_string(), got.to_string())
    }

    fn new(kind: Kind, offset: u64, what: &'static str, expected: String, got: String) -> Self {
        Self { component: String::new(), offset, kind, what, expected, got }
    }

    /// Names the component that was being read, once, where it is known.
    #[must_use]
    pub fn in_component(mut self, component: impl fmt::Display) -> Self {
        if self.component.is_empty() {
            self.component = component.to_string();
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, offset, kind, what, expected, got } = self;
        if !component.is_empty() {
            write!(f, "{component} ")?;
        }
        write!(f, "at {offset}: ")?;
        match kind {
            Kind::Truncated => write!(f, "the file ends within {what}: expected {expected}, got {got}"),
            Kind::Corrupt => write!(f, "{what}: expected {expected}, got {got}"),
            Kind::Unsupported => write!(f, "{what} is not supported: expected {expected}, got {got}"),
        }
    }
}

impl std::error::Error for Error {}
