//! How long changes take: a histogram, and what was staged and is not acknowledged yet. No clock.
//!
//! What waits is remembered in a ring of bounded length. In a long outage neighbours are joined: each
//! then counts from the older one's commit, so that nothing that was slow looks fast, and nothing is left out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Upper ends of the histogram's buckets, in milliseconds; above the last one there is one more bucket.
pub const BOUNDS_MS: [u64; 10] = [10, 20, 50, 100, 200, 350, 500, 1000, 5000, 60_000];

/// How often something took how long.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How often it took as long as each of [`BOUNDS_MS`] at most, and longer than the one before; the last
    /// one is above all. Empty if nothing was observed.
    pub counts: Vec<u64>,
    /// All of it, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// It took so long, so often.
    pub fn observe(&mut self, us: u64, times: u64) {
        self.counts.resize(BOUNDS_MS.len() + 1, 0);
        let bucket = BOUNDS_MS.iter().take_while(|bound| us > **bound * 1000).count();
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(times);
        }
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(times));
    }

    /// How often in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What came after `before`, an earlier moment of the same.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then));
        Self { counts: counts.collect(), sum_us: self.sum_us.saturating_sub(before.sum_us) }
    }

    /// The end of the bucket, in milliseconds, below which so many percent are: `None` if that is the last
    /// one, which has none, or if there is nothing.
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let wanted = self.count().saturating_mul(percent).div_ceil(100).max(1);
        let mut sum = 0u64;
        for (count, bound) in self.counts.iter().zip(BOUNDS_MS) {
            sum = sum.saturating_add(*count);
            if sum >= wanted {
                return Some(bound);
            }
        }
        None
    }
}

/// Transactions on their way from the buffer to the collector.
#[derive(Debug, Default)]
pub struct Underway {
    waiting: VecDeque<Staged>,
    /// From commit to acknowledgement.
    taken: Distribution,
}

#[derive(Clone, Copy, Debug)]
struct Staged {
    /// The last batch that they are in.
    upto: u64,
    transactions: u64,
    /// When the oldest of them was committed, in microseconds since 1970.
    committed_us: u64,
}

impl Underway {
    /// Transactions were staged, the last of them in the batch of this number; `committed_us` is when the
    /// oldest of them was committed and `now_us` this machine's time, in microseconds since 1970.
    pub fn staged(&mut self, upto: u64, transactions: u64, committed_us: u64, now_us: u64) {
        if transactions == 0 {
            return;
        }
        if self.waiting.back().is_some_and(|last| last.upto >= upto) {
            // The numbers have begun anew.
            self.waiting.clear();
        }
        if self.waiting.len() >= WAITING_MAX {
            self.join();
        }
        let committed_us = likely(committed_us, now_us);
        self.waiting.push_back(Staged { upto, transactions, committed_us });
    }

    /// The collector has everything up to the batch of this number.
    pub fn acknowledged(&mut self, upto: u64, now_us: u64) {
        while let Some(first) = self.waiting.front().copied()
            && first.upto <= upto
        {
            self.waiting.pop_front();
            let took_us = now_us.saturating_sub(first.committed_us);
            self.taken.observe(took_us, first.transactions);
        }
    }

    /// The batches get other numbers: what waits can be told apart no longer.
    pub fn renumbered(&mut self) {
        self.waiting.clear();
    }

    /// How long they took.
    pub fn taken(&self) -> &Distribution {
        &self.taken
    }

    /// Makes one of each two neighbours.
    fn join(&mut self) {
        let all: Vec<Staged> = self.waiting.drain(..).collect();
        self.waiting.extend(all.chunks(2).filter_map(|pair| {
            let last = pair.last()?;
            Some(Staged {
                upto: last.upto,
                transactions: pair.iter().map(|one| one.transactions).sum(),
                committed_us: pair.iter().map(|one| one.committed_us).min()?,
            })
        }));
    }
}

