//! Hosts without Landlock: said once, or refused where it is asked for.
#![expect(unsafe_code, reason = "a filter can only be applied between fork and exec")]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::command::{Finished, run};
use crate::fixtures::Fixtures;
use crate::left::Base;

/// The names of twenty tests end so, and all of them pass.
const TESTS: &str = "::t1";
const WARNING: &str = "the host's kernel has no Landlock";
const LIMIT: Duration = Duration::from_secs(10);

/// The tests of a binary pass, and it is said once; `require` is an error that says why.
pub(crate) fn without_landlock(fixtures: &Fixtures) {
    let said = call(fixtures, "");
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(said.text().contains("20 passed; 0 failed"), "{}", said.text());
    assert_eq!(said.text().matches(WARNING).count(), 1, "{}", said.text());

    let said = call(fixtures, "require");
    assert_eq!(said.code(), 101, "{}", said.text());
    assert!(said.text().contains("0 passed; 20 failed"), "{}", said.text());
    let reason = "the sandbox is required, but the guest cannot be kept from writing";
    assert_eq!(said.text().matches(reason).count(), 20, "{}", said.text());

    // Who wants no protection needs no warning.
    let said = call(fixtures, "off");
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(!said.text().contains(WARNING), "{}", said.text());
}

fn call(fixtures: &Fixtures, sandbox: &str) -> Finished {
    let base = Base::new();
    let mut command = fixtures.command(&fixtures.many_custom, base.path());
    command.args([TESTS, "--test-threads", "2"]);
    deny_landlock(command.env("UML_TEST_SANDBOX", sandbox));
    let said = run(&mut command, LIMIT);
    base.assert_empty();
    said
}

/// As a kernel without it answers.
fn deny_landlock(command: &mut Command) {
    let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
    let answer = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, TargetArch::x86_64);
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    // SAFETY: the closure calls prctl(2) and seccomp(2) only.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&program).map_err(|_| std::io::Error::last_os_error())
        });
    }
}
