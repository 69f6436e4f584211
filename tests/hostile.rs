//! Peers that mean no good, at a real collector over real QUIC and TLS: each is refused with a reason in
//! the log, memory stays bounded, and agents that mean well go on, on the same connection.
//!
//! `CONVERSATIONS=20000` plays more of those that are a little wrong; `SEED` makes them the same again.

#![allow(unreachable_pub)]

mod harness;

use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use harness::fleet::{Caller, Centre, Honest, PATIENCE, batch, dial, settings, topic};
use harness::process::wait_until;
use rivulet::batch::{Channel, Follows, Identity, Meta, frame};
use rivulet::mqtt::{Client, ClientEvent, Input, Output, QoS, Reason, Will};
use rivulet::position::Sequence;
use rivulet::transport::{Connection, Dialer, Scheme, TransportError};

/// What the collector may take at most, in MiB: its own 20 or so, 2 × 8 for all that waits, what one
/// batch of 8 takes when it is unpacked and read, and the connections of the largest crowd.
const MEMORY_MIB_MAX: u64 = 120;
const LIMITS: &str = "packet_bytes_max = \"1MiB\"\nbatch_bytes_max = \"8MiB\"\n\
                      memory_bytes_max = \"8MiB\"\nconnections_max = 300\nidle_timeout = \"60s\"\n";

#[test]
fn hostile_peers_are_refused_and_disturb_nobody() {
    let mut centre = Centre::start(LIMITS);
    let mut honest = [Scheme::Quic, Scheme::Tls]
        .map(|scheme| Honest::start(&centre, &format!("edge-{scheme:?}").to_lowercase(), scheme));
    let slow = smol::block_on(slow_senders(&centre));
    type Attack = fn(&Centre);
    let attacks: [(&str, Attack); 8] = [
        ("strangers", strangers),
        ("under another's name", impostors),
        ("another's topics", foreign_topics),
        ("oversized", oversized),
        ("bombs", bombs),
        ("packets that never end", holders),
        ("a little wrong", mutants),
        ("1,000 silent ones", crowds),
    ];
    for (name, attack) in attacks {
        let began = Instant::now();
        attack(&centre);
        honest.iter_mut().for_each(Honest::must_go_on);
        let (now, most) = centre.memory_mib();
        println!("{name}: {:.1?}, the collector has {now} MiB, at most {most}", began.elapsed());
        assert!(most < MEMORY_MIB_MAX, "{name}: {most} MiB\n{}", centre.process().said());
    }
    wait_until("slow senders to be cut", 2 * PATIENCE, || centre.log().contains("too slow"));
    drop(slow);
    for agent in honest {
        let (delivered, longest) = agent.end();
        println!(
            "an honest agent: {delivered} batches on one connection, the slowest {longest:.1?}"
        );
    }
    let lines = centre.log().lines().count();
    assert!(lines < 2000, "{lines} lines fill the disk with complaints");
    assert!(centre.process().terminate(PATIENCE).success());
}

/// A connection on which somebody speaks that is not a client of ours.
async fn raw(centre: &Centre, name: &str, scheme: Scheme) -> Connection {
    centre.dial(&centre.keys(name), scheme).await.expect("its certificate is good")
}

/// What a client says first, as bytes.
fn hello(client_id: &str) -> Vec<u8> {
    let mut client = Client::new(settings(client_id));
    client.handle(Input::Opened, Instant::now()).expect("it was offline");
    match client.poll() {
        Some(Output::Write(bytes)) => bytes.to_vec(),
        other => panic!("{other:?} instead of a CONNECT"),
    }
}

/// A packet with this first byte.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&head(first, body.len())[..], body].concat()
}

fn head(first: u8, mut body_len: usize) -> Vec<u8> {
    let mut head = vec![first];
    loop {
        let more = if body_len > 127 { 0x80 } else { 0 };
        head.push((body_len & 127) as u8 | more);
        body_len >>= 7;
        if more == 0 {
            return head;
        }
    }
}

