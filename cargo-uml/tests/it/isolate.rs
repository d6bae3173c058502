//! Tests of one binary apart from each other, and what is read from their output.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek};
use std::process::{Command, Stdio};

use crate::fixture::{real_kernel, script};
use crate::package::{Package, TESTS, killed, output, text};

/// Every way in which a test ends.
const ENDS: &str = r#"
use std::process::{abort, exit};
#[test]
fn passes() { println!("said by passes"); }
#[test]
#[should_panic(expected = "as said")]
fn panics_as_said() { panic!("as said") }
#[test]
fn panics() { println!("before it"); assert_eq!(1 + 1, 3, "sum"); }
#[test]
fn exits() { exit(0) }
#[test]
fn exits_with_a_code() { exit(7) }
#[test]
fn aborts() { abort() }
#[test]
#[ignore = "slow"]
fn ignored() { std::fs::create_dir("/made").unwrap(); }
#[test]
fn crashes_the_kernel() { std::fs::write("/proc/sysrq-trigger", "c").unwrap(); }
#[test]
fn result() -> Result<(), std::num::ParseIntError> { "x".parse::<i32>().map(drop) }
"#;

#[test]
fn each_test_has_a_kernel_and_one_report_shows_them() {
    let package = Package::new();
    package.write("tests/two.rs", TESTS);
    let said = output(&mut package.uml(&["test", "--isolate", "--test", "two"]));
    assert!(said.status.success(), "{}", text(&said));
    let shown = text(&said);
    assert!(shown.contains("running 2 tests"), "{shown}");
    assert!(shown.contains("test result: ok. 2 passed; 0 failed"), "{shown}");

    // The tests of examples too, which cargo puts elsewhere.
    package.write("examples/two.rs", &(TESTS.to_owned() + "fn main() {}\n"));
    let said = output(&mut package.uml(&["test", "--isolate", "--example", "two"]));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("test result: ok. 2 passed; 0 failed"), "{}", text(&said));

    // Doctests are isolated anyway, and the library's unit tests go the same way.
    let said = output(&mut package.uml(&["test", "--isolate"]));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("test tests::unit ... ok"), "{}", text(&said));
}

/// As tests of loop devices do.
#[test]
fn a_single_test_has_room_for_an_image_in_tmp() {
    const IMAGE: &str = r#"
#[test]
fn image() {
    let status = std::process::Command::new("fallocate").args(["--length=128M", "/tmp/image"]).status();
    assert!(status.unwrap().success());
}
"#;
    let package = Package::new();
    package.write("tests/image.rs", IMAGE);
    for how in [&["test", "--isolate", "--test", "image"][..], &["test", "image"]] {
        let said = output(&mut package.uml(how));
        assert!(said.status.success(), "{how:?}: {}", text(&said));
    }
}

