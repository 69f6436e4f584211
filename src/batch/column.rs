//! One column of a group: what the rows have in it, and the layout that makes it small.
//!
//! ```text
//!  states    n integers: 0 value, 1 NULL, 2 same as the before image, 3 differences of JSON
//!  lengths   one integer per value or list of differences
//!  layout    u8
//!  bytes     by layout
//! ```
//!
//! | layout | for | bytes |
//! |---|---|---|
//! | raw | text, blobs | the values behind each other |
//! | little | integers as MySQL stores them, 1 to 8 bytes | packed integers |
//! | big | decimals, times: big-endian and ordered, 1 to 8 bytes | packed integers |
//! | split | the same with a fraction, 1 to 8 bytes on either side | the fraction's bytes: u8; packed integers before it, packed integers of it |
//! | scaled32, scaled64 | floats and doubles that are decimals with few digits | the power of ten, packed integers |
//! | planes | other values of one length | all first bytes, all second bytes, … |

use crate::binlog::rows::Cell;
use crate::binlog::table::Kind;
use crate::binlog::width::fraction_bytes;

use super::cursor::Cursor;
use super::{BatchError, ints};

const VALUE: u8 = 0;
const NULL: u8 = 1;
const SAME: u8 = 2;
const DIFF: u8 = 3;

const RAW: u8 = 0;
const LITTLE: u8 = 1;
const BIG: u8 = 2;
const SCALED32: u8 = 3;
const SCALED64: u8 = 4;
const PLANES: u8 = 5;
const SPLIT: u8 = 6;

/// Powers of ten that are tried for floats; readings and prices rarely have more digits.
const SCALE_MAX: u8 = 4;

/// Values of one length above this stay as they are: transposing them gains nothing.
const PLANES_WIDTH_MAX: usize = 32;

/// The values of one column, row by row. What all rows have in common is kept once: most columns have neither
/// NULLs nor values of several lengths.
#[derive(Debug, Default)]
pub(super) struct Column {
    rows: usize,
    /// Per row; empty while all of them are values.
    states: Vec<u8>,
    /// Per value or list of differences; empty while all of them are of `width` bytes.
    lengths: Vec<u32>,
    width: usize,
    bytes: Vec<u8>,
}

