//! The disks of a world: SQLite writes through here into files, and a disk that is told to refuses.
//!
//! Every write is remembered until it is synced. A power cut keeps what was synced and of the rest some,
//! each write alone, so that later ones may be there without earlier ones. After a sync that failed the
//! system forgets that there was something to write: the next one succeeds and has not stored it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use sqlite_vfs::wip::{WalIndex, WalIndexLock};
use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenOptions, Vfs};

/// One machine's disk: all that is below a folder.
#[derive(Clone)]
pub(crate) struct Disk {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Kept>,
    handles: u64,
    /// What is refused the next so many times.
    refused: HashMap<Refused, u32>,
    /// A sync has failed: what is read back may never have been stored.
    deceives: bool,
}

/// What a disk does not do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Refused {
    /// There is no space for a file to grow.
    Space,
    /// A write fails.
    Write,
    /// A sync fails, and what it should have stored may never be.
    Sync,
}

/// What is known of a file beside its bytes.
#[derive(Default)]
struct Kept {
    writes: Vec<Write>,
    shared: Vec<u64>,
    writer: Option<(u64, LockKind)>,
    /// With the number of its last change.
    index: Vec<(u64, Box<Region>)>,
    index_locks: [Slot; 8],
}

type Region = [u8; 32768];

#[derive(Default)]
struct Slot {
    shared: Vec<u64>,
    exclusive: Option<u64>,
}

/// A write that a power cut may undo.
struct Write {
    offset: u64,
    old: Vec<u8>,
    old_len: u64,
    new: Vec<u8>,
    new_len: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Pending,
    Durable,
    /// No sync will store it.
    Lost,
}

static DISKS: Mutex<Vec<Disk>> = Mutex::new(Vec::new());

fn disks() -> MutexGuard<'static, Vec<Disk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// From now on SQLite's files below the folder are on this disk.
    pub(crate) fn mount(folder: &Path) -> Self {
        static REGISTER: Once = Once::new();
        REGISTER.call_once(|| sqlite_vfs::register("world", World, true).unwrap());
        let disk = Self { folder: folder.to_owned(), state: Arc::default() };
        disks().push(disk.clone());
        disk
    }

    pub(crate) fn unmount(&self) {
        disks().retain(|disk| disk.folder != self.folder);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refuse(&self, what: Refused, times: u32) {
        self.state().refused.insert(what, times);
    }

    /// Whether a sync has failed: then a power cut may leave a mixture of two times.
    pub(crate) fn deceives(&self) -> bool {
        self.state().deceives
    }

    /// It does all that it should again.
    pub(crate) fn mend(&self) {
        self.state().refused.clear();
    }

    /// What is left of a file when the power is cut now; `None` if there is no such file.
    pub(crate) fn after_power_cut(&self, path: &Path, rng: &mut Rng) -> Option<Vec<u8>> {
        let mut bytes = fs::read(path).ok()?;
        let state = self.state();
        let Some(kept) = state.files.get(path.to_str()?) else { return Some(bytes) };
        for write in kept.writes.iter().rev() {
            put(&mut bytes, write.offset, &write.old, write.old_len);
        }
        let likely = [0.0, 0.5, 0.9, 1.0][rng.usize(..4)];
        for write in &kept.writes {
            if write.fate == Fate::Durable || rng.f64() < likely {
                put(&mut bytes, write.offset, &write.new, write.new_len);
            }
        }
        Some(bytes)
    }

    /// A file is the other one now, with all that a power cut may still undo.
    pub(crate) fn carry(&self, from: &Path, to: &Path) {
        let (Some(from), Some(to)) = (from.to_str(), to.to_str()) else { return };
        let mut state = self.state();
        let writes = std::mem::take(&mut state.file(from).writes);
        state.file(to).writes = writes;
    }

    /// Files below this folder are gone.
    pub(crate) fn forget(&self, folder: &Path) {
        self.state().files.retain(|path, _| !Path::new(path).starts_with(folder));
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, what: &[u8], len: u64) {
    bytes.resize(len as usize, 0);
    let from = (offset as usize).min(bytes.len());
    let to = (from + what.len()).min(bytes.len());
    bytes[from..to].copy_from_slice(&what[..to - from]);
}

impl State {
    fn is_refused(&mut self, what: Refused) -> bool {
        let left = self.refused.get_mut(&what).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    fn file(&mut self, path: &str) -> &mut Kept {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), Kept::default());
        }
        self.files.get_mut(path).expect("it was just put there")
    }
}

