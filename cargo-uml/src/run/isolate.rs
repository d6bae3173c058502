//! A test binary's tests, each in a guest of its own, without nextest.
//!
//! The binary lists its tests in one guest, as nextest has it do on the host; then each is run by its exact name. The
//! report and its options are libtest-mimic's, which are libtest's.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
#[cfg(test)]
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use libtest_mimic::{Completion, Failed, Trial};
use uml_test::OutputStream;

use super::ended::{self, Ended, How};
use super::github;
use super::guest::{self, Guest};
use super::libtest::{self, LibtestArguments, Verdict};
use super::options::{GuestOptions, RunnerOptions};
use super::own_output::OwnOutput;
use super::watch::{Found, Watch};
use super::{junit, program, record};
use crate::report::Reporter;

/// How much of a test's output is kept: so many bytes of its beginning, and so many of its end.
const KEPT: usize = 1 << 20;

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
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    is_ignored: bool,
}

/// A test binary whose tests are to be apart.
struct Binary {
    options: RunnerOptions,
    program: OsString,
    /// For each test one that has seen nothing yet: its patterns take longer to make than some tests run.
    watch: Watch,
    /// What the tests that were run came to.
    results: Mutex<Vec<TestResult>>,
    shows: Shows,
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
    });
    let trials = tests.iter().map(|test| {
        let (name, binary) = (test.name.clone(), Arc::clone(&binary));
        let run = move || binary.run(&name, reporter);
        Trial::ignorable_test(test.name.clone(), run).with_ignored_flag(test.is_ignored)
    });
    let report = arguments.for_report()?;
    let has_failed = libtest_mimic::run(&report, trials.collect()).has_failed();
    if let Some(path) = &options.test.junit {
        let mut results =
            std::mem::take(&mut *binary.results.lock().unwrap_or_else(PoisonError::into_inner));
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
    let names = |flags: &[&str]| -> anyhow::Result<Option<BTreeSet<String>>> {
        let mut command = guest.command(program, &arguments.selection());
        let said = command.args(flags).args(["--list", "--format", "terse"]).output()?;
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
        true => BTreeSet::new(), // to be run all the same
        false => match names(&["--ignored"])? {
            Some(ignored) => ignored,
            None => return Ok(None),
        },
    };
    let listed = |name: String| Listed { is_ignored: ignored.contains(&name), name };
    Ok(Some(all.into_iter().map(listed).collect()))
}

impl Binary {
    /// Runs a test, and keeps its result.
    fn run(&self, name: &str, reporter: &Reporter) -> Result<Completion, Failed> {
        let started = Instant::now();
        let (ended, Said { output, verdict, found }) = self.run_in_guest(name);
        let outcome = match ended {
            Ok(ended) => {
                ended.tell_files(reporter);
                judge(name, &ended, verdict, &found)
            }
            Err(error) => {
                let mut reason = vec![format!("{error:#}")];
                reason.extend(guest::console_of(&error));
                Outcome::Failed { word: ended::INFRASTRUCTURE, reason: reason.join("\n") }
            }
        };
        let result = TestResult { name: name.to_owned(), outcome, output, took: started.elapsed() };
        let text = match self.shows {
            Shows::AsItComes => String::new(), // It has been shown.
            Shows::Nothing | Shows::Passed => {
                String::from_utf8_lossy(&result.output).trim().to_owned()
            }
        };
        let shown = match &result.outcome {
            Outcome::Passed | Outcome::Ignored => {
                if self.shows == Shows::Passed && !text.is_empty() {
                    let _ = reporter.text(&format!("---- {name} output ----\n{text}\n"));
                }
                Ok(match result.outcome {
                    Outcome::Ignored => Completion::ignored(),
                    _ => Completion::Completed,
                })
            }
            Outcome::Failed { reason, .. } => {
                annotate(name, reason, &found, reporter);
                match text.is_empty() {
                    true => Err(Failed::from(reason)),
                    false => Err(Failed::from(format!("{reason}\n\n{text}"))),
                }
            }
        };
        record::of(&self.options, &self.program, &result, reporter);
        self.results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        shown
    }

