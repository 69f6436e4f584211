//! Both roles against each other, and against bytes that nobody meant.

use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const PACKET_BYTES_MAX: u32 = 1 << 20;

fn client_settings() -> ClientSettings {
    ClientSettings {
        client_id: "edge-17".to_owned(),
        keep_alive_s: 40,
        session_expiry_s: 0,
        clean_start: true,
        will: Some(Will {
            topic: "rivulet/v1/t/edge-17/status".to_owned(),
            payload: Bytes::from_static(b"{}"),
            qos: QoS::AtLeastOnce,
            retain: true,
        }),
        login: None,
        receive_maximum: 8,
        packet_bytes_max: PACKET_BYTES_MAX,
        patience: PATIENCE,
    }
}

fn server_settings() -> ServerSettings {
    ServerSettings {
        receive_maximum: 3,
        packet_bytes_max: PACKET_BYTES_MAX,
        keep_alive_s_max: 30,
        patience: PATIENCE,
    }
}

/// Both ends and the link between them, which carries bytes in portions.
struct World {
    client: Client,
    server: Server,
    now: Instant,
    random: fastrand::Rng,
    client_events: Vec<ClientEvent>,
    server_events: Vec<ServerEvent>,
    /// Every packet that was written, by either end.
    written: Vec<Bytes>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            client: Client::new(client_settings()),
            server: Server::new(server_settings()),
            now: Instant::now(),
            random: fastrand::Rng::with_seed(seed),
            client_events: Vec::new(),
            server_events: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Connected and accepted, with the events of that taken away.
    fn online(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.server.handle(Input::Opened, world.now).unwrap();
        world.client.handle(Input::Opened, world.now).unwrap();
        world.carry();
        assert!(matches!(world.server_events.as_slice(), [ServerEvent::Connect(_)]));
        world.server.accept(false, world.now).unwrap();
        world.carry();
        assert!(matches!(world.client_events.as_slice(), [ClientEvent::Accepted { .. }]));
        world.client_events.clear();
        world.server_events.clear();
        world
    }

