//! SHELL: lines on standard output, for a pipe or a terminal.
//!
//! A pipe cannot keep a cursor: the wiring notes it behind each commit. Lines that were flushed just
//! before a crash, and not noted, are written again.

use std::io::{self, BufWriter, Write};

use super::{Sink, SinkError};

/// Standard output, or any other stream.
pub struct Stdout<W: Write = io::Stdout> {
    out: BufWriter<W>,
    cursor: u64,
}

impl Stdout {
    /// Goes on behind the entry `cursor`.
    pub fn new(cursor: u64) -> Self {
        Self::with(io::stdout(), cursor)
    }
}

impl<W: Write> Stdout<W> {
    /// As [`Stdout::new`], for another stream.
    pub fn with(out: W, cursor: u64) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, out), cursor }
    }
}

impl<W: Write> Sink for Stdout<W> {
    fn cursor(&self) -> u64 {
        self.cursor
    }

    fn write(&mut self, line: &[u8]) -> Result<(), SinkError> {
        self.out.write_all(line)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn commit(&mut self, cursor: u64) -> Result<(), SinkError> {
        self.out.flush()?;
        self.cursor = cursor;
        Ok(())
    }

    fn rewind(&mut self, cursor: u64) -> Result<(), SinkError> {
        self.cursor = cursor;
        Ok(())
    }

    fn note(&self) -> &[u8] {
        &[]
    }

    fn leave_note(&mut self, _: Vec<u8>) {}

    fn name(&self) -> &'static str {
        "stdout"
    }
}

/// What a pipe takes at once on Linux.
const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_moves_only_with_the_flush() {
        let (reader, writer) = io::pipe().unwrap();
        let mut sink = Stdout::with(writer, 4);
        sink.write(b"a").unwrap();
        assert_eq!(sink.cursor(), 4);
        sink.commit(5).unwrap();
        assert_eq!(sink.cursor(), 5);
        drop(sink);
        assert_eq!(io::read_to_string(reader).unwrap(), "a\n");
    }

    #[test]
    fn a_reader_that_went_away_is_named() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut sink = Stdout::with(writer, 0);
        sink.write(b"a").unwrap();
        assert!(matches!(sink.commit(1), Err(SinkError::Closed)));
        assert_eq!(sink.cursor(), 0);
    }
}
