//! The agent: the real stager, buffer and pump, turned by the world instead of two threads.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rivulet::agent::known::Known;
use rivulet::agent::pump::{self, Pump, Shared, parcel};
use rivulet::agent::stager::{Full, Stager, Store};
use rivulet::batch::{self, BatchError, Begin, Commit, Meta, Sealed};
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::buffer::{Buffer, BufferError, Durability, Ended, Opening, Part, Prepared, Settings};
use rivulet::mqtt::ClientSettings;
use rivulet::position::{Checkpoint, Position, Sequence};
use rivulet::uplink;

use super::disk::Disk;
use super::history::{End, History, Place, Reading, Transaction, text_of};

pub(crate) struct Edge {
    pub(crate) name: String,
    pub(crate) history: History,
    pub(crate) shared: Shared,
    pub(crate) pump: Pump,
    pub(crate) reading: Reading,
    /// The connection that the pump speaks on.
    pub(crate) link: Option<usize>,
    /// What the peer allowed the last time; it is on the disk that nothing happens to.
    pub(crate) known: Known,
    /// On this connection something may have left before the peer answered.
    pub(crate) hasty: bool,
    pub(crate) dial_at: Instant,
    pub(crate) disk: Disk,
    stager: Stager,
    full: Full,
    ended: Vec<Ended>,
    /// As in [`pump::Inner`], when reading began.
    rereads: u64,
    /// What is staged may come again: something was found broken.
    healed: bool,
    /// Its disk never failed.
    pub(crate) sound: bool,
    /// What the world is to tell.
    pub(crate) notes: Vec<String>,
    /// Where the open transaction began.
    begins: Checkpoint,
    folder: PathBuf,
    /// Every start has a folder of its own: what is left behind is never touched again.
    starts: u32,
    boots: u32,
    /// How the buffer stood when it was last checked: epoch, acknowledged, staged, checkpoint.
    checked: (u64, Sequence, Sequence, Option<Checkpoint>),
    /// Copies that somebody made of the buffer while it was in use.
    backups: Vec<Copy>,
}

/// A buffer's files.
#[derive(Clone)]
pub(crate) struct Copy(Vec<(&'static str, Vec<u8>)>);

const SUFFIXES: [&str; 3] = ["", "-wal", ".lock"];
const LEVEL: i32 = 1;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

impl Copy {
    pub(crate) fn of(path: &Path, disk: &Disk) -> Self {
        let file = |suffix| Some((suffix, disk.read(&beside(path, suffix))?));
        Self(SUFFIXES.into_iter().filter_map(file).collect())
    }

    /// What a power cut leaves.
    pub(crate) fn after_power_cut(path: &Path, disk: &Disk, rng: &mut Rng) -> Self {
        let file = |suffix| {
            let bytes = disk.after_power_cut(&beside(path, suffix), rng)?;
            Some((suffix, bytes))
        };
        Self(SUFFIXES.into_iter().filter_map(file).collect())
    }

    /// The files in their place when the process that wrote them has died: nothing was synced by that.
    pub(crate) fn after_kill(path: &Path, disk: &Disk, to: &Path) -> Self {
        for suffix in SUFFIXES {
            disk.carry(&beside(path, suffix), &beside(to, suffix));
        }
        Self::of(path, disk)
    }

    pub(crate) fn restore(&self, path: &Path) {
        for (suffix, bytes) in &self.0 {
            std::fs::write(beside(path, suffix), bytes).unwrap();
        }
    }

    fn with_lock_of(mut self, other: &Self) -> Self {
        self.0.retain(|(suffix, _)| *suffix != ".lock");
        self.0.extend(other.0.iter().filter(|(suffix, _)| *suffix == ".lock").cloned());
        self
    }
}

/// Why staging cannot go on.
#[derive(Debug)]
pub(crate) enum Unstaged {
    /// What was staged was broken: read again from the buffer's checkpoint.
    Reread(Option<String>),
    /// No fault of this world explains it.
    Other(String),
}

impl From<BatchError> for Unstaged {
    fn from(error: BatchError) -> Self {
        Self::Other(error.to_string())
    }
}

/// The buffer as the reading thread sees it: it waits while the disk refuses.
struct Staging<'a> {
    shared: &'a Shared,
    /// The prepared transactions whose end is to be stored.
    ended: &'a mut Vec<Ended>,
    rereads: u64,
}

/// More often a disk does not refuse.
const TRIES_MAX: u32 = 1000;

impl Staging<'_> {
    fn persist<T>(
        &self,
        write: impl Fn(&mut Buffer) -> Result<T, BufferError>,
    ) -> Result<T, Unstaged> {
        for _ in 0..TRIES_MAX {
            let mut inner = self.shared.lock();
            if inner.rereads != self.rereads {
                return Err(Unstaged::Reread(None));
            }
            match write(&mut inner.buffer) {
                Ok(value) => return Ok(value),
                Err(BufferError::Disk { .. }) => {}
                Err(error @ BufferError::Healed { .. }) => {
                    inner.rereads += 1;
                    return Err(Unstaged::Reread(Some(error.to_string())));
                }
                Err(error) => return Err(Unstaged::Other(error.to_string())),
            }
        }
        panic!("the disk never takes it");
    }
}

