//! What the server's own decoder says (`mysqlbinlog -vv`, `mariadb-binlog -vv`), and whether an
//! envelope says the same.
//!
//! The decoder prints a row as `### ` lines: the operation with the table, then `WHERE` and `SET` with
//! one line `@n=value /* TYPE meta=… */` per column. It writes bytes as they are in the row image, so
//! a text is compared in the character set of its column.

use crate::harness::json::Json;
use crate::harness::tables::{base64, decimal, micros_of, time_micros};

/// One row's change.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// `c`, `u` or `d`, as in an envelope.
    pub operation: &'static str,
    pub schema: String,
    pub table: String,
    pub before: Option<Vec<Cell>>,
    pub after: Option<Vec<Cell>>,
    /// The decoder gave up inside this row (MySQL's does at every GEOMETRY).
    pub broken: bool,
}

/// One column's value.
#[derive(Clone, Debug)]
pub struct Cell {
    /// As it is printed.
    pub text: Vec<u8>,
    /// The type's name with its parameters: `DECIMAL(5,2)`.
    pub kind: String,
}

/// All row changes in the decoder's output.
pub fn rows(output: &[u8]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in output.split(|byte| *byte == b'\n') {
        let Some(line) = line.strip_prefix(b"### ") else { continue };
        if let Some(row) = heading(line) {
            rows.push(row);
            continue;
        }
        let Some(row) = rows.last_mut() else { continue };
        match line {
            b"WHERE" => row.before = Some(Vec::new()),
            b"SET" => row.after = Some(Vec::new()),
            _ => {
                let image = row.after.as_mut().or(row.before.as_mut());
                // MySQL's nests differences of JSON over several lines.
                if let (Some(rest), Some(last)) =
                    (line.strip_prefix(b"     "), image.as_ref().and_then(|image| image.last()))
                    && last.text.starts_with(b"JSON_")
                {
                    let whole = [b"  @0=", &last.text[..], rest].concat();
                    if let (Some(image), Some(cell)) = (image, cell(&whole)) {
                        *image.last_mut().expect("it was there") = cell;
                    }
                    continue;
                }
                match (image, cell(line)) {
                    (Some(image), Some(cell)) => image.push(cell),
                    _ => row.broken = true,
                }
            }
        }
    }
    rows
}

fn heading(line: &[u8]) -> Option<Row> {
    let line = std::str::from_utf8(line).ok()?;
    let verbs = [("INSERT INTO ", "c"), ("UPDATE ", "u"), ("DELETE FROM ", "d")];
    let (rest, operation) =
        verbs.iter().find_map(|(verb, op)| Some((line.strip_prefix(verb)?, *op)))?;
    let (schema, table) = rest.strip_prefix('`')?.strip_suffix('`')?.split_once("`.`")?;
    let name = |text: &str| text.replace("``", "`");
    Some(Row { operation, schema: name(schema), table: name(table), ..Row::default() })
}

/// `  @3='one' /* VARSTRING(80) meta=80 nullable=1 is_null=0 */`; the comment may be missing.
fn cell(line: &[u8]) -> Option<Cell> {
    let line = line.strip_prefix(b"  ")?;
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let value = &line[equals + 1..];
    if value.starts_with(b"!!") {
        return None;
    }
    let comment = value.windows(4).rposition(|four| four == b" /* ");
    let (text, comment) = comment.map_or((value, &b""[..]), |at| value.split_at(at));
    let comment = String::from_utf8_lossy(comment.strip_prefix(b" /* ").unwrap_or(comment));
    let kind = comment.split_once(" meta=").map_or("", |(kind, _)| kind).to_owned();
    Some(Cell { text: text.trim_ascii_end().to_vec(), kind })
}

/// What a comparison of one value gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    Equal,
    Different,
    /// The decoder's text does not say what the value is; the reason.
    Untold(&'static str),
}

impl Cell {
    pub fn is_null(&self) -> bool {
        self.text == b"NULL"
    }

