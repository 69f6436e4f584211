//! The agent: the real stager, buffer and pump, turned by the world instead of two threads.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rivulet::agent::pump::{self, Pump, Shared, parcel};
use rivulet::agent::stager::{Full, Stager, Store};
use rivulet::batch::{self, BatchError, Begin, Commit, Meta, Sealed};
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::buffer::{Buffer, BufferError, Durability, Ended, Opening, Part, Prepared, Settings};
use rivulet::mqtt::ClientSettings;
use rivulet::position::{Checkpoint, Sequence};
use rivulet::uplink;

use super::history::{End, History, Reading, text_of};

pub(crate) struct Edge {
    pub(crate) name: String,
    pub(crate) history: History,
    pub(crate) shared: Shared,
    pub(crate) pump: Pump,
    pub(crate) reading: Reading,
    /// The connection that the pump speaks on.
    pub(crate) link: Option<usize>,
    pub(crate) dial_at: Instant,
    stager: Stager,
    full: Full,
    ended: Vec<Ended>,
    /// Where the open transaction began.
    begins: Checkpoint,
    folder: PathBuf,
    /// Every start has a folder of its own: what is left behind is never touched again.
    starts: u32,
    boots: u32,
    /// How the buffer stood when it was last checked: epoch, acknowledged, staged, checkpoint.
    checked: (u64, Sequence, Sequence, Option<Checkpoint>),
    /// Copies of the buffer since the last write that a power cut cannot take back.
    recent: Vec<Copy>,
    /// Older ones.
    pub(crate) backups: Vec<Copy>,
    durable_epoch: u64,
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
    pub(crate) fn of(path: &Path) -> Self {
        let file = |suffix| Some((suffix, std::fs::read(beside(path, suffix)).ok()?));
        Self(SUFFIXES.into_iter().filter_map(file).collect())
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

/// Staging failed, which no fault of this world explains.
#[derive(Debug)]
pub(crate) struct Unstaged(#[expect(dead_code, reason = "shown when it is unwrapped")] String);

impl From<BatchError> for Unstaged {
    fn from(error: BatchError) -> Self {
        Self(error.to_string())
    }
}

impl From<BufferError> for Unstaged {
    fn from(error: BufferError) -> Self {
        Self(error.to_string())
    }
}

/// The buffer, and the prepared transactions whose end is to be stored.
struct Staging<'a>(&'a Shared, &'a mut Vec<Ended>);

impl Store for Staging<'_> {
    type Error = Unstaged;

    fn knows(&self, fingerprint: u64) -> bool {
        self.0.lock().buffer.has_schema(fingerprint).unwrap()
    }

    fn part(&mut self, sealed: Sealed) -> Result<(), Unstaged> {
        Ok(self.0.lock().buffer.stage_part(&parcel(sealed))?)
    }

    fn commit(&mut self, sealed: Option<Sealed>, behind: &Checkpoint) -> Result<(), Unstaged> {
        let parcels: Vec<_> = sealed.into_iter().map(parcel).collect();
        let ended = std::mem::take(self.1);
        Ok(self.0.lock().buffer.commit_ending(&parcels, behind, &ended)?)
    }

    fn discard(&mut self) -> Result<(), Unstaged> {
        Ok(self.0.lock().buffer.discard_parts()?)
    }

    fn take_part(&mut self) -> Result<Option<Part>, Unstaged> {
        Ok(self.0.lock().buffer.take_part()?)
    }

    fn prepare(
        &mut self,
        name: &[u8],
        last: Option<Sealed>,
        begins: &Checkpoint,
        behind: &Checkpoint,
    ) -> Result<(), Unstaged> {
        let (last, ended) = (last.map(parcel), std::mem::take(self.1));
        Ok(self.0.lock().buffer.prepare(name, last.as_ref(), begins, behind, &ended)?)
    }

    fn prepared(&mut self, name: &[u8]) -> Result<Option<Prepared>, Unstaged> {
        Ok(self.0.lock().buffer.prepared(name)?)
    }

    fn prepared_part(&mut self, prepared: &Prepared, part: u32) -> Result<Part, Unstaged> {
        Ok(self.0.lock().buffer.prepared_part(prepared, part)?)
    }

    fn end(&mut self, name: &[u8], committed: bool) {
        self.1.push(Ended { name: name.to_owned(), committed });
    }

    fn schema(&mut self, fingerprint: u64) -> Result<Option<Vec<u8>>, Unstaged> {
        Ok(self.0.lock().buffer.schema(fingerprint)?)
    }
}

fn buffer_path(folder: &Path, start: u32) -> PathBuf {
    folder.join(format!("start-{start}")).join("buffer")
}

fn open(path: &Path, boot: u32) -> (Buffer, Opening) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let settings = Settings {
        bytes_max: 8 << 20,
        durability: Durability::Normal,
        boot_id: format!("boot-{boot}"),
    };
    Buffer::open(path, settings).unwrap()
}

impl Edge {
    pub(crate) fn new(
        name: &str,
        folder: PathBuf,
        history: History,
        rng: &mut Rng,
        now: Instant,
    ) -> Self {
        let full = Full { bytes_max: rng.usize(100..900), rows_max: rng.u32(3..30) };
        let (buffer, _) = open(&buffer_path(&folder, 0), 0);
        let shared = Shared::new(buffer);
        let settings = batch::Settings { level: LEVEL };
        Self {
            name: name.to_owned(),
            pump: Pump::new(pump_settings(name, rng), shared.clone()),
            shared,
            reading: Reading::open(&history, None),
            history,
            link: None,
            dial_at: now,
            stager: Stager::new(settings, full),
            full,
            ended: Vec::new(),
            begins: Checkpoint::default(),
            folder,
            starts: 0,
            boots: 0,
            checked: Default::default(),
            recent: Vec::new(),
            backups: Vec::new(),
            durable_epoch: 0,
        }
    }

