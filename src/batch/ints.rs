//! Columns of integers, packed in the layout that takes the fewest bytes of those that promise something.
//!
//! ```text
//!  tag 0  constant   value: varint
//!  tag 1  frame      base: varint, width: u8, then n values of `width` bits, LSB first
//!  tag 2  deltas     first: varint, base: varint, width: u8, then n-1 zigzag deltas of `width` bits; only of format 1
//!  tag 3  steps      step: varint, base: varint, width: u8, then n multiples of the step, of `width` bits
//!  tag 4  few        count: u8, the values: varint each, width: u8, then n indices of `width` bits
//!  tag 5  runs       count: varint, at most n / 3, then their lengths and the value of each, both columns without runs
//! ```
//!
//! | tag | what is packed in the layout of tag t: 0, 1, 3 or 4 |
//! |---|---|
//! | t | the values |
//! | 8 + t | behind the first, a varint: the n - 1 differences to the value before, modulo 2⁶⁴ and zigzagged |
//! | 16 + t, 24 + t | the same of the differences to what the values stand beside, modulo 2⁶⁴ and zigzagged |
//!
//! The number of values stands outside, and so does what they stand beside: `body::LAST_OFFSET`, `body::OFFSET`.

use super::BatchError;
use super::cursor::{Cursor, put_varint};

const CONSTANT: u8 = 0;
const FRAME: u8 = 1;
const FRAMED_DELTAS: u8 = 2;
const STEPS: u8 = 3;
const FEW: u8 = 4;
const RUNS: u8 = 5;
/// With the layout of what is packed.
const DELTAS: u8 = 8;
const BESIDE: u8 = 16;

/// Values that a column of few has at most.
const FEW_MAX: usize = 16;

/// Appends `count` times the same value, as [`encode`] does.
pub(super) fn encode_same(value: u64, count: usize, out: &mut Vec<u8>) {
    if count > 0 {
        out.push(CONSTANT);
        put_varint(out, value);
    }
}

/// Appends the values in the layout that takes the fewest bytes, as far as a first look tells. Working space is left
/// behind them.
pub(super) fn encode(values: &mut Vec<u64>, out: &mut Vec<u8>) {
    let Some(plan) = Plan::of(values) else { return };
    let count = values.len();
    if plan.bytes > RUNS_BYTES
        && let Some(runs) = few_runs(values)
    {
        values.resize(count + 2 * runs, 0);
        let (all, space) = values.split_at_mut(count);
        let (lengths, each) = space.split_at_mut(runs);
        for ((run, len), value) in all.chunk_by(u64::eq).zip(&mut *lengths).zip(&mut *each) {
            (*len, *value) = (run.len() as u64, run.first().copied().unwrap_or_default());
        }
        if let (Some(by_len), Some(by_value)) = (Plan::of(lengths), Plan::of(each))
            && varint_bytes(runs as u64) + 2 + by_len.bytes + by_value.bytes < plan.bytes
        {
            out.push(RUNS);
            put_varint(out, runs as u64);
            by_len.encode(0, lengths, out);
            return by_value.encode(0, each, out);
        }
    }
    plan.encode(0, values.get(..count).unwrap_or_default(), out);
}

/// How many runs of the same value there are, if they are few.
fn few_runs(values: &[u64]) -> Option<usize> {
    let first = values.get(..PORTION).unwrap_or(values);
    let runs = |values: &[u64]| values.chunk_by(u64::eq).count();
    // Most columns show at once that neighbours differ.
    let few = |values: &[u64], runs: usize| (2..=values.len() / RUN_MIN).contains(&runs);
    (runs(first) <= first.len() / RUN_MIN).then(|| runs(values)).filter(|runs| few(values, *runs))
}

/// Values that a run has at least, all runs taken together. It limits what their lengths take in memory.
const RUN_MIN: usize = 3;

/// Runs seldom take fewer bytes than this.
const RUNS_BYTES: usize = 8;

/// The same, or their [`difference`]s to what they stand beside if these take fewer bytes.
pub(super) fn encode_beside(values: &mut Vec<u64>, differences: &[u64], out: &mut Vec<u8>) {
    let start = out.len();
    encode(values, out);
    if let Some(beside) = Plan::of(differences).filter(|plan| 1 + plan.bytes < out.len() - start) {
        out.truncate(start);
        beside.encode(BESIDE, differences, out);
    }
}

