//! Whether there is progress, and if not, why not.
//!
//! | healthy means | else |
//! |---|---|
//! | nothing stopped the agent | the reason, at once |
//! | the source gave a sign of life within [`SILENT_MS_MAX`], or all of it was read | how long it is silent |
//! | the link stands, keeps to its budget, or is down for less than that | how long it is down |
//! | a backlog is being acknowledged | how many batches wait, and for how long |
//! | the buffer has room | that reading pauses |
//! | the buffer's disk takes what is written | what it says |

use super::status::{State, Status};

/// How long nothing may happen, in milliseconds: four heartbeats, and short enough to be told
/// within a minute.
pub const SILENT_MS_MAX: u64 = 60_000;

/// How long a connected source may be silent, in milliseconds, before only a new start helps: twice its longest
/// heartbeat ends a dead connection, and no transaction takes so long to be stored.
pub const HANGS_MS: u64 = 600_000;

/// Whether the agent waits for nothing that is outside of it, and still does nothing. What it waits for (a
/// server, a link, a disk) is mended where it is, and not by a new start.
pub fn hangs(status: &Status) -> bool {
    let (source, buffer) = (&status.source, &status.buffer);
    let waits = buffer.paused || buffer.disk.refuses() || status.stopped.is_some();
    source.state == State::Connected && source.silent_ms > HANGS_MS && !waits
}

/// Why the agent is not healthy; empty if it is.
pub fn reasons(status: &Status) -> Vec<String> {
    [stopped(status), source(status), disk(status), buffer(status), link(status)]
        .into_iter()
        .flatten()
        .collect()
}

fn stopped(status: &Status) -> Option<String> {
    status.stopped.as_ref().map(|reason| format!("stopped: {reason}"))
}

fn source(status: &Status) -> Option<String> {
    let source = &status.source;
    let silent_s = source.silent_ms / 1000;
    match source.state {
        _ if source.silent_ms <= SILENT_MS_MAX => None,
        // Nobody listens to it, and that has a reason of its own.
        _ if status.buffer.paused || status.buffer.disk.refuses() => None,
        State::Finished => None,
        State::Connected => Some(format!("source: connected, but silent for {silent_s} s")),
        State::Connecting | State::Off | State::OverBudget => {
            Some(format!("source: not connected for {silent_s} s"))
        }
    }
}

fn disk(status: &Status) -> Option<String> {
    let disk = status.buffer.disk;
    disk.refuses().then(|| format!("buffer: {disk}; reading waits until it can be written again"))
}

fn buffer(status: &Status) -> Option<String> {
    let buffer = &status.buffer;
    buffer.paused.then(|| {
        let (bytes, max) = (buffer.bytes, buffer.bytes_max);
        format!(
            "buffer: full, {bytes} of {max} bytes; reading pauses until the link has taken some"
        )
    })
}

fn link(status: &Status) -> Option<String> {
    let (link, waiting) = (&status.link, status.buffer.batches);
    let silent_s = link.silent_ms / 1000;
    match link.state {
        _ if link.silent_ms <= SILENT_MS_MAX => None,
        State::Connected if waiting == 0 => None,
        State::Connected => {
            Some(format!("link: {waiting} batches wait, nothing was acknowledged for {silent_s} s"))
        }
        State::Finished if waiting == 0 => None,
        // It keeps to what it was told; a buffer that fills up meanwhile has a reason of its own.
        State::OverBudget => None,
        State::Finished | State::Connecting | State::Off => {
            Some(format!("link: down for {silent_s} s"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{Buffer, Disk};
    use super::*;

    fn well() -> Status {
        let mut status = Status::default();
        status.source.state = State::Connected;
        status.link.state = State::Connected;
        status
    }

    #[test]
    fn progress_is_health() {
        assert_eq!(reasons(&well()), [""; 0]);
    }

    #[test]
    fn each_standstill_has_its_reason() {
        let late = SILENT_MS_MAX + 1;
        let with = |change: &dyn Fn(&mut Status)| {
            let mut status = well();
            change(&mut status);
            reasons(&status)
        };
        assert_eq!(
            with(&|status| status.source.silent_ms = late),
            ["source: connected, but silent for 60 s"]
        );
        assert_eq!(
            with(&|status| {
                status.source.state = State::Connecting;
                status.source.silent_ms = 75_000;
            }),
            ["source: not connected for 75 s"]
        );
        assert_eq!(
            with(&|status| {
                status.link.silent_ms = late;
                status.buffer.batches = 12;
            }),
            ["link: 12 batches wait, nothing was acknowledged for 60 s"]
        );
        assert_eq!(
            with(&|status| {
                status.link.state = State::Connecting;
                status.link.silent_ms = late;
            }),
            ["link: down for 60 s"]
        );
        assert_eq!(
            with(&|status| status.stopped = Some("binlog.000042 was purged".to_owned())),
            ["stopped: binlog.000042 was purged"]
        );
        assert!(with(&|status| status.buffer.paused = true)[0].starts_with("buffer: full"));
        assert_eq!(
            with(&|status| status.buffer.disk = Disk::Full),
            ["buffer: the disk is full; reading waits until it can be written again"]
        );
        for holds in [
            |buffer: &mut Buffer| buffer.paused = true,
            |buffer: &mut Buffer| buffer.disk = Disk::Full,
        ] {
            let told = with(&|status| {
                status.source.silent_ms = late;
                holds(&mut status.buffer);
            });
            assert!(told.len() == 1 && told[0].starts_with("buffer: "), "{told:?}");
        }
        assert!(with(&|status| status.buffer.disk = Disk::Slow).is_empty(), "slow is progress");
    }

    #[test]
    fn an_idle_link_and_a_finished_source_are_well() {
        let mut status = well();
        status.link.silent_ms = 10 * SILENT_MS_MAX;
        status.source.state = State::Finished;
        status.source.silent_ms = 10 * SILENT_MS_MAX;
        assert_eq!(reasons(&status), [""; 0]);
    }

    #[test]
    fn only_a_standstill_without_a_cause_outside_calls_for_a_new_start() {
        let silent = |change: &dyn Fn(&mut Status)| {
            let mut status = well();
            status.source.silent_ms = HANGS_MS + 1;
            status.link.silent_ms = HANGS_MS + 1;
            change(&mut status);
            hangs(&status)
        };
        assert!(silent(&|_| {}));
        assert!(!silent(&|status| status.source.silent_ms = HANGS_MS));
        assert!(!silent(&|status| status.source.state = State::Connecting));
        assert!(!silent(&|status| status.source.state = State::Finished));
        assert!(!silent(&|status| status.buffer.paused = true));
        assert!(!silent(&|status| status.buffer.disk = Disk::Full));
        assert!(!silent(&|status| status.stopped = Some("binlog.000042 was purged".to_owned())));
        let mut status = well();
        status.link.state = State::Connecting;
        status.link.silent_ms = 100 * HANGS_MS;
        assert!(!hangs(&status), "a dead link is no reason");
    }

    #[test]
    fn a_minute_of_grace_after_the_start() {
        let mut status = Status::default();
        status.source.silent_ms = SILENT_MS_MAX;
        status.link.silent_ms = SILENT_MS_MAX;
        assert_eq!(reasons(&status), [""; 0]);
    }
}
