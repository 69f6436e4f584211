//! SHELL: a server's binlog, from its files or over the network → transactions.
//!
//! ```text
//!  Files ─┐                                   ┌── columns from information_schema, if need be
//!         ├─► events ─► Decoder ─► Assembler ─┴─► Step: begin, rows, …, commit
//!  Live  ─┘                                        │
//!    ▲                                             ▼
//!    └────────── reads again from ◄──────── Checkpoint: only behind whole transactions
//! ```
//!
//! One door for both. What mends itself is mended here (a lost connection, a file that shrank): the
//! caller sees [`Step::Abandoned`], drops the transaction that was open, and gets it again from its
//! beginning. What cannot be mended is a [`SourceError`] that says where and why; after one the
//! checkpoint still stands.
//!
//! # Identity
//!
//! A live server is `mysql:<server_uuid>` or `mariadb:<server_id>`. Files are
//! `mysql:<server_uuid>` if an `auto.cnf` stands beside them, else what the settings say, else
//! `mysql:server_id=<n>` or `mariadb:<server_id>` from the first event.

pub mod check;
pub mod columns;
pub mod error;
mod files;
mod live;
mod lookup;
mod opening;
mod reading;
mod schema;
mod track;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::binlog::compressed::Room;
use crate::binlog::decoder::Decoder;
use crate::binlog::frame::Part;
use crate::binlog::payload::Payload;
use crate::binlog::rows::RowsEvent;
use crate::binlog::table::Table;
use crate::binlog::transaction::Assembler;
use crate::mysql::connection::Endpoint;
use crate::position::{Checkpoint, Gtid, Position};

pub use crate::binlog::transaction::{Begin, LeftOut, OnStatement};
pub use crate::binlog::xid::Xid;
pub use crate::mysql::channel::Stopper;
pub use error::SourceError;
pub use files::FilesSettings;
pub use live::{LiveSettings, ServerInfo};
pub use track::FIRST_EVENT;

use files::{Files, Fill};
use live::{Heard, Live, Opened};
use opening::open_files;
use reading::{Failure, Reading};
use schema::Schemas;
use track::Track;

/// What to read, and how.
#[derive(Clone)]
pub struct Settings {
    /// From where.
    pub origin: Origin,
    /// Where to begin if there is no checkpoint.
    pub start: Start,
    /// What to do with a table whose names cannot be proven.
    pub on_unknown_names: OnUnknownNames,
    /// What to do with a change that was logged as a statement.
    pub on_statement: OnStatement,
    /// The largest event that is accepted, bytes.
    pub event_bytes_max: u32,
}

/// From where.
#[derive(Clone)]
pub enum Origin {
    /// Files of this machine.
    Files {
        /// Which.
        files: FilesSettings,
        /// Their server, if names may be asked of it.
        names: Option<Endpoint>,
    },
    /// A server.
    Live(LiveSettings),
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// With the oldest event that is there.
    Earliest,
    /// With what comes next.
    Latest,
}

/// What to do with a table whose names cannot be proven.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnUnknownNames {
    /// Stop with an error that says why.
    Stop,
    /// Go on with `@1`, `@2`, …, marked by [`Names::Unknown`](crate::binlog::table::Names::Unknown).
    Number,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// A transaction begins.
    Begin(Begin),
    /// Rows of the open transaction.
    Rows(Rows<'a>),
    /// A savepoint, by its name in lower case.
    Savepoint(Vec<u8>),
    /// All rows behind that savepoint are undone.
    RollbackTo(Vec<u8>),
    /// The open transaction is committed; the checkpoint stands behind it.
    Commit,
    /// The open transaction is undone; the checkpoint stands behind it.
    Rollback,
    /// The rows of the open transaction wait, under this name, for [`Step::CommitPrepared`]; the
    /// checkpoint stands behind them.
    Prepare(Xid),
    /// A prepared transaction is committed. The checkpoint stands before it until [`Source::pass`], for its
    /// rows are still to be found.
    CommitPrepared(Box<CommitPrepared>),
    /// A prepared transaction is rolled back; the checkpoint stands behind it.
    RollbackPrepared(Xid),
    /// A change that was logged as a statement is left out; outside a transaction, the checkpoint
    /// stands behind it.
    LeftOut(LeftOut),
    /// A statement without rows; the checkpoint stands behind it.
    Statement,
    /// Drop the open transaction, if there is one: it comes again, or never was committed.
    Abandoned {
        /// Why.
        why: String,
    },
    /// The server is there, and has nothing new.
    Heartbeat,
    /// An event that means nothing for the caller: call again.
    Skip,
    /// The files end here, and are not followed.
    End,
}

