//! SHELL: three pages over HTTP/1.1 for those who watch: `/metrics`, `/healthz` and `/status`.
//!
//! Whoever reaches the address may read them, and nothing else: there is no authentication, and nothing can be
//! commanded. On a loopback address only those are answered who ask for `localhost` or for an address: a page in a
//! browser whose name was made to mean this machine is not. It answers from threads of its own, some connections at a time; who asks nothing is not waited for.
//!
//! ```text
//!   GET /metrics  200  figures, as Prometheus reads them
//!   GET /healthz  200 or 503  {"healthy":false,"reasons":["link: down for 75 s"]}
//!   GET /status   200  all that is known, as JSON
//! ```

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config::Place;

use super::exposition;
use super::logger::tame_json;
use super::socket::{self, SocketError};

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// `/metrics`
    Metrics,
    /// `/healthz`
    Health,
    /// `/status`
    Status,
}

/// What is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// False only for health that is bad.
    pub well: bool,
    /// The page.
    pub text: String,
}

/// What `/healthz` tells.
pub fn health(reasons: &[String]) -> Told {
    let well = reasons.is_empty();
    Told {
        well,
        text: serde_json::json!({ "healthy": well, "reasons": reasons }).to_string() + "\n",
    }
}

/// Why it cannot be listened there.
#[derive(Debug)]
pub enum HttpError {
    /// The local socket.
    Socket(SocketError),
    /// The system says no.
    Io(Place, io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "telemetry: {error}"),
            Self::Io(address, error) => write!(f, "telemetry: {address}: {error}"),
        }
    }
}

impl std::error::Error for HttpError {}

/// The open address; dropping it closes it, and removes a socket's file.
#[derive(Debug)]
pub struct Server {
    place: Place,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Makes the pages.
pub type Tell = Arc<dyn Fn(Wanted) -> Told + Send + Sync>;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection of either kind.
trait Stream: Read + Write {
    /// Nothing more is said.
    fn end(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Server {
    /// Opens the place; `tell` makes the pages. A dead process's socket is removed, a living one's is not.
    ///
    /// # Errors
    /// It is in use, or the system says no.
    pub fn open(place: &Place, tell: &Tell) -> Result<Self, HttpError> {
        let failed = |error| HttpError::Io(place.clone(), error);
        let (listener, bound) = match place {
            Place::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                (Listener::Tcp(listener), Place::Tcp(bound))
            }
            Place::Unix(path) => {
                let listener = socket::listen(path, 0o660).map_err(HttpError::Socket)?;
                (Listener::Unix(listener), place.clone())
            }
        };
        let (stop, listener) = (Arc::new(AtomicBool::new(false)), Arc::new(listener));
        let mut server = Self { place: bound, stop: Arc::clone(&stop), threads: Vec::new() };
        let is_loopback = matches!(server.place, Place::Tcp(address) if address.ip().is_loopback());
        for _ in 0..CONNECTIONS_MAX {
            let (listener, stop, tell) =
                (Arc::clone(&listener), Arc::clone(&stop), Arc::clone(tell));
            let builder = thread::Builder::new().name("telemetry".to_owned());
            let serve = move || serve(&listener, is_loopback, &stop, &*tell);
            server.threads.push(builder.stack_size(STACK_BYTES).spawn(serve).map_err(failed)?);
        }
        Ok(server)
    }

    /// Where it listens; a port that was left to the system is told.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Makes a connection, so that a thread that waits for one looks up.
    fn wake(&self) -> bool {
        match &self.place {
            Place::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).is_ok(),
            Place::Unix(path) => UnixStream::connect(path).is_ok(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Each wakes one thread, whichever that is. If one cannot be woken they end with the process.
        if self.threads.iter().all(|_| self.wake()) {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
        if let Place::Unix(path) = &self.place {
            let _ = fs::remove_file(path);
        }
    }
}

/// Attends to one connection after the other; more than there are threads wait in the kernel's queue.
fn serve(listener: &Listener, is_loopback: bool, stop: &AtomicBool, tell: &dyn Fn(Wanted) -> Told) {
    while !stop.load(Relaxed) {
        match accept(listener) {
            Ok(mut stream) => {
                let until = Instant::now() + HEAD_MAX;
                let mut visit = Visit { stream: &mut *stream, is_loopback, until, stop };
                // Who does not listen gets nothing.
                let _ = visit.attend(tell);
            }
            // Out of file descriptors, most likely: others will close some.
            Err(_) => thread::sleep(BROKEN_PAUSE),
        }
    }
}

fn accept(listener: &Listener) -> io::Result<Box<dyn Stream>> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(LOOK_EVERY))?;
            stream.set_write_timeout(Some(LOOK_EVERY))?;
            Ok(Box::new(stream))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(LOOK_EVERY))?;
            stream.set_write_timeout(Some(LOOK_EVERY))?;
            Ok(Box::new(stream))
        }
    }
}

