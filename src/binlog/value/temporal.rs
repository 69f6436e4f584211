//! Dates and times, in the formats of `sql-common/my_time.cc` (MySQL 5.6 and later, MariaDB 10 and later)
//! and in the older ones.
//!
//! | type in the log | bytes |
//! |---|---|
//! | DATE | 3, little-endian: day 5 bits, month 4, year 15 |
//! | TIME2 | 3 big-endian plus fraction, biased: sign, hours 10 bits, minutes 6, seconds 6 |
//! | DATETIME2 | 5 big-endian plus fraction, biased: year × 13 + month, day 5, hour 5, minute 6, second 6 |
//! | TIMESTAMP2 | 4 big-endian seconds plus fraction |
//! | old TIME | 3, little-endian: `hhmmss` as a decimal number |
//! | old DATETIME | 8, little-endian: `yyyymmddhhmmss` as a decimal number |
//! | old TIMESTAMP | 4, little-endian seconds |
//!
//! A fraction of 1 or 2 digits takes one byte (hundredths), of 3 or 4 two, of 5 or 6 three.

use super::{Date, DateTime, Time, Value, big_endian, little_endian};
use crate::binlog::table::Kind;

/// Reads one value of a temporal type.
pub(super) fn decode<'a>(kind: Kind, meta: u16, bytes: &[u8]) -> Result<Value<'a>, &'static str> {
    let digits = u8::try_from(meta).ok().filter(|digits| *digits <= 6);
    match kind {
        Kind::Date | Kind::NewDate => date(bytes).ok_or("DATE: not 3 bytes"),
        Kind::Time2 => time2(digits.ok_or(BAD_DIGITS)?, bytes),
        Kind::DateTime2 => datetime2(digits.ok_or(BAD_DIGITS)?, bytes),
        Kind::Timestamp2 => timestamp2(digits.ok_or(BAD_DIGITS)?, bytes),
        Kind::Time => old_time(bytes).ok_or("TIME, old format: not 3 bytes"),
        Kind::DateTime => old_datetime(bytes)
            .ok_or("DATETIME, old format: no such number (with a fraction it cannot be read)"),
        _ => old_timestamp(bytes).ok_or("TIMESTAMP, old format: not 4 bytes"),
    }
}

/// A DATETIME, DATE or TIMESTAMP inside of JSON: `TIME_to_longlong_datetime_packed`.
pub(super) fn packed_datetime(packed: i64) -> Option<DateTime> {
    let packed = u64::try_from(packed).ok()?;
    Some(unpack_datetime(packed >> 24, micros(packed & 0xFF_FFFF, 6)?, 6))
}

/// A TIME inside of JSON: `TIME_to_longlong_time_packed`.
pub(super) fn packed_time(packed: i64) -> Option<Time> {
    let size = packed.unsigned_abs();
    Some(unpack_time(packed < 0, size >> 24, micros(size & 0xFF_FFFF, 6)?, 6))
}

fn date<'a>(bytes: &[u8]) -> Option<Value<'a>> {
    let raw = (bytes.len() == 3).then(|| little_endian(bytes))?;
    Some(Value::Date(Date { year: low16(raw >> 9), month: low(raw >> 5, 4), day: low(raw, 5) }))
}

fn time2<'a>(digits: u8, bytes: &[u8]) -> Result<Value<'a>, &'static str> {
    let fraction = fraction_bytes(digits);
    if bytes.len() != 3 + fraction {
        return Err("TIME: the length does not fit its fraction");
    }
    // The whole, fraction included, is one number around a bias; below zero both parts count down.
    let bias = 0x80_i64 << (8 * (2 + fraction));
    let packed = big_endian(bytes).cast_signed() - bias;
    let size = packed.unsigned_abs();
    let micros = micros(size & mask(8 * fraction), digits).ok_or(BAD_FRACTION)?;
    Ok(Value::Time(unpack_time(packed < 0, size >> (8 * fraction), micros, digits)))
}

fn datetime2<'a>(digits: u8, bytes: &[u8]) -> Result<Value<'a>, &'static str> {
    let fraction = fraction_bytes(digits);
    if bytes.len() != 5 + fraction {
        return Err("DATETIME: the length does not fit its fraction");
    }
    let raw = big_endian(bytes);
    let micros = micros(raw & mask(8 * fraction), digits).ok_or(BAD_FRACTION)?;
    match (raw >> (8 * fraction)).checked_sub(0x80_0000_0000) {
        Some(packed) => Ok(Value::DateTime(unpack_datetime(packed, micros, digits))),
        None => Err("DATETIME: below zero"),
    }
}

fn timestamp2<'a>(digits: u8, bytes: &[u8]) -> Result<Value<'a>, &'static str> {
    let fraction = fraction_bytes(digits);
    match bytes.split_first_chunk::<4>() {
        Some((seconds, rest)) if rest.len() == fraction => Ok(Value::Timestamp {
            seconds: u32::from_be_bytes(*seconds),
            micros: micros(big_endian(rest), digits).ok_or(BAD_FRACTION)?,
            digits,
        }),
        _ => Err("TIMESTAMP: the length does not fit its fraction"),
    }
}

fn old_time<'a>(bytes: &[u8]) -> Option<Value<'a>> {
    let raw = (bytes.len() == 3).then(|| little_endian(bytes))?;
    let signed = (raw << 40).cast_signed() >> 40;
    let size = signed.unsigned_abs();
    Some(Value::Time(Time {
        negative: signed < 0,
        hours: u32::try_from(size / 10_000).ok()?,
        minutes: two_digits(size / 100),
        seconds: two_digits(size),
        micros: 0,
        digits: 0,
    }))
}

