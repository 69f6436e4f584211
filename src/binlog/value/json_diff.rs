//! Partial JSON (`binlog_row_value_options=PARTIAL_JSON`): what an update changed inside a document.
//!
//! ```text
//!   diffs = diff…
//!   diff  = operation (0 replace, 1 insert, 2 remove), length, path, (but for remove:) length, binary JSON
//! ```
//!
//! Lengths are those of the protocol (`net_field_length`). The format is that of `Json_diff_vector::read_binary`,
//! and what an operation does that of `apply_json_diffs`, both in `sql/json_diff.cc`: a path must lead to what is
//! there, an insert into an object to what is not there yet; else the diffs do not belong to the document.
//!
//! Only the objects and arrays on the way of a path are taken apart. The rest stays as it is in the before image
//! until it is printed.

use std::borrow::Cow;

use super::ValueError;
use super::digits::push_json_string;
use super::json::{Document, Member, OVERLAP, Writer};
use super::json_path::{BAD_PATH, Cell, Leg, Legs};

/// Appends the document that the diffs make of `before`, as the server prints it.
///
/// `before` is the column's value in the before image, `diffs` that in the after image, both without their
/// lengths. Without diffs the document stays as it is.
///
/// # Errors
/// When one of them is damaged, or when the diffs do not fit the document. `out` may then hold a part.
pub fn apply(before: &[u8], diffs: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    applied(before, diffs, out).map_err(|what| ValueError { what, length: diffs.len() })
}

/// Appends the diffs themselves, for a row without a before image, as a JSON array:
///
/// ```json
/// [{"op": "replace", "path": "$.a[0]", "value": 1}, {"op": "remove", "path": "$.b"}]
/// ```
///
/// `op` is `replace`, `insert` or `remove`; `path` is in MySQL's notation; `value` is the document that takes
/// the place or is inserted.
///
/// # Errors
/// When they are damaged. `out` may then hold a part.
pub fn describe(diffs: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    described(diffs, out).map_err(|what| ValueError { what, length: diffs.len() })
}

fn described(diffs: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    // The shortest diff, of 4 bytes, is described in 46.
    let mut writer = Writer::new(out, diffs.len().saturating_mul(2));
    writer.raw(b"[");
    for (index, diff) in Diffs(diffs).enumerate() {
        let Diff { operation, path } = diff?;
        Legs::of(path)?.try_for_each(|leg| leg.map(drop))?;
        writer.raw(if index > 0 { b", {\"op\": \"" } else { b"{\"op\": \"" });
        let (name, value) = match operation {
            Operation::Replace(value) => ("replace", Some(value)),
            Operation::Insert(value) => ("insert", Some(value)),
            Operation::Remove => ("remove", None),
        };
        writer.raw(name.as_bytes());
        writer.raw(b"\", \"path\": ");
        push_json_string(path.as_bytes(), writer.out);
        if let Some(value) = value {
            writer.raw(b", \"value\": ");
            writer.document(value, 0)?;
        }
        writer.raw(b"}");
    }
    writer.raw(b"]");
    Ok(())
}

fn applied(before: &[u8], diffs: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let input = before.len().saturating_add(diffs.len());
    let mut root = Node::Whole(Document::of(before));
    // Every member takes at least three bytes, and none is in two places.
    let mut budget = Budget { nodes: input / 3 + 1, moves: MOVES_FREE.saturating_add(input) };
    for diff in Diffs(diffs) {
        let Diff { operation, path } = diff?;
        change(&mut root, operation, Legs::of(path)?, &mut budget)?;
    }
    root.write(&mut Writer::new(out, input), 0)
}

/// So many members may change their place in arrays before the number is held against the input's size.
const MOVES_FREE: usize = 1 << 26;

/// What may be spent on one value.
struct Budget {
    nodes: usize,
    moves: usize,
}

impl Budget {
    fn move_all(&mut self, count: usize) -> Result<(), &'static str> {
        self.moves =
            self.moves.checked_sub(count).ok_or("JSON diff: too many insertions into an array")?;
        Ok(())
    }
}

struct Diff<'a> {
    operation: Operation<'a>,
    path: &'a str,
}

enum Operation<'a> {
    Replace(Document<'a>),
    Insert(Document<'a>),
    Remove,
}

/// The diffs that are left; it ends after an error.
struct Diffs<'a>(&'a [u8]);

impl<'a> Iterator for Diffs<'a> {
    type Item = Result<Diff<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let (code, rest) = self.0.split_first()?;
        self.0 = rest;
        let diff = self.diff(*code);
        if diff.is_err() {
            self.0 = &[];
        }
        Some(diff)
    }
}

