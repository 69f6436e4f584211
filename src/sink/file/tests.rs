use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

fn settings(folder: &Path) -> Settings {
    Settings { folder: folder.to_owned(), base: "changes".to_owned(), file_bytes_max: 100_000 }
}

fn opened(folder: &TempDir) -> Files {
    loop {
        match Files::open(settings(folder.path())) {
            Ok(files) => return files,
            // Another test starts a process: until that has become another program, it holds our lock too.
            Err(SinkError::Refused(why)) if why.contains("is locked") => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn refused(folder: &TempDir) -> String {
    match Files::open(settings(folder.path())) {
        Err(SinkError::Refused(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

fn text(folder: &TempDir, number: u64) -> String {
    fs::read_to_string(output(&settings(folder.path()), number)).unwrap_or_default()
}

#[test]
fn lines_without_a_commit_are_taken_back() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    sink.write(b"1").unwrap();
    sink.commit(5).unwrap();
    sink.write(&[b'x'; 70_000]).unwrap();
    assert!(text(&folder, 1).len() > 70_000, "it reached the file");
    drop(sink);
    let mut sink = opened(&folder);
    assert_eq!((sink.cursor(), text(&folder, 1)), (5, "1\n".to_owned()));
    sink.write(b"2").unwrap();
    sink.commit(6).unwrap();
    assert_eq!(text(&folder, 1), "1\n2\n");
}

#[test]
fn a_rewind_begins_a_file_and_leaves_the_others_alone() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    sink.rewind(0).unwrap();
    sink.write(b"1").unwrap();
    sink.leave_note(b"note".to_vec());
    sink.commit(7).unwrap();
    sink.leave_note(Vec::new());
    sink.rewind(3).unwrap();
    assert_eq!((sink.cursor(), text(&folder, 1), text(&folder, 2)), (3, "1\n".into(), "".into()));
    drop(sink);
    let mut sink = opened(&folder);
    assert_eq!(
        (sink.cursor(), sink.note()),
        (3, &b""[..]),
        "a note that was taken back stays away"
    );
    sink.write(b"1 again").unwrap();
    sink.commit(4).unwrap();
    assert_eq!([1, 2].map(|number| text(&folder, number)), ["1\n", "1 again\n"]);
}

#[test]
fn a_note_is_as_old_as_its_commit_or_older() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    for cursor in 1..=3_u8 {
        sink.leave_note(vec![cursor; 5]);
        sink.commit(cursor.into()).unwrap();
    }
    drop(sink);
    assert_eq!(opened(&folder).note(), [3; 5]);
    let path = path(&settings(folder.path()), "note");
    let sound = fs::read(&path).unwrap();
    for byte in 0..NOTE_HEAD_BYTES + 5 {
        let mut bytes = sound.clone();
        bytes[NOTE_BYTES_MAX as usize + byte] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(opened(&folder).note(), [2; 5], "byte {byte} of the newest");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(opened(&folder).note(), [0; 0]);
}

#[test]
fn a_file_ends_only_at_a_commit() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    for cursor in 1..=2 {
        for _ in 0..3 {
            sink.write(&[b'x'; 50_000]).unwrap();
        }
        sink.commit(cursor).unwrap();
    }
    sink.write(b"last").unwrap();
    sink.commit(3).unwrap();
    assert_eq!([1, 2, 3].map(|number| text(&folder, number).len()), [150_003, 150_003, 5]);
    drop(sink);
    assert_eq!(opened(&folder).cursor(), 3);
}

#[test]
fn a_crash_within_a_rotation_is_mended() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    sink.write(&[b'x'; 100_000]).unwrap();
    drop(create(&settings(folder.path()), 2).unwrap());
    sink.commit(1).unwrap();
    sink.write(b"y").unwrap();
    sink.commit(2).unwrap();
    assert_eq!(text(&folder, 2), "y\n");
}

#[test]
fn a_torn_slot_leaves_the_commit_before() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    for cursor in 1..=3 {
        sink.write(cursor.to_string().as_bytes()).unwrap();
        sink.commit(cursor).unwrap();
    }
    sink.slots.write_all_at(b"torn", slot_at(3) + 20).unwrap();
    drop(sink);
    let sink = opened(&folder);
    assert_eq!((sink.cursor(), text(&folder, 1)), (2, "1\n2\n".to_owned()));
    sink.slots.write_all_at(b"torn", slot_at(2) + 20).unwrap();
    drop(sink);
    assert!(refused(&folder).contains("damaged in both slots"));
}

#[test]
fn what_does_not_fit_the_cursor_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    assert!(refused(&folder).contains("another process writes there"));
    sink.write(b"1").unwrap();
    sink.commit(1).unwrap();
    drop(sink);
    let (out, cursor) =
        (folder.path().join("changes.000001.jsonl"), folder.path().join("changes.cursor"));
    fs::write(&out, "").unwrap();
    assert!(refused(&folder).contains("lines are missing"));
    fs::remove_file(&out).unwrap();
    assert!(refused(&folder).contains("is committed, but"));
    fs::write(&out, "somebody's\n").unwrap();
    fs::remove_file(&cursor).unwrap();
    assert!(refused(&folder).contains("no cursor speaks of it"));
    assert_eq!(text(&folder, 1), "somebody's\n");
    std::os::unix::fs::symlink(&out, &cursor).unwrap();
    assert!(refused(&folder).contains("is not a regular file"));
    let odd = Settings { base: "../x".to_owned(), ..settings(folder.path()) };
    assert!(matches!(Files::open(odd), Err(SinkError::Refused(_))));
}

#[test]
fn after_a_failed_write_nothing_is_committed_until_it_is_opened_anew() {
    let folder = TempDir::new().unwrap();
    let mut sink = opened(&folder);
    sink.write(b"1").unwrap();
    sink.commit(1).unwrap();
    sink.out = File::open(output(&settings(folder.path()), 1)).unwrap();
    sink.write(b"2").unwrap();
    assert!(matches!(sink.commit(2), Err(SinkError::Io(_))));
    assert!(matches!(sink.commit(2), Err(SinkError::Refused(_))));
    assert!(matches!(sink.write(b"3"), Err(SinkError::Refused(_))));
    drop(sink);
    assert_eq!(opened(&folder).cursor(), 1);
}

/// The child writes each number twice and commits behind it; it is killed at any moment.
#[test]
fn a_killed_writer_neither_loses_nor_repeats_a_line() {
    const CHILD: &str = "RIVULET_TEST_FILE_WRITER";
    if let Ok(folder) = std::env::var(CHILD) {
        let mut sink = Files::open(settings(Path::new(&folder))).unwrap();
        for number in sink.cursor() + 1.. {
            for half in ["a", "b"] {
                let line = format!("{number}{half}{}", "x".repeat(40_000 * (number % 2) as usize));
                sink.write(line.as_bytes()).unwrap();
            }
            sink.commit(number).unwrap();
            println!("\n!{number}");
        }
    }
    let folder = TempDir::new().unwrap();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sink::file::tests::a_killed_writer_neither_loses_nor_repeats_a_line",
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
        lines.by_ref().take(30 + 17 * round).for_each(|line| see(line.unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(see);

        let sink = opened(&folder);
        let (cursor, files) = (sink.cursor(), sink.mark.file);
        assert!(cursor == said || cursor == said + 1, "said {said}, stands at {cursor}");
        let found: String = (1..=files).map(|number| text(&folder, number)).collect();
        let found: Vec<&str> = found.lines().map(|line| line.trim_end_matches('x')).collect();
        let expected: Vec<String> =
            (1..=cursor).flat_map(|number| [format!("{number}a"), format!("{number}b")]).collect();
        assert_eq!(found, expected);
        assert!(files > 1, "it rotated");
    }
}