/// Of a value to what it stands beside, small if it is a little more or less.
pub(super) fn difference(value: u64, beside: u64) -> u64 {
    zigzag(value.wrapping_sub(beside))
}

/// The value that has this [`difference`].
pub(super) fn apply(difference: u64, beside: u64) -> u64 {
    beside.wrapping_add(unzigzag(difference))
}

/// How a column takes the fewest bytes.
struct Plan {
    first: u64,
    /// Whether the differences between neighbours are packed.
    deltas: bool,
    layout: Layout,
    /// Without the tag.
    bytes: usize,
}

impl Plan {
    /// `None` for no values.
    fn of(values: &[u64]) -> Option<Self> {
        let first = *values.first()?;
        let Ranges { min, max, deltas: delta_range } = Ranges::of(values, first);
        let (layout, bytes) = Layout::of(values.iter().copied(), min, max);
        let plain = Self { first, deltas: false, layout, bytes };
        let Some((min, max)) = delta_range.filter(|_| min < max) else { return Some(plain) };
        let (layout, bytes) = Layout::of(deltas(values), min, max);
        let by_delta = Self { first, deltas: true, layout, bytes: varint_bytes(first) + bytes };
        Some(if by_delta.bytes < plain.bytes { by_delta } else { plain })
    }

    fn encode(&self, beside: u8, values: &[u64], out: &mut Vec<u8>) {
        if self.deltas {
            out.push(beside | DELTAS | self.layout.tag());
            put_varint(out, self.first);
            self.layout.encode(deltas(values), out);
        } else {
            out.push(beside | self.layout.tag());
            self.layout.encode(values.iter().copied(), out);
        }
    }
}

/// How values are packed, those of a column or the differences between them.
enum Layout {
    Constant(u64),
    Frame { base: u64, width: u32 },
    Steps { step: u64, base: u64, width: u32 },
    Few(Few),
}

impl Layout {
    /// The one that takes the fewest bytes for values between `min` and `max`; and how many, without its tag.
    fn of(values: impl ExactSizeIterator<Item = u64> + Clone, min: u64, max: u64) -> (Self, usize) {
        if min == max {
            return (Self::Constant(min), varint_bytes(min));
        }
        let (count, width) = (values.len(), bits(max - min));
        let mut best = Self::Frame { base: min, width };
        let mut least = varint_bytes(min) + packed_bytes(count, width);
        if width == 1 {
            return (best, least);
        }
        let step = step(values.clone(), min);
        let width = bits((max - min) / step);
        let bytes = varint_bytes(step) + varint_bytes(min) + packed_bytes(count, width);
        if bytes < least {
            (best, least) = (Self::Steps { step, base: min, width }, bytes);
        }
        match Few::of(values, least) {
            Some(few) => {
                least = few.bytes(count);
                (Self::Few(few), least)
            }
            None => (best, least),
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Constant(_) => CONSTANT,
            Self::Frame { .. } => FRAME,
            Self::Steps { .. } => STEPS,
            Self::Few(_) => FEW,
        }
    }

    fn encode(&self, values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
        match *self {
            Self::Constant(value) => put_varint(out, value),
            Self::Frame { base, width } => {
                put_varint(out, base);
                pack(values.map(|value| value - base), width, out);
            }
            Self::Steps { step, base, width } => {
                put_varint(out, step);
                put_varint(out, base);
                pack(values.map(|value| (value - base) / step), width, out);
            }
            Self::Few(ref few) => few.encode(values, out),
        }
    }

    /// Reads `count` values that are packed as `tag` says.
    fn decode(
        tag: u8,
        cursor: &mut Cursor<'_>,
        count: usize,
        put: &mut dyn FnMut(u64),
    ) -> Result<(), BatchError> {
        match tag {
            CONSTANT => {
                let value = cursor.varint("integers: constant")?;
                (0..count).for_each(|_| put(value));
                Ok(())
            }
            FRAME => {
                let base = cursor.varint("integers: base")?;
                unpack(cursor, count, |value| put(base.wrapping_add(value)))
            }
            STEPS => {
                let step = cursor.varint("integers: step")?;
                let base = cursor.varint("integers: base")?;
                unpack(cursor, count, |value| put(base.wrapping_add(value.wrapping_mul(step))))
            }
            FEW => Few::decode(cursor, count, put),
            _ => Err(BatchError::Malformed("integers: layout", u64::from(tag))),
        }
    }
}

/// The least and the greatest value, and of the differences between neighbours.
struct Ranges {
    min: u64,
    max: u64,
    /// `None` if they are no closer to each other than the values are.
    deltas: Option<(u64, u64)>,
}

