//! SHELL: a MariaDB 10.11 of its own, and what it is given to do.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NAME: &str = "mariadb1011:bench";

/// A running server; stopped when it is dropped.
pub(crate) struct Server {
    data: PathBuf,
    root: PathBuf,
}

impl Server {
    /// A new, empty server whose log names its columns.
    pub(crate) fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = std::env::var_os("SERVERS_ROOT").map(PathBuf::from);
        let root = root.unwrap_or_else(|| here.join("target/servers"));
        let server = Self { data: here.join("target/bench/server"), root };
        let _ = fs::remove_dir_all(&server.data);
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (35000..35100).find(free).expect("a port is free").to_string();
        server.script(&["fetch", "mariadb1011"]);
        let data = server.data.to_str().expect("the path is text");
        let log = ["--binlog-row-metadata=FULL", "--max-binlog-size=1G", "--tmpdir=/tmp"];
        server.script(&[&["start", NAME, &port, data][..], &log].concat());
        server
    }

    /// The first file of its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("binlog.000001")
    }

    /// Its unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let name = fs::read_to_string(self.root.join("run").join(NAME).join("sock"));
        PathBuf::from(name.expect("a running server has a socket").trim())
    }

    /// Feeds a client until `next` has no more; statements that fail end the program.
    pub(crate) fn feed(&self, mut next: impl FnMut() -> Option<String>) {
        let mut client = self.command(&["sql", NAME, "--quick"]);
        let mut client = client.stdin(Stdio::piped()).spawn().expect("the client starts");
        let mut pipe = client.stdin.take().expect("it is piped");
        while let Some(sql) = next() {
            pipe.write_all(sql.as_bytes()).expect("the client reads");
        }
        drop(pipe);
        assert!(client.wait().expect("the client ends").success(), "a statement failed");
    }

    /// Runs some statements.
    pub(crate) fn sql(&self, sql: &str) {
        let mut sql = Some(sql.to_owned());
        self.feed(|| sql.take());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
        let mut command = Command::new(script);
        command.env("SERVERS_ROOT", &self.root).args(arguments).stdout(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) {
        let status = self.command(arguments).status().expect("servers.sh runs");
        assert!(status.success(), "servers.sh {arguments:?} failed");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.command(&["stop", NAME]).status();
    }
}

/// What the server is given to do.
#[derive(Clone, Copy)]
pub(crate) enum Workload {
    /// A shop: updates by key, wide and narrow rows, text, JSON, decimals; most transactions small.
    Shop,
    /// Meters: inserts of 1 to 20 rows with five small columns.
    Readings,
}

impl Workload {
    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Readings => "readings",
        }
    }

    /// Runs it until the log is this long.
    pub(crate) fn run(self, server: &Server, bytes: u64) {
        let mut random = fastrand::Rng::with_seed(7);
        server.sql(match self {
            Self::Shop => SHOP,
            Self::Readings => READINGS,
        });
        if matches!(self, Self::Shop) {
            server.sql(&stock(&mut random));
        }
        let (mut shop, log, mut turn) = (Shop::default(), server.log(), 0u64);
        server.feed(|| {
            turn += 1;
            let long = turn.is_multiple_of(500)
                && fs::metadata(&log).expect("the log exists").len() >= bytes;
            (!long).then(|| match self {
                Self::Shop => shop.transaction(&mut random),
                Self::Readings => readings(&mut random, turn),
            })
        });
        server.sql("FLUSH BINARY LOGS");
    }
}

const SHOP: &str = "CREATE DATABASE bench CHARACTER SET utf8mb4; USE bench;
CREATE TABLE stock (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k));
CREATE TABLE orders (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, customer INT UNSIGNED NOT NULL,
  status ENUM('new','paid','packed','shipped','returned') NOT NULL, total DECIMAL(12,2) NOT NULL,
  currency CHAR(3) CHARACTER SET ascii NOT NULL, created DATETIME(6) NOT NULL, updated TIMESTAMP(3) NOT NULL,
  email VARCHAR(120) NOT NULL, notes VARCHAR(500), attrs JSON, address TEXT, gift BOOL NOT NULL, discount DOUBLE);
