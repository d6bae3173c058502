//! Whether what was shown for a fixture is what its row says.

use std::fmt::Write as _;
use std::time::Duration;

use crate::command::run;
use crate::fixtures::{Fixtures, NextestCommand};
use crate::left::Base;
use crate::table::{Expected, Kind, LEADS, ROWS, Row, row};
use crate::ways::{Shown, Verdict, Wanted, Way};

/// What nextest itself takes to start, list the tests and report.
const NEXTEST: Duration = Duration::from_secs(2);

/// Runs one fixture alone.
pub(crate) fn alone(fixtures: &Fixtures, way: Way, row: &Row) -> Result<(), Problem> {
    let name = row.full_name();
    let wanted = Wanted { only: Some(&name), ..Wanted::default() };
    let Some((mut shown, finished)) = way.run(fixtures, &wanted) else {
        return Err(Problem::NoNextest);
    };
    // nextest names every ignored test, whichever was asked for.
    shown.retain(|found, shown| *found == name || shown.verdict != Verdict::Ignored);
    let [(found, shown)] = &shown.into_iter().collect::<Vec<_>>()[..] else {
        return Err(Problem::Wrong(format!("not one test:\n{}", finished.text())));
    };
    let mut problems = String::new();
    if *found != name {
        let _ = writeln!(problems, "{found} ran");
    }
    problems.push_str(&judge(row, way, shown));
    let limit = row.within + if way.is_nextest() { NEXTEST } else { Duration::ZERO };
    if finished.took > limit {
        let _ = writeln!(problems, "took {:?}, more than {limit:?}", finished.took);
    }
    if problems.is_empty() { Ok(()) } else { Err(Problem::Wrong(problems)) }
}

/// Runs all fixtures at once.
pub(crate) fn in_bulk(fixtures: &Fixtures, way: Way, env: &[(&str, &str)]) -> Result<(), Problem> {
    let wanted = Wanted { threads: 8, env, ..Wanted::default() };
    let Some((mut shown, _)) = way.run(fixtures, &wanted) else { return Err(Problem::NoNextest) };
    let mut problems = String::new();
    for row in ROWS {
        match shown.remove(&row.full_name()) {
            Some(shown) => problems.push_str(&judge(row, way, &shown)),
            None => {
                let _ = writeln!(problems, "{} was not run", row.name);
            }
        }
    }
    for name in shown.keys() {
        let _ = writeln!(problems, "{name} has no row: {:?}", row(name));
    }
    if problems.is_empty() { Ok(()) } else { Err(Problem::Wrong(problems)) }
}

/// Runs the ignored fixtures, as `--ignored` asks for.
pub(crate) fn ignored_on_request(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let wanted = Wanted { threads: 2, ignored: true, ..Wanted::default() };
    let Some((mut shown, _)) = way.run(fixtures, &wanted) else { return Err(Problem::NoNextest) };
    shown.retain(|_, shown| shown.verdict != Verdict::Ignored);
    // nextest takes gated tests for ignored ones, and then sees no more than that they do not fail.
    if way == Way::NextestCustom {
        shown.retain(|name, _| !row(name).is_some_and(|row| row.expected == Expected::Gated));
    }
    let rows = [
        Row { expected: Expected::Passed, ..*row("cases::verdicts::ignored").unwrap() },
        Row {
            expected: Expected::Fails(Kind::Panicked),
            says: "an ignored test ran",
            ..*row("cases::verdicts::ignored_and_fails").unwrap()
        },
    ];
    assert_eq!(shown.len(), rows.len(), "{shown:?}");
    let problems: String =
        rows.iter().map(|row| judge(row, way, &shown[&row.full_name()])).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problem::Wrong(problems)) }
}

/// The report of a test that hangs in the guest's kernel says where, if the kernel has the time to:
/// on a loaded machine not every time.
pub(crate) fn kernel_stacks(fixtures: &Fixtures) {
    const TIMES: usize = 5;
    let name = "cases::hangs::waits_for_a_filesystem";
    let wanted = Wanted { only: Some(name), ..Wanted::default() };
    let mut text = String::new();
    for _ in 0..TIMES {
        let (shown, _) = Way::Custom.run(fixtures, &wanted).unwrap();
        text = shown[name].text.clone();
        if text.contains("where the test was, in the guest's kernel") && text.contains("fuse_") {
            return;
        }
    }
    panic!("nothing says in {TIMES} runs where it hangs:\n{text}");
}

