//! SHELL: makes, locks, checks and opens the one SQLite file of a store.
//!
//! A file is made under another name and renamed when it is whole, so that a store is either absent
//! or complete. What is there and is not exactly what was expected is refused, never replaced.
//!
//! | beside `x` | what it is |
//! |---|---|
//! | `x-wal`, `x-shm` | SQLite's |
//! | `x.lock` | locked by the one process that may write; holds its number |
//! | `x.new` | a store that is being made |
//! | `x.damaged` | what was found damaged, and was begun anew |

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::fault::{DiskCause, Fault};

/// What kind of store a file is.
pub(crate) struct Kind {
    /// In one word, for messages.
    pub(crate) name: &'static str,
    /// SQLite's `application_id`.
    pub(crate) application: i32,
    /// SQLite's `user_version`: the format.
    pub(crate) version: i32,
    /// The tables and the first rows.
    pub(crate) schema: &'static str,
}

/// How a connection is set up.
pub(crate) struct Tuning {
    /// fsync at each commit; otherwise at checkpoints only.
    pub(crate) full: bool,
    /// Pages kept in memory, in KiB.
    pub(crate) cache_kib: u32,
    /// How far the WAL may stay grown, in bytes.
    pub(crate) wal_bytes_max: u64,
    /// The database file's limit in bytes, without the WAL.
    pub(crate) bytes_max: Option<u64>,
}

/// The right to write; given back when it is dropped or the process ends.
pub(crate) struct Lock {
    file: File,
    /// What the holder before left in it.
    pub(crate) note: String,
}

impl Lock {
    /// Leaves a word for the next holder. It may get lost: then the next one finds another word.
    pub(crate) fn leave(&mut self, note: &str) {
        // A disk too full to hold it is no reason to stop.
        let _ = self.file.set_len(0).and_then(|()| self.file.rewind());
        let _ = writeln!(self.file, "{}\n{note}", std::process::id());
        let _ = self.file.sync_data();
    }
}

/// Takes the right to write, or tells which process has it.
pub(crate) fn lock(path: &Path, kind: &Kind) -> Result<Lock, Fault> {
    let lock_path = beside(path, ".lock");
    refuse_odd(&lock_path, kind)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| refused(kind, path, &format!("cannot be locked: {error}")))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (holder, _) = lock_text(&mut file);
            return Err(refused(kind, path, &format!("is in use by process {holder}")));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let (_, note) = lock_text(&mut file);
    let mut lock = Lock { file, note: note.clone() };
    lock.leave(&note);
    Ok(lock)
}

