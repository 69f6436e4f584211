//! SHELL: what another text of the same configuration changes, by the names of the settings: what counts at once,
//! and what waits for a restart.
//!
//! Texts are compared, not settings: a default that is now written out is a change like any other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;

use log::{error, info, warn};
use smol::channel::Receiver;
use toml::de::{DeTable, DeValue};

type Take<'a, C> = Box<dyn FnMut(&C) -> Result<(), String> + 'a>;

/// Settings that count at once, and what takes them over.
pub struct Live<'a, C> {
    names: &'static [&'static str],
    take: Take<'a, C>,
}

impl<'a, C> Live<'a, C> {
    /// `take` is called when one of these settings at least has changed.
    pub fn new(names: &'static [&'static str], mut take: impl FnMut(&C) + 'a) -> Self {
        let take = move |config: &C| {
            take(config);
            Ok(())
        };
        Self { names, take: Box::new(take) }
    }

    /// As [`Live::new`], where it may fail: then all must be as it was.
    pub fn trying<E: fmt::Display>(
        names: &'static [&'static str],
        mut take: impl FnMut(&C) -> Result<(), E> + 'a,
    ) -> Self {
        let take = move |config: &C| take(config).map_err(|error| error.to_string());
        Self { names, take: Box::new(take) }
    }
}

/// A configuration that can be read again.
pub struct Reload<C> {
    read: Box<dyn FnMut() -> Option<(C, String)>>,
    /// What the program was started with.
    first: BTreeMap<String, String>,
    /// What counts now, as far as it can count at once.
    current: BTreeMap<String, String>,
}

/// What became of a file that was read again.
#[derive(Debug, Default, Eq, PartialEq)]
struct Done {
    /// Names of settings that were taken over.
    taken: Vec<String>,
    /// Names of settings that could not be taken over, and why.
    refused: Vec<(Vec<String>, String)>,
    /// Names of settings that differ from what the program was started with, and wait for a restart.
    waiting: Vec<String>,
}

impl<C> Reload<C> {
    /// The program was started with `text`. `read` gives what is in the file now, and its text; `None` if that
    /// cannot be used, which the log has been told.
    pub fn new(text: &str, read: impl FnMut() -> Option<(C, String)> + 'static) -> Self {
        let first = settings(text);
        Self { read: Box::new(read), current: first.clone(), first }
    }

