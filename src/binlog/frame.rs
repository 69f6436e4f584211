//! A binlog file's bytes, in any portions → whole events.
//!
//! ```text
//!  fe 62 69 6e | event | event | …         event = header of 19 bytes (length at +9), body, checksum
//! ```
//!
//! What is held is the part of one event that has arrived, plus what the caller pushed and did not
//! yet take out. No byte is moved more than once on average, whatever the portions.
//!
//! A compressed transaction (TRANSACTION_PAYLOAD) is one event however large the transaction is. It is not
//! waited for: it comes out in portions, as it arrives.

use std::fmt;

use super::header::{EventKind, HEADER_LEN};

/// The first four bytes of a binlog file.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
/// The first four bytes of a file that MySQL encrypted.
const MAGIC_ENCRYPTED: [u8; 4] = [0xfd, b'b', b'i', b'n'];

/// The largest event that is accepted by default, in bytes: the servers' largest packet, 1 GiB,
/// and a header.
pub const EVENT_BYTES_MAX: u32 = (1 << 30) + HEADER_LEN as u32;

/// A portion is no larger than this, however much has arrived.
const PORTION_MAX: u64 = 64 << 10;

/// Buffers beyond this are given back once the large event in them has been taken out.
const KEEP_BYTES: usize = 256 << 10;

/// Cuts a file's bytes into events.
#[derive(Clone, Debug)]
pub struct Framer {
    memory: Vec<u8>,
    /// Where the bytes that are not yet taken out start in `memory`.
    start: usize,
    /// Where they end; what is behind is room.
    end: usize,
    /// Where they start in the file.
    offset: u64,
    /// Bytes of the event at `offset` that were handed out, and that are to come, if it comes in portions.
    portions: Option<(u64, u64)>,
    event_bytes_max: u32,
    magic_seen: bool,
}

/// One event, or a portion of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Where the event starts in the file.
    pub offset: u64,
    /// Header, body and checksum, or a portion of them.
    pub bytes: &'a [u8],
    /// Which portion.
    pub part: Part,
}

/// Which part of an event some bytes are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first portion of a TRANSACTION_PAYLOAD: its header, and what there is behind it. It may be all.
    Head,
    /// A further portion, up to the next one or the event's end.
    Rest,
}

