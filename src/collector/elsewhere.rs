//! What the other collectors of a shared subscription have acknowledged.
//!
//! The broker gives an agent's batches to one collector of the group, and to another one when that is
//! gone. Acknowledgements go to a topic that all of them hear, so whoever comes next knows where to go on
//! with an agent that it has never seen, and never tells it less than it was told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::Ack;

/// The newest acknowledgement of each agent; cheap to clone, and empty unless collectors share.
#[derive(Clone, Default)]
pub struct Elsewhere(Arc<Mutex<HashMap<String, Ack>>>);

impl Elsewhere {
    /// An acknowledgement went by.
    pub fn heard(&self, agent: &str, ack: Ack) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = |known: &Ack| (ack.epoch, ack.sequence) > (known.epoch, known.sequence);
        if heard.get(agent).is_none_or(newer) {
            heard.insert(agent.to_owned(), ack);
        }
    }

    /// Where the group stands with an agent.
    pub fn of(&self, agent: &str) -> Option<Ack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(agent).cloned()
    }
}
