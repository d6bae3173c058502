//! What the runs gave, tests by kernels: the JSON form, and the verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Serialize;

use super::record::{Outcome, Record};

/// All kernels and all tests.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) tests: Vec<Test>,
    /// Whether the user ended it.
    pub(crate) interrupted: bool,
    /// Whether every test on every kernel passed, or was not to be run.
    pub(crate) good: bool,
}

/// A kernel with its run.
#[derive(Debug, Serialize)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// `None` if it was not come to.
    pub(crate) run: Option<Run>,
    /// How many tests there were of each outcome.
    pub(crate) totals: BTreeMap<Outcome, usize>,
}

/// A run of cargo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) seconds: f64,
}

/// A test with its result on each kernel that was come to.
#[derive(Debug, Serialize)]
pub(crate) struct Test {
    pub(crate) binary: String,
    pub(crate) test: String,
    pub(crate) results: Vec<TestResult>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TestResult {
    pub(crate) kernel: String,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) seconds: f64,
    /// How often it was run; more than once where the runner tries again.
    pub(crate) attempts: usize,
}

/// A kernel, its run if it was come to, and what that recorded.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) run: Option<Run>,
    pub(crate) records: Vec<Record>,
    /// Binary and name of tests that it was to run, as far as that is known.
    pub(crate) planned: Vec<(String, String)>,
}

impl Run {
    pub(crate) fn new(status: ExitStatus, elapsed: Duration) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Run { exit_code: status.code(), signal: status.signal(), seconds: elapsed.as_secs_f64() }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.exit_code == Some(0)
    }
}

impl Results {
    pub(crate) fn new(columns: Vec<Column>, interrupted: bool) -> Self {
        let mut rows: BTreeMap<(String, String), Vec<Vec<&Record>>> = BTreeMap::new();
        for (at, column) in columns.iter().enumerate() {
            for key in &column.planned {
                rows.entry(key.clone()).or_insert_with(|| vec![Vec::new(); columns.len()]);
            }
            for record in &column.records {
                let key = (record.binary.clone(), record.test.clone());
                rows.entry(key).or_insert_with(|| vec![Vec::new(); columns.len()])[at].push(record);
            }
        }
        let tests: Vec<Test> = rows
            .into_iter()
            .map(|((binary, test), cells)| {
                let run = columns.iter().zip(cells).filter(|(column, _)| column.run.is_some());
                let results = run.map(|(column, records)| result(&column.name, &records)).collect();
                Test { binary, test, results }
            })
            .collect();
        let kernels: Vec<Kernel> = columns
            .into_iter()
            .map(|Column { name, path, run, .. }| {
                let mut totals = BTreeMap::new();
                for result in tests.iter().flat_map(|test| &test.results) {
                    if result.kernel == name {
                        *totals.entry(result.outcome).or_insert(0) += 1;
                    }
                }
                Kernel { name, path, run, totals }
            })
            .collect();
        let good = !interrupted && kernels.iter().all(Kernel::is_good);
        Results { kernels, tests, interrupted, good }
    }
}

impl Kernel {
    /// Silence is no success: a run without any record of a test is not good.
    fn is_good(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_good)
            && !self.totals.is_empty()
            && self.totals.keys().all(|outcome| outcome.is_good())
    }
}

