//! What goes into a batch comes out of it, in order and to the bit.

use std::collections::HashMap;
use std::sync::Arc;

use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Kind, Table};
use crate::position::{Gtid, Position};

use super::*;

/// A change as plain data: (transaction, table, operation, before, after, offsets, row in event). The offsets are
/// where the transaction begins, the event's, and where the transaction ends: 0 in a part that is not the last.
type Plain = (u64, String, Operation, Vec<Owned>, Vec<Owned>, [u64; 3], u32);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Owned {
    Absent,
    Null,
    Value(Vec<u8>),
    JsonDiff(Vec<u8>),
}

fn owned(cells: &[Cell<'_>]) -> Vec<Owned> {
    let one = |cell: &Cell<'_>| match cell {
        Cell::Absent => Owned::Absent,
        Cell::Null => Owned::Null,
        Cell::Value(bytes) => Owned::Value(bytes.to_vec()),
        Cell::JsonDiff(bytes) => Owned::JsonDiff(bytes.to_vec()),
    };
    cells.iter().map(one).collect()
}

fn borrowed(cells: &[Owned]) -> Vec<Cell<'_>> {
    let one = |cell| match cell {
        &Owned::Absent => Cell::Absent,
        &Owned::Null => Cell::Null,
        Owned::Value(bytes) => Cell::Value(bytes),
        Owned::JsonDiff(bytes) => Cell::JsonDiff(bytes),
    };
    cells.iter().map(one).collect()
}

fn tables() -> Vec<Arc<Table>> {
    let table = |name: &str, kinds: &[Kind]| {
        let column = |(index, kind): (usize, &Kind)| Column {
            name: format!("c{index}"),
            kind: *kind,
            ..Column::default()
        };
        let columns = kinds.iter().enumerate().map(column).collect();
        Arc::new(Table { schema: "s".into(), name: name.into(), columns, ..Table::default() })
    };
    vec![
        table("a", &[Kind::Long, Kind::Varchar, Kind::Double, Kind::Json]),
        table("b", &[Kind::LongLong, Kind::NewDecimal, Kind::Blob, Kind::Float, Kind::DateTime2]),
    ]
}

