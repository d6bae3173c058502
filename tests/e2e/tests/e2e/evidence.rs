//! What is left of a failure for people to look at: its run directory.

use std::fs;
use std::path::PathBuf;

use crate::fixtures::{Fixtures, target_dir};
use crate::verdicts::Problem;
use crate::ways::{Verdict, Wanted, Way};

/// A failure's report names a directory with all that there is of it; a pass leaves none.
pub(crate) fn kept(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let crashes = "cases::guests::crashes_the_kernel";
    let Some(run) = Run::of(fixtures, way, crashes) else { return Err(Problem::NoNextest) };
    let outcome = run.file("outcome.txt");
    assert!(outcome.starts_with("the guest's kernel panicked: sysrq triggered crash"), "{outcome}");
    let console = run.file("console.log");
    assert!(console.contains("Kernel panic - not syncing: sysrq triggered crash"), "{console}");
    assert!(console.contains("Call Trace:"), "{console}");

    let run = Run::of(fixtures, way, "cases::verdicts::asserts").unwrap();
    assert!(run.file("outcome.txt").contains("arithmetic of fixtures"));
    // For its JSON nextest has tests write both streams into one pipe, and so they are one here.
    let (said, silent) = if way.is_nextest() { ("stdout", "stderr") } else { ("stderr", "stdout") };
    assert!(run.file(said).contains("arithmetic of fixtures"), "{}", run.file(said));
    assert_eq!(run.file(silent), "");
    run.file("harness");

    let passes = "cases::verdicts::passes";
    let text = report(fixtures, way, passes, Verdict::Passed).unwrap();
    assert!(!text.contains("run directory"), "{text}");
    let kept = fs::read_dir(target_dir().join("uml-test")).into_iter().flatten().flatten();
    let mut names = kept.map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(names.find(|name| name.starts_with("cases-verdicts-passes-")), None);
    Ok(())
}

/// A failure's run directory.
struct Run(PathBuf);

impl Run {
    /// `None` where nextest is not installed.
    fn of(fixtures: &Fixtures, way: Way, name: &str) -> Option<Self> {
        let text = report(fixtures, way, name, Verdict::Failed)?;
        let place = text.lines().find_map(|line| line.strip_prefix("run directory: "));
        let dir = PathBuf::from(place.unwrap_or_else(|| panic!("none is named:\n{text}")));
        assert_eq!(dir.parent().unwrap(), target_dir().join("uml-test"));
        Some(Self(dir))
    }

    fn file(&self, name: &str) -> String {
        let bytes = fs::read(self.0.join(name));
        String::from_utf8_lossy(&bytes.unwrap_or_else(|error| panic!("{name}: {error}"))).into()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that was said of a test, with which run directories are kept.
fn report(fixtures: &Fixtures, way: Way, name: &str, verdict: Verdict) -> Option<String> {
    let env = [("UML_TEST_KEEP_RUNS", "1000")];
    let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
    let (shown, finished) = way.run(fixtures, &wanted)?;
    assert_eq!(shown[name].verdict, verdict, "{}", finished.text());
    Some(format!("{}\n{}", shown[name].text, finished.text()))
}
