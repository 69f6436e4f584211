//! The collector's conversation with a broker, without its socket: what it subscribes to, what it says,
//! and whether the broker keeps its word.
//!
//! ```text
//!   Opened, Bytes, Tick, Lost ─► handle ─┐                 ┌─► poll   bytes for the link
//!   acknowledgements ──────────► tell ───┴─ session, probe ┼─► news   batches, and what to know
//!                                                          └─► wake_at
//! ```
//!
//! | topic under `rivulet/v1/<tenant>/` | |
//! |---|---|
//! | `+/data` | subscribed to, within `$share/<group>/` if collectors share the agents |
//! | `+/status` | subscribed to |
//! | `+/ack` | published, retained; subscribed to if collectors share |
//! | `<client id>/probe` | both, through the group: some brokers grant a shared subscription and deliver nothing |
//!
//! Who an agent is follows from the topic, so the broker must let each publish under its own name only.
//! Nothing is kept in the broker between connections: what was lost there is asked for again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::batch::{Ack, Channel, Topic};
use crate::mqtt::{
    Bytes, Client, ClientEvent, ClientSettings, Filter, Input, Limits, Output, QoS, Reason,
    SessionError,
};
use crate::transport::is_agent_name;

use super::desk::STATUS_BYTES_MAX;

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The session with the broker.
    pub session: ClientSettings,
    /// Whose agents.
    pub tenant: String,
    /// The group that shares the agents; `None` for a collector that takes all of them.
    pub share: Option<String>,
    /// How long a message may take through the broker and back.
    pub probe_patience: Duration,
}

/// What the owner must do or know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// The broker took us in.
    Online(Limits),
    /// Batches come from now on. What was under way before may be lost: every agent is to be told so.
    Begun {
        /// Whether the group's subscription delivers.
        shared: bool,
    },
    /// The group's subscription delivers nothing, for this reason: all batches are taken in its place.
    Unshared(String),
    /// A batch, or a fragment of one.
    Batch {
        /// Its agent, by the topic.
        agent: String,
        /// The message.
        message: Bytes,
    },
    /// An acknowledgement of this or another collector.
    Heard {
        /// Whose batches it is about.
        agent: String,
        /// What it says.
        ack: Ack,
    },
    /// What an agent says of itself, JSON.
    Status {
        /// Its agent, by the topic.
        agent: String,
        /// The text.
        text: Bytes,
    },
    /// A message on a topic that no agent of ours can have.
    Stray(String),
    /// The broker did not take an acknowledgement or a probe.
    Rejected(Reason),
}

/// Why the connection must end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SubscriberError {
    /// The session is broken.
    Session(SessionError),
    /// The broker did not take us in, or sends us away.
    Refused(Reason),
    /// The broker does not let us subscribe to this.
    Subscription(String, Reason),
}

impl fmt::Display for SubscriberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => write!(f, "{error}"),
            Self::Refused(reason) => write!(f, "the broker refused: {reason}"),
            Self::Subscription(path, reason) => {
                write!(f, "the broker refused the subscription to {path}: {reason}")
            }
        }
    }
}

impl std::error::Error for SubscriberError {}

