//! SHELL: the operator's wishes: to stop, and to read the configuration again.
//!
//! The first SIGTERM or SIGINT asks for an orderly end; a second one, for those who will not wait,
//! ends the process at once, which loses nothing that was staged. SIGHUP asks to read
//! the configuration again.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use smol::channel::{Receiver, bounded};

/// Both wishes; the channels stay open for the process's life.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Delivers the name of the first signal that asks to stop.
    pub stop: Receiver<&'static str>,
    /// Delivers a wish to read the configuration again.
    pub reload: Receiver<()>,
}

/// Listens to SIGTERM, SIGINT and SIGHUP.
///
/// # Errors
/// The handlers cannot be installed or the thread cannot be started.
pub fn requests() -> io::Result<Requests> {
    listen(&[SIGTERM, SIGINT, SIGHUP])
}

/// Listens to SIGTERM and SIGINT alone, for programs that the end of their terminal is to end.
///
/// # Errors
/// As [`requests`].
pub fn stop_requests() -> io::Result<Receiver<&'static str>> {
    Ok(listen(&[SIGTERM, SIGINT])?.stop)
}

fn listen(signals: &[i32]) -> io::Result<Requests> {
    let mut signals = Signals::new(signals)?;
    let ((stopper, stop), (reloader, reload)) = (bounded(1), bounded(1));
    thread::Builder::new().name("signals".to_owned()).stack_size(64 << 10).spawn(move || {
        let mut asked = false;
        for signal in &mut signals {
            if signal == SIGHUP {
                // One that waits already will find the newest file.
                let _ = reloader.try_send(());
                continue;
            }
            if asked {
                std::process::exit(128 + signal);
            }
            asked = true;
            // Nobody listens only when the end has come already.
            let _ = stopper.try_send(if signal == SIGTERM { "SIGTERM" } else { "SIGINT" });
        }
    })?;
    Ok(Requests { stop, reload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_a_request() {
        let Requests { stop, reload } = requests().unwrap();
        assert!(stop.try_recv().is_err() && reload.try_recv().is_err());
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(reload.recv_blocking(), Ok(()));
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(stop.recv_blocking(), Ok("SIGTERM"));
    }
}
