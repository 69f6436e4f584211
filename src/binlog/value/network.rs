//! MariaDB's UUID and INET6: how they are written.
//!
//! Inside its tables MariaDB keeps some UUIDs with their parts reversed; the log has them in the order in which
//! they are written.

use super::digits::push_unsigned;

/// Appends `6ccd780c-baba-1026-9564-5b8c656024db`.
pub(super) fn push_uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([byte >> 4, byte & 15].map(lower_hex));
    }
}

/// Appends `192.0.2.1`.
pub(super) fn push_inet4(bytes: [u8; 4], out: &mut Vec<u8>) {
    for (index, byte) in bytes.into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_unsigned(byte.into(), out);
    }
}

/// Appends an INET6 as MariaDB prints it: the longest run of zero words becomes `::`, even if it is one
/// word, and addresses that hold an IPv4 address end in it.
pub(super) fn push_inet6(bytes: [u8; 16], out: &mut Vec<u8>) {
    let mut words = [0_u16; 8];
    for (word, pair) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u16::from_be_bytes(*pair);
    }
    let (gap, length) = longest_zeros(&words);
    let has_v4 = gap == 0 && (length == 6 || (length == 5 && words[5] == 0xFFFF));
    let shown = if has_v4 { 6 } else { 8 };
    let mut index = 0;
    while index < shown {
        if length > 0 && index == gap {
            out.extend_from_slice(b"::");
            index += length;
            continue;
        }
        if index > 0 && (length == 0 || index != gap + length) {
            out.push(b':');
        }
        push_word(words.get(index).copied().unwrap_or_default(), out);
        index += 1;
    }
    if has_v4 {
        if length == 5 {
            out.push(b':');
        }
        let [.., a, b, c, d] = bytes;
        push_inet4([a, b, c, d], out);
    }
}

/// Without leading zeros.
fn push_word(word: u16, out: &mut Vec<u8>) {
    let first = (word.leading_zeros() / 4).min(3);
    out.extend((first..4).map(|place| lower_hex((word >> (12 - 4 * place) & 15) as u8)));
}

fn lower_hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
}

/// The first of the longest runs: its start and length, (0, 0) if there is none.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    for start in 0..words.len() {
        let length = words.iter().skip(start).take_while(|word| **word == 0).count();
        if length > best.1 {
            best = (start, length);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inet6_reads_as_mariadb_prints_it() {
        for text in [
            "2001:db8::1:1:1:1:1",
            "::1.2.3.4",
            "::0.1.0.2",
            "1::2:0:0:3:4",
            "1:0:0:2::3",
            "::",
            "::1",
            "1::",
            "::ffff:1.2.3.4",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address: std::net::Ipv6Addr = text.parse().unwrap();
            let mut out = Vec::new();
            push_inet6(address.octets(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn a_uuid_reads_in_the_order_of_its_bytes() {
        let bytes = 0x6ccd_780c_baba_1026_9564_5b8c_6560_24db_u128.to_be_bytes();
        let mut out = Vec::new();
        push_uuid(bytes, &mut out);
        assert_eq!(out, b"6ccd780c-baba-1026-9564-5b8c656024db");
    }
}
