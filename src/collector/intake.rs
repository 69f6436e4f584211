//! What becomes of the batches that agents send: put together, judged, logged, acknowledged. No clock but
//! the caller's.
//!
//! All batches of one call are logged in one transaction; what is returned is true only because that
//! transaction is on disk by then.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{
    Ack, Batch, BatchError, Demand, Fragment, Identity, Limits, Message, Transaction,
    decode_schema, fingerprint,
};
use crate::binlog::table::Table;
use crate::mqtt::Bytes;
use crate::position::{Position, Sequence};

use super::assembly::{self, Assembly};
use super::elsewhere::Elsewhere;
use super::ledger::{Ledger, Verdict};
use super::log::{Entry, Log, LogError, TABLES_MAX, Tables};

/// A batch as it came in, and who sent it.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The name in the sender's certificate.
    pub agent: String,
    /// The message: a batch, or a fragment of one.
    pub message: Bytes,
}

/// What was decided.
#[derive(Debug, Default)]
pub struct Taken {
    /// What to tell each agent, once.
    pub acks: Vec<(String, Ack)>,
    /// For each message: why it can never be taken, if so.
    pub refused: Vec<Option<Refusal>>,
    /// Batches that were logged.
    pub batches: u64,
    /// Row changes in them that were not here already.
    pub rows: u64,
    /// What each agent brought.
    pub brought: HashMap<String, Brought>,
    /// What is missing now because an agent's operator lets it be missing, in words.
    pub gaps: Vec<String>,
}

/// What an agent brought.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Brought {
    /// Batches that were logged.
    pub batches: u64,
    /// Their bytes, as they came.
    pub bytes: u64,
    /// Row changes in them that were not here already.
    pub rows: u64,
    /// When each transaction that ends in them was committed, in microseconds since 1970; many logs tell
    /// whole seconds.
    pub committed_us: Vec<u64>,
    /// Batches that were here already.
    pub duplicates: u64,
    /// Whether batches are asked for again, because one is missing.
    pub gaps: u64,
    /// What its operator lets be missing.
    pub let_go: u64,
}

/// Why a message is not a batch of this agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It cannot be decoded.
    Batch(BatchError),
    /// It names another agent.
    Agent(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => write!(f, "{error}"),
            Self::Agent(name) => write!(f, "it says that it is of agent {name:?}"),
        }
    }
}

/// The writing end of the collector.
pub struct Intake {
    log: Log,
    limits: Limits,
    assembly: Assembly,
    elsewhere: Elsewhere,
    /// Agents of which parts of a transaction are in the log that went on at another collector.
    left: HashSet<String>,
    ledgers: HashMap<String, Ledger>,
    /// Of schemas that are in the log.
    tables: Tables,
    /// What was demanded of whom and when: one demand is enough for all batches that it concerns.
    demanded: HashMap<String, (Ack, Instant)>,
}

/// The same demand is not repeated within this time: its answer is still under way.
const DEMAND_AGAIN: Duration = Duration::from_millis(500);

/// Intervals of GTIDs of one agent: each takes 16 bytes, and is written with every batch. Servers have a handful.
const GTID_PARTS_MAX: usize = 1 << 20;

/// Why the tables of a batch are not at hand.
enum Unlearned {
    Log(LogError),
    /// A record that cannot be read, or is not what it is named by.
    Batch(BatchError),
    /// A record that is not here.
    Missing,
}

/// One batch that is to be logged.
struct Line {
    agent: String,
    message: Bytes,
    epoch: u64,
    sequence: Sequence,
    skip: u32,
    completes: bool,
    abandons: bool,
}

/// What an agent must do, and why: see [`Ack`].
#[derive(Clone, Copy, Debug)]
struct Wanted {
    demand: Demand,
    /// Of the batch that was not taken.
    epoch: u64,
    why: &'static str,
}

impl Wanted {
    /// Whether it says more than the one before it: batches behind one that cannot be taken are
    /// missing it, which is no reason to forget why it was not taken.
    fn outweighs(&self, other: &Self) -> bool {
        self.epoch > other.epoch || self.epoch == other.epoch && other.demand == Demand::Rewind
    }
}

