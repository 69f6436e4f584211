//! The packets of MQTT 5 that we use, to and from bytes.
//!
//! The frame (first byte and length) is ours: a length is believed only within our own limit, and
//! the codec sees a packet only when it is whole, so that "more bytes needed" can only mean that the
//! packet is malformed. CONNECT, CONNACK, PUBLISH, SUBSCRIBE and SUBACK are `rumqttc`'s; PUBACK and
//! DISCONNECT are read here, because its codec knows neither all reasons nor the short forms.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5 as codec;
use rumqttc::v5::mqttbytes::{self as mqtt, valid_filter, valid_topic};

use super::{Reason, SessionError};

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QoS {
    /// Not acknowledged.
    AtMostOnce,
    /// Acknowledged by PUBACK.
    AtLeastOnce,
}

impl QoS {
    fn to_codec(self) -> mqtt::QoS {
        match self {
            Self::AtMostOnce => mqtt::QoS::AtMostOnce,
            Self::AtLeastOnce => mqtt::QoS::AtLeastOnce,
        }
    }

    fn from_codec(qos: mqtt::QoS) -> Option<Self> {
        match qos {
            mqtt::QoS::AtMostOnce => Some(Self::AtMostOnce),
            mqtt::QoS::AtLeastOnce => Some(Self::AtLeastOnce),
            mqtt::QoS::ExactlyOnce => None,
        }
    }
}

/// The message that the server publishes when a connection dies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// How surely.
    pub qos: QoS,
    /// Whether later subscribers see it too.
    pub retain: bool,
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// A topic, perhaps with wildcards.
    pub path: String,
    /// The highest quality of service wanted.
    pub qos: QoS,
}

/// A packet that was received.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Packet {
    Connect {
        connect: codec::Connect,
        will: Option<Will>,
        login: Option<(String, String)>,
    },
    ConnAck {
        session_present: bool,
        reason: Reason,
        properties: Option<codec::ConnAckProperties>,
    },
    /// `id` is there with QoS 1 only.
    Publish {
        topic: String,
        payload: Bytes,
        retain: bool,
        id: Option<u16>,
    },
    PubAck {
        id: u16,
        reason: Reason,
    },
    Subscribe {
        id: u16,
        filters: Vec<Filter>,
    },
    SubAck {
        id: u16,
        reasons: Vec<Reason>,
    },
    PingReq,
    PingResp,
    Disconnect {
        reason: Reason,
    },
}

