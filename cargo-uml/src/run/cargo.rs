//! cargo, with this program as what it starts programs with (its target runner).

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use uml_test::{Host, KernelError};

use super::junit;
use super::options::{self, RunnerOptions, VARIABLE};
use super::parent;
use crate::command::setup;
use crate::kernel::cache::Cache;
use crate::report::Reporter;

/// What guests run, and hosts are.
const TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "x86_64-alpine-linux-musl"];

/// What a toolchain on such a host may be for besides. Its programs go to a guest as well, which refuses those that it
/// can't run: none shall run on the host without a word.
const RELATED: [&str; 7] = [
    "x86_64-unknown-linux-gnuasan",
    "x86_64-unknown-linux-gnux32",
    "x86_64-chimera-linux-musl",
    "i586-unknown-linux-gnu",
    "i586-unknown-linux-musl",
    "i686-unknown-linux-gnu",
    "i686-unknown-linux-musl",
];

/// cargo's word for the host's own.
const HOST_TUPLE: &str = "host-tuple";

/// Becomes `cargo SUBCOMMAND ARGUMENTS`; returns only why that was not possible.
pub(crate) fn run(
    subcommand: &str,
    arguments: Vec<OsString>,
    reporter: &Reporter,
) -> anyhow::Result<Infallible> {
    let (options, arguments) =
        RunnerOptions::extract(subcommand, arguments).unwrap_or_else(|error| error.exit());
    let options = options.absolute().context("no working directory")?;
    check_targets(options::cargos_own(subcommand, &arguments))?;
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
    if let Some(report) = &options.test.junit {
        junit::begin(report)?;
    }
    let own = options::cargos_own(subcommand, &arguments);
    if options.guest.kernel.is_none()
        && may_start_programs(subcommand, own)
        && is_kernel_missing()?
        && has_something_to_run(own)
    {
        provide_kernel(reporter)?;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Variables: an option of cargo's can't replace a runner in a configuration file that is of another form.
    set_runner(&mut cargo, &options)?;
    cargo.arg(subcommand);
    let error = cargo.args(arguments).exec();
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
    for target in TARGETS.into_iter().chain(RELATED) {
        cargo.env(runner_variable(target), &runner);
    }
    parent::pass_by(cargo);
    options.pass_by(cargo)
}

/// Refuses a target whose programs cargo would start on the host, past the runner.
fn check_targets(own: &[OsString]) -> anyhow::Result<()> {
    let own: Vec<_> = own.iter().map(|argument| argument.to_string_lossy()).collect();
    let joined = own.iter().filter_map(|argument| argument.strip_prefix("--target="));
    let apart = own.windows(2).filter(|pair| pair[0] == "--target").map(|pair| &*pair[1]);
    let mut targets: Vec<&str> = joined.chain(apart).collect();
    let variable = std::env::var("CARGO_BUILD_TARGET").ok();
    if targets.is_empty() {
        targets.extend(variable.as_deref().filter(|target| !target.is_empty()));
    }
    for target in targets {
        ensure!(
            TARGETS.contains(&target) || target == HOST_TUPLE,
            "guests run {}, not {target}; its programs would run on this host instead",
            TARGETS.join(", ")
        );
    }
    Ok(())
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

fn runner_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", target.to_uppercase().replace('-', "_"))
}

/// The variables that are set for cargo and its runner.
pub(super) fn variables() -> impl Iterator<Item = String> {
    let targets = TARGETS.into_iter().chain(RELATED);
    targets.map(runner_variable).chain([VARIABLE, parent::VARIABLE].map(str::to_owned))
}

/// Whether cargo finds a package here, or brings its programs along: what it complains of needs no kernel first.
fn has_something_to_run(own: &[OsString]) -> bool {
    let own: Vec<_> = own.iter().map(|argument| argument.to_string_lossy()).collect();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["locate-project", "--quiet"]);
    for (at, argument) in own.iter().enumerate() {
        match argument.split_once('=') {
            Some(("--manifest-path", _)) => _ = cargo.arg(&**argument),
            None if argument == "--manifest-path" => {
                cargo.args(own[at..].iter().take(2).map(|argument| &**argument));
            }
            _ if ["--archive-file", "--binaries-metadata"]
                .iter()
                .any(|option| argument.starts_with(option)) =>
            {
                return true;
            }
            _ => {}
        }
    }
    // Where cargo can't be asked it will not run either.
    cargo.output().is_ok_and(|found| found.status.success())
}

/// Whether a kernel would have to be built first. What else is wrong, the guest will say.
fn is_kernel_missing() -> anyhow::Result<bool> {
    let host = Host::of(&std::env::current_dir().context("no working directory")?)?;
    Ok(matches!(host.kernel(), Err(KernelError::NotFound { .. })))
}

/// As `cargo uml setup` does.
fn provide_kernel(reporter: &Reporter) -> anyhow::Result<()> {
    reporter.note("There is no kernel yet");
    setup::setup(&Cache::locate()?, None, reporter)?;
    Ok(())
}

/// Provides a kernel where there is none.
pub(super) fn ensure_kernel(reporter: &Reporter) -> anyhow::Result<()> {
    if is_kernel_missing()? { provide_kernel(reporter) } else { Ok(()) }
}

/// The path of this program, as cargo reads it from a variable.
fn this_program() -> anyhow::Result<String> {
    let path = std::env::current_exe().context("could not find this program")?;
    let text = path.to_str().filter(|text| !text.contains(char::is_whitespace));
    text.map(str::to_owned).with_context(|| {
        format!(
            "cargo is told of {} by a variable, in which white space separates arguments and all is UTF-8: move it",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_nothing_needs_no_kernel() {
        let may = |subcommand: &str, line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            may_start_programs(subcommand, options::cargos_own(subcommand, &arguments))
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

    #[test]
    fn only_cargos_own_target_counts() {
        let check = |subcommand: &str, line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            check_targets(options::cargos_own(subcommand, &arguments)).is_ok()
        };
        assert!(!check("test", "name --target aarch64-unknown-linux-gnu"));
        assert!(!check("run", "--bin x --target=wasm32-wasip1 y"));
        assert!(check("test", "--target x86_64-unknown-linux-musl"));
        assert!(check("test", "--target host-tuple"));
        assert!(check("test", "-- --target prod"));
        assert!(check("run", "--bin x deploy --target prod"));
    }
}
