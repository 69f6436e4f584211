//! What a statement in a QUERY event does to the transaction around it, told by its first words.
//!
//! This is no SQL parser. It skips comments, enters executable ones (`/*!50100 … */`), and looks
//! at words outside quotes. Multi-byte character sets whose second bytes look like quotes (GBK,
//! Shift-JIS) can hide words behind a quoted text, never the first ones.

use super::xid::Xid;

/// What a statement is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verb {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT, with its name.
    Savepoint(Vec<u8>),
    /// ROLLBACK TO, with the savepoint's name.
    RollbackTo(Vec<u8>),
    /// RELEASE SAVEPOINT.
    Release,
    /// XA START.
    XaStart,
    /// XA END.
    XaEnd,
    /// XA PREPARE.
    XaPrepare,
    /// XA COMMIT, with the name of what is committed; `None` if it cannot be read.
    XaCommit(Option<Xid>),
    /// XA ROLLBACK, likewise.
    XaRollback(Option<Xid>),
    /// Changes what tables look like, or TRUNCATE.
    Ddl {
        /// CREATE TABLE … START TRANSACTION: the table's first rows follow.
        rows_follow: bool,
    },
    /// Changes rows by itself: they are not in the log. What kind of statement it is.
    Rows(&'static str),
    /// Changes neither rows nor what tables look like, or only temporary tables.
    Other,
    /// A first word that is not known here.
    Unknown,
}

impl Verb {
    /// Tells it by the statement's first words.
    pub fn of(statement: &[u8]) -> Self {
        // As the servers themselves write it, before the rows of each transaction.
        if statement == b"BEGIN" {
            return Self::Begin;
        }
        let mut tokens = Tokens { rest: statement, after_dot: false };
        while let Some(inner) = behind_set_statement(tokens.clone()) {
            tokens = inner;
        }
        let Some(first) = tokens.next() else { return Self::Other };
        let Token::Word(first) = first else {
            // `(SELECT …)` and whatever else begins so.
            return if first == Token::Symbol(b'(') { Self::Rows("SELECT") } else { Self::Unknown };
        };
        let first = keyword(first);
        match first.as_slice() {
            b"BEGIN" => match tokens.next() {
                None => Self::Begin,
                Some(token) if token.is("WORK") => Self::Begin,
                Some(_) => Self::Rows("BEGIN NOT ATOMIC"),
            },
            b"START" => match tokens.next() {
                Some(token) if token.is("TRANSACTION") => Self::Begin,
                _ => Self::Other,
            },
            b"COMMIT" => Self::Commit,
            b"ROLLBACK" => rollback(tokens),
            b"SAVEPOINT" => {
                let name = tokens.next().map(|name| name.name());
                name.filter(|name| name.len() <= NAME_LEN_MAX)
                    .map_or(Self::Unknown, Self::Savepoint)
            }
            b"RELEASE" => Self::Release,
            b"XA" => xa(tokens),
            b"CREATE" => create(tokens),
            b"DROP" => match tokens.next() {
                Some(token) if token.is("TEMPORARY") => Self::Other,
                _ => Self::Ddl { rows_follow: false },
            },
            b"ALTER" | b"RENAME" | b"TRUNCATE" | b"IMPORT" => Self::Ddl { rows_follow: false },
            b"SET" => set(tokens),
            b"ANALYZE" => match tokens.next() {
                Some(token)
                    if ["TABLE", "LOCAL", "NO_WRITE_TO_BINLOG"].iter().any(|w| token.is(w)) =>
                {
                    Self::Other
                }
                _ => Self::Rows("ANALYZE"),
            },
            word if OTHER.contains(&word) => Self::Other,
            word => match ROWS.iter().find(|known| known.as_bytes() == word) {
                Some(known) => Self::Rows(known),
                None => Self::Unknown,
            },
        }
    }
}