/// Whether an event that begins with these bytes comes in portions; `None` if they are too few to tell.
pub fn comes_in_portions(head: &[u8]) -> Option<bool> {
    let kind = head.get(..HEADER_LEN)?.get(4)?;
    Some(*kind == EventKind::TransactionPayload.code())
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// Expects a file from its first byte on.
    pub fn new() -> Self {
        Self {
            memory: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            portions: None,
            event_bytes_max: EVENT_BYTES_MAX,
            magic_seen: false,
        }
    }

    /// Expects a file from `offset` on, where an event must start; from 0 on it expects the magic.
    pub fn resume(offset: u64) -> Self {
        Self { offset, magic_seen: offset > 0, ..Self::new() }
    }

    /// The same, with another limit for the bytes of an event.
    #[must_use]
    pub fn with_event_bytes_max(mut self, event_bytes_max: u32) -> Self {
        self.event_bytes_max = event_bytes_max;
        self
    }

    /// Where the next event starts in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether an event has begun that has not come out whole.
    pub fn is_inside(&self) -> bool {
        self.pending() > 0 || self.portions.is_some()
    }

    /// Bytes held that are not yet taken out: once [`Self::next`] said `None`, those of an
    /// unfinished event.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Takes the file's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// Room for so many of the file's next bytes, so that they can be read into it; [`Self::filled`] says
    /// how many there were.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        // Move what is left to the front only if that is less than what was taken out before it.
        if self.start > 0 && self.pending() <= self.start {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.memory.len() > KEEP_BYTES && self.end < KEEP_BYTES / 2 {
                self.memory.truncate(KEEP_BYTES);
                self.memory.shrink_to_fit();
            }
        }
        let end = self.end.saturating_add(len);
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.memory.get_mut(self.end..end).unwrap_or_default()
    }

    /// So many bytes of the last [`Self::space`] are the file's.
    pub fn filled(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.memory.len());
    }

    fn held(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// The next event, if all of it has arrived, or the next portion of a TRANSACTION_PAYLOAD.
    ///
    /// Fails if the file is not a binlog or if a length cannot be right; the same again if called again.
    #[expect(clippy::should_implement_trait, reason = "the event borrows from the framer")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if !self.magic_seen && !self.take_magic()? {
            return Ok(None);
        }
        if self.portions.is_some() {
            return Ok(self.portion(Part::Rest));
        }
        let held = self.held();
        let Some(length) = held.get(9..HEADER_LEN).and_then(|bytes| bytes.first_chunk()) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let in_portions = comes_in_portions(held) == Some(true);
        // The limit is one for memory; what is not held has that of the servers.
        let length_max = if in_portions { EVENT_BYTES_MAX } else { self.event_bytes_max };
        if length < HEADER_LEN as u32 || length > length_max {
            return Err(FrameError::Length { offset: self.offset, length, length_max });
        }
        if in_portions {
            self.portions = Some((0, length.into()));
            return Ok(self.portion(Part::Head));
        }
        if held.len() < length as usize {
            return Ok(None);
        }
        let (offset, start) = (self.offset, self.start);
        self.start += length as usize;
        self.offset = self.offset.saturating_add(length.into());
        let bytes = self.memory.get(start..self.start).unwrap_or_default();
        Ok(Some(Frame { offset, bytes, part: Part::Whole }))
    }

    /// What there is of the event that comes in portions.
    fn portion(&mut self, part: Part) -> Option<Frame<'_>> {
        let (done, left) = self.portions?;
        let (held, start, offset) = (self.held().len(), self.start, self.offset);
        let count = held.min(left.min(PORTION_MAX) as usize);
        if count == 0 {
            return None;
        }
        self.start += count;
        self.portions = Some((done + count as u64, left - count as u64)).filter(|it| it.1 > 0);
        if self.portions.is_none() {
            self.offset = self.offset.saturating_add(done + count as u64);
        }
        let bytes = self.memory.get(start..self.start)?;
        Some(Frame { offset, bytes, part })
    }

    fn take_magic(&mut self) -> Result<bool, FrameError> {
        let Some(magic) = self.held().first_chunk() else { return Ok(false) };
        match *magic {
            MAGIC => {}
            MAGIC_ENCRYPTED => return Err(FrameError::Encrypted),
            magic => return Err(FrameError::Magic { magic }),
        }
        self.magic_seen = true;
        self.start += MAGIC.len();
        self.offset += MAGIC.len() as u64;
        Ok(true)
    }
}

