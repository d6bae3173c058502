//! A kernel of the debug flavour catches each of the module's faults.
//!
//! README.md says how the module and the kernel come about.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::kmod::{ModuleInitFlags, finit_module};
use uml_test::uml_test;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/module/out/faulty.ko");
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
/// kmemleak takes younger objects for ones that are still to be linked somewhere.
const LEAK_AGE: Duration = Duration::from_secs(5);

fn load(parameters: &CStr) {
    let module =
        File::open(MODULE).unwrap_or_else(|error| panic!("open {MODULE} (see README.md): {error}"));
    finit_module(module, parameters, ModuleInitFlags::empty())
        .unwrap_or_else(|errno| panic!("load {MODULE}: {errno}\n{}", kernel_log()));
}

/// Every message in the kernel's log.
fn kernel_log() -> String {
    const O_NONBLOCK: i32 = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut kmsg = File::options().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg").unwrap();
    let mut log = String::new();
    let mut record = [0; 8192];
    loop {
        match kmsg.read(&mut record) {
            Ok(length) => log.push_str(&String::from_utf8_lossy(&record[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return log,
            // Overwritten before it was read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => panic!("read /dev/kmsg: {error}"),
        }
    }
}

/// Loads the module with `parameters` and expects `report`, with `function` in its stack, in the log.
fn assert_caught(parameters: &CStr, report: &str, function: &str) {
    assert!(!kernel_log().contains(report), "reported before the module was loaded");
    load(parameters);
    let log = kernel_log();
    let at = log.find(report).unwrap_or_else(|| panic!("no {report:?} in:\n{log}"));
    assert!(log[at..].contains(function), "no {function} after {report:?} in:\n{log}");
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn without_a_fault_nothing_is_reported() {
    load(c"");
    let log = kernel_log();
    for report in ["BUG:", "WARNING:", "possible circular locking"] {
        assert!(!log.contains(report), "{report} in:\n{log}");
    }
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn a_use_after_free() {
    assert_caught(c"fault=use-after-free", "BUG: KASAN: slab-use-after-free", "use_after_free");
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn a_lock_inversion() {
    let report = "possible circular locking dependency detected";
    assert_caught(c"fault=lock-inversion", report, "lock_inversion");
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn a_sleep_in_atomic_context() {
    let report = "BUG: sleeping function called from invalid context";
    assert_caught(c"fault=atomic-sleep", report, "atomic_sleep");
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn undefined_behaviour() {
    assert_caught(c"fault=wide-shift", "UBSAN: shift-out-of-bounds", "wide_shift");
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn a_list_that_is_corrupted() {
    assert_caught(c"fault=double-add", "list_add double add", "double_add");
}

#[uml_test]
#[ignore = "needs the debug flavour and a module built for it: see README.md"]
fn a_memory_leak() {
    assert!(Path::new(KMEMLEAK).exists(), "this kernel has no kmemleak");
    load(c"fault=leak");
    sleep(LEAK_AGE + Duration::from_secs(1));
    // An object whose content changed since the scan before is not reported yet.
    for _ in 0..2 {
        fs::write(KMEMLEAK, "scan").unwrap();
    }
    let leaks = fs::read_to_string(KMEMLEAK).unwrap();
    assert!(leaks.contains("unreferenced object"), "nothing found: {leaks:?}\n{}", kernel_log());
    assert!(leaks.contains("leak") && leaks.contains("[faulty]"), "{leaks}");
}
