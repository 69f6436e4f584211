//! Figures that several threads move and anybody reads.
//!
//! Nothing here waits: counters are relaxed atomics, and the two texts lie under locks that are held
//! for a copy. What must be told apart by age is kept as time since the start on the monotonic
//! clock, so that a changed wall clock makes nobody ill or well.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::health;
use super::latency::{self, Underway};
use super::status::{Batches, Budget, Buffer, Disk, Link, Path, Source, State, Status};

/// All figures of one agent.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    /// The system's number for the process.
    pub pid: Counter,
    /// Binlog events read.
    pub events: Counter,
    /// Transactions read to their commit.
    pub transactions: Counter,
    /// Row changes read.
    pub rows: Counter,
    /// Changes that are left out because they were logged as statements.
    pub left_out: Counter,
    /// Batches written to the buffer.
    pub batches_staged: Counter,
    /// Batches sent, repetitions included.
    pub batches_sent: Counter,
    /// Batches that the collector has made durable.
    pub batches_acknowledged: Counter,
    /// Bytes of the batches before compression.
    pub bytes_raw: Counter,
    /// Bytes of the batches after compression.
    pub bytes_compressed: Counter,
    /// Bytes given to the link, repetitions included.
    pub bytes_sent: Counter,
    /// Links that came about after the first.
    pub reconnects: Counter,
    /// The limit of the buffer's files.
    pub buffer_bytes_max: Counter,
    /// Whether reading pauses because the buffer is full.
    pub paused: AtomicBool,
    disk: AtomicU8,
    /// When a write last took long, in milliseconds from the start, plus one; 0 if none did.
    slow_ms: AtomicU64,
    source: Side,
    link: Side,
    link_heard_ms: AtomicU64,
    link_endpoint: Mutex<String>,
    roads: Mutex<Roads>,
    budget: Mutex<Budget>,
    underway: Mutex<Underway>,
    buffer: Mutex<Buffer>,
    last_commit_us: AtomicU64,
    lag_ms: AtomicU64,
    position: Mutex<String>,
    stopped: Mutex<Option<String>>,
}

/// A number that only grows, or the newest of a measure.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Grows by `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Takes a new value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One of the two connections: its state and when it last gave a sign of life.
#[derive(Debug, Default)]
struct Side {
    state: AtomicU8,
    /// Milliseconds from the start.
    seen_ms: AtomicU64,
}

/// What one connection has sent, and how its way is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// With headers and repetitions.
    pub wire_bytes: u64,
    /// QUIC's packets.
    pub packets_sent: u64,
    /// Of these, how many were lost.
    pub packets_lost: u64,
    /// QUIC's measures.
    pub path: Option<Path>,
}

/// Looks at a connection.
type Probe = Box<dyn Fn() -> Sample + Send>;

/// All connections so far.
#[derive(Default)]
struct Roads {
    /// The sum of those that are over.
    over: Sample,
    now: Option<Probe>,
}

impl std::fmt::Debug for Roads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.look().fmt(f)
    }
}

impl Roads {
    fn look(&self) -> Sample {
        let now = self.now.as_ref().map(|probe| probe()).unwrap_or_default();
        Sample {
            wire_bytes: self.over.wire_bytes.saturating_add(now.wire_bytes),
            packets_sent: self.over.packets_sent.saturating_add(now.packets_sent),
            packets_lost: self.over.packets_lost.saturating_add(now.packets_lost),
            path: now.path,
        }
    }
}

