use uml_test::uml_test;

#[test]
#[uml_test]
fn test_above() {}

#[uml_test]
fn alone() {}
