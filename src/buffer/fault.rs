//! What can go wrong with a store in one SQLite file, sorted by what is to be done about it.

use std::fmt;
use std::io;

use rusqlite::ErrorCode;

/// A store cannot do what was asked.
#[derive(Debug)]
pub enum Fault {
    /// It must not be opened as it is: somebody has to look. One clear line.
    Refused(String),
    /// What SQLite or a checksum found broken, and cannot be mended here.
    Damaged(String),
    /// The disk does not take it now. Nothing of the call was stored; wait, then do it again.
    Disk {
        /// What the disk or the system said.
        cause: DiskCause,
        /// In SQLite's words.
        detail: String,
    },
    /// Anything else: a fault in this program.
    Sqlite(rusqlite::Error),
}

/// Why the disk does not take it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskCause {
    /// The disk has no space.
    Full,
    /// The store's own limit in bytes is reached.
    Quota,
    /// Reading, writing or syncing failed. The file is opened anew and checked before it is used again.
    Io,
    /// The file or its disk cannot be written.
    ReadOnly,
    /// Another process (a backup, a shell) holds the file's lock.
    Busy,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let disk = |cause| Self::Disk { cause, detail: error.to_string() };
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => disk(DiskCause::Full),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => disk(DiskCause::Io),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => disk(DiskCause::ReadOnly),
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => disk(DiskCause::Busy),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskCause::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                DiskCause::ReadOnly
            }
            _ => DiskCause::Io,
        };
        Self::Disk { cause, detail: error.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Damaged(why) => write!(
                f,
                "the file is damaged ({why}): move it aside, together with its -wal and -shm, and \
                 start again: what the collector does not have is then read again"
            ),
            Self::Disk { cause, detail } => {
                let cause = match cause {
                    DiskCause::Full => "the disk is full",
                    DiskCause::Quota => "the limit in bytes is reached",
                    DiskCause::Io => "the disk failed",
                    DiskCause::ReadOnly => "the disk is read-only",
                    DiskCause::Busy => "locked by another process",
                };
                write!(f, "{cause} ({detail})")
            }
            Self::Sqlite(error) => write!(f, "SQLite: {error}"),
        }
    }
}

impl std::error::Error for Fault {}
