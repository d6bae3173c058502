//! Signals to nextest, and Ctrl-C, which all of a terminal's foreground hears.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::package::{Package, Running, becomes_empty, has_nextest};

fn package() -> Package {
    let package = Package::new();
    let endless = "#[test]\nfn endless() {\n    println!(\"\\nit is up\");\n    \
                   std::thread::sleep(std::time::Duration::from_secs(600))\n}\n";
    package.write("tests/endless.rs", endless);
    package
}

/// How a run ends by a signal while its test is in a guest, all of which is gone then.
fn signalled(package: &Package, arguments: &[&str], signal: Signal, to_all: bool) -> ExitStatus {
    // nextest gives tests ten seconds to end.
    const SOON: Duration = Duration::from_secs(8);
    let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
    let mut run = package.uml(arguments);
    run.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut running = Running::start(run.stdout(Stdio::piped()));
    running.says("it is up");
    let sent = Instant::now();
    let status = running.signalled(signal, to_all);
    assert!(sent.elapsed() < SOON, "{arguments:?} ended {:?} after {signal}", sent.elapsed());
    becomes_empty(dir.path(), (arguments, signal));
    status
}

#[test]
fn nextest_ends_its_tests_and_their_guests() {
    const TEST_RUN_FAILED: i32 = 100;
    let package = package();
    if !has_nextest() {
        return;
    }
    let run = ["nextest", "run", "--no-capture", "--test", "endless"];
    for (signal, to_all) in [
        (Signal::SIGINT, false),
        (Signal::SIGTERM, false),
        (Signal::SIGHUP, false),
        (Signal::SIGINT, true),
    ] {
        let status = signalled(&package, &run, signal, to_all);
        assert_eq!(status.code(), Some(TEST_RUN_FAILED), "{signal}");
    }
}

#[test]
fn control_c_ends_cargo_and_the_guests() {
    let package = package();
    for how in [&["test"][..], &["test", "--isolate"]] {
        let run = [how, &["--test", "endless", "--", "--nocapture"]].concat();
        let status = signalled(&package, &run, Signal::SIGINT, true);
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{how:?}");
    }
}
