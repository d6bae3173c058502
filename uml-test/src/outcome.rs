//! What became of a test, and the pure function that decides it.
//!
//! Exit status and control channel decide. The console is quoted in reports and never judged: a
//! test can write to it. (Whether an old kernel that aborted had halted before is known by then.)
//! Nothing here does I/O.

use std::time::Duration;

use uml_test_protocol::completion::Completion;
use uml_test_protocol::{Exit, Failure, OomKill};

use crate::case::ShouldPanic;

mod text;

/// What became of a test. Only [`Outcome::Passed`] is success.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The body returned, or panicked as it was expected to.
    Passed,
    /// The test's process is at fault.
    Failed(TestFailure),
    /// The body called [`skip!`](crate::skip).
    Skipped {
        /// The reason it gave.
        reason: String,
    },
    /// Nothing was run: the kernel is not what the test's gates ask for.
    Ignored {
        /// What it lacks.
        reason: String,
    },
    /// The body ran into its time limit.
    TimedOut {
        /// What the guest was doing.
        phase: Phase,
        /// The limit.
        limit: Duration,
    },
    /// The guest's kernel panicked.
    KernelPanicked {
        /// Its message, quoted from the console; `None` where none was found there.
        message: Option<String>,
    },
    /// The guest was powered off, halted or rebooted before there was a verdict.
    GuestEnded,
    /// The guest's out-of-memory killer ended the test's process.
    OutOfMemory(OomKill),
    /// Nothing can be said about the test: the machinery around it failed.
    Infrastructure(Infrastructure),
}

/// How a test's own process went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestFailure {
    /// The body panicked.
    Panicked(String),
    /// The body returned `Err`; its `Debug` text.
    Errored(String),
    /// `#[should_panic]`, and it did not.
    DidNotPanic,
    /// `#[should_panic(expected = "…")]`, and the message lacks the text.
    WrongPanic {
        /// The text that was to be in it.
        expected: String,
        /// The message.
        message: String,
    },
    /// The process ended while the body was running.
    EndedEarly(Exit),
    /// The body completed, and the process failed after it.
    FailedLater(Exit),
}

/// How the machinery failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Infrastructure {
    /// No guest could be started: no kernel, bad configuration, no room, no sandbox.
    NotStarted {
        /// The error, with its remedy.
        error: String,
    },
    /// The kernel process ended before the guest was up.
    BootFailed {
        /// How it ended.
        kernel: KernelExit,
        /// Its panic's message, quoted from the console.
        message: Option<String>,
    },
    /// The guest was not up within its time limit.
    BootTimedOut {
        /// What it was doing.
        phase: Phase,
        /// The limit.
        limit: Duration,
    },
    /// The agent could not set the guest up.
    SetupFailed(Failure),
    /// The agent could not start the test's process.
    SpawnFailed(Failure),
    /// The test's process ended without entering the body.
    BodyNotEntered(Exit),
    /// The control channel carried something else than the protocol.
    ChannelCorrupted {
        /// What was found.
        found: String,
    },
    /// The agent died of a defect of its own.
    AgentFailed {
        /// Its message.
        message: String,
    },
    /// The kernel process ended in a way that is neither a power-off nor a panic.
    KernelDied(KernelExit),
    /// The host had no room left for the guest's memory.
    HostOutOfSpace,
    /// The test passed, but what it wrote to its `rw_dir`s may not all be on the host.
    WritesLost {
        /// What went wrong.
        why: String,
    },
}

/// How far a guest had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The kernel boots; its agent has not spoken yet.
    Booting,
    /// The agent makes the guest's mounts and devices.
    SettingUp,
    /// The test's process runs.
    Running,
    /// The verdict is in; the guest powers off.
    Stopping,
}

/// How a kernel process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelExit {
    /// Its exit code or signal; `None` where even that is unknown.
    pub exit: Option<Exit>,
}

impl KernelExit {
    pub(crate) const POWERED_OFF: Self = Self { exit: Some(Exit::Code(0)) };

    /// Whether the kernel panicked.
    pub fn is_panic(self) -> bool {
        self.exit == Some(Exit::Signal(PANIC_SIGNAL))
    }

    /// Whether it powered off.
    pub fn is_power_off(self) -> bool {
        self == Self::POWERED_OFF
    }
}

/// How the control channel ended, where it ended before it should.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEnd {
    /// The guest's end was closed, as it is when the kernel process ends.
    Closed,
    /// Bytes that are no frame, or a message out of place.
    Corrupted(String),
    /// The agent said that it is dying.
    AgentFailed(String),
}

/// How the test's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessEnd {
    /// Exit code or signal.
    pub exit: Exit,
    /// What its completion page said.
    pub completion: Completion,
    /// Whether the out-of-memory killer ended it.
    pub oom: Option<OomKill>,
}

/// Everything that is known when a guest has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Why no guest was started.
    pub not_started: Option<String>,
    /// Why the test is not for this kernel.
    pub unmet_gate: Option<String>,
    /// How far it had come.
    pub phase: Phase,
    /// The time limit of that phase, if it passed.
    pub passed_limit: Option<Duration>,
    /// How the control channel ended.
    pub channel: Option<ChannelEnd>,
    /// What the agent refused: setting up, or starting the process.
    pub refused: Option<Failure>,
    /// How the test's process ended.
    pub process: Option<ProcessEnd>,
    /// How the kernel process ended by itself.
    pub kernel: Option<KernelExit>,
    /// Whether the host had no room for guest memory then.
    pub disk_full: bool,
    /// The kernel's panic message, for quoting.
    pub panic_message: Option<String>,
    /// Why what the test wrote to its `rw_dir`s may not be on the host.
    pub writes_lost: Option<String>,
}

