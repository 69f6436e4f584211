//! A random value of a column, as SQL. The edges of each type come up often.

use super::chance::Chance;
use super::column::{Column, Kind};
use super::document;
use crate::harness::server::Flavour;
use crate::harness::tables::hex;

/// NULL, DEFAULT or a value.
pub fn of(column: &Column, flavour: Flavour, chance: &mut Chance) -> String {
    if column.nullable && chance.percent(10) {
        return "null".to_owned();
    }
    value(&column.kind, flavour, chance)
}

fn value(kind: &Kind, flavour: Flavour, chance: &mut Chance) -> String {
    match kind {
        Kind::Int { bits, unsigned } => integer(*bits, *unsigned, chance),
        Kind::Decimal { precision, scale, unsigned } => {
            decimal(*precision, *scale, *unsigned, chance)
        }
        Kind::Float { unsigned } => float(*unsigned, chance),
        Kind::Double { unsigned } => double(*unsigned, chance),
        Kind::Bit(bits) => {
            let all = u64::MAX >> (64 - bits);
            let any = chance.bits() & all;
            let number = *chance.of(&[0, 1, all, all - all / 2, any, any]);
            format!("{number}")
        }
        Kind::Year => {
            let year = chance.between(1901, 2155);
            chance.of(&[0, 1901, 2155, year]).to_string()
        }
        Kind::Date => format!("'{}'", date(chance)),
        Kind::Time(_) => format!("'{}'", time(chance)),
        Kind::DateTime(_) => format!("'{}'", datetime(chance)),
        Kind::Timestamp(_) => format!("'{}'", timestamp(flavour, chance)),
        Kind::Text { charset, length } => text(charset, *length, chance),
        Kind::Bytes { length, .. } => bytes(*length, chance),
        Kind::Enum { members, .. } => match chance.below(12) {
            0 => "'no member'".to_owned(),
            _ => (chance.below(members.len()) + 1).to_string(),
        },
        Kind::Set { members, .. } => {
            let all = u64::MAX >> (64 - members.len());
            let any = chance.bits() & all;
            let number = *chance.of(&[0, 1, all, any, any]);
            number.to_string()
        }
        Kind::Json | Kind::JsonText => document::json(flavour, chance),
        Kind::Geometry(name) => document::geometry(name, flavour, chance),
        Kind::Vector(size) | Kind::VectorBytes(size) => document::vector(*size, flavour, chance),
        Kind::Uuid => uuid(chance),
        Kind::Inet4 => {
            let [a, b, c, d] = [0; 4].map(|_: u8| edge_byte(chance));
            format!("'{a}.{b}.{c}.{d}'")
        }
        Kind::Inet6 => {
            let groups: Vec<String> = (0..8)
                .map(|_| {
                    format!(
                        "{:x}",
                        u16::from(edge_byte(chance)) << 8 | u16::from(edge_byte(chance))
                    )
                })
                .collect();
            let whole = format!("'{}'", groups.join(":"));
            chance
                .of(&["'::'".to_owned(), "'::1'".to_owned(), "'::ffff:1.2.3.4'".to_owned(), whole])
                .clone()
        }
    }
}

fn edge_byte(chance: &mut Chance) -> u8 {
    let any = chance.byte();
    *chance.of(&[0, 255, any, any])
}

fn integer(bits: u32, unsigned: bool, chance: &mut Chance) -> String {
    let shift = chance.between(0, i64::from(bits) - 1) as u32;
    // Numbers of every size are as likely as large ones.
    let any = chance.bits() >> (64 - bits) >> shift;
    if unsigned {
        let max = u64::MAX >> (64 - bits);
        return chance.of(&[0, 1, max, max / 2, max / 2 + 1, any, any, any]).to_string();
    }
    let max = (i64::MAX as u64) >> (64 - bits);
    let any = i64::try_from(any & max).expect("no larger than the largest");
    let max = i64::try_from(max).expect("no larger than the largest");
    chance.of(&[0, -1, max, -max - 1, any, -any, any, -any]).to_string()
}

fn digits(count: usize, chance: &mut Chance) -> String {
    let style = chance.below(4);
    (0..count)
        .map(|_| match style {
            0 => '9',
            1 => '0',
            _ => char::from(b'0' + chance.below(10) as u8),
        })
        .collect()
}

fn decimal(precision: usize, scale: usize, unsigned: bool, chance: &mut Chance) -> String {
    let sign = if !unsigned && chance.percent(45) { "-" } else { "" };
    let whole = chance.length(precision - scale);
    let (whole, fraction) = (digits(whole, chance), digits(scale, chance));
    format!("{sign}0{whole}.{fraction}0")
}

