//! Guests for programs, and one program in one guest on this process's own standard streams.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use uml_test::{Error, OomKill, OutputStream, ProgramEnd, Vm};

use super::options::GuestOptions;
use super::profiles::{self, Profiles};
use super::terminal;
use super::watch::{Found, Watch};
use crate::kernel::cache::Cache;
use crate::matrix;
use crate::report::Reporter;

/// The time limit passed, as `timeout(1)` says it.
const EXIT_TIMED_OUT: u8 = 124;
/// What the program did is not known: no guest, or one that ended first.
pub(crate) const EXIT_NO_VERDICT: u8 = 125;
/// The program cannot be executed, or is not there, as shells say it.
pub(crate) const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;

/// Guest memory for a `#[uml_test]` where nobody says otherwise.
const DEFAULT_MEM: u64 = 128 << 20;
/// Somebody else's program may need more. Each 100 MiB cost 2 ms of the boot: the kernel describes every page.
const MEM: u64 = 256 << 20;
/// A test binary, whole or for one test, may make disk images in `/tmp`, which can take half of the memory.
const MEM_OF_TESTS: u64 = 512 << 20;

/// Lines of the console that are shown where the guest failed.
const CONSOLE_LINES: usize = 20;

/// What a program's standard streams are.
pub(crate) enum Streams {
    /// This process's, all three pipes to the program.
    Passed,
    /// This process's, and what is written is looked at.
    Watched(Box<Watch>),
    /// This process's terminal, as a terminal of the guest's.
    Terminal,
}

/// Runs a program to its end; how it ended, and what was seen of its output.
pub(crate) fn run(
    options: &GuestOptions,
    program: &OsStr,
    arguments: &[OsString],
    variables: &[(&str, &OsStr)],
    streams: Streams,
) -> anyhow::Result<(Ended, Found)> {
    let guest = Guest::boot(options, program)?;
    let mut command = guest.command(program, arguments);
    command.envs(variables.iter().copied());
    let mut found = Found::default();
    let result = match streams {
        Streams::Passed => command.attach(),
        Streams::Terminal => terminal::run(&mut command)?,
        Streams::Watched(watch) => {
            // As `attach` does of itself.
            if watch.may_join_streams() && OutputStream::are_one_file() {
                command.stderr_to_stdout();
            }
            let watch = Arc::new(Mutex::new(watch));
            let theirs = Arc::clone(&watch);
            let result = command.attach_with(move |stream, data| {
                theirs.lock().unwrap_or_else(PoisonError::into_inner).see(stream, data);
                stream.write_all(data)
            });
            found = watch.lock().unwrap_or_else(PoisonError::into_inner).finish();
            result
        }
    };
    Ok((guest.end(result), found))
}

/// A guest for programs.
pub(crate) struct Guest {
    vm: Vm,
    /// Whether it may write anything on the host.
    keeps: bool,
    /// Whether its console is to be kept.
    keeps_console: bool,
    profiles: Profiles,
}

impl Guest {
    /// Boots one that `program` can run in.
    pub(crate) fn boot(options: &GuestOptions, program: &OsStr) -> anyhow::Result<Self> {
        let directory = std::env::current_dir().context("no working directory")?;
        let options = options.clone().absolute().context("no working directory")?;
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or(directory.clone(), PathBuf::from);
        let host = uml_test::Host::of(&package)?;
        let is_set = options.env.iter().any(|(name, _)| name == profiles::VARIABLE)
            || host.config().env.contains_key(profiles::VARIABLE);
        let profiles = match is_set {
            true => Profiles::None, // The user knows where to.
            false => Profiles::of(program, &directory)?,
        };
        let booted = boot(&host, &options, program, &profiles);
        let (vm, keeps) = booted.map_err(|error| match options.keep {
            true => keep_of_failure(error),
            false => error,
        })?;
        Ok(Guest { vm, keeps, keeps_console: options.keep, profiles })
    }

