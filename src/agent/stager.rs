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
//! A prepared transaction (XA) leaves the builder in parts, too, and lies in the store under its name. When its
//! commit is read, the parts go through the same door once more, as a transaction that begins and ends with
//! that commit: so everything behind knows only transactions in the order of their commits.
//!
//! A rollback to a savepoint takes parts back, from the last one on.
//!
//! The reading thread and the simulation turn the same stager.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{
    self, Back, Batch, BatchError, Begin, Builder, Commit, Limits, Meta, RowChange, Sealed,
};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::Table;
use crate::buffer::{Part, Prepared};
use crate::position::{Checkpoint, Position, ServerId};

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub struct Full {
    /// About so many plain bytes, after some smaller ones: the first batches of a backlog are to be there
    /// soon.
    pub bytes_max: usize,
    /// So many row changes.
    pub rows_max: u32,
}

/// Where sealed batches go.
pub trait Store {
    /// Why staging cannot go on.
    type Error: From<BatchError>;

    /// Whether a schema has travelled already.
    fn knows(&mut self, fingerprint: u64) -> bool;

    /// Stages a part of a transaction that has not committed yet.
    fn part(&mut self, sealed: Sealed) -> Result<(), Self::Error>;

    /// Stages a batch together with the checkpoint behind it; parts become visible with it.
    fn commit(&mut self, sealed: Option<Sealed>, behind: &Checkpoint) -> Result<(), Self::Error>;

    /// Forgets the parts.
    fn discard(&mut self) -> Result<(), Self::Error>;

    /// Takes the last part back. `None` if there is none.
    fn take_part(&mut self) -> Result<Option<Part>, Self::Error>;

    /// The parts staged so far, and this last one, are a prepared transaction.
    fn prepare(
        &mut self,
        name: &[u8],
        last: Option<Sealed>,
        begins: &Checkpoint,
        behind: &Checkpoint,
    ) -> Result<(), Self::Error>;

    /// The prepared transaction of this name; `None` if there is none.
    fn prepared(&mut self, name: &[u8]) -> Result<Option<Prepared>, Self::Error>;

    /// A part of it.
    fn prepared_part(&mut self, prepared: &Prepared, part: u32) -> Result<Part, Self::Error>;

    /// It ends with the next [`Store::commit`] or [`Store::prepare`].
    fn end(&mut self, name: &[u8], committed: bool);

    /// A schema that was staged before.
    fn schema(&mut self, fingerprint: u64) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// See the module.
pub struct Stager {
    builder: Builder,
    full: Full,
    /// Plain bytes of the next full batch: doubles with each, until [`Stager::rest`].
    bytes_full: usize,
    /// Where the transactions in the builder lie.
    server: ServerId,
    file: String,
    /// Where the complete transactions in the builder end, if another one is open behind them.
    behind: Checkpoint,
}

impl Stager {
    /// With nothing to stage.
    pub fn new(settings: batch::Settings, full: Full) -> Self {
        Self {
            builder: Builder::new(settings),
            full,
            bytes_full: first_bytes(full),
            server: ServerId::default(),
            file: String::new(),
            behind: Checkpoint::default(),
        }
    }

