//! Logs that no script leaves: cut off, cut off by a crash, and encrypted.

use std::fs;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::harness::process::{self, RIVULET};
use crate::harness::replay::{Change, Replay};
use crate::harness::server::{Flavour, Server};
use crate::harness::tables::Table;

/// What `rivulet decode` made of a file: its exit code, the changes, and what it said.
fn decode(file: &Path) -> (Option<i32>, Vec<Change>, String) {
    let path = file.to_str().expect("a UTF-8 path");
    let output = process::run(RIVULET, &["decode", "--format", "debezium", path]);
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{path}: {said}");
    (output.status.code(), Change::all(&lines), said)
}

/// What makes a change that one and no other.
fn identity(change: &Change) -> String {
    format!("{:?} {} {:?} {:?}", change.place, change.operation, change.before, change.after)
}

/// Where each event begins, and where the last one ends.
fn event_offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![4];
    while let Some(at) = offsets.last().copied().filter(|at| *at < bytes.len()) {
        let length = u32::from_le_bytes(bytes[at + 9..at + 13].try_into().expect("four bytes"));
        offsets.push(at + length as usize);
    }
    offsets
}

const WORK: [&str; 8] = [
    "create database cut",
    "create table cut.t (id int primary key auto_increment, v varchar(100), b blob)",
    "insert into cut.t (v,b) values ('one',0x00ff),('two',null),('three','')",
    "update cut.t set v=concat(v,'!') where id<3",
    "begin",
    "insert into cut.t (v) values ('four'),('five')",
    "delete from cut.t where id=2",
    "commit",
];

/// Every cut of a file gives what was committed before it, and a file that is damaged an error.
pub fn cuts(flavour: Flavour) {
    let server = Server::start(flavour, &[]);
    server.reset_logs();
    let mut session = server.session();
    for statement in WORK {
        session.run(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let file = server.closed_logs().remove(0);
    let bytes = fs::read(&file).expect("a closed log");
    let (code, whole, said) = decode(&file);
    assert_eq!((code, whole.len()), (Some(0), 8), "{flavour}: {said}");
    let whole: Vec<String> = whole.iter().map(identity).collect();
    let offsets = event_offsets(&bytes);
    let cut = server.folder().join(file.file_name().expect("a name"));
    let mut last = 0;
    for pair in offsets.windows(2) {
        for at in [pair[0], pair[0] + 1, pair[0] + 18, pair[0] + 19, pair[1] - 4, pair[1] - 1] {
            fs::write(&cut, &bytes[..at.min(bytes.len())]).expect("a writable folder");
            let (code, changes, said) = decode(&cut);
            assert!(matches!(code, Some(0 | 3)), "{flavour}, cut at {at}: {code:?}: {said}");
            let changes: Vec<String> = changes.iter().map(identity).collect();
            assert_eq!(changes, whole[..changes.len()], "{flavour}, cut at {at}");
            assert!(changes.len() >= last, "{flavour}, cut at {at}: fewer than before");
            assert!(
                [0, 3, 5, 8].contains(&changes.len()),
                "{flavour}, cut at {at}: a torn transaction"
            );
            last = changes.len();
        }
        // One bit of the event's body: the checksum tells.
        if pair[1] - pair[0] > 24 {
            let mut damaged = bytes.clone();
            damaged[pair[0] + 21] ^= 0x40;
            fs::write(&cut, &damaged).expect("a writable folder");
            let (code, changes, said) = decode(&cut);
            assert_eq!(code, Some(3), "{flavour}, bit at {}: {said}", pair[0]);
            let changes: Vec<String> = changes.iter().map(identity).collect();
            assert_eq!(changes, whole[..changes.len()], "{flavour}, bit at {}", pair[0]);
        }
    }
    assert_eq!(last, 8, "{flavour}: all but the last byte");
    let mut zeros = bytes.clone();
    zeros.extend([0; 4096]);
    fs::write(&cut, &zeros).expect("a writable folder");
    let (code, changes, said) = decode(&cut);
    assert_eq!((code, changes.len()), (Some(3), 8), "{flavour}, zeros behind the end: {said}");
    println!("{flavour}: {} events cut and damaged", offsets.len() - 1);
}

/// The server is killed while it writes a large transaction to the log.
pub fn crash(flavour: Flavour) {
    const GROWN: u64 = 256 << 10;
    let server = Server::start(flavour, &["--max-binlog-size=1G"]);
    server.reset_logs();
    let mut session = server.session();
    let mut run = |sql: &str| session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    run("create database cr");
    run("create table cr.t (id int primary key auto_increment, k int, pad varchar(200))");
    run("insert into cr.t (k,pad) values (1,'small'),(2,'small'),(3,'small')");
    let log = server.data().join("binlog.000001");
    let before = fs::metadata(&log).expect("the log is there").len();
    let depth =
        if flavour.is_mysql() { "cte_max_recursion_depth" } else { "max_recursive_iterations" };
    let large = format!(
        "set {depth}=100000; insert into cr.t (k,pad) with recursive n(i) as (select 0 union all select i+1 from n \
         where i<10000) select i, repeat(char(97+i%26),180) from n"
    );
    let length = || fs::metadata(&log).expect("the log is there").len();
    thread::scope(|scope| {
        // It may be killed in the middle, or just be done: both are crashes.
        scope.spawn(|| drop(server.client(&large)));
        let start = Instant::now();
        while length() < before + GROWN && start.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_micros(200));
        }
        server.kill();
        assert!(length() > before, "{flavour}: nothing was written");
    });
    let torn = server.folder().join("binlog.000001");
    fs::copy(&log, &torn).expect("a readable log");
    let (code, left, said) = decode(&torn);
    assert!(matches!(code, Some(0 | 3)), "{flavour}: {code:?}: {said}");
    server.restart();
    server.sql("insert into cr.t (k,pad) values (-1,'after')");
    let mut changes = Vec::new();
    for file in server.closed_logs() {
        let (code, more, said) = decode(&file);
        assert_eq!(code, Some(0), "{flavour}, {}: {said}", file.display());
        changes.extend(more);
    }
    let as_left: Vec<String> = left.iter().map(identity).collect();
    let as_mended: Vec<String> = changes.iter().take(left.len()).map(identity).collect();
    assert!(as_left == as_mended, "{flavour}: the crashed log and the mended one differ");
    let table = Table::read(&server, "cr", "t");
    let mut replay = Replay::default();
    for change in &changes {
        replay.apply(change, &table).unwrap_or_else(|what| panic!("{flavour}: {what}"));
    }
    let rows = replay.compare(&table, &server).unwrap_or_else(|what| panic!("{flavour}: {what}"));
    println!("{flavour}: {} changes as the crash left it, {rows} rows behind it", left.len());
}

/// A file that is encrypted says so.
pub fn encrypted(flavour: Flavour) {
    let server = Server::start_encrypted(flavour);
    server.sql("create database enc");
    let file = server.closed_logs().pop().expect("a log");
    let (code, changes, said) = decode(&file);
    assert_eq!((code, changes.len()), (Some(3), 0), "{flavour}: {said}");
    assert!(said.contains("encrypted"), "{flavour}: {said}");
    println!("{flavour}: {}", said.trim());
}