impl Store for Staging<'_> {
    type Error = Unstaged;

    fn knows(&mut self, fingerprint: u64) -> bool {
        self.shared.lock().buffer.has_schema(fingerprint).unwrap_or(false)
    }

    fn part(&mut self, sealed: Sealed) -> Result<(), Unstaged> {
        let parcel = parcel(sealed);
        self.persist(|buffer| buffer.stage_part(&parcel))
    }

    fn commit(&mut self, sealed: Option<Sealed>, behind: &Checkpoint) -> Result<(), Unstaged> {
        let parcels: Vec<_> = sealed.into_iter().map(parcel).collect();
        let ended = std::mem::take(self.ended);
        self.persist(|buffer| buffer.commit_ending(&parcels, behind, &ended))
    }

    fn discard(&mut self) -> Result<(), Unstaged> {
        // Reading begins again if this fails, and with it this.
        self.shared.lock().buffer.discard_parts().map_err(|_| Unstaged::Reread(None))
    }

    fn take_part(&mut self) -> Result<Option<Part>, Unstaged> {
        self.persist(Buffer::take_part)
    }

    fn prepare(
        &mut self,
        name: &[u8],
        last: Option<Sealed>,
        begins: &Checkpoint,
        behind: &Checkpoint,
    ) -> Result<(), Unstaged> {
        let (last, ended) = (last.map(parcel), std::mem::take(self.ended));
        self.persist(|buffer| buffer.prepare(name, last.as_ref(), begins, behind, &ended))
    }

    fn prepared(&mut self, name: &[u8]) -> Result<Option<Prepared>, Unstaged> {
        if self.ended.iter().any(|ended| ended.name == name) {
            return Ok(None);
        }
        self.persist(|buffer| buffer.prepared(name))
    }

    fn prepared_part(&mut self, prepared: &Prepared, part: u32) -> Result<Part, Unstaged> {
        self.persist(|buffer| buffer.prepared_part(prepared, part))
    }

    fn end(&mut self, name: &[u8], committed: bool) {
        self.ended.push(Ended { name: name.to_owned(), committed });
    }

    fn schema(&mut self, fingerprint: u64) -> Result<Option<Vec<u8>>, Unstaged> {
        self.persist(|buffer| buffer.schema(fingerprint))
    }
}

fn buffer_path(folder: &Path, start: u32) -> PathBuf {
    folder.join(format!("start-{start}")).join("buffer")
}

fn open(path: &Path, boot: u32) -> Result<(Buffer, Opening), BufferError> {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let settings = Settings {
        bytes_max: 8 << 20,
        durability: Durability::Normal,
        boot_id: format!("boot-{boot}"),
    };
    Buffer::open(path, settings)
}

