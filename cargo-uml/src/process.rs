//! Runs other programs to their end and turns a failure into an [`Error`] that says what they wrote.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix::errno::Errno;

use crate::error::Error;

/// Lines of a failed program's output that an error shows.
pub(crate) const TAIL_LINES: usize = 15;

/// Runs `command` without a terminal to ask on; the output whatever its exit status.
pub(crate) fn output(command: &mut Command) -> Result<Output, Error> {
    command.stdin(Stdio::null()).output().map_err(|source| Error::Spawn {
        program: command.get_program().display().to_string(),
        source,
    })
}

/// Runs `command`; its stdout if it succeeded.
pub(crate) fn stdout(command: &mut Command) -> Result<String, Error> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        command: shown(command),
        status: output.status.to_string(),
        output: tail(&said(&output)),
    })
}

/// What a program wrote, stderr last because errors are there.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The disk's error, where a program says that there was no room for what it wrote: that is no fault of what it read.
pub(crate) fn lack_of_room(said: &str) -> Option<io::Error> {
    // As the C library words them for all programs.
    let errors =
        [("No space left on device", Errno::ENOSPC), ("Disk quota exceeded", Errno::EDQUOT)];
    errors.into_iter().find(|(text, _)| said.contains(text)).map(|(_, errno)| errno.into())
}

pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The command line as a person would type it, near enough.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    words.join(OsStr::new(" ")).display().to_string()
}

/// Where `program` is on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(program)).find(
        |candidate| {
            candidate
                .metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        },
    )
}
