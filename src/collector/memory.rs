//! SHELL: who may hold how much of the collector's memory: batches that wait for the intake, and packets
//! that are still arriving.
//!
//! A packet gets the room for all of it before it is read, or it waits its turn; nobody holds a part of
//! what he needs while he waits for the rest, so nobody waits for ever. Half of the memory is for small
//! packets, half for large ones: who keeps a large packet coming for hours takes nothing from those who
//! send small ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::channel::{self, Receiver, Sender};

/// The memory of all connections; cheap to clone.
#[derive(Clone)]
pub(super) struct Memory(Arc<Shared>);

struct Shared {
    pool_bytes_max: usize,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    small: Pool,
    large: Pool,
}

#[derive(Default)]
struct Pool {
    held: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    bytes: usize,
    account: Account,
    granted: Sender<Held>,
}

/// What one connection holds.
#[derive(Clone, Default)]
pub(super) struct Account(Arc<Mutex<usize>>);

/// A piece of the memory, given back when it is dropped.
pub(super) struct Held {
    memory: Memory,
    account: Account,
    bytes: usize,
}

/// What becomes of a wish for memory.
pub(super) enum Asked {
    /// Here it is.
    Granted(Held),
    /// It comes when others have given back.
    Later(Receiver<Held>),
}

impl Account {
    /// How many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pools {
    fn of(&mut self, bytes: usize) -> &mut Pool {
        if bytes <= SMALL_BYTES_MAX { &mut self.small } else { &mut self.large }
    }
}

impl Pool {
    /// Whether so much may be added. Whoever is alone may have more than all: one packet always passes.
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.held == 0 || self.held.saturating_add(bytes) <= bytes_max
    }
}

impl Memory {
    /// So many bytes, for everybody together.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared { pool_bytes_max: bytes_max / 2, pools: Mutex::default() }))
    }

    /// Room for what has not arrived yet.
    pub(super) fn ask(&self, bytes: usize, account: &Account) -> Asked {
        let mut pools = self.pools();
        let pool = pools.of(bytes);
        if pool.waiting.is_empty() && pool.has_room(bytes, self.0.pool_bytes_max) {
            pool.held += bytes;
            return Asked::Granted(self.hold(bytes, account));
        }
        let (granted, later) = channel::bounded(1);
        pool.waiting.push_back(Waiting { bytes, account: account.clone(), granted });
        Asked::Later(later)
    }

    /// Room for what is here already; it may be more than there is, and then those who ask wait longer.
    pub(super) fn take(&self, bytes: usize, account: &Account) -> Held {
        self.pools().of(bytes).held += bytes;
        self.hold(bytes, account)
    }

    /// Whether others wait for room of this size.
    pub(super) fn is_short_of(&self, bytes: usize) -> bool {
        !self.pools().of(bytes).waiting.is_empty()
    }

    /// Whether more small things are here than there is room for.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.pools().small.held >= self.0.pool_bytes_max
    }

    /// Bytes that are held by anybody.
    pub(super) fn held(&self) -> usize {
        let pools = self.pools();
        pools.small.held.saturating_add(pools.large.held)
    }

    fn hold(&self, bytes: usize, account: &Account) -> Held {
        *account.lock() += bytes;
        Held { memory: self.clone(), account: account.clone(), bytes }
    }

    fn give_back(&self, bytes: usize) {
        let mut granted = Vec::new();
        let mut pools = self.pools();
        let pool = pools.of(bytes);
        pool.held = pool.held.saturating_sub(bytes);
        while let Some(next) = pool.waiting.front()
            && pool.has_room(next.bytes, self.0.pool_bytes_max)
            && let Some(next) = pool.waiting.pop_front()
        {
            pool.held += next.bytes;
            granted.push((self.hold(next.bytes, &next.account), next.granted));
        }
        drop(pools);
        for (held, to) in granted {
            // Who has gone away meanwhile gives it back by this.
            let _ = to.try_send(held);
        }
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.account.lock() -= self.bytes;
        self.memory.give_back(self.bytes);
    }
}

/// Batches have 256 KiB before they are compressed, unless a row is larger.
const SMALL_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn granted(asked: Asked) -> Held {
        match asked {
            Asked::Granted(held) => held,
            Asked::Later(_) => panic!("there is room"),
        }
    }

    fn later(asked: Asked) -> Receiver<Held> {
        match asked {
            Asked::Granted(_) => panic!("there is no room"),
            Asked::Later(receiver) => receiver,
        }
    }

    #[test]
    fn who_waits_gets_it_in_turn_and_who_has_gone_is_passed_over() {
        let (memory, mine, yours) = (Memory::new(8 * MIB), Account::default(), Account::default());
        let first = granted(memory.ask(3 * MIB, &mine));
        let gone = later(memory.ask(2 * MIB, &yours));
        let behind = later(memory.ask(MIB, &yours));
        assert!(behind.try_recv().is_err(), "not before the one that came earlier");
        drop(gone);
        drop(first);
        assert_eq!((mine.bytes(), yours.bytes()), (0, MIB), "held while it is under way");
        let held = behind.try_recv().expect("it is here");
        assert!(!memory.is_short_of(MIB));
        drop(held);
        assert_eq!(yours.bytes(), 0);
    }

    #[test]
    fn large_packets_take_nothing_from_small_ones() {
        let (memory, account) = (Memory::new(8 * MIB), Account::default());
        let _large = granted(memory.ask(4 * MIB, &account));
        let _waits = later(memory.ask(MIB, &account));
        let _small = granted(memory.ask(1000, &account));
        assert!(memory.is_short_of(MIB) && !memory.is_short_of(1000));
    }

    #[test]
    fn what_has_arrived_is_counted_whether_there_is_room_or_not() {
        let (memory, account) = (Memory::new(2000), Account::default());
        let taken = memory.take(1500, &account);
        assert!(memory.is_overdrawn());
        let waits = later(memory.ask(10, &account));
        drop(taken);
        assert!(waits.try_recv().is_ok() && !memory.is_overdrawn());
    }

    #[test]
    fn one_packet_always_passes() {
        let (memory, account) = (Memory::new(MIB), Account::default());
        let held = granted(memory.ask(64 * MIB, &account));
        later(memory.ask(MIB, &account));
        drop(held);
        granted(memory.ask(64 * MIB, &account));
    }
}
