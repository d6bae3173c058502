//! Looking at and collecting ended children, for both modes.
//!
//! Not through nix: its wait functions fail on a child that a real-time signal killed.
#![expect(unsafe_code, reason = "waitid, wait4 and ptrace are called directly")]

use nix::errno::Errno;
use nix::unistd::Pid;
use uml_test_protocol::{Exit, Failure, Usage};

/// An ended child that is not collected yet, or `None` where no child has ended.
pub(crate) fn peek_any() -> Result<Option<(Pid, Exit)>, Failure> {
    loop {
        // SAFETY: all-zero bytes are a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the pointer is to a live siginfo_t.
        if unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) } != 0 {
            match Errno::last() {
                Errno::EINTR => continue,
                Errno::ECHILD => return Ok(None),
                errno => return Err(Failure::new("wait for", "children", errno as i32)),
            }
        }
        // SAFETY: waitid filled these members in, or left them zero where no child has ended.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        if pid == 0 {
            return Ok(None);
        }
        let pid = Pid::from_raw(pid);
        match info.si_code {
            libc::CLD_EXITED => return Ok(Some((pid, Exit::Code(status)))),
            libc::CLD_KILLED | libc::CLD_DUMPED => return Ok(Some((pid, Exit::Signal(status)))),
            _ => let_go(pid, status),
        }
    }
}

/// Has a child go on that is stopped, as it made this process its tracer (PTRACE_TRACEME): nobody
/// asked this process. What it was stopped by it gets, but for what execve sends a traced one.
fn let_go(pid: Pid, signal: i32) {
    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
    // SAFETY: the request takes numbers only.
    let gone =
        unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw(), 0, libc::c_long::from(signal)) };
    if gone != 0 {
        // It was killed meanwhile, and its end comes; else it would be found here for ever.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
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

#[cfg(test)]
mod tests {
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// The end of `child`, which is this process's only one.
    fn end_of(child: Pid) -> Exit {
        loop {
            match peek_any().unwrap() {
                Some((pid, exit)) if pid == child => {
                    assert_eq!(collect(pid).unwrap().0, exit);
                    return exit;
                }
                Some(_) | None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }

    /// Its first stop came out as the end with code 10, SIGUSR1's number.
    #[test]
    fn a_child_that_has_itself_traced_goes_on_to_its_own_end() {
        for raises in [true, false] {
            assert_eq!(end_of_a_traced_shell(raises), Exit::Code(0), "{raises}");
        }
    }

    /// How a process ends that has such a child, with 0 where that ended as it should. It is stopped
    /// when it raises a signal, or when it becomes a shell.
    fn end_of_a_traced_shell(raises: bool) -> Exit {
        // In a process of its own, as other tests' children would be looked at too.
        // SAFETY: the child leaves without returning into the test harness.
        let tracer = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                // SAFETY: the child makes system calls and nothing else.
                let traced = match unsafe { fork() }.unwrap() {
                    ForkResult::Parent { child } => child,
                    // SAFETY: as above; the signal is ignored where it arrives.
                    ForkResult::Child => unsafe {
                        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
                        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                        if raises {
                            libc::raise(libc::SIGUSR1);
                        }
                        let sh = c"/bin/sh".as_ptr();
                        let null = std::ptr::null::<libc::c_char>();
                        libc::execl(sh, sh, c"-c".as_ptr(), c"exit 6".as_ptr(), null);
                        libc::_exit(127)
                    },
                };
                let exit = end_of(traced);
                // SAFETY: ends this copy of the test process at once.
                unsafe { libc::_exit(i32::from(exit != Exit::Code(6))) }
            }
        };
        collect(tracer).unwrap().0
    }
}
