//! One agent's connection without its socket: the session, and what this agent may do.
//!
//! An agent may publish its own data, status and replies, and subscribe to its own acknowledgements
//! and commands: nothing else. Who it is stands in its certificate, never in what it says.

use std::collections::VecDeque;
use std::time::Instant;

use crate::batch::{Ack, Channel, Topic};
use crate::mqtt::{
    Begun, Bytes, ConnectRequest, Filter, Input, Output, QoS, Reason, Server, ServerEvent,
    ServerSettings, SessionError,
};

/// What the connection's owner must do or know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wish {
    /// The agent is in: an older connection of the same agent is to be ended.
    Entered,
    /// A batch: answer with [`Desk::done`].
    Batch {
        /// Names it in the answer.
        token: u64,
        /// The message.
        message: Bytes,
    },
    /// The agent listens to acknowledgements now: tell it where we stand.
    WantsAck,
    /// The agent wants to know what it said of itself last.
    WantsStatus,
    /// What the agent says of itself, JSON.
    Status(Bytes),
    /// It asked for something that it may not do, and was told so; for the log.
    Refused(String),
    /// The conversation is over, with these words.
    Over(String),
}

/// See the module.
pub struct Desk {
    server: Server,
    tenant: String,
    agent: String,
    will: Option<Bytes>,
    /// Why nobody is let in now.
    refusing: Option<Reason>,
    /// Batches that are not answered yet.
    unanswered: usize,
    out: VecDeque<Bytes>,
    wishes: VecDeque<Wish>,
}

impl Desk {
    /// A desk for the agent that the certificate names.
    pub fn new(settings: ServerSettings, tenant: &str, agent: &str) -> Self {
        Self {
            server: Server::new(settings),
            tenant: tenant.to_owned(),
            agent: agent.to_owned(),
            will: None,
            refusing: None,
            unanswered: 0,
            out: VecDeque::new(),
            wishes: VecDeque::new(),
        }
    }

    /// Whoever it is, it is not let in, for this reason.
    pub fn refuse_all(&mut self, reason: Reason) {
        self.refusing = Some(reason);
    }

