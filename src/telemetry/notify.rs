//! SHELL: what systemd is told: that the program is ready, at work, and about to end (sd_notify(3)).
//!
//! | told | when |
//! |---|---|
//! | `READY=1` | once, when all is open and runs |
//! | `WATCHDOG=1` | twice in each `WATCHDOG_USEC`, as long as there is a sign of life |
//! | `STATUS=…` | with each of the two, and at least every [`TELL_EVERY`]: one line in words |
//! | `STOPPING=1` | once, at the beginning of the end |
//!
//! Whoever started the program otherwise has set no `NOTIFY_SOCKET`, and is told nothing. A manager that does
//! not take what it is told is no reason to stop: that is logged once.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;

use super::logger::tame;

/// What the program knows of itself at a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sign {
    /// One line for people.
    pub words: String,
    /// Whether it does what it is there for, or waits for something outside of it. If not, the watchdog is
    /// told nothing, and systemd starts the program anew.
    pub alive: bool,
}

/// The way to the manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    has_failed: AtomicBool,
}

impl Notifier {
    /// The manager that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Self {
        let pid = std::process::id();
        let is_ours = match env::var("WATCHDOG_PID") {
            Ok(wanted) => wanted.trim() == pid.to_string(),
            Err(_) => true,
        };
        let watchdog = env::var("WATCHDOG_USEC").ok().filter(|_| is_ours);
        Self::new(env::var_os("NOTIFY_SOCKET"), watchdog.as_deref().and_then(microseconds))
    }

    fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let to = socket.filter(|name| !name.is_empty()).and_then(|name| {
            let opened = open(&name);
            let complain = |error: &io::Error| {
                warn!("systemd: NOTIFY_SOCKET {}: {error}", tame(&name.to_string_lossy()));
            };
            opened.inspect_err(complain).ok()
        });
        Self { to, watchdog, has_failed: AtomicBool::new(false) }
    }

    /// Says that all is ready, and from then on what `look` finds. Never ends.
    pub async fn attend(&self, mut look: impl FnMut() -> Sign) -> Infallible {
        if self.to.is_none() {
            return std::future::pending().await;
        }
        let mut told = "READY=1\n";
        loop {
            let Sign { words, alive } = look();
            let watched = if alive { "WATCHDOG=1\n" } else { "" };
            self.say(&format!("{told}{watched}STATUS={}\n", tame(&words)));
            told = "";
            smol::Timer::after(self.pause(alive)).await;
        }
    }

    /// Says that the end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping\n");
    }

    /// Where a sign of life was missing the next look is soon, for half of the time is gone.
    fn pause(&self, alive: bool) -> Duration {
        let every = self.watchdog.map_or(TELL_EVERY, |watchdog| (watchdog / 2).min(TELL_EVERY));
        if alive { every } else { every / 8 }
    }

    fn say(&self, message: &str) {
        let Some((socket, to)) = &self.to else { return };
        let Err(error) = socket.send_to_addr(message.as_bytes(), to) else { return };
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            warn!("systemd: cannot be told how it goes: {error}");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("is neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold up the work.
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, to))
}

fn microseconds(text: &str) -> Option<Duration> {
    let count: u64 = text.trim().parse().ok()?;
    (count > 0).then(|| Duration::from_micros(count))
}

/// How often the line in words is told at least.
pub const TELL_EVERY: Duration = Duration::from_secs(30);

/// How long one message may take.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn told(notifier: &Notifier, signs: &[(&str, bool)], manager: &UnixDatagram) -> Vec<String> {
        let mut signs = signs.iter().cycle();
        let look = || {
            let (words, alive) = signs.next().unwrap();
            Sign { words: (*words).to_owned(), alive: *alive }
        };
        smol::block_on(async {
            let heard = smol::unblock({
                let manager = manager.try_clone().unwrap();
                move || (0..3).map(|_| receive(&manager)).collect()
            });
            smol::future::or(async { Some(heard.await) }, async {
                match notifier.attend(look).await {}
            })
            .await
            .unwrap()
        })
    }

    #[test]
    fn ready_is_told_once_and_signs_of_life_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.into()), microseconds("40000"));
        let heard = told(&notifier, &[("all is well", true)], &manager);
        let again = "WATCHDOG=1\nSTATUS=all is well\n";
        assert_eq!(heard, [&format!("READY=1\n{again}"), again, again]);
        notifier.stopping();
        let rest = std::iter::repeat_with(|| receive(&manager));
        let stopping = rest.take(50).any(|message| message.starts_with("STOPPING=1\n"));
        assert!(stopping);
    }

    #[test]
    fn without_a_sign_of_life_the_watchdog_hears_nothing() {
        let name = format!("rivulet-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(format!("@{name}").into()), microseconds("40000"));
        let heard = told(&notifier, &[("well", true), ("it\nhangs", false)], &manager);
        assert_eq!(
            heard,
            [
                "READY=1\nWATCHDOG=1\nSTATUS=well\n",
                "STATUS=it\\nhangs\n",
                "WATCHDOG=1\nSTATUS=well\n"
            ]
        );
    }

    #[test]
    fn a_missing_or_strange_manager_is_no_trouble() {
        for name in [None, Some(""), Some("vsock:2:1234"), Some("/nowhere/at/all")] {
            let notifier = Notifier::new(name.map(OsString::from), None);
            notifier.stopping();
        }
        assert_eq!(microseconds("0"), None);
        assert_eq!(microseconds("soon"), None);
    }

    #[test]
    fn it_looks_twice_in_the_watchdogs_time_and_sooner_after_a_bad_sign() {
        let notifier = Notifier::new(None, Some(Duration::from_secs(16)));
        assert_eq!(notifier.pause(true), Duration::from_secs(8));
        assert_eq!(notifier.pause(false), Duration::from_secs(1));
        let without = Notifier::new(None, None);
        assert_eq!(without.pause(true), TELL_EVERY);
    }
}
