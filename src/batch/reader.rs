//! A batch's body → changes, in commit order.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::bulk::Decompressor;

use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::Table;
use crate::position::{Gtid, Position, ServerId};

use super::body::{
    Body, EventRow, FIRST_OFFSET, GroupRecord, LAST_OFFSET, OFFSET, Origin, TransactionRow, ends,
};
use super::column::{Decoded, charge};
use super::cursor::Cursor;
use super::group::bit;
use super::header::FILE_LEN_MAX;
use super::ints::{self, Beside};
use super::{BatchError, Meta};

/// How large a batch may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a decompressed body.
    pub plain_bytes_max: u32,
    /// Row changes in a batch.
    pub rows_max: u32,
}

impl Default for Limits {
    /// Room for one row of 1 GiB, which is the largest that the servers send; see the field's docs.
    fn default() -> Self {
        Self { plain_bytes_max: (1 << 30) + (64 << 20), rows_max: 4 << 20 }
    }
}

/// What decoding may allocate per byte of the plain body, beside a fixed allowance for what packs to next to
/// nothing: a batch that is sealed at 4 MiB, the largest setting, can hold as many NULLs, or half a million
/// transactions that differ by one.
const EXPANSION_MAX: usize = 64;
const EXPANSION_FREE: usize = 128 << 20;

/// Bytes beyond which a body is one large row, whose bytes are what it takes.
const SEALED_MAX: usize = 4 << 20;

/// zstd's best: a block of 128 KiB in 4 bytes.
const ZSTD_RATIO_MAX: usize = 32 << 10;

/// What the columns of no table exceed.
const COLUMNS_MAX: u32 = 4096;

/// A decompressed batch.
#[derive(Debug)]
pub struct Batch {
    body: Body,
    /// Those of the body: transactions share them.
    files: Vec<Arc<str>>,
    rows_max: u32,
    budget: usize,
}

/// A transaction, or a part of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// Its GTID, where the server has them.
    pub gtid: Option<Gtid>,
    /// The binlog file.
    pub file: Arc<str>,
    /// Where its first event starts, in bytes.
    pub first_offset: u64,
    /// Where its last event ends; 0 in a part that is not the last.
    pub last_offset: u64,
    /// Unix seconds.
    pub timestamp_s: u32,
    /// The server that first wrote it.
    pub server_id: u32,
    /// The session, where the log says so.
    pub thread: Option<u32>,
    /// Microseconds since 1970, where the log says so.
    pub committed_us: Option<u64>,
    /// The storage engine's number, where there is one.
    pub xid: Option<u64>,
}

impl Transaction {
    /// Where it begins, at this server.
    pub fn begins(&self, server: &ServerId) -> Position {
        let (server, file) = (server.clone(), self.file.to_string());
        Position { server, file, offset: self.first_offset, gtid: None }
    }
}

/// One row's change.
#[derive(Debug)]
pub struct RowChange<'a> {
    /// Its transaction.
    pub transaction: &'a Transaction,
    /// The transaction's index in the batch.
    pub index: usize,
    /// The table's schema when it was written.
    pub table: &'a Arc<Table>,
    /// What happened.
    pub operation: Operation,
    /// Cells per column; empty for an insert.
    pub before: &'a [Cell<'a>],
    /// Cells per column; empty for a delete.
    pub after: &'a [Cell<'a>],
    /// Where the rows event starts in the file.
    pub offset: u64,
    /// The event's timestamp, Unix seconds.
    pub timestamp_s: u32,
    /// The row's index among the rows of its transaction that share the offset.
    pub row: u32,
    /// The row's index in its transaction.
    pub row_in_transaction: u64,
}