impl Column {
    #[inline]
    pub(super) fn push(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Value(bytes) => self.push_bytes(VALUE, bytes),
            Cell::JsonDiff(bytes) => self.push_bytes(DIFF, bytes),
            // A group's columns are those that its images have, so an absent cell cannot come here.
            Cell::Null | Cell::Absent => self.push_state(NULL),
        }
    }

    #[inline]
    fn push_bytes(&mut self, state: u8, bytes: &[u8]) {
        let alike = state == VALUE && bytes.len() == self.width;
        if alike && self.states.is_empty() && self.lengths.is_empty() {
            self.rows += 1;
            extend(&mut self.bytes, bytes);
        } else {
            self.push_odd(state, bytes);
        }
    }

    /// A value or list of differences in a column whose rows are not all alike.
    #[inline(never)]
    fn push_odd(&mut self, state: u8, bytes: &[u8]) {
        if !self.lengths.is_empty() || bytes.len() != self.width {
            self.push_length(bytes.len());
        }
        self.push_state(state);
        self.bytes.extend_from_slice(bytes);
    }

    fn push_state(&mut self, state: u8) {
        if !self.states.is_empty() || state != VALUE {
            self.states.resize(self.rows, VALUE);
            self.states.push(state);
        }
        self.rows += 1;
    }

    /// The length of a value that differs from those before it, or follows one that did.
    fn push_length(&mut self, len: usize) {
        if self.lengths.is_empty() {
            match self.values(self.rows) {
                0 => {
                    self.width = len;
                    return;
                }
                values => self.lengths.resize(values, self.width as u32),
            }
        }
        self.lengths.push(len as u32);
    }

    /// The after image of an update: only what differs from the before image.
    pub(super) fn push_changed(&mut self, before: Cell<'_>, after: Cell<'_>) {
        if before == after {
            self.push_state(SAME);
        } else {
            self.push(after);
        }
    }

    /// Bytes of memory for the values.
    pub(super) fn memory_bytes(&self) -> usize {
        self.states.capacity() + 4 * self.lengths.capacity() + self.bytes.capacity()
    }

    /// Forgets the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        let (values, bytes) = self.prefix(rows);
        self.rows = self.rows.min(rows);
        self.states.truncate(rows);
        self.lengths.truncate(values);
        self.bytes.truncate(bytes);
    }

    /// Forgets the first `rows` rows.
    pub(super) fn drain(&mut self, rows: usize) {
        let (values, bytes) = self.prefix(rows);
        self.rows = self.rows.saturating_sub(rows);
        self.states.drain(..rows.min(self.states.len()));
        self.lengths.drain(..values.min(self.lengths.len()));
        self.bytes.drain(..bytes);
    }

    /// How many values and lists of differences the first `rows` rows have.
    fn values(&self, rows: usize) -> usize {
        match self.states.get(..rows.min(self.states.len())) {
            None | Some([]) => rows.min(self.rows),
            Some(states) => states.iter().filter(|state| has_bytes(**state)).count(),
        }
    }

    /// The same, and of how many bytes.
    fn prefix(&self, rows: usize) -> (usize, usize) {
        let values = self.values(rows);
        let bytes = match self.lengths.as_slice() {
            [] => values * self.width,
            lengths => lengths.iter().take(values).map(|len| *len as usize).sum(),
        };
        (values, bytes)
    }

    /// Appends the first `rows` rows to `out`. `scratch` is working space.
    pub(super) fn encode(
        &self,
        form: Form,
        rows: usize,
        scratch: &mut Vec<u64>,
        out: &mut Vec<u8>,
    ) {
        let (values, len) = self.prefix(rows);
        let bytes = self.bytes.get(..len).unwrap_or_default();
        match self.states.get(..rows) {
            None | Some([]) => ints::encode_same(VALUE.into(), rows.min(self.rows), out),
            Some(states) => pack(states.iter().map(|state| u64::from(*state)), scratch, out),
        }
        let width = match self.lengths.get(..values) {
            Some([first, rest @ ..]) => {
                pack(self.lengths.iter().take(values).map(|len| u64::from(*len)), scratch, out);
                if rest.iter().all(|len| len == first) { *first as usize } else { 0 }
            }
            _ => {
                ints::encode_same(self.width as u64, values, out);
                if values > 0 { self.width } else { 0 }
            }
        };
        encode_bytes(form, width, bytes, scratch, out);
    }
}

/// Appends a value. Most are numbers and times, for which a call to copy them costs more than they do.
#[inline]
fn extend(all: &mut Vec<u8>, bytes: &[u8]) {
    match *bytes {
        [a] => all.push(a),
        [a, b] => all.extend_from_slice(&[a, b]),
        [a, b, c] => all.extend_from_slice(&[a, b, c]),
        [a, b, c, d] => all.extend_from_slice(&[a, b, c, d]),
        [a, b, c, d, e] => all.extend_from_slice(&[a, b, c, d, e]),
        [a, b, c, d, e, f, g, h] => all.extend_from_slice(&[a, b, c, d, e, f, g, h]),
        _ => all.extend_from_slice(bytes),
    }
}

fn encode_bytes(form: Form, width: usize, bytes: &[u8], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    if let Some(whole) = whole_bytes(width, form.fraction) {
        out.extend([SPLIT, form.fraction as u8]);
        let parts = bytes.chunks_exact(width).map(|value| value.split_at(whole));
        pack(parts.clone().map(|(whole, _)| big(whole)), scratch, out);
        return pack(parts.map(|(_, fraction)| big(fraction)), scratch, out);
    }
    match (form.shape, width) {
        (Shape::Little, 1..=8) => {
            out.push(LITTLE);
            match width {
                1 => pack(bytes.iter().map(|byte| u64::from(*byte)), scratch, out),
                2 => pack(bytes.as_chunks().0.iter().map(little::<2>), scratch, out),
                4 => pack(bytes.as_chunks().0.iter().map(little::<4>), scratch, out),
                8 => pack(bytes.as_chunks().0.iter().map(little::<8>), scratch, out),
                _ => pack(bytes.chunks_exact(width).map(odd_little), scratch, out),
            }
        }
        (Shape::Big, 1..=8) => {
            out.push(BIG);
            pack(bytes.chunks_exact(width).map(big), scratch, out);
        }
        (Shape::Float, 4) => match scaled32(bytes, scratch) {
            Some(scale) => put_scaled(SCALED32, scale, scratch, out),
            None => put_planes(width, bytes, out),
        },
        (Shape::Float, 8) => match scaled64(bytes, scratch) {
            Some(scale) => put_scaled(SCALED64, scale, scratch, out),
            None => put_planes(width, bytes, out),
        },
        (Shape::Little | Shape::Big | Shape::Float, 9..=PLANES_WIDTH_MAX) => {
            put_planes(width, bytes, out);
        }
        _ => {
            out.push(RAW);
            out.extend_from_slice(bytes);
        }
    }
}

