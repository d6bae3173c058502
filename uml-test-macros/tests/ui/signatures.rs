use uml_test::uml_test;

#[uml_test]
fn parameter(input: u32) {}

#[uml_test]
fn generic<T>() {}

#[uml_test]
fn lifetime<'a>() {}

#[uml_test]
fn constrained()
where
    u8: Copy,
{
}

#[uml_test]
async fn without_a_runtime() {}

#[uml_test]
const fn constant() {}

#[uml_test]
unsafe fn no_promise() {}

#[uml_test]
extern "C" fn foreign() {}

#[uml_test]
fn opaque() -> impl std::process::Termination {}

#[uml_test]
fn never() -> ! {
    loop {}
}

fn main() {}
