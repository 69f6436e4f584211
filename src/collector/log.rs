//! SHELL: the centre's durable log, one SQLite file: batches as they came, and what the ledgers say of them.
//!
//! What [`Log::append`] returned from survives a power cut; only then may it be acknowledged.
//!
//! An entry gets its number (1, 2, 3, … without gaps) when its transaction is whole. Parts wait
//! without a number until the last one is there; then all of them are numbered in a row. So a sink
//! that goes by the numbers never sees half a transaction and never waits for another agent's.
//!
//! ```text
//!  message  (a:1) (b:1 part) (a:2) (b:2 last)      as they came
//!  entry      1                2      3→b:1, 4→b:2      as the sinks see them
//! ```
//!
//! | table | what it is |
//! |---|---|
//! | `replay` | wishes of operators: sinks that are to go back, honoured by their feeds |
//! | `void` | numbers that a lost part of the log had: a sink that has them goes on behind them |

mod backup;
mod wishes;

pub use backup::{Copied, backup};

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, params};

use crate::binlog::table::Table;
use crate::buffer::file::{self, Kind, Lock, Transaction, Tuning};
use crate::buffer::{DiskCause, Fault};
use crate::position::Sequence;

/// A batch that is to be logged.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The agent that sent it.
    pub agent: &'a str,
    /// Its epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: Sequence,
    /// How many leading transactions the sinks must skip: they came before, under another number.
    pub skip: u32,
    /// The batch as it came.
    pub message: &'a [u8],
    /// False for a part of a transaction whose last part has not come.
    pub completes: bool,
    /// Forget the agent's waiting parts first: they will be sent again, or never completed.
    pub abandons: bool,
}

/// An entry as a sink sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// Its number in the log.
    pub number: u64,
    /// As in [`Entry`].
    pub agent: String,
    /// As in [`Entry`].
    pub epoch: u64,
    /// As in [`Entry`].
    pub sequence: Sequence,
    /// As in [`Entry`].
    pub skip: u32,
    /// As in [`Entry`], verified.
    pub message: Vec<u8>,
    /// The last of its transactions: a sink may commit behind it.
    pub ends: bool,
}

/// How the log is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// The database file's hard limit in bytes; when it is reached, nothing is taken any more.
    pub bytes_max: Option<u64>,
}

/// What is kept for sinks that are rewound, although all sinks have passed it.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Entries up to this number may go: the lowest cursor of all sinks.
    pub passed: u64,
    /// They go, the oldest first, while the log is larger than this, in bytes …
    pub bytes_max: u64,
    /// … or while they are older than this, in seconds.
    pub age_s_max: u64,
}

/// The writer; there is one.
pub struct Log {
    db: Connection,
    path: std::path::PathBuf,
    last: u64,
    /// The disk failed: what the file holds is not known until it is opened anew.
    suspect: bool,
    _lock: Lock,
}

/// A sink's own view of the log.
pub struct Reader {
    db: Connection,
}