/// The commit of a prepared transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitPrepared {
    /// Its name.
    pub xid: Xid,
    /// The commit as a transaction of its own.
    pub begin: Begin,
    /// Where the commit's event starts: the place of all of its rows.
    pub offset: u64,
    /// The checkpoint behind it, for [`Source::pass`].
    pub behind: Checkpoint,
}

/// Rows and their table.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<'a> {
    /// As it was when they were written; the same `Arc` as long as it is the same.
    pub table: Arc<Table>,
    /// The rows.
    pub rows: RowsEvent<'a>,
    /// Where the event starts in the file.
    pub offset: u64,
    /// When the statement began, Unix seconds.
    pub timestamp_s: u32,
    /// The server that first wrote it.
    pub server_id: u32,
    /// The session, if the log says so.
    pub thread: Option<u32>,
}

/// How it stands, for telemetry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// A stream is open, or a file.
    pub connected: bool,
    /// The server that answered last.
    pub info: Option<ServerInfo>,
    /// What is tried to be mended right now.
    pub trouble: Option<String>,
    /// The last event's time, Unix seconds; 0 before the first.
    pub last_event_s: u32,
    /// How long ago that was, seconds; 0 if the server says that there is no more.
    pub behind_s: u64,
    /// The file that is read.
    pub file: String,
    /// Where in it.
    pub offset: u64,
}

enum Input {
    Files(Box<Files>),
    Live(Box<Live>),
}

/// A server's log, read in order.
pub struct Source {
    settings: Settings,
    input: Input,
    stopper: Stopper,
    decoder: Decoder,
    /// The compressed transaction that is being taken apart, and room for other compressed events.
    payload: Payload,
    room: Room,
    assembler: Assembler,
    schemas: Schemas,
    track: Track,
    /// `None` before a first stream has begun.
    checkpoint: Option<Checkpoint>,
    /// What is shown as long as there is none.
    none: Checkpoint,
    /// The open transaction's.
    gtid: Option<Gtid>,
    /// Reading has to start over at the checkpoint, before anything else, for this reason.
    restart: Option<String>,
    /// Checksums that failed in a row at one checkpoint.
    damaged: u32,
    info: Option<ServerInfo>,
    last_event_s: u32,
    caught_up: bool,
    /// Events of the log that were taken since somebody asked.
    taken: u64,
}

/// So often bytes may come damaged over a link before it is believed that the log itself is.
const DAMAGED_MAX: u32 = 5;

impl Source {
    /// Opens files at once; a server is dialled by the first [`Source::next`]. `stopper` ends a
    /// `next` that waits, from another thread, and all later ones.
    ///
    /// # Errors
    /// Files that are not there, or not those of the checkpoint.
    pub fn open(
        settings: Settings,
        resume: Option<Checkpoint>,
        stopper: Stopper,
    ) -> Result<Self, SourceError> {
        let mut decoder = Decoder::new();
        let (mut checkpoint, mut track) = (resume, Track::default());
        let input = match &settings.origin {
            Origin::Live(live) => Input::Live(Box::new(Live::new(live.clone(), &stopper))),
            Origin::Files { .. } => {
                let (files, at) = open_files(&settings, checkpoint, &stopper, &mut decoder)?;
                track = Track { file: files.name.clone(), next: at.position.offset };
                checkpoint = Some(at);
                Input::Files(Box::new(files))
            }
        };
        let limit = settings.event_bytes_max;
        let mut assembler = Assembler::with(settings.on_statement);
        decoder.format().inspect(|format| assembler.written_by(format));
        Ok(Self {
            settings,
            input,
            stopper,
            decoder,
            payload: Payload::new().with_event_bytes_max(limit),
            room: Room::new().with_event_bytes_max(limit),
            assembler,
            schemas: Schemas::default(),
            track,
            checkpoint,
            none: Checkpoint::default(),
            gtid: None,
            restart: None,
            damaged: 0,
            info: None,
            last_event_s: 0,
            caught_up: false,
            taken: 0,
        })
    }

