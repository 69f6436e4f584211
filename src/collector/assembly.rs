//! Batches that come in fragments, of all agents: within a bound of memory. No I/O, no clock but the caller's.
//!
//! What a group of messages has changed holds when the group is in the log, and else never was.
//!
//! An agent may have one batch under way. What an agent began and left lying makes room when room is
//! needed; if there is none then, the agent is asked to begin again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::batch::{Assembled, Assembler, BatchError, Fragment, Limits};
use crate::mqtt::Bytes;

/// The fragments that wait for others.
pub struct Assembly {
    agents: HashMap<String, Waiting>,
    /// What there was of whom before the present group.
    before: HashMap<String, Option<Waiting>>,
    /// Bytes of all of them.
    bytes: usize,
    message_bytes_max: u64,
}

/// What there is of an agent's batch, and when something of it came last.
type Waiting = (Assembler, Instant);

/// What a message of an agent has led to.
pub(super) enum Brought {
    /// A whole batch.
    Batch(Bytes),
    /// A part of one, and more must come.
    Partly,
    /// It must be sent again from its first fragment.
    Again(&'static str),
}

impl Assembly {
    /// For batches within these limits, which compression makes smaller, and seldom a little larger.
    pub(super) fn new(limits: Limits) -> Self {
        let plain = u64::from(limits.plain_bytes_max);
        let message_bytes_max = plain + plain / 128 + HEADERS_BYTES_MAX;
        Self { agents: HashMap::new(), before: HashMap::new(), bytes: 0, message_bytes_max }
    }

    /// Takes a message as it came: a batch, or a fragment of one.
    pub(super) fn take(
        &mut self,
        agent: &str,
        message: &Bytes,
        now: Instant,
    ) -> Result<Brought, BatchError> {
        self.remember(agent);
        if !Fragment::is_one(message) {
            self.forget(agent);
            return Ok(Brought::Batch(message.clone()));
        }
        let fragment = Fragment::parse(message)?;
        let more = fragment.piece.len();
        if self.bytes.saturating_add(more) > self.bytes_max() {
            self.forget_idle(now);
            if self.bytes.saturating_add(more) > self.bytes_max() {
                self.forget(agent);
                return Ok(Brought::Again("too many large batches are under way at once"));
            }
        }
        let fresh = || (Assembler::default(), now);
        let (assembler, touched) = self.agents.entry(agent.to_owned()).or_insert_with(fresh);
        let before = assembler.bytes();
        let taken = assembler.take(&fragment, self.message_bytes_max);
        *touched = now;
        self.bytes = (self.bytes + assembler.bytes()).saturating_sub(before);
        Ok(match taken? {
            Assembled::Partly => Brought::Partly,
            Assembled::Broken => Brought::Again("fragments of the batch are missing"),
            Assembled::Wholly(message) => {
                self.agents.remove(agent);
                Brought::Batch(Bytes::from(message))
            }
        })
    }

    /// The group is in the log.
    pub(super) fn keep(&mut self) {
        self.before.clear();
    }

    /// The group is not in the log: it comes again.
    pub(super) fn undo(&mut self) {
        for (agent, before) in std::mem::take(&mut self.before) {
            match before {
                Some(waiting) => self.agents.insert(agent, waiting),
                None => self.agents.remove(&agent),
            };
        }
        self.bytes = self.agents.values().map(|(assembler, _)| assembler.bytes()).sum();
    }

    fn remember(&mut self, agent: &str) {
        if !self.before.contains_key(agent) {
            self.before.insert(agent.to_owned(), self.agents.get(agent).cloned());
        }
    }

    fn bytes_max(&self) -> usize {
        usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX).saturating_mul(MESSAGES_MAX)
    }

    fn forget(&mut self, agent: &str) {
        if let Some((assembler, _)) = self.agents.remove(agent) {
            self.bytes = self.bytes.saturating_sub(assembler.bytes());
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        self.agents.retain(|_, (_, touched)| now.saturating_duration_since(*touched) < IDLE_MAX);
        self.bytes = self.agents.values().map(|(assembler, _)| assembler.bytes()).sum();
    }
}

/// So many of the largest batches may be held at once.
const MESSAGES_MAX: usize = 2;
/// What a message has beside its body, at most.
const HEADERS_BYTES_MAX: u64 = 64 * 1024;
/// A batch of which nothing came for so long may be forgotten: its agent sends it again when it is back.
const IDLE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use crate::batch::{Fragments, Identity};
    use crate::position::Sequence;

    use super::*;

    fn of(message_bytes_max: u64) -> Assembly {
        Assembly { message_bytes_max, ..Assembly::new(Limits::default()) }
    }

    fn fragments(len: usize) -> Vec<Bytes> {
        let sequence = Sequence(1);
        let identity =
            Identity { agent: "a".into(), epoch: 1, sequence, previous_crc: 0, follows: None };
        let message = (0..len).map(|index| index as u8).collect();
        Fragments::of(&identity, message, 128).unwrap().map(Bytes::from).collect()
    }

    #[test]
    fn agents_are_kept_apart_and_a_whole_batch_ends_what_was_begun() {
        let (mut assembly, now) = (of(1000), Instant::now());
        let all = fragments(200);
        let (last, first) = all.split_last().unwrap();
        for agent in ["a", "b"] {
            for message in first {
                assert!(matches!(assembly.take(agent, message, now), Ok(Brought::Partly)));
            }
        }
        let whole = Bytes::from_static(b"RVLT and so on");
        assert!(
            matches!(assembly.take("a", &whole, now), Ok(Brought::Batch(bytes)) if bytes == whole)
        );
        assert!(matches!(assembly.take("a", last, now), Ok(Brought::Again(_))));
        assert!(matches!(assembly.take("b", last, now), Ok(Brought::Batch(_))));
        assert_eq!(assembly.bytes, 0);
    }

    #[test]
    fn a_group_that_is_not_logged_can_come_again() {
        let (mut assembly, now) = (of(1000), Instant::now());
        let all = fragments(200);
        let (last, first) = all.split_last().unwrap();
        for message in first {
            assembly.take("a", message, now).unwrap();
            assembly.keep();
        }
        for _ in 0..3 {
            assert!(matches!(assembly.take("a", last, now), Ok(Brought::Batch(_))));
            assert!(matches!(assembly.take("b", &all[0], now), Ok(Brought::Partly)));
            assembly.undo();
            assert_eq!(assembly.agents.len(), 1);
        }
        assert!(matches!(assembly.take("a", last, now), Ok(Brought::Batch(_))));
        assembly.keep();
        assert_eq!((assembly.bytes, assembly.agents.len()), (0, 0));
    }

    #[test]
    fn memory_is_bounded_whoever_begins_and_idle_ones_make_room() {
        let (mut assembly, now) = (of(200), Instant::now());
        let all = fragments(200);
        let mut refused = 0;
        for number in 0..40 {
            let brought = assembly.take(&format!("a{number}"), &all[0], now).unwrap();
            refused += usize::from(matches!(brought, Brought::Again(_)));
            assert!(assembly.bytes <= 400, "{}", assembly.bytes);
        }
        assert!(refused > 30, "{refused}");
        let later = now + IDLE_MAX;
        assert!(matches!(assembly.take("z", &all[0], later), Ok(Brought::Partly)));
        assert_eq!(assembly.agents.len(), 1);
    }
}