fn float(unsigned: bool, chance: &mut Chance) -> String {
    let edges = [0.0, 1.0, f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.1, 16_777_217.0, 1e10, 123_456.79];
    let any = f32::from_bits(chance.bits() as u32);
    let small = chance.between(-100_000, 100_000) as f32 / 64.0;
    let edge = *chance.of(&edges);
    let mut number = *chance.of(&[edge, any, small]);
    if !number.is_finite() {
        number = 0.5;
    }
    if unsigned { format!("{:e}", number.abs()) } else { format!("{number:e}") }
}

fn double(unsigned: bool, chance: &mut Chance) -> String {
    let edges = [
        0.0,
        -0.0,
        1.0,
        0.1,
        1e15,
        1e16,
        1e17,
        123_456_789.012_345_67,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
    ];
    let any = f64::from_bits(chance.bits());
    let small = chance.between(-1_000_000, 1_000_000) as f64 / 1000.0;
    let edge = *chance.of(&edges);
    let mut number = *chance.of(&[edge, any, small]);
    if !number.is_finite() {
        number = 0.5;
    }
    if unsigned { format!("{:e}", number.abs()) } else { format!("{number:e}") }
}

fn date(chance: &mut Chance) -> String {
    let edges = [
        "0000-00-00",
        "1000-01-01",
        "9999-12-31",
        "2024-02-29",
        "2020-00-00",
        "2020-05-00",
        "0001-01-01",
        "1969-12-31",
        "1970-01-01",
    ];
    if chance.percent(25) {
        return (*chance.of(&edges)).to_owned();
    }
    let year =
        if chance.percent(70) { chance.between(1950, 2050) } else { chance.between(0, 9999) };
    format!("{year:04}-{:02}-{:02}", chance.between(1, 12), chance.between(1, 28))
}

fn clock(chance: &mut Chance) -> String {
    let (h, m, s) = (chance.between(0, 23), chance.between(0, 59), chance.between(0, 59));
    let any = format!("{h:02}:{m:02}:{s:02}");
    chance.of(&["00:00:00".to_owned(), "23:59:59".to_owned(), any.clone(), any]).clone()
}

fn fraction(chance: &mut Chance) -> String {
    let any = format!(".{:06}", chance.between(0, 999_999));
    chance
        .of(&[
            String::new(),
            ".000001".to_owned(),
            ".5".to_owned(),
            ".999999".to_owned(),
            any.clone(),
            any,
        ])
        .clone()
}

fn time(chance: &mut Chance) -> String {
    let sign = if chance.percent(40) { "-" } else { "" };
    let hours = chance.between(0, 838);
    let (m, s) = (chance.between(0, 59), chance.between(0, 59));
    let any = format!("{hours:02}:{m:02}:{s:02}{}", fraction(chance));
    let clock = clock(chance) + &fraction(chance);
    let edge =
        *chance.of(&["838:59:59", "838:59:58.999999", "00:00:00", "00:00:00.000001", "00:00:01"]);
    format!("{sign}{}", chance.of(&[any, clock, edge.to_owned()]))
}

fn datetime(chance: &mut Chance) -> String {
    let date = date(chance);
    if date == "9999-12-31" {
        return format!("{date} 23:59:59");
    }
    format!("{date} {}{}", clock(chance), fraction(chance))
}

fn timestamp(flavour: Flavour, chance: &mut Chance) -> String {
    let last =
        if flavour == Flavour::Mariadb118 { "2106-02-07 06:28:14" } else { "2038-01-19 03:14:06" };
    let edges = ["0000-00-00 00:00:00", "1970-01-01 00:00:01", "1970-01-01 00:00:01.000001", last];
    if chance.percent(25) {
        return (*chance.of(&edges)).to_owned();
    }
    let year = if flavour == Flavour::Mariadb118 {
        chance.between(1971, 2105)
    } else {
        chance.between(1971, 2037)
    };
    let (month, day) = (chance.between(1, 12), chance.between(1, 28));
    format!("{year}-{month:02}-{day:02} {}{}", clock(chance), fraction(chance))
}

fn uuid(chance: &mut Chance) -> String {
    let bits = u128::from(chance.bits()) << 64 | u128::from(chance.bits());
    let bits = *chance.of(&[0, u128::MAX, bits, bits, bits & !0xff_ffff]);
    let all = format!("{bits:032x}");
    let (a, b, c, d, e) = (&all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]);
    // All versions and variants.
    format!("'{a}-{b}-{c}-{d}-{e}'")
}

