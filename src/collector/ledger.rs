//! What one agent has delivered so far, and what the next batch therefore is. No I/O.
//!
//! | batch | verdict |
//! |---|---|
//! | the next number of the epoch, following the last one's CRC | fresh |
//! | number 1 of a later epoch | fresh, but for transactions that are here already by position |
//! | number 1 of a later epoch that continues what is not here | ask to read the source again |
//! | a number that is here already | duplicate: acknowledge again |
//! | a number further on | gap: ask to rewind |
//! | an earlier epoch, or another history under the same numbers | stale: ask for a new epoch |

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::batch::{Ack, Demand, Follows, Identity, Meta, Transaction};
use crate::position::{Gtid, GtidSet, Position, Sequence, file_order};

/// How many of a server's newest binlog files are remembered, to notice that its history began anew.
const FILES_MAX: usize = 64;
/// A longer set of GTIDs is not sent, in bytes: the acknowledgement has a limit.
const GTIDS_BYTES_MAX: usize = 8 * 1024;

/// The state of one agent at the centre; it is stored with the batches that it speaks of.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    epoch: u64,
    sequence: Sequence,
    crc: u32,
    /// Where the last complete transaction ended.
    position: Position,
    /// All transactions that are here, where the server has GTIDs.
    gtids: GtidSet,
    /// The server's newest binlog files with the time of their creation, oldest first.
    files: Vec<(String, u32)>,
    /// A transaction's parts are here, but not the last one.
    in_parts: bool,
    /// Whether that transaction was here already: its parts are logged for their numbers only.
    parts_skipped: bool,
}

/// What a batch brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The next one. If `overlaps`, some of its transactions may be here already: judge each.
    Fresh {
        /// Whether transactions must be compared one by one.
        overlaps: bool,
        /// Parts of a transaction that never came to its end are to be forgotten first.
        abandons: bool,
        /// Something before it is missing, and the operator of the agent lets it be missing.
        gap: bool,
    },
    /// Nothing new: acknowledge it again.
    Duplicate,
    /// It cannot be taken; this is what the agent must do, and why.
    Refused(Demand, &'static str),
}

impl Ledger {
    /// Judges a batch by its header. Nothing changes until [`Ledger::record`].
    pub fn judge(&self, identity: &Identity, meta: &Meta) -> Verdict {
        let next = self.sequence.next();
        match identity.epoch.cmp(&self.epoch) {
            Ordering::Less => {
                Verdict::Refused(Demand::NewEpoch, "its epoch is older than the one here")
            }
            Ordering::Equal if identity.sequence < next => Verdict::Duplicate,
            Ordering::Equal if identity.sequence > next => {
                Verdict::Refused(Demand::Rewind, "batches before it are missing")
            }
            Ordering::Equal if identity.previous_crc != self.crc => {
                Verdict::Refused(Demand::NewEpoch, "it does not follow the batch that is here")
            }
            Ordering::Equal if meta.part > 0 && !self.in_parts => {
                Verdict::Refused(Demand::NewEpoch, "the transaction's first part is missing")
            }
            Ordering::Equal => self.fresh(meta, self.in_parts && meta.part == 0, false),
            Ordering::Greater if identity.sequence != Sequence(1) => {
                Verdict::Refused(Demand::Rewind, "the epoch's first batch is missing")
            }
            Ordering::Greater if meta.part > 0 => {
                Verdict::Refused(Demand::NewEpoch, "an epoch cannot begin inside a transaction")
            }
            Ordering::Greater => match self.lacks(identity.follows.as_ref(), meta) {
                Some(why) if !identity.follows.as_ref().is_some_and(|known| known.accepts_gap) => {
                    Verdict::Refused(Demand::Reread, why)
                }
                lacks => self.fresh(meta, self.in_parts, lacks.is_some()),
            },
        }
    }

