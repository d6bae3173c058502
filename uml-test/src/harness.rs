//! The two ways in: libtest calls [`run_under_libtest`], `uml_test::main!()` calls [`main`]. The
//! only file that names libtest-mimic.

use std::ffi::OsStr;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use uml_test_protocol::Stream;

use crate::case::{Overrides, ShouldPanic, TestCase, TestReturn};
use crate::config::{self, Config, LibtestSkips, MissingKernel, UnmetGates};
use crate::guest::{self, Guest, Place};
use crate::outcome::{Infrastructure, Outcome, TestFailure};
use crate::record::Record;
use crate::runner::{self, Run};
use crate::stream::OutputStream;
use crate::{artifacts, kernel_image, registry, report, results};

/// What libtest and libtest-mimic end with when a test failed.
const TEST_FAILURE: u8 = 101;

/// What a `#[test]` function that `#[uml_test]` made does: on the host it runs its case in a guest
/// and shows the outcome in libtest's terms, in the guest it runs the body.
pub fn run_under_libtest<R: TestReturn>(case: &'static TestCase) -> R {
    let run = match guest::place() {
        Place::Guest(guest) => match guest.run(case) {
            Ok(()) => return R::passed(),
            Err(payload) => std::panic::resume_unwind(payload),
        },
        Place::Refused(reason) => runner::not_run(reason),
        Place::Inside => runner::run_here(case),
        Place::Host if shows_output() => {
            runner::run(case, OutputStream::are_one_file(), &mut report::write_through)
        }
        Place::Host => {
            let mut captured = report::Captured::default();
            let run = runner::run(case, false, &mut |stream, data| captured.print(stream, data));
            captured.finish();
            run
        }
    };
    record(case, &run, shown_by_libtest(case, &run));
    show_in_libtest(case, run)
}

/// The word for what [`show_in_libtest`] shows.
fn shown_by_libtest(case: &TestCase, run: &Run) -> &'static str {
    let expects_panic = case.should_panic != ShouldPanic::No;
    match &run.outcome {
        Outcome::Skipped { .. } | Outcome::Ignored { .. }
            if expects_panic || run.config.libtest_skips == LibtestSkips::Fail =>
        {
            "failed"
        }
        Outcome::Infrastructure(Infrastructure::NotStarted { .. })
            if !expects_panic && passes_without_kernel(&run.config) =>
        {
            "skipped"
        }
        outcome => results::word(outcome),
    }
}

/// A record that cannot be written changes no verdict, and is missed by whoever wanted it.
fn record(case: &TestCase, run: &Run, shown: &str) {
    if let Err(error) = results::write(case, run, shown) {
        report::announce(&error);
    }
}

/// Shows an outcome in the only two ways libtest knows, returning and panicking. With
/// `#[should_panic]` a panic is a pass, so everything but the test's own panic returns.
fn show_in_libtest<R: TestReturn>(case: &TestCase, run: Run) -> R {
    let expects_panic = case.should_panic != ShouldPanic::No;
    let fail = |message: String| -> R {
        report::print_failure(&report::text(&message, &run.evidence, false));
        if expects_panic { R::passed() } else { unwind(message) }
    };
    match &run.outcome {
        Outcome::Passed => match (&run.panic, expects_panic) {
            (Some(message), true) => unwind(message.clone()),
            _ => R::passed(),
        },
        Outcome::Skipped { .. } | Outcome::Ignored { .. } => match run.config.libtest_skips {
            LibtestSkips::Default | LibtestSkips::Pass => {
                report::announce(&format!("{} {}", case.name(), run.outcome));
                R::passed()
            }
            LibtestSkips::Fail => {
                fail(format!("{}; a failure because libtest-skips is `fail`", run.outcome))
            }
        },
        // libtest says itself what it expected.
        Outcome::Failed(TestFailure::WrongPanic { message, .. }) => {
            report::print_failure(&report::text(&run.outcome.to_string(), &run.evidence, false));
            unwind(message.clone())
        }
        Outcome::Infrastructure(Infrastructure::NotStarted { error })
            if passes_without_kernel(&run.config) && !expects_panic =>
        {
            report::announce(&format!("{} not run: {error}", case.name()));
            R::passed()
        }
        Outcome::Infrastructure(Infrastructure::NotStarted { error })
            if run.config.missing_kernel == MissingKernel::Skip
                && artifacts::kernel(&run.config).is_err() =>
        {
            fail(format!(
                "{error}\nlibtest cannot ignore a test at run time: UML_TEST_LIBTEST_SKIPS=pass \
                 lets it pass with a printed reason"
            ))
        }
        Outcome::Failed(_)
        | Outcome::TimedOut { .. }
        | Outcome::KernelPanicked { .. }
        | Outcome::GuestEnded
        | Outcome::OutOfMemory(_)
        | Outcome::Infrastructure(_) => fail(run.outcome.to_string()),
    }
}

/// Both settings, and that there is no kernel indeed.
fn passes_without_kernel(config: &Config) -> bool {
    config.missing_kernel == MissingKernel::Skip
        && config.libtest_skips == LibtestSkips::Pass
        && artifacts::kernel(config).is_err()
}

/// Panics without the hook's report: the message is the guest's, and was reported there.
fn unwind(message: String) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// Whether the harness was told not to capture.
fn shows_output() -> bool {
    std::env::args().any(|argument| argument == "--nocapture" || argument == "--no-capture")
        || config::variable("RUST_TEST_NOCAPTURE").is_some_and(|value| value != "0")
}

