//! Checked reads from a batch's bytes.

use super::BatchError;

/// A cursor that names what it wants and cannot panic.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(
        &mut self,
        len: usize,
        field: &'static str,
    ) -> Result<&'a [u8], BatchError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(BatchError::Short(field))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, BatchError> {
        let (&byte, rest) = self.rest.split_first().ok_or(BatchError::Short(field))?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, BatchError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(BatchError::Short(field))?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*head))
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, BatchError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BatchError::Malformed(field, value))
    }
}

/// Seven bits a byte, least significant first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
