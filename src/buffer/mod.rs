//! SHELL: the durable queue between the binlog and the link, one SQLite file in WAL mode.
//!
//! Batches and the source's checkpoint behind them are written in one transaction, so the two
//! cannot disagree after a crash. A number that may have been sent never stands for other bytes:
//!
//! | what happened | what follows |
//! |---|---|
//! | closed, or the process died | the epoch goes on |
//! | the machine died, or the WAL or the file was exchanged | a new epoch; what is staged stays, renumbered |
//! | a batch fails its checksum | it and all behind it are forgotten; a new epoch; the source goes back |
//! | SQLite finds its structure broken | begun anew behind what was acknowledged, in a new epoch; the source goes back |
//! | and the state record with it | refused, with what to do; never started empty |
//! | full, read-only, I/O error, locked | [`BufferError::Disk`]: nothing of the call was stored; wait, try again |
//!
//! The first call on a new buffer is a [`Buffer::commit`] without parcels: it stores where reading
//! begins, so that a healing always knows how far to go back.
//!
//! A prepared transaction (XA) is kept beside the queue, invisible, until the source reads its commit,
//! and then until that is acknowledged: see `prepared.rs`. It counts towards the limit.
//!
//! Batches are forgotten in whole commits: a transaction of which some parts are acknowledged is
//! kept whole, so that a new epoch can send all of it again.

mod fault;
pub(crate) mod file;
mod fresh;
mod prepared;
mod recovery;
mod rows;
mod state;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;

pub use self::fault::{DiskCause, Fault};
use self::file::Lock;
use self::fresh::Fresh;
pub use self::prepared::{Ended, Prepared};
use self::rows::{Found, Frame};
use self::state::State;
pub use self::state::check_state;
use crate::position::{Checkpoint, Position, Sequence};

/// A batch as the source's side hands it over: its header without an identity, and its body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Parcel {
    /// The batch header's fields that do not depend on epoch and sequence, encoded by `batch`.
    pub meta: Vec<u8>,
    /// The compressed body.
    pub body: Vec<u8>,
    /// Row changes in it.
    pub rows: u32,
    /// Transactions that end in it.
    pub transactions: u32,
    /// Schema records that it is the first to carry: fingerprint and encoded record.
    pub schemas: Vec<(u64, Vec<u8>)>,
}

/// What was staged of a transaction that has not committed yet, taken out again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// As in [`Parcel`].
    pub meta: Vec<u8>,
    /// As in [`Parcel`].
    pub body: Vec<u8>,
}

/// A batch as the link's side takes it out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Staged {
    /// The epoch in which it is to be sent.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: Sequence,
    /// CRC32C over the `meta` and `body` of the batch before it in the epoch; 0 for the first.
    pub previous_crc: u32,
    /// CRC32C over this one's `meta` and `body`, verified when it was read.
    pub crc: u32,
    /// As in [`Parcel`].
    pub meta: Vec<u8>,
    /// As in [`Parcel`].
    pub body: Vec<u8>,
    /// Row changes in it.
    pub rows: u32,
}

/// How a buffer is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hard limit of the database file and its WAL together, in bytes; at least [`BYTES_MIN`].
    pub bytes_max: u64,
    /// What a commit survives.
    pub durability: Durability,
    /// What identifies this start of the machine (on Linux `/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// A crash of the process. A power cut may take the last commits together with their position.
    #[default]
    Normal,
    /// A power cut too, for a source that may forget its own last transactions.
    Strict,
}

/// How a buffer was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opening {
    /// There was none.
    Created,
    /// It goes on in its epoch.
    Continued,
    /// It is whole, but what was sent last may differ from what is staged.
    NewEpoch {
        /// For the log.
        why: String,
    },
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Bytes of the database's pages in use and of its WAL.
    pub bytes: u64,
    /// Batches behind a commit that are not forgotten yet.
    pub batches: u64,
    /// Row changes in them.
    pub rows: u64,
    /// When the oldest of them was staged, in Unix seconds by this machine's clock.
    pub oldest_s: Option<u64>,
}

/// The last batch that was forgotten because it was acknowledged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forgotten {
    /// Its epoch; 0 if there was none.
    pub epoch: u64,
    /// Its number in that epoch.
    pub sequence: Sequence,
    /// All that was committed behind this place is staged, or will be. The file is empty if that is not
    /// known.
    pub since: Position,
}

