//! Dates and times, in the formats of `sql-common/my_time.cc` (MySQL 5.6 and later, MariaDB 10 and later)
//! and in the older ones (`sql/field.cc`).
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
//! | old DATE | 4, little-endian: `yyyymmdd` as a decimal number (MySQL before 5.0) |
//! | MariaDB's old TIME(1…6) | 4, 4, 5, 5, 5, 6 big-endian: units of the last digit, plus 839 hours |
//! | MariaDB's old DATETIME(1…6) | 6, 6, 7, 7, 7, 8 big-endian: units of the last digit, as if all months had 32 days and years 13 months |
//! | MariaDB's old TIMESTAMP(1…6) | 4 big-endian seconds, then 1, 1, 2, 2, 3, 3: units of the last digit |
//!
//! A fraction of 1 or 2 digits takes one byte (hundredths), of 3 or 4 two, of 5 or 6 three.
//!
//! A value with a month 13 or a minute 60 is none that a server has stored; it is refused.

use super::{Date, DateTime, Time, Value, big_endian};
use crate::binlog::old_temporal;
use crate::binlog::table::Kind;

type Read<'a> = Result<Value<'a>, &'static str>;

/// Reads one value of a temporal type.
pub(super) fn decode<'a>(kind: Kind, meta: u16, bytes: &[u8]) -> Read<'a> {
    let meta = if old_temporal::is_old(kind) { old_temporal::digits(meta) } else { meta };
    let digits = u8::try_from(meta).ok().filter(|digits| *digits <= 6);
    let digits = digits.ok_or("a fraction of more than 6 digits");
    match kind {
        Kind::Time2 => time2(digits?, bytes),
        Kind::DateTime2 => datetime2(digits?, bytes),
        Kind::Timestamp2 => timestamp2(digits?, bytes),
        Kind::Time if meta > 0 => hires_time(digits?, bytes),
        Kind::DateTime if meta > 0 => hires_datetime(digits?, bytes),
        Kind::Timestamp if meta > 0 => hires_timestamp(digits?, bytes),
        Kind::Time => old_time(bytes),
        Kind::DateTime => old_datetime(bytes),
        Kind::Timestamp => match bytes.try_into() {
            Ok(raw) => Ok(timestamp(u32::from_le_bytes(raw), 0, 0)),
            Err(_) => Err("TIMESTAMP, old format: not 4 bytes"),
        },
        _ => date(bytes),
    }
}

/// A DATETIME, DATE or TIMESTAMP inside of JSON: `TIME_to_longlong_datetime_packed`.
pub(super) fn packed_datetime(packed: i64) -> Result<DateTime, &'static str> {
    let packed = u64::try_from(packed).map_err(|_| "DATETIME: below zero")?;
    unpack_datetime(packed >> 24, micros(packed & 0xFF_FFFF, 6)?, 6)
}

/// A TIME inside of JSON: `TIME_to_longlong_time_packed`.
pub(super) fn packed_time(packed: i64) -> Result<Time, &'static str> {
    let size = packed.unsigned_abs();
    unpack_time(packed < 0, size >> 24, micros(size & 0xFF_FFFF, 6)?, 6)
}

fn date<'a>(bytes: &[u8]) -> Read<'a> {
    let date = match *bytes {
        [a, b, c] => {
            let raw = u32::from_le_bytes([a, b, c, 0]);
            Date { year: (raw >> 9) as u16, month: (raw >> 5 & 15) as u8, day: (raw & 31) as u8 }
        }
        [a, b, c, d] => {
            let raw = u32::from_le_bytes([a, b, c, d]);
            let year = u16::try_from(raw / 10_000).map_err(|_| NO_DATE)?;
            Date { year, month: (raw / 100 % 100) as u8, day: (raw % 100) as u8 }
        }
        _ => return Err("DATE: not 3 bytes"),
    };
    possible_date(date).map(Value::Date)
}

fn time2<'a>(digits: u8, bytes: &[u8]) -> Read<'a> {
    let fraction = fraction_bytes(digits);
    if bytes.len() != 3 + fraction {
        return Err("TIME: the length does not fit its fraction");
    }
    // The whole, fraction included, is one number around a bias; below zero both parts count down.
    let bias = 0x80_i64 << (8 * (2 + fraction));
    let packed = big_endian(bytes).cast_signed() - bias;
    let size = packed.unsigned_abs();
    let micros = micros(size & mask(8 * fraction), digits)?;
    unpack_time(packed < 0, size >> (8 * fraction), micros, digits).map(Value::Time)
}