impl Ranges {
    fn of(values: &[u64], first: u64) -> Self {
        let (mut min, mut max, mut last, mut deltas) = (first, first, first, Some((u64::MAX, 0)));
        for portion in values.get(1..).unwrap_or_default().chunks(PORTION) {
            for value in portion {
                (min, max) = (min.min(*value), max.max(*value));
            }
            if let Some((mut least, mut most)) = deltas {
                for value in portion {
                    let delta = zigzag(value.wrapping_sub(last));
                    (least, most, last) = (least.min(delta), most.max(delta), *value);
                }
                // Most columns show at once that neighbours have nothing in common.
                deltas = Some((least, most)).filter(|_| most - least <= max - min);
            }
        }
        Self { min, max, deltas }
    }
}

/// So many values are looked at before it is decided whether their differences or runs are worth it.
const PORTION: usize = 64;

/// The greatest number that all differences are multiples of; most columns tell after a few values that it is 1.
fn step(values: impl Iterator<Item = u64>, base: u64) -> u64 {
    let mut step = 0;
    for value in values {
        let (mut a, mut b) = (value.abs_diff(base), step);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        step = a;
        if step == 1 {
            break;
        }
    }
    step.max(1)
}

/// The different values of a column that has few of them, in the order in which they came.
struct Few {
    values: [u64; FEW_MAX],
    len: usize,
    /// What they take as varints.
    bytes: usize,
    /// Index + 1 of values by their [`slot`], or in a slot behind it; 0 where there is none.
    slots: [u8; SLOTS],
}

/// Four times as many as values, so that most are where they are looked for.
const SLOTS: usize = 4 * FEW_MAX;

/// Where a value is looked for first.
fn slot(value: u64) -> usize {
    // Fibonacci hashing: the upper bits of the product depend on all bits.
    (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SLOTS.trailing_zeros())) as usize
}

impl Few {
    /// `None` if they take this many bytes or more.
    fn of(values: impl ExactSizeIterator<Item = u64>, bytes_max: usize) -> Option<Self> {
        let count = values.len();
        let mut few = Self { values: [0; FEW_MAX], len: 0, bytes: 0, slots: [0; SLOTS] };
        for value in values {
            if let Err(free) = few.find(value) {
                *few.values.get_mut(few.len)? = value;
                few.len += 1;
                few.bytes += varint_bytes(value);
                *few.slots.get_mut(free)? = few.len as u8;
                if few.bytes(count) >= bytes_max {
                    return None;
                }
            }
        }
        Some(few)
    }

    fn known(&self) -> &[u64] {
        self.values.get(..self.len).unwrap_or_default()
    }

    /// A value's index, or the slot that is free for it.
    fn find(&self, value: u64) -> Result<usize, usize> {
        let mut at = slot(value);
        loop {
            let index = self.slots.get(at).map_or(0, |index| usize::from(*index));
            match index.checked_sub(1) {
                None => return Err(at),
                Some(index) if self.values.get(index) == Some(&value) => return Ok(index),
                Some(_) => at = (at + 1) % SLOTS,
            }
        }
    }

    fn width(&self) -> u32 {
        bits(self.len as u64 - 1)
    }

    fn bytes(&self, count: usize) -> usize {
        1 + self.bytes + packed_bytes(count, self.width())
    }

    fn encode(&self, values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
        out.push(self.len as u8);
        self.known().iter().for_each(|value| put_varint(out, *value));
        let indices = values.map(|value| self.find(value).unwrap_or_default() as u64);
        pack(indices, self.width(), out);
    }

    fn decode(
        cursor: &mut Cursor<'_>,
        count: usize,
        put: &mut dyn FnMut(u64),
    ) -> Result<(), BatchError> {
        let len = cursor.u8("integers: different values")?;
        let mut values = [0; FEW_MAX];
        let Some(known) = values.get_mut(..usize::from(len)) else {
            return Err(BatchError::Malformed("integers: different values", u64::from(len)));
        };
        for value in known.iter_mut() {
            *value = cursor.varint("integers: value")?;
        }
        let mut unknown = None;
        unpack(cursor, count, |index| {
            let value = usize::try_from(index).ok().and_then(|index| known.get(index));
            if value.is_none() {
                unknown = Some(index);
            }
            put(value.copied().unwrap_or_default());
        })?;
        match unknown {
            Some(index) => Err(BatchError::Malformed("integers: index", index)),
            None => Ok(()),
        }
    }
}