impl Edge {
    pub(crate) fn new(
        name: &str,
        folder: PathBuf,
        history: History,
        rng: &mut Rng,
        now: Instant,
    ) -> Self {
        let (full, disk) = (full(rng), Disk::mount(&folder));
        let (buffer, _) = open(&buffer_path(&folder, 0), 0).unwrap();
        let shared = Shared::new(buffer);
        let settings = batch::Settings { level: LEVEL };
        Self {
            name: name.to_owned(),
            pump: Pump::new(pump_settings(name, rng), shared.clone()),
            shared,
            reading: Reading::open(&history, None),
            history,
            link: None,
            known: Known::open([name.to_owned()], None),
            hasty: false,
            dial_at: now,
            disk,
            stager: Stager::new(settings, full),
            full,
            ended: Vec::new(),
            rereads: 0,
            healed: false,
            sound: true,
            notes: Vec::new(),
            begins: Checkpoint::default(),
            folder,
            starts: 0,
            boots: 0,
            checked: Default::default(),
            backups: Vec::new(),
        }
    }

    /// Where the buffer is.
    fn path(&self) -> PathBuf {
        buffer_path(&self.folder, self.starts)
    }

    /// A step of the reading thread. Returns false when there is nothing to read.
    pub(crate) fn read(&mut self, rng: &mut Rng) -> bool {
        match self.turn(rng) {
            Ok(more) => more,
            Err(Unstaged::Reread(why)) => {
                self.notes.extend(why);
                self.reread();
                true
            }
            Err(Unstaged::Other(error)) => panic!("{error}"),
        }
    }

    /// Reading begins again where the buffer says.
    fn reread(&mut self) {
        let stored = {
            let mut inner = self.shared.lock();
            while inner.buffer.discard_parts().is_err() {}
            self.rereads = inner.rereads;
            inner.buffer.checkpoint().unwrap()
        };
        let behind = stored.as_ref().map(|stored| self.history.index_of(stored));
        self.notes.push(format!("reads again from {behind:?}, was at {}", self.reading.index));
        self.healed = true;
        self.stager = Stager::new(batch::Settings { level: LEVEL }, self.full);
        self.ended.clear();
        self.reading = Reading::open(&self.history, stored);
    }

