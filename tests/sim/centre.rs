//! The collector: the real desks, intake and log, turned by the world; and a sink that checks. Agents
//! come straight to its desks, or a broker stands between.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;
use rivulet::batch::{Ack, Batch, BatchError, Demand, Limits, Message, RowChange, decode_schema};
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::Table;
use rivulet::collector::assembly::Assembly;
use rivulet::collector::desk::{Desk, Wish};
use rivulet::collector::intake::{Inbound, Intake};
use rivulet::collector::log::{Log, LogError, Logged, Reader, Settings};
use rivulet::mqtt::{Bytes, Input, Reason, ServerSettings, SessionError};
use rivulet::position::Sequence;

use super::broker::{Broker, Session};
use super::disk::Disk;
use super::edge::Copy;
use super::history::{History, text_of};

/// A batch on its way from a desk to the intake.
struct Job {
    /// Where it came in and what to answer there; nothing if a broker brought it.
    answer: Option<(usize, u64)>,
    inbound: Inbound,
}

/// What agents connect to.
enum Front {
    Straight(Box<Desk>),
    Broker(Box<Session>),
}

/// One agent's connection, at this end.
pub(crate) struct Seat {
    pub(crate) agent: String,
    front: Front,
    /// All is said, or the link is lost.
    pub(crate) over: bool,
}

