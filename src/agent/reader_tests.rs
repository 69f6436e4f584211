//! What the reading thread stages, and when it may say so.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Kind, Table};
use crate::buffer::{Buffer, Durability};
use crate::position::Sequence;

const CUT: Cut = Cut {
    full: Full { bytes_max: 4096, rows_max: 1000 },
    age_max: Duration::from_millis(20),
    level: 1,
};

fn ties(folder: &Path) -> Ties {
    let settings = crate::buffer::Settings {
        bytes_max: 16 << 20,
        durability: Durability::Normal,
        boot_id: "boot".to_owned(),
    };
    let (buffer, _) = Buffer::open(&folder.join("b"), settings).unwrap();
    Ties {
        shared: Shared::new(buffer),
        counters: Arc::new(Counters::new(Instant::now())),
        staged: Arc::new(Bell::default()),
        link_idle: Arc::default(),
        link_behind: Arc::default(),
        stop: source::Stopper::default(),
        finished: Arc::default(),
        accepts_gaps: false,
    }
}

fn at(offset: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.position.file = "binlog.000001".to_owned();
    checkpoint.position.offset = offset;
    checkpoint
}

fn row(stager: &mut Stager, staging: &mut Staging<'_>, value: &[u8]) {
    let column = Column { name: "c".into(), kind: Kind::Blob, meta: 4, ..Column::default() };
    let table =
        Table { schema: "s".into(), name: "t".into(), columns: vec![column], ..Table::default() };
    stager.event(&Arc::new(table), Operation::Insert, 200, 0);
    stager.row(&[], &[Cell::Value(value)], staging).unwrap();
}

#[test]
fn what_is_complete_outlives_a_huge_transaction_that_is_abandoned() {
    let folder = tempfile::tempdir().unwrap();
    let ties = ties(folder.path());
    let mut stager = Stager::new(batch::Settings { level: 1 }, CUT.full);
    let mut staging = Staging::new(&ties, 0, at(4));
    let begin = |offset| batch::Begin { position: at(offset).position, ..batch::Begin::default() };
    stager.begin(&begin(100), &at(100), &mut staging).unwrap();
    row(&mut stager, &mut staging, b"small");
    let commit = batch::Commit { end_offset: 200, xid: None };
    stager.commit(commit, &at(200), &mut staging).unwrap();
    stager.begin(&begin(200), &at(200), &mut staging).unwrap();
    row(&mut stager, &mut staging, &[7; 10_000]);
    stager.rollback(&mut staging).unwrap();
    let mut inner = ties.shared.lock();
    assert_eq!(inner.buffer.staged(), Sequence(1));
    assert!(inner.buffer.after(Sequence(0)).unwrap().is_some());
    assert_eq!(inner.buffer.checkpoint().unwrap(), Some(at(200)));
}

#[test]
fn a_stop_while_the_disk_refuses_is_told_from_one_with_all_stored() {
    let folder = tempfile::tempdir().unwrap();
    let ties = ties(folder.path());
    ties.stop.stop();
    let full = |_: &mut Inner| {
        Err::<(), _>(BufferError::Disk { cause: DiskCause::ReadOnly, detail: "no".to_owned() })
    };
    assert!(matches!(persist(&ties, 0, full), Err(ReadError::Unstored)));
    assert!(persist(&ties, 0, |_| Ok(())).is_ok());
}

#[test]
fn what_is_complete_is_staged_before_what_cannot_be_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let ties = ties(folder.path());
    let path = folder.path().join("binlog.000001");
    let mut log = b"\xfebin".to_vec();
    let mut event = |kind: u8, body: &[u8]| {
        log.extend_from_slice(&1_600_000_000u32.to_le_bytes());
        log.push(kind);
        log.extend_from_slice(&7u32.to_le_bytes());
        log.extend_from_slice(&(19 + body.len() as u32).to_le_bytes());
        log.extend_from_slice(&[0; 6]);
        log.extend_from_slice(body);
    };
    // MySQL 5.5's layout: its format description, then one transaction of `d`.`t` (a INT).
    let mut format = b"\x04\x005.5.1".to_vec();
    format.resize(56, 0);
    format.extend_from_slice(b"\x13\x38\x0d\0\x08\0\x12\0\x04\x04\x04\x04\x12\0\0\x54\0\x04\x1a");
    format.extend_from_slice(b"\x08\0\0\0\x08\x08\x08\x02\0");
    event(15, &format);
    event(2, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0BEGIN");
    event(19, b"\x09\0\0\0\0\0\x01\0\x01d\0\x01t\0\x01\x03\0\0");
    event(23, b"\x09\0\0\0\0\0\x01\0\x01\xff\xfe\x01\0\0\0");
    event(16, &[0; 8]);
    // INCIDENT: changes are missing from the log.
    event(26, b"\x01\0\0");
    std::fs::write(&path, &log).unwrap();
    let settings = source::Settings {
        origin: source::Origin::Files {
            files: source::FilesSettings { path, follow: false, identity: None },
            names: None,
        },
        start: source::Start::Earliest,
        on_unknown_names: source::OnUnknownNames::Number,
        on_statement: source::OnStatement::Stop,
        event_bytes_max: 1 << 20,
    };
    assert!(run(&settings, CUT, &ties, false).is_err());
    let mut inner = ties.shared.lock();
    assert_eq!(inner.buffer.staged(), Sequence(1));
    assert!(inner.buffer.after(Sequence(0)).unwrap().is_some());
}

#[test]
fn batches_grow_while_there_is_more_to_read_and_begin_small_behind_a_rest() {
    let folder = tempfile::tempdir().unwrap();
    let ties = ties(folder.path());
    let full = Full { bytes_max: 100 * 1024, rows_max: 1000 };
    let mut stager = Stager::new(batch::Settings { level: 0 }, full);
    let mut staging = Staging::new(&ties, 0, at(4));
    let mut offset = 100;
    let mut transactions = |stager: &mut Stager, count: u64| {
        for _ in 0..count {
            let position = at(offset).position;
            let begin = batch::Begin { position, ..batch::Begin::default() };
            stager.begin(&begin, &at(offset), &mut staging).unwrap();
            row(stager, &mut staging, &[7; 8_192]);
            offset += 100;
            let commit = batch::Commit { end_offset: offset, xid: None };
            stager.commit(commit, &at(offset), &mut staging).unwrap();
        }
    };
    // The transaction that makes it full is the first of the next batch.
    transactions(&mut stager, 3 + 7 + 12 + 12 + 1);
    assert_eq!(stager.transactions(), 1);
    stager.rest();
    transactions(&mut stager, 3);
    let mut inner = ties.shared.lock();
    let mut sizes = Vec::new();
    for sequence in 0..inner.buffer.staged().0 {
        sizes.push(inner.buffer.after(Sequence(sequence)).unwrap().unwrap().rows);
    }
    assert_eq!(sizes, [3, 7, 12, 12, 3]);
}
