//! MariaDB's UUID and INET6: how they are written.
//!
//! Inside its tables MariaDB keeps some UUIDs with their parts reversed; the log has them in the order in which
//! they are written.

use std::fmt::Write as _;

/// Appends `6ccd780c-baba-1026-9564-5b8c656024db`.
pub(super) fn push_uuid(bytes: [u8; 16], out: &mut String) {
    write!(out, "{}", crate::position::Uuid(bytes)).expect("a String takes all");
}

/// Appends an INET6 as MariaDB prints it: the longest run of zero words becomes `::`, even if it is one
/// word, and addresses that hold an IPv4 address end in it.
pub(super) fn push_inet6(bytes: [u8; 16], out: &mut String) {
    let mut words = [0_u16; 8];
    for (word, pair) in words.iter_mut().zip(bytes.chunks_exact(2)) {
        *word = u16::from_be_bytes(pair.try_into().expect("pairs"));
    }
    let (gap, length) = longest_zeros(&words);
    let has_v4 = gap == 0 && (length == 6 || (length == 5 && words[5] == 0xFFFF));
    let shown = if has_v4 { 6 } else { 8 };
    let mut index = 0;
    while index < shown {
        if length > 0 && index == gap {
            out.push_str("::");
            index += length;
            continue;
        }
        if index > 0 && (length == 0 || index != gap + length) {
            out.push(':');
        }
        let word = words.get(index).copied().unwrap_or_default();
        write!(out, "{word:x}").expect("a String takes all");
        index += 1;
    }
    if has_v4 {
        if length == 5 {
            out.push(':');
        }
        let [.., a, b, c, d] = bytes;
        write!(out, "{}", std::net::Ipv4Addr::new(a, b, c, d)).expect("a String takes all");
    }
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
            let mut out = String::new();
            push_inet6(address.octets(), &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn a_uuid_reads_in_the_order_of_its_bytes() {
        let bytes = 0x6ccd_780c_baba_1026_9564_5b8c_6560_24db_u128.to_be_bytes();
        let mut out = String::new();
        push_uuid(bytes, &mut out);
        assert_eq!(out, "6ccd780c-baba-1026-9564-5b8c656024db");
    }
}
