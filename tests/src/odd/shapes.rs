//! Tables that are odd in their shape, size, time or neighbours: one function for each.

use super::{EPOCH_MICROS, Flavour, Script, at};
use crate::schema::{prose, scramble};

/// Ways to compress: name, options of the table.
const PACKED: &[(&str, &str)] = &[
    ("lz4_1k", "{'class': 'LZ4Compressor', 'chunk_length_in_kb': 1}"),
    ("lz4_high", "{'class': 'LZ4Compressor', 'lz4_compressor_type': 'high', 'lz4_high_compressor_level': 9}"),
    ("lz4_ratio", "{'class': 'LZ4Compressor', 'chunk_length_in_kb': 4, 'min_compress_ratio': '3'}"),
    ("snappy", "{'class': 'SnappyCompressor', 'chunk_length_in_kb': 2}"),
    ("deflate", "{'class': 'DeflateCompressor', 'chunk_length_in_kb': 64}"),
    ("zstd", "{'class': 'ZstdCompressor', 'compression_level': -2, 'chunk_length_in_kb': 128}"),
    ("zstd_ratio", "{'class': 'ZstdCompressor', 'chunk_length_in_kb': 4, 'min_compress_ratio': '1.1'}"),
    ("noop", "{'class': 'NoopCompressor', 'chunk_length_in_kb': 1}"),
    ("not", "{'enabled': 'false'}"),
];

pub(super) fn add(script: &mut Script, flavour: &Flavour) {
    packed(script);
    write_times(script);
    times_to_live(script, flavour);
    wide(script);
    huge(script);
    many_columns(script);
    many_partitions(script);
    long_keys(script);
    liveness(script);
    statics(script);
    counters(script);
    dropped(script);
    compact(script);
    indexes(script);
    view(script);
    names(script);
    unreadable(script);
}

fn packed(script: &mut Script) {
    for (name, options) in PACKED {
        script.table(&format!(
            "odd.packed_{name} (k int, c int, v text, PRIMARY KEY (k, c)) WITH compression = {options}"
        ));
        for row in 0..60_u64 {
            let body = if row % 3 == 0 { "z".repeat(700) } else { prose(scramble(row), 80) };
            let (k, c, round) = (row / 6, row % 6, usize::from(row % 5 == 0));
            script
                .write(round, format!("INSERT INTO odd.packed_{name} (k, c, v) VALUES ({k}, {c}, '{body}') {}", at(0)));
        }
    }
}

/// Write timestamps at the ends of their range, around zero and around a second. Negative ones are valid.
fn write_times(script: &mut Script) {
    const TIMES: [i64; 16] = [
        i64::MIN + 1,
        -62_135_596_800_000_001,
        -1_000_001,
        -1_000_000,
        -999_999,
        -1,
        0,
        1,
        999,
        1_000,
        999_999,
        1_000_000,
        1_442_880_000_000_000,
        EPOCH_MICROS,
        253_402_300_800_000_000,
        i64::MAX,
    ];
    script.table("odd.write_times (k int, c int, v text, w text, s text static, m map<int, int>, PRIMARY KEY (k, c))");
    for (number, micros) in TIMES.iter().enumerate() {
        for k in [0, number + 1] {
            let (c, using) = (number * 10, format!("USING TIMESTAMP {micros}"));
            let key = |more: usize| format!("k = {k} AND c = {}", c + more);
            for statement in [
                format!("INSERT INTO odd.write_times (k, c, v, m) VALUES ({k}, {c}, 'v', {{1: 2}}) {using}"),
                format!("UPDATE odd.write_times {using} SET v = 'w', m[{number}] = 1 WHERE {}", key(1)),
                format!("DELETE v, m FROM odd.write_times {using} WHERE {}", key(2)),
                format!("DELETE FROM odd.write_times {using} WHERE {}", key(3)),
                format!("DELETE FROM odd.write_times {using} WHERE k = {k} AND c > {} AND c <= {}", c + 4, c + 6),
                format!("UPDATE odd.write_times {using} SET s = 's' WHERE k = {k}"),
            ] {
                script.write(number % 3, statement);
            }
            // A row of one time with a cell of another.
            script.write(0, format!("INSERT INTO odd.write_times (k, c, v) VALUES ({k}, {}, 'v') {using}", c + 7));
            script.write(0, format!("UPDATE odd.write_times {} SET w = 'w' WHERE {}", at(5), key(7)));
        }
    }
}

