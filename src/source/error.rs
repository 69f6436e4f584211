//! What ends reading, where, and what to do about it. No I/O.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::binlog::frame::FrameError;
use crate::binlog::reader::DecodeError;
use crate::mysql::error::{MysqlError, Printable};

/// Why reading stopped. What mends itself (a lost connection, a busy server) is not among it: see
/// [`super::Status::trouble`].
#[derive(Debug)]
pub enum SourceError {
    /// A file or folder cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not (or no longer) in the index.
    FilePurged {
        /// Its name.
        file: String,
        /// The index.
        index: PathBuf,
    },
    /// An entry of the index leads out of where logs are.
    IndexEntry(String),
    /// The bytes of a file are not events.
    Frame {
        /// The file's name.
        file: String,
        /// Why.
        error: FrameError,
    },
    /// An event cannot be decoded exactly.
    Decode {
        /// The file's name.
        file: String,
        /// Where the event starts.
        offset: u64,
        /// Its type's number.
        kind: u8,
        /// `schema.table`, if it is of one.
        table: String,
        /// Why.
        error: DecodeError,
    },
    /// The server lost changes before it could log them.
    Incident {
        /// The file's name.
        file: String,
        /// Where the event starts.
        offset: u64,
        /// Its number and message.
        incident: String,
    },
    /// Rows of a table that no table map has announced.
    UnknownTable {
        /// The file's name.
        file: String,
        /// Where the event starts.
        offset: u64,
        /// The number that it is called by.
        table_id: u64,
    },
    /// The names of a table's columns cannot be proven.
    Names {
        /// `schema.table`.
        table: String,
        /// `file:offset` of its table map.
        position: String,
        /// Why not.
        why: String,
    },
    /// The server refuses, and asking again will not change that.
    Server(MysqlError),
    /// The position is another server's, and there are no GTIDs to translate it.
    ForeignServer {
        /// Whose it is.
        wanted: String,
        /// Who answers.
        found: String,
    },
    /// Transactions that were not yet read are no longer at the server.
    Purged {
        /// Which, in the server's own text.
        missing: String,
    },
    /// The server's log is not the one that was read: reset, restored, or failed over with loss.
    History {
        /// What shows it.
        what: String,
    },
    /// A setting of the server makes it unreadable.
    Setting {
        /// Its name and value.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The stopper was used.
    Stopped,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::FilePurged { file, index } => write!(
                f,
                "{} is not in {}: it was purged, and changes are lost to this reader; start anew, \
                 and keep logs longer",
                Printable(file),
                index.display()
            ),
            Self::IndexEntry(entry) => {
                write!(f, "the index names `{}`, which is no file of a log", Printable(entry))
            }
            Self::Frame { file, error } => write!(f, "{}: {error}", Printable(file)),
            Self::Decode { file, offset, kind, table, error } => {
                write!(f, "{}:{offset}: event of type {kind}", Printable(file))?;
                if !table.is_empty() {
                    write!(f, " of table {}", Printable(table))?;
                }
                write!(f, ": {error}")
            }
            Self::Incident { file, offset, incident } => write!(
                f,
                "{}:{offset}: {incident}; copy the tables anew, and start behind it",
                Printable(file)
            ),
            Self::UnknownTable { file, offset, table_id } => write!(
                f,
                "{}:{offset}: rows of table number {table_id}, which no table map has announced",
                Printable(file)
            ),
            Self::Names { table, position, why } => write!(
                f,
                "{}: the column names of {} cannot be proven: {}; set binlog_row_metadata=FULL at \
                 the server (for what comes), or `on_unknown_names = \"number\"`",
                Printable(position),
                Printable(table),
                Printable(why)
            ),
            Self::Server(error) => error.fmt(f),
            Self::ForeignServer { wanted, found } => write!(
                f,
                "the stored position is of server {}, this is {}, and without GTIDs it means \
                 nothing here",
                Printable(wanted),
                Printable(found)
            ),
            Self::Purged { missing } => write!(
                f,
                "transactions {} were purged before they were read: changes are lost to this \
                 reader; start anew, and keep logs longer",
                Printable(missing)
            ),
            Self::History { what } => write!(
                f,
                "this is another history than the one that was read: {}; the server was reset, \
                 restored or failed over with loss: start anew",
                Printable(what)
            ),
            Self::Setting { found, wanted } => {
                write!(f, "the server has {}, it must be {wanted}", Printable(found))
            }
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for SourceError {}

impl From<MysqlError> for SourceError {
    fn from(error: MysqlError) -> Self {
        match error {
            MysqlError::Stopped => Self::Stopped,
            other => Self::Server(other),
        }
    }
}
