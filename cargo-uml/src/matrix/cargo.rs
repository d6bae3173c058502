//! The command lines of cargo. No I/O.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::run::command_line::{MANIFEST_PATH, values_of};

/// What is run for every kernel.
#[derive(Debug)]
pub(crate) struct Invocation {
    nextest: bool,
    arguments: Vec<OsString>,
}

/// Has every test binary run, also after one has failed.
const ALL: &str = "--no-fail-fast";

impl Invocation {
    /// With the user's `arguments`, which may have a `--` for the test binaries' own.
    pub(crate) fn new(nextest: bool, arguments: Vec<OsString>) -> Self {
        Invocation { nextest, arguments }
    }

    /// The arguments that build what is to be run; none where running builds by itself and says whether it failed in
    /// that, as nextest does.
    pub(crate) fn build(&self) -> Option<Vec<OsString>> {
        let own = self.own();
        if self.nextest || own.iter().any(|argument| argument == "--doc" || argument == "--no-run")
        {
            return None;
        }
        Some(
            ["test", "--no-run"]
                .map(OsString::from)
                .into_iter()
                .chain(own.iter().cloned())
                .collect(),
        )
    }

    /// The arguments that run the tests.
    pub(crate) fn test(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = match self.nextest {
            true => vec!["nextest".into(), "run".into()],
            false => vec!["test".into()],
        };
        // Given twice it is an error.
        if !self.own().iter().any(|argument| argument == ALL) {
            all.push(ALL.into());
        }
        all.extend(self.arguments.iter().cloned());
        all
    }

    /// The manifest that the user names.
    pub(crate) fn manifest(&self) -> Option<PathBuf> {
        values_of(self.own(), MANIFEST_PATH).first().map(PathBuf::from)
    }

    /// Whether an exit code says that cargo could not do its work, other than tests that failed.
    ///
    /// cargo test gives 101 for anything; what it is to run was built before, so tests it is.
    pub(crate) fn is_own_failure(&self, code: Option<i32>) -> bool {
        const NEXTEST_TESTS_FAILED: i32 = 100;
        const CARGO_TESTS_FAILED: i32 = 101;
        let tests = if self.nextest { NEXTEST_TESTS_FAILED } else { CARGO_TESTS_FAILED };
        !matches!(code, Some(code) if code == 0 || code == tests)
    }

    pub(crate) fn is_nextest(&self) -> bool {
        self.nextest
    }

    /// Whether nextest's list of the tests is what it will run: a rerun leaves out what passed before, which only the
    /// run knows.
    pub(crate) fn can_be_listed(&self) -> bool {
        let is_rerun = |argument: &OsString| {
            let text = argument.to_string_lossy();
            text.starts_with("-R") || text.split('=').next() == Some("--rerun")
        };
        self.nextest && !self.own().iter().any(is_rerun)
    }

