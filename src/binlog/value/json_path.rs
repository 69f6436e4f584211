//! The paths in partial JSON: `$.name."any key"[3][last-1]`, as `Json_path::to_string` writes them
//! (`sql-common/json_path.cc`). They lead to one place: wildcards and ranges are refused.

use std::borrow::Cow;

/// A step from an object or array to one of its members.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Leg<'a> {
    /// By key, without quotes and escapes.
    Member(Cow<'a, [u8]>),
    /// By place.
    Cell(Cell),
}

/// A place in an array.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cell {
    /// From 0.
    FromStart(usize),
    /// The last one is 0.
    FromEnd(usize),
}

impl Cell {
    /// What [`Cell::of`] says of a place before the first one.
    pub(super) const BEFORE: usize = usize::MAX;

    /// The index in an array; there may be nothing.
    pub(super) fn of(self, length: usize) -> usize {
        match self {
            // No array has that many members.
            Self::FromStart(at) => at.min(Self::BEFORE - 1),
            Self::FromEnd(back) => length
                .checked_sub(1)
                .and_then(|last| last.checked_sub(back))
                .unwrap_or(Self::BEFORE),
        }
    }
}

/// The legs of a path; it ends after an error.
pub(super) struct Legs<'a> {
    rest: &'a str,
    left: usize,
}

/// As deep as a document may be (`JSON_DOCUMENT_MAX_DEPTH`).
const LEGS_MAX: usize = 100;

pub(super) const BAD_PATH: &str = "JSON diff: its path is not one that the server writes";

impl<'a> Legs<'a> {
    pub(super) fn of(path: &'a str) -> Result<Self, &'static str> {
        let rest = path.strip_prefix('$').ok_or(BAD_PATH)?;
        Ok(Self { rest, left: LEGS_MAX })
    }

    fn leg(&mut self) -> Option<Leg<'a>> {
        self.left = self.left.checked_sub(1)?;
        if let Some(cell) = self.rest.strip_prefix('[') {
            let (cell, rest) = cell.split_once(']')?;
            self.rest = rest;
            return Some(Leg::Cell(match cell.strip_prefix("last") {
                None => Cell::FromStart(number(cell)?),
                Some("") => Cell::FromEnd(0),
                Some(back) => Cell::FromEnd(number(back.strip_prefix('-')?)?),
            }));
        }
        let name = self.rest.strip_prefix('.')?;
        let (name, rest) = if name.starts_with('"') { quoted(name)? } else { plain(name)? };
        self.rest = rest;
        Some(Leg::Member(name))
    }
}

impl<'a> Iterator for Legs<'a> {
    type Item = Result<Leg<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let leg = self.leg().ok_or(BAD_PATH);
        if leg.is_err() {
            self.rest = "";
        }
        Some(leg)
    }
}

type Name<'a> = (Cow<'a, [u8]>, &'a str);

/// An identifier, up to the next leg.
fn plain(text: &str) -> Option<Name<'_>> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let odd = |c: char| c.is_whitespace() || matches!(c, '*' | '"' | '\\');
    (!name.is_empty() && !name.contains(odd)).then_some((Cow::Borrowed(name.as_bytes()), rest))
}

/// A JSON string.
fn quoted(text: &str) -> Option<Name<'_>> {
    let mut escaped = false;
    let mut ends = |byte: &u8| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    };
    let inner_length = text.bytes().skip(1).position(|byte| ends(&byte))?;
    let (name, rest) = text.split_at_checked(inner_length + 2)?;
    let inner = name.get(1..=inner_length)?;
    if inner.contains('\\') {
        let name: String = serde_json::from_str(name).ok()?;
        return Some((Cow::Owned(name.into_bytes()), rest));
    }
    Some((Cow::Borrowed(inner.as_bytes()), rest))
}

fn number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legs(path: &str) -> Option<Vec<Leg<'_>>> {
        Legs::of(path).ok()?.collect::<Result<_, _>>().ok()
    }

    fn member(name: &str) -> Leg<'static> {
        Leg::Member(Cow::Owned(name.as_bytes().to_vec()))
    }

    #[test]
    fn paths_are_read_as_the_server_writes_them() {
        let start = |at| Leg::Cell(Cell::FromStart(at));
        let end = |back| Leg::Cell(Cell::FromEnd(back));
        assert_eq!(legs("$"), Some(vec![]));
        assert_eq!(legs("$.a[0].été"), Some(vec![member("a"), start(0), member("été")]));
        assert_eq!(legs("$[last][last-2][18]"), Some(vec![end(0), end(2), start(18)]));
        let path = r#"$."".".[\"x"."\u0041\\"."a b"[1]"#;
        let names = ["", ".[\"x", "A\\", "a b"].map(member);
        assert_eq!(legs(path), Some(names.into_iter().chain([start(1)]).collect()));
    }

    #[test]
    fn what_is_no_single_place_is_refused() {
        for path in [
            "",
            "a",
            "$a",
            "$.",
            "$.*",
            "$**.a",
            "$[*]",
            "$[1 to 2]",
            "$[-1]",
            "$[+1]",
            "$[",
            "$[]",
            "$[last-]",
            "$[last+1]",
            "$.a b",
            "$.\"a",
            "$.\"a\"b",
            "$.\"\\\"",
            "$..a",
            "$[99999999999999999999]",
        ] {
            assert_eq!(legs(path), None, "{path}");
        }
        assert!(legs(&format!("${}", "[0]".repeat(100))).is_some());
        assert!(legs(&format!("${}", "[0]".repeat(101))).is_none());
    }

    #[test]
    fn a_place_counts_from_either_end() {
        assert_eq!(Cell::FromEnd(0).of(3), 2);
        assert_eq!(Cell::FromEnd(2).of(3), 0);
        assert_eq!(Cell::FromEnd(3).of(3), Cell::BEFORE);
        assert_eq!(Cell::FromEnd(0).of(0), Cell::BEFORE);
        assert_eq!(Cell::FromStart(7).of(3), 7);
    }
}
