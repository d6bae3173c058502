//! What the commands that run programs in guests have in common: the guest's settings.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, FromArgMatches};
use serde::{Deserialize, Serialize};
use uml_test::config::rw_dirs;

use super::watch::Watch;
use crate::kernel::cache::Cache;
use crate::kernel::names::Name;
use crate::matrix;

/// How the options get past cargo to the runner: as JSON.
pub(super) const VARIABLE: &str = "CARGO_UML_OPTIONS";

/// A guest's settings. What is not given is as in the package's manifest and the `UML_TEST_*` variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct GuestOptions {
    /// Kernel to boot: its name or id in the cache, or a path
    #[arg(long, value_name = "NAME|PATH", value_parser = NonEmptyStringValueParser::new())]
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
    /// Host directory that the guest may write, and where the guest has it, if elsewhere; what it writes elsewhere is
    /// thrown away
    #[arg(long, value_name = "HOST[:GUEST]", value_parser = RwDir::parse)]
    pub(crate) rw_dir: Vec<RwDir>,
    /// Variable to set in the guest
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Keep the guest's console, and say where
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What becomes of test binaries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct TestOptions {
    /// Give each test a kernel of its own, also without nextest
    ///
    /// For test binaries with libtest or libtest-mimic in them; all others are run in one guest.
    #[arg(long)]
    pub(crate) isolate: bool,
    /// Write a JUnit report of the isolated tests
    #[arg(long, value_name = "FILE", requires = "isolate")]
    pub(crate) junit: Option<PathBuf>,
    /// Fail where the output shows that tests skipped themselves
    ///
    /// With a regular expression, lines that it matches are taken for that; without, usual phrases such as "requires
    /// root" and "Skipping test".
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) deny_skips: Option<String>,
}

/// All options of the runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct RunnerOptions {
    #[command(flatten)]
    pub(crate) guest: GuestOptions,
    #[command(flatten)]
    pub(crate) test: TestOptions,
}

/// A host directory that the guest may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RwDir {
    pub(crate) host: PathBuf,
    /// Where the guest has it, if elsewhere.
    pub(crate) guest: Option<PathBuf>,
}

impl RwDir {
    /// At the last `:/`, as what is behind it is an absolute path; a directory whose name has a colon may be named
    /// twice.
    fn parse(text: &str) -> Result<Self, String> {
        match text.rsplit_once(":/") {
            Some((host, guest)) if !host.is_empty() => {
                let guest = PathBuf::from(format!("/{guest}"));
                match rw_dirs::can_have(&guest) {
                    true => Ok(RwDir { host: host.into(), guest: Some(guest) }),
                    false => Err(format!("expected HOST or HOST:GUEST, GUEST {}", rw_dirs::PLACE)),
                }
            }
            _ if text.is_empty() || text.starts_with(':') => {
                Err("expected HOST or HOST:GUEST, GUEST an absolute path".to_owned())
            }
            _ => Ok(RwDir { host: text.into(), guest: None }),
        }
    }
}

/// Long options of `cargo run` whose value may be the next argument. What is neither an option nor such a value begins
/// the program's arguments.
const WITH_VALUE: [&str; 13] = [
    "--bin",
    "--example",
    "--package",
    "--features",
    "--profile",
    "--target",
    "--target-dir",
    "--manifest-path",
    "--lockfile-path",
    "--jobs",
    "--message-format",
    "--color",
    "--config",
];

/// The letters of its short ones: package, features, jobs, an unstable flag, a directory.
const LETTERS_WITH_VALUE: [char; 5] = ['p', 'F', 'j', 'Z', 'C'];

/// Whether the next argument is this one's value. Of several letters behind one hyphen, as in `-qp`, the first that has
/// a value has what is behind it, or if that is nothing the next argument.
fn takes_the_next(argument: &str) -> bool {
    match argument.strip_prefix('-') {
        Some(letters) if !letters.starts_with('-') => {
            letters.split_once(LETTERS_WITH_VALUE).is_some_and(|(_flags, joined)| joined.is_empty())
        }
        _ => WITH_VALUE.contains(&argument),
    }
}

