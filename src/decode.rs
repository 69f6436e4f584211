//! SHELL: WIRING of `rivulet decode`: a binlog file → changes or statistics on a writer.
//!
//! ```text
//!   file ──► Framer ──► Decoder ──► Assembler ──► Printer: Held (a transaction's lines) ──► writer
//!                └► Payload ┘ (compressed)   └──► Counts (of each table)
//! ```
//!
//! Only what was committed comes out: a transaction's lines are held until its commit, in memory up to
//! `held::MEMORY_MAX` and beyond that in a file without a name, and are cut back at ROLLBACK TO
//! SAVEPOINT. Rows of an XA transaction are held as events (`prepared.rs`) until the statement that commits
//! it, which may lie in a later file: they come out there, with the position, GTID and time of that commit, and
//! `row` counts on through all of them, so that no two changes share file, position and row. Of a damaged file all transactions before the damage come out, then the error.

pub mod check;
mod held;
mod levels;
mod prepared;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::binlog::compressed::Room;
use crate::binlog::decoder::{CHECKSUM_LEN, Decoder};
use crate::binlog::event::Event;
use crate::binlog::format::Checksum;
use crate::binlog::format::Format as LogFormat;
use crate::binlog::frame::{Frame, Framer, Part};
use crate::binlog::header::{EventKind, Header};
use crate::binlog::numbering::Numbering;
use crate::binlog::payload::Payload;
use crate::binlog::reader::DecodeError;
use crate::binlog::rows::Operation;
use crate::binlog::table::{Names, Table};
pub use crate::binlog::transaction::OnStatement;
use crate::binlog::transaction::{Assembler, Begin, CommitPrepared, LeftOut, Rows, Step};
use crate::binlog::xid::Xid;
use crate::envelope::debezium::{self, Debezium};
use crate::envelope::text::Text;
use crate::envelope::{Change, EnvelopeError};
use held::Held;
use levels::{Lengths, Levels};
pub use prepared::Prepared;
use prepared::{Taken, hold, next_event};

/// How changes are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// Debezium's JSON, a line per change.
    #[default]
    Debezium,
    /// For people.
    Text,
}

/// What may be chosen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// The logical name of the source, as the envelope has it.
    pub source: String,
    /// For [`Format::Debezium`].
    pub debezium: debezium::Options,
    /// What to do with changes that were logged as statements, and with the commit of an XA transaction
    /// whose rows lie in an earlier file that was not read.
    pub on_statement: OnStatement,
}

/// What was in a file. As JSON it is what `rivulet decode --stats` prints.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// The file's name without its folder.
    pub file: String,
    /// As the file has it.
    pub server_version: String,
    /// `mysql` or `mariadb`.
    pub flavor: &'static str,
    /// `crc32` or `off`.
    pub checksum: &'static str,
    /// Whole events by their kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Committed transactions that hold rows or might have.
    pub transactions: u64,
    /// Committed changes by `database.table`.
    pub rows: BTreeMap<String, Counts>,
    /// Where the first event starts.
    pub first_position: u64,
    /// The end of the last whole event.
    pub last_position: u64,
    /// False if the file ends in the middle of an event or a transaction, or is damaged.
    pub complete: bool,
    /// XA transactions that were prepared, here or in a file before, and not ended up to the end.
    pub prepared: u64,
    /// Changes that are not in the output, by the kind of statement that they were logged as.
    pub left_out: BTreeMap<&'static str, u64>,
    /// The first of them.
    #[serde(skip)]
    pub left_out_first: Vec<LeftOut>,
    /// Tables without names in the log: columns are `@1`, …, and signs may be unknown.
    #[serde(skip)]
    pub unnamed_tables: BTreeSet<String>,
    /// Values that were written as bytes although they are, or may be, text.
    #[serde(skip)]
    pub undecoded: u64,
    /// JSON values of which the log has only the differences from what it has not.
    #[serde(skip)]
    pub unapplied: u64,
}

