//! The generator: random statements on a server, and a look at the tables every now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::column::{Column, Kind, truths};
use super::document::json_change;
use super::kind::Types;
use super::reader::MARK;
use super::table::{self, Ddl, SCHEMA, Table};
use super::truth::{Outlet, Seen, Snapshot};
use super::value;
use crate::harness::server::{Flavour, Server};
use crate::harness::session::Session;
use crate::harness::tables::backquoted;

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    pub statements: u64,
    /// By error number; a random statement may well be refused.
    pub refused: BTreeMap<u32, (u64, String)>,
}

/// A writer at work.
pub struct Writer<'a> {
    flavour: Flavour,
    session: Session,
    chance: Chance,
    types: Types,
    tables: Vec<Table>,
    numbers: usize,
    outlets: &'a [Outlet],
    mark: u64,
    /// The last mark that was sent: the readers can be expected to get there.
    sent: u64,
    /// Snapshots of the open transaction; they count once it is committed.
    held: Option<Vec<Snapshot>>,
    statements: Vec<String>,
    /// `binlog_row_image` is not FULL.
    partial: bool,
    alive: bool,
    done: Done,
}

/// A table with more rows is emptied.
const ROWS_MAX: usize = 40;
const PATIENCE: Duration = Duration::from_secs(120);

impl<'a> Writer<'a> {
    pub fn new(server: &Server, seed: u64, outlets: &'a [Outlet]) -> Self {
        let types = Types::of(server);
        let mut session = server.session();
        let mut run = |sql: &str| session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        run("set time_zone='+00:00', sql_mode=''");
        let (schema, name) = MARK;
        run(&format!("create database {schema}"));
        run(&format!("create database {SCHEMA}"));
        run(&format!("create table {schema}.{name} (n bigint unsigned primary key) engine=innodb"));
        let flavour = server.flavour;
        let chance = Chance::new(seed);
        let (tables, statements) = (Vec::new(), Vec::new());
        Self {
            flavour,
            session,
            chance,
            types,
            tables,
            numbers: 0,
            outlets,
            mark: 0,
            sent: 0,
            held: None,
            statements,
            partial: false,
            alive: true,
            done: Done::default(),
        }
    }

    /// Goes on until every reader has compared so many values.
    pub fn run(mut self, values: u64) -> Done {
        while self.alive && !self.enough(values) {
            self.settings();
            for _ in 0..1 + self.chance.below(3) {
                self.create();
            }
            for _ in 0..10 + self.chance.below(30) {
                if !self.alive || self.tables.is_empty() {
                    break;
                }
                self.act();
            }
            while self.alive && self.tables.len() > 2 {
                let index = self.chance.below(self.tables.len());
                let ddl = self.tables[index].drop();
                self.ddl(Some(index), ddl);
            }
        }
        if self.alive {
            self.look(true);
        }
        for outlet in self.outlets {
            outlet.progress.given_up.store(!self.alive, Ordering::Release);
        }
        self.done
    }

    fn enough(&self, values: u64) -> bool {
        let least = self.outlets.iter().map(|it| it.progress.values.load(Ordering::Relaxed)).min();
        least.is_some_and(|least| least >= values)
    }

    fn act(&mut self) {
        match self.chance.below(100) {
            0..=7 => {
                let index = self.chance.below(self.tables.len());
                let ddl = self.tables[index].alter(self.numbers, &self.types, &mut self.chance);
                self.numbers += 1;
                self.ddl(Some(index), ddl);
            }
            8..=17 => self.transaction(),
            18 => {
                self.run_one("flush binary logs", true);
            }
            _ => {
                self.change();
                if self.chance.percent(85) {
                    self.look(false);
                }
            }
        }
    }

    fn create(&mut self) {
        self.numbers += 1;
        let ddl = table::create(self.numbers, &self.types, &mut self.chance);
        self.ddl(None, ddl);
    }

