//! Where guests' files lie on the host: odd names, no room, no permission.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::command::{Finished, command, run};
use crate::fixtures::Fixtures;
use crate::left::Base;
use crate::table::Kind;
use crate::user::{Unprivileged, is_root};
use crate::verdicts::{Problem, wrong_kinds};
use crate::ways::{Verdict, WAYS, Wanted, Way};

const LIMIT: Duration = Duration::from_secs(10);
const PASSES: &str = "cases::verdicts::passes";

/// A failure of the machinery, told of in time, with these words.
fn assert_infrastructure(finished: &Finished, says: &[&str]) {
    let text = finished.text();
    assert_eq!(finished.code(), 101, "{text}");
    assert_eq!(wrong_kinds(Some(Kind::Infrastructure), &text), [""; 0], "{text}");
    for says in says {
        assert!(text.contains(says), "nothing says `{says}`:\n{text}");
    }
    assert!(finished.took < LIMIT, "{:?}\n{text}", finished.took);
}

/// Run directories that are named and cannot be used.
pub(crate) fn unfit(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let quoted = Base::named("e2e\"");
    let long = Base::named(&format!("e2e-{}", "x".repeat(60)));
    let huge = (fixtures_room() >> 30) + 64;
    let huge = format!("{huge}G");
    for (dir, mem, says) in [
        ("/nonexistent", "", "/nonexistent: No such file or directory"),
        ("/etc/passwd", "", "/etc/passwd: not a directory"),
        (quoted.path().to_str().unwrap(), "", "its path has a quote"),
        (long.path().to_str().unwrap(), "", "its path is longer than"),
        ("/dev/shm", &*huge, "MiB are free"),
    ] {
        let env = [("UML_TEST_RUN_DIR", dir), ("UML_TEST_MEM", mem)];
        let wanted = Wanted { only: Some(PASSES), env: &env, ..Wanted::default() };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        let text = &shown[PASSES].text;
        assert_eq!(shown[PASSES].verdict, Verdict::Failed, "{text}");
        assert_eq!(wrong_kinds(Some(Kind::Infrastructure), text), [""; 0], "{text}");
        assert!(text.contains(says), "nothing says `{says}`:\n{text}");
        assert!(text.contains("UML_TEST_RUN_DIR"), "no remedy:\n{text}");
        assert!(finished.took < LIMIT);
    }
    Ok(())
}

fn fixtures_room() -> u64 {
    let stat = nix::sys::statvfs::statvfs("/dev/shm").unwrap();
    stat.blocks_available() as u64 * stat.fragment_size() as u64
}

/// Names with spaces and, where the kernel's arguments allow it, other odd characters.
pub(crate) fn odd_names(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for name in ["e2e with space ", "e2e-it's-$HOME-", "e2e-\u{e9}\u{1F980}-"] {
        let base = Base::named(name);
        let env = [("UML_TEST_RUN_DIR", base.path().to_str().unwrap())];
        let wanted = Wanted { only: Some(PASSES), env: &env, ..Wanted::default() };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        assert_eq!(shown[PASSES].verdict, Verdict::Passed, "{name}: {}", finished.text());
        base.assert_empty();
    }
    Ok(())
}

/// A project, its target directory and its working directory below a name with everything that
/// needs quoting, in a place that guests mount anew and in one that they do not.
pub(crate) fn odd_project(fixtures: &Fixtures) {
    for place in ["/tmp", "/var/tmp"] {
        let dir = tempfile::Builder::new()
            .prefix("e2e it's \"quoted\", $HOME \\ ")
            .tempdir_in(place)
            .unwrap();
        let deps = dir.path().join("target/debug/deps");
        fs::create_dir_all(&deps).unwrap();
        fs::write(dir.path().join("target/CACHEDIR.TAG"), "").unwrap();
        fs::write(dir.path().join("Cargo.toml"), "[package]\nname = \"odd\"\n").unwrap();
        for binary in [&fixtures.libtest, &fixtures.custom] {
            let copy = deps.join(binary.file_name().unwrap());
            fs::copy(binary, &copy).unwrap();
            let base = Base::new();
            let mut command = fixtures.command(&copy, base.path());
            command.current_dir(dir.path()).env("CARGO_MANIFEST_DIR", dir.path());
            let passes = run(command.args(["--exact", PASSES]), LIMIT);
            assert!(passes.status.success(), "{}", passes.text());
            let mut command = fixtures.command(&copy, base.path());
            command.current_dir(dir.path()).env("CARGO_MANIFEST_DIR", dir.path());
            let fails = run(command.args(["--exact", "cases::verdicts::asserts"]), LIMIT);
            assert_eq!(fails.code(), 101, "{}", fails.text());
            assert!(fails.text().contains("arithmetic of fixtures"), "{}", fails.text());
            base.assert_empty();
        }
    }
}

