//! Transactions of all that a log can hold in more than one way: XA with several prepared at once, large
//! ones, savepoints, documents updated in part, compressed or not, and the log's files changed in between.

use super::server::Server;
use super::session::Session;

const TABLES: [&str; 4] = [
    "create database if not exists mixed",
    "create table mixed.rows_ (id bigint unsigned primary key, v varchar(2000) character set utf8mb4)",
    "create table mixed.documents (id bigint unsigned primary key, d json)",
    "create table mixed.marks (id bigint unsigned primary key, v varchar(40) character set utf8mb4)",
];
/// Sessions, each of which may hold a prepared transaction.
const SESSIONS: usize = 4;

/// Clients that change rows, and know how many they have changed.
pub struct Mixed {
    server: Server,
    random: fastrand::Rng,
    clients: Vec<Client>,
    next: u64,
    /// Rows inserted, updated and deleted by committed transactions.
    pub changes: u64,
    /// Committed transactions, and those of them that were prepared.
    pub transactions: u64,
    pub prepared: u64,
}

struct Client {
    session: Session,
    number: u64,
    rows: Vec<u64>,
    documents: Vec<u64>,
    /// The name of what it has prepared, and what it changed.
    prepared: Option<(String, Changed)>,
}

/// What a transaction changed, until it is known whether it counts.
#[derive(Clone)]
struct Changed {
    rows: Vec<u64>,
    documents: Vec<u64>,
    changes: u64,
}

impl Mixed {
    /// Makes the tables.
    pub fn new(server: Server, seed: u64) -> Self {
        TABLES.iter().for_each(|table| drop(server.sql(table)));
        let client = |number| Client {
            session: server.session(),
            number,
            rows: Vec::new(),
            documents: Vec::new(),
            prepared: None,
        };
        let clients = (0..SESSIONS as u64).map(client).collect();
        let random = fastrand::Rng::with_seed(seed);
        Self { server, random, clients, next: 0, changes: 0, transactions: 0, prepared: 0 }
    }

    /// The server that it changes.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// One transaction, or one end of a prepared one.
    pub fn step(&mut self) {
        let at = self.random.usize(..self.clients.len());
        match self.random.u8(..40) {
            0 => drop(self.server.sql("flush binary logs")),
            1..4 => self.settings(at),
            _ => {}
        }
        if self.clients[at].prepared.is_some() {
            return self.end(at);
        }
        let xa = self.random.u8(..3) == 0;
        // A name is used again once it is free, now and then.
        let name = format!("'x{}',0x{:02x}27,7", self.random.u8(..3), self.clients[at].number);
        let begin = if xa { format!("xa start {name}") } else { "begin".to_owned() };
        self.run(at, &begin);
        let changed = self.change(at);
        if !xa {
            let undo = self.random.u8(..12) == 0;
            self.run(at, if undo { "rollback" } else { "commit" });
            if !undo {
                self.keep(at, changed);
            }
            return;
        }
        self.run(at, &format!("xa end {name}"));
        match self.random.u8(..6) {
            0 => {
                self.run(at, &format!("xa commit {name} one phase"));
                self.keep(at, changed);
            }
            1 => self.run(at, &format!("xa rollback {name}")),
            _ => {
                self.run(at, &format!("xa prepare {name}"));
                self.clients[at].prepared = Some((name, changed));
            }
        }
    }

    /// Ends what is prepared, and writes a row that tells a reader of the stream that all before it has
    /// arrived.
    pub fn mark(&mut self) -> String {
        (0..self.clients.len()).for_each(|at| self.end(at));
        self.next += 1;
        let mark = format!("mark {}", self.next);
        self.run(0, &format!("insert into mixed.marks values ({}, '{mark}')", self.next));
        self.changes += 1;
        mark
    }

