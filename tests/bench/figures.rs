//! Figures by workload, in the order in which they came.

use std::fmt::Write;

/// What was measured.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, String, f64)>);

impl Figures {
    /// One more. `what` ends with its unit.
    pub(crate) fn put(&mut self, load: &str, what: &str, value: f64) {
        eprintln!("{load}: {what}: {}", text(value));
        self.0.push((load.to_owned(), what.to_owned(), value));
    }

    /// A table with a column for each workload.
    pub(crate) fn to_markdown(&self) -> String {
        let mut loads: Vec<&str> = Vec::new();
        let mut rows: Vec<&str> = Vec::new();
        for (load, what, _) in &self.0 {
            if !loads.contains(&load.as_str()) {
                loads.push(load);
            }
            if !rows.contains(&what.as_str()) {
                rows.push(what);
            }
        }
        let mut out = format!("| figure | {} |\n|---|", loads.join(" | "));
        loads.iter().for_each(|_| out.push_str("---:|"));
        out.push('\n');
        for row in rows {
            let _ = write!(out, "| {row} |");
            for load in &loads {
                let found = self.0.iter().find(|(l, w, _)| l == load && w == row);
                let _ = write!(out, " {} |", found.map_or(String::new(), |found| text(found.2)));
            }
            out.push('\n');
        }
        out
    }

    /// `{workload: {figure: number}}` on one line.
    pub(crate) fn to_json(&self) -> String {
        let mut all = serde_json::Map::new();
        for (load, what, value) in &self.0 {
            let load = all.entry(load.clone()).or_insert_with(|| serde_json::json!({}));
            load[what] = serde_json::json!(value);
        }
        serde_json::Value::Object(all).to_string()
    }
}

/// Three digits at least, thousands apart.
fn text(value: f64) -> String {
    let digits = match value.abs() {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    let plain = format!("{value:.digits$}");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && out != "-" {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}
