//! Nothing that the doctor asks may make it hang: checks and programs with a limit of time.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wait_timeout::ChildExt;

/// What a program wrote, and how it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

/// Runs `check` in a thread of its own; `None` if it has not ended after `limit`, or panicked. The thread is left to
/// itself then: what blocks it (a dead file server, say) can't be called off.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    check: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .spawn(move || {
            let _ = sender.send(check());
        })
        .ok()?;
    receiver.recv_timeout(limit).ok()
}

/// Runs `command` for `limit` at most; `None` if it had to be killed.
///
/// Its output goes through a file, so that a descendant that keeps a pipe open is nothing to wait for.
pub(crate) fn program(command: &mut Command, limit: Duration) -> io::Result<Option<Ended>> {
    const MOST: u64 = 64 << 10;
    let mut file: File = tempfile::tempfile()?;
    let mut child =
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?).spawn()?;
    let Some(status) = child.wait_timeout(limit)? else {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    };
    let mut output = Vec::new();
    file.rewind()?;
    file.take(MOST).read_to_end(&mut output)?;
    Ok(Some(Ended { status, output: String::from_utf8_lossy(&output).into_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    fn what_hangs_is_left() {
        assert_eq!(within(SHORT, || 1), Some(1));
        assert_eq!(within(SHORT, || thread::sleep(Duration::from_secs(60))), None);
        let started = std::time::Instant::now();
        // The inner shell holds stdout open long after the outer one is killed.
        let mut held = Command::new("sh");
        held.args(["-c", "sleep 60 & wait"]);
        assert!(program(&mut held, SHORT).unwrap().is_none());
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_programs_end_and_output_are_seen() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let ended = program(&mut command, Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!((ended.status.code(), &*ended.output), (Some(3), "out\nerr\n"));
    }
}