impl Seat {
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.front {
            Front::Straight(desk) => desk.wake_at(),
            Front::Broker(session) => session.wake_at(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Bytes> {
        match &mut self.front {
            Front::Straight(desk) => desk.poll(),
            Front::Broker(session) => session.poll(),
        }
    }

    fn is_over(&self) -> bool {
        match &self.front {
            Front::Straight(desk) => desk.is_over(),
            Front::Broker(session) => session.is_over(),
        }
    }

    fn dismiss(&mut self, now: Instant) {
        match &mut self.front {
            Front::Straight(desk) => drop(desk.dismiss(Reason::TAKEN_OVER, now)),
            Front::Broker(session) => session.dismiss(Reason::TAKEN_OVER),
        }
        self.over = true;
    }

    fn tell(&mut self, ack: &Ack, now: Instant) {
        let _ = match &mut self.front {
            Front::Straight(desk) => desk.tell(ack, now),
            Front::Broker(session) => session.tell(ack.encode().into(), now),
        };
    }
}

pub(crate) struct Centre {
    folder: PathBuf,
    /// Every start has a folder of its own, as an agent's.
    starts: u32,
    pub(crate) disk: Disk,
    intake: Option<Intake>,
    /// Of the intake whose log could not be written.
    fragments: Option<Assembly>,
    pub(crate) broker: Option<Broker>,
    pub(crate) seats: BTreeMap<usize, Seat>,
    jobs: VecDeque<Job>,
    /// Which connection of an agent counts.
    board: HashMap<String, usize>,
    acks: HashMap<String, Ack>,
    /// The last word to each agent, to see that none runs backwards.
    told: HashMap<String, (u64, Sequence)>,
    /// The epoch of each agent's last batch that could not be taken.
    refused: HashMap<String, u64>,
    /// Agents that may come with another history than the one that they had.
    forked: HashSet<String>,
    session: ServerSettings,
    reader: Option<Reader>,
    sink: Sink,
}

impl Centre {
    pub(crate) fn new(folder: PathBuf, session: ServerSettings, broker: Option<Broker>) -> Self {
        let mut centre = Self {
            sink: Sink::default(),
            disk: Disk::mount(&folder),
            reader: None,
            folder,
            starts: 0,
            intake: None,
            fragments: None,
            broker,
            seats: BTreeMap::new(),
            jobs: VecDeque::new(),
            board: HashMap::new(),
            acks: HashMap::new(),
            told: HashMap::new(),
            refused: HashMap::new(),
            forked: HashSet::new(),
            session,
        };
        std::fs::create_dir_all(centre.path().parent().unwrap()).unwrap();
        centre.open().unwrap();
        centre
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("start-{}", self.starts)).join("log")
    }

    /// Opens the log, at a start or after its disk failed, which sinks that read it do not notice.
    fn open(&mut self) -> Result<(), LogError> {
        let log = Log::open(&self.path(), Settings::default())?;
        let mut intake = Intake::open(log, Limits::default())?;
        self.acks = intake.acks().into_iter().collect();
        for (agent, told) in &self.told {
            let here = intake.ack(agent);
            let here = (here.epoch, here.sequence);
            assert!(here >= *told, "{agent}: {told:?} was acknowledged, {here:?} is there");
        }
        if let Some(fragments) = self.fragments.take() {
            intake = intake.with_fragments(fragments);
        }
        self.intake = Some(intake);
        if self.reader.is_none() {
            self.reader = Some(Reader::open(&self.path())?);
        }
        Ok(())
    }

    /// The process dies and starts again; with `power_cut`, so does its machine. Its connections are gone.
    pub(crate) fn kill(&mut self, power_cut: bool, rng: &mut Rng) {
        self.disk.mend();
        let old = self.path();
        self.starts += 1;
        let copy = match power_cut {
            true => Copy::after_power_cut(&old, &self.disk, rng),
            false => Copy::after_kill(&old, &self.disk, &self.path()),
        };
        std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        copy.restore(&self.path());
        self.jobs.clear();
        let old = old.parent().unwrap();
        self.disk.forget(old);
        (self.intake, self.fragments, self.reader) = (None, None, None);
        self.open().unwrap();
        std::fs::remove_dir_all(old).unwrap();
        match &mut self.broker {
            Some(broker) => broker.resume(rng),
            None => self.hang_up(rng),
        }
    }

    /// The broker crashes and starts again.
    pub(crate) fn crash_broker(&mut self, rng: &mut Rng) {
        if let Some(broker) = &mut self.broker {
            broker.crash(rng);
        }
        self.hang_up(rng);
    }

    /// Whoever comes again may find other limits than those that it knows.
    fn hang_up(&mut self, rng: &mut Rng) {
        self.seats.clear();
        self.board.clear();
        self.session.receive_maximum = rng.u16(1..64);
        self.session.packet_bytes_max = [1 << 20, 3_000, 1_000][rng.usize(..3)];
    }

    /// From now on an agent may come with another history than the one that it had.
    pub(crate) fn expect_fork(&mut self, agent: &str) {
        self.forked.insert(agent.to_owned());
    }

    /// A connection is there.
    pub(crate) fn welcome(&mut self, number: usize, agent: &str, rng: &mut Rng, now: Instant) {
        let front = match self.broker {
            None => Front::Straight(Box::new(Desk::new(self.session, "acme", agent))),
            Some(_) => Front::Broker(Box::new(Session::new(self.session, agent))),
        };
        self.seats.insert(number, Seat { agent: agent.to_owned(), front, over: false });
        self.turn(number, Input::Opened, rng, now);
    }

    /// Hands something to a desk, and does what it wishes. The bytes to write come out of
    /// [`Seat::poll`].
    pub(crate) fn turn(&mut self, number: usize, input: Input<'_>, rng: &mut Rng, now: Instant) {
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| !seat.over) else { return };
        let handled = match (&mut seat.front, &mut self.broker) {
            (Front::Straight(desk), _) => desk.handle(input, now),
            (Front::Broker(session), Some(broker)) => session.handle(input, broker, rng, now),
            (Front::Broker(_), None) => Err(SessionError::Offline),
        };
        self.serve(number, now);
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.over |= handled.is_err() || seat.is_over() || matches!(input, Input::Lost);
        }
    }

    fn serve(&mut self, number: usize, now: Instant) {
        while let Some(seat) = self.seats.get_mut(&number) {
            let agent = seat.agent.clone();
            let wish = match &mut seat.front {
                Front::Straight(desk) => desk.wish(),
                Front::Broker(session) => {
                    std::mem::take(&mut session.entered).then_some(Wish::Entered)
                }
            };
            let Some(wish) = wish else { return };
            match wish {
                Wish::Entered => {
                    let older = self.board.insert(agent, number).filter(|older| *older != number);
                    if let Some(seat) = older.and_then(|older| self.seats.get_mut(&older)) {
                        seat.dismiss(now);
                    }
                }
                Wish::Batch { token, message } => {
                    let inbound = Inbound { agent, message };
                    self.jobs.push_back(Job { answer: Some((number, token)), inbound });
                }
                Wish::WantsAck => {
                    let ack = self.acks.get(&agent).cloned();
                    let ack = ack.unwrap_or(Ack { version: 1, ..Ack::default() });
                    seat.tell(&ack, now);
                }
                Wish::Status(_) | Wish::WantsStatus => {}
                Wish::Refused(what) => panic!("an honest agent was refused {what}"),
                Wish::Over(_) => seat.over = true,
            }
        }
    }

    /// Whether batches wait.
    pub(crate) fn has_work(&self) -> bool {
        !self.jobs.is_empty() || self.broker.as_ref().is_some_and(|broker| !broker.is_empty())
    }

    /// Takes in a group of batches and answers. Returns the connections that have something to write.
    pub(crate) fn take(&mut self, group_max: usize, rng: &mut Rng, now: Instant) -> Vec<usize> {
        if let Some(broker) = &mut self.broker {
            while self.jobs.len() < group_max
                && let Some(inbound) = broker.deliver(rng)
            {
                self.jobs.push_back(Job { answer: None, inbound });
            }
        }
        if self.intake.is_none() && self.open().is_err() {
            return Vec::new();
        }
        let count = group_max.min(self.jobs.len());
        let inbound: Vec<_> = self.jobs.range(..count).map(|job| job.inbound.clone()).collect();
        let intake = self.intake.as_mut().expect("the log is open");
        let Ok(taken) = intake.take(&inbound, now) else {
            // As the collector does: what is on the disk is looked at anew, and then the same again.
            self.fragments = self.intake.take().map(Intake::into_fragments);
            return Vec::new();
        };
        let mut touched = Vec::new();
        for (job, refusal) in self.jobs.drain(..count).zip(taken.refused) {
            assert_eq!(refusal, None, "an honest agent's batch was refused");
            let Some((number, token)) = job.answer else { continue };
            if let Some(Seat { front: Front::Straight(desk), .. }) = self.seats.get_mut(&number) {
                let _ = desk.done(token, false, now);
                touched.push(number);
            }
        }
        for (agent, ack) in taken.acks {
            let told = self.told.entry(agent.clone()).or_default();
            assert!((ack.epoch, ack.sequence) >= *told, "{agent}: {ack:?} after {told:?}");
            match ack.demand {
                // What is behind a batch that was refused is missing it.
                Some(Demand::NewEpoch | Demand::Schemas) => {
                    let forked = self.forked.contains(&agent);
                    assert!(forked, "{agent}: an epoch without cause: {ack:?}");
                    self.refused.insert(agent.clone(), ack.demand_epoch);
                }
                Some(Demand::Rewind) if self.broker.is_none() => {
                    let explained = self.refused.get(&agent) == Some(&ack.demand_epoch);
                    assert!(explained, "{agent}: a gap on a link that loses nothing: {ack:?}");
                }
                Some(Demand::Reread) => panic!("{agent}: this collector loses nothing: {ack:?}"),
                Some(Demand::Rewind) | None => {}
            }
            *told = (ack.epoch, ack.sequence);
            if let Some(broker) = &mut self.broker {
                broker.retain(&agent, ack.encode().into());
            }
            let number = self.board.get(&agent);
            if let Some((number, seat)) = number.and_then(|n| Some((*n, self.seats.get_mut(n)?))) {
                seat.tell(&ack, now);
                touched.push(number);
            }
            self.acks.insert(agent, Ack { demand: None, why: String::new(), ..ack });
        }
        touched
    }

    /// What the sinks can see of an agent's changes.
    pub(crate) fn sunk(&self, agent: &str) -> usize {
        self.sink.sunk.get(agent).copied().unwrap_or(0)
    }

    /// Reads on in the log, as a sink does, and compares with what was committed.
    pub(crate) fn sink<'h>(&mut self, history: impl Fn(&str) -> &'h History) {
        // Without an intake the log may have grown: an append that failed may be there after all.
        let last = self.intake.as_mut().map(|intake| intake.log().last());
        if last == Some(self.sink.cursor) {
            return;
        }
        self.sink.follow(self.reader.as_ref().expect("the log is open"), history);
    }

    /// As [`Centre::sink`], from the first entry on, as a sink that was rewound does.
    pub(crate) fn sink_again<'h>(&mut self, history: impl Fn(&str) -> &'h History) {
        let before = std::mem::take(&mut self.sink);
        self.sink(history);
        assert_eq!(self.sink.sunk, before.sunk, "a sink that is rewound sees something else");
    }
}

