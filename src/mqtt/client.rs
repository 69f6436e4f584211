//! The client's side of a session: what an agent runs, or a collector behind a broker.
//!
//! ```text
//! Offline ──Opened──► Greeting ──CONNACK──► Online ──disconnect, DISCONNECT, refused──► Closed
//!    ▲                    └────────────────────┴──────────── Lost ────────────────────────┘
//!    └────────────────────────────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as codec;
use serde::{Deserialize, Serialize};

use super::inflight::{Inflight, WAITING_MAX};
use super::packet::{self, Filter, Inbox, Packet, QoS, Will};
use super::{Input, Output, Reason, SessionError};

/// What a client says of itself, and how patient it is.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The client identifier: the agent's name.
    pub client_id: String,
    /// The longest silence of ours in seconds; 0 for none. The server may shorten it.
    pub keep_alive_s: u16,
    /// For how long the server keeps subscriptions after the connection is lost.
    pub session_expiry_s: u32,
    /// Whether the server forgets what it kept.
    pub clean_start: bool,
    /// What the server publishes when we vanish.
    pub will: Option<Will>,
    /// For brokers that want one; our collector knows agents by their certificates.
    pub login: Option<Login>,
    /// How many QoS 1 messages the server may have in flight to us; 1 and up.
    pub receive_maximum: u16,
    /// The longest packet that we accept, in bytes.
    pub packet_bytes_max: u32,
    /// For how long an answer (CONNACK, PUBACK, SUBACK, PINGRESP) may be overdue, counted from the
    /// answer before it. A large message has a second more for each KiB, so that a slow link is not
    /// cut in the middle of it again and again.
    pub patience: Duration,
}

/// A user name and a password. Its debug form hides the password.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What the server allows, from its CONNACK; absent properties as the standard fills them in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// QoS 1 messages in flight to the server.
    pub receive_maximum: u16,
    /// The longest packet that the server accepts, in bytes.
    pub packet_bytes_max: u32,
    /// The keep-alive that holds, in seconds: the server's if it names one, else ours.
    pub keep_alive_s: u16,
    /// For how long the server keeps the session, in seconds.
    pub session_expiry_s: u32,
    /// Whether QoS 1 is possible.
    pub qos_1: bool,
    /// Whether messages can be retained.
    pub retain: bool,
    /// Whether `$share/…` subscriptions are possible.
    pub shared_subscriptions: bool,
}

/// News for the client's owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// The server took us in.
    Accepted {
        /// Whether it remembers our subscriptions.
        session_present: bool,
        /// What it allows.
        limits: Limits,
    },
    /// The server did not take us in; close the link.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// The answer to a subscribe: for each filter the quality of service granted, or why not.
    Subscribed {
        /// As given to [`Client::subscribe`].
        token: u64,
        /// In the order of the filters.
        results: Vec<Result<QoS, Reason>>,
    },
    /// A message of a topic that we subscribed to. QoS 1 is acknowledged already.
    Message {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Bytes,
        /// Whether it was kept from before.
        retain: bool,
    },
    /// The server took over responsibility for a message. It proves nothing about the collector.
    Acknowledged {
        /// As given to [`Client::publish`].
        token: u64,
    },
    /// The server did not take a message.
    Rejected {
        /// As given to [`Client::publish`].
        token: u64,
        /// Why.
        reason: Reason,
    },
    /// The server ends the connection; close the link.
    Closed {
        /// Why.
        reason: Reason,
    },
}

/// The client's state machine: see the room's page.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    state: State,
    inbox: Inbox,
    outbox: VecDeque<Output<ClientEvent>>,
    inflight: Inflight<Waiting>,
    /// How many of `inflight` are messages.
    messages: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Offline,
    Greeting {
        since: Instant,
        /// What the server allowed the last time, if packets may leave before its answer.
        assumed: Option<Limits>,
    },
    Online(Online),
    /// One side said goodbye; whatever still arrives is not read.
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Online {
    limits: Limits,
    /// When we last sent a packet.
    spoke: Instant,
    /// When we last received something.
    heard: Instant,
    /// When a PINGREQ was sent that has no answer yet.
    pinged: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    Message { token: u64, bytes: usize },
    Subscription { token: u64, filters: usize },
}

impl Client {
    /// A client that is not connected.
    pub fn new(settings: ClientSettings) -> Self {
        let inbox = Inbox::new(settings.packet_bytes_max);
        Self {
            settings,
            state: State::Offline,
            inbox,
            outbox: VecDeque::new(),
            inflight: Inflight::new(),
            messages: 0,
        }
    }

