//! Everything that CQL can put into an SSTable, in one small schema: what a backup has to bring back.
//!
//! Keys of several columns in both orders, static columns, collections and user types frozen and not, tuples,
//! counters, TTLs that ran out and that did not, deletions of each kind, a dropped column, every compressor,
//! a secondary index, storage-attached indexes and vectors (without
//! an index: several data directories forbid it) where the release has them, mixed-case names, an empty
//! table, a truncated and a dropped one. [`fill`] writes it in three rounds with a flush after each, and compacts after
//! the second, so that flushed and compacted SSTables lie side by side.

use std::collections::BTreeMap;

use crate::cassandra::{Node, Version};
use crate::cql::Cql;

/// Partitions and rows of the big table, `shop.readings`: enough for many compressed chunks and a row index.
const SENSORS: u64 = 8;
const READINGS_PER_ROUND: u64 = 200;

/// Sorted rows by table, and by indexed query: what must be the same after a restore.
pub type Dump = BTreeMap<String, Vec<String>>;

/// Tables, one per way to compress: name, options of the table.
const PACKED: &[(&str, &str)] = &[
    ("packed_lz4", "compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 4}"),
    ("packed_snappy", "compression = {'class': 'SnappyCompressor'}"),
    ("packed_deflate", "compression = {'class': 'DeflateCompressor', 'chunk_length_in_kb': 32}"),
    (
        "packed_zstd",
        "compression = {'class': 'ZstdCompressor', 'compression_level': 3} \
         AND compaction = {'class': 'LeveledCompactionStrategy'}",
    ),
    ("packed_noop", "compression = {'class': 'NoopCompressor'}"),
    ("packed_not", "compression = {'enabled': 'false'}"),
    // Chunks that shrink to less than a third are stored compressed, the others as they are.
    ("packed_ratio", "compression = {'class': 'LZ4Compressor', 'min_compress_ratio': '3', 'chunk_length_in_kb': 4}"),
    // No Filter.db.
    ("packed_unfiltered", "bloom_filter_fp_chance = 1.0"),
];

/// The tables that [`dump`] reads, as CQL writes them.
pub fn tables(version: Version) -> Vec<String> {
    let mut names: Vec<String> = [
        "shop.orders",
        "shop.customers",
        "shop.visits",
        "shop.sessions",
        "shop.everything",
        "shop.readings",
        "shop.empty",
        "shop.truncated",
        "\"MixedCase\".\"CamelTable\"",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend(PACKED.iter().map(|(name, _)| format!("shop.{name}")));
    if version == Version::V5_0 {
        names.push("shop.products".to_owned());
    }
    names
}

/// Queries that an index answers.
fn indexed_queries(version: Version) -> Vec<&'static str> {
    let mut queries = vec!["SELECT * FROM shop.orders WHERE item = 'item 3'"];
    if version == Version::V5_0 {
        queries.push("SELECT * FROM shop.orders WHERE weight > 20 AND weight < 60");
        queries.push("SELECT * FROM shop.products WHERE name = 'chosen'");
    }
    queries
}