impl Batch {
    /// Decompresses a body and verifies its length and checksum. Rows are not decoded yet.
    pub fn open(meta: &Meta, body: &[u8], limits: Limits) -> Result<Self, BatchError> {
        if meta.plain_len > limits.plain_bytes_max || meta.rows > limits.rows_max {
            return Err(BatchError::TooLarge("body"));
        }
        if meta.dictionary != 0 {
            return Err(BatchError::Unknown("dictionary", u64::from(meta.dictionary)));
        }
        let len = meta.plain_len as usize;
        let plain = match meta.codec {
            0 => body.to_vec(),
            1 => unpack(body, len)?,
            other => return Err(BatchError::Unknown("codec", u64::from(other))),
        };
        if plain.len() != len {
            return Err(BatchError::Malformed("plain length", plain.len() as u64));
        }
        if crc32c::crc32c(&plain) != meta.plain_crc {
            return Err(BatchError::Checksum("body"));
        }
        let body: Body = postcard::from_bytes(&plain).map_err(|_| BatchError::Refused("body"))?;
        // Each transaction tells them again.
        if body.files.iter().any(|file| file.len() > FILE_LEN_MAX) {
            return Err(BatchError::TooLarge("name of a file"));
        }
        if !body.origins.iter().all(Origin::is_sound) {
            return Err(BatchError::Refused("tag of a GTID"));
        }
        let files = body.files.iter().map(|file| file.as_str().into()).collect();
        let sealed = len.min(SEALED_MAX).saturating_mul(EXPANSION_MAX);
        let budget = sealed.saturating_add(len).saturating_add(EXPANSION_FREE);
        Ok(Self { body, files, rows_max: meta.rows, budget })
    }

    /// The schema records that travel with it: fingerprint and record.
    pub fn schemas(&self) -> &[(u64, Vec<u8>)] {
        &self.body.schemas
    }

    /// The fingerprints of all tables that it has rows of.
    pub fn tables(&self) -> &[u64] {
        &self.body.tables
    }

    /// Its transactions, in commit order.
    pub fn transactions(&self) -> Result<Vec<Transaction>, BatchError> {
        let mut budget = self.budget;
        let rows = self.transaction_rows(&mut budget)?;
        charge(&mut budget, rows.len(), size_of::<Transaction>())?;
        rows.iter().map(|row| self.transaction(row)).collect()
    }

    /// How many row changes there are behind the first `skip` transactions.
    pub fn rows_behind(&self, skip: usize) -> Result<u64, BatchError> {
        if skip == 0 {
            return Ok(self.rows_max.into());
        }
        let mut budget = self.budget;
        let transactions = self.transaction_rows(&mut budget)?;
        let skipped = transactions.iter().take(skip);
        let skipped = skipped.fold(0, |sum: u64, record| sum.saturating_add(record.events));
        let events = self.event_rows(&transactions, &mut budget)?.into_iter();
        let behind = events.skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        Ok(behind.fold(0, |sum, event| sum.saturating_add(event.rows)))
    }

    /// Takes every column apart, and hands out nothing: whether [`Self::replay`] can.
    pub fn verify(&self, schema: impl Fn(u64) -> Option<Arc<Table>>) -> Result<(), BatchError> {
        self.replay(usize::MAX, schema, |_| Ok(()))
    }

    /// Hands out every change in commit order, but for those of the first `skip` transactions.
    ///
    /// `schema` gives the table of a fingerprint.
    pub fn replay<E: From<BatchError>>(
        &self,
        skip: usize,
        schema: impl Fn(u64) -> Option<Arc<Table>>,
        mut each: impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut budget = self.budget;
        let transaction_rows = self.transaction_rows(&mut budget)?;
        let mut events = self.event_rows(&transaction_rows, &mut budget)?.into_iter();
        let rows = self.body.groups.iter().map(|group| u64::from(group.rows));
        if rows.sum::<u64>() > u64::from(self.rows_max) {
            return Err(BatchError::TooLarge("rows").into());
        }
        let groups: Vec<Group> = self
            .body
            .groups
            .iter()
            .map(|record| Group::decode(record, &self.body.tables, &schema, &mut budget))
            .collect::<Result<_, _>>()?;
        let mut next_row = vec![0usize; groups.len()];
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (index, record) in transaction_rows.iter().enumerate() {
            let transaction = self.transaction(record)?;
            let mut row_in_transaction = if index == 0 { self.body.rows_before } else { 0 };
            for _ in 0..record.events {
                let event = events.next().ok_or(BatchError::Short("order stream"))?;
                let at = event.group as usize;
                let (Some(group), Some(next)) = (groups.get(at), next_row.get_mut(at)) else {
                    return Err(BatchError::Malformed("order stream: group", event.group).into());
                };
                for row in 0..event.rows {
                    if *next >= group.rows {
                        return Err(BatchError::Malformed("order stream: rows", event.rows).into());
                    }
                    if index >= skip {
                        group.cells(*next, &mut before, &mut after);
                        each(&RowChange {
                            transaction: &transaction,
                            index,
                            table: &group.table,
                            operation: group.operation,
                            before: &before,
                            after: &after,
                            offset: event.offset,
                            timestamp_s: event.timestamp_s as u32,
                            row: event.first_row.wrapping_add(row) as u32,
                            row_in_transaction,
                        })?;
                    }
                    *next += 1;
                    row_in_transaction = row_in_transaction.wrapping_add(1);
                }
            }
        }
        let all = groups.iter().zip(&next_row).all(|(group, next)| group.rows == *next);
        if !all || events.next().is_some() {
            return Err(BatchError::Malformed("order stream: rows left over", 0).into());
        }
        Ok(())
    }

