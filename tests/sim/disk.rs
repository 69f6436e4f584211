//! The disks of a world: what SQLite writes is here in memory, and a disk that is told to refuses.
//!
//! Every write is remembered until it is synced. A power cut keeps what was synced and of the rest some,
//! each write alone, so that later ones may be there without earlier ones. After a sync that failed the
//! system forgets that there was something to write: the next one succeeds and has not stored it.
//!
//! A real file of the same length stands for each, since stores are made, renamed and looked for by other
//! means than SQLite's. It has the bytes while nobody has it open.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::mem::take;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
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
    files: HashMap<PathBuf, Shared>,
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

type Shared = Arc<Mutex<Kept>>;

/// What is known of a file.
#[derive(Default)]
struct Kept {
    writes: Vec<Write>,
    /// The bytes that the writes speak of.
    written: Vec<u8>,
    /// Whoever has it open is dead: it has no rights and leaves nothing.
    dead: bool,
    shared: Vec<u64>,
    writer: Option<(u64, LockKind)>,
    /// With the number of its last change.
    index: Vec<(u64, Box<Region>)>,
    index_locks: [Slot; 8],
    /// While somebody has it open.
    open: Option<Open>,
}

/// A file's bytes, and the real file that has their length.
struct Open {
    bytes: Vec<u8>,
    file: File,
    handles: u32,
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
    old: Range<usize>,
    old_len: u64,
    new: Range<usize>,
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

fn alone<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// From now on SQLite's files below the folder are on this disk.
    pub(crate) fn mount(folder: &Path) -> Self {
        static REGISTER: Once = Once::new();
        REGISTER.call_once(|| sqlite_vfs::register("world", World, true).unwrap());
        let disk = Self { folder: folder.to_owned(), state: Arc::default() };
        alone(&DISKS).push(disk.clone());
        disk
    }

    pub(crate) fn unmount(&self) {
        self.forget(&self.folder);
        alone(&DISKS).retain(|disk| disk.folder != self.folder);
    }

    /// The disk of a file.
    fn of(path: &Path) -> Option<Self> {
        alone(&DISKS).iter().find(|disk| path.starts_with(&disk.folder)).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        alone(&self.state)
    }

    pub(crate) fn refuse(&self, what: Refused, times: u32) {
        self.state().refused.insert(what, times);
    }

    fn is_refused(&self, what: Refused) -> bool {
        let mut state = self.state();
        let left = state.refused.get_mut(&what).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    /// Whether a sync has failed: then a power cut may leave a mixture of two times.
    pub(crate) fn deceives(&self) -> bool {
        self.state().deceives
    }

    /// It does all that it should again.
    pub(crate) fn mend(&self) {
        self.state().refused.clear();
    }

    fn kept(&self, path: &Path) -> Option<Shared> {
        self.state().files.get(path).cloned()
    }

    /// A file's bytes; `None` if there is no such file.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let kept = self.kept(path);
        let bytes = kept.and_then(|kept| Some(alone(&kept).open.as_ref()?.bytes.clone()));
        bytes.or_else(|| fs::read(path).ok())
    }

    /// What is left of a file when the power is cut now; `None` if there is no such file.
    pub(crate) fn after_power_cut(&self, path: &Path, rng: &mut Rng) -> Option<Vec<u8>> {
        let mut bytes = self.read(path)?;
        let Some(kept) = self.kept(path) else { return Some(bytes) };
        let kept = alone(&kept);
        for write in kept.writes.iter().rev() {
            put(&mut bytes, write.offset, &kept.written[write.old.clone()], write.old_len);
        }
        let likely = [0.0, 0.5, 0.9, 1.0][rng.usize(..4)];
        for write in &kept.writes {
            if write.fate == Fate::Durable || rng.f64() < likely {
                put(&mut bytes, write.offset, &kept.written[write.new.clone()], write.new_len);
            }
        }
        Some(bytes)
    }

    /// A file is the other one now, with all that a power cut may still undo.
    pub(crate) fn carry(&self, from: &Path, to: &Path) {
        let Some(from) = self.kept(from) else { return };
        let mut from = alone(&from);
        let (writes, written) = (take(&mut from.writes), take(&mut from.written));
        let kept = Kept { writes, written, ..Kept::default() };
        self.state().files.insert(to.to_owned(), Arc::new(Mutex::new(kept)));
    }

    /// Files below this folder are gone, and who has them open with them.
    pub(crate) fn forget(&self, folder: &Path) {
        self.state().files.retain(|path, kept| {
            let is_below = path.starts_with(folder);
            alone(kept).dead |= is_below;
            !is_below
        });
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, what: &[u8], len: u64) {
    bytes.resize(len as usize, 0);
    let from = (offset as usize).min(bytes.len());
    let to = (from + what.len()).min(bytes.len());
    bytes[from..to].copy_from_slice(&what[..to - from]);
}

fn append(all: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    let from = all.len();
    all.extend_from_slice(bytes);
    from..all.len()
}

impl Kept {
    fn bytes(&self) -> &[u8] {
        &self.open.as_ref().expect("a handle keeps it open").bytes
    }

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// Changes the bytes, and remembers how they were.
    fn change(&mut self, offset: u64, new: &[u8], new_len: u64) -> io::Result<()> {
        let old_len = self.len();
        let end = if new.is_empty() { old_len } else { old_len.min(offset + new.len() as u64) };
        let Self { open, written, .. } = self;
        let open = open.as_mut().expect("a handle keeps it open");
        let old = open.bytes.get(offset as usize..end as usize).unwrap_or_default();
        let (old, new) = (append(written, old), append(written, new));
        put(&mut open.bytes, offset, &written[new.clone()], new_len);
        self.writes.push(Write { offset, old, old_len, new, new_len, fate: Fate::Pending });
        if old_len != new_len { open.file.set_len(new_len) } else { Ok(()) }
    }
}

/// What SQLite sees.
struct World;

pub(crate) struct Handle {
    disk: Disk,
    kept: Shared,
    number: u64,
    lock: LockKind,
}

impl Vfs for World {
    type Handle = Handle;