fn times_to_live(script: &mut Script, flavour: &Flavour) {
    let longest = flavour.ttl_seconds_max();
    script.table(
        "odd.times_to_live (k int, c int, v text, w text, m map<int, int>, s text static, PRIMARY KEY (k, c)) \
         WITH default_time_to_live = 8640000",
    );
    for (k, ttl) in (0_usize..).zip([1, 864_000, 8_640_000, longest, 0]) {
        let using = format!("{} AND TTL {ttl}", at(0));
        for c in 0..3 {
            script.write(
                k % 3,
                format!("INSERT INTO odd.times_to_live (k, c, v, m) VALUES ({k}, {c}, 'v', {{1: 2, 3: 4}}) {using}"),
            );
        }
        script.write(0, format!("UPDATE odd.times_to_live {using} SET w = 'row without life' WHERE k = {k} AND c = 9"));
        script.write(0, format!("UPDATE odd.times_to_live {using} SET s = 'static' WHERE k = {k}"));
        for (number, other) in [1, 864_001, longest, 0].into_iter().enumerate() {
            script.write(
                0,
                format!(
                    "UPDATE odd.times_to_live {} AND TTL {other} SET w = 'w', m = m + {{{}: 0}} WHERE k = {k} AND c = {}",
                    at(10),
                    number + 5,
                    number % 3
                ),
            );
        }
    }
    script.table("odd.mortal (k int PRIMARY KEY, v text) WITH default_time_to_live = 1");
    for k in 0..20 {
        script.write(0, format!("INSERT INTO odd.mortal (k, v) VALUES ({k}, 'gone')"));
    }
}

/// Partitions of more than 64 KiB and of more than 1 MiB, so with a row index, under ranges of deleted rows.
fn wide(script: &mut Script) {
    for (table, order, clusterings) in [("wide", "c ASC", "c"), ("wide_reversed", "c DESC, d ASC", "c, d")] {
        script.table(&format!(
            "odd.{table} (k int, c int, d text, s text static, v text, PRIMARY KEY (k, {clusterings})) \
             WITH CLUSTERING ORDER BY ({order})"
        ));
        for (k, rows) in [(0_u64, 150_u64), (1, 1200), (2, 3)] {
            for c in 0..rows {
                let d = if table == "wide" { 'v' } else { ['a', 'ä'][usize::from(c % 2 == 0)] };
                let body = prose(scramble(c), 130);
                let round = usize::from(k == 0 && c % 2 == 0);
                script.write(
                    round,
                    format!(
                        "INSERT INTO odd.{table} (k, c, d, v) VALUES ({k}, {}, '{d}', '{body}') {}",
                        c * 3,
                        at(c as i64)
                    ),
                );
                if c % 40 == 7 {
                    script.write(
                        round,
                        format!(
                            "DELETE FROM odd.{table} {} WHERE k = {k} AND c > {} AND c < {}",
                            at(5000),
                            c * 3 + 4,
                            c * 3 + 40
                        ),
                    );
                }
            }
            // One that many blocks lie in.
            script.write(0, format!("DELETE FROM odd.{table} {} WHERE k = {k} AND c >= 30 AND c < 2000", at(10)));
            script.write(0, format!("UPDATE odd.{table} {} SET s = '{}' WHERE k = {k}", at(0), "s".repeat(5000)));
        }
        script.write(1, format!("DELETE FROM odd.{table} {} WHERE k = 1", at(9)));
    }
}