/// The arguments that are cargo's own, and not a program's that it starts.
pub(super) fn cargos_own<'a>(subcommand: &str, arguments: &'a [OsString]) -> &'a [OsString] {
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        let text = argument.to_string_lossy();
        if text == "--" || (subcommand == "run" && !text.starts_with('-')) {
            break;
        }
        at += if subcommand == "run" && takes_the_next(&text) { 2 } else { 1 };
    }
    &arguments[..at.min(arguments.len())]
}

/// For the parser of a cargo command line's share.
#[derive(clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    options: RunnerOptions,
}

/// A kernel's name as it is, whatever lies in the working directory; else the path of what an id stands for, which a
/// program that boots guests of its own does not know, or of what is there.
fn located(kernel: String, cache: Option<&Cache>) -> std::io::Result<String> {
    let is_name =
        |cache: &Cache| Name::parse(&kernel).is_ok_and(|name| cache.target(&name).is_some());
    if cache.is_some_and(is_name) {
        return Ok(kernel);
    }
    let path = match cache.and_then(|cache| cache.executable(&kernel)) {
        Some(linux) => linux,
        None if kernel.contains('/') && Path::new(&kernel).exists() => {
            std::path::absolute(&kernel)?
        }
        None => return Ok(kernel),
    };
    // What is no UTF-8 can't be passed on, and is told as it was given.
    Ok(path.into_os_string().into_string().unwrap_or(kernel))
}

/// Whether a word behind `--deny-skips` can be no filter of tests: their names have no white space and nothing that is
/// special in a regular expression, but for doctests', such as `src/lib.rs - f (line 7)`; and an option has a hyphen.
fn is_surely_a_pattern(word: &str) -> bool {
    let is_special = |letter: char| letter.is_whitespace() || "|*?+^$()[]{}\\".contains(letter);
    let is_doctests = word.contains(" - ") || word.contains("(line ");
    !word.starts_with('-') && !is_doctests && word.contains(is_special)
}

