//! Result records of tests that know nothing of uml-test, for `cargo uml matrix`: as uml-test writes them of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Parser;
use uml_test::Record;

use super::guest;
use super::isolate::{Outcome, TestResult};
use super::libtest::LibtestArguments;
use super::options::RunnerOptions;
use crate::report::Reporter;

/// Whether somebody wants them.
pub(crate) fn is_wanted() -> bool {
    Record::directory().is_some()
}

/// The name of a test binary in records and reports.
pub(crate) fn binary(program: &OsStr) -> String {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    Record::binary(&package, Path::new(program))
}

/// Records a test.
pub(crate) fn of(
    options: &RunnerOptions,
    program: &OsStr,
    result: &TestResult,
    reporter: &Reporter,
) {
    let Some(directory) = Record::directory() else { return };
    let (outcome, reason) = match &result.outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::Ignored => ("ignored", ""),
        Outcome::Failed { word, reason } => (*word, &**reason),
    };
    let record = Record {
        binary: binary(program),
        test: result.name.clone(),
        kernel: guest::kernel(&options.guest)
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        outcome,
        reason: reason.lines().next().unwrap_or_default().to_owned(),
        took: result.took,
    };
    // It changes no verdict, and is missed by whoever wanted it.
    if let Err(error) = record.write(&directory) {
        reporter.note(format_args!("cargo uml: {error}"));
    }
}

/// The test that a binary is asked to run, if it is one by its exact name.
pub(crate) fn the_one_test(arguments: &[OsString]) -> Option<String> {
    if let Ok(arguments) = LibtestArguments::try_parse_from(arguments) {
        return arguments.the_one().map(str::to_owned);
    }
    // With an option that is not known here, whose value may be taken for a name.
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| argument.to_str()).collect::<Option<_>>()?;
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-'));
    let name = names.next().filter(|_| arguments.contains(&"--exact"))?;
    names.next().is_none().then(|| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_one_test_is_that_tests() {
        let test = |arguments: &[&str]| {
            the_one_test(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
        };
        assert_eq!(test(&["--exact", "a::b", "--nocapture"]).as_deref(), Some("a::b"));
        assert_eq!(test(&["a", "--exact", "--ignored"]).as_deref(), Some("a"));
        assert_eq!(test(&["a"]), None);
        assert_eq!(test(&["--exact", "--skip", "a"]), None);
        assert_eq!(test(&["--exact", "--skip", "b", "a"]).as_deref(), Some("a"));
        assert_eq!(test(&["--exact", "--unknown", "a"]).as_deref(), Some("a"));
        assert_eq!(test(&["--exact", "a", "b"]), None);
        assert_eq!(test(&[]), None);
    }
}
