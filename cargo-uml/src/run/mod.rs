//! Programs that know nothing of uml-test, in guests: `exec`, `shell`, and cargo's own commands with [`runner`] between
//! cargo and what it starts.

mod broken_output;
pub(crate) mod cargo;
pub(crate) mod command_line;
mod doctests;
mod ended;
mod github;
mod guest;
mod isolate;
mod judge;
mod junit;
mod libtest;
mod listener;
mod merged_doctests;
mod options;
mod own_output;
mod parent;
mod profiles;
pub(crate) mod program;
mod record;
pub(crate) mod target;
mod terminal;
mod watch;
mod whole;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nix::errno::Errno;
use nix::unistd::Uid;

use self::guest::Streams;
use self::isolate::Isolated;
use self::options::{GuestOptions, RunnerOptions};
use self::program::Program;
use crate::error::{EXIT_HARNESS_FAILED, EXIT_NOT_EXECUTABLE};
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
        cargo::ensure_kernel(options, reporter)?;
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
    if let Some(file) = program::path_of(program)
        && let Ok(Program::Foreign(reason)) = Program::of(&file)
    {
        refuse(program, &reason, reporter);
    }
    let options = &arguments.options;
    let ended = cargo::ensure_kernel(options, reporter)
        .and_then(|()| guest::run(options, program, rest, &[], Streams::Passed));
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
        None => arguments.options.clone().absolute().context("no working directory"),
    };
    let options = &options.unwrap_or_else(|error| no_verdict(&error, reporter));
    if passed.is_none() && options.test.junit.is_some() {
        // Each binary adds to the report, and nobody here knows which is the first.
        no_verdict(&anyhow::anyhow!("--junit is an option of `cargo uml test`"), reporter);
    }
    if uml_test::Host::is_guest() {
        directly(program, rest, &[], reporter);
    }
    match Program::of(Path::new(program)) {
        Ok(Program::Foreign(reason)) => {
            whole::report_untried(options, program, format!("can't run it: {reason}"), reporter);
            refuse(program, &reason, reporter)
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
            if !Uid::effective().is_root() && is_whole_run(program, rest) {
                reporter.note(format_args!(
                    "cargo uml: {} boots guests for its `#[uml_test]`s; plain `#[test]`s in it run on this host, as its \
                     ordinary user",
                    program.display()
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
                whole::run(options, program, rest, reporter)
            };
            match ran {
                Ok(never) => match never {},
                Err(error) => {
                    whole::report_untried(options, program, format!("{error:#}"), reporter);
                    no_verdict(&error, reporter)
                }
            }
        }
    }
}

/// Whether this is the run of a test binary, and not of one test or to list them.
fn is_whole_run(program: &OsStr, arguments: &[OsString]) -> bool {
    is_test(Path::new(program))
        && !libtest::is_list(arguments)
        && record::the_one_test(arguments).is_none()
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
        Isolated::Reported { is_good: false } => std::process::exit(EXIT_HARNESS_FAILED.into()),
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
    whole::run(options, program, arguments, reporter)
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

/// Says why no guest executes a program.
fn refuse(program: &OsStr, reason: &str, reporter: &Reporter) -> ! {
    reporter.note(format_args!("cargo uml: can't run {}: {reason}", program.display()));
    std::process::exit(EXIT_NOT_EXECUTABLE.into())
}

fn no_verdict(error: &anyhow::Error, reporter: &Reporter) -> ! {
    reporter.error(error);
    if let Some(note) = guest::console_of(error) {
        reporter.note(format_args!("cargo uml: {note}"));
    }
    std::process::exit(ended::exit_code(error).into())
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
    command.envs(merged_doctests::variable(program));
    let error = command.args(arguments).envs(settings.iter().cloned()).exec();
    reporter.note(format_args!("cargo uml: could not run {}: {error}", program.display()));
    std::process::exit(ended::exit_code_of(Errno::try_from(error).unwrap_or(Errno::EIO)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
