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
    in_guest(&arguments.options, program, rest, reporter)
}

/// cargo's target runner: as `exec`, but for programs that drive guests themselves, for lists of tests, which are the
/// same on the host, and where this is a guest already.
pub(crate) fn runner(arguments: &ExecArguments, reporter: &Reporter) -> ! {
    let (program, rest) = split(arguments);
    if guest::is_here() {
        directly(program, rest, reporter);
    }
    match Program::of(Path::new(program)) {
        Ok(Program::Foreign(reason)) => {
            reporter.note(format_args!("cargo uml: can't run {}: {reason}", program.display()));
            std::process::exit(EXIT_NOT_EXECUTABLE.into())
        }
        Ok(Program::DrivesGuests) => directly(program, rest, reporter),
        Ok(Program::ForAGuest) if is_list(rest) => directly(program, rest, reporter),
        // That it can't be read, the guest says too.
        Ok(Program::ForAGuest) | Err(_) => match GuestOptions::passed() {
            Ok(passed) => {
                let options = passed.as_ref().unwrap_or(&arguments.options);
                in_guest(options, program, rest, reporter)
            }
            Err(error) => {
                reporter.error(&error);
                std::process::exit(EXIT_NO_VERDICT.into())
            }
        },
    }
}

fn split(arguments: &ExecArguments) -> (&OsStr, &[OsString]) {
    match &arguments.program[..] {
        [program, rest @ ..] => (program, rest),
        [] => (OsStr::new(""), &[]), // clap requires one
    }
}

/// Whether a test binary is asked for its tests, and starts none.
fn is_list(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--list")
}

fn in_guest(
    options: &GuestOptions,
    program: &OsStr,
    arguments: &[OsString],
    reporter: &Reporter,
) -> ! {
    match guest::run(options, program, arguments) {
        Ok(ended) => ended.pass_on(reporter),
        Err(error) => {
            reporter.error(&error);
            std::process::exit(EXIT_NO_VERDICT.into())
        }
    }
}

fn directly(program: &OsStr, arguments: &[OsString], reporter: &Reporter) -> ! {
    let error = Command::new(program).args(arguments).exec();
    reporter.note(format_args!("cargo uml: could not run {}: {error}", program.display()));
    std::process::exit(EXIT_NO_VERDICT.into())
}
