//! Events in their order → transactions.
//!
//! ```text
//!  MySQL    GTID │ BEGIN … rows … XID or COMMIT         GTID │ CREATE TABLE …
//!  MariaDB  GTID … rows … XID or COMMIT                 GTID (standalone) │ CREATE TABLE …
//!           ▲                       ▲
//!           Begin                   Commit: only here, and behind statements that stand alone,
//!                                   may a position be stored
//! ```
//!
//! | what arrives | in a transaction | outside |
//! |---|---|---|
//! | DDL | [`Step::InnerDdl`] | [`Step::Statement`] |
//! | INSERT, UPDATE, … as a statement | by [`OnStatement`] | by [`OnStatement`] |
//! | a statement that is not known | by [`OnStatement`] | [`Step::Statement`] |
//! | a file's end or beginning | [`Step::Abandoned`] | [`Step::Rotate`], [`Step::Skip`] |
//! | ROLLBACK, ROLLBACK TO | [`Step::Rollback`], [`Step::RollbackTo`] | [`Step::Statement`] |
//! | XA PREPARE | [`Step::Prepare`] | error |
//! | XA COMMIT, XA ROLLBACK | the end of the transaction | [`Step::CommitPrepared`], [`Step::RollbackPrepared`] |
//!
//! # XA
//!
//! A prepared transaction lies in the log twice: its rows up to XA PREPARE, under a GTID of their own, and
//! any number of transactions, files and restarts later the statement that commits it or rolls it back.
//! One phase (`XA COMMIT … ONE PHASE`) is an ordinary transaction.
//!
//! # Rollbacks
//!
//! From 5.5 on, the servers keep rows of tables without transactions apart (`use_trans_cache` in
//! `sql/binlog.cc` and `sql/log.cc`): such rows come in transactions of their own. So all rows before a
//! ROLLBACK, or behind the savepoint of a ROLLBACK TO, are undone. Servers before 5.5 mixed both
//! kinds, and the log does not tell which is which: there, a rollback of rows is an error.

use super::event::Event;
use super::format::Format;
use super::gtid::{GtidEvent, MariadbGtid};
use super::header::{EventKind, Header};
use super::query::Query;
use super::reader::{DecodeError, Reader, Reason};
use super::rows::RowsEvent;
use super::statement::Verb;
use super::table_map::TableMap;
use super::xid::Xid;
use crate::position::Gtid;

/// Savepoints that are to be remembered; beyond it the oldest are forgotten. Programs that set more go
/// back to the newest.
pub const SAVEPOINTS_MAX: usize = 1000;

