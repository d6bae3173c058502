//! `cargo uml matrix` with a stand-in for cargo that leaves result records, and with the real one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::doctor::link_real_kernel;
use crate::fixture::{Run, real_kernel, run};
use crate::package::{Package, has_nextest, output, text};

/// Does what cargo does as far as the matrix can tell. Its steering: `kernels/ID/script` beside the kernel is run for
/// `test` and `nextest`; a file `broken` makes the build fail.
const CARGO: &str = r#"#!/bin/sh
home=$(dirname "$0")
case "$1" in
metadata) exec "$REAL_CARGO" "$@";;
esac
echo "$@" >> "$home/calls"
if test "$2" = --no-run; then
    test -e "$home/broken" && { echo 'error: could not compile' >&2; exit 101; }
    exit 0
fi
echo "output of $1"
record() { printf '{"binary": "demo/it", "test": "%s", "kernel": "%s", "outcome": "%s", "reason": "%s", "seconds": 0.05}' \
    "$1" "$UML_TEST_KERNEL" "$2" "$3" > "$UML_TEST_RESULTS/$1.json"; }
. "$(dirname "$UML_TEST_KERNEL")/script"
"#;

/// A cache with kernels that are known by name, a package, and the stand-in.
struct Matrix {
    directory: TempDir,
}

