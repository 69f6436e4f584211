//! SHELL: the edge's whole way but for its source's file and its link, on one thread: log → stager → buffer →
//! framed batches, which are acknowledged as soon as there are some.

use std::path::Path;
use std::rc::Rc;

use rivulet::agent::pump::parcel;
use rivulet::agent::stager::{Full, Stager, Store};
use rivulet::batch::{self, BatchError, Commit, Identity, Sealed, frame};
use rivulet::buffer::{Buffer, BufferError, Durability, Ended, Part, Prepared, Settings};
use rivulet::position::{Checkpoint, Sequence};

use super::cutting::Opening;
use super::log::{Item, each};

/// As the agent's configuration has them by default.
const FULL: Full = Full { bytes_max: 256 << 10, rows_max: 16_384 };
const LEVEL: i32 = 1;
/// The collector acknowledges so many at once.
const BATCHES: u64 = 16;

/// Carries a log's rows; how many. The buffer is made anew.
pub(super) fn carry(log: &Path) -> u64 {
    let path = log.with_extension("buffer");
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let settings =
        Settings { bytes_max: 1 << 30, durability: Durability::Normal, boot_id: "one".to_owned() };
    let (buffer, _) = Buffer::open(&path, settings).expect("target/ can be written");
    let mut stager = Stager::new(batch::Settings { level: LEVEL }, FULL);
    let identity = Identity::of("edge-1".to_owned());
    let mut store = Kept { buffer };
    let mut link = Link { identity, sent: Sequence(0), rows: 0 };
    let (mut behind, mut opening) = (Checkpoint::default(), Opening::default());
    let file = std::fs::File::open(log).expect("the log can be read");
    each(file, |item| match item {
        Item::Begin(begin) => {
            let begin = opening.of(begin);
            behind.position.file.clone_from(&begin.position.file);
            stager.begin(begin, &behind, &mut store).expect("it can be staged");
        }
        Item::Rows(rows, table) => {
            stager.event(table, rows.rows.operation, rows.offset, rows.timestamp_s);
        }
        Item::Row(before, after, _) => {
            stager.row(before, after, &mut store).expect("it can be staged");
        }
        Item::Commit(end_offset) => {
            behind.position.offset = end_offset;
            let commit = Commit { end_offset, xid: None };
            stager.commit(commit, &behind, &mut store).expect("it can be staged");
            link.turn(&mut store.buffer, BATCHES);
        }
    })
    .expect("the log is whole");
    stager.flush(&behind, &mut store).expect("it can be staged");
    link.turn(&mut store.buffer, 1);
    store.buffer.close().expect("it can be closed");
    link.rows
}

/// Frames what is staged, as it would leave.
struct Link {
    identity: Identity,
    sent: Sequence,
    rows: u64,
}

impl Link {
    fn turn(&mut self, buffer: &mut Buffer, at_least: u64) {
        while self.sent < buffer.staged() {
            let staged = buffer.after(self.sent).expect("it is whole").expect("it is staged");
            let Identity { epoch, sequence, previous_crc, .. } = &mut self.identity;
            (*epoch, *sequence) = (staged.epoch, staged.sequence);
            *previous_crc = staged.previous_crc;
            std::hint::black_box(frame(&self.identity, &staged.meta, &staged.body));
            self.sent = staged.sequence;
            self.rows += u64::from(staged.rows);
        }
        if self.sent.0 - buffer.acknowledged().0 >= at_least {
            buffer.acknowledge(buffer.epoch(), self.sent).expect("it was staged");
        }
    }
}

/// The buffer, for a log without prepared transactions and savepoints.
struct Kept {
    buffer: Buffer,
}

/// Why something cannot be staged.
#[derive(Debug)]
pub(super) struct Unstaged {
    _why: Rc<dyn std::fmt::Debug>,
}

impl From<BatchError> for Unstaged {
    fn from(error: BatchError) -> Self {
        Self { _why: Rc::new(error) }
    }
}

impl From<BufferError> for Unstaged {
    fn from(error: BufferError) -> Self {
        Self { _why: Rc::new(error) }
    }
}

impl Store for Kept {
    type Error = Unstaged;

    fn knows(&mut self, fingerprint: u64) -> bool {
        self.buffer.has_schema(fingerprint).unwrap_or(false)
    }

    fn part(&mut self, sealed: Sealed) -> Result<(), Unstaged> {
        Ok(self.buffer.stage_part(&parcel(sealed))?)
    }

    fn commit(&mut self, sealed: Option<Sealed>, behind: &Checkpoint) -> Result<(), Unstaged> {
        Ok(self.buffer.commit_ending(sealed.map(parcel).as_slice(), behind, &[])?)
    }

    fn discard(&mut self) -> Result<(), Unstaged> {
        Ok(self.buffer.discard_parts()?)
    }

    fn take_part(&mut self) -> Result<Option<Part>, Unstaged> {
        Ok(self.buffer.take_part()?)
    }

    fn prepare(
        &mut self,
        name: &[u8],
        last: Option<Sealed>,
        begins: &Checkpoint,
        behind: &Checkpoint,
    ) -> Result<(), Unstaged> {
        let (last, none): (_, &[Ended]) = (last.map(parcel), &[]);
        Ok(self.buffer.prepare(name, last.as_ref(), begins, behind, none)?)
    }

    fn prepared(&mut self, name: &[u8]) -> Result<Option<Prepared>, Unstaged> {
        Ok(self.buffer.prepared(name)?)
    }

    fn prepared_part(&mut self, prepared: &Prepared, part: u32) -> Result<Part, Unstaged> {
        Ok(self.buffer.prepared_part(prepared, part)?)
    }

    fn end(&mut self, _: &[u8], _: bool) {}

    fn schema(&mut self, fingerprint: u64) -> Result<Option<Vec<u8>>, Unstaged> {
        Ok(self.buffer.schema(fingerprint)?)
    }
}
