//! SHELL: the reading thread: source → batch → buffer.
//!
//! A batch is sealed when it is full, when it is old, or at once when the link has nothing to do and
//! the source has nothing more. It is committed together with the checkpoint behind it. Reading
//! pauses at a transaction's boundary while the buffer is full.
//!
//! What the source or the buffer cannot mend stops the reading, with the reason in the log and in
//! the status; what is staged still leaves, and reading is tried again from where it stood.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use smol::channel::Sender;

use crate::batch::{self, BatchError, Builder, Sealed};
use crate::buffer::{BufferError, DiskCause};
use crate::position::{Checkpoint, Position};
use crate::source::{self, Source, SourceError, Step};
use crate::telemetry::counters::Counters;
use crate::telemetry::logger::now_us;
use crate::telemetry::status::State;

use super::pump::{Inner, Shared, parcel};

/// When a batch is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// About so many plain bytes.
    pub(super) bytes_max: usize,
    /// So many row changes.
    pub(super) rows_max: u32,
    /// The longest that a transaction waits for others.
    pub(super) age_max: Duration,
    /// zstd's level.
    pub(super) level: i32,
}

/// What the reading thread shares with the rest of the agent.
#[derive(Clone)]
pub(super) struct Ties {
    /// The buffer.
    pub(super) shared: Shared,
    /// The figures.
    pub(super) counters: Arc<Counters>,
    /// Rung when something was staged.
    pub(super) staged: Sender<()>,
    /// Whether a batch staged now would leave at once.
    pub(super) link_idle: Arc<AtomicBool>,
    /// Ends the thread; `source::Stopper` wakes it.
    pub(super) stop: source::Stopper,
    /// Set when the files have been read to their end and are not followed.
    pub(super) finished: Arc<AtomicBool>,
}

/// Reading cannot go on.
#[derive(Debug)]
enum ReadError {
    /// We were asked to stop.
    Stopped,
    /// We were asked to stop while the disk did not take what was read.
    Unstored,
    /// The source.
    Source(SourceError),
    /// The buffer, for good.
    Buffer(BufferError),
    /// A transaction that the buffer can never hold.
    TooLarge,
    /// Rows that cannot be split.
    Rows(String),
    /// Rows that cannot be batched.
    Batch(BatchError),
    /// A savepoint behind which rows had been staged already.
    Savepoint,
    /// The files are read to their end.
    End,
    /// What was staged was broken: read again from the buffer's checkpoint.
    Reread,
}

impl ReadError {
    /// Whether the complete transactions of the builder can still be stored.
    fn leaves_builder_sound(&self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::End | Self::Source(_) | Self::Rows(_) | Self::Savepoint
        )
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped | Self::Unstored => f.write_str("stopped"),
            Self::Source(error) => write!(f, "{error}"),
            Self::Buffer(error) => write!(f, "{error}"),
            Self::TooLarge => f.write_str(
                "a transaction is larger than the whole buffer: raise `buffer.bytes_max`",
            ),
            Self::Rows(what) => f.write_str(what),
            Self::Batch(error) => write!(f, "{error}"),
            Self::Savepoint => f.write_str(
                "a transaction larger than a batch went back to a savepoint whose rows were \
                 staged already: raise `batch.bytes_max` above the transaction's size",
            ),
            Self::End => f.write_str("all is read"),
            Self::Reread => f.write_str("staged batches are read again"),
        }
    }
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Stopped => Self::Stopped,
            error => Self::Source(error),
        }
    }
}

impl From<BatchError> for ReadError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

/// How long a stopped source waits before it is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How often a full buffer or a failing disk is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A position without rows behind it (DDL, other tables) is stored at least this often.
const POSITION_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for the source.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Runs until told to stop, or until files that are not followed are at their end. `Err` is the
/// reason why such files could not be read on.
pub(super) fn run(
    settings: &source::Settings,
    cut: Cut,
    ties: &Ties,
    followed: bool,
) -> Result<(), String> {
    loop {
        let error = match Reader::open(settings, cut, ties) {
            Ok(mut reader) => reader.follow().expect_err("following ends with a reason"),
            Err(error) => error,
        };
        let now = Instant::now();
        match error {
            ReadError::Stopped | ReadError::Unstored => return Ok(()),
            ReadError::Reread => {
                info!("source: {error}");
                continue;
            }
            ReadError::End => {
                info!("source: the files are read to their end");
                ties.counters.source_is(State::Finished);
                ties.counters.source_seen(now);
                ties.finished.store(true, Ordering::Release);
                return Ok(());
            }
            error if !followed => {
                error!("source: stopped: {error}");
                ties.counters.stopped_by(Some(error.to_string()));
                ties.finished.store(true, Ordering::Release);
                return Err(error.to_string());
            }
            error => {
                error!("source: stopped: {error}; next try in {} s", RETRY.as_secs());
                ties.counters.source_is(State::Off);
                ties.counters.stopped_by(Some(error.to_string()));
                if !sleep(RETRY, &ties.stop) {
                    return Ok(());
                }
            }
        }
    }
}

