//! Values as text: what `SELECT` prints with `time_zone='+00:00'`.

use super::digits::{four_digits, push_hex, push_signed, push_unsigned, two_digits};
use super::{
    Date, DateTime, Time, Value, ValueError, network, push_double, push_float, push_members,
    vector_floats,
};

/// Appends a value's text, in UTF-8.
///
/// Numbers of unknown sign are written as the signed one, bytes as `0x…`, vectors as `[1,2.5]`, ENUM and
/// SET with a member whose name is not known as their number. A FLOAT has all digits that it needs to read
/// back the same, where MySQL's SELECT rounds it to 6.
///
/// # Errors
/// When a JSON value is damaged. `out` may then hold a part.
pub fn render_text(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match value {
        Value::Int(number) | Value::SignUnknown { signed: number, .. } => push_signed(*number, out),
        Value::UInt(number) | Value::Bit { value: number, .. } => push_unsigned(*number, out),
        Value::Float(number) => push_float(*number, false, out),
        Value::Double(number) => push_double(*number, false, out),
        Value::Decimal(decimal) => decimal.push_text(out),
        Value::Year(year) => out.extend_from_slice(&four_digits(*year)),
        Value::Date(date) => push_date(*date, out),
        Value::Time(time) => push_time(time, out),
        Value::DateTime(moment) => push_datetime(moment, out),
        Value::Timestamp { seconds, micros, digits } => {
            push_datetime(&timestamp(*seconds, *micros, *digits), out);
        }
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Bytes(bytes, _) => {
            out.extend_from_slice(b"0x");
            push_hex(bytes, out);
        }
        Value::Padded { bytes, zeros } => {
            out.extend_from_slice(b"0x");
            push_hex(bytes, out);
            out.resize(out.len() + 2 * usize::from(*zeros), b'0');
        }
        Value::Geometry { srid, wkb } => {
            out.extend_from_slice(b"0x");
            if let Some(srid) = srid {
                push_hex(&srid.to_le_bytes(), out);
            }
            push_hex(wkb, out);
        }
        Value::Enum { label: Some(label), .. } => out.extend_from_slice(label.as_bytes()),
        Value::Enum { index, label: None } => push_unsigned((*index).into(), out),
        Value::Set { bits, labels, collation } => {
            if !push_members(*bits, labels, *collation, out) {
                push_unsigned(*bits, out);
            }
        }
        Value::Json(json) => json.render(out)?,
        Value::Vector(bytes) => push_vector(bytes, out),
        Value::Uuid(bytes) => network::push_uuid(*bytes, out),
        Value::Inet4(bytes) => network::push_inet4(*bytes, out),
        Value::Inet6(bytes) => network::push_inet6(*bytes, out),
    }
    Ok(())
}

/// A timestamp as a wall clock in UTC; the zero timestamp is the zero date.
pub fn timestamp(seconds: u32, micros: u32, digits: u8) -> DateTime {
    if seconds == 0 && micros == 0 {
        let date = Date { year: 0, month: 0, day: 0 };
        return DateTime { date, hour: 0, minute: 0, second: 0, micros: 0, digits };
    }
    let small = |value: u32| value.to_le_bytes()[0];
    DateTime {
        date: day(seconds / 86_400),
        hour: small(seconds / 3600 % 24),
        minute: small(seconds / 60 % 60),
        second: small(seconds % 60),
        micros,
        digits,
    }
}

/// The Gregorian date of a day after 1970-01-01.
fn day(days: u32) -> Date {
    // Years begin in March here, so that the leap day is the last one; eras are 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year + era * 400 + u32::from(month <= 2);
    let [month, day] = [month, day].map(|part| part.to_le_bytes()[0]);
    Date { year: u16::try_from(year).expect("a u32 of seconds ends in 2106"), month, day }
}

#[inline(always)]
fn date_text(date: Date) -> [u8; 10] {
    let [a, b, c, d] = four_digits(date.year);
    let ([e, f], [g, h]) = (two_digits(date.month), two_digits(date.day));
    [a, b, c, d, b'-', e, f, b'-', g, h]
}

/// `:mm:ss.ffffff`; callers cut it to the digits that there are.
#[inline(always)]
fn clock_text(minute: u8, second: u8, micros: u32) -> [u8; 13] {
    let ([a, b], [c, d]) = (two_digits(minute), two_digits(second));
    let [e, f] = two_digits((micros / 10_000 % 100) as u8);
    let [g, h, i, j] = four_digits((micros % 10_000) as u16);
    [b':', a, b, b':', c, d, b'.', e, f, g, h, i, j]
}

/// How much of a clock's text is not there with so many digits.
fn cut(digits: u8) -> usize {
    match digits {
        0 => 7,
        _ => 6_usize.saturating_sub(digits.into()),
    }
}

pub(super) fn push_date(date: Date, out: &mut Vec<u8>) {
    out.extend_from_slice(&date_text(date));
}

pub(super) fn push_datetime(moment: &DateTime, out: &mut Vec<u8>) {
    push_moment(moment, b' ', out);
}

/// Appends date, a separator, and time of day.
pub fn push_moment(moment: &DateTime, separator: u8, out: &mut Vec<u8>) {
    let [a, b, c, d, e, f, g, h, i, j] = date_text(moment.date);
    let [k, l] = two_digits(moment.hour);
    let [m, n, o, p, q, r, s, t, u, v, w, x, y] =
        clock_text(moment.minute, moment.second, moment.micros);
    let text =
        [a, b, c, d, e, f, g, h, i, j, separator, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y];
    out.extend_from_slice(text.get(..text.len() - cut(moment.digits)).unwrap_or_default());
}

pub(super) fn push_time(time: &Time, out: &mut Vec<u8>) {
    if time.negative {
        out.push(b'-');
    }
    let hundreds = (time.hours / 100) as u8;
    if hundreds > 0 {
        push_unsigned(hundreds.into(), out);
    }
    out.extend_from_slice(&two_digits((time.hours % 100) as u8));
    let text = clock_text(time.minutes, time.seconds, time.micros);
    out.extend_from_slice(text.get(..text.len() - cut(time.digits)).unwrap_or_default());
}

fn push_vector(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, number) in vector_floats(bytes).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_float(number, false, out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_days_of_the_calendar() {
        for (seconds, text) in [
            (0, "0000-00-00 00:00:00"),
            (1, "1970-01-01 00:00:01"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_078_012_800, "2004-02-29 00:00:00"),
            (2_147_483_647, "2038-01-19 03:14:07"),
            (u32::MAX, "2106-02-07 06:28:15"),
        ] {
            let mut out = Vec::new();
            push_datetime(&timestamp(seconds, 0, 0), &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn a_set_names_its_members() {
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        for (bits, text) in [(0, ""), (1, "a"), (5, "a,c"), (9, "9")] {
            let mut out = Vec::new();
            render_text(&Value::Set { bits, labels: &labels, collation: None }, &mut out).unwrap();
            assert_eq!(out, text.as_bytes());
        }
    }
}
