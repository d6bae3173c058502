//! cargo and this command: whose runner is taken, what is said before cargo compiles, and what needs no kernel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::fixture::{real_kernel, script};
use crate::package::{Package, TESTS, output, text, uml};

/// As the migration page has it: cargo itself starts programs in guests then, whoever calls it.
#[test]
fn a_runner_in_the_configuration_has_all_of_cargos_programs_run_in_guests() {
    let package = Package::new();
    package.write("tests/it.rs", TESTS);
    package.write("examples/shows.rs", "fn main() { println!(\"{}\", plain::in_guest()); }");
    let runner = format!(
        "[target.x86_64-unknown-linux-gnu]\nrunner = \"{} runner\"\n",
        env!("CARGO_BIN_EXE_cargo-uml")
    );
    package.write(".cargo/config.toml", &runner);
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(package.path()).env("UML_TEST_KERNEL", real_kernel());
        command.env_remove("CARGO_TARGET_DIR");
        output(&mut command)
    };
    let said = cargo(&["test", "--lib", "unit"]);
    assert!(
        said.status.success() && text(&said).contains("test tests::unit ... ok"),
        "{}",
        text(&said)
    );
    let said = cargo(&["run", "-q", "--example", "shows"]);
    assert_eq!(said.stdout, b"true\n", "{}", text(&said));
    // The same by this command, with another runner in the way.
    package.write(".cargo/config.toml", "[target.x86_64-unknown-linux-gnu]\nrunner = \"false\"\n");
    let said = output(&mut package.uml(&["run", "-q", "--example", "shows"]));
    assert_eq!(said.stdout, b"true\n", "{}", text(&said));
    package.write("benches/it.rs", "fn main() { println!(\"bench {}\", plain::in_guest()); }");
    package.append("Cargo.toml", "[[bench]]\nname = \"it\"\nharness = false\n");
    let said = output(&mut package.uml(&["bench", "--bench", "it"]));
    assert!(said.status.success() && text(&said).contains("bench true"), "{}", text(&said));
}

/// cargo's complaint comes at once, and not after a kernel's build.
#[test]
fn where_no_package_is_no_kernel_is_built() {
    let empty = tempfile::tempdir().unwrap();
    for arguments in [&["test"][..], &["test", "--manifest-path", "nowhere/Cargo.toml"]] {
        let mut test = uml(arguments);
        test.current_dir(empty.path()).env_remove("UML_TEST_KERNEL");
        let said = output(test.env("UML_TEST_CACHE_DIR", empty.path()));
        assert_eq!(said.status.code(), Some(101), "{}", text(&said));
        assert!(text(&said).contains("Cargo.toml"), "{}", text(&said));
        assert!(!text(&said).contains("There is no kernel"), "{}", text(&said));
    }
}

/// Before anything is compiled.
#[test]
fn wrong_options_are_told_at_once() {
    let package = Package::new();
    for (arguments, says) in [
        (&["test", "--kernel", "no-such"][..], "no-such"),
        (&["test", "--rw-dir", "/nonexistent"], "/nonexistent: not a directory"),
        (&["test", "--deny-skips=("], "--deny-skips=("),
        (&["test", "--isolate", "--junit", "Cargo.toml"], "no JUnit report"),
    ] {
        let said = output(&mut package.uml(arguments));
        assert!(
            !said.status.success() && text(&said).contains(says),
            "{arguments:?}: {}",
            text(&said)
        );
        assert!(!text(&said).contains("Compiling"), "{arguments:?}: {}", text(&said));
    }
    let odd = package.path().join(OsStr::from_bytes(b"n\xff"));
    fs::create_dir(&odd).unwrap();
    for option in ["--rw-dir=.", "--junit=x"] {
        let mut test = package.uml(&["test", "--isolate", option]);
        let said = output(test.current_dir(&odd));
        assert!(
            !said.status.success() && text(&said).contains("expected a path in UTF-8"),
            "{}",
            text(&said)
        );
        assert!(text(&said).contains(option.split('=').next().unwrap()), "{}", text(&said));
    }
    assert!(fs::read_to_string(package.path().join("Cargo.toml")).unwrap().contains("plain"));
}

