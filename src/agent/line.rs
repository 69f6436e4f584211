//! SHELL: one connection: what arrives goes to the pump, what the pump has leaves, as the budget allows.
//!
//! Reading never waits for writing: a link that takes nothing still brings acknowledgements.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use smol::future;

use crate::mqtt::{Bytes, Input, Reason};
use crate::transport::{Alarm, Connection, Monitor, Peer, Reader, TransportError, Writer};
use crate::uplink::{Allowance, BudgetLimits, Silence};

use super::link::{End, Lost, Trip, allowed, stopped};
use super::pump::{Pump, PumpError};
use super::road::Beside;

/// How a connection ended.
pub(super) enum Over {
    /// The loop is to end.
    End(End),
    /// It broke.
    Lost(Lost),
    /// The hour's or the day's budget is used up.
    Spent,
    /// The operator allows something else to be sent than before.
    Allowed(BudgetLimits),
    /// Another one, made beside it, takes its place.
    Replaced(Box<Connection>),
}

/// See the module.
pub(super) struct Line {
    reader: Reader,
    writer: Writer,
    monitor: Monitor,
    peer: Peer,
    buffer: Vec<u8>,
    /// Packets that leave next.
    out: VecDeque<Bytes>,
    /// Part of the first of them has left already.
    torn: bool,
    /// All that left is in the system's hands.
    flushed: bool,
    alarm: Alarm,
    beside: Option<Beside>,
    silence: Silence,
    listen_at: Instant,
    report_at: Instant,
    /// What was reported last, and when it is compared with how the agent is.
    was_healthy: Option<bool>,
    compare_at: Instant,
    answered: bool,
}

/// What a line waits for.
enum Event {
    Read(Result<usize, TransportError>),
    Wrote(Result<usize, TransportError>),
    Flushed(Result<(), TransportError>),
    Staged,
    Tick,
    Beside(Result<Connection, TransportError>),
    Allowed(BudgetLimits),
    Stop(End),
}

/// How often the agent's state is published, beside when its health has changed.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// How often a link with a budget is asked what it has sent.
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked whether the peer is silent, while it owes an answer and otherwise.
const LISTEN_EVERY: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// The longest goodbye.
const FAREWELL_MAX: Duration = Duration::from_millis(600);
/// A goodbye that would cost more than this under a budget is not said.
const FAREWELL_BYTES_MAX: usize = 1500;
/// Handed over at a time.
const PORTION: usize = 64 * 1024;

impl Line {
    /// A line over a connection, on which `out` is to be written first.
    pub(super) fn new(connection: Connection, out: Vec<Bytes>) -> Self {
        let Connection { reader, writer, monitor, peer, .. } = connection;
        Self {
            reader,
            writer,
            monitor,
            peer,
            buffer: vec![0; 16 * 1024],
            out: out.into(),
            torn: false,
            flushed: true,
            alarm: Alarm::at(Instant::now()),
            beside: None,
            silence: Silence::default(),
            listen_at: Instant::now(),
            report_at: Instant::now(),
            was_healthy: None,
            compare_at: Instant::now(),
            answered: false,
        }
    }

    /// Tells what the connection costs.
    pub(super) fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Whether the collector took us in on this connection.
    pub(super) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Runs to the connection's end.
    pub(super) async fn run(&mut self, pump: &mut Pump, trip: &mut Trip<'_>) -> Over {
        let address = self.peer.address.to_string();
        let mut turned = Ok(());
        let (mut stop, mut allowed) = (pin!(stopped(trip.ties)), pin!(allowed(trip.ties)));
        loop {
            trip.tell(pump, &address);
            self.answered |= pump.is_ready();
            self.out.extend(std::iter::from_fn(|| pump.poll()));
            if let Err(error) = turned {
                self.say_the_rest(trip).await;
                return Over::Lost(Lost::from(&error));
            }
            let ties = trip.ties;
            ties.idle.store(pump.is_idle(), Ordering::Relaxed);
            ties.behind.store(pump.is_behind(), Ordering::Relaxed);
            let now = Instant::now();
            if pump.is_ready() && self.report_at.min(self.compare_at) <= now {
                turned = self.report(pump, trip, now);
                continue;
            }
            if ties.finished.load(Ordering::Acquire) && pump.is_drained() {
                self.farewell(Reason::WITH_WILL, pump, trip).await;
                return Over::End(End::Drained);
            }
            self.look_around(pump, trip, now);
            let allowance = trip.purse.allowance();
            if let Allowance::Spent { .. } = allowance {
                self.farewell(Reason::WITH_WILL, pump, trip).await;
                return Over::Spent;
            }
            let orders = (stop.as_mut(), allowed.as_mut());
            let event = self.wait(pump, trip, allowance, orders).await;
            turned = match self.take(event, pump, trip).await {
                Ok(turned) => turned,
                Err(over) => return over,
            };
        }
    }

