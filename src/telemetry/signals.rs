//! SHELL: the operator's wish to stop.
//!
//! The first SIGTERM or SIGINT asks for an orderly end; a second one, for those who will not wait,
//! ends the process at once, which loses nothing that was staged.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use smol::channel::{Receiver, bounded};

/// A channel that delivers the name of the first signal. It stays open for the process's life.
///
/// # Errors
/// The handlers cannot be installed or the thread cannot be started.
pub fn stop_requests() -> io::Result<Receiver<&'static str>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = bounded(1);
    thread::Builder::new().name("signals".to_owned()).stack_size(64 << 10).spawn(move || {
        let mut asked = false;
        for signal in &mut signals {
            if asked {
                std::process::exit(128 + signal);
            }
            asked = true;
            // Nobody listens only when the end has come already.
            let _ = sender.try_send(if signal == SIGTERM { "SIGTERM" } else { "SIGINT" });
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_a_request() {
        let requests = stop_requests().unwrap();
        assert!(requests.try_recv().is_err());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(requests.recv_blocking(), Ok("SIGTERM"));
    }
}