impl Facts {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self {
            not_started: None,
            unmet_gate: None,
            phase: Phase::Booting,
            passed_limit: None,
            channel: None,
            refused: None,
            process: None,
            kernel: None,
            disk_full: false,
            panic_message: None,
            writes_lost: None,
        }
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self::new()
    }
}

/// A kernel's panic ends its process by this signal.
const PANIC_SIGNAL: i32 = 6; // SIGABRT

/// Decides what became of a test.
///
/// Without a report of the process's end nothing is a pass, whatever else is known.
pub fn judge(facts: &Facts, expected: ShouldPanic) -> Outcome {
    use Infrastructure as I;
    if let Some(error) = &facts.not_started {
        return Outcome::Infrastructure(I::NotStarted { error: error.clone() });
    }
    if let Some(reason) = &facts.unmet_gate {
        return Outcome::Ignored { reason: reason.clone() };
    }
    if let Some(process) = &facts.process {
        // A panic while powering off is a finding of the test too, and hides no other.
        return match judge_process(process, expected) {
            Outcome::Passed | Outcome::Skipped { .. } if panicked(facts) => {
                // What takes the kernel's memory away is no finding of the test.
                if facts.disk_full {
                    return Outcome::Infrastructure(I::HostOutOfSpace);
                }
                Outcome::KernelPanicked { message: facts.panic_message.clone() }
            }
            outcome @ (Outcome::Passed | Outcome::Skipped { .. }) => match &facts.writes_lost {
                Some(why) => Outcome::Infrastructure(I::WritesLost { why: why.clone() }),
                None => outcome,
            },
            outcome => outcome,
        };
    }
    if let Some(failure) = &facts.refused {
        return Outcome::Infrastructure(match facts.phase {
            Phase::Booting | Phase::SettingUp => I::SetupFailed(failure.clone()),
            Phase::Running | Phase::Stopping => I::SpawnFailed(failure.clone()),
        });
    }
    match &facts.channel {
        Some(ChannelEnd::AgentFailed(message)) => {
            return Outcome::Infrastructure(I::AgentFailed { message: message.clone() });
        }
        Some(ChannelEnd::Corrupted(found)) => {
            return Outcome::Infrastructure(I::ChannelCorrupted { found: found.clone() });
        }
        Some(ChannelEnd::Closed) | None => {}
    }
    if let Some(limit) = facts.passed_limit {
        return match facts.phase {
            Phase::Booting | Phase::SettingUp => {
                Outcome::Infrastructure(I::BootTimedOut { phase: facts.phase, limit })
            }
            Phase::Running | Phase::Stopping => Outcome::TimedOut { phase: facts.phase, limit },
        };
    }
    let kernel = facts.kernel.unwrap_or(KernelExit { exit: None });
    if facts.disk_full && !kernel.is_power_off() {
        return Outcome::Infrastructure(I::HostOutOfSpace);
    }
    match facts.phase {
        Phase::Booting | Phase::SettingUp => {
            let message = facts.panic_message.clone();
            Outcome::Infrastructure(I::BootFailed { kernel, message })
        }
        Phase::Running | Phase::Stopping => match kernel.exit {
            Some(Exit::Signal(PANIC_SIGNAL)) => {
                Outcome::KernelPanicked { message: facts.panic_message.clone() }
            }
            Some(Exit::Code(0)) => Outcome::GuestEnded,
            Some(Exit::Code(_) | Exit::Signal(_)) | None => {
                Outcome::Infrastructure(I::KernelDied(kernel))
            }
        },
    }
}

fn panicked(facts: &Facts) -> bool {
    facts.kernel.is_some_and(KernelExit::is_panic)
}

fn judge_process(process: &ProcessEnd, expected: ShouldPanic) -> Outcome {
    let exit = process.exit;
    if let Some(kill) = &process.oom {
        return Outcome::OutOfMemory(kill.clone());
    }
    // The harness in the guest has its own opinion, and ends with 101 when a test failed.
    let orderly = matches!(exit, Exit::Code(0 | 101));
    let failed = |failure| Outcome::Failed(failure);
    match (&process.completion, expected) {
        (Completion::NotStarted, _) => {
            Outcome::Infrastructure(Infrastructure::BodyNotEntered(exit))
        }
        (Completion::Entered, _) => failed(TestFailure::EndedEarly(exit)),
        (Completion::Errored(message), _) => failed(TestFailure::Errored(message.clone())),
        (Completion::Panicked(message), ShouldPanic::No) => {
            failed(TestFailure::Panicked(message.clone()))
        }
        (Completion::Panicked(message), ShouldPanic::Containing(text))
            if !message.contains(text) =>
        {
            let (expected, message) = (text.to_owned(), message.clone());
            failed(TestFailure::WrongPanic { expected, message })
        }
        (Completion::Returned, ShouldPanic::Any | ShouldPanic::Containing(_)) => {
            failed(TestFailure::DidNotPanic)
        }
        (Completion::Returned, ShouldPanic::No) if exit != Exit::Code(0) => {
            failed(TestFailure::FailedLater(exit))
        }
        (Completion::Panicked(_) | Completion::Skipped(_), _) if !orderly => {
            failed(TestFailure::FailedLater(exit))
        }
        (Completion::Skipped(reason), _) => Outcome::Skipped { reason: reason.clone() },
        (Completion::Returned, ShouldPanic::No)
        | (Completion::Panicked(_), ShouldPanic::Any | ShouldPanic::Containing(_)) => {
            Outcome::Passed
        }
    }
}

#[cfg(test)]
mod tests;
