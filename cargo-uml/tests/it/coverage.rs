//! Coverage of what runs in guests: profiles that come back, and reports of them.

use std::fs;
use std::process::Command;

use crate::package::{Package, TESTS, output, text};

/// A profile for each guest, on the host, although each has its own numbers of processes.
#[test]
fn coverage_profiles_come_back() {
    const MAGIC: &[u8] = b"\x81rforpl\xff";
    let package = Package::new();
    package.write("tests/two.rs", TESTS);
    // The runtime makes it.
    let profiles = package.path().join("target/new/profiles");
    let mut tests = package.uml(&["test", "--test", "two", "--no-fail-fast", "first"]);
    tests.env("RUSTFLAGS", "-Cinstrument-coverage");
    tests.env("LLVM_PROFILE_FILE", profiles.join("%p.profraw"));
    for runs in 1..=3 {
        let said = output(&mut tests);
        assert!(said.status.success(), "{}", text(&said));
        let found: Vec<Vec<u8>> = fs::read_dir(&profiles)
            .unwrap()
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert_eq!(found.len(), runs, "{}", text(&said));
        assert!(found.iter().all(|profile| profile.starts_with(MAGIC)));
    }
    // In the working directory, where it names none.
    for name in [None, Some("mine.prof")] {
        tests.env_remove("LLVM_PROFILE_FILE");
        tests.envs(name.map(|name| ("LLVM_PROFILE_FILE", name)));
        let said = output(&mut tests);
        assert!(said.status.success(), "{}", text(&said));
        let mut found = Vec::new();
        for entry in fs::read_dir(package.path()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "profraw" || extension == "prof")
            {
                assert!(fs::read(&path).unwrap().starts_with(MAGIC));
                fs::remove_file(&path).unwrap();
                found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
        // Build scripts and compilers of the host's write theirs too.
        let expected = name.unwrap_or("default_");
        assert_eq!(
            found.iter().filter(|found| found.starts_with(expected)).count(),
            1,
            "{found:?}"
        );
    }
    // What can't be kept there does not change how the program ended.
    package.write("taken.prof", "the user's");
    let said = output(tests.env("LLVM_PROFILE_FILE", "taken.prof"));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("could not keep taken.prof: "), "{}", text(&said));
    assert_eq!(fs::read(package.path().join("taken.prof")).unwrap(), b"the user's");

    // Where the user says it to the guest, and may have its directory written.
    let own = package.path().join("own");
    fs::create_dir(&own).unwrap();
    tests.env_remove("LLVM_PROFILE_FILE").arg("--rw-dir").arg(&own);
    tests.args(["--env", &format!("LLVM_PROFILE_FILE={}/%p.x", own.display())]);
    let said = output(&mut tests);
    assert!(said.status.success(), "{}", text(&said));
    assert_eq!(fs::read_dir(&own).unwrap().count(), 1, "{}", text(&said));
    // And where the compiler was told, with symbols and without.
    for strip in ["none", "symbols"] {
        fs::remove_dir_all(&own).unwrap();
        fs::create_dir(&own).unwrap();
        let mut tests = package.uml(&["test", "--test", "two", "first"]);
        let flags = format!("-Cprofile-generate={} -Cstrip={strip}", own.display());
        let said = output(tests.env("RUSTFLAGS", flags).arg("--rw-dir").arg(&own));
        assert!(said.status.success(), "{}", text(&said));
        assert!(fs::read_dir(&own).unwrap().count() > 0, "{strip}: {}", text(&said));
    }
}

/// A branch that only root runs, covered in one report with what others run.
#[test]
#[ignore = "needs cargo-llvm-cov and rustup's llvm-tools"]
fn reports_of_coverage_are_merged() {
    const MOUNTS: &str = r#"
pub fn mounts() -> &'static str {
    let mut mount = std::process::Command::new("unshare");
    if mount.args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).status().unwrap().success() {
        "root's"
    } else {
        "others'"
    }
}
#[test]
fn says() {
    assert!(mounts().contains('\''));
}
"#;
    let package = Package::new();
    package.write("src/lib.rs", MOUNTS);
    package.write("src/main.rs", "fn main() {}\n");
    let cov = |command: &mut Command| {
        let said = output(command.current_dir(package.path()).env_remove("CARGO_TARGET_DIR"));
        assert!(said.status.success(), "{}", text(&said));
        String::from_utf8(said.stdout).unwrap()
    };
    let counts = || {
        let mut cargo = Command::new("cargo");
        let report = cov(cargo.args(["llvm-cov", "report", "--text"]));
        ["\"root's\"", "\"others'\""].map(|what| {
            let line = report.lines().find(|line| line.contains(what)).unwrap();
            line.split('|').nth(1).unwrap().trim().parse::<u32>().unwrap()
        })
    };
    cov(&mut package.uml(&["llvm-cov", "--no-report", "--lib"]));
    assert_eq!(counts(), [1, 0]);
    cov(without_mounts("cargo").args(["llvm-cov", "--no-report", "--lib"]));
    assert_eq!(counts(), [1, 1]);
}

/// A program on the host, which may not mount, where this may.
fn without_mounts(program: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_admin", program]);
    command
}