fn datetime2<'a>(digits: u8, bytes: &[u8]) -> Read<'a> {
    let fraction = fraction_bytes(digits);
    let (whole, rest) = bytes.split_first_chunk::<5>().ok_or(DATETIME_LENGTH)?;
    if rest.len() != fraction {
        return Err(DATETIME_LENGTH);
    }
    let [a, b, c, d, e] = *whole;
    let packed = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]).checked_sub(0x80_0000_0000);
    let micros = micros(big_endian(rest), digits)?;
    unpack_datetime(packed.ok_or("DATETIME: below zero")?, micros, digits).map(Value::DateTime)
}

const DATETIME_LENGTH: &str = "DATETIME: the length does not fit its fraction";

fn timestamp2<'a>(digits: u8, bytes: &[u8]) -> Read<'a> {
    match bytes.split_first_chunk() {
        Some((seconds, rest)) if rest.len() == fraction_bytes(digits) => {
            let micros = micros(big_endian(rest), digits)?;
            Ok(timestamp(u32::from_be_bytes(*seconds), micros, digits))
        }
        _ => Err("TIMESTAMP: the length does not fit its fraction"),
    }
}

fn old_time<'a>(bytes: &[u8]) -> Read<'a> {
    let [a, b, c] = *bytes else { return Err("TIME, old format: not 3 bytes") };
    let signed = i32::from_le_bytes([0, a, b, c]) >> 8;
    let size = signed.unsigned_abs();
    possible_time(Time {
        negative: signed < 0,
        hours: size / 10_000,
        minutes: (size / 100 % 100) as u8,
        seconds: (size % 100) as u8,
        micros: 0,
        digits: 0,
    })
    .map(Value::Time)
}

fn old_datetime<'a>(bytes: &[u8]) -> Read<'a> {
    let raw = bytes.try_into().map_err(|_| "DATETIME, old format: not 8 bytes")?;
    let raw = u64::from_le_bytes(raw);
    let (days, clock) = (raw / 1_000_000, raw % 1_000_000);
    let year = u16::try_from(days / 10_000).map_err(|_| NO_DATE)?;
    let two = |value: u64| (value % 100) as u8;
    possible_datetime(DateTime {
        date: Date { year, month: two(days / 100), day: two(days) },
        hour: two(clock / 10_000),
        minute: two(clock / 100),
        second: two(clock),
        micros: 0,
        digits: 0,
    })
    .map(Value::DateTime)
}

/// `Field_time_hires`: the zero point is the first second beyond what a TIME may be.
fn hires_time<'a>(digits: u8, bytes: &[u8]) -> Read<'a> {
    let wanted = [3, 4, 4, 5, 5, 5, 6].get(usize::from(digits)).copied();
    if wanted != Some(bytes.len()) {
        return Err("TIME, old format: the length does not fit its fraction");
    }
    let unit = unit(digits);
    let zero = 839 * 3_600_000_000_i64 / i64::from(unit);
    let packed = (big_endian(bytes).cast_signed() - zero) * i64::from(unit);
    let size = packed.unsigned_abs();
    let seconds = size / 1_000_000;
    possible_time(Time {
        negative: packed < 0,
        hours: u32::try_from(seconds / 3600).map_err(|_| NO_TIME)?,
        minutes: (seconds / 60 % 60) as u8,
        seconds: (seconds % 60) as u8,
        micros: (size % 1_000_000) as u32,
        digits,
    })
    .map(Value::Time)
}

/// `Field_datetime_hires`.
fn hires_datetime<'a>(digits: u8, bytes: &[u8]) -> Read<'a> {
    let wanted = [5, 6, 6, 7, 7, 7, 8].get(usize::from(digits)).copied();
    if wanted != Some(bytes.len()) {
        return Err("DATETIME, old format: the length does not fit its fraction");
    }
    let units = 1_000_000 / u64::from(unit(digits));
    let packed = big_endian(bytes);
    let (seconds, micros) = (packed / units, (packed % units) as u32 * unit(digits));
    let days = seconds / 86_400;
    let year = u16::try_from(days / 32 / 13).map_err(|_| NO_DATE)?;
    possible_datetime(DateTime {
        date: Date { year, month: (days / 32 % 13) as u8, day: (days % 32) as u8 },
        hour: (seconds / 3600 % 24) as u8,
        minute: (seconds / 60 % 60) as u8,
        second: (seconds % 60) as u8,
        micros,
        digits,
    })
    .map(Value::DateTime)
}