/// Changes of one table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Rows inserted.
    pub insert: u64,
    /// Rows updated.
    pub update: u64,
    /// Rows deleted.
    pub delete: u64,
}

/// Why reading stopped before the end of the file.
#[derive(Debug)]
pub struct DecodeFailure {
    /// The file's name without its folder.
    pub file: String,
    /// Where the event starts.
    pub offset: u64,
    /// Its kind, where that is known.
    pub event: Option<&'static str>,
    /// What went wrong.
    pub cause: Cause,
    /// All that came before.
    pub summary: Box<Summary>,
}

/// What went wrong, by whose fault it is.
#[derive(Debug)]
pub enum Cause {
    /// The file cannot be read.
    Read(std::io::Error),
    /// The output cannot be written, or a large transaction not be held.
    Write(std::io::Error),
    /// The file is damaged or holds what is not supported; with table and column where they are known.
    Content(String),
}

impl fmt::Display for DecodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)?;
        if let Some(event) = self.event {
            write!(f, ": {event}")?;
        }
        match &self.cause {
            Cause::Read(error) => write!(f, ": cannot read: {error}"),
            Cause::Write(error) => write!(f, ": cannot write: {error}"),
            Cause::Content(what) => write!(f, ": {what}"),
        }
    }
}

impl std::error::Error for DecodeFailure {}

/// Writes the committed changes of a file, in their order, a line (or, for people, some lines) each.
///
/// # Errors
/// When the file cannot be read to its end; what was committed before is written then. A file that merely ends
/// in the middle of something is no error, but [`Summary::complete`] is false.
pub fn print(
    file: &Path,
    format: Format,
    out: &mut impl Write,
    options: &Options,
    prepared: &mut Prepared,
) -> Result<Summary, DecodeFailure> {
    let renderer = match format {
        Format::Debezium => Renderer::Debezium(Debezium::new(options.debezium)),
        Format::Text => Renderer::Text(Text::new()),
    };
    let printer = Printer { renderer, held: Held::default(), line: Vec::new(), out };
    let scan = Scan::new(file, options, Some(printer), prepared);
    scan.run(|| File::open(file))
}

/// Counts what is in a file. The rows are split, but their values are not read.
///
/// # Errors
/// When the file cannot be read to its end; the failure has the numbers up to there.
pub fn stats(
    file: &Path,
    options: &Options,
    prepared: &mut Prepared,
) -> Result<Summary, DecodeFailure> {
    let scan = Scan::<std::io::Sink>::new(file, options, None, prepared);
    scan.run(|| File::open(file))
}

impl Summary {
    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names and numbers always serialize")
    }
}

/// One pass over a file.
struct Scan<'o, W> {
    summary: Summary,
    options: &'o Options,
    printer: Option<Printer<'o, W>>,
    prepared: &'o mut Prepared,
    decoder: Decoder,
    payload: Payload,
    numbering: Numbering,
    /// The open transaction.
    begin: Option<Begin>,
    /// Its events, if it is one of XA.
    events: Held,
    /// Its counts: from its start, and from each savepoint on.
    levels: Levels,
}

/// An event, as far as an error needs to name it.
#[derive(Clone, Copy)]
struct At {
    offset: u64,
    event: Option<&'static str>,
}

