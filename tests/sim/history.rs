//! What the servers committed: the truth that everything else is measured by.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;
use rivulet::binlog::rows::Operation;
use rivulet::binlog::table::{Column, Kind, Table};
use rivulet::position::{Checkpoint, Gtid, GtidSet, Position, ServerId};

/// One row's change; the number is its identity and its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) number: u64,
    pub(crate) table: usize,
    pub(crate) operation: Operation,
    pub(crate) text_len: usize,
}

/// A rows event: changes of one table and operation.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) offset: u64,
    pub(crate) changes: Vec<Change>,
}

/// Where a transaction lies in a server's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) server: ServerId,
    pub(crate) file: String,
    pub(crate) created_s: u32,
    pub(crate) begins: u64,
    pub(crate) ends: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) place: Place,
    pub(crate) gtid: Option<Gtid>,
    pub(crate) events: Vec<Event>,
    /// These of its events are undone by a rollback to a savepoint.
    pub(crate) undone: Range<usize>,
    pub(crate) end: End,
    /// Changes committed up to and including this transaction.
    pub(crate) upto: usize,
}

/// How a transaction ends. One of the last two kinds has no rows of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Commits,
    /// It is in the log with its rows and was rolled back.
    RollsBack,
    /// Its rows wait under this name.
    Prepares(u8),
    CommitsPrepared(u8),
    RollsBackPrepared(u8),
}

/// Server, file, time of the file's creation, offset.
type Key = (ServerId, String, u32, u64);

/// How the server behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) gtids: bool,
    pub(crate) mariadb: bool,
    /// Its clock is put back now and then.
    pub(crate) unsteady_clock: bool,
}

/// All that was ever committed, and where it lies on the server of the moment.
pub(crate) struct History {
    pub(crate) manner: Manner,
    pub(crate) transactions: Vec<Transaction>,
    /// Committed changes in commit order, and whether each is the last of its transaction.
    pub(crate) changes: Vec<(Change, bool)>,
    pub(crate) tables: Vec<Arc<Table>>,
    /// The first transaction that the server still has.
    pub(crate) start: usize,
    /// How many transactions lie before a place, for every place where one ended.
    before: HashMap<Key, usize>,
    writer: Writer,
    gtid: u64,
    servers: u32,
    /// What is prepared and has not ended.
    prepared: Vec<(u8, Vec<Change>)>,
    /// Changes that were ever prepared.
    prepared_count: u64,
}

/// The end of the server's log.
#[derive(Clone, Debug, Default)]
struct Writer {
    server: ServerId,
    number: u32,
    created_s: u32,
    offset: u64,
    clock_s: u32,
}

const FILE_BEGINS: u64 = 4;

impl History {
    pub(crate) fn new(manner: Manner) -> Self {
        let mut history = Self {
            manner,
            transactions: Vec::new(),
            changes: Vec::new(),
            tables: (0..4).map(table).collect(),
            start: 0,
            before: HashMap::new(),
            writer: Writer { clock_s: 10_000, ..Writer::default() },
            gtid: 0,
            servers: 0,
            prepared: Vec::new(),
            prepared_count: 0,
        };
        history.set_up_server();
        history
    }

    fn set_up_server(&mut self) {
        self.servers += 1;
        let kind = if self.manner.mariadb { "mariadb" } else { "mysql" };
        self.writer.server = ServerId(format!("{kind}:{}", self.servers));
        self.writer.number = 0;
        self.rotate();
    }

    fn rotate(&mut self) {
        self.writer.number += 1;
        self.writer.created_s = self.writer.clock_s;
        self.writer.offset = FILE_BEGINS;
        self.note_boundary(self.transactions.len());
    }

    fn file(&self) -> String {
        format!("binlog.{:06}", self.writer.number)
    }

    fn note_boundary(&mut self, transactions: usize) {
        let Writer { server, created_s, offset, .. } = self.writer.clone();
        self.before.insert((server, self.file(), created_s, offset), transactions);
    }

