//! The environment's mark of a guest, leaked into a run on the host: no body may run there.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use crate::command::{Finished, run};
use crate::fixtures::Fixtures;
use crate::left::Base;
use crate::verdicts::Problem;
use crate::ways::{Wanted, Way};

const TESTS: [&str; 2] = ["cases::host::leaves_a_mark", "cases::host::leaves_a_mark_and_panics"];

/// Values that a guest's process could have had, and nonsense.
const VALUES: [&str; 4] = [
    "60:61:62:00112233445566778899aabbccddeeff",
    "0:1:2:00000000000000000000000000000000",
    "60:61:62",
    "1",
];

pub(crate) fn refused(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for name in TESTS {
        for value in VALUES {
            let dir = tempfile::tempdir().unwrap();
            let mark = dir.path().join("mark");
            let env = [("E2E_MARK", mark.to_str().unwrap()), ("UML_TEST_GUEST", value)];
            let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
            let base = Base::new();
            let Some((mut command, report)) = way.command(fixtures, &base, &wanted) else {
                return Err(Problem::NoNextest);
            };
            let finished = run(&mut command, Duration::from_secs(30));
            base.assert_empty();
            let what = format!("{name} with {value}: {}\n{}", finished.status, finished.text());
            assert!(!mark.exists(), "the body ran: {what}");
            assert!(!finished.status.success(), "{what}");
            let said = said(way, &finished, report.as_deref());
            assert!(said.contains("UML_TEST_GUEST is set"), "{what}\n{said}");
        }
        // Without the mark the same call runs the body, in a guest: its file is not the host's.
        let mark = Path::new("/var/tmp").join(format!("e2e-mark-{}", std::process::id()));
        let env = [("E2E_MARK", mark.to_str().unwrap())];
        let Some((shown, _)) =
            way.run(fixtures, &Wanted { only: Some(name), env: &env, ..Wanted::default() })
        else {
            return Err(Problem::NoNextest);
        };
        assert!(shown[name].has_passed(), "{:?}", shown[name]);
        assert!(!mark.exists());
    }
    Ok(())
}

/// A descriptor of the right size where the mark says the page is: it lacks the nonce.
pub(crate) fn refused_with_a_page(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let page = tempfile::tempfile().unwrap();
    page.set_len(64 << 10).unwrap();
    // Without the flag that closes it, the child has it at the same number.
    nix::fcntl::fcntl(&page, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let value = format!("{}:61:62:00000000000000000000000000000001", page.as_raw_fd());
    let env = [("E2E_MARK", mark.to_str().unwrap()), ("UML_TEST_GUEST", &*value)];
    let base = Base::new();
    let wanted = Wanted { only: Some(TESTS[0]), env: &env, ..Wanted::default() };
    let Some((mut command, report)) = way.command(fixtures, &base, &wanted) else {
        return Err(Problem::NoNextest);
    };
    let finished = run(&mut command, Duration::from_secs(30));
    let said = said(way, &finished, report.as_deref());
    assert!(!mark.exists() && !finished.status.success(), "{said}");
    assert!(said.contains("its page has another nonce"), "{said}");
    Ok(())
}

/// Everything that was said; nextest keeps what tests say in its report.
fn said(way: Way, finished: &Finished, report: Option<&Path>) -> String {
    let report = report.and_then(|report| std::fs::read_to_string(report).ok());
    format!("{way:?}: {}{}", finished.text(), report.unwrap_or_default())
}