/// What an event means for the transaction around it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step<'a> {
    /// A transaction begins.
    Begin(Begin),
    /// A table whose rows follow; the caller defines it.
    TableMap(TableMap<'a>),
    /// Rows that the transaction changed.
    Rows(Rows<'a>),
    /// A savepoint; its name is lower case, so that equal names are equal bytes.
    Savepoint(Vec<u8>),
    /// All rows behind the savepoint are undone.
    RollbackTo(Vec<u8>),
    /// DDL inside the transaction (CREATE TABLE … SELECT); the position stays.
    InnerDdl(Query<'a>),
    /// The transaction is committed.
    Commit {
        /// The offset behind its last event.
        end_offset: u64,
        /// The storage engines' number of it, if they have one.
        xid: Option<u64>,
        /// The header's time of its last event, Unix seconds.
        timestamp_s: u32,
    },
    /// The transaction is rolled back.
    Rollback {
        /// The offset behind its last event.
        end_offset: u64,
    },
    /// The rows of an XA transaction end. They count when [`Step::CommitPrepared`] names it.
    Prepare {
        /// Its name. What was prepared under the same name before, and not ended in the log, is no more.
        xid: Xid,
        /// The offset behind its last event.
        end_offset: u64,
    },
    /// A prepared XA transaction is committed.
    CommitPrepared(CommitPrepared),
    /// A prepared XA transaction is rolled back.
    RollbackPrepared {
        /// Its name.
        xid: Xid,
        /// The offset behind the event.
        end_offset: u64,
    },
    /// A change that was logged as a statement, and is left out.
    LeftOut(LeftOut),
    /// A statement that is a transaction of its own.
    Statement(Statement<'a>),
    /// No transaction is open, and reading goes on in this file.
    Rotate(NextFile<'a>),
    /// The file ended inside the transaction, which never was committed: drop it.
    Abandoned {
        /// Where reading goes on, if it was a ROTATE that said so.
        next: Option<NextFile<'a>>,
    },
    /// Nothing to do.
    Skip,
}

impl Step<'_> {
    /// The offset that may be stored behind this step; `None` while a transaction is open.
    pub fn safe_offset(&self) -> Option<u64> {
        match self {
            Self::Commit { end_offset, .. }
            | Self::Rollback { end_offset }
            | Self::Prepare { end_offset, .. }
            | Self::RollbackPrepared { end_offset, .. } => Some(*end_offset),
            Self::CommitPrepared(commit) => Some(commit.end_offset),
            Self::LeftOut(left_out) => left_out.end_offset,
            Self::Statement(statement) => Some(statement.end_offset),
            _ => None,
        }
    }
}

/// The beginning of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Begin {
    /// `None` where the server has no GTIDs.
    pub gtid: Option<Gtid>,
    /// Where its first event starts.
    pub offset: u64,
    /// The header's time of its first event, Unix seconds.
    pub timestamp_s: u32,
    /// The server that first wrote it.
    pub server_id: u32,
    /// The session, if the log says so.
    pub thread_id: Option<u32>,
    /// When it was committed, microseconds since 1970 in UTC, if the log says so.
    pub committed_us: Option<u64>,
    /// Whether it may end in [`Step::Prepare`].
    pub xa: bool,
}

/// The commit of a prepared XA transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommitPrepared {
    /// Its name.
    pub xid: Xid,
    /// The commit as a transaction of its own: that is where, and as what, its rows count.
    pub begin: Begin,
    /// Where the event starts.
    pub offset: u64,
    /// The offset behind it.
    pub end_offset: u64,
}

/// A change that is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeftOut {
    /// What kind of statement it is; no word of its own.
    pub kind: &'static str,
    /// Where its event starts.
    pub offset: u64,
    /// The offset behind it, unless a transaction is open.
    pub end_offset: Option<u64>,
}

/// What to do with a change that was logged as a statement: its rows are not in the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnStatement {
    /// Fail.
    #[default]
    Stop,
    /// Hand out [`Step::LeftOut`].
    LeaveOut,
}

/// Rows, and where they stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rows<'a> {
    /// The rows.
    pub rows: RowsEvent<'a>,
    /// Where the event starts.
    pub offset: u64,
    /// When the statement began, Unix seconds.
    pub timestamp_s: u32,
    /// The server that first wrote it.
    pub server_id: u32,
    /// The session, if the log says so.
    pub thread_id: Option<u32>,
}

/// A statement that is a transaction of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement<'a> {
    /// The statement.
    pub query: Query<'a>,
    /// What it changes.
    pub kind: StatementKind,
    /// `None` where the server has no GTIDs.
    pub gtid: Option<Gtid>,
    /// Where its first event starts.
    pub offset: u64,
    /// The offset behind it.
    pub end_offset: u64,
    /// When it began, Unix seconds.
    pub timestamp_s: u32,
}

/// What a statement of its own changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatementKind {
    /// What tables look like, or all of a table's rows (TRUNCATE, DROP).
    Ddl,
    /// Anything else: accounts, variables, …
    Other,
}

/// Where reading goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextFile<'a> {
    /// Its name without a folder.
    pub file: &'a [u8],
    /// The offset in it.
    pub offset: u64,
}

/// Puts transactions together. Holds no rows.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    on_statement: OnStatement,
    /// The log is of a server before 5.5.
    mixes_engines: bool,
    open: bool,
    thread_id: Option<u32>,
    /// Whether the open transaction was begun as one that may be prepared.
    xa: bool,
    /// Whether the open transaction has rows.
    has_rows: bool,
    /// A GTID whose transaction has not begun.
    named: Option<Named>,
}

#[derive(Clone, Debug, Default)]
struct Named {
    gtid: Option<Gtid>,
    offset: u64,
    timestamp_s: u32,
    committed_us: Option<u64>,
    thread_id: Option<u32>,
}

impl Assembler {
    /// Expects the first event of a file or of a transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a choice about changes that were logged as statements.
    pub fn with(on_statement: OnStatement) -> Self {
        Self { on_statement, ..Self::default() }
    }

