//! cargo, with this program as what it starts programs with (its target runner).

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use uml_test::{Host, KernelError};

use super::command_line::{MANIFEST_PATH, cargos_own, package_of, values_of};
use super::junit;
use super::options::{GuestOptions, RunnerOptions, VARIABLE};
use super::{doctests, parent, target};
use crate::command::setup;
use crate::kernel::cache::Cache;
use crate::report::Reporter;
use crate::{package, process};

/// cargo as it was called, or as PATH has it.
pub(crate) fn command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Becomes `cargo SUBCOMMAND ARGUMENTS`; returns only why that was not possible.
pub(crate) fn run(
    subcommand: &str,
    arguments: Vec<OsString>,
    reporter: &Reporter,
) -> anyhow::Result<Infallible> {
    let (options, arguments) =
        RunnerOptions::extract(subcommand, arguments).unwrap_or_else(|error| error.exit());
    let options = options.absolute().context("no working directory")?;
    let own = cargos_own(subcommand, &arguments);
    ensure!(
        subcommand == "test" || !options.test.isolate,
        "--isolate is for `cargo uml test`{}",
        if subcommand == "nextest" {
            "; nextest gives each test a kernel, and writes JUnit itself"
        } else {
            ""
        }
    );
    options.check()?;
    let may_start = may_start_programs(subcommand, own);
    if may_start {
        target::check(own)?;
    }
    if let Some(report) = &options.test.junit {
        junit::begin(report)?;
    }
    if may_start {
        doctests::warn(subcommand, own, reporter);
        let package = package_of(own)?;
        if is_kernel_missing(&options.guest, &package)? && has_something_to_run(own) {
            provide_kernel(reporter)?;
        }
    }
    let become_it = |mut cargo: Command| -> anyhow::Result<io::Error> {
        // Variables: an option of cargo's can't replace a runner in a configuration file that is of another form.
        set_runner(&mut cargo, &options)?;
        Ok(cargo.arg(subcommand).args(&arguments).exec())
    };
    let mut error = become_it(command())?;
    // nextest runs an archive where there is no cargo.
    if error.kind() == io::ErrorKind::NotFound && subcommand == "nextest" {
        error = become_it(Command::new("cargo-nextest"))?;
    }
    Err(error).context("could not run cargo")
}

/// Has what `cargo` starts run in guests with this kernel; with `isolate` each test of a binary by itself.
pub(crate) fn with_kernel(cargo: &mut Command, kernel: &Path, isolate: bool) -> anyhow::Result<()> {
    let kernel = kernel.to_str().with_context(|| format!("{} is no UTF-8", kernel.display()))?;
    let mut options = RunnerOptions::default();
    options.guest.kernel = Some(kernel.to_owned());
    options.test.isolate = isolate;
    set_runner(cargo, &options)
}

/// Has `cargo` start programs with this program.
fn set_runner(cargo: &mut Command, options: &RunnerOptions) -> anyhow::Result<()> {
    let runner = format!("{} runner", this_program()?);
    for name in target::runner_variables() {
        cargo.env(name, &runner);
    }
    parent::pass_by(cargo);
    options.pass_by(cargo)
}

/// Whether cargo may start programs on this command line, if only to have them list their tests.
fn may_start_programs(subcommand: &str, own: &[OsString]) -> bool {
    /// With one of these nothing is run.
    const TELLING: [&str; 5] = ["--no-run", "--help", "-h", "--version", "-V"];
    const OTHERS: [(&str, &[&str]); 2] = [
        ("nextest", &["archive", "show-config", "self", "help"]),
        ("llvm-cov", &["report", "show-env", "clean", "help"]),
    ];
    let is_other = |word: &OsString| {
        OTHERS
            .iter()
            .any(|(of, words)| *of == subcommand && words.iter().any(|other| word == other))
    };
    let only_tells = |argument: &OsString| TELLING.iter().any(|option| argument == option);
    !(own.first().is_some_and(is_other) || own.iter().any(only_tells))
}