impl<'o, W: Write> Scan<'o, W> {
    fn new(
        file: &Path,
        options: &'o Options,
        printer: Option<Printer<'o, W>>,
        prepared: &'o mut Prepared,
    ) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let summary = Summary { file: name, ..Summary::default() };
        Self {
            summary,
            options,
            printer,
            prepared,
            decoder: Decoder::new(),
            payload: Payload::new(),
            numbering: Numbering::default(),
            begin: None,
            events: Held::default(),
            levels: Levels::default(),
        }
    }

    fn run<R: Read>(
        mut self,
        open: impl FnOnce() -> std::io::Result<R>,
    ) -> Result<Summary, DecodeFailure> {
        let mut at = At { offset: 0, event: None };
        let result = open().map_err(Cause::Read).and_then(|input| self.read(input, &mut at));
        self.summary.prepared = self.prepared.len() as u64;
        if let Some(printer) = &mut self.printer {
            if let Renderer::Debezium(debezium) = &printer.renderer {
                self.summary.undecoded = debezium.undecoded();
                self.summary.unapplied = debezium.unapplied();
            }
            if let Err(error) = printer.out.flush()
                && result.is_ok()
            {
                return Err(self.failure(at, Cause::Write(error)));
            }
        }
        match result {
            Ok(complete) => Ok(Summary { complete, ..self.summary }),
            Err(cause) => Err(self.failure(at, cause)),
        }
    }

    fn failure(self, At { offset, event }: At, cause: Cause) -> DecodeFailure {
        let file = self.summary.file.clone();
        DecodeFailure { file, offset, event, cause, summary: Box::new(self.summary) }
    }

    /// Reads all; says whether the file is whole.
    fn read(&mut self, mut file: impl Read, at: &mut At) -> Result<bool, Cause> {
        let mut framer = Framer::new();
        let mut assembler = Assembler::with(self.options.on_statement);
        let mut room = Room::new();
        let mut complete = true;
        loop {
            let count = match file.read(framer.space(READ_BYTES)) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Cause::Read(error)),
            };
            framer.filled(count);
            loop {
                *at = At { offset: framer.offset(), event: None };
                let Some(frame) =
                    framer.next().map_err(|error| Cause::Content(error.to_string()))?
                else {
                    break;
                };
                at.offset = frame.offset;
                at.event = kind_of(frame.bytes).map(EventKind::name);
                complete &= match frame.part {
                    Part::Whole => self.event(&mut assembler, &mut room, &frame)?,
                    Part::Head | Part::Rest => self.portion(&mut assembler, &frame, at)?,
                };
            }
        }
        Ok(complete
            && !framer.is_inside()
            && !self.payload.is_open()
            && self.summary.last_position > 0
            && !assembler.is_inside())
    }

    /// Takes in one event; false if it says that a transaction was never finished.
    fn event(
        &mut self,
        assembler: &mut Assembler,
        room: &mut Room,
        frame: &Frame<'_>,
    ) -> Result<bool, Cause> {
        let decoded = self.decoder.decode_in(frame.bytes, room);
        let (header, event) = decoded.map_err(content)?;
        self.count(&header, frame.offset);
        if let Event::Incident(incident) = &event {
            return Err(Cause::Content(incident.to_string()));
        }
        let step = assembler.step(&header, event, frame.offset).map_err(content)?;
        let sealed = self.decoder.format().is_some_and(|format| format.checksum != Checksum::Off);
        let len = frame.bytes.len().saturating_sub(if sealed { CHECKSUM_LEN } else { 0 });
        self.step(step, frame.offset, frame.bytes.get(..len).unwrap_or_default())
    }

    /// Takes in a portion of a compressed transaction: the events that come out of it.
    fn portion(
        &mut self,
        assembler: &mut Assembler,
        frame: &Frame<'_>,
        at: &mut At,
    ) -> Result<bool, Cause> {
        at.event = Some(EventKind::TransactionPayload.name());
        let mut payload = std::mem::take(&mut self.payload);
        let taken = match frame.part {
            Part::Head => payload.begin(frame.bytes, frame.offset, self.decoder.format()),
            _ => payload.push(frame.bytes),
        };
        taken.map_err(content)?;
        let mut complete = true;
        while payload.advance().map_err(content)? {
            let Some(inner) = payload.event() else { break };
            at.event = inner.kind().map(EventKind::name);
            let (header, event) = self.decoder.decode_inner(&inner).map_err(content)?;
            let step = assembler.step(&header, event, inner.offset).map_err(content)?;
            inner.expect_last(step.safe_offset().is_some()).map_err(content)?;
            if inner.last {
                self.count(&inner.outer, inner.offset);
            }
            complete &= self.step(step, inner.offset, inner.bytes)?;
            at.event = Some(EventKind::TransactionPayload.name());
        }
        self.payload = payload;
        Ok(complete)
    }

    /// Takes in what an event means; `bytes` are the event's without its checksum.
    fn step(&mut self, step: Step<'_>, offset: u64, bytes: &[u8]) -> Result<bool, Cause> {
        match step {
            Step::Begin(begin) => self.begin(begin),
            Step::TableMap(map) => {
                self.hold(offset, bytes)?;
                if self.decoder.table(map.table_id).is_none() {
                    let table = map.to_table().map_err(|error| {
                        let name = [map.schema, map.table].map(String::from_utf8_lossy).join(".");
                        Cause::Content(format!("{name}: {error}"))
                    })?;
                    self.decoder.define(map.table_id, Arc::new(table));
                }
            }
            Step::Rows(rows) => {
                self.hold(offset, bytes)?;
                self.rows(&rows)?;
            }
            Step::Savepoint(name) => self.savepoint(name),
            Step::RollbackTo(name) => self.rollback_to(&name)?,
            Step::Commit { .. } => self.commit()?,
            Step::Rollback { .. } => self.drop_open(),
            Step::Prepare { xid, .. } => self.prepare(xid)?,
            Step::CommitPrepared(commit) => self.commit_prepared(commit)?,
            Step::RollbackPrepared { xid, .. } => self.prepared.drop(&xid).map_err(Cause::Write)?,
            Step::LeftOut(left_out) => self.leave_out(left_out),
            Step::Abandoned { .. } => {
                self.drop_open();
                return Ok(false);
            }
            Step::InnerDdl(_) | Step::Statement(_) | Step::Rotate(_) | Step::Skip => {}
        }
        Ok(true)
    }

    fn count(&mut self, header: &Header, offset: u64) {
        if self.summary.events.is_empty() {
            self.summary.first_position = offset;
        }
        *self.summary.events.entry(header.kind.name()).or_default() += 1;
        self.summary.last_position = offset + u64::from(header.length);
        if header.kind == EventKind::FormatDescription
            && let Some(format) = self.decoder.format()
        {
            self.summary.server_version.clone_from(&format.server_version);
            self.summary.flavor = format.flavor.name();
            self.summary.checksum = match format.checksum {
                Checksum::Off => "off",
                Checksum::Crc32 => "crc32",
            };
        }
    }

    fn begin(&mut self, begin: Begin) {
        self.drop_open();
        self.numbering.begin();
        self.begin = Some(begin);
        self.levels.begin();
    }

    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), Cause> {
        let Some(table) = self.decoder.table(rows.rows.table_id).map(Arc::clone) else {
            return Err(Cause::Content(NO_TABLE_MAP.to_owned()));
        };
        let name = format!("{}.{}", table.schema, table.name);
        if table.names == Names::Unknown && !self.summary.unnamed_tables.contains(&name) {
            self.summary.unnamed_tables.insert(name.clone());
        }
        let printer = self.printer.take_if(|_| self.begin.as_ref().is_some_and(|begin| begin.xa));
        let count = self.print(&table, rows);
        self.printer = self.printer.take().or(printer);
        let count = count?;
        if let Some(counts) = self.levels.rows() {
            counts.entry(name).or_default().add(rows.rows.operation, count);
        }
        Ok(())
    }

    /// Prints the rows, if anything is to be printed. Returns how many there are.
    fn print(&mut self, table: &Table, rows: &Rows<'_>) -> Result<u64, Cause> {
        let torn = |error: DecodeError| Cause::Content(error.in_table(table).to_string());
        let mut iter = rows.rows.rows(table).map_err(torn)?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let first = u32::try_from(self.numbering.event(rows.offset)).unwrap_or(u32::MAX);
        let mut change = Change { row: first, ..self.change(rows, table) };
        let mut count = 0;
        while iter.next_row(&mut before, &mut after).map_err(torn)? {
            count += 1;
            if let Some(printer) = &mut self.printer {
                printer.print(Change {
                    before: (rows.rows.operation != Operation::Insert).then_some(&before),
                    after: (rows.rows.operation != Operation::Delete).then_some(&after),
                    file: &self.summary.file,
                    source: &self.options.source,
                    gtid: self.begin.as_ref().and_then(|begin| begin.gtid.as_ref()),
                    ..change
                })?;
            }
            change.row = change.row.saturating_add(1);
        }
        self.numbering.rows(count);
        Ok(count)
    }

    /// What all rows of an event have in common, but for what belongs to the scan.
    fn change<'t>(&self, rows: &Rows<'_>, table: &'t Table) -> Change<'t> {
        let committed_us = self.begin.as_ref().and_then(|begin| begin.committed_us);
        Change {
            connector: self.summary.flavor,
            source: "",
            table,
            operation: rows.rows.operation,
            before: None,
            after: None,
            file: "",
            offset: rows.offset,
            row: 0,
            gtid: None,
            server_id: rows.server_id,
            thread: rows.thread_id,
            changed_us: committed_us.unwrap_or(u64::from(rows.timestamp_s) * 1_000_000),
            rendered_us: now_us(),
        }
    }

    fn savepoint(&mut self, name: Vec<u8>) {
        let lines = self.printer.as_ref().map_or(0, |printer| printer.held.len());
        self.levels.savepoint(name, Lengths { lines, events: self.events.len() });
    }

    fn rollback_to(&mut self, name: &[u8]) -> Result<(), Cause> {
        let Some(at) = self.levels.back_to(name) else {
            let what =
                "a rollback to a savepoint that is not in the log, or older than a thousand others";
            return Err(Cause::Content(what.to_owned()));
        };
        self.events.truncate(at.events).map_err(Cause::Write)?;
        match &mut self.printer {
            Some(printer) => printer.held.truncate(at.lines).map_err(Cause::Write),
            None => Ok(()),
        }
    }

    fn commit(&mut self) -> Result<(), Cause> {
        let events = std::mem::take(&mut self.events);
        if events.len() > 0 {
            // One phase: its rows have places of their own.
            let format = self.format()?.clone();
            let events = events.into_read().map_err(Cause::Write)?;
            self.replay(Taken { format, rows: BTreeMap::new(), events }, None)?;
        }
        levels::join(&mut self.summary.rows, self.levels.take());
        self.committed()
    }

    fn committed(&mut self) -> Result<(), Cause> {
        self.summary.transactions += 1;
        self.begin = None;
        match &mut self.printer {
            Some(printer) => printer.held.release(printer.out).map_err(Cause::Write),
            None => Ok(()),
        }
    }

    /// Keeps an event of an XA transaction, if its rows are to be printed.
    fn hold(&mut self, offset: u64, event: &[u8]) -> Result<(), Cause> {
        if self.printer.is_none() || !self.begin.as_ref().is_some_and(|begin| begin.xa) {
            return Ok(());
        }
        hold(&mut self.events, offset, event).map_err(Cause::Write)
    }

    fn format(&self) -> Result<&LogFormat, Cause> {
        let missing = || Cause::Content("no format description".to_owned());
        self.decoder.format().ok_or_else(missing)
    }

    fn prepare(&mut self, xid: Xid) -> Result<(), Cause> {
        let rows = self.levels.take();
        let format = self.format()?.clone();
        let events = std::mem::take(&mut self.events);
        self.prepared.keep(xid, format, rows, events).map_err(Cause::Write)?;
        self.drop_open();
        Ok(())
    }

    fn commit_prepared(&mut self, commit: CommitPrepared) -> Result<(), Cause> {
        let CommitPrepared { xid, begin, offset, end_offset } = commit;
        let Some(mut taken) = self.prepared.take(&xid).map_err(Cause::Write)? else {
            if self.options.on_statement == OnStatement::LeaveOut {
                self.leave_out(LeftOut { kind: "XA COMMIT", offset, end_offset: Some(end_offset) });
                return Ok(());
            }
            return Err(Cause::Content(format!("{xid}: {NOT_PREPARED}")));
        };
        self.begin = Some(begin);
        let rows = std::mem::take(&mut taken.rows);
        self.replay(taken, Some(offset))?;
        levels::join(&mut self.summary.rows, rows);
        self.committed()
    }

    /// Prints the rows of events that were held; all at one offset, if one is given.
    fn replay(&mut self, mut taken: Taken, at: Option<u64>) -> Result<(), Cause> {
        let mut decoder = Decoder::unsealed(&taken.format);
        let (mut bytes, mut room) = (Vec::new(), Room::new());
        self.numbering.begin();
        while let Some(own) = next_event(&mut *taken.events, &mut bytes).map_err(Cause::Write)? {
            let (header, event) = decoder.decode_in(&bytes, &mut room).map_err(content)?;
            match event {
                Event::TableMap(map) if decoder.table(map.table_id).is_none() => {
                    let table = map.to_table().map_err(content)?;
                    decoder.define(map.table_id, Arc::new(table));
                }
                Event::Rows(rows) => {
                    let Some(table) = decoder.table(rows.table_id) else {
                        return Err(Cause::Content(NO_TABLE_MAP.to_owned()));
                    };
                    let rows = Rows {
                        rows,
                        offset: at.unwrap_or(own),
                        timestamp_s: header.timestamp,
                        server_id: header.server_id,
                        thread_id: self.begin.as_ref().and_then(|begin| begin.thread_id),
                    };
                    self.print(table, &rows)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, left_out: LeftOut) {
        *self.summary.left_out.entry(left_out.kind).or_default() += 1;
        if self.summary.left_out_first.len() < LEFT_OUT_SHOWN {
            self.summary.left_out_first.push(left_out);
        }
    }

    fn drop_open(&mut self) {
        self.begin = None;
        self.levels.clear();
        self.events.clear();
        if let Some(printer) = &mut self.printer {
            printer.held.clear();
        }
    }
}

impl Counts {
    fn join(&mut self, other: Self) {
        self.insert += other.insert;
        self.update += other.update;
        self.delete += other.delete;
    }

    fn add(&mut self, operation: Operation, count: u64) {
        match operation {
            Operation::Insert => self.insert += count,
            Operation::Update => self.update += count,
            Operation::Delete => self.delete += count,
        }
    }
}

enum Renderer {
    Debezium(Debezium),
    Text(Text),
}

struct Printer<'o, W> {
    renderer: Renderer,
    held: Held,
    line: Vec<u8>,
    out: &'o mut W,
}

impl<W> Printer<'_, W> {
    fn print(&mut self, change: Change<'_>) -> Result<(), Cause> {
        self.line.clear();
        let written = match &mut self.renderer {
            Renderer::Debezium(debezium) => debezium.write(&change, &mut self.line),
            Renderer::Text(text) => text.write(&change, &mut self.line),
        };
        written.map_err(|EnvelopeError { column, error }| {
            let Table { schema, name, .. } = change.table;
            Cause::Content(format!("{schema}.{name}.{column}: row {}: {error}", change.row))
        })?;
        self.line.push(b'\n');
        self.held.push(&self.line).map_err(Cause::Write)
    }
}

fn content(error: DecodeError) -> Cause {
    Cause::Content(error.to_string())
}

/// The kind in an event's header, without a look at the rest.
fn kind_of(event: &[u8]) -> Option<EventKind> {
    event.get(4).map(|code| EventKind::from(*code))
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

const NO_TABLE_MAP: &str = "rows of a table that no table map names";
const NOT_PREPARED: &str = "the commit of an XA transaction whose rows were prepared in an earlier file: give that \
                            file, too, before this one";
/// Changes that were left out and whose places are told.
const LEFT_OUT_SHOWN: usize = 10;
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
