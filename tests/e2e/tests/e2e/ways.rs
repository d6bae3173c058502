//! The ways of running a fixture, and what each of them shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{Finished, run};
use crate::fixtures::{Fixtures, NextestCommand};
use crate::left::Base;
use crate::user::{Copies, as_nobody, give_away};

/// By which cargo and nextest know what to start tests with.
pub(crate) const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// No check takes longer; most take a hundredth of it.
const LIMIT: Duration = Duration::from_secs(240);

/// How fixtures are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Libtest,
    Custom,
    NextestLibtest,
    NextestCustom,
}

/// All of them, with their names.
pub(crate) const WAYS: [(Way, &str); 4] = [
    (Way::Libtest, "libtest"),
    (Way::Custom, "custom"),
    (Way::NextestLibtest, "nextest-libtest"),
    (Way::NextestCustom, "nextest-custom"),
];

/// What was shown for one test.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) verdict: Verdict,
    /// The outcome that its record has, which tells a pass from a test that was not run.
    pub(crate) outcome: Option<String>,
    /// Everything that was said about it, on any stream.
    pub(crate) text: String,
}

impl Shown {
    /// Whether the test ran and passed.
    pub(crate) fn has_passed(&self) -> bool {
        self.verdict == Verdict::Passed && self.outcome.as_deref() == Some("passed")
    }
}

/// The words that all ways share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Ignored,
}

/// The fixtures' two pairs of binaries, one of each pair for libtest, one for the custom runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Each test for itself.
    #[default]
    Cases,
    /// Two hundred tests.
    Many,
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'w> {
    pub(crate) suite: Suite,
    /// Exactly this test, or all but those of the modules `host` and `output`.
    pub(crate) only: Option<&'w str>,
    pub(crate) threads: u32,
    /// Whether the tests' output is to come through as it is.
    pub(crate) uncaptured: bool,
    /// `--ignored`, where the ignored ones are wanted.
    pub(crate) ignored: bool,
    pub(crate) env: &'w [(&'w str, &'w str)],
    /// Variables that are not to be set at all.
    pub(crate) unset: &'w [&'w str],
    /// These in the place of the fixtures themselves.
    pub(crate) copies: Option<&'w Copies>,
    /// Whether the tests, and their base directory, are `nobody`'s; needs copies.
    pub(crate) as_nobody: bool,
    /// A shell script that gets the base directory and the command as arguments and runs it; in a
    /// mount namespace of its own.
    pub(crate) script: Option<&'w str>,
}

impl Way {
    pub(crate) fn is_nextest(self) -> bool {
        matches!(self, Self::NextestLibtest | Self::NextestCustom)
    }

    /// Whether the tests themselves run under libtest.
    pub(crate) fn is_libtest(self) -> bool {
        matches!(self, Self::Libtest | Self::NextestLibtest)
    }

