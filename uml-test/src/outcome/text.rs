//! What outcomes and endings are called, with what to do about them.

use std::fmt;

use uml_test_protocol::Exit;

use crate::remedy::{ANOTHER_KERNEL, DOCTOR, killed_by_the_host, of_set_up};

use super::{Infrastructure, KernelExit, Outcome, Phase, TestFailure};

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Skipped { reason } => write!(f, "skipped: {reason}"),
            Self::Ignored { reason } => write!(f, "ignored: {reason}"),
            Self::TimedOut { phase, limit } => {
                write!(
                    f,
                    "timed out: still {phase} after {limit:?}; if it needs longer, give it that with \
                     `timeout = \"…\"` or UML_TEST_TIMEOUT"
                )
            }
            Self::KernelPanicked { message: Some(message) } => {
                write!(f, "the guest's kernel panicked: {message}")
            }
            Self::KernelPanicked { message: None } => {
                f.write_str("the guest's kernel panicked, without a message on its console")
            }
            Self::GuestEnded => f.write_str(
                "the guest ended before the test did: something powered off, halted or rebooted it",
            ),
            Self::OutOfMemory(kill) => write!(
                f,
                "out of memory: the guest's kernel killed the test's process {} (`{}`){}",
                kill.pid,
                kill.name,
                if kill.cgroup {
                    ", which had reached the limit of its control group"
                } else {
                    "; give it more with `mem = \"…\"`"
                }
            ),
            Self::Infrastructure(failure) => write!(f, "infrastructure failure: {failure}"),
        }
    }
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Errored(error) => write!(f, "returned an error: {error}"),
            Self::DidNotPanic => f.write_str("did not panic as expected"),
            Self::WrongPanic { expected, message } => write!(
                f,
                "panicked with another message than expected\n expected to contain: {expected}\n \
                 message: {message}"
            ),
            Self::EndedEarly(exit) => {
                write!(f, "the test's process ended before the test completed: {}", Ended(*exit))
            }
            Self::FailedLater(exit) => {
                write!(f, "the test completed, and then its process failed: {}", Ended(*exit))
            }
        }
    }
}

impl fmt::Display for Infrastructure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { error } => f.write_str(error),
            Self::BootFailed { kernel, message } => {
                write!(f, "the kernel ended before the guest was up: {kernel}")?;
                if let Some(message) = message {
                    write!(f, ", after the panic `{message}`")?;
                }
                write!(
                    f,
                    "; what it said is below. A kernel that is not User Mode Linux, lacks hostfs, or \
                     was built for a newer C library ends so: {ANOTHER_KERNEL}. So does one that has \
                     little memory (`mem`), whose memory file, in the run directory, finds no room, or whose host forbids what \
                     it needs: {DOCTOR}"
                )
            }
            Self::BootTimedOut { phase, limit } => write!(
                f,
                "the guest was still {phase} after {limit:?}; raise UML_TEST_BOOT_TIMEOUT if the \
                 host is that slow, or boot another kernel: {ANOTHER_KERNEL}"
            ),
            Self::SetupFailed(failure) => {
                write!(f, "the agent could not set the guest up: {failure}{}", of_set_up(failure))
            }
            Self::SpawnFailed(failure) => {
                write!(f, "the agent could not start the test's process: {failure}")
            }
            Self::BodyNotEntered(exit) => write!(
                f,
                "the test's process ended without entering the test: {}; what it said is below",
                Ended(*exit)
            ),
            Self::ChannelCorrupted { found } => write!(
                f,
                "the control channel (the guest's first serial line) carried something else than \
                 the agent's messages: {found}"
            ),
            Self::AgentFailed { message } => {
                write!(f, "the guest agent failed, which is a defect of uml-test: {message}")
            }
            Self::KernelDied(kernel) => {
                write!(f, "the kernel process ended, neither by power-off nor by panic: {kernel}")?;
                f.write_str(killed_by_the_host(*kernel))
            }
            Self::HostOutOfSpace => f.write_str(
                "the filesystem of the run directory has no room left for the guest's memory; free \
                 some, or name a larger one with UML_TEST_RUN_DIR",
            ),
            Self::WritesLost { why } => write!(
                f,
                "the test passed, but what it wrote to its rw_dir may not all be on the host: {why}"
            ),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Booting => "booting",
            Self::SettingUp => "setting up",
            Self::Running => "running",
            Self::Stopping => "stopping",
        })
    }
}

impl fmt::Display for KernelExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit {
            Some(exit) => Ended(exit).fmt(f),
            None => f.write_str("its exit status is unknown"),
        }
    }
}

/// Words for an exit status.
struct Ended(Exit);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => match signal_name(signal) {
                Some(name) => write!(f, "killed by signal {signal} ({name})"),
                None => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// Names of the signals that end processes, by their numbers on x86-64 (`signal(7)`).
fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES.get(usize::try_from(signal).ok()?.checked_sub(1)?).copied()
}