    fn portions(&mut self, bytes: &[u8], mut each: impl FnMut(&mut Self, &[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = self.random.usize(1..=rest.len().min(3000));
            let (portion, after) = rest.split_at(len);
            each(self, portion);
            rest = after;
        }
    }

    /// Carries bytes both ways until nobody has any more.
    fn carry(&mut self) {
        loop {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            while let Some(output) = self.client.poll() {
                match output {
                    Output::Write(bytes) => {
                        up.extend_from_slice(&bytes);
                        self.written.push(bytes);
                    }
                    Output::Event(event) => self.client_events.push(event),
                }
            }
            while let Some(output) = self.server.poll() {
                match output {
                    Output::Write(bytes) => {
                        down.extend_from_slice(&bytes);
                        self.written.push(bytes);
                    }
                    Output::Event(event) => self.server_events.push(event),
                }
            }
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.portions(&up, |world, portion| {
                world.server.handle(Input::Bytes(portion), world.now).unwrap();
            });
            self.portions(&down, |world, portion| {
                world.client.handle(Input::Bytes(portion), world.now).unwrap();
            });
        }
    }
}

#[test]
fn the_server_learns_what_the_client_says() {
    let mut world = World::new(1);
    world.server.handle(Input::Opened, world.now).unwrap();
    world.client.handle(Input::Opened, world.now).unwrap();
    world.carry();
    let expected = ConnectRequest {
        client_id: "edge-17".to_owned(),
        keep_alive_s: 30,
        clean_start: true,
        session_expiry_s: 0,
        will: client_settings().will,
        login: None,
    };
    assert_eq!(world.server_events, [ServerEvent::Connect(expected)]);
}

#[test]
fn the_client_obeys_the_servers_limits() {
    let mut world = World::online(2);
    let limits = world.client.limits().unwrap();
    assert_eq!((limits.receive_maximum, limits.keep_alive_s), (3, 30));
    assert!(limits.qos_1 && limits.retain && !limits.shared_subscriptions);
    let (now, qos) = (world.now, QoS::AtLeastOnce);
    let large = vec![0; PACKET_BYTES_MAX as usize];
    let error = world.client.publish("t", large, qos, false, 1, now).unwrap_err();
    assert!(matches!(error, SessionError::TooLarge { .. }), "{error}");
    for token in 0..3 {
        assert_eq!(world.client.room(), 3 - token as usize);
        world.client.publish("t", vec![1], qos, false, token, now).unwrap();
    }
    let error = world.client.publish("t", vec![1], qos, false, 3, now).unwrap_err();
    assert_eq!(error, SessionError::NoRoom);
    let error = world.client.publish("a/+", vec![], qos, false, 3, now).unwrap_err();
    assert_eq!(error, SessionError::BadTopic);
    let shared = Filter { path: "$share/g/t".to_owned(), qos };
    let error = world.client.subscribe(&[shared], 4, now).unwrap_err();
    assert_eq!(error, SessionError::NotSupported { what: "shared subscriptions" });
}

#[test]
fn messages_arrive_whole_and_in_order_and_are_answered() {
    for seed in 0..50 {
        let mut world = World::online(seed);
        let mut arrived = Vec::new();
        let mut sent = Vec::new();
        let mut answered = 0;
        while answered < 40 {
            while world.client.room() > 0 && sent.len() < 40 {
                let payload = vec![sent.len() as u8; world.random.usize(0..70_000)];
                let token = sent.len() as u64;
                sent.push(Bytes::from(payload.clone()));
                let qos = QoS::AtLeastOnce;
                world.client.publish("t/data", payload, qos, false, token, world.now).unwrap();
            }
            world.carry();
            for event in std::mem::take(&mut world.server_events) {
                let ServerEvent::Publish { payload, token, .. } = event else {
                    panic!("{event:?}")
                };
                arrived.push(payload);
                world.server.acknowledge(token);
            }
            world.carry();
            for event in world.client_events.drain(..) {
                assert_eq!(event, ClientEvent::Acknowledged { token: answered });
                answered += 1;
            }
        }
        assert_eq!(arrived, sent, "seed {seed}");
    }
}

#[test]
fn a_refused_message_says_why() {
    let mut world = World::online(3);
    world.client.publish("t", vec![], QoS::AtLeastOnce, false, 7, world.now).unwrap();
    world.client.publish("t", vec![], QoS::AtMostOnce, false, 8, world.now).unwrap();
    world.carry();
    let tokens: Vec<u64> = world.server_events.iter().map(token_of).collect();
    for token in tokens {
        world.server.reject(token, Reason::QUOTA);
    }
    world.carry();
    assert_eq!(world.client_events, [ClientEvent::Rejected { token: 7, reason: Reason::QUOTA }]);
}

fn token_of(event: &ServerEvent) -> u64 {
    match event {
        ServerEvent::Publish { token, .. } | ServerEvent::Subscribe { token, .. } => *token,
        event => panic!("{event:?}"),
    }
}

#[test]
fn subscriptions_are_granted_one_by_one_and_messages_come_down() {
    let mut world = World::online(4);
    let filter = |path: &str| Filter { path: path.to_owned(), qos: QoS::AtLeastOnce };
    let filters = [filter("t/ack"), filter("other/ack")];
    world.client.subscribe(&filters, 5, world.now).unwrap();
    world.carry();
    let [ServerEvent::Subscribe { filters: asked, token }] = world.server_events.as_slice() else {
        panic!("{:?}", world.server_events)
    };
    assert_eq!(asked, &filters);
    world.server.grant(*token, &[Ok(QoS::AtLeastOnce), Err(Reason::NOT_AUTHORIZED)]);
    world.server.publish("t/ack", "one", true, QoS::AtLeastOnce, world.now).unwrap();
    world.server.publish("t/ack", "two", false, QoS::AtMostOnce, world.now).unwrap();
    assert_eq!(world.server.room(), 7);
    world.carry();
    let message = |payload: &'static str, retain| ClientEvent::Message {
        topic: "t/ack".to_owned(),
        payload: Bytes::from(payload),
        retain,
    };
    let results = vec![Ok(QoS::AtLeastOnce), Err(Reason::NOT_AUTHORIZED)];
    let expected = [
        ClientEvent::Subscribed { token: 5, results },
        message("one", true),
        message("two", false),
    ];
    assert_eq!(world.client_events, expected);
    assert_eq!(world.server.room(), 8, "the client acknowledged the one of QoS 1");
}