    /// Compares with an envelope's value.
    pub fn compare(&self, value: &Json) -> Verdict {
        if self.is_null() {
            return verdict(*value == Json::Null);
        }
        let text = String::from_utf8_lossy(&self.text);
        let word = self.kind.split(['(', ' ']).next().unwrap_or("");
        match word {
            "TINYINT" | "SHORTINT" | "MEDIUMINT" | "INT" | "LONGINT" => integer(&text, value),
            "YEAR" => verdict(same_year(&text, value)),
            "DECIMAL" => verdict(same_decimal(&self.kind, &text, value)),
            "FLOAT" => near(&text, value, 1e-3),
            "DOUBLE" => near(&text, value, 1e-15),
            "BIT" => verdict(bits(&text).is_some_and(|bits| same_bits(bits, value))),
            "SET" => match (set_bits(&text), value) {
                (Some(bits), Json::Whole(number)) => verdict(i128::from(bits) == *number),
                _ => Verdict::Untold("members of SET"),
            },
            "ENUM" => match (text.parse::<i128>(), value) {
                (Ok(index), Json::Whole(number)) => verdict(index == *number),
                _ => Verdict::Untold("members of ENUM"),
            },
            "DATE" | "TIME" | "DATETIME" | "TIMESTAMP" => temporal(word, &self.kind, &text, value),
            "VECTOR" => vector(&text, value),
            "JSON" => json(&self.text, value),
            _ if self.kind.contains("COMPRESSED") => Verdict::Untold("compressed columns"),
            "GEOMETRY" => match geometry(value) {
                Some(bytes) => verdict(self.holds(&bytes)),
                None => Verdict::Different,
            },
            _ => self.string(value),
        }
    }

    /// A text or bytes: equal as UTF-8, or as what base64 stands for.
    fn string(&self, value: &Json) -> Verdict {
        let Some(text) = value.text() else {
            return match value {
                // MariaDB's VECTOR is VARCHAR in the log.
                Json::List(_) => Verdict::Untold("VECTOR as bytes"),
                _ => Verdict::Different,
            };
        };
        // Of BINARY(n) the log leaves out the zero bytes at the end.
        let padded = |mut bytes: Vec<u8>| {
            bytes.truncate(bytes.len() - bytes.iter().rev().take_while(|it| **it == 0).count());
            self.kind.starts_with("STRING(") && self.holds(&bytes)
        };
        if self.holds(text.as_bytes()) {
            return Verdict::Equal;
        }
        let bytes = base64(text);
        if bytes.as_deref().is_some_and(|bytes| self.holds(bytes)) || bytes.is_some_and(padded) {
            return Verdict::Equal;
        }
        // Bytes of another character set differ from the UTF-8 that they mean.
        let ascii = self.text.is_ascii() && text.is_ascii() && !self.text.contains(&b'\\');
        if ascii { Verdict::Different } else { Verdict::Untold("other character sets") }
    }

    /// Whether the quoted text stands for these bytes, in any of the decoders' ways of quoting.
    fn holds(&self, bytes: &[u8]) -> bool {
        [quoted_controls(bytes), quoted_all(bytes)].contains(&self.text)
    }
}

fn verdict(equal: bool) -> Verdict {
    if equal { Verdict::Equal } else { Verdict::Different }
}

/// `-1`, or `-1 (255)` where the decoder does not know the sign.
fn integer(text: &str, value: &Json) -> Verdict {
    let (signed, rest) = text.split_once(' ').unwrap_or((text, ""));
    let unsigned = rest.trim_start_matches('(').trim_end_matches(')');
    let number = value.whole().map(|number| number.to_string());
    verdict(number.is_some_and(|number| number == signed || number == unsigned))
}

/// The decoders print the year 0 as 1900.
fn same_year(text: &str, value: &Json) -> bool {
    let year = if text == "1900" { "0" } else { text };
    value.whole().is_some_and(|number| number.to_string() == year)
}

fn same_decimal(kind: &str, text: &str, value: &Json) -> bool {
    let scale = kind.trim_end_matches(')').rsplit(',').next().and_then(|scale| scale.parse().ok());
    let bytes = value.text().and_then(base64);
    let (Some(scale), Some(bytes)) = (scale, bytes) else { return false };
    let wanted = if text.trim_matches(['-', '0', '.']).is_empty() {
        text.trim_start_matches('-')
    } else {
        text
    };
    decimal(&bytes, scale) == wanted
}

/// The decoders print FLOAT with few digits, DOUBLE with more than it has.
fn near(text: &str, value: &Json, tolerance: f64) -> Verdict {
    let ours = match value {
        Json::Real(number) => *number,
        Json::Whole(number) => *number as f64,
        _ => return Verdict::Different,
    };
    let Ok(theirs) = text.parse::<f64>() else { return Verdict::Different };
    let distance = (ours - theirs).abs();
    // The smallest FLOATs have no digits left to be near with.
    verdict(distance <= tolerance * theirs.abs().max(ours.abs()) || distance < 1e-44)
}

fn bits(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("b'")?.strip_suffix('\'')?, 2).ok()
}

fn same_bits(bits: u64, value: &Json) -> bool {
    match value {
        Json::Bool(bit) => u64::from(*bit) == bits,
        Json::Text(text) => base64(text).is_some_and(|bytes| {
            bits == bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        }),
        _ => false,
    }
}

