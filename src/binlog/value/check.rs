//! What holds for any bytes of a value: the properties that tests and fuzzers share.

use super::{Charset, Json, decode, json_diff, render_text};
use crate::binlog::compressed::RATIO_MAX;
use crate::binlog::table::{Column, Kind, Meaning};

/// All that can stand in a column's type.
pub(super) const KINDS: [Kind; 34] = [
    Kind::OldDecimal,
    Kind::Tiny,
    Kind::Short,
    Kind::Long,
    Kind::Float,
    Kind::Double,
    Kind::Null,
    Kind::Timestamp,
    Kind::LongLong,
    Kind::Int24,
    Kind::Date,
    Kind::Time,
    Kind::DateTime,
    Kind::Year,
    Kind::NewDate,
    Kind::Varchar,
    Kind::Bit,
    Kind::Timestamp2,
    Kind::DateTime2,
    Kind::Time2,
    Kind::BlobCompressed,
    Kind::VarcharCompressed,
    Kind::Vector,
    Kind::Json,
    Kind::NewDecimal,
    Kind::Enum,
    Kind::Set,
    Kind::TinyBlob,
    Kind::MediumBlob,
    Kind::LongBlob,
    Kind::Blob,
    Kind::VarString,
    Kind::String,
    Kind::Geometry,
];

/// All that a column can mean.
pub(super) const MEANINGS: [Meaning; 7] = [
    Meaning::Plain,
    Meaning::Json,
    Meaning::Uuid,
    Meaning::Inet4,
    Meaning::Inet6,
    Meaning::Vector,
    Meaning::Hidden,
];

/// No text of a value is longer than this many times its bytes, beside [`TEXT_FREE`]: a number of 3 bytes
/// takes 8 characters, a control character in JSON takes 6.
const TEXT_MAX: usize = 8;
/// BINARY(1023), the longest that a log can name, is filled up with zeros and shown as digits.
const TEXT_FREE: usize = 2 * 1023 + 64;
/// DEFLATE's best, and each byte shown as two digits.
const TEXT_COMPRESSED_MAX: usize = 2 * RATIO_MAX;

/// One value of any type: it is read or refused, twice alike, and its text is bounded.
///
/// `input` is a type, its metadata (u16), a meaning, a sign (0 to 2), a collation (u16) and the value.
pub fn check_value(input: &[u8]) {
    let Some(([kind, low, high, meaning, sign, c0, c1], bytes)) = input.split_first_chunk::<7>()
    else {
        return;
    };
    let pick = |index: &u8, count: usize| usize::from(*index) % count;
    let kind = KINDS.get(pick(kind, KINDS.len())).copied().unwrap_or_default();
    let meta_max = if kind == Kind::String { 1023 } else { u16::MAX };
    let column = Column {
        name: "c".to_owned(),
        kind,
        meta: u16::from_le_bytes([*low, *high]).min(meta_max),
        nullable: true,
        unsigned: [None, Some(false), Some(true)].get(pick(sign, 3)).copied().flatten(),
        collation: Some(u16::from_le_bytes([*c0, *c1])).filter(|id| *id != 0),
        labels: ["a", "b", "\0e9", "\0"].map(str::to_owned).to_vec(),
        meaning: MEANINGS.get(pick(meaning, MEANINGS.len())).copied().unwrap_or_default(),
        visible: true,
    };
    show(&column, bytes);
}

/// Reads a value and writes its text, which is bounded.
pub fn show(column: &Column, bytes: &[u8]) {
    let Ok(value) = decode(column, bytes) else { return };
    let mut text = Vec::new();
    let shown = render_text(&value, &mut text);
    let per_byte = match column.kind {
        Kind::BlobCompressed | Kind::VarcharCompressed => TEXT_COMPRESSED_MAX,
        _ => TEXT_MAX,
    };
    let labels: usize = column.labels.iter().map(|label| label.len() + 1).sum();
    let text_max = per_byte * bytes.len() + TEXT_FREE + labels;
    assert!(text.len() <= text_max, "{:?}: {} bytes gave {}", column.kind, bytes.len(), text.len());
    let mut again = Vec::new();
    assert_eq!(render_text(&value, &mut again), shown);
    assert!(again == text, "the same again");
}

/// MySQL's binary JSON: text of a bounded length, and JSON, or an error.
pub fn check_json(input: &[u8]) {
    let mut text = Vec::new();
    let shown = Json::Binary(input).render(&mut text);
    assert!(text.len() <= TEXT_MAX * input.len() + TEXT_FREE + 6 * input.len());
    expect_json(&text, shown.is_ok());
}

/// What was shown to its end is JSON, and all else is text at least.
fn expect_json(text: &[u8], whole: bool) {
    let text = std::str::from_utf8(text).expect("text is UTF-8");
    if whole {
        let read: Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
        assert!(read.is_ok(), "no JSON: {text}");
    }
}

/// Differences of JSON: what they make of a document, and how they are described, is JSON of a bounded
/// length, or an error, twice alike; and no differences leave the document as it is.
///
/// `input` is the length of a document (u16), that document, and the differences.
pub fn check_json_diff(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let Some((before, diffs)) = rest.split_at_checked(length) else { return };
    // A path has every byte of its own once, and the text around it beside 4 bytes of a difference.
    let text_max = 2 * (TEXT_MAX + 6) * input.len() + TEXT_FREE;
    let (mut whole, mut text) = (Vec::new(), Vec::new());
    let shown = Json::Binary(before).render(&mut whole);
    let applied = json_diff::apply(before, diffs, &mut text);
    if diffs.is_empty() {
        assert_eq!((&text, applied.is_ok()), (&whole, shown.is_ok()), "nothing changes");
    }
    assert!(text.len() <= text_max, "{} bytes gave {}", input.len(), text.len());
    expect_json(&text, applied.is_ok());
    let mut again = Vec::new();
    assert_eq!(json_diff::apply(before, diffs, &mut again), applied);
    assert_eq!(again, text, "the same again");
    text.clear();
    let described = json_diff::describe(diffs, &mut text);
    assert!(text.len() <= text_max, "{} bytes took {} to describe", diffs.len(), text.len());
    expect_json(&text, described.is_ok());
}

/// Text of any collation: it is read without loss or given back as it was, and what is ASCII in sets that
/// hold ASCII stays itself.
///
/// `input` is a collation (u16) and the text.
pub fn check_charset(input: &[u8]) {
    let Some((id, bytes)) = input.split_first_chunk() else { return };
    let Some(charset) = Charset::of_collation(u16::from_le_bytes(*id)) else { return };
    match charset.decode(bytes.into()) {
        Ok(text) => {
            assert!(text.len() <= 4 * bytes.len(), "a byte is one character at most");
            let shifts = matches!(charset, Charset::Swe7 | Charset::Ucs2 | Charset::Utf16)
                || matches!(charset, Charset::Utf16le | Charset::Utf32);
            if bytes.is_ascii() && !shifts {
                assert_eq!(text.as_bytes(), bytes);
            }
        }
        Err(back) => assert_eq!(back, bytes, "the bytes themselves"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_bytes_are_other_characters_in_the_wide_sets() {
        for id in [35_u8, 54, 56, 60, 128] {
            let text = [&[id, 0][..], b"repl"].concat();
            check_charset(&text);
        }
        assert_eq!(Charset::Ucs2.decode(b"repl"[..].into()).unwrap(), "\u{7265}\u{706c}");
    }
}
