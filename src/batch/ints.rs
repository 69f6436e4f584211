//! Columns of integers, packed: constant, frame of reference, or frame of reference over deltas.
//!
//! ```text
//!  tag 0  constant   value: varint
//!  tag 1  frame      base: varint, width: u8, then n values of `width` bits, LSB first
//!  tag 2  deltas     first: varint, base: varint, width: u8, then n-1 zigzag deltas of `width` bits
//! ```
//!
//! The smallest of the three is taken. The number of values stands outside.

use super::BatchError;
use super::cursor::{Cursor, put_varint};

const CONSTANT: u8 = 0;
const FRAME: u8 = 1;
const DELTAS: u8 = 2;

/// Appends `count` times the same value, as [`encode`] does.
pub(super) fn encode_same(value: u64, count: usize, out: &mut Vec<u8>) {
    if count > 0 {
        out.push(CONSTANT);
        put_varint(out, value);
    }
}

/// Appends the values in the layout that takes the fewest bytes.
pub(super) fn encode(values: &[u64], out: &mut Vec<u8>) {
    let Some(&first) = values.first() else { return };
    let (mut min, mut max, mut delta_min, mut delta_max) = (first, first, u64::MAX, 0);
    for (value, delta) in values.iter().skip(1).zip(deltas(values)) {
        (min, max) = (min.min(*value), max.max(*value));
        (delta_min, delta_max) = (delta_min.min(delta), delta_max.max(delta));
    }
    if min == max {
        return encode_same(first, values.len(), out);
    }
    let (width, delta_width) = (bits(max - min), bits(delta_max - delta_min));
    if delta_width < width {
        out.push(DELTAS);
        put_varint(out, first);
        put_varint(out, delta_min);
        pack(deltas(values).map(|delta| delta - delta_min), delta_width, out);
    } else {
        out.push(FRAME);
        put_varint(out, min);
        pack(values.iter().map(|value| value - min), width, out);
    }
}

/// Reads `count` values behind the cursor, handing each to `put`.
pub(super) fn decode(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut put: impl FnMut(u64),
) -> Result<(), BatchError> {
    if count == 0 {
        return Ok(());
    }
    match cursor.u8("integers: layout")? {
        CONSTANT => {
            let value = cursor.varint("integers: constant")?;
            (0..count).for_each(|_| put(value));
        }
        FRAME => {
            let base = cursor.varint("integers: base")?;
            unpack(cursor, count, |value| put(base.wrapping_add(value)))?;
        }
        DELTAS => {
            let mut value = cursor.varint("integers: first")?;
            let base = cursor.varint("integers: base")?;
            put(value);
            unpack(cursor, count - 1, |delta| {
                value = value.wrapping_add(unzigzag(delta.wrapping_add(base)));
                put(value);
            })?;
        }
        tag => return Err(BatchError::Malformed("integers: layout", u64::from(tag))),
    }
    Ok(())
}

/// The differences between neighbours, zigzagged so that small steps down are small too.
fn deltas(values: &[u64]) -> impl Iterator<Item = u64> + '_ {
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
    use super::*;

    fn round(values: &[u64]) -> usize {
        let mut bytes = Vec::new();
        encode(values, &mut bytes);
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
        ] {
            round(values);
        }
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..300 {
            let shift = rng.u32(0..64);
            let values: Vec<u64> = (0..rng.usize(0..300)).map(|_| rng.u64(..) >> shift).collect();
            round(&values);
        }
    }

    #[test]
    fn a_sequence_costs_a_few_bytes_however_long() {
        let values: Vec<u64> = (5_000_000..5_001_000).collect();
        assert!(round(&values) < 12);
        assert!(round(&[42; 1000]) < 4);
    }

    #[test]
    fn damaged_packing_is_an_error_not_a_panic() {
        let mut bytes = Vec::new();
        encode(&[1, 900, 17, 300], &mut bytes);
        for len in 0..bytes.len() {
            let mut cursor = Cursor::new(&bytes[..len]);
            assert!(decode(&mut cursor, 4, |_| ()).is_err(), "cut at {len}");
        }
        for (index, byte) in (0..bytes.len()).flat_map(|i| (0..=255).map(move |b| (i, b))) {
            let mut damaged = bytes.clone();
            damaged[index] = byte;
            let _ = decode(&mut Cursor::new(&damaged), 4, |_| ());
        }
    }
}
