//! SHELL: a live server's stream: where it starts, that it stays alive, and when it is tried again.
//!
//! | what is stored | MySQL, gtid_mode=ON | MariaDB | else |
//! |---|---|---|---|
//! | nothing | file and offset of the first or the last log | likewise | likewise |
//! | a set of GTIDs | COM_BINLOG_DUMP_GTID, after a look at gtid_purged | `@slave_connect_state` | - |
//! | file and offset | if the server is the same | if the server is the same | if the server is the same |
//!
//! A lost connection, a silent server, a refused login are tried again, with pauses that grow from
//! 0.1 s to 30 s by chance (decorrelated jitter), so that many agents do not come back as one.

use std::time::{Duration, Instant};

use super::error::SourceError;
use super::{Start, track::FIRST_EVENT};
use crate::binlog::format::Flavor;
use crate::binlog::frame::Part;
use crate::mysql::channel::Stopper;
use crate::mysql::connection::{Connection, Endpoint, Stream};
use crate::mysql::dump::{Dump, replica_uuid};
use crate::mysql::error::{Cause, MysqlError};
use crate::position::{Checkpoint, GtidSet, Position, ServerId, file_order};

/// A server, and how it is read.
#[derive(Clone)]
pub struct LiveSettings {
    /// Where and who.
    pub endpoint: Endpoint,
    /// Our id among the server's replicas: unique, not 0, not the server's own.
    pub server_id: u32,
    /// How often the server shall say that it is there. Default 15 s.
    pub heartbeat: Duration,
}

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Before trying again what somebody has to mend.
const PAUSE_SLOW: Duration = Duration::from_secs(10);
/// A stream that lived so long was a good one: its loss is a first one again.
const LIVED: Duration = Duration::from_secs(60);
/// What a server is given beyond two heartbeats.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the server waits for us while our buffer is full, before it ends the stream.
const NET_WRITE_TIMEOUT_S: u32 = 600;

/// What is known of the server that answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerInfo {
    /// Its identity.
    pub server: ServerId,
    /// Its version as it says it.
    pub version: String,
    /// Whose it is.
    pub flavor: Flavor,
}

/// A stream that has just begun, and from where.
pub(super) struct Opened {
    pub(super) info: ServerInfo,
    /// File and offset if that is how it was asked for.
    pub(super) place: Option<(String, u64)>,
    /// For a first start: what the server had by then.
    pub(super) gtids: GtidSet,
}

/// What came of waiting for the server.
pub(super) enum Heard {
    Event,
    Idle,
    Opened(Box<Opened>),
    Lost(String),
}

pub(super) struct Live {
    pub(super) settings: LiveSettings,
    stopper: Stopper,
    stream: Option<Stream>,
    retry_at: Instant,
    pause: Duration,
    /// The next pause is at least this.
    pause_floor: Duration,
    heard_at: Instant,
    /// Bytes that the stream had received by then.
    heard: u64,
    opened_at: Instant,
    pub(super) trouble: Option<String>,
}