#[test]
fn an_idle_client_pings_within_the_keep_alive_and_is_answered() {
    let mut world = World::online(5);
    for _ in 0..5 {
        let due = world.client.wake_at().unwrap();
        assert!(due <= world.now + Duration::from_secs(30));
        world.now = due;
        world.client.handle(Input::Tick, due).unwrap();
        world.server.handle(Input::Tick, due).unwrap();
        world.carry();
        assert_eq!(world.written.last().unwrap().as_ref(), [0xd0, 0]);
    }
    assert_eq!(world.client_events, []);
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut world = World::online(6);
    let start = world.now;
    world.client.publish("t", vec![], QoS::AtLeastOnce, false, 1, start).unwrap();
    let error = world.client.handle(Input::Tick, start + PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "MQTT: peer silent: no PUBACK or SUBACK for 20 s");

    let mut world = World::online(6);
    let ping = world.client.wake_at().unwrap();
    world.client.handle(Input::Tick, ping).unwrap();
    let error = world.client.handle(Input::Tick, ping + PATIENCE).unwrap_err();
    assert!(error.to_string().contains("PINGRESP"), "{error}");

    let mut world = World::new(6);
    world.client.handle(Input::Opened, start).unwrap();
    assert_eq!(world.client.wake_at(), Some(start + PATIENCE));
    let error = world.client.handle(Input::Tick, start + PATIENCE).unwrap_err();
    assert!(error.to_string().contains("CONNACK"), "{error}");
}

#[test]
fn a_server_that_only_answers_pings_is_given_up() {
    let mut world = World::online(7);
    let start = world.now;
    world.client.publish("t", vec![], QoS::AtLeastOnce, false, 1, start).unwrap();
    world.client.handle(Input::Bytes(&[0xd0, 0]), start + PATIENCE / 2).unwrap();
    assert!(world.client.handle(Input::Tick, start + PATIENCE).is_err());
}

#[test]
fn a_silent_client_is_cut_after_one_and_a_half_keep_alives() {
    let mut world = World::online(8);
    let due = world.now + Duration::from_secs(45);
    assert_eq!(world.server.wake_at(), Some(due));
    world.server.handle(Input::Tick, due - Duration::from_millis(1)).unwrap();
    let error = world.server.handle(Input::Tick, due).unwrap_err();
    assert_eq!(error.to_string(), "MQTT: peer silent: no packet for 45 s");
    let goodbye = Bytes::from_static(&[0xe0, 2, 0x8d, 0]);
    assert_eq!(world.server.poll(), Some(Output::Write(goodbye)));
    let reason = Some(Reason::KEEP_ALIVE);
    let event = ServerEvent::Disconnected { with_will: true, reason };
    assert_eq!(world.server.poll(), Some(Output::Event(event)));
    assert!(world.server.is_closed());
}

#[test]
fn a_connection_without_connect_is_cut() {
    let mut world = World::new(9);
    world.server.handle(Input::Opened, world.now).unwrap();
    let due = world.server.wake_at().unwrap();
    assert_eq!(due, world.now + PATIENCE);
    assert!(world.server.handle(Input::Tick, due).is_err());
    assert_eq!(world.server.poll(), None, "nobody to tell");
}

