//! JSON's strings and numbers, appended to bytes without an allocation per value.

use std::io::Write as _;

/// Appends a string with its quotes; only what JSON demands is escaped.
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            other => push(out, format_args!("\\u{other:04x}")),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends whatever prints itself as JSON: numbers, mostly.
pub(super) fn push(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a Vec takes all");
}

/// Appends a whole number. Every change has a dozen, and formatting them costs more than their digits.
pub(super) fn push_unsigned(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        (first, number) = (index, number / 10);
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// Appends a whole number with its sign.
pub(super) fn push_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_unsigned(out, number.unsigned_abs());
}

/// Of `u64::MAX`.
const DIGITS_MAX: usize = 20;

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_as_it_prints() {
        for number in [0, 1, 9, 10, 99, 100, 1_767_225_600_000, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            push_unsigned(&mut out, number);
            push_signed(&mut out, number.cast_signed());
            assert_eq!(out, format!("{number}{}", number.cast_signed()).as_bytes());
        }
    }

    #[test]
    fn every_string_reads_back() {
        let all: String =
            (0..0x300).filter_map(char::from_u32).chain("日😀\u{2028}".chars()).collect();
        let mut out = Vec::new();
        push_string(&all, &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
    }
}