/// The last attempt counts.
fn result(kernel: &str, records: &[&Record]) -> TestResult {
    let kernel = kernel.to_owned();
    let Some((last, before)) = records.split_last() else {
        let outcome = Outcome::Missing;
        return TestResult { kernel, outcome, reason: String::new(), seconds: 0.0, attempts: 0 };
    };
    let failed = before.iter().rev().find(|record| !record.outcome.is_good());
    let reason = match failed {
        Some(failed) if last.outcome.is_good() => {
            format!("at attempt {}; before: {}", records.len(), failed.reason)
        }
        _ => last.reason.clone(),
    };
    TestResult {
        kernel,
        outcome: last.outcome,
        reason,
        seconds: last.seconds,
        attempts: records.len(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record(test: &str, outcome: Outcome, reason: &str) -> Record {
        let (binary, test, reason) = ("demo/it".to_owned(), test.to_owned(), reason.to_owned());
        Record { binary, test, outcome, reason, seconds: 0.05 }
    }

    /// A kernel whose run ended with `exit_code`; `None` for one that was not come to.
    pub(crate) fn column(name: &str, exit_code: Option<i32>, records: Vec<Record>) -> Column {
        let run = exit_code.map(|code| Run { exit_code: Some(code), signal: None, seconds: 1.0 });
        let path = format!("/{name}/linux").into();
        Column { name: name.to_owned(), path, run, records, planned: Vec::new() }
    }

    fn good(columns: Vec<Column>) -> bool {
        Results::new(columns, false).good
    }

    #[test]
    fn only_runs_that_show_all_tests_good_are_good() {
        use Outcome::*;
        let pass = || record("a", Passed, "");
        assert!(good(vec![column("1", Some(0), vec![pass(), record("b", Ignored, "too old")])]));
        assert!(good(vec![column("1", Some(0), vec![pass(), record("b", Skipped, "no tool")])]));
        for bad in
            [Failed, TimedOut, KernelPanicked, GuestEnded, OutOfMemory, Infrastructure, Unknown]
        {
            assert!(
                !good(vec![column("1", Some(0), vec![pass(), record("b", bad, "")])]),
                "{bad:?}"
            );
        }
        // cargo failed for more than the records show
        assert!(!good(vec![column("1", Some(101), vec![pass()])]));
        // no record at all
        assert!(!good(vec![column("1", Some(0), vec![])]));
        // one kernel lacks a test
        let both = vec![pass(), record("b", Passed, "")];
        assert!(!good(vec![column("1", Some(0), both), column("2", Some(0), vec![pass()])]));
        // a planned test left no record with any kernel
        let mut planned = column("1", Some(0), vec![pass()]);
        planned.planned = vec![("demo/it".to_owned(), "a".to_owned())];
        assert!(good(vec![planned]));
        let mut planned = column("1", Some(0), vec![pass()]);
        planned.planned = vec![("demo/it".to_owned(), "b".to_owned())];
        assert!(!good(vec![planned]));
        // one was not come to
        assert!(!good(vec![column("1", Some(0), vec![pass()]), column("2", None, vec![])]));
        assert!(!Results::new(vec![column("1", Some(0), vec![pass()])], true).good);
    }

    #[test]
    fn the_last_attempt_counts_and_the_failed_one_is_told() {
        let records =
            vec![record("a", Outcome::Failed, "flaked"), record("a", Outcome::Passed, "")];
        let results = Results::new(vec![column("1", Some(0), records)], false);
        assert!(results.good);
        let result = &results.tests[0].results[0];
        assert_eq!((result.attempts, &*result.reason), (2, "at attempt 2; before: flaked"));
    }

    #[test]
    fn json_has_every_result() {
        let columns = vec![
            column("6.1", Some(0), vec![record("a", Outcome::Ignored, "needs 6.7")]),
            column("7.2", Some(101), vec![record("b", Outcome::TimedOut, "60 s")]),
            column("8", None, vec![]),
        ];
        let json = serde_json::to_value(Results::new(columns, false)).unwrap();
        assert_eq!(json["good"], false);
        assert_eq!(json["kernels"][0]["totals"], serde_json::json!({"ignored": 1, "missing": 1}));
        assert_eq!(json["kernels"][1]["run"]["exit_code"], 101);
        assert_eq!(json["kernels"][2]["run"], serde_json::Value::Null);
        let first = &json["tests"][0];
        assert_eq!((&first["binary"], &first["test"]), (&"demo/it".into(), &"a".into()));
        let results = first["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(results[0]["outcome"], "ignored");
        assert_eq!(results[0]["reason"], "needs 6.7");
        assert_eq!(results[1]["outcome"], "missing");
    }
}
