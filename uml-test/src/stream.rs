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

impl std::fmt::Display for OutputStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OutputStream::Stdout => "standard output",
            OutputStream::Stderr => "standard error",
        })
    }
}