    /// For as long as it is polled: reads the file at each wish, and says in the log what counts and what waits.
    pub async fn follow(&mut self, wishes: &Receiver<()>, live: &mut [Live<'_, C>]) -> Infallible {
        while wishes.recv().await.is_ok() {
            if let Some((config, text)) = (self.read)() {
                self.take(&config, &text, live).tell();
            }
        }
        std::future::pending().await
    }

    fn take(&mut self, config: &C, text: &str, live: &mut [Live<'_, C>]) -> Done {
        let new = settings(text);
        let changed = differences(&self.current, &new);
        let mut done = Done { waiting: differences(&self.first, &new), ..Done::default() };
        for Live { names, take } in live {
            let is_own = |name: &String| names.contains(&name.as_str());
            done.waiting.retain(|name| !is_own(name));
            let own: Vec<String> = changed.iter().filter(|name| is_own(name)).cloned().collect();
            if own.is_empty() {
                continue;
            }
            if let Err(why) = take(config) {
                done.refused.push((own, why));
                continue;
            }
            self.current.retain(|name, _| !is_own(name));
            let now = new.iter().filter(|(name, _)| is_own(name));
            self.current.extend(now.map(|(name, value)| (name.clone(), value.clone())));
            done.taken.extend(own);
        }
        done.taken.sort();
        done
    }
}

impl Done {
    fn tell(&self) {
        for (names, why) in &self.refused {
            error!("reload: all stays as it was with {}: {why}", names.join(", "));
        }
        match self.taken.is_empty() {
            true => info!("reload: nothing has changed that counts at once"),
            false => info!("reload: taken over: {}", self.taken.join(", ")),
        }
        if !self.waiting.is_empty() {
            warn!("reload: waits for a restart: {}", self.waiting.join(", "));
        }
    }
}

/// The names of settings that are not the same in both.
fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

/// All settings that are written out, by name.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (root, _) = DeTable::parse_recoverable(text);
    collect(String::new(), &DeValue::Table(root.into_inner()), &mut found);
    found
}

fn collect(name: String, value: &DeValue<'_>, found: &mut BTreeMap<String, String>) {
    let shown = match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let key = super::value::shortened(key.get_ref());
                let inner = if name.is_empty() { key } else { format!("{name}.{key}") };
                collect(inner, value.get_ref(), found);
            }
            return;
        }
        DeValue::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                collect(format!("{name}[{index}]"), value.get_ref(), found);
            }
            return;
        }
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
    };
    found.insert(name, shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "agent = \"a\"\n[log]\nlevel = \"info\"\n[[sink]]\nname = \"x\"\n";

    #[test]
    fn what_counts_at_once_is_told_once_and_what_waits_each_time() {
        let mut reload = Reload::new(FIRST, || None);
        let turns = std::cell::Cell::new(0);
        let mut live =
            [Live::new(&["log.level", "log.format"], |(): &()| turns.set(turns.get() + 1))];
        let mut take = |text: &str| reload.take(&(), text, &mut live);
        assert_eq!(take(&format!("# moved\n\n{FIRST}")), Done::default());
        let second = FIRST.replace("info", "debug").replace("\"a\"", "\"b\"");
        let second = format!("{second}kind = \"stdout\"\n[batch]\nrows_max = 5\n");
        let done = take(&second);
        assert_eq!(done.taken, ["log.level"]);
        assert_eq!(done.waiting, ["agent", "batch.rows_max", "sink[0].kind"]);
        let again = take(&second);
        assert_eq!((again.taken.len(), again.waiting.len()), (0, 3));
        let back = take(FIRST);
        assert_eq!((back.taken, back.waiting.len()), (vec!["log.level".to_owned()], 0));
        assert_eq!(turns.get(), 2, "what has not changed is not taken over");
    }

    #[test]
    fn what_cannot_be_taken_over_is_tried_again_and_holds_up_nothing_else() {
        let mut reload = Reload::new(FIRST, || None);
        let mut results = vec![Ok(()), Err("the port is taken"), Err("the port is taken")];
        let mut live = [
            Live::trying(&["telemetry.listen"], move |(): &()| results.pop().unwrap()),
            Live::new(&["log.level"], |(): &()| {}),
        ];
        let second = FIRST.replace("info", "debug") + "[telemetry]\nlisten = \"x\"\n";
        let mut take = || reload.take(&(), &second, &mut live);
        let names = vec!["telemetry.listen".to_owned()];
        let refused = vec![(names.clone(), "the port is taken".to_owned())];
        let done = Done { refused: refused.clone(), ..Done::default() };
        assert_eq!(take(), Done { taken: vec!["log.level".to_owned()], ..done });
        assert_eq!(take(), Done { refused, ..Done::default() });
        assert_eq!(take(), Done { taken: names, ..Done::default() });
        assert_eq!(take(), Done::default());
    }

    #[test]
    fn lists_are_compared_one_by_one() {
        let with = |list: &str| format!("[uplink]\nendpoint = {list}\n");
        let differences = |one: &str, other: &str| {
            super::differences(&settings(&with(one)), &settings(&with(other)))
        };
        assert_eq!(differences("[\"a\", \"b\"]", "[\"a\", \"c\"]"), ["uplink.endpoint[1]"]);
        assert_eq!(differences("\"a\"", "[\"a\"]"), ["uplink.endpoint", "uplink.endpoint[0]"]);
    }
}