    fn turn(&mut self, rng: &mut Rng) -> Result<bool, Unstaged> {
        let rereads = self.rereads;
        let mut store = Staging { shared: &self.shared, ended: &mut self.ended, rereads };
        if self.stager.is_growing() && self.stager.transactions() > 0 {
            self.stager.flush(&self.reading.checkpoint, &mut store)?;
        }
        let reading = &mut self.reading;
        let Some(transaction) = self.history.transactions.get(reading.index) else {
            self.stager.flush(&reading.checkpoint, &mut store)?;
            store_position(reading, &self.stager, &mut store)?;
            return Ok(false);
        };
        let place = &transaction.place;
        if reading.step == 0 {
            let position = &reading.checkpoint.position;
            if (&position.server, &position.file) != (&place.server, &place.file)
                || reading.checkpoint.file_created_s != place.created_s
            {
                reading.enter(place, position.gtid.clone());
            }
            let mut position = reading.checkpoint.position.clone();
            (position.offset, position.gtid) = (place.begins, transaction.gtid.clone());
            let begin = Begin { position, file_created_s: place.created_s, ..Begin::default() };
            if let End::CommitsPrepared(name) = transaction.end {
                let begins = reading.checkpoint.clone();
                reading.stand_behind(transaction);
                let commit = Commit { end_offset: place.ends, xid: None };
                let (commits, behind) = ((&begin, place.begins + 20), &reading.checkpoint);
                let ends = (commit, behind);
                let stager = &mut self.stager;
                if !stager.commit_prepared(&[name], commits, ends, &begins, &mut store)? {
                    let was_read =
                        store.persist(|buffer| buffer.was_read(&place_of(transaction)))?;
                    assert!(was_read, "what was prepared is gone");
                }
                reading.index += 1;
            } else if transaction.events.is_empty() {
                // A statement without rows: the checkpoint moves behind it.
                if let End::RollsBackPrepared(name) = transaction.end {
                    store.end(&[name], false);
                }
                reading.stand_behind(transaction);
                reading.index += 1;
            } else {
                self.begins = reading.checkpoint.clone();
                self.stager.begin(&begin, &reading.checkpoint, &mut store)?;
                reading.step = 1;
            }
        } else if let Some(event) = transaction.events.get(reading.step - 1) {
            if transaction.undone.start + 1 == reading.step && !transaction.undone.is_empty() {
                self.stager.savepoint(b"s");
            }
            let first = event.changes.first().expect("no event is empty");
            let table = &self.history.tables[first.table];
            self.stager.event(table, first.operation, event.offset, 1);
            for change in &event.changes {
                let (number, text) = (change.number.to_le_bytes(), text_of(change));
                let image = [Cell::Value(&number), Cell::Value(&text), Cell::Null];
                let before = [Cell::Value(&number), Cell::Value(b"before"), Cell::Null];
                let (before, after): (&[Cell<'_>], &[Cell<'_>]) = match change.operation {
                    Operation::Insert => (&[], &image),
                    Operation::Update => (&before, &image),
                    Operation::Delete => (&image, &[]),
                };
                self.stager.row(before, after, &mut store)?;
            }
            if transaction.undone.end == reading.step {
                assert!(self.stager.rollback_to(b"s", &mut store)?);
            }
            reading.step += 1;
        } else {
            reading.stand_behind(transaction);
            (reading.index, reading.step) = (reading.index + 1, 0);
            let behind = &reading.checkpoint;
            match transaction.end {
                End::Commits => {
                    let commit = Commit { end_offset: place.ends, xid: None };
                    self.stager.commit(commit, behind, &mut store)?;
                }
                End::Prepares(name) => {
                    self.stager.prepare(&[name], &self.begins, behind, &mut store)?;
                }
                _ => self.stager.rollback(&mut store)?,
            }
        }
        if !self.stager.is_open() && rng.u32(0..3) == 0 {
            self.stager.flush(&self.reading.checkpoint, &mut store)?;
            if rng.u32(0..4) == 0 {
                store_position(&self.reading, &self.stager, &mut store)?;
            }
        }
        Ok(true)
    }

    /// The server's connection is lost: what was open comes again.
    pub(crate) fn abandon(&mut self) {
        let rereads = self.rereads;
        let mut store = Staging { shared: &self.shared, ended: &mut self.ended, rereads };
        if self.stager.rollback(&mut store).is_err() {
            return self.reread();
        }
        self.reading.step = 0;
    }

    /// Somebody copies the buffer while it is in use.
    pub(crate) fn back_up(&mut self) {
        self.backups.push(Copy::of(&self.path(), &self.disk));
        if self.backups.len() > 6 {
            self.backups.remove(0);
        }
    }

    /// Some of what is stored in the buffer gets other bytes. Returns how much.
    pub(crate) fn rot(&mut self, rng: &mut Rng) -> usize {
        let db = rusqlite::Connection::open(self.path()).unwrap();
        let table = if rng.u32(..4) == 0 { "part" } else { "batch" };
        let column = if rng.bool() { "body" } else { "meta" };
        let nth = rng.u32(..6);
        let rotten = format!(
            "UPDATE {table} SET {column} = zeroblob(length({column})) WHERE id = \
             (SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET {nth})"
        );
        db.execute(&rotten, []).unwrap_or(0)
    }

    /// The process dies and starts again.
    pub(crate) fn kill(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        let next = buffer_path(&self.folder, self.starts + 1);
        let copy = Copy::after_kill(&self.path(), &self.disk, &next);
        let opening = self.start(Some(&copy), rng, now);
        let goes_on = opening == Opening::Continued || !self.sound;
        assert!(goes_on, "the epoch does not survive a process: {opening:?}");
        opening
    }

    /// The machine stops; what SQLite had not synced may be gone.
    pub(crate) fn cut_power(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        self.boots += 1;
        let copy = Copy::after_power_cut(&self.path(), &self.disk, rng);
        let opening = self.start(Some(&copy), rng, now);
        let new = !matches!(opening, Opening::Continued);
        assert!(new, "no epoch survives a power cut: {opening:?}");
        opening
    }

