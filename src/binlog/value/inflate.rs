//! DEFLATE (RFC 1951), decoded into a buffer of a length that is known before.
//!
//! Codes are read bit by bit along their canonical order: slow, small, and without tables that bad input
//! could make large. Every loop consumes input or fills output, and both have an end.

/// Decodes `stream`, which must give exactly `length` bytes.
pub(super) fn inflate(stream: &[u8], length: usize) -> Result<Vec<u8>, &'static str> {
    if length > stream.len().saturating_mul(RATIO_MAX) {
        return Err("DEFLATE: no stream of this length holds that much");
    }
    let mut out = Vec::with_capacity(length);
    let mut bits = Bits { bytes: stream, held: 0, count: 0 };
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => bits.stored(&mut out, length)?,
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                block(&mut bits, &Code::new(&lengths)?, &Code::new(&[5; 30])?, &mut out, length)?;
            }
            2 => {
                let (literals, distances) = bits.codes()?;
                block(&mut bits, &literals, &distances, &mut out, length)?;
            }
            _ => return Err("DEFLATE: an unknown kind of block"),
        }
        if last {
            return if out.len() == length {
                Ok(out)
            } else {
                Err("DEFLATE: fewer bytes than said")
            };
        }
    }
}

/// A match of 258 bytes takes at least two bits.
const RATIO_MAX: usize = 1032;
const END: &str = "DEFLATE: the stream ends too early";
const TOO_LONG: &str = "DEFLATE: more bytes than said";

struct Bits<'a> {
    bytes: &'a [u8],
    held: u32,
    count: u32,
}

impl Bits<'_> {
    /// Up to 16 bits, least significant first.
    fn take(&mut self, count: u32) -> Result<usize, &'static str> {
        while self.count < count {
            let (byte, rest) = self.bytes.split_first().ok_or(END)?;
            self.held |= u32::from(*byte) << self.count;
            self.count += 8;
            self.bytes = rest;
        }
        let value = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Ok(value as usize)
    }

    fn stored(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), &'static str> {
        // `take` never holds a whole byte beyond what it was asked for.
        (self.held, self.count) = (0, 0);
        let (head, rest) = self.bytes.split_first_chunk::<4>().ok_or(END)?;
        let [a, b, c, d] = *head;
        let length = u16::from_le_bytes([a, b]);
        if length != !u16::from_le_bytes([c, d]) {
            return Err("DEFLATE: a stored block's lengths differ");
        }
        let (plain, rest) = rest.split_at_checked(length.into()).ok_or(END)?;
        if out.len() + plain.len() > limit {
            return Err(TOO_LONG);
        }
        out.extend_from_slice(plain);
        self.bytes = rest;
        Ok(())
    }

    /// The codes of a dynamic block, which are themselves encoded.
    fn codes(&mut self) -> Result<(Code, Code), &'static str> {
        const ORDER: [usize; 19] =
            [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let literals = self.take(5)? + 257;
        let distances = self.take(5)? + 1;
        let count = self.take(4)? + 4;
        let mut lengths = [0_u8; 19];
        for place in ORDER.into_iter().take(count) {
            let bits = self.take(3)?.to_le_bytes()[0];
            if let Some(length) = lengths.get_mut(place) {
                *length = bits;
            }
        }
        let code = Code::new(&lengths)?;
        let mut lengths = Vec::with_capacity(literals + distances);
        while lengths.len() < literals + distances {
            let (value, times) = match code.symbol(self)? {
                16 => {
                    let last = *lengths.last().ok_or("DEFLATE: a repetition of nothing")?;
                    (last, 3 + self.take(2)?)
                }
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (length.to_le_bytes()[0], 1),
            };
            lengths.extend(std::iter::repeat_n(value, times));
        }
        let (literals, distances) =
            lengths.get(..literals + distances).unwrap_or_default().split_at(literals);
        Ok((Code::new(literals)?, Code::new(distances)?))
    }
}

/// A canonical Huffman code: how many symbols each length has, and the symbols in order.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Result<Self, &'static str> {
        let mut counts = [0_u16; 16];
        let mut symbols = Vec::with_capacity(lengths.len());
        for (wanted, count) in (0_u8..).zip(&mut counts).skip(1) {
            for (symbol, _) in (0..).zip(lengths).filter(|(_, length)| **length == wanted) {
                symbols.push(symbol);
                *count += 1;
            }
        }
        let mut left = 1_i32;
        for count in counts.iter().skip(1) {
            left = (left << 1) - i32::from(*count);
            if left < 0 {
                return Err("DEFLATE: a code with too many symbols");
            }
        }
        Ok(Self { counts, symbols })
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Result<usize, &'static str> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in self.counts.iter().skip(1).map(|count| usize::from(*count)) {
            code |= bits.take(1)?;
            if code < first + count {
                let symbol = self.symbols.get(index + code - first).copied();
                return symbol.map(usize::from).ok_or("DEFLATE: an unknown code");
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err("DEFLATE: an unknown code")
    }
}

