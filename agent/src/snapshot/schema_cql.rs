//! `schema.cql` of a kept snapshot, as far as SSTables tell the schema.
//!
//! Their headers have the types of all columns and the names of all but the key columns; names of key columns,
//! options, indexes and dropped columns are in Cassandra's schema only. The file says so at its top.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use helenus_sstable::cql::types::{Type, quote_identifier};
use helenus_sstable::statistics::Statistics;

use crate::node::Table;

/// The columns of a table, merged over its SSTables: each has only those that it holds data of.
#[derive(Debug, Default)]
pub struct Columns {
    partition_key: Vec<Type>,
    clustering: Vec<Type>,
    statics: BTreeMap<String, Type>,
    regular: BTreeMap<String, Type>,
}

impl Columns {
    /// Adds what one SSTable tells. Types that cannot be parsed are left out: the file is a help, not a proof.
    pub fn add(&mut self, statistics: &Statistics) {
        let Some(header) = &statistics.header else { return };
        let Ok(key) = Type::parse(&header.partition_key_type) else { return };
        self.partition_key = match key {
            Type::Composite { parts, .. } => parts,
            single => vec![single],
        };
        self.clustering = header.clustering_types.iter().filter_map(|text| Type::parse(text).ok()).collect();
        for (columns, into) in
            [(&header.static_columns, &mut self.statics), (&header.regular_columns, &mut self.regular)]
        {
            for column in columns {
                if let (Ok(name), Ok(class)) = (String::from_utf8(column.name.clone()), Type::parse(&column.class)) {
                    into.insert(name, class);
                }
            }
        }
    }

    /// The file's text; `None` if no SSTable told anything.
    pub fn to_cql(&self, table: &Table) -> Option<String> {
        if self.partition_key.is_empty() {
            return None;
        }
        let keyspace = quote_identifier(&table.keyspace);
        let name = quote_identifier(&table.directory.table);
        let mut cql = String::from(
            "-- Written by helenus from the headers of the SSTables. They do not hold the names of key columns (made up\n\
             -- below: key, column), table options, indexes and dropped columns: compare with your schema before use.\n",
        );
        let mut created = BTreeSet::new();
        for class in
            self.partition_key.iter().chain(&self.clustering).chain(self.statics.values()).chain(self.regular.values())
        {
            for user in class.user_types() {
                if created.insert(user.name.clone()) {
                    let _ = writeln!(cql, "{};", user.create_statement());
                }
            }
        }
        let _ = writeln!(cql, "CREATE TABLE IF NOT EXISTS {keyspace}.{name} (");
        let taken: BTreeSet<&String> = self.statics.keys().chain(self.regular.keys()).collect();
        let keys = made_up("key", self.partition_key.len(), &taken);
        let clusterings = made_up("column", self.clustering.len(), &taken);
        for (column, class) in keys.iter().zip(&self.partition_key).chain(clusterings.iter().zip(&self.clustering)) {
            let _ = writeln!(cql, "    {column} {},", class.to_cql());
        }
        for (column, class) in &self.statics {
            let _ = writeln!(cql, "    {} {} static,", quote_identifier(column), class.to_cql());
        }
        for (column, class) in &self.regular {
            let _ = writeln!(cql, "    {} {},", quote_identifier(column), class.to_cql());
        }
        let clustering: String = clusterings.iter().fold(String::new(), |all, column| all + ", " + column);
        let _ = writeln!(cql, "    PRIMARY KEY (({}){clustering})\n)", keys.join(", "));
        let mut options = Vec::new();
        if let Some(id) = &table.directory.id {
            options.push(format!("ID = {}", id.dashed()));
        }
        if self.clustering.iter().any(Type::is_reversed) {
            let order = |(column, class): (&String, &Type)| {
                format!("{column} {}", if class.is_reversed() { "DESC" } else { "ASC" })
            };
            let order: Vec<_> = clusterings.iter().zip(&self.clustering).map(order).collect();
            options.push(format!("CLUSTERING ORDER BY ({})", order.join(", ")));
        }
        if options.is_empty() {
            let _ = writeln!(cql, ";");
        } else {
            let _ = writeln!(cql, "WITH {};", options.join("\nAND "));
        }
        Some(cql)
    }
}

/// `key`, or `key1`, `key2`, … when there are several, avoiding the names of real columns.
fn made_up(stem: &str, count: usize, taken: &BTreeSet<&String>) -> Vec<String> {
    let mut stem = stem.to_owned();
    while taken.iter().any(|name| name.starts_with(&stem)) {
        stem.push('_');
    }
    match count {
        1 => vec![stem],
        _ => (1..=count).map(|number| format!("{stem}{number}")).collect(),
    }
}
