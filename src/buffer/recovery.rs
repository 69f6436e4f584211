//! SHELL: how a buffer is opened, looked at after a fault, and mended.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use super::fault::Fault;
use super::file::{self, Tuning};
use super::state::{self, State};
use super::{Buffer, BufferError, Glance, Opening, Settings};
use super::{prepared, rows};

impl Buffer {
    /// Opens the buffer, or makes it.
    ///
    /// # Errors
    /// [`BufferError::Refused`] if another process has it, or if it is not a buffer of this format;
    /// [`BufferError::Damaged`] if its structure is broken.
    pub fn open(path: &Path, settings: Settings) -> Result<(Self, Opening), BufferError> {
        let lock = file::lock(path, &rows::KIND)?;
        let created = file::ensure(path, &rows::KIND)?;
        let wal_there = fs::exists(file::beside(path, "-wal")).unwrap_or(false);
        let db = file::open(path, &rows::KIND, &tuning(&settings))?;
        db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
            .map_err(Fault::from)?;
        let found = rows::load(&db)?;
        let fresh = found.is_none();
        if fresh && !created && rows::last_id(&db)?.is_some() {
            return Err(BufferError::Damaged("its state record is missing".to_owned()));
        }
        let state = found.unwrap_or_else(|| State { epoch: 1, clean: true, ..State::default() });
        if !state.clean {
            file::check(&db)?;
        }
        let why = if fresh { None } else { doubt(&state, &settings, wal_there, &lock.note) };
        let (last, path) = (state.visible, path.to_owned());
        let mut buffer = Self {
            db,
            lock,
            path,
            settings,
            state,
            last,
            rows: 0,
            wal_bytes: 0,
            stray: true,
            suspect: false,
            full: false,
            moving: None,
            read: None,
        };
        buffer.take_over(why.is_some())?;
        Ok((
            buffer,
            match why {
                _ if fresh => Opening::Created,
                None => Opening::Continued,
                Some(why) => Opening::NewEpoch { why: why.to_owned() },
            },
        ))
    }

    /// Looks at a buffer from outside, whether or not an agent has it open.
    pub fn peek(path: &Path) -> Result<Glance, BufferError> {
        let db = file::open_read_only(path, &rows::KIND)?;
        let transaction = db.unchecked_transaction().map_err(Fault::from)?;
        let state = rows::load(&transaction)?
            .ok_or_else(|| Fault::Refused("the buffer is being made".to_owned()))?;
        let rows = rows::rows(&transaction, state.floor, state.visible)?;
        Ok(Glance {
            checkpoint: state::decode_checkpoint(&state.checkpoint)?,
            epoch: state.epoch,
            staged: state.sequence(state.visible),
            acknowledged: state.sequence(state.acked),
            usage: super::usage(&transaction, path, &state, rows)?,
            closed: state.clean,
        })
    }

    /// Writes, durably, that this process has it now: before anything of the epoch is sent, a power
    /// cut must not be able to bring back a state that looks closed.
    fn take_over(&mut self, renumbers: bool) -> Result<(), BufferError> {
        let boot_id = self.settings.boot_id.clone();
        self.write_durably(|db, state| {
            (state.boot_id, state.clean) = (boot_id, false);
            state.opened = state.opened.wrapping_add(1);
            if state::decode_checkpoint(&state.checkpoint).is_err() {
                let behind = rows::last_checkpoint(db, state.visible)?;
                state.checkpoint = behind.unwrap_or_else(|| state.floor_checkpoint.clone());
                state::decode_checkpoint(&state.checkpoint)?;
            }
            if renumbers {
                renumber(state, 0);
            }
            prepared::sweep(db)
        })?;
        self.lock.leave(&self.state.opened.to_string());
        self.recount()
    }

