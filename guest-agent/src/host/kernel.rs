//! The kernel process itself.
#![expect(unsafe_code, reason = "between fork and exec there is only libc")]

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::personality::{self, Persona};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid};
use uml_test_protocol::supervision::{Boot, CONSOLE_FD, CONTROL_FD, Protection};
use uml_test_protocol::{Exit, Failure, codec};

use super::cpu::Seat;
use super::move_up;
use super::run_dir::RunDir;
use super::sandbox::{self, Decision, Prepared};
use crate::wait;

/// A running kernel. Dropping it kills it and everything it started, and waits for their end.
pub(super) struct Kernel {
    pid: Option<Pid>,
    protection: Protection,
}

/// What became of the attempt.
pub(super) enum Start {
    Running(Kernel),
    Unprotected(String),
}

/// Starts the kernel of `boot` in its sandbox.
pub(super) fn start(
    boot: &Boot,
    run_dir: &RunDir,
    seat: Option<&Seat>,
    control: OwnedFd,
    console: OwnedFd,
) -> Result<Start, Failure> {
    let prepared = match sandbox::prepare(boot, run_dir)? {
        Decision::Go(prepared) => prepared,
        Decision::Refuse(reason) => return Ok(Start::Unprotected(reason)),
    };
    let protection = prepared.protection().clone();
    // Children of the kernel process that outlive it become ours, to be waited for.
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| Failure::new("become", "a subreaper", errno as i32))?;
    let launch = Launch::prepare(boot, run_dir, control, console)?;
    let (report, report_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
        .map_err(|errno| Failure::new("create", "a pipe", errno as i32))?;
    // SAFETY: this process has one thread, so the child may do what it likes.
    match unsafe { nix::unistd::fork() } {
        Err(errno) => Err(Failure::new("fork for", &boot.kernel[..], errno as i32)),
        Ok(ForkResult::Child) => {
            drop(report);
            let failure = launch.exec(boot, seat, prepared);
            if let Ok(bytes) = codec::encode(&failure) {
                let _ = nix::unistd::write(&report_end, &bytes);
            }
            // SAFETY: ends the child without running the supervisor's destructors in it.
            unsafe { libc::_exit(127) }
        }
        Ok(ForkResult::Parent { child }) => {
            drop(report_end);
            drop(launch);
            let kernel = Kernel { pid: Some(child), protection };
            // The pipe closes with the exec; a failure before it is written there.
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(report), &mut bytes)
                .map_err(|e| Failure::new("read from", "a pipe", e.raw_os_error().unwrap_or(0)))?;
            match codec::decode::<Failure>(&bytes) {
                Ok(failure) => Err(failure),
                Err(_) => Ok(Start::Running(kernel)),
            }
        }
    }
}

impl Kernel {
    pub(super) fn pid(&self) -> Pid {
        self.pid.unwrap_or(Pid::from_raw(0))
    }

    pub(super) fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Kills it and its process group, which has the processes that run guest user space. It is not
    /// collected before the end of this value, so it is its own group.
    pub(super) fn kill(&self) {
        if let Some(pid) = self.pid {
            let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
        }
    }

    /// Collects what has ended before the kernel; the kernel's own end, where it has come.
    ///
    /// That one is left to be collected by dropping this: until then its number is nobody else's,
    /// and names its process group and no other.
    pub(super) fn reap(&self) -> Result<Option<Exit>, Failure> {
        while let Some((pid, exit)) = wait::peek_any()? {
            if Some(pid) == self.pid {
                return Ok(Some(exit));
            }
            wait::collect(pid)?;
        }
        Ok(None)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.kill();
        if self.pid.take().is_none() {
            return;
        }
        loop {
            // Whoever left the group (in a process without the filter) is adopted here once its
            // parents have ended, and may have children in turn.
            for child in children() {
                let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
            }
            // A list for each end would take a fork bomb's thousands of processes seconds; and an end
            // may never come by itself, as that of somebody whom another one traces.
            let round = Instant::now();
            while let Some(left) = ROUND.checked_sub(round.elapsed()) {
                match collect_any() {
                    Collected::One => {}
                    Collected::All => return,
                    Collected::NotYet => wait_for_an_end(left),
                }
            }
        }
    }
}

/// How long ends are waited for until the list of children is looked at again.
const ROUND: Duration = Duration::from_millis(50);

enum Collected {
    One,
    /// There are children, but none has ended.
    NotYet,
    All,
}

fn collect_any() -> Collected {
    loop {
        // SAFETY: no status is asked for.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return Collected::NotYet,
            1.. => return Collected::One,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Collected::All, // ECHILD
        }
    }
}

