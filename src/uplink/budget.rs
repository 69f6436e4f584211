//! How much may be sent: bytes per second, and per hour and day for links that cost by volume. No clock.
//!
//! ```text
//!   allowance ─► Bytes(n)   so many may be handed to the link now
//!             ─► At(when)   the second's share is used: ask again then
//!             ─► Spent      the hour's or the day's is: close the link until then
//!   spend(n)  ◄─ what went out, also what nobody asked for: handshakes, acknowledgements, repetitions
//! ```
//!
//! Hours and days are those of UTC. What they have used outlives a crash: a [`Record`] is written *ahead*
//! of what it stands for ([`Budget::to_keep`]), so that an agent that was killed has used up a little more
//! than it sent, never less.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The limits, in bytes; `None` is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BudgetLimits {
    /// In a second.
    pub per_second: Option<u64>,
    /// In an hour of UTC.
    pub per_hour: Option<u64>,
    /// In a day of UTC.
    pub per_day: Option<u64>,
}

impl BudgetLimits {
    /// How much the link may hold that has not arrived, if an hour or a day is limited: so much may be
    /// sent once more without asking, because it was lost.
    pub fn held_bytes_max(&self) -> Option<u64> {
        let smallest = self.per_hour.into_iter().chain(self.per_day).min()?;
        Some((smallest / SHARE).max(HELD_BYTES))
    }
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Allowance {
    /// At most so many bytes, 1 and up.
    Bytes(usize),
    /// Nothing before then.
    At(Instant),
    /// Nothing before this second of Unix time: an hour's or a day's share is used up.
    Spent {
        /// When the next begins.
        until_s: u64,
    },
}

/// What the hour and the day have used, as it is kept on disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Record {
    hour: Period,
    day: Period,
}

/// One hour or day.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Period {
    /// Its number since 1970.
    number: u64,
    used: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Budget {
    limits: BudgetLimits,
    /// Bytes that may be sent at `filled_at`; below zero after what could not be held back.
    tokens: f64,
    filled_at: Instant,
    used: Record,
    /// What the disk says; never less than `used`.
    kept: Record,
}

impl Budget {
    /// A budget that goes on from what was kept.
    pub fn new(limits: BudgetLimits, kept: Option<Record>, now: Instant) -> Self {
        let kept = kept.unwrap_or_default();
        Self { limits, tokens: 0.0, filled_at: now, used: kept, kept }
    }

    /// Keeps to other limits from now on; what was used stays used.
    pub fn change(&mut self, limits: BudgetLimits) {
        self.limits = limits;
    }

    /// What it keeps to.
    pub fn limits(&self) -> BudgetLimits {
        self.limits
    }

    /// Bytes that this hour and this day have used.
    pub fn used(&self) -> (u64, u64) {
        (self.used.hour.used, self.used.day.used)
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.limits != BudgetLimits::default()
    }

    /// What may be handed to the link now. `unix_s` is this machine's time of day.
    pub fn allowance(&mut self, now: Instant, unix_s: u64) -> Allowance {
        let most = match self.left(unix_s) {
            Ok(most) => most,
            Err(until_s) => return Allowance::Spent { until_s },
        };
        let Some(rate) = self.limits.per_second else { return bytes(most) };
        self.fill(rate, now);
        let burst = burst(rate);
        self.tokens = self.tokens.min(burst);
        // A byte less is what the arithmetic may be wrong by.
        if self.tokens < burst - 1.0 {
            return Allowance::At(now + seconds((burst - self.tokens) / rate as f64));
        }
        bytes(most.min(burst as u64))
    }

    /// Whether a new connection may be made that will cost about `cost` bytes at once: that is saved up
    /// first, while nothing is sent.
    pub fn save_up(&mut self, cost: u64, now: Instant, unix_s: u64) -> Allowance {
        let most = match self.left(unix_s) {
            Ok(most) => most,
            Err(until_s) => return Allowance::Spent { until_s },
        };
        if let Some(rate) = self.limits.per_second {
            self.fill(rate, now);
            let missing = cost.min(rate) as f64 - self.tokens;
            if missing >= 1.0 {
                return Allowance::At(now + seconds(missing / rate as f64));
            }
        }
        bytes(most)
    }