#[test]
fn a_goodbye_drops_the_will_and_a_lost_link_does_not() {
    let mut world = World::online(10);
    world.client.disconnect(Reason::SUCCESS);
    world.carry();
    world.server.handle(Input::Lost, world.now).unwrap();
    world.carry();
    let reason = Some(Reason::SUCCESS);
    assert_eq!(world.server_events, [ServerEvent::Disconnected { with_will: false, reason }]);

    let mut world = World::online(10);
    world.server.handle(Input::Lost, world.now).unwrap();
    world.carry();
    assert_eq!(world.server_events, [ServerEvent::Disconnected { with_will: true, reason: None }]);

    let mut world = World::online(10);
    world.client.disconnect(Reason::WITH_WILL);
    world.carry();
    let reason = Some(Reason::WITH_WILL);
    assert_eq!(world.server_events, [ServerEvent::Disconnected { with_will: true, reason }]);
}

#[test]
fn the_servers_goodbye_and_refusal_reach_the_client() {
    let mut world = World::online(11);
    world.server.disconnect(Reason::SHUTTING_DOWN);
    world.carry();
    let reason = Reason::SHUTTING_DOWN;
    assert_eq!(world.client_events, [ClientEvent::Closed { reason }]);

    let mut world = World::new(11);
    world.server.handle(Input::Opened, world.now).unwrap();
    world.client.handle(Input::Opened, world.now).unwrap();
    world.carry();
    world.server.refuse(Reason::NOT_AUTHORIZED);
    world.carry();
    let reason = Reason::NOT_AUTHORIZED;
    assert_eq!(world.client_events, [ClientEvent::Refused { reason }]);
    assert_eq!(reason.to_string(), "not authorized (0x87)");
}

#[test]
fn a_lost_link_makes_the_client_forget_and_begin_anew() {
    let mut world = World::online(12);
    world.client.publish("t", vec![], QoS::AtLeastOnce, false, 1, world.now).unwrap();
    world.client.handle(Input::Lost, world.now).unwrap();
    assert_eq!((world.client.room(), world.client.poll()), (0, None));
    assert_eq!(world.client.wake_at(), None);
    let error = world.client.publish("t", vec![], QoS::AtMostOnce, false, 2, world.now);
    assert_eq!(error, Err(SessionError::Offline));
    world.server.handle(Input::Lost, world.now).unwrap();
    world.server.handle(Input::Opened, world.now).unwrap();
    world.client.handle(Input::Opened, world.now).unwrap();
    world.carry();
    world.server.accept(false, world.now).unwrap();
    world.carry();
    assert_eq!(world.client.room(), 3);
}

#[test]
fn what_follows_a_connect_waits_for_the_decision() {
    let mut world = World::new(13);
    world.server.handle(Input::Opened, world.now).unwrap();
    world.client.handle(Input::Opened, world.now).unwrap();
    let Some(Output::Write(connect)) = world.client.poll() else { panic!("no CONNECT") };
    let both = [&connect[..], &[0x30, 4, 0, 1, b't', 0]].concat();
    world.server.handle(Input::Bytes(&both), world.now).unwrap();
    assert!(matches!(world.server.poll(), Some(Output::Event(ServerEvent::Connect(_)))));
    assert_eq!(world.server.poll(), None);
    world.server.accept(false, world.now).unwrap();
    assert!(matches!(world.server.poll(), Some(Output::Write(_))));
    assert!(matches!(world.server.poll(), Some(Output::Event(ServerEvent::Publish { .. }))));
}

