//! The link's side of the agent without its socket: session, uplink and buffer, turned by inputs.
//!
//! ```text
//!   Opened, Bytes, Tick, Lost ─► handle ─┐             ┌─► poll   bytes for the link
//!   something was staged ───────► fill ──┴─ session ───┼─► notice what an operator or a counter wants
//!                                           uplink     └─► wake_at
//!                                           buffer
//! ```
//!
//! The simulation turns the same pump on a clock of its own.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::batch::{
    Ack, BatchError, Channel, Follows, Fragments, Identity, Sealed, Topic, frame, schema_batch,
};
use crate::buffer::{Buffer, BufferError, Forgotten, Parcel};
use crate::mqtt::{
    Bytes, Client, ClientEvent, ClientSettings, Filter, Input, Limits, Output, QoS, Reason,
    SessionError,
};
use crate::position::{GtidSet, Position, Sequence};
use crate::uplink::{self, Uplink, Verdict};

/// The buffer as both threads of the agent see it.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Inner>>);

/// What is behind the lock.
pub struct Inner {
    /// The queue.
    pub buffer: Buffer,
    /// How often the source had to go back to the buffer's checkpoint, because staged batches were
    /// found broken or the collector lost some. Who stages compares it with the number that it opened its
    /// source at.
    pub rereads: u64,
    /// What the collector has lost, until the source goes back to it. Nothing leaves meanwhile.
    pub lost: Option<Lost>,
    /// What is lost cannot be read again, and the operator lets it be missing: the next epoch says so.
    pub accepts_gap: bool,
}

/// What a collector had acknowledged and has not any more: it was restored from an older copy, or is another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Where the collector stands; `None` if it has nothing of this agent.
    pub from: Option<Position>,
    /// The same as a set of transactions, where there are GTIDs.
    pub gtids: GtidSet,
    /// The last batch that it has, by epoch and number.
    pub there: (u64, Sequence),
    /// Up to where it had acknowledged.
    pub upto: Position,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            None => f.write_str("the collector has nothing of this agent")?,
            Some(from) => write!(f, "the collector stands at {from}")?,
        }
        match self.upto.file.as_str() {
            "" => f.write_str(" and lacks what was committed behind it"),
            _ => write!(f, " and lacks what it had acknowledged up to {}", self.upto),
        }
    }
}

impl Shared {
    /// Shares a buffer.
    pub fn new(buffer: Buffer) -> Self {
        Self(Arc::new(Mutex::new(Inner { buffer, rereads: 0, lost: None, accepts_gap: false })))
    }

    /// The buffer, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, if nobody else has it at this moment.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Inner>> {
        match self.0.try_lock() {
            Ok(inner) => Some(inner),
            Err(TryLockError::Poisoned(inner)) => Some(inner.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The buffer back, if this is the last handle.
    pub fn into_inner(self) -> Option<Buffer> {
        let inner = Arc::into_inner(self.0)?.into_inner();
        Some(inner.unwrap_or_else(PoisonError::into_inner).buffer)
    }
}

/// What the pump is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agent's name, as in its certificate.
    pub agent: String,
    /// Whose agent it is.
    pub tenant: String,
    /// The session.
    pub session: ClientSettings,
    /// The largest packet that is sent, in bytes; the peer's limit holds where it is smaller.
    pub packet_bytes_max: u32,
    /// The window.
    pub uplink: uplink::Settings,
    /// zstd's level for schema batches.
    pub level: i32,
}

impl Settings {
    fn topic(&self, channel: Channel) -> String {
        let Self { tenant, agent, .. } = self;
        Topic { tenant, agent, channel }.to_string()
    }
}

/// What happened, for logs and counters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// The collector or broker took us in.
    Online(Limits),
    /// A batch was handed to the link.
    Sent {
        /// Its number.
        sequence: Sequence,
        /// Bytes of the message.
        bytes: usize,
    },
    /// The collector has everything up to here.
    Acknowledged {
        /// The last one.
        sequence: Sequence,
        /// Batches that were not acknowledged before.
        batches: u64,
    },
    /// Everything unacknowledged is sent again.
    Rewound(String),
    /// A new epoch began.
    NewEpoch {
        /// Its number.
        epoch: u64,
        /// Why.
        why: String,
    },
    /// Staged batches were broken; the source must be read again.
    Healed(String),
    /// The collector has lost what it had acknowledged; the source must be read again.
    Lost(Box<Lost>),
    /// A message was not taken by the peer.
    Rejected(Reason),
}