    /// So many bytes went out.
    pub fn spend(&mut self, bytes: u64, now: Instant, unix_s: u64) {
        self.turn_page(unix_s);
        if let Some(rate) = self.limits.per_second {
            self.fill(rate, now);
            self.tokens -= bytes as f64;
        }
        self.used.hour.used = self.used.hour.used.saturating_add(bytes);
        self.used.day.used = self.used.day.used.saturating_add(bytes);
    }

    /// What is to be written down before `ahead` more bytes are sent, unless the disk already says so.
    pub fn to_keep(&mut self, ahead: u64) -> Option<Record> {
        let smallest = self.limits.per_hour.into_iter().chain(self.limits.per_day).min()?;
        let covers = |kept: Period, used: Period| {
            kept.number == used.number && kept.used >= used.used.saturating_add(ahead)
        };
        if covers(self.kept.hour, self.used.hour) && covers(self.kept.day, self.used.day) {
            return None;
        }
        let ahead = ahead + (smallest / SHARE).max(AHEAD_MIN);
        self.kept = self.used;
        self.kept.hour.used = self.kept.hour.used.saturating_add(ahead);
        self.kept.day.used = self.kept.day.used.saturating_add(ahead);
        Some(self.kept)
    }

    /// What was really used, for an end in good order.
    pub fn exact(&self) -> Option<Record> {
        let limited = self.limits.per_hour.is_some() || self.limits.per_day.is_some();
        limited.then_some(self.used)
    }

    /// What the hour and the day have left, or when the next begins.
    fn left(&mut self, unix_s: u64) -> Result<u64, u64> {
        self.turn_page(unix_s);
        let mut most = u64::MAX;
        for (limit, period, length) in self.periods() {
            let left = limit.saturating_sub(reserve(limit)).saturating_sub(period.used);
            if left == 0 {
                return Err((period.number + 1) * length);
            }
            most = most.min(left);
        }
        Ok(most)
    }

    fn fill(&mut self, rate: u64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * rate as f64).min(rate as f64);
        self.filled_at = self.filled_at.max(now);
    }

    /// A new hour or day begins with nothing used. A clock that was set back takes along what is used.
    fn turn_page(&mut self, unix_s: u64) {
        for (period, length) in [(&mut self.used.hour, HOUR_S), (&mut self.used.day, DAY_S)] {
            let number = unix_s / length;
            if number > period.number {
                period.used = 0;
            }
            period.number = number;
        }
    }

    fn periods(&self) -> impl Iterator<Item = (u64, Period, u64)> {
        let hour = self.limits.per_hour.map(|limit| (limit, self.used.hour, HOUR_S));
        let day = self.limits.per_day.map(|limit| (limit, self.used.day, DAY_S));
        hour.into_iter().chain(day)
    }
}

/// What one connection has cost: the link's own count, and what it was given and has not yet sent.
#[derive(Debug, Default)]
pub struct Meter {
    prepaid: u64,
    handed: u64,
    charged: u64,
}

impl Meter {
    /// A new connection, for whose handshake so many bytes have been spent.
    pub fn new(prepaid: u64) -> Self {
        Self { prepaid, handed: 0, charged: prepaid }
    }

    /// Bytes were handed to the link.
    pub fn hand(&mut self, bytes: u64) {
        self.handed += bytes;
    }

    /// What is to be spent now, if the link says that `sent` bytes went out since it was made.
    pub fn charge(&mut self, sent: u64) -> u64 {
        // What waits inside the link will leave, framed, without asking again.
        let due = sent.max(self.prepaid + self.handed + self.handed / FRAMING_SHARE);
        let more = due.saturating_sub(self.charged);
        self.charged += more;
        more
    }
}

/// Held back of an hour or day for what is sent without asking: the goodbye, repetitions.
fn reserve(limit: u64) -> u64 {
    (limit / SHARE).max(HELD_BYTES) + GOODBYE_BYTES
}