/// Changes of one call, until they are logged.
#[derive(Default)]
struct Draft {
    ledgers: HashMap<String, Ledger>,
    schemas: Vec<(String, u64, Vec<u8>)>,
    /// Those of the log and of the schemas above.
    tables: Tables,
    entries: Vec<Line>,
    demands: HashMap<String, Wanted>,
    touched: Vec<String>,
    /// As [`Intake::left`]: to be added, and to be removed.
    left: HashSet<String>,
    abandoned: HashSet<String>,
    taken: Taken,
}

impl Draft {
    fn brought(&mut self, agent: &str) -> &mut Brought {
        self.taken.brought.entry(agent.to_owned()).or_default()
    }

    fn want(&mut self, agent: &str, wanted: Wanted) {
        let before = self.demands.get(agent);
        if before.is_none_or(|before| wanted.outweighs(before)) {
            self.demands.insert(agent.to_owned(), wanted);
        }
    }
}

impl Intake {
    /// Goes on where the log stands.
    pub fn open(log: Log, limits: Limits) -> Result<Self, LogError> {
        let mut ledgers = HashMap::new();
        for (agent, state) in log.ledgers()? {
            let ledger = Ledger::decode(&state)
                .ok_or_else(|| LogError::Damaged(format!("the ledger of agent {agent}")))?;
            ledgers.insert(agent, ledger);
        }
        let (tables, demanded) = (HashMap::new(), HashMap::new());
        let (assembly, elsewhere) = (Assembly::new(limits), Elsewhere::default());
        let left = HashSet::new();
        Ok(Self { log, limits, assembly, elsewhere, left, ledgers, tables, demanded })
    }

    /// The fragments that wait for others, for an intake that takes this one's place.
    pub fn into_fragments(self) -> Assembly {
        self.assembly
    }

    /// Goes on with the fragments of an intake whose place it takes.
    #[must_use]
    pub fn with_fragments(self, assembly: Assembly) -> Self {
        Self { assembly, ..self }
    }

    /// Goes on where other collectors of a shared subscription stand.
    #[must_use]
    pub fn beside(self, elsewhere: Elsewhere) -> Self {
        Self { elsewhere, ..self }
    }

    /// What to tell an agent that has just come.
    pub fn ack(&self, agent: &str) -> Ack {
        self.ledgers.get(agent).cloned().unwrap_or_default().ack(None)
    }

    /// Every agent's state.
    pub fn acks(&self) -> Vec<(String, Ack)> {
        self.ledgers.iter().map(|(agent, ledger)| (agent.clone(), ledger.ack(None))).collect()
    }

    /// The log, for its upkeep.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Judges and logs.
    ///
    /// # Errors
    /// Nothing of it is logged and nothing has changed: call again with the same.
    pub fn take(&mut self, inbound: &[Inbound], now: Instant) -> Result<Taken, LogError> {
        let taken = self.take_group(inbound, now);
        match taken {
            Ok(_) => self.assembly.keep(),
            Err(_) => self.assembly.undo(),
        }
        taken
    }

    fn take_group(&mut self, inbound: &[Inbound], now: Instant) -> Result<Taken, LogError> {
        let mut draft = Draft::default();
        for one in inbound {
            let refusal = match self.assembly.take(&one.agent, &one.message, now) {
                Ok(assembly::Brought::Batch(message)) => {
                    self.judge(&one.agent, &message, &mut draft)?
                }
                Ok(assembly::Brought::Partly) => None,
                Ok(assembly::Brought::Again(why)) => {
                    self.again(one, why, &mut draft);
                    None
                }
                Err(error) => Some(Refusal::Batch(error)),
            };
            draft.taken.refused.push(refusal);
        }
        self.write(&draft)?;
        let Draft { ledgers, tables, demands, touched, left, abandoned, mut taken, .. } = draft;
        self.left.extend(left);
        self.left.retain(|agent| !abandoned.contains(agent));
        if self.tables.len() > TABLES_MAX {
            self.tables.clear();
        }
        self.tables.extend(tables);
        self.ledgers.extend(ledgers);
        for agent in touched {
            let demand = demands.get(&agent).copied();
            let ledger = self.ledgers.get(&agent).cloned().unwrap_or_default();
            let ack = Ack {
                demand_epoch: demand.map_or(0, |wanted| wanted.epoch),
                ..ledger.ack(demand.map(|wanted| (wanted.demand, wanted.why)))
            };
            if demand.is_none() || self.is_new_demand(&agent, &ack, now) {
                if demand.is_some_and(|wanted| wanted.demand == Demand::Rewind) {
                    taken.brought.entry(agent.clone()).or_default().gaps += 1;
                }
                taken.acks.push((agent, ack));
            }
        }
        Ok(taken)
    }

