//! What to send next, where, and how much: window, rewind, backoff, route and budget. No I/O, no clock.
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
//!
//! The window follows the link: it grows while acknowledgements come soon, and shrinks to what the link
//! carries in a few seconds when they come late, so that a slow link has no long queue in front of it.

mod backoff;
mod budget;
mod route;
mod silence;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::batch::{Ack, Demand};
use crate::position::Sequence;

pub use backoff::Backoff;
pub use budget::{Allowance, Budget, BudgetLimits, Meter, Record};
pub use route::Route;
pub use silence::Silence;

/// The window's limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bytes that may be under way; one batch always may.
    pub window_bytes: usize,
    /// Batches that may be under way.
    pub window_batches: usize,
    /// If batches have been taken over by the peer and the collector says nothing for so long, they are
    /// sent again; each time that this does not help, the wait doubles.
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
    /// What was acknowledged is not there any more: the source must be read again from where the collector
    /// says that it stands.
    Reread,
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
    sent_at: Instant,
    /// Bytes under way when it was sent, its own included.
    ahead: usize,
    /// When the peer took it over: it arrived there, which says nothing about the collector.
    taken_at: Option<Instant>,
}

/// The sender's view of the link.
#[derive(Debug)]
pub struct Uplink {
    settings: Settings,
    epoch: u64,
    acknowledged: Sequence,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// The epoch that was begun because the collector seemed to have lost something: its answer tells.
    asked: Option<u64>,
    /// At most the setting.
    window_bytes: usize,
    /// When the collector last made progress.
    progress_at: Option<Instant>,
    /// How often it was silent for too long since then.
    silences: u32,
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
            window_bytes: settings.window_bytes.min(WINDOW_BYTES_FIRST),
            asked: None,
            progress_at: None,
            silences: 0,
        }
    }

    /// The epoch that is being sent.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last batch that the collector has acknowledged in this epoch.
    pub fn acknowledged(&self) -> Sequence {
        self.acknowledged
    }

    /// The last batch that was sent on this connection, or acknowledged before it.
    pub fn sent(&self) -> Sequence {
        self.in_flight.back().map_or(self.acknowledged, |last| last.sequence)
    }

    /// Whether this batch is the last one under way: nothing has rewound since it was handed over.
    pub fn is_sending(&self, sequence: Sequence) -> bool {
        self.in_flight.back().is_some_and(|last| last.sequence == sequence)
    }

    /// Whether the window has room for one more batch.
    pub fn has_room(&self) -> bool {
        self.in_flight.is_empty()
            || self.in_flight_bytes < self.window_bytes
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
        self.in_flight_bytes += bytes;
        let ahead = self.in_flight_bytes;
        let batch = InFlight { sequence, bytes, crc, sent_at: now, ahead, taken_at: None };
        self.in_flight.push_back(batch);
    }

    /// The peer took over a batch: from now on the collector owes an answer.
    pub fn taken(&mut self, sequence: Sequence, now: Instant) {
        let found = self.in_flight.iter_mut().find(|batch| batch.sequence == sequence);
        if let Some(batch) = found {
            batch.taken_at.get_or_insert(now);
        }
    }

    /// What the window now allows under way, in bytes.
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// The connection is gone, or the session was: all under way is to be sent again.
    pub fn rewind(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    /// As anew, behind `acknowledged` in an epoch; but what was asked of the collector is not asked again.
    pub fn start_over(&mut self, epoch: u64, acknowledged: Sequence) {
        let asked = self.asked;
        *self = Self { asked, ..Self::new(self.settings, epoch, acknowledged) };
    }

    /// The buffer is in this epoch: if it is another one, all of it is still to be sent.
    pub fn follow(&mut self, epoch: u64) {
        if epoch != self.epoch {
            self.begin_epoch(epoch);
        }
    }

    /// The buffer has begun a new epoch.
    pub fn begin_epoch(&mut self, epoch: u64) {
        self.rewind();
        self.epoch = epoch;
        self.acknowledged = Sequence::START;
    }

    /// The collector speaks. `forgotten` is the last batch that the buffer has not any more, with its epoch,
    /// `staged` the last one in it; `crc_of` gives the CRC of a staged batch that is not under way (it was
    /// sent before a restart).
    pub fn hear(
        &mut self,
        ack: &Ack,
        forgotten: (u64, Sequence),
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
            Some(Demand::Reread) => {
                self.rewind();
                self.asked = Some(self.epoch);
                return Verdict::Reread;
            }
            Some(Demand::Rewind) | None => {}
        }
        if (ack.epoch, ack.sequence) < forgotten && self.asked != Some(self.epoch) {
            // It may be an old word, from a broker that kept it. The first batch of an epoch says what it
            // continues, so that the collector itself finds out.
            self.asked = Some(self.epoch.saturating_add(1));
            return Verdict::NewEpoch {
                at_least: self.epoch.saturating_add(1),
                with_schemas: true,
                why: "the collector stands before what it has acknowledged",
            };
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
        (self.progress_at, self.silences) = (Some(now), 0);
        while let Some(first) = self.in_flight.front().copied()
            && first.sequence <= upto
        {
            self.in_flight.pop_front();
            self.in_flight_bytes -= first.bytes;
            self.adapt(first, now);
        }
    }

    /// Makes the window what the link carries in good time.
    fn adapt(&mut self, batch: InFlight, now: Instant) {
        let took = now.saturating_duration_since(batch.sent_at);
        if took < SOON {
            self.window_bytes = (self.window_bytes + batch.bytes).min(self.settings.window_bytes);
        } else if took > LATE {
            let carries = batch.ahead as f64 * LATE.as_secs_f64() / took.as_secs_f64();
            let least = WINDOW_BYTES_MIN.min(self.settings.window_bytes);
            self.window_bytes = (carries as usize).max(least).min(self.window_bytes);
        }
    }

    /// Whether the collector has been silent for too long; then everything is rewound.
    pub fn tick(&mut self, now: Instant) -> bool {
        let silent = self.wake_at().is_some_and(|at| at <= now);
        if silent {
            self.rewind();
            self.silences = (self.silences + 1).min(SILENCES_MAX);
        }
        silent
    }

    /// When to call [`Uplink::tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        let taken_at = self.in_flight.front()?.taken_at?;
        let since = self.progress_at.map_or(taken_at, |at| at.max(taken_at));
        Some(since + self.settings.silence_max * 2u32.pow(self.silences))
    }
}

