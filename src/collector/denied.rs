//! Whose certificates no longer count: the deny list, one entry to a line.
//!
//! ```text
//! # lost on the train, replaced by edge-18
//! edge-17
//! # the key of the former certificate is known; the new one of the same name is good
//! sha256 5E:AC:…:09
//! ```
//!
//! A name denies every certificate of that agent. A fingerprint, as `openssl x509 -fingerprint -sha256`
//! prints it, denies one.

use std::collections::HashSet;
use std::fmt;

/// A deny list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Denied {
    names: HashSet<String>,
    fingerprints: HashSet<[u8; 32]>,
}

/// A line that says nothing that we know; then the whole list is not to be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: neither an agent's name nor `sha256` with 64 hexadecimal digits",
            self.line
        )
    }
}

impl std::error::Error for BadLine {}

impl Denied {
    /// Reads a list; `is_name` says what names an agent.
    ///
    /// # Errors
    /// The first line that cannot be understood.
    pub fn parse(text: &str, is_name: impl Fn(&str) -> bool) -> Result<Self, BadLine> {
        let mut denied = Self::default();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            let bad = BadLine { line: index + 1 };
            if entry.is_empty() {
                continue;
            }
            match entry.split_once([' ', '\t', '=', ':']) {
                Some((kind, digits)) if kind.eq_ignore_ascii_case("sha256") => {
                    // As openssl prints it: "sha256 Fingerprint=AA:BB:…".
                    let digits = digits.rsplit('=').next().unwrap_or_default();
                    denied.fingerprints.insert(fingerprint(digits).ok_or(bad)?);
                }
                None if is_name(entry) => {
                    denied.names.insert(entry.to_owned());
                }
                _ => return Err(bad),
            }
        }
        Ok(denied)
    }

    /// Whether a certificate counts no longer.
    pub fn denies(&self, name: &str, fingerprint: &[u8; 32]) -> bool {
        self.names.contains(name) || self.fingerprints.contains(fingerprint)
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.names.len() + self.fingerprints.len()
    }

    /// Whether it denies nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the fuzzer holds against any bytes: a list that is understood denies what its lines say, and has
/// no more entries than lines.
pub fn check_denied(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(denied) = Denied::parse(text, |name| !name.contains(char::is_whitespace)) else {
        return;
    };
    assert!(denied.len() <= text.lines().count());
    assert!(denied.names.iter().all(|name| text.contains(name) && denied.denies(name, &[0; 32])));
}

fn fingerprint(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut rest = digits.trim().bytes().filter(|byte| *byte != b':');
    for byte in &mut bytes {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        *byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
    }
    rest.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Denied, BadLine> {
        Denied::parse(text, |name| name.starts_with("edge-"))
    }

    #[test]
    fn names_and_fingerprints_are_denied_and_nobody_else() {
        let hex = "0a".repeat(32);
        let openssl = format!("sha256 Fingerprint={}", ["0B"; 32].join(":"));
        let text = format!("# lost\n\n edge-1 # its heir is edge-3\nsha256 {hex}\r\n{openssl}\n");
        let denied = parse(&text).unwrap();
        assert_eq!(denied.len(), 3);
        assert!(denied.denies("edge-1", &[0; 32]));
        assert!(denied.denies("edge-2", &[0x0a; 32]) && denied.denies("edge-2", &[0x0b; 32]));
        assert!(!denied.denies("edge-2", &[0; 32]) && !denied.denies("edge-3", &[0; 32]));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_not_understood_is_no_reason_to_let_somebody_in() {
        let long = format!("sha256 {}", "0a".repeat(33));
        for bad in ["Edge 17", "sha256 0a", "sha1 0a", &long, "sha256", "edge-1 edge-2"] {
            assert_eq!(parse(&format!("edge-1\n{bad}\n")), Err(BadLine { line: 2 }), "{bad}");
        }
    }
}
