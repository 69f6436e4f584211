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

use crate::batch::{self, BatchError, Sealed};
use crate::binlog::reader::DecodeError;
use crate::buffer::{BufferError, DiskCause, Ended, Part, Prepared};
use crate::position::{Checkpoint, Position};
use crate::source::{self, CommitPrepared, LeftOut, OnStatement, Source, SourceError, Step, Xid};
use crate::telemetry::counters::Counters;
use crate::telemetry::logger::now_us;
use crate::telemetry::status::{Disk, State};

use super::bell::Bell;
use super::pump::{Inner, Lost, Shared, parcel};
use super::regain;
use super::stager::{Full, Stager, Store};

/// When a batch is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// How large it grows.
    pub(super) full: Full,
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
    /// Rung when something was staged, or nothing more will be.
    pub(super) staged: Arc<Bell>,
    /// Whether a batch staged now would leave at once.
    pub(super) link_idle: Arc<AtomicBool>,
    /// Whether a batch staged now would only lengthen a queue.
    pub(super) link_behind: Arc<AtomicBool>,
    /// Ends the thread; `source::Stopper` wakes it.
    pub(super) stop: source::Stopper,
    /// Set when the files have been read to their end and are not followed.
    pub(super) finished: Arc<AtomicBool>,
    /// Whether what cannot be read again may be missing at the collector (`on_gap`).
    pub(super) accepts_gaps: bool,
}

/// Reading cannot go on.
#[derive(Debug)]
pub(super) enum ReadError {
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
    /// A rollback to a savepoint that is not known.
    Savepoint,
    /// The commit of a transaction whose rows were not read: where, and of which.
    Unprepared(String),
    /// What the collector lost cannot be read again: what, and why not.
    Lost(Box<(Lost, SourceError)>),
    /// The files are read to their end.
    End,
    /// What was staged was broken: read again from the buffer's checkpoint.
    Reread,
}

impl ReadError {
    /// Whether the stager's complete transactions can still be stored.
    fn leaves_stager_sound(&self) -> bool {
        matches!(
            self,
            Self::Stopped
                | Self::End
                | Self::Source(_)
                | Self::Rows(_)
                | Self::Savepoint
                | Self::Unprepared(_)
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
                "a transaction is larger than the whole buffer, or prepared XA transactions fill it (one \
                 needs its size twice while it commits): raise `buffer.bytes_max`",
            ),
            Self::Unprepared(what) => write!(
                f,
                "{what}: this commits an XA transaction that was prepared before reading began, so its \
                 rows were not read: start anew from an earlier position, or leave it out with \
                 `on_statement = \"skip-and-report\"`"
            ),
            Self::Rows(what) => f.write_str(what),
            Self::Batch(error) => write!(f, "{error}"),
            Self::Savepoint => f.write_str(
                "a transaction went back to a savepoint that is not in the log, or older than a \
                 thousand others",
            ),
            Self::Lost(both) => {
                let (lost, why) = &**both;
                write!(
                    f,
                    "{lost}, and it cannot be read again: {why}. Nothing is sent and what is staged \
                     stays. Restore the collector from a newer copy, or give that up with \
                     `buffer.on_gap = \"skip-and-report\"`"
                )
            }
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
/// Changes that are left out are told of at most this often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How much longer a batch may wait for company when the link is behind.
const BEHIND_FACTOR: u32 = 10;
/// A write that takes longer makes the disk count as slow.
const SLOW: Duration = Duration::from_millis(250);
/// Within a transaction the clock is looked at for each of so many events.
const CLOCK_EVERY: u32 = 16;
/// The longest wait for the source; and when the last one was in vain, and nothing is amiss.
const WAIT_MAX: Duration = Duration::from_millis(300);
const WAIT_AT_REST_MAX: Duration = Duration::from_secs(5);

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
                let rereads = ties.shared.lock().rereads;
                finish(ties);
                // What leaves now may come back as broken or lost.
                while ties.shared.lock().rereads == rereads {
                    if !sleep(LOOK_AGAIN, &ties.stop) {
                        return Ok(());
                    }
                }
                ties.finished.store(false, Ordering::Release);
            }
            error if !followed => {
                error!("source: stopped: {error}");
                ties.counters.stopped_by(Some(error.to_string()));
                finish(ties);
                return Err(error.to_string());
            }
            error => {
                error!("source: stopped: {error}; next try in {} s", RETRY.as_secs());
                ties.counters.source_is(State::Off);
                ties.counters.stopped_by(Some(error.to_string()));
                // The centre is told at once.
                ties.staged.ring();
                if !sleep(RETRY, &ties.stop) {
                    return Ok(());
                }
            }
        }
    }
}

