//! Where in a server's binlog: the coordinates that every other room shares.
//!
//! | type | what it is |
//! |---|---|
//! | [`ServerId`] | which server a position belongs to; a position means nothing on another one |
//! | [`Position`] | (server, file, offset) and the transaction's GTID where there is one |
//! | [`Gtid`] | one transaction, in MySQL's or MariaDB's naming |
//! | [`GtidSet`] | the transactions that somebody already has |
//! | [`Checkpoint`] | a position plus the set behind it: enough to go on reading |
//! | [`Sequence`] | the number of a batch within an agent's epoch |
//!
//! All positions that are stored stand at a transaction boundary.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The identity of a server: `mysql:<server_uuid>` or `mariadb:<server_id>`; text, at most
/// [`SERVER_ID_LEN_MAX`] bytes.
#[derive(Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ServerId(pub String);

/// `clone_from` keeps its memory.
impl Clone for ServerId {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }

    fn clone_from(&mut self, other: &Self) {
        self.0.clone_from(&other.0);
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest identity that is accepted, in bytes.
pub const SERVER_ID_LEN_MAX: usize = 64;

/// A place in one server's binlog, written `binlog.000042:1337`.
#[derive(Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The server whose files these are.
    pub server: ServerId,
    /// The file's name without its folder.
    pub file: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The transaction that ends (or, for a first position, begins) here, where the server has GTIDs.
    pub gtid: Option<Gtid>,
}

/// `clone_from` keeps what it can of the memory that it has: one is copied for each transaction.
impl Clone for Position {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, other: &Self) {
        let Self { server, file, offset, gtid } = self;
        server.clone_from(&other.server);
        file.clone_from(&other.file);
        *offset = other.offset;
        gtid.clone_from(&other.gtid);
    }
}

impl Position {
    /// Compares two places of the same server; `None` if they are of different servers.
    ///
    /// File numbers compare as numbers: `binlog.999999` is before `binlog.1000000`.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        if self.server != other.server {
            return None;
        }
        Some(file_order(&self.file, &other.file).then(self.offset.cmp(&other.offset)))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// Compares two binlog file names by their number, then by name.
pub fn file_order(a: &str, b: &str) -> Ordering {
    file_number(a).cmp(&file_number(b)).then_with(|| a.cmp(b))
}

/// The number after the last dot of a binlog file's name.
pub fn file_number(name: &str) -> Option<u64> {
    name.rsplit_once('.')?.1.parse().ok()
}

/// Where reading goes on: all that is known of the source at a transaction boundary.
#[derive(Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The end of the last transaction that was read.
    pub position: Position,
    /// All transactions read so far, where the server has GTIDs.
    pub gtids: GtidSet,
    /// When the binlog file was created (its first event's timestamp, Unix seconds), or 0 if not
    /// known. A file of the same name with another time is another history.
    pub file_created_s: u32,
}

/// `clone_from` keeps memory as a position's does.
impl Clone for Checkpoint {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, other: &Self) {
        let Self { position, gtids, file_created_s } = self;
        position.clone_from(&other.position);
        gtids.clone_from(&other.gtids);
        *file_created_s = other.file_created_s;
    }
}

/// One transaction's global identifier.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Gtid {
    /// `3e11fa47-71ca-11e1-9e33-c80aa9429562:23`, or `…:tag:23` from MySQL 8.3 on.
    Mysql {
        /// The server (or group) that first committed it.
        uuid: Uuid,
        /// Empty for none; at most 32 bytes of `[a-z0-9_]`.
        tag: String,
        /// 1 and up.
        number: u64,
    },
    /// `0-33011-17`: domain, server and sequence number.
    Mariadb {
        /// The replication domain.
        domain: u32,
        /// The server_id of the server that first committed it.
        server: u32,
        /// 1 and up, rising within a domain.
        sequence: u64,
    },
}

/// Sixteen bytes, written in the usual 8-4-4-4-12 form.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut bytes = [0; 16];
        if digits.len() != 32 {
            return Err(BadText("a UUID"));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadText("a UUID"))?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadText("a UUID"))?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql { uuid, tag, number } if tag.is_empty() => write!(f, "{uuid}:{number}"),
            Self::Mysql { uuid, tag, number } => write!(f, "{uuid}:{tag}:{number}"),
            Self::Mariadb { domain, server, sequence } => {
                write!(f, "{domain}-{server}-{sequence}")
            }
        }
    }
}

