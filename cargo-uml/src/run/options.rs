//! What the commands that run programs in guests have in common: the guest's settings.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, CommandFactory, FromArgMatches};
use serde::{Deserialize, Serialize};

/// How the options get past cargo to the runner: as JSON.
pub(super) const VARIABLE: &str = "CARGO_UML_OPTIONS";

/// A guest's settings. What is not given is as in the package's manifest and the `UML_TEST_*` variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct GuestOptions {
    /// Kernel to boot: its name in the cache, or a path
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) kernel: Option<String>,
    /// Guest memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) mem: Option<u64>,
    /// Time limit of the guest's whole life, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// More kernel arguments, separated by white space
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    pub(crate) cmdline: Vec<String>,
    /// Host directory that the guest may write; what it writes elsewhere is thrown away
    #[arg(long, value_name = "DIR")]
    pub(crate) rw_dir: Vec<PathBuf>,
    /// Variable to set in the guest
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
}

/// For the parser of a cargo command line's share.
#[derive(clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    options: GuestOptions,
}

fn size(text: &str) -> Result<u64, &'static str> {
    uml_test::case::parse_size(text).ok_or("expected a whole number and K, M or G, at least 32M")
}

fn time(text: &str) -> Result<Duration, &'static str> {
    uml_test::case::parse_duration(text).ok_or("expected a whole number and ms, s, m or h")
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl GuestOptions {
    /// Takes these options out of a command line that is otherwise cargo's, wherever they stand before a `--`.
    pub(crate) fn extract(
        arguments: Vec<OsString>,
    ) -> Result<(GuestOptions, Vec<OsString>), clap::Error> {
        let command = Alone::command();
        let is_ours = |argument: &OsStr| {
            let text = argument.to_str()?.strip_prefix("--")?;
            let (name, value) = match text.split_once('=') {
                Some((name, _)) => (name, true),
                None => (text, false),
            };
            command.get_arguments().any(|known| known.get_long() == Some(name)).then_some(value)
        };
        let (mut ours, mut cargos) = (Vec::new(), Vec::new());
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                cargos.push(argument);
                cargos.extend(rest);
                break;
            }
            match is_ours(&argument) {
                Some(has_value) => {
                    ours.push(argument);
                    if !has_value {
                        ours.extend(rest.next());
                    }
                }
                None => cargos.push(argument),
            }
        }
        let options = Alone::from_arg_matches(&command.try_get_matches_from(ours)?)?.options;
        Ok((options, cargos))
    }

    /// Has the runner that `cargo` will start take these options.
    pub(crate) fn pass_by(&self, cargo: &mut Command) -> anyhow::Result<()> {
        cargo.env(VARIABLE, serde_json::to_string(self)?);
        Ok(())
    }

    /// What [`GuestOptions::pass_by`] left, if this is a runner that `cargo uml` had started.
    pub(crate) fn passed() -> anyhow::Result<Option<Self>> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let text = text.to_str().with_context(|| format!("{VARIABLE} is no UTF-8"))?;
        Ok(Some(serde_json::from_str(text).with_context(|| format!("{VARIABLE}={text}"))?))
    }

    /// As settings of a program that boots guests of its own, those that have a variable.
    pub(crate) fn to_variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        variables.extend(self.kernel.clone().map(|kernel| ("UML_TEST_KERNEL", kernel)));
        variables.extend(self.mem.map(|mem| ("UML_TEST_MEM", format!("{}K", mem >> 10))));
        if !self.cmdline.is_empty() {
            variables.push(("UML_TEST_CMDLINE", self.cmdline.join(" ")));
        }
        variables
    }

    /// With paths that hold wherever cargo starts a program.
    pub(crate) fn absolute(mut self) -> std::io::Result<Self> {
        for dir in &mut self.rw_dir {
            *dir = std::path::absolute(&*dir)?;
        }
        // Else it is a name.
        if let Some(kernel) = &mut self.kernel
            && kernel.contains('/')
            && Path::new(kernel).exists()
            && let Some(path) = std::path::absolute(&*kernel)?.to_str()
        {
            *kernel = path.to_owned();
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(arguments: &[&str]) -> (GuestOptions, Vec<String>) {
        let arguments = arguments.iter().map(OsString::from).collect();
        let (options, rest) = GuestOptions::extract(arguments).unwrap();
        (options, rest.into_iter().map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn options_are_found_among_cargos() {
        let (options, rest) = extract(&[
            "--release",
            "--mem=1G",
            "-p",
            "x",
            "--kernel",
            "6.1",
            "name",
            "--",
            "--mem",
            "--nocapture",
        ]);
        assert_eq!(options.mem, Some(1 << 30));
        assert_eq!(options.kernel.as_deref(), Some("6.1"));
        assert_eq!(rest, ["--release", "-p", "x", "name", "--", "--mem", "--nocapture"]);
        assert_eq!(extract(&["--memory", "1"]).1, ["--memory", "1"]);
    }

    #[test]
    fn wrong_values_are_told() {
        for wrong in [&["--mem", "lots"][..], &["--env", "X"], &["--timeout"], &["--timeout=5"]] {
            let arguments = wrong.iter().map(OsString::from).collect();
            let error = GuestOptions::extract(arguments).unwrap_err().to_string();
            assert!(error.contains(wrong[0].split('=').next().unwrap()), "{error}");
        }
    }

    #[test]
    fn options_pass_by_a_variable() {
        let options = GuestOptions {
            kernel: Some("6.1/debug".to_owned()),
            mem: Some(300 << 20),
            timeout: Some(Duration::from_millis(1500)),
            cmdline: vec!["a=b c".to_owned(), "--x".to_owned()],
            rw_dir: vec!["/a b".into()],
            env: vec![("A".to_owned(), "b=c d".to_owned())],
        };
        let mut cargo = Command::new("cargo");
        options.pass_by(&mut cargo).unwrap();
        let passed = cargo.get_envs().next().unwrap().1.unwrap().to_str().unwrap();
        assert_eq!(serde_json::from_str::<GuestOptions>(passed).unwrap(), options);
    }
}