    /// The next step; `None` if there is none until `deadline`.
    ///
    /// Reads what is at hand even if the deadline has passed. Dialling a server and asking it for
    /// names may take longer than the deadline, each within the endpoint's own limits.
    ///
    /// # Errors
    /// What cannot be mended. Calling again after an error starts over at the checkpoint.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<Step<'_>>, SourceError> {
        if self.stopper.stopped() {
            return Err(SourceError::Stopped);
        }
        if let Some(why) = self.restart.take() {
            self.start_over(why)?;
        }
        let advanced = self.payload.advance();
        if matches!(advanced, Ok(false)) {
            match self.wait(deadline)? {
                Waited::Event => {}
                Waited::Step(step) => return Ok(Some(step)),
                Waited::Nothing => return Ok(None),
            }
        }
        let live = matches!(self.input, Input::Live(_));
        let (bytes, offset, part) = match &mut self.input {
            _ if !matches!(advanced, Ok(false)) => (&[][..], None, Part::Whole),
            Input::Live(live) => (live.event(), None, live.part()),
            Input::Files(files) => match files.framer.next() {
                Ok(Some(frame)) => (frame.bytes, Some(frame.offset), frame.part),
                Ok(None) => {
                    files.dry = true;
                    return Ok(Some(Step::Skip));
                }
                Err(error) => {
                    self.restart = Some(error.to_string());
                    return Err(SourceError::Frame { file: files.name.clone(), error });
                }
            },
        };
        // What is in a compressed transaction is one event of the log.
        self.taken += u64::from(matches!(advanced, Ok(false)) && part != Part::Rest);
        // Until its checksum has been verified, damage to it may look like anything.
        let unverified = self.payload.is_open() || part != Part::Whole;
        let reading = Reading {
            settings: &self.settings,
            stopper: &self.stopper,
            decoder: &mut self.decoder,
            assembler: &mut self.assembler,
            schemas: &mut self.schemas,
            track: &mut self.track,
            checkpoint: self.checkpoint.get_or_insert_default(),
            gtid: &mut self.gtid,
            last_event_s: &mut self.last_event_s,
        };
        let result = match (advanced, part) {
            (Err(error), _) => Err(reading.torn(&self.payload, error)),
            (Ok(true), _) => match self.payload.event() {
                Some(inner) => reading.read_inner(&inner),
                None => Ok(Step::Skip),
            },
            (Ok(false), Part::Whole) => match self.payload.expect_closed() {
                Ok(()) => reading.read(bytes, offset, &mut self.room),
                Err(error) => Err(reading.torn(&self.payload, error)),
            },
            (Ok(false), Part::Head) => reading.begin_payload(&mut self.payload, bytes, offset),
            (Ok(false), Part::Rest) => match self.payload.push(bytes) {
                Ok(()) => Ok(Step::Skip),
                Err(error) => Err(reading.torn(&self.payload, error)),
            },
        };
        match result {
            Ok(step) => {
                self.caught_up = matches!(step, Step::Heartbeat);
                if matches!(
                    step,
                    Step::Commit | Step::Prepare(_) | Step::Statement | Step::Heartbeat
                ) {
                    self.damaged = 0;
                }
                Ok(Some(step))
            }
            Err(Failure::Passing(why)) if live => {
                self.restart = Some(why.clone());
                Ok(Some(Step::Abandoned { why }))
            }
            Err(failure)
                if live && self.damaged < DAMAGED_MAX && failure.may_be_damage(unverified) =>
            {
                self.damaged += 1;
                let why = SourceError::from(failure).to_string();
                self.restart = Some(why.clone());
                Ok(Some(Step::Abandoned { why }))
            }
            Err(failure) => {
                let error = SourceError::from(failure);
                self.restart = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// A [`Step::CommitPrepared`] is done: reading goes on behind it.
    pub fn pass(&mut self, behind: Checkpoint) {
        self.checkpoint = Some(behind);
    }

    /// Events of the log that were taken since this was called the last time, of whatever kind; one that is
    /// read again counts again.
    pub fn take_events(&mut self) -> u64 {
        std::mem::take(&mut self.taken)
    }

    /// Whether more is at hand, or on its way, without waiting.
    fn ready(&self) -> bool {
        self.restart.is_none()
            && match &self.input {
                Input::Live(live) => live.pending(),
                Input::Files(files) => !files.dry,
            }
    }

    /// The same, and of a file it is looked whether there is more in it by now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn has_more(&mut self) -> Result<bool, SourceError> {
        if let Input::Files(files) = &mut self.input
            && files.dry
            && self.restart.is_none()
        {
            files.fill_once()?;
        }
        Ok(self.ready())
    }

    /// Where reading would go on: behind the last whole transaction or statement. Without a file's
    /// name before a first stream has begun.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.checkpoint.as_ref().unwrap_or(&self.none)
    }

