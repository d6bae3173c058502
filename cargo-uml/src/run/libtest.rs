//! libtest's language: the arguments of its binaries, their lists of tests, and their last line. No I/O but for a
//! variable that libtest reads too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use libtest_mimic::{Arguments, ColorSetting, FormatSetting};

/// The arguments of a libtest binary, as cargo passes them on.
#[derive(Debug, clap::Parser)]
#[command(name = "libtest", no_binary_name = true, disable_version_flag = true)]
pub(super) struct LibtestArguments {
    /// Names of tests, or parts of them
    filters: Vec<OsString>,
    #[arg(long, allow_hyphen_values = true)]
    skip: Vec<OsString>,
    #[arg(long)]
    exact: bool,
    #[arg(long, conflicts_with = "include_ignored")]
    pub(super) ignored: bool,
    #[arg(long)]
    pub(super) include_ignored: bool,
    #[arg(long, alias = "no-capture")]
    pub(super) nocapture: bool,
    #[arg(long)]
    pub(super) show_output: bool,
    #[arg(long)]
    test_threads: Option<usize>,
    #[arg(long)]
    format: Option<FormatSetting>,
    #[arg(long, short, conflicts_with = "format")]
    quiet: bool,
    #[arg(long)]
    color: Option<ColorSetting>,
    #[arg(long)]
    test: bool,
    #[arg(short = 'Z', value_name = "FLAG")]
    unstable: Option<String>,
}

impl LibtestArguments {
    /// What selects tests, for a list: the last of its arguments. Whether ignored ones are meant is said apart.
    pub(super) fn selection(&self) -> Vec<OsString> {
        let mut selection = Vec::new();
        for skip in &self.skip {
            let mut option = OsString::from("--skip=");
            option.push(skip);
            selection.push(option);
        }
        selection.extend(self.exact.then(|| "--exact".into()));
        selection.extend(last(&self.filters));
        selection
    }

    /// The test that is asked for, if it is one by its exact name.
    pub(super) fn the_one(&self) -> Option<&str> {
        match &self.filters[..] {
            [name] if self.exact => name.to_str(),
            _ => None,
        }
    }

    /// Whether the report is for programs.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.format, Some(FormatSetting::Json))
    }

    /// For the report of tests that are selected already.
    pub(super) fn for_report(&self) -> anyhow::Result<Arguments> {
        let threads = match (self.test_threads, std::env::var_os("RUST_TEST_THREADS")) {
            (Some(threads), _) => Some(threads),
            (None, Some(text)) => {
                Some(text.to_str().and_then(|text| text.parse().ok()).with_context(|| {
                    format!("RUST_TEST_THREADS is {}, expected a number", text.display())
                })?)
            }
            (None, None) => None,
        };
        anyhow::ensure!(threads != Some(0), "the number of test threads must not be 0");
        Ok(Arguments {
            include_ignored: self.include_ignored || self.ignored,
            quiet: self.quiet,
            test_threads: threads,
            color: self.color,
            format: self.format,
            ..Arguments::default()
        })
    }
}

/// Names of tests, or parts of them, as the last arguments of a test binary. Not every harness knows what `--` is for, so
/// it is there only where a name would be an option without.
pub(super) fn last(names: &[OsString]) -> Vec<OsString> {
    let is_like_option = |name: &OsString| name.as_bytes().starts_with(b"-");
    let end = names.iter().any(is_like_option).then(|| "--".into());
    end.into_iter().chain(names.iter().cloned()).collect()
}

/// Whether a test binary is asked for its tests in libtest's words, and starts none.
pub(super) fn is_list(arguments: &[OsString]) -> bool {
    const PLAIN: [&str; 5] = ["--list", "--ignored", "--include-ignored", "--exact", "--nocapture"];
    const WITH_VALUE: [&str; 3] = ["--format", "--skip", "-Z"];
    let mut rest = arguments.iter().map(|argument| argument.to_string_lossy());
    let (mut known, mut lists) = (true, false);
    while let Some(argument) = rest.next().filter(|argument| argument != "--") {
        lists |= argument == "--list";
        if WITH_VALUE.contains(&&*argument) {
            rest.next();
        } else if argument.starts_with('-') {
            let name = argument.split('=').next().unwrap_or_default();
            known &= PLAIN.contains(&name) || WITH_VALUE.contains(&name);
        }
    }
    known && lists
}

