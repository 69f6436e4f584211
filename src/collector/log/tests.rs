use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

fn entry<'a>(agent: &'a str, sequence: u64, completes: bool, message: &'a str) -> Entry<'a> {
    let (sequence, message) = (Sequence(sequence), message.as_bytes());
    Entry { agent, epoch: 1, sequence, skip: 0, message, completes, abandons: false }
}

fn opened(folder: &TempDir) -> (Log, Reader) {
    let path = folder.path().join("l");
    let log = Log::open(&path, Settings::default()).unwrap();
    (log, Reader::open(&path).unwrap())
}

/// Number, message and end of everything behind `after`.
fn all(reader: &Reader, mut after: u64) -> Vec<(u64, String, bool)> {
    let mut all = Vec::new();
    while let Some(logged) = reader.next(after).unwrap() {
        after = logged.number;
        all.push((after, String::from_utf8(logged.message).unwrap(), logged.ends));
    }
    all
}

fn seen(expected: &[(u64, &str, bool)]) -> Vec<(u64, String, bool)> {
    expected.iter().map(|(number, text, ends)| (*number, (*text).to_owned(), *ends)).collect()
}

#[test]
fn parts_wait_for_their_last_one_and_nobody_waits_for_them() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    let first = [entry("a", 1, false, "a1"), entry("b", 1, true, "b1")];
    log.append(&first, &[], &[]).unwrap();
    log.append(&[entry("a", 2, false, "a2")], &[], &[]).unwrap();
    assert_eq!(all(&reader, 0), seen(&[(1, "b1", true)]));
    drop(log);
    let (mut log, reader) = opened(&folder);
    assert_eq!(log.last(), 1);
    log.append(&[entry("b", 2, true, "b2"), entry("a", 3, true, "a3")], &[], &[]).unwrap();
    let expected = [(2, "b2", true), (3, "a1", false), (4, "a2", false), (5, "a3", true)];
    assert_eq!(all(&reader, 1), seen(&expected));
    assert_eq!(log.last(), 5);
}

#[test]
fn abandoned_parts_never_get_a_number() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    let parts = [entry("a", 1, false, "old"), entry("b", 1, false, "kept")];
    log.append(&parts, &[], &[]).unwrap();
    let mut again = entry("a", 1, false, "new");
    again.abandons = true;
    log.append(&[again, entry("a", 2, true, "end")], &[], &[]).unwrap();
    assert_eq!(all(&reader, 0), seen(&[(1, "new", false), (2, "end", true)]));
    log.append(&[entry("a", 3, false, "gone")], &[], &[]).unwrap();
    log.abandon_parts("a").unwrap();
    log.append(&[entry("a", 4, true, "x"), entry("b", 2, true, "y")], &[], &[]).unwrap();
    assert_eq!(all(&reader, 2), seen(&[(3, "x", true), (4, "kept", false), (5, "y", true)]));
}

#[test]
fn ledgers_and_schemas_come_back_as_they_were_given() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    let schemas = [("a".to_owned(), u64::MAX, b"s".to_vec())];
    log.append(&[], &[("a".to_owned(), b"1".to_vec())], &schemas).unwrap();
    log.append(&[], &[("a".to_owned(), b"2".to_vec())], &[]).unwrap();
    assert_eq!(log.ledgers().unwrap(), [("a".to_owned(), b"2".to_vec())]);
    assert_eq!(log.schema("a", u64::MAX).unwrap(), Some(b"s".to_vec()));
    assert_eq!(reader.schema("b", u64::MAX).unwrap(), None);
    assert!(log.schema("a", u64::MAX).unwrap().is_some() && log.schema("a", 1).unwrap().is_none());
}

#[test]
fn a_cursor_is_kept_by_either_side() {
    let folder = TempDir::new().unwrap();
    let (mut log, mut reader) = opened(&folder);
    assert_eq!(log.cursor("stdout").unwrap(), 0);
    log.set_cursor("stdout", 7).unwrap();
    assert_eq!(reader.cursor("stdout").unwrap(), 7);
    reader.set_cursor("stdout", 8).unwrap();
    assert_eq!(log.cursor("stdout").unwrap(), 8);
}