#[test]
fn every_end_is_the_tests_own() {
    let package = Package::new();
    package.write("tests/ends.rs", ENDS);
    let report = package.path().join("target/reports/junit.xml");
    let junit = format!("--junit={}", report.display());
    let mut run = package.uml(&["test", "--isolate", &junit, "--test", "ends", "--no-fail-fast"]);
    run.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", package.path());
    let said = output(&mut run);
    let shown = text(&said);
    assert_eq!(said.status.code(), Some(101), "{shown}");
    for (test, result) in [
        ("passes", "ok"),
        ("panics_as_said", "ok"),
        ("panics", "FAILED"),
        ("exits", "FAILED"),
        ("exits_with_a_code", "FAILED"),
        ("aborts", "FAILED"),
        ("ignored", "ignored"),
        ("crashes_the_kernel", "FAILED"),
        ("result", "FAILED"),
    ] {
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words == ["test", test, "...", result]
        };
        assert!(shown.lines().any(line), "{test}: {shown}");
    }
    assert!(shown.contains("test result: FAILED. 2 passed; 6 failed; 1 ignored"), "{shown}");
    for says in [
        "sysrq triggered crash",
        "before it",
        "exited with code 0 before the test's end",
        "exited with code 7",
        "killed by signal 6",
        "::error file=tests/ends.rs,line=9,",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    assert!(!shown.contains("said by passes"), "{shown}");

    let xml = fs::read_to_string(&report).unwrap();
    assert!(xml.contains(r#"tests="9""#) && xml.contains(r#"failures="6""#), "{xml}");
    assert!(xml.contains("plain/ends") && xml.contains("said by passes"), "{xml}");
}

#[test]
fn libtests_own_options_hold() {
    let package = Package::new();
    package.write("tests/ends.rs", ENDS);
    let run = |arguments: &[&str]| {
        let command = ["test", "--isolate", "--test", "ends", "--"];
        text(&output(&mut package.uml(&[&command, arguments].concat())))
    };
    let named = run(&["passes", "ignored", "--include-ignored", "--nocapture"]);
    assert!(named.contains("2 passed; 0 failed; 0 ignored"), "{named}");
    assert!(named.contains("said by passes\n"), "{named}");
    let exact = run(&["--exact", "panics_as_said", "--test-threads=1"]);
    assert!(exact.contains("1 passed; 0 failed"), "{exact}");
    let only = run(&["--ignored"]);
    assert!(only.contains("1 passed; 0 failed"), "{only}");
    let without = run(&["--skip", "e", "--skip", "panics", "--skip", "exits", "--skip", "aborts"]);
    assert!(without.contains("test result: ok. 0 passed"), "{without}");
    for shows in ["--nocapture", "--show-output"] {
        let all = run(&[shows, "--test-threads=1", "--skip", "kernel"]);
        // Of its harness in the guest no line is there, nor is the output of one that failed there twice.
        let count = |what: &str| all.matches(what).count();
        assert_eq!([count("test result:"), count("running ")], [1, 1], "{shows}: {all}");
        assert_eq!([count("said by passes"), count("before it")], [1, 1], "{shows}: {all}");
        // Only what is not captured comes in between.
        let is_whole = |line: &str| line.split_whitespace().eq(["test", "passes", "...", "ok"]);
        assert_eq!(all.lines().any(is_whole), shows == "--show-output", "{shows}: {all}");
    }
    let zero = run(&["--test-threads=0"]);
    assert!(zero.contains("must not be 0"), "{zero}");
}

/// What a test says is there while it runs.
#[test]
fn output_that_is_not_captured_comes_at_once() {
    let package = Package::new();
    package.write(
        "tests/waits.rs",
        "#[test]\nfn waits() { println!(\"it waits\"); loop { std::thread::park() } }",
    );
    let dir = tempfile::Builder::new().prefix("waits-").tempdir_in("/dev/shm").unwrap();
    let options = ["test", "--isolate", "--timeout", "30s", "--test", "waits", "--", "--nocapture"];
    let mut run = package.uml(&options);
    run.env("UML_TEST_RUN_DIR", dir.path()).stdin(Stdio::null());
    let mut running = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_said = lines.any(|line| line.ends_with("it waits"));
    let is_running = fs::read_dir(dir.path()).unwrap().count() > 0;
    killed(&mut running, 15);
    assert!(is_said && is_running);
}

#[test]
fn each_test_has_the_kernel_that_is_named() {
    let package = Package::new();
    package.write("tests/two.rs", TESTS);
    let kernel = real_kernel();
    let mut run = package.uml(&["test", "--isolate", "--kernel"]);
    run.arg(&kernel).args(["--test", "two"]).env("UML_TEST_KERNEL", "/nonexistent");
    let said = output(&mut run);
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("test result: ok. 2 passed; 0 failed"), "{}", text(&said));
}

/// A report without an error would look good.
#[test]
fn the_report_has_an_error_where_no_guest_came_up() {
    let package = Package::new();
    package.write("tests/two.rs", TESTS);
    let dead = "init=/nonexistent rdinit=/nonexistent";
    let more = ["--isolate", "--junit=r.xml", "--cmdline", dead, "--test", "two"];
    let said = output(&mut package.uml(&[&["test"], &more[..]].concat()));
    // cargo's, of a runner that ended with 125.
    assert_eq!(said.status.code(), Some(125), "{}", text(&said));
    let report = fs::read_to_string(package.path().join("r.xml")).unwrap();
    assert!(report.contains(r#"tests="1""#) && report.contains(r#"errors="1""#), "{report}");
    assert!(report.contains("plain/two") && report.contains("while booting"), "{report}");

    // And where the binary is none that a guest runs, as a linker makes it that is another machine's.
    let [linker, foreign] = ["linker", "foreign"].map(|name| package.path().join(name));
    let mut elf = fs::read("/bin/true").unwrap();
    elf[18] = 0xb7; // the machine: AArch64
    fs::write(&foreign, elf).unwrap();
    let links = "while [ \"$1\" != -o ]; do shift; done; cp \"${0%/*}/foreign\" \"$2\"\n";
    script(&linker, links);
    let config = format!("[target.x86_64-unknown-linux-gnu]\nlinker = {linker:?}\n");
    package.write(".cargo/config.toml", &config);
    let said = output(&mut package.uml(&["test", "--isolate", "--junit=r.xml", "--test", "two"]));
    assert_eq!(said.status.code(), Some(126), "{}", text(&said));
    let report = fs::read_to_string(package.path().join("r.xml")).unwrap();
    assert!(report.contains(r#"errors="1""#) && report.contains("Aarch64"), "{report}");
}

/// libtest's own JSON as it is, and the report's.
#[test]
fn json_is_whole() {
    let package = Package::new();
    let more = "#[test]\nfn says() { println!(\"{{ said\"); eprintln!(\"too\"); }\n\
                #[test]\nfn fails() { println!(\"before\"); panic!() }\n";
    package.write("tests/two.rs", &(TESTS.to_owned() + more));
    let json = ["--", "-Zunstable-options", "--format", "json", "--skip", "second"];
    for options in [&[][..], &["--isolate"]] {
        let all = [&["test", "--test", "two"], options, &json[..]].concat();
        let said = output(package.uml(&all).env("RUSTC_BOOTSTRAP", "1"));
        assert_eq!(said.status.code(), Some(101), "{}", text(&said));
        let stdout = String::from_utf8(said.stdout).unwrap();
        let events: Vec<serde_json::Value> = stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}: {stdout}")))
            .collect();
        let count = |kind: &str, event: &str| {
            let is_one =
                |found: &&serde_json::Value| found["type"] == kind && found["event"] == event;
            events.iter().filter(is_one).count()
        };
        assert_eq!([count("suite", "started"), count("suite", "failed")], [1, 1], "{stdout}");
        assert_eq!([count("test", "ok"), count("test", "failed")], [2, 1], "{stdout}");
        let last = events.last().unwrap();
        assert_eq!([&last["passed"], &last["failed"]], [2, 1], "{stdout}");
    }
}

#[test]
fn what_lists_no_tests_runs_whole() {
    let package = Package::new();
    let manifest = "[[test]]\nname = \"own\"\nharness = false\n";
    let text_of = fs::read_to_string(package.path().join("Cargo.toml")).unwrap();
    package.write("Cargo.toml", &(text_of + manifest));
    package.write(
        "tests/own.rs",
        "fn main() { assert!(plain::in_guest()); println!(\"its own report\"); }",
    );
    let whole = "has neither libtest nor libtest-mimic in it";
    let unknown = "--isolate can't take the argument --an-option-of-its-own";
    for (more, whole) in [(&[][..], whole), (&["--", "--an-option-of-its-own"], unknown)] {
        let said =
            output(&mut package.uml(&[&["test", "--isolate", "--test", "own"], more].concat()));
        assert!(said.status.success(), "{}", text(&said));
        assert!(text(&said).contains(whole), "{}", text(&said));
        assert_eq!(text(&said).matches("its own report").count(), 1, "{}", text(&said));
    }
    // Asked for a list it does what it always does: in a guest.
    let listed = output(&mut package.uml(&["test", "--test", "own", "--", "--list"]));
    assert!(listed.status.success(), "{}", text(&listed));
    // A skip that is denied is no success in the report either.
    package.write("tests/own.rs", "fn main() { println!(\"skipping: requires root\") }");
    let junit = ["test", "--isolate", "--deny-skips", "--junit=r.xml", "--test", "own"];
    let said = output(&mut package.uml(&junit));
    let report = fs::read_to_string(package.path().join("r.xml")).unwrap();
    assert!(said.status.code() == Some(101) && report.contains(r#"failures="1""#), "{report}");
    // One that says nothing, and fails unless it is asked for a list.
    package.write(
        "tests/own.rs",
        "fn main() { if std::env::args().len() == 1 { std::process::exit(3) } }",
    );
    let said = output(&mut package.uml(&["test", "--isolate", "--junit=r.xml", "--test", "own"]));
    assert!(!said.status.success() && text(&said).contains(whole), "{}", text(&said));
    let report = fs::read_to_string(package.path().join("r.xml")).unwrap();
    assert!(report.contains("the whole binary") && report.contains(r#"failures="1""#), "{report}");
    // As libtest-mimic lists: no line but for tests. None is selected, and none is run.
    package.write(
        "tests/own.rs",
        "fn main() {
             let arguments: Vec<String> = std::env::args().skip(1).collect();
             let has = |argument: &str| arguments.iter().any(|other| other == argument);
             assert!(has(\"--list\") && !has(\"--test-threads\"), \"{arguments:?}\");
             if !has(\"other\") && !has(\"--ignored\") { println!(\"a: test\") }
         }",
    );
    let said = output(&mut package.uml(&["test", "--isolate", "--test", "own", "other"]));
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("test result: ok. 0 passed"), "{}", text(&said));
    for nonsense in [&["nextest", "run", "--isolate"][..], &["run", "--isolate"]] {
        let said = output(&mut package.uml(nonsense));
        assert!(text(&said).contains("--isolate is for `cargo uml test`"), "{}", text(&said));
    }
}

#[test]
fn tests_that_skip_themselves_are_denied() {
    let package = Package::new();
    package.write(
        "tests/skips.rs",
        "#[test]\nfn honest() {}\n#[test]\nfn skips() { eprintln!(\"skipping: requires root\"); }\n\
         #[test]\nfn says_no() { println!(\"n/a here\"); }\n\
         #[test]\n#[ignore = \"requires root\"]\nfn is_ignored() {}\n",
    );
    let run = |more: &[&str]| {
        let said = output(&mut package.uml(&[&["test", "--test", "skips"], more].concat()));
        (said.status.code(), text(&said))
    };
    assert_eq!(run(&[]).0, Some(0));
    let (code, shown) = run(&["--deny-skips"]);
    assert_eq!(code, Some(101), "{shown}");
    assert!(shown.contains("--deny-skips denies:\n    skipping: requires root\n"), "{shown}");
    let (code, shown) = run(&["--deny-skips=^n/a", "says_no"]);
    assert!(code == Some(101) && shown.contains("    n/a here"), "{shown}");
    let honest = run(&["--deny-skips", "--", "honest", "is_ignored"]);
    assert_eq!(honest.0, Some(0), "{}", honest.1);
    // Also beside a test that fails.
    package.write(
        "tests/both.rs",
        "#[test]\nfn skips() { println!(\"Skipping test: no root\"); }\n\
                  #[test]\nfn fails() { panic!() }\n",
    );
    let both = output(&mut package.uml(&["test", "--test", "both", "--deny-skips"]));
    assert!(text(&both).contains("denies:\n    Skipping test: no root\n"), "{}", text(&both));

    // And beside binaries that skip nothing, one before it and one behind.
    package.write("tests/a.rs", "#[test]\nfn a() {}\n");
    package.write("tests/z.rs", "#[test]\nfn z() {}\n");
    let several = ["test", "--tests", "--no-fail-fast", "--deny-skips"];
    let several = output(&mut package.uml(&several));
    let shown = text(&several);
    assert_eq!(several.status.code(), Some(101), "{shown}");
    assert_eq!(shown.matches("--deny-skips denies:").count(), 2, "{shown}");
    assert!(shown.contains("test a ... ok") && shown.contains("test z ... ok"), "{shown}");
    assert!(shown.contains("2 targets failed"), "{shown}");

    let (code, shown) = run(&["--isolate", "--deny-skips"]);
    assert_eq!(code, Some(101), "{shown}");
    assert!(shown.contains("2 passed; 1 failed; 1 ignored"), "{shown}");
    assert!(shown.contains("the test skipped itself: skipping: requires root"), "{shown}");
    let (code, shown) = run(&["--deny-skips=("]);
    assert!(code != Some(0) && shown.contains("--deny-skips=("), "{shown}");
}

/// Not even one that only a line which both streams had part in would hide.
#[test]
fn a_skip_is_found_where_both_streams_are_one_file() {
    let package = Package::new();
    package.write(
        "tests/skips.rs",
        "use std::io::Write;\n#[test]\nfn skips() {\n    print!(\"x\");\n    std::io::stdout().flush().unwrap();\n    \
         eprintln!(\"Skipping...\");\n    println!();\n}\n",
    );
    for how in [&["--isolate"][..], &[]] {
        let mut run = package.uml(&["test", "--test", "skips", "--deny-skips"]);
        let (code, shown) = in_one_file(run.args(how).args(["--", "--nocapture"]));
        assert_eq!(code, Some(101), "{how:?}: {shown}");
        assert!(shown.contains("Skipping..."), "{how:?}: {shown}");
    }
}

/// Runs a command whose standard output and error are one file; its exit code, and what is in that.
fn in_one_file(command: &mut Command) -> (Option<i32>, String) {
    let mut log = tempfile::tempfile().unwrap();
    let [stdout, stderr] = [(); 2].map(|()| log.try_clone().unwrap());
    let status = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).status().unwrap();
    let mut shown = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut shown).unwrap();
    (status.code(), shown)
}

/// With one thread a result's line begins before its test runs.
#[test]
fn results_have_whole_lines() {
    let package = Package::new();
    package.write("tests/two.rs", &(TESTS.to_owned() + "#[test]\nfn third() { panic!(\"no\") }\n"));
    let consoles = package.path().join("consoles");
    fs::create_dir(&consoles).unwrap();
    let mut run = package.uml(&["test", "--isolate", "--keep", "--test", "two", "--"]);
    run.arg("--test-threads=1").env("TMPDIR", &consoles).env("GITHUB_ACTIONS", "true");
    let (_, shown) = in_one_file(&mut run);
    for line in ["test first  ... ok", "test second ... ok", "test third  ... FAILED"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    for note in ["cargo uml: second: the guest's console is in ", "::error file="] {
        assert!(shown.lines().any(|shown| shown.starts_with(note)), "{note}: {shown}");
    }
}

#[test]
fn failures_are_annotated_in_actions() {
    let package = Package::new();
    package.write(
        "tests/fails.rs",
        "#[test]\n#[should_panic]\nfn panics_well() { panic!(\"well\") }\n\
         #[test]\nfn fails() { panic!(\"50%: no\") }\n",
    );
    let mut run = package.uml(&["test", "--test", "fails", "--", "--nocapture"]);
    run.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", package.path());
    let said = output(&mut run);
    let shown = text(&said);
    assert_eq!(said.status.code(), Some(101), "{shown}");
    let expected = "::error file=tests/fails.rs,line=5,col=14,title=fails panicked::50%25: no";
    assert!(shown.lines().any(|line| line == expected), "{shown}");
    assert_eq!(shown.matches("::error").count(), 1, "{shown}");
}