fn pattern_apart(pattern: &str) -> clap::Error {
    Alone::command().error(
        clap::error::ErrorKind::UnknownArgument,
        format!(
            "--deny-skips takes its pattern after an equals sign: write '--deny-skips={pattern}'; if {pattern:?} is \
             to select tests, put it elsewhere"
        ),
    )
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

impl RunnerOptions {
    /// Says what would be wrong in every guest, before cargo has compiled for minutes.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let Some(kernel) = &self.guest.kernel {
            matrix::choose(&[kernel.into()], Cache::locate().ok().as_ref())?;
        }
        for dir in &self.guest.rw_dir {
            ensure!(
                dir.host.is_dir(),
                "--rw-dir {}: not a directory on the host",
                dir.host.display()
            );
            // Where another place is given, it is one that can be.
            let place = dir.guest.is_none().then(|| dir.host.canonicalize()).transpose()?;
            ensure!(
                place.is_none_or(|place| rw_dirs::can_have(&place)),
                "--rw-dir {}: expected {} (HOST:GUEST has it elsewhere in the guest)",
                dir.host.display(),
                rw_dirs::PLACE
            );
        }
        Watch::new(self.test.deny_skips.as_deref()).map(drop)
    }

    /// Takes these options out of a command line that is otherwise cargo's, wherever they stand before a `--`, and with
    /// `cargo run` before the program's arguments.
    pub(crate) fn extract(
        subcommand: &str,
        arguments: Vec<OsString>,
    ) -> Result<(RunnerOptions, Vec<OsString>), clap::Error> {
        let command = Alone::command();
        let is_ours = |argument: &OsStr| {
            let text = argument.to_str()?.strip_prefix("--")?;
            let (name, value) = match text.split_once('=') {
                Some((name, _)) => (name, true),
                None => (text, false),
            };
            let known = command.get_arguments().find(|known| known.get_long() == Some(name))?;
            let is_whole =
                value || !known.get_action().takes_values() || known.is_require_equals_set();
            Some(is_whole)
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
                Some(is_whole) => {
                    if subcommand != "run"
                        && argument == "--deny-skips"
                        && let Some(pattern) = rest.as_slice().first()
                        && is_surely_a_pattern(&pattern.to_string_lossy())
                    {
                        return Err(pattern_apart(&pattern.to_string_lossy()));
                    }
                    ours.push(argument);
                    if !is_whole {
                        ours.extend(rest.next());
                    }
                }
                None => {
                    let text = argument.to_string_lossy().into_owned();
                    cargos.push(argument);
                    if subcommand == "run" && !text.starts_with('-') {
                        cargos.extend(rest);
                        break;
                    }
                    if subcommand == "run" && takes_the_next(&text) {
                        cargos.extend(rest.next());
                    }
                }
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

    /// What [`RunnerOptions::pass_by`] left, if this is a runner that `cargo uml` had started.
    pub(crate) fn passed() -> anyhow::Result<Option<Self>> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let text = text.to_str().with_context(|| format!("{VARIABLE} is no UTF-8"))?;
        Ok(Some(serde_json::from_str(text).with_context(|| format!("{VARIABLE}={text}"))?))
    }

    /// Those of the given options that mean nothing to a program that boots guests of its own.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let RunnerOptions { guest, test } = self;
        let given = [
            ("--timeout", guest.timeout.is_some()),
            ("--rw-dir", !guest.rw_dir.is_empty()),
            ("--env", !guest.env.is_empty()),
            ("--keep", guest.keep),
            ("--junit", test.junit.is_some()),
            ("--deny-skips", test.deny_skips.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// With paths that hold wherever cargo starts a program.
    pub(crate) fn absolute(self) -> std::io::Result<Self> {
        let RunnerOptions { guest, mut test } = self;
        test.junit = test.junit.map(std::path::absolute).transpose()?;
        Ok(RunnerOptions { guest: guest.absolute()?, test })
    }
}

impl GuestOptions {
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
            dir.host = std::path::absolute(&dir.host)?;
        }
        if let Some(kernel) = self.kernel.take() {
            self.kernel = Some(located(kernel, Cache::locate().ok().as_ref())?);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(arguments: &[&str]) -> (RunnerOptions, Vec<String>) {
        let arguments = arguments.iter().map(OsString::from).collect();
        let (options, rest) = RunnerOptions::extract("test", arguments).unwrap();
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
        assert_eq!(options.guest.mem, Some(1 << 30));
        assert_eq!(options.guest.kernel.as_deref(), Some("6.1"));
        assert_eq!(rest, ["--release", "-p", "x", "name", "--", "--mem", "--nocapture"]);
        assert_eq!(extract(&["--memory", "1"]).1, ["--memory", "1"]);

        let (options, rest) = extract(&["--isolate", "a", "--deny-skips", "b", "--keep", "c"]);
        assert!(options.test.isolate && options.guest.keep);
        assert_eq!(options.test.deny_skips.as_deref(), Some(""), "a value has an equals sign");
        assert_eq!(rest, ["a", "b", "c"]);
        for doctest in ["src/lib.rs - f (line 7)", "lib.rs - f", "f (line 7)"] {
            assert_eq!(extract(&["--deny-skips", doctest]).1, [doctest]);
        }
        assert_eq!(extract(&["--deny-skips=x y"]).0.test.deny_skips.as_deref(), Some("x y"));
    }

    #[test]
    fn the_options_of_the_program_that_cargo_runs_are_its_own() {
        let arguments = ["--mem", "1G", "--bin", "x", "-q", "serve", "--keep", "--timeout", "x"];
        let arguments = arguments.iter().map(OsString::from).collect();
        let (options, rest) = RunnerOptions::extract("run", arguments).unwrap();
        assert_eq!((options.guest.mem, options.guest.keep), (Some(1 << 30), false));
        assert_eq!(rest, ["--bin", "x", "-q", "serve", "--keep", "--timeout", "x"]);

        // Letters behind one hyphen, the last of which has the next argument for its value, or what is joined to it.
        for package in [&["-qp", "x"][..], &["-qpx"], &["-p", "x"], &["-px"], &["-vvFp", "-q"]] {
            let mut arguments: Vec<OsString> = package.iter().map(OsString::from).collect();
            arguments.extend(["--mem", "1G", "serve", "--keep"].map(OsString::from));
            let (options, rest) = RunnerOptions::extract("run", arguments).unwrap();
            assert_eq!(options.guest.mem, Some(1 << 30), "{package:?}");
            assert_eq!(rest, [package, &["serve", "--keep"]].concat(), "{package:?}");
            assert_eq!(cargos_own("run", &rest).len(), package.len(), "{package:?}");
        }

        // Its value, if it has one, comes with an equals sign.
        let arguments = ["--timings", "serve", "--keep"].map(OsString::from).to_vec();
        let (options, rest) = RunnerOptions::extract("run", arguments).unwrap();
        assert!(!options.guest.keep);
        assert_eq!(rest, ["--timings", "serve", "--keep"]);
    }

    #[test]
    fn rw_dirs_may_be_elsewhere_in_the_guest() {
        let dir = |text: &str| RwDir::parse(text).map(|dir| (dir.host, dir.guest));
        assert_eq!(dir("a/b"), Ok(("a/b".into(), None)));
        assert_eq!(dir("a:/b"), Ok(("a".into(), Some("/b".into()))));
        assert_eq!(dir("/a:b:/c"), Ok(("/a:b".into(), Some("/c".into()))));
        assert_eq!(dir("/a:b"), Ok(("/a:b".into(), None)));
        assert!(dir(":/b").is_err() && dir("").is_err());
        for own in ["a:/", "a:/dev", "a:/proc/x", "a:/b/.."] {
            assert!(dir(own).unwrap_err().contains("neither / nor /dev"), "{own}");
        }
    }

    #[test]
    fn a_kernels_name_is_no_path_and_its_id_is_one() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let id = "6.1.187-0123456789ab";
        std::fs::create_dir_all(cache.kernels().join(id)).unwrap();
        std::fs::create_dir(cache.names()).unwrap();
        // Any name of a directory that is here.
        std::os::unix::fs::symlink(format!("../kernels/{id}"), cache.names().join("src:run"))
            .unwrap();
        let located = |kernel: &str| located(kernel.to_owned(), Some(&cache)).unwrap();
        assert!(Path::new("src/run").is_dir());
        assert_eq!(located("src/run"), "src/run");
        let here = std::env::current_dir().unwrap();
        assert_eq!(located("src/matrix"), here.join("src/matrix").to_str().unwrap());
        let linux = cache.kernels().join(id).join("linux");
        assert_eq!(located(id), linux.to_str().unwrap());
        assert_eq!(located("9.9"), "9.9");
    }

    #[test]
    fn wrong_values_are_told() {
        for wrong in [
            &["--mem", "lots"][..],
            &["--env", "X"],
            &["--timeout"],
            &["--timeout=5"],
            &["--junit", "x"],
            &["--deny-skips", "requires root"],
            &["--deny-skips", "^n/a"],
        ] {
            let arguments = wrong.iter().map(OsString::from).collect();
            let error = RunnerOptions::extract("test", arguments).unwrap_err().to_string();
            assert!(error.contains(wrong[0].split('=').next().unwrap()), "{error}");
        }
    }

    #[test]
    fn options_pass_by_a_variable() {
        let guest = GuestOptions {
            kernel: Some("6.1/debug".to_owned()),
            mem: Some(300 << 20),
            timeout: Some(Duration::from_millis(1500)),
            cmdline: vec!["a=b c".to_owned(), "--x".to_owned()],
            rw_dir: vec![RwDir { host: "/a b".into(), guest: Some("/c".into()) }],
            env: vec![("A".to_owned(), "b=c d".to_owned())],
            keep: true,
        };
        let test = TestOptions {
            isolate: true,
            junit: Some("/x/report.xml".into()),
            deny_skips: Some("skip|SKIP".to_owned()),
        };
        let options = RunnerOptions { guest, test };
        let mut cargo = Command::new("cargo");
        options.pass_by(&mut cargo).unwrap();
        let passed = cargo.get_envs().next().unwrap().1.unwrap().to_str().unwrap();
        assert_eq!(serde_json::from_str::<RunnerOptions>(passed).unwrap(), options);
    }
}
