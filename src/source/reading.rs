//! One event → one step: decoded, put in its place in the log, its table known by name.

use std::sync::Arc;

use super::columns::{complete, leaves_unsaid};
use super::error::SourceError;
use super::lookup::{self, LookupError};
use super::schema::{Known, Schemas};
use super::track::Track;
use super::{CommitPrepared, OnUnknownNames, Origin, Rows, Settings, Step};
use crate::binlog::compressed::Room;
use crate::binlog::decoder::Decoder;
use crate::binlog::event::Event;
use crate::binlog::format::Flavor;
use crate::binlog::header::{EventKind, Header};
use crate::binlog::payload::{Inner, Payload};
use crate::binlog::reader::{DecodeError, Reader, Reason};
use crate::binlog::table::{Names, Table};
use crate::binlog::table_map::TableMap;
use crate::binlog::transaction::{self, Assembler};
use crate::mysql::channel::Stopper;
use crate::mysql::connection::Endpoint;
use crate::mysql::error::MysqlError;
use crate::position::{Checkpoint, Gtid, file_order};

/// Why an event did not become a step.
#[derive(Debug)]
pub(super) enum Failure {
    /// Bytes changed on their way, or in the file.
    Damaged(SourceError),
    /// The server was not reached for names: it may be later.
    Passing(String),
    /// For good.
    Fatal(SourceError),
}

impl Failure {
    /// Whether bytes that were damaged on their way may have led to it.
    pub(super) fn may_be_damage(&self, unverified: bool) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Passing(_) => false,
            Self::Fatal(error) => {
                unverified
                    && matches!(
                        error,
                        SourceError::Decode { .. }
                            | SourceError::UnknownTable { .. }
                            | SourceError::Names { .. }
                    )
            }
        }
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Damaged(error) | Failure::Fatal(error) => error,
            Failure::Passing(why) => {
                Self::Names { table: String::new(), position: String::new(), why }
            }
        }
    }
}

/// The parts of a source that one event concerns.
pub(super) struct Reading<'s> {
    pub(super) settings: &'s Settings,
    pub(super) stopper: &'s Stopper,
    pub(super) decoder: &'s mut Decoder,
    pub(super) assembler: &'s mut Assembler,
    pub(super) schemas: &'s mut Schemas,
    pub(super) track: &'s mut Track,
    pub(super) checkpoint: &'s mut Checkpoint,
    pub(super) gtid: &'s mut Option<Gtid>,
    pub(super) last_event_s: &'s mut u32,
}

