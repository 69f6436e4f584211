//! The number that tells rows of one place apart.
//!
//! A change is known by its file, the offset of its event, and the number of its row there. Most offsets
//! belong to one rows event; all those of a compressed transaction share that of the event around
//! them. So a row's number is its index among the rows of its transaction that share the offset, those
//! that were undone counted.

/// Numbers the rows of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbering {
    offset: u64,
    next: u64,
}

impl Numbering {
    /// The number of the first row of an event that starts there.
    pub fn event(&mut self, offset: u64) -> u64 {
        if self.offset != offset {
            *self = Self { offset, next: 0 };
        }
        self.next
    }

    /// So many rows of that event were numbered.
    pub fn rows(&mut self, count: u64) {
        self.next = self.next.saturating_add(count);
    }

    /// A transaction begins.
    pub fn begin(&mut self) {
        *self = Self::default();
    }
}
