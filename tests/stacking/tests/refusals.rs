//! What doesn't compile in a test build, and the words it is refused with. The refusals that need
//! no `cfg(test)` are trybuild cases in `uml-test-macros/tests/ui/`.

use std::path::Path;
use std::process::Command;

#[test]
fn while_macros_are_expanded() {
    assert_refused("expansion");
}

#[test]
fn by_the_custom_harness() {
    assert_refused("harness");
}

#[test]
fn by_the_type_checker() {
    assert_refused("types");
}

#[test]
fn by_the_constructor_of_a_case() {
    assert_refused("values");
}

/// Every line of the file with a `//~ text`, or with a `//~^ text` on the next, gets an error with
/// that text, and no other line does.
#[track_caller]
fn assert_refused(target: &str) {
    let file = format!("tests/refused/{target}.rs");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let source = std::fs::read_to_string(&path).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo
        .args(["check", "--quiet", "--color", "never"])
        .args(["--test", &format!("refused_{target}")])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{file} compiles");
    let errors = String::from_utf8(output.stderr).unwrap();

    // One error is a block up to an empty line; it is at each line of the file that it names. What
    // it quotes from the file doesn't count as its text.
    let blocks: Vec<_> = errors.split("\n\n").filter(|block| block.starts_with("error")).collect();
    let is_at = |block: &str, line: usize| block.contains(&format!("{file}:{line}:"));
    let says = |block: &str, text: &str| {
        block.lines().any(|line| line.contains(text) && !line.contains("//~"))
    };
    let mut expected = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        let (number, text) = match (line.split_once("//~ "), line.split_once("//~^ ")) {
            (Some((_, text)), _) => (number, text),
            (None, Some((_, text))) => (number - 1, text),
            (None, None) => continue,
        };
        assert!(
            blocks.iter().any(|block| is_at(block, number) && says(block, text)),
            "{file}:{number} gets no error with {text:?}:\n{errors}",
        );
        expected.push(number);
    }
    assert!(!expected.is_empty(), "{file} expects nothing");
    for block in blocks.iter().filter(|block| block.contains(&format!("{file}:"))) {
        assert!(expected.iter().any(|&line| is_at(block, line)), "unexpected in {file}:\n{block}");
    }
}
