//! Results of isolated tests that nobody reads, or that can't be written.

use std::fs::{self, File};
use std::process::{Output, Stdio};

use crate::package::{Package, TESTS, becomes_empty, output, text};

/// Runs isolated tests with this standard output; what they leave is nothing but a report, which says that not all is
/// known.
fn run(package: &Package, stdout: impl Into<Stdio>) -> Output {
    let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
    let mut run = package.uml(&["test", "--isolate", "--junit=r.xml", "--test", "two"]);
    run.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null());
    let run = run.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let said = run.wait_with_output().unwrap();
    becomes_empty(dir.path(), "the run");
    let report = fs::read_to_string(package.path().join("r.xml")).unwrap();
    assert!(report.contains(r#"errors="1""#), "{report}");
    assert!(!text(&said).contains("panicked"), "{}", text(&said));
    said
}

#[test]
fn results_that_cannot_be_written_end_the_run() {
    let package = Package::new();
    package.write("tests/two.rs", TESTS);
    let built = output(&mut package.uml(&["test", "--test", "two", "--no-run"]));
    assert!(built.status.success(), "{}", text(&built));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = text(&run(&package, writer));
    assert!(said.contains("signal: 13, SIGPIPE"), "as of any program: {said}");

    let full = File::options().write(true).open("/dev/full").unwrap();
    let said = text(&run(&package, full));
    let why = "could not write the results to stdout: No space left on device";
    assert!(said.contains("exit status: 125") && said.contains(why), "{said}");
}