    /// Learns who wrote the log, if its format description does not come through [`Self::step`].
    pub fn written_by(&mut self, format: &Format) {
        let mut numbers = format.server_version.split('.').map(str::parse::<u32>);
        let version = (numbers.next(), numbers.next());
        self.mixes_engines =
            matches!(version, (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < (5, 5));
    }

    /// Whether a transaction is open, or named and about to begin.
    pub fn is_inside(&self) -> bool {
        self.open || self.named.is_some()
    }

    /// Says what an event means. `offset` is where it starts in its file.
    ///
    /// Fails on what cannot be carried, and on events in an order that no server writes.
    pub fn step<'a>(
        &mut self,
        header: &Header,
        event: Event<'a>,
        offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let end_offset = offset.saturating_add(header.length.into());
        // Each outcome is written where the caller wants it.
        match event {
            Event::FormatDescription(format) => {
                self.written_by(&format);
                Ok(self.end_of_file(None))
            }
            Event::Stop => Ok(self.end_of_file(None)),
            Event::Rotate { offset, next_file } => {
                Ok(self.end_of_file(Some(NextFile { file: next_file, offset })))
            }
            Event::Gtid(event) => {
                let gtid = Some(event.gtid());
                self.name(header, &event, gtid, offset)
            }
            Event::AnonymousGtid(event) => self.name(header, &event, None, offset),
            Event::MariadbGtid(gtid) => self.name_mariadb(header, gtid, offset),
            Event::Query(query) => self.query(header, query, offset, end_offset),
            Event::TableMap(map) => {
                self.expect_open(header)?;
                Ok(Step::TableMap(map))
            }
            Event::Rows(rows) if rows.is_dummy() => Ok(Step::Skip),
            Event::Rows(rows) => {
                self.expect_open(header)?;
                self.has_rows = true;
                Ok(Step::Rows(Rows {
                    rows,
                    offset,
                    timestamp_s: header.timestamp,
                    server_id: header.server_id,
                    thread_id: self.thread_id,
                }))
            }
            Event::Xid(xid) => self.commit(header, end_offset, Some(xid)),
            Event::XaPrepare { one_phase: true, .. } => self.commit(header, end_offset, None),
            Event::XaPrepare { one_phase: false, xid } => {
                self.expect_open(header)?;
                if !self.xa {
                    return Err(out_of_place(header, NOT_XA));
                }
                self.open = false;
                Ok(Step::Prepare { xid, end_offset })
            }
            Event::LoadData { .. } => self.change("LOAD DATA", offset, end_offset),
            Event::Incident(_) => Err(unsupported(INCIDENT)),
            Event::PreviousGtids(_) | Event::MariadbGtidList(_) => Ok(Step::Skip),
            Event::BinlogCheckpoint { .. } | Event::Heartbeat { .. } => Ok(Step::Skip),
            Event::AnnotateRows(_) | Event::RowsQuery(_) | Event::Ignored(_) => Ok(Step::Skip),
        }
    }

