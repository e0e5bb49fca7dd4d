//! Every kind of deletion, in one order of the clustering columns and in the other.

use super::{Script, at};

pub(super) fn add(script: &mut Script) {
    for (table, order) in [("deletions", "c ASC, d ASC"), ("deletions_reversed", "c DESC, d ASC")] {
        script.table(&format!(
            "odd.{table} (k int, c int, d text, s text static, t set<text> static, v int, l list<int>, m map<text, int>, \
             st set<int>, PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY ({order})"
        ));
        rows(script, table);
        for (k, deletions) in DELETIONS.iter().enumerate() {
            for (number, deletion) in (0_i64..).zip(*deletions) {
                let statement = deletion
                    .replace("%t", &format!("odd.{table} {}", at(1000 + number * 10)))
                    .replace("%k", &format!("k = {k}"));
                // Over the rows in the same SSTable, and alone in one.
                script.write(0, statement.clone());
                script.write(1, statement.replace(&format!("k = {k}"), &format!("k = {}", k + 100)));
            }
        }
        // After the deletions.
        for k in 0..DELETIONS.len() {
            script.write(2, format!("INSERT INTO odd.{table} (k, c, d, v) VALUES ({k}, 3, 'b', 1) {}", at(2000)));
        }
    }
}

/// What is deleted in each partition, each a little later than the one before.
const DELETIONS: &[&[&str]] = &[
    &[],
    // cells
    &["DELETE v FROM %t WHERE %k AND c = 2 AND d = 'a'", "DELETE l, m FROM %t WHERE %k AND c = 2 AND d = 'b'"],
    // elements; collections that are written anew, and added to
    &[
        "DELETE m['a'], st[1] FROM %t WHERE %k AND c = 2 AND d = 'a'",
        "UPDATE %t SET l = [9], m = {'z': 1}, st = {} WHERE %k AND c = 3 AND d = 'a'",
        "UPDATE %t SET m['a'] = 5, st = st + {77}, l = l + [5] WHERE %k AND c = 4 AND d = 'a'",
    ],
    // static cells
    &["DELETE s, t FROM %t WHERE %k"],
    &["DELETE t['x'] FROM %t WHERE %k"],
    // rows
    &["DELETE FROM %t WHERE %k AND c = 2 AND d = 'a'", "DELETE FROM %t WHERE %k AND c = 77 AND d = 'not there'"],
    // ranges: of a prefix, open and closed at both ends, without an end
    &["DELETE FROM %t WHERE %k AND c = 3"],
    &["DELETE FROM %t WHERE %k AND c > 2 AND c <= 5"],
    &["DELETE FROM %t WHERE %k AND c >= 2 AND c < 5"],
    &["DELETE FROM %t WHERE %k AND c >= 5"],
    &["DELETE FROM %t WHERE %k AND c < 2"],
    &["DELETE FROM %t WHERE %k AND c = 4 AND d > 'a'", "DELETE FROM %t WHERE %k AND c = 5 AND d >= 'a' AND d < 'b'"],
    &["DELETE FROM %t WHERE %k AND (c, d) > (2, 'a') AND (c, d) <= (4, 'b')"],
    // ranges that meet and overlap: boundaries of both kinds
    &[
        "DELETE FROM %t WHERE %k AND c >= 1 AND c < 4",
        "DELETE FROM %t WHERE %k AND c >= 4 AND c <= 6",
        "DELETE FROM %t WHERE %k AND c > 6",
    ],
    &[
        "DELETE FROM %t WHERE %k AND c >= 0 AND c <= 7",
        "DELETE FROM %t WHERE %k AND c > 1 AND c < 6",
        "DELETE FROM %t WHERE %k AND c >= 3 AND c <= 4",
        "DELETE FROM %t WHERE %k AND c = 3 AND d = 'b'",
    ],
    // partitions, alone and with more in them
    &["DELETE FROM %t WHERE %k"],
    &["DELETE FROM %t WHERE %k", "UPDATE %t SET s = 'after' WHERE %k", "DELETE FROM %t WHERE %k AND c > 5"],
];

fn rows(script: &mut Script, table: &str) {
    for k in 0..DELETIONS.len() {
        for c in 0..8 {
            for d in ["a", "b", ""] {
                script.write(
                    0,
                    format!(
                        "INSERT INTO odd.{table} (k, c, d, v, l, m, st) VALUES ({k}, {c}, '{d}', {c}, [1, 2, {c}], \
                         {{'a': {c}, 'b': 2}}, {{1, 2, {c}}}) {}",
                        at(c)
                    ),
                );
            }
        }
        script.write(0, format!("UPDATE odd.{table} {} SET s = 'static {k}', t = {{'x', 'y'}} WHERE k = {k}", at(1)));
    }
}
