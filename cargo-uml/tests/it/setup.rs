//! `cargo uml setup` from end to end, on a source tree that builds in no time.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Fixture, Run, forgo, run, script};

#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "no {what} after 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn metadata(kernel: &Path) -> toml::Table {
    fs::read_to_string(kernel.with_file_name("kernel.toml")).unwrap().parse().unwrap()
}

fn finish(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// Builds held at `b.c` wait until this is dropped, also when a test fails.
struct Hold(PathBuf);

impl Hold {
    fn new(fixture: &Fixture) -> Self {
        let path = fixture.at_home("hold");
        fs::write(&path, "").unwrap();
        Hold(path)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A directory for `PATH` with all programs of the machine but one, to which a test adds its own.
pub(crate) fn programs_without(fixture: &Fixture, missing: &str) -> PathBuf {
    let directory = fixture.path().join("bin");
    fs::create_dir(&directory).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for part in std::env::split_paths(&path) {
        for program in fs::read_dir(part).into_iter().flatten().flatten() {
            if program.file_name() != missing && program.file_name() != "apt-get" {
                // The first of a name wins, as on PATH.
                let _ = symlink(program.path(), directory.join(program.file_name()));
            }
        }
    }
    directory
}

#[test]
fn builds_a_tree_and_then_has_it() {
    let fixture = Fixture::new();
    let first = run(&mut fixture.setup(&fixture.tree()));
    let linux = first.kernel();
    assert_eq!(linux, fixture.kernel().join("linux"));
    assert!(fixture.kernel().file_name().unwrap().to_str().unwrap().starts_with("7.2.99-"));
    for text in ["Configuring Linux 7.2.99", "Compiling Linux 7.2.99"] {
        assert!(first.stderr.contains(text), "{}", first.stderr);
    }

    let second = run(&mut fixture.setup(&fixture.tree()));
    assert_eq!(second.kernel(), linux);
    assert_eq!(second.stderr, "");
    assert_eq!(fixture.builds(), 1);
}

#[test]
fn lays_the_kernel_out_as_documented() {
    let fixture = Fixture::new();
    let linux = run(&mut fixture.setup(&fixture.tree())).kernel();
    let mut names: Vec<_> =
        fs::read_dir(fixture.kernel()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["build", "config", "kernel.toml", "linux", "linux.debug"]);
    assert_eq!(linux.metadata().unwrap().mode() & 0o777, 0o755);
    assert_eq!(fixture.kernel().metadata().unwrap().mode() & 0o777, 0o755);
    assert!(
        fs::read_to_string(linux.with_file_name("config")).unwrap().contains("CONFIG_HOSTFS=y\n")
    );

    let sections = |path: &Path| run(Command::new("objdump").arg("-h").arg(path)).stdout;
    let (stripped, debug) = (sections(&linux), sections(&linux.with_file_name("linux.debug")));
    assert!(stripped.contains(".gnu_debuglink") && !stripped.contains(".debug_info"));
    assert!(debug.contains(".debug_info"));

    let metadata = metadata(&linux);
    let text = |key: &str| metadata[key].as_str().unwrap().to_owned();
    assert_eq!(text("name"), "7.2");
    assert_eq!(text("version"), "7.2.99");
    assert_eq!(text("provenance"), "tree");
    assert!(text("source").starts_with("tree:"));
    assert!(text("compiler").contains("gcc"));
    assert_eq!(text("sha256").len(), 64);
    assert_eq!(metadata["build_steps"].as_integer(), Some(3));
    assert!(metadata["boot_ms"].as_integer().unwrap() > 0);
    for name in ["7.2", "default"] {
        let target = fs::read_link(fixture.cache().join("names").join(name)).unwrap();
        assert_eq!(target, Path::new("../kernels").join(fixture.kernel().file_name().unwrap()));
    }
}

#[test]
fn the_kernel_depends_on_nothing_but_its_inputs() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let tarball = one.tarball();
    let mut dirty = two.setup(&tarball);
    dirty
        .env("MAKEFLAGS", "--silent")
        .env("KBUILD_BUILD_USER", "me")
        .env("LOCALVERSION", "-mine")
        .env("KCFLAGS", "-DX")
        .env("RUSTFLAGS", "-g")
        .env("CARGO_HOME", "/nonexistent");
    let (first, second) = (run(&mut one.setup(&tarball)).kernel(), run(&mut dirty).kernel());
    assert_eq!(metadata(&first)["sha256"], metadata(&second)["sha256"]);
    assert_eq!(metadata(&first)["provenance"].as_str(), Some("tarball"));

    let environment = fs::read_to_string(two.at_home("environment")).unwrap();
    for variable in ["RUSTFLAGS=", "CARGO_HOME=", "--silent", "-DX"] {
        assert!(!environment.contains(variable), "{variable} reached make");
    }
    // What a kernel has in it else of the time, place and user of its build; the stand-in has nothing of them.
    for variable in [
        "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_VERSION=1",
        "KBUILD_BUILD_USER=uml-test",
        "KBUILD_BUILD_HOST=uml-test",
        "LOCALVERSION=",
    ] {
        assert!(environment.lines().any(|line| line == variable), "no {variable} in {environment}");
    }
    let map = |line: &str| line.contains("-ffile-prefix-map=") && line.contains("=/usr/src/linux");
    for flags in ["KCFLAGS=", "KAFLAGS="] {
        let mut lines = environment.lines().filter(|line| line.starts_with(flags));
        assert!(lines.all(map) && environment.contains(flags), "{flags} in {environment}");
    }
}

#[test]
fn another_source_is_another_kernel_and_the_last_asked_for_is_in_use() {
    let fixture = Fixture::new();
    let default = || fixture.named("default").unwrap().join("linux");
    let tarball = fixture.tarball();
    let first = run(&mut fixture.setup(&tarball)).kernel();
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let second = run(&mut fixture.setup(&fixture.tree())).kernel();
    assert_ne!(first, second);
    assert_eq!(default(), second);
    assert_eq!(run(&mut fixture.setup(&tarball)).kernel(), first);
    assert_eq!(default(), first);
    assert_eq!(fixture.builds(), 2);
    assert_eq!(run(&mut fixture.command()).kernel(), first, "without a source it is the default");
}

#[test]
fn a_failed_build_shows_why_and_the_next_one_resumes() {
    let fixture = Fixture::new();
    fs::write(fixture.at_home("break"), "b.c:1:2: error: this is broken\n").unwrap();
    let failed = run(&mut fixture.setup(&fixture.tree()));
    failed.fails(
        5,
        &["`make linux` failed", "first error:\n    b.c:1:2: error: this is broken", "CC      a.o"],
    );
    let log = failed.stderr.trim_end().rsplit(' ').next().unwrap();
    assert!(fs::read_to_string(log).unwrap().contains("this is broken"));
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);

    fs::remove_file(fixture.at_home("break")).unwrap();
    let linux = run(&mut fixture.setup(&fixture.tree())).kernel();
    assert_eq!(metadata(&linux)["build_steps"].as_integer(), Some(2), "a.o was compiled before");
    assert_eq!(fixture.compiled(), 3);
}

#[test]
fn a_failed_build_names_what_is_missing() {
    let fixture = Fixture::new();
    let script = "/bin/sh: 1: cpio: not found";
    for (error, says) in [
        (
            "scripts/x.c:1:10: fatal error: gelf.h: No such file or directory",
            "the package libelf-dev is probably missing: run `sudo apt-get install libelf-dev`",
        ),
        (script, "the program cpio is missing: install the package that has it"),
    ] {
        fs::write(fixture.at_home("break"), format!("{error}\n")).unwrap();
        let first = format!("first error:\n    {error}\n{says}\n");
        run(&mut fixture.setup(&fixture.tree())).fails(5, &["`make linux` failed", &first]);
    }
}

/// Before it takes minutes to compile one.
#[test]
fn where_no_guest_can_run_no_kernel_is_built() {
    let fixture = Fixture::new();
    let mut setup = fixture.setup(&fixture.tree());
    run(setup.env("UML_TEST_RUN_DIR", "/nonexistent")).fails(
        10,
        &[
            "no guest can run here",
            "memory directory: none is fit for a guest's 128 MiB",
            "/nonexistent: ",
            "remedy: name a directory that is writable",
        ],
    );
    assert_eq!((fixture.configured(), fixture.compiled()), (0, 0));
    // What there is already needs no guest.
    let linux = run(&mut fixture.setup(&fixture.tree())).kernel();
    let mut setup = fixture.setup(&fixture.tree());
    assert_eq!(run(setup.env("UML_TEST_RUN_DIR", "/nonexistent")).kernel(), linux);
}

#[test]
fn a_failed_installation_leaves_no_kernel() {
    let fixture = Fixture::new();
    let bin = programs_without(&fixture, "objcopy");
    script(&bin.join("objcopy"), "echo 'No space left on device' >&2; echo part > linux; exit 1\n");
    let failed = run(fixture.setup(&fixture.tree()).env("PATH", bin));
    failed.fails(1, &["objcopy", "No space left on device"]);
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
    run(&mut fixture.setup(&fixture.tree())).kernel();
}

#[test]
fn a_killed_setup_leaves_the_cache_as_it_was() {
    let fixture = Fixture::new();
    let hold = Hold::new(&fixture);
    let mut child = fixture.setup(&fixture.tree()).spawn().unwrap();
    wait_for("build", || fixture.at_home("held").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);

    // make is still there, and still has the lock. Killed again, this time while it waits.
    let mut second = fixture.setup(&fixture.tree()).spawn().unwrap();
    let mut said = [0; 11];
    second.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"Waiting for");
    second.kill().unwrap();
    second.wait().unwrap();

    let mut next = fixture.setup(&fixture.tree()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(next.try_wait().unwrap().is_none());
    assert_eq!(fixture.compiled(), 2, "the second setup started a make beside the first one's");
    drop(hold);
    let next = finish(next);
    let waited = format!("(building {}, process ", fixture.tree().display());
    assert!(next.stderr.contains("Waiting for another"), "{}", next.stderr);
    assert!(next.stderr.contains(&waited), "{}", next.stderr);
    next.kernel();
}

#[test]
fn a_killed_make_is_an_error_and_the_next_build_resumes() {
    let fixture = Fixture::new();
    let hold = Hold::new(&fixture);
    let setup = fixture.setup(&fixture.tree()).spawn().unwrap();
    wait_for("build", || fixture.at_home("held").exists());
    let children = format!("/proc/{0}/task/{0}/children", setup.id());
    let children = fs::read_to_string(children).unwrap();
    let make = children.trim().parse().unwrap_or_else(|_| panic!("children: {children:?}"));
    kill(Pid::from_raw(make), Signal::SIGKILL).unwrap();
    drop(hold);
    finish(setup).fails(5, &["`make linux` failed with signal: 9 (SIGKILL)", "build.log"]);
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
    let linux = run(&mut fixture.setup(&fixture.tree())).kernel();
    assert!(linux.exists());
    assert_eq!(fs::read_to_string(fixture.at_home("compiled")).unwrap().matches('a').count(), 1);
}

#[test]
fn of_concurrent_setups_one_builds() {
    let fixture = Fixture::new();
    let hold = Hold::new(&fixture);
    let first = fixture.setup(&fixture.tree()).spawn().unwrap();
    wait_for("build", || fixture.at_home("held").exists());
    let mut second = fixture.setup(&fixture.tree()).spawn().unwrap();
    let mut stderr = second.stderr.take().unwrap();
    let mut said = [0; 11];
    stderr.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"Waiting for");
    drop(hold);
    let (first, second) = (finish(first), finish(second));
    assert_eq!(first.kernel(), second.kernel());
    assert_eq!(fixture.builds(), 1);
}

