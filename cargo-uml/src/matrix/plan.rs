//! The tests that nextest is going to run: one that leaves no record is missed then, also where no kernel has any.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nextest_metadata::{ListCommand, TestListSummary};
use uml_test::Record;

use super::cargo::Invocation;
use crate::run::program::Program;

/// The command that lists them as JSON.
pub(super) fn command(invocation: &Invocation) -> Command {
    let mut command = ListCommand::new().cargo_command();
    command.args(invocation.list());
    command
}

/// Binary and name of the planned tests of binaries that know nothing of uml-test: each of those is recorded by the
/// runner. Filters and partitions count.
pub(super) fn tests(list: &str) -> anyhow::Result<Vec<(String, String)>> {
    planned(&TestListSummary::parse_json(list.trim()).context("cargo nextest list")?)
}

fn planned(list: &TestListSummary) -> anyhow::Result<Vec<(String, String)>> {
    let mut tests = Vec::new();
    for suite in list.rust_suites.values() {
        let path = Path::new(suite.binary.binary_path.as_str());
        // Of an archive nothing is left when it has been listed.
        let program = Program::of(path).with_context(|| {
            format!(
                "plan the tests of {}: --in-guests needs the binaries where they are",
                path.display()
            )
        })?;
        if program != Program::ForAGuest {
            continue;
        }
        let binary = format!("{}/{}", suite.package_name, Record::binary_name(path));
        for (name, test) in &suite.test_cases {
            if test.filter_match.is_match() {
                tests.push((binary.clone(), name.as_str().to_owned()));
            }
        }
    }
    Ok(tests)
}