/// False if we were asked to stop meanwhile.
fn sleep(time: Duration, stop: &source::Stopper) -> bool {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if stop.stopped() {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now())));
    }
    !stop.stopped()
}

struct Reader<'a> {
    source: Source,
    builder: Builder,
    cut: Cut,
    ties: &'a Ties,
    /// [`Inner::rereads`] when the source was opened.
    rereads: u64,
    /// The checkpoint behind the complete transactions of the builder, while another one is open.
    before: Checkpoint,
    /// The checkpoint that the buffer has.
    stored: Checkpoint,
    stored_at: Instant,
    /// When the oldest transaction of the builder came.
    since: Option<Instant>,
    /// Transactions read since the last flush.
    read: u64,
    committed_us: u64,
}

impl<'a> Reader<'a> {
    fn open(settings: &source::Settings, cut: Cut, ties: &'a Ties) -> Result<Self, ReadError> {
        let (checkpoint, rereads) = {
            let mut inner = ties.shared.lock();
            // Parts of a transaction that was being read when the last reader ended.
            inner.buffer.discard_parts().map_err(ReadError::Buffer)?;
            (inner.buffer.checkpoint().map_err(ReadError::Buffer)?, inner.rereads)
        };
        ties.counters.source_is(State::Connecting);
        let stored = checkpoint.clone().unwrap_or_default();
        let source = Source::open(settings.clone(), checkpoint, ties.stop.clone())?;
        Ok(Self {
            source,
            builder: Builder::new(batch::Settings { level: cut.level }),
            cut,
            ties,
            rereads,
            before: Checkpoint::default(),
            stored,
            stored_at: Instant::now(),
            since: None,
            read: 0,
            committed_us: 0,
        })
    }

    /// Never returns `Ok`.
    fn follow(&mut self) -> Result<(), ReadError> {
        loop {
            let turned = self.turn();
            // What is complete leaves whatever stopped the reading behind it.
            if let Err(error) = &turned
                && error.leaves_builder_sound()
            {
                self.drop_open()?;
                self.flush()?;
                self.store_position()?;
            }
            turned?;
        }
    }

    fn turn(&mut self) -> Result<(), ReadError> {
        let now = Instant::now();
        let growing = self.builder.is_open() && self.builder.bytes() > self.cut.bytes_max / 2;
        if growing && self.builder.transactions() > 0 {
            // What is complete need not wait for the end of a large transaction.
            self.flush()?;
        }
        let deadline = self.since.map_or(now + WAIT_MAX, |since| since + self.cut.age_max);
        let after = match self.source.next(deadline)? {
            None => After::Nothing,
            Some(Step::Begin(begin)) => After::Begin(begin),
            Some(Step::Rows(rows)) => {
                self.ties.counters.events.add(1);
                let (builder, offset) = (&mut self.builder, rows.offset);
                let bad = |error: &dyn fmt::Display| {
                    let (table, file) = (&rows.table, offset);
                    ReadError::Rows(format!("{}.{} at {file}: {error}", table.schema, table.name))
                };
                builder.event(&rows.table, rows.rows.operation, rows.offset, rows.timestamp_s);
                let mut each =
                    rows.rows.rows(&rows.table).map_err(|e| bad(&e.in_table(&rows.table)))?;
                let (mut before, mut after) = (Vec::new(), Vec::new());
                while each
                    .next_row(&mut before, &mut after)
                    .map_err(|e| bad(&e.in_table(&rows.table)))?
                {
                    builder.row(&before, &after);
                    if builder.bytes() >= self.cut.bytes_max || builder.rows() >= self.cut.rows_max
                    {
                        // The open transaction does not fit a batch beside the others: they leave
                        // first, then it leaves in parts.
                        let before = &self.before;
                        overflow(builder, before, self.ties, self.rereads, self.cut)?;
                        self.since = None;
                    }
                }
                After::Event
            }
            Some(Step::Savepoint(name)) => {
                self.builder.savepoint(&name);
                After::Event
            }
            Some(Step::RollbackTo(name)) => {
                if !self.builder.rollback_to(&name) {
                    return Err(ReadError::Savepoint);
                }
                After::Event
            }
            Some(Step::Commit) => After::Commit,
            Some(Step::Rollback) => After::Dropped(None),
            Some(Step::Abandoned { why }) => After::Dropped(Some(why)),
            Some(Step::Statement | Step::Heartbeat | Step::Skip) => After::Event,
            Some(Step::End) => return Err(ReadError::End),
        };
        self.after(after, now)
    }