fn block(
    bits: &mut Bits<'_>,
    literals: &Code,
    distances: &Code,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), &'static str> {
    loop {
        let symbol = literals.symbol(bits)?;
        if symbol == 256 {
            return Ok(());
        }
        if symbol < 256 {
            if out.len() == limit {
                return Err(TOO_LONG);
            }
            out.push(symbol.to_le_bytes()[0]);
            continue;
        }
        let (base, extra) = LENGTHS.get(symbol - 257).ok_or("DEFLATE: an unknown length")?;
        let length = usize::from(*base) + bits.take(u32::from(*extra))?;
        let symbol = distances.symbol(bits)?;
        let (base, extra) = DISTANCES.get(symbol).ok_or("DEFLATE: an unknown distance")?;
        let distance = usize::from(*base) + bits.take(u32::from(*extra))?;
        let start = out.len().checked_sub(distance).ok_or("DEFLATE: a match before the start")?;
        if out.len() + length > limit {
            return Err(TOO_LONG);
        }
        // The match may overlap what it makes.
        for index in start..start + length {
            out.extend(out.get(index).copied());
        }
    }
}

/// Base and extra bits of the symbols from 257 on.
#[rustfmt::skip]
const LENGTHS: [(u16, u8); 29] = [
    (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2),
    (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5),
    (163, 5), (195, 5), (227, 5), (258, 0),
];

#[rustfmt::skip]
const DISTANCES: [(u16, u8); 30] = [
    (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4), (49, 4), (65, 5),
    (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8), (1025, 9), (1537, 9), (2049, 10),
    (3073, 10), (4097, 11), (6145, 11), (8193, 12), (12289, 12), (16385, 13), (24577, 13),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_block_reads_back() {
        let stored = [1, 3, 0, 0xFC, 0xFF, b'a', b'b', b'c'];
        assert_eq!(inflate(&stored, 3).unwrap(), b"abc");
        assert_eq!(inflate(FIXED, 1000).unwrap(), vec![b'v'; 1000]);
        let text: String = (0..30).map(|n| format!("{n} squared is {}; ", n * n)).collect();
        assert_eq!(inflate(DYNAMIC, text.len()).unwrap(), text.as_bytes());
    }

    #[test]
    fn every_truncation_and_every_changed_byte_ends_in_bytes_or_an_error() {
        let length = inflate_length();
        for cut in 0..DYNAMIC.len() {
            assert!(inflate(&DYNAMIC[..cut], length).is_err(), "cut at {cut}");
            for byte in [0, 0x55, 0xFF] {
                let mut changed = DYNAMIC.to_vec();
                changed[cut] = byte;
                if let Ok(out) = inflate(&changed, length) {
                    assert_eq!(out.len(), length, "byte {cut} changed");
                }
            }
        }
        assert!(inflate(FIXED, usize::MAX).is_err());
        assert!(inflate(FIXED, 999).is_err());
        assert!(inflate(FIXED, 1001).is_err());
    }

    fn inflate_length() -> usize {
        (0..30).map(|n: u32| format!("{n} squared is {}; ", n * n).len()).sum()
    }

    /// As zlib writes 1000 times `v`.
    #[rustfmt::skip]
    const FIXED: &[u8] = &[
        0x2b, 0x2b, 0x1b, 0x05, 0xa3, 0x60, 0x14, 0x0c, 0x77, 0x00, 0x00,
    ];

    /// As zlib writes the text above.
    #[rustfmt::skip]
    const DYNAMIC: &[u8] = &[
        0x55, 0xd0, 0x41, 0x0e, 0x03, 0x21, 0x08, 0x05, 0xd0, 0xab, 0x70, 0x04, 0x41, 0x44, 0x0d, 0xa7,
        0x99, 0xa4, 0x5d, 0x74, 0xd9, 0x4e, 0x7a, 0xff, 0x01, 0x57, 0xfc, 0xa5, 0xe4, 0x87, 0xff, 0xa4,
        0xd1, 0xfd, 0xfd, 0x5f, 0xbf, 0xf7, 0x8b, 0x3e, 0x37, 0x35, 0x27, 0xae, 0x6f, 0x76, 0x92, 0xfa,
        0x56, 0xa7, 0x5e, 0xdf, 0xdb, 0x49, 0x21, 0x6f, 0x4e, 0xa3, 0x0e, 0x64, 0x38, 0x59, 0x1d, 0xf4,
        0x48, 0x4c, 0x58, 0x19, 0x3b, 0x56, 0x1d, 0x58, 0x94, 0xec, 0x3a, 0x58, 0xa1, 0xe0, 0x06, 0x35,
        0x2d, 0xa1, 0x28, 0x95, 0x4c, 0x01, 0x96, 0x35, 0x36, 0x71, 0x47, 0x5f, 0xb4, 0x31, 0x92, 0x77,
        0x88, 0x18, 0xd1, 0xa9, 0x66, 0xc3, 0x7f, 0x64, 0x0a, 0xe0, 0xb2, 0x72, 0x17, 0xd0, 0xbb, 0x64,
        0xe3, 0xc6, 0xff, 0xe6, 0x0d, 0x41, 0xaf, 0xa9, 0x17, 0xd0, 0xab, 0x66, 0x0a, 0x4f, 0xbd, 0x62,
        0x97, 0x80, 0x7e, 0x48, 0x34, 0x0a, 0xe8, 0xc7, 0x0c, 0x97, 0x80, 0xde, 0x52, 0x2f, 0xa0, 0xb7,
        0x93, 0x02, 0xfd, 0x3c, 0xbb, 0x40, 0x3f, 0x4f, 0x23, 0x9e, 0x3e, 0x5d, 0x0f,
    ];
}
