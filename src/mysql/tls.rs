//! SHELL: reads certificate files; how a server's certificate is verified.
//!
//! | mode | chain up to the CA | name | for |
//! |---|---|---|---|
//! | [`TlsMode::Disabled`] | - | - | loopback, unix sockets, networks of one's own |
//! | [`TlsMode::Required`] | yes | yes | certificates with a subjectAltName |
//! | [`TlsMode::VerifyCa`] | yes | no | the certificates that MySQL makes for itself: they have no subjectAltName |
//!
//! A mode that does not verify does not exist.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::MysqlError;

/// How the connection is secured. Made once, used for every connection.
#[derive(Clone, Debug)]
pub enum TlsMode {
    /// Not at all.
    Disabled,
    /// TLS, or nothing: the certificate must be of our CA and of the name that we dial.
    Required(Arc<ClientConfig>),
    /// TLS, or nothing: the certificate must be of our CA, which signs for this purpose only.
    VerifyCa(Arc<ClientConfig>),
}

/// A certificate of our own, for users that must show one (`REQUIRE X509`).
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate chain, PEM.
    pub certificate: &'a Path,
    /// Its private key, PEM.
    pub key: &'a Path,
}

impl TlsMode {
    /// [`TlsMode::Required`] with the CAs of a PEM file.
    ///
    /// # Errors
    /// Files that cannot be read, or that hold no certificate or no key.
    pub fn required(ca: &Path, own: Option<Identity<'_>>) -> Result<Self, MysqlError> {
        let builder = builder()?.with_root_certificates(roots(ca)?);
        Ok(Self::Required(finish(builder, own)?))
    }

    /// [`TlsMode::VerifyCa`] with the CAs of a PEM file.
    ///
    /// # Errors
    /// As [`TlsMode::required`].
    pub fn verify_ca(ca: &Path, own: Option<Identity<'_>>) -> Result<Self, MysqlError> {
        let verifier = CaVerifier {
            roots: roots(ca)?,
            algorithms: ring::default_provider().signature_verification_algorithms,
        };
        // "Dangerous" is rustls's word for any verifier of one's own; ours leaves out the name only.
        let builder = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(Self::VerifyCa(finish(builder, own)?))
    }

    /// The configuration to dial with, if TLS is wanted.
    pub fn config(&self) -> Option<&Arc<ClientConfig>> {
        match self {
            Self::Disabled => None,
            Self::Required(config) | Self::VerifyCa(config) => Some(config),
        }
    }
}

type Builder<State> = rustls::ConfigBuilder<ClientConfig, State>;

fn builder() -> Result<Builder<rustls::WantsVerifier>, MysqlError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| MysqlError::Tls(error.to_string()))
}

fn finish(
    builder: Builder<rustls::client::WantsClientCert>,
    own: Option<Identity<'_>>,
) -> Result<Arc<ClientConfig>, MysqlError> {
    let Some(own) = own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let key = PrivateKeyDer::from_pem_slice(&read(own.key)?)
        .map_err(|error| bad_file(own.key, &error.to_string()))?;
    builder
        .with_client_auth_cert(certificates(own.certificate)?, key)
        .map(Arc::new)
        .map_err(|error| bad_file(own.certificate, &error.to_string()))
}

fn roots(path: &Path) -> Result<RootCertStore, MysqlError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| bad_file(path, &error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MysqlError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| bad_file(path, &error.to_string()))?;
    if all.is_empty() {
        return Err(bad_file(path, "there is no certificate in it"));
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, MysqlError> {
    fs::read(path).map_err(|error| bad_file(path, &error.to_string()))
}

fn bad_file(path: &Path, text: &str) -> MysqlError {
    MysqlError::Tls(format!("{}: {text}", path.display()))
}

/// Verifies the chain, the dates and the signatures, but not the name.
#[derive(Debug)]
struct CaVerifier {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for CaVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for make in [TlsMode::required, TlsMode::verify_ca] {
            let error = make(&path, None).unwrap_err().to_string();
            assert!(error.contains("ca.pem"), "{error}");
        }
        std::fs::write(&path, "nothing").unwrap();
        let error = TlsMode::required(&path, None).unwrap_err().to_string();
        assert!(error.contains("no certificate"), "{error}");
    }
}
