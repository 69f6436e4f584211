//! A load that can go on for hours: so many row changes a second in small transactions, on a table that does
//! not grow. Every update changes its rows, so that the number of changes is known exactly.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::server::Server;
use super::session::Session;

const TABLES: [&str; 2] = [
    "create database if not exists steady",
    "create table if not exists steady.rows_ (id bigint unsigned primary key, version int unsigned not null, \
     sensor int not null, value double not null, note varchar(80) character set utf8mb4, at datetime(6) not null)",
];
/// From so many rows on, as many are deleted as inserted.
const ROWS: u64 = 3000;
/// What was missed is made up for, but not more than this much of it.
const LAG_MAX: Duration = Duration::from_secs(1);

/// A client that changes rows, and knows how many it has changed.
pub struct Steady {
    session: Session,
    random: fastrand::Rng,
    /// The rows that are there have the ids from here on …
    first: u64,
    /// … to below this one.
    next: u64,
    /// Rows inserted, updated and deleted.
    pub changes: u64,
    pub transactions: u64,
    /// Row changes of the largest transaction; the mean is half of it.
    pub changes_max: u64,
}

impl Steady {
    /// Makes the table.
    pub fn new(server: &Server, seed: u64) -> Self {
        let mut session = server.session();
        for table in TABLES {
            session.run(table).unwrap_or_else(|error| panic!("{table}: {error}"));
        }
        let random = fastrand::Rng::with_seed(seed);
        Self { session, random, first: 1, next: 1, changes: 0, transactions: 0, changes_max: 15 }
    }

    /// Keeps up so many row changes a second until it is told to stop.
    pub fn run(&mut self, changes_per_second: u64, stop: &AtomicBool) {
        let (mut start, mut done) = (Instant::now(), 0);
        while !stop.load(Ordering::Relaxed) {
            let due = start + Duration::from_micros(done * 1_000_000 / changes_per_second);
            let now = Instant::now();
            start += now.saturating_duration_since(due + LAG_MAX);
            if now < due {
                sleep((due - now).min(Duration::from_millis(100)));
                continue;
            }
            let before = self.changes;
            self.step();
            done += self.changes - before;
        }
    }

    /// One transaction.
    pub fn step(&mut self) {
        let changes = self.random.u64(1..=self.changes_max);
        let updates = if self.next == self.first { 0 } else { changes / 4 };
        let rest = changes - updates;
        // Of an odd number one more is deleted than inserted, so that the table stays as large as it is.
        let full = self.next - self.first > ROWS;
        let deletes = if full { rest.div_ceil(2).min(rest - 1) } else { 0 };
        let mut statements = vec!["begin".to_owned(), self.insert(rest - deletes)];
        if updates > 0 {
            let from = self.random.u64(self.first..=(self.next - updates).max(self.first));
            let until = (from + updates).min(self.next);
            self.changes += until - from;
            let value = self.random.f64();
            statements.push(format!(
                "update steady.rows_ set version = version + 1, value = {value} where id >= {from} and id < {until}"
            ));
        }
        if deletes > 0 {
            self.first += deletes;
            self.changes += deletes;
            statements.push(format!("delete from steady.rows_ where id < {}", self.first));
        }
        statements.push("commit".to_owned());
        let all = statements.join("\n;;\n");
        self.session.run(&all).unwrap_or_else(|error| panic!("{all}: {error}"));
        self.transactions += 1;
    }

    fn insert(&mut self, rows: u64) -> String {
        let ids = self.next..self.next + rows;
        self.next = ids.end;
        self.changes += rows;
        let row = |id| {
            let (sensor, value) = (self.random.i32(-50..50), self.random.f64() * 1000.0);
            let note = ["null", "'käse für 日本'", "'all is well'", "''"][self.random.usize(..4)];
            format!("({id}, 0, {sensor}, {value}, {note}, now(6))")
        };
        format!("insert into steady.rows_ values {}", ids.map(row).collect::<Vec<_>>().join(", "))
    }
}
