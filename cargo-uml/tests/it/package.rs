//! A package that knows nothing of uml-test, and the real `cargo-uml` run in it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::{DEADLINE, finished, real_kernel, skip};

/// A package as it might lie on crates.io. `in_guest` is true where the hostname is a guest's.
pub(crate) struct Package {
    directory: TempDir,
}

const MANIFEST: &str =
    "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";

const LIBRARY: &str = r#"
//! ```
//! assert!(plain::in_guest());
//! ```
pub fn in_guest() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap() == "uml-test\n"
}
#[cfg(test)]
mod tests {
    #[test]
    fn unit() {
        assert!(super::in_guest());
    }
}
"#;

/// Each makes what the other makes too: only in kernels of their own do both pass.
pub(crate) const TESTS: &str = r#"
#[test]
fn first() {
    assert!(plain::in_guest());
    std::fs::create_dir("/made").unwrap();
}
#[test]
fn second() {
    assert!(plain::in_guest());
    std::fs::create_dir("/made").unwrap();
}
"#;

/// Says what it sees, copies its input, and ends as it is told.
const PROGRAM: &str = r#"
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
fn main() {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "{} {}", plain::in_guest(), std::env::current_dir().unwrap().display()).unwrap();
    for argument in std::env::args_os().skip(2) {
        out.write_all(argument.as_bytes()).unwrap();
    }
    out.write_all(&input).unwrap();
    eprintln!("complaint");
    match std::env::args().nth(1).as_deref() {
        Some("abort") => std::process::abort(),
        code => std::process::exit(code.map_or(0, |code| code.parse().unwrap())),
    }
}
"#;

impl Package {
    pub(crate) fn new() -> Self {
        let package = Package { directory: tempfile::tempdir().unwrap() };
        package.write("Cargo.toml", MANIFEST);
        package.write("src/lib.rs", LIBRARY);
        package.write("src/main.rs", PROGRAM);
        package
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let before = fs::read_to_string(self.directory.path().join(name)).unwrap();
        self.write(name, &(before + text));
    }

    pub(crate) fn uml(&self, arguments: &[&str]) -> Command {
        let mut command = uml(arguments);
        command.current_dir(self.directory.path());
        command
    }
}

/// The command, with the machine's kernel.
pub(crate) fn uml(arguments: &[&str]) -> Command {
    hear_signals();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-uml"));
    // Set by the cargo that runs this, the package's own is asked for; or by GitHub, where more is said.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "UML_TEST_MEM", "GITHUB_ACTIONS"] {
        command.env_remove(name);
    }
    command.args(arguments).env("UML_TEST_KERNEL", real_kernel());
    command
}

/// A shell's background job ignores Ctrl-C, one under nohup a terminal's end, and both are inherited:
/// what is signalled here must hear it.
#[expect(unsafe_code, reason = "signal handlers can be unsafe, this one is the default")]
fn hear_signals() {
    static HEARD: Once = Once::new();
    HEARD.call_once(|| {
        for heard in [Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: the default action runs no code of ours.
            unsafe { signal(heard, SigHandler::SigDfl) }.expect("both can be set");
        }
    });
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub(crate) fn output(command: &mut Command) -> Output {
    finished(command)
}

/// Whether cargo-nextest is here; without it the test can't be.
#[track_caller]
pub(crate) fn has_nextest() -> bool {
    let version = finished(Command::new("cargo").args(["nextest", "--version"]));
    if !version.status.success() {
        skip("cargo-nextest");
    }
    version.status.success()
}

/// Waits until nothing is left in a guests' directory, nor a process that has to do with it.
pub(crate) fn becomes_empty(dir: &Path, after: impl std::fmt::Debug) {
    const SOON: Duration = Duration::from_secs(1);
    let started = Instant::now();
    loop {
        // On a loaded machine a look may take longer than that itself.
        let is_late = started.elapsed() > SOON;
        let mut left: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.extend(processes_of(dir));
        if left.is_empty() {
            return;
        }
        assert!(!is_late, "left {SOON:?} after {after:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that know of a directory: a runner is told of it by a variable, a kernel by its arguments.
fn processes_of(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let name = dir.as_os_str().as_bytes().to_owned();
    let has_it = move |file: PathBuf| {
        let text = fs::read(file).unwrap_or_default();
        text.windows(name.len()).any(|part| part == name)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(move |process| ["cmdline", "environ"].iter().any(|file| has_it(process.join(file))))
}

/// A process with all that it starts, which is killed if the test fails.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Running(command.process_group(0).spawn().unwrap())
    }

    /// Waits for a line of its output with this end.
    #[track_caller]
    pub(crate) fn says(&mut self, end: &str) {
        let output = BufReader::new(self.0.stdout.as_mut().unwrap());
        let found = output.lines().any(|line| line.unwrap().ends_with(end));
        assert!(found, "it has not said {end:?}");
    }

    /// How the process alone ends by a signal.
    pub(crate) fn signalled(&mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
        self.0.wait().unwrap()
    }

    /// Ends the process alone by a signal, which is not caught.
    pub(crate) fn killed(&mut self, signal: i32) {
        killed(&mut self.0, signal);
    }

    /// Waits until all that it started has ended, but for what left its process group.
    pub(crate) fn group_ends(&self) {
        let deadline = Instant::now() + DEADLINE;
        while has_processes(self.0.id()) {
            assert!(Instant::now() < deadline, "its process group goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a process of this group runs; one that has ended may wait for long to be collected.
fn has_processes(group: u32) -> bool {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let mut stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.any(|stat| {
        // The name, in parentheses, may hold anything; behind it state, parent and group.
        let rest: Vec<&str> =
            stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        matches!(rest[..], [state, _, found, ..] if state != "Z" && found == group.to_string())
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

/// Ends a process by a signal, which is not caught.
pub(crate) fn killed(running: &mut Child, signal: i32) {
    let pid = Pid::from_raw(running.id() as i32);
    kill(pid, Signal::try_from(signal).unwrap()).unwrap();
    assert_eq!(running.wait().unwrap().signal(), Some(signal));
}