/// A PUBLISH with QoS 1.
fn publish(topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let topic_len = (topic.len() as u16).to_be_bytes();
    let own = head(0, properties.len());
    let body = [&topic_len, topic.as_bytes(), &[0, 1], &own[1..], properties, payload].concat();
    packet(0x32, &body)
}

/// Says it, and reads until the collector ends it; how much came.
async fn say(mut connection: Connection, bytes: Vec<u8>) -> usize {
    let _ = connection.writer.write(bytes.into()).await;
    let (mut buffer, mut heard) = ([0; 4096], 0);
    let hear = async {
        while let Ok(len) = connection.reader.read(&mut buffer).await
            && len > 0
        {
            heard += len;
        }
    };
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it was not sent away");
    };
    smol::future::or(hear, late).await;
    heard
}

/// Waits for a reason in the log.
fn logged(centre: &Centre, words: &str) {
    wait_until(&format!("`{words}` in the log"), PATIENCE, || centre.log().contains(words));
}

fn strangers(centre: &Centre) {
    let other = Centre::start("");
    let stranger = centre.keys_of(&other, "edge-quic");
    drop(other);
    for scheme in [Scheme::Quic, Scheme::Tls] {
        let denied = smol::block_on(async {
            let mut connection = centre.dial(&stranger, scheme).await?;
            connection.writer.write("hello".into()).await?;
            connection.reader.read(&mut [0; 16]).await
        });
        assert!(denied.is_err() || denied == Ok(0), "{denied:?}");
    }
    logged(centre, "was not let in: the peer's certificate is not signed by a known CA");
    // And who does not even speak TLS or QUIC.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut random = fastrand::Rng::with_seed(7);
    for nth in 0..20_000 {
        let mut datagram: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1200).collect();
        if nth % 2 == 0 {
            // The form of an Initial packet of version 1.
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        let _ = socket.send_to(&datagram, ("127.0.0.1", centre.port));
    }
    let mut tcp = TcpStream::connect(("127.0.0.1", centre.port)).expect("it listens");
    let _ = tcp.write_all(b"GET / HTTP/1.1\r\n\r\n");
    logged(centre, "was not let in: connection lost before the peer's first answer");
}

fn impostors(centre: &Centre) {
    smol::block_on(async {
        for scheme in [Scheme::Quic, Scheme::Tls] {
            let connection = raw(centre, "edge-evil", scheme).await;
            let refused = Caller::enter(connection, "edge-quic").await;
            let words = refused.err().expect("it was refused");
            assert!(words.contains("client identifier not valid"), "{words}");
        }
        let mut stolen = settings("edge-evil");
        stolen.will = Some(Will {
            topic: topic("edge-quic", Channel::Status),
            payload: "gone".into(),
            qos: QoS::AtLeastOnce,
            retain: true,
        });
        let mut caller = Caller::greet(raw(centre, "edge-evil", Scheme::Quic).await, stolen);
        let event = caller.event().await;
        assert_eq!(event, Ok(ClientEvent::Refused { reason: Reason::NOT_AUTHORIZED }));
    });
    logged(centre, "agent edge-evil: refused: the client identifier \"edge-quic\"");
    logged(centre, "agent edge-evil: refused: a last will for");
}

