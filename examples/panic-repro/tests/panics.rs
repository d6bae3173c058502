//! Ordinary tests that drive guests of their own: the panics happen there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use example_panic_repro::{Panic, Verdict, reproduce};
use uml_test::{Error, Vm};

const LIMIT: Duration = Duration::from_secs(20);

/// The panic that a script makes.
#[expect(clippy::print_stdout, reason = "shown where a test fails, in CI's log too")]
fn panic_of(script: &str) -> Panic {
    match reproduce(Vm::builder().mem(64 << 20), script, LIMIT) {
        Ok(Verdict::Panicked(panic)) => {
            println!("{panic}");
            panic
        }
        Ok(Verdict::Survived(output)) => panic!("the kernel survived: {output:?}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn sysrq_crashes_the_kernel() {
    let panic = panic_of("echo c > /proc/sysrq-trigger");
    assert_eq!(panic.message, "sysrq triggered crash");
    assert!(panic.call_trace().contains(&"write_sysrq_trigger"), "{:?}", panic.call_trace());
}

#[test]
fn a_kernel_can_be_told_to_panic_when_memory_is_short() {
    let panic = panic_of("echo 2 > /proc/sys/vm/panic_on_oom; tail /dev/zero");
    assert!(panic.message.contains("Out of memory"), "{}", panic.message);
}

#[test]
fn a_failing_script_is_no_panic() {
    match reproduce(Vm::builder(), "echo fine; exit 3", LIMIT).unwrap() {
        Verdict::Survived(output) => {
            assert_eq!(output.stdout, b"fine\n");
            assert_eq!(output.status.code(), Some(3));
        }
        Verdict::Panicked(panic) => panic!("{panic}"),
    }
}

#[test]
fn neither_a_hang_nor_a_power_off_is_a_panic() {
    let limit = Duration::from_secs(1);
    let hang = reproduce(Vm::builder(), "sleep 60", limit).unwrap_err();
    assert!(matches!(hang, Error::TimedOut { .. }), "{hang}");

    let off = reproduce(Vm::builder(), "echo o > /proc/sysrq-trigger; sleep 60", LIMIT);
    match off.unwrap_err() {
        Error::Gone { end, .. } => assert_eq!(end.panic_message, None),
        other => panic!("{other}"),
    }
}

/// What `git bisect run` and a CI job see.
#[test]
fn the_program_prints_the_trace_and_fails() {
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash.sh");
    std::fs::write(&script, "echo c > /proc/sysrq-trigger\n").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_example-panic-repro")).arg(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("panicked: sysrq triggered crash"), "{printed}");
    assert!(printed.contains("Call Trace:"), "{printed}");
}
