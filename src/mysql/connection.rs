//! SHELL: a login and what is done with it: queries, or the stream of the binary log.

use std::time::{Duration, Instant};

use super::auth::{self, Password, Plugin};
use super::channel::{Address, Channel, Stopper};
use super::dump::{self, Dump};
use super::error::{MysqlError, ServerError};
use super::handshake::{Greeting, NONCE, SSL};
use super::packet::{Fields, PACKET_MAX, PacketError};
use super::tls::TlsMode;
use crate::binlog::format::Flavor;
use crate::binlog::frame::{Part, comes_in_portions};

/// Results are small: columns of one table, names of files.
const RESULT_BYTES_MAX: usize = 8 << 20;
/// More columns than any statement of ours has.
const RESULT_COLUMNS_MAX: u64 = 256;
/// A login is four round trips; a server that asks for more is not one.
const LOGIN_PACKETS_MAX: usize = 16;

/// COM_QUERY.
const QUERY: u8 = 0x03;
/// COM_QUIT.
const QUIT: u8 = 0x01;

/// A server and how to log in to it.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Who we are.
    pub user: String,
    /// And the proof.
    pub password: Password,
    /// How the connection is secured.
    pub tls: TlsMode,
    /// Whether, without TLS, the server's RSA key is believed to be its own. `None`: only on
    /// loopback and unix sockets, where nobody stands between.
    pub allow_public_key_retrieval: Option<bool>,
    /// For connecting, for the login as a whole, and for each query. Default 10 s.
    pub timeout: Duration,
    /// The largest packet (event) that is accepted, bytes.
    pub packet_max: usize,
}

impl Endpoint {
    /// With the defaults: no TLS, 10 s, 1 GiB.
    pub fn new(address: Address, user: impl Into<String>, password: Password) -> Self {
        Self {
            address,
            user: user.into(),
            password,
            tls: TlsMode::Disabled,
            allow_public_key_retrieval: None,
            timeout: Duration::from_secs(10),
            packet_max: PACKET_MAX,
        }
    }
}

/// A row of text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// A session.
pub struct Connection {
    channel: Channel,
    greeting: Greeting,
    timeout: Duration,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Everything of [`MysqlError`] that can go wrong on the way.
    pub fn open(endpoint: &Endpoint, stopper: &Stopper) -> Result<Self, MysqlError> {
        let deadline = Instant::now() + endpoint.timeout;
        let mut channel =
            Channel::connect(&endpoint.address, endpoint.timeout, endpoint.packet_max, stopper)?;
        await_packet(&mut channel, deadline, "greeting")?;
        if channel.packet().first() == Some(&0xff) {
            return Err(server_error(channel.packet()));
        }
        let greeting = Greeting::decode(channel.packet())?;
        channel.advance();
        let tls = secure(&mut channel, &greeting, endpoint)?;
        let mut login = Login {
            endpoint,
            nonce: greeting.nonce.clone(),
            // A plugin that we do not know is no reason to give up: the user may have another.
            plugin: Plugin::named(&greeting.plugin).unwrap_or(Plugin::CachingSha2),
            asked_for_key: false,
        };
        let proof = login.plugin.proof(&endpoint.password, &login.nonce);
        let packet = greeting.login(tls, &endpoint.user, &proof, login.plugin.name());
        channel.reply(&packet)?;
        login.finish(&mut channel, deadline)?;
        Ok(Self { channel, greeting, timeout: endpoint.timeout })
    }

    /// The server's version as it says it.
    pub fn version(&self) -> &str {
        &self.greeting.version
    }

    /// The version's numbers.
    pub fn version_numbers(&self) -> (u32, u32, u32) {
        self.greeting.numbers()
    }

    /// Whose server it is.
    pub fn flavor(&self) -> Flavor {
        self.greeting.flavor()
    }

    /// The number of this connection at the server.
    pub fn id(&self) -> u32 {
        self.greeting.connection
    }

