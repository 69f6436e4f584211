//! SHELL: from a commit on a live server to the collector's journal and to the line in the sink's file; and
//! what waiting costs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rivulet::batch::Message;
use rivulet::mysql::auth::Password;
use rivulet::mysql::channel::{Address, Stopper};
use rivulet::mysql::connection::{Connection, Endpoint};

use rusqlite::{Connection as Sqlite, OpenFlags};

use super::centre::{Centre, Programs, Source};
use super::figures::Figures;
use super::server::{Flavour, Server};

/// Row changes a second: so many transactions a second of so many rows each.
const RATES: [(&str, u64, u64); 3] =
    [("100 rows/s", 100, 1), ("1,000 rows/s", 1_000, 1), ("10,000 rows/s", 1_000, 10)];
/// How long each rate is kept up.
const LOAD_TIME: Duration = Duration::from_secs(6);
/// Between two looks at what arrived.
const LOOK: Duration = Duration::from_micros(200);
/// How long the idle agent is watched.
const IDLE: Duration = Duration::from_secs(10);
const LOAD: &str = "live";

pub(crate) fn run(programs: &Programs, figures: &mut Figures) {
    let server = Server::start(Flavour::Mariadb, &[]);
    server.sql("CREATE DATABASE bench; CREATE TABLE bench.t (id INT PRIMARY KEY, v VARCHAR(40));");
    let centre = programs.collector();
    let agent = programs.agent(&Source::Live(&server.socket()), centre.port, "");
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, sleeps) = (agent.cpu_seconds(), agent.sleeps());
    std::thread::sleep(IDLE);
    let (cpu, sleeps) = (agent.cpu_seconds() - cpu, agent.sleeps() - sleeps);
    figures.put(LOAD, "idle agent: CPU, %", cpu * 100.0 / IDLE.as_secs_f64());
    figures.put(LOAD, "idle agent: wake-ups/s", sleeps / IDLE.as_secs_f64());
    let endpoint = Endpoint::new(Address::Unix(server.socket()), "root", Password::new(""));
    let mut session = Connection::open(&endpoint, &Stopper::default()).expect("root may log in");
    let done = Arc::new(AtomicBool::new(false));
    let (lines, durable) = (Watch::of_lines(&centre, &done), Watch::of_journal(&centre, &done));
    let mut first = 0;
    let mut rates = Vec::new();
    for (name, transactions, rows) in RATES {
        let commits = commit(&mut session, first, transactions, rows);
        first += commits.len() as u64 * rows;
        rates.push((name, commits));
        std::thread::sleep(Duration::from_millis(500));
    }
    std::thread::sleep(Duration::from_secs(1));
    done.store(true, Ordering::Relaxed);
    let watches =
        [("durable at the collector", durable.end()), ("its line in the sink", lines.end())];
    for (load, commits) in rates {
        for (what, seen) in &watches {
            tell(load, what, &commits, seen, figures);
        }
    }
    figures.put(LOAD, "live agent: peak memory, MiB", agent.memory_mib().unwrap_or(0.0));
}

/// Transactions of rows with the ids from `first` on: when each COMMIT returned, and its last row.
fn commit(session: &mut Connection, first: u64, pace: u64, rows: u64) -> Vec<(Instant, u64)> {
    let count = LOAD_TIME.as_secs() * pace;
    let mut due = Instant::now();
    let commits = (0..count).map(|nth| {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += Duration::from_secs(1) / u32::try_from(pace).expect("a few thousand");
        let ids = first + nth * rows..first + (nth + 1) * rows;
        let last = ids.end - 1;
        let values: Vec<_> = ids.map(|id| format!("({id}, 'a row of some size, {id}')")).collect();
        let sql = format!("INSERT INTO bench.t VALUES {}", values.join(", "));
        session.query(&sql).expect("the statement is right");
        (Instant::now(), last)
    });
    commits.collect()
}

fn tell(
    load: &str,
    what: &str,
    commits: &[(Instant, u64)],
    seen: &BTreeMap<u64, Instant>,
    figures: &mut Figures,
) {
    // Rows arrive in order: a row is there as soon as it or a later one is seen.
    let wait = |(ended, last): &(Instant, u64)| {
        let (_, at) = seen.range(last..).next().unwrap_or_else(|| panic!("row {last} never came"));
        at.saturating_duration_since(*ended)
    };
    let mut waits: Vec<_> = commits.iter().map(wait).collect();
    waits.sort_unstable();
    for percent in [50, 95, 99] {
        let at = waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        figures.put(load, &format!("COMMIT returned → {what}, P{percent}, ms"), at);
    }
}

/// A thread that looks what has arrived: when the row of an id, and all before it, was there.
struct Watch(JoinHandle<BTreeMap<u64, Instant>>);

impl Watch {
    /// Looks at the sink's file.
    fn of_lines(centre: &Centre, done: &Arc<AtomicBool>) -> Self {
        let mut file = fs::File::open(&centre.out).expect("the sink has opened it");
        let (mut text, mut buffer) = (Vec::new(), [0; 65536]);
        Self::start(done, move |seen| {
            let len = file.read(&mut buffer).expect("it can be read");
            let now = Instant::now();
            text.extend_from_slice(&buffer[..len]);
            let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return };
            let whole: Vec<u8> = text.drain(..=end).collect();
            let line = whole[..end].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let line: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
            seen.insert(line["after"]["id"].as_u64().expect("each is an insert"), now);
        })
    }

    /// Looks at the collector's journal, where a batch stands as soon as it is durable. Its rows have
    /// the ids 0, 1, 2, … in this order.
    fn of_journal(centre: &Centre, done: &Arc<AtomicBool>) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Sqlite::open_with_flags(&centre.journal, flags).expect("the collector made it");
        let (mut last, mut rows) = (0, 0);
        Self::start(done, move |seen| {
            let now = Instant::now();
            let sql = "SELECT id, message FROM message WHERE id > ?1 ORDER BY id";
            let mut select = db.prepare_cached(sql).expect("it has this table");
            let mut found = select.query([last]).expect("it can be read");
            while let Some(row) = found.next().expect("it can be read") {
                last = row.get(0).expect("a number");
                let message: Vec<u8> = row.get(1).expect("bytes");
                rows += u64::from(Message::parse(&message).expect("a batch").meta.rows);
            }
            if rows > 0 {
                seen.entry(rows - 1).or_insert(now);
            }
        })
    }

    fn start(
        done: &Arc<AtomicBool>,
        mut look: impl FnMut(&mut BTreeMap<u64, Instant>) + Send + 'static,
    ) -> Self {
        let done = Arc::clone(done);
        Self(std::thread::spawn(move || {
            let mut seen = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                look(&mut seen);
                std::thread::sleep(LOOK);
            }
            seen
        }))
    }

    fn end(self) -> BTreeMap<u64, Instant> {
        self.0.join().expect("it only reads")
    }
}