    /// The arguments of `cargo nextest list` for the tests that would run: without those that only a run has.
    pub(crate) fn list(&self) -> Vec<OsString> {
        const FLAGS: [&str; 10] = [
            ALL,
            "--no-run",
            "--fail-fast",
            "--ff",
            "--nff",
            "--no-capture",
            "--nocapture",
            "--hide-progress-bar",
            "--no-input-handler",
            "--no-output-indent",
        ];
        const WITH_VALUE: [&str; 21] = [
            "-j",
            "--test-threads",
            "--jobs",
            "--retries",
            "--flaky-result",
            "--max-fail",
            "--failure-output",
            "--success-output",
            "--status-level",
            "--final-status-level",
            "--show-progress",
            "--no-tests",
            "--max-progress-running",
            "--message-format",
            "--message-format-version",
            "--stress-count",
            "--stress-duration",
            "--debugger",
            "--tracer",
            "-R",
            "--rerun",
        ];
        let mut list = Vec::new();
        let mut rest = self.arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                list.push(argument.clone());
                list.extend(rest.cloned());
                break;
            }
            let text = argument.to_string_lossy();
            let name = text.split('=').next().unwrap_or_default();
            let is_joined = ["-j", "-R"].iter().any(|short| text.starts_with(short));
            if WITH_VALUE.contains(&name) {
                if !text.contains('=') {
                    rest.next();
                }
            } else if !FLAGS.contains(&name) && !is_joined {
                list.push(argument.clone());
            }
        }
        list
    }

    /// The command as one would type it, without its arguments.
    pub(crate) fn name(&self) -> &'static str {
        if self.nextest { "cargo nextest run" } else { "cargo test" }
    }

    /// What is cargo's own of the arguments.
    pub(crate) fn own(&self) -> &[OsString] {
        let end = self.arguments.iter().position(|argument| argument == OsStr::new("--"));
        &self.arguments[..end.unwrap_or(self.arguments.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nextest: bool, arguments: &[&str]) -> Invocation {
        Invocation::new(nextest, arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn the_users_arguments_come_last_and_the_binaries_own_are_not_built_with() {
        let invocation = of(false, &["-p", "x", "--", "--nocapture"]);
        assert_eq!(invocation.test(), ["test", ALL, "-p", "x", "--", "--nocapture"]);
        assert_eq!(invocation.build().unwrap(), ["test", "--no-run", "-p", "x"]);
        let invocation = of(true, &["-p", "x"]);
        assert_eq!(invocation.test(), ["nextest", "run", ALL, "-p", "x"]);
        assert_eq!(invocation.build(), None);
        assert_eq!(of(false, &["--doc"]).build(), None);
    }

    #[test]
    fn no_option_is_given_twice() {
        assert_eq!(of(false, &[ALL, "x"]).test(), ["test", ALL, "x"]);
        assert_eq!(of(false, &["--", ALL]).test(), ["test", ALL, "--", ALL]);
    }

    #[test]
    fn a_list_has_the_arguments_that_select() {
        let run = ["-j", "4", "-j2", "--retries=3", "-E", "test(x)", "--no-capture", "-p", "x"];
        let more = ["--partition", "count:1/2", "--", "--skip", "-j"];
        let only_runs =
            ["--stress-count", "3", "--message-format-version=0.1", "-Rlatest", "--no-run"];
        let list = of(true, &[&run[..], &only_runs, &more].concat()).list();
        assert_eq!(
            list,
            ["-E", "test(x)", "-p", "x", "--partition", "count:1/2", "--", "--skip", "-j"]
        );
    }

    #[test]
    fn a_rerun_has_no_list() {
        for arguments in
            [&["-R", "latest"][..], &["-Rlatest"], &["--rerun=latest"], &["--rerun", "x"]]
        {
            assert!(!of(true, arguments).can_be_listed(), "{arguments:?}");
        }
        assert!(of(true, &["-E", "test(x)", "--", "--rerun"]).can_be_listed());
        assert!(!of(false, &[]).can_be_listed());
    }

    #[test]
    fn the_manifest_is_found() {
        assert_eq!(
            of(false, &["--manifest-path", "a/Cargo.toml"]).manifest(),
            Some("a/Cargo.toml".into())
        );
        assert_eq!(of(false, &["--manifest-path=b"]).manifest(), Some("b".into()));
        assert_eq!(of(false, &["--", "--manifest-path=b"]).manifest(), None);
    }

    #[test]
    fn failed_tests_are_told_from_a_failed_cargo() {
        assert!(!of(false, &[]).is_own_failure(Some(0)) && !of(true, &[]).is_own_failure(Some(0)));
        assert!(
            !of(false, &[]).is_own_failure(Some(101)) && of(true, &[]).is_own_failure(Some(101))
        );
        assert!(!of(true, &[]).is_own_failure(Some(100)) && of(true, &[]).is_own_failure(Some(4)));
        assert!(of(false, &[]).is_own_failure(None));
    }
}
