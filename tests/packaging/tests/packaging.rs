//! What a stranger gets: the published crates packaged, each built from its package, and used by a
//! crate outside the workspace that has them vendored, offline, with a `CARGO_HOME` that holds
//! nothing. Packaging and vendoring ask crates.io.
//!
//! Takes some four minutes on two cores: everything is compiled from nothing, and then most of it
//! once more with the flags of a coverage run.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use wait_timeout::ChildExt;

/// In the order in which they would be published.
const PACKAGES: [&str; 4] = ["uml-test-protocol", "uml-test-agent", "uml-test-macros", "uml-test"];

/// Published after them, and packaged and built from its package as they are; the scratch crate does
/// not depend on it.
const COMMAND: &str = "cargo-uml";

/// For a command that compiles everything from nothing, on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One at a time: they share a target directory, and each keeps all CPUs busy.
fn scratch() -> MutexGuard<'static, Scratch> {
    static SCRATCH: LazyLock<Mutex<Scratch>> = LazyLock::new(|| Mutex::new(Scratch::new()));
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_library_has_its_tests_run_in_guests_by_cargo_test_and_by_nextest() {
    let scratch = scratch();
    let tested = scratch.cargo(&["test", "--lib", "--test", "own_harness"]).run();
    tested.succeeded();
    tested.shows("test tests::is_root_in_a_guest ... ok");
    tested.shows("test tests::panics - should panic ... ok");
    tested.shows("test tests::drives_a_guest ... ok");
    tested.shows("1 passed; 0 failed; 1 ignored");
    if !has_nextest() {
        assert!(std::env::var_os("CI").is_none(), "cargo-nextest is not installed, in CI");
        eprintln!("cargo-nextest is not installed");
        return;
    }
    let tested = scratch.cargo(&["nextest", "run", "--no-fail-fast"]).run();
    tested.succeeded();
    tested.shows("4 tests run: 4 passed, 1 skipped");
}

/// Flags, profiles, a compiler wrapper, a runner, a target and a target directory far from the
/// project, all at once: none may change the agent.
#[test]
fn how_the_project_is_built_does_not_reach_the_agent() {
    let scratch = scratch();
    scratch.cargo(&["test", "--lib", "--no-run"]).run().succeeded();
    let plain = scratch.agent(&scratch.project().join("target/debug"));

    let log = scratch.path("wrapped");
    let logging = |name: &str| {
        scratch.script(name, &format!("echo \"$@\" >> {}\nexec \"$@\"", log.display()))
    };
    let (wrapper, runner) = (logging("wrapper"), logging("runner"));
    let config = scratch.project().join(".cargo/config.toml");
    let sources = fs::read_to_string(&config).unwrap();
    let settings = format!(
        "[build]\ntarget = {TARGET:?}\nrustc-wrapper = {wrapper:?}\nrustflags = [\"-Cdebuginfo=2\"]\n\
         [target.{TARGET}]\nrunner = {runner:?}\n\
         [profile.release]\npanic = \"abort\"\ndebug = true\nstrip = false\nlto = false\nopt-level = 0\n"
    );
    fs::write(&config, format!("{sources}{settings}")).unwrap();
    let elsewhere = scratch.path("elsewhere");
    let tested = scratch
        .cargo(&["test", "--lib"])
        .env("CARGO_TARGET_DIR", &elsewhere)
        .env("RUSTFLAGS", "-Cinstrument-coverage")
        .run();
    fs::write(&config, sources).unwrap();

    tested.succeeded();
    tested.shows("test tests::is_root_in_a_guest ... ok");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("--crate-name uml_test --edition"), "the wrapper is in use: {log}");
    assert!(log.contains("/debug/deps/scratch-"), "the runner is in use: {log}");
    assert!(!log.contains("uml_test_agent_bin"), "the agent was compiled through the wrapper");
    let debug = elsewhere.join(TARGET).join("debug");
    let deps = fs::read_dir(debug.join("deps")).unwrap().map(|entry| entry.unwrap().path());
    let counters = |file: &Path| contains(&fs::read(file).unwrap(), b"__llvm_prf_cnts");
    assert!(deps.filter(|path| path.extension().is_none()).any(|path| counters(&path)));
    assert!(!contains(&scratch.agent(&debug), b"__llvm_prf_cnts"));
    assert!(scratch.agent(&debug) == plain, "the same source gave two agents");
}

#[test]
fn without_a_static_c_library_the_error_names_what_to_install() {
    let scratch = scratch();
    // As the linker is where there is only a shared C library.
    let bin = scratch.path("no-libc.a");
    fs::create_dir_all(&bin).unwrap();
    scratch.script(
        "no-libc.a/cc",
        "case \" $* \" in *' -static '*)\n\
         echo '/usr/bin/ld: cannot find -lc: No such file or directory' >&2; exit 1;;\n\
         esac\n\
         PATH=${PATH#*:} exec cc \"$@\"",
    );
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
    scratch.touch_agent();
    let checked = scratch.cargo(&["check", "--tests"]).env("PATH", path.unwrap()).run();
    assert!(!checked.success, "{}", checked.text);
    checked.shows("cannot find -lc");
    for remedy in ["libc6-dev", "glibc-static", "rustup target add x86_64-unknown-linux-musl"] {
        checked.shows(remedy);
    }
}

