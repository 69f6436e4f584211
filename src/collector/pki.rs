//! SHELL: makes the CA, the collector's certificate and the agents' certificates, as files.
//!
//! ```text
//! DIR/                 mode 0700
//!   ca.pem  ca.key     the CA: ca.pem goes to every machine, ca.key to none
//!   collector.pem/.key the collector: for the names and addresses by which agents reach it
//!   agents/NAME.pem/.key  one agent each: the certificate's one name is the agent's
//! ```
//!
//! Keys are ECDSA P-256 in PKCS #8; their files have mode 0600 from the first byte on. Files appear
//! whole or not at all, and none is ever overwritten. Validity begins a week ago, because the clocks
//! of small machines are seldom right.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use time::{Duration, OffsetDateTime};

use crate::transport::is_agent_name;

/// How long a CA is valid if nobody says otherwise, in days.
pub const CA_DAYS: u32 = 20 * 365;
/// How long a certificate is valid if nobody says otherwise, in days.
pub const LEAF_DAYS: u32 = 5 * 365;

/// The files that were made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Makes a CA in `dir`, which is created if need be.
///
/// # Errors
/// There is one already, or the files cannot be written.
pub fn init(dir: &Path, days: u32) -> Result<Issued, PkiError> {
    let key = new_key()?;
    let mut params = ca_params(&key)?;
    set_validity(&mut params, days)?;
    let certificate = params.self_signed(&key).map_err(PkiError::crypto)?;
    private_dir(dir)?;
    write_pair(&dir.join("ca"), &certificate.pem(), &key)
}

/// Makes an agent's certificate in `dir/agents`, signed by the CA in `dir`.
///
/// # Errors
/// The name is no agent's name, there is one already, or there is no CA.
pub fn agent(dir: &Path, name: &str, days: u32) -> Result<Issued, PkiError> {
    if !is_agent_name(name) {
        return Err(PkiError::Name { name: name.to_owned(), wanted: "[a-z0-9-]{1,63}" });
    }
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let params = leaf_params(&[name.to_owned()], name, usage, days)?;
    let agents = dir.join("agents");
    let issuer = issuer(dir)?;
    private_dir(&agents)?;
    issue(&params, &issuer, &agents.join(name))
}

/// Makes the collector's certificate in `dir`, signed by the CA there, for these DNS names and IP
/// addresses.
///
/// # Errors
/// No name, or one that is none; there is one already, or there is no CA.
pub fn collector(dir: &Path, hosts: &[String], days: u32) -> Result<Issued, PkiError> {
    let wanted = "a DNS name or an IP address";
    let Some(first) = hosts.first() else {
        return Err(PkiError::Name { name: String::new(), wanted });
    };
    for host in hosts {
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(PkiError::Name { name: host.clone(), wanted });
        }
    }
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let params = leaf_params(hosts, first, usage, days)?;
    issue(&params, &issuer(dir)?, &dir.join("collector"))
}

fn issue(
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
    stem: &Path,
) -> Result<Issued, PkiError> {
    let key = new_key()?;
    let certificate = params.signed_by(&key, issuer).map_err(PkiError::crypto)?;
    write_pair(stem, &certificate.pem(), &key)
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::crypto)
}

/// All of a CA but its validity follows from its key, so that it can be had again from the key alone.
pub(super) fn ca_params(key: &KeyPair) -> Result<CertificateParams, PkiError> {
    let print = digest::digest(&digest::SHA256, key.public_key_raw());
    let print: String = print.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::new(Vec::new()).map_err(PkiError::crypto)?;
    params.distinguished_name = common_name(&format!("Rivulet CA {print}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    names: &[String],
    common: &str,
    usage: ExtendedKeyUsagePurpose,
    days: u32,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(names).map_err(PkiError::crypto)?;
    params.distinguished_name = common_name(common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, days)?;
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // X.520 allows 64 characters here; the names that count are in subjectAltName.
    name.push(DnType::CommonName, text.chars().take(64).collect::<String>());
    name
}

fn set_validity(params: &mut CertificateParams, days: u32) -> Result<(), PkiError> {
    let now = OffsetDateTime::now_utc();
    if days == 0 {
        return Err(PkiError::Days { days });
    }
    // A machine whose clock is some days behind, after a long time without power, is let in.
    params.not_before = now - Duration::days(7);
    // Beyond the year 9999 there is no X.509 time.
    let after = now.checked_add(Duration::days(days.into())).ok_or(PkiError::Days { days })?;
    params.not_after = after;
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(PkiError::crypto)?;
    // Positive, and never shortened by a leading zero (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

/// The CA in `dir`, after a check that its two files belong together.
fn issuer(dir: &Path) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let (pem, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    let text = fs::read_to_string(&key_path).map_err(|error| PkiError::file(&key_path, error))?;
    let key = KeyPair::from_pem(&text).map_err(|_| PkiError::NoKey { path: key_path })?;
    let certificate = fs::read(&pem).map_err(|error| PkiError::file(&pem, error))?;
    let stranger = || PkiError::Stranger { path: pem.clone() };
    let certificate = CertificateDer::from_pem_slice(&certificate).map_err(|_| stranger())?;
    let known = webpki::EndEntityCert::try_from(&certificate).map_err(|_| stranger())?;
    if known.subject_public_key_info().as_ref()
        != rcgen::PublicKeyData::subject_public_key_info(&key)
    {
        return Err(stranger());
    }
    Ok(Issuer::new(ca_params(&key)?, key))
}

/// Creates a folder that nobody else may look into; one that exists is left as it is.
fn private_dir(dir: &Path) -> Result<(), PkiError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| PkiError::file(dir, error))
}

fn write_pair(stem: &Path, certificate: &str, key: &KeyPair) -> Result<Issued, PkiError> {
    let with = |ending: &str| {
        let mut path = stem.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let issued = Issued { certificate: with(".pem"), key: with(".key") };
    for path in [&issued.certificate, &issued.key] {
        if path.symlink_metadata().is_ok() {
            return Err(PkiError::Exists { path: path.clone() });
        }
    }
    write_new(&issued.key, key.serialize_pem().as_bytes(), 0o600)?;
    write_new(&issued.certificate, certificate.as_bytes(), 0o644)?;
    Ok(issued)
}

/// Writes a file that is whole as soon as it has its name, and replaces none.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let error = |error| PkiError::file(path, error);
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(PkiError::crypto)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}", u64::from_ne_bytes(random)));
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(error)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // A link, unlike a rename, fails if the name is taken.
    let linked = written.and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            return Err(PkiError::Exists { path: path.to_owned() });
        }
        Err(cause) => return Err(error(cause)),
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(error)
}

