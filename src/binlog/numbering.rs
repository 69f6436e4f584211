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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_offset_count_on_and_those_of_another_begin_anew() {
        let mut numbering = Numbering::default();
        let mut firsts = Vec::new();
        for (offset, rows) in [(100, 3), (200, 2), (200, 0), (200, 4), (300, 1)] {
            firsts.push(numbering.event(offset));
            numbering.rows(rows);
        }
        assert_eq!(firsts, [0, 0, 2, 2, 0]);
        numbering.begin();
        assert_eq!(numbering.event(300), 0);
    }
}
