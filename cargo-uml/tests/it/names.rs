//! Names of tests that libtest never gives, and libtest-mimic may.

use std::fs;

use crate::package::{Package, output, text};

/// Takes what libtest-mimic takes: an argument with a hyphen is an option, unless it is behind `--`.
const HARNESS: &str = r#"
const TESTS: [&str; 5] = ["twice", "twice", "-dash", "--list", "--exact"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut lists, mut is_exact, mut only_ignored, mut filter) = (false, false, false, None);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--list" => lists = true,
            "--exact" => is_exact = true,
            "--ignored" => only_ignored = true,
            "--format" => drop(arguments.next()),
            "--include-ignored" | "--nocapture" | "--test-threads=1" => {}
            "--" => filter = arguments.next(),
            option if option.starts_with('-') => panic!("unknown option {option}"),
            name => filter = Some(name.to_owned()),
        }
    }
    let is_selected = |test: &&&str| match &filter {
        _ if only_ignored => false,
        Some(name) if is_exact => **test == name,
        Some(part) => test.contains(part.as_str()),
        None => true,
    };
    let selected: Vec<_> = TESTS.iter().filter(is_selected).collect();
    if lists {
        return selected.iter().for_each(|test| println!("{test}: test"));
    }
    println!("\nrunning {} tests", selected.len());
    for test in &selected {
        println!("test {test} ... ok");
    }
    let others = TESTS.len() - selected.len();
    println!(
        "\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; {others} filtered out; finished in 0.00s\n",
        selected.len()
    );
}
"#;

#[test]
fn tests_of_any_name_run_alone() {
    let package = Package::new();
    package.append("Cargo.toml", "[[test]]\nname = \"own\"\nharness = false\n");
    package.write("tests/own.rs", HARNESS);
    let run = |more: &[&str]| {
        let arguments = [&["test", "--isolate", "--junit=r.xml", "--test", "own"], more].concat();
        let said = output(&mut package.uml(&arguments));
        assert!(said.status.success(), "{}", text(&said));
        text(&said)
    };
    let shown = run(&[]);
    assert!(shown.contains("test result: ok. 5 passed; 0 failed"), "{shown}");
    let report = fs::read_to_string(package.path().join("r.xml")).unwrap();
    for name in ["twice", "-dash", "--list", "--exact"] {
        assert!(report.contains(&format!("name=\"{name}\"")), "{report}");
    }
    for name in ["-dash", "--list"] {
        let shown = run(&["--", "--exact", "--", name]);
        assert!(shown.contains("test result: ok. 1 passed; 0 failed"), "{name}: {shown}");
    }
}
