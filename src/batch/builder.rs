//! Changes → sealed batches.
//!
//! The builder holds complete transactions and at most one open one behind them. It never looks at
//! a clock: when to seal is the caller's decision. The open transaction can be rolled back, wholly or
//! to a savepoint; rows that have left with a part are the caller's to bring back.
//!
//! Rows of one offset are numbered on through all events of it, so that file, offset and number tell a
//! row: events of a prepared (XA) transaction all count where it commits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use zstd::bulk::Compressor;

use crate::binlog::numbering::Numbering;
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::Table;
use crate::binlog::transaction::SAVEPOINTS_MAX;
use crate::position::Position;

use super::body::{Body, EventRow, GroupRecord, LAST_OFFSET, OFFSET, Origin, TransactionRow, ends};
use super::group::{Group, has_shape, shape};
use super::{BatchError, Meta, encode_schema, fingerprint, ints};

/// How batches are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// zstd's level, 1 and up; 0 for no compression.
    pub level: i32,
}

/// A transaction's first event.
#[derive(Clone, Debug, Default)]
pub struct Begin {
    /// Where its first event starts; with its GTID where there is one.
    pub position: Position,
    /// When that file was created, Unix seconds; 0 if not known.
    pub file_created_s: u32,
    /// The event's timestamp, Unix seconds.
    pub timestamp_s: u32,
    /// The server_id in its header.
    pub server_id: u32,
    /// The session that wrote it, where the log says so.
    pub thread: Option<u32>,
    /// When it was committed, microseconds since 1970, where the log says so.
    pub committed_us: Option<u64>,
}

/// A transaction's last event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commit {
    /// Where the event ends.
    pub end_offset: u64,
    /// The storage engine's transaction number, where there is one.
    pub xid: Option<u64>,
}

/// A batch without an identity: what is staged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sealed {
    /// [`Meta`], encoded.
    pub meta: Vec<u8>,
    /// The compressed body.
    pub body: Vec<u8>,
    /// Bytes of the body before it was compressed.
    pub plain_len: u32,
    /// Row changes in it.
    pub rows: u32,
    /// Transactions that end in it.
    pub transactions: u32,
    /// The schema records that it carries.
    pub schemas: Vec<(u64, Vec<u8>)>,
}

/// A place in the builder to which rows can be taken back.
#[derive(Clone, Debug, Default)]
struct Mark {
    events: usize,
    /// Rows in the last event.
    event_rows: u64,
    transactions: usize,
    /// Rows per group.
    groups: Vec<usize>,
    bytes: usize,
    rows: u32,
}

/// A savepoint of the open transaction.
#[derive(Debug)]
struct Savepoint {
    name: Vec<u8>,
    /// Rows of the transaction before it.
    rows: u64,
    /// `None` if some of the rows before it have left with a part.
    mark: Option<Mark>,
}

/// How a rollback to a savepoint goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Back {
    /// It is done.
    Done,
    /// Rows have left with parts: to be taken back until the transaction has so many rows.
    ToRow(u64),
}

/// The transaction that has begun and not ended.
#[derive(Debug, Default)]
struct Open {
    position: Position,
    file_created_s: u32,
    row: TransactionRow,
    /// Where it begins in the builder.
    mark: Mark,
    /// The newest last.
    savepoints: Vec<Savepoint>,
    /// Parts sealed so far, and the rows in them.
    parts: u32,
    rows_before: u64,
    numbering: Numbering,
}

/// Collects changes until they are sealed.
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
    groups: Vec<Group>,
    fingerprints: HashMap<*const Table, (Arc<Table>, u64)>,
    files: Vec<String>,
    origins: Vec<Origin>,
    transactions: Vec<TransactionRow>,
    events: Vec<EventRow>,
    open: Option<Open>,
    /// The memory of the one before it.
    ended: Open,
    /// The event that rows go to.
    event: Option<(Arc<Table>, Operation, EventRow)>,
    /// Where the first complete transaction begins, and when its file was created; without one, only its memory
    /// counts.
    first: (Position, u32),
    /// Where the last one ends.
    last: Position,
    bytes: usize,
    rows: u32,
    scratch: Vec<u64>,
    differences: Vec<u64>,
    /// The groups that the batch which is being sealed has rows of.
    used: Vec<u64>,
    /// The last batch's body, of which only the memory counts.
    spare: Body,
}