/// The bytes before a fraction, if both are there and not too long.
fn whole_bytes(width: usize, fraction: usize) -> Option<usize> {
    let whole = width.checked_sub(fraction)?;
    ((1..=8).contains(&whole) && (1..=8).contains(&fraction)).then_some(whole)
}

/// What a type says of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    shape: Shape,
    /// Bytes at the end that hold a fraction.
    fraction: usize,
}

impl Form {
    /// `meta` as in [`table::Column`](crate::binlog::table::Column).
    pub(super) fn of(kind: Kind, meta: u16) -> Self {
        Self { shape: Shape::of(kind), fraction: fraction_bytes(kind, meta) }
    }
}

/// How a type's bytes are ordered.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Little,
    Big,
    Float,
    Opaque,
}

impl Shape {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Tiny | Kind::Short | Kind::Int24 | Kind::Long | Kind::LongLong | Kind::Year => {
                Self::Little
            }
            Kind::Timestamp | Kind::Date | Kind::NewDate | Kind::Time | Kind::DateTime => {
                Self::Little
            }
            Kind::Enum | Kind::Set => Self::Little,
            Kind::Timestamp2 | Kind::DateTime2 | Kind::Time2 => Self::Big,
            Kind::NewDecimal | Kind::Bit => Self::Big,
            Kind::Float | Kind::Double => Self::Float,
            _ => Self::Opaque,
        }
    }
}

fn pack(values: impl Iterator<Item = u64>, scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    scratch.clear();
    scratch.extend(values);
    ints::encode(scratch, out);
}