    /// The file that is read, without its folder.
    pub fn file(&self) -> &str {
        &self.track.file
    }

    /// Whether a stream or a file is open and nothing is being mended.
    pub fn is_well(&self) -> bool {
        self.restart.is_none()
            && match &self.input {
                Input::Files(_) => true,
                Input::Live(live) => live.connected() && live.trouble.is_none(),
            }
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let (connected, trouble) = match &self.input {
            Input::Files(_) => (true, self.restart.clone()),
            Input::Live(live) => (live.connected(), live.trouble.clone().or(self.restart.clone())),
        };
        let now_s =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let behind_s = match self.last_event_s {
            0 => 0,
            // A heartbeat also tells of what was left out: it is the end only if nothing follows.
            _ if self.caught_up && !self.ready() => 0,
            last => now_s.saturating_sub(last.into()),
        };
        Status {
            connected,
            info: self.info.clone(),
            trouble,
            last_event_s: self.last_event_s,
            behind_s,
            file: self.track.file.clone(),
            offset: self.track.next,
        }
    }

    /// Waits until there is an event, or something else to say.
    fn wait(&mut self, deadline: Instant) -> Result<Waited, SourceError> {
        match &mut self.input {
            Input::Files(files) if !files.dry => Ok(Waited::Event),
            Input::Files(files) => {
                let fill = files.fill(deadline)?;
                self.filled(fill)
            }
            Input::Live(live) => {
                match live.poll(deadline, self.checkpoint.as_ref(), self.settings.start)? {
                    Heard::Event => Ok(Waited::Event),
                    Heard::Idle => Ok(Waited::Nothing),
                    Heard::Opened(opened) => {
                        self.opened(*opened)?;
                        Ok(Waited::Step(Step::Skip))
                    }
                    Heard::Lost(why) => {
                        self.restart = Some(why.clone());
                        Ok(Waited::Step(Step::Abandoned { why }))
                    }
                }
            }
        }
    }

    fn filled(&mut self, fill: Fill) -> Result<Waited, SourceError> {
        Ok(match fill {
            Fill::More => Waited::Event,
            Fill::Idle => {
                self.caught_up = true;
                Waited::Nothing
            }
            Fill::End => Waited::Step(Step::End),
            Fill::Shrunk => {
                let why = "the file lost bytes that were read already".to_owned();
                self.restart = Some(why.clone());
                Waited::Step(Step::Abandoned { why })
            }
            Fill::NextFile => {
                let torn = self.assembler.is_inside() || self.payload.is_open();
                self.payload.abandon();
                self.assembler = Assembler::with(self.settings.on_statement);
                self.gtid = None;
                if let Input::Files(files) = &self.input {
                    self.track = Track { file: files.name.clone(), next: FIRST_EVENT };
                }
                if let Some(checkpoint) = &mut self.checkpoint {
                    checkpoint.position.file.clone_from(&self.track.file);
                    checkpoint.position.offset = FIRST_EVENT;
                    checkpoint.file_created_s = 0;
                }
                let why = "the file ended inside it, and another one follows".to_owned();
                Waited::Step(if torn { Step::Abandoned { why } } else { Step::Skip })
            }
        })
    }

