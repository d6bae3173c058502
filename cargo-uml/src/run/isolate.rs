//! A test binary's tests, each in a guest of its own, without nextest.
//!
//! The binary lists its tests in one guest, as nextest has it do on the host; then each is run by its exact name. The
//! report and its options are libtest-mimic's, which are libtest's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, iter};

use clap::Parser;
use libtest_mimic::{Completion, Failed, Trial};
use uml_test::OutputStream;

use super::ended::{self, Ended};
use super::github;
use super::guest::{self, Guest};
use super::judge::judge;
use super::libtest::{self, LibtestArguments};
use super::listener::{Listener, Said};
use super::options::{GuestOptions, RunnerOptions};
use super::watch::{Found, Watch};
use super::{broken_output, junit, program, record, whole};
use crate::report::Reporter;

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Ignored,
    /// With the word for it in a result record.
    Failed {
        word: &'static str,
        reason: String,
    },
}

/// A test's result.
#[derive(Debug, Clone)]
pub(crate) struct TestResult {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// What it wrote to both streams, without what its harness printed around that.
    pub(crate) output: Vec<u8>,
    pub(crate) took: Duration,
}

/// A test as the binary lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// How many tests have this name: all of them are run by it.
    pub(super) times: u32,
    pub(super) is_ignored: bool,
}

/// A test binary whose tests are to be apart.
struct Binary {
    options: RunnerOptions,
    program: OsString,
    /// For each test one that has seen nothing yet: its patterns take longer to make than some tests run.
    watch: Watch,
    /// What the tests that were run came to, where a report of it is wanted.
    results: Mutex<Vec<TestResult>>,
    shows: Shows,
    behind: Mutex<Behind>,
}

/// What is shown behind the results: with one thread each of those is a line that begins before its test runs.
#[derive(Debug, Default)]
struct Behind {
    /// Tests that have passed, and what they wrote.
    passed: Vec<(String, String)>,
    notes: Vec<String>,
}

/// Which output is shown beside that of tests that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    /// That of tests that have passed.
    Passed,
    /// All of it, while the tests run.
    AsItComes,
}

impl Shows {
    fn of(arguments: &LibtestArguments) -> Self {
        let variable = std::env::var_os("RUST_TEST_NOCAPTURE");
        if arguments.is_json() {
            Shows::Nothing // Among JSON it would be none.
        } else if arguments.nocapture || variable.is_some_and(|value| value != "0") {
            Shows::AsItComes
        } else if arguments.show_output {
            Shows::Passed
        } else {
            Shows::Nothing
        }
    }
}

/// What came of running a binary's tests apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Isolated {
    /// They were run, and their results shown.
    Reported { is_good: bool },
    /// The binary is asked for its options.
    Help,
    /// An argument that a whole binary may know.
    UnknownArgument(String),
    /// The program has no harness that is known to run tests by their names.
    NoHarness,
    /// The program does not list tests in libtest's way.
    NoList,
}

/// Runs all tests that the arguments select, and shows their results.
pub(crate) fn run(
    options: &RunnerOptions,
    program: &OsStr,
    arguments: &[OsString],
    reporter: &'static Reporter,
) -> anyhow::Result<Isolated> {
    let arguments = match LibtestArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return Ok(not_taken(&error)),
    };
    // Before anything runs: a pattern that is none is no test's fault.
    let watch = Watch::new(options.test.deny_skips.as_deref())?;
    // Asked for a list, any other would do all that it does, more than once.
    if !program::has_harness(Path::new(program)) {
        return Ok(Isolated::NoHarness);
    }
    let Some(tests) = list(&options.guest, program, &arguments)? else {
        return Ok(Isolated::NoList);
    };
    let binary = Arc::new(Binary {
        options: options.clone(),
        program: program.to_owned(),
        watch,
        results: Mutex::default(),
        shows: Shows::of(&arguments),
        behind: Mutex::default(),
    });
    let trials = tests.iter().map(|test| {
        let (its, binary) = (test.clone(), Arc::clone(&binary));
        let run = move || binary.run(&its, reporter);
        Trial::ignorable_test(test.name.clone(), run).with_ignored_flag(test.is_ignored)
    });
    let report = arguments.for_report()?;
    let end = {
        let binary = Arc::clone(&binary);
        move |error| binary.end_unshown(error, reporter)
    };
    let has_failed = broken_output::run(&report, trials.collect(), end).has_failed();
    taken(&binary.behind).show(reporter);
    if let Some(path) = &options.test.junit {
        let mut results = taken(&binary.results);
        results.extend(tests.into_iter().filter(|test| test.is_ignored).map(|test| TestResult {
            name: test.name,
            outcome: Outcome::Ignored,
            output: Vec::new(),
            took: Duration::ZERO,
        }));
        results.sort_by(|one, other| one.name.cmp(&other.name));
        junit::add(path, &record::binary(program), &results)
            .unwrap_or_else(|error| super::no_verdict(&error, reporter));
    }
    Ok(Isolated::Reported { is_good: !has_failed })
}

