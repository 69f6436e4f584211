//! How slowly a packet may come in. No clock but the caller's.
//!
//! A keep-alive says that somebody is there, not that he gets anywhere: one byte now and then would hold
//! the memory of a large packet for days. So a packet has a time, by its bytes; what we do not read
//! because we have no room counts for nobody.

use std::time::{Duration, Instant};

use crate::mqtt::Begun;

/// The clock of the packet that is arriving.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Its number, and since when it comes.
    since: Option<(u64, Instant)>,
    paused: Option<Instant>,
}

impl Pace {
    /// Notes what is arriving now, if anything, and whether it is read.
    pub(super) fn note(&mut self, begun: Option<Begun>, reading: bool, now: Instant) {
        self.since = match (begun, self.since) {
            (None, _) => None,
            (Some(begun), Some((number, since))) if begun.number == number => {
                let paused =
                    self.paused.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
                Some((number, since + paused))
            }
            (Some(begun), _) => Some((begun.number, now)),
        };
        self.paused = (!reading).then_some(now);
    }

    /// When the packet will have been too slow, if nothing more of it comes; never while it is not read.
    /// `wanted`: whether others wait for the room that it takes.
    pub(super) fn late_at(&self, begun: Option<Begun>, wanted: bool) -> Option<Instant> {
        let ((_, since), begun) = (self.since?, begun?);
        if self.paused.is_some() {
            return None;
        }
        let rate = if wanted { WANTED_BYTES_PER_S_MIN } else { BYTES_PER_S_MIN };
        Some(since + GRACE + Duration::from_millis(begun.arrived as u64 * 1000 / rate))
    }
}

/// Links lose everything for a while.
const GRACE: Duration = Duration::from_secs(30);
/// A tenth of what the slowest modems carry.
const BYTES_PER_S_MIN: u64 = 200;
/// The same while others wait for the memory.
const WANTED_BYTES_PER_S_MIN: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(number: u64, arrived: usize) -> Option<Begun> {
        Some(Begun { number, bytes: 1 << 20, arrived })
    }

    #[test]
    fn bytes_buy_time_and_a_new_packet_begins_anew() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.note(begun(1, 100), true, start);
        assert_eq!(pace.late_at(begun(1, 0), false), Some(start + GRACE));
        let later = start + Duration::from_secs(20);
        pace.note(begun(1, 20_000), true, later);
        let late = start + GRACE + Duration::from_secs(100);
        assert_eq!(pace.late_at(begun(1, 20_000), false), Some(late));
        assert!(pace.late_at(begun(1, 20_000), true).unwrap() < late, "others wait");
        pace.note(begun(2, 0), true, later);
        assert_eq!(pace.late_at(begun(2, 0), false), Some(later + GRACE));
        pace.note(None, true, later);
        assert_eq!(pace.late_at(None, false), None);
    }

    #[test]
    fn what_we_do_not_read_is_not_late() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.note(begun(1, 0), true, start);
        pace.note(begun(1, 0), false, start);
        assert_eq!(pace.late_at(begun(1, 0), false), None);
        let later = start + Duration::from_secs(500);
        pace.note(begun(1, 0), true, later);
        assert_eq!(pace.late_at(begun(1, 0), false), Some(later + GRACE));
    }
}
