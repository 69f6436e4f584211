//! The name of an XA transaction, compared by value.
//!
//! Sources: `XID` in `sql/xa.h` and `XA_prepare_event` (MySQL), `struct xid_t` in `sql/handler.h` (MariaDB). Statements name it as `X'gtrid',X'bqual',format`.

use std::fmt;

use super::reader::{DecodeError, Reader};

/// An XA transaction's name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Xid {
    /// The format's number; 1 if the client gave none.
    format: u32,
    /// The bytes of gtrid and bqual behind each other.
    bytes: Vec<u8>,
    /// Bytes of gtrid.
    global_len: u8,
}

/// `MAXGTRIDSIZE` and `MAXBQUALSIZE`.
const PART_LEN_MAX: usize = 64;

impl Xid {
    /// `None` if one of the parts is longer than the servers allow (64 bytes).
    pub fn new(format: u32, global: &[u8], branch: &[u8]) -> Option<Self> {
        if global.len() > PART_LEN_MAX || branch.len() > PART_LEN_MAX {
            return None;
        }
        let global_len = u8::try_from(global.len()).ok()?;
        Some(Self { format, bytes: [global, branch].concat(), global_len })
    }

    /// Format, lengths and bytes, as XA_PREPARE has them.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let format = reader.u32("xa prepare: format")?;
        let global = reader.u32("xa prepare: gtrid length")?;
        let branch = reader.u32("xa prepare: bqual length")?;
        let longest = global.max(branch);
        if longest as usize > PART_LEN_MAX {
            return Err(reader.invalid(longest.into(), "xa prepare: length"));
        }
        let bytes = reader.bytes((global + branch) as usize, "xa prepare: id")?.to_vec();
        Ok(Self { format, bytes, global_len: global as u8 })
    }

    /// Bytes by which a store may know it: equal for equal names alone.
    pub fn key(&self) -> Vec<u8> {
        let mut key = self.format.to_le_bytes().to_vec();
        key.push(self.global_len);
        key.extend_from_slice(&self.bytes);
        key
    }
}

impl fmt::Display for Xid {
    /// As the servers write it: `X'6f6e65',X'',1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let global_len = usize::from(self.global_len).min(self.bytes.len());
        let (global, branch) = self.bytes.split_at(global_len);
        for part in [global, branch] {
            f.write_str("X'")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("',")?;
        }
        write!(f, "{}", self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_by_value_alone() {
        let name = |format, global: &[u8], branch: &[u8]| Xid::new(format, global, branch).unwrap();
        let one = name(1, b"ab", b"c");
        assert_eq!(one, name(1, b"ab", b"c"));
        for other in [name(1, b"a", b"bc"), name(2, b"ab", b"c"), name(1, b"abc", b"")] {
            assert_ne!(one, other);
            assert_ne!(one.key(), other.key());
        }
        assert_eq!(one.to_string(), "X'6162',X'63',1");
        assert_eq!(Xid::new(1, &[0; 65], b""), None);
    }

    #[test]
    fn an_event_s_lengths_are_believed_within_limits() {
        let whole = b"\x01\0\0\0\x02\0\0\0\x01\0\0\0abc";
        assert_eq!(Xid::decode(&mut Reader::new(whole)).ok(), Xid::new(1, b"ab", b"c"));
        for len in 0..whole.len() {
            assert!(Xid::decode(&mut Reader::new(&whole[..len])).is_err());
        }
        let huge = b"\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xffabc";
        assert!(Xid::decode(&mut Reader::new(huge)).is_err());
    }
}