/// The holder's number and its note; empty where there is none.
fn lock_text(file: &mut File) -> (String, String) {
    let mut text = String::new();
    let _ = file.take(64).read_to_string(&mut text);
    let mut lines = text.lines().map(|line| line.trim().to_owned());
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

/// Makes the store if there is none; true if it did.
pub(crate) fn ensure(path: &Path, kind: &Kind) -> Result<bool, Fault> {
    refuse_odd(path, kind)?;
    if fs::exists(path)? {
        return Ok(false);
    }
    for suffix in ["-wal", "-journal"] {
        if fs::exists(beside(path, suffix))? {
            let why = format!("is missing, but its {suffix} is there: put it back, or remove both");
            return Err(refused(kind, path, &why));
        }
    }
    let new = beside(path, ".new");
    make(&new, kind, |_| Ok(())).map_err(|fault| match fault {
        Fault::Disk { cause: DiskCause::Full, .. } => fault,
        other => refused(kind, path, &format!("cannot be made: {other}")),
    })?;
    fs::rename(&new, path)?;
    sync_folder(path)?;
    Ok(true)
}

/// Puts a new store in the place of a damaged one, which is kept beside it under another name.
pub(crate) fn replace(
    path: &Path,
    kind: &Kind,
    fill: impl FnOnce(&Connection) -> Result<(), Fault>,
) -> Result<PathBuf, Fault> {
    let (new, damaged) = (beside(path, ".new"), beside(path, ".damaged"));
    make(&new, kind, fill)?;
    remove(&damaged)?;
    // The WAL first: it must never meet the new file.
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&damaged, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    if fs::hard_link(path, &damaged).is_err() {
        fs::rename(path, &damaged)?;
    }
    fs::rename(&new, path)?;
    sync_folder(path)?;
    Ok(damaged)
}

fn remove(store: &Path) -> Result<(), Fault> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(store, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Fault::Refused(format!(
                    "{} cannot be removed: {error}",
                    store.display()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens an existing store for writing and checks that it is one of this kind and format.
pub(crate) fn open(path: &Path, kind: &Kind, tuning: &Tuning) -> Result<Connection, Fault> {
    refuse_odd(path, kind)?;
    let db = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(BUSY)?;
    identify(&db, path, kind)?;
    if db.is_readonly(rusqlite::MAIN_DB)? {
        let detail = format!("the {} {} cannot be written by this user", kind.name, path.display());
        return Err(Fault::Disk { cause: DiskCause::ReadOnly, detail });
    }
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", if tuning.full { "full" } else { "normal" })?;
    db.pragma_update(None, "cache_size", -i64::from(tuning.cache_kib))?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    let wal_bytes = i64::try_from(tuning.wal_bytes_max).unwrap_or(i64::MAX);
    db.pragma_update_and_check(None, "journal_size_limit", wal_bytes, |_| Ok(()))?;
    if let Some(bytes_max) = tuning.bytes_max {
        let pages = i64::try_from(bytes_max / PAGE_BYTES).unwrap_or(i64::MAX);
        db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(db)
}

/// Opens an existing store to look at it only.
pub(crate) fn open_read_only(path: &Path, kind: &Kind) -> Result<Connection, Fault> {
    refuse_odd(path, kind)?;
    if !fs::exists(path)? {
        return Err(refused(kind, path, "does not exist"));
    }
    let db = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(BUSY)?;
    identify(&db, path, kind)?;
    db.pragma_update(None, "cache_size", -256)?;
    Ok(db)
}

/// Reads the whole file's structure.
pub(crate) fn check(db: &Connection) -> Result<(), Fault> {
    let verdict: String = db.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Damaged(verdict)) }
}

/// Bytes of the store: the pages in use, the free pages, and the WAL's file.
pub(crate) fn bytes(db: &Connection, path: &Path) -> Result<(u64, u64, u64), Fault> {
    let number = |pragma| db.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
    let (pages, free) = (number("PRAGMA page_count")?, number("PRAGMA freelist_count")?);
    let (pages, free) = (pages.max(0).unsigned_abs(), free.max(0).unsigned_abs());
    let wal = fs::metadata(beside(path, "-wal")).map_or(0, |found| found.len());
    Ok((pages.saturating_sub(free) * PAGE_BYTES, free * PAGE_BYTES, wal))
}

/// A writer's transaction; rolled back if it is dropped. Unlike those of rusqlite's own, its words are parsed once.
pub(crate) struct Transaction<'a> {
    db: &'a Connection,
    ended: bool,
}

impl<'a> Transaction<'a> {
    /// Waits for other writers, for a moment.
    pub(crate) fn begin(db: &'a Connection) -> Result<Self, Fault> {
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { db, ended: false })
    }

    pub(crate) fn commit(mut self) -> Result<(), Fault> {
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.ended = true;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some errors have rolled it back already.
        if !self.ended && !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }
}

/// Moves the WAL's content into the database file; `truncate` also empties the WAL's file.
///
/// True if all of it was moved: a reader that holds an old state prevents that for a while.
pub(crate) fn checkpoint(db: &Connection, truncate: bool) -> Result<bool, Fault> {
    let mode = if truncate { "truncate" } else { "passive" };
    let mut whole = false;
    db.pragma(None, "wal_checkpoint", mode, |row| {
        let (busy, log, moved): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        whole = busy == 0 && log == moved;
        Ok(())
    })?;
    Ok(whole)
}

/// Moves all of the WAL into the database file, and makes it last that the WAL is empty.
///
/// What a failed sync left unwritten looks stored until the power is cut, and a sync that follows does not store it.
/// Written once more, into the database file, it is. But the old WAL, put over a database that has gone on without
/// it, would mix two times: so a commit that changes nothing follows, whose sync is of a new one.
pub(crate) fn settle(db: &Connection, kind: &Kind) -> Result<(), Fault> {
    let settled = checkpoint(db, true)
        .and_then(|_| Ok(db.pragma_update(None, "user_version", kind.version)?));
    match settled {
        // Whoever reads does not need it, and whoever writes waits for space.
        Err(Fault::Disk { cause: DiskCause::Full, .. }) => Ok(()),
        other => other,
    }
}

/// Gives free pages at the end back to the file system, at most `pages` of them.
pub(crate) fn shrink(db: &Connection, pages: u32) -> Result<(), Fault> {
    Ok(db.pragma(None, "incremental_vacuum", pages, |_| Ok(()))?)
}

/// The name of a file beside this one.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn make(
    new: &Path,
    kind: &Kind,
    fill: impl FnOnce(&Connection) -> Result<(), Fault>,
) -> Result<(), Fault> {
    remove(new)?;
    let file = create_private(new)?;
    let db = Connection::open_with_flags(new, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "page_size", i64::try_from(PAGE_BYTES).expect("small"))?;
    db.pragma_update(None, "auto_vacuum", "incremental")?;
    db.pragma_update(None, "application_id", kind.application)?;
    db.pragma_update(None, "user_version", kind.version)?;
    db.execute_batch(&format!("BEGIN; {} COMMIT;", kind.schema))?;
    fill(&db)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    Ok(file.sync_all()?)
}

