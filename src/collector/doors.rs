//! SHELL: the ports on which agents knock: QUIC, and TLS over TCP for those whose network lets no UDP
//! pass. Each newcomer shakes hands in a task of its own.
//!
//! Certificates and the deny list are followed on disk. Other files count from the next connection on;
//! files that cannot be used change nothing, and are complained about once.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{error, info};
use ring::rand::{SecureRandom, SystemRandom};
use smol::future;

use crate::config::collector as config;
use crate::transport::{
    IdentityFiles, Listener, QuicSettings, RECEIVE_BUFFER_BYTES, ServerTls, Stamps, TlsListener,
    is_agent_name,
};

use super::arrivals::ARRIVALS_MAX;
use super::conversation::{HANDSHAKE_MAX, welcome};
use super::denied::Denied;
use super::hall::Hall;
use super::serve::ServeError;

/// All ports, bound.
pub(super) struct Doors {
    listen: config::Listen,
    quic: Listener,
    tls: Option<TlsListener>,
}

impl Doors {
    /// Binds the ports.
    pub(super) fn open(listen: &config::Listen, data_dir: &Path) -> Result<Self, ServeError> {
        let tls = load(listen)?;
        let settings =
            QuicSettings { idle_timeout: listen.idle_timeout, ..QuicSettings::default() };
        let secret = secret(&data_dir.join("quic.secret")).map_err(|why| {
            ServeError::Data(format!("{}/quic.secret: {why}", data_dir.display()))
        })?;
        // Those in their handshake have a limit of their own; this one is behind it.
        let connections = listen.connections_max as usize + 2 * ARRIVALS_MAX;
        let quic = Listener::bind(listen.quic, &tls, settings, &secret, connections)?;
        info!("listening on {} (QUIC)", quic.local_address().unwrap_or(listen.quic));
        let buffer = quic.receive_buffer_bytes();
        if buffer < RECEIVE_BUFFER_BYTES {
            info!(
                "the kernel keeps {buffer} bytes for the port, {RECEIVE_BUFFER_BYTES} are wanted: \
                 with many agents, raise net.core.rmem_max"
            );
        }
        let tcp = match listen.tls {
            None => None,
            Some(address) => {
                let listener = TlsListener::bind(address, &tls, connections)?;
                info!("listening on {} (TLS)", listener.local_address().unwrap_or(address));
                Some(listener)
            }
        };
        Ok(Self { listen: listen.clone(), quic, tls: tcp })
    }

    /// Takes newcomers in, and follows the files, until it is dropped.
    pub(super) async fn accept(&self, hall: &Hall) {
        let tls = async {
            match &self.tls {
                Some(listener) => accept_tls(listener, hall).await,
                None => std::future::pending().await,
            }
        };
        let follow = future::zip(self.follow_certificates(), self.follow_denied(hall));
        future::zip(future::zip(accept_quic(&self.quic, hall), tls), follow).await;
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.quic.close().await;
    }

    async fn follow_certificates(&self) {
        let files = [&self.listen.ca, &self.listen.certificate, &self.listen.key];
        let mut files = Files::new(&files);
        loop {
            files.changed().await;
            match load(&self.listen) {
                Ok(tls) => {
                    self.quic.reload(&tls);
                    if let Some(listener) = &self.tls {
                        listener.reload(&tls);
                    }
                    info!("the certificates were read again, for new connections");
                }
                Err(error) => error!("the certificates stay as they were: {error}"),
            }
        }
    }

    async fn follow_denied(&self, hall: &Hall) {
        let Some(path) = &self.listen.denied else { return };
        let mut files = Files::new(&[path]);
        loop {
            files.changed().await;
            match read_denied(path) {
                Ok(denied) => {
                    info!("the deny list was read again: {} entries", denied.len());
                    hall.deny(denied);
                }
                Err(why) => error!("the deny list stays as it was: {}: {why}", path.display()),
            }
        }
    }
}

/// The deny list, if one is wanted. Without the one that is wanted nobody is let in.
pub(super) fn denied(listen: &config::Listen) -> Result<Denied, ServeError> {
    let Some(path) = &listen.denied else { return Ok(Denied::default()) };
    let told = |why: String| ServeError::Data(format!("the deny list {}: {why}", path.display()));
    read_denied(path).map_err(told)
}

fn read_denied(path: &Path) -> Result<Denied, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Denied::parse(&text, is_agent_name).map_err(|error| error.to_string())
}

fn load(listen: &config::Listen) -> Result<ServerTls, ServeError> {
    let identity = IdentityFiles { chain: &listen.certificate, key: &listen.key };
    Ok(ServerTls::load(&listen.ca, identity)?)
}

async fn accept_quic(listener: &Listener, hall: &Hall) {
    while let Some(incoming) = listener.accept().await {
        let address = incoming.address();
        smol::spawn(welcome(address, incoming.establish(HANDSHAKE_MAX), hall.clone())).detach();
    }
}

async fn accept_tls(listener: &TlsListener, hall: &Hall) {
    loop {
        match listener.accept().await {
            Ok(incoming) => {
                let address = incoming.address();
                let established = incoming.establish(HANDSHAKE_MAX);
                smol::spawn(welcome(address, established, hall.clone())).detach();
            }
            Err(error) => {
                error!("nobody is taken in over TCP now: {error}");
                smol::Timer::after(BROKEN_PAUSE).await;
            }
        }
    }
}

/// Files that somebody may replace.
struct Files {
    paths: Vec<PathBuf>,
    known: Stamps,
}

impl Files {
    fn new(paths: &[&PathBuf]) -> Self {
        let paths: Vec<PathBuf> = paths.iter().copied().cloned().collect();
        let known = Stamps::of(&paths);
        Self { paths, known }
    }

    /// Waits until they have changed and stand still again: several are seldom replaced at once.
    async fn changed(&mut self) {
        let mut last = self.known.clone();
        loop {
            smol::Timer::after(LOOK_EVERY).await;
            let now = Stamps::of(&self.paths);
            if now != self.known && now == last {
                self.known = now;
                return;
            }
            last = now;
        }
    }
}

/// The key by which agents notice at once that the collector was restarted; made at the first start.
fn secret(path: &Path) -> Result<[u8; 32], String> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| "it is not 32 bytes long; remove it".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut secret = [0; 32];
            SystemRandom::new().fill(&mut secret).map_err(|_| "no randomness".to_owned())?;
            // There wholly or not at all, whenever the power goes.
            let draft = path.with_extension("new");
            let mut options = fs::OpenOptions::new();
            let made = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
            let written = made.and_then(|mut file| file.write_all(&secret).and(file.sync_all()));
            written.and_then(|()| fs::rename(&draft, path)).map_err(|error| error.to_string())?;
            Ok(secret)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A port that is broken is tried again, not in a hurry.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);
/// How often files are looked at; a change counts when it has stood still for as long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
