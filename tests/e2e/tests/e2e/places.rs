//! Where guests' files lie on the host: odd names, no room, no permission.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::command::run;
use crate::fixtures::Fixtures;
use crate::left::{Base, Shared};
use crate::table::Kind;
use crate::user::Copies;
use crate::verdicts::{Problem, wrong_kinds};
use crate::ways::{RUNNER, Verdict, Wanted, Way};

const LIMIT: Duration = Duration::from_secs(10);
const PASSES: &str = "cases::verdicts::passes";

/// Of a package that gives its tests a directory of the host's.
pub(crate) const RW_MANIFEST: &str =
    "[package]\nname = \"rw\"\n[package.metadata.uml-test]\nrw-dirs = [\"given\"]\n";

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
        infrastructure(fixtures, way, &wanted, &[says, "UML_TEST_RUN_DIR"])?;
    }
    quoted.assert_empty();
    long.assert_empty();
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
        assert!(shown[PASSES].has_passed(), "{name}: {}", finished.text());
        base.assert_empty();
    }
    Ok(())
}

/// A project, its target directory and its working directory below a name with everything that
/// needs quoting, in places that guests mount anew and in one that they do not.
pub(crate) fn odd_project(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for place in ["/tmp", "/dev/shm", "/var/tmp"] {
        project_in(fixtures, way, place, None)?;
    }
    Ok(())
}

/// The same in another place that guests mount anew.
pub(crate) fn odd_project_in_run(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    // Where initramfs-tools has mounted it, nothing may be executed there.
    let may_execute = "shift; mount --bind /run /run && mount -o remount,bind,exec /run || exit 77; \
                       exec \"$@\"";
    project_in(fixtures, way, "/run", Some(may_execute))
}

fn project_in(
    fixtures: &Fixtures,
    way: Way,
    place: &str,
    script: Option<&str>,
) -> Result<(), Problem> {
    let dir = tempfile::Builder::new()
        .prefix("e2e it's \"quoted\", $HOME \\ ")
        .tempdir_in(place)
        .unwrap();
    let copies = Copies::new(fixtures, dir.path());
    // Apart from the executable and, but for nextest, which knows better, from the working directory.
    let built = copies.target().join("doc/built");
    let package = match way.is_nextest() {
        true => copies.package_dir(),
        false => dir.path().join("package"),
    };
    for (file, text) in [(&built, "built"), (&package.join("Cargo.toml"), "# a manifest\n")] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let env =
        [("CARGO_MANIFEST_DIR", package.to_str().unwrap()), ("E2E_PLACE", built.to_str().unwrap())];
    for (name, verdict, says) in [
        ("cases::host::sees_its_project", Verdict::Passed, ""),
        ("cases::verdicts::asserts", Verdict::Failed, "arithmetic of fixtures"),
    ] {
        let wanted = Wanted {
            only: Some(name),
            copies: Some(&copies),
            env: &env,
            script,
            ..Wanted::default()
        };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        assert_eq!(shown[name].verdict, verdict, "{place}: {}", finished.text());
        assert!(verdict != Verdict::Passed || shown[name].has_passed(), "{place}: {shown:?}");
        assert!(shown[name].text.contains(says), "{place}: {:?}", shown[name]);
        assert!(finished.took < LIMIT, "{place}: {:?}", finished.took);
    }
    Ok(())
}

/// What a test writes to a directory that its package's manifest gives it is on the host, and nothing else is.
pub(crate) fn rw_dir(fixtures: &Fixtures) {
    for binary in [&fixtures.libtest, &fixtures.custom] {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let given = dir.path().join("given");
        fs::create_dir(&given).unwrap();
        fs::write(dir.path().join("Cargo.toml"), RW_MANIFEST).unwrap();
        let base = Base::new();
        let mut command = fixtures.command(binary, base.path());
        command.args(["--exact", "cases::host::writes_for_the_host"]);
        command.env("CARGO_MANIFEST_DIR", dir.path()).env("E2E_PLACE", dir.path());
        let said = run(&mut command, LIMIT);
        assert!(said.status.success(), "{}", said.text());
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["Cargo.toml", "given"]);
        let kept = fs::read(given.join("kept")).unwrap();
        assert!(kept.len() == 4 << 20 && kept.iter().all(|byte| *byte == 7), "{}", kept.len());
        base.assert_empty();
    }
}

/// What is said of TMPDIR matters only where there is no better place, and there is.
pub(crate) fn tmpdir_does_not_matter(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let places = ["/dev/shm", "/tmp", "/var/tmp"].map(Path::new);
    for tmpdir in [None, Some(""), Some("/nonexistent"), Some("/proc"), Some("/etc/passwd")] {
        let before = Shared::of(&places);
        let set = tmpdir.map(|tmpdir| tmpdir_of_tests(way, tmpdir));
        let mut env = vec![("UML_TEST_RUN_DIR", "")];
        env.extend(set.iter().map(|(name, value)| (*name, &**value)));
        let unset: &[&str] = if tmpdir.is_none() { &["TMPDIR"] } else { &[] };
        let wanted = Wanted { only: Some(PASSES), env: &env, unset, ..Wanted::default() };
        let Some((shown, finished)) = way.run(fixtures, &wanted) else {
            return Err(Problem::NoNextest);
        };
        assert!(shown[PASSES].has_passed(), "{tmpdir:?}: {}", finished.text());
        before.assert_no_more();
    }
    Ok(())
}

/// The variable that gives tests a TMPDIR. nextest itself needs one that it can write to, so its
/// tests get theirs on the way to their start.
fn tmpdir_of_tests(way: Way, tmpdir: &str) -> (&'static str, String) {
    match way.is_nextest() {
        true => (RUNNER, format!("env TMPDIR={tmpdir}")),
        false => ("TMPDIR", tmpdir.to_owned()),
    }
}