CREATE TABLE order_lines (order_id BIGINT UNSIGNED NOT NULL, line SMALLINT UNSIGNED NOT NULL, sku VARCHAR(40) NOT NULL,
  qty INT NOT NULL, price DECIMAL(10,4) NOT NULL, descr VARCHAR(200), PRIMARY KEY (order_id, line));
CREATE TABLE meters (meter INT UNSIGNED NOT NULL, ts DATETIME(3) NOT NULL, kwh DECIMAL(12,4) NOT NULL, voltage FLOAT,
  temp SMALLINT, status TINYINT UNSIGNED NOT NULL, tariff CHAR(2) CHARACTER SET ascii, raw VARBINARY(16),
  PRIMARY KEY (meter, ts));";

const READINGS: &str = "CREATE DATABASE bench; USE bench;
CREATE TABLE readings (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, meter INT UNSIGNED NOT NULL,
  ts TIMESTAMP(3) NOT NULL, value DECIMAL(10,3) NOT NULL, quality TINYINT UNSIGNED NOT NULL);";

/// Rows of `stock` that are there from the start.
const STOCK: u32 = 20_000;

fn stock(random: &mut fastrand::Rng) -> String {
    let mut out = "SET sql_log_bin=0; USE bench;\n".to_owned();
    for id in 1..=STOCK {
        let _ = writeln!(out, "{}{}", opening(id), stock_row(random, id));
        if id.is_multiple_of(500) {
            out.push_str(";\n");
        }
    }
    out
}

fn opening(id: u32) -> &'static str {
    if id % 500 == 1 { "INSERT INTO stock VALUES " } else { "," }
}

fn stock_row(random: &mut fastrand::Rng, id: u32) -> String {
    let (k, c, pad) = (random.u32(..STOCK), digits(random, 10), digits(random, 5));
    format!("({id},{k},'{c}','{pad}')")
}

fn digits(random: &mut fastrand::Rng, groups: u32) -> String {
    let all: Vec<_> =
        (0..groups).map(|_| format!("{:011}", random.u64(..100_000_000_000))).collect();
    all.join("-")
}

const WORDS: [&str; 16] = [
    "Rue",
    "Straße",
    "Avenue",
    "Łódź",
    "東京",
    "São Paulo",
    "Main Street",
    "Lyon",
    "Köln",
    "door 4",
    "left at reception",
    "urgent",
    "fragile",
    "call first",
    "émail",
    "spare part",
];

fn words(random: &mut fastrand::Rng, count: usize) -> String {
    let all: Vec<_> = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    all.join(" ")
}

#[derive(Default)]
struct Shop {
    order: u64,
    oldest: u64,
    minute: u64,
}

impl Shop {
    fn transaction(&mut self, random: &mut fastrand::Rng) -> String {
        let mut sql = "BEGIN;".to_owned();
        match random.u32(..100) {
            0..35 => Self::sell(random, &mut sql),
            35..65 => self.order(random, &mut sql),
            65..80 => self.advance(random, &mut sql),
            80..95 => self.measure(random, &mut sql),
            _ => self.clear(&mut sql),
        }
        sql.push_str("COMMIT;\n");
        if self.order == 1 && self.minute == 0 { format!("USE bench;\n{sql}") } else { sql }
    }

    fn sell(random: &mut fastrand::Rng, sql: &mut String) {
        for _ in 0..random.u32(1..=3) {
            let _ = write!(sql, "UPDATE bench.stock SET k=k+1 WHERE id={};", random.u32(1..=STOCK));
        }
        let (c, id) = (digits(random, 10), random.u32(1..=STOCK));
        let _ = write!(sql, "UPDATE bench.stock SET c='{c}' WHERE id={id};");
        let id = random.u32(1..=STOCK);
        let row = stock_row(random, id);
        let _ = write!(sql, "DELETE FROM bench.stock WHERE id={id};");
        let _ = write!(sql, "INSERT INTO bench.stock VALUES {row};");
    }

