//! MariaDB's UUID and INET6: how they are kept, and how they are written.

use std::fmt::Write as _;

/// Brings a UUID from the order in a row to the order in which it is written.
///
/// MariaDB keeps UUIDs of the versions 1 to 5 with their segments reversed, so that they sort by time, and
/// marks that by the variant's bit in byte 6 (`plugin/type_uuid/sql_type_uuid.h`). Columns made by
/// a server before 10.11.5 reverse every UUID; for the versions 6 and up the log cannot tell those.
pub(super) fn uuid(row: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = row;
    if g & i.wrapping_neg() & 0x80 == 0 {
        return row;
    }
    [m, n, o, p, k, l, i, j, g, h, a, b, c, d, e, f]
}

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
    fn only_reversed_uuids_are_turned() {
        let written = [
            0x6c, 0xcd, 0x78, 0x0c, 0xba, 0xba, 0x10, 0x26, 0x95, 0x64, 0x5b, 0x8c, 0x65, 0x60,
            0x24, 0xdb,
        ];
        let kept = [
            0x5b, 0x8c, 0x65, 0x60, 0x24, 0xdb, 0x95, 0x64, 0x10, 0x26, 0xba, 0xba, 0x6c, 0xcd,
            0x78, 0x0c,
        ];
        assert_eq!(uuid(kept), written);
        let version_7 = [
            0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x7d, 0xef, 0x81, 0x23, 0x45, 0x67, 0x89, 0xab,
            0xcd, 0xef,
        ];
        assert_eq!(uuid(version_7), version_7);
        assert_eq!(uuid([0; 16]), [0; 16]);
    }
}
