//! What holds for any bytes in this room: the properties that tests and fuzzers share.
//!
//! Each function takes bytes from an enemy, reads a choice or two off their front, and panics if a
//! promise is broken. How much memory each may take per byte of input is for the caller to measure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Kind, Table};
use crate::position::{Gtid, Position};

use super::cursor::Cursor;
use super::{
    Ack, Assembled, Assembler, Back, Batch, BatchError, Begin, Builder, Commit, Fragment,
    Fragments, Identity, Limits, Message, Meta, RowChange, Settings, Topic, decode_schema,
    encode_schema, frame,
};

/// What a collector takes in these checks.
const LIMITS: Limits = Limits { plain_bytes_max: 1 << 20, rows_max: 4096 };

/// A frame: what is read from it is what it was made from. The checksum is put right first.
pub fn check_message(input: &[u8]) {
    let mut bytes = input.to_vec();
    if let Some((all, sum)) = bytes.split_last_chunk_mut() {
        *sum = crc32c::crc32c(all).to_le_bytes();
    }
    let Ok(message) = Message::parse(&bytes) else { return };
    assert!(message.body.len() <= bytes.len());
    let again = frame(&message.identity, &message.meta.encode(), message.body);
    let again = Message::parse(&again).expect("what we frame can be parsed");
    assert_eq!((&again.identity, &again.meta), (&message.identity, &message.meta));
    assert_eq!(again.body, message.body);
}

/// A fragment survives its bytes, and whatever fragments come in whatever order, no more is held than has
/// arrived, and a message that is told whole is the one that was cut.
///
/// `input` is the length of a first fragment (u8), its bytes, and a script over the fragments of a message that
/// is made from the rest: a byte for each that arrives. The checksum is put right first.
pub fn check_fragment(input: &[u8]) {
    let mut cursor = Cursor::new(input);
    let Ok(len) = cursor.u8("length") else { return };
    let Ok(head) = cursor.bytes(usize::from(len), "fragment") else { return };
    let mut assembler = Assembler::default();
    let mut bytes = head.to_vec();
    if let Some((all, sum)) = bytes.split_last_chunk_mut() {
        *sum = crc32c::crc32c(all).to_le_bytes();
    }
    if let Ok(fragment) = Fragment::parse(&bytes) {
        assert_eq!(Fragment::parse(&fragment.encode()), Ok(fragment.clone()));
        let _ = assembler.take(&fragment, FRAGMENTED_BYTES_MAX);
        assert!(assembler.bytes() <= fragment.piece.len());
    }
    let Ok(message) = cursor.bytes(cursor.left(), "message") else { return };
    let identity = Identity {
        agent: String::new(),
        epoch: 1,
        sequence: Default::default(),
        previous_crc: 0,
        follows: None,
    };
    let cut = Fragments::of(&identity, message.to_vec(), super::FRAGMENT_BYTES_MIN);
    let cut: Vec<_> = cut.expect("the smallest fragments are allowed").collect();
    for choice in message {
        let Some(bytes) = cut.get(usize::from(*choice) % cut.len()) else { return };
        let fragment = Fragment::parse(bytes).expect("what we cut can be parsed");
        match assembler.take(&fragment, FRAGMENTED_BYTES_MAX) {
            Ok(Assembled::Wholly(whole)) => assert!(whole == message, "another message"),
            Ok(Assembled::Partly | Assembled::Broken) => {}
            Err(error) => assert!(fragment.whole.len > FRAGMENTED_BYTES_MAX, "{error}"),
        }
        assert!(assembler.bytes() <= message.len(), "more is held than has arrived");
    }
    let all = cut.iter().map(|bytes| Fragment::parse(bytes).expect("what we cut can be parsed"));
    let last = all.map(|fragment| assembler.take(&fragment, u64::MAX)).last();
    assert!(last.is_none_or(|last| last == Ok(Assembled::Wholly(message.to_vec()))));
}

/// The largest message that is put together in these checks.
const FRAGMENTED_BYTES_MAX: u64 = 4096;