/// What SQLite sees.
struct World;

pub(crate) struct Handle {
    disk: Disk,
    path: String,
    file: File,
    number: u64,
    lock: LockKind,
}

impl Vfs for World {
    type Handle = Handle;

    fn open(&self, path: &str, options: OpenOptions) -> io::Result<Handle> {
        let disk = disks().iter().find(|disk| Path::new(path).starts_with(&disk.folder)).cloned();
        let disk = disk.ok_or_else(|| io::Error::other("no world has this file"))?;
        let mut open = File::options();
        open.read(true).write(options.access != OpenAccess::Read);
        match options.access {
            OpenAccess::Create => open.create(true).truncate(false),
            OpenAccess::CreateNew => open.create_new(true),
            OpenAccess::Read | OpenAccess::Write => &mut open,
        };
        let file = open.open(path)?;
        let mut state = disk.state();
        state.handles += 1;
        let number = state.handles;
        drop(state);
        Ok(Handle { disk, path: path.to_owned(), file, number, lock: LockKind::None })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        for disk in disks().iter() {
            disk.state().files.remove(path);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        fs::exists(path)
    }

    fn temporary_name(&self) -> String {
        unreachable!("temporary tables are in memory")
    }

    fn random(&self, buffer: &mut [i8]) {
        let mut rng = Rng::with_seed(1);
        buffer.fill_with(|| rng.i8(..));
    }

    fn sleep(&self, duration: Duration) -> Duration {
        duration
    }
}

impl Handle {
    fn remember(&mut self, offset: u64, new: &[u8], new_len: u64) -> io::Result<()> {
        let old_len = self.size()?;
        let end = if new.is_empty() { old_len } else { old_len.min(offset + new.len() as u64) };
        let mut old = vec![0; end.saturating_sub(offset) as usize];
        self.file.read_exact_at(&mut old, offset.min(old_len))?;
        let write = Write { offset, old, old_len, new: new.to_vec(), new_len, fate: Fate::Pending };
        self.disk.state().file(&self.path).writes.push(write);
        Ok(())
    }
}

impl DatabaseHandle for Handle {
    type WalIndex = Index;

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                // SQLite wants the rest of a short read to be zero.
                0 => {
                    buffer[filled..].fill(0);
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                len => filled += len,
            }
        }
        Ok(())
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (end, len) = (offset + bytes.len() as u64, self.size()?);
        if end > len && self.disk.state().is_refused(Refused::Space) {
            return Err(ErrorKind::WriteZero.into());
        }
        if self.disk.state().is_refused(Refused::Write) {
            return Err(io::Error::other("the disk does not write"));
        }
        self.remember(offset, bytes, len.max(end))?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, _: bool) -> io::Result<()> {
        let mut state = self.disk.state();
        let refused = state.is_refused(Refused::Sync);
        let writes = &mut state.file(&self.path).writes;
        let fate = if refused { Fate::Lost } else { Fate::Durable };
        let pending = writes.iter_mut().filter(|write| write.fate == Fate::Pending);
        pending.for_each(|write| write.fate = fate);
        if refused {
            state.deceives = true;
            return Err(io::Error::other("the disk does not sync"));
        }
        if writes.iter().all(|write| write.fate == Fate::Durable) {
            writes.clear();
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.remember(len, &[], len)?;
        self.file.set_len(len)
    }

    fn lock(&mut self, lock: LockKind) -> io::Result<bool> {
        let (number, mut state) = (self.number, self.disk.state());
        let kept = state.file(&self.path);
        let other = kept.writer.filter(|(owner, _)| *owner != number).map(|(_, kind)| kind);
        let alone = kept.shared.iter().all(|owner| *owner == number);
        let granted = match lock {
            LockKind::None => true,
            LockKind::Shared => {
                self.lock >= LockKind::Shared || other.is_none_or(|kind| kind == LockKind::Reserved)
            }
            LockKind::Reserved | LockKind::Pending => other.is_none(),
            LockKind::Exclusive => other.is_none() && alone,
        };
        if !granted {
            return Ok(false);
        }
        kept.shared.retain(|owner| *owner != number);
        if lock != LockKind::None {
            kept.shared.push(number);
        }
        if other.is_none() {
            kept.writer = (lock > LockKind::Shared).then_some((number, lock));
        }
        self.lock = lock;
        Ok(true)
    }

    fn reserved(&mut self) -> io::Result<bool> {
        Ok(self.disk.state().file(&self.path).writer.is_some())
    }

    fn current_lock(&self) -> io::Result<LockKind> {
        Ok(self.lock)
    }

    fn wal_index(&self, _: bool) -> io::Result<Index> {
        let (disk, path) = (self.disk.clone(), self.path.clone());
        Ok(Index { disk, path, number: self.number, seen: HashMap::new() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.lock(LockKind::None);
    }
}

/// What connections to one file share of its WAL.
pub(crate) struct Index {
    disk: Disk,
    path: String,
    number: u64,
    /// Which change of each region this connection has.
    seen: HashMap<u32, u64>,
}

impl WalIndex for Index {
    fn map(&mut self, region: u32) -> io::Result<Region> {
        let mut state = self.disk.state();
        let index = &mut state.file(&self.path).index;
        while index.len() <= region as usize {
            index.push((0, Box::new([0; 32768])));
        }
        let (change, found) = &index[region as usize];
        self.seen.insert(region, *change);
        Ok(**found)
    }

    fn lock(&mut self, slots: Range<u8>, lock: WalIndexLock) -> io::Result<bool> {
        let (number, mut state) = (self.number, self.disk.state());
        let all = &mut state.file(&self.path).index_locks;
        let slots = &mut all[usize::from(slots.start)..usize::from(slots.end)];
        let foreign = |slot: &Slot| slot.exclusive.is_some_and(|owner| owner != number);
        let shared = |slot: &Slot| slot.shared.iter().any(|owner| *owner != number);
        let refused = match lock {
            WalIndexLock::None => false,
            WalIndexLock::Shared => slots.iter().any(foreign),
            WalIndexLock::Exclusive => slots.iter().any(|slot| foreign(slot) || shared(slot)),
        };
        if refused {
            return Ok(false);
        }
        for slot in slots {
            slot.shared.retain(|owner| *owner != number);
            slot.exclusive = slot.exclusive.filter(|owner| *owner != number);
            match lock {
                WalIndexLock::None => {}
                WalIndexLock::Shared => slot.shared.push(number),
                WalIndexLock::Exclusive => slot.exclusive = Some(number),
            }
        }
        Ok(true)
    }

    fn delete(self) -> io::Result<()> {
        self.disk.state().file(&self.path).index.clear();
        Ok(())
    }

    fn pull(&mut self, region: u32, data: &mut Region) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Some((change, found)) = state.file(&self.path).index.get(region as usize)
            && self.seen.insert(region, *change) != Some(*change)
        {
            data.copy_from_slice(&**found);
        }
        Ok(())
    }

    fn push(&mut self, region: u32, data: &Region) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Some((change, found)) = state.file(&self.path).index.get_mut(region as usize)
            && **found != *data
        {
            *change += 1;
            self.seen.insert(region, *change);
            found.copy_from_slice(data);
        }
        Ok(())
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.lock(0..8, WalIndexLock::None);
    }
}