#[test]
fn a_damaged_kernel_is_built_again() {
    let fixture = Fixture::new();
    let linux = run(&mut fixture.setup(&fixture.tree())).kernel();
    let whole = fs::read(&linux).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&linux, &damaged).unwrap();
    assert_eq!(run(&mut fixture.setup(&fixture.tree())).kernel(), linux);
    assert_eq!(fs::read(&linux).unwrap(), whole);

    // Of a tarball there is no build tree to take it from.
    let tarball = fixture.tarball();
    let linux = run(&mut fixture.setup(&tarball)).kernel();
    let builds = fixture.builds();
    fs::write(&linux, &damaged).unwrap();
    assert_eq!(run(&mut fixture.setup(&tarball)).kernel(), linux);
    assert_eq!(fs::read(&linux).unwrap(), whole);
    assert_eq!(fixture.builds(), builds + 1);
}

#[test]
fn an_untested_version_goes_on_without_the_option() {
    let fixture = Fixture::new();
    fs::write(fixture.at_home("drop"), "VETH").unwrap();
    fixture.set_version("7.9.99");
    let done = run(&mut fixture.setup(&fixture.tree()));
    let linux = done.kernel();
    assert!(
        done.stderr.contains("CONFIG_VETH: wanted y, is not set (in base)\n"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("not tested with Linux 7.9.99"), "{}", done.stderr);
    assert_eq!(metadata(&linux)["dropped_options"].as_array().unwrap().len(), 1);
}

#[test]
fn a_kernel_that_does_not_start_is_not_installed() {
    let fixture = Fixture::new();
    fixture.write("a.c", "int main(void) { return 1; }\n");
    run(&mut fixture.setup(&fixture.tree())).fails(5, &["is no User Mode Linux kernel that runs"]);
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
}

#[test]
fn a_kernel_that_does_not_boot_is_not_installed() {
    let fixture = Fixture::new();
    fixture.write("a.c", "#include <stdio.h>\nint main(void) { puts(\"7.2.99\"); return 0; }\n");
    run(&mut fixture.setup(&fixture.tree())).fails(5, &["does not boot, so it was not installed"]);
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
    assert_eq!(fixture.named("default"), None);
}

#[test]
fn refuses_what_is_no_source() {
    let fixture = Fixture::new();
    let refused =
        |path: &Path, code, says: &[&str]| run(&mut fixture.setup(path)).fails(code, says);
    refused(
        &fixture.path().join("nowhere"),
        4,
        &["there is no ", "nowhere; name the top directory"],
    );
    refused(fixture.path(), 4, &["is not a Linux source tree", "it has no Makefile"]);
    refused(&fixture.tree().join("a.c"), 4, &["neither a directory nor a tarball", ".tar.xz"]);
    let broken = fixture.path().join("broken.tar.xz");
    fs::write(&broken, "not a tarball").unwrap();
    refused(&broken, 4, &["could not unpack", "broken.tar.xz", "tar: "]);
    let truncated = fixture.path().join("truncated.tar.xz");
    fs::write(&truncated, &fs::read(fixture.tarball()).unwrap()[..300]).unwrap();
    refused(&truncated, 4, &["could not unpack", "truncated.tar.xz"]);

    fixture.write(".config", "");
    let advice = "name a clean tree, such as `git worktree add` makes, or run `make ARCH=um mrproper` there, which deletes its .config";
    refused(&fixture.tree(), 4, &[".config exists", advice]);
    fs::remove_file(fixture.tree().join(".config")).unwrap();
    fs::remove_dir_all(fixture.tree().join("arch/um")).unwrap();
    refused(&fixture.tree(), 4, &["it has no arch/um"]);
    let without_um = fixture.tarball();
    refused(&without_um, 4, &["it has no arch/um"]);
}

#[test]
fn refuses_kernels_that_are_too_old() {
    let fixture = Fixture::new();
    fixture.write("Makefile", "VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 1\n");
    let too_old = ["Linux 5.10.1 is too old", "6.1"];
    run(&mut fixture.setup(&fixture.tarball())).fails(4, &too_old);
    // No build will go on with it.
    assert!(!fixture.cache().join("build").exists());
    run(&mut fixture.setup(&fixture.tree())).fails(4, &too_old);
}

#[test]
fn refuses_paths_that_make_cannot_handle() {
    let fixture = Fixture::new();
    let cache = fixture.path().join("my cache");
    let failed = run(fixture.setup(&fixture.tree()).env("UML_TEST_CACHE_DIR", &cache));
    failed.fails(1, &["my cache", "white space", "UML_TEST_CACHE_DIR"]);
}

#[test]
fn finds_the_cache_directory() {
    let fixture = Fixture::new();
    let setup = |variables: &[(&str, &Path)]| {
        let mut command = fixture.setup(&fixture.tree());
        command.env_remove("UML_TEST_CACHE_DIR").env_remove("XDG_CACHE_HOME");
        run(command.envs(variables.iter().copied())).kernel()
    };
    assert!(setup(&[]).starts_with(fixture.path().join(".cache/uml-test/kernels")));
    let xdg = fixture.path().join("xdg");
    assert!(setup(&[("XDG_CACHE_HOME", &xdg)]).starts_with(xdg.join("uml-test/kernels")));
    let mut nowhere = fixture.setup(&fixture.tree());
    nowhere.env_remove("UML_TEST_CACHE_DIR").env_remove("XDG_CACHE_HOME").env_remove("HOME");
    run(&mut nowhere).fails(1, &["none of UML_TEST_CACHE_DIR, XDG_CACHE_HOME and HOME"]);
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The command as it is where this is root, else as the root of a user namespace; `None` where there are none.
fn as_root(command: Command) -> Option<Command> {
    if is_root() {
        return Some(command);
    }
    // Outside of the command's own PATH.
    const UNSHARE: &str = "/usr/bin/unshare";
    let can = Command::new(UNSHARE).args(["-r", "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut unshare = Command::new(UNSHARE);
    unshare.arg("-r").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => unshare.env(name, value),
            None => unshare.env_remove(name),
        };
    }
    Some(unshare)
}

#[test]
fn names_missing_tools_to_an_unprivileged_user() {
    let fixture = Fixture::new();
    let bin = programs_without(&fixture, "flex");
    script(&bin.join("apt-get"), "echo called >> \"$HOME/apt\"\n");
    // A copy, because the user nobody may not reach the target directory.
    let program = fixture.path().join("cargo-uml");
    fs::copy(env!("CARGO_BIN_EXE_cargo-uml"), &program).unwrap();
    let mut command = Command::new(&program);
    command.arg("setup").arg("--source").arg(fixture.tree()).env("PATH", &bin);
    command.env("UML_TEST_CACHE_DIR", fixture.cache()).env("HOME", fixture.path());
    if is_root() {
        fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o777)).unwrap();
        command.uid(65534).gid(65534);
    }
    run(&mut command).fails(3, &["needs flex,", "run `sudo apt-get install flex`"]);
    assert!(!fixture.at_home("apt").exists());
}

#[test]
fn installs_missing_tools_as_root() {
    let fixture = Fixture::new();
    let bin = programs_without(&fixture, "flex");
    // Knows no package before an update, like apt on a machine that never ran one.
    script(
        &bin.join("apt-get"),
        "echo \"$@\" >> \"$HOME/apt\"\n\
         case \"$*\" in\n\
         *update) touch \"$HOME/updated\" ;;\n\
         *install*flex) test -e \"$HOME/updated\" || exit 100; cp \"$(dirname $0)/cat\" \"$(dirname $0)/flex\" ;;\n\
         esac\n",
    );
    let mut setup = fixture.setup(&fixture.tree());
    setup.env("PATH", &bin);
    let Some(mut setup) = as_root(setup) else {
        return forgo("root, who alone installs tools, or user namespaces");
    };
    let done = run(&mut setup);
    done.kernel();
    assert!(done.stderr.contains("Installing flex through apt (for flex)"), "{}", done.stderr);
    let calls = fs::read_to_string(fixture.at_home("apt")).unwrap();
    assert_eq!(calls.lines().count(), 3, "{calls}");
}