/// One connection, for as long as it may last.
struct Visit<'a> {
    stream: &'a mut dyn Stream,
    is_loopback: bool,
    until: Instant,
    stop: &'a AtomicBool,
}

impl Visit<'_> {
    /// One request, one answer, and the end.
    fn attend(&mut self, tell: &dyn Fn(Wanted) -> Told) -> io::Result<()> {
        let (mut head, mut more) = (Vec::new(), [0; 1024]);
        let asked = loop {
            if let Some(asked) = understand(&head, self.is_loopback) {
                break asked;
            }
            match self.patiently(|stream| stream.read(&mut more))? {
                0 => return Ok(()),
                len => head.extend_from_slice(more.get(..len).unwrap_or_default()),
            }
        };
        let answer = answer(asked, tell);
        self.until = Instant::now() + PATIENCE;
        let mut rest = answer.as_bytes();
        while !rest.is_empty() {
            let len = self.patiently(|stream| stream.write(rest))?;
            rest = rest.get(len..).unwrap_or_default();
        }
        self.stream.end()?;
        self.until = self.until.min(Instant::now() + FAREWELL_MAX);
        // To close with bytes unread would take back what was just said.
        while self.patiently(|stream| stream.read(&mut more))? > 0 {}
        Ok(())
    }

    /// Tries until something comes of it, or time is up.
    fn patiently(
        &mut self,
        mut work: impl FnMut(&mut dyn Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if self.stop.load(Relaxed) || Instant::now() >= self.until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match work(self.stream) {
                Err(error) if is_early(&error) => {}
                done => return done,
            }
        }
    }
}

fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// A page, and whether its text is wanted (GET) or its head alone (HEAD); or why there is none.
type Asked = Result<(Wanted, bool), &'static str>;

/// `None` as long as more must be read.
fn understand(head: &[u8], is_loopback: bool) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES_MAX => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(Err("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Err("400 Bad Request")),
    }
    let whole = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Some(Err("405 Method Not Allowed")),
    };
    let mut hosts = request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("host"));
    if is_loopback && !hosts.all(|host| is_local(host.value)) {
        return Some(Err(FORBIDDEN));
    }
    let path = request.path.unwrap_or_default();
    Some(match path.split('?').next().unwrap_or_default() {
        "/metrics" => Ok((Wanted::Metrics, whole)),
        "/healthz" => Ok((Wanted::Health, whole)),
        "/status" => Ok((Wanted::Status, whole)),
        _ => Err("404 Not Found"),
    })
}

/// Whether a name that is asked for can mean nothing but this machine, or is none: `localhost:9187`, `[::1]`.
fn is_local(host: &[u8]) -> bool {
    let host = str::from_utf8(host).unwrap_or_default().trim();
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let bare = bare.unwrap_or_default();
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// What the fuzzer holds against any bytes: they are a request, or refused, or too few; and more of them do not
/// change what is decided.
pub fn check_request(input: &[u8]) {
    let input = input.get(..HEAD_BYTES_MAX).unwrap_or(input);
    let mut decided = None;
    for end in [input.len() / 2, input.len()] {
        let head = input.get(..end).unwrap_or_default();
        let asked = understand(head, true);
        assert!(asked.is_some() || head.len() < HEAD_BYTES_MAX, "it would read on without end");
        assert!(decided.is_none() || decided == asked, "{decided:?} became {asked:?}");
        decided = asked;
    }
}

fn answer(asked: Asked, tell: &dyn Fn(Wanted) -> Told) -> String {
    let (status, kind, text, whole) = match asked {
        Ok((wanted, whole)) => {
            let Told { well, text } = tell(wanted);
            let (kind, text) = match wanted {
                Wanted::Metrics => (exposition::CONTENT_TYPE, text),
                // Whoever asks with a terminal at hand is to see text.
                Wanted::Health | Wanted::Status => ("application/json", tame_json(text)),
            };
            (if well { "200 OK" } else { "503 Service Unavailable" }, kind, text, whole)
        }
        Err(FORBIDDEN) => (FORBIDDEN, "text/plain", format!("{FORBIDDEN}: {LOCAL}\n"), true),
        Err(status) => (status, "text/plain", format!("{status}: there is GET {PAGES}\n"), true),
    };
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nAllow: GET, HEAD\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    );
    if whole { head + &text } else { head }
}

