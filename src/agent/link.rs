//! SHELL: the link's loop: dial, turn the pump over it, wait, dial again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use smol::Executor;
use smol::channel::Receiver;
use smol::future;

use crate::mqtt::{Bytes, Input, Reason};
use crate::telemetry::counters::{Counters, Sample};
use crate::telemetry::logger::now_us;
use crate::telemetry::status::{Path, State};
use crate::transport::{Connection, Dialer, Monitor};
use crate::uplink::{Allowance, Backoff, BudgetLimits};

use super::bell::Bell;
use super::line::{Line, Over};
use super::pump::{Notice, Pump, PumpError, Shared};
use super::purse::{self, Purse};
use super::road::{Dial, Road};

/// What the loop shares with the rest of the agent.
pub(super) struct Ties {
    /// The figures.
    pub(super) counters: Arc<Counters>,
    /// The agent's name, for its reports.
    pub(super) agent: String,
    /// Rung when something was staged, or nothing more will be.
    pub(super) staged: Arc<Bell>,
    /// Whether a batch staged now would leave at once.
    pub(super) idle: Arc<AtomicBool>,
    /// Whether a batch staged now would only lengthen a queue.
    pub(super) behind: Arc<AtomicBool>,
    /// The operator's wish to stop.
    pub(super) stop: Receiver<&'static str>,
    /// What the operator now allows to be sent.
    pub(super) budget: Receiver<BudgetLimits>,
    /// Set when nothing more will be staged.
    pub(super) finished: Arc<AtomicBool>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// A signal, by its name.
    Stopped(&'static str),
    /// Everything that will ever be staged has been acknowledged.
    Drained,
}

/// Why a connection ended, and how long the next one must be waited for at least.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    wait_least: Duration,
}

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// After another connection under our name has ended ours.
const BACKOFF_RIVAL: Duration = Duration::from_secs(10);
/// Bytes of batches that leave before the peer has answered: what a new QUIC connection may have under
/// way, and a batch.
const EARLY_BYTES: usize = 16 * 1024;

/// Runs until told to stop, or until everything is delivered. QUIC's tasks run within it: all that waits
/// for the network does so on one thread.
pub(super) async fn run(pump: &mut Pump, dial: Dial, shared: Shared, ties: &Ties) -> End {
    let tasks = Arc::new(Executor::new());
    let mut trip = Trip {
        purse: Purse::open(dial.budget, shared.clone(), Arc::clone(&ties.counters)),
        road: Road::open(dial, Dialer::on(Arc::clone(&tasks)), shared.clone()),
        shared,
        backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX, fastrand::u64(..)),
        first: true,
        ties,
    };
    let Err(end) = tasks.run(trip.run(pump)).await;
    trip.purse.close();
    end
}

/// What outlives a connection.
pub(super) struct Trip<'a> {
    pub(super) road: Road,
    pub(super) purse: Purse,
    pub(super) shared: Shared,
    backoff: Backoff,
    /// No connection has come about yet.
    first: bool,
    pub(super) ties: &'a Ties,
}