/// Why nothing was made.
#[derive(Debug)]
pub enum PkiError {
    /// The cryptographic library refused.
    Crypto {
        /// Its word.
        what: String,
    },
    /// A validity that no certificate can have.
    Days {
        /// As given.
        days: u32,
    },
    /// The file is there already; nothing is overwritten.
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A file or folder that cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A name that no certificate of ours can have.
    Name {
        /// As given.
        name: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file that is no private key.
    NoKey {
        /// Which.
        path: PathBuf,
    },
    /// The CA's certificate does not belong to the key beside it.
    Stranger {
        /// The certificate.
        path: PathBuf,
    },
}

impl PkiError {
    fn crypto(error: impl fmt::Display) -> Self {
        Self::Crypto { what: error.to_string() }
    }

    fn file(path: &Path, error: io::Error) -> Self {
        Self::File { path: path.to_owned(), error }
    }
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crypto { what } => write!(f, "cannot make a certificate: {what}"),
            Self::Days { days } => write!(f, "a certificate cannot be valid for {days} days"),
            Self::Exists { path } => {
                write!(f, "{}: is there already and is not overwritten", path.display())
            }
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Name { name, wanted } => write!(f, "`{name}` is not {wanted}"),
            Self::NoKey { path } => write!(f, "{}: no private key in it", path.display()),
            Self::Stranger { path } => {
                write!(f, "{}: does not belong to the key beside it", path.display())
            }
        }
    }
}

impl std::error::Error for PkiError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("pki");
        let ca = init(&dir, CA_DAYS).unwrap();
        let edge = agent(&dir, "edge-17", LEAF_DAYS).unwrap();
        let centre = collector(&dir, &["c.example".to_owned()], LEAF_DAYS).unwrap();
        assert_eq!((mode(&dir), mode(&dir.join("agents"))), (0o700, 0o700));
        for issued in [ca, edge, centre] {
            assert_eq!(mode(&issued.key), 0o600);
        }
        let mut names: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["agents", "ca.key", "ca.pem", "collector.key", "collector.pem"]);
    }

    #[test]
    fn nothing_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let ca = init(temp.path(), CA_DAYS).unwrap();
        let before = fs::read(&ca.key).unwrap();
        let error = init(temp.path(), CA_DAYS).unwrap_err();
        assert!(error.to_string().contains("not overwritten"), "{error}");
        assert_eq!(fs::read(&ca.key).unwrap(), before);
        let edge = agent(temp.path(), "edge-17", LEAF_DAYS).unwrap();
        fs::remove_file(&edge.certificate).unwrap();
        assert!(matches!(agent(temp.path(), "edge-17", 1), Err(PkiError::Exists { .. })));
    }

    #[test]
    fn names_are_checked() {
        let temp = tempfile::tempdir().unwrap();
        init(temp.path(), CA_DAYS).unwrap();
        for name in ["", "a.b", "A", "../x", "a/b"] {
            let error = agent(temp.path(), name, LEAF_DAYS).unwrap_err();
            assert!(matches!(error, PkiError::Name { .. }), "{name}");
        }
        for hosts in [&[][..], &["a b".to_owned()], &["h".to_owned(), String::new()]] {
            let error = collector(temp.path(), hosts, LEAF_DAYS).unwrap_err();
            assert!(matches!(error, PkiError::Name { .. }), "{hosts:?}");
        }
    }

    #[test]
    fn a_ca_whose_files_do_not_belong_together_signs_nothing() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ca = init(one.path(), CA_DAYS).unwrap();
        let stranger = init(other.path(), CA_DAYS).unwrap();
        fs::copy(stranger.certificate, ca.certificate).unwrap();
        let error = agent(one.path(), "edge-17", LEAF_DAYS).unwrap_err();
        assert!(matches!(error, PkiError::Stranger { .. }), "{error}");
    }

    #[test]
    fn a_missing_ca_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let error = agent(temp.path(), "edge-17", LEAF_DAYS).unwrap_err();
        assert!(error.to_string().contains("ca.key"), "{error}");
        assert!(!temp.path().join("agents").exists());
    }

    #[test]
    fn a_validity_must_be_possible() {
        let temp = tempfile::tempdir().unwrap();
        for days in [0, u32::MAX] {
            let error = init(temp.path(), days).unwrap_err();
            assert!(matches!(error, PkiError::Days { .. }), "{error}");
        }
        assert!(!temp.path().join("ca.key").exists());
    }
}
