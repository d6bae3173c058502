//! What each way shows for tests that do not run: `skip!`, and no kernel.

use std::collections::BTreeMap;
use std::path::Path;

use crate::command::Finished;
use crate::fixtures::Fixtures;
use crate::verdicts::Problem;
use crate::ways::{Shown, Verdict, Wanted, Way};

/// Settings under which no kernel is found, whatever the machine has.
const NO_KERNEL: [(&str, &str); 3] = [
    ("UML_TEST_KERNEL", ""),
    ("UML_TEST_CACHE_DIR", "/nonexistent"),
    ("UML_TEST_MISSING_KERNEL", "skip"),
];

/// One call: the test, the settings, and what each way shows.
struct Case {
    name: &'static str,
    env: &'static [(&'static str, &'static str)],
    libtest: (Verdict, &'static str),
    custom: (Verdict, &'static str),
    nextest_custom: Verdict,
}

const PASSES: &str = "cases::verdicts::passes";
const GATED: &str = "cases::gates::lacks_an_option";
const SKIPS: &str = "cases::verdicts::skips";
const LIBTEST_PASSES: [(&str, &str); 4] =
    [NO_KERNEL[0], NO_KERNEL[1], NO_KERNEL[2], ("UML_TEST_LIBTEST_SKIPS", "pass")];
const LIBTEST_FAILS: [(&str, &str); 4] =
    [NO_KERNEL[0], NO_KERNEL[1], NO_KERNEL[2], ("UML_TEST_LIBTEST_SKIPS", "fail")];

/// The same, and nothing is said of what to do then.
const NO_KERNEL_AT_ALL: [(&str, &str); 2] = [NO_KERNEL[0], NO_KERNEL[1]];

const CASES: &[Case] = &[
    Case {
        name: PASSES,
        env: &NO_KERNEL_AT_ALL,
        libtest: (Verdict::Failed, "infrastructure failure: no User Mode Linux kernel found"),
        custom: (Verdict::Failed, "infrastructure failure: no User Mode Linux kernel found"),
        nextest_custom: Verdict::Failed,
    },
    Case {
        name: "cases::verdicts::panics_somehow",
        env: &NO_KERNEL_AT_ALL,
        libtest: (Verdict::Failed, "infrastructure failure: no User Mode Linux kernel found"),
        custom: (Verdict::Failed, "infrastructure failure: no User Mode Linux kernel found"),
        nextest_custom: Verdict::Failed,
    },
    Case {
        name: GATED,
        env: &[("UML_TEST_LIBTEST_SKIPS", "pass")],
        libtest: (Verdict::Passed, "uml-test: cases::gates::lacks_an_option ignored: needs CONFIG"),
        custom: (Verdict::Ignored, "ignored (needs CONFIG_FLUX_CAPACITOR"),
        nextest_custom: Verdict::Ignored,
    },
    Case {
        name: GATED,
        env: &[("UML_TEST_LIBTEST_SKIPS", "fail")],
        libtest: (Verdict::Failed, "ignored: needs CONFIG_FLUX_CAPACITOR"),
        custom: (Verdict::Ignored, "ignored (needs CONFIG_FLUX_CAPACITOR"),
        nextest_custom: Verdict::Ignored,
    },
    Case {
        name: GATED,
        env: &NO_KERNEL,
        libtest: (Verdict::Failed, "no User Mode Linux kernel found"),
        custom: (Verdict::Ignored, "no User Mode Linux kernel found"),
        nextest_custom: Verdict::Ignored,
    },
    Case {
        name: SKIPS,
        env: &[],
        libtest: (
            Verdict::Passed,
            "uml-test: cases::verdicts::skips skipped: needs a flux capacitor",
        ),
        custom: (Verdict::Ignored, "ignored (needs a flux capacitor)"),
        nextest_custom: Verdict::Passed,
    },
    Case {
        name: SKIPS,
        env: &[("UML_TEST_LIBTEST_SKIPS", "fail")],
        libtest: (Verdict::Failed, "skipped: needs a flux capacitor"),
        custom: (Verdict::Ignored, "ignored (needs a flux capacitor)"),
        nextest_custom: Verdict::Passed,
    },
    Case {
        name: PASSES,
        env: &NO_KERNEL,
        libtest: (Verdict::Failed, "no User Mode Linux kernel found"),
        custom: (Verdict::Ignored, "no User Mode Linux kernel found"),
        nextest_custom: Verdict::Ignored,
    },
    Case {
        name: PASSES,
        env: &LIBTEST_FAILS,
        libtest: (Verdict::Failed, "no User Mode Linux kernel found"),
        custom: (Verdict::Ignored, "no User Mode Linux kernel found"),
        nextest_custom: Verdict::Ignored,
    },
    Case {
        name: PASSES,
        env: &LIBTEST_PASSES,
        libtest: (Verdict::Passed, "uml-test: cases::verdicts::passes not run: no User Mode Linux"),
        custom: (Verdict::Ignored, "no User Mode Linux kernel found"),
        nextest_custom: Verdict::Ignored,
    },
    // No panic can be expected of a kernel that is not there.
    Case {
        name: "cases::verdicts::panics_somehow",
        env: &LIBTEST_PASSES,
        libtest: (Verdict::Failed, "no User Mode Linux kernel found"),
        custom: (Verdict::Ignored, "no User Mode Linux kernel found"),
        nextest_custom: Verdict::Ignored,
    },
];

/// All of the table, through one way.
pub(crate) fn table(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for (number, case) in CASES.iter().enumerate() {
        let wanted = Wanted { only: Some(case.name), env: case.env, ..Wanted::default() };
        let Some((mut shown, finished)) = run(fixtures, way, &wanted) else {
            return Err(Problem::NoNextest);
        };
        let (verdict, says) = match way {
            Way::Libtest | Way::NextestLibtest => case.libtest,
            Way::Custom => case.custom,
            Way::NextestCustom => (case.nextest_custom, ""),
        };
        shown.retain(|name, _| name == case.name);
        let found = &shown[case.name];
        let text = format!("{}\n{}", found.text, finished.text());
        assert_eq!(found.verdict, verdict, "case {number}: {text}");
        assert!(text.contains(says), "case {number}: nothing says `{says}`:\n{text}");
    }
    Ok(())
}

/// Without kernels on `PATH` either.
fn run(
    fixtures: &Fixtures,
    way: Way,
    wanted: &Wanted<'_>,
) -> Option<(BTreeMap<String, Shown>, Finished)> {
    let cargo = Path::new(env!("CARGO")).parent()?.to_str()?;
    let path = if way.is_nextest() { cargo.to_owned() } else { "/nonexistent".to_owned() };
    let nextest = std::env::var("PATH").unwrap_or_default();
    // cargo has to find nextest, which may lie beside anything.
    let path = match way.is_nextest() {
        true => nextest
            .split(':')
            .filter(|dir| !Path::new(dir).join("linux").exists())
            .filter(|dir| !Path::new(dir).join("linux.uml").exists())
            .fold(path, |path, dir| format!("{path}:{dir}")),
        false => path,
    };
    // Where records are written nextest starts what it would otherwise show as ignored.
    let mut env = [wanted.env, &[("UML_TEST_RESULTS", "")]].concat();
    if env.iter().any(|(name, _)| *name == "UML_TEST_CACHE_DIR") {
        env.push(("PATH", &path));
    }
    way.run(fixtures, &Wanted { env: &env, ..wanted.clone() })
}