    /// Somebody puts an older copy in the buffer's place, with or without its lock file.
    pub(crate) fn restore(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        let Some(copy) = rng.choice(self.backups.clone()) else { return self.kill(rng, now) };
        let lock = Copy::of(&self.path(), &self.disk);
        let copy = if rng.u32(..3) == 0 { copy.with_lock_of(&lock) } else { copy };
        if rng.u32(0..3) == 0 {
            self.boots += 1;
        }
        self.start(Some(&copy), rng, now)
    }

    /// The buffer is gone: everything is read again from the first transaction there is.
    pub(crate) fn lose(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        self.backups.clear();
        self.start(None, rng, now)
    }

    fn start(&mut self, copy: Option<&Copy>, rng: &mut Rng, now: Instant) -> Opening {
        let old = self.path();
        let old = old.parent().unwrap();
        self.disk.forget(old);
        self.disk.mend();
        self.starts += 1;
        let path = self.path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(copy) = copy {
            copy.restore(&path);
        }
        let (mut buffer, opening) = match open(&path, self.boots) {
            // What the operator is told to do: it is moved aside.
            Err(BufferError::Refused(_) | BufferError::Damaged(_)) if self.disk.deceives() => {
                std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
                self.disk.forget(path.parent().unwrap());
                self.backups.clear();
                open(&path, self.boots).unwrap()
            }
            opened => opened.unwrap(),
        };
        buffer.discard_parts().unwrap();
        self.checked = Default::default();
        let stored = buffer.checkpoint().unwrap();
        self.shared = Shared::new(buffer);
        self.pump = Pump::new(pump_settings(&self.name, rng), self.shared.clone());
        self.full = full(rng);
        self.stager = Stager::new(batch::Settings { level: LEVEL }, self.full);
        self.ended.clear();
        self.rereads = 0;
        self.reading = Reading::open(&self.history, stored);
        (self.link, self.hasty) = (None, false);
        self.dial_at = now + Duration::from_millis(rng.u64(0..3000));
        std::fs::remove_dir_all(old).unwrap();
        opening
    }

    /// Staged or not: whether everything that was committed is in the buffer or beyond it.
    pub(crate) fn has_read_all(&self) -> bool {
        self.reading.index == self.history.transactions.len()
            && !self.stager.is_open()
            && self.stager.transactions() == 0
    }

    /// What the buffer must be at any time. `sunk` is how many changes the sinks can see.
    pub(crate) fn check(&mut self, sunk: usize, thoroughly: bool) {
        let mut inner = self.shared.lock();
        let pump::Inner { buffer, rereads, .. } = &mut *inner;
        let stored = buffer.checkpoint().unwrap();
        let now = (buffer.epoch(), buffer.acknowledged(), buffer.staged(), stored.clone());
        if now == self.checked {
            return;
        }
        let before = std::mem::replace(&mut self.checked, now);
        let (now, before) = ((self.checked.0, self.checked.1), (before.0, before.1));
        assert!(now >= before, "the acknowledgement ran back: {now:?} after {before:?}");
        let history = &self.history;
        let behind = match stored {
            Some(stored) => {
                let index = history.index_of(&stored);
                index.expect("the buffer's checkpoint is not where a transaction ends")
            }
            None => history.beginning(),
        };
        let staged_end = history.changes_before(behind);
        // Everything that is kept, oldest first; a new epoch may need all of it.
        let (mut from, mut expected, mut reached) = (Sequence::START, None, sunk);
        loop {
            let staged = match buffer.after(from) {
                Ok(Some(staged)) => staged,
                Ok(None) => break,
                // The pump would have found it next.
                Err(error @ BufferError::Healed { .. }) => {
                    *rereads += 1;
                    self.healed = true;
                    self.notes.push(error.to_string());
                    return;
                }
                Err(BufferError::Disk { .. }) => return,
                Err(error) => panic!("{error}"),
            };
            from = staged.sequence;
            let meta = Meta::decode(&staged.meta).unwrap();
            if meta.rows == 0 && meta.transactions == 0 {
                continue;
            }
            if meta.part == 0 {
                let at = change_at(history, &meta);
                match expected {
                    // What was read before a healing is staged and read once more, but for prepared
                    // transactions that are here or have arrived.
                    Some(_) if self.healed => {
                        assert!(at <= reached, "staged batches leave a gap: {reached}..{at}");
                    }
                    Some(end) => assert_eq!(at, end, "staged batches leave a gap"),
                    None => assert!(at <= sunk, "forgotten before it arrived: {sunk}..{at}"),
                }
                expected = Some(at);
            }
            let next = expected.expect("what is kept begins with a whole transaction");
            let next = next + meta.rows as usize;
            // Healed: a prepared transaction that has arrived lies between the batch's own, and is not in it.
            let end = last_change(history, &meta).filter(|_| self.healed).unwrap_or(next);
            (expected, reached) = (Some(next), reached.max(next).max(end));
            if !thoroughly {
                return;
            }
        }
        match expected {
            Some(_) if self.healed => {
                assert!(reached >= staged_end, "the checkpoint is too far on: {staged_end}");
            }
            Some(end) => assert_eq!(end, staged_end, "the checkpoint is not behind what is staged"),
            None => assert!(
                staged_end <= sunk,
                "forgotten before it arrived: {sunk} are there, {staged_end} are behind the \
                 checkpoint"
            ),
        }
    }
}

