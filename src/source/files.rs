//! SHELL: binlog files on this machine, read as a replica reads the stream.
//!
//! One file, or all that an index file (`binlog.index`) lists, in its order: folders are never
//! searched, for servers keep other files beside their logs. A growing file is looked at every
//! 10 ms after activity, and less and less often, up to every 250 ms, without.
//!
//! | what is seen at the end of a file | what follows |
//! |---|---|
//! | more bytes | they are read |
//! | the index lists another file behind it | that one; a torn transaction at the end is dropped |
//! | the file is shorter than what was read of it | MySQL truncated it after a crash: read again from the checkpoint |
//! | nothing | wait, or [`Fill::End`] if files are not followed |

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::SourceError;
use crate::binlog::frame::Framer;
use crate::mysql::channel::Stopper;
use crate::position::ServerId;

/// Which files.
#[derive(Clone, Debug)]
pub struct FilesSettings {
    /// A binlog file, an index file (its name ends in `.index`), or a folder with one index file.
    pub path: PathBuf,
    /// Whether to wait for more at the end.
    pub follow: bool,
    /// Who wrote them, if neither the folder's `auto.cnf` nor the server id in the files shall say.
    pub identity: Option<ServerId>,
}

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Read at once.
const READ: usize = 64 << 10;
/// MySQL removes its index before it gives the new one that name; so long it may be missing.
const INDEX_MISSING: Duration = Duration::from_secs(2);
/// No server's list of logs is longer.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// What came of looking for more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fill {
    /// More bytes, or events at hand.
    More,
    /// None by the deadline.
    Idle,
    /// Reading goes on at the beginning of the next file.
    NextFile,
    /// The file lost bytes that were read.
    Shrunk,
    /// There will be no more.
    End,
}

/// A reader of files.
#[derive(Debug)]
pub(super) struct Files {
    /// The index, or `None` for one file alone.
    index: Option<PathBuf>,
    folder: PathBuf,
    follow: bool,
    file: File,
    /// The file's name without its folder.
    pub(super) name: String,
    pub(super) framer: Framer,
    /// The framer holds no whole event.
    pub(super) dry: bool,
    /// Bytes of the file handed to the framer: where the next read is.
    read: u64,
    pause: Duration,
    event_bytes_max: u32,
    stopper: Stopper,
}

impl Files {
    /// Opens the first file, the last one, or the one named.
    pub(super) fn open(
        settings: &FilesSettings,
        which: Which<'_>,
        event_bytes_max: u32,
        stopper: &Stopper,
    ) -> Result<Self, SourceError> {
        let index = find_index(&settings.path)?;
        let folder = match &index {
            Some(index) => index.parent(),
            None => settings.path.parent(),
        };
        let folder = folder.unwrap_or(Path::new("")).to_owned();
        let path = match &index {
            None => settings.path.clone(),
            Some(index) => {
                let entries = read_index(index, stopper)?;
                let found = match which {
                    Which::First => entries.first(),
                    Which::Last => entries.last(),
                    Which::Named(name) => entries.iter().find(|entry| file_name(entry) == name),
                };
                let wanted = if let Which::Named(name) = which { name } else { "any file" };
                let entry = found.ok_or_else(|| SourceError::FilePurged {
                    file: wanted.to_owned(),
                    index: index.clone(),
                })?;
                folder.join(entry)
            }
        };
        if let (None, Which::Named(name)) = (&index, which)
            && file_name_of(&path) != name
        {
            return Err(SourceError::FilePurged { file: name.to_owned(), index: path });
        }
        Ok(Self {
            index,
            folder,
            follow: settings.follow,
            file: open(&path)?,
            name: file_name_of(&path),
            framer: Framer::new().with_event_bytes_max(event_bytes_max),
            dry: true,
            read: 0,
            pause: PAUSE_MIN,
            event_bytes_max,
            stopper: stopper.clone(),
        })
    }