impl Packet {
    /// For messages: what came.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "CONNECT",
            Self::ConnAck { .. } => "CONNACK",
            Self::Publish { .. } => "PUBLISH",
            Self::PubAck { .. } => "PUBACK",
            Self::Subscribe { .. } => "SUBSCRIBE",
            Self::SubAck { .. } => "SUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect { .. } => "DISCONNECT",
        }
    }

    /// Decodes one whole packet; `header_len` bytes of it are the first byte and the length.
    fn decode(mut frame: BytesMut, header_len: usize) -> Result<Self, SessionError> {
        let first = frame.first().copied().unwrap_or(0);
        let malformed = |what: &str| SessionError::Malformed { first, what: what.to_owned() };
        let body = frame.get(header_len..).unwrap_or(&[]);
        match (first, body) {
            (0x40, [a, b]) => {
                return Ok(Self::PubAck { id: id(*a, *b), reason: Reason::SUCCESS });
            }
            (0x40, [a, b, reason, ..]) => {
                return Ok(Self::PubAck { id: id(*a, *b), reason: Reason(*reason) });
            }
            (0xe0, []) => return Ok(Self::Disconnect { reason: Reason::SUCCESS }),
            (0xe0, [reason, ..]) => return Ok(Self::Disconnect { reason: Reason(*reason) }),
            (0xc0, []) => return Ok(Self::PingReq),
            (0xd0, []) => return Ok(Self::PingResp),
            (0x10 | 0x20 | 0x30..=0x3f | 0x82 | 0x90, _) => {}
            (0x50 | 0x62 | 0x70, _) => return Err(malformed("QoS 2 is not spoken here")),
            (0xa2 | 0xb0, _) => return Err(malformed("unsubscribing is not spoken here")),
            (0xf0, _) => return Err(malformed("AUTH is not spoken here")),
            _ => return Err(malformed("no packet begins like this")),
        }
        if first >> 4 == PUBLISH && !has_few_properties(first, body) {
            return Err(malformed("its properties are too long"));
        }
        // The codec's enums do not hold every reason, so these are taken from the bytes.
        let connack_reason = Reason(body.get(1).copied().unwrap_or(0));
        let suback_body = if first == 0x90 { body.to_vec() } else { Vec::new() };
        let packet = codec::Packet::read(&mut frame, None).map_err(|error| match error {
            mqtt::Error::InvalidProtocolLevel(level) => SessionError::Version { level },
            mqtt::Error::InsufficientBytes(_) => malformed("it ends too early"),
            error => malformed(&error.to_string()),
        })?;
        match packet {
            codec::Packet::Connect(connect, will, login) => {
                let will = will.map(|will| will_from(will, malformed)).transpose()?;
                let login = login.map(|login| (login.username, login.password));
                Ok(Self::Connect { connect, will, login })
            }
            codec::Packet::ConnAck(ack) => Ok(Self::ConnAck {
                session_present: ack.session_present,
                reason: connack_reason,
                properties: ack.properties,
            }),
            codec::Packet::Publish(publish) => Self::publish(publish, malformed),
            codec::Packet::Subscribe(subscribe) => Self::subscribe(subscribe, malformed),
            codec::Packet::SubAck(ack) => {
                let skip = suback_body.len().saturating_sub(ack.return_codes.len());
                let reasons = suback_body.iter().skip(skip).map(|byte| Reason(*byte)).collect();
                Ok(Self::SubAck { id: ack.pkid, reasons })
            }
            _ => Err(malformed("another packet than its first byte says")),
        }
    }

    fn publish(
        publish: codec::Publish,
        malformed: impl Fn(&str) -> SessionError,
    ) -> Result<Self, SessionError> {
        let id = match QoS::from_codec(publish.qos) {
            Some(QoS::AtMostOnce) => None,
            Some(QoS::AtLeastOnce) => Some(publish.pkid),
            None => return Err(malformed("QoS 2 is not spoken here")),
        };
        if publish.properties.is_some_and(|properties| properties.topic_alias.is_some()) {
            return Err(malformed("a topic alias that was not allowed"));
        }
        let topic = topic_from(&publish.topic).ok_or_else(|| malformed("no valid topic"))?;
        Ok(Self::Publish { topic, payload: publish.payload, retain: publish.retain, id })
    }

    fn subscribe(
        subscribe: codec::Subscribe,
        malformed: impl Fn(&str) -> SessionError,
    ) -> Result<Self, SessionError> {
        if subscribe.pkid == 0 {
            return Err(malformed("packet identifier 0"));
        }
        // Whoever asks for QoS 2 is granted 1.
        let filter = |filter: codec::Filter| Filter {
            qos: QoS::from_codec(filter.qos).unwrap_or(QoS::AtLeastOnce),
            path: filter.path,
        };
        let filters = subscribe.filters.into_iter().map(filter).collect();
        Ok(Self::Subscribe { id: subscribe.pkid, filters })
    }
}

/// The bytes of the peer that do not yet make a packet; at most one packet's worth is kept.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: BytesMut,
    packet_bytes_max: usize,
    /// Packets that were taken off.
    taken: u64,
}

/// A packet that is arriving.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Begun {
    /// Which, counted from the connection's first.
    pub number: u64,
    /// Its whole length in bytes.
    pub bytes: usize,
    /// What of it is here.
    pub arrived: usize,
}

impl Inbox {
    pub(super) fn new(packet_bytes_max: u32) -> Self {
        Self { bytes: BytesMut::new(), packet_bytes_max: packet_bytes_max as usize, taken: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes = BytesMut::new();
    }

    /// The packet that is arriving, once its length is here; `None` if that is no length.
    pub(super) fn begun(&self) -> Option<Begun> {
        let (header_len, body_len) = outline(&self.bytes).ok()??;
        let (number, arrived) = (self.taken + 1, self.bytes.len());
        Some(Begun { number, bytes: header_len + body_len, arrived })
    }

    /// Takes the first whole packet off the front, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Packet>, SessionError> {
        let Some((header_len, body_len)) = outline(&self.bytes)? else { return Ok(None) };
        let frame_len = header_len + body_len;
        let is_message = self.bytes.first().is_some_and(|first| first >> 4 == PUBLISH);
        let own_max = if is_message { usize::MAX } else { CONTROL_BYTES_MAX };
        let bytes_max = self.packet_bytes_max.min(own_max);
        if frame_len > bytes_max {
            return Err(SessionError::TooLarge { bytes: frame_len, bytes_max });
        }
        if self.bytes.len() < frame_len {
            return Ok(None);
        }
        let frame = self.bytes.split_to(frame_len);
        self.taken += 1;
        if self.bytes.is_empty() {
            // What the largest packet needed is not kept for the next one.
            self.bytes = BytesMut::new();
        }
        Packet::decode(frame, header_len).map(Some)
    }
}

