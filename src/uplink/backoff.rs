//! How long to wait before dialling again: decorrelated jitter, so that agents do not come in herds.

use std::time::Duration;

/// Waits that grow, at random, up to a limit.
#[derive(Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    last: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    /// Waits between `least` and `most`.
    pub fn new(least: Duration, most: Duration, seed: u64) -> Self {
        Self { least, most, last: least, rng: fastrand::Rng::with_seed(seed) }
    }

    /// The next wait: between the least and three times the last one.
    pub fn next_wait(&mut self) -> Duration {
        let span = (self.last * 3).saturating_sub(self.least);
        self.last = (self.least + span.mul_f64(self.rng.f64())).min(self.most);
        self.last
    }

    /// It worked: the next wait is short again.
    pub fn reset(&mut self) {
        self.last = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_over() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::new(least, most, 7);
        let waits: Vec<_> = (0..200).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| (least..=most).contains(wait)));
        assert!(waits.iter().any(|wait| *wait > most / 2));
        backoff.reset();
        assert!(backoff.next_wait() <= least * 3);
    }
}
