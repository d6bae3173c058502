//! The tests that nextest is going to run: one that leaves no record is missed then, also where no kernel has any.

use std::path::Path;

use anyhow::{Context, ensure};
use nextest_metadata::{ListCommand, TestListSummary};
use uml_test::Record;

use super::cargo::Invocation;
use crate::run::program::Program;

/// Binary and name of the planned tests of binaries that know nothing of uml-test: each of those is recorded by the
/// runner. Filters and partitions count. None without nextest.
pub(super) fn tests(invocation: &Invocation) -> anyhow::Result<Vec<(String, String)>> {
    if !invocation.is_nextest() {
        return Ok(Vec::new());
    }
    let mut command = ListCommand::new().cargo_command();
    command.args(invocation.list());
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.context("could not run cargo nextest list")?;
    ensure!(output.status.success(), "cargo nextest list failed ({})", output.status);
    let list = String::from_utf8_lossy(&output.stdout);
    let list = TestListSummary::parse_json(list.trim()).context("cargo nextest list")?;
    Ok(planned(&list))
}

fn planned(list: &TestListSummary) -> Vec<(String, String)> {
    let mut tests = Vec::new();
    for suite in list.rust_suites.values() {
        let path = Path::new(suite.binary.binary_path.as_str());
        if !matches!(Program::of(path), Ok(Program::ForAGuest)) {
            continue;
        }
        let binary = format!("{}/{}", suite.package_name, Record::binary_name(path));
        for (name, test) in &suite.test_cases {
            if test.filter_match.is_match() {
                tests.push((binary.clone(), name.as_str().to_owned()));
            }
        }
    }
    tests
}
