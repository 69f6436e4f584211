//! The collector: the real desks, intake and log, turned by the world; and a sink that checks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rivulet::batch::{Ack, Batch, BatchError, Limits, Message, RowChange, decode_schema};
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::Table;
use rivulet::collector::desk::{Desk, Wish};
use rivulet::collector::intake::{Inbound, Intake};
use rivulet::collector::log::{Log, Logged, Reader, Settings};
use rivulet::mqtt::{Input, Reason, ServerSettings};
use rivulet::position::Sequence;

use super::history::{History, text_of};

/// A batch on its way from a desk to the intake.
pub(crate) struct Job {
    desk: usize,
    token: u64,
    inbound: Inbound,
}

/// One agent's connection, at this end.
pub(crate) struct Seat {
    pub(crate) agent: String,
    pub(crate) desk: Desk,
    /// All is said, or the link is lost.
    pub(crate) over: bool,
}

pub(crate) struct Centre {
    path: PathBuf,
    intake: Option<Intake>,
    pub(crate) seats: BTreeMap<usize, Seat>,
    pub(crate) jobs: VecDeque<Job>,
    /// Which connection of an agent counts.
    board: HashMap<String, usize>,
    acks: HashMap<String, Ack>,
    /// The last word to each agent, to see that none runs backwards.
    told: HashMap<String, (u64, Sequence)>,
    session: ServerSettings,
    reader: Option<Reader>,
    sink: Sink,
}

impl Centre {
    pub(crate) fn new(path: PathBuf, session: ServerSettings) -> Self {
        let mut centre = Self {
            sink: Sink::default(),
            reader: None,
            path,
            intake: None,
            seats: BTreeMap::new(),
            jobs: VecDeque::new(),
            board: HashMap::new(),
            acks: HashMap::new(),
            told: HashMap::new(),
            session,
        };
        centre.open();
        centre
    }

    fn open(&mut self) {
        let log = Log::open(&self.path, Settings::default()).unwrap();
        let intake = Intake::open(log, Limits::default()).unwrap();
        self.acks = intake.acks().into_iter().collect();
        for (agent, told) in &self.told {
            let here = intake.ack(agent);
            let here = (here.epoch, here.sequence);
            assert!(here >= *told, "{agent}: {told:?} was acknowledged, {here:?} is there");
        }
        self.intake = Some(intake);
        self.reader = Some(Reader::open(&self.path).unwrap());
    }

    /// The process dies and starts again. Its connections are gone.
    pub(crate) fn kill(&mut self) {
        self.seats.clear();
        self.jobs.clear();
        self.board.clear();
        drop(self.intake.take());
        self.open();
    }

    /// A connection is there.
    pub(crate) fn welcome(&mut self, number: usize, agent: &str, now: Instant) {
        let mut desk = Desk::new(self.session, "acme", agent);
        desk.handle(Input::Opened, now).unwrap();
        self.seats.insert(number, Seat { agent: agent.to_owned(), desk, over: false });
    }

    /// Hands something to a desk, and does what it wishes. The bytes to write come out of
    /// [`Desk::poll`].
    pub(crate) fn turn(&mut self, number: usize, input: Input<'_>, now: Instant) {
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| !seat.over) else { return };
        let handled = seat.desk.handle(input, now);
        self.serve(number, now);
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.over |= handled.is_err() || seat.desk.is_over() || matches!(input, Input::Lost);
        }
    }

    fn serve(&mut self, number: usize, now: Instant) {
        while let Some(seat) = self.seats.get_mut(&number) {
            let Some(wish) = seat.desk.wish() else { return };
            let agent = seat.agent.clone();
            match wish {
                Wish::Entered => {
                    let older = self.board.insert(agent, number).filter(|older| *older != number);
                    if let Some(seat) = older.and_then(|older| self.seats.get_mut(&older)) {
                        let _ = seat.desk.dismiss(Reason::TAKEN_OVER, now);
                        seat.over = true;
                    }
                }
                Wish::Batch { token, message } => {
                    let inbound = Inbound { agent, message };
                    self.jobs.push_back(Job { desk: number, token, inbound });
                }
                Wish::WantsAck => {
                    let ack = self.acks.get(&agent).cloned();
                    let ack = ack.unwrap_or(Ack { version: 1, ..Ack::default() });
                    let _ = seat.desk.tell(&ack, now);
                }
                Wish::Status(_) | Wish::WantsStatus => {}
                Wish::Refused(what) => panic!("an honest agent was refused {what}"),
                Wish::Over(_) => seat.over = true,
            }
        }
    }

    /// Takes in a group of batches and answers. Returns the connections that have something to write.
    pub(crate) fn take(&mut self, group_max: usize, now: Instant) -> Vec<usize> {
        let group: Vec<Job> = self.jobs.drain(..group_max.min(self.jobs.len())).collect();
        let inbound: Vec<Inbound> = group.iter().map(|job| job.inbound.clone()).collect();
        let intake = self.intake.as_mut().expect("the log is open");
        let taken = intake.take(&inbound, now).unwrap();
        let mut touched = Vec::new();
        for (job, refusal) in group.iter().zip(taken.refused) {
            assert_eq!(refusal, None, "an honest agent's batch was refused");
            if let Some(seat) = self.seats.get_mut(&job.desk) {
                let _ = seat.desk.done(job.token, false, now);
                touched.push(job.desk);
            }
        }
        for (agent, ack) in taken.acks {
            let told = self.told.entry(agent.clone()).or_default();
            assert!((ack.epoch, ack.sequence) >= *told, "{agent}: {ack:?} after {told:?}");
            *told = (ack.epoch, ack.sequence);
            let number = self.board.get(&agent);
            if let Some((number, seat)) = number.and_then(|n| Some((*n, self.seats.get_mut(n)?))) {
                let _ = seat.desk.tell(&ack, now);
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
        let last = self.intake.as_mut().map_or(0, |intake| intake.log().last());
        if last == self.sink.cursor {
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