/// Bytes as a literal; long ones are made by repeating.
fn bytes(length: usize, chance: &mut Chance) -> String {
    let limit = if chance.percent(3) { length.min(70_000) } else { length.min(40) };
    let any = chance.length(limit);
    let size = *chance.of(&[0, limit, any, any, any]);
    if size > 100 {
        let some: Vec<u8> = (0..7).map(|_| chance.byte()).collect();
        return format!("repeat(x'{}',{})", hex(&some), size / 7);
    }
    let zeros = chance.percent(10);
    let some: Vec<u8> = (0..size).map(|_| if zeros { 0 } else { chance.byte() }).collect();
    format!("x'{}'", hex(&some))
}

/// Letters of many scripts: those that a character set does not have become question marks.
const SCRIPTS: [(u32, u32); 18] = [
    (0x20, 0x7e),
    (0x20, 0x7e),
    (0x00, 0x1f),
    (0xa0, 0xff),
    (0x100, 0x17f),
    (0x384, 0x3ce),
    (0x401, 0x45f),
    (0x531, 0x58a),
    (0x5d0, 0x5ea),
    (0x60c, 0x652),
    (0xe01, 0xe5b),
    (0x10d0, 0x10f0),
    (0x2010, 0x2122),
    (0x2500, 0x257f),
    (0x3041, 0x30fe),
    (0x4e00, 0x9fa5),
    (0xac00, 0xd7a3),
    (0x1f300, 0x1f64f),
];

/// Text as a literal: words, letters of a script, or bytes in the column's own character set.
pub fn text(charset: &str, length: usize, chance: &mut Chance) -> String {
    let limit = if chance.percent(3) { length.min(30_000) } else { length.min(30) };
    let any = chance.length(limit);
    let size = *chance.of(&[0, limit, any, any, any]);
    match chance.below(10) {
        0 => format!(
            "'{}'",
            *chance.of(&["", "a", " a ", "NULL", "0", "A b C   ", "\\\\", "''", "%_"])
        ),
        1..=4 => {
            let own = native(charset, size.min(60), chance);
            format!("x'{}'", hex(&own))
        }
        _ => {
            let one = *chance.of(&SCRIPTS);
            let mixed = chance.percent(30);
            let text: String = (0..size.min(60)).map(|_| letter(one, mixed, chance)).collect();
            let literal = format!("_utf8mb4 x'{}'", hex(text.as_bytes()));
            if size > 60 {
                return format!("repeat({literal},{})", size / 60);
            }
            literal
        }
    }
}

fn letter(script: (u32, u32), mixed: bool, chance: &mut Chance) -> char {
    let (low, high) = if mixed { *chance.of(&SCRIPTS) } else { script };
    let code = chance.between(low.into(), high.into());
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('?')
}

/// Bytes as they may stand in this character set; what it does not know the server refuses or cuts.
fn native(charset: &str, size: usize, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..size {
        let high = |chance: &mut Chance| chance.between(0xa1, 0xfe) as u8;
        let trail = |chance: &mut Chance| chance.between(0x40, 0xfe) as u8;
        match charset {
            "utf8mb4" | "utf8mb3" => {
                let (one, three) = (*chance.of(&SCRIPTS), charset == "utf8mb3");
                let one = if three && one.0 > 0xffff { SCRIPTS[0] } else { one };
                bytes.extend(letter(one, false, chance).to_string().bytes());
            }
            "ucs2" | "utf16" => bytes.extend((chance.bits() as u16 & 0xd7ff).to_be_bytes()),
            "utf16le" => bytes.extend((chance.bits() as u16 & 0xd7ff).to_le_bytes()),
            "utf32" => bytes.extend((chance.bits() as u32 & 0xd7ff).to_be_bytes()),
            _ if chance.percent(30) => bytes.push(chance.byte() & 0x7f),
            "big5" | "gbk" | "cp932" | "sjis" => {
                bytes.extend([chance.between(0x81, 0xfe) as u8, trail(chance)]);
            }
            "gb18030" if chance.percent(40) => {
                let digit = |chance: &mut Chance| chance.between(0x30, 0x39) as u8;
                let lead = chance.between(0x81, 0xfe) as u8;
                bytes.extend([lead, digit(chance), high(chance), digit(chance)]);
            }
            "gb18030" => bytes.extend([chance.between(0x81, 0xfe) as u8, trail(chance)]),
            "ujis" | "eucjpms" if chance.percent(30) => {
                bytes.extend([0x8f, high(chance), high(chance)]);
            }
            "ujis" | "eucjpms" if chance.percent(20) => bytes.extend([0x8e, high(chance)]),
            "euckr" | "gb2312" | "ujis" | "eucjpms" => bytes.extend([high(chance), high(chance)]),
            _ => bytes.push(chance.byte()),
        }
    }
    bytes
}
