//! Rows of one table and operation whose images have the same columns, as columns.

use std::sync::Arc;

use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{self, Table};

use super::body::GroupRecord;
use super::column::{Column, Form};

/// Rows on their way into a batch.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) table: Arc<Table>,
    pub(super) fingerprint: u64,
    pub(super) operation: Operation,
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    pub(super) rows: usize,
    /// The before columns, then the after columns, each only if it is in the image.
    columns: Vec<(Form, Column)>,
}

impl Group {
    pub(super) fn new(
        table: Arc<Table>,
        fingerprint: u64,
        operation: Operation,
        before: Vec<u8>,
        after: Vec<u8>,
    ) -> Self {
        let of = |bits: &[u8]| {
            let kinds = table.columns.iter().enumerate();
            let present = kinds.filter(|(index, _)| bit(bits, *index));
            let of = |column: &table::Column| Form::of(column.kind, column.meta);
            present.map(|(_, column)| (of(column), Column::default())).collect::<Vec<_>>()
        };
        let mut columns = of(&before);
        columns.extend(of(&after));
        Self { table, fingerprint, operation, before, after, rows: 0, columns }
    }

    /// Appends a row whose images have this group's columns. Tells about how many bytes they take, plain.
    pub(super) fn push(&mut self, before: &[Cell<'_>], after: &[Cell<'_>]) -> usize {
        self.rows += 1;
        let mut bytes = ROW_OVERHEAD_BYTES;
        let mut columns = self.columns.iter_mut();
        for cell in before {
            bytes += weight(*cell);
            if *cell != Cell::Absent
                && let Some((_, column)) = columns.next()
            {
                column.push(*cell);
            }
        }
        for (index, cell) in after.iter().enumerate() {
            bytes += weight(*cell);
            if *cell == Cell::Absent {
                continue;
            }
            let Some((_, column)) = columns.next() else { break };
            match before.get(index) {
                Some(Cell::Absent) | None => column.push(*cell),
                Some(before) => column.push_changed(*before, *cell),
            }
        }
        bytes
    }

    /// Bytes of memory for the values of its rows.
    pub(super) fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|(_, column)| column.memory_bytes()).sum()
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.columns.iter_mut().for_each(|(_, column)| column.truncate(rows));
    }

    pub(super) fn drain(&mut self, rows: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.columns.iter_mut().for_each(|(_, column)| column.drain(rows));
    }

    /// Encodes the first `rows` rows into `record`, which is to name its table by this index. What is in the record
    /// and in `scratch` is memory.
    pub(super) fn encode(
        &self,
        table: u32,
        rows: usize,
        scratch: &mut Vec<u64>,
        record: &mut GroupRecord,
    ) {
        (record.table, record.operation) = (table, self.operation as u8);
        (record.columns, record.rows) = (self.table.columns.len() as u32, rows as u32);
        record.before.clone_from(&self.before);
        record.after.clone_from(&self.after);
        record.data.clear();
        for (form, column) in &self.columns {
            column.encode(*form, rows, scratch, &mut record.data);
        }
    }
}

/// What a row costs beside its values: states, lengths and the group's bookkeeping, roughly.
const ROW_OVERHEAD_BYTES: usize = 8;

fn weight(cell: Cell<'_>) -> usize {
    match cell {
        Cell::Value(bytes) | Cell::JsonDiff(bytes) => bytes.len() + 2,
        Cell::Null | Cell::Absent => 1,
    }
}

/// Which columns an image has, one bit each; empty for no image.
pub(super) fn shape(image: &[Cell<'_>]) -> Vec<u8> {
    let mut bits = vec![0; image.len().div_ceil(8)];
    for (index, cell) in image.iter().enumerate() {
        if *cell != Cell::Absent
            && let Some(byte) = bits.get_mut(index / 8)
        {
            *byte |= 1 << (index % 8);
        }
    }
    bits
}

/// Whether an image has this shape; no allocation.
pub(super) fn has_shape(image: &[Cell<'_>], bits: &[u8]) -> bool {
    bits.len() == image.len().div_ceil(8)
        && image.iter().enumerate().all(|(index, cell)| (*cell != Cell::Absent) == bit(bits, index))
}

pub(super) fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}