    /// Runs DDL once both readers know the tables as they were, and tells them what came of it.
    fn ddl(&mut self, index: Option<usize>, ddl: Ddl) {
        self.settle();
        self.catch_up();
        if !self.alive || !self.run_one(&ddl.statement, false) {
            return;
        }
        let gone = index.map(|index| self.tables.remove(index)).map(|old| Seen {
            schema: SCHEMA.to_owned(),
            name: old.name,
            columns: None,
            rows: Vec::new(),
            altered: true,
            partial: false,
        });
        let mut seen: Vec<Seen> = gone.into_iter().collect();
        let number = self.mark();
        if let Some(mut table) = ddl.after {
            seen.push(self.see(&mut table, true));
            self.tables.push(table);
        }
        self.publish(number, seen, false);
    }

    fn transaction(&mut self) {
        let inside = self.tables.iter().filter(|table| table.transactional).count();
        if inside == 0 {
            return;
        }
        self.settle();
        let xa = self.chance.percent(20);
        let name = format!("'x{}'", self.mark);
        self.run_one(&if xa { format!("xa start {name}") } else { "begin".to_owned() }, true);
        self.held = Some(Vec::new());
        // Lengths of what is held, by the savepoints' numbers.
        let mut savepoints: Vec<usize> = Vec::new();
        for _ in 0..1 + self.chance.below(6) {
            self.change();
            if self.chance.percent(60) {
                self.look(false);
            }
            let held = self.held.as_ref().map_or(0, Vec::len);
            if !xa && self.chance.percent(20) {
                self.run_one(&format!("savepoint s{}", savepoints.len()), true);
                savepoints.push(held);
            } else if !savepoints.is_empty() && self.chance.percent(15) {
                let to = self.chance.below(savepoints.len());
                self.run_one(&format!("rollback to savepoint s{to}"), true);
                self.held.as_mut().expect("a transaction is open").truncate(savepoints[to]);
                savepoints.truncate(to + 1);
                self.touch_all();
            }
        }
        let commit = self.chance.percent(75);
        if xa {
            self.run_one(&format!("xa end {name}"), true);
            self.run_one(&format!("xa prepare {name}"), true);
        }
        let end = if commit { "commit" } else { "rollback" };
        self.run_one(&if xa { format!("xa {end} {name}") } else { end.to_owned() }, true);
        let held = self.held.take().unwrap_or_default();
        if commit {
            held.into_iter().for_each(|snapshot| self.send(snapshot));
        }
        self.touch_all();
        self.settle();
    }

    fn touch_all(&mut self) {
        self.tables.iter_mut().for_each(|table| table.dirty = true);
    }

    /// A random change of a random table's rows.
    fn change(&mut self) {
        let inside = self.held.is_some();
        let choice: Vec<usize> = (0..self.tables.len())
            .filter(|index| !inside || self.tables[*index].transactional)
            .collect();
        if choice.is_empty() {
            return;
        }
        let index = *self.chance.of(&choice);
        let table = self.tables[index].clone();
        let statement = match self.chance.below(100) {
            _ if table.rows > ROWS_MAX => self.delete(&table, table.rows - 5),
            _ if table.rows == 0 => self.insert(&table, "insert"),
            0..=39 => self.insert(&table, "insert"),
            40..=44 if !table.key.is_empty() => self.insert(&table, "replace"),
            45..=49 if !table.key.is_empty() => self.insert_or_update(&table),
            50..=54 => self.insert_select(&table),
            55..=64 => {
                let rows = 1 + self.chance.length(8);
                self.delete(&table, rows)
            }
            _ => self.update(&table),
        };
        let Some(statement) = statement else { return };
        self.run_one(&statement, false);
        self.tables[index].dirty = true;
    }