impl Reading<'_> {
    /// Reads one event; its offset is known in files, and reckoned in streams.
    pub(super) fn read<'a>(
        mut self,
        bytes: &'a [u8],
        offset: Option<u64>,
        room: &'a mut Room,
    ) -> Result<Step<'a>, Failure> {
        let kind = kind(bytes);
        let (header, event) = match self.decoder.decode_in(bytes, room) {
            Ok(decoded) => decoded,
            Err(error) => return Err(self.failed(offset.unwrap_or(self.track.next), kind, error)),
        };
        let live = offset.is_none();
        let offset = self.locate(&header, &event, offset);
        if let Some(step) = self.aside(&header, &event, offset, live)? {
            return Ok(step);
        }
        let statement = statement(&event);
        match self.assembler.step(&header, event, offset) {
            Ok(step) => self.act(step, statement),
            Err(error) => Err(self.failed(offset, kind, error)),
        }
    }

    /// Reads an event out of a compressed transaction. What ends the transaction must be the last one, for
    /// only then all has been verified.
    pub(super) fn read_inner<'a>(mut self, inner: &Inner<'a>) -> Result<Step<'a>, Failure> {
        let kind = kind(inner.bytes);
        let (header, event) = match self.decoder.decode_inner(inner) {
            Ok(decoded) => decoded,
            Err(error) => return Err(self.failed(inner.offset, kind, error)),
        };
        let statement = statement(&event);
        let step = match self.assembler.step(&header, event, inner.offset) {
            Ok(step) => step,
            Err(error) => return Err(self.failed(inner.offset, kind, error)),
        };
        match inner.expect_last(step.safe_offset().is_some()) {
            Ok(()) => self.act(step, statement),
            Err(error) => Err(self.failed(inner.offset, kind, error)),
        }
    }

    /// Begins with a compressed transaction.
    pub(super) fn begin_payload<'a>(
        mut self,
        payload: &mut Payload,
        portion: &[u8],
        offset: Option<u64>,
    ) -> Result<Step<'a>, Failure> {
        let next = offset.unwrap_or(self.track.next);
        let kind = kind(portion);
        let header = Header::decode(&mut Reader::new(portion))
            .map_err(|error| self.failed(next, kind, error))?;
        let offset = self.locate(&header, &Event::Ignored(header.kind), offset);
        let format = self.decoder.format();
        payload.begin(portion, offset, format).map_err(|error| self.failed(offset, kind, error))?;
        Ok(Step::Skip)
    }

    /// A compressed transaction cannot be taken apart.
    pub(super) fn torn(&self, payload: &Payload, error: DecodeError) -> Failure {
        let offset = payload.outer().map_or(self.track.next, |(_, offset)| offset);
        self.failed(offset, EventKind::TransactionPayload.code(), error)
    }

    /// An event that cannot be decoded: its bytes were damaged, or it is one that cannot be read.
    fn failed(&self, offset: u64, kind: u8, error: DecodeError) -> Failure {
        let file = self.track.file.clone();
        let decode = SourceError::Decode { file, offset, kind, table: String::new(), error };
        match error.reason {
            Reason::Checksum { .. } => Failure::Damaged(decode),
            _ => Failure::Fatal(decode),
        }
    }

    /// Where the event starts; the next one is due behind it.
    fn locate(&mut self, header: &Header, event: &Event<'_>, offset: Option<u64>) -> u64 {
        if !header.is_artificial() && header.timestamp > 0 {
            *self.last_event_s = header.timestamp;
        }
        match offset {
            None => self.track.locate(header, event),
            Some(offset) => {
                self.track.next = offset + u64::from(header.length);
                offset
            }
        }
    }

    /// What matters beside the transactions: the file's age, sets of GTIDs, signs of life.
    fn aside<'a>(
        &mut self,
        header: &Header,
        event: &Event<'_>,
        offset: u64,
        live: bool,
    ) -> Result<Option<Step<'a>>, Failure> {
        match event {
            Event::Heartbeat { .. } => return Ok(Some(Step::Heartbeat)),
            Event::FormatDescription(format) => {
                self.assembler.written_by(format);
                let position = &self.checkpoint.position;
                let same_file = position.file == self.track.file;
                let known = self.checkpoint.file_created_s;
                if same_file && known != 0 && known != header.timestamp && header.timestamp != 0 {
                    let what = format!("{} was created at another time", position.file);
                    return Err(Failure::Fatal(SourceError::History { what }));
                }
                if same_file {
                    self.checkpoint.file_created_s = header.timestamp;
                }
                // At the start of a stream it is repeated, wherever that begins.
                if live && header.end_position == 0 && !self.assembler.is_inside() {
                    return Ok(Some(Step::Skip));
                }
            }
            // All before this file was read, or was there before we began.
            Event::PreviousGtids(set) | Event::MariadbGtidList(set) => {
                self.checkpoint.gtids.extend(set);
            }
            Event::Gtid(gtid) => *self.gtid = Some(gtid.gtid()),
            Event::MariadbGtid(gtid) => {
                *self.gtid = Some(gtid.gtid());
                self.schemas.alters_nothing = gtid.alters_nothing;
            }
            Event::AnonymousGtid(_) => *self.gtid = None,
            Event::Incident(incident) => {
                return Err(Failure::Fatal(SourceError::Incident {
                    file: self.track.file.clone(),
                    offset,
                    incident: incident.to_string(),
                }));
            }
            _ => {}
        }
        Ok(None)
    }

    fn act<'a>(
        &mut self,
        step: transaction::Step<'a>,
        statement: &[u8],
    ) -> Result<Step<'a>, Failure> {
        use transaction::Step as S;
        Ok(match step {
            S::Begin(begin) => Step::Begin(begin),
            S::TableMap(map) => {
                if self.decoder.table(map.table_id).is_none() {
                    let table = self.define(&map)?;
                    self.decoder.define(map.table_id, Arc::new(table));
                }
                Step::Skip
            }
            S::Rows(rows) => {
                let id = rows.rows.table_id;
                let Some(table) = self.decoder.table(id) else {
                    return Err(Failure::Fatal(SourceError::UnknownTable {
                        file: self.track.file.clone(),
                        offset: rows.offset,
                        table_id: id,
                    }));
                };
                Step::Rows(Rows {
                    table: Arc::clone(table),
                    rows: rows.rows,
                    offset: rows.offset,
                    timestamp_s: rows.timestamp_s,
                    server_id: rows.server_id,
                    thread: rows.thread_id,
                })
            }
            S::Savepoint(name) => Step::Savepoint(name),
            S::RollbackTo(name) => Step::RollbackTo(name),
            S::InnerDdl(query) => {
                self.schemas.passed(self.track, query.statement);
                Step::Skip
            }
            S::Commit { end_offset, .. } => {
                self.finish(end_offset);
                Step::Commit
            }
            S::Rollback { end_offset } => {
                self.finish(end_offset);
                Step::Rollback
            }
            S::Prepare { xid, end_offset } => {
                self.finish(end_offset);
                Step::Prepare(xid)
            }
            S::CommitPrepared(transaction::CommitPrepared { xid, begin, offset, end_offset }) => {
                let before = self.checkpoint.clone();
                self.finish(end_offset);
                let behind = std::mem::replace(self.checkpoint, before);
                Step::CommitPrepared(Box::new(CommitPrepared { xid, begin, offset, behind }))
            }
            S::RollbackPrepared { xid, end_offset } => {
                self.finish(end_offset);
                Step::RollbackPrepared(xid)
            }
            S::LeftOut(left_out) => {
                // CREATE OR REPLACE TABLE … SELECT makes another table of it, too.
                self.schemas.passed(self.track, statement);
                if let Some(end_offset) = left_out.end_offset {
                    self.finish(end_offset);
                }
                Step::LeftOut(left_out)
            }
            S::Statement(statement) => {
                self.schemas.passed(self.track, statement.query.statement);
                self.finish(statement.end_offset);
                Step::Statement
            }
            S::Rotate(next) => {
                let file = String::from_utf8_lossy(next.file).into_owned();
                self.next_file(&file, next.offset);
                Step::Skip
            }
            S::Abandoned { next } => {
                *self.gtid = None;
                if let Some(next) = next {
                    let file = String::from_utf8_lossy(next.file).into_owned();
                    self.next_file(&file, next.offset);
                }
                Step::Abandoned { why: "the log ended inside it: its server stopped".into() }
            }
            S::Skip => Step::Skip,
        })
    }

    fn finish(&mut self, end_offset: u64) {
        let position = &mut self.checkpoint.position;
        if position.file != self.track.file {
            position.file.clone_from(&self.track.file);
        }
        position.offset = end_offset;
        position.gtid = self.gtid.take();
        if let Some(gtid) = &position.gtid {
            self.checkpoint.gtids.insert(gtid);
        }
    }

    /// The log goes on in another file. A stream may begin in an older one than that where we
    /// stand, if the server looks for GTIDs: that is no step back.
    fn next_file(&mut self, file: &str, offset: u64) {
        // Of files the index says what comes next, and when it is there.
        if !matches!(self.settings.origin, super::Origin::Live(_)) {
            return;
        }
        let position = &mut self.checkpoint.position;
        if file_order(&position.file, file).is_lt() {
            position.file = file.to_owned();
            position.offset = offset;
            self.checkpoint.file_created_s = 0;
        }
    }

    /// A table map that is new, or has changed → the table with all that can be known of it.
    fn define(&mut self, map: &TableMap<'_>) -> Result<Table, Failure> {
        let mut table = map.to_table().map_err(|error| {
            Failure::Fatal(SourceError::Decode {
                file: self.track.file.clone(),
                offset: self.track.next,
                kind: EventKind::TableMap.code(),
                table: format!(
                    "{}.{}",
                    String::from_utf8_lossy(map.schema),
                    String::from_utf8_lossy(map.table)
                ),
                error,
            })
        })?;
        let named = table.names != Names::Unknown;
        let mariadb = self.decoder.flavor() == Some(Flavor::Mariadb);
        if named && !(mariadb && leaves_unsaid(&table) && endpoint(self.settings).is_some()) {
            return Ok(table);
        }
        match self.name(&mut table) {
            Ok(()) => Ok(table),
            // The names are the log's own. What is not known stays as it is in the log, and rows that
            // cannot be split without it are an error of their own.
            Err(LookupError::Unprovable(why)) if named => Ok(self.unexplained(table, &why)),
            Err(LookupError::Server(MysqlError::Stopped)) => {
                Err(Failure::Fatal(SourceError::Stopped))
            }
            Err(LookupError::Server(error)) => {
                Err(Failure::Passing(format!("asking for column names: {error}")))
            }
            Err(LookupError::Unprovable(why)) => self.unknown(table, why),
        }
    }

    /// Names the columns, from what is known or from the server.
    fn name(&mut self, table: &mut Table) -> Result<(), LookupError> {
        let unprovable = |why: String| LookupError::Unprovable(why);
        match self.schemas.known(&table.schema, &table.name) {
            Some(Known::Columns(columns)) if complete(table, &columns).is_ok() => return Ok(()),
            Some(Known::Unprovable(why)) => return Err(unprovable(why.to_string())),
            _ => {}
        }
        let Some(endpoint) = endpoint(self.settings) else {
            return Err(unprovable("the log has none, and no server to ask is configured".into()));
        };
        let position = &self.checkpoint.position;
        let here = Track { file: position.file.clone(), next: position.offset };
        let columns = lookup::columns(
            endpoint,
            &position.server,
            (&table.schema, &table.name),
            &here,
            &mut self.schemas.ahead,
            self.stopper,
        )?;
        complete(table, &columns).map_err(|mismatch| unprovable(mismatch.to_string()))?;
        self.schemas.learn(&table.schema, &table.name, Known::Columns(columns.into()));
        Ok(())
    }

    fn unexplained(&mut self, table: Table, why: &str) -> Table {
        let known = self.schemas.known(&table.schema, &table.name);
        if !matches!(known, Some(Known::Unprovable(_))) {
            log::warn!(
                "{}.{}: whether columns are JSON, UUID, INET4, INET6 or VECTOR is not known: {why}",
                table.schema,
                table.name
            );
            self.schemas.learn(&table.schema, &table.name, Known::Unprovable(why.into()));
        }
        table
    }

    fn unknown(&mut self, table: Table, why: String) -> Result<Table, Failure> {
        let name = format!("{}.{}", table.schema, table.name);
        match self.settings.on_unknown_names {
            OnUnknownNames::Stop => Err(Failure::Fatal(SourceError::Names {
                table: name,
                position: format!("{}:{}", self.track.file, self.track.next),
                why,
            })),
            OnUnknownNames::Number => {
                log::warn!("{name} goes on without names: {why}");
                let known = Known::Unprovable(why.into());
                self.schemas.learn(&table.schema, &table.name, known);
                Ok(table)
            }
        }
    }
}

/// The statement that an event is; empty for others.
fn statement<'a>(event: &Event<'a>) -> &'a [u8] {
    match event {
        Event::Query(query) => query.statement,
        _ => &[],
    }
}

/// The type byte of an event.
fn kind(event: &[u8]) -> u8 {
    event.get(4).copied().unwrap_or_default()
}

/// Whom to ask for names.
fn endpoint(settings: &Settings) -> Option<&Endpoint> {
    match &settings.origin {
        Origin::Live(live) => Some(&live.endpoint),
        Origin::Files { names, .. } => names.as_ref(),
    }
}
