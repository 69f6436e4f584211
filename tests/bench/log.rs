//! SHELL: a log in memory → transactions and rows.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rivulet::binlog::decoder::Decoder;
use rivulet::binlog::frame::Framer;
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::Table;
use rivulet::binlog::transaction::{Assembler, Begin, Rows, Step};

/// A log, whole in memory.
pub(crate) struct Log {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: u64,
}

/// What is in it, piece by piece.
pub(crate) enum Item<'a> {
    Begin(&'a Begin),
    Rows(&'a Rows<'a>, &'a Arc<Table>),
    Row(&'a [Cell<'a>], &'a [Cell<'a>], Operation),
    /// The offset behind the transaction.
    Commit(u64),
}

/// Bytes that are handed to the framer at a time.
const PORTION: usize = 256 << 10;

impl Log {
    pub(crate) fn read(path: &Path) -> Self {
        let mut log = Self { bytes: fs::read(path).expect("the log can be read"), rows: 0 };
        let mut rows = 0;
        log.each(|item| rows += u64::from(matches!(item, Item::Row(..))));
        log.rows = rows;
        log
    }

    /// Frame, decode, assemble, split.
    pub(crate) fn each(&self, mut take: impl FnMut(Item<'_>)) {
        let (mut framer, mut decoder, mut assembler) =
            (Framer::new(), Decoder::new(), Assembler::new());
        for portion in self.bytes.chunks(PORTION) {
            framer.push(portion);
            while let Some(frame) = framer.next().expect("a server wrote it") {
                let (header, event) = decoder.decode(frame.bytes).expect("it is known");
                match assembler.step(&header, event, frame.offset).expect("in order") {
                    Step::Begin(begin) => take(Item::Begin(&begin)),
                    Step::TableMap(map) if decoder.table(map.table_id).is_none() => {
                        let table = map.to_table().expect("a server wrote it");
                        decoder.define(map.table_id, Arc::new(table));
                    }
                    Step::Rows(rows) => {
                        let table = decoder.table(rows.rows.table_id).expect("mapped before");
                        take(Item::Rows(&rows, table));
                        split(&rows, table, &mut take);
                    }
                    Step::Commit { end_offset, .. } => take(Item::Commit(end_offset)),
                    _ => {}
                }
            }
        }
    }
}

fn split(rows: &Rows<'_>, table: &Table, take: &mut impl FnMut(Item<'_>)) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut iter = rows.rows.rows(table).expect("the table is the event's");
    while iter.next_row(&mut before, &mut after).expect("whole") {
        take(Item::Row(&before, &after, rows.rows.operation));
    }
}
