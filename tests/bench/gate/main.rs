//! SHELL: `make gate`: what a row costs, without a clock: instructions, bytes, calls for memory, memory, sizes. The
//! logs are made without a server and always the same, so the numbers are, too: those that are kept in
//! `tests/bench/gate.txt` are what they were the last time, and whatever is worse by more than a twentieth fails.
//!
//! | word | what |
//! |---|---|
//! | none | measures all, and compares; `UPDATE=1` keeps what was measured |
//! | `split LOG` | a log → rows as columns; prints what it took |
//! | `carry LOG` | a log → stager → buffer → framed batches, acknowledged: the edge's whole way but for its link |
//!
//! `tests/bench/count.sh` counts the instructions of the latter two as processes of their own; of values, which the
//! edge does not interpret, those of `scan count`.

#[expect(dead_code, reason = "the bench uses the rest")]
#[path = "../cutting.rs"]
mod cutting;
mod edge;
#[path = "../scan/generated.rs"]
mod generated;
mod kept;
#[expect(dead_code, reason = "the bench uses the rest")]
#[path = "../log.rs"]
mod log;
mod outside;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cutting::{Cut, Images, framed_bytes};
use generated::Kind;
use kept::Kept;
use log::{Item, Log};
use outside::Took;

/// A twentieth.
const WORSE_MAX: f64 = 1.05;
/// The logs: their names, and half of their transactions.
const LOGS: [(&str, Kind, u32); 2] = [("oltp", Kind::Oltp, 1600), ("small", Kind::Small, 3200)];
/// Calls for memory are counted in logs that are so many times longer: a column's memory grows to what its largest
/// batch needs.
const SETTLED: u32 = 8;
const CUTS: [u32; 3] = [16, 100, 1000];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["split", log] => tell(split(Path::new(log))),
        ["carry", log] => tell(edge::carry(Path::new(log))),
        [] => return gate(),
        _ => {
            eprintln!("gate [split LOG | carry LOG]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn tell(rows: u64) {
    println!("{rows} rows, VmHWM {} KiB", outside::highest_kib(std::process::id()).unwrap_or(0));
}

/// Rows as columns, which is what the edge makes of a log.
fn split(path: &Path) -> u64 {
    let file = std::fs::File::open(path).expect("the log can be read");
    let mut rows = 0;
    log::each(file, |item| rows += u64::from(matches!(item, Item::Row(..)))).expect("it is whole");
    rows
}

fn gate() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/bench");
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    let mut kept = Kept::read(root.join("tests/bench/gate.txt"));
    for (name, kind, half) in LOGS {
        let log = |transactions| -> PathBuf {
            let path = folder.join(format!("gate-{name}-{transactions}"));
            std::fs::write(&path, generated::log(kind, transactions)).expect("it can be written");
            path
        };
        let whole = log(2 * half);
        measure(name, &whole, &mut kept);
        calls(name, [SETTLED * half, 2 * SETTLED * half].map(log), &mut kept);
    }
    let oltp = folder.join(format!("gate-oltp-{}", 2 * LOGS[0].2));
    let decode = outside::decode_highest_kib(&oltp);
    kept.hold("rivulet decode", "KiB of memory at most", decode as f64);
    let program = std::fs::metadata(outside::built("rivulet")).expect("`make gate` builds it");
    kept.hold("rivulet", "bytes of the program", program.len() as f64);
    kept.end()
}

fn measure(name: &str, whole: &Path, kept: &mut Kept) {
    for what in ["split", "carry"] {
        let (took, rows) = (outside::instructions("gate", what, whole), Took::of(what, whole));
        kept.hold(&format!("{what}, {name}"), "instructions per row", took / rows.rows);
        if what == "carry" {
            kept.hold(&format!("{what}, {name}"), "KiB of memory at most", rows.highest_kib);
        }
    }
    let rows = Took::of("split", whole).rows;
    let values = outside::instructions("scan", "count", whole);
    kept.hold(&format!("values, {name}"), "instructions per row", values / rows);
    let log = Log::read(whole);
    for (images, title) in [(Images::Full, "full"), (Images::Changed, "changed only")] {
        for cut in CUTS {
            let bytes = framed_bytes(&log, Cut::Rows(cut), images) as f64 / log.rows as f64;
            kept.hold(&format!("batches of {cut}, {title}, {name}"), "bytes per row", bytes);
        }
    }
}

/// What the second half of a log takes: the first is what it takes until memory has grown to what it needs.
fn calls(name: &str, [half, whole]: [PathBuf; 2], kept: &mut Kept) {
    let calls = |path: &Path| {
        let (mut split_rows, mut carried) = (0, 0);
        let split = allocation_counter::measure(|| split_rows = split(path)).count_total;
        let carry = allocation_counter::measure(|| carried = edge::carry(path)).count_total;
        assert_eq!(split_rows, carried, "no row is lost");
        [split as f64, carry as f64, split_rows as f64]
    };
    let (half_calls, all) = (calls(&half), calls(&whole));
    let rows = all[2] - half_calls[2];
    for (at, what) in ["split", "carry"].into_iter().enumerate() {
        let each = (all[at] - half_calls[at]) / rows;
        kept.hold(&format!("{what}, {name}"), "calls for memory per row", each);
    }
}