/// The names in a list as `--list --format terse` prints it, and how often each is there.
pub(super) fn parse_list(list: &[u8]) -> Option<BTreeMap<String, u32>> {
    /// The third is libtest-mimic's word for the second.
    const KINDS: [&str; 3] = ["test", "benchmark", "bench"];
    let list = std::str::from_utf8(list).ok()?;
    let name = |line: &str| {
        let (name, kind) = line.rsplit_once(": ")?;
        KINDS.contains(&kind).then(|| name.to_owned())
    };
    let mut times = BTreeMap::new();
    for line in list.lines() {
        *times.entry(name(line)?).or_default() += 1;
    }
    Some(times)
}

/// Whether this ends as libtest's `--list` does: `3 tests, 0 benchmarks`.
pub(super) fn ends_a_list(list: &[u8]) -> bool {
    let list = String::from_utf8_lossy(list);
    let last: Vec<&str> = list.trim_end().lines().next_back().unwrap_or("").split(' ').collect();
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    matches!(&last[..], [tests, "tests," | "test,", benches, "benchmarks" | "benchmark"]
        if is_number(tests) && is_number(benches))
}

/// What libtest's last line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) passed: u32,
    pub(super) failed: u32,
    pub(super) ignored: u32,
}

impl Verdict {
    pub(super) fn of(line: &str) -> Option<Self> {
        let line = line.strip_prefix("test result: ")?;
        let count = |word: &str| {
            let (before, _) = line.split_once(word)?;
            before.trim_end().rsplit(' ').next()?.parse().ok()
        };
        let (passed, failed) = (count(" passed;")?, count(" failed;")?);
        Some(Verdict { passed, failed, ignored: count(" ignored;")? })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Parser;

    use super::*;

    #[test]
    fn only_lists_of_tests_are_taken_for_such() {
        let is = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            is_list(&arguments)
        };
        assert!(is(&["--list", "--format", "terse"]));
        assert!(is(&["--list", "--format=terse", "--ignored", "a_filter"]));
        assert!(!is(&["--format", "--list-of"]) && !is(&["a"]) && !is(&[]));
        assert!(!is(&["--list", "--flush"]), "no option of libtest's");
        for value_or_name in [&["--skip", "--list"][..], &["--format", "--list"], &["--", "--list"]]
        {
            assert!(!is(value_or_name), "{value_or_name:?}");
        }
        assert!(is(&["--skip", "--list", "--list"]) && is(&["--list", "--", "--flush"]));
    }

    #[test]
    fn names_are_no_options() {
        let selection = |arguments: &[&str]| {
            let arguments = LibtestArguments::try_parse_from(arguments).unwrap();
            arguments.selection().join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(selection(&["a", "--exact", "--skip", "-b"]), "--skip=-b --exact a");
        assert_eq!(selection(&["--", "a", "--list"]), "-- a --list");
    }

    #[test]
    fn lists_are_told_from_other_output() {
        let names = parse_list(b"a::b: test\nc: benchmark\n[kind] d: bench\nc: test\n").unwrap();
        let times = |name: &str, times| (name.to_owned(), times);
        let expected = [times("[kind] d", 1), times("a::b", 1), times("c", 2)];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(parse_list(b""), Some(BTreeMap::new()));
        assert_eq!(parse_list(b"a: test\nrunning 3 tests\n"), None);
        assert!(
            ends_a_list(b"\n0 tests, 0 benchmarks\n")
                && ends_a_list(b"a: test\n\n1 test, 1 benchmark")
        );
        assert!(!ends_a_list(b"") && !ends_a_list(b"3 tests, all good"));
    }
}
