//! SHELL: one agent's connection, from its first byte to its last.
//!
//! What arrives is read only as far as there is memory for it: an agent that is not read from stops
//! sending, by QUIC's or TCP's own flow control, and is not told off for its silence.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::Level;
use smol::channel::{self, Receiver, Sender};
use smol::future;

use crate::mqtt::{Bytes, Input, Reason, SessionError};
use crate::transport::{Connection, Peer, Reader, TransportError, Writer};

use super::arrivals::Arrival;
use super::desk::{Desk, Wish};
use super::hall::{Answer, Hall};
use super::intake::Inbound;
use super::memory::{Account, Asked, Held};
use super::pace::Pace;

/// Takes a newcomer in, or says why not.
pub(super) async fn welcome(
    address: SocketAddr,
    established: impl Future<Output = Result<Connection, TransportError>>,
    hall: Hall,
) {
    let arrival = hall.arrivals.begin();
    let established = async { Some(established.await) };
    let gone = async {
        arrival.is_gone().await;
        None
    };
    match future::or(established, gone).await {
        None => {
            hall.say(Level::Warn, NEWCOMERS, &format!("{address} was not let in: too many knock"));
        }
        Some(Err(error)) => {
            hall.say(Level::Warn, NEWCOMERS, &format!("{address} was not let in: {error}"));
        }
        Some(Ok(connection)) => admit(connection, arrival, &hall).await,
    }
}

/// Lets an agent of ours speak, if it may.
async fn admit(connection: Connection, arrival: Arrival, hall: &Hall) {
    let Peer { address, name, fingerprint } = connection.peer.clone();
    let (Some(agent), Some(fingerprint)) = (name, fingerprint) else { return };
    let (answers, inbox) = channel::unbounded();
    let mut desk = Desk::new(hall.session, &hall.tenant, &agent);
    if hall.denies(&agent, &fingerprint) {
        let words = format!("agent {agent} at {address} was not let in: its certificate is denied");
        hall.say(Level::Warn, &agent, &words);
        desk.refuse_all(Reason::NOT_AUTHORIZED);
    } else if hall.is_full_for(&agent) {
        desk.refuse_all(Reason::SERVER_BUSY);
    }
    let Connection { reader, writer, .. } = connection;
    let conversation = Conversation {
        number: hall.number(),
        hall,
        address,
        fingerprint,
        desk,
        reader,
        buffer: vec![0; READ_BYTES],
        answers,
        inbox,
        arrival: Some((arrival, Instant::now() + CONNECT_MAX)),
        account: Account::default(),
        room: Room::None,
        pace: Pace::default(),
        agent,
    };
    conversation.hold(writer).await;
}

struct Conversation<'a> {
    hall: &'a Hall,
    agent: String,
    address: SocketAddr,
    fingerprint: [u8; 32],
    number: u64,
    desk: Desk,
    reader: Reader,
    buffer: Vec<u8>,
    answers: Sender<Answer>,
    inbox: Receiver<Answer>,
    /// Until it has said who it is, and until when it must.
    arrival: Option<(Arrival, Instant)>,
    account: Account,
    room: Room,
    pace: Pace,
}

/// Memory for the packet that is arriving.
enum Room {
    None,
    /// For the packet of this number.
    Held(u64, Held),
    Wanted(u64, Receiver<Held>),
}

/// What ends a wait.
enum Next {
    Read(Result<usize, TransportError>),
    Answer(Answer),
    Room(Held),
    Tick,
    Gone,
}