/// Why the connection must end.
#[derive(Debug)]
pub enum PumpError {
    /// The session is broken.
    Session(SessionError),
    /// The peer did not take us in, or sends us away.
    Refused(Reason),
    /// The buffer cannot be read or written now.
    Buffer(BufferError),
    /// The peer takes packets so small that a batch cannot even be cut into them.
    Batch(BatchError),
    /// The collector and this agent do not agree, however often an epoch is begun.
    Quarrel,
}

impl fmt::Display for PumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => write!(f, "{error}"),
            Self::Refused(reason) => write!(f, "the collector refused: {reason}"),
            Self::Buffer(error) => write!(f, "{error}"),
            Self::Batch(error) => write!(f, "the peer's largest packet is too small: {error}"),
            Self::Quarrel => f.write_str(
                "the collector asks for one new epoch after the other: is a second agent running \
                 under this name?",
            ),
        }
    }
}

impl std::error::Error for PumpError {}

impl From<SessionError> for PumpError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<BatchError> for PumpError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<BufferError> for PumpError {
    fn from(error: BufferError) -> Self {
        Self::Buffer(error)
    }
}

/// More epochs than this on one connection are a quarrel, not a recovery.
const EPOCHS_MAX: u32 = 3;

/// The token of a fragment that others of its batch follow; no batch has the number 0.
const FRAGMENT: u64 = 0;

/// What a PUBLISH of QoS 1 has beside its topic and payload, in bytes, at most: first byte, length, the
/// topic's length, packet identifier, no properties.
const PUBLISH_OVERHEAD: usize = 1 + 4 + 2 + 2 + 1;

/// What is acknowledged is forgotten this often, or when it is so many batches: a load of small transactions would
/// otherwise write twice to the disk for each. Whatever dies meanwhile sends them again, and the collector knows
/// them.
const FORGET_EVERY: Duration = Duration::from_millis(100);
const FORGET_BATCHES: u64 = 8;

/// Schema records in one lead batch: bounds its size whatever the number of tables.
const SCHEMAS_PER_BATCH: usize = 64;

/// See the module.
pub struct Pump {
    settings: Settings,
    data_topic: String,
    /// Of the batch that left last.
    identity: Identity,
    shared: Shared,
    client: Client,
    uplink: Uplink,
    /// SUBSCRIBE has left: the collector's word will come.
    subscribed: bool,
    /// Subscribed to the acknowledgements: batches may leave as the window allows.
    ready: bool,
    /// So many bytes of batches may leave behind SUBSCRIBE without its answer.
    early_bytes: usize,
    /// What the peer of this connection allows, or allowed the last time if it has not answered yet.
    limits: Option<Limits>,
    /// A batch that is too large for one packet, of which not all has left.
    cut: Option<Cut>,
    /// What the collector has acknowledged and the buffer has not forgotten yet.
    heard: Option<Heard>,
    /// When the buffer was last told.
    told_at: Option<Instant>,
    epochs: u32,
    out: VecDeque<Bytes>,
    notices: VecDeque<Notice>,
}

/// Up to where the collector has everything.
struct Heard {
    epoch: u64,
    sequence: Sequence,
}

/// A batch on its way in fragments.
struct Cut {
    sequence: Sequence,
    fragments: Fragments,
    /// Bytes of those that the peer has not answered, each for itself.
    unanswered: VecDeque<usize>,
}