    /// A stream begins.
    fn opened(&mut self, opened: Opened) -> Result<(), SourceError> {
        let Opened { info, place, gtids } = opened;
        let version = info.version.strip_prefix("5.5.5-").unwrap_or(&info.version);
        log::info!("reading {} ({version})", info.server);
        let checkpoint = self.checkpoint.get_or_insert_with(|| Checkpoint {
            position: Position { server: info.server.clone(), ..Position::default() },
            gtids,
            file_created_s: 0,
        });
        if checkpoint.position.server != info.server {
            // By GTIDs; its own files begin to count now.
            let gtid = checkpoint.position.gtid.take();
            checkpoint.position =
                Position { server: info.server.clone(), gtid, ..Position::default() };
            checkpoint.file_created_s = 0;
        }
        if let Some((file, offset)) = place {
            checkpoint.position.file = file;
            checkpoint.position.offset = offset;
        }
        self.track =
            Track { file: checkpoint.position.file.clone(), next: checkpoint.position.offset };
        self.info = Some(info);
        Ok(())
    }

    /// Reads from the checkpoint again.
    fn start_over(&mut self, why: String) -> Result<(), SourceError> {
        self.decoder = Decoder::new();
        self.schemas.try_again();
        self.payload.abandon();
        self.assembler = Assembler::with(self.settings.on_statement);
        self.gtid = None;
        self.caught_up = false;
        match &mut self.input {
            Input::Live(live) => live.lose(why),
            Input::Files(files) => {
                log::warn!("{why}; reading from the checkpoint again");
                let resume = self.checkpoint.clone();
                let opened = open_files(&self.settings, resume, &self.stopper, &mut self.decoder);
                let (again, at) = opened.inspect_err(|error| {
                    self.restart = Some(error.to_string());
                })?;
                self.decoder.format().inspect(|format| self.assembler.written_by(format));
                **files = again;
                self.track = Track { file: files.name.clone(), next: at.position.offset };
            }
        }
        Ok(())
    }
}

