//! SHELL: what everybody who brings batches shares: who is connected, what each agent was told last, who
//! is not let in, and the way to the intake.
//!
//! ```text
//!   conversation (one per connection) ──hand_in──► line ──► intake thread (writer) ──► log
//!                 ▲                                                 │
//!                 └───────────────────── Answer ◄───────────────────┘
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, error, warn};
use serde::Deserialize;
use smol::channel::Sender;

use crate::batch::{Ack, Message};
use crate::mqtt::{Bytes, Reason, ServerSettings};
use crate::telemetry::logger::tame;

use super::arrivals::Arrivals;
use super::denied::Denied;
use super::figures::Figures;
use super::gossip::Gossip;
use super::intake::{Inbound, Taken};
use super::line::Line;
use super::memory::{Held, Memory};
use super::state::AgentState;

/// A batch on its way from a connection to the intake.
pub(super) struct Job {
    /// The batch.
    pub(super) inbound: Inbound,
    held: Held,
    token: u64,
    answers: Sender<Answer>,
}

impl Job {
    /// How large it says that it is, decompressed; 0 if it says nothing.
    pub(super) fn plain_bytes(&self) -> u64 {
        let message = Message::parse(&self.inbound.message);
        message.map_or(0, |message| u64::from(message.meta.plain_len))
    }
}

/// What the intake and other connections tell whoever brought a batch.
pub(super) enum Answer {
    /// The batch with this token is durable, or can never be taken.
    Done { token: u64, refused: bool },
    /// Where the collector stands with this agent.
    Ack(Ack),
    /// The same to whoever passes it on.
    Pass {
        /// To this agent.
        agent: String,
        /// What it is told.
        ack: Ack,
    },
    /// What this agent said of itself last, to itself.
    Status(Bytes),
    /// The conversation is to be ended.
    Dismiss(Reason),
}

/// Who is connected, and what is known of each agent.
#[derive(Default)]
struct Board {
    agents: HashMap<String, Seat>,
    /// Agents that come or came through a broker.
    through: HashMap<String, Passage>,
    acks: HashMap<String, Ack>,
    statuses: HashMap<String, Said>,
    denied: Denied,
    gossip: Gossip,
}

impl Board {
    /// What is known of an agent, and what it said of itself.
    fn look(&self, name: &str, now: Instant) -> (AgentState, Option<Bytes>) {
        let ack = self.acks.get(name);
        let connected = self.agents.contains_key(name);
        let through_broker = self.through.get(name).is_some_and(|passage| passage.is_open(now));
        // What somebody said who has gone since is not how he is.
        let said = self.statuses.get(name).filter(|_| connected || through_broker);
        let state = AgentState {
            name: name.to_owned(),
            connected,
            through_broker,
            epoch: ack.map_or(0, |ack| ack.epoch),
            sequence: ack.map_or(0, |ack| ack.sequence.0),
            status_age_ms: said.map(|said| {
                let age = now.saturating_duration_since(said.at);
                u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
            }),
            ..AgentState::default()
        };
        (state, said.map(|said| said.bytes.clone()))
    }
}

/// How an agent comes that comes through a broker.
struct Passage {
    /// The broker's, and the way to it.
    number: u64,
    answers: Sender<Answer>,
    /// When something of the agent came, and whether that was not its last word.
    heard: Instant,
    is_online: bool,
}

impl Passage {
    fn is_open(&self, now: Instant) -> bool {
        self.is_online && self.is_fresh(now)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) < PASSAGE_MAX
    }
}

struct Seat {
    number: u64,
    fingerprint: [u8; 32],
    answers: Sender<Answer>,
}

/// What an agent said of itself last.
struct Said {
    bytes: Bytes,
    gist: Gist,
    at: Instant,
}

/// Whether it is well, and if not, why, without numbers.
type Gist = (bool, Vec<String>);

/// What of an agent's status is worth a line when it changes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    healthy: bool,
    reasons: Vec<String>,
}

impl State {
    /// What tells two of them apart. Reasons count how long they last: by their numbers each is new each time.
    fn gist(&self) -> Gist {
        let words = |reason: &String| reason.replace(|c: char| c.is_ascii_digit(), "");
        (self.healthy, self.reasons.iter().map(words).collect())
    }