impl FromStr for Gtid {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        const WHAT: BadText = BadText("a GTID");
        if let Some((uuid, rest)) = text.split_once(':') {
            let (tag, number) = rest.split_once(':').unwrap_or(("", rest));
            let number = number.parse().map_err(|_| WHAT)?;
            if !is_tag(tag.as_bytes()) {
                return Err(WHAT);
            }
            return Ok(Self::Mysql { uuid: uuid.parse()?, tag: tag.to_owned(), number });
        }
        let mut parts = text.split('-');
        let (Some(domain), Some(server), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(WHAT);
        };
        Ok(Self::Mariadb {
            domain: domain.parse().map_err(|_| WHAT)?,
            server: server.parse().map_err(|_| WHAT)?,
            sequence: sequence.parse().map_err(|_| WHAT)?,
        })
    }
}

/// A set of transactions.
///
/// MySQL's is exact: intervals per source and tag. MariaDB's is the last transaction of each domain
/// (what `gtid_binlog_pos` says): all before it in that domain count as contained.
#[derive(Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct GtidSet {
    /// Half-open intervals `[start, end)`, sorted, apart; by source and tag.
    pub mysql: BTreeMap<(Uuid, String), Vec<(u64, u64)>>,
    /// By domain: the last (server, sequence).
    pub mariadb: BTreeMap<u32, (u32, u64)>,
}

/// `clone_from` keeps its memory where the other set is of the same sources.
impl Clone for GtidSet {
    fn clone(&self) -> Self {
        Self { mysql: self.mysql.clone(), mariadb: self.mariadb.clone() }
    }

    fn clone_from(&mut self, other: &Self) {
        copy_map(&mut self.mysql, &other.mysql);
        copy_map(&mut self.mariadb, &other.mariadb);
    }
}

fn copy_map<K: Clone + Ord, V: Clone>(to: &mut BTreeMap<K, V>, from: &BTreeMap<K, V>) {
    if to.keys().eq(from.keys()) {
        to.values_mut().zip(from.values()).for_each(|(to, from)| to.clone_from(from));
    } else {
        to.clone_from(from);
    }
}

impl GtidSet {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.mysql.is_empty() && self.mariadb.is_empty()
    }

    /// Whether this transaction is in it.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match gtid {
            Gtid::Mysql { uuid, tag, number } => {
                self.mysql.get(&(*uuid, tag.clone())).is_some_and(|all| {
                    let at = all.partition_point(|(_, end)| end <= number);
                    all.get(at).is_some_and(|(start, _)| start <= number)
                })
            }
            Gtid::Mariadb { domain, sequence, .. } => {
                self.mariadb.get(domain).is_some_and(|(_, last)| sequence <= last)
            }
        }
    }

    /// Adds one transaction. In MariaDB's form the domain's last one moves forward only.
    pub fn insert(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::Mysql { uuid, tag, number } => {
                self.insert_interval(*uuid, tag, *number, number.saturating_add(1));
            }
            Gtid::Mariadb { domain, server, sequence } => {
                let last = self.mariadb.entry(*domain).or_insert((*server, *sequence));
                if *sequence >= last.1 {
                    *last = (*server, *sequence);
                }
            }
        }
    }

    /// Adds the transactions `start..end` of one source and tag.
    pub fn insert_interval(&mut self, uuid: Uuid, tag: &str, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let all = self.mysql.entry((uuid, tag.to_owned())).or_default();
        append(all, start, end);
        // What is behind all others, as most are, is where it belongs.
        if let [.., before, last] = all.as_slice()
            && last.0 <= before.1
        {
            merge(all);
        }
    }

    /// Adds many transactions, in any order.
    pub fn insert_all(&mut self, gtids: impl Iterator<Item = Gtid>) {
        for gtid in gtids {
            match gtid {
                Gtid::Mysql { number: u64::MAX, .. } => {}
                Gtid::Mysql { uuid, tag, number } => {
                    append(self.mysql.entry((uuid, tag)).or_default(), number, number + 1);
                }
                gtid @ Gtid::Mariadb { .. } => self.insert(&gtid),
            }
        }
        for all in self.mysql.values_mut().filter(|all| !all.is_sorted_by(|a, b| a.1 < b.0)) {
            merge(all);
        }
    }

    /// How many intervals and domains it has: what it takes in memory and on disk.
    pub fn parts(&self) -> usize {
        self.mysql.values().map(Vec::len).sum::<usize>() + self.mariadb.len()
    }

    /// Adds everything of another set.
    pub fn extend(&mut self, other: &Self) {
        for ((uuid, tag), intervals) in &other.mysql {
            let all = self.mysql.entry((*uuid, tag.clone())).or_default();
            all.extend(intervals);
            merge(all);
        }
        for (domain, (server, sequence)) in &other.mariadb {
            self.insert(&Gtid::Mariadb { domain: *domain, server: *server, sequence: *sequence });
        }
    }
}

