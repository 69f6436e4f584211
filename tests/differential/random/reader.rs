//! One reader: the server's files or its stream, through the decoder, held against the snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::{Meaning, Names, Table};
use rivulet::binlog::xid::Xid;
use rivulet::mysql::auth::Password;
use rivulet::mysql::channel::{Address, Stopper};
use rivulet::mysql::connection::Endpoint;
use rivulet::position::Checkpoint;
use rivulet::source::{
    FilesSettings, LiveSettings, OnStatement, OnUnknownNames, Origin, Rows, Settings, Source,
    Start, Step,
};

use super::got::{Got, Knows};
use super::model::{Change, Difference, Image, Model, Outcome};
use super::truth::{GENERATOR_ENDED, Inlet, Snapshot};
use crate::harness::server::Server;

/// Where the log comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    File,
    Stream,
}

/// What came of one reader.
#[derive(Default)]
pub struct Report {
    pub values: u64,
    pub rows: u64,
    pub transactions: u64,
    /// Of each kind: how often, and the first.
    pub differences: BTreeMap<String, (u64, String)>,
    /// Why it did not come to the end.
    pub failure: Option<String>,
}

/// The schema and the table of the marks.
pub const MARK: (&str, &str) = ("exam", "mark");

/// A server that has nothing new for so long has stopped.
const SILENCE: Duration = Duration::from_secs(120);

enum Op {
    Change { table: Arc<Table>, change: Change },
    Mark(u64),
    Wrong(Difference),
}

struct Reader {
    inlet: Inlet,
    /// The open transaction, and the lengths at its savepoints.
    open: Vec<Op>,
    savepoints: Vec<(Vec<u8>, usize)>,
    prepared: BTreeMap<Xid, Vec<Op>>,
    models: BTreeMap<(String, String), Model>,
    report: Report,
    finished: bool,
    way: Way,
}

/// How this server's log is reached.
fn settings(way: Way, server: &Server) -> Settings {
    let origin = match way {
        Way::File => {
            let path = server.data().join("binlog.index");
            let files = FilesSettings { path, follow: true, identity: None };
            Origin::Files { files, names: None }
        }
        Way::Stream => {
            let (user, password) = server.replica_user();
            let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: server.port };
            let endpoint = Endpoint::new(address, user, Password::new(password));
            let heartbeat = Duration::from_secs(1);
            Origin::Live(LiveSettings { endpoint, server_id: 1_000_001, heartbeat })
        }
    };
    // The writer waits with its DDL until the stream's reader has asked for all names.
    let on_unknown_names = match way {
        Way::File => OnUnknownNames::Number,
        Way::Stream => OnUnknownNames::Stop,
    };
    Settings {
        origin,
        start: Start::Earliest,
        on_unknown_names,
        on_statement: OnStatement::Stop,
        event_bytes_max: 1 << 30,
    }
}

/// What the server does, as it says itself.
fn of_the_server(server: &Server) -> String {
    let mut session = server.session();
    ["show full processlist", "show binary logs"]
        .map(|statement| format!("{statement}: {:?}", session.run(statement)))
        .join("\n    ")
}

/// Reads until the last snapshot.
pub fn run(way: Way, server: &Server, inlet: Inlet) -> Report {
    let progress = Arc::clone(&inlet.progress);
    let mut reader = Reader {
        inlet,
        open: Vec::new(),
        savepoints: Vec::new(),
        prepared: BTreeMap::new(),
        models: BTreeMap::new(),
        report: Report::default(),
        finished: false,
        way,
    };
    if let Err(mut what) = reader.read(server) {
        for statement in reader.inlet.next_statements() {
            what += &format!("\n    before: {}", beginning(&statement));
        }
        reader.report.failure = Some(what);
    }
    progress.ended.store(true, Ordering::Release);
    reader.report
}

impl Reader {
    fn read(&mut self, server: &Server) -> Result<(), String> {
        let settings = settings(self.way, server);
        let mut source =
            Source::open(settings, None, Stopper::default()).map_err(|error| error.to_string())?;
        let mut heard = Instant::now();
        while !self.finished {
            let step = source.next(Instant::now() + Duration::from_secs(1));
            match step.map_err(|error| error.to_string())? {
                None | Some(Step::Heartbeat) if heard.elapsed() > SILENCE => {
                    let (status, at) = (source.status(), source.checkpoint());
                    return Err(format!(
                        "nothing new for two minutes: {status:?}\n    behind {at:?}\n    {}",
                        of_the_server(server)
                    ));
                }
                None | Some(Step::Heartbeat) => {
                    if self.inlet.progress.given_up.load(Ordering::Acquire) {
                        return Err(GENERATOR_ENDED.to_owned());
                    }
                    continue;
                }
                Some(step) => {
                    if let Some(behind) = self.step(step)? {
                        source.pass(behind);
                    }
                }
            }
            heard = Instant::now();
        }
        Ok(())
    }

    /// Takes in a step; says where reading goes on, if that is ours to say.
    fn step(&mut self, step: Step<'_>) -> Result<Option<Checkpoint>, String> {
        match step {
            Step::Begin(_) | Step::Abandoned { .. } | Step::Rollback => self.forget(),
            Step::Rows(rows) => self.rows(&rows)?,
            Step::Savepoint(name) => {
                self.savepoints.retain(|(known, _)| *known != name);
                self.savepoints.push((name, self.open.len()));
            }
            Step::RollbackTo(name) => {
                let index = self.savepoints.iter().position(|(known, _)| *known == name);
                let index = index.ok_or("a rollback to a savepoint that is not there")?;
                self.open.truncate(self.savepoints[index].1);
                self.savepoints.truncate(index + 1);
            }
            Step::Commit => {
                let ops = std::mem::take(&mut self.open);
                self.commit(ops)?;
            }
            Step::Prepare(xid) => {
                let ops = std::mem::take(&mut self.open);
                self.savepoints.clear();
                self.prepared.insert(xid, ops);
            }
            Step::CommitPrepared(commit) => {
                let ops = self.prepared.remove(&commit.xid).ok_or("a commit of nothing")?;
                self.commit(ops)?;
                return Ok(Some(commit.behind));
            }
            Step::RollbackPrepared(xid) => {
                self.prepared.remove(&xid).ok_or("a rollback of nothing")?;
            }
            Step::End => return Err("the files end".to_owned()),
            _ => {}
        }
        Ok(None)
    }

