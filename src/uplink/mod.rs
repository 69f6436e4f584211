//! What to send next: window, rewind and backoff. No I/O, no clock.
//!
//! The uplink remembers numbers only; the batches stay in the buffer. A broker's PUBACK means nothing
//! here: only the collector's [`Ack`] opens the window and lets the buffer forget.
//!
//! ```text
//!   acknowledged        sent                staged
//!  ──────┼───────────────┼────────────────────┼──►  sequence
//!        └── in flight ──┘└── still to send ──┘
//!            ≤ window
//! ```

mod backoff;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::batch::{Ack, Demand};
use crate::position::Sequence;

pub use backoff::Backoff;

/// The window's limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bytes that may be under way; one batch always may.
    pub window_bytes: usize,
    /// Batches that may be under way.
    pub window_batches: usize,
    /// If batches are under way and the collector says nothing for so long, they are sent again.
    pub silence_max: Duration,
}

/// What an acknowledgement asks of the wiring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing new.
    Nothing,
    /// The buffer may forget everything up to here.
    Forget(Sequence),
    /// Batches will be sent again, from behind the last acknowledged one.
    Rewound,
    /// What is staged does not continue what the collector has: begin an epoch of at least this number.
    NewEpoch {
        /// The least number that the collector will take.
        at_least: u64,
        /// Whether all schemas must go in front.
        with_schemas: bool,
        /// Why, in words.
        why: &'static str,
    },
}

/// A batch under way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    sequence: Sequence,
    bytes: usize,
    crc: u32,
}

/// The sender's view of the link.
#[derive(Debug)]
pub struct Uplink {
    settings: Settings,
    epoch: u64,
    acknowledged: Sequence,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When the collector last made progress, or the first batch went under way after none was.
    progress_at: Option<Instant>,
}

impl Uplink {
    /// Begins behind `acknowledged` in an epoch.
    pub fn new(settings: Settings, epoch: u64, acknowledged: Sequence) -> Self {
        Self {
            settings,
            epoch,
            acknowledged,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            progress_at: None,
        }
    }

    /// The epoch that is being sent.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last batch that was sent on this connection, or acknowledged before it.
    pub fn sent(&self) -> Sequence {
        self.in_flight.back().map_or(self.acknowledged, |last| last.sequence)
    }

    /// Whether the window has room for one more batch.
    pub fn has_room(&self) -> bool {
        self.in_flight.is_empty()
            || self.in_flight_bytes < self.settings.window_bytes
                && self.in_flight.len() < self.settings.window_batches
    }

    /// Whether nothing is under way: a batch sealed now would leave at once.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Bytes under way.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// The batch behind [`Uplink::sent`] has been handed to the session.
    pub fn send(&mut self, sequence: Sequence, bytes: usize, crc: u32, now: Instant) {
        debug_assert_eq!(sequence, self.sent().next(), "batches leave in order");
        if self.in_flight.is_empty() {
            self.progress_at = Some(now);
        }
        self.in_flight.push_back(InFlight { sequence, bytes, crc });
        self.in_flight_bytes += bytes;
    }

    /// The connection is gone, or the session was: all under way is to be sent again.
    pub fn rewind(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.progress_at = None;
    }

    /// The buffer has begun a new epoch.
    pub fn begin_epoch(&mut self, epoch: u64) {
        self.rewind();
        self.epoch = epoch;
        self.acknowledged = Sequence::START;
    }

    /// The collector speaks. `staged` is the last batch in the buffer; `crc_of` gives the CRC of a
    /// staged batch that is not under way (it was sent before a restart).
    pub fn hear(
        &mut self,
        ack: &Ack,
        staged: Sequence,
        crc_of: impl FnOnce(Sequence) -> Option<u32>,
        now: Instant,
    ) -> Verdict {
        let new_epoch = |with_schemas, why| Verdict::NewEpoch {
            at_least: ack.epoch.saturating_add(1),
            with_schemas,
            why,
        };
        if ack.epoch > self.epoch {
            return new_epoch(false, "the collector knows a later epoch of this agent");
        }
        // A refused first batch of an epoch is answered with the epoch before, where the collector
        // still stands.
        let about_us = match ack.demand_epoch {
            0 => ack.epoch == self.epoch,
            epoch => epoch == self.epoch,
        };
        let demand = ack.demand.filter(|_| about_us);
        match demand {
            Some(Demand::NewEpoch) => return new_epoch(false, "the collector asks for one"),
            Some(Demand::Schemas) => return new_epoch(true, "the collector lacks a schema"),
            Some(Demand::Rewind) | None => {}
        }
        if ack.epoch == self.epoch {
            if ack.sequence > staged {
                return new_epoch(
                    false,
                    "the collector has batches that this buffer does not know",
                );
            }
            if ack.sequence > self.acknowledged {
                let known = self.in_flight.iter().find(|batch| batch.sequence == ack.sequence);
                let crc = known.map(|batch| batch.crc).or_else(|| crc_of(ack.sequence));
                if crc != Some(ack.crc) {
                    return new_epoch(false, "the collector has other batches under these numbers");
                }
                self.acknowledge(ack.sequence, now);
                if demand == Some(Demand::Rewind) {
                    self.rewind();
                }
                return Verdict::Forget(ack.sequence);
            }
        }
        match demand {
            // One that names what is acknowledged already may have been under way for long, but
            // sending again costs little and staying silent could last for ever.
            Some(Demand::Rewind) if !self.in_flight.is_empty() => {
                self.rewind();
                Verdict::Rewound
            }
            _ => Verdict::Nothing,
        }
    }

