//! SHELL: what a server is given to do.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::server::Server;

/// What the server is given to do.
#[derive(Clone, Copy)]
pub(crate) enum Workload {
    /// A shop: updates by key, wide and narrow rows, text, JSON, decimals; most transactions small.
    Shop,
    /// Meters: inserts of 1 to 20 rows with five small columns.
    Readings,
    /// Machines: rows of 100 columns, inserted and updated.
    Machines,
}

impl Workload {
    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Readings => "readings",
            Self::Machines => "machines",
        }
    }

    /// Runs it until the log is this long; the log's file.
    pub(crate) fn run(self, server: &Server, bytes: u64) -> PathBuf {
        let mut random = fastrand::Rng::with_seed(7);
        server.sql(&match self {
            Self::Shop => SHOP.to_owned(),
            Self::Readings => READINGS.to_owned(),
            Self::Machines => machines_table(),
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
                Self::Machines => machines(&mut random, turn),
            })
        });
        server.sql("FLUSH BINARY LOGS");
        log
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
  PRIMARY KEY (meter, ts));
CREATE TABLE customers (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, code CHAR(36) CHARACTER SET ascii NOT NULL,
  first_name VARCHAR(60) NOT NULL, last_name VARCHAR(60) NOT NULL, email VARCHAR(120) NOT NULL,
  phone VARCHAR(30) CHARACTER SET ascii, street VARCHAR(200) NOT NULL, zip VARCHAR(12) CHARACTER SET ascii NOT NULL,
  city VARCHAR(80) NOT NULL, country CHAR(2) CHARACTER SET ascii NOT NULL, language ENUM('fr','de','en','it') NOT NULL,
  interests SET('news','sms','offers','events') NOT NULL, balance DECIMAL(14,2) NOT NULL, credit DECIMAL(10,2),
  points INT UNSIGNED NOT NULL, orders SMALLINT UNSIGNED NOT NULL, level TINYINT UNSIGNED NOT NULL, shard MEDIUMINT UNSIGNED,
  score DOUBLE, rate FLOAT, address VARCHAR(45) CHARACTER SET ascii, created DATETIME NOT NULL,
  changed TIMESTAMP(6) NOT NULL, remark TEXT);";

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
    customer: u64,
}

impl Shop {
    fn transaction(&mut self, random: &mut fastrand::Rng) -> String {
        let mut sql = "BEGIN;".to_owned();
        match random.u32(..100) {
            0..25 => Self::sell(random, &mut sql),
            25..45 => self.order(random, &mut sql),
            45..57 => self.advance(random, &mut sql),
            57..70 => self.measure(random, &mut sql),
            70..95 => self.customers(random, &mut sql),
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

    /// Some come, some change, one goes.
    fn customers(&mut self, random: &mut fastrand::Rng, sql: &mut String) {
        for _ in 0..random.u32(1..=4) {
            self.customer += 1;
            customer(random, self.customer, sql);
        }
        let first = self.customer.saturating_sub(random.u64(1..2000));
        let last = first + random.u64(1..6);
        let _ = write!(
            sql,
            "UPDATE bench.customers SET points=points+{}, balance=balance-1.25, changed=NOW(6) \
             WHERE id BETWEEN {first} AND {last};DELETE FROM bench.customers WHERE id={};",
            random.u32(1..100),
            self.customer.saturating_sub(random.u64(2000..4000)),
        );
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

fn customer(random: &mut fastrand::Rng, id: u64, sql: &mut String) {
    let word = |random: &mut fastrand::Rng| WORDS[random.usize(..WORDS.len())];
    let [first, last, city] = [word(random), word(random), word(random)];
    let (street, count) = (words(random, 3), random.usize(0..12));
    let remark = match count {
        0..6 => "NULL".to_owned(),
        count => format!("'{}'", words(random, count)),
    };
    let _ = write!(
        sql,
        "INSERT INTO bench.customers VALUES ({id},'{:08x}-0000-4000-8000-{:012x}','{first}','{last}',\
         '{}@example.org','+33 1 {:08}','{} {street}','{:05}','{city}','FR',{},{},{}.{:02},{}.50,{},{},{},{},\
         {}.{:04},{}.25,'192.0.2.{}','2026-01-{:02} {:02}:30:{:02}',NOW(6),{remark});",
        random.u32(..),
        random.u64(..1 << 48),
        random.u32(100_000..999_999),
        random.u32(..100_000_000),
        random.u32(1..300),
        random.u32(..100_000),
        random.u32(1..5),
        random.u32(0..16),
        random.i32(-100_000..1_000_000),
        random.u32(..100),
        random.u32(..10_000),
        random.u32(..1_000_000),
        random.u32(..300),
        random.u32(..100),
        random.u32(..1_000_000),
        random.u32(..1000),
        random.u32(..10_000),
        random.u32(..100),
        random.u32(1..255),
        random.u32(1..29),
        random.u32(..24),
        random.u32(..60),
    );
}

/// 100 columns: a key, and eleven groups of nine types.
fn machines_table() -> String {
    let mut sql = "CREATE DATABASE bench CHARACTER SET utf8mb4; USE bench;\n\
                   CREATE TABLE machines (id BIGINT UNSIGNED NOT NULL PRIMARY KEY"
        .to_owned();
    for n in 0..GROUPS {
        let _ = write!(
            sql,
            ", a{n} INT, b{n} BIGINT, c{n} SMALLINT NOT NULL, d{n} DOUBLE, e{n} DECIMAL(10,3), f{n} VARCHAR(60), \
             g{n} DATETIME(3), h{n} TINYINT NOT NULL, i{n} VARCHAR(300)"
        );
    }
    sql.push_str(");");
    sql
}

const GROUPS: u32 = 11;

fn machines(random: &mut fastrand::Rng, turn: u64) -> String {
    if turn > 10 && turn.is_multiple_of(3) {
        let id = random.u64(1..turn / 3 * 2);
        return format!("UPDATE bench.machines SET a1=a1+1, g3=NOW(3), f5='on' WHERE id={id};\n");
    }
    let mut sql = format!("INSERT INTO bench.machines VALUES ({turn}");
    for _ in 0..GROUPS {
        let (a, b, c, d) = (random.i32(..), random.i64(..), random.i16(..), random.u32(..10_000));
        let text = words(random, 2);
        let _ = write!(sql, ",{a},{b},{c},{d}.125,{d}.750,'{text}',");
        let _ = match random.u32(..4) {
            0 => write!(sql, "NULL,{},NULL", random.i8(..)),
            _ => write!(
                sql,
                "'2026-03-{:02} {:02}:15:{:02}.{:03}',{},'{text}'",
                random.u32(1..29),
                random.u32(..24),
                random.u32(..60),
                random.u32(..1000),
                random.i8(..),
            ),
        };
    }
    sql.push_str(");\n");
    sql
}

fn readings(random: &mut fastrand::Rng, turn: u64) -> String {
    let rows = [1, 1, 1, 2, 3, 5, 8, 10, 12, 16, 20][random.usize(..11)];
    let mut sql = "INSERT INTO bench.readings (meter,ts,value,quality) VALUES ".to_owned();
    for row in 0..rows {
        let comma = if row > 0 { "," } else { "" };
        let (meter, ms, value) =
            (random.u32(..2_000_000), random.u32(..1000), random.u32(..1_000_000_000));
        let quality = [0, 0, 0, 1, 2, 92][random.usize(..6)];
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