impl Live {
    pub(super) fn new(settings: LiveSettings, stopper: &Stopper) -> Self {
        let now = Instant::now();
        Self {
            settings,
            stopper: stopper.clone(),
            stream: None,
            retry_at: now,
            pause: PAUSE_MIN,
            pause_floor: PAUSE_MIN,
            heard_at: now,
            heard: 0,
            opened_at: now,
            trouble: None,
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn pending(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::pending)
    }

    pub(super) fn event(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], Stream::event)
    }

    /// Which part of an event that is.
    pub(super) fn part(&self) -> Part {
        self.stream.as_ref().map_or(Part::Whole, Stream::part)
    }

    /// Drops the stream; it is opened again after a pause.
    pub(super) fn lose(&mut self, why: String) {
        log::warn!("source {}: {why}", self.settings.endpoint.address);
        if self.stream.take().is_some() && self.opened_at.elapsed() > LIVED {
            self.pause = PAUSE_MIN;
        }
        self.trouble = Some(why);
        let millis = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let upper = millis(self.pause).saturating_mul(3).max(millis(PAUSE_MIN) + 1);
        let pause = Duration::from_millis(fastrand::u64(
            millis(self.pause_floor)..upper.max(millis(self.pause_floor) + 1),
        ));
        self.pause = pause.min(PAUSE_MAX);
        self.pause_floor = PAUSE_MIN;
        self.retry_at = Instant::now() + self.pause;
    }

    /// Waits until then for an event; opens the stream if there is none.
    pub(super) fn poll(
        &mut self,
        deadline: Instant,
        resume: Option<&Checkpoint>,
        start: Start,
    ) -> Result<Heard, SourceError> {
        if self.stopper.stopped() {
            return Err(SourceError::Stopped);
        }
        let Some(stream) = &mut self.stream else { return self.reopen(deadline, resume, start) };
        let silent_at = self.heard_at + self.settings.heartbeat * 2 + MARGIN;
        let polled = stream.poll(deadline.min(silent_at));
        // A large event may take longer than two heartbeats to come, and none comes meanwhile.
        if stream.received() != self.heard || matches!(polled, Ok(true)) {
            self.heard = stream.received();
            self.heard_at = Instant::now();
        }
        let silent_at = self.heard_at + self.settings.heartbeat * 2 + MARGIN;
        match polled {
            Ok(true) => Ok(Heard::Event),
            Ok(false) if Instant::now() >= silent_at => {
                Ok(Heard::Lost("the server has been silent for more than two heartbeats".into()))
            }
            Ok(false) => Ok(Heard::Idle),
            Err(error) => self.judge(error).map(|error| Heard::Lost(error.to_string())),
        }
    }

    fn reopen(
        &mut self,
        deadline: Instant,
        resume: Option<&Checkpoint>,
        start: Start,
    ) -> Result<Heard, SourceError> {
        self.stopper.sleep_until(deadline.min(self.retry_at));
        if Instant::now() < self.retry_at {
            return Ok(Heard::Idle);
        }
        match self.open(resume, start) {
            Ok((stream, opened)) => {
                self.stream = Some(stream);
                self.heard_at = Instant::now();
                self.opened_at = self.heard_at;
                self.trouble = None;
                Ok(Heard::Opened(Box::new(opened)))
            }
            Err(SourceError::Server(error)) => {
                let error = self.judge(error)?;
                self.lose(error.to_string());
                Ok(Heard::Idle)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether it may pass: then it is given back, and decides how long to wait.
    fn judge(&mut self, error: MysqlError) -> Result<MysqlError, SourceError> {
        let cause = match &error {
            MysqlError::Stopped => return Err(SourceError::Stopped),
            MysqlError::OffsetTooLarge(_) => return Err(SourceError::Server(error)),
            MysqlError::Server(error) | MysqlError::MayNotReplicate(error) => error.cause(),
            _ => Cause::Other,
        };
        if !cause.may_pass() {
            return Err(SourceError::Server(error));
        }
        // Somebody has to do something about these, and another reader with our id would be ended
        // by us as often as we come back.
        if matches!(cause, Cause::Login | Cause::Privilege | Cause::Duplicate) {
            self.pause_floor = PAUSE_SLOW;
        }
        Ok(error)
    }

    fn open(
        &self,
        resume: Option<&Checkpoint>,
        start: Start,
    ) -> Result<(Stream, Opened), SourceError> {
        let mut connection = Connection::open(&self.settings.endpoint, &self.stopper)?;
        check_settings(&mut connection)?;
        let info = ServerInfo {
            server: identity(&mut connection)?,
            version: connection.version().to_owned(),
            flavor: connection.flavor(),
        };
        prepare_session(&mut connection)?;
        prepare_replica(&mut connection, &self.settings)?;
        let Some(resume) = resume else { return self.first(connection, info, start) };
        let same = resume.position.server == info.server;
        if same {
            check_history(&mut connection, &resume.position)?;
        }
        let by_gtid = match info.flavor {
            Flavor::Mysql => {
                !resume.gtids.mysql.is_empty()
                    && connection.global("gtid_mode")?.as_deref() == Some("ON")
            }
            Flavor::Mariadb => !resume.gtids.mariadb.is_empty(),
        };
        if by_gtid {
            let stream = self.by_gtid(connection, &info, &resume.gtids)?;
            return Ok((stream, Opened { info, place: None, gtids: GtidSet::default() }));
        }
        if !same {
            return Err(SourceError::ForeignServer {
                wanted: resume.position.server.0.clone(),
                found: info.server.0,
            });
        }
        let place = (resume.position.file.clone(), resume.position.offset);
        self.by_place(connection, info, place, GtidSet::default())
    }

    fn first(
        &self,
        mut connection: Connection,
        info: ServerInfo,
        start: Start,
    ) -> Result<(Stream, Opened), SourceError> {
        let (place, gtids) = match start {
            Start::Earliest => {
                let logs = connection.query("SHOW BINARY LOGS")?;
                let file = logs.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
                ((file.ok_or_else(no_log)?, FIRST_EVENT), GtidSet::default())
            }
            Start::Latest => latest(&mut connection)?,
        };
        self.by_place(connection, info, place, gtids)
    }

    fn by_place(
        &self,
        connection: Connection,
        info: ServerInfo,
        (file, offset): (String, u64),
        gtids: GtidSet,
    ) -> Result<(Stream, Opened), SourceError> {
        let low = u32::try_from(offset).map_err(|_| MysqlError::OffsetTooLarge(offset))?;
        let dump = Dump::File { name: &file, offset: low, wait: true };
        let stream = connection.dump(self.settings.server_id, &dump)?;
        Ok((stream, Opened { info, place: Some((file, offset)), gtids }))
    }

    fn by_gtid(
        &self,
        mut connection: Connection,
        info: &ServerInfo,
        gtids: &GtidSet,
    ) -> Result<Stream, SourceError> {
        let server_id = self.settings.server_id;
        if info.flavor == Flavor::Mariadb {
            // The set's text has digits, dashes and commas only.
            connection.query(&format!(
                "SET @slave_connect_state = '{gtids}', @slave_gtid_strict_mode = 1, \
                 @slave_gtid_ignore_duplicates = 0"
            ))?;
            let dump = Dump::File { name: "", offset: FIRST_EVENT as u32, wait: true };
            return Ok(connection.dump(server_id, &dump)?);
        }
        let difference = |a: &str, b: &str| format!("SELECT GTID_SUBTRACT({a}, {b})");
        let ours = format!("'{gtids}'");
        let missing = connection.value(&difference("@@GLOBAL.gtid_purged", &ours))?;
        if let Some(missing) = missing.filter(|missing| !missing.is_empty()) {
            return Err(SourceError::Purged { missing });
        }
        let unknown = connection.value(&difference(&ours, "@@GLOBAL.gtid_executed"))?;
        if let Some(unknown) = unknown.filter(|unknown| !unknown.is_empty()) {
            let what = format!("the server does not know the transactions {unknown}");
            return Err(SourceError::History { what });
        }
        Ok(connection.dump(server_id, &Dump::Gtids(gtids))?)
    }
}

/// `mysql:<server_uuid>` or `mariadb:<server_id>`.
pub(super) fn identity(connection: &mut Connection) -> Result<ServerId, MysqlError> {
    let (kind, variable) = match connection.flavor() {
        Flavor::Mysql => ("mysql", "server_uuid"),
        Flavor::Mariadb => ("mariadb", "server_id"),
    };
    let value = connection.global(variable)?.unwrap_or_default();
    Ok(ServerId(format!("{kind}:{value}")))
}

/// The log must be there, and hold rows.
fn check_settings(connection: &mut Connection) -> Result<(), SourceError> {
    if connection.global("log_bin")?.as_deref() != Some("1") {
        return Err(no_log());
    }
    match connection.global("binlog_format")?.as_deref() {
        Some("STATEMENT") => {
            let found = "binlog_format=STATEMENT".into();
            return Err(SourceError::Setting { found, wanted: "ROW" });
        }
        Some("MIXED") => log::warn!(
            "binlog_format=MIXED: a change that the server logs as a statement will stop the reading; set it to ROW"
        ),
        _ => {}
    }
    Ok(())
}

fn no_log() -> SourceError {
    SourceError::Setting { found: "no binary log".into(), wanted: "started with log_bin" }
}

/// What any session that reads the log needs: without it the server sends no checksums, or nothing.
pub(super) fn prepare_session(connection: &mut Connection) -> Result<(), MysqlError> {
    connection.query("SET NAMES utf8mb4")?;
    connection.query("SET time_zone = '+00:00'")?;
    connection.query(
        "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, \
         @source_binlog_checksum = @@GLOBAL.binlog_checksum",
    )?;
    if connection.flavor() == Flavor::Mariadb {
        // 4: knows GTID events. Annotate events come only if they are asked for.
        connection.query("SET @mariadb_slave_capability = 4")?;
    }
    Ok(())
}

fn prepare_replica(connection: &mut Connection, settings: &LiveSettings) -> Result<(), MysqlError> {
    let period_ns = settings.heartbeat.as_nanos();
    let uuid = replica_uuid(settings.server_id);
    connection.query(&format!(
        "SET @master_heartbeat_period = {period_ns}, @source_heartbeat_period = {period_ns}, \
         @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'"
    ))?;
    // A dump thread that waits for us while our buffer is full.
    connection.query(&format!("SET SESSION net_write_timeout = {NET_WRITE_TIMEOUT_S}"))?;
    Ok(())
}

/// The end of the log, and the transactions before it.
fn latest(connection: &mut Connection) -> Result<((String, u64), GtidSet), SourceError> {
    let mysql = connection.flavor() == Flavor::Mysql;
    let sql = if mysql && connection.version_numbers() >= (8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let row = connection.query(sql)?.into_iter().next().ok_or_else(no_log)?;
    let mut row = row.into_iter().map(Option::unwrap_or_default);
    let file = row.next().unwrap_or_default();
    let offset: u64 = row.next().and_then(|text| text.parse().ok()).ok_or_else(no_log)?;
    let gtids = if mysql {
        row.nth(2).unwrap_or_default()
    } else {
        let sql = format!("SELECT BINLOG_GTID_POS('{}', {offset})", file.replace(['\'', '\\'], ""));
        connection.value(&sql)?.unwrap_or_default()
    };
    let gtids = gtids.parse().map_err(|_| SourceError::Setting {
        found: format!("an executed set that is not understood: {gtids}"),
        wanted: "a set of GTIDs",
    })?;
    Ok(((file, offset), gtids))
}

/// A log that ends before the place where we stood is not the one that we read.
fn check_history(connection: &mut Connection, position: &Position) -> Result<(), SourceError> {
    let logs = match connection.query("SHOW BINARY LOGS") {
        Ok(logs) => logs,
        Err(MysqlError::Server(error)) if error.cause() == Cause::Privilege => {
            log::warn!("{error}");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let ends_before = |what: String| Err(SourceError::History { what });
    let mut last = None;
    for row in logs {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let (file, size) = (row.next().unwrap_or_default(), row.next().unwrap_or_default());
        if file == position.file && size.parse::<u64>().is_ok_and(|size| size < position.offset) {
            return ends_before(format!("{file} has {size} bytes now, {position} was read"));
        }
        last = Some(file);
    }
    match last {
        Some(last) if file_order(&last, &position.file).is_lt() => {
            ends_before(format!("its last file is {last}, {position} was read"))
        }
        _ => Ok(()),
    }
}