/// What [`Source::wait`] found.
enum Waited {
    Event,
    Step(Step<'static>),
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;

    pub(super) const BEGIN: &[u8] = b"BEGIN";

    /// Writes a binlog by hand: MySQL 5.5's layout without checksums and GTIDs.
    pub(super) struct Log(pub(super) Vec<u8>);

    impl Log {
        pub(super) fn new() -> Self {
            let mut log = Self(b"\xfebin".to_vec());
            let mut body = vec![4, 0];
            body.extend_from_slice(b"5.5.1");
            body.resize(2 + 50 + 4, 0);
            body.push(19);
            // Lengths of the fixed parts of event types 1 to 27.
            body.extend_from_slice(&[
                56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 84, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2,
                0,
            ]);
            log.event(15, &body);
            log
        }

        pub(super) fn event(&mut self, kind: u8, body: &[u8]) -> &mut Self {
            let length = (19 + body.len()) as u32;
            let end = self.0.len() as u32 + length;
            self.0.extend_from_slice(&1_600_000_000u32.to_le_bytes());
            self.0.push(kind);
            self.0.extend_from_slice(&7u32.to_le_bytes());
            self.0.extend_from_slice(&length.to_le_bytes());
            self.0.extend_from_slice(&end.to_le_bytes());
            self.0.extend_from_slice(&[0, 0]);
            self.0.extend_from_slice(body);
            self
        }

        pub(super) fn query(&mut self, statement: &[u8]) -> &mut Self {
            let mut body = vec![0; 13];
            body.push(0);
            body.extend_from_slice(statement);
            self.event(2, &body)
        }

        /// `d`.`t` (a INT) gets a row.
        pub(super) fn row(&mut self, value: i32) -> &mut Self {
            self.event(19, b"\x09\0\0\0\0\0\x01\0\x01d\0\x01t\0\x01\x03\0\0");
            let mut body = b"\x09\0\0\0\0\0\x01\0\x01\xff\xfe".to_vec();
            body.extend_from_slice(&value.to_le_bytes());
            self.event(23, &body)
        }

        pub(super) fn commit(&mut self) -> &mut Self {
            self.event(16, &[0; 8])
        }

        pub(super) fn write(&self, folder: &Path, name: &str) {
            std::fs::write(folder.join(name), &self.0).unwrap();
            let index = folder.join("binlog.index");
            let mut index = OpenOptions::new().create(true).append(true).open(index).unwrap();
            writeln!(index, "./{name}").unwrap();
        }
    }

    pub(super) fn settings(path: &Path, follow: bool) -> Settings {
        let files = FilesSettings { path: path.to_owned(), follow, identity: None };
        Settings {
            origin: Origin::Files { files, names: None },
            start: Start::Earliest,
            on_statement: OnStatement::Stop,
            on_unknown_names: OnUnknownNames::Number,
            event_bytes_max: 1 << 20,
        }
    }

    /// The steps until there is nothing more: `b`egin, `r`ows, `c`ommit, `a`bandoned, `s`tatement.
    pub(super) fn story(source: &mut Source) -> String {
        let mut story = String::new();
        loop {
            let deadline = Instant::now() + Duration::from_millis(30);
            match source.next(deadline).unwrap() {
                Some(Step::Begin(_)) => story.push('b'),
                Some(Step::Rows(_)) => story.push('r'),
                Some(Step::Commit) => story.push('c'),
                Some(Step::Abandoned { .. }) => story.push('a'),
                Some(Step::Statement) => story.push('s'),
                Some(Step::End) | None => return story,
                Some(_) => {}
            }
        }
    }

    pub(super) fn open(
        settings: Settings,
        resume: Option<Checkpoint>,
    ) -> Result<Source, SourceError> {
        Source::open(settings, resume, Stopper::default())
    }

    #[test]
    fn a_folder_is_read_through_its_index_and_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Log::new();
        first.query(BEGIN).row(1).commit().event(4, b"\x04\0\0\0\0\0\0\0binlog.000002");
        first.write(folder.path(), "binlog.000001");
        Log::new().query(BEGIN).row(2).row(3).commit().write(folder.path(), "binlog.000002");
        std::fs::write(folder.path().join("binlog.000003"), b"not in the index").unwrap();
        let mut source = open(settings(folder.path(), false), None).unwrap();
        assert_eq!(story(&mut source), "brcbrrc");
        let at = source.checkpoint().clone();
        assert_eq!(at.position.server.0, "mysql:server_id=7");
        assert_eq!(at.position.file, "binlog.000002");
        let mut source = open(settings(folder.path(), false), Some(at)).unwrap();
        assert_eq!(story(&mut source), "");
    }