#[test]
fn a_client_that_breaks_the_rules_is_told_and_cut() {
    let publish = [0x32, 6, 0, 1, b't', 0, 1, 0];
    let with_id = |id: u8| [0x32, 6, 0, 1, b't', 0, id, 0];
    let flood = [publish, with_id(2), with_id(3), with_id(4)].concat();
    for (bytes, reason) in [
        (&[0x10, 0][..], Reason::MALFORMED),
        (&[0xd0, 0], Reason::PROTOCOL_ERROR),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], Reason::PACKET_TOO_LARGE),
        (&flood, Reason::RECEIVE_MAXIMUM),
        (&[publish, publish].concat(), Reason::PROTOCOL_ERROR),
    ] {
        let mut world = World::online(14);
        world.server.handle(Input::Bytes(bytes), world.now).unwrap_err();
        let mut goodbye = None;
        while let Some(output) = world.server.poll() {
            match output {
                Output::Write(bytes) => goodbye = Some(bytes),
                Output::Event(event) => world.server_events.push(event),
            }
        }
        assert_eq!(goodbye.as_deref(), Some(&[0xe0, 2, reason.0, 0][..]));
        let event = ServerEvent::Disconnected { with_will: true, reason: Some(reason) };
        assert_eq!(world.server_events.last(), Some(&event));
        assert!(world.server.handle(Input::Bytes(bytes), world.now).is_ok(), "no longer read");
    }
}

#[test]
fn a_full_window_does_not_forbid_to_subscribe() {
    let mut world = World::online(20);
    for token in 0..3 {
        world.client.publish("t", vec![], QoS::AtLeastOnce, false, token, world.now).unwrap();
    }
    let filter = Filter { path: "t/ack".to_owned(), qos: QoS::AtLeastOnce };
    world.client.subscribe(&[filter], 9, world.now).unwrap();
    world.carry();
    assert_eq!(world.server_events.len(), 4);
}

#[test]
fn another_version_of_mqtt_is_refused_in_words() {
    let mut world = World::new(15);
    world.server.handle(Input::Opened, world.now).unwrap();
    let connect = [&[0x10, 13, 0, 4][..], b"MQTT", &[4, 2, 0, 30, 0, 1, b'x']].concat();
    let error = world.server.handle(Input::Bytes(&connect), world.now).unwrap_err();
    assert_eq!(error.to_string(), "MQTT: protocol level 4, we speak 5");
    let refusal = Bytes::from_static(&[0x20, 3, 0, 0x84, 0]);
    assert_eq!(world.server.poll(), Some(Output::Write(refusal)));
}

#[test]
fn answers_to_nothing_are_no_harm() {
    let mut world = World::online(16);
    let strays = [0x40, 2, 0, 9, 0x90, 4, 0, 9, 0, 0x87];
    world.client.handle(Input::Bytes(&strays), world.now).unwrap();
    world.server.handle(Input::Bytes(&strays[..4]), world.now).unwrap();
    assert_eq!((world.client.poll(), world.server.poll()), (None, None));
}

/// A conversation with one packet of each kind, as bytes.
fn real_packets() -> Vec<Bytes> {
    let mut world = World::online(17);
    let now = world.now;
    let filter = Filter { path: "t/+/ack".to_owned(), qos: QoS::AtLeastOnce };
    world.client.subscribe(&[filter], 1, now).unwrap();
    world.client.publish("t/a/data", vec![9; 40], QoS::AtLeastOnce, true, 2, now).unwrap();
    world.carry();
    let tokens: Vec<u64> = world.server_events.iter().map(token_of).collect();
    world.server.grant(tokens[0], &[Ok(QoS::AtLeastOnce)]);
    world.server.reject(tokens[1], Reason::QUOTA);
    world.server.publish("t/a/ack", "{}", true, QoS::AtLeastOnce, now).unwrap();
    world.carry();
    world.client.handle(Input::Tick, now + Duration::from_secs(28)).unwrap();
    world.carry();
    world.client.disconnect(Reason::WITH_WILL);
    world.carry();
    world.written
}