impl Conversation<'_> {
    async fn hold(mut self, mut writer: Writer) {
        let mut handled = self.desk.handle(Input::Opened, Instant::now());
        let words = loop {
            if let Err(words) = self.write(&mut writer).await {
                break words;
            }
            if let Err(error) = &handled {
                break error.to_string();
            }
            if let Some(words) = self.serve() {
                break words;
            }
            if self.desk.is_over() {
                break "dismissed".to_owned();
            }
            // A wish that was refused at once has its answer ready.
            if self.desk.is_idle() {
                handled = match self.next().await {
                    Ok(next) => self.take(next),
                    Err(words) => break words,
                };
            }
        };
        let _ = self.write(&mut writer).await;
        self.hall.leave(&self.agent, self.number);
        let (agent, address) = (&self.agent, self.address);
        let (level, how) = match self.arrival {
            Some(_) => (Level::Warn, "was not let in"),
            None => (Level::Info, "has gone"),
        };
        self.hall.say(level, agent, &format!("agent {agent} at {address} {how}: {words}"));
        drop(self);
        writer.finish().await;
    }

    /// Writes what the desk has to say; an error says why there is nobody to listen.
    async fn write(&mut self, writer: &mut Writer) -> Result<(), String> {
        while let Some(bytes) = self.desk.poll() {
            let written = async { writer.write(bytes).await.map_err(|error| error.to_string()) };
            let late = async {
                smol::Timer::after(WRITE_MAX).await;
                Err(format!("it has taken nothing for {} s", WRITE_MAX.as_secs()))
            };
            if let Err(words) = future::or(written, late).await {
                let _ = self.desk.handle(Input::Lost, Instant::now());
                while self.desk.poll().is_some() {}
                return Err(words);
            }
        }
        Ok(())
    }

    /// Does what the desk wishes. Returns why the conversation is over, if it is.
    fn serve(&mut self) -> Option<String> {
        while let Some(wish) = self.desk.wish() {
            match wish {
                Wish::Entered => {
                    self.arrival = None;
                    if !self.hall.enter(&self.agent, self.fingerprint, self.number, &self.answers) {
                        let _ = self.desk.dismiss(Reason::NOT_AUTHORIZED, Instant::now());
                        return Some("its certificate is denied".to_owned());
                    }
                    let words = format!("agent {} is connected from {}", self.agent, self.address);
                    self.hall.say(Level::Info, &self.agent, &words);
                }
                Wish::Batch { token, message } => {
                    let held = self.room_for(&message);
                    let inbound = Inbound { agent: self.agent.clone(), message };
                    if !self.hall.hand_in(inbound, held, token, &self.answers) {
                        return Some("the collector stops".to_owned());
                    }
                }
                Wish::WantsAck => self.hall.tell_ack(&self.agent, &self.answers),
                Wish::WantsStatus => {
                    if let Some(status) = self.hall.status(&self.agent) {
                        let _ = self.answers.try_send(Answer::Status(status));
                    }
                }
                Wish::Status(status) => _ = self.hall.note_status(&self.agent, &status),
                Wish::Refused(what) => {
                    let words = format!("agent {}: refused: {what}", self.agent);
                    self.hall.say(Level::Warn, &self.agent, &words);
                }
                Wish::Over(words) => return Some(words),
            }
        }
        None
    }

    /// The memory that a message is in: what was reserved for it, else it is added now.
    fn room_for(&mut self, message: &Bytes) -> Held {
        match std::mem::replace(&mut self.room, Room::None) {
            Room::Held(_, held) => held,
            _ => self.hall.memory.take(message.len() + JOB_BYTES, &self.account),
        }
    }

    /// Whether to read on now. Sees to it that there is room for the packet that is arriving.
    fn may_read(&mut self) -> bool {
        let begun = self.desk.begun();
        let number = begun.map(|begun| begun.number);
        match &self.room {
            Room::Held(of, _) if Some(*of) == number => return true,
            Room::Wanted(of, _) if Some(*of) == number => return false,
            _ => self.room = Room::None,
        }
        if self.desk.unanswered() >= usize::from(self.hall.session.receive_maximum) {
            return false;
        }
        let (mine, mine_max) = (self.account.bytes(), self.hall.limits.agent_bytes_max);
        match begun {
            // A packet that ends in what is read next anyway.
            Some(begun) if begun.bytes - begun.arrived.min(begun.bytes) > READ_BYTES => {
                if mine > 0 && mine + begun.bytes > mine_max {
                    return false;
                }
                match self.hall.memory.ask(begun.bytes + JOB_BYTES, &self.account) {
                    Asked::Granted(held) => self.room = Room::Held(begun.number, held),
                    Asked::Later(held) => self.room = Room::Wanted(begun.number, held),
                }
                matches!(self.room, Room::Held(..))
            }
            _ if mine >= mine_max => false,
            _ if self.hall.memory.is_overdrawn() => {
                let number = number.unwrap_or(NO_PACKET);
                match self.hall.memory.ask(1, &self.account) {
                    Asked::Granted(_) => true,
                    Asked::Later(held) => {
                        self.room = Room::Wanted(number, held);
                        false
                    }
                }
            }
            _ => true,
        }
    }

    /// Waits for the next thing; an error ends the conversation.
    async fn next(&mut self) -> Result<Next, String> {
        let now = Instant::now();
        let reading = self.may_read();
        let begun = self.desk.begun();
        self.pace.note(begun, reading, now);
        let wanted = begun.is_some_and(|begun| self.hall.memory.is_short_of(begun.bytes));
        let late_at = self.pace.late_at(begun, wanted);
        if late_at.is_some_and(|at| at <= now) {
            let begun = begun.unwrap_or_default();
            let _ = self.desk.dismiss(Reason::QUOTA, now);
            return Err(format!(
                "too slow: {} of a packet of {} bytes have come",
                begun.arrived, begun.bytes
            ));
        }
        if self.arrival.as_ref().is_some_and(|(_, until)| *until <= now) {
            return Err(format!("no CONNECT within {} s", CONNECT_MAX.as_secs()));
        }
        // Silence while nobody listens is not the agent's.
        let silent_at = self.desk.wake_at().filter(|_| reading);
        let until = self.arrival.as_ref().map(|(_, until)| *until);
        // Whether others wait for the room changes without a word.
        let look_again = late_at.map(|at| at.min(now + LOOK_EVERY));
        let wake_at = [silent_at, until, look_again].into_iter().flatten().min();
        let (reader, buffer) = (&mut self.reader, &mut self.buffer);
        let (inbox, place, arrival) = (&self.inbox, &self.room, &self.arrival);
        let read = async {
            if !reading {
                return std::future::pending().await;
            }
            Next::Read(reader.read(buffer).await)
        };
        let answer = async {
            match inbox.recv().await {
                Ok(answer) => Next::Answer(answer),
                Err(_) => std::future::pending().await,
            }
        };
        let room = async {
            if let Room::Wanted(_, room) = place
                && let Ok(held) = room.recv().await
            {
                return Next::Room(held);
            }
            std::future::pending().await
        };
        let tick = async {
            match wake_at {
                Some(at) => smol::Timer::at(at).await,
                None => std::future::pending().await,
            };
            Next::Tick
        };
        let gone = async {
            match arrival {
                Some((arrival, _)) => arrival.is_gone().await,
                None => std::future::pending().await,
            }
            Next::Gone
        };
        let own = future::or(answer, future::or(room, gone));
        let next = future::or(own, future::or(read, tick)).await;
        if !reading {
            self.desk.excuse(Instant::now());
        }
        Ok(next)
    }

    /// Hands what has happened to the desk.
    fn take(&mut self, next: Next) -> Result<(), SessionError> {
        let now = Instant::now();
        match next {
            Next::Tick => self.desk.handle(Input::Tick, now),
            Next::Read(Ok(len)) if len > 0 => {
                let bytes = self.buffer.get(..len).unwrap_or_default();
                self.desk.handle(Input::Bytes(bytes), now)
            }
            Next::Read(_) => self.desk.handle(Input::Lost, now),
            Next::Room(held) => {
                self.room = match std::mem::replace(&mut self.room, Room::None) {
                    Room::Wanted(number, _) if number != NO_PACKET => Room::Held(number, held),
                    _ => Room::None,
                };
                Ok(())
            }
            Next::Gone => self.desk.dismiss(Reason::SERVER_BUSY, now),
            Next::Answer(Answer::Done { token, refused }) => self.desk.done(token, refused, now),
            Next::Answer(Answer::Ack(ack)) => self.desk.tell(&ack, now),
            // A broker's business.
            Next::Answer(Answer::Pass { .. }) => Ok(()),
            Next::Answer(Answer::Status(status)) => self.desk.show_status(status, now),
            Next::Answer(Answer::Dismiss(reason)) => self.desk.dismiss(reason, now),
        }
    }
}

/// How long a newcomer may take for its handshake, and again for its first bytes.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long it may take then until it has said who it is.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of what we say.
const WRITE_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is read at once: an idle connection keeps so much.
const READ_BYTES: usize = 16 << 10;
/// What a batch takes beside its bytes while it waits.
const JOB_BYTES: usize = 512;
/// Where room is wanted for no packet in particular.
const NO_PACKET: u64 = u64::MAX;
/// Under which complaints about those who are nobody yet are counted.
const NEWCOMERS: &str = "";
