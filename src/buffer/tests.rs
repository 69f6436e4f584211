use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rusqlite::params;
use tempfile::TempDir;

use super::*;

fn settings() -> Settings {
    Settings { bytes_max: 8 << 20, durability: Durability::Normal, boot_id: "boot-1".to_owned() }
}

fn at(offset: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.position.file = "binlog.000001".to_owned();
    checkpoint.position.offset = offset;
    checkpoint
}

fn parcel(text: &str) -> Parcel {
    let body = text.as_bytes().to_vec();
    Parcel { meta: b"meta".to_vec(), body, rows: 2, transactions: 1, schemas: Vec::new() }
}

fn big(bytes: usize) -> Parcel {
    Parcel { body: vec![7; bytes], rows: 1, ..Parcel::default() }
}

/// A buffer whose source begins at 4, with batches `1`, `2`, … behind the checkpoints 10, 20, …
fn filled(folder: &TempDir, count: u64) -> Buffer {
    let mut buffer = Buffer::open(&folder.path().join("b"), settings()).unwrap().0;
    buffer.commit(&[], &at(4)).unwrap();
    for number in 1..=count {
        buffer.commit(&[parcel(&number.to_string())], &at(number * 10)).unwrap();
    }
    buffer
}

fn reopened(folder: &TempDir, boot_id: &str) -> (Buffer, Opening) {
    let settings = Settings { boot_id: boot_id.to_owned(), ..settings() };
    Buffer::open(&folder.path().join("b"), settings).unwrap()
}

/// What the link's side sees from the start of the epoch; checks numbers and the chain.
fn bodies(buffer: &mut Buffer, mut from: Sequence) -> Vec<String> {
    let (mut all, mut previous) = (Vec::new(), None);
    while let Some(staged) = buffer.after(from).unwrap() {
        assert_eq!(staged.sequence, from.next());
        assert_eq!(staged.epoch, buffer.epoch());
        assert_eq!(staged.crc, rows::crc(&staged.meta, &staged.body));
        if let Some(previous) = previous {
            assert_eq!(staged.previous_crc, previous);
        }
        (previous, from) = (Some(staged.crc), staged.sequence);
        all.push(String::from_utf8(staged.body).unwrap());
    }
    all
}

/// Changes the file behind the buffer's back.
fn tamper(folder: &TempDir, sql: &str) {
    let db = Connection::open(folder.path().join("b")).unwrap();
    assert_ne!(db.execute(sql, params![]).unwrap(), 0, "{sql}");
}

#[test]
fn numbers_are_never_reused() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 2);
    assert_eq!(buffer.acknowledge(1, Sequence(2)).unwrap(), 4);
    buffer.close().unwrap();
    let (mut buffer, opening) = reopened(&folder, "boot-1");
    assert_eq!(opening, Opening::Continued);
    buffer.commit(&[parcel("3")], &at(30)).unwrap();
    assert_eq!((buffer.staged(), buffer.acknowledged()), (Sequence(3), Sequence(2)));
    let staged = buffer.after(Sequence(2)).unwrap().unwrap();
    assert_eq!((staged.sequence, &*staged.body), (Sequence(3), &b"3"[..]));
    assert_eq!(staged.previous_crc, rows::crc(b"meta", b"2"), "kept although 2 is forgotten");
}

#[test]
fn the_checkpoint_moves_with_the_batches_and_alone() {
    let folder = TempDir::new().unwrap();
    let (mut buffer, opening) = reopened(&folder, "boot-1");
    assert_eq!((opening, buffer.checkpoint().unwrap()), (Opening::Created, None));
    buffer.commit(&[parcel("1")], &at(10)).unwrap();
    buffer.commit(&[], &at(15)).unwrap();
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(15)));
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1"]);
}

#[test]
fn an_acknowledgement_of_what_was_never_staged_deletes_nothing() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 3);
    for (epoch, upto) in [(1, 4), (1, u64::MAX), (0, 1), (2, 1)] {
        let refused = buffer.acknowledge(epoch, Sequence(upto));
        assert!(matches!(refused, Err(BufferError::Ack { .. })), "{epoch} {upto}");
    }
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2", "3"]);
    assert_eq!(buffer.acknowledge(1, Sequence(2)).unwrap(), 4);
    assert_eq!(buffer.acknowledge(1, Sequence(1)).unwrap(), 0, "an old one is no news");
    assert_eq!(bodies(&mut buffer, Sequence(2)), ["3"]);
    assert_eq!(buffer.usage().unwrap().rows, 2);
}

