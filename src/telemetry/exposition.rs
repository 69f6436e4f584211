//! Figures as Prometheus reads them: its text format, version 0.0.4.
//!
//! ```text
//! # HELP rivulet_agent_source_rows_total Row changes read.
//! # TYPE rivulet_agent_source_rows_total counter
//! rivulet_agent_source_rows_total{agent="edge-17"} 1337
//! ```
//!
//! Source: "Exposition formats" and "Metric and label naming" in Prometheus' documentation. All values are whole
//! numbers or seconds to the microsecond, so that none of them is rounded.

use std::fmt::Write as _;

use super::latency::{BOUNDS_MS, Distribution};

/// What an answer with a [`Page`] says that it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a figure is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It only grows, until the program starts anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It is counted by size.
    Histogram,
}

/// One value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value {
    /// A number.
    Count(u64),
    /// Yes or no: 1 or 0.
    Flag(bool),
    /// Seconds, given in milliseconds.
    Ms(u64),
    /// Seconds, given in microseconds.
    Us(u64),
}

/// A figure of whatever has it.
pub struct Row<S> {
    name: &'static str,
    /// A further label, for families of several samples: their rows stand together.
    label: Option<(&'static str, &'static str)>,
    kind: Kind,
    help: &'static str,
    read: fn(&S) -> Option<Value>,
}

impl<S> Row<S> {
    /// A family of one sample each; where `read` gives nothing it has none.
    pub const fn new(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        read: fn(&S) -> Option<Value>,
    ) -> Self {
        Self { name, label: None, kind, help, read }
    }

    /// A sample with a label of its own, of a family of gauges.
    pub const fn with(
        label: (&'static str, &'static str),
        name: &'static str,
        help: &'static str,
        read: fn(&S) -> Option<Value>,
    ) -> Self {
        Self { name, label: Some(label), kind: Kind::Gauge, help, read }
    }
}

/// The labels of a sample: names of ours, values of anybody.
pub type Labels<'a> = [(&'a str, &'a str)];

/// A text that grows family by family.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a family of samples. Its name ends in `_total` if and only if it is a counter.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &Labels<'_>, value: Value) {
        self.0.push_str(name);
        self.labels(labels);
        self.0.push(' ');
        self.value(value);
        self.0.push('\n');
    }

    /// The families of a table, each with a sample of all who have it.
    pub fn table<S>(&mut self, prefix: &str, table: &[Row<S>], of: &[(&Labels<'_>, &S)]) {
        let mut family = "";
        for row in table {
            let name = format!("{prefix}{}", row.name);
            if row.name != family {
                self.family(&name, row.kind, row.help);
                family = row.name;
            }
            for (labels, one) in of {
                if let Some(value) = (row.read)(one) {
                    self.sample(&name, &[*labels, row.label.as_slice()].concat(), value);
                }
            }
        }
    }

    /// The samples of one histogram of the family that was begun last. One of other buckets than ours is left
    /// out.
    pub fn histogram(&mut self, name: &str, labels: &Labels<'_>, taken: &Distribution) {
        if taken.counts.len() > BOUNDS_MS.len() + 1 {
            return;
        }
        let mut sum = 0u64;
        let counts = taken.counts.iter().copied().chain(std::iter::repeat(0));
        for (bound, count) in BOUNDS_MS.iter().zip(counts) {
            sum = sum.saturating_add(count);
            let end = format!("{}.{:03}", bound / 1000, bound % 1000);
            self.bucket(name, labels, end.trim_end_matches('0').trim_end_matches('.'), sum);
        }
        let all = taken.count();
        self.bucket(name, labels, "+Inf", all);
        self.sample(&format!("{name}_sum"), labels, Value::Us(taken.sum_us));
        self.sample(&format!("{name}_count"), labels, Value::Count(all));
    }

    /// The whole.
    pub fn into_text(self) -> String {
        self.0
    }

    fn bucket(&mut self, name: &str, labels: &Labels<'_>, end: &str, count: u64) {
        let labels = [labels, &[("le", end)]].concat();
        self.sample(&format!("{name}_bucket"), &labels, Value::Count(count));
    }

    fn labels(&mut self, labels: &Labels<'_>) {
        for (index, (name, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(name);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    fn value(&mut self, value: Value) {
        let _ = match value {
            Value::Count(count) => write!(self.0, "{count}"),
            Value::Flag(flag) => write!(self.0, "{}", u8::from(flag)),
            Value::Ms(ms) => write!(self.0, "{}.{:03}", ms / 1000, ms % 1000),
            Value::Us(us) => write!(self.0, "{}.{:06}", us / 1_000_000, us % 1_000_000),
        };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What each table's names must be.
    pub(crate) fn names_tell_what_they_are<S>(table: &[Row<S>]) {
        for Row { name, kind, label, .. } in table {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(!name.contains("_ms") && !name.contains("kib"), "base units: {name}");
            assert!(label.is_none() || *kind == Kind::Gauge);
        }
    }

    #[test]
    fn values_are_whole_numbers_and_seconds() {
        let mut page = Page::default();
        page.family("a_seconds", Kind::Gauge, "A.");
        page.sample("a_seconds", &[], Value::Ms(75_020));
        page.sample("a_seconds", &[], Value::Us(75_000_020));
        page.sample("a_seconds", &[], Value::Flag(true));
        page.sample("a_seconds", &[], Value::Count(u64::MAX));
        assert_eq!(
            page.into_text(),
            "# HELP a_seconds A.\n# TYPE a_seconds gauge\na_seconds 75.020\na_seconds 75.000020\n\
             a_seconds 1\na_seconds 18446744073709551615\n"
        );
    }

    #[test]
    fn no_label_can_end_early() {
        let mut page = Page::default();
        page.sample("a", &[("x", "\"} 1\n\\"), ("y", "ä")], Value::Count(1));
        assert_eq!(page.into_text(), "a{x=\"\\\"} 1\\n\\\\\",y=\"ä\"} 1\n");
    }

    #[test]
    fn a_histogram_counts_up_to_all() {
        let mut taken = Distribution::default();
        taken.observe(30_000, 2);
        taken.observe(340_000, 1);
        taken.observe(70_000_000, 1);
        let mut page = Page::default();
        page.histogram("t_seconds", &[("agent", "a")], &taken);
        let text = page.into_text();
        let counts: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(
            counts,
            ["0", "0", "2", "2", "2", "3", "3", "3", "3", "3", "4", "70.400000", "4"]
        );
        assert!(text.contains("t_seconds_bucket{agent=\"a\",le=\"0.35\"} 3\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{agent=\"a\",le=\"60\"} 3\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{agent=\"a\",le=\"+Inf\"} 4\n"), "{text}");
    }

    #[test]
    fn a_histogram_of_other_buckets_is_left_out() {
        let mut page = Page::default();
        let strange = Distribution { counts: vec![1; 99], sum_us: 1 };
        page.histogram("t_seconds", &[], &strange);
        assert_eq!(page.into_text(), "");
    }
}