/// Waits until a child ends, or as long as that.
fn wait_for_an_end(longest: Duration) {
    let longest = nix::sys::time::TimeSpec::from_duration(longest);
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    // SAFETY: both pointers are to live values, and nothing is asked for about the signal.
    unsafe { libc::sigtimedwait(ends.as_ref(), std::ptr::null_mut(), longest.as_ref()) };
}

/// A panic would dump the guest's memory into the working directory. A limit of 0 forbids files alone:
/// to a program that is to have dumps (`core_pattern` with a pipe) everything is passed, save where
/// the limit is 1 (core(5); `coredump_pipe()` in the kernel's source), which allows no file either.
/// Where there is no raising it, and with a socket in the place of a pipe, the dump has no memory in it.
fn forbid_core_dumps() -> Result<(), Errno> {
    let _ = std::fs::write("/proc/self/coredump_filter", "0");
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    let limit = most.min(1);
    setrlimit(Resource::RLIMIT_CORE, limit, limit)
}

/// The children of this process, which has one thread; none where /proc does not say.
fn children() -> Vec<Pid> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// What the child needs, allocated before the fork.
struct Launch {
    kernel: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    control: OwnedFd,
    console: OwnedFd,
    null: OwnedFd,
    run_dir: CString,
    supervisor: Pid,
}

