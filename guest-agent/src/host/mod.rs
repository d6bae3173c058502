//! The supervisor of one kernel process: a small process between the test runner and the kernel.
//!
//! The runner may have many threads, may be killed with SIGKILL, and belongs to the user's code.
//! This process has one thread and one job: whatever happens, the kernel's end is seen, and then
//! the run directory goes. Limits and sandbox are applied here, where no other thread exists.

mod cpu;
mod filter;
mod kernel;
mod removal;
mod run_dir;
mod sandbox;
mod socket;
mod temporary;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use uml_test_protocol::supervision::{MODE, SupervisorEvent};
use uml_test_protocol::{Exit, Failure};

use run_dir::RunDir;
use socket::{GuestFds, Socket};
use temporary::Temporary;

/// Exit code for a call that is not the runner's.
const USAGE: u8 = 2;

/// Whether these are a supervisor's arguments.
pub(crate) fn is_asked_for(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.eq([MODE])
}

/// Runs the binary's host mode.
#[expect(clippy::print_stderr, reason = "only a person who starts this binary by hand reads it")]
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if !is_asked_for(arguments) {
        eprintln!(
            "this is uml-test's agent: PID 1 of a User Mode Linux guest, and with the argument \
             `{MODE}` the supervisor of a kernel process; uml-test starts it, nothing else does"
        );
        return ExitCode::from(USAGE);
    }
    let let_go = let_go_of_the_hosts();
    #[expect(unsafe_code, reason = "the socket is handed over as standard input")]
    // SAFETY: nothing else in this process uses descriptor 0.
    let socket = Socket::new(unsafe { OwnedFd::from_raw_fd(0) });
    match let_go.and_then(|()| supervise(&socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If the socket is what failed there is nobody to tell, and the exit code says it.
            let _ = socket.send(&SupervisorEvent::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// Undoes what this process has from the host's, and would pass on to the kernel process: a file
/// open for writing is writable in any sandbox, and who ignores SIGCHLD never hears of an end.
#[expect(unsafe_code, reason = "there is no safe way to close what others opened")]
fn let_go_of_the_hosts() -> Result<(), Failure> {
    const FIRST_FOREIGN: i32 = 3;
    // SAFETY: this process has opened nothing yet, so nobody owns these descriptors.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST_FOREIGN, i32::MAX, 0) };
    if closed != 0 {
        // A kernel before 5.9, or a container's filter that does not know the call.
        for fd in open_descriptors()?.into_iter().filter(|fd| *fd >= FIRST_FOREIGN) {
            // SAFETY: as above. One of them was the list's, and is closed.
            unsafe { libc::close(fd) };
        }
    }
    // The standard library needs SIGPIPE as it is.
    for signal in Signal::iterator().filter(|signal| *signal != Signal::SIGPIPE) {
        // SAFETY: the default action runs no code. An error is SIGKILL or SIGSTOP.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    Ok(())
}

/// The numbers of this process's descriptors.
fn open_descriptors() -> Result<Vec<i32>, Failure> {
    const LIST: &str = "/proc/self/fd";
    let entries = std::fs::read_dir(LIST)
        .map_err(|error| Failure::new("list", LIST, error.raw_os_error().unwrap_or(0)))?;
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.flatten().filter_map(number).collect())
}

fn supervise(socket: &Socket) -> Result<(), Failure> {
    // Out of reach of the terminal's Ctrl-C and of whoever kills the runner's process group: both
    // end the runner, and the runner's end is what this process waits for.
    let _ = nix::unistd::setsid();
    let signals = block_signals()?;
    // hostfs keeps one for each file that the guest has opened.
    raise_limit(Resource::RLIMIT_NOFILE);
    let Some((boot, fds)) = socket.receive_boot()? else { return Ok(()) };
    let host = watch(boot.host_pid)?;
    let _temporary = Temporary::of(&boot);

    let GuestFds { control, console, requests } = fds;
    let run_dir = RunDir::create(&boot, &requests.into())?;
    let cpu = cpu::choose(boot.cpu);
    let kernel = match kernel::start(&boot, &run_dir, cpu.as_ref(), control, console)? {
        kernel::Start::Running(kernel) => kernel,
        kernel::Start::Unprotected(reason) => {
            return socket.send(&SupervisorEvent::Unprotected { reason });
        }
    };
    // From here on the kernel's end of both descriptors is only the kernel's: the host sees
    // end-of-file when it ends.
    socket.send(&SupervisorEvent::Started {
        pid: kernel.pid().as_raw(),
        protection: kernel.protection().clone(),
    })?;

    let mut ended = None;
    while ended.is_none() {
        let wakeup = wait_for(socket, host.as_ref(), Some(&signals))?;
        if wakeup.host_gone {
            kernel.kill();
            let exit = Exit::Signal(libc::SIGKILL);
            // A runner that only dropped its guest is still there to hear it.
            let _ = socket.send(&SupervisorEvent::Ended { exit, disk_full: false });
            return Ok(()); // collects the kernel; then the directory goes
        }
        if wakeup.signal {
            while let Ok(Some(_)) = signals.read_signal() {}
            ended = kernel.reap()?;
        }
    }
    let Some(exit) = ended else { return Ok(()) };
    let disk_full = run_dir.is_full();
    kernel.kill(); // and whatever it left behind
    // Before it is collected: to whoever has not heard of its end, its number is its own. Nor need
    // they wait while the thousands of processes of a fork bomb are.
    socket.send(&SupervisorEvent::Ended { exit, disk_full })?;
    drop(kernel);
    // The host may want to look into the run directory; it closes the socket when it has.
    while !wait_for(socket, host.as_ref(), None)?.host_gone {}
    Ok(())
}

/// As much as there may be.
fn raise_limit(resource: Resource) {
    let _ = getrlimit(resource).and_then(|(_, most)| setrlimit(resource, most, most));
}

struct Wakeup {
    host_gone: bool,
    signal: bool,
}

fn wait_for(
    socket: &Socket,
    host: Option<&OwnedFd>,
    signals: Option<&SignalFd>,
) -> Result<Wakeup, Failure> {
    let mut fds = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    fds.extend(host.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
    let watched = fds.len();
    fds.extend(signals.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Failure::new("poll", "the host's socket", errno as i32)),
    }
    let fired = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    // The host sends nothing after its first message: anything here is the end of it.
    Ok(Wakeup {
        host_gone: fds[..watched].iter().any(fired),
        signal: fds[watched..].iter().any(fired),
    })
}

/// Signals come as data, so that none ends this process before it has cleaned up.
fn block_signals() -> Result<SignalFd, Failure> {
    let failed = |errno| Failure::new("block", "signals", errno as i32);
    let mut mask = SigSet::empty();
    for signal in
        [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT]
    {
        mask.add(signal);
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).map_err(failed)?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// A descriptor that becomes readable when the host process ends, whoever else holds its socket
/// (a forked child of the user's, say). `None` where there are none of these, on kernels before 5.3 or
/// behind a container's filter: then only the socket tells.
fn watch(host_pid: i32) -> Result<Option<OwnedFd>, Failure> {
    #[expect(unsafe_code, reason = "pidfd_open has no safe wrapper")]
    // SAFETY: the call touches no memory; a new descriptor is owned by nobody else.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, host_pid, 0) as i32;
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    };
    // Only now is it certain whose pid it is: the parent's, as long as it is the parent.
    if nix::unistd::getppid().as_raw() != host_pid {
        return Err(Failure::new("watch", format!("host process {host_pid}"), Errno::ESRCH as i32));
    }
    Ok(fd)
}

/// Moves a descriptor to a number above the ones that the kernel process uses.
fn move_up(fd: OwnedFd) -> Result<OwnedFd, Failure> {
    const ABOVE: i32 = 10;
    if fd.as_raw_fd() >= ABOVE {
        return Ok(fd);
    }
    let number = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(ABOVE))
        .map_err(|errno| Failure::new("duplicate", fd.as_raw_fd().to_string(), errno as i32))?;
    #[expect(unsafe_code, reason = "fcntl returns a bare number")]
    // SAFETY: F_DUPFD made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_known() {
        let file = tempfile::tempfile().unwrap();
        assert!(open_descriptors().unwrap().contains(&file.as_raw_fd()));
    }
}