#[test]
fn what_starts_nothing_needs_no_kernel() {
    let package = Package::new();
    let empty = tempfile::tempdir().unwrap();
    let mut build = package.uml(&["test", "--no-run"]);
    build.env_remove("UML_TEST_KERNEL").env("UML_TEST_CACHE_DIR", empty.path());
    let said = output(&mut build);
    assert!(said.status.success(), "{}", text(&said));
    assert!(!text(&said).contains("There is no kernel"), "{}", text(&said));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

/// sccache makes its keys of `CARGO_*` too.
#[test]
fn compilers_are_told_the_same_in_every_run() {
    let package = Package::new();
    let wrapper = package.path().join("wrapper");
    script(&wrapper, "env | grep ^CARGO_ | grep -v ^CARGO_MAKEFLAGS= >> \"$LOG\"\nexec \"$@\"\n");
    let told = |options: &[&str]| {
        let log = package.path().join("log");
        let mut run = package.uml(&["test", "--lib", "--no-run"]);
        run.args(options).env("RUSTC_WRAPPER", &wrapper).env("LOG", &log);
        let said = output(&mut run);
        assert!(said.status.success(), "{}", text(&said));
        fs::remove_dir_all(package.path().join("target")).unwrap();
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(log).unwrap();
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let plain = told(&[]);
    assert!(plain.contains("CARGO_PKG_NAME=plain"), "{plain:?}");
    assert_eq!(plain, told(&["--mem", "1G", "--isolate"]));
}

/// Its programs would run on the host.
#[test]
fn another_target_in_the_configuration_is_refused() {
    let package = Package::new();
    package.write(".cargo/config.toml", "[build]\ntarget = \"aarch64-unknown-linux-gnu\"\n");
    for command in [&["test"][..], &["run"], &["matrix", "--kernel", "default", "--in-guests"]] {
        let said = output(&mut package.uml(command));
        assert!(!said.status.success(), "{}", text(&said));
        let says = text(&said);
        assert!(says.contains("not aarch64-unknown-linux-gnu (build.target in "), "{says}");
    }
    for good in
        [&["test", "--target", "x86_64-unknown-linux-gnu", "--lib"][..], &["test", "--help"]]
    {
        let said = output(&mut package.uml(good));
        assert!(said.status.success(), "{}", text(&said));
    }
}

#[test]
fn doctests_that_cargo_runs_on_the_host_are_told() {
    let package = Package::new();
    let old = package.path().join("old");
    script(&old, "test \"$1\" = -V && echo 'cargo 1.88.0 (873a06493 2025-05-10)'\nexit 0\n");
    let told = |arguments: &[&str]| {
        let said = output(package.uml(arguments).env("CARGO", &old));
        assert!(said.status.success(), "{}", text(&said));
        text(&said).contains("cargo 1.88.0 (873a06493 2025-05-10) runs doctests on this host")
    };
    assert!(told(&["test"]) && told(&["test", "--doc"]));
    assert!(!told(&["test", "--tests"]) && !told(&["test", "--no-run"]) && !told(&["run"]));
}

/// Wherever in the package cargo is called, and from elsewhere.
#[test]
fn a_kernel_of_the_manifest_is_none_to_be_built() {
    let package = Package::new();
    let settings = format!("[package.metadata.uml-test]\nkernel = {:?}\n", real_kernel());
    package.append("Cargo.toml", &settings);
    let manifest = package.path().join("Cargo.toml");
    let elsewhere = ["test", "--lib", "--manifest-path", manifest.to_str().unwrap()];
    for (directory, arguments) in
        [(&*package.path().join("src"), &["test", "--lib"][..]), (Path::new("/"), &elsewhere)]
    {
        let mut test = uml(arguments);
        test.current_dir(directory).env_remove("UML_TEST_KERNEL");
        // Where none can be built.
        let said = output(test.env("UML_TEST_CACHE_DIR", "/proc/none"));
        assert!(said.status.success(), "{}", text(&said));
        assert!(!text(&said).contains("There is no kernel"), "{}", text(&said));
    }
}

#[test]
fn settings_hold_in_all_of_a_package() {
    let package = Package::new();
    package.append("Cargo.toml", "[package.metadata.uml-test]\nmem = \"1G\"\n");
    let mut exec = uml(&["exec", "grep", "MemTotal", "/proc/meminfo"]);
    let said = output(exec.current_dir(package.path().join("src")));
    let memory = text(&said).split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    assert!((900_000..1 << 20).contains(&memory), "{}", text(&said));
}

#[test]
fn this_program_may_lie_anywhere_that_path_leads_to() {
    let package = Package::new();
    let dir = tempfile::Builder::new().prefix("a b").tempdir().unwrap();
    let ours = dir.path().join("cargo-uml");
    fs::copy(env!("CARGO_BIN_EXE_cargo-uml"), &ours).unwrap();
    let test = |path: &Path| {
        let mut test = Command::new(&ours);
        let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
        test.args(["test", "--lib"]).current_dir(package.path()).env("PATH", path);
        test.env("UML_TEST_KERNEL", real_kernel()).env_remove("CARGO_TARGET_DIR");
        output(&mut test)
    };
    let said = test(dir.path());
    assert!(said.status.success() && text(&said).contains("1 passed"), "{}", text(&said));
    let other = tempfile::tempdir().unwrap();
    script(&other.path().join("cargo-uml"), "exit 0\n");
    let said = test(other.path());
    assert!(text(&said).contains("have PATH lead to it as cargo-uml"), "{}", text(&said));
}
