//! What holds for any bytes in this room: the properties that tests and fuzzers share.

use std::time::{Duration, Instant};

use super::{
    Client, ClientEvent, ClientSettings, Filter, Input, Output, QoS, Reason, Server, ServerEvent,
    ServerSettings,
};

/// The longest packet that either end takes here, bytes.
const PACKET_BYTES_MAX: u32 = 1 << 16;
/// Answers and events to so many bytes of the peer: the shortest packet has two, and an end may have to say
/// goodbye and tell its owner.
const OUTPUTS_FREE: usize = 6;

/// Either end of a session against a peer that says anything, in any portions: it answers or ends with an
/// error; no more than one answer to each two bytes, and the same whatever the portions.
///
/// `input` is the size of the portions less 1, a choice (0x01: the conversation has begun; 0x02: the server's
/// end), and what the peer says; `now` is any time.
pub fn check_session(input: &[u8], now: Instant) {
    let [portion, choice, said @ ..] = input else { return };
    let begun = choice & 1 != 0;
    let run = |portion| match choice & 2 {
        0 => client(said, portion, begun, now),
        _ => server(said, portion, begun, now),
    };
    let whole = run(said.len().max(1));
    assert!(whole.len() <= said.len() / 2 + OUTPUTS_FREE, "{} answers", whole.len());
    assert_eq!(whole, run(1 + usize::from(*portion)), "portions of {portion} + 1");
}

/// What a client does, as text.
fn client(said: &[u8], portion: usize, begun: bool, now: Instant) -> Vec<String> {
    let mut client = Client::new(ClientSettings {
        client_id: "edge-17".to_owned(),
        keep_alive_s: 40,
        session_expiry_s: 0,
        clean_start: true,
        will: None,
        login: None,
        receive_maximum: 8,
        packet_bytes_max: PACKET_BYTES_MAX,
        patience: Duration::from_secs(20),
    });
    let mut done = Vec::new();
    let _ = client.handle(Input::Opened, now);
    if begun {
        let _ = client.handle(Input::Bytes(&[0x20, 3, 0, 0, 0]), now);
        let filter = Filter { path: "t/+".to_owned(), qos: QoS::AtLeastOnce };
        let _ = client.subscribe(&[filter], 1, now);
        let _ = client.publish("t/a", vec![7; 3], QoS::AtLeastOnce, false, 2, now);
    }
    while client.poll().is_some() {}
    for part in said.chunks(portion) {
        let result = client.handle(Input::Bytes(part), now);
        while let Some(output) = client.poll() {
            if let Output::Event(ClientEvent::Message { topic, payload, .. }) = &output {
                assert!(topic.len() + payload.len() <= said.len());
            }
            done.push(format!("{output:?}"));
        }
        if let Err(error) = result {
            done.push(error.to_string());
            break;
        }
    }
    assert!(client.wake_at().is_none_or(|at| at > now), "nothing is due at once");
    let _ = client.handle(Input::Tick, now + Duration::from_secs(3600));
    let _ = client.handle(Input::Lost, now);
    assert_eq!(client.room(), 0, "nobody to send to");
    done
}

/// What a server does, as text; its owner accepts everybody at once and answers the rest in the end, so that
/// portions make no difference.
fn server(said: &[u8], portion: usize, begun: bool, now: Instant) -> Vec<String> {
    let mut server = Server::new(ServerSettings {
        receive_maximum: 3,
        packet_bytes_max: PACKET_BYTES_MAX,
        keep_alive_s_max: 30,
        patience: Duration::from_secs(20),
    });
    let (mut done, mut asked) = (Vec::new(), Vec::new());
    let _ = server.handle(Input::Opened, now);
    if begun {
        let hello = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x03e-1";
        let _ = server.handle(Input::Bytes(hello), now);
        let _ = server.accept(false, now);
        let _ = server.publish("t/a", vec![7; 3], false, QoS::AtLeastOnce, now);
        while server.poll().is_some() {}
    }
    for part in said.chunks(portion) {
        let mut result = server.handle(Input::Bytes(part), now);
        while let Some(output) = server.poll() {
            match &output {
                Output::Event(ServerEvent::Connect(_)) => result = server.accept(false, now),
                Output::Event(ServerEvent::Publish { token, .. }) => asked.push((*token, 0)),
                Output::Event(ServerEvent::Subscribe { token, filters }) => {
                    asked.push((*token, filters.len()));
                }
                _ => {}
            }
            done.push(format!("{output:?}"));
        }
        if let Err(error) = result {
            done.push(error.to_string());
            break;
        }
    }
    for (token, filters) in asked {
        match filters {
            0 => server.acknowledge(token),
            count => server.grant(token, &vec![Ok(QoS::AtLeastOnce); count]),
        }
    }
    while let Some(output) = server.poll() {
        done.push(format!("{output:?}"));
    }
    let _ = server.handle(Input::Tick, now + Duration::from_secs(3600));
    server.disconnect(Reason::SHUTTING_DOWN);
    let _ = server.handle(Input::Lost, now);
    assert_eq!(server.room(), 0, "nobody to send to");
    done
}