    fn order(&mut self, random: &mut fastrand::Rng, sql: &mut String) {
        self.order += 1;
        let (id, lines) = (self.order, random.u32(1..20));
        let source = ["web", "app", "shop"][random.usize(..3)];
        let attrs = serde_json::json!({
            "source": source, "items": lines,
            "geo": { "lat": f64::from(random.u32(..180_000)) / 1e3, "lon": f64::from(random.u32(..360_000)) / 1e3 },
        });
        let notes = match random.bool() {
            true => format!("'{}'", words(random, 6)),
            false => "NULL".to_owned(),
        };
        let _ = write!(
            sql,
            "INSERT INTO bench.orders VALUES ({id},{},'new',{}.{:02},'EUR','2026-01-{:02} {:02}:{:02}:17.{:06}',\
             NOW(3),'{}@example.org',{notes},'{attrs}','{} {}',{},NULL);INSERT INTO bench.order_lines VALUES ",
            random.u32(..1_000_000),
            random.u32(..100_000),
            random.u32(..100),
            random.u32(1..29),
            random.u32(..24),
            random.u32(..60),
            random.u32(..1_000_000),
            random.u32(100_000..999_999),
            random.u32(1..999),
            words(random, 5),
            u8::from(random.u32(..20) == 0),
        );
        for line in 1..=lines {
            let comma = if line > 1 { "," } else { "" };
            let (sku, qty, price) =
                (random.u32(..100_000_000), random.u32(1..9), random.u32(..10_000_000));
            let count = random.usize(1..6);
            let descr = words(random, count);
            let _ = write!(
                sql,
                "{comma}({id},{line},'SKU-{sku:08}',{qty},{}.{:04},'{descr}')",
                price / 10_000,
                price % 10_000
            );
        }
        sql.push(';');
    }

    fn advance(&self, random: &mut fastrand::Rng, sql: &mut String) {
        let status = ["paid", "packed", "shipped"][random.usize(..3)];
        let first = self.order.saturating_sub(random.u64(1..4000));
        let last = first + random.u64(1..10);
        let _ = write!(
            sql,
            "UPDATE bench.orders SET status='{status}' WHERE id BETWEEN {first} AND {last};"
        );
    }

    fn measure(&mut self, random: &mut fastrand::Rng, sql: &mut String) {
        self.minute += 1;
        let (first, minute) = (random.u32(..50_000) * 20, self.minute);
        sql.push_str("INSERT IGNORE INTO bench.meters VALUES ");
        for at in 0..random.u32(5..=20) {
            let comma = if at > 0 { "," } else { "" };
            let (kwh, volt) = (random.u32(..1_000_000_000), random.u32(22_000..24_000));
            let _ = write!(
                sql,
                "{comma}({},'2026-02-{:02} {:02}:{:02}:{at:02}.000',{}.{:04},{}.{:02},{},{},'HP',NULL)",
                first + at,
                minute / 1440 % 28 + 1,
                minute / 60 % 24,
                minute % 60,
                kwh / 10_000,
                kwh % 10_000,
                volt / 100,
                volt % 100,
                random.i32(-300..450),
                random.u32(..3),
            );
        }
        sql.push(';');
    }

    fn clear(&mut self, sql: &mut String) {
        if self.oldest + 2000 < self.order {
            self.oldest += 1;
            let id = self.oldest;
            let _ = write!(
                sql,
                "DELETE FROM bench.order_lines WHERE order_id={id};DELETE FROM bench.orders WHERE id={id};"
            );
        }
    }
}

fn readings(random: &mut fastrand::Rng, turn: u64) -> String {
    let rows = [1, 1, 1, 2, 3, 5, 8, 10, 12, 16, 20][random.usize(..11)];
    let mut sql = "INSERT INTO bench.readings (meter,ts,value,quality) VALUES ".to_owned();
    for row in 0..rows {
        let comma = if row > 0 { "," } else { "" };
        let (meter, ms, value) =
            (random.u32(..2_000_000), random.u32(..1000), random.u32(..1_000_000_000));
        let quality = [0, 0, 0, 1, 2, 192][random.usize(..6)];
        let second = 1_767_225_600 + turn;
        let _ = write!(
            sql,
            "{comma}({meter},FROM_UNIXTIME({second}.{ms:03}),{}.{:03},{quality})",
            value / 1000 % 1_000_000,
            value % 1000
        );
    }
    sql.push_str(";\n");
    sql
}