const FORBIDDEN: &str = "403 Forbidden";
const LOCAL: &str = "ask for localhost or for an address";
const PAGES: &str = "/metrics, /healthz, /status";
/// Enough for a few who watch.
const CONNECTIONS_MAX: usize = 4;
/// How long a request may take to come: who says nothing holds up those who wait for so long.
const HEAD_MAX: Duration = Duration::from_millis(500);
/// How long its answer may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection on which nothing happens is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long somebody who has been answered may take to go.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
const BROKEN_PAUSE: Duration = Duration::from_millis(100);
/// The longest request: a scraper sends some hundred bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// A page is made on it.
const STACK_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn told(wanted: Wanted) -> Told {
        match wanted {
            Wanted::Health => health(&["link: down\u{9b}".to_owned()]),
            other => Told { well: true, text: format!("{other:?}\n") },
        }
    }

    fn at(place: &Place) -> Result<Server, HttpError> {
        Server::open(place, &(Arc::new(told) as Tell))
    }

    fn open() -> (Server, SocketAddr) {
        let server = at(&Place::Tcp(([127, 0, 0, 1], 0).into())).unwrap();
        let Place::Tcp(address) = *server.place() else { panic!("a TCP address") };
        (server, address)
    }

    fn ask(mut stream: impl Read + Write, request: &[u8]) -> String {
        // One that is refused early may be gone before all of it is written.
        let _ = stream.write_all(request);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        ask(TcpStream::connect(address).unwrap(), request.as_bytes())
    }

    #[test]
    fn there_are_three_pages() {
        let (_server, address) = open();
        let metrics = get(address, "/metrics?x=1");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
        assert!(metrics.contains("Content-Type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("Content-Length: 8\r\nAllow: GET, HEAD\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\nMetrics\n"), "{metrics}");
        let health = get(address, "/healthz");
        assert!(health.starts_with("HTTP/1.1 503 "), "{health}");
        assert!(
            health.ends_with("{\"healthy\":false,\"reasons\":[\"link: down\\u009b\"]}\n"),
            "{health}"
        );
        assert!(get(address, "/status").ends_with("\r\n\r\nStatus\n"));
        let head = ask(TcpStream::connect(address).unwrap(), b"HEAD /status HTTP/1.0\r\n\r\n");
        assert!(head.contains("Content-Length: 7\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn what_is_no_request_for_a_page_is_refused() {
        let (_server, address) = open();
        let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 20_000]].concat();
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
        for (request, status) in [
            (&b"GET /etc/passwd HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /metrics/../status HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405"),
            (b"\xff\xfe\r\n\r\n", "400"),
            (b"GET\r\n\r\n", "400"),
            (&long, "431"),
            (many.as_bytes(), "431"),
        ] {
            let answer = ask(TcpStream::connect(address).unwrap(), request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        }
        assert!(get(address, "/metrics").contains(" 200 "));
    }

    #[test]
    fn those_who_say_nothing_hold_up_others_for_a_while_at_most() {
        let (server, address) = open();
        let start = Instant::now();
        let silent: Vec<_> =
            (0..4 * CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(get(address, "/status").contains(" 200 "));
        assert!(start.elapsed() >= 4 * HEAD_MAX, "they were all attended to");
        assert!(start.elapsed() < 3 * PATIENCE, "none of them for as long as an answer may take");
        // Those who are attended to now do not hold up the end, either.
        drop(server);
        drop(silent);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_local_socket_is_for_owner_and_group_and_a_living_one_is_not_stolen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        drop(UnixListener::bind(&path).unwrap());
        let address = Place::Unix(path.clone());
        let server = at(&address).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let ask = || ask(UnixStream::connect(&path).unwrap(), b"GET /status HTTP/1.1\r\n\r\n");
        assert!(ask().ends_with("Status\n"));
        let second = at(&address);
        assert!(matches!(second, Err(HttpError::Socket(SocketError::Taken(..)))));
        assert!(ask().ends_with("Status\n"));
        drop(server);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_was_made_to_mean_this_machine_is_refused() {
        let (_server, address) = open();
        let ask = |host: &str| {
            let request = format!("GET /status HTTP/1.1\r\n{host}\r\n");
            let answer = ask(TcpStream::connect(address).unwrap(), request.as_bytes());
            answer.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        for good in ["", "Host: LocalHost:9187\r\n", "host: 127.0.0.1\r\n", "Host: [::1]:9187\r\n"]
        {
            assert_eq!(ask(good), "200", "{good}");
        }
        let twice = "Host: localhost\r\nHost: evil.example\r\n";
        for bad in
            ["Host: evil.example:9187\r\n", "Host: localhost.evil.example\r\n", "Host:\r\n", twice]
        {
            assert_eq!(ask(bad), "403", "{bad}");
        }
        let head = b"GET /status HTTP/1.1\r\nHost: device.example\r\n\r\n";
        assert_eq!(understand(head, false), Some(Ok((Wanted::Status, true))));
    }

    #[test]
    fn any_bytes_are_understood_or_refused() {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
        for end in 0..request.len() {
            assert_eq!(understand(&request[..end], true), None, "{end}");
            for byte in [0, b'\r', b'\n', b' ', 0xff] {
                let mut changed = request.to_vec();
                changed[end] = byte;
                let _ = understand(&changed, true);
            }
        }
        assert_eq!(understand(request, true), Some(Ok((Wanted::Metrics, true))));
    }
}
