//! Which tables a command is about: one grammar for every command.
//!
//! `--keyspace GLOB` and `--table KEYSPACE.TABLE-GLOB` include, `--exclude` (either form) always wins. With no
//! inclusion everything is included. Globs know `*`, `?`, `[abc]` and `{a,b}`, and are case-sensitive as Cassandra's
//! names are.

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::error::usage;

/// A parsed selection.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    text: SelectionText,
}

/// The selection as the user wrote it, for manifests and messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionText {
    /// `--keyspace` globs.
    pub keyspaces: Vec<String>,
    /// `--table` globs.
    pub tables: Vec<String>,
    /// `--exclude` globs, either form.
    pub exclude: Vec<String>,
}

#[derive(Debug, Clone)]
struct Pattern {
    keyspace: GlobMatcher,
    table: Option<GlobMatcher>,
}

impl Pattern {
    fn keyspace(text: &str) -> anyhow::Result<Self> {
        Ok(Self { keyspace: glob(text)?, table: None })
    }

    fn table(text: &str) -> anyhow::Result<Self> {
        let Some((keyspace, table)) = text.split_once('.') else {
            return Err(usage(format!("`{text}` names no table: write KEYSPACE.TABLE, for example `shop.orders`")));
        };
        Ok(Self { keyspace: glob(keyspace)?, table: Some(glob(table)?) })
    }

    fn matches(&self, keyspace: &str, table: &str) -> bool {
        self.keyspace.is_match(keyspace) && self.table.as_ref().is_none_or(|glob| glob.is_match(table))
    }
}

fn glob(text: &str) -> anyhow::Result<GlobMatcher> {
    Ok(Glob::new(text).map_err(|error| usage(format!("`{text}` is not a glob: {error}")))?.compile_matcher())
}

impl Selection {
    /// Parses what the user wrote; a pattern that is no glob is a usage error.
    pub fn parse(text: SelectionText) -> anyhow::Result<Self> {
        let mut include = Vec::new();
        for keyspace in &text.keyspaces {
            include.push(Pattern::keyspace(keyspace)?);
        }
        for table in &text.tables {
            include.push(Pattern::table(table)?);
        }
        let exclude = text
            .exclude
            .iter()
            .map(|text| if text.contains('.') { Pattern::table(text) } else { Pattern::keyspace(text) })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { include, exclude, text })
    }

    /// True if the table is selected.
    pub fn includes(&self, keyspace: &str, table: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(keyspace, table)))
            && !self.exclude.iter().any(|pattern| pattern.matches(keyspace, table))
    }

    /// True if nothing was asked for, so that everything is meant.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// True if only what was named is meant.
    pub fn has_inclusions(&self) -> bool {
        !self.include.is_empty()
    }

    /// True if an inclusion names one of Cassandra's own keyspaces: `system*` does, `*` does not.
    pub fn names(&self, keyspace: &str) -> bool {
        let names = |pattern: &Pattern| pattern.keyspace.glob().glob().starts_with("system");
        self.include.iter().any(|pattern| names(pattern) && pattern.keyspace.is_match(keyspace))
    }

    /// The selection as the user wrote it.
    pub fn text(&self) -> &SelectionText {
        &self.text
    }
}

impl std::fmt::Display for SelectionText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.keyspaces.iter().map(|glob| format!("--keyspace {glob}")));
        parts.extend(self.tables.iter().map(|glob| format!("--table {glob}")));
        parts.extend(self.exclude.iter().map(|glob| format!("--exclude {glob}")));
        if parts.is_empty() { f.write_str("all tables") } else { f.write_str(&parts.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keyspaces: &[&str], tables: &[&str], exclude: &[&str], table: (&str, &str), expected: bool) {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let text = SelectionText { keyspaces: owned(keyspaces), tables: owned(tables), exclude: owned(exclude) };
        let selection = Selection::parse(text).expect("a valid selection");
        assert_eq!(selection.includes(table.0, table.1), expected, "{:?}", selection.text());
    }

    #[test]
    fn includes_and_excludes() {
        check(&[], &[], &[], ("shop", "orders"), true);
        check(&["shop"], &[], &[], ("shop", "orders"), true);
        check(&["shop"], &[], &[], ("shop2", "orders"), false);
        check(&["sh*"], &[], &[], ("shop2", "orders"), true);
        check(&[], &["shop.ord*"], &[], ("shop", "orders"), true);
        check(&[], &["shop.ord*"], &[], ("shop", "items"), false);
        check(&["a"], &["shop.orders"], &[], ("shop", "orders"), true);
        check(&["shop"], &[], &["shop.orders"], ("shop", "orders"), false);
        check(&[], &["shop.orders"], &["shop"], ("shop", "orders"), false);
        check(&[], &[], &["system*"], ("system_schema", "tables"), false);
        check(&["Shop"], &[], &[], ("shop", "orders"), false);
    }

    #[test]
    fn system_keyspaces_want_their_name() {
        for (keyspace, expected) in [("*", false), ("{system,shop}", false), ("system*", true), ("system_auth", false)]
        {
            let text = SelectionText { keyspaces: vec![keyspace.to_owned()], ..Default::default() };
            let selection = Selection::parse(text).expect("a valid selection");
            assert_eq!(selection.names("system"), expected, "{keyspace}");
        }
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        let tables = |text: &str| SelectionText { tables: vec![text.to_owned()], ..Default::default() };
        assert!(Selection::parse(tables("orders")).is_err());
        assert!(Selection::parse(tables("shop.[")).is_err());
    }
}
