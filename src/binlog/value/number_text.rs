//! FLOAT and DOUBLE as text: the shortest digits that read back the same, laid out as the servers do.
//!
//! The servers' `my_gcvt` (`strings/dtoa.c(c)`) prints a DOUBLE in full from 1e-15 up to 1e15 and with an
//! exponent outside of that. A FLOAT it rounds to 6 digits, which loses bits; here it keeps all.

use std::fmt::Write as _;

/// Appends a DOUBLE: `0.1`, `100`, `1e15`, `-2.5e-20`; `100.0` instead of `100` with `point`.
pub fn push_double(number: f64, point: bool, out: &mut String) {
    push(format_args!("{number:e}"), point, out);
}

/// Appends a FLOAT in the same layout.
pub fn push_float(number: f32, point: bool, out: &mut String) {
    push(format_args!("{number:e}"), point, out);
}

/// The layout of `my_gcvt`: the point is moved by up to this many digits.
const DIGITS_BEFORE_POINT_MAX: i32 = 15;

/// `text` is Rust's shortest form with an exponent: `-1.5e-7`.
fn push(text: std::fmt::Arguments<'_>, point: bool, out: &mut String) {
    let mut short = Short::default();
    write!(short, "{text}").expect("the longest number has 24 characters");
    let text = short.as_str();
    let (text, sign) = match text.strip_prefix('-') {
        Some(text) => (text, "-"),
        None => (text, ""),
    };
    out.push_str(sign);
    let Some((mantissa, exponent)) = text.split_once('e') else {
        // Not a number, or infinite: the servers store neither.
        out.push_str(text);
        return;
    };
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().expect("Rust writes an exponent as a number");
    let before = exponent + 1;
    let count = i32::try_from(1 + rest.len()).expect("at most 17 digits");
    if before <= -DIGITS_BEFORE_POINT_MAX || (before > DIGITS_BEFORE_POINT_MAX && count <= before) {
        out.push_str(mantissa);
        write!(out, "e{exponent}").expect("a String takes all");
        return;
    }
    if before <= 0 {
        out.push_str("0.");
        out.extend((before..0).map(|_| '0'));
        out.push_str(first);
        out.push_str(rest);
        return;
    }
    for (index, digit) in (0..).zip(first.chars().chain(rest.chars())) {
        if index == before {
            out.push('.');
        }
        out.push(digit);
    }
    out.extend((count..before).map(|_| '0'));
    if point && count <= before {
        out.push_str(".0");
    }
}

/// A short text without an allocation.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    length: usize,
}

impl Short {
    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl std::fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let free = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(number: f64, point: bool) -> String {
        let mut out = String::new();
        push_double(number, point, &mut out);
        out
    }

    #[test]
    fn doubles_read_as_mysql_prints_them() {
        for (number, text) in [
            (1e-10, "0.0000000001"),
            (1e-15, "0.000000000000001"),
            (1.5e-16, "1.5e-16"),
            (1e15, "1e15"),
            (1.5e15, "1.5e15"),
            (1e14, "100000000000000"),
            (123_456_789.125, "123456789.125"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (1_234_567_890_123_456.8, "1234567890123456.8"),
        ] {
            assert_eq!(double(number, false), text);
        }
        assert_eq!(double(1.0, true), "1.0");
        assert_eq!(double(1e14, true), "100000000000000.0");
        assert_eq!(double(0.5, true), "0.5");
        assert_eq!(double(-0.0, true), "-0.0");
    }

    #[test]
    fn a_float_keeps_all_its_bits() {
        for bits in [1_u32, 0x3DCC_CCCD, 0x4B80_0000, 0x7F7F_FFFF, 0x47F1_2066, 0x0080_0001] {
            let mut out = String::new();
            push_float(f32::from_bits(bits), false, &mut out);
            assert_eq!(out.parse::<f32>().unwrap().to_bits(), bits, "{out}");
        }
    }
}