impl Log {
    /// Opens the log, or makes it.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, LogError> {
        let lock = file::lock(path, &KIND)?;
        file::ensure(path, &KIND)?;
        let tuning = Tuning {
            full: true,
            cache_kib: 8 * 1024,
            wal_bytes_max: 16 << 20,
            bytes_max: settings.bytes_max,
        };
        let db = file::open(path, &KIND, &tuning)?;
        file::settle(&db, &KIND)?;
        let last = last(&db)?;
        Ok(Self { db, path: path.to_owned(), last, suspect: false, _lock: lock })
    }

    /// Appends entries, and replaces the ledgers and adds the schemas that go with them, in one
    /// transaction that is synced when this returns.
    ///
    /// # Errors
    /// Nothing of the call may be acknowledged. After [`LogError::Disk`] with [`DiskCause::Io`] the
    /// call may be in the file or not: every further one fails until the log is opened anew, and the
    /// ledgers with it.
    pub fn append(
        &mut self,
        entries: &[Entry<'_>],
        ledgers: &[(String, Vec<u8>)],
        schemas: &[(String, u64, Vec<u8>)],
    ) -> Result<(), LogError> {
        if self.suspect {
            let detail = "the log must be opened anew".to_owned();
            return Err(LogError::Disk { cause: DiskCause::Io, detail });
        }
        let appended = self.try_append(entries, ledgers, schemas);
        self.suspect = matches!(&appended, Err(LogError::Disk { cause: DiskCause::Io, .. }));
        appended
    }

    fn try_append(
        &mut self,
        entries: &[Entry<'_>],
        ledgers: &[(String, Vec<u8>)],
        schemas: &[(String, u64, Vec<u8>)],
    ) -> Result<(), LogError> {
        let logged_s = now_s();
        let transaction = Transaction::begin(&self.db)?;
        let mut last = self.last;
        for entry in entries {
            last = put(&transaction, entry, last, logged_s)?;
        }
        for (agent, state) in ledgers {
            let replace = "INSERT OR REPLACE INTO ledger (agent, crc, state) VALUES (?1, ?2, ?3)";
            let mut replace = transaction.prepare_cached(replace)?;
            replace.execute(params![agent, crc32c::crc32c(state), state])?;
        }
        for (agent, fingerprint, record) in schemas {
            transaction.execute(
                "INSERT OR REPLACE INTO schema (agent, fingerprint, crc, record) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![agent, fingerprint.cast_signed(), crc32c::crc32c(record), record],
            )?;
        }
        if last != self.last {
            let mut update = transaction.prepare_cached("UPDATE mark SET last = ?1")?;
            update.execute([last.cast_signed()])?;
        }
        transaction.commit()?;
        self.last = last;
        Ok(())
    }

    /// Forgets the parts of an agent that wait for their last one. Where the ledger changes with
    /// it, use [`Entry::abandons`] instead.
    pub fn abandon_parts(&mut self, agent: &str) -> Result<(), LogError> {
        let transaction = Transaction::begin(&self.db)?;
        abandon(&transaction, agent)?;
        Ok(transaction.commit()?)
    }

    /// The ledgers of all agents, as they were given.
    pub fn ledgers(&self) -> Result<Vec<(String, Vec<u8>)>, LogError> {
        let mut select = self.db.prepare("SELECT agent, crc, state FROM ledger ORDER BY agent")?;
        let mut rows = select.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let (agent, crc, state): (String, u32, Vec<u8>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            verify(crc, &state, || format!("the ledger of {agent}"))?;
            all.push((agent, state));
        }
        Ok(all)
    }

    /// A schema record of an agent.
    pub fn schema(&self, agent: &str, fingerprint: u64) -> Result<Option<Vec<u8>>, LogError> {
        schema(&self.db, agent, fingerprint)
    }

    /// The number of the last entry; 0 if there was none yet.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The last entry that a sink without a memory of its own has applied; 0 for none.
    pub fn cursor(&self, sink: &str) -> Result<u64, LogError> {
        cursor(&self.db, sink)
    }

    /// Notes the last entry that such a sink has applied.
    pub fn set_cursor(&mut self, sink: &str, number: u64) -> Result<(), LogError> {
        set_cursor(&self.db, sink, number)
    }

    /// Forgets old entries that all sinks have passed; returns how many. Gives free space back.
    ///
    /// What a sink is to be replayed is kept.
    pub fn prune(&mut self, keep: Retention) -> Result<u64, LogError> {
        let oldest_s = now_s().saturating_sub(keep.age_s_max).cast_signed();
        let mut pruned = 0;
        loop {
            let (used, free, _) = file::bytes(&self.db, &self.path)?;
            let before_s = if used > keep.bytes_max { i64::MAX } else { oldest_s };
            let gone = self.prune_some(keep.passed, before_s)?;
            pruned += gone;
            if gone == 0 {
                if free > used {
                    file::shrink(&self.db, PRUNE_PAGES)?;
                }
                return Ok(pruned);
            }
        }
    }

    fn prune_some(&mut self, passed: u64, before_s: i64) -> Result<u64, LogError> {
        let transaction = Transaction::begin(&self.db)?;
        let passed = passed.min(wishes::lowest(&transaction)?);
        let upto: Option<i64> = transaction.query_row(
            "SELECT max(number) FROM (SELECT e.number, m.logged_s FROM entry e \
             JOIN message m ON m.id = e.id WHERE e.number <= ?1 ORDER BY e.number LIMIT ?2) \
             WHERE logged_s < ?3",
            params![i64::try_from(passed).unwrap_or(i64::MAX), PRUNE_ENTRIES, before_s],
            |row| row.get(0),
        )?;
        let Some(upto) = upto else { return Ok(0) };
        transaction.execute(
            "DELETE FROM message WHERE id IN (SELECT id FROM entry WHERE number <= ?1)",
            [upto],
        )?;
        let gone = transaction.execute("DELETE FROM entry WHERE number <= ?1", [upto])?;
        transaction.commit()?;
        Ok(gone as u64)
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> Result<u64, LogError> {
        let (used, free, wal) = file::bytes(&self.db, &self.path)?;
        Ok(used.saturating_add(free).saturating_add(wal))
    }

    /// Closes the log; everything was durable before.
    pub fn close(self) -> Result<(), LogError> {
        Ok(self.db.close().map_err(|(_, error)| error)?)
    }
}

impl Reader {
    /// Opens a sink's own connection to a log that exists.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let tuning =
            Tuning { full: true, cache_kib: 1024, wal_bytes_max: 16 << 20, bytes_max: None };
        Ok(Self { db: file::open(path, &KIND, &tuning)? })
    }

    /// The entry behind number `after`; `None` if there is none yet.
    ///
    /// # Errors
    /// [`LogError::Pruned`] if it was there and has been forgotten.
    pub fn next(&self, after: u64) -> Result<Option<Logged>, LogError> {
        // Read first: the writer may append between the two statements.
        let last = last(&self.db)?;
        if after >= last {
            return Ok(None);
        }
        let mut select = self.db.prepare_cached(
            "SELECT e.number, e.ends, m.agent, m.epoch, m.sequence, m.skip, m.crc, m.message \
             FROM entry e JOIN message m ON m.id = e.id WHERE e.number > ?1 \
             ORDER BY e.number LIMIT 1",
        )?;
        let mut rows = select.query([after.cast_signed()])?;
        let Some(row) = rows.next()? else {
            if wishes::is_void(&self.db, after + 1, last + 1)? {
                return Ok(None);
            }
            return Err(LogError::Pruned { wanted: after + 1, oldest: last + 1 });
        };
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        if number != after + 1 && !wishes::is_void(&self.db, after + 1, number)? {
            return Err(LogError::Pruned { wanted: after + 1, oldest: number });
        }
        let message: Vec<u8> = row.get(7)?;
        verify(row.get(6)?, &message, || format!("entry {number}"))?;
        Ok(Some(Logged {
            number,
            agent: row.get(2)?,
            epoch: row.get::<_, i64>(3)?.cast_unsigned(),
            sequence: Sequence(row.get::<_, i64>(4)?.cast_unsigned()),
            skip: row.get(5)?,
            message,
            ends: row.get(1)?,
        }))
    }

    /// The number of the oldest entry that is still here.
    pub fn oldest(&self) -> Result<Option<u64>, LogError> {
        let oldest: Option<i64> =
            self.db.query_row("SELECT min(number) FROM entry", [], |row| row.get(0))?;
        Ok(oldest.map(i64::cast_unsigned))
    }

    /// As [`Log::schema`].
    pub fn schema(&self, agent: &str, fingerprint: u64) -> Result<Option<Vec<u8>>, LogError> {
        schema(&self.db, agent, fingerprint)
    }

    /// As [`Log::cursor`].
    pub fn cursor(&self, sink: &str) -> Result<u64, LogError> {
        cursor(&self.db, sink)
    }

    /// As [`Log::set_cursor`]; waits for the writer where it must.
    pub fn set_cursor(&mut self, sink: &str, number: u64) -> Result<(), LogError> {
        set_cursor(&self.db, sink, number)
    }
}

/// Stores one message, and numbers it and the parts that waited for it if it completes them.
fn put(db: &Connection, entry: &Entry<'_>, last: u64, logged_s: u64) -> Result<u64, LogError> {
    if entry.abandons {
        abandon(db, entry.agent)?;
    }
    db.prepare_cached(
        "INSERT INTO message (agent, epoch, sequence, skip, logged_s, crc, message) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        entry.agent,
        entry.epoch.cast_signed(),
        entry.sequence.0.cast_signed(),
        entry.skip,
        logged_s.cast_signed(),
        crc32c::crc32c(entry.message),
        entry.message
    ])?;
    let id = db.last_insert_rowid();
    if !entry.completes {
        let insert = "INSERT INTO part (agent, id) VALUES (?1, ?2)";
        db.prepare_cached(insert)?.execute(params![entry.agent, id])?;
        return Ok(last);
    }
    let mut last = last.cast_signed();
    let parts = "SELECT id FROM part WHERE agent = ?1 ORDER BY id";
    let mut parts = db.prepare_cached(parts)?;
    let parts = parts.query_map([entry.agent], |row| row.get(0))?;
    let parts: Vec<i64> = parts.collect::<Result<_, _>>()?;
    let insert = "INSERT INTO entry (number, id, ends) VALUES (?1, ?2, ?3)";
    let mut insert = db.prepare_cached(insert)?;
    for part in &parts {
        last += 1;
        insert.execute(params![last, part, false])?;
    }
    if !parts.is_empty() {
        forget_parts(db, entry.agent)?;
    }
    last += 1;
    insert.execute(params![last, id, true])?;
    Ok(last.cast_unsigned())
}