#[test]
fn docs_rs_builds_no_agent_and_what_it_builds_is_not_kept() {
    let scratch = scratch();
    // Cargo does not document what only tests depend on.
    let documented = scratch.project().join("documented");
    fs::create_dir_all(documented.join("src")).unwrap();
    fs::write(documented.join("src/lib.rs"), "").unwrap();
    let manifest = fs::read_to_string(scratch.project().join("Cargo.toml")).unwrap();
    let (package, rest) = manifest.split_once("[dev-dependencies]").unwrap();
    let (_, profile) = rest.split_once("[profile.dev]").unwrap();
    fs::write(
        documented.join("Cargo.toml"),
        format!("{package}[dependencies]\numl-test = \"=0.1.0\"\n[profile.dev]{profile}"),
    )
    .unwrap();
    let documented = scratch
        .cargo(&["doc", "--no-deps", "--package", "uml-test"])
        .current_dir(&documented)
        .env("CARGO_TARGET_DIR", scratch.project().join("target"))
        .env("DOCS_RS", "1")
        .run();
    documented.succeeded();
    let debug = scratch.project().join("target/debug");
    assert!(scratch.agent(&debug).is_empty());
    scratch.cargo(&["test", "--no-run"]).run().succeeded();
    assert!(!scratch.agent(&debug).is_empty());
}

#[test]
fn where_no_guest_runs_tests_compile_and_are_ignored_or_refused() {
    const REASON: &str = "uml-test was built with UML_TEST_BUILD_UNSUPPORTED set";
    let scratch = scratch();
    let cargo = |arguments: &[&str]| {
        let mut cargo = scratch.cargo(arguments);
        cargo.env("UML_TEST_BUILD_UNSUPPORTED", "1");
        cargo.run()
    };
    let listed = cargo(&["test", "--test", "own_harness", "--", "--list"]);
    listed.succeeded();
    listed.shows("ignored: test\npasses: test\n");
    for asked in ["--include-ignored", "--ignored", "--test-threads=1"] {
        let run = cargo(&["test", "--test", "own_harness", "--", asked]);
        run.succeeded();
        run.shows(&format!("uml-test: tests are ignored: {REASON}"));
        run.shows("0 passed; 0 failed; 2 ignored");
    }
    // The target is Linux all the same, so the macro has left nothing to libtest's `#[ignore]`.
    let run = cargo(&["test", "--lib"]);
    assert!(!run.success, "{}", run.text);
    run.shows(&format!("tests::is_root_in_a_guest not run: {REASON}"));
    run.shows(&format!("tests::panics not run: {REASON}"));
    run.shows(&format!("no guest runs here: {REASON}"));
    run.shows("0 passed; 3 failed; 0 ignored");
}

#[test]
fn the_api_is_the_same_where_no_guest_runs() {
    let methods = |files: &[&str]| -> BTreeSet<String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../uml-test/src");
        let text: String =
            files.iter().map(|file| fs::read_to_string(source.join(file)).unwrap()).collect();
        let method = |line: &str| {
            line.strip_prefix("    pub fn ")?.split(['(', '<']).next().map(str::to_owned)
        };
        text.lines().filter_map(method).collect()
    };
    let real = methods(&["vm/mod.rs", "vm/command.rs", "vm/child.rs", "vm/host.rs"]);
    assert!(real.contains("wait_with_output"), "{real:?}");
    assert_eq!(methods(&["unsupported.rs"]), real);
}

