//! Refused where `harness = false`, though rustc has dropped the function by then. `//~` gives
//! part of the error on its line.

mod harness_module;

uml_test::main!(); //~ harness_module.rs: the `#[test]` above `#[uml_test]` makes rustc drop `test_above`