    /// The last will gives no reasons.
    fn is_last_word(&self) -> bool {
        !self.healthy && self.reasons.is_empty()
    }

    fn words(&self, agent: &str) -> (Level, String) {
        if self.is_last_word() {
            (Level::Info, format!("agent {agent} is offline, by its last word"))
        } else if self.healthy {
            (Level::Info, format!("agent {agent} says that it is well"))
        } else {
            let why = tame(&self.reasons.join("; "));
            (Level::Warn, format!("agent {agent} says that it is not well: {why}"))
        }
    }
}

/// The limits of all connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Agents at the same time.
    pub(super) agents_max: usize,
    /// What one agent may have waiting in memory; a single packet may be larger.
    pub(super) agent_bytes_max: usize,
    /// As much for all of them.
    pub(super) memory_bytes_max: usize,
}

/// What every connection needs; cheap to clone.
#[derive(Clone)]
pub(super) struct Hall {
    /// Whose agents may connect.
    pub(super) tenant: Arc<str>,
    /// What a session allows.
    pub(super) session: ServerSettings,
    /// The limits.
    pub(super) limits: Limits,
    /// The memory for all.
    pub(super) memory: Memory,
    /// Those who are not in yet.
    pub(super) arrivals: Arrivals,
    /// The batches that wait for the intake.
    pub(super) line: Arc<Line>,
    /// What is counted.
    pub(super) figures: Arc<Figures>,
    board: Arc<Mutex<Board>>,
    numbers: Arc<AtomicU64>,
}

impl Hall {
    /// A hall that knows what each agent was told.
    pub(super) fn new(
        tenant: &str,
        session: ServerSettings,
        limits: Limits,
        acks: Vec<(String, Ack)>,
    ) -> Self {
        let board = Board { acks: acks.into_iter().collect(), ..Board::default() };
        Self {
            tenant: tenant.into(),
            session,
            limits,
            memory: Memory::new(limits.memory_bytes_max),
            arrivals: Arrivals::default(),
            line: Arc::default(),
            figures: Arc::default(),
            board: Arc::new(Mutex::new(board)),
            numbers: Arc::default(),
        }
    }

    /// A number for a connection.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a batch to the intake with the memory that it takes; its answer comes to `answers`, with
    /// this token. `false` if the collector stops.
    pub(super) fn hand_in(
        &self,
        inbound: Inbound,
        held: Held,
        token: u64,
        answers: &Sender<Answer>,
    ) -> bool {
        self.line.join(Job { inbound, held, token, answers: answers.clone() })
    }

    /// Tells an agent that has just subscribed where we stand, and no newer word overtakes it.
    pub(super) fn tell_ack(&self, agent: &str, answers: &Sender<Answer>) {
        let board = self.board();
        let ack = board.acks.get(agent).cloned();
        let ack = ack.unwrap_or(Ack { version: 1, ..Ack::default() });
        let _ = answers.try_send(Answer::Ack(ack));
    }

    /// What an agent said of itself last.
    pub(super) fn status(&self, agent: &str) -> Option<Bytes> {
        self.board().statuses.get(agent).map(|said| said.bytes.clone())
    }

    /// Keeps what an agent says of itself, and says so in the log when it matters. `false` if it is its last word.
    pub(super) fn note_status(&self, agent: &str, status: &Bytes) -> bool {
        let state: State = serde_json::from_slice(status).unwrap_or_default();
        // It outlives the packet that it came in.
        let kept = Bytes::copy_from_slice(status);
        let said = Said { bytes: kept, gist: state.gist(), at: Instant::now() };
        let gist = said.gist.clone();
        let before = self.board().statuses.insert(agent.to_owned(), said);
        if before.is_none_or(|before| before.gist != gist) {
            let (level, words) = state.words(agent);
            self.say(level, agent, &words);
        }
        !state.is_last_word()
    }

    /// Whether there is no place for this agent. One that is connected already takes its own.
    pub(super) fn is_full_for(&self, agent: &str) -> bool {
        let board = self.board();
        board.agents.len() >= self.limits.agents_max && !board.agents.contains_key(agent)
    }

    /// Whether this certificate is on the deny list.
    pub(super) fn denies(&self, agent: &str, fingerprint: &[u8; 32]) -> bool {
        self.board().denied.denies(agent, fingerprint)
    }