    fn end_of_file<'a>(&mut self, next: Option<NextFile<'a>>) -> Step<'a> {
        self.named = None;
        match (std::mem::take(&mut self.open), next) {
            (true, next) => Step::Abandoned { next },
            (false, Some(next)) => Step::Rotate(next),
            (false, None) => Step::Skip,
        }
    }

    fn name<'a>(
        &mut self,
        header: &Header,
        event: &GtidEvent<'_>,
        gtid: Option<Gtid>,
        offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        self.expect_outside(header)?;
        self.named = Some(Named {
            gtid,
            offset,
            timestamp_s: header.timestamp,
            committed_us: event.immediate_commit_us.filter(|us| *us > 0),
            thread_id: None,
        });
        Ok(Step::Skip)
    }

    fn name_mariadb<'a>(
        &mut self,
        header: &Header,
        gtid: MariadbGtid,
        offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        self.expect_outside(header)?;
        self.named = Some(Named {
            gtid: Some(gtid.gtid()),
            offset,
            timestamp_s: header.timestamp,
            committed_us: None,
            thread_id: gtid.thread_id,
        });
        if gtid.has(MariadbGtid::STANDALONE | MariadbGtid::COMPLETED_XA) {
            return Ok(Step::Skip);
        }
        Ok(self.open(header, offset, None, gtid.has(MariadbGtid::PREPARED_XA)))
    }

    fn open<'a>(
        &mut self,
        header: &Header,
        offset: u64,
        thread_id: Option<u32>,
        xa: bool,
    ) -> Step<'a> {
        let begin = self.begin(header, offset, thread_id, xa);
        self.open = true;
        self.xa = xa;
        self.has_rows = false;
        self.thread_id = begin.thread_id;
        Step::Begin(begin)
    }

    fn begin(&mut self, header: &Header, offset: u64, thread_id: Option<u32>, xa: bool) -> Begin {
        let named = self.named.take().unwrap_or_else(|| Named {
            offset,
            timestamp_s: header.timestamp,
            ..Named::default()
        });
        Begin {
            gtid: named.gtid,
            offset: named.offset,
            timestamp_s: named.timestamp_s,
            server_id: header.server_id,
            thread_id: thread_id.or(named.thread_id),
            committed_us: named.committed_us,
            xa,
        }
    }

    fn commit<'a>(
        &mut self,
        header: &Header,
        end_offset: u64,
        xid: Option<u64>,
    ) -> Result<Step<'a>, DecodeError> {
        self.expect_open(header)?;
        self.open = false;
        Ok(Step::Commit { end_offset, xid, timestamp_s: header.timestamp })
    }

    fn query<'a>(
        &mut self,
        header: &Header,
        query: Query<'a>,
        offset: u64,
        end_offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let verb = Verb::of(query.statement);
        if self.open {
            self.query_inside(header, verb, query, offset, end_offset)
        } else {
            self.query_outside(header, verb, query, offset, end_offset)
        }
    }

    fn query_inside<'a>(
        &mut self,
        header: &Header,
        verb: Verb,
        query: Query<'a>,
        offset: u64,
        end_offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        Ok(match verb {
            Verb::Commit | Verb::XaCommit(_) => self.commit(header, end_offset, None)?,
            Verb::Rollback | Verb::XaRollback(_) => {
                self.expect_all_undone()?;
                self.open = false;
                Step::Rollback { end_offset }
            }
            Verb::Savepoint(name) => Step::Savepoint(name),
            Verb::RollbackTo(name) => {
                self.expect_all_undone()?;
                Step::RollbackTo(name)
            }
            Verb::Ddl { .. } => Step::InnerDdl(query),
            Verb::Release | Verb::XaEnd | Verb::Other => Step::Skip,
            Verb::Begin | Verb::XaStart => return Err(out_of_place(header, INSIDE)),
            Verb::XaPrepare => return Err(unsupported(XA_STATEMENT)),
            Verb::Rows(kind) => self.change(kind, offset, end_offset)?,
            Verb::Unknown => self.change(UNKNOWN, offset, end_offset)?,
        })
    }

    fn query_outside<'a>(
        &mut self,
        header: &Header,
        verb: Verb,
        query: Query<'a>,
        offset: u64,
        end_offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let kind = match verb {
            Verb::Begin | Verb::XaStart => {
                let xa = verb == Verb::XaStart;
                return Ok(self.open(header, offset, Some(query.thread_id), xa));
            }
            Verb::Ddl { rows_follow: false } => StatementKind::Ddl,
            Verb::Rows(kind) => return self.change(kind, offset, end_offset),
            Verb::XaCommit(Some(xid)) => {
                let begin = self.begin(header, offset, Some(query.thread_id), false);
                let commit = CommitPrepared { xid, begin, offset, end_offset };
                return Ok(Step::CommitPrepared(commit));
            }
            Verb::XaRollback(Some(xid)) => {
                self.named = None;
                return Ok(Step::RollbackPrepared { xid, end_offset });
            }
            Verb::XaCommit(None) | Verb::XaRollback(None) => return Err(unsupported(XID)),
            Verb::XaPrepare => return Err(unsupported(XA_STATEMENT)),
            Verb::XaEnd | Verb::Ddl { rows_follow: true } | Verb::RollbackTo(_) => {
                return Err(out_of_place(header, OUTSIDE));
            }
            Verb::Other | Verb::Unknown | Verb::Release | Verb::Savepoint(_) => {
                StatementKind::Other
            }
            Verb::Commit | Verb::Rollback => StatementKind::Other,
        };
        let named = self.named.take();
        let offset = named.as_ref().map_or(offset, |named| named.offset);
        Ok(Step::Statement(Statement {
            query,
            kind,
            gtid: named.and_then(|named| named.gtid),
            offset,
            end_offset,
            timestamp_s: header.timestamp,
        }))
    }

    /// A change whose rows are not in the log.
    fn change<'a>(
        &mut self,
        kind: &'static str,
        offset: u64,
        end_offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        match self.on_statement {
            OnStatement::Stop => {
                Err(Reader::new(&[]).error("transaction", Reason::Statement { kind }))
            }
            OnStatement::LeaveOut => {
                self.named = None;
                let end_offset = (!self.open).then_some(end_offset);
                Ok(Step::LeftOut(LeftOut { kind, offset, end_offset }))
            }
        }
    }

    fn expect_all_undone(&self) -> Result<(), DecodeError> {
        if self.mixes_engines && self.has_rows { Err(unsupported(PARTLY_UNDONE)) } else { Ok(()) }
    }

    fn expect_open(&self, header: &Header) -> Result<(), DecodeError> {
        if self.open { Ok(()) } else { Err(out_of_place(header, OUTSIDE)) }
    }

    fn expect_outside(&self, header: &Header) -> Result<(), DecodeError> {
        if self.is_inside() { Err(out_of_place(header, INSIDE)) } else { Ok(()) }
    }
}