    fn transaction_rows(&self, budget: &mut usize) -> Result<Vec<TransactionRow>, BatchError> {
        self.bounded(self.body.transactions)?;
        charge(budget, self.body.transactions as usize, size_of::<TransactionRow>())?;
        let (columns, count) = (&self.body.transaction_columns, self.body.transactions as usize);
        let rows = table(columns, count, LAST_OFFSET, |row| row[FIRST_OFFSET])?;
        Ok(rows.into_iter().map(TransactionRow::from_fields).collect())
    }

    fn event_rows(
        &self,
        transactions: &[TransactionRow],
        budget: &mut usize,
    ) -> Result<Vec<EventRow>, BatchError> {
        self.bounded(self.body.events)?;
        charge(budget, self.body.events as usize, size_of::<EventRow>())?;
        let mut ends = ends(transactions);
        let (columns, count) = (&self.body.event_columns, self.body.events as usize);
        let rows = table(columns, count, OFFSET, |_| ends.next().unwrap_or(0))?;
        Ok(rows.into_iter().map(EventRow::from_fields).collect())
    }

    /// Neither transactions nor events are more than rows: those without rows are not carried. (The
    /// last part of a transaction may have none.)
    fn bounded(&self, count: u32) -> Result<(), BatchError> {
        if count > self.rows_max.saturating_add(1) {
            return Err(BatchError::TooLarge("order stream"));
        }
        Ok(())
    }

    fn transaction(&self, row: &TransactionRow) -> Result<Transaction, BatchError> {
        let file = usize::try_from(row.file).ok().and_then(|index| self.files.get(index));
        let origin = match row.origin.checked_sub(1) {
            None => None,
            Some(index) => {
                let origin = usize::try_from(index).ok().and_then(|i| self.body.origins.get(i));
                Some(origin.ok_or(BatchError::Malformed("transaction: origin", row.origin))?)
            }
        };
        Ok(Transaction {
            gtid: origin.map(|origin| origin.gtid(row.number)),
            file: Arc::clone(file.ok_or(BatchError::Malformed("transaction: file", row.file))?),
            first_offset: row.first_offset,
            last_offset: row.last_offset,
            timestamp_s: row.timestamp_s as u32,
            server_id: row.server_id as u32,
            thread: row.thread.checked_sub(1).map(|thread| thread as u32),
            committed_us: Some(row.committed_us).filter(|us| *us != 0),
            xid: row.xid.checked_sub(1),
        })
    }
}

/// Decompresses to at most `len` bytes, whatever the frame says of itself.
fn unpack(body: &[u8], len: usize) -> Result<Vec<u8>, BatchError> {
    // The capacity is what the caller's limit allows; a lying length costs one allocation at most.
    if len > body.len().saturating_mul(ZSTD_RATIO_MAX) {
        return Err(BatchError::TooLarge("plain length"));
    }
    let mut plain = Vec::with_capacity(len);
    CONTEXT
        .with_borrow_mut(|context| context.decompress_to_buffer(body, &mut plain))
        .map_err(|_| BatchError::Refused("zstd"))?;
    Ok(plain)
}