/// What a look from outside tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// Where the source goes on.
    pub checkpoint: Option<Checkpoint>,
    /// The current epoch.
    pub epoch: u64,
    /// The last batch behind a commit.
    pub staged: Sequence,
    /// The last batch that was acknowledged.
    pub acknowledged: Sequence,
    /// How much there is.
    pub usage: Usage,
    /// XA transactions that are prepared and not ended.
    pub prepared: u64,
    /// Whether it was closed; otherwise an agent runs, or died.
    pub closed: bool,
}

/// The queue.
pub struct Buffer {
    db: Connection,
    lock: Lock,
    path: PathBuf,
    settings: Settings,
    state: State,
    /// What the state was before the last write; only its memory counts.
    spare: State,
    /// Memory for a state and for a checkpoint, as they are stored.
    record: Vec<u8>,
    encoded: Vec<u8>,
    /// The last id in use: `state.visible`, or the last part of a transaction that goes on.
    last: i64,
    /// Row changes in what is visible.
    rows: u64,
    /// Bytes written since all of the WAL was moved into the database file.
    wal_bytes: u64,
    /// There may be rows beyond `last`, of a call that failed half-way.
    stray: bool,
    /// About how many bytes the call that is under way needs.
    needed: u64,
    /// The disk failed: what the file holds must be looked at before anything else.
    suspect: bool,
    /// Why the WAL could not be moved into the database file when that was tried last.
    trouble: Option<DiskCause>,
    full: bool,
    /// How many parts a transaction has that is being prepared.
    moving: Option<u32>,
    /// The batch that was read last, and its checksum.
    read: Option<(i64, u32)>,
    /// The batch that was staged last, if it is small: it is likely to be asked for next.
    fresh: Option<Fresh>,
    /// Bytes of the file and its WAL: not more than this.
    bytes_most: u64,
    /// Schemas of which [`Self::has_schema`] has told that they travel; some of those that do.
    travelled: HashSet<u64>,
}

