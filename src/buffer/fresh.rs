//! The batch that was staged last, for the link that is about to ask for it: it need not be read again.

use super::rows::Found;
use super::{Parcel, rows};

/// A batch as it was staged.
pub(super) struct Fresh {
    pub(super) id: i64,
    rows: u32,
    meta: Vec<u8>,
    body: Vec<u8>,
}

impl Fresh {
    /// `None` if it is large.
    pub(super) fn of(id: i64, parcel: &Parcel) -> Option<Self> {
        let Parcel { meta, body, rows, .. } = parcel;
        (body.len() <= FRESH_BYTES_MAX).then(|| Self {
            id,
            rows: *rows,
            meta: meta.clone(),
            body: body.clone(),
        })
    }

    /// What the disk would tell of it.
    pub(super) fn found(self) -> Found {
        let Self { rows, meta, body, .. } = self;
        Found::Sound { crc: rows::crc(&meta, &body), rows, meta, body }
    }
}

/// Bytes of a body that is kept in memory until it is asked for.
const FRESH_BYTES_MAX: usize = 16 << 10;