/// A body: it replays in order, or is refused; never more rows than its meta says.
///
/// `input` is a choice (0x01: compressed; the rest: how many columns the tables have), the rows that the meta
/// claims (u16), the plain length it claims if compressed (u24), and the body.
pub fn check_body(input: &[u8]) {
    let mut cursor = Cursor::new(input);
    let (Ok(choice), Ok(head)) = (cursor.u8("choice"), cursor.bytes(2, "rows")) else { return };
    let rows = head.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
    let mut meta = Meta { rows, codec: choice & 1, ..Meta::default() };
    if meta.codec == 1 {
        let Ok(len) = cursor.bytes(3, "length") else { return };
        meta.plain_len = len.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
    }
    let Ok(body) = cursor.bytes(cursor.left(), "body") else { return };
    if meta.codec == 0 {
        meta.plain_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        meta.plain_crc = crc32c::crc32c(body);
    } else if let Ok(plain) = zstd::bulk::decompress(body, LIMITS.plain_bytes_max as usize) {
        meta.plain_crc = crc32c::crc32c(&plain);
    }
    let Ok(batch) = Batch::open(&meta, body, LIMITS) else { return };
    for (_, record) in batch.schemas() {
        check_schema(record);
    }
    let columns = vec![Column::default(); usize::from(choice >> 1) % 16];
    let table = Arc::new(Table { columns, ..Table::default() });
    // Where one cannot be told, those before it still come; all of them are refused together in the end.
    let told = batch.transactions();
    let transactions = told.as_ref().map_or(usize::MAX, Vec::len);
    let (mut count, mut last) = (0, 0);
    let replayed = batch.replay(
        0,
        |_| Some(Arc::clone(&table)),
        |change| {
            count += 1;
            assert!(count <= meta.rows, "more rows than the meta says");
            assert!(change.index >= last && change.index < transactions, "in order");
            last = change.index;
            for image in [change.before, change.after] {
                assert!(image.is_empty() || image.len() == table.columns.len());
            }
            Ok::<_, BatchError>(())
        },
    );
    let skipped =
        batch.replay(transactions, |_| Some(Arc::clone(&table)), |_| Err(BatchError::Short("row")));
    assert_eq!(replayed, skipped, "rows that are skipped are no less checked");
    assert!(told.is_ok() || replayed.is_err(), "a batch is taken whole or not at all");
}

/// A schema record: what is read can be written, and read again.
pub fn check_schema(input: &[u8]) {
    let Ok(table) = decode_schema(input) else { return };
    assert_eq!(decode_schema(&encode_schema(&table)), Ok(table));
}

/// An acknowledgement survives its text.
pub fn check_ack(input: &[u8]) {
    if let Ok(ack) = Ack::decode(input) {
        let again = ack.encode();
        assert_eq!(Ack::decode(&again), Ok(ack));
    }
}

/// A topic survives its text, and no wildcard gets through.
pub fn check_topic(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(topic) = Topic::parse(text) {
        assert_eq!(topic.to_string(), text);
        assert!(!text.contains(['+', '#']));
    }
}

/// A change as plain data: transaction, offset, operation, images.
type Plain = (u64, u64, Operation, Vec<Owned>, Vec<Owned>);

/// A cell that owns its bytes.
type Owned = Option<Vec<u8>>;

/// Whatever rows go into batches come out of them, to the bit and in commit order, wherever batches and
/// parts of transactions are cut.
///
/// `input` is the number of columns, a type for each, and a script: a byte for what happens next, and for
/// rows their values.
pub fn check_round(input: &[u8]) {
    let mut cursor = Cursor::new(input);
    let Ok(count) = cursor.u8("columns") else { return };
    let count = 1 + usize::from(count % 8);
    let Ok(kinds) = cursor.bytes(count, "types") else { return };
    let columns = kinds.iter().map(|byte| Column {
        kind: KINDS.get(usize::from(*byte) % KINDS.len()).copied().unwrap_or_default(),
        ..Column::default()
    });
    let table = Arc::new(Table { columns: columns.collect(), ..Table::default() });
    let mut round = Round::new(table);
    while round.step(&mut cursor).is_ok() {}
    round.commit();
    round.seal();
    assert!(round.got == round.want, "what came out is not what went in");
    assert_eq!((round.builder.rows(), round.builder.bytes()), (0, 0));
}

const KINDS: [Kind; 8] = [
    Kind::Long,
    Kind::Varchar,
    Kind::Double,
    Kind::Float,
    Kind::NewDecimal,
    Kind::LongLong,
    Kind::DateTime2,
    Kind::Blob,
];

struct Round {
    table: Arc<Table>,
    builder: Builder,
    open: bool,
    number: u64,
    schemas: HashMap<u64, Arc<Table>>,
    want: Vec<Plain>,
    got: Vec<Plain>,
    /// The length of `want` where the open transaction began, and at its savepoint.
    began: usize,
    saved: Option<usize>,
}