fn old_datetime<'a>(bytes: &[u8]) -> Option<Value<'a>> {
    let raw = (bytes.len() == 8).then(|| little_endian(bytes))?;
    let (days, clock) = (raw / 1_000_000, raw % 1_000_000);
    let year = u16::try_from(days / 10_000).ok().filter(|year| *year <= 9999)?;
    Some(Value::DateTime(DateTime {
        date: Date { year, month: two_digits(days / 100), day: two_digits(days) },
        hour: two_digits(clock / 10_000),
        minute: two_digits(clock / 100),
        second: two_digits(clock),
        micros: 0,
        digits: 0,
    }))
}

fn old_timestamp<'a>(bytes: &[u8]) -> Option<Value<'a>> {
    let seconds = u32::from_le_bytes(bytes.try_into().ok()?);
    Some(Value::Timestamp { seconds, micros: 0, digits: 0 })
}

fn unpack_datetime(packed: u64, micros: u32, digits: u8) -> DateTime {
    let months = packed >> 22;
    DateTime {
        date: Date {
            year: low16(months / 13),
            month: low(months % 13, 4),
            day: low(packed >> 17, 5),
        },
        hour: low(packed >> 12, 5),
        minute: low(packed >> 6, 6),
        second: low(packed, 6),
        micros,
        digits,
    }
}

fn unpack_time(negative: bool, packed: u64, micros: u32, digits: u8) -> Time {
    let hours = u32::from(low16(packed >> 12 & 0x3FF));
    Time { negative, hours, minutes: low(packed >> 6, 6), seconds: low(packed, 6), micros, digits }
}

fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits.div_ceil(2))
}

/// A stored fraction in microseconds; `None` if it is a second or more.
fn micros(stored: u64, digits: u8) -> Option<u32> {
    let unit = [1_000_000, 10_000, 100, 1].get(fraction_bytes(digits)).copied()?;
    let micros = u32::try_from(stored).ok()?.checked_mul(unit)?;
    (micros < 1_000_000).then_some(micros)
}

fn mask(bits: usize) -> u64 {
    (1 << bits) - 1
}

/// The lowest `bits` bits, at most 8.
fn low(value: u64, bits: u32) -> u8 {
    value.to_le_bytes()[0] & (0xFF >> (8 - bits))
}

fn low16(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn two_digits(value: u64) -> u8 {
    (value % 100).to_le_bytes()[0]
}

const BAD_DIGITS: &str = "a fraction of more than 6 digits";
const BAD_FRACTION: &str = "a fraction of a second or more";

#[cfg(test)]
mod tests {
    use super::super::render_text;
    use super::*;

    fn text(kind: Kind, meta: u16, bytes: &[u8]) -> String {
        let mut out = String::new();
        render_text(&decode(kind, meta, bytes).unwrap(), &mut out).unwrap();
        out
    }

    #[test]
    fn negative_times_count_their_fraction_down() {
        // The table in `my_time_packed_from_binary`'s comment (MySQL, my_time.cc).
        assert_eq!(text(Kind::Time2, 2, &[0x7F, 0xFF, 0xFF, 0xFF]), "-00:00:00.01");
        assert_eq!(text(Kind::Time2, 2, &[0x7F, 0xFF, 0xFF, 0x9D]), "-00:00:00.99");
        assert_eq!(text(Kind::Time2, 2, &[0x7F, 0xFF, 0xFF, 0x00]), "-00:00:01.00");
        assert_eq!(text(Kind::Time2, 2, &[0x7F, 0xFF, 0xFE, 0xF6]), "-00:00:01.10");
        assert_eq!(text(Kind::Time2, 2, &[0x80, 0x00, 0x00, 0x0A]), "00:00:00.10");
        assert_eq!(text(Kind::Time2, 0, &[0xB4, 0x6E, 0xFB]), "838:59:59");
        assert_eq!(text(Kind::Time2, 0, &[0x4B, 0x91, 0x05]), "-838:59:59");
    }

    #[test]
    fn zero_and_partial_dates_stay_as_they_are() {
        assert_eq!(text(Kind::Date, 0, &[0, 0, 0]), "0000-00-00");
        assert_eq!(text(Kind::Date, 0, &[0x00, 0xC8, 0x0F]), "2020-00-00");
        assert_eq!(text(Kind::DateTime2, 3, &[0x80, 0, 0, 0, 0, 0, 0]), "0000-00-00 00:00:00.000");
        assert_eq!(text(Kind::Timestamp2, 0, &[0, 0, 0, 0]), "0000-00-00 00:00:00");
    }

    #[test]
    fn a_datetime_reads_all_parts() {
        let bytes = [0x99, 0xA5, 0x82, 0x30, 0xC5, 0x01, 0xE2, 0x40];
        assert_eq!(text(Kind::DateTime2, 6, &bytes), "2020-02-01 03:03:05.123456");
        assert_eq!(
            text(Kind::DateTime, 0, &20200102030405_u64.to_le_bytes()),
            "2020-01-02 03:04:05"
        );
    }

    #[test]
    fn wrong_lengths_and_fractions_are_refused() {
        assert!(decode(Kind::Time2, 3, &[0x80, 0, 0, 0]).is_err());
        assert!(decode(Kind::Time2, 7, &[0x80, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(decode(Kind::Timestamp2, 6, &[0, 0, 0, 1, 0xFF, 0xFF, 0xFF]).is_err());
        assert!(decode(Kind::DateTime2, 0, &[0, 0, 0, 0, 0]).is_err());
        assert!(decode(Kind::Date, 0, &[0, 0]).is_err());
    }
}
