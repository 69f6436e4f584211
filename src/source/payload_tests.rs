//! Compressed transactions in files: in one piece, in pieces, and without an end.

use super::tests::{BEGIN, Log, open, settings, story};
use super::*;
use std::io::Write;

/// The events of a transaction with these rows, as they stand in a payload.
fn plain(rows: &[i32]) -> Vec<u8> {
    let mut log = Log(Vec::new());
    log.query(BEGIN);
    rows.iter().for_each(|row| {
        log.row(*row);
    });
    log.commit();
    log.0
}

fn payload(log: &mut Log, plain: &[u8]) -> u64 {
    let packed = zstd::bulk::compress(plain, 3).unwrap();
    let long = |value: usize| [&[9, 0xfe][..], &(value as u64).to_le_bytes()].concat();
    let head = [&[2, 1, 0, 1][..], &long(packed.len()), &[3], &long(plain.len()), &[0]].concat();
    let offset = log.0.len() as u64;
    log.event(40, &[head, packed].concat());
    offset
}

#[test]
fn rows_have_the_place_of_the_payload_and_the_checkpoint_stands_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new();
    let offset = payload(&mut log, &plain(&[1, 2]));
    let end = log.0.len() as u64;
    log.query(BEGIN).row(3).commit();
    log.write(folder.path(), "binlog.000001");
    let mut source = open(settings(folder.path(), false), None).unwrap();
    let (mut offsets, mut ends) = (Vec::new(), Vec::new());
    loop {
        match source.next(Instant::now()).unwrap() {
            Some(Step::Begin(begin)) => offsets.push(begin.offset),
            Some(Step::Rows(rows)) => offsets.push(rows.offset),
            Some(Step::Commit) => ends.push(source.checkpoint().position.offset),
            Some(Step::End) => break,
            _ => {}
        }
    }
    assert_eq!(offsets[..4], [offset, offset, offset, end]);
    assert_eq!(ends, [end, log.0.len() as u64]);
    // Reading on begins outside.
    let mut at = source.checkpoint().clone();
    at.position.offset = end;
    let mut source = open(settings(folder.path(), false), Some(at)).unwrap();
    assert_eq!(story(&mut source), "brc");
}

#[test]
fn a_payload_that_grows_is_followed_and_a_torn_one_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new();
    log.query(BEGIN).row(1).commit();
    let offset = payload(&mut log, &plain(&[2, 3, 4]));
    let whole = std::mem::take(&mut log.0);
    for (missing, torn) in [(1, false), (1, true), (whole.len() - offset as usize - 25, true)] {
        let path = folder.path().join("binlog.000001");
        let _ = std::fs::remove_file(folder.path().join("binlog.index"));
        let (front, back) = whole.split_at(whole.len() - missing);
        Log(front.to_vec()).write(folder.path(), "binlog.000001");
        let mut source = open(settings(folder.path(), true), None).unwrap();
        let before = story(&mut source);
        assert!(before.starts_with("brc") && !before[3..].contains('c'), "{before}");
        assert_eq!(source.checkpoint().position.offset, offset);
        if torn {
            Log::new().query(BEGIN).row(9).commit().write(folder.path(), "binlog.000002");
            assert_eq!(story(&mut source), "abrc");
        } else {
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            file.write_all(back).unwrap();
            let all = before + &story(&mut source);
            assert_eq!(all, "brcbrrrc");
            assert_eq!(source.checkpoint().position.offset, whole.len() as u64);
        }
    }
}

#[test]
fn what_is_wrong_in_a_payload_stops_in_front_of_it_with_its_place() {
    let commit_first = {
        let mut log = Log(plain(&[1]));
        log.query(BEGIN).row(2).commit();
        log.0
    };
    let nested = {
        let mut log = Log(Vec::new());
        log.query(BEGIN);
        payload(&mut log, &plain(&[1]));
        log.commit();
        log.0
    };
    for (inside, what) in [(commit_first, "XID before the end"), (nested, "TRANSACTION_PAYLOAD")] {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new();
        log.query(BEGIN).row(1).commit();
        let offset = payload(&mut log, &inside);
        log.write(folder.path(), "binlog.000001");
        let mut source = open(settings(folder.path(), false), None).unwrap();
        let error = loop {
            match source.next(Instant::now()) {
                Ok(Some(Step::End)) => panic!("{what}: no error"),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(what) && error.contains(&format!(":{offset}")), "{error}");
        assert_eq!(source.checkpoint().position.offset, offset);
    }
}

#[test]
fn latest_begins_behind_a_compressed_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new();
    payload(&mut log, &plain(&[1, 2]));
    let end = log.0.len() as u64;
    log.query(BEGIN).row(3);
    log.write(folder.path(), "binlog.000001");
    let latest = Settings { start: Start::Latest, ..settings(folder.path(), true) };
    let source = open(latest, None).unwrap();
    assert_eq!(source.checkpoint().position.offset, end);
}
