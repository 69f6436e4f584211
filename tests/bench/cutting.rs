//! A log in memory → sealed batches, cut where one likes.

use std::collections::HashSet;

use rivulet::batch::{self, Builder, Identity, Sealed, frame};
use rivulet::binlog::rows::Cell;
use rivulet::binlog::transaction::Begin;
use rivulet::position::{Position, Sequence};

use super::log::{Item, Log};

/// The agent's default level of zstd.
const LEVEL: i32 = 1;

/// Where a batch ends; always at a transaction's end.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    Rows(u32),
    Bytes(usize),
}

/// What an update carries of its row.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Images {
    /// As they are in the log.
    Full,
    /// The key before, what has changed after; of a deleted row the key.
    Changed,
}

/// Seals the log's rows; hands out each batch, and where it ends in the log.
pub(crate) fn batches(log: &Log, cut: Cut, images: Images, mut take: impl FnMut(&Sealed, usize)) {
    let mut builder = Builder::new(batch::Settings { level: LEVEL });
    let mut known = HashSet::new();
    let (mut key, mut opening) = (Vec::new(), Opening::default());
    log.each(|item| match item {
        Item::Begin(begin) => builder.begin(opening.of(begin)),
        Item::Rows(rows, table) => {
            key.clone_from(&table.primary_key);
            builder.event(table, rows.rows.operation, rows.offset, rows.timestamp_s);
        }
        Item::Row(before, after, _) if images == Images::Changed => {
            let (before, after) = changed(&key, before, after);
            builder.row(&before, &after);
        }
        Item::Row(before, after, _) => builder.row(before, after),
        Item::Commit(end_offset) => {
            builder.commit(batch::Commit { end_offset, xid: None });
            let full = match cut {
                Cut::Rows(rows) => builder.rows() >= rows,
                Cut::Bytes(bytes) => builder.bytes() >= bytes,
            };
            if full {
                let sealed = builder.seal(|schema| !known.insert(schema)).expect("it fits");
                take(&sealed.expect("it has rows"), end_offset as usize);
            }
        }
    });
    if let Some(sealed) = builder.seal(|schema| !known.insert(schema)).expect("it fits") {
        take(&sealed, log.bytes.len());
    }
}

/// As `binlog_row_image=MINIMAL` logs it.
fn changed<'a>(
    key: &[u16],
    before: &[Cell<'a>],
    after: &[Cell<'a>],
) -> (Vec<Cell<'a>>, Vec<Cell<'a>>) {
    if before.is_empty() || key.is_empty() {
        return (before.to_vec(), after.to_vec());
    }
    let is_key = |index: usize| key.iter().any(|key| usize::from(*key) == index);
    let keep = |(index, cell): (usize, &Cell<'a>)| if is_key(index) { *cell } else { Cell::Absent };
    let differs = |(before, after): (&Cell<'a>, &Cell<'a>)| {
        if before == after { Cell::Absent } else { *after }
    };
    (before.iter().enumerate().map(keep).collect(), before.iter().zip(after).map(differs).collect())
}

/// Bytes of all batches as they are sent.
pub(crate) fn framed_bytes(log: &Log, cut: Cut, images: Images) -> usize {
    let (mut bytes, mut number) = (0, 0);
    batches(log, cut, images, |sealed, _| {
        number += 1;
        let (agent, previous_crc) = ("edge-1".to_owned(), u32::MAX);
        let sequence = Sequence(number);
        let identity = Identity { agent, epoch: 1, sequence, previous_crc, follows: None };
        bytes += frame(&identity, &sealed.meta, &sealed.body).len();
    });
    bytes
}

/// A transaction's beginning, of a log that is always called the same, in the memory of the one before.
#[derive(Default)]
pub(crate) struct Opening(batch::Begin);

impl Opening {
    pub(crate) fn of(&mut self, begin: &Begin) -> &batch::Begin {
        let Position { file, offset, gtid, .. } = &mut self.0.position;
        FILE.clone_into(file);
        *offset = begin.offset;
        gtid.clone_from(&begin.gtid);
        self.0.timestamp_s = begin.timestamp_s;
        self.0.server_id = begin.server_id;
        self.0.thread = begin.thread_id;
        self.0.committed_us = begin.committed_us;
        &self.0
    }
}

const FILE: &str = "binlog.000001";