impl<'a> Diffs<'a> {
    fn diff(&mut self, code: u8) -> Result<Diff<'a>, &'static str> {
        let path = std::str::from_utf8(self.counted()?).map_err(|_| BAD_PATH)?;
        let operation = match code {
            0 => Operation::Replace(Document::of(self.counted()?)),
            1 => Operation::Insert(Document::of(self.counted()?)),
            2 => Operation::Remove,
            _ => return Err("JSON diff: an unknown operation"),
        };
        Ok(Diff { operation, path })
    }

    /// Bytes behind their length, as `net_field_length` reads it.
    fn counted(&mut self) -> Result<&'a [u8], &'static str> {
        let (first, rest) = self.0.split_first().ok_or(CUT)?;
        let width = match first {
            0..=250 => 0,
            252 => 2,
            253 => 3,
            254 => 8,
            251 | 255 => return Err("JSON diff: an impossible length"),
        };
        let (length, rest) = rest.split_at_checked(width).ok_or(CUT)?;
        let length = if width == 0 { u64::from(*first) } else { super::little_endian(length) };
        let length = usize::try_from(length).map_err(|_| CUT)?;
        let (bytes, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(bytes)
    }
}

const CUT: &str = "JSON diff: it ends too early";
const STRANGER: &str = "JSON diff: its path does not lead into the document of the before image";

/// A document that is taken apart where a path has led through, no deeper than [`json_path`] allows.
enum Node<'a> {
    Whole(Document<'a>),
    /// By the order of keys: see [`order`].
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

fn change<'a>(
    root: &mut Node<'a>,
    operation: Operation<'a>,
    mut legs: Legs<'a>,
    budget: &mut Budget,
) -> Result<(), &'static str> {
    let mut node = root;
    // The server logs a new document as a whole, not as a change at its root.
    let mut leg = legs.next().ok_or(STRANGER)??;
    for next in legs {
        node = node.child(&leg, budget)?;
        leg = next?;
    }
    node.edit(leg, operation, budget)
}

impl<'a> Node<'a> {
    fn child(&mut self, leg: &Leg<'a>, budget: &mut Budget) -> Result<&mut Self, &'static str> {
        self.take_apart(budget)?;
        let child = match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                place(members, name).ok().and_then(|at| members.get_mut(at)).map(|(_, node)| node)
            }
            (Self::Array(items), Leg::Cell(cell)) => {
                let at = cell.of(items.len());
                items.get_mut(at)
            }
            _ => None,
        };
        child.ok_or(STRANGER)
    }

    fn edit(
        &mut self,
        leg: Leg<'a>,
        operation: Operation<'a>,
        budget: &mut Budget,
    ) -> Result<(), &'static str> {
        self.take_apart(budget)?;
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                match (operation, place(members, &name)) {
                    (Operation::Replace(value), Ok(at)) => {
                        *members.get_mut(at).map(|(_, node)| node).ok_or(STRANGER)? =
                            Self::Whole(value);
                    }
                    (Operation::Insert(value), Err(at)) => {
                        budget.move_all(members.len() - at)?;
                        members.insert(at, (name, Self::Whole(value)));
                    }
                    (Operation::Remove, Ok(at)) => {
                        budget.move_all(members.len() - at)?;
                        members.remove(at);
                    }
                    _ => return Err(STRANGER),
                }
            }
            (Self::Array(items), Leg::Cell(cell)) => {
                let at = cell.of(items.len());
                match (operation, items.get_mut(at)) {
                    (Operation::Replace(value), Some(item)) => *item = Self::Whole(value),
                    (Operation::Insert(value), _) => {
                        // Beyond the end is the end; before the start is the start.
                        let at = if at == Cell::BEFORE { 0 } else { at.min(items.len()) };
                        budget.move_all(items.len() - at)?;
                        items.insert(at, Self::Whole(value));
                    }
                    (Operation::Remove, Some(_)) => {
                        budget.move_all(items.len() - at)?;
                        items.remove(at);
                    }
                    _ => return Err(STRANGER),
                }
            }
            _ => return Err(STRANGER),
        }
        Ok(())
    }

    /// Makes an object or array out of its bytes; what is neither stays.
    fn take_apart(&mut self, budget: &mut Budget) -> Result<(), &'static str> {
        let Self::Whole(document) = self else { return Ok(()) };
        let Some(container) = document.container()? else { return Ok(()) };
        budget.nodes = budget.nodes.checked_sub(container.count()).ok_or(OVERLAP)?;
        *self = if container.is_object() {
            let members = container.members().map(|member| {
                let Member { key, value } = member?;
                Ok((Cow::Borrowed(key), Self::Whole(value)))
            });
            Self::Object(members.collect::<Result<_, _>>()?)
        } else {
            let items = container.members().map(|member| Ok(Self::Whole(member?.value)));
            Self::Array(items.collect::<Result<_, _>>()?)
        };
        Ok(())
    }

    fn write(&self, writer: &mut Writer<'_>, depth: usize) -> Result<(), &'static str> {
        match self {
            Self::Whole(document) => return writer.document(*document, depth),
            Self::Object(members) => {
                writer.deeper(depth)?;
                writer.raw(b"{");
                for (index, (key, node)) in members.iter().enumerate() {
                    writer.separate(index);
                    writer.key(key)?;
                    node.write(writer, depth + 1)?;
                }
                writer.raw(b"}");
            }
            Self::Array(items) => {
                writer.deeper(depth)?;
                writer.raw(b"[");
                for (index, node) in items.iter().enumerate() {
                    writer.separate(index);
                    node.write(writer, depth + 1)?;
                }
                writer.raw(b"]");
            }
        }
        Ok(())
    }
}