#[test]
fn parts_are_invisible_until_the_commit_and_gone_after_a_reopening() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    buffer.stage_part(&parcel("2")).unwrap();
    buffer.stage_part(&parcel("3")).unwrap();
    assert_eq!(buffer.after(Sequence(1)).unwrap(), None);
    buffer.commit(&[parcel("4")], &at(40)).unwrap();
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2", "3", "4"]);

    buffer.stage_part(&parcel("lost")).unwrap();
    drop(buffer);
    let (mut buffer, opening) = reopened(&folder, "boot-1");
    assert!(matches!(opening, Opening::NewEpoch { .. }), "the last connection removed the WAL");
    buffer.stage_part(&parcel("dropped")).unwrap();
    buffer.discard_parts().unwrap();
    buffer.stage_part(&parcel("5")).unwrap();
    buffer.commit(&[], &at(50)).unwrap();
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2", "3", "4", "5"]);
    assert_eq!(buffer.usage().unwrap().rows, 10);
    assert_eq!(
        rows::find(&buffer.db, 5).map(|found| matches!(found, Found::Sound { .. })).ok(),
        Some(true)
    );
}

#[test]
fn a_transaction_is_forgotten_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    buffer.stage_part(&parcel("2")).unwrap();
    buffer.commit(&[parcel("3")], &at(30)).unwrap();
    assert_eq!(buffer.acknowledge(1, Sequence(2)).unwrap(), 2);
    assert_eq!(buffer.acknowledged(), Sequence(2));
    assert_eq!(buffer.begin_epoch(0, &[]).unwrap(), 2);
    assert_eq!(bodies(&mut buffer, Sequence::START), ["2", "3"]);
    assert_eq!(buffer.acknowledge(2, Sequence(2)).unwrap(), 4);
    assert_eq!(buffer.usage().unwrap().batches, 0);
}

#[test]
fn a_new_epoch_renumbers_behind_its_lead() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 4);
    buffer.acknowledge(1, Sequence(2)).unwrap();
    assert_eq!(buffer.begin_epoch(7, &[parcel("a"), parcel("b")]).unwrap(), 7);
    assert_eq!(buffer.staged(), Sequence(4));
    assert_eq!(bodies(&mut buffer, Sequence::START), ["a", "b", "3", "4"]);
    assert_eq!(buffer.begin_epoch(0, &[parcel("c")]).unwrap(), 8, "a lead replaces a lead");
    buffer.commit(&[parcel("5")], &at(50)).unwrap();
    assert_eq!(bodies(&mut buffer, Sequence::START), ["c", "3", "4", "5"]);
    assert_eq!(buffer.after(Sequence::START).unwrap().unwrap().previous_crc, 0);
    assert!(matches!(buffer.begin_epoch(u64::MAX, &[]), Err(BufferError::Epoch { .. })));
    assert_eq!(buffer.acknowledge(8, Sequence(4)).unwrap(), 8);
    assert_eq!(buffer.begin_epoch(0, &[parcel("d")]).unwrap(), 9);
    assert_eq!(buffer.acknowledge(9, Sequence(1)).unwrap(), 2);
    assert_eq!(buffer.begin_epoch(0, &[parcel("e")]).unwrap(), 10, "of an empty buffer");
    assert_eq!(bodies(&mut buffer, Sequence::START), ["e"]);
}

#[test]
fn another_boot_without_a_close_begins_an_epoch() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 2).close().unwrap();
    let (buffer, opening) = reopened(&folder, "boot-2");
    assert_eq!(opening, Opening::Continued, "it was closed");
    drop(buffer);
    let (mut buffer, opening) = reopened(&folder, "boot-3");
    assert!(matches!(opening, Opening::NewEpoch { .. }));
    assert_eq!((buffer.epoch(), buffer.acknowledged()), (2, Sequence::START));
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2"]);
}

#[test]
fn an_older_copy_of_the_file_begins_an_epoch() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 1).close().unwrap();
    let copy = fs::read(folder.path().join("b")).unwrap();
    let mut buffer = reopened(&folder, "boot-1").0;
    buffer.commit(&[parcel("2")], &at(20)).unwrap();
    buffer.close().unwrap();
    fs::write(folder.path().join("b"), copy).unwrap();
    let (buffer, opening) = reopened(&folder, "boot-1");
    assert!(matches!(opening, Opening::NewEpoch { .. }), "{opening:?}");
    assert_eq!((buffer.epoch(), buffer.staged()), (2, Sequence(1)));
}

