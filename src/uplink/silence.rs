//! Whether the other end of a link owes an answer for too long, by the link's own counters. No clock.
//!
//! It tells long before the link is given up that something may be wrong with the way, when there is
//! another one to try.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub struct Silence {
    asked: u64,
    heard: u64,
    /// Since when an answer is due.
    since: Option<Instant>,
}

impl Silence {
    /// Takes in the counters of this moment: what was sent that wants an answer, and what was received,
    /// in whatever units. Returns whether the peer has been silent for too long, with answers that need
    /// about `rtt`.
    pub fn look(&mut self, asked: u64, heard: u64, rtt: Duration, now: Instant) -> bool {
        if heard != self.heard {
            // What was sent since then is not told apart from what has just been answered; it is sent
            // again, which counts.
            (self.asked, self.heard, self.since) = (asked, heard, None);
        } else if asked != self.asked {
            self.asked = asked;
            self.since.get_or_insert(now);
        }
        let most = SILENCE_MIN.max(rtt * ROUND_TRIPS);
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= most)
    }

    /// Whether nothing has been heard since something was asked.
    pub fn is_waiting(&self) -> bool {
        self.since.is_some()
    }
}

/// Shorter pauses are of no account: a phone changes its cell.
const SILENCE_MIN: Duration = Duration::from_millis(2500);
/// QUIC asks again after about one and a half, and after three more: both may get lost.
const ROUND_TRIPS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(60);
    const SATELLITE: Duration = Duration::from_millis(600);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_peer_is_silent_when_it_owes_an_answer_for_some_round_trips_or_seconds() {
        let start = Instant::now();
        // What was asked and heard at each time, in milliseconds, and whether that is silence.
        let idle = [(0, 1, 1, false), (9000, 1, 1, false), (99_000, 1, 1, false)];
        let blocked =
            [(0, 1, 1, false), (100, 2, 1, false), (2599, 9, 1, false), (2600, 9, 1, true)];
        let late = [(0, 1, 1, false), (100, 2, 1, false), (2500, 3, 2, false), (9000, 3, 2, false)];
        let again = [(0, 2, 1, false), (10, 3, 1, false), (20, 3, 2, false), (30, 4, 2, false)];
        for story in [&idle[..], &blocked[..], &late[..], &again[..]] {
            let mut silence = Silence::default();
            for (at, asked, heard, expected) in story {
                let silent = silence.look(*asked, *heard, RTT, start + ms(*at));
                assert_eq!(silent, *expected, "{story:?} at {at}");
            }
        }
        let mut far = Silence::default();
        far.look(1, 1, SATELLITE, start);
        far.look(2, 1, SATELLITE, start);
        assert!(!far.look(2, 1, SATELLITE, start + ms(2999)));
        assert!(far.look(2, 1, SATELLITE, start + ms(3000)));
    }

    #[test]
    fn a_word_ends_the_silence() {
        let start = Instant::now();
        let mut silence = Silence::default();
        silence.look(1, 1, RTT, start);
        silence.look(2, 1, RTT, start);
        assert!(silence.is_waiting() && silence.look(2, 1, RTT, start + ms(2500)));
        assert!(!silence.look(2, 2, RTT, start + ms(2600)));
        assert!(!silence.is_waiting());
    }
}
