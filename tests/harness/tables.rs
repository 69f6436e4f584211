//! What a server's tables hold, in a form that a JSON line can be compared with.
//!
//! Both sides are brought to one text per value: SELECT's by [`Column::of_select`], the envelope's by
//! [`Column::of_json`]. The first knows the servers' way of writing, the second Debezium's.

use super::json::Json;
use super::server::Server;

/// A column as information_schema describes it.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    kind: Kind,
    /// Digits behind the point of a DECIMAL, or of the seconds.
    digits: usize,
    nullable: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Whole,
    Decimal,
    Float,
    Double,
    Bit,
    Date,
    Time,
    DateTime,
    Timestamp,
    Text,
    Bytes,
    Json,
    Geometry,
    Vector,
    /// The log does not say what it is (MariaDB's UUID, INET): only that it is NULL or not.
    Opaque,
}

/// A table's columns in their order, and the names of its primary key's.
#[derive(Clone, Debug)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    pub key: Vec<String>,
}

const SYSTEM: &str = "('mysql','information_schema','performance_schema','sys')";

impl Table {
    /// All tables that are not the server's own.
    pub fn all(server: &Server) -> Vec<Self> {
        let rows = server.sql(&format!(
            "select table_schema, table_name from information_schema.tables where table_type in \
             ('BASE TABLE','SYSTEM VERSIONED') and table_schema not in {SYSTEM} order by 1,2"
        ));
        rows.iter().map(|row| Self::read(server, &row[0], &row[1])).collect()
    }

    pub fn read(server: &Server, schema: &str, name: &str) -> Self {
        let here = format!("table_schema={} and table_name={}", quoted(schema), quoted(name));
        let columns = server.sql(&format!(
            "select column_name, data_type, ifnull(numeric_scale,0), ifnull(datetime_precision,0), \
             is_nullable from information_schema.columns where {here} order by ordinal_position"
        ));
        let key = server.sql(&format!(
            "select column_name, index_name, nullable from information_schema.statistics \
             where {here} and non_unique=0 order by index_name<>'PRIMARY', index_name, seq_in_index"
        ));
        // As the servers do: the primary key, else a unique one without NULL.
        let first = key.first().map(|row| row[1].clone());
        let key: Vec<_> = key.into_iter().filter(|row| Some(&row[1]) == first.as_ref()).collect();
        let usable = key.iter().all(|row| row[2] != "YES");
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns.iter().map(|row| Column::read(row)).collect(),
            key: key.into_iter().filter(|_| usable).map(|mut row| row.swap_remove(0)).collect(),
        }
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The rows, each as one text per column, in no order.
    pub fn rows(&self, server: &Server) -> Vec<Vec<String>> {
        server.sql("set time_zone='+00:00'");
        let expressions: Vec<_> = self.columns.iter().map(Column::expression).collect();
        let list = expressions.join(",");
        let from = format!("{}.{}", backquoted(&self.schema), backquoted(&self.name));
        let rows = server.sql(&format!("select {list} from {from}"));
        let texts = |row: Vec<String>| {
            row.iter().zip(&self.columns).map(|(text, column)| column.of_select(text)).collect()
        };
        rows.into_iter().map(texts).collect()
    }
}

