//! What went wrong between us and the server, and what to do about it. No I/O.

use std::fmt;
use std::io;

use super::packet::{Fields, PacketError};

/// Why a connection, a query or a stream failed.
#[derive(Debug)]
pub enum MysqlError {
    /// The socket: while doing what.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The server closed the connection.
    Closed,
    /// Nothing came within the time allowed.
    Timeout {
        /// What was awaited.
        awaited: &'static str,
    },
    /// TLS: a certificate, or its verification.
    Tls(String),
    /// The server does not offer TLS, and it is required.
    TlsNotOffered,
    /// The server wants a login plugin that we do not speak, or do not speak on such a connection.
    Plugin(String),
    /// The server wants the password under its RSA key, and nothing proves that the key is its own.
    KeyNotTrusted,
    /// The server said no.
    Server(ServerError),
    /// The bytes are not the protocol.
    Packet(PacketError),
    /// The server sent something that has no place here.
    Unexpected {
        /// What was awaited.
        awaited: &'static str,
        /// The packet's first byte.
        found: Option<u8>,
    },
    /// A result larger than any that we ask for.
    ResultTooLarge {
        /// The limit, bytes.
        max: usize,
    },
    /// The position cannot be asked for: the protocol has 32 bits for an offset.
    OffsetTooLarge(u64),
    /// The user may not read the log.
    MayNotReplicate(ServerError),
    /// The log ends here, says the server.
    End,
    /// The stopper ended it.
    Stopped,
}

impl From<PacketError> for MysqlError {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

impl fmt::Display for MysqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Timeout { awaited } => write!(f, "no {awaited} within the time allowed"),
            Self::Tls(text) => write!(f, "TLS: {text}"),
            Self::TlsNotOffered => f.write_str(
                "TLS is required and the server does not offer it: turn TLS on at the server",
            ),
            Self::Plugin(name) => write!(
                f,
                "the server asks for the login plugin `{}`, which is not spoken here: give the \
                 user mysql_native_password or caching_sha2_password",
                Printable(name)
            ),
            Self::KeyNotTrusted => f.write_str(
                "the server asks for the password under its RSA key, and without TLS nothing \
                 proves whose key it is: use TLS, or set `allow_public_key_retrieval = true`",
            ),
            Self::Server(error) => error.fmt(f),
            Self::Packet(error) => error.fmt(f),
            Self::Unexpected { awaited, found: Some(byte) } => {
                write!(f, "a packet that starts with {byte:#04x} came where {awaited} was due")
            }
            Self::Unexpected { awaited, found: None } => {
                write!(f, "an empty packet came where {awaited} was due")
            }
            Self::ResultTooLarge { max } => write!(f, "a result is above {max} bytes"),
            Self::OffsetTooLarge(offset) => write!(
                f,
                "offset {offset} is above 4 GiB, and the protocol cannot ask for it without GTIDs"
            ),
            Self::MayNotReplicate(error) => write!(
                f,
                "server error {} ({}): {}; {}",
                error.code,
                Printable(&error.state),
                Printable(&error.message),
                Cause::Privilege.advice()
            ),
            Self::End => f.write_str("the server says that its log ends here"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for MysqlError {}

/// An error packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerError {
    /// The server's number.
    pub code: u16,
    /// SQLSTATE, five characters, or empty.
    pub state: String,
    /// The server's text; shown with control characters escaped.
    pub message: String,
}

/// Longer texts are cut: no server writes more than 512 bytes.
const MESSAGE_MAX: usize = 1024;

impl ServerError {
    /// Reads an error packet, whose first byte is 0xff.
    pub fn decode(packet: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields::new(packet);
        fields.u8("error: marker")?;
        let code = fields.u16("error: code")?;
        let mut text = fields.rest();
        let mut state = &[][..];
        if let Some((b'#', rest)) = text.split_first()
            && let Some((head, rest)) = rest.split_at_checked(5)
        {
            (state, text) = (head, rest);
        }
        let text = text.get(..MESSAGE_MAX).unwrap_or(text);
        Ok(Self {
            code,
            state: String::from_utf8_lossy(state).into_owned(),
            message: String::from_utf8_lossy(text).into_owned(),
        })
    }

    /// What it means for a reader of the log.
    pub fn cause(&self) -> Cause {
        match self.code {
            1045 | 1044 | 1130 | 1698 | 1820 | 1862 | 3118 | 3159 | 3955 | 4151 => Cause::Login,
            1142 | 1227 => Cause::Privilege,
            1040 | 1129 | 1203 | 1226 => Cause::Busy,
            4052 => Cause::Duplicate,
            1789 => Cause::GtidsPurged,
            1236 => self.dump_cause(),
            _ => Cause::Other,
        }
    }

