//! What the collector counts of its agents, and the pulse of its parts. No clock but the caller's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::telemetry::health::HANGS_MS;
use crate::telemetry::latency::Distribution;

use super::intake::{Brought, Taken};

/// What came of one agent since the start.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(super) struct Tally {
    /// Batches that were logged.
    pub(super) batches: u64,
    /// Their bytes, as they came.
    pub(super) bytes: u64,
    /// Transactions that end in them.
    pub(super) transactions: u64,
    /// Row changes in them.
    pub(super) rows: u64,
    /// Batches that were here already.
    pub(super) duplicates: u64,
    /// How often batches were asked for again, because one was missing.
    pub(super) gaps: u64,
    /// How often the agent's operator let something be missing.
    pub(super) let_go: u64,
    /// When the transaction that was logged last was committed, in microseconds since 1970.
    pub(super) last_commit_us: u64,
    /// How old it was when it was logged, in microseconds.
    pub(super) lag_us: u64,
    /// From commit to durable.
    pub(super) latency: Distribution,
}

/// All agents, and the journal.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    agents: BTreeMap<String, Tally>,
    refused: u64,
    journal: Journal,
}

/// The journal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(super) struct Journal {
    /// The number of its last entry.
    pub(super) last: u64,
    /// Bytes of its files, looked at now and then.
    pub(super) bytes: u64,
}

impl Figures {
    /// A group of batches was logged; `now_us` is this machine's time, in microseconds since 1970.
    pub(super) fn took(&self, taken: &Taken, now_us: u64) {
        let mut inner = self.inner();
        inner.refused += taken.refused.iter().flatten().count() as u64;
        for (agent, brought) in &taken.brought {
            inner.agents.entry(agent.clone()).or_default().add(brought, now_us);
        }
    }

    /// The journal is so large.
    pub(super) fn journal_is(&self, last: u64, bytes: Option<u64>) {
        let journal = &mut self.inner().journal;
        *journal = Journal { last, bytes: bytes.unwrap_or(journal.bytes) };
    }

    /// What came of an agent.
    pub(super) fn of(&self, agent: &str) -> Tally {
        self.inner().agents.get(agent).cloned().unwrap_or_default()
    }

    /// Messages that were no batches of their sender.
    pub(super) fn refused(&self) -> u64 {
        self.inner().refused
    }

    /// The journal.
    pub(super) fn journal(&self) -> Journal {
        self.inner().journal
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn add(&mut self, brought: &Brought, now_us: u64) {
        self.batches += brought.batches;
        self.bytes += brought.bytes;
        self.rows += brought.rows;
        self.duplicates += brought.duplicates;
        self.gaps += brought.gaps;
        self.let_go += brought.let_go;
        self.transactions += brought.committed_us.len() as u64;
        for committed_us in &brought.committed_us {
            self.lag_us = now_us.saturating_sub(*committed_us);
            self.latency.observe(self.lag_us, 1);
            self.last_commit_us = *committed_us;
        }
    }
}

/// Whether a part of the collector gets on.
#[derive(Debug)]
pub(super) struct Pulse {
    what: String,
    /// Whether a failure that does not last is nobody's concern.
    patient: bool,
    beat: Mutex<Beat>,
}

#[derive(Debug)]
struct Beat {
    at: Instant,
    trouble: Option<String>,
}

impl Pulse {
    /// Of a part of this name, which begins now.
    pub(super) fn new(what: &str, patient: bool, now: Instant) -> Self {
        let beat = Mutex::new(Beat { at: now, trouble: None });
        Self { what: what.to_owned(), patient, beat }
    }

    /// It has done something, or has nothing to do.
    pub(super) fn beat(&self, now: Instant) {
        *self.locked() = Beat { at: now, trouble: None };
    }

    /// It could not do what it had to.
    pub(super) fn fails(&self, why: &str) {
        self.locked().trouble = Some(why.to_owned());
    }

    /// Why it is not well, if so.
    pub(super) fn reason(&self, now: Instant) -> Option<String> {
        let beat = self.locked();
        let silent = now.saturating_duration_since(beat.at);
        let (what, silent_s) = (&self.what, silent.as_secs());
        match &beat.trouble {
            Some(why) if !self.patient || silent > SILENT_MAX => Some(format!("{what}: {why}")),
            None if silent > SILENT_MAX => Some(format!("{what}: has not got on for {silent_s} s")),
            _ => None,
        }
    }

    /// Whether it does nothing at all for so long that only a new start helps: it neither gets on nor fails.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        let beat = self.locked();
        beat.trouble.is_none() && now.saturating_duration_since(beat.at) > HANGS
    }

    fn locked(&self) -> MutexGuard<'_, Beat> {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long nothing may happen: as at the agents.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// As at the agents, too.
const HANGS: Duration = Duration::from_millis(HANGS_MS);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: u64 = 1_795_257_314_123_456;

    #[test]
    fn what_each_agent_brought_adds_up() {
        let figures = Figures::default();
        let brought = Brought {
            batches: 2,
            bytes: 300,
            rows: 9,
            duplicates: 1,
            committed_us: vec![NOW_US - 2_000_000, NOW_US - 15_000],
            ..Brought::default()
        };
        let taken = Taken { brought: [("edge-1".to_owned(), brought)].into(), ..Taken::default() };
        figures.took(&taken, NOW_US);
        figures.took(&taken, NOW_US + 5000);
        let tally = figures.of("edge-1");
        assert_eq!((tally.batches, tally.bytes, tally.rows, tally.duplicates), (4, 600, 18, 2));
        assert_eq!((tally.transactions, tally.latency.count()), (4, 4));
        assert_eq!((tally.lag_us, tally.last_commit_us), (20_000, NOW_US - 15_000));
        assert_eq!(figures.of("edge-2"), Tally::default());
    }

    #[test]
    fn a_part_that_fails_or_stands_still_is_not_well() {
        let start = Instant::now();
        let (hasty, patient) =
            (Pulse::new("sink a", false, start), Pulse::new("broker", true, start));
        assert_eq!(hasty.reason(start + SILENT_MAX), None);
        let late = start + Duration::from_secs(75);
        assert_eq!(hasty.reason(late).unwrap(), "sink a: has not got on for 75 s");
        let much_later = start + HANGS + Duration::from_secs(1);
        assert!(hasty.hangs(much_later) && !hasty.hangs(late));
        hasty.fails("the disk is full");
        assert!(!hasty.hangs(much_later), "that is mended where it is");
        patient.fails("refused");
        assert_eq!(hasty.reason(start).unwrap(), "sink a: the disk is full");
        assert_eq!(patient.reason(start), None);
        assert_eq!(patient.reason(late).unwrap(), "broker: refused");
        hasty.beat(late);
        assert_eq!(hasty.reason(late), None);
    }
}
