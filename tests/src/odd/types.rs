//! Every CQL type: as partition key, clustering column in both orders, value, element, field; with its extreme values.

use super::{Flavour, Script, at};
use crate::cassandra::Version;

/// A type and literals of it.
struct Type {
    name: &'static str,
    values: Vec<String>,
    /// A value of no bytes is one of its values, and is not what an empty text is.
    may_be_empty: bool,
}

fn all() -> Vec<Type> {
    let plain = |name, may_be_empty, values: &[&str]| Type {
        name,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        may_be_empty,
    };
    let quoted = |name, may_be_empty, values: &[&str]| Type {
        name,
        values: values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect(),
        may_be_empty,
    };
    let numbers = |name, may_be_empty, bits: u32| {
        let (min, max) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
        let mut values: Vec<i64> = vec![0, 1, -1, 63, 64, -64, -65, min, max, min + 1];
        if bits > 8 {
            values.extend([127, 128, -128, -129, 255, 256, 8191, 8192]);
        }
        Type { name, values: values.iter().map(ToString::to_string).collect(), may_be_empty }
    };
    let floats = [
        "0.0",
        "-0.0",
        "NaN",
        "Infinity",
        "-Infinity",
        "1.0",
        "-1.5",
        "0.1",
        "0.001",
        "9.99e-4",
        "9999999.0",
        "1e7",
        "-1.0e10",
    ];
    let mut doubles = plain("double", true, &floats);
    doubles.values.extend(["4.9e-324", "1.7976931348623157e308", "2.2250738585072014e-308", "2e23"].map(str::to_owned));
    let mut singles = plain("float", true, &floats);
    singles.values.extend(["1.4e-45", "3.4028235e38", "1.17549435e-38", "16777216"].map(str::to_owned));
    vec![
        quoted(
            "ascii",
            false,
            &["", "a", "~ !\"#$%&'()", "\u{1}\u{1f}\u{7f}", "tab\tline\nreturn\r\u{8}\u{c}", "\\ \" /"],
        ),
        numbers("bigint", true, 64),
        plain("blob", false, &["0x", "0x00", "0x0000", "0xff", "0x00ff00", "0x2200003300", "0xfe", "0xdeadbeef"]),
        plain("boolean", true, &["true", "false"]),
        plain(
            "date",
            false,
            &["'1970-01-01'", "'1969-12-31'", "'0001-01-01'", "'2026-11-21'", "'9999-12-31'", "0", "4294967295"],
        ),
        plain(
            "decimal",
            true,
            &[
                "0",
                "0.00",
                "-0.0",
                "1",
                "-1",
                "1.1",
                "100",
                "1E+10",
                "1E-10",
                "-99.99",
                "blobAsDecimal(0xfffffc1801)",
                "blobAsDecimal(0x000003e8ff)",
                "0.0000001",
                "123456789012345678901234567890.123456789",
                "1234567890E3",
            ],
        ),
        doubles,
        plain(
            "duration",
            false,
            &[
                "1mo2d3h",
                "-1mo2d3h",
                "0s",
                "1ns",
                "89h4m48s",
                "1y3mo2w4d10h30m5s20ms30us40ns",
                "2147483647mo2147483647d",
                "-1d",
            ],
        ),
        singles,
        quoted(
            "inet",
            true,
            &["0.0.0.0", "255.255.255.255", "127.0.0.1", "::1", "2001:db8::ff00:42:8329", "::", "fe80::1"],
        ),
        numbers("int", true, 32),
        numbers("smallint", false, 16),
        quoted(
            "text",
            false,
            &[
                "",
                "a",
                "Größe 漢字 🎉",
                "\u{0}",
                "a\u{0}b",
                "it's \"quoted\" \\ /",
                "tab\tline\nreturn\r",
                "\u{7f}\u{80}\u{2028}",
                "a:b@c\\:d",
            ],
        ),
        quoted("time", false, &["00:00:00", "23:59:59.999999999", "12:34:56.1", "00:00:00.000000001"]),
        plain(
            "timestamp",
            true,
            &[
                "0",
                "-1",
                "1",
                "999",
                "-1000",
                "'2026-11-21 12:34:56.789+0000'",
                "253402300800000",
                "-62135596800001",
                "9223372036854775807",
            ],
        ),
        plain(
            "timeuuid",
            true,
            &[
                "50554d6e-29bb-11e5-b345-feff819cdc9f",
                "00000000-0000-1000-8080-808080808080",
                "ffffffff-ffff-1fff-bf7f-7f7f7f7f7f7f",
            ],
        ),
        numbers("tinyint", false, 8),
        plain(
            "uuid",
            true,
            &[
                "00000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-4fff-bfff-ffffffffffff",
                "50554d6e-29bb-11e5-b345-feff819cdc9f",
                "123e4567-e89b-42d3-a456-556642440000",
            ],
        ),
        Type {
            name: "varint",
            values: [
                "0",
                "1",
                "-1",
                "127",
                "128",
                "-128",
                "-129",
                "72057594037927936",
                "18446744073709551616",
                "-18446744073709551616",
            ]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("-{}", "1234567890".repeat(20)), "9".repeat(300)])
            .collect(),
            may_be_empty: true,
        },
    ]
}