    /// Where the buffer is.
    fn path(&self) -> PathBuf {
        buffer_path(&self.folder, self.starts)
    }

    /// Some steps of the reading thread. Returns false when there is nothing to read.
    pub(crate) fn read(&mut self, rng: &mut Rng) -> bool {
        let mut store = Staging(&self.shared, &mut self.ended);
        if self.stager.is_growing() && self.stager.transactions() > 0 {
            self.stager.flush(&self.reading.checkpoint, &mut store).unwrap();
        }
        let reading = &mut self.reading;
        let Some(transaction) = self.history.transactions.get(reading.index) else {
            self.stager.flush(&reading.checkpoint, &mut store).unwrap();
            store_position(reading, &self.stager, &mut store);
            return false;
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
                let (commits, behind) = ((begin, place.begins + 20), &reading.checkpoint);
                let ends = (commit, behind);
                let found =
                    self.stager.commit_prepared(&[name], commits, ends, &begins, &mut store);
                assert!(found.unwrap(), "what was prepared is gone");
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
                self.stager.begin(begin, &reading.checkpoint, &mut store).unwrap();
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
                self.stager.row(before, after, &mut store).unwrap();
            }
            if transaction.undone.end == reading.step {
                assert!(self.stager.rollback_to(b"s", &mut store).unwrap());
            }
            reading.step += 1;
        } else {
            reading.stand_behind(transaction);
            (reading.index, reading.step) = (reading.index + 1, 0);
            let behind = &reading.checkpoint;
            match transaction.end {
                End::Commits => {
                    let commit = Commit { end_offset: place.ends, xid: None };
                    self.stager.commit(commit, behind, &mut store).unwrap();
                }
                End::Prepares(name) => {
                    self.stager.prepare(&[name], &self.begins, behind, &mut store).unwrap();
                }
                _ => self.stager.rollback(&mut store).unwrap(),
            }
        }
        if !self.stager.is_open() && rng.u32(0..3) == 0 {
            self.stager.flush(&self.reading.checkpoint, &mut store).unwrap();
            if rng.u32(0..4) == 0 {
                store_position(&self.reading, &self.stager, &mut store);
            }
        }
        true
    }

