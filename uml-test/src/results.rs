//! Result records of `#[uml_test]`s: a file for each test that has finished, for whoever runs a suite
//! several times and compares. `record` has their format.

use crate::artifacts;
use crate::case::TestCase;
use crate::config;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::runner::Run;

/// The word for an outcome.
pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Ignored { .. } => "ignored",
        Outcome::TimedOut { .. } => "timed-out",
        Outcome::KernelPanicked { .. } => "kernel-panicked",
        Outcome::GuestEnded => "guest-ended",
        Outcome::OutOfMemory(_) => "out-of-memory",
        Outcome::Infrastructure(_) => "infrastructure",
    }
}

/// Writes down a run where that is asked for; `shown` is the word for what the harness shows.
///
/// # Errors
/// What could not be written, and why.
pub(crate) fn write(case: &TestCase, run: &Run, shown: &str) -> Result<(), String> {
    let Some(dir) = Record::directory() else { return Ok(()) };
    let text = run.outcome.to_string();
    let record = Record {
        binary: Record::binary(
            &config::manifest_dir(case.manifest_dir),
            &std::env::current_exe().unwrap_or_default(),
        ),
        test: case.name(),
        kernel: artifacts::kernel(&run.config)
            .map(|found| std::path::absolute(&found.linux).unwrap_or(found.linux))
            .map(|linux| linux.display().to_string())
            .unwrap_or_default(),
        outcome: shown,
        reason: match &run.outcome {
            Outcome::Passed => String::new(),
            Outcome::Skipped { reason } | Outcome::Ignored { reason } => first_line(reason),
            Outcome::Failed(_)
            | Outcome::TimedOut { .. }
            | Outcome::KernelPanicked { .. }
            | Outcome::GuestEnded
            | Outcome::OutOfMemory(_)
            | Outcome::Infrastructure(_) => first_line(&text),
        },
        took: run.took,
    };
    record.write(&dir)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
