//! What a verification found: a list of findings, each with its place, what was expected and what was there.
//!
//! `Err` from a verifier means that the check could not be done (the disk failed); damage is never an error but a
//! [`Finding`].

use std::fmt;

use crate::component::Component;
use crate::cql::wire::hex;

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
    /// Byte offset in the component, where there is one. In `Data.db` it is one of the uncompressed data if a partition
    /// is named, and one of the file if not.
    pub offset: Option<u64>,
    /// Key of the partition concerned, where there is one.
    pub partition: Option<Vec<u8>>,
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
            partition: None,
            severity: Severity::Damage,
            what: what.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// Names the partition concerned.
    #[must_use]
    pub fn in_partition(mut self, key: &[u8]) -> Self {
        self.partition = Some(key.to_vec());
        self
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
        let Self { component, offset, partition, what, expected, got, .. } = self;
        write!(f, "{component}")?;
        if let Some(key) = partition {
            write!(f, ", partition {}", hex(key))?;
        }
        if let Some(offset) = offset {
            write!(f, " at {offset}")?;
        }
        write!(f, ": {what}: expected {expected}, got {got}")
    }
}

/// Findings up to a limit: beyond it, it is the disk, and more of them tell nothing new. Each severity has a limit of
/// its own, so that no number of warnings hides damage.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    kept_damage: usize,
    dropped: Dropped,
    /// The partition that is looked at.
    key: Vec<u8>,
}

/// Findings that were counted and not kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Of [`Severity::Damage`].
    pub damage: u64,
    /// Of [`Severity::Warning`].
    pub warnings: u64,
}

/// Number of findings of one severity that are kept of one SSTable.
const FINDINGS_MAX: usize = 64;

impl Findings {
    /// Adds one, unless it is the last one once more: damage of a chunk is met by every partition in it.
    pub(crate) fn add(&mut self, finding: Finding) {
        let is_known = self.kept.last().is_some_and(|last| {
            last.component == finding.component && last.offset == finding.offset && last.what == finding.what
        });
        if is_known {
            return;
        }
        let (kept, dropped) = match finding.severity {
            Severity::Damage => (self.kept_damage, &mut self.dropped.damage),
            Severity::Warning => (self.kept.len() - self.kept_damage, &mut self.dropped.warnings),
        };
        if kept == FINDINGS_MAX {
            *dropped += 1;
            return;
        }
        self.kept_damage += usize::from(finding.severity == Severity::Damage);
        self.kept.push(finding);
    }

    /// Goes to the next partition.
    pub(crate) fn enter(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
    }

    /// Adds one that concerns the partition that is looked at.
    #[cold]
    pub(crate) fn add_here(&mut self, finding: Finding) {
        let finding = finding.in_partition(&self.key);
        self.add(finding);
    }

    /// Those that were kept, and the numbers of the others.
    pub(crate) fn into_parts(self) -> (Vec<Finding>, Dropped) {
        (self.kept, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_do_not_hide_damage() {
        let finding = |offset: u64| Finding::damage(Component::Data, offset, "order of the rows", 1, 2);
        let mut findings = Findings::default();
        (0..70).for_each(|offset| findings.add(finding(offset).as_warning()));
        (0..66).for_each(|offset| findings.add(finding(offset)));
        let (kept, dropped) = findings.into_parts();
        let damage = kept.iter().filter(|finding| finding.severity == Severity::Damage).count();
        assert_eq!((kept.len(), damage), (128, 64));
        assert_eq!(dropped, Dropped { damage: 2, warnings: 6 });
    }
}
