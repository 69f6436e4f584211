//! Which endpoint to dial: the one that worked last, then the others in the order of preference, and
//! back to a better one as soon as that works again. While the one in use is silent, another may be tried
//! beside it: a detour.
//!
//! ```text
//!  endpoints   0: quic   1: mqtts        0 is the best
//!
//!  dial 0 ──fails──► dial 1 ──works──► remember 1 ──probe_every──► probe 0 beside the link ──works──► switch
//!                      └──fails──► the round is over: wait, then begin with what worked last
//! ```

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Route {
    count: usize,
    /// What worked last.
    remembered: usize,
    /// The one to be dialled, or in use.
    current: usize,
    /// How many of this round have failed.
    failed: usize,
    probe_every: Duration,
    /// Whether the current one was reached by a switch and has not worked yet.
    switched: bool,
    /// How often a better endpoint has come about and not held.
    relapses: u32,
    /// When the one in use began to work.
    worked_at: Option<Instant>,
    probe_at: Option<Instant>,
    /// The next to be probed.
    probe: usize,
    /// How many detours have come to nothing since one worked or the link had proven itself.
    dead_ends: u32,
    /// There is none before.
    detour_at: Option<Instant>,
}

/// A link that lasts so long has proven itself.
const PROVEN: Duration = Duration::from_secs(60);
/// A better endpoint that never holds is tried this many times more seldom at most, as a power of 2.
const RELAPSES_MAX: u32 = 5;
/// The time to the next detour; it doubles with each that comes to nothing, as often as relapses do.
const DETOUR_EVERY: Duration = Duration::from_secs(10);

impl Route {
    /// A route over `count` endpoints, 1 and up, of which `remembered` worked when we last knew.
    pub fn new(count: usize, remembered: usize, probe_every: Duration) -> Self {
        let remembered = if remembered < count { remembered } else { 0 };
        Self {
            count: count.max(1),
            remembered,
            current: remembered,
            failed: 0,
            probe_every,
            switched: false,
            relapses: 0,
            worked_at: None,
            probe_at: None,
            probe: 0,
            dead_ends: 0,
            detour_at: None,
        }
    }

    /// The one to dial now, or that is in use.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The current one did not come about. True if all were tried: wait before the next.
    pub fn failed(&mut self) -> bool {
        if std::mem::take(&mut self.switched) {
            if self.current < self.remembered {
                self.relapsed();
            } else {
                self.dead_ends = (self.dead_ends + 1).min(RELAPSES_MAX);
            }
            self.current = self.remembered;
            return false;
        }
        self.failed += 1;
        let over = self.failed >= self.count;
        if over {
            self.failed = 0;
        }
        self.current = self.after_remembered(self.failed);
        over
    }

    /// The current one works: the collector answered. True if that is news to be remembered.
    pub fn worked(&mut self, now: Instant) -> bool {
        let news = self.remembered != self.current;
        (self.remembered, self.failed) = (self.current, 0);
        (self.worked_at, self.switched, self.probe) = (Some(now), false, 0);
        self.schedule(now);
        news
    }

    /// The current one worked and is lost: it is dialled first.
    pub fn lost(&mut self, now: Instant) {
        let held =
            self.worked_at.take().is_some_and(|at| now.saturating_duration_since(at) >= PROVEN);
        if !held && self.current + 1 < self.count {
            self.relapsed();
        } else if self.current == 0 {
            self.relapses = 0;
        }
        if held {
            self.dead_ends = 0;
        }
        self.probe_at = None;
    }

    /// The better endpoint to try beside the link, and when.
    pub fn probe(&self) -> Option<(usize, Instant)> {
        Some((self.probe, self.probe_at?))
    }

    /// The probe did not come about.
    pub fn probe_failed(&mut self, now: Instant) {
        self.probe = (self.probe + 1) % self.current.max(1);
        self.schedule(now);
    }

    /// Whether there may be a detour now; then it begins.
    pub fn detour(&mut self, now: Instant) -> bool {
        let may = self.detour_at.is_none_or(|at| at <= now);
        if may {
            self.detour_at = Some(now + DETOUR_EVERY * 2u32.pow(self.dead_ends));
        }
        may
    }

    /// The detour did not come about.
    pub fn detour_failed(&mut self, now: Instant) {
        self.dead_ends = (self.dead_ends + 1).min(RELAPSES_MAX);
        self.detour_at = Some(now + DETOUR_EVERY * 2u32.pow(self.dead_ends));
    }

    /// What was dialled beside the link came about, a probe or a detour: it is the link now.
    pub fn switch(&mut self, to: usize, now: Instant) {
        if to > self.current {
            self.lost(now);
        }
        (self.current, self.switched) = (to, true);
        (self.failed, self.worked_at, self.probe_at) = (0, None, None);
    }

    fn relapsed(&mut self) {
        self.relapses = (self.relapses + 1).min(RELAPSES_MAX);
    }