/// Why arguments are not for tests that are apart: another harness's, and those of libtest's that only a whole binary
/// can follow, are for the binary.
fn not_taken(error: &clap::Error) -> Isolated {
    if error.kind() == clap::error::ErrorKind::DisplayHelp {
        return Isolated::Help;
    }
    let argument = error.get(clap::error::ContextKind::InvalidArg);
    Isolated::UnknownArgument(argument.map_or_else(|| "given".to_owned(), ToString::to_string))
}

/// The tests that the arguments select; `None` where what the program lists is no list.
fn list(
    options: &GuestOptions,
    program: &OsStr,
    arguments: &LibtestArguments,
) -> anyhow::Result<Option<Vec<Listed>>> {
    let options = GuestOptions { keep: false, ..options.clone() };
    let guest = Guest::boot(&options, program)?;
    let names = |flags: &[&str]| -> anyhow::Result<Option<BTreeMap<String, u32>>> {
        let mut command = guest.command(program, &[]);
        command.args(flags).args(["--list", "--format", "terse"]).args(arguments.selection());
        let said = command.output()?;
        Ok(said.status.success().then(|| libtest::parse_list(&said.stdout)).flatten())
    };
    let all = match (arguments.ignored, arguments.include_ignored) {
        (true, _) => names(&["--ignored"])?,
        (false, true) => names(&["--include-ignored"])?,
        (false, false) => names(&[])?,
    };
    let Some(all) = all else { return Ok(None) };
    if all.is_empty() {
        // Silence may be that of a program that knows no lists. libtest has more to say than names, and others may
        // have other tests.
        let mut command = guest.command(program, &[]);
        let said = command.arg("--list").output()?;
        let lists = libtest::ends_a_list(&said.stdout)
            || libtest::parse_list(&said.stdout).is_some_and(|names| !names.is_empty());
        if !(said.status.success() && lists) {
            return Ok(None);
        }
    }
    let ignored = match arguments.ignored || arguments.include_ignored {
        true => BTreeMap::new(), // to be run all the same
        false => match names(&["--ignored"])? {
            Some(ignored) => ignored,
            None => return Ok(None),
        },
    };
    let listed = |(name, times): (String, u32)| {
        let is_ignored = ignored.get(&name) == Some(&times);
        iter::repeat_n(Listed { name, times, is_ignored }, times as usize)
    };
    Ok(Some(all.into_iter().flat_map(listed).collect()))
}

impl Binary {
    /// Ends this process, as nobody is left to read the results, or they can't be written.
    fn end_unshown(&self, error: io::Error, reporter: &Reporter) -> ! {
        let is_closed = error.kind() == io::ErrorKind::BrokenPipe;
        let error = anyhow::Error::from(error).context("could not write the results to stdout");
        whole::report_untried(&self.options, &self.program, format!("{error:#}"), reporter);
        if is_closed {
            ended::die_of(libc::SIGPIPE); // as `exec` ends then
        }
        super::no_verdict(&error, reporter)
    }

