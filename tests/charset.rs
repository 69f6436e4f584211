//! Every character set and every collation of the real servers: what they say of every code is what our
//! reader says.
//!
//! ```text
//!   information_schema ──sets, ids──► Charset::of_collation ── the same set
//!   every code ──┬──► CONVERT(… USING utf8mb4) ──┐
//!                └──► Charset::decode ───────────┴─ equal, or refused where the server has no answer
//! ```
//!
//! The server has no answer where it says NULL, cuts the string off, or puts a `?`, a U+FFFD or something
//! that is not UTF-8 in its place.

#![allow(unreachable_pub)]

mod harness;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Instant;

use harness::server::{Flavour, Server};
use rivulet::binlog::value::Charset;

#[test]
fn every_code_of_every_character_set_is_read_as_the_servers_read_it() {
    let flavours = Flavour::chosen();
    let results = thread::scope(|scope| {
        let threads: Vec<_> =
            flavours.iter().map(|flavour| scope.spawn(|| examine(*flavour))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    for (flavour, result) in flavours.iter().zip(results) {
        let differences = result.unwrap_or_else(|_| panic!("{flavour}: no exam took place"));
        assert_eq!(differences, 0, "{flavour}: see above");
    }
}

/// How many differences there are.
fn examine(flavour: Flavour) -> usize {
    let server = Server::start(flavour, &[]);
    let start = Instant::now();
    server.sql("create database charsets");
    server.sql("use charsets");
    server.sql("create table bytes (b binary(1) primary key)");
    let bytes: Vec<_> = (0..=255).map(|byte| format!("(x'{byte:02X}')")).collect();
    server.sql(&format!("insert into bytes values {}", bytes.join(",")));
    let sets = collations(&server);
    let (mut codes, mut differences) = (0, 0);
    for set in &sets {
        let (name, exam) = (set.name.as_str(), Exam::of(&server, set));
        for difference in exam.differences.iter().take(10) {
            println!("{flavour}: {name}: {difference}");
        }
        assert!(exam.defined >= defined_min(name), "{name}: {} codes are too few", exam.defined);
        codes += exam.asked;
        differences += exam.differences.len();
    }
    let of_collations = single_bytes(&server);
    of_collations.iter().take(10).for_each(|difference| println!("{flavour}: {difference}"));
    differences += of_collations.len();
    let ids: usize = sets.iter().map(|set| set.ids).sum();
    let seconds = start.elapsed().as_secs_f32();
    println!("{flavour}: {} sets, {ids} collations, {codes} codes in {seconds:.1} s", sets.len());
    differences
}

/// Whether every collation of the sets that have a byte for a character reads them as we do.
fn single_bytes(server: &Server) -> Vec<String> {
    let (table, name) = match server.flavour.is_mysql() {
        true => ("collations", "collation_name"),
        false => ("collation_character_set_applicability", "full_collation_name"),
    };
    let all = server.sql(&format!(
        "select character_set_name, {name}, id from information_schema.{table} a \
         join information_schema.character_sets s using (character_set_name) \
         where s.maxlen = 1 and id is not null and character_set_name not in ('binary', 'ascii')"
    ));
    let every: Vec<u8> = (0..=255).collect();
    let mut differences = Vec::new();
    for row in &all {
        let [set, collation, id] = row.as_slice() else { panic!("three columns: {row:?}") };
        let bytes = hex(&every);
        let answer = server.sql(&format!(
            "select hex(convert(_{set} x'{bytes}' collate {collation} using utf8mb4))"
        ));
        let theirs = String::from_utf8(unhex(&answer[0][0])).expect("it is UTF-8");
        let charset = Charset::of_collation(id.parse().expect("an id is a number"));
        let charset = charset.unwrap_or_else(|| panic!("{collation} is not known"));
        assert_eq!(theirs.chars().count(), 256, "{collation}");
        for (byte, theirs) in every.iter().zip(theirs.chars()) {
            let ours =
                charset.decode(Cow::Borrowed(&[*byte])).ok().and_then(|it| it.chars().next());
            let theirs = Some(theirs).filter(|it| match it {
                '?' => *byte == b'?',
                it => *it != '\u{FFFD}',
            });
            // latin2_czech_cs has no DEL, which MySQL copies nevertheless behind nothing but ASCII.
            let differs = ours != theirs && (*byte, id.as_str()) != (0x7F, "2");
            if differs {
                differences.push(format!("{collation}: {byte:02x}: {ours:?}, {theirs:?} here"));
            }
        }
    }
    assert!(all.len() >= 60, "{} collations are too few", all.len());
    differences
}

const LATIN2_CZECH: u16 = 2;

/// A server's character set.
struct Set {
    name: String,
    charset: Charset,
    /// Collations of it.
    ids: usize,
}

/// All sets, every one of whose collations is known to be of that set.
fn collations(server: &Server) -> Vec<Set> {
    let mut by_set: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    let applicability = "collation_character_set_applicability";
    let table = if server.flavour.is_mysql() { "collations" } else { applicability };
    let query = format!(
        "select character_set_name, id from information_schema.{table} \
         where character_set_name is not null and id is not null"
    );
    for row in server.sql(&query) {
        by_set.entry(row[0].clone()).or_default().push(row[1].parse().expect("an id is a number"));
    }
    let names = server.sql("select character_set_name from information_schema.character_sets");
    let names: BTreeSet<_> = names.into_iter().map(|row| row[0].clone()).collect();
    assert!(by_set.keys().eq(&names), "every set has collations: {names:?}");
    assert!(names.len() >= 40, "{names:?}");
    let set = |(name, mut ids): (String, Vec<u16>)| {
        // Its table is its own, and looked at as all that have one byte for a character.
        ids.retain(|id| *id != LATIN2_CZECH);
        let known: BTreeSet<_> =
            ids.iter().map(|id| format!("{:?}", Charset::of_collation(*id))).collect();
        let wanted = format!("Some({name})");
        assert!(
            known.len() == 1 && known.iter().all(|it| it.eq_ignore_ascii_case(&wanted)),
            "{name}: its collations are of {known:?}"
        );
        let charset = Charset::of_collation(ids[0]).expect("it is the one that is wanted");
        Set { name, charset, ids: ids.len() }
    };
    by_set.into_iter().map(set).collect()
}

/// So many strings with a meaning are there at least: an exam of nothing proves nothing.
fn defined_min(set: &str) -> usize {
    match set {
        "binary" => 0,
        "big5" => 13_000,
        "sjis" | "gb2312" => 6_900,
        "cp932" => 9_400,
        "ujis" | "eucjpms" => 14_800,
        "euckr" => 17_000,
        "gbk" => 21_700,
        "ucs2" => 63_488,
        "utf8mb3" => 63_000,
        "gb18030" | "utf8mb4" | "utf16" | "utf16le" | "utf32" => 1_100_000,
        "geostd8" => 215,
        "hebrew" => 220,
        "swe7" => 127,
        "ascii" => 128,
        _ => 240,
    }
}

/// Strings: all that these beginnings and these last bytes make.
struct Grid {
    /// An SQL expression over the tables a, b and c, which have all bytes.
    beginning: &'static str,
    tables: &'static str,
    /// What the tables and the last byte, z, are limited to.
    limits: &'static str,
}

const ONE: Grid = Grid { beginning: "x''", tables: "", limits: "true" };
const TWO: Grid = Grid { beginning: "a.b", tables: "bytes a,", limits: "true" };
const AFTER_8F: Grid = Grid { beginning: "concat(x'8F', a.b)", ..TWO };
const AFTER_00D8: Grid = Grid { beginning: "concat(x'0000', a.b)", ..TWO };
const UTF32_PLANES: Grid = Grid {
    beginning: "concat(a.b, b.b, x'00')",
    tables: "bytes a, bytes b,",
    limits: "z.b = x'41'",
};
/// All of four bytes whose characters are below U+10000.
const GB_FOUR: Grid = Grid {
    beginning: "concat(a.b, b.b, c.b)",
    tables: "bytes a, bytes b, bytes c,",
    limits: "a.b between x'81' and x'84' and b.b between x'30' and x'39' \
             and c.b between x'81' and x'FE' and z.b between x'30' and x'39'",
};
/// Some of all others.
const GB_FOUR_SUPPLEMENTARY: Grid = Grid {
    limits: "a.b between x'85' and x'FE' and b.b between x'30' and x'39' \
             and c.b in (x'81', x'9A', x'FE') and z.b between x'30' and x'39'",
    ..GB_FOUR
};
const GB_FOUR_EDGES: Grid = Grid {
    limits: "a.b in (x'7F', x'80', x'81', x'FE', x'FF') and b.b in (x'2F', x'30', x'39', x'3A') \
             and c.b in (x'7F', x'80', x'81', x'FE', x'FF') \
             and z.b in (x'2F', x'30', x'39', x'3A')",
    ..GB_FOUR
};
const UTF8_THREE: Grid = Grid {
    beginning: "concat(a.b, b.b)",
    tables: "bytes a, bytes b,",
    limits: "a.b between x'E0' and x'EF' and z.b in (x'7F', x'80', x'BF', x'C0')",
};
const UTF8_FOUR: Grid = Grid {
    beginning: "concat(a.b, b.b, c.b)",
    tables: "bytes a, bytes b, bytes c,",
    limits: "a.b >= x'F0' and c.b in (x'7F', x'80', x'BF', x'C0') \
             and z.b in (x'7F', x'80', x'BF', x'C0')",
};

/// The comparison of one set.
struct Exam<'a> {
    server: &'a Server,
    set: &'a Set,
    asked: usize,
    defined: usize,
    differences: Vec<String>,
    /// All strings that have a meaning, one after another, and their meaning.
    whole: (Vec<u8>, String),
}

impl<'a> Exam<'a> {
    fn of(server: &'a Server, set: &'a Set) -> Self {
        let (differences, whole) = (Vec::new(), (Vec::new(), String::new()));
        let mut exam = Self { server, set, asked: 0, defined: 0, differences, whole };
        let grids: &[Grid] = match set.name.as_str() {
            "binary" => &[],
            "ucs2" | "utf16" | "utf16le" => &[TWO],
            "utf32" => &[AFTER_00D8, UTF32_PLANES],
            "utf8mb3" | "utf8mb4" => &[ONE, TWO, UTF8_THREE, UTF8_FOUR],
            "ujis" | "eucjpms" => &[ONE, TWO, AFTER_8F],
            "gb18030" => &[ONE, TWO, GB_FOUR, GB_FOUR_SUPPLEMENTARY, GB_FOUR_EDGES],
            "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" => &[ONE, TWO, GB_FOUR_EDGES],
            _ => &[ONE],
        };
        grids.iter().for_each(|grid| exam.grid(grid));
        exam.every_character();
        let (bytes, text) = std::mem::take(&mut exam.whole);
        if !bytes.is_empty() {
            exam.compare(&bytes, Some(&text));
        }
        exam
    }

    fn grid(&mut self, Grid { beginning, tables, limits }: &Grid) {
        let (end, set) = (self.end(), &self.set.name);
        let string = format!("concat({beginning}, z.b, x'{}')", hex(end));
        let query = format!(
            "select hex({beginning}) beginning, group_concat(concat(hex(z.b), \
             ifnull(hex(convert(convert({string} using {set}) using utf8mb4)), '-'))) \
             from {tables} bytes z where {limits} group by beginning"
        );
        for row in self.server.sql(&query) {
            let mut bytes = unhex(&row[0]);
            let length = bytes.len();
            let answers = row[1].split(',');
            assert!(
                *limits != "true" || answers.clone().count() == 256,
                "every last byte is there"
            );
            for answer in answers {
                let (last, text) = answer.split_at(2);
                bytes.truncate(length);
                bytes.extend(unhex(last));
                let text = self.meaning(&bytes, text);
                self.defined += usize::from(text.is_some());
                self.compare(&bytes, text.as_deref());
                if let Some(text) = text {
                    self.whole.0.extend(&bytes);
                    self.whole.1.push_str(&text);
                }
            }
        }
    }

    /// What stands behind every string: MySQL cuts some that are malformed, and then it is missing.
    fn end(&self) -> &'static [u8] {
        match self.set.name.as_str() {
            "ucs2" | "utf16" | "utf16le" | "utf32" => b"",
            _ => b".",
        }
    }

    /// What the server has answered, if that is an answer.
    fn meaning(&self, bytes: &[u8], answer: &str) -> Option<String> {
        if answer == "-" {
            return None;
        }
        let mut text = unhex(answer);
        text.truncate(text.strip_suffix(self.end())?.len());
        // MySQL takes what is no ASCII for UTF-8.
        if self.set.name == "ascii" && !text.is_ascii() {
            return None;
        }
        let text = String::from_utf8(text).ok()?;
        let question_marks = match self.set.name.as_str() {
            "ucs2" | "utf16" => bytes.chunks(2).filter(|unit| *unit == b"\0?").count(),
            "utf16le" => bytes.chunks(2).filter(|unit| *unit == b"?\0").count(),
            "utf32" => bytes.chunks(4).filter(|unit| *unit == b"\0\0\0?").count(),
            _ => bytes.iter().filter(|byte| **byte == b'?').count(),
        };
        let unicode = ["u", "gb18030"].iter().any(|name| self.set.name.starts_with(name));
        let replaced = text.matches('?').count() > question_marks;
        (!replaced && (unicode && self.set.name != "ujis" || !text.contains('\u{FFFD}')))
            .then_some(text)
    }

    fn compare(&mut self, bytes: &[u8], text: Option<&str>) {
        self.asked += 1;
        let ours = self.set.charset.decode(Cow::Borrowed(bytes)).ok();
        if ours.as_deref() != text {
            let some = |text: &str| text.chars().take(40).collect::<String>();
            let (ours, text) = (ours.as_deref().map(some), text.map(some));
            self.differences
                .push(format!("{:02x?}: {ours:?}, {text:?} here", &bytes[..bytes.len().min(40)]));
        }
    }

    /// All of Unicode, in the sets that have all of it; as many characters a question as is quick.
    fn every_character(&mut self) {
        let set = &self.set.name;
        let last = match set.as_str() {
            "utf8mb3" => '\u{FFFF}',
            "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => char::MAX,
            _ => return,
        };
        let all: Vec<char> = ('\0'..=last).collect();
        for chunk in all.chunks(4096) {
            let text = String::from_iter(chunk);
            let utf8 = hex(text.as_bytes());
            let there = format!("convert(convert(x'{utf8}' using utf8mb4) using {set})");
            let answer = self.server.sql(&format!(
                "select hex({there}), hex(convert({there} using utf8mb4)) = '{utf8}'"
            ));
            let [bytes, back] = answer[0].as_slice() else { panic!("two columns: {answer:?}") };
            assert_eq!(back, "1", "{set}: {:?} has another way back", chunk[0]);
            self.defined += chunk.len();
            self.asked += chunk.len();
            self.compare(&unhex(bytes), Some(&text));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| if c <= b'9' { c - b'0' } else { c - b'A' + 10 };
    text.as_bytes()
        .as_chunks()
        .0
        .iter()
        .map(|[high, low]| digit(*high) << 4 | digit(*low))
        .collect()
}
