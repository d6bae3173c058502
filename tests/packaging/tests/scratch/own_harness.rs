use uml_test::uml_test;

#[uml_test]
fn passes() {}

#[uml_test]
#[ignore = "only when asked for"]
fn ignored() {}

uml_test::main!();