/// Nothing more will be staged; the link may be waiting for just that.
fn finish(ties: &Ties) {
    ties.finished.store(true, Ordering::Release);
    ties.staged.ring();
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
    stager: Stager,
    staging: Staging<'a>,
    age_max: Duration,
    on_statement: OnStatement,
    /// Up to here the collector has all: it is read for what is known by then, and not staged.
    known: Option<Position>,
    /// The last transaction's begin.
    begin: batch::Begin,
    /// Where the open transaction began, if it may be prepared.
    begins: Option<Checkpoint>,
    /// Changes that were left out and not yet told of, and when some were told of last.
    untold: u64,
    told_at: Option<Instant>,
    /// When the oldest complete transaction of the stager came.
    since: Option<Instant>,
    /// When complete transactions were staged last.
    flushed_at: Instant,
    /// When the clock was looked at last.
    now: Instant,
    turns: u32,
    /// The last wait was in vain, and there is nothing to come back for soon.
    at_rest: bool,
    /// Whether the figures say that the source is well.
    well: bool,
}

/// The way into the buffer, with patience for a disk that fails.
struct Staging<'a> {
    ties: &'a Ties,
    /// [`Inner::rereads`] when the source was opened.
    rereads: u64,
    /// The checkpoint that the buffer has.
    stored: Checkpoint,
    stored_at: Instant,
    /// Transactions read since the last commit to the buffer.
    read: u64,
    committed_us: u64,
    /// When the first of them was committed.
    oldest_us: u64,
    /// Whether the buffer was full when something was staged last.
    full: bool,
    /// Prepared transactions whose end is not yet stored.
    ended: Vec<Ended>,
}

impl Store for Staging<'_> {
    type Error = ReadError;

    fn knows(&mut self, fingerprint: u64) -> bool {
        // If it cannot be looked up it travels once more, which does no harm.
        self.ties.shared.lock().buffer.has_schema(fingerprint).unwrap_or(false)
    }

    fn part(&mut self, sealed: Sealed) -> Result<(), ReadError> {
        count(&self.ties.counters, &sealed);
        let parcel = parcel(sealed);
        self.full = persist(self.ties, self.rereads, |inner| {
            inner.buffer.stage_part(&parcel)?;
            Ok(inner.buffer.is_full())
        })?;
        Ok(())
    }

    fn commit(&mut self, sealed: Option<Sealed>, behind: &Checkpoint) -> Result<(), ReadError> {
        if let Some(sealed) = &sealed {
            count(&self.ties.counters, sealed);
        }
        let parcel = sealed.map(parcel);
        let ended = std::mem::take(&mut self.ended);
        let upto;
        (upto, self.full) = persist(self.ties, self.rereads, |inner| {
            inner.buffer.commit_ending(parcel.as_slice(), behind, &ended)?;
            Ok((inner.buffer.staged(), inner.buffer.is_full()))
        })?;
        if parcel.is_some() {
            self.ties.counters.staged(upto.0, self.read, self.oldest_us, now_us());
            self.ties.staged.ring();
        }
        self.stored(behind);
        Ok(())
    }

    fn discard(&mut self) -> Result<(), ReadError> {
        self.ties.shared.lock().buffer.discard_parts().map_err(ReadError::Buffer)
    }

    fn take_part(&mut self) -> Result<Option<Part>, ReadError> {
        persist(self.ties, self.rereads, |inner| inner.buffer.take_part())
    }

    fn prepare(
        &mut self,
        name: &[u8],
        last: Option<Sealed>,
        begins: &Checkpoint,
        behind: &Checkpoint,
    ) -> Result<(), ReadError> {
        let (last, ended) = (last.map(parcel), std::mem::take(&mut self.ended));
        self.full = persist(self.ties, self.rereads, |inner| {
            inner.buffer.prepare(name, last.as_ref(), begins, behind, &ended)?;
            Ok(inner.buffer.is_full())
        })?;
        self.stored(behind);
        Ok(())
    }

    fn prepared(&mut self, name: &[u8]) -> Result<Option<Prepared>, ReadError> {
        if self.ended.iter().any(|ended| ended.name == name) {
            return Ok(None);
        }
        persist(self.ties, self.rereads, |inner| inner.buffer.prepared(name))
    }

    fn prepared_part(&mut self, prepared: &Prepared, part: u32) -> Result<Part, ReadError> {
        persist(self.ties, self.rereads, |inner| inner.buffer.prepared_part(prepared, part))
    }

    fn end(&mut self, name: &[u8], committed: bool) {
        self.ended.push(Ended { name: name.to_owned(), committed });
    }

    fn schema(&mut self, fingerprint: u64) -> Result<Option<Vec<u8>>, ReadError> {
        persist(self.ties, self.rereads, |inner| inner.buffer.schema(fingerprint))
    }
}

