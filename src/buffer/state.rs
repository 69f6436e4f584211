//! The one record that says where a buffer stands: written whole, with a checksum, in the same
//! SQLite transaction as the batches that it speaks of.
//!
//! Rows of batches carry an `id` that only ever rises (or, for a lead, stands before all others).
//! The number of a batch in its epoch is `id - base`, so that a new epoch renumbers everything that
//! is staged by writing this record alone.
//!
//! ```text
//!          base     floor     acked     visible     last
//!  ids ─────┴─────────┴─────────┴──────────┴──────────┴──►
//!           sequence  forgotten acknow-    behind      parts of a
//!           0         up to     ledged     a commit    transaction
//! ```

use serde::{Deserialize, Serialize};

use crate::position::{Checkpoint, Sequence};

use super::fault::Fault;

/// Where a buffer stands.
#[derive(Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The start of the machine in which it was last opened.
    pub(super) boot_id: String,
    /// Whether it was closed, and nothing written since.
    pub(super) clean: bool,
    /// How often it has been opened; the lock's file has the same number, unless one of the two was
    /// replaced.
    pub(super) opened: u64,
    /// 1 and up.
    pub(super) epoch: u64,
    /// The id that stands for [`Sequence::START`].
    pub(super) base: i64,
    /// The last id that has been forgotten: always the end of a commit.
    pub(super) floor: i64,
    /// The checksum of the batch `floor`, while it is of this epoch.
    pub(super) floor_crc: u32,
    /// The last id that has been acknowledged.
    pub(super) acked: i64,
    /// The last id that is behind a commit.
    pub(super) visible: i64,
    /// Where reading would go on if every row were lost; encoded; empty if it is not known.
    pub(super) floor_checkpoint: Vec<u8>,
    /// Where reading goes on; encoded; empty if nothing was ever committed.
    pub(super) checkpoint: Vec<u8>,
    /// The last batch that was forgotten because it was acknowledged, by epoch and number: the collector
    /// must have it. Epoch 0 if none ever was.
    pub(super) forgotten: (u64, Sequence),
    /// Where reading began in the life of this buffer; encoded; empty if it is not known.
    pub(super) began: Vec<u8>,
    /// How far was read when a prepared transaction was found broken; encoded; empty if none ever was.
    pub(super) again: Vec<u8>,
}

/// `clone_from` keeps the memory that it has: one is copied for each write.
impl Clone for State {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, other: &Self) {
        let Self {
            boot_id,
            clean,
            opened,
            epoch,
            base,
            floor,
            floor_crc,
            acked,
            visible,
            floor_checkpoint,
            checkpoint,
            forgotten,
            began,
            again,
        } = self;
        boot_id.clone_from(&other.boot_id);
        *clean = other.clean;
        *opened = other.opened;
        *epoch = other.epoch;
        *base = other.base;
        *floor = other.floor;
        *floor_crc = other.floor_crc;
        *acked = other.acked;
        *visible = other.visible;
        floor_checkpoint.clone_from(&other.floor_checkpoint);
        checkpoint.clone_from(&other.checkpoint);
        *forgotten = other.forgotten;
        began.clone_from(&other.began);
        again.clone_from(&other.again);
    }
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        sealed(self, Vec::with_capacity(RECORD_BYTES_USUAL))
    }

    /// The same in memory that is there.
    pub(super) fn encode_in(&self, space: Vec<u8>) -> Vec<u8> {
        sealed(self, space)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        unseal(bytes)
            .and_then(|plain| postcard::from_bytes(plain).ok())
            .ok_or_else(|| Fault::Damaged("its state record fails its checksum".to_owned()))
    }

    /// The id of a number in this epoch; `None` beyond all ids.
    pub(super) fn id(&self, sequence: Sequence) -> Option<i64> {
        self.base.checked_add_unsigned(sequence.0)
    }

    /// The number of an id at or behind `base`.
    pub(super) fn sequence(&self, id: i64) -> Sequence {
        Sequence(id.saturating_sub(self.base).max(0).unsigned_abs())
    }
}

/// A checkpoint as it is stored.
pub(super) fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    encode_checkpoint_in(checkpoint, Vec::with_capacity(RECORD_BYTES_USUAL))
}

/// The same in memory that is there.
pub(super) fn encode_checkpoint_in(checkpoint: &Checkpoint, space: Vec<u8>) -> Vec<u8> {
    sealed(checkpoint, space)
}

/// `None` for an empty field.
pub(super) fn decode_checkpoint(bytes: &[u8]) -> Result<Option<Checkpoint>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let checkpoint = unseal(bytes).and_then(|plain| postcard::from_bytes(plain).ok());
    checkpoint.map(Some).ok_or_else(|| Fault::Damaged("a checkpoint fails its checksum".to_owned()))
}

/// What [`seal`] makes of a record.
fn sealed(record: &impl Serialize, mut space: Vec<u8>) -> Vec<u8> {
    space.clear();
    let space = postcard::to_extend(&[0; CRC_BYTES], space);
    let all = space.and_then(|space| postcard::to_extend(record, space));
    let mut all = all.expect("a record of plain values encodes");
    if let Some((crc, plain)) = all.split_first_chunk_mut::<CRC_BYTES>() {
        *crc = crc32c::crc32c(plain).to_le_bytes();
    }
    all
}

/// With a checksum in front.
pub(super) fn seal(plain: &[u8]) -> Vec<u8> {
    [&crc32c::crc32c(plain).to_le_bytes(), plain].concat()
}

/// What [`seal`] sealed, if it is whole.
pub(super) fn unseal(sealed: &[u8]) -> Option<&[u8]> {
    let (crc, plain) = sealed.split_first_chunk::<CRC_BYTES>()?;
    (crc32c::crc32c(plain) == u32::from_le_bytes(*crc)).then_some(plain)
}

/// The property that tests and fuzzers share: what has a sound checksum is read or refused, however an older or
/// a newer version wrote it, and what was read is written again as something that reads the same.
///
/// `input` is a record, or (twice) a checkpoint, without their checksums.
pub fn check_state(input: &[u8]) {
    let sealed = seal(input);
    if let Ok(state) = State::decode(&sealed) {
        assert_eq!(State::decode(&state.encode()).ok(), Some(state));
    }
    if let Ok(Some(checkpoint)) = decode_checkpoint(&sealed) {
        let again = decode_checkpoint(&encode_checkpoint(&checkpoint));
        assert_eq!(again.ok().flatten(), Some(checkpoint));
    }
    assert!(
        State::decode(input).is_err() || unseal(input).is_some(),
        "a checksum stands before it"
    );
}

/// Of the checksum.
const CRC_BYTES: usize = 4;
/// Most records are shorter.
const RECORD_BYTES_USUAL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_in_the_record_is_found() {
        let state = State { epoch: 7, base: -3, checkpoint: vec![1, 2], ..State::default() };
        let sound = state.encode();
        assert_eq!(State::decode(&sound).unwrap(), state);
        for bit in 0..sound.len() * 8 {
            let mut bad = sound.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(State::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn numbers_count_from_the_base() {
        let state = State { base: -3, ..State::default() };
        assert_eq!(state.id(Sequence(1)), Some(-2));
        assert_eq!(state.sequence(-2), Sequence(1));
        assert_eq!(state.id(Sequence(u64::MAX)), None);
    }
}
