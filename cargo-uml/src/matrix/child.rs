//! Running cargo such that an interruption ends it, and all it started, and not this command, which has a table to
//! print.
#![expect(unsafe_code, reason = "a child must be rid of the signal mask before it executes")]

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long what was interrupted may take to end by itself. nextest gives tests ten seconds.
const GRACE: Duration = Duration::from_secs(15);

/// What asks this command to end.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals come through here from now on, and orphans of what cargo started to this process.
pub(crate) struct Signals {
    fd: SignalFd,
    blocked: SigSet,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Whether a signal that came meanwhile asked for it.
    pub(crate) interrupted: bool,
}

impl Signals {
    /// Blocks the signals of this thread, which should be the process's only one.
    pub(crate) fn block() -> io::Result<Self> {
        let mut blocked = SigSet::empty();
        for signal in ENDING.into_iter().chain([Signal::SIGCHLD]) {
            blocked.add(signal);
        }
        blocked.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&blocked, flags)?;
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Signals { fd, blocked })
    }

    /// Runs `command` to its end. A signal that asks this process to end is passed on, and ends also what is left of
    /// the command's descendants.
    pub(crate) fn run(&self, command: &mut Command) -> io::Result<Ended> {
        let blocked = self.blocked;
        // SAFETY: between fork and exec this makes one system call.
        unsafe { command.pre_exec(move || blocked.thread_unblock().map_err(io::Error::from)) };
        let mut child = command.spawn()?;
        let mut deadline = None;
        let mut interruption = None;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                child.kill()?;
            }
            self.wait(deadline)?;
            if let Some((signal, told)) = self.next()? {
                // Asked twice, it is ended at once.
                deadline = Some(
                    Instant::now() + if interruption.is_some() { Duration::ZERO } else { GRACE },
                );
                interruption = Some(signal);
                if !told {
                    pass_on(&child, signal)?;
                }
            }
        };
        if let Some(signal) = interruption {
            end_orphans(signal);
        }
        Ok(Ended { status, interrupted: interruption.is_some() })
    }

    /// A signal that asks this process to end, if one came; and whether the terminal sent it, which tells the child
    /// as well.
    fn next(&self) -> io::Result<Option<(Signal, bool)>> {
        while let Some(info) = self.fd.read_signal()? {
            let signal = Signal::try_from(info.ssi_signo as i32)?;
            if ENDING.contains(&signal) {
                return Ok(Some((signal, info.ssi_code == libc::SI_KERNEL)));
            }
        }
        Ok(None)
    }

    /// Waits for a signal, a child's end among them, until `deadline` at most.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = match deadline {
            // A little more, for the deadline to have passed afterwards.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn pass_on(child: &Child, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(child.id() as i32), signal) {
        // It has ended, and is about to be waited for.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends what the command left: orphans come to this process, one generation after the other.
fn end_orphans(signal: Signal) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut told = Vec::new();
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        let orphans = children();
        if orphans.is_empty() {
            return;
        }
        let late = Instant::now() >= deadline;
        for orphan in orphans {
            if late {
                let _ = kill(orphan, Signal::SIGKILL);
            } else if !told.contains(&orphan) {
                let _ = kill(orphan, signal);
                told.push(orphan);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The children of this process; none where /proc does not say.
fn children() -> Vec<Pid> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}
