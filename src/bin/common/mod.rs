//! SHELL: what both command lines share: exit codes, reading a configuration, checking what it names.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;

use log::error;
use rivulet::config::Problem;
use rivulet::config::reload::Reload;
use rivulet::telemetry::logger;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

/// The part of `--help` on exit codes.
pub(crate) const EXIT_CODES: &str = include_str!("exit-codes.txt");

/// Why the program ends, and with which code.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    /// Code 1.
    pub(crate) fn runtime(text: impl fmt::Display) -> Self {
        Self { code: 1, text: text.to_string() }
    }

    /// Code 2.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self { code: 2, text: text.to_string() }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(format!("{error}; --help shows what there is"))
    }
}

/// Prints why it failed, if it did, and makes it the exit code.
pub(crate) fn exit(program: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            for line in text.lines() {
                // Standard error may be closed, and then the code says it all.
                let _ = writeln!(std::io::stderr(), "{program}: {}", logger::tame(line));
            }
            ExitCode::from(code)
        }
    }
}

/// Prints to the standard output; a reader that has gone, as `head` does, is no failure.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::runtime(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Looks up an environment variable.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a configuration file through its room's `parse`.
pub(crate) fn configuration<C>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<C, Vec<Problem>>,
) -> Result<C, Failure> {
    read(path, parse).map(|(config, _)| config)
}

/// Reads the file again each time that it is asked. One that cannot be used changes nothing: what is wrong
/// with it is logged.
pub(crate) fn reload<C>(
    path: &Path,
    text: &str,
    parse: impl Fn(&str) -> Result<C, Vec<Problem>> + 'static,
) -> Reload<C> {
    let path = path.to_owned();
    Reload::new(text, move || match read(&path, &parse) {
        Ok(read) => Some(read),
        Err(Failure { text, .. }) => {
            for line in text.lines() {
                error!(target: "rivulet::config", "{line}");
            }
            error!(target: "rivulet::config", "reload: all stays as it was");
            None
        }
    })
}

/// As [`configuration`], with the file's text.
pub(crate) fn read<C>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<C, Vec<Problem>>,
) -> Result<(C, String), Failure> {
    let refuse = |why: &dyn fmt::Display| Failure::usage(format!("{}: {why}", path.display()));
    let mut text = String::new();
    // Not by the file's length, which a device or a pipe does not have.
    fs::File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| refuse(&error))?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(refuse(&"is too large for a configuration"));
    }
    match parse(&text) {
        Ok(config) => Ok((config, text)),
        Err(problems) => {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
            Err(Failure::usage(lines.join("\n")))
        }
    }
}

/// What a check found wrong, collected so that all of it can be told at once.
#[derive(Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    /// Notes an error, and hands on what there is without one.
    pub(crate) fn note<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.0.push(error.to_string())).ok()
    }

    /// The certificates that `ca` holds are readable.
    #[allow(dead_code, reason = "the collector's alone")]
    pub(crate) fn authority(&mut self, ca: &Path) {
        self.note(authorities(ca));
    }

    /// Certificates signed by `ca`, a certificate and its key: readable, and fitting each other.
    pub(crate) fn identity(&mut self, ca: &Path, certificate: &Path, key: &Path) {
        let roots = self.note(authorities(ca));
        let chain = self.note(certificates(certificate));
        let secret = self.note(private_key(key));
        if let (Some(roots), Some(chain), Some(secret)) = (roots, chain, secret) {
            self.note(fit(roots, chain, secret, certificate, key));
        }
    }

    /// A directory that is there, is writable and is closed to others.
    pub(crate) fn directory(&mut self, what: &str, path: &Path) {
        self.note(private_directory(what, path));
    }

    /// All that was found, as one failure of the configuration.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::usage(self.0.join("\n"))) }
    }
}