    fn end(&mut self, at: usize) {
        let Some((name, changed)) = self.clients[at].prepared.take() else { return };
        let undo = self.random.u8(..4) == 0;
        self.run(at, &format!("xa {} {name}", if undo { "rollback" } else { "commit" }));
        if !undo {
            self.prepared += 1;
            self.keep(at, changed);
        }
    }

    fn keep(&mut self, at: usize, changed: Changed) {
        let Changed { rows, documents, changes } = changed;
        (self.clients[at].rows, self.clients[at].documents) = (rows, documents);
        self.changes += changes;
        self.transactions += 1;
    }

    fn run(&mut self, at: usize, statement: &str) {
        let result = self.clients[at].session.run(statement);
        result.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// How the log is written from now on.
    fn settings(&mut self, at: usize) {
        let on = u8::from(self.random.bool());
        if !self.server.flavour.is_mysql() {
            drop(self.server.sql(&format!("set global log_bin_compress={on}")));
            return;
        }
        self.run(at, &format!("set session binlog_transaction_compression={on}"));
        let partial = ["''", "'PARTIAL_JSON'"][self.random.usize(..2)];
        self.run(at, &format!("set session binlog_row_value_options={partial}"));
    }

    fn change(&mut self, at: usize) -> Changed {
        let Client { rows, documents, .. } = &self.clients[at];
        let mut changed = Changed { rows: rows.clone(), documents: documents.clone(), changes: 0 };
        for _ in 0..self.random.usize(1..=4) {
            self.statement(at, &mut changed);
        }
        if self.random.u8(..4) == 0 {
            let before = changed.clone();
            self.run(at, "savepoint s");
            self.statement(at, &mut changed);
            if self.random.bool() {
                self.run(at, "rollback to savepoint s");
                changed = before;
            }
            self.statement(at, &mut changed);
        }
        changed
    }

    fn statement(&mut self, at: usize, changed: &mut Changed) {
        let number = self.random.u32(..1_000_000);
        let statement = match self.random.u8(..12) {
            0..4 => {
                let count = if self.random.u8(..20) == 0 { 300 } else { self.random.u64(1..5) };
                let value = "concat(repeat(sha2(seq, 512), 7), 'käse')";
                let from = self.ids(count);
                changed.rows.extend(from..from + count);
                changed.changes += count;
                format!(
                    "insert into mixed.rows_ with recursive n (seq) as (select {from} union all \
                     select seq + 1 from n where seq + 1 < {from} + {count}) select seq, {value} from n"
                )
            }
            4..7 => {
                let id = self.ids(1);
                changed.documents.push(id);
                changed.changes += 1;
                let long = self.random.usize(1..300);
                format!(
                    "insert into mixed.documents values ({id}, json_object('a', {number}, 'b', \
                     repeat('x', {long}), 'c', json_array(1, 2, {number})))"
                )
            }
            7..11 if !changed.documents.is_empty() => {
                let id = changed.documents[self.random.usize(..changed.documents.len())];
                changed.changes += 1;
                let set = match self.random.u8(..3) {
                    0 => format!("json_set(d, '$.a', {number})"),
                    1 => format!("json_replace(d, '$.c[1]', 'n{number}')"),
                    _ => format!("json_set(d, '$.n{number}', {number})"),
                };
                // A value of its own each time, so that the row does change.
                format!(
                    "update mixed.documents set d = json_set({set}, '$.u', {}) where id = {id}",
                    self.ids(1)
                )
            }
            _ if !changed.rows.is_empty() => {
                let id = changed.rows.swap_remove(self.random.usize(..changed.rows.len()));
                changed.changes += 1;
                format!("delete from mixed.rows_ where id = {id}")
            }
            _ => {
                let id = self.ids(1);
                changed.rows.push(id);
                changed.changes += 1;
                format!("insert into mixed.rows_ values ({id}, 'alone')")
            }
        };
        self.run(at, &statement);
    }

    fn ids(&mut self, count: u64) -> u64 {
        let first = self.next + 1;
        self.next += count;
        first
    }
}
