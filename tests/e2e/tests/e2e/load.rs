//! Many tests, many at once: all as alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::command::Running;
use crate::fixtures::{Fixtures, cargo};
use crate::left::Base;
use crate::verdicts::Problem;
use crate::ways::{Records, Shown, Suite, Verdict, Wanted, Way};

const LIMIT: Duration = Duration::from_secs(240);
/// Two hundred tests, eight at a time.
pub(crate) const MANY: Wanted<'_> = Wanted {
    suite: Suite::Many,
    only: None,
    threads: 8,
    uncaptured: false,
    ignored: false,
    env: &[],
    unset: &[],
    copies: None,
    as_nobody: false,
    script: None,
};

/// Two hundred tests in one binary, eight at a time.
pub(crate) fn one_binary(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let Some((shown, _)) = way.run(fixtures, &MANY) else { return Err(Problem::NoNextest) };
    check(&shown);
    Ok(())
}

/// The same in two binaries of different kinds at the same time.
pub(crate) fn two_binaries(fixtures: &Fixtures, nextest: bool) -> Result<(), Problem> {
    let ways = match nextest {
        true => [Way::NextestLibtest, Way::NextestCustom],
        false => [Way::Libtest, Way::Custom],
    };
    at_once(ways, |base, way| way.command(fixtures, base, &MANY))
}

/// Two calls of cargo on the same target at the same time.
pub(crate) fn two_cargos(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    at_once([way, way], |base, way| {
        if way.is_nextest() {
            return way.command(fixtures, base, &MANY);
        }
        let binary = if way.is_libtest() { "many" } else { "many_custom" };
        let mut cargo = cargo(&["test", "--test", binary, "--", "--test-threads", "8"]);
        cargo.env("UML_TEST_RUN_DIR", base.path());
        cargo.envs(fixtures.traps.iter().map(|traps| ("UML_TEST_TRAPS", traps)));
        Some((cargo, None))
    })
}

/// Two commands that share a place for run directories.
fn at_once(
    ways: [Way; 2],
    command: impl Fn(&Base, Way) -> Option<(Command, Option<PathBuf>)>,
) -> Result<(), Problem> {
    let base = Base::new();
    let mut running = Vec::new();
    for way in ways {
        let Some((mut command, report)) = command(&base, way) else {
            return Err(Problem::NoNextest);
        };
        let records = Records::new(false);
        command.envs([records.env()]);
        running.push((way, Running::start(&mut command), report, records));
    }
    for (way, running, report, records) in running {
        check(&way.read(&running.finish(LIMIT), report.as_deref(), &records));
    }
    base.assert_empty();
    Ok(())
}

/// Every tenth test fails with its module's name, all others pass.
fn check(shown: &BTreeMap<String, Shown>) {
    let verdicts: BTreeMap<_, _> = shown
        .iter()
        .map(|(name, shown)| (name.clone(), (shown.verdict, shown.outcome.as_deref())))
        .collect();
    let mut expected = BTreeMap::new();
    for module in 0..20 {
        for test in 0..10 {
            let verdict = match test {
                0 => (Verdict::Failed, Some("failed")),
                _ => (Verdict::Passed, Some("passed")),
            };
            expected.insert(format!("many::m{module:02}::t{test}"), verdict);
        }
    }
    assert_eq!(verdicts, expected);
    for (name, shown) in shown.iter().filter(|(_, shown)| shown.verdict == Verdict::Failed) {
        let module = name.strip_suffix("::t0").expect("only these fail");
        let says = shown
            .text
            .lines()
            .any(|line| line.starts_with("panicked: meant to fail: ") && line.ends_with(module));
        assert!(says, "nothing says why {name} failed:\n{}", shown.text);
    }
}