/// How many changes were committed before a batch's first transaction.
fn change_at(history: &History, meta: &Meta) -> usize {
    let checkpoint = Checkpoint {
        position: meta.first.clone(),
        file_created_s: meta.file_created_s,
        ..Checkpoint::default()
    };
    // A transaction begins where the one before it ended, or a file began.
    history.changes_before(history.index_of(&checkpoint).expect("no transaction begins there"))
}

/// How many changes were committed up to the end of a batch's last transaction, if it is whole.
fn last_change(history: &History, meta: &Meta) -> Option<usize> {
    let position = meta.last.clone();
    let created =
        Checkpoint { position, file_created_s: meta.file_created_s, ..Checkpoint::default() };
    let end = history.index_of(&created).filter(|_| !meta.continues);
    Some(history.changes_before(end?))
}

/// Where a transaction begins.
fn place_of(transaction: &Transaction) -> Position {
    let Place { server, file, begins, .. } = transaction.place.clone();
    Position { server, file, offset: begins, gtid: transaction.gtid.clone() }
}

/// What an agent's configuration says of a batch's size.
fn full(rng: &mut Rng) -> Full {
    Full { bytes_max: rng.usize(100..900), rows_max: rng.u32(3..30) }
}

fn store_position(
    reading: &Reading,
    stager: &Stager,
    store: &mut Staging<'_>,
) -> Result<(), Unstaged> {
    let stored = store.shared.lock().buffer.checkpoint().unwrap();
    let moved = stored.as_ref() != Some(&reading.checkpoint);
    let known = !reading.checkpoint.position.file.is_empty();
    if moved && known && stager.transactions() == 0 && !stager.is_open() {
        store.commit(None, &reading.checkpoint)?;
    }
    Ok(())
}

fn pump_settings(name: &str, rng: &mut Rng) -> pump::Settings {
    pump::Settings {
        agent: name.to_owned(),
        tenant: "acme".to_owned(),
        session: ClientSettings {
            client_id: name.to_owned(),
            keep_alive_s: 20,
            session_expiry_s: 0,
            clean_start: true,
            will: None,
            login: None,
            receive_maximum: 16,
            packet_bytes_max: 64 * 1024,
            patience: Duration::from_secs(60),
        },
        // Often too small for a batch, which then leaves in fragments.
        packet_bytes_max: if rng.bool() { rng.u32(200..2_000) } else { 64 * 1024 },
        uplink: uplink::Settings {
            window_bytes: rng.usize(500..20_000),
            window_batches: rng.usize(1..12),
            silence_max: Duration::from_secs(30),
        },
        level: LEVEL,
    }
}
