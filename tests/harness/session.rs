//! One connection to a server, through the server's own command-line client.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::server::script_path;

/// The cells of a row as the client prints them; NULL is `NULL`.
pub type Row = Vec<String>;

/// What the server answered instead of a result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SqlError {
    /// The server's number, 0 if the client died.
    pub code: u32,
    pub text: String,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// A client process that lives as long as this, so that transactions and variables do.
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What the client prints, line by line.
    lines: Receiver<Vec<u8>>,
    errors: File,
    errors_read: u64,
    statements: u64,
}

/// Statements may hold `;` (procedures do), so they are told apart by another mark.
const DELIMITER: &str = ";;";
/// How long a client may be silent before it is asked whether it still has its server.
const LOOK: Duration = Duration::from_secs(2);
/// No connection, a server that has gone away, one that was lost during a statement.
const LOST: [u32; 4] = [2002, 2003, 2006, 2013];
/// What the generators of large values in the cases need.
const LIMITS: &str = "set session group_concat_max_len=16777216";

impl Session {
    pub fn open(server: &str, charset: &str) -> Self {
        // Two handles with two offsets: the client's writes and our reads must not meet.
        let written = tempfile::NamedTempFile::new().expect("a temporary file");
        let errors = written.reopen().expect("a file that was just made");
        let mut child = Command::new(script_path())
            .args(["sql", server, "-N", "-B", "-n", "--force", "--binary-mode", "--comments"])
            .args(["--local-infile=1", "--max-allowed-packet=1G"])
            .arg(format!("--default-character-set={charset}"))
            .arg(format!("--delimiter={DELIMITER}"))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(written.into_file())
            .spawn()
            .expect("servers.sh can be run");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (sender, lines) = sync_channel(1000);
        thread::spawn(move || {
            let lines = stdout.split(b'\n').map_while(Result::ok);
            lines.map(|line| sender.send(line)).find(Result::is_err)
        });
        let mut session = Self { child, stdin, lines, errors, errors_read: 0, statements: 0 };
        session.run(LIMITS).expect("a variable of every server");
        // Each of these belongs to one of the two families; the other refuses it.
        let _ = session.run("set session cte_max_recursion_depth=1000000");
        let _ = session.run("set session max_recursive_iterations=1000000");
        session
    }

    /// One statement, without its delimiter.
    pub fn run(&mut self, statement: &str) -> Result<Vec<Row>, SqlError> {
        self.run_bytes(statement.as_bytes())
    }

    /// As [`Self::run`], in the character set of the client.
    pub fn run_bytes(&mut self, statement: &[u8]) -> Result<Vec<Row>, SqlError> {
        self.statements += 1;
        let mark = format!("end of statement {}", self.statements);
        let mut text = statement.to_vec();
        text.extend(format!("\n{DELIMITER}\nselect '{mark}'\n{DELIMITER}\n").bytes());
        let stdin = self.stdin.as_mut().expect("stdin is open until the session is dropped");
        if stdin.write_all(&text).and_then(|()| stdin.flush()).is_err() {
            return Err(self.error().unwrap_or_else(client_died));
        }
        let rows = self.rows_until(&mark);
        match (self.error(), rows) {
            (Some(error), _) => Err(error),
            (None, Some(rows)) => Ok(rows),
            (None, None) => Err(client_died()),
        }
    }

    /// `None` if the client or its server is gone.
    fn rows_until(&mut self, mark: &str) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        loop {
            let line = match self.lines.recv_timeout(LOOK) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) if !self.is_lost() => continue,
                Err(_) => return None,
            };
            let text = String::from_utf8_lossy(&line);
            if text == mark {
                return Some(rows);
            }
            rows.push(text.split('\t').map(unescaped).collect());
        }
    }

    /// A client that has lost its server says so, and waits for more statements.
    fn is_lost(&self) -> bool {
        let mut text = Vec::new();
        let errors = (&self.errors).seek(SeekFrom::Start(self.errors_read));
        errors.and_then(|_| (&self.errors).read_to_end(&mut text)).expect("a file of ours");
        let text = String::from_utf8_lossy(&text);
        LOST.iter().any(|code| text.contains(&format!("ERROR {code} ")))
    }

    /// What the client has written to stderr since the last look, if it is an error.
    fn error(&mut self) -> Option<SqlError> {
        let mut text = Vec::new();
        self.errors.seek(SeekFrom::Start(self.errors_read)).ok()?;
        self.errors_read += self.errors.read_to_end(&mut text).ok()? as u64;
        let text = String::from_utf8_lossy(&text).into_owned();
        let (_, rest) = text.split_once("ERROR ")?;
        let code = rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        Some(SqlError { code: code.parse().unwrap_or(0), text: rest.trim().to_owned() })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The client ends at the end of its input, and the server rolls back what is open.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn client_died() -> SqlError {
    SqlError { code: 0, text: "the client died".to_owned() }
}

/// The client writes tab, line feed, NUL and backslash of a cell as `\t`, `\n`, `\0` and `\\`.
fn unescaped(cell: &str) -> String {
    if !cell.contains('\\') {
        return cell.to_owned();
    }
    let mut text = String::with_capacity(cell.len());
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        text.push(match (c, c == '\\') {
            (_, false) => c,
            (_, true) => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
        });
    }
    text
}
