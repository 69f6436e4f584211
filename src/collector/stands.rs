//! How far a sink has each agent's transactions, by place. No I/O.
//!
//! A sink that keeps its own cursor outlives the log: when the log is restored from an older copy, what was
//! lost comes again under new numbers, and the sink has it already. The stands are noted with the sink's
//! commits and tell which transactions those are. In all other cases what comes lies behind them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::{Meta, Transaction};
use crate::position::{Position, ServerId};

/// How far a sink has an agent's transactions.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Stand {
    server: ServerId,
    file: String,
    /// When the file was created; 0 if not known.
    created_s: u32,
    /// Where the last transaction ended.
    offset: u64,
}

/// By agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Stands {
    stands: BTreeMap<String, Stand>,
    /// The transaction whose parts are coming is here already.
    skips_parts: bool,
}

impl Stands {
    /// Reads a note; what is no note tells nothing.
    pub(super) fn read(note: &[u8]) -> Self {
        let stands = postcard::from_bytes(note).unwrap_or_default();
        Self { stands, skips_parts: false }
    }

    /// The note.
    pub(super) fn note(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.stands).expect("plain values encode")
    }

    /// Whether some leading transactions of a batch may be there already.
    pub(super) fn overlap(&self, agent: &str, meta: &Meta) -> bool {
        if meta.part > 0 {
            return self.skips_parts;
        }
        self.stands.get(agent).is_some_and(|stand| stand.has(&meta.first, meta.file_created_s))
    }

    /// How many leading transactions of such a batch are there already.
    pub(super) fn skip(&self, agent: &str, meta: &Meta, transactions: &[Transaction]) -> u32 {
        if meta.part > 0 {
            return u32::from(self.skips_parts);
        }
        let Some(stand) = self.stands.get(agent) else { return 0 };
        let has = |transaction: &&Transaction| {
            stand.has(&transaction.begins(&meta.first.server), meta.file_created_s)
        };
        u32::try_from(transactions.iter().take_while(has).count()).unwrap_or(u32::MAX)
    }

    /// A batch is in the sink now, of which so many leading transactions were there already.
    pub(super) fn passed(&mut self, agent: &str, meta: &Meta, skipped: u32) {
        self.skips_parts = meta.continues && skipped > 0;
        if meta.continues || meta.transactions <= skipped {
            return;
        }
        let Position { server, file, offset, .. } = &meta.last;
        let created_s = if *file == meta.first.file { meta.file_created_s } else { 0 };
        let stand =
            Stand { server: server.clone(), file: file.clone(), created_s, offset: *offset };
        self.stands.insert(agent.to_owned(), stand);
    }
}

impl Stand {
    /// Whether what begins at `begins` is there: only if it is certain that both are of one history.
    fn has(&self, begins: &Position, created_s: u32) -> bool {
        let here = Position {
            server: self.server.clone(),
            file: self.file.clone(),
            offset: self.offset,
            gtid: None,
        };
        let before = begins.order(&here) == Some(Ordering::Less);
        let known = created_s != 0 && self.created_s != 0;
        let same_history = match begins.file == self.file {
            true => created_s == self.created_s,
            // A clock that was put back only makes lines come twice.
            false => known && created_s <= self.created_s,
        };
        before && same_history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: u32, offset: u64) -> Position {
        let server = ServerId("mariadb:1".into());
        Position { server, file: format!("b.{file:06}"), offset, gtid: None }
    }

    fn meta(first: Position, last: Position, created_s: u32) -> Meta {
        Meta { first, last, file_created_s: created_s, transactions: 2, ..Meta::default() }
    }

    fn transaction(file: u32, first_offset: u64) -> Transaction {
        Transaction {
            gtid: None,
            file: format!("b.{file:06}").into(),
            first_offset,
            last_offset: 0,
            timestamp_s: 0,
            server_id: 1,
            thread: None,
            committed_us: None,
            xid: None,
        }
    }

    #[test]
    fn what_comes_again_is_skipped_and_what_is_new_is_not() {
        let mut stands = Stands::default();
        stands.passed("a", &meta(at(2, 4), at(2, 300), 50), 0);
        let mut stands = Stands::read(&stands.note());
        let again = meta(at(2, 200), at(2, 400), 50);
        assert!(stands.overlap("a", &again) && !stands.overlap("b", &again));
        let both = [transaction(2, 200), transaction(2, 300)];
        assert_eq!(stands.skip("a", &again, &both), 1);
        assert!(!stands.overlap("a", &meta(at(2, 300), at(2, 400), 50)));
        assert!(stands.overlap("a", &meta(at(1, 900), at(1, 950), 40)), "an older file");
        assert!(!stands.overlap("a", &meta(at(2, 200), at(2, 400), 60)), "another history");
        assert!(!stands.overlap("a", &meta(at(1, 200), at(1, 400), 60)), "another history");
        // Parts of one that is there already are skipped to its end.
        let part = |part, continues| Meta { part, continues, transactions: 0, ..again.clone() };
        stands.passed("a", &part(0, true), 1);
        assert!(stands.overlap("a", &part(1, true)));
        stands.passed("a", &Meta { transactions: 1, ..part(2, false) }, 1);
        assert!(!stands.overlap("a", &meta(at(2, 300), at(2, 400), 50)), "stays where it stood");
    }
}