    /// Runs a test, and keeps its result.
    fn run(&self, test: &Listed, reporter: &Reporter) -> Result<Completion, Failed> {
        let name = &*test.name;
        let started = Instant::now();
        let (ended, Said { output, verdict, found }) = self.run_in_guest(name);
        let mut notes = Vec::new();
        let outcome = match ended {
            Ok(ended) => {
                notes.extend(ended.files().map(|note| format!("cargo uml: {name}: {note}")));
                judge(test, &ended, verdict, &found)
            }
            Err(error) => {
                let mut reason = vec![format!("{error:#}")];
                reason.extend(guest::console_of(&error));
                Outcome::Failed { word: ended::INFRASTRUCTURE, reason: reason.join("\n") }
            }
        };
        if let Outcome::Failed { reason, .. } = &outcome {
            notes.extend(annotation(name, reason, &found));
        }
        locked(&self.behind).notes.extend(notes);
        let result = TestResult { name: name.to_owned(), outcome, output, took: started.elapsed() };
        record::of(&self.options, &self.program, &result, reporter);
        let completion = self.completion(&result);
        if self.options.test.junit.is_some() {
            locked(&self.results).push(result);
        }
        completion
    }

    /// A result as it is shown, with what the test wrote, if that is to be and was not yet.
    fn completion(&self, result: &TestResult) -> Result<Completion, Failed> {
        let text = match self.shows {
            Shows::AsItComes => String::new(),
            Shows::Nothing | Shows::Passed => {
                String::from_utf8_lossy(&result.output).trim().to_owned()
            }
        };
        let completion = match &result.outcome {
            Outcome::Passed => Completion::Completed,
            Outcome::Ignored => Completion::ignored(),
            Outcome::Failed { reason, .. } if text.is_empty() => return Err(Failed::from(reason)),
            Outcome::Failed { reason, .. } => {
                return Err(Failed::from(format!("{reason}\n\n{text}")));
            }
        };
        if self.shows == Shows::Passed && !text.is_empty() {
            locked(&self.behind).passed.push((result.name.clone(), text));
        }
        Ok(completion)
    }

    fn run_in_guest(&self, name: &str) -> (anyhow::Result<Ended>, Said) {
        let guest = match Guest::boot(&self.options.guest, &self.program) {
            Ok(guest) => guest,
            Err(error) => return (Err(error), Said::default()),
        };
        // Not captured: what was written before a crash is there, and what children write. An ignored test is here
        // only if it is to run.
        let arguments = ["--exact", "--include-ignored", "--nocapture", "--test-threads=1"];
        let mut command = guest.command(&self.program, &arguments.map(OsString::from));
        command.args(libtest::last(&[name.into()]));
        let listener = Listener::new(name, self.watch.clone(), self.shows == Shows::AsItComes);
        let listener = Arc::new(Mutex::new(listener));
        if self.shows == Shows::AsItComes
            && self.watch.may_join_streams()
            && OutputStream::are_one_file()
        {
            command.stderr_to_stdout();
        }
        let theirs = Arc::clone(&listener);
        let result = command.stream(move |stream, data| {
            locked(&theirs).hear(stream, data);
            Ok(())
        });
        let said = locked(&listener).finish();
        (Ok(guest.end(result)), said)
    }
}

impl Behind {
    fn show(mut self, reporter: &Reporter) {
        if !self.passed.is_empty() {
            self.passed.sort();
            let one =
                |(name, text): &(String, String)| format!("---- {name} output ----\n{text}\n\n");
            let all: String = self.passed.iter().map(one).collect();
            // Nobody is left to be told.
            let _ = reporter.text(&format!("successes:\n\n{all}"));
        }
        for note in self.notes {
            reporter.note(note);
        }
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken<T: Default>(shared: &Mutex<T>) -> T {
    std::mem::take(&mut *locked(shared))
}

/// The annotation of a test that failed, where annotations are read.
fn annotation(name: &str, reason: &str, found: &Found) -> Option<String> {
    github::is_here().then(|| match found.panic_of(name) {
        Some(panic) => github::panic(panic),
        None => github::failure(name, reason),
    })
}

/// Why a success is none.
pub(super) fn skipped_itself(line: &str) -> String {
    format!("the test skipped itself: {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_whole_binaries_are_named() {
        let not_taken = |argument: &str| {
            not_taken(&LibtestArguments::try_parse_from([argument.to_owned()]).unwrap_err())
        };
        assert_eq!(not_taken("--help"), Isolated::Help);
        assert_eq!(not_taken("-h"), Isolated::Help);
        for argument in ["--report-time", "--shuffle", "--exclude-should-panic"] {
            assert_eq!(not_taken(argument), Isolated::UnknownArgument(argument.to_owned()));
        }
    }
}
