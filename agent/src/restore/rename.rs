//! `--rename KEYSPACE=NEW` and `--rename KEYSPACE.TABLE=NEW.TABLE`: under which name a table is restored.
//!
//! No byte of an SSTable names its keyspace or its table, but for the types of a keyspace (`UserType(shop,…)`), which
//! Cassandra reads for their structure only. So a rename is a matter of paths.

use helenus_sstable::directory::{is_valid_keyspace_name, is_valid_table_name};

use super::rules::is_system;
use crate::error::usage;

/// The renames of a restore.
#[derive(Debug, Clone, Default)]
pub struct Renames(Vec<Rename>);

#[derive(Debug, Clone)]
struct Rename {
    text: String,
    keyspace: String,
    /// `None`: every table of the keyspace.
    table: Option<String>,
    new_keyspace: String,
    new_table: Option<String>,
}

impl Rename {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let shape = |why: &str| {
            usage(format!("--rename {text}: {why}; write KEYSPACE=NEW_KEYSPACE or KEYSPACE.TABLE=NEW_KEYSPACE.TABLE"))
        };
        let (from, to) = text.split_once('=').ok_or_else(|| shape("there is no `=`"))?;
        let split = |name: &str| match name.split_once('.') {
            Some((keyspace, table)) => (keyspace.to_owned(), Some(table.to_owned())),
            None => (name.to_owned(), None),
        };
        let ((keyspace, table), (new_keyspace, new_table)) = (split(from), split(to));
        if table.is_some() != new_table.is_some() {
            return Err(shape("one side names a table and the other does not"));
        }
        for name in [&keyspace, &new_keyspace] {
            if !is_valid_keyspace_name(name) {
                return Err(shape(&format!("`{name}` is no name of a keyspace")));
            }
            if is_system(name) {
                return Err(shape(&format!("`{name}` is one of Cassandra's own keyspaces")));
            }
        }
        for name in table.iter().chain(&new_table) {
            if !is_valid_table_name(name) {
                return Err(shape(&format!("`{name}` is no name of a table")));
            }
        }
        Ok(Self { text: text.to_owned(), keyspace, table, new_keyspace, new_table })
    }

    fn is_about(&self, keyspace: &str, table: &str) -> bool {
        self.keyspace == keyspace && self.table.as_ref().is_none_or(|name| name == table)
    }
}

impl Renames {
    /// Parses what the user wrote.
    pub fn parse(texts: &[String]) -> anyhow::Result<Self> {
        Ok(Self(texts.iter().map(|text| Rename::parse(text)).collect::<anyhow::Result<_>>()?))
    }

    /// As the user wrote them.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|rename| rename.text.clone()).collect()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The new keyspace and name of a table, if it has one. What names the table wins over what names its keyspace.
    pub fn of(&self, keyspace: &str, table: &str) -> Option<(String, String)> {
        let about = || self.0.iter().filter(|rename| rename.is_about(keyspace, table));
        let rename = about().find(|rename| rename.table.is_some()).or_else(|| about().next())?;
        Some((rename.new_keyspace.clone(), rename.new_table.clone().unwrap_or_else(|| table.to_owned())))
    }

    /// Refuses a rename of what is not restored: it is a misspelt name.
    pub fn check_used<'a>(&self, tables: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> anyhow::Result<()> {
        for rename in &self.0 {
            if !tables.clone().any(|(keyspace, table)| rename.is_about(keyspace, table)) {
                return Err(usage(format!("--rename {}: no such table is restored", rename.text)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(renames: &[&str], table: (&str, &str), expected: Option<(&str, &str)>) {
        let texts: Vec<String> = renames.iter().map(ToString::to_string).collect();
        let renames = Renames::parse(&texts).expect("renames");
        let expected = expected.map(|(keyspace, table)| (keyspace.to_owned(), table.to_owned()));
        assert_eq!(renames.of(table.0, table.1), expected);
    }

    #[test]
    fn new_names() {
        check(&["shop=shop2"], ("shop", "orders"), Some(("shop2", "orders")));
        check(&["shop=shop2"], ("shop2", "orders"), None);
        check(&["shop.orders=shop.old"], ("shop", "orders"), Some(("shop", "old")));
        check(&["shop.orders=shop.old"], ("shop", "items"), None);
        check(&["shop=a", "shop.orders=b.o"], ("shop", "orders"), Some(("b", "o")));
        check(&["shop=a", "shop.orders=b.o"], ("shop", "items"), Some(("a", "items")));
        check(&[], ("shop", "orders"), None);
    }

    #[test]
    fn what_is_no_rename() {
        for wrong in ["", "shop", "shop=", "=shop", "shop.orders=shop2", "shop=a.b", "a-b=c", "a=system", "system=a"] {
            let error = Renames::parse(&[wrong.to_owned()]).expect_err(wrong).to_string();
            assert!(error.contains("write KEYSPACE=NEW_KEYSPACE"), "{error}");
        }
        let renames = Renames::parse(&["shop.orders=shop.old".to_owned()]).expect("a rename");
        renames.check_used([("shop", "orders")].into_iter()).expect("used");
        renames.check_used([("shop", "items")].into_iter()).expect_err("not used");
    }
}
