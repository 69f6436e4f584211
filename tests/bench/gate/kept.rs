//! SHELL: the numbers that are kept, and those that were just measured beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::WORSE_MAX;

/// A line for each number: what of, what, and the number.
pub(crate) struct Kept {
    path: PathBuf,
    before: BTreeMap<String, f64>,
    now: Vec<(String, f64)>,
    worse: usize,
}

const HEAD: &str = "# What `make gate` compares with. `make gate UPDATE=1` writes it anew; a higher number is a worse one.\n";

impl Kept {
    /// What is kept there; nothing if it is not there yet.
    pub(crate) fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = |line: &str| {
            let (what, number) = line.rsplit_once(" = ").expect("WHAT = NUMBER");
            (what.to_owned(), number.parse().expect("a number"))
        };
        Self { path, before: lines.map(line).collect(), now: Vec::new(), worse: 0 }
    }

    /// Compares a number with the one before.
    pub(crate) fn hold(&mut self, of: &str, what: &str, number: f64) {
        let what = format!("{of}: {what}");
        // As it is kept, so that the same is never worse.
        let number: f64 = text(number).parse().expect("a number was written");
        let verdict = match self.before.get(&what) {
            None => "not kept yet".to_owned(),
            Some(before) if number > before * WORSE_MAX => {
                self.worse += 1;
                format!("WORSE than {}", text(*before))
            }
            Some(before) if *before > number * WORSE_MAX => {
                format!("better than {}: keep it with UPDATE=1", text(*before))
            }
            Some(before) => format!("kept {}", text(*before)),
        };
        println!("gate: {what}: {}; {verdict}", text(number));
        self.now.push((what, number));
    }

    /// Writes the numbers, or says whether they are good enough.
    pub(crate) fn end(self) -> ExitCode {
        if std::env::var("UPDATE").is_ok_and(|text| !text.is_empty()) {
            let lines =
                self.now.iter().map(|(what, number)| format!("{what} = {}\n", text(*number)));
            let all = HEAD.to_owned() + &lines.collect::<String>();
            fs::write(&self.path, all).expect("the repository can be written");
            return ExitCode::SUCCESS;
        }
        let unkept = self.now.iter().filter(|(what, _)| !self.before.contains_key(what)).count();
        let gone = self.before.keys().filter(|what| self.now.iter().all(|(now, _)| now != *what));
        let gone = gone.inspect(|what| println!("gate: {what}: NOT MEASURED any more")).count();
        if self.worse + unkept + gone > 0 {
            let worse = self.worse;
            eprintln!(
                "gate: {worse} worse by more than a twentieth, {unkept} not kept yet, {gone} not measured any more"
            );
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

fn text(number: f64) -> String {
    if number < 1.0 {
        format!("{number:.4}")
    } else if number < 1000.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}