    /// Dials beside the link what is worth it: something better, or anything while the link is silent.
    fn look_around(&mut self, pump: &Pump, trip: &mut Trip<'_>, now: Instant) {
        if !self.answered {
            return;
        }
        let mut silent = false;
        if self.listen_at <= now && trip.road.has_detour() {
            silent = self.is_silent(now);
            let waits = self.silence.is_waiting() || !pump.is_idle();
            self.listen_at = now + LISTEN_EVERY[usize::from(!waits)];
        }
        if self.beside.is_none() {
            self.beside = trip.road.beside(now);
            if self.beside.is_none() && silent {
                self.beside = trip.road.detour(now);
            }
            if self.beside.is_some() {
                trip.purse.dialled();
            }
        } else if self.beside.as_ref().is_some_and(Beside::is_detour) && !self.silence.is_waiting()
        {
            self.beside = None;
        }
    }

    fn is_silent(&mut self, now: Instant) -> bool {
        self.monitor
            .statistics()
            .is_some_and(|link| self.silence.look(link.asked, link.received_bytes, link.rtt, now))
    }

    /// Waits for the next thing.
    async fn wait(
        &mut self,
        pump: &Pump,
        trip: &Trip<'_>,
        allowance: Allowance,
        (stop, allowed): (
            impl Future<Output = Result<(), End>>,
            impl Future<Output = BudgetLimits>,
        ),
    ) -> Event {
        let ties = trip.ties;
        let (mut most, mut paid_at) = (0, None);
        match allowance {
            Allowance::Bytes(bytes) => most = bytes.min(PORTION),
            Allowance::At(at) => paid_at = Some(at).filter(|_| !self.out.is_empty()),
            Allowance::Spent { .. } => {}
        }
        let settle_at = trip.purse.is_limited().then(|| Instant::now() + SETTLE_EVERY);
        let report_at = pump.is_ready().then(|| self.report_or_compare_at());
        let beside_at =
            Some(trip.road.wake_at()).filter(|_| self.answered && self.beside.is_none());
        let listen_at = Some(self.listen_at).filter(|_| self.answered && trip.road.has_detour());
        let due = [pump.wake_at(), report_at, beside_at, listen_at, paid_at, settle_at];
        let wake_at = due.into_iter().flatten().min();
        let portion = self.out.front().map(|first| first.slice(..first.len().min(most)));
        let portion = portion.filter(|portion| !portion.is_empty());
        let (writer, flushed, alarm) = (&mut self.writer, self.flushed, &mut self.alarm);
        let read = async { Event::Read(self.reader.read(&mut self.buffer).await) };
        let write = async {
            match portion {
                Some(portion) => Event::Wrote(writer.write_some(&portion).await),
                None if !flushed => Event::Flushed(writer.flush().await),
                None => std::future::pending().await,
            }
        };
        let staged = async {
            ties.staged.heard().await;
            Event::Staged
        };
        let tick = async {
            match wake_at {
                Some(at) => alarm.until(at).await,
                None => std::future::pending().await,
            }
            Event::Tick
        };
        let beside = async {
            match &mut self.beside {
                Some(beside) => Event::Beside(beside.done().await),
                None => std::future::pending().await,
            }
        };
        let stop = async {
            match stop.await {
                Err(end) => Event::Stop(end),
                Ok(()) => std::future::pending().await,
            }
        };
        let allowed = async { Event::Allowed(allowed.await) };
        let link = future::or(read, future::or(tick, write));
        let rest = future::or(staged, future::or(beside, allowed));
        future::or(stop, future::or(link, rest)).await
    }

