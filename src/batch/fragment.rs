//! A batch that is larger than a message may be: cut into fragments at the edge, put together at the centre.
//!
//! ```text
//!  "RVLF" │ version │ epoch, sequence, checksum of the batch's message, its length, │ piece │ CRC32C of all
//!  4      │ 1       │ varint varint    4                                varint       │       │ before: 4
//!         │         └─ and where in it the piece begins: varint ────────────────────┤       │
//! ```
//!
//! The message that is cut is what [`super::frame`] makes, and its own checksum is what is verified when it
//! is whole again. Fragments come in order, each behind the one before: that is what the link promises, so
//! what comes otherwise means that something is missing, and the batch is asked for again. The first
//! fragment of any batch, or a whole batch, ends what was not finished.

use std::sync::Arc;

use super::BatchError;
use super::cursor::{Cursor, put_varint};
use super::header::Identity;

const MAGIC: &[u8; 4] = b"RVLF";
const VERSION: u8 = 1;

/// What a fragment adds to its piece, in bytes, at most.
const OVERHEAD_MAX: usize = 4 + 1 + 10 + 10 + 4 + 10 + 10 + 4;

/// No message is cut into smaller ones, in bytes: they would be little but overhead.
pub const FRAGMENT_BYTES_MIN: usize = 128;

/// A part of a batch's message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fragment<'a> {
    /// Whose part it is.
    pub whole: Whole,
    /// Where in the message the piece begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub piece: &'a [u8],
}

/// Which message was cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Whole {
    /// The batch's epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: u64,
    /// The message's checksum: its last four bytes.
    pub checksum: u32,
    /// The message's length, in bytes.
    pub len: u64,
}

impl<'a> Fragment<'a> {
    /// Whether these bytes begin as a fragment does.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Takes a fragment apart; its checksum is verified.
    ///
    /// # Errors
    /// It is none, or is damaged, or its piece lies outside of the message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let (all, sum) = bytes.split_last_chunk::<4>().ok_or(BatchError::Short("fragment"))?;
        let mut cursor = Cursor::new(all);
        if cursor.bytes(MAGIC.len(), "fragment: magic")? != MAGIC {
            return Err(BatchError::Unknown("fragment: magic", 0));
        }
        match cursor.u8("fragment: version")? {
            VERSION => {}
            other => return Err(BatchError::Unknown("fragment: version", u64::from(other))),
        }
        if crc32c::crc32c(all) != u32::from_le_bytes(*sum) {
            return Err(BatchError::Checksum("fragment"));
        }
        let whole = Whole {
            epoch: cursor.varint("fragment: epoch")?,
            sequence: cursor.varint("fragment: sequence")?,
            checksum: cursor.u32("fragment: the batch's checksum")?,
            len: cursor.varint("fragment: the batch's length")?,
        };
        let offset = cursor.varint("fragment: offset")?;
        let piece = cursor.bytes(cursor.left(), "fragment: piece")?;
        let end = offset.checked_add(piece.len() as u64);
        if piece.is_empty() || end.is_none_or(|end| end > whole.len) {
            return Err(BatchError::Malformed("fragment: offset", offset));
        }
        Ok(Self { whole, offset, piece })
    }

    /// The fragment's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Whole { epoch, sequence, checksum, len } = self.whole;
        let mut out = Vec::with_capacity(OVERHEAD_MAX + self.piece.len());
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put_varint(&mut out, epoch);
        put_varint(&mut out, sequence);
        out.extend_from_slice(&checksum.to_le_bytes());
        put_varint(&mut out, len);
        put_varint(&mut out, self.offset);
        out.extend_from_slice(self.piece);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }
}

/// A message on its way out in fragments: an iterator over their bytes.
#[derive(Clone, Debug)]
pub struct Fragments {
    whole: Whole,
    message: Vec<u8>,
    at: usize,
    piece_bytes_max: usize,
}

impl Fragments {
    /// Cuts `message`, the frame of the batch `identity`, so that no fragment is longer than
    /// `fragment_bytes_max`.
    ///
    /// # Errors
    /// The limit is below [`FRAGMENT_BYTES_MIN`].
    pub fn of(
        identity: &Identity,
        message: Vec<u8>,
        fragment_bytes_max: usize,
    ) -> Result<Self, BatchError> {
        if fragment_bytes_max < FRAGMENT_BYTES_MIN {
            return Err(BatchError::TooLarge("fragment"));
        }
        let checksum = message.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum));
        let whole = Whole {
            epoch: identity.epoch,
            sequence: identity.sequence.0,
            checksum,
            len: message.len() as u64,
        };
        Ok(Self { whole, message, at: 0, piece_bytes_max: fragment_bytes_max - OVERHEAD_MAX })
    }

    /// Bytes of the message that are still to leave.
    pub fn left(&self) -> usize {
        self.message.len().saturating_sub(self.at)
    }
}

impl Iterator for Fragments {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.message.get(self.at..).filter(|rest| !rest.is_empty())?;
        let piece = rest.get(..self.piece_bytes_max).unwrap_or(rest);
        let fragment = Fragment { whole: self.whole, offset: self.at as u64, piece };
        let bytes = fragment.encode();
        self.at += piece.len();
        Some(bytes)
    }
}

/// Where one sender's fragments become a message again. Holds what has arrived of one message, never more.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    state: State,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Idle,
    /// The pieces so far, and their length together. Shared, so that a copy of all this is cheap.
    Open(Whole, Vec<Arc<[u8]>>, u64),
    /// Something was missing before this offset; what follows of the same attempt is no news.
    Broken(Whole, u64),
}

