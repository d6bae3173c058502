//! Result records: what is written for each test that has finished.

use std::fs;

use serde_json::Value;

use crate::fixtures::Fixtures;
use crate::verdicts::Problem;
use crate::ways::{Wanted, Way};

/// A fixture, the outcome that its record has under libtest and the custom runner, and how its
/// reason begins.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("verdicts::passes", "passed", "passed", ""),
    ("verdicts::panics_as_expected", "passed", "passed", ""),
    ("verdicts::asserts", "failed", "failed", "panicked: assertion"),
    ("verdicts::does_not_panic", "failed", "failed", "did not panic"),
    ("verdicts::skips", "skipped", "skipped", "needs a flux capacitor"),
    // As libtest shows it, which takes nothing but a panic.
    ("verdicts::skips_where_a_panic_is_due", "failed", "skipped", "needs a flux capacitor too"),
    ("gates::is_for_older_kernels", "ignored", "ignored", "needs kernel <2.6, and"),
    ("hangs::sleeps", "timed-out", "timed-out", "timed out: still running"),
    ("guests::powers_off", "guest-ended", "guest-ended", "the guest ended"),
    ("guests::crashes_the_kernel", "kernel-panicked", "kernel-panicked", "the guest's kernel"),
    ("devices::junk_on_the_control_channel", "infrastructure", "infrastructure", "infrastructure"),
    ("guests::uses_more_memory_than_there_is", "out-of-memory", "out-of-memory", "out of memory"),
];

pub(crate) fn all(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for (name, libtest, custom, reason) in CASES {
        let name = format!("cases::{name}");
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().to_str().unwrap();
        let env = [("UML_TEST_RESULTS", results), ("CARGO_PKG_NAME", "uml-test-fixtures")];
        let wanted = Wanted { only: Some(&name), env: &env, ..Wanted::default() };
        let Some((_, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        let records: Vec<Value> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap())
            .collect();
        let outcome = if way.is_libtest() { libtest } else { custom };
        let [record] = &records[..] else {
            panic!("not one record of {name}: {records:?}\n{}", finished.text())
        };
        let binary = if way.is_libtest() { "libtest" } else { "custom" };
        assert_eq!(record["binary"], format!("uml-test-fixtures/{binary}"), "{record}");
        assert_eq!(record["test"], *name, "{record}");
        assert_eq!(record["kernel"], fixtures.kernel.to_str().unwrap(), "{record}");
        assert_eq!(record["outcome"], **outcome, "{record}");
        let found = record["reason"].as_str().unwrap();
        assert!(found.starts_with(reason) && found.is_empty() == reason.is_empty(), "{record}");
        let seconds = record["seconds"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&seconds), "{record}");
        assert!(seconds > 0.001 || *outcome == "ignored", "{record}");
        assert_eq!(record.as_object().unwrap().len(), 6, "{record}");
    }
    Ok(())
}

/// Records that cannot be written are told of, and change no verdict; a place that depends on the
/// working directory is refused.
pub(crate) fn unwritable(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for (dir, fails, says) in [
        ("/nonexistent", false, "write a result record into /nonexistent"),
        ("some/where", true, "UML_TEST_RESULTS: expected an absolute path, found `some/where`"),
    ] {
        let name = "cases::verdicts::passes";
        let env = [("UML_TEST_RESULTS", dir)];
        let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        let failed = shown[name].verdict == crate::ways::Verdict::Failed;
        assert_eq!(failed, fails, "{}", finished.text());
        let text = format!("{}{}", shown[name].text, finished.text());
        assert!(text.contains(says), "nothing says `{says}`:\n{text}");
    }
    Ok(())
}
