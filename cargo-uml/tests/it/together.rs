//! Guests that run at the same time: each waits for a mark of the other's.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::package::{Package, has_nextest, output, text};

/// Both pass only together, and only in kernels of their own.
const MEETS: &str = r#"
use std::time::{Duration, Instant};
fn meets(own: &str, other: &str) {
    std::fs::create_dir("/made").unwrap();
    let marks = std::path::PathBuf::from(std::env::var("MARKS").unwrap());
    std::fs::write(marks.join(own), "").unwrap();
    let started = Instant::now();
    while !marks.join(other).exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{other} has not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
#[test]
fn first() { meets("first", "second") }
#[test]
fn second() { meets("second", "first") }
"#;

fn package() -> Package {
    let package = Package::new();
    package.write("tests/meets.rs", MEETS);
    package
}

/// A run whose guests may write marks.
fn meeting(package: &Package, marks: &Path, how: &[&str], rest: &[&str]) -> Command {
    let mut run = package.uml(how);
    run.arg("--rw-dir").arg(marks).env("MARKS", marks).args(["--test", "meets"]).args(rest);
    run
}

#[test]
fn isolated_tests_run_in_parallel() {
    let package = package();
    let with = |how: &[&str], rest: &[&str]| {
        let marks = tempfile::tempdir().unwrap();
        let said = output(&mut meeting(&package, marks.path(), how, rest));
        assert!(said.status.success(), "{}", text(&said));
        text(&said)
    };
    let shown = with(&["test", "--isolate"], &["--", "--test-threads", "2"]);
    assert!(shown.contains("test result: ok. 2 passed"), "{shown}");
    if has_nextest() {
        let shown = with(&["nextest", "run"], &["--test-threads", "2"]);
        assert!(shown.contains("2 tests run: 2 passed"), "{shown}");
    }
}

#[test]
fn two_runs_in_one_workspace_do_not_disturb_each_other() {
    let package = package();
    let marks = tempfile::tempdir().unwrap();
    let start = |test: &str| -> Child {
        let mut run = meeting(&package, marks.path(), &["test"], &[test]);
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for run in [start("first"), start("second")] {
        let said = run.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", text(&said));
        assert!(text(&said).contains("1 passed"), "{}", text(&said));
    }
}