/// A set is less than one that has all of it and more; `None` for two of which each has what the other lacks.
impl PartialOrd for GtidSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let mut both = self.clone();
        both.extend(other);
        match (both == *self, both == *other) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

/// Lengthens the newest interval, or puts another behind it.
fn append(all: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    match all.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ => all.push((start, end)),
    }
}

/// Sorts intervals and joins those that touch.
fn merge(all: &mut Vec<(u64, u64)>) {
    all.sort_unstable();
    all.dedup_by(|next, last| {
        let touch = next.0 <= last.1;
        if touch {
            last.1 = last.1.max(next.1);
        }
        touch
    });
}

/// Whether this is the tag of a MySQL GTID, or the empty one: such names need no quotes anywhere.
pub(crate) fn is_tag(text: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    text.len() <= TAG_LEN_MAX
        && text.first().is_none_or(letter)
        && text.iter().all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// `tag_max_length` of `libs/mysql/gtid`.
const TAG_LEN_MAX: usize = 32;

/// The servers' own text form: `uuid:1-5:7,uuid:tag:1` or `0-1-17,1-1-3`.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for ((uuid, tag), intervals) in &self.mysql {
            write!(f, "{comma}{uuid}")?;
            comma = ",";
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (start, end) in intervals {
                match end - 1 {
                    last if last == *start => write!(f, ":{start}")?,
                    last => write!(f, ":{start}-{last}")?,
                }
            }
        }
        for (domain, (server, sequence)) in &self.mariadb {
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
            comma = ",";
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        const WHAT: BadText = BadText("a GTID set");
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((uuid, rest)) = part.split_once(':') else {
                set.insert(&part.parse()?);
                continue;
            };
            let (uuid, mut tag) = (uuid.parse()?, "");
            for item in rest.split(':').map(str::trim) {
                if !item.starts_with(|c: char| c.is_ascii_digit()) {
                    tag = Some(item).filter(|tag| is_tag(tag.as_bytes())).ok_or(WHAT)?;
                    continue;
                }
                let (start, last) = item.split_once('-').unwrap_or((item, item));
                let start: u64 = start.parse().map_err(|_| WHAT)?;
                let last: u64 = last.parse().map_err(|_| WHAT)?;
                if start == 0 || last < start || last == u64::MAX {
                    return Err(WHAT);
                }
                let all = set.mysql.entry((uuid, tag.to_owned())).or_default();
                all.push((start, last + 1));
            }
        }
        set.mysql.values_mut().for_each(merge);
        Ok(set)
    }
}

/// The property that tests and fuzzers share: whatever text is a GTID, a set of them or a UUID survives being
/// written and read again.
pub fn check_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(uuid) = text.parse::<Uuid>() {
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
    }
    if let Ok(gtid) = text.parse::<Gtid>() {
        assert_eq!(gtid.to_string().parse(), Ok(gtid), "{text}");
    }
    if let Ok(set) = text.parse::<GtidSet>() {
        assert_eq!(set.to_string().parse(), Ok(set.clone()), "{text}");
        let mut sum = GtidSet::default();
        sum.extend(&set);
        assert_eq!(sum, set, "{text}");
    }
    assert_eq!(file_order(text, text), Ordering::Equal);
}

/// The number of a batch within an agent's epoch: 1, 2, 3, … without gaps. 0 stands before the first.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first batch.
    pub const START: Self = Self(0);

    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Text that is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadText(pub &'static str);

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is not {}", self.0)
    }
}