/// Where the usual place is not fit, guests run in TMPDIR, and where that is not fit either, in what
/// every machine has.
pub(crate) fn tmpdir(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let name = "cases::host::runs_below";
    if !Path::new("/dev/shm").is_dir() {
        return Ok(()); // the place that is made unfit
    }
    let usual = ["/tmp", "/var/tmp"].into_iter().find(|dir| is_fit(dir)).expect("a fit place");
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let good = place.path().to_str().unwrap();
    let before = Shared::of(&["/tmp", "/var/tmp"].map(Path::new));
    for (tmpdir, taken) in
        [(good, good), ("/nonexistent", usual), ("/proc", usual), ("/dev/shm", usual)]
    {
        let (name_of_tmpdir, value) = tmpdir_of_tests(way, tmpdir);
        let env = [
            ("UML_TEST_RUN_DIR", ""),
            ("XDG_RUNTIME_DIR", ""),
            (name_of_tmpdir, &*value),
            ("E2E_PLACE", taken),
        ];
        let wanted = Wanted {
            only: Some(name),
            env: &env,
            script: Some(
                "shift; mount --bind /dev/shm /dev/shm && \
                 mount -o remount,bind,noexec /dev/shm || exit 77; exec \"$@\"",
            ),
            ..Wanted::default()
        };
        let Some((shown, _)) = way.run(fixtures, &wanted) else { return Err(Problem::NoNextest) };
        assert!(shown[name].has_passed(), "{tmpdir}: {:?}", shown[name]);
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    before.assert_no_more();
    Ok(())
}

/// Whether guests can run there: room for their memory, and leave to execute.
fn is_fit(dir: &str) -> bool {
    let stat = nix::sys::statvfs::statvfs(dir).unwrap();
    let noexec = nix::sys::statvfs::FsFlags::ST_NOEXEC;
    stat.blocks_available() * stat.fragment_size() >= 128 << 20 && !stat.flags().contains(noexec)
}

/// A directory of somebody else's; without privileges everything works where it may.
pub(crate) fn unwritable(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let copies = Copies::new(fixtures, Path::new("/tmp"));
    let wanted = Wanted {
        only: Some(PASSES),
        copies: Some(&copies),
        as_nobody: true,
        env: &[("UML_TEST_SANDBOX", "require")],
        ..Wanted::default()
    };
    let Some((shown, _)) = way.run(fixtures, &wanted) else { return Err(Problem::NoNextest) };
    assert!(shown[PASSES].has_passed(), "{:?}", shown[PASSES]);
    let wanted = Wanted { env: &[("UML_TEST_RUN_DIR", "/etc")], ..wanted };
    infrastructure(fixtures, way, &wanted, &["/etc: not writable", "UML_TEST_RUN_DIR"])
}

/// Every place that is looked at is mounted noexec; the binary lies elsewhere.
pub(crate) fn noexec(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let copies = Copies::new(fixtures, Path::new("/opt"));
    let wanted = Wanted {
        only: Some(PASSES),
        copies: Some(&copies),
        env: &[("UML_TEST_RUN_DIR", ""), ("TMPDIR", "/tmp"), ("XDG_RUNTIME_DIR", "")],
        script: Some(
            "shift; for dir in /dev/shm /tmp /var/tmp; do \
                 mount --bind $dir $dir && mount -o remount,bind,noexec $dir || exit 77; \
             done; exec \"$@\"",
        ),
        ..Wanted::default()
    };
    let says = ["/dev/shm: mounted noexec", "/tmp: mounted noexec", "/var/tmp: mounted noexec"];
    infrastructure(fixtures, way, &wanted, &[&says[..], &["UML_TEST_RUN_DIR"]].concat())
}

/// The filesystem of the run directory fills up while the guest takes its memory.
pub(crate) fn full_disk(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let wanted = Wanted {
        only: Some("cases::host::touches_memory"),
        env: &[("E2E_FILL", "1")],
        script: Some(
            "base=$1; shift
            mount -t tmpfs -o size=140m none \"$base\" || exit 77
            \"$@\" & pid=$!
            while kill -0 $pid && [ -z \"$(ls $base)\" ]; do sleep 0.01; done
            sleep 0.3
            while kill -0 $pid; do cat /dev/zero >> \"$base/fill\"; sleep 0.02; done 2>/dev/null
            wait $pid; status=$?; rm \"$base/fill\"
            # Nobody outside sees what is left on it.
            sleep 1; [ -z \"$(ls -A $base)\" ] || exit 78
            exit $status",
        ),
        ..Wanted::default()
    };
    let says = "the filesystem of the run directory has no room left for the guest's memory";
    infrastructure(fixtures, way, &wanted, &[says, "UML_TEST_RUN_DIR"])
}

/// A failure of the machinery, told of in time, with these words.
fn infrastructure(
    fixtures: &Fixtures,
    way: Way,
    wanted: &Wanted<'_>,
    says: &[&str],
) -> Result<(), Problem> {
    let Some((shown, finished)) = way.run(fixtures, wanted) else {
        return Err(Problem::NoNextest);
    };
    let shown = &shown[wanted.only.expect("one test is asked for")];
    assert_eq!(shown.verdict, Verdict::Failed, "{}", shown.text);
    assert_eq!(wrong_kinds(Some(Kind::Infrastructure), &shown.text), [""; 0], "{}", shown.text);
    for says in says {
        assert!(shown.text.contains(says), "nothing says `{says}`:\n{}", shown.text);
    }
    assert!(finished.took < LIMIT, "{:?}\n{}", finished.took, shown.text);
    Ok(())
}