/// Where a key is, or would be.
fn place(members: &[(Cow<'_, [u8]>, Node<'_>)], name: &[u8]) -> Result<usize, usize> {
    members.binary_search_by(|(key, _)| order(key).cmp(&order(name)))
}

/// MySQL sorts keys by their length first.
fn order(key: &[u8]) -> (usize, &[u8]) {
    (key.len(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: &[u8], diffs: &[u8]) -> Result<String, &'static str> {
        let mut out = Vec::new();
        apply(before, diffs, &mut out).map_err(|error| error.what)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// `{"a": 1, "b": [true, "x", 1.5]}` as MySQL writes it.
    const BEFORE: &[u8] = &[
        0x00, 2, 0, 43, 0, 18, 0, 1, 0, 19, 0, 1, 0, 0x05, 1, 0, 0x02, 20, 0, b'a', b'b', 3, 0, 23,
        0, 0x04, 1, 0, 0x0C, 13, 0, 0x0B, 15, 0, 1, b'x', 0, 0, 0, 0, 0, 0, 0xF8, 0x3F,
    ];

    /// The small integer 7.
    const SEVEN: &[u8] = &[0x05, 7, 0];
    /// `{"k": []}`
    const NESTED: &[u8] = &[0, 1, 0, 16, 0, 11, 0, 1, 0, 2, 12, 0, b'k', 0, 0, 4, 0];

    fn diff(operation: u8, path: &str, value: &[u8]) -> Vec<u8> {
        let counted = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap();
            match bytes.len() {
                0..=250 => [&[bytes.len() as u8], bytes].concat(),
                _ => [&[252], &length.to_le_bytes()[..], bytes].concat(),
            }
        };
        let value = if operation == 2 { Vec::new() } else { counted(value) };
        [vec![operation], counted(path.as_bytes()), value].concat()
    }

    #[test]
    fn without_a_difference_the_document_stays() {
        assert_eq!(after(BEFORE, &[]).unwrap(), r#"{"a": 1, "b": [true, "x", 1.5]}"#);
        assert_eq!(after(&[], &[]).unwrap(), "null");
    }

    #[test]
    fn each_operation_does_what_the_server_does() {
        for (operation, path, text) in [
            (0, "$.a", r#"{"a": 7, "b": [true, "x", 1.5]}"#),
            (0, "$.b", r#"{"a": 1, "b": 7}"#),
            (0, "$.b[0]", r#"{"a": 1, "b": [7, "x", 1.5]}"#),
            (0, "$.b[last-1]", r#"{"a": 1, "b": [true, 7, 1.5]}"#),
            (1, "$.b[0]", r#"{"a": 1, "b": [7, true, "x", 1.5]}"#),
            (1, "$.b[3]", r#"{"a": 1, "b": [true, "x", 1.5, 7]}"#),
            (1, "$.b[99]", r#"{"a": 1, "b": [true, "x", 1.5, 7]}"#),
            (1, "$.b[last-3]", r#"{"a": 1, "b": [7, true, "x", 1.5]}"#),
            (2, "$.a", r#"{"b": [true, "x", 1.5]}"#),
            (2, "$.b[1]", r#"{"a": 1, "b": [true, 1.5]}"#),
        ] {
            assert_eq!(after(BEFORE, &diff(operation, path, SEVEN)).unwrap(), text, "{path}");
        }
    }

    #[test]
    fn keys_are_sorted_by_length_and_then_by_bytes() {
        let diffs = ["$.c", "$.aa", "$.\"\"", "$.B", "$.\"\\u0000\"", "$.é"]
            .map(|path| diff(1, path, SEVEN))
            .concat();
        let text = "{\"\": 7, \"\\u0000\": 7, \"B\": 7, \"a\": 1, \"b\": [true, \"x\", 1.5], \"c\": 7, \
                    \"aa\": 7, \"é\": 7}";
        assert_eq!(after(BEFORE, &diffs).unwrap(), text);
    }

    #[test]
    fn later_differences_lead_into_what_earlier_ones_brought() {
        let diffs = [
            diff(1, "$.n", NESTED),
            diff(1, "$.n.k[0]", SEVEN),
            diff(1, "$.n.k[0]", NESTED),
            diff(0, "$.n.k[0].k", SEVEN),
            diff(2, "$.b", &[]),
        ];
        let text = r#"{"a": 1, "n": {"k": [{"k": 7}, 7]}}"#;
        assert_eq!(after(BEFORE, &diffs.concat()).unwrap(), text);
    }

    #[test]
    fn what_does_not_fit_the_document_is_refused() {
        for (operation, path) in [
            (0, "$"),
            (1, "$"),
            (2, "$"),
            (0, "$.c"),
            (0, "$.b[3]"),
            (0, "$.b[last-3]"),
            (0, "$[0]"),
            (0, "$.a.x"),
            (0, "$.b.x"),
            (1, "$.a"),
            (1, "$.a[0]"),
            (1, "$.c.d"),
            (2, "$.c"),
            (2, "$.b[3]"),
        ] {
            let error = after(BEFORE, &diff(operation, path, SEVEN)).unwrap_err();
            assert_eq!(error, STRANGER, "{operation} {path}");
        }
        assert_eq!(after(&[], &diff(0, "$.a", SEVEN)).unwrap_err(), STRANGER);
    }

    #[test]
    fn every_truncation_and_every_changed_byte_ends_in_text_or_an_error() {
        let diffs = [diff(0, "$.b[1]", NESTED), diff(2, "$.a", &[]), diff(1, "$.n", BEFORE)];
        let ends = [0, 1, 2, 3].map(|count| diffs.iter().take(count).map(Vec::len).sum::<usize>());
        let diffs = diffs.concat();
        for length in 0..diffs.len() {
            let whole = ends.contains(&length);
            assert_eq!(after(BEFORE, &diffs[..length]).is_ok(), whole, "cut at {length}");
            for byte in 0..=255 {
                let mut changed = diffs.clone();
                changed[length] = byte;
                let _ = after(BEFORE, &changed);
                let mut out = Vec::new();
                let _ = describe(&changed, &mut out);
                assert!(out.len() < 40 * changed.len());
            }
        }
    }

    #[test]
    fn values_that_share_bytes_are_not_taken_apart_again_and_again() {
        // 100 members that are all the same array of 1000.
        let inner = [&[0xE8, 3, 0xBC, 0x0B][..], &[4, 0, 0].repeat(1000)].concat();
        let heads = [&[100, 0][..], &(4 + 300 + 3004_u16).to_le_bytes()].concat();
        let entries = [&[2][..], &304_u16.to_le_bytes()].concat().repeat(100);
        let before = [&[2][..], &heads, &entries, &inner].concat();
        let one = diff(0, "$[0][0]", SEVEN);
        assert!(after(&before, &one).is_err(), "its text is too long");
        let all: Vec<u8> = (0..100).flat_map(|at| diff(0, &format!("$[{at}][0]"), SEVEN)).collect();
        assert_eq!(after(&before, &all).unwrap_err(), OVERLAP);
    }

    #[test]
    fn differences_are_described_as_json() {
        let diffs = [diff(0, "$.a", SEVEN), diff(1, "$.\"x y\"[0]", NESTED), diff(2, "$.b", &[])];
        let mut out = Vec::new();
        describe(&diffs.concat(), &mut out).unwrap();
        let text = concat!(
            r#"[{"op": "replace", "path": "$.a", "value": 7}, "#,
            r#"{"op": "insert", "path": "$.\"x y\"[0]", "value": {"k": []}}, "#,
            r#"{"op": "remove", "path": "$.b"}]"#,
        );
        assert_eq!(String::from_utf8(out).unwrap(), text);
        let most: Vec<u8> = diff(0, "$", &[]).repeat(1000);
        let mut out = Vec::new();
        describe(&most, &mut out).unwrap();
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
    }
}