#[derive(Default)]
struct Sink {
    cursor: u64,
    /// By agent: how many changes came, all of them as they were committed.
    sunk: HashMap<String, usize>,
    schemas: HashMap<(String, u64), Arc<Table>>,
    /// By agent: the batch that came last: its epoch, number and checksum.
    last: HashMap<String, (u64, Sequence, u32)>,
}

impl Sink {
    fn follow<'h>(&mut self, reader: &Reader, history: impl Fn(&str) -> &'h History) {
        let mut ends = true;
        while let Some(entry) = reader.next(self.cursor).unwrap() {
            self.cursor = entry.number;
            self.apply(&entry, reader, history(&entry.agent)).unwrap();
            ends = entry.ends;
            let sunk = self.sunk.get(&entry.agent).copied().unwrap_or(0);
            if let Some(last) = sunk.checked_sub(1).filter(|_| ends) {
                let (change, whole) = history(&entry.agent).changes[last];
                assert!(whole, "entry {} ends inside a transaction, at {change:?}", entry.number);
            }
        }
        assert!(ends, "the log's last entry is inside a transaction");
    }

    fn apply(
        &mut self,
        entry: &Logged,
        reader: &Reader,
        history: &History,
    ) -> Result<(), BatchError> {
        let message = Message::parse(&entry.message)?;
        let own = (entry.epoch, entry.sequence, message.crc);
        let last = self.last.insert(entry.agent.clone(), own);
        // Of a transaction that was abandoned there is nothing here but a hole in the numbers.
        if let Some((epoch, sequence, crc)) = last
            && (epoch, sequence.next()) == (entry.epoch, entry.sequence)
        {
            let chained = message.identity.previous_crc == crc;
            assert!(chained, "entry {} does not follow the one before it", entry.number);
        }
        let batch = Batch::open(&message.meta, message.body, Limits::default())?;
        for fingerprint in batch.tables() {
            let key = (entry.agent.clone(), *fingerprint);
            if let std::collections::hash_map::Entry::Vacant(place) = self.schemas.entry(key) {
                let record = reader.schema(&entry.agent, *fingerprint).unwrap();
                let record = record.ok_or(BatchError::Schema(*fingerprint))?;
                place.insert(Arc::new(decode_schema(&record)?));
            }
        }
        let sunk = self.sunk.entry(entry.agent.clone()).or_default();
        let schema = |fingerprint| self.schemas.get(&(entry.agent.clone(), fingerprint)).cloned();
        batch.replay(entry.skip as usize, schema, |change| {
            let expected = history.changes.get(*sunk);
            let (expected, _) = expected.expect("a change was never committed");
            let context = (entry.number, entry.epoch, entry.sequence, entry.skip, &message.meta);
            assert_eq!(number(change), expected.number, "out of order: {context:?}");
            assert_eq!(change.operation, expected.operation);
            assert_eq!(change.table.name, history.tables[expected.table].name);
            let image = if change.after.is_empty() { change.before } else { change.after };
            assert_eq!(image.get(1), Some(&Cell::Value(&text_of(expected))));
            *sunk += 1;
            Ok(())
        })
    }
}

fn number(change: &RowChange<'_>) -> u64 {
    let image = match change.operation {
        Operation::Delete => change.before,
        Operation::Insert | Operation::Update => change.after,
    };
    let Some(Cell::Value(bytes)) = image.first() else { panic!("no number in {change:?}") };
    u64::from_le_bytes((*bytes).try_into().expect("a number has eight bytes"))
}