    /// 1236, "fatal error when reading the binary log", stands for all that can be wrong with a
    /// dump; only its text tells. `sql/rpl_binlog_sender.cc` (MySQL), `sql/sql_repl.cc` (MariaDB).
    fn dump_cause(&self) -> Cause {
        let text = self.message.to_ascii_lowercase();
        let says = |part: &str| text.contains(part);
        if says("same server_uuid") || says("same server_id") {
            return Cause::Duplicate;
        }
        if says("purged required binary logs")
            || says("purged binary logs containing gtids")
            || says("required binlog files have been purged")
            || says("could not find gtid state")
        {
            return Cause::GtidsPurged;
        }
        if says("could not find first log") || says("not found in binary log index") {
            return Cause::FilePurged;
        }
        if says("more gtids than the") || says("which is not in the master's binlog") {
            return Cause::GtidsForeign;
        }
        if says("max_allowed_packet") {
            return Cause::EventTooLarge;
        }
        if says("impossible position") || says("position > file size") || says("bogus data") {
            return Cause::Position;
        }
        Cause::Other
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "server error {} ({}): {}",
            self.code,
            Printable(&self.state),
            Printable(&self.message)
        )?;
        match self.cause().advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

/// What a server's error means for a reader of its log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The user, the password, the host or the way of logging in.
    Login,
    /// The user may not do this.
    Privilege,
    /// Too many connections, or too many errors from here.
    Busy,
    /// Somebody else reads with our server id or uuid.
    Duplicate,
    /// The file that we want is no longer there.
    FilePurged,
    /// Transactions that we lack are no longer there.
    GtidsPurged,
    /// We have transactions that the server does not know: another history.
    GtidsForeign,
    /// There is no event at this offset.
    Position,
    /// The server refuses to send an event above its own limit.
    EventTooLarge,
    /// Anything else.
    Other,
}

impl Cause {
    /// Whether trying again may help without anybody doing anything about it at our side.
    pub fn may_pass(self) -> bool {
        !matches!(
            self,
            Self::FilePurged
                | Self::GtidsPurged
                | Self::GtidsForeign
                | Self::Position
                | Self::EventTooLarge
        )
    }

    /// What a person can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Login => "check user, password, host and TLS settings of the source",
            Self::Privilege => {
                "grant REPLICATION SLAVE and REPLICATION CLIENT (MariaDB: also BINLOG MONITOR) ON *.*"
            }
            Self::Busy => "the server takes no more connections for now",
            Self::Duplicate => {
                "another client reads with the same server_id: give each its own `source.server_id`"
            }
            Self::FilePurged => {
                "the binlog file that comes next was purged: changes are lost to this reader; start anew \
                 from the earliest or latest position, and keep logs longer"
            }
            Self::GtidsPurged => {
                "transactions that come next were purged: changes are lost to this reader; start anew \
                 from the earliest or latest position, and keep logs longer"
            }
            Self::GtidsForeign => {
                "the server lacks transactions that were already read from its like: it has another \
                 history (restored, reset, or failed over with loss); nothing is read from it"
            }
            Self::Position => {
                "there is no event at the stored position: the log was reset or is another server's"
            }
            Self::EventTooLarge => {
                "either raise max_allowed_packet at the server to 1 GiB, or the stored position is not \
                 one of this log (the server reads garbage there)"
            }
            Self::Other => "",
        }
    }
}

/// Text from outside with everything escaped that could forge a line of a log or steer a terminal.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| match c {
            // Controls, and the marks that turn the direction of text.
            c if c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                write!(f, "{}", c.escape_unicode())
            }
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str) -> ServerError {
        ServerError { code, state: "HY000".into(), message: message.into() }
    }

    #[test]
    fn an_error_packet_is_read_with_and_without_a_state() {
        let found = ServerError::decode(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!((found.code, found.state.as_str()), (1045, "28000"));
        assert_eq!(found.message, "Access denied");
        let found = ServerError::decode(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((found.code, found.state.as_str()), (1040, ""));
        assert!(ServerError::decode(b"\xff\x10").is_err());
    }

    #[test]
    fn the_reasons_of_1236_are_told_apart_by_text() {
        for (text, cause) in [
            ("Could not find first log file name in binary log index file", Cause::FilePurged),
            (
                "A replica with the same server_uuid/server_id as this replica has connected",
                Cause::Duplicate,
            ),
            (
                "Cannot replicate because the source purged required binary logs.",
                Cause::GtidsPurged,
            ),
            (
                "Could not find GTID state requested by slave in any binlog files.",
                Cause::GtidsPurged,
            ),
            (
                "Error: connecting slave requested to start from GTID 0-1-9, which is not in the master's binlog",
                Cause::GtidsForeign,
            ),
            ("Replica has more GTIDs than the source has", Cause::GtidsForeign),
            (
                "Client requested source to start replication from position > file size",
                Cause::Position,
            ),
            ("log event entry exceeded max_allowed_packet; Increase", Cause::EventTooLarge),
            ("something new", Cause::Other),
        ] {
            assert_eq!(error(1236, text).cause(), cause, "{text}");
        }
        assert_eq!(error(4052, "").cause(), Cause::Duplicate);
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        let shown = error(1, "a\nERROR all is lost \u{1b}[2J\u{202e}").to_string();
        assert!(!shown.contains('\n') && !shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
    }
}