impl Launch {
    fn prepare(
        boot: &Boot,
        run_dir: &RunDir,
        control: OwnedFd,
        console: OwnedFd,
    ) -> Result<Self, Failure> {
        let run_dir = run_dir.path().as_os_str().as_bytes();
        let null = nix::fcntl::open(
            "/dev/null",
            OFlag::O_RDWR | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .map_err(|errno| Failure::new("open", "/dev/null", errno as i32))?;
        Ok(Self {
            kernel: c_string(&boot.kernel)?,
            argv: boot.argv.iter().map(|argument| c_string(argument)).collect::<Result<_, _>>()?,
            // The kernel looks at these only: where its memory file goes, and where helper
            // programs would be.
            envp: vec![
                c_string(&[b"TMPDIR=", run_dir].concat())?,
                c_string(b"PATH=/usr/bin:/bin")?,
            ],
            control: move_up(control)?,
            console: move_up(console)?,
            null: move_up(null)?,
            run_dir: c_string(run_dir)?,
            supervisor: Pid::this(),
        })
    }

    /// Becomes the kernel; returns only why it could not.
    fn exec(&self, boot: &Boot, seat: Option<&Seat>, prepared: Prepared) -> Failure {
        let failed = |what: &str| Failure::new(what, &boot.kernel[..], Errno::last() as i32);
        // The supervisor's end ends the kernel: this thread is the supervisor's only one, so the
        // signal comes with its end and not before.
        if nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_err() {
            return failed("tie to the supervisor");
        }
        if nix::unistd::getppid() != self.supervisor {
            return Failure::new("outlive", "the supervisor", Errno::ESRCH as i32);
        }
        // One kernel's panic ends its whole process group.
        if nix::unistd::setsid().is_err() {
            return failed("start a session for");
        }
        if forbid_core_dumps().is_err() {
            return failed("forbid core dumps of");
        }
        // Every host file that the guest has open is a descriptor here, and guest memory a file.
        // Of descriptors the supervisor has as many as there may be already.
        super::raise_limit(Resource::RLIMIT_FSIZE);
        // A guest's program has such a limit of its own, and is told there that it has reached it.
        super::raise_limit(Resource::RLIMIT_CPU);
        // What a guest writes to the host and is too large is an error of its write.
        // SAFETY: no code of ours runs at that signal.
        let _ = unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
        // User Mode Linux wants its addresses fixed. It would do that itself, and then execute its file once more.
        let _ = personality::set(Persona::ADDR_NO_RANDOMIZE);
        // A CPU that went away since is no reason not to run.
        let _ = seat.map(Seat::take);
        let _ =
            nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        for (fd, number) in [
            (&self.null, 0),
            (&self.console, 1),
            (&self.console, 2),
            (&self.control, CONTROL_FD),
            (&self.console, CONSOLE_FD),
        ] {
            // SAFETY: dup2 touches no memory; these numbers are nobody's in this process.
            if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
                return failed("hand descriptors to");
            }
        }
        // SAFETY: the path is NUL-terminated.
        if unsafe { libc::chdir(self.run_dir.as_ptr()) } < 0 {
            return failed("enter the run directory of");
        }
        if let Err(failure) = prepared.enter() {
            return failure;
        }
        let Err(errno) = nix::unistd::execve(&self.kernel, &self.argv, &self.envp);
        Failure::new("execute", &boot.kernel[..], errno as i32)
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes)
        .map_err(|_| Failure::new("pass (it holds a NUL byte)", bytes, Errno::EINVAL as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the number could be another process group's by the time that it is killed.
    #[test]
    fn a_kernel_that_has_ended_keeps_its_number_until_it_is_dropped() {
        let good = in_a_process_of_its_own(|| {
            // SAFETY: the children only make system calls.
            let start = || match unsafe { nix::unistd::fork() }.unwrap() {
                ForkResult::Parent { child } => child,
                // SAFETY: ends this copy of the test process at once.
                ForkResult::Child => unsafe { libc::_exit(7) },
            };
            let exists = |pid| nix::sys::signal::kill(pid, None).is_ok();
            let other = start();
            let kernel = Kernel { pid: Some(start()), protection: Protection::default() };
            let pid = kernel.pid();
            let exit = loop {
                match kernel.reap().unwrap() {
                    Some(exit) => break exit,
                    None => std::thread::yield_now(),
                }
            };
            let kept = exists(pid);
            drop(kernel);
            exit == Exit::Code(7) && kept && !exists(pid) && !exists(other)
        });
        assert!(good);
    }

    #[test]
    fn nobody_gets_a_core_dump() {
        let good = in_a_process_of_its_own(|| {
            forbid_core_dumps().unwrap();
            let (limit, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
            let filter = std::fs::read_to_string("/proc/self/coredump_filter").unwrap();
            limit <= 1 && most == limit && u32::from_str_radix(filter.trim(), 16) == Ok(0)
        });
        assert!(good);
    }

    #[test]
    fn what_left_the_process_group_is_killed_too() {
        let good = in_a_process_of_its_own(|| {
            let (kernel, escaped) = kernel_with_a_child_that_escaped(|_| {});
            assert!(nix::sys::signal::kill(escaped, None).is_ok());
            drop(kernel);
            nix::sys::signal::kill(escaped, None) == Err(Errno::ESRCH)
        });
        assert!(good);
    }

    /// An end that is another one's to see first: of a child whose tracer is alive.
    #[test]
    fn a_child_that_is_traced_by_another_one_holds_nothing_up() {
        let good = in_a_process_of_its_own(|| {
            let (kernel, _) = kernel_with_a_child_that_escaped(|parent| {
                nix::sys::ptrace::seize(parent, nix::sys::ptrace::Options::empty()).unwrap();
            });
            let traced = kernel.pid();
            drop(kernel);
            nix::sys::signal::kill(traced, None) == Err(Errno::ESRCH)
        });
        assert!(good);
    }

    /// In the place of a kernel a process that waits, and may be traced; and its child in a session
    /// of its own, which does something to it first.
    fn kernel_with_a_child_that_escaped(first: impl FnOnce(Pid)) -> (Kernel, Pid) {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let (mut told, tell) = std::io::pipe().unwrap();
        // SAFETY: the children only make system calls.
        let kernel = match unsafe { nix::unistd::fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                nix::unistd::setsid().unwrap();
                // SAFETY: this takes numbers only.
                unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
                let parent = Pid::this();
                // SAFETY: as above.
                if let ForkResult::Child = unsafe { nix::unistd::fork() }.unwrap() {
                    nix::unistd::setsid().unwrap();
                    first(parent);
                    let pid = Pid::this().as_raw().to_le_bytes();
                    std::io::Write::write_all(&mut &tell, &pid).unwrap();
                }
                loop {
                    nix::unistd::pause();
                }
            }
        };
        let mut pid = [0; 4];
        std::io::Read::read_exact(&mut told, &mut pid).unwrap();
        let kernel = Kernel { pid: Some(kernel), protection: Protection::default() };
        (kernel, Pid::from_raw(i32::from_le_bytes(pid)))
    }

    /// Only such a one may adopt and collect everything below it. What the function says.
    fn in_a_process_of_its_own(supervisor: impl FnOnce() -> bool + std::panic::UnwindSafe) -> bool {
        // SAFETY: the child leaves without returning into the test harness.
        match unsafe { nix::unistd::fork() }.unwrap() {
            ForkResult::Parent { child } => {
                let (exit, _) = crate::wait::collect(child).unwrap();
                exit == Exit::Code(0)
            }
            ForkResult::Child => {
                let good = std::panic::catch_unwind(supervisor).unwrap_or(false);
                // SAFETY: ends this copy of the test process at once.
                unsafe { libc::_exit(i32::from(!good)) }
            }
        }
    }
}