/// The first two words in capitals, whatever comments stand before them; empty if there are none.
pub fn first_words(statement: &[u8]) -> [Vec<u8>; 2] {
    let tokens = Tokens { rest: statement, after_dot: false };
    let mut words = tokens.filter_map(|token| match token {
        Token::Word(word) => Some(keyword(word)),
        Token::Quoted(_) | Token::Symbol(_) => None,
    });
    [words.next().unwrap_or_default(), words.next().unwrap_or_default()]
}

/// First words of statements that change rows, or call what may.
const ROWS: &[&str] = &[
    "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "CALL", "DO", "EXECUTE",
    "MERGE", "VALUES", "TABLE", "BINLOG",
];

/// First words that change neither rows nor what tables look like.
const OTHER: &[&[u8]] = &[
    b"GRANT",
    b"REVOKE",
    b"FLUSH",
    b"OPTIMIZE",
    b"REPAIR",
    b"CHECK",
    b"CHECKSUM",
    b"INSTALL",
    b"UNINSTALL",
    b"RESET",
    b"PURGE",
    b"CHANGE",
    b"STOP",
    b"KILL",
    b"USE",
    b"LOCK",
    b"UNLOCK",
    b"CACHE",
    b"CLONE",
    b"RESTART",
    b"SHUTDOWN",
    b"SHOW",
    b"EXPLAIN",
    b"DESCRIBE",
    b"DESC",
    b"HELP",
    b"BACKUP",
    b"SIGNAL",
];

/// Longer than any name: of 64 characters, each of which may be a doubled quote.
const NAME_LEN_MAX: usize = 1024;

/// Longer than any first word above.
const KEYWORD_LEN_MAX: usize = 20;

fn keyword(word: &[u8]) -> Vec<u8> {
    word.get(..KEYWORD_LEN_MAX).unwrap_or(word).to_ascii_uppercase()
}

/// ROLLBACK, ROLLBACK WORK, ROLLBACK [WORK] TO [SAVEPOINT] name.
fn rollback(mut tokens: Tokens<'_>) -> Verb {
    let mut next = tokens.next();
    if next.as_ref().is_some_and(|token| token.is("WORK")) {
        next = tokens.next();
    }
    if !next.is_some_and(|token| token.is("TO")) {
        return Verb::Rollback;
    }
    let mut name = tokens.next();
    if name.as_ref().is_some_and(|token| token.is("SAVEPOINT")) {
        name = tokens.next();
    }
    name.map_or(Verb::Unknown, |name| Verb::RollbackTo(name.name()))
}

fn xa(mut tokens: Tokens<'_>) -> Verb {
    let Some(Token::Word(word)) = tokens.next() else { return Verb::Unknown };
    match keyword(word).as_slice() {
        b"START" | b"BEGIN" => Verb::XaStart,
        b"END" => Verb::XaEnd,
        b"PREPARE" => Verb::XaPrepare,
        b"COMMIT" => Verb::XaCommit(xid(tokens)),
        b"ROLLBACK" => Verb::XaRollback(xid(tokens)),
        _ => Verb::Unknown,
    }
}

/// `gtrid[, bqual[, format]]`, each text as the servers write it, `X'…'`, or as clients may.
fn xid(mut tokens: Tokens<'_>) -> Option<Xid> {
    let global = text(&mut tokens)?;
    let mut more = || match tokens.next() {
        Some(Token::Symbol(b',')) => Some(true),
        None | Some(Token::Word(_) | Token::Symbol(b';')) => Some(false),
        Some(_) => None,
    };
    if !more()? {
        return Xid::new(1, &global, &[]);
    }
    let branch = text(&mut tokens)?;
    let format = match (tokens.next(), tokens.next()) {
        (Some(Token::Symbol(b',')), Some(Token::Word(number))) => number_of(number)?,
        (None | Some(Token::Symbol(b';')), None) => 1,
        _ => return None,
    };
    Xid::new(format, &global, &branch)
}

/// A number; its low 32 bits are what XA_PREPARE has of it.
fn number_of(digits: &[u8]) -> Option<u32> {
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(number as u32)
}

