//! Bytes of real buffers are changed, page by page: what comes out is what the source has, or nothing.

use std::fs;

use tempfile::TempDir;

use super::*;

const BATCHES: u64 = 14;
const BOOT: &str = "boot-1";

fn settings() -> Settings {
    Settings { bytes_max: 8 << 20, durability: Durability::Normal, boot_id: BOOT.to_owned() }
}

fn at(offset: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.position.file = "binlog.000001".to_owned();
    checkpoint.position.offset = offset;
    checkpoint
}

/// What the source commits between `number - 1` and `number`.
fn text(number: u64) -> String {
    format!("{number:02}").repeat(100 + 1500 * (number as usize % 3))
}

fn parcel(text: &str) -> Parcel {
    let schemas = vec![(text.len() as u64, text.as_bytes()[..60].to_vec())];
    let body = text.as_bytes().to_vec();
    Parcel { meta: b"meta".to_vec(), body, rows: 2, transactions: 1, schemas }
}

/// A buffer in which each kind of page occurs: tables with overflow, indexes, free pages, the map of pages.
fn filled(path: &Path) -> Buffer {
    let mut buffer = Buffer::open(path, settings()).unwrap().0;
    buffer.commit(&[], &at(0)).unwrap();
    for number in 1..=BATCHES {
        buffer.commit(&[parcel(&text(number))], &at(number)).unwrap();
        if number == 5 {
            buffer.stage_part(&parcel(&"p".repeat(9000))).unwrap();
            buffer.prepare(b"x", Some(&parcel(&"q".repeat(70))), &at(5), &at(5), &[]).unwrap();
        }
    }
    buffer.acknowledge(1, Sequence(4)).unwrap();
    buffer
}

/// What became of a damaged buffer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    Unharmed,
    Healed,
    Refused,
}

/// Opens the buffer and reads all of it, as an agent does: where it is told to go back, it commits again what
/// the source has. What leaves must be what the source has.
fn live(path: &Path, what: &str) -> End {
    let words = |error: &BufferError| {
        let text = error.to_string();
        let told = ["move it aside", "is something else", "has format", "symbolic link"];
        assert!(told.iter().any(|words| text.contains(words)), "{what}: {text}");
        End::Refused
    };
    let mut opened = Buffer::open(path, settings());
    // Another test starts a process: until that has become another program, it holds our locks too.
    while opened.as_ref().err().is_some_and(|error| error.to_string().contains("is in use")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
        opened = Buffer::open(path, settings());
    }
    let (mut buffer, opening) = match opened {
        Ok(opened) => opened,
        Err(error @ (BufferError::Refused(_) | BufferError::Damaged(_))) => return words(&error),
        Err(error) => panic!("{what}: {error}"),
    };
    let mut end = if opening == Opening::Continued { End::Unharmed } else { End::Healed };
    let mut leaves = Vec::new();
    for _ in 0..100 {
        let turned = turn(&mut buffer, &mut leaves);
        match turned {
            Ok(true) => {
                // Every batch says by itself which it is; the last ones to leave are the last ones committed.
                let expected: Vec<String> = (1..=BATCHES).map(text).collect();
                let from = expected.len().checked_sub(leaves.len());
                let from = from.unwrap_or_else(|| panic!("{what}: more than there is"));
                assert!(from <= 4, "{what}: {from} left out, 4 were acknowledged");
                assert!(
                    leaves == expected[from..],
                    "{what}: what leaves is not what was committed"
                );
                return end;
            }
            Ok(false) => {}
            Err(BufferError::Healed { .. }) => (end, _) = (End::Healed, leaves.clear()),
            Err(error @ (BufferError::Refused(_) | BufferError::Damaged(_))) => {
                return words(&error);
            }
            // The next call looks at the file.
            Err(BufferError::Disk { cause: DiskCause::Io, .. }) => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    panic!("{what}: it never comes to an end");
}

/// True when all has left.
fn turn(buffer: &mut Buffer, leaves: &mut Vec<String>) -> Result<bool, BufferError> {
    let read = buffer.checkpoint()?.map_or(0, |at| at.position.offset);
    assert!(read <= BATCHES);
    for number in read + 1..=BATCHES {
        buffer.commit(&[parcel(&text(number))], &at(number))?;
    }
    leaves.clear();
    let mut from = buffer.acknowledged();
    while let Some(staged) = buffer.after(from)? {
        from = staged.sequence;
        leaves.push(String::from_utf8(staged.body).unwrap());
    }
    Ok(true)
}

fn copies(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        let bytes = fs::read(file::beside(from, suffix)).unwrap();
        fs::write(file::beside(to, suffix), bytes).unwrap();
    }
}

/// Bytes of a page: its head and a frame's, the pointers to its cells, what they hold.
const PLACES: [usize; 11] = [0, 1, 5, 8, 17, 24, 27, 61, 100, 700, 2048];

/// Changes bytes of each page (`head` bytes stand before it) and counts what became of it.
fn every_page(
    sound: &Path,
    suffixes: &[&str],
    damaged: &str,
    head: usize,
    span: usize,
) -> [u32; 3] {
    let bytes = fs::read(file::beside(sound, damaged)).unwrap();
    let mut ends = [0; 3];
    for page in 0..bytes.len().saturating_sub(head).div_ceil(span) {
        for place in PLACES.into_iter().chain([span - 200, span - 3]) {
            let byte = head + page * span + place;
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("b");
            copies(sound, &path, suffixes);
            let mut changed = bytes.clone();
            let Some(target) = changed.get_mut(byte) else { continue };
            *target ^= 0x55;
            fs::write(file::beside(&path, damaged), changed).unwrap();
            let end = live(&path, &format!("page {page}, byte {place} of {damaged:?}"));
            ends[end as usize] += 1;
            // And it goes on after that.
            if end == End::Healed {
                assert_ne!(live(&path, "the second time"), End::Refused);
            }
        }
    }
    ends
}

#[test]
fn a_changed_byte_in_any_page_of_a_closed_buffer_heals_or_stops_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("b");
    filled(&path).close().unwrap();
    let [unharmed, healed, refused] = every_page(&path, &["", ".lock"], "", 0, 4096);
    println!("closed: {unharmed} unharmed, {healed} healed, {refused} refused");
    assert!(healed > 20 && refused > 5, "{healed} healed, {refused} refused");
}

#[test]
fn a_changed_byte_in_any_page_of_a_killed_buffer_heals_or_stops_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let (path, copy) = (folder.path().join("b"), folder.path().join("copy"));
    let mut buffer = filled(&path);
    copies(&path, &copy, &["", "-wal", ".lock"]);
    // All in the WAL, as a kill leaves it; then with a part of it in the file.
    let wal = every_page(&copy, &["", "-wal", ".lock"], "-wal", 32, 4096 + 24);
    buffer.written(1 << 30);
    // The next write begins the WAL anew: from now on pages are read from the file.
    buffer.stage_part(&parcel(&"open".repeat(20))).unwrap();
    copies(&path, &copy, &["", "-wal", ".lock"]);
    let file = every_page(&copy, &["", "-wal", ".lock"], "", 0, 4096);
    println!("killed: WAL {wal:?}, file {file:?}: unharmed, healed, refused");
    assert!(wal[0] > 0 && file[1] > 20, "{wal:?} {file:?}");
}