    /// A transaction begins; `behind` is where the one before it ended.
    pub fn begin<S: Store>(
        &mut self,
        begin: &Begin,
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
        self.grow();
        let behind = std::mem::take(&mut self.behind);
        self.flush(&behind, store)?;
        self.behind = behind;
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

    /// Takes the open transaction back to a savepoint. False if there is none of this name: then it
    /// cannot be restored.
    pub fn rollback_to<S: Store>(&mut self, name: &[u8], store: &mut S) -> Result<bool, S::Error> {
        let rows = match self.builder.rollback_to(name) {
            None => return Ok(false),
            Some(Back::Done) => return Ok(true),
            Some(Back::ToRow(rows)) => rows,
        };
        while self.builder.rows_before() > rows {
            let Some(part) = store.take_part()? else {
                return Err(BatchError::Short("parts of the transaction").into());
            };
            let (meta, batch, tables) = reopen(&part, store)?;
            self.builder.unseal_part(meta.rows);
            let mut keep = rows.saturating_sub(self.builder.rows_before());
            if keep == 0 {
                continue;
            }
            let mut event = None;
            batch.replay(
                0,
                |fingerprint| tables.get(&fingerprint).cloned(),
                |change| {
                    if keep > 0 {
                        keep -= 1;
                        self.builder.regain_savepoints();
                        if event.replace(place(change)) != Some(place(change)) {
                            let RowChange { table, operation, offset, timestamp_s, row, .. } =
                                *change;
                            self.builder.event_from(
                                table,
                                operation,
                                offset,
                                timestamp_s,
                                row.into(),
                            );
                        }
                        self.builder.row_again(change.before, change.after);
                    }
                    Ok::<_, BatchError>(())
                },
            )?;
        }
        self.builder.regain_savepoints();
        Ok(true)
    }

    /// The open transaction is prepared; `begins` is where the one before it ended, `behind` what is read now.
    pub fn prepare<S: Store>(
        &mut self,
        name: &[u8],
        begins: &Checkpoint,
        behind: &Checkpoint,
        store: &mut S,
    ) -> Result<(), S::Error> {
        self.flush(begins, store)?;
        let last = match self.builder.rows() {
            0 => None,
            _ => self.builder.seal_part(|fingerprint| store.knows(fingerprint))?,
        };
        self.builder.rollback();
        store.prepare(name, last, begins, behind)
    }

    /// A prepared transaction is committed by the event at `offset`, under which its rows count. False if
    /// there is none of this name.
    ///
    /// `begins` is where the transaction before ended, `behind` where this one does.
    pub fn commit_prepared<S: Store>(
        &mut self,
        name: &[u8],
        (begin, offset): (&Begin, u64),
        (commit, behind): (Commit, &Checkpoint),
        begins: &Checkpoint,
        store: &mut S,
    ) -> Result<bool, S::Error> {
        let Some(prepared) = store.prepared(name)? else { return Ok(false) };
        self.begin(begin, begins, store)?;
        for part in 0..prepared.parts {
            let part = store.prepared_part(&prepared, part)?;
            let (_, batch, tables) = reopen(&part, store)?;
            let mut event = None;
            batch.replay(
                0,
                |fingerprint| tables.get(&fingerprint).cloned(),
                |change| {
                    if event.replace(place(change)) != Some(place(change)) {
                        let RowChange { table, operation, timestamp_s, .. } = *change;
                        self.builder.event(table, operation, offset, timestamp_s);
                    }
                    self.row(change.before, change.after, store)
                },
            )?;
        }
        store.end(name, true);
        self.commit(commit, behind, store)?;
        Ok(true)
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
        if !self.is_full() {
            return Ok(());
        }
        self.grow();
        self.flush(behind, store)
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

    /// All that was read is at the link, or there already: what comes next is to leave soon, in small batches first.
    pub fn rest(&mut self) {
        self.bytes_full = first_bytes(self.full);
    }

    /// Nothing has come for a while: the memory of what came is given back.
    pub fn give_back(&mut self) {
        self.builder.give_back();
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
        self.builder.open_bytes() > self.bytes_full / 2
    }

    fn is_full(&self) -> bool {
        self.builder.bytes() >= self.bytes_full || self.builder.rows() >= self.full.rows_max
    }

    fn grow(&mut self) {
        self.bytes_full = (2 * self.bytes_full).min(self.full.bytes_max);
    }
}

/// Compressed, this fits into what a new connection may have under way.
const FIRST_BYTES: usize = 32 * 1024;

fn first_bytes(full: Full) -> usize {
    full.bytes_max.min(FIRST_BYTES)
}

/// Opens a part that was sealed here, and finds the tables of its rows.
fn reopen<S: Store>(part: &Part, store: &mut S) -> Result<(Meta, Batch, Tables), S::Error> {
    let meta = Meta::decode(&part.meta)?;
    let batch = Batch::open(&meta, &part.body, Limits::default())?;
    let mut tables = HashMap::new();
    for fingerprint in batch.tables() {
        if let Some(record) = store.schema(*fingerprint)? {
            tables.insert(*fingerprint, Arc::new(batch::decode_schema(&record)?));
        }
    }
    Ok((meta, batch, tables))
}

/// By fingerprint.
type Tables = HashMap<u64, Arc<Table>>;

/// What tells one rows event of a part from the next.
fn place(change: &RowChange<'_>) -> (*const Table, Operation, u64) {
    (Arc::as_ptr(change.table), change.operation, change.offset)
}
