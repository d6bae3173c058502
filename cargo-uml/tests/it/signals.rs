//! Signals to nextest, and Ctrl-C on a terminal, which everything in its foreground hears.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rexpect::process::WaitStatus;
use rexpect::session::spawn_command;

use crate::killed::first_guest;
use crate::package::{Package, Running, becomes_empty, has_nextest, output, text};

/// nextest gives tests ten seconds to end, and then kills them.
const SOON: Duration = Duration::from_secs(8);
/// What nextest ends with.
const TEST_RUN_FAILED: i32 = 100;

fn package() -> Package {
    let package = Package::new();
    let endless = "#[test]\nfn endless() {\n    println!(\"\\nit is up\");\n    \
                   std::thread::sleep(std::time::Duration::from_secs(600))\n}\n";
    package.write("tests/endless.rs", endless);
    package
}

fn run_directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap()
}

/// While its guest boots, and while its test runs.
#[test]
fn nextest_ends_its_tests_and_their_guests() {
    let package = package();
    if !has_nextest() {
        return;
    }
    let built = output(&mut package.uml(&["nextest", "run", "--no-run", "--test", "endless"]));
    assert!(built.status.success(), "{}", text(&built));
    let moments = [None, Some(0), Some(15), Some(45)];
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        for pause in moments {
            let dir = run_directory();
            let mut run = package.uml(&["nextest", "run", "--no-capture", "--test", "endless"]);
            run.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null()).stderr(Stdio::null());
            let mut running = Running::start(run.stdout(Stdio::piped()));
            match pause {
                None => running.says("it is up"),
                Some(pause) => {
                    first_guest(dir.path());
                    std::thread::sleep(Duration::from_millis(pause));
                }
            }
            let sent = Instant::now();
            let status = running.signalled(signal);
            let is_caught = signal != Signal::SIGKILL;
            assert_eq!(status.code(), is_caught.then_some(TEST_RUN_FAILED), "{signal}, {pause:?}");
            assert!(sent.elapsed() < SOON, "{:?} after {signal}, {pause:?}", sent.elapsed());
            becomes_empty(dir.path(), (signal, pause));
        }
    }
}

#[test]
fn control_c_ends_cargo_and_the_guests() {
    let package = package();
    let test = ["--test", "endless"];
    let mut ways = vec![
        [&["test"], &test[..], &["--", "--nocapture"]].concat(),
        [&["test", "--isolate"], &test[..], &["--", "--nocapture"]].concat(),
    ];
    if has_nextest() {
        ways.push([&["nextest", "run", "--no-capture"], &test[..]].concat());
    }
    for way in ways {
        let dir = run_directory();
        let mut run = package.uml(&way);
        run.env("UML_TEST_RUN_DIR", dir.path());
        let mut session = spawn_command(run, Some(600_000)).unwrap();
        session.exp_string("it is up").unwrap();
        let typed = Instant::now();
        session.send_control('c').unwrap();
        session.exp_eof().unwrap();
        match (way[0], session.process().wait().unwrap()) {
            ("nextest", WaitStatus::Exited(_, code)) => assert_eq!(code, TEST_RUN_FAILED),
            ("test", WaitStatus::Signaled(_, by, _)) => {
                assert_eq!(by as i32, Signal::SIGINT as i32)
            }
            (_, other) => panic!("{way:?}: {other:?}"),
        }
        assert!(typed.elapsed() < SOON, "{way:?}: {:?}", typed.elapsed());
        becomes_empty(dir.path(), way);
    }
}
