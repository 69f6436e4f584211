//! Where an event of a stream stands in the server's files. No I/O.
//!
//! A header has the low 32 bits of the event's end; inside transactions MariaDB 11.8 may write 0
//! there, and events that the sender makes up have no place at all. So a running offset is kept and
//! put right by every end that is known.

use crate::binlog::event::Event;
use crate::binlog::header::Header;

/// The running place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Track {
    /// The file's name without its folder.
    pub(super) file: String,
    /// Where the next event starts.
    pub(super) next: u64,
}

/// Offset of a file's first event.
pub const FIRST_EVENT: u64 = 4;

impl Track {
    /// Where this event starts; afterwards the next one is due behind it.
    pub(super) fn locate(&mut self, header: &Header, event: &Event<'_>) -> u64 {
        if let Event::Rotate { offset, next_file } = event {
            let here = self.next;
            self.file = String::from_utf8_lossy(next_file).into_owned();
            self.next = *offset;
            return here;
        }
        let placeless = header.is_artificial()
            || matches!(event, Event::Heartbeat { .. })
            || matches!(event, Event::FormatDescription(_)) && header.end_position == 0;
        if placeless {
            return self.next;
        }
        let length = u64::from(header.length);
        if header.end_position != 0 {
            self.next = near(self.next, header.end_position).saturating_sub(length);
        }
        let offset = self.next;
        self.next = offset + length;
        offset
    }
}

/// The offset with these low 32 bits that is nearest to what is expected.
fn near(expected: u64, low: u32) -> u64 {
    const SPAN: u64 = 1 << 32;
    let found = expected & !(SPAN - 1) | u64::from(low);
    if expected.saturating_sub(found) > SPAN / 2 {
        found + SPAN
    } else if found.saturating_sub(expected) > SPAN / 2 && found >= SPAN {
        found - SPAN
    } else {
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::header::EventKind;

    fn header(length: u32, end_position: u32, flags: u16) -> Header {
        Header { timestamp: 0, kind: EventKind::Xid, server_id: 1, length, end_position, flags }
    }

    #[test]
    fn known_ends_put_the_place_right() {
        let mut track = Track { file: "b.000001".into(), next: 4 };
        assert_eq!(track.locate(&header(31, 100, 0), &Event::Xid(1)), 69);
        assert_eq!(track.locate(&header(20, 0, 0), &Event::Xid(1)), 100);
        assert_eq!(track.locate(&header(20, 0, 0x20), &Event::Xid(1)), 120);
        assert_eq!(track.next, 120);
        let rotate = Event::Rotate { offset: 4, next_file: b"b.000002" };
        assert_eq!(track.locate(&header(40, 160, 0), &rotate), 120);
        assert_eq!(track, Track { file: "b.000002".into(), next: 4 });
    }

    #[test]
    fn a_file_above_four_gigabytes_is_followed() {
        assert_eq!(near(0xffff_fff0, 0x10), 0x1_0000_0010);
        assert_eq!(near(0x1_0000_0010, 0xffff_fff0), 0xffff_fff0);
        assert_eq!(near(0x1_0000_0010, 0x20), 0x1_0000_0020);
        assert_eq!(near(4, 0xf000_0000), 0xf000_0000);
    }
}
