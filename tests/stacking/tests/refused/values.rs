//! Refused by the `const` constructor of a case. `//~` gives part of the error on its line.

use uml_test::uml_test;

#[uml_test(timeout = "30")] //~ `timeout` wants a whole number above zero with a unit
fn timeout_without_a_unit() {}

#[uml_test(mem = "lots")] //~ `mem` wants a whole number with a unit
fn mem_without_a_number() {}
