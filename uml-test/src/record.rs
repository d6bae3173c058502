//! The record of a finished test, and its file; on every host. `docs/settings.md` has the format.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::config::variable;

/// A test's result, as its harness shows it.
#[derive(Debug)]
pub struct Record<'r> {
    /// The test binary, as [`Record::binary`] gives it.
    pub binary: String,
    /// The test's name in it.
    pub test: String,
    /// The kernel's path.
    pub kernel: String,
    /// One of the words that `docs/settings.md` lists.
    pub outcome: &'r str,
    /// One line; empty for a pass.
    pub reason: String,
    /// How long it took.
    pub took: Duration,
}

impl Record<'_> {
    /// Where records are asked for. A path that is not absolute is for others to complain of.
    pub fn directory() -> Option<PathBuf> {
        variable("UML_TEST_RESULTS").map(PathBuf::from).filter(|dir| dir.is_absolute())
    }

    /// `PACKAGE/BINARY`: the package that cargo says, else its directory's name; the executable's
    /// name without what cargo appends.
    pub fn binary(manifest_dir: &Path, executable: &Path) -> String {
        let package = variable("CARGO_PKG_NAME")
            .unwrap_or_else(|| manifest_dir.file_name().map(ToOwned::to_owned).unwrap_or_default());
        format!("{}/{}", package.display(), Self::binary_name(executable))
    }

    /// The executable's name without what cargo appends.
    pub fn binary_name(executable: &Path) -> String {
        without_hash(&executable.file_stem().unwrap_or_default().to_string_lossy()).to_owned()
    }

    /// Writes it into a directory, under a name of its own.
    ///
    /// # Errors
    /// What could not be written, and why.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        put(dir, &self.to_json())
            .map_err(|error| format!("write a result record into {}: {error}", dir.display()))
    }

    fn to_json(&self) -> String {
        let Self { binary, test, kernel, outcome, reason, took } = self;
        let mut json = String::from("{");
        for (key, value) in [
            ("binary", &**binary),
            ("test", test),
            ("kernel", kernel),
            ("outcome", outcome),
            ("reason", reason),
        ] {
            let _ = write!(json, "\"{key}\": {}, ", quoted(value));
        }
        let _ = write!(json, "\"seconds\": {:.6}}}", took.as_secs_f64());
        json
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whole under a name of its own, or not at all.
fn put(dir: &Path, json: &str) -> std::io::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{number}", now.as_nanos(), std::process::id());
    let unfinished = dir.join(format!(".{name}"));
    fs::write(&unfinished, json)?;
    fs::rename(&unfinished, dir.join(format!("{name}.json")))
}

/// A test binary's name without what cargo appends.
fn without_hash(stem: &str) -> &str {
    match stem.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            name
        }
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_json_object() {
        let record = Record {
            binary: "p/b".into(),
            test: "module::name".into(),
            kernel: "/a \"b\"\\c".into(),
            outcome: "failed",
            reason: "tab\tand \u{e9}\u{1b}".into(),
            took: Duration::from_millis(49),
        };
        assert_eq!(
            record.to_json(),
            r#"{"binary": "p/b", "test": "module::name", "kernel": "/a \"b\"\\c", "outcome": "failed", "reason": "tab\u0009and é\u001b", "seconds": 0.049000}"#
        );
    }

    #[test]
    fn cargos_hash_is_no_part_of_a_binarys_name() {
        assert_eq!(without_hash("libtest-0123456789abcdef"), "libtest");
        assert_eq!(without_hash("many-custom"), "many-custom");
        assert_eq!(without_hash("my-tests-0123456789abcdef"), "my-tests");
    }

    #[test]
    fn nothing_unfinished_is_left_under_a_records_name() {
        let dir = std::env::temp_dir().join(format!("uml-test-results-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        put(&dir, "1").unwrap();
        put(&dir, "2").unwrap();
        let mut found: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.extension().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
            .collect();
        found.sort();
        fs::remove_dir_all(&dir).unwrap();
        let record = |text: &str| ("json".into(), text.to_owned());
        assert_eq!(found, [record("1"), record("2")]);
        assert!(put(&dir, "3").is_err());
    }
}
