//! Whether the host lets a kernel process trap its user space's system calls: by ptrace, and by a seccomp filter.
//!
//! Both are tried for real, in a child, the way the kernel does it (`arch/um/os-Linux/start_up.c`): what a security
//! module, a container or a sandbox forbids shows in no file. The doctor has threads, so the children make bare
//! system calls only; an alarm ends them should they hang.
#![expect(unsafe_code, reason = "fork, and what a child does before it exits")]

use std::io;
use std::mem;
use std::ptr;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use uml_test::Sandbox;

use super::finding::Finding;

const PTRACE: &str = "ptrace";
const SECCOMP: &str = "seccomp";

/// Seconds after which a child ends itself.
const ALARM: libc::c_uint = 5;

/// The findings on ptrace and on seccomp. One of both is enough for a guest; its sandbox takes seccomp.
pub(crate) fn check(sandbox: Sandbox) -> Vec<Finding> {
    let (ptrace, seccomp) = (ptrace(), seccomp());
    match (ptrace.is_ok(), seccomp.is_ok()) {
        (false, true) => vec![ptrace.tolerated(), seccomp],
        (true, false) if sandbox == Sandbox::Off => vec![ptrace, seccomp.tolerated()],
        _ => vec![ptrace, seccomp],
    }
}

fn ptrace() -> Finding {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let scope = scope.ok().map(|scope| scope.trim().to_owned());
    let yama =
        scope.as_ref().map_or_else(String::new, |scope| format!(" (Yama ptrace_scope {scope})"));
    match try_ptrace() {
        Ok(()) => Finding::ok(PTRACE, format!("a child's system calls can be traced{yama}")),
        Err(error) => Finding::failed(
            PTRACE,
            format!("a child's system calls can't be traced{yama}: {error}"),
            match scope.as_deref() {
                Some("3") => {
                    "kernel.yama.ptrace_scope=3 forbids it until the next boot: set it to 1, and reboot"
                }
                Some("2") => {
                    "let every user trace children: `sysctl kernel.yama.ptrace_scope=1` as root"
                }
                _ => {
                    "let the container, sandbox or security module allow ptrace (docker run --cap-add SYS_PTRACE); \
                     until then only kernels from 6.16 on run, by seccomp"
                }
            },
        ),
    }
}

fn seccomp() -> Finding {
    match try_seccomp() {
        Ok(()) => Finding::ok(SECCOMP, "a filter traps system calls (kernels from 6.16 on use it)"),
        Err(error) => Finding::failed(
            SECCOMP,
            format!("no filter can be used: {error}"),
            "the host's kernel needs CONFIG_SECCOMP_FILTER, and a container or sandbox must allow seccomp(2); until \
             then guests run with UML_TEST_SANDBOX=off only, by ptrace and so at half the speed",
        ),
    }
}

/// Traces a child of its own, which asks for it, through one emulated system call.
fn try_ptrace() -> io::Result<()> {
    // SAFETY: the child makes only system calls that may follow the fork of a process with threads.
    let child = match unsafe { fork() }? {
        // SAFETY: as above; none of the calls takes memory.
        ForkResult::Child => unsafe {
            libc::alarm(ALARM);
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0 {
                libc::_exit(Errno::last_raw());
            }
            libc::raise(libc::SIGSTOP);
            libc::getppid();
            libc::_exit(0)
        },
        ForkResult::Parent { child } => child,
    };
    let traced = trace(child);
    if traced.is_err() {
        // Gone already, perhaps.
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, Some(WaitPidFlag::__WALL));
    }
    traced
}

fn trace(child: Pid) -> io::Result<()> {
    let stopped = |what: &str| match waitpid(child, Some(WaitPidFlag::__WALL))? {
        WaitStatus::Stopped(..) => Ok(()),
        WaitStatus::Exited(_, code) => Err(io::Error::from_raw_os_error(code)),
        other => Err(io::Error::other(format!("{what}: {other:?}"))),
    };
    stopped("the traced child did not stop")?;
    next_call(child)?;
    stopped("the traced child's system call did not stop it")?;
    ptrace::kill(child)?;
    waitpid(child, Some(WaitPidFlag::__WALL))?;
    Ok(())
}

/// Lets `child` run up to its next system call, which is not carried out where the architecture has that.
fn next_call(child: Pid) -> nix::Result<()> {
    #[cfg(target_arch = "x86_64")]
    return ptrace::sysemu(child, None);
    #[cfg(not(target_arch = "x86_64"))]
    return ptrace::syscall(child, None);
}

/// Installs a filter in a child that traps one system call, makes the call, and ends in the signal's handler.
fn try_seccomp() -> io::Result<()> {
    const UNTRAPPED: libc::c_int = 255;

    extern "C" fn trapped(_: libc::c_int) {
        // SAFETY: ends the process without anything else.
        unsafe { libc::_exit(0) }
    }

    // SAFETY: the macros' functions compute values only.
    let mut filter = unsafe {
        [
            libc::BPF_STMT((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0),
            libc::BPF_JUMP(
                (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
                libc::SYS_clock_nanosleep as u32,
                1,
                0,
            ),
            libc::BPF_STMT((libc::BPF_RET | libc::BPF_K) as u16, libc::SECCOMP_RET_ALLOW),
            libc::BPF_STMT((libc::BPF_RET | libc::BPF_K) as u16, libc::SECCOMP_RET_TRAP),
        ]
    };
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = trapped as extern "C" fn(libc::c_int) as libc::sighandler_t;

    // SAFETY: the child makes only system calls that may follow the fork of a process with threads; `program` and
    // `action` live as long as it does.
    let child = match unsafe { fork() }? {
        // SAFETY: as above.
        ForkResult::Child => unsafe {
            libc::alarm(ALARM);
            if libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()) < 0
                || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
                || libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    libc::SECCOMP_FILTER_FLAG_TSYNC,
                    &program,
                ) < 0
            {
                libc::_exit(Errno::last_raw());
            }
            let nothing: *const libc::timespec = ptr::null();
            libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, nothing, nothing);
            libc::_exit(UNTRAPPED)
        },
        ForkResult::Parent { child } => child,
    };
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, UNTRAPPED) => Err(io::Error::other("it traps nothing")),
        WaitStatus::Exited(_, code) => Err(io::Error::from_raw_os_error(code)),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}