#[test]
fn pruning_forgets_only_what_all_sinks_have_and_numbers_go_on() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    let text = "x".repeat(10_000);
    for number in 1..=1000 {
        log.append(&[entry("a", number, true, &text)], &[], &[]).unwrap();
    }
    let keep = |passed, bytes_max, age_s_max| Retention { passed, bytes_max, age_s_max };
    assert_eq!(log.prune(keep(1000, u64::MAX, 3600)).unwrap(), 0, "young and small enough");
    let pruned = log.prune(keep(900, 4 << 20, 3600)).unwrap();
    assert!((500..=900).contains(&pruned), "{pruned}");
    assert_eq!(reader.oldest().unwrap(), Some(pruned + 1));
    assert_eq!(log.prune(keep(950, 0, 3600)).unwrap(), 950 - pruned);
    let asked = reader.next(0);
    assert!(matches!(asked, Err(LogError::Pruned { wanted: 1, oldest: 951 })), "{asked:?}");
    assert_eq!(log.prune(keep(2000, 0, 0)).unwrap(), 50);
    assert!(std::fs::metadata(folder.path().join("l")).is_ok());
    drop(log);
    let (mut log, reader) = opened(&folder);
    log.append(&[entry("a", 1001, true, "y")], &[], &[]).unwrap();
    assert_eq!(all(&reader, 1000), seen(&[(1001, "y", true)]));
    let asked = reader.next(0);
    assert!(matches!(asked, Err(LogError::Pruned { oldest: 1001, .. })), "{asked:?}");
}

#[test]
fn a_sink_behind_an_empty_pruned_log_is_told() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    log.append(&[entry("a", 1, true, "x"), entry("a", 2, true, "y")], &[], &[]).unwrap();
    log.prune(Retention { passed: 2, bytes_max: 0, age_s_max: 0 }).unwrap();
    let asked = reader.next(0);
    assert!(matches!(asked, Err(LogError::Pruned { wanted: 1, oldest: 3 })), "{asked:?}");
    assert_eq!(reader.next(2).unwrap(), None);
}

#[test]
fn a_wish_to_replay_keeps_what_it_needs_until_it_is_honoured() {
    let folder = TempDir::new().unwrap();
    let (mut log, mut reader) = opened(&folder);
    for number in 1..=9 {
        log.append(&[entry("a", number, number % 3 == 0, "x")], &[], &[]).unwrap();
    }
    let all = Retention { passed: 9, bytes_max: 0, age_s_max: 0 };
    reader.wish_replay("s", 6).unwrap();
    assert_eq!(log.prune(all).unwrap(), 6);
    assert_eq!(reader.replay_wish("s").unwrap(), Some(6));
    assert_eq!(reader.replay_wish("t").unwrap(), None);
    let late = reader.wish_replay("s", 5);
    assert!(matches!(late, Err(LogError::Pruned { wanted: 6, oldest: 7 })), "{late:?}");
    assert_eq!([7, 8, 9].map(|number| reader.transaction_start(number).unwrap()), [7, 7, 7]);
    reader.replay_honoured("s", 5).unwrap();
    assert_eq!(reader.replay_wish("s").unwrap(), Some(6), "another wish came meanwhile");
    reader.replay_honoured("s", 6).unwrap();
    assert_eq!(log.prune(all).unwrap(), 3);
    let gone = reader.wish_replay("s", 0);
    assert!(matches!(gone, Err(LogError::Pruned { wanted: 1, oldest: 10 })), "{gone:?}");
}

#[test]
fn numbers_that_a_sink_has_seen_in_a_lost_part_of_the_log_are_not_used_again() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    log.append(&[entry("a", 1, true, "1")], &[], &[]).unwrap();
    assert_eq!(log.begin_behind(1).unwrap(), 0);
    assert_eq!(log.begin_behind(3).unwrap(), 2);
    assert_eq!(log.begin_behind(5).unwrap(), 2);
    assert_eq!(reader.next(1).unwrap(), None, "nothing was pruned");
    log.append(&[entry("a", 2, true, "6")], &[], &[]).unwrap();
    let expected = seen(&[(1, "1", true), (6, "6", true)]);
    assert_eq!(all(&reader, 0), expected);
    assert_eq!(all(&reader, 5), seen(&[(6, "6", true)]));
    drop(log);
    assert_eq!(opened(&folder).0.last(), 6);
}

