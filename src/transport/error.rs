//! What can go wrong on the way to the peer, in words that say what to look at.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no connection, or no longer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransportError {
    /// A certificate or key file that cannot be read or used.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A key file that others may read.
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// An address that is none.
    Address {
        /// As it was written.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The listener cannot have its address.
    Bind {
        /// Which.
        address: SocketAddr,
        /// The system's word.
        what: String,
    },
    /// The host's name leads to no address.
    Resolve {
        /// The name.
        host: String,
        /// The resolver's word.
        what: String,
    },
    /// The peer did not answer in time.
    Timeout {
        /// What was tried.
        doing: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// The system could not even send to the peer, or the peer's machine said no.
    Unreachable {
        /// Where to.
        address: SocketAddr,
        /// Why.
        what: String,
    },
    /// We do not accept the peer's certificate.
    Untrusted {
        /// What is wrong with it.
        fault: Fault,
        /// The TLS library's word.
        what: String,
    },
    /// The peer does not accept our certificate.
    Refused {
        /// What is wrong with it, as far as the peer said.
        fault: Fault,
    },
    /// The peer speaks TLS, but not MQTT by its application protocol (ALPN `mqtt`).
    Protocol,
    /// The certificate is valid but does not name an agent.
    Nameless,
    /// The connection is gone.
    Lost {
        /// Why.
        what: String,
        /// Whether the peer had not said anything yet.
        early: bool,
    },
}

/// What can be wrong with a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Nobody whom the judge trusts signed it.
    UnknownCa,
    /// It is for another name.
    WrongName,
    /// It is for another use: a server's as a client's, or the reverse.
    WrongPurpose,
    /// There is none.
    Missing,
    /// It was withdrawn.
    Revoked,
    /// Anything else.
    Other,
}

impl TransportError {
    /// What a TLS alert of the peer says, if it is about certificates or the protocol (RFC 8446,
    /// section 6.2).
    pub(super) fn of_alert(alert: u8) -> Option<Self> {
        let fault = match alert {
            42 | 46 | 49 | 51 => Fault::Other,
            43 => Fault::WrongPurpose,
            44 => Fault::Revoked,
            // RFC 8446 has one alert for both ends of the time.
            45 => Fault::Expired,
            48 => Fault::UnknownCa,
            116 => Fault::Missing,
            120 => return Some(Self::Protocol),
            _ => return None,
        };
        Some(Self::Refused { fault })
    }

    /// What our own TLS library complains about, by its words.
    pub(super) fn of_words(what: &str) -> Option<Self> {
        const WORDS: [(&str, Fault); 8] = [
            ("not valid for name", Fault::WrongName),
            ("NotValidForName", Fault::WrongName),
            ("not valid yet", Fault::NotYetValid),
            ("certificate expired", Fault::Expired),
            ("UnknownIssuer", Fault::UnknownCa),
            ("extended key usage", Fault::WrongPurpose),
            ("sent no certificates", Fault::Missing),
            ("invalid peer certificate", Fault::Other),
        ];
        if what.contains("known protocol") {
            return Some(Self::Protocol);
        }
        let (_, fault) = WORDS.iter().find(|(words, _)| what.contains(words))?;
        Some(Self::Untrusted { fault: *fault, what: what.to_owned() })
    }

