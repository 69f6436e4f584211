//! What is done with the rows: counted, or written as plain text.

use std::hint::black_box;
use std::io::{BufWriter, Stdout, Write, stdout};

/// Takes rows, image by image.
pub trait Take {
    /// A value of a peer's own type, and how to write it.
    fn value<T>(&mut self, value: &T, write: impl FnOnce(&T, &mut Cell));
    /// A row image ends.
    fn end_image(&mut self);
    /// A row ends.
    fn end_row(&mut self);
}

/// Touches each value.
#[derive(Default)]
pub struct Count {
    pub rows: u64,
}

impl Take for Count {
    #[inline]
    fn value<T>(&mut self, value: &T, _: impl FnOnce(&T, &mut Cell)) {
        black_box(value);
    }

    fn end_image(&mut self) {}

    #[inline]
    fn end_row(&mut self) {
        self.rows += 1;
    }
}

/// Writes each value.
pub struct Lines {
    cell: Cell,
    out: BufWriter<Stdout>,
}

impl Lines {
    pub fn new(millis: bool) -> Self {
        Self { cell: Cell { line: Vec::new(), millis }, out: BufWriter::new(stdout()) }
    }

    pub fn finish(mut self) {
        self.out.flush().expect("standard output can be written");
    }
}

impl Take for Lines {
    fn value<T>(&mut self, value: &T, write: impl FnOnce(&T, &mut Cell)) {
        write(value, &mut self.cell);
        self.cell.line.push(b'|');
    }

    fn end_image(&mut self) {
        self.cell.line.push(b'\n');
        self.out.write_all(&self.cell.line).expect("standard output can be written");
        self.cell.line.clear();
    }

    fn end_row(&mut self) {}
}

/// Where a value's text goes.
pub struct Cell {
    line: Vec<u8>,
    millis: bool,
}

impl Cell {
    pub fn null(&mut self) {
        self.line.push(b'~');
    }

    pub fn number(&mut self, number: i64) {
        self.text(&number.to_string());
    }

    pub fn float(&mut self, number: f32) {
        self.text(&format!("{:08x}", number.to_bits()));
    }

    pub fn double(&mut self, number: f64) {
        self.text(&format!("{:016x}", number.to_bits()));
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.line.extend(bytes.iter().filter(|byte| **byte >= b' ' && **byte != b'|'));
    }

    pub fn timestamp(&mut self, micros: u64) {
        let (seconds, micros) = (micros / 1_000_000, self.rounded(micros % 1_000_000));
        self.text(&seconds.to_string());
        if micros > 0 {
            self.text(&format!(".{micros:06}"));
        }
    }

    pub fn datetime(&mut self, [year, month, day, hour, minute, second]: [u32; 6], micros: u64) {
        let micros = self.rounded(micros);
        self.text(&format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
        ));
    }

    /// A text that is a date and time in itself.
    pub fn datetime_text(&mut self, text: &str) {
        let whole = text.split(['-', ' ', ':', '.']).map(|part| part.parse::<u32>().ok());
        let parts: Option<Vec<u32>> = whole.collect();
        match parts.as_deref() {
            Some([year, month, day, hour, minute, second, micros]) => {
                self.datetime([*year, *month, *day, *hour, *minute, *second], (*micros).into());
            }
            _ => self.text(text),
        }
    }

    pub fn json(&mut self, json: &serde_json::Value) {
        self.text(&json.to_string());
    }

    fn rounded(&self, micros: u64) -> u64 {
        if self.millis { micros / 1000 * 1000 } else { micros }
    }
}