impl From<SessionError> for SubscriberError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// See the module.
pub struct Subscriber {
    settings: Settings,
    client: Client,
    /// What was asked for last.
    filters: Vec<Filter>,
    phase: Phase,
    /// The newest word for each agent that the session had no room for.
    waiting: BTreeMap<String, Ack>,
    out: VecDeque<Bytes>,
    news: VecDeque<News>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Not yet subscribed.
    Before,
    /// The group's subscription is there, and its first probe is under way.
    Probing { until: Instant },
    /// It delivered then; it is looked at again.
    Shared { probe: Probe },
    /// All batches come to us.
    Alone,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Probe {
    Due(Instant),
    UnderWay { until: Instant },
}

impl Subscriber {
    /// A subscriber whose link is not open yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            client: Client::new(settings.session.clone()),
            settings,
            filters: Vec::new(),
            phase: Phase::Before,
            waiting: BTreeMap::new(),
            out: VecDeque::new(),
            news: VecDeque::new(),
        }
    }

    /// Takes in what happened outside. After an error: write what is left, close, then `Lost`.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Result<(), SubscriberError> {
        if let Input::Opened | Input::Lost = input {
            self.phase = Phase::Before;
            self.out.clear();
        }
        let handled = self.client.handle(input, now);
        self.drain(now)?;
        handled?;
        self.look(now)?;
        self.fill(now)?;
        self.drain(now)
    }

    /// Tells an agent where the collector stands: now, or when the session has room.
    pub fn tell(&mut self, agent: &str, ack: Ack, now: Instant) -> Result<(), SubscriberError> {
        let before = self.waiting.get(agent);
        // A demand that was not met meanwhile is not overtaken by word of what came before it.
        let stands = |before: &Ack| {
            before.demand.is_some()
                && ack.demand.is_none()
                && (before.epoch, before.sequence) == (ack.epoch, ack.sequence)
        };
        if !before.is_some_and(stands) {
            self.waiting.insert(agent.to_owned(), ack);
        }
        self.fill(now)?;
        self.drain(now)
    }

    /// Says goodbye: write what is left, then close.
    pub fn disconnect(&mut self) {
        self.out.extend(self.client.farewell(Reason::SUCCESS));
    }

    /// The next bytes for the link.
    pub fn poll(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// The next thing that happened.
    pub fn news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When to call [`Subscriber::handle`] with [`Input::Tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        let probe = match self.phase {
            Phase::Probing { until } => Some(until),
            Phase::Shared { probe: Probe::Due(at) | Probe::UnderWay { until: at } } => Some(at),
            Phase::Before | Phase::Alone => None,
        };
        [self.client.wake_at(), probe].into_iter().flatten().min()
    }

    fn drain(&mut self, now: Instant) -> Result<(), SubscriberError> {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Write(bytes) => self.out.push_back(bytes),
                Output::Event(event) => self.hear(event, now)?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: ClientEvent, now: Instant) -> Result<(), SubscriberError> {
        match event {
            ClientEvent::Accepted { limits, .. } => {
                self.news.push_back(News::Online(limits));
                match self.settings.share.clone() {
                    Some(_) if !limits.shared_subscriptions => {
                        let why = "the broker says that it has no shared subscriptions";
                        self.unshare(why, now)?;
                    }
                    Some(group) => self.ask(self.shared(&group), now)?,
                    None => self.ask(self.alone(), now)?,
                }
            }
            ClientEvent::Subscribed { results, .. } => self.subscribed(&results, now)?,
            ClientEvent::Message { topic, payload, .. } => self.message(&topic, payload, now),
            // It is on its way, no more: agents that do not hear it ask again.
            ClientEvent::Acknowledged { .. } => {}
            ClientEvent::Rejected { reason, .. } => self.news.push_back(News::Rejected(reason)),
            ClientEvent::Refused { reason } | ClientEvent::Closed { reason } => {
                return Err(SubscriberError::Refused(reason));
            }
        }
        Ok(())
    }

    fn ask(&mut self, filters: Vec<Filter>, now: Instant) -> Result<(), SubscriberError> {
        self.client.subscribe(&filters, 0, now)?;
        self.filters = filters;
        Ok(())
    }

    fn subscribed(
        &mut self,
        results: &[Result<QoS, Reason>],
        now: Instant,
    ) -> Result<(), SubscriberError> {
        let refused =
            self.filters.iter().zip(results).find_map(|(filter, result)| {
                result.err().map(|reason| (filter.path.clone(), reason))
            });
        let shared = self.filters.first().is_some_and(|first| first.path.starts_with(SHARE));
        match refused {
            Some((path, reason)) if shared && path.starts_with(SHARE) => {
                return self.unshare(&format!("the broker refused {path}: {reason}"), now);
            }
            Some((path, reason)) => return Err(SubscriberError::Subscription(path, reason)),
            None => {}
        }
        if shared {
            self.probe(now)?;
            self.phase = Phase::Probing { until: now + self.settings.probe_patience };
        } else {
            self.phase = Phase::Alone;
            self.news.push_back(News::Begun { shared: false });
        }
        Ok(())
    }

    fn message(&mut self, topic: &str, payload: Bytes, now: Instant) {
        let own = Topic::parse(topic).filter(|topic| topic.tenant == self.settings.tenant);
        let Some(Topic { agent, channel, .. }) = own else {
            self.news.push_back(News::Stray(topic.to_owned()));
            return;
        };
        if channel == Channel::Probe {
            self.probed(now);
            return;
        }
        if !is_agent_name(agent) {
            self.news.push_back(News::Stray(topic.to_owned()));
            return;
        }
        let agent = agent.to_owned();
        self.news.push_back(match channel {
            Channel::Data => News::Batch { agent, message: payload },
            Channel::Status if payload.len() > STATUS_BYTES_MAX => {
                News::Stray(format!("{topic}, {} bytes", payload.len()))
            }
            Channel::Status => News::Status { agent, text: payload },
            Channel::Ack => match Ack::decode(&payload) {
                Ok(ack) => News::Heard { agent, ack },
                // A retained one that was cleared.
                Err(_) => return,
            },
            _ => News::Stray(topic.to_owned()),
        });
    }

    /// A probe came back.
    fn probed(&mut self, now: Instant) {
        match self.phase {
            Phase::Probing { .. } => self.news.push_back(News::Begun { shared: true }),
            Phase::Shared { .. } => {}
            // It came too late; the agents are told apart by their batches' numbers, so that what comes
            // twice does no harm.
            Phase::Before | Phase::Alone => return,
        }
        self.phase = Phase::Shared { probe: Probe::Due(now + PROBE_EVERY) };
    }

    /// Sends a probe that is due, and gives up the group if one did not come back.
    fn look(&mut self, now: Instant) -> Result<(), SubscriberError> {
        let late = |until: Instant| until <= now;
        match self.phase {
            Phase::Probing { until } | Phase::Shared { probe: Probe::UnderWay { until } }
                if late(until) =>
            {
                let waited = self.settings.probe_patience.as_secs();
                let why = format!("a message to ourselves did not come back within {waited} s");
                self.unshare(&why, now)
            }
            Phase::Shared { probe: Probe::Due(at) } if late(at) => {
                self.probe(now)?;
                let until = now + self.settings.probe_patience;
                self.phase = Phase::Shared { probe: Probe::UnderWay { until } };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn probe(&mut self, now: Instant) -> Result<(), SubscriberError> {
        let topic = self.probe_topic();
        let sure =
            self.client.limits().is_some_and(|limits| limits.qos_1) && self.client.room() > 0;
        let qos = if sure { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        Ok(self.client.publish(&topic, &b"probe"[..], qos, false, 0, now)?)
    }

    /// Takes every batch, in place of the group's share.
    fn unshare(&mut self, why: &str, now: Instant) -> Result<(), SubscriberError> {
        self.phase = Phase::Before;
        self.news.push_back(News::Unshared(why.to_owned()));
        self.ask(self.alone(), now)
    }

    /// Publishes what waits, as far as the session has room.
    fn fill(&mut self, now: Instant) -> Result<(), SubscriberError> {
        let Some(limits) = self.client.limits().filter(|_| self.phase != Phase::Before) else {
            return Ok(());
        };
        let qos = if limits.qos_1 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        while self.client.room() > 0
            && let Some((agent, ack)) = self.waiting.pop_first()
        {
            let topic = self.topic(&agent, Channel::Ack);
            // A demand is about the present connection; later ones begin from what is acknowledged.
            let retain = limits.retain && ack.demand.is_none();
            self.client.publish(&topic, ack.encode(), qos, retain, 0, now)?;
        }
        Ok(())
    }

    fn filter(&self, group: Option<&str>, agent: &str, channel: Channel) -> Filter {
        let group = group.map_or(String::new(), |group| format!("{SHARE}{group}/"));
        Filter { path: group + &self.topic(agent, channel), qos: QoS::AtLeastOnce }
    }

    fn alone(&self) -> Vec<Filter> {
        vec![self.filter(None, "+", Channel::Data), self.filter(None, "+", Channel::Status)]
    }

    fn shared(&self, group: &str) -> Vec<Filter> {
        let own = &self.settings.session.client_id;
        vec![
            self.filter(Some(group), "+", Channel::Data),
            self.filter(Some(group), own, Channel::Probe),
            self.filter(None, "+", Channel::Status),
            self.filter(None, "+", Channel::Ack),
        ]
    }

    fn topic(&self, agent: &str, channel: Channel) -> String {
        Topic { tenant: &self.settings.tenant, agent, channel }.to_string()
    }

    fn probe_topic(&self) -> String {
        self.topic(&self.settings.session.client_id, Channel::Probe)
    }
}

const SHARE: &str = "$share/";
/// How often a group's subscription is looked at again.
const PROBE_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use crate::batch::Demand;
    use crate::mqtt::{Server, ServerEvent, ServerSettings};
    use crate::position::Sequence;

    use super::*;

    /// A broker of one client: grants all, and gives back what matches, if it is one that does.
    struct Broker {
        server: Server,
        filters: Vec<String>,
        delivers: bool,
        shares: bool,
        got: Vec<(String, Bytes, bool)>,
    }

    impl Broker {
        fn new(delivers: bool) -> Self {
            let settings = ServerSettings {
                receive_maximum: 2,
                packet_bytes_max: 1 << 20,
                keep_alive_s_max: 60,
                patience: Duration::from_secs(30),
            };
            Self {
                server: Server::new(settings),
                filters: Vec::new(),
                delivers,
                shares: true,
                got: Vec::new(),
            }
        }

        fn hear(&mut self, event: ServerEvent, now: Instant) {
            match event {
                ServerEvent::Connect(_) => self.server.accept(false, now).unwrap(),
                ServerEvent::Subscribe { filters, token } => {
                    let granted: Vec<_> = filters.iter().map(|filter| Ok(filter.qos)).collect();
                    self.filters.extend(filters.into_iter().map(|filter| filter.path));
                    self.server.grant(token, &granted);
                }
                ServerEvent::Publish { topic, payload, token, retain, .. } => {
                    self.server.acknowledge(token);
                    if topic.ends_with("/probe") && self.delivers {
                        self.say(&topic, &payload, now);
                    }
                    self.got.push((topic, payload, retain));
                }
                ServerEvent::Disconnected { .. } => {}
            }
        }

        fn say(&mut self, topic: &str, payload: &[u8], now: Instant) {
            let payload = Bytes::copy_from_slice(payload);
            self.server.publish(topic, payload, false, QoS::AtMostOnce, now).unwrap();
        }
    }

    fn settings(share: Option<&str>) -> Settings {
        let session = ClientSettings {
            client_id: "centre-1".into(),
            keep_alive_s: 20,
            session_expiry_s: 0,
            clean_start: true,
            will: None,
            login: None,
            receive_maximum: 100,
            packet_bytes_max: 1 << 20,
            patience: Duration::from_secs(30),
        };
        Settings {
            session,
            tenant: "t".into(),
            share: share.map(str::to_owned),
            probe_patience: Duration::from_secs(5),
        }
    }

    /// Our server says in its CONNACK that it has no shared subscriptions (property 42); this says that it has.
    fn sharing(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if bytes.first() == Some(&0x20) {
            let at = bytes.windows(2).position(|pair| pair == [42, 0]).expect("it says so");
            bytes[at + 1] = 1;
        }
        bytes
    }

    /// Carries bytes both ways until nothing moves.
    fn carry(subscriber: &mut Subscriber, broker: &mut Broker, now: Instant) {
        loop {
            let mut moved = false;
            while let Some(bytes) = subscriber.poll() {
                broker.server.handle(Input::Bytes(&bytes), now).unwrap();
                moved = true;
            }
            while let Some(output) = broker.server.poll() {
                moved = true;
                match output {
                    Output::Write(bytes) => {
                        let bytes = if broker.shares { sharing(&bytes) } else { bytes.to_vec() };
                        subscriber.handle(Input::Bytes(&bytes), now).unwrap();
                    }
                    Output::Event(event) => broker.hear(event, now),
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn connected(share: Option<&str>, delivers: bool) -> (Subscriber, Broker, Instant) {
        connected_to(Broker::new(delivers), share)
    }

    fn connected_to(mut broker: Broker, share: Option<&str>) -> (Subscriber, Broker, Instant) {
        let now = Instant::now();
        let mut subscriber = Subscriber::new(settings(share));
        broker.server.handle(Input::Opened, now).unwrap();
        subscriber.handle(Input::Opened, now).unwrap();
        carry(&mut subscriber, &mut broker, now);
        assert!(matches!(subscriber.news(), Some(News::Online(_))));
        (subscriber, broker, now)
    }

    fn ack(sequence: u64) -> Ack {
        Ack { version: 1, epoch: 1, sequence: Sequence(sequence), ..Ack::default() }
    }

    #[test]
    fn a_collector_alone_takes_all_data() {
        let (mut subscriber, mut broker, now) = connected(None, true);
        assert_eq!(subscriber.news(), Some(News::Begun { shared: false }));
        assert_eq!(broker.filters, ["rivulet/v1/t/+/data", "rivulet/v1/t/+/status"]);
        broker.say("rivulet/v1/t/edge-1/data", b"batch", now);
        broker.say("rivulet/v1/other/edge-1/data", b"batch", now);
        broker.say("rivulet/v1/t/Not An Agent/data", b"batch", now);
        carry(&mut subscriber, &mut broker, now);
        let batch = News::Batch { agent: "edge-1".into(), message: Bytes::from_static(b"batch") };
        assert_eq!(subscriber.news(), Some(batch));
        assert!(matches!(subscriber.news(), Some(News::Stray(_))));
        assert!(matches!(subscriber.news(), Some(News::Stray(_))));
        assert_eq!(subscriber.news(), None);
    }

    #[test]
    fn a_share_that_delivers_is_used_and_looked_at_again() {
        let (mut subscriber, mut broker, now) = connected(Some("g"), true);
        assert_eq!(subscriber.news(), Some(News::Begun { shared: true }));
        assert!(broker.filters.contains(&"$share/g/rivulet/v1/t/+/data".to_owned()));
        assert!(!broker.filters.contains(&"rivulet/v1/t/+/data".to_owned()));
        broker.delivers = false;
        let later = now + PROBE_EVERY;
        subscriber.handle(Input::Tick, later).unwrap();
        carry(&mut subscriber, &mut broker, later);
        assert_eq!(subscriber.news(), None);
        let too_late = later + Duration::from_secs(5);
        subscriber.handle(Input::Tick, too_late).unwrap();
        carry(&mut subscriber, &mut broker, too_late);
        assert!(matches!(subscriber.news(), Some(News::Unshared(_))));
        assert_eq!(subscriber.news(), Some(News::Begun { shared: false }));
    }

    #[test]
    fn a_share_that_is_granted_and_delivers_nothing_is_given_up() {
        let (mut subscriber, mut broker, now) = connected(Some("g"), false);
        assert_eq!(subscriber.news(), None, "nothing is known yet");
        let wake_at = subscriber.wake_at().unwrap();
        assert!(wake_at <= now + Duration::from_secs(5));
        subscriber.handle(Input::Tick, wake_at).unwrap();
        carry(&mut subscriber, &mut broker, wake_at);
        let Some(News::Unshared(why)) = subscriber.news() else { panic!("no fallback") };
        assert!(why.contains("did not come back"), "{why}");
        assert_eq!(subscriber.news(), Some(News::Begun { shared: false }));
        assert!(broker.filters.contains(&"rivulet/v1/t/+/data".to_owned()));
    }

    #[test]
    fn a_broker_that_says_that_it_cannot_share_is_believed() {
        let broker = Broker { shares: false, ..Broker::new(true) };
        let (mut subscriber, broker, _) = connected_to(broker, Some("g"));
        assert!(matches!(subscriber.news(), Some(News::Unshared(_))));
        assert_eq!(subscriber.news(), Some(News::Begun { shared: false }));
        assert!(broker.filters.contains(&"rivulet/v1/t/+/data".to_owned()));
    }

    #[test]
    fn acknowledgements_are_retained_and_demands_are_not() {
        let (mut subscriber, mut broker, now) = connected(None, true);
        subscriber.tell("a", ack(3), now).unwrap();
        let demand = Ack { demand: Some(Demand::Rewind), ..ack(3) };
        subscriber.tell("b", demand.clone(), now).unwrap();
        carry(&mut subscriber, &mut broker, now);
        let topic = |agent: &str| format!("rivulet/v1/t/{agent}/ack");
        let got = [
            (topic("a"), Bytes::from(ack(3).encode()), true),
            (topic("b"), Bytes::from(demand.encode()), false),
        ];
        assert_eq!(broker.got, got);
    }

    #[test]
    fn what_has_no_room_waits_and_only_the_newest_is_said() {
        let (mut subscriber, mut broker, now) = connected(None, true);
        for sequence in 1..=9 {
            for agent in ["a", "b", "c"] {
                subscriber.tell(agent, ack(sequence), now).unwrap();
            }
        }
        carry(&mut subscriber, &mut broker, now);
        assert!(broker.got.len() <= 5, "{}", broker.got.len());
        for agent in ["a", "b", "c"] {
            let of_agent =
                broker.got.iter().filter(|(topic, ..)| topic.contains(&format!("/{agent}/")));
            let last = of_agent.map(|(_, payload, _)| Ack::decode(payload).unwrap()).last();
            assert_eq!(last, Some(ack(9)), "{agent}");
        }
    }

    #[test]
    fn a_demand_that_waits_is_not_overtaken_by_an_older_word() {
        let mut subscriber = Subscriber::new(settings(None));
        let now = Instant::now();
        let demand = Ack { demand: Some(Demand::Rewind), ..ack(3) };
        subscriber.tell("a", demand.clone(), now).unwrap();
        subscriber.tell("a", ack(3), now).unwrap();
        assert_eq!(subscriber.waiting.get("a"), Some(&demand));
        subscriber.tell("a", ack(4), now).unwrap();
        assert_eq!(subscriber.waiting.get("a"), Some(&ack(4)));
    }
}