pub(super) fn add(script: &mut Script, flavour: &Flavour) {
    let types = all();
    for of in &types {
        if of.name == "duration" {
            // It has no order.
            script.table("odd.t_duration (k int PRIMARY KEY, v duration)");
            for (k, v) in of.values.iter().enumerate() {
                script.write(0, format!("INSERT INTO odd.t_duration (k, v) VALUES ({k}, {v}) {}", at(0)));
            }
            continue;
        }
        keys_and_values(script, of);
        if of.may_be_empty {
            empty_values(script, of);
        }
    }
    all_in_one_key(script, &types);
    in_collections(script, &types);
    user_types(script);
    if flavour.version == Version::V5_0 {
        vectors(script);
    }
}

/// Each value as partition key, under each every value in both orders.
fn keys_and_values(script: &mut Script, of: &Type) {
    let Type { name, values, .. } = of;
    script.table(&format!(
        "odd.t_{name} (k {name}, c {name}, d {name}, v {name}, s {name} static, PRIMARY KEY (k, c, d)) \
         WITH CLUSTERING ORDER BY (c ASC, d DESC)"
    ));
    let value = |index: usize| values.get(index % values.len()).map_or("", String::as_str);
    for (i, k) in values.iter().enumerate().filter(|(_, k)| *k != "''" && *k != "0x") {
        for (j, c) in values.iter().enumerate() {
            let (d, v) = (value(i + j), value(i * 3 + j));
            script.write(
                usize::from(j % 4 == 3),
                format!("INSERT INTO odd.t_{name} (k, c, d, v) VALUES ({k}, {c}, {d}, {v}) {}", at(j as i64)),
            );
        }
        script.write(0, format!("UPDATE odd.t_{name} {} SET s = {} WHERE k = {k}", at(3), value(i + 1)));
        let (from, to) = (value(i), value(i + 2));
        script.write(1, format!("DELETE FROM odd.t_{name} {} WHERE k = {k} AND c > {from} AND c <= {to}", at(100)));
        script.write(2, format!("DELETE FROM odd.t_{name} {} WHERE k = {k} AND c = {from} AND d < {to}", at(200)));
    }
}

/// No bytes at all, where the type allows that: as clustering and as value.
fn empty_values(script: &mut Script, of: &Type) {
    let name = of.name;
    let mut letters = name.chars();
    let head = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
    let empty = format!("blobAs{}(0x)", head.chain(letters).collect::<String>());
    let value = of.values.first().map_or("", String::as_str);
    script.table(&format!(
        "odd.empty_{name} (k int, c {name}, d {name}, v {name}, PRIMARY KEY (k, c, d)) \
         WITH CLUSTERING ORDER BY (c ASC, d DESC)"
    ));
    for (k, (c, d, v)) in
        [(&*empty, value, value), (value, &*empty, value), (value, value, &*empty), (&empty, &empty, &empty)]
            .into_iter()
            .enumerate()
    {
        script.write(0, format!("INSERT INTO odd.empty_{name} (k, c, d, v) VALUES ({k}, {c}, {d}, {v}) {}", at(0)));
    }
}

/// A partition key of all types.
fn all_in_one_key(script: &mut Script, types: &[Type]) {
    let types: Vec<_> = types.iter().filter(|of| of.name != "duration").collect();
    let columns: Vec<_> = types.iter().map(|of| format!("k_{0} {0}, c_{0} {0}", of.name)).collect();
    let list = |letter: &str| types.iter().map(|of| format!("{letter}_{}", of.name)).collect::<Vec<_>>().join(", ");
    let (keys, clusterings) = (list("k"), list("c"));
    script.table(&format!("odd.all_in_one_key ({}, PRIMARY KEY (({keys}), {clusterings}))", columns.join(", ")));
    for number in 0..18 {
        let value = |of: &&Type| of.values.get(number % of.values.len()).cloned().unwrap_or_default();
        let values = types.iter().map(value).collect::<Vec<_>>().join(", ");
        script.write(
            number % 3,
            format!("INSERT INTO odd.all_in_one_key ({keys}, {clusterings}) VALUES ({values}, {values}) {}", at(0)),
        );
    }
}

