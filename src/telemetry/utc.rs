//! Times as people write them, in UTC and in the proleptic Gregorian calendar.

/// `2026-11-21T10:35:14.123Z` for microseconds since 1970.
pub fn text(us: u64) -> String {
    let (days, ms_of_day) = (us / DAY_US, us % DAY_US / 1000);
    let (year, month, day) = date(days);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, ms) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Seconds since 1970 of `2026-11-21T10:35:14Z`, `2026-11-21 10:35` or `2026-11-21`; fractions are dropped.
/// `None` if it is no such time, or another zone's.
pub fn parse_s(text: &str) -> Option<u64> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let time = time.strip_suffix('Z').unwrap_or(time);
    let time = time.split_once('.').map_or(time, |(time, _)| time);
    let numbers = |text: &str, mark: char| -> Option<Vec<u64>> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        text.split(mark).map(|part| part.parse().ok().filter(|_| digits(part))).collect()
    };
    let [year, month, day] = numbers(day, '-')?.try_into().ok()?;
    let time = numbers(time, ':')?;
    let (hour, minute) = (*time.first()?, *time.get(1)?);
    let second = time.get(2).copied().unwrap_or(0);
    if time.len() > 3 || hour > 23 || minute > 59 || second > 60 || !(1970..=9999).contains(&year) {
        return None;
    }
    let years = (year - 1970) * 366;
    let mut days = (years.saturating_sub(year)..=years).filter(|days| date(*days).0 == year);
    let first = days.next()?;
    let day = (first..first + 366).find(|at| date(*at) == (year, month, day))?;
    Some(day * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Year, month and day of a day since 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last; 400 of them repeat.
    let days = days + 719_468;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let leap_days = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

const DAY_US: u64 = 86_400_000_000;
const ERA_DAYS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_827_696_789_999), "2000-02-29T12:34:56.789Z");
        assert_eq!(text(4_107_542_399_999_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(text(4_107_542_400_000_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(1_795_257_314_123_000), "2026-11-21T10:35:14.123Z");
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut before = date(0);
        for days in 1..300_000 {
            let (year, month, day) = date(days);
            let next = match before {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == length(y, m) => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((year, month, day), next);
            before = next;
        }
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        assert!(text(u64::MAX).starts_with("586524-01-19T"), "{}", text(u64::MAX));
    }

    fn length(year: u64, month: u64) -> u64 {
        let century = year.is_multiple_of(100) && !year.is_multiple_of(400);
        let leap = year.is_multiple_of(4) && !century;
        match month {
            2 => 28 + u64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        assert_eq!(parse_s("2026-11-21T10:35:14.123Z"), Some(1_795_257_314));
        assert_eq!(parse_s("2026-11-21 10:35"), Some(1_795_257_300));
        assert_eq!(parse_s("1970-01-01"), Some(0));
        for day in (0..200_000).step_by(97) {
            let us = day * DAY_US + 3_661_000_000;
            assert_eq!(parse_s(&text(us)), Some(us / 1_000_000), "{}", text(us));
        }
        for wrong in
            ["", "2026-02-29", "2026-13-01", "2026-11-21T10", "2026-11-21T10:35+02:00", "-1-1-1"]
        {
            assert_eq!(parse_s(wrong), None, "{wrong}");
        }
    }
}
