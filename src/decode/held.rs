//! SHELL: what came of a transaction that is not yet committed: in memory, and beyond a limit in a file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

/// Bytes that are held in memory.
pub(super) const MEMORY_MAX: usize = 256 << 10;

/// Bytes in order: first those in the file, then those in memory.
#[derive(Debug, Default)]
pub(super) struct Held {
    memory: Vec<u8>,
    file: Option<File>,
    file_len: u64,
}

impl Held {
    /// How many bytes are held.
    pub(super) fn len(&self) -> u64 {
        self.file_len + self.memory.len() as u64
    }

    /// Appends.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.memory.len() + bytes.len() > MEMORY_MAX {
            self.spill()?;
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// Forgets all behind the first `len` bytes.
    pub(super) fn truncate(&mut self, len: u64) -> io::Result<()> {
        if let Some(in_memory) = len.checked_sub(self.file_len) {
            self.memory.truncate(usize::try_from(in_memory).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.memory.clear();
        if let Some(file) = &mut self.file {
            file.set_len(len)?;
            file.seek(SeekFrom::Start(len))?;
        }
        self.file_len = len;
        Ok(())
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.memory.clear();
        self.file = None;
        self.file_len = 0;
    }

    /// Writes all, and forgets it.
    pub(super) fn release(&mut self, out: &mut impl Write) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.seek(SeekFrom::Start(0))?;
            let copied = io::copy(&mut (&mut file).take(self.file_len), out)?;
            if copied != self.file_len {
                return Err(io::Error::other("the file of a large transaction became shorter"));
            }
        }
        out.write_all(&self.memory)?;
        self.clear();
        // One large line must not keep its memory for ever.
        self.memory.shrink_to(MEMORY_MAX);
        Ok(())
    }

    /// All of it, to be read from the beginning.
    pub(super) fn into_read(self) -> io::Result<Box<dyn io::Read>> {
        let memory = io::Cursor::new(self.memory);
        let Some(mut file) = self.file else { return Ok(Box::new(memory)) };
        file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(io::BufReader::new(file.take(self.file_len)).chain(memory)))
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless_file()?),
        };
        file.write_all(&self.memory)?;
        self.file_len += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }
}

/// A file in the folder for temporary files that goes away with its handle, even if the process is killed.
pub(super) fn nameless_file() -> io::Result<File> {
    let folder = std::env::temp_dir();
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    loop {
        let path = folder.join(format!("rivulet-decode-{:016x}", fastrand::u64(..)));
        match options.open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_and_not_cut_back_comes_out() {
        let block = |byte| vec![byte; MEMORY_MAX / 2 + 1];
        let mut held = Held::default();
        for byte in *b"abcd" {
            held.push(&block(byte)).unwrap();
        }
        assert!(held.file_len > 0, "the limit was passed");
        let half = block(b'a').len() as u64 + 3;
        held.truncate(half).unwrap();
        held.push(b"end").unwrap();
        assert_eq!(held.len(), half + 3);
        let mut out = Vec::new();
        held.release(&mut out).unwrap();
        assert_eq!(out, [&block(b'a')[..], b"bbb", b"end"].concat());
        held.push(b"next").unwrap();
        out.clear();
        held.release(&mut out).unwrap();
        assert_eq!(out, b"next");
    }
}