    fn run_in_guest(&self, name: &str) -> (anyhow::Result<Ended>, Said) {
        let guest = match Guest::boot(&self.options.guest, &self.program) {
            Ok(guest) => guest,
            Err(error) => return (Err(error), Said::default()),
        };
        // Not captured: what was written before a crash is there, and what children write. An ignored test is here
        // only if it is to run.
        let arguments = ["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"];
        let mut command = guest.command(&self.program, &arguments.map(OsString::from));
        let listener = Listener::new(name, self.watch.clone(), self.shows == Shows::AsItComes);
        let listener = Arc::new(Mutex::new(listener));
        if self.shows == Shows::AsItComes && OutputStream::are_one_file() {
            command.stderr_to_stdout();
        }
        let theirs = Arc::clone(&listener);
        let result = command.stream(move |stream, data| {
            theirs.lock().unwrap_or_else(PoisonError::into_inner).hear(stream, data);
            Ok(())
        });
        let said = listener.lock().unwrap_or_else(PoisonError::into_inner).finish();
        (guest.end(result), said)
    }
}

/// What a test's output came to.
#[derive(Default)]
struct Said {
    /// Its own.
    output: Vec<u8>,
    /// What its harness said last.
    verdict: Option<Verdict>,
    found: Found,
}

/// Takes all that a test and its harness write.
struct Listener {
    watch: Watch,
    own: OwnOutput,
    kept: Kept,
    /// Whether the test's own output is shown at once.
    shows: bool,
}

impl Listener {
    fn new(test: &str, watch: Watch, shows: bool) -> Self {
        Listener { watch, own: OwnOutput::of(test), kept: Kept::default(), shows }
    }

    fn hear(&mut self, stream: OutputStream, data: &[u8]) {
        let Listener { watch, own, kept, shows } = self;
        watch.see(stream, data);
        own.see(stream, data, &mut |stream, line| kept.take(stream, line, *shows));
    }

    fn finish(&mut self) -> Said {
        let Listener { watch, own, kept, shows } = self;
        let verdict = own.finish(&mut |stream, line| kept.take(stream, line, *shows));
        Said { output: kept.all(), verdict, found: watch.finish() }
    }
}

fn annotate(name: &str, reason: &str, found: &Found, reporter: &Reporter) {
    if !github::is_here() {
        return;
    }
    match found.panic_of(name) {
        Some(panic) => reporter.note(github::panic(panic)),
        None => reporter.note(github::failure(name, reason)),
    }
}

/// What a test's run says. Its harness has to have said so too: a body that ends its process with code 0 has not passed.
fn judge(name: &str, ended: &Ended, verdict: Option<Verdict>, found: &Found) -> Outcome {
    let failed = |reason: String| Outcome::Failed { word: ended.word(), reason };
    let mut reasons = ended.explain();
    let How::Itself { status, .. } = &ended.how else { return failed(reasons.join("\n")) };
    if let Some(signal) = status.signal() {
        reasons.insert(0, format!("the test binary was killed by signal {signal}"));
        return failed(reasons.join("\n"));
    }
    match (status.code(), verdict) {
        (Some(0), Some(verdict)) if verdict.passed == 1 && verdict.failed == 0 => {
            match found.skips.first() {
                Some(line) => failed(skipped_itself(line)),
                None => Outcome::Passed,
            }
        }
        // By its own decision, as it was not listed so.
        (Some(0), Some(Verdict { passed: 0, failed: 0, ignored: 1 })) => {
            match found.skips.first() {
                Some(line) => failed(skipped_itself(line)),
                None => Outcome::Ignored,
            }
        }
        (Some(0), Some(verdict)) if verdict == Verdict::default() => {
            failed("the test binary listed this test and did not run it".to_owned())
        }
        (Some(101), Some(verdict)) if verdict.failed == 1 => match found.panic_of(name) {
            Some(panic) => failed(panic.message.clone()),
            None => failed("the test failed".to_owned()),
        },
        (code, _) => {
            let code = code.unwrap_or_default();
            failed(format!("the test binary exited with code {code} before the test's end"))
        }
    }
}