/// Whether a PUBLISH's properties are within their limit: in memory each is far longer than its bytes. What
/// ends too early is left to the codec (section 3.3.2).
fn has_few_properties(first: u8, body: &[u8]) -> bool {
    let Some((topic_len, rest)) = body.split_first_chunk() else { return true };
    let id_len = if first & 0b110 == 0 { 0 } else { 2 };
    let behind = rest.get(usize::from(u16::from_be_bytes(*topic_len)) + id_len..);
    let Some([low, high, ..]) = behind else { return true };
    // A length of one byte, or of two; longer ones are beyond the limit.
    let long = usize::from(high & 0x7f) << 7 | usize::from(low & 0x7f);
    low & 0x80 == 0 || high & 0x80 == 0 && long <= PROPERTIES_BYTES_MAX
}

/// The lengths of the first packet's header and body, once they have arrived (section 2.1.4).
fn outline(bytes: &[u8]) -> Result<Option<(usize, usize)>, SessionError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut body_len = 0;
    for (index, &byte) in rest.iter().take(LENGTH_BYTES_MAX).enumerate() {
        body_len |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, body_len)));
        }
    }
    if rest.len() < LENGTH_BYTES_MAX {
        return Ok(None);
    }
    Err(SessionError::Malformed { first, what: "its length has no end".to_owned() })
}