    #[test]
    fn a_file_that_names_the_next_is_resumed_where_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new();
        log.query(BEGIN).row(1).commit().event(4, b"\x04\0\0\0\0\0\0\0binlog.000002");
        log.write(folder.path(), "binlog.000001");
        for path in [folder.path().to_owned(), folder.path().join("binlog.000001")] {
            let mut source = open(settings(&path, false), None).unwrap();
            assert_eq!(story(&mut source), "brc");
            let at = source.checkpoint().clone();
            assert_eq!(at.position.file, "binlog.000001");
            let mut source = open(settings(&path, false), Some(at)).unwrap();
            assert_eq!(story(&mut source), "");
        }
    }

    #[test]
    fn a_torn_transaction_is_dropped_when_another_file_follows() {
        let folder = tempfile::tempdir().unwrap();
        let mut torn = Log::new();
        torn.query(BEGIN).row(1).commit();
        let whole = torn.0.len() as u64;
        torn.query(BEGIN).row(2);
        torn.0.truncate(torn.0.len() - 3);
        torn.write(folder.path(), "binlog.000001");
        let mut source = open(settings(folder.path(), true), None).unwrap();
        assert_eq!(story(&mut source), "brcb");
        assert_eq!(source.checkpoint().position.offset, whole);
        Log::new().query(BEGIN).row(3).commit().write(folder.path(), "binlog.000002");
        assert_eq!(story(&mut source), "abrc");
        assert_eq!(source.checkpoint().position.file, "binlog.000002");
    }

    #[test]
    fn a_growing_file_is_followed_and_a_shrunken_one_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000001");
        let mut log = Log::new();
        log.query(BEGIN).row(1).commit();
        let whole = log.0.len();
        log.query(BEGIN).row(2);
        std::fs::write(&path, &log.0).unwrap();
        let mut source = open(settings(&path, true), None).unwrap();
        assert_eq!(story(&mut source), "brcbr");
        // As MySQL does after a crash; what it writes next may be something else.
        log.0.truncate(whole);
        std::fs::write(&path, &log.0).unwrap();
        assert_eq!(story(&mut source), "a");
        log.query(b"CREATE TABLE x (a INT)");
        std::fs::write(&path, &log.0).unwrap();
        assert_eq!(story(&mut source), "s");
    }

    #[test]
    fn a_purged_file_a_foreign_server_and_a_short_file_are_told() {
        let folder = tempfile::tempdir().unwrap();
        Log::new().query(BEGIN).row(1).commit().write(folder.path(), "binlog.000002");
        let position = Position {
            server: crate::position::ServerId("mysql:server_id=7".into()),
            file: "binlog.000002".into(),
            offset: 4,
            gtid: None,
        };
        let open = |position: Position| {
            let at = Checkpoint { position, ..Checkpoint::default() };
            open(settings(folder.path(), false), Some(at)).err()
        };
        assert!(open(position.clone()).is_none());
        let purged = Position { file: "binlog.000001".into(), ..position.clone() };
        assert!(matches!(open(purged), Some(SourceError::FilePurged { .. })));
        let short = Position { offset: 99_999, ..position.clone() };
        assert!(matches!(open(short), Some(SourceError::History { .. })));
        let server = crate::position::ServerId("mariadb:9".into());
        let foreign = open(Position { server, ..position });
        assert!(matches!(foreign, Some(SourceError::ForeignServer { .. })));
    }

    #[test]
    fn unknown_names_stop_if_they_shall() {
        let folder = tempfile::tempdir().unwrap();
        Log::new().query(BEGIN).row(1).commit().write(folder.path(), "binlog.000001");
        let strict =
            Settings { on_unknown_names: OnUnknownNames::Stop, ..settings(folder.path(), false) };
        let mut source = open(strict, None).unwrap();
        let deadline = Instant::now();
        let error = loop {
            match source.next(deadline) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("d.t"), "{error}");
        assert_eq!(source.checkpoint().position.offset, 4);
    }

    #[test]
    fn a_statement_that_is_left_out_may_still_have_altered_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new();
        log.query(b"INSERT INTO t VALUES (1)").query(b"CREATE OR REPLACE TABLE t SELECT 1 AS x");
        log.write(folder.path(), "binlog.000001");
        let lenient =
            Settings { on_statement: OnStatement::LeaveOut, ..settings(folder.path(), false) };
        let mut source = open(lenient, None).unwrap();
        for (schema, table) in [("d", "t"), ("d", "other")] {
            source.schemas.learn(schema, table, schema::Known::Columns([].into()));
        }
        assert_eq!(story(&mut source), "");
        assert!(source.schemas.known("d", "t").is_none());
        assert!(source.schemas.known("d", "other").is_some());
    }

    #[test]
    fn latest_begins_behind_the_last_whole_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new();
        log.query(BEGIN).row(1).commit().query(BEGIN).row(2);
        log.write(folder.path(), "binlog.000001");
        let latest = Settings { start: Start::Latest, ..settings(folder.path(), true) };
        let mut source = open(latest, None).unwrap();
        assert_eq!(story(&mut source), "br");
    }

    #[test]
    fn a_stopper_ends_the_waiting() {
        let folder = tempfile::tempdir().unwrap();
        Log::new().write(folder.path(), "binlog.000001");
        let stopper = Stopper::default();
        let settings = settings(folder.path(), true);
        let mut source = Source::open(settings, None, stopper.clone()).unwrap();
        stopper.stop();
        let later = Instant::now() + Duration::from_secs(60);
        assert!(matches!(source.next(later), Err(SourceError::Stopped)));
    }
}

#[cfg(test)]
mod payload_tests;
