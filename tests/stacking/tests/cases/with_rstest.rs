//! With `#[rstest]`, alone and with `#[tokio::test]`.

use rstest::{fixture, rstest};
use uml_test::uml_test;

#[fixture]
fn seven() -> u32 {
    super::seven()
}

#[uml_test]
#[rstest]
#[case(1)]
#[case::named(2)]
fn below(#[case] input: u32) {
    super::is_case(["case_1", "case_2_named"][input as usize - 1]);
}

#[rstest]
#[case(1)]
#[case::named(2)]
#[uml_test]
fn above(#[case] input: u32) {
    super::is_case(["case_1", "case_2_named"][input as usize - 1]);
}

#[uml_test]
#[rstest]
fn values_below(#[values(1, 2)] input: u32, #[values(true, false)] flag: bool) {
    let flags = if flag { "flag_1_true" } else { "flag_2_false" };
    super::is_case(&format!("input_{input}_{input}::{flags}"));
}

#[rstest]
#[uml_test]
fn values_above(#[values(1, 2)] input: u32, #[values(true, false)] flag: bool) {
    let flags = if flag { "flag_1_true" } else { "flag_2_false" };
    super::is_case(&format!("input_{input}_{input}::{flags}"));
}

#[uml_test]
#[rstest]
fn fixture_below(seven: u32) -> Result<(), String> {
    if seven == 7 { Ok(()) } else { Err(format!("{seven} is not seven")) }
}

#[rstest]
#[uml_test]
fn fixture_above(seven: u32) -> Result<(), String> {
    if seven == 7 { Ok(()) } else { Err(format!("{seven} is not seven")) }
}

#[uml_test]
#[rstest]
fn nothing_below() {}

#[rstest]
#[uml_test]
fn nothing_above() {}

#[uml_test(mem = "64M")]
#[rstest]
#[case(1)]
#[should_panic(expected = "as it should: 1")]
#[case(2)]
#[ignore = "why"]
fn attributes_of_cases_below(#[case] input: u32) {
    panic!("as it should: {input}")
}

#[rstest]
#[case(1)]
#[should_panic(expected = "as it should: 1")]
#[case(2)]
#[ignore = "why"]
#[uml_test(mem = "64M")]
fn attributes_of_cases_above(#[case] input: u32) {
    panic!("as it should: {input}")
}

#[uml_test]
#[rstest]
#[case(1)]
#[tokio::test]
async fn uml_rstest_tokio(#[case] input: u32) {
    assert_eq!(input, 1);
}

#[rstest]
#[case(1)]
#[uml_test]
#[tokio::test]
async fn rstest_uml_tokio(#[case] input: u32) {
    assert_eq!(input, 1);
}

#[rstest]
#[case(1)]
#[tokio::test]
#[uml_test]
async fn rstest_tokio_uml(#[case] input: u32) {
    assert_eq!(input, 1);
}