#[test]
fn a_broken_batch_heals_by_going_back() {
    let changes = [
        "UPDATE batch SET body = x'00' WHERE id = 3",
        "UPDATE batch SET rows = rows + 1 WHERE id = 3",
        "UPDATE batch SET checkpoint = x'' WHERE id = 3",
        "UPDATE batch SET crc = crc + 1 WHERE id = 3",
        "UPDATE batch SET meta = 'text' WHERE id = 3",
        "DELETE FROM batch WHERE id = 3",
    ];
    for change in changes {
        let folder = TempDir::new().unwrap();
        let mut buffer = filled(&folder, 4);
        tamper(&folder, change);
        assert!(buffer.after(Sequence(1)).unwrap().is_some());
        let Err(BufferError::Healed { checkpoint, epoch: 2, batches: 2, .. }) =
            buffer.after(Sequence(2))
        else {
            panic!("{change}: not healed")
        };
        assert_eq!(checkpoint, Some(Box::new(at(20))), "{change}");
        assert_eq!(buffer.checkpoint().unwrap(), Some(at(20)));
        buffer.commit(&[parcel("3 again")], &at(30)).unwrap();
        assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2", "3 again"]);
        assert_eq!(buffer.usage().unwrap().rows, 6);
    }
}

#[test]
fn what_was_forgotten_is_known_over_epochs_and_starts() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 3);
    let stands = |buffer: &Buffer| {
        let Forgotten { epoch, sequence, since } = buffer.forgotten().unwrap();
        (epoch, sequence.0, since.offset)
    };
    assert_eq!(stands(&buffer), (0, 0, 4), "where reading began");
    buffer.commit(&[], &at(35)).unwrap();
    buffer.acknowledge(1, Sequence(2)).unwrap();
    assert_eq!(stands(&buffer), (1, 2, 20));
    buffer.begin_epoch(0, &[parcel("lead")]).unwrap();
    assert_eq!(stands(&buffer), (1, 2, 20), "a new epoch forgets nothing");
    buffer.acknowledge(2, Sequence(2)).unwrap();
    assert_eq!(stands(&buffer), (2, 2, 35));
    buffer.close().unwrap();
    let buffer = reopened(&folder, "boot-1").0;
    assert_eq!(stands(&buffer), (2, 2, 35));
    assert_eq!(buffer.began().unwrap(), Some(at(4)));
}

#[test]
fn going_back_forgets_what_is_staged_and_continues_what_the_collector_has() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 4);
    buffer.acknowledge(1, Sequence(3)).unwrap();
    buffer.stage_part(&parcel("part")).unwrap();
    assert_eq!(buffer.go_back(&at(10), (1, Sequence(1))).unwrap(), 2);
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(10)));
    let Forgotten { epoch, sequence, since } = buffer.forgotten().unwrap();
    assert_eq!((epoch, sequence, since), (1, Sequence(1), at(10).position));
    assert_eq!(buffer.usage().unwrap().batches, 0);
    for number in 2..=5 {
        buffer.commit(&[parcel(&number.to_string())], &at(number * 10)).unwrap();
    }
    assert_eq!(bodies(&mut buffer, Sequence::START), ["2", "3", "4", "5"]);
    drop(buffer);
    let mut buffer = reopened(&folder, "boot-1").0;
    assert_eq!(bodies(&mut buffer, Sequence::START), ["2", "3", "4", "5"]);
    // A buffer that began later than where the collector stands.
    buffer.go_back(&at(2), (1, Sequence(0))).unwrap();
    assert_eq!(buffer.began().unwrap(), Some(at(2)));
}

#[test]
fn a_broken_part_takes_its_whole_transaction_with_it() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 2);
    buffer.acknowledge(1, Sequence(2)).unwrap();
    buffer.stage_part(&parcel("3")).unwrap();
    buffer.commit(&[parcel("4")], &at(40)).unwrap();
    tamper(&folder, "UPDATE batch SET body = x'00' WHERE id = 4");
    assert!(buffer.after(Sequence(2)).unwrap().is_some());
    let fresh = buffer.after(Sequence(3)).unwrap().map(|staged| staged.body);
    assert_eq!(
        fresh.as_deref(),
        Some(&b"4"[..]),
        "as it was staged; the disk is asked from now on"
    );
    let healed = buffer.after(Sequence(3));
    assert!(matches!(healed, Err(BufferError::Healed { batches: 2, .. })), "{healed:?}");
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(20)), "kept although 2 is forgotten");
    assert_eq!(bodies(&mut buffer, Sequence::START), Vec::<String>::new());
}

#[test]
fn backpressure_starts_late_and_ends_early() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 0);
    let mut turned_at = 0;
    for number in 1.. {
        buffer.commit(&[big(100_000)], &at(number)).unwrap();
        if buffer.is_full() {
            turned_at = number;
            break;
        }
    }
    assert!((50..80).contains(&turned_at), "{turned_at} of 83 batches");
    buffer.acknowledge(1, Sequence(turned_at - 55)).unwrap();
    assert!(buffer.is_full(), "between the marks it stays as it was");
    buffer.acknowledge(1, Sequence(turned_at - 30)).unwrap();
    assert!(!buffer.is_full());
}