/// A machine that runs a random script against a builder and a plain list at once.
struct Script {
    rng: fastrand::Rng,
    tables: Vec<Arc<Table>>,
    builder: Builder,
    schemas: HashMap<u64, Arc<Table>>,
    /// What the sealed batches must replay to.
    want: Vec<Plain>,
    got: Vec<Plain>,
    offset: u64,
    /// Where the transaction begins; and how many rows there were when it, or its newest part, began.
    first_offset: u64,
    began: usize,
    /// All events of the transaction have its offset, as those of a compressed one.
    packed: bool,
    /// The number of the next row at the offset.
    row: u32,
    number: u64,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            tables: tables(),
            builder: Builder::new(Settings { level: 1 }),
            schemas: HashMap::new(),
            want: Vec::new(),
            got: Vec::new(),
            offset: 4,
            first_offset: 4,
            began: 0,
            packed: false,
            row: 0,
            number: 0,
        }
    }

    fn image(&mut self, table: &Table, absent: u64) -> Vec<Owned> {
        let rng = &mut self.rng;
        let cell = |(index, column): (usize, &Column)| {
            if absent >> index & 1 == 1 {
                return Owned::Absent;
            }
            let len = match column.kind {
                Kind::Long | Kind::Float => 4,
                Kind::LongLong | Kind::Double | Kind::DateTime2 => 8,
                Kind::NewDecimal => 11,
                _ => rng.usize(0..20),
            };
            match rng.u8(0..4) {
                0 => Owned::Null,
                1 => Owned::Value(vec![7; len]),
                2 if column.kind == Kind::Json => Owned::JsonDiff(vec![9; len / 3]),
                _ => Owned::Value((0..len).map(|_| rng.u8(0..3)).collect()),
            }
        };
        table.columns.iter().enumerate().map(cell).collect()
    }

    fn transaction(&mut self) {
        self.number += 1;
        (self.first_offset, self.began) = (self.offset, self.want.len());
        self.packed = self.rng.bool();
        self.row = 0;
        let gtid = Gtid::Mariadb { domain: 0, server: 1, sequence: self.number };
        let position = Position {
            file: format!("binlog.{:06}", self.number / 50),
            offset: self.offset,
            gtid: Some(gtid),
            ..Position::default()
        };
        self.builder.begin(&Begin { position, timestamp_s: 77, server_id: 5, ..Begin::default() });
        let start = self.want.len();
        for _ in 0..self.rng.usize(0..4) {
            let savepoint = (self.rng.u8(0..4) == 0).then(|| {
                self.builder.savepoint(b"sp");
                (self.want.len(), self.builder.parts())
            });
            self.event();
            if let Some((len, parts)) = savepoint
                && parts == self.builder.parts()
                && self.rng.bool()
            {
                assert_eq!(self.builder.rollback_to(b"sp"), Some(Back::Done));
                self.want.truncate(len);
            }
        }
        if self.builder.parts() == 0 && self.rng.u8(0..5) == 0 {
            self.builder.rollback();
            self.want.truncate(start);
        } else {
            self.commit();
        }
        if self.rng.u8(0..6) == 0 {
            self.seal();
        }
    }

    fn event(&mut self) {
        let table = Arc::clone(self.rng.choice(&self.tables.clone()).unwrap());
        let operation =
            *self.rng.choice(&[Operation::Insert, Operation::Update, Operation::Delete]).unwrap();
        let absent = if self.rng.bool() { 0 } else { 2 };
        if !self.packed {
            self.offset += 100;
            self.row = 0;
        }
        self.builder.event(&table, operation, self.offset, 78);
        for _ in 0..self.rng.u32(0..12) {
            let before = match operation {
                Operation::Insert => Vec::new(),
                _ => self.image(&table, 0),
            };
            let mut after = match operation {
                Operation::Delete => Vec::new(),
                _ => self.image(&table, absent),
            };
            if operation == Operation::Update && absent == 0 && self.rng.bool() {
                after[0] = before[0].clone();
            }
            self.builder.row(&borrowed(&before), &borrowed(&after));
            let name = table.name.clone();
            let offsets = [self.first_offset, self.offset, 0];
            self.want.push((self.number, name, operation, before, after, offsets, self.row));
            self.row += 1;
            if self.rng.u8(0..40) == 0 {
                self.seal();
                let part = self.builder.seal_part(|f| self.schemas.contains_key(&f)).unwrap();
                self.replay(part);
                self.began = self.want.len();
            }
        }
    }

    fn commit(&mut self) {
        self.offset += 31;
        for (.., [_, _, last_offset], _) in self.want.iter_mut().skip(self.began) {
            *last_offset = self.offset;
        }
        let commit = Commit { end_offset: self.offset, xid: Some(self.number) };
        if self.builder.parts() > 0 {
            let last = self.builder.seal_last_part(commit, |f| self.schemas.contains_key(&f));
            self.replay(last.unwrap());
        } else {
            self.builder.commit(commit);
        }
    }

    fn seal(&mut self) {
        let sealed = self.builder.seal(|f| self.schemas.contains_key(&f)).unwrap();
        self.replay(sealed);
    }

    fn replay(&mut self, sealed: Option<Sealed>) {
        let Some(sealed) = sealed else { return };
        let meta = Meta::decode(&sealed.meta).unwrap();
        let batch = Batch::open(&meta, &sealed.body, Limits::default()).unwrap();
        for (fingerprint, record) in batch.schemas() {
            self.schemas.insert(*fingerprint, Arc::new(decode_schema(record).unwrap()));
        }
        let schemas = &self.schemas;
        let before = self.got.len();
        let each = |change: &RowChange<'_>| {
            let Some(Gtid::Mariadb { sequence, .. }) = change.transaction.gtid else { panic!() };
            self.got.push((
                sequence,
                change.table.name.clone(),
                change.operation,
                owned(change.before),
                owned(change.after),
                [change.transaction.first_offset, change.offset, change.transaction.last_offset],
                change.row,
            ));
            Ok::<_, BatchError>(())
        };
        batch.replay(0, |fingerprint| schemas.get(&fingerprint).cloned(), each).unwrap();
        assert_eq!(self.got.len() - before, sealed.rows as usize);
    }
}

#[test]
fn what_goes_in_comes_out_in_commit_order() {
    for seed in 0..200 {
        let mut script = Script::new(seed);
        for _ in 0..60 {
            script.transaction();
        }
        script.seal();
        assert_eq!(script.got.len(), script.want.len(), "seed {seed}");
        assert!(script.got == script.want, "seed {seed}");
        assert_eq!((script.builder.rows(), script.builder.bytes()), (0, 0), "seed {seed}");
    }
}

