//! SHELL: XA transactions that are prepared and not yet committed: in memory, and beyond a limit in a file.
//!
//! Lines cannot be made before the commit, which gives the rows their place and GTID. So the events
//! themselves are kept, without their checksums: table maps and rows, each with its offset.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};

use crate::binlog::format::Format;
use crate::binlog::xid::Xid;

use super::Counts;
use super::held::{Held, MEMORY_MAX, nameless_file};

/// XA transactions whose commit may lie in a later file.
#[derive(Debug, Default)]
pub struct Prepared {
    kept: BTreeMap<Xid, Kept>,
    /// Bytes of them in memory.
    memory: usize,
    /// All that is not in memory, one behind the other.
    shelf: Option<File>,
    shelf_len: u64,
    /// How many lie there.
    shelved: usize,
}

#[derive(Debug)]
struct Kept {
    format: Format,
    rows: BTreeMap<String, Counts>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Shelf { start: u64, len: u64 },
}

/// A transaction whose rows are taken out again.
pub(super) struct Taken {
    /// Of the file that they were in.
    pub(super) format: Format,
    /// How many.
    pub(super) rows: BTreeMap<String, Counts>,
    /// Their events: see [`next_event`].
    pub(super) events: Box<dyn Read>,
}

impl Prepared {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Xid> {
        self.kept.keys()
    }

    /// Keeps one, in place of one of the same name.
    pub(super) fn keep(
        &mut self,
        xid: Xid,
        format: Format,
        rows: BTreeMap<String, Counts>,
        mut events: Held,
    ) -> io::Result<()> {
        self.drop(&xid)?;
        let len = events.len();
        let in_memory = usize::try_from(len).ok().filter(|len| self.memory + len <= MEMORY_MAX);
        let place = if let Some(len) = in_memory {
            let mut bytes = Vec::with_capacity(len);
            events.release(&mut bytes)?;
            self.memory += len;
            Place::Memory(bytes)
        } else {
            let shelf = match &mut self.shelf {
                Some(shelf) => shelf,
                None => self.shelf.insert(nameless_file()?),
            };
            let start = shelf.seek(SeekFrom::Start(self.shelf_len))?;
            events.release(shelf)?;
            self.shelf_len += len;
            self.shelved += 1;
            Place::Shelf { start, len }
        };
        self.kept.insert(xid, Kept { format, rows, place });
        Ok(())
    }

    /// Takes one out; `None` if it is not here.
    pub(super) fn take(&mut self, xid: &Xid) -> io::Result<Option<Taken>> {
        let Some(Kept { format, rows, place }) = self.kept.remove(xid) else { return Ok(None) };
        let events: Box<dyn Read> = match place {
            Place::Memory(bytes) => {
                self.memory -= bytes.len();
                Box::new(io::Cursor::new(bytes))
            }
            Place::Shelf { start, len } => {
                self.shelved -= 1;
                let mut shelf = match &self.shelf {
                    Some(shelf) if self.shelved > 0 => shelf.try_clone()?,
                    _ => {
                        self.shelf_len = 0;
                        self.shelf.take().ok_or_else(|| io::Error::other("its file is gone"))?
                    }
                };
                shelf.seek(SeekFrom::Start(start))?;
                Box::new(BufReader::new(shelf.take(len)))
            }
        };
        Ok(Some(Taken { format, rows, events }))
    }

    /// Forgets one, if it is here.
    pub(super) fn drop(&mut self, xid: &Xid) -> io::Result<()> {
        self.take(xid).map(drop)
    }
}

/// Appends an event, without its checksum, to those of an open transaction.
pub(super) fn hold(held: &mut Held, offset: u64, event: &[u8]) -> io::Result<()> {
    let Some((head, rest)) = event.split_at_checked(LENGTH_AT) else {
        return Err(io::Error::other("an event without a header"));
    };
    let length = u32::try_from(event.len()).map_err(io::Error::other)?.to_le_bytes();
    held.push(&offset.to_le_bytes())?;
    held.push(&length)?;
    held.push(head)?;
    held.push(&length)?;
    held.push(rest.get(length.len()..).unwrap_or_default())
}

/// The offset of the next event, which is then in `event`; `None` at the end.
pub(super) fn next_event(events: &mut dyn Read, event: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut offset = [0; 8];
    if events.read(&mut offset[..1])? == 0 {
        return Ok(None);
    }
    events.read_exact(&mut offset[1..])?;
    let mut length = [0; 4];
    events.read_exact(&mut length)?;
    event.clear();
    let wanted = u64::from(u32::from_le_bytes(length));
    if events.take(wanted).read_to_end(event)? as u64 != wanted {
        return Err(io::Error::other("the file of prepared transactions became shorter"));
    }
    Ok(Some(u64::from_le_bytes(offset)))
}

/// Where a header has the event's length.
const LENGTH_AT: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::format::Flavor;

    /// An event of so many bytes, whose length field says something else.
    fn event(byte: u8, len: usize) -> Vec<u8> {
        let mut event = vec![byte; len];
        event[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&[0xff; 4]);
        event
    }

    fn offsets(prepared: &mut Prepared, xid: &Xid, byte: u8) -> Option<Vec<u64>> {
        let mut taken = prepared.take(xid).unwrap()?;
        let (mut offsets, mut bytes) = (Vec::new(), Vec::new());
        while let Some(offset) = next_event(&mut *taken.events, &mut bytes).unwrap() {
            assert_eq!(bytes[LENGTH_AT..LENGTH_AT + 4], (bytes.len() as u32).to_le_bytes());
            assert!(
                bytes.iter().enumerate().all(|(at, it)| *it == byte || at / 4 == 2 || at == 12)
            );
            offsets.push(offset);
        }
        Some(offsets)
    }

    #[test]
    fn what_is_prepared_comes_out_whole_wherever_it_lies() {
        let (mut prepared, format) = (Prepared::default(), Format::plain(Flavor::Mysql));
        let xid = |name: u8| Xid::new(1, &[name], &[]).unwrap();
        for name in 0..9 {
            let mut held = Held::default();
            for offset in 0..3 {
                hold(&mut held, offset, &event(name, MEMORY_MAX / 8)).unwrap();
            }
            prepared.keep(xid(name), format.clone(), BTreeMap::new(), held).unwrap();
        }
        assert_eq!((prepared.len(), prepared.shelved), (9, 7));
        assert!(prepared.memory <= MEMORY_MAX);
        for name in [8, 0, 3, 1, 2, 7, 6, 5, 4] {
            assert_eq!(offsets(&mut prepared, &xid(name), name), Some(vec![0, 1, 2]), "{name}");
            assert_eq!(offsets(&mut prepared, &xid(name), name), None, "{name}");
        }
        assert_eq!((prepared.memory, prepared.shelved, prepared.shelf_len), (0, 0, 0));
        assert!(prepared.shelf.is_none() && prepared.is_empty());
    }
}