impl Buffer {
    /// Where the source goes on; `None` if nothing was ever committed.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, BufferError> {
        Ok(state::decode_checkpoint(&self.state.checkpoint)?)
    }

    /// Stages whole transactions together with the checkpoint behind them; without parcels, the
    /// checkpoint alone. Parts that were staged before become visible with it.
    ///
    /// # Errors
    /// After any error nothing of `parcels` is stored; parts staged before still are, except after
    /// [`BufferError::Healed`].
    pub fn commit(
        &mut self,
        parcels: &[Parcel],
        checkpoint: &Checkpoint,
    ) -> Result<(), BufferError> {
        self.commit_ending(parcels, checkpoint, &[])
    }

    /// The same, and prepared transactions end with it.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_ending(
        &mut self,
        parcels: &[Parcel],
        checkpoint: &Checkpoint,
        ended: &[Ended],
    ) -> Result<(), BufferError> {
        let space = std::mem::take(&mut self.encoded);
        let checkpoint = state::encode_checkpoint_in(checkpoint, space);
        let committed = self.commit_encoded(parcels, &checkpoint, ended);
        self.encoded = checkpoint;
        committed
    }

    fn commit_encoded(
        &mut self,
        parcels: &[Parcel],
        checkpoint: &[u8],
        ended: &[Ended],
    ) -> Result<(), BufferError> {
        let (first, slice_bytes) = (self.last, self.wal_bytes_max() / 4);
        let mut rest = parcels;
        while bytes_of(rest) > slice_bytes && rest.len() > 1 {
            let (slice, behind) = rest.split_at(slice_len(rest, slice_bytes));
            if let Err(error) = self.stage(slice) {
                self.unstage(first);
                return Err(error);
            }
            rest = behind;
        }
        let committed = self.commit_rest(rest, checkpoint, ended);
        if committed.is_err() {
            self.unstage(first);
        }
        committed
    }

    /// Stages a part of a transaction that has not committed yet: invisible to [`Self::after`].
    ///
    /// # Errors
    /// [`BufferError::Disk`] with [`DiskCause::Quota`] although everything is acknowledged: the
    /// transaction is larger than the buffer.
    pub fn stage_part(&mut self, parcel: &Parcel) -> Result<(), BufferError> {
        self.stage(std::slice::from_ref(parcel))
    }

    /// Takes back the last part of a transaction that has not committed yet; `None` if there is none.
    ///
    /// # Errors
    /// [`BufferError::Healed`] if it failed its checksum: the source has to read all parts again.
    pub fn take_part(&mut self) -> Result<Option<Part>, BufferError> {
        self.ready()?;
        let id = self.last;
        if id == self.state.visible {
            return Ok(None);
        }
        match self.guard(rows::find(&self.db, id))? {
            Found::Sound { meta, body, .. } => {
                self.unstage(id - 1);
                let taken = self.write(|_, _| Ok(()));
                if taken.is_err() {
                    self.last = id;
                }
                taken?;
                Ok(Some(Part { meta, body }))
            }
            Found::Broken(why) => {
                self.unstage(self.state.visible);
                Err(self.healed(&format!("a part is broken ({why})"), 0)?)
            }
        }
    }

    /// Forgets the parts of a transaction that will not commit.
    pub fn discard_parts(&mut self) -> Result<(), BufferError> {
        self.moving = None;
        self.unstage(self.state.visible);
        if self.stray { self.write(|_, _| Ok(())) } else { Ok(()) }
    }

    /// The next batch beyond `sequence` in the current epoch, verified; `None` if there is none yet.
    ///
    /// If `sequence` is forgotten already, it is the oldest that is still there.
    ///
    /// # Errors
    /// [`BufferError::Healed`] if it failed its checksum.
    pub fn after(&mut self, sequence: Sequence) -> Result<Option<Staged>, BufferError> {
        self.ready()?;
        let Some(behind) = self.state.id(sequence) else { return Ok(None) };
        let id = behind.max(self.state.floor).saturating_add(1);
        if id > self.state.visible {
            return Ok(None);
        }
        let previous_crc = self.crc_before(id)?;
        let found = match self.fresh.take_if(|fresh| fresh.id == id) {
            Some(fresh) => fresh.found(),
            None => self.guard(rows::find(&self.db, id))?,
        };
        match found {
            Found::Broken(why) => Err(self.heal(id, why)?),
            Found::Sound { crc, rows, meta, body } => {
                self.read = Some((id, crc));
                let sequence = self.state.sequence(id);
                let epoch = self.state.epoch;
                Ok(Some(Staged { epoch, sequence, previous_crc, crc, meta, body, rows }))
            }
        }
    }

    /// The collector has everything up to `upto`: forgets it, in whole commits. Returns how many row
    /// changes were forgotten.
    ///
    /// # Errors
    /// [`BufferError::Ack`] if that was never staged, or is of another epoch; nothing is deleted.
    pub fn acknowledge(&mut self, epoch: u64, upto: Sequence) -> Result<u64, BufferError> {
        self.ready()?;
        let (here, staged) = (self.epoch(), self.staged());
        if epoch != here || upto > staged {
            return Err(BufferError::Ack { epoch, upto, here, staged });
        }
        let id = self.state.id(upto).expect("not beyond what is staged");
        if id <= self.state.acked {
            return Ok(0);
        }
        let floor = self.state.floor;
        let forgotten = self.write_on(|db, state| {
            state.acked = id;
            let Some((end, crc)) = rows::last_end(db, state.floor, id)? else { return Ok(0) };
            if end == state.visible {
                state.floor_checkpoint.clone_from(&state.checkpoint);
            } else if let Some(checkpoint) = rows::last_checkpoint(db, end)? {
                state.floor_checkpoint = checkpoint;
            }
            (state.floor, state.floor_crc) = (end, crc);
            state.forgotten = (state.epoch, state.sequence(end));
            prepared::forget(db, end)?;
            rows::forget(db, end)
        })?;
        self.rows = self.rows.saturating_sub(forgotten);
        self.written((self.state.floor - floor).max(0).unsigned_abs() * file::PAGE_BYTES);
        self.tidy();
        Ok(forgotten)
    }

    /// Begins a new epoch: `at_least`, or one more than this one. What is staged keeps its order and
    /// gets the numbers 1, 2, … behind `lead`, batches that carry schemas alone. A lead replaces
    /// the one before.
    ///
    /// # Errors
    /// [`BufferError::Epoch`] if `at_least` is absurdly far ahead.
    pub fn begin_epoch(&mut self, at_least: u64, lead: &[Parcel]) -> Result<u64, BufferError> {
        let here = self.epoch();
        if at_least > here.saturating_add(EPOCH_STEP_MAX) {
            return Err(BufferError::Epoch { at_least, here });
        }
        let staged_s = now_s();
        self.write_durably(|db, state| {
            if !lead.is_empty() {
                state.floor = rows::first_behind_leads(db, state.visible)? - 1;
                rows::forget(db, state.floor)?;
            }
            recovery::renumber(state, at_least);
            for parcel in lead.iter().rev() {
                let id = state.floor;
                rows::insert(
                    db,
                    parcel,
                    Frame { id, ends: true, lead: true, staged_s, ..Frame::default() },
                )?;
                state.floor -= 1;
            }
            (state.base, state.acked) = (state.floor, state.floor);
            Ok(())
        })?;
        self.recount()?;
        Ok(self.epoch())
    }

    /// A schema record that was staged here.
    pub fn schema(&self, fingerprint: u64) -> Result<Option<Vec<u8>>, BufferError> {
        Ok(rows::schema(&self.db, fingerprint)?)
    }

    /// Whether this schema travels with a batch, or has travelled.
    pub fn has_schema(&mut self, fingerprint: u64) -> Result<bool, BufferError> {
        if self.travelled.contains(&fingerprint) {
            return Ok(true);
        }
        let found = rows::has_schema(&self.db, fingerprint)?;
        if found {
            if self.travelled.len() >= TRAVELLED_MAX {
                self.travelled.clear();
            }
            self.travelled.insert(fingerprint);
        }
        Ok(found)
    }

    /// Every schema record that was ever staged here, for a collector that lost them.
    pub fn schemas(&self) -> Result<Vec<(u64, Vec<u8>)>, BufferError> {
        Ok(rows::schemas(&self.db)?)
    }

    /// What was noted under this name: something that the link wants to know after a restart and can do
    /// without. A note that fails its checksum was never made.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BufferError> {
        let sealed = rows::note(&self.db, name)?;
        Ok(sealed.and_then(|sealed| state::unseal(&sealed).map(<[u8]>::to_vec)))
    }

    /// Notes a few bytes, in place of what was noted under this name before.
    pub fn set_note(&mut self, name: &str, value: &[u8]) -> Result<(), BufferError> {
        let sealed = state::seal(value);
        self.write(|db, _| rows::set_note(db, name, &sealed))
    }

    /// The current epoch, 1 and up.
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// The last batch behind a commit.
    pub fn staged(&self) -> Sequence {
        self.state.sequence(self.state.visible)
    }

    /// The last batch that was acknowledged in this epoch.
    pub fn acknowledged(&self) -> Sequence {
        self.state.sequence(self.state.acked)
    }

    /// The last batch that was forgotten, by epoch and number.
    pub fn forgotten_last(&self) -> (u64, Sequence) {
        self.state.forgotten
    }

    /// What the collector must have, because it acknowledged it and it is not here any more.
    ///
    /// # Errors
    /// [`BufferError::Damaged`] if a checkpoint fails its checksum.
    pub fn forgotten(&self) -> Result<Forgotten, BufferError> {
        let (epoch, sequence) = self.state.forgotten;
        let since = match epoch {
            0 => state::decode_checkpoint(&self.state.began)?,
            _ => state::decode_checkpoint(&self.state.floor_checkpoint)?,
        };
        Ok(Forgotten { epoch, sequence, since: since.unwrap_or_default().position })
    }

    /// Where reading began in the life of this buffer.
    ///
    /// # Errors
    /// [`BufferError::Damaged`] if it fails its checksum.
    pub fn began(&self) -> Result<Option<Checkpoint>, BufferError> {
        Ok(state::decode_checkpoint(&self.state.began)?)
    }

    /// How much there is.
    pub fn usage(&self) -> Result<Usage, BufferError> {
        Ok(usage(&self.db, &self.path, &self.state, self.rows)?)
    }

    /// Why the disk does not sync what was written, if so. It counts as written: it survives the death of the
    /// process, and what a power cut takes is read again.
    pub fn trouble(&self) -> Option<DiskCause> {
        self.trouble
    }

    /// Tries again what [`Self::trouble`] tells of, without anything to write.
    ///
    /// # Errors
    /// As any call after a fault of the disk; if the disk still refuses, [`Self::trouble`] says so.
    pub fn settle(&mut self) -> Result<(), BufferError> {
        if self.trouble.is_some() {
            self.ready()?;
            self.written(self.wal_bytes_max());
        }
        Ok(())
    }

    /// Whether reading should wait: from 0.8 of the limit until below 0.6 of it. True too while the
    /// disk does not even let us look.
    pub fn is_full(&mut self) -> bool {
        let share = if self.full { 6 } else { 8 };
        let mark = self.bytes_max().saturating_mul(share) / 10;
        if self.full || self.bytes_most >= mark {
            let Ok((used, _, wal)) = file::bytes(&self.db, &self.path) else { return true };
            self.bytes_most = used + wal;
            self.full = self.bytes_most >= mark;
        }
        self.full
    }

    /// Marks the buffer as closed. Parts of a transaction that did not commit are forgotten.
    pub fn close(mut self) -> Result<(), BufferError> {
        self.unstage(self.state.visible);
        self.write_durably(|_, state| {
            state.clean = true;
            Ok(())
        })?;
        file::checkpoint(&self.db, true)?;
        self.db.close().map_err(|(_, error)| Fault::from(error))?;
        Ok(())
    }

    fn stage(&mut self, parcels: &[Parcel]) -> Result<(), BufferError> {
        self.ready()?;
        let (mut id, staged_s) = (self.last, now_s());
        self.needed = bytes_of(parcels);
        self.write_on(|db, _| {
            for parcel in parcels {
                id += 1;
                rows::insert(db, parcel, Frame { id, staged_s, ..Frame::default() })?;
            }
            Ok(())
        })?;
        self.last = id;
        self.written(bytes_of(parcels));
        Ok(())
    }

    fn commit_rest(
        &mut self,
        parcels: &[Parcel],
        checkpoint: &[u8],
        ended: &[Ended],
    ) -> Result<(), BufferError> {
        self.ready()?;
        let (mut id, staged_s, visible) = (self.last, now_s(), self.state.visible);
        let parts = id;
        self.needed = bytes_of(parcels);
        let rows = self.write_on(|db, state| {
            for (index, parcel) in parcels.iter().enumerate() {
                id += 1;
                let mut frame = Frame { id, staged_s, ..Frame::default() };
                if index + 1 == parcels.len() {
                    (frame.ends, frame.checkpoint) = (true, checkpoint);
                }
                rows::insert(db, parcel, frame)?;
            }
            if parcels.is_empty() && id > visible {
                rows::end(db, id, checkpoint)?;
            }
            if state.checkpoint.is_empty() && id == visible {
                state.began = checkpoint.to_vec();
            }
            state.visible = id;
            state.advance(checkpoint);
            let carrier = if id > visible { id } else { id + 1 };
            prepared::end(db, state, carrier, ended)?;
            rows::rows(db, visible, parts)
        })?;
        self.last = id;
        self.rows += rows + parcels.iter().map(|parcel| u64::from(parcel.rows)).sum::<u64>();
        self.fresh = parcels.last().and_then(|parcel| Fresh::of(id, parcel));
        self.written(bytes_of(parcels));
        Ok(())
    }

    /// Makes `last` the end; the rows behind it go with the next write.
    fn unstage(&mut self, last: i64) {
        self.stray |= self.last > last;
        self.last = self.last.min(last).max(self.state.visible);
    }

    /// One SQLite transaction over rows and state: both change, or neither.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Connection, &mut State) -> Result<T, Fault>,
    ) -> Result<T, BufferError> {
        self.travelled.clear();
        self.write_on(change)
    }

    /// The same for what takes no schema from those that travel.
    fn write_on<T>(
        &mut self,
        change: impl FnOnce(&Connection, &mut State) -> Result<T, Fault>,
    ) -> Result<T, BufferError> {
        self.ready()?;
        let mut next = std::mem::take(&mut self.spare);
        next.clone_from(&self.state);
        let (stray, last) = (self.stray, self.last);
        let done = (|| {
            let transaction = file::Transaction::begin(&self.db)?;
            if stray {
                self.travelled.clear();
                rows::cut(&self.db, last)?;
            }
            let value = change(&self.db, &mut next)?;
            if next != self.state {
                rows::save(&self.db, &next, &mut self.record)?;
            }
            transaction.commit()?;
            Ok(value)
        })();
        self.fresh = None;
        if done.is_err() {
            self.bytes_most = u64::MAX;
        }
        let needed = std::mem::take(&mut self.needed);
        let done = done.map_err(|fault| self.quota_or_disk(fault, needed));
        let value = self.guard(done)?;
        self.spare = std::mem::replace(&mut self.state, next);
        self.stray = false;
        self.last = self.last.max(self.state.visible);
        self.written(WRITE_BYTES);
        Ok(value)
    }

    /// As [`Self::write`], and synced when it returns.
    fn write_durably<T>(
        &mut self,
        change: impl FnOnce(&Connection, &mut State) -> Result<T, Fault>,
    ) -> Result<T, BufferError> {
        self.ready()?;
        set_synchronous(&self.db, Durability::Strict)?;
        let done = self.write(change);
        set_synchronous(&self.db, self.settings.durability)?;
        done
    }

    /// SQLite has one word for a full disk and for our own limit. It was the limit if what was to be written
    /// does not fit below it.
    fn quota_or_disk(&self, fault: Fault, needed: u64) -> Fault {
        let Fault::Disk { cause: DiskCause::Full, detail } = fault else { return fault };
        // A call writes a slice or, if that is larger, one parcel; and pages around it.
        let needed = needed.max(self.wal_bytes_max() / 4) + NEEDED_BESIDES;
        let pages_max = self.bytes_max() - self.wal_bytes_max();
        let used = file::bytes(&self.db, &self.path).map_or(0, |(used, ..)| used);
        let cause = if used + needed > pages_max { DiskCause::Quota } else { DiskCause::Full };
        Fault::Disk { cause, detail }
    }

    /// Notes a fault of the disk, so that the next call looks at the file first.
    fn guard<T>(&mut self, result: Result<T, Fault>) -> Result<T, BufferError> {
        if let Err(Fault::Disk { cause: DiskCause::Io, .. } | Fault::Damaged(_)) = &result {
            self.suspect = true;
        }
        Ok(result?)
    }

    /// Counts what went into the WAL and moves it into the database file in good time. What was
    /// committed stays committed if that fails.
    fn written(&mut self, bytes: u64) {
        self.wal_bytes += bytes;
        // Into the WAL now, and into the file in time.
        self.bytes_most = self.bytes_most.saturating_add(2 * bytes);
        if self.wal_bytes < self.wal_bytes_max() / 2 {
            return;
        }
        let moved = self.guard(file::checkpoint(&self.db, false));
        self.trouble = match &moved {
            Err(BufferError::Disk { cause, .. }) => Some(*cause),
            _ => None,
        };
        self.wal_bytes = match moved {
            Ok(true) => 0,
            // A reader holds it back; the next try is a quarter further.
            _ => self.wal_bytes_max() / 4,
        };
    }

    /// Gives space back when little of the file is in use.
    fn tidy(&mut self) {
        let Ok((used, free, wal)) = file::bytes(&self.db, &self.path) else { return };
        if free < self.wal_bytes_max() || free < used.saturating_mul(3) {
            return;
        }
        let shrunk = file::shrink(&self.db, SHRINK_PAGES);
        let _ = self.guard(shrunk);
        if self.state.floor == self.last && wal > self.wal_bytes_max() / 2 {
            let moved = file::checkpoint(&self.db, true);
            let _ = self.guard(moved);
        }
    }

    fn crc_before(&mut self, id: i64) -> Result<u32, BufferError> {
        if id - 1 == self.state.base {
            return Ok(0);
        }
        if id - 1 == self.state.floor {
            return Ok(self.state.floor_crc);
        }
        match self.read {
            Some((read, crc)) if read == id - 1 => Ok(crc),
            _ => Ok(self.guard(rows::crc_of(&self.db, id - 1))?.unwrap_or_default()),
        }
    }

    fn recount(&mut self) -> Result<(), BufferError> {
        self.rows = self.guard(rows::rows(&self.db, self.state.floor, self.state.visible))?;
        self.read = None;
        Ok(())
    }

    fn bytes_max(&self) -> u64 {
        self.settings.bytes_max.max(BYTES_MIN)
    }

    fn wal_bytes_max(&self) -> u64 {
        wal_bytes_max(&self.settings)
    }
}