/// The number given last.
fn last(db: &Connection) -> Result<u64, LogError> {
    let last: i64 = db.prepare_cached("SELECT last FROM mark")?.query_row([], |row| row.get(0))?;
    Ok(last.cast_unsigned())
}

fn abandon(db: &Connection, agent: &str) -> Result<(), LogError> {
    let waiting = "DELETE FROM message WHERE id IN (SELECT id FROM part WHERE agent = ?1)";
    db.execute(waiting, [agent])?;
    forget_parts(db, agent)
}

fn forget_parts(db: &Connection, agent: &str) -> Result<(), LogError> {
    db.prepare_cached("DELETE FROM part WHERE agent = ?1")?.execute([agent])?;
    Ok(())
}

/// Tables of schema records, by agent and fingerprint.
pub(super) type Tables = HashMap<(String, u64), Arc<Table>>;

/// Tables remembered; beyond it all are forgotten and read again.
pub(super) const TABLES_MAX: usize = 4096;

fn schema(db: &Connection, agent: &str, fingerprint: u64) -> Result<Option<Vec<u8>>, LogError> {
    let select = "SELECT crc, record FROM schema WHERE agent = ?1 AND fingerprint = ?2";
    let found = db
        .prepare_cached(select)?
        .query_row(params![agent, fingerprint.cast_signed()], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let Some((crc, record)) = found else { return Ok(None) };
    verify(crc, &record, || format!("a schema of {agent}"))?;
    Ok(Some(record))
}

fn cursor(db: &Connection, sink: &str) -> Result<u64, LogError> {
    let select = "SELECT number FROM cursor WHERE sink = ?1";
    let number: Option<i64> =
        db.prepare_cached(select)?.query_row([sink], |row| row.get(0)).optional()?;
    Ok(number.unwrap_or_default().cast_unsigned())
}

fn set_cursor(db: &Connection, sink: &str, number: u64) -> Result<(), LogError> {
    let replace = "INSERT OR REPLACE INTO cursor (sink, number) VALUES (?1, ?2)";
    db.prepare_cached(replace)?.execute(params![sink, number.cast_signed()])?;
    Ok(())
}

fn verify(crc: u32, bytes: &[u8], what: impl Fn() -> String) -> Result<(), LogError> {
    if crc32c::crc32c(bytes) == crc {
        Ok(())
    } else {
        Err(LogError::Damaged(format!("{} fails its checksum", what())))
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The log cannot do what was asked.
#[derive(Debug)]
pub enum LogError {
    /// It must not be opened as it is: somebody has to look.
    Refused(String),
    /// It is broken.
    Damaged(String),
    /// The disk does not take it now; nothing of the call was stored, so nothing is acknowledged.
    Disk {
        /// What the disk or the system said.
        cause: DiskCause,
        /// In SQLite's words.
        detail: String,
    },
    /// A sink asks for an entry that has been forgotten.
    Pruned {
        /// The number that it needs.
        wanted: u64,
        /// The oldest that is still here.
        oldest: u64,
    },
    /// Anything else: a fault in this program.
    Sqlite(rusqlite::Error),
}

impl From<Fault> for LogError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(why) => Self::Refused(why),
            Fault::Damaged(why) => Self::Damaged(why),
            Fault::Disk { cause, detail } => Self::Disk { cause, detail },
            Fault::Sqlite(error) => Self::Sqlite(error),
        }
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        Fault::from(error).into()
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("log: ")?;
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Damaged(why) => write!(f, "the file is damaged ({why}): restore it from a copy"),
            Self::Disk { cause, detail } => {
                Fault::Disk { cause: *cause, detail: detail.clone() }.fmt(f)
            }
            Self::Pruned { wanted, oldest } => {
                write!(f, "entry {wanted} has been pruned; the oldest is {oldest}")
            }
            Self::Sqlite(error) => write!(f, "SQLite: {error}"),
        }
    }
}