/// The bytes of a SET in the order of memory, each as eight digits.
fn set_bits(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("b'")?.strip_suffix('\'')?;
    let byte = |at| digits.get(at..at + 8).and_then(|eight| u64::from_str_radix(eight, 2).ok());
    let bytes: Option<Vec<u64>> = (0..digits.len()).step_by(8).map(byte).collect();
    Some(bytes?.iter().rev().fold(0, |sum, byte| sum << 8 | byte))
}

fn temporal(word: &str, kind: &str, text: &str, value: &Json) -> Verdict {
    let plain = text.trim_matches('\'');
    let digits: u32 = kind
        .split_once('(')
        .and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok())
        .unwrap_or(0);
    let (theirs, ours) = match (word, value) {
        ("TIMESTAMP", Json::Text(ours)) => {
            let ours = ours.trim_end_matches('Z').replace('T', " ");
            (seconds_micros(plain), micros_of(&ours))
        }
        ("TIMESTAMP", Json::Null) => return verdict(seconds_micros(plain) == Some(0)),
        ("DATE", Json::Whole(days)) => {
            (micros_of(&plain.replace(':', "-")), i64::try_from(days * 86_400_000_000).ok())
        }
        ("DATE", Json::Null) => return verdict(micros_of(&plain.replace(':', "-")).is_none()),
        ("TIME", Json::Whole(micros)) => (Some(time_micros(plain)), i64::try_from(*micros).ok()),
        ("DATETIME", Json::Whole(time)) => {
            let scale = if digits <= 3 { 1000 } else { 1 };
            (micros_of(plain), i64::try_from(time * scale).ok())
        }
        ("DATETIME", Json::Null) => return verdict(micros_of(plain).is_none()),
        _ => return Verdict::Different,
    };
    // A date that no calendar has is 1970-01-01 in a column that cannot be NULL.
    verdict(theirs.unwrap_or(0) == ours.unwrap_or(0))
}

/// `1704067200.500`: seconds since 1970 with the column's digits.
fn seconds_micros(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 1_000_000 + fraction)
}

fn vector(text: &str, value: &Json) -> Verdict {
    let theirs = text.trim_matches(['[', ']']).split(',');
    let Json::List(ours) = value else { return Verdict::Different };
    let count = theirs.clone().count();
    let equal = |(theirs, ours): (&str, &Json)| near(theirs, ours, 1e-5) == Verdict::Equal;
    verdict(count == ours.len() && theirs.zip(ours).all(equal))
}

/// MySQL's decoder prints a scalar at the top without its quotes.
fn json(text: &[u8], value: &Json) -> Verdict {
    if text.starts_with(b"JSON_") || text.starts_with(b"@") {
        return Verdict::Untold("differences of JSON");
    }
    let Some(ours) = value.text() else { return Verdict::Different };
    if [quoted_controls(ours.as_bytes()), quoted_all(ours.as_bytes())].iter().any(|it| it == text) {
        return Verdict::Equal;
    }
    match Json::parse(ours) {
        Json::Text(_) => Verdict::Untold("JSON strings at the top"),
        _ if text.contains(&b'\\') => Verdict::Untold("escapes within JSON"),
        _ => Verdict::Different,
    }
}

fn geometry(value: &Json) -> Option<Vec<u8>> {
    let wkb = base64(value.at("wkb")?.text()?)?;
    let srid = value.at("srid").and_then(Json::whole).unwrap_or(0);
    Some([&u32::try_from(srid).ok()?.to_le_bytes()[..], &wkb].concat())
}

/// Only control characters are escaped.
fn quoted_controls(bytes: &[u8]) -> Vec<u8> {
    quoted(bytes, |byte, out| match byte {
        0..0x20 => out.extend(format!("\\x{byte:02x}").bytes()),
        _ => out.push(byte),
    })
}

/// Quotes and backslashes too, and the usual controls by letter.
fn quoted_all(bytes: &[u8]) -> Vec<u8> {
    quoted(bytes, |byte, out| match byte {
        b'\n' => out.extend(b"\\n"),
        b'\r' => out.extend(b"\\r"),
        b'\t' => out.extend(b"\\t"),
        b'\'' | b'\\' => out.extend([b'\\', byte]),
        0..0x20 => out.extend(format!("\\x{byte:02x}").bytes()),
        _ => out.push(byte),
    })
}

fn quoted(bytes: &[u8], each: impl Fn(u8, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in bytes {
        each(*byte, &mut out);
    }
    out.push(b'\'');
    out
}
