//! MQTT's reason codes, in words (MQTT 5.0, section 2.4).

use std::fmt;

/// Why a packet was refused or a connection ended: the byte that the standard defines.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reason(pub u8);

impl Reason {
    /// All is well; or, in a DISCONNECT, the end was meant.
    pub const SUCCESS: Self = Self(0x00);
    /// A DISCONNECT after which the last will is to be published all the same.
    pub const WITH_WILL: Self = Self(0x04);
    /// Nothing more precise is said.
    pub const UNSPECIFIED: Self = Self(0x80);
    /// Bytes that are no packet.
    pub const MALFORMED: Self = Self(0x81);
    /// A packet that must not come now.
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    /// Valid, but not something that this end does.
    pub const IMPLEMENTATION: Self = Self(0x83);
    /// A version of MQTT other than 5.
    pub const VERSION: Self = Self(0x84);
    /// The client identifier is not accepted.
    pub const CLIENT_ID: Self = Self(0x85);
    /// The peer may not do this.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// Try again later.
    pub const SERVER_BUSY: Self = Self(0x89);
    /// The server stops.
    pub const SHUTTING_DOWN: Self = Self(0x8b);
    /// Nothing was heard for 1.5 times the keep-alive.
    pub const KEEP_ALIVE: Self = Self(0x8d);
    /// Another connection has the same client identifier.
    pub const TAKEN_OVER: Self = Self(0x8e);
    /// A topic filter that is not accepted.
    pub const TOPIC_FILTER: Self = Self(0x8f);
    /// A topic that is not accepted.
    pub const TOPIC_NAME: Self = Self(0x90);
    /// More unacknowledged messages than the Receive Maximum.
    pub const RECEIVE_MAXIMUM: Self = Self(0x93);
    /// Longer than the Maximum Packet Size.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    /// A limit of the peer's administration.
    pub const QUOTA: Self = Self(0x97);
    /// Somebody ended it on purpose.
    pub const ADMINISTRATIVE: Self = Self(0x98);
    /// QoS 2 where only 0 and 1 are spoken.
    pub const QOS: Self = Self(0x9b);

    /// Whether it says that something failed.
    pub fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    fn words(self) -> &'static str {
        match self.0 {
            0x00 => "success",
            0x01 => "granted with QoS 1",
            0x02 => "granted with QoS 2",
            0x04 => "ended, with the last will",
            0x10 => "no matching subscribers",
            0x11 => "no subscription existed",
            0x80 => "unspecified error",
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "not done by this implementation",
            0x84 => "unsupported protocol version",
            0x85 => "client identifier not valid",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8a => "banned",
            0x8b => "server shutting down",
            0x8c => "bad authentication method",
            0x8d => "keep-alive timeout",
            0x8e => "session taken over by another connection",
            0x8f => "topic filter invalid",
            0x90 => "topic name invalid",
            0x91 => "packet identifier in use",
            0x92 => "packet identifier not found",
            0x93 => "receive maximum exceeded",
            0x94 => "topic alias invalid",
            0x95 => "packet too large",
            0x96 => "message rate too high",
            0x97 => "quota exceeded",
            0x98 => "administrative action",
            0x99 => "payload format invalid",
            0x9a => "retain not supported",
            0x9b => "QoS not supported",
            0x9c => "use another server",
            0x9d => "server moved",
            0x9e => "shared subscriptions not supported",
            0x9f => "connection rate exceeded",
            0xa0 => "maximum connect time",
            0xa1 => "subscription identifiers not supported",
            0xa2 => "wildcard subscriptions not supported",
            _ => "a reason that the standard does not know",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.words(), self.0)
    }
}