    fn schedule(&mut self, now: Instant) {
        let wait = self.probe_every * 2u32.pow(self.relapses);
        self.probe_at = (self.current > 0).then(|| now + wait);
    }

    /// The `nth` in the order: the remembered one, then the others.
    fn after_remembered(&self, nth: usize) -> usize {
        match nth.checked_sub(1) {
            None => self.remembered,
            Some(other) if other < self.remembered => other,
            Some(other) => other + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    #[test]
    fn all_are_tried_in_their_order_before_a_wait() {
        let mut route = Route::new(3, 0, EVERY);
        assert_eq!(route.current(), 0);
        assert!(!route.failed());
        assert_eq!(route.current(), 1);
        assert!(!route.failed());
        assert_eq!(route.current(), 2);
        assert!(route.failed());
        assert_eq!(route.current(), 0);
    }

    #[test]
    fn what_worked_is_remembered_and_tried_first() {
        let now = Instant::now();
        let mut route = Route::new(3, 0, EVERY);
        route.failed();
        assert!(route.worked(now), "news");
        assert!(!route.worked(now), "no news");
        route.lost(now + PROVEN);
        assert_eq!(route.current(), 1);
        let order: Vec<_> = (0..3).map(|_| (route.current(), route.failed()).0).collect();
        assert_eq!(order, [1, 0, 2]);
        assert_eq!(Route::new(3, 2, EVERY).current(), 2);
        assert_eq!(Route::new(2, 7, EVERY).current(), 0, "the list became shorter");
    }

    #[test]
    fn better_ones_are_probed_in_turn_and_the_best_one_probes_nothing() {
        let now = Instant::now();
        let mut route = Route::new(3, 2, EVERY);
        assert_eq!(route.probe(), None, "nothing stands yet");
        route.worked(now);
        assert_eq!(route.probe(), Some((0, now + EVERY)));
        route.probe_failed(now + EVERY);
        assert_eq!(route.probe(), Some((1, now + 2 * EVERY)));
        route.probe_failed(now + 2 * EVERY);
        assert_eq!(route.probe(), Some((0, now + 3 * EVERY)));
        route.switch(0, now);
        assert_eq!((route.current(), route.probe()), (0, None));
        assert!(route.worked(now));
        assert_eq!(route.probe(), None);
    }

    #[test]
    fn a_switch_that_does_not_hold_falls_back_and_is_tried_more_seldom() {
        let mut now = Instant::now();
        let mut route = Route::new(2, 1, EVERY);
        for relapse in 0..10 {
            route.worked(now);
            let (probed, at) = route.probe().unwrap();
            assert_eq!((probed, at), (0, now + EVERY * 2u32.pow(relapse.min(RELAPSES_MAX))));
            now = at;
            route.switch(0, now);
            // The handshake came about, the collector's answer did not.
            assert!(!route.failed(), "no wait");
            assert_eq!(route.current(), 1, "back to what worked");
        }
        route.worked(now);
        route.switch(0, now);
        route.worked(now);
        route.lost(now + PROVEN);
        assert_eq!(route.relapses, 0, "it held");
    }

    #[test]
    fn a_detour_becomes_the_link_and_the_better_one_is_probed_from_there() {
        let now = Instant::now();
        let mut route = Route::new(2, 0, EVERY);
        route.worked(now);
        let blocked = now + PROVEN;
        assert!(route.detour(blocked));
        route.switch(1, blocked);
        assert!(route.worked(blocked), "news");
        assert_eq!((route.current(), route.probe()), (1, Some((0, blocked + EVERY))));

        route.switch(0, blocked);
        route.worked(blocked);
        let soon = blocked + DETOUR_EVERY;
        assert!(route.detour(soon));
        route.switch(1, soon);
        route.worked(soon);
        assert_eq!(route.probe(), Some((0, soon + 2 * EVERY)), "the better one did not hold");
    }

    #[test]
    fn detours_that_lead_nowhere_are_tried_more_and_more_seldom() {
        let mut now = Instant::now();
        let mut route = Route::new(2, 0, EVERY);
        route.worked(now);
        let mut waits = Vec::new();
        for round in 0..8 {
            let tried = now;
            assert!(route.detour(now));
            if round == 0 {
                // The handshake came about, the collector's answer did not.
                route.switch(1, now);
                assert!(!route.failed(), "no wait");
                assert_eq!((route.current(), route.relapses), (0, 1));
            } else {
                route.detour_failed(now);
            }
            while !route.detour(now) {
                now += Duration::from_secs(1);
            }
            waits.push((now - tried).as_secs());
            (route.detour_at, now) = (None, now + Duration::from_secs(1));
        }
        assert_eq!(waits, [10, 40, 80, 160, 320, 320, 320, 320]);
        route.worked(now);
        route.lost(now + PROVEN);
        assert_eq!(route.dead_ends, 0);
    }
}
