//! SHELL: MQTT over real QUIC between a real client and a real listener, with certificates of ours.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, Issuer, KeyPair};

use super::pki;
use crate::mqtt::{
    Client, ClientEvent, ClientSettings, Filter, Input, Output, QoS, Reason, Server, ServerEvent,
    ServerSettings,
};
use crate::transport::{
    ClientTls, Connection, Dialer, EndpointAddress, Fault, IdentityFiles, Listener, QuicSettings,
    Reader, Scheme, ServerTls, TlsListener, TransportError, Writer,
};

const DEADLINE: Duration = Duration::from_secs(4);
const SECRET: [u8; 32] = [7; 32];

/// A folder with a CA, a collector's certificate for `localhost` and an agent's for `edge-17`.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        pki::init(dir.path(), pki::CA_DAYS).unwrap();
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        pki::collector(dir.path(), &hosts, pki::LEAF_DAYS).unwrap();
        pki::agent(dir.path(), "edge-17", pki::LEAF_DAYS).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn server(&self) -> ServerTls {
        let (chain, key) = (self.path("collector.pem"), self.path("collector.key"));
        let identity = IdentityFiles { chain: &chain, key: &key };
        ServerTls::load(&self.path("ca.pem"), identity).unwrap()
    }

    fn client(&self) -> ClientTls {
        self.client_of(self, "edge-17")
    }

    /// Trusts this CA, but shows another's certificate.
    fn client_of(&self, other: &Self, name: &str) -> ClientTls {
        let agents = other.path("agents");
        let chain = agents.join(format!("{name}.pem"));
        let key = agents.join(format!("{name}.key"));
        let identity = IdentityFiles { chain: &chain, key: &key };
        ClientTls::load(&self.path("ca.pem"), Some(identity)).unwrap()
    }

    fn listener(&self) -> Listener {
        self.listener_on("127.0.0.1:0".parse().unwrap())
    }

    fn listener_on(&self, address: SocketAddr) -> Listener {
        Listener::bind(address, &self.server(), QuicSettings::default(), &SECRET, 100).unwrap()
    }

    /// An agent's certificate that `pki` itself would not make.
    fn odd_agent(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let text = std::fs::read_to_string(self.path("ca.key")).unwrap();
        let ca_key = KeyPair::from_pem(&text).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let issuer = Issuer::new(pki::ca_params(&ca_key).unwrap(), ca_key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let stem = self.path("agents");
        std::fs::write(stem.join(format!("{name}.pem")), certificate.pem()).unwrap();
        let key_path = stem.join(format!("{name}.key"));
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        private(&key_path, 0o600);
    }
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn at(listener: &Listener, host: &str) -> EndpointAddress {
    let port = listener.local_address().unwrap().port();
    EndpointAddress { scheme: Scheme::Quic, host: host.to_owned(), port, server_name: None }
}

/// Dials and speaks; the listener accepts. What each end has to say of it.
fn meet(
    listener: &Listener,
    endpoint: &EndpointAddress,
    tls: &ClientTls,
) -> (Result<Vec<u8>, TransportError>, Result<Option<String>, TransportError>) {
    let settings = QuicSettings::default();
    let client = async {
        let mut connection = Dialer::default().connect(endpoint, tls, &settings, DEADLINE).await?;
        connection.writer.write("hello".into()).await?;
        let mut buffer = [0; 16];
        let len = connection.reader.read(&mut buffer).await?;
        connection.writer.finish().await;
        Ok(buffer[..len].to_vec())
    };
    let server = async {
        let incoming = listener.accept().await.expect("the listener is open");
        let mut connection = incoming.establish(DEADLINE).await?;
        let mut buffer = [0; 16];
        connection.reader.read(&mut buffer).await?;
        connection.writer.write("welcome".into()).await?;
        connection.writer.finish().await;
        Ok(connection.peer.name)
    };
    // A client that gives up at once never reaches the listener's accept.
    let patient = smol::future::or(server, async {
        smol::Timer::after(Duration::from_secs(2)).await;
        Err(TransportError::Nameless)
    });
    smol::block_on(smol::future::zip(client, patient))
}

#[test]
fn agents_are_known_by_their_certificates_also_when_they_resume() {
    let pki = Pki::new();
    let (listener, tls) = (pki.listener(), pki.client());
    for host in ["localhost", "127.0.0.1", "localhost"] {
        let (said, name) = meet(&listener, &at(&listener, host), &tls);
        assert_eq!(said.unwrap(), b"welcome");
        assert_eq!(name.unwrap().as_deref(), Some("edge-17"));
    }
}

#[test]
fn a_collector_of_another_ca_or_name_is_not_trusted() {
    let (pki, other) = (Pki::new(), Pki::new());
    let listener = pki.listener();
    let (said, _) = meet(&listener, &at(&listener, "localhost"), &other.client());
    let error = said.unwrap_err();
    assert!(matches!(error, TransportError::Untrusted { fault: Fault::UnknownCa, .. }), "{error}");
    assert!(error.to_string().contains("not signed by a known CA"), "{error}");

    let mut endpoint = at(&listener, "127.0.0.1");
    endpoint.server_name = Some("elsewhere.example".to_owned());
    let error = meet(&listener, &endpoint, &pki.client()).0.unwrap_err();
    assert!(matches!(error, TransportError::Untrusted { fault: Fault::WrongName, .. }), "{error}");
    assert!(error.to_string().contains("for another name"), "{error}");
}

#[test]
fn an_agent_without_a_good_certificate_learns_why() {
    let (pki, other) = (Pki::new(), Pki::new());
    let listener = pki.listener();
    let endpoint = at(&listener, "localhost");
    let long_ago = rcgen::date_time_ymd(2001, 1, 1);
    pki.odd_agent("expired", |params| params.not_after = long_ago);
    pki.odd_agent("a-server", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let nobody = ClientTls::load(&pki.path("ca.pem"), None).unwrap();
    for (tls, fault, words) in [
        (nobody, Fault::Missing, "wants a client certificate"),
        (pki.client_of(&other, "edge-17"), Fault::UnknownCa, "not signed by a known CA"),
        (pki.client_of(&pki, "expired"), Fault::Expired, "has expired"),
        (pki.client_of(&pki, "a-server"), Fault::WrongPurpose, "another purpose"),
    ] {
        let (said, name) = meet(&listener, &endpoint, &tls);
        let error = said.unwrap_err();
        assert_eq!(error, TransportError::Refused { fault });
        assert!(error.to_string().contains(words), "{error}");
        let error = name.unwrap_err();
        assert!(matches!(error, TransportError::Untrusted { .. }), "the listener knows: {error}");
    }
}

#[test]
fn a_certificate_that_names_no_agent_is_turned_away() {
    let pki = Pki::new();
    let listener = pki.listener();
    pki.odd_agent("two.labels", |_| {});
    let (said, name) =
        meet(&listener, &at(&listener, "localhost"), &pki.client_of(&pki, "two.labels"));
    assert_eq!(name, Err(TransportError::Nameless));
    assert!(said.unwrap_err().to_string().contains("does not name an agent"));
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let pki = Pki::new();
    let (chain, key) = (pki.path("collector.pem"), pki.path("collector.key"));
    private(&key, 0o640);
    let identity = IdentityFiles { chain: &chain, key: &key };
    let error = ServerTls::load(&pki.path("ca.pem"), identity).unwrap_err();
    let words = format!("{}: others may read this private key (mode 0640)", key.display());
    assert!(error.to_string().starts_with(&words), "{error}");
    let identity = IdentityFiles { chain: &chain, key: &chain };
    let error = ClientTls::load(&pki.path("no.pem"), Some(identity)).unwrap_err();
    assert!(error.to_string().contains("no.pem"), "{error}");
}

#[test]
fn a_port_where_nobody_listens_times_out() {
    let pki = Pki::new();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    let host = "127.0.0.1".to_owned();
    let endpoint = EndpointAddress { scheme: Scheme::Quic, host, port, server_name: None };
    let settings = QuicSettings::default();
    let (tls, start) = (pki.client(), Instant::now());
    let dialer = Dialer::default();
    let dial = dialer.connect(&endpoint, &tls, &settings, Duration::from_millis(300));
    let error = smol::block_on(dial).unwrap_err();
    assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    let mut endpoint = endpoint;
    endpoint.scheme = Scheme::Tls;
    let error = smol::block_on(Dialer::default().connect(&endpoint, &tls, &settings, DEADLINE))
        .unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
}

#[test]
fn a_restarted_listener_is_noticed_at_once() {
    let pki = Pki::new();
    let tls = pki.client();
    let settings = QuicSettings::default();
    smol::block_on(async {
        // To the client, a listener that was killed and started again is one address behind which
        // nobody knows its connection any more. Here a relay is that address.
        let (old, new) = (pki.listener(), pki.listener());
        let relay = smol::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let relay_address = relay.local_addr().unwrap();
        let target = std::sync::Arc::new(std::sync::Mutex::new(old.local_address().unwrap()));
        let aim = target.clone();
        let _relay = smol::spawn(async move {
            let (mut client, mut buffer) = (None, [0; 2048]);
            loop {
                let (len, from) = relay.recv_from(&mut buffer).await.unwrap();
                let server = *aim.lock().unwrap();
                let to = if from.port() == server.port() { client } else { Some(server) };
                if from.port() != server.port() {
                    client = Some(from);
                }
                if let Some(to) = to {
                    relay.send_to(&buffer[..len], to).await.unwrap();
                }
            }
        });
        let host = "127.0.0.1".to_owned();
        let port = relay_address.port();
        let endpoint = EndpointAddress { scheme: Scheme::Quic, host, port, server_name: None };
        let client = async {
            let mut connection =
                Dialer::default().connect(&endpoint, &tls, &settings, DEADLINE).await.unwrap();
            connection.writer.write("hello".into()).await.unwrap();
            connection
        };
        let server = async { old.accept().await.unwrap().establish(DEADLINE).await.unwrap() };
        let (mut connection, _kept) = smol::future::zip(client, server).await;
        *target.lock().unwrap() = new.local_address().unwrap();
        let start = Instant::now();
        connection.writer.write("are you there?".into()).await.unwrap();
        let error = connection.reader.read(&mut [0; 16]).await.unwrap_err();
        assert!(error.to_string().contains("reset by peer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(3), "not the idle timeout");
    });
}

#[test]
fn reloaded_certificates_count_from_the_next_connection_on() {
    let (pki, other) = (Pki::new(), Pki::new());
    let listener = pki.listener();
    let endpoint = at(&listener, "localhost");
    meet(&listener, &endpoint, &pki.client()).0.unwrap();
    listener.reload(&other.server());
    let error = meet(&listener, &endpoint, &pki.client()).0.unwrap_err();
    assert!(matches!(error, TransportError::Untrusted { .. }), "{error}");
    meet(&listener, &endpoint, &other.client()).0.unwrap();
}

#[test]
fn half_full_a_listener_wants_addresses_proven_and_agents_prove_them() {
    let pki = Pki::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let settings = QuicSettings::default();
    let listener = Listener::bind(address, &pki.server(), settings, &SECRET, 1).unwrap();
    let (said, name) = meet(&listener, &at(&listener, "localhost"), &pki.client());
    assert_eq!(said.unwrap(), b"welcome");
    assert_eq!(name.unwrap().as_deref(), Some("edge-17"));
}

/// The loop that a session's owner runs: writes what it wants written, feeds it what arrives.
struct Pump<S> {
    session: S,
    reader: Reader,
    writer: Option<Writer>,
}

impl Pump<Client> {
    async fn event(&mut self) -> ClientEvent {
        loop {
            match self.session.poll() {
                Some(Output::Event(event)) => return event,
                Some(Output::Write(bytes)) => {
                    self.writer.as_mut().unwrap().write(bytes).await.unwrap();
                }
                None => {
                    let mut buffer = [0; 4096];
                    let len = self.reader.read(&mut buffer).await.unwrap();
                    assert!(len > 0, "the stream ended");
                    let bytes = Input::Bytes(&buffer[..len]);
                    self.session.handle(bytes, Instant::now()).unwrap();
                }
            }
        }
    }
}

impl Pump<Server> {
    /// `None` at the end of the stream.
    async fn event(&mut self) -> Option<ServerEvent> {
        loop {
            match self.session.poll() {
                Some(Output::Event(event)) => return Some(event),
                Some(Output::Write(bytes)) => {
                    self.writer.as_mut().unwrap().write(bytes).await.unwrap();
                }
                None => {
                    let mut buffer = [0; 4096];
                    let len = self.reader.read(&mut buffer).await.unwrap();
                    if len == 0 {
                        return None;
                    }
                    let bytes = Input::Bytes(&buffer[..len]);
                    self.session.handle(bytes, Instant::now()).unwrap();
                }
            }
        }
    }
}

fn pump<S>(session: S, connection: Connection) -> Pump<S> {
    Pump { session, reader: connection.reader, writer: Some(connection.writer) }
}

async fn run_server(listener: &Listener) -> Vec<Vec<u8>> {
    let connection = listener.accept().await.unwrap().establish(DEADLINE).await.unwrap();
    let name = connection.peer.name.clone().unwrap();
    let mut session = Server::new(ServerSettings {
        receive_maximum: 4,
        packet_bytes_max: 1 << 20,
        keep_alive_s_max: 60,
        patience: DEADLINE,
    });
    session.handle(Input::Opened, Instant::now()).unwrap();
    let mut pump = pump(session, connection);
    let mut received = Vec::new();
    while let Some(event) = pump.event().await {
        match event {
            ServerEvent::Connect(request) => {
                assert_eq!(request.client_id, name);
                pump.session.accept(false, Instant::now()).unwrap();
            }
            ServerEvent::Subscribe { filters, token } => {
                assert_eq!(filters.len(), 1);
                pump.session.grant(token, &[Ok(QoS::AtLeastOnce)]);
                let (qos, now) = (QoS::AtLeastOnce, Instant::now());
                pump.session.publish("t/ack", "start", true, qos, now).unwrap();
            }
            ServerEvent::Publish { payload, token, .. } => {
                received.push(payload.to_vec());
                pump.session.acknowledge(token);
            }
            ServerEvent::Disconnected { with_will, reason } => {
                assert_eq!((with_will, reason), (false, Some(Reason::SUCCESS)));
                break;
            }
        }
    }
    pump.writer.take().unwrap().finish().await;
    received
}

async fn run_client(endpoint: EndpointAddress, tls: ClientTls, batches: &[Vec<u8>]) {
    let settings = QuicSettings::default();
    let connection = Dialer::default().connect(&endpoint, &tls, &settings, DEADLINE).await.unwrap();
    let monitor = connection.monitor.clone();
    let mut session = Client::new(ClientSettings {
        client_id: "edge-17".to_owned(),
        keep_alive_s: 30,
        session_expiry_s: 0,
        clean_start: true,
        will: None,
        login: None,
        receive_maximum: 8,
        packet_bytes_max: 1 << 20,
        patience: DEADLINE,
    });
    session.handle(Input::Opened, Instant::now()).unwrap();
    let mut pump = pump(session, connection);
    let accepted = pump.event().await;
    assert!(matches!(accepted, ClientEvent::Accepted { session_present: false, .. }));
    let filter = Filter { path: "t/ack".to_owned(), qos: QoS::AtLeastOnce };
    pump.session.subscribe(&[filter], 1, Instant::now()).unwrap();
    let results = vec![Ok(QoS::AtLeastOnce)];
    assert_eq!(pump.event().await, ClientEvent::Subscribed { token: 1, results });
    let (topic, payload) = ("t/ack".to_owned(), "start".into());
    assert_eq!(pump.event().await, ClientEvent::Message { topic, payload, retain: true });
    let (mut sent, mut answered) = (0, 0);
    while answered < batches.len() {
        while pump.session.room() > 0
            && let Some(batch) = batches.get(sent)
        {
            let (qos, now) = (QoS::AtLeastOnce, Instant::now());
            pump.session.publish("t/data", batch.clone(), qos, false, sent as u64, now).unwrap();
            sent += 1;
        }
        let token = answered as u64;
        assert_eq!(pump.event().await, ClientEvent::Acknowledged { token });
        answered += 1;
    }
    pump.session.disconnect(Reason::SUCCESS);
    while let Some(Output::Write(bytes)) = pump.session.poll() {
        pump.writer.as_mut().unwrap().write(bytes).await.unwrap();
    }
    pump.writer.take().unwrap().finish().await;
    let statistics = monitor.statistics().unwrap();
    assert!(statistics.sent_bytes > batches.iter().map(Vec::len).sum::<usize>() as u64);
    assert!(monitor.rtt().unwrap() > Duration::ZERO);
}

#[test]
fn batches_travel_through_both_sessions_over_quic() {
    let pki = Pki::new();
    let listener = pki.listener();
    let batches: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 1000 * usize::from(n)]).collect();
    let client = run_client(at(&listener, "localhost"), pki.client(), &batches);
    let (received, ()) = smol::block_on(smol::future::zip(run_server(&listener), client));
    assert_eq!(received, batches);
}

#[test]
fn a_silent_client_holds_up_nobody_and_is_cut() {
    let pki = Pki::new();
    let listener = pki.listener();
    let (endpoint, tls) = (at(&listener, "localhost"), pki.client());
    let settings = QuicSettings::default();
    smol::block_on(async {
        let dialer = Dialer::default();
        let dial = dialer.connect(&endpoint, &tls, &settings, DEADLINE);
        let accept = async { listener.accept().await.unwrap() };
        let knock = async {
            let silent = accept.await;
            // It never writes, so its stream never shows.
            silent.establish(Duration::from_millis(300)).await
        };
        let (_dialled, established) = smol::future::zip(dial, knock).await;
        let error = established.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
    });
    let (said, name) = meet(&listener, &endpoint, &tls);
    assert_eq!((said.unwrap(), name.unwrap().as_deref()), (b"welcome".to_vec(), Some("edge-17")));
}

#[test]
fn above_the_limit_newcomers_are_refused() {
    let pki = Pki::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let listener =
        Listener::bind(address, &pki.server(), QuicSettings::default(), &SECRET, 0).unwrap();
    let (said, _) = meet(&listener, &at(&listener, "localhost"), &pki.client());
    assert!(said.is_err());
    assert_eq!(listener.connections(), 0);
}

/// As [`meet`], over TCP.
fn meet_over_tcp(
    listener: &TlsListener,
    host: &str,
    tls: &ClientTls,
    large: &[u8],
) -> (Result<Vec<u8>, TransportError>, Result<Option<String>, TransportError>) {
    let port = listener.local_address().unwrap().port();
    let host = host.to_owned();
    let endpoint = EndpointAddress { scheme: Scheme::Tls, host, port, server_name: None };
    let settings = QuicSettings::default();
    let client = async {
        let Connection { mut reader, mut writer, .. } =
            Dialer::default().connect(&endpoint, tls, &settings, DEADLINE).await?;
        // Both directions at once: neither may wait for the other.
        let (written, echoed) = smol::future::zip(
            writer.write(large.to_vec().into()),
            read_exactly(&mut reader, large.len()),
        )
        .await;
        written?;
        writer.finish().await;
        echoed
    };
    let server = async {
        let incoming = listener.accept().await?;
        let mut connection = incoming.establish(DEADLINE).await?;
        let mut buffer = vec![0; 10_000];
        loop {
            let len = connection.reader.read(&mut buffer).await?;
            if len == 0 {
                break;
            }
            connection.writer.write(buffer[..len].to_vec().into()).await?;
        }
        connection.writer.finish().await;
        Ok(connection.peer.name)
    };
    smol::block_on(smol::future::zip(client, server))
}

async fn read_exactly(reader: &mut Reader, len: usize) -> Result<Vec<u8>, TransportError> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 30_000]);
    while all.len() < len {
        match reader.read(&mut buffer).await? {
            0 => break,
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(all)
}

#[test]
fn over_tcp_two_who_both_write_much_do_not_wait_for_each_other() {
    let pki = Pki::new();
    let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), &pki.server(), 2).unwrap();
    let port = listener.local_address().unwrap().port();
    let host = "localhost".to_owned();
    let endpoint = EndpointAddress { scheme: Scheme::Tls, host, port, server_name: None };
    let (tls, settings) = (pki.client(), QuicSettings::default());
    // More than the sockets' buffers hold.
    let large = vec![5; 20_000_000];
    let both = async |mut connection: Connection| {
        let write = connection.writer.write(large.clone().into());
        let read = read_exactly(&mut connection.reader, large.len());
        let (written, read) = smol::future::zip(write, read).await;
        written.unwrap();
        assert!(read.unwrap() == large);
        connection.writer.finish().await;
    };
    let client = async {
        both(Dialer::default().connect(&endpoint, &tls, &settings, DEADLINE).await.unwrap()).await;
    };
    let server = async {
        both(listener.accept().await.unwrap().establish(DEADLINE).await.unwrap()).await;
    };
    let late = async {
        smol::Timer::after(Duration::from_secs(30)).await;
        panic!("they wait for each other");
    };
    smol::block_on(smol::future::or(smol::future::zip(client, server), late));
}

#[test]
fn tls_over_tcp_carries_the_same_and_judges_the_same() {
    let (pki, other) = (Pki::new(), Pki::new());
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = TlsListener::bind(address, &pki.server(), 2).unwrap();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..3 {
        let (said, name) = meet_over_tcp(&listener, "localhost", &pki.client(), &large);
        assert!(said.unwrap() == large);
        assert_eq!(name.unwrap().as_deref(), Some("edge-17"));
    }
    let nobody = ClientTls::load(&pki.path("ca.pem"), None).unwrap();
    for (tls, fault) in
        [(nobody, Fault::Missing), (pki.client_of(&other, "edge-17"), Fault::UnknownCa)]
    {
        let (said, name) = meet_over_tcp(&listener, "localhost", &tls, b"hello");
        assert_eq!(said, Err(TransportError::Refused { fault }));
        assert!(matches!(name, Err(TransportError::Untrusted { .. })), "{name:?}");
    }
    let (said, _) = meet_over_tcp(&listener, "localhost", &other.client(), b"hello");
    let error = said.unwrap_err();
    assert!(matches!(error, TransportError::Untrusted { fault: Fault::UnknownCa, .. }), "{error}");
    assert_eq!(listener.connections(), 0, "places are given back");
}
