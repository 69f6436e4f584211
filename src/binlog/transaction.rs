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
//! | INSERT, UPDATE, … as a statement | error | error |
//! | a statement that is not known | error | [`Step::Statement`] |
//! | a file's end or beginning | [`Step::Abandoned`] | [`Step::Rotate`], [`Step::Skip`] |
//! | XA PREPARE, or the commit of what was prepared | error | error |

use super::event::Event;
use super::gtid::{GtidEvent, MariadbGtid};
use super::header::{EventKind, Header};
use super::query::Query;
use super::reader::{DecodeError, Reader, Reason};
use super::rows::RowsEvent;
use super::statement::Verb;
use super::table_map::TableMap;
use crate::position::Gtid;

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
            Self::Commit { end_offset, .. } | Self::Rollback { end_offset } => Some(*end_offset),
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
    open: bool,
    thread_id: Option<u32>,
    /// Rows events of the open transaction, and how many there were at each of its savepoints.
    rows: u64,
    savepoints: Vec<(Vec<u8>, u64)>,
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
        Ok(match event {
            Event::FormatDescription(_) | Event::Stop => self.end_of_file(None),
            Event::Rotate { offset, next_file } => {
                self.end_of_file(Some(NextFile { file: next_file, offset }))
            }
            Event::Gtid(event) => {
                let gtid = Some(event.gtid());
                self.name(header, &event, gtid, offset)?
            }
            Event::AnonymousGtid(event) => self.name(header, &event, None, offset)?,
            Event::MariadbGtid(gtid) => self.name_mariadb(header, gtid, offset)?,
            Event::Query(query) => self.query(header, query, offset, end_offset)?,
            Event::TableMap(map) => {
                self.expect_open(header)?;
                Step::TableMap(map)
            }
            Event::Rows(rows) if rows.is_dummy() => Step::Skip,
            Event::Rows(rows) => {
                self.expect_open(header)?;
                self.rows += 1;
                Step::Rows(Rows {
                    rows,
                    offset,
                    timestamp_s: header.timestamp,
                    server_id: header.server_id,
                    thread_id: self.thread_id,
                })
            }
            Event::Xid(xid) => self.commit(header, end_offset, Some(xid))?,
            Event::XaPrepare { one_phase: true, .. } => self.commit(header, end_offset, None)?,
            Event::XaPrepare { one_phase: false, .. } => return Err(unsupported(XA)),
            Event::LoadData { .. } => return Err(unsupported(STATEMENT_FORMAT)),
            Event::Incident(_) => return Err(unsupported(INCIDENT)),
            Event::PreviousGtids(_) | Event::MariadbGtidList(_) => Step::Skip,
            Event::BinlogCheckpoint { .. } | Event::Heartbeat { .. } => Step::Skip,
            Event::AnnotateRows(_) | Event::RowsQuery(_) | Event::Ignored(_) => Step::Skip,
        })
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
        if gtid.has(MariadbGtid::PREPARED_XA) {
            return Err(unsupported(XA));
        }
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
        Ok(self.begin(header, offset, None))
    }

    fn begin<'a>(&mut self, header: &Header, offset: u64, thread_id: Option<u32>) -> Step<'a> {
        let named = self.named.take().unwrap_or_else(|| Named {
            offset,
            timestamp_s: header.timestamp,
            ..Named::default()
        });
        self.open = true;
        self.rows = 0;
        self.savepoints.clear();
        self.thread_id = thread_id.or(named.thread_id);
        Step::Begin(Begin {
            gtid: named.gtid,
            offset: named.offset,
            timestamp_s: named.timestamp_s,
            server_id: header.server_id,
            thread_id: self.thread_id,
            committed_us: named.committed_us,
        })
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
            self.query_inside(header, verb, query, end_offset)
        } else {
            self.query_outside(header, &verb, query, offset, end_offset)
        }
    }

    fn query_inside<'a>(
        &mut self,
        header: &Header,
        verb: Verb,
        query: Query<'a>,
        end_offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        Ok(match verb {
            Verb::Commit | Verb::XaCommit => self.commit(header, end_offset, None)?,
            Verb::Rollback | Verb::XaRollback => {
                self.expect_no_rows_since(0)?;
                self.open = false;
                Step::Rollback { end_offset }
            }
            Verb::Savepoint(name) => {
                self.savepoints.retain(|(known, _)| *known != name);
                self.savepoints.push((name.clone(), self.rows));
                Step::Savepoint(name)
            }
            Verb::RollbackTo(name) => {
                let savepoint = self.savepoints.iter().find(|(known, _)| *known == name);
                self.expect_no_rows_since(savepoint.map_or(0, |(_, rows)| *rows))?;
                Step::RollbackTo(name)
            }
            Verb::Ddl { .. } => Step::InnerDdl(query),
            Verb::Release | Verb::XaEnd | Verb::Other => Step::Skip,
            Verb::Begin | Verb::XaStart => return Err(out_of_place(header, INSIDE)),
            Verb::XaPrepare => return Err(unsupported(XA)),
            Verb::Rows => return Err(unsupported(STATEMENT_FORMAT)),
            Verb::Unknown => {
                return Err(unsupported("a statement inside a transaction that is not known"));
            }
        })
    }

    fn query_outside<'a>(
        &mut self,
        header: &Header,
        verb: &Verb,
        query: Query<'a>,
        offset: u64,
        end_offset: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let kind = match verb {
            Verb::Begin | Verb::XaStart => {
                return Ok(self.begin(header, offset, Some(query.thread_id)));
            }
            Verb::Ddl { rows_follow: false } => StatementKind::Ddl,
            Verb::Rows => return Err(unsupported(STATEMENT_FORMAT)),
            Verb::XaCommit | Verb::XaPrepare => return Err(unsupported(XA)),
            Verb::XaEnd | Verb::Ddl { rows_follow: true } | Verb::RollbackTo(_) => {
                return Err(out_of_place(header, OUTSIDE));
            }
            Verb::Other | Verb::Unknown | Verb::Release | Verb::Savepoint(_) => {
                StatementKind::Other
            }
            Verb::Commit | Verb::Rollback | Verb::XaRollback => StatementKind::Other,
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

    /// The servers log a rollback behind rows only if some of them cannot be undone: those of engines
    /// without transactions. Which those are is not in the log, so neither answer would be true.
    fn expect_no_rows_since(&self, rows: u64) -> Result<(), DecodeError> {
        if self.rows > rows { Err(unsupported(PARTLY_UNDONE)) } else { Ok(()) }
    }

    fn expect_open(&self, header: &Header) -> Result<(), DecodeError> {
        if self.open { Ok(()) } else { Err(out_of_place(header, OUTSIDE)) }
    }

    fn expect_outside(&self, header: &Header) -> Result<(), DecodeError> {
        if self.is_inside() { Err(out_of_place(header, INSIDE)) } else { Ok(()) }
    }
}

