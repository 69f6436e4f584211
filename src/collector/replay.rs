//! SHELL: finds the entry from which a sink is to be replayed, and wishes it.
//!
//! The wish is a row of the log. The sink's feed honours it between two transactions, at once if the collector
//! runs, else when it starts; until then nothing of it is pruned.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::batch::{Batch, BatchError, Limits, Message};
use crate::position::{Gtid, Position, file_order};
use crate::telemetry::utc;

use super::log::{LogError, Logged, Reader};

/// From where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum From {
    /// The oldest entry that is kept.
    Start,
    /// An entry of the log.
    Entry(u64),
    /// The first entry that came at this time or later, Unix seconds.
    Time(u64),
    /// The batch with this transaction.
    Gtid(Gtid),
    /// The batch with the first transaction that ends behind this place.
    Place {
        /// The binlog file.
        file: String,
        /// Where in it.
        offset: u64,
    },
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "start" {
            return Ok(Self::Start);
        }
        if let Ok(number) = text.parse() {
            return Ok(Self::Entry(number));
        }
        if let Some(time_s) = utc::parse_s(text) {
            return Ok(Self::Time(time_s));
        }
        if let Ok(gtid) = text.parse() {
            return Ok(Self::Gtid(gtid));
        }
        let place = text.rsplit_once(':').and_then(|(file, offset)| {
            let offset = offset.parse().ok()?;
            Some(Self::Place { file: file.to_owned(), offset })
        });
        place.ok_or_else(|| {
            format!(
                "{text:?} is none of: `start`, a number of the log (17), a time in UTC \
                 (2026-11-21T10:00:00Z), a GTID (0-1-17), a place (binlog.000042:1337)"
            )
        })
    }
}

/// A replay cannot be.
#[derive(Debug)]
pub enum ReplayError {
    /// The log.
    Log(LogError),
    /// An entry of it.
    Batch(u64, BatchError),
    /// What was asked for makes no sense here.
    Refused(String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(LogError::Pruned { oldest, .. }) => write!(
                f,
                "what was asked for is pruned already: the oldest entry of the log is {oldest} \
                 (`--from start` begins there)"
            ),
            Self::Log(error) => write!(f, "{error}"),
            Self::Batch(number, error) => write!(f, "entry {number} of the log: {error}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ReplayError {}

impl std::convert::From<LogError> for ReplayError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What was wished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replay {
    /// The first entry that the sink gets again.
    pub first: u64,
    /// Whether it has gone back already; otherwise it does when the collector runs.
    pub begun: bool,
}

/// How long a running collector is given before it counts as not running.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Wishes that a sink is replayed, and waits a moment for it to begin.
///
/// # Errors
/// Nothing is wished: it was pruned, is not there yet, or is of several agents.
pub fn replay(
    log: &Path,
    sink: &str,
    from: &From,
    agent: Option<&str>,
) -> Result<Replay, ReplayError> {
    let mut reader = Reader::open(log)?;
    let first = find(&reader, from, agent)?;
    reader.wish_replay(sink, first - 1)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if reader.replay_wish(sink)?.is_none() {
            return Ok(Replay { first, begun: true });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(Replay { first, begun: false })
}

/// The entry with which a replay begins: the first of its transaction.
fn find(reader: &Reader, from: &From, agent: Option<&str>) -> Result<u64, ReplayError> {
    let refused = |why: &str| ReplayError::Refused(why.to_owned());
    let oldest = reader.oldest()?.ok_or_else(|| refused("the log is empty"))?;
    let number = match from {
        From::Start => oldest,
        From::Entry(number) if *number < oldest => {
            return Err(LogError::Pruned { wanted: *number, oldest }.into());
        }
        From::Entry(number) => reader
            .next(number - 1)?
            .map(|entry| entry.number)
            .ok_or_else(|| refused("the log does not go so far yet"))?,
        From::Time(time_s) => {
            let found = reader.since(*time_s)?;
            found.ok_or_else(|| refused("nothing has come since then"))?
        }
        From::Gtid(_) | From::Place { .. } => search(reader, from, oldest, agent)?,
    };
    if number == oldest && oldest > 1 && matches!(from, From::Time(_)) {
        return Err(LogError::Pruned { wanted: 1, oldest }.into());
    }
    Ok(reader.transaction_start(number)?)
}

/// Reads the log from its beginning.
fn search(
    reader: &Reader,
    from: &From,
    oldest: u64,
    agent: Option<&str>,
) -> Result<u64, ReplayError> {
    let agents = reader.agents()?;
    let agent = match (agent, agents.as_slice()) {
        (Some(agent), all) if all.iter().any(|known| known == agent) => agent,
        (Some(agent), _) => {
            return Err(ReplayError::Refused(format!("the log has nothing of agent {agent:?}")));
        }
        (None, [only]) => only,
        (None, all) => {
            let why = format!(
                "a place or a GTID means something for one agent alone: say --agent NAME, one of {}",
                all.join(", ")
            );
            return Err(ReplayError::Refused(why));
        }
    };
    let (mut at, mut first) = (oldest - 1, true);
    while let Some(entry) = reader.next(at)? {
        at = entry.number;
        if entry.agent != agent {
            continue;
        }
        let found = holds(&entry, from).map_err(|error| ReplayError::Batch(at, error))?;
        if found == Found::Before && first && oldest > 1 {
            return Err(LogError::Pruned { wanted: 1, oldest }.into());
        }
        if found != Found::Behind {
            return Ok(at);
        }
        first = false;
    }
    Err(ReplayError::Refused(format!("the log has no such transaction of agent {agent}")))
}

/// Where what is searched lies, seen from an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Before,
    Here,
    Behind,
}

fn holds(entry: &Logged, from: &From) -> Result<Found, BatchError> {
    let message = Message::parse(&entry.message)?;
    let (first, last) = (&message.meta.first, &message.meta.last);
    if message.meta.transactions == 0 && !message.meta.continues {
        return Ok(Found::Behind);
    }
    match from {
        From::Place { file, offset } => {
            let ends = |end: &Position| file_order(&end.file, file).then(end.offset.cmp(offset));
            Ok(match (ends(first).is_gt(), ends(last).is_gt()) {
                (true, _) => Found::Before,
                (false, true) => Found::Here,
                (false, false) => Found::Behind,
            })
        }
        From::Gtid(gtid) => {
            let batch = Batch::open(&message.meta, message.body, Limits::default())?;
            let here = batch.transactions()?.iter().any(|known| known.gtid.as_ref() == Some(gtid));
            Ok(if here { Found::Here } else { Found::Behind })
        }
        From::Start | From::Entry(_) | From::Time(_) => Ok(Found::Here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_from_where_is_understood() {
        let from = |text: &str| text.parse::<From>();
        assert_eq!(from("start"), Ok(From::Start));
        assert_eq!(from("17"), Ok(From::Entry(17)));
        assert_eq!(from("1970-01-02T00:00:01Z"), Ok(From::Time(86_401)));
        assert_eq!(from("0-1-17"), Ok(From::Gtid("0-1-17".parse().unwrap())));
        let gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:23";
        assert_eq!(from(gtid), Ok(From::Gtid(gtid.parse().unwrap())));
        let place = From::Place { file: "binlog.000042".into(), offset: 1337 };
        assert_eq!(from("binlog.000042:1337"), Ok(place));
        assert!(from("yesterday").unwrap_err().contains("a time in UTC"));
    }
}
