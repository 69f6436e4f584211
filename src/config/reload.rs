//! What another text of the same configuration changes, by the names of the settings: what counts at once,
//! and what waits for a restart.
//!
//! Texts are compared, not settings: a default that is now written out is a change like any other.

use std::collections::BTreeMap;

use log::{info, warn};
use toml::de::{DeTable, DeValue};

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reread<C> {
    /// All of it as it is in the file now.
    pub config: C,
    /// Names of settings that changed since it was read the last time, and count at once.
    pub taken: Vec<String>,
    /// Names of settings that differ from what the program was started with, and wait for a restart.
    pub waiting: Vec<String>,
}

impl<C> Reread<C> {
    /// Says in the log what counts and what waits.
    pub fn tell(&self) {
        match self.taken.is_empty() {
            true => info!("reload: nothing has changed that counts at once"),
            false => info!("reload: taken over: {}", self.taken.join(", ")),
        }
        if !self.waiting.is_empty() {
            warn!("reload: waits for a restart: {}", self.waiting.join(", "));
        }
    }
}

/// What was read before.
#[derive(Debug)]
pub struct Texts {
    first: String,
    last: String,
    live: &'static [&'static str],
}

impl Texts {
    /// The program was started with `text`; `live` are the settings that can change while it runs.
    pub fn new(text: String, live: &'static [&'static str]) -> Self {
        Self { first: text.clone(), last: text, live }
    }

    /// `text` is what counts now, as far as it can.
    pub fn follow<C>(&mut self, text: String, config: C) -> Reread<C> {
        let is_live = |name: &String| self.live.contains(&name.as_str());
        let mut taken = differences(&self.last, &text);
        taken.retain(&is_live);
        let mut waiting = differences(&self.first, &text);
        waiting.retain(|name| !is_live(name));
        self.last = text;
        Reread { config, taken, waiting }
    }
}

/// The names of settings that are not the same in both.
fn differences(one: &str, other: &str) -> Vec<String> {
    let (one, other) = (settings(one), settings(other));
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
        let mut texts = Texts::new(FIRST.to_owned(), &["log.level", "log.format"]);
        let same = texts.follow(format!("# moved\n\n{FIRST}"), ());
        assert_eq!((same.taken.len(), same.waiting.len()), (0, 0));
        let second = FIRST.replace("info", "debug").replace("\"a\"", "\"b\"");
        let second = format!("{second}kind = \"stdout\"\n[batch]\nrows_max = 5\n");
        let reread = texts.follow(second.clone(), ());
        assert_eq!(reread.taken, ["log.level"]);
        assert_eq!(reread.waiting, ["agent", "batch.rows_max", "sink[0].kind"]);
        let again = texts.follow(second, ());
        assert_eq!((again.taken.len(), again.waiting.len()), (0, 3));
        let back = texts.follow(FIRST.to_owned(), ());
        assert_eq!((back.taken, back.waiting.len()), (vec!["log.level".to_owned()], 0));
    }

    #[test]
    fn lists_are_compared_one_by_one() {
        let with = |list: &str| format!("[uplink]\nendpoint = {list}\n");
        assert_eq!(
            differences(&with("[\"a\", \"b\"]"), &with("[\"a\", \"c\"]")),
            ["uplink.endpoint[1]"]
        );
        assert_eq!(
            differences(&with("\"a\""), &with("[\"a\"]")),
            ["uplink.endpoint", "uplink.endpoint[0]"]
        );
    }
}