fn foreign_topics(centre: &Centre) {
    smol::block_on(async {
        let mut evil = centre.enter("edge-nosy", Scheme::Quic).await.expect("it is one of ours");
        // In its own topic, but in another's name.
        let sealed = batch(1);
        let (agent, epoch, sequence) = ("edge-quic".to_owned(), u64::MAX, Sequence(1));
        let follows = Some(Follows::default());
        let identity = Identity { agent, epoch, sequence, previous_crc: 0, follows };
        let message = frame(&identity, &sealed.meta, &sealed.body);
        let answer = evil.publish(&topic("edge-nosy", Channel::Data), message).await;
        assert_eq!(answer, Ok(Err(Reason::IMPLEMENTATION)));
        let paths = ["#", "+/+/+/+/+", "rivulet/v1/default/+/data", "$SYS/#", "rivulet/v1/#"];
        let known = [topic("edge-quic", Channel::Ack), topic("edge-nosy", Channel::Data)];
        for path in paths.map(str::to_owned).into_iter().chain(known) {
            let results = evil.subscribe(&path).await.expect("it is answered");
            assert_eq!(results, [Err(Reason::NOT_AUTHORIZED)], "{path}");
        }
        for name in ["edge-quic", "edge-nobody"] {
            for channel in [Channel::Data, Channel::Status, Channel::Ack, Channel::Command] {
                let answer = evil.publish(&topic(name, channel), b"x".to_vec()).await;
                assert_eq!(answer, Ok(Err(Reason::NOT_AUTHORIZED)));
            }
        }
        evil.deliver().await.expect("what is its own goes on");
    });
    logged(centre, "it says that it is of agent \"edge-quic\"");
    logged(centre, "agent edge-nosy: refused: a subscription to \"#\"");
    logged(centre, "agent edge-nosy: refused: a message for \"rivulet/v1/default/edge-quic/data\"");
}