/// The variables that are set for cargo and its runner.
pub(super) fn variables() -> impl Iterator<Item = String> {
    target::runner_variables().chain([VARIABLE, parent::VARIABLE].map(str::to_owned))
}

/// Whether cargo finds a package here, or brings its programs along: what it complains of needs no kernel first.
fn has_something_to_run(own: &[OsString]) -> bool {
    const BRING_PROGRAMS: [&str; 2] = ["--archive-file", "--binaries-metadata"];
    if BRING_PROGRAMS.iter().any(|option| !values_of(own, option).is_empty()) {
        return true;
    }
    let mut cargo = command();
    cargo.args(["locate-project", "--quiet"]);
    for manifest in values_of(own, MANIFEST_PATH) {
        cargo.arg(MANIFEST_PATH).arg(manifest);
    }
    // Where cargo can't be asked it will not run either.
    cargo.output().is_ok_and(|found| found.status.success())
}

/// Whether a kernel would have to be built first for guests with these options and this package's settings. What else is
/// wrong, the guest will say.
fn is_kernel_missing(options: &GuestOptions, package: &Path) -> anyhow::Result<bool> {
    if options.kernel.is_some() {
        return Ok(false);
    }
    Ok(matches!(Host::of(package)?.kernel(), Err(KernelError::NotFound { .. })))
}

/// As `cargo uml setup` does.
fn provide_kernel(reporter: &Reporter) -> anyhow::Result<()> {
    reporter.note("There is no kernel yet");
    setup::setup(&Cache::locate()?, None, reporter)?;
    Ok(())
}

/// Provides a kernel where none is named, and there is none.
pub(super) fn ensure_kernel(options: &GuestOptions, reporter: &Reporter) -> anyhow::Result<()> {
    if is_kernel_missing(options, &package::directory()?)? {
        provide_kernel(reporter)?;
    }
    Ok(())
}

/// What cargo can start this program by: its path, or its name where that leads to it.
fn this_program() -> anyhow::Result<String> {
    const NAME: &str = "cargo-uml";
    let path = std::env::current_exe().context("could not find this program")?;
    // In the variable white space separates arguments, and all is UTF-8.
    match path.to_str().filter(|text| !text.contains(char::is_whitespace)) {
        Some(text) => Ok(text.to_owned()),
        None if process::find(NAME).and_then(|found| found.canonicalize().ok())
            == Some(path.clone()) =>
        {
            Ok(NAME.to_owned())
        }
        None => bail!(
            "cargo is told of {} by a variable, in which white space separates arguments and all is UTF-8: have PATH \
             lead to it as {NAME}, or move it",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_nothing_needs_no_kernel() {
        let may = |subcommand: &str, line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            may_start_programs(subcommand, cargos_own(subcommand, &arguments))
        };
        for (subcommand, line) in [
            ("test", "--package x --no-run"),
            ("nextest", "archive --archive-file x"),
            ("llvm-cov", "report --html"),
            ("nextest", "--version"),
            ("llvm-cov", "-V"),
            ("test", "-p x --help"),
            ("nextest", "run -h"),
            ("run", "-p x --help"),
        ] {
            assert!(!may(subcommand, line), "{line}");
        }
        for (subcommand, line) in [
            ("test", "list"),
            ("test", "x -- --no-run"),
            ("test", "-- --help"),
            ("run", "serve --help"),
            ("nextest", "run archive"),
            ("nextest", "list"),
            ("llvm-cov", "--html"),
            ("llvm-cov", "nextest"),
        ] {
            assert!(may(subcommand, line), "{line}");
        }
    }

    #[test]
    fn no_program_of_an_x86_toolchain_passes_by_the_runner() {
        let mut cargo = Command::new("cargo");
        set_runner(&mut cargo, &RunnerOptions::default()).unwrap();
        for name in [
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
            "CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUNNER",
        ] {
            let set = cargo.get_envs().find(|(found, _)| *found == name).and_then(|(_, set)| set);
            assert!(set.unwrap().to_string_lossy().ends_with(" runner"), "{name}");
            assert!(variables().any(|known| known == name), "{name}");
        }
    }
}