impl Round {
    fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            builder: Builder::new(Settings { level: 0 }),
            open: false,
            number: 0,
            schemas: HashMap::new(),
            want: Vec::new(),
            got: Vec::new(),
            began: 0,
            saved: None,
        }
    }

    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<(), BatchError> {
        let what = cursor.u8("step")?;
        match what & 15 {
            0 => self.commit(),
            1 => self.seal(),
            2 if self.open => self.part(),
            3 if self.open && self.builder.parts() == 0 => {
                self.builder.rollback();
                self.want.truncate(self.began);
                self.open = false;
            }
            4 if self.open => {
                self.builder.savepoint(b"s");
                self.saved = Some(self.want.len());
            }
            // Rows that have left with a part are the stager's to bring back.
            5 if self.open && self.builder.parts() == 0 => {
                let back = self.builder.rollback_to(b"s");
                assert_eq!(back, self.saved.map(|_| Back::Done));
                self.want.truncate(self.saved.unwrap_or(self.want.len()));
            }
            _ => self.rows(what, cursor)?,
        }
        Ok(())
    }

    fn rows(&mut self, what: u8, cursor: &mut Cursor<'_>) -> Result<(), BatchError> {
        self.begin();
        let operation = match what >> 6 {
            0 | 3 => Operation::Insert,
            1 => Operation::Update,
            _ => Operation::Delete,
        };
        let offset = self.first_offset() + u64::from(what);
        self.builder.event(&self.table, operation, offset, 7);
        for _ in 0..=(what >> 4) & 3 {
            let before = match operation {
                Operation::Insert => Vec::new(),
                _ => self.image(cursor)?,
            };
            let after = match operation {
                Operation::Delete => Vec::new(),
                _ => self.image(cursor)?,
            };
            self.builder.row(&borrowed(&before), &borrowed(&after));
            self.want.push((self.number, offset, operation, before, after));
        }
        Ok(())
    }

    /// Values of the lengths that the types have; what is not there is NULL.
    fn image(&self, cursor: &mut Cursor<'_>) -> Result<Vec<Owned>, BatchError> {
        let mut image = Vec::new();
        for column in &self.table.columns {
            let head = cursor.u8("value")?;
            let len = match column.kind {
                Kind::Long | Kind::Float => 4,
                Kind::LongLong | Kind::Double | Kind::DateTime2 => 8,
                _ => usize::from(head >> 3),
            };
            image.push(match head & 7 {
                0 => None,
                1 => Some(vec![head; len]),
                _ => Some(cursor.bytes(len, "value")?.to_vec()),
            });
        }
        Ok(image)
    }

    fn begin(&mut self) {
        if self.open {
            return;
        }
        (self.open, self.began, self.saved) = (true, self.want.len(), None);
        self.number += 1;
        let gtid = Gtid::Mariadb { domain: 0, server: 1, sequence: self.number };
        let offset = self.first_offset();
        let position = Position { offset, gtid: Some(gtid), ..Position::default() };
        self.builder.begin(&Begin { position, ..Begin::default() });
    }

    /// Where the transaction of this number begins; it ends where the next one does.
    fn first_offset(&self) -> u64 {
        self.number * 1000
    }

    fn commit(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let commit = Commit { end_offset: self.first_offset() + 1000, xid: None };
        if self.builder.parts() > 0 {
            let schemas = &self.schemas;
            let known = |fingerprint| schemas.contains_key(&fingerprint);
            let sealed = self.builder.seal_last_part(commit, known);
            self.replay(sealed);
        } else {
            self.builder.commit(commit);
        }
    }

    fn seal(&mut self) {
        let schemas = &self.schemas;
        let sealed = self.builder.seal(|fingerprint| schemas.contains_key(&fingerprint));
        self.replay(sealed);
    }

    fn part(&mut self) {
        self.seal();
        let schemas = &self.schemas;
        let sealed = self.builder.seal_part(|fingerprint| schemas.contains_key(&fingerprint));
        self.replay(sealed);
        // What has left cannot be taken back.
        self.saved = None;
    }

    fn replay(&mut self, sealed: Result<Option<super::Sealed>, BatchError>) {
        let Some(sealed) = sealed.expect("what goes in can be sealed") else { return };
        let meta = Meta::decode(&sealed.meta).expect("our own meta");
        let batch = Batch::open(&meta, &sealed.body, Limits::default()).expect("our own body");
        for (fingerprint, record) in batch.schemas() {
            let table = decode_schema(record).expect("our own schema");
            self.schemas.insert(*fingerprint, Arc::new(table));
        }
        let (schemas, got) = (&self.schemas, &mut self.got);
        let each = |change: &RowChange<'_>| {
            let Some(Gtid::Mariadb { sequence, .. }) = change.transaction.gtid else {
                return Ok(());
            };
            let (before, after) = (owned(change.before), owned(change.after));
            got.push((sequence, change.offset, change.operation, before, after));
            let transaction = change.transaction;
            assert_eq!(transaction.first_offset, sequence * 1000);
            assert!([0, transaction.first_offset + 1000].contains(&transaction.last_offset));
            Ok::<_, BatchError>(())
        };
        batch
            .replay(0, |fingerprint| schemas.get(&fingerprint).cloned(), each)
            .expect("our own rows");
    }
}

fn owned(cells: &[Cell<'_>]) -> Vec<Owned> {
    let one = |cell: &Cell<'_>| match cell {
        Cell::Absent | Cell::Null => None,
        Cell::Value(bytes) | Cell::JsonDiff(bytes) => Some(bytes.to_vec()),
    };
    cells.iter().map(one).collect()
}

fn borrowed(cells: &[Owned]) -> Vec<Cell<'_>> {
    cells.iter().map(|cell| cell.as_deref().map_or(Cell::Null, Cell::Value)).collect()
}