    /// A program to run in it, on the package's terms.
    pub(crate) fn command(&self, program: &OsStr, arguments: &[OsString]) -> uml_test::Command<'_> {
        let mut command = self.vm.command(program);
        command.args(arguments);
        // For this runner only: a cargo that the program starts is to start programs as ever.
        for name in super::cargo::variables().filter(|name| std::env::var_os(name).is_some()) {
            command.env_remove(name);
        }
        command.envs(self.profiles.variable());
        command
    }

    /// Ends it, after a program that it was for.
    pub(crate) fn end(self, result: Result<ProgramEnd, Error>) -> Ended {
        let Guest { vm, keeps, keeps_console, profiles } = self;
        // One that outlives its program, or the wait for that, has the host's files to write back.
        let writes_back = keeps && !matches!(result, Err(Error::Gone { .. }));
        let killed = result.as_ref().ok().and_then(|end| end.other_oom.clone());
        let mut ended = Ended::of(match result {
            Ok(end) => How::Itself { status: end.status, is_out_of_memory: end.oom.is_some() },
            Err(error) => How::Unknown { error: error.into() },
        });
        // A control group's limit is not the guest's memory.
        ended.killed = killed.filter(|kill| !kill.cgroup);
        let stopped = match (keeps_console, writes_back) {
            (true, _) => ended.keep_console(vm),
            (false, true) => vm.shutdown(),
            // Nothing on the host is waiting for anything of it.
            (false, false) => {
                drop(vm);
                Ok(())
            }
        };
        if let Err(error) = stopped.map_err(anyhow::Error::from)
            && writes_back
        {
            ended.lose_writes(&error);
        }
        let lost = profiles.bring_back().err().map(|error| format!("{error:#}"));
        ended.lost.extend(lost);
        ended
    }
}

/// A new file for the console of a guest.
fn console_file() -> anyhow::Result<PathBuf> {
    let file = tempfile::Builder::new().prefix("uml-console-").suffix(".log").tempfile();
    file.and_then(|file| Ok(file.keep()?.1)).context("make a file for --keep")
}

/// Keeps what is known of the console of a guest that did not come up, and says where.
fn keep_of_failure(error: anyhow::Error) -> anyhow::Error {
    let Some(console) = error.downcast_ref().and_then(Error::console) else { return error };
    let written = console_file().and_then(|path| {
        std::fs::write(&path, console).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    });
    match written {
        Ok(path) => error.context(format!("no guest; its console is in {}", path.display())),
        Err(lost) => error.context(format!("no guest, nor its console ({lost:#})")),
    }
}

/// The kernel that guests with these options boot, if there is one.
pub(super) fn kernel(options: &GuestOptions) -> Option<PathBuf> {
    match &options.kernel {
        Some(kernel) => {
            let chosen = matrix::choose(&[kernel.into()], Cache::locate().ok().as_ref()).ok()?;
            chosen.into_iter().next().map(|chosen| chosen.linux)
        }
        None => {
            let directory = std::env::current_dir().ok()?;
            let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or(directory, PathBuf::from);
            uml_test::Host::of(&package).ok()?.kernel().ok().map(|(path, _)| path)
        }
    }
}

/// A guest, and whether it may write anything on the host.
fn boot(
    host: &uml_test::Host,
    options: &GuestOptions,
    program: &OsStr,
    profiles: &Profiles,
) -> anyhow::Result<(Vm, bool)> {
    let mut builder = host.builder().keep(program);
    if let Some(kernel) = &options.kernel {
        let chosen = matrix::choose(&[kernel.into()], Cache::locate().ok().as_ref())?;
        builder = chosen.into_iter().fold(builder, |builder, chosen| builder.kernel(chosen.linux));
    }
    if let Some(mem) = options.mem {
        builder = builder.mem(mem);
    } else if host.config().mem == DEFAULT_MEM && std::env::var_os("UML_TEST_MEM").is_none() {
        builder = builder.mem(if super::is_test(Path::new(program)) { MEM_OF_TESTS } else { MEM });
    }
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    for cmdline in &options.cmdline {
        builder = builder.cmdline(cmdline);
    }
    for dir in &options.rw_dir {
        builder = match &dir.guest {
            Some(guest) => builder.rw_dir_at(&dir.host, guest),
            None => builder.rw_dir(&dir.host),
        };
    }
    for (name, value) in &options.env {
        builder = builder.env(name, value);
    }
    let keeps =
        !options.rw_dir.is_empty() || !host.config().rw_dirs.is_empty() || profiles.dir().is_some();
    builder = profiles.given_to(builder);
    for dir in hidden_dirs(program) {
        builder = builder.keep(dir);
    }
    Ok((builder.boot()?, keeps))
}

