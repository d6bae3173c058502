//! Every accepted form, in both attribute orders where there are two.
//!
//! Which of them are listed is checked elsewhere; here each is run too, and sees that it is itself.

mod plain;
mod with_rstest;
mod with_tokio;

/// A function at the root of the cases, reached through `super`.
fn seven() -> u32 {
    7
}

/// Whether this guest runs the test whose name ends so: the agent gives it to the binary.
fn is_case(name: &str) {
    let asked = std::env::args().nth(1).unwrap();
    assert!(asked.ends_with(&format!("::{name}")), "{asked} runs {name}");
}
