//! Random JSON, geometries and vectors, as SQL.

use super::chance::Chance;
use crate::harness::server::Flavour;
use crate::harness::tables::hex;

/// A document: text, or for MySQL an expression that makes values JSON's text has no words for.
pub fn json(flavour: Flavour, chance: &mut Chance) -> String {
    if flavour.is_mysql() && chance.percent(25) {
        return expression(2, chance);
    }
    let mut text = String::new();
    let depth = chance.below(4);
    push_json(depth, chance, &mut text);
    if chance.percent(1) {
        // More than 64 KiB: MySQL's large form.
        let item = text.clone();
        let times = 70_000 / (item.len() + 2) + 1;
        text = format!("[{}]", vec![item; times.min(9000)].join(", "));
    }
    format!("_utf8mb4 x'{}'", hex(text.as_bytes()))
}

fn push_json(depth: usize, chance: &mut Chance, out: &mut String) {
    match chance.below(if depth == 0 { 5 } else { 9 }) {
        0 => out.push_str(["null", "true", "false"][chance.below(3)]),
        1 => {
            let shift = chance.below(64) as u32;
            let number = chance.bits() >> shift;
            let negative = number <= i64::MAX as u64 && chance.percent(40);
            out.push_str(&format!("{}{number}", if negative { "-" } else { "" }));
        }
        2 => {
            let any = f64::from_bits(chance.bits());
            let number = if any.is_finite() && chance.percent(50) {
                any
            } else {
                chance.between(-99_999, 99_999) as f64 / 100.0
            };
            out.push_str(&format!("{number:e}"));
        }
        3 | 4 => push_string(chance, out),
        5 | 6 => {
            let count = chance.length(6);
            out.push('[');
            for index in 0..count {
                out.push_str(if index > 0 { "," } else { "" });
                push_json(depth - 1, chance, out);
            }
            out.push(']');
        }
        _ => {
            let count = chance.length(6);
            out.push('{');
            for index in 0..count {
                out.push_str(if index > 0 { ", " } else { "" });
                push_string(chance, out);
                out.push_str(": ");
                push_json(depth - 1, chance, out);
            }
            out.push('}');
        }
    }
}

fn push_string(chance: &mut Chance, out: &mut String) {
    let words = [
        "",
        "a",
        "b",
        "key",
        "value",
        "ünïcödé",
        "日本語",
        "😀",
        "\\n\\t\\r",
        "\\\"",
        "\\\\",
        "/",
        "\\u0001",
        "\\u00e9",
        "\\u007f",
        "$.a",
        " ",
    ];
    out.push('"');
    for _ in 0..chance.length(4) {
        out.push_str(words[chance.below(words.len())]);
    }
    if chance.percent(3) {
        let times = *chance.of(&[127, 128, 255, 256, 16_383, 16_384]);
        out.push_str(&"x".repeat(times));
    }
    out.push('"');
}

/// What MySQL keeps in JSON with its own types.
fn expression(depth: usize, chance: &mut Chance) -> String {
    let scalars = [
        "cast('2024-02-29' as date)",
        "cast('2024-02-29 12:34:56.123456' as datetime(6))",
        "cast('-838:59:59' as time)",
        "cast('12:00:00.5' as time(1))",
        "cast(1.50 as decimal(10,3))",
        "cast(-99999999999999999999.999 as decimal(30,3))",
        "cast(18446744073709551615 as unsigned)",
        "cast(-9223372036854775808 as signed)",
        "1.5e0",
        "-0e0",
        "1e300",
        "true",
        "null",
        "x'00ff80'",
        "b'101'",
        "'text'",
        "cast(2024 as year)",
        "cast(1.5 as float)",
        "st_geomfromtext('POINT(1 2)')",
    ];
    let item = |chance: &mut Chance| match chance.below(4) {
        0 if depth > 0 => expression(depth - 1, chance),
        _ => (*chance.of(&scalars)).to_owned(),
    };
    let count = chance.length(5);
    if chance.percent(50) {
        let items: Vec<String> = (0..count).map(|_| item(chance)).collect();
        return format!("json_array({})", items.join(","));
    }
    let members: Vec<String> =
        (0..count).map(|index| format!("'k{index}',{}", item(chance))).collect();
    format!("json_object({})", members.join(","))
}