/// Reads `count` values behind the cursor, handing each to `put`.
///
/// One code for all that is read: a copy for each closure would take more of a small program than it is worth.
pub(super) fn decode(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut put: impl FnMut(u64),
) -> Result<(), BatchError> {
    match tag(cursor, count)? {
        Some(tag) => decode_tagged(tag, cursor, count, &mut put),
        None => Ok(()),
    }
}

/// The same of values that stand beside others: tells what was read.
pub(super) fn decode_beside(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut put: impl FnMut(u64),
) -> Result<Beside, BatchError> {
    match tag(cursor, count)? {
        Some(tag) if tag & BESIDE > 0 => {
            decode_plan(tag ^ BESIDE, cursor, count, &mut put)?;
            return Ok(Beside::Differences);
        }
        Some(tag) => decode_tagged(tag, cursor, count, &mut put)?,
        None => {}
    }
    Ok(Beside::Values)
}

/// What [`encode_beside`] wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beside {
    Values,
    /// To be [applied](apply).
    Differences,
}

/// `None` if there are no values, which have no layout.
fn tag(cursor: &mut Cursor<'_>, count: usize) -> Result<Option<u8>, BatchError> {
    (count > 0).then(|| cursor.u8("integers: layout")).transpose()
}

fn decode_tagged(
    tag: u8,
    cursor: &mut Cursor<'_>,
    count: usize,
    put: &mut dyn FnMut(u64),
) -> Result<(), BatchError> {
    match tag {
        RUNS => {}
        FRAMED_DELTAS => return decode_plan(DELTAS | FRAME, cursor, count, put),
        tag => return decode_plan(tag, cursor, count, put),
    }
    let runs = cursor.varint("integers: runs")?;
    let possible = 1..=count / RUN_MIN;
    let Some(runs) = usize::try_from(runs).ok().filter(|runs| possible.contains(runs)) else {
        return Err(BatchError::Malformed("integers: runs", runs));
    };
    let (mut lengths, mut total) = (Vec::with_capacity(runs), 0u64);
    let tag = cursor.u8("integers: layout")?;
    decode_plan(tag, cursor, runs, &mut |len| {
        total = total.saturating_add(len);
        lengths.push(len);
    })?;
    if total != count as u64 {
        return Err(BatchError::Malformed("integers: lengths of runs", total));
    }
    let mut lengths = lengths.into_iter();
    let tag = cursor.u8("integers: layout")?;
    decode_plan(tag, cursor, runs, &mut |value| {
        (0..lengths.next().unwrap_or(0)).for_each(|_| put(value));
    })
}

fn decode_plan(
    tag: u8,
    cursor: &mut Cursor<'_>,
    count: usize,
    put: &mut dyn FnMut(u64),
) -> Result<(), BatchError> {
    if tag & DELTAS == 0 {
        return Layout::decode(tag, cursor, count, put);
    }
    let mut value = cursor.varint("integers: first")?;
    put(value);
    Layout::decode(tag ^ DELTAS, cursor, count - 1, &mut |delta| {
        value = value.wrapping_add(unzigzag(delta));
        put(value);
    })
}

/// The differences between neighbours, zigzagged so that small steps down are small too.
fn deltas(values: &[u64]) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
    values.windows(2).map(|pair| match pair {
        [a, b] => zigzag(b.wrapping_sub(*a)),
        _ => 0,
    })
}

fn zigzag(value: u64) -> u64 {
    (value << 1) ^ (((value as i64) >> 63) as u64)
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

fn bits(range: u64) -> u32 {
    u64::BITS - range.leading_zeros()
}

/// Of a varint.
fn varint_bytes(value: u64) -> usize {
    bits(value | 1).div_ceil(7) as usize
}

/// Of a width and so many values.
fn packed_bytes(count: usize, width: u32) -> usize {
    1 + (count * width as usize).div_ceil(8)
}

fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    out.push(width as u8);
    let (mut pending, mut filled) = (0u64, 0u32);
    for value in values {
        pending |= value << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= u64::BITS;
            // What did not fit: nothing, if the value ended where the word does.
            pending = value.checked_shr(width - filled).unwrap_or(0);
        }
    }
    let rest = filled.div_ceil(8) as usize;
    out.extend_from_slice(pending.to_le_bytes().get(..rest).unwrap_or_default());
}

