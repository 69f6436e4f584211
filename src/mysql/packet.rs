//! Packets: a length of three bytes, a sequence number, a payload. No I/O.
//!
//! ```text
//!   ┌───────────┬─────┬─────────┐  a payload of exactly 16 MiB - 1 goes on in the next packet;
//!   │ length: 3 │ seq │ payload │  one that ends there is closed by an empty packet
//!   └───────────┴─────┴─────────┘
//! ```
//!
//! Format: MySQL's manual, "MySQL Packets"; `sql-common/net_serv.cc`.

use std::fmt;

/// The payload length that says "to be continued".
pub const CHUNK: usize = 0xff_ffff;
/// No server sends more: the upper limit of `max_allowed_packet` (1 GiB), plus the byte before an event.
pub const PACKET_MAX: usize = (1 << 30) + 1;

/// How much is read at once, and what the buffer comes back to after a large packet.
const READ: usize = 64 << 10;
/// A buffer above this is given back when its packet is done.
const KEEP: usize = 256 << 10;

/// Collects received bytes and joins them to packets, in one buffer that is used again and again.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Bytes received: `bytes[..filled]`.
    filled: usize,
    /// Where the payload of the current packet starts (or its header, before that is read).
    start: usize,
    /// Bytes of payload after `start` that are known to be one piece.
    joined: usize,
    state: State,
    /// The sequence number that the next header must have.
    sequence: u8,
    packet_max: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Header,
    Body { left: usize, last: bool },
    Whole,
}

impl Inbox {
    /// An empty one that refuses packets above `packet_max` bytes (at most [`PACKET_MAX`]).
    pub fn new(packet_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            filled: 0,
            start: 0,
            joined: 0,
            state: State::Header,
            sequence: 0,
            packet_max: packet_max.min(PACKET_MAX),
        }
    }

    /// Sets the sequence number that the next packet must have: one after that of ours.
    pub fn expect(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// The sequence number of the next packet in either direction.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Whether any received byte is still unread: then more is at hand, or on its way.
    pub fn pending(&self) -> bool {
        let taken = if self.state == State::Whole { self.joined } else { 0 };
        self.filled > self.start + taken
    }

    /// Where the next bytes are to be written; never empty. Then say [`Inbox::filled`].
    ///
    /// Grows by what has arrived, never by what a header claims.
    pub fn space(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.filled < READ / 2 {
            self.bytes.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.filled < READ / 2 {
            let more = READ.max(self.filled / 4);
            self.bytes.reserve_exact(more);
            self.bytes.resize(self.filled + more, 0);
        }
        let end = self.bytes.len().min(self.filled + READ);
        &mut self.bytes[self.filled..end]
    }

    /// `count` bytes were written to [`Inbox::space`].
    pub fn filled(&mut self, count: usize) {
        self.filled = self.bytes.len().min(self.filled + count);
    }

    /// Whether a whole packet is at hand: [`Inbox::packet`].
    ///
    /// # Errors
    /// A sequence number out of turn, or a packet above the limit.
    pub fn poll(&mut self) -> Result<bool, PacketError> {
        loop {
            let end = self.start + self.joined;
            match self.state {
                State::Whole => return Ok(true),
                State::Header => {
                    let Some([a, b, c, sequence]) = self.bytes[..self.filled].get(end..end + 4)
                    else {
                        return Ok(false);
                    };
                    let left = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
                    let sequence = *sequence;
                    self.header(left, sequence)?;
                }
                State::Body { left, last } => {
                    let here = left.min(self.filled - end);
                    self.joined += here;
                    if here < left {
                        self.state = State::Body { left: left - here, last };
                        return Ok(false);
                    }
                    self.state = if last { State::Whole } else { State::Header };
                }
            }
        }
    }

    fn header(&mut self, left: usize, sequence: u8) -> Result<(), PacketError> {
        if sequence != self.sequence {
            return Err(PacketError::Sequence { wanted: self.sequence, found: sequence });
        }
        if self.joined + left > self.packet_max {
            return Err(PacketError::TooLarge { bytes: self.joined + left, max: self.packet_max });
        }
        self.sequence = sequence.wrapping_add(1);
        let end = self.start + self.joined;
        if self.joined == 0 {
            self.start += 4;
        } else {
            // Close the gap that the header leaves inside the payload; behind it is one read at most.
            self.bytes.copy_within(end + 4..self.filled, end);
            self.filled -= 4;
        }
        self.state = State::Body { left, last: left < CHUNK };
        Ok(())
    }

    /// The whole packet's payload; empty if there is none.
    pub fn packet(&self) -> &[u8] {
        match self.state {
            State::Whole => &self.bytes[self.start..self.start + self.joined],
            _ => &[],
        }
    }

    /// What has come of the current packet and was not forgotten.
    pub fn begun(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.joined).unwrap_or_default()
    }

    /// Whether the current packet has come to its end.
    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Forgets what has come of the current packet, so that it is never held whole. What is to come of it
    /// follows.
    pub fn forget_begun(&mut self) {
        self.start += self.joined;
        self.joined = 0;
    }

    /// Forgets the whole packet, so that the next can be polled.
    pub fn advance(&mut self) {
        if self.state != State::Whole {
            return;
        }
        self.start += self.joined;
        self.joined = 0;
        self.state = State::Header;
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
        }
        if self.bytes.len() > KEEP && self.filled - self.start <= READ {
            self.bytes.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
            self.bytes.truncate(READ);
            self.bytes.shrink_to_fit();
        }
    }
}

