//! A program's streams.

use std::io::{self, Write};

/// Where a program in a guest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output; also everything that is written to a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// Whether this process's standard output and standard error are one file: one terminal, or one
    /// pipe as after `2>&1`. Who writes to both wants them in one order then.
    pub fn are_one_file() -> bool {
        let stdout = identity(&io::stdout());
        stdout.is_some() && stdout == identity(&io::stderr())
    }

    /// Writes to this process's own stream of that name, at once. One that takes nothing for the
    /// moment, as somebody else made the open file non-blocking, is waited for.
    ///
    /// # Errors
    /// As writing has them.
    pub fn write_all(self, data: &[u8]) -> io::Result<()> {
        match self {
            OutputStream::Stderr => write_all(&mut io::stderr().lock(), data),
            OutputStream::Stdout => write_all(&mut io::stdout().lock(), data),
        }
    }
}

/// Writes all of it, and flushes: the standard library keeps what comes after the last line.
fn write_all(stream: &mut (impl Write + Descriptor), mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match patiently(stream, Direction::Out, |stream| stream.write(data))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            length => data = &data[length..],
        }
    }
    patiently(stream, Direction::Out, Write::flush)
}

/// What a stream is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    #[cfg_attr(not(supported_host), expect(dead_code, reason = "nothing is read there"))]
    In,
    Out,
}

/// Tries again what was interrupted, and when that can be what was not possible for the moment:
/// `O_NONBLOCK` belongs to the open file, which others have too and may set it on.
pub(crate) fn patiently<S: Descriptor, T>(
    stream: &mut S,
    direction: Direction,
    mut operation: impl FnMut(&mut S) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match operation(stream) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(stream, direction)?,
            result => return result,
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use std::os::fd::AsFd as Descriptor;

/// Where nothing is known to wait by, there is none.
#[cfg(not(target_os = "linux"))]
pub(crate) trait Descriptor {}

#[cfg(not(target_os = "linux"))]
impl<S> Descriptor for S {}

#[cfg(target_os = "linux")]
fn wait_for(stream: &impl Descriptor, direction: Direction) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let events = match direction {
        Direction::In => PollFlags::POLLIN,
        Direction::Out => PollFlags::POLLOUT,
    };
    match poll(&mut [PollFd::new(stream.as_fd(), events)], PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn wait_for(_: &impl Descriptor, _: Direction) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// What tells the file that is open from all others.
#[cfg(unix)]
fn identity(stream: &impl std::os::fd::AsFd) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::File::from(stream.as_fd().try_clone_to_owned().ok()?);
    let found = file.metadata().ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity<S>(_: &S) -> Option<(u64, u64)> {
    None
}

impl std::fmt::Display for OutputStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OutputStream::Stdout => "standard output",
            OutputStream::Stderr => "standard error",
        })
    }
}