fn wal_bytes_max(settings: &Settings) -> u64 {
    (settings.bytes_max / 8).clamp(BYTES_MIN / 8, WAL_BYTES_MAX)
}

fn set_synchronous(db: &Connection, durability: Durability) -> Result<(), Fault> {
    let value = match durability {
        Durability::Normal => "normal",
        Durability::Strict => "full",
    };
    Ok(db.pragma_update(None, "synchronous", value)?)
}

fn usage(db: &Connection, path: &Path, state: &State, rows: u64) -> Result<Usage, Fault> {
    let (used, _, wal) = file::bytes(db, path)?;
    Ok(Usage {
        bytes: used + wal,
        batches: (state.visible - state.floor).max(0).unsigned_abs(),
        rows,
        oldest_s: rows::oldest_s(db, state.visible)?,
    })
}

/// Bytes of the parcels as they are stored.
fn bytes_of(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| (parcel.meta.len() + parcel.body.len()) as u64).sum()
}

/// How many parcels fit in `bytes`; at least one, and never all.
fn slice_len(parcels: &[Parcel], bytes: u64) -> usize {
    let mut sum = 0;
    let fitting = parcels.iter().take_while(|parcel| {
        sum += bytes_of(std::slice::from_ref(parcel));
        sum <= bytes
    });
    fitting.count().clamp(1, parcels.len() - 1)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The buffer cannot do what was asked.
#[derive(Debug)]
pub enum BufferError {
    /// It must not be opened as it is: somebody has to look.
    Refused(String),
    /// Its structure is broken and cannot be mended here.
    Damaged(String),
    /// The disk does not take it now; nothing of the call was stored. Wait, then try again.
    Disk {
        /// What the disk or the system said.
        cause: DiskCause,
        /// In SQLite's words.
        detail: String,
    },
    /// Something staged was broken, was cut off, and the buffer goes on in a new epoch. Parts are
    /// gone too: the source must go back to the checkpoint.
    Healed {
        /// What was found.
        why: String,
        /// Where the source goes on; `None`: where it first began.
        checkpoint: Option<Box<Checkpoint>>,
        /// The new epoch.
        epoch: u64,
        /// How many visible batches were cut off.
        batches: u64,
    },
    /// An acknowledgement of what was never staged, or of another epoch.
    Ack {
        /// The epoch that it names.
        epoch: u64,
        /// The batch that it names.
        upto: Sequence,
        /// The epoch here.
        here: u64,
        /// The last batch here.
        staged: Sequence,
    },
    /// An epoch that no honest collector asks for.
    Epoch {
        /// What was asked for.
        at_least: u64,
        /// The epoch here.
        here: u64,
    },
    /// Anything else: a fault in this program.
    Sqlite(rusqlite::Error),
}

impl From<Fault> for BufferError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(why) => Self::Refused(why),
            Fault::Damaged(why) => Self::Damaged(why),
            Fault::Disk { cause, detail } => Self::Disk { cause, detail },
            Fault::Sqlite(error) => Self::Sqlite(error),
        }
    }
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("buffer: ")?;
        match self {
            Self::Refused(why) => Fault::Refused(why.clone()).fmt(f),
            Self::Damaged(why) => Fault::Damaged(why.clone()).fmt(f),
            Self::Disk { cause, detail } => {
                Fault::Disk { cause: *cause, detail: detail.clone() }.fmt(f)
            }
            Self::Healed { why, epoch, batches, .. } => write!(
                f,
                "{why}: {batches} batches were cut off and are read again, in epoch {epoch}"
            ),
            Self::Ack { epoch, upto, here, staged } => write!(
                f,
                "an acknowledgement of batch {upto} of epoch {epoch} is refused: here it is epoch \
                 {here} with {staged} batches"
            ),
            Self::Epoch { at_least, here } => {
                write!(f, "epoch {at_least} is refused: here it is epoch {here}")
            }
            Self::Sqlite(error) => write!(f, "SQLite: {error}"),
        }
    }
}

impl std::error::Error for BufferError {}

/// The smallest limit, in bytes: a few batches and the WAL fit in it.
pub const BYTES_MIN: u64 = 1 << 20;
/// The WAL's share of a large buffer, in bytes.
const WAL_BYTES_MAX: u64 = 4 << 20;
/// What a transaction writes besides its batches: the pages of the state, of an index and the root.
const WRITE_BYTES: u64 = 8 * file::PAGE_BYTES;
/// What a call writes besides its parcels, at most, in bytes: schemas and the inner pages of the tables.
const NEEDED_BESIDES: u64 = 64 << 10;
/// Schemas remembered at a time.
const TRAVELLED_MAX: usize = 1024;
/// Pages given back at a time: half a megabyte, so that no acknowledgement takes long.
const SHRINK_PAGES: u32 = 128;
/// How far ahead a collector may put the epoch: more than an agent uses in its life, and far from
/// the end of the numbers.
const EPOCH_STEP_MAX: u64 = 1 << 32;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