impl Pump {
    /// A pump whose link is not open yet.
    pub fn new(settings: Settings, shared: Shared) -> Self {
        let (epoch, acknowledged) = {
            let inner = shared.lock();
            (inner.buffer.epoch(), inner.buffer.acknowledged())
        };
        Self {
            client: Client::new(settings.session.clone()),
            uplink: Uplink::new(settings.uplink, epoch, acknowledged),
            data_topic: settings.topic(Channel::Data),
            identity: Identity::of(settings.agent.clone()),
            settings,
            shared,
            subscribed: false,
            ready: false,
            early_bytes: 0,
            limits: None,
            cut: None,
            heard: None,
            told_at: None,
            epochs: 0,
            out: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// Takes in what happened outside. After an error: write what is left, close, then `Lost`.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Result<(), PumpError> {
        match input {
            Input::Opened | Input::Lost => {
                (self.subscribed, self.ready, self.early_bytes) = (false, false, 0);
                self.limits = None;
                (self.cut, self.epochs) = (None, 0);
                self.rewind(now);
                self.out.clear();
            }
            Input::Tick if self.uplink.tick(now) => {
                self.notices.push_back(Notice::Rewound("the collector is silent".to_owned()));
            }
            Input::Tick | Input::Bytes(_) => {}
        }
        let handled = self.client.handle(input, now);
        self.drain(now)?;
        handled?;
        self.fill(now)?;
        if self.forget_at().is_some_and(|at| at <= now) { self.forget_now(now) } else { Ok(()) }
    }

    /// As [`Self::forget`]; the source is told if the buffer had to be healed for it.
    fn forget_now(&mut self, now: Instant) -> Result<(), PumpError> {
        let shared = self.shared.clone();
        let forgotten = self.forget(&mut shared.lock(), now);
        forgotten.or_else(|error| self.healed(error))
    }

    /// When the buffer forgets what the collector has acknowledged.
    fn forget_at(&self) -> Option<Instant> {
        self.heard.as_ref().and(self.told_at).map(|at| at + FORGET_EVERY)
    }

    /// The buffer forgets what the collector has acknowledged.
    fn forget(&mut self, inner: &mut Inner, now: Instant) -> Result<(), BufferError> {
        let Some(Heard { epoch, sequence }) = self.heard.take() else { return Ok(()) };
        self.told_at = Some(now);
        // Whoever stages may have begun a new epoch meanwhile: its first batch says what it continues.
        if epoch == inner.buffer.epoch() {
            inner.buffer.acknowledge(epoch, sequence)?;
        }
        Ok(())
    }

    /// Behind `Opened`: lets about so many bytes of batches leave before the peer has answered SUBSCRIBE,
    /// and with what it allowed the last time, if that is `known`, before it has answered CONNECT. Whatever
    /// becomes of them, they are sent again until the collector acknowledges them.
    pub fn hasten(
        &mut self,
        known: Option<Limits>,
        bytes: usize,
        now: Instant,
    ) -> Result<(), PumpError> {
        self.early_bytes = bytes;
        if let Some(limits) = known {
            self.client.assume(limits);
            self.limits = known;
            self.subscribe(now)?;
        }
        self.fill(now)
    }

    fn subscribe(&mut self, now: Instant) -> Result<(), PumpError> {
        let filter = Filter { path: self.settings.topic(Channel::Ack), qos: QoS::AtLeastOnce };
        self.client.subscribe(&[filter], 0, now)?;
        self.subscribed = true;
        Ok(())
    }

    /// The peer took us in. What has left already may have been too much for it.
    fn taken_in(&mut self, limits: Limits, now: Instant) -> Result<(), PumpError> {
        let before = self.limits.replace(limits);
        self.notices.push_back(Notice::Online(limits));
        if before.is_some_and(|before| before.packet_bytes_max > limits.packet_bytes_max) {
            self.uplink.rewind();
        }
        if self.subscribed { Ok(()) } else { self.subscribe(now) }
    }

    /// Whether batches may leave, if the window has room for them.
    fn may_send(&self) -> bool {
        self.ready || self.subscribed && self.early_bytes > 0
    }

    /// What counts is what the buffer says: what was heard last it may not have been able to store.
    fn rewind(&mut self, now: Instant) {
        // If that cannot be stored, it is sent again.
        let _ = self.forget_now(now);
        let inner = self.shared.lock();
        let (epoch, acknowledged) = (inner.buffer.epoch(), inner.buffer.acknowledged());
        self.uplink.start_over(epoch, acknowledged);
    }

    /// Sends what the window allows.
    pub fn fill(&mut self, now: Instant) -> Result<(), PumpError> {
        while self.may_send() && self.client.room() > 0 {
            if self.cut.as_ref().is_some_and(|cut| !self.uplink.is_sending(cut.sequence)) {
                self.cut = None;
            }
            if self.cut.as_ref().is_some_and(|cut| cut.fragments.left() > 0) {
                if self.send_fragment(now)? {
                    continue;
                }
                break;
            }
            if !self.uplink.has_room() {
                break;
            }
            let next = {
                let mut inner = self.shared.lock();
                if inner.lost.is_some() {
                    break;
                }
                self.uplink.follow(inner.buffer.epoch());
                inner.buffer.after(self.uplink.sent()).and_then(|staged| {
                    let Some(staged) = staged else { return Ok(None) };
                    let first = staged.sequence == Sequence(1);
                    let follows = if first { Some(follows(&inner)?) } else { None };
                    Ok(Some((staged, follows)))
                })
            };
            let (staged, follows) = match next {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => return self.healed(error),
            };
            let identity = &mut self.identity;
            (identity.epoch, identity.sequence) = (staged.epoch, staged.sequence);
            (identity.previous_crc, identity.follows) = (staged.previous_crc, follows);
            let message = frame(identity, &staged.meta, &staged.body);
            // Not in memory beside its packet.
            drop(staged.body);
            let (bytes, token) = (message.len(), staged.sequence.0);
            let (topic, payload_bytes_max) = (&self.data_topic, self.payload_bytes_max());
            if bytes <= payload_bytes_max {
                self.client.publish(topic, message, QoS::AtLeastOnce, false, token, now)?;
            } else if !self.ready {
                // What is long is no better off for leaving early.
                break;
            } else {
                let fragments = Fragments::of(&self.identity, message, payload_bytes_max)?;
                let (sequence, unanswered) = (staged.sequence, VecDeque::new());
                self.cut = Some(Cut { sequence, fragments, unanswered });
            }
            self.uplink.send(staged.sequence, bytes, staged.crc, now);
            self.early_bytes = self.early_bytes.saturating_sub(bytes);
            self.notices.push_back(Notice::Sent { sequence: staged.sequence, bytes });
        }
        self.drain(now)
    }

    /// Sends the next fragment, if the window has room for it.
    fn send_fragment(&mut self, now: Instant) -> Result<bool, PumpError> {
        let Some(cut) = &mut self.cut else { return Ok(false) };
        let under_way: usize = cut.unanswered.iter().sum();
        if under_way > 0 && under_way >= self.uplink.window_bytes() {
            return Ok(false);
        }
        let Some(fragment) = cut.fragments.next() else { return Ok(false) };
        cut.unanswered.push_back(fragment.len());
        // The batch is there when its last fragment is.
        let token = if cut.fragments.left() == 0 { cut.sequence.0 } else { FRAGMENT };
        self.client.publish(&self.data_topic, fragment, QoS::AtLeastOnce, false, token, now)?;
        Ok(true)
    }

    /// The longest payload that fits into a packet of a batch.
    fn payload_bytes_max(&self) -> usize {
        let peer = self.limits.map_or(u32::MAX, |limits| limits.packet_bytes_max);
        let packet = self.settings.packet_bytes_max.min(peer) as usize;
        packet.saturating_sub(PUBLISH_OVERHEAD + self.data_topic.len())
    }

    /// The peer has answered a message.
    fn answered(&mut self, token: u64) {
        if let Some(cut) = self.cut.as_mut()
            && (token == FRAGMENT || token == cut.sequence.0)
        {
            cut.unanswered.pop_front();
        }
    }

    /// Publishes the agent's state. It is not retained: whoever subscribes later could not tell how old it is.
    pub fn report(&mut self, status: Vec<u8>, now: Instant) -> Result<(), PumpError> {
        if self.ready {
            let topic = self.settings.topic(Channel::Status);
            match self.client.publish(&topic, status, QoS::AtMostOnce, false, 0, now) {
                // Batches are what counts.
                Ok(()) | Err(SessionError::TooLarge { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.drain(now)
    }

    /// Says goodbye: write what is left, then close. Where no other connection follows at once, the reason is
    /// [`Reason::WITH_WILL`], so that what was reported last does not stand for an agent that is not there.
    pub fn disconnect(&mut self, reason: Reason, now: Instant) {
        self.out.extend(self.client.farewell(reason));
        // As in `rewind`.
        let _ = self.forget_now(now);
    }

    /// The next bytes for the link.
    pub fn poll(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// The next thing that happened.
    pub fn notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When to call [`Pump::handle`] with [`Input::Tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        let due = [self.client.wake_at(), self.uplink.wake_at(), self.forget_at()];
        due.into_iter().flatten().min()
    }

    /// Whether a batch staged now would leave at once.
    pub fn is_idle(&self) -> bool {
        self.ready && self.uplink.is_idle()
    }

    /// Whether a batch staged now would only lengthen a queue.
    pub fn is_behind(&self) -> bool {
        !self.ready || !self.uplink.has_room()
    }

    /// Whether the collector has everything that was staged.
    pub fn is_drained(&self) -> bool {
        let inner = self.shared.lock();
        let heard = self.heard.as_ref().filter(|heard| heard.epoch == inner.buffer.epoch());
        let acknowledged = heard.map_or(Sequence::START, |heard| heard.sequence);
        acknowledged.max(inner.buffer.acknowledged()) >= inner.buffer.staged()
    }

    /// Whether the collector took us in and batches may leave.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    fn drain(&mut self, now: Instant) -> Result<(), PumpError> {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Write(bytes) => self.out.push_back(bytes),
                Output::Event(event) => self.hear(event, now)?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: ClientEvent, now: Instant) -> Result<(), PumpError> {
        if let ClientEvent::Acknowledged { token } | ClientEvent::Rejected { token, .. } = &event {
            self.answered(*token);
        }
        match event {
            ClientEvent::Accepted { limits, .. } => self.taken_in(limits, now)?,
            ClientEvent::Subscribed { results, .. } => {
                if let Some(Err(reason)) = results.first() {
                    return Err(PumpError::Refused(*reason));
                }
                self.ready = true;
            }
            ClientEvent::Message { topic, payload, .. } => self.message(&topic, &payload, now)?,
            // Flow control only: the session counts it. From now on the collector owes an answer.
            ClientEvent::Acknowledged { token } => self.uplink.taken(Sequence(token), now),
            ClientEvent::Rejected { token, reason } => {
                // The batch is still in flight for the uplink: the collector's acknowledgement or
                // its silence decides.
                self.uplink.taken(Sequence(token), now);
                self.notices.push_back(Notice::Rejected(reason));
            }
            ClientEvent::Refused { reason } | ClientEvent::Closed { reason } => {
                return Err(PumpError::Refused(reason));
            }
        }
        Ok(())
    }

    fn message(&mut self, topic: &str, payload: &[u8], now: Instant) -> Result<(), PumpError> {
        let ours = Topic::parse(topic)
            .is_some_and(|t| t.channel == Channel::Ack && t.agent == self.settings.agent);
        // A retained message may have been cleared; anything else that is no acknowledgement is a
        // newer collector's business.
        let Some(ack) = ours.then(|| Ack::decode(payload).ok()).flatten() else { return Ok(()) };
        match self.obey(ack, now) {
            Err(PumpError::Buffer(error)) => self.healed(error),
            obeyed => obeyed,
        }
    }

    fn obey(&mut self, ack: Ack, now: Instant) -> Result<(), PumpError> {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        self.uplink.follow(inner.buffer.epoch());
        let goes_on = ack.demand.is_none() && ack.epoch == self.uplink.epoch();
        if !goes_on || ack.sequence <= self.uplink.acknowledged() {
            // What it says now is compared with all that it has said.
            self.forget(&mut inner, now)?;
        }
        let mut broken = None;
        let (staged, forgotten) = (inner.buffer.staged(), inner.buffer.forgotten_last());
        if inner.lost.is_some() && (ack.epoch, ack.sequence) >= forgotten {
            inner.lost = None;
            self.notices
                .push_back(Notice::Rewound("the collector has again what it lost".to_owned()));
        }
        let crc_of = |sequence: Sequence| {
            let before = Sequence(sequence.0.checked_sub(1)?);
            let found = inner.buffer.after(before).unwrap_or_else(|error| {
                broken = Some(error);
                None
            })?;
            (found.sequence == sequence).then_some(found.crc)
        };
        let before = self.uplink.acknowledged();
        let verdict = self.uplink.hear(&ack, forgotten, staged, crc_of, now);
        if let Some(error) = broken {
            return Err(error.into());
        }
        match verdict {
            Verdict::Nothing => {}
            Verdict::Rewound => self.notices.push_back(Notice::Rewound(ack.why)),
            Verdict::Forget(sequence) => {
                let batches = sequence.0.saturating_sub(before.0);
                inner.accepts_gap = false;
                self.notices.push_back(Notice::Acknowledged { sequence, batches });
                self.heard = Some(Heard { epoch: ack.epoch, sequence });
                let waiting = sequence.0.saturating_sub(inner.buffer.acknowledged().0);
                if self.told_at.is_none() || waiting >= FORGET_BATCHES {
                    self.forget(&mut inner, now)?;
                }
            }
            Verdict::Reread => {
                let lost = Lost {
                    gtids: ack.gtid_set(),
                    from: ack.position.filter(|position| !position.file.is_empty()),
                    there: (ack.epoch, ack.sequence),
                    upto: inner.buffer.forgotten()?.since,
                };
                if inner.lost.as_ref() != Some(&lost) {
                    (inner.lost, inner.rereads) = (Some(lost.clone()), inner.rereads + 1);
                    self.notices.push_back(Notice::Lost(Box::new(lost)));
                }
            }
            Verdict::NewEpoch { at_least, with_schemas, why } => {
                self.epochs += 1;
                if self.epochs > EPOCHS_MAX {
                    return Err(PumpError::Quarrel);
                }
                let lead = match with_schemas {
                    true => lead(&inner.buffer, self.settings.level)?,
                    false => Vec::new(),
                };
                let epoch = inner.buffer.begin_epoch(at_least, &lead)?;
                self.uplink.begin_epoch(epoch);
                let why = if ack.why.is_empty() { why.to_owned() } else { ack.why };
                self.notices.push_back(Notice::NewEpoch { epoch, why });
            }
        }
        Ok(())
    }

    /// Broken batches were cut off: the source must go back, and the epoch is another one.
    fn healed(&mut self, error: BufferError) -> Result<(), PumpError> {
        let BufferError::Healed { epoch, .. } = &error else { return Err(error.into()) };
        self.shared.lock().rereads += 1;
        self.uplink.begin_epoch(*epoch);
        self.notices.push_back(Notice::Healed(error.to_string()));
        Ok(())
    }
}

/// What the epoch that is about to leave continues.
fn follows(inner: &Inner) -> Result<Follows, BufferError> {
    let Forgotten { epoch, sequence, since } = inner.buffer.forgotten()?;
    Ok(Follows { epoch, sequence, since, accepts_gap: inner.accepts_gap })
}

/// Batches that carry every schema of the buffer and nothing else.
fn lead(buffer: &Buffer, level: i32) -> Result<Vec<Parcel>, BufferError> {
    let schemas = buffer.schemas()?;
    let batches = schemas.chunks(SCHEMAS_PER_BATCH).map(|chunk| {
        let sealed = schema_batch(chunk.to_vec(), level);
        parcel(sealed.expect("schema records are far below the limits of a batch"))
    });
    Ok(batches.collect())
}

/// A sealed batch as the buffer takes it.
pub fn parcel(sealed: Sealed) -> Parcel {
    Parcel {
        meta: sealed.meta,
        body: sealed.body,
        rows: sealed.rows,
        transactions: sealed.transactions,
        schemas: sealed.schemas,
    }
}