fn huge(script: &mut Script) {
    script.table("odd.huge (k int, c int, v text, b blob, l list<text>, f frozen<list<text>>, PRIMARY KEY (k, c))");
    let noise: String = (0..60_000_u64).map(|seed| format!("{:016x}", scramble(seed))).collect();
    for (number, (column, value)) in [
        ("v", format!("'{}'", "x".repeat(3_000_000))),
        ("b", format!("0x{noise}{noise}{noise}{noise}")),
        ("l", format!("['{noise}', '', '{noise}']")),
        ("f", format!("['{noise}', '', '{noise}']")),
        ("v", "'small'".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        script.write(0, format!("INSERT INTO odd.huge (k, c, {column}) VALUES (0, {number}, {value}) {}", at(0)));
    }
}

/// The set of columns in a row is a bitmap up to 63 columns, and a list beyond.
fn many_columns(script: &mut Script) {
    for count in [1_u64, 63, 64, 65, 130] {
        let table = format!("odd.columns_{count}");
        let columns: Vec<_> = (0..count).map(|column| format!("v{column} int")).collect();
        script.table(&format!("{table} (k int, c int, {}, PRIMARY KEY (k, c))", columns.join(", ")));
        for c in 0..30_u64 {
            // None, few, half, most, all.
            let share = [0, 3, 50, 97, 100][usize::try_from(c % 5).unwrap_or(0)];
            let chosen: Vec<_> = (0..count).filter(|column| scramble(c * 1000 + column) % 100 < share).collect();
            let names: String = chosen.iter().map(|column| format!(", v{column}")).collect();
            let values: String = chosen.iter().map(|column| format!(", {column}")).collect();
            script.write(
                usize::from(c % 7 == 0),
                format!("INSERT INTO {table} (k, c{names}) VALUES ({}, {c}{values}) {}", c / 10, at(0)),
            );
        }
    }
}

/// Enough partitions for several entries of a summary, and for several pages of a trie.
fn many_partitions(script: &mut Script) {
    for (table, options) in [
        ("many", "bloom_filter_fp_chance = 0.1"),
        ("many_sampled", "min_index_interval = 32 AND max_index_interval = 64"),
        ("many_unfiltered", "bloom_filter_fp_chance = 1.0 AND compaction = {'class': 'LeveledCompactionStrategy'}"),
    ] {
        script.table(&format!("odd.{table} (k text PRIMARY KEY, v int) WITH {options}"));
        for number in 0..900_u64 {
            let key = if number % 3 == 0 {
                format!("a common head, {number}")
            } else {
                prose(scramble(number), 1 + number % 3)
            };
            script.write(
                usize::from(number % 4 == 0),
                format!("INSERT INTO odd.{table} (k, v) VALUES ('{key} {number}', {number}) {}", at(0)),
            );
        }
        script.write(1, format!("DELETE FROM odd.{table} {} WHERE k = 'a common head, 0 0'", at(10)));
    }
}

fn long_keys(script: &mut Script) {
    script.table("odd.long_keys (k text, c text, v int, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC)");
    for (number, length) in [1_usize, 127, 128, 16_383, 16_384, 60_000].into_iter().enumerate() {
        for letter in ["k", "é"] {
            let text = letter.repeat(length / letter.len());
            script.write(
                number % 2,
                format!("INSERT INTO odd.long_keys (k, c, v) VALUES ('{letter}{text}', '{text}', {number}) {}", at(0)),
            );
            script.write(
                number % 2,
                format!("DELETE FROM odd.long_keys {} WHERE k = '{letter}{text}' AND c > 'b{text}'", at(1)),
            );
        }
    }
}

/// Rows with and without a life of their own.
fn liveness(script: &mut Script) {
    script.table("odd.liveness (k int, c int, v int, w int, PRIMARY KEY (k, c))");
    script.table("odd.only_keys (k int, c int, PRIMARY KEY (k, c))");
    script.table("odd.only_a_key (k int PRIMARY KEY)");
    for k in 0..6 {
        let (first, later) = (at(0), at(10));
        for statement in [
            format!("INSERT INTO odd.liveness (k, c) VALUES ({k}, 1) {first}"),
            format!("INSERT INTO odd.liveness (k, c, v) VALUES ({k}, 2, null) {first}"),
            format!("UPDATE odd.liveness {first} SET v = 1 WHERE k = {k} AND c = 3"),
            format!("UPDATE odd.liveness {first} SET v = null WHERE k = {k} AND c = 4"),
            format!("DELETE FROM odd.liveness {first} WHERE k = {k} AND c = 5"),
            format!("UPDATE odd.liveness {later} SET v = 1 WHERE k = {k} AND c = 5"),
            format!("INSERT INTO odd.liveness (k, c, v, w) VALUES ({k}, 6, 1, 1) {first}"),
            format!("UPDATE odd.liveness {later} SET w = 2 WHERE k = {k} AND c = 6"),
            format!("INSERT INTO odd.only_keys (k, c) VALUES ({k}, {k}) {first}"),
            format!("INSERT INTO odd.only_a_key (k) VALUES ({k}) {first}"),
        ] {
            script.write(k % 3, statement);
        }
    }
    // Its decisions are kept in a table of the server's own.
    script.write(2, "INSERT INTO odd.liveness (k, c, v) VALUES (100, 1, 1) IF NOT EXISTS");
}

fn statics(script: &mut Script) {
    script.table("odd.statics (k int, c int, s text static, l list<int> static, v int, PRIMARY KEY (k, c))");
    for k in 0..10 {
        script.write(k % 2, format!("UPDATE odd.statics {} SET s = 'only {k}', l = [1, {k}] WHERE k = {k}", at(0)));
        if k % 3 == 0 {
            script.write(k % 2, format!("INSERT INTO odd.statics (k, c, v) VALUES ({k}, 1, 1) {}", at(0)));
        }
        script.write(2, format!("DELETE s, l FROM odd.statics {} WHERE k = {k}", at(10)));
    }
    // The header knows a static column, this partition has none.
    script.write(0, format!("INSERT INTO odd.statics (k, c, v) VALUES (100, 1, 1) {}", at(0)));
}

fn counters(script: &mut Script) {
    script.table("odd.counters (k text, c int, s counter static, v counter, w counter, PRIMARY KEY (k, c))");
    for round in 0..3 {
        for k in ["a", "b", "c"] {
            for c in 0..4 {
                script.write(
                    round,
                    format!("UPDATE odd.counters SET v = v + {c}, w = w - 7 WHERE k = '{k}' AND c = {c}"),
                );
            }
            script.write(round, format!("UPDATE odd.counters SET s = s + 1 WHERE k = '{k}'"));
        }
    }
    script.write(2, "UPDATE odd.counters SET v = v + 9223372036854775807 WHERE k = 'extreme' AND c = 1");
    script.write(2, "DELETE v FROM odd.counters WHERE k = 'a' AND c = 1");
    script.write(2, "DELETE FROM odd.counters WHERE k = 'b' AND c = 2");
    script.write(2, "DELETE FROM odd.counters WHERE k = 'c'");
}

/// Columns that are dropped, and that come back, one with another type.
fn dropped(script: &mut Script) {
    script.table("odd.dropped (k int, c int, gone text, back text, other text, l list<int>, s text static, v int, PRIMARY KEY (k, c))");
    for k in 0..5 {
        script.write(
            0,
            format!(
                "INSERT INTO odd.dropped (k, c, gone, back, other, l, s, v) VALUES ({k}, 1, 'g', 'b', 'o', [1, 2], 's', 1) {}",
                at(0)
            ),
        );
        // Later than the drop: else it would not count.
        script.write(
            1,
            format!("INSERT INTO odd.dropped (k, c, back, other, l, v) VALUES ({k}, 2, 'again', 0x1234, [3], 2)"),
        );
        script
            .write(2, format!("UPDATE odd.dropped SET back = 'more', other = 0x, l = l + [4] WHERE k = {k} AND c = 1"));
    }
    for column in ["gone", "back", "other", "l", "s"] {
        script.changes.push(format!("ALTER TABLE odd.dropped DROP {column}"));
    }
    for column in ["back text", "other blob", "l list<int>"] {
        script.changes.push(format!("ALTER TABLE odd.dropped ADD {column}"));
    }
}

/// Tables as Thrift had them: keys may lack their last parts, columns may be one unnamed value.
fn compact(script: &mut Script) {
    for definition in [
        "odd.compact_static (k int PRIMARY KEY, a text, b int) WITH COMPACT STORAGE",
        "odd.compact_dense (k int, c int, d text, v text, PRIMARY KEY (k, c, d)) WITH COMPACT STORAGE",
        "odd.compact_short (k int, c int, d text, v text, PRIMARY KEY (k, c, d)) WITH COMPACT STORAGE",
        "odd.compact_keys (k int, c text, PRIMARY KEY (k, c)) WITH COMPACT STORAGE AND CLUSTERING ORDER BY (c DESC)",
        "odd.compact_counters (k text, c text, v counter, PRIMARY KEY (k, c)) WITH COMPACT STORAGE",
    ] {
        script.table(definition);
    }
    for k in 0..5 {
        for statement in [
            format!("INSERT INTO odd.compact_static (k, a, b) VALUES ({k}, 'a', {k}) {}", at(0)),
            format!("DELETE a FROM odd.compact_static {} WHERE k = {}", at(10), k / 2),
            format!("INSERT INTO odd.compact_dense (k, c, d, v) VALUES ({k}, 1, 'd', 'v') {}", at(0)),
            format!("INSERT INTO odd.compact_dense (k, c, d, v) VALUES ({k}, 2, '', '') {}", at(0)),
            format!("DELETE FROM odd.compact_dense {} WHERE k = {k} AND c = 3", at(0)),
            format!("INSERT INTO odd.compact_short (k, c, v) VALUES ({k}, 1, 'short') {}", at(0)),
            format!("INSERT INTO odd.compact_short (k, c, d, v) VALUES ({k}, 2, 'd', 'whole') {}", at(0)),
            format!("INSERT INTO odd.compact_keys (k, c) VALUES ({k}, 'c {k}') {}", at(0)),
            format!("UPDATE odd.compact_counters SET v = v + {k} WHERE k = 'k' AND c = 'c {k}'"),
        ] {
            script.write(k % 3, statement);
        }
    }
}

/// Built-in indexes on everything that can have one: each is a table that is ordered by the values of the column.
fn indexes(script: &mut Script) {
    script.table(
        "odd.indexed (k int, c text, v int, s int static, mk map<text, int>, mv map<text, int>, me map<text, int>, \
         st set<int>, l list<text>, f frozen<list<int>>, PRIMARY KEY (k, c))",
    );
    script.table("odd.indexed_composite (k int, kk text, c text, v int, PRIMARY KEY ((k, kk), c))");
    for (name, target) in [
        ("indexed_v", "indexed (v)"),
        ("indexed_c", "indexed (c)"),
        ("indexed_s", "indexed (s)"),
        ("indexed_mk", "indexed (keys(mk))"),
        ("indexed_mv", "indexed (values(mv))"),
        ("indexed_me", "indexed (entries(me))"),
        ("indexed_st", "indexed (st)"),
        ("indexed_l", "indexed (l)"),
        ("indexed_f", "indexed (full(f))"),
        ("composite_kk", "indexed_composite (kk)"),
        ("composite_v", "indexed_composite (v)"),
    ] {
        script.schema.push(format!("CREATE INDEX {name} ON odd.{target}"));
    }
    for k in 0..12 {
        let (first, later) = (at(0), at(10));
        for (round, statement) in [
            (
                k % 3,
                format!(
                    "INSERT INTO odd.indexed (k, c, v, s, mk, mv, me, st, l, f) VALUES ({k}, 'c', -{k}, {k}, {{'a': {k}}}, \
                     {{'b': {k}}}, {{'c': {k}}}, {{1, {k}}}, ['x', 'y {k}'], [{k}, 2]) {first}"
                ),
            ),
            (2, format!("UPDATE odd.indexed {later} SET v = -1, s = 0, st = st - {{1}} WHERE k = {k} AND c = 'c'")),
            (k % 3, format!("INSERT INTO odd.indexed_composite (k, kk, c, v) VALUES ({k}, 'kk', 'c', {k}) {first}")),
        ] {
            script.write(round, statement);
        }
    }
}

/// A view: a change of its key leaves a deletion that later writes of the same row can undo.
fn view(script: &mut Script) {
    script.table("odd.viewed (k int, c int, v int, w text, PRIMARY KEY (k, c))");
    script.schema.push(
        "CREATE MATERIALIZED VIEW odd.view_by_v AS SELECT * FROM odd.viewed \
         WHERE k IS NOT NULL AND c IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, k, c)"
            .to_owned(),
    );
    for k in 0..8 {
        script.write(0, format!("INSERT INTO odd.viewed (k, c, v, w) VALUES ({k}, 1, {k}, 'first') {}", at(0)));
        script.write(1, format!("UPDATE odd.viewed {} SET v = {} WHERE k = {k} AND c = 1", at(10), k + 100));
        script.write(2, format!("UPDATE odd.viewed {} SET v = {k} WHERE k = {k} AND c = 1", at(20)));
        script
            .write(2, format!("INSERT INTO odd.viewed (k, c, v, w) VALUES ({k}, 2, 9, 'mortal') {} AND TTL 1", at(0)));
    }
}

/// Names that need quotes.
fn names(script: &mut Script) {
    script.table(
        "\"OddNames\".\"CamelTable\" (\"Key\" int, \"a b\" text, \"select\" int, \"q\"\"q\" int static, \"ünï\" map<text, int>, \
         \"UPPER\" int, under_score1 int, \"1st\" int, \"token\" int, \"\"\"\" int, PRIMARY KEY (\"Key\", \"a b\"))",
    );
    for k in 0..4 {
        script.write(
            k % 2,
            format!(
                "INSERT INTO \"OddNames\".\"CamelTable\" (\"Key\", \"a b\", \"select\", \"q\"\"q\", \"ünï\", \"UPPER\", under_score1, \
                 \"1st\", \"token\", \"\"\"\") VALUES ({k}, 'x', 1, 2, {{'k': 3}}, 4, 5, 6, 7, 8) {}",
                at(0)
            ),
        );
    }
}

/// A deletion of a partition with a negative timestamp: 5.0 writes it into `oa` and `da` and cannot read it again.
fn unreadable(script: &mut Script) {
    script.table("odd_unreadable.partitions (k int, c int, v int, PRIMARY KEY (k, c))");
    script.write(2, format!("INSERT INTO odd_unreadable.partitions (k, c, v) VALUES (3, 1, 1) {}", at(0)));
    script.write(2, "DELETE FROM odd_unreadable.partitions USING TIMESTAMP -100 WHERE k = 3");
}
