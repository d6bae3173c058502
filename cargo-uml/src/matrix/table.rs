//! The results as a table for people: a row a test, a column a kernel; reasons as footnotes.

use std::fmt::Write as _;

use super::record::Outcome;
use super::results::{Kernel, Results, TestResult};

/// The place of a kernel that was not come to.
const NOT_RUN: &str = "-";

pub(crate) fn text(results: &Results) -> String {
    let mut notes = Vec::new();
    let mut rows = vec![header(results)];
    let mut binary = None;
    for test in &results.tests {
        if binary != Some(&test.binary) {
            binary = Some(&test.binary);
            rows.push(vec![test.binary.clone()]);
        }
        let mut row = vec![format!("  {}", test.test)];
        row.extend(results.kernels.iter().map(|kernel| {
            let found = test.results.iter().find(|result| result.kernel == kernel.name);
            found.map_or_else(|| NOT_RUN.to_owned(), |result| cell(result, &mut notes))
        }));
        rows.push(row);
    }
    let mut text = aligned(&rows);
    if !notes.is_empty() {
        text.push('\n');
    }
    for (at, note) in notes.iter().enumerate() {
        let _ = writeln!(text, "[{}] {note}", at + 1);
    }
    text.push('\n');
    text.push_str(&aligned(&results.kernels.iter().map(total).collect::<Vec<_>>()));
    for line in remarks(results) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn header(results: &Results) -> Vec<String> {
    let names = results.kernels.iter().map(|kernel| kernel.name.clone());
    std::iter::once("test".to_owned()).chain(names).collect()
}

fn cell(result: &TestResult, notes: &mut Vec<String>) -> String {
    let word = word(result.outcome);
    if result.reason.is_empty() {
        return word.to_owned();
    }
    let number = notes.iter().position(|note| *note == result.reason).unwrap_or_else(|| {
        notes.push(result.reason.clone());
        notes.len() - 1
    });
    format!("{word} [{}]", number + 1)
}

/// What failed is in capitals.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Failed => "FAILED",
        Outcome::Skipped => "skipped",
        Outcome::Ignored => "ignored",
        Outcome::TimedOut => "TIMED OUT",
        Outcome::KernelPanicked => "KERNEL PANIC",
        Outcome::GuestEnded => "GUEST ENDED",
        Outcome::OutOfMemory => "OUT OF MEMORY",
        Outcome::Infrastructure => "NOT RUN",
        Outcome::Unknown => "UNKNOWN",
        Outcome::Missing => "MISSING",
    }
}

fn total(kernel: &Kernel) -> Vec<String> {
    let Some(run) = &kernel.run else {
        return vec![kernel.name.clone(), "not come to".to_owned()];
    };
    let counts: Vec<String> = kernel
        .totals
        .iter()
        .map(|(outcome, count)| format!("{count} {}", word(*outcome)))
        .collect();
    let counts = if counts.is_empty() { "no test recorded".to_owned() } else { counts.join(", ") };
    let cargo = match (run.exit_code, run.signal) {
        (Some(0), _) => "cargo ended well".to_owned(),
        (Some(code), _) => format!("cargo ended with {code}"),
        (None, Some(signal)) => format!("cargo ended by signal {signal}"),
        (None, None) => "cargo did not end".to_owned(),
    };
    vec![kernel.name.clone(), counts, cargo, format!("{:.1} s", run.seconds)]
}

/// What the table alone does not explain.
fn remarks(results: &Results) -> Vec<String> {
    let mut remarks = Vec::new();
    let ran = || results.kernels.iter().filter(|kernel| kernel.run.is_some());
    let names = |kernels: Vec<&Kernel>| {
        kernels.iter().map(|kernel| kernel.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let silent: Vec<&Kernel> = ran().filter(|kernel| kernel.totals.is_empty()).collect();
    if !silent.is_empty() && !results.interrupted {
        remarks.push(format!(
            "No #[uml_test] was recorded with {}: none was selected, or they use a release of uml-test that records \
             nothing.",
            names(silent)
        ));
    }
    let unexplained: Vec<&Kernel> = ran()
        .filter(|kernel| kernel.run.as_ref().is_some_and(|run| !run.is_good()))
        .filter(|kernel| {
            !kernel.totals.is_empty() && kernel.totals.keys().all(|outcome| outcome.is_good())
        })
        .collect();
    if !unexplained.is_empty() && !results.interrupted {
        remarks.push(format!(
            "With {} cargo failed for another reason than the tests above: see its output (a test without a guest, \
             say, or a binary that crashed).",
            names(unexplained)
        ));
    }
    let missing = |kernel: &&Kernel| kernel.totals.contains_key(&Outcome::Missing);
    if ran().any(|kernel| missing(&kernel)) && !results.interrupted {
        remarks.push(
            "MISSING tests left no record with that kernel though they did with another, or were to run: their binary \
             crashed, or did not list them."
                .to_owned(),
        );
    }
    if results.interrupted {
        remarks.push("Interrupted: the table has what was known by then.".to_owned());
    }
    if !remarks.is_empty() {
        remarks.insert(0, String::new());
    }
    remarks
}

/// Columns two spaces apart. A row of a single field is a heading and sets no width.
fn aligned(rows: &[Vec<String>]) -> String {
    let length = |text: &String| text.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let fields = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(at));
        fields.map(length).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (field, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{field:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::results::tests::{column, record};

    #[test]
    fn the_table_has_tests_by_kernels_with_reasons_below() {
        let old = vec![
            record("mounts::plain", Outcome::Passed, ""),
            record("mounts::new_api", Outcome::Ignored, "needs kernel >=6.7, this is 6.1.187"),
            record("net", Outcome::Ignored, "needs kernel >=6.7, this is 6.1.187"),
        ];
        let new = vec![
            record("mounts::plain", Outcome::Passed, ""),
            record("mounts::new_api", Outcome::KernelPanicked, "Oops"),
        ];
        let columns = vec![
            column("6.1", Some(0), old),
            column("7.2/debug", Some(101), new),
            column("8", None, vec![]),
        ];
        assert_eq!(
            text(&Results::new(columns, false)),
            "\
test               6.1          7.2/debug         8
demo/it
  mounts::new_api  ignored [1]  KERNEL PANIC [2]  -
  mounts::plain    ok           ok                -
  net              ignored [1]  MISSING           -

[1] needs kernel >=6.7, this is 6.1.187
[2] Oops

6.1        1 ok, 2 ignored                  cargo ended well      1.0 s
7.2/debug  1 ok, 1 KERNEL PANIC, 1 MISSING  cargo ended with 101  1.0 s
8          not come to

MISSING tests left no record with that kernel though they did with another, or were to run: their binary crashed, or did not list them.
"
        );
    }

    #[test]
    fn what_the_records_do_not_explain_is_said() {
        let passed = || vec![record("a", Outcome::Passed, "")];
        let shown = |columns, interrupted| text(&Results::new(columns, interrupted));
        let plain = shown(vec![column("1", Some(101), passed())], false);
        assert!(plain.contains("With 1 cargo failed for another reason"), "{plain}");
        let silent = shown(vec![column("1", Some(0), vec![])], false);
        assert!(silent.contains("No #[uml_test] was recorded with 1"), "{silent}");
        let stopped = shown(vec![column("1", Some(101), passed())], true);
        assert!(
            stopped.ends_with("\nInterrupted: the table has what was known by then.\n"),
            "{stopped}"
        );
        let good = shown(vec![column("1", Some(0), passed())], false);
        assert!(good.ends_with("1  1 ok  cargo ended well  1.0 s\n"), "{good}");
    }
}