/// Fingerprints remembered by a table's address; beyond it all are forgotten and computed anew.
const FINGERPRINTS_MAX: usize = 256;

impl Builder {
    /// An empty builder.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            groups: Vec::new(),
            fingerprints: HashMap::new(),
            files: Vec::new(),
            origins: Vec::new(),
            transactions: Vec::new(),
            events: Vec::new(),
            open: None,
            ended: Open::default(),
            event: None,
            first: Default::default(),
            last: Position::default(),
            bytes: 0,
            rows: 0,
            scratch: Vec::new(),
            differences: Vec::new(),
            used: Vec::new(),
            spare: Body::default(),
        }
    }

    /// A transaction begins. One that is open is rolled back.
    pub fn begin(&mut self, begin: &Begin) {
        self.rollback();
        let mut open = std::mem::take(&mut self.ended);
        open.row = TransactionRow {
            first_offset: begin.position.offset,
            timestamp_s: u64::from(begin.timestamp_s),
            server_id: u64::from(begin.server_id),
            thread: begin.thread.map_or(0, |thread| u64::from(thread) + 1),
            committed_us: begin.committed_us.unwrap_or(0),
            ..TransactionRow::default()
        };
        open.position.clone_from(&begin.position);
        open.file_created_s = begin.file_created_s;
        self.mark_in(&mut open.mark);
        open.savepoints.clear();
        (open.parts, open.rows_before) = (0, 0);
        open.numbering = Numbering::default();
        self.open = Some(open);
    }

    /// A rows event of the open transaction: what the rows that follow are of.
    pub fn event(
        &mut self,
        table: &Arc<Table>,
        operation: Operation,
        offset: u64,
        timestamp_s: u32,
    ) {
        let first_row = self.open.as_mut().map_or(0, |open| open.numbering.event(offset));
        self.event_from(table, operation, offset, timestamp_s, first_row);
    }

    /// The same, if its first rows are elsewhere.
    pub fn event_from(
        &mut self,
        table: &Arc<Table>,
        operation: Operation,
        offset: u64,
        timestamp_s: u32,
        first_row: u64,
    ) {
        let timestamp_s = u64::from(timestamp_s);
        let event = EventRow { offset, timestamp_s, first_row, ..EventRow::default() };
        self.event = Some((Arc::clone(table), operation, event));
    }

    /// A row of the event; images that an operation does not have are empty.
    pub fn row(&mut self, before: &[Cell<'_>], after: &[Cell<'_>]) {
        if let Some(open) = &mut self.open {
            open.numbering.rows(1);
        }
        self.row_again(before, after);
    }

    /// The same for a row that was here before, and was numbered then.
    pub fn row_again(&mut self, before: &[Cell<'_>], after: &[Cell<'_>]) {
        if self.event.as_ref().is_some_and(|(.., event)| event.rows == 0) {
            self.first_row(before, after);
        }
        let (.., event) = self.event.as_mut().expect("a row follows its event");
        event.rows += 1;
        if let Some(last) = self.events.last_mut() {
            last.rows = event.rows;
        }
        if let Some(group) = self.groups.get_mut(event.group as usize) {
            self.bytes += group.push(before, after);
        }
        self.rows += 1;
    }

    /// All rows of one event have images of one shape, so the first one's group serves all.
    fn first_row(&mut self, before: &[Cell<'_>], after: &[Cell<'_>]) {
        let Some((table, operation, mut event)) = self.event.take() else { return };
        event.group = self.group(&table, operation, before, after) as u64;
        self.events.push(event);
        self.event = Some((table, operation, event));
    }

    /// Remembers a savepoint of the open transaction; one of the same name is replaced.
    pub fn savepoint(&mut self, name: &[u8]) {
        let (mark, rows) = (self.mark(), self.open_rows());
        if let Some(open) = &mut self.open {
            open.savepoints.retain(|known| known.name != name);
            if open.savepoints.len() >= SAVEPOINTS_MAX {
                open.savepoints.remove(0);
            }
            open.savepoints.push(Savepoint { name: name.to_owned(), rows, mark: Some(mark) });
        }
    }

    /// Takes the open transaction back to a savepoint; `None` if there is no such savepoint (or one
    /// older than a thousand others): then the transaction cannot be restored.
    ///
    /// With [`Back::ToRow`] its rows here are gone, and the caller goes on with [`Builder::unseal_part`].
    #[must_use]
    pub fn rollback_to(&mut self, name: &[u8]) -> Option<Back> {
        let open = self.open.as_mut()?;
        let at = open.savepoints.iter().position(|known| known.name == name)?;
        open.savepoints.truncate(at + 1);
        let savepoint = open.savepoints.get(at)?;
        let (mark, rows) = (savepoint.mark.clone(), savepoint.rows);
        let start = open.mark.clone();
        self.truncate(mark.as_ref().unwrap_or(&start));
        Some(if mark.is_some() { Back::Done } else { Back::ToRow(rows) })
    }

    /// The last sealed part of the open transaction, which had so many rows, is no more: its rows, or the
    /// first of them, come again.
    pub fn unseal_part(&mut self, rows: u32) {
        if let Some(open) = &mut self.open {
            open.parts = open.parts.saturating_sub(1);
            open.rows_before = open.rows_before.saturating_sub(rows.into());
        }
    }

    /// Rows of the open transaction, here and in its parts.
    pub fn open_rows(&self) -> u64 {
        let rows = |open: &Open| open.rows_before + u64::from(self.rows - open.mark.rows);
        self.open.as_ref().map_or(0, rows)
    }

    /// Rows of the open transaction that have left with its parts.
    pub fn rows_before(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.rows_before)
    }

    /// Savepoints before whose first row the transaction stands again can be gone back to here.
    pub fn regain_savepoints(&mut self) {
        let rows = self.open_rows();
        let lost = |open: &Open| {
            open.savepoints.iter().any(|known| known.mark.is_none() && known.rows == rows)
        };
        if self.open.as_ref().is_some_and(lost) {
            let mark = self.mark();
            let savepoints = self.open.iter_mut().flat_map(|open| &mut open.savepoints);
            for savepoint in savepoints.filter(|known| known.mark.is_none() && known.rows == rows) {
                savepoint.mark = Some(mark.clone());
            }
        }
    }

    /// Drops the open transaction. Parts of it that were sealed are the caller's to discard.
    pub fn rollback(&mut self) {
        self.event = None;
        if let Some(open) = self.open.take() {
            self.truncate(&open.mark);
            self.ended = open;
        }
    }

    /// The open transaction ends and is complete; without rows it leaves no trace.
    pub fn commit(&mut self, commit: Commit) {
        self.event = None;
        let Some(mut open) = self.open.take() else { return };
        let events = self.events.len() - open.mark.events;
        if events > 0 || open.parts > 0 {
            open.row.last_offset = commit.end_offset;
            open.row.xid = commit.xid.map_or(0, |xid| xid.wrapping_add(1));
            self.push_transaction(&open, events);
            std::mem::swap(&mut self.last, &mut open.position);
            self.last.offset = commit.end_offset;
        }
        self.ended = open;
    }

    fn push_transaction(&mut self, open: &Open, events: usize) {
        let position = &open.position;
        let mut row = TransactionRow { events: events as u64, ..open.row };
        row.file = index_of(&mut self.files, &position.file) as u64;
        if let Some(gtid) = &position.gtid {
            let (origin, number) = Origin::of(gtid);
            row.origin = index_of(&mut self.origins, &origin) as u64 + 1;
            row.number = number;
        }
        if self.transactions.is_empty() {
            self.first.0.clone_from(position);
            self.first.1 = open.file_created_s;
        }
        self.transactions.push(row);
    }

    /// Rows here, of complete transactions and the open one.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// About how many bytes the rows here take, plain.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of the open transaction, as far as they are here.
    pub fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| self.bytes - open.mark.bytes)
    }

    /// Complete transactions here.
    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// Whether the open transaction (or the one just committed) has left parts before.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Seals the complete transactions; `None` if there is none. The open one stays.
    ///
    /// `known` tells whether a schema has travelled already.
    pub fn seal(&mut self, known: impl FnMut(u64) -> bool) -> Result<Option<Sealed>, BatchError> {
        if self.transactions.is_empty() {
            return Ok(None);
        }
        let mark = match &mut self.open {
            Some(open) => std::mem::take(&mut open.mark),
            None => self.mark(),
        };
        let meta = self.meta(&mark, self.transactions.len() as u32, 0);
        self.seal_upto(mark, meta, 0, known).map(Some)
    }

    /// Seals the open transaction's rows as one part of it. The complete ones must have been sealed.
    pub fn seal_part(
        &mut self,
        known: impl FnMut(u64) -> bool,
    ) -> Result<Option<Sealed>, BatchError> {
        debug_assert!(self.transactions.is_empty(), "complete transactions are sealed first");
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let mark = self.mark();
        self.push_transaction(&open, mark.events);
        let mut meta = self.meta(&mark, 0, open.parts);
        meta.last.clone_from(&meta.first);
        meta.continues = true;
        let rows = mark.rows;
        let sealed = self.seal_upto(mark, meta, open.rows_before, known)?;
        open.parts += 1;
        open.rows_before += u64::from(rows);
        open.mark = Mark::default();
        open.savepoints.iter_mut().for_each(|savepoint| savepoint.mark = None);
        self.open = Some(open);
        self.reopen_event();
        Ok(Some(sealed))
    }

    /// Ends a transaction of which parts were sealed: the last part.
    pub fn seal_last_part(
        &mut self,
        commit: Commit,
        known: impl FnMut(u64) -> bool,
    ) -> Result<Option<Sealed>, BatchError> {
        let Some((part, rows_before)) = self.open.as_ref().map(|o| (o.parts, o.rows_before)) else {
            return Ok(None);
        };
        self.commit(commit);
        let mark = self.mark();
        let meta = self.meta(&mark, 1, part);
        self.seal_upto(mark, meta, rows_before, known).map(Some)
    }

    /// Parts of the open transaction that were sealed so far.
    pub fn parts(&self) -> u32 {
        self.open.as_ref().map_or(0, |open| open.parts)
    }

    /// What is told of the rows up to the mark, in memory that [`Self::seal_upto`] gives back.
    fn meta(&mut self, mark: &Mark, transactions: u32, part: u32) -> Meta {
        let (first, file_created_s) = std::mem::take(&mut self.first);
        let last = std::mem::take(&mut self.last);
        let rows = mark.rows;
        Meta { first, file_created_s, last, transactions, rows, part, ..Meta::default() }
    }

    fn seal_upto(
        &mut self,
        mark: Mark,
        mut meta: Meta,
        rows_before: u64,
        known: impl FnMut(u64) -> bool,
    ) -> Result<Sealed, BatchError> {
        let mut body = self.body(&mark, rows_before, known);
        let sealed = seal_body(&mut meta, &mut body, self.settings.level)?;
        (self.first.0, self.last, self.spare) = (meta.first, meta.last, body);
        self.forget(mark);
        Ok(sealed)
    }

    /// What is sealed, in the memory of the body before it.
    fn body(&mut self, mark: &Mark, rows_before: u64, known: impl FnMut(u64) -> bool) -> Body {
        let mut body = std::mem::take(&mut self.spare);
        body.clear();
        std::mem::swap(&mut body.files, &mut self.files);
        std::mem::swap(&mut body.origins, &mut self.origins);
        body.transactions = self.transactions.len() as u32;
        (body.rows_before, body.events) = (rows_before, mark.events as u32);
        let (scratch, differences) = (&mut self.scratch, &mut self.differences);
        let transactions = self.transactions.iter().map(TransactionRow::fields);
        let firsts = self.transactions.iter().map(|transaction| transaction.first_offset);
        let beside = (LAST_OFFSET, firsts);
        pack(&transactions, beside, [scratch, differences], &mut body.transaction_columns);
        let used = &mut self.used;
        used.clear();
        for (index, rows) in mark.groups.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            let Some(group) = self.groups.get(index) else { continue };
            let table = index_of(&mut body.tables, &group.fingerprint);
            if body.groups.len() == used.len() {
                body.groups.push(GroupRecord::default());
            }
            if let Some(record) = body.groups.get_mut(used.len()) {
                group.encode(table as u32, *rows, scratch, record);
            }
            used.push(index as u64);
        }
        // No more memory than the groups of one batch need.
        body.groups.truncate(used.len());
        let events = self.events.iter().take(mark.events).map(|event| {
            let group = used.binary_search(&event.group).expect("an event's group has its rows");
            EventRow { group: group as u64, ..*event }.fields()
        });
        let beside = (OFFSET, ends(&self.transactions));
        pack(&events, beside, [scratch, differences], &mut body.event_columns);
        body.schemas = self.schemas(&body.tables, known);
        body
    }

    fn schemas(&self, tables: &[u64], mut known: impl FnMut(u64) -> bool) -> Vec<(u64, Vec<u8>)> {
        let new = tables.iter().filter(|fingerprint| !known(**fingerprint));
        let group = |fingerprint: &u64| self.groups.iter().find(|g| g.fingerprint == *fingerprint);
        new.filter_map(|fingerprint| {
            Some((*fingerprint, encode_schema(&group(fingerprint)?.table)))
        })
        .collect()
    }

    /// Gives back the memory that is kept for the next batch, if there is nothing in it.
    pub fn give_back(&mut self) {
        if self.open.is_some() || self.rows > 0 || !self.transactions.is_empty() {
            return;
        }
        self.groups = Vec::new();
        self.events = Vec::new();
        self.transactions = Vec::new();
        (self.scratch, self.differences) = (Vec::new(), Vec::new());
        self.spare = Body::default();
        self.ended = Open::default();
        PRESS.with_borrow_mut(|press| (press.plain, press.packed) = Default::default());
    }

    /// Drops what was sealed; the open transaction moves to the front.
    fn forget(&mut self, mark: Mark) {
        self.transactions.clear();
        self.events.drain(..mark.events);
        self.rows -= mark.rows;
        self.bytes -= mark.bytes;
        let empty_before = self.rows == 0;
        for (group, rows) in self.groups.iter_mut().zip(&mark.groups) {
            group.drain(*rows);
        }
        if empty_before {
            // Between transactions: groups that the last batch did not use give their memory back, if it is much.
            let few = self.groups.len() <= GROUPS_KEPT_MAX;
            let mut rows = mark.groups.iter();
            self.groups.retain(|group| {
                rows.next().is_some_and(|rows| *rows > 0)
                    || few && group.memory_bytes() <= GROUP_BYTES_KEPT_MAX
            });
        }
        let Some(open) = &mut self.open else { return };
        for later in open.savepoints.iter_mut().filter_map(|known| known.mark.as_mut()) {
            if empty_before {
                *later = Mark::default();
                continue;
            }
            later.events -= mark.events;
            later.rows -= mark.rows;
            later.bytes -= mark.bytes;
            later.transactions = 0;
            for (rows, sealed) in later.groups.iter_mut().zip(&mark.groups) {
                *rows -= sealed;
            }
        }
        // It begins at the front now.
        open.mark = Mark { groups: mark.groups, ..Mark::default() };
        open.mark.groups.clear();
    }

    /// After a part: rows of the same event go on in a new entry of the order stream.
    fn reopen_event(&mut self) {
        if let Some((_, _, event)) = &mut self.event {
            event.first_row += event.rows;
            event.rows = 0;
        }
    }

    fn mark(&self) -> Mark {
        let mut mark = Mark::default();
        self.mark_in(&mut mark);
        mark
    }

    fn mark_in(&self, mark: &mut Mark) {
        mark.events = self.events.len();
        mark.event_rows = self.events.last().map_or(0, |event| event.rows);
        mark.transactions = self.transactions.len();
        mark.groups.clear();
        mark.groups.extend(self.groups.iter().map(|group| group.rows));
        (mark.bytes, mark.rows) = (self.bytes, self.rows);
    }

    fn truncate(&mut self, mark: &Mark) {
        self.event = None;
        self.events.truncate(mark.events);
        if let Some(last) = self.events.last_mut() {
            last.rows = mark.event_rows;
        }
        self.transactions.truncate(mark.transactions);
        for (index, group) in self.groups.iter_mut().enumerate() {
            group.truncate(mark.groups.get(index).copied().unwrap_or(0));
        }
        (self.bytes, self.rows) = (mark.bytes, mark.rows);
    }

    /// The index of the group that rows of this form go to.
    fn group(
        &mut self,
        table: &Arc<Table>,
        operation: Operation,
        before: &[Cell<'_>],
        after: &[Cell<'_>],
    ) -> usize {
        let fingerprint = self.fingerprint(table);
        let fits = |group: &Group| {
            group.fingerprint == fingerprint
                && group.operation == operation
                && has_shape(before, &group.before)
                && has_shape(after, &group.after)
        };
        if let Some(index) = self.groups.iter().position(fits) {
            return index;
        }
        let (before, after) = (shape(before), shape(after));
        self.groups.push(Group::new(Arc::clone(table), fingerprint, operation, before, after));
        self.groups.len() - 1
    }

    fn fingerprint(&mut self, table: &Arc<Table>) -> u64 {
        if let Some((_, fingerprint)) = self.fingerprints.get(&Arc::as_ptr(table)) {
            return *fingerprint;
        }
        if self.fingerprints.len() >= FINGERPRINTS_MAX {
            self.fingerprints.clear();
        }
        let fingerprint = fingerprint(&encode_schema(table));
        // The table is kept with it, so its address cannot come to mean another one.
        self.fingerprints.insert(Arc::as_ptr(table), (Arc::clone(table), fingerprint));
        fingerprint
    }
}

/// Compresses a body and completes its meta. What is left of the body is memory.
pub(super) fn seal_body(
    meta: &mut Meta,
    body: &mut Body,
    level: i32,
) -> Result<Sealed, BatchError> {
    PRESS.with_borrow_mut(|press| {
        let mut plain = std::mem::take(&mut press.plain);
        plain.clear();
        plain.reserve(body.len_about());
        let plain = postcard::to_extend(body, plain).map_err(|_| BatchError::Refused("body"))?;
        // What is large and in `plain` now need not be in memory twice while it is compressed.
        let schemas = std::mem::take(&mut body.schemas);
        body.groups.retain(|group| group.data.capacity() <= KEPT_BYTES_MAX);
        meta.plain_len = u32::try_from(plain.len()).map_err(|_| BatchError::TooLarge("body"))?;
        meta.plain_crc = crc32c::crc32c(&plain);
        let packed = match level {
            0 => plain.as_slice(),
            level => press.pack(&plain, level).map_err(|_| BatchError::Refused("zstd"))?,
        };
        // A batch of a row or two is often larger compressed.
        let bytes = if packed.len() < plain.len() {
            meta.codec = 1;
            packed.to_vec()
        } else {
            plain.clone()
        };
        press.keep(plain);
        Ok(Sealed {
            plain_len: meta.plain_len,
            rows: meta.rows,
            transactions: meta.transactions,
            schemas,
            meta: meta.encode(),
            body: bytes,
        })
    })
}

/// What compresses, and its memory. To set a context up takes longer than to compress a small batch; and
/// memory of this size that is given back is taken page by page anew.
struct Press {
    context: Compressor<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Press {
    fn pack(&mut self, plain: &[u8], level: i32) -> std::io::Result<&[u8]> {
        self.context.set_compression_level(level)?;
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.context.compress_to_buffer(plain, &mut self.packed)?;
        Ok(&self.packed)
    }

    /// For the next batch, unless this one was uncommonly large.
    fn keep(&mut self, plain: Vec<u8>) {
        if plain.capacity() <= KEPT_BYTES_MAX {
            self.plain = plain;
        } else {
            self.packed = Vec::new();
        }
    }
}

/// Groups that are kept for the next batch although this one did not use them, and of how many bytes each.
const GROUPS_KEPT_MAX: usize = 16;
const GROUP_BYTES_KEPT_MAX: usize = 8 * 1024;

/// Twice what a batch of the default settings needs.
const KEPT_BYTES_MAX: usize = 512 * 1024;

thread_local! {
    static PRESS: RefCell<Press> = RefCell::new(Press {
        context: Compressor::new(1).expect("memory for a context"),
        plain: Vec::new(),
        packed: Vec::new(),
    });
}

/// Packs rows of `N` integers column by column.
fn pack<const N: usize>(
    rows: &(impl Iterator<Item = [u64; N]> + Clone),
    (field_beside, beside): (usize, impl Iterator<Item = u64> + Clone),
    [scratch, differences]: [&mut Vec<u64>; 2],
    out: &mut Vec<u8>,
) {
    for field in 0..N {
        let values = rows.clone().filter_map(|row| row.get(field).copied());
        scratch.clear();
        scratch.extend(values.clone());
        if field == field_beside {
            differences.clear();
            differences.extend(values.zip(beside.clone()).map(|(a, b)| ints::difference(a, b)));
            ints::encode_beside(scratch, differences, out);
        } else {
            ints::encode(scratch, out);
        }
    }
}

fn index_of<T: Clone + PartialEq>(all: &mut Vec<T>, item: &T) -> usize {
    // The last one is the usual one.
    if let Some(index) = all.iter().rposition(|known| known == item) {
        return index;
    }
    all.push(item.clone());
    all.len() - 1
}