impl Trip<'_> {
    async fn run(&mut self, pump: &mut Pump) -> Result<std::convert::Infallible, End> {
        let ties = self.ties;
        loop {
            self.afford().await?;
            self.connecting();
            let (lost, must_wait) = match self.dial(pump).await? {
                Ok((connection, unsent)) => self.converse(pump, connection, unsent).await?,
                Err(lost) => (lost, self.road.lost(false, Instant::now())),
            };
            ties.idle.store(false, Ordering::Relaxed);
            ties.behind.store(true, Ordering::Relaxed);
            // Only the session's memory is cleared; its words for a lost link say nothing new.
            let _ = pump.handle(Input::Lost, Instant::now());
            let wait = if must_wait { self.backoff.next_wait() } else { Duration::ZERO };
            let wait = wait.max(lost.wait_least);
            warn!(
                "uplink: {}; next try, of {}, in {:.1} s",
                lost.why,
                self.road.endpoint(),
                wait.as_secs_f64()
            );
            self.connecting();
            self.pause(wait).await?;
            if pump.is_drained() && ties.finished.load(Ordering::Acquire) {
                return Err(End::Drained);
            }
        }
    }

    fn connecting(&self) {
        self.ties.counters.link_is(State::Connecting, Instant::now());
        self.ties.counters.link_to(&self.road.endpoint().to_string());
    }

    /// Waits until the budget has room for a connection.
    async fn afford(&mut self) -> Result<(), End> {
        let mut told = false;
        loop {
            match self.purse.may_dial() {
                Allowance::Bytes(_) => return Ok(()),
                Allowance::At(at) => self.pause(at - Instant::now()).await?,
                Allowance::Spent { until_s } => {
                    self.ties.counters.link_is(State::OverBudget, Instant::now());
                    if !std::mem::replace(&mut told, true) {
                        warn!(
                            "uplink: the budget of this hour or day is used up; the link stays closed \
                             until the next begins"
                        );
                    }
                    self.pause(purse::until(until_s)).await?;
                }
            }
        }
    }

    /// Waits; not longer than until something else may be sent than before.
    async fn pause(&mut self, time: Duration) -> Result<(), End> {
        let waited = async {
            smol::Timer::after(time).await;
            Ok(None)
        };
        let changed = async { Ok(Some(allowed(self.ties).await)) };
        let changed = future::or(stopped(self.ties), future::or(changed, waited)).await?;
        if let Some(limits) = changed {
            self.keep_to(limits);
        }
        Ok(())
    }

    /// The operator allows so much from now on.
    fn keep_to(&mut self, limits: BudgetLimits) {
        self.purse.change(limits);
        self.road.keep_to(limits);
    }

    /// Opens the session and a connection for it. What of the session's first bytes the connection has
    /// not taken yet comes with it.
    async fn dial(
        &mut self,
        pump: &mut Pump,
    ) -> Result<Result<(Connection, Vec<Bytes>), Lost>, End> {
        let hello = match self.open(pump) {
            Ok(hello) => hello,
            Err(error) => return Ok(Err(Lost::from(&error))),
        };
        let dialled = async { Ok(self.road.connect(&hello).await) };
        let dialled = future::or(stopped(self.ties), dialled).await?;
        Ok(match dialled {
            Ok(connection) => {
                let unsent = if connection.early { Vec::new() } else { hello };
                Ok((connection, unsent))
            }
            Err(error) => {
                self.purse.dialled();
                Err(error.to_string().into())
            }
        })
    }

    /// The first bytes of a session at the current endpoint.
    fn open(&mut self, pump: &mut Pump) -> Result<Vec<Bytes>, PumpError> {
        let now = Instant::now();
        // A budget is not to be spent on what the collector may have already, as its first word will tell.
        let early_bytes = if self.purse.is_limited() { 0 } else { EARLY_BYTES };
        pump.handle(Input::Opened, now)?;
        pump.hasten(self.road.begin(), early_bytes, now)?;
        Ok(std::iter::from_fn(|| pump.poll()).collect())
    }

    /// One connection, and those that take its place without a pause. Why the last one was lost, and
    /// whether the next dial has to wait.
    async fn converse(
        &mut self,
        pump: &mut Pump,
        connection: Connection,
        unsent: Vec<Bytes>,
    ) -> Result<(Lost, bool), End> {
        let mut line = Line::new(connection, unsent);
        loop {
            if !std::mem::take(&mut self.first) {
                self.ties.counters.reconnects.add(1);
            }
            self.purse.begin(line.monitor());
            let monitor = line.monitor();
            self.ties.counters.road_begins(move || sample(&monitor));
            let over = line.run(pump, self).await;
            self.ties.counters.road_ends();
            self.purse.end();
            match over {
                Over::End(end) => return Err(end),
                Over::Lost(lost) => {
                    return Ok((lost, self.road.lost(line.has_answered(), Instant::now())));
                }
                Over::Spent => {
                    let lost = Lost::from("the budget is used up".to_owned());
                    self.road.lost(line.has_answered(), Instant::now());
                    return Ok((lost, false));
                }
                Over::Allowed(limits) => {
                    self.keep_to(limits);
                    self.road.lost(line.has_answered(), Instant::now());
                    return Ok(("the budget is another one".to_owned().into(), false));
                }
                Over::Replaced(connection) => {
                    self.ties.counters.link_to(&self.road.endpoint().to_string());
                    let _ = pump.handle(Input::Lost, Instant::now());
                    line = match self.open(pump) {
                        Ok(hello) => Line::new(*connection, hello),
                        Err(error) => {
                            let must_wait = self.road.lost(false, Instant::now());
                            return Ok((Lost::from(&error), must_wait));
                        }
                    };
                }
            }
        }
    }

    /// Logs and counts what happened.
    pub(super) fn tell(&mut self, pump: &mut Pump, address: &str) {
        let counters = &self.ties.counters;
        while let Some(notice) = pump.notice() {
            let now = Instant::now();
            match notice {
                Notice::Online(limits) => {
                    info!("uplink: connected to {} at {address}", self.road.endpoint());
                    self.backoff.reset();
                    self.road.worked(limits, now);
                    counters.link_is(State::Connected, now);
                }
                Notice::Sent { .. } => counters.batches_sent.add(1),
                Notice::Acknowledged { sequence, batches } => {
                    counters.acknowledged(sequence.0, batches, now, now_us());
                }
                Notice::Rewound(why) => {
                    warn!("uplink: everything unacknowledged is sent again: {why}");
                }
                Notice::NewEpoch { epoch, why } => {
                    counters.renumbered();
                    warn!("uplink: epoch {epoch} begins: {why}");
                }
                Notice::Healed(what) => {
                    counters.renumbered();
                    error!("{what}");
                }
                Notice::Lost(lost) => error!(
                    "uplink: {lost}: nothing leaves until the source has been read again from there"
                ),
                Notice::Rejected(reason) => {
                    error!("uplink: the collector did not take a batch: {reason}");
                }
            }
        }
    }
}

