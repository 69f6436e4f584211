//! The pump against a server of this crate, packet by packet.

use std::time::{Duration, Instant};

use Heard::{Batch, Connect, Subscribe};

use super::pump::{Pump, PumpError, Settings, Shared};
use crate::batch::{Ack, Channel, Fragment, Message, Meta, Topic};
use crate::buffer::{self, Buffer, Durability, Parcel};
use crate::mqtt::{
    Bytes, ClientSettings, Input, Limits, Output, QoS, Server, ServerEvent, ServerSettings,
};
use crate::position::{Checkpoint, Sequence};
use crate::uplink;

const AGENT: &str = "edge-17";
const LIMITS: Limits = Limits {
    receive_maximum: 10,
    packet_bytes_max: 1 << 20,
    keep_alive_s: 5,
    session_expiry_s: 0,
    qos_1: true,
    retain: true,
    shared_subscriptions: false,
};

/// What a server heard, in its order.
#[derive(Debug, Eq, PartialEq)]
enum Heard {
    Connect,
    Subscribe,
    Batch(u64),
    Fragment(u64),
}

struct World {
    pump: Pump,
    server: Server,
    /// What the server has not answered.
    subscription: Option<u64>,
    shared: Shared,
    now: Instant,
    _folder: tempfile::TempDir,
}

impl World {
    /// A backlog of so many batches of this size; a server that takes packets of so many bytes.
    fn new(batches: usize, bytes: usize, packet_bytes_max: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = buffer::Settings {
            bytes_max: 64 << 20,
            durability: Durability::Normal,
            boot_id: "boot".to_owned(),
        };
        let (mut buffer, _) = Buffer::open(&folder.path().join("b"), settings).unwrap();
        for _ in 0..batches {
            let body: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
            let meta = Meta::default().encode();
            let parcel = Parcel { meta, body, rows: 1, transactions: 1, schemas: Vec::new() };
            buffer.commit(&[parcel], &Checkpoint::default()).unwrap();
        }
        let shared = Shared::new(buffer);
        let server = Server::new(ServerSettings {
            receive_maximum: 64,
            packet_bytes_max,
            keep_alive_s_max: 60,
            patience: Duration::from_secs(30),
        });
        let pump = Pump::new(pump_settings(), shared.clone());
        Self { pump, server, subscription: None, shared, now: Instant::now(), _folder: folder }
    }

    fn open(&mut self, known: Option<Limits>, bytes: usize) {
        self.server.handle(Input::Opened, self.now).unwrap();
        self.pump.handle(Input::Opened, self.now).unwrap();
        self.pump.hasten(known, bytes, self.now).unwrap();
    }

    /// What the pump has for the server.
    fn packets(&mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.pump.poll()).collect()
    }

    /// Gives the server these packets. It takes everybody in, and answers nothing else.
    fn serve(&mut self, packets: &[Bytes]) -> Vec<Heard> {
        let mut heard = Vec::new();
        for packet in packets {
            self.server.handle(Input::Bytes(packet), self.now).unwrap();
        }
        let mut answers = Vec::new();
        while let Some(output) = self.server.poll() {
            match output {
                Output::Write(bytes) => answers.push(bytes),
                Output::Event(ServerEvent::Connect(_)) => {
                    heard.push(Heard::Connect);
                    self.server.accept(false, self.now).unwrap();
                }
                Output::Event(ServerEvent::Subscribe { token, .. }) => {
                    heard.push(Heard::Subscribe);
                    self.subscription = Some(token);
                }
                Output::Event(ServerEvent::Publish { payload, .. }) => {
                    let fragment = Fragment::parse(&payload).map(|it| it.whole.sequence);
                    heard.push(match fragment {
                        Ok(sequence) => Heard::Fragment(sequence),
                        Err(_) => {
                            Heard::Batch(Message::parse(&payload).unwrap().identity.sequence.0)
                        }
                    });
                }
                Output::Event(event) => panic!("{event:?}"),
            }
        }
        self.tell(&answers).unwrap();
        heard
    }

    fn tell(&mut self, answers: &[Bytes]) -> Result<(), PumpError> {
        answers.iter().try_for_each(|bytes| self.pump.handle(Input::Bytes(bytes), self.now))
    }

    /// The server answers the subscription, and says where it stands.
    fn grant(&mut self, ack: &Ack) {
        let token = self.subscription.take().unwrap();
        self.server.grant(token, &[Ok(QoS::AtLeastOnce)]);
        let topic = Topic { tenant: "t", agent: AGENT, channel: Channel::Ack }.to_string();
        let _ = self.server.publish(&topic, ack.encode(), true, QoS::AtMostOnce, self.now);
        assert_eq!(self.serve(&[]), []);
    }
}