/// The custom runner's `main`.
pub fn main() -> ExitCode {
    match guest::place() {
        Place::Guest(guest) => run_in_guest(guest),
        Place::Refused(reason) => {
            report::announce(&reason);
            ExitCode::from(TEST_FAILURE)
        }
        Place::Host => run_all(false),
        Place::Inside => run_all(true),
    }
}

/// Runs the one test that the agent asked for, without any harness around it.
fn run_in_guest(guest: Guest) -> ExitCode {
    let complain = |problem: &str| {
        report::announce(problem);
        ExitCode::from(TEST_FAILURE)
    };
    let cases = match registry::cases() {
        Ok(cases) => cases,
        Err(error) => return complain(&error.to_string()),
    };
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let Some((name, case)) = cases.into_iter().find(|(name, _)| *name == wanted) else {
        return complain(&format!("this binary has no test named `{wanted}`"));
    };
    // In a thread of the test's name, as libtest has it.
    let thread = std::thread::Builder::new().name(name).spawn(|| guest.run(case).is_ok());
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false) | Err(_)) => ExitCode::from(TEST_FAILURE),
        Err(error) => complain(&format!("start the test's thread: {error}")),
    }
}

/// Each test in a guest of its own; or, inside of one already, right there.
fn run_all(inside: bool) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cases = match registry::cases() {
        Ok(cases) => cases,
        Err(error) => {
            report::announce(&error.to_string());
            return ExitCode::from(TEST_FAILURE);
        }
    };
    match threads(config::variable(THREADS).as_deref()) {
        Ok(threads) => arguments.test_threads = arguments.test_threads.or(threads),
        Err(wrong) => {
            report::announce(&wrong);
            return ExitCode::from(TEST_FAILURE);
        }
    }
    let missing = match inside {
        true => None,
        false => cases.first().and_then(|(_, case)| missing_kernel(case.manifest_dir)),
    };
    if let Some(reason) = &missing
        && !arguments.list
    {
        report::announce(&format!("tests are ignored: {reason}"));
    }
    let (capture, no_kernel) = (!shows_output(), missing.is_some());
    // A test that is marked as ignored is shown so without a reason. So unless that is asked for, it
    // is its own run, which boots nothing, that says why. So it is where records are asked for: nextest
    // starts nothing that is listed as ignored.
    let marks_gated = (arguments.list || arguments.ignored) && Record::directory().is_none();
    let trials = cases
        .into_iter()
        .map(|(name, case)| {
            let missing = missing.clone();
            Trial::ignorable_test(name, move || match missing {
                Some(reason) => Ok(Completion::ignored_with(reason)),
                None => run_trial(case, inside, capture),
            })
            .with_ignored_flag(
                case.ignored.is_some() || no_kernel || marks_gated && is_gated(case, inside),
            )
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// libtest's variable for how many tests run at once.
const THREADS: &str = "RUST_TEST_THREADS";

/// How many tests run at once, if that variable says so.
fn threads(found: Option<&OsStr>) -> Result<Option<usize>, String> {
    let Some(found) = found else { return Ok(None) };
    match found.to_str().and_then(|text| text.parse().ok()).filter(|threads| *threads > 0) {
        Some(threads) => Ok(Some(threads)),
        None => {
            let found = found.display();
            Err(format!("{THREADS}: expected a whole number above zero, found `{found}`"))
        }
    }
}

/// Why the tests of a package, compiled there, cannot run, where that is to be shown as ignored.
fn missing_kernel(compiled: &str) -> Option<String> {
    let manifest_dir = config::manifest_dir(compiled);
    // No test has a kernel of its own. A wrong setting fails each test with its own message.
    let config = config::resolve(&manifest_dir, &Overrides::NONE, &config::variables()).ok()?;
    match config.missing_kernel {
        MissingKernel::Fail => None,
        MissingKernel::Skip => artifacts::kernel(&config).err().map(|error| error.to_string()),
    }
}

/// Whether a test is not for the kernel, where that is to be shown as ignored.
fn is_gated(case: &TestCase, inside: bool) -> bool {
    if case.gates.is_none() {
        return false;
    }
    let manifest_dir = config::manifest_dir(case.manifest_dir);
    // What cannot be decided fails the test with a message of its own.
    config::resolve(&manifest_dir, &case.overrides, &config::variables()).is_ok_and(|config| {
        config.gates == UnmetGates::Ignore
            && match inside {
                true => matches!(kernel_image::unmet_here(&case.gates), Ok(Some(_))),
                false => matches!(runner::unmet_gate(case, &config), Ok(Some(_))),
            }
    })
}

fn run_trial(case: &'static TestCase, inside: bool, capture: bool) -> Result<Completion, Failed> {
    let run = match inside {
        true => runner::run_here(case),
        false if capture => runner::run(case, false, &mut |_: Stream, _: &[u8]| {}),
        false => runner::run(case, OutputStream::are_one_file(), &mut report::write_through),
    };
    record(case, &run, results::word(&run.outcome));
    match &run.outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped { reason } | Outcome::Ignored { reason } => {
            Ok(Completion::ignored_with(reason))
        }
        Outcome::Failed(_)
        | Outcome::TimedOut { .. }
        | Outcome::KernelPanicked { .. }
        | Outcome::GuestEnded
        | Outcome::OutOfMemory(_)
        | Outcome::Infrastructure(_) => {
            Err(Failed::from(report::text(&run.outcome.to_string(), &run.evidence, capture)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_a_number_above_zero() {
        let of = |text: &str| threads(Some(OsStr::new(text)));
        assert_eq!(threads(None), Ok(None));
        assert_eq!(of("3"), Ok(Some(3)));
        for wrong in ["0", "many", "-1"] {
            assert!(of(wrong).unwrap_err().ends_with(&format!("found `{wrong}`")));
        }
    }
}
