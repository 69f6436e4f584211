//! SHELL: the line of batches before the intake: every agent has its own, and they take turns, so that
//! who brings much, or what takes long, makes nobody else wait for more than one of his.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hall::Job;

/// The line; shared between those who bring and the intake's thread.
#[derive(Default)]
pub(super) struct Line {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: HashMap<String, VecDeque<Job>>,
    turns: VecDeque<String>,
    closed: bool,
}

impl Line {
    /// Joins; `false` if the line is closed.
    pub(super) fn join(&self, job: Job) -> bool {
        let mut waiting = self.waiting();
        if waiting.closed {
            return false;
        }
        let agent = job.inbound.agent.clone();
        let own = waiting.jobs.entry(agent.clone()).or_default();
        own.push_back(job);
        if own.len() == 1 {
            waiting.turns.push_back(agent);
        }
        self.came.notify_one();
        true
    }

    /// The next group: what is there, and nothing is waited for behind the first. Empty if nothing comes for
    /// `idle_max`; `None` when the line is closed and empty.
    pub(super) fn group(&self, idle_max: Duration) -> Option<Vec<Job>> {
        let waiting = self.waiting();
        let nothing = |waiting: &mut Waiting| waiting.turns.is_empty() && !waiting.closed;
        let waited = self.came.wait_timeout_while(waiting, idle_max, nothing);
        let (mut waiting, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && nothing(&mut waiting) {
            return Some(Vec::new());
        }
        let (mut group, mut plain_bytes) = (Vec::new(), 0u64);
        while group.len() < GROUP_MAX
            && plain_bytes < GROUP_PLAIN_BYTES_MAX
            && let Some(job) = waiting.next()
        {
            plain_bytes += job.plain_bytes();
            group.push(job);
        }
        (!group.is_empty()).then_some(group)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().jobs.values().map(VecDeque::len).sum()
    }

    /// Nothing more is taken in.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.came.notify_all();
    }

    /// Whether nothing more is taken in.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The oldest batch of the agent whose turn it is.
    fn next(&mut self) -> Option<Job> {
        let agent = self.turns.pop_front()?;
        let own = self.jobs.get_mut(&agent)?;
        let job = own.pop_front();
        if own.is_empty() {
            self.jobs.remove(&agent);
        } else {
            self.turns.push_back(agent);
        }
        job
    }
}

/// One append takes at most so many batches …
const GROUP_MAX: usize = 16;
/// … and ends with the one that makes them so large, decompressed: answers wait for the whole group.
const GROUP_PLAIN_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Identity, Meta, frame};
    use crate::collector::hall::tests::job;
    use crate::position::Sequence;

    const IDLE: Duration = Duration::from_secs(60);

    fn agents(group: &[Job]) -> Vec<&str> {
        group.iter().map(|job| job.inbound.agent.as_str()).collect()
    }

    #[test]
    fn agents_take_turns_and_each_keeps_its_order() {
        let line = Line::default();
        for (agent, message) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("c", "5")] {
            assert!(line.join(job(agent, message.into())));
        }
        let group = line.group(IDLE).unwrap();
        assert_eq!(agents(&group), ["a", "b", "c", "a", "a"]);
        let messages: Vec<_> = group.iter().map(|job| job.inbound.message.to_vec()).collect();
        assert_eq!(messages, [b"1", b"4", b"5", b"2", b"3"]);
        line.join(job("a", "6".into()));
        line.close();
        assert!(!line.join(job("a", "7".into())));
        assert_eq!(line.group(IDLE).unwrap().len(), 1, "what is there is still taken");
        assert!(line.group(IDLE).is_none());
    }

    #[test]
    fn a_batch_that_is_large_inside_ends_a_group() {
        let line = Line::default();
        let (agent, epoch, sequence) = ("a".into(), 1, Sequence(1));
        let identity = Identity { agent, epoch, sequence, previous_crc: 0, follows: None };
        let large = Meta { plain_len: 20 << 20, ..Meta::default() };
        let bomb = frame(&identity, &large.encode(), b"");
        for _ in 0..3 {
            line.join(job("a", bomb.clone().into()));
        }
        line.join(job("b", "1".into()));
        assert_eq!(agents(&line.group(IDLE).unwrap()), ["a"]);
        assert_eq!(agents(&line.group(IDLE).unwrap()), ["b", "a"]);
    }
}
