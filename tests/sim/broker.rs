//! A broker between agents and collector, with the habits of those that exist: it says PUBACK at once,
//! drops from its queues when it likes, delivers twice, mixes the clients, and forgets all in a crash.
//!
//! What it keeps of one client is in that client's order, as MQTT wants.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use fastrand::Rng;
use rivulet::batch::{Channel, Topic};
use rivulet::collector::intake::Inbound;
use rivulet::mqtt::{
    Bytes, Input, Output, QoS, Reason, Server, ServerEvent, ServerSettings, SessionError,
};

use super::link::once_in;

/// How often it errs: one message in so many; 0 for never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) drops_once_in: u32,
    pub(crate) repeats_once_in: u32,
    /// Messages that wait for the collector; beyond it the oldest is dropped.
    pub(crate) queue_max: usize,
}

pub(crate) struct Broker {
    pub(crate) habits: Habits,
    /// By agent.
    queues: BTreeMap<String, VecDeque<Bytes>>,
    delivered: VecDeque<Inbound>,
    retained: BTreeMap<String, Bytes>,
}

const DELIVERED_MAX: usize = 8;

/// One agent's session with the broker.
pub(crate) struct Session {
    server: Server,
    agent: String,
    subscribed: bool,
    out: VecDeque<Bytes>,
    /// It came in just now: an older one of the same agent ends.
    pub(crate) entered: bool,
    over: bool,
}

fn topic(agent: &str, channel: Channel) -> String {
    Topic { tenant: "acme", agent, channel }.to_string()
}

impl Broker {
    pub(crate) fn new(habits: Habits) -> Self {
        let (queues, retained) = (BTreeMap::new(), BTreeMap::new());
        Self { habits, queues, delivered: VecDeque::new(), retained }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn behave(&mut self) {
        self.habits = Habits { drops_once_in: 0, repeats_once_in: 0, queue_max: usize::MAX };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.values().all(VecDeque::is_empty)
    }

    fn publish(&mut self, agent: &str, message: Bytes, rng: &mut Rng) {
        if once_in(rng, self.habits.drops_once_in) {
            return;
        }
        let queue = self.queues.entry(agent.to_owned()).or_default();
        queue.push_back(message);
        if queue.len() > self.habits.queue_max {
            queue.pop_front();
        }
    }

    /// What the collector gets next, of any client.
    pub(crate) fn deliver(&mut self, rng: &mut Rng) -> Option<Inbound> {
        let waiting: Vec<&String> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(name, _)| name)
            .collect();
        let agent = (*rng.choice(waiting)?).clone();
        let queue = self.queues.get_mut(&agent)?;
        let message = queue.pop_front()?;
        if once_in(rng, self.habits.repeats_once_in) {
            queue.push_front(message.clone());
        }
        let inbound = Inbound { agent, message };
        self.delivered.push_back(inbound.clone());
        if self.delivered.len() > DELIVERED_MAX {
            self.delivered.pop_front();
        }
        Some(inbound)
    }

    /// The collector is back: what it may not have confirmed comes again, or nothing does.
    pub(crate) fn resume(&mut self, rng: &mut Rng) {
        let again = rng.bool();
        while let Some(Inbound { agent, message }) = self.delivered.pop_back() {
            if again {
                self.queues.entry(agent).or_default().push_front(message);
            }
        }
    }

    /// It crashed: what it keeps in memory is gone, and often that is all.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        if rng.bool() {
            self.queues.clear();
        }
        if rng.bool() {
            self.retained.clear();
        }
    }

    /// The collector publishes an acknowledgement, retained.
    pub(crate) fn retain(&mut self, agent: &str, ack: Bytes) {
        self.retained.insert(agent.to_owned(), ack);
    }
}

impl Session {
    pub(crate) fn new(settings: ServerSettings, agent: &str) -> Self {
        Self {
            server: Server::new(settings),
            agent: agent.to_owned(),
            subscribed: false,
            out: VecDeque::new(),
            entered: false,
            over: false,
        }
    }

    pub(crate) fn handle(
        &mut self,
        input: Input<'_>,
        broker: &mut Broker,
        rng: &mut Rng,
        now: Instant,
    ) -> Result<(), SessionError> {
        let handled = self.server.handle(input, now);
        while let Some(output) = self.server.poll() {
            match output {
                Output::Write(bytes) => self.out.push_back(bytes),
                Output::Event(event) => self.hear(event, broker, rng, now)?,
            }
        }
        handled
    }

    fn hear(
        &mut self,
        event: ServerEvent,
        broker: &mut Broker,
        rng: &mut Rng,
        now: Instant,
    ) -> Result<(), SessionError> {
        match event {
            ServerEvent::Connect(_) => {
                self.server.accept(false, now)?;
                self.entered = true;
            }
            ServerEvent::Publish { topic: of, payload, token, .. } => {
                if of == topic(&self.agent, Channel::Data) {
                    broker.publish(&self.agent, payload, rng);
                }
                self.server.acknowledge(token);
            }
            ServerEvent::Subscribe { filters, token } => {
                self.server.grant(token, &vec![Ok(QoS::AtLeastOnce); filters.len()]);
                self.subscribed = true;
                if let Some(ack) = broker.retained.get(&self.agent) {
                    self.tell(ack.clone(), now)?;
                }
            }
            ServerEvent::Disconnected { .. } => self.over = true,
        }
        Ok(())
    }

    /// Hands the agent an acknowledgement.
    pub(crate) fn tell(&mut self, ack: Bytes, now: Instant) -> Result<(), SessionError> {
        if self.subscribed {
            let topic = topic(&self.agent, Channel::Ack);
            self.server.publish(&topic, ack, true, QoS::AtMostOnce, now)?;
        }
        Ok(())
    }

    pub(crate) fn dismiss(&mut self, reason: Reason) {
        self.server.disconnect(reason);
        self.over = true;
    }

    pub(crate) fn poll(&mut self) -> Option<Bytes> {
        while let Some(output) = self.server.poll() {
            if let Output::Write(bytes) = output {
                self.out.push_back(bytes);
            }
        }
        self.out.pop_front()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over || self.server.is_closed()
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.server.wake_at()
    }
}