    fn after(&mut self, after: After, now: Instant) -> Result<(), ReadError> {
        if !matches!(after, After::Nothing | After::Dropped(Some(_))) || self.source.is_well() {
            self.ties.counters.source_seen(now);
            self.ties.counters.source_is(State::Connected);
            self.ties.counters.stopped_by(None);
        }
        match after {
            After::Nothing => {
                self.flush()?;
            }
            After::Event => {}
            After::Begin(begin) => {
                self.ties.counters.events.add(1);
                self.wait_for_room()?;
                self.begin(&begin);
            }
            After::Commit => self.commit(now)?,
            After::Dropped(why) => {
                if let Some(why) = why {
                    warn!("source: reading goes back to the last commit: {why}");
                    self.ties.counters.source_is(State::Connecting);
                }
                self.drop_open()?;
            }
        }
        if self.builder.is_open() {
            return Ok(());
        }
        let old = self.since.is_some_and(|since| since + self.cut.age_max <= now);
        let idle = self.ties.link_idle.load(Ordering::Relaxed) && !self.source.ready();
        if self.since.is_some() && (old || idle) {
            self.flush()?;
        }
        if self.stored_at + POSITION_EVERY <= now || self.stored.position.file.is_empty() {
            self.store_position()?;
        }
        Ok(())
    }

    fn begin(&mut self, begin: &source::Begin) {
        self.committed_us = begin.committed_us.unwrap_or(u64::from(begin.timestamp_s) * 1_000_000);
        let checkpoint = self.source.checkpoint();
        if self.builder.transactions() > 0 {
            self.before.clone_from(checkpoint);
        }
        self.builder.begin(batch::Begin {
            position: Position {
                server: checkpoint.position.server.clone(),
                file: self.source.file().to_owned(),
                offset: begin.offset,
                gtid: begin.gtid.clone(),
            },
            file_created_s: checkpoint.file_created_s,
            timestamp_s: begin.timestamp_s,
            server_id: begin.server_id,
            thread: begin.thread_id,
            committed_us: begin.committed_us,
        });
    }

    fn commit(&mut self, now: Instant) -> Result<(), ReadError> {
        let end_offset = self.source.checkpoint().position.offset;
        let commit = batch::Commit { end_offset, xid: None };
        self.read += 1;
        if self.builder.parts() > 0 {
            let known = |fingerprint| knows(&self.ties.shared.lock(), fingerprint);
            let sealed = self.builder.seal_last_part(commit, known)?;
            self.store(sealed)?;
        } else {
            self.builder.commit(commit);
            if self.builder.transactions() > 0 {
                self.since.get_or_insert(now);
            }
        }
        if self.builder.bytes() >= self.cut.bytes_max || self.builder.rows() >= self.cut.rows_max {
            self.flush()?;
        }
        Ok(())
    }

    /// Forgets the open transaction, with the parts of it that are staged.
    fn drop_open(&mut self) -> Result<(), ReadError> {
        if self.builder.parts() > 0 {
            self.ties.shared.lock().buffer.discard_parts().map_err(ReadError::Buffer)?;
        }
        self.builder.rollback();
        Ok(())
    }

    /// Seals and stages the complete transactions.
    fn flush(&mut self) -> Result<(), ReadError> {
        self.since = None;
        let known = |fingerprint| knows(&self.ties.shared.lock(), fingerprint);
        let sealed = self.builder.seal(known)?;
        if sealed.is_some() {
            self.store(sealed)?;
        }
        Ok(())
    }

    /// Commits a sealed batch with the checkpoint behind it; waits for a disk that fails.
    fn store(&mut self, sealed: Option<Sealed>) -> Result<(), ReadError> {
        let checkpoint = self.source.checkpoint().clone();
        let sealed: Vec<_> = sealed.into_iter().collect();
        for one in &sealed {
            count(&self.ties.counters, one);
        }
        let parcels: Vec<_> = sealed.into_iter().map(parcel).collect();
        persist(self.ties, self.rereads, |inner| inner.buffer.commit(&parcels, &checkpoint))?;
        if !parcels.is_empty() {
            // The link needs one ring however many batches there are.
            let _ = self.ties.staged.try_send(());
        }
        if self.read > 0 {
            let position = checkpoint.position.to_string();
            self.ties.counters.transactions.add(self.read - 1);
            self.ties.counters.committed(&position, self.committed_us, now_us());
            self.read = 0;
        } else {
            self.ties.counters.position_is(&checkpoint.position.to_string());
        }
        (self.stored, self.stored_at) = (checkpoint, Instant::now());
        Ok(())
    }

