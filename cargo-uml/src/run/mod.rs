//! Programs that know nothing of uml-test, in guests: `exec`, `shell`, and cargo's own commands with [`runner`] between
//! cargo and what it starts.

pub(crate) mod cargo;
mod github;
mod guest;
mod isolate;
mod junit;
mod libtest;
mod options;
mod own_output;
mod parent;
mod profiles;
pub(crate) mod program;
mod record;
mod terminal;
mod watch;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use self::guest::{EXIT_NO_VERDICT, EXIT_NOT_EXECUTABLE, Ended, Streams};
use self::isolate::{Isolated, Outcome};
use self::options::{GuestOptions, RunnerOptions, TestOptions};
use self::program::Program;
use self::watch::{Found, Watch};
use crate::report::Reporter;

#[derive(Debug, clap::Args)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    options: GuestOptions,
    #[command(flatten)]
    program: ProgramArguments,
}

#[derive(Debug, clap::Args)]
struct ProgramArguments {
    /// The program, by its path or as the guest's PATH has it, and its arguments
    // A first word with a hyphen is an option, or a mistyped one.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl ProgramArguments {
    fn split(&self) -> (&OsStr, &[OsString]) {
        match &self.program[..] {
            [program, rest @ ..] => (program, rest),
            [] => (OsStr::new(""), &[]), // clap requires one
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunnerArguments {
    #[command(flatten)]
    options: RunnerOptions,
    #[command(flatten)]
    program: ProgramArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShellArguments {
    #[command(flatten)]
    options: GuestOptions,
    /// Arguments of the shell, behind a `--` if the first has a hyphen
    #[arg(trailing_var_arg = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// The shell where nobody says which.
const SHELL: &str = "/bin/sh";

/// The exit code of a test binary with failed tests.
const EXIT_TESTS_FAILED: i32 = 101;

/// `cargo uml shell`: the user's shell in a guest. Ends this process as the shell ends.
pub(crate) fn shell(arguments: &ShellArguments, reporter: &Reporter) -> ! {
    let shell = std::env::var_os("SHELL").filter(|shell| Path::new(shell).is_absolute());
    let shell = shell.unwrap_or_else(|| SHELL.into());
    let streams = match terminal::is_here() {
        true => Streams::Terminal,
        false => Streams::Passed,
    };
    let options = &arguments.options;
    let run = || {
        if options.kernel.is_none() {
            cargo::ensure_kernel(reporter)?;
        }
        guest::run(options, &shell, &arguments.arguments, &[], streams)
    };
    match run() {
        Ok((ended, _)) => ended.pass_on(reporter),
        Err(error) => no_verdict(&error, reporter),
    }
}

/// `cargo uml exec`: a program in a guest. Ends this process as the program ends.
pub(crate) fn exec(arguments: &ExecArguments, reporter: &Reporter) -> ! {
    let (program, rest) = arguments.program.split();
    let provided = match arguments.options.kernel {
        Some(_) => Ok(()),
        None => cargo::ensure_kernel(reporter),
    };
    let ended =
        provided.and_then(|()| guest::run(&arguments.options, program, rest, &[], Streams::Passed));
    match ended {
        Ok((ended, _)) => ended.pass_on(reporter),
        Err(error) => no_verdict(&error, reporter),
    }
}

/// cargo's target runner: as `exec`, but for programs that drive guests themselves, for lists of tests, which are the
/// same on the host, and where this is a guest already.
pub(crate) fn runner(arguments: &RunnerArguments, reporter: &'static Reporter) -> ! {
    let (program, rest) = arguments.program.split();
    let passed = match RunnerOptions::passed() {
        Ok(passed) => passed,
        Err(error) => no_verdict(&error, reporter),
    };
    // What is passed has been made absolute.
    let options = match passed.clone() {
        Some(passed) => Ok(passed),
        None => arguments.options.clone().absolute(),
    };
    let options = match &options {
        Ok(options) => options,
        Err(_) => no_verdict(&anyhow::anyhow!("no working directory"), reporter),
    };
    if passed.is_none() && options.test.junit.is_some() {
        // Each binary adds to the report, and nobody here knows which is the first.
        no_verdict(&anyhow::anyhow!("--junit is an option of `cargo uml test`"), reporter);
    }
    if uml_test::Host::is_guest() {
        directly(program, rest, &[], reporter);
    }
    match Program::of(Path::new(program)) {
        Ok(Program::Foreign(reason)) => {
            let reason = format!("can't run {}: {reason}", program.display());
            reporter.note(format_args!("cargo uml: {reason}"));
            report_untried(options, program, reason, reporter);
            std::process::exit(EXIT_NOT_EXECUTABLE.into())
        }
        Ok(Program::DrivesGuests) => {
            let without = options.without_effect();
            if !without.is_empty() {
                reporter.note(format_args!(
                    "cargo uml: {} boots guests of its own, for which {} does not hold",
                    program.display(),
                    without.join(", ")
                ));
            }
            directly(program, rest, &options.guest.to_variables(), reporter)
        }
        // Of a harness that knows no lists the body would run.
        Ok(Program::ForAGuest)
            if is_test(Path::new(program))
                && libtest::is_list(rest)
                && program::has_harness(Path::new(program)) =>
        {
            directly(program, rest, &[], reporter)
        }
        // That it can't be read, the guest says too.
        Ok(Program::ForAGuest) | Err(_) => {
            parent::end_with_it(reporter);
            let ran = if options.test.isolate && is_test(Path::new(program)) {
                isolated(options, program, rest, reporter)
            } else {
                whole(options, program, rest, reporter)
            };
            match ran {
                Ok(never) => match never {},
                Err(error) => {
                    report_untried(options, program, format!("{error:#}"), reporter);
                    no_verdict(&error, reporter)
                }
            }
        }
    }
}

/// Runs a test binary's tests apart, or if that can't be, together. Returns only why nothing is known of them.
fn isolated(
    options: &RunnerOptions,
    program: &OsStr,
    arguments: &[OsString],
    reporter: &'static Reporter,
) -> anyhow::Result<Infallible> {
    let name = program.display();
    match isolate::run(options, program, arguments, reporter)? {
        Isolated::Reported { is_good: true } => std::process::exit(0),
        Isolated::Reported { is_good: false } => std::process::exit(EXIT_TESTS_FAILED),
        // It answers, and runs no tests.
        Isolated::Help => {}
        Isolated::UnknownArgument(argument) => reporter.note(format_args!(
            "cargo uml: --isolate can't take the argument {argument} of a test binary; one guest for all of {name}"
        )),
        Isolated::NoHarness => reporter.note(format_args!(
            "cargo uml: {name} has neither libtest nor libtest-mimic in it; one guest for all of it"
        )),
        Isolated::NoList => reporter.note(format_args!(
            "cargo uml: {name} does not list its tests as libtest does; one guest for all of it"
        )),
    }
    whole(options, program, arguments, reporter)
}

/// Runs a program in one guest, and ends this process as it ends. Returns only why that is not known.
fn whole(
    options: &RunnerOptions,
    program: &OsStr,
    arguments: &[OsString],
    reporter: &Reporter,
) -> anyhow::Result<Infallible> {
    let started = Instant::now();
    let (ended, found) = watched(options, program, arguments)?;
    record::of_run(options, program, arguments, &ended, &found, started, reporter);
    let outcome = isolate::outcome_of_whole(&ended, found.denied(&options.test));
    report(options, program, outcome, started.elapsed())?;
    conclude(ended, &found, &options.test, reporter)
}

/// Adds a test binary that was run whole to the JUnit report, if there is to be one.
fn report(
    options: &RunnerOptions,
    program: &OsStr,
    outcome: Outcome,
    took: Duration,
) -> anyhow::Result<()> {
    match &options.test.junit {
        Some(path) if is_test(Path::new(program)) => {
            isolate::add_whole(path, program, outcome, took)
        }
        _ => Ok(()),
    }
}

/// Has the JUnit report say of a test binary that it was not run: one without it would look good.
fn report_untried(options: &RunnerOptions, program: &OsStr, reason: String, reporter: &Reporter) {
    let outcome = Outcome::Failed { word: guest::INFRASTRUCTURE, reason };
    if let Err(error) = report(options, program, outcome, Duration::ZERO) {
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
    if denied.is_none() && !github::is_here() && !record::is_wanted() {
        return guest::run(&options.guest, program, arguments, &[], Streams::Passed);
    }
    // libtest does not show what passing tests wrote, which is what tells.
    let variables: &[_] = if denied.is_some() { &[("RUST_TEST_NOCAPTURE", "1")] } else { &[] };
    let streams = Streams::Watched(Box::new(Watch::new(denied)?));
    guest::run(&options.guest, program, arguments, variables, streams)
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
            std::process::exit(EXIT_TESTS_FAILED);
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
    let counts =
        |panic: &&watch::Panic| found.failed.is_empty() || found.failed.contains(&panic.thread);
    let panics: Vec<&watch::Panic> = found.panics.iter().filter(counts).collect();
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

/// Whether cargo built this as a test binary: those lie in `deps`, and those of examples in `examples`, where their
/// name's hash tells them from the examples themselves. Newer cargos have all that they build in
/// `build/PACKAGE/HASH/out`, and run nothing else from there.
fn is_test(program: &Path) -> bool {
    fn name(path: &Path) -> &str {
        path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }
    let is_hash =
        |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_hash = || name(program).rsplit_once('-').is_some_and(|(_, hash)| is_hash(hash));
    match program.ancestors().skip(1).map(name).collect::<Vec<_>>()[..] {
        ["deps", ..] => true,
        ["examples", ..] => has_hash(),
        ["out", hash, _package, "build", ..] => is_hash(hash),
        _ => false,
    }
}

fn no_verdict(error: &anyhow::Error, reporter: &Reporter) -> ! {
    reporter.error(error);
    if let Some(note) = guest::console_of(error) {
        reporter.note(format_args!("cargo uml: {note}"));
    }
    std::process::exit(EXIT_NO_VERDICT.into())
}

/// Becomes the program, for which cargo is as ever.
fn directly(
    program: &OsStr,
    arguments: &[OsString],
    settings: &[(&str, String)],
    reporter: &Reporter,
) -> ! {
    let mut command = Command::new(program);
    for name in cargo::variables() {
        command.env_remove(name);
    }
    let error = command.args(arguments).envs(settings.iter().cloned()).exec();
    reporter.note(format_args!("cargo uml: could not run {}: {error}", program.display()));
    std::process::exit(guest::exit_code_of(Errno::try_from(error).unwrap_or(Errno::EIO)).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::guest::How;
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

    #[test]
    fn test_binaries_are_told_by_their_place() {
        assert!(is_test(Path::new("/x/target/debug/deps/x-0123456789abcdef")));
        assert!(is_test(Path::new("/x/target/debug/examples/x-y-0123456789abcdef")));
        assert!(is_test(Path::new("/t/debug/build/x/0123456789abcdef/out/x-0123456789abcdef")));
        for other in [
            "/x/target/debug/x",
            "x",
            "/x/examples/x",
            "/x/x-0123456789abcdef",
            "/x/build/x/out/x-0123456789abcdef",
        ] {
            assert!(!is_test(Path::new(other)), "{other}");
        }
    }
}