/// The certificates of a PEM file as roots.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let pem = fs::read(path).map_err(|error| wrong(&error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| wrong(&error))?;
    if chain.is_empty() { Err(wrong(&"holds no certificate in PEM")) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let wrong = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let facts = fs::metadata(path).map_err(|error| wrong(&error))?;
    // As strict as those who use it.
    if facts.permissions().mode() & 0o077 != 0 {
        return Err(wrong(&"is a private key and open to others; chmod 600 it"));
    }
    let pem = fs::read(path).map_err(|error| wrong(&error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| wrong(&error))
}

fn fit(
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_path: &Path,
    key_path: &Path,
) -> Result<(), String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(roots.clone().into(), provider.clone())
        .build()
        .map_err(|error| error.to_string())?;
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map(|_| ())
        .map_err(|error| {
            format!("{} and {}: {error}", certificate_path.display(), key_path.display())
        })
}

fn private_directory(what: &str, path: &Path) -> Result<(), String> {
    let wrong = |why: &dyn fmt::Display| format!("{what} {}: {why}", path.display());
    let facts = fs::metadata(path).map_err(|error| wrong(&error))?;
    if !facts.is_dir() {
        return Err(wrong(&"is not a directory"));
    }
    if facts.permissions().mode() & 0o007 != 0 {
        return Err(wrong(&"is open to everybody; chmod 700 it"));
    }
    // Permission bits do not tell of read-only file systems or of access lists: trying does.
    let probe = path.join(format!(".rivulet-check-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&probe).map_err(|error| wrong(&error))?;
    fs::remove_dir(&probe).map_err(|error| wrong(&error))
}

/// Far more than every setting with its documentation.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Every option that a parser's source knows is in the help, in its list of options and nowhere else first.
#[cfg(test)]
pub(crate) fn check_help(help: &str, parser: &str) {
    let (product, _) = parser.split_once("#[cfg(test)]").expect("tests below");
    let (_, options) = help.split_once("\nOPTIONS\n").expect("a list of options");
    let (options, _) = options.split_once("\n\n").expect("something behind it");
    let mut known: Vec<String> = Vec::new();
    for (mark, before, after) in [("Long(\"", "--", "\")"), ("Short('", "-", "')")] {
        for rest in product.split(mark).skip(1) {
            let name = rest.split(after).next().expect("split yields something");
            known.push(format!("{before}{name}"));
        }
    }
    assert!(known.len() > 5, "{known:?}");
    let listed: Vec<&str> = options
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .filter(|word| word.starts_with('-'))
        .collect();
    for option in &known {
        assert!(listed.contains(&option.as_str()), "{option} is not in the help");
    }
    for option in listed {
        assert!(known.iter().any(|known| known == option), "{option} is not an option");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_of_a_configuration_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, "x = 1\n").unwrap();
        let parse = |text: &str| Err::<(), _>(vec![Problem { line: 1, text: text.to_owned() }; 2]);
        let failure = configuration(&path, parse).unwrap_err();
        let line = format!("{}: line 1: x = 1\n", path.display());
        assert_eq!(failure, Failure { code: 2, text: format!("{line}\n{line}") });
        let absent = configuration(&dir.path().join("absent"), parse).unwrap_err();
        assert!(absent.code == 2 && absent.text.contains("absent: No such file"));
    }

    #[test]
    fn all_findings_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, key) = (dir.path().join("ca.pem"), dir.path().join("key.pem"));
        fs::write(&ca, "no certificate").unwrap();
        fs::write(&key, "no key").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let mut findings = Findings::default();
        findings.identity(&ca, &dir.path().join("absent.pem"), &key);
        findings.directory("state_dir", &ca);
        let text = findings.finish().unwrap_err().text;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].ends_with("ca.pem: holds no certificate in PEM"), "{text}");
        assert!(lines[1].contains("absent.pem: No such file"), "{text}");
        assert!(lines[2].ends_with("is a private key and open to others; chmod 600 it"));
        assert!(lines[3].ends_with("is not a directory"), "{text}");
    }

    #[test]
    fn a_directory_must_be_private() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let open = private_directory("state_dir", dir.path()).unwrap_err();
        assert!(open.ends_with("is open to everybody; chmod 700 it"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(private_directory("state_dir", dir.path()), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
