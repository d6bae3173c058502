//! cargo's command lines: which arguments are cargo's own, and this program's options among them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};

use super::options::RunnerOptions;
use crate::package;

/// cargo's option for another package than the one that is here.
pub(crate) const MANIFEST_PATH: &str = "--manifest-path";

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
    MANIFEST_PATH,
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

/// The values that an option is given among cargo's own arguments: behind an equals sign, or as the next argument.
pub(crate) fn values_of<'a>(own: &'a [OsString], option: &str) -> Vec<&'a OsStr> {
    let value = |(at, argument): (usize, &'a OsString)| match argument
        .as_bytes()
        .strip_prefix(option.as_bytes())?
    {
        [] => own.get(at + 1).map(OsString::as_os_str),
        [b'=', value @ ..] => Some(OsStr::from_bytes(value)),
        _ => None,
    };
    own.iter().enumerate().filter_map(value).collect()
}

/// For the parser of a cargo command line's share.
#[derive(clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    options: RunnerOptions,
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

impl RunnerOptions {
    /// Takes these options out of a command line that is otherwise cargo's, wherever they stand before a `--`, and with
    /// `cargo run` before the program's arguments.
    pub(crate) fn extract(
        subcommand: &str,
        arguments: Vec<OsString>,
    ) -> Result<(RunnerOptions, Vec<OsString>), clap::Error> {
        let command = Alone::command();
        let is_ours = |argument: &OsStr| {
            let text = argument.to_string_lossy();
            let text = text.strip_prefix("--")?;
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
}

/// The directory of the package that cargo takes with these arguments of its own.
pub(super) fn package_of(own: &[OsString]) -> anyhow::Result<PathBuf> {
    match values_of(own, MANIFEST_PATH).first() {
        Some(manifest) => {
            let manifest = std::path::absolute(manifest).context("no working directory")?;
            Ok(manifest.parent().unwrap_or(Path::new("/")).to_owned())
        }
        None => package::here(),
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
        let no_text = OsStr::from_bytes(b"--rw-dir=/a\xff").to_owned();
        let error = RunnerOptions::extract("test", vec![no_text]).unwrap_err().to_string();
        assert!(error.contains("--rw-dir") && error.contains("a path in UTF-8"), "{error}");
    }

    #[test]
    fn an_options_values_are_found_in_both_forms() {
        let own =
            ["--target=a", "--target", "b", "--target-dir", "c", "--target"].map(OsString::from);
        assert_eq!(values_of(&own, "--target"), ["a", "b"]);
        assert_eq!(values_of(&own, "--config"), [] as [&str; 0]);
    }
}
