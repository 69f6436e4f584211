//! Deliberate bugs, each of one line, each in a mechanism that others stand behind: the simulation has to
//! notice all of them.

/// A line that is replaced.
pub(crate) struct Bug {
    /// What no longer holds.
    pub(crate) what: &'static str,
    /// Where, from the project's root.
    pub(crate) file: &'static str,
    /// The text, which is there once.
    pub(crate) from: &'static str,
    /// What stands in its place.
    pub(crate) to: &'static str,
}

pub(crate) const BUGS: [Bug; 10] = [
    Bug {
        what: "the ledger takes a batch although one before it is missing",
        file: "src/collector/ledger.rs",
        from: "Ordering::Equal if identity.sequence > next => {",
        to: "Ordering::Equal if identity.sequence > next && identity.epoch == 0 => {",
    },
    Bug {
        what: "the ledger takes a batch that does not follow the last one's checksum",
        file: "src/collector/ledger.rs",
        from: "Ordering::Equal if identity.previous_crc != self.crc => {",
        to: "Ordering::Equal if identity.previous_crc != self.crc && identity.epoch == 0 => {",
    },
    Bug {
        what: "what was under way on a lost link is not sent again",
        file: "src/agent/pump.rs",
        from: "                self.rewind(now);\n",
        to: "",
    },
    Bug {
        what: "a PUBACK is a reason to forget",
        file: "src/agent/pump.rs",
        from: "ClientEvent::Acknowledged { token } => self.uplink.taken(Sequence(token), now),",
        to: "ClientEvent::Acknowledged { token } => drop(self.shared.lock().buffer.acknowledge(self.uplink.epoch(), Sequence(token))),",
    },
    Bug {
        what: "broken batches are cut off, and not read again",
        file: "src/agent/pump.rs",
        from: "        self.shared.lock().rereads += 1;\n",
        to: "",
    },
    Bug {
        what: "an epoch goes on after a power cut",
        file: "src/buffer/recovery.rs",
        from: "if !state.clean && state.boot_id != settings.boot_id {",
        to: "if !state.clean && state.boot_id.is_empty() {",
    },
    Bug {
        what: "a part counts as a whole transaction",
        file: "src/collector/intake.rs",
        from: "let completes = !message.meta.continues;",
        to: "let completes = true;",
    },
    Bug {
        what: "what was staged of a transaction that is rolled back stays",
        file: "src/agent/stager.rs",
        from: "if parts > 0 { store.discard() } else { Ok(()) }",
        to: "if parts > 1_000 { store.discard() } else { Ok(()) }",
    },
    Bug {
        what: "batches are acknowledged although the log did not take them",
        file: "src/collector/intake.rs",
        from: "self.write(&draft)?;",
        to: "let _ = self.write(&draft);",
    },
    Bug {
        what: "the log is not synced before batches are acknowledged",
        file: "src/collector/log.rs",
        from: "full: true,\n            cache_kib: 8 * 1024,",
        to: "full: false,\n            cache_kib: 8 * 1024,",
    },
];
