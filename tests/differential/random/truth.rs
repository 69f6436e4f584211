//! What SELECT showed at one point of the log, on its way from the generator to both readers.
//!
//! The point is a row in a table of its own, `exam.mark`: whoever reads the log meets it between the
//! changes before and after the SELECT, be they within one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::column::{Column, Truth};

/// The tables that were looked at, and what they held.
#[derive(Debug)]
pub struct Snapshot {
    /// The mark's number.
    pub number: u64,
    pub tables: Vec<Seen>,
    /// The statements since the last one, for whoever has to find out what went wrong.
    pub statements: Vec<String>,
    /// Nothing follows.
    pub last: bool,
}

/// One table.
#[derive(Debug)]
pub struct Seen {
    pub schema: String,
    pub name: String,
    /// `None`: the table is gone.
    pub columns: Option<Arc<Vec<Column>>>,
    pub rows: Vec<Vec<Truth>>,
    /// The rows are as they are because of DDL, which logs none: they are taken over, not compared.
    pub altered: bool,
    /// Some row images were not full, so that a value may never have been logged.
    pub partial: bool,
}

/// How far one reader is.
#[derive(Debug, Default)]
pub struct Progress {
    /// The last mark that was reached.
    pub mark: AtomicU64,
    /// Values that were held against SELECT.
    pub values: AtomicU64,
    pub ended: AtomicBool,
    /// The generator has stopped before its end.
    pub given_up: AtomicBool,
}

/// The generator's end of the way to one reader.
pub struct Outlet {
    sender: SyncSender<Arc<Snapshot>>,
    pub progress: Arc<Progress>,
}

/// The reader's end.
pub struct Inlet {
    receiver: Receiver<Arc<Snapshot>>,
    pub progress: Arc<Progress>,
}

/// So many snapshots may wait; then the generator does.
const WAITING: usize = 200;
/// No statement takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn way() -> (Outlet, Inlet) {
    let (sender, receiver) = sync_channel(WAITING);
    let progress = Arc::new(Progress::default());
    (Outlet { sender, progress: Arc::clone(&progress) }, Inlet { receiver, progress })
}

impl Outlet {
    /// False if the reader has ended.
    pub fn send(&self, snapshot: &Arc<Snapshot>) -> bool {
        self.sender.send(Arc::clone(snapshot)).is_ok()
    }
}

impl Inlet {
    /// The snapshot of the mark that was just read.
    pub fn take(&self, number: u64) -> Result<Arc<Snapshot>, String> {
        match self.receiver.recv_timeout(PATIENCE) {
            Ok(snapshot) if snapshot.number == number => Ok(snapshot),
            Ok(snapshot) => Err(format!("mark {number} came where {} should", snapshot.number)),
            Err(RecvTimeoutError::Timeout) => Err(format!("mark {number} was never committed")),
            Err(RecvTimeoutError::Disconnected) => Err(GENERATOR_ENDED.to_owned()),
        }
    }
}

impl Inlet {
    /// What was done behind the last mark that was reached.
    pub fn next_statements(&self) -> Vec<String> {
        self.receiver.try_recv().map(|snapshot| snapshot.statements.clone()).unwrap_or_default()
    }
}

/// What a reader says when the other reader, or the generator, has given up.
pub const GENERATOR_ENDED: &str = "the generator has ended";

impl Progress {
    pub fn reach(&self, mark: u64, values: u64) {
        self.values.store(values, Ordering::Relaxed);
        self.mark.store(mark, Ordering::Release);
    }
}
