use std::sync::Arc;

use tempfile::TempDir;

use crate::batch::{Begin, Builder, Commit, Follows, Fragments, Identity, Meta, Sealed, frame};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Kind, Table};
use crate::collector::log::Settings;
use crate::position::Position;

use super::*;

const AGENT: &str = "edge-1";

fn intake(folder: &TempDir, name: &str) -> Intake {
    let log = Log::open(&folder.path().join(name), Settings::default()).unwrap();
    Intake::open(log, Limits::default()).unwrap()
}

/// An agent's batches, one row of so many random bytes in each.
struct Edge {
    builder: Builder,
    epoch: u64,
    sequence: u64,
    crc: u32,
    offset: u64,
}

impl Edge {
    fn new() -> Self {
        let builder = Builder::new(crate::batch::Settings { level: 1 });
        Self { builder, epoch: 1, sequence: 0, crc: 0, offset: 4 }
    }

    fn next(&mut self, bytes: usize, schemas_are_known: bool) -> (Identity, Vec<u8>) {
        self.transaction(bytes);
        let sealed = self.builder.seal(|_| schemas_are_known).unwrap().unwrap();
        self.framed(&sealed)
    }

    fn transaction(&mut self, bytes: usize) {
        let columns = vec![Column { kind: Kind::Blob, ..Column::default() }];
        let table = Arc::new(Table { columns, ..Table::default() });
        let row: Vec<u8> = (0..bytes).map(|_| fastrand::u8(..)).collect();
        let file = "b.000001".to_owned();
        let position = Position { file, offset: self.offset, ..Position::default() };
        self.builder.begin(&Begin { position, ..Begin::default() });
        self.builder.event(&table, Operation::Insert, self.offset, 0);
        self.builder.row(&[], &[Cell::Value(&row)]);
        self.offset += 1000;
        self.builder.commit(Commit { end_offset: self.offset, xid: None });
    }

    fn framed(&mut self, sealed: &Sealed) -> (Identity, Vec<u8>) {
        self.sequence += 1;
        let (agent, sequence) = (AGENT.to_owned(), Sequence(self.sequence));
        let follows = (self.sequence == 1).then(Follows::default);
        let (epoch, previous_crc) = (self.epoch, self.crc);
        let identity = Identity { agent, epoch, sequence, previous_crc, follows };
        self.crc = crate::batch::crc(&sealed.meta, &sealed.body);
        let message = frame(&identity, &sealed.meta, &sealed.body);
        (identity, message)
    }
}

fn inbound(message: Vec<u8>) -> Inbound {
    Inbound { agent: AGENT.to_owned(), message: Bytes::from(message) }
}

/// The last acknowledgement of one call for each message.
fn give(
    intake: &mut Intake,
    messages: impl IntoIterator<Item = Vec<u8>>,
    now: Instant,
) -> Vec<Ack> {
    let mut acks = Vec::new();
    for message in messages {
        let taken = intake.take(&[inbound(message)], now).unwrap();
        assert_eq!(taken.refused, [None]);
        acks.extend(taken.acks.into_iter().map(|(_, ack)| ack));
    }
    acks
}

fn at(acks: &[Ack]) -> Option<(u64, Option<Demand>)> {
    acks.last().map(|ack| (ack.sequence.0, ack.demand))
}

#[test]
fn fragments_are_a_batch_when_all_are_there() {
    let (folder, now) = (TempDir::new().unwrap(), Instant::now());
    let (mut intake, mut edge) = (intake(&folder, "l"), Edge::new());
    let (identity, message) = edge.next(5000, false);
    let fragments: Vec<_> = Fragments::of(&identity, message, 600).unwrap().collect();
    let (last, first) = fragments.split_last().unwrap();
    assert_eq!(give(&mut intake, first.to_vec(), now), []);
    assert_eq!(at(&give(&mut intake, [last.clone()], now)), Some((1, None)));
    // The same in one group, behind a whole batch.
    let (_, whole) = edge.next(10, true);
    let (identity, message) = edge.next(5000, true);
    let cut = Fragments::of(&identity, message, 600).unwrap();
    let group: Vec<_> = std::iter::once(whole).chain(cut).map(inbound).collect();
    let taken = intake.take(&group, now).unwrap();
    assert_eq!((taken.batches, taken.rows), (2, 2));
    assert_eq!(taken.acks.last().unwrap().1.sequence, Sequence(3));
}

#[test]
fn what_would_stop_every_sink_is_not_logged() {
    let (folder, now) = (TempDir::new().unwrap(), Instant::now());
    let mut intake = intake(&folder, "l");
    // A schema under another's name; one that is none; and rows that are not there, of a known table.
    let record = crate::batch::encode_schema(&Table::default());
    let name = crate::batch::fingerprint(&record);
    let none = b"no schema".to_vec();
    for schemas in [vec![(name ^ 1, record)], vec![(crate::batch::fingerprint(&none), none)]] {
        let sealed = crate::batch::schema_batch(schemas, 1).unwrap();
        let (_, message) = Edge::new().framed(&sealed);
        let taken = intake.take(&[inbound(message)], now).unwrap();
        assert!(matches!(taken.refused.as_slice(), [Some(Refusal::Batch(_))]), "{taken:?}");
    }
    let mut edge = Edge::new();
    edge.builder = Builder::new(crate::batch::Settings { level: 0 });
    edge.transaction(40);
    let mut sealed = edge.builder.seal(|_| false).unwrap().unwrap();
    // One byte of the group's data is gone: its length, then no NULLs, one length of 40, raw.
    let mut meta = Meta::decode(&sealed.meta).unwrap();
    let len = sealed.body.windows(6).position(|at| at == [45, 0, 0, 0, 40, 0]).unwrap();
    sealed.body[len] -= 1;
    sealed.body.pop();
    meta.plain_len -= 1;
    meta.plain_crc = crc32c::crc32c(&sealed.body);
    assert!(Batch::open(&meta, &sealed.body, Limits::default()).is_ok());
    sealed.meta = meta.encode();
    let (_, message) = edge.framed(&sealed);
    let taken = intake.take(&[inbound(message)], now).unwrap();
    assert!(matches!(taken.refused.as_slice(), [Some(Refusal::Batch(_))]), "{taken:?}");
    assert_eq!(intake.log().last(), 0);
}

