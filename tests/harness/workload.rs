//! Transactions like those of a small shop with machines: several tables, types, updates, deletes.

use super::server::Server;
use super::session::Session;

const TABLES: [&str; 4] = [
    "create database if not exists shop",
    "create table if not exists shop.orders (id bigint unsigned primary key, customer int not null, \
     amount decimal(10,2) not null, state enum('new','paid','sent') not null, \
     note varchar(80) character set utf8mb4, placed datetime(3) not null)",
    "create table if not exists shop.readings (id bigint unsigned primary key, sensor int not null, \
     value double not null, at timestamp(6) not null)",
    "create table if not exists shop.papers (id bigint unsigned primary key, seal varbinary(64), \
     body text character set utf8mb4, flags bit(12))",
];

/// A client that changes rows, and knows how many it has changed.
pub struct Workload {
    session: Session,
    random: fastrand::Rng,
    next: u64,
    orders: Vec<u64>,
    /// Rows inserted, updated and deleted by committed transactions.
    pub changes: u64,
    /// Committed transactions.
    pub transactions: u64,
}

impl Workload {
    /// Makes the tables.
    pub fn new(server: &Server, seed: u64) -> Self {
        let mut session = server.session();
        for table in TABLES {
            session.run(table).unwrap_or_else(|error| panic!("{table}: {error}"));
        }
        let random = fastrand::Rng::with_seed(seed);
        Self { session, random, next: 1, orders: Vec::new(), changes: 0, transactions: 0 }
    }

    /// Goes on with a server that was started again.
    pub fn reconnect(&mut self, server: &Server) {
        self.session = server.session();
    }

    /// One transaction of one to a few rows. About one in thirty is rolled back and changes nothing.
    pub fn step(&mut self) {
        let mut statements = vec!["begin".to_owned()];
        let undo = self.random.u8(..30) == 0;
        let before = (self.next, self.orders.clone(), self.changes);
        for _ in 0..self.random.usize(1..=3) {
            let statement = match self.random.u8(..10) {
                0..4 => self.order(),
                4..7 => self.readings(),
                7 => self.paper(),
                8 => self.pay(),
                _ => self.cancel(),
            };
            statements.push(statement);
        }
        statements.push(if undo { "rollback" } else { "commit" }.to_owned());
        if undo {
            (self.next, self.orders, self.changes) = before;
        } else {
            self.transactions += 1;
        }
        let all = statements.join("\n;;\n");
        self.session.run(&all).unwrap_or_else(|error| panic!("{all}: {error}"));
    }

    /// A row of so many random bytes, which no batch can be smaller than.
    pub fn photo(&mut self, bytes: usize) {
        let id = self.id();
        let bits: String = (0..bytes).map(|_| format!("{:02x}", self.random.u8(..))).collect();
        let table = "create table if not exists shop.photos (id bigint unsigned primary key, bits longblob)";
        for statement in [table, &format!("insert into shop.photos values ({id}, 0x{bits})")] {
            self.session.run(statement).unwrap_or_else(|error| panic!("a photo: {error}"));
        }
        self.changes += 1;
        self.transactions += 1;
    }

    /// A row that tells a reader of the stream that all before it has arrived.
    pub fn mark(&mut self) -> String {
        let id = self.id();
        let mark = format!("mark {id}");
        let statement = format!("insert into shop.papers (id, body) values ({id}, '{mark}')");
        self.session.run(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        self.changes += 1;
        self.transactions += 1;
        mark
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn order(&mut self) -> String {
        let id = self.id();
        self.orders.push(id);
        self.changes += 1;
        let (customer, cents) = (self.random.u16(..500), self.random.u32(..10_000_000));
        let note = ["null", "'käse für 日本'", "'it''s a \\\\ \\n'", "''"][self.random.usize(..4)];
        format!("insert into shop.orders values ({id},{customer},{cents}/100,'new',{note},now(3))")
    }

    fn readings(&mut self) -> String {
        let rows: Vec<_> = (0..self.random.usize(1..=8))
            .map(|_| {
                let (id, sensor) = (self.id(), self.random.i32(-50..50));
                format!("({id},{sensor},{},now(6))", self.random.f64() * 1000.0 - 300.0)
            })
            .collect();
        self.changes += rows.len() as u64;
        format!("insert into shop.readings values {}", rows.join(","))
    }

    fn paper(&mut self) -> String {
        let (id, length, flags) = (self.id(), self.random.usize(..60), self.random.u16(..4096));
        self.changes += 1;
        format!(
            "insert into shop.papers values ({id},repeat(0x00ff41,{}),repeat('ab\\n',{length}),{flags})",
            length / 3
        )
    }

    /// Pays an order; a new one if there is none.
    fn pay(&mut self) -> String {
        let Some(id) = self.random.choice(&self.orders).copied() else { return self.order() };
        self.changes += 1;
        format!("update shop.orders set state='paid', amount=amount+0.01 where id={id}")
    }

    fn cancel(&mut self) -> String {
        if self.orders.is_empty() {
            return self.order();
        }
        let id = self.orders.swap_remove(self.random.usize(..self.orders.len()));
        self.changes += 1;
        format!("delete from shop.orders where id={id}")
    }
}
