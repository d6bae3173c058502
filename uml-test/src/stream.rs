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

    /// Writes to this process's own stream of that name, at once.
    ///
    /// # Errors
    /// As writing has them.
    pub fn write_all(self, data: &[u8]) -> io::Result<()> {
        match self {
            OutputStream::Stderr => io::stderr().write_all(data),
            // Flushed, as the standard library keeps what comes after the last line.
            OutputStream::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(data).and_then(|()| stdout.flush())
            }
        }
    }
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
