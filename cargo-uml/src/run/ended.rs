//! How a program's run in a guest ended: what is said of it, and how this process ends by it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use uml_test::{Error, OomKill, Vm};

use super::guest::{console_file, console_of};
use super::program;
use crate::error::{
    EXIT_HARNESS_FAILED, EXIT_NO_VERDICT, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_TIMED_OUT,
};
use crate::report::Reporter;

/// The word in a result record for a test that could not be tried to its end.
pub(crate) const INFRASTRUCTURE: &str = "infrastructure";

/// How a program's run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) how: How,
    /// Another process, that the guest's kernel ended for lack of memory.
    pub(super) killed: Option<OomKill>,
    /// Where the console is kept.
    kept: Option<PathBuf>,
    /// Why the host does not have the console, the program's profiles, or all that it wrote.
    pub(super) lost: Vec<String>,
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
    pub(super) fn keep_console(&mut self, vm: Vm) -> Result<(), Error> {
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
    pub(super) fn lose_writes(&mut self, error: &anyhow::Error) {
        let lost = format!("not all that the program wrote may be on the host: {error:#}");
        let lost =
            [Some(lost), console_of(error)].into_iter().flatten().collect::<Vec<_>>().join("\n");
        match self.is_success() {
            true => self.how = How::Unknown { error: anyhow::Error::msg(lost) },
            false => self.lost.push(lost),
        }
    }

    /// Has the error of a program that is there, but not what executes it, name that.
    pub(super) fn naming_interpreter(mut self) -> Self {
        if let How::Unknown { error } = self.how {
            self.how = How::Unknown { error: naming_interpreter(error) };
        }
        self
    }

    /// Whether the program succeeded.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.how, How::Itself { status, .. } if status.success())
    }

    /// Whether the program ended in another way than a harness whose tests failed.
    pub(crate) fn is_crash(&self) -> bool {
        matches!(self.how, How::Itself { status, .. }
            if !status.success() && status.code() != Some(EXIT_HARNESS_FAILED.into()))
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

/// Whether the guest's kernel panicked as it had no memory and nothing to kill, or is told to panic then.
fn is_panic_for_memory(error: &anyhow::Error) -> bool {
    let message = error.downcast_ref().and_then(Error::panic_message).unwrap_or_default();
    // mm/oom_kill.c
    ["System is deadlocked on memory", "Out of memory: "]
        .iter()
        .any(|words| message.contains(words))
}

/// What the exit code says of a run without a verdict.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::TimedOut { of_boot: false, .. }) => EXIT_TIMED_OUT,
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

/// `execve(2)` says of a missing interpreter the same as of a missing program.
fn naming_interpreter(error: anyhow::Error) -> anyhow::Error {
    let Some(Error::Refused(failure)) = error.downcast_ref() else { return error };
    let program = Path::new(OsStr::from_bytes(&failure.path));
    let missing = match Errno::from_raw(failure.errno) {
        Errno::ENOENT => program::missing_interpreter(program),
        _ => None,
    };
    let Some(missing) = missing else { return error };
    let text = format!(
        "{} is executed by {}, which the guest does not have",
        program.display(),
        missing.display()
    );
    error.context(text)
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
        // To this thread: one that dumps core would be for another one to take, while this one goes on.
        let _ = raise(fatal);
    }
    // A real-time signal, as shells say it.
    std::process::exit(128 + number)
}