/// Each type in each kind of collection, frozen and not, and in tuples: more than 64 columns on the way.
fn in_collections(script: &mut Script, types: &[Type]) {
    let mut columns = vec!["k int PRIMARY KEY".to_owned()];
    for Type { name, .. } in types {
        let key = if *name == "duration" { "int" } else { name };
        columns.push(format!(
            "l_{name} list<{name}>, s_{name} set<{key}>, m_{name} map<{key}, {name}>, fl_{name} frozen<list<{name}>>, \
             fs_{name} frozen<set<{key}>>, fm_{name} frozen<map<{key}, {name}>>, t_{name} tuple<{name}, int, {name}>"
        ));
    }
    script.table(&format!("odd.in_collections ({})", columns.join(", ")));
    for k in 0..18_usize {
        for Type { name, values, .. } in types {
            let value = |index: usize| values.get((k + index) % values.len()).map_or("", String::as_str);
            let key =
                |index: usize| if *name == "duration" { (k + index).to_string() } else { value(index).to_owned() };
            let (a, b) = (value(0), value(1));
            let (x, y) = (key(0), key(1));
            let map = if x == y { format!("{{{x}: {a}}}") } else { format!("{{{x}: {a}, {y}: {b}}}") };
            let set = if x == y { format!("{{{x}}}") } else { format!("{{{x}, {y}}}") };
            let second = if k % 3 == 0 { "null" } else { "7" };
            script.write(
                k % 3,
                format!(
                    "INSERT INTO odd.in_collections (k, l_{name}, s_{name}, m_{name}, fl_{name}, fs_{name}, fm_{name}, t_{name}) \
                     VALUES ({k}, [{a}, {b}], {set}, {map}, [{a}, {b}, {a}], {set}, {map}, ({b}, {second}, {a})) {}",
                    at(0)
                ),
            );
        }
    }
}

/// User types within each other, as keys, with names that need quotes, and with a field that comes later.
fn user_types(script: &mut Script) {
    script.schema.extend(
        [
            "CREATE TYPE odd.inner (a int, b text)",
            "CREATE TYPE odd.outer (\"Mixed\" int, i frozen<inner>, l frozen<list<frozen<inner>>>, t frozen<tuple<int, text>>)",
            "CREATE TABLE odd.udts (k int PRIMARY KEY, u outer, f frozen<outer>, lu list<frozen<outer>>, \
             mu map<frozen<inner>, frozen<outer>>, su set<frozen<inner>>, tp tuple<int, frozen<inner>, tuple<text, blob>>, \
             n frozen<map<text, frozen<list<frozen<tuple<int, frozen<set<text>>>>>>>>)",
            "CREATE TABLE odd.udt_keys (k frozen<inner>, c frozen<outer>, d tuple<int, text>, e frozen<set<int>>, v int, \
             PRIMARY KEY (k, c, d, e)) WITH CLUSTERING ORDER BY (c DESC, d ASC, e DESC)",
        ]
        .map(str::to_owned),
    );
    let inner = |n: usize| {
        format!("{{a: {n}, b: {}}}", if n.is_multiple_of(2) { "null".to_owned() } else { format!("'b \" {n}'") })
    };
    let outer = |n: usize| {
        let (one, two) = (inner(n), inner(n + 1));
        match n % 3 {
            0 => format!("{{\"Mixed\": {n}, i: {one}, l: [{one}, {two}], t: ({n}, 'x')}}"),
            1 => format!("{{i: {two}, t: (null, 'y')}}"),
            _ => format!("{{\"Mixed\": {n}, l: []}}"),
        }
    };
    let nested = "{'a': [(1, {'x', 'y'}), (null, {})], '': []}";
    for k in 0..12 {
        let (one, two) = (outer(k), outer(k + 1));
        let (a, b) = (inner(k), inner(k + 1));
        script.write(
            k % 3,
            format!(
                "INSERT INTO odd.udts (k, u, f, lu, mu, su, tp, n) VALUES ({k}, {one}, {two}, [{one}, {two}], \
                 {{{a}: {one}, {b}: {two}}}, {{{a}, {b}}}, ({k}, {a}, ('t', 0x0{})), {nested}) {}",
                k % 10,
                at(0)
            ),
        );
        script.write(
            k % 3,
            format!(
                "INSERT INTO odd.udt_keys (k, c, d, e, v) VALUES ({a}, {one}, ({k}, null), {{{k}, 2}}, {k}) {}",
                at(0)
            ),
        );
        script.write(1, format!("UPDATE odd.udts {} SET u.\"Mixed\" = -1 WHERE k = {k}", at(10)));
        script.write(1, format!("DELETE u.i FROM odd.udts {} WHERE k = {}", at(10), k / 2));
        script.write(2, format!("UPDATE odd.udts {} SET u.later = 'new', f = {{later: 'l'}} WHERE k = {k}", at(20)));
    }
    script.changes.push("ALTER TYPE odd.outer ADD later text".to_owned());
}

fn vectors(script: &mut Script) {
    script.table(
        "odd.vectors (k vector<int, 2>, c vector<float, 3>, v vector<text, 2>, w vector<frozen<list<int>>, 2>, \
         l list<frozen<vector<float, 2>>>, m map<text, frozen<vector<smallint, 3>>>, n vector<vector<double, 2>, 2>, \
         PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC)",
    );
    for k in 0..9_usize {
        script.write(
            k % 3,
            format!(
                "INSERT INTO odd.vectors (k, c, v, w, l, m, n) VALUES ([{k}, -1], [0.5, -{k}.25, 1e10], ['', 'ä{k}'], \
                 [[], [{k}, 2]], [[1.5, {k}]], {{'a': [1, -2, {k}]}}, [[1.0, 2.0], [{k}.5, -0.0]]) {}",
                at(0)
            ),
        );
    }
}
