//! Child processes with a deadline, each the leader of a process group of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{PipeWriter, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
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

/// The children that somebody here waits for. Others are orphans that this process adopted
/// ([`crate::left::adopt_orphans`]): they are collected, or a repeated run ends among thousands of
/// dead processes.
static AWAITED: Mutex<BTreeMap<u32, usize>> = Mutex::new(BTreeMap::new());

/// A running child; dropping it kills its process group and collects it.
pub(crate) struct Running {
    child: Child,
    streams: [File; 2],
    /// Its standard input's other end: something is there to be read, and no end of it.
    _input: PipeWriter,
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
        let (reader, mut input) = std::io::pipe().unwrap();
        input.write_all(b"of whoever runs the tests\n").unwrap();
        command
            .stdin(reader)
            .stdout(streams[0].try_clone().unwrap())
            .stderr(streams[1].try_clone().unwrap())
            .process_group(0);
        let what = format!("{command:?}");
        let started = Instant::now();
        let mut awaited = awaited();
        let child = command.spawn().unwrap_or_else(|error| panic!("start {what}: {error}"));
        *awaited.entry(child.id()).or_default() += 1;
        collect_orphans(&awaited);
        drop(awaited);
        Self { child, streams, _input: input, started, what }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not come within `limit`.
    pub(crate) fn finish(self, limit: Duration) -> Finished {
        let left = limit.saturating_sub(self.started.elapsed());
        self.finish_within(left)
    }

    /// Waits for its end, from now on.
    ///
    /// # Panics
    /// Where it does not come within `limit`.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Finished {
        let Some(status) = self.child.wait_timeout(limit).unwrap() else {
            panic!("still running after {:?}: {}", self.started.elapsed(), self.what);
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
        // Once it was collected its number may have become that of another that is awaited.
        let mut awaited = awaited();
        if let Some(count) = awaited.get_mut(&self.child.id()) {
            *count -= 1;
        }
        awaited.retain(|_, count| *count > 0);
    }
}

/// Makes an executable file; `write` writes it. No process is started here meanwhile: it would have the file open for
/// writing until it executes its own, and nobody can execute it before that ("text file busy").
pub(crate) fn executable(path: &Path, mode: u32, write: impl FnOnce(&Path)) {
    let _nobody_starts = awaited();
    write(path);
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Finished {
    Running::start(command).finish(limit)
}

fn awaited() -> MutexGuard<'static, BTreeMap<u32, usize>> {
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The orphans that are this process's children now, and run.
pub(crate) fn adopted() -> Vec<(u32, String)> {
    let awaited = awaited();
    crate::left::adopted(|pid| awaited.contains_key(&pid))
}

/// Held where somebody waits for children that were not started here.
static OTHERS: RwLock<()> = RwLock::new(());

/// Keeps others' children from being collected, up to the guard's end.
pub(crate) fn others_wait() -> RwLockReadGuard<'static, ()> {
    OTHERS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Collects the dead among the children that nobody waits for.
fn collect_orphans(awaited: &BTreeMap<u32, usize>) {
    let Ok(_nobody_else_waits) = OTHERS.try_write() else { return };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().flat_map(str::parse::<u32>) {
            if !awaited.contains_key(&child) {
                let _ = waitpid(Pid::from_raw(child as i32), Some(WaitPidFlag::WNOHANG));
            }
        }
    }
}
