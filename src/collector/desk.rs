//! One agent's connection without its socket: the session, and what this agent may do.
//!
//! An agent may publish its own data, status and replies, and subscribe to its own acknowledgements
//! and commands: nothing else. Who it is stands in its certificate, never in what it says.

use std::collections::VecDeque;
use std::time::Instant;

use crate::batch::{Ack, Channel, Topic};
use crate::mqtt::{
    Bytes, ConnectRequest, Filter, Input, Output, QoS, Reason, Server, ServerEvent, ServerSettings,
    SessionError,
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
    /// What the agent says of itself, JSON.
    Status(Bytes),
    /// The conversation is over, with these words.
    Over(String),
}

/// See the module.
pub struct Desk {
    server: Server,
    tenant: String,
    agent: String,
    will: Option<Bytes>,
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
            out: VecDeque::new(),
            wishes: VecDeque::new(),
        }
    }

    /// Takes in what happened outside. After an error: write what is left, then close.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Result<(), SessionError> {
        let handled = self.server.handle(input, now);
        self.drain(now)?;
        handled
    }

    /// The batch with this token is durable, or can never be taken.
    pub fn done(&mut self, token: u64, refused: bool, now: Instant) -> Result<(), SessionError> {
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
        if request.client_id != self.agent {
            self.server.refuse(Reason::CLIENT_ID);
            return Ok(());
        }
        let status = self.own(Channel::Status);
        match request.will {
            Some(will) if will.topic != status => self.server.refuse(Reason::NOT_AUTHORIZED),
            will => {
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
                self.wishes.push_back(Wish::Batch { token, message: payload });
            }
            Some(Channel::Status) => {
                self.wishes.push_back(Wish::Status(payload));
                self.server.acknowledge(token);
            }
            Some(Channel::Reply) => self.server.acknowledge(token),
            Some(Channel::Ack | Channel::Command) | None => {
                self.server.reject(token, Reason::NOT_AUTHORIZED);
            }
        }
    }

    fn subscribe(&mut self, filters: &[Filter], token: u64) {
        let (acks, commands) = (self.own(Channel::Ack), self.own(Channel::Command));
        let allowed = |filter: &Filter| {
            let own = filter.path == acks || filter.path == commands;
            if own { Ok(filter.qos) } else { Err(Reason::NOT_AUTHORIZED) }
        };
        let results: Vec<_> = filters.iter().map(allowed).collect();
        self.server.grant(token, &results);
        if filters.iter().any(|filter| filter.path == acks) {
            self.wishes.push_back(Wish::WantsAck);
        }
    }

    fn own(&self, channel: Channel) -> String {
        Topic { tenant: &self.tenant, agent: &self.agent, channel }.to_string()
    }
}
