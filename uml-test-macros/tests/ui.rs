//! What the macro refuses, and the words it does so with.
//!
//! trybuild builds without `cfg(test)`: refusals that need it (a `#[test]` above, return types,
//! values) are in `tests/stacking/tests/refused/` of the workspace.

#[test]
fn refusals_state_the_accepted_form() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
