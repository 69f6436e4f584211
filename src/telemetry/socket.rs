//! SHELL: the local socket on which a running agent tells its status.
//!
//! Whoever connects gets one [`Status`] as JSON and the end of the stream; nothing is read, so
//! nothing can be commanded. The file has mode 0600 from its first moment: it is bound under another
//! name, closed to others, and only then moved to its place.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Status;

/// The socket's name in the state directory.
pub const FILE_NAME: &str = "agent.sock";

/// Why the socket cannot be opened or asked.
#[derive(Debug)]
pub enum SocketError {
    /// The path has more than [`PATH_BYTES_MAX`] bytes.
    PathTooLong(PathBuf),
    /// Another process answers there: its number, if it told it.
    Taken(PathBuf, Option<u32>),
    /// Something that is not a socket has the name.
    NotASocket(PathBuf),
    /// Nobody answers there.
    NotRunning(PathBuf),
    /// What came back is not a status.
    BadAnswer(String),
    /// The system says no.
    Io(PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathTooLong(path) => write!(
                f,
                "{}: a socket's path may have at most {PATH_BYTES_MAX} bytes, this one has {}; choose a shorter one",
                path.display(),
                path.as_os_str().len()
            ),
            Self::Taken(path, None) => write!(f, "{}: is in use", path.display()),
            Self::Taken(path, Some(pid)) => {
                write!(f, "{}: another agent runs here, process {pid}", path.display())
            }
            Self::NotASocket(path) => write!(f, "{}: is not a socket", path.display()),
            Self::NotRunning(path) => write!(f, "{}: no agent runs here", path.display()),
            Self::BadAnswer(why) => write!(f, "the answer is not a status: {why}"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for SocketError {}

/// The open socket; dropping it closes it and removes the file.
#[derive(Debug)]
pub struct StatusSocket {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusSocket {
    /// Opens the socket and answers on it from a thread of its own, so that it answers even when
    /// all else hangs. What a dead agent left there is removed.
    ///
    /// # Errors
    /// The path is too long or in use, by an agent or by something else; or the system says no.
    pub fn open(
        path: &Path,
        status: impl Fn() -> Status + Send + 'static,
    ) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        let listener = listen(path, 0o600).map_err(|error| match error {
            SocketError::Taken(path, _) => {
                let pid = query(&path).ok().map(|status| status.pid).filter(|pid| *pid > 0);
                SocketError::Taken(path, pid)
            }
            error => error,
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("status".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || answer(&listener, &stopped, &status))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A connection wakes the thread; if none can be made, the thread ends with the process.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks the agent that answers at `path`.
///
/// # Errors
/// Nobody answers, not in [`PATIENCE`], or not with a status.
pub fn query(path: &Path) -> Result<Status, SocketError> {
    check_length(path)?;
    let failed = |error| SocketError::Io(path.to_owned(), error);
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if is_absent(&error) => return Err(SocketError::NotRunning(path.to_owned())),
        Err(error) => return Err(failed(error)),
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut json = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut json).map_err(failed)?;
    serde_json::from_slice(&json).map_err(|error| SocketError::BadAnswer(error.to_string()))
}

fn answer(listener: &UnixListener, stop: &AtomicBool, status: &dyn Fn() -> Status) {
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match stream {
            Ok(stream) => tell(stream, &status()),
            // Out of file descriptors, most likely: others will close some.
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Who hangs up or does not read gets nothing, and nobody else waits for it.
fn tell(mut stream: UnixStream, status: &Status) {
    let mut json = serde_json::to_vec(status).expect("a status has nothing that JSON cannot hold");
    json.push(b'\n');
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(&json);
}

/// Listens at `path` with this mode from the first moment. What a dead process left there is removed.
///
/// # Errors
/// As [`StatusSocket::open`].
pub(super) fn listen(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    make_room(path)?;
    bind(path, mode).map_err(|error| SocketError::Io(path.to_owned(), error))
}

/// Sees to it that nothing is at `path`, but removes only a socket on which nobody answers.
fn make_room(path: &Path) -> Result<(), SocketError> {
    check_length(path)?;
    check_length(&beside(path))?;
    let failed = |error| SocketError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(facts) if !facts.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Taken(path.to_owned(), None)),
        Err(error) if is_absent(&error) => fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let unready = beside(path);
    if fs::symlink_metadata(&unready).is_ok_and(|facts| facts.file_type().is_socket()) {
        fs::remove_file(&unready)?;
    }
    let listener = UnixListener::bind(&unready)?;
    fs::set_permissions(&unready, fs::Permissions::from_mode(mode))?;
    fs::rename(&unready, path)?;
    Ok(listener)
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn check_length(path: &Path) -> Result<(), SocketError> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(SocketError::PathTooLong(path.to_owned()));
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The longest path: `sun_path` has 108 bytes with its end.
pub const PATH_BYTES_MAX: usize = 107;

/// How long [`query`] waits for each part of an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Far more than a status with a long reason.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// The thread formats a page of text; the default of 2 MB would only look large.
const STACK_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status { agent: "edge-17".to_owned(), pid: 4711, uptime_ms: 5, ..Status::default() }
    }

    #[test]
    fn a_running_agent_answers_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let socket = StatusSocket::open(&path, status).unwrap();
        assert_eq!(query(&path).unwrap(), status());
        assert_eq!(query(&path).unwrap(), status());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(matches!(query(&path), Err(SocketError::NotRunning(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dead_agents_socket_is_replaced_and_a_living_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        drop(UnixListener::bind(&path).unwrap());
        drop(UnixListener::bind(beside(&path)).unwrap());
        let _living = StatusSocket::open(&path, status).unwrap();
        let second = StatusSocket::open(&path, status).unwrap_err().to_string();
        assert!(second.ends_with("another agent runs here, process 4711"), "{second}");
        assert_eq!(query(&path).unwrap(), status());
    }

    #[test]
    fn what_is_not_a_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, "precious").unwrap();
        assert!(matches!(StatusSocket::open(&path, status), Err(SocketError::NotASocket(_))));
        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(StatusSocket::open(&link, status), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_long_path_is_told_as_such() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = query(&path).unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes, this one has 125"), "{error}");
    }

    #[test]
    fn a_strange_answer_is_told_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("strange.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let strange = thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello"));
        assert!(matches!(query(&path), Err(SocketError::BadAnswer(_))));
        strange.join().unwrap().unwrap();
    }
}