    /// Why an epoch that continues this would leave a gap here.
    ///
    /// An agent that has forgotten something says what: epochs only rise, so it is here if what stands
    /// here is not before it. One that never did (its buffer is new) says where it began to read; by
    /// position that is at or before where we stand, if the two can be compared at all.
    fn lacks(&self, follows: Option<&Follows>, meta: &Meta) -> Option<&'static str> {
        let Some(follows) = follows else { return Some("it does not say what it continues") };
        if follows.epoch > 0 {
            let behind = (self.epoch, self.sequence) < (follows.epoch, follows.sequence);
            return behind.then_some("what was acknowledged before it is not here any more");
        }
        // A batch of schemas alone has no place; such a one is sent when another was judged before.
        let places = [&follows.since, &self.position, &meta.first];
        let known = places.iter().all(|place| !place.file.is_empty());
        let later = follows.since.order(&self.position) == Some(Ordering::Greater);
        (known && later && self.comparable(meta))
            .then_some("it was read from a place behind what is here")
    }

    fn fresh(&self, meta: &Meta, abandons: bool, gap: bool) -> Verdict {
        // Within a part, the first one has decided.
        let overlaps = meta.part == 0 && self.comparable(meta) && {
            let same_server = meta.first.order(&self.position);
            same_server.map_or(meta.first.gtid.is_some(), |order| order == Ordering::Less)
        };
        let overlaps = overlaps || (meta.part > 0 && self.parts_skipped);
        Verdict::Fresh { overlaps, abandons, gap }
    }

    /// How many leading transactions of an overlapping batch are here already.
    pub fn skip(&self, meta: &Meta, transactions: &[Transaction]) -> u32 {
        if meta.part > 0 {
            return u32::from(self.parts_skipped);
        }
        let old = transactions.iter().take_while(|transaction| self.has(meta, transaction));
        old.count() as u32
    }

    fn has(&self, meta: &Meta, transaction: &Transaction) -> bool {
        match transaction.begins(&meta.first.server).order(&self.position) {
            // Positions here stand at ends, so what begins before one has ended by it.
            Some(order) => order == Ordering::Less,
            None => transaction.gtid.as_ref().is_some_and(|gtid| self.gtids.contains(gtid)),
        }
    }

    /// Whether the batch is of the history that the positions here are of. After RESET MASTER or a
    /// restored data directory the numbers begin again, and say nothing of what is here.
    ///
    /// Within a history a server's clock may be put back; so a file that is known is judged by its
    /// own time alone, and one behind all that are known is of this history or comes after all here.
    fn comparable(&self, meta: &Meta) -> bool {
        if meta.first.server != self.position.server {
            return true;
        }
        let (file, created) = (&meta.first.file, meta.file_created_s);
        let same = |known: u32| known == 0 || created == 0 || known == created;
        if let Some((_, known)) = self.files.iter().find(|(known, _)| known == file) {
            return same(*known);
        }
        let later = |(known, _): &&(String, u32)| file_order(file, known) == Ordering::Less;
        let mut later = self.files.iter().filter(later);
        later.all(|(_, known)| same(*known) || created < *known)
    }

    /// A fresh batch is about to be logged: from now on it counts as here.
    ///
    /// `gtids` are those of its complete transactions; `skip` is what [`Ledger::skip`] said.
    pub fn record(
        &mut self,
        identity: &Identity,
        meta: &Meta,
        crc: u32,
        gtids: impl Iterator<Item = Gtid>,
        skip: u32,
    ) {
        if !self.comparable(meta) {
            (self.gtids, self.files) = (GtidSet::default(), Vec::new());
            self.position = Position::default();
        }
        self.epoch = identity.epoch;
        self.sequence = identity.sequence;
        self.crc = crc;
        self.in_parts = meta.continues;
        self.parts_skipped = meta.continues && skip > 0;
        if meta.continues || meta.transactions <= skip {
            // Nothing new is complete. Where all of it was here before, it may be on a server that was
            // left since: what comes next is compared with where we stand, not with that.
            return;
        }
        if meta.first.server != self.position.server {
            // Another server's files have numbers of their own.
            self.files.clear();
        }
        // An overlapping batch may lie wholly before what is here.
        if meta.last.order(&self.position) != Some(Ordering::Less) {
            self.position = meta.last.clone();
        }
        self.gtids.insert_all(gtids);
        self.remember_file(&meta.first.file, meta.file_created_s);
    }

    /// How many intervals and domains its GTIDs have.
    pub fn gtid_parts(&self) -> usize {
        self.gtids.parts()
    }

    fn remember_file(&mut self, file: &str, created_s: u32) {
        if self.files.iter().any(|(known, _)| known == file) {
            return;
        }
        self.files.push((file.to_owned(), created_s));
        self.files.sort_by(|(a, _), (b, _)| file_order(a, b));
        let excess = self.files.len().saturating_sub(FILES_MAX);
        self.files.drain(..excess);
    }

    /// Where the last complete transaction ended.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether a transaction has begun here and not ended.
    pub fn is_in_parts(&self) -> bool {
        self.in_parts
    }

    /// Another collector has acknowledged more: its batches count as here. `false` if it has not.
    pub fn adopt(&mut self, ack: &Ack) -> bool {
        if (ack.epoch, ack.sequence) <= (self.epoch, self.sequence) {
            return false;
        }
        (self.epoch, self.sequence, self.crc) = (ack.epoch, ack.sequence, ack.crc);
        (self.in_parts, self.parts_skipped) = (false, false);
        if let Some(position) = &ack.position {
            self.position = position.clone();
        }
        true
    }

    /// What to tell the agent.
    pub fn ack(&self, demand: Option<(Demand, &str)>) -> Ack {
        let reread = matches!(demand, Some((Demand::Reread, _)));
        let gtids = if reread { self.gtids.to_string() } else { String::new() };
        Ack {
            version: 1,
            epoch: self.epoch,
            sequence: self.sequence,
            crc: self.crc,
            position: (self.epoch > 0).then(|| self.position.clone()),
            gtids: if gtids.len() > GTIDS_BYTES_MAX { String::new() } else { gtids },
            demand: demand.map(|(demand, _)| demand),
            demand_epoch: 0,
            why: demand.map_or(String::new(), |(_, why)| why.to_owned()),
        }
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a ledger has no unserializable part")
    }

    /// Reads what [`Ledger::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::position::ServerId;

    use super::*;

    fn at(offset: u64) -> Position {
        let server = ServerId("mariadb:1".into());
        Position { server, file: "b.000001".into(), offset, gtid: None }
    }

    fn identity(epoch: u64, sequence: u64, previous_crc: u32) -> Identity {
        let sequence = Sequence(sequence);
        let follows = (sequence == Sequence(1)).then(Follows::default);
        Identity { agent: "a".into(), epoch, sequence, previous_crc, follows }
    }

    fn meta(first: u64, last: u64) -> Meta {
        let (first, last) = (at(first), at(last));
        Meta { first, last, transactions: 1, rows: 1, file_created_s: 50, ..Meta::default() }
    }

    fn transaction(first_offset: u64, last_offset: u64) -> Transaction {
        Transaction {
            gtid: None,
            file: "b.000001".into(),
            first_offset,
            last_offset,
            timestamp_s: 0,
            server_id: 1,
            thread: None,
            committed_us: None,
            xid: None,
        }
    }

    const FRESH: Verdict = Verdict::Fresh { overlaps: false, abandons: false, gap: false };

    /// A ledger that has batches 1 and 2 of epoch 1, up to offset 300.
    fn two() -> Ledger {
        let mut ledger = Ledger::default();
        for (sequence, first, last) in [(1, 100, 200), (2, 200, 300)] {
            let identity = identity(1, sequence, sequence as u32 - 1);
            let meta = meta(first, last);
            assert_eq!(ledger.judge(&identity, &meta), FRESH);
            ledger.record(&identity, &meta, sequence as u32, std::iter::empty(), 0);
        }
        ledger
    }

    #[test]
    fn a_batch_counts_once() {
        let ledger = two();
        for sequence in [1, 2] {
            let verdict = ledger.judge(&identity(1, sequence, 0), &meta(0, 0));
            assert_eq!(verdict, Verdict::Duplicate);
        }
        assert_eq!(ledger.judge(&identity(1, 3, 2), &meta(300, 400)), FRESH);
    }

    #[test]
    fn a_gap_a_fork_and_an_old_epoch_are_refused() {
        let ledger = two();
        let demand = |identity, meta| match ledger.judge(&identity, &meta) {
            Verdict::Refused(demand, _) => demand,
            other => panic!("{other:?}"),
        };
        assert_eq!(demand(identity(1, 4, 2), meta(300, 400)), Demand::Rewind);
        assert_eq!(demand(identity(1, 3, 9), meta(300, 400)), Demand::NewEpoch);
        assert_eq!(demand(identity(0, 1, 0), meta(300, 400)), Demand::NewEpoch);
        assert_eq!(demand(identity(2, 2, 0), meta(300, 400)), Demand::Rewind);
    }

    #[test]
    fn a_new_epoch_drops_what_is_here_by_position() {
        let ledger = two();
        let meta = meta(100, 400);
        let verdict = ledger.judge(&identity(2, 1, 0), &meta);
        assert_eq!(verdict, Verdict::Fresh { overlaps: true, abandons: false, gap: false });
        let transactions = [transaction(100, 200), transaction(200, 300), transaction(300, 400)];
        assert_eq!(ledger.skip(&meta, &transactions), 2);
    }

    #[test]
    fn a_server_whose_history_began_anew_is_not_compared() {
        let mut ledger = two();
        let again = Meta { file_created_s: 99, ..meta(100, 200) };
        assert_eq!(ledger.judge(&identity(2, 1, 0), &again), FRESH);
        ledger.record(&identity(2, 1, 0), &again, 1, std::iter::empty(), 0);
        assert_eq!(ledger.ack(None).position, Some(at(200)));
    }

    #[test]
    fn parts_of_a_transaction_that_is_here_are_skipped_to_its_end() {
        let mut ledger = two();
        let part = |part, continues| Meta { part, continues, ..meta(200, 300) };
        let first = part(0, true);
        let overlaps = Verdict::Fresh { overlaps: true, abandons: false, gap: false };
        assert_eq!(ledger.judge(&identity(2, 1, 0), &first), overlaps);
        let skip = ledger.skip(&first, &[transaction(200, 0)]);
        assert_eq!(skip, 1);
        ledger.record(&identity(2, 1, 0), &first, 11, std::iter::empty(), skip);
        let last = part(1, false);
        assert_eq!(ledger.judge(&identity(2, 2, 11), &last), overlaps);
        assert_eq!(ledger.skip(&last, &[transaction(200, 300)]), 1);
    }

    fn follows(epoch: u64, sequence: u64, since: Position) -> Follows {
        Follows { epoch, sequence: Sequence(sequence), since, accepts_gap: false }
    }

    fn first_of(epoch: u64, follows: Follows) -> Identity {
        Identity { follows: Some(follows), ..identity(epoch, 1, 0) }
    }

    #[test]
    fn an_epoch_that_continues_what_is_not_here_is_refused() {
        let ledger = two();
        let next = meta(400, 500);
        let lost = |ledger: &Ledger, follows| match ledger.judge(&first_of(5, follows), &next) {
            Verdict::Refused(demand, _) => demand == Demand::Reread,
            _ => false,
        };
        assert!(lost(&ledger, follows(1, 3, at(400))), "batch 3 is not here");
        assert!(lost(&ledger, follows(4, 1, at(400))), "epoch 4 is not here");
        assert!(lost(&Ledger::default(), follows(1, 2, at(400))), "nothing is here");
        for known in [follows(1, 2, at(400)), follows(1, 1, at(400)), follows(0, 0, at(300))] {
            assert_eq!(
                ledger.judge(&first_of(5, known), &next),
                FRESH,
                "it continues what is here"
            );
        }
        let accepted = Follows { accepts_gap: true, ..follows(4, 1, at(400)) };
        let gap = Verdict::Fresh { overlaps: false, abandons: false, gap: true };
        assert_eq!(ledger.judge(&first_of(5, accepted), &next), gap);
        let silent = Identity { follows: None, ..identity(5, 1, 0) };
        let refused = ledger.judge(&silent, &next);
        assert!(matches!(refused, Verdict::Refused(Demand::Reread, _)), "{refused:?}");
    }

    #[test]
    fn a_new_buffer_that_began_behind_what_is_here_is_refused() {
        let ledger = two();
        let judge = |since, meta: &Meta| ledger.judge(&first_of(5, follows(0, 0, since)), meta);
        let refused = judge(at(301), &meta(400, 500));
        assert!(matches!(refused, Verdict::Refused(Demand::Reread, _)), "{refused:?}");
        assert_eq!(judge(Position::default(), &meta(400, 500)), FRESH, "not known");
        let again = Meta { file_created_s: 99, ..meta(400, 500) };
        assert_eq!(judge(at(301), &again), FRESH, "another history");
        let elsewhere = Position { server: ServerId("mariadb:2".into()), ..at(301) };
        assert_eq!(judge(elsewhere, &meta(400, 500)), FRESH, "places of another server");
    }

    #[test]
    fn what_is_to_be_read_again_is_told_with_its_gtids() {
        let mut ledger = Ledger::default();
        let gtid: Gtid = "0-1-7".parse().unwrap();
        ledger.record(&identity(1, 1, 0), &meta(4, 90), 1, [gtid].into_iter(), 0);
        let ack = ledger.ack(Some((Demand::Reread, "why")));
        assert_eq!((ack.position, ack.gtids.as_str()), (Some(at(90)), "0-1-7"));
        assert_eq!(ledger.ack(Some((Demand::Rewind, "why"))).gtids, "");
    }

    #[test]
    fn parts_that_never_end_are_abandoned() {
        let mut ledger = two();
        let part = Meta { continues: true, ..meta(300, 300) };
        ledger.record(&identity(1, 3, 2), &part, 3, std::iter::empty(), 0);
        let verdict = ledger.judge(&identity(2, 1, 0), &meta(300, 400));
        assert_eq!(verdict, Verdict::Fresh { overlaps: false, abandons: true, gap: false });
    }

    #[test]
    fn a_clock_that_was_put_back_begins_no_history() {
        let mut ledger = two();
        let file = |file: &str, created: u32, meta: Meta| {
            let at = |position: Position| Position { file: file.into(), ..position };
            let (first, last) = (at(meta.first), at(meta.last));
            Meta { first, last, file_created_s: created, ..meta }
        };
        let second = file("b.000002", 30, meta(4, 90));
        assert_eq!(ledger.judge(&identity(1, 3, 2), &second), FRESH);
        ledger.record(&identity(1, 3, 2), &second, 3, std::iter::empty(), 0);
        let again = meta(100, 200);
        let verdict = ledger.judge(&identity(2, 1, 0), &again);
        assert_eq!(verdict, Verdict::Fresh { overlaps: true, abandons: false, gap: false });
    }

    #[test]
    fn files_of_two_servers_are_not_mixed_up() {
        let mut ledger = two();
        let server = ServerId("mariadb:2".into());
        let on_other = |first, last| {
            let of = |position: Position| Position { server: server.clone(), ..position };
            Meta { first: of(at(first)), last: of(at(last)), file_created_s: 70, ..meta(0, 0) }
        };
        let other = on_other(4, 90);
        ledger.record(&identity(1, 3, 2), &other, 3, std::iter::empty(), 0);
        let verdict = ledger.judge(&identity(2, 1, 0), &on_other(4, 50));
        assert_eq!(verdict, Verdict::Fresh { overlaps: true, abandons: false, gap: false });
    }

    #[test]
    fn another_server_is_compared_by_gtid() {
        let mut ledger = Ledger::default();
        let gtid: Gtid = "0-1-7".parse().unwrap();
        let first = Meta { first: Position { gtid: Some(gtid.clone()), ..at(4) }, ..meta(4, 90) };
        ledger.record(&identity(1, 1, 0), &first, 1, [gtid.clone()].into_iter(), 0);
        let server = ServerId("mariadb:2".into());
        let position = Position { server, offset: 4, gtid: Some(gtid.clone()), ..at(4) };
        let other = Meta { first: position.clone(), last: position, ..meta(4, 90) };
        let verdict = ledger.judge(&identity(1, 2, 1), &other);
        assert_eq!(verdict, Verdict::Fresh { overlaps: true, abandons: false, gap: false });
        let old = Transaction { gtid: Some(gtid), ..transaction(4, 90) };
        let new = Transaction { gtid: Some("0-2-8".parse().unwrap()), ..transaction(90, 99) };
        assert_eq!(ledger.skip(&other, &[old, new]), 1);
    }

    #[test]
    fn old_batches_of_a_server_that_was_left_do_not_take_the_position_back() {
        let mut ledger = Ledger::default();
        let gtid = |number: u64| -> Gtid { format!("0-1-{number}").parse().unwrap() };
        let on = |server: &str, number: u64, first, last| {
            let server = ServerId(server.into());
            let of =
                |at: Position| Position { server: server.clone(), gtid: Some(gtid(number)), ..at };
            Meta { first: of(at(first)), last: of(at(last)), ..meta(0, 0) }
        };
        let mut sequence = 0;
        for (server, number, first, last) in
            [("mariadb:1", 1, 4, 90), ("mariadb:1", 2, 90, 200), ("mariadb:2", 3, 500, 600)]
        {
            sequence += 1;
            let meta = on(server, number, first, last);
            ledger.record(&identity(1, sequence, 0), &meta, 1, [gtid(number)].into_iter(), 0);
        }
        for (sequence, number, first, last) in [(1, 1, 4, 90), (2, 2, 90, 200)] {
            let meta = on("mariadb:1", number, first, last);
            let identity = identity(2, sequence, u32::from(sequence > 1));
            let overlaps = Verdict::Fresh { overlaps: true, abandons: false, gap: false };
            assert_eq!(ledger.judge(&identity, &meta), overlaps);
            let old = Transaction { gtid: Some(gtid(number)), ..transaction(first, last) };
            let skip = ledger.skip(&meta, &[old]);
            assert_eq!(skip, 1);
            ledger.record(&identity, &meta, 1, [gtid(number)].into_iter(), skip);
        }
    }

    #[test]
    fn what_another_collector_has_counts_as_here_and_nothing_goes_back() {
        let mut ledger = two();
        let ack = Ack {
            epoch: 1,
            sequence: Sequence(5),
            crc: 5,
            position: Some(at(600)),
            ..Ack::default()
        };
        assert!(ledger.adopt(&ack));
        assert!(!ledger.adopt(&ack));
        assert!(!ledger.adopt(&Ack { sequence: Sequence(3), ..ack.clone() }));
        assert_eq!(ledger.judge(&identity(1, 6, 5), &meta(600, 700)), FRESH);
        let again = ledger.judge(&identity(2, 1, 0), &meta(500, 700));
        assert_eq!(again, Verdict::Fresh { overlaps: true, abandons: false, gap: false });
        // A transaction whose first parts are elsewhere is wanted whole.
        let part = Meta { part: 3, ..meta(600, 700) };
        let refused = ledger.judge(&identity(1, 6, 5), &part);
        assert!(matches!(refused, Verdict::Refused(Demand::NewEpoch, _)), "{refused:?}");
    }

    #[test]
    fn a_ledger_survives_its_bytes() {
        let ledger = two();
        assert_eq!(Ledger::decode(&ledger.encode()), Some(ledger));
    }
}