    /// Takes in what happened outside.
    ///
    /// # Errors
    /// Why the connection must end: see the room's page.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Result<(), SessionError> {
        let result = match input {
            Input::Opened => {
                self.forget();
                self.state = State::Greeting { since: now, assumed: None };
                let hello = self.hello();
                self.outbox.push_back(Output::Write(hello));
                Ok(())
            }
            Input::Bytes(bytes) => self.handle_bytes(bytes, now),
            Input::Tick => self.handle_tick(now),
            Input::Lost => {
                self.forget();
                Ok(())
            }
        };
        if let Err(error) = &result {
            self.give_up(error);
        }
        result
    }

    /// Behind [`Input::Opened`]: messages and subscriptions may leave before the server's answer, within
    /// the limits that it set the last time (MQTT 5, section 3.1.4: a client need not wait for CONNACK).
    /// If it does not take us in, they are lost with the connection.
    pub fn assume(&mut self, limits: Limits) {
        if let State::Greeting { assumed, .. } = &mut self.state {
            *assumed = Some(limits);
        }
    }

    /// Sends a message. A message of QoS 1 is answered by [`ClientEvent::Acknowledged`] or
    /// [`ClientEvent::Rejected`] with this token, one of QoS 0 never.
    ///
    /// # Errors
    /// Nothing was sent: no connection, no [`Client::room`], a topic that is none, a packet above
    /// the server's limit, or something that the server does not support.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
        retain: bool,
        token: u64,
        now: Instant,
    ) -> Result<(), SessionError> {
        let limits = self.allowed().ok_or(SessionError::Offline)?;
        if retain && !limits.retain {
            return Err(SessionError::NotSupported { what: "retained messages" });
        }
        if qos == QoS::AtLeastOnce && !limits.qos_1 {
            return Err(SessionError::NotSupported { what: "QoS 1" });
        }
        let max = limits.packet_bytes_max;
        let publish = packet::Publish::new(topic, payload.into(), qos, retain, max)?;
        let id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce if self.room() == 0 => return Err(SessionError::NoRoom),
            QoS::AtLeastOnce => {
                let waiting = Waiting::Message { token, bytes: publish.payload_bytes() };
                let id = self.inflight.add(waiting, now).ok_or(SessionError::NoRoom)?;
                self.messages += 1;
                Some(id)
            }
        };
        self.send(publish.encode(id), now);
        Ok(())
    }

    /// Asks for messages of these topics. Answered by [`ClientEvent::Subscribed`] with this token.
    ///
    /// # Errors
    /// Nothing was sent: no connection, a filter that is none, or a packet above the server's limit.
    pub fn subscribe(
        &mut self,
        filters: &[Filter],
        token: u64,
        now: Instant,
    ) -> Result<(), SessionError> {
        let limits = self.allowed().ok_or(SessionError::Offline)?;
        if filters.is_empty() || !filters.iter().all(|filter| packet::is_filter(&filter.path)) {
            return Err(SessionError::BadTopic);
        }
        let shared = filters.iter().any(|filter| filter.path.starts_with("$share/"));
        if shared && !limits.shared_subscriptions {
            return Err(SessionError::NotSupported { what: "shared subscriptions" });
        }
        let bytes = packet::subscribe_bytes(filters);
        let bytes_max = limits.packet_bytes_max as usize;
        if bytes > bytes_max {
            return Err(SessionError::TooLarge { bytes, bytes_max });
        }
        let waiting = Waiting::Subscription { token, filters: filters.len() };
        let id = self.inflight.add(waiting, now).ok_or(SessionError::NoRoom)?;
        self.send(packet::subscribe(id, filters), now);
        Ok(())
    }

    /// Says goodbye: after the last write, close the link. With [`Reason::SUCCESS`] the server drops
    /// the last will, with any other it publishes it.
    pub fn disconnect(&mut self, reason: Reason) {
        if let State::Online(_) = self.state {
            self.outbox.push_back(Output::Write(packet::disconnect(reason)));
        }
        self.state = State::Closed;
    }

    /// Says goodbye as [`Client::disconnect`] does, for good: what is left to be written.
    pub fn farewell(&mut self, reason: Reason) -> impl Iterator<Item = Bytes> {
        self.disconnect(reason);
        std::iter::from_fn(|| self.poll()).filter_map(|output| match output {
            Output::Write(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// What is to be done next, if anything.
    pub fn poll(&mut self) -> Option<Output<ClientEvent>> {
        self.outbox.pop_front()
    }

    /// How many more QoS 1 messages may be sent now.
    pub fn room(&self) -> usize {
        self.allowed().map_or(0, |limits| {
            let max = usize::from(limits.receive_maximum).min(WAITING_MAX);
            max.saturating_sub(self.messages)
        })
    }

    /// What holds for what we send now.
    fn allowed(&self) -> Option<Limits> {
        match &self.state {
            State::Greeting { assumed, .. } => *assumed,
            _ => self.limits(),
        }
    }

    /// What the server allows, while it is connected.
    pub fn limits(&self) -> Option<Limits> {
        match &self.state {
            State::Online(online) => Some(online.limits),
            _ => None,
        }
    }

    /// When to call [`Client::handle`] with [`Input::Tick`], if nothing happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        let patience = self.patience();
        match &self.state {
            State::Offline | State::Closed => None,
            State::Greeting { since, .. } => Some(*since + patience),
            State::Online(online) => {
                let answer = self.inflight.since().map(|since| since + patience);
                let pong = online.pong_due(patience);
                [online.ping_due(), pong, answer].into_iter().flatten().min()
            }
        }
    }

    fn hello(&self) -> Bytes {
        let settings = &self.settings;
        let properties = codec::ConnectProperties {
            session_expiry_interval: Some(settings.session_expiry_s),
            receive_maximum: Some(settings.receive_maximum.max(1)),
            max_packet_size: Some(settings.packet_bytes_max),
            ..codec::ConnectProperties::new()
        };
        let connect = codec::Connect {
            keep_alive: settings.keep_alive_s,
            client_id: settings.client_id.clone(),
            clean_start: settings.clean_start,
            properties: Some(properties),
        };
        let login = settings.login.as_ref().map(|login| codec::Login {
            username: login.username.clone(),
            password: login.password.clone(),
        });
        packet::connect(connect, settings.will.as_ref(), login)
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) -> Result<(), SessionError> {
        match &mut self.state {
            State::Offline | State::Closed => return Ok(()),
            State::Greeting { .. } => {}
            State::Online(online) => online.heard = now,
        }
        self.inbox.push(bytes);
        while let Some(packet) = self.inbox.take()? {
            self.handle_packet(packet, now)?;
            if let State::Closed = self.state {
                self.inbox.clear();
            }
        }
        Ok(())
    }

    fn handle_packet(&mut self, packet: Packet, now: Instant) -> Result<(), SessionError> {
        match (&mut self.state, packet) {
            (
                State::Greeting { since, .. },
                Packet::ConnAck { session_present, reason, properties },
            ) => {
                let online = Online {
                    limits: Limits::of(properties.as_ref(), &self.settings),
                    spoke: *since,
                    heard: now,
                    pinged: None,
                };
                return self.handle_connack(session_present, reason, online);
            }
            (State::Greeting { .. } | State::Online(_), Packet::Disconnect { reason }) => {
                self.end(ClientEvent::Closed { reason });
            }
            (State::Online(_), Packet::Publish { topic, payload, retain, id }) => {
                self.event(ClientEvent::Message { topic, payload, retain });
                if let Some(id) = id {
                    self.send(packet::puback(id, Reason::SUCCESS), now);
                }
            }
            (State::Online(_), Packet::PubAck { id, reason }) => {
                return self.handle_puback(id, reason, now);
            }
            (State::Online(_), Packet::SubAck { id, reasons }) => {
                return self.handle_suback(id, &reasons, now);
            }
            (State::Online(online), Packet::PingResp) => online.pinged = None,
            (State::Greeting { .. }, _) => {
                return Err(SessionError::Unexpected { what: "packet before CONNACK" });
            }
            (_, packet) => return Err(SessionError::Unexpected { what: packet.name() }),
        }
        Ok(())
    }

    fn handle_connack(
        &mut self,
        session_present: bool,
        reason: Reason,
        online: Online,
    ) -> Result<(), SessionError> {
        if reason != Reason::SUCCESS {
            self.end(ClientEvent::Refused { reason });
            return Ok(());
        }
        let limits = online.limits;
        if limits.receive_maximum == 0 || limits.packet_bytes_max == 0 {
            return Err(SessionError::Unexpected { what: "limit of 0 in CONNACK" });
        }
        self.state = State::Online(online);
        self.event(ClientEvent::Accepted { session_present, limits });
        Ok(())
    }

    fn handle_puback(&mut self, id: u16, reason: Reason, now: Instant) -> Result<(), SessionError> {
        match self.inflight.answered(id, now) {
            Some(Waiting::Message { token, .. }) => {
                self.messages = self.messages.saturating_sub(1);
                self.event(if reason.is_failure() {
                    ClientEvent::Rejected { token, reason }
                } else {
                    ClientEvent::Acknowledged { token }
                });
                Ok(())
            }
            Some(Waiting::Subscription { .. }) => {
                Err(SessionError::Unexpected { what: "PUBACK for a SUBSCRIBE" })
            }
            None => Ok(()),
        }
    }

    fn handle_suback(
        &mut self,
        id: u16,
        reasons: &[Reason],
        now: Instant,
    ) -> Result<(), SessionError> {
        match self.inflight.answered(id, now) {
            Some(Waiting::Subscription { token, filters }) if filters == reasons.len() => {
                let result = |reason: &Reason| match *reason {
                    Reason::SUCCESS => Ok(QoS::AtMostOnce),
                    reason if reason.is_failure() => Err(reason),
                    _ => Ok(QoS::AtLeastOnce),
                };
                let results = reasons.iter().map(result).collect();
                self.event(ClientEvent::Subscribed { token, results });
                Ok(())
            }
            Some(_) => Err(SessionError::Unexpected { what: "SUBACK that answers something else" }),
            None => Ok(()),
        }
    }

    /// With a second more for each KiB of the message whose answer is due next.
    fn patience(&self) -> Duration {
        let bytes = match self.inflight.first() {
            Some(Waiting::Message { bytes, .. }) => *bytes,
            _ => 0,
        };
        self.settings.patience + Duration::from_secs((bytes / SLOWEST_BYTES_S) as u64)
    }

    fn handle_tick(&mut self, now: Instant) -> Result<(), SessionError> {
        let patience = self.patience();
        match &mut self.state {
            State::Offline | State::Closed => Ok(()),
            State::Greeting { since, .. } => overdue("CONNACK", Some(*since), patience, now),
            State::Online(online) => {
                overdue("PUBACK or SUBACK", self.inflight.since(), patience, now)?;
                if online.pong_due(patience).is_some_and(|due| now >= due) {
                    let waited = now.saturating_duration_since(online.heard);
                    return Err(SessionError::Silent { wanted: "PINGRESP", waited });
                }
                if online.ping_due().is_some_and(|due| now >= due) {
                    online.pinged = Some(now);
                    self.send(packet::pingreq(), now);
                }
                Ok(())
            }
        }
    }

    fn event(&mut self, event: ClientEvent) {
        self.outbox.push_back(Output::Event(event));
    }

    fn end(&mut self, event: ClientEvent) {
        self.event(event);
        self.state = State::Closed;
    }

    fn send(&mut self, packet: Bytes, now: Instant) {
        if let State::Online(online) = &mut self.state {
            online.spoke = now;
        }
        self.outbox.push_back(Output::Write(packet));
    }

    /// Tells the server why, where the standard allows it: not before CONNACK.
    fn give_up(&mut self, error: &SessionError) {
        self.disconnect(error.reason());
        self.inbox.clear();
    }

    fn forget(&mut self) {
        self.state = State::Offline;
        self.inbox.clear();
        self.outbox.clear();
        self.inflight.clear();
        self.messages = 0;
    }
}

impl Limits {
    fn of(properties: Option<&codec::ConnAckProperties>, settings: &ClientSettings) -> Self {
        let absent = Self {
            receive_maximum: u16::MAX,
            packet_bytes_max: u32::MAX,
            keep_alive_s: settings.keep_alive_s,
            session_expiry_s: settings.session_expiry_s,
            qos_1: true,
            retain: true,
            shared_subscriptions: true,
        };
        let Some(said) = properties else { return absent };
        Self {
            receive_maximum: said.receive_max.unwrap_or(absent.receive_maximum),
            packet_bytes_max: said.max_packet_size.unwrap_or(absent.packet_bytes_max),
            keep_alive_s: said.server_keep_alive.unwrap_or(absent.keep_alive_s),
            session_expiry_s: said.session_expiry_interval.unwrap_or(absent.session_expiry_s),
            qos_1: said.max_qos != Some(0),
            retain: said.retain_available != Some(0),
            shared_subscriptions: said.shared_subscription_available != Some(0),
        }
    }
}

impl Online {
    /// Nine tenths of the keep-alive after our last packet, so that the ping arrives within it.
    fn ping_due(&self) -> Option<Instant> {
        if self.limits.keep_alive_s == 0 || self.pinged.is_some() {
            return None;
        }
        let keep_alive = Duration::from_secs(self.limits.keep_alive_s.into());
        Some(self.spoke + keep_alive * 9 / 10)
    }

    /// An answer to the ping, or to anything before it in the stream, restarts the patience.
    fn pong_due(&self, patience: Duration) -> Option<Instant> {
        Some(self.pinged?.max(self.heard) + patience)
    }
}

/// The slowest link that still carries anything: 8 kbit/s.
const SLOWEST_BYTES_S: usize = 1024;

fn overdue(
    wanted: &'static str,
    since: Option<Instant>,
    patience: Duration,
    now: Instant,
) -> Result<(), SessionError> {
    match since {
        Some(since) if now >= since + patience => {
            let waited = now.saturating_duration_since(since);
            Err(SessionError::Silent { wanted, waited })
        }
        _ => Ok(()),
    }
}