/// `Field_timestamp_hires`.
fn hires_timestamp<'a>(digits: u8, bytes: &[u8]) -> Read<'a> {
    match bytes.split_first_chunk() {
        Some((seconds, rest)) if rest.len() == fraction_bytes(digits) => {
            let micros = big_endian(rest) * u64::from(unit(digits));
            let micros = u32::try_from(micros).ok().filter(|micros| *micros < 1_000_000);
            Ok(timestamp(u32::from_be_bytes(*seconds), micros.ok_or(BAD_FRACTION)?, digits))
        }
        _ => Err("TIMESTAMP, old format: the length does not fit its fraction"),
    }
}

/// Microseconds of a fraction's last digit.
fn unit(digits: u8) -> u32 {
    10_u32.pow(6_u32.saturating_sub(digits.into()))
}

fn timestamp<'a>(seconds: u32, micros: u32, digits: u8) -> Value<'a> {
    Value::Timestamp { seconds, micros, digits }
}

fn unpack_datetime(packed: u64, micros: u32, digits: u8) -> Result<DateTime, &'static str> {
    let months = u32::try_from(packed >> 22).map_err(|_| NO_DATE)?;
    let date = Date {
        year: u16::try_from(months / 13).map_err(|_| NO_DATE)?,
        month: (months % 13) as u8,
        day: (packed >> 17 & 31) as u8,
    };
    possible_datetime(DateTime {
        date,
        hour: (packed >> 12 & 31) as u8,
        minute: (packed >> 6 & 63) as u8,
        second: (packed & 63) as u8,
        micros,
        digits,
    })
}

fn unpack_time(negative: bool, packed: u64, micros: u32, digits: u8) -> Result<Time, &'static str> {
    possible_time(Time {
        negative,
        hours: u32::try_from(packed >> 12).map_err(|_| NO_TIME)?,
        minutes: (packed >> 6 & 63) as u8,
        seconds: (packed & 63) as u8,
        micros,
        digits,
    })
}

/// Zero and partial dates, and days that their month does not have, are what servers may store.
fn possible_date(date: Date) -> Result<Date, &'static str> {
    let fine = date.year <= 9999 && date.month <= 12 && date.day <= 31;
    if fine { Ok(date) } else { Err(NO_DATE) }
}

fn possible_datetime(moment: DateTime) -> Result<DateTime, &'static str> {
    possible_date(moment.date)?;
    let fine = moment.hour <= 23 && moment.minute <= 59 && moment.second <= 59;
    if fine { Ok(moment) } else { Err("DATETIME: no such time of day") }
}

fn possible_time(time: Time) -> Result<Time, &'static str> {
    let fine = time.hours <= 838 && time.minutes <= 59 && time.seconds <= 59;
    if fine { Ok(time) } else { Err(NO_TIME) }
}

const NO_DATE: &str = "DATE: no such day";
const NO_TIME: &str = "TIME: beyond 838:59:59, or a part beyond 59";

fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits.div_ceil(2))
}

/// A stored fraction in microseconds, if it is less than a second.
fn micros(stored: u64, digits: u8) -> Result<u32, &'static str> {
    let unit = match digits {
        0 => return Ok(0),
        1 | 2 => 10_000,
        3 | 4 => 100,
        _ => 1,
    };
    let micros = stored * unit;
    if micros < 1_000_000 { Ok(micros as u32) } else { Err(BAD_FRACTION) }
}

fn mask(bits: usize) -> u64 {
    (1 << bits) - 1
}

const BAD_FRACTION: &str = "a fraction of a second or more";

#[cfg(test)]
mod tests {
    use super::super::render_text;
    use super::*;