/// When a transaction was committed that a log dates with `committed_us`. Many dates are whole seconds: then it
/// was at some time in that second, and not later than now.
pub(super) fn likely(committed_us: u64, now_us: u64) -> u64 {
    if committed_us.is_multiple_of(SECOND_US) {
        committed_us.saturating_add(SECOND_US).min(now_us)
    } else {
        committed_us
    }
}

const SECOND_US: u64 = 1_000_000;
/// 96 kB.
const WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN_US: u64 = 1_795_257_314_123_456;

    #[test]
    fn each_falls_into_the_bucket_whose_end_it_does_not_exceed() {
        let mut taken = Distribution::default();
        for (us, times) in [(0, 1), (10_000, 1), (10_001, 3), (350_000, 1), (60_000_001, 2)] {
            taken.observe(us, times);
        }
        assert_eq!(taken.counts, [2, 3, 0, 0, 0, 1, 0, 0, 0, 0, 2]);
        assert_eq!((taken.count(), taken.sum_us), (8, 10_000 + 30_003 + 350_000 + 120_000_002));
        assert_eq!((taken.percentile_ms(25), taken.percentile_ms(50)), (Some(10), Some(20)));
        assert_eq!((taken.percentile_ms(75), taken.percentile_ms(99)), (Some(350), None));
        assert_eq!(Distribution::default().percentile_ms(50), None);
    }

    #[test]
    fn what_came_since_is_a_distribution_too() {
        let mut now = Distribution::default();
        now.observe(15_000, 3);
        assert_eq!(now.since(&Distribution::default()), now);
        let before = now.clone();
        now.observe(90_000, 1);
        assert_eq!((now.since(&before).count(), now.since(&before).sum_us), (1, 90_000));
    }

    #[test]
    fn transactions_are_timed_from_their_commit_to_their_acknowledgement() {
        let mut underway = Underway::default();
        underway.staged(1, 2, BEGAN_US, BEGAN_US + 5000);
        underway.staged(2, 0, BEGAN_US, BEGAN_US + 5000);
        underway.staged(3, 1, BEGAN_US + 40_000, BEGAN_US + 45_000);
        underway.acknowledged(2, BEGAN_US + 60_000);
        assert_eq!((underway.taken().count(), underway.taken().sum_us), (2, 120_000));
        underway.acknowledged(3, BEGAN_US + 60_000);
        assert_eq!((underway.taken().count(), underway.taken().sum_us), (3, 140_000));
    }

    #[test]
    fn other_numbers_are_not_mistaken_for_the_old_ones() {
        let mut underway = Underway::default();
        underway.staged(70, 1, BEGAN_US, BEGAN_US);
        underway.staged(1, 1, BEGAN_US, BEGAN_US);
        underway.acknowledged(1, BEGAN_US);
        assert_eq!(underway.taken().count(), 1);
        underway.staged(2, 1, BEGAN_US, BEGAN_US);
        underway.renumbered();
        underway.acknowledged(9, BEGAN_US);
        assert_eq!(underway.taken().count(), 1);
    }

    #[test]
    fn a_long_outage_takes_bounded_memory_and_nothing_slow_looks_fast() {
        let mut underway = Underway::default();
        let outage = 10 * WAITING_MAX as u64;
        for number in 1..=outage {
            underway.staged(number, 1, BEGAN_US + number * 1000 + 1, BEGAN_US + number * 1000);
            assert!(underway.waiting.len() <= WAITING_MAX);
        }
        let end_us = BEGAN_US + outage * 1000 + 60_000_000;
        underway.acknowledged(outage, end_us);
        let least = (1..=outage).map(|number| end_us - BEGAN_US - number * 1000 - 1).sum::<u64>();
        assert_eq!(underway.taken().count(), outage);
        assert!(underway.taken().sum_us >= least);
    }

    #[test]
    fn a_date_of_whole_seconds_is_believed_to_the_second() {
        let second = BEGAN_US - BEGAN_US % SECOND_US;
        assert_eq!(likely(second, second + 300_000), second + 300_000);
        assert_eq!(likely(second, second + 9_000_000), second + SECOND_US);
        assert_eq!(likely(second + 1, second + 9_000_000), second + 1);
    }
}
