//! The server's side of a session: what the collector runs, one per connection.
//!
//! ```text
//! Offline ──Opened──► Waiting ──CONNECT──► Deciding ──accept──► Online ──DISCONNECT──► Closed
//!                        │                    └──────refuse──────────────────────────────▲
//!                        └──────────────── error, too late ──────────────────────────────┘
//! ```
//!
//! Who may do what is the owner's to decide: each CONNECT, PUBLISH and SUBSCRIBE is an event that
//! waits for an answer. While a CONNECT waits, what follows it is kept, not read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as codec;

use super::inflight::{Inflight, WAITING_MAX};
use super::packet::{self, Begun, Filter, Inbox, Packet, QoS, Will};
use super::{Input, Output, Reason, SessionError};

/// What a server allows each client.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// QoS 1 messages that may be in flight to us, unanswered; 1 and up.
    pub receive_maximum: u16,
    /// The longest packet that we accept, in bytes.
    pub packet_bytes_max: u32,
    /// The longest keep-alive in seconds; a client that wants a longer one, or none, gets this.
    pub keep_alive_s_max: u16,
    /// For how long CONNECT may keep us waiting, and a client may owe us a PUBACK.
    pub patience: Duration,
}

/// What a client said in its CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectRequest {
    /// The client identifier, perhaps empty. Whether it is the certificate's name is for the owner
    /// to check.
    pub client_id: String,
    /// The keep-alive that will hold, in seconds.
    pub keep_alive_s: u16,
    /// Whether the client wants to begin afresh.
    pub clean_start: bool,
    /// For how long it wants its session kept, in seconds. We keep none.
    pub session_expiry_s: u32,
    /// What to publish if it vanishes.
    pub will: Option<Will>,
    /// User name and password, if it sent them.
    pub login: Option<(String, String)>,
}

/// News for the server's owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerEvent {
    /// Answer with [`Server::accept`] or [`Server::refuse`].
    Connect(ConnectRequest),
    /// Answer with [`Server::acknowledge`] or [`Server::reject`].
    Publish {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Bytes,
        /// Whether it is to be retained.
        retain: bool,
        /// Names it in the answer.
        token: u64,
    },
    /// Answer with [`Server::grant`].
    Subscribe {
        /// What the client wants.
        filters: Vec<Filter>,
        /// Names it in the answer.
        token: u64,
    },
    /// An accepted connection ended. Comes once.
    Disconnected {
        /// Whether the last will is to be published.
        with_will: bool,
        /// The client's word, or ours if we ended it; none if the link was lost.
        reason: Option<Reason>,
    },
}

/// The server's state machine: see the room's page.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    state: State,
    inbox: Inbox,
    outbox: VecDeque<Output<ServerEvent>>,
    /// Messages to the client that wait for its PUBACK.
    outgoing: Inflight<()>,
    /// Messages and subscriptions of the client that wait for our answer.
    incoming: VecDeque<(u64, Asked)>,
    last_token: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Offline,
    Waiting { until: Instant },
    Deciding(Peer),
    Online { peer: Peer, heard: Instant },
    Closed,
}

/// What the client allows us.
#[derive(Clone, Copy, Debug)]
struct Peer {
    receive_maximum: u16,
    packet_bytes_max: u32,
    /// What holds; `keep_alive_asked_s` is what it wanted.
    keep_alive_s: u16,
    keep_alive_asked_s: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    /// QoS 0, which has no answer.
    Told,
    Message {
        id: u16,
    },
    Subscription {
        id: u16,
        filters: usize,
    },
}

impl Server {
    /// A server whose link is not open yet.
    pub fn new(settings: ServerSettings) -> Self {
        Self {
            settings,
            state: State::Offline,
            inbox: Inbox::new(settings.packet_bytes_max),
            outbox: VecDeque::new(),
            outgoing: Inflight::new(),
            incoming: VecDeque::new(),
            last_token: 0,
        }
    }