    fn text(kind: Kind, meta: u16, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        render_text(&decode(kind, meta, bytes).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
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
    fn times_reach_to_their_ends_in_every_format() {
        assert_eq!(text(Kind::Time, 0, &8_385_959_i32.to_le_bytes()[..3]), "838:59:59");
        assert_eq!(text(Kind::Time, 0, &(-8_385_959_i32).to_le_bytes()[..3]), "-838:59:59");
        // As MariaDB writes them with mysql56_temporal_format=OFF: tenths and microseconds.
        let tenths = |tenths: i64| ((839 * 36_000 + tenths) as u32).to_be_bytes();
        assert_eq!(text(Kind::Time, 1, &tenths(30_203_999)), "838:59:59.9");
        assert_eq!(text(Kind::Time, 1, &tenths(-30_203_999)), "-838:59:59.9");
        assert_eq!(text(Kind::Time, 1, &tenths(-1)), "-00:00:00.1");
        let micros = |micros: i64| (839 * 3_600_000_000 + micros).to_be_bytes();
        assert_eq!(text(Kind::Time, 6, &micros(-1)[2..]), "-00:00:00.000001");
        assert_eq!(text(Kind::Time, 6, &micros(0)[2..]), "00:00:00.000000");
        assert!(decode(Kind::Time, 1, &tenths(30_204_000)).is_err());
    }

    #[test]
    fn mariadbs_old_datetimes_and_timestamps_count_in_their_last_digit() {
        let packed = |parts: [u64; 6], units: u64| {
            let [year, month, day, hour, minute, second] = parts;
            let days = (year * 13 + month) * 32 + day;
            (((days * 24 + hour) * 60 + minute) * 60 + second) * units
        };
        let last = packed([9999, 12, 31, 23, 59, 59], 1_000_000) + 999_999;
        assert_eq!(text(Kind::DateTime, 6, &last.to_be_bytes()), "9999-12-31 23:59:59.999999");
        let partial = packed([2024, 0, 10, 1, 2, 3], 1000) + 7;
        let bytes = partial.to_be_bytes();
        assert_eq!(text(Kind::DateTime, 3, &bytes[1..]), "2024-00-10 01:02:03.007");
        assert_eq!(text(Kind::DateTime, 1, &[0; 6]), "0000-00-00 00:00:00.0");
        assert_eq!(text(Kind::Timestamp, 2, &[0, 0, 0, 1, 99]), "1970-01-01 00:00:01.99");
        assert_eq!(text(Kind::Timestamp, 3, &[0; 6]), "0000-00-00 00:00:00.000");
        assert_eq!(text(Kind::Timestamp, 0, &[0xFF; 4]), "2106-02-07 06:28:15");
        assert!(decode(Kind::Timestamp, 2, &[0, 0, 0, 1, 100]).is_err());
        assert!(decode(Kind::DateTime, 6, &[0xFF; 8]).is_err());
    }

    #[test]
    fn what_no_clock_and_no_calendar_has_is_refused() {
        let old = |number: u64| decode(Kind::DateTime, 0, &number.to_le_bytes());
        assert!(old(99_991_231_235_959).is_ok());
        for number in [
            20_241_301_000_000,
            20_240_132_000_000,
            20_240_101_240_000,
            20_240_101_006_000,
            20_240_101_000_060,
            100_000_101_000_000,
            u64::MAX,
        ] {
            assert!(old(number).is_err(), "{number}");
        }
        let date = |year: u32, month: u32, day: u32| {
            decode(Kind::Date, 0, &(year << 9 | month << 5 | day).to_le_bytes()[..3])
        };
        assert!(date(9999, 12, 31).is_ok() && date(2023, 2, 31).is_ok());
        assert!(date(2024, 13, 1).is_err() && date(10_000, 1, 1).is_err());
        assert_eq!(text(Kind::NewDate, 0, &20_240_229_u32.to_le_bytes()), "2024-02-29");
        assert!(decode(Kind::NewDate, 0, &20_241_301_u32.to_le_bytes()).is_err());
        for number in [8_390_000, 6000, 60] {
            assert!(decode(Kind::Time, 0, &i32::to_le_bytes(number)[..3]).is_err(), "{number}");
        }
        assert!(decode(Kind::Time2, 0, &[0xB4, 0x70, 0x00]).is_err(), "839 hours");
        assert!(decode(Kind::Time2, 0, &[0x80, 0x00, 0x3C]).is_err(), "60 seconds");
        assert!(decode(Kind::DateTime2, 0, &[0x99, 0xA5, 0x83, 0x80, 0x00]).is_err(), "24 hours");
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