    /// The server's connection is lost: what was open comes again.
    pub(crate) fn abandon(&mut self) {
        self.stager.rollback(&mut Staging(&self.shared, &mut self.ended)).unwrap();
        self.reading.step = 0;
    }

    /// Keeps a copy of the buffer as it is now.
    pub(crate) fn copy(&mut self, rng: &mut Rng) {
        let epoch = self.shared.lock().buffer.epoch();
        if std::mem::replace(&mut self.durable_epoch, epoch) != epoch {
            self.recent.clear();
        }
        let copy = Copy::of(&self.path());
        if rng.u32(0..4) == 0 {
            self.backups.push(copy.clone());
        }
        self.recent.push(copy);
        if self.recent.len() > 4 {
            self.recent.remove(0);
        }
    }

    /// The process dies and starts again.
    pub(crate) fn kill(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        let copy = Copy::of(&self.path());
        self.start(Some(&copy), rng, now)
    }

    /// The machine stops; what SQLite had not synced may be gone.
    pub(crate) fn cut_power(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        self.boots += 1;
        let epoch = self.shared.lock().buffer.epoch();
        let lost = (epoch == self.durable_epoch).then(|| rng.choice(self.recent.clone())).flatten();
        let copy = lost.unwrap_or_else(|| Copy::of(&self.path()));
        self.start(Some(&copy), rng, now)
    }

    /// Somebody puts an older copy in the buffer's place, with or without its lock file.
    pub(crate) fn restore(&mut self, rng: &mut Rng, now: Instant) -> Opening {
        let Some(copy) = rng.choice(self.backups.clone()) else { return self.kill(rng, now) };
        let lock = Copy::of(&self.path());
        let copy = if rng.bool() { copy.with_lock_of(&lock) } else { copy };
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
        self.starts += 1;
        let path = self.path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(copy) = copy {
            copy.restore(&path);
        }
        let (mut buffer, opening) = open(&path, self.boots);
        buffer.discard_parts().unwrap();
        self.checked = Default::default();
        self.durable_epoch = buffer.epoch();
        self.recent.clear();
        let stored = buffer.checkpoint().unwrap();
        self.shared = Shared::new(buffer);
        self.pump = Pump::new(pump_settings(&self.name, rng), self.shared.clone());
        self.stager = Stager::new(batch::Settings { level: LEVEL }, self.full);
        self.ended.clear();
        self.reading = Reading::open(&self.history, stored);
        (self.link, self.dial_at) = (None, now + Duration::from_millis(rng.u64(0..3000)));
        let old = buffer_path(&self.folder, self.starts - 1);
        std::fs::remove_dir_all(old.parent().unwrap()).unwrap();
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
        let buffer = &mut inner.buffer;
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
        let (mut from, mut expected) = (Sequence::START, None);
        while let Some(staged) = buffer.after(from).unwrap() {
            from = staged.sequence;
            let meta = Meta::decode(&staged.meta).unwrap();
            if meta.rows == 0 && meta.transactions == 0 {
                continue;
            }
            if meta.part == 0 {
                let at = change_at(history, &meta);
                match expected {
                    Some(expected) => assert_eq!(at, expected, "staged batches leave a gap"),
                    None => assert!(at <= sunk, "forgotten before it arrived: {sunk}..{at}"),
                }
                expected = Some(at);
            }
            let next = expected.expect("what is kept begins with a whole transaction");
            expected = Some(next + meta.rows as usize);
            if !thoroughly {
                return;
            }
        }
        match expected {
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

fn store_position(reading: &Reading, stager: &Stager, store: &mut Staging<'_>) {
    let stored = store.0.lock().buffer.checkpoint().unwrap();
    let moved = stored.as_ref() != Some(&reading.checkpoint);
    let known = !reading.checkpoint.position.file.is_empty();
    if moved && known && stager.transactions() == 0 && !stager.is_open() {
        store.commit(None, &reading.checkpoint).unwrap();
    }
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
        uplink: uplink::Settings {
            window_bytes: rng.usize(500..20_000),
            window_batches: rng.usize(1..12),
            silence_max: Duration::from_secs(30),
        },
        level: LEVEL,
    }
}