impl Counters {
    /// All zero, beginning now.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            pid: Counter::default(),
            events: Counter::default(),
            transactions: Counter::default(),
            rows: Counter::default(),
            left_out: Counter::default(),
            batches_staged: Counter::default(),
            batches_sent: Counter::default(),
            batches_acknowledged: Counter::default(),
            bytes_raw: Counter::default(),
            bytes_compressed: Counter::default(),
            bytes_sent: Counter::default(),
            reconnects: Counter::default(),
            buffer: Mutex::default(),
            buffer_bytes_max: Counter::default(),
            paused: AtomicBool::new(false),
            disk: AtomicU8::new(Disk::Well as u8),
            slow_ms: AtomicU64::new(0),
            source: Side::default(),
            link: Side::default(),
            link_heard_ms: AtomicU64::new(0),
            link_endpoint: Mutex::default(),
            roads: Mutex::default(),
            budget: Mutex::default(),
            underway: Mutex::default(),
            last_commit_us: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
            position: Mutex::default(),
            stopped: Mutex::default(),
        }
    }

    /// The source is now in this state. That alone is no sign of life: a connection that comes
    /// about and breaks again and again brings nothing.
    pub fn source_is(&self, state: State) {
        self.source.state.store(state as u8, Relaxed);
    }

    /// The source gave a sign of life: an event, a heartbeat, or a look at the end of a file.
    pub fn source_seen(&self, now: Instant) {
        self.source.seen_ms.store(self.since_start_ms(now), Relaxed);
    }

    /// The link is now in this state. It is a sign of life only if it has nothing to prove: with a
    /// backlog, only an acknowledgement is. A link that was closed by its budget owes nothing for that time.
    pub fn link_is(&self, state: State, now: Instant) {
        let before = State::of(self.link.state.swap(state as u8, Relaxed));
        let rested = before == State::OverBudget && state != State::OverBudget;
        let owes_nothing =
            || state == State::Connected && self.buffer.lock().expect(NO_PANIC).batches == 0;
        if rested || owes_nothing() {
            self.link_seen(now);
        }
    }

    /// Bytes came from the other end of the link, whatever they say.
    pub fn link_heard(&self, now: Instant) {
        self.link_heard_ms.store(self.since_start_ms(now), Relaxed);
    }

    /// This endpoint is dialled now, or connected to.
    pub fn link_to(&self, endpoint: &str) {
        endpoint.clone_into(&mut self.link_endpoint.lock().expect(NO_PANIC));
    }

    /// A connection came about, and is looked at with `probe` until it [ends](Self::road_ends).
    pub fn road_begins(&self, probe: impl Fn() -> Sample + Send + 'static) {
        self.road_ends();
        self.roads.lock().expect(NO_PANIC).now = Some(Box::new(probe));
    }

    /// The connection is over.
    pub fn road_ends(&self) {
        let mut roads = self.roads.lock().expect(NO_PANIC);
        roads.over = roads.look();
        roads.now = None;
    }

    /// What the budget has left.
    pub fn budget_is(&self, budget: Budget) {
        *self.budget.lock().expect(NO_PANIC) = budget;
    }

    /// Transactions were staged up to the batch of this number: see [`Underway::staged`].
    pub fn staged(&self, upto: u64, transactions: u64, committed_us: u64, now_us: u64) {
        let mut underway = self.underway.lock().expect(NO_PANIC);
        underway.staged(upto, transactions, committed_us, now_us);
    }

    /// The collector has so many more batches, up to this number.
    pub fn acknowledged(&self, upto: u64, batches: u64, now: Instant, now_us: u64) {
        self.batches_acknowledged.add(batches);
        self.link_seen(now);
        self.underway.lock().expect(NO_PANIC).acknowledged(upto, now_us);
    }

    /// What is staged gets other numbers.
    pub fn renumbered(&self) {
        self.underway.lock().expect(NO_PANIC).renumbered();
    }

    /// The collector acknowledged something.
    pub fn link_seen(&self, now: Instant) {
        self.link.seen_ms.store(self.since_start_ms(now), Relaxed);
    }

    /// How the buffer's disk took the last write.
    pub fn disk_is(&self, disk: Disk) {
        self.disk.store(disk as u8, Relaxed);
    }

    /// A write took long.
    pub fn disk_was_slow(&self, now: Instant) {
        self.slow_ms.store(self.since_start_ms(now).saturating_add(1), Relaxed);
    }

    /// A disk that takes what is written counts as slow for a while after a slow write.
    fn disk(&self, now_ms: u64) -> Disk {
        let slow_ms = self.slow_ms.load(Relaxed);
        match Disk::of(self.disk.load(Relaxed)) {
            Disk::Well if slow_ms > 0 && now_ms.saturating_sub(slow_ms) < SLOW_FOR_MS => Disk::Slow,
            disk => disk,
        }
    }

    /// What the buffer now holds; its limit and the pause are known here.
    pub fn buffer_is(&self, holds: Buffer, now: Instant) {
        let mut buffer = self.buffer.lock().expect(NO_PANIC);
        let begins = buffer.batches == 0 && holds.batches > 0;
        let connected = self.link.state.load(Relaxed) == State::Connected as u8;
        if begins && connected {
            // An idle link owes nothing for the time before it was given something.
            self.link_seen(now);
        }
        *buffer = holds;
    }

    /// A transaction was read to its end.
    ///
    /// `commit_us` is when the server committed it and `now_us` the time of this machine, both in
    /// microseconds since 1970; their distance is the lag. What is dated to the second has none within that second.
    pub fn committed(&self, position: &str, commit_us: u64, now_us: u64) {
        self.transactions.add(1);
        self.last_commit_us.store(commit_us, Relaxed);
        let lag_us = now_us.saturating_sub(latency::likely(commit_us, now_us));
        self.lag_ms.store(lag_us / 1000, Relaxed);
        self.position_is(position);
    }

    /// Where reading stands.
    pub fn position_is(&self, position: &str) {
        let mut text = self.position.lock().expect(NO_PANIC);
        text.clear();
        text.push_str(position);
    }

    /// The agent stopped reading because going on would lose or falsify data; `None` if it goes on.
    pub fn stopped_by(&self, reason: Option<String>) {
        *self.stopped.lock().expect(NO_PANIC) = reason;
    }

    /// This moment.
    pub fn status(&self, agent: &str, now: Instant) -> Status {
        let now_ms = self.since_start_ms(now);
        let age_ms = |side: &Side| now_ms.saturating_sub(side.seen_ms.load(Relaxed));
        let road = self.roads.lock().expect(NO_PANIC).look();
        let mut status = Status {
            agent: agent.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: u32::try_from(self.pid.value()).unwrap_or(0),
            uptime_ms: now_ms,
            healthy: false,
            reasons: Vec::new(),
            stopped: self.stopped.lock().expect(NO_PANIC).clone(),
            source: Source {
                state: State::of(self.source.state.load(Relaxed)),
                silent_ms: age_ms(&self.source),
                position: self.position.lock().expect(NO_PANIC).clone(),
                events: self.events.value(),
                transactions: self.transactions.value(),
                rows: self.rows.value(),
                left_out: self.left_out.value(),
                last_commit_us: self.last_commit_us.load(Relaxed),
                lag_ms: self.lag_ms.load(Relaxed),
            },
            batches: Batches {
                staged: self.batches_staged.value(),
                sent: self.batches_sent.value(),
                acknowledged: self.batches_acknowledged.value(),
                bytes_raw: self.bytes_raw.value(),
                bytes_compressed: self.bytes_compressed.value(),
                bytes_sent: self.bytes_sent.value(),
            },
            buffer: Buffer {
                bytes_max: self.buffer_bytes_max.value(),
                paused: self.paused.load(Relaxed),
                disk: self.disk(now_ms),
                ..self.buffer.lock().expect(NO_PANIC).clone()
            },
            link: Link {
                state: State::of(self.link.state.load(Relaxed)),
                silent_ms: age_ms(&self.link),
                heard_ms: now_ms.saturating_sub(self.link_heard_ms.load(Relaxed)),
                reconnects: self.reconnects.value(),
                endpoint: self.link_endpoint.lock().expect(NO_PANIC).clone(),
                wire_bytes: road.wire_bytes,
                packets_sent: road.packets_sent,
                packets_lost: road.packets_lost,
                path: road.path,
            },
            budget: *self.budget.lock().expect(NO_PANIC),
            latency: self.underway.lock().expect(NO_PANIC).taken().clone(),
        };
        status.reasons = health::reasons(&status);
        status.healthy = status.reasons.is_empty();
        status
    }

    fn since_start_ms(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// How long one slow write is remembered, in milliseconds.
const SLOW_FOR_MS: u64 = 30_000;
const NO_PANIC: &str = "no one panics while copying a text";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_counted_is_what_is_read() {
        let start = Instant::now();
        let counters = Counters::new(start);
        counters.events.add(5);
        counters.events.add(7);
        counters.source_is(State::Connected);
        counters.source_seen(start + Duration::from_secs(1));
        counters.committed("binlog.000042:1337", 5_000_100, 5_250_100);
        let status = counters.status("edge-17", start + Duration::from_secs(3));
        assert_eq!(status.source.events, 12);
        assert_eq!(status.source.transactions, 1);
        assert_eq!(status.source.lag_ms, 250);
        assert_eq!(status.source.position, "binlog.000042:1337");
        assert_eq!((status.uptime_ms, status.source.silent_ms), (3000, 2000));
    }

    #[test]
    fn a_date_to_the_second_makes_no_lag_of_its_own() {
        let counters = Counters::new(Instant::now());
        let lag_ms = || counters.status("a", Instant::now()).source.lag_ms;
        counters.committed("binlog.000001:4", 5_000_000, 5_990_000);
        assert_eq!(lag_ms(), 0);
        counters.committed("binlog.000001:4", 5_000_000, 7_250_000);
        assert_eq!(lag_ms(), 1250);
    }

    #[test]
    fn a_commit_from_the_future_has_no_lag() {
        let counters = Counters::new(Instant::now());
        counters.committed("binlog.000001:4", 9_000_000, 1_000_000);
        assert_eq!(counters.status("a", Instant::now()).source.lag_ms, 0);
    }

    fn holds(batches: u64) -> Buffer {
        Buffer { batches, ..Buffer::default() }
    }

    #[test]
    fn connecting_again_and_again_is_no_progress() {
        let start = Instant::now();
        let counters = Counters::new(start);
        let later = start + Duration::from_secs(75);
        counters.buffer_is(holds(3), start);
        counters.source_is(State::Connected);
        counters.link_is(State::Connected, later);
        let status = counters.status("a", later);
        assert_eq!(
            status.reasons,
            [
                "source: connected, but silent for 75 s",
                "link: 3 batches wait, nothing was acknowledged for 75 s",
            ]
        );
        counters.source_seen(later);
        counters.link_seen(later);
        assert!(counters.status("a", later).healthy);
    }

    #[test]
    fn a_link_that_its_budget_closed_has_a_minute_from_its_end() {
        let start = Instant::now();
        let counters = Counters::new(start);
        counters.buffer_is(holds(3), start);
        counters.link_is(State::OverBudget, start);
        let next_hour = start + Duration::from_secs(3000);
        let healthy = |now| {
            counters.source_seen(now);
            counters.status("a", now).healthy
        };
        assert!(healthy(next_hour));
        counters.link_is(State::Connecting, next_hour);
        counters.link_is(State::Connected, next_hour + Duration::from_secs(1));
        assert!(healthy(next_hour + Duration::from_secs(59)));
        assert!(!healthy(next_hour + Duration::from_secs(61)), "then it is to get on");
    }

    #[test]
    fn an_idle_links_signs_of_life_are_heard() {
        let start = Instant::now();
        let counters = Counters::new(start);
        counters.link_is(State::Connected, start);
        counters.link_to("quic://centre:14567");
        let later = start + Duration::from_secs(600);
        counters.link_heard(later);
        let link = counters.status("a", later + Duration::from_secs(2)).link;
        assert_eq!((link.heard_ms, link.silent_ms), (2000, 602_000));
        assert_eq!(link.endpoint, "quic://centre:14567");
    }

    #[test]
    fn an_idle_link_has_a_minute_for_what_it_is_given() {
        let start = Instant::now();
        let counters = Counters::new(start);
        counters.link_is(State::Connected, start);
        let given = start + Duration::from_secs(600);
        counters.source_seen(given);
        counters.buffer_is(holds(1), given);
        assert!(counters.status("a", given).healthy);
        let late = given + Duration::from_secs(61);
        counters.source_seen(late);
        counters.buffer_is(holds(2), late);
        assert_eq!(counters.status("a", late).reasons.len(), 1);
    }

    #[test]
    fn figures_of_connections_add_up_and_the_path_is_the_last_ones() {
        let counters = Counters::new(Instant::now());
        let link = || counters.status("a", Instant::now()).link;
        let path = Some(Path { rtt_us: 9, window_bytes: 1, mtu_bytes: 1200 });
        let sample = Sample { wire_bytes: 100, packets_sent: 10, packets_lost: 1, path };
        counters.road_begins(move || sample);
        assert_eq!((link().wire_bytes, link().packets_lost, link().path), (100, 1, path));
        counters.road_ends();
        counters.road_ends();
        assert_eq!((link().wire_bytes, link().path), (100, None));
        counters.road_begins(move || sample);
        counters.road_begins(|| Sample { wire_bytes: 7, ..Sample::default() });
        assert_eq!((link().wire_bytes, link().packets_sent, link().path), (207, 20, None));
    }

    #[test]
    fn a_slow_write_is_remembered_for_a_while_and_hides_no_fault() {
        let start = Instant::now();
        let counters = Counters::new(start);
        let disk = |at_s| counters.status("a", start + Duration::from_secs(at_s)).buffer.disk;
        assert_eq!(disk(0), Disk::Well);
        counters.disk_was_slow(start);
        assert_eq!((disk(29), disk(31)), (Disk::Slow, Disk::Well));
        counters.disk_is(Disk::Full);
        assert_eq!(disk(1), Disk::Full);
    }
}