/// What a fragment has led to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Assembled {
    /// More must come.
    Partly,
    /// The message, as it was cut; [`super::Message::parse`] verifies it.
    Wholly(Vec<u8>),
    /// Fragments before it are missing: the sender must begin again.
    Broken,
}

impl Assembler {
    /// Takes the next fragment, of a message of at most `message_bytes_max` bytes.
    ///
    /// # Errors
    /// The message is too large; what was there is forgotten.
    pub fn take(
        &mut self,
        fragment: &Fragment<'_>,
        message_bytes_max: u64,
    ) -> Result<Assembled, BatchError> {
        let Fragment { whole, offset, piece } = fragment;
        if whole.len > message_bytes_max {
            self.clear();
            return Err(BatchError::TooLarge("fragment: the batch's length"));
        }
        let end = offset.saturating_add(piece.len() as u64);
        match &mut self.state {
            _ if *offset == 0 => self.state = State::Open(*whole, vec![Arc::from(*piece)], end),
            State::Open(open, pieces, len) if open == whole && offset == len => {
                pieces.push(Arc::from(*piece));
                *len = end;
            }
            // A broker may say again what it was not told that we have.
            State::Open(open, _, len) if open == whole && end <= *len => {}
            State::Broken(broken, at) if broken == whole && *offset > *at => *at = *offset,
            _ => {
                self.state = State::Broken(*whole, *offset);
                return Ok(Assembled::Broken);
            }
        }
        match &self.state {
            State::Open(open, pieces, len) if *len == open.len => {
                let message = pieces.concat();
                self.clear();
                Ok(Assembled::Wholly(message))
            }
            _ => Ok(Assembled::Partly),
        }
    }

    /// Forgets what was not finished: another batch has begun.
    pub fn clear(&mut self) {
        self.state = State::Idle;
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        match &self.state {
            State::Open(_, _, len) => usize::try_from(*len).unwrap_or(usize::MAX),
            State::Idle | State::Broken(..) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::position::Sequence;

    use super::*;

    const LEN_MAX: u64 = 1 << 20;

    fn identity(sequence: u64) -> Identity {
        let sequence = Sequence(sequence);
        Identity { agent: "a".into(), epoch: 1, sequence, previous_crc: 0, follows: None }
    }

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index * 7 % 251) as u8).collect()
    }

    fn cut(sequence: u64, len: usize) -> Vec<Vec<u8>> {
        Fragments::of(&identity(sequence), message(len), FRAGMENT_BYTES_MIN).unwrap().collect()
    }

    fn give(assembler: &mut Assembler, bytes: &[u8]) -> Assembled {
        assembler.take(&Fragment::parse(bytes).unwrap(), LEN_MAX).unwrap()
    }

    #[test]
    fn a_message_survives_its_fragments_and_none_is_too_long() {
        for len in [1, 74, 75, 76, 150, 151, 5000] {
            let all = cut(9, len);
            let (last, first) = all.split_last().unwrap();
            let mut assembler = Assembler::default();
            for bytes in first {
                assert!(bytes.len() <= FRAGMENT_BYTES_MIN);
                assert_eq!(give(&mut assembler, bytes), Assembled::Partly);
            }
            assert_eq!(give(&mut assembler, last), Assembled::Wholly(message(len)));
            assert_eq!(assembler.bytes(), 0);
        }
    }

    #[test]
    fn a_missing_fragment_is_told_once_and_the_next_attempt_succeeds() {
        let all = cut(9, 1000);
        let mut assembler = Assembler::default();
        give(&mut assembler, &all[0]);
        assert_eq!(give(&mut assembler, &all[2]), Assembled::Broken);
        assert_eq!(assembler.bytes(), 0);
        for late in &all[3..] {
            assert_eq!(give(&mut assembler, late), Assembled::Partly);
        }
        assert_eq!(give(&mut assembler, &all[1]), Assembled::Broken, "another attempt, no start");
        let results: Vec<_> = all.iter().map(|bytes| give(&mut assembler, bytes)).collect();
        assert_eq!(results.last(), Some(&Assembled::Wholly(message(1000))));
    }

    #[test]
    fn what_is_said_twice_does_no_harm() {
        let all = cut(9, 300);
        let mut assembler = Assembler::default();
        for index in [0, 1, 1, 0, 1, 0, 1, 2, 1, 2] {
            assert_eq!(give(&mut assembler, &all[index]), Assembled::Partly, "{index}");
        }
        assert_eq!(give(&mut assembler, &all[3]), Assembled::Wholly(message(300)));
    }

    #[test]
    fn another_batch_ends_what_was_not_finished() {
        let (old, new) = (cut(9, 500), cut(10, 100));
        let mut assembler = Assembler::default();
        give(&mut assembler, &old[0]);
        assert_eq!(give(&mut assembler, &new[0]), Assembled::Partly);
        assert_eq!(give(&mut assembler, &old[1]), Assembled::Broken);
        assert_eq!(give(&mut assembler, &new[1]), Assembled::Broken);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_arrive() {
        let all = cut(9, 500);
        let fragment = Fragment::parse(&all[0]).unwrap();
        let mut assembler = Assembler::default();
        assert_eq!(assembler.take(&fragment, 500), Ok(Assembled::Partly));
        assert!(assembler.take(&fragment, 499).is_err());
        assert_eq!(assembler.bytes(), 0);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let bytes = cut(9, 200).remove(1);
        for len in 0..bytes.len() {
            assert!(Fragment::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(Fragment::parse(&damaged).is_err(), "flipped at {index}");
        }
    }

    #[test]
    fn a_limit_that_leaves_no_room_is_refused() {
        assert!(Fragments::of(&identity(1), message(9), FRAGMENT_BYTES_MIN - 1).is_err());
    }
}