/// How much may leave at once: a hundredth of a second's share, but one packet.
fn burst(rate: u64) -> f64 {
    (rate / 100).max(PACKET_BYTES) as f64
}

fn bytes(most: u64) -> Allowance {
    Allowance::Bytes(usize::try_from(most).unwrap_or(usize::MAX))
}

fn seconds(seconds: f64) -> Duration {
    // A millisecond at least: whoever waits for nothing spins.
    Duration::from_secs_f64(seconds.clamp(0.001, 3600.0))
}

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 86_400;
/// QUIC's and IP's headers around a full packet are one part in 19 of what it carries.
const FRAMING_SHARE: u64 = 19;
const GOODBYE_BYTES: u64 = 2048;
const PACKET_BYTES: u64 = 1200;
/// A two-hundredth of a limit is written ahead, so that a crash wastes no more than that, and as much is
/// held back for what is sent without asking.
const SHARE: u64 = 200;
const AHEAD_MIN: u64 = 4096;
/// With less in its hands no link gets anywhere.
const HELD_BYTES: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 100 * HOUR_S;

    fn limits(second: u64, hour: u64, day: u64) -> BudgetLimits {
        let some = |limit| (limit > 0).then_some(limit);
        BudgetLimits { per_second: some(second), per_hour: some(hour), per_day: some(day) }
    }

    #[test]
    fn without_limits_everything_may_leave() {
        let now = Instant::now();
        let mut budget = Budget::new(BudgetLimits::default(), None, now);
        assert!(!budget.is_limited());
        budget.spend(u64::MAX, now, HOUR);
        assert_eq!(budget.allowance(now, HOUR), Allowance::Bytes(usize::MAX));
        assert_eq!((budget.to_keep(9), budget.exact()), (None, None));
    }

    /// Sends as fast as it may and returns what left in each second.
    fn seconds_of(rate: u64, extra: u64) -> Vec<u64> {
        let start = Instant::now();
        let (mut now, mut sent) = (start, vec![0; 20]);
        let mut budget = Budget::new(limits(rate, 0, 0), None, now);
        while let Some(second) = sent.get_mut((now - start).as_secs() as usize) {
            match budget.allowance(now, HOUR) {
                Allowance::Bytes(most) => {
                    let cost = most as u64 + extra;
                    budget.spend(cost, now, HOUR);
                    *second += cost;
                }
                Allowance::At(at) => {
                    assert!(at > now);
                    now = at;
                }
                Allowance::Spent { .. } => panic!("there is no such limit"),
            }
        }
        sent
    }

    #[test]
    fn no_second_has_more_than_its_share_and_a_hundredth() {
        for rate in [120_000, 1_000_000, 50_000_000] {
            // What the link adds of its own is held back afterwards.
            for extra in [0, 40] {
                let sent = seconds_of(rate, extra);
                assert!(sent.iter().all(|bytes| *bytes <= rate + rate / 100 + extra), "{sent:?}");
                let sum: u64 = sent.iter().sum();
                assert!(sum <= 20 * rate && sum > 19 * rate, "{rate}: {sum}");
            }
        }
        let slow: u64 = seconds_of(2000, 0).iter().sum();
        assert!(slow <= 40_000 && slow > 35_000, "{slow}");
    }

    #[test]
    fn what_was_not_asked_for_is_paid_back() {
        let now = Instant::now();
        let mut budget = Budget::new(limits(100_000, 0, 0), None, now);
        budget.spend(250_000, now, HOUR);
        let Allowance::At(at) = budget.allowance(now, HOUR) else { panic!("in debt") };
        assert!(at >= now + Duration::from_millis(2500));
    }

    #[test]
    fn a_connections_cost_is_saved_up_while_nothing_is_sent() {
        let now = Instant::now();
        let mut budget = Budget::new(limits(10_000, 0, 0), None, now);
        let Allowance::At(at) = budget.save_up(6000, now, HOUR) else { panic!("no volume limit") };
        assert_eq!(at, now + Duration::from_millis(600));
        assert!(matches!(budget.save_up(6000, at, HOUR), Allowance::Bytes(_)));
        let slow = budget.save_up(u64::MAX, at + Duration::from_secs(9), HOUR);
        assert!(
            matches!(slow, Allowance::Bytes(_)),
            "a second's share is the most there is: {slow:?}"
        );
    }

    #[test]
    fn an_hour_and_a_day_end_at_their_limits_and_begin_anew() {
        let now = Instant::now();
        let mut budget = Budget::new(limits(0, 1_000_000, 1_500_000), None, now);
        let mut send = |unix_s: u64| {
            let mut sent = 0;
            loop {
                match budget.allowance(now, unix_s) {
                    Allowance::Bytes(most) => {
                        let part = most.min(10_000) as u64;
                        budget.spend(part, now, unix_s);
                        sent += part;
                    }
                    Allowance::Spent { until_s } => return (sent, until_s),
                    Allowance::At(_) => panic!("there is no rate"),
                }
            }
        };
        let midnight = 20 * DAY_S;
        let (sent, until_s) = send(midnight + 10);
        assert!(sent <= 1_000_000 && sent > 980_000, "{sent}");
        assert_eq!(until_s, midnight + HOUR_S);
        let (more, until_s) = send(midnight + HOUR_S);
        assert!(sent + more <= 1_500_000 && sent + more > 1_480_000, "{more}");
        assert_eq!(until_s, midnight + DAY_S);
        assert!(send(midnight + DAY_S).0 > 980_000);
    }

    #[test]
    fn another_limit_counts_at_once_and_what_was_used_stays_used() {
        let now = Instant::now();
        let mut budget = Budget::new(limits(0, 1_000_000, 0), None, now);
        budget.spend(300_000, now, HOUR);
        budget.change(limits(0, 200_000, 0));
        assert!(matches!(budget.allowance(now, HOUR), Allowance::Spent { .. }));
        assert_eq!(budget.used(), (300_000, 300_000));
        budget.change(limits(0, 0, 1_000_000));
        let Allowance::Bytes(most) = budget.allowance(now, HOUR) else { panic!("a day's share") };
        assert!((600_000..700_000).contains(&most), "{most}");
        budget.change(BudgetLimits::default());
        assert_eq!(budget.allowance(now, HOUR), Allowance::Bytes(usize::MAX));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_for_free() {
        let now = Instant::now();
        let mut budget = Budget::new(limits(0, 100_000, 0), None, now);
        budget.spend(100_000, now, 2 * HOUR);
        assert!(matches!(budget.allowance(now, HOUR), Allowance::Spent { .. }));
        assert!(matches!(budget.allowance(now, HOUR + HOUR_S), Allowance::Bytes(_)));
    }

    #[test]
    fn a_crash_costs_a_little_and_gives_nothing() {
        let now = Instant::now();
        let limits = limits(0, 1_000_000, 10_000_000);
        let mut budget = Budget::new(limits, None, now);
        let (mut disk, mut writes) = (Record::default(), 0);
        for _ in 0..300 {
            assert!(matches!(budget.allowance(now, HOUR), Allowance::Bytes(_)));
            if let Some(record) = budget.to_keep(1000) {
                (disk, writes) = (record, writes + 1);
            }
            budget.spend(1000, now, HOUR);
            assert!(disk.hour.used >= budget.used.hour.used, "the disk is ahead");
            assert!(disk.day.used < budget.used.day.used + 10_000, "but not far");
        }
        assert!(writes < 80, "{writes} writes");
        let mut again = Budget::new(limits, Some(disk), now);
        again.allowance(now, HOUR);
        assert!(again.used.hour.used >= 300_000);
        assert_eq!(budget.exact().unwrap().hour.used, 300_000);
    }

    #[test]
    fn a_meter_charges_what_waits_in_the_link_and_what_the_link_adds() {
        let mut meter = Meter::new(5000);
        assert_eq!(meter.charge(4000), 0, "the handshake");
        meter.hand(19_000);
        assert_eq!(meter.charge(4000), 20_000, "not sent yet, but it will be");
        assert_eq!(meter.charge(25_000), 0);
        assert_eq!(meter.charge(28_000), 3000, "repetitions");
    }
}
