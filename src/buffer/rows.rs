//! SHELL: the tables of a buffer, and every statement on them.
//!
//! | column | what it is |
//! |---|---|
//! | `crc` | CRC32C over `meta` and `body` |
//! | `seal` | CRC32C over all other columns: a flipped bit there is found too |
//! | `ends` | the last batch of a commit (or a lead): what is behind it starts with a new transaction |
//! | `lead` | put in front by a new epoch; carries schemas alone |
//! | `checkpoint` | behind the last batch of a commit; empty elsewhere |
//!
//! A schema's `carrier` is the batch that it travels with, NULL if there is none (any more). Of prepared
//! transactions, `settled` is the last batch that carries the rows; the ids of their parts are
//! `prepared.id << 32 | number`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Parcel;
use super::fault::Fault;
use super::file::Kind;
use super::state::State;

/// `RVBF`; format 2: 1 had no prepared transactions; 3: 2 had no notes, and did not know what was forgotten last.
pub(super) const KIND: Kind =
    Kind { name: "buffer", application: 0x5256_4246, version: 3, schema: SCHEMA };

const SCHEMA: &str = "
    CREATE TABLE state (
        only   INTEGER PRIMARY KEY CHECK (only = 1),
        record BLOB NOT NULL
    );
    CREATE TABLE batch (
        id           INTEGER PRIMARY KEY,
        crc          INTEGER NOT NULL,
        seal         INTEGER NOT NULL,
        rows         INTEGER NOT NULL,
        transactions INTEGER NOT NULL,
        ends         INTEGER NOT NULL,
        lead         INTEGER NOT NULL,
        staged_s     INTEGER NOT NULL,
        checkpoint   BLOB NOT NULL,
        meta         BLOB NOT NULL,
        body         BLOB NOT NULL
    );
    CREATE TABLE schema (
        fingerprint INTEGER PRIMARY KEY,
        crc         INTEGER NOT NULL,
        record      BLOB NOT NULL,
        carrier     INTEGER
    );
    CREATE TABLE prepared (
        id      INTEGER PRIMARY KEY,
        name    BLOB NOT NULL,
        parts   INTEGER NOT NULL,
        seal    INTEGER NOT NULL,
        before  BLOB NOT NULL,
        settled INTEGER
    );
    CREATE INDEX prepared_open ON prepared (name) WHERE settled IS NULL;
    CREATE INDEX prepared_settled ON prepared (settled) WHERE settled IS NOT NULL;
    CREATE TABLE part (
        id   INTEGER PRIMARY KEY,
        crc  INTEGER NOT NULL,
        meta BLOB NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE note (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    );";

/// What stands around a parcel in its row.
#[derive(Clone, Copy, Default)]
pub(super) struct Frame<'a> {
    pub(super) id: i64,
    pub(super) ends: bool,
    pub(super) lead: bool,
    pub(super) staged_s: u64,
    pub(super) checkpoint: &'a [u8],
}

/// A row as it was found.
pub(super) enum Found {
    Sound { crc: u32, rows: u32, meta: Vec<u8>, body: Vec<u8> },
    Broken(&'static str),
}

/// CRC32C over meta and body.
pub(super) fn crc(meta: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(meta), body)
}

pub(super) fn insert(db: &Connection, parcel: &Parcel, frame: Frame<'_>) -> Result<(), Fault> {
    let crc = crc(&parcel.meta, &parcel.body);
    let staged_s = frame.staged_s.cast_signed();
    let seal = seal(crc, parcel.rows, parcel.transactions, frame);
    db.prepare_cached(
        "INSERT INTO batch (id, crc, seal, rows, transactions, ends, lead, staged_s, checkpoint, \
         meta, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        frame.id,
        crc,
        seal,
        parcel.rows,
        parcel.transactions,
        frame.ends,
        frame.lead,
        staged_s,
        frame.checkpoint,
        parcel.meta,
        parcel.body
    ])?;
    learn(db, &parcel.schemas, Some(frame.id))
}

/// Keeps schema records, which travel with this batch.
pub(super) fn learn(
    db: &Connection,
    schemas: &[(u64, Vec<u8>)],
    carrier: Option<i64>,
) -> Result<(), Fault> {
    for (fingerprint, record) in schemas {
        db.execute(
            "INSERT OR REPLACE INTO schema (fingerprint, crc, record, carrier) VALUES (?1, ?2, ?3, ?4)",
            params![fingerprint.cast_signed(), crc32c::crc32c(record), record, carrier],
        )?;
    }
    Ok(())
}

