//! SHELL: prepared transactions: rows that are staged, and leave only with a commit that comes later.
//!
//! ```text
//!   stage_part … ─► prepare ─► commit_ending (committed: staged again from its parts) ─► acknowledge
//!                         └──► commit_ending (rolled back) ─► gone
//! ```
//!
//! The parts of one that was committed stay until the batches that carry it are acknowledged: if
//! such a batch must be read again, the binlog's statement that commits it finds them again.
//! A part that fails its checksum takes the source back to the checkpoint before the transaction.
//! What was read up to now is noted then: what was committed up to there, and is not here, has arrived.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::recovery::is_earlier;
use super::state::{self, State};
use super::{Buffer, BufferError, Parcel, Part, bytes_of, rows};
use crate::position::{Checkpoint, Position};

/// A prepared transaction that ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Its name.
    pub name: Vec<u8>,
    /// Its parts were staged again, with what is committed now; otherwise it was rolled back.
    pub committed: bool,
}

/// A prepared transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prepared {
    id: i64,
    /// Its parts are numbered from 0.
    pub parts: u32,
}

impl Buffer {
    /// Makes the parts staged so far, and this last one, a prepared transaction of this name, in place of
    /// one of the same name that has not ended. `before` is where its first event begins, `checkpoint`
    /// what is read behind it.
    ///
    /// # Errors
    /// After any error it is not prepared, and may be tried again.
    pub fn prepare(
        &mut self,
        name: &[u8],
        last: Option<&Parcel>,
        before: &Checkpoint,
        checkpoint: &Checkpoint,
        ended: &[Ended],
    ) -> Result<(), BufferError> {
        self.ready()?;
        let id = self.guard(next_id(&self.db))?;
        let staged = part_count(self.last - self.state.visible);
        let count = match self.moving {
            Some(count) => count,
            None => {
                self.write(|db, _| drop_parts_from(db, id))?;
                staged
            }
        };
        self.moving = Some(count);
        // From the last one on, each in a commit of its own: the WAL stays small.
        while self.last > self.state.visible {
            let (batch, part) = (self.last, part_count(self.last - self.state.visible) - 1);
            self.write(|db, _| move_part(db, batch, part_id(id, part)))?;
            self.last = batch - 1;
            self.written(MOVED_BYTES);
        }
        let (before, checkpoint) =
            (state::encode_checkpoint(before), state::encode_checkpoint(checkpoint));
        self.needed = last.map_or(0, |parcel| bytes_of(std::slice::from_ref(parcel)));
        self.write(|db, state| {
            end(db, state, state.visible + 1, ended)?;
            forget_name(db, name)?;
            if let Some(parcel) = last {
                insert_part(db, part_id(id, count), parcel)?;
            }
            let parts = count + u32::from(last.is_some());
            db.execute(
                "INSERT INTO prepared (id, name, parts, seal, before) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id, name, parts, seal(id, name, parts), before],
            )?;
            state.advance(&checkpoint);
            Ok(())
        })?;
        self.moving = None;
        self.written(last.map_or(0, |parcel| bytes_of(std::slice::from_ref(parcel))));
        Ok(())
    }

    /// The prepared transaction of this name that has not ended.
    ///
    /// # Errors
    /// [`BufferError::Damaged`] if a record of prepared transactions fails its checksum.
    pub fn prepared(&self, name: &[u8]) -> Result<Option<Prepared>, BufferError> {
        let found = find(&self.db, name)?;
        if found.is_none() {
            // Not known, or not known any more because its record is broken: that is rare enough to look.
            verify_all(&self.db)?;
        }
        Ok(found)
    }

    /// How many have not ended.
    pub fn prepared_count(&self) -> Result<u64, BufferError> {
        Ok(count(&self.db)?)
    }

