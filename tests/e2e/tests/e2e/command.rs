//! Child processes with a deadline, each the leader of a process group of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

/// A child that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) took: Duration,
}

impl Finished {
    /// Both streams as text, standard output first.
    pub(crate) fn text(&self) -> String {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    }

    /// Its exit code; a signal's number, negated, where one ended it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }
}

/// A running child; dropping it kills its process group and collects it.
pub(crate) struct Running {
    child: Child,
    streams: [File; 2],
    started: Instant,
    what: String,
}

/// A command whose settings come from its caller and not from whoever runs these tests: of the
/// `UML_TEST_*` variables only the kernel stays.
pub(crate) fn command(program: impl AsRef<OsStr>, kernel: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let foreign = ["UML_TEST_", "NEXTEST", "RUST_TEST", "E2E_"];
        if foreign.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // A backtrace of a debug build takes longer than a guest, and more memory than a small one has.
    command
        .env("UML_TEST_KERNEL", kernel)
        .env("UML_TEST_KEEP_RUNS", "0")
        .env("RUST_BACKTRACE", "0");
    command
}

impl Running {
    /// Starts it; its output goes into files, so that nobody has to read while it runs.
    pub(crate) fn start(command: &mut Command) -> Self {
        let streams = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        command
            .stdin(Stdio::null())
            .stdout(streams[0].try_clone().unwrap())
            .stderr(streams[1].try_clone().unwrap())
            .process_group(0);
        let what = format!("{command:?}");
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("start {what}: {error}"));
        Self { child, streams, started, what }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not come within `limit`.
    pub(crate) fn finish(mut self, limit: Duration) -> Finished {
        let left = limit.saturating_sub(self.started.elapsed());
        let Some(status) = self.child.wait_timeout(left).unwrap() else {
            panic!("still running after {limit:?}: {}", self.what);
        };
        let took = self.started.elapsed();
        let [stdout, stderr] = self.streams.each_mut().map(|file| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Finished { status, stdout, stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Finished {
    Running::start(command).finish(limit)
}
