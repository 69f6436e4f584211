//! `make memory`: what the edge's static program takes of memory, processor and time, beside a real server and a
//! real collector. Memory and threads are held to limits; what a clock measured is told.
//!
//! | scene | what |
//! |---|---|
//! | `idle` | nothing happens: memory, processor, how often it wakes |
//! | `start` | 500 row changes a second, while the agent is ended and started: how soon it is gone and how soon back |
//! | `rate` | 8,000 row changes a second, for `SECONDS` |
//! | `transaction` | one transaction of `TRANSACTION_MB` of log |
//! | `backlog` | `BACKLOG_MB` in the buffer, then sent |
//! | `tables` | a row for each of `TABLES` tables, twice |
//!
//! `SCENES="idle rate"` runs some of them; `QUICK=1` makes them all a tenth or less of what is promised; `MORE` are
//! more lines of the agent's `[uplink]`, to see what a setting is worth.

#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use harness::server::{Flavour, Server};
use harness::steady::Steady;
use stage::{Stage, Usage};

/// Megabytes, as promised.
const IDLE_MB_MAX: f64 = 5.0;
const LOAD_MB_MAX: f64 = 8.0;
/// Their names are in [`stage::THREADS`].
const PATIENCE: Duration = Duration::from_secs(600);

type Scene = fn(&mut Stage<'_>, &Scale);

const SCENES: [(&str, f64, Scene); 6] = [
    ("idle", IDLE_MB_MAX, idle),
    ("start", LOAD_MB_MAX, start),
    ("rate", LOAD_MB_MAX, rate),
    ("transaction", LOAD_MB_MAX, transaction),
    ("backlog", LOAD_MB_MAX, backlog),
    ("tables", LOAD_MB_MAX, tables),
];

/// How much of each.
struct Scale {
    idle: Duration,
    time: Duration,
    transaction_mb: u64,
    backlog_mb: u64,
    tables: u64,
}

impl Scale {
    fn from_env() -> Self {
        let quick = std::env::var("QUICK").is_ok_and(|text| !text.is_empty());
        let number = |name: &str, whole: u64, quickly: u64| match std::env::var(name) {
            Ok(text) if !text.is_empty() => text.parse().expect("a number"),
            _ if quick => quickly,
            _ => whole,
        };
        Self {
            idle: Duration::from_secs(number("IDLE_S", 30, 10)),
            time: Duration::from_secs(number("SECONDS", 300, 20)),
            transaction_mb: number("TRANSACTION_MB", 1000, 100),
            backlog_mb: number("BACKLOG_MB", 400, 40),
            tables: number("TABLES", 20_000, 1000),
        }
    }
}

fn main() -> ExitCode {
    let chosen = std::env::var("SCENES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    if let Some(name) = chosen.iter().find(|name| SCENES.iter().all(|(known, ..)| known != *name)) {
        eprintln!("SCENES: no scene `{name}`");
        return ExitCode::FAILURE;
    }
    let (scale, mut failed) = (Scale::from_env(), false);
    // What is measured is the agent: the server need not outlive the machine.
    let settings = [
        "--innodb-flush-log-at-trx-commit=0",
        "--sync-binlog=0",
        "--innodb-file-per-table=0",
        "--sync-frm=0",
    ];
    let server = Server::start(Flavour::Mariadb1011, &settings);
    for (name, mb_max, scene) in SCENES {
        if !chosen.is_empty() && !chosen.contains(&name) {
            continue;
        }
        println!("{name}:");
        let mut stage = Stage::new(&server);
        scene(&mut stage, &scale);
        failed |= !stage.end(mb_max);
    }
    if failed {
        eprintln!("memory: a limit is exceeded");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Nothing happens but what a link and a server need to see that somebody is there.
fn idle(stage: &mut Stage<'_>, scale: &Scale) {
    stage.start();
    stage.wait_for_link();
    sleep(Duration::from_secs(3));
    let before = stage.usage();
    sleep(scale.idle);
    let usage = stage.usage().since(&before);
    println!(
        "  {:.3} % of a core (goal 0.1), {:.1} wake-ups a second (goal 5): {}",
        usage.cpu_percent(),
        usage.wakes_per_second(),
        usage.wakes()
    );
}

/// The agent comes and goes under a small load.
fn start(stage: &mut Stage<'_>, scale: &Scale) {
    stage.start();
    let (mut stops, mut starts) = (Vec::new(), Vec::new());
    let time = scale.idle.max(Duration::from_secs(10));
    let usage = loaded(stage, (500, 7), |stage| {
        sleep(Duration::from_secs(2));
        stage.catch_up();
        let before = stage.usage();
        stage.follow_for(time);
        let usage = stage.usage().since(&before);
        for _ in 0..5 {
            stops.push(stage.stop());
            // What comes first is there already, as it is when a machine starts.
            sleep(Duration::from_millis(200));
            stage.catch_up();
            starts.push(stage.start_to_first_line());
            stage.follow_for(Duration::from_millis(500));
        }
        usage
    });
    println!("  500 row changes a second: {:.1} % of a core (goal 5)", usage.cpu_percent());
    println!("  SIGTERM to exit: {} (goal 1 s)", told(&mut stops));
    println!("  start to the first line at the collector: {} (goal 300 ms)", told(&mut starts));
}

fn told(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    format!("median {} ms, longest {} ms", median.as_millis(), longest.as_millis())
}

fn rate(stage: &mut Stage<'_>, scale: &Scale) {
    stage.start();
    let usage: Usage = loaded(stage, (8000, 79), |stage| {
        let before = stage.usage();
        stage.follow_for(scale.time);
        stage.usage().since(&before)
    });
    println!("  {:.1} % of a core", usage.cpu_percent());
}

/// Runs the load beside `during`, and waits until all of it has arrived.
fn loaded<T>(
    stage: &mut Stage<'_>,
    (per_second, changes_max): (u64, u64),
    during: impl FnOnce(&mut Stage<'_>) -> T,
) -> T {
    let mut load = Steady::new(stage.server, 7);
    load.changes_max = changes_max;
    let stop = Arc::new(AtomicBool::new(false));
    let (until, began) = (Arc::clone(&stop), Instant::now());
    let load = thread::spawn(move || {
        load.run(per_second, &until);
        load
    });
    let result = during(stage);
    stop.store(true, Ordering::Relaxed);
    let load = load.join().expect("the load ends when it is told to");
    let per_second = load.changes as f64 / began.elapsed().as_secs_f64();
    println!("  {} row changes, {per_second:.0} a second", load.changes);
    stage.wait_for(load.changes);
    result
}

/// Rows of a kilobyte, half of it text that never comes again.
fn transaction(stage: &mut Stage<'_>, scale: &Scale) {
    let rows = scale.transaction_mb * 1_000_000 / 938;
    let sql = |statement: &str| drop(stage.server.sql(statement));
    sql(
        "create table wide (id bigint primary key, a varchar(600), b varchar(600), c varchar(200)) charset utf8mb4",
    );
    let text = "concat(sha2(seq, 512), sha2(seq * 7, 512), md5(seq), md5(-seq), repeat('and so on, ', 14))";
    let insert = format!(
        "insert into wide select seq, {text}, concat(sha2(-seq, 512), repeat('what else? ', 28)), \
         concat('row ', seq) from seq_1_to_{rows}"
    );
    sql(&insert);
    let log = stage.log_bytes();
    println!("  {rows} rows, {:.0} MB of log", log as f64 / 1e6);
    stage.start();
    stage.wait_for(rows);
    sql("drop table wide");
}

/// What nothing compresses, while the collector is away.
fn backlog(stage: &mut Stage<'_>, scale: &Scale) {
    stage.start_agent();
    let sql = |statement: &str| drop(stage.server.sql(statement));
    sql(
        "create table noise (id bigint auto_increment primary key, a varbinary(1000), b varbinary(1000))",
    );
    // Transactions of one megabyte.
    let rows = 500;
    for _ in 0..scale.backlog_mb {
        let both = "random_bytes(1000), random_bytes(1000)";
        sql(&format!("insert into noise (a, b) select {both} from seq_1_to_{rows}"));
    }
    let bytes = stage.wait_for_buffer(scale.backlog_mb * rows);
    println!("  {:.0} MB in the buffer", bytes as f64 / 1e6);
    stage.tell_memory("before the link");
    stage.start_collector();
    let began = Instant::now();
    stage.wait_for(scale.backlog_mb * rows);
    println!("  drained in {:.1} s", began.elapsed().as_secs_f64());
    sql("drop table noise");
}

fn tables(stage: &mut Stage<'_>, scale: &Scale) {
    let columns = "number int unsigned, name varchar(40), price decimal(10,2), at datetime(3), state enum('new', 'old'), \
                   remark text, weight double, flags bit(8), changed timestamp(6) default now(6)";
    let server = stage.server;
    // A table takes the server some syncs: many are made at once.
    let run = |sessions: usize, statements: Vec<String>| {
        thread::scope(|scope| {
            for part in statements.chunks(statements.len().div_ceil(sessions).max(1)) {
                scope.spawn(move || {
                    let mut session = server.session();
                    session.run("use exam").expect("it is there");
                    for some in part.chunks(100) {
                        let done = session.run(&some.join("\n;;\n"));
                        done.unwrap_or_else(|error| {
                            panic!("error {}: {:.400}", error.code, error.text)
                        });
                    }
                });
            }
        });
    };
    let each = |statement: &dyn Fn(u64) -> String| -> Vec<String> {
        (1..=scale.tables).map(statement).collect()
    };
    let began = Instant::now();
    let create = |table| {
        let key = format!("id_{table} int primary key");
        format!("create table many_{table} ({key}, {columns}) engine=myisam charset utf8mb4")
    };
    run(16, each(&create));
    println!("  {} tables made in {:.0} s", scale.tables, began.elapsed().as_secs_f64());
    stage.start();
    for row in 1..=2 {
        let values = format!("values ({row}, 'row {row} of this table', 1.5)");
        let insert = |table| format!("insert into many_{table} (id_{table}, name, price) {values}");
        run(1, each(&insert));
    }
    stage.wait_for(2 * scale.tables);
}