pub(super) fn pump_settings() -> Settings {
    Settings {
        agent: AGENT.to_owned(),
        tenant: "t".to_owned(),
        session: ClientSettings {
            client_id: AGENT.to_owned(),
            keep_alive_s: 5,
            session_expiry_s: 0,
            clean_start: true,
            will: None,
            login: None,
            receive_maximum: 16,
            packet_bytes_max: 65_536,
            patience: Duration::from_secs(30),
        },
        packet_bytes_max: 1 << 20,
        uplink: uplink::Settings {
            window_bytes: 1 << 20,
            window_batches: 256,
            silence_max: Duration::from_secs(30),
        },
        level: 1,
    }
}

#[test]
fn a_backlog_begins_to_leave_with_connect_to_a_peer_that_is_known() {
    let mut world = World::new(9, 1000, 1 << 20);
    world.open(Some(LIMITS), 2500);
    let packets = world.packets();
    let heard = world.serve(&packets);
    assert_eq!(heard, [Connect, Subscribe, Batch(1), Batch(2), Batch(3)], "about so many bytes");
    let packets = world.packets();
    assert_eq!(world.serve(&packets), [], "CONNACK alone lets no more leave");
    world.grant(&Ack { version: 1, ..Ack::default() });
    let packets = world.packets();
    let heard = world.serve(&packets);
    assert_eq!(heard, (4..=9).map(Batch).collect::<Vec<_>>(), "none of them twice");
}

#[test]
fn nothing_but_connect_leaves_to_a_stranger_before_it_answers_that() {
    let mut world = World::new(3, 1000, 1 << 20);
    world.open(None, 1500);
    let packets = world.packets();
    assert_eq!(world.serve(&packets), [Connect]);
    let packets = world.packets();
    assert_eq!(world.serve(&packets), [Subscribe, Batch(1), Batch(2)], "SUBACK is not awaited");
}

#[test]
fn under_a_budget_no_batch_leaves_before_the_collector_may_have_said_what_it_has() {
    let mut world = World::new(3, 1000, 1 << 20);
    world.open(Some(LIMITS), 0);
    let packets = world.packets();
    assert_eq!(world.serve(&packets), [Connect, Subscribe]);
    let (epoch, crc) = {
        let mut inner = world.shared.lock();
        let second = inner.buffer.after(Sequence(1)).unwrap().unwrap();
        (second.epoch, second.crc)
    };
    let sequence = Sequence(2);
    world.pump.fill(world.now).unwrap();
    assert_eq!(world.packets(), Vec::<Bytes>::new());
    world.grant(&Ack { version: 1, epoch, sequence, crc, ..Ack::default() });
    world.packets();
    assert_eq!(world.shared.lock().buffer.acknowledged(), sequence);
}

#[test]
fn the_limits_that_were_known_hold_until_there_are_others() {
    let mut world = World::new(9, 1000, 1 << 20);
    world.open(Some(Limits { receive_maximum: 2, ..LIMITS }), 100_000);
    let packets = world.packets();
    assert_eq!(world.serve(&packets), [Connect, Subscribe, Batch(1), Batch(2)]);

    let mut world = World::new(3, 5000, 1 << 20);
    world.open(Some(Limits { packet_bytes_max: 2000, ..LIMITS }), 100_000);
    let packets = world.packets();
    assert_eq!(world.serve(&packets), [Connect, Subscribe], "what must be cut waits");
}

#[test]
fn what_left_early_and_was_too_long_for_the_peer_is_cut_and_leaves_again() {
    let mut world = World::new(2, 5000, 2000);
    world.open(Some(LIMITS), 100_000);
    let packets = world.packets();
    assert_eq!(packets.len(), 4, "CONNECT, SUBSCRIBE and two batches");
    // This server drops what is too long for it.
    assert_eq!(world.serve(&packets[..2]), [Connect, Subscribe]);
    world.grant(&Ack { version: 1, ..Ack::default() });
    let packets = world.packets();
    assert!(packets.iter().all(|packet| packet.len() <= 2000));
    let heard = world.serve(&packets);
    assert!(heard.len() >= 6, "{heard:?}");
    assert_eq!(
        (heard.first(), heard.last()),
        (Some(&Heard::Fragment(1)), Some(&Heard::Fragment(2)))
    );
}