/// Creates the keyspaces, types, tables and indexes.
pub fn create(cql: &Cql, version: Version) -> anyhow::Result<()> {
    for keyspace in ["shop", "\"MixedCase\""] {
        cql.execute(&format!(
            "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ))?;
    }
    let mut statements = vec![
        "CREATE TYPE shop.address (street text, city text, number int)".to_owned(),
        "CREATE TYPE shop.contact (name text, home frozen<address>, phones frozen<set<text>>)".to_owned(),
        "CREATE TABLE shop.orders (
            shop text, day date, at timestamp, number int,
            opened_by text static, notes list<text> static,
            item text, weight double, tags set<text>, prices list<decimal>, attributes map<text, int>,
            stops map<text, frozen<address>>, frozen_tags frozen<set<text>>, frozen_list frozen<list<int>>,
            frozen_map frozen<map<int, text>>, delivery address, billing frozen<address>, contact frozen<contact>,
            place tuple<double, double>, nested list<frozen<tuple<int, text>>>,
            PRIMARY KEY ((shop, day), at, number)
         ) WITH CLUSTERING ORDER BY (at DESC, number ASC)"
            .to_owned(),
        "CREATE INDEX orders_item ON shop.orders (item)".to_owned(),
        "CREATE TABLE shop.customers (id uuid PRIMARY KEY, name text, fax text, home address)".to_owned(),
        "CREATE TABLE shop.visits (page text, day date, hits counter, seconds counter, PRIMARY KEY (page, day))"
            .to_owned(),
        "CREATE TABLE shop.sessions (id int PRIMARY KEY, name text, cookie blob)
         WITH default_time_to_live = 8640000 AND compaction = {'class': 'TimeWindowCompactionStrategy'}"
            .to_owned(),
        "CREATE TABLE shop.everything (
            id int PRIMARY KEY, a ascii, b bigint, c blob, d boolean, e date, f decimal, g double, h duration, i float,
            j inet, k smallint, l text, m time, n timestamp, o timeuuid, p tinyint, q uuid, r varint)"
            .to_owned(),
        "CREATE TABLE shop.readings (sensor text, at int, value double, note text, PRIMARY KEY (sensor, at))".to_owned(),
        "CREATE TABLE shop.empty (id int PRIMARY KEY, name text)".to_owned(),
        "CREATE TABLE shop.truncated (id int PRIMARY KEY, name text)".to_owned(),
        "CREATE TABLE shop.dropped (id int PRIMARY KEY, name text)".to_owned(),
        "CREATE TABLE \"MixedCase\".\"CamelTable\" (\"Id\" int, \"Part\" text, \"Value\" text, PRIMARY KEY (\"Id\", \"Part\"))
         WITH CLUSTERING ORDER BY (\"Part\" DESC)"
            .to_owned(),
    ];
    for (name, options) in PACKED {
        statements.push(format!(
            "CREATE TABLE shop.{name} (id int, part int, body text, PRIMARY KEY (id, part)) WITH {options}"
        ));
    }
    for statement in &statements {
        cql.execute(statement)?;
    }
    if version == Version::V5_0 { create_for_5_0(cql) } else { Ok(()) }
}

/// Creates what only 5.0 knows, in a schema that is there already.
pub fn create_for_5_0(cql: &Cql) -> anyhow::Result<()> {
    cql.execute("CREATE INDEX orders_weight ON shop.orders (weight) USING 'sai'")?;
    cql.execute("CREATE TABLE shop.products (id int PRIMARY KEY, name text, likeness vector<float, 3>)")?;
    cql.execute("CREATE INDEX products_name ON shop.products (name) USING 'sai'")
}

/// Creates everything and writes it in three rounds. At the end all of it is flushed.
pub fn fill(node: &Node, cql: &Cql) -> anyhow::Result<()> {
    create(cql, node.version())?;
    for round in 1..=3 {
        write_round(cql, node.version(), round)?;
        if round == 1 {
            cql.execute("ALTER TABLE shop.customers DROP fax")?;
        }
        node.nodetool(&["flush"])?;
        if round == 2 {
            node.nodetool(&["compact", "shop"])?;
            cql.execute("TRUNCATE shop.truncated")?;
            cql.execute("DROP TABLE shop.dropped")?;
        }
    }
    Ok(())
}

/// One round of writes and deletions; later rounds change rows of earlier ones.
pub fn write_round(cql: &Cql, version: Version, round: u64) -> anyhow::Result<()> {
    cql.execute_all(rows_of_round(version, round))?;
    if round > 1 {
        cql.execute_all(deletions_of_round(round))?;
    }
    Ok(())
}

fn rows_of_round(version: Version, round: u64) -> Vec<String> {
    let mut statements = Vec::new();
    for shop in 0..4_u64 {
        statements.push(format!(
            "INSERT INTO shop.orders (shop, day, opened_by, notes) VALUES ('shop {shop}', '2026-03-0{round}', \
             'clerk {}', ['swept', 'counted {round}'])",
            shop % 3
        ));
        for number in 0..25_u64 {
            let mix = scramble(shop * 1000 + number * 10 + round);
            let (street, city) = (word(mix), word(mix >> 20));
            let address = format!("{{street: '{street}', city: '{city}', number: {}}}", mix % 200);
            statements.push(format!(
                "INSERT INTO shop.orders (shop, day, at, number, item, weight, tags, prices, attributes, stops, \
                 frozen_tags, frozen_list, frozen_map, delivery, billing, contact, place, nested) VALUES \
                 ('shop {shop}', '2026-03-0{round}', '2026-03-0{round} 10:{:02}:00+0000', {number}, 'item {}', {}.5, \
                 {{'{street}', 'tag {number}'}}, [{}.25, 3.50, -0.001], {{'width': {}, 'height': {number}}}, \
                 {{'first': {address}}}, {{'a', 'b'}}, [1, 2, {number}], {{1: 'one', {number}: 'n'}}, {address}, {address}, \
                 {{name: '{city}', home: {address}, phones: {{'+49 {mix}'}}}}, ({}.5, -{}.25), [({number}, 'x'), (2, 'y')])",
                number % 60,
                mix % 7,
                mix % 100,
                mix % 1000,
                mix % 50,
                mix % 90,
                mix % 180,
            ));
        }
        for day in 1..=5 {
            statements.push(format!(
                "UPDATE shop.visits SET hits = hits + {}, seconds = seconds - {round} \
                 WHERE page = 'page {shop}' AND day = '2026-04-0{day}'",
                round * 10 + shop
            ));
        }
    }
    for id in 0..40_u64 {
        let mix = scramble(id * 100 + round);
        let key = format!("00000000-0000-4000-8000-{:012x}", id * 3 + round);
        let columns = if round == 1 { ", fax" } else { "" };
        let values = if round == 1 { ", '+49 30 1234'" } else { "" };
        statements.push(format!(
            "INSERT INTO shop.customers (id, name, home{columns}) VALUES ({key}, '{} {}', \
             {{street: '{}', city: null, number: {id}}}{values})",
            word(mix),
            word(mix >> 24),
            word(mix >> 12)
        ));
        // The first one has run out long before anybody looks.
        let ttl = if id < 5 { 1 } else { 864_000 + id };
        statements.push(format!(
            "INSERT INTO shop.sessions (id, name, cookie) VALUES ({}, '{}', 0x{mix:016x}) USING TTL {ttl}",
            id * 3 + round,
            word(mix)
        ));
        if round <= 2 {
            statements.push(format!("INSERT INTO shop.dropped (id, name) VALUES ({id}, 'gone')"));
            statements.push(format!("INSERT INTO shop.truncated (id, name) VALUES ({id}, 'gone')"));
        }
        statements.push(format!(
            "INSERT INTO \"MixedCase\".\"CamelTable\" (\"Id\", \"Part\", \"Value\") VALUES ({}, 'Part {round}', '{}')",
            id % 9,
            word(mix)
        ));
        statements.push(format!(
            "INSERT INTO shop.everything (id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r) VALUES ({}, 'ascii {id}', \
             {}, 0x{mix:016x}{:02x}, {}, '19{:02}-05-06', {mix}.{id:03}, {id}.125e{round}, {id}mo{round}d{id}h, -{id}.5, '10.{round}.0.{id}', \
             -{id}, 'Größe {id} 漢字', '12:34:56.{id:09}', '2026-01-01 00:00:{:02}+0000', \
             5f5f1ee0-c{id:03}-11f0-8de9-0242ac120002, {id}, {key}, {mix}{mix}{mix})",
            id * 3 + round,
            i64::MIN / 3 + i64::try_from(id).unwrap_or(0),
            id + 1,
            id % 2 == 0,
            id + 10,
            id % 60,
        ));
    }
    for sensor in 0..SENSORS {
        for at in 0..READINGS_PER_ROUND {
            let mix = scramble(sensor << 40 | round << 32 | at);
            statements.push(format!(
                "INSERT INTO shop.readings (sensor, at, value, note) VALUES ('sensor {sensor}', {}, {}.25, '{}')",
                at + round * 150, // overlaps the round before
                mix % 500,
                prose(mix, 24)
            ));
        }
    }
    for (name, _) in PACKED {
        for row in 0..60_u64 {
            let mix = scramble(row * 7 + round);
            // Runs of one letter, or words: what packs well and what does not.
            let body = if row % 3 == 0 { "z".repeat(700) } else { prose(mix, 80) };
            statements.push(format!(
                "INSERT INTO shop.{name} (id, part, body) VALUES ({}, {}, '{body}')",
                row / 6,
                row % 6 + round * 4
            ));
        }
    }
    if version == Version::V5_0 {
        for id in 0..40_u64 {
            let mix = scramble(id + round * 1000);
            statements.push(format!(
                "INSERT INTO shop.products (id, name, likeness) VALUES ({}, '{}', [0.{}, 0.{}, 0.{}])",
                id * 3 + round,
                if id % 5 == 0 { "chosen".to_owned() } else { word(mix) },
                mix % 1000,
                (mix >> 10) % 1000,
                (mix >> 20) % 1000
            ));
        }
    }
    statements
}

fn deletions_of_round(round: u64) -> Vec<String> {
    let before = round - 1;
    let day = format!("day = '2026-03-0{before}'");
    vec![
        // a cell, elements of collections, a whole collection
        format!(
            "DELETE weight, delivery FROM shop.orders WHERE shop = 'shop 0' AND {day} AND at = '2026-03-0{before} 10:03:00+0000' AND number = 3"
        ),
        format!(
            "DELETE tags['tag 4'], attributes['width'] FROM shop.orders WHERE shop = 'shop 0' AND {day} AND at = '2026-03-0{before} 10:04:00+0000' AND number = 4"
        ),
        format!(
            "UPDATE shop.orders SET tags = {{'only'}}, prices = null WHERE shop = 'shop 0' AND {day} AND at = '2026-03-0{before} 10:05:00+0000' AND number = 5"
        ),
        format!(
            "UPDATE shop.orders SET delivery.city = 'Neustadt', prices[0] = 9.99 WHERE shop = 'shop 0' AND {day} AND at = '2026-03-0{before} 10:06:00+0000' AND number = 6"
        ),
        // a static cell, a row, a range of rows, a partition
        format!("DELETE opened_by FROM shop.orders WHERE shop = 'shop 1' AND {day}"),
        format!(
            "DELETE FROM shop.orders WHERE shop = 'shop 1' AND {day} AND at = '2026-03-0{before} 10:07:00+0000' AND number = 7"
        ),
        format!(
            "DELETE FROM shop.orders WHERE shop = 'shop 1' AND {day} AND at >= '2026-03-0{before} 10:10:00+0000' AND at < '2026-03-0{before} 10:15:00+0000'"
        ),
        format!("DELETE FROM shop.orders WHERE shop = 'shop 3' AND {day}"),
        format!(
            "DELETE FROM shop.readings WHERE sensor = 'sensor 2' AND at > {} AND at <= {}",
            before * 150 + 20,
            before * 150 + 90
        ),
        format!("DELETE FROM shop.visits WHERE page = 'page 3' AND day = '2026-04-0{round}'"),
        format!("DELETE FROM \"MixedCase\".\"CamelTable\" WHERE \"Id\" = 1 AND \"Part\" = 'Part {before}'"),
    ]
}

/// All rows of all tables, and what the indexes answer.
pub fn dump(cql: &Cql, version: Version) -> anyhow::Result<Dump> {
    let mut dump = Dump::new();
    for table in tables(version) {
        let rows = cql.dump(&table)?;
        dump.insert(table, rows);
    }
    for query in indexed_queries(version) {
        let mut rows = cql.rows(query)?;
        rows.sort();
        dump.insert(query.to_owned(), rows);
    }
    Ok(dump)
}

/// The first difference between two dumps, for a message; `None` if they are equal.
pub fn difference(expected: &Dump, got: &Dump) -> Option<String> {
    for (table, rows) in expected {
        let Some(found) = got.get(table) else { return Some(format!("{table} is not there")) };
        if rows == found {
            continue;
        }
        let missing: Vec<_> = rows.iter().filter(|row| !found.contains(row)).take(3).collect();
        let extra: Vec<_> = found.iter().filter(|row| !rows.contains(row)).take(3).collect();
        return Some(format!(
            "{table}: {} rows expected, {} found\nmissing: {missing:#?}\nunexpected: {extra:#?}",
            rows.len(),
            found.len()
        ));
    }
    None
}

/// A number that looks random and is always the same (splitmix64).
pub fn scramble(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A word that can be pronounced: two to four syllables.
pub fn word(seed: u64) -> String {
    const HEADS: [&str; 16] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br"];
    const TAILS: [&str; 8] = ["a", "e", "i", "o", "u", "an", "el", "or"];
    let mut rest = scramble(seed);
    let mut word = String::new();
    for _ in 0..2 + rest % 3 {
        word.push_str(pick(&HEADS, rest));
        word.push_str(pick(&TAILS, rest >> 8));
        rest >>= 14;
    }
    word
}

fn pick<'a>(from: &[&'a str], number: u64) -> &'a str {
    let index = usize::try_from(number).unwrap_or(0) % from.len();
    from.get(index).copied().unwrap_or_default()
}

/// Some words.
pub fn prose(seed: u64, words: u64) -> String {
    (0..words).map(|index| word(seed.wrapping_add(index * 7919))).collect::<Vec<_>>().join(" ")
}
