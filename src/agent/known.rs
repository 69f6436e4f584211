//! What each endpoint allowed when it last took the agent in, so that packets may leave before it answers.
//!
//! MQTT 5 lets a client send behind CONNECT without waiting (3.1.4), but only the answer tells what the
//! server allows. Nothing leaves early to a server that is not known from before, for nothing is known of
//! what it bears. One that ends connections on which something left early may not bear that at all: then
//! the next connection waits for its answers, and with each further time more of them do, so that such a
//! server cannot be dialled in vain for ever.

use serde::{Deserialize, Serialize};

use crate::mqtt::Limits;

/// See the module.
#[derive(Debug)]
pub struct Known {
    peers: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    name: String,
    limits: Option<Limits>,
    /// How often in a row an early start came to nothing.
    failures: u32,
    /// So many connections wait for their answers.
    waits: u32,
}

/// As it is kept on disk.
#[derive(Serialize, Deserialize)]
struct Note {
    version: u8,
    peers: Vec<(String, Limits)>,
}

const VERSION: u8 = 1;
/// At least every 64th connection tries it again: the cause may have been the link.
const FAILURES_MAX: u32 = 6;

impl Known {
    /// Of the endpoints with these names, with what was kept of them. A note that is none says nothing.
    pub fn open(names: impl IntoIterator<Item = String>, note: Option<&[u8]>) -> Self {
        let note: Option<Note> = note.and_then(|note| postcard::from_bytes(note).ok());
        let kept = note.filter(|note| note.version == VERSION).map_or(Vec::new(), |it| it.peers);
        let peer = |name: String| {
            let limits = kept.iter().find(|(known, _)| *known == name).map(|(_, limits)| *limits);
            Peer { limits: limits.filter(is_usable), name, failures: 0, waits: 0 }
        };
        Self { peers: names.into_iter().map(peer).collect() }
    }

    /// A connection to this endpoint begins: the limits within which something may leave early, if it may.
    pub fn begin(&mut self, endpoint: usize) -> Option<Limits> {
        let peer = self.peers.get_mut(endpoint)?;
        if peer.waits > 0 {
            peer.waits -= 1;
            return None;
        }
        peer.limits
    }

    /// The endpoint took us in. What is to be kept, if that is news.
    pub fn took_in(&mut self, endpoint: usize, limits: Limits) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(endpoint)?;
        let limits = Some(limits).filter(is_usable);
        if std::mem::replace(&mut peer.limits, limits) == limits {
            return None;
        }
        let known = |peer: &Peer| Some((peer.name.clone(), peer.limits?));
        let peers = self.peers.iter().filter_map(known).collect();
        let note = Note { version: VERSION, peers };
        Some(postcard::to_allocvec(&note).expect("a record of plain values encodes"))
    }

    /// A connection on which something left early is over. `answered`: batches were let in.
    pub fn ended(&mut self, endpoint: usize, answered: bool) {
        let Some(peer) = self.peers.get_mut(endpoint) else { return };
        peer.failures = if answered { 0 } else { (peer.failures + 1).min(FAILURES_MAX) };
        peer.waits = 2u32.pow(peer.failures) - 1;
    }
}

fn is_usable(limits: &Limits) -> bool {
    limits.qos_1 && limits.receive_maximum > 0 && limits.packet_bytes_max > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        receive_maximum: 20,
        packet_bytes_max: 5000,
        keep_alive_s: 5,
        session_expiry_s: 0,
        qos_1: true,
        retain: true,
        shared_subscriptions: false,
    };

    fn open(note: Option<&[u8]>) -> Known {
        Known::open(["quic://a:1", "mqtts://b:2"].map(str::to_owned), note)
    }

    #[test]
    fn what_an_endpoint_allowed_is_known_after_a_restart_and_of_this_endpoint_alone() {
        let mut known = open(None);
        assert_eq!(known.begin(0), None, "a stranger");
        let note = known.took_in(0, LIMITS).expect("news");
        assert_eq!(known.took_in(0, LIMITS), None, "no news");
        let mut later = open(Some(&note));
        assert_eq!((later.begin(0), later.begin(1)), (Some(LIMITS), None));
        let smaller = Limits { packet_bytes_max: 100, ..LIMITS };
        let note = later.took_in(0, smaller).expect("news");
        assert_eq!(open(Some(&note)).begin(0), Some(smaller));
        let mut other = Known::open(["quic://c:1".to_owned()], Some(&note));
        assert_eq!(other.begin(0), None);
    }

    #[test]
    fn a_note_of_another_version_or_of_garbage_says_nothing() {
        let note = open(None).took_in(0, LIMITS).unwrap();
        let mut newer = note.clone();
        newer[0] = 2;
        for note in [&newer[..], &note[..note.len() - 1], b"", &[0xff; 40]] {
            assert_eq!(open(Some(note)).begin(0), None);
        }
    }

    #[test]
    fn nothing_leaves_early_to_a_server_that_takes_no_batches() {
        for unusable in [
            Limits { qos_1: false, ..LIMITS },
            Limits { receive_maximum: 0, ..LIMITS },
            Limits { packet_bytes_max: 0, ..LIMITS },
        ] {
            let mut known = open(None);
            known.took_in(0, LIMITS);
            assert!(known.took_in(0, unusable).is_some(), "news");
            assert_eq!(known.begin(0), None);
        }
    }

    #[test]
    fn a_server_that_does_not_bear_it_is_tried_more_and_more_seldom() {
        let mut known = open(None);
        known.took_in(0, LIMITS);
        let mut waited = Vec::new();
        for _ in 0..8 {
            let mut waits = 0;
            while known.begin(0).is_none() {
                waits += 1;
            }
            waited.push(waits);
            known.ended(0, false);
        }
        assert_eq!(waited, [0, 1, 3, 7, 15, 31, 63, 63]);
        while known.begin(0).is_none() {}
        known.ended(0, true);
        assert_eq!(known.begin(0), Some(LIMITS), "it does bear it");
    }
}
