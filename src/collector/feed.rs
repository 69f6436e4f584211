//! SHELL: the thread that brings the log's entries to one sink, as lines.
//!
//! A sink that fails stops nobody else: it is opened again, later and later, and goes on behind what
//! it committed last. An operator's wish to replay is honoured between two transactions.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::{error, info, warn};

use crate::batch::{Batch, BatchError, Limits, Message, RowChange, decode_schema};
use crate::envelope::debezium::{Debezium, Options};
use crate::envelope::{Change, EnvelopeError};
use crate::sink::{Sink, SinkError};

use super::figures::Pulse;
use super::log::{LogError, Logged, Reader, TABLES_MAX, Tables};
use super::stands::Stands;

/// Makes a sink, anew after each failure. The reader is for sinks whose cursor the log keeps.
pub type Open = Box<dyn Fn(&Reader) -> Result<Box<dyn Sink>, SinkError> + Send>;

/// Rung when the log has grown.
#[derive(Default)]
pub struct Bell {
    rings: Mutex<u64>,
    condvar: Condvar,
}

impl Bell {
    /// Wakes every sink.
    pub fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.condvar.notify_all();
    }

    /// Waits for a ring after number `heard`, but not for long. Returns the number of the last one.
    fn wait(&self, heard: u64) -> u64 {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.condvar.wait_timeout_while(rings, WAIT_MAX, |rings| *rings == heard);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What all sinks share with the collector.
#[derive(Clone, Default)]
pub struct Signals {
    /// Rung for each append.
    pub bell: Arc<Bell>,
    /// Set once, when the collector stops: finish the entries that are there, then end.
    pub stop: Arc<AtomicBool>,
}

/// One sink's thread.
pub struct Feed {
    /// For messages; also the name of its cursor in the log.
    pub name: String,
    /// Makes the sink.
    pub open: Open,
    /// How values are written.
    pub options: Options,
    /// What a batch may need.
    pub limits: Limits,
    /// Whether the log keeps the cursor (the target cannot).
    pub cursor_in_log: bool,
    /// Where the sink stands, for the log's retention.
    pub passed: Arc<AtomicU64>,
    /// Whether the sink gets on.
    pub(super) pulse: Arc<Pulse>,
}

/// Why a sink cannot go on.
#[derive(Debug)]
enum FeedError {
    Log(LogError),
    Sink(SinkError),
    Batch(u64, BatchError),
    Envelope(u64, EnvelopeError),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "{error}"),
            Self::Sink(error) => write!(f, "{error}"),
            Self::Batch(number, error) => write!(f, "entry {number} of the log: {error}"),
            Self::Envelope(number, error) => write!(f, "entry {number} of the log: {error}"),
        }
    }
}

impl From<LogError> for FeedError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<SinkError> for FeedError {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// A row of an entry could not be handed on.
enum RowError {
    Batch(BatchError),
    Sink(SinkError),
    Envelope(EnvelopeError),
}

impl From<BatchError> for RowError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

/// Where an entry's lines go.
struct Target<'a> {
    /// Room for a line.
    line: &'a mut Vec<u8>,
    /// What the sink has.
    stands: &'a mut Stands,
    sink: &'a mut dyn Sink,
}

