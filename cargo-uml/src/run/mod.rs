//! Programs that know nothing of uml-test, in guests: `exec`, and cargo's own commands with [`runner`] between cargo
//! and what it starts.

pub(crate) mod cargo;
mod guest;
mod options;
mod program;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use self::guest::{EXIT_NO_VERDICT, EXIT_NOT_EXECUTABLE};
use self::options::GuestOptions;
use self::program::Program;
use crate::report::Reporter;

#[derive(Debug, clap::Args)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    options: GuestOptions,
    /// The program, by its path or as the guest's PATH has it, and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    program: Vec<OsString>,
}

/// `cargo uml exec`: a program in a guest. Ends this process as the program ends.
pub(crate) fn exec(arguments: &ExecArguments, reporter: &Reporter) -> ! {
    let (program, rest) = split(arguments);
    let provided = match arguments.options.kernel {
        Some(_) => Ok(()),
        None => cargo::ensure_kernel(reporter),
    };
    match provided {
        Ok(()) => in_guest(&arguments.options, program, rest, reporter),
        Err(error) => no_verdict(&error, reporter),
    }
}

/// cargo's target runner: as `exec`, but for programs that drive guests themselves, for lists of tests, which are the
/// same on the host, and where this is a guest already.
pub(crate) fn runner(arguments: &ExecArguments, reporter: &Reporter) -> ! {
    let (program, rest) = split(arguments);
    let passed = match GuestOptions::passed() {
        Ok(passed) => passed,
        Err(error) => no_verdict(&error, reporter),
    };
    let options = passed.as_ref().unwrap_or(&arguments.options);
    if guest::is_here() {
        directly(program, rest, &[], reporter);
    }
    match Program::of(Path::new(program)) {
        Ok(Program::Foreign(reason)) => {
            reporter.note(format_args!("cargo uml: can't run {}: {reason}", program.display()));
            std::process::exit(EXIT_NOT_EXECUTABLE.into())
        }
        Ok(Program::DrivesGuests) => {
            if options.timeout.is_some() || !options.rw_dir.is_empty() || !options.env.is_empty() {
                reporter.note(format_args!(
                    "cargo uml: {} boots guests of its own, for which --timeout, --rw-dir and --env do not hold",
                    program.display()
                ));
            }
            directly(program, rest, &options.to_variables(), reporter)
        }
        Ok(Program::ForAGuest) if is_list(Path::new(program), rest) => {
            directly(program, rest, &[], reporter)
        }
        // That it can't be read, the guest says too.
        Ok(Program::ForAGuest) | Err(_) => in_guest(options, program, rest, reporter),
    }
}

fn split(arguments: &ExecArguments) -> (&OsStr, &[OsString]) {
    match &arguments.program[..] {
        [program, rest @ ..] => (program, rest),
        [] => (OsStr::new(""), &[]), // clap requires one
    }
}

/// Whether a test binary, which cargo puts into `deps`, is asked for its tests in libtest's words, and starts none.
fn is_list(program: &Path, arguments: &[OsString]) -> bool {
    const PLAIN: [&str; 5] = ["--list", "--ignored", "--include-ignored", "--exact", "--nocapture"];
    const WITH_VALUE: [&str; 3] = ["--format", "--skip", "-Z"];
    let is_test = program.parent().and_then(Path::file_name).is_some_and(|dir| dir == "deps");
    let mut rest = arguments.iter().map(|argument| argument.to_string_lossy());
    let mut known = true;
    while let Some(argument) = rest.next() {
        if WITH_VALUE.contains(&&*argument) {
            rest.next();
        } else if argument.starts_with('-') {
            let name = argument.split('=').next().unwrap_or_default();
            known &= PLAIN.contains(&name) || WITH_VALUE.contains(&name);
        }
    }
    is_test && known && arguments.iter().any(|argument| argument == "--list")
}

fn no_verdict(error: &anyhow::Error, reporter: &Reporter) -> ! {
    reporter.error(error);
    std::process::exit(EXIT_NO_VERDICT.into())
}

fn in_guest(
    options: &GuestOptions,
    program: &OsStr,
    arguments: &[OsString],
    reporter: &Reporter,
) -> ! {
    match guest::run(options, program, arguments) {
        Ok(ended) => ended.pass_on(reporter),
        Err(error) => no_verdict(&error, reporter),
    }
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
    std::process::exit(EXIT_NO_VERDICT.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_of_tests_are_taken_for_such() {
        let is = |program: &str, arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            is_list(Path::new(program), &arguments)
        };
        let test = "/x/target/debug/deps/x-0123456789abcdef";
        assert!(is(test, &["--list", "--format", "terse"]));
        assert!(is(test, &["--list", "--format=terse", "--ignored", "a_filter"]));
        assert!(!is(test, &["--format", "--list-of"]) && !is(test, &["a"]) && !is(test, &[]));
        assert!(!is(test, &["--list", "--flush"]), "no option of libtest's");
        assert!(!is("/x/target/debug/tool", &["--list"]), "no test binary");
    }
}