/// A note's bytes; `None` if there is none of this name.
pub(super) fn note(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let note = db.query_row("SELECT value FROM note WHERE name = ?1", [name], |row| row.get(0));
    Ok(note.optional()?)
}

pub(super) fn set_note(db: &Connection, name: &str, value: &[u8]) -> Result<(), Fault> {
    db.execute("INSERT OR REPLACE INTO note (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

/// Reads one batch and verifies all of it.
pub(super) fn find(db: &Connection, id: i64) -> Result<Found, Fault> {
    let mut select = db.prepare_cached(
        "SELECT crc, seal, rows, transactions, ends, lead, staged_s, checkpoint, meta, body \
         FROM batch WHERE id = ?1",
    )?;
    let found = select
        .query_row([id], |row| {
            Ok(verify(id, row).unwrap_or(Found::Broken("a column has another type")))
        })
        .optional()?;
    Ok(found.unwrap_or(Found::Broken("it is missing")))
}

fn verify(id: i64, row: &Row<'_>) -> rusqlite::Result<Found> {
    let (crc_stored, seal_stored): (u32, u32) = (row.get(0)?, row.get(1)?);
    let (rows, transactions): (u32, u32) = (row.get(2)?, row.get(3)?);
    let (meta, body): (Vec<u8>, Vec<u8>) = (row.get(8)?, row.get(9)?);
    let frame = Frame {
        id,
        ends: row.get(4)?,
        lead: row.get(5)?,
        staged_s: row.get::<_, i64>(6)?.cast_unsigned(),
        checkpoint: row.get_ref(7)?.as_blob()?,
    };
    if crc(&meta, &body) != crc_stored {
        return Ok(Found::Broken("its bytes fail their checksum"));
    }
    if seal(crc_stored, rows, transactions, frame) != seal_stored {
        return Ok(Found::Broken("its columns fail their checksum"));
    }
    Ok(Found::Sound { crc: crc_stored, rows, meta, body })
}

fn seal(crc: u32, rows: u32, transactions: u32, frame: Frame<'_>) -> u32 {
    let mut seal = crc32c::crc32c(&frame.id.to_le_bytes());
    for number in [crc, rows, transactions, u32::from(frame.ends), u32::from(frame.lead)] {
        seal = crc32c::crc32c_append(seal, &number.to_le_bytes());
    }
    seal = crc32c::crc32c_append(seal, &frame.staged_s.to_le_bytes());
    crc32c::crc32c_append(seal, frame.checkpoint)
}

/// Makes a part that is already there the last of its commit.
pub(super) fn end(db: &Connection, id: i64, checkpoint: &[u8]) -> Result<(), Fault> {
    let select = "SELECT crc, rows, transactions, lead, staged_s FROM batch WHERE id = ?1";
    let (seal, ends) = db.prepare_cached(select)?.query_row([id], |row| {
        let staged_s = row.get::<_, i64>(4)?.cast_unsigned();
        let frame = Frame { id, ends: true, lead: row.get(3)?, staged_s, checkpoint };
        Ok((seal(row.get(0)?, row.get(1)?, row.get(2)?, frame), frame.ends))
    })?;
    let update = "UPDATE batch SET ends = ?2, checkpoint = ?3, seal = ?4 WHERE id = ?1";
    db.prepare_cached(update)?.execute(params![id, ends, checkpoint, seal])?;
    Ok(())
}

/// The stored checksum of a batch.
pub(super) fn crc_of(db: &Connection, id: i64) -> Result<Option<u32>, Fault> {
    let select = "SELECT crc FROM batch WHERE id = ?1";
    Ok(db.prepare_cached(select)?.query_row([id], |row| row.get(0)).optional()?)
}

/// The last batch in `floor < id <= upto` that ends a commit, and its checksum.
pub(super) fn last_end(
    db: &Connection,
    floor: i64,
    upto: i64,
) -> Result<Option<(i64, u32)>, Fault> {
    let select = "SELECT id, crc FROM batch WHERE id > ?1 AND id <= ?2 AND ends = 1 \
                  ORDER BY id DESC LIMIT 1";
    Ok(db
        .prepare_cached(select)?
        .query_row([floor, upto], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// The newest checkpoint at or before `upto`.
pub(super) fn last_checkpoint(db: &Connection, upto: i64) -> Result<Option<Vec<u8>>, Fault> {
    let select = "SELECT checkpoint FROM batch WHERE id <= ?1 AND length(checkpoint) > 0 \
                  ORDER BY id DESC LIMIT 1";
    Ok(db.prepare_cached(select)?.query_row([upto], |row| row.get(0)).optional()?)
}

/// Deletes the batches up to and including `upto`; returns how many row changes were in them.
pub(super) fn forget(db: &Connection, upto: i64) -> Result<u64, Fault> {
    let mut delete = db.prepare_cached("DELETE FROM batch WHERE id <= ?1 RETURNING rows")?;
    let mut forgotten = 0;
    let mut rows = delete.query([upto])?;
    while let Some(row) = rows.next()? {
        forgotten += u64::from(row.get::<_, u32>(0)?);
    }
    Ok(forgotten)
}

/// Deletes the batches beyond `beyond`; returns how many there were.
pub(super) fn cut(db: &Connection, beyond: i64) -> Result<usize, Fault> {
    db.execute("UPDATE schema SET carrier = NULL WHERE carrier > ?1", [beyond])?;
    Ok(db.execute("DELETE FROM batch WHERE id > ?1", [beyond])?)
}

/// The first id that is no lead, or the one behind `visible`.
pub(super) fn first_behind_leads(db: &Connection, visible: i64) -> Result<i64, Fault> {
    let select = "SELECT min(id) FROM batch WHERE lead = 0 AND id <= ?1";
    let first: Option<i64> = db.prepare_cached(select)?.query_row([visible], |row| row.get(0))?;
    Ok(first.unwrap_or(visible + 1))
}

/// Row changes in the batches of `from < id <= upto`.
pub(super) fn rows(db: &Connection, from: i64, upto: i64) -> Result<u64, Fault> {
    if from == upto {
        return Ok(0);
    }
    let select = "SELECT coalesce(sum(rows), 0) FROM batch WHERE id > ?1 AND id <= ?2";
    Ok(db
        .prepare_cached(select)?
        .query_row([from, upto], |row| row.get::<_, i64>(0))?
        .cast_unsigned())
}

/// When the oldest batch was staged, in Unix seconds.
pub(super) fn oldest_s(db: &Connection, visible: i64) -> Result<Option<u64>, Fault> {
    let select = "SELECT staged_s FROM batch WHERE id <= ?1 ORDER BY id LIMIT 1";
    let oldest =
        db.prepare_cached(select)?.query_row([visible], |row| row.get::<_, i64>(0)).optional()?;
    Ok(oldest.map(i64::cast_unsigned))
}

/// The highest id there is.
pub(super) fn last_id(db: &Connection) -> Result<Option<i64>, Fault> {
    Ok(db.prepare_cached("SELECT max(id) FROM batch")?.query_row([], |row| row.get(0))?)
}

pub(super) fn load(db: &Connection) -> Result<Option<State>, Fault> {
    let select = "SELECT record FROM state WHERE only = 1";
    let record: Option<Vec<u8>> =
        db.prepare_cached(select)?.query_row([], |row| row.get(0)).optional()?;
    record.map(|record| State::decode(&record)).transpose()
}

pub(super) fn save(db: &Connection, state: &State, space: &mut Vec<u8>) -> Result<(), Fault> {
    let replace = "INSERT OR REPLACE INTO state (only, record) VALUES (1, ?1)";
    *space = state.encode_in(std::mem::take(space));
    db.prepare_cached(replace)?.execute([&*space])?;
    Ok(())
}

pub(super) fn has_schema(db: &Connection, fingerprint: u64) -> Result<bool, Fault> {
    let select = "SELECT 1 FROM schema WHERE fingerprint = ?1 AND carrier IS NOT NULL";
    Ok(db
        .prepare_cached(select)?
        .query_row([fingerprint.cast_signed()], |_| Ok(()))
        .optional()?
        .is_some())
}

pub(super) fn schema(db: &Connection, fingerprint: u64) -> Result<Option<Vec<u8>>, Fault> {
    let select = "SELECT crc, record FROM schema WHERE fingerprint = ?1";
    let found: Option<(u32, Vec<u8>)> = db
        .prepare_cached(select)?
        .query_row([fingerprint.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((crc, record)) if crc32c::crc32c(&record) != crc => {
            Err(Fault::Damaged("a schema record fails its checksum".to_owned()))
        }
        found => Ok(found.map(|(_, record)| record)),
    }
}

pub(super) fn schemas(db: &Connection) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
    let mut select = db.prepare("SELECT fingerprint, crc, record FROM schema ORDER BY rowid")?;
    let mut rows = select.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (fingerprint, crc, record): (i64, u32, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        if crc32c::crc32c(&record) != crc {
            return Err(Fault::Damaged("a schema record fails its checksum".to_owned()));
        }
        all.push((fingerprint.cast_unsigned(), record));
    }
    Ok(all)
}
