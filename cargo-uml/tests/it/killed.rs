//! Runs that are killed, and what goes with them: the guest with the runner, the runner with cargo.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{DEADLINE, real_kernel};
use crate::package::{Package, Running, becomes_empty, killed, output, text, uml};

#[test]
fn the_guest_goes_with_the_runner() {
    for signal in [9, 15, 2, 1] {
        let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
        let mut running = uml(&["exec", "sh", "-c", "echo up; sleep 100"]);
        running.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = running.spawn().unwrap();
        let mut up = [0; 3];
        running.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        assert!(fs::read_dir(dir.path()).unwrap().count() > 0);
        killed(&mut running, signal);
        becomes_empty(dir.path(), signal);
    }
}

/// cargo killed alone: what it had started is gone too.
#[test]
fn the_guest_goes_with_cargo() {
    let package = Package::new();
    package.write(
        "tests/two.rs",
        "#[test]\nfn endless() { println!(\"up\"); std::thread::sleep(std::time::Duration::from_secs(600)) }",
    );
    for signal in [9, 15, 2, 1] {
        let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
        let mut running = package.uml(&["test", "--test", "two", "--", "--nocapture"]);
        running.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null());
        let mut running = running.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("up")), "signal {signal}");
        assert!(fs::read_dir(dir.path()).unwrap().count() > 0);
        killed(&mut running, signal);
        becomes_empty(dir.path(), signal);
    }
}

/// By a runner that a configuration file names, which nobody tells of a process to end with.
#[test]
fn the_guest_goes_with_a_plain_cargo() {
    let package = Package::new();
    package.write(
        "tests/two.rs",
        "#[test]\nfn endless() { std::thread::sleep(std::time::Duration::from_secs(600)) }",
    );
    let ours = env!("CARGO_BIN_EXE_cargo-uml");
    let runner = format!("[target.x86_64-unknown-linux-gnu]\nrunner = \"{ours} runner\"\n");
    package.write(".cargo/config.toml", &runner);
    // As Debian and Nix call it. The name of a process is its file's.
    for name in ["cargo", "cargo-1.80", ".cargo-wrapped"] {
        let cargo = package.path().join(name);
        // Not rustup's proxy, which becomes another file.
        std::os::unix::fs::symlink(env!("CARGO"), &cargo).unwrap();
        let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
        let mut running = Command::new(cargo);
        running.args(["test", "--test", "two"]).current_dir(package.path());
        for name in ["CARGO_TARGET_DIR", "UML_RUNNER_PROCESS", "UML_RUNNER_OPTIONS"] {
            running.env_remove(name);
        }
        running.env("UML_TEST_KERNEL", real_kernel()).env("UML_TEST_RUN_DIR", dir.path());
        running.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running::start(&mut running);
        first_guest(dir.path());
        running.killed(9);
        becomes_empty(dir.path(), name);
    }
}

/// While a binary's tests are listed in a guest, while those of its tests boot, and while those run.
#[test]
fn the_guests_of_isolated_tests_go_with_cargo_at_any_moment() {
    let package = Package::new();
    let waits = "() { std::thread::sleep(std::time::Duration::from_secs(600)) }\n";
    package.write("tests/two.rs", &format!("#[test]\nfn a{waits}#[test]\nfn b{waits}"));
    let built = output(&mut package.uml(&["test", "--test", "two", "--no-run"]));
    assert!(built.status.success(), "{}", text(&built));
    let pauses = [0, 5, 15, 30, 45, 60, 90, 200].map(Duration::from_millis);
    for (signal, pause) in [9, 15, 2, 1].into_iter().cycle().zip(pauses) {
        let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
        let mut run = package.uml(&["test", "--isolate", "--test", "two"]);
        run.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null());
        let mut running = Running::start(run.stdout(Stdio::null()).stderr(Stdio::null()));
        first_guest(dir.path());
        std::thread::sleep(pause);
        running.killed(signal);
        becomes_empty(dir.path(), (signal, pause));
    }
}

/// Its profiles are on their way, by a directory of the runner's.
#[test]
fn profiles_go_with_cargo() {
    let package = Package::new();
    package.write(
        "tests/two.rs",
        "#[test]\nfn endless() { println!(\"up\"); std::thread::sleep(std::time::Duration::from_secs(600)) }",
    );
    let mut build = package.uml(&["test", "--test", "two", "--no-run"]);
    let built = output(build.env("RUSTFLAGS", "-Cinstrument-coverage"));
    assert!(built.status.success(), "{}", text(&built));
    for signal in [9, 15] {
        let temporary = tempfile::tempdir().unwrap();
        let mut run = package.uml(&["test", "--test", "two", "--", "--nocapture"]);
        run.env("RUSTFLAGS", "-Cinstrument-coverage").env("TMPDIR", temporary.path());
        let mut running = run.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("up")), "signal {signal}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
        killed(&mut running, signal);
        becomes_empty(temporary.path(), signal);
    }
}

/// Waits until a guest has something in their directory.
pub(crate) fn first_guest(dir: &Path) {
    let deadline = Instant::now() + DEADLINE;
    while fs::read_dir(dir).unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "no guest was started");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Its doctests are rustdoc's, which goes on without cargo.
#[test]
fn the_guests_of_doctests_go_with_cargo() {
    let package = Package::new();
    let loops =
        "//! ```\n//! loop { std::thread::sleep(std::time::Duration::from_secs(1)) }\n//! ```\n";
    package.write("src/lib.rs", &format!("{loops}//! And another:\n{loops}"));
    package.write("src/main.rs", "fn main() {}\n");
    let dir = tempfile::Builder::new().prefix("gone-").tempdir_in("/dev/shm").unwrap();
    let mut running = package.uml(&["test", "--doc"]);
    running.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null());
    let mut running = Running::start(running.stdout(Stdio::null()).stderr(Stdio::null()));
    first_guest(dir.path());
    running.killed(9);
    // rustdoc's next program would start another guest, in a directory that is empty for a moment.
    running.group_ends();
    becomes_empty(dir.path(), "cargo");
}

#[test]
fn a_runner_whose_cargo_has_ended_runs_nothing() {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
    let run = |process: &str| output(uml(&["runner", "true"]).env("UML_RUNNER_PROCESS", process));
    // The number is this process's, which was not started then.
    let gone = run(&format!("{} 1 {}", std::process::id(), namespace.display()));
    assert_eq!(gone.status.signal(), Some(15), "{}", text(&gone));
    assert!(text(&gone).contains("unset it"), "{}", text(&gone));
    let elsewhere = run(&format!("{} 1 pid:[1]", std::process::id()));
    assert!(elsewhere.status.success(), "{}", text(&elsewhere));
}
