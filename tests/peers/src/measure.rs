//! What a program costs, as the kernel counted it.

use std::process::{Command, Stdio};

use crate::Outcome;

/// Runs a program and prints one line: CPU seconds, peak memory in KiB, exit code (−1: a signal).
/// What the program prints goes nowhere, but for its errors.
pub fn run(program: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let child = child.map_err(|error| format!("{program}: {error}"))?;
    let pid = libc::pid_t::try_from(child.id()).map_err(|error| error.to_string())?;
    let mut status = 0;
    // SAFETY: all bits zero are an rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that live as long as the call; nobody else waits for the child.
    if unsafe { libc::wait4(pid, &mut status, 0, &mut usage) } != pid {
        return Err(format!("{program}: {}", std::io::Error::last_os_error()));
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    println!("{cpu:.6} {} {code}", usage.ru_maxrss);
    Ok(())
}
