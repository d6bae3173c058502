//! Gates that have to be met, and those that a kernel says nothing about.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::executable;
use crate::fixtures::Fixtures;
use crate::table::Kind;
use crate::verdicts::{Problem, wrong_kinds};
use crate::ways::{Verdict, Wanted, Way};

const TOO_NEW: &str = "cases::gates::is_for_older_kernels";
const TOO_NEW_TO_PANIC: &str = "cases::gates::is_for_older_kernels_where_a_panic_is_due";
const LACKING: &str = "cases::gates::lacks_an_option";

/// All of these fail, whether or not a panic is due, and say why.
pub(crate) fn failures(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let dir = tempfile::tempdir().unwrap();
    let silent = without_config(fixtures, dir.path());
    let silent = silent.to_str().unwrap();
    let required = [("UML_TEST_GATES", "require")];
    for (name, env, says) in [
        (TOO_NEW, required, "needs kernel <2.6, and this one is "),
        (TOO_NEW_TO_PANIC, required, "needs kernel <2.6, and this one is "),
        (LACKING, required, "needs CONFIG_FLUX_CAPACITOR, and this kernel is built without"),
        (LACKING, [("UML_TEST_KERNEL", silent)], "build it with CONFIG_IKCONFIG=y"),
        (LACKING, [("UML_TEST_KERNEL", "/bin/true")], "does not carry its configuration"),
        (TOO_NEW, [("UML_TEST_KERNEL", "/bin/true")], "/bin/true has no `Linux version` in it"),
        (TOO_NEW_TO_PANIC, [("UML_TEST_KERNEL", "/bin/true")], "`Linux version`"),
    ] {
        let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        let shown = &shown[name];
        assert_eq!(shown.verdict, Verdict::Failed, "{name} {env:?}:\n{}", finished.text());
        let wrong = wrong_kinds(Some(Kind::Infrastructure), &shown.text);
        assert!(wrong.is_empty(), "{wrong:?}: {name} {env:?}:\n{}", shown.text);
        assert!(shown.text.contains(says), "nothing says `{says}`:\n{}", shown.text);
        let required = shown.text.contains("a failure because UML_TEST_GATES is `require`");
        assert_eq!(required, env[0].0 == "UML_TEST_GATES", "{}", shown.text);
    }
    Ok(())
}

/// The kernel, without its configuration: the marks around it are others.
fn without_config(fixtures: &Fixtures, dir: &Path) -> PathBuf {
    let mut kernel = fs::read(&fixtures.kernel).unwrap();
    let marks: Vec<_> = (0..kernel.len() - 8)
        .filter(|at| matches!(&kernel[*at..*at + 8], b"IKCFG_ST" | b"IKCFG_ED"))
        .collect();
    assert!(!marks.is_empty(), "{} has no configuration in it", fixtures.kernel.display());
    for at in marks {
        kernel[at] = b'X';
    }
    let path = dir.join("silent");
    executable(&path, 0o755, |path| fs::write(path, kernel).unwrap());
    path
}