fn unpack(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut put: impl FnMut(u64),
) -> Result<(), BatchError> {
    let width = u32::from(cursor.u8("integers: width")?);
    if width > u64::BITS {
        return Err(BatchError::Malformed("integers: width", u64::from(width)));
    }
    let len = (count as u64 * u64::from(width)).div_ceil(8);
    let packed = cursor.bytes(usize::try_from(len).unwrap_or(usize::MAX), "integers: packed")?;
    let mask = ((1u128 << width) - 1) as u64;
    let (mut pending, mut filled) = (0u128, 0u32);
    let mut bytes = packed.iter();
    for _ in 0..count {
        while filled < width {
            let Some(byte) = bytes.next() else { break };
            pending |= u128::from(*byte) << filled;
            filled += 8;
        }
        put(pending as u64 & mask);
        pending >>= width;
        filled = filled.saturating_sub(width);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn encoded(values: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut values.to_vec(), &mut bytes);
        bytes
    }

    fn round(values: &[u64]) -> usize {
        let bytes = encoded(values);
        let (mut cursor, mut back) = (Cursor::new(&bytes), Vec::new());
        decode(&mut cursor, values.len(), |value| back.push(value)).unwrap();
        assert_eq!(back, values);
        assert_eq!(cursor.left(), 0);
        bytes.len()
    }

    #[test]
    fn integers_survive_their_packing() {
        for values in [
            &[][..],
            &[7],
            &[0, u64::MAX],
            &[u64::MAX, 0, u64::MAX, 1 << 63],
            &[1, 2, 3, 4, 5],
            &[5, 4, 3, 2, 1, 0],
            &[1000, 1003, 1001, 1002],
            &[70, 30, 9_990, 120, 0],
            &[u64::MAX, 0, u64::MAX, 5, u64::MAX],
            &[0, 92, 2, 1, 0, 0, 92],
        ] {
            round(values);
        }
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..300 {
            let shift = rng.u32(0..64);
            let (count, step, few) = (rng.usize(0..300), rng.u64(1..1000), rng.u64(1..20));
            let values: Vec<u64> = (0..count).map(|_| rng.u64(..) >> shift).collect();
            round(&values);
            round(&values.iter().map(|value| value / 1000 * step).collect::<Vec<_>>());
            round(&values.iter().map(|value| (value % few) << (shift / 2)).collect::<Vec<_>>());
            let runs =
                values.iter().flat_map(|value| iter::repeat_n(*value, (value % few) as usize));
            round(&runs.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_sequence_costs_a_few_bytes_however_long() {
        let values: Vec<u64> = (5_000_000..5_001_000).collect();
        assert!(round(&values) < 12);
        assert!(round(&[42; 1000]) < 4);
    }

    #[test]
    fn steps_and_few_values_take_no_more_bits_than_they_need() {
        let mut rng = fastrand::Rng::with_seed(2);
        let milliseconds: Vec<u64> = (0..1000).map(|_| rng.u64(..1000) * 10).collect();
        assert!(round(&milliseconds) < 10 * 1000 / 8 + 8, "ten bits each, not fourteen");
        let qualities: Vec<u64> = (0..1000).map(|_| [0, 1, 2, 92][rng.usize(..4)]).collect();
        assert!(round(&qualities) < 2 * 1000 / 8 + 16, "two bits each, not seven");
    }

    #[test]
    fn differences_take_no_more_bits_than_they_need() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut second, mut offset) = (1_700_000_000, 4);
        let seconds: Vec<u64> = (0..1000).map(|_| step_by(&mut second, rng.u64(0..4))).collect();
        assert!(round(&seconds) < 2 * 1000 / 8 + 16, "two bits each, not three for a sign too");
        let lengths = [1204, 377, 44, 1910];
        let offsets: Vec<u64> =
            (0..1000).map(|_| step_by(&mut offset, lengths[rng.usize(..4)])).collect();
        assert!(round(&offsets) < 2 * 1000 / 8 + 24, "two bits each, not twelve");
    }

    fn step_by(value: &mut u64, step: u64) -> u64 {
        *value += step;
        *value
    }

    #[test]
    fn runs_take_what_their_lengths_and_one_value_take() {
        let mut rng = fastrand::Rng::with_seed(5);
        let runs: Vec<(u64, usize)> = (0..100).map(|_| (rng.u64(..), rng.usize(3..7))).collect();
        let values: Vec<u64> =
            runs.iter().flat_map(|(value, len)| iter::repeat_n(*value, *len)).collect();
        assert!(round(&values) < 100 * 8 + 2 * 100 / 8 + 24, "eight bytes and two bits each");
    }

    #[test]
    fn values_take_fewer_bytes_beside_what_they_follow() {
        let mut rng = fastrand::Rng::with_seed(4);
        let starts: Vec<u64> = (0..1000).map(|_| rng.u64(..)).collect();
        let ends: Vec<u64> = starts.iter().map(|start| start.wrapping_add(rng.u64(..8))).collect();
        let near = round_beside(&ends, &starts);
        assert!(near < 3 * 1000 / 8 + 32, "three bits each, not 64");
        assert_eq!(round_beside(&starts, &[0; 1000]), round(&starts), "nothing to gain");
        let same: Vec<u64> = (0..1000).map(|index| (index / 20) << 50).collect();
        assert_eq!(round_beside(&same, &starts), round(&same), "runs take less");
        assert_eq!(round_beside(&[], &[]), 0);
    }

    fn round_beside(values: &[u64], beside: &[u64]) -> usize {
        let pairs = values.iter().zip(beside);
        let differences: Vec<u64> = pairs.map(|(a, b)| difference(*a, *b)).collect();
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        encode_beside(&mut values.to_vec(), &differences, &mut bytes);
        let mut cursor = Cursor::new(&bytes);
        let what = decode_beside(&mut cursor, values.len(), |value| back.push(value)).unwrap();
        if what == Beside::Differences {
            back.iter_mut().zip(beside).for_each(|(value, beside)| *value = apply(*value, *beside));
        }
        assert_eq!(back, values);
        assert_eq!(cursor.left(), 0);
        bytes.len()
    }

    #[test]
    fn differences_of_format_1_are_still_read() {
        for (bytes, expected) in [
            (&[FRAMED_DELTAS, 100, 2, 2, 0b01_10_00][..], &[100, 101, 103, 101][..]),
            (&[FRAMED_DELTAS, 100, 3, 0], &[100, 98, 96]),
            (&[FRAMED_DELTAS, 1, 0, 64, 3, 0, 0, 0, 0, 0, 0, 0], &[1, u64::MAX]),
            (&[FRAMED_DELTAS, 7, 0, 0], &[7]),
        ] {
            let mut values = Vec::new();
            decode(&mut Cursor::new(bytes), expected.len(), |value| values.push(value)).unwrap();
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn damaged_packing_is_an_error_not_a_panic() {
        for values in [
            &[1, 900, 17, 300][..],
            &[70, 30, 9990, 120],
            &[9000, 0, 0, 9000, 0, 70, 0],
            &[9000, 9002, 9004, 9000, 9006, 9020, 9010, 9005],
            &[7 << 40, 7 << 40, 7 << 40, 7 << 40, 9, 9, 9, 9, 9, 5 << 50, 5 << 50, 5 << 50],
        ] {
            let (bytes, count) = (encoded(values), values.len());
            for len in 0..bytes.len() {
                let mut cursor = Cursor::new(&bytes[..len]);
                assert!(decode(&mut cursor, count, |_| ()).is_err(), "cut at {len}");
            }
            for (index, byte) in (0..bytes.len()).flat_map(|i| (0..=255).map(move |b| (i, b))) {
                let mut damaged = bytes.clone();
                damaged[index] = byte;
                let mut put = 0;
                let decoded = decode(&mut Cursor::new(&damaged), count, |_| put += 1);
                assert!(decoded.is_err() || put == count);
            }
        }
        for (what, bytes, count) in [
            ("an index beyond the values", &[FEW, 2, 7, 9, 2, 0b11][..], 1),
            ("no runs", &[RUNS, 0, DELTAS | FRAME, 1, 1, 1, 1], 9),
            ("more runs than there can be", &[RUNS, 4, CONSTANT, 2, CONSTANT, 7], 8),
            ("runs that are too short together", &[RUNS, 2, CONSTANT, 3, CONSTANT, 7], 7),
            ("runs of runs", &[RUNS, 1, RUNS, 1, CONSTANT, 9, CONSTANT, 7], 9),
            ("deltas of deltas", &[DELTAS | FRAMED_DELTAS, 1, 1, 1, 1, 1], 4),
            ("differences to nothing", &[BESIDE | CONSTANT, 1], 4),
        ] {
            assert!(decode(&mut Cursor::new(bytes), count, |_| ()).is_err(), "{what}");
        }
    }
}