    fn acknowledge(&mut self, upto: Sequence, now: Instant) {
        self.acknowledged = upto;
        while let Some(first) = self.in_flight.front().filter(|first| first.sequence <= upto) {
            self.in_flight_bytes -= first.bytes;
            self.in_flight.pop_front();
        }
        self.progress_at = (!self.in_flight.is_empty()).then_some(now);
    }

    /// Whether the collector has been silent for too long; then everything is rewound.
    pub fn tick(&mut self, now: Instant) -> bool {
        let silent = self.wake_at().is_some_and(|at| at <= now);
        if silent {
            self.rewind();
        }
        silent
    }

    /// When to call [`Uplink::tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        self.progress_at.map(|at| at + self.settings.silence_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { window_bytes: 100, window_batches: 3, silence_max: Duration::from_secs(20) };

    fn ack(epoch: u64, sequence: u64) -> Ack {
        let crc = sequence as u32;
        Ack { version: 1, epoch, sequence: Sequence(sequence), crc, ..Ack::default() }
    }

    fn sending(count: u64) -> (Uplink, Instant) {
        let (mut uplink, now) = (Uplink::new(SETTINGS, 1, Sequence::START), Instant::now());
        for sequence in 1..=count {
            uplink.send(Sequence(sequence), 40, sequence as u32, now);
        }
        (uplink, now)
    }

    #[test]
    fn the_window_closes_by_bytes_and_opens_with_an_ack() {
        let (mut uplink, now) = sending(3);
        assert!(!uplink.has_room());
        let verdict = uplink.hear(&ack(1, 2), Sequence(9), |_| None, now);
        assert_eq!(verdict, Verdict::Forget(Sequence(2)));
        assert!(uplink.has_room());
        assert_eq!(uplink.in_flight_bytes(), 40);
    }

    #[test]
    fn one_batch_always_fits_however_large() {
        let (mut uplink, now) = sending(0);
        assert!(uplink.has_room());
        uplink.send(Sequence(1), 1_000_000, 0, now);
        assert!(!uplink.has_room());
    }

    #[test]
    fn an_ack_that_comes_twice_or_late_changes_nothing() {
        let (mut uplink, now) = sending(3);
        uplink.hear(&ack(1, 2), Sequence(9), |_| None, now);
        for late in [1, 2] {
            assert_eq!(uplink.hear(&ack(1, late), Sequence(9), |_| None, now), Verdict::Nothing);
        }
        assert_eq!(uplink.sent(), Sequence(3));
    }

    #[test]
    fn an_ack_beyond_the_buffer_or_with_another_crc_forgets_nothing() {
        let (mut uplink, now) = sending(2);
        let beyond = uplink.hear(&ack(1, 8), Sequence(2), |_| None, now);
        assert!(matches!(beyond, Verdict::NewEpoch { at_least: 2, .. }));
        let other = Ack { crc: 99, ..ack(1, 2) };
        let forked = uplink.hear(&other, Sequence(2), |_| None, now);
        assert!(matches!(forked, Verdict::NewEpoch { at_least: 2, .. }));
    }

    #[test]
    fn a_batch_sent_before_a_restart_is_checked_against_the_buffer() {
        let (mut uplink, now) = sending(0);
        let verdict = uplink.hear(&ack(1, 2), Sequence(9), |at| Some(at.0 as u32), now);
        assert_eq!(verdict, Verdict::Forget(Sequence(2)));
        assert_eq!(uplink.sent(), Sequence(2));
    }

    #[test]
    fn a_gap_rewinds_to_the_last_acknowledged_batch() {
        let (mut uplink, now) = sending(3);
        let gap = Ack { demand: Some(Demand::Rewind), ..ack(1, 0) };
        assert_eq!(uplink.hear(&gap, Sequence(3), |_| None, now), Verdict::Rewound);
        assert_eq!(uplink.sent(), Sequence::START);
    }

    #[test]
    fn a_later_epoch_at_the_collector_begins_one_above_it() {
        let (mut uplink, now) = sending(1);
        let verdict = uplink.hear(&ack(7, 50), Sequence(1), |_| None, now);
        assert!(matches!(verdict, Verdict::NewEpoch { at_least: 8, with_schemas: false, .. }));
        uplink.begin_epoch(8);
        assert_eq!(uplink.hear(&ack(7, 50), Sequence(1), |_| None, now), Verdict::Nothing);
    }

    #[test]
    fn a_demand_counts_in_its_own_epoch_only() {
        let (mut uplink, now) = sending(1);
        uplink.begin_epoch(4);
        uplink.send(Sequence(1), 40, 1, now);
        let asks = |demand, demand_epoch| Ack { demand: Some(demand), demand_epoch, ..ack(3, 7) };
        let late = asks(Demand::NewEpoch, 3);
        assert_eq!(uplink.hear(&late, Sequence(1), |_| None, now), Verdict::Nothing);
        let lacking = uplink.hear(&asks(Demand::Schemas, 4), Sequence(1), |_| None, now);
        assert!(matches!(lacking, Verdict::NewEpoch { with_schemas: true, .. }));
    }

    #[test]
    fn a_silent_collector_gets_everything_again() {
        let (mut uplink, now) = sending(2);
        assert!(!uplink.tick(now + Duration::from_secs(19)));
        assert!(uplink.tick(now + Duration::from_secs(20)));
        assert_eq!(uplink.sent(), Sequence::START);
        assert_eq!(uplink.wake_at(), None);
    }
}