impl Column {
    fn read(row: &[String]) -> Self {
        let kind = match row[1].to_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Whole,
            "decimal" => Kind::Decimal,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bit" => Kind::Bit,
            "date" => Kind::Date,
            "time" => Kind::Time,
            "datetime" => Kind::DateTime,
            "timestamp" => Kind::Timestamp,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum"
            | "set" => Kind::Text,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
            "json" => Kind::Json,
            "vector" => Kind::Vector,
            "uuid" | "inet4" | "inet6" => Kind::Opaque,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geomcollection" | "geometrycollection" => Kind::Geometry,
            other => panic!("no comparison for the type {other}"),
        };
        let digits = if kind == Kind::Decimal { &row[2] } else { &row[3] };
        Self {
            name: row[0].clone(),
            kind,
            digits: digits.parse().expect("a number of digits"),
            nullable: row[4] == "YES",
        }
    }

    fn expression(&self) -> String {
        let name = backquoted(&self.name);
        match self.kind {
            Kind::Whole | Kind::Decimal => name,
            Kind::Float | Kind::Double => format!("{name}+0e0"),
            Kind::Bit => format!("{name}+0"),
            Kind::Date | Kind::Time | Kind::DateTime | Kind::Timestamp | Kind::Opaque => {
                format!("cast({name} as char)")
            }
            Kind::Text | Kind::Json => format!("hex(convert({name} using utf8mb4))"),
            Kind::Bytes | Kind::Geometry | Kind::Vector => format!("hex({name})"),
        }
    }

    fn of_select(&self, text: &str) -> String {
        if text == "NULL" {
            return text.to_owned();
        }
        match self.kind {
            Kind::Bit | Kind::Bytes | Kind::Geometry | Kind::Text | Kind::Vector => text.to_owned(),
            Kind::Whole | Kind::Decimal => plain_zero(without_fill(text)),
            Kind::Float => real(text.parse::<f64>().expect("a number") as f32),
            Kind::Double => real(text.parse::<f64>().expect("a number")),
            Kind::Date | Kind::DateTime | Kind::Timestamp => match micros_of(text) {
                Some(micros) => micros.to_string(),
                // Debezium has no dates that no calendar has.
                None if self.nullable => "NULL".to_owned(),
                None => "0".to_owned(),
            },
            Kind::Time => time_micros(text).to_string(),
            Kind::Json => {
                let bytes = unhex(text);
                let text = String::from_utf8(bytes).expect("the server gave UTF-8");
                format!("{:?}", sorted(Json::parse(&text)))
            }
            Kind::Opaque => "something".to_owned(),
        }
    }

    /// The same text from an envelope's value; an error says what is wrong with it.
    pub fn of_json(&self, value: &Json) -> Result<String, String> {
        let text = match (self.kind, value) {
            (_, Json::Null) => Some("NULL".to_owned()),
            (Kind::Whole, Json::Whole(number)) => Some(number.to_string()),
            (Kind::Decimal, Json::Text(text)) => {
                base64(text).map(|bytes| decimal(&bytes, self.digits))
            }
            (Kind::Float, Json::Real(number)) => Some(real(*number as f32)),
            (Kind::Float, Json::Whole(number)) => Some(real(*number as f32)),
            (Kind::Double, Json::Real(number)) => Some(real(*number)),
            (Kind::Double, Json::Whole(number)) => Some(real(*number as f64)),
            (Kind::Bit, Json::Bool(bit)) => Some(u8::from(*bit).to_string()),
            (Kind::Bit, Json::Text(text)) => base64(text).map(|bytes| little_endian(&bytes)),
            (Kind::Date, Json::Whole(days)) => Some((days * 86_400_000_000).to_string()),
            (Kind::Time, Json::Whole(micros)) => Some(micros.to_string()),
            (Kind::DateTime, Json::Whole(time)) => {
                Some((time * if self.digits <= 3 { 1000 } else { 1 }).to_string())
            }
            (Kind::Timestamp, Json::Text(text)) => {
                let plain = text.strip_suffix('Z').map(|text| text.replace('T', " "));
                plain.and_then(|text| micros_of(&text)).map(|micros| micros.to_string())
            }
            (Kind::Text, Json::Text(text)) => Some(hex(text.as_bytes())),
            (Kind::Bytes, Json::Text(text)) => base64(text).map(|bytes| hex(&bytes)),
            (Kind::Json, Json::Text(text)) => Some(format!("{:?}", sorted(Json::parse(text)))),
            (Kind::Geometry, Json::Object(_)) => geometry(value),
            (Kind::Vector, Json::List(list)) => vector(list),
            // MariaDB's log does not tell it from VARBINARY.
            (Kind::Vector, Json::Text(text)) => base64(text).map(|bytes| hex(&bytes)),
            (Kind::Opaque, _) => Some("something".to_owned()),
            _ => None,
        };
        text.ok_or_else(|| format!("column {}: {:?} as {value:?}", self.name, self.kind))
    }
}