/// A file that cannot be cut into events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// Not a binlog.
    Magic {
        /// What it begins with.
        magic: [u8; 4],
    },
    /// A binlog that MySQL encrypted.
    Encrypted,
    /// An event that claims fewer bytes than a header has, or more than the limit.
    Length {
        /// Where it starts in the file.
        offset: u64,
        /// What it claims.
        length: u32,
        /// The limit.
        length_max: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { magic: [a, b, c, d] } => {
                write!(f, "not a binlog: it begins with {a:02x} {b:02x} {c:02x} {d:02x}")
            }
            Self::Encrypted => f.write_str(
                "the file is encrypted: only its server can read it, so read through the server",
            ),
            Self::Length { offset, length, length_max } => write!(
                f,
                "the event at {offset} claims {length} bytes; possible are {HEADER_LEN} to {length_max}"
            ),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(len: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; len];
        bytes[9..13].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        bytes
    }

    fn file(lens: &[usize]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (index, len) in lens.iter().enumerate() {
            bytes.extend(event(*len, index as u8));
        }
        bytes
    }

    #[test]
    fn portions_make_no_difference() {
        let lens = [19, 40, 19, 5000, 21];
        let whole = file(&lens);
        for portion in [1, 2, 7, 18, 19, 20, 1000, whole.len()] {
            let mut framer = Framer::new();
            let (mut seen, mut offset) = (Vec::new(), 4);
            for part in whole.chunks(portion) {
                framer.push(part);
                while let Some(frame) = framer.next().unwrap() {
                    assert_eq!(frame.offset, offset);
                    offset += frame.bytes.len() as u64;
                    seen.push(frame.bytes.len());
                }
            }
            assert_eq!(seen, lens, "portions of {portion}");
            assert_eq!((framer.pending(), framer.offset()), (0, whole.len() as u64));
        }
    }

    #[test]
    fn a_payload_comes_out_as_it_arrives() {
        let mut whole = file(&[30, 500_000, 40]);
        whole[4 + 30 + 4] = 40;
        for portion in [1, 18, 19, 20, 5000, 100_000, whole.len()] {
            let mut framer = Framer::new().with_event_bytes_max(1000);
            let (mut seen, mut payload) = (Vec::new(), Vec::new());
            for part in whole.chunks(portion) {
                framer.push(part);
                while let Some(Frame { offset, bytes, part }) = framer.next().unwrap() {
                    if part == Part::Whole {
                        seen.push((offset, bytes.len()));
                        continue;
                    }
                    assert_eq!((offset, part == Part::Head), (34, payload.is_empty()));
                    assert!(bytes.len() <= 64 << 10 && (part == Part::Rest || bytes.len() >= 19));
                    payload.extend_from_slice(bytes);
                    assert_eq!(framer.is_inside(), payload.len() < 500_000 || framer.pending() > 0);
                }
                assert!(framer.memory.capacity() <= (2 * portion).max(KEEP_BYTES));
            }
            assert_eq!(seen, [(4, 30), (500_034, 40)]);
            assert!(payload == whole[34..500_034], "portions of {portion}");
            assert!(!framer.is_inside());
        }
    }

    #[test]
    fn a_torn_end_is_pending() {
        let mut whole = file(&[30, 30]);
        whole.truncate(4 + 30 + 11);
        let mut framer = Framer::new();
        framer.push(&whole);
        assert!(framer.next().unwrap().is_some());
        assert_eq!(framer.next(), Ok(None));
        assert_eq!((framer.pending(), framer.offset()), (11, 34));
    }

    #[test]
    fn a_file_is_read_on_from_its_middle() {
        let whole = file(&[30, 40]);
        let mut framer = Framer::resume(34);
        framer.push(&whole[34..]);
        assert_eq!(framer.next().unwrap().unwrap().offset, 34);
        assert_eq!(framer.offset(), 74);
    }

    #[test]
    fn what_is_no_binlog_is_refused() {
        let mut framer = Framer::new();
        framer.push(&[0xfd, b'b', b'i', b'n']);
        assert!(framer.next().unwrap_err().to_string().contains("through the server"));
        let mut framer = Framer::new();
        framer.push(b"SQLite");
        assert!(matches!(framer.next(), Err(FrameError::Magic { .. })));
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut framer = Framer::resume(4);
        let mut header = event(19, 0);
        header[9..13].copy_from_slice(&(1_u32 << 30).to_le_bytes());
        framer.push(&header);
        assert_eq!(framer.next(), Ok(None));
        assert!(framer.memory.capacity() < 1024);
        for length in [0, 18, EVENT_BYTES_MAX + 1] {
            header[9..13].copy_from_slice(&length.to_le_bytes());
            let mut framer = Framer::resume(4);
            framer.push(&header);
            assert!(matches!(framer.next(), Err(FrameError::Length { offset: 4, .. })), "{length}");
        }
    }

    #[test]
    fn a_large_event_does_not_keep_its_memory() {
        let mut framer = Framer::resume(4);
        framer.push(&event(4 << 20, 1));
        assert!(framer.next().unwrap().is_some());
        framer.push(&event(19, 2));
        assert!(framer.next().unwrap().is_some());
        assert!(framer.memory.capacity() <= 2 * KEEP_BYTES);
    }
}