/// Why a success is none.
pub(super) fn skipped_itself(line: &str) -> String {
    format!("the test skipped itself: {line}")
}

/// A test's output: its beginning, and its end.
#[derive(Debug, Default)]
struct Kept {
    beginning: Vec<u8>,
    end: VecDeque<u8>,
    lost: usize,
}

impl Kept {
    fn take(&mut self, stream: OutputStream, data: &[u8], shows: bool) {
        if shows {
            // Nobody is left to be told.
            let _ = stream.write_all(data);
        }
        let (first, rest) = data.split_at(data.len().min(KEPT - self.beginning.len()));
        self.beginning.extend(first);
        self.end.extend(rest);
        let more = self.end.len().saturating_sub(KEPT);
        self.end.drain(..more);
        self.lost += more;
    }

    fn all(&self) -> Vec<u8> {
        let mut all = self.beginning.clone();
        if self.lost > 0 {
            all.extend(format!("\n[{} bytes are left out here]\n", self.lost).bytes());
        }
        all.extend(&self.end);
        all
    }
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

    fn ended(raw: i32) -> Ended {
        let status = ExitStatus::from_raw(raw);
        Ended::of(How::Itself { status, is_out_of_memory: false })
    }

    fn judged(raw: i32, stdout: &str) -> Outcome {
        let mut listener = Listener::new("a", Watch::new(Some("")).unwrap(), false);
        listener.hear(OutputStream::Stdout, stdout.as_bytes());
        let Said { verdict, found, .. } = listener.finish();
        judge("a", &ended(raw), verdict, &found)
    }

    #[test]
    fn only_what_the_harness_saw_to_its_end_has_passed() {
        const PASSED: &str = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s\n\n";
        assert_eq!(judged(0, PASSED), Outcome::Passed);
        let failed = |raw: i32, stdout: &str, says: &str| match judged(raw, stdout) {
            Outcome::Failed { reason, .. } => assert!(reason.contains(says), "{reason}"),
            other => panic!("{stdout}: {other:?}"),
        };
        failed(0, "running 1 test\ntest a ... ", "code 0 before");
        assert_eq!(judged(0, &format!("{PASSED}and more\n")), Outcome::Passed, "a daemon's");
        let ignored = PASSED.replace("1 passed", "0 passed").replace("0 ignored", "1 ignored");
        assert_eq!(judged(0, &ignored), Outcome::Ignored, "by its own decision");
        let said = ignored.replace("... ok", "... ignored (requires root)");
        failed(0, &said, "requires root");
        failed(11, PASSED, "signal 11");
        failed(7 << 8, PASSED, "code 7");
        failed(0, &PASSED.replace("1 passed", "0 passed"), "did not run it");
        failed(0, &PASSED.replace("... ok", "... skipping: requires root\nok"), "requires root");
        failed(
            101 << 8,
            "thread 'a' panicked at x.rs:1:1:\nno good\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out",
            "no good",
        );
        // Not a panic that it has caught, nor one of another thread.
        failed(
            101 << 8,
            "thread 'b' panicked at x.rs:1:1:\nfirst\nthread 'a' panicked at x.rs:2:1:\ncaught\n\
             thread 'a' panicked at x.rs:3:1:\nmeant\nthread 'b' panicked at x.rs:1:1:\nlast\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out",
            "meant",
        );
    }

    #[test]
    fn output_without_end_is_cut_in_its_middle() {
        let mut kept = Kept::default();
        for letter in [b'A', b'B', b'C'] {
            kept.take(OutputStream::Stderr, &vec![letter; KEPT], false);
        }
        let all = kept.all();
        assert!(all.starts_with(b"AA") && all.ends_with(b"CC") && !all.contains(&b'B'));
        assert!(String::from_utf8(all).unwrap().contains("[1048576 bytes are left out here]"));
    }
}