    /// After a fault of the disk: opens the file anew and believes what is in it, not what is in
    /// memory. A sync that failed once may succeed the next time without having stored anything.
    pub(super) fn ready(&mut self) -> Result<(), BufferError> {
        if !self.suspect {
            return Ok(());
        }
        let db = file::open(&self.path, &rows::KIND, &tuning(&self.settings))?;
        db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
            .map_err(Fault::from)?;
        file::check(&db)?;
        let state = rows::load(&db)?
            .ok_or_else(|| Fault::Damaged("its state record is missing".to_owned()))?;
        let last = rows::last_id(&db)?.unwrap_or(state.floor);
        super::set_synchronous(&db, self.settings.durability)?;
        (self.db, self.suspect, self.stray, self.read) = (db, false, true, None);
        if state == self.state && last >= self.last {
            return Ok(());
        }
        let lost = self.state.visible - state.visible;
        let last = std::mem::replace(&mut self.last, state.visible);
        let believed = std::mem::replace(&mut self.state, state);
        if let Err(error) = self.take_over(true) {
            // The next call has to find the difference again.
            (self.last, self.state, self.suspect) = (last, believed, true);
            return Err(error);
        }
        Err(self.healed("the disk failed and the file differs from what was written", lost)?)
    }

    /// Cuts off the batch `id` and all behind it, back to the end of a commit, and begins a new
    /// epoch. Returns the news as an error.
    pub(super) fn heal(&mut self, id: i64, why: &str) -> Result<BufferError, BufferError> {
        let (visible, number) = (self.state.visible, self.state.sequence(id));
        self.unstage(visible);
        self.write_durably(|db, state| {
            let end = rows::last_end(db, state.floor, id - 1)?.map_or(state.floor, |(end, _)| end);
            rows::cut(db, end)?;
            prepared::unsettle(db, end)?;
            let behind = rows::last_checkpoint(db, end)?;
            let behind = behind.unwrap_or_else(|| state.floor_checkpoint.clone());
            // A broken prepared transaction may have taken the source back further.
            if !is_earlier(&state.checkpoint, &behind)? {
                state.checkpoint = behind;
            }
            state.visible = end;
            renumber(state, 0);
            Ok(())
        })?;
        self.last = self.state.visible;
        self.recount()?;
        let cut = visible - self.state.visible;
        self.healed(&format!("batch {number} is broken ({why})"), cut)
    }

    pub(super) fn healed(&self, why: &str, batches: i64) -> Result<BufferError, BufferError> {
        Ok(BufferError::Healed {
            why: why.to_owned(),
            checkpoint: self.checkpoint()?.map(Box::new),
            epoch: self.state.epoch,
            batches: batches.max(0).unsigned_abs(),
        })
    }
}

/// Whether a checkpoint is known to lie before another of the same history; both are sound, or empty.
fn is_earlier(one: &[u8], other: &[u8]) -> Result<bool, Fault> {
    let (one, other) = (state::decode_checkpoint(one)?, state::decode_checkpoint(other)?);
    Ok(one.zip(other).is_some_and(|(one, other)| {
        // A history that began anew has its first files again, made later.
        one.file_created_s <= other.file_created_s
            && one.position.order(&other.position).is_some_and(Ordering::is_lt)
    }))
}

/// Makes what is staged the first of a new epoch.
pub(super) fn renumber(state: &mut State, at_least: u64) {
    state.epoch = state.epoch.saturating_add(1).max(at_least);
    (state.base, state.acked, state.floor_crc) = (state.floor, state.floor, 0);
}

/// Why what was sent last may differ from what is staged.
fn doubt(state: &State, settings: &Settings, wal: bool, note: &str) -> Option<&'static str> {
    if !state.clean && state.boot_id != settings.boot_id {
        Some("the machine stopped while it was open")
    } else if !state.clean && !wal {
        Some("its WAL was taken away")
    } else if note != state.opened.to_string() {
        Some("it or its lock was replaced by another copy")
    } else {
        None
    }
}

fn tuning(settings: &Settings) -> Tuning {
    let wal_bytes_max = super::wal_bytes_max(settings);
    let bytes_max = Some(settings.bytes_max.max(super::BYTES_MIN) - wal_bytes_max);
    Tuning { full: true, cache_kib: CACHE_KIB, wal_bytes_max, bytes_max }
}

/// One batch and the inner pages of a large backlog.
const CACHE_KIB: u32 = 1024;