    /// Runs a statement and hands each row of its result to `take`.
    ///
    /// # Errors
    /// The server's, and results above 8 MiB, of other text than UTF-8, or not in time.
    pub fn query_each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(TextRow),
    ) -> Result<(), MysqlError> {
        let deadline = Instant::now() + self.timeout;
        self.channel.command(&[&[QUERY], sql.as_bytes()].concat())?;
        await_packet(&mut self.channel, deadline, "result")?;
        let columns = self.result_head()?;
        self.channel.advance();
        if columns == 0 {
            return Ok(());
        }
        for _ in 0..columns {
            await_packet(&mut self.channel, deadline, "column")?;
            self.channel.advance();
        }
        await_packet(&mut self.channel, deadline, "end of columns")?;
        if !is_end(self.channel.packet()) {
            return Err(unexpected("the end of columns", self.channel.packet()));
        }
        self.channel.advance();
        let mut bytes = 0;
        loop {
            await_packet(&mut self.channel, deadline, "row")?;
            let packet = self.channel.packet();
            if is_end(packet) {
                self.channel.advance();
                return Ok(());
            }
            if packet.first() == Some(&0xff) {
                return Err(server_error(packet));
            }
            bytes += packet.len();
            if bytes > RESULT_BYTES_MAX {
                return Err(MysqlError::ResultTooLarge { max: RESULT_BYTES_MAX });
            }
            take(text_row(packet, columns)?);
            self.channel.advance();
        }
    }

    /// The number of columns; 0 for a statement without a result.
    fn result_head(&self) -> Result<u64, MysqlError> {
        let packet = self.channel.packet();
        match packet.first() {
            Some(0x00) => Ok(0),
            Some(0xff) => Err(server_error(packet)),
            // LOCAL INFILE: the server asks for a file of this machine. Never; the connection ends.
            Some(0xfb) => Err(unexpected("a result (a local file was asked for)", packet)),
            _ => match Fields::new(packet).lenenc("result: columns")? {
                Some(columns @ 1..=RESULT_COLUMNS_MAX) => Ok(columns),
                _ => Err(PacketError::Invalid { field: "result: columns" }.into()),
            },
        }
    }

    /// Runs a statement and keeps its rows.
    ///
    /// # Errors
    /// As [`Connection::query_each`].
    pub fn query(&mut self, sql: &str) -> Result<Vec<TextRow>, MysqlError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        self.query_each(sql, |row| {
            // A row of nothing takes a byte on its way, and a hundred here.
            bytes += size_of::<TextRow>() + row.len() * size_of::<Option<String>>();
            if bytes <= RESULT_BYTES_MAX {
                rows.push(row);
            }
        })?;
        if bytes > RESULT_BYTES_MAX {
            return Err(MysqlError::ResultTooLarge { max: RESULT_BYTES_MAX });
        }
        Ok(rows)
    }

    /// The first row's first value, if there is one and it is not NULL.
    ///
    /// # Errors
    /// As [`Connection::query_each`].
    pub fn value(&mut self, sql: &str) -> Result<Option<String>, MysqlError> {
        Ok(self.query(sql)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// A global variable; `None` if the server does not have it.
    ///
    /// # Errors
    /// As [`Connection::query_each`].
    pub fn global(&mut self, name: &str) -> Result<Option<String>, MysqlError> {
        const UNKNOWN_VARIABLE: u16 = 1193;
        match self.value(&format!("SELECT @@GLOBAL.{name}")) {
            Err(MysqlError::Server(error)) if error.code == UNKNOWN_VARIABLE => Ok(None),
            other => other,
        }
    }

    /// Turns the session into a stream of events. With server id 0 it is not a replica's, and does
    /// not end that of another reader.
    ///
    /// # Errors
    /// A refused registration. A refused dump shows at the first event.
    pub fn dump(mut self, server_id: u32, dump: &Dump<'_>) -> Result<Stream, MysqlError> {
        if server_id != 0 {
            self.register(server_id)?;
        }
        self.channel.command(&dump.encode(server_id))?;
        Ok(Stream { channel: self.channel, at_hand: None, in_portions: false })
    }

    fn register(&mut self, server_id: u32) -> Result<(), MysqlError> {
        let deadline = Instant::now() + self.timeout;
        self.channel.command(&dump::register(server_id))?;
        await_packet(&mut self.channel, deadline, "registration")?;
        match self.channel.packet() {
            [0xff, ..] => {
                // "Access denied" here is not about the login, which is done.
                let error = ServerError::decode(self.channel.packet())?;
                return Err(MysqlError::MayNotReplicate(error));
            }
            [0x00, ..] => {}
            other => return Err(unexpected("a registration", other)),
        }
        self.channel.advance();
        Ok(())
    }

    /// Says goodbye; errors do not matter any more.
    pub fn close(mut self) {
        let _ = self.channel.command(&[QUIT]);
    }
}

/// The stream of events; no other command fits into it.
///
/// Each event comes whole, but for a TRANSACTION_PAYLOAD, which comes in portions, as the network has them.
pub struct Stream {
    channel: Channel,
    /// Which part of an event is at hand.
    at_hand: Option<Part>,
    /// The current packet's event comes in portions, of which one at least was at hand.
    in_portions: bool,
}

impl Stream {
    /// Waits for the next event, or portion of one: its bytes as they stand in the log. False if there is
    /// none by then. [`Stream::event`] has it until the next call, and [`Stream::part`] says what it is.
    ///
    /// # Errors
    /// The server's, and [`MysqlError::End`] where it says that the log ends.
    pub fn poll(&mut self, deadline: Instant) -> Result<bool, MysqlError> {
        loop {
            if self.at_hand.take().is_some() {
                self.channel.forget_begun();
                if self.channel.is_whole() {
                    self.channel.advance();
                    self.in_portions = false;
                }
            }
            let in_portions = self.in_portions;
            let enough = |begun: &[u8]| match begun {
                // Behind the byte of its state stands the event.
                _ if in_portions => !begun.is_empty(),
                [0x00, event @ ..] => comes_in_portions(event) == Some(true),
                _ => false,
            };
            if !self.channel.poll_until(deadline, enough)? {
                return Ok(false);
            }
            if in_portions {
                self.at_hand = Some(Part::Rest);
                // The packet may end with nothing, to say that the one before was full by chance.
                if self.channel.begun().is_empty() {
                    continue;
                }
                return Ok(true);
            }
            return match self.channel.begun() {
                [0x00, event @ ..] if !event.is_empty() => {
                    self.in_portions = comes_in_portions(event) == Some(true);
                    self.at_hand = Some(if self.in_portions { Part::Head } else { Part::Whole });
                    Ok(true)
                }
                [0xff, ..] => Err(server_error(self.channel.begun())),
                [0xfe, ..] => Err(MysqlError::End),
                other => Err(unexpected("an event", other)),
            };
        }
    }

    /// What [`Stream::poll`] found; empty if there is nothing.
    pub fn event(&self) -> &[u8] {
        match self.at_hand {
            Some(Part::Rest) => self.channel.begun(),
            Some(Part::Whole | Part::Head) => self.channel.begun().get(1..).unwrap_or_default(),
            None => &[],
        }
    }

    /// Which part of an event that is.
    pub fn part(&self) -> Part {
        self.at_hand.unwrap_or_default()
    }

    /// Bytes received so far: if they grow, the server is alive, however slowly a large event comes.
    pub fn received(&self) -> u64 {
        self.channel.received()
    }

    /// Whether bytes beyond the current event have been received.
    pub fn pending(&self) -> bool {
        self.channel.pending()
    }
}

/// Turns TLS on if it is wanted; whether it is on.
fn secure(
    channel: &mut Channel,
    greeting: &Greeting,
    endpoint: &Endpoint,
) -> Result<bool, MysqlError> {
    let Some(config) = endpoint.tls.config() else { return Ok(false) };
    // The socket's file permissions do what TLS would do, and there is no name to verify.
    let Address::Tcp { host, .. } = &endpoint.address else { return Ok(false) };
    if greeting.capabilities & SSL == 0 {
        return Err(MysqlError::TlsNotOffered);
    }
    channel.reply(&greeting.tls_request())?;
    channel.secure(config, host)?;
    Ok(true)
}

/// The exchange after our first proof.
struct Login<'a> {
    endpoint: &'a Endpoint,
    nonce: Vec<u8>,
    plugin: Plugin,
    asked_for_key: bool,
}

