//! Digits, hexadecimal, base64 and JSON's strings, appended to bytes without an allocation per value.

/// Appends a whole number.
pub fn push_unsigned(mut number: u64, out: &mut Vec<u8>) {
    let mut text = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    for pair in text.as_chunks_mut().0.iter_mut().rev() {
        *pair = two_digits((number % 100) as u8);
        (first, number) = (first - 2, number / 100);
        if number == 0 {
            first += usize::from(pair[0] == b'0');
            break;
        }
    }
    out.extend_from_slice(text.get(first..).unwrap_or_default());
}

/// Appends a whole number with its sign.
pub fn push_signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    push_unsigned(number.unsigned_abs(), out);
}

/// Of `u64::MAX`.
const DIGITS_MAX: usize = 20;

/// The digits of a number below 100.
#[inline(always)]
pub(super) fn two_digits(number: u8) -> [u8; 2] {
    // Exact for all bytes, and cheaper than a division.
    let tens = ((u16::from(number) * 103) >> 10) as u8;
    [b'0'.wrapping_add(tens), b'0' + number.wrapping_sub(tens.wrapping_mul(10)) % 10]
}

/// The four digits of a number below 10^4, with leading zeros.
#[inline(always)]
pub(super) fn four_digits(number: u16) -> [u8; 4] {
    let [a, b] = two_digits((number / 100 % 100) as u8);
    let [c, d] = two_digits((number % 100) as u8);
    [a, b, c, d]
}

/// The nine digits of a number below 10^9, with leading zeros.
pub(super) fn nine_digits(number: u32) -> [u8; 9] {
    let (high, low) = (number / 10_000, number % 10_000);
    let (top, high) = (high / 10_000, high % 10_000);
    let ([a, b, c, d], [e, f, g, h]) = (four_digits(high as u16), four_digits(low as u16));
    [b'0' + (top % 10) as u8, a, b, c, d, e, f, g, h]
}

/// Appends two uppercase hexadecimal digits per byte.
pub(super) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const CHUNK: usize = 32;
    out.reserve(bytes.len() * 2);
    for chunk in bytes.chunks(CHUNK) {
        let mut text = [[0; 2]; CHUNK];
        for (pair, byte) in text.iter_mut().zip(chunk) {
            *pair = [byte >> 4, byte & 15].map(|nibble| match nibble {
                0..10 => b'0' + nibble,
                _ => b'A' - 10 + nibble,
            });
        }
        out.extend_from_slice(text.as_flattened().get(..2 * chunk.len()).unwrap_or_default());
    }
}

/// Appends base64 with padding and without line breaks.
pub fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const CHUNK: usize = 16;
    out.reserve(bytes.len().div_ceil(3) * 4);
    let (triples, rest) = bytes.as_chunks::<3>();
    for chunk in triples.chunks(CHUNK) {
        let mut text = [[0; 4]; CHUNK];
        for (quad, triple) in text.iter_mut().zip(chunk) {
            *quad = base64_quad(*triple);
        }
        out.extend_from_slice(text.as_flattened().get(..4 * chunk.len()).unwrap_or_default());
    }
    match *rest {
        [a] => {
            let [a, b, ..] = base64_quad([a, 0, 0]);
            out.extend_from_slice(&[a, b, b'=', b'=']);
        }
        [a, b] => {
            let [a, b, c, _] = base64_quad([a, b, 0]);
            out.extend_from_slice(&[a, b, c, b'=']);
        }
        _ => {}
    }
}

fn base64_quad([a, b, c]: [u8; 3]) -> [u8; 4] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63]
        .map(|place| ALPHABET.get(usize::from(place)).copied().unwrap_or_default())
}

/// Appends UTF-8 as a JSON string with its quotes: only what JSON demands is escaped, as MySQL does it.
pub fn push_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, tail) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        let letter = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0C => b'f',
            _ => {
                out.extend_from_slice(b"\\u00");
                let low = byte & 15;
                let digit = if low < 10 { b'0' + low } else { b'a' - 10 + low };
                out.extend_from_slice(&[b'0' + (byte >> 4), digit]);
                rest = tail;
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
        rest = tail;
    }
    out.push(b'"');
}

/// How many bytes at the start need no escape.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The top bit of a byte is set where the byte is below 0x20 or, after the exclusive or, zero.
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let zeros = (quote.wrapping_sub(ONES) & !quote) | (slash.wrapping_sub(ONES) & !slash);
        let found = (controls | zeros) & TOPS;
        if found != 0 {
            // Borrows reach only bytes above the first that is found.
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let needs_escape = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    length + rest.iter().position(needs_escape).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        make(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_number_is_as_it_prints() {
        let mut number = 1_u64;
        for _ in 0..64 {
            for near in [number - 1, number, number + 1, number.wrapping_mul(7), u64::MAX - number]
            {
                assert_eq!(made(|out| push_unsigned(near, out)), near.to_string());
                let signed = near.cast_signed();
                assert_eq!(made(|out| push_signed(signed, out)), signed.to_string());
                let nine = u32::try_from(near % 1_000_000_000).unwrap();
                assert_eq!(nine_digits(nine), *format!("{nine:09}").as_bytes());
            }
            number = number.wrapping_mul(2).max(1);
        }
        for number in (0..20).map(|power| 10_u64.pow(power)) {
            assert_eq!(made(|out| push_unsigned(number, out)), number.to_string());
            assert_eq!(made(|out| push_unsigned(number - 1, out)), (number - 1).to_string());
        }
        for number in 0..100 {
            assert_eq!(two_digits(number), *format!("{number:02}").as_bytes());
        }
    }

    #[test]
    fn base64_pads() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(made(|out| push_base64(bytes.as_bytes(), out)), text);
        }
        let long = made(|out| push_base64(&[0xFB; 100], out));
        assert_eq!(long.len(), 136);
        assert!(long.starts_with("+/v7+/v7") && long.ends_with("+w=="));
    }

    #[test]
    fn hexadecimal_has_two_digits_for_every_byte() {
        for length in [0, 1, 31, 32, 33, 100] {
            let bytes: Vec<u8> = (0..=255).cycle().skip(150).take(length).collect();
            let wanted: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(made(|out| push_hex(&bytes, out)), wanted);
        }
    }

    #[test]
    fn every_string_reads_back_wherever_its_escapes_stand() {
        let all: String =
            (0..0x300).filter_map(char::from_u32).chain("日😀\u{2028}".chars()).collect();
        let text = made(|out| push_json_string(all.as_bytes(), out));
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), all);
        for special in ["\"", "\\", "\n", "\u{1f}", "\u{0}\"", "é\u{8}", "\u{7f}"] {
            for before in 0..20 {
                for after in [0, 3, 9] {
                    let text =
                        ["!".repeat(before), special.to_owned(), "\u{ff}#[]~ ".repeat(after)];
                    let text = text.concat();
                    let json = made(|out| push_json_string(text.as_bytes(), out));
                    assert_eq!(json, serde_json::to_string(&text).unwrap());
                }
            }
        }
    }
}