#[test]
fn the_limit_is_hard_and_a_full_buffer_still_empties() {
    let folder = TempDir::new().unwrap();
    let small = Settings { bytes_max: BYTES_MIN, ..settings() };
    let mut buffer = Buffer::open(&folder.path().join("b"), small).unwrap().0;
    buffer.commit(&[], &at(4)).unwrap();
    let mut number = 0;
    let error = loop {
        match buffer.commit(&[big(30_000), big(30_000), big(30_000)], &at(number + 1)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BufferError::Disk { cause: DiskCause::Quota, .. }), "{error}");
    assert!(number > 3);
    let size = |suffix| fs::metadata(file::beside(&buffer.path, suffix)).unwrap().len();
    assert!(size("") + size("-wal") <= BYTES_MIN, "{} + {}", size(""), size("-wal"));
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(number)), "nothing of the failed call");
    assert_eq!(buffer.staged(), Sequence(number * 3));
    buffer.acknowledge(1, Sequence(6)).unwrap();
    buffer.commit(&[big(30_000), parcel("last")], &at(99)).unwrap();
    let staged = buffer.after(Sequence(number * 3 + 1)).unwrap().unwrap();
    assert_eq!(staged.body, b"last");
    file::check(&buffer.db).unwrap();
}

#[test]
fn a_large_commit_keeps_the_wal_small_and_is_seen_whole() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 0);
    buffer.commit(&vec![big(100_000); 50], &at(10)).unwrap();
    assert_eq!(buffer.staged(), Sequence(50));
    let wal = fs::metadata(folder.path().join("b-wal")).unwrap().len();
    assert!(wal <= 1 << 20, "{wal}");
    assert_eq!(buffer.acknowledge(1, Sequence(49)).unwrap(), 0, "one commit is one unit");
    assert_eq!(buffer.acknowledge(1, Sequence(50)).unwrap(), 50);
    for _ in 0..20 {
        buffer.commit(&[parcel("x")], &at(20)).unwrap();
        buffer.acknowledge(1, buffer.staged()).unwrap();
    }
    let size = fs::metadata(folder.path().join("b")).unwrap().len();
    assert!(size < 2 << 20, "space is given back: {size}");
}

#[test]
fn the_wal_stays_small_while_a_backlog_drains() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 0);
    let wal = || fs::metadata(folder.path().join("b-wal")).unwrap().len();
    let mut highest = 0;
    for round in 0..2 {
        for number in 1..=1200 {
            buffer.commit(&[big(2_500)], &at(number)).unwrap();
            highest = highest.max(wal());
        }
        // One by one, and all with one word.
        let from = buffer.acknowledged().0;
        for number in (from + 1..=from + 1200).skip(1199 * round) {
            buffer.acknowledge(1, Sequence(number)).unwrap();
            highest = highest.max(wal());
        }
        assert_eq!(buffer.usage().unwrap().batches, 0);
    }
    assert!(highest <= 1 << 20, "{highest}");
}

#[test]
fn a_fault_of_the_disk_is_followed_by_a_look_at_the_file() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 2);
    buffer.stage_part(&parcel("3")).unwrap();
    buffer.suspect = true;
    buffer.commit(&[parcel("4")], &at(40)).unwrap();
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2", "3", "4"]);
    // A commit that was reported as failed, and yet is in the file.
    let believed = buffer.state.clone();
    buffer.commit(&[parcel("5")], &at(50)).unwrap();
    (buffer.last, buffer.state, buffer.suspect) = (believed.visible, believed, true);
    let healed = buffer.commit(&[parcel("5")], &at(50));
    assert!(matches!(healed, Err(BufferError::Healed { epoch: 2, .. })), "{healed:?}");
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(50)));
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_lock_held_by_another_program_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    let other = Connection::open(folder.path().join("b")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = buffer.commit(&[parcel("2")], &at(20));
    assert!(matches!(busy, Err(BufferError::Disk { cause: DiskCause::Busy, .. })), "{busy:?}");
    other.execute_batch("ROLLBACK").unwrap();
    buffer.commit(&[parcel("2")], &at(20)).unwrap();
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2"]);
}

#[test]
fn a_second_agent_is_refused_with_the_number_of_the_first() {
    let folder = TempDir::new().unwrap();
    let _buffer = filled(&folder, 1);
    let refused = Buffer::open(&folder.path().join("b"), settings()).err().unwrap().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
}

#[test]
fn what_is_not_a_buffer_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("b");
    let refused = || match Buffer::open(&path, settings()) {
        Err(BufferError::Refused(why)) => why,
        other => panic!("{:?}", other.map(|(_, opening)| opening)),
    };
    fs::write(&path, [b'x'; 8192]).unwrap();
    assert!(refused().contains("is not a database"));
    fs::write(&path, "").unwrap();
    assert!(refused().contains("is something else"), "an empty file is not an empty buffer");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/tmp/elsewhere", &path).unwrap();
    assert!(refused().contains("symbolic link"));
    fs::remove_file(&path).unwrap();
    fs::write(folder.path().join("b-wal"), "x").unwrap();
    assert!(refused().contains("is missing, but its -wal is there"));
    fs::remove_file(folder.path().join("b-wal")).unwrap();
    filled(&folder, 1).close().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    drop(db);
    assert!(refused().contains("has format 1"));
}