#[test]
fn a_missing_fragment_is_asked_for_once_and_what_is_here_never() {
    let (folder, now) = (TempDir::new().unwrap(), Instant::now());
    let (mut intake, mut edge) = (intake(&folder, "l"), Edge::new());
    give(&mut intake, [edge.next(10, false).1], now);
    let (identity, message) = edge.next(5000, true);
    let fragments: Vec<_> = Fragments::of(&identity, message, 600).unwrap().collect();
    let mut broken = fragments.clone();
    broken.remove(1);
    let acks = give(&mut intake, broken, now);
    assert_eq!(at(&acks), Some((1, Some(Demand::Rewind))));
    assert_eq!(acks.len(), 1, "{acks:?}");
    // What follows it is missed for the same reason.
    assert_eq!(give(&mut intake, [edge.next(10, true).1], now), []);
    assert_eq!(at(&give(&mut intake, fragments.clone(), now)), Some((2, None)));
    let again = give(&mut intake, fragments[1..].to_vec(), now);
    assert!(again.iter().all(|ack| ack.demand.is_none()), "{again:?}");
}

#[test]
fn an_agent_goes_on_where_another_collector_stands() {
    let (folder, now) = (TempDir::new().unwrap(), Instant::now());
    let elsewhere = Elsewhere::default();
    let mut first = intake(&folder, "first");
    let mut second = intake(&folder, "second").beside(elsewhere.clone());
    let mut edge = Edge::new();
    for known in [false, true] {
        for ack in give(&mut first, [edge.next(10, known).1], now) {
            elsewhere.heard(AGENT, ack);
        }
    }
    // It has the numbers, and lacks the schema: the agent begins an epoch with all of them in front.
    let lacking = give(&mut second, [edge.next(10, true).1], now);
    assert_eq!(at(&lacking), Some((2, Some(Demand::Schemas))));
    (edge.epoch, edge.sequence, edge.crc, edge.offset) = (2, 0, 0, edge.offset - 1000);
    let acks = give(&mut second, [edge.next(10, false).1], now);
    assert_eq!(at(&acks), Some((1, None)));
    // And back.
    acks.into_iter().for_each(|ack| elsewhere.heard(AGENT, ack));
    let mut first = first.beside(elsewhere);
    assert_eq!(at(&give(&mut first, [edge.next(10, true).1], now)), Some((2, None)));
}

#[test]
fn parts_that_went_on_elsewhere_are_not_joined_with_what_comes_next() {
    let (folder, now) = (TempDir::new().unwrap(), Instant::now());
    let elsewhere = Elsewhere::default();
    let mut intake = intake(&folder, "l").beside(elsewhere.clone());
    let mut edge = Edge::new();
    let columns = vec![Column { kind: Kind::Long, ..Column::default() }];
    let table = Arc::new(Table { columns, ..Table::default() });
    let position = Position { file: "b.000001".to_owned(), offset: 4, ..Position::default() };
    edge.builder.begin(&Begin { position, ..Begin::default() });
    edge.builder.event(&table, Operation::Insert, 4, 0);
    edge.builder.row(&[], &[Cell::Value(&[1, 0, 0, 0])]);
    let part = edge.builder.seal_part(|_| false).unwrap().unwrap();
    let part = edge.framed(&part).1;
    assert_eq!(at(&give(&mut intake, [part], now)), Some((1, None)));
    // The rest went elsewhere, and two batches more.
    let reader = crate::collector::log::Reader::open(&folder.path().join("l")).unwrap();
    let mut later = Edge { sequence: 4, crc: 77, offset: 9000, ..Edge::new() };
    let ack = Ack { version: 1, epoch: 1, sequence: Sequence(4), crc: 77, ..Ack::default() };
    elsewhere.heard(AGENT, ack);
    assert_eq!(at(&give(&mut intake, [later.next(10, false).1], now)), Some((5, None)));
    let only = reader.next(0).unwrap().unwrap();
    let message = Message::parse(&only.message).unwrap();
    assert_eq!((message.identity.sequence, only.ends), (Sequence(5), true));
}

#[test]
fn what_comes_again_beside_something_new_is_not_counted_again() {
    let folder = TempDir::new().unwrap();
    let mut intake = intake(&folder, "log");
    let mut edge = Edge::new();
    let now = Instant::now();
    let take = |intake: &mut Intake, message| {
        let taken = intake.take(&[inbound(message)], now).unwrap();
        assert_eq!(taken.refused, [None]);
        let brought = &taken.brought[AGENT];
        assert_eq!(taken.rows, brought.rows);
        (brought.batches, brought.rows, brought.committed_us.len())
    };
    let first = edge.next(10, false).1;
    assert_eq!(take(&mut intake, first), (1, 1, 1));
    // The agent lost its buffer and reads again from where it began.
    let mut edge = Edge { epoch: 2, ..Edge::new() };
    edge.transaction(10);
    let both = edge.next(10, false).1;
    assert_eq!(take(&mut intake, both), (1, 1, 1));
}
