//! Result records: what `uml-test` writes to `UML_TEST_RESULTS` for every test that has finished, one file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// How a test ended, as its harness showed it; what a place in the table can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// By its own decision, while it ran.
    Skipped,
    /// Gated away: not run with this kernel.
    Ignored,
    TimedOut,
    KernelPanicked,
    GuestEnded,
    OutOfMemory,
    /// It could not be run.
    Infrastructure,
    /// Not in records: the run of this kernel left none of a test that another kernel's left one of.
    #[serde(skip_deserializing)]
    Missing,
    /// One that this version does not know; an outcome of a newer `uml-test`.
    #[serde(other)]
    Unknown,
}

/// The content of a file. Keys that are not known are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Record {
    /// Package and name of the test's binary, as `package/binary`.
    pub(crate) binary: String,
    /// The test's name in it.
    pub(crate) test: String,
    pub(crate) outcome: Outcome,
    /// One line; may be empty.
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) seconds: f64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not read the result record {path}", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is no result record that this version understands", path = path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Outcome {
    /// Whether the test did what it should, or was not to be run.
    pub(crate) fn is_good(self) -> bool {
        match self {
            Outcome::Passed | Outcome::Skipped | Outcome::Ignored => true,
            Outcome::Failed
            | Outcome::TimedOut
            | Outcome::KernelPanicked
            | Outcome::GuestEnded
            | Outcome::OutOfMemory
            | Outcome::Infrastructure
            | Outcome::Missing
            | Outcome::Unknown => false,
        }
    }
}

/// All records in `directory`, in the order in which they were written.
pub(crate) fn read(directory: &Path) -> Result<Vec<Record>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let mut records: Vec<(SystemTime, Record)> = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        // Files that are being written have a dot in front.
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        let written = path.metadata().and_then(|found| found.modified()).map_err(failed(&path))?;
        let text = fs::read(&path).map_err(failed(&path))?;
        let record = serde_json::from_slice(&text)
            .map_err(|source| Error::Content { path: path.clone(), source })?;
        records.push((written, record));
    }
    records.sort_by_key(|(written, _)| *written);
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

/// Of records with the same names keeps one that is not good, if there is one. Where nothing is tried again, they are of
/// a package's library and program, which may be called alike.
pub(crate) fn keep_worst(records: Vec<Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        let same = |other: &&mut Record| other.binary == record.binary && other.test == record.test;
        match kept.iter_mut().find(same) {
            Some(other) if other.outcome.is_good() => *other = record,
            Some(_) => {}
            None => kept.push(record),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_in_the_order_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        for (at, name) in ["z", "a", "m"].into_iter().enumerate() {
            let path = directory.path().join(name);
            let text = format!(
                r#"{{"binary": "p/b", "test": "{name}", "kernel": "/linux", "outcome": "timed-out",
                    "reason": "over", "seconds": 1.5, "later": true}}"#
            );
            fs::write(&path, text).unwrap();
            let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at as u64);
            fs::File::open(&path).unwrap().set_modified(then).unwrap();
        }
        fs::write(directory.path().join(".tmp"), "half").unwrap();
        let records = read(directory.path()).unwrap();
        let names: Vec<&str> = records.iter().map(|record| record.test.as_str()).collect();
        assert_eq!(names, ["z", "a", "m"]);
        assert_eq!((records[0].outcome, records[0].seconds), (Outcome::TimedOut, 1.5));
    }

    #[test]
    fn the_worst_of_two_binaries_with_one_name_counts() {
        let record = |test: &str, outcome| Record {
            binary: "p/p".to_owned(),
            test: test.to_owned(),
            outcome,
            reason: String::new(),
            seconds: 0.0,
        };
        let kept = keep_worst(vec![
            record("a", Outcome::Failed),
            record("b", Outcome::Passed),
            record("a", Outcome::Passed),
            record("b", Outcome::TimedOut),
        ]);
        let outcomes: Vec<_> = kept.iter().map(|record| (&*record.test, record.outcome)).collect();
        assert_eq!(outcomes, [("a", Outcome::Failed), ("b", Outcome::TimedOut)]);
    }

    #[test]
    fn what_is_no_record_is_an_error_and_a_new_outcome_is_not_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        fs::write(&path, r#"{"binary": "b", "test": "t", "outcome": "melted"}"#).unwrap();
        let records = read(directory.path()).unwrap();
        assert_eq!(records[0].outcome, Outcome::Unknown);
        assert!(!records[0].outcome.is_good());
        fs::write(&path, r#"{"binary": "b"}"#).unwrap();
        assert!(read(directory.path()).unwrap_err().to_string().contains("r.json"));
        assert!(read(&path).is_err());
    }
}