/// Of the widths that nearly all integers have.
fn little<const WIDTH: usize>(bytes: &[u8; WIDTH]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

fn odd_little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn big(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn put_planes(width: usize, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(PLANES);
    for plane in 0..width {
        out.extend(bytes.iter().skip(plane).step_by(width));
    }
}

fn put_scaled(layout: u8, scale: u8, values: &mut Vec<u64>, out: &mut Vec<u8>) {
    out.push(layout);
    out.push(scale);
    ints::encode(values, out);
}

/// The least power of ten that turns every double into an integer and back, bit for bit.
fn scaled64(bytes: &[u8], scratch: &mut Vec<u64>) -> Option<u8> {
    scaled(scratch, |scale| {
        bytes.as_chunks().0.iter().map(move |chunk| {
            let value = f64::from_le_bytes(*chunk);
            let scaled = (value * power(scale)).round();
            (unscaled64(scaled as i64, scale).to_bits() == value.to_bits()).then_some(scaled as i64)
        })
    })
}

fn scaled32(bytes: &[u8], scratch: &mut Vec<u64>) -> Option<u8> {
    scaled(scratch, |scale| {
        bytes.as_chunks().0.iter().map(move |chunk| {
            let value = f32::from_le_bytes(*chunk);
            let scaled = (f64::from(value) * power(scale)).round();
            (unscaled32(scaled as i64, scale).to_bits() == value.to_bits()).then_some(scaled as i64)
        })
    })
}

fn scaled<I: Iterator<Item = Option<i64>>>(
    scratch: &mut Vec<u64>,
    at: impl Fn(u8) -> I,
) -> Option<u8> {
    (0..=SCALE_MAX).find(|scale| {
        scratch.clear();
        at(*scale).all(|value| value.map(|value| scratch.push(offset_binary(value))).is_some())
    })
}

fn power(scale: u8) -> f64 {
    10f64.powi(i32::from(scale))
}

fn unscaled64(value: i64, scale: u8) -> f64 {
    value as f64 / power(scale)
}

fn unscaled32(value: i64, scale: u8) -> f32 {
    unscaled64(value, scale) as f32
}

/// Signed numbers in an order that unsigned packing keeps.
fn offset_binary(value: i64) -> u64 {
    (value as u64) ^ (1 << 63)
}

/// A column of a decoded batch.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    states: Vec<u8>,
    /// Per row: where its value ends in `bytes`, or where the value before it does.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

/// What a row takes in memory while its column is decoded: state, length, and then its end. (Before there are ends, a third
/// of a run's length takes less than one.)
const ROW_BYTES: usize = 1 + 4 + 4;

impl Decoded {
    /// Reads what [`Column::encode`] wrote. `budget` is how many more bytes may be allocated.
    pub(super) fn decode(
        cursor: &mut Cursor<'_>,
        rows: usize,
        budget: &mut usize,
    ) -> Result<Self, BatchError> {
        charge(budget, rows, ROW_BYTES)?;
        charge(budget, 1, size_of::<Self>())?;
        let (mut states, mut values, mut unknown) = (Vec::with_capacity(rows), 0, None);
        ints::decode(cursor, rows, |state| {
            let known = u8::try_from(state).ok().filter(|state| *state <= DIFF);
            unknown = unknown.or(known.is_none().then_some(state));
            values += usize::from(known.is_some_and(has_bytes));
            states.push(known.unwrap_or(NULL));
        })?;
        if let Some(state) = unknown {
            return Err(BatchError::Malformed("column: state", state));
        }
        let (mut lengths, mut total) = (Vec::with_capacity(values), Some(0_u32));
        ints::decode(cursor, values, |len| {
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            total = total.and_then(|total| total.checked_add(len));
            lengths.push(len);
        })?;
        let total = total.ok_or(BatchError::TooLarge("column"))? as usize;
        charge(budget, total, 1)?;
        let bytes = decode_bytes(cursor, &lengths, total)?;
        if bytes.len() != total {
            return Err(BatchError::Malformed("column: bytes", bytes.len() as u64));
        }
        let (mut lengths, mut end) = (lengths.into_iter(), 0);
        let ends = states.iter().map(|state| {
            end += if has_bytes(*state) { lengths.next().unwrap_or(0) } else { 0 };
            end
        });
        Ok(Self { ends: ends.collect(), states, bytes })
    }

    /// The row's cell; `before` is what "same" refers to.
    pub(super) fn cell<'a>(&'a self, row: usize, before: Cell<'a>) -> Cell<'a> {
        match self.states.get(row).copied() {
            Some(VALUE) => Cell::Value(self.at(row)),
            Some(SAME) => before,
            Some(DIFF) => Cell::JsonDiff(self.at(row)),
            _ => Cell::Null,
        }
    }

    fn at(&self, row: usize) -> &[u8] {
        let end = |row: usize| self.ends.get(row).map_or(0, |end| *end as usize);
        let start = row.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(row)).unwrap_or_default()
    }
}

/// Whether a cell of this state has bytes of its own.
fn has_bytes(state: u8) -> bool {
    matches!(state, VALUE | DIFF)
}

/// Takes `count` times `bytes` from what may still be allocated.
pub(super) fn charge(budget: &mut usize, count: usize, bytes: usize) -> Result<(), BatchError> {
    let all = count.checked_mul(bytes);
    let left = all.and_then(|all| budget.checked_sub(all));
    *budget = left.ok_or(BatchError::TooLarge("column"))?;
    Ok(())
}

fn decode_bytes(
    cursor: &mut Cursor<'_>,
    lengths: &[u32],
    total: usize,
) -> Result<Vec<u8>, BatchError> {
    let width = lengths.first().map_or(0, |len| *len as usize);
    let layout = cursor.u8("column: layout")?;
    if layout == RAW {
        return Ok(cursor.bytes(total, "column: raw")?.to_vec());
    }
    if width == 0 || lengths.iter().any(|len| *len as usize != width) {
        return Err(BatchError::Malformed("column: layout", u64::from(layout)));
    }
    let count = lengths.len();
    // A length is believed when the layout can have it: packed values have 8 bytes at most.
    let mut bytes = Vec::with_capacity(if layout == PLANES { 0 } else { total.min(8 * count) });
    match layout {
        LITTLE if width <= 8 => ints::decode(cursor, count, |value| {
            bytes.extend(value.to_le_bytes().iter().take(width));
        })?,
        BIG if width <= 8 => ints::decode(cursor, count, |value| {
            bytes.extend(value.to_be_bytes().iter().skip(8 - width));
        })?,
        SPLIT => {
            let fraction = cursor.u8("column: fraction")?;
            let Some(whole) = whole_bytes(width, fraction.into()) else {
                return Err(BatchError::Malformed("column: fraction", fraction.into()));
            };
            ints::decode(cursor, count, |value| {
                bytes.extend(value.to_be_bytes().iter().skip(8 - whole));
                bytes.extend(std::iter::repeat_n(0, width - whole));
            })?;
            let mut values = bytes.chunks_exact_mut(width);
            ints::decode(cursor, count, |value| {
                let to = values.next().into_iter().flatten().skip(whole);
                let from = value.to_be_bytes();
                to.zip(from.iter().skip(8 + whole - width)).for_each(|(to, from)| *to = *from);
            })?;
        }
        SCALED32 if width == 4 => {
            let scale = cursor.u8("column: scale")?.min(SCALE_MAX);
            ints::decode(cursor, count, |value| {
                bytes.extend(unscaled32(offset_binary(value as i64) as i64, scale).to_le_bytes());
            })?;
        }
        SCALED64 if width == 8 => {
            let scale = cursor.u8("column: scale")?.min(SCALE_MAX);
            ints::decode(cursor, count, |value| {
                bytes.extend(unscaled64(offset_binary(value as i64) as i64, scale).to_le_bytes());
            })?;
        }
        PLANES => {
            let planes = cursor.bytes(total, "column: planes")?;
            bytes.reserve_exact(total);
            for row in 0..count {
                bytes.extend(planes.iter().skip(row).step_by(count));
            }
        }
        _ => return Err(BatchError::Malformed("column: layout", u64::from(layout))),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(kind: Kind, cells: &[Cell<'_>]) -> usize {
        round_as(kind, 0, cells)
    }

    fn round_as(kind: Kind, meta: u16, cells: &[Cell<'_>]) -> usize {
        let mut column = Column::default();
        cells.iter().for_each(|cell| column.push(*cell));
        let (mut bytes, mut budget) = (Vec::new(), 1 << 20);
        column.encode(Form::of(kind, meta), cells.len(), &mut Vec::new(), &mut bytes);
        let mut cursor = Cursor::new(&bytes);
        let back = Decoded::decode(&mut cursor, cells.len(), &mut budget).unwrap();
        for (row, cell) in cells.iter().enumerate() {
            assert_eq!(back.cell(row, Cell::Absent), *cell, "{kind:?} row {row}");
        }
        assert_eq!(cursor.left(), 0);
        bytes.len()
    }

    #[test]
    fn values_survive_every_layout() {
        let floats: Vec<_> =
            [1.5f32, -0.25, 230.1, f32::MIN_POSITIVE, -0.0].map(f32::to_le_bytes).into();
        let doubles: Vec<_> = [1.5f64, 99.99, -17.0, 0.1 + 0.2, -0.0].map(f64::to_le_bytes).into();
        let cells =
            |all: &'static [&'static [u8]]| all.iter().map(|b| Cell::Value(b)).collect::<Vec<_>>();
        round(Kind::Long, &cells(&[&[1, 0, 0, 0], &[255, 255, 255, 255]]));
        round(Kind::Varchar, &cells(&[b"a", b"", b"longer"]));
        round(Kind::NewDecimal, &cells(&[&[0x80, 1, 2, 3, 4], &[0x7f, 1, 2, 3, 4]]));
        round(Kind::NewDecimal, &cells(&[&[1; 20], &[2; 20], &[3; 20]]));
        let decimal = u16::from_le_bytes([10, 3]);
        round_as(
            Kind::NewDecimal,
            decimal,
            &cells(&[&[0x80, 1, 2, 3, 4, 5], &[0x7f, 1, 2, 3, 4, 6]]),
        );
        round_as(Kind::NewDecimal, u16::from_le_bytes([20, 2]), &cells(&[&[7; 9], &[9; 9]]));
        round_as(Kind::NewDecimal, u16::from_le_bytes([2, 2]), &cells(&[&[0x81], &[0x82]]));
        round_as(Kind::Timestamp2, 3, &cells(&[&[1, 2, 3, 4, 0, 10], &[1, 2, 3, 5, 39, 6]]));
        round(Kind::Float, &floats.iter().map(|b| Cell::Value(b)).collect::<Vec<_>>());
        round(Kind::Double, &doubles.iter().map(|b| Cell::Value(b)).collect::<Vec<_>>());
        round(Kind::Tiny, &[Cell::Null, Cell::Value(&[3]), Cell::Null]);
        round(Kind::Tiny, &[]);
    }

    #[test]
    fn differences_are_told_from_values_and_an_empty_list_from_the_same() {
        let cells = [
            Cell::JsonDiff(b""),
            Cell::Value(b"whole"),
            Cell::JsonDiff(b"diffs"),
            Cell::Null,
            Cell::Value(b""),
        ];
        round(Kind::Json, &cells);
        let mut column = Column::default();
        column.push_changed(Cell::Value(b"x"), Cell::JsonDiff(b""));
        column.push_changed(Cell::Value(b"x"), Cell::Value(b"x"));
        column.push_changed(Cell::Null, Cell::JsonDiff(b"d"));
        column.truncate(3);
        column.drain(1);
        let (mut bytes, mut budget) = (Vec::new(), 1000);
        column.encode(Form::of(Kind::Json, 0), 2, &mut Vec::new(), &mut bytes);
        let back = Decoded::decode(&mut Cursor::new(&bytes), 2, &mut budget).unwrap();
        assert_eq!(back.cell(0, Cell::Value(b"x")), Cell::Value(b"x"));
        assert_eq!(back.cell(1, Cell::Null), Cell::JsonDiff(b"d"));
    }

    #[test]
    fn decimal_looking_doubles_cost_little() {
        let doubles: Vec<_> =
            (0..1000).map(|i| (f64::from(i % 50) / 100.0).to_le_bytes()).collect();
        let cells: Vec<_> = doubles.iter().map(|bytes| Cell::Value(bytes)).collect();
        assert!(round(Kind::Double, &cells) < 1000);
    }

    #[test]
    fn rows_can_be_taken_from_either_end() {
        let mut column = Column::default();
        for cell in [Cell::Value(b"one"), Cell::Null, Cell::Value(b"three"), Cell::Value(b"4")] {
            column.push(cell);
        }
        column.truncate(3);
        column.drain(1);
        let (mut bytes, mut budget) = (Vec::new(), 1000);
        column.encode(Form::of(Kind::Varchar, 0), 2, &mut Vec::new(), &mut bytes);
        let back = Decoded::decode(&mut Cursor::new(&bytes), 2, &mut budget).unwrap();
        assert_eq!(back.cell(0, Cell::Absent), Cell::Null);
        assert_eq!(back.cell(1, Cell::Absent), Cell::Value(b"three"));
    }

    #[test]
    fn a_value_that_claims_to_be_long_takes_no_memory_before_it_is_there() {
        for layout in [RAW, LITTLE, BIG, SCALED64, PLANES] {
            let mut bytes = Vec::new();
            ints::encode(&mut vec![0], &mut bytes);
            ints::encode(&mut vec![50 << 20], &mut bytes);
            bytes.push(layout);
            let peak = allocation_counter::measure(|| {
                let decoded = Decoded::decode(&mut Cursor::new(&bytes), 1, &mut (64 << 20));
                assert!(decoded.is_err(), "layout {layout}");
            });
            assert!(peak.bytes_max < 1000, "layout {layout}: {} bytes", peak.bytes_max);
        }
    }

    #[test]
    fn a_column_that_claims_too_much_is_refused() {
        let mut bytes = Vec::new();
        ints::encode(&mut vec![0, 0], &mut bytes);
        ints::encode(&mut vec![1 << 40, 1 << 40], &mut bytes);
        bytes.push(RAW);
        let error = Decoded::decode(&mut Cursor::new(&bytes), 2, &mut 1000).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge(_)), "{error}");
    }
}