    fn insert(&mut self, table: &Table, verb: &str) -> Option<String> {
        // Where MariaDB makes an UPDATE of REPLACE, a column that goes back to its default is not in the
        // log unless the image is full.
        let whole = verb == "replace" && self.partial;
        let columns = if whole { table.writable() } else { self.columns(table)? };
        let rows: Vec<String> =
            (0..1 + self.chance.length(20)).map(|_| self.row(&columns)).collect();
        // A duplicate key refuses all rows, unless they are ignored.
        let ignore = verb == "insert" && (self.chance.percent(10) || !is_plain(table));
        let verb = if ignore { "insert ignore" } else { verb };
        let (path, names) = (table.path(), names(&columns));
        Some(format!("{verb} into {path} ({names}) values {}", rows.join(",")))
    }

    fn insert_or_update(&mut self, table: &Table) -> Option<String> {
        let insert = self.insert(table, "insert")?.replacen("insert ignore", "insert", 1);
        let set = self.assignments(table)?;
        Some(format!("{insert} on duplicate key update {set}"))
    }

    fn insert_select(&mut self, table: &Table) -> Option<String> {
        let columns = self.columns(table)?;
        let (path, names) = (table.path(), names(&columns));
        let rows = 1 + self.chance.length(10);
        Some(format!("insert ignore into {path} ({names}) select {names} from {path} limit {rows}"))
    }

    /// The columns of an INSERT: all, or some where the rows can be told apart all the same.
    fn columns(&mut self, table: &Table) -> Option<Vec<Column>> {
        let all = table.writable();
        let some = self.chance.percent(25) && !table.key.is_empty();
        let columns = if some { self.chance.some(&all) } else { all };
        (!columns.is_empty()).then_some(columns)
    }

    fn row(&mut self, columns: &[Column]) -> String {
        let values: Vec<String> =
            columns.iter().map(|it| value::of(it, self.flavour, &mut self.chance)).collect();
        format!("({})", values.join(","))
    }

    fn update(&mut self, table: &Table) -> Option<String> {
        let set = self.assignments(table)?;
        let (seed, rows) = (self.chance.below(1000), 1 + self.chance.length(20));
        Some(format!("update ignore {} set {set} order by rand({seed}) limit {rows}", table.path()))
    }

