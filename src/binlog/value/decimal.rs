//! DECIMAL: exact digits, never a float.
//!
//! The format is that of `bin2decimal` in the servers' `strings/decimal.c(c)`: the digits before and after
//! the point each in groups of nine (4 bytes, big-endian), with one shorter group at the outer ends;
//! the top bit inverted, and for numbers below zero every bit.

use super::digits::{nine_digits, push_unsigned};

/// A fixed-point number: in columns up to 65 digits, in JSON up to 81.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decimal<'a> {
    precision: u8,
    scale: u8,
    /// As many as precision and scale need, with no group beyond its digits.
    bytes: &'a [u8],
}

/// What the servers' `decimal_t` holds: nine groups. Columns have up to 65 (`DECIMAL_MAX_PRECISION`), but
/// numbers that were cast to JSON may have more.
const PRECISION_MAX: u8 = 81;
/// MySQL's limit is 30; MariaDB's is 38.
const SCALE_MAX: u8 = 38;

impl<'a> Decimal<'a> {
    /// Reads `DECIMAL(precision, scale)`.
    ///
    /// # Errors
    /// When the length does not fit, or a group holds more digits than it may.
    #[inline(always)]
    pub fn decode(precision: u8, scale: u8, bytes: &'a [u8]) -> Result<Self, &'static str> {
        const IMPOSSIBLE: &str = "DECIMAL: impossible precision or scale";
        if !matches!(precision, 1..=PRECISION_MAX) || scale > SCALE_MAX {
            return Err(IMPOSSIBLE);
        }
        let layout = |digits: u8| LAYOUTS.get(usize::from(digits));
        let whole = precision.checked_sub(scale).and_then(layout);
        let (Some(whole), Some(fraction)) = (whole, layout(scale)) else { return Err(IMPOSSIBLE) };
        // Between the two groups that may be short, all have nine digits.
        let first = usize::from(whole.short);
        let nines = usize::from(whole.nines) + usize::from(fraction.nines);
        let wanted = first + nines + usize::from(fraction.short);
        if bytes.len() != wanted {
            return Err(match bytes.len() < wanted {
                true => "DECIMAL: shorter than its precision says",
                false => "DECIMAL: longer than its precision says",
            });
        }
        let decimal = Self { precision, scale, bytes };
        let fits = decimal.fits(whole, fraction);
        if fits { Ok(decimal) } else { Err("DECIMAL: a group holds too many digits") }
    }

    /// Whether no group holds more digits than it may; the length is right.
    #[inline(always)]
    fn fits(&self, whole: &Layout, fraction: &Layout) -> bool {
        let flip = self.flip();
        let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes) ^ flip;
        match (self.bytes.first_chunk(), self.bytes.last_chunk()) {
            (Some(head), Some(tail)) if whole.short > 0 => {
                let head = u64::from(number(head) ^ 0x8000_0000) >> (32 - 8 * whole.short);
                let tail = u64::from(number(tail)) & ((1 << (8 * fraction.short)) - 1);
                let nines = self.bytes.get(whole.short.into()..).unwrap_or_default();
                let count = usize::from(whole.nines + fraction.nines) / 4;
                let mut nines = nines.as_chunks().0.iter().take(count);
                head <= whole.largest.into()
                    && tail <= fraction.largest.into()
                    && nines.all(|nine| number(nine) <= LARGEST_NINE)
            }
            _ => self.groups().all(|group| {
                let largest = LARGEST.get(usize::from(group.digits));
                largest.is_some_and(|largest| group.value <= *largest)
            }),
        }
    }

    /// Digits after the point.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Writes it as the servers do: `-1234.50`, `0.00`.
    pub fn push_text(&self, out: &mut Vec<u8>) {
        if self.is_negative() {
            out.push(b'-');
        }
        let (mut seen, mut seen_point) = (false, false);
        for Group { digits, value, is_fraction } in self.groups() {
            if is_fraction && !seen_point {
                out.extend_from_slice(if seen { b"." } else { b"0." });
                (seen, seen_point) = (true, true);
            }
            if seen {
                let text = nine_digits(value);
                out.extend_from_slice(text.get(9 - usize::from(digits)..).unwrap_or_default());
            } else if value > 0 {
                push_unsigned(value.into(), out);
                seen = true;
            }
        }
        if !seen {
            out.push(b'0');
        }
    }

    /// The number times 10^scale as the shortest big-endian two's complement, at least one byte:
    /// what Java's `BigInteger.toByteArray` gives, and Kafka Connect's `Decimal` holds.
    pub fn unscaled(&self) -> Unscaled {
        // Most significant first; 81 digits need 270 bits.
        let mut words = [0_u32; WORDS];
        for Group { digits, value, .. } in self.groups() {
            let power =
                LARGEST.get(usize::from(digits)).map_or(1, |largest| u64::from(*largest) + 1);
            let mut carry = u64::from(value);
            for word in words.iter_mut().rev() {
                carry += u64::from(*word) * power;
                (*word, carry) = (carry as u32, carry >> 32);
            }
        }
        if self.is_negative() {
            let mut carry = true;
            for word in words.iter_mut().rev() {
                (*word, carry) = (!*word).overflowing_add(u32::from(carry));
            }
        }
        let mut bytes = [0; WORDS * 4];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        let needless = |pair: &&[u8]| match pair {
            [0, low] => low & 0x80 == 0,
            [0xFF, low] => low & 0x80 != 0,
            _ => false,
        };
        Unscaled { bytes, first: bytes.windows(2).take_while(needless).count() }
    }

    fn is_negative(&self) -> bool {
        self.bytes.first().is_some_and(|first| first & 0x80 == 0)
    }

