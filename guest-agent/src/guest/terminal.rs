//! A terminal for a process: the agent holds the master's end of a pseudoterminal.
#![expect(unsafe_code, reason = "ioctls have no safe wrapper")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::termios::{self, InputFlags, LocalFlags, OutputFlags, SetArg, Termios};
use uml_test_protocol::{Failure, TerminalSettings, TerminalSize};

/// Makes a terminal of this size in `terminals`, which is `/dev/pts`. The first end is the agent's,
/// and never blocks; the second is the process's.
pub(super) fn open(
    size: TerminalSize,
    settings: Option<TerminalSettings>,
    terminals: &OwnedFd,
) -> Result<(File, OwnedFd), Failure> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = openat(terminals, "ptmx", flags, Mode::empty());
    let master: File =
        master.map_err(|errno| Failure::new("open", "/dev/pts/ptmx", errno as i32))?.into();
    let unlocked: libc::c_int = 0;
    // SAFETY: the call reads one integer.
    let code = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    Errno::result(code).map_err(|errno| failed("unlock", errno))?;
    resize(&master, size)?;
    // Not by its path, which mounts of the process's may have hidden.
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the call takes an integer.
    let peer = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    let peer = Errno::result(peer).map_err(|errno| failed("open", errno))?;
    // SAFETY: the call made this descriptor; nobody else owns it.
    let peer = unsafe { OwnedFd::from_raw_fd(peer) };
    settings.map_or(Ok(()), |settings| set(&peer, settings))?;
    Ok((master, peer))
}

/// Gives a terminal these settings. The speed and the bits of a character are of no matter to it.
fn set(terminal: &OwnedFd, settings: TerminalSettings) -> Result<(), Failure> {
    let mut termios: Termios = termios::tcgetattr(terminal).map_err(|e| failed("read", e))?;
    termios.input_flags = InputFlags::from_bits_retain(settings.input);
    termios.output_flags = OutputFlags::from_bits_retain(settings.output);
    termios.local_flags = LocalFlags::from_bits_retain(settings.local);
    termios.control_chars = settings.characters;
    termios::tcsetattr(terminal, SetArg::TCSANOW, &termios).map_err(|e| failed("set", e))
}

/// Gives a terminal another size; its foreground process group gets a SIGWINCH.
pub(super) fn resize(master: &File, size: TerminalSize) -> Result<(), Failure> {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads the structure.
    let code = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(code).map(drop).map_err(|errno| failed("resize", errno))
}

fn failed(operation: &str, errno: Errno) -> Failure {
    Failure::new(operation, "a terminal", errno as i32)
}