    fn judge(
        &self,
        agent: &str,
        bytes: &Bytes,
        draft: &mut Draft,
    ) -> Result<Option<Refusal>, LogError> {
        let message = match Message::parse(bytes) {
            Ok(message) if message.identity.agent == agent => message,
            Ok(message) => return Ok(Some(Refusal::Agent(message.identity.agent))),
            Err(error) => return Ok(Some(Refusal::Batch(error))),
        };
        let mut ledger = self.ledger(agent, draft);
        let (overlaps, abandons, gap) = match ledger.judge(&message.identity, &message.meta) {
            Verdict::Fresh { overlaps, abandons, gap } => (overlaps, abandons, gap),
            Verdict::Duplicate => {
                draft.brought(agent).duplicates += 1;
                return Ok(None);
            }
            Verdict::Refused(demand, why) => {
                draft.want(agent, Wanted { demand, epoch: message.identity.epoch, why });
                return Ok(None);
            }
        };
        let transactions = Batch::open(&message.meta, message.body, self.limits)
            .and_then(|batch| Ok((batch.transactions()?, batch)));
        let (transactions, batch) = match transactions {
            Ok(both) => both,
            Err(error) => return Ok(Some(Refusal::Batch(error))),
        };
        let tables = match self.learn(agent, &batch, draft) {
            Ok(tables) => tables,
            Err(Unlearned::Missing) => {
                let (demand, why) = (Demand::Schemas, "a table's schema is not here");
                draft.want(agent, Wanted { demand, epoch: message.identity.epoch, why });
                return Ok(None);
            }
            Err(Unlearned::Batch(error)) => return Ok(Some(Refusal::Batch(error))),
            Err(Unlearned::Log(error)) => return Err(error),
        };
        // What is logged is read by every sink: one that cannot be taken apart would stop them all.
        if let Err(error) = batch.verify(|name| tables.get(&name).cloned()) {
            return Ok(Some(Refusal::Batch(error)));
        }
        let skip = if overlaps { ledger.skip(&message.meta, &transactions) } else { 0 };
        let rows = match batch.rows_behind(skip as usize) {
            Ok(rows) => rows,
            Err(error) => return Ok(Some(Refusal::Batch(error))),
        };
        let gap = gap.then(|| gap_text(agent, &ledger, &message.identity));
        let gtids = transactions.iter().filter_map(|transaction| transaction.gtid.clone());
        ledger.record(&message.identity, &message.meta, message.crc, gtids, skip);
        if ledger.gtid_parts() > GTID_PARTS_MAX {
            return Ok(Some(Refusal::Batch(BatchError::TooLarge("set of GTIDs"))));
        }
        let brought = draft.brought(agent);
        brought.batches += 1;
        brought.bytes += bytes.len() as u64;
        brought.rows += rows;
        brought.let_go += u64::from(gap.is_some());
        let ended = transactions.iter().skip(skip as usize).filter(|one| one.last_offset > 0);
        brought.committed_us.extend(ended.map(committed_us));
        draft.taken.gaps.extend(gap);
        for (fingerprint, record) in batch.schemas() {
            draft.schemas.push((agent.to_owned(), *fingerprint, record.clone()));
        }
        let of_agent = |(name, table)| ((agent.to_owned(), name), table);
        draft.tables.extend(tables.into_iter().map(of_agent));
        let (epoch, sequence) = (message.identity.epoch, message.identity.sequence);
        let completes = !message.meta.continues;
        let left = self.left.contains(agent) || draft.left.contains(agent);
        let abandons = abandons || left && draft.abandoned.insert(agent.to_owned());
        draft.entries.push(Line {
            agent: agent.to_owned(),
            message: bytes.clone(),
            epoch,
            sequence,
            skip,
            completes,
            abandons,
        });
        draft.ledgers.insert(agent.to_owned(), ledger);
        draft.demands.remove(agent);
        draft.taken.batches += 1;
        draft.taken.rows += rows;
        Ok(None)
    }