    /// Another deny list: it counts from now on, also for those who are connected.
    pub(super) fn deny(&self, denied: Denied) {
        let mut board = self.board();
        for (agent, seat) in &board.agents {
            if denied.denies(agent, &seat.fingerprint) {
                warn!("agent {agent} is sent away: its certificate is on the deny list");
                let _ = seat.answers.try_send(Answer::Dismiss(Reason::NOT_AUTHORIZED));
            }
        }
        board.denied = denied;
    }

    /// The newest connection of an agent counts; an older one is told so. `false` if it is denied, by now.
    pub(super) fn enter(
        &self,
        agent: &str,
        fingerprint: [u8; 32],
        number: u64,
        answers: &Sender<Answer>,
    ) -> bool {
        let mut board = self.board();
        if board.denied.denies(agent, &fingerprint) {
            return false;
        }
        let seat = Seat { number, fingerprint, answers: answers.clone() };
        if let Some(older) = board.agents.insert(agent.to_owned(), seat) {
            let _ = older.answers.try_send(Answer::Dismiss(Reason::TAKEN_OVER));
        }
        true
    }

    /// An agent comes through the broker that has this number: what it is told goes there, too. `false` if it
    /// is denied.
    pub(super) fn bring(
        &self,
        agent: &str,
        number: u64,
        answers: &Sender<Answer>,
        now: Instant,
    ) -> bool {
        let mut board = self.board();
        if board.denied.denies(agent, &UNKNOWN) {
            return false;
        }
        match board.through.get_mut(agent) {
            Some(passage) if passage.number == number => {
                (passage.heard, passage.is_online) = (now, true);
            }
            _ => {
                // Nobody waits for an answer that long.
                board.through.retain(|_, passage| passage.is_fresh(now));
                let answers = answers.clone();
                let passage = Passage { number, answers, heard: now, is_online: true };
                board.through.insert(agent.to_owned(), passage);
            }
        }
        true
    }

    /// The same with what the agent says of itself: its last word ends it, but for what is under way.
    pub(super) fn bring_status(
        &self,
        agent: &str,
        status: &Bytes,
        number: u64,
        answers: &Sender<Answer>,
        now: Instant,
    ) -> bool {
        if !self.bring(agent, number, answers, now) {
            return false;
        }
        let is_online = self.note_status(agent, status);
        if let Some(passage) = self.board().through.get_mut(agent) {
            passage.is_online = is_online;
        }
        true
    }

    /// What each agent was told last.
    pub(super) fn acks(&self) -> Vec<(String, Ack)> {
        self.board().acks.iter().map(|(agent, ack)| (agent.clone(), ack.clone())).collect()
    }

    /// The connection of this number is gone.
    pub(super) fn leave(&self, agent: &str, number: u64) {
        let mut board = self.board();
        if board.agents.get(agent).is_some_and(|seat| seat.number == number) {
            board.agents.remove(agent);
        }
    }

    /// How many agents are here, by a connection of their own or through a broker.
    pub(super) fn agents(&self, now: Instant) -> usize {
        let board = self.board();
        let open = |(name, passage): &(&String, &Passage)| {
            passage.is_open(now) && !board.agents.contains_key(*name)
        };
        board.agents.len() + board.through.iter().filter(open).count()
    }

    /// All of whom something is known, by name.
    pub(super) fn known(&self, now: Instant) -> Vec<AgentState> {
        let (mut known, statuses): (Vec<AgentState>, Vec<Option<Bytes>>) = {
            let board = self.board();
            let open = board.through.iter().filter(|(_, passage)| passage.is_open(now));
            let here = board.agents.keys().chain(open.map(|(name, _)| name));
            let names: BTreeSet<&String> = board.acks.keys().chain(here).collect();
            names.into_iter().map(|name| board.look(name, now)).unzip()
        };
        // Without the board, which all others wait for.
        for (agent, status) in known.iter_mut().zip(statuses) {
            agent.tally = self.figures.of(&agent.name);
            // Who says something else of himself says nothing.
            agent.status = status.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        }
        known
    }

    /// Tells everybody that the collector stops.
    pub(super) fn dismiss_all(&self) {
        for seat in self.board().agents.values() {
            let _ = seat.answers.try_send(Answer::Dismiss(Reason::SHUTTING_DOWN));
        }
    }

