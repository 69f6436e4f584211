//! SHELL: a log, in memory or as it is read → transactions and rows.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use rivulet::binlog::compressed::Room;
use rivulet::binlog::decoder::Decoder;
use rivulet::binlog::frame::{Framer, Part};
use rivulet::binlog::payload::Payload;
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

/// Bytes that are read at a time.
const PORTION: usize = 64 << 10;

impl Log {
    pub(crate) fn read(path: &Path) -> Self {
        let mut log = Self { bytes: fs::read(path).expect("the log can be read"), rows: 0 };
        let mut rows = 0;
        log.each(|item| rows += u64::from(matches!(item, Item::Row(..))));
        log.rows = rows;
        log
    }

    /// Frame, decode, assemble, split.
    pub(crate) fn each(&self, take: impl FnMut(Item<'_>)) {
        each(self.bytes.as_slice(), take).expect("a server wrote it");
    }
}

/// Frame, decompress, decode, assemble, split what is read. Fails with what the first error says.
pub(crate) fn each(
    mut from: impl Read,
    mut take: impl FnMut(Item<'_>),
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut framer, mut assembler) = (Framer::new(), Assembler::new());
    let (mut payload, mut room) = (Payload::new(), Room::new());
    let mut split = Splitting::default();
    loop {
        let len = match from.read(framer.space(PORTION)) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        framer.filled(len);
        while let Some(frame) = framer.next()? {
            match frame.part {
                Part::Whole => {
                    // An event is not moved, nor is a step.
                    let step = match split.decoder.decode_in(frame.bytes, &mut room) {
                        Ok((header, event)) => assembler.step(&header, event, frame.offset)?,
                        Err(error) => return Err(error.into()),
                    };
                    split.step(step, &mut take)?;
                    continue;
                }
                Part::Head => payload.begin(frame.bytes, frame.offset, split.decoder.format())?,
                Part::Rest => payload.push(frame.bytes)?,
            }
            while payload.advance()? {
                let Some(inner) = payload.event() else { break };
                let (header, event) = split.decoder.decode_inner(&inner)?;
                split.step(assembler.step(&header, event, inner.offset)?, &mut take)?;
            }
        }
    }
}

/// The decoder, and memory for the cells of a row.
#[derive(Default)]
struct Splitting {
    decoder: Decoder,
    before: Vec<Cell<'static>>,
    after: Vec<Cell<'static>>,
}

impl Splitting {
    #[inline(always)]
    fn step(
        &mut self,
        step: Step<'_>,
        mut take: impl FnMut(Item<'_>),
    ) -> Result<(), Box<dyn std::error::Error>> {
        match step {
            Step::Begin(begin) => take(Item::Begin(&begin)),
            Step::TableMap(map) if self.decoder.table(map.table_id).is_none() => {
                self.decoder.define(map.table_id, Arc::new(map.to_table()?));
            }
            Step::Rows(rows) => {
                let table = self.decoder.table(rows.rows.table_id).ok_or("rows without a table")?;
                take(Item::Rows(&rows, table));
                let mut iter = rows.rows.rows(table)?;
                let mut before = recycled(std::mem::take(&mut self.before));
                let mut after = recycled(std::mem::take(&mut self.after));
                while iter.next_row(&mut before, &mut after)? {
                    take(Item::Row(&before, &after, rows.rows.operation));
                }
                (self.before, self.after) = (recycled(before), recycled(after));
            }
            Step::Commit { end_offset, .. } => take(Item::Commit(end_offset)),
            _ => {}
        }
        Ok(())
    }
}

/// The vector's memory, for cells that borrow from another event.
fn recycled<'b>(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'b>> {
    cells.clear();
    cells.into_iter().map(|_| Cell::Absent).collect()
}