/// A change of a document that leaves most of it as it is.
pub fn json_change(column: &str, chance: &mut Chance) -> String {
    let path = *chance.of(&["$.a", "$.key", "$[0]", "$[1]", "$.b.a", "$[last]", "$.k0", "$.k1"]);
    let value =
        *chance.of(&["1", "'x'", "null", "repeat('y',40)", "3.25", "true", "json_array(1,2)"]);
    let function = *chance.of(&["json_set", "json_replace", "json_set"]);
    match chance.below(5) {
        0 => format!("json_remove({column},'{path}')"),
        _ => format!("{function}({column},'{path}',{value})"),
    }
}

fn point(chance: &mut Chance) -> String {
    let part = |chance: &mut Chance| match chance.below(4) {
        0 => chance.between(-80, 80) as f64,
        1 => 0.0,
        _ => chance.between(-80_000_000, 80_000_000) as f64 / 1_000_000.0,
    };
    format!("{} {}", part(chance), part(chance))
}

fn points(count: usize, chance: &mut Chance) -> String {
    (0..count).map(|_| point(chance)).collect::<Vec<_>>().join(",")
}

fn polygon(chance: &mut Chance) -> String {
    let (x, y) = (chance.between(-50, 50), chance.between(-50, 50));
    let (w, h) = (chance.between(3, 9), chance.between(3, 9));
    let ring = |x: i64, y: i64, w: i64, h: i64| {
        let (r, t) = (x + w, y + h);
        format!("({x} {y},{r} {y},{r} {t},{x} {t},{x} {y})")
    };
    let outer = ring(x, y, w, h);
    if chance.percent(30) {
        format!("({outer},{})", ring(x + 1, y + 1, 1, 1))
    } else {
        format!("({outer})")
    }
}

fn shape(name: &str, depth: usize, chance: &mut Chance) -> String {
    let some = 1 + chance.length(5);
    match name {
        "point" => format!("POINT({})", point(chance)),
        "linestring" => format!("LINESTRING({})", points(some + 1, chance)),
        "polygon" => format!("POLYGON{}", polygon(chance)),
        "multipoint" => format!("MULTIPOINT({})", points(some, chance)),
        "multilinestring" => {
            format!("MULTILINESTRING(({}),({}))", points(2, chance), points(3, chance))
        }
        "multipolygon" => format!("MULTIPOLYGON({})", polygon(chance)),
        "geometrycollection" => {
            let parts: Vec<String> =
                (0..some).map(|_| shape("geometry", depth + 1, chance)).collect();
            format!("GEOMETRYCOLLECTION({})", parts.join(","))
        }
        _ => {
            let names = [
                "point",
                "linestring",
                "polygon",
                "multipoint",
                "multilinestring",
                "multipolygon",
                "geometrycollection",
            ];
            let limit = if depth > 2 { 6 } else { 7 };
            let name = names[chance.below(limit)];
            shape(name, depth, chance)
        }
    }
}

/// A geometry of this type.
pub fn geometry(name: &str, flavour: Flavour, chance: &mut Chance) -> String {
    let wkt = shape(name, 0, chance);
    let srids: &[u32] =
        if flavour.is_mysql() { &[0, 4326, 3857] } else { &[0, 4326, 101, 4_294_967_295] };
    let srid = if chance.percent(60) { 0 } else { *chance.of(srids) };
    format!("st_geomfromtext('{wkt}',{srid})")
}

/// A vector with exactly as many numbers in MariaDB, at most as many in MySQL.
pub fn vector(size: usize, flavour: Flavour, chance: &mut Chance) -> String {
    let count = if flavour.is_mysql() { 1 + chance.below(size) } else { size };
    let number = |chance: &mut Chance| match chance.below(4) {
        0 => "0".to_owned(),
        1 => format!("{}", chance.between(-1000, 1000)),
        2 => format!("{:e}", chance.between(-9_999_999, 9_999_999) as f32 / 7.0),
        _ => (*chance.of(&["1e38", "-2e-38", "3.14159274", "0.1"])).to_owned(),
    };
    let numbers: Vec<String> = (0..count).map(|_| number(chance)).collect();
    let function = if flavour.is_mysql() { "string_to_vector" } else { "vec_fromtext" };
    format!("{function}('[{}]')", numbers.join(","))
}