    fn open(&self, path: &str, options: OpenOptions) -> io::Result<Handle> {
        let path = Path::new(path);
        let disk = Disk::of(path).ok_or_else(|| io::Error::other("no world has this file"))?;
        let mut open = File::options();
        open.read(true).write(true);
        match options.access {
            OpenAccess::Create => open.create(true).truncate(false),
            OpenAccess::CreateNew => open.create_new(true),
            OpenAccess::Read | OpenAccess::Write => &mut open,
        };
        let file = open.open(path)?;
        let (number, mut kept) = {
            let mut state = disk.state();
            state.handles += 1;
            (state.handles, state.files.entry(path.to_owned()).or_default().clone())
        };
        let is_other = match &alone(&kept).open {
            Some(open) => open.file.metadata()?.ino() != file.metadata()?.ino(),
            None => false,
        };
        if is_other {
            // What was there was renamed or removed, and is in use nevertheless.
            kept = Shared::default();
            disk.state().files.insert(path.to_owned(), kept.clone());
        }
        alone(&kept).enter(file)?;
        Ok(Handle { disk, kept, number, lock: LockKind::None })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        let path = Path::new(path);
        if let Some(disk) = Disk::of(path) {
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

impl Kept {
    /// One more has it open.
    fn enter(&mut self, mut file: File) -> io::Result<()> {
        match &mut self.open {
            Some(open) => open.handles += 1,
            None => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                self.open = Some(Open { bytes, file, handles: 1 });
            }
        }
        Ok(())
    }

    /// One less. The last one leaves the bytes in the real file.
    fn leave(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.handles -= 1;
        if open.handles == 0 {
            if !self.dead {
                let _ = open.file.write_all_at(&open.bytes, 0);
            }
            self.open = None;
        }
    }
}

impl DatabaseHandle for Handle {
    type WalIndex = Index;

    fn size(&self) -> io::Result<u64> {
        Ok(alone(&self.kept).len())
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let kept = alone(&self.kept);
        let there = kept.bytes().get(offset as usize..).unwrap_or_default();
        let len = there.len().min(buffer.len());
        buffer[..len].copy_from_slice(&there[..len]);
        // SQLite wants the rest of a short read to be zero.
        buffer[len..].fill(0);
        if len < buffer.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut kept = alone(&self.kept);
        let (end, len) = (offset + bytes.len() as u64, kept.len());
        if end > len && self.disk.is_refused(Refused::Space) {
            return Err(ErrorKind::WriteZero.into());
        }
        if self.disk.is_refused(Refused::Write) {
            return Err(io::Error::other("the disk does not write"));
        }
        kept.change(offset, bytes, len.max(end))
    }

    fn sync(&mut self, _: bool) -> io::Result<()> {
        let refused = self.disk.is_refused(Refused::Sync);
        let mut kept = alone(&self.kept);
        let Kept { writes, written, .. } = &mut *kept;
        let fate = if refused { Fate::Lost } else { Fate::Durable };
        let pending = writes.iter_mut().filter(|write| write.fate == Fate::Pending);
        pending.for_each(|write| write.fate = fate);
        if refused {
            self.disk.state().deceives = true;
            return Err(io::Error::other("the disk does not sync"));
        }
        if writes.iter().all(|write| write.fate == Fate::Durable) {
            writes.clear();
            written.clear();
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        alone(&self.kept).change(len, &[], len)
    }

    fn lock(&mut self, lock: LockKind) -> io::Result<bool> {
        let (number, mut kept) = (self.number, alone(&self.kept));
        if kept.dead {
            return Ok(lock == LockKind::None);
        }
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
        Ok(alone(&self.kept).writer.is_some())
    }

    fn current_lock(&self) -> io::Result<LockKind> {
        Ok(self.lock)
    }

    fn wal_index(&self, _: bool) -> io::Result<Index> {
        Ok(Index { kept: self.kept.clone(), number: self.number, seen: HashMap::new() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.lock(LockKind::None);
        alone(&self.kept).leave();
    }
}

/// What connections to one file share of its WAL.
pub(crate) struct Index {
    kept: Shared,
    number: u64,
    /// Which change of each region this connection has.
    seen: HashMap<u32, u64>,
}

impl WalIndex for Index {
    fn map(&mut self, region: u32) -> io::Result<Region> {
        let index = &mut alone(&self.kept).index;
        while index.len() <= region as usize {
            index.push((0, Box::new([0; 32768])));
        }
        let (change, found) = &index[region as usize];
        self.seen.insert(region, *change);
        Ok(**found)
    }

    fn lock(&mut self, slots: Range<u8>, lock: WalIndexLock) -> io::Result<bool> {
        let (number, all) = (self.number, &mut alone(&self.kept).index_locks);
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
        alone(&self.kept).index.clear();
        Ok(())
    }

    fn pull(&mut self, region: u32, data: &mut Region) -> io::Result<()> {
        if let Some((change, found)) = alone(&self.kept).index.get(region as usize)
            && self.seen.insert(region, *change) != Some(*change)
        {
            data.copy_from_slice(&**found);
        }
        Ok(())
    }

    fn push(&mut self, region: u32, data: &Region) -> io::Result<()> {
        if let Some((change, found)) = alone(&self.kept).index.get_mut(region as usize)
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