    /// One more transaction.
    pub(crate) fn write(&mut self, rng: &mut Rng) {
        self.writer.clock_s += rng.u32(0..3);
        if self.manner.unsteady_clock && rng.u32(0..8) == 0 {
            self.writer.clock_s -= 50;
        }
        if rng.u32(0..12) == 0 {
            self.rotate();
        }
        let events = match rng.u32(0..14) {
            0 => 0,
            1 => rng.usize(2..9),
            _ => rng.usize(1..4),
        };
        let rows_max = if events > 3 || rng.u32(0..20) == 0 { 30 } else { 4 };
        let end = self.end(rng, events);
        let events = match end {
            End::CommitsPrepared(_) | End::RollsBackPrepared(_) => 0,
            _ => events,
        };
        let undone = match rng.u32(0..8) {
            0 if events > 1 => {
                let start = rng.usize(0..events);
                start..rng.usize(start + 1..=events)
            }
            _ => 0..0,
        };
        let mut number = self.changes.len() as u64;
        let events: Vec<Event> = (0..events)
            .map(|index| {
                let table = rng.usize(0..self.tables.len());
                let operation = [Operation::Insert, Operation::Update, Operation::Delete];
                let operation = operation[rng.usize(0..3)];
                let changes = (0..rng.usize(1..=rows_max)).map(|_| {
                    let text_len = rng.usize(0..60);
                    let number = match end {
                        // What is rolled back looks like nothing that was committed.
                        _ if undone.contains(&index) => u64::MAX,
                        End::Prepares(_) => {
                            self.prepared_count += 1;
                            (1 << 40) + self.prepared_count
                        }
                        End::Commits => {
                            number += 1;
                            number
                        }
                        _ => u64::MAX,
                    };
                    Change { number, table, operation, text_len }
                });
                Event { offset: 0, changes: changes.collect() }
            })
            .collect();
        let kept = events.iter().enumerate().filter(|(index, _)| !undone.contains(index));
        let mut all: Vec<Change> = kept.flat_map(|(_, event)| event.changes.clone()).collect();
        match end {
            End::Prepares(name) => self.prepared.push((name, std::mem::take(&mut all))),
            End::CommitsPrepared(name) | End::RollsBackPrepared(name) => {
                let at = self.prepared.iter().position(|(known, _)| *known == name);
                let (_, changes) = self.prepared.remove(at.expect("it was prepared"));
                all = changes;
            }
            End::Commits | End::RollsBack => {}
        }
        if matches!(end, End::Commits | End::CommitsPrepared(_)) {
            for (index, change) in all.iter().enumerate() {
                self.changes.push((*change, index + 1 == all.len()));
            }
        }
        self.gtid += 1;
        let gtid = self.manner.gtids.then_some(match self.manner.mariadb {
            true => Gtid::Mariadb { domain: 0, server: 1, sequence: self.gtid },
            false => Gtid::Mysql {
                uuid: rivulet::position::Uuid([7; 16]),
                tag: String::new(),
                number: self.gtid,
            },
        });
        let place = Place::default();
        let upto = self.changes.len();
        self.transactions.push(Transaction { place, gtid, events, undone, end, upto });
        self.lay(self.transactions.len() - 1);
    }

    /// How the next transaction ends, which is to have so many events.
    fn end(&self, rng: &mut Rng, events: usize) -> End {
        let name = rng.u8(0..4);
        let is_prepared = self.prepared.iter().any(|(known, _)| *known == name);
        match rng.u32(0..20) {
            0 | 1 => End::RollsBack,
            2..5 if !is_prepared && events > 0 => End::Prepares(name),
            2..7 if is_prepared => End::CommitsPrepared(name),
            7 if is_prepared => End::RollsBackPrepared(name),
            _ => End::Commits,
        }
    }

    /// Gives a transaction its place at the end of the log.
    fn lay(&mut self, index: usize) {
        let begins = self.writer.offset;
        let mut at = begins + 40;
        for event in &mut self.transactions[index].events {
            event.offset = at;
            at += 30 + 50 * event.changes.len() as u64;
        }
        let (server, file) = (self.writer.server.clone(), self.file());
        let (created_s, ends) = (self.writer.created_s, at + 31);
        self.transactions[index].place = Place { server, file, created_s, begins, ends };
        self.writer.offset = ends;
        self.note_boundary(index + 1);
    }