/// A text literal: `X'6f6e65'`, `0x6f6e65`, or quoted.
fn text(tokens: &mut Tokens<'_>) -> Option<Vec<u8>> {
    match tokens.next()? {
        Token::Word(b"X" | b"x") => match tokens.next()? {
            Token::Quoted(digits) => unhex(digits),
            _ => None,
        },
        Token::Word([b'0', b'x', digits @ ..]) => unhex(digits),
        Token::Quoted(quoted) => Some(unescape(quoted)),
        _ => None,
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((value(high)? << 4 | value(low)?) as u8)).collect()
}

/// What stands between single quotes, with its escapes undone.
fn unescape(quoted: &[u8]) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), quoted.iter().copied());
    while let Some(byte) = bytes.next() {
        let escaped = matches!(byte, b'\\' | b'\'').then(|| bytes.next()).flatten();
        out.push(match (byte, escaped) {
            (b'\\', Some(b'0')) => 0,
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'b')) => 8,
            (b'\\', Some(b'Z')) => 26,
            (_, Some(escaped)) => escaped,
            (byte, None) => byte,
        });
    }
    out
}

/// SET STATEMENT … FOR statement is that statement, which may begin in the same way: this is what follows.
fn behind_set_statement(mut tokens: Tokens<'_>) -> Option<Tokens<'_>> {
    let starts = ["SET", "STATEMENT"].iter().all(|word| tokens.next().is_some_and(|t| t.is(word)));
    (starts && tokens.any(|token| token.is("FOR")))
        .then_some(Tokens { rest: tokens.rest, after_dot: false })
}

/// What is left of SET sets variables, or has no FOR.
fn set(mut tokens: Tokens<'_>) -> Verb {
    match tokens.next() {
        Some(token) if token.is("STATEMENT") => Verb::Unknown,
        _ => Verb::Other,
    }
}

/// CREATE TABLE … SELECT (or AS, VALUES, TABLE) makes rows, unless the log has them:
/// then the server wrote the columns instead, and MySQL says START TRANSACTION at the end.
fn create(mut tokens: Tokens<'_>) -> Verb {
    let mut next = tokens.next();
    while next.as_ref().is_some_and(|token| token.is("OR") || token.is("REPLACE")) {
        next = tokens.next();
    }
    match next {
        Some(token) if token.is("TEMPORARY") => return Verb::Other,
        Some(token) if token.is("TABLE") => {}
        _ => return Verb::Ddl { rows_follow: false },
    }
    let (mut depth, mut last_is_start, mut rows_follow) = (0_usize, false, false);
    for token in tokens {
        match token {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth = depth.saturating_sub(1),
            ref token if token.is("SELECT") => return Verb::Rows(CREATE_SELECT),
            ref token
                if depth == 0 && ["AS", "VALUES", "TABLE"].iter().any(|word| token.is(word)) =>
            {
                return Verb::Rows(CREATE_SELECT);
            }
            _ => {}
        }
        rows_follow = last_is_start && token.is("TRANSACTION");
        last_is_start = depth == 0 && token.is("START");
    }
    Verb::Ddl { rows_follow }
}

const CREATE_SELECT: &str = "CREATE TABLE … SELECT";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'a> {
    /// Letters, digits, `_`, `$` and all that is not ASCII.
    Word(&'a [u8]),
    /// Without its quotes; quotes inside are as they were.
    Quoted(&'a [u8]),
    /// Any other byte.
    Symbol(u8),
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(bytes) if bytes.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// A savepoint's name. Names are equal regardless of case.
    fn name(&self) -> Vec<u8> {
        let bytes = match self {
            Self::Word(bytes) | Self::Quoted(bytes) => *bytes,
            Self::Symbol(_) => &[],
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_lowercase().into_bytes(),
            Err(_) => bytes.to_ascii_lowercase(),
        }
    }
}

#[derive(Clone, Debug)]
struct Tokens<'a> {
    rest: &'a [u8],
    /// Behind a dot every word is a name.
    after_dot: bool,
}

impl<'a> Tokens<'a> {
    /// Blanks and comments; the marks around executable comments, but not what is in them.
    fn skip_blanks(&mut self) {
        loop {
            self.rest = match self.rest {
                [byte, rest @ ..] if byte.is_ascii_whitespace() || *byte == 0 => rest,
                [b'#', rest @ ..] => behind(rest, b"\n"),
                [b'-', b'-', rest @ ..] if rest.first().is_none_or(u8::is_ascii_whitespace) => {
                    behind(rest, b"\n")
                }
                [b'/', b'*', b'!', rest @ ..] | [b'/', b'*', b'M', b'!', rest @ ..] => {
                    rest.trim_ascii_start_digits()
                }
                [b'/', b'*', rest @ ..] => behind(rest, b"*/"),
                [b'*', b'/', rest @ ..] => rest,
                _ => return,
            }
        }
    }
}

trait TrimDigits {
    fn trim_ascii_start_digits(&self) -> &Self;
}

impl TrimDigits for [u8] {
    fn trim_ascii_start_digits(&self) -> &Self {
        let digits = self.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.get(digits..).unwrap_or_default()
    }
}

/// What follows the first `mark`; nothing if there is none.
fn behind<'a>(bytes: &'a [u8], mark: &[u8]) -> &'a [u8] {
    let found = bytes.windows(mark.len()).position(|window| window == mark);
    found.and_then(|at| bytes.get(at + mark.len()..)).unwrap_or_default()
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let (first, rest) = self.rest.split_first()?;
        let is_word =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let token = match first {
            quote @ (b'`' | b'"' | b'\'') => {
                let (text, rest) = quoted(rest, *quote);
                self.rest = rest;
                Token::Quoted(text)
            }
            byte if is_word(byte) => {
                let len = self.rest.iter().take_while(|byte| is_word(byte)).count();
                let (word, rest) = self.rest.split_at_checked(len)?;
                self.rest = rest;
                if self.after_dot { Token::Quoted(word) } else { Token::Word(word) }
            }
            byte => {
                self.rest = rest;
                Token::Symbol(*byte)
            }
        };
        self.after_dot = token == Token::Symbol(b'.');
        Some(token)
    }
}

