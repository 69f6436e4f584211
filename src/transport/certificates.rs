//! SHELL: certificate and key files → checked TLS configurations, either role.
//!
//! Verification is never off: the one way to a configuration leads through a CA file. A key file that
//! others may read is refused. Files are read when a configuration is made; to follow a change on
//! disk, load again and hand the new one to the next dial ([`ClientFiles`] does) or to
//! [`super::Listener::reload`].
//!
//! TLS session tickets live in the configuration, in memory: they serve every dial with the same
//! certificates, and end with the process.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
#[cfg(feature = "collector")]
use rustls::{
    ServerConfig,
    server::{ServerSessionMemoryCache, WebPkiClientVerifier},
};

use super::{Stamps, TransportError};

/// The files by which one end proves who it is, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct IdentityFiles<'a> {
    /// The certificate, and behind it those between it and the CA.
    pub chain: &'a Path,
    /// Its private key; readable by its owner alone.
    pub key: &'a Path,
}

/// What a client believes, and who it is.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// TLS 1.3 alone.
    pub(super) quic: Arc<ClientConfig>,
    /// TLS 1.3, or 1.2 where a broker has no better.
    pub(super) tcp: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the CAs in the file `ca` and nobody else. Our own collector wants an identity; some
    /// brokers want none.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn load(ca: &Path, identity: Option<IdentityFiles<'_>>) -> Result<Self, TransportError> {
        let roots = Arc::new(roots(ca)?);
        let config = |versions: &[&'static SupportedProtocolVersion]| {
            let builder = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(versions)
                .expect("ring has suites for TLS 1.2 and 1.3")
                .with_root_certificates(roots.clone());
            let mut config = match identity {
                None => builder.with_no_client_auth(),
                Some(files) => builder
                    .with_client_auth_cert(chain(files.chain)?, key(files.key)?)
                    .map_err(|error| unusable(files.chain, &error))?,
            };
            config.alpn_protocols = vec![ALPN.to_vec()];
            Ok(config)
        };
        let mut quic = config(&[&rustls::version::TLS13])?;
        quic.enable_early_data = true;
        let tcp = config(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        Ok(Self { quic: Arc::new(quic), tcp: Arc::new(tcp) })
    }
}

/// A client's certificates that follow their files.
#[derive(Debug)]
pub struct ClientFiles {
    ca: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
    tls: ClientTls,
    seen: Stamps,
}

impl ClientFiles {
    /// Reads the CAs' file and, if there is an identity, the chain's and the key's.
    ///
    /// # Errors
    /// As [`ClientTls::load`].
    pub fn load(ca: PathBuf, identity: Option<(PathBuf, PathBuf)>) -> Result<Self, TransportError> {
        let seen = stamps(&ca, identity.as_ref());
        let tls = Self::read(&ca, identity.as_ref())?;
        Ok(Self { ca, identity, tls, seen })
    }

    /// What was read last and could be used.
    pub fn tls(&self) -> &ClientTls {
        &self.tls
    }

    /// Looks whether a file has changed, and if so reads them all. True if that led to others.
    ///
    /// # Errors
    /// They have changed and cannot be used; told once for each change. What was read before stays.
    pub fn refresh(&mut self) -> Result<bool, TransportError> {
        let seen = stamps(&self.ca, self.identity.as_ref());
        if seen == self.seen {
            return Ok(false);
        }
        self.seen = seen;
        self.tls = Self::read(&self.ca, self.identity.as_ref())?;
        Ok(true)
    }

    fn read(ca: &Path, identity: Option<&(PathBuf, PathBuf)>) -> Result<ClientTls, TransportError> {
        ClientTls::load(ca, identity.map(|(chain, key)| IdentityFiles { chain, key }))
    }
}

fn stamps(ca: &Path, identity: Option<&(PathBuf, PathBuf)>) -> Stamps {
    let (chain, key) = identity.map(|(chain, key)| (chain.as_path(), key.as_path())).unzip();
    Stamps::of([Some(ca), chain, key].into_iter().flatten())
}

/// Whom a server lets in, and who it is.
#[cfg(feature = "collector")]
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(super) quic: Arc<ServerConfig>,
    pub(super) tcp: Arc<ServerConfig>,
}

#[cfg(feature = "collector")]
impl ServerTls {
    /// Lets in whoever has a certificate of the CAs in the file `ca`, and nobody else.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn load(ca: &Path, identity: IdentityFiles<'_>) -> Result<Self, TransportError> {
        let roots = Arc::new(roots(ca)?);
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| unusable(ca, &error))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has suites for TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain(identity.chain)?, key(identity.key)?)
            .map_err(|error| unusable(identity.chain, &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Kept here and given out once, never sealed into the ticket: early data cannot be played again.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let tcp = Arc::new(config.clone());
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        // All or nothing with QUIC (RFC 9001, section 4.6.1).
        config.max_early_data_size = u32::MAX;
        Ok(Self { quic: Arc::new(config), tcp })
    }
}

/// The agent's name in the certificate in a PEM file; `None` if it names none.
///
/// # Errors
/// The file cannot be used.
pub fn name_in(path: &Path) -> Result<Option<String>, TransportError> {
    Ok(certified_name(&chain(path)?))
}

/// The one agent's name in a verified chain: the only DNS name of its first certificate.
pub(super) fn certified_name(chain: &[CertificateDer<'_>]) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
    let mut names = certificate.valid_dns_names();
    match (names.next(), names.next()) {
        (Some(name), None) if super::is_agent_name(name) => Some(name.to_owned()),
        _ => None,
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let pem = read(path, &File::open(path).map_err(|error| unusable(path, &error))?)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| unusable(path, &error))?;
    if chain.is_empty() {
        return Err(unusable(path, &"no certificate in it (PEM)"));
    }
    Ok(chain)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TransportError> {
    let file = File::open(path).map_err(|error| unusable(path, &error))?;
    let mode = file.metadata().map_err(|error| unusable(path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(TransportError::Exposed { path: path.to_owned(), mode: mode & 0o7777 });
    }
    PrivateKeyDer::from_pem_slice(&read(path, &file)?).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            unusable(path, &"no private key in it (PEM)")
        }
        error => unusable(path, &error),
    })
}

fn read(path: &Path, file: &File) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| unusable(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unusable(path, &"too long for a certificate or key"));
    }
    Ok(bytes)
}

fn unusable(path: &Path, what: &dyn std::fmt::Display) -> TransportError {
    TransportError::File { path: path.to_owned(), what: what.to_string() }
}

/// Sessions that can be resumed, 1 or 2 kB each; an agent has two.
#[cfg(feature = "collector")]
const SESSIONS_MAX: usize = 4096;
/// The application protocol, exactly as the public brokers want it.
const ALPN: &[u8] = b"mqtt";
/// A whole bundle of public CAs has 250 kB.
const FILE_BYTES_MAX: u64 = 1 << 20;