    /// Below zero all bits are inverted.
    fn flip(&self) -> u32 {
        if self.is_negative() { u32::MAX } else { 0 }
    }

    fn groups(&self) -> Groups<'a> {
        let fraction = self.scale;
        Groups {
            bytes: Some(self.bytes),
            top: 0x80,
            flip: self.flip(),
            whole: self.precision - fraction,
            fraction,
        }
    }
}

/// See [`Decimal::unscaled`].
#[derive(Clone, Copy, Debug)]
pub struct Unscaled {
    bytes: [u8; WORDS * 4],
    first: usize,
}

const WORDS: usize = 9;

impl Unscaled {
    /// The bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.first..).unwrap_or_default()
    }
}

/// The largest number of so many digits.
const LARGEST: [u32; 10] =
    [0, 9, 99, 999, 9_999, 99_999, 999_999, 9_999_999, 99_999_999, 999_999_999];

const LARGEST_NINE: u32 = 999_999_999;

/// How so many digits on one side of the point are stored.
#[derive(Clone, Copy)]
struct Layout {
    /// The largest number of the short group.
    largest: u32,
    /// The bytes of the short group.
    short: u8,
    /// Those of the others.
    nines: u8,
}

/// [`Layout`] of 0 to 81 digits.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const LAYOUTS: [Layout; PRECISION_MAX as usize + 1] = {
    let none = Layout { largest: 0, short: 0, nines: 0 };
    let (mut layouts, mut digits) = ([none; PRECISION_MAX as usize + 1], 0);
    while digits < layouts.len() {
        layouts[digits] = Layout {
            largest: LARGEST[digits % 9],
            short: [0, 1, 1, 2, 2, 3, 3, 4, 4][digits % 9],
            nines: (digits / 9 * 4) as u8,
        };
        digits += 1;
    }
    layouts
};

/// Up to nine digits.
struct Group {
    digits: u8,
    value: u32,
    is_fraction: bool,
}

/// The groups, one after the other.
struct Groups<'a> {
    /// `None` after there were too few.
    bytes: Option<&'a [u8]>,
    /// The bit that is inverted in the first byte.
    top: u8,
    flip: u32,
    /// Digits that are left before the point, then after it.
    whole: u8,
    fraction: u8,
}

impl Groups<'_> {
    fn next_value(&mut self, digits: u8) -> Option<u32> {
        let bytes = self.bytes?;
        let (mut raw, rest) = match (digits, bytes) {
            (7..=9, [a, b, c, d, rest @ ..]) => ([*a, *b, *c, *d], rest),
            (5 | 6, [b, c, d, rest @ ..]) => ([0, *b, *c, *d], rest),
            (3 | 4, [c, d, rest @ ..]) => ([0, 0, *c, *d], rest),
            (1 | 2, [d, rest @ ..]) => ([0, 0, 0, *d], rest),
            _ => {
                self.bytes = None;
                return None;
            }
        };
        let unused = match digits {
            7..=9 => 0,
            5 | 6 => 1,
            3 | 4 => 2,
            _ => 3,
        };
        if let Some(first) = raw.get_mut(unused) {
            *first ^= std::mem::take(&mut self.top);
        }
        self.bytes = Some(rest);
        Some((u32::from_be_bytes(raw) ^ self.flip) & (u32::MAX >> (8 * unused)))
    }
}

impl Iterator for Groups<'_> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        let is_fraction = self.whole == 0;
        let digits = if is_fraction {
            let digits = self.fraction.min(9);
            self.fraction -= digits;
            digits
        } else {
            // The short group is the first before the point, and the last behind it.
            let digits = match self.whole % 9 {
                0 => 9,
                short => short,
            };
            self.whole -= digits;
            digits
        };
        if digits == 0 {
            return None;
        }
        let value = self.next_value(digits)?;
        Some(Group { digits, value, is_fraction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(precision: u8, scale: u8, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Decimal::decode(precision, scale, bytes).unwrap().push_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_example_of_the_servers_source_reads_back() {
        let plus = [0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2];
        let minus = [0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D];
        assert_eq!(text(14, 4, &plus), "1234567890.1234");
        assert_eq!(text(14, 4, &minus), "-1234567890.1234");
    }

    #[test]
    fn zero_keeps_its_scale() {
        assert_eq!(text(5, 2, &[0x80, 0, 0]), "0.00");
        assert_eq!(text(2, 2, &[0x80]), "0.00");
    }

    #[test]
    fn unscaled_is_the_shortest_twos_complement() {
        let of =
            |bytes: &[u8]| Decimal::decode(5, 2, bytes).unwrap().unscaled().as_bytes().to_vec();
        assert_eq!(of(&[0x80, 0, 0]), [0]);
        assert_eq!(of(&[0x80, 1, 28]), [0x00, 0x80], "1.28");
        assert_eq!(of(&[0x7F, 0xFE, !28]), [0x80], "-1.28");
        assert_eq!(of(&[0x7F, 0xFE, !29]), [0xFF, 0x7F], "-1.29");
    }

    #[test]
    fn no_bytes_make_it_panic_and_no_wrong_length_is_accepted() {
        for precision in 0..=90 {
            for scale in 0..=40 {
                for length in 0..40 {
                    for fill in [0, 0x7F, 0x80, 0xFF] {
                        let bytes = vec![fill; length];
                        if let Ok(decimal) = Decimal::decode(precision, scale, &bytes) {
                            decimal.unscaled();
                            decimal.push_text(&mut Vec::new());
                        }
                    }
                }
            }
        }
        assert!(Decimal::decode(14, 4, &[0x80; 6]).is_err());
        assert!(Decimal::decode(14, 4, &[0x80; 8]).is_err());
    }
}