/// Makes an empty file for its owner alone, where there is none.
pub(crate) fn create_private(path: &Path) -> Result<File, Fault> {
    Ok(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?)
}

fn identify(db: &Connection, path: &Path, kind: &Kind) -> Result<(), Fault> {
    let value = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = match value("application_id").map_err(Fault::from) {
        Err(Fault::Damaged(_)) => return Err(refused(kind, path, NO_DATABASE)),
        other => other?,
    };
    if application != kind.application {
        return Err(refused(kind, path, "is something else; it was left as it is"));
    }
    let version = value("user_version")?;
    if version != kind.version {
        let why = format!(
            "has format {version}, and this version reads format {}; it was left as it is: run the \
             version that wrote it, or move it aside, together with its -wal and -shm, and start again",
            kind.version
        );
        return Err(refused(kind, path, &why));
    }
    Ok(())
}

fn refuse_odd(path: &Path, kind: &Kind) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(refused(kind, path, "is a symbolic link")),
        Ok(found) if !found.is_file() => Err(refused(kind, path, "is not a regular file")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(kind, path, &format!("cannot be looked at: {error}"))),
    }
}

fn refused(kind: &Kind, path: &Path, why: &str) -> Fault {
    Fault::Refused(format!("the {} {} {why}", kind.name, path.display()))
}

/// Makes what was renamed there durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Fault> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(File::open(folder)?.sync_all()?)
}

const NO_DATABASE: &str = "is not a database (any more): it was left as it is; if it was one, it is damaged: move \
                           it aside, together with its -wal and -shm, and start again";
/// More than a store uses again and again.
const STATEMENTS_MAX: usize = 32;
/// One connection is used by one thread at a time.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_EXRESCODE);
/// Chosen when the file is made; every size is counted with it.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// A backup tool may hold the lock for a moment; beyond it the caller is told and tries again.
const BUSY: Duration = Duration::from_secs(2);
