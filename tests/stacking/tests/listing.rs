//! Both harnesses list every case exactly once, under the same name.

use std::path::Path;
use std::process::Command;

/// What both list, sorted.
const EXPECTED: &str = include_str!("listing.txt");

#[test]
fn libtest_lists_every_case_once() {
    assert_eq!(listed(&["--test", "libtest"]), EXPECTED);
}

#[test]
fn own_harness_lists_every_case_once() {
    assert_eq!(listed(&["--test", "own_harness"]), EXPECTED);
}

#[test]
fn unit_tests_of_a_library_are_listed_beside_ordinary_ones() {
    assert_eq!(listed(&["--lib"]), "tests::an_ordinary_test\ntests::in_a_library\n");
}

/// The sorted names of one of this package's test targets.
fn listed(target: &[&str]) -> String {
    let binary = build(target);
    let output = Command::new(&binary).args(["--list", "--format", "terse"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{binary} --list: {:?}\n{text}", output.status);
    let mut names: Vec<_> = text
        .lines()
        .map(|line| line.strip_suffix(": test").unwrap_or_else(|| panic!("no test: {line:?}")))
        .collect();
    names.sort_unstable();
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// The path of a test target's binary. Cargo has built it along with this one and only says where.
fn build(target: &[&str]) -> String {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--no-run", "--quiet", "--message-format", "json"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target_dir)
        .args(target);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().unwrap();
    let messages = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{cargo:?}: {}\n{errors}{messages}", output.status);
    let key = r#""executable":""#;
    messages
        .lines()
        .find_map(|line| line.split_once(key)?.1.split_once('"'))
        .unwrap_or_else(|| panic!("{cargo:?} names no executable:\n{errors}{messages}"))
        .0
        .to_owned()
}
