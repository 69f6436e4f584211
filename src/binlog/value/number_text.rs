//! FLOAT and DOUBLE as text: the shortest digits that read back the same, laid out as the servers do.
//!
//! The servers' `my_gcvt` (`strings/dtoa.c(c)`) prints a DOUBLE in full from 1e-15 up to 1e15 and with an
//! exponent outside of that. A FLOAT it rounds to 6 digits, which loses bits; here it keeps all.

use super::digits::push_signed;

/// Appends a DOUBLE: `0.1`, `100`, `1e15`, `-2.5e-20`; `100.0` instead of `100` with `point`.
/// What is not a number is `NaN`, `inf` or `-inf`.
pub fn push_double(number: f64, point: bool, out: &mut Vec<u8>) {
    if number.is_finite() {
        let plain = PLAIN.contains(&number.abs());
        push(zmij::Buffer::new().format_finite(number), plain, point, out);
    } else {
        push_odd(number.is_nan(), number < 0.0, out);
    }
}

/// What is written in full by the servers and by zmij alike, but for zmij's `.0` behind whole numbers.
const PLAIN: std::ops::Range<f64> = 1e-4..1e15;
/// The same for a FLOAT, of which zmij writes fewer in full.
const PLAIN_FLOAT: std::ops::Range<f32> = 1e-4..1e7;

/// Appends a FLOAT in the same layout.
pub fn push_float(number: f32, point: bool, out: &mut Vec<u8>) {
    if number.is_finite() {
        let plain = PLAIN_FLOAT.contains(&number.abs());
        push(zmij::Buffer::new().format_finite(number), plain, point, out);
    } else {
        push_odd(number.is_nan(), number < 0.0, out);
    }
}

#[cold]
fn push_odd(nan: bool, negative: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(match (nan, negative) {
        (true, _) => b"NaN",
        (false, true) => b"-inf",
        (false, false) => b"inf",
    });
}

/// The layout of `my_gcvt`: the point is moved by up to this many digits.
const DIGITS_BEFORE_POINT_MAX: i32 = 15;

/// `text` has the shortest digits; in any layout, unless it is already `plain`.
#[inline]
fn push(text: &str, plain: bool, point: bool, out: &mut Vec<u8>) {
    if plain {
        let shown = if point { text } else { text.strip_suffix(".0").unwrap_or(text) };
        out.extend_from_slice(shown.as_bytes());
    } else {
        lay_out(text, point, out);
    }
}

/// `text` may be `-1.5`, `0.00015`, `1.5e-7`, `100.0`.
fn lay_out(text: &str, point: bool, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS_MAX];
    let Shortest { negative, count, before } = read(text.as_bytes(), &mut digits);
    let digits = digits.get(..count).unwrap_or_default();
    if negative {
        out.push(b'-');
    }
    let whole = usize::try_from(before).unwrap_or(0);
    let is_whole = count <= whole;
    if before <= -DIGITS_BEFORE_POINT_MAX || (before > DIGITS_BEFORE_POINT_MAX && is_whole) {
        let (first, rest) = digits.split_at(1.min(count));
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.push(b'e');
        push_signed((before - 1).into(), out);
    } else if before <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + before.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else if is_whole {
        out.extend_from_slice(digits);
        out.resize(out.len() + whole - count, b'0');
        if point {
            out.extend_from_slice(b".0");
        }
    } else {
        let (whole, fraction) = digits.split_at(whole);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// More than any shortest number has.
const DIGITS_MAX: usize = 24;

/// A number of so many digits, with the point behind so many of them.
struct Shortest {
    negative: bool,
    /// Without zeros at either end; zero itself has one digit.
    count: usize,
    /// Digits before the point; below zero for zeros between the point and the first digit.
    before: i32,
}

/// Reads a number's text; its digits go into `digits`.
fn read(text: &[u8], digits: &mut [u8; DIGITS_MAX]) -> Shortest {
    let (negative, text) = match text.split_first() {
        Some((b'-', text)) => (true, text),
        _ => (false, text),
    };
    let (mut count, mut before, mut seen_point) = (0, 0, false);
    let mut bytes = text.iter();
    for byte in bytes.by_ref() {
        match byte {
            b'.' => seen_point = true,
            b'e' => break,
            // Not a digit of the number, but it moves the point.
            b'0' if count == 0 => before -= i32::from(seen_point),
            digit => {
                if let Some(place) = digits.get_mut(count) {
                    *place = *digit;
                    count += 1;
                }
                before += i32::from(!seen_point);
            }
        }
    }
    before += exponent(bytes.as_slice());
    while count > 0 && digits.get(count - 1) == Some(&b'0') {
        count -= 1;
    }
    if count == 0 {
        return Shortest { negative, count: 1, before: 1 };
    }
    Shortest { negative, count, before }
}

fn exponent(text: &[u8]) -> i32 {
    let (sign, digits) = match text.split_first() {
        Some((b'-', digits)) => (-1, digits),
        Some((b'+', digits)) => (1, digits),
        _ => (1, text),
    };
    sign * digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(number: f64, point: bool) -> String {
        let mut out = Vec::new();
        push_double(number, point, &mut out);
        String::from_utf8(out).unwrap()
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
    fn what_is_plain_already_is_laid_out_the_same() {
        let mut random = fastrand::Rng::with_seed(3);
        for round in 0..20_000 {
            let mut number = 10_f64.powi(random.i32(-5..17)) * (random.f64() - 0.5);
            if round % 3 == 0 {
                number = number.round();
            }
            let single = number as f32;
            for point in [true, false] {
                let (mut out, mut laid_out) = (Vec::new(), Vec::new());
                push_double(number, point, &mut out);
                lay_out(zmij::Buffer::new().format_finite(number), point, &mut laid_out);
                assert_eq!(out, laid_out, "{number:e}");
                let text = String::from_utf8(out).unwrap();
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits());
                let (mut out, mut laid_out) = (Vec::new(), Vec::new());
                push_float(single, point, &mut out);
                lay_out(zmij::Buffer::new().format_finite(single), point, &mut laid_out);
                assert_eq!(out, laid_out, "{single:e}");
            }
        }
    }

    #[test]
    fn a_float_keeps_all_its_bits() {
        for bits in [1_u32, 0x3DCC_CCCD, 0x4B80_0000, 0x7F7F_FFFF, 0x47F1_2066, 0x0080_0001] {
            let mut out = Vec::new();
            push_float(f32::from_bits(bits), false, &mut out);
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.parse::<f32>().unwrap().to_bits(), bits, "{out}");
        }
    }
}