fn id(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

fn topic_from(bytes: &[u8]) -> Option<String> {
    let topic = std::str::from_utf8(bytes).ok()?;
    is_topic(topic).then(|| topic.to_owned())
}

/// Whether a message can be published there.
pub(super) fn is_topic(topic: &str) -> bool {
    is_text(topic) && !topic.is_empty() && valid_topic(topic)
}

/// Whether one can subscribe to it.
pub(super) fn is_filter(path: &str) -> bool {
    is_text(path) && valid_filter(path)
}

/// Whether a packet can carry it as a string (section 1.5.4).
pub(super) fn is_text(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && !text.contains('\0')
}

fn will_from(
    will: codec::LastWill,
    malformed: impl Fn(&str) -> SessionError,
) -> Result<Will, SessionError> {
    let qos = QoS::from_codec(will.qos).ok_or_else(|| malformed("a last will with QoS 2"))?;
    let topic = topic_from(&will.topic).ok_or_else(|| malformed("a last will without a topic"))?;
    Ok(Will { topic, payload: will.message, qos, retain: will.retain })
}

pub(super) fn connect(
    connect: codec::Connect,
    will: Option<&Will>,
    login: Option<codec::Login>,
) -> Bytes {
    let will = will.map(|will| codec::LastWill {
        topic: Bytes::copy_from_slice(will.topic.as_bytes()),
        message: will.payload.clone(),
        qos: will.qos.to_codec(),
        retain: will.retain,
        properties: None,
    });
    encode(&codec::Packet::Connect(connect, will, login))
}

pub(super) fn connack(session_present: bool, properties: codec::ConnAckProperties) -> Bytes {
    let code = codec::ConnectReturnCode::Success;
    let properties = Some(properties);
    encode(&codec::Packet::ConnAck(codec::ConnAck { session_present, code, properties }))
}

/// A CONNACK that says no.
pub(super) fn refusal(reason: Reason) -> Bytes {
    Bytes::copy_from_slice(&[0x20, 3, 0, reason.0, 0])
}

/// A PUBLISH, or why it cannot be one within `bytes_max`; `id` makes it QoS 1 and is filled in last.
pub(super) struct Publish(codec::Publish);

impl Publish {
    pub(super) fn new(
        topic: &str,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        bytes_max: u32,
    ) -> Result<Self, SessionError> {
        if !is_topic(topic) {
            return Err(SessionError::BadTopic);
        }
        let mut publish = codec::Publish::new(topic, qos.to_codec(), payload, None);
        publish.retain = retain;
        // Any number but 0 counts as two bytes.
        publish.pkid = u16::from(qos == QoS::AtLeastOnce);
        let (bytes, bytes_max) = (publish.size(), bytes_max.min(PACKET_BYTES_MAX) as usize);
        if bytes > bytes_max {
            return Err(SessionError::TooLarge { bytes, bytes_max });
        }
        Ok(Self(publish))
    }

    /// Bytes of what it carries.
    pub(super) fn payload_bytes(&self) -> usize {
        self.0.payload.len()
    }

    pub(super) fn encode(mut self, id: Option<u16>) -> Bytes {
        self.0.pkid = id.unwrap_or(0);
        encode(&codec::Packet::Publish(self.0))
    }
}

pub(super) fn puback(id: u16, reason: Reason) -> Bytes {
    let [high, low] = id.to_be_bytes();
    match reason {
        Reason::SUCCESS => Bytes::copy_from_slice(&[0x40, 2, high, low]),
        reason => Bytes::copy_from_slice(&[0x40, 4, high, low, reason.0, 0]),
    }
}

pub(super) fn subscribe(id: u16, filters: &[Filter]) -> Bytes {
    let filters = filters.iter().map(|f| codec::Filter::new(f.path.clone(), f.qos.to_codec()));
    let mut subscribe = codec::Subscribe::new_many(filters, None);
    subscribe.pkid = id;
    encode(&codec::Packet::Subscribe(subscribe))
}

/// How long a SUBSCRIBE with these filters is, at most.
pub(super) fn subscribe_bytes(filters: &[Filter]) -> usize {
    filters.iter().map(|filter| filter.path.len() + 3).sum::<usize>() + 8
}

pub(super) fn suback(id: u16, reasons: &[Reason]) -> Bytes {
    use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode as Code;
    let code = |reason: &Reason| match *reason {
        Reason::SUCCESS => Code::Success(mqtt::QoS::AtMostOnce),
        Reason(0x01) => Code::Success(mqtt::QoS::AtLeastOnce),
        Reason::NOT_AUTHORIZED => Code::NotAuthorized,
        Reason::TOPIC_FILTER => Code::TopicFilterInvalid,
        Reason::QUOTA => Code::QuotaExceeded,
        _ => Code::Unspecified,
    };
    let return_codes = reasons.iter().map(code).collect();
    encode(&codec::Packet::SubAck(codec::SubAck { pkid: id, return_codes, properties: None }))
}

pub(super) fn pingreq() -> Bytes {
    Bytes::from_static(&[0xc0, 0])
}

pub(super) fn pingresp() -> Bytes {
    Bytes::from_static(&[0xd0, 0])
}

pub(super) fn disconnect(reason: Reason) -> Bytes {
    match reason {
        Reason::SUCCESS => Bytes::from_static(&[0xe0, 0]),
        reason => Bytes::copy_from_slice(&[0xe0, 2, reason.0, 0]),
    }
}

fn encode(packet: &codec::Packet) -> Bytes {
    let mut bytes = BytesMut::with_capacity(packet.size());
    packet.write(&mut bytes, None).expect("sizes and identifiers were checked before");
    bytes.freeze()
}

const LENGTH_BYTES_MAX: usize = 4;
/// The type of the packets that carry messages; the others have no business being long.
const PUBLISH: u8 = 3;
/// The longest packet but a PUBLISH, in bytes: a CONNECT with a last will needs the most.
const CONTROL_BYTES_MAX: usize = 64 << 10;
/// The longest properties of a PUBLISH, in bytes; ours have none, and brokers add a few.
const PROPERTIES_BYTES_MAX: usize = 8 << 10;
/// The longest packet of the standard: a length of four bytes, 268,435,455, less our header.
const PACKET_BYTES_MAX: u32 = 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bytes: &[u8]) -> Result<Option<Packet>, SessionError> {
        let mut inbox = Inbox::new(1 << 20);
        inbox.push(bytes);
        inbox.take()
    }

    #[test]
    fn the_short_forms_are_read() {
        let packet = take(&[0xe0, 0]).unwrap();
        assert_eq!(packet, Some(Packet::Disconnect { reason: Reason::SUCCESS }));
        let packet = take(&[0xe0, 1, 0x8b]).unwrap();
        assert_eq!(packet, Some(Packet::Disconnect { reason: Reason::SHUTTING_DOWN }));
        let packet = take(&[0x40, 3, 0, 7, 0x95]).unwrap();
        assert_eq!(packet, Some(Packet::PubAck { id: 7, reason: Reason::PACKET_TOO_LARGE }));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_arrive() {
        let mut inbox = Inbox::new(1000);
        inbox.push(&[0x30, 0xe5, 0x07]);
        assert_eq!(inbox.take(), Ok(None), "1000 bytes with the header are allowed");
        let mut inbox = Inbox::new(1000);
        inbox.push(&[0x30, 0xe6, 0x07]);
        let error = inbox.take().unwrap_err();
        assert_eq!(error, SessionError::TooLarge { bytes: 1001, bytes_max: 1000 });
    }

    #[test]
    fn only_messages_may_be_long() {
        let mut inbox = Inbox::new(1 << 20);
        inbox.push(&[0x82, 0x80, 0x80, 0x20]);
        let error = inbox.take().unwrap_err();
        assert_eq!(error, SessionError::TooLarge { bytes: (512 << 10) + 4, bytes_max: 64 << 10 });
        // A SUBSCRIBE of many filters, or a PUBLISH of many properties, is far longer in memory.
        let property = [38, 0, 0, 0, 0];
        let publish = |count: usize| {
            let properties = property.repeat(count);
            let len = [properties.len() as u8 | 0x80, (properties.len() >> 7) as u8];
            let body = [&[0, 1, b't'], &len[..], &properties].concat();
            let head = [0x30, body.len() as u8 | 0x80, (body.len() >> 7) as u8];
            [&head[..], &body].concat()
        };
        assert!(matches!(take(&publish(1600)), Ok(Some(Packet::Publish { .. }))));
        let error = take(&publish(1700)).unwrap_err();
        assert!(error.to_string().contains("properties are too long"), "{error}");
    }

    #[test]
    fn what_is_arriving_is_known_from_its_first_bytes() {
        let mut inbox = Inbox::new(1 << 20);
        assert_eq!(inbox.begun(), None);
        inbox.push(&[0xc0, 0, 0x30, 0x80]);
        assert_eq!(inbox.begun(), Some(Begun { number: 1, bytes: 2, arrived: 4 }));
        inbox.take().unwrap().unwrap();
        assert_eq!(inbox.begun(), None, "its length is not here yet");
        inbox.push(&[0x01, 0]);
        assert_eq!(inbox.begun(), Some(Begun { number: 2, bytes: 131, arrived: 4 }));
    }

    #[test]
    fn a_length_without_end_is_malformed() {
        let error = take(&[0x30, 0x80, 0x80, 0x80, 0x80]).unwrap_err();
        assert!(error.to_string().contains("its length has no end"), "{error}");
        assert_eq!(take(&[0x30, 0x80, 0x80, 0x80]), Ok(None));
    }

    #[test]
    fn a_whole_packet_that_ends_too_early_is_malformed_not_awaited() {
        // A PUBLISH whose property length runs beyond the packet.
        assert!(take(&[0x30, 4, 0, 1, b't', 0x80]).is_err());
    }

    #[test]
    fn what_we_do_not_speak_is_named() {
        for (bytes, word) in [
            (&[0xf0, 0][..], "AUTH"),
            (&[0x34, 6, 0, 1, b't', 0, 9, 0], "QoS 2"),
            (&[0x62, 2, 0, 1], "QoS 2"),
            (&[0x30, 4, 0, 1, b'#', 0], "topic"),
            (&[0x30, 7, 0, 1, b't', 3, 35, 0, 1], "alias"),
            (&[0x00, 0], "begins"),
        ] {
            let error = take(bytes).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_message_keeps_its_size_promise() {
        for (len, qos) in [(0, QoS::AtMostOnce), (121, QoS::AtLeastOnce), (122, QoS::AtLeastOnce)] {
            let payload = Bytes::from(vec![7; len]);
            let id = (qos == QoS::AtLeastOnce).then_some(9);
            let publish = Publish::new("t", payload.clone(), qos, false, u32::MAX).unwrap();
            let bytes = publish.encode(id);
            let exact = bytes.len() as u32;
            assert!(Publish::new("t", payload.clone(), qos, false, exact).is_ok());
            assert!(Publish::new("t", payload.clone(), qos, false, exact - 1).is_err());
            let topic = "t".to_owned();
            let expected = Packet::Publish { topic, payload, retain: false, id };
            assert_eq!(take(&bytes), Ok(Some(expected)));
        }
    }
}