    /// The server forgets its log and its numbers begin anew, as RESET MASTER does.
    pub(crate) fn reset(&mut self) {
        self.start = self.transactions.len();
        self.prepared.clear();
        self.writer.clock_s += 100;
        (self.writer.number, self.gtid) = (0, 0);
        self.rotate();
    }

    /// A replica takes over: the same transactions, in other files.
    pub(crate) fn fail_over(&mut self, rng: &mut Rng) {
        self.set_up_server();
        self.note_boundary(self.start);
        for index in self.start..self.transactions.len() {
            if rng.u32(0..9) == 0 {
                self.writer.clock_s += 5;
                self.rotate();
                self.note_boundary(index);
            }
            self.lay(index);
        }
    }

    /// Where reading begins if nothing was read yet.
    pub(crate) fn beginning(&self) -> usize {
        self.start
    }

    /// How many transactions lie before a checkpoint; `None` if no transaction ends there.
    pub(crate) fn index_of(&self, checkpoint: &Checkpoint) -> Option<usize> {
        let Position { server, file, offset, .. } = &checkpoint.position;
        let key = (server.clone(), file.clone(), checkpoint.file_created_s, *offset);
        self.before.get(&key).copied()
    }

    /// Changes committed in the first `transactions` transactions.
    pub(crate) fn changes_before(&self, transactions: usize) -> usize {
        transactions.checked_sub(1).map_or(0, |last| self.transactions[last].upto)
    }
}

/// The content of a change's text column.
pub(crate) fn text_of(change: &Change) -> Vec<u8> {
    (0..change.text_len)
        .map(|at| (change.number.wrapping_mul(7) as usize).wrapping_add(at) as u8)
        .collect()
}

/// What was read so far, as a source counts it.
pub(crate) struct Reading {
    /// The transaction being read.
    pub(crate) index: usize,
    /// 0: it has not begun; n: n - 1 events were read.
    pub(crate) step: usize,
    pub(crate) checkpoint: Checkpoint,
}

impl Reading {
    /// Goes on behind a checkpoint of whatever server it was.
    pub(crate) fn open(history: &History, stored: Option<Checkpoint>) -> Self {
        let index = stored.as_ref().map_or(history.beginning(), |checkpoint| {
            history.index_of(checkpoint).expect("a checkpoint is where a transaction ends")
        });
        let gtids = stored.map_or_else(GtidSet::default, |stored| stored.gtids);
        let mut reading =
            Self { index, step: 0, checkpoint: Checkpoint { gtids, ..Checkpoint::default() } };
        match index.checked_sub(1).filter(|last| *last >= history.start) {
            Some(last) => reading.stand_behind(&history.transactions[last]),
            None => {
                if let Some(first) = history.transactions.get(index) {
                    reading.enter(&first.place, None);
                }
            }
        }
        reading
    }

    /// The file of the next transaction is opened.
    pub(crate) fn enter(&mut self, place: &Place, gtid: Option<Gtid>) {
        let (server, file) = (place.server.clone(), place.file.clone());
        self.checkpoint.position = Position { server, file, offset: FILE_BEGINS, gtid };
        self.checkpoint.file_created_s = place.created_s;
    }

    pub(crate) fn stand_behind(&mut self, transaction: &Transaction) {
        let place = &transaction.place;
        self.enter(place, transaction.gtid.clone());
        self.checkpoint.position.offset = place.ends;
        if let Some(gtid) = &transaction.gtid {
            self.checkpoint.gtids.insert(gtid);
        }
    }
}

fn table(index: usize) -> Arc<Table> {
    let column = |name: &str, kind, meta| Column {
        name: name.to_owned(),
        kind,
        meta,
        nullable: true,
        ..Column::default()
    };
    Arc::new(Table {
        schema: "shop".to_owned(),
        name: format!("t{index}"),
        columns: vec![
            column("number", Kind::LongLong, 0),
            column("text", Kind::Blob, 2),
            column("nothing", Kind::Long, 0),
        ],
        primary_key: vec![0],
        ..Table::default()
    })
}
