use uml_test::uml_test;

#[uml_test]
#[uml_test(mem = "64M")]
fn twice() {}

#[uml_test]
#[async_std::test]
async fn other_runtime() {}

#[uml_test]
#[test_case(1)]
fn other_cases(input: u32) {}

#[uml_test]
#[wasm_bindgen_test]
fn other_platform() {}

#[uml_test]
#[bench]
fn benchmark(bencher: &mut Bencher) {}

#[uml_test]
#[ignore(why)]
fn ignore_form() {}

#[uml_test]
#[ignore]
#[ignore = "why"]
fn ignored_twice() {}

#[uml_test]
#[should_panic(message = "x")]
fn should_panic_key() {}

#[uml_test]
#[should_panic(expected = 1)]
fn should_panic_number() {}

#[uml_test]
#[should_panic]
fn should_panic_with_a_result() -> Result<(), String> {
    Ok(())
}

#[uml_test]
#[rstest]
#[case(1)]
unsafe fn qualified_case(#[case] input: u32) {}

fn main() {}
