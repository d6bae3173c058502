//! Refused while macros are expanded. `//~` gives part of the error on its line.

use rstest::rstest;
use uml_test::uml_test;

#[test]
#[uml_test] //~ the `#[test]` above `#[uml_test]` would list this function a second time; remove it
fn test_above() {}

#[ignore]
#[test]
// A comment, and another attribute between.
#[allow(unused)]
#[uml_test] //~ the `#[test]` above `#[uml_test]`
fn test_further_above() {}

#[test]
#[uml_test] //~ the `#[test]` above `#[uml_test]`
#[test]
fn test_around() {}

#[test]
#[cfg_attr(all(), uml_test)] //~ the `#[test]` above `#[uml_test]`
fn test_above_a_conditional_one() {}

#[cfg_attr(all(), test)]
#[uml_test] //~ the `#[test]` above `#[uml_test]`
fn conditional_test_above() {}

#[rstest]
#[uml_test] //~ `#[uml_test]` before a `#[case]` belongs to that case alone
#[case(1)]
#[case(2)]
fn between_rstest_and_cases(#[case] input: u32) {}

#[rstest]
#[case(1)]
#[uml_test] //~ put it below the last
#[case(2)]
fn between_cases(#[case] input: u32) {}

#[uml_test]
#[rstest]
#[case(1)]
async fn async_cases_without_a_runtime(#[case] input: u32) {} //~ async test requires

macro_rules! with_test_above {
    ($name:ident) => {
        #[test]
        #[uml_test] //~ the `#[test]` above `#[uml_test]`
        fn $name() {}
    };
}

with_test_above!(in_a_macro);
