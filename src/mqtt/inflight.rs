//! What was sent and is not yet answered, under packet identifiers that are never used twice at once.

use std::collections::VecDeque;
use std::time::Instant;

/// Packets that wait for their answer, oldest first.
#[derive(Debug)]
pub(super) struct Inflight<T> {
    waiting: VecDeque<(u16, T)>,
    last_id: u16,
    /// When the oldest began to be the one that we wait for: an answer came, or it was sent.
    since: Option<Instant>,
}

impl<T> Inflight<T> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), last_id: 0, since: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest that waits.
    pub(super) fn first(&self) -> Option<&T> {
        self.waiting.front().map(|(_, value)| value)
    }

    /// Since when an answer is due, if any.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Notes a packet and gives it an identifier; `None` if [`WAITING_MAX`] wait already.
    pub(super) fn add(&mut self, value: T, now: Instant) -> Option<u16> {
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let id = self.free_id();
        self.last_id = id;
        self.waiting.push_back((id, value));
        self.since.get_or_insert(now);
        Some(id)
    }

    /// The answer to `id` came. `None` if nothing waits under it, which is no harm: a server may
    /// answer what a former connection asked.
    pub(super) fn answered(&mut self, id: u16, now: Instant) -> Option<T> {
        // Peers answer in order, so the first is nearly always it.
        let index = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let (_, value) = self.waiting.remove(index)?;
        self.since = if self.waiting.is_empty() { None } else { Some(now) };
        Some(value)
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.since = None;
    }

    /// The next identifier that is not taken. Ends, for fewer than 65,535 are: [`WAITING_MAX`].
    fn free_id(&self) -> u16 {
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.waiting.iter().any(|(taken, _)| *taken == id) {
                return id;
            }
        }
    }
}

/// As many as anybody needs: batches of 64 KiB fill a window of 1 MB with 16. Searching among so few
/// costs nothing.
pub(super) const WAITING_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_not_given_out_while_it_waits() {
        let now = Instant::now();
        let mut inflight = Inflight::new();
        assert_eq!(inflight.add("oldest", now), Some(1));
        for _ in 0..70_000 {
            let id = inflight.add("", now).unwrap();
            assert!(id > 1, "1 still waits, and 0 is none");
            assert_eq!(inflight.answered(id, now), Some(""));
        }
        assert_eq!(inflight.answered(1, now), Some("oldest"));
        assert_eq!(inflight.answered(1, now), None);
    }

    #[test]
    fn there_is_an_end_to_what_may_wait_and_identifiers_go_round() {
        let now = Instant::now();
        let mut inflight = Inflight::new();
        inflight.last_id = u16::MAX - 1;
        assert_eq!(inflight.add((), now), Some(u16::MAX));
        for id in 1..WAITING_MAX {
            assert_eq!(inflight.add((), now), Some(id as u16));
        }
        assert_eq!(inflight.add((), now), None);
        inflight.answered(300, now).unwrap();
        inflight.last_id = 299;
        assert_eq!(inflight.add((), now), Some(300));
    }

    #[test]
    fn waiting_is_counted_from_the_last_answer() {
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(9);
        let mut inflight = Inflight::new();
        let first = inflight.add((), start).unwrap();
        inflight.add((), start).unwrap();
        assert_eq!(inflight.since(), Some(start));
        inflight.answered(first, later).unwrap();
        assert_eq!(inflight.since(), Some(later));
    }
}
