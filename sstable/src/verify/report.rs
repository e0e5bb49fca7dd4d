//! What a verification found: a list of findings, each with its place, what was expected and what was there.
//!
//! `Err` from a verifier means that the check could not be done (the disk failed); damage is never an error but a
//! [`Finding`].

use std::fmt;

use crate::component::Component;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Unusual, and no data is at risk: Cassandra rebuilds the file or ignores the field.
    Warning,
    /// The SSTable is damaged or incomplete.
    Damage,
}

/// One thing that is wrong with an SSTable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The component in which it shows.
    pub component: Component,
    /// Byte offset in the component, where there is one.
    pub offset: Option<u64>,
    /// Whether data is at risk.
    pub severity: Severity,
    /// The rule that is broken, as a short noun phrase (`chunk checksum`).
    pub what: String,
    /// What the rule asks for.
    pub expected: String,
    /// What the file has.
    pub got: String,
}

impl Finding {
    /// Damage at a place.
    pub fn damage(
        component: Component,
        offset: impl Into<Option<u64>>,
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self {
            component,
            offset: offset.into(),
            severity: Severity::Damage,
            what: what.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// A decoding error of `component`, as a finding: data at risk.
    pub fn from_error(component: Component, error: crate::Error) -> Self {
        let crate::Error { offset, what, expected, got, .. } = error;
        Self::damage(component, offset, what, expected, got)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, offset, what, expected, got, .. } = self;
        write!(f, "{component}")?;
        if let Some(offset) = offset {
            write!(f, " at {offset}")?;
        }
        write!(f, ": {what}: expected {expected}, got {got}")
    }
}
