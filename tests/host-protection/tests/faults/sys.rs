//! What spoils a process, without a safe wrapper elsewhere.
#![expect(unsafe_code, reason = "spoiling a process is what these are for")]

use nix::sys::signal::{SigHandler, Signal, signal};

pub(crate) fn close(fd: i32) {
    // SAFETY: nothing in this program owns the standard streams.
    unsafe { libc::close(fd) };
}

pub(crate) fn ignore(which: Signal) {
    // SAFETY: no handler runs.
    unsafe { signal(which, SigHandler::SigIgn) }.unwrap();
}

/// Lets the descriptor be inherited by every program that this process starts.
pub(crate) fn inherit(fd: &impl std::os::fd::AsRawFd) {
    // SAFETY: the call touches no memory.
    assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }, 0);
}
