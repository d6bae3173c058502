//! The command line. What the commands do is elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::doctor::DoctorArguments;
use crate::matrix::MatrixArguments;

#[derive(Debug, Parser)]
#[command(name = "cargo uml", bin_name = "cargo uml", version, about = "Kernels for uml-test")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Provide the kernel that uml-test boots, building it if the cache has none
    ///
    /// Prints the kernel's path on stdout. Without `--source`, the kernel source package of the machine's own package
    /// mirror is used; no root is needed to fetch it. Missing build tools are installed through apt when run as root,
    /// and named otherwise.
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
}

#[derive(Debug, Args)]
pub(crate) struct SetupArguments {
    /// Kernel source to build: a source tree, or a tarball of one (.tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst)
    #[arg(long, value_name = "DIR|TARBALL")]
    pub(crate) source: Option<PathBuf>,
}

/// Parses the process's arguments; on a usage error prints it and exits with status 2.
pub(crate) fn parse() -> Command {
    Cli::parse_from(without_subcommand_name(std::env::args_os().collect())).command
}

/// `cargo uml setup` runs `cargo-uml uml setup`; an alias, or a user, runs `cargo-uml setup`.
fn without_subcommand_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|argument| argument == "uml") {
        arguments.remove(1);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arguments: &[&str]) -> Option<PathBuf> {
        let arguments = without_subcommand_name(arguments.iter().map(OsString::from).collect());
        let Command::Setup(setup) = Cli::try_parse_from(arguments).unwrap().command else {
            panic!("not setup")
        };
        setup.source
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
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
