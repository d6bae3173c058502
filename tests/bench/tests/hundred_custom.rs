//! The same tests under the custom runner.

#[path = "hundred.rs"]
mod hundred;

uml_test::main!();
