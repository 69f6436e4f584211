//! SHELL: the ports on which agents knock: QUIC, and TLS over TCP for those whose network lets no UDP
//! pass. Each newcomer shakes hands in a task of its own.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use log::{error, info};
use ring::rand::{SecureRandom, SystemRandom};
use smol::future;

use crate::config::collector as config;
use crate::transport::{IdentityFiles, Listener, QuicSettings, ServerTls, TlsListener};

use super::conversation::{HANDSHAKE_MAX, welcome};
use super::hall::Hall;
use super::serve::ServeError;

/// All ports, bound.
pub(super) struct Doors {
    quic: Listener,
    tls: Option<TlsListener>,
}

impl Doors {
    /// Binds the ports.
    pub(super) fn open(listen: &config::Listen, data_dir: &Path) -> Result<Self, ServeError> {
        let identity = IdentityFiles { chain: &listen.certificate, key: &listen.key };
        let tls = ServerTls::load(&listen.ca, identity)?;
        let settings =
            QuicSettings { idle_timeout: listen.idle_timeout, ..QuicSettings::default() };
        let secret = secret(&data_dir.join("quic.secret")).map_err(|why| {
            ServeError::Data(format!("{}/quic.secret: {why}", data_dir.display()))
        })?;
        let connections = listen.connections_max as usize;
        let quic = Listener::bind(listen.quic, &tls, settings, &secret, connections)?;
        info!("listening on {} (QUIC)", quic.local_address().unwrap_or(listen.quic));
        let tcp = match listen.tls {
            None => None,
            Some(address) => {
                let listener = TlsListener::bind(address, &tls, connections)?;
                info!("listening on {} (TLS)", listener.local_address().unwrap_or(address));
                Some(listener)
            }
        };
        Ok(Self { quic, tls: tcp })
    }

    /// Takes newcomers in until it is dropped.
    pub(super) async fn accept(&self, hall: &Hall) {
        let tls = async {
            match &self.tls {
                Some(listener) => accept_tls(listener, hall).await,
                None => std::future::pending().await,
            }
        };
        future::zip(accept_quic(&self.quic, hall), tls).await;
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.quic.close().await;
    }
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

/// The key by which agents notice at once that the collector was restarted; made at the first start.
fn secret(path: &Path) -> Result<[u8; 32], String> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| "it is not 32 bytes long; remove it".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut secret = [0; 32];
            SystemRandom::new().fill(&mut secret).map_err(|_| "no randomness".to_owned())?;
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = made.and_then(|mut file| file.write_all(&secret));
            written.map_err(|error| error.to_string())?;
            Ok(secret)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A port that is broken is tried again, not in a hurry.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);