    /// Takes in what happened outside.
    ///
    /// # Errors
    /// Why the connection must end: see the room's page.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Result<(), SessionError> {
        let result = match input {
            Input::Opened => {
                *self = Self::new(self.settings);
                self.state = State::Waiting { until: now + self.settings.patience };
                Ok(())
            }
            Input::Bytes(bytes) => self.handle_bytes(bytes, now),
            Input::Tick => self.handle_tick(now),
            Input::Lost => {
                self.end(true, None);
                self.state = State::Offline;
                Ok(())
            }
        };
        self.told(result)
    }

    /// Takes the client in.
    ///
    /// # Errors
    /// As [`Server::handle`]: what the client sent behind its CONNECT is read now.
    pub fn accept(&mut self, session_present: bool, now: Instant) -> Result<(), SessionError> {
        let State::Deciding(peer) = self.state else { return Ok(()) };
        self.state = State::Online { peer, heard: now };
        let changed = peer.keep_alive_s != peer.keep_alive_asked_s;
        let properties = codec::ConnAckProperties {
            session_expiry_interval: Some(0),
            receive_max: Some(self.settings.receive_maximum.max(1)),
            max_qos: Some(1),
            retain_available: None,
            max_packet_size: Some(self.settings.packet_bytes_max),
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            server_keep_alive: changed.then_some(peer.keep_alive_s),
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        };
        self.outbox.push_back(Output::Write(packet::connack(session_present, properties)));
        let result = self.read_inbox(now);
        self.told(result)
    }

    /// Does not take the client in: after the last write, close the link.
    pub fn refuse(&mut self, reason: Reason) {
        if let State::Deciding(_) = self.state {
            self.outbox.push_back(Output::Write(packet::refusal(reason)));
            self.state = State::Closed;
        }
    }

    /// The message is taken over. Answer in the order of the messages.
    pub fn acknowledge(&mut self, token: u64) {
        self.reject(token, Reason::SUCCESS);
    }

    /// The message is not taken; nothing else happens to it.
    pub fn reject(&mut self, token: u64, reason: Reason) {
        if let Some(Asked::Message { id }) = self.answer(token) {
            self.outbox.push_back(Output::Write(packet::puback(id, reason)));
        }
    }

    /// Answers a subscription, filter by filter; a missing answer is "not authorized".
    pub fn grant(&mut self, token: u64, results: &[Result<QoS, Reason>]) {
        let Some(Asked::Subscription { id, filters }) = self.answer(token) else { return };
        let reason = |result: &Result<QoS, Reason>| match result {
            Ok(QoS::AtMostOnce) => Reason::SUCCESS,
            Ok(QoS::AtLeastOnce) => Reason(0x01),
            Err(reason) => *reason,
        };
        let mut reasons: Vec<Reason> = results.iter().map(reason).collect();
        reasons.resize(filters, Reason::NOT_AUTHORIZED);
        self.outbox.push_back(Output::Write(packet::suback(id, &reasons)));
    }

    /// Sends a message to the client.
    ///
    /// # Errors
    /// Nothing was sent: no connection, no [`Server::room`] for QoS 1, a topic that is none, or a
    /// packet above the client's limit.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        retain: bool,
        qos: QoS,
        now: Instant,
    ) -> Result<(), SessionError> {
        let State::Online { peer, .. } = &self.state else { return Err(SessionError::Offline) };
        let max = peer.packet_bytes_max;
        let publish = packet::Publish::new(topic, payload.into(), qos, retain, max)?;
        let id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce if self.room() == 0 => return Err(SessionError::NoRoom),
            QoS::AtLeastOnce => Some(self.outgoing.add((), now).ok_or(SessionError::NoRoom)?),
        };
        self.outbox.push_back(Output::Write(publish.encode(id)));
        Ok(())
    }

    /// Ends the connection: after the last write, close the link.
    pub fn disconnect(&mut self, reason: Reason) {
        if let State::Online { .. } = self.state {
            self.outbox.push_back(Output::Write(packet::disconnect(reason)));
        }
        // A server that ends it leaves the client without a word of its own.
        self.end(true, Some(reason));
    }

    /// What is to be done next, if anything.
    pub fn poll(&mut self) -> Option<Output<ServerEvent>> {
        self.outbox.pop_front()
    }

    /// How many more QoS 1 messages the client allows now.
    pub fn room(&self) -> usize {
        match &self.state {
            State::Online { peer, .. } => {
                let max = usize::from(peer.receive_maximum).min(WAITING_MAX);
                max.saturating_sub(self.outgoing.len())
            }
            _ => 0,
        }
    }

    /// The packet that is arriving, once its length is known.
    pub fn begun(&self) -> Option<Begun> {
        self.inbox.begun()
    }

    /// We did not listen until now: the client's silence was not its own.
    pub fn excuse(&mut self, now: Instant) {
        if let State::Online { heard, .. } = &mut self.state {
            *heard = now;
        }
    }

    /// Whether the conversation is over: write what is left and close the link.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When to call [`Server::handle`] with [`Input::Tick`], if nothing happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Offline | State::Deciding(_) | State::Closed => None,
            State::Waiting { until } => Some(*until),
            State::Online { peer, heard } => {
                let answer = self.outgoing.since().map(|since| since + self.settings.patience);
                [peer.silent_at(*heard), answer].into_iter().flatten().min()
            }
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) -> Result<(), SessionError> {
        match &mut self.state {
            State::Offline | State::Closed => return Ok(()),
            State::Waiting { .. } => {}
            State::Deciding(_) => {
                // Not read before the owner has decided, so it must not become more either.
                let (bytes, bytes_max) =
                    (self.inbox.len() + bytes.len(), 2 * self.settings.packet_bytes_max as usize);
                if bytes > bytes_max {
                    return Err(SessionError::TooLarge { bytes, bytes_max });
                }
            }
            State::Online { heard, .. } => *heard = now,
        }
        self.inbox.push(bytes);
        self.read_inbox(now)
    }

    fn read_inbox(&mut self, now: Instant) -> Result<(), SessionError> {
        while let State::Waiting { .. } | State::Online { .. } = self.state
            && let Some(packet) = self.inbox.take()?
        {
            self.handle_packet(packet, now)?;
        }
        if let State::Closed = self.state {
            self.inbox.clear();
        }
        Ok(())
    }

    fn handle_packet(&mut self, packet: Packet, now: Instant) -> Result<(), SessionError> {
        match (&self.state, packet) {
            (State::Waiting { .. }, Packet::Connect { connect, will, login }) => {
                return self.handle_connect(connect, will, login);
            }
            (State::Online { .. }, Packet::Publish { topic, payload, retain, id }) => {
                let asked = id.map_or(Asked::Told, |id| Asked::Message { id });
                let token = self.ask(asked)?;
                self.event(ServerEvent::Publish { topic, payload, retain, token });
            }
            (State::Online { .. }, Packet::Subscribe { id, filters }) => {
                let token = self.ask(Asked::Subscription { id, filters: filters.len() })?;
                self.event(ServerEvent::Subscribe { filters, token });
            }
            (State::Online { .. }, Packet::PubAck { id, .. }) => {
                self.outgoing.answered(id, now);
            }
            (State::Online { .. }, Packet::PingReq) => {
                self.outbox.push_back(Output::Write(packet::pingresp()));
            }
            (State::Online { .. }, Packet::Disconnect { reason }) => {
                self.end(reason != Reason::SUCCESS, Some(reason));
            }
            (State::Waiting { .. }, _) => {
                return Err(SessionError::Unexpected { what: "packet before CONNECT" });
            }
            (_, packet) => return Err(SessionError::Unexpected { what: packet.name() }),
        }
        Ok(())
    }

    fn handle_connect(
        &mut self,
        connect: codec::Connect,
        will: Option<Will>,
        login: Option<(String, String)>,
    ) -> Result<(), SessionError> {
        let said = connect.properties.unwrap_or_default();
        if said.authentication_method.is_some() {
            return Err(SessionError::NotSupported { what: "an authentication method" });
        }
        let receive_maximum = said.receive_maximum.unwrap_or(u16::MAX);
        let packet_bytes_max = said.max_packet_size.unwrap_or(u32::MAX);
        if receive_maximum == 0 || packet_bytes_max == 0 {
            return Err(SessionError::Unexpected { what: "limit of 0 in CONNECT" });
        }
        let keep_alive_s = match (connect.keep_alive, self.settings.keep_alive_s_max) {
            (0, max) => max,
            (asked, 0) => asked,
            (asked, max) => asked.min(max),
        };
        self.state = State::Deciding(Peer {
            receive_maximum,
            packet_bytes_max,
            keep_alive_s,
            keep_alive_asked_s: connect.keep_alive,
        });
        self.event(ServerEvent::Connect(ConnectRequest {
            client_id: connect.client_id,
            keep_alive_s,
            clean_start: connect.clean_start,
            session_expiry_s: said.session_expiry_interval.unwrap_or(0),
            will,
            login,
        }));
        Ok(())
    }

    fn handle_tick(&mut self, now: Instant) -> Result<(), SessionError> {
        match &self.state {
            State::Offline | State::Deciding(_) | State::Closed => Ok(()),
            State::Waiting { until } if now < *until => Ok(()),
            State::Waiting { .. } => {
                Err(SessionError::Silent { wanted: "CONNECT", waited: self.settings.patience })
            }
            State::Online { peer, heard } => {
                let since = |then: Instant| now.saturating_duration_since(then);
                if peer.silent_at(*heard).is_some_and(|due| now >= due) {
                    return Err(SessionError::Silent { wanted: "packet", waited: since(*heard) });
                }
                match self.outgoing.since() {
                    Some(then) if since(then) >= self.settings.patience => {
                        Err(SessionError::Silent { wanted: "PUBACK", waited: since(then) })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Notes what the client asked and names it, if it may have so much in flight.
    fn ask(&mut self, asked: Asked) -> Result<u64, SessionError> {
        self.last_token += 1;
        let (id, max) = match asked {
            Asked::Told => return Ok(self.last_token),
            Asked::Message { id } => (id, usize::from(self.settings.receive_maximum.max(1))),
            Asked::Subscription { id, .. } => (id, SUBSCRIPTIONS_MAX),
        };
        // The Receive Maximum is for messages; subscriptions have a limit of their own.
        let alike = |(_, other): &&(u64, Asked)| other.is_message() == asked.is_message();
        if self.incoming.iter().filter(alike).count() >= max {
            return Err(SessionError::TooMany { max });
        }
        if self.incoming.iter().any(|(_, asked)| asked.id() == Some(id)) {
            return Err(SessionError::Unexpected { what: "packet identifier that is in use" });
        }
        self.incoming.push_back((self.last_token, asked));
        Ok(self.last_token)
    }

    fn answer(&mut self, token: u64) -> Option<Asked> {
        let State::Online { .. } = self.state else { return None };
        let index = self.incoming.iter().position(|(asked, _)| *asked == token)?;
        self.incoming.remove(index).map(|(_, asked)| asked)
    }

    fn event(&mut self, event: ServerEvent) {
        self.outbox.push_back(Output::Event(event));
    }

    fn end(&mut self, with_will: bool, reason: Option<Reason>) {
        if let State::Online { .. } = self.state {
            self.event(ServerEvent::Disconnected { with_will, reason });
        }
        self.state = State::Closed;
        self.inbox.clear();
        self.incoming.clear();
        self.outgoing.clear();
    }

    /// Tells the client why, where the standard allows it: before CONNACK by a refusal of its version
    /// alone, then by DISCONNECT.
    fn told(&mut self, result: Result<(), SessionError>) -> Result<(), SessionError> {
        if let Err(error) = &result {
            if let (State::Waiting { .. }, SessionError::Version { .. }) = (&self.state, error) {
                self.outbox.push_back(Output::Write(packet::refusal(Reason::VERSION)));
            }
            self.disconnect(error.reason());
        }
        result
    }
}

impl Peer {
    /// When the keep-alive has run out (section 3.1.2.10).
    fn silent_at(&self, heard: Instant) -> Option<Instant> {
        let keep_alive = Duration::from_secs(self.keep_alive_s.into());
        (self.keep_alive_s > 0).then(|| heard + keep_alive * 3 / 2)
    }
}

impl Asked {
    fn is_message(self) -> bool {
        matches!(self, Self::Message { .. })
    }

    fn id(self) -> Option<u16> {
        match self {
            Self::Told => None,
            Self::Message { id } | Self::Subscription { id, .. } => Some(id),
        }
    }
}

/// SUBSCRIBEs that may wait for an answer at once; ours send one.
const SUBSCRIPTIONS_MAX: usize = 16;