    /// The command, with the place of its report; `None` where nextest is not installed.
    pub(crate) fn command(
        self,
        fixtures: &Fixtures,
        base: &Base,
        wanted: &Wanted<'_>,
    ) -> Option<(Command, Option<PathBuf>)> {
        let threads = wanted.threads.max(1).to_string();
        let (name, binary) = match (wanted.suite, self.is_libtest()) {
            (Suite::Cases, true) => ("libtest", &fixtures.libtest),
            (Suite::Cases, false) => ("custom", &fixtures.custom),
            (Suite::Many, true) => ("many", &fixtures.many),
            (Suite::Many, false) => ("many_custom", &fixtures.many_custom),
        };
        let (mut command, report) = match self {
            Self::Libtest | Self::Custom => {
                let binary = wanted.copies.map_or(binary.clone(), |copies| copies.of(binary));
                let before = if wanted.as_nobody { as_nobody() } else { &[] };
                let mut words = before.iter().map(Path::new).chain([&*binary]);
                let mut command = fixtures.command(words.next()?, base.path());
                command.args(words).args(["--test-threads", &threads]);
                match wanted.only {
                    Some(name) => command.args(["--exact", name]),
                    None => command.args(["--skip", "::host::", "--skip", "::output::"]),
                };
                if wanted.ignored {
                    command.arg("--ignored");
                }
                if wanted.uncaptured {
                    command.arg("--nocapture");
                }
                (command, None)
            }
            Self::NextestLibtest | Self::NextestCustom => {
                let NextestCommand { mut command, report } =
                    fixtures.nextest("run", base.path())?;
                command.args(["--no-fail-fast", "--no-tests", "pass", "--test-threads", &threads]);
                command.args(["--run-ignored", if wanted.ignored { "only" } else { "default" }]);
                // The events would be among the output.
                match wanted.uncaptured {
                    true => command.args(["--no-capture", "--status-level", "none"]),
                    false => command.args(["--message-format", "libtest-json"]),
                };
                let which = match wanted.only {
                    Some(name) => format!("test(={name})"),
                    None => "test(/^cases::|^many::/) - test(/::host::|::output::/)".to_owned(),
                };
                command.args(["-E", &format!("binary({name}) & ({which})")]);
                if let Some(copies) = wanted.copies {
                    command.arg("--workspace-remap").arg(copies.workspace());
                    command.arg("--target-dir-remap").arg(copies.target());
                }
                if wanted.as_nobody && !as_nobody().is_empty() {
                    command.env(RUNNER, as_nobody().join(" "));
                }
                (command, Some(report))
            }
        };
        if let Some(copies) = wanted.copies {
            let dir = copies.package_dir();
            command.env("CARGO_MANIFEST_DIR", &dir).env("UML_TEST_KERNEL", copies.kernel());
            command.current_dir(dir);
        }
        if wanted.as_nobody {
            give_away(base.path());
        }
        command.envs(wanted.env.iter().copied());
        for name in wanted.unset {
            command.env_remove(name);
        }
        let command = match wanted.script {
            Some(script) => unshared(&command, script, base),
            None => command,
        };
        Some((command, report))
    }

    /// Runs it; what was shown for each test, and how long it took in all.
    pub(crate) fn run(
        self,
        fixtures: &Fixtures,
        wanted: &Wanted<'_>,
    ) -> Option<(BTreeMap<String, Shown>, Finished)> {
        let base = Base::new();
        let records = Records::new(wanted.as_nobody);
        let env = [&[records.env()], wanted.env].concat();
        let wanted = Wanted { env: &env, ..wanted.clone() };
        let (mut command, report) = self.command(fixtures, &base, &wanted)?;
        let finished = run(&mut command, LIMIT);
        base.assert_empty();
        let shown = self.read(&finished, report.as_deref(), &records);
        Some((shown, finished))
    }

    /// What a command of this way's has shown for each test.
    pub(crate) fn read(
        self,
        finished: &Finished,
        report: Option<&Path>,
        records: &Records,
    ) -> BTreeMap<String, Shown> {
        let mut shown = match report {
            Some(report) => read_report(finished, report),
            None => read_lines(finished),
        };
        for (name, outcome) in records.outcomes() {
            if let Some(shown) = shown.get_mut(&name) {
                shown.outcome = Some(outcome);
            }
        }
        // The exit code says what the lines say. nextest has its own for failed tests.
        let failed = shown.values().any(|shown| shown.verdict == Verdict::Failed);
        let failure = if self.is_nextest() { 100 } else { 101 };
        let code = if failed { failure } else { 0 };
        assert_eq!(finished.code(), code, "{self:?}\n{}", finished.text());
        shown
    }
}

/// A place for the records of a run's tests.
pub(crate) struct Records(tempfile::TempDir);

impl Records {
    pub(crate) fn new(of_nobody: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if of_nobody {
            give_away(dir.path());
        }
        Self(dir)
    }

    /// The setting by which they are written there.
    pub(crate) fn env(&self) -> (&str, &str) {
        ("UML_TEST_RESULTS", self.0.path().to_str().unwrap())
    }

    /// The tests' names with their outcomes.
    fn outcomes(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let read = |path: PathBuf| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        entries
            .map(|entry| read(entry.unwrap().path()))
            .map(|record| ["test", "outcome"].map(|key| record[key].as_str().unwrap().to_owned()))
            .map(|[test, outcome]| (test, outcome))
            .collect()
    }
}