fn sample() -> (Sealed, Arc<Table>) {
    let table = Arc::clone(&tables()[0]);
    let mut builder = Builder::new(Settings { level: 0 });
    for number in 0..20u32 {
        let offset = u64::from(1000 * number + number % 3);
        let position = Position { offset, ..Position::default() };
        builder.begin(&Begin { position, timestamp_s: number, ..Begin::default() });
        builder.event(&table, Operation::Insert, offset + 130, 0);
        let (id, price) = (number.to_le_bytes(), (f64::from(number) / 4.0).to_le_bytes());
        builder.row(&[], &[Cell::Value(&id), Cell::Value(b"text"), Cell::Value(&price)]);
        builder.commit(Commit { end_offset: offset + 211, xid: None });
    }
    (builder.seal(|_| false).unwrap().unwrap(), table)
}

#[test]
fn a_damaged_body_never_panics_and_never_allocates_beyond_the_limit() {
    let (sealed, table) = sample();
    let mut meta = Meta::decode(&sealed.meta).unwrap();
    let replay = |meta: &Meta, body: &[u8]| {
        let batch = Batch::open(meta, body, Limits { plain_bytes_max: 1 << 20, rows_max: 1000 })?;
        batch.replay(0, |_| Some(Arc::clone(&table)), |_| Ok::<_, BatchError>(()))
    };
    assert_eq!(replay(&meta, &sealed.body), Ok(()));
    for index in 0..sealed.body.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = sealed.body.clone();
            damaged[index] = byte;
            // As an enemy would: with a checksum that fits.
            meta.plain_crc = crc32c::crc32c(&damaged);
            let _ = replay(&meta, &damaged);
        }
    }
    for len in 0..sealed.body.len() {
        (meta.plain_len, meta.plain_crc) = (len as u32, crc32c::crc32c(&sealed.body[..len]));
        assert!(replay(&meta, &sealed.body[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn names_that_every_transaction_would_repeat_are_bounded() {
    let mut builder = Builder::new(Settings { level: 1 });
    let table = Arc::clone(&tables()[0]);
    for len in [512, 513] {
        let position = Position { file: "f".repeat(len), ..Position::default() };
        builder.begin(&Begin { position, ..Begin::default() });
        builder.event(&table, Operation::Insert, 4, 0);
        builder.row(&[], &[Cell::Null; 4]);
        builder.commit(Commit::default());
        let sealed = builder.seal(|_| false).unwrap().unwrap();
        let meta: Meta = postcard::from_bytes(&sealed.meta).unwrap();
        let opened = Batch::open(&meta, &sealed.body, Limits::default());
        let meta = Meta::decode(&sealed.meta);
        assert_eq!((meta.is_ok(), opened.is_ok()), (len == 512, len == 512), "{len} bytes");
    }
}

#[test]
fn lists_of_what_takes_nothing_are_bounded() {
    // Names of no bytes, by the million: a byte each here, a kilobyte in all as it travels.
    let body = |names| {
        let count = postcard::to_allocvec(&(names as u64)).unwrap();
        let body = postcard::to_allocvec(&super::body::Body::default()).unwrap();
        [count, vec![0; names], body[1..].to_vec()].concat()
    };
    for (names, allowed) in [(1 << 20, true), ((1 << 20) + 1, false), (8 << 20, false)] {
        let plain = body(names);
        let meta = Meta {
            plain_len: plain.len() as u32,
            plain_crc: crc32c::crc32c(&plain),
            ..Meta::default()
        };
        let opened = Batch::open(&meta, &plain, Limits::default());
        assert_eq!(opened.map(drop).map_err(|error| error.to_string()).is_ok(), allowed, "{names}");
    }
}

#[test]
fn a_large_batch_of_what_packs_to_nothing_is_no_bomb() {
    // Sealed at 4 MiB, the largest setting: a wide table with next to nothing in it.
    let columns = vec![Column { kind: Kind::Long, ..Column::default() }; 1000];
    let table = Arc::new(Table { columns, ..Table::default() });
    let mut builder = Builder::new(Settings { level: 1 });
    builder.begin(&Begin::default());
    builder.event(&table, Operation::Insert, 4, 0);
    let row = vec![Cell::Null; 1000];
    while builder.bytes() < 4 << 20 {
        builder.row(&[], &row);
    }
    builder.commit(Commit::default());
    let sealed = builder.seal(|_| false).unwrap().unwrap();
    let meta = Meta::decode(&sealed.meta).unwrap();
    let batch = Batch::open(&meta, &sealed.body, Limits::default()).unwrap();
    let mut rows = 0;
    let each = |change: &RowChange<'_>| {
        assert_eq!(change.after, row);
        rows += 1;
        Ok::<_, BatchError>(())
    };
    batch.replay(0, |_| Some(Arc::clone(&table)), each).unwrap();
    assert_eq!(rows, sealed.rows);
}

#[test]
fn a_group_has_no_more_rows_than_the_batch() {
    let body = body::Body {
        tables: vec![7],
        groups: vec![body::GroupRecord { rows: u32::MAX, ..Default::default() }],
        ..Default::default()
    };
    let plain = postcard::to_allocvec(&body).unwrap();
    let meta = Meta {
        rows: 1000,
        plain_len: plain.len() as u32,
        plain_crc: crc32c::crc32c(&plain),
        ..Meta::default()
    };
    let batch = Batch::open(&meta, &plain, Limits::default()).unwrap();
    let table = Arc::new(Table::default());
    let replayed = batch.replay(0, |_| Some(Arc::clone(&table)), |_| Ok::<_, BatchError>(()));
    assert_eq!(replayed, Err(BatchError::TooLarge("rows")));
}

#[test]
fn a_length_that_no_frame_can_hold_is_refused_before_it_is_allocated() {
    let meta = Meta { codec: 1, plain_len: 1 << 30, ..Meta::default() };
    let error = Batch::open(&meta, &[0; 20], Limits::default()).unwrap_err();
    assert_eq!(error, BatchError::TooLarge("plain length"));
}

#[test]
fn leading_transactions_can_be_skipped() {
    let (sealed, table) = sample();
    let meta = Meta::decode(&sealed.meta).unwrap();
    let batch = Batch::open(&meta, &sealed.body, Limits::default()).unwrap();
    let mut seen = Vec::new();
    let each = |change: &RowChange<'_>| {
        seen.push(change.transaction.timestamp_s);
        Ok::<_, BatchError>(())
    };
    batch.replay(17, |_| Some(Arc::clone(&table)), each).unwrap();
    assert_eq!(seen, [17, 18, 19]);
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let (sealed, _) = sample();
    let mut meta = Meta::decode(&sealed.meta).unwrap();
    meta.codec = 1;
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    let limits = Limits { plain_bytes_max: 4096, rows_max: 1000 };
    assert!(matches!(Batch::open(&meta, &bomb, limits), Err(BatchError::Refused("zstd"))));
    meta.plain_len = 1 << 20;
    assert!(matches!(Batch::open(&meta, &bomb, limits), Err(BatchError::TooLarge(_))));
}

#[test]
fn rows_that_are_brought_back_from_a_part_do_not_count_again() {
    let (_, table) = sample();
    let mut builder = Builder::new(Settings { level: 0 });
    let insert = |builder: &mut Builder, again: bool| {
        let row = [Cell::Null; 4];
        if again { builder.row_again(&[], &row) } else { builder.row(&[], &row) }
    };
    builder.begin(&Begin::default());
    builder.event(&table, Operation::Insert, 4, 0);
    insert(&mut builder, false);
    builder.savepoint(b"s");
    insert(&mut builder, false);
    builder.seal_part(|_| false).unwrap().unwrap();
    assert_eq!(builder.rollback_to(b"s"), Some(Back::ToRow(1)));
    builder.unseal_part(2);
    builder.event_from(&table, Operation::Insert, 4, 0, 0);
    insert(&mut builder, true);
    builder.event(&table, Operation::Insert, 4, 0);
    insert(&mut builder, false);
    builder.commit(Commit::default());
    let sealed = builder.seal(|_| false).unwrap().unwrap();
    let meta = Meta::decode(&sealed.meta).unwrap();
    let batch = Batch::open(&meta, &sealed.body, Limits::default()).unwrap();
    let mut numbers = Vec::new();
    let known = |_| Some(Arc::clone(&table));
    batch
        .replay(0, known, |change| {
            numbers.push(change.row);
            Ok::<_, BatchError>(())
        })
        .unwrap();
    // The one that was undone had the number 1.
    assert_eq!(numbers, [0, 2]);
}