/// A crate outside the workspace, and all that it depends on.
struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Packages the published crates, each built from its package, and vendors them.
    fn new() -> Self {
        let scratch = Self { dir: tempfile::tempdir().unwrap() };
        let project = scratch.project();
        fs::create_dir_all(scratch.path("home")).unwrap();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let mut package = cargo(&["package", "--locked", "--allow-dirty"]);
        package.args(PACKAGES.iter().chain([&COMMAND]).flat_map(|package| ["--package", package]));
        package
            .current_dir(&workspace)
            .env("CARGO_HOME", scratch.path("home"))
            .env("CARGO_TARGET_DIR", scratch.path("packages"));
        package.run().succeeded();

        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scratch");
        for (file, to) in [
            ("Cargo.toml", "Cargo.toml"),
            ("lib.rs", "src/lib.rs"),
            ("own_harness.rs", "tests/own_harness.rs"),
        ] {
            let to = project.join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from.join(file), to).unwrap();
        }
        // What the packages need from crates.io, in the versions that the workspace uses. They are
        // not there themselves, so for this they stand in by path.
        let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
        let mut patched = format!("{manifest}\n[patch.crates-io]\n");
        for package in PACKAGES {
            let unpacked = scratch.path("packages/package").join(format!("{package}-0.1.0"));
            patched += &format!("{package} = {{ path = {unpacked:?} }}\n");
        }
        fs::write(project.join("Cargo.toml"), patched).unwrap();
        fs::copy(workspace.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
        let mut vendor = cargo(&["vendor", "--quiet"]);
        vendor.current_dir(&project).run().succeeded();
        fs::write(project.join("Cargo.toml"), manifest).unwrap();
        fs::remove_file(project.join("Cargo.lock")).unwrap();

        for package in PACKAGES {
            let file = scratch.path(&format!("packages/package/{package}-0.1.0.crate"));
            let mut unpack = Command::new("tar");
            unpack.arg("xzf").arg(file).arg("-C").arg(project.join("vendor")).run().succeeded();
            let checksums = format!("vendor/{package}-0.1.0/.cargo-checksum.json");
            fs::write(project.join(checksums), r#"{"files":{}}"#).unwrap();
        }
        // Only the packages are used from here on.
        fs::remove_dir_all(scratch.path("packages")).unwrap();
        fs::remove_dir_all(scratch.path("home")).unwrap();
        fs::create_dir_all(scratch.path("home")).unwrap();
        fs::create_dir_all(project.join(".cargo")).unwrap();
        fs::write(
            project.join(".cargo/config.toml"),
            "[source.crates-io]\nreplace-with = \"vendored\"\n\
             [source.vendored]\ndirectory = \"vendor\"\n\
             [net]\noffline = true\n",
        )
        .unwrap();
        scratch
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn project(&self) -> PathBuf {
        self.path("project")
    }

    /// Cargo in the project, which knows nothing but what is vendored.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = cargo(arguments);
        cargo.current_dir(self.project()).env("CARGO_HOME", self.path("home"));
        // As a shell does; inherited, it would be the directory of whoever runs this test.
        cargo.env("PWD", self.project());
        cargo
    }

    /// A shell script.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Has the agent built anew by the next build.
    fn touch_agent(&self) {
        let source = self.project().join("vendor/uml-test-agent-0.1.0/src/lib.rs");
        let source = fs::File::options().append(true).open(source).unwrap();
        source.set_modified(std::time::SystemTime::now()).unwrap();
    }

    /// The agent that the last build below this directory embedded.
    fn agent(&self, profile_dir: &Path) -> Vec<u8> {
        let build = fs::read_dir(profile_dir.join("build")).unwrap();
        let agents = build.map(|entry| entry.unwrap().path().join("out/uml-test-agent"));
        let agents: Vec<_> = agents.filter(|path| path.exists()).collect();
        let [agent] = &*agents else { panic!("expected one agent, found {agents:?}") };
        fs::read(agent).unwrap()
    }
}

/// Cargo without the settings of the cargo that runs this test, and of whoever called that.
fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let foreign = ["CARGO", "RUSTC", "RUSTFLAGS", "NEXTEST", "RUST_TEST", "LLVM_PROFILE_FILE"];
        let about_tests = name.starts_with("UML_TEST_") && name != "UML_TEST_KERNEL";
        let kept = ["CARGO_HOME", "RUSTC"].contains(&&*name);
        if about_tests || !kept && foreign.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&*name);
        }
    }
    cargo.env("CARGO_TERM_COLOR", "never");
    cargo
}

fn has_nextest() -> bool {
    cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success())
}

/// A command that has ended.
struct Ran {
    what: String,
    success: bool,
    text: String,
}

impl Ran {
    #[track_caller]
    fn succeeded(&self) {
        assert!(self.success, "{}:\n{}", self.what, self.text);
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        assert!(self.text.contains(text), "no {text:?} from {}:\n{}", self.what, self.text);
    }
}

trait Run {
    /// Runs to the end; past [`LIMIT`] it is killed with all its children.
    fn run(&mut self) -> Ran;
}

impl Run for Command {
    fn run(&mut self) -> Ran {
        let what = format!("{:?} {:?}", self.get_program(), self.get_args().collect::<Vec<_>>());
        let mut output = tempfile::tempfile().unwrap();
        let stream = || Stdio::from(output.try_clone().unwrap());
        self.stdin(Stdio::null()).stdout(stream()).stderr(stream()).process_group(0);
        let mut child = self.spawn().unwrap_or_else(|error| panic!("start {what}: {error}"));
        let status = child.wait_timeout(LIMIT).unwrap();
        if status.is_none() {
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            child.wait().unwrap();
        }
        let mut text = Vec::new();
        output.rewind().unwrap();
        output.read_to_end(&mut text).unwrap();
        Ran {
            what,
            success: status.is_some_and(|status| status.success()),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
