//! Follows what the file sink writes, and removes the files that it has read: hours of lines fit on no disk.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use super::pipeline::sink_files;

/// A reader of the sink's files from the first on.
pub struct Follower {
    folder: PathBuf,
    at: Option<(PathBuf, File)>,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl Follower {
    /// Of a sink's folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, at: None, rest: Vec::new() }
    }

    /// Hands out the whole lines that are new.
    pub fn each(&mut self, mut take: impl FnMut(&str)) {
        loop {
            // Once there is a next file, nothing is written to this one any more.
            let mut files = sink_files(&self.folder);
            if let Some((path, _)) = &self.at {
                files.retain(|file| file > path);
            }
            if let Some((_, file)) = &mut self.at {
                file.read_to_end(&mut self.rest).expect("a file of the sink");
                let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let lines = std::str::from_utf8(&self.rest[..end]).expect("the sink writes UTF-8");
                lines.lines().for_each(&mut take);
                self.rest.drain(..end);
            }
            let Some(next) = files.into_iter().next() else { return };
            if let Some((read, _)) = self.at.take() {
                assert!(self.rest.is_empty(), "{} ends within a line", read.display());
                fs::remove_file(read).expect("a file of the sink");
            }
            let file = File::open(&next).expect("a file of the sink");
            self.at = Some((next, file));
        }
    }
}