    fn assignments(&mut self, table: &Table) -> Option<String> {
        let mut columns = self.chance.some(&table.writable());
        columns.truncate(4);
        let mut parts = Vec::new();
        for column in &columns {
            let name = backquoted(&column.name);
            let new = if column.kind == Kind::Json && self.chance.percent(70) {
                json_change(&name, &mut self.chance)
            } else {
                value::of(column, self.flavour, &mut self.chance)
            };
            parts.push(format!("{name}={new}"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn delete(&mut self, table: &Table, rows: usize) -> Option<String> {
        let seed = self.chance.below(1000);
        Some(format!("delete from {} order by rand({seed}) limit {rows}", table.path()))
    }

    /// Looks at all changed tables.
    fn settle(&mut self) {
        if self.tables.iter().any(|table| table.dirty) {
            self.look(false);
        }
    }

    fn look(&mut self, last: bool) {
        let number = self.mark();
        let mut seen = Vec::new();
        let mut tables = std::mem::take(&mut self.tables);
        for table in tables.iter_mut().filter(|table| table.dirty) {
            seen.push(self.see(table, false));
            // What is seen within a transaction may be undone.
            table.dirty = false;
        }
        self.tables = tables;
        self.publish(number, seen, last);
    }

    fn mark(&mut self) -> u64 {
        self.mark += 1;
        let (schema, name) = MARK;
        let statement = format!("insert into {schema}.{name} values ({})", self.mark);
        self.session.run(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        self.mark
    }

    fn see(&mut self, table: &mut Table, altered: bool) -> Seen {
        let select = table.select();
        let rows = self.session.run(&select);
        let rows = rows.unwrap_or_else(|error| panic!("{select}: {error}"));
        table.rows = rows.len();
        Seen {
            schema: SCHEMA.to_owned(),
            name: table.name.clone(),
            columns: Some(Arc::clone(&table.columns)),
            rows: rows.iter().map(|row| truths(&table.columns, row)).collect(),
            altered,
            partial: self.partial,
        }
    }

    fn publish(&mut self, number: u64, tables: Vec<Seen>, last: bool) {
        let statements = std::mem::take(&mut self.statements);
        let snapshot = Snapshot { number, tables, statements, last };
        match &mut self.held {
            Some(held) => held.push(snapshot),
            None => self.send(snapshot),
        }
    }

    fn send(&mut self, snapshot: Snapshot) {
        self.sent = snapshot.number;
        let snapshot = Arc::new(snapshot);
        self.alive &= self.outlets.iter().all(|outlet| outlet.send(&snapshot));
    }

    /// Waits until all readers have reached the last mark.
    fn catch_up(&mut self) {
        let start = Instant::now();
        for outlet in self.outlets {
            while outlet.progress.mark.load(Ordering::Acquire) < self.sent {
                let late = start.elapsed() > PATIENCE;
                if late || outlet.progress.ended.load(Ordering::Acquire) {
                    self.alive = false;
                    return;
                }
                sleep(Duration::from_millis(1));
            }
        }
    }

    /// False if the server refused it.
    fn run_one(&mut self, statement: &str, must: bool) -> bool {
        self.done.statements += 1;
        self.statements.push(statement.to_owned());
        match self.session.run(statement) {
            Ok(_) => true,
            Err(error) => {
                assert!(!must && error.code != 0, "{statement}: {error}");
                let said = format!("{error}: {}", statement.chars().take(300).collect::<String>());
                self.done.refused.entry(error.code).or_insert((0, said)).0 += 1;
                false
            }
        }
    }

    /// Other settings of the server and of the session, between transactions.
    fn settings(&mut self) {
        self.settle();
        self.catch_up();
        if !self.alive {
            return;
        }
        let images: &[&str] = match self.flavour {
            Flavour::Mariadb118 => &["full", "full", "minimal", "noblob", "full_nodup"],
            _ => &["full", "full", "minimal", "noblob"],
        };
        let image = *self.chance.of(images);
        self.partial = image != "full";
        self.set(&format!("binlog_row_image={image}"));
        if self.chance.percent(10) {
            let checksum = *self.chance.of(&["none", "crc32", "crc32"]);
            self.set(&format!("global binlog_checksum={checksum}"));
        }
        if self.flavour.is_mysql() { self.settings_mysql() } else { self.settings_mariadb() }
    }

    fn settings_mysql(&mut self) {
        let metadata = *self.chance.of(&["full", "minimal"]);
        self.set(&format!("global binlog_row_metadata={metadata}"));
        let queries = self.chance.below(2);
        self.set(&format!("binlog_rows_query_log_events={queries}"));
        let tag = *self.chance.of(&["automatic", "automatic", "automatic:blue", "automatic:red_2"]);
        self.set(&format!("gtid_next='{tag}'"));
        let on = self.chance.below(2);
        self.set(&format!("binlog_transaction_compression={on}"));
        // Differences need the document before them.
        let options = if self.partial { "" } else { *self.chance.of(&["", "partial_json"]) };
        self.set(&format!("binlog_row_value_options='{options}'"));
    }

    fn settings_mariadb(&mut self) {
        let metadata = *self.chance.of(&["full", "full", "minimal", "no_log"]);
        self.set(&format!("global binlog_row_metadata={metadata}"));
        let annotate = self.chance.below(2);
        self.set(&format!("binlog_annotate_row_events={annotate}"));
        let domain = self.chance.below(3);
        self.set(&format!("gtid_domain_id={domain}"));
        let on = self.chance.below(2);
        self.set("global log_bin_compress_min_len=10");
        self.set(&format!("global log_bin_compress={on}"));
    }

    fn set(&mut self, setting: &str) {
        self.run_one(&format!("set {setting}"), true);
    }
}

/// Whether its rows get keys of their own.
fn is_plain(table: &Table) -> bool {
    table.key.is_empty() || table.key == ["id"]
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| backquoted(&column.name)).collect::<Vec<_>>().join(",")
}