    fn commit(&mut self, ops: Vec<Op>) -> Result<(), String> {
        self.report.transactions += 1;
        self.savepoints.clear();
        ops.into_iter().try_for_each(|op| self.apply(op))
    }

    fn forget(&mut self) {
        self.open.clear();
        self.savepoints.clear();
    }

    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), String> {
        let table = &rows.table;
        let said =
            |error: &dyn std::fmt::Display| format!("{}.{}: {error}", table.schema, table.name);
        let mut iter = rows.rows.rows(table).map_err(|error| said(&error))?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let operation = rows.rows.operation;
        while iter.next_row(&mut before, &mut after).map_err(|error| said(&error))? {
            if (table.schema.as_str(), table.name.as_str()) == MARK {
                self.open.push(Op::Mark(mark(&after)?));
                continue;
            }
            self.report.rows += 1;
            let mut wrong = Vec::new();
            let mut image =
                |cells: &[Cell<'_>], there| image(table, cells, &before, there, &mut wrong);
            let after = image(&after, operation != Operation::Delete);
            let before = image(&before, operation != Operation::Insert);
            self.open.extend(wrong.into_iter().map(Op::Wrong));
            let change = Change { before, after };
            self.open.push(Op::Change { table: Arc::clone(table), change });
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Change { table, change } => {
                let seen = table.columns.iter().filter(|it| it.meaning != Meaning::Hidden);
                let names: Vec<String> = seen.map(|it| it.name.clone()).collect();
                let knows = match table.names {
                    Names::Unknown => Knows::Types,
                    // Beside them a server is asked what the columns mean.
                    Names::Log if self.way == Way::File => Knows::Names,
                    Names::Log => Knows::Meanings,
                    Names::Server => Knows::Meanings,
                };
                let name = (table.schema.clone(), table.name.clone());
                let model = self.models.entry(name).or_insert_with(Model::new);
                model.describe(&names, knows);
                let mut outcome = Outcome::default();
                model.apply(change, &mut outcome);
                self.take(outcome, &[]);
            }
            Op::Mark(number) => {
                let snapshot = self.inlet.take(number)?;
                self.look(&snapshot);
                self.inlet.progress.reach(number, self.report.values);
                self.finished = snapshot.last;
            }
            Op::Wrong(difference) => self.differ(difference),
        }
        Ok(())
    }

    fn look(&mut self, snapshot: &Snapshot) {
        for seen in &snapshot.tables {
            let name = (seen.schema.clone(), seen.name.clone());
            let Some(columns) = &seen.columns else {
                self.models.remove(&name);
                continue;
            };
            let model = self.models.entry(name).or_insert_with(Model::new);
            let mut outcome = Outcome::default();
            model.look(seen, columns, &mut outcome);
            self.take(outcome, &snapshot.statements);
        }
    }

    fn take(&mut self, outcome: Outcome, statements: &[String]) {
        self.report.values += outcome.values;
        for mut difference in outcome.differences {
            let last = statements.len().saturating_sub(1);
            for statement in &statements[last..] {
                difference.what += &format!("\n      after: {}", beginning(statement));
            }
            self.differ(difference);
        }
    }

    fn differ(&mut self, difference: Difference) {
        let entry = self.report.differences.entry(difference.kind);
        entry.or_insert((0, difference.what)).0 += 1;
    }
}

fn beginning(statement: &str) -> &str {
    statement.char_indices().nth(300).map_or(statement, |(at, _)| &statement[..at])
}

/// A row image, if the operation has it; a value that is none is a difference, and from then on not in
/// the image.
fn image(
    table: &Table,
    cells: &[Cell<'_>],
    before: &[Cell<'_>],
    there: bool,
    wrong: &mut Vec<Difference>,
) -> Option<Image> {
    let seen = |it: &(usize, &rivulet::binlog::table::Column)| it.1.meaning != Meaning::Hidden;
    let mut owned = |(index, column): (usize, &rivulet::binlog::table::Column)| {
        let got = match cells.get(index)? {
            Cell::Absent => return None,
            Cell::Null => return Some(Got::Null),
            Cell::Value(bytes) => Got::read(column, bytes),
            Cell::JsonDiff(diffs) => Got::changed(before.get(index), diffs),
        };
        got.inspect_err(|error| {
            let what = format!("{}.{}.{}: {error}", table.schema, table.name, column.name);
            wrong.push(Difference { kind: format!("{:?}: {error}", column.kind), what });
        })
        .ok()
    };
    there.then(|| table.columns.iter().enumerate().filter(seen).map(&mut owned).collect())
}

/// The only column's value, a BIGINT.
fn mark(after: &[Cell<'_>]) -> Result<u64, String> {
    match after.first() {
        Some(Cell::Value(bytes)) => {
            let number: [u8; 8] =
                (*bytes).try_into().map_err(|_| format!("a mark of {} bytes", bytes.len()))?;
            Ok(u64::from_le_bytes(number))
        }
        other => Err(format!("a mark that is {other:?}")),
    }
}