    /// Goes on at an offset of this file, where an event must start.
    pub(super) fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| self.failed(error))?;
        self.framer = Framer::resume(offset).with_event_bytes_max(self.event_bytes_max);
        (self.read, self.dry) = (offset, true);
        Ok(())
    }

    /// The file's length now, bytes.
    pub(super) fn len(&self) -> Result<u64, SourceError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed(error))
    }

    /// Looks for more bytes until then.
    pub(super) fn fill(&mut self, deadline: Instant) -> Result<Fill, SourceError> {
        loop {
            if self.stopper.stopped() {
                return Err(SourceError::Stopped);
            }
            if self.read_more()? {
                return Ok(Fill::More);
            }
            if self.len()? < self.read {
                return Ok(Fill::Shrunk);
            }
            if let Some(next) = self.next_file()? {
                // What the server wrote before it began the next file is there by now.
                if self.read_more()? {
                    return Ok(Fill::More);
                }
                self.file = open(&next)?;
                self.name = file_name_of(&next);
                self.seek(0)?;
                return Ok(Fill::NextFile);
            }
            if !self.follow {
                return Ok(Fill::End);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Fill::Idle);
            }
            self.stopper.sleep_until(deadline.min(now + self.pause));
            self.pause = (self.pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// Reads what is there, without waiting and within this file.
    pub(super) fn fill_once(&mut self) -> Result<Fill, SourceError> {
        Ok(if self.read_more()? { Fill::More } else { Fill::Idle })
    }

    fn read_more(&mut self) -> Result<bool, SourceError> {
        loop {
            match self.file.read(self.framer.space(READ)) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.framer.filled(count);
                    self.read += count as u64;
                    self.pause = PAUSE_MIN;
                    self.dry = false;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// The file behind this one in the index, if there is one by now.
    fn next_file(&self) -> Result<Option<PathBuf>, SourceError> {
        let Some(index) = &self.index else { return Ok(None) };
        let entries = read_index(index, &self.stopper)?;
        let here = entries.iter().position(|entry| file_name(entry) == self.name);
        // Purged while we read it: what follows is not known to be what came next.
        let Some(here) = here else {
            return Err(SourceError::FilePurged { file: self.name.clone(), index: index.clone() });
        };
        Ok(entries.get(here + 1).map(|entry| self.folder.join(entry)))
    }

    fn failed(&self, error: std::io::Error) -> SourceError {
        SourceError::File { path: self.folder.join(&self.name), error }
    }
}

/// With which file to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    First,
    Last,
    Named(&'a str),
}

/// The index file that a path means; `None` if it is a binlog itself.
fn find_index(path: &Path) -> Result<Option<PathBuf>, SourceError> {
    let failed = |error| SourceError::File { path: path.to_owned(), error };
    if is_index(path) {
        return Ok(Some(path.to_owned()));
    }
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        // A relay log's index is a replica's own business.
        if is_index(&entry) && !file_name_of(&entry).contains("relay") {
            found.push(entry);
        }
    }
    match found.pop() {
        Some(one) if found.is_empty() => Ok(Some(one)),
        one => {
            let what = if one.is_none() {
                "no .index file in it"
            } else {
                "several .index files in it: name one"
            };
            Err(failed(std::io::Error::new(ErrorKind::NotFound, what)))
        }
    }
}

fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "index")
}

/// The entries of an index, one a line.
fn read_index(path: &Path, stopper: &Stopper) -> Result<Vec<String>, SourceError> {
    let failed = |error| SourceError::File { path: path.to_owned(), error };
    let mut text = String::new();
    let file = open_index(path, stopper)?;
    file.take(INDEX_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    entries(&text)
}

/// The entries in an index's text.
fn entries(text: &str) -> Result<Vec<String>, SourceError> {
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let up = Path::new(line).components().any(|part| part == Component::ParentDir);
            if up || file_name(line).is_empty() {
                return Err(SourceError::IndexEntry(line.to_owned()));
            }
            Ok(line.to_owned())
        })
        .collect()
}

/// Any text as an index: each entry is a line of it, names a file, and leads nowhere up.
pub(super) fn check_index(text: &str) {
    let Ok(entries) = entries(text) else { return };
    for entry in &entries {
        assert!(text.contains(entry) && !entry.contains('\n') && !file_name(entry).is_empty());
        assert!(!entry.split('/').any(|part| part == ".."), "{entry}");
    }
    assert!(entries.len() <= text.matches('\n').count());
}

fn open_index(path: &Path, stopper: &Stopper) -> Result<File, SourceError> {
    let deadline = Instant::now() + INDEX_MISSING;
    loop {
        match open(path) {
            Err(SourceError::File { error, .. })
                if error.kind() == ErrorKind::NotFound
                    && Instant::now() < deadline
                    && !stopper.stopped() =>
            {
                stopper.sleep_until(deadline.min(Instant::now() + PAUSE_MIN));
            }
            other => return other,
        }
    }
}

fn file_name(entry: &str) -> &str {
    entry.rsplit('/').next().unwrap_or(entry)
}

fn file_name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn open(path: &Path) -> Result<File, SourceError> {
    File::open(path).map_err(|error| SourceError::File { path: path.to_owned(), error })
}

/// `mysql:<server_uuid>` from the `auto.cnf` beside the logs, if it is there and readable.
pub(super) fn identity_beside(settings: &FilesSettings) -> Option<ServerId> {
    let path = &settings.path;
    let folder = if path.is_dir() { path.as_path() } else { path.parent()? };
    let text = fs::read_to_string(folder.join("auto.cnf")).ok()?;
    let uuid = text.lines().find_map(|line| line.trim().strip_prefix("server-uuid="))?;
    uuid.parse::<crate::position::Uuid>().ok().map(|uuid| ServerId(format!("mysql:{uuid}")))
}