fn oversized(centre: &Centre) {
    let many_filters = [&[0, 1, 0][..], &b"\0\x01a\0".repeat(50_000)].concat();
    let properties = b"\x26\0\0\0\0".repeat(100_000);
    for (nth, (bytes, what)) in [
        (publish("t", b"", &vec![7; 1 << 20]), "at most 1048576 are allowed"),
        (head(0x32, 200 << 20), "a packet of 209715205 bytes, at most 1048576 are allowed"),
        (packet(0x82, &many_filters), "at most 65536 are allowed"),
        (publish("t", &properties, b"x"), "its properties are too long"),
        (vec![0x32, 0xff, 0xff, 0xff, 0xff], "its length has no end"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("edge-large-{nth}");
        for scheme in [Scheme::Quic, Scheme::Tls] {
            let said = [&hello(&name)[..], &bytes].concat();
            smol::block_on(async { say(raw(centre, &name, scheme).await, said).await });
        }
        logged(centre, what);
    }
    // Before it has said who it is it may say still less.
    smol::block_on(async {
        let long = packet(0x10, &vec![0; 100_000]);
        assert_eq!(say(raw(centre, "edge-long", Scheme::Quic).await, long).await, 0);
        let mut caller = centre.enter("edge-large", Scheme::Quic).await.expect("it is ours");
        let status = topic("edge-large", Channel::Status);
        assert_eq!(caller.publish(&status, vec![b' '; 20_000]).await, Ok(Err(Reason::QUOTA)));
        caller.deliver().await.expect("the rest goes on");
    });
    logged(centre, "agent edge-large: refused: a status of 20000 bytes");
}

/// Batches that are far larger inside.
fn bombs(centre: &Centre) {
    // No batch begins like this.
    let plain = vec![0xff; 64 << 20];
    let small = zstd::bulk::compress(&plain[..8 << 20], 1).expect("it compresses");
    let large = zstd::bulk::compress(&plain, 1).expect("it compresses");
    smol::block_on(async {
        let mut caller = centre.enter("edge-bomb", Scheme::Quic).await.expect("it is ours");
        let data = topic("edge-bomb", Channel::Data);
        for (plain_len, body) in
            [(64 << 20, &large), (8 << 20, &large), (8 << 20, &small), (u32::MAX, &small)]
        {
            // A wrong checksum would be found, too; a right one leads further.
            let plain_crc = plain.get(..plain_len as usize).map_or(0, crc32c::crc32c);
            let meta = Meta { codec: 1, plain_len, plain_crc, ..Meta::default() };
            let identity = Identity {
                agent: "edge-bomb".to_owned(),
                epoch: 1,
                sequence: Sequence(1),
                previous_crc: 0,
                follows: Some(Follows::default()),
            };
            let message = frame(&identity, &meta.encode(), body);
            assert!(message.len() < 1 << 20);
            for _ in 0..20 {
                let answer = caller.publish(&data, message.clone()).await;
                assert_eq!(answer, Ok(Err(Reason::IMPLEMENTATION)));
            }
        }
    });
    logged(centre, "agent edge-bomb: a batch was refused: batch: body: more than the limit");
}

/// Many who begin a packet of the largest size, and stop before its end.
fn holders(centre: &Centre) {
    let mut held = Vec::new();
    let mut dialer = Dialer::default();
    smol::block_on(async {
        for nth in 0..40 {
            let name = format!("edge-hold-{nth}");
            let keys = centre.keys(&name);
            let scheme = [Scheme::Quic, Scheme::Tls][nth % 2];
            let mut connection =
                dial(&mut dialer, &centre.endpoint(scheme), &keys).await.expect("it is ours");
            let whole = publish(&topic(&name, Channel::Data), b"", &vec![7; 1_000_000]);
            let part = [&hello(&name)[..], &whole[..900_000]].concat();
            // What the collector does not read stays here.
            let write = async {
                let _ = connection.writer.write(part.into()).await;
            };
            let enough = async {
                smol::Timer::after(Duration::from_millis(100)).await;
            };
            smol::future::or(write, enough).await;
            held.push(connection);
        }
    });
    std::thread::sleep(Duration::from_millis(500));
}

/// Conversations that begin well and then go a little wrong.
fn mutants(centre: &Centre) {
    let parameter = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let conversations = parameter("CONVERSATIONS").unwrap_or(300);
    let seed = parameter("SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let keys = centre.keys("edge-mutant");
    let mut dialer = Dialer::default();
    let sealed = batch(3);
    let (agent, epoch, sequence) = ("edge-mutant".to_owned(), 1, Sequence(1));
    let follows = Some(Follows::default());
    let identity = Identity { agent, epoch, sequence, previous_crc: 0, follows };
    let message = frame(&identity, &sealed.meta, &sealed.body);
    let path = topic("edge-mutant", Channel::Ack);
    let subscribe = [&[0, 1, 0, 0, path.len() as u8], path.as_bytes(), &[1]].concat();
    let good = [
        hello("edge-mutant"),
        packet(0x82, &subscribe),
        publish(&topic("edge-mutant", Channel::Data), b"", &message),
        publish(&topic("edge-mutant", Channel::Status), b"", b"{\"healthy\":true}"),
        vec![0xc0, 0],
    ]
    .concat();
    for nth in 0..conversations {
        let scheme = if nth % 8 == 0 { Scheme::Tls } else { Scheme::Quic };
        let mut said = good.clone();
        // Half of them are good until they are let in.
        let from = if random.bool() { hello("edge-mutant").len() } else { 0 };
        for _ in 0..=random.usize(..4) {
            let at = random.usize(from..said.len());
            match random.u8(..4) {
                0 => said[at] ^= 1 << random.u8(..8),
                1 => said[at] = random.u8(..),
                2 => drop(said.drain(at..(at + 9).min(said.len()))),
                _ => said.extend_from_within(at..),
            }
            if said.len() <= from {
                break;
            }
        }
        smol::block_on(async {
            let mut connection =
                dial(&mut dialer, &centre.endpoint(scheme), &keys).await.expect("it is ours");
            let _ = connection.writer.write(said.into()).await;
            // Whether it is sent away or waits for more: the next one comes.
            let answer = async {
                let _ = connection.reader.read(&mut [0; 4096]).await;
            };
            let enough = async {
                smol::Timer::after(Duration::from_millis(20)).await;
            };
            smol::future::or(answer, enough).await;
        });
    }
}

/// Those who knock and say nothing: half of them QUIC, half TCP, more than there are places.
fn crowds(centre: &Centre) {
    let keys = centre.keys("edge-silent");
    let mut dialer = Dialer::default();
    let mut silent = Vec::new();
    let mut sockets = Vec::new();
    smol::block_on(async {
        for _ in 0..500 {
            match dial(&mut dialer, &centre.endpoint(Scheme::Quic), &keys).await {
                Ok(connection) => silent.push(connection),
                Err(error) => {
                    assert!(!matches!(error, TransportError::Untrusted { .. }), "{error}");
                }
            }
            sockets.push(TcpStream::connect(("127.0.0.1", centre.port)).expect("it listens"));
        }
        // Whoever comes now comes in.
        let mut late = centre.enter("edge-late", Scheme::Quic).await.expect("there is a place");
        late.deliver().await.expect("it is an agent like others");
        let mut late = centre.enter("edge-later", Scheme::Tls).await.expect("there is a place");
        late.deliver().await.expect("it is an agent like others");
    });
    logged(centre, "no answer to the handshake by a first stream within");
    logged(centre, "no answer to the TLS handshake within");
}

/// One byte now and then; kept until the end.
async fn slow_senders(centre: &Centre) -> Vec<(Caller, smol::Task<()>)> {
    let mut slow = Vec::new();
    for nth in 0..5 {
        let name = format!("edge-slow-{nth}");
        let mut caller = centre.enter(&name, Scheme::Tls).await.expect("it is ours");
        let mut whole = publish(&topic(&name, Channel::Data), b"", &vec![7; 500_000]).into_iter();
        let Connection { mut writer, reader, .. } = raw(centre, &name, Scheme::Quic).await;
        writer.write(hello(&name).into()).await.expect("it is heard");
        // The newest connection counts, so this one is sent away meanwhile.
        let taken_over = caller.event().await;
        assert!(taken_over.is_err_and(|words| words.contains("taken over")));
        let drip = smol::spawn(async move {
            let _reader = reader;
            while let Some(byte) = whole.next()
                && writer.write(vec![byte].into()).await.is_ok()
            {
                smol::Timer::after(Duration::from_millis(500)).await;
            }
        });
        slow.push((caller, drip));
    }
    slow
}

#[test]
fn files_that_change_are_followed_and_nobody_loses_his_connection() {
    let denied = tempfile::NamedTempFile::new().expect("a file");
    let mut centre = Centre::start(&format!("denied = {:?}\n", denied.path()));
    let mut honest = Honest::start(&centre, "edge-old", Scheme::Quic);
    honest.must_go_on();
    smol::block_on(async {
        let mut lost = centre.enter("edge-lost", Scheme::Quic).await.expect("it is ours");
        fs::write(denied.path(), "# a comment\nedge-lost\n").expect("it can be written");
        let sent_away = lost.event().await.expect_err("its certificate counts no longer");
        assert!(sent_away.contains("not authorized"), "{sent_away}");
        for scheme in [Scheme::Quic, Scheme::Tls] {
            let words = centre.enter("edge-lost", scheme).await.err();
            assert!(words.is_some(), "it is let in again");
        }
    });
    logged(&centre, "agent edge-lost is sent away: its certificate is on the deny list");
    logged(&centre, "was not let in: its certificate is denied");
    fs::write(denied.path(), "edge-lost\nno such thing\n").expect("it can be written");
    logged(&centre, "the deny list stays as it was: ");
    fs::remove_file(denied.path()).expect("it is there");
    wait_until("the missing list in the log", PATIENCE, || {
        centre.log().matches("the deny list stays as it was: ").count() == 2
    });
    let words = smol::block_on(centre.enter("edge-lost", Scheme::Quic)).err();
    assert!(words.is_some(), "a list that is gone denies as before");

    // A certificate that is half written changes nothing; then everything is new.
    let certificate = centre.path("collector.pem");
    let whole = fs::read(&certificate).expect("it is there");
    fs::write(&certificate, &whole[..whole.len() / 2]).expect("it can be written");
    logged(&centre, "the certificates stay as they were: ");
    let enter = |centre: &Centre, name: &str| {
        smol::block_on(async { centre.enter(name, Scheme::Tls).await?.deliver().await })
    };
    enter(&centre, "edge-new").expect("the old certificates count");
    honest.must_go_on();
    centre.renew_authority();
    logged(&centre, "the certificates were read again");
    enter(&centre, "edge-new").expect("the new certificates count");
    honest.must_go_on();
    assert_eq!(centre.log().matches("the certificates stay as they were").count(), 1);
    let (delivered, _) = honest.end();
    println!("{delivered} batches on one connection while the files changed");
    assert!(centre.process().terminate(PATIENCE).success());
}