impl Matrix {
    fn new() -> Self {
        let matrix = Matrix { directory: tempfile::tempdir().unwrap() };
        let cargo = matrix.path("cargo");
        fs::write(&cargo, CARGO).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["cache/names", "cache/kernels", "package/src"] {
            fs::create_dir_all(matrix.path(directory)).unwrap();
        }
        fs::write(matrix.path("package/src/lib.rs"), "").unwrap();
        let manifest = "[package]\nname = \"demo\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(matrix.path("package/Cargo.toml"), manifest).unwrap();
        matrix
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A kernel; what the stand-in does with it.
    fn kernel(&self, name: &str, script: &str) {
        let id = name.replace('/', "-");
        let directory = self.path("cache/kernels").join(&id);
        fs::create_dir(&directory).unwrap();
        fs::copy("/bin/true", directory.join("linux")).unwrap();
        fs::write(directory.join("script"), script).unwrap();
        let link = self.path("cache/names").join(name.replace('/', ":"));
        symlink(format!("../kernels/{id}"), link).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-uml"));
        command
            .args(["uml", "matrix"])
            .args(arguments)
            .env("UML_TEST_CACHE_DIR", self.path("cache"))
            .env("REAL_CARGO", env!("CARGO"))
            .env("CARGO", self.path("cargo"))
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(self.path("package"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        run(&mut self.command(arguments))
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

/// The table, without the seconds that vary.
fn table(run: &Run) -> String {
    let table = &run.stdout[run.stdout.find("\ntest ").expect(&run.stdout) + 1..];
    let lines = table.lines().map(|line| match line.rsplit_once("  ") {
        Some((rest, seconds)) if seconds.ends_with(" s") => format!("{}\n", rest.trim_end()),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn every_kernel_is_run_and_one_table_ends_it() {
    let matrix = Matrix::new();
    matrix.kernel(
        "6.1",
        "record old ok >/dev/null; record old passed; record new ignored 'needs >=6.7'",
    );
    matrix.kernel("7.2/debug", "record old kernel-panicked Oops; record new passed; exit 101");
    matrix.kernel("7.2", "record old passed; record new skipped 'no tool'");
    let done = matrix.run(&[
        "--kernel",
        "6.1",
        "--kernel",
        "7.2/debug",
        "--kernel",
        "7.2",
        "--",
        "-p",
        "x",
        "--",
        "name",
    ]);
    assert_eq!(done.code, Some(11), "{done:?}");
    assert_eq!(
        table(&done),
        "\
test   6.1          7.2/debug         7.2
demo/it
  new  ignored [1]  ok                skipped [2]
  old  ok           KERNEL PANIC [3]  ok

[1] needs >=6.7
[2] no tool
[3] Oops

6.1        1 ok, 1 ignored       cargo ended well
7.2/debug  1 ok, 1 KERNEL PANIC  cargo ended with 101
7.2        1 ok, 1 skipped       cargo ended well
"
    );
    let heading =
        |text: &str| done.stdout.find(text).unwrap_or_else(|| panic!("no {text}: {done:?}"));
    assert!(heading("== Kernel 6.1 (1 of 3) ==") < heading("output of test"));
    assert!(heading("== Kernel 7.2/debug (2 of 3) ==") < heading("== Kernel 7.2 (3 of 3) =="));
    let test = "test --no-fail-fast -p x -- name";
    assert_eq!(matrix.calls(), ["test --no-run -p x", test, test, test]);
    // The records' directories are gone.
    let left: Vec<_> = fs::read_dir(matrix.path("package/target")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn json_has_the_results_alone_on_stdout() {
    let matrix = Matrix::new();
    matrix.kernel("6.1", "record a passed");
    matrix.kernel("7.2", "record a passed; record b passed");
    let done = matrix.run(&["--kernel", "6.1", "--kernel", "7.2", "--nextest", "--format", "json"]);
    // 6.1 has no record of b.
    assert_eq!(done.code, Some(11), "{done:?}");
    assert!(done.stderr.contains("output of nextest") && done.stderr.contains("== Kernel 6.1"));
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(json["tests"][1]["results"][0]["outcome"], "missing");
    assert_eq!(json["tests"][1]["results"][1]["outcome"], "passed");
    assert_eq!(json["kernels"][1]["totals"]["passed"], 2);
    assert_eq!(matrix.calls(), ["nextest run --no-fail-fast"; 2]);

    let good = matrix.run(&["--kernel", "7.2", "--format", "json"]);
    assert_eq!(good.code, Some(0), "{good:?}");
}

#[test]
fn all_wrong_names_are_told_before_anything_runs() {
    let matrix = Matrix::new();
    matrix.kernel("7.2", "exit 0");
    let done = matrix.run(&["--kernel", "7.2", "--kernel", "6.1", "--kernel", "/etc/passwd"]);
    done.fails(1, &["6.1: neither", "names are: 7.2", "/etc/passwd: not an executable file"]);
    assert_eq!(matrix.calls(), [""; 0]);
}

#[test]
fn what_does_not_compile_is_run_with_no_kernel() {
    let matrix = Matrix::new();
    matrix.kernel("7.2", "exit 0");
    fs::write(matrix.path("broken"), "").unwrap();
    let done = matrix.run(&["--kernel", "7.2"]);
    assert_eq!(done.code, Some(12), "{done:?}");
    assert!(done.stderr.contains("building the tests failed (exit status: 101)"), "{done:?}");
    assert_eq!(matrix.calls(), ["test --no-run"]);
}

#[test]
fn a_cargo_that_fails_otherwise_ends_it_after_one_kernel() {
    let matrix = Matrix::new();
    matrix.kernel("6.1", "record a passed; exit 101");
    matrix.kernel("7.2", "record a passed");
    // nextest: 100 are failed tests, 101 is a failed build.
    let done = matrix.run(&["--nextest", "--kernel", "6.1", "--kernel", "7.2"]);
    assert_eq!(done.code, Some(12), "{done:?}");
    assert!(done.stderr.contains("`cargo nextest run` itself failed"), "{done:?}");
    assert!(done.stdout.contains("7.2  not come to"), "{}", done.stdout);
    // cargo test: more failed than the records show.
    let done = matrix.run(&["--kernel", "6.1", "--kernel", "7.2"]);
    assert_eq!(done.code, Some(11), "{done:?}");
    assert!(done.stdout.contains("With 6.1 cargo failed for another reason"), "{}", done.stdout);
}

#[test]
fn an_interruption_ends_all_of_cargo_and_shows_what_is_known() {
    let matrix = Matrix::new();
    matrix.kernel("6.1", "record a passed");
    // A test binary that nobody tells of the interruption but the matrix.
    matrix.kernel("7.2", "record b passed; sleep 600 & echo $! > $home/pid; echo waits; wait");
    matrix.kernel("8", "record a passed");
    let mut command = matrix.command(&["--kernel", "6.1", "--kernel", "7.2", "--kernel", "8"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.ends_with("waits\n") {
        assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "{text}");
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    for part in [
        "  a   ok       MISSING  -\n",
        "  b   MISSING  ok       -\n",
        "8    not come to",
        "Interrupted",
    ] {
        assert!(text.contains(part), "{part:?} is missing from {text}");
    }
    let pid = fs::read_to_string(matrix.path("pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn outside_of_a_package_nothing_runs() {
    let matrix = Matrix::new();
    matrix.kernel("7.2", "exit 0");
    let done = run(matrix.command(&["--kernel", "7.2"]).current_dir(matrix.path("cache")));
    done.fails(1, &["no tests to run", "could not find `Cargo.toml`"]);
}

/// The real cargo, a real kernel under two names, and the tests of an example.
#[test]
fn an_example_with_one_kernel_under_two_names() {
    let matrix = Matrix::new();
    link_real_kernel(&matrix.path("cache/kernels/real"));
    for name in ["7.2", "7.2:again"] {
        symlink("../kernels/real", matrix.path("cache/names").join(name)).unwrap();
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command =
        matrix.command(&["--kernel", "7.2", "--kernel", "7.2/again", "--format", "json"]);
    command.args(["--", "--package", "example-mounts"]);
    // That of this run, where most of what it compiles is already; cargo has let go of it by now.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let done = run(command
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", target)
        .current_dir(examples));
    assert_eq!(done.code, Some(0), "{done:?}");
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let tests = json["tests"].as_array().unwrap();
    assert!(!tests.is_empty());
    for test in tests {
        assert!(test["binary"].as_str().unwrap().starts_with("example-mounts/"), "{test}");
        for (result, kernel) in test["results"].as_array().unwrap().iter().zip(["7.2", "7.2/again"])
        {
            assert_eq!(
                (&result["outcome"], &result["kernel"]),
                (&"passed".into(), &kernel.into()),
                "{test}"
            );
        }
    }
}

/// nextest starts no test that is listed as ignored, and fails where none is left. A gated one has its place all the
/// same: with a custom runner, one kernel that no gate lets pass, and one that says that it is old enough.
#[test]
fn gated_tests_of_a_custom_runner_are_ignored_under_nextest() {
    if !has_nextest() {
        return;
    }
    let matrix = Matrix::new();
    let (new, old) = (matrix.path("cache/kernels/new"), matrix.path("cache/kernels/old"));
    link_real_kernel(&new);
    fs::create_dir(&old).unwrap();
    for name in ["linux", "kernel.toml"] {
        fs::copy(new.join(name), old.join(name)).unwrap();
    }
    let mut linux = fs::read(old.join("linux")).unwrap();
    make_old(&mut linux);
    fs::write(old.join("linux"), linux).unwrap();
    for name in ["new", "old"] {
        symlink(format!("../kernels/{name}"), matrix.path("cache/names").join(name)).unwrap();
    }
    let outcomes = |kernels: &[&str]| {
        let mut command = matrix.command(&["--nextest", "--format", "json"]);
        for kernel in kernels {
            command.args(["--kernel", kernel]);
        }
        command.args(["--", "--package", "uml-test-fixtures", "--test", "custom"]);
        command.args(["-E", "test(is_for_older_kernels_where_a_panic_is_due)"]);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        command.env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", target);
        let done = run(command.current_dir(workspace));
        assert_eq!(done.code, Some(0), "{done:?}");
        let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        let results = json["tests"][0]["results"].as_array().unwrap().iter();
        results
            .map(|it| [&it["outcome"], &it["reason"]].map(ToString::to_string))
            .collect::<Vec<_>>()
    };
    let alone = outcomes(&["new"]);
    assert_eq!(alone[0][0], "\"ignored\"");
    assert!(alone[0][1].contains("needs kernel <2.6"), "{alone:?}");
    let both = outcomes(&["new", "old"]);
    assert_eq!([&*both[0][0], &*both[1][0]], ["\"ignored\"", "\"passed\""]);
}

/// Gives the kernel another version in what gates are decided by.
fn make_old(linux: &mut [u8]) {
    const BANNER: &[u8] = b"Linux version ";
    for at in BANNER.len()..linux.len() {
        if linux[..at].ends_with(BANNER) && linux[at].is_ascii_digit() {
            let end = at + linux[at..].iter().position(|byte| *byte == b' ').unwrap();
            linux[at..end].fill(b'1');
            linux[at..at + 4].copy_from_slice(b"2.5.");
        }
    }
}

/// A crate that knows nothing of uml-test: its tests run in guests too, and each has its record.
#[test]
fn other_peoples_tests_run_in_guests() {
    let package = Package::new();
    // Neither runs nor lists anything by the runner that the package has.
    package.write(".cargo/config.toml", "[target.'cfg(unix)']\nrunner = \"false\"\n");
    package.write(
        "tests/ends.rs",
        "#[test]\nfn passes() { assert!(plain::in_guest()); }\n\
         #[test]\nfn panics() { panic!(\"no good\") }\n\
         #[test]\nfn exits() { std::process::exit(0) }\n\
         #[test]\n#[ignore]\nfn ignored() {}\n\
         #[test]\nfn crashes() { std::fs::write(\"/proc/sysrq-trigger\", \"c\").unwrap(); }\n",
    );
    let kernel = real_kernel();
    let matrix = |more: &[&str]| {
        let fixed =
            ["matrix", "--in-guests", "--format", "json", "--kernel", kernel.to_str().unwrap()];
        let said = output(&mut package.uml(&[&fixed, more].concat()));
        let json: serde_json::Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&said)));
        let mut tests: Vec<[String; 4]> = Vec::new();
        for test in json["tests"].as_array().unwrap() {
            let result = &test["results"][0];
            let fields = [&test["binary"], &test["test"], &result["outcome"], &result["reason"]];
            tests.push(fields.map(|field| field.as_str().unwrap().to_owned()));
        }
        (said.status.code(), tests)
    };
    let early = "the test binary exited with code 0 before the test's end";
    let (code, tests) = matrix(&["--", "--test", "ends"]);
    assert_eq!(code, Some(11), "{tests:?}");
    let outcomes: Vec<_> = tests.iter().map(|test| (&*test[1], &*test[2])).collect();
    assert_eq!(
        outcomes,
        [
            ("crashes", "kernel-panicked"),
            ("exits", "failed"),
            ("panics", "failed"),
            ("passes", "passed")
        ]
    );
    assert_eq!((&*tests[0][0], &*tests[1][3], &*tests[2][3]), ("plain/ends", early, "no good"));

    if !has_nextest() {
        return;
    }
    let (code, tests) = matrix(&["--nextest", "--", "--test", "ends", "-j1", "--retries", "1"]);
    let outcomes: Vec<_> = tests.iter().map(|test| (&*test[1], &*test[2])).collect();
    assert_eq!(code, Some(11), "{tests:?}");
    assert_eq!(
        outcomes,
        // nextest takes an exit code of 0 for a pass.
        [
            ("crashes", "kernel-panicked"),
            ("exits", "passed"),
            ("panics", "failed"),
            ("passes", "passed")
        ]
    );
    // Of a partition what it has is planned, and all of it is recorded.
    let parts = ["slice:1/2", "slice:2/2"]
        .map(|part| matrix(&["--nextest", "--", "--test", "ends", "--partition", part]).1.len());
    assert_eq!(parts, [2, 2]);
}

/// A planned test that no kernel has a record of is missed.
#[test]
fn a_planned_test_without_a_record_is_missed() {
    let package = Package::new();
    if !has_nextest() {
        return;
    }
    // Its record vanishes: the runner does not know where to put it.
    package.write("tests/two.rs", "#[test]\nfn passes() {}\n");
    package.write(
        ".config/nextest.toml",
        "experimental = [\"wrapper-scripts\"]\n[scripts.wrapper.lost]\ncommand = \"env -u UML_TEST_RESULTS\"\n\
         [[profile.default.scripts]]\nfilter = \"all()\"\nrun-wrapper = \"lost\"\n",
    );
    let kernel = real_kernel();
    let mut matrix = package.uml(&["matrix", "--in-guests", "--nextest", "--kernel"]);
    matrix.arg(&kernel).args(["--", "--test", "two"]);
    let said = output(&mut matrix);
    assert_eq!(said.status.code(), Some(11), "{}", text(&said));
    assert!(text(&said).contains("MISSING"), "{}", text(&said));
}