/// `{"wkb": base64, "srid": n}` as the server keeps it: the SRID in four bytes, then the WKB.
fn geometry(value: &Json) -> Option<String> {
    let wkb = base64(value.at("wkb")?.text()?)?;
    let srid = value.at("srid").and_then(Json::whole).unwrap_or(0);
    Some(hex(&[&u32::try_from(srid).ok()?.to_le_bytes()[..], &wkb].concat()))
}

fn vector(list: &[Json]) -> Option<String> {
    let number = |item: &Json| match item {
        Json::Real(number) => Some(*number as f32),
        Json::Whole(number) => Some(*number as f32),
        _ => None,
    };
    let bytes = list.iter().map(|item| number(item).map(f32::to_le_bytes));
    Some(hex(&bytes.collect::<Option<Vec<_>>>()?.concat()))
}

/// Members by name, as the order of JSON's members means nothing.
fn sorted(json: Json) -> Json {
    match json {
        Json::List(list) => Json::List(list.into_iter().map(sorted).collect()),
        Json::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(members)
        }
        other => other,
    }
}

/// A float's shortest text that reads back as it.
///
/// SELECT's sum with zero has no negative zero.
fn real(number: impl std::fmt::Display) -> String {
    plain_zero(&format!("{number}"))
}

/// ZEROFILL is for the eye.
fn without_fill(text: &str) -> &str {
    let digits = text.trim_start_matches('0');
    // One digit stays before the point, and of a plain zero.
    let keep = if digits.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { 1 };
    if text.starts_with('0') { &text[text.len() - digits.len() - keep..] } else { text }
}

fn plain_zero(text: &str) -> String {
    let zero = text.chars().all(|c| "-0.".contains(c));
    text.strip_prefix('-').filter(|_| zero).unwrap_or(text).to_owned()
}

/// A big-endian two's complement integer with a point before its last `scale` digits.
pub fn decimal(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    // The magnitude: for a negative number every bit turned over, plus one.
    let flipped = bytes.iter().map(|byte| if negative { !byte } else { *byte });
    let mut digits = vec![0_u8];
    for (index, byte) in flipped.enumerate() {
        let one = u32::from(negative && index + 1 == bytes.len());
        let mut carry = u32::from(byte) + one;
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(value % 10).expect("less than ten");
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).expect("less than ten"));
            carry /= 10;
        }
    }
    while digits.len() > scale + 1 && digits.last() == Some(&0) {
        digits.pop();
    }
    digits.resize(digits.len().max(scale + 1), 0);
    let mut text: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
    if scale > 0 {
        text.insert(text.len() - scale, '.');
    }
    plain_zero(&if negative { format!("-{text}") } else { text })
}

fn little_endian(bytes: &[u8]) -> String {
    bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)).to_string()
}

/// `[-]HHH:MM:SS[.ffffff]`.
pub fn time_micros(text: &str) -> i64 {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let parts: Vec<i64> =
        clock.split(':').map(|part| part.parse().expect("a part of a time")).collect();
    let [hours, minutes, seconds] = parts[..] else { panic!("not a time: {text}") };
    let fraction: i64 = format!("{fraction:0<6}").parse().expect("digits");
    sign * (((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
}

/// `YYYY-MM-DD[ HH:MM:SS[.ffffff]]` in microseconds since 1970; `None` if no calendar has that day.
pub fn micros_of(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = parts[..] else { return None };
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    // Days of a year that begins in March, so that a leap day is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day
            - 719_469;
    (1..=length).contains(&day).then(|| days * 86_400_000_000 + time_micros(clock))
}

/// `None` if it is not base64 with padding.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    for four in digits.as_bytes().chunks(4) {
        let mut held = 0_u32;
        for digit in four {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            held = held << 6 | u32::from(value);
        }
        // Bits that make no whole byte are the padding's.
        let bits = 6 * four.len();
        let [_, a, b, c] = (held << (24 - bits)).to_be_bytes();
        bytes.extend_from_slice(&[a, b, c][..bits / 8]);
    }
    Some(bytes)
}

pub fn hex(bytes: &[u8]) -> String {
    // Rows of many megabytes come by here, in a program that nobody optimizes.
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Vec::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    String::from_utf8(text).expect("digits are ASCII")
}

pub fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(pair).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

pub fn backquoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