    /// Where this collector stands with an agent, which is never behind where its group stands.
    fn ledger(&self, agent: &str, draft: &mut Draft) -> Ledger {
        if !draft.touched.iter().any(|touched| touched == agent) {
            draft.touched.push(agent.to_owned());
        }
        let known = draft.ledgers.get(agent).or_else(|| self.ledgers.get(agent));
        let mut ledger = known.cloned().unwrap_or_default();
        let open = ledger.is_in_parts();
        if self.elsewhere.of(agent).is_some_and(|ack| ledger.adopt(&ack)) {
            if open {
                draft.left.insert(agent.to_owned());
            }
            draft.ledgers.insert(agent.to_owned(), ledger.clone());
        }
        ledger
    }

    /// A batch cannot be put together: the agent is to send it again.
    fn again(&self, one: &Inbound, why: &'static str, draft: &mut Draft) {
        let Ok(fragment) = Fragment::parse(&one.message) else { return };
        let (here, whole) = (self.ledger(&one.agent, draft).ack(None), fragment.whole);
        // What is here already, or of an epoch that is over, is missed by nobody.
        if (whole.epoch, Sequence(whole.sequence)) > (here.epoch, here.sequence) {
            let wanted = Wanted { demand: Demand::Rewind, epoch: whole.epoch, why };
            draft.want(&one.agent, wanted);
        }
    }

    /// The tables that a batch has rows of, and those whose schemas travel with it.
    fn learn(
        &self,
        agent: &str,
        batch: &Batch,
        draft: &Draft,
    ) -> Result<HashMap<u64, Arc<Table>>, Unlearned> {
        let mut tables = HashMap::new();
        for (name, record) in batch.schemas() {
            if fingerprint(record) != *name {
                return Err(Unlearned::Batch(BatchError::Checksum("schema record")));
            }
            let table = decode_schema(record).map_err(Unlearned::Batch)?;
            tables.insert(*name, Arc::new(table));
        }
        for name in batch.tables() {
            if tables.contains_key(name) {
                continue;
            }
            let key = (agent.to_owned(), *name);
            let known = draft.tables.get(&key).or_else(|| self.tables.get(&key));
            let table = match known {
                Some(table) => Arc::clone(table),
                None => {
                    let record = self.log.schema(agent, *name).map_err(Unlearned::Log)?;
                    let table = decode_schema(&record.ok_or(Unlearned::Missing)?);
                    Arc::new(table.map_err(Unlearned::Batch)?)
                }
            };
            tables.insert(*name, table);
        }
        Ok(tables)
    }

    fn write(&mut self, draft: &Draft) -> Result<(), LogError> {
        if draft.entries.is_empty() {
            return Ok(());
        }
        fn entry(line: &Line) -> Entry<'_> {
            Entry {
                agent: &line.agent,
                epoch: line.epoch,
                sequence: line.sequence,
                skip: line.skip,
                message: &line.message,
                completes: line.completes,
                abandons: line.abandons,
            }
        }
        let entries: Vec<Entry<'_>> = draft.entries.iter().map(entry).collect();
        let ledgers: Vec<_> =
            draft.ledgers.iter().map(|(agent, ledger)| (agent.clone(), ledger.encode())).collect();
        self.log.append(&entries, &ledgers, &draft.schemas)
    }

    fn is_new_demand(&mut self, agent: &str, ack: &Ack, now: Instant) -> bool {
        // The same in other words is the same.
        let what = |ack: &Ack| (ack.demand, ack.demand_epoch, ack.epoch, ack.sequence);
        let repeated =
            |(last, at): &(Ack, Instant)| what(last) == what(ack) && now < *at + DEMAND_AGAIN;
        if self.demanded.get(agent).is_some_and(repeated) {
            return false;
        }
        self.demanded.insert(agent.to_owned(), (ack.clone(), now));
        true
    }
}

fn committed_us(transaction: &Transaction) -> u64 {
    transaction.committed_us.unwrap_or(u64::from(transaction.timestamp_s) * 1_000_000)
}

/// What an agent's operator lets be missing.
fn gap_text(agent: &str, ledger: &Ledger, identity: &Identity) -> String {
    let place = |position: &Position| match position.file.as_str() {
        "" => "its beginning".to_owned(),
        _ => position.to_string(),
    };
    let follows = identity.follows.clone().unwrap_or_default();
    format!(
        "agent {agent}: what was committed between {} and {} is MISSING here, as its operator lets it be \
         (on_gap)",
        place(ledger.position()),
        place(&follows.since)
    )
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