impl Login<'_> {
    fn finish(&mut self, channel: &mut Channel, deadline: Instant) -> Result<(), MysqlError> {
        for _ in 0..LOGIN_PACKETS_MAX {
            await_packet(channel, deadline, "answer to the login")?;
            let packet = channel.packet().to_vec();
            channel.advance();
            match packet.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xff, _)) => return Err(server_error(&packet)),
                Some((0xfe, switch)) => {
                    let proof = self.switch(switch)?;
                    channel.reply(&proof)?;
                }
                Some((0x01, more)) => self.more(channel, more)?,
                _ => return Err(unexpected("an answer to the login", &packet)),
            }
        }
        Err(unexpected("the end of the login", &[]))
    }

    /// AuthSwitchRequest: another plugin, another nonce.
    fn switch(&mut self, packet: &[u8]) -> Result<Vec<u8>, MysqlError> {
        let mut fields = Fields::new(packet);
        let name = fields.until_zero();
        // An empty one is that of before MySQL 4.1, whose proof proves nothing.
        let named = if name.is_empty() { &b"mysql_old_password"[..] } else { name };
        self.plugin = Plugin::named(named)
            .ok_or_else(|| MysqlError::Plugin(String::from_utf8_lossy(named).into_owned()))?;
        let nonce = fields.bytes(NONCE, "login: nonce")?;
        self.nonce = nonce.to_vec();
        Ok(self.plugin.proof(&self.endpoint.password, nonce))
    }

    /// AuthMoreData, which only caching_sha2_password has.
    fn more(&mut self, channel: &mut Channel, data: &[u8]) -> Result<(), MysqlError> {
        const FAST_AUTH_SUCCEEDED: &[u8] = &[3];
        const FULL_AUTH_NEEDED: &[u8] = &[4];
        const SEND_PUBLIC_KEY: &[u8] = &[2];
        if self.plugin != Plugin::CachingSha2 {
            return Err(unexpected("an answer to the login", &[1]));
        }
        if self.asked_for_key {
            let sealed = auth::encrypt(&self.endpoint.password, &self.nonce, data)
                .ok_or(PacketError::Invalid { field: "login: public key" })?;
            self.asked_for_key = false;
            return channel.reply(&sealed);
        }
        match data {
            FAST_AUTH_SUCCEEDED => Ok(()),
            FULL_AUTH_NEEDED if channel.secret() => {
                channel.reply(&self.endpoint.password.with_zero())
            }
            FULL_AUTH_NEEDED => {
                if !self.endpoint.allow_public_key_retrieval.unwrap_or(channel.local()) {
                    return Err(MysqlError::KeyNotTrusted);
                }
                self.asked_for_key = true;
                channel.reply(SEND_PUBLIC_KEY)
            }
            other => Err(unexpected("fast or full authentication", other)),
        }
    }
}

