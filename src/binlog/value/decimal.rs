//! DECIMAL: exact digits, never a float.
//!
//! The format is that of `bin2decimal` in the servers' `strings/decimal.c(c)`: the digits before and after
//! the point each in groups of nine (4 bytes, big-endian), with one shorter group at the outer ends;
//! the top bit inverted, and for numbers below zero every bit.

/// A fixed-point number: in columns up to 65 digits, in JSON up to 81.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decimal {
    negative: bool,
    scale: u8,
    /// How many of `digits` are used: the column's precision.
    precision: u8,
    /// ASCII; those before the point first, with leading zeros.
    digits: [u8; PRECISION_MAX],
}

/// What the servers' `decimal_t` holds: nine groups. Columns have up to 65 (`DECIMAL_MAX_PRECISION`), but
/// numbers that were cast to JSON may have more.
const PRECISION_MAX: usize = 81;
/// MySQL's limit is 30; MariaDB's is 38.
const SCALE_MAX: u8 = 38;
/// Bytes of a group by its number of digits (`dig2bytes`).
const GROUP_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

impl Decimal {
    /// Reads `DECIMAL(precision, scale)`.
    ///
    /// # Errors
    /// When the length does not fit, or a group holds more digits than it may.
    pub fn decode(precision: u8, scale: u8, bytes: &[u8]) -> Result<Self, &'static str> {
        if usize::from(precision) > PRECISION_MAX || scale > precision.min(SCALE_MAX) {
            return Err("DECIMAL: impossible precision or scale");
        }
        let (whole, fraction) = (usize::from(precision - scale), usize::from(scale));
        let Some(first) = bytes.first() else { return Err("DECIMAL: no bytes") };
        let negative = first & 0x80 == 0;
        let mut cursor = Groups { bytes, first: true, flip: if negative { 0xFF } else { 0 } };
        let mut digits = [b'0'; PRECISION_MAX];
        let mut free = digits.iter_mut();
        let wholes = std::iter::once(whole % 9).chain(std::iter::repeat_n(9, whole / 9));
        let fractions = std::iter::repeat_n(9, fraction / 9).chain(std::iter::once(fraction % 9));
        for count in wholes.chain(fractions) {
            let group = cursor.next(count)?;
            for (place, digit) in free.by_ref().take(count).enumerate() {
                let power = 10_u32.pow(u32::try_from(count - 1 - place).expect("below 9"));
                *digit = b'0' + u8::try_from(group / power % 10).expect("one digit");
            }
        }
        if !cursor.bytes.is_empty() {
            return Err("DECIMAL: longer than its precision says");
        }
        Ok(Self { negative, scale, precision, digits })
    }

    /// Digits after the point.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Writes it as the servers do: `-1234.50`, `0.00`.
    pub fn push_text(&self, out: &mut String) {
        let (whole, fraction) = self.parts();
        if self.negative {
            out.push('-');
        }
        let first = whole.iter().position(|digit| *digit != b'0').unwrap_or(whole.len());
        let whole = whole.get(first..).unwrap_or_default();
        if whole.is_empty() {
            out.push('0');
        }
        out.extend(whole.iter().map(|digit| char::from(*digit)));
        if !fraction.is_empty() {
            out.push('.');
            out.extend(fraction.iter().map(|digit| char::from(*digit)));
        }
    }

    /// The number times 10^scale as the shortest big-endian two's complement, at least one byte:
    /// what Java's `BigInteger.toByteArray` gives, and Kafka Connect's `Decimal` holds.
    pub fn unscaled(&self) -> Vec<u8> {
        // Base 256, least significant first; 81 digits need 270 bits.
        let mut value = [0_u8; 34];
        for digit in self.digits.iter().take(usize::from(self.precision)) {
            let mut carry = u16::from(digit - b'0');
            for byte in &mut value {
                let next = u16::from(*byte) * 10 + carry;
                *byte = next.to_le_bytes()[0];
                carry = next >> 8;
            }
        }
        if self.negative {
            let mut carry = true;
            for byte in &mut value {
                let (next, over) = (!*byte).overflowing_add(u8::from(carry));
                (*byte, carry) = (next, over);
            }
        }
        let mut bytes: Vec<u8> = value.iter().rev().copied().collect();
        let needless = bytes
            .windows(2)
            .take_while(|pair| {
                matches!(pair, [0, low] if low & 0x80 == 0)
                    || matches!(pair, [0xFF, low] if low & 0x80 != 0)
            })
            .count();
        bytes.drain(..needless);
        bytes
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let used = self.digits.get(..usize::from(self.precision)).unwrap_or_default();
        used.split_at(used.len().saturating_sub(usize::from(self.scale)))
    }
}

/// The groups, one after the other.
struct Groups<'a> {
    bytes: &'a [u8],
    first: bool,
    flip: u8,
}

impl Groups<'_> {
    fn next(&mut self, digits: usize) -> Result<u32, &'static str> {
        let length = GROUP_BYTES.get(digits).copied().unwrap_or_default();
        let Some((group, rest)) = self.bytes.split_at_checked(length) else {
            return Err("DECIMAL: shorter than its precision says");
        };
        self.bytes = rest;
        let mut value = 0_u32;
        for byte in group {
            let top = if std::mem::take(&mut self.first) { 0x80 } else { 0 };
            value = value << 8 | u32::from(byte ^ top ^ self.flip);
        }
        let limit = 10_u32.pow(u32::try_from(digits).unwrap_or(9));
        if value < limit { Ok(value) } else { Err("DECIMAL: a group holds too many digits") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(precision: u8, scale: u8, bytes: &[u8]) -> String {
        let mut out = String::new();
        Decimal::decode(precision, scale, bytes).unwrap().push_text(&mut out);
        out
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
        let of = |bytes: &[u8]| Decimal::decode(5, 2, bytes).unwrap().unscaled();
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
                        if let Ok(decimal) = Decimal::decode(precision, scale, &vec![fill; length])
                        {
                            decimal.unscaled();
                            decimal.push_text(&mut String::new());
                        }
                    }
                }
            }
        }
        assert!(Decimal::decode(14, 4, &[0x80; 6]).is_err());
        assert!(Decimal::decode(14, 4, &[0x80; 8]).is_err());
    }
}