impl<'a> Staging<'a> {
    fn new(ties: &'a Ties, rereads: u64, stored: Checkpoint) -> Self {
        Self {
            ties,
            rereads,
            stored,
            stored_at: Instant::now(),
            read: 0,
            committed_us: 0,
            oldest_us: 0,
            full: true,
            ended: Vec::new(),
        }
    }

    /// A transaction was read to its end.
    fn was_read(&mut self) {
        if self.read == 0 {
            self.oldest_us = self.committed_us;
        }
        self.read += 1;
    }

    /// The buffer has this checkpoint now.
    fn stored(&mut self, behind: &Checkpoint) {
        let position = behind.position.to_string();
        if self.read > 0 {
            self.ties.counters.transactions.add(self.read - 1);
            self.ties.counters.committed(&position, self.committed_us, now_us());
            self.read = 0;
        } else {
            self.ties.counters.position_is(&position);
        }
        self.stored.clone_from(behind);
        self.stored_at = Instant::now();
    }
}

impl<'a> Reader<'a> {
    fn open(settings: &source::Settings, cut: Cut, ties: &'a Ties) -> Result<Self, ReadError> {
        let known = regain::go_back(settings, ties)?;
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
            stager: Stager::new(batch::Settings { level: cut.level }, cut.full),
            staging: Staging::new(ties, rereads, stored),
            age_max: cut.age_max,
            on_statement: settings.on_statement,
            known,
            begin: batch::Begin::default(),
            begins: None,
            untold: 0,
            told_at: None,
            since: None,
            flushed_at: Instant::now(),
            now: Instant::now(),
            turns: 0,
            at_rest: false,
            well: false,
        })
    }

    /// Never returns `Ok`.
    fn follow(&mut self) -> Result<(), ReadError> {
        loop {
            let turned = self.turn();
            // What is complete leaves whatever stopped the reading behind it.
            if let Err(error) = &turned
                && error.leaves_stager_sound()
            {
                self.stager.rollback(&mut self.staging)?;
                self.flush()?;
                self.store_position()?;
                self.tell_left_out();
            }
            turned.map_err(|error| match error {
                ReadError::Rows(what) => ReadError::Rows(format!("{}:{what}", self.source.file())),
                error => error,
            })?;
        }
    }

    fn turn(&mut self) -> Result<(), ReadError> {
        if self.stager.is_growing() && self.stager.transactions() > 0 {
            self.flush()?;
        }
        let wait_max = if self.at_rest { WAIT_AT_REST_MAX } else { WAIT_MAX };
        let deadline = self.since.map_or(self.now + wait_max, |since| self.leaves_at(since));
        let after = match self.source.next(deadline)? {
            None => After::Nothing,
            Some(Step::Begin(begin)) => After::Begin(begin),
            Some(Step::Rows(rows)) => {
                let offset = rows.offset;
                let operation = rows.rows.operation;
                let bad = |error: DecodeError| {
                    let what = error.in_table(&rows.table);
                    ReadError::Rows(format!("{offset}: {operation:?} rows: {what}"))
                };
                self.stager.event(&rows.table, operation, offset, rows.timestamp_s);
                let mut each = rows.rows.rows(&rows.table).map_err(bad)?;
                let (mut before, mut after) = (Vec::new(), Vec::new());
                while each.next_row(&mut before, &mut after).map_err(bad)? {
                    self.stager.row(&before, &after, &mut self.staging)?;
                }
                if self.stager.transactions() == 0 {
                    self.since = None;
                }
                After::Event
            }
            Some(Step::Savepoint(name)) => {
                self.stager.savepoint(&name);
                After::Event
            }
            Some(Step::RollbackTo(name)) => {
                if !self.stager.rollback_to(&name, &mut self.staging)? {
                    return Err(ReadError::Savepoint);
                }
                After::Event
            }
            Some(Step::Commit) => After::Commit,
            Some(Step::Prepare(xid)) => After::Prepare(xid),
            Some(Step::CommitPrepared(commit)) => After::CommitPrepared(commit),
            Some(Step::RollbackPrepared(xid)) => {
                self.staging.end(&xid.key(), false);
                After::Event
            }
            Some(Step::LeftOut(left_out)) => After::LeftOut(left_out),
            Some(Step::Rollback) => After::Dropped(None),
            Some(Step::Abandoned { why }) => After::Dropped(Some(why)),
            Some(Step::Statement | Step::Heartbeat | Step::Skip) => After::Event,
            Some(Step::End) => return Err(ReadError::End),
        };
        self.after(after)
    }

    /// To ask for the time takes as long as to read a small event: within a transaction it stands still for a few.
    fn look_at_the_clock(&mut self, after: &After) -> bool {
        self.turns = self.turns.wrapping_add(1);
        let inside = self.stager.is_open() && !matches!(after, After::Nothing);
        let looks = !inside || self.turns.is_multiple_of(CLOCK_EVERY);
        if looks {
            self.now = Instant::now();
        }
        looks
    }

    fn after(&mut self, after: After) -> Result<(), ReadError> {
        self.staging.ties.counters.events.add(self.source.take_events());
        let looked = self.look_at_the_clock(&after);
        let now = self.now;
        if !matches!(after, After::Nothing | After::Dropped(Some(_))) || self.source.is_well() {
            if looked {
                self.staging.ties.counters.source_seen(now);
            }
            if !self.well {
                self.staging.ties.counters.source_is(State::Connected);
                self.staging.ties.counters.stopped_by(None);
            }
            self.well = true;
        }
        self.at_rest = false;
        match after {
            After::Nothing => {
                let (rereads, trouble) = {
                    let inner = self.staging.ties.shared.lock();
                    (inner.rereads, inner.buffer.trouble())
                };
                if rereads != self.staging.rereads {
                    return Err(ReadError::Reread);
                }
                if trouble.is_some() {
                    persist(self.staging.ties, rereads, |inner| inner.buffer.settle())?;
                }
                let waited = self.since.is_none();
                self.flush()?;
                self.stager.rest();
                if waited {
                    self.stager.give_back();
                    self.at_rest = trouble.is_none();
                }
            }
            After::Event => {}
            After::Begin(begin) => {
                self.wait_for_room()?;
                self.begin(&begin)?;
            }
            After::Commit => self.commit(now)?,
            After::Prepare(xid) => self.prepare(&xid)?,
            After::CommitPrepared(commit) => self.commit_prepared(*commit, now)?,
            After::LeftOut(left_out) => self.left_out(left_out.kind, left_out.offset, now),
            After::Dropped(why) => {
                if let Some(why) = why {
                    warn!("source: reading goes back to the last commit: {why}");
                    self.staging.ties.counters.source_is(State::Connecting);
                    self.well = false;
                }
                self.stager.rollback(&mut self.staging)?;
            }
        }
        if self.stager.is_open() {
            return Ok(());
        }
        if let Some(since) = self.since
            && self.leaves_at(since) <= now
            && (since + self.age_max() <= now || !self.source.has_more()?)
        {
            self.flush()?;
        }
        if self.staging.stored_at + POSITION_EVERY <= now
            || self.staging.stored.position.file.is_empty()
        {
            self.store_position()?;
        }
        Ok(())
    }

    /// When complete transactions leave, if nothing more is at hand by then. On an idle link that is at once,
    /// unless others have left just before.
    fn leaves_at(&self, since: Instant) -> Instant {
        let at_last = since + self.age_max();
        if !self.staging.ties.link_idle.load(Ordering::Relaxed) {
            return at_last;
        }
        at_last.min(self.flushed_at + self.age_max * 2 / 5)
    }

    /// A batch that would only wait in the queue may as well wait for company.
    fn age_max(&self) -> Duration {
        let behind = self.staging.ties.link_behind.load(Ordering::Relaxed);
        if behind { self.age_max * BEHIND_FACTOR } else { self.age_max }
    }

    fn begin(&mut self, begin: &source::Begin) -> Result<(), ReadError> {
        let checkpoint = self.source.checkpoint();
        self.begins = begin.xa.then(|| checkpoint.clone());
        self.set_begin(begin);
        self.staging.committed_us = changed_us(&self.begin);
        self.stager.begin(&self.begin, self.source.checkpoint(), &mut self.staging)
    }

    fn set_begin(&mut self, begin: &source::Begin) {
        let checkpoint = self.source.checkpoint();
        let position = &mut self.begin.position;
        position.server.clone_from(&checkpoint.position.server);
        self.source.file().clone_into(&mut position.file);
        position.offset = begin.offset;
        position.gtid.clone_from(&begin.gtid);
        self.begin.file_created_s = checkpoint.file_created_s;
        self.begin.timestamp_s = begin.timestamp_s;
        self.begin.server_id = begin.server_id;
        self.begin.thread = begin.thread_id;
        self.begin.committed_us = begin.committed_us;
    }

    fn prepare(&mut self, xid: &Xid) -> Result<(), ReadError> {
        let begins = self.begins.take().unwrap_or_else(|| self.staging.stored.clone());
        let behind = self.source.checkpoint();
        self.stager.prepare(&xid.key(), &begins, behind, &mut self.staging)?;
        self.since = None;
        Ok(())
    }

    fn commit_prepared(&mut self, commit: CommitPrepared, now: Instant) -> Result<(), ReadError> {
        let CommitPrepared { xid, begin, offset, behind } = commit;
        if self.is_known(&behind.position) {
            self.staging.end(&xid.key(), false);
            self.source.pass(behind);
            return Ok(());
        }
        self.wait_for_room()?;
        self.set_begin(&begin);
        let (position, changed_us) = (self.begin.position.clone(), changed_us(&self.begin));
        let end = batch::Commit { end_offset: behind.position.offset, xid: None };
        let begins = self.source.checkpoint();
        let (name, ends) = (xid.key(), (end, &behind));
        let (begin, staging) = ((&self.begin, offset), &mut self.staging);
        if self.stager.commit_prepared(&name, begin, ends, begins, staging)? {
            self.staging.committed_us = changed_us;
            self.staging.was_read();
        } else if !persist(self.staging.ties, self.staging.rereads, |inner| {
            inner.buffer.was_read(&position)
        })? {
            if self.on_statement == OnStatement::Stop {
                return Err(ReadError::Unprepared(format!("{}:{offset}: {xid}", position.file)));
            }
            self.left_out("XA COMMIT", offset, now);
        }
        self.source.pass(behind);
        self.committed(now);
        Ok(())
    }

    /// Whether the collector has what ends here although it is read again.
    fn is_known(&mut self, end: &Position) -> bool {
        let order = self.known.as_ref().and_then(|known| end.order(known));
        let known = order.is_some_and(std::cmp::Ordering::is_le);
        if !known {
            self.known = None;
        }
        known
    }

    /// A change without rows is left out: counted, and told of now and then.
    fn left_out(&mut self, kind: &str, offset: u64, now: Instant) {
        self.staging.ties.counters.left_out.add(1);
        self.untold += 1;
        if self.told_at.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return;
        }
        let more = match self.untold - 1 {
            0 => String::new(),
            more => format!("; {more} more since this was said last"),
        };
        let file = self.source.file();
        warn!(
            "source: {file}:{offset}: {kind}: a change without rows in the log is left out{more}"
        );
        (self.untold, self.told_at) = (0, Some(now));
    }

    fn tell_left_out(&mut self) {
        let (untold, all) = (self.untold, self.staging.ties.counters.left_out.value());
        if untold > 0 {
            warn!(
                "source: {untold} more changes without rows in the log were left out, {all} in all"
            );
            self.untold = 0;
        }
    }

    fn commit(&mut self, now: Instant) -> Result<(), ReadError> {
        if self.known.is_some() {
            let end = self.source.checkpoint().position.clone();
            if self.is_known(&end) {
                return self.stager.rollback(&mut self.staging);
            }
        }
        self.staging.was_read();
        let checkpoint = self.source.checkpoint();
        let commit = batch::Commit { end_offset: checkpoint.position.offset, xid: None };
        self.stager.commit(commit, checkpoint, &mut self.staging)?;
        self.committed(now);
        Ok(())
    }

    fn committed(&mut self, now: Instant) {
        match self.stager.transactions() {
            0 => self.since = None,
            _ => _ = self.since.get_or_insert(now),
        }
    }

    /// Stages the complete transactions.
    fn flush(&mut self) -> Result<(), ReadError> {
        if self.since.take().is_some() {
            self.flushed_at = self.now;
        }
        self.stager.flush(self.source.checkpoint(), &mut self.staging)
    }

    /// Stores a checkpoint that moved without rows.
    fn store_position(&mut self) -> Result<(), ReadError> {
        self.staging.stored_at = Instant::now();
        let checkpoint = self.source.checkpoint();
        let moved = !checkpoint.position.file.is_empty() && *checkpoint != self.staging.stored;
        if moved && self.stager.transactions() == 0 && !self.stager.is_open() {
            self.staging.commit(None, checkpoint)?;
        }
        Ok(())
    }

    /// Waits while the buffer is full. The server keeps what is not read.
    fn wait_for_room(&mut self) -> Result<(), ReadError> {
        // Only what is staged here fills it.
        if !std::mem::take(&mut self.staging.full) || !must_wait(self.staging.ties) {
            return Ok(());
        }
        self.flush()?;
        warn!("buffer: full: reading pauses until the collector has taken some of it");
        self.staging.ties.counters.paused.store(true, Ordering::Relaxed);
        let mut paused = true;
        let rereads = self.staging.rereads;
        while paused && sleep(LOOK_AGAIN, &self.staging.ties.stop) {
            if self.staging.ties.shared.lock().rereads != rereads {
                self.staging.ties.counters.paused.store(false, Ordering::Relaxed);
                return Err(ReadError::Reread);
            }
            paused = must_wait(self.staging.ties);
        }
        // It was not listened to meanwhile.
        self.staging.ties.counters.source_seen(Instant::now());
        self.staging.ties.counters.paused.store(false, Ordering::Relaxed);
        if paused {
            return Err(ReadError::Stopped);
        }
        info!("buffer: reading goes on");
        Ok(())
    }
}

