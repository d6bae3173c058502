//! Looking at and collecting ended children, for both modes.
//!
//! Not through nix: its wait functions fail on a child that a real-time signal killed.
#![expect(unsafe_code, reason = "waitid and wait4 are called directly")]

use nix::errno::Errno;
use nix::unistd::Pid;
use uml_test_protocol::{Exit, Failure, Usage};

/// An ended child that is not collected yet, or `None` where no child has ended.
pub(crate) fn peek_any() -> Result<Option<(Pid, Exit)>, Failure> {
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: the pointer is to a live siginfo_t.
        if unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) } == 0 {
            break;
        }
        match Errno::last() {
            Errno::EINTR => {}
            Errno::ECHILD => return Ok(None),
            errno => return Err(Failure::new("wait for", "children", errno as i32)),
        }
    }
    // SAFETY: waitid filled these members in, or left them zero where no child has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status),
    };
    Ok((pid != 0).then(|| (Pid::from_raw(pid), exit)))
}

/// Collects an ended child.
pub(crate) fn collect(pid: Pid) -> Result<(Exit, Usage), Failure> {
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the right types.
        if unsafe { libc::wait4(pid.as_raw(), &mut status, 0, &mut used) } >= 0 {
            break;
        }
        match Errno::last() {
            Errno::EINTR => {}
            errno => return Err(Failure::new("collect", pid.to_string(), errno as i32)),
        }
    }
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    let usage = Usage {
        user_us: micros(used.ru_utime),
        system_us: micros(used.ru_stime),
        max_rss_kib: used.ru_maxrss as u64,
    };
    Ok((exit, usage))
}