/// Neither end panics or grows, whatever comes; each ends with a word or goes on.
fn check_bytes(bytes: &[u8]) {
    for online in [false, true] {
        let now = Instant::now();
        let mut client = Client::new(client_settings());
        let mut server = Server::new(server_settings());
        client.handle(Input::Opened, now).unwrap();
        server.handle(Input::Opened, now).unwrap();
        if online {
            let World { client: greeted, server: accepted, .. } = World::online(18);
            (client, server) = (greeted, accepted);
        }
        let _ = client.handle(Input::Bytes(bytes), now);
        let _ = server.handle(Input::Bytes(bytes), now);
        let _ = server.accept(false, now);
        let mut outputs = 0;
        while client.poll().is_some() || server.poll().is_some() {
            outputs += 1;
        }
        assert!(outputs <= bytes.len() + 4, "more answers than bytes");
    }
}

#[test]
fn every_truncation_and_every_changed_byte_of_real_packets_is_survived() {
    let packets = real_packets();
    assert!(packets.len() >= 10, "each kind is there");
    for packet in &packets {
        for len in 0..packet.len() {
            check_bytes(&packet[..len]);
            let mut shorter = packet.to_vec();
            shorter.truncate(len);
            // Whole by its length, yet cut: the codec must not wait for more.
            if let (true, Ok(body)) = (len >= 2, u8::try_from(len.saturating_sub(2))) {
                shorter[1] = body & 0x7f;
                check_bytes(&shorter);
            }
        }
        for index in 0..packet.len() {
            for flip in [0x01, 0x02, 0x10, 0x7f, 0x80, 0xff] {
                let mut changed = packet.to_vec();
                changed[index] ^= flip;
                check_bytes(&changed);
            }
        }
    }
}

#[test]
fn random_frames_are_survived() {
    let mut random = fastrand::Rng::with_seed(19);
    for _ in 0..20_000 {
        let len = random.usize(0..60);
        let mut bytes = vec![random.u8(..), len as u8];
        bytes.extend(std::iter::repeat_with(|| random.u8(..) & random.u8(..)).take(len));
        check_bytes(&bytes);
    }
}

#[test]
fn messages_may_leave_before_the_answer_to_a_client_that_was_taken_in_before() {
    let mut world = World::online(31);
    let limits = world.client.limits().unwrap();
    let again = world.now;
    world.client.handle(Input::Lost, again).unwrap();
    world.client.handle(Input::Opened, again).unwrap();
    let early = |client: &mut Client, token| {
        client.publish("t", vec![7; 10], QoS::AtLeastOnce, false, token, again)
    };
    assert_eq!(early(&mut world.client, 1), Err(SessionError::Offline), "nobody said that it may");
    world.client.assume(limits);
    for token in 1..=3 {
        early(&mut world.client, token).unwrap();
    }
    assert_eq!(early(&mut world.client, 4), Err(SessionError::NoRoom), "the old limits hold");
    world.server.handle(Input::Opened, again).unwrap();
    world.carry();
    assert!(matches!(world.server_events.as_slice(), [ServerEvent::Connect(_)]));
    world.server.accept(false, again).unwrap();
    world.carry();
    let tokens: Vec<_> = world.server_events.drain(1..).collect();
    for event in tokens {
        let ServerEvent::Publish { token, .. } = event else { panic!("{event:?}") };
        world.server.acknowledge(token);
    }
    world.carry();
    let answered = |token| ClientEvent::Acknowledged { token };
    assert_eq!(world.client_events[1..], [answered(1), answered(2), answered(3)]);
    assert_eq!(world.client.room(), 3);
}

#[test]
fn a_large_message_has_a_second_more_for_each_kib() {
    let mut world = World::online(32);
    let (start, large) = (world.now, vec![0; 100 * 1024]);
    world.client.publish("t", large, QoS::AtLeastOnce, false, 1, start).unwrap();
    let due = start + PATIENCE + Duration::from_secs(100);
    // The server is heard all the time.
    world.client.handle(Input::Bytes(&[0xd0, 0]), due - Duration::from_secs(5)).unwrap();
    world.client.handle(Input::Tick, due - Duration::from_millis(1)).unwrap();
    assert!(world.client.handle(Input::Tick, due).is_err());
}