/// Whether the buffer is full of what can leave. Prepared transactions leave it when more is read.
fn must_wait(ties: &Ties) -> bool {
    let buffer = &mut ties.shared.lock().buffer;
    buffer.is_full() && !buffer.usage().is_ok_and(|usage| usage.batches == 0)
}

fn changed_us(begin: &batch::Begin) -> u64 {
    begin.committed_us.unwrap_or(u64::from(begin.timestamp_s) * 1_000_000)
}

/// What a step means once the source is free again.
enum After {
    Nothing,
    Event,
    Begin(source::Begin),
    Commit,
    Prepare(Xid),
    CommitPrepared(Box<CommitPrepared>),
    LeftOut(LeftOut),
    Dropped(Option<String>),
}

fn count(counters: &Counters, sealed: &Sealed) {
    counters.batches_staged.add(1);
    counters.rows.add(u64::from(sealed.rows));
    counters.bytes_compressed.add((sealed.meta.len() + sealed.body.len()) as u64);
    counters.bytes_raw.add(u64::from(sealed.plain_len));
}

/// Writes to the buffer, and waits while the disk does not take it.
pub(super) fn persist<T>(
    ties: &Ties,
    rereads: u64,
    write: impl Fn(&mut Inner) -> Result<T, BufferError>,
) -> Result<T, ReadError> {
    let mut told = false;
    loop {
        let written = {
            let mut inner = ties.shared.lock();
            if inner.rereads != rereads {
                return Err(ReadError::Reread);
            }
            let start = Instant::now();
            let written = write(&mut inner);
            let cause = match &written {
                Err(BufferError::Disk { cause, .. }) => Some(*cause),
                _ => inner.buffer.trouble(),
            };
            if told {
                ties.counters.source_seen(Instant::now());
            }
            ties.counters.disk_is(cause.map_or(Disk::Well, disk));
            if start.elapsed() > SLOW {
                ties.counters.disk_was_slow(Instant::now());
            }
            match written {
                Err(BufferError::Disk { cause: DiskCause::Quota, .. })
                    if inner.buffer.usage().is_ok_and(|usage| usage.batches == 0) =>
                {
                    return Err(ReadError::TooLarge);
                }
                written => written,
            }
        };
        match written {
            Ok(value) => {
                if told {
                    info!("buffer: written again: reading goes on");
                }
                return Ok(value);
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

/// The state that a cause puts the disk in.
fn disk(cause: DiskCause) -> Disk {
    match cause {
        DiskCause::Full => Disk::Full,
        DiskCause::ReadOnly => Disk::ReadOnly,
        DiskCause::Io => Disk::Failing,
        DiskCause::Busy => Disk::Locked,
        // Ours, not the disk's.
        DiskCause::Quota => Disk::Well,
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
