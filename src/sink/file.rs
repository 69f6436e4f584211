//! SHELL: lines in files of a folder, each line once whatever crashes.
//!
//! | file | what it is |
//! |---|---|
//! | `changes.000001.jsonl` | lines; complete when a file with a higher number is written to |
//! | `changes.cursor` | two slots: which entry was applied last, and how long the output was then |
//! | `changes.note` | two slots: what the caller noted with a commit |
//! | `changes.lock` | locked by the process that writes |
//!
//! A commit syncs the lines first and then writes the older one of the slots, with a checksum, and
//! syncs it. Whatever a crash leaves, one slot is whole, and the lines up to its length are on the
//! disk: at opening the output is cut back to it, and the caller goes on behind its cursor. Readers
//! of a file that is being written may see lines that a crash takes back and that then come again.
//!
//! A rewind begins a new file, so that it can be seen where lines come again; no file that was there
//! changes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Sink, SinkError};

/// Where and how the files are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder; it exists.
    pub folder: PathBuf,
    /// The first part of each name: letters, digits, `-` and `_`.
    pub base: String,
    /// From this length on, in bytes, a commit ends the file and begins the next.
    pub file_bytes_max: u64,
}

/// What a slot says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Mark {
    /// Rises with each commit: the higher one counts.
    turn: u64,
    cursor: u64,
    /// The number of the file that is written to.
    file: u64,
    /// Its length in bytes.
    length: u64,
}

/// Lines in files.
pub struct Files {
    settings: Settings,
    name: String,
    out: File,
    slots: File,
    mark: Mark,
    /// Lines not yet written to the file.
    pending: Vec<u8>,
    /// The file's length with all that was written to it.
    length: u64,
    /// A write failed: what is in the file beyond the mark is not known.
    broken: bool,
    note: Note,
    _lock: File,
}

impl Files {
    /// Opens the output where the last commit left it, or begins it.
    ///
    /// # Errors
    /// [`SinkError::Refused`] if another process writes there, or if the files are not what was
    /// committed.
    pub fn open(settings: Settings) -> Result<Self, SinkError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if settings.base.is_empty() || !settings.base.chars().all(plain) {
            let why = "the base name of the output may have letters, digits, `-` and `_` alone";
            return Err(SinkError::Refused(why.to_owned()));
        }
        let lock = lock(&path(&settings, "lock"))?;
        let slots_path = path(&settings, "cursor");
        refuse_link(&slots_path)?;
        if !fs::exists(&slots_path)? {
            begin(&settings, &slots_path)?;
        }
        let slots = OpenOptions::new().read(true).write(true).open(&slots_path)?;
        let mark = newest(&slots).ok_or_else(|| {
            SinkError::Refused(format!("{} is damaged in both slots", slots_path.display()))
        })?;
        let out_path = output(&settings, mark.file);
        refuse_link(&out_path)?;
        let mut out = OpenOptions::new().write(true).open(&out_path).map_err(|error| {
            SinkError::Refused(format!("{} is committed, but: {error}", out_path.display()))
        })?;
        let found = out.metadata()?.len();
        if found < mark.length {
            return Err(SinkError::Refused(format!(
                "{} has {found} bytes, but {} were committed: lines are missing",
                out_path.display(),
                mark.length
            )));
        }
        out.set_len(mark.length)?;
        out.seek(SeekFrom::End(0))?;
        let name = format!("file:{}", settings.folder.join(&settings.base).display());
        let note = Note::open(&path(&settings, "note"), mark.turn)?;
        Ok(Self {
            settings,
            name,
            out,
            slots,
            mark,
            pending: Vec::with_capacity(BUFFER_BYTES),
            length: mark.length,
            broken: false,
            note,
            _lock: lock,
        })
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.usable()?;
        let written = self.out.write_all(&self.pending);
        self.broken = written.is_err();
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(written?)
    }

    fn usable(&self) -> Result<(), SinkError> {
        if self.broken {
            let why = format!("{} failed before and must be opened anew", self.name);
            return Err(SinkError::Refused(why));
        }
        Ok(())
    }

    fn try_commit(&mut self, cursor: u64, ends_file: bool) -> Result<(), SinkError> {
        if self.length != self.mark.length {
            self.out.sync_data()?;
        }
        let turn = self.mark.turn + 1;
        let mut mark = Mark { turn, cursor, file: self.mark.file, length: self.length };
        let mut next = None;
        if self.length >= self.settings.file_bytes_max.max(1) || ends_file {
            (mark.file, mark.length) = (mark.file + 1, 0);
            next = Some(create(&self.settings, mark.file)?);
        }
        self.note.write(turn)?;
        self.slots.write_all_at(&encode(mark), slot_at(turn))?;
        self.slots.sync_data()?;
        if let Some(next) = next {
            self.out = next;
        }
        (self.mark, self.length) = (mark, mark.length);
        Ok(())
    }
}

impl Sink for Files {
    fn cursor(&self) -> u64 {
        self.mark.cursor
    }