    /// Hands what happened to the pump.
    async fn take(
        &mut self,
        event: Event,
        pump: &mut Pump,
        trip: &mut Trip<'_>,
    ) -> Result<Result<(), PumpError>, Over> {
        let now = Instant::now();
        let lost = |error: TransportError| Over::Lost(error.to_string().into());
        Ok(match event {
            Event::Read(Ok(0)) => {
                return Err(Over::Lost("the collector closed the link".to_owned().into()));
            }
            Event::Read(Ok(len)) => {
                trip.ties.counters.link_heard(now);
                let bytes = self.buffer.get(..len).unwrap_or_default();
                pump.handle(Input::Bytes(bytes), now)
            }
            Event::Read(Err(error)) | Event::Wrote(Err(error)) | Event::Flushed(Err(error)) => {
                return Err(lost(error));
            }
            Event::Wrote(Ok(len)) => {
                self.wrote(len);
                trip.purse.hand(len);
                trip.ties.counters.bytes_sent.add(len as u64);
                Ok(())
            }
            Event::Flushed(Ok(())) => {
                self.flushed = true;
                Ok(())
            }
            Event::Staged => pump.fill(now),
            Event::Tick => pump.handle(Input::Tick, now),
            Event::Beside(dialled) => {
                let Some(beside) = self.beside.take() else { return Ok(Ok(())) };
                match dialled {
                    // It has spoken meanwhile.
                    Ok(_) if beside.is_detour() && !self.is_silent(now) => {}
                    Ok(connection) => {
                        trip.road.switched(&beside, now);
                        if !beside.is_detour() {
                            self.farewell(Reason::SUCCESS, pump, trip).await;
                        }
                        return Err(Over::Replaced(Box::new(connection)));
                    }
                    Err(error) => trip.road.beside_failed(&beside, &error, now),
                }
                Ok(())
            }
            Event::Allowed(limits) => {
                self.farewell(Reason::SUCCESS, pump, trip).await;
                return Err(Over::Allowed(limits));
            }
            Event::Stop(end) => {
                self.farewell(Reason::WITH_WILL, pump, trip).await;
                return Err(Over::End(end));
            }
        })
    }

    fn wrote(&mut self, len: usize) {
        (self.torn, self.flushed) = (true, false);
        if let Some(first) = self.out.front_mut() {
            let _ = first.split_to(len.min(first.len()));
            if first.is_empty() {
                self.out.pop_front();
                self.torn = false;
            }
        }
    }

    /// Says goodbye behind the packet that is under way.
    async fn farewell(&mut self, reason: Reason, pump: &mut Pump, trip: &Trip<'_>) {
        self.out.truncate(usize::from(self.torn));
        pump.disconnect(reason, Instant::now());
        self.out.extend(std::iter::from_fn(|| pump.poll()));
        self.say_the_rest(trip).await;
    }

    /// Writes what is left and closes, within a moment.
    async fn say_the_rest(&mut self, trip: &Trip<'_>) {
        let bytes: usize = self.out.iter().map(Bytes::len).sum();
        if trip.purse.is_limited() && bytes > FAREWELL_BYTES_MAX {
            return;
        }
        let said = async {
            for bytes in self.out.drain(..) {
                if self.writer.write(bytes).await.is_err() {
                    return;
                }
            }
            self.writer.end().await;
        };
        let late = async {
            smol::Timer::after(FAREWELL_MAX).await;
        };
        future::or(said, late).await;
    }

    /// Nobody wakes up to see that all is still well; what makes it ill does that. Ill, it may get well by time.
    fn report_or_compare_at(&self) -> Instant {
        let ill = self.was_healthy == Some(false);
        if ill { self.report_at.min(self.compare_at) } else { self.report_at }
    }

    /// Publishes the agent's state, if it is time for that or its health is another.
    fn report(&mut self, pump: &mut Pump, trip: &Trip<'_>, now: Instant) -> Result<(), PumpError> {
        let counters = &trip.ties.counters;
        self.compare_at = now + COMPARE_EVERY;
        if let Ok(holds) = super::holds(&trip.shared.lock().buffer) {
            counters.buffer_is(holds, now);
        }
        let status = counters.status(&trip.ties.agent, now);
        if now < self.report_at && self.was_healthy == Some(status.healthy) {
            return Ok(());
        }
        (self.report_at, self.was_healthy) = (now + REPORT_EVERY, Some(status.healthy));
        let status = serde_json::to_vec(&status).expect("a status always serializes");
        pump.report(status, now)
    }
}
