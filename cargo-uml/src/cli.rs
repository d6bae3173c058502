//! The command line. What the commands do is elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::kernel::flavour;

use crate::doctor::DoctorArguments;
use crate::matrix::MatrixArguments;
use crate::run::{ExecArguments, RunnerArguments, ShellArguments};

#[derive(Debug, Parser)]
#[command(
    name = "cargo uml",
    bin_name = "cargo uml",
    version,
    about = "Kernels and guests for uml-test"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Provide the kernel that uml-test boots, building it if there is none
    ///
    /// Prints the default kernel's path on stdout. Without one builds the best kernel source package of the machine's
    /// own package mirror, or a release of kernel.org where the mirror has no tested version; no root is needed to
    /// fetch it. One that an older version of this command built is built again, of the same series. Missing build
    /// tools are installed through apt when run as root, and named otherwise.
    Setup(SetupArguments),
    /// Check whether guests run on this host; if not, say why and what to do
    ///
    /// Ends by booting a guest. Exits with 0 if that answers, with 10 if no guest runs here. Missing build tools and
    /// other things that guests run without are warnings.
    Doctor(DoctorArguments),
    /// Run the same tests with several kernels and print one table of the results
    ///
    /// Everything after `--` goes to cargo test. Exits with 0 if no test failed with any kernel, with 11 if one did or
    /// left no record, with 12 if cargo failed otherwise (a compilation, say), with 130 if interrupted.
    Matrix(MatrixArguments),
    /// Run cargo test with each test binary in a guest
    ///
    /// The tests run as root in a fresh kernel, a guest for each binary; they need not know of uml-test. The guest's
    /// options (--kernel, --mem, --timeout, --cmdline, --rw-dir, --env, --keep) may stand anywhere among cargo's, and so
    /// may those for test binaries: --isolate gives each test a kernel of its own, --junit=FILE reports those, and
    /// --deny-skips[=PATTERN] fails where tests skip themselves. cargo uml runner --help explains all of them. The rest,
    /// and the exit status, is cargo's.
    Test(CargoArguments),
    /// Run cargo bench with each program in a guest
    ///
    /// The guest's options (see cargo uml test) may stand among cargo's.
    Bench(CargoArguments),
    /// Run cargo run with the program in a guest
    ///
    /// The guest's options (see cargo uml test) may stand among cargo's.
    Run(CargoArguments),
    /// Run cargo nextest with each test in a guest of its own
    ///
    /// The guest's options (see cargo uml test) may stand among cargo's.
    Nextest(CargoArguments),
    /// Run cargo llvm-cov with each test binary in a guest
    ///
    /// The guest's options (see cargo uml test) may stand among cargo's.
    LlvmCov(CargoArguments),
    /// Run a program in a guest
    ///
    /// As root in a fresh kernel, with the host's files, this working directory and environment, on this standard
    /// input, output and error. Ends as the program ends: with its exit code, or by the same signal. Exits with 124 if
    /// the time limit passed, with 125 if the program's end is not known, with 126 if it can't be executed and with
    /// 127 if it is not there.
    Exec(ExecArguments),
    /// Run your shell in a guest
    ///
    /// As exec, with the program that SHELL names, else /bin/sh, and on a terminal of the guest's own where this is
    /// called on one: with job control, and keys and changes of its size go to the guest.
    Shell(ShellArguments),
    /// What cargo starts programs with: `runner = "cargo-uml runner"` in .cargo/config.toml
    ///
    /// As exec; but a program that has uml-test in it, and a test harness's list of tests (--list), runs on the host.
    /// cargo uml test and its like put their own runner in the place of the file's, and its options: what is to hold
    /// either way belongs into [package.metadata.uml-test].
    Runner(RunnerArguments),
    /// Build, choose and keep kernels
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Print a completion script for a shell, for both `cargo uml` and `cargo-uml`
    ///
    /// For bash: source <(cargo uml completions bash)
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub(crate) struct CargoArguments {
    /// cargo's arguments, and the guest's options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct SetupArguments {
    /// Kernel source to build: a source tree, or a tarball of one (.tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst)
    #[arg(long, value_name = "DIR|TARBALL")]
    pub(crate) source: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    /// Build a kernel and print its path
    ///
    /// A kernel that is in the cache already is not built again. Its name is its series and flavours, such as 7.2 or
    /// 6.1/debug+smp; the first kernel becomes the default.
    Build(BuildArguments),
    /// List the kernels in the cache
    List(FormatArguments),
    /// Show what a kernel is and where it came from
    Show {
        /// A kernel's name or id
        #[arg(default_value = "default")]
        name: String,
        #[command(flatten)]
        format: FormatArguments,
    },
    /// Choose the kernel that is booted where none is named, or print which it is
    Default {
        /// A kernel's name or id
        name: Option<String>,
    },
    /// Print the path of a kernel's executable
    Path {
        /// Print the directory that modules outside the kernel's tree are built against, for make's -C
        #[arg(long)]
        build: bool,
        /// A kernel's name or id
        #[arg(default_value = "default")]
        name: String,
    },
    /// Remove kernels' names, and the kernels that have no other
    Remove {
        /// Names or ids; an id, or `default`, removes all names of its kernel
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove kernels without a name and the trees of interrupted builds
    Prune(PruneArguments),
    /// Change a kernel's configuration in its menus, and save the difference as a fragment
    Config(ConfigArguments),
    /// Take a User Mode Linux kernel that you have into the cache
    Adopt(AdoptArguments),
    /// Install a kernel that somebody else built
    Install(InstallArguments),
}

/// What a kernel is made of.
#[derive(Debug, Args)]
pub(crate) struct WhatArguments {
    /// A version (7.2: the cached one of the series, else the newest; 7.2.12: exactly that), or a source tree or tarball
    ///
    /// Versions come from the machine's package mirror, else from kernel.org, by pinned checksum; signatures are not
    /// verified. Without it, the best of a tested series that the mirror has, else kernel.org's.
    #[arg(value_name = "VERSION|SOURCE")]
    pub(crate) source: Option<String>,
    /// A configuration that comes with this command; they combine
    #[arg(long, value_name = "FLAVOUR", value_parser = flavours())]
    pub(crate) flavour: Vec<String>,
    /// A file of Kconfig options that goes over the flavours; the last one wins
    #[arg(long, value_name = "FILE")]
    pub(crate) fragment: Vec<PathBuf>,
    /// Take this version from kernel.org, with this checksum
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    #[command(flatten)]
    pub(crate) what: WhatArguments,
    /// The kernel's name
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) what: WhatArguments,
    /// The fragment to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArguments {
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: the fields are documented and stay
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArguments {
    /// Also kernels that no guest was booted from for so many days, except the default, and source trees' kept builds
    /// that were not used for as long
    #[arg(long, value_name = "DAYS")]
    pub(crate) unused_for: Option<u64>,
    /// Also fetched kernel source
    #[arg(long)]
    pub(crate) sources: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArguments {
    /// The kernel's executable; it is copied
    pub(crate) path: PathBuf,
    /// The kernel's name [default: adopted-VERSION]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its modules: the directory of its release, as below /lib/modules
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    #[arg(value_enum)]
    pub(crate) what: Installable,
    /// The kernel's name
    #[arg(long, default_value = "distro")]
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Installable {
    /// The distribution's package user-mode-linux with its modules, from the package mirror, without root
    Distro,
}

fn flavours() -> PossibleValuesParser {
    PossibleValuesParser::new(flavour::ALL.map(|flavour| flavour.name))
}

/// Parses the process's arguments; on a usage error prints it and exits with status 2.
pub(crate) fn parse() -> Command {
    Cli::parse_from(as_parsed(std::env::args_os().collect())).command
}

/// The definition, for completions.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// The command line, in one form, whoever starts this.
fn as_parsed(mut arguments: Vec<OsString>) -> Vec<OsString> {
    // `cargo uml setup` runs `cargo-uml uml setup`; an alias, or a user, runs `cargo-uml setup`.
    if arguments.get(1).is_some_and(|argument| argument == "uml") {
        arguments.remove(1);
    }
    // All that follows is cargo's, also a `--` that comes first.
    let is_cargos = ["test", "bench", "run", "nextest", "llvm-cov"]
        .iter()
        .any(|name| arguments.get(1) == Some(&name.into()));
    let is_help = arguments.get(2).is_some_and(|argument| argument == "--help" || argument == "-h");
    if is_cargos && !is_help {
        arguments.insert(2, "--".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arguments: &[&str]) -> Option<PathBuf> {
        let arguments = as_parsed(arguments.iter().map(OsString::from).collect());
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Setup(setup) => setup.source,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn accepts_both_ways_cargo_starts_it() {
        assert_eq!(source(&["cargo-uml", "uml", "setup"]), None);
        assert_eq!(source(&["cargo-uml", "setup"]), None);
        assert_eq!(
            source(&["cargo-uml", "uml", "setup", "--source", "/src/linux"]),
            Some("/src/linux".into())
        );
    }

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn a_mistyped_option_is_no_program() {
        let parse = |arguments: &[&str]| {
            let arguments = [&["cargo-uml"], arguments].concat();
            Cli::try_parse_from(as_parsed(arguments.iter().map(OsString::from).collect()))
        };
        for command in ["exec", "runner", "shell"] {
            let error = parse(&[command, "--kernle", "x", "true"]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{command}");
            let says = error.to_string();
            assert!(
                says.contains("'--kernle'") && says.contains("'--kernel'"),
                "{command}: {says}"
            );
            // The program's own, and what it is called.
            for program in [&["sh", "--kernle", "--", "--mem", "-x"][..], &["--", "--sh", "-x"]] {
                let parsed = parse(&[&[command, "--keep"], program].concat()).unwrap().command;
                let program = program.strip_prefix(&["--"]).unwrap_or(program);
                assert!(format!("{parsed:?}").contains(&format!("{program:?}")), "{parsed:?}");
            }
        }
    }

    #[test]
    fn cargos_arguments_are_left_as_they_are() {
        for cargos in [&["--", "--nocapture"][..], &["-p", "x", "--", "--", "y"], &[]] {
            let mut arguments: Vec<OsString> =
                ["cargo-uml", "uml", "test"].map(OsString::from).into();
            arguments.extend(cargos.iter().map(OsString::from));
            match Cli::try_parse_from(as_parsed(arguments)).unwrap().command {
                Command::Test(test) => assert_eq!(test.arguments, cargos),
                other => panic!("{other:?}"),
            }
        }
        let help = ["cargo-uml", "test", "--help"].map(OsString::from).to_vec();
        let help = Cli::try_parse_from(as_parsed(help)).unwrap_err().to_string();
        for text in ["each test binary in a guest", "--isolate", "--junit", "--deny-skips"] {
            assert!(help.contains(text), "{text}: {help}");
        }
    }
}