/// Appends a payload as one packet or more; returns the sequence number that comes next.
pub fn frame(payload: &[u8], mut sequence: u8, out: &mut Vec<u8>) -> u8 {
    let mut rest = payload;
    loop {
        let (chunk, behind) = rest.split_at(rest.len().min(CHUNK));
        let [a, b, c, _] = (chunk.len() as u32).to_le_bytes();
        out.extend_from_slice(&[a, b, c, sequence]);
        out.extend_from_slice(chunk);
        sequence = sequence.wrapping_add(1);
        rest = behind;
        if chunk.len() < CHUNK {
            return sequence;
        }
    }
}

/// A cursor over the fields of one packet. No read panics, whatever the bytes.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// From the first byte of a payload.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], PacketError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(PacketError::Short { field })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], PacketError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(PacketError::Short { field })?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, PacketError> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, PacketError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, PacketError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Up to a zero byte, or to the end.
    pub fn until_zero(&mut self) -> &'a [u8] {
        let mut parts = self.rest.splitn(2, |byte| *byte == 0);
        let head = parts.next().unwrap_or_default();
        self.rest = parts.next().unwrap_or_default();
        head
    }

    /// A length-encoded integer; `None` is the marker of NULL.
    pub fn lenenc(&mut self, field: &'static str) -> Result<Option<u64>, PacketError> {
        Ok(Some(match self.u8(field)? {
            small @ 0..=250 => u64::from(small),
            0xfb => return Ok(None),
            0xfc => u64::from(self.u16(field)?),
            0xfd => {
                let [a, b, c] = self.array(field)?;
                u64::from(u32::from_le_bytes([a, b, c, 0]))
            }
            0xfe => self.array(field).map(u64::from_le_bytes)?,
            0xff => return Err(PacketError::Invalid { field }),
        }))
    }

    /// Bytes behind their length; `None` is NULL.
    pub fn lenenc_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, PacketError> {
        let Some(count) = self.lenenc(field)? else { return Ok(None) };
        let count = usize::try_from(count).map_err(|_| PacketError::Invalid { field })?;
        self.bytes(count, field).map(Some)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Bytes that are not the packet they claim to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PacketError {
    /// A packet was lost or repeated, or this is not the protocol.
    Sequence {
        /// The number that had to come.
        wanted: u8,
        /// The number that came.
        found: u8,
    },
    /// Larger than the limit that was set.
    TooLarge {
        /// Bytes so far announced.
        bytes: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The packet ends inside this field.
    Short {
        /// Its name.
        field: &'static str,
    },
    /// This field has a value that it cannot have.
    Invalid {
        /// Its name.
        field: &'static str,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence { wanted, found } => {
                write!(f, "packet number {found} came where {wanted} was due")
            }
            Self::TooLarge { bytes, max } => {
                write!(f, "a packet of {bytes} bytes or more is above the limit of {max}")
            }
            Self::Short { field } => write!(f, "the packet ends inside `{field}`"),
            Self::Invalid { field } => write!(f, "`{field}` has a value that is not legal"),
        }
    }
}