/// Directories that the program needs and that may lie below `/tmp`: its own, as rustdoc has doctests there, and the
/// target directory that it was built in, whose files its tests may know the paths of; those with libraries. Not `/tmp`
/// itself, which is to be fresh.
fn hidden_dirs(program: &OsStr) -> Vec<PathBuf> {
    let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let program = Path::new(program);
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&libraries).collect();
    dirs.extend(program.parent().map(Path::to_owned));
    dirs.extend(uml_test::Host::target_dir(program));
    dirs.retain(|dir| dir.canonicalize().is_ok_and(|dir| dir.components().count() > 2));
    dirs
}

/// The word in a result record for a test that could not be tried to its end.
pub(crate) const INFRASTRUCTURE: &str = "infrastructure";

/// How a program's run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) how: How,
    /// Another process, that the guest's kernel ended for lack of memory.
    killed: Option<OomKill>,
    /// Where the console is kept.
    kept: Option<PathBuf>,
    /// Why the host does not have the console, the program's profiles, or all that it wrote.
    lost: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum How {
    /// The program's own end.
    Itself { status: ExitStatus, is_out_of_memory: bool },
    /// Something else ended first.
    Unknown { error: anyhow::Error },
}

impl Ended {
    pub(crate) fn of(how: How) -> Self {
        Ended { how, killed: None, kept: None, lost: Vec::new() }
    }

    /// Shuts the guest down, and keeps its console.
    fn keep_console(&mut self, vm: Vm) -> Result<(), Error> {
        let path = match console_file() {
            Ok(path) => path,
            Err(error) => {
                self.lost.push(format!("{error:#}"));
                return vm.shutdown();
            }
        };
        let (stopped, saved) = vm.shutdown_with_console(&path);
        match saved {
            Ok(()) => self.kept = Some(path),
            Err(error) => self.lost.push(format!("write {}: {error}", path.display())),
        }
        stopped
    }

    /// The program's end stays what it was, but for a success: who relies on that relies on what it wrote.
    fn lose_writes(&mut self, error: &anyhow::Error) {
        let lost = format!("not all that the program wrote may be on the host: {error:#}");
        let lost =
            [Some(lost), console_of(error)].into_iter().flatten().collect::<Vec<_>>().join("\n");
        match self.is_success() {
            true => self.how = How::Unknown { error: anyhow::Error::msg(lost) },
            false => self.lost.push(lost),
        }
    }

