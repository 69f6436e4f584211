//! SHELL: those who knocked and are not in yet: in their handshake, or silent behind it.
//!
//! A handshake takes a moment and a silent peer waits for its deadline, so that the oldest is the one
//! that is least missed: above the limit it goes. Whoever knocks ten thousand times and says nothing
//! keeps nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::channel::{self, Receiver, Sender};

/// All of them; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<Pending>>);

#[derive(Default)]
struct Pending {
    last: u64,
    waiting: BTreeMap<u64, Sender<()>>,
}

/// One of them; no longer when it is dropped.
pub(super) struct Arrival {
    arrivals: Arrivals,
    number: u64,
    /// Closed when it has to go.
    gone: Receiver<()>,
}

impl Arrivals {
    /// Somebody knocks. Above the limit the oldest goes.
    pub(super) fn begin(&self) -> Arrival {
        let (kept, gone) = channel::bounded(1);
        let mut pending = self.pending();
        pending.last += 1;
        let number = pending.last;
        pending.waiting.insert(number, kept);
        if pending.waiting.len() > ARRIVALS_MAX {
            pending.waiting.pop_first();
        }
        Arrival { arrivals: self.clone(), number, gone }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// Yields when it has to go.
    pub(super) async fn is_gone(&self) {
        let _ = self.gone.recv().await;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.arrivals.pending().waiting.remove(&self.number);
    }
}

/// A fleet that comes back at once is as large.
pub(super) const ARRIVALS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_limit_the_oldest_goes() {
        let arrivals = Arrivals::default();
        let mut waiting: Vec<_> = (0..ARRIVALS_MAX).map(|_| arrivals.begin()).collect();
        waiting.remove(5);
        waiting.push(arrivals.begin());
        assert!(waiting.iter().all(|arrival| !arrival.gone.is_closed()), "there is a place");
        waiting.push(arrivals.begin());
        let gone: Vec<_> = waiting.iter().map(|arrival| arrival.gone.is_closed()).collect();
        assert!(gone[0] && gone[1..].iter().all(|gone| !gone));
    }
}