/// A quoted text up to its end, and what follows. A doubled quote is a part of it, and so is one
/// behind a backslash, except in names.
fn quoted(bytes: &[u8], quote: u8) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (*byte, bytes.get(at + 1)) {
            (b'\\', Some(_)) if quote != b'`' => at += 2,
            (byte, Some(next)) if byte == quote && *next == quote => at += 2,
            (byte, _) if byte == quote => {
                let (text, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
                return (text, rest.get(1..).unwrap_or_default());
            }
            _ => at += 1,
        }
    }
    (bytes, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_decide() {
        const DDL: Verb = Verb::Ddl { rows_follow: false };
        for (text, want) in [
            ("BEGIN", Verb::Begin),
            ("start transaction with consistent snapshot", Verb::Begin),
            ("COMMIT", Verb::Commit),
            ("ROLLBACK", Verb::Rollback),
            ("rollback work to savepoint `S 1`", Verb::RollbackTo(b"s 1".to_vec())),
            ("ROLLBACK TO `a`", Verb::RollbackTo(b"a".to_vec())),
            ("SAVEPOINT `a``b`", Verb::Savepoint(b"a``b".to_vec())),
            (&format!("SAVEPOINT {}", "s".repeat(1025)), Verb::Unknown),
            ("XA START X'6f6e65',X'',1", Verb::XaStart),
            ("XA COMMIT X'6f6e65',X'',1", Verb::XaCommit(Xid::new(1, b"one", b""))),
            ("XA ROLLBACK X'6f6'", Verb::XaRollback(None)),
            ("/* hi */ insert into t values (1)", Verb::Rows("INSERT")),
            ("-- note\n# more\n/*!50100 UPDATE t SET a=1 */", Verb::Rows("UPDATE")),
            ("/*M!100100 delete from t*/", Verb::Rows("DELETE")),
            ("WITH x AS (SELECT 1) DELETE FROM t", Verb::Rows("WITH")),
            ("(select f())", Verb::Rows("SELECT")),
            ("SET STATEMENT max_statement_time=1 FOR REPLACE t VALUES (1)", Verb::Rows("REPLACE")),
            ("SET PASSWORD FOR a = 'b'", Verb::Other),
            ("ANALYZE TABLE t", Verb::Other),
            ("ANALYZE FORMAT=JSON UPDATE t SET a=1", Verb::Rows("ANALYZE")),
            ("DROP TABLE IF EXISTS `t` /* generated by server */", DDL),
            ("DROP TEMPORARY TABLE t", Verb::Other),
            ("CREATE TEMPORARY TABLE t SELECT 1", Verb::Other),
            ("create or replace table t (a int)", DDL),
            ("CREATE TABLE d.select (`as` int COMMENT ' SELECT ', b int AS (a) STORED)", DDL),
            ("CREATE TABLE t (a int) PARTITION BY LIST (a) (PARTITION p VALUES IN (1))", DDL),
            ("CREATE TABLE t (a int) START TRANSACTION", Verb::Ddl { rows_follow: true }),
            ("CREATE TABLE t (a int) AS TABLE u", Verb::Rows(CREATE_SELECT)),
            ("CREATE TABLE t (SELECT 1 a)", Verb::Rows(CREATE_SELECT)),
            ("CREATE VIEW v AS SELECT 1", DDL),
            ("", Verb::Other),
            ("FROBNICATE t", Verb::Unknown),
        ] {
            assert_eq!(Verb::of(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn names_of_xa_transactions_are_read_by_value() {
        let of = |name: &str| match Verb::of(format!("xa commit {name}").as_bytes()) {
            Verb::XaCommit(xid) => xid,
            other => panic!("{other:?}"),
        };
        for name in [
            "X'6774',X'62712771',7",
            "'gt','bq\\'q',7",
            "0x6774, x'62712771' , 7",
            "'gt','bq''q',7",
        ] {
            assert_eq!(of(name), Xid::new(7, b"gt", b"bq'q"), "{name}");
        }
        for name in ["'one'", "X'6f6e65',X''", "'one','',1", "'one' ONE PHASE", "'one';"] {
            assert_eq!(of(name), Xid::new(1, b"one", b""), "{name}");
        }
        assert_eq!(of("X'de00',X'',4294967295"), Xid::new(u32::MAX, b"\xde\0", b""));
        for name in ["", "one", "X'6g'", "'a',", "'a','b',", "'a','b',c", "'a' 'b'", "X 7"] {
            assert_eq!(of(name), None, "{name}");
        }
        assert_eq!(of(&format!("X'{}',X'',1", "61".repeat(65))), None);
    }

    #[test]
    fn no_number_of_beginnings_is_too_deep() {
        let many = "SET STATEMENT a=1 FOR ".repeat(200_000);
        assert_eq!(Verb::of(format!("{many}DELETE FROM t").as_bytes()), Verb::Rows("DELETE"));
        assert_eq!(Verb::of(many.as_bytes()), Verb::Other);
        assert_eq!(Verb::of(b"SET STATEMENT a=1"), Verb::Unknown);
    }

    #[test]
    fn no_end_of_a_statement_is_too_early() {
        let text =
            b"/*! CREATE */ TABLE `a``b` (x int COMMENT 'it\\'s', -- y\n z int) START TRANSACTION";
        for len in 0..text.len() {
            let _ = Verb::of(&text[..len]);
            let _ = Verb::of(&text[len..]);
        }
        assert_eq!(Verb::of(text), Verb::Ddl { rows_follow: true });
    }
}
