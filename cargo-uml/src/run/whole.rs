//! A program in one guest, which ends as the program ends; with what is said of a test binary then: JUnit reports,
//! annotations, denied skips.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use super::ended::{self, Ended};
use super::guest::{self, Streams};
use super::isolate::{Outcome, TestResult, skipped_itself};
use super::options::{RunnerOptions, TestOptions};
use super::watch::{Found, Panic, Watch};
use super::{github, is_test, junit, merged_doctests, no_verdict, record};
use crate::error::EXIT_HARNESS_FAILED;
use crate::report::Reporter;

/// Runs a program in one guest, and ends this process as it ends. Returns only why that is not known.
pub(super) fn run(
    options: &RunnerOptions,
    program: &OsStr,
    arguments: &[OsString],
    reporter: &Reporter,
) -> anyhow::Result<Infallible> {
    let started = Instant::now();
    let (ended, found) = watched(options, program, arguments)?;
    let took = started.elapsed();
    let test = record::the_one_test(arguments);
    let outcome = outcome_of(&ended, &found, &options.test, test.as_deref());
    // As nextest has them run.
    if let Some(name) = test {
        let result = TestResult { name, outcome: outcome.clone(), output: Vec::new(), took };
        record::of(options, program, &result, reporter);
    }
    // It was tried: what is amiss is the report.
    add_to_junit(options, program, outcome, took)
        .unwrap_or_else(|error| no_verdict(&error, reporter));
    conclude(ended, &found, &options.test, reporter)
}

/// What the run of a whole binary came to, or of one test of it.
fn outcome_of(ended: &Ended, found: &Found, options: &TestOptions, test: Option<&str>) -> Outcome {
    match (ended.is_success(), found.denied(options)) {
        (true, None) => Outcome::Passed,
        (true, Some(line)) => Outcome::Failed { word: "failed", reason: skipped_itself(line) },
        (false, _) => {
            let panic = test.and_then(|test| found.panic_of(test));
            let reason = panic.map_or_else(|| ended.shown(), |panic| panic.message.clone());
            Outcome::Failed { word: ended.word(), reason }
        }
    }
}

/// Adds a test binary that was run whole to the JUnit report, if there is to be one.
fn add_to_junit(
    options: &RunnerOptions,
    program: &OsStr,
    outcome: Outcome,
    took: Duration,
) -> anyhow::Result<()> {
    match &options.test.junit {
        Some(path) if is_test(Path::new(program)) => {
            let name = "the whole binary".to_owned();
            let result = TestResult { name, outcome, output: Vec::new(), took };
            junit::add(path, &record::binary(program), &[result])
        }
        _ => Ok(()),
    }
}

/// Has the JUnit report say of a test binary that it was not run: one without it would look good.
pub(super) fn report_untried(
    options: &RunnerOptions,
    program: &OsStr,
    reason: String,
    reporter: &Reporter,
) {
    let outcome = Outcome::Failed { word: ended::INFRASTRUCTURE, reason };
    if let Err(error) = add_to_junit(options, program, outcome, Duration::ZERO) {
        reporter.error(&error);
    }
}

/// Runs a program in one guest, its output looked at where that is asked for.
fn watched(
    options: &RunnerOptions,
    program: &OsStr,
    arguments: &[OsString],
) -> anyhow::Result<(Ended, Found)> {
    let denied = options.test.deny_skips.as_deref();
    let mut variables: Vec<_> = merged_doctests::variable(program).into_iter().collect();
    let streams = if denied.is_none() && !github::is_here() && !record::is_wanted() {
        Streams::Passed
    } else {
        Streams::Watched(Box::new(Watch::new(denied)?))
    };
    if denied.is_some() {
        // libtest does not show what passing tests wrote, which is what tells.
        variables.push(("RUST_TEST_NOCAPTURE", OsStr::new("1")));
    }
    guest::run(&options.guest, program, arguments, &variables, streams)
}

