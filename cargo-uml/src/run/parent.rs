//! The end of whoever started this process.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getppid};

use super::ended::die_of;
use crate::report::Reporter;

/// Whether a process of this name starts programs and waits for them: cargo, also as Debian (`cargo-1.85`) and Nix
/// (`.cargo-wrapped`) call it, its subcommands such as `cargo-nextest`, and rustdoc. `cargo run` does not: it becomes the
/// program, whose parent is a shell then.
fn is_starter(name: &str) -> bool {
    [".cargo", "cargo", "rustdoc"].iter().any(|starter| name.starts_with(starter))
}

/// Says which process the runners are for. Its name is chosen as that of the options is.
pub(super) const VARIABLE: &str = "UML_RUNNER_PROCESS";

/// Has the runners that `cargo` will start end with this process, which is about to become that cargo, or waits for it.
pub(super) fn pass_by(cargo: &mut Command) {
    let pid = Pid::this();
    if let (Some(started), Some(namespace)) = (start_time(pid), namespace()) {
        cargo.env(VARIABLE, format!("{pid} {started} {namespace}"));
    }
}

/// Ends this process when a cargo that started it does, or the one that it is for, and the guest with it: one that was
/// killed leaves nothing running.
///
/// They need not be the same: the parent may be rustdoc, or a cargo that another program started, and those go on when
/// the first cargo has been killed.
///
/// Not by `PR_SET_PDEATHSIG`, which watches the thread that started this one: those of nextest and rustdoc come and go.
pub(crate) fn end_with_it(reporter: &Reporter) {
    if let Some((pid, started)) = passed() {
        match open(pid) {
            Ok(fd) if start_time(pid).is_none_or(|found| found == started) => end_with(fd),
            // Gone, or its number is another's by now.
            Ok(_) | Err(Errno::ESRCH) => {
                reporter.note(format_args!(
                    "cargo uml: the process {pid} that this was started for has ended; where its {VARIABLE} was \
                     inherited on purpose, unset it"
                ));
                die_of(libc::SIGTERM)
            }
            Err(_) => {} // an old kernel
        }
    }
    let parent = getppid();
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    if !is_starter(&name) {
        return;
    }
    // Where it fails, the kernel is old, or the parent in another pid namespace.
    let Ok(fd) = open(parent) else { return };
    // It may have ended in between, and its number may be another's by now.
    if getppid() != parent {
        die_of(libc::SIGTERM);
    }
    end_with(fd);
}

/// The process that [`pass_by`] named, and when it was started. In another pid namespace its number means nothing, and
/// `cargo run` has become this very process.
fn passed() -> Option<(Pid, u64)> {
    let text = std::env::var(VARIABLE).ok()?;
    let (pid, started, found) = parse(&text)?;
    (found == namespace()? && pid != Pid::this()).then_some((pid, started))
}

fn parse(text: &str) -> Option<(Pid, u64, String)> {
    let mut parts = text.split(' ');
    let pid = parts.next()?.parse().ok().filter(|pid| *pid > 0)?;
    Some((Pid::from_raw(pid), parts.next()?.parse().ok()?, parts.next()?.to_owned()))
}

/// When a process was started, in clock ticks since the boot: tells it from a later one of the same number.
fn start_time(pid: Pid) -> Option<u64> {
    start_time_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`. The second is a name in brackets, which may have any character in it.
fn start_time_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// This process's pid namespace.
fn namespace() -> Option<String> {
    Some(fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned())
}

#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper")]
fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes integers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends this process when the one of this pidfd has ended.
fn end_with(fd: OwnedFd) {
    std::thread::spawn(move || {
        loop {
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::NONE).is_ok() {
                die_of(libc::SIGTERM);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1 1";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in(""), None);
        let own = start_time(Pid::this());
        // Some clock ticks.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let mut later = Command::new("sleep").arg("60").spawn().unwrap();
        let its = start_time(Pid::from_raw(i32::try_from(later.id()).unwrap()));
        later.kill().unwrap();
        later.wait().unwrap();
        assert!(own.is_some() && its.is_some() && its != own);
    }

    #[test]
    fn cargo_is_known_by_all_its_names() {
        for name in ["cargo", "cargo-1.80", ".cargo-wrapped", "cargo-nextest", "rustdoc"] {
            assert!(is_starter(name), "{name}");
        }
        for name in ["", "bash", "mycargo"] {
            assert!(!is_starter(name), "{name}");
        }
    }

    #[test]
    fn what_is_passed_is_read_again() {
        let mut cargo = Command::new("cargo");
        pass_by(&mut cargo);
        let passed = cargo.get_envs().next().unwrap().1.unwrap().to_str().unwrap();
        let expected = (Pid::this(), start_time(Pid::this()).unwrap(), namespace().unwrap());
        assert_eq!(parse(passed), Some(expected));
        for wrong in ["", "x", "1", "1 x y", "0 1 y", "-5 1 y"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
