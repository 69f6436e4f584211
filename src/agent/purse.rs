//! SHELL: the budget with its clock, the link that it pays for, and the disk that remembers it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::warn;

use crate::telemetry::counters::Counters;
use crate::telemetry::status::{self, Share};
use crate::transport::Monitor;
use crate::uplink::{Allowance, Budget, BudgetLimits, Meter, Record};

use super::pump::Shared;

/// See the module.
pub(super) struct Purse {
    budget: Budget,
    /// The connection that is paid for.
    link: Option<(Monitor, Meter)>,
    shared: Shared,
    counters: Arc<Counters>,
    /// Whether the disk did not take the last record.
    untold: bool,
}

impl Purse {
    /// Goes on with what the buffer says that the hour and the day have used.
    pub(super) fn open(limits: BudgetLimits, shared: Shared, counters: Arc<Counters>) -> Self {
        let kept = shared.lock().buffer.note(NOTE).ok().flatten();
        let kept: Option<Record> = kept.and_then(|note| postcard::from_bytes(&note).ok());
        let budget = Budget::new(limits, kept, Instant::now());
        let purse = Self { budget, link: None, shared, counters, untold: false };
        purse.tell();
        purse
    }

    /// Keeps to other limits from now on. What this hour and day have used counts, as far as it was counted.
    pub(super) fn change(&mut self, limits: BudgetLimits) {
        self.budget.change(limits);
        self.tell();
    }

    /// Whether there is any limit.
    pub(super) fn is_limited(&self) -> bool {
        self.budget.is_limited()
    }

    /// Pays for this connection from now on, its handshake and its search for the path's MTU included.
    pub(super) fn begin(&mut self, monitor: Monitor) {
        self.end();
        self.pay(DIAL_BYTES);
        self.link = Some((monitor, Meter::new(DIAL_BYTES)));
    }

    /// The connection is over.
    pub(super) fn end(&mut self) {
        self.settle(0);
        self.link = None;
    }

    /// A dial that brings no connection, or brings one that will be paid for.
    pub(super) fn dialled(&mut self) {
        self.pay(UNANSWERED_BYTES);
    }

    /// Whether a dial may begin.
    pub(super) fn may_dial(&mut self) -> Allowance {
        let allowance = self.budget.save_up(DIAL_BYTES, Instant::now(), unix_s());
        self.tell();
        allowance
    }

    /// What may be handed to the link now.
    pub(super) fn allowance(&mut self) -> Allowance {
        if !self.is_limited() {
            return Allowance::Bytes(usize::MAX);
        }
        self.settle(0);
        self.budget.allowance(Instant::now(), unix_s())
    }

    /// So many bytes were handed to the link.
    pub(super) fn hand(&mut self, bytes: usize) {
        self.settle(bytes as u64);
    }

    /// Writes down what was really used, for an end in good order.
    pub(super) fn close(mut self) {
        self.end();
        if let Some(record) = self.budget.exact() {
            self.write(record);
        }
    }

    fn pay(&mut self, bytes: u64) {
        if self.is_limited() {
            self.keep(bytes);
            self.budget.spend(bytes, Instant::now(), unix_s());
        }
    }

    fn settle(&mut self, handed: u64) {
        let Some((monitor, meter)) = self.link.as_mut().filter(|_| self.budget.is_limited()) else {
            return;
        };
        meter.hand(handed);
        let due = meter.charge(monitor.cost());
        self.budget.spend(due, Instant::now(), unix_s());
        self.keep(SLACK_BYTES);
        self.tell();
    }

    /// Those who watch want to know.
    fn tell(&self) {
        let (limits, (hour, day)) = (self.budget.limits(), self.budget.used());
        let share = |bytes, limit: Option<u64>| limit.map(|bytes_max| Share { bytes, bytes_max });
        self.counters.budget_is(status::Budget {
            second_bytes_max: limits.per_second,
            hour: share(hour, limits.per_hour),
            day: share(day, limits.per_day),
        });
    }

    fn keep(&mut self, ahead: u64) {
        if let Some(record) = self.budget.to_keep(ahead) {
            self.write(record);
        }
    }

    fn write(&mut self, record: Record) {
        let note = postcard::to_allocvec(&record).expect("a record of plain values encodes");
        let written = self.shared.lock().buffer.set_note(NOTE, &note);
        if let Err(error) = &written
            && !self.untold
        {
            warn!("uplink: a restart would forget what the budget has used: {error}");
        }
        self.untold = written.is_err();
    }
}

/// When a second of Unix time will be, by this machine's clock of today.
pub(super) fn until(unix: u64) -> Duration {
    Duration::from_secs(unix.saturating_sub(unix_s()).clamp(1, LOOK_AGAIN_S))
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The note's name in the buffer.
const NOTE: &str = "budget";
/// A handshake with certificates, and the probes of a new path's MTU.
const DIAL_BYTES: u64 = 12_000;
/// Five first packets that nobody answers.
const UNANSWERED_BYTES: u64 = 6000;
/// What a connection sends without being asked between two looks at it.
const SLACK_BYTES: u64 = 16 * 1024;
/// The machine's clock may be set while we wait.
const LOOK_AGAIN_S: u64 = 60;