/// The copy is made again and again while another thread appends; each copy is a log as it was at one moment.
#[test]
fn a_copy_under_load_is_whole() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = opened(&folder);
    let writing = std::thread::spawn(move || {
        for number in 1..=300_u64 {
            let text = format!("{number}:{}", "x".repeat(20_000));
            let ledger = ("a".to_owned(), number.to_le_bytes().to_vec());
            let entry = entry("a", number, number % 2 == 0, &text);
            log.append(&[entry], &[ledger], &[]).unwrap();
        }
        log
    });
    let path = folder.path().join("l");
    let mut copies = 0;
    let mut at_most = 0;
    while !writing.is_finished() || copies < 2 {
        let to = folder.path().join(format!("copy-{copies}"));
        let copied = backup(&path, &to).unwrap();
        assert_eq!(copied.bytes, std::fs::metadata(&to).unwrap().len());
        assert!(copied.last >= at_most, "older than the copy before");
        at_most = copied.last;
        let (log, reader) =
            (Log::open(&to, Settings::default()).unwrap(), Reader::open(&to).unwrap());
        assert_eq!(log.last(), copied.last);
        let stands = log
            .ledgers()
            .unwrap()
            .first()
            .map_or(0, |(_, state)| u64::from_le_bytes(state.as_slice().try_into().unwrap()));
        assert_eq!(
            all(&reader, 0).len() as u64,
            stands / 2 * 2,
            "ledger and entries are of one moment"
        );
        copies += 1;
    }
    writing.join().unwrap();
    let again = backup(&path, &folder.path().join("copy-0"));
    assert!(matches!(again, Err(LogError::Refused(_))), "what is there is left alone: {again:?}");
    assert!(backup(&folder.path().join("none"), &folder.path().join("c")).is_err());
}

#[test]
fn a_changed_message_is_not_handed_out() {
    let folder = TempDir::new().unwrap();
    let (mut log, reader) = opened(&folder);
    log.append(&[entry("a", 1, true, "x")], &[], &[]).unwrap();
    log.db.execute("UPDATE message SET message = 'z'", []).unwrap();
    assert!(reader.next(0).is_err());
    log.db.execute("UPDATE message SET message = x'7a'", []).unwrap();
    assert!(matches!(reader.next(0), Err(LogError::Damaged(_))));
}

#[test]
fn a_full_log_takes_nothing_of_a_call() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("l");
    let mut log = Log::open(&path, Settings { bytes_max: Some(1 << 20) }).unwrap();
    let reader = Reader::open(&path).unwrap();
    let text = "x".repeat(100_000);
    let mut number = 0;
    let error = loop {
        let both = [entry("a", number + 1, false, "part"), entry("a", number + 2, true, &text)];
        match log.append(&both, &[("a".to_owned(), number.to_le_bytes().to_vec())], &[]) {
            Ok(()) => number += 2,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Disk { cause: DiskCause::Full, .. }), "{error}");
    assert_eq!((log.last(), all(&reader, 0).len() as u64), (number, number));
    assert_eq!(log.ledgers().unwrap()[0].1, (number - 2).to_le_bytes());
    log.prune(Retention { passed: number, bytes_max: 0, age_s_max: 0 }).unwrap();
    log.append(&[entry("a", number + 1, true, &text)], &[], &[]).unwrap();
    assert_eq!(log.last(), number + 1);
}

#[test]
fn a_second_collector_is_refused() {
    let folder = TempDir::new().unwrap();
    let _log = opened(&folder).0;
    let again = Log::open(&folder.path().join("l"), Settings::default());
    assert!(matches!(again, Err(LogError::Refused(_))));
}

/// The child appends a part and its last one, in two calls, with its ledger; it is killed at any
/// moment.
#[test]
fn a_killed_collector_has_all_that_it_acknowledged() {
    const CHILD: &str = "RIVULET_TEST_LOG_WRITER";
    if let Ok(folder) = std::env::var(CHILD) {
        let path = Path::new(&folder).join("l");
        let mut log = Log::open(&path, Settings::default()).unwrap();
        let ledgers = log.ledgers().unwrap();
        let first = ledgers
            .first()
            .map_or(0, |(_, state)| u64::from_le_bytes(state.as_slice().try_into().unwrap()));
        for sequence in first + 1.. {
            let text = format!("{sequence}:{}", "x".repeat(5000));
            let ledger = ("a".to_owned(), sequence.to_le_bytes().to_vec());
            log.append(&[entry("a", sequence, sequence % 2 == 0, &text)], &[ledger], &[]).unwrap();
            println!("\n!{sequence}");
        }
    }
    let folder = TempDir::new().unwrap();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "collector::log::tests::a_killed_collector_has_all_that_it_acknowledged",
            ])
            .arg("--nocapture")
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = 0;
        let mut see = |line: String| {
            if let Some(number) = line.strip_prefix('!').and_then(|number| number.parse().ok()) {
                said = number;
            }
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.by_ref().take(40 + 23 * round).for_each(|line| see(line.unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(see);

        let (log, reader) = opened(&folder);
        let state = log.ledgers().unwrap().remove(0).1;
        let stands = u64::from_le_bytes(state.try_into().unwrap());
        assert!(stands == said || stands == said + 1, "said {said}, stands at {stands}");
        let logged = all(&reader, 0);
        assert_eq!(logged.len() as u64, stands / 2 * 2, "whole transactions alone");
        for (number, text, ends) in logged {
            assert!(text.starts_with(&format!("{number}:")));
            assert_eq!(ends, number % 2 == 0);
        }
    }
}
