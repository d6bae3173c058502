//! What nextest makes of tests in guests: its own JUnit report, denied skips, archives.

use std::fs;
use std::process::Command;

use crate::fixture::real_kernel;
use crate::package::{Package, TESTS, has_nextest, output, text};

#[test]
fn nextest_gives_each_test_a_kernel() {
    let package = Package::new();
    if !has_nextest() {
        return;
    }
    package.write("tests/two.rs", TESTS);
    let said =
        output(&mut package.uml(&["nextest", "run", "--kernel", real_kernel().to_str().unwrap()]));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("3 tests run: 3 passed"), "{}", text(&said));
}

/// Built and archived on one machine, run on another, where it lies elsewhere.
#[test]
fn an_archive_of_nextests_runs_elsewhere() {
    let (package, other) = (Package::new(), Package::new());
    if !has_nextest() {
        return;
    }
    for package in [&package, &other] {
        let reads = "#[test]\nfn finds_its_files() {\n    assert!(plain::in_guest());\n    \
                     assert_eq!(std::fs::read_to_string(\"data\").unwrap(), \"here\");\n}\n";
        package.write("tests/files.rs", reads);
    }
    package.append("tests/files.rs", STARTS);
    other.write("data", "here");
    let archive = other.path().join("tests.tar.zst");
    let archive = archive.to_str().unwrap();
    let mut build = Command::new("cargo");
    build.args(["nextest", "archive", "--archive-file", archive]).current_dir(package.path());
    let built = output(build.env_remove("CARGO_TARGET_DIR"));
    assert!(built.status.success(), "{}", text(&built));
    drop(package);
    let run = ["nextest", "run", "--archive-file", archive, "--workspace-remap", "."];
    let said = output(&mut other.uml(&run));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("3 tests run: 3 passed"), "{}", text(&said));

    // Where there is no cargo.
    let bin = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let mut programs = std::env::split_paths(&path).map(|dir| dir.join("cargo-nextest"));
    let nextest = programs.find(|path| path.exists()).unwrap();
    std::os::unix::fs::symlink(nextest, bin.path().join("cargo-nextest")).unwrap();
    let mut without = other.uml(&run);
    let said = output(without.env("PATH", bin.path()).env_remove("CARGO"));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("3 tests run: 3 passed"), "{}", text(&said));
}

/// A test that starts its package's program, by the path that nextest tells when it runs.
const STARTS: &str = r#"
#[test]
fn starts_its_program() {
    let program = std::env::var("NEXTEST_BIN_EXE_plain").unwrap();
    let said = std::process::Command::new(program).stdin(std::process::Stdio::null()).output();
    let said = said.unwrap();
    assert!(said.status.success() && said.stdout.starts_with(b"true "), "{said:?}");
}
"#;

const REPORTS: &str = "[profile.default]\nfail-fast = false\n\
                       [profile.default.junit]\npath = \"junit.xml\"\n";

#[test]
fn nextests_own_report_has_each_test_as_it_ended() {
    let package = Package::new();
    if !has_nextest() {
        return;
    }
    package.write(".config/nextest.toml", REPORTS);
    package.write(
        "tests/ends.rs",
        "#[test]\nfn passes() {}\n\
         #[test]\nfn panics() { panic!(\"for a reason\") }\n\
         #[test]\nfn aborts() { std::process::abort() }\n\
         #[test]\nfn crashes_the_kernel() { std::fs::write(\"/proc/sysrq-trigger\", \"c\").unwrap() }\n",
    );
    let said = output(&mut package.uml(&["nextest", "run", "--test", "ends"]));
    assert_eq!(said.status.code(), Some(100), "{}", text(&said));
    let report = fs::read_to_string(package.path().join("target/nextest/default/junit.xml"));
    let report = report.unwrap();
    assert!(report.contains(r#"tests="4""#) && report.contains(r#"failures="3""#), "{report}");
    let case = |name: &str| {
        let begin = report.find(&format!("<testcase name=\"{name}\"")).unwrap();
        &report[begin..]
            [..report[begin + 1..].find("<testcase").unwrap_or(report.len() - begin - 1)]
    };
    assert!(!case("passes").contains("<failure"), "{report}");
    assert!(case("panics").contains("for a reason"), "{report}");
    assert!(case("aborts").contains("SIGABRT"), "{report}");
    assert!(case("crashes_the_kernel").contains("sysrq triggered crash"), "{report}");
}

#[test]
fn a_denied_skip_fails_its_test_alone() {
    let package = Package::new();
    if !has_nextest() {
        return;
    }
    package.write(
        "tests/skips.rs",
        "#[test]\nfn honest() {}\n#[test]\nfn skips() { eprintln!(\"skipping: requires root\") }\n",
    );
    let run = |more: &[&str]| {
        let all = [&["nextest", "run", "--no-fail-fast", "--test", "skips"], more].concat();
        let said = output(&mut package.uml(&all));
        (said.status.code(), text(&said))
    };
    let (code, shown) = run(&[]);
    assert!(code == Some(0) && shown.contains("2 tests run: 2 passed"), "{shown}");
    let (code, shown) = run(&["--deny-skips"]);
    assert_eq!(code, Some(100), "{shown}");
    assert!(shown.contains("2 tests run: 1 passed, 1 failed"), "{shown}");
    assert!(shown.contains("--deny-skips denies:\n        skipping: requires root"), "{shown}");
}
