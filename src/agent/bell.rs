//! SHELL: how the reading thread wakes the link: one ring, however many batches there are.
//!
//! A channel of no values would do, but it wakes its receiver while it holds its lock, so that each ring
//! would put both threads to sleep and wake them once more.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use atomic_waker::AtomicWaker;

/// For one who waits and any who ring.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    /// Wakes who waits, or lets the next wait end at once.
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Waits until it is rung. Can be cancelled.
    pub(super) async fn heard(&self) {
        poll_fn(|context| {
            if self.rung.swap(false, Ordering::Acquire) {
                return Poll::Ready(());
            }
            self.waker.register(context.waker());
            // It may have been rung before it was known whom to wake.
            match self.rung.swap(false, Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use smol::future;

    use super::*;

    #[test]
    fn a_ring_is_heard_once_whenever_it_comes() {
        let bell = Arc::new(Bell::default());
        bell.ring();
        bell.ring();
        future::block_on(bell.heard());
        assert!(future::block_on(future::poll_once(bell.heard())).is_none(), "both were one");
        let (other, rings) = (Arc::clone(&bell), 200);
        let (answer, answered) = std::sync::mpsc::channel();
        let ringer = std::thread::spawn(move || {
            for _ in 0..rings {
                other.ring();
                answered.recv().unwrap();
            }
        });
        for _ in 0..rings {
            future::block_on(bell.heard());
            answer.send(()).unwrap();
        }
        ringer.join().unwrap();
    }
}
