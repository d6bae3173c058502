//! Many tests, many at once: all as alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command::{Finished, Running};
use crate::fixtures::{Fixtures, cargo};
use crate::left::Base;

const LIMIT: Duration = Duration::from_secs(120);

/// Two hundred tests in one binary, eight at a time.
pub(crate) fn one_binary(fixtures: &Fixtures) {
    for binary in [&fixtures.many, &fixtures.many_custom] {
        let base = Base::new();
        let mut command = many(fixtures, binary, &base);
        check(&Running::start(&mut command).finish(LIMIT));
        base.assert_empty();
    }
}

/// The same in two binaries at the same time, sharing a place for run directories.
pub(crate) fn two_binaries(fixtures: &Fixtures) {
    let base = Base::new();
    let mut commands =
        [&fixtures.many, &fixtures.many_custom].map(|binary| many(fixtures, binary, &base));
    let running = commands.each_mut().map(Running::start);
    for finished in running.map(|running| running.finish(LIMIT)) {
        check(&finished);
    }
    base.assert_empty();
}

/// Two calls of cargo on the same target at the same time.
pub(crate) fn two_cargos(_: &Fixtures) {
    let base = Base::new();
    let start = || {
        let mut cargo = cargo(&["test", "--test", "many", "--", "--test-threads", "8"]);
        Running::start(cargo.env("UML_TEST_RUN_DIR", base.path()))
    };
    for finished in [start(), start()].map(|running| running.finish(LIMIT)) {
        check(&finished);
    }
    base.assert_empty();
}

fn many(fixtures: &Fixtures, binary: &Path, base: &Base) -> Command {
    let mut command = fixtures.command(binary, base.path());
    command.args(["--test-threads", "8"]);
    command
}

/// Every tenth test fails with its module's name, all others pass.
fn check(finished: &Finished) {
    let text = String::from_utf8_lossy(&finished.stdout);
    let verdicts: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .map(|(name, verdict)| (name.trim().to_owned(), verdict.to_owned()))
        .collect();
    let mut expected = BTreeMap::new();
    for module in 0..20 {
        for test in 0..10 {
            let verdict = if test == 0 { "FAILED" } else { "ok" };
            expected.insert(format!("many::m{module:02}::t{test}"), verdict.to_owned());
        }
        let message = format!("many::m{module:02}\n");
        let says = text.lines().any(|line| {
            line.starts_with("panicked: meant to fail: ") && format!("{line}\n").ends_with(&message)
        });
        assert!(says, "nothing says that {message} failed:\n{text}");
    }
    assert_eq!(verdicts, expected, "{}", finished.text());
}
