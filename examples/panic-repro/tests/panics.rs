//! Ordinary tests that drive guests with [`Vm`]: nothing here runs in one.

use std::time::Duration;

use example_panic_repro::{Panic, Verdict, reproduce};
use uml_test::Vm;

const LIMIT: Duration = Duration::from_secs(20);

/// The panic, and where a test fails, what CI's log shows of it.
fn panic_of(script: &str) -> Panic {
    let panic = match reproduce(Vm::builder().mem(64 << 20), script, LIMIT) {
        Ok(Verdict::Panicked(panic)) => panic,
        other => panic!("expected a kernel panic, got {other:?}"),
    };
    println!("{panic}");
    panic
}

#[test]
fn sysrq_crashes_the_kernel() {
    let panic = panic_of("echo c > /proc/sysrq-trigger");
    assert_eq!(panic.message, "sysrq triggered crash");
    assert!(panic.call_trace().contains(&"sysrq_handle_crash"), "{:?}", panic.call_trace());
}