const INCIDENT: &str = "the server says that changes are missing from its log (INCIDENT)";
const UNKNOWN: &str = "a statement that is not known";
const XA_STATEMENT: &str = "XA PREPARE as a statement";
const XID: &str = "an XA transaction whose name cannot be read";
const PARTLY_UNDONE: &str = "a rollback of rows in a log of a server before 5.5: those of a table whose \
                             engine has no transactions stay, and the log does not tell which";
const INSIDE: &str = "inside a transaction";
const NOT_XA: &str = "inside a transaction that is not one of XA";
const OUTSIDE: &str = "outside a transaction";

fn unsupported(what: &'static str) -> DecodeError {
    Reader::new(&[]).error("transaction", Reason::Unsupported { what })
}

fn out_of_place(header: &Header, when: &'static str) -> DecodeError {
    let kind: EventKind = header.kind;
    Reader::new(&[]).error("transaction", Reason::OutOfPlace { kind, when })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Uuid;

    fn header(kind: u8) -> Header {
        let kind = EventKind::from(kind);
        Header { timestamp: 77, kind, server_id: 5, length: 10, end_position: 0, flags: 0 }
    }

    fn query(text: &str) -> Event<'_> {
        Event::Query(Query { thread_id: 9, statement: text.as_bytes(), ..Query::default() })
    }

    fn gtid<'a>() -> Event<'a> {
        Event::Gtid(GtidEvent {
            flags: 0,
            uuid: Uuid([1; 16]),
            tag: "",
            number: 3,
            last_committed: 0,
            sequence_number: 1,
            immediate_commit_us: Some(123),
            original_commit_us: None,
            transaction_length: None,
        })
    }

    fn maria<'a>(flags: u8) -> Event<'a> {
        let (commit_id, thread_id) = (None, Some(8));
        Event::MariadbGtid(MariadbGtid {
            domain: 0,
            server: 5,
            sequence: 4,
            flags,
            commit_id,
            thread_id,
            alters_nothing: false,
        })
    }

    fn rotate<'a>() -> Event<'a> {
        Event::Rotate { offset: 4, next_file: b"b.2" }
    }

    /// The steps' names, or the error's text; events stand at 0, 10, 20, …
    fn run(events: Vec<Event<'_>>) -> String {
        run_in(Assembler::new(), events)
    }

    fn run_in(mut assembler: Assembler, events: Vec<Event<'_>>) -> String {
        let mut names = Vec::new();
        for (index, event) in events.into_iter().enumerate() {
            let step = match assembler.step(&header(2), event, index as u64 * 10) {
                Ok(step) => step,
                Err(error) => return error.to_string(),
            };
            let safe = step.safe_offset();
            names.push(match step {
                Step::Begin(begin) => format!("begin@{}", begin.offset),
                Step::TableMap(_) | Step::Rows(_) => unreachable!("no such event is given"),
                Step::Savepoint(name) => format!("savepoint {}", String::from_utf8(name).unwrap()),
                Step::RollbackTo(name) => format!("back to {}", String::from_utf8(name).unwrap()),
                Step::InnerDdl(_) => "inner".to_owned(),
                Step::Commit { .. } => format!("commit@{}", safe.unwrap()),
                Step::Rollback { .. } => format!("rollback@{}", safe.unwrap()),
                Step::Prepare { xid, .. } => format!("prepare {xid}@{}", safe.unwrap()),
                Step::CommitPrepared(commit) => {
                    let at = commit.begin.offset;
                    format!("commit {}@{at}-{}", commit.xid, safe.unwrap())
                }
                Step::RollbackPrepared { xid, .. } => {
                    format!("rollback {xid}@{}", safe.unwrap())
                }
                Step::LeftOut(left_out) => format!("left out {}@{safe:?}", left_out.kind),
                Step::Statement(statement) => {
                    format!("{:?}@{}-{}", statement.kind, statement.offset, safe.unwrap())
                }
                Step::Rotate(_) => "rotate".to_owned(),
                Step::Abandoned { next } => format!("abandoned {}", next.is_some()),
                Step::Skip => continue,
            });
        }
        names.join(", ")
    }

    #[test]
    fn mysql_s_transaction_begins_at_its_gtid() {
        assert_eq!(run(vec![gtid(), query("BEGIN"), Event::Xid(1)]), "begin@0, commit@30");
        assert_eq!(run(vec![gtid(), query("BEGIN"), query("COMMIT")]), "begin@0, commit@30");
        assert_eq!(run(vec![query("BEGIN"), query("ROLLBACK")]), "begin@0, rollback@20");
        let mut assembler = Assembler::new();
        assembler.step(&header(33), gtid(), 4).unwrap();
        assert!(assembler.is_inside());
        let Ok(Step::Begin(begin)) = assembler.step(&header(2), query("BEGIN"), 14) else {
            panic!("it begins")
        };
        assert_eq!((begin.thread_id, begin.committed_us), (Some(9), Some(123)));
        assert_eq!((begin.timestamp_s, begin.server_id), (77, 5));
        assert!(begin.gtid.unwrap().to_string().ends_with(":3"));
    }

    #[test]
    fn mariadb_s_transaction_begins_without_a_query() {
        assert_eq!(run(vec![maria(4), Event::Xid(1)]), "begin@0, commit@20");
        let standalone = MariadbGtid::STANDALONE;
        let events = vec![maria(standalone), query("ALTER TABLE t ADD x int")];
        assert_eq!(run(events), "Ddl@0-20");
    }

    #[test]
    fn a_statement_of_its_own_advances_the_position() {
        assert_eq!(run(vec![gtid(), query("create table t (a int)")]), "Ddl@0-20");
        assert_eq!(run(vec![gtid(), query("GRANT ALL ON *.* TO x")]), "Other@0-20");
        assert_eq!(run(vec![query("FROBNICATE")]), "Other@0-10");
    }

    #[test]
    fn create_table_select_is_one_transaction() {
        let create = query("CREATE TABLE t (a int) START TRANSACTION");
        let events = vec![gtid(), query("BEGIN"), create, Event::Xid(1)];
        assert_eq!(run(events), "begin@0, inner, commit@40");
    }

    #[test]
    fn savepoints_are_handed_out() {
        let events = vec![query("BEGIN"), query("SAVEPOINT `A`"), query("ROLLBACK TO `a`")];
        assert_eq!(run(events), "begin@0, savepoint a, back to a");
    }

    #[test]
    fn a_change_logged_as_a_statement_stops_the_stream() {
        for text in ["INSERT INTO t VALUES (1)", "CREATE TABLE t SELECT 1"] {
            for events in [vec![gtid(), query(text)], vec![query("BEGIN"), query(text)]] {
                assert!(run(events).contains("binlog_format"), "{text}");
            }
        }
        let events = vec![query("BEGIN"), query("FROBNICATE")];
        assert!(run(events).contains("not known"));
    }

    #[test]
    fn a_change_logged_as_a_statement_can_be_left_out() {
        let leave = || Assembler::with(OnStatement::LeaveOut);
        let inside = vec![query("BEGIN"), query("UPDATE t SET a=1"), query("COMMIT")];
        assert_eq!(run_in(leave(), inside), "begin@0, left out UPDATE@None, commit@30");
        let events = vec![gtid(), query("LOAD DATA INFILE 'x' INTO TABLE t"), gtid()];
        assert_eq!(run_in(leave(), events), "left out LOAD@Some(20)");
        let standalone = maria(MariadbGtid::STANDALONE);
        let events = vec![standalone, query("delete from t"), maria(4)];
        assert_eq!(run_in(leave(), events), "left out DELETE@Some(20), begin@20");
    }

    #[test]
    fn a_file_s_end_inside_a_transaction_drops_it() {
        assert_eq!(run(vec![maria(4), Event::Stop]), "begin@0, abandoned false");
        let events = vec![gtid(), query("BEGIN"), rotate(), gtid(), query("BEGIN")];
        assert_eq!(run(events), "begin@0, abandoned true, begin@30");
        // A GTID alone has begun nothing.
        assert_eq!(run(vec![gtid(), rotate(), gtid()]), "rotate");
    }

    fn prepare<'a>(one_phase: bool) -> Event<'a> {
        Event::XaPrepare { one_phase, xid: Xid::new(1, b"a", b"").unwrap() }
    }

    #[test]
    fn mysql_s_xa_transactions_are_prepared_and_then_ended_under_another_gtid() {
        let begin = || query("XA START X'61',X'',1");
        let events = vec![
            gtid(),
            begin(),
            query("XA END X'61',X'',1"),
            prepare(false),
            gtid(),
            query("BEGIN"),
            Event::Xid(1),
            gtid(),
            query("XA COMMIT X'61',X'',1"),
            gtid(),
            query("XA ROLLBACK X'62',X'',1"),
        ];
        let want = "begin@0, prepare X'61',X'',1@40, begin@40, commit@70, \
                    commit X'61',X'',1@70-90, rollback X'62',X'',1@110";
        assert_eq!(run(events), want);
        assert_eq!(run(vec![begin(), query("XA END X'61'"), prepare(true)]), "begin@0, commit@30");
        assert!(run(vec![gtid(), query("XA COMMIT nonsense")]).contains("name"));
    }

    #[test]
    fn mariadb_s_xa_transactions_begin_and_end_with_flags() {
        let events = vec![
            maria(MariadbGtid::PREPARED_XA),
            query("XA END X'61',X'',1"),
            prepare(false),
            maria(MariadbGtid::COMPLETED_XA),
            query("XA COMMIT X'61',X'',1"),
        ];
        assert_eq!(run(events), "begin@0, prepare X'61',X'',1@30, commit X'61',X'',1@30-50");
    }

    #[test]
    fn the_commit_is_where_an_xa_transaction_counts() {
        let mut assembler = Assembler::new();
        assembler.step(&header(33), gtid(), 4).unwrap();
        let step = assembler.step(&header(2), query("XA COMMIT X'61',X'',1"), 14);
        let Ok(Step::CommitPrepared(commit)) = step else { panic!("{step:?}") };
        assert_eq!((commit.begin.offset, commit.offset, commit.end_offset), (4, 14, 24));
        assert!(commit.begin.gtid.is_some() && commit.begin.committed_us == Some(123));
        assert!(!assembler.is_inside());
    }

    #[test]
    fn a_rollback_undoes_all_rows_unless_the_server_mixed_engines() {
        let rows = || {
            const BODY: &[u8] = &[9, 0, 0, 0, 0, 0, 1, 0, 1, 0xff, 0xfe, 1, 0, 0, 0];
            let kind = EventKind::from(23);
            Event::Rows(RowsEvent::decode(kind, &mut Reader::new(BODY), None).unwrap())
        };
        for (version, wanted) in [("5.5.1-log", true), ("10.11.6-MariaDB", true), ("5.1.73", false)]
        {
            let mut format = vec![4, 0];
            format.extend_from_slice(version.as_bytes());
            format.resize(52, 0);
            format.extend_from_slice(&[0, 0, 0, 0, 19]);
            // Lengths of the events' fixed parts, and the newer ones' choice of no checksums.
            format.resize(57 + 27, 8);
            format.extend_from_slice(&[0; 5][..if wanted && version.len() > 9 { 5 } else { 0 }]);
            let format = Format::decode(&format).unwrap();
            for end in ["ROLLBACK", "ROLLBACK TO `s`"] {
                let mut assembler = Assembler::new();
                assembler.written_by(&format);
                for event in [query("BEGIN"), query("SAVEPOINT s"), rows()] {
                    assembler.step(&header(2), event, 0).unwrap();
                }
                let ended = assembler.step(&header(2), query(end), 0);
                assert_eq!(ended.is_ok(), wanted, "{version} {end}");
            }
        }
    }

    #[test]
    fn an_order_that_no_server_writes_is_refused() {
        for events in [
            vec![Event::Xid(1)],
            vec![gtid(), gtid()],
            vec![query("BEGIN"), query("BEGIN")],
            vec![maria(4), maria(4)],
            vec![query("BEGIN"), prepare(false)],
        ] {
            assert!(run(events).contains("a transaction"));
        }
    }
}