/// Never yields `Ok`.
pub(super) async fn stopped<T>(ties: &Ties) -> Result<T, End> {
    Err(End::Stopped(ties.stop.recv().await.unwrap_or("the end of the program")))
}

/// Waits until something else may be sent than before.
pub(super) async fn allowed(ties: &Ties) -> BudgetLimits {
    match ties.budget.recv().await {
        Ok(limits) => limits,
        Err(_) => std::future::pending().await,
    }
}

/// How a connection is, for those who watch.
fn sample(monitor: &Monitor) -> Sample {
    let Some(link) = monitor.statistics() else {
        return Sample { wire_bytes: monitor.cost(), ..Sample::default() };
    };
    let rtt_us = u64::try_from(link.rtt.as_micros()).unwrap_or(u64::MAX);
    let (window_bytes, mtu_bytes) = (link.congestion_window, link.mtu.into());
    Sample {
        wire_bytes: monitor.cost(),
        packets_sent: link.sent_packets,
        packets_lost: link.lost_packets,
        path: Some(Path { rtt_us, window_bytes, mtu_bytes }),
    }
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        Self { why, wait_least: Duration::ZERO }
    }
}

impl From<&PumpError> for Lost {
    fn from(error: &PumpError) -> Self {
        match error {
            PumpError::Buffer(error) => format!("the buffer cannot be read: {error}").into(),
            // Each of the two ends the other's connection as often as it comes back.
            PumpError::Refused(Reason::TAKEN_OVER) => Self {
                why: format!("{error}: is a second agent running under this name?"),
                wait_least: BACKOFF_RIVAL,
            },
            error => error.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_under_our_name_is_not_fought_without_a_pause() {
        let lost = Lost::from(&PumpError::Refused(Reason::TAKEN_OVER));
        assert!(lost.wait_least >= Duration::from_secs(1), "{:?}", lost.wait_least);
        assert!(lost.why.contains("second agent"), "{}", lost.why);
        assert_eq!(Lost::from(&PumpError::Quarrel).wait_least, Duration::ZERO);
    }
}
