//! The end of whoever started this process.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::getppid;

use super::guest::die_of;

/// What starts programs and waits for them. `cargo run` does not: it becomes the program, whose parent is a shell then.
const STARTERS: [&str; 5] = ["cargo", "cargo-nextest", "rustdoc", "cargo-llvm-cov", "cargo-miri"];

/// Ends this process when a cargo that started it does, and the guest with it: one that was killed leaves nothing
/// running.
///
/// Not by `PR_SET_PDEATHSIG`, which watches the thread that started this one: those of nextest and rustdoc come and go.
#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper")]
pub(crate) fn end_with_it() {
    let parent = getppid();
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    if !STARTERS.contains(&name.trim_end()) {
        return;
    }
    // SAFETY: the call takes integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, parent.as_raw(), 0) };
    let Ok(fd) = i32::try_from(fd) else { return };
    if fd < 0 {
        return; // an old kernel, or a parent that is in another pid namespace
    }
    // SAFETY: the call made this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // It may have ended in between, and its number may be another's by now.
    if getppid() != parent {
        die_of(libc::SIGTERM);
    }
    std::thread::spawn(move || {
        loop {
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::NONE).is_ok() {
                die_of(libc::SIGTERM);
            }
        }
    });
}