/// A command by way of a shell script in a mount namespace of its own.
fn unshared(command: &Command, script: &str, base: &Base) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", script, "sh"]).arg(base.path());
    by_way_of(unshare, command)
}

/// A command as the further words of another one.
pub(crate) fn by_way_of(mut outer: Command, command: &Command) -> Command {
    outer.arg(command.get_program()).args(command.get_args());
    outer.current_dir(command.get_current_dir().expect("set for every way"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// What libtest and libtest-mimic print: a line for each test, then a section for each failure.
fn read_lines(finished: &Finished) -> BTreeMap<String, Shown> {
    let stdout = String::from_utf8_lossy(&finished.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&finished.stderr).into_owned();
    let mut shown = BTreeMap::new();
    let mut section: Option<String> = None;
    for line in stdout.lines() {
        let named = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        if let (Some((name, verdict)), None) = (named, &section) {
            let name = name.trim_end().trim_end_matches(" - should panic").to_owned();
            let verdict = match verdict.split([',', ' ']).next() {
                Some("ok") => Verdict::Passed,
                Some("FAILED") => Verdict::Failed,
                Some("ignored") => Verdict::Ignored,
                _ => panic!("what is this: {line:?}\n{stdout}"),
            };
            let about = stderr.lines().filter(|line| line.contains(&*name)).collect::<Vec<_>>();
            let text = format!("{line}\n{}\n", about.join("\n"));
            let before = shown.insert(name.clone(), Shown { verdict, outcome: None, text });
            assert!(before.is_none(), "{name} twice:\n{stdout}");
        } else if let Some(name) = heading(line) {
            section = Some(name.to_owned());
        } else if line == "failures:" || line.starts_with("test result: ") {
            section = None;
        } else if let Some(shown) = section.as_ref().and_then(|name| shown.get_mut(name)) {
            shown.text.push_str(line);
            shown.text.push('\n');
        }
    }
    // A panic in a should_panic test that came to nothing is reported past the capture.
    if let [(_, only)] = &mut shown.iter_mut().collect::<Vec<_>>()[..] {
        only.text.push_str(&stderr);
    }
    shown
}

/// `---- NAME stdout ----` and `---- NAME ----`.
fn heading(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    let name = name.strip_suffix(" stdout").unwrap_or(name);
    (name.starts_with("cases::") || name.starts_with("many::")).then_some(name)
}

/// nextest's events, one line of JSON each, and its JUnit report, which has the output.
fn read_report(finished: &Finished, report: &Path) -> BTreeMap<String, Shown> {
    let mut output = BTreeMap::new();
    if let Ok(xml) = std::fs::read_to_string(report) {
        let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
        for case in report.test_suites.iter().flat_map(|suite| &suite.test_cases) {
            let stream = |text: &Option<quick_junit::XmlString>| {
                text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
            };
            let end = match &case.status {
                // How the process ended.
                quick_junit::TestCaseStatus::NonSuccess { ty: Some(ty), .. } => ty.as_str(),
                _ => "",
            };
            let text = format!("{}{}\n{end}\n", stream(&case.system_out), stream(&case.system_err));
            output.insert(case.name.as_str().to_owned(), text);
        }
    }
    let stdout = String::from_utf8_lossy(&finished.stdout);
    let mut shown = BTreeMap::new();
    for line in stdout.lines() {
        let event: serde_json::Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error} in {line:?}\n{}", finished.text()));
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let verdict = match (&*field("type"), &*field("event")) {
            ("test", "ok") => Verdict::Passed,
            ("test", "failed") => Verdict::Failed,
            // Nothing more is said of ignored tests where no other is in their binary's selection.
            ("test", "ignored" | "started") => Verdict::Ignored,
            _ => continue,
        };
        let name = field("name");
        let (_, name) = name.split_once('$').unwrap_or_else(|| panic!("no test's name: {name}"));
        let text = output.get(name).cloned().unwrap_or_default();
        shown.insert(name.to_owned(), Shown { verdict, outcome: None, text });
    }
    shown
}