impl std::error::Error for PacketError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbox: &mut Inbox, mut bytes: &[u8], step: usize) {
        while !bytes.is_empty() {
            let space = inbox.space();
            let count = space.len().min(step).min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn packets_come_out_whatever_the_portions() {
        let mut wire = Vec::new();
        let next = frame(b"one", 0, &mut wire);
        let next = frame(b"", next, &mut wire);
        frame(&[7; 300_000], next, &mut wire);
        for step in [1, 3, 4, 5, 1000, 70_000] {
            let mut inbox = Inbox::new(PACKET_MAX);
            let mut found = Vec::new();
            for portion in wire.chunks(step) {
                feed(&mut inbox, portion, step);
                while inbox.poll().unwrap() {
                    found.push(inbox.packet().to_vec());
                    inbox.advance();
                }
            }
            assert_eq!(found, [b"one".to_vec(), vec![], vec![7; 300_000]], "step {step}");
            assert!(!inbox.pending());
            assert!(inbox.bytes.len() <= KEEP);
        }
    }

    #[test]
    fn a_payload_of_many_chunks_is_joined() {
        for len in [CHUNK - 1, CHUNK, CHUNK + 5, 2 * CHUNK] {
            let payload: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
            let mut wire = Vec::new();
            frame(&payload, 250, &mut wire);
            frame(b"behind", wire_packets(len).wrapping_add(250), &mut wire);
            let mut inbox = Inbox::new(PACKET_MAX);
            inbox.expect(250);
            let mut at = 0;
            while !inbox.poll().unwrap() {
                let space = inbox.space();
                let count = space.len().min(wire.len() - at);
                space[..count].copy_from_slice(&wire[at..at + count]);
                inbox.filled(count);
                at += count;
            }
            assert!(inbox.packet() == payload, "{len}");
            inbox.advance();
            feed(&mut inbox, &wire[at..], READ);
            assert!(inbox.poll().unwrap());
            assert_eq!(inbox.packet(), b"behind");
        }
    }

    fn wire_packets(len: usize) -> u8 {
        (len / CHUNK + 1) as u8
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut inbox = Inbox::new(PACKET_MAX);
        feed(&mut inbox, &[0xfe, 0xff, 0xff, 0, 1, 2, 3], 7);
        assert!(!inbox.poll().unwrap());
        inbox.space();
        assert!(inbox.bytes.len() <= 2 * READ);
    }

    #[test]
    fn limits_and_order_are_kept() {
        let mut inbox = Inbox::new(10);
        feed(&mut inbox, &[11, 0, 0, 0], 4);
        assert_eq!(inbox.poll(), Err(PacketError::TooLarge { bytes: 11, max: 10 }));
        let mut inbox = Inbox::new(10);
        feed(&mut inbox, &[1, 0, 0, 3, 9], 5);
        assert_eq!(inbox.poll(), Err(PacketError::Sequence { wanted: 0, found: 3 }));
    }

    #[test]
    fn fields_end_without_panic() {
        let mut fields = Fields::new(&[0xfc, 0x10]);
        assert_eq!(fields.lenenc("n"), Err(PacketError::Short { field: "n" }));
        let mut fields = Fields::new(&[0xfb, 0xfd, 1, 0, 0, 2, b'a', b'b']);
        assert_eq!(fields.lenenc_bytes("n"), Ok(None));
        assert_eq!(fields.lenenc("n"), Ok(Some(1)));
        assert_eq!(fields.lenenc_bytes("n"), Ok(Some(&b"ab"[..])));
        let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(Fields::new(&huge).lenenc_bytes("n").is_err());
    }
}
