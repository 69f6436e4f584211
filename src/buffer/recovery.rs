//! SHELL: how a buffer is opened, looked at after a fault, and mended.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::fault::Fault;
use super::file::{self, Tuning};
use super::state::{self, State};
use super::{Buffer, BufferError, Glance, Opening, Settings};
use super::{prepared, rows};
use crate::position::{Checkpoint, Sequence};

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
        let (db, found, anew) = match look(path, &settings) {
            Err(Fault::Damaged(why)) => {
                let (db, state, damaged) = begin_anew(path, &settings, &why, None)?;
                (db, Some(state), Some(told(&why, &damaged)))
            }
            looked => {
                let (db, found) = looked?;
                (db, found, None)
            }
        };
        let fresh = found.is_none();
        if fresh && !created && rows::last_id(&db)?.is_some() {
            return Err(BufferError::Damaged("its state record is missing".to_owned()));
        }
        let state = found.unwrap_or_else(|| State { epoch: 1, clean: true, ..State::default() });
        let why = match anew {
            None if fresh => None,
            None => doubt(&state, &settings, wal_there, &lock.note).map(str::to_owned),
            anew => anew,
        };
        let (last, path) = (state.visible, path.to_owned());
        let mut buffer = Self {
            db,
            lock,
            path,
            settings,
            state,
            spare: State::default(),
            record: Vec::new(),
            encoded: Vec::new(),
            last,
            rows: 0,
            wal_bytes: 0,
            stray: true,
            needed: 0,
            suspect: false,
            trouble: None,
            full: false,
            moving: None,
            read: None,
            fresh: None,
            bytes_most: u64::MAX,
            travelled: HashSet::new(),
        };
        buffer.take_over(why.is_some())?;
        Ok((
            buffer,
            match why {
                _ if fresh => Opening::Created,
                None => Opening::Continued,
                Some(why) => Opening::NewEpoch { why },
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
            prepared: prepared::count(&transaction)?,
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
        let looked = look(&self.path, &self.settings).and_then(|(db, state)| {
            file::check(&db)?;
            let missing = || Fault::Damaged("its state record is missing".to_owned());
            Ok((db, state.ok_or_else(missing)?))
        });
        let (db, state) = match looked {
            Err(Fault::Damaged(why)) => return Err(self.go_on_anew(&why)?),
            looked => looked?,
        };
        let last = rows::last_id(&db)?.unwrap_or(state.floor);
        super::set_synchronous(&db, self.settings.durability)?;
        (self.db, self.suspect, self.stray, self.read) = (db, false, true, None);
        self.fresh = None;
        self.travelled.clear();
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

    /// The file is damaged beyond what can be cut off. Returns the news as an error.
    fn go_on_anew(&mut self, why: &str) -> Result<BufferError, BufferError> {
        let lost = self.state.visible - self.state.floor;
        // The damaged file must be closed before another takes its place.
        self.db = Connection::open_in_memory().map_err(Fault::from)?;
        let (db, state, damaged) = begin_anew(&self.path, &self.settings, why, Some(&self.state))?;
        super::set_synchronous(&db, self.settings.durability)?;
        (self.db, self.last, self.state) = (db, state.visible, state);
        (self.suspect, self.stray, self.read, self.moving) = (false, true, None, None);
        self.fresh = None;
        self.travelled.clear();
        self.take_over(false)?;
        self.healed(&told(why, &damaged), lost)
    }

    /// Cuts off the batch `id` and all behind it, back to the end of a commit, and begins a new
    /// epoch. Returns the news as an error; if the disk fails nothing has changed, and whoever stages parts goes on.
    pub(super) fn heal(&mut self, id: i64, why: &str) -> Result<BufferError, BufferError> {
        let (visible, number) = (self.state.visible, self.state.sequence(id));
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
            prepared::unread(db, &state.checkpoint)?;
            state.visible = end;
            renumber(state, 0);
            Ok(())
        })?;
        self.last = self.state.visible;
        self.recount()?;
        let cut = visible - self.state.visible;
        self.healed(&format!("batch {number} is broken ({why})"), cut)
    }

    /// Forgets all that is staged, and where reading stands: it goes on at `checkpoint`, in a new epoch that
    /// continues the batch `there`, the last one that the collector has.
    ///
    /// What is staged may be all that is left of it: first make sure that it can be read again.
    ///
    /// # Errors
    /// [`BufferError::Disk`]: nothing has changed.
    pub fn go_back(
        &mut self,
        checkpoint: &Checkpoint,
        there: (u64, Sequence),
    ) -> Result<u64, BufferError> {
        let encoded = state::encode_checkpoint(checkpoint);
        self.write_durably(|db, state| {
            let end = state.floor;
            rows::cut(db, end)?;
            prepared::unsettle(db, end)?;
            prepared::unread(db, &encoded)?;
            state.began = match state::decode_checkpoint(&state.began)? {
                Some(began) if !is_before(checkpoint, &began) => state::encode_checkpoint(&began),
                _ => encoded.clone(),
            };
            // The ids that were in use are not used again.
            (state.floor, state.acked) = (state.visible, state.visible);
            (state.checkpoint, state.floor_checkpoint) = (encoded.clone(), encoded);
            (state.forgotten, state.again) = (there, Vec::new());
            renumber(state, there.0.saturating_add(1));
            Ok(())
        })?;
        self.last = self.state.visible;
        self.recount()?;
        Ok(self.state.epoch)
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
pub(super) fn is_earlier(one: &[u8], other: &[u8]) -> Result<bool, Fault> {
    let (one, other) = (state::decode_checkpoint(one)?, state::decode_checkpoint(other)?);
    let Some((one, other)) = one.zip(other) else { return Ok(false) };
    let have_gtids = !one.gtids.is_empty() && !other.gtids.is_empty();
    Ok(match one.gtids.partial_cmp(&other.gtids).filter(|_| have_gtids) {
        // What was read only grows, whatever server it is read from and whatever its clock says.
        Some(order) if order.is_ne() => order.is_lt(),
        // A history that began anew has its first files again, made later.
        _ => one.file_created_s <= other.file_created_s && is_before(&one, &other),
    })
}

/// Opens the file and reads its state; its whole structure, too, if it was not closed.
fn look(path: &Path, settings: &Settings) -> Result<(Connection, Option<State>), Fault> {
    let db = file::open(path, &rows::KIND, &tuning(settings))?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    let state = rows::load(&db)?;
    if state.as_ref().is_some_and(|state| !state.clean) {
        file::check(&db)?;
    }
    if state.is_some() {
        file::settle(&db, &rows::KIND)?;
    }
    Ok((db, state))
}

/// Begins a new file behind what was acknowledged: all that the damaged one held is read again. All that this
/// takes is the state record, whose checksum tells that it is whole.
///
/// If it is not the newest one (a part of the WAL was lost with the damage), more is read again.
fn begin_anew(
    path: &Path,
    settings: &Settings,
    why: &str,
    believed: Option<&State>,
) -> Result<(Connection, State, PathBuf), Fault> {
    let damaged = |_| Fault::Damaged(why.to_owned());
    let old = match believed {
        Some(state) => state.clone(),
        None => {
            let db = file::open_read_only(path, &rows::KIND).map_err(damaged)?;
            let found = rows::load(&db).map_err(damaged)?;
            found.ok_or_else(|| Fault::Damaged(why.to_owned()))?
        }
    };
    if state::decode_checkpoint(&old.floor_checkpoint)?.is_none() {
        return Err(Fault::Damaged(why.to_owned()));
    }
    let mut state = State {
        boot_id: old.boot_id,
        opened: old.opened,
        epoch: old.epoch,
        forgotten: old.forgotten,
        began: old.began,
        checkpoint: old.floor_checkpoint.clone(),
        floor_checkpoint: old.floor_checkpoint,
        ..State::default()
    };
    renumber(&mut state, 0);
    let damaged = file::replace(path, &rows::KIND, |db| rows::save(db, &state, &mut Vec::new()))?;
    Ok((look(path, settings)?.0, state, damaged))
}

fn told(why: &str, damaged: &Path) -> String {
    format!(
        "its file was damaged ({why}) and is begun anew; {} may be removed once all is read again",
        damaged.display()
    )
}

/// False if the two cannot be compared.
fn is_before(one: &Checkpoint, other: &Checkpoint) -> bool {
    one.position.order(&other.position).is_some_and(Ordering::is_lt)
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

/// Statements that are kept prepared: all that a batch needs on its way.
const STATEMENTS: usize = 32;
/// A large batch while it is written (256 KiB), and the inner pages of a large backlog. More of it would only keep
/// pages of batches that were sent.
const CACHE_KIB: u32 = 384;