fn await_packet(
    channel: &mut Channel,
    deadline: Instant,
    awaited: &'static str,
) -> Result<(), MysqlError> {
    if channel.poll(deadline)? { Ok(()) } else { Err(MysqlError::Timeout { awaited }) }
}

/// The end of columns or rows: a short packet that starts with 0xfe.
fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

fn server_error(packet: &[u8]) -> MysqlError {
    match ServerError::decode(packet) {
        Ok(error) => MysqlError::Server(error),
        Err(error) => error.into(),
    }
}

fn unexpected(awaited: &'static str, packet: &[u8]) -> MysqlError {
    MysqlError::Unexpected { awaited, found: packet.first().copied() }
}

pub(super) fn text_row(packet: &[u8], columns: u64) -> Result<TextRow, MysqlError> {
    let mut fields = Fields::new(packet);
    let mut row = Vec::new();
    for _ in 0..columns {
        let value = fields.lenenc_bytes("row: value")?;
        let text = value.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        row.push(text.map_err(|_| PacketError::Invalid { field: "row: value" })?);
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_text_has_nulls_and_values() {
        let row = text_row(&[0xfb, 2, b'a', b'b', 0], 3).unwrap();
        assert_eq!(row, [None, Some("ab".to_owned()), Some(String::new())]);
        assert!(text_row(&[5, b'a'], 1).is_err());
        assert!(text_row(&[1, 0xff], 1).is_err());
    }

    #[test]
    fn the_end_is_told_from_a_row_that_starts_alike() {
        assert!(is_end(&[0xfe, 0, 0, 2, 0]));
        assert!(!is_end(&[0xfe, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
    }
}

#[cfg(test)]
mod stream_tests {
    use super::super::packet::{CHUNK, frame};
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    fn stream() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address::Tcp { host: "127.0.0.1".into(), port };
        let timeout = Duration::from_secs(5);
        let channel =
            Channel::connect(&address, timeout, CHUNK + (1 << 20), &Stopper::default()).unwrap();
        let stream = Stream { channel, at_hand: None, in_portions: false };
        (stream, listener.accept().unwrap().0)
    }

    /// A packet's payload: the byte of its state, and an event.
    fn event(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..=len).map(|at| (at % 251) as u8).collect();
        (bytes[0], bytes[5]) = (0, kind);
        bytes
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_payload_comes_in_portions_and_leaves_no_trace() {
        // The limit of a packet is one for what is held, and portions are not.
        for len in [19, 5000, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK + 70_000] {
            let (mut stream, mut server) = stream();
            let (payload, behind) = (event(40, len), event(16, 31));
            let mut wire = Vec::new();
            let next = frame(&payload, 0, &mut wire);
            frame(&behind, next, &mut wire);
            let writer = thread::spawn(move || server.write_all(&wire).map(|()| server));
            let (mut got, mut largest) = (Vec::new(), 0);
            while got.len() < len {
                assert!(stream.poll(soon()).unwrap());
                let part = if got.is_empty() { Part::Head } else { Part::Rest };
                assert_eq!(stream.part(), part);
                assert!(part == Part::Rest || stream.event().len() >= 19);
                largest = largest.max(stream.event().len());
                got.extend_from_slice(stream.event());
            }
            assert!(got == payload[1..], "{len}");
            assert!(largest <= 256 << 10, "{largest} at once of {len}");
            assert!(stream.poll(soon()).unwrap());
            assert_eq!((stream.part(), stream.event()), (Part::Whole, &behind[1..]));
            drop(writer.join().unwrap().unwrap());
        }
    }

    #[test]
    fn a_deadline_ends_the_wait_inside_an_event_and_bytes_show_that_it_goes_on() {
        let (mut stream, mut server) = stream();
        for kind in [40, 30] {
            let mut wire = Vec::new();
            frame(&event(kind, 1000), if kind == 40 { 0 } else { 1 }, &mut wire);
            let mut parts = wire.chunks(300);
            server.write_all(parts.next().unwrap()).unwrap();
            let at_once = stream.poll(Instant::now() + Duration::from_millis(50)).unwrap();
            assert_eq!(at_once, kind == 40);
            let before = stream.received();
            assert!(!stream.poll(Instant::now() + Duration::from_millis(5)).unwrap());
            assert_eq!(stream.received(), before);
            server.write_all(parts.next().unwrap()).unwrap();
            while stream.poll(Instant::now() + Duration::from_millis(50)).unwrap() {}
            assert_eq!(stream.received(), before + 300);
            parts.for_each(|part| server.write_all(part).unwrap());
            let mut end = 0;
            while stream.poll(Instant::now() + Duration::from_millis(50)).unwrap() {
                end += stream.event().len();
            }
            assert!(end > 0);
        }
        drop(server);
        assert!(matches!(stream.poll(soon()), Err(MysqlError::Closed)));
    }
}