thread_local! {
    /// To set one up takes longer than to unpack a small batch.
    static CONTEXT: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("memory for a context"));
}

/// Reads `N` packed columns of `count` integers as rows. Those of the field `beside` stand beside what `base` tells of
/// their row.
fn table<const N: usize>(
    columns: &[u8],
    count: usize,
    beside: usize,
    mut base: impl FnMut(&[u64; N]) -> u64,
) -> Result<Vec<[u64; N]>, BatchError> {
    let mut cursor = Cursor::new(columns);
    let mut rows = vec![[0; N]; count];
    for field in 0..N {
        let mut each = rows.iter_mut();
        let put = |value| {
            if let Some(cell) = each.next().and_then(|row| row.get_mut(field)) {
                *cell = value;
            }
        };
        if field != beside {
            ints::decode(&mut cursor, count, put)?;
        } else if ints::decode_beside(&mut cursor, count, put)? == Beside::Differences {
            for row in &mut rows {
                let base = base(row);
                if let Some(cell) = row.get_mut(field) {
                    *cell = ints::apply(*cell, base);
                }
            }
        }
    }
    match cursor.left() {
        0 => Ok(rows),
        left => Err(BatchError::Malformed("order stream: bytes left over", left as u64)),
    }
}

/// A group's rows, decoded.
struct Group<'b> {
    table: Arc<Table>,
    operation: Operation,
    rows: usize,
    before: Image<'b>,
    after: Image<'b>,
}

/// The columns of an image: those that it has, in their order, and which these are.
struct Image<'b> {
    bits: &'b [u8],
    columns: Vec<Decoded>,
}

impl<'b> Image<'b> {
    /// The cells of a row; none if there is no image. `before` is what "same" refers to.
    fn cells<'a>(
        &'a self,
        row: usize,
        count: usize,
        before: &[Cell<'a>],
        cells: &mut Vec<Cell<'a>>,
    ) {
        let mut columns = self.columns.iter();
        let count = if self.bits.is_empty() { 0 } else { count };
        cells.clear();
        cells.extend((0..count).map(|index| {
            let column = bit(self.bits, index).then(|| columns.next()).flatten();
            let before = before.get(index).copied().unwrap_or_default();
            column.map_or(Cell::Absent, |column| column.cell(row, before))
        }));
    }
}

impl<'b> Group<'b> {
    fn decode(
        record: &'b GroupRecord,
        tables: &[u64],
        schema: &impl Fn(u64) -> Option<Arc<Table>>,
        budget: &mut usize,
    ) -> Result<Self, BatchError> {
        let index = record.table as usize;
        let fingerprint = tables.get(index).ok_or(BatchError::Malformed("group: table", 0))?;
        let table = schema(*fingerprint).ok_or(BatchError::Schema(*fingerprint))?;
        let columns = table.columns.len();
        if record.columns > COLUMNS_MAX || record.columns as usize != columns {
            return Err(BatchError::Malformed("group: columns", u64::from(record.columns)));
        }
        let operation = match record.operation {
            0 => Operation::Insert,
            1 => Operation::Update,
            2 => Operation::Delete,
            other => return Err(BatchError::Malformed("group: operation", u64::from(other))),
        };
        let (mut cursor, rows) = (Cursor::new(&record.data), record.rows as usize);
        let mut image = |bits: &'b [u8]| {
            let present = (0..columns).filter(|index| bit(bits, *index));
            let columns = present.map(|_| Decoded::decode(&mut cursor, rows, budget));
            Ok::<_, BatchError>(Image { bits, columns: columns.collect::<Result<_, _>>()? })
        };
        let (before, after) = (image(&record.before)?, image(&record.after)?);
        match cursor.left() {
            0 => Ok(Self { table, operation, rows, before, after }),
            left => Err(BatchError::Malformed("group: bytes left over", left as u64)),
        }
    }

    fn cells<'a>(&'a self, row: usize, before: &mut Vec<Cell<'a>>, after: &mut Vec<Cell<'a>>) {
        let count = self.table.columns.len();
        self.before.cells(row, count, &[], before);
        self.after.cells(row, count, before, after);
    }
}
