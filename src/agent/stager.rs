//! What is staged when: changes → sealed batches → the buffer. No clock, and no waiting of its own.
//!
//! ```text
//!   begin, event, row, commit ─► builder ──full──► seal ─► Store ─► buffer
//! ```
//!
//! A transaction that outgrows a batch leaves in parts. Before its first part, the complete
//! transactions in front of it are committed with the checkpoint behind them: if the large one is
//! dropped later, its parts can be discarded without them.
//!
//! The reading thread and the simulation turn the same stager.

use std::sync::Arc;

use crate::batch::{self, BatchError, Begin, Builder, Commit, Sealed};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::Table;
use crate::position::{Checkpoint, Position, ServerId};

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub struct Full {
    /// About so many plain bytes.
    pub bytes_max: usize,
    /// So many row changes.
    pub rows_max: u32,
}

/// Where sealed batches go.
pub trait Store {
    /// Why staging cannot go on.
    type Error: From<BatchError>;

    /// Whether a schema has travelled already.
    fn knows(&self, fingerprint: u64) -> bool;

    /// Stages a part of a transaction that has not committed yet.
    fn part(&mut self, sealed: Sealed) -> Result<(), Self::Error>;

    /// Stages a batch together with the checkpoint behind it; parts become visible with it.
    fn commit(&mut self, sealed: Option<Sealed>, behind: &Checkpoint) -> Result<(), Self::Error>;

    /// Forgets the parts.
    fn discard(&mut self) -> Result<(), Self::Error>;
}

/// See the module.
pub struct Stager {
    builder: Builder,
    full: Full,
    /// Where the transactions in the builder lie.
    server: ServerId,
    file: String,
    /// Where the complete transactions in the builder end, if another one is open behind them.
    behind: Checkpoint,
}

impl Stager {
    /// With nothing to stage.
    pub fn new(settings: batch::Settings, full: Full) -> Self {
        let (server, file) = (ServerId::default(), String::new());
        Self { builder: Builder::new(settings), full, server, file, behind: Checkpoint::default() }
    }

    /// A transaction begins; `behind` is where the one before it ended.
    pub fn begin<S: Store>(
        &mut self,
        begin: Begin,
        behind: &Checkpoint,
        store: &mut S,
    ) -> Result<(), S::Error> {
        let Position { server, file, .. } = &begin.position;
        if (&self.server, &self.file) != (server, file) {
            // A batch names one file of one server, by which all of its positions are compared.
            self.flush(behind, store)?;
            self.server.clone_from(server);
            self.file.clone_from(file);
        }
        if self.builder.transactions() > 0 {
            self.behind.clone_from(behind);
        }
        self.builder.begin(begin);
        Ok(())
    }

    /// A rows event of the open transaction: what the rows that follow are of.
    pub fn event(
        &mut self,
        table: &Arc<Table>,
        operation: Operation,
        offset: u64,
        timestamp_s: u32,
    ) {
        self.builder.event(table, operation, offset, timestamp_s);
    }

    /// A row of the event; images that an operation does not have are empty.
    pub fn row<S: Store>(
        &mut self,
        before: &[Cell<'_>],
        after: &[Cell<'_>],
        store: &mut S,
    ) -> Result<(), S::Error> {
        self.builder.row(before, after);
        if !self.is_full() {
            return Ok(());
        }
        let behind = std::mem::take(&mut self.behind);
        self.flush(&behind, store)?;
        if !self.is_full() {
            return Ok(());
        }
        match self.builder.seal_part(|fingerprint| store.knows(fingerprint))? {
            Some(sealed) => store.part(sealed),
            None => Ok(()),
        }
    }

    /// As [`Builder::savepoint`].
    pub fn savepoint(&mut self, name: &[u8]) {
        self.builder.savepoint(name);
    }

    /// As [`Builder::rollback_to`].
    #[must_use]
    pub fn rollback_to(&mut self, name: &[u8]) -> bool {
        self.builder.rollback_to(name)
    }

    /// The open transaction ends; `behind` is where.
    pub fn commit<S: Store>(
        &mut self,
        commit: Commit,
        behind: &Checkpoint,
        store: &mut S,
    ) -> Result<(), S::Error> {
        if self.builder.parts() > 0 {
            let sealed = self.builder.seal_last_part(commit, |known| store.knows(known))?;
            return store.commit(sealed, behind);
        }
        self.builder.commit(commit);
        if self.is_full() { self.flush(behind, store) } else { Ok(()) }
    }

    /// Drops the open transaction, and what was staged of it.
    pub fn rollback<S: Store>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let parts = self.builder.parts();
        self.builder.rollback();
        if parts > 0 { store.discard() } else { Ok(()) }
    }

    /// Seals and stages the complete transactions; `behind` is where the last of them ended.
    pub fn flush<S: Store>(&mut self, behind: &Checkpoint, store: &mut S) -> Result<(), S::Error> {
        match self.builder.seal(|fingerprint| store.knows(fingerprint))? {
            Some(sealed) => store.commit(Some(sealed), behind),
            None => Ok(()),
        }
    }

    /// Whether a transaction is open.
    pub fn is_open(&self) -> bool {
        self.builder.is_open()
    }

    /// Complete transactions that are not staged yet.
    pub fn transactions(&self) -> usize {
        self.builder.transactions()
    }

    /// Whether the open transaction grows beyond half a batch: what is complete need not wait for
    /// its end.
    pub fn is_growing(&self) -> bool {
        self.builder.is_open() && self.builder.bytes() > self.full.bytes_max / 2
    }

    fn is_full(&self) -> bool {
        self.builder.bytes() >= self.full.bytes_max || self.builder.rows() >= self.full.rows_max
    }
}