/// What nextest lists is what the table has, and what is ignored is marked so.
pub(crate) fn listing(fixtures: &Fixtures) -> Result<(), Problem> {
    let base = Base::new();
    let Some(NextestCommand { mut command, .. }) = fixtures.nextest("list", base.path()) else {
        return Err(Problem::NoNextest);
    };
    let finished = run(command.args(["--message-format", "json"]), Duration::from_secs(30));
    let list = nextest_metadata::TestListSummary::parse_json(finished.text()).unwrap();
    base.assert_empty();
    let is_ignored = |row: &Row, id: &str| match row.expected {
        Expected::Ignored => true,
        Expected::Gated => id == "custom",
        Expected::Passed | Expected::Skipped | Expected::Fails(_) => false,
    };
    for id in ["libtest", "custom"] {
        let suite = list.rust_suites.values().find(|suite| suite.binary.binary_name == id).unwrap();
        let found: Vec<_> = suite
            .test_cases
            .iter()
            .map(|(name, case)| (name.as_str().to_owned(), case.ignored))
            .filter(|(name, _)| !name.contains("::host::") && !name.contains("::output::"))
            .collect();
        let mut expected: Vec<_> =
            ROWS.iter().map(|row| (row.full_name(), is_ignored(row, id))).collect();
        expected.sort();
        assert_eq!(found, expected, "{id}");
    }
    Ok(())
}

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Problem {
    NoNextest,
    Wrong(String),
}

/// What is wrong with what was shown; nothing where it fits.
pub(crate) fn judge(row: &Row, way: Way, shown: &Shown) -> String {
    let verdict = match (row.expected, way) {
        (Expected::Passed, _) => Verdict::Passed,
        (Expected::Ignored, _) => Verdict::Ignored,
        (Expected::Fails(_), _) => Verdict::Failed,
        (Expected::Gated, Way::Custom) => Verdict::Ignored,
        // As records are asked for here; what is shown without them is in `skips`.
        (Expected::Gated, Way::NextestCustom) => Verdict::Passed,
        // libtest has no skipping at run time, and nextest does not see the custom runner's.
        (Expected::Skipped, Way::Custom) => Verdict::Ignored,
        (Expected::Skipped, Way::NextestCustom) => Verdict::Passed,
        (Expected::Skipped | Expected::Gated, Way::Libtest | Way::NextestLibtest) => {
            if row.should_panic { Verdict::Failed } else { Verdict::Passed }
        }
    };
    let mut wrong = Vec::new();
    if shown.verdict != verdict {
        wrong.push(format!("shown as {:?}, expected {verdict:?}", shown.verdict));
    }
    let outcome = match row.expected {
        Expected::Passed => Some("passed"),
        Expected::Fails(kind) => Some(kind.outcome()),
        Expected::Gated if way == Way::NextestCustom => Some("ignored"),
        // Of these `records` has what each way writes.
        Expected::Skipped | Expected::Ignored | Expected::Gated => shown.outcome.as_deref(),
    };
    if shown.outcome.as_deref() != outcome {
        wrong.push(format!("recorded as {:?}, expected {outcome:?}", shown.outcome));
    }
    let kind = match row.expected {
        Expected::Fails(kind) => Some(kind),
        Expected::Passed | Expected::Ignored | Expected::Gated | Expected::Skipped => None,
    };
    wrong.extend(wrong_kinds(kind, &shown.text));
    if !shown.text.contains(row.says) {
        wrong.push(format!("nothing says `{}`", row.says));
    }
    if wrong.is_empty() {
        return String::new();
    }
    format!("{}: {}\n{}\n", row.name, wrong.join("; "), shown.text)
}

/// A report begins a line with its kind; no other kind's words may begin one.
pub(crate) fn wrong_kinds(expected: Option<Kind>, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, lead) in LEADS {
        let said = text.lines().any(|line| line.starts_with(lead));
        if said != (expected == Some(kind)) {
            wrong.push(format!("said to be {kind:?}: {said}"));
        }
    }
    wrong
}
