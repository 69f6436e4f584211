//! What can go wrong in a session.

use std::fmt;
use std::time::Duration;

use super::Reason;

/// From `handle` and `accept`: why the connection must end. From `publish` and `subscribe`: why
/// nothing was sent; the session goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SessionError {
    /// Bytes that are no packet of MQTT 5.
    Malformed {
        /// The packet's first byte.
        first: u8,
        /// What is wrong with it.
        what: String,
    },
    /// A packet that the peer must not send now.
    Unexpected {
        /// Which, and when.
        what: &'static str,
    },
    /// A packet above the limit: the peer's if it is ours, ours if it is the peer's.
    TooLarge {
        /// The whole packet.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The peer has more unanswered messages or subscriptions in flight than we allowed.
    TooMany {
        /// The Receive Maximum that we announced, or our limit for subscriptions.
        max: usize,
    },
    /// The peer is silent, or answers everything but what we wait for.
    Silent {
        /// What should have come.
        wanted: &'static str,
        /// For how long we have waited.
        waited: Duration,
    },
    /// The peer speaks another version of MQTT.
    Version {
        /// 4 is MQTT 3.1.1.
        level: u8,
    },
    /// No more messages may be in flight now; some answer must come first.
    NoRoom,
    /// There is no accepted connection.
    Offline,
    /// The server said in its CONNACK that it does not do this.
    NotSupported {
        /// What it does not do.
        what: &'static str,
    },
    /// A topic, filter or text that no packet can carry.
    BadTopic,
}

impl SessionError {
    /// What the peer is told in a DISCONNECT.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Malformed { .. } => Reason::MALFORMED,
            Self::Unexpected { .. } => Reason::PROTOCOL_ERROR,
            Self::TooLarge { .. } => Reason::PACKET_TOO_LARGE,
            Self::TooMany { .. } => Reason::RECEIVE_MAXIMUM,
            Self::Silent { .. } => Reason::KEEP_ALIVE,
            Self::Version { .. } => Reason::VERSION,
            Self::NotSupported { .. } => Reason::IMPLEMENTATION,
            Self::BadTopic => Reason::TOPIC_NAME,
            Self::NoRoom | Self::Offline => Reason::UNSPECIFIED,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { first, what } => {
                write!(f, "MQTT: malformed packet, first byte {first:#04x}: {what}")
            }
            Self::Unexpected { what } => write!(f, "MQTT: unexpected {what}"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "MQTT: a packet of {bytes} bytes, at most {bytes_max} are allowed")
            }
            Self::TooMany { max } => {
                write!(f, "MQTT: more than {max} unanswered packets of the peer")
            }
            Self::Silent { wanted, waited } => {
                write!(f, "MQTT: peer silent: no {wanted} for {} s", waited.as_secs())
            }
            Self::Version { level } => write!(f, "MQTT: protocol level {level}, we speak 5"),
            Self::NoRoom => write!(f, "MQTT: as many messages in flight as the peer allows"),
            Self::Offline => write!(f, "MQTT: no connection"),
            Self::NotSupported { what } => write!(f, "MQTT: the server does not support {what}"),
            Self::BadTopic => write!(f, "MQTT: this is not a valid topic"),
        }
    }
}

impl std::error::Error for SessionError {}