/// The window of a link of which nothing is known: a second of 2 Mbit/s.
const WINDOW_BYTES_FIRST: usize = 256 * 1024;
/// So much may be under way on the slowest link.
const WINDOW_BYTES_MIN: usize = 16 * 1024;
/// An answer within this time lets the window grow: longer than any round trip.
const SOON: Duration = Duration::from_secs(2);
/// A later one makes it what arrives in this time.
const LATE: Duration = Duration::from_secs(5);
/// The wait for a silent collector doubles so often at most: a broker takes over what nobody fetches.
const SILENCES_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { window_bytes: 100, window_batches: 3, silence_max: Duration::from_secs(20) };

    /// Nothing was ever forgotten.
    const NONE: (u64, Sequence) = (0, Sequence::START);

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
        let verdict = uplink.hear(&ack(1, 2), NONE, Sequence(9), |_| None, now);
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
        uplink.hear(&ack(1, 2), NONE, Sequence(9), |_| None, now);
        for late in [1, 2] {
            assert_eq!(
                uplink.hear(&ack(1, late), NONE, Sequence(9), |_| None, now),
                Verdict::Nothing
            );
        }
        assert_eq!(uplink.sent(), Sequence(3));
    }

    #[test]
    fn an_ack_beyond_the_buffer_or_with_another_crc_forgets_nothing() {
        let (mut uplink, now) = sending(2);
        let beyond = uplink.hear(&ack(1, 8), NONE, Sequence(2), |_| None, now);
        assert!(matches!(beyond, Verdict::NewEpoch { at_least: 2, .. }));
        let other = Ack { crc: 99, ..ack(1, 2) };
        let forked = uplink.hear(&other, NONE, Sequence(2), |_| None, now);
        assert!(matches!(forked, Verdict::NewEpoch { at_least: 2, .. }));
    }

    #[test]
    fn a_batch_sent_before_a_restart_is_checked_against_the_buffer() {
        let (mut uplink, now) = sending(0);
        let verdict = uplink.hear(&ack(1, 2), NONE, Sequence(9), |at| Some(at.0 as u32), now);
        assert_eq!(verdict, Verdict::Forget(Sequence(2)));
        assert_eq!(uplink.sent(), Sequence(2));
    }

    #[test]
    fn a_gap_rewinds_to_the_last_acknowledged_batch() {
        let (mut uplink, now) = sending(3);
        let gap = Ack { demand: Some(Demand::Rewind), ..ack(1, 0) };
        assert_eq!(uplink.hear(&gap, NONE, Sequence(3), |_| None, now), Verdict::Rewound);
        assert_eq!(uplink.sent(), Sequence::START);
    }

    #[test]
    fn a_later_epoch_at_the_collector_begins_one_above_it() {
        let (mut uplink, now) = sending(1);
        let verdict = uplink.hear(&ack(7, 50), NONE, Sequence(1), |_| None, now);
        assert!(matches!(verdict, Verdict::NewEpoch { at_least: 8, with_schemas: false, .. }));
        uplink.begin_epoch(8);
        assert_eq!(uplink.hear(&ack(7, 50), NONE, Sequence(1), |_| None, now), Verdict::Nothing);
    }

    #[test]
    fn a_demand_counts_in_its_own_epoch_only() {
        let (mut uplink, now) = sending(1);
        uplink.begin_epoch(4);
        uplink.send(Sequence(1), 40, 1, now);
        let asks = |demand, demand_epoch| Ack { demand: Some(demand), demand_epoch, ..ack(3, 7) };
        let late = asks(Demand::NewEpoch, 3);
        assert_eq!(uplink.hear(&late, NONE, Sequence(1), |_| None, now), Verdict::Nothing);
        let lacking = uplink.hear(&asks(Demand::Schemas, 4), NONE, Sequence(1), |_| None, now);
        assert!(matches!(lacking, Verdict::NewEpoch { with_schemas: true, .. }));
    }

    #[test]
    fn a_collector_that_is_silent_about_what_it_was_given_gets_it_again() {
        let (mut uplink, now) = sending(2);
        assert_eq!(
            uplink.wake_at(),
            None,
            "a link that has not carried it yet is no silent collector"
        );
        uplink.taken(Sequence(1), now);
        assert!(!uplink.tick(now + Duration::from_secs(19)));
        assert!(uplink.tick(now + Duration::from_secs(20)));
        assert_eq!(uplink.sent(), Sequence::START);
        assert_eq!(uplink.wake_at(), None);
    }

    #[test]
    fn a_collector_that_stays_silent_is_asked_more_and_more_seldom() {
        let (mut uplink, mut now) = sending(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            uplink.send(Sequence(1), 40, 1, now);
            uplink.taken(Sequence(1), now);
            let at = uplink.wake_at().unwrap();
            waits.push((at - now).as_secs());
            now = at;
            assert!(uplink.tick(now));
        }
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 640]);
        uplink.send(Sequence(1), 40, 1, now);
        uplink.hear(&ack(1, 1), NONE, Sequence(1), |_| None, now);
        uplink.send(Sequence(2), 40, 2, now);
        uplink.taken(Sequence(2), now);
        assert_eq!(uplink.wake_at(), Some(now + Duration::from_secs(20)));
    }

    /// Sends batches of 8 KiB over a link of so many bytes per second; the window at the end.
    fn window_over(rate: usize) -> usize {
        const BYTES: usize = 8192;
        let settings = Settings { window_bytes: 1 << 20, window_batches: 999, ..SETTINGS };
        let (mut uplink, mut now) = (Uplink::new(settings, 1, Sequence::START), Instant::now());
        for sequence in 1..500 {
            while uplink.has_room() {
                uplink.send(uplink.sent().next(), BYTES, uplink.sent().0 as u32 + 1, now);
            }
            now += Duration::from_secs_f64(BYTES as f64 / rate as f64);
            uplink.hear(&ack(1, sequence), NONE, uplink.sent(), |_| None, now);
        }
        uplink.window_bytes()
    }

    #[test]
    fn the_window_becomes_what_the_link_carries_in_a_few_seconds() {
        assert_eq!(window_over(10_000_000), 1 << 20);
        let slow = window_over(20_000);
        assert!((30_000..150_000).contains(&slow), "{slow}");
        assert_eq!(window_over(1000), WINDOW_BYTES_MIN);
    }

    #[test]
    fn a_collector_that_stands_before_what_it_acknowledged_is_asked_once_in_an_epoch() {
        let (mut uplink, now) = sending(2);
        let forgotten = (1, Sequence(9));
        for behind in [ack(1, 8), ack(0, 0)] {
            let mut uplink = Uplink::new(SETTINGS, 1, Sequence(9));
            let verdict = uplink.hear(&behind, forgotten, Sequence(12), |_| None, now);
            assert!(matches!(verdict, Verdict::NewEpoch { at_least: 2, with_schemas: true, .. }));
            uplink.begin_epoch(2);
            let again = uplink.hear(&behind, forgotten, Sequence(3), |_| None, now);
            assert_eq!(again, Verdict::Nothing, "its answer is under way");
            let lost = Ack { demand: Some(Demand::Reread), demand_epoch: 2, ..behind };
            let verdict = uplink.hear(&lost, forgotten, Sequence(3), |_| None, now);
            assert_eq!(verdict, Verdict::Reread);
            assert!(uplink.is_idle());
        }
        let level = uplink.hear(&ack(1, 1), (0, Sequence(9)), Sequence(2), |_| None, now);
        assert_eq!(level, Verdict::Forget(Sequence(1)), "an epoch above all that was forgotten");
    }
}
