//! SHELL: a copy of the log as it was at one moment, while the collector goes on writing.
//!
//! All pages are copied within one read transaction: writers do not wait for it, and nothing that is committed
//! meanwhile is in the copy. It is made under another name and renamed when it is whole, checked and synced.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{KIND, LogError};
use crate::buffer::Fault;
use crate::buffer::file;

/// What was copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Copied {
    /// The last entry in the copy.
    pub last: u64,
    /// The copy's size in bytes.
    pub bytes: u64,
}

/// Copies the log, whether or not a collector has it open.
///
/// # Errors
/// [`LogError::Refused`] if there is no log, or something stands where the copy is to be: that is left as
/// it is. No half copy is left behind under its name.
pub fn backup(log: &Path, to: &Path) -> Result<Copied, LogError> {
    if fs::exists(to).map_err(Fault::from)? {
        return Err(LogError::Refused(format!("{} is there already", to.display())));
    }
    let from = file::open_read_only(log, &KIND)?;
    let new = file::beside(to, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Fault::from(error).into()),
        _ => {}
    }
    let copied = copy(&from, &new);
    if copied.is_err() {
        let _ = fs::remove_file(&new);
    }
    let copied = copied?;
    fs::rename(&new, to).map_err(Fault::from)?;
    file::sync_folder(to)?;
    Ok(copied)
}

fn copy(from: &Connection, new: &Path) -> Result<Copied, LogError> {
    file::create_private(new)?;
    let mut to = Connection::open(new)?;
    let copying = Backup::new(from, &mut to)?;
    // In one step, however large it is: in several, each commit of the collector would begin it anew.
    while copying.step(-1)? != StepResult::Done {
        std::thread::sleep(BUSY);
    }
    drop(copying);
    // So that the copy is one file.
    to.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    file::check(&to)?;
    let last = super::last(&to)?;
    to.close().map_err(|(_, error)| error)?;
    let file = File::open(new).map_err(Fault::from)?;
    file.sync_all().map_err(Fault::from)?;
    let bytes = file.metadata().map_err(Fault::from)?.len();
    Ok(Copied { last, bytes })
}

/// Before a copy that found the file locked is tried again.
const BUSY: Duration = Duration::from_millis(100);