#[test]
fn a_folder_that_is_missing_is_refused_in_one_line() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gone").join("b");
    let error = Buffer::open(&path, settings()).err().unwrap();
    assert!(matches!(error, BufferError::Refused(_)), "{error}");
    assert!(!error.to_string().contains('\n') && !fs::exists(path.parent().unwrap()).unwrap());
}

#[test]
fn a_broken_structure_is_an_error_that_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    buffer.commit(&vec![big(50_000); 20], &at(20)).unwrap();
    drop(buffer);
    let path = folder.path().join("b");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(2) {
        page[..12].fill(0xff);
    }
    fs::write(&path, bytes).unwrap();
    let error = Buffer::open(&path, settings()).err().unwrap();
    assert!(matches!(error, BufferError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("move it aside"));
}

#[test]
fn schemas_outlive_their_batches() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 0);
    let schemas = vec![(u64::MAX, b"orders".to_vec()), (1, b"items".to_vec())];
    buffer.commit(&[Parcel { schemas: schemas.clone(), ..parcel("1") }], &at(10)).unwrap();
    buffer.acknowledge(1, Sequence(1)).unwrap();
    assert!(buffer.has_schema(u64::MAX).unwrap() && !buffer.has_schema(2).unwrap());
    let mut found = buffer.schemas().unwrap();
    found.sort_by_key(|(fingerprint, _)| std::cmp::Reverse(*fingerprint));
    assert_eq!(found, schemas);
}

#[test]
fn a_look_from_outside_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("b");
    assert!(matches!(Buffer::peek(&path), Err(BufferError::Refused(_))));
    let mut buffer = filled(&folder, 3);
    buffer.acknowledge(1, Sequence(1)).unwrap();
    let open = Buffer::peek(&path).unwrap();
    assert!(!open.closed && open.usage.oldest_s.is_some());
    assert_eq!((open.usage.batches, open.usage.rows), (2, 4));
    buffer.close().unwrap();
    let closed = Buffer::peek(&path).unwrap();
    assert!(closed.closed);
    assert_eq!((closed.staged, closed.acknowledged), (Sequence(3), Sequence(1)));
    assert_eq!((closed.epoch, closed.checkpoint), (1, Some(at(30))));
    assert_eq!(reopened(&folder, "boot-1").1, Opening::Continued);
}

