//! Values as text: what `SELECT` prints with `time_zone='+00:00'`.

use std::fmt::Write as _;

use super::{
    Date, DateTime, Time, Value, ValueError, network, push_double, push_float, set_members,
    vector_floats,
};

/// Appends a value's text.
///
/// Numbers of unknown sign are written as the signed one, bytes as `0x…`, vectors as `[1,2.5]`, ENUM and
/// SET with a member whose name is not known as their number.
///
/// # Errors
/// When a JSON value is damaged. `out` may then hold a part.
pub fn render_text(value: &Value<'_>, out: &mut String) -> Result<(), ValueError> {
    match value {
        Value::Int(number) | Value::SignUnknown { signed: number, .. } => push(out, number),
        Value::UInt(number) | Value::Bit { value: number, .. } => push(out, number),
        Value::Float(number) => push_float(*number, false, out),
        Value::Double(number) => push_double(*number, false, out),
        Value::Decimal(decimal) => decimal.push_text(out),
        Value::Year(year) => push(out, format_args!("{year:04}")),
        Value::Date(date) => push_date(*date, out),
        Value::Time(time) => push_time(time, out),
        Value::DateTime(moment) => push_datetime(moment, out),
        Value::Timestamp { seconds, micros, digits } => {
            push_datetime(&timestamp(*seconds, *micros, *digits), out);
        }
        Value::Text(text) => out.push_str(text),
        Value::Bytes(bytes, _) => push_hex(bytes, out),
        Value::Geometry { srid, wkb } => {
            push_hex(&srid.to_le_bytes(), out);
            wkb.iter().for_each(|byte| push(out, format_args!("{byte:02X}")));
        }
        Value::Enum { label: Some(label), .. } => out.push_str(label),
        Value::Enum { index, label: None } => push(out, index),
        Value::Set { bits, labels, collation } => match set_members(*bits, labels, *collation) {
            Some(members) => out.push_str(&members.join(",")),
            None => push(out, bits),
        },
        Value::Json(json) => json.render(out)?,
        Value::Vector(bytes) => push_vector(bytes, out),
        Value::Uuid(bytes) => network::push_uuid(*bytes, out),
        Value::Inet4(bytes) => push(out, std::net::Ipv4Addr::from(*bytes)),
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

pub(super) fn push_date(date: Date, out: &mut String) {
    push(out, format_args!("{:04}-{:02}-{:02}", date.year, date.month, date.day));
}

pub(super) fn push_datetime(moment: &DateTime, out: &mut String) {
    push_date(moment.date, out);
    let DateTime { hour, minute, second, .. } = moment;
    push(out, format_args!(" {hour:02}:{minute:02}:{second:02}"));
    push_fraction(moment.micros, moment.digits, out);
}

pub(super) fn push_time(time: &Time, out: &mut String) {
    let Time { hours, minutes, seconds, .. } = time;
    if time.negative {
        out.push('-');
    }
    push(out, format_args!("{hours:02}:{minutes:02}:{seconds:02}"));
    push_fraction(time.micros, time.digits, out);
}

/// `.` and as many digits as the column has.
pub(super) fn push_fraction(micros: u32, digits: u8, out: &mut String) {
    if digits > 0 {
        let shown = micros / 10_u32.pow(6 - u32::from(digits.min(6)));
        push(out, format_args!(".{shown:0width$}", width = usize::from(digits)));
    }
}

fn push_vector(bytes: &[u8], out: &mut String) {
    out.push('[');
    for (index, number) in vector_floats(bytes).enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_float(number, false, out);
    }
    out.push(']');
}

fn push_hex(bytes: &[u8], out: &mut String) {
    out.push_str("0x");
    bytes.iter().for_each(|byte| push(out, format_args!("{byte:02X}")));
}

/// Appends base64 with padding and without line breaks.
pub fn push_base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut whole = [0; 3];
        whole.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        let [a, b, c] = whole.map(usize::from);
        let places = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        for (index, place) in places.into_iter().enumerate() {
            out.push(if index <= chunk.len() {
                char::from(ALPHABET.get(place).copied().unwrap_or_default())
            } else {
                '='
            });
        }
    }
}

fn push(out: &mut String, text: impl std::fmt::Display) {
    write!(out, "{text}").expect("a String takes all");
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
            let mut out = String::new();
            push_datetime(&timestamp(seconds, 0, 0), &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn base64_pads() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = String::new();
            push_base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn a_set_names_its_members() {
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        for (bits, text) in [(0, ""), (1, "a"), (5, "a,c"), (9, "9")] {
            let mut out = String::new();
            render_text(&Value::Set { bits, labels: &labels, collation: None }, &mut out).unwrap();
            assert_eq!(out, text);
        }
    }
}
