//! The environment's mark of a guest, leaked into a run on the host: no body may run there.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use crate::command::run;
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
            let Some((mut command, _)) = way.command(fixtures, &base, &wanted) else {
                return Err(Problem::NoNextest);
            };
            let finished = run(&mut command, Duration::from_secs(30));
            base.assert_empty();
            let what = format!("{name} with {value}: {}\n{}", finished.status, finished.text());
            assert!(!mark.exists(), "the body ran: {what}");
            assert!(!finished.status.success(), "{what}");
            // nextest keeps it in its report, beside what the binary says to its own listing.
            if !way.is_nextest() {
                assert!(finished.text().contains("UML_TEST_GUEST is set"), "{what}");
            }
        }
        // Without the mark the same call runs the body, in a guest: its file is not the host's.
        let mark = Path::new("/var/tmp").join(format!("e2e-mark-{}", std::process::id()));
        let env = [("E2E_MARK", mark.to_str().unwrap())];
        let Some((shown, _)) =
            way.run(fixtures, &Wanted { only: Some(name), env: &env, ..Wanted::default() })
        else {
            return Err(Problem::NoNextest);
        };
        assert_eq!(shown[name].verdict, crate::ways::Verdict::Passed, "{}", shown[name].text);
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
    let Some((mut command, _)) = way.command(fixtures, &base, &wanted) else {
        return Err(Problem::NoNextest);
    };
    let finished = run(&mut command, Duration::from_secs(30));
    assert!(!mark.exists() && !finished.status.success(), "{}", finished.text());
    Ok(())
}