/// A sink commits at least this often while it is behind.
const COMMIT_ENTRIES: u32 = 64;
const WAIT_MAX: Duration = Duration::from_millis(500);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Feed {
    /// Runs until the collector stops, or until nobody reads the sink any more.
    pub fn run(self, log: &std::path::Path, signals: &Signals) {
        let mut retry = RETRY_MIN;
        loop {
            let started = Instant::now();
            match self.follow(log, signals) {
                Ok(()) => return,
                Err(FeedError::Sink(SinkError::Closed)) => {
                    self.pulse.fails("nobody reads it any more");
                    warn!("sink {}: nobody reads it any more; it has stopped", self.name);
                    return;
                }
                Err(error) => {
                    self.pulse.fails(&error.to_string());
                    error!("sink {}: {error}; next try in {} s", self.name, retry.as_secs());
                }
            }
            if started.elapsed() > RETRY_MAX {
                retry = RETRY_MIN;
            }
            let until = Instant::now() + retry;
            while Instant::now() < until {
                if signals.stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    fn follow(&self, log: &std::path::Path, signals: &Signals) -> Result<(), FeedError> {
        let mut reader = Reader::open(log)?;
        let mut sink = (self.open)(&reader)?;
        let mut cursor = sink.cursor();
        self.passed.store(cursor, Ordering::Relaxed);
        info!("sink {}: goes on behind entry {cursor} of the log", self.name);
        let mut envelope = Debezium::new(self.options);
        let (mut schemas, mut heard, mut uncommitted) = (Tables::new(), 0, 0u32);
        let (mut line, mut whole) = (Vec::new(), true);
        let mut stands = Stands::read(sink.note());
        loop {
            // A backlog waits for the next start; half a transaction is not left behind.
            let stopping = whole && signals.stop.load(Ordering::Relaxed);
            let wish = if whole && !stopping { reader.replay_wish(&self.name)? } else { None };
            let entry = match wish {
                None if !stopping => reader.next(cursor)?,
                _ => None,
            };
            if let Some(entry) = entry {
                (cursor, whole) = (entry.number, entry.ends);
                let mut to = Target { line: &mut line, stands: &mut stands, sink: &mut *sink };
                self.apply(&entry, &reader, &mut schemas, &mut envelope, &mut to)?;
                uncommitted += 1;
                if !whole || uncommitted < COMMIT_ENTRIES {
                    continue;
                }
            }
            if uncommitted > 0 {
                sink.leave_note(stands.note());
                self.commit(cursor, &mut *sink, &mut reader)?;
                uncommitted = 0;
            } else if let Some(after) = wish {
                (cursor, stands) = (after, Stands::default());
                self.replay(after, &mut *sink, &mut reader)?;
            } else if stopping {
                return Ok(());
            } else {
                self.pulse.beat(Instant::now());
                heard = signals.bell.wait(heard);
            }
        }
    }

    fn commit(
        &self,
        cursor: u64,
        sink: &mut dyn Sink,
        reader: &mut Reader,
    ) -> Result<(), FeedError> {
        sink.commit(cursor)?;
        if self.cursor_in_log {
            reader.set_cursor(&self.name, cursor)?;
        }
        self.passed.store(cursor, Ordering::Relaxed);
        self.pulse.beat(Instant::now());
        Ok(())
    }

    /// Goes on behind another entry, as an operator wishes.
    fn replay(
        &self,
        after: u64,
        sink: &mut dyn Sink,
        reader: &mut Reader,
    ) -> Result<(), FeedError> {
        sink.leave_note(Vec::new());
        sink.rewind(after)?;
        if self.cursor_in_log {
            reader.set_cursor(&self.name, after)?;
        }
        // First the mark for the retention, then the wish that stood for it.
        self.passed.store(after, Ordering::Relaxed);
        reader.replay_honoured(&self.name, after)?;
        warn!("sink {}: is replayed from entry {} of the log on", self.name, after + 1);
        Ok(())
    }

    fn apply(
        &self,
        entry: &Logged,
        reader: &Reader,
        schemas: &mut Tables,
        envelope: &mut Debezium,
        to: &mut Target<'_>,
    ) -> Result<(), FeedError> {
        let bad = |error| FeedError::Batch(entry.number, error);
        let message = Message::parse(&entry.message).map_err(bad)?;
        let batch = Batch::open(&message.meta, message.body, self.limits).map_err(bad)?;
        learn(entry, &batch, reader, schemas)?;
        let connector = connector(&message.meta.first.server.0);
        let rendered_us = now_us();
        let mut skip = entry.skip;
        if to.stands.overlap(&entry.agent, &message.meta) {
            let transactions = batch.transactions().map_err(bad)?;
            skip = skip.max(to.stands.skip(&entry.agent, &message.meta, &transactions));
        }
        let Target { line, stands, sink } = to;
        let each = |change: &RowChange<'_>| {
            line.clear();
            let change = view(change, connector, &entry.agent, rendered_us);
            envelope.write(&change, line).map_err(RowError::Envelope)?;
            sink.write(line).map_err(RowError::Sink)
        };
        let schema = |fingerprint| schemas.get(&(entry.agent.clone(), fingerprint)).cloned();
        batch.replay(skip as usize, schema, each).map_err(|error| match error {
            RowError::Batch(error) => FeedError::Batch(entry.number, error),
            RowError::Envelope(error) => FeedError::Envelope(entry.number, error),
            RowError::Sink(error) => FeedError::Sink(error),
        })?;
        stands.passed(&entry.agent, &message.meta, skip);
        Ok(())
    }
}

/// Sees to it that all schemas of a batch are at hand.
fn learn(
    entry: &Logged,
    batch: &Batch,
    reader: &Reader,
    schemas: &mut Tables,
) -> Result<(), FeedError> {
    if schemas.len() > TABLES_MAX {
        schemas.clear();
    }
    for fingerprint in batch.tables() {
        let key = (entry.agent.clone(), *fingerprint);
        if schemas.contains_key(&key) {
            continue;
        }
        let bad = |error| FeedError::Batch(entry.number, error);
        let record = reader.schema(&entry.agent, *fingerprint)?;
        let record = record.ok_or_else(|| bad(BatchError::Schema(*fingerprint)))?;
        schemas.insert(key, Arc::new(decode_schema(&record).map_err(bad)?));
    }
    Ok(())
}

fn view<'a>(
    change: &'a RowChange<'_>,
    connector: &'a str,
    source: &'a str,
    rendered_us: u64,
) -> Change<'a> {
    let transaction = change.transaction;
    let image = |cells: &'a [_]| (!cells.is_empty()).then_some(cells);
    Change {
        connector,
        source,
        table: change.table,
        operation: change.operation,
        before: image(change.before),
        after: image(change.after),
        file: &transaction.file,
        offset: change.offset,
        row: change.row,
        gtid: transaction.gtid.as_ref(),
        server_id: transaction.server_id,
        thread: transaction.thread,
        changed_us: transaction.committed_us.unwrap_or(u64::from(change.timestamp_s) * 1_000_000),
        rendered_us,
    }
}

/// What parsers of Debezium's JSON switch on, from the server's identity.
fn connector(server: &str) -> &str {
    if server.starts_with("mariadb") { "mariadb" } else { "mysql" }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