    /// Whether the program succeeded.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.how, How::Itself { status, .. } if status.success())
    }

    /// Whether the program ended in another way than a harness whose tests failed.
    pub(crate) fn is_crash(&self) -> bool {
        matches!(self.how, How::Itself { status, .. }
            if !status.success() && status.code() != Some(super::EXIT_TESTS_FAILED))
    }

    /// The word for it in a result record, where it was no success.
    pub(crate) fn word(&self) -> &'static str {
        match &self.how {
            How::Itself { is_out_of_memory: true, .. } => "out-of-memory",
            How::Itself { is_out_of_memory: false, .. } => "failed",
            How::Unknown { error, .. } => match error.downcast_ref::<Error>() {
                Some(Error::TimedOut { .. }) => "timed-out",
                Some(Error::Gone { end, .. }) => match end.kernel {
                    Some(kernel) if kernel.is_panic() => "kernel-panicked",
                    Some(kernel) if kernel.is_power_off() => "guest-ended",
                    _ => INFRASTRUCTURE,
                },
                _ => INFRASTRUCTURE,
            },
        }
    }

    /// How it ended, on one line.
    pub(crate) fn shown(&self) -> String {
        match &self.how {
            How::Itself { status, .. } => status.to_string(),
            How::Unknown { error, .. } => format!("{error:#}"),
        }
    }

    /// What there is to say of it beside the exit status.
    pub(crate) fn explain(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.how {
            How::Itself { is_out_of_memory: false, .. } => {}
            How::Itself { is_out_of_memory: true, .. } => {
                notes.push("the guest ran out of memory; give it more with --mem".to_owned());
            }
            How::Unknown { error } => {
                notes.push(format!("{error:#}"));
                notes.extend(console_of(error));
                notes.extend(is_panic_for_memory(error).then(|| {
                    "that panic is for lack of memory; give the guest more with --mem".to_owned()
                }));
            }
        }
        notes.extend(self.killed.as_ref().map(|OomKill { pid, name, .. }| {
            format!(
                "the guest's kernel killed {name} (pid {pid}) for lack of memory; --mem gives the guest more"
            )
        }));
        notes
    }

    /// What there is to say of files: what is not there, and where the console is, if it is kept.
    pub(crate) fn files(&self) -> impl Iterator<Item = String> {
        let kept = self.kept.iter();
        let kept = kept.map(|path| format!("the guest's console is in {}", path.display()));
        self.lost.iter().cloned().chain(kept)
    }

    /// Says it.
    pub(crate) fn tell_files(&self, reporter: &Reporter) {
        for note in self.files() {
            reporter.note(format_args!("cargo uml: {note}"));
        }
    }

    /// Ends this process as the program ended.
    pub(crate) fn pass_on(self, reporter: &Reporter) -> ! {
        if let How::Unknown { error, .. } = &self.how
            && is_broken_pipe(error)
        {
            die_of(Signal::SIGPIPE as i32);
        }
        for note in self.explain() {
            reporter.note(format_args!("cargo uml: {note}"));
        }
        self.tell_files(reporter);
        match self.how {
            How::Itself { status, .. } => match status.signal() {
                Some(number) => die_of(number),
                None => std::process::exit(status.code().unwrap_or(EXIT_NO_VERDICT.into())),
            },
            How::Unknown { error, .. } => std::process::exit(exit_code(&error).into()),
        }
    }
}

/// The end of the console of a guest that did not come up or is gone, where there is anything on it.
pub(super) fn console_of(error: &anyhow::Error) -> Option<String> {
    let lines: Vec<&str> = error.downcast_ref().and_then(Error::console)?.lines().collect();
    let text = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
    (!text.is_empty()).then(|| format!("---- last lines of the guest's console ----\n{text}"))
}

/// Whether the guest's kernel panicked as it had no memory and nothing to kill, or is told to panic then.
fn is_panic_for_memory(error: &anyhow::Error) -> bool {
    let message = error.downcast_ref().and_then(Error::panic_message).unwrap_or_default();
    // mm/oom_kill.c
    ["System is deadlocked on memory", "Out of memory: "]
        .iter()
        .any(|words| message.contains(words))
}

/// What the exit code says of a run without a verdict.
fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::TimedOut { .. }) => EXIT_TIMED_OUT,
        Some(Error::Refused(failure)) => exit_code_of(Errno::from_raw(failure.errno)),
        _ => EXIT_NO_VERDICT,
    }
}

/// What the exit code says of a program that can't be started.
pub(super) fn exit_code_of(errno: Errno) -> u8 {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => EXIT_NOT_FOUND,
        Errno::EACCES | Errno::ENOEXEC | Errno::EISDIR => EXIT_NOT_EXECUTABLE,
        _ => EXIT_NO_VERDICT,
    }
}

/// Nobody reads any more: on the host the program would have died of it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Error>(),
        Some(Error::Output { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe
    )
}

/// Ends this process by a signal, without a core dump: it would be this process's, not the program's.
#[expect(unsafe_code, reason = "signal handlers can be unsafe, this one is the default")]
pub(super) fn die_of(number: i32) -> ! {
    if let Ok(fatal) = Signal::try_from(number) {
        let _ = nix::sys::prctl::set_dumpable(false);
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { signal(fatal, SigHandler::SigDfl) };
        let _ = kill(Pid::this(), fatal);
    }
    // A real-time signal, as shells say it.
    std::process::exit(128 + number)
}
