//! TIMESTAMP, TIME and DATETIME as they were before MySQL 5.6 and MariaDB 10.0, and still are in
//! MariaDB's tables that were made with `mysql56_temporal_format=OFF`.
//!
//! MySQL had them without fractions of a second. MariaDB 5.3 gave them up to six digits, and another
//! form with any; its table maps do not say how many, so that where a value ends is not in the log:
//!
//! | digits | TIMESTAMP | TIME | DATETIME |
//! |---|---|---|---|
//! | 0 | 4 bytes, little-endian | 3, little-endian | 8, little-endian |
//! | 1, 2 | 5, big-endian | 4 | 6 |
//! | 3, 4 | 6 | 5 | 7 |
//! | 5, 6 | 7 | 5 (5 digits), 6 | 7 (5 digits), 8 |
//!
//! `Column::meta` is that number where the schema tells it, 0 in MySQL, and else [`DIGITS_UNKNOWN`]:
//! then there are none as long as every row bears that out.
//!
//! Source: `Field_timestamp_hires`, `Field_time_hires` and `Field_datetime_hires` in `sql/field.cc`,
//! `time_hires_bytes` and its like in `sql/field.h` (MariaDB).

use super::format::Flavor;
use super::table::{Column, Kind};

/// The `meta` of a column of which the log does not tell how many digits its fraction has.
pub const DIGITS_UNKNOWN: u16 = 0xff;

/// Why a row with such a column is refused.
pub(super) const UNPROVEN: &str = "old temporal columns (mysql56_temporal_format=OFF) whose number \
    of digits is not in the log: as columns without fractions these rows make no sense, and how many \
    there are only the server knows, so read through the server";

/// What the table map leaves unsaid.
pub(super) fn meta_of(kind: Kind, flavor: Flavor) -> u16 {
    match flavor {
        Flavor::Mariadb if is_old(kind) => DIGITS_UNKNOWN,
        Flavor::Mariadb | Flavor::Mysql => 0,
    }
}

/// Whether the kind is one of the three.
pub fn is_old(kind: Kind) -> bool {
    matches!(kind, Kind::Timestamp | Kind::Time | Kind::DateTime)
}

/// Whether a column has an unknown number of digits.
#[inline]
pub fn is_unproven(column: &Column) -> bool {
    column.meta == DIGITS_UNKNOWN && is_old(column.kind)
}

/// The digits that a column's values have; those that are unknown are taken for none.
pub fn digits(meta: u16) -> u16 {
    if meta == DIGITS_UNKNOWN { 0 } else { meta }
}

/// The bytes of a value; `None` if the kind is another one or if there are no such digits.
#[inline]
pub(super) fn width(kind: Kind, meta: u16) -> Option<usize> {
    let widths: [usize; 7] = match kind {
        Kind::Timestamp => [4, 5, 5, 6, 6, 7, 7],
        Kind::Time => [3, 4, 4, 5, 5, 5, 6],
        Kind::DateTime => [8, 6, 6, 7, 7, 7, 8],
        _ => return None,
    };
    widths.get(usize::from(digits(meta))).copied()
}

/// Whether the bytes can be a value without digits, if the column is one of the three; every number of
/// seconds is a TIMESTAMP.
pub(super) fn is_plausible(column: &Column, bytes: &[u8]) -> bool {
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let clock = |number: u64| number % 100 < 60 && number / 100 % 100 < 60;
    match column.kind {
        _ if !is_unproven(column) => true,
        Kind::Time => {
            let size = if number < 1 << 23 { number } else { (1 << 24) - number };
            clock(size) && size <= 8385959
        }
        Kind::DateTime => {
            let (date, time) = (number / 1_000_000, number % 1_000_000);
            clock(time)
                && time < 240000
                && date % 100 <= 31
                && date / 100 % 100 <= 12
                && date <= 99991231
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_clock_or_day_shows_that_there_are_digits() {
        let of = |kind| Column { kind, meta: DIGITS_UNKNOWN, ..Column::default() };
        let (time, moment) = (of(Kind::Time), of(Kind::DateTime));
        for (column, number, fine) in [
            (&time, 8385959_i64, true),
            (&time, -8385959, true),
            (&time, 8390000, false),
            (&time, 60, false),
            (&moment, 20200231235959, true),
            (&moment, 0, true),
            (&moment, 20201301000000, false),
            (&moment, 20201232000000, false),
            (&moment, 20201231240000, false),
        ] {
            let bytes = number.to_le_bytes();
            let len = width(column.kind, DIGITS_UNKNOWN).unwrap();
            assert_eq!(is_plausible(column, &bytes[..len]), fine, "{number}");
        }
        let known = Column { meta: 0, ..time };
        assert!(is_plausible(&known, &[0xff, 0, 0]), "nothing is asked of what is known");
    }
}