/// The child writes two-batch transactions, says each one's number when its commit returned, and
/// acknowledges behind itself; it is killed at any moment.
#[test]
fn a_killed_writer_leaves_every_commit_whole_and_goes_on_in_its_epoch() {
    const CHILD: &str = "RIVULET_TEST_BUFFER_WRITER";
    if let Ok(path) = std::env::var(CHILD) {
        let mut buffer = Buffer::open(Path::new(&path), settings()).unwrap().0;
        let first = buffer.checkpoint().unwrap().map_or(0, |found| found.position.offset);
        for number in first + 1.. {
            let text = format!("{number}:{}", "x".repeat(20_000));
            buffer.stage_part(&parcel(&text)).unwrap();
            buffer.commit(&[parcel(&text)], &at(number)).unwrap();
            println!("\n!{number}");
            if number > 20 {
                buffer.acknowledge(1, Sequence((number - 20) * 2)).unwrap();
            }
        }
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("b");
    let name = "a_killed_writer_leaves_every_commit_whole_and_goes_on_in_its_epoch";
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("buffer::tests::{name}"), "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = 0;
        let mut see = |line: String| {
            if let Some(number) = line.strip_prefix('!').and_then(|number| number.parse().ok()) {
                said = number;
            }
        };
        lines.by_ref().take(60 + 37 * round as usize).for_each(|line| see(line.unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(see);

        let (mut buffer, opening) = Buffer::open(&path, settings()).unwrap();
        assert_eq!((opening, buffer.epoch()), (Opening::Continued, 1));
        file::check(&buffer.db).unwrap();
        let stands = buffer.checkpoint().unwrap().unwrap().position.offset;
        assert!(stands == said || stands == said + 1, "said {said}, stands at {stands}");
        assert_eq!(buffer.staged(), Sequence(stands * 2));
        let from = buffer.acknowledged();
        for (index, body) in bodies(&mut buffer, from).iter().enumerate() {
            let number = (from.0 + index as u64) / 2 + 1;
            assert!(body.starts_with(&format!("{number}:")), "{number}");
        }
        buffer.close().unwrap();
    }
}

/// One bit of the file is changed, anywhere: what comes out is right, or comes out as an error.
#[test]
fn a_flipped_bit_in_the_file_is_never_shipped() {
    let folder = TempDir::new().unwrap();
    let texts: Vec<String> = (1..=9).map(|n| format!("{n}").repeat(3000)).collect();
    let mut buffer = filled(&folder, 0);
    for (text, offset) in texts.iter().zip(1..) {
        buffer.commit(&[parcel(text)], &at(offset)).unwrap();
    }
    buffer.close().unwrap();
    let sound = fs::read(folder.path().join("b")).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut noticed = 0;
    for round in 0..300 {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("b");
        let mut bytes = sound.clone();
        let bit = random.usize(..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        fs::write(folder.path().join("b.lock"), "1\n1\n").unwrap();
        let Ok((mut buffer, _)) = Buffer::open(&path, settings()) else {
            noticed += 1;
            continue;
        };
        let mut from = Sequence::START;
        let healed = loop {
            match buffer.after(from) {
                Ok(None) => break false,
                Ok(Some(staged)) => {
                    from = from.next();
                    assert_eq!(staged.sequence, from);
                    assert_eq!(staged.body, texts[from.0 as usize - 1].as_bytes(), "{round}");
                }
                Err(_) => break true,
            }
        };
        noticed += u32::from(healed);
        assert!(healed || from == Sequence(9), "{round}: {from} of 9, and no word");
        match buffer.checkpoint() {
            Ok(Some(found)) => assert!(healed || found == at(9), "{round}: {found:?}"),
            other => assert!(healed, "{round}: {other:?}"),
        }
    }
    assert!(noticed > 100, "{noticed}");
}

/// A buffer with batch `1` and, behind the checkpoint 20, a prepared transaction of the parts `a`, `b` and `c`.
fn with_prepared(folder: &TempDir) -> Buffer {
    let mut buffer = filled(folder, 1);
    buffer.stage_part(&Parcel { schemas: vec![(7, b"schema".to_vec())], ..parcel("a") }).unwrap();
    buffer.stage_part(&parcel("b")).unwrap();
    buffer.prepare(b"x", Some(&parcel("c")), &at(10), &at(20), &[]).unwrap();
    buffer
}

fn parts(buffer: &mut Buffer, name: &[u8]) -> Vec<String> {
    let prepared = buffer.prepared(name).unwrap().unwrap();
    let part =
        |part| String::from_utf8(buffer.prepared_part(&prepared, part).unwrap().body).unwrap();
    (0..prepared.parts).map(part).collect()
}

fn ended(name: &[u8], committed: bool) -> Ended {
    Ended { name: name.to_vec(), committed }
}

#[test]
fn what_is_prepared_is_invisible_and_outlives_a_death() {
    let folder = TempDir::new().unwrap();
    drop(with_prepared(&folder));
    let mut buffer = reopened(&folder, "boot-1").0;
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(20)));
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1"]);
    assert_eq!(parts(&mut buffer, b"x"), ["a", "b", "c"]);
    assert!(!buffer.has_schema(7).unwrap(), "it has not travelled");
    assert_eq!(buffer.schema(7).unwrap(), Some(b"schema".to_vec()));
    assert_eq!(buffer.prepared(b"y").unwrap(), None);
    // Under the same name again: the server rolled the first one back without a word.
    buffer.prepare(b"x", Some(&parcel("new")), &at(20), &at(30), &[]).unwrap();
    assert_eq!(parts(&mut buffer, b"x"), ["new"]);
    buffer.commit_ending(&[], &at(40), &[ended(b"x", false)]).unwrap();
    assert_eq!((buffer.prepared(b"x").unwrap(), buffer.prepared_count().unwrap()), (None, 0));
}

#[test]
fn a_prepared_transaction_stays_until_its_commit_is_acknowledged() {
    let folder = TempDir::new().unwrap();
    let mut buffer = with_prepared(&folder);
    buffer.commit(&[parcel("2")], &at(25)).unwrap();
    buffer.stage_part(&parcel("ab")).unwrap();
    buffer.commit_ending(&[parcel("c")], &at(30), &[ended(b"x", true)]).unwrap();
    assert_eq!(buffer.prepared(b"x").unwrap(), None);
    buffer.prepare(b"x", Some(&parcel("later")), &at(30), &at(40), &[]).unwrap();
    tamper(&folder, "UPDATE batch SET body = 'other' WHERE body = CAST('ab' AS BLOB)");
    assert!(matches!(buffer.after(Sequence(2)), Err(BufferError::Healed { .. })));
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(25)));
    assert_eq!(parts(&mut buffer, b"x"), ["a", "b", "c"], "the one that is committed next");
    // Read again from there.
    buffer.commit_ending(&[parcel("abc")], &at(30), &[ended(b"x", true)]).unwrap();
    assert_eq!(buffer.prepared(b"x").unwrap(), None, "the later one is read again, too");
    let epoch = buffer.epoch();
    buffer.acknowledge(epoch, buffer.staged()).unwrap();
    let db = Connection::open(folder.path().join("b")).unwrap();
    let left = db.query_row("SELECT count(*) FROM part", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_broken_prepared_part_takes_the_source_back_before_it() {
    let folder = TempDir::new().unwrap();
    let mut buffer = with_prepared(&folder);
    buffer.commit(&[parcel("2")], &at(30)).unwrap();
    tamper(&folder, "UPDATE part SET body = 'other' WHERE body = CAST('b' AS BLOB)");
    let prepared = buffer.prepared(b"x").unwrap().unwrap();
    assert!(!buffer.was_read(&at(20).position).unwrap());
    let broken = buffer.prepared_part(&prepared, 1);
    assert!(matches!(broken, Err(BufferError::Healed { .. })), "{broken:?}");
    assert_eq!(
        (buffer.checkpoint().unwrap(), buffer.prepared(b"x").unwrap()),
        (Some(at(10)), None)
    );
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "2"], "what is staged may leave");
    assert!(buffer.was_read(&at(20).position).unwrap());
    assert!(!buffer.was_read(&at(30).position).unwrap());
    buffer.prepare(b"z", None, &at(10), &at(20), &[]).unwrap();
    tamper(&folder, "UPDATE prepared SET name = CAST('y' AS BLOB)");
    let unknown = buffer.prepared(b"z");
    assert!(matches!(unknown, Err(BufferError::Damaged(_))), "not just unknown: {unknown:?}");
}