/// Says what was seen, and ends this process as the program ended, unless its success was none.
fn conclude(ended: Ended, found: &Found, options: &TestOptions, reporter: &Reporter) -> ! {
    if !ended.is_success() && github::is_here() {
        for annotation in annotations(&ended, found) {
            reporter.note(annotation);
        }
    }
    if found.denied(options).is_some() {
        reporter.note("cargo uml: tests skipped themselves, which --deny-skips denies:");
        for line in &found.skips {
            reporter.note(format_args!("    {line}"));
            if github::is_here() {
                reporter.note(github::failure("a test skipped itself", line));
            }
        }
        if ended.is_success() {
            ended.tell_files(reporter);
            std::process::exit(EXIT_HARNESS_FAILED.into());
        }
    }
    ended.pass_on(reporter)
}

/// The annotations of a run that was no success.
///
/// A passing test may panic too: where libtest says which have failed, only their panics count, or with one such test
/// the last panic, as under libtest-mimic threads have no test's name. Each of those tests has an
/// annotation, also where no panic is known to be its own. So has the end of a run that crashed, which failed tests do
/// not explain, or of which nothing else is known.
fn annotations(ended: &Ended, found: &Found) -> Vec<String> {
    if let Some(test) = found.failed.first().filter(|_| found.failed.len() == 1)
        && let Some(panic) = found.panic_of(test)
        && (panic.thread == *test || UNNAMED.contains(&&*panic.thread))
    {
        let mut all = vec![github::panic(panic)];
        all.extend(unexplained(ended));
        return all;
    }
    let counts = |panic: &&Panic| found.failed.is_empty() || found.failed.contains(&panic.thread);
    let panics: Vec<&Panic> = found.panics.iter().filter(counts).collect();
    let has_panicked = |test: &String| panics.iter().any(|panic| panic.thread == *test);
    let failed = found.failed.iter().filter(|test| !has_panicked(test));
    let mut all: Vec<String> = panics.iter().map(|panic| github::panic(panic)).collect();
    all.extend(failed.map(|test| github::failure(test, "the test failed")));
    all.extend(unexplained(ended));
    if all.is_empty() {
        all.push(github::failure("cargo uml", &ended.shown()));
    }
    all
}

/// What threads are called that have no test's name.
const UNNAMED: [&str; 2] = ["<unnamed>", "main"];

/// The annotations of what failed tests do not explain.
fn unexplained(ended: &Ended) -> Vec<String> {
    let mut all = ended.explain();
    if ended.is_crash() {
        all.push(ended.shown());
    }
    all.iter().map(|note| github::failure("cargo uml", note)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::super::ended::How;
    use super::*;

    #[test]
    fn every_failure_is_annotated() {
        let annotations = |raw: i32, output: &str| {
            let status = ExitStatus::from_raw(raw);
            let ended = Ended::of(How::Itself { status, is_out_of_memory: false });
            let mut watch = Watch::new(None).unwrap();
            watch.see(uml_test::OutputStream::Stdout, output.as_bytes());
            annotations(&ended, &watch.finish())
        };
        let panicked = "thread 'a' panicked at gone.rs:7:9:\nno\ntest a ... FAILED\n";
        let panics = "::error file=gone.rs,line=7,col=9,title=a panicked::no";
        assert_eq!(annotations(101 << 8, panicked), [panics]);
        let unnamed = panicked.replace("'a'", "'<unnamed>'");
        assert_eq!(annotations(101 << 8, &unnamed), [panics.replace("=a ", "=<unnamed> ")]);
        let another = panicked.replace("test a ", "test b ");
        assert_eq!(annotations(101 << 8, &another), ["::error title=b::the test failed"]);
        let error = format!("{panicked}Error: \"bad\"\ntest b::c ... FAILED\n");
        let fails = "::error title=b%3A%3Ac::the test failed";
        assert_eq!(annotations(101 << 8, &error), [panics, fails]);
        let [signal] = &annotations(11, "test a ... ")[..] else { panic!() };
        assert!(signal.starts_with("::error title=cargo uml::signal: 11"), "{signal}");
        let exit = "::error title=cargo uml::exit status: 3";
        assert_eq!(annotations(3 << 8, ""), [exit]);
        // An earlier panic is not why.
        assert_eq!(annotations(3 << 8, panicked), [panics, exit]);
        assert_eq!(annotations(11, panicked), [panics, signal]);
    }
}