    fn write(&mut self, line: &[u8]) -> Result<(), SinkError> {
        self.usable()?;
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        if self.pending.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn commit(&mut self, cursor: u64) -> Result<(), SinkError> {
        self.flush()?;
        let committed = self.try_commit(cursor, false);
        self.broken = committed.is_err();
        committed
    }

    fn rewind(&mut self, cursor: u64) -> Result<(), SinkError> {
        self.flush()?;
        let committed = self.try_commit(cursor, self.length > 0);
        self.broken = committed.is_err();
        committed
    }

    fn note(&self) -> &[u8] {
        &self.note.text
    }

    fn leave_note(&mut self, note: Vec<u8>) {
        (self.note.text, self.note.changed) = (note, true);
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// What the caller noted. It is not synced: a note that is older than its commit is only less useful.
struct Note {
    file: File,
    text: Vec<u8>,
    changed: bool,
}

impl Note {
    /// Reads the newest one that is not of a commit after `turn`, which never was.
    fn open(path: &Path, turn: u64) -> Result<Self, SinkError> {
        refuse_link(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let found = [0, 1].into_iter().filter_map(|slot| Self::read(&file, slot));
        let newest = found.filter(|(at, _)| *at <= turn).max_by_key(|(at, _)| *at);
        Ok(Self { file, text: newest.map_or(Vec::new(), |(_, text)| text), changed: false })
    }

    fn read(file: &File, slot: u64) -> Option<(u64, Vec<u8>)> {
        let mut head = [0; NOTE_HEAD_BYTES];
        file.read_exact_at(&mut head, slot * NOTE_BYTES_MAX).ok()?;
        let (turn, rest) = head.split_first_chunk::<8>()?;
        let (len, crc) = rest.split_first_chunk::<4>()?;
        let len = u64::from(u32::from_le_bytes(*len));
        if len > NOTE_BYTES_MAX - NOTE_HEAD_BYTES as u64 {
            return None;
        }
        let mut text = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut text, slot * NOTE_BYTES_MAX + NOTE_HEAD_BYTES as u64).ok()?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(turn), &text);
        (crc == sum.to_le_bytes()).then(|| (u64::from_le_bytes(*turn), text))
    }

    fn write(&mut self, turn: u64) -> Result<(), SinkError> {
        let room = NOTE_BYTES_MAX as usize - NOTE_HEAD_BYTES;
        if !std::mem::take(&mut self.changed) || self.text.len() > room {
            return Ok(());
        }
        let sum = crc32c::crc32c_append(crc32c::crc32c(&turn.to_le_bytes()), &self.text);
        let mut bytes = turn.to_le_bytes().to_vec();
        bytes.extend((self.text.len() as u32).to_le_bytes());
        bytes.extend(sum.to_le_bytes());
        bytes.extend(&self.text);
        self.file.write_all_at(&bytes, turn % 2 * NOTE_BYTES_MAX)?;
        if self.text.is_empty() {
            // One that was taken back must not come back.
            self.file.sync_data()?;
        }
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, SinkError> {
    refuse_link(path)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| SinkError::Refused(format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = format!("{} is locked: another process writes there", path.display());
            Err(SinkError::Refused(why))
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Makes the first output file and the slots, which appear whole or not at all.
fn begin(settings: &Settings, slots_path: &Path) -> Result<(), SinkError> {
    drop(create(settings, 1)?);
    let new = path(settings, "cursor.new");
    refuse_link(&new)?;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.set_len(2 * SLOT_BYTES)?;
    file.write_all(&encode(Mark { file: 1, ..Mark::default() }))?;
    file.sync_all()?;
    fs::rename(&new, slots_path)?;
    Ok(File::open(&settings.folder)?.sync_all()?)
}

/// Makes an output file. One that a crash left behind is empty; another is not ours to overwrite.
fn create(settings: &Settings, number: u64) -> Result<File, SinkError> {
    let path = output(settings, number);
    refuse_link(&path)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path)?;
    if file.metadata()?.len() > 0 {
        let why = format!("{} is there already, and no cursor speaks of it", path.display());
        return Err(SinkError::Refused(why));
    }
    File::open(&settings.folder)?.sync_all()?;
    Ok(file)
}

fn path(settings: &Settings, extension: &str) -> PathBuf {
    settings.folder.join(format!("{}.{extension}", settings.base))
}

fn output(settings: &Settings, number: u64) -> PathBuf {
    path(settings, &format!("{number:06}.jsonl"))
}

fn refuse_link(path: &Path) -> Result<(), SinkError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(SinkError::Refused(format!("{} is not a regular file", path.display())))
        }
        _ => Ok(()),
    }
}

fn encode(mark: Mark) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    let fields = [MAGIC, mark.turn, mark.cursor, mark.file, mark.length];
    for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    let (plain, crc) = bytes.split_at_mut(MARK_BYTES - 4);
    crc.copy_from_slice(&crc32c::crc32c(plain).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; MARK_BYTES]) -> Option<Mark> {
    let (plain, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(plain) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut fields = plain.as_chunks::<8>().0.iter().map(|field| u64::from_le_bytes(*field));
    if fields.next()? != MAGIC {
        return None;
    }
    Some(Mark {
        turn: fields.next()?,
        cursor: fields.next()?,
        file: fields.next()?,
        length: fields.next()?,
    })
}

fn newest(slots: &File) -> Option<Mark> {
    let read = |turn| {
        let mut bytes = [0; MARK_BYTES];
        slots.read_exact_at(&mut bytes, slot_at(turn)).ok()?;
        decode(&bytes)
    };
    [read(0), read(1)].into_iter().flatten().max_by_key(|mark| mark.turn)
}

fn slot_at(turn: u64) -> u64 {
    turn % 2 * SLOT_BYTES
}

/// `RVSINK01`.
const MAGIC: u64 = u64::from_le_bytes(*b"RVSINK01");
const MARK_BYTES: usize = 5 * 8 + 4;
/// Apart enough that a torn write never meets both slots.
const SLOT_BYTES: u64 = 4096;
/// A note's turn, length and checksum.
const NOTE_HEAD_BYTES: usize = 8 + 4 + 4;
/// The room of a note: some ten thousand agents.
const NOTE_BYTES_MAX: u64 = 1 << 20;
/// Lines gathered before they go to the system.
const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