#[test]
fn a_commit_that_is_read_again_does_not_find_what_was_prepared_after_it() {
    let folder = TempDir::new().unwrap();
    let mut buffer = with_prepared(&folder);
    // `y` is prepared and committed, and that has arrived; then there is another `y`.
    buffer.prepare(b"y", Some(&parcel("first")), &at(20), &at(30), &[]).unwrap();
    buffer.commit_ending(&[parcel("first")], &at(40), &[ended(b"y", true)]).unwrap();
    let epoch = buffer.epoch();
    buffer.acknowledge(epoch, buffer.staged()).unwrap();
    buffer.prepare(b"y", Some(&parcel("second")), &at(40), &at(50), &[]).unwrap();
    tamper(&folder, "UPDATE part SET body = 'other' WHERE body = CAST('b' AS BLOB)");
    let prepared = buffer.prepared(b"x").unwrap().unwrap();
    assert!(matches!(buffer.prepared_part(&prepared, 1), Err(BufferError::Healed { .. })));
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(10)));
    // The commit of the first `y`, from which on all is read again.
    assert_eq!(buffer.prepared(b"y").unwrap(), None);
    assert!(buffer.was_read(&at(30).position).unwrap());
}

#[test]
fn a_commit_without_rows_that_is_read_again_finds_what_was_prepared() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    buffer.prepare(b"e", None, &at(10), &at(20), &[]).unwrap();
    buffer.commit(&[parcel("2")], &at(25)).unwrap();
    buffer.commit_ending(&[], &at(30), &[ended(b"e", true)]).unwrap();
    buffer.commit(&[parcel("3")], &at(40)).unwrap();
    let epoch = buffer.epoch();
    buffer.acknowledge(epoch, Sequence(2)).unwrap();
    tamper(&folder, "UPDATE batch SET body = 'other' WHERE body = CAST('3' AS BLOB)");
    assert!(matches!(buffer.after(Sequence(2)), Err(BufferError::Healed { .. })));
    assert_eq!(buffer.checkpoint().unwrap(), Some(at(25)));
    assert!(buffer.prepared(b"e").unwrap().is_some());
}

#[test]
fn of_one_name_the_last_that_was_prepared_is_open_again() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 4);
    let y = |buffer: &mut Buffer, text, [from, to, end]: [u64; 3]| {
        buffer.prepare(b"y", Some(&parcel(text)), &at(from), &at(to), &[]).unwrap();
        buffer.commit_ending(&[parcel(text)], &at(end), &[ended(b"y", true)]).unwrap();
    };
    y(&mut buffer, "second", [16, 17, 50]);
    // Read again, and on.
    y(&mut buffer, "first", [11, 12, 13]);
    buffer.commit(&[parcel("more")], &at(45)).unwrap();
    tamper(&folder, "UPDATE batch SET body = 'other' WHERE body = CAST('second' AS BLOB)");
    assert!(matches!(buffer.after(Sequence(4)), Err(BufferError::Healed { .. })));
    assert_eq!(parts(&mut buffer, b"y"), ["second"]);
    buffer.commit_ending(&[parcel("second")], &at(50), &[ended(b"y", true)]).unwrap();
    assert_eq!(buffer.prepared(b"y").unwrap(), None);
}

