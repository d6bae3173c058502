//! Doctests that rustdoc merges into one program, of which each is run by itself.

use std::process::Command;

use crate::package::{Package, output, text};

/// One ends its process, and must not end those behind it.
const LIBRARY: &str = "
/// ```
/// println!(\"one\");
/// ```
pub fn a() {}
/// ```
/// std::process::exit(0);
/// ```
pub fn b() {}
/// ```
/// assert!(false, \"must fail\");
/// ```
pub fn c() {}
/// ```should_panic
/// std::process::exit(0);
/// ```
pub fn d() {}
/// ```
/// unsafe { *(8 as *mut u8) = 1; }
/// ```
pub fn e() {}
/// ```ignore
/// not Rust
/// ```
pub fn f() {}
";

#[test]
fn merged_doctests_end_as_on_the_host() {
    let package = Package::new();
    package.write("src/lib.rs", LIBRARY);
    package.write("src/main.rs", "fn main() {}\n");
    let manifest =
        "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    package.write("Cargo.toml", manifest);
    let results = |cargo: &mut Command| {
        let said = output(cargo);
        let shown = text(&said);
        assert!(!shown.contains("WARNING"), "{shown}");
        // Of the last line the counts, and not the time.
        let results = shown.lines().filter(|line| line.starts_with("test "));
        let mut results: Vec<_> =
            results.map(|line| line.split("; finished").next().unwrap().to_owned()).collect();
        results.sort();
        (said.status.code(), results)
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--doc"]).env_remove("CARGO_TARGET_DIR").current_dir(package.path());
    let on_host = results(&mut cargo);
    let counts = |line: &String| line.contains("2 passed; 3 failed");
    assert!(on_host.0 == Some(101) && on_host.1.iter().any(counts), "{on_host:?}");
    for how in [
        &["test", "--doc"][..],
        &["test", "--doc", "--isolate"],
        &["test", "--doc", "--deny-skips"],
    ] {
        assert_eq!(results(&mut package.uml(how)), on_host, "{how:?}");
    }
}
