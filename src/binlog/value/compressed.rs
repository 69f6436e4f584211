//! MariaDB's compressed columns: the stored bytes behind a header byte.
//!
//! `sql/field_comp.cc`: 0 is followed by the plain bytes. In the header of zlib (0x80) the lowest three bits
//! count the big-endian bytes of the plain length that follow, and bit 3 says that the stream has no
//! header and checksum of its own. An empty value is stored as nothing at all.

use std::borrow::Cow;

use miniz_oxide::inflate::decompress_slice_iter_to_slice;

use super::{Value, big_endian, read_text};
use crate::binlog::compressed::RATIO_MAX;
use crate::binlog::table::Column;

/// Reads one value of a compressed column.
pub(super) fn decode<'a>(column: &Column, bytes: &'a [u8]) -> Result<Value<'a>, &'static str> {
    let plain = match bytes.split_first() {
        None => Cow::Borrowed(bytes),
        Some((0, plain)) => Cow::Borrowed(plain),
        Some((header, rest)) if header & 0xF0 == 0x80 => {
            let (length, stream) =
                rest.split_at_checked(usize::from(header & 7)).ok_or("COMPRESSED: no length")?;
            let length = usize::try_from(big_endian(length)).map_err(|_| "COMPRESSED: too long")?;
            Cow::Owned(inflate(stream, length, header & 8 == 0)?)
        }
        Some(_) => return Err("COMPRESSED: an unknown method"),
    };
    Ok(read_text(column.collation, plain))
}

/// Decodes a stream that must give exactly `length` bytes.
fn inflate(stream: &[u8], length: usize, wrapped: bool) -> Result<Vec<u8>, &'static str> {
    if length > stream.len().saturating_mul(RATIO_MAX) {
        return Err("COMPRESSED: no stream of this length holds that much");
    }
    let mut plain = vec![0; length];
    match decompress_slice_iter_to_slice(&mut plain, std::iter::once(stream), wrapped, false) {
        Ok(written) if written == length => Ok(plain),
        Ok(_) => Err("COMPRESSED: fewer bytes than said"),
        Err(_) => Err("COMPRESSED: a damaged stream, or more bytes than said"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        match decode(&Column { collation: Some(63), ..Column::default() }, bytes)? {
            Value::Bytes(bytes, _) => Ok(bytes.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// A stream without zlib's own header and checksum.
    fn bare(stream: &[u8], length: u16) -> Vec<u8> {
        [&[0x8A][..], &length.to_be_bytes(), stream].concat()
    }

    fn squares() -> String {
        (0..30).map(|n| format!("{n} squared is {}; ", n * n)).collect()
    }

    #[test]
    fn each_kind_of_block_reads_back() {
        assert_eq!(read(&[]).unwrap(), b"");
        assert_eq!(read(b"\0plain").unwrap(), b"plain");
        let stored = [1, 3, 0, 0xFC, 0xFF, b'a', b'b', b'c'];
        assert_eq!(read(&bare(&stored, 3)).unwrap(), b"abc");
        assert_eq!(read(&bare(FIXED, 1000)).unwrap(), vec![b'v'; 1000]);
        let text = squares();
        let length = u16::try_from(text.len()).unwrap();
        assert_eq!(read(&bare(DYNAMIC, length)).unwrap(), text.as_bytes());
        let wrapped = [&[0x81, 3, 0x78, 0x9C][..], &stored, &[0x02, 0x4D, 0x01, 0x27]].concat();
        assert_eq!(read(&wrapped).unwrap(), b"abc");
        let (last, _) = wrapped.split_last().unwrap().1.split_last().unwrap();
        assert!(read(&[&wrapped[..wrapped.len() - 2], &[*last, 0]].concat()).is_err(), "checksum");
    }

    #[test]
    fn every_truncation_and_every_changed_byte_ends_in_bytes_or_an_error() {
        let length = u16::try_from(squares().len()).unwrap();
        for cut in 0..DYNAMIC.len() {
            assert!(read(&bare(&DYNAMIC[..cut], length)).is_err(), "cut at {cut}");
            for byte in [0, 0x55, 0xFF] {
                let mut changed = DYNAMIC.to_vec();
                changed[cut] = byte;
                if let Ok(out) = read(&bare(&changed, length)) {
                    assert_eq!(out.len(), usize::from(length), "byte {cut} changed");
                }
            }
        }
        assert!(read(&[&[0x8F][..], &[0xFF; 7], FIXED].concat()).is_err());
        assert!(read(&bare(FIXED, 999)).is_err());
        assert!(read(&bare(FIXED, 1001)).is_err());
        assert!(read(&[0x90, 1]).is_err());
        assert!(read(&[0x84, 1]).is_err());
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
