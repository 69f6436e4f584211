//! How often the same is said in the log: whoever provokes complaints must not fill the disk with them.
//! No clock but the caller's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Complaints, by whom they are about.
#[derive(Debug, Default)]
pub(super) struct Gossip(HashMap<String, Talk>);

#[derive(Debug)]
struct Talk {
    since: Instant,
    said: u32,
    kept_back: u64,
}

impl Gossip {
    /// Whether a complaint about `whom` may be said now, and with which words about those that were not.
    pub(super) fn may_say(&mut self, whom: &str, now: Instant) -> Option<String> {
        if !self.0.contains_key(whom) {
            let talk = Talk { since: now, said: 0, kept_back: 0 };
            self.0.insert(whom.to_owned(), talk);
        }
        let talk = self.0.get_mut(whom)?;
        if now.saturating_duration_since(talk.since) >= WINDOW {
            (talk.since, talk.said) = (now, 0);
        }
        if talk.said >= SAID_MAX {
            talk.kept_back += 1;
            return None;
        }
        talk.said += 1;
        Some(match std::mem::take(&mut talk.kept_back) {
            0 => String::new(),
            more => format!(" (and {more} more before)"),
        })
    }
}

/// So many complaints about one …
const SAID_MAX: u32 = 10;
/// … in so much time.
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_counted_and_told_later() {
        let (mut gossip, start) = (Gossip::default(), Instant::now());
        for _ in 0..SAID_MAX {
            assert_eq!(gossip.may_say("a", start).as_deref(), Some(""));
        }
        assert_eq!((gossip.may_say("a", start), gossip.may_say("a", start)), (None, None));
        assert!(gossip.may_say("b", start).is_some(), "another one's is another matter");
        let words = gossip.may_say("a", start + WINDOW).unwrap();
        assert_eq!(words, " (and 2 more before)");
        assert_eq!(gossip.may_say("a", start + WINDOW).as_deref(), Some(""));
    }
}