    /// Stores a checkpoint that moved without rows.
    fn store_position(&mut self) -> Result<(), ReadError> {
        self.stored_at = Instant::now();
        let checkpoint = self.source.checkpoint();
        let moved = !checkpoint.position.file.is_empty() && *checkpoint != self.stored;
        if moved && self.builder.transactions() == 0 && !self.builder.is_open() {
            self.store(None)?;
        }
        Ok(())
    }

    /// Waits while the buffer is full. The server keeps what is not read.
    fn wait_for_room(&mut self) -> Result<(), ReadError> {
        if !self.ties.shared.lock().buffer.is_full() {
            return Ok(());
        }
        self.flush()?;
        warn!("buffer: full: reading pauses until the collector has taken some of it");
        self.ties.counters.paused.store(true, Ordering::Relaxed);
        let mut paused = true;
        while paused && sleep(LOOK_AGAIN, &self.ties.stop) {
            paused = self.ties.shared.lock().buffer.is_full();
        }
        self.ties.counters.paused.store(false, Ordering::Relaxed);
        if paused {
            return Err(ReadError::Stopped);
        }
        info!("buffer: reading goes on");
        Ok(())
    }
}

/// What a step means once the source is free again.
enum After {
    Nothing,
    Event,
    Begin(source::Begin),
    Commit,
    Dropped(Option<String>),
}

/// Takes an open transaction that has grown too large out of the builder, as a part.
fn overflow(
    builder: &mut Builder,
    before: &Checkpoint,
    ties: &Ties,
    rereads: u64,
    cut: Cut,
) -> Result<(), ReadError> {
    let known = |fingerprint| knows(&ties.shared.lock(), fingerprint);
    if let Some(sealed) = builder.seal(known)? {
        // Complete transactions in front of one huge event. They must not share the fate of the open
        // one, whose parts are discarded if it is abandoned: the source does not give them again.
        count(&ties.counters, &sealed);
        let parcels = [parcel(sealed)];
        persist(ties, rereads, |inner| inner.buffer.commit(&parcels, before))?;
        let _ = ties.staged.try_send(());
    }
    if builder.bytes() < cut.bytes_max && builder.rows() < cut.rows_max {
        return Ok(());
    }
    let known = |fingerprint| knows(&ties.shared.lock(), fingerprint);
    if let Some(sealed) = builder.seal_part(known)? {
        count(&ties.counters, &sealed);
        let parcel = parcel(sealed);
        persist(ties, rereads, |inner| inner.buffer.stage_part(&parcel))?;
    }
    Ok(())
}

fn knows(inner: &Inner, fingerprint: u64) -> bool {
    // If it cannot be looked up it travels once more, which does no harm.
    inner.buffer.has_schema(fingerprint).unwrap_or(false)
}

fn count(counters: &Counters, sealed: &Sealed) {
    counters.batches_staged.add(1);
    counters.rows.add(u64::from(sealed.rows));
    counters.bytes_compressed.add((sealed.meta.len() + sealed.body.len()) as u64);
    let plain = batch::Meta::decode(&sealed.meta).map_or(0, |meta| meta.plain_len);
    counters.bytes_raw.add(u64::from(plain));
}

/// Writes to the buffer, and waits while the disk does not take it.
fn persist(
    ties: &Ties,
    rereads: u64,
    write: impl Fn(&mut Inner) -> Result<(), BufferError>,
) -> Result<(), ReadError> {
    let mut told = false;
    loop {
        let (written, empty) = {
            let mut inner = ties.shared.lock();
            if inner.rereads != rereads {
                return Err(ReadError::Reread);
            }
            let written = write(&mut inner);
            (written, inner.buffer.usage().is_ok_and(|usage| usage.batches == 0))
        };
        match written {
            Ok(()) => return Ok(()),
            Err(BufferError::Disk { cause: DiskCause::Full, .. }) if empty => {
                return Err(ReadError::TooLarge);
            }
            Err(error @ BufferError::Disk { .. }) => {
                if !told {
                    error!("{error}; trying again until it is taken");
                    told = true;
                }
            }
            Err(error @ BufferError::Healed { .. }) => {
                warn!("{error}");
                ties.shared.lock().rereads += 1;
                return Err(ReadError::Reread);
            }
            Err(error) => return Err(ReadError::Buffer(error)),
        }
        if !sleep(LOOK_AGAIN, &ties.stop) {
            // A position behind it must not be stored any more, even if the disk takes that.
            return Err(ReadError::Unstored);
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