const XA: &str = "XA transactions that are prepared (XA PREPARE)";
const INCIDENT: &str = "the server says that changes are missing from its log (INCIDENT)";
const STATEMENT_FORMAT: &str =
    "a change logged as a statement: its rows are not in the log (binlog_format must be ROW)";
const PARTLY_UNDONE: &str = "a rollback of rows of which some stay, because their table's engine has \
                             no transactions: the log does not tell which";
const INSIDE: &str = "inside a transaction";
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
        let mut assembler = Assembler::new();
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
    fn a_file_s_end_inside_a_transaction_drops_it() {
        assert_eq!(run(vec![maria(4), Event::Stop]), "begin@0, abandoned false");
        let events = vec![gtid(), query("BEGIN"), rotate(), gtid(), query("BEGIN")];
        assert_eq!(run(events), "begin@0, abandoned true, begin@30");
        // A GTID alone has begun nothing.
        assert_eq!(run(vec![gtid(), rotate(), gtid()]), "rotate");
    }

    #[test]
    fn prepared_xa_transactions_are_refused_and_one_phase_ones_are_not() {
        let prepare = |one_phase| Event::XaPrepare { one_phase, xid: (1, b"x") };
        let begin = || query("XA START X'61',X'',1");
        assert_eq!(run(vec![begin(), query("XA END X'61'"), prepare(true)]), "begin@0, commit@30");
        assert!(run(vec![begin(), prepare(false)]).contains("XA PREPARE"));
        assert!(run(vec![gtid(), query("XA COMMIT X'61'")]).contains("XA PREPARE"));
        assert_eq!(run(vec![gtid(), query("XA ROLLBACK X'61'")]), "Other@0-20");
        assert!(run(vec![maria(MariadbGtid::PREPARED_XA)]).contains("XA PREPARE"));
    }

    #[test]
    fn an_order_that_no_server_writes_is_refused() {
        for events in [
            vec![Event::Xid(1)],
            vec![gtid(), gtid()],
            vec![query("BEGIN"), query("BEGIN")],
            vec![maria(4), maria(4)],
        ] {
            assert!(run(events).contains("a transaction"));
        }
    }
}