    /// A part of it.
    ///
    /// # Errors
    /// [`BufferError::Healed`] if it failed its checksum: the source has to read it again.
    pub fn prepared_part(&mut self, prepared: &Prepared, part: u32) -> Result<Part, BufferError> {
        self.ready()?;
        let select = "SELECT crc, meta, body FROM part WHERE id = ?1";
        let sound = |row: &Row<'_>| -> rusqlite::Result<_> {
            let (crc, meta, body): (u32, Vec<u8>, Vec<u8>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((rows::crc(&meta, &body) == crc).then_some(Part { meta, body }))
        };
        let found = self
            .db
            .query_row(select, [part_id(prepared.id, part)], |row| Ok(sound(row).ok().flatten()))
            .optional()
            .map_err(Fault::from);
        match self.guard(found)? {
            Some(Some(part)) => Ok(part),
            _ => Err(self.heal_prepared(prepared)?),
        }
    }

    /// Whether this place was read before a prepared transaction was found broken: what was committed
    /// there and is not here any more has been acknowledged.
    pub fn was_read(&self, place: &Position) -> Result<bool, BufferError> {
        let Some(again) = state::decode_checkpoint(&self.state.again)? else { return Ok(false) };
        Ok(match place.order(&again.position) {
            Some(order) => order.is_lt(),
            None => place.gtid.as_ref().is_some_and(|gtid| again.gtids.contains(gtid)),
        })
    }

    fn heal_prepared(&mut self, prepared: &Prepared) -> Result<BufferError, BufferError> {
        let id = prepared.id;
        self.write_durably(|db, state| {
            rows::cut(db, state.visible)?;
            let select = "SELECT before FROM prepared WHERE id = ?1";
            let before: Vec<u8> = db.query_row(select, [id], |row| row.get(0))?;
            let back = state::decode_checkpoint(&before)?;
            if back.is_none_or(|back| back.position.file.is_empty()) {
                return Err(Fault::Damaged("a prepared transaction has no beginning".to_owned()));
            }
            if !is_earlier(&state.checkpoint, &state.again)? {
                state.again.clone_from(&state.checkpoint);
            }
            delete(db, id)?;
            unread(db, &before)?;
            state.advance(&before);
            Ok(())
        })?;
        self.last = self.state.visible;
        self.healed("a prepared transaction is broken", 0)
    }
}

impl State {
    /// Reading goes on here.
    pub(super) fn advance(&mut self, checkpoint: &[u8]) {
        checkpoint.clone_into(&mut self.checkpoint);
        if self.floor == self.visible {
            checkpoint.clone_into(&mut self.floor_checkpoint);
        }
    }
}

/// Notes which have ended, up to the batch `carrier`. For what has no rows that is the next one: the checkpoint of
/// those before it takes the source back to where it ended.
pub(super) fn end(
    db: &Connection,
    state: &State,
    carrier: i64,
    ended: &[Ended],
) -> Result<(), Fault> {
    for Ended { name, committed } in ended {
        let Some(Prepared { id, .. }) = find(db, name)? else { continue };
        if *committed && state.visible > state.floor {
            let update = "UPDATE prepared SET settled = ?2 WHERE id = ?1";
            db.execute(update, [id, carrier])?;
        } else {
            delete(db, id)?;
        }
    }
    Ok(())
}

/// Batches up to this one are forgotten, and so are the prepared transactions that they carry.
pub(super) fn forget(db: &Connection, upto: i64) -> Result<(), Fault> {
    let ids: Vec<i64> = db
        .prepare_cached("SELECT id FROM prepared WHERE settled <= ?1")?
        .query_map([upto], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ids.into_iter().try_for_each(|id| delete(db, id))
}

/// Batches beyond this one are read again.
pub(super) fn unsettle(db: &Connection, beyond: i64) -> Result<(), Fault> {
    db.execute("UPDATE prepared SET settled = NULL WHERE settled > ?1", [beyond])?;
    Ok(())
}

/// What was prepared at or behind this checkpoint is read again: until then there is none, for a commit that
/// comes before it is of an earlier one of the same name. Of those before it, the last of a name may be open.
pub(super) fn unread(db: &Connection, checkpoint: &[u8]) -> Result<(), Fault> {
    let select = "SELECT id, name, before FROM prepared WHERE settled IS NULL ORDER BY id";
    let mut select = db.prepare(select)?;
    let mut rows = select.query([])?;
    let mut last: HashMap<Vec<u8>, (i64, Vec<u8>)> = HashMap::new();
    let mut over = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name, before): (i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if before == checkpoint || is_earlier(checkpoint, &before)? {
            over.push(id);
            continue;
        }
        match last.get_mut(&name) {
            Some((_, other)) if is_earlier(&before, other)? => over.push(id),
            Some(other) => over.push(std::mem::replace(other, (id, before)).0),
            None => drop(last.insert(name, (id, before))),
        }
    }
    over.into_iter().try_for_each(|id| delete(db, id))
}