#[test]
fn parts_outlive_a_healing_that_the_disk_did_not_take() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    buffer.stage_part(&parcel("a")).unwrap();
    buffer.stage_part(&parcel("b")).unwrap();
    tamper(&folder, "UPDATE batch SET body = 'other' WHERE body = CAST('1' AS BLOB)");
    let other = Connection::open(folder.path().join("b")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = buffer.after(Sequence::START);
    assert!(matches!(failed, Err(BufferError::Disk { .. })), "{failed:?}");
    other.execute_batch("ROLLBACK").unwrap();
    let taken = buffer.take_part().unwrap().expect("two parts are staged");
    assert_eq!(taken.body, b"b");
    assert_eq!(buffer.take_part().unwrap().expect("one is left").body, b"a");
    assert!(matches!(buffer.after(Sequence::START), Err(BufferError::Healed { .. })));
}

#[test]
fn gtids_tell_what_is_earlier_on_two_servers_and_by_a_clock_that_was_put_back() {
    let checkpoint = |server: &str, offset, created_s, gtids: &str| {
        let mut checkpoint = at(offset);
        checkpoint.position.server.0 = server.to_owned();
        (checkpoint.file_created_s, checkpoint.gtids) = (created_s, gtids.parse().unwrap());
        state::encode_checkpoint(&checkpoint)
    };
    let earlier = |one: &[u8], other: &[u8]| recovery::is_earlier(one, other).unwrap();
    let one = checkpoint("mariadb:1", 500, 100, "0-1-7");
    for later in [("mariadb:2", 20, 100), ("mariadb:1", 600, 50)] {
        let other = checkpoint(later.0, later.1, later.2, "0-1-8");
        assert!(earlier(&one, &other) && !earlier(&other, &one), "{later:?}");
        let untold = checkpoint(later.0, later.1, later.2, "");
        assert!(!earlier(&one, &untold) && !earlier(&untold, &one), "{later:?}");
    }
    let behind_no_gtid = checkpoint("mariadb:1", 600, 100, "0-1-7");
    assert!(earlier(&one, &behind_no_gtid) && !earlier(&behind_no_gtid, &one));
}

#[test]
fn the_last_part_can_be_taken_back_with_its_schema() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    buffer.stage_part(&parcel("a")).unwrap();
    buffer.stage_part(&Parcel { schemas: vec![(7, b"schema".to_vec())], ..parcel("b") }).unwrap();
    assert!(buffer.has_schema(7).unwrap());
    assert_eq!(buffer.take_part().unwrap().unwrap().body, b"b");
    assert!(!buffer.has_schema(7).unwrap());
    buffer.commit(&[parcel("c")], &at(20)).unwrap();
    assert_eq!(bodies(&mut buffer, Sequence::START), ["1", "a", "c"]);
    assert_eq!(buffer.take_part().unwrap(), None);
}

#[test]
fn prepared_transactions_count_towards_the_limit_and_stay_whole() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 0);
    let mut prepared = 0;
    let mut prepare = |buffer: &mut Buffer| {
        (0..4).try_for_each(|_| buffer.stage_part(&big(200_000)))?;
        buffer.prepare(&[prepared], Some(&big(200_000)), &at(10), &at(20), &[])?;
        prepared += 1;
        Ok::<(), BufferError>(())
    };
    let full = (0..50).find_map(|_| prepare(&mut buffer).err());
    assert!(matches!(full, Some(BufferError::Disk { cause: DiskCause::Quota, .. })), "{full:?}");
    assert!(buffer.is_full() && prepared > 3);
    buffer.discard_parts().unwrap();
    for name in 0..prepared {
        assert_eq!(buffer.prepared(&[name]).unwrap().unwrap().parts, 5);
        buffer.commit_ending(&[], &at(30), &[ended(&[name], false)]).unwrap();
    }
    buffer.prepare(b"n", Some(&big(200_000)), &at(30), &at(40), &[]).unwrap();
}

#[test]
fn notes_outlive_a_restart_and_broken_ones_were_never_made() {
    let folder = TempDir::new().unwrap();
    let mut buffer = filled(&folder, 1);
    assert_eq!(buffer.note("route").unwrap(), None);
    buffer.set_note("route", b"old").unwrap();
    buffer.set_note("route", b"new").unwrap();
    buffer.set_note("other", b"").unwrap();
    buffer.close().unwrap();
    let (buffer, opening) = reopened(&folder, "boot-1");
    assert_eq!(opening, Opening::Continued);
    assert_eq!(buffer.note("route").unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(buffer.note("other").unwrap().as_deref(), Some(&b""[..]));
    buffer.db.execute("UPDATE note SET value = x'0001020304'", []).unwrap();
    assert_eq!(buffer.note("route").unwrap(), None);
}