impl std::error::Error for LogError {}

/// `RVLG`; format 2 (1 had no replays and no voids). Ids and numbers are never reused: `mark` and AUTOINCREMENT remember the last.
const KIND: Kind = Kind {
    name: "log",
    application: 0x5256_4C47,
    version: 2,
    schema: "
    CREATE TABLE message (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        agent    TEXT NOT NULL,
        epoch    INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        skip     INTEGER NOT NULL,
        logged_s INTEGER NOT NULL,
        crc      INTEGER NOT NULL,
        message  BLOB NOT NULL
    );
    CREATE TABLE entry (
        number INTEGER PRIMARY KEY,
        id     INTEGER NOT NULL,
        ends   INTEGER NOT NULL
    );
    CREATE TABLE part (
        agent TEXT NOT NULL,
        id    INTEGER NOT NULL,
        PRIMARY KEY (agent, id)
    ) WITHOUT ROWID;
    CREATE TABLE ledger (agent TEXT PRIMARY KEY, crc INTEGER NOT NULL, state BLOB NOT NULL);
    CREATE TABLE schema (
        agent       TEXT NOT NULL,
        fingerprint INTEGER NOT NULL,
        crc         INTEGER NOT NULL,
        record      BLOB NOT NULL,
        PRIMARY KEY (agent, fingerprint)
    );
    CREATE TABLE cursor (sink TEXT PRIMARY KEY, number INTEGER NOT NULL);
    CREATE TABLE replay (sink TEXT PRIMARY KEY, number INTEGER NOT NULL);
    CREATE TABLE void (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
    CREATE TABLE mark (last INTEGER NOT NULL);
    INSERT INTO mark (last) VALUES (0);",
};
/// Entries forgotten in one transaction: 16 MB of whole batches, so that appends wait little.
const PRUNE_ENTRIES: i64 = 256;
/// Pages given back at a time, 4 MB.
const PRUNE_PAGES: u32 = 1024;

#[cfg(test)]
mod tests;
