//! Where the rendered lines go: one file per target.
//!
//! A sink knows nothing of batches or envelopes. It is given lines, and the number of the log's
//! entry behind which they are complete.
//!
//! | sink | its output and its cursor | after a crash |
//! |---|---|---|
//! | [`mod@file`] | committed together | each line once |
//! | [`stdout`] | the wiring keeps the cursor | the last lines may come again |

pub mod file;
pub mod stdout;

use std::fmt;
use std::io;

/// A target for lines.
pub trait Sink {
    /// The log's entry that was applied last; 0 for none.
    fn cursor(&self) -> u64;
    /// Takes one line, without its end. It may still be lost, as a whole, until [`Self::commit`].
    ///
    /// # Errors
    /// The sink is to be opened anew; it then stands at its last commit.
    fn write(&mut self, line: &[u8]) -> Result<(), SinkError>;
    /// Makes all lines so far durable, as far as the target allows, together with the cursor.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn commit(&mut self, cursor: u64) -> Result<(), SinkError>;
    /// Goes on behind another entry: lines come again. What was written stays as it is.
    ///
    /// # Errors
    /// As [`Self::write`]: where the sink then stands is told when it is opened anew.
    fn rewind(&mut self, cursor: u64) -> Result<(), SinkError>;
    /// A note that was left with a commit, the newest one that can be read; empty if there is none.
    fn note(&self) -> &[u8];
    /// Leaves a note with the next commit. It may get lost in a power cut: then the one before it counts.
    fn leave_note(&mut self, note: Vec<u8>);
    /// For messages, and for the cursor of a sink that cannot keep its own.
    fn name(&self) -> &str;
}

/// A sink cannot go on.
#[derive(Debug)]
pub enum SinkError {
    /// Whoever reads has gone.
    Closed,
    /// It must not be opened as it is: somebody has to look. One clear line.
    Refused(String),
    /// Writing failed.
    Io(io::Error),
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Io(error) }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("sink: nobody reads the output any more (broken pipe)"),
            Self::Refused(why) => write!(f, "sink: {why}"),
            Self::Io(error) => write!(f, "sink: {error}"),
        }
    }
}

impl std::error::Error for SinkError {}