    /// Takes in what happened outside. After an error: write what is left, then close.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Result<(), SessionError> {
        let handled = self.server.handle(input, now);
        self.drain(now)?;
        handled
    }

    /// The batch with this token is durable, or can never be taken.
    pub fn done(&mut self, token: u64, refused: bool, now: Instant) -> Result<(), SessionError> {
        self.unanswered = self.unanswered.saturating_sub(1);
        if refused {
            self.server.reject(token, Reason::IMPLEMENTATION);
        } else {
            self.server.acknowledge(token);
        }
        self.drain(now)
    }

    /// Tells the agent where the collector stands. QoS 0: it is cumulative, and the stream loses
    /// nothing while it lasts; a new one begins with the current one.
    pub fn tell(&mut self, ack: &Ack, now: Instant) -> Result<(), SessionError> {
        let topic = Topic { tenant: &self.tenant, agent: &self.agent, channel: Channel::Ack };
        self.server.publish(&topic.to_string(), ack.encode(), true, QoS::AtMostOnce, now)?;
        self.drain(now)
    }

    /// Shows the agent its own status, as it was kept.
    pub fn show_status(&mut self, status: Bytes, now: Instant) -> Result<(), SessionError> {
        let topic = self.own(Channel::Status);
        self.server.publish(&topic, status, true, QoS::AtMostOnce, now)?;
        self.drain(now)
    }

    /// Nobody listened to it until now, so that its silence was not its own.
    pub fn excuse(&mut self, now: Instant) {
        self.server.excuse(now);
    }

    /// The packet that is arriving, once its length is known.
    pub fn begun(&self) -> Option<Begun> {
        self.server.begun()
    }

    /// How many batches wait for [`Desk::done`].
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Whether there is nothing to write and nothing to do.
    pub fn is_idle(&self) -> bool {
        self.out.is_empty() && self.wishes.is_empty()
    }

    /// Ends the conversation: write what is left, then close.
    pub fn dismiss(&mut self, reason: Reason, now: Instant) -> Result<(), SessionError> {
        self.server.disconnect(reason);
        self.drain(now)
    }

    /// The next bytes for the link.
    pub fn poll(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// The next wish.
    pub fn wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// Whether all is said.
    pub fn is_over(&self) -> bool {
        self.server.is_closed()
    }

    /// When to call [`Desk::handle`] with [`Input::Tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        self.server.wake_at()
    }

    fn drain(&mut self, now: Instant) -> Result<(), SessionError> {
        while let Some(output) = self.server.poll() {
            match output {
                Output::Write(bytes) => self.out.push_back(bytes),
                Output::Event(event) => self.hear(event, now)?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: ServerEvent, now: Instant) -> Result<(), SessionError> {
        match event {
            ServerEvent::Connect(request) => return self.connect(request, now),
            ServerEvent::Publish { topic, payload, token, .. } => {
                self.publish(&topic, payload, token);
            }
            ServerEvent::Subscribe { filters, token } => self.subscribe(&filters, token),
            ServerEvent::Disconnected { with_will, reason } => {
                if let Some(will) = self.will.take().filter(|_| with_will) {
                    self.wishes.push_back(Wish::Status(will));
                }
                let words = reason.map_or("the link is lost".to_owned(), |why| why.to_string());
                self.wishes.push_back(Wish::Over(words));
            }
        }
        Ok(())
    }

    fn connect(&mut self, request: ConnectRequest, now: Instant) -> Result<(), SessionError> {
        let status = self.own(Channel::Status);
        let refusal = match &request.will {
            _ if request.client_id != self.agent => {
                let what = format!("the client identifier {:?}", shown(&request.client_id));
                Some((Reason::CLIENT_ID, what))
            }
            Some(will) if will.topic != status => {
                let what = format!("a last will for {:?}", shown(&will.topic));
                Some((Reason::NOT_AUTHORIZED, what))
            }
            Some(will) if will.payload.len() > STATUS_BYTES_MAX => {
                let what = format!("a last will of {} bytes", will.payload.len());
                Some((Reason::PACKET_TOO_LARGE, what))
            }
            _ => self.refusing.map(|reason| (reason, reason.to_string())),
        };
        match (refusal, request.will) {
            (Some((reason, what)), _) => {
                self.server.refuse(reason);
                self.wishes.push_back(Wish::Refused(what));
            }
            (None, will) => {
                self.will = will.map(|will| will.payload);
                self.server.accept(false, now)?;
                self.wishes.push_back(Wish::Entered);
            }
        }
        Ok(())
    }

    fn publish(&mut self, topic: &str, payload: Bytes, token: u64) {
        let own = Topic::parse(topic).filter(|t| t.tenant == self.tenant && t.agent == self.agent);
        match own.map(|topic| topic.channel) {
            Some(Channel::Data) => {
                self.unanswered += 1;
                self.wishes.push_back(Wish::Batch { token, message: payload });
            }
            Some(Channel::Status) if payload.len() > STATUS_BYTES_MAX => {
                self.server.reject(token, Reason::QUOTA);
                self.refused(format!("a status of {} bytes", payload.len()));
            }
            Some(Channel::Status) => {
                self.wishes.push_back(Wish::Status(payload));
                self.server.acknowledge(token);
            }
            Some(Channel::Reply) => self.server.acknowledge(token),
            Some(Channel::Ack | Channel::Command | Channel::Probe) | None => {
                self.server.reject(token, Reason::NOT_AUTHORIZED);
                self.refused(format!("a message for {:?}", shown(topic)));
            }
        }
    }

    /// So that a flood of refusals is no flood of words, one is enough until it is heard.
    fn refused(&mut self, what: String) {
        if !matches!(self.wishes.back(), Some(Wish::Refused(_))) {
            self.wishes.push_back(Wish::Refused(what));
        }
    }

    fn subscribe(&mut self, filters: &[Filter], token: u64) {
        let (acks, commands) = (self.own(Channel::Ack), self.own(Channel::Command));
        let status = self.own(Channel::Status);
        let is_own = |filter: &Filter| [&acks, &commands, &status].contains(&&filter.path);
        let allowed = |filter: &Filter| {
            if is_own(filter) { Ok(filter.qos) } else { Err(Reason::NOT_AUTHORIZED) }
        };
        if let Some(foreign) = filters.iter().find(|filter| !is_own(filter)) {
            self.refused(format!("a subscription to {:?}", shown(&foreign.path)));
        }
        let results: Vec<_> = filters.iter().map(allowed).collect();
        self.server.grant(token, &results);
        if filters.iter().any(|filter| filter.path == acks) {
            self.wishes.push_back(Wish::WantsAck);
        }
        if filters.iter().any(|filter| filter.path == status) {
            self.wishes.push_back(Wish::WantsStatus);
        }
    }

    fn own(&self, channel: Channel) -> String {
        Topic { tenant: &self.tenant, agent: &self.agent, channel }.to_string()
    }
}

/// A status is a kilobyte of JSON; each agent's last one is kept.
pub(super) const STATUS_BYTES_MAX: usize = 16 << 10;
/// What of a stranger's words is shown in the log.
const SHOWN_CHARS_MAX: usize = 100;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