/// What is said of TMPDIR matters only where there is no better place, and there is.
pub(crate) fn tmpdir_does_not_matter(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for tmpdir in ["", "/nonexistent", "/proc", "/etc/passwd"] {
        // nextest itself needs one, and passes on what it was given.
        if way.is_nextest() && !tmpdir.is_empty() {
            continue;
        }
        let env = [("UML_TEST_RUN_DIR", ""), ("TMPDIR", tmpdir)];
        let wanted = Wanted { only: Some(PASSES), env: &env, ..Wanted::default() };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        assert_eq!(shown[PASSES].verdict, Verdict::Passed, "{tmpdir}: {}", finished.text());
    }
    Ok(())
}

/// A directory of somebody else's.
pub(crate) fn unwritable(fixtures: &Fixtures) {
    let user = Unprivileged::new(fixtures);
    for binary in ["libtest", "custom"] {
        let mut command = user.command(binary, PASSES);
        let finished = run(command.env("UML_TEST_RUN_DIR", "/etc"), LIMIT);
        assert_infrastructure(&finished, &["/etc: not writable", "UML_TEST_RUN_DIR"]);
        // And without privileges everything works where it may.
        let finished = run(&mut user.command(binary, PASSES), LIMIT);
        assert!(finished.status.success(), "{}", finished.text());
        user.base.assert_empty();
    }
}

/// Why a check that mounts on the host cannot be made.
pub(crate) fn no_mounts() -> Option<&'static str> {
    (!is_root()).then_some("mounts on the host: needs root")
}

/// Every place that is looked at is mounted noexec; in a mount namespace of its own.
pub(crate) fn noexec(fixtures: &Fixtures) {
    let script = "for dir in /dev/shm /tmp /var/tmp; do \
                      mount --bind $dir $dir && mount -o remount,bind,noexec $dir || exit 77; \
                  done; exec \"$@\"";
    // The binary has to be executable yet.
    for binary in [&fixtures.libtest, &fixtures.custom] {
        let exec = Path::new("/opt").join(format!("e2e-{}", std::process::id()));
        fs::copy(binary, &exec).unwrap();
        let mut command = unshared(fixtures, script);
        command.arg(&exec).args(["--exact", PASSES]).env_remove("UML_TEST_RUN_DIR");
        command.env("TMPDIR", "/tmp").env_remove("XDG_RUNTIME_DIR");
        let finished = run(&mut command, LIMIT);
        fs::remove_file(&exec).unwrap();
        let says = ["/dev/shm: mounted noexec", "/tmp: mounted noexec", "/var/tmp: mounted noexec"];
        assert_infrastructure(&finished, &[&says[..], &["UML_TEST_RUN_DIR"]].concat());
    }
}

/// The filesystem of the run directory fills up while the guest takes its memory.
pub(crate) fn full_disk(fixtures: &Fixtures) {
    let script = "mount -t tmpfs -o size=140m none \"$1\" || exit 77
        \"$2\" --exact cases::host::touches_memory & pid=$!
        while kill -0 $pid && [ -z \"$(ls $1)\" ]; do sleep 0.01; done
        sleep 0.3
        while kill -0 $pid; do cat /dev/zero >> \"$1/fill\"; sleep 0.02; done 2>/dev/null
        wait $pid";
    for (way, _) in &WAYS[..2] {
        let binary = if way.is_libtest() { &fixtures.libtest } else { &fixtures.custom };
        let base = Base::new();
        let mut command = unshared(fixtures, script);
        command.arg(base.path()).arg(binary).env("UML_TEST_RUN_DIR", base.path());
        let finished = run(command.env("E2E_FILL", "1"), LIMIT);
        let says = "the filesystem of the run directory has no room left for the guest's memory";
        assert_infrastructure(&finished, &[says, "UML_TEST_RUN_DIR"]);
        base.assert_empty();
    }
}

/// A shell script in a mount namespace of its own.
fn unshared(fixtures: &Fixtures, script: &str) -> std::process::Command {
    let mut command = command("unshare", &fixtures.kernel);
    command.args(["-m", "sh", "-c", script, "sh"]).current_dir(crate::fixtures::package_dir());
    command
}