impl std::error::Error for BadText {}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn a_tag_that_would_mean_something_else_is_refused() {
        const UUID: &str = "a4337a05-e57f-11f1-b554-02fc00000001";
        for tag in ["a,b", "A", "1a", "a b", "a-b", "é", &"a".repeat(33)] {
            assert!(format!("{UUID}:{tag}:1").parse::<Gtid>().is_err(), "{tag}");
            assert!(!is_tag(tag.as_bytes()), "{tag}");
        }
        assert!(is_tag(b"_a1") && is_tag(&[b'a'; 32]) && is_tag(b""));
    }

    #[test]
    fn many_intervals_in_any_order_are_joined_in_one_go() {
        let mut text = String::from("a4337a05-e57f-11f1-b554-02fc00000001");
        (1..200_000_u32).rev().for_each(|number| text.push_str(&format!(":{}", 2 * number)));
        let set: GtidSet = text.parse().unwrap();
        let intervals = set.mysql.values().next().unwrap();
        assert_eq!((intervals.len(), intervals[0]), (199_999, (2, 3)));
    }

    #[test]
    fn many_at_once_are_what_they_are_one_by_one() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            let gtid = |number: u64| match number % 5 {
                0 => format!("0-1-{number}").parse().unwrap(),
                1 => format!("{A}:tag:{number}").parse().unwrap(),
                _ => format!("{A}:{number}").parse::<Gtid>().unwrap(),
            };
            let numbers: Vec<u64> = (0..rng.usize(..60)).map(|_| rng.u64(1..40)).collect();
            let (mut one_by_one, mut at_once) = (GtidSet::default(), GtidSet::default());
            for part in numbers.chunks(7) {
                part.iter().for_each(|number| one_by_one.insert(&gtid(*number)));
                at_once.insert_all(part.iter().map(|number| gtid(*number)));
                assert_eq!(one_by_one, at_once);
            }
            let parts = at_once.mysql.values().map(Vec::len).sum::<usize>() + at_once.mariadb.len();
            assert_eq!(at_once.parts(), parts);
            for number in (0..45).filter(|number| number % 5 > 0) {
                assert_eq!(at_once.contains(&gtid(number)), numbers.contains(&number), "{number}");
            }
        }
    }

    #[test]
    fn file_numbers_compare_as_numbers() {
        assert_eq!(file_order("b.999999", "b.1000000"), Ordering::Less);
        assert_eq!(file_order("b.000002", "b.000002"), Ordering::Equal);
    }

    #[test]
    fn positions_of_two_servers_have_no_order() {
        let a = Position { server: ServerId("mariadb:1".into()), ..Position::default() };
        let b = Position { server: ServerId("mariadb:2".into()), ..Position::default() };
        assert_eq!(a.order(&b), None);
        assert_eq!(a.order(&a), Some(Ordering::Equal));
    }

    #[test]
    fn a_gtid_survives_its_text() {
        for text in [format!("{A}:23"), format!("{A}:red:1"), "0-33011-17".to_owned()] {
            assert_eq!(text.parse::<Gtid>().unwrap().to_string(), text);
        }
        for text in ["", "1-2", "1-2-3-4", "x:1", &format!("{A}:")] {
            assert!(text.parse::<Gtid>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_set_survives_its_text_and_joins_neighbours() {
        let text = format!("{A}:1-5:7,{A}:red:1-2");
        assert_eq!(text.parse::<GtidSet>().unwrap().to_string(), text);
        let mut set: GtidSet = format!("{A}:1-5:7").parse().unwrap();
        set.insert(&format!("{A}:6").parse().unwrap());
        assert_eq!(set.to_string(), format!("{A}:1-7"));
        assert!(set.contains(&format!("{A}:7").parse().unwrap()));
        assert!(!set.contains(&format!("{A}:8").parse().unwrap()));
    }

    #[test]
    fn a_set_is_less_than_one_that_has_all_of_it_and_more() {
        let set = |text: &str| text.replace('A', A).parse::<GtidSet>().unwrap();
        for (less, more) in
            [("A:1-5", "A:1-6"), ("A:2:4", "A:1-4,A:red:1"), ("0-1-3", "0-2-4,1-1-1")]
        {
            assert_eq!(set(less).partial_cmp(&set(more)), Some(Ordering::Less), "{less} {more}");
            assert_eq!(set(more).partial_cmp(&set(less)), Some(Ordering::Greater), "{less} {more}");
            assert_eq!(set(less).partial_cmp(&set(less)), Some(Ordering::Equal), "{less}");
        }
        for (one, other) in [("A:1-5", "A:2-6"), ("0-1-3,1-1-1", "0-1-4"), ("A:1", "0-1-1")] {
            assert_eq!(set(one).partial_cmp(&set(other)), None, "{one} {other}");
        }
    }

    #[test]
    fn a_mariadb_domain_moves_forward_only() {
        let mut set: GtidSet = "0-1-17,1-1-3".parse().unwrap();
        set.insert(&"0-2-18".parse().unwrap());
        set.insert(&"0-1-4".parse().unwrap());
        assert_eq!(set.to_string(), "0-2-18,1-1-3");
        assert!(set.contains(&"0-1-18".parse().unwrap()));
    }
}