    /// What quinn says about a connection.
    pub(super) fn of_quic(error: &quinn::ConnectionError, early: bool) -> Self {
        use quinn::ConnectionError as Error;
        let alert = |code: quinn::TransportErrorCode| {
            let code = u64::from(code);
            code.checked_sub(QUIC_CRYPTO_ERROR).and_then(|alert| u8::try_from(alert).ok())
        };
        let known = match error {
            Error::TransportError(ours) => match alert(ours.code) {
                Some(120) => Some(Self::Protocol),
                _ => Self::of_words(&ours.reason),
            },
            Error::ConnectionClosed(theirs) => alert(theirs.error_code).and_then(Self::of_alert),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Lost { what: error.to_string(), early })
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Exposed { path, mode } => write!(
                f,
                "{}: others may read this private key (mode {mode:04o}); chmod 600 it",
                path.display()
            ),
            Self::Address { text, what } => write!(f, "`{text}`: {what}"),
            Self::Bind { address, what } => write!(f, "cannot listen on {address}: {what}"),
            Self::Resolve { host, what } => write!(f, "no address for `{host}`: {what}"),
            Self::Timeout { doing, waited } => {
                write!(f, "no answer to the {doing} within {:.1} s", waited.as_secs_f32())
            }
            Self::Unreachable { address, what } => write!(f, "cannot reach {address}: {what}"),
            Self::Untrusted { fault, what } => {
                write!(f, "the peer's certificate {fault} ({what})")
            }
            Self::Refused { fault: Fault::Missing } => {
                write!(f, "the peer wants a client certificate and got none")
            }
            Self::Refused { fault } => {
                write!(f, "the peer refused our certificate: by its judgement it {fault}")
            }
            Self::Protocol => write!(f, "the peer does not speak MQTT here (ALPN `mqtt`)"),
            Self::Nameless => write!(
                f,
                "the peer's certificate does not name an agent: wanted exactly one subjectAltName \
                 of the form [a-z0-9-]{{1,63}}"
            ),
            Self::Lost { what, early: false } => write!(f, "connection lost: {what}"),
            Self::Lost { what, early: true } => write!(
                f,
                "connection lost before the peer's first answer: {what} (it may have refused our \
                 certificate)"
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "has expired, or the judging machine's clock is wrong",
            Self::NotYetValid => "is not valid yet: is this machine's clock right?",
            Self::UnknownCa => "is not signed by a known CA",
            Self::WrongName => "is for another name",
            Self::WrongPurpose => "is for another purpose",
            Self::Missing => "is missing",
            Self::Revoked => "was revoked",
            Self::Other => "is not acceptable",
        })
    }
}

impl std::error::Error for TransportError {}

/// QUIC's error codes 0x0100 to 0x01ff are TLS alerts (RFC 9001, section 4.8).
const QUIC_CRYPTO_ERROR: u64 = 0x100;

#[cfg(test)]
mod tests {
    use rustls::CertificateError;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    /// quinn hands on the TLS library's errors as text only, so its words must stay known to us.
    #[test]
    fn the_tls_librarys_words_are_understood() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (early, late) = (at(1), at(2));
        let name = ServerName::try_from("c.example").unwrap();
        let (expected, presented) = (name, vec!["DnsName(\"d.example\")".to_owned()]);
        for (error, fault) in [
            (CertificateError::ExpiredContext { time: late, not_after: early }, Fault::Expired),
            (
                CertificateError::NotValidYetContext { time: early, not_before: late },
                Fault::NotYetValid,
            ),
            (CertificateError::UnknownIssuer, Fault::UnknownCa),
            (CertificateError::NotValidForNameContext { expected, presented }, Fault::WrongName),
            (CertificateError::BadSignature, Fault::Other),
        ] {
            let what = rustls::Error::InvalidCertificate(error).to_string();
            let expected = TransportError::Untrusted { fault, what: what.clone() };
            assert_eq!(TransportError::of_words(&what), Some(expected));
        }
        let missing = rustls::Error::NoCertificatesPresented.to_string();
        let understood = TransportError::of_words(&missing);
        assert!(matches!(
            understood,
            Some(TransportError::Untrusted { fault: Fault::Missing, .. })
        ));
        let protocol = rustls::Error::NoApplicationProtocol.to_string();
        assert_eq!(TransportError::of_words(&protocol), Some(TransportError::Protocol));
        assert_eq!(TransportError::of_words("internal error"), None);
    }

    #[test]
    fn a_loss_before_the_first_answer_says_what_it_may_mean() {
        let reset = quinn::ConnectionError::Reset;
        let words = TransportError::of_quic(&reset, true).to_string();
        assert!(words.contains("it may have refused our certificate"), "{words}");
        let words = TransportError::of_quic(&reset, false).to_string();
        assert_eq!(words, "connection lost: reset by peer");
    }
}