    /// Says in the log what `whom` did, unless there was too much of that lately.
    pub(super) fn say(&self, level: Level, whom: &str, words: &str) {
        let told = self.board().gossip.may_say(whom, Instant::now());
        if let Some(more) = told {
            log::log!(level, "{words}{more}");
        }
    }

    /// Tells who brought a group of batches, and whose they were, what became of them.
    pub(super) fn answer(&self, group: Vec<Job>, taken: Taken) {
        for (job, refusal) in group.into_iter().zip(taken.refused) {
            let Job { inbound, held, token, answers } = job;
            if let Some(refusal) = &refusal {
                let agent = &inbound.agent;
                let words = format!("agent {agent}: a batch was refused: {refusal}");
                self.say(Level::Error, agent, &words);
            }
            // Whoever is told finds the room free.
            drop((inbound, held));
            let _ = answers.try_send(Answer::Done { token, refused: refusal.is_some() });
        }
        for gap in &taken.gaps {
            error!("{gap}");
        }
        let mut board = self.board();
        for (agent, ack) in taken.acks {
            if let Some(demand) = ack.demand {
                warn!("agent {agent} is asked: {demand:?}, because {}", ack.why);
            }
            if let Some(seat) = board.agents.get(&agent) {
                let _ = seat.answers.try_send(Answer::Ack(ack.clone()));
            }
            if let Some(passage) = board.through.get(&agent) {
                let pass = Answer::Pass { agent: agent.clone(), ack: ack.clone() };
                let _ = passage.answers.try_send(pass);
            }
            board.acks.insert(agent, Ack { demand: None, why: String::new(), ..ack });
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an agent of which nothing comes through a broker counts as being there: it reports every 30 s.
const PASSAGE_MAX: Duration = Duration::from_secs(100);
/// Whoever comes through a broker shows his certificate there, not here: only his name can be denied.
const UNKNOWN: [u8; 32] = [0; 32];

#[cfg(test)]
pub(super) mod tests {
    use smol::channel::{self, Receiver};

    use crate::telemetry::Status;

    use super::super::memory::Account;
    use super::*;

    /// A batch of an agent.
    pub(crate) fn job(agent: &str, message: Bytes) -> Job {
        let held = Memory::new(1 << 20).take(message.len(), &Account::default());
        let inbound = Inbound { agent: agent.to_owned(), message };
        Job { inbound, held, token: 0, answers: channel::unbounded().0 }
    }

    fn hall(agents_max: usize) -> Hall {
        let session = ServerSettings {
            receive_maximum: 1,
            packet_bytes_max: 1000,
            keep_alive_s_max: 30,
            patience: std::time::Duration::from_secs(1),
        };
        let limits = Limits { agents_max, agent_bytes_max: 1000, memory_bytes_max: 1000 };
        Hall::new("acme", session, limits, Vec::new())
    }

    fn dismissed(answers: &Receiver<Answer>) -> Option<Reason> {
        match answers.try_recv() {
            Ok(Answer::Dismiss(reason)) => Some(reason),
            Ok(_) => panic!("nothing else was to be told"),
            Err(_) => None,
        }
    }

    #[test]
    fn the_newest_connection_counts_also_when_the_hall_is_full() {
        let hall = hall(1);
        let ((older, old_inbox), (newer, new_inbox)) = (channel::unbounded(), channel::unbounded());
        assert!(hall.enter("edge-1", [1; 32], 1, &older));
        assert!(hall.is_full_for("edge-2") && !hall.is_full_for("edge-1"));
        assert!(hall.enter("edge-1", [1; 32], 2, &newer));
        assert_eq!(dismissed(&old_inbox), Some(Reason::TAKEN_OVER));
        hall.leave("edge-1", 1);
        assert!(hall.is_full_for("edge-2"), "the older one's end frees no place");
        assert_eq!(dismissed(&new_inbox), None);
        hall.leave("edge-1", 2);
        assert!(!hall.is_full_for("edge-2"));
    }

    #[test]
    fn a_deny_list_sends_those_away_who_are_in_and_keeps_them_out() {
        let hall = hall(9);
        let (answers, inbox) = channel::unbounded();
        let (others, other_inbox) = channel::unbounded();
        assert!(hall.enter("edge-1", [1; 32], 1, &answers));
        assert!(hall.enter("edge-2", [2; 32], 2, &others));
        hall.deny(Denied::parse("edge-1", |_| true).unwrap());
        assert_eq!(dismissed(&inbox), Some(Reason::NOT_AUTHORIZED));
        assert_eq!(dismissed(&other_inbox), None);
        assert!(!hall.enter("edge-1", [1; 32], 3, &answers));
        hall.deny(Denied::default());
        assert!(hall.enter("edge-1", [1; 32], 4, &answers));
    }

    #[test]
    fn an_agent_that_has_gone_says_no_more_how_it_is() {
        let hall = hall(9);
        let (answers, _inbox) = channel::unbounded();
        assert!(hall.enter("edge-1", [1; 32], 1, &answers));
        let status = serde_json::to_vec(&Status { healthy: true, ..Status::default() }).unwrap();
        hall.note_status("edge-1", &Bytes::from(status));
        let now = Instant::now();
        let told = |hall: &Hall| {
            let known = hall.known(now);
            known.first().map(|agent| (agent.status.is_some(), agent.status_age_ms.is_some()))
        };
        assert_eq!(told(&hall), Some((true, true)));
        hall.answer(
            Vec::new(),
            Taken { acks: vec![("edge-1".into(), Ack::default())], ..Taken::default() },
        );
        hall.leave("edge-1", 1);
        assert_eq!(told(&hall), Some((false, false)));
    }

    #[test]
    fn who_comes_through_a_broker_is_there_until_his_last_word_or_for_a_while() {
        let hall = hall(9);
        let (answers, inbox) = channel::unbounded();
        let now = Instant::now();
        let names = |now| -> Vec<(String, bool)> {
            let known = hall.known(now).into_iter();
            known.map(|agent| (agent.name, agent.status.is_some())).collect()
        };
        let well = serde_json::to_vec(&Status { healthy: true, ..Status::default() }).unwrap();
        let (well, gone) = (Bytes::from(well), Bytes::from_static(b"{\"agent\":\"edge-1\"}"));
        let status = |status: &Bytes, now| hall.bring_status("edge-1", status, 1, &answers, now);
        assert!(status(&well, now), "also if it brings no batches");
        assert_eq!((names(now), hall.agents(now)), (vec![("edge-1".into(), true)], 1));
        assert!(hall.enter("edge-1", [1; 32], 2, &answers));
        assert_eq!(hall.agents(now), 1, "on two ways it is one");
        hall.leave("edge-1", 2);

        assert!(status(&gone, now));
        assert_eq!((names(now), hall.agents(now)), (vec![], 0));
        let acks = vec![("edge-1".into(), Ack::default())];
        hall.answer(Vec::new(), Taken { acks, ..Taken::default() });
        assert!(
            matches!(inbox.try_recv(), Ok(Answer::Pass { .. })),
            "what was under way is answered"
        );
        assert_eq!(names(now), [("edge-1".to_owned(), false)]);

        assert!(status(&well, now));
        assert_eq!(hall.agents(now + PASSAGE_MAX), 0);
        assert_eq!(names(now + PASSAGE_MAX), [("edge-1".to_owned(), false)]);
        hall.deny(Denied::parse("edge-1", |_| true).unwrap());
        let before = hall.status("edge-1");
        assert!(!status(&gone, now) && hall.status("edge-1") == before);
    }

    #[test]
    fn what_lasts_is_said_once() {
        let gist = |reason: &str| State { reasons: vec![reason.to_owned()], healthy: false }.gist();
        let down = gist("link: down for 75 s");
        assert_eq!(down, gist("link: down for 1105 s"));
        assert_ne!(down, gist("source: connected, but silent for 75 s"));
        assert_ne!(down, State::default().gist());
    }

    #[test]
    fn what_an_agent_said_last_is_kept_whatever_it_is() {
        let hall = hall(9);
        assert_eq!(hall.status("edge-1"), None);
        for status in [&b"{\"healthy\":true}"[..], b"\xff no JSON", b"{\"reasons\":[\"a\\nb\"]}"] {
            hall.note_status("edge-1", &Bytes::copy_from_slice(status));
            assert_eq!(hall.status("edge-1").as_deref(), Some(status));
        }
    }
}