/// How many are prepared and not ended.
pub(super) fn count(db: &Connection) -> Result<u64, Fault> {
    let select = "SELECT count(*) FROM prepared WHERE settled IS NULL";
    let mut select = db.prepare_cached(select)?;
    Ok(select.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

/// Drops parts that belong to nothing: a process died while it moved them.
pub(super) fn sweep(db: &Connection) -> Result<(), Fault> {
    drop_parts_from(db, next_id(db)?)
}

fn find(db: &Connection, name: &[u8]) -> Result<Option<Prepared>, Fault> {
    let select = "SELECT id, name, parts, seal FROM prepared WHERE name = ?1 AND settled IS NULL";
    let mut select = db.prepare_cached(select)?;
    select.query_row([name], |row| Ok(verified(row))).optional()?.transpose()
}

/// Reads every record that has not ended.
fn verify_all(db: &Connection) -> Result<(), Fault> {
    let select = "SELECT id, name, parts, seal FROM prepared NOT INDEXED WHERE settled IS NULL";
    let mut select = db.prepare(select)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        verified(row)?;
    }
    Ok(())
}

fn verified(row: &Row<'_>) -> Result<Prepared, Fault> {
    let (id, name, parts): (i64, Vec<u8>, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
    if seal(id, &name, parts) != row.get::<_, u32>(3)? {
        let why = "the record of a prepared transaction fails its checksum";
        return Err(Fault::Damaged(why.to_owned()));
    }
    Ok(Prepared { id, parts })
}

fn forget_name(db: &Connection, name: &[u8]) -> Result<(), Fault> {
    match find(db, name)? {
        Some(Prepared { id, .. }) => delete(db, id),
        None => Ok(()),
    }
}

fn delete(db: &Connection, id: i64) -> Result<(), Fault> {
    db.execute("DELETE FROM prepared WHERE id = ?1", [id])?;
    db.execute(
        "DELETE FROM part WHERE id >= ?1 AND id < ?2",
        [part_id(id, 0), part_id(id + 1, 0)],
    )?;
    Ok(())
}

fn drop_parts_from(db: &Connection, id: i64) -> Result<(), Fault> {
    db.execute("DELETE FROM part WHERE id >= ?1", [part_id(id, 0)])?;
    Ok(())
}

fn next_id(db: &Connection) -> Result<i64, Fault> {
    let select = "SELECT coalesce(max(id), 0) + 1 FROM prepared";
    Ok(db.query_row(select, [], |row| row.get(0))?)
}

fn insert_part(db: &Connection, id: i64, parcel: &Parcel) -> Result<(), Fault> {
    let crc = rows::crc(&parcel.meta, &parcel.body);
    db.execute(
        "INSERT INTO part (id, crc, meta, body) VALUES (?1, ?2, ?3, ?4)",
        params![id, crc, parcel.meta, parcel.body],
    )?;
    rows::learn(db, &parcel.schemas, None)
}

/// The schemas that it was the first to carry travel with the batches that carry its rows at last.
fn move_part(db: &Connection, batch: i64, id: i64) -> Result<(), Fault> {
    let copy = "INSERT INTO part (id, crc, meta, body) SELECT ?2, crc, meta, body FROM batch WHERE id = ?1";
    db.execute(copy, [batch, id])?;
    rows::cut(db, batch - 1)?;
    Ok(())
}

fn part_id(id: i64, part: u32) -> i64 {
    id << 32 | i64::from(part)
}

fn part_count(parts: i64) -> u32 {
    u32::try_from(parts).unwrap_or(u32::MAX)
}

fn seal(id: i64, name: &[u8], parts: u32) -> u32 {
    let seal = crc32c::crc32c_append(crc32c::crc32c(&id.to_le_bytes()), &parts.to_le_bytes());
    crc32c::crc32c_append(seal, name)
}

/// About what a moved part writes.
const MOVED_BYTES: u64 = 64 << 10;
